import asyncio
import base64
import io
import struct
import zlib
from dataclasses import replace

import aiohttp
import aiohttp.web
import pytest
from PIL import Image, ImageDraw, features

from venice_batch.sandbox.catalogue import shipped_edits
from venice_batch.sandbox.edit import EditReader
from venice_batch.sandbox.request_body import Body
from venice_batch.sandbox.settings import SandboxSettings

UPSCALE, EDIT, MULTI, REMOVE = "/image/upscale", "/image/edit", "/image/multi-edit", "/image/background-remove"


def file_of(width=320, height=240, kind="PNG", mode="RGB"):
    image = Image.new(mode, (width, height), "#dde0e8")
    ImageDraw.Draw(image).ellipse((width // 4, height // 4, width * 3 // 4, height * 3 // 4), fill="#c03020")
    out = io.BytesIO()
    image.save(out, kind)
    return out.getvalue()


def text_of(data):
    return base64.b64encode(data).decode()


def image_of(answer):
    image = Image.open(io.BytesIO(answer.body))
    image.load()
    return image


def header_of(width, height):
    """A PNG that claims this size and has no pixels."""
    ihdr = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + ihdr + struct.pack(">II4s", zlib.crc32(ihdr), 64, b"IDAT")


def form(*parts):
    data = aiohttp.FormData(default_to_multipart=True)
    for name, value in parts:
        if isinstance(value, bytes):
            data.add_field(name, io.BytesIO(value), filename="a.png", content_type="image/png")
        else:
            data.add_field(name, value)
    return data


FILE = file_of()
TEXT = text_of(FILE)


async def balance(api):
    return (await api.get("/billing/balance")).json["balances"]["usd"]


@pytest.mark.parametrize(
    ("size", "fields", "expected", "price"),
    [
        ((320, 240), {}, (640, 480), 0.02),
        ((320, 240), {"scale": 2, "creativity": None}, (640, 480), 0.02),
        ((320, 240), {"scale": 4, "creativity": 0.5, "enhance": True}, (1280, 960), 0.08),
        ((2000, 1000), {"scale": 4}, (5792, 2896), 0.08),
    ],
)
async def test_upscaling_multiplies_the_sides(start, size, fields, expected, price):
    api = await start(draw="plain" if size[0] > 1000 else "art")
    answer = await api.post({"image": text_of(file_of(*size)), **fields}, UPSCALE)
    assert (answer.status, answer.headers["Content-Type"]) == (200, "image/png")
    image = image_of(answer)
    assert (image.format, image.size) == ("PNG", expected)
    assert answer.headers["x-venice-model-id"] == "upscaler"
    assert await balance(api) == pytest.approx(100 - price)


@pytest.mark.parametrize("source", [TEXT, f"data:image/png;base64,{TEXT}", FILE], ids=["base64", "data", "file"])
@pytest.mark.parametrize("path", [UPSCALE, EDIT, REMOVE])
async def test_an_image_comes_in_every_documented_form(start, source, path):
    api = await start(era="2026-08")
    fields = {"image": source, **({"prompt": "blue"} if path == EDIT else {})}
    if isinstance(source, bytes):
        answer = await api.post(raw=form(*fields.items()), path=path)
    else:
        answer = await api.post(fields, path)
        assert (await api.post(raw=form(*fields.items()), path=path)).status == 200
    assert answer.status == 200
    assert api.sandbox.stats()["succeeded"] == (1 if isinstance(source, bytes) else 2)


async def test_upscaling_takes_raw_base64_and_any_scale_from_2_to_4(start):
    api = await start()
    assert (await api.post({"image": f"data:image/png;base64,{TEXT}"}, UPSCALE)).status == 400
    answer = await api.post({"image": TEXT, "scale": 2.5, "unknown": 1}, UPSCALE)
    assert image_of(answer).size == (800, 600)
    assert await balance(api) == pytest.approx(99.92)


async def test_in_august_upscaling_takes_a_scale_of_2_or_4_only(start):
    api = await start(era="2026-08")
    answer = await api.post({"image": TEXT, "scale": 3}, UPSCALE)
    assert (answer.status, answer.json["issues"][0]["path"]) == (400, ["scale"])


@pytest.mark.parametrize("path", [UPSCALE, EDIT, REMOVE])
async def test_a_side_below_64_pixels_is_refused_since_october(start, path):
    body = {"image": text_of(file_of(4096, 32)), **({"prompt": "p"} if path == EDIT else {})}
    answer = await (await start()).post(body, path)
    assert (answer.status, "64 pixels" in answer.json["issues"][0]["message"]) == (400, True)
    assert (await (await start(era="2026-08")).post(body, path)).status == 200


@pytest.mark.skipif(not features.check("avif"), reason="this Pillow reads no AVIF")
async def test_avif_is_accepted_since_october(start):
    body = {"image": text_of(file_of(kind="AVIF"))}
    assert (await (await start()).post(body, UPSCALE)).status == 200
    assert (await (await start(era="2026-08")).post(body, UPSCALE)).status == 400


async def test_a_violating_edit_is_a_free_422(start):
    api = await start()
    answer = await api.post({"image": TEXT, "prompt": "violation"}, EDIT)
    assert (answer.status, await balance(api), api.sandbox.stats()["violations"]) == (422, 100, 1)
    assert (await (await start(era="2026-08")).post({"image": TEXT, "prompt": "violation"}, EDIT)).status == 200


@pytest.mark.parametrize("draw", ["art", "plain"])
async def test_edits_can_have_a_transparent_background(start, draw):
    api = await start(draw=draw)
    body = {"prompt": "p", "modelId": "gpt-image-1-5-edit", "transparent_background": True, "anon_user_id": "u"}
    for path, source in ((EDIT, {"image": TEXT}), (MULTI, {"images": [TEXT]})):
        image = image_of(await api.post({**body, **source}, path))
        assert (image.mode, image.getpixel((0, 0))[3]) == ("RGBA", 0)
        for change in ({"output_format": "jpeg"}, {"modelId": "flux-2-max-edit"}):
            refused = await api.post({**body, **source, **change}, path)
            assert [issue["path"] for issue in refused.json["issues"]] == [["transparent_background"]]


async def test_multi_edit_ignores_a_resolution_that_edit_rejects(start):
    api = await start()
    body = {"prompt": "p", "modelId": "flux-2-max-edit", "resolution": "4K"}
    assert image_of(await api.post({**body, "images": [TEXT]}, MULTI)).size == (1248, 832)
    refused = await api.post({**body, "image": TEXT}, EDIT)
    assert [issue["path"] for issue in refused.json["issues"]] == [["resolution"]]


@pytest.mark.parametrize(("included", "images", "micro_usd"), [(0, 1, 50_000), (1, 1, 40_000), (1, 3, 60_000)])
async def test_input_images_beyond_the_included_ones_cost_extra(included, images, micro_usd):
    async def opened(_source, _urls):
        return Image.new("RGB", (320, 240))

    shipped = shipped_edits()
    editor = shipped.find("default")
    pricing = {**editor.pricing, "inputImages": {"included": included, "additional": {"usd": 0.01}}}
    listed = replace(shipped, models={editor.id: replace(editor, pricing=pricing)})
    reader = EditReader(listed, SandboxSettings(), opened)
    order = await reader.read("multi-edit", Body({"images": [TEXT] * images, "prompt": "p"}))
    assert order.price_micro_usd == micro_usd


async def test_a_retired_edit_model_names_its_successor(start):
    api = await start(retired={"firered-image-edit": "flux-2-max-edit"})
    answer = await api.post({"image": TEXT, "prompt": "p"}, EDIT)
    assert (answer.status, "flux-2-max-edit" in answer.json["error"]) == (404, True)


async def test_uploads_of_all_models_share_one_error_budget(start):
    api = await start(failure_limit=1)
    for model in ("a", "b"):
        assert (await api.post(raw=form(("image", FILE), ("prompt", "p"), ("model", model)), path=EDIT)).status == 400
    assert (await api.post(raw=form(("image", FILE)), path=UPSCALE)).status == 429
    assert (await api.post({"image": TEXT, "prompt": "p", "model": "firered-image-edit"}, EDIT)).status == 200


async def test_unreadable_uploads_use_the_budget_of_readable_ones(start):
    api = await start(failure_limit=1)
    assert (await api.post(raw=form(*[("images", FILE)] * 11, ("prompt", "p")), path=MULTI)).status == 400
    assert (await api.post(raw=form(("image", FILE), ("prompt", "p"), ("model", "a")), path=EDIT)).status == 400
    assert (await api.post(raw=form(("image", FILE)), path=UPSCALE)).status == 429


async def test_json_without_a_model_field_shares_the_budget_of_uploads(start):
    api = await start(failure_limit=1)
    for body in ({"images": [TEXT], "modelId": "a", "prompt": "p"}, {"images": [TEXT], "modelId": "b", "prompt": "p"}):
        assert (await api.post(body, MULTI)).status == 400
    assert (await api.post({"image": TEXT}, UPSCALE)).status == 429
    assert (await api.post(raw=form(("image", FILE)), path=UPSCALE)).status == 429


async def test_an_upload_has_ten_files_at_most(start):
    api = await start()
    answer = await api.post(raw=form(*[("images", FILE)] * 11, ("prompt", "p")), path=MULTI)
    assert (answer.status, "Too many files" in answer.json["error"]) == (400, True)


async def test_text_in_forms_is_read_by_the_type_of_its_field(start):
    api = await start()
    answer = await api.post(raw=form(("image", FILE), ("scale", "4"), ("creativity", "0.01")), path=UPSCALE)
    assert image_of(answer).size == (1280, 960)
    assert (await api.post(raw=form(("image", FILE), ("scale", "many")), path=UPSCALE)).status == 400
    parts = (("image", FILE), ("prompt", "p"), ("safe_mode", "false"))
    assert (await api.post(raw=form(*parts), path=EDIT)).status == 200
    assert (await api.post(raw=form(*parts, ("enhance_prompt", "maybe")), path=EDIT)).status == 400


@pytest.mark.parametrize("field", ["image", "image_url"])
async def test_urls_are_fetched_from_this_machine_only(start, field):
    api = await start()
    path = REMOVE if field == "image_url" else EDIT
    body = {} if path == REMOVE else {"prompt": "p"}
    styles = f"{api.url}/image/styles"
    reasons = {
        "http://example.com/a.png": "loopback",
        "http://10.0.0.1/a.png": "loopback",
        "http://localhost.evil.example/a.png": "loopback",
        "http://[::": "Invalid image",
        "http://127.0.0.1:1/a.png": "Failed to fetch",
        f"{api.url}/nowhere": "status 404",
        styles: "cannot be decoded",
    }
    for url, reason in reasons.items():
        answer = await api.post({**body, field: url}, path)
        assert answer.status == 400
        assert answer.json["issues"][0]["path"] == [field]
        assert reason in answer.json["issues"][0]["message"], url


@pytest.fixture
async def web():
    """Start servers that always send one body; returns their address."""
    servers = []

    async def serve(body, status=200, headers=None):
        async def handle(_):
            return aiohttp.web.Response(body=body, status=status, headers=headers)

        runner = aiohttp.web.ServerRunner(aiohttp.web.Server(handle))
        await runner.setup()
        servers.append(runner)
        await aiohttp.web.TCPSite(runner, "127.0.0.1", 0).start()
        return f"http://localhost:{runner.addresses[0][1]}/a.png"

    yield serve
    for runner in servers:
        await runner.cleanup()


async def test_an_image_at_a_loopback_url_is_used(start, web):
    api, url = await start(), await web(FILE)
    assert image_of(await api.post({"image_url": url}, REMOVE)).size == (320, 240)
    assert (await api.post({"image": url, "prompt": "p"}, EDIT)).status == 200
    assert (await api.post({"images": [url, TEXT], "prompt": "p"}, MULTI)).status == 200
    for path in (UPSCALE, REMOVE):
        assert "not accepted" in (await api.post({"image": url}, path)).json["issues"][0]["message"]


async def test_redirects_and_endless_files_are_not_followed(start, web):
    api = await start()
    elsewhere = await web(b"", 302, {"Location": "http://example.com/a.png"})
    assert "status 302" in (await api.post({"image_url": elsewhere}, REMOVE)).json["issues"][0]["message"]
    huge = await web(bytes(26 * 1024 * 1024))
    assert "25MB" in (await api.post({"image_url": huge}, REMOVE)).json["issues"][0]["message"]


@pytest.mark.parametrize(
    ("image", "reason"),
    [
        ("%%%", "Invalid image"),
        ("", "Invalid image"),
        ("data:image/png,abc", "Invalid image"),
        (7, "Invalid image"),
        (text_of(b"no image at all"), "cannot be decoded"),
        (text_of(FILE[:-200]), "cannot be decoded"),
        (text_of(file_of(255, 257)), "at least 65536"),
        (text_of(header_of(6000, 6000)), "must not exceed 33177600"),
        (text_of(header_of(10000, 10000)), "cannot be decoded"),
        (text_of(header_of(20000, 20000)), "cannot be decoded"),
    ],
    ids=["junk", "empty", "bad-data-url", "number", "text", "cut", "small", "large", "huge", "bomb"],
)
@pytest.mark.parametrize("path", [UPSCALE, EDIT])
async def test_unusable_images_are_explained(start, image, reason, path):
    api = await start(draw="art")
    body = {"image": image, **({"prompt": "p"} if path == EDIT else {})}
    answer = await api.post(body, path)
    assert answer.status == 400
    assert answer.json["details"]["image"]["_errors"] == [answer.json["issues"][0]["message"]]
    assert reason in answer.json["issues"][0]["message"]
    assert await balance(api) == 100


async def test_files_of_25_mb_are_refused(start):
    api = await start()
    answer = await api.post(raw=form(("image", bytes(25 * 1024 * 1024))), path=UPSCALE)
    assert (answer.status, answer.json["code"]) == (413, "PAYLOAD_TOO_LARGE")
    old = await start(era="2026-08")
    answer = await old.post(raw=form(("image", bytes(25 * 1024 * 1024))), path=UPSCALE)
    assert "less than 25MB" in answer.json["issues"][0]["message"]


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        (UPSCALE, {}, ["image"]),
        (UPSCALE, {"image": TEXT, "scale": 1}, ["scale"]),
        (UPSCALE, {"image": TEXT, "scale": 8}, ["scale"]),
        (UPSCALE, {"image": TEXT, "creativity": "much"}, ["creativity"]),
        (UPSCALE, {"image": text_of(header_of(4000, 1100))}, ["image"]),
        (EDIT, {"image": TEXT}, ["prompt"]),
        (EDIT, {"image": TEXT, "prompt": ""}, ["prompt"]),
        (EDIT, {"image": TEXT, "prompt": "p" * 1501}, ["prompt"]),
        (EDIT, {"image": TEXT, "prompt": "p", "quality": "high"}, []),
        (EDIT, {"image": TEXT, "prompt": "p", "aspect_ratio": "4:3"}, ["aspect_ratio"]),
        (EDIT, {"image": TEXT, "prompt": "p", "resolution": "2K"}, ["resolution"]),
        (EDIT, {"image": TEXT, "prompt": "p", "model": "gpt-image-1-5-edit", "aspect_ratio": "16:9"}, ["aspect_ratio"]),
        (EDIT, {"image": TEXT, "prompt": "p", "output_format": "gif"}, ["output_format"]),
        (MULTI, {"images": [], "prompt": "p"}, ["images"]),
        (MULTI, {"images": TEXT, "prompt": "p"}, ["images"]),
        (MULTI, {"images": [TEXT] * 7, "prompt": "p"}, ["images"]),
        (MULTI, {"images": [TEXT, "%"], "prompt": "p"}, ["images", 1]),
        (MULTI, {"images": [TEXT], "prompt": "p", "quality": "best"}, ["quality"]),
        (REMOVE, {}, ["image"]),
        (REMOVE, {"image_url": 1}, ["image_url"]),
        (REMOVE, {"image": TEXT, "model": "x"}, []),
        (REMOVE, [], []),
    ],
)
@pytest.mark.parametrize("era", ["2026-08", "2026-10"])
async def test_each_edit_issue_names_its_field(start, path, body, field, era):
    api = await start(era=era)
    answer = await api.post(body, path)
    assert answer.status == 400
    assert isinstance(answer.json["error"], str)
    assert [issue["path"] for issue in answer.json["issues"]] == [field]


