import asyncio
import base64
import io
import struct
from collections import Counter
from datetime import UTC, datetime
from urllib.parse import unquote

import aiohttp
import openai
import pytest
from PIL import Image

from venice_batch.sandbox import SandboxSettings, serve

OPENAI = "/images/generations"


def image_of(data):
    image = Image.open(io.BytesIO(data))
    image.load()
    return image


async def test_a_native_answer_has_the_documented_shape(start, native):
    api = await start(rpm=20, draw="art")
    answer = await api.post(native(variants=3))
    assert answer.status == 200
    assert set(answer.json) == {"id", "images", "request", "timing"}
    assert answer.json["id"].startswith("generate-image-")
    assert answer.json["request"] == native(variants=3)
    assert set(answer.json["timing"]) == {
        "inferenceDuration", "inferencePreprocessingTime", "inferenceQueueTime", "total"
    }  # fmt: skip
    images = [image_of(base64.b64decode(text, validate=True)) for text in answer.json["images"]]
    assert [(image.format, image.size) for image in images] == [("WEBP", (64, 64))] * 3
    assert len(set(answer.json["images"])) == 3


async def test_every_answer_is_marked_as_the_sandboxs(start, native):
    api = await start(rpm=20)
    answer = await api.post(native())
    headers = answer.headers
    assert (headers["x-venice-sandbox"], headers["Server"]) == ("true", "venice-batch-sandbox")
    assert headers["CF-RAY"].endswith("-FRA")
    assert headers["x-venice-model-id"] == "venice-sd35"
    assert (headers["x-venice-balance-usd"], headers["x-venice-balance-diem"]) == ("100", "0")
    assert (headers["x-venice-is-blurred"], headers["x-venice-is-content-violation"]) == ("false", "false")
    assert (headers["x-ratelimit-limit-requests"], headers["x-ratelimit-remaining-requests"]) == ("20", "19")
    missing = await api.get("/nowhere")
    assert (missing.status, missing.json) == (404, {"error": "Not Found"})
    assert missing.headers["x-venice-sandbox"] == "true"


@pytest.mark.parametrize("kind", ["webp", "png", "jpeg"])
async def test_binary_answers_are_the_image_itself(start, native, kind):
    api = await start()
    answer = await api.post(native(return_binary=True, format=kind), headers={"Accept-Encoding": "gzip"})
    assert answer.headers["Content-Type"] == f"image/{kind}"
    assert "Content-Encoding" not in answer.headers
    assert image_of(answer.body).format == kind.upper()


async def test_only_the_same_seed_gives_the_same_bytes(start, native):
    api = await start(draw="art")
    same = [await api.post(native(return_binary=True)) for _ in range(2)]
    assert same[0].body == same[1].body
    free = native(return_binary=True)
    del free["seed"]
    others = [await api.post(free) for _ in range(2)]
    assert others[0].body != others[1].body


@pytest.mark.parametrize("form", ["b64_json", "url"])
async def test_the_openai_endpoint_answers_in_both_forms(start, form):
    api = await start()
    answer = await api.post({"prompt": "p", "size": "256x256", "response_format": form, "model": "x"}, OPENAI)
    [entry] = answer.json["data"]
    text = entry[form].removeprefix("data:image/png;base64,")
    assert (text != entry[form]) == (form == "url")
    assert image_of(base64.b64decode(text)).size == (256, 256)
    assert answer.json["created"] == int(api.clock.now)
    assert answer.headers["x-venice-model-id"] == "z-image-turbo"


async def test_the_official_openai_client_works_unchanged(start):
    api = await start(openai_errors="openai")

    def generate(prompt, **fields):
        with openai.OpenAI(base_url=api.url, api_key="k", max_retries=0) as client:
            return client.images.generate(model="qwen-image-2", prompt=prompt, **fields)

    result = await asyncio.to_thread(generate, "p", size="1024x1024", response_format="b64_json")
    assert image_of(base64.b64decode(result.data[0].b64_json)).size == (1024, 1024)
    with pytest.raises(openai.BadRequestError) as caught:
        await asyncio.to_thread(generate, "p", n=2)
    assert caught.value.param == "n"


