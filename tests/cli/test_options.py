"""Options that several subcommands share."""

import json

import click
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from venice_batch.cli import options
from venice_batch.cli.commands import COMMANDS, cli
from venice_batch.cli.commands import command as make_command
from venice_batch.cli.main import main
from venice_batch.cli.parameters import AnyOf, Duration, Number, WholeNumber, option
from venice_batch.cli.sandbox_options import sandbox_options, sandbox_settings
from venice_batch.errors import UsageError
from venice_batch.sandbox import SandboxSettings


def duration(value):
    return Duration().convert(value, None, None)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90", 90), ("1.5", 1.5), ("90s", 90), ("15m", 900), ("1.5m", 90), ("2h", 7200), ("1d", 86_400),
        ("250ms", 0.25), (" 2 H ", 7200), (10, 10), (0.5, 0.5),
    ],
)  # fmt: skip
def test_a_duration_is_seconds_or_a_number_with_a_unit(text, seconds):
    assert duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "value", ["", "0", "0s", "0.0m", "-1", "soon", "1w", "1m30s", "1,5", "inf", "nan", "1e3", "9" * 400, 0, -1,
              float("nan"), float("inf"), True, None]
)  # fmt: skip
def test_an_invalid_duration_is_refused_from_every_source(value):
    with pytest.raises(click.BadParameter, match="is not a duration"):
        duration(value)


@given(st.text(max_size=12) | st.from_regex(r"[0-9.]{0,6} ?(ms|s|m|h|d)?", fullmatch=True))
def test_any_text_is_a_positive_duration_or_refused(text):
    try:
        assert duration(text) > 0
    except click.BadParameter as error:
        assert "is not a duration" in error.message  # noqa: PT017


@pytest.mark.parametrize(
    ("kind", "value", "message"),
    [
        (WholeNumber(1, 9), "0", "0 is not a whole number from 1 to 9"),
        (WholeNumber(min=1), "-3", "-3 is not a whole number of 1 or more"),
        (WholeNumber(min=1), 0, "0 is not a whole number of 1 or more"),
        (WholeNumber(min=1), "20MB", "'20MB' is not a whole number of 1 or more"),
        (WholeNumber(min=1), "1.5", "1.5 is not a whole number of 1 or more"),
        (Number(0, 1), "7", "7 is not a number from 0 to 1"),
        (Number(min=0), "nan", "'nan' is not a number of 0 or more"),
        (Number(min=0), float("inf"), "inf is not a number of 0 or more"),
        (Number(min=0), "", "'' is not a number of 0 or more"),
    ],
)
def test_a_number_beyond_its_limits_is_refused_with_them(kind, value, message):
    with pytest.raises(click.BadParameter) as refused:
        kind.convert(value, None, None)
    assert refused.value.message == message


@pytest.mark.parametrize(("kind", "value", "number"), [(WholeNumber(1, 9), "9", 9), (Number(0, 1), "0.5", 0.5)])
def test_a_number_within_its_limits_is_taken(kind, value, number):
    assert kind.convert(value, None, None) == number


@make_command(name="command")
@option("--wait", type=Duration(), default=5.0)
@options.base_url
@options.api_key_file
@options.use_sandbox
@options.as_json
@sandbox_options("sandbox-")
@click.pass_context
def command(context, **given):
    context.obj.update(given)


