"""What is made from the code is as the code is now: `python -m tools.reference` makes it anew."""

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
def test_what_is_committed_is_what_is_made(name):
    assert (DOCS / name).read_text(encoding="utf-8") == PAGES[name](), "run `python -m tools.reference`"


def test_nothing_else_stands_among_the_made_pages():
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
def test_the_manual_page_has_no_fault_that_its_readers_see(command):
    if not shutil.which(command[0]):
        pytest.skip(f"no {command[0]} here")
    done = subprocess.run([*command, str(MAN)], capture_output=True, text=True, check=False)
    # A page that is made anew with each change has no date.
    assert [line for line in (done.stdout + done.stderr).splitlines() if "missing date" not in line] == []


def test_roff_shows_text_as_it_is():
    assert roff(".x\n'y\na-b \\ c") == "\\&.x\n\\&'y\na\\-b \\e c"


def test_records_are_as_their_schema_says():
    schema = record_schema()
    record = json.loads(msgspec.json.encode(outcome("a")))
    jsonschema.validate(record, schema)
    del record["files"]
    with pytest.raises(jsonschema.ValidationError, match="'files' is a required property"):
        jsonschema.validate(record, schema)


def test_a_summary_is_as_its_schema_says(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "jobs.jsonl").write_text('{"model": "venice-sd35", "prompt": "p", "width": 64, "height": 64}\n')
    assert main(["jobs.jsonl", "--sandbox", "--sandbox-latency", "0", "--json"]) == 0
    jsonschema.validate(json.loads(capsys.readouterr().out), summary_schema())
