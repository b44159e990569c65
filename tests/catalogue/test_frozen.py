"""Prices, models and limits as a file for people and for `--frozen`."""

import json
import time

import msgspec
import pytest
from catalogue.made import NOW, SHIPPED, catalogue, entry, job

from venice_batch.api.listings import Quota
from venice_batch.catalogue import Listing, Preflight
from venice_batch.catalogue.frozen import FrozenLimits, encode, freeze, load, same, server_name
from venice_batch.catalogue.frozen_changes import differences
from venice_batch.catalogue.models import Model
from venice_batch.errors import UsageError
from venice_batch.model import Endpoint

LISTING = Listing((), (), NOW.timestamp() - 3600, "live")
MADE = {"pricing": {"generation": {"usd": 0.02}, "resolutions": {"1K": {"usd": 0.02}, "2K": {"usd": 0.05}}}}


def frozen(*jobs, known=SHIPPED, listing=LISTING, quotas=None, server="https://api.venice.ai/api/v1"):
    preflight = Preflight(known, allow_unknown=True)
    for one in jobs:
        preflight.examine(one)
    return freeze(preflight, listing, server, now_unix_s=NOW.timestamp() + 0.7, quotas=quotas)


def text(found):
    return encode(found).decode()


def test_the_file_is_stable_and_says_what_it_is():
    found = frozen(job(variants=3), job(model="default"), job(model="fastest"), quotas={"venice-sd35": Quota(20, 500)})
    shown = json.loads(text(found))
    assert list(shown) == ["made_by", "schema", "frozen_at", "server", "list", "jobs", "models"]
    assert shown["made_by"] == "venice-batch check --freeze"
    assert shown["frozen_at"] == "2026-11-01T00:00:00Z"
    assert shown["list"] == {"source": "live", "listed_at": "2026-10-31T23:00:00Z"}
    assert shown["jobs"] == {"jobs": 3, "images": 5, "usd": 0.05}
    assert list(shown["models"]) == ["venice-sd35", "z-image-turbo"]
    assert shown["models"]["venice-sd35"] == {
        "type": "image",
        "names": ["venice-sd35"],
        "prices_usd": {"image": 0.01},
        "limits": {"prompt_limit": 1500, "steps_max": 30, "divisor": 16, "web_search": False},
        "quota": {"images_a_minute": 20, "images_a_day": 500},
    }
    assert shown["models"]["z-image-turbo"]["names"] == ["default", "fastest"]


def test_the_order_of_the_jobs_does_not_change_the_file():
    jobs = [job(), job(model="default"), job(model="krea-2-turbo", resolution="2K"), job(model="krea-2-turbo")]
    assert text(frozen(*jobs)) == text(frozen(*reversed(jobs)))


def test_only_the_prices_that_the_jobs_pay_are_frozen():
    found = frozen(
        job(model="made", resolution="2k", enhance_prompt=True), job(), known=catalogue(entry(**MADE)),
    )  # fmt: skip
    assert found.models["made"].prices_usd == {"image at 2K": 0.05, "prompt rewrite": 0.04}


def test_a_price_that_no_list_shows_is_null_and_counted():
    found = frozen(job(model="qwen-edit"), job(model="made"), known=catalogue(entry(), former={"qwen-edit": "made"}))
    assert found.models["made"].prices_usd == {"image": None}
    assert json.loads(text(found))["models"]["qwen-edit"] == {
        "type": "image",
        "names": ["qwen-edit"],
        "listed": False,
        "successor": "made",
        "prices_usd": {"image": None},
    }
    assert found.jobs.unpriced == 2


def test_a_name_of_two_models_is_frozen_with_each_kind():
    fields = {"image": "a.png", "prompt": "p"}
    found = frozen(
        job(model="a"), job(Endpoint.EDIT, model="a", **fields),
        known=catalogue({**entry("b", traits=["a"])}, {**entry("c", traits=["a"]), "type": "inpaint"}),
    )  # fmt: skip
    assert {name: (model.type, model.names) for name, model in found.models.items()} == {
        "b": ("image", ("a",)), "c": ("inpaint", ("a",)),
    }  # fmt: skip


def test_edits_freeze_the_pictures_that_their_price_includes():
    pricing = {"inpaint": {"usd": 0.05}, "inputImages": {"included": 1, "additional": {"usd": 0.01}}}
    known = catalogue({**entry("edit", pricing=pricing), "type": "inpaint"})
    found = frozen(job(Endpoint.MULTI_EDIT, model="edit", images=["a", "b", "c"]), known=known)
    assert found.models["edit"].prices_usd == {"image": 0.05, "input image": 0.01}
    assert found.models["edit"].limits.included_inputs == 1
    assert found.jobs.usd == 0.07


