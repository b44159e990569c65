import fcntl
import json
import random
import threading
from collections import Counter
from contextlib import asynccontextmanager

import anyio
import anyio.lowlevel
import pytest
from aiohttp import web
from PIL import Image

from venice_batch.api.client import ApiSettings
from venice_batch.api.key import ApiKey
from venice_batch.catalogue import Preflight, snapshot
from venice_batch.errors import FolderError, UsageError
from venice_batch.events import AttemptEnded, JobEnded, Notice, RunEnded, RunStarted, Sending, Stopping
from venice_batch.jobfile import JobIndex, open_source
from venice_batch.output import folder, manifest
from venice_batch.output.images import JobImages
from venice_batch.output.resume import Resume
from venice_batch.pacing.backoff import Backoff
from venice_batch.pacing.limiter import SendingRules
from venice_batch.report.collect import FlaggedJobs
from venice_batch.report.progress import ProgressMeter
from venice_batch.run.retry import AttemptRules
from venice_batch.run.run import rejected_notice, run_batch
from venice_batch.run.settings import RunOptions, RunSettings
from venice_batch.run.stop import Patience
from venice_batch.sandbox import SandboxSettings, serve
from venice_batch.sandbox.listings import rate_limits

PRICES = snapshot().catalogue(0.0)
RECORD_FIELDS = {
    "schema", "run_id", "id", "request_hash", "status", "lane", "files", "endpoint", "request", "metadata", "attempts",
    "error", "flags", "cost_usd", "timing", "index",
}  # fmt: skip


def line(number, **fields):
    return {
        "id": f"j{number}",
        "model": "venice-sd35",
        "prompt": f"prompt {number}",
        "width": 64,
        "height": 64,
        **fields,
    }


class Desk:
    """A jobs file, an output folder and a sandbox."""

    def __init__(self, path, base_url, stats):
        self.jobs = path / "jobs.jsonl"
        self.output = path / "out"
        self.base_url = base_url
        self.stats = stats
        self.events = []

    def write(self, *lines):
        self.jobs.write_text("".join(json.dumps(line) + "\n" for line in lines))

    def records(self):
        return [json.loads(record) for record in (self.output / "manifest.jsonl").read_text().splitlines()]

    def images(self):
        return sorted(path.name for path in (self.output / "images").iterdir())

    async def run(self, *, key="key", url=None, observe=None, collectors=(), **settings):
        self.events = []
        options = {
            "output": self.output,
            "api": ApiSettings(base_url=url or self.base_url, timeout_s=20),
            "attempts": AttemptRules(backoff=Backoff(base_s=0.01, cap_s=0.02)),
            "sending": SendingRules(concurrency=8, errors=None),
            **{name: value for name, value in settings.items() if name not in RunOptions.__dataclass_fields__},
        }
        chosen = {name: value for name, value in settings.items() if name in RunOptions.__dataclass_fields__}
        observers = [self.events.append, *([observe] if observe else [])]
        with open_source(self.jobs) as source:
            index = JobIndex.build(source, examine=settings["preflight"].examine if "preflight" in settings else None)
            return await run_batch(
                index,
                ApiKey(key),
                RunSettings(options=RunOptions(**chosen), **options),
                observers=observers,
                collectors=collectors,
                rng=random.Random(1),
            )


@asynccontextmanager
async def desk(path, **sandbox):
    settings = SandboxSettings(**{"rpm": 0, "latency_s": 0, "draw": "plain", "failure_limit": 0, **sandbox})
    async with serve(settings) as server:
        yield Desk(path, server.base_url, server.stats)


async def test_every_job_has_whole_images_and_one_full_record(tmp_path):
    async with desk(tmp_path) as at:
        at.write(
            line(1, metadata={"tag": 7}),
            line(2, variants=3, format="png"),
            line(3, format="jpeg", return_binary=False),
            {
                "id": "o",
                "endpoint": "/images/generations",
                "model": "qwen-image-2",
                "prompt": "x",
                "response_format": "url",
            },
        )
        summary = await at.run()
    assert (summary.exit_code, summary.succeeded, summary.images, summary.pending) == (0, 4, 6, 0)
    assert at.images() == ["j1.webp", "j2-1.png", "j2-2.png", "j2-3.png", "j3.jpg", "o.png"]
    records = {record["id"]: record for record in at.records()}
    assert len(at.records()) == 4
    for record in records.values():
        assert set(record) == RECORD_FIELDS | {"sandbox"}
        for file in record["files"]:
            with Image.open(at.output / file["path"]) as image:
                image.load()
                assert image.size == (file["width"], file["height"])
                assert image.format.lower() == file["format"]
    assert records["j1"]["metadata"] == {"tag": 7}
    assert records["j1"]["request"]["return_binary"] is True
    assert records["j3"]["timing"]["server"]["total"] >= 0
    assert records["j1"]["timing"]["server"] is None
    assert [type(event) for event in at.events if isinstance(event, RunStarted | RunEnded)] == [RunStarted, RunEnded]
    assert json.loads((at.output / "summary.json").read_text())["succeeded"] == 4


