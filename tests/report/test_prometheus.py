"""The text for Prometheus, read by the rules of its exposition format."""

import re

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from records import summary

from venice_batch.model import LaneSummary
from venice_batch.report import prometheus


def exposition(*given, **more):
    return prometheus.exposition(*given, **more).decode()


NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
LABEL = r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\["\\n])*)"'
SAMPLE = re.compile(rf"({NAME})\{{({LABEL}(?:,{LABEL})*)\}} (-?[0-9]+(?:\.[0-9]+)?(?:e[+-]?[0-9]+)?)")
ESCAPES = {r"\\": "\\", r"\"": '"', r"\n": "\n"}


def parse(text):
    """Return {metric: {labels: value}}; fail if the text breaks a rule of the format, version 0.0.4."""
    assert text.endswith("\n")
    found, typed = {}, None
    for line in text[:-1].split("\n"):
        if line.startswith("# HELP "):
            name, _, words = line[7:].partition(" ")
            assert re.fullmatch(NAME, name)
            assert words
            assert name not in found, "all lines of a metric have to stand together"
            found[name] = {}
        elif line.startswith("# TYPE "):
            name, kind = line[7:].split(" ")
            assert kind == "gauge"
            assert found[name] == {}, "the type comes before the samples"
            typed = name
        else:
            match = SAMPLE.fullmatch(line)
            assert match, line
            assert match[1] == typed
            pairs = [
                (label, re.sub(r"\\.", lambda escape: ESCAPES[escape[0]], value))
                for label, value in re.findall(LABEL, match[2])
            ]
            assert len(dict(pairs)) == len(pairs)
            labels = tuple(sorted(pairs))
            assert labels not in found[typed], "a sample that is given twice"
            found[typed][labels] = float(match[match.lastindex])
    assert all(found.values())
    return found


def value(found, name, **labels):
    return found[f"venice_batch_{name}"][tuple(sorted({"output": "output/jobs", **labels}.items()))]


def test_a_runs_numbers_are_exported():
    found = parse(exposition(summary(errors={"server": 2}, failed=2, exit_code=1)))
    assert value(found, "exit_code") == 1
    assert value(found, "run_duration_seconds") == 12.5
    assert value(found, "run_timestamp_seconds") == 1767232812.5
    assert value(found, "jobs", state="succeeded") == 2
    assert value(found, "jobs", state="already_done") == 1
    assert value(found, "jobs", state="pending") == 0
    assert value(found, "errors", kind="server") == 2
    assert value(found, "images", model="venice-sd35") == 2
    assert value(found, "image_bytes", model="venice-sd35") == 2048
    assert value(found, "requests", model="venice-sd35") == 3
    assert value(found, "refused_requests", model="venice-sd35") == 1
    assert value(found, "request_duration_seconds", model="venice-sd35", quantile="0.95") == 2.0
    assert value(found, "cost_usd") == 0.02


def test_the_last_success_outlives_runs_that_fail():
    good = exposition(summary())
    ended = value(parse(good), "last_success_timestamp_seconds")
    assert ended == 1767232812.5
    bad = summary(exit_code=75, started_at="2026-01-02T02:00:00Z")
    worse = exposition(bad, previous=exposition(bad, previous=good))
    assert value(parse(worse), "last_success_timestamp_seconds") == ended
    better = exposition(summary(started_at="2026-01-03T02:00:00Z"), previous=worse)
    assert value(parse(better), "last_success_timestamp_seconds") == ended + 2 * 86_400


@pytest.mark.parametrize("previous", ["", "nonsense", 'venice_batch_last_success_timestamp_seconds{output="x"} soon\n'])
def test_without_a_success_there_is_no_time_of_one(previous):
    assert "venice_batch_last_success_timestamp_seconds" not in parse(
        exposition(summary(exit_code=1), previous=previous)
    )


def test_unknown_values_are_left_out():
    lane = LaneSummary(0, 1, 0, 0, 0, 1, 0)
    found = parse(exposition(summary(cost_usd=None, lanes={"m": lane})))
    assert "venice_batch_cost_usd" not in found
    assert "venice_batch_request_duration_seconds" not in found
    assert "venice_batch_images" not in parse(exposition(summary(lanes={})))


def test_money_of_a_sandbox_is_labelled_and_unpriced_requests_are_counted():
    found = parse(exposition(summary(sandbox=True, unpriced=3)))
    assert value(found, "cost_usd", sandbox="true") == 0.02
    assert value(found, "unpriced_requests") == 3
    assert value(parse(exposition(summary())), "unpriced_requests") == 0


@given(st.text(), st.text(), st.text())
def test_whatever_stands_in_a_label_comes_out_again(output, model, kind):
    lane = summary().lanes["venice-sd35"]
    made = msgspec.structs.replace(summary(), output=output, lanes={model: lane}, errors={kind: 1})
    labels = parse(exposition(made))["venice_batch_images"]
    text = model.encode("utf-8", "replace").decode()
    assert {dict(one)["model"] for one in labels} == {text}
