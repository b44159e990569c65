"""The record that scripts read."""

import msgspec
import orjson
import pytest
from records import failed, job, outcome

from venice_batch.model import Attempt, Endpoint, Job, Outcome, ServerTiming, Status


def test_a_record_has_the_documented_fields():
    record = orjson.loads(msgspec.json.encode(outcome()))
    assert {
        "schema", "run_id", "id", "request_hash", "status", "lane", "files", "request", "metadata", "attempts", "error",
        "flags", "cost_usd", "timing",
    } <= set(record)  # fmt: skip
    assert set(record["files"][0]) == {"path", "bytes", "sha256", "format", "width", "height"}
    assert set(record["attempts"][0]) == {
        "status", "error", "wait_s", "retry_after_s", "ray", "duration_s", "sent_s",
    }  # fmt: skip
    assert set(record["flags"]) == {"blurred", "content_violation", "possibly_billed", "deprecated", "enhanced_prompt"}
    assert set(record["timing"]) == {
        "enqueued_at", "queued_s", "rate_wait_s", "backoff_s", "ttfb_s", "download_s", "write_s", "total_s", "server",
    }  # fmt: skip
    assert (record["schema"], record["status"], record["error"]) == (1, "succeeded", None)


@pytest.mark.parametrize("made", [outcome(), failed(status=Status.REJECTED), outcome(metadata={"a": [1, None, "ä"]})])
def test_a_record_reads_as_it_was_written(made):
    assert msgspec.json.decode(msgspec.json.encode(made), type=Outcome) == made


def test_an_attempt_of_a_record_that_does_not_say_when_it_was_sent_is_kept_as_it_is():
    older = {"status": 200, "error": None, "wait_s": 0.0, "retry_after_s": None, "ray": None, "duration_s": 1.5}
    assert msgspec.to_builtins(msgspec.convert(older, Attempt)) == older


def test_the_servers_timing_keeps_the_servers_names():
    sent = {"inferenceDuration": 1.5, "inferencePreprocessingTime": 2.0, "inferenceQueueTime": 3.0, "total": 6.5}
    timing = msgspec.convert(sent, ServerTiming)
    assert timing == ServerTiming(1.5, 2.0, 3.0, 6.5)
    assert msgspec.to_builtins(timing) == sent


def test_a_failure_tells_its_kind_status_and_message():
    record = orjson.loads(msgspec.json.encode(failed(message="gone")))
    assert record["error"] == {"kind": "server", "status": 500, "message": "gone"}
    assert record["files"] == []


def test_a_jobs_model_is_the_one_of_its_request_or_the_default():
    assert job(model="flux").model == "flux"
    assert Job("a", 1, 0, Endpoint.GENERATIONS, {"prompt": "x"}, "0").model == "default"
