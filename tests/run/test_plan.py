"""Plans: jobs left, price, time and balances."""

import io
from datetime import UTC, datetime
from decimal import Decimal

import msgspec
import orjson
import pytest
from catalogue.made import price_usd
from hypothesis import given
from hypothesis import strategies as st
from pictures import picture
from records import IMAGE, failed, outcome

from venice_batch.api.client import ApiClient, ApiSettings
from venice_batch.api.key import ApiKey
from venice_batch.api.listings import Quota
from venice_batch.catalogue import Bill, Preflight, snapshot
from venice_batch.clock import SystemClock
from venice_batch.errors import FolderError
from venice_batch.jobfile import JobIndex, open_source
from venice_batch.library import run_jobs
from venice_batch.model import Status
from venice_batch.output import manifest
from venice_batch.pacing.estimate import LATENCY_S
from venice_batch.run.plan import LanePlan, Plan, duration_s, plan, suffices
from venice_batch.sandbox import SandboxSettings, serve

LINES = [
    {"id": "a", "model": "venice-sd35", "prompt": "one"},
    {"id": "b", "model": "venice-sd35", "prompt": "two", "variants": 3},
    {"id": "c", "model": "nano-banana-2", "prompt": "three", "enhance_prompt": True},
]
MIXED = [
    {"model": "venice-sd35", "width": 64, "height": 64},
    {"model": "fastest", "width": 64, "height": 64, "variants": 3},
    {"model": "wan-2-7-pro-text-to-image", "variants": 3},
    {"model": "nano-banana-2", "resolution": "1k"},
    {"model": "gpt-image-2"},
    {"model": "gpt-image-2", "quality": "low", "variants": 2},
    {"model": "grok-imagine-image-2-0", "quality": "low"},
    {"endpoint": "/images/generations", "model": "dall-e-3", "size": "256x256"},
    {"endpoint": "/images/generations", "model": "default", "size": "256x256"},
    {"endpoint": "/image/upscale", "image": "cat.png", "prompt": None},
    {"endpoint": "/image/upscale", "image": "cat.png", "scale": 4, "prompt": None},
    {"endpoint": "/image/background-remove", "image": "cat.png", "prompt": None},
    {"endpoint": "/image/edit", "image": "cat.png"},
    {"endpoint": "/image/edit", "image": "cat.png", "model": "nano-banana-2-edit", "resolution": "2k"},
    {"endpoint": "/image/multi-edit", "images": ["cat.png", "cat.png"]},
    {"endpoint": "/image/multi-edit", "images": ["cat.png"], "model": "gpt-image-2-edit", "quality": "low"},
]


def catalogue():
    return snapshot().catalogue(datetime(2026, 9, 1, tzinfo=UTC).timestamp())


def write(path, lines):
    path.write_bytes(b"\n".join(map(orjson.dumps, lines)))
    (path.parent / "cat.png").write_bytes(picture(256, 256))
    return path


def mixed(drawn):
    """Lines of MIXED with an id each, and a prompt if their endpoint takes one."""
    for number, line in enumerate(drawn):
        job = {"id": f"j{number}", "prompt": "p", **line}
        yield {name: value for name, value in job.items() if value is not None}


@pytest.fixture
def preflight():
    return Preflight(catalogue())


@pytest.fixture
def index(tmp_path, preflight):
    with open_source(str(write(tmp_path / "jobs.jsonl", LINES)), io.BytesIO()) as source:
        yield JobIndex.build(source, examine=preflight.examine)


@pytest.fixture
def output(tmp_path):
    folder = tmp_path / "out"
    (folder / "images").mkdir(parents=True)
    (folder / IMAGE.path).write_bytes(b"x" * IMAGE.bytes)
    return folder


def record(output, index, *made):
    hashes = {job.id: job.request_hash for job in index.jobs_in_order()}
    lines = [msgspec.json.encode(msgspec.structs.replace(one, request_hash=hashes[one.id])) + b"\n" for one in made]
    (output / manifest.NAME).write_bytes(b"".join(lines))


