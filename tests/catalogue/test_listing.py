"""Listings: live, cached and packaged."""

import time

import anyio
import orjson
import pytest
from catalogue.made import entry

from venice_batch.catalogue import Cache, at_hand, fresh, snapshot
from venice_batch.catalogue import listing as cache
from venice_batch.catalogue.listing import Listing, age_text, ask, is_local, is_venice, renewed
from venice_batch.catalogue.models import KINDS
from venice_batch.errors import ApiError, KeyRefusedError
from venice_batch.sandbox.catalogue import STYLES, shipped, shipped_edits

VENICE = "https://api.venice.ai/api/v1"
OTHER = "https://images.example/v1"
NOW = 1_790_000_000.0


class Api:
    """A stand-in for the client's listings."""

    def __init__(self, models=(), styles=("Anime",), silent=False, inpaint=(), upscale=()):
        self._answers = {"image": models, "inpaint": inpaint, "upscale": upscale, "styles": styles}
        self._silent = silent
        self.asked = []

    async def _answer(self, what):
        self.asked.append(what)
        if self._silent:
            await anyio.sleep_forever()
        answer = self._answers[what]
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def models(self, kind="image"):
        return await self._answer(kind)

    async def styles(self):
        return await self._answer("styles")


@pytest.fixture
def kept(tmp_path):
    return Cache(tmp_path / "cache")


def listing(*entries, age_s=0.0, origin="live", **options):
    return Listing(entries or (entry(),), ("Anime",), NOW - age_s, origin, **options)


def test_the_packaged_list_is_that_of_the_sandbox_and_knows_its_date():
    packaged = snapshot()
    listed = (*shipped().entries, *shipped_edits().entries)
    # What no page says of the newest models the sandbox fills in, as its answers have to have a shape.
    for ours, theirs in zip(packaged.entries, listed, strict=True):
        spec, filled = ours["model_spec"], theirs["model_spec"]
        assert ours["id"] == theirs["id"]
        for part in ("pricing", "constraints"):
            assert spec.get(part, {}).items() <= filled.get(part, {}).items()
    assert packaged.styles == STYLES
    assert "the list of 2026-11-20 that comes with the package (1" in packaged.described(
        packaged.asked_unix_s + 10 * 86_400
    )
    assert not packaged.is_fresh(packaged.asked_unix_s)
    assert [len(packaged.of_kind(kind)) for kind in KINDS] == [50, 33, 1]
    assert len(packaged.catalogue(time.time()).models) == 84


def test_a_listing_is_kept_for_an_hour(kept):
    kept.store(OTHER, listing(former={"old": "made"}))
    found = fresh(OTHER, kept, now_unix_s=NOW + 3599)
    assert found == listing(origin="cache", former={"old": "made"})
    assert fresh(OTHER, kept, now_unix_s=NOW + 3601) is None
    assert fresh(OTHER, kept, now_unix_s=NOW - 10) is None, "of the future, after a clock was set back"
    assert fresh(OTHER + "/", kept, now_unix_s=NOW) == found
    assert fresh(VENICE, kept, now_unix_s=NOW) is None


def test_the_file_is_written_whole_and_nothing_else_is_left(kept):
    kept.store(OTHER, listing())
    kept.store(OTHER, listing(entry("second")))
    (path,) = kept.folder.iterdir()
    assert path.name.startswith("models-")
    assert orjson.loads(path.read_bytes())["models"][0]["id"] == "second"


@pytest.mark.parametrize(
    "content",
    [
        b"", b"{", b"[]", b"\xff", b'{"schema": 1}', b"[" * 100_000,
        b'{"schema":1,"base_url":"x","asked_unix_s":1,"models":[{"id":"a"}]}',
        b'{"schema":2,"base_url":"x","asked_unix_s":1,"models":[]}',
        b'{"schema":2,"base_url":"x","asked_unix_s":1e300,"models":[{"id":"a"}]}',
        b'{"schema":2,"base_url":"x","asked_unix_s":1,"models":[5]}',
    ],
)  # fmt: skip
def test_a_cache_that_makes_no_sense_is_none(kept, content):
    kept.store(OTHER, listing())
    (path,) = kept.folder.iterdir()
    path.write_bytes(content)
    assert kept.load(OTHER) is None


