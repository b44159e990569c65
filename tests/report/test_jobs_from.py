"""Jobs made from the records of a manifest."""

import msgspec
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jobfile.lines import any_line
from PIL import Image
from records import failed, outcome

from venice_batch.api.requests import as_sent
from venice_batch.errors import JobsFileError
from venice_batch.jobfile import Defaults, parse
from venice_batch.model import Endpoint, Flags, Status
from venice_batch.report.jobs_from import Changes, Choice, jobs_of


def redone(*records, choice=None, **changes):
    numbered = enumerate(records, start=1)
    return list(jobs_of(numbered, choice=choice or Choice(), changes=Changes(**changes), source="m.jsonl"))


def ids(*records, **conditions):
    return [job.id for job in redone(*records, choice=Choice(**conditions))]


def record_of(job, **how):
    """Return the record that a run writes for a job."""
    made = outcome(
        job.id,
        endpoint=job.endpoint,
        request=as_sent(job.endpoint, job.request, **how),
        request_hash=job.request_hash,
        metadata=job.metadata,
        lane=job.model,
    )
    return msgspec.json.decode(msgspec.json.encode(made), type=type(made))


@given(line=any_line, prefer_json=st.booleans())
def test_unchanged_a_record_is_the_job_that_it_came_from(line, prefer_json):
    parsed = parse(orjson.dumps(line), number=1, first_index=0, defaults=Defaults(), source="jobs.jsonl")
    assert parsed.jobs
    again = redone(*(record_of(job, prefer_json=prefer_json) for job in parsed.jobs))
    assert [(job.id, job.request_hash, job.endpoint, job.metadata) for job in again] == [
        (job.id, job.request_hash, job.endpoint, job.metadata) for job in parsed.jobs
    ]


def test_a_tier_sent_in_the_models_spelling_is_the_same_job():
    line = {"id": "a", "model": "m", "prompt": "p", "resolution": "1k", "aspect_ratio": "Auto"}
    (job,) = parse(orjson.dumps(line), number=1, first_index=0, defaults=Defaults(), source="jobs.jsonl").jobs
    sent = msgspec.structs.replace(job, request={**job.request, "resolution": "1K", "aspect_ratio": "auto"})
    (again,) = redone(record_of(sent, prefer_json=False))
    assert (again.id, again.request_hash) == (job.id, job.request_hash)


def test_jobs_are_chosen_by_how_they_ended():
    records = [outcome("a"), failed("b"), failed("c", status=Status.REJECTED)]
    assert ids(*records) == ["a", "b", "c"]
    assert ids(*records, statuses=frozenset({"failed"})) == ["b"]
    assert ids(*records, statuses=frozenset({"failed", "rejected"})) == ["b", "c"]


@pytest.mark.parametrize(
    ("flag", "flags"),
    [
        ("blurred", Flags(blurred=True)),
        ("content_violation", Flags(content_violation=True)),
        ("possibly_billed", Flags(possibly_billed=True)),
        ("deprecated", Flags(deprecated="gone by March")),
        ("deprecated", Flags(deprecated="")),
        ("enhanced_prompt", Flags(enhanced_prompt="a better p")),
    ],
)
def test_jobs_are_chosen_by_any_of_several_flags(flag, flags):
    records = [outcome("a"), outcome("b", flags=flags)]
    assert ids(*records, flags=frozenset({flag})) == ["b"]
    assert ids(*records, flags=frozenset(Flags.__struct_fields__)) == ["b"]
    assert ids(*records, flags=frozenset(Flags.__struct_fields__) - {flag}) == []


def test_jobs_are_chosen_by_model():
    assert ids(outcome("a"), outcome("b", lane="qwen-image"), models=frozenset({"qwen-image"})) == ["b"]


