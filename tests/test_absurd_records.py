"""Records from elsewhere with numbers that no run writes: shown and exported, never a traceback."""

import json

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from records import attempt, outcome

from venice_batch.cli.main import main
from venice_batch.model import ServerTiming

pytestmark = pytest.mark.no_cover

NUMBERS = (1e18, 1e308, -1e308, 1e12, -5, 0, 1e-300, 2**63, -(2**70), 10**30)
COMMANDS = (
    ("report", "{}"),
    ("report", "{}", "--json"),
    ("report", "{}", "--by", "model,width,date", "--sort", "-cost"),
    ("report", "{}", "{}", "--by", "date"),
    ("report", "{}", "{}", "--json"),
    ("export", "{}", "--csv", "{}/x.csv", "--openai", "{}/o.jsonl", "--parquet", "{}/p.parquet"),
    ("jobs-from", "{}", "-o", "{}/jobs.jsonl"),
)


def whole():
    """A record in which every number is, as JSON has it."""
    found = json.loads(msgspec.json.encode(outcome("a", cost_usd=0.01, attempts=(attempt(429), attempt()))))
    found["timing"]["server"] = dict.fromkeys(
        msgspec.json.decode(msgspec.json.encode(ServerTiming(1.0, 1.0, 1.0, 2.0))), 1.0
    )
    found["attempts"][0] |= {"wait_s": 1.0, "retry_after_s": 2.0}
    found["files"][0]["bytes"] = 100_000
    return found


def places(value, path=()):
    if isinstance(value, dict | list):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from places(inner, (*path, key))
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield path


def changed(path, number, **also):
    made = whole() | also
    inner = made
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = number
    return made


def say_and_export(root, *found):
    (root / "manifest.jsonl").write_text("".join(json.dumps(one) + "\n" for one in (whole() | {"id": "ok"}, *found)))
    for command in COMMANDS:
        assert main([part.format(root) for part in command]) in (0, 2)


@pytest.mark.parametrize("path", [path for path in places(whole()) if path != ("schema",)], ids=str)
def test_an_absurd_number_anywhere_in_a_record_is_no_traceback(tmp_path, path, capsys):
    found = [changed(path, number, id=f"{name}{number}") for number in (1e308, 1e18, -(2**70)) for name in "ab"]
    say_and_export(tmp_path, *found)
    capsys.readouterr()


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(list(places(whole()))[1:]), st.sampled_from(NUMBERS), st.sampled_from(NUMBERS))
def test_absurd_numbers_together_are_no_traceback(tmp_path, path, one, other):
    say_and_export(tmp_path, changed(path, one), changed(path, other, id="b"))


@pytest.mark.parametrize("at", ["9999-12-31T23:59:59Z", "0001-01-01T00:00:00+14:00", "0001-01-01", "2026-13-01", ""])
def test_an_absurd_time_is_no_traceback(tmp_path, at, capsys):
    record = whole()
    record["timing"]["enqueued_at"] = at
    say_and_export(tmp_path, record)