async def test_a_second_run_sends_nothing(tmp_path):
    async with desk(tmp_path) as at:
        at.write(line(1), line(2))
        await at.run()
        before = at.stats()
        summary = await at.run()
        after = at.stats()
    assert (summary.exit_code, summary.already_done, summary.succeeded, summary.attempts) == (0, 2, 0, 0)
    assert after == before


async def test_a_moved_line_does_not_run_again_and_a_changed_one_does(tmp_path):
    async with desk(tmp_path) as at:
        at.write(line(1), line(2), line(3))
        await at.run()
        at.write(line(3), line(1), line(2, prompt="changed"))
        summary = await at.run()
    assert (summary.already_done, summary.succeeded) == (2, 1)
    assert at.images() == ["j1.webp", "j2.webp", "j3.webp"]
    assert at.records()[-1]["request"]["prompt"] == "changed"


async def test_a_lost_image_is_made_again(tmp_path):
    async with desk(tmp_path) as at:
        at.write(line(1), line(2))
        await at.run()
        (at.output / "images" / "j1.webp").unlink()
        summary = await at.run()
    assert (summary.already_done, summary.succeeded) == (1, 1)
    assert any(isinstance(event, Notice) and "lost a file" in event.text for event in at.events)


async def test_what_was_rejected_is_asked_again_only_on_demand(tmp_path):
    async with desk(tmp_path) as at:
        at.write(line(1), line(2, prompt="forbidden"))
        first = await at.run()
        second = await at.run()
        third = await at.run(retry_rejected=True)
    assert (first.exit_code, first.rejected) == (1, 1)
    assert first.errors == {"content_policy": 1}
    assert (second.exit_code, second.attempts, second.already_rejected) == (1, 0, 1)
    assert (third.attempts, third.rejected) == (1, 1)


def notices(at):
    return [event.text for event in at.events if isinstance(event, Notice)]


@pytest.mark.parametrize(("known_rejected", "code"), [("fail", 1), ("ok", 0)])
async def test_known_rejections_are_one_notice_and_fail_a_run_unless_they_are_ok(tmp_path, known_rejected, code):
    async with desk(tmp_path) as at:
        at.write(line(1), line(2, prompt="forbidden"))
        assert (await at.run(known_rejected=known_rejected)).exit_code == 1
        assert notices(at) == []
        at.write(line(1), line(2, prompt="forbidden"), line(3))
        again = await at.run(known_rejected=known_rejected)
    assert (again.exit_code, again.succeeded, again.already_rejected) == (code, 1, 1)
    advice = "; --known-rejected ok accepts it" if code else ""
    assert notices(at) == [f"1 job rejected in an earlier run (j2): change it or use --retry-rejected{advice}"]


@pytest.mark.parametrize("again", ["changed", "sent again", "failed"])
async def test_only_jobs_that_are_still_rejected_are_known_rejections(tmp_path, again):
    schedule = {2: "500"} if again == "failed" else {}
    async with desk(tmp_path, fault_schedule=schedule) as at:
        at.write(line(1, prompt="forbidden"))
        await at.run()
        at.write(line(1, prompt="forbidden, too" if again == "changed" else "forbidden"))
        changes = {"retry_rejected": True, "attempts": AttemptRules(max_attempts=1)}
        summary = await at.run(known_rejected="ok", **({} if again == "changed" else changes))
    assert (summary.exit_code, summary.already_rejected) == (1, 0)
    assert notices(at) == []


async def test_a_run_that_was_stopped_gives_that_reason_only(tmp_path):
    async with desk(tmp_path) as at:
        at.write(line(1, prompt="forbidden"))
        await at.run()
        at.write(line(1, prompt="forbidden"), line(2))
        summary = await at.run(known_rejected="ok", max_time_s=1e-6)
    assert (summary.exit_code, summary.already_rejected, summary.pending) == (75, 1, 1)
    assert notices(at) == []


def test_the_notice_about_many_known_rejections_names_a_few():
    text = rejected_notice(7, ["a", "b"], is_ok=True)
    assert text == "7 jobs rejected in an earlier run (a, b, …): change them or use --retry-rejected"


async def test_what_failed_is_tried_in_the_next_run(tmp_path):
    async with desk(tmp_path, fault_schedule={1: "500", 2: "500"}) as at:
        at.write(line(1))
        first = await at.run(attempts=AttemptRules(max_attempts=2, backoff=Backoff(0.01, 0.01)))
        second = await at.run()
    assert (first.exit_code, first.failed) == (1, 1)
    assert (second.exit_code, second.succeeded) == (0, 1)


