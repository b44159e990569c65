"""Answers match the facts of the published API description, copied here word for word."""

import io
import json
import re

import aiohttp
import pytest
from sandbox.described import BAD, GOOD, JSON, PAID

DOCUMENTED = {200, 400, 401, 402, 415, 429, 500, 503}
KINDS = {"asr", "embedding", "image", "music", "text", "tts", "upscale", "inpaint", "video"}


def is_error(answer, status):
    return (
        answer.status == status
        and answer.headers["Content-Type"].startswith("application/json")
        and isinstance(answer.json["error"], str)
        and isinstance(answer.json.get("details", {}), dict)
    )


@pytest.mark.parametrize("path", PAID)
async def test_every_error_is_a_message_in_json(start, path):
    api = await start(failure_limit=0)
    for body in BAD[path]:
        status = 404 if isinstance(body, dict) and body.get("model") == "nope" else 400
        assert is_error(await api.post(raw=json.dumps(body), path=path, headers=JSON), status), body
    assert is_error(await api.post(raw="{", path=path, headers=JSON), 400)
    assert is_error(await api.post(GOOD[path], path, key="invalid"), 401)
    assert is_error(await api.post(GOOD[path], path, key=None), 402)
    assert is_error(await api.post(raw="{}", path=path, headers={"Content-Type": "text/plain"}), 400)


@pytest.mark.parametrize("path", PAID)
async def test_in_august_a_missing_key_and_a_wrong_content_type_have_other_statuses(start, path):
    api = await start(era="2026-08")
    assert is_error(await api.post(GOOD[path], path, key=None), 401)
    assert is_error(await api.post(raw="{}", path=path, headers={"Content-Type": "text/plain"}), 415)


@pytest.mark.parametrize("path", PAID)
@pytest.mark.parametrize(
    ("settings", "status"),
    [
        ({"balance_usd": 0}, 402),
        ({"rpm": 1, "window": "aligned"}, 429),
        ({"fault_rate": 1, "fault_kinds": ("429",)}, 429),
        ({"fault_rate": 1, "fault_kinds": ("500",)}, 500),
        ({"fault_rate": 1, "fault_kinds": ("503",)}, 503),
        ({"pro_models": frozenset({"venice-sd35", "z-image-turbo", "firered-image-edit", "upscaler",
                                   "bria-bg-remover"})}, 401),
    ],
)  # fmt: skip
async def test_every_documented_failure_has_the_documented_shape(start, path, settings, status):
    api = await start(**settings)
    answers = [await api.post(GOOD[path], path) for _ in range(2)]
    assert {answer.status for answer in answers} <= DOCUMENTED
    assert is_error(answers[-1], status)


@pytest.mark.parametrize("path", PAID[2:])
async def test_edited_images_have_the_documented_types(start, path):
    api = await start()
    answer = await api.post(GOOD[path], path)
    assert (answer.status, answer.headers["Content-Type"]) == (200, "image/png")
    if "edit" in path:
        for kind in ("png", "jpeg", "webp"):
            answer = await api.post({**GOOD[path], "output_format": kind}, path)
            assert answer.headers["Content-Type"] == f"image/{kind}"
        assert answer.headers["x-venice-is-content-violation"] in ("true", "false")
        assert answer.headers["x-venice-model-id"] == "firered-image-edit"
        assert answer.headers["x-venice-model-name"] == "FireRed Image Edit"


async def test_generated_images_have_the_documented_fields(start):
    api = await start()
    answer = await api.post(GOOD["/image/generate"], PAID[0])
    assert set(answer.json) >= {"id", "images", "timing"}
    assert all(isinstance(answer.json["timing"][name], int) for name in
               ("inferenceDuration", "inferencePreprocessingTime", "inferenceQueueTime", "total"))  # fmt: skip
    answer = await api.post(GOOD["/images/generations"], PAID[1])
    assert set(answer.json) == {"created", "data"}
    assert isinstance(answer.json["created"], int)
    assert [set(entry) for entry in answer.json["data"]] == [{"b64_json"}]


