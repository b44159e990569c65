"""Coverage-guided fuzzing of the push decoder against decoding the whole body at once.

    pip install atheris && python benchmarks/fuzz_decoder.py CORPUS -max_total_time=300

CORPUS is a folder, made if it is not there, that valid bodies are put into to start from; the options are libFuzzer's.
Every input is taken as a body, and its first bytes as the places where it is cut into chunks. Found differences and
any exception but BodyError end the run with the input printed.
"""

from __future__ import annotations

import base64
import sys
from pathlib import Path
from typing import Any

import atheris

with atheris.instrument_imports(include=["venice_batch"]):
    from venice_batch.api import decode
    from venice_batch.api.decode import JsonDecoder
    from venice_batch.errors import BodyError

import orjson

SPACES = b" \t\r\n"
END_BYTES = decode.END_BYTES
SEEDS = (
    b'\x05\x01\x02{"id":"x","images":["iVBORw0KGgo=","AAAA"],"timing":{"total":1}}',
    b'\x03\x09{"created":1,"data":[{"b64_json":"AAAA"}]}',
    b'\x01\x01{"data":[{"url":"data:image\\/png;base64,AA\\u002fA"}]}',
    b'\x00\x00{"request":{"images":["no"]},"images":["AA\\nAA"],"x":[[{"images":[1]}]]}',
)


def whole(body: bytes) -> list[bytes] | None:
    """The images of `body` by decoding it at once; None where it holds none, or is no valid document."""
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    if not isinstance(document, dict):
        return None
    texts: list[Any] = []
    if isinstance(document.get("images"), list):
        texts += document["images"]
    if isinstance(document.get("data"), list):
        for item in document["data"]:
            if not isinstance(item, dict):
                return None
            texts += [item[key] for key in item if key in ("b64_json", "url") and item[key] is not None]
    if not texts or not all(isinstance(text, str) for text in texts):
        return None
    try:
        return [_image(text) for text in texts]
    except ValueError:
        return None


def _image(text: str) -> bytes:
    data = text.encode("ascii")
    if data[:5].lower() == b"data:":
        data = data.partition(b",")[2]
    image = base64.b64decode(data.translate(None, SPACES), validate=True)
    if not image:
        raise ValueError("empty")
    return image


def pieces(body: bytes, cuts: bytes) -> list[bytes] | None:
    """The images of `body` by the decoder, cut into chunks of the lengths in `cuts`, again and again."""
    decoder = JsonDecoder(max_image_bytes=1 << 16, max_rest_bytes=1 << 16)
    images: list[bytearray] = []
    position = turn = 0
    try:
        while position < len(body):
            length = 1 + cuts[turn % len(cuts)]
            found = decoder.feed(body[position : position + length])
            position, turn = position + length, turn + 1
            for piece in found:
                if piece.image == len(images):
                    images.append(bytearray())
                images[piece.image] += piece.data
        decoder.close()
    except BodyError:
        return None
    return [bytes(image) for image in images]


def test_one_input(data: bytes) -> None:
    """Compare both ways of decoding; what the decoder accepts has to be right, what it refuses may be stricter."""
    if len(data) < 3:
        return
    cuts, body = data[:2], data[2:]
    # However far from its end a chunk is searched for the end of an image.
    decode.END_BYTES = 4 if cuts[0] & 1 else END_BYTES
    pushed = pieces(body, cuts)
    if pushed is not None:
        assert pushed == whole(body), (body, cuts, pushed)
    # However it is cut, the answer is the same.
    assert pushed == pieces(body, b"\xff"), (body, cuts)


def main() -> None:
    """Run the fuzzer with libFuzzer's own options."""
    corpus = Path(sys.argv[1])
    corpus.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(SEEDS):
        test_one_input(seed)
        (corpus / f"seed-{number}").write_bytes(seed)
    atheris.Setup(sys.argv, test_one_input)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
