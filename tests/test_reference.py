"""The pages made from the code are up to date; `python -m tools.reference` makes them anew."""

import json
import shutil
import signal
import subprocess

import jsonschema
import msgspec
import pytest
from records import outcome

from tools.man_page import roff
from tools.reference import DOCS, PAGES
from tools.schema_pages import record_schema, summary_schema
from venice_batch.cli.commands import COMMANDS
from venice_batch.cli.main import main
from venice_batch.errors import ExitCode

MAN = DOCS / "man/venice-batch.1"


@pytest.mark.parametrize("name", PAGES)
def test_the_committed_page_is_up_to_date(name):
    assert (DOCS / name).read_text(encoding="utf-8") == PAGES[name](), "run `python -m tools.reference`"


def test_no_other_file_is_among_the_made_pages():
    found = {str(path.relative_to(DOCS)) for folder in ("man", "reference") for path in (DOCS / folder).iterdir()}
    assert found == set(PAGES)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_in_the_reference_and_the_manual_page(name):
    assert f"## {name}\n" in (DOCS / "reference/options.md").read_text()
    assert f".SS {roff(name)}\n" in MAN.read_text()


@pytest.mark.parametrize("code", [*map(int, ExitCode), 128 + signal.SIGPIPE])
def test_every_exit_code_is_in_the_reference_and_the_manual_page(code):
    assert f"\n| {code} | " in (DOCS / "reference/exit-codes.md").read_text()
    assert f"\n.B {code}\n" in MAN.read_text()


@pytest.mark.parametrize(
    "command", [["groff", "-ww", "-man", "-z"], ["mandoc", "-Tlint", "-Wwarning"]], ids=lambda command: command[0]
)
def test_groff_and_mandoc_accept_the_manual_page(command):
    if not shutil.which(command[0]):
        pytest.skip(f"{command[0]} is not installed")
    done = subprocess.run([*command, str(MAN)], capture_output=True, text=True, check=False)
    # A generated page has no date.
    assert [line for line in (done.stdout + done.stderr).splitlines() if "missing date" not in line] == []


def test_roff_keeps_text_unchanged():
    assert roff(".x\n'y\na-b \\ c") == "\\&.x\n\\&'y\na\\-b \\e c"


def test_records_match_their_schema():
    schema = record_schema()
    record = json.loads(msgspec.json.encode(outcome("a")))
    jsonschema.validate(record, schema)
    del record["files"]
    with pytest.raises(jsonschema.ValidationError, match="'files' is a required property"):
        jsonschema.validate(record, schema)


def test_a_summary_matches_its_schema(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "jobs.jsonl").write_text('{"model": "venice-sd35", "prompt": "p", "width": 64, "height": 64}\n')
    assert main(["jobs.jsonl", "--sandbox", "--sandbox-latency", "0", "--json"]) == 0
    jsonschema.validate(json.loads(capsys.readouterr().out), summary_schema())