@pytest.mark.parametrize("kind", sorted(KINDS | {"all", "code", ""}))
async def test_models_are_listed_as_documented(start, kind):
    api = await start()
    body = (await api.get("/models" + (f"?type={kind}" if kind else ""), key=None)).json
    assert (set(body), body["object"], body["type"]) == ({"object", "type", "data"}, "list", kind or "text")
    for entry in body["data"]:
        assert (entry["object"], entry["owned_by"]) == ("model", "venice.ai")
        assert entry["type"] in ({kind} if kind in KINDS else KINDS)
        spec = entry["model_spec"]
        assert spec["privacy"] in ("private", "anonymized")
        if entry["type"] == "inpaint":
            limits = spec["constraints"]
            assert {"aspectRatios", "promptCharacterLimit", "combineImages"} <= set(limits)
            assert limits["maxInputImages"] >= 1
            assert set(spec["pricing"]) <= {"inpaint", "resolutions", "quality", "inputImages"}
            assert set(spec["pricing"]["inpaint"]) == {"usd", "diem"}
            assert all(set(row) <= {"low", "medium", "high"} for row in spec["pricing"].get("quality", {}).values())
        if entry["type"] in ("image", "upscale"):
            assert set(spec["pricing"]["upscale"]) == {"2x", "4x"}


@pytest.mark.parametrize("page", ["traits", "compatibility_mapping"])
@pytest.mark.parametrize("kind", sorted(KINDS))
async def test_names_map_to_models(start, page, kind):
    api = await start()
    body = (await api.get(f"/models/{page}?type={kind}", key=None)).json
    assert (body["object"], body["type"]) == ("list", kind)
    assert all(isinstance(name, str) and isinstance(model, str) for name, model in body["data"].items())


async def test_the_account_is_described_as_documented(start):
    api = await start(rpm=20, rpd=100)
    data = (await api.get("/api_keys/rate_limits")).json["data"]
    assert {"accessPermitted", "apiTier", "balances", "keyExpiration", "nextEpochBegins", "rateLimits"} <= set(data)
    assert set(data["apiTier"]) == {"id", "isCharged"}
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT00:00:00\.000Z", data["nextEpochBegins"])
    models = {entry["apiModelId"]: entry["rateLimits"] for entry in data["rateLimits"]}
    assert {"venice-sd35", "firered-image-edit", "upscaler", "bria-bg-remover"} <= set(models)
    assert models["upscaler"] == [{"amount": 20, "type": "RPM"}, {"amount": 100, "type": "RPD"}]
    balance = (await api.get("/billing/balance")).json
    assert set(balance) == {"canConsume", "consumptionCurrency", "balances", "diemEpochAllocation"}
    assert set(balance["balances"]) == {"diem", "usd"}
    styles = (await api.get("/image/styles", key=None)).json
    assert styles["object"] == "list"
    assert all(isinstance(name, str) for name in styles["data"])
    for path in ("/api_keys/rate_limits", "/billing/balance"):
        assert is_error(await api.get(path, key="invalid"), 401)
        assert is_error(await api.get(path, key=None), 402)


async def test_settings_select_the_other_published_shapes(start):
    api = await start(openai_errors="openai", unknown_model_status="404")
    error = (await api.post({"prompt": ""}, PAID[1])).json["error"]
    assert set(error) == {"message", "type", "param", "code"}
    error = (await api.post({"prompt": "p"}, PAID[1])).json["error"]
    assert (error["message"], error["param"]) == ("model is required", None)
    assert (await api.post({"model": "nope", "prompt": "p"}, PAID[0])).status == 404


async def test_an_upload_that_is_not_an_image_is_refused(start):
    api = await start()
    form = aiohttp.FormData({"image": io.BytesIO(b"no image")})
    assert is_error(await api.post(raw=form, path="/image/upscale"), 400)
