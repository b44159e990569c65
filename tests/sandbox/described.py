"""The responses of the published API description, requests that cause them, and a check of answers against them.

`responses.json` holds the statuses, content types, bodies and headers of every image, model and account endpoint, as
JSON Schema without the prose.
"""

import base64
import io
import json
from functools import cache
from pathlib import Path

import jsonschema
from PIL import Image

JSON = {"Content-Type": "application/json"}
PAID = ("/image/generate", "/images/generations", "/image/upscale", "/image/edit", "/image/multi-edit",
        "/image/background-remove")  # fmt: skip


def picture():
    out = io.BytesIO()
    Image.new("RGB", (256, 256), "#808080").save(out, "PNG")
    return base64.b64encode(out.getvalue()).decode()


GOOD = {
    "/image/generate": {"model": "venice-sd35", "prompt": "p", "width": 64, "height": 64},
    "/images/generations": {"model": "z-image-turbo", "prompt": "p", "size": "256x256"},
    "/image/upscale": {"image": picture()},
    "/image/edit": {"image": picture(), "prompt": "p"},
    "/image/multi-edit": {"images": [picture()], "prompt": "p"},
    "/image/background-remove": {"image": picture()},
}
BAD = {
    **{path: [[], "text", None, {"image": 1}, {"prompt": ""}, {"prompt": "p", "model": 1}] for path in PAID},
    "/image/generate": [{}, {"model": "nope", "prompt": "p"}, {**GOOD["/image/generate"], "foo": 1}],
}

DESCRIPTION = json.loads(Path(__file__).with_name("responses.json").read_text())


@cache
def _validator(schema):
    return jsonschema.Draft202012Validator({**json.loads(schema), "$defs": DESCRIPTION["$defs"]})


def _breaches(schema, value):
    return [error.message for error in _validator(json.dumps(schema)).iter_errors(value)]


def statuses(method, path):
    return {int(status) for status in DESCRIPTION["paths"][f"{method} {path}"]}


def contradictions(method, path, answer):
    """Return how `answer` (status, headers, body, json) contradicts the description; [] if it does not."""
    responses = DESCRIPTION["paths"][f"{method} {path}"]
    response = responses.get(str(answer.status))
    if response is None:
        return [f"status {answer.status} is not described"]
    kind = answer.headers.get("Content-Type", "").partition(";")[0]
    if kind not in response["content"]:
        return [f"a {kind} is not described for {answer.status}"]
    found = _breaches(response["content"][kind], answer.json) if kind == "application/json" else []
    for name, schema in response.get("headers", {}).items():
        if name in answer.headers:
            text = answer.headers[name]
            value = {"true": True, "false": False}.get(text, text) if schema.get("type") == "boolean" else text
            found += [f"{name}: {breach}" for breach in _breaches(schema, value)]
    return found
