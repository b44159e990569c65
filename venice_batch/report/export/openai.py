"""Records as the lines of an OpenAI batch's output file and error file."""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote

from venice_batch.model import Status
from venice_batch.output.plain_files import NoPlainFileError, PlainFiles, on_disk
from venice_batch.output.prune import DELETED
from venice_batch.text_format import json_bytes

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from venice_batch.model import Outcome
    from venice_batch.output.plain_files import Refusals


class Line(NamedTuple):
    """One line; `is_error` if it belongs in the error file."""

    text: bytes
    is_error: bool


def lines(
    records: Iterable[Outcome], root: Path, *, base64: bool = False, refusals: Refusals | None = None
) -> Iterator[Line]:
    """Yield the line of each record. Images are `file://` URLs below `root`; with `base64` the line holds them.

    A job that the server refused has the status and message of the answer as its response; a job that never got an
    answer has no response, as in OpenAI's own files. With `base64`, a job with a missing image is the error
    `image_missing`. Pruned images are left out where they have been removed; without any other image the job is the
    error `image_pruned`. An image that is not a plain file below `root` is the same error, and is added to `refusals`.
    """
    plain = PlainFiles(root)
    for record in records:
        if record.status is not Status.SUCCEEDED:
            yield Line(_failed(record), True)
            continue
        try:
            data = list(_images(plain, root, record, base64=base64))
        except OSError as error:
            if refusals is not None and isinstance(error, NoPlainFileError):
                refusals.add(record.id, error)
            message = f"{error.filename}: {error.strerror}"
            yield Line(_encoded(record, None, {"code": "image_missing", "message": message}), True)
            continue
        if record.files and not data:
            pruned = {"code": "image_pruned", "message": "all images of the job were rejected and removed"}
            yield Line(_encoded(record, None, pruned), True)
            continue
        if record.flags.enhanced_prompt is not None:
            data = [{**image, "revised_prompt": record.flags.enhanced_prompt} for image in data]
        yield Line(_encoded(record, _response(record, 200, {"created": _created(record), "data": data}), None), False)


def _failed(record: Outcome) -> bytes:
    error = record.error
    if error is None:
        return _encoded(record, None, {"code": str(record.status), "message": ""})
    # A successful answer without an image is no response that a reader can use.
    if error.status is None or error.status < 400:
        return _encoded(record, None, {"code": error.kind, "message": error.message})
    body = {"error": {"message": error.message, "type": error.kind, "param": None, "code": error.kind}}
    return _encoded(record, _response(record, error.status, body), None)


def _encoded(record: Outcome, response: dict[str, Any] | None, error: dict[str, str] | None) -> bytes:
    name = "\0".join((record.run_id, record.id, record.request_hash))
    digest = hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=12).hexdigest()
    line = {"id": f"batch_req_{digest}", "custom_id": record.id, "response": response, "error": error}
    return json_bytes(line) + b"\n"


def _response(record: Outcome, status: int, body: dict[str, Any]) -> dict[str, Any]:
    ray = record.attempts[-1].ray if record.attempts else None
    return {"status_code": status, "request_id": ray or "", "body": body}


def _created(record: Outcome) -> int:
    try:
        enqueued = datetime.fromisoformat(record.timing.enqueued_at)
    except ValueError:
        return 0
    return int(enqueued.replace(tzinfo=enqueued.tzinfo or UTC).timestamp() + record.timing.total_s)


def _images(plain: PlainFiles, root: Path, record: Outcome, *, base64: bool) -> Iterator[dict[str, str]]:
    """Yield the images that are there; one that a person has rejected and removed is left out."""
    for file in record.files:
        if file.pruned == DELETED:
            continue
        if file.pruned:
            try:
                plain.size(file.path)
            except FileNotFoundError:
                continue
        yield _image(plain, root, file.path, base64=base64)


def _image(plain: PlainFiles, root: Path, path: str, *, base64: bool) -> dict[str, str]:
    # A manifest may come from anybody: read only files of its folder.
    if not base64:
        with suppress(FileNotFoundError):
            plain.size(path)
        return {"url": "file://" + quote(os.fsencode((root / on_disk(path)).absolute()))}
    import pybase64

    with plain.open(path) as file:
        return {"b64_json": pybase64.b64encode_as_string(file.read())}