def test_removing_a_background_and_upscaling_are_frozen_too():
    found = frozen(
        job(Endpoint.BACKGROUND_REMOVE, model=None, prompt=None, image="a.png"),
        job(Endpoint.UPSCALE, model=None, prompt=None, image="a.png", scale=4),
        job(Endpoint.UPSCALE, model=None, prompt=None, image="a.png"),
    )
    assert found.models["bria-bg-remover"].prices_usd == {"background removal": 0.03}
    assert found.models["bria-bg-remover"].listed
    assert found.models["upscaler"].prices_usd == {"upscale 2x": 0.02, "upscale 4x": 0.08}


def test_a_retirement_and_the_successor_are_frozen():
    gone = {"deprecation": {"date": "2026-12-01T00:00:00Z", "replacementModelId": "other"}}
    shown = json.loads(text(frozen(job(model="made"), known=catalogue(entry(**gone)))))
    assert shown["models"]["made"]["retires"] == "2026-12-01T00:00:00Z"
    assert shown["models"]["made"]["successor"] == "other"


NOT_FROZEN_AS_LIMITS = {
    "id",
    "kind",
    "name",
    "constrained",
    "venice",
    "traits",
    "pricing",
    "offline",
    "beta",
    "deprecation",
}


def test_whatever_a_list_says_of_requests_is_frozen():
    assert set(FrozenLimits.__struct_fields__) - {"included_inputs"} == (
        set(Model.__struct_fields__) - NOT_FROZEN_AS_LIMITS
    )


def test_every_packaged_model_is_the_same_when_read_again(tmp_path):
    endpoints = {"image": Endpoint.GENERATE, "inpaint": Endpoint.EDIT}
    jobs = [
        job(endpoints[model.kind], model=model.id, image=None if model.kind == "image" else "a.png")
        for model in SHIPPED.models.values()
        if model.kind in endpoints
    ]
    found = frozen(*jobs)
    assert len(found.models) == len(jobs)
    (tmp_path / "approved.json").write_bytes(encode(found))
    assert load(tmp_path / "approved.json") == found
    assert differences(found, found) == []


@pytest.mark.parametrize(
    ("base_url", "sandbox", "name"),
    [
        ("https://api.venice.ai/api/v1/", False, "https://api.venice.ai/api/v1"),
        ("https://api.venice.ai/api/v1", True, "sandbox"),
        ("http://127.0.0.1:8642/api/v1", False, "localhost"),
        ("http://localhost:1/v1", False, "localhost"),
    ],
)
def test_servers_are_named_without_ports_of_this_machine(base_url, sandbox, name):
    assert server_name(base_url, sandbox=sandbox) == name


def test_what_was_written_is_read_again(tmp_path):
    path = tmp_path / "approved.json"
    found = frozen(job(), job(model="krea-2-turbo"), job(model="qwen-edit"), quotas={"venice-sd35": Quota(None, 3)})
    path.write_bytes(encode(found))
    assert load(path) == found


def test_two_files_are_the_same_whenever_and_from_whichever_list_they_were_made():
    one = frozen(job())
    later = msgspec.structs.replace(one, frozen_at=frozen(job()).list.listed_at)
    assert same(one, later)
    assert same(one, frozen(job(), listing=Listing((), (), time.time(), "snapshot")))
    assert not same(one, frozen(job(), job()))


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda data: b"{", "Input data was truncated"),
        (lambda data: b"\xff", "is no file of `check --freeze`"),
        (lambda data: b"[" * 100_000, "is no file of `check --freeze`"),
        (lambda data: b"{}", "missing required field `made_by`"),
        (lambda data: b"<<<<<<< HEAD\n" + data, "is malformed"),
        (lambda data: data.replace(b"check --freeze", b"something"), "Invalid enum value"),
        (lambda data: data.replace(b'"schema": 1', b'"schema": 2'), "has the schema 2, and this version"),
        (lambda data: data.replace(b'e": 0.01', b'e": -0.01'), "$.models[...].prices_usd[...]"),
        (lambda data: data.replace(b'e": 0.01', b'e": "0.01"'), "$.models[...].prices_usd[...]"),
        (lambda data: data.replace(b"prices_usd", b"price_usd"), "unknown field `price_usd`"),
        (lambda data: data.replace(b'00Z",\n  "server', b'00",\n  "server'), "$.frozen_at"),
    ],
)
def test_a_file_that_is_something_else_is_refused_in_one_line(tmp_path, change, why):
    path = tmp_path / "approved.json"
    data = encode(frozen(job()))
    assert change(data) != data
    path.write_bytes(change(data))
    with pytest.raises(UsageError) as caught:
        load(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert why in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(UsageError, match="cannot be read: No such file or directory"):
        load(tmp_path / "approved.json")
