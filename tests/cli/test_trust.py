"""A project's settings file may come from a stranger: its limits, and the settings that need the user's consent."""

import io
import json
import os
from pathlib import Path

import pytest

from venice_batch.cli.main import main

URL = "http://127.0.0.1:9/api/v1"
SERVER = f'[run]\nbase-url = "{URL}"\nquiet = true\nmax-time = 1\n'


@pytest.fixture(autouse=True)
def _a_project(tmp_path, monkeypatch):
    folder = tmp_path / "home/project"
    folder.mkdir(parents=True)
    folder.chmod(0o755)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("VENICE_API_KEY", "k")
    job = {"id": "a", "model": "venice-sd35", "prompt": "p", "width": 64, "height": 64}
    Path("jobs.jsonl").write_text(json.dumps(job) + "\n")


def project(text, name="venice-batch.toml"):
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    Path(name).write_text(text)


def stderr_of(capsys, *args, code):
    capsys.readouterr()
    assert main([*args]) == code
    return capsys.readouterr().err


def refused(capsys, *args):
    error = stderr_of(capsys, *args, code=2)
    assert error.count("\n") == 1
    return error.removeprefix("venice-batch: ").rstrip("\n")


@pytest.mark.parametrize("command", [["jobs.jsonl"], ["check", "jobs.jsonl"], ["models"], ["styles"], ["limits"]])
def test_no_key_goes_to_a_projects_server_without_consent(capsys, command):
    project(SERVER)
    assert refused(capsys, *command) == (
        f"venice-batch.toml: the API key would go to {URL}; if that is right: venice-batch trust venice-batch.toml"
    )
    assert not Path("output").exists()


def test_with_consent_the_key_goes_there_and_the_server_is_printed_despite_quiet_in_the_file(capsys):
    project(SERVER)
    assert main(["trust", "--yes"]) == 0
    assert f"venice-batch.toml sets the API's address to {URL}\n" in stderr_of(capsys, "jobs.jsonl", code=75)


@pytest.mark.parametrize(
    ("setting", "what"),
    [
        ('output = "s3://bucket/run"', "your credentials would be used for s3://bucket/run"),
        ("bucket-without-lock = true", "it accepts a bucket without a lock, where two runs can disturb each other"),
    ],
)
@pytest.mark.parametrize("command", [["jobs.jsonl", "--sandbox"], ["check", "jobs.jsonl", "--sandbox"]])
def test_a_projects_file_decides_nothing_about_buckets_without_consent(capsys, setting, what, command):
    project(f"[run]\n{setting}\n")
    consent = "if that is right: venice-batch trust venice-batch.toml"
    assert refused(capsys, *command) == f"venice-batch.toml: {what}; {consent}"
    assert main([*command, "--no-config", "-o", "out"]) == 0


def test_trust_names_the_buckets_of_a_file(capsys):
    project('[run]\noutput = "s3://bucket/run"\nreuse = ["az://c/old"]\nbucket-without-lock = true\n')
    assert main(["trust", "--yes"]) == 0
    shown = capsys.readouterr().out
    assert "your credentials are used for s3://bucket/run\n" in shown
    assert "your credentials are used for az://c/old\n" in shown
    assert "a bucket without a lock is accepted, where two runs can disturb each other\n" in shown


def test_a_changed_file_needs_consent_again(capsys):
    project(SERVER)
    assert main(["trust", "--yes"]) == 0
    project(SERVER.replace(":9/", ":10/"))
    assert "the API key would go to http://127.0.0.1:10/" in refused(capsys, "styles")
    project(SERVER)
    assert main(["styles"]) == 75
    assert main(["trust", "--forget"]) == 0
    assert "the API key would go to" in refused(capsys, "styles")


def test_a_server_in_a_profile_needs_consent_where_the_profile_is_used(capsys):
    project(f'[profile.p.run]\nbase-url = "{URL}"\n')
    assert "(profile p): the API key would go to" in refused(capsys, "styles", "--profile", "p")
    assert main(["jobs.jsonl", "--sandbox", "--sandbox-latency", "0"]) == 0


@pytest.mark.parametrize("by", ["option", "variable", "config", "own"])
def test_the_users_own_settings_need_no_consent(capsys, monkeypatch, by):
    project(SERVER)
    options = []
    if by == "option":
        options = ["--base-url", "http://127.0.0.1:10"]
    elif by == "variable":
        monkeypatch.setenv("VENICE_BATCH_BASE_URL", URL)
    elif by == "config":
        options = ["--config", "venice-batch.toml"]
    else:
        Path("venice-batch.toml").unlink()
        project(SERVER, os.environ["XDG_CONFIG_HOME"] + "/venice-batch/config.toml")
    assert main(["styles", *options]) == 75