def counts(found):
    return found.jobs, found.already_done, found.already_rejected, found.pending


def test_a_new_folder_has_everything_to_do(index, preflight, tmp_path):
    assert plan(index, tmp_path / "new", preflight=preflight) == Plan(
        jobs=3,
        already_done=0,
        already_rejected=0,
        pending=3,
        lanes={"venice-sd35": LanePlan(2, 4, 0.04), "nano-banana-2": LanePlan(1, 1, 0.14, enhancement_usd=0.04)},
        images=5,
        usd=0.18,
        enhancement_usd=0.04,
        expected_s=LATENCY_S,
    )
    assert not (tmp_path / "new").exists()


def test_without_preflight_the_jobs_are_counted_and_no_price_is_known(index, output):
    record(output, index, outcome("a"))
    found = plan(index, output)
    assert found.lanes == {"venice-sd35": LanePlan(1, 3, unpriced=1), "nano-banana-2": LanePlan(1, 1, 0.0, 1)}
    assert (found.usd, found.unpriced) == (0.0, 2)


def test_jobs_done_or_rejected_are_not_pending(index, preflight, output):
    record(output, index, outcome("a"), failed("c", status=Status.REJECTED))
    found = plan(index, output, preflight=preflight)
    assert counts(found) == (3, 1, 1, 1)
    assert found.lanes == {"venice-sd35": LanePlan(1, 3, 0.03)}
    assert found.usd == 0.03


def test_rejected_jobs_are_pending_with_retry_rejected(index, preflight, output):
    record(output, index, outcome("a"), failed("c", status=Status.REJECTED))
    found = plan(index, output, preflight=preflight, retry_rejected=True)
    assert counts(found) == (3, 1, 0, 2)
    assert found.usd == 0.17


def test_jobs_that_failed_or_lost_a_file_are_pending(index, preflight, output):
    record(output, index, outcome("a"), failed("b"))
    (output / IMAGE.path).unlink()
    assert plan(index, output, preflight=preflight).pending == 3


def test_a_finished_file_has_nothing_to_do(index, preflight, output):
    record(output, index, outcome("a"), outcome("b"), outcome("c"))
    found = plan(index, output, preflight=preflight, balances={"USD": 0.0})
    assert found == Plan(3, 3, 0, 0, {}, balances={"USD": 0.0}, suffices=True)


def test_a_manifest_that_cannot_be_read_is_an_error(index, output):
    (output / manifest.NAME).mkdir()
    with pytest.raises(FolderError):
        plan(index, output)


@pytest.mark.parametrize(
    ("balances", "shown", "enough"),
    [
        (None, None, None),
        ({"USD": 0.18}, {"USD": 0.18}, True),
        # enough unless the prompt is rewritten
        ({"USD": 0.1799}, {"USD": 0.1799}, None),
        ({"USD": 0.14}, {"USD": 0.14}, None),
        ({"USD": 0.1399}, {"USD": 0.1399}, False),
        ({"USD": 0.14, "DIEM": 0.05, "VCU": 9.0}, {"DIEM": 0.05, "USD": 0.14}, True),
        # no currency covers the image for 0.10
        (
            {"USD": 0.09, "DIEM": 0.09, "BUNDLED_CREDITS": 0.09},
            {"DIEM": 0.09, "BUNDLED_CREDITS": 0.09, "USD": 0.09},
            False,
        ),
        ({}, {}, False),
    ],
)
def test_balances_suffice_if_each_request_can_be_paid_from_one_of_them(
    index, preflight, tmp_path, balances, shown, enough
):
    found = plan(index, tmp_path, preflight=preflight, balances=balances)
    assert found.balances == shown
    assert found.balances is None or list(found.balances) == list(shown)
    assert found.suffices is enough