def test_jobs_are_chosen_by_patterns_and_lists_of_ids():
    records = [outcome(name) for name in ("sea-1", "sea-2", "lake", "a[1]")]
    assert ids(*records, ids=("sea-*",)) == ["sea-1", "sea-2"]
    assert ids(*records, ids=("SEA-*",)) == []
    assert ids(*records, ids=("sea-[2-9]", "l?ke")) == ["sea-2", "lake"]
    assert ids(*records, ids=("a[1]",)) == ["a[1]"], "what an id is literally counts, too"
    assert ids(*records, ids=("*-1",), listed=frozenset({"lake", "sea-*"})) == ["sea-1", "lake"]


def test_ids_that_no_record_has_are_known_afterwards():
    choice = Choice(statuses=frozenset({"failed"}), ids=("s*", "x*"), listed=frozenset({"lake", "pond"}))
    assert redone(outcome("sea"), outcome("lake"), choice=choice) == []
    assert choice.unmet == ["pond", "x*"]


def test_every_condition_must_be_met():
    records = [outcome("a"), failed("b"), failed("ab")]
    assert ids(*records, statuses=frozenset({"failed"}), ids=("a*",)) == ["ab"]


def test_changes_replace_add_and_leave_out():
    request = {"model": "m", "prompt": "p", "width": 64, "height": 64, "seed": 7}
    (job,) = redone(
        outcome("a", request=request, metadata={"k": [1]}),
        values={"prompt": "q", "resolution": "4K"},
        without=frozenset({"width", "height"}),
        suffix="-4k",
    )
    assert job.id == "a-4k"
    assert job.request == {"model": "m", "prompt": "q", "seed": 7, "resolution": "4K"}
    assert job.metadata == {"k": [1]}


def test_a_job_sent_as_binary_can_be_repeated_with_variants():
    sent = outcome("a", request={"model": "m", "prompt": "p", "return_binary": True})
    (job,) = redone(sent, values={"variants": 4})
    assert job.request == {"model": "m", "prompt": "p", "variants": 4}
    kept = outcome("a", request={"model": "m", "prompt": "p", "return_binary": False})
    assert redone(kept)[0].request["return_binary"] is False


def test_every_change_that_makes_a_job_invalid_is_reported_with_its_record():
    records = [
        outcome("a", endpoint=Endpoint.GENERATIONS, request={"model": "m", "prompt": "p"}),
        outcome("b"),
        outcome("c" * 510),
    ]
    with pytest.raises(JobsFileError) as caught:
        redone(*records, values={"resolution": "4K"}, without=frozenset({"prompt"}), suffix="-4k")
    assert [str(problem)[:90] for problem in caught.value.problems] == [
        "m.jsonl:1: resolution: belongs to /image/generate, /image/edit, /image/multi-edit; this li",
        "m.jsonl:1: prompt: missing (from --unset)",
        "m.jsonl:2: prompt: missing (from --unset)",
        "m.jsonl:3: id: has 513 characters; at most 512",
        "m.jsonl:3: prompt: missing (from --unset)",
    ]


def test_a_job_that_no_line_could_hold_is_a_problem():
    record = outcome("a", request={"model": "m", "prompt": "p", "style_references": [{"image": "x" * (1 << 20)}]})
    with pytest.raises(JobsFileError, match=r"m.jsonl:1: 'a' as a line of its own has 1\.00 MB"):
        redone(record)


def test_a_picture_is_sent_again_from_its_original_place(tmp_path):
    Image.new("RGB", (256, 256)).save(tmp_path / "a.png")
    line = {"id": "a", "endpoint": "/image/edit", "image": str(tmp_path / "a.png"), "prompt": "p"}
    (job,) = parse(orjson.dumps(line), number=1, first_index=0, defaults=Defaults(), source="jobs.jsonl").jobs
    record = record_of(job, prefer_json=False)
    (again,) = redone(record)
    assert (again.request, again.request_hash) == (job.request, job.request_hash)
    (tmp_path / "a.png").unlink()
    with pytest.raises(JobsFileError, match=r"m\.jsonl:1: image: no such file"):
        redone(record)
