"""Decisions about requests: which come from the page, and which marks can be taken."""

import msgspec
import pytest

from venice_batch.output.marks import Mark
from venice_batch.view.requests import MOST_MARKS, MarksError, is_from_page, marks_in, path_below

AT = "2026-11-29T12:00:00.000Z"


@pytest.mark.parametrize(
    ("hosts", "origins", "sites"),
    [
        (["127.0.0.1:8642"], [], []),
        (["localhost:8642"], ["http://localhost:8642"], ["same-origin"]),
        (["[::1]:8642"], ["http://[::1]:8642"], ["none"]),
        (["LOCALHOST:8642"], ["http://localhost:8642"], []),
    ],
)
def test_requests_of_the_page_are_taken(hosts, origins, sites):
    assert is_from_page(hosts, origins, sites, port=8642)


@pytest.mark.parametrize(
    ("hosts", "origins", "sites"),
    [
        ([], [], []),
        (["127.0.0.1"], [], []),
        (["127.0.0.1:8643"], [], []),
        (["evil.example:8642"], [], []),
        (["localhost.evil.example:8642"], [], []),
        (["127.0.0.1:8642", "evil.example"], [], []),
        (["127.0.0.1:8642"], ["http://evil.example"], []),
        (["127.0.0.1:8642"], ["null"], []),
        (["127.0.0.1:8642"], ["http://localhost:8642"], []),
        (["127.0.0.1:8642"], ["https://127.0.0.1:8642"], []),
        (["127.0.0.1:8642"], ["http://127.0.0.1:3000"], []),
        (["127.0.0.1:8642"], [], ["cross-site"]),
        (["127.0.0.1:8642"], [], ["same-site"]),
    ],
)
def test_requests_from_elsewhere_are_refused(hosts, origins, sites):
    assert not is_from_page(hosts, origins, sites, port=8642)


def test_browsers_leave_out_the_port_of_http():
    assert is_from_page(["127.0.0.1"], ["http://127.0.0.1"], [], port=80)


@pytest.mark.parametrize(
    ("raw_path", "path"),
    [
        ("/secret/", ""),
        ("/secret/images/a.png", "images/a.png"),
        ("/secret/images/100%25%20%23%3F.png", "images/100% #?.png"),
        ("/secret/images/%2541.png", "images/%41.png"),
        ("/secret/%C3%A9.png", "é.png"),
        ("/secret/%ff.png", None),
        ("/secret", None),
        ("/", None),
        ("", None),
        ("/Secret/", None),
        ("/secre/", None),
        ("/%73ecret/", None),
        ("/é/", None),
        ("//secret/", None),
    ],
)
def test_a_path_needs_the_token_and_is_decoded_once(raw_path, path):
    assert path_below(raw_path, "secret") == path


def said(**changes):
    return {"sha256": "aa", "id": "fox", "image": 1, "mark": "picked", "rating": None, **changes}


def taken(*marks):
    return marks_in(msgspec.json.encode(marks), lambda *image: image == ("fox", "aa", 1), at=AT)


def test_marks_get_the_time_of_the_server():
    assert taken(said(), said(mark=None, rating=4), said(mark=None, at="1999")) == [
        Mark("aa", "fox", 1, "picked", None, AT),
        Mark("aa", "fox", 1, None, 4, AT),
        Mark("aa", "fox", 1, None, None, AT),
    ]


@pytest.mark.parametrize(
    "change",
    [{"mark": "loved"}, {"rating": 0}, {"rating": 6}, {"rating": "4"}, {"image": 0}, {"image": 1.5}, {"id": None}],
    ids=str,
)
def test_what_is_no_mark_is_refused(change):
    with pytest.raises(MarksError, match="these are no marks"):
        taken(said(), said(**change))


@pytest.mark.parametrize("change", [{"id": "cat"}, {"sha256": "bb"}, {"image": 2}], ids=str)
def test_a_mark_of_an_unknown_image_is_refused(change):
    with pytest.raises(MarksError, match="the folder has no image"):
        taken(said(), said(**change))


@pytest.mark.parametrize("body", [b"", b"{}", b"[1]", b'"x"', b"\xff", b"[" * 100_000])
def test_a_body_that_is_no_list_of_marks_is_refused(body):
    with pytest.raises(MarksError, match="these are no marks"):
        marks_in(body, lambda *image: True, at=AT)


def test_marks_at_once_are_limited():
    assert len(taken(*[said()] * MOST_MARKS)) == MOST_MARKS
    with pytest.raises(MarksError, match="10,001 marks at once"):
        taken(*[said()] * (MOST_MARKS + 1))