def bills(*prices):
    return [(Bill("m", "m", 1, price), count) for price, count in prices]


@pytest.mark.parametrize(
    ("prices", "balances", "enough"),
    [
        ([(10, 3)], {"DIEM": 0.00002, "USD": 0.00001}, True),
        ([(10, 3)], {"DIEM": 0.000025, "USD": 0.000005}, False),
        # the dear one first is paid from Diem; a cheap one first leaves too little of it
        ([(35, 1), (4, 1)], {"DIEM": 0.000035, "USD": 0.000005}, None),
        ([(35, 1), (4, 1)], {"DIEM": 0.000035, "USD": 0.00004}, True),
        ([(0, 5)], {"USD": 0.0}, True),
        ([(10, 1)], {"USD": -1.0}, False),
        ([(None, 1)], {"USD": 5.0}, None),
        ([(None, 1), (10, 2)], {"USD": 0.00001}, False),
    ],
)
def test_money_is_enough_not_enough_or_that_depends_on_the_order_of_requests(prices, balances, enough):
    assert suffices(bills(*prices), balances) is enough


def test_a_key_without_access_pays_for_nothing(index, preflight, tmp_path):
    assert plan(index, tmp_path, preflight=preflight, balances={"USD": 9.0}, access=False).suffices is False


def test_sufficiency_is_unknown_if_a_price_is(index, tmp_path):
    assert plan(index, tmp_path, balances={"USD": 100.0}).suffices is None


def test_a_limit_is_exceeded_by_the_smallest_part(index, preflight, tmp_path):
    found = plan(index, tmp_path, preflight=preflight)
    assert not found.exceeds(0.18)
    assert not found.exceeds(Decimal("0.18"))
    assert found.exceeds(0.179999)


@pytest.mark.parametrize(
    ("requests", "rpm", "rpd", "expected_s"),
    [
        (0, 20, None, 0.0),
        (1, 20, None, 10.0),
        (20, 20, None, 10.0),
        (21, 20, None, 70.0),
        (1632, 20, None, 81 * 60.0 + 10.0),
        (100, 20, 100, 4 * 60.0 + 10.0),
        (101, 20, 100, 86_400.0 + 10.0),
    ],
)
def test_time_goes_by_windows(requests, rpm, rpd, expected_s):
    assert duration_s(((1, requests),), rpm, rpd) == expected_s


@pytest.mark.parametrize(
    ("sizes", "rpm", "rpd", "expected_s"),
    [
        # five jobs of four images fit into a window
        (((4, 15),), 20, None, 2 * 60.0 + 10.0),
        (((4, 5),), 20, None, 10.0),
        # three images are left of 20 after six jobs of three and cannot take one of four
        (((3, 6), (4, 5)), 20, None, 60.0 + 10.0),
        (((3, 6), (4, 6)), 20, None, 2 * 60.0 + 10.0),
        # a request of more images than a window takes a whole one
        (((4, 3),), 2, None, 2 * 60.0 + 10.0),
        # 25 jobs of four images a day, and one for the day after
        (((4, 26),), 20, 100, 86_400.0 + 10.0),
        (((1, 100), (4, 6)), 20, 100, 86_400.0 + 60.0 + 10.0),
        ((), 20, 100, 0.0),
    ],
)
def test_windows_count_images_and_a_request_that_does_not_fit_waits(sizes, rpm, rpd, expected_s):
    assert duration_s(sizes, rpm, rpd) == expected_s


def test_jobs_of_several_images_share_a_window_under_all_names_of_a_model(tmp_path):
    lines = [{"id": f"a{n}", "model": "fastest", "prompt": "p", "variants": 4} for n in range(10)]
    lines += [{"id": f"b{n}", "model": "z-image-turbo", "prompt": "p", "variants": 4} for n in range(5)]
    preflight = Preflight(catalogue())
    with open_source(str(write(tmp_path / "jobs.jsonl", lines))) as source:
        index = JobIndex.build(source, examine=preflight.examine)
        assert plan(index, tmp_path, preflight=preflight).expected_s == 2 * 60 + 10