def test_a_sandbox_and_the_api_itself_need_no_consent(capsys):
    project("[run]\nsandbox = true\nsandbox-latency = 0\n")
    assert main(["jobs.jsonl"]) == 0
    project('[run]\nbase-url = "https://api.venice.ai/api/v1/"\n')
    assert main(["check", "jobs.jsonl", "--offline"]) == 0
    assert main(["trust"]) == 0
    assert "nothing needs your consent" in capsys.readouterr().out


def test_a_refusal_is_json_on_request(capsys):
    project(SERVER)
    assert main(["styles", "--json"]) == 2
    assert "the API key would go to" in json.loads(capsys.readouterr().out)["reason"]


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize(("answer", "code"), [("y\n", 0), ("n\n", 1), ("\n", 1)])
def test_trust_shows_what_the_file_does_and_asks(capsys, monkeypatch, answer, code):
    project(SERVER + '[defaults]\nmodel = "x\\u001b[2J"\n')
    monkeypatch.setattr("sys.stdin", Terminal(answer))
    assert main(["trust"]) == code
    out = capsys.readouterr().out
    assert f"the API key goes to {URL}\n  run.base-url = '{URL}'\n" in out
    assert "  run.quiet = True\n" in out
    assert "  defaults.model = 'x\\x1b[2J'\n" in out
    assert main(["styles"]) == (75 if code == 0 else 2)


@pytest.mark.parametrize("stdin", [io.StringIO("y\n"), None])
def test_without_a_terminal_yes_is_required(capsys, monkeypatch, stdin):
    project(SERVER)
    monkeypatch.setattr("sys.stdin", stdin)
    assert "there is no terminal to ask on; read the file, then give --yes" in stderr_of(capsys, "trust", code=2)
    assert main(["styles"]) == 2


@pytest.mark.parametrize("url", ["https://bob:s3cret@host/v1", "ftp://bob:s3cret@host", "no address"])
def test_a_server_that_cannot_be_one_is_not_trusted_and_no_password_is_shown(capsys, url):
    project(f'[run]\nbase-url = "{url}"\n')
    for command in (["trust", "--yes"], ["styles"]):
        capsys.readouterr()
        assert main(command) == 2
        out, err = capsys.readouterr()
        assert "s3cret" not in out + err
    assert not list(Path(os.environ["XDG_STATE_HOME"]).iterdir())


def test_a_file_cannot_consent_to_itself(capsys, monkeypatch):
    project(SERVER + "[trust]\nyes = true\n")
    monkeypatch.setenv("VENICE_BATCH_YES", "1")
    assert "`trust` has no such option" in refused(capsys, "trust")
    project(SERVER)
    assert "there is no terminal to ask on" in stderr_of(capsys, "trust", code=2)


def test_trust_takes_a_file_by_name_and_refuses_one_with_mistakes(capsys, tmp_path):
    assert "there is no venice-batch.toml here or above" in refused(capsys, "trust")
    project(SERVER, "sub/venice-batch.toml")
    assert main(["trust", "sub/venice-batch.toml", "--yes"]) == 0
    project(SERVER + "rpm = 0\n", "sub/venice-batch.toml")
    assert "run.rpm: 0 is not a whole number of 1 or more" in refused(capsys, "trust", "sub/venice-batch.toml", "--yes")
    assert "cannot be read" in refused(capsys, "trust", "absent.toml")


WRITTEN = [
    ("run", "output"),
    ("run", "metrics-file"),
    ("run", "junit"),
    ("run", "budget-file"),
    ("run", "scratch"),
    ("check", "output"),
    ("check", "scratch"),
    ("check", "budget-file"),
    ("report", "html"),
    ("report", "grid"),
    ("export", "csv"),
    ("export", "parquet"),
    ("export", "openai"),
    ("export", "imagefolder"),
    ("export", "webdataset"),
    ("export", "captions"),
    ("export", "to"),
    ("expand", "output"),
    ("jobs-from", "output"),
    ("schema", "output"),
    ("merge", "output"),
    ("sandbox", "ready-file"),
]


