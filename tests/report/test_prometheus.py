"""The text for Prometheus, read by the rules of its exposition format."""

import math
import re
import shutil
import subprocess

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from records import summary

from venice_batch.model import LaneSummary
from venice_batch.report import prometheus
from venice_batch.report.summary import QuotaUse


def exposition(*given, **more):
    return prometheus.exposition(*given, **more).decode()


NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
LABEL = r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\["\\n])*)"'
SAMPLE = re.compile(rf"({NAME})\{{({LABEL}(?:,{LABEL})*)\}} (-?[0-9]+(?:\.[0-9]+)?(?:e[+-]?[0-9]+)?|NaN)")
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
            assert kind == ("counter" if name.endswith("_total") else "gauge")
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


SUCCESS = 'venice_batch_last_success_timestamp_seconds{output="x"}'


@pytest.mark.parametrize(
    "previous", ["", "nonsense", f"{SUCCESS} soon\n", f"{SUCCESS} NaN\n", f"{SUCCESS} -1\n", "venice_batch_images{\n"]
)
def test_without_a_success_its_time_is_0(previous):
    found = parse(exposition(summary(exit_code=1), previous=previous))
    assert value(found, "last_success_timestamp_seconds") == 0


def test_a_line_that_is_damaged_costs_only_its_own_value():
    damaged = f"venice_batch_images_total{{\n{SUCCESS} 7\nvenice_batch_unknown 1\n"
    found = parse(exposition(summary(exit_code=1), previous=damaged))
    assert value(found, "last_success_timestamp_seconds") == 7
    assert value(found, "images_total") == 2
    assert "venice_batch_unknown" not in found


@pytest.mark.parametrize(
    ("code", "rejected", "moved"),
    [
        (0, 0, {"completion", "success"}),
        (0, 1, {"completion", "success", "rejection"}),
        (1, 0, {"completion"}),
        (75, 1, {"rejection"}),
        (130, 0, set()),
    ],
)
def test_times_of_the_last_moments_move_only_when_they_come_again(code, rejected, moved):
    first = exposition(summary(rejected=1, started_at="2026-01-01T02:00:00Z"))
    second = parse(
        exposition(summary(exit_code=code, rejected=rejected, started_at="2026-01-02T02:00:00Z"), previous=first)
    )
    ended = value(second, "run_timestamp_seconds")
    names = ("completion", "success", "rejection")
    found = {name for name in names if value(second, f"last_{name}_timestamp_seconds") == ended}
    assert found == moved


EMPTY = LaneSummary(0, 1, 0, 0, 0, 1, 0)


def test_every_metric_is_there_before_there_is_anything_to_count():
    """The same metrics after a run that did all, one that did nothing, and one that never began."""
    full = parse(exposition(summary(errors={"server": 2}), models=["venice-sd35", "unused"]))
    nothing = parse(exposition(summary(cost_usd=None, lanes={})))
    never = parse(prometheus.failed_start("output/jobs", 2, 5.0).decode())
    assert set(full) == set(nothing) == set(never)
    for name in ("images", "errors", "cost_usd", "retries", "quota_used_ratio", "spent_usd_total"):
        assert value(nothing, name) == value(never, name) == 0
    assert set(never["venice_batch_jobs"]) == set(full["venice_batch_jobs"])
    for name in ("completion", "success", "rejection"):
        assert value(never, f"last_{name}_timestamp_seconds") == 0


def test_models_of_the_file_that_were_not_used_are_counted_as_0():
    found = parse(exposition(summary(), models=["venice-sd35", "unused"]))
    assert (value(found, "images", model="venice-sd35"), value(found, "images", model="unused")) == (2, 0)


def test_a_duration_that_was_not_measured_is_no_number():
    found = parse(exposition(summary(lanes={"m": EMPTY})))
    assert math.isnan(value(found, "request_duration_seconds", model="m", quantile="0.5"))
    assert math.isnan(value(parse(exposition(summary(lanes={}))), "request_duration_seconds"))


@pytest.mark.parametrize(
    ("quota", "used", "elapsed_s", "ratio"),
    [(20.0, 10, 30.0, 0.5), (20.0, 30, 90.0, 0.75), (20.0, 50, 59.0, 1.0), (None, 10, 30.0, 0.0)],
)
def test_the_share_of_the_quota_counts_minutes_that_were_begun(quota, used, elapsed_s, ratio):
    quotas = {"m": QuotaUse(quota, used)}
    found = parse(exposition(summary(lanes={"m": EMPTY}, elapsed_s=elapsed_s), quotas=quotas))
    assert value(found, "quota_used_ratio", model="m") == ratio
    assert value(found, "quota_images_per_minute", model="m") == (quota or 0)


def test_a_quota_is_remembered_when_nothing_is_sent():
    first = exposition(summary(lanes={"m": EMPTY}), quotas={"m": QuotaUse(20.0, 1)})
    found = parse(exposition(summary(lanes={}), previous=first, models=["m"]))
    assert value(found, "quota_images_per_minute", model="m") == 20


def test_counters_add_up_over_runs_and_keep_sandbox_money_apart():
    text = ""
    for made in (summary(cost_usd=0.1), summary(cost_usd=0.2), summary(sandbox=True), summary(cost_usd=None, images=0)):
        text = exposition(made, previous=text)
    found = parse(text)
    assert value(found, "images_total") == 6
    assert value(found, "spent_usd_total") == 0.3
    assert value(found, "spent_usd_total", sandbox="true") == 0.02
    assert value(found, "cost_usd") == 0


def test_memory_goes_on_in_the_next_days_folder():
    """With `{date}` in --output each day has a folder of its own, and the file's numbers are about the last."""
    first = exposition(summary(output="output/2026-01-01"))
    found = parse(exposition(summary(output="output/jobs", exit_code=75), previous=first))
    assert value(found, "last_success_timestamp_seconds") == 1767232812.5
    assert value(found, "images_total") == 4


def test_a_run_that_could_not_begin_changes_only_its_time_and_exit_code():
    before = exposition(summary(errors={"server": 1}, exit_code=1), models=["venice-sd35", "unused"])
    after = prometheus.failed_start("output/jobs", 5, 1767300000.0, previous=before).decode()
    changed = set(after.split("\n")) - set(before.split("\n"))
    assert changed == {
        'venice_batch_exit_code{output="output/jobs"} 5.0',
        'venice_batch_run_timestamp_seconds{output="output/jobs"} 1.7673e+09',
    }
    assert len(after.split("\n")) == len(before.split("\n"))


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
def test_promtool_accepts_the_text():
    """Its one complaint is older than the rule: quantiles are gauges here, because each run begins anew."""
    full = exposition(summary(errors={"server": 2}), models=["unused"])
    for text in (full, prometheus.failed_start("output/jobs", 2, 5.0).decode()):
        done = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, text=True, check=False)
        assert {
            line for line in (done.stdout + done.stderr).splitlines() if 'have "quantile" label' not in line
        } == set()


def test_money_of_a_sandbox_is_labelled_and_unpriced_requests_are_counted():
    found = parse(exposition(summary(sandbox=True, unpriced=3)))
    assert value(found, "cost_usd", sandbox="true") == 0.02
    assert value(found, "unpriced_requests") == 3
    assert value(parse(exposition(summary())), "unpriced_requests") == 0


@given(st.text(), st.text(), st.text())
def test_whatever_stands_in_a_label_comes_out_again(output, model, kind):
    lane = summary().lanes["venice-sd35"]
    made = msgspec.structs.replace(summary(), output=output, lanes={model: lane}, errors={kind: 1})
    written = exposition(made)
    again = prometheus.failed_start(output, made.exit_code, 1767232812.5, previous=written)
    assert again.decode() == written
    labels = parse(written)["venice_batch_images"]
    text = model.encode("utf-8", "replace").decode()
    assert {dict(one)["model"] for one in labels} == {text}