async def test_a_model_that_cannot_edit_is_refused(start):
    api = await start()
    answer = await api.post({"image": TEXT, "prompt": "p", "model": "z-image-turbo"}, EDIT)
    assert (answer.status, answer.json) == (400, {"error": "Invalid model id"})


@pytest.mark.parametrize(
    ("fields", "size", "kind", "price"),
    [
        ({}, (320, 240), "PNG", 0.04),
        ({"model": "default", "aspect_ratio": "16:9"}, (320, 240), "PNG", 0.04),
        ({"modelId": "flux-2-max-edit"}, (1248, 832), "PNG", 0.12),
        ({"model": "flux-2-max-edit", "aspect_ratio": "1:1", "output_format": "webp"}, (1024, 1024), "WEBP", 0.12),
        ({"model": "nano-banana-pro-edit", "resolution": "2K"}, (2496, 1664), "JPEG", 0.23),
        ({"model": "nano-banana-pro-edit", "output_format": "jpg"}, (1248, 832), "JPEG", 0.18),
    ],
)
async def test_edits_have_the_documented_sizes_formats_and_prices(start, fields, size, kind, price):
    api = await start()
    answer = await api.post({"image": TEXT, "prompt": "p", **fields}, EDIT)
    image = image_of(answer)
    assert (image.format, image.size) == (kind, size)
    assert answer.headers["Content-Type"] == f"image/{kind.lower()}"
    assert answer.headers["x-venice-model-name"]
    assert await balance(api) == pytest.approx(100 - price)


