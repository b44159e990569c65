"""report through the command line, in this process."""

import json

import pytest

from venice_batch.cli.main import main

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
