"""Jobs made from the records of a manifest."""

import hashlib

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
from venice_batch.model import Endpoint, Flags, ImageFile, Parent, Status
from venice_batch.output.annotations import Annotation, Annotations
from venice_batch.output.marks import Mark
from venice_batch.report.conditions import parse_condition
from venice_batch.report.jobs_from import Changes, Choice, Derivation, ParentWords, image_name, jobs_of, prompt_of


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


def imaged(root, job_id="idea-7", count=2, **changes):
    """Return a record with this number of images, which are in the folder."""
    files = []
    for number in range(1, count + 1):
        path = f"images/{job_id}{f'-{number}' if count > 1 else ''}.png"
        place = root / path
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (256, 256), (number, 0, 0)).save(place)
        data = place.read_bytes()
        files.append(ImageFile(path, len(data), hashlib.sha256(data).hexdigest(), "png", 256, 256))
    return outcome(job_id, files=tuple(files), **changes)


def derived(root, derivation, *records, choice=None, **changes):
    source = str(root / "manifest.jsonl")
    numbered = enumerate(records, start=1)
    choice = choice or Choice()
    return list(jobs_of(numbered, choice=choice, changes=Changes(**changes), source=source, derivation=derivation))


def said(record, number, mark=None, rating=None):
    digest = record.files[number - 1].sha256
    return {(record.id, digest, number): Mark(digest, record.id, number, mark, rating, "2026-01-01T00:00:00Z")}


def test_images_are_chosen_by_what_a_person_said_of_them(tmp_path):
    record, other = imaged(tmp_path, count=4), imaged(tmp_path, "idea-8", 1)
    marks = said(record, 1, "picked", 3) | said(record, 2, "rejected") | said(record, 3, "picked", 5)
    picked = Choice(marked=frozenset({"picked"}), marks=marks)
    assert (picked.images(record), picked.images(other)) == ([1, 3], None)
    assert Choice(min_rating=4, marks=marks).images(record) == [3]
    assert Choice(marked=frozenset({"rejected"}), min_rating=1, marks=marks).images(record) is None
    again = msgspec.structs.replace(record, files=record.files[::-1])
    assert picked.images(again) is None, "other images than those that were marked"
    assert [job.id for job in redone(record, other, choice=picked)] == ["idea-7"], "the job itself, once"


def test_images_are_chosen_by_their_annotations_and_every_condition_must_hold(tmp_path):
    record = imaged(tmp_path, count=3)
    scores = Annotations()
    for number, values in ((1, {"score": 0.2, "ok": True}), (2, {"score": 0.4}), (3, {"score": 0.9, "ok": True})):
        scores.add(Annotation(record.files[number - 1].sha256, record.id, number, values, ""))

    def images(*conditions, **more):
        where = tuple(parse_condition(text, "--where") for text in conditions)
        return Choice(where=where, annotations=scores, **more).images(record)

    assert images("score<0.5") == [1, 2]
    assert images("score<0.5", "ok=true") == [1]
    assert images("score<0.1") is None
    assert images("score<0.5", marked=frozenset({"picked"}), marks=said(record, 2, "picked")) == [2]
    assert images("score<0.5", marked=frozenset({"picked"}), marks=said(record, 3, "picked")) is None


def test_one_image_of_a_job_is_chosen_by_its_number(tmp_path):
    record = imaged(tmp_path, count=3)
    assert Choice(ids=("idea-7#2", "idea-?#3")).images(record) == [2, 3]
    assert Choice(listed=frozenset({"idea-7#2"})).images(record) == [2]
    assert Choice(ids=("idea-7#2", "idea-*")).images(record) == [1, 2, 3]
    assert Choice(ids=("idea-7#2",)).images(outcome("idea-7#2")) == [1], "an id may hold such characters itself"
    choice = Choice(ids=("idea-7#4", "idea-7#0", "idea-8#1"))
    assert choice.images(record) is None
    assert choice.unmet == ["idea-7#4", "idea-7#0", "idea-8#1"]


def test_a_picked_image_is_upscaled_with_its_prompt_metadata_and_parent(tmp_path):
    record = imaged(tmp_path, metadata={"set": 7})
    first, second = derived(tmp_path, Derivation.upscale(2), record)
    assert (first.id, second.id) == ("idea-7-1-x2", "idea-7-2-x2")
    assert second.endpoint is Endpoint.UPSCALE
    file = record.files[1]
    assert second.request == {"image": {"path": str(tmp_path / file.path), "sha256": file.sha256}, "scale": 2}
    assert second.metadata == {"set": 7, "prompt": "a gondola"}
    assert second.parent == Parent("idea-7", file.sha256, 2)
    assert derived(tmp_path, Derivation.upscale(2), record) == [first, second]


