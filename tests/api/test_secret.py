"""The key, found and kept."""

import traceback

import pytest

from venice_batch.api.secret import VARIABLE, ApiKey, find_key
from venice_batch.errors import KeyMissingError, UsageError

SECRET = "vk-Zq9_secret-77"


def test_a_key_shows_itself_only_in_its_header():
    key = ApiKey(f"  {SECRET}\n")
    assert key.header() == f"Bearer {SECRET}"
    for shown in (str(key), repr(key), f"{key}", f"{key!r}", f"{[key]}", format(key)):
        assert shown.strip("[]") == "ApiKey(***)"
    assert not hasattr(key, "__dict__")


def test_a_key_is_taken_out_of_what_a_server_sends_back():
    assert ApiKey(SECRET).redact(f"bad key {SECRET} ({SECRET})") == "bad key *** (***)"
    assert ApiKey(SECRET).redact("nothing here") == "nothing here"


@pytest.mark.parametrize("value", ["", " \n"])
def test_an_empty_key_is_none(value):
    with pytest.raises(KeyMissingError, match=VARIABLE):
        ApiKey(value)


@pytest.mark.parametrize("value", ["two words", "line\nfeed", "escape\x1b", "kéy", "a\tb", "k\0"])
def test_what_cannot_be_a_header_is_no_key_and_is_not_shown(value):
    with pytest.raises(UsageError) as caught:
        ApiKey(value)
    assert value not in "".join(traceback.format_exception(caught.value))


def test_the_key_comes_from_the_environment():
    assert find_key(None, {VARIABLE: SECRET}).header() == f"Bearer {SECRET}"


def test_the_key_comes_from_the_processs_own_environment_by_default(monkeypatch):
    monkeypatch.setenv(VARIABLE, SECRET)
    assert find_key(None).header() == f"Bearer {SECRET}"


@pytest.mark.parametrize("environment", [{}, {VARIABLE: ""}, {VARIABLE: "  "}])
def test_without_a_key_it_is_said_where_to_put_one(environment):
    with pytest.raises(KeyMissingError, match=r"VENICE_API_KEY.*--api-key-file"):
        find_key(None, environment)


@pytest.mark.parametrize("data", [SECRET.encode(), SECRET.encode() + b"\r\n", b"\xef\xbb\xbf" + SECRET.encode()])
def test_a_file_goes_before_the_environment(tmp_path, data):
    (tmp_path / "key").write_bytes(data)
    assert find_key(tmp_path / "key", {VARIABLE: "other"}).header() == f"Bearer {SECRET}"


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