def given_options(*args, env=None):
    given = {}
    result = CliRunner().invoke(command, args, obj=given, env=env, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return given


def settings(*args):
    return sandbox_settings(given_options(*args))


def test_without_options_the_sandbox_has_its_own_defaults():
    assert settings() == SandboxSettings()


def test_each_option_of_the_sandbox_is_its_setting():
    made = settings(
        "--sandbox-rpm", "0", "--sandbox-latency", "0.5", "--sandbox-speed", "30", "--sandbox-capacity", "2",
        "--sandbox-fault-rate", "0.25", "--sandbox-faults", "500,reset-mid", "--sandbox-balance", "1.5",
        "--sandbox-draw", "plain",
    )  # fmt: skip
    assert made == SandboxSettings(
        rpm=0, latency_s=0.5, speed=30.0, capacity=2, fault_rate=0.25, fault_kinds=("500", "reset-mid"),
        balance_usd=1.5, draw="plain",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("setting", "name", "value"),
    [
        ("rpd=100", "rpd", 100),
        ("block_s=2.5", "block_s", 2.5),
        ("window=sliding", "window", "sliding"),
        ("api_key=a=b", "api_key", "a=b"),
        ("compress=False", "compress", False),
        ("count_refused=yes", "count_refused", True),
        ("pro_models=a,b", "pro_models", frozenset({"a", "b"})),
        ("fault_kinds=500,503", "fault_kinds", ("500", "503")),
        ("rpm_by_model=sd:5,flux:10", "rpm_by_model", {"sd": 5, "flux": 10}),
        ("fault_schedule=1:500,7:empty", "fault_schedule", {1: "500", 7: "empty"}),
        ("deprecated=old:new", "deprecated", {"old": "new"}),
    ],
)
def test_any_other_setting_has_its_type(setting, name, value):
    found = getattr(settings("--sandbox-set", setting), name)
    assert found == value
    assert type(found) is type(value)


def test_settings_given_by_name_go_before_options_and_may_be_several():
    made = settings("--sandbox-rpm", "5", "--sandbox-set", "rpm=7", "--sandbox-set", "rpd=9")
    assert (made.rpm, made.rpd) == (7, 9)


@pytest.mark.parametrize(
    "setting",
    ["rpm", "unknown=1", "=1", "", "rpm=many", "rpm=1.5", "rpm=", "speed=fast", "compress=maybe", "rpm_by_model=sd",
     "rpm_by_model=sd:x", "fault_schedule=first:500", "rpm=-1", "speed=0", "speed=nan", "window=round"],
)  # fmt: skip
def test_an_invalid_setting_is_refused_with_its_name(setting):
    with pytest.raises(UsageError, match="sandbox") as caught:
        settings("--sandbox-set", setting)
    assert setting.partition("=")[0] in str(caught.value)


def test_an_unknown_fault_is_refused():
    with pytest.raises(UsageError, match="unknown fault 'boom'"):
        settings("--sandbox-faults", "500,boom")


def test_a_setting_that_is_no_number_is_refused():
    with pytest.raises(UsageError, match="speed"):
        settings("--sandbox-set", "speed=nan")


def test_an_unknown_setting_is_answered_with_the_known_ones():
    with pytest.raises(UsageError, match="rpm_by_model, speed"):
        settings("--sandbox-set", "sped=3")


def test_every_option_reads_its_variable_too():
    found = given_options(
        env={"VENICE_BATCH_WAIT": "2m", "VENICE_BATCH_BASE_URL": "http://localhost:1/", "VENICE_BATCH_SANDBOX_RPM": "3"}
    )
    assert (found["wait"], found["base_url"], found["sandbox_rpm"]) == (120.0, "http://localhost:1/", 3)


def test_shared_options_have_the_documented_defaults():
    found = given_options()
    assert (found["base_url"], found["api_key_file"], found["sandbox"], found["as_json"], found["wait"]) == (
        options.VENICE, None, False, False, 5.0,
    )  # fmt: skip


def test_words_of_a_list_are_completed_after_a_comma():
    words = AnyOf("failed", "rejected", "rerouted")
    found = words.shell_complete(None, None, "failed,re")
    assert [item.value for item in found] == ["failed,rejected", "failed,rerouted"]


@pytest.mark.parametrize("text", ["venice-sd35", '{"venice-sd35":"chroma"}'])
def test_the_form_of_values_by_model_is_explained(text):
    with pytest.raises(UsageError, match="deprecated \\(KEY:VALUE,KEY:VALUE\\)"):
        settings("--sandbox-set", f"deprecated={text}")


@pytest.mark.parametrize("address", ["https://host/x", "file:///tmp/x", "ftp://b", "A+b-1.c://x"])
@pytest.mark.parametrize("by", ["option", "variable", "file"])
def test_an_address_is_no_output_folder(tmp_path, monkeypatch, capsys, address, by):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "jobs.jsonl").write_text('{"model": "venice-sd35", "prompt": "p"}\n')
    args = ["jobs.jsonl", "--sandbox"]
    if by == "option":
        args += ["-o", address]
    elif by == "variable":
        monkeypatch.setenv("VENICE_BATCH_OUTPUT", address)
    else:
        (tmp_path / "c.toml").write_text(f'[run]\noutput = "{address}"\n')
        args += ["--config", "c.toml"]
    before = sorted(tmp_path.iterdir())
    assert main(args) == 2
    error = capsys.readouterr().err
    assert f"{address} is an address, not a folder" in error
    assert error.count("\n") == 1
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    "args",
    [
        ["run", "jobs.jsonl", "--junit"], ["run", "jobs.jsonl", "--metrics-file"], ["report", "out", "--html"],
        ["export", "out", "--csv"], ["export", "out", "--parquet"], ["expand", "jobs.jsonl", "-o"],
        ["sandbox", "--ready-file"],
    ],
)  # fmt: skip
def test_an_address_is_no_file_to_write(capsys, args):
    assert main([*args, "s3://bucket/x"]) == 2
    assert "s3://bucket/x is an address, not a file" in capsys.readouterr().err
    assert main([*args, "https://bob:s3cret@host/x"]) == 2
    assert "https://***@host/x is an address" in capsys.readouterr().err