@pytest.mark.parametrize(("encoding", "accepted"), [("br", "br, gzip"), ("gzip", "gzip"), (None, "identity")])
async def test_json_is_compressed_on_request(start, native, encoding, accepted):
    api = await start()
    answer = await api.post(native(variants=4), headers={"Accept-Encoding": accepted})
    assert answer.headers.get("Content-Encoding") == encoding
    assert len(answer.json["images"]) == 4


async def test_compression_can_be_switched_off(start):
    api = await start(compress=False)
    assert "Content-Encoding" not in (await api.get("/models?type=image")).headers


@pytest.mark.parametrize(
    ("raw", "content_type", "status"),
    [
        (b"{", "application/json", 400),
        (b"", "application/json", 400),
        (b"{}", "text/plain", 400),
        (b"{}", "application/json", 400),
        (b"[1]", "application/json; charset=utf-8", 400),
    ],
)
@pytest.mark.parametrize("path", ["/image/generate", OPENAI, "/image/upscale", "/image/edit"])
async def test_unusable_bodies_are_refused_with_a_message(start, raw, content_type, status, path):
    api = await start()
    answer = await api.post(raw=raw, headers={"Content-Type": content_type}, path=path)
    assert answer.status == status
    assert isinstance(answer.json["error"], str)


async def test_bodies_above_the_limit_are_too_large(start):
    api = await start()
    answer = await api.post(raw=io.BytesIO(b" " * (36 * 1024 * 1024)), headers={"Content-Type": "application/json"})
    assert (answer.status, answer.json["code"]) == (413, "PAYLOAD_TOO_LARGE")
    assert answer.headers["x-ratelimit-remaining"] == "50"


async def test_validation_errors_have_details_and_issues(start, native):
    api = await start(era="2026-08")
    answer = await api.post(native(width=65, foo=1))
    assert answer.status == 400
    answer = await api.post(native(width=65))
    assert answer.json["details"] == {"_errors": [], "width": {"_errors": ["Number must be a multiple of 16"]}}
    assert answer.json["issues"] == [
        {"code": "not_multiple_of", "path": ["width"], "message": "Number must be a multiple of 16"}
    ]
    assert api.sandbox.stats()["failed"] == 2


@pytest.mark.parametrize(("era", "key", "status"), [("2026-10", None, 402), ("2026-10", "invalid", 401),
                                                    ("2026-08", None, 401)])  # fmt: skip
@pytest.mark.parametrize("path", ["/image/generate", OPENAI])
async def test_a_missing_or_bad_key_is_refused_before_anything_else(start, era, key, status, path):
    api = await start(era=era)
    answer = await api.post(raw=b"nonsense", key=key, path=path)
    assert answer.status == status
    assert "Authentication" in str(answer.json)
    assert "x-ratelimit-remaining" not in answer.headers


async def test_the_window_refuses_with_a_hint_and_opens_again(start, native):
    api = await start(rpm=2)
    assert [(await api.post(native())).status for _ in range(3)] == [200, 200, 429]
    refused = await api.post(native())
    assert refused.headers["Retry-After"] == "60"
    assert refused.headers["x-ratelimit-reset-requests"] == "1800000060250"
    api.clock.now += 60
    assert (await api.post(native())).status == 200
    stats = api.sandbox.stats()
    assert (stats["requests"], stats["succeeded"], stats["refused"], stats["charged_usd"]) == (5, 3, 2, 0.03)


async def test_invalid_requests_use_no_quota(start, native):
    api = await start(rpm=1)
    assert (await api.post(native(width=0))).status == 400
    assert (await api.post(native())).status == 200


async def test_client_errors_use_the_budget_of_their_model_only(start, native):
    api = await start(failure_limit=2, fault_schedule={1: "500"})
    bad = native(width=0)
    left = [(await api.post(body)).headers["x-ratelimit-remaining"] for body in (native(), bad, bad)]
    assert left == ["2", "1", "0"]
    for raw, kind in ((b"{", "application/json"), (b"{}", "text/plain")):
        uncounted = await api.post(raw=raw, headers={"Content-Type": kind})
        assert (uncounted.status, uncounted.headers["x-ratelimit-remaining"]) == (400, "2")
    assert (await api.post(native())).headers["x-ratelimit-remaining"] == "0"
    assert (await api.post(bad)).status == 400
    blocked = await api.post(native())
    assert (blocked.status, blocked.headers["Retry-After"]) == (429, "30")
    assert blocked.json["error"].startswith("Too many failed attempts (> 2) resulting in a non-success status code.")
    assert blocked.headers["x-ratelimit-resets"] == "1800000030250"
    assert (await api.post(native(model="chroma"))).status == 200
    assert (await api.post(native(), key="other")).status == 200
    api.clock.now += 30
    assert (await api.post(native())).status == 200