def test_an_edit_names_its_model_and_keeps_the_policy_of_the_request(tmp_path):
    request = {"model": "venice-sd35", "prompt": "a fox", "safe_mode": False, "anon_user_id": "u", "seed": 1}
    record = imaged(tmp_path, "fox", 1, request=request)
    (job,) = derived(tmp_path, Derivation.edit("Make it night!"), record)
    assert job.id == "fox-make-it-night"
    image = {"path": str(tmp_path / "images/fox.png"), "sha256": record.files[0].sha256}
    assert job.request == {
        "image": image,
        "model": "firered-image-edit",
        "prompt": "Make it night!",
        "safe_mode": False,
        "anon_user_id": "u",
    }
    assert job.metadata == {"prompt": "a fox"}
    (job,) = derived(tmp_path, Derivation.edit("…"), record, values={"model": "qwen-edit"}, without={"safe_mode"})
    assert job.id == "fox-edit__model-qwen-edit"
    assert (job.request["model"], "safe_mode" in job.request) == ("qwen-edit", False)
    (job,) = derived(tmp_path, Derivation.cut_out(), record)
    assert (job.id, job.request) == ("fox-cutout", {"image": image, "anon_user_id": "u"})


def test_variations_have_seeds_of_their_own_and_are_the_same_ones_each_time(tmp_path):
    request = {"model": "m", "prompt": "p", "variants": 4, "seed": 7, "return_binary": False}
    record = imaged(tmp_path, request=request)
    three = derived(tmp_path, Derivation.vary(3), record, choice=Choice(ids=("idea-7#2",)))
    assert [job.id for job in three] == ["idea-7-2-v1", "idea-7-2-v2", "idea-7-2-v3"]
    assert len({job.request["seed"] for job in three} | {7}) == 4
    assert all(job.request.keys() == {"model", "prompt", "seed"} for job in three)
    more = derived(tmp_path, Derivation.vary(4), record, values={"steps": 9}, suffix="-again")
    assert [job.request["seed"] for job in more[4:7]] == [job.request["seed"] for job in three]
    assert (more[4].id, more[4].request["steps"]) == ("idea-7-2-again1", 9)


def test_what_has_no_seed_is_varied_by_asking_again(tmp_path):
    record = imaged(tmp_path, "a", 1, endpoint=Endpoint.GENERATIONS)
    first, second = derived(tmp_path, Derivation.vary(2), record)
    assert (first.id, second.id, first.request) == ("a-v1", "a-v2", second.request)
    with pytest.raises(JobsFileError, match="image 1 of a: /image/upscale has no seed to vary"):
        derived(tmp_path, Derivation.vary(2), msgspec.structs.replace(record, endpoint=Endpoint.UPSCALE))


def test_a_job_named_by_a_hash_gives_its_prompt_or_its_file_as_the_name(tmp_path):
    parsed = parse(b'{"model":"m","prompt":"A fox, at dawn"}', number=1, first_index=0, defaults=Defaults(), source="x")
    (job,) = parsed.jobs
    record = imaged(tmp_path, job.id, request=job.request, request_hash=job.request_hash)
    assert image_name(record, 2) == f"a-fox-at-dawn-{job.id[:6]}-2"
    named = [
        msgspec.structs.replace(file, path=f"images/set/0007-a-fox-{n}.png") for n, file in enumerate(record.files)
    ]
    assert image_name(msgspec.structs.replace(record, files=tuple(named)), 2) == "set-0007-a-fox-1"
    silent = msgspec.structs.replace(record, request={"model": "m", "prompt": "!"}, request_hash=record.id + "0" * 16)
    assert image_name(silent, 1) == f"{job.id}-1"
    long = msgspec.structs.replace(record, request={"prompt": "sea " * 30}, request_hash=job.request_hash)
    other = msgspec.structs.replace(record, request={"prompt": "sea " * 31}, request_hash=job.request_hash)
    assert image_name(long, 1) != image_name(other, 1)
    assert len(image_name(long, 1)) < 80