async def test_quality_and_extra_images_change_the_price_of_multi_edit(start):
    api = await start()
    body = {"images": [TEXT] * 5, "prompt": "p", "modelId": "gpt-image-2-edit", "quality": "low"}
    assert (await api.post(body, MULTI)).status == 200
    assert await balance(api) == pytest.approx(100 - 0.03 - 4 * 0.0092)
    assert (await api.post({**body, "quality": "high", "resolution": "4K"}, MULTI)).status == 200
    assert await balance(api) == pytest.approx(100 - 0.03 - 0.84 - 8 * 0.0092)


async def test_the_prompt_shows_in_an_edit(start):
    api = await start(draw="art")

    async def edited(**fields):
        return (await api.post({"image": TEXT, "prompt": "make it blue", **fields}, EDIT)).body

    plain = await edited()
    assert plain == await edited()
    assert len({plain, FILE, await edited(prompt="make it red"), await edited(enhance_prompt=True)}) == 4
    blurred = await api.post({"image": TEXT, "prompt": "nsfw"}, EDIT)
    assert blurred.headers["x-venice-is-blurred"] == "true"
    joined = await api.post({"images": [TEXT, text_of(file_of(300, 300))], "prompt": "p"}, MULTI)
    assert image_of(joined).size == (1248, 832)