def test_the_longest_lane_decides_and_names_of_one_model_share_its_limit(tmp_path):
    lines = [{"id": f"a{n}", "model": "fastest", "prompt": "p"} for n in range(15)]
    lines += [{"id": f"b{n}", "model": "z-image-turbo", "prompt": "p"} for n in range(15)]
    lines += [{"id": f"c{n}", "model": "venice-sd35", "prompt": "p"} for n in range(20)]
    preflight = Preflight(catalogue())
    with open_source(str(write(tmp_path / "jobs.jsonl", lines))) as source:
        index = JobIndex.build(source, examine=preflight.examine)
        assert plan(index, tmp_path, preflight=preflight).expected_s == 70.0
        assert plan(index, tmp_path, preflight=preflight, rpm=1).expected_s == 29 * 60 + 10
        quotas = {"venice-sd35": Quota(rpm=2), "z-image-turbo": Quota(rpm=60, rpd=1000)}
        found = plan(index, tmp_path, preflight=preflight, quotas=quotas, rpm=50)
        assert found.expected_s == 9 * 60 + 10
        assert {name: lane.rpm for name, lane in found.lanes.items()} == {
            "fastest": 50, "z-image-turbo": 50, "venice-sd35": 2,
        }  # fmt: skip


def test_a_share_plans_with_its_part_of_every_quota(tmp_path):
    lines = [{"id": f"a{n}", "model": "venice-sd35", "prompt": "p"} for n in range(7)]
    preflight = Preflight(catalogue())
    with open_source(str(write(tmp_path / "jobs.jsonl", lines))) as source:
        index = JobIndex.build(source, examine=preflight.examine)
        found = plan(index, tmp_path, preflight=preflight, share=3)
        assert (found.lanes["venice-sd35"].rpm, found.expected_s) == (6, 60.0 + 10.0)
        quotas = {"venice-sd35": Quota(rpm=60, rpd=12)}
        found = plan(index, tmp_path, preflight=preflight, quotas=quotas, share=2)
        assert (found.lanes["venice-sd35"].rpm, found.expected_s) == (30, 86_400.0 + 10.0)


@pytest.mark.no_cover
@given(st.lists(st.tuples(st.sampled_from(MIXED), st.booleans()), min_size=1, max_size=30))
def test_the_sum_is_that_of_the_jobs_left(tmp_path_factory, drawn):
    folder = tmp_path_factory.mktemp("plan")
    (folder / "images").mkdir()
    (folder / IMAGE.path).write_bytes(b"x" * IMAGE.bytes)
    lines = list(mixed(line for line, _ in drawn))
    preflight = Preflight(catalogue())
    with open_source(str(write(folder / "jobs.jsonl", lines))) as source:
        index = JobIndex.build(source, examine=preflight.examine)
        record(folder, index, *(outcome(f"j{n}") for n, (_, is_done) in enumerate(drawn) if is_done))
        found = plan(index, folder, preflight=preflight)
        left = [job for job, (_, is_done) in zip(index.jobs_in_order(), drawn, strict=True) if not is_done]
    assert found.pending == len(left)
    assert found.images == sum(job.request.get("variants", 1) for job in left)
    assert Decimal(str(found.usd)) == sum((price_usd(job, catalogue()) for job in left), Decimal(0))
    assert Decimal(str(found.usd)) == sum(Decimal(str(lane.usd)) for lane in found.lanes.values())