@pytest.mark.no_cover
@pytest.mark.parametrize(("table", "key"), WRITTEN)
@pytest.mark.parametrize("path", ["~/.bashrc", "../.bashrc", "/etc/x", "link/x", "file", "sub/../../x"])
def test_what_a_projects_file_has_written_stays_below_its_folder(capsys, table, key, path):
    Path("link").symlink_to("..")
    Path("file").symlink_to("../.bashrc")
    project(f'[{table}]\n{key} = "{path}"\n')
    error = refused(capsys, "config", table)
    assert error.startswith(f"venice-batch.toml: {table}.{key}: leads out of the folder of the project's file; give ")
    project(f'[{table}]\n{key} = "sub/x"\n')
    assert main(["config", table]) == 0
    assert main(["config", table, "--no-config"]) == 0


def test_every_path_that_a_file_may_give_is_in_the_list_above():
    import click

    from venice_batch.cli.commands import COMMANDS, cli
    from venice_batch.cli.settings import command_named, settable

    reading = {("jobs-from", "ids-from"), *((name, key) for name in ("run", "check") for key in ("frozen", "reuse"))}
    found = {
        (name, key)
        for name in COMMANDS
        for key, option in settable(command_named(click.Context(cli), name)).items()
        if isinstance(option.type, click.Path) and key != "api-key-file"
    }
    assert found - reading == set(WRITTEN)


def test_the_second_file_of_an_export_cannot_leave_the_folder_either(capsys):
    Path("x-errors.jsonl").symlink_to("../.bashrc")
    project('[export]\nopenai = "x.jsonl"\n')
    assert "export.openai: leads out of the folder" in refused(capsys, "config", "export")


def test_a_file_above_the_current_folder_is_confined_to_its_own(capsys, monkeypatch):
    project('[run]\noutput = "out"\nmetrics-file = "../m.prom"\n')
    Path("sub").mkdir()
    monkeypatch.chdir("sub")
    assert "run.metrics-file: leads out" in refused(capsys, "config")
    project('[run]\noutput = "out"\n', "../venice-batch.toml")
    assert main(["config"]) == 0


def test_the_users_own_files_may_write_anywhere(capsys, tmp_path):
    text = f'[run]\nmetrics-file = "{tmp_path}/m.prom"\n'
    project(text, os.environ["XDG_CONFIG_HOME"] + "/venice-batch/config.toml")
    assert main(["jobs.jsonl", "--sandbox", "--sandbox-latency", "0"]) == 0
    assert (tmp_path / "m.prom").exists()
    project(text, "mine.toml")
    assert main(["config", "--config", "mine.toml"]) == 0


@pytest.mark.parametrize("table", ["run", "check", "profile.p.run"])
def test_a_project_names_no_key_file(capsys, table):
    Path("key").write_text("SECRET")
    project(f'[{table}]\napi-key-file = "key"\n')
    for consent in (False, True):
        if consent:
            stderr_of(capsys, "trust", "--yes", code=2)
        error = refused(capsys, "config")
        assert f"{table}.api-key-file: a project's file cannot name a key file; give --api-key-file" in error
    assert "SECRET" not in error


@pytest.mark.parametrize(
    "value",
    ['"~/../x.png"', '"../x.png"', '"/etc/x.png"', '"file:///etc/x.png"', '"link.png"', '{ path = "/etc/x.png" }'],
)
@pytest.mark.parametrize("field", ["image", "images"])
def test_a_project_has_no_picture_from_elsewhere_sent(capsys, field, value):
    Path("link.png").symlink_to("/etc/x.png")
    project(f"[defaults]\n{field} = {value if field == 'image' else f'[{value}]'}\n")
    assert f"defaults.{field}: leads out of the folder" in refused(capsys, "config")


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ('matrix.image = ["x.png", "/etc/x.png"]', "matrix.image"),
        ('matrix.images = [["x.png"], ["x.png", "../y.png"]]', "matrix.images"),
        ('model.m.image = "/etc/x.png"', "model.m.image"),
        ('models.m.images = ["/etc/x.png"]', "models.m.images"),
    ],
)
def test_nor_in_a_matrix_or_the_fields_of_a_model(capsys, text, key):
    project(f"[defaults]\n{text}\n")
    assert f"defaults.{key}: leads out of the folder" in refused(capsys, "config")


def test_a_project_may_name_its_own_pictures(capsys, tmp_path):
    inside = tmp_path / "home/project/x.png"
    project(f'[defaults]\nimage = "x.png"\nimages = ["sub/x.png", "https://example.com/../x.png", "{inside}"]\n')
    assert main(["config"]) == 0