async def test_multi_edit_forms_take_uploads_only(start):
    api = await start()
    prompt = ("prompt", "p")
    assert (await api.post(raw=form(("images", FILE), ("images", FILE), prompt), path=MULTI)).status == 200
    assert (await api.post(raw=form(("images", FILE), prompt), path=MULTI)).status == 200
    refused = await api.post(raw=form(("images", TEXT), prompt), path=MULTI)
    assert "Only file uploads" in refused.json["issues"][0]["message"]


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "P"])
async def test_a_cutout_keeps_the_middle_and_loses_the_corners(start, mode):
    api = await start(draw="art")
    source = file_of(320, 240, mode="RGB") if mode == "RGB" else converted(mode)
    image = image_of(await api.post({"image": text_of(source)}, REMOVE))
    assert (image.format, image.mode, image.size) == ("PNG", "RGBA", (320, 240))
    assert [image.getpixel(at)[3] for at in ((0, 0), (319, 0), (0, 239), (319, 239))] == [0] * 4
    assert image.getpixel((160, 120))[3] == 255
    assert await balance(api) == pytest.approx(99.97)


def converted(mode):
    out = io.BytesIO()
    Image.open(io.BytesIO(FILE)).convert(mode).save(out, "PNG")
    return out.getvalue()


async def test_plain_cutouts_are_transparent_too(start):
    api = await start(background_remove_usd=0.5)
    assert image_of(await api.post({"image": TEXT}, REMOVE)).mode == "RGBA"
    assert await balance(api) == 99.5


