import gzip

import brotli
import pytest

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
def test_only_what_the_client_asks_for(accepted, chosen):
    assert choose_encoding(accepted) == chosen


def test_compressed_bodies_come_back_whole():
    body = b"QUJD" * 5000
    assert compress(body, "") == body
    assert gzip.decompress(compress(body, "gzip")) == body
    assert brotli.decompress(compress(body, "br")) == body
