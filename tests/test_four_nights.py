"""Four nights of the crontab line in docs/cron.md, and what Prometheus makes of their metrics."""

import json
import re
import shlex
import shutil
import subprocess
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

import pytest
from command import Result, run, served
from test_pipeline_docs import blocks

from venice_batch.run.stop import Patience

ALERTS = Path(__file__).parent.parent / "docs/alerts"
PROMTOOL = pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")

HOUR_S, DAY_S = 3600, 86_400
BEGINS_S = (*(night * DAY_S + 2.25 * HOUR_S for night in (1, 2, 3)), 3 * DAY_S + 9 * HOUR_S, 4 * DAY_S + 2.25 * HOUR_S)
"""Unix times of the runs: nights 1 to 3 at 2:15, by hand on the third day at 9:00, night 4. promtool begins at 0."""

KNOWN = "1 job rejected in an earlier run (sky): change it or use --retry-rejected\n"


class Night(NamedTuple):
    """A run: what the command returned and printed, and the metrics file after it."""

    result: Result
    metrics: dict[str, float]


def recipe(tmp_path):
    """Return the words of the crontab line after the program's name."""
    (line,) = (block for block in blocks("cron.md", "text") if block.startswith("15 2 * * *"))
    words = shlex.split(line.partition("&&")[2])
    assert words[0].endswith("/venice-batch")
    places = {"/etc/venice-batch/key": tmp_path / "key", "/var/lib/node_exporter/venice-batch.prom": tmp_path / "prom"}
    assert places.keys() < set(words)
    return [str(places.get(word, word)) for word in words[1:]]


def samples(path):
    """Return {name with labels: value} of a metrics file."""
    lines = (line.rpartition(" ") for line in path.read_text().splitlines() if not line.startswith("#"))
    return {series: float(value) for series, _, value in lines}


@pytest.fixture(scope="module")
def nights(tmp_path_factory):
    path = tmp_path_factory.mktemp("pictures")
    (path / "key").write_text("any\n")
    words = recipe(path)

    def job(name, prompt="p"):
        made = {"id": name, "model": "venice-sd35", "prompt": prompt, "width": 64, "height": 64}
        with (path / "jobs.jsonl").open("a") as file:
            file.write(json.dumps(made) + "\n")

    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(path)
        for name in ("XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_STATE_HOME"):
            patch.setenv(name, str(path / "user"))
        patch.setattr(Patience.__init__, "__defaults__", (0.1, 0.1))

        def night(number, *, options=words):
            class Then(datetime):
                @classmethod
                def now(cls, tz=None):
                    return datetime.fromtimestamp(BEGINS_S[number], tz)

            patch.setattr("venice_batch.run.run.datetime", Then)
            result = run(*options, environ={"VENICE_BATCH_BASE_URL": base_url}, now=lambda: BEGINS_S[number])
            return Night(result, samples(path / "prom"))

        sandbox = {"rpm": 0, "latency_s": 0, "draw": "plain"}
        made = []
        with served(**sandbox) as base_url:
            job("sea")
            job("sky", "forbidden")
            made.append(night(0))
            job("lake")
            made.append(night(1))
        job("wood")
        made.append(night(2))
        with served(**sandbox) as base_url:
            made.append(night(3, options=[word for word in words if word != "-q"]))
            job("hill")
            made.append(night(4))
        return made


def test_each_night_has_its_exit_code_and_one_line(nights):
    first, second, third, by_hand, fourth = (night.result for night in nights)
    assert [night.result.code for night in nights] == [1, 0, 75, 0, 0]
    assert re.fullmatch(r"sky: rejected: content_policy: .+\n", first.err)
    assert (second.err, fourth.err) == (KNOWN, KNOWN)
    assert re.fullmatch(r"stopping: the API cannot be reached .+\n", third.err)
    assert by_hand.err.count(KNOWN) == 1
    assert "".join(night.out for night in (first, second, third, fourth)) == ""
    assert "\n4 jobs: 1 succeeded, 2 done before, 1 rejected; 1 image" in by_hand.out


def series(nights, name, **labels):
    shown = ",".join(f'{label}="{value}"' for label, value in sorted({"output": "output/jobs", **labels}.items()))
    return [night.metrics[f"venice_batch_{name}{{{shown}}}"] for night in nights]


def begins(nights, name):
    """Return which run each value of a time belongs to, None if to none."""
    times = series(nights, f"{name}_timestamp_seconds")
    return [next((run for run, begin_s in enumerate(BEGINS_S) if 0 <= time - begin_s < HOUR_S), None) for time in times]