async def test_a_plans_price_equals_the_sandboxs_charge(tmp_path):
    lines = list(mixed(MIXED))
    path = write(tmp_path / "jobs.jsonl", lines)
    async with (
        serve(SandboxSettings(latency_s=0, draw="plain")) as sandbox,
        ApiClient(ApiSettings(base_url=sandbox.base_url), ApiKey("k"), SystemClock()) as api,
    ):
        preflight = Preflight(snapshot().catalogue(0.0), await api.styles())
        with open_source(str(path)) as source:
            index = JobIndex.build(source, examine=preflight.examine)
            before = await api.limits()
            found = plan(index, tmp_path / "out", preflight=preflight, quotas=before.quotas)
        summary = await run_jobs(path, tmp_path / "out", api_key="k", base_url=sandbox.base_url)
        after = await api.limits()
    assert summary.succeeded == len(MIXED)
    charged = Decimal(str(before.balances["USD"])) - Decimal(str(after.balances["USD"]))
    assert round(charged, 6) == Decimal(str(found.usd))


@pytest.mark.parametrize(
    ("summary", "expected_s"),
    [
        (b'{"lanes": {"venice-sd35": {"latency_s": {"p95": 2.5}}}}', 2.5),
        (b'{"lanes": {"venice-sd35": {"latency_s": {"p95": null}}}}', LATENCY_S),
        (b'{"lanes": {"another": {"latency_s": {"p95": 2.5}}}}', LATENCY_S),
        (b'{"lanes": []}', LATENCY_S),
        (b"\xff", LATENCY_S),
        (None, LATENCY_S),
    ],
)
def test_the_last_answers_are_expected_as_late_as_in_the_last_run(tmp_path, summary, expected_s):
    path = tmp_path / "jobs.jsonl"
    path.write_bytes(orjson.dumps({"model": "venice-sd35", "prompt": "p"}))
    if summary is not None:
        (tmp_path / "summary.json").write_bytes(summary)
    with open_source(path) as source:
        assert plan(JobIndex.build(source), tmp_path).expected_s == expected_s


CHAIN = [
    *LINES[:2],
    {"id": "x", "endpoint": "/image/upscale", "image": {"job": "a"}},
    {"id": "y", "endpoint": "/image/multi-edit", "images": [{"job": "b", "variant": 2}, {"job": "x"}], "prompt": "p"},
    {"id": "z", "endpoint": "/image/background-remove", "image": {"job": "b", "pick": True}},
]


def test_a_plan_of_a_file_without_chains_has_none(index, output, preflight):
    assert plan(index, output, preflight=preflight).chains is None


def test_chains_are_priced_and_listed_each_from_its_first_job(tmp_path, output, preflight):
    with open_source(str(write(tmp_path / "jobs.jsonl", CHAIN)), io.BytesIO()) as source:
        index = JobIndex.build(source, examine=preflight.examine)
        found = plan(index, output, preflight=preflight)
        unpriced = plan(index, output)
    assert found.usd == pytest.approx(0.01 + 0.03 + 0.02 + 0.04 + 0.03)
    assert found.expected_s == 3 * LATENCY_S, "one after the other"
    chains = found.chains
    assert (chains.jobs, chains.steps, chains.waiting) == (3, 3, ())
    assert [(step.id, step.depth, step.works_on, step.usd) for step in chains.listed] == [
        ("a", 0, (), 0.01),
        ("x", 1, ("a",), 0.02),
        ("b", 0, (), 0.03),
        ("y", 1, ("b, image 2", "x"), 0.04),
        ("z", 1, ("b, once picked",), 0.03),
    ]
    assert [step.usd for step in unpriced.chains.listed] == [None] * 5


def test_steps_that_are_done_take_no_time(tmp_path, output, preflight):
    with open_source(str(write(tmp_path / "jobs.jsonl", CHAIN)), io.BytesIO()) as source:
        index = JobIndex.build(source, examine=preflight.examine)
        record(output, index, outcome("a"), failed("b", status=Status.REJECTED))
        found = plan(index, output, preflight=preflight)
    assert found.expected_s == 2 * LATENCY_S
    assert [(one.kind, one.ids) for one in found.chains.waiting] == [("rejected", ("y", "z"))]
    assert [step.id for step in found.chains.listed if step.done] == ["a"]
