"""A followed folder: the page as it is now, and each change once for everybody who asks from an earlier position."""

import msgspec
import pytest
from gallery.made import image_bytes, noise_bytes, put, record, write
from records import failed, outcome, summary

from venice_batch.errors import FolderError
from venice_batch.events import RunEnded, RunStarted
from venice_batch.output import folder
from venice_batch.output.annotations import NAME as ANNOTATIONS
from venice_batch.output.annotations import Annotation, AnnotationsFile
from venice_batch.output.marks import NAME, Mark, MarksFile
from venice_batch.output.run_file import RunFile
from venice_batch.run.totals import write_summary
from venice_batch.view.live import LiveFolder, State, check

AT = "2026-11-29T12:00:00Z"


def append(root, *outcomes):
    with (root / "manifest.jsonl").open("ab") as file:
        file.writelines(msgspec.json.encode(one) + b"\n" for one in outcomes)


def mark(outcome, said="picked", rating=None):
    return Mark(outcome.files[0].sha256, outcome.id, 1, said, rating, AT)


def say(root, *marks):
    with MarksFile(root) as file:
        file.append(marks)


def ids(cards):
    return [msgspec.json.decode(msgspec.json.decode(card)["line"])["id"] for card in cards]


def on_page(live):
    """Return the data of the page: the ids of its jobs, its marks and the number of jobs in its figures."""
    text = live.page().decode()
    data = msgspec.json.decode(text.partition('id="data">')[2].partition("</script>")[0])
    jobs = int(text.partition("<dt>Jobs</dt><dd>")[2].partition("<")[0])
    return ids([msgspec.json.encode(job) for job in data["jobs"]]), msgspec.convert(data["marks"], list[Mark]), jobs


@pytest.fixture
def live(tmp_path):
    write(tmp_path, record(tmp_path, "a"), failed("b"))
    live = LiveFolder(tmp_path)
    assert live.update()
    return live


def test_new_records_come_once_and_are_on_the_page(live, tmp_path):
    start = live.position
    assert not live.update()
    append(tmp_path, record(tmp_path, "c"), record(tmp_path, "d"))
    assert live.update()
    changes = live.since(start)
    assert ids(changes.cards) == ["c", "d"]
    assert live.since(changes.position) == (changes.position, [], [])
    assert ids(live.since(0).cards) == ["a", "b", "c", "d"]
    assert on_page(live) == (["a", "b", "c", "d"], [], 4)


def test_a_record_replaces_the_earlier_one_of_its_id(live, tmp_path):
    start = live.position
    append(tmp_path, record(tmp_path, "b"), failed("c"), record(tmp_path, "c", data=image_bytes(32, 32)))
    live.update()
    cards = live.since(start).cards
    assert ids(cards) == ["b", "c"]
    assert [msgspec.json.decode(card)["status"] for card in cards] == ["succeeded", "succeeded"]
    assert on_page(live) == (["a", "b", "c"], [], 3)
    assert live.since(start).cards == cards


def test_the_page_brings_what_changed_since_the_folder_was_read(live, tmp_path):
    """An image that vanishes after its record was read is missing on a page that counts anew, and for all others."""
    append(tmp_path, record(tmp_path, "b"))
    live.update()
    start = live.position
    (tmp_path / "images/a.png").unlink()
    live.page()
    (card,) = live.since(start).cards
    assert msgspec.json.decode(card)["pictures"][0]["state"] == "missing"


def test_a_manifest_that_is_written_anew_brings_only_what_differs(live, tmp_path):
    start = live.position
    (tmp_path / "new").write_bytes((tmp_path / "manifest.jsonl").read_bytes())
    (tmp_path / "new").replace(tmp_path / "manifest.jsonl")
    append(tmp_path, record(tmp_path, "c"))
    assert live.update()
    assert ids(live.since(start).cards) == ["c"]
    assert on_page(live) == (["a", "b", "c"], [], 3)


def test_jobs_that_a_new_manifest_lacks_leave_the_page(live, tmp_path):
    write(tmp_path, record(tmp_path, "c"))
    live.update()
    assert on_page(live) == (["c"], [], 1)


def test_lines_that_are_no_records_are_skipped(live, tmp_path):
    start = live.position
    with (tmp_path / "manifest.jsonl").open("ab") as file:
        file.write(b'no record\n\n{"id": 1}\n\xff\n{"id": "a"}\n' + b"[" * 100_000 + b"\n")
    live.update()
    assert live.since(start) == (start, [], [])


def test_marks_come_once_whoever_makes_them(live, tmp_path):
    one = record(tmp_path, "c")
    append(tmp_path, one)
    live.update()
    start = live.position
    say(tmp_path, mark(one), mark(one, rating=3))
    live.update()
    assert live.since(start).marks == [mark(one, rating=3)]
    assert on_page(live)[1] == [mark(one, rating=3)]
    start = live.position
    say(tmp_path, mark(one, rating=3))
    live.update()
    assert live.since(start).marks == []
    say(tmp_path, mark(one, None))
    live.update()
    assert live.since(start).marks == [mark(one, None)]
    assert on_page(live)[1] == []


def test_marks_that_are_removed_from_the_file_are_unmarked(live, tmp_path):
    one, other = record(tmp_path, "c"), record(tmp_path, "d")
    append(tmp_path, one, other)
    say(tmp_path, mark(one), mark(other))
    live.update()
    start = live.position
    (tmp_path / NAME).write_bytes(b"no mark\n" + msgspec.json.encode(mark(other)) + b"\n")
    live.update()
    assert live.since(start).marks == [mark(one, None)]