@pytest.mark.parametrize(
    "fault",
    ["500", "503", "522", "reset-before", "reset-mid", "short-body", "html", "empty", "no-images",
     "bad-base64", "truncated-json"],
)  # fmt: skip
async def test_each_passing_fault_ends_in_a_whole_image_and_no_litter(tmp_path, fault):
    async with desk(tmp_path, fault_schedule={1: fault}) as at:
        at.write(line(1, return_binary=False))
        summary = await at.run()
    assert (summary.exit_code, summary.succeeded, summary.attempts) == (0, 1, 2)
    assert at.images() == ["j1.webp"]
    assert len(at.records()) == 1


@pytest.mark.parametrize("binary", [True, False])
async def test_a_whole_answer_that_is_no_known_image_is_kept_and_not_bought_again(tmp_path, binary):
    async with desk(tmp_path, fault_schedule={1: "garbage", 3: "garbage"}) as at:
        at.write(line(1, return_binary=binary), line(2))
        first = await at.run(catalogue=PRICES)
        second = await at.run(catalogue=PRICES)
    assert (first.exit_code, first.succeeded, first.failed, first.attempts) == (1, 1, 1, 2)
    assert first.errors == {"unrecognised": 1}
    assert (second.exit_code, second.succeeded, second.attempts) == (1, 0, 1)
    assert at.images() == ["j2.webp"]
    kept = [record for record in at.records() if record["id"] == "j1"]
    assert [record["unrecognised"] for record in kept] == [["unrecognised/j1.bin"], ["unrecognised/j1~1.bin"]]
    for record in kept:
        assert (record["status"], record["files"], record["error"]["kind"]) == ("failed", [], "unrecognised")
        assert record["flags"]["possibly_billed"]
        assert (record["cost_usd"], record["at_most_usd"]) == (None, 0.01)
        (path,) = record["unrecognised"]
        assert (tmp_path / "out" / path).stat().st_size == 4096


@pytest.mark.parametrize(
    ("sandbox", "key", "code", "words"),
    [
        ({}, "invalid", 3, "refused the key"),
        ({"balance_usd": 0.015}, "key", 4, "out of money"),
    ],
)
async def test_what_ends_a_run_leaves_the_rest_pending(tmp_path, sandbox, key, code, words):
    async with desk(tmp_path, **sandbox) as at:
        at.write(*(line(number) for number in range(5)))
        summary = await at.run(key=key, sending=SendingRules(concurrency=1))
    assert summary.exit_code == code
    assert words in summary.reason
    assert summary.pending >= 4
    assert summary.pending + summary.succeeded == 5


@pytest.mark.parametrize("concurrency", [1, 32])
async def test_a_balance_that_runs_out_stops_the_run_before_any_refusal_and_a_top_up_finishes_it(tmp_path, concurrency):
    sending = SendingRules(concurrency=concurrency, errors=None)
    async with desk(tmp_path, balance_usd=0.404, latency_s=0.01) as at:
        at.write(*(line(number) for number in range(70)))
        first = await at.run(sending=sending, catalogue=PRICES)
        stats = at.stats()
    assert (first.exit_code, first.succeeded, first.failed, first.pending) == (4, 40, 0, 30)
    assert first.reason == (
        "the balance of 0.004 USD is below the 0.01 USD of the next job; top up, then run the same command again"
    )
    assert (stats["requests"], stats["failed"], stats["charged_usd"]) == (40, 0, first.cost_usd)
    assert [event.in_flight for event in at.events if isinstance(event, Stopping)] == [0]
    async with desk(tmp_path) as at:
        second = await at.run(sending=sending, catalogue=PRICES)
        assert at.stats()["requests"] == 30
    assert (second.exit_code, second.already_done, second.succeeded) == (0, 40, 30)
    assert len(at.images()) == 70


@pytest.mark.parametrize("balance_usd", [0.0, 0.005])
async def test_a_key_listed_without_access_sends_one_request_and_stops_at_its_refusal(
    tmp_path, monkeypatch, balance_usd
):
    monkeypatch.setattr("venice_batch.sandbox.listings.rate_limits", without_access)
    async with desk(tmp_path, balance_usd=balance_usd) as at:
        at.write(*(line(number) for number in range(70)))
        summary = await at.run(catalogue=PRICES)
        stats = at.stats()
    assert (summary.exit_code, summary.pending, stats["requests"]) == (4, 70, 1)
    notices = [event.text for event in at.events if isinstance(event, Notice)]
    assert [text for text in notices if "accessPermitted is false" in text] != []


async def test_a_key_wrongly_listed_without_access_is_used_once_an_image_has_come(tmp_path, monkeypatch):
    monkeypatch.setattr("venice_batch.sandbox.listings.rate_limits", without_access)
    async with desk(tmp_path) as at:
        at.write(*(line(number) for number in range(20)))
        summary = await at.run(catalogue=PRICES)
    assert (summary.exit_code, summary.succeeded) == (0, 20)


