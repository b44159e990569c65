"""Chains in a run: random graphs with kills between, on a true index, folder and manifest, with a fake API."""

import hashlib
import json
import random
from collections import Counter
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import anyio
from fakes import FakeClock
from hypothesis import given, settings
from hypothesis import strategies as st

from venice_batch.api.answers import Answer, Reply
from venice_batch.api.responses import AnswerHeaders
from venice_batch.events import JobKept
from venice_batch.jobfile import JobIndex, open_source
from venice_batch.model import ImageFile, Parent, Status
from venice_batch.output.manifest import Manifest, numbered_outcomes
from venice_batch.output.marks import Mark, MarksFile
from venice_batch.output.resume import Resume
from venice_batch.pacing.limiter import RateLimiter, SendingRules
from venice_batch.run.attempts import JobRunner
from venice_batch.run.chains import ChainedJobs, stop_reason
from venice_batch.run.retry import AttemptRules
from venice_batch.run.slots import Slots
from venice_batch.run.spending import Spending, SpendingGuard
from venice_batch.run.stop import Connectivity, Patience, StopSignal
from venice_batch.run.workers import Pool


def is_made(picture):
    return hashlib.sha256(Path(picture["path"]).read_bytes()).hexdigest() == picture["sha256"]


class Api:
    """Makes an image of each request that depends on the request alone, and checks the pictures that come with it."""

    def __init__(self, root):
        self.root = root
        self.sent = Counter()
        self.under_way = set()
        self.fails = {}
        self.kill_at = None
        self.seed = 0
        self.clock = None
        self.scope = None

    async def fetch(self, job, body, sent=None):
        given = body.get("images", [body["image"]] if "image" in body else [])
        for picture in given:
            assert is_made(picture), f"{job.id} goes before its parent"
        self.sent[job.id] += 1
        self.under_way.add(job.id)
        sent_s = self.clock.now()
        if self.kill_at is not None:
            self.kill_at -= 1
            if self.kill_at < 0:
                self.scope.cancel()
        await self.clock.wait(anyio.Event(), 1.0)
        self.under_way.discard(job.id)
        status = self.fails.get(job.id, 200)
        answer = Answer(status, AnswerHeaders(), "" if status == 200 else "no", sent_s, self.clock.now(), None)
        if status != 200:
            return Reply(answer)
        files = []
        for number in range(1, body.get("variants", 1) + 1):
            content = json.dumps([self.seed, job.id, sorted(body.items(), key=str), number]).encode()
            name = f"images/{job.id}-{number}.png"
            (self.root / "images").mkdir(exist_ok=True)
            (self.root / name).write_bytes(content)
            files.append(ImageFile(name, len(content), hashlib.sha256(content).hexdigest(), "png", 1, 1))
        return Reply(answer, tuple(files), None, 0.1, 0.1, 0.1)


