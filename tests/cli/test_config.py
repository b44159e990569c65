"""Settings files and `venice-batch config`, through the command line."""

import json
import os
from pathlib import Path

import click
import pytest

from venice_batch.cli.commands import COMMANDS, cli
from venice_batch.cli.main import main
from venice_batch.cli.parameters import Option
from venice_batch.cli.settings import command_named

GOOD = {"id": "a", "model": "venice-sd35", "prompt": "p", "width": 64, "height": 64}


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")


def project(text, name="venice-batch.toml"):
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    Path(name).write_text(text)


def user(text):
    project(text, os.environ["XDG_CONFIG_HOME"] + "/venice-batch/config.toml")


def shown(capsys, *args):
    capsys.readouterr()
    assert main(["config", *args, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def values(capsys, *args):
    return {name: row["value"] for name, row in shown(capsys, *args)["options"].items()}


def refused(capsys, *args):
    capsys.readouterr()
    assert main([*(args or ("config",))]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert error.startswith("venice-batch: ")
    return error.removeprefix("venice-batch: ").rstrip("\n")


def jobs(**fields):
    Path("jobs.jsonl").write_text(json.dumps({**GOOD, **fields}) + "\n")


def test_a_run_takes_its_options_and_job_fields_from_the_file(capsys):
    Path("prompts.txt").write_text("a lagoon\n")
    project('[defaults]\nmodel = "venice-sd35"\nwidth = 64\nheight = 64\n[run]\nsandbox = true\nsandbox-latency = 0\n')
    assert main(["prompts.txt", "--set", "width=128"]) == 0
    record = json.loads(Path("output/prompts/manifest.jsonl").read_text())
    assert record["request"] == {
        "prompt": "a lagoon",
        "model": "venice-sd35",
        "width": 128,
        "height": 64,
        "return_binary": True,
    }


def test_the_stronger_place_wins(capsys, monkeypatch):
    project("[run]\nrpm = 2\nmax-attempts = 2\nconcurrency = 2\n[profile.p.run]\nmax-attempts = 3\nconcurrency = 3\n")
    user("[run]\nrpm = 1\nmax-failures = 1\n[profile.p.run]\nconcurrency = 1\nmax-time = 1\n")
    monkeypatch.setenv("VENICE_BATCH_CONCURRENCY", "4")
    found = shown(capsys, "--profile", "p")["options"]
    own = os.environ["XDG_CONFIG_HOME"] + "/venice-batch/config.toml"
    assert {name: row["from"] for name, row in found.items() if row["from"] != "default"} == {
        "concurrency": "VENICE_BATCH_CONCURRENCY",
        "max-attempts": "venice-batch.toml (profile p)",
        "rpm": "venice-batch.toml",
        "max-failures": own,
        "max-time": f"{own} (profile p)",
    }
    assert [found[name]["value"] for name in ("concurrency", "max-attempts", "rpm")] == [4, 3, 2]


def test_the_command_line_goes_before_all_and_turns_switches_off_too(capsys, monkeypatch):
    jobs()
    project('[run]\nsandbox = true\nsandbox-latency = 0\nquiet = true\njson = true\nname = "x-{id}"\n')
    monkeypatch.setenv("VENICE_BATCH_NAME", "y-{id}")
    assert main(["jobs.jsonl", "--no-quiet", "--no-json", "--name", "z-{id}"]) == 0
    assert "1 job: 1 succeeded" in capsys.readouterr().out
    assert os.listdir("output/jobs/images") == ["z-a.webp"]


def test_a_profile_may_be_chosen_by_variable(capsys, monkeypatch):
    project("[profile.nightly.run]\nrpm = 3\n")
    monkeypatch.setenv("VENICE_BATCH_PROFILE", "nightly")
    assert values(capsys)["rpm"] == 3
    assert shown(capsys)["profile"] == "nightly"


def test_a_profiles_false_turns_a_switch_off(capsys):
    project("[run]\nstrict = true\n[profile.p.run]\nstrict = false\n")
    assert values(capsys)["strict"] is True
    assert values(capsys, "--profile", "p")["strict"] is False


def test_files_may_be_named_or_left_out(capsys, monkeypatch):
    project("[run]\nrpm = 1\n")
    project("[run]\nrpm = 2\n", "other.toml")
    user("[run]\nmax-failures = 5\n")
    assert values(capsys, "--config", "other.toml")["rpm"] == 2
    assert values(capsys, "--config", "other.toml")["max-failures"] is None
    assert values(capsys, "--no-config")["rpm"] is None
    monkeypatch.setenv("VENICE_BATCH_NO_CONFIG", "1")
    assert values(capsys)["rpm"] is None
    assert refused(capsys, "config", "--config", "absent.toml").startswith("absent.toml: cannot be read")


def test_commands_about_a_run_go_by_the_runs_table_and_before_it_by_their_own(capsys):
    project('[run]\nrpm = 9\nstrict = true\nmax-time = "2h"\n[check]\nstrict = false\n')
    found = shown(capsys, "check")["options"]
    assert (found["rpm"]["value"], found["strict"]["value"]) == (9, False)
    assert values(capsys, "sandbox")["rpm"] is None


def test_paths_are_relative_to_their_file(capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    project('[run]\noutput = "out"\n')
    user('[run]\napi-key-file = "~/key"\n')
    assert values(capsys)["output"] == "out"
    Path("sub").mkdir()
    monkeypatch.chdir("sub")
    found = values(capsys)
    assert found["output"] == f"{tmp_path}/out"
    assert found["api-key-file"] == "/home/me/key"


def test_options_that_may_be_given_several_times_take_a_list(capsys):
    project('[run]\nsandbox-set = ["rpd=1", "compress=no"]\n')
    assert values(capsys)["sandbox-set"] == ["rpd=1", "compress=no"]


@pytest.mark.parametrize(
    ("text", "reported"),
    [
        ("[run]\nconcurency = 3", ": run.concurency: `run` has no such option; did you mean 'concurrency'?"),
        ("[run]\nmax_time = 3", ": run.max_time: `run` has no such option; did you mean 'max-time'?"),
        ("[rnu]\n", ": rnu: no such table; did you mean 'run'?"),
        ("run = 1", ": run: expected a table, as in [run]"),
        ("profile = 1", ": profile: expected a table, as in [profile]"),
        ("[profile]\nx = 1", ": profile.x: expected a table, as in [profile.x.run]"),
        ("[profile.x]\nrpm = 1", ": profile.x.rpm: no such table; the known ones are annotate, check, "),
        ("[run]\nrpm = true", ": run.rpm: expected an integer"),
        ("[run]\nrpm = '3'", ": run.rpm: expected an integer"),
        ("[run]\nrpm = 0", ": run.rpm: 0 is not a whole number of 1 or more"),
        ("[run]\nmax-cost = 'a'", ": run.max-cost: expected a number"),
        ("[run]\nmax-time = 2020-01-01", ": run.max-time: expected a number or a quoted string"),
        ("[run]\nmax-time = 'soon'", ": run.max-time: 'soon' is not a duration"),
        ("[run]\nquiet = 1", ": run.quiet: expected true or false"),
        ("[run]\non-finish = 'rm -r x'", ": run.on-finish: a file cannot name a command to run"),
        ("[run]\noutput = 1", ": run.output: expected a quoted string"),
        ("[run]\nresponse = 'png'", ": run.response: 'png' is not one of"),
        ("[run]\nsandbox-set = 'a=b'", ": run.sandbox-set: expected a list"),
        ("[run]\nset = ['a=b']", ": run.set: job fields belong in [defaults]"),
        ("[profile.p.run]\nset = 1", ": profile.p.run.set: job fields belong in [profile.p.defaults]"),
        ("[run]\nprofile = 'p'", ": run.profile: `run` has no such option"),
        ("[defaults]\nwidht = 1", ": defaults.widht: no endpoint has this field; did you mean 'width'?"),
        ("[defaults]\nwidth = '1'", ": defaults.width: '1' is a string; expected an integer"),
        ("[defaults]\nwidth = 9999", ": defaults.width: 9999 is out of range"),
        ("[run]\napi-key = 'SECRET'", ": run.api-key: the API key must not be in a settings file"),
        ("VENICE_API_KEY = 'SECRET'", ": VENICE_API_KEY: the API key must not be in a settings file"),
        ("[defaults]\ntoken = 'SECRET'", ": defaults.token: the API key must not be in a settings file"),
        ("[run", ": is not valid TOML: "),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line_with_its_place(capsys, text, reported):
    project(text)
    error = refused(capsys)
    assert error.startswith("venice-batch.toml" + reported)
    assert "SECRET" not in error


def test_a_mistake_stops_a_run_before_anything_is_sent(capsys):
    jobs()
    project("[run]\nrpm = 0\n")
    assert "run.rpm" in refused(capsys, "jobs.jsonl", "--sandbox")
    assert not Path("output").exists()


def test_help_works_despite_a_broken_file(capsys):
    project("[run")
    assert main(["run", "--profile", "x", "--help"]) == 0
    assert "as many as quota and latency need" in " ".join(capsys.readouterr().out.split())


def test_an_unknown_profile_is_answered_with_the_known(capsys):
    assert refused(capsys, "config", "--profile", "x") == "--profile x: no such profile; no file has profiles"
    project("[profile.a]\n[profile.b.run]\n")
    assert refused(capsys, "config", "--profile", "x") == "--profile x: no such profile; the profiles are a, b"


def test_only_config_checks_what_is_not_in_use(capsys):
    jobs()
    project("[profile.a.report]\nx = 1\n")
    assert main(["check", "jobs.jsonl", "--offline"]) == 0
    assert refused(capsys).startswith("venice-batch.toml: profile.a.report.x: `report` has no such option")


def test_the_server_of_the_stronger_source_counts(capsys, monkeypatch):
    jobs()
    project('[run]\nbase-url = "http://127.0.0.1:9"\nsandbox-latency = 0\n[profile.try.run]\nsandbox = true\n')
    assert main(["jobs.jsonl", "--sandbox", "-o", "one"]) == 0
    assert main(["jobs.jsonl", "--profile", "try", "-o", "two"]) == 0
    assert values(capsys, "--profile", "try")["base-url"].startswith("https://api.venice.ai")
    monkeypatch.setenv("VENICE_BATCH_SANDBOX", "1")
    monkeypatch.setenv("VENICE_API_KEY", "k")
    assert main(["styles", "--base-url", "http://127.0.0.1:9"]) == 75
    project('[run]\nbase-url = "http://127.0.0.1:9"\nsandbox = true\n')
    monkeypatch.delenv("VENICE_BATCH_SANDBOX")
    assert "two servers" in refused(capsys, "jobs.jsonl")


def test_an_address_from_a_file_is_printed_before_the_key_is_sent_there(capsys, monkeypatch):
    monkeypatch.setenv("VENICE_API_KEY", "k")
    user('[run]\nbase-url = "http://127.0.0.1:9"\n')
    assert main(["styles"]) == 75
    assert " sets the API's address to http://127.0.0.1:9" in capsys.readouterr().err.splitlines()[0]
    assert main(["styles", "--base-url", "http://127.0.0.1:10"]) == 75
    assert "the API's address" not in capsys.readouterr().err


def test_only_quiet_by_hand_hides_the_server_of_a_file(capsys, monkeypatch):
    jobs()
    monkeypatch.setenv("VENICE_API_KEY", "k")
    user('[run]\nbase-url = "http://127.0.0.1:9"\nquiet = true\nmax-time = 1\n')
    assert main(["jobs.jsonl"]) == 75
    assert " sets the API's address to http://127.0.0.1:9" in capsys.readouterr().err
    assert main(["jobs.jsonl", "--quiet"]) == 75
    assert "the API's address" not in capsys.readouterr().err


def test_a_complaint_about_a_variable_names_it(capsys, monkeypatch):
    monkeypatch.setenv("VENICE_BATCH_RPM", "many")
    assert "(from VENICE_BATCH_RPM)" in refused(capsys, "jobs.jsonl")
    assert "(from VENICE_BATCH_RPM)" in refused(capsys, "config")


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_shows_its_settings(capsys, name):
    assert main(["config", name]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "files: none"
    assert lines[1].split() == [name, "value", "from"]


def test_the_table_has_fields_profile_and_key_too(capsys, monkeypatch):
    project("[profile.p.defaults]\nwidth = 512\n")
    monkeypatch.setenv("VENICE_API_KEY", "SECRET")
    assert main(["config", "--profile", "p"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("files: venice-batch.toml; profile: p\nrun ")
    rows = [" ".join(line.split()) for line in out.splitlines()]
    assert rows[-2:] == [
        "defaults.width 512 venice-batch.toml (profile p)",
        "API key present VENICE_API_KEY",
    ]
    assert "strict false default" in rows
    assert "SECRET" not in out


def test_the_key_is_shown_as_present_or_not_and_never_itself(capsys, monkeypatch):
    assert shown(capsys)["api_key"]["present"] is False
    Path("key").write_text("SECRET\n")
    project('[run]\napi-key-file = "key"\n', "own.toml")
    monkeypatch.setenv("VENICE_BATCH_CONFIG", "own.toml")
    assert shown(capsys)["api_key"] == {"present": True, "from": "key (own.toml)"}
    Path("key").write_text("two words SECRET\n")
    assert main(["config"]) == 0
    out = capsys.readouterr().out
    assert "unusable: the API key contains characters that no key has" in out
    assert "SECRET" not in out
    assert shown(capsys, "report")["api_key"] is None
    assert shown(capsys, "report")["defaults"] is None


def test_an_unknown_command_is_answered_with_the_known(capsys):
    assert "is not one of 'run'" in refused(capsys, "config", "nur")


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_of_every_command_reads_its_variable_and_a_file(name):
    """`parameters.option`, not `click.option`, and `command()`, not `click.command()`."""
    for parameter in command_named(click.Context(cli), name).params:
        if parameter.param_type_name == "option":
            assert isinstance(parameter, Option), parameter
            variable = "VENICE_BATCH_" + parameter.long_name.replace("-", "_").upper()
            assert parameter.envvar == (variable if parameter.allow_from_autoenv else None)


def test_variables_are_named_as_the_options(monkeypatch):
    jobs()
    monkeypatch.setenv("VENICE_BATCH_SET", "seed=5 steps=9")
    monkeypatch.setenv("VENICE_BATCH_JSON", "1")
    monkeypatch.setenv("VENICE_BATCH_SANDBOX_LATENCY", "0")
    assert main(["jobs.jsonl", "--sandbox"]) == 0
    request = json.loads(Path("output/jobs/manifest.jsonl").read_text())["request"]
    assert (request["seed"], request["steps"]) == (5, 9)


def test_a_files_job_fields_are_taken_as_they_are(capsys):
    Path("jobs.jsonl").write_text('{"id": "a", "model": "venice-sd35", "prompt": "p"}\n')
    project('[defaults]\nseed = 5\ncfg_scale = 7.0\nnegative_prompt = "5"\nnew = 2020-01-02\nmore = {a = ["x=1"]}\n')
    capsys.readouterr()
    assert main(["expand", "jobs.jsonl", "--allow-unknown", "--set", "seed=6", "-o", "all.jsonl"]) == 0
    assert json.loads(Path("all.jsonl").read_text()) == {
        "id": "a",
        "model": "venice-sd35",
        "prompt": "p",
        "seed": 6,
        "cfg_scale": 7.0,
        "negative_prompt": "5",
        "new": "2020-01-02",
        "more": {"a": ["x=1"]},
    }
    assert "defaults.new: no endpoint has this field" in refused(capsys, "expand", "jobs.jsonl")


SWEEP = """
[defaults]
steps = 5
[defaults.matrix]
model = ["venice-sd35", "nano-banana-pro"]
[defaults.vars]
subject = ["a red, fat cat", "dog"]
[defaults.model."venice-sd35"]
width = 64
[defaults.model."nano-banana-pro"]
aspect_ratio = "1:1"
"""


def expanded(capsys, *args, text="A {subject}\n"):
    Path("prompts.txt").write_text(text)
    capsys.readouterr()
    assert main(["expand", "prompts.txt", *args]) == 0
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def requests(capsys, *args, **options):
    beside = ("id", "metadata")
    return [{name: line[name] for name in line if name not in beside} for line in expanded(capsys, *args, **options)]


def test_a_file_gives_matrix_variables_and_fields_of_one_model(capsys):
    project(SWEEP)
    assert requests(capsys)[:2] == [
        {"model": "venice-sd35", "prompt": "A a red, fat cat", "steps": 5, "width": 64},
        {"model": "nano-banana-pro", "prompt": "A a red, fat cat", "steps": 5, "aspect_ratio": "1:1"},
    ]
    assert len(requests(capsys)) == 4
    assert len(requests(capsys, text="A street\n")) == 2, "its variables are for files that name them"
    rows = shown(capsys)["defaults"]
    assert rows["matrix.model"]["value"] == ["venice-sd35", "nano-banana-pro"]
    assert rows["model.venice-sd35.width"] == {"value": 64, "from": "venice-batch.toml"}


def test_the_command_line_wins_over_a_files_matrix_variables_and_fields_of_models(capsys):
    project(SWEEP)
    assert requests(capsys, "--set", "model=venice-sd35", "--set", "width=128", "--var", "subject=owl") == [
        {"model": "venice-sd35", "prompt": "A owl", "steps": 5, "width": 128}
    ]
    assert [line["steps"] for line in requests(capsys, "--matrix", "steps=6,7", "--set", "model=m", text="p\n")] == [
        6,
        7,
    ]


def test_a_profile_replaces_a_field_by_a_matrix_and_the_other_way_round(capsys):
    one = '[profile.p.defaults.matrix]\nsteps = [1, 2]\n[profile.q.defaults]\nmodel = "venice-sd35"\nwidth = 256\n'
    project(SWEEP + one)
    assert {line["steps"] for line in requests(capsys, "--profile", "p")} == {1, 2}
    assert [(line["model"], line["width"]) for line in requests(capsys, "--profile", "q", text="p\n")] == [
        ("venice-sd35", 256)
    ]


def test_models_is_the_table_of_models_beside_a_default_model(capsys):
    project('[defaults]\nmodel = "venice-sd35"\n[defaults.models."venice-sd35"]\nwidth = 64\n')
    assert requests(capsys, text="p\n") == [{"model": "venice-sd35", "width": 64, "prompt": "p"}]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("matrix = 5", "defaults.matrix: expected a table, as in [defaults.matrix] seed = [1, 2]"),
        ("matrix.seed = 5", "defaults.matrix.seed: expected an array of at least one value"),
        ("matrix.seed = [1, 1]", "defaults.matrix.seed: lists 1 2 times"),
        (
            'matrix.seed = ["x"]',
            "defaults.matrix.seed: 'x' is a string; expected an integer from -999999999 to 999999999",
        ),
        ("matrix.sead = [1]", "defaults.matrix.sead: no endpoint has this field; did you mean 'seed'?"),
        ("seed = 1\nmatrix.seed = [1]", "defaults.matrix.seed: has a value in [defaults] too; keep one of them"),
        ("vars = 5", 'defaults.vars: expected a table, as in [defaults.vars] subject = ["cat", "dog"]'),
        ("vars.a = [1]", "defaults.vars.a: 1 is not text; put it in quotes"),
        ("models.m = 5", 'defaults.models.m: expected a table, as in [defaults.model."NAME"] width = 768'),
        ("model.m.width = 0", "defaults.model.m.width: 0 is out of range; expected an integer from 1 to 1280"),
        ('model.m.model = "n"', "defaults.model.m.model: the table of a model cannot name another"),
    ],
)
def test_a_mistake_in_a_files_lists_names_the_key(capsys, text, found):
    project(f"[defaults]\n{text}\n")
    assert refused(capsys) == f"venice-batch.toml: {found}"