def test_a_cache_that_cannot_be_used_fails_nothing(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    blocked = Cache(tmp_path / "file" / "below")
    blocked.store(OTHER, listing())
    assert blocked.load(OTHER) is None
    none = Cache(None)
    none.store(OTHER, listing())
    assert none.load(OTHER) is None

    def full(*_):
        raise OSError(28, "No space left on device")

    broken = Cache(tmp_path / "full")
    monkeypatch.setattr(cache.os, "replace", full)
    broken.store(OTHER, listing())
    assert list(broken.folder.iterdir()) == []


def test_servers_of_this_machine_are_not_kept(kept):
    for url in ("http://127.0.0.1:8642/api/v1", "http://localhost:1", "http://[::1]:1"):
        kept.store(url, listing())
        assert is_local(url)
    assert not kept.folder.exists()


def test_the_users_cache_is_where_the_specification_says(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert Cache.of_user().folder == tmp_path / "venice-batch"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert Cache.of_user().folder == tmp_path / ".cache" / "venice-batch"

    def unknown(uid):
        raise KeyError(uid)

    monkeypatch.delenv("HOME")
    monkeypatch.setattr("pwd.getpwuid", unknown)
    assert Cache.of_user().folder is None


def test_offline_uses_the_cache_then_the_package_and_says_how_old_it_is(kept):
    packaged = at_hand(VENICE, kept, now_unix_s=NOW)
    assert packaged.listing.origin == "snapshot"
    assert "the list of 2026-11-20 that comes with the package" in packaged.notice
    kept.store(VENICE, listing(age_s=3 * 86_400))
    cached = at_hand(VENICE, kept, now_unix_s=NOW)
    assert cached.listing.origin == "cache"
    assert "(3 days old)" in cached.notice


def test_nothing_is_known_of_another_server_that_was_never_asked(kept):
    found = at_hand(OTHER, kept, now_unix_s=NOW)
    assert found.listing is None
    assert OTHER in found.notice


async def test_a_live_list_is_kept_and_needs_no_notice(kept):
    found = await ask(Api((entry(),)), VENICE, kept, now_unix_s=NOW)
    assert found.notice == ""
    assert found.listing.styles == ("Anime",)
    assert found.listing.catalogue(NOW).current
    assert "venice-sd35" in found.listing.former, "the packaged list has it, the live one does not"
    assert fresh(VENICE, kept, now_unix_s=NOW).entries == found.listing.entries


async def test_a_server_without_styles_leaves_them_unchecked(kept):
    found = await ask(Api((entry(),), ApiError("no such page", 404)), OTHER, kept, now_unix_s=NOW)
    assert found.listing.styles is None
    at_venice = await ask(Api((entry(),), ApiError("no such page", 404)), VENICE, kept, now_unix_s=NOW)
    assert at_venice.listing.styles == STYLES


EDITOR = {**entry("editor"), "type": "inpaint"}


async def test_models_that_change_images_are_listed_with_those_that_make_them(kept):
    upscaler = {"id": "upscaler", "type": "upscale"}
    api = Api((entry(),), inpaint=(EDITOR,), upscale=(upscaler, entry("of another type")))
    found = await ask(api, OTHER, kept, now_unix_s=NOW)
    assert [one["id"] for one in found.listing.entries] == ["made", "editor", "upscaler"]
    assert fresh(OTHER, kept, now_unix_s=NOW).entries == found.listing.entries


async def test_a_kind_that_is_no_longer_listed_keeps_its_earlier_models(kept):
    await ask(Api((entry(),), inpaint=(EDITOR,)), OTHER, kept, now_unix_s=NOW)
    broken = Api((entry("new"),), inpaint=ApiError("no such type", 400), upscale=ApiError("no such type", 400))
    found = await ask(broken, OTHER, kept, now_unix_s=NOW)
    assert [one["id"] for one in found.listing.entries] == ["new", "editor"]
    assert found.notice == ""


@pytest.mark.parametrize(
    ("models", "reason"),
    [
        (ApiError("cannot connect"), "cannot connect"),
        (KeyRefusedError("no such key", 401), "no such key"),
        ((), "lists no image models"),
    ],
)
async def test_a_listing_that_fails_is_replaced_with_one_notice(kept, models, reason):
    venice = await ask(Api(models), VENICE, kept, now_unix_s=NOW)
    assert venice.listing.origin == "snapshot"
    assert reason in venice.notice
    assert "2026-11-20" in venice.notice
    other = await ask(Api(models), OTHER, kept, now_unix_s=NOW)
    assert other.listing is None
    assert other.notice.endswith("are unchecked")
    kept.store(OTHER, listing(age_s=7200))
    assert (await ask(Api(models), OTHER, kept, now_unix_s=NOW)).listing.origin == "cache"


async def test_a_server_that_does_not_answer_is_not_waited_for(kept):
    found = await ask(Api((entry(),), silent=True), VENICE, kept, now_unix_s=NOW, patience_s=0.05)
    assert found.listing.origin == "snapshot"
    assert found.notice.startswith(f"no answer from {VENICE} within 0.05 s")


def test_a_renewed_list_remembers_names_that_are_gone():
    last = listing(entry("b"), entry("gone", deprecation={"replacementModelId": "a"}), former={"b": None, "older": "x"})
    new = renewed([entry("a"), entry("b")], None, now_unix_s=NOW, earlier=[last, listing({"id": 5})])
    assert new.former == {"gone": "a", "older": "x"}


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        (VENICE, True),
        ("https://venice.ai", True),
        ("https://notvenice.ai", False),
        ("https://venice.ai.example", False),
        ("http://[", False),
    ],
)
def test_venices_own_addresses(url, expected):
    assert is_venice(url) is expected


@pytest.mark.parametrize(
    ("seconds", "text"), [(5, "moments"), (-5, "moments"), (150, "2 minutes"), (7200, "2 hours"), (1e6, "11 days")]
)
def test_ages(seconds, text):
    assert age_text(seconds) == text