def without_access(settings, model_ids, spendable, now):
    listed = rate_limits(settings, model_ids, spendable, now)
    return {"data": {**listed["data"], "accessPermitted": False}}


def small_disk(at, monkeypatch, size_bytes):
    """Have the disk say that it has this size; it is not full itself."""
    monkeypatch.setattr("venice_batch.run.stop.LOOK_EVERY_S", 0.02)
    monkeypatch.setattr("venice_batch.run.stop.KEPT_FREE_BYTES", 0)
    monkeypatch.setattr("venice_batch.run.stop.UNKNOWN_BYTES", 1000)

    def free_bytes(root):
        return size_bytes - sum(image.stat().st_size for image in (root / "images").glob("[!.]*"))

    monkeypatch.setattr(folder, "free_bytes", free_bytes)


async def test_a_disk_almost_full_stops_the_run_before_an_image_is_lost(tmp_path, monkeypatch):
    async with desk(tmp_path, latency_s=0.05) as at:
        small_disk(at, monkeypatch, 10_000)
        at.write(*(line(number) for number in range(400)))
        summary = await at.run()
        assert at.stats()["images"] == summary.succeeded == len(at.images())
        assert 0 < summary.succeeded < 400
        assert (summary.exit_code, summary.pending) == (5, 400 - summary.succeeded)
        assert "the disk is almost full" in summary.reason
        assert sum(image.stat().st_size for image in (at.output / "images").iterdir()) <= 10_000
        # What is left may do for a few more, one at a time; then nothing is asked for, however often it is tried.
        for _ in range(3):
            summary = await at.run()
            assert summary.exit_code == 5
            assert at.stats()["images"] == len(at.images())
        before = at.stats()["requests"]
        summary = await at.run()
        assert at.stats()["requests"] == before
        assert "an image may take" in summary.reason


async def test_little_room_lets_few_be_under_way_at_a_time(tmp_path, monkeypatch):
    async with desk(tmp_path, latency_s=0.02) as at:
        small_disk(at, monkeypatch, 100_000)
        monkeypatch.setattr("venice_batch.run.stop.UNKNOWN_BYTES", 50_000)
        at.write(*(line(number) for number in range(8)))
        summary = await at.run()
        assert (summary.succeeded, at.stats()["max_in_flight"]) == (8, 2)
    assert "at most 2 requests at a time" in next(event.text for event in at.events if isinstance(event, Notice))


@pytest.mark.no_cover
@pytest.mark.parametrize("name", [".lock", "manifest.jsonl"])
@pytest.mark.parametrize("harm", ["moved", "removed"])
async def test_a_run_that_loses_its_lock_or_manifest_stops_and_keeps_its_records(tmp_path, monkeypatch, name, harm):
    monkeypatch.setattr("venice_batch.run.stop.LOOK_EVERY_S", 0.02)
    async with desk(tmp_path, latency_s=0.05) as at:
        at.write(*(line(number) for number in range(200)))
        ended = []

        def lose(event):
            ended.extend([event] if isinstance(event, JobEnded) else [])
            if len(ended) == 3 and isinstance(event, JobEnded):
                path = at.output / name
                path.rename(at.output / "other") if harm == "moved" else path.unlink()

        summary = await at.run(observe=lose)
        assert summary.exit_code == 5
        assert 3 < summary.succeeded < 200
        assert "during the run" in summary.reason
        assert len(at.records()) == summary.succeeded == at.stats()["images"]
        summary = await at.run()
        assert (summary.exit_code, at.stats()["images"]) == (0, 200)


async def test_a_manifest_that_is_moved_at_the_very_end_is_told(tmp_path):
    async with desk(tmp_path) as at:
        at.write(line(1))

        def lose(event):
            if isinstance(event, JobEnded):
                (at.output / "manifest.jsonl").rename(at.output / "other")

        summary = await at.run(observe=lose)
        assert summary.exit_code == 5
        assert "written anew" in summary.reason
        assert len(at.records()) == 1


async def test_without_locks_a_run_says_so_and_goes_on(tmp_path, monkeypatch):
    def flock(file, operation):
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", flock)
    async with desk(tmp_path) as at:
        at.write(line(1))
        assert (await at.run()).exit_code == 0
    assert "no locks" in next(event.text for event in at.events if isinstance(event, Notice))
    assert not (at.output / ".lock-held").exists()


