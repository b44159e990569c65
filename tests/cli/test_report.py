"""report through the command line, in this process."""

import json
from pathlib import Path

import msgspec
import pytest
from records import outcome

from venice_batch.cli.main import main
from venice_batch.model import Flags

GOOD = {"id": "a", "model": "venice-sd35", "prompt": "p", "width": 64, "height": 64}


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def write(*lines):
    with open("jobs.jsonl", "w") as file:
        file.writelines(json.dumps(line) + "\n" for line in lines)


def test_report_sums_up_a_folder(capsys):
    write(GOOD, {**GOOD, "id": "b", "prompt": "forbidden"})
    main(["jobs.jsonl", "--sandbox", "--sandbox-latency", "0", "-q"])
    capsys.readouterr()
    assert main(["report", "output/jobs"]) == 0
    out = capsys.readouterr().out
    assert "venice-sd35     1       0         1       1" in out
    assert "b: rejected: " in out
    assert main(["report", "output/jobs", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["lanes"]["venice-sd35"]["images"] == 1


def test_a_report_on_a_folder_without_manifest_is_an_error(capsys):
    assert main(["report", "nowhere"]) == 5
    assert "holds no manifest.jsonl" in capsys.readouterr().err


def test_a_report_ends_with_flags_and_cost(capsys):
    records = [
        outcome("a", flags=Flags(blurred=True), files=(), cost_usd=0.01, total_s=2.5),
        outcome("b", files=(), cost_usd=0.01, total_s=4.5),
    ]
    Path("out").mkdir()
    Path("out/manifest.jsonl").write_bytes(b"".join(msgspec.json.encode(record) + b"\n" for record in records))
    assert main(["report", "out", "--no-gallery"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-2:] == ["flagged by the API: 1 blurred", "cost: 0.02 USD"]
    header, row = (line.split() for line in lines[3:5])
    assert header[:2] == ["seconds", "n"]
    assert (row[1], row[-3:]) == ("2", ["2.50", "4.50", "4.50"])


def test_a_report_writes_one_sweep_as_a_grid(capsys):
    write({**GOOD, "matrix": {"seed": [2, 1]}}, {**GOOD, "id": "b", "matrix": {"seed": [2, 1]}})
    main(["jobs.jsonl", "--sandbox", "--sandbox-latency", "0", "--sandbox-rpm", "0", "-q"])
    capsys.readouterr()
    assert main(["report", "output/jobs", "--no-gallery", "--grid", "grid.png"]) == 2
    assert "there are 2 sweeps (a, b); choose one with --grid-of NAME" in capsys.readouterr().err
    assert main(["report", "output/jobs", "--no-gallery", "--grid", "grid.png", "--grid-of", "b"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "grid: grid.png"
    assert (
        main(["report", "output/jobs", "--no-gallery", "--grid", "grid.png", "--grid-of", "b__seed-1", "--json"]) == 0
    )
    assert json.loads(capsys.readouterr().out)["grid"] == "grid.png"
    assert Path("grid.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("given", "message"),
    [(["--grid", "grid.jpg"], "give a name that ends in .png"), (["--grid-of", "a"], "give --grid FILE too")],
)
def test_options_of_a_grid_that_make_no_sense_are_errors(given, message, capsys):
    assert main(["report", "out", *given]) == 2
    assert message in capsys.readouterr().err
