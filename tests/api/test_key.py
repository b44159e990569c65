"""The key: how it is found, and how it is kept secret."""

import base64
import html
import os
import string
import traceback
from pathlib import Path
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from venice_batch.api.key import VARIABLE, ApiKey, find_key
from venice_batch.errors import KeyMissingError, UsageError

SECRET = "vk-Zq9_secret-77"


def test_a_key_shows_itself_only_in_its_header():
    key = ApiKey(f"  {SECRET}\n")
    assert key.header() == f"Bearer {SECRET}"
    for shown in (str(key), repr(key), f"{key}", f"{key!r}", f"{[key]}", format(key)):
        assert shown.strip("[]") == "ApiKey(***)"
    assert not hasattr(key, "__dict__")


def test_a_key_that_a_server_sends_back_is_redacted():
    assert ApiKey(SECRET).redact(f"bad key {SECRET} ({SECRET})") == "bad key *** (***)"
    assert ApiKey(SECRET).redact("nothing here") == "nothing here"


@pytest.mark.parametrize("value", ["", " \n"])
def test_an_empty_key_is_none(value):
    with pytest.raises(KeyMissingError, match=VARIABLE):
        ApiKey(value)


@pytest.mark.parametrize("value", ["two words", "line\nfeed", "escape\x1b", "kéy", "a\tb", "k\0"])
def test_a_key_that_cannot_be_a_header_is_refused_and_not_shown(value):
    with pytest.raises(UsageError) as caught:
        ApiKey(value)
    assert value not in "".join(traceback.format_exception(caught.value))


def test_the_key_comes_from_the_environment():
    assert find_key(None, {VARIABLE: SECRET}).header() == f"Bearer {SECRET}"


def test_the_key_comes_from_the_processs_own_environment_by_default(monkeypatch):
    monkeypatch.setenv(VARIABLE, SECRET)
    assert find_key(None).header() == f"Bearer {SECRET}"


@pytest.mark.parametrize("environment", [{}, {VARIABLE: ""}, {VARIABLE: "  "}])
def test_a_missing_key_names_the_places_to_put_one(environment):
    with pytest.raises(KeyMissingError, match=r"VENICE_API_KEY.*--api-key-file"):
        find_key(None, environment)


@pytest.mark.parametrize("data", [SECRET.encode(), SECRET.encode() + b"\r\n", b"\xef\xbb\xbf" + SECRET.encode()])
def test_a_file_goes_before_the_environment(tmp_path, data):
    (tmp_path / "key").write_bytes(data)
    assert find_key(tmp_path / "key", {VARIABLE: "other"}).header() == f"Bearer {SECRET}"


@pytest.mark.parametrize(
    "text",
    [
        f'"{SECRET}"', f"'{SECRET}'", f"{VARIABLE}={SECRET}", f'export {VARIABLE}="{SECRET}"',
        f"{VARIABLE} = '{SECRET}'", f"{VARIABLE}=\"{SECRET}\"",
        f' "{SECRET}" ', f'" {SECRET} "',
    ],
)  # fmt: skip
def test_quotes_and_the_variables_name_are_stripped(tmp_path, text):
    (tmp_path / "key").write_text(text + "\r\n")
    for found in (find_key(tmp_path / "key", {}), find_key(None, {VARIABLE: text})):
        assert found.header() == f"Bearer {SECRET}"
        assert found.redact(SECRET) == "***"


@pytest.mark.parametrize(
    "text", [f'"{SECRET}', f"{SECRET}'", f"`{SECRET}`x'", f"OTHER_KEY={SECRET}", '"', f"export A_B={SECRET}"]
)
def test_half_a_quote_or_another_name_is_refused_in_a_line_without_the_key(tmp_path, text):
    (tmp_path / "key").write_text(text)
    with pytest.raises(UsageError) as caught:
        find_key(tmp_path / "key", {})
    assert SECRET not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize("key", ["QUJD==", "A=b", "a_b=c", "AB_CD=="])
def test_a_key_may_have_signs_of_equality(key):
    assert find_key(None, {VARIABLE: key}).header() == f"Bearer {key}"


def test_empty_quotes_hold_no_key():
    with pytest.raises(KeyMissingError):
        find_key(None, {VARIABLE: '""'})


@pytest.mark.parametrize(
    ("data", "reason"), [(None, "No such file"), (b"\xff\xfe" + SECRET.encode(), "not a text file")]
)
def test_a_file_that_cannot_be_read_is_named_with_the_reason(tmp_path, data, reason):
    if data is not None:
        (tmp_path / "key").write_bytes(data)
    with pytest.raises(UsageError, match=reason) as caught:
        find_key(tmp_path / "key", {})
    text = "".join(traceback.format_exception(caught.value))
    assert str(tmp_path / "key") in text
    assert SECRET not in text


def test_an_empty_file_holds_no_key(tmp_path):
    (tmp_path / "key").write_bytes(b"\n")
    with pytest.raises(KeyMissingError):
        find_key(tmp_path / "key", {VARIABLE: SECRET})


