"""models, and the lists at hand, through the command line, in this process."""

import json
import time

import pytest

from venice_batch.catalogue import Cache, Listing, fresh, snapshot
from venice_batch.cli import listings
from venice_batch.cli.listings import _NoKey
from venice_batch.cli.main import run_cli
from venice_batch.cli.options import VENICE
from venice_batch.errors import ApiError


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def spec(**values):
    return {"constraints": {"promptCharacterLimit": 100}, **values}


def test_models_are_a_table_or_json(capsys):
    assert run_cli(["models", "--sandbox"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["model", "usd", "sizes", "prompt", "steps", "traits", "marks"]
    rows = {line.split()[0]: " ".join(line.split()) for line in lines[1:]}
    assert rows["gpt-image-2"] == "gpt-image-2 0.02-0.83 ratio at 1K/2K/4K 7500 50 - -"
    assert rows["venice-sd35"] == "venice-sd35 0.01 pixels by 16 1500 30 eliza-default -"
    assert rows["z-image-turbo"] == "z-image-turbo 0.01 pixels by 8 7500 8 default, fastest -"
    assert run_cli(["models", "--sandbox", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)) == 37


def test_models_that_change_images_have_tables_of_their_own(capsys):
    assert run_cli(["models", "--sandbox", "--type", "inpaint"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["model", "usd", "sizes", "prompt", "images", "traits", "marks"]
    rows = {line.split()[0]: " ".join(line.split()) for line in lines[1:]}
    assert len(rows) == 21
    assert rows["nano-banana-2-edit"] == "nano-banana-2-edit 0.10-0.19 ratio at 1K/2K/4K 32768 14 - -"
    assert rows["firered-image-edit"] == "firered-image-edit 0.04 ratio 1500 3 default -"
    assert run_cli(["models", "--offline", "--type", "upscale"]) == 0
    assert [line.split() for line in capsys.readouterr().out.splitlines()] == [
        ["model", "usd", "traits", "marks"],
        ["upscaler", "0.02-0.08", "default", "-"],
    ]
    assert run_cli(["models", "--offline", "--type", "upscale", "--json"]) == 0
    assert [entry["id"] for entry in json.loads(capsys.readouterr().out)] == ["upscaler"]


def test_models_offline_are_the_last_that_were_had(capsys):
    assert run_cli(["models", "--offline"]) == 0
    out, err = capsys.readouterr()
    assert "gpt-image-2" in out
    assert "the list of 2026-08-22 that comes with the package" in err
    entries = (
        {"id": "asleep", "model_spec": spec(offline=True, beta=True, regionRestrictions=["US", "CA"])},
        {
            "id": "old",
            "model_spec": spec(
                betaModel=True, deprecation={"date": "2027-01-01T00:00:00Z", "replacementModelId": "new"}
            ),
        },
        {"id": "going", "model_spec": spec(deprecation={}, pricing={"generation": {"usd": 0.5}})},
    )
    Cache.of_user().store(VENICE, Listing(entries, ("Mine",), time.time() - 7200, "live"))
    assert run_cli(["models", "--offline"]) == 0
    out, err = capsys.readouterr()
    rows = {line.split()[0]: " ".join(line.split()) for line in out.splitlines()[1:]}
    assert rows["asleep"] == "asleep ? pixels 100 - - offline, beta users only, for US/CA"
    assert rows["old"] == "old ? pixels 100 - - beta, deprecated 2027-01-01 -> new"
    assert rows["going"] == "going 0.50 pixels 100 - - deprecated"
    assert "(2 hours old)" in err
    assert run_cli(["models", "--offline", "--json"]) == 0
    assert [entry["id"] for entry in json.loads(capsys.readouterr().out)] == ["asleep", "old", "going"]
    assert run_cli(["styles", "--offline"]) == 0
    assert capsys.readouterr().out == "Mine\n"


def test_styles_offline_are_the_packaged_ones(capsys):
    assert run_cli(["styles", "--offline", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == list(snapshot().styles)


def test_another_server_has_no_list_at_hand(capsys):
    assert run_cli(["models", "--offline", "--base-url", "https://images.example/v1"]) == 75
    assert "a server's list is kept when it is asked for" in capsys.readouterr().err


class Api:
    """A stand-in for the client of a server that lists everything but upscalers."""

    def __init__(self):
        self.asked = []

    async def __aenter__(self):
        return self

    async def __aexit__(self, *_):
        return None

    async def models(self, kind="image"):
        self.asked.append(kind)
        if kind == "upscale":
            raise ApiError("no such type", 400)
        return ({"id": f"{kind}-1", "type": kind, "model_spec": spec()},)

    async def styles(self):
        self.asked.append("styles")
        return ("Mine",)


@pytest.fixture
def api(monkeypatch):
    api = Api()
    monkeypatch.setattr(listings, "connect", lambda base_url, key: api)
    return api


OTHER = "https://images.example/v1"


@pytest.mark.parametrize(
    ("command", "shown"),
    [(["models"], "image-1"), (["models", "--type", "inpaint"], "inpaint-1"), (["styles"], "Mine")],
)
def test_what_was_listed_is_at_hand_for_other_commands(api, capsys, command, shown):
    assert run_cli([*command, "--json", "--base-url", OTHER]) == 0
    assert shown in capsys.readouterr().out
    assert sorted(api.asked) == ["image", "inpaint", "styles", "upscale"]
    kept = fresh(OTHER, Cache.of_user(), now_unix_s=time.time())
    assert [entry["id"] for entry in kept.entries] == ["image-1", "inpaint-1"]
    assert kept.styles == ("Mine",)


def test_what_cannot_be_listed_is_an_error_whatever_is_kept(api, capsys):
    assert run_cli(["models", "--base-url", OTHER]) == 0
    assert run_cli(["models", "--type", "upscale", "--base-url", OTHER]) == 75
    assert "no such type" in capsys.readouterr().err


def test_a_server_that_is_not_kept_is_asked_for_what_is_shown_only(api):
    assert run_cli(["styles", "--base-url", "http://127.0.0.1:1/v1"]) == 0
    assert api.asked == ["styles"]


def test_models_without_a_server_are_one_line_and_75_and_need_no_key(capsys):
    assert run_cli(["models", "--base-url", "http://127.0.0.1:9"]) == 75
    assert capsys.readouterr().err.count("\n") == 1


def test_limits_need_a_key(capsys):
    assert run_cli(["limits", "--base-url", "http://127.0.0.1:9"]) == 2
    assert "no API key" in capsys.readouterr().err


def test_no_key_is_sent_as_nothing_and_hides_nothing():
    key = _NoKey()
    assert (key.header(), key.redact("none"), key.redact_bytes(b"none")) == ("", "none", b"none")
