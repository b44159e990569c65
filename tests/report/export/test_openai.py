"""Records as OpenAI batch lines."""

import base64
import json
from datetime import UTC, datetime
from pathlib import Path
from urllib.request import urlopen

import msgspec
import pytest
from openai.types import ImagesResponse
from records import IMAGE, attempt, failed, outcome

from venice_batch.model import Failure, Flags
from venice_batch.report.export.openai import lines


def line(record, root="/nowhere", **options):
    (found,) = lines([record], Path(root), **options)
    assert found.text.endswith(b"\n")
    return json.loads(found.text), found.is_error


def test_a_job_with_images_is_a_response_that_the_sdk_can_read(tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "images/ä b#1.webp").write_bytes(b"image")
    image = msgspec.structs.replace(IMAGE, path="images/ä b#1.webp")
    found, is_error = line(outcome("a", files=(image,)), tmp_path)
    assert not is_error
    assert found.keys() == {"id", "custom_id", "response", "error"}
    assert found["id"].startswith("batch_req_")
    assert (found["custom_id"], found["error"]) == ("a", None)
    response = found["response"]
    assert (response["status_code"], response["request_id"]) == (200, "8f-FRA")
    body = ImagesResponse.model_validate(response["body"])
    assert body.created == int(datetime(2026, 1, 1, 0, 0, 2, tzinfo=UTC).timestamp())
    with urlopen(body.data[0].url) as opened:
        assert opened.read() == b"image"


def test_images_can_stand_in_the_line(tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "images/a.webp").write_bytes(bytes(range(256)))
    record = outcome("a", files=(IMAGE, IMAGE), flags=Flags(enhanced_prompt="a better gondola"))
    found, _ = line(record, tmp_path, base64=True)
    body = ImagesResponse.model_validate(found["response"]["body"])
    assert [base64.b64decode(image.b64_json) for image in body.data] == [bytes(range(256))] * 2
    assert {image.revised_prompt for image in body.data} == {"a better gondola"}


@pytest.mark.parametrize("path", ["images/a.webp", "../secret", "/etc/passwd", "images/../../secret"])
def test_an_image_that_is_not_in_the_folder_is_an_error(path, tmp_path):
    (tmp_path / "secret").write_bytes(b"secret")
    (tmp_path / "out").mkdir()
    image = msgspec.structs.replace(IMAGE, path=path)
    found, is_error = line(outcome("a", files=(image,)), tmp_path / "out", base64=True)
    assert is_error
    assert found["response"] is None
    assert found["error"]["code"] == "image_missing"
    assert path in found["error"]["message"]


def test_a_refusal_by_the_server_is_the_response():
    found, is_error = line(failed("a", message="no such model", attempts=(attempt(500), attempt(500))))
    assert is_error
    assert found["response"] == {
        "status_code": 500,
        "request_id": "8f-FRA",
        "body": {"error": {"message": "no such model", "type": "server", "param": None, "code": "server"}},
    }
    assert found["error"] is None


@pytest.mark.parametrize("status", [None, 200])
def test_a_job_without_an_answer_has_no_response(status):
    record = msgspec.structs.replace(failed("a"), error=Failure("timeout", status, "nothing within 300 s"), attempts=())
    found, is_error = line(record)
    assert is_error
    assert (found["response"], found["error"]) == (None, {"code": "timeout", "message": "nothing within 300 s"})
    found, _ = line(msgspec.structs.replace(record, error=None))
    assert found["error"] == {"code": "failed", "message": ""}


def test_ids_of_lines_differ_by_run_and_job():
    records = [outcome("a"), outcome("b"), outcome("a", run_id="another")]
    assert len({line(record)[0]["id"] for record in records}) == 3
    assert line(outcome("a"))[0]["id"] == line(outcome("a"))[0]["id"]


def test_a_time_that_is_none_makes_no_crash():
    found, _ = line(outcome("a", timing=msgspec.structs.replace(outcome().timing, enqueued_at="?"), attempts=()))
    assert found["response"]["body"]["created"] == 0
    assert found["response"]["request_id"] == ""


def test_images_that_were_rejected_and_removed_are_left_out(tmp_path):
    for path in ("images/a.webp", "rejected/b.webp"):
        (tmp_path / path).parent.mkdir()
        (tmp_path / path).write_bytes(b"image")
    moved, away = (
        msgspec.structs.replace(IMAGE, path=f"rejected/{name}.webp", pruned="moved") for name in ("b", "away")
    )
    deleted = msgspec.structs.replace(IMAGE, pruned="deleted")
    for base64_too in (False, True):
        found, is_error = line(outcome("a", files=(IMAGE, moved, away, deleted)), tmp_path, base64=base64_too)
        assert (len(found["response"]["body"]["data"]), is_error) == (2, False)
        found, is_error = line(outcome("a", files=(away, deleted)), tmp_path, base64=base64_too)
        assert (found["error"]["code"], is_error) == ("image_pruned", True)
