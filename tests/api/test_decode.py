"""The streaming decoder, compared with decoding whole bodies, and given anything that a server could send."""

import base64
import codecs
import itertools
import re
import string
import tracemalloc

import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from venice_batch.api import decode as decoding
from venice_batch.api.decode import MAX_IMAGES, BinaryDecoder, JsonDecoder
from venice_batch.errors import BodyError

ONE = base64.b64encode(b"first image, /+ and all \xff\xfe\xfb\xef\xbe").decode()
TWO = base64.b64encode(b"second").decode()


@pytest.fixture(autouse=True, scope="module", params=[decoding.END_BYTES, 4])
def end_bytes(request):
    """Run every test with two values of END_BYTES; the images must be the same."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(decoding, "END_BYTES", request.param)
        yield


def decode(chunks, decoder=None):
    """Return the images and the rest, as a consumer of the pieces sees them."""
    decoder = decoder or JsonDecoder()
    pieces = [piece for chunk in chunks for piece in decoder.feed(chunk)]
    last, rest = decoder.close()
    images, ended = [], []
    for piece in pieces + last:
        if piece.image == len(images):
            images.append(b"")
            ended.append(False)
        assert not ended[piece.image]
        images[piece.image] += piece.data
        ended[piece.image] = piece.last
    assert all(ended)
    return images, rest


class RefusedError(Exception):
    """Decoding the body as a whole finds no images in it."""


def whole(body):
    """Return the same by parsing the body as a whole."""
    try:
        return parsed(orjson.loads(body.removeprefix(codecs.BOM_UTF8)))
    except ValueError as error:
        raise RefusedError(str(error)) from error


def parsed(document):
    if not isinstance(document, dict):
        raise ValueError("no object")
    texts = []
    for name, value in document.items():
        if name == "images" and isinstance(value, list):
            texts += [(text, False) for text in value]
        elif name == "data" and isinstance(value, list):
            for item in value:
                if not isinstance(item, dict):
                    raise ValueError("no item")
                texts += [
                    (item[key], key == "url")
                    for key in item
                    if key in ("b64_json", "url") and item[key] is not None and not stands_beside(key, item[key])
                ]
    images = [whole_image(text, is_url=is_url) for text, is_url in texts]
    if not images:
        raise ValueError("no image")
    return images, {name: value for name, value in document.items() if name not in ("images", "data")}


def stands_beside(key, text):
    """Return whether a text is not an image: empty, or a link."""
    return text == "" or (key == "url" and isinstance(text, str) and text[:5].lower() != "data:")


def whole_image(text, *, is_url):
    if not isinstance(text, str):
        raise ValueError("no text")
    if text[:5].lower() == "data:":
        prefix, _, text = text.partition(",")
        if not prefix.lower().endswith(";base64"):
            raise ValueError("no base64")
    elif is_url:
        raise ValueError("elsewhere")
    image = base64.b64decode(re.sub(r"[ \t\r\n]", "", text), validate=True)
    if not image:
        raise ValueError("empty")
    return image


def feed_all(decoder, chunks):
    for chunk in chunks:
        decoder.feed(chunk)


def cut(body, points):
    """Return `body` cut at `points`, including empty pieces."""
    edges = [0, *sorted(point % (len(body) + 1) for point in points), len(body)]
    return [body[start:end] for start, end in itertools.pairwise(edges)]


def bytewise(body):
    return [body[place : place + 1] for place in range(len(body))]


class Image(str):
    """A string that is an image: it may contain white space, and more of it may be escaped."""

    __slots__ = ()


class Writer:
    """Return `value` as JSON, spelt as another program may spell it."""

    def __init__(self, random):
        self.random = random

    def space(self):
        return self.random.choice(["", "", "", " ", "\n", "\t", "\r\n  "])

    def write(self, value):
        if isinstance(value, dict):
            pairs = [f"{self.write(name)}{self.space()}:{self.write(item)}" for name, item in value.items()]
            text = "{" + self.space() + ",".join(pairs) + "}"
        elif isinstance(value, list):
            text = "[" + self.space() + ",".join(map(self.write, value)) + "]"
        elif isinstance(value, str):
            text = '"' + "".join(self.image_char(c) if isinstance(value, Image) else self.char(c) for c in value) + '"'
        else:
            text = orjson.dumps(value).decode()
        return self.space() + text + self.space()

    def char(self, char):
        if self.random.random() < 0.1:
            units = char.encode("utf-16-be")
            return "".join(f"\\u{units[at]:02x}{units[at + 1]:02x}" for at in range(0, len(units), 2))
        if char == "/" and self.random.random() < 0.5:
            return "\\/"
        return orjson.dumps(char).decode()[1:-1]

    def image_char(self, char):
        between = ""
        if self.random.random() < 0.03 and char in string.ascii_letters:
            between = self.random.choice(self.SPACES)
        if char == "/" and self.random.random() < 0.5:
            return between + "\\/"
        if self.random.random() < 0.05:
            return between + self.random.choice(["\\u%04x", "\\u%04X"]) % ord(char)
        return between + char

    SPACES = ("", " ", "\\n", "\\r\\n", "\\t", "\\u0020", "\\u000a", "   ")


class StrictWriter(Writer):
    SPACES = ("",)


names = st.text(max_size=8) | st.sampled_from(
    ["images", "data", "b64_json", "url", "request", "id", "timing", '"', "\\"]
)
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(names, inner, max_size=4),
    max_leaves=8,
)
extras = st.dictionaries(names.filter(lambda name: name not in ("images", "data")), values, max_size=4)
images_bytes = st.lists(st.binary(min_size=1, max_size=300), min_size=1, max_size=3)
data_prefixes = st.sampled_from(
    ["data:image/png;base64,", "DATA:image/webp;BASE64,", "data:;base64,", "data:image/svg+xml;charset=utf-8;base64,"]
)


@st.composite
def bodies(draw):
    """Draw a valid body of either shape, its images and its rest."""
    images = draw(images_bytes)
    plain = [base64.b64encode(image).decode() for image in images]
    rest = draw(extras)
    if draw(st.booleans()):
        found = {"images": [Image(draw(data_prefixes | st.just("")) + text) for text in plain]}
    else:
        items = []
        for text in plain:
            key = draw(st.sampled_from(["b64_json", "url"]))
            prefix = draw(data_prefixes if key == "url" else data_prefixes | st.just(""))
            item = draw(st.dictionaries(names.filter(lambda name: name not in ("b64_json", "url")), values, max_size=2))
            item |= {key: (Image if not prefix else str)(prefix + text)}
            if draw(st.booleans()):
                item["url" if key == "b64_json" else "b64_json"] = None
            items.append(dict(draw(st.permutations(list(item.items())))))
        found = {"data": items}
    if draw(st.booleans()):
        found["images" if "data" in found else "data"] = draw(st.sampled_from([None, [], {}, "", 7]))
    # White space in front of a data URL's comma would make it another prefix.
    has_prefix = any("data:" in str(value).lower() for value in found.values())
    writer = (StrictWriter if has_prefix else Writer)(draw(st.randoms(use_true_random=False)))
    document = dict(draw(st.permutations(list((found | rest).items()))))
    return writer.write(document).encode(), images, rest


cuts = st.lists(st.integers(0, 10_000), max_size=30)


@pytest.mark.no_cover
@given(bodies(), cuts)
def test_a_body_cut_anywhere_gives_what_the_whole_one_gives(made, points):
    body, images, rest = made
    assert whole(body) == (images, rest)
    assert decode(cut(body, points)) == (images, rest)


@pytest.mark.no_cover
@given(bodies())
def test_a_body_in_single_bytes_gives_what_the_whole_one_gives(made):
    body, images, rest = made
    assert decode(bytewise(body)) == (images, rest)


LINKS = ["", 'https://cdn.example/a.png?x=1&y="', "0", "-", "data", "d", "data;", "häfen", "\\", "blob:0"]


@given(st.sampled_from(LINKS), st.randoms(use_true_random=False), st.sampled_from([0, 1]), cuts)
def test_a_link_or_empty_text_beside_an_image_is_harmless(link, random, place, points):
    text = Image(base64.b64encode(b"an image").decode())
    items = [("url", link), ("b64_json", text)] if link else [("url", f"data:;base64,{text}"), ("b64_json", "")]
    body = Writer(random).write({"created": 1, "data": [dict(items if place else items[::-1])]}).encode()
    assert decode(cut(body, points)) == whole(body) == ([b"an image"], {"created": 1})


@pytest.mark.parametrize("size", [1, 2, 3, 5, 7, 64, 4096])
def test_a_long_image_decodes_the_same_in_chunks_of_any_size(size):
    image = bytes(range(256)) * 20
    body = orjson.dumps({"images": [base64.b64encode(image).decode()], "id": "x"}).replace(b"/", b"\\/")
    assert decode([body[at : at + size] for at in range(0, len(body), size)]) == ([image], {"id": "x"})


@pytest.mark.parametrize(
    "body",
    [
        b'{"id":"a\\u0062\\"c","images":["%b" , "%b"],"timing":{"total":1.5}}' % (ONE.encode(), TWO.encode()),
        b'{"data":[{"url":"data:image\\/png;base64,%b","b64_json":null}],"created":1}' % ONE.encode(),
        b'{"data":[{"b64_json":"\\u0051UFB"},{"url":"data:;base64,QUFB"}]}',
        b'{"im\\u0061ges":["QU\\u0046B\\n QUE="]}',
        b'\xef\xbb\xbf{"images":["QUFB"]}',
        b'{"data":[{"url":"\\u0064ata:;base64,QUFB","b64_json":""},{"b64_json":"QUFB","url":"https:\\/\\/x\\""}]}',
    ],
)
def test_every_pair_of_chunks_gives_the_same(body):
    expected = whole(body)
    for place in range(len(body) + 1):
        assert decode([body[:place], body[place:]]) == expected


@pytest.mark.parametrize(
    "body",
    [
        b'{"id":"a\\"b","images":["%b","%b"],"timing":{"total":1.5}}' % (ONE.encode(), TWO.encode()),
        b'{"data":[{"url":"data:image\\/png;base64,%b","b64_json":null}]}' % ONE.encode(),
    ],
)
def test_a_body_cut_short_at_any_byte_is_refused(body):
    for end in range(len(body)):
        with pytest.raises(BodyError):
            decode([body[:end]])
        with pytest.raises(BodyError):
            decode(bytewise(body[:end]))


def agrees_or_refuses(body, chunks):
    try:
        decoded = decode(chunks)
    except BodyError:
        return
    assert decoded == whole(body)  # raises what whole-body decoding refuses


@given(st.binary(max_size=400), cuts)
def test_arbitrary_bytes_are_refused(body, points):
    agrees_or_refuses(body, cut(body, points))


fragments = st.sampled_from(
    [b"{", b"}", b"[", b"]", b",", b":", b'"', b"\\", b'"images"', b'"data"', b'"url"', b'"b64_json"', b"QUFB", b"=",
     b"==", b" ", b"\n", b"\x00", b"\\u", b"00", b"data:;base64,", b"null", b"1", b"\xff", b'{"images":["', b'"]}',
     b'{"data":[{"b64_json":"'],
)  # fmt: skip


@given(st.lists(fragments, max_size=25).map(b"".join), cuts)
@example(b'{"images":["QUFB"]}{"images":["QUFB"]}', [])
@example(b'{"images":["QUFB"],"images":["QUFB"]}', [])
@example(b'{"images":["QUFB"],"images":1}', [])
@example(b'{"images":[{"images":["QUFB"]}]}', [])
@example(b'["QUFB"]', [])
def test_random_json_fragments_are_read_as_orjson_reads_them(body, points):
    agrees_or_refuses(body, cut(body, points))


@st.composite
def mutations(draw):
    body = draw(bodies())[0]
    for _ in range(draw(st.integers(1, 3))):
        start, end = sorted((draw(st.integers(0, len(body))), draw(st.integers(0, len(body)))))
        end = draw(st.sampled_from([start, min(start + 1, end), end]))
        new = draw(st.sampled_from([b"", body[start:end] * 2]) | fragments | st.binary(max_size=3))
        body = body[:start] + new + body[end:]
    return body


@pytest.mark.no_cover
@given(mutations(), cuts)
def test_a_damaged_body_is_refused_or_read_as_the_whole_one(body, points):
    agrees_or_refuses(body, cut(body, points))


@pytest.mark.no_cover
@given(mutations() | st.lists(fragments, max_size=25).map(b"".join), cuts, cuts)
def test_the_result_does_not_depend_on_how_a_body_is_cut(body, some, others):
    def result(points):
        try:
            return decode(cut(body, points))
        except BodyError:
            return None

    assert result(some) == result(others)


REFUSED = {
    "two documents": b'{"images":["QUFB"]}{"id":1}',
    "garbage after the end": b'{"images":["QUFB"]} x',
    "a string after the end": b'{"images":["QUFB"]} "x"',
    "a bracket after the end": b'{"images":["QUFB"]}]',
    "a NUL after the end": b'{"images":["QUFB"]}\0',
    "the list twice": b'{"images":["QUFB"],"images":["QUFC"]}',
    "the list and then something else under its name": b'{"images":["QUFB"],"images":null}',
    "an item's field twice": b'{"data":[{"b64_json":"QUFB","b64_json":"QUFC"}]}',
    "a line feed in an image": b'{"images":["QUFB\nQUFB"]}',
    "a carriage return in an image": b'{"images":["QUFB\rQUFB"]}',
    "a tab in an image": b'{"images":["QUFB\tQUFB"]}',
    "a NUL in an image": b'{"images":["QUFB\0"]}',
    "a control character in a data URL": b'{"images":["data:image/png\n;base64,QUFB"]}',
    "a line feed in another string": b'{"id":"a\nb","images":["QUFB"]}',
    "no UTF-8 beside the image": b'{"id":"\xff","images":["QUFB"]}',
    "no UTF-8 in a key": b'{"\xff":1,"images":["QUFB"]}',
    "no UTF-8 in an image": b'{"images":["QUFB\xff\xff\xff\xff"]}',
    "two byte order marks": b'\xef\xbb\xbf\xef\xbb\xbf{"images":["QUFB"]}',
    "half a byte order mark": b'\xef\xbb{"images":["QUFB"]}',
    "a list": b'["QUFB"]',
    "a string": b'"QUFB"',
    "a string cut": b'"QUFB',
    "null": b"null",
    "nothing": b"",
    "white space": b" \r\n",
    "no images": b'{"id":"x"}',
    "an empty list": b'{"images":[]}',
    "an empty image": b'{"images":[""]}',
    "an empty data URL": b'{"images":["data:;base64,"]}',
    "an image that is null": b'{"images":["QUFB",null]}',
    "a number among images": b'{"images":["QUFB",1]}',
    "a number that looks like a placeholder": b'{"images":[0]}',
    "a list among images": b'{"images":[["QUFB"]]}',
    "an object among images": b'{"images":[{"b64_json":"QUFB"}]}',
    "an image outside its list": b'{"images":"QUFB"}',
    "an item that is no object": b'{"data":["QUFB"]}',
    "an item that is no object beside one that is": b'{"data":[{"b64_json":"QUFB"},1]}',
    "an item without image": b'{"data":[{"b64_json":null}]}',
    "a link": b'{"data":[{"url":"https://example.com/a.png"}]}',
    "nothing in either place": b'{"data":[{"url":"","b64_json":""}]}',
    "a data URL without base64": b'{"data":[{"url":"data:image/png,QUFB"}]}',
    "a data URL without comma": b'{"data":[{"url":"data:image/png;base64"}]}',
    "a data URL with a prefix without end": b'{"data":[{"url":"data:image/png;x=' + b"y" * 300 + b';base64,QUFB"}]}',
    "a data URL in a data URL": b'{"images":["data:;base64,data:;base64,QUFB"]}',
    "base64 for URLs": b'{"images":["QU-_"]}',
    "base64 cut": b'{"images":["QUFBQ"]}',
    "padding in the middle": b'{"images":["QQ==QUFB"]}',
    "padding alone": b'{"images":["===="]}',
    "too much padding": b'{"images":["Q==="]}',
    "a lone bracket": b"}",
    "the wrong bracket": b'{"images":["QUFB"}}',
    "a bracket missing": b'{"images":["QUFB"]',
    "a comma too many": b'{"images":["QUFB"],}',
    "a comma missing": b'{"images":["QUFB" "QUFB"]}',
    "a colon missing": b'{"images" ["QUFB"]}',
    "an escaped quote in an image": b'{"images":["QUFB\\"]}',
    "an escaped backslash in an image": b'{"images":["QUFB\\\\/AA"]}',
    "an unknown escape in an image": b'{"images":["QUF\\x42"]}',
    "an escaped backslash by its number": b'{"images":["QUF\\u005cn"]}',
    "an escape with a sign": b'{"images":["QUF\\u+042"]}',
    "an escape with spaces": b'{"images":["QUF\\u  42"]}',
    "an escape with an underscore": b'{"images":["QUF\\u0_42"]}',
    "an escape that is cut": b'{"images":["QUF\\u004"]}',
    "an escape beyond ASCII": b'{"images":["QUF\\u0142"]}',
    "an escaped form feed": b'{"images":["QUFB\\f"]}',
    "HTML": b"<!doctype html><html><body>502</body></html>",
}


STRICTER = {"the list twice", "an item's field twice", "a data URL with a prefix without end"}
"""Bodies that orjson accepts and the decoder refuses: repeated keys, where a paid image would be dropped unseen, and
senseless prefixes."""


@pytest.mark.parametrize("body", REFUSED.values(), ids=REFUSED)
def test_bodies_without_usable_images_are_refused_in_any_chunks(body):
    for chunks in ([body], bytewise(body)):
        with pytest.raises(BodyError):
            decode(chunks)


@pytest.mark.parametrize("case", [case for case in REFUSED if case not in STRICTER])
def test_a_body_refused_in_chunks_is_refused_whole_too(case):
    with pytest.raises(RefusedError):
        whole(REFUSED[case])


@pytest.mark.parametrize(
    "text",
    [
        "QUFBQg==",
        "Q U F B Q g = =",
        "  QUFBQg==  ",
        "QUFB\\r\\nQg==\\n",
        "\\tQUFBQg==",
        "QUFB\\u000aQg\\u0020==",
        "\\u0051UFBQg\\u003D=",
    ],
)
def test_white_space_and_escapes_in_base64_are_passed_over(text):
    body = f'{{"images":["{text}"]}}'.encode()
    assert decode([body]) == decode(bytewise(body)) == ([b"AAAB"], {})


def test_strings_at_other_places_are_not_taken_for_images():
    rest = {
        "request": {"images": ["no base64!"], "data": [{"b64_json": "!", "url": "https://example.com"}]},
        "x": [["!"]],
    }
    body = orjson.dumps({**rest, "images": [ONE]})
    assert decode(bytewise(body)) == ([base64.b64decode(ONE)], rest)


def test_pieces_come_before_the_body_ends():
    decoder = JsonDecoder()
    assert b"".join(piece.data for piece in decoder.feed(b'{"images":["' + b"QUFB" * 1000)) == b"AAA" * 1000
    (piece,) = decoder.feed(b'"')
    assert (piece.data, piece.last) == (b"", True)


def test_a_link_instead_of_an_image_names_the_right_response_format():
    with pytest.raises(BodyError, match="response_format b64_json"):
        decode([b'{"data":[{"url":"https://example.com/a.png"}]}'])


def test_an_image_may_have_the_maximum_size_but_not_a_byte_more():
    def body(size):
        return orjson.dumps({"images": [base64.b64encode(b"x" * size).decode()]})

    assert decode(cut(body(1000), [500]), JsonDecoder(max_image_bytes=1000)) == ([b"x" * 1000], {})
    with pytest.raises(BodyError, match="--max-image-bytes"):
        decode([body(1001)], JsonDecoder(max_image_bytes=1000))


def test_the_maximum_size_applies_to_each_image():
    body = orjson.dumps({"images": [base64.b64encode(b"x" * 90).decode()] * 3})
    assert decode([body], JsonDecoder(max_image_bytes=100)) == ([b"x" * 90] * 3, {})


def test_the_rest_of_a_body_may_have_its_maximum_but_not_a_byte_more():
    body = b'{"images":["QUFB"],"id":"' + b"x" * 100 + b'"}'
    kept = len(body) - len("QUFB") + len("0")
    assert decode([body], JsonDecoder(max_rest_bytes=kept))[0] == [b"AAA"]
    with pytest.raises(BodyError, match="besides its images"):
        decode([body], JsonDecoder(max_rest_bytes=kept - 1))


def test_more_images_than_any_answer_has_are_refused():
    assert len(decode([orjson.dumps({"images": ["QUFB"] * MAX_IMAGES})])[0]) == MAX_IMAGES
    with pytest.raises(BodyError, match="images"):
        decode([orjson.dumps({"images": ["QUFB"] * (MAX_IMAGES + 1)})])


@pytest.mark.parametrize("depth", [1024, 1025])
def test_nesting_is_accepted_as_deep_as_orjson_accepts_it(depth):
    body = b'{"images":["QUFB"],"x":' + b"[" * (depth - 1) + b"]" * (depth - 1) + b"}"
    if depth == 1024:
        assert decode([body])[0] == whole(body)[0]  # the rest is too deep for Python to compare
    else:
        with pytest.raises(RefusedError, match="depth"):
            whole(body)
        with pytest.raises(BodyError, match="deep"):
            decode([body])


ENDLESS = {
    "white space": (b"", b" "),
    "brackets": (b'{"x":', b"["),
    "objects": (b"", b'{"a":'),
    "commas": (b"[", b","),
    "digits": (b'{"x":', b"1"),
    "a string": (b'{"x":"', b"x"),
    "escapes": (b'{"x":"', b"\\\\"),
    "strings": (b'{"x":[', b'"",'),
    "a key": (b'{"', b"k"),
    "an image": (b'{"images":["', b"A"),
    "an image of escapes": (b'{"images":["', b"\\u0041"),
    "an image of spaces": (b'{"images":["', b" "),
    "an image of line ends": (b'{"images":["AAAA', b"\\n"),
    "a prefix": (b'{"images":["data:', b"a"),
    "images": (b'{"images":[', b'"QUFB",'),
    "the space between images": (b'{"images":["QUFB"', b" \n"),
    "after the end": (b'{"images":["QUFB"]}', b"\n"),
    "padding": (b'{"images":["', b"="),
}


@pytest.mark.no_cover
@pytest.mark.parametrize(("start", "again"), ENDLESS.values(), ids=ENDLESS)
def test_an_endless_body_is_cut_off_in_little_memory(start, again):
    decoder = JsonDecoder(max_image_bytes=30_000, max_rest_bytes=30_000)
    chunk = again * (8192 // len(again))
    tracemalloc.start()
    try:
        with pytest.raises(BodyError):
            feed_all(decoder, [start, *[chunk] * 200])
        assert tracemalloc.get_traced_memory()[1] < 600_000
    finally:
        tracemalloc.stop()


def test_a_binary_body_passes_through_with_its_end_marked():
    assert decode([b"ab", b"", b"c"], BinaryDecoder()) == ([b"abc"], {})


def test_an_empty_binary_body_is_refused():
    with pytest.raises(BodyError, match="empty"):
        decode([b""], BinaryDecoder())


def test_a_binary_body_over_the_maximum_is_refused_before_its_end():
    decoder = BinaryDecoder(max_image_bytes=10)
    decoder.feed(b"x" * 10)
    with pytest.raises(BodyError, match="--max-image-bytes"):
        decoder.feed(b"x")