@pytest.mark.parametrize("stalled", [JobImages, manifest.Manifest])
async def test_a_disk_that_does_not_answer_does_not_outlive_the_grace(tmp_path, monkeypatch, stalled):
    going = threading.Event()
    monkeypatch.setattr("venice_batch.run.sending.DISK_S", 0.05)
    monkeypatch.setattr(stalled, "_write", lambda *_: going.wait(30))
    async with desk(tmp_path) as at:
        at.write(*(line(number) for number in range(20)))
        collector = FlaggedJobs({"blurred"})
        summary = await at.run(max_time_s=0.5, grace_s=0.05, collectors=[collector])
        asked = at.stats()["images"]
    going.set()
    assert str(collector.error) == f"{at.output}: the disk does not answer"
    assert (summary.exit_code, summary.succeeded) == (75, 0)
    assert summary.attempts == asked > 0
    if stalled is JobImages:
        assert summary.possibly_billed == asked
    assert "the disk does not answer" in [event.text for event in at.events if isinstance(event, Notice)][-1]
    assert not (at.output / "summary.json").exists()


async def test_an_api_that_nobody_serves_ends_with_75_and_everything_pending(tmp_path):
    async with desk(tmp_path) as at:
        at.write(line(1))
    summary = await at.run(patience=Patience(first_s=0.0))
    assert summary.exit_code == 75
    assert "cannot be reached" in summary.reason
    assert summary.pending == 1


async def test_a_deadline_ends_with_75(tmp_path):
    async with desk(tmp_path, rpm=1) as at:
        at.write(line(1), line(2))
        summary = await at.run(max_time_s=30)
    assert summary.exit_code == 75
    assert (summary.succeeded, summary.pending) == (1, 1)
    assert "--max-time" in summary.reason
    assert summary.elapsed_s < 10


async def test_the_listed_quota_is_kept_without_a_refusal(tmp_path):
    async with desk(tmp_path, rpm=5, speed=100) as at:
        at.write(*(line(number) for number in range(12)))
        rules = SendingRules(concurrency=8, minute_s=0.6, errors=None)
        summary = await at.run(sending=rules)
        stats = at.stats()
    assert summary.succeeded == 12
    assert stats["refused"] == 0


async def test_a_folder_in_use_is_refused(tmp_path):
    async with desk(tmp_path) as at:
        at.write(line(1))
        with folder.hold(at.output), pytest.raises(FolderError, match="another run"):
            await at.run()


async def test_cancelling_loses_no_record_and_leaves_no_litter(tmp_path):
    async with desk(tmp_path, latency_s=0.02) as at:
        at.write(*(line(number) for number in range(200)))
        ended = []
        with anyio.CancelScope() as scope:

            def cancel_after_ten(event):
                ended.append(event)
                if sum(isinstance(one, JobEnded) for one in ended) == 10:
                    scope.cancel()

            await at.run(observe=cancel_after_ten)
        recorded = {record["id"] for record in at.records()}
        assert len(recorded) >= 10
        assert not [name for name in at.images() if name.endswith(".part")]
        summary = await at.run()
    assert summary.already_done == len(recorded)
    assert summary.succeeded == 200 - len(recorded)


async def test_the_key_is_in_no_file(tmp_path):
    async with desk(tmp_path, fault_schedule={2: "500"}) as at:
        at.write(line(1), line(2), line(3, prompt="forbidden"))
        await at.run(key="sk-very-secret")
    for path in at.output.rglob("*"):
        if path.is_file():
            assert b"sk-very-secret" not in path.read_bytes()


async def test_moderation_and_deprecation_are_flagged(tmp_path):
    async with desk(tmp_path, deprecated={"venice-sd35": "qwen-image-2"}) as at:
        at.write(line(1, prompt="nsfw"), line(2, prompt="violation"))
        summary = await at.run()
    flags = {record["id"]: record["flags"] for record in at.records()}
    assert flags["j1"]["blurred"]
    assert flags["j2"]["content_violation"]
    assert "qwen-image-2" in flags["j1"]["deprecated"]
    assert (summary.blurred, summary.content_violations) == (1, 1)


@pytest.mark.parametrize(
    ("fault", "status", "timeout_s"),
    [("gzip-bomb", 200, 60.0), ("endless", 200, 60.0), ("stall", 200, 2.0), ("522", 522, 60.0)],
)
async def test_a_hostile_body_is_cut_off_and_the_job_tried_again(tmp_path, fault, status, timeout_s):
    async with desk(tmp_path, fault_schedule={1: fault}) as at:
        at.write(line(1, return_binary=False))
        url = ApiSettings(base_url=at.base_url, timeout_s=timeout_s, max_image_bytes=2_000_000)
        summary = await at.run(api=url)
    (record,) = at.records()
    assert (summary.exit_code, summary.attempts) == (0, 2)
    assert record["attempts"][0]["status"] == status
    assert at.images() == ["j1.webp"]


async def test_a_slow_body_is_waited_for(tmp_path):
    async with desk(tmp_path, fault_schedule={1: "slow"}, stall_s=0.3) as at:
        at.write(line(1, return_binary=False))
        summary = await at.run()
    assert (summary.exit_code, summary.attempts) == (0, 1)