@pytest.mark.parametrize(
    "args",
    [
        ["run", "jobs.jsonl", "--junit"], ["run", "jobs.jsonl", "--metrics-file"], ["report", "out", "--html"],
        ["run", "jobs.jsonl", "--budget-file"], ["check", "jobs.jsonl", "--freeze"], ["report", "out", "--grid"],
        ["export", "out", "--csv"], ["export", "out", "--parquet"], ["export", "out", "--openai"],
        ["expand", "jobs.jsonl", "-o"], ["jobs-from", "out", "-o"], ["schema", "-o"], ["sandbox", "--ready-file"],
    ],
)  # fmt: skip
def test_a_file_of_an_output_folder_is_no_file_to_write(tmp_path, monkeypatch, capsys, args):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "jobs.jsonl").write_text('{"id": "a", "model": "venice-sd35", "prompt": "p"}\n')
    (tmp_path / "out" / "images" / "deep").mkdir(parents=True)
    (tmp_path / "out" / "manifest.jsonl").touch()
    (tmp_path / "link.csv").symlink_to("out/manifest.jsonl")
    names = ["manifest.jsonl", "annotations.jsonl", "marks.jsonl", "summary.json", ".run.json", ".lock", ".lock-held"]
    names += ["images/fox-1.webp", "images/deep/new.csv", "unrecognised/a.bin", "rejected/a.webp", "../link.csv"]
    for name in names:
        assert main([*args, f"out/{name}"]) == 2
        error = capsys.readouterr().err
        assert f"out/{name} belongs to an output folder's records and images; choose another name" in error
        assert error.count("\n") == 1
    assert (tmp_path / "out" / "manifest.jsonl").read_bytes() == b""


def test_a_file_of_those_names_may_be_written_where_no_run_has_been(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "images").mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "manifest.jsonl").touch()
    for name in ("images/schema.json", "manifest.jsonl", "out/schema.json", "out/gallery.html"):
        assert main(["schema", "-o", name]) == 0
        assert (tmp_path / name).stat().st_size


def test_a_file_beside_another_programs_manifest_may_be_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "images/predictions").mkdir(parents=True)
    (tmp_path / "manifest.jsonl").write_text('{"file": "x"}\n')
    for name in ("summary.json", "images/predictions/schema.json"):
        assert main(["schema", "-o", name]) == 0
    (tmp_path / "manifest.jsonl").write_text('{"schema":1,"run_id":"r","id":"a"}\n')
    assert main(["schema", "-o", "summary.json"]) == 2


@pytest.mark.parametrize("option", ["--junit", "--metrics-file", "--budget-file"])
def test_a_file_of_the_folder_that_a_run_is_to_make_is_refused_too(tmp_path, monkeypatch, capsys, option):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "jobs.jsonl").write_text('{"id": "a", "model": "venice-sd35", "prompt": "p"}\n')
    for place in (["out/manifest.jsonl", "-o", "out"], ["output/jobs/images/a.webp"]):
        assert main(["jobs.jsonl", "--sandbox", option, *place]) == 2
        error = capsys.readouterr().err
        assert error.startswith(f"venice-batch: {option}: {place[0]} belongs to an output folder's")
    assert [path.name for path in tmp_path.iterdir()] == ["jobs.jsonl"]


@pytest.mark.parametrize("words", ["check jobs.jsonl", "run jobs.jsonl", "models", "limits"])
def test_a_password_in_an_address_is_refused_and_shown_nowhere(tmp_path, monkeypatch, capsys, words):
    (tmp_path / "jobs.jsonl").write_text('{"id": "a", "model": "venice-sd35", "prompt": "p"}\n')
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VENICE_API_KEY", "k")
    monkeypatch.setenv("VENICE_BATCH_BASE_URL", "http://bob:s3cret@127.0.0.1:1/api/v1")
    assert main(words.split()) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("venice-batch: --base-url: the address must not contain a name or password")
    assert (err.count("\n"), "s3cret" in err) == (1, False)


PRINTED = {
    "run": ("run jobs.jsonl --sandbox --sandbox-latency 0", dict),
    "check": ("check jobs.jsonl --sandbox", dict),
    "report": ("report output/jobs", dict),
    "prune": ("prune output/jobs --rejected", dict),
    "annotate": ("annotate output/jobs scores.csv", dict),
    "merge": ("merge output/jobs -o all", dict),
    "models": ("models --offline", list),
    "styles": ("styles --offline", list),
    "limits": ("limits --sandbox", dict),
    "config": ("config", dict),
    "sets": ("sets", list),
}
"""For each command with `--json`: a command line, and the type of the value that it prints."""


def test_the_help_of_json_is_true_for_every_command(tmp_path, monkeypatch, capsys):
    (tmp_path / "jobs.jsonl").write_text('{"id": "a", "model": "venice-sd35", "prompt": "p"}\n')
    (tmp_path / "scores.csv").write_text("id,score\na,0.5\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    context = click.Context(cli)
    helps = {
        name: param.help
        for name in COMMANDS
        for param in cli.get_command(context, name).params
        if "--json" in param.opts
    }
    # test_reconcile.py runs `reconcile`, which needs a server's usage history.
    assert helps.pop("reconcile").startswith("Print one JSON object")
    assert helps.keys() == PRINTED.keys()
    for name, (words, kind) in PRINTED.items():
        assert main([*words.split(), "--json"]) == 0
        printed = capsys.readouterr().out
        assert type(json.loads(printed)) is kind
        assert printed.count("\n") == 1
        assert helps[name].startswith("Print one JSON object" if kind is dict else "Print one JSON array")
        assert helps[name].endswith(" on standard output, and nothing else there.")
    assert "object for NAME and --diff" in helps["models"]
    assert main(["models", "venice-sd35", "--offline", "--json"]) == 0
    assert type(json.loads(capsys.readouterr().out)) is dict
