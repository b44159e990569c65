"""schema through the command line, in this process."""

import json
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from venice_batch.cli.main import main
from venice_batch.report import log_lines

JOBS = Path(__file__).parent.parent.parent / "jobs"


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def made(*arguments):
    assert main(["schema", *arguments, "-o", "jobs.schema.json"]) == 0
    return Draft202012Validator(json.loads(Path("jobs.schema.json").read_text()))


@pytest.mark.parametrize("path", sorted(JOBS.glob("*.jsonl")), ids=lambda path: path.name)
def test_the_jobs_that_come_with_the_package_are_valid(path):
    validator = made()
    for line in filter(None, path.read_text().splitlines()):
        validator.validate(json.loads(line))


def test_it_goes_to_standard_output(capfdbinary):
    assert main(["schema"]) == 0
    found = json.loads(capfdbinary.readouterr().out)
    assert "venice-sd35" in found["$defs"]["GenerateRequest"]["properties"]["model"]["examples"]
    assert "Anime" in found["$defs"]["GenerateRequest"]["properties"]["style_preset"]["examples"]


def test_fields_of_settings_files_and_options_need_not_stand_in_a_line():
    Path("venice-batch.toml").write_text('[defaults]\nmodel = "venice-sd35"\n')
    assert made().is_valid({"prompt": "p"})
    assert not made().is_valid({"model": "m"})
    assert made("--set", "prompt=p").is_valid({"seed": 1})


def test_an_array_is_for_editors():
    assert made("--array").is_valid([{"model": "m", "prompt": "p"}])
    assert not made("--array").is_valid([{"model": "m"}])


def test_a_line_of_the_log_has_a_schema_too(capfdbinary):
    assert main(["schema", "--log"]) == 0
    assert json.loads(capfdbinary.readouterr().out) == log_lines.schema()


def test_a_setting_that_no_field_takes_is_reported(capfd):
    assert main(["schema", "--set", "sede=1"]) == 2
    assert "--set sede: no endpoint has this field; did you mean 'seed'?" in capfd.readouterr().err