async def test_a_redirect_stops_the_run_and_is_not_followed(tmp_path):
    async with desk(tmp_path, fault_schedule={1: "redirect"}) as at:
        at.write(line(1))
        summary = await at.run()
    assert (summary.exit_code, summary.pending) == (75, 1)
    assert "is --base-url right?" in summary.reason


async def test_what_the_sandbox_made_is_not_taken_for_the_real_thing(tmp_path):
    async with desk(tmp_path) as at:
        at.write(line(1), line(2, prompt="forbidden"))
        await at.run()
    with open_source(at.jobs) as source:
        index = JobIndex.build(source)
        again, real = Resume(index, at.output), Resume(index, at.output, sandbox=False)
    assert (again.done, again.rejected) == (1, 1)
    assert (real.done, real.rejected) == (0, 0)
    assert real.notices == ("2 jobs done by the sandbox only: pending again",)
    assert not RunSettings(output=at.output).may_be_sandbox


async def test_a_record_is_the_same_job_as_its_line(tmp_path):
    async with desk(tmp_path) as at:
        at.write(line(1), line(2, variants=1))
        await at.run()
        at.jobs.write_bytes((at.output / "manifest.jsonl").read_bytes())
        summary = await at.run()
    assert (summary.already_done, summary.attempts) == (2, 0)


async def test_a_listing_that_never_comes_does_not_keep_a_run_from_stopping(tmp_path):
    async def silent(stream):
        async with stream:
            await anyio.sleep_forever()

    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    port = listener.extra(anyio.abc.SocketAttribute.local_port)
    async with desk(tmp_path) as at, listener, anyio.create_task_group() as group:
        at.write(line(1))
        group.start_soon(listener.serve, silent)
        summary = await at.run(url=f"http://127.0.0.1:{port}", max_time_s=0.2, grace_s=0.1)
        group.cancel_scope.cancel()
    assert (summary.exit_code, summary.pending) == (75, 1)
    assert summary.elapsed_s < 5


async def test_a_deadline_that_keeps_nothing_from_being_done_is_none(tmp_path):
    async with desk(tmp_path, latency_s=1.2, latency_jitter=0) as at:
        at.write(line(1))
        summary = await at.run(max_time_s=0.6)
    assert (summary.exit_code, summary.succeeded, summary.reason) == (0, 1, None)


async def test_what_was_under_way_when_all_stopped_is_counted_as_possibly_billed(tmp_path):
    async with desk(tmp_path, fault_schedule={1: "stall"}, stall_s=60) as at:
        at.write(line(1))
        summary = await at.run(max_time_s=0.3, grace_s=0.1)
    assert (summary.exit_code, summary.pending, summary.possibly_billed) == (75, 1, 1)


async def test_a_summary_that_cannot_be_written_does_not_hide_the_run(tmp_path):
    async with desk(tmp_path) as at:
        at.write(line(1))
        (at.output / "summary.json").mkdir(parents=True)
        summary = await at.run()
    assert (summary.exit_code, summary.succeeded) == (5, 1)
    (notice,) = (event.text for event in at.events if isinstance(event, Notice))
    assert "summary.json" in notice


@pytest.mark.parametrize(
    "settings",
    [{"max_time_s": 0}, {"max_time_s": float("nan")}, {"max_failures": 0}, {"max_cost_usd": float("inf")}],
)
def test_options_that_make_no_sense_are_refused(settings):
    with pytest.raises(UsageError):
        RunOptions(**settings)


@pytest.mark.no_cover
async def test_a_storm_of_faults_ends_with_every_image_whole_and_every_slot_given_back(tmp_path):
    kinds = ("500", "503", "reset-before", "reset-mid", "short-body", "html", "empty", "bad-base64")
    async with desk(tmp_path, fault_rate=0.3, fault_kinds=kinds) as at:
        at.write(*(line(number, return_binary=number % 2 == 0) for number in range(120)))
        summary = await at.run(
            attempts=AttemptRules(max_attempts=12, max_paid_attempts=12, backoff=Backoff(0.001, 0.002))
        )
        assert at.stats()["in_flight"] == 0
    assert (summary.exit_code, summary.succeeded) == (0, 120)
    assert summary.attempts > 130
    assert len(at.images()) == 120


async def test_a_display_is_told_what_is_left_and_may_look_at_any_time(tmp_path):
    states = []

    def look(event):
        if isinstance(event, Sending):
            look.state = event.state
        if isinstance(event, AttemptEnded | JobEnded):
            states.append(look.state())

    async with desk(tmp_path, rpm=20, rate_limits_endpoint="ok") as at:
        at.write(line(1), line(2), line(3, model="qwen-image-2"))
        await at.run(observe=look, catalogue=PRICES)
    started = at.events[0]
    assert (started.pending, started.expected_usd) == ({"venice-sd35": 2, "qwen-image-2": 1}, None)
    assert {lane.name for lane in states[-1].lanes} == {"venice-sd35", "qwen-image-2"}
    assert all(lane.window_limit == 20 and lane.in_flight == 0 for lane in states[-1].lanes)
    assert max(lane.in_flight for state in states for lane in state.lanes) >= 1
    assert (states[-1].concurrency, states[-1].held_s) == (8, 0.0)
    assert states[-1].spent_usd > states[0].spent_usd