async def test_each_openai_user_has_a_budget_and_listings_show_a_full_one(start):
    api = await start(failure_limit=1)
    body = {"model": "chroma", "prompt": "", "user": "a"}
    assert [(await api.post(body, OPENAI)).status for _ in range(3)] == [400, 400, 429]
    assert (await api.post({**body, "user": "b"}, OPENAI)).status == 400
    for path in ("/billing/balance", "/api_keys/rate_limits"):
        assert (await api.get(path)).headers["x-ratelimit-remaining"] == "1"
    quiet = await start(budget_headers=False)
    assert "x-ratelimit-remaining" not in (await quiet.get("/billing/balance")).headers


async def test_in_august_too_many_failures_block_the_key_for_half_a_minute(start, native):
    api = await start(era="2026-08")
    statuses = [(await api.post(native(width=65))).status for _ in range(23)]
    assert statuses == [400] * 21 + [429] * 2
    assert (await api.get("/billing/balance")).status == 429
    assert (await api.get("/models?type=image")).status == 200
    assert (await api.post(native(), key="other")).status == 200
    api.clock.now += 30
    assert (await api.post(native())).status == 200
    stats = api.sandbox.stats()
    assert (stats["blocks"], stats["blocked"], stats["refused"], stats["failed"]) == (1, 3, 0, 23)


async def test_the_balance_runs_out_exactly_even_under_concurrency(start, native):
    api = await start(balance_usd=0.05)
    answers = await asyncio.gather(*(api.post(native()) for _ in range(12)))
    assert sorted(answer.status for answer in answers) == [200] * 5 + [402] * 7
    assert (await api.get("/billing/balance")).json == {
        "canConsume": False,
        "consumptionCurrency": "USD",
        "balances": {"diem": None, "usd": 0.0},
        "diemEpochAllocation": 0,
    }
    assert api.sandbox.stats()["charged_usd"] == 0.05


async def test_an_adult_prompt_is_blurred_unless_safe_mode_is_off(start, native):
    api = await start(draw="art")
    blurred = await api.post(native(prompt="nsfw", return_binary=True))
    open_one = await api.post(native(prompt="nsfw", return_binary=True, safe_mode=False))
    assert (blurred.headers["x-venice-is-blurred"], open_one.headers["x-venice-is-blurred"]) == ("true", "false")
    assert blurred.body != open_one.body


@pytest.mark.parametrize("binary", [False, True])
async def test_a_violation_is_blacked_out_and_free(start, native, binary):
    api = await start(draw="art")
    answer = await api.post(native(prompt="violation", format="jpeg", return_binary=binary, enhance_prompt=True))
    assert (answer.status, answer.headers["x-venice-is-content-violation"]) == (200, "true")
    image = image_of(answer.body if binary else base64.b64decode(answer.json["images"][0]))
    assert (image.format, image.convert("L").getextrema()) == ("PNG" if binary else "JPEG", (0, 0))
    assert answer.headers["Content-Type"].startswith("image/png" if binary else "application/json")
    stats = api.sandbox.stats()
    assert (stats["violations"], stats["images_charged"], stats["charged_usd"], stats["succeeded"]) == (1, 0, 0, 0)


async def test_in_august_a_violation_is_drawn_and_charged(start, native):
    api = await start(era="2026-08")
    assert (await api.post(native(prompt="violation"))).headers["x-venice-is-content-violation"] == "true"
    stats = api.sandbox.stats()
    assert (stats["violations"], stats["images_charged"], stats["charged_usd"]) == (1, 1, 0.01)