@pytest.mark.parametrize("raw", [b"", b"--x\r\n", b"--x\r\n\xf4\xb3\r--x--\r\n", b"--x\r\n\r\nno name\r\n--x--\r\n"])
async def test_broken_forms_are_refused(start, raw):
    api = await start()
    answer = await api.post(raw=raw, path=EDIT, headers={"Content-Type": "multipart/form-data; boundary=x"})
    assert answer.status == 400
    assert isinstance(answer.json["error"], str)
    answer = await api.post(raw=raw, path=EDIT, headers={"Content-Type": "multipart/form-data"})
    assert (answer.status, answer.json) == (400, {"error": "Invalid multipart form data"})


async def test_bytes_without_a_file_name_are_still_a_file(start):
    api = await start()
    raw = b'--x\r\nContent-Disposition: form-data; name="image"\r\n\r\n' + FILE + b"\r\n--x--\r\n"
    answer = await api.post(raw=raw, path=UPSCALE, headers={"Content-Type": "multipart/form-data; boundary=x"})
    assert answer.status == 200


async def test_bodies_beyond_any_file_are_too_large(start):
    api = await start(era="2026-08")
    assert (await api.post(raw=form(("image", bytes(49 * 1024 * 1024))), path=EDIT)).status == 413
    huge = io.BytesIO(b" " * (49 * 1024 * 1024))
    assert (await api.post(raw=huge, path=EDIT, headers={"Content-Type": "application/json"})).status == 413