async def test_what_is_left_is_priced_before_it_is_sent(tmp_path):
    async with desk(tmp_path) as at:
        at.write(line(1))
        await at.run()
        at.write(line(1), line(2), line(3, variants=2), line(4, model="nobody-knows"))
        preflight = Preflight(PRICES, allow_unknown=True)
        await at.run(preflight=preflight, catalogue=PRICES)
    one_usd = preflight.bills()[0][0].micro_usd / 1e6
    assert at.events[0].expected_usd == pytest.approx(3 * one_usd)
    assert at.events[0].pending == {"venice-sd35": 2, "nobody-knows": 1}


async def test_what_each_model_cost_adds_up_to_what_the_run_has_spent_whatever_was_cut_off(tmp_path):
    meter = ProgressMeter(lambda: 0.0)
    async with desk(tmp_path, fault_schedule={2: "short-body", 5: "empty"}) as at:
        at.write(*(line(number, model="z-image-turbo" if number % 2 else "venice-sd35") for number in range(6)))
        summary = await at.run(observe=meter, catalogue=PRICES, preflight=Preflight(PRICES))
    assert (summary.succeeded, summary.possibly_billed) == (6, 2)
    by_lane = sum(lane.cost_usd for lane in summary.lanes.values())
    assert by_lane == pytest.approx(summary.cost_usd)
    progress = meter.progress()
    assert progress.spent_usd == summary.cost_usd > progress.expected_usd
    assert progress.spent_usd - progress.possibly_billed_usd == pytest.approx(progress.expected_usd)


PNG = b"\x89PNG\r\n\x1a\n" + bytes.fromhex("0000000d49484452000000010000000108000000003a7e9b55")
PNG += bytes.fromhex("0000000a49444154789c6360000000020001e221bc330000000049454e44ae426082")
BLOCKED = "<!DOCTYPE html><html><head><title>Attention Required! | Cloudflare</title></head></html>"


class Gateway:
    """A server whose generations go through `intervene`, which may answer in the API's stead.

    It is given a prompt and how often that was asked for, and returns a response or None. `listing` answers any GET.
    """

    def __init__(self, intervene, *, listing=None):
        self.intervene = intervene
        self.listing = listing or (lambda: web.json_response({"error": "not found"}, status=404))
        self.asked = Counter()

    async def answer(self, request):
        if request.method == "GET":
            return self.listing()
        prompt = (await request.json())["prompt"]
        self.asked[prompt] += 1
        await anyio.lowlevel.checkpoint()
        return self.intervene(prompt, self.asked[prompt]) or web.Response(body=PNG, content_type="image/png")


@asynccontextmanager
async def behind(path, gateway):
    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", gateway.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield Desk(path, f"http://127.0.0.1:{site._server.sockets[0].getsockname()[1]}/v1", None)
    finally:
        await runner.cleanup()


def one_at_a_time_or_many(test):
    return pytest.mark.parametrize("concurrency", [1, 16])(test)


def rules(concurrency):
    return {"sending": SendingRules(concurrency=concurrency, errors=None)}


PAGES = {
    "403 by Cloudflare": lambda: web.Response(
        status=403, text=BLOCKED, content_type="text/html", headers={"CF-RAY": "8f-FRA"}
    ),
    "404 by a router": lambda: web.Response(status=404, text="default backend - 404"),
    "401 by a gateway": lambda: web.Response(
        status=401, text="<html><title>401 Authorization Required</title>", content_type="text/html"
    ),
    "405 by a proxy": lambda: web.Response(status=405, text=""),
    "407 by a proxy": lambda: web.Response(status=407, text="Proxy Authentication Required"),
    "JSON of another shape": lambda: web.json_response({"message": "Forbidden"}, status=403),
}


ONE_PAGE, *OTHERS = PAGES
BLOCKING = [(ONE_PAGE, 1), (ONE_PAGE, 20), (ONE_PAGE, 40), *((page, 20) for page in OTHERS)]