WRITTEN = {
    "in a URL": "".join(f"%{ord(char):02x}" for char in SECRET),
    "in part in a URL": SECRET.replace("-", "%2D").replace("_", "%5f"),
    "twice in a URL": SECRET.replace("-", "%252D"),
    "in JSON": SECRET.replace("-", r"\u002D").replace("k", r"\u006b"),
    "in JSON in JSON": SECRET.replace("-", r"\\u002d"),
    "in HTML": SECRET.replace("-", "&#45;").replace("_", "&#x5F;"),
    **{f"in base64 after {n}": base64.b64encode(b"Bearer "[:n] + SECRET.encode()).decode() for n in (0, 1, 2, 7)},
    "in base64 of URLs": base64.urlsafe_b64encode(b"?>" + SECRET.encode()).decode(),
}


@pytest.mark.parametrize("form", WRITTEN)
def test_a_key_is_redacted_in_every_spelling(form):
    text = f"before {WRITTEN[form]} after"
    for redacted in (ApiKey(SECRET).redact(text), ApiKey(SECRET).redact_bytes(text.encode()).decode()):
        assert WRITTEN[form] not in redacted
        assert "***" in redacted
        assert redacted.startswith("before ")
        assert redacted.endswith(" after")
        assert SECRET[4:] not in unquote(unquote(html.unescape(redacted.encode().decode("unicode_escape"))))


@given(
    st.text(alphabet=string.ascii_letters + string.digits + "-_.+/=", min_size=1, max_size=80), st.binary(max_size=9)
)
def test_a_key_in_base64_is_redacted_at_every_offset(value, before):
    encoded = base64.b64encode(before + value.encode() + b"\0\0").decode()
    redacted = ApiKey(value).redact(encoded)
    if len(value) >= 9:
        # All of the characters but those that it shares with what stands before or after it.
        assert len(redacted.replace("***", "")) <= len(encoded) - (len(value) * 8 // 6 - 2)


LONG = "VENICE-INFERENCE-KEY-abcdEFGH01234ijklMNOP"


@pytest.mark.parametrize("cut", [*range(21, 35), -1, -2])
def test_a_cut_key_is_redacted(cut):
    for shown in (LONG[:cut], LONG[:cut].lower(), LONG[cut - 21 :]):
        redacted = ApiKey(LONG).redact(f"before İ {shown} after")
        assert redacted.startswith("before İ ")
        assert redacted.endswith(" after")
        assert not [at for at in range(14, len(LONG) - 7) if LONG[at : at + 8].lower() in redacted.lower()]


def test_the_prefix_that_all_keys_share_is_not_redacted():
    text = "inference failed for venice-inference-key-: VENICE-INFERENCE-KEY-"
    assert ApiKey(LONG).redact(text) == text


def test_a_key_like_an_ordinary_word_is_redacted_only_as_written():
    assert not ApiKey("EMPTY").is_long
    assert ApiKey("EMPTY").redact("the body is empty: EMPTY") == "the body is empty: ***"
    assert ApiKey(SECRET).is_long


@pytest.mark.parametrize("key", ["k", "now", "no", "x_1"])
def test_a_short_key_is_redacted_as_a_word_of_its_own_only(key):
    text = f"{key}nown _{key} {key}{key} 7{key} un{key}"
    assert ApiKey(key).redact(text) == text
    assert ApiKey(key).redact_bytes(text.encode()) == text.encode()
    text = f'{key}, ="{key}" Bearer {key}. /{key}/ %{ord(key[0]):02X}{key[1:]} \n'
    assert ApiKey(key).redact(text) == '***, ="***" Bearer ***. /***/ *** \n'
    assert ApiKey(key).redact_bytes(text.encode()) == b'***, ="***" Bearer ***. /***/ *** \n'


def test_a_key_of_a_real_ones_length_is_redacted_within_other_words():
    for key in ("sk-12345", SECRET, LONG):
        assert ApiKey(key).redact(f"x{key}x") == "x***x"
        assert ApiKey(key).redact_bytes(f"x{key}x".encode()) == b"x***x"


@pytest.mark.parametrize("change", [str.lower, str.upper, str.swapcase])
def test_a_key_in_another_case_is_redacted(change):
    assert ApiKey(SECRET).redact(f"text/{change(SECRET)}") == "text/***"
    assert ApiKey(SECRET).redact_bytes(f"text/{change(SECRET)}".encode()) == b"text/***"


@given(st.integers(0, 200))
def test_a_cut_body_loses_an_end_that_may_begin_a_key(end):
    body = (b"x" * 30 + SECRET.replace("-", r"\u002d").encode() + b" " * 120)[:end]
    assert b"vk" not in ApiKey(SECRET).redact_bytes(body, whole=False)
    assert ApiKey(SECRET).redact_bytes(b"all of it") == b"all of it"


@pytest.mark.parametrize("repeated", ["\\", "%25", "&#0", "&#x0", "u00", "v", SECRET[:-1]])
def test_no_body_takes_long_to_search(repeated):
    body = repeated.encode() * (64 * 1024 // len(repeated))
    assert ApiKey(SECRET).redact_bytes(body) == body


@pytest.mark.parametrize("value", ["k", "ab", "a-b", "$^.*+?()[]{}|\\/"])
def test_short_and_odd_keys_are_redacted(value):
    assert ApiKey(value).redact(f" {value} ") == " *** "


def test_an_endless_file_or_an_unwritten_pipe_is_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "long").write_bytes(b"k" * (64 * 1024 + 1))
    plain, much = "not a regular file", "more than 64 KB"
    for path, why in ((Path("/dev/zero"), plain), (tmp_path / "pipe", plain), (tmp_path / "long", much)):
        with pytest.raises(UsageError, match=why):
            find_key(path)