def give(root, outcome, **values):
    with AnnotationsFile(root) as file:
        file.append([Annotation(outcome.files[0].sha256, outcome.id, 1, values, AT)])


def given(rows):
    return [(row.id, row.image, row.values) for row in rows]


def test_annotations_come_once_with_all_values_of_their_image(live, tmp_path):
    one = record(tmp_path, "c")
    append(tmp_path, one)
    give(tmp_path, one, score=0.5)
    live.update()
    assert msgspec.json.decode(live.page().decode().partition('"annotations":')[2].partition(',"jobs"')[0]) == [
        ["c", 1, one.files[0].sha256[:16], {"score": 0.5}]
    ]
    start = live.position
    assert live.annotated_since(start) == []
    give(tmp_path, one, score=0.5)
    live.update()
    assert (live.position, live.annotated_since(start)) == (start, []), "nothing has changed"
    give(tmp_path, one, ok=True, score=None)
    give(tmp_path, one, more=1)
    live.update()
    assert given(live.annotated_since(start)) == [("c", 1, {"ok": True, "more": 1})]
    give(tmp_path, one, ok=None, more=None)
    give(tmp_path, one, last=1)
    live.update()
    assert given(live.annotated_since(start)) == [("c", 1, {"last": 1})]


def test_annotations_that_are_removed_from_the_file_leave_their_image(live, tmp_path):
    one, other = record(tmp_path, "c"), record(tmp_path, "d")
    append(tmp_path, one, other)
    give(tmp_path, one, score=1)
    give(tmp_path, other, score=2, old=1)
    live.update()
    start = live.position
    line = msgspec.json.encode(Annotation(other.files[0].sha256, "d", 1, {"score": 2}, AT))
    (tmp_path / ANNOTATIONS).write_bytes(b"no annotation\n" + line + b"\n")
    live.update()
    assert given(live.annotated_since(start)) == [("c", 1, {}), ("d", 1, {"score": 2})]


def test_images_are_known_by_job_hash_and_number(live, tmp_path):
    files = put(tmp_path, "images/c-1.png", noise_bytes()), put(tmp_path, "images/c-2.png", image_bytes(9, 9))
    append(tmp_path, outcome("c", files=files))
    live.update()
    assert live.has_image("c", files[1].sha256, 2)
    assert not live.has_image("c", files[1].sha256, 1)
    assert not live.has_image("a", files[1].sha256, 2)
    assert live.file("images/c-2.png") == files[1]
    assert live.file("manifest.jsonl") is None
    (name,) = live.thumbnails()
    assert live.thumbnail_of(name) == files[0]


def test_the_state_says_whether_a_run_holds_the_folder(live, tmp_path):
    assert live.state == State(running=False, done=2)
    with folder.hold(tmp_path):
        assert live.update()
        assert live.state == State(running=True, done=2)
    assert live.update()
    assert live.state == State(running=False, done=2)


def test_the_state_has_the_numbers_of_the_run_that_is_under_way(live, tmp_path):
    write_summary(tmp_path, summary(jobs=7, pending=0))
    watched = RunFile(tmp_path)
    with folder.hold(tmp_path):
        watched(RunStarted("run-2", "out", jobs=200, done=36, lanes=()))
        append(tmp_path, record(tmp_path, "c", run_id="run-2"), failed("b", run_id="run-2"))
        live.update()
        assert live.state == State(running=True, done=38, jobs=200, pending=162)
        append(tmp_path, record(tmp_path, "c", run_id="run-3"))
        live.update()
        assert live.state.done == 37
        watched(RunEnded(summary(jobs=200, pending=163)))
        write_summary(tmp_path, summary(jobs=200, pending=163))
    live.update()
    assert live.state == State(running=False, done=37, jobs=200, pending=163)


def test_the_state_has_the_numbers_of_the_last_run(live, tmp_path):
    write_summary(tmp_path, summary(jobs=200, pending=163))
    assert live.update()
    assert live.state == State(running=False, done=37, jobs=200, pending=163)
    write_summary(tmp_path, summary(jobs=200, pending=0))
    live.update()
    assert live.state == State(running=False, done=200, jobs=200, pending=0)
    (tmp_path / "summary.json").write_text("no summary\n")
    live.update()
    assert live.state == State(running=False, done=2)


def test_a_folder_that_goes_away_for_a_while_stays_as_it_was(live, tmp_path):
    append(tmp_path, record(tmp_path, "c"))
    away = (tmp_path / "manifest.jsonl").rename(tmp_path / "away")
    assert not live.update()
    away.rename(tmp_path / "manifest.jsonl")
    assert live.update()
    assert on_page(live)[0] == ["a", "b", "c"]


@pytest.mark.parametrize("name", ["manifest.jsonl", NAME, ANNOTATIONS])
def test_links_in_the_place_of_its_files_are_refused(tmp_path, name):
    root = write(tmp_path / "out", failed("a"))
    (tmp_path / "elsewhere").write_bytes((root / "manifest.jsonl").read_bytes())
    (root / name).unlink(missing_ok=True)
    (root / name).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(FolderError, match=f"{name}: is a link"):
        check(root)
    with pytest.raises(FolderError):
        LiveFolder(root).update()


def test_a_folder_without_a_manifest_is_refused(tmp_path):
    with pytest.raises(FolderError, match="holds no manifest"):
        check(tmp_path)
    check(write(tmp_path))