class Folder:
    """A jobs file and an output folder, for runs one after the other; `run` returns why jobs were kept back."""

    def __init__(self, root):
        self.root = root
        self.api = Api(root)
        self.lost = Counter()
        self.found = (0, 0)
        self.kept = []

    def write(self, lines):
        (self.root / "jobs.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))

    @contextmanager
    def known(self):
        with open_source(self.root / "jobs.jsonl") as source:
            index = JobIndex.build(source)
            yield index, Resume(index, self.root)

    async def run(self, *, kill_at=None, concurrency=3, during=None):
        journal = Manifest(self.root / "manifest.jsonl")
        with self.known() as (index, known):
            async with FakeClock() as clock:
                stop_signal = StopSignal()
                slots = Slots(
                    RateLimiter(SendingRules(concurrency=concurrency, errors=None), random.Random(1)),
                    clock,
                    stop_signal,
                    deadline_s=float("inf"),
                )
                self.api.clock, self.api.kill_at = clock, kill_at
                runner = JobRunner(
                    fetcher=self.api, slots=slots, stop_signal=stop_signal, connectivity=Connectivity(Patience()),
                    clock=clock, rng=random.Random(1), rules=AttemptRules(max_attempts=1), catalogue=None,
                    money=SpendingGuard(Spending(), slots, stop_signal), run_id="run", observe=lambda event: None,
                )  # fmt: skip
                chained = ChainedJobs(index, known, known.is_settled, self.kept.append)
                pool = Pool(
                    runner=runner, journal=journal, slots=slots, stop_signal=stop_signal, clock=clock,
                    observe=during or (lambda event: None), workers=4, grace_s=0.0, max_failures=None, chained=chained,
                )  # fmt: skip
                journal.open()
                self.api.under_way.clear()
                try:
                    with anyio.CancelScope() as self.api.scope:
                        await pool.run([Lane(index, number, known) for number in range(len(index.lanes))])
                finally:
                    journal.close()
                self.lost.update(self.api.under_way)
                self.found = (chained.found_done, chained.found_rejected)
                return chained.kept_back()

    def records(self):
        return [outcome for _, outcome in numbered_outcomes(self.root / "manifest.jsonl")]

    def states(self):
        with self.known() as (index, known):
            return {job.id: known.is_done(place) for place, job in enumerate(index.jobs_in_order())}

    def mark(self, job_id, number, mark="picked", rating=None):
        record = [outcome for outcome in self.records() if outcome.id == job_id][-1]
        with MarksFile(self.root) as marks:
            marks.append([Mark(record.files[number - 1].sha256, job_id, number, mark, rating, "2026-01-01T00:00:00Z")])


class Lane:
    def __init__(self, index, number, known):
        self.name = index.lanes[number]
        self._index, self._number, self._known = index, number, known
        self.pending = sum(not known.is_settled(place) for place in index.places_of(number))

    def jobs(self):
        waiting = self._index.chains.links
        return self._index.pending(self._number, lambda place: place in waiting or self._known.is_settled(place))


@contextmanager
def folder(*lines):
    with TemporaryDirectory() as root:
        made = Folder(Path(root))
        made.write(lines)
        yield made


CAT = {"id": "cat", "model": "venice-sd35", "prompt": "a cat"}


def upscaled(name, parent, **more):
    return {"id": name, "endpoint": "/image/upscale", "image": {"job": parent, **more}}


def cut(name, parent, **more):
    return {"id": name, "endpoint": "/image/background-remove", "image": {"job": parent, **more}}


@st.composite
def graphs(draw):
    """The lines of a graph of jobs in any order, each with the ids of its parents."""
    count = draw(st.integers(2, 9))
    lines, parents, images = [], {}, []
    for number in range(count):
        name = f"j{number}"
        chosen = draw(st.lists(st.integers(0, number - 1), max_size=3)) if number else []
        parents[name] = {f"j{parent}" for parent in chosen}
        links = []
        for parent in chosen:
            many = images[parent] > 1
            links.append({"job": f"j{parent}", **({"variant": draw(st.integers(1, images[parent]))} if many else {})})
        variants = draw(st.sampled_from([1, 1, 3])) if not links else 1
        images.append(variants)
        if not links:
            line = {"model": draw(st.sampled_from(["a", "b"])), "prompt": name, "variants": variants}
        elif len(links) == 1:
            line = {
                "endpoint": draw(st.sampled_from(["/image/upscale", "/image/background-remove"])),
                "image": links[0],
            }
        else:
            line = {"endpoint": "/image/multi-edit", "images": links, "prompt": name}
        lines.append({"id": name, **line})
    return draw(st.permutations(lines)), parents


@settings(max_examples=100)
@given(graphs(), st.lists(st.integers(0, 5), max_size=4), st.integers(1, 4))
def test_each_job_is_made_once_and_after_its_parents_whatever_kills_the_runs(graph, kills, concurrency):
    lines, parents = graph

    async def go():
        with folder(*lines) as made:
            for kill_at in kills:
                await made.run(kill_at=kill_at, concurrency=concurrency)
            assert await made.run(concurrency=concurrency) == ()
            records = made.records()
            order = [outcome.id for outcome in records]
            assert sorted(order) == sorted(parents), "each job has one record"
            assert made.api.sent == Counter(order) + made.lost, "only what a kill cut off was sent again"
            for name, above in parents.items():
                assert all(order.index(parent) < order.index(name) for parent in above)
            assert all(made.states().values())
            sent = made.api.sent.total()
            await made.run()
            assert made.api.sent.total() == sent

    anyio.run(go)


async def test_a_record_has_the_picture_that_was_sent_and_its_parent():
    with folder({**CAT, "variants": 3}, upscaled("x", "cat", variant=2)) as made:
        await made.run()
        cat, x = made.records()
        assert cat.parent is None
        assert x.parent == Parent("cat", cat.files[1].sha256, 2)
        assert x.request == {"image": {"path": str(made.root / cat.files[1].path), "sha256": cat.files[1].sha256}}
        assert '"parent"' not in (made.root / "manifest.jsonl").read_text().splitlines()[0]


async def test_a_job_goes_on_at_once_whatever_else_is_to_do():
    lines = [{**CAT, "id": f"j{number}"} for number in range(10)]
    with folder(*lines, upscaled("x", "j0")) as made:
        await made.run(concurrency=2)
        assert [outcome.id for outcome in made.records()].index("x") < 6


async def test_a_failed_job_leaves_those_behind_it_pending_and_says_so():
    others = [upscaled("y", "dog"), {**CAT, "id": "dog"}]
    with folder(CAT, upscaled("x", "cat"), cut("z", "x"), cut("w", "cat"), *others) as made:
        made.api.fails = {"cat": 500, "dog": 400}
        kept = await made.run()
        assert [(one.status, one.kind, one.message, one.count, one.ids) for one in kept] == [
            ("pending", "failed", "waiting for cat, which failed", 3, ("x", "z", "w")),
            ("pending", "rejected", "waiting for dog, which was rejected", 1, ("y",)),
        ]
        assert stop_reason(kept) is None, "the failures say enough"
        made.api.fails = {}
        kept = await made.run()
        assert [(one.kind, one.ids) for one in kept] == [("rejected", ("y",))]
        assert made.states() == {"cat": True, "x": True, "z": True, "w": True, "y": False, "dog": False}


async def test_many_jobs_that_are_kept_back_are_named_in_part():
    lines = [line for n in range(5) for line in ({**CAT, "id": f"j{n}"}, upscaled(f"x{n}", f"j{n}"))]
    with folder(*lines) as made:
        made.api.fails = {f"j{number}": 500 for number in range(5)}
        (kept,) = await made.run()
        assert (kept.count, kept.ids) == (5, ("x0", "x1", "x2"))
        assert kept.message == "waiting for j0, j1, j2, …, which failed"


async def test_a_job_with_the_same_image_as_before_is_not_bought_again_and_one_with_another_is():
    lines = [CAT, upscaled("x", "cat"), cut("z", "x")]
    with folder(*lines) as made:
        await made.run()
        (made.root / "images/cat-1.png").unlink()
        assert made.states() == {"cat": False, "x": False, "z": False}
        await made.run()
        assert (made.api.sent, made.found) == ({"cat": 2, "x": 1, "z": 1}, (2, 0))
        assert made.kept == [JobKept("upscaler", True), JobKept("bria-bg-remover", True)]
        assert all(made.states().values())
        made.write([{**CAT, "prompt": "another cat"}, *lines[1:]])
        await made.run()
        assert made.api.sent == {"cat": 3, "x": 2, "z": 2}
        assert all(made.states().values())


async def test_a_rejection_holds_as_long_as_the_image_is_the_same():
    with folder(CAT, upscaled("x", "cat")) as made:
        made.api.fails = {"x": 400}
        await made.run()
        (made.root / "images/cat-1.png").unlink()
        await made.run()
        assert (made.api.sent, made.found) == ({"cat": 2, "x": 1}, (0, 1))
        made.api.seed = 1
        (made.root / "images/cat-1.png").unlink()
        await made.run()
        assert made.api.sent == {"cat": 3, "x": 2}


async def test_an_image_that_the_job_did_not_make_is_waited_for_in_vain():
    with folder({**CAT, "variants": 3}, upscaled("x", "cat", variant=3)) as made:
        await made.run(kill_at=1)
        text = (made.root / "manifest.jsonl").read_text()
        record = json.loads(text)
        record["files"] = record["files"][:2]
        (made.root / "manifest.jsonl").write_text(json.dumps(record) + "\n")
        (kept,) = await made.run()
        assert (kept.kind, kept.message) == ("no_image", "waiting for an image that cat did not make")


async def test_a_pick_is_waited_for_from_run_to_run():
    with folder({**CAT, "variants": 3}, upscaled("x", "cat", pick=True), cut("z", "x")) as made:
        for _ in range(2):
            kept = await made.run()
            assert [(one.kind, one.message, one.ids) for one in kept] == [
                ("pick", "waiting for an image of cat to be picked", ("x", "z"))
            ]
        reason = "2 jobs waiting for an image of cat to be picked; mark one as picked, then run again"
        assert stop_reason(kept) == reason
        made.mark("cat", 1, "rejected")
        made.mark("cat", 2, "picked")
        assert await made.run() == ()
        _, x, z = made.records()
        assert (x.parent.variant, z.parent.id) == (2, "x")
        made.mark("cat", 2, None)
        assert all(made.states().values()), "what is paid for is kept when the pick is taken back"
        made.mark("cat", 3, "picked")
        assert made.states() == {"cat": True, "x": False, "z": False}
        await made.run()
        assert made.api.sent == {"cat": 1, "x": 2, "z": 2}


async def test_of_several_picks_the_best_rated_counts_then_the_first():
    with folder({**CAT, "variants": 4}, upscaled("x", "cat", pick=True)) as made:
        await made.run()
        made.mark("cat", 2)
        made.mark("cat", 4)
        await made.run()
        assert made.records()[-1].parent.variant == 2
        made.mark("cat", 4, rating=5)
        await made.run()
        assert made.records()[-1].parent.variant == 4


async def test_an_image_that_is_picked_while_the_run_goes_on_is_taken_in_the_same_run():
    with folder({**CAT, "variants": 2}, {**CAT, "id": "dog"}, upscaled("x", "cat", pick=True)) as made:
        ended = []

        def observe(event):
            ended.append(event.outcome.id)
            if len(ended) == 2:
                made.mark("cat", 2)

        await made.run(concurrency=1, during=observe)
        assert ended == ["cat", "dog", "x"]


async def test_jobs_not_reached_before_a_stop_are_not_kept_back():
    with folder(CAT, upscaled("x", "cat"), cut("z", "x")) as made:
        assert await made.run(kill_at=0) == ()
        assert await made.run(kill_at=1) == ()
        assert await made.run() == ()
        assert [outcome.status for outcome in made.records()] == [Status.SUCCEEDED] * 3


async def test_a_job_that_could_go_is_not_kept_back():
    with folder(CAT, upscaled("x", "cat")) as made:
        await made.run(kill_at=1)
        with made.known() as (index, known):
            chained = ChainedJobs(index, known, known.is_settled)
            assert chained.kept_back() == ()
            assert chained.ready() == [("upscaler", 1)]
            assert chained.ready() == [], "each once"


async def test_a_jobs_file_that_changes_during_the_run_stops_it():
    with folder(CAT, upscaled("x", "cat")) as made:
        stops = []

        def observe(event):
            if isinstance(getattr(event, "reason", None), str):
                stops.append(event.reason)
            else:
                made.write([CAT, upscaled("y", "cat")])

        await made.run(during=observe)
        (reason,) = stops
        assert "has changed since the check" in reason
