"""No answer of the sandbox contradicts the published API description."""

import json

import pytest
from sandbox.described import BAD, GOOD, JSON, PAID, contradictions, statuses

GENERATE, OPENAI = PAID[:2]
READ = (
    "/image/styles", "/models", "/models/traits", "/models/compatibility_mapping", "/api_keys/rate_limits",
    "/billing/balance",
)  # fmt: skip
PRIVATE = READ[-2:]


async def post(api, body, path, **options):
    answer = await api.post(body, path, **options)
    assert contradictions("POST", path, answer) == []
    return answer.status


@pytest.mark.parametrize("path", PAID)
async def test_served_images_match_the_description(start, path):
    api = await start(deprecated={"venice-sd35": "qwen-image", "firered-image-edit": "qwen-image"})
    assert await post(api, GOOD[path], path) == 200
    extra = {} if "prompt" not in GOOD[path] else {"prompt": "nsfw" if "edit" in path else "nsfw violation"}
    assert await post(api, {**GOOD[path], **extra}, path, headers={"Accept-Encoding": "gzip"}) == 200


@pytest.mark.parametrize("format_", ["jpeg", "png", "webp"])
@pytest.mark.parametrize("changes", [{"return_binary": True}, {"variants": 4}, {"style_preset": "Anime", "seed": 1}])
async def test_generated_images_match_the_description(start, format_, changes):
    api = await start()
    assert await post(api, {**GOOD[GENERATE], "format": format_, **changes}, GENERATE) == 200


@pytest.mark.parametrize(
    "changes",
    [
        {"response_format": "url", "output_format": "webp"},
        {"model": "no-such-model", "quality": "hd", "style": "vivid", "user": "u"},
        dict.fromkeys(("n", "size", "response_format", "moderation", "quality", "style", "background")),
    ],
)
async def test_images_for_openai_clients_match_the_description(start, changes):
    api = await start()
    assert await post(api, {**GOOD[OPENAI], **changes}, OPENAI) == 200


@pytest.mark.parametrize("path", PAID)
async def test_refusals_match_the_description(start, path):
    api = await start(failure_limit=0)
    for body in BAD[path]:
        status = 404 if isinstance(body, dict) and body.get("model") == "nope" else 400
        # Newer than the description: the 404 for a model that does not exist.
        answer = await api.post(None, path, raw=json.dumps(body), headers=JSON)
        assert answer.status == status
        assert status == 404 or contradictions("POST", path, answer) == []
    assert await post(api, None, path, raw=b"", headers=JSON) == 400
    assert await post(api, None, path, raw=b"{", headers=JSON) == 400
    assert await post(api, None, path, raw=b"") == 400
    assert await post(api, None, path, raw="{}", headers={"Content-Type": "text/plain"}) == 400
    # Newer than the description: what a request without a key is answered with fits both of its schemas for a 402.
    assert (await api.post(GOOD[path], path, key=None)).status == 402
    assert await post(api, GOOD[path], path, key="invalid") == 401


@pytest.mark.parametrize("path", PAID)
@pytest.mark.parametrize(
    ("settings", "status"),
    [
        ({"balance_usd": 0}, 402),
        ({"rpm": 1}, 429),
        ({"failure_limit": 1, "balance_usd": 0}, 429),
        ({"fault_rate": 1, "fault_kinds": ("429",)}, 429),
        ({"fault_rate": 1, "fault_kinds": ("500",)}, 500),
        ({"fault_rate": 1, "fault_kinds": ("503",), "retry_after_503_s": 1}, 503),
        ({"capacity": 1, "fault_rate": 1, "fault_kinds": ("503",)}, 503),
    ],
)
async def test_server_errors_match_the_description(start, path, settings, status):
    api = await start(**settings)
    assert status in statuses("POST", path)
    assert [await post(api, GOOD[path], path) for _ in range(3)][-1] == status


@pytest.mark.parametrize("path", READ)
@pytest.mark.parametrize("query", ["", "?type=image", "?type=all", "?type=code", "?type=nonsense", "?type="])
async def test_listings_match_the_description(start, path, query):
    api = await start(rpm=20, rpd=100, deprecated={"venice-sd35": "qwen-image"})
    answer = await api.get(path + query)
    assert (answer.status, contradictions("GET", path, answer)) == (200, [])


@pytest.mark.parametrize("path", PRIVATE)
async def test_listings_refuse_strangers_as_described(start, path):
    api = await start()
    answer = await api.get(path, key="invalid")
    assert (answer.status, contradictions("GET", path, answer)) == (401, [])


def test_a_contradiction_is_found():
    class Answer:
        status, headers, json = 200, {"Content-Type": "application/json", "x-venice-is-blurred": "maybe"}, {"id": 1}

    assert len(contradictions("POST", GENERATE, Answer)) == 4
    Answer.status = 418
    assert contradictions("POST", GENERATE, Answer) == ["status 418 is not described"]
    Answer.status, Answer.headers = 200, {"Content-Type": "text/html"}
    assert contradictions("POST", GENERATE, Answer) == ["a text/html is not described for 200"]
