"""Pictures that jobs send along: files, URLs, base64, and what is wrong with them."""

import base64
import hashlib
import io
import os
from pathlib import Path

import orjson
import pytest
from pictures import picture

from venice_batch.errors import JobsFileError
from venice_batch.jobfile import Defaults, JobIndex, open_source, pictures
from venice_batch.jobfile.line import parse
from venice_batch.jobfile.pictures import Pictures, base64_of, size_faults
from venice_batch.model import Endpoint

UPSCALE, EDIT, MULTI_EDIT, REMOVE = Endpoint.UPSCALE, Endpoint.EDIT, Endpoint.MULTI_EDIT, Endpoint.BACKGROUND_REMOVE
CAT, DOG = picture(), picture(colour="#2030c0", kind="JPEG")
URL = "https://example.com/cat.png"


def sha(data):
    return hashlib.sha256(data).hexdigest()


@pytest.fixture
def photos(tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos/cat.png").write_bytes(CAT)
    (tmp_path / "photos/dog.jpg").write_bytes(DOG)
    return tmp_path / "photos"


def read(record, folder, **options):
    line = orjson.dumps(record)
    known = Pictures(str(folder))
    return parse(line, number=1, first_index=0, defaults=Defaults(), source="j.jsonl", pictures=known, **options)


def job(record, folder):
    parsed = read(record, folder)
    assert not parsed.problems, parsed.problems
    return parsed.jobs[0]


def message(record, folder):
    (problem,) = read(record, folder).problems
    return f"{problem.field}: {problem.what}"


def upscale(image, **fields):
    return {"endpoint": "/image/upscale", "image": image, **fields}


def edit(image, **fields):
    return {"endpoint": "/image/edit", "image": image, "prompt": "p", **fields}


def remove(image):
    return {"endpoint": "/image/background-remove", "image": image}


def test_a_path_is_relative_to_the_jobs_files_folder_and_becomes_the_content_that_it_leads_to(photos, monkeypatch):
    one = job(upscale("photos/cat.png"), photos.parent)
    assert one.request == {"image": {"path": str(photos / "cat.png"), "sha256": sha(CAT)}}
    assert job(upscale("../photos/./cat.png"), photos) == one
    assert job(upscale(str(photos / "cat.png")), "/elsewhere") == one
    assert job(upscale(f"file://{photos}/cat.png"), "/elsewhere") == one
    monkeypatch.chdir(photos)
    assert job(upscale("cat.png"), "") == one


def test_a_line_in_openais_shape_names_pictures_in_its_body(photos):
    body = {"prompt": "p", "images": ["cat.png"]}
    line = {"custom_id": "a", "method": "POST", "url": "/v1/image/multi-edit", "body": body}
    one = job(line, photos)
    assert (one.id, one.endpoint) == ("a", MULTI_EDIT)
    assert one.request["images"] == [{"path": str(photos / "cat.png"), "sha256": sha(CAT)}]


def test_a_file_url_may_have_escapes_and_this_machine_as_host(photos):
    (photos / "a cat.png").write_bytes(CAT)
    one = job(upscale(f"file://localhost{photos}/a%20cat.png"), "")
    assert one.request["image"]["path"] == str(photos / "a cat.png")
    assert "no such file" in message(upscale(f"file://elsewhere{photos}/cat.png"), "")


def test_a_settled_request_is_a_line_of_the_same_job(photos):
    for record in (upscale("cat.png", scale=4), edit("dog.jpg"), {**edit(""), "endpoint": "/image/multi-edit"}):
        if record["endpoint"] == "/image/multi-edit":
            del record["image"]
            record["images"] = ["cat.png", URL, "dog.jpg"]
        one = job(record, photos)
        again = job({"endpoint": one.endpoint, **one.request}, "/elsewhere")
        assert (again.request, again.request_hash) == (one.request, one.request_hash)


def test_a_job_is_the_same_by_the_content_of_its_files_not_by_their_place(photos):
    first = job(upscale("cat.png"), photos)
    (photos / "moved.png").write_bytes(CAT)
    assert job(upscale("moved.png"), photos).request_hash == first.request_hash
    (photos / "cat.png").write_bytes(DOG)
    assert job(upscale("cat.png"), photos).request_hash != first.request_hash


def test_the_order_of_pictures_counts(photos):
    lines = [
        {"endpoint": "/image/multi-edit", "prompt": "p", "images": names}
        for names in (["cat.png", "dog.jpg"], ["dog.jpg", "cat.png"], ["cat.png"])
    ]
    assert len({job(line, photos).request_hash for line in lines}) == 3


def test_a_file_with_another_hash_than_required_is_reported(photos):
    assert job(upscale({"path": "cat.png", "sha256": sha(CAT)}), photos)
    assert job(upscale({"path": "cat.png"}), photos).request["image"]["sha256"] == sha(CAT)
    assert message(upscale({"path": "cat.png", "sha256": sha(DOG)}), photos) == (
        "image: cat.png does not have this sha256; leave sha256 out to send the file as it is"
    )


@pytest.mark.parametrize("endpoint", [EDIT, MULTI_EDIT, REMOVE])
def test_urls_are_passed_on_where_the_api_fetches_them(endpoint, tmp_path):
    request = {"images": [URL]} if endpoint is MULTI_EDIT else {"image": URL}
    assert Pictures(str(tmp_path)).settle(endpoint, request) == (request, [])


def test_upscaling_takes_no_url(tmp_path):
    expected = "image: /image/upscale takes no URL; download the picture, and give its path"
    assert message(upscale(URL), tmp_path) == expected


def test_an_image_url_is_an_address(tmp_path):
    assert job({"endpoint": "/image/background-remove", "image_url": URL}, tmp_path).request == {"image_url": URL}
    assert message({"endpoint": "/image/background-remove", "image_url": "cat.png"}, tmp_path) == (
        "image_url: expected an http:// or https:// address; a file goes into image"
    )


@pytest.mark.parametrize("data", [CAT, picture(kind="JPEG"), picture(kind="WEBP"), picture(kind="AVIF")])
def test_base64_and_data_urls_stay_as_they_are_written(data, tmp_path):
    text = base64.b64encode(data).decode()
    for image in (text, f"data:image/png;base64,{text}"):
        assert job(upscale(image), tmp_path).request == {"image": image}
        assert base64_of(image) == text


@pytest.mark.parametrize(
    ("image", "reason"),
    [
        ("data:image/png,abc", "cannot be decoded: a data URL has to be base64: data:image/png;base64,…"),
        ("data:image/png;base64,@@@", "cannot be decoded: "),
        ("data:image/png;base64,aGVsbG8=", "holds no JPEG, PNG, WebP, AVIF or HEIC image"),
        ("data:image/png;base64," + base64.b64encode(picture(100, 100)).decode(), "is 100x100, 10,000 pixels"),
        (base64.b64encode(b"text " * 2000).decode(), "is 13,336 characters long; expected a path, a URL, or base64"),
    ],
)
def test_content_that_is_not_a_picture_is_reported(image, reason, tmp_path):
    assert reason in message(upscale(image), tmp_path)


def test_a_file_that_cannot_be_sent_is_reported_with_its_path(photos, monkeypatch):
    (photos / "text.png").write_text("hello")
    (photos / "empty.png").touch()
    (photos / "cut.png").write_bytes(CAT[:20])
    os.mkfifo(photos / "pipe")
    reasons = {
        "gone.png": f"image: no such file: {photos}/gone.png",
        ".": f"image: {photos} is a folder; expected a picture",
        "pipe": f"image: {photos}/pipe is not a regular file; expected a picture",
        "text.png": f"image: {photos}/text.png is not a JPEG, PNG, WebP, AVIF or HEIC image",
        "cut.png": f"image: {photos}/cut.png is not a JPEG, PNG, WebP, AVIF or HEIC image",
        "empty.png": f"image: {photos}/empty.png is empty",
        "x" * 300: "File name too long",
        "a\0b": "cannot be read: ",
        "cat.png/x": "image: cat.png/x cannot be read: Not a directory",
    }
    for path, reason in reasons.items():
        assert reason in message(upscale(path), photos), path
    monkeypatch.setattr(pictures, "LARGEST_BYTES", 100)
    assert "cat.png has 0.0 MB; the API takes less than" in message(upscale("cat.png"), photos)


def test_a_file_that_may_not_be_read_is_reported(photos, monkeypatch):
    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("builtins.open", refuse)
    assert message(upscale("cat.png"), photos) == "image: cat.png cannot be read: Permission denied"


def test_a_message_cannot_act_on_a_terminal(tmp_path):
    assert "\x1b" not in message(upscale("\x1b[2J.png"), tmp_path)


@pytest.mark.parametrize(
    ("endpoint", "width", "height", "fault"),
    [
        (UPSCALE, 256, 256, None),
        (UPSCALE, 255, 256, "is 255x256, 65,280 pixels; /image/upscale takes 65,536 (256x256) or more"),
        (UPSCALE, 2048, 2048, None),
        (UPSCALE, 63, 1100, "is 63x1100; the API takes 64 pixels or more a side"),
        (EDIT, 64, 1024, None),
        (UPSCALE, 2049, 2048, "is 2049x2048; twice that has 16,785,408 pixels, and /image/upscale makes at"),
        (EDIT, 255, 256, "is 255x256, 65,280 pixels; /image/edit takes 65,536 (256x256) or more"),
        (EDIT, 5760, 5760, None),
        (MULTI_EDIT, 5761, 5760, "is 5761x5760, 33,183,360 pixels; /image/multi-edit takes at most 33,177,600"),
        (REMOVE, 1, 1, None),
        (REMOVE, 9000, 9000, None),
    ],
)  # fmt: skip
def test_sizes_are_those_of_the_description(endpoint, width, height, fault):
    found = list(size_faults(endpoint, width, height))
    assert len(found) == (fault is not None)
    assert not fault or found[0].startswith(fault)


@pytest.mark.parametrize(
    ("endpoint", "image"),
    [
        (UPSCALE, URL),
        (EDIT, base64.b64encode(picture(kind="GIF")).decode()),
        (EDIT, base64.b64encode(picture(100, 100)).decode()),
    ],
)
def test_kinds_and_sizes_that_the_api_may_take_one_day_are_open(endpoint, image, tmp_path):
    (fault,) = Pictures(str(tmp_path)).settle(endpoint, {"image": image})[1]
    assert fault.is_open


def test_a_file_of_a_kind_that_is_not_known_is_settled_all_the_same(photos):
    (photos / "new.jxl").write_bytes(b"a new kind")
    request, (fault,) = Pictures(str(photos)).settle(EDIT, {"image": "new.jxl"})
    assert fault.is_open
    assert request["image"] == {"path": str(photos / "new.jxl"), "sha256": sha(b"a new kind")}


def test_all_mistakes_of_a_line_are_reported_at_once(photos):
    record = {"endpoint": "/image/multi-edit", "images": ["cat.png", "gone.png", "no.png"], "promt": "p"}
    fields = [problem.field for problem in read(record, photos).problems]
    assert fields == ["promt", "prompt", "images[1]", "images[2]"]


def test_values_of_the_wrong_type_are_reported_once(tmp_path):
    for image in (7, [], None, {"path": 7}, {"path": ""}, {}):
        assert len(read(upscale(image), tmp_path).problems) == 1


def test_a_matrix_runs_over_pictures_and_fields(photos):
    line = upscale("cat.png", id="big") | {"matrix": {"scale": [2, 4]}}
    parsed = read(line, photos)
    assert [(one.id, one.request["scale"]) for one in parsed.jobs] == [("big__scale-2", 2), ("big__scale-4", 4)]
    line = {"id": "cut", "endpoint": "/image/background-remove", "matrix": {"image": ["cat.png", "dog.jpg"]}}
    parsed = read(line, photos)
    assert [one.id for one in parsed.jobs] == ["cut__image-cat.png", "cut__image-dog.jpg"]


def write(path, *records):
    path.write_bytes(b"\n".join(map(orjson.dumps, records)))
    return str(path)


def test_each_file_is_read_once_however_often_it_is_named(photos, monkeypatch):
    reads = []
    digest = hashlib.file_digest
    monkeypatch.setattr(hashlib, "file_digest", lambda *given: reads.append(1) or digest(*given))
    lines = [upscale("photos/cat.png", id=f"a{number}") for number in range(20)]
    lines += [edit("photos/dog.jpg", id="b")]
    with open_source(write(photos.parent / "jobs.jsonl", *lines)) as source:
        index = JobIndex.build(source)
        assert len(list(index.jobs_in_order())) == 21
    assert len(reads) == 2


def test_a_file_that_changes_after_the_check_is_the_one_that_was_checked(photos):
    """The upload checks for a change of the picture; the jobs file itself has not changed."""
    with open_source(write(photos.parent / "jobs.jsonl", upscale("photos/cat.png"))) as source:
        index = JobIndex.build(source)
        (photos / "cat.png").write_bytes(DOG)
        (one,) = index.jobs_in_order()
    assert one.request["image"]["sha256"] == sha(CAT)


def test_paths_from_standard_input_start_at_the_current_folder(photos, monkeypatch):
    monkeypatch.chdir(photos)
    with open_source("-", io.BytesIO(orjson.dumps(upscale("cat.png")))) as source:
        index = JobIndex.build(source)
        monkeypatch.chdir("/")
        (one,) = index.jobs_in_order()
    assert one.request["image"]["path"] == str(photos / "cat.png")


def test_paths_in_a_packed_file_or_a_table_start_at_its_folder(photos, tmp_path):
    import gzip

    (tmp_path / "jobs.jsonl.gz").write_bytes(gzip.compress(orjson.dumps(upscale("photos/cat.png"))))
    (tmp_path / "jobs.csv").write_text("id,endpoint,image,scale\na,/image/upscale,photos/cat.png,4\n")
    for name in ("jobs.jsonl.gz", "jobs.csv"):
        with open_source(tmp_path / name) as source:
            (one,) = JobIndex.build(source).jobs_in_order()
        assert Path(one.request["image"]["path"]) == photos / "cat.png"
    assert one.request["scale"] == 4


def test_a_missing_file_is_a_problem_of_its_line(photos):
    with (
        open_source(
            write(photos.parent / "jobs.jsonl", upscale("photos/cat.png"), upscale("photos/cow.png"))
        ) as source,
        pytest.raises(JobsFileError) as caught,
    ):
        JobIndex.build(source)
    assert str(caught.value) == f"{photos.parent}/jobs.jsonl:2: image: no such file: {photos}/cow.png"


def test_a_setting_reaches_the_endpoints_that_know_the_field(photos):
    defaults = Defaults.of(["scale=4", "model=m"])
    assert defaults.apply(UPSCALE, {}) == {"scale": 4}
    assert defaults.apply(EDIT, {}) == {"model": "m"}
    assert defaults.apply(REMOVE, {}) == {}
