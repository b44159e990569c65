"""The reason in an error's body, whichever server sent it."""

import time

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from venice_batch.api.answers import Fault
from venice_batch.api.errors_in import LONGEST, error_message, refusal


def said(document, status=400):
    return error_message(status, "application/json", orjson.dumps(document))


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ({"error": "Insufficient USD or Diem balance"}, "Insufficient USD or Diem balance"),
        ({"error": {"message": "Unknown model", "type": "x", "param": None, "code": None}}, "Unknown model"),
        ({"error": {"message": "must be 1", "param": "n"}}, "must be 1: n"),
        ({"error": {"message": "n must be 1", "param": "n"}}, "n must be 1"),
        ({"message": "Not found"}, "Not found"),
        ({"error": None, "message": "Not found"}, "Not found"),
        ({"error": "Invalid", "issues": [{"path": ["style", 0], "message": "too long"}, {"message": "bad"}]},
         "Invalid: style.0: too long; bad"),
        ({"error": "Invalid", "details": {"_errors": [], "width": {"_errors": ["too big", "odd"]}}},
         "Invalid: width: too big; width: odd"),
        ({"error": "Invalid", "details": {"_errors": ["all wrong"], "a": {"0": {"_errors": ["x"]}}}},
         "Invalid: all wrong; a: 0: x"),
        ({"error": "Refused", "suggested_prompt": "a calm lake"}, "Refused: suggested prompt: a calm lake"),
        ({"error": "Try again.", "suggested_prompt": "a calm lake"}, "Try again. suggested prompt: a calm lake"),
        ({"error": "Invalid", "issues": [], "details": None}, "Invalid"),
        ({"error": "Invalid", "issues": ["x", {"path": 7}], "details": {"_errors": 7}}, "Invalid"),
    ],
)  # fmt: skip
def test_each_documented_shape_becomes_one_line(document, expected):
    assert said(document) == expected


@pytest.mark.parametrize(
    "document", [{}, {"error": {"code": "x"}}, {"error": {"message": None}}, {"error": None}, [1], "text"]
)
def test_json_of_another_shape_is_shown_as_it_is(document):
    assert said(document) == orjson.dumps(document).decode()


@pytest.mark.parametrize(
    ("content_type", "body", "expected"),
    [
        ("text/html", b"<html><head><title>502\n Bad gateway</title>", "a web page: 502 Bad gateway"),
        ("Text/HTML; charset=utf-8", b"<p>oops", "a web page"),
        ("", b"  <!DOCTYPE html><title lang=en>Down</title>", "a web page: Down"),
        ("text/plain", b"<html>x", "a web page"),
        ("text/plain", b"error code: 522", "error code: 522"),
        ("application/json", b'{"error": "cut', '{"error": "cut'),
    ],
)
def test_a_gateways_page_becomes_a_few_words(content_type, body, expected):
    assert error_message(502, content_type, body) == expected


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        (
            {"error": {"message": "No quota.", "type": "insufficient_quota", "code": None}},
            "No quota. (insufficient_quota)",
        ),
        ({"error": {"message": "No quota", "code": "insufficient_quota"}}, "No quota (insufficient_quota)"),
        ({"error": {"message": "", "code": "insufficient_quota"}}, "insufficient_quota"),
        ({"error": "No quota", "code": "insufficient_user_quota"}, "No quota (insufficient_user_quota)"),
        ({"error": {"message": "insufficient_quota: pay", "code": "insufficient_quota"}}, "insufficient_quota: pay"),
        ({"error": {"message": "Slow down", "code": "rate_limit_exceeded", "type": ["odd"]}}, "Slow down"),
    ],
)
def test_an_account_without_quota_is_recognised_by_its_code(document, expected):
    assert said(document) == expected


@pytest.mark.parametrize("body", [b"", b" \r\n\t "])
def test_an_empty_body_leaves_the_status(body):
    assert error_message(503, "text/plain", body) == "HTTP 503 without a reason"


def test_a_long_reason_is_cut():
    text = said({"error": "x" * 2000})
    assert len(text) == LONGEST
    assert text.endswith("x…")
    assert said({"error": "x" * LONGEST}) == "x" * LONGEST


@pytest.mark.parametrize("body", [b"\x1b[2J\x07gone", orjson.dumps({"error": "\x1b[2J\x07gone"})])
def test_a_reason_contains_no_control_characters(body):
    assert error_message(500, "text/plain", body) == "\ufffd[2J\ufffdgone"


def test_lines_of_a_reason_become_one():
    assert said({"error": "a\r\nb\u2028c\x85d"}) == "a b c d"


def test_details_nested_too_deeply_are_left_out():
    tree = {"_errors": ["deep"]}
    for _ in range(200):
        tree = {"x": tree}
    assert said({"error": "Invalid", "details": tree}) == "Invalid"


@pytest.mark.parametrize("start", [b"<title>", b"<title ", b"<title", b"<title>" + b" " * 400])
def test_a_page_made_to_be_slow_to_read_is_read_fast(start):
    body = b"<html>" + start * (64 * 1024 // len(start))
    began_s = time.process_time()
    assert error_message(502, "text/html", body) == "a web page"
    assert time.process_time() - began_s < 0.5  # takes seconds where the search is not bounded


@given(st.integers(100, 599), st.text(max_size=10), st.binary(max_size=200))
def test_any_body_becomes_one_printable_line(status, content_type, body):
    text = error_message(status, content_type, body)
    assert text
    assert text.isprintable()


shapes = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.text(max_size=10),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["error", "message", "details", "issues", "_errors", "path", "param", "x"]), inner
        )
    ),
    max_leaves=12,
)


@given(shapes)
def test_json_of_any_shape_becomes_one_printable_line(document):
    text = said(document)
    assert 0 < len(text) <= LONGEST
    assert text.isprintable()


@pytest.mark.parametrize(
    ("status", "body", "fault", "from_api"),
    [
        (307, b"", Fault.NOT_THE_API, False),
        (407, b"", Fault.NOT_THE_API, False),
        (403, b"Forbidden", Fault.NOT_THE_API, False),
        (403, b'{"error": "no"}', None, True),
        (500, b"oops", None, False),
        (204, b"", Fault.NO_IMAGE, False),
    ],
)
def test_a_refusal_is_the_apis_own_only_in_its_shape(status, body, fault, from_api):
    found = refusal(status, "text/plain", body)
    assert (found.fault, found.from_api) == (fault, from_api)


def test_a_redirect_names_its_target_without_the_key():
    found = refusal(302, "text/html", b"", location="https://other/KEY", redact=lambda text: text.replace("KEY", "***"))
    assert found.text == "redirected to https://other/***, not followed; is --base-url right?"
