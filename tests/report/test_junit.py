"""JUnit XML, read with an XML parser of its own."""

import re
import tracemalloc
from xml.etree import ElementTree

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from records import attempt, summary

from venice_batch.model import Flags, Status
from venice_batch.report.collect import collect
from venice_batch.report.junit import JUnit


def document(stage, *records, fail_on=(), **changes):
    collector = JUnit(stage.index, source="jobs.jsonl", fail_on=fail_on)
    collect(stage.record(*records).records, [collector])
    return ElementTree.fromstring(b"".join(collector.pieces(summary(**changes))))


def cases(root):
    """Return {name: the element inside, or None}."""
    return {case.get("name"): (list(case) or [None])[0] for case in root.iter("testcase")}


def test_a_job_of_a_folder_names_its_file(stage, tmp_path):
    with stage("a", "b", form="folder") as at:
        root = document(at, at.done("a"))
    files = {case.get("name"): case.get("file") for case in root.iter("testcase")}
    assert files == {name: str(tmp_path / "jobs" / f"{name}.txt") for name in "ab"}


def test_every_job_is_a_test_case_with_its_time(stage):
    with stage("a", "b", "c", "d") as at:
        root = document(
            at,
            at.done("a", total_s=1.25),
            at.failed("b", message="out of order"),
            at.failed("c", message="forbidden", status=Status.REJECTED),
            reason="--max-time is over",
        )
    (suite,) = root
    assert (root.tag, suite.tag, suite.get("name")) == ("testsuites", "testsuite", "jobs.jsonl")
    for element in (root, suite):
        counts = {name: element.get(name) for name in ("tests", "failures", "errors", "skipped", "time")}
        assert counts == {"tests": "4", "failures": "1", "errors": "1", "skipped": "1", "time": "12.500"}
    assert suite.get("timestamp") == "2026-01-01T02:00:00"
    found = cases(root)
    assert found["a"] is None
    assert (found["b"].tag, found["b"].get("type"), found["b"].get("message")) == (
        "error",
        "failed",
        "server: out of order",
    )
    assert (found["c"].tag, found["c"].get("type")) == ("failure", "rejected")
    assert (found["d"].tag, found["d"].get("message")) == ("skipped", "--max-time is over")
    first = next(root.iter("testcase"))
    assert first.attrib == {"name": "a", "classname": "venice-sd35", "file": "jobs.jsonl", "time": "1.250"}


def test_failed_attempts_are_listed_inside(stage):
    with stage("b") as at:
        root = document(at, at.failed("b", attempts=(attempt(503), attempt(None), attempt(500))))
    assert cases(root)["b"].text == "503: no\nNone: no\n500: no"


@pytest.mark.parametrize(("fail_on", "tag"), [((), None), (("content_violation",), None), (("blurred",), "failure")])
def test_a_flag_fails_a_job_only_on_request(stage, fail_on, tag):
    with stage("a") as at:
        root = document(at, at.done("a", flags=Flags(blurred=True)), fail_on=fail_on)
    found = cases(root)["a"]
    assert (None if found is None else found.tag) == tag
    assert root.get("failures") == ("1" if tag else "0")
    if tag:
        assert found.get("message") == "the API marked the image as blurred: images/a.webp"


def test_known_rejections_are_skipped_if_they_are_ok_and_new_ones_fail(stage):
    with stage("a", "b", "c") as at:
        known = at.failed("b", status=Status.REJECTED, message="no", run_id="before")
        new = at.failed("c", status=Status.REJECTED, message="no", run_id="now")
        found = {}

        def element_of(case):
            return next(((element.tag, element.get("message")) for element in case), None)

        for is_ok in (True, False):
            collector = JUnit(at.index, source="jobs.jsonl", known_rejected_ok=is_ok)
            collect(at.record(at.done("a"), known, new).records, [collector], run_id="now")
            root = ElementTree.fromstring(b"".join(collector.pieces(summary())))
            found[is_ok] = [element_of(case) for case in root.iter("testcase")]
            found[is_ok] += [root.get("failures"), root.get("skipped")]
    failure = ("failure", "server: no")
    assert found[True] == [None, ("skipped", "rejected before: server: no"), failure, "1", "1"]
    assert found[False] == [None, failure, failure, "2", "0"]


def test_jobs_without_a_record_that_counts_are_skipped(stage):
    with stage("a", "b") as at:
        (at.path / "out/images/a.webp").unlink()
        root = document(at, at.done("a"), at.done("b", request_hash="0" * 32))
    assert [element.tag for element in cases(root).values()] == ["skipped", "skipped"]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(st.characters(min_codepoint=0, exclude_categories=["Cs"])))
def test_whatever_a_server_says_is_well_formed_and_comes_out_again(stage, text):
    """A character that XML cannot hold becomes the replacement character."""
    with stage("b") as at:
        root = document(at, at.failed("b", message=text))
    allowed = re.compile("[\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
    expected = "".join(char if allowed.match(char) else "\ufffd" for char in text)
    assert cases(root)["b"].get("message") == f"server: {expected}"


@pytest.mark.no_cover
def test_many_jobs_are_written_in_little_memory(stage):
    ids = [f"job-{number}" for number in range(3000)]
    with stage(*ids) as at:
        standing = at.record(*(at.failed(job_id, message="x" * 2000) for job_id in ids))
        at.jobs.clear()
        tracemalloc.start()
        try:
            collector = JUnit(at.index, source="jobs.jsonl")
            collect(standing.records, [collector])
            size = sum(map(len, collector.pieces(summary())))
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert size > 6_000_000
    assert peak < 1_000_000
