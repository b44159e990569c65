import gzip

import brotli
import pytest

from venice_batch.sandbox import renderer
from venice_batch.sandbox.renderer import choose_encoding, compress


@pytest.mark.parametrize(
    ("accepted", "chosen"),
    [
        ("", ""),
        ("identity", ""),
        ("gzip", "gzip"),
        ("gzip, deflate, br", "br"),
        ("br;q=0, gzip;q=0.5", "gzip"),
        ("gzip;q=lots", ""),
    ],
)
def test_the_encoding_is_one_that_the_client_accepts(accepted, chosen):
    assert choose_encoding(accepted) == chosen


def test_compressed_bodies_decompress_to_the_original():
    body = b"QUJD" * 5000
    assert compress(body, "") == body
    assert gzip.decompress(compress(body, "gzip")) == body
    assert brotli.decompress(compress(body, "br")) == body


async def test_plain_images_are_drawn_again_when_the_cache_is_full(start, native, monkeypatch):
    monkeypatch.setattr(renderer, "PLAIN_IMAGES", 1)
    api = await start()
    first, _, again = [(await api.post(native(prompt=prompt))).json["images"] for prompt in ("a", "b", "a")]
    assert first == again
