"""Base64 decoded in portions, compared with decoding it whole."""

import base64
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from venice_batch.api.base64_stream import Base64Stream
from venice_batch.errors import BodyError


def feed_all(decoder, chunks):
    for chunk in chunks:
        decoder.feed(chunk)


def cut(body, points):
    """Return `body` cut at `points`, including empty pieces."""
    edges = [0, *sorted(point % (len(body) + 1) for point in points), len(body)]
    return [body[start:end] for start, end in itertools.pairwise(edges)]


@given(st.binary(max_size=300), st.lists(st.integers(0, 500), max_size=20), st.sampled_from(["", " ", "  "]))
def test_base64_in_any_portions_decodes_like_the_whole(data, points, space):
    text = space.join(base64.b64encode(data).decode()).encode()
    stream = Base64Stream(1000)
    assert b"".join(stream.feed(part) for part in cut(text, points)) == data
    assert stream.size == len(data)


@given(st.text("AQgz/+==", max_size=24), st.lists(st.integers(0, 30), max_size=8))
def test_base64_in_any_portions_is_refused_if_the_whole_is(text, points):
    def streamed(parts):
        stream = Base64Stream(1000)
        try:
            data = b"".join([stream.feed(part) for part in parts])
            stream.close()
        except BodyError:
            return None
        return data

    got = streamed(cut(text.encode(), points))
    assert got == streamed([text.encode()])
    if got is not None:
        assert got == base64.b64decode(text, validate=True) != b""


@pytest.mark.parametrize("parts", [[b"QQ=", b"="], [b"QQ", b"=="], [b"Q", b"Q", b"=", b"="]])
def test_padding_may_be_split_over_chunks(parts):
    stream = Base64Stream(10)
    assert b"".join(map(stream.feed, parts)) == b"A"
    stream.close()


@pytest.mark.parametrize("parts", [[b"QQ==", b"QUFB"], [b"QQ=", b"=Q", b"UFB"], [b"QQ==", b"===="], [b"QQ==QUFB"]])
def test_nothing_may_follow_padding(parts):
    with pytest.raises(BodyError):
        feed_all(Base64Stream(100), parts)


def test_a_single_character_after_padding_is_found_at_the_end():
    stream = Base64Stream(100)
    stream.feed(b"QQ==")
    stream.feed(b"Q")
    with pytest.raises(BodyError, match="cut short"):
        stream.close()
