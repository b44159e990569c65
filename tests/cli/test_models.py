"""`models` and `styles`, through the command line, in this process."""

import json
import time

import pytest

from venice_batch.catalogue import Cache, Listing, fresh, snapshot
from venice_batch.cli import connection
from venice_batch.cli.main import main
from venice_batch.cli.options import VENICE
from venice_batch.errors import ApiError, KeyRefusedError


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def spec(**values):
    return {"constraints": {"promptCharacterLimit": 100}, **values}


def test_models_are_a_table_or_json(capsys):
    assert main(["models", "--sandbox"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["model", "usd", "sizes", "prompt", "steps", "traits", "marks"]
    rows = {line.split()[0]: " ".join(line.split()) for line in lines[1:]}
    assert rows["gpt-image-2"] == "gpt-image-2 0.02-0.83 ratio at 1K/2K/4K 7500 50 - -"
    assert rows["venice-sd35"] == "venice-sd35 0.01 pixels by 16 1500 30 eliza-default -"
    assert rows["z-image-turbo"] == "z-image-turbo 0.01 pixels by 8 7500 8 default, fastest -"
    assert rows["qwen-image"].startswith("qwen-image 0.03 ratio "), "it refuses pixels, whatever its divisor"
    assert main(["models", "--sandbox", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)) == 50


def test_each_type_of_model_has_its_own_columns(capsys):
    assert main(["models", "--sandbox", "--type", "inpaint"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["model", "usd", "sizes", "prompt", "images", "traits", "marks"]
    rows = {line.split()[0]: " ".join(line.split()) for line in lines[1:]}
    assert len(rows) == 33
    assert rows["nano-banana-2-edit"] == "nano-banana-2-edit 0.10-0.19 ratio at 1K/2K/4K 32768 14 - -"
    assert rows["firered-image-edit"] == "firered-image-edit 0.04 ratio 1500 6 default -"
    assert main(["models", "--offline", "--type", "upscale"]) == 0
    assert [line.split() for line in capsys.readouterr().out.splitlines()] == [
        ["model", "usd", "traits", "marks"],
        ["upscaler", "0.02-0.08", "default", "-"],
    ]
    assert main(["models", "--offline", "--type", "upscale", "--json"]) == 0
    assert [entry["id"] for entry in json.loads(capsys.readouterr().out)] == ["upscaler"]


def test_offline_models_come_from_the_cache_or_the_package(capsys):
    assert main(["models", "--offline"]) == 0
    out, err = capsys.readouterr()
    assert "gpt-image-2" in out
    assert "the list of 2026-11-20 that comes with the package" in err
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
    assert main(["models", "--offline"]) == 0
    out, err = capsys.readouterr()
    rows = {line.split()[0]: " ".join(line.split()) for line in out.splitlines()[1:]}
    assert rows["asleep"] == "asleep ? pixels 100 - - offline, beta users only, not in US/CA"
    assert rows["old"] == "old ? pixels 100 - - beta, deprecated 2027-01-01 -> new"
    assert rows["going"] == "going 0.50 pixels 100 - - deprecated"
    assert "(2 hours old)" in err
    assert main(["models", "--offline", "--json"]) == 0
    assert [entry["id"] for entry in json.loads(capsys.readouterr().out)] == ["asleep", "old", "going"]
    assert main(["styles", "--offline"]) == 0
    assert capsys.readouterr().out == "Mine\n"


def test_offline_styles_are_the_packaged_ones(capsys):
    assert main(["styles", "--offline", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == list(snapshot().styles)


def test_an_uncached_server_has_no_offline_list(capsys):
    assert main(["models", "--offline", "--base-url", "https://images.example/v1"]) == 75
    assert "no list of this server is cached" in capsys.readouterr().err


class Api:
    """A stand-in for the client of a server that lists everything but upscalers."""

    def __init__(self):
        self.asked = []
        self.price = 0.1
        self.broken = False

    async def __aenter__(self):
        return self

    async def __aexit__(self, *_):
        return None

    async def models(self, kind="image"):
        self.asked.append(kind)
        if kind == "upscale" or self.broken:
            raise ApiError("no such type", 400)
        pricing = {"generation": {"usd": self.price}}
        return ({"id": f"{kind}-1", "type": kind, "model_spec": spec(pricing=pricing)},)

    async def styles(self):
        self.asked.append("styles")
        return ("Mine",)


@pytest.fixture
def api(monkeypatch):
    api = Api()
    monkeypatch.setattr(connection, "connect", lambda base_url, key: api)
    return api


OTHER = "https://images.example/v1"


@pytest.mark.parametrize(
    ("command", "shown"),
    [(["models"], "image-1"), (["models", "--type", "inpaint"], "inpaint-1"), (["styles"], "Mine")],
)
def test_every_list_is_cached_whichever_was_shown(api, capsys, command, shown):
    assert main([*command, "--json", "--base-url", OTHER]) == 0
    assert shown in capsys.readouterr().out
    assert sorted(api.asked) == ["image", "inpaint", "styles", "upscale"]
    kept = fresh(OTHER, Cache.of_user(), now_unix_s=time.time())
    assert [entry["id"] for entry in kept.entries] == ["image-1", "inpaint-1"]
    assert kept.styles == ("Mine",)


def test_a_list_that_fails_is_an_error_whatever_is_cached(api, capsys):
    assert main(["models", "--base-url", OTHER]) == 0
    assert main(["models", "--type", "upscale", "--base-url", OTHER]) == 75
    assert "no such type" in capsys.readouterr().err


def test_a_server_that_is_not_cached_is_asked_for_one_list_only(api):
    assert main(["styles", "--base-url", "http://127.0.0.1:1/v1"]) == 0
    assert api.asked == ["styles"]


def test_an_unreachable_server_is_one_line_and_exit_75_without_a_key(capsys):
    assert main(["models", "--base-url", "http://127.0.0.1:9"]) == 75
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize("command", [["models"], ["models", "venice-sd35"], ["styles"]])
def test_an_unreachable_server_leads_to_the_list_at_hand(monkeypatch, capsys, command):
    async def unreachable(self, *_):
        raise ApiError("cannot connect")

    monkeypatch.setattr("venice_batch.api.client.ApiClient.models", unreachable)
    monkeypatch.setattr("venice_batch.api.client.ApiClient.styles", unreachable)
    assert main(command) == 75
    err = capsys.readouterr().err
    assert err.startswith("venice-batch: cannot connect; --offline shows the list of 2026-11-20 that comes with the ")
    assert err.count("\n") == 1
    assert main([*command, "--json"]) == 75
    assert "--offline shows" in json.loads(capsys.readouterr().out)["reason"]
    Cache.of_user().store(VENICE, Listing(({"id": "one"},), ("Mine",), time.time() - 7200, "live"))
    assert main(command) == 75
    assert capsys.readouterr().err.endswith(" (2 hours old)\n")


def test_a_server_without_a_list_at_hand_or_with_a_reason_of_its_own_has_no_such_hint(api, monkeypatch, capsys):
    async def refused(kind="image"):
        raise KeyRefusedError("the key is wrong", 401)

    api.broken = True
    assert main(["models"]) == 75  # a 400: the server is there, and has said what is wrong
    monkeypatch.setattr(api, "models", refused)
    assert main(["models"]) == 3
    assert main(["styles", "--base-url", "http://127.0.0.1:9/v1"]) == 0
    assert main(["models", "--base-url", "http://127.0.0.1:9/v1"]) == 3
    assert "--offline" not in capsys.readouterr().err


def test_no_hint_names_a_list_that_lacks_what_was_asked_for(api, monkeypatch, capsys):
    async def broken(*_):
        raise ApiError("out of order", 500)

    monkeypatch.setattr(api, "models", broken)
    monkeypatch.setattr(api, "styles", broken)
    Cache.of_user().store(OTHER, Listing(({"id": "a"},), None, time.time(), "live"))
    assert main(["styles", "--base-url", OTHER]) == 75
    assert capsys.readouterr().err == "venice-batch: out of order\n"
    assert main(["models", "--base-url", OTHER]) == 75
    assert "out of order; --offline shows the list of " in capsys.readouterr().err


def shown(capsys, *arguments):
    code = main(["models", *arguments])
    out, err = capsys.readouterr()
    return code, {line.split()[0]: " ".join(line.split()[1:]) for line in out.splitlines()}, err


def test_a_model_is_shown_with_everything_known_about_it(capsys):
    code, lines, _ = shown(capsys, "gpt-image-2", "--offline")
    assert code == 0
    assert lines["model"] == "gpt-image-2 (GPT Image 2), makes images"
    assert lines["tiers"] == "1K, 2K, 4K (default 1K)"
    assert lines["qualities"] == "low, medium, high (default high)"
    assert lines["prompt"] == "up to 7,500 characters"
    assert lines["ignores"] == "width, height, steps, seed, negative_prompt, enable_web_search"
    assert main(["models", "gpt-image-2", "--offline"]) == 0
    prices = [line.split(maxsplit=1)[1] for line in capsys.readouterr().out.splitlines() if line.startswith("price")]
    assert prices[:3] == ["0.02 USD at 1K low", "0.07 USD at 1K medium", "0.26 USD at 1K high"]
    assert len(prices) == 9


def test_each_kind_of_model_has_lines_of_its_own(capsys):
    _, lines, _ = shown(capsys, "fastest", "--sandbox")
    assert (lines["sizes"], lines["price"]) == ("pixels by 8", "0.01 USD an image")
    assert lines["traits"] == "default, fastest"
    _, lines, _ = shown(capsys, "gpt-image-1-5-edit", "--sandbox")
    assert lines["images"] == "up to 6 to edit together"
    assert lines["price"] == "0.02806 USD for each picture to edit beyond 1"
    assert lines["background"] == "can be transparent"
    _, lines, _ = shown(capsys, "qwen-image-3-edit", "--offline")
    assert lines["price"] == "0.00345 USD for each picture to edit"
    _, lines, _ = shown(capsys, "seedream-v5-5", "--offline")
    assert lines["price"] == "? USD at 2K"
    assert "sizes" not in lines
    _, lines, _ = shown(capsys, "upscaler", "--offline")
    assert (lines["model"], lines["price"]) == ("upscaler (Upscaler), enlarges images", "0.08 USD at 4x")


def test_marks_and_successor_are_shown(capsys):
    gone = {"date": "2027-01-01T00:00:00Z", "replacementModelId": "new"}
    limits = {"steps": {"max": 9}, "maxStyleReferences": 2, "resolutions": ["1K"]}
    entry = {"id": "old", "model_spec": {"constraints": limits, "deprecation": gone, "supportsWebSearch": True}}
    Cache.of_user().store(VENICE, Listing((entry,), None, time.time() - 7200, "live"))
    _, lines, _ = shown(capsys, "old", "--offline")
    assert lines["marks"] == "deprecated 2027-01-01 -> new"
    assert (lines["steps"], lines["references"]) == ("up to 9", "up to 2")
    assert (lines["searches"], lines["price"]) == ("can search the web", "? USD at 1K")
    assert main(["models", "--offline"]) == 0
    assert " at 1K " in capsys.readouterr().out


def test_a_model_as_json_is_its_entry(capsys):
    assert main(["models", "default", "--type", "inpaint", "--offline", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["id"] == "firered-image-edit"


def test_a_name_that_is_not_listed_is_a_usage_error_with_the_nearest(capsys):
    code, _, err = shown(capsys, "venice-sd53", "--offline")
    assert code == 2
    assert "no model 'venice-sd53' is listed (nearest: venice-sd35)" in err
    assert "`venice-batch models` lists them" in shown(capsys, "xyzzy", "--offline")[2]
    assert shown(capsys, "nano-banana-2-edit", "--type", "image", "--offline")[0] == 2


def test_a_model_is_looked_up_in_all_types_that_the_server_lists(api, capsys):
    _, lines, _ = shown(capsys, "inpaint-1", "--base-url", OTHER)
    assert lines["model"] == "inpaint-1, edits images"
    assert lines["price"] == "0.10 USD an image"


def test_a_difference_from_the_last_list_is_shown_once_with_exit_1(api, capsys):
    diff = ["models", "--diff", "--base-url", OTHER]
    assert main(diff) == 0
    out, err = capsys.readouterr()
    assert "the first list of https://images.example/v1 is cached" in err
    assert out.startswith("no models or prices have changed since ")
    api.price = 0.2
    assert main(diff) == 1
    assert "repriced  image-1: generation 0.1 -> 0.2 USD\n" in capsys.readouterr().out
    assert main(diff) == 0


def test_a_difference_as_json_is_one_object(api, capsys):
    Cache.of_user().store(OTHER, Listing(({"id": "gone"},), None, 0.0, "live"))
    assert main(["models", "--diff", "--base-url", OTHER, "--json"]) == 1
    assert json.loads(capsys.readouterr().out) == {
        "since": "1970-01-01",
        "added": ["image-1", "inpaint-1"],
        "removed": ["gone"],
        "repriced": [],
    }


def test_a_difference_names_removed_models_and_their_successors(api, capsys):
    assert main(["models", "--diff"]) == 1
    out = capsys.readouterr().out
    assert out.startswith("since 2026-11-20:\nadded     image-1: 0.10 USD\n")
    assert "removed   venice-sd35\n" in out
    gone = {"replacementModelId": "image-1"}
    old = ({"id": "old", "model_spec": {"deprecation": gone}}, {"id": "image-1"}, {"id": "inpaint-1"})
    Cache.of_user().store(OTHER, Listing(old, None, 0.0, "live"))
    main(["models", "--diff", "--base-url", OTHER])
    out = capsys.readouterr().out
    assert "removed   old; use image-1\n" in out
    assert "repriced  image-1: generation ? -> 0.1 USD\n" in out


def test_a_difference_needs_the_api_and_an_earlier_list(api, capsys):
    assert main(["models", "--diff", "--base-url", "http://127.0.0.1:1/v1"]) == 2
    for given in (["--offline"], ["--sandbox"], ["venice-sd35"]):
        assert main(["models", "--diff", *given]) == 2
    capsys.readouterr()
    api.broken = True
    assert main(["models", "--diff"]) == 75
    assert "no list to compare: " in capsys.readouterr().err


def test_styles_are_a_line_each_or_json(capsys):
    assert main(["styles", "--sandbox"]) == 0
    assert "Cinematic\n" in capsys.readouterr().out
    assert main(["styles", "--sandbox", "--json"]) == 0
    assert "Anime" in json.loads(capsys.readouterr().out)


def test_a_listing_without_a_server_is_one_line_and_75(capsys, monkeypatch):
    monkeypatch.setenv("VENICE_API_KEY", "k")
    assert main(["styles", "--base-url", "http://127.0.0.1:9"]) == 75
    assert capsys.readouterr().err.count("\n") == 1