def test_two_images_of_one_name_become_two_jobs(tmp_path):
    records = [imaged(tmp_path, "a"), imaged(tmp_path, "a-2", 1)]
    ids = [job.id for job in derived(tmp_path, Derivation.vary(1), *records)]
    assert ids == ["a-1-v1", "a-2-v1", f"a-2-v1~{records[1].files[0].sha256[:6]}"]


def test_a_derived_image_keeps_the_words_that_made_it(tmp_path):
    fox = imaged(tmp_path, "fox", 1, request={"prompt": "a fox"})
    edit = imaged(
        tmp_path,
        "night",
        1,
        endpoint=Endpoint.EDIT,
        request={"prompt": "make it night"},
        metadata={"prompt": "a fox"},
        parent=Parent("fox", fox.files[0].sha256, 1),
    )
    assert (prompt_of(fox), prompt_of(edit)) == ("a fox", "a fox → make it night")
    (job,) = derived(tmp_path, Derivation.upscale(2), edit)
    assert job.metadata == {"prompt": "a fox → make it night"}
    own = msgspec.structs.replace(fox, metadata={"prompt": "the user's own"})
    (job,) = derived(tmp_path, Derivation.upscale(2), own)
    assert job.metadata == {"prompt": "the user's own"}
    silent = msgspec.structs.replace(fox, request={}, metadata=None)
    (job,) = derived(tmp_path, Derivation.upscale(2), silent)
    assert (job.metadata, prompt_of(silent)) == (None, "")
    (again,) = redone(msgspec.structs.replace(edit, endpoint=Endpoint.GENERATE, request={"model": "m", "prompt": "p"}))
    assert again.parent == edit.parent


def test_only_images_of_the_folder_are_sent(tmp_path):
    root = tmp_path / "out"
    record = imaged(root, "a", 1)
    (root / "images/link.png").symlink_to(root / "images/a.png")
    paths = ("../secret.png", "/etc/passwd", "images/link.png", "images/gone.png")
    files = tuple(msgspec.structs.replace(record.files[0], path=path) for path in paths)
    with pytest.raises(JobsFileError) as caught:
        derived(root, Derivation.cut_out(), msgspec.structs.replace(record, files=files))
    assert [str(problem).partition(": ")[2] for problem in caught.value.problems] == [
        "image 1 of a: '../secret.png' is not a path of an image",
        "image 2 of a: '/etc/passwd' is not a path of an image",
        "image 3 of a: 'images/link.png' is a link, which is not followed",
        "image 4 of a: 'images/gone.png' is no longer in the folder",
    ]


@pytest.mark.parametrize(
    ("change", "what"), [({"sha256": "0" * 64}, "does not have this sha256"), ({"bytes": 1}, "has changed since")]
)
def test_an_image_that_is_not_the_recorded_one_is_not_sent(tmp_path, change, what):
    record = imaged(tmp_path, "a", 1)
    changed = msgspec.structs.replace(record, files=(msgspec.structs.replace(record.files[0], **change),))
    with pytest.raises(JobsFileError, match=what):
        derived(tmp_path, Derivation.cut_out(), changed)


def test_words_that_a_record_does_not_carry_come_from_its_parents_in_the_folder(tmp_path):
    def child(job_id, parent, endpoint, **request):
        made = imaged(tmp_path, job_id, 1, endpoint=endpoint, request=request)
        return msgspec.structs.replace(made, parent=Parent(parent, "0" * 64, 1))

    fox = imaged(tmp_path, "fox", 1, request={"prompt": "a fox"})
    large = child("large", "fox", Endpoint.UPSCALE, scale=2)
    night = child("night", "large", Endpoint.EDIT, prompt="at night")
    cut = child("cut", "night", Endpoint.BACKGROUND_REMOVE)
    orphan = child("orphan", "nowhere", Endpoint.UPSCALE)
    round_about = [child("x", "y", Endpoint.UPSCALE), child("y", "x", Endpoint.UPSCALE)]
    records = [fox, large, night, cut, orphan, *round_about]
    numbered, source = enumerate(records, 1), str(tmp_path / "manifest.jsonl")
    made = jobs_of(
        numbered,
        choice=Choice(),
        changes=Changes(),
        source=source,
        derivation=Derivation.upscale(2),
        words=ParentWords(records),
    )
    assert [(job.metadata or {}).get("prompt") for job in made] == [
        "a fox",
        "a fox",
        "a fox → at night",
        "a fox → at night",
        None,
        None,
        None,
    ]