@pytest.mark.parametrize("draw", ["art", "plain"])
@pytest.mark.parametrize("kind", ["png", "webp"])
async def test_a_transparent_background_is_real(start, native, draw, kind):
    api = await start(draw=draw)
    body = {"model": "gpt-image-1-5", "prompt": "a cup", "format": kind, "transparent_background": True,
            "return_binary": True}  # fmt: skip
    image = image_of((await api.post(body)).body)
    assert (image.format, image.mode) == (kind.upper(), "RGBA")
    assert [image.getpixel(at)[3] for at in ((0, 0), (image.width // 2, image.height // 2))] == [0, 255]
    openai_body = {"model": "gpt-image-1-5", "prompt": "a cup", "background": "transparent", "output_format": kind}
    [entry] = (await api.post(openai_body, OPENAI)).json["data"]
    assert image_of(base64.b64decode(entry["b64_json"])).getpixel((0, 0))[3] == 0


@pytest.mark.parametrize(("era", "same"), [("2026-10", [True, False]), ("2026-08", [True, True])])
async def test_the_seed_is_the_first_variants_since_october(start, native, era, same):
    api = await start(era=era, draw="art")
    pairs = zip(*[(await api.post(native(variants=2))).json["images"] for _ in range(2)], strict=True)
    assert [one == other for one, other in pairs] == same


async def test_retired_models_are_neither_listed_nor_served(start, native):
    api = await start(retired={"venice-sd35": "chroma"})
    assert (await api.post(native())).status == 404
    assert "venice-sd35" not in str((await api.get("/models?type=all")).json)
    limits = (await api.get("/api_keys/rate_limits")).json["data"]["rateLimits"]
    assert "venice-sd35" not in {entry["apiModelId"] for entry in limits}


@pytest.mark.parametrize(("key_limit", "usd"), [(None, 5), (0.5, 0.5)])
async def test_all_balances_are_listed_within_the_keys_limit(start, key_limit, usd):
    api = await start(balance_usd=5, diem=2, bundled_usd=0.25, key_limit_usd=key_limit)
    data = (await api.get("/api_keys/rate_limits")).json["data"]
    assert data["balances"] == {"USD": usd, "DIEM": 2, "BUNDLED_CREDITS": 0.25}
    assert data["accessPermitted"]
    empty = await start(balance_usd=0)
    assert not (await empty.get("/api_keys/rate_limits")).json["data"]["accessPermitted"]


async def test_a_models_own_latency_overrides_the_common_one(start, native):
    api = await start(latency_s=0, latency_by_model={"chroma": 50}, speed=1000, latency_jitter=0)
    times = [(await api.post(native(model=model))).json["timing"]["total"] for model in ("venice-sd35", "chroma")]
    assert times[1] >= 40


async def test_headers_report_violations_enhancement_and_deprecation(start, native):
    api = await start(deprecated={"venice-sd35": "qwen-image"})
    answer = await api.post(native(prompt="violation é", enhance_prompt=True))
    assert answer.headers["x-venice-is-content-violation"] == "true"
    assert unquote(answer.headers["x-venice-enhanced-prompt"]).startswith("violation é, ")
    assert answer.headers["x-venice-deprecated"] == "true"
    assert answer.headers["x-venice-deprecated-replacement"] == "qwen-image"
    assert "qwen-image" in answer.headers["x-venice-model-deprecation-warning"]
    assert answer.headers["x-venice-model-deprecation-date"] > f"{datetime.now(UTC):%Y-%m-%d}"


async def test_listing_and_answers_give_a_deprecated_model_the_same_date(start, native):
    api = await start(deprecated={"venice-sd35": "qwen-image", "firered-image-edit": "qwen-edit"})
    listed = {entry["id"]: entry["model_spec"] for entry in (await api.get("/models?type=all", key=None)).json["data"]}
    assert [name for name, spec in listed.items() if "deprecation" in spec] == ["venice-sd35", "firered-image-edit"]
    date = (await api.post(native())).headers["x-venice-model-deprecation-date"]
    assert listed["venice-sd35"]["deprecation"] == {
        "autoRemap": False, "date": date, "removesAt": date, "replacementModelId": "qwen-image",
    }  # fmt: skip
    assert listed["firered-image-edit"]["deprecation"]["replacementModelId"] == "qwen-edit"


async def test_the_model_list_needs_no_key(start):
    api = await start()
    listed = (await api.get("/models?type=image", key=None)).json
    assert (listed["object"], listed["type"], len(listed["data"])) == ("list", "image", 50)
    everything = (await api.get("/models?type=all")).json["data"]
    assert Counter(entry["type"] for entry in everything) == {"image": 50, "inpaint": 33, "upscale": 1}
    assert len((await api.get("/models?type=inpaint")).json["data"]) == 33
    assert (await api.get("/models?type=video")).json["data"] == []
    assert (await api.get("/models?type=images")).json == (await api.get("/models")).json
    traits = (await api.get("/models/traits?type=image")).json["data"]
    assert traits["default"] == traits["fastest"] == "z-image-turbo"
    assert (await api.get("/models/traits")).json["data"] == {}
    assert (await api.get("/models/traits?type=all")).json == (await api.get("/models/traits")).json
    mapping = (await api.get("/models/compatibility_mapping?type=image")).json["data"]
    assert mapping["dall-e-3"] == "z-image-turbo"
    editors = (await api.get("/models/traits?type=inpaint")).json["data"]
    assert editors == {"default": "firered-image-edit"}


@pytest.mark.parametrize("shape", ["object", "array"])
async def test_styles_come_in_either_documented_shape(start, shape):
    api = await start(styles_shape=shape)
    body = (await api.get("/image/styles", key=None)).json
    names = body if shape == "array" else body["data"]
    assert "Cinematic" in names


async def test_the_listed_limits_are_right_wrong_or_forbidden(start):
    amounts = {}
    for mode in ("ok", "wrong"):
        api = await start(rpm=20, rpd=500, rate_limits_endpoint=mode)
        data = (await api.get("/api_keys/rate_limits")).json["data"]
        amounts[mode] = {entry["apiModelId"]: entry["rateLimits"] for entry in data["rateLimits"]}["chroma"]
        assert data["nextEpochBegins"] == "2027-01-16T00:00:00.000Z"
    assert amounts["ok"] == [{"amount": 20, "type": "RPM"}, {"amount": 500, "type": "RPD"}]
    assert amounts["wrong"][0]["amount"] == 40
    api = await start(rate_limits_endpoint="forbidden")
    assert (await api.get("/api_keys/rate_limits")).status == 403
    assert (await api.get("/api_keys/rate_limits", key=None)).status == 402


async def test_a_wrong_method_is_a_405(start):
    api = await start()
    answer = await api.get("/image/generate")
    assert (answer.status, answer.headers["Allow"]) == (405, "POST")


async def test_the_front_page_explains_the_sandbox(start):
    api = await start()
    root = api.url.removesuffix("/api/v1")
    page = await api.get(root + "/", key=None)
    assert b"sandbox" in page.body
    assert b"it runs no model" in page.body


async def test_stats_can_be_read_and_reset_over_http(start, native):
    api = await start(rpm=1)
    await api.post(native())
    root = api.url.removesuffix("/api/v1")
    assert (await api.get(root + "/sandbox/stats", key=None)).json == api.sandbox.stats()
    assert api.sandbox.stats()["max_in_flight"] == 1
    for origin in ("http://example.com", "null", root.replace("http:", "https:")):
        async with api.session.post(root + "/sandbox/reset", headers={"Origin": origin}) as response:
            assert response.status == 403
    assert api.sandbox.stats()["requests"] == 1
    async with api.session.post(root + "/sandbox/reset", headers={"Origin": root}) as response:
        zeroed = await response.json()
    assert (zeroed["requests"], zeroed["charged_usd"], zeroed["by_model"]) == (0, 0.0, {})
    assert (await api.post(native())).status == 200


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504, 522, 524])
@pytest.mark.parametrize("path", ["/image/generate", OPENAI])
async def test_injected_statuses_cost_nothing(start, native, status, path):
    api = await start(fault_schedule={1: str(status)}, retry_after_503_s=3)
    body = native() if path != OPENAI else {"model": "chroma", "prompt": "p", "size": "256x256"}
    answer = await api.post(body, path)
    assert answer.status == status
    assert (answer.headers["Content-Type"].startswith("text/html")) == (status in (502, 522, 524))
    assert answer.headers.get("Retry-After") == ("3" if status == 503 else None)
    assert api.sandbox.stats()["charged_usd"] == 0
    assert (await api.post(body, path)).status == 200
    assert (api.sandbox.stats()["faults"], api.sandbox.stats()["failed"]) == (1, 1)


@pytest.mark.parametrize("fault", ["garbage", "html", "empty", "no-images", "bad-base64", "truncated-json"])
@pytest.mark.parametrize("binary", [False, True])
async def test_a_faulty_200_has_no_image(start, native, fault, binary):
    api = await start(fault_schedule={1: fault})
    answer = await api.post(native(return_binary=binary))
    assert answer.status == 200
    with pytest.raises((ValueError, KeyError, IndexError, OSError, TypeError)):
        image_of(answer.body if binary else base64.b64decode(answer.json["images"][0], validate=True))
    stats = api.sandbox.stats()
    assert (stats["succeeded"], stats["failed"], stats["faults"], stats["charged_usd"]) == (0, 0, 1, 0.01)


@pytest.mark.parametrize("fault", ["reset-before", "reset-mid", "short-body"])
async def test_connections_can_be_cut(start, native, fault):
    api = await start(fault_schedule={1: fault})
    with pytest.raises(aiohttp.ClientError):
        await api.post(native())
    assert (await api.post(native())).status == 200
    assert api.sandbox.stats()["in_flight"] == 0
    assert api.sandbox.stats()["charged_usd"] == (0.01 if fault == "reset-before" else 0.02)


async def test_a_stalled_answer_sends_headers_and_then_nothing(start, native):
    api = await start(fault_schedule={1: "stall"}, stall_s=0.05)
    async with api.session.post(
        api.url + "/image/generate", json=native(), headers={"Authorization": "Bearer k"}
    ) as response:
        assert response.status == 200
        with pytest.raises(aiohttp.ClientError):
            await response.read()


async def test_a_stall_ends_when_the_client_leaves(start, native):
    api = await start(fault_schedule={1: "stall"}, stall_s=30)
    async with api.session.post(
        api.url + "/image/generate", json=native(), headers={"Authorization": "Bearer k"}
    ) as response:
        assert response.status == 200
        response.close()
    assert (await api.post(native())).status == 200


async def test_a_slow_answer_is_complete(start, native):
    api = await start(fault_schedule={1: "slow"}, stall_s=0.0)
    answer = await api.post(native())
    assert image_of(base64.b64decode(answer.json["images"][0])).size == (64, 64)
    assert api.sandbox.stats()["succeeded"] == 1


async def test_clients_can_leave_a_bomb_and_an_endless_body(start, native):
    api = await start(fault_schedule={1: "gzip-bomb", 2: "endless"})
    for _ in range(2):
        async with api.session.post(
            api.url + "/image/generate", json=native(), headers={"Authorization": "Bearer k"}
        ) as response:
            assert len(await response.content.readexactly(1 << 17)) == 1 << 17
            response.close()
    assert (await api.post(native())).status == 200


@pytest.mark.parametrize("target", ["", "http://localhost:1/steal"])
async def test_a_redirect_points_elsewhere(start, native, target):
    api = await start(fault_schedule={1: "redirect"}, redirect_to=target)
    answer = await api.post(native())
    assert answer.status == 307
    assert answer.headers["Location"] == (target or "http://localhost:9/api/v1/image/generate")


async def test_requests_above_the_capacity_get_a_503_at_once(start, native):
    api = await start(capacity=1, latency_s=0.1, latency_jitter=0)
    answers = await asyncio.gather(*(api.post(native()) for _ in range(3)))
    assert sorted(answer.status for answer in answers) == [200, 503, 503]
    assert api.sandbox.stats()["at_capacity"] == 2


async def test_latency_is_divided_by_speed_and_reported(start, native):
    api = await start(latency_s=50, speed=1000, latency_jitter=0)
    timing = (await api.post(native())).json["timing"]
    assert 40 <= timing["inferenceDuration"] < 2000
    assert timing["total"] >= timing["inferenceDuration"]


async def test_a_raw_request_by_hand_is_answered(start):
    api = await start()
    host, port = "127.0.0.1", int(api.url.split(":")[2].split("/")[0])
    reader, writer = await asyncio.open_connection(host, port)
    body = b'{"model":"venice-sd35","prompt":"p","width":16,"height":16,"return_binary":true,"format":"png"}'
    writer.write(
        b"POST /api/v1/image/generate HTTP/1.1\r\nHost: x\r\nAuthorization: bearer k\r\nConnection: close\r\n"
        b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    )
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    head, _, image = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK")
    assert struct.unpack(">II", image[16:24]) == (16, 16)


async def test_ipv6_loopback_is_served_too():
    async with serve(SandboxSettings(), host="::1") as sandbox:
        assert sandbox.base_url.startswith("http://[::1]:")


async def test_leaving_does_not_wait_for_requests_in_flight(native):
    async with aiohttp.ClientSession() as session:
        async with serve(SandboxSettings(latency_s=600)) as sandbox:
            request = asyncio.ensure_future(
                session.post(sandbox.base_url + "/image/generate", json=native(), headers={"Authorization": "Bearer k"})
            )
            async with asyncio.timeout(5):
                while sandbox.stats()["in_flight"] == 0:
                    async with session.get(sandbox.base_url + "/models"):
                        pass
        with pytest.raises(aiohttp.ClientError):
            await request


async def test_a_client_that_leaves_during_an_upload_logs_no_error(start, caplog):
    api = await start()
    host, _, port = api.url.removeprefix("http://").removesuffix("/api/v1").rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(
        b"POST /api/v1/image/upscale HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer k\r\nContent-Length: 100000\r\n"
        b"Content-Type: application/json\r\nExpect: 100-continue\r\n\r\n"
    )
    await reader.readline()  # the server reads the body by now
    writer.write(b"{")
    writer.transport.abort()
    while api.sandbox.stats()["in_flight"]:  # noqa: ASYNC110 - the server tells nobody when it is done
        await asyncio.sleep(0.001)
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []
    assert api.sandbox.stats()["requests"] == 1


HISTORY = "/billing/usage-history"


async def test_the_usage_history_lists_every_charge_with_its_currency_and_the_oldest_first(start, native):
    api = await start(diem=0.02, fault_schedule={3: "500"})
    for changes in ({"variants": 2}, {"enhance_prompt": True}, {}, {}):
        api.clock.now += 1
        await api.post(native(**changes))
    found = (await api.get(HISTORY)).json
    assert found["nextCursor"] is None
    fields = ("sku", "units", "pricePerUnitUsd", "amount", "currency")
    assert [tuple(row[field] for field in fields) for row in found["data"]] == [
        ("venice-sd35-image-unit", 2, 0.01, -0.02, "DIEM"),
        ("venice-sd35-image-unit", 1, 0.01, -0.01, "USD"),
        ("prompt-enhancement-unit", 1, 0.04, -0.04, "USD"),
        ("venice-sd35-image-unit", 1, 0.01, -0.01, "USD"),
    ]  # fmt: skip
    assert [row["timestamp"] for row in found["data"]][::3] == ["2027-01-15T08:00:01.250Z", "2027-01-15T08:00:04.250Z"]
    diem = await api.get(HISTORY + "?currency=DIEM")
    assert len(diem.json["data"]) == 1
    some = await api.get(HISTORY + "?startTimestamp=2027-01-15T08:00:02Z&endTimestamp=2027-01-15T08:00:04Z")
    assert [row["units"] for row in some.json["data"]] == [1, 1]


async def test_a_long_usage_history_has_pages_that_a_cursor_leads_through(start, native):
    api = await start()
    for _ in range(23):
        await api.post(native())
    page, sizes = (await api.get(HISTORY + "?pageSize=10&startTimestamp=2026-01-01T00:00:00Z")).json, []
    while True:
        sizes.append(len(page["data"]))
        if page["nextCursor"] is None:
            break
        page = (await api.get(f"{HISTORY}?cursor={page['nextCursor']}")).json
    assert sizes == [10, 10, 3]


@pytest.mark.parametrize(
    "query",
    [
        "pageSize=9", "pageSize=1001", "pageSize=x", "currency=VCU", "startTimestamp=today", "page=1", "cursor=x",
        "cursor=MQ&pageSize=10", "cursor=%21", "startTimestamp=2027-01-15T08:00:00Z&endTimestamp=2027-01-15T08:00:00Z",
    ],
)  # fmt: skip
async def test_the_usage_history_refuses_what_the_api_refuses(start, query):
    api = await start()
    assert (await api.get(f"{HISTORY}?{query}")).status == 400


async def test_the_usage_history_is_for_admin_keys(start):
    api = await start(usage_history_endpoint="forbidden")
    answer = await api.get(HISTORY)
    assert (answer.status, answer.json) == (401, {"error": "Admin API key required"})