def test_the_metrics_grow_from_night_to_night(nights):
    assert series(nights, "exit_code") == [1, 0, 75, 0, 0]
    assert series(nights, "images_total") == [1, 2, 2, 3, 4]
    assert series(nights, "images", model="venice-sd35") == [1, 1, 0, 1, 1]
    assert series(nights, "spent_usd_total", sandbox="true") == [0.01, 0.02, 0.02, 0.03, 0.04]
    assert series(nights, "jobs", state="rejected") == [1, 0, 0, 0, 0]
    assert series(nights, "jobs", state="already_rejected") == [0, 1, 1, 1, 1]
    assert series(nights, "jobs", state="pending") == [0, 0, 1, 0, 0]
    assert begins(nights, "run") == [0, 1, 2, 3, 4]
    assert begins(nights, "last_completion") == [0, 1, 1, 3, 4]
    assert begins(nights, "last_success") == [None, 1, 1, 3, 4]
    assert begins(nights, "last_rejection") == [0, 0, 0, 0, 0]


STEP_S = 300
DAYS = 6


def promtool_series(nights):
    """Return the files as Prometheus sees them, a value every `STEP_S` seconds."""
    steps = [-(-int(begin_s + 60) // STEP_S) for begin_s in BEGINS_S]
    lengths = [after - step for step, after in zip(steps, [*steps[1:], DAYS * DAY_S // STEP_S], strict=True)]
    for name in dict.fromkeys(name for night in nights for name in night.metrics):
        values = [f"_x{steps[0]}"]
        for night, length in zip(nights, lengths, strict=True):
            value = night.metrics.get(name)
            values.append(f"_x{length}" if value is None else f"{value:.17g}+0x{length - 1}".replace("nan+0", "NaN+0"))
        yield {"series": name, "values": " ".join(values)}


FIRING_S = {
    ("VeniceBatchMetricsMissing", "critical"): (HOUR_S, BEGINS_S[0]),
    ("VeniceBatchJobsRejected", "warning"): (BEGINS_S[0], BEGINS_S[0] + 12 * HOUR_S),
    ("VeniceBatchNotRunning", "critical"): (BEGINS_S[-1] + 36 * HOUR_S, DAYS * DAY_S),
}
"""When each alert fires, if cron dies after the fourth night; at no other time, and no other alert."""


def firing(time_s):
    """Return the alerts that fire at a time, as promtool wants them; None close to a change."""
    bounds = [bound for pair in FIRING_S.values() for bound in pair]
    if any(abs(time_s - bound) < 4 * STEP_S for bound in bounds):
        return None
    for (name, severity), (since_s, until_s) in FIRING_S.items():
        if since_s <= time_s < until_s:
            folder = "" if name.endswith("Missing") else 'output="output/jobs",'
            labels = f'ALERTS{{alertname="{name}",alertstate="firing",{folder}severity="{severity}"}}'
            return [{"labels": labels, "value": 1}]
    return []


@PROMTOOL
def test_each_alert_fires_exactly_once(nights, tmp_path):
    times = range(0, DAYS * DAY_S, 3 * STEP_S)
    expected = [(time_s, found) for time_s in times if (found := firing(time_s)) is not None]
    checks = [
        {"expr": 'ALERTS{alertstate="firing"}', "eval_time": f"{time_s}s", "exp_samples": found}
        for time_s, found in expected
    ]
    assert len(checks) > 0.95 * len(times)
    nightly = {"interval": "5m", "input_series": list(promtool_series(nights)), "promql_expr_test": checks}
    rules = str(ALERTS / "venice-batch.rules.yml")
    unit_test = {"rule_files": [rules], "evaluation_interval": "5m", "tests": [nightly]}
    (tmp_path / "test.yml").write_text(json.dumps(unit_test))  # JSON is YAML
    promtool("test", "rules", str(tmp_path / "test.yml"))


@PROMTOOL
def test_promtool_accepts_the_rules():
    promtool("check", "rules", str(ALERTS / "venice-batch.rules.yml"))


@PROMTOOL
def test_the_rules_pass_their_own_tests():
    promtool("test", "rules", str(ALERTS / "venice-batch.test.yml"))


def promtool(*words):
    done = subprocess.run(["promtool", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_is_documented_and_no_other():
    named = re.findall(r"^ +- alert: (\w+)$", (ALERTS / "venice-batch.rules.yml").read_text(), re.MULTILINE)
    assert sorted(named) == sorted(set(re.findall(r"`(VeniceBatch\w+)`", (ALERTS.parent / "cron.md").read_text())))


def test_every_metric_is_documented(nights):
    """Those of one line of docs/cron.md may share it."""
    text = (ALERTS.parent / "cron.md").read_text()
    names = {name.partition("{")[0] for name in nights[0].metrics}
    assert {name for name in names if f"`{name}" not in text} == set()
    assert set(re.findall(r"venice_batch_\w+", (ALERTS / "venice-batch.rules.yml").read_text())) <= names