async def test_windows_blocks_keys_and_balance_apply_to_edits(start):
    api = await start(rpm=1, balance_usd=0.05, era="2026-08")
    assert (await api.post({"image": TEXT}, UPSCALE, key=None)).status == 401
    answer = await api.post({"image": TEXT}, UPSCALE)
    assert answer.headers["x-ratelimit-remaining-requests"] == "0"
    assert (await api.post({"image": TEXT}, UPSCALE)).status == 429
    assert (await api.post({"image": TEXT, "prompt": "p"}, EDIT)).status == 402
    assert (await api.post({"image": TEXT}, REMOVE)).status == 200
    assert api.sandbox.stats()["by_model"]["bria-bg-remover"]["succeeded"] == 1
    for _ in range(21):
        await api.post({}, EDIT)
    assert "Too many failed attempts" in (await api.post({"image": TEXT}, REMOVE)).json["error"]


@pytest.mark.parametrize(("fault", "status"), [("503", 503), ("502", 502), ("truncated-json", 200), ("redirect", 307)])
async def test_faults_apply_to_edits(start, fault, status):
    api = await start(fault_schedule={1: fault})
    answer = await api.post({"image": TEXT}, UPSCALE)
    assert answer.status == status
    if status == 200:
        with pytest.raises(OSError, match="truncated"):
            image_of(answer)
    if status == 307:
        assert answer.headers["Location"] == "http://localhost:9/api/v1/image/upscale"
    assert (await api.post({"image": TEXT}, UPSCALE)).status == 200


async def test_moderation_and_pro_models_apply_to_edits(start):
    api = await start(pro_models=frozenset({"flux-2-max-edit"}), deprecated={"firered-image-edit": "flux-2-max-edit"})
    assert (await api.post({"image": TEXT, "prompt": "forbidden"}, EDIT)).status == 422
    assert (await api.post({"image": TEXT, "prompt": "p", "model": "flux-2-max-edit"}, EDIT)).status == 401
    kept = await api.post({"image": TEXT, "prompt": "p"}, EDIT)
    assert kept.headers["x-venice-deprecated-replacement"] == "flux-2-max-edit"


async def test_concurrent_edits_share_one_balance(start):
    api = await start(balance_usd=0.1)
    answers = await asyncio.gather(*(api.post({"image": TEXT}, UPSCALE) for _ in range(8)))
    assert sorted(answer.status for answer in answers) == [200] * 5 + [402] * 3


async def test_an_edit_model_without_qualities_ignores_the_field(start):
    api = await start()
    body = {"images": [TEXT], "prompt": "p"}
    assert (await api.post({**body, "quality": "high"}, MULTI)).status == 200
    charged = api.sandbox.stats()["charged_usd"]
    assert (await api.post(body, MULTI)).status == 200
    assert api.sandbox.stats()["charged_usd"] == 2 * charged