@pytest.mark.no_cover
@one_at_a_time_or_many
@pytest.mark.parametrize(("page", "bad"), BLOCKING)
async def test_a_prompt_that_a_firewall_blocks_fails_alone_in_every_run(tmp_path, concurrency, page, bad):
    gateway = Gateway(lambda prompt, times: PAGES[page]() if prompt == f"prompt {bad}" else None)
    async with behind(tmp_path, gateway) as at:
        at.write(*(line(number) for number in range(1, 41)))
        first = await at.run(**rules(concurrency))
        again = await at.run(**rules(concurrency))
    assert (first.exit_code, first.succeeded, first.failed, first.pending) == (1, 39, 1, 0)
    assert (again.exit_code, again.already_done, again.failed, again.pending) == (1, 39, 1, 0)
    record = at.records()[-1]
    assert (record["id"], record["status"], record["error"]["kind"]) == (f"j{bad}", "failed", "not_the_api")
    assert gateway.asked.pop(f"prompt {bad}") == 4
    assert set(gateway.asked.values()) == {1}


@one_at_a_time_or_many
@pytest.mark.parametrize("page", PAGES.values(), ids=PAGES)
async def test_pages_that_pass_cost_no_job_its_image(tmp_path, concurrency, page):
    gateway = Gateway(lambda prompt, times: page() if prompt.endswith("7") and times == 1 else None)
    async with behind(tmp_path, gateway) as at:
        at.write(*(line(number) for number in range(1, 41)))
        summary = await at.run(**rules(concurrency))
    assert (summary.exit_code, summary.succeeded, summary.attempts) == (0, 40, 44)


@one_at_a_time_or_many
@pytest.mark.parametrize("page", PAGES.values(), ids=PAGES)
async def test_pages_for_everything_stop_the_run_soon_and_the_next_goes_on(tmp_path, concurrency, page):
    made = 0

    def intervene(prompt, times):
        nonlocal made
        made += 1
        return page() if made > 10 and not over else None

    over = False
    gateway = Gateway(intervene)
    async with behind(tmp_path, gateway) as at:
        at.write(*(line(number) for number in range(1, 61)))
        # At 16 nobody gets to a second try, at 1 two jobs are all that can wait for one.
        wait_s = 0.01 if concurrency == 1 else 30_000.0
        first = await at.run(**rules(concurrency), attempts=AttemptRules(backoff=Backoff(wait_s, wait_s)))
        over = True
        again = await at.run(**rules(concurrency))
    assert (first.exit_code, first.succeeded, first.rejected) == (75, 10, 0)
    assert first.failed <= (2 if concurrency == 1 else 0)
    assert "on the way" in first.reason
    assert (again.exit_code, again.already_done, again.succeeded) == (0, 10, 50)


@pytest.mark.parametrize(("name", "code"), [("403 by Cloudflare", 3), ("404 by a router", 75), ("407 by a proxy", 75)])
async def test_a_page_at_an_address_that_never_worked_is_told_at_once(tmp_path, name, code):
    page = PAGES[name]
    gateway = Gateway(lambda prompt, times: page(), listing=page)
    async with behind(tmp_path, gateway) as at:
        at.write(line(1), line(2))
        summary = await at.run(**rules(1))
    assert (summary.exit_code, summary.pending, summary.attempts) == (code, 2, 1)
    assert "is --base-url right?" in summary.reason


@one_at_a_time_or_many
async def test_a_key_that_is_revoked_in_mid_run_stops_it(tmp_path, concurrency):
    served = 0

    def intervene(prompt, times):
        nonlocal served
        served += 1
        return web.json_response({"error": "Authentication failed"}, status=401) if served > 10 else None

    gateway = Gateway(intervene)
    async with behind(tmp_path, gateway) as at:
        at.write(*(line(number) for number in range(1, 61)))
        summary = await at.run(**rules(concurrency))
    assert (summary.exit_code, summary.succeeded, summary.pending) == (3, 10, 50)
    assert summary.reason == "the API refused the key: Authentication failed"


@one_at_a_time_or_many
async def test_a_401_of_a_restarting_service_is_waited_out(tmp_path, concurrency):
    refused = 0

    def intervene(prompt, times):
        nonlocal refused
        # More requests lie between two refusals than are under way at a time, so an image has come in between.
        if prompt.endswith(("20", "40", "60")) and times == 1:
            refused += 1
            return web.json_response({"error": "Authentication failed"}, status=401)
        return None

    async with behind(tmp_path, Gateway(intervene)) as at:
        at.write(*(line(number) for number in range(1, 61)))
        summary = await at.run(**rules(concurrency))
    assert (summary.exit_code, summary.succeeded, summary.attempts) == (0, 60, 60 + refused)
    assert refused == 3


async def test_an_account_without_quota_ends_the_run_as_one_without_money(tmp_path):
    quota = {"message": "You exceeded your current quota.", "type": "insufficient_quota", "code": "insufficient_quota"}
    gateway = Gateway(lambda prompt, times: web.json_response({"error": quota}, status=429))
    async with behind(tmp_path, gateway) as at:
        at.write(line(1), line(2))
        summary = await at.run(**rules(1))
    assert (summary.exit_code, summary.pending, summary.attempts) == (4, 2, 1)
    assert "insufficient_quota" in summary.reason
