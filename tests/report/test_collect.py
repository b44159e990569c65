"""One reading of the records for several collectors, each with its own failures."""

import tempfile

import pytest
from records import IMAGE, failed, outcome

from venice_batch.errors import FolderError, UsageError
from venice_batch.model import Flags
from venice_batch.output.annotations import Annotation, AnnotationsFile
from venice_batch.report import collect as module
from venice_batch.report.collect import Collector, FailOn, FlaggedJobs, Spool, collect, failure_text


class Ids(Collector):
    """Keeps places and ids; fails at the id `fails_at`."""

    def __init__(self, fails_at=None):
        super().__init__()
        self.found = []
        self.fails_at = fails_at

    def add(self, place, outcome):
        if outcome.id == self.fails_at:
            raise ValueError(outcome.id)
        self.found.append((place, outcome.id))


def records(*ids):
    return [(place, outcome(job_id)) for place, job_id in enumerate(ids)]


def test_every_collector_receives_every_record_of_one_reading():
    readings = []
    one, other = Ids(), Ids()
    collect(lambda: [readings.append(1), records("a", "b")][1], [one, other])
    assert one.found == other.found == [(0, "a"), (1, "b")]
    assert len(readings) == 1


def test_a_collector_that_fails_keeps_its_error_and_costs_no_other_a_record():
    bad, good = Ids(fails_at="b"), Ids()
    collect(lambda: records("a", "b", "c"), [bad, good])
    assert good.found == [(0, "a"), (1, "b"), (2, "c")]
    assert bad.found == [(0, "a")]
    good.raise_error()
    with pytest.raises(ValueError, match="b"):
        bad.raise_error()


def test_records_that_cannot_be_read_are_the_error_of_all_that_are_left(tmp_path):
    def broken():
        yield from records("a")
        raise FolderError(tmp_path, "cannot be read")

    bad, good = Ids(fails_at="a"), Ids()
    collect(broken, [bad, good])
    assert isinstance(bad.error, ValueError)
    assert isinstance(good.error, FolderError)


def test_flagged_jobs_of_the_file_are_counted_and_the_first_are_named():
    flagged = FlaggedJobs({"blurred"})
    flagged.add(0, outcome("fine"))
    flagged.add(1, failed("other", flags=Flags(content_violation=True)))
    flagged.add(None, outcome("of another file", flags=Flags(blurred=True)))
    for number in range(7):
        flagged.add(2 + number, outcome(f"j{number}", flags=Flags(blurred=True)))
    assert flagged.count == 7
    assert flagged.notice() == "7 jobs with a flag of --fail-on: j0, j1, j2, j3, j4, …"


@pytest.mark.parametrize("size", [10, 1000])
def test_a_spool_gives_back_its_lines_from_memory_or_disk(size, monkeypatch):
    monkeypatch.setattr(module, "_IN_MEMORY_BYTES", 100)
    spool = Spool()
    lines = [b"x" * size + b"\n", b"y\n"]
    for line in lines:
        spool.write(line)
    assert list(spool.drain()) == lines


def test_a_spool_that_cannot_be_written_names_the_temporary_folder(monkeypatch):
    spool = Spool()
    monkeypatch.setattr(spool, "_file", open("/dev/full", "wb", buffering=0))  # noqa: SIM115
    with spool._file, pytest.raises(FolderError, match=f"{tempfile.gettempdir()}: the disk is full"):
        spool.write(b"x")


def scored(tmp_path, *found):
    """A folder where images of jobs have annotations: (id, values)."""
    with AnnotationsFile(tmp_path) as file:
        file.append(Annotation(IMAGE.sha256, job, 1, values, "2026-01-01T00:00:00Z") for job, values in found)
    return tmp_path


def test_an_image_fails_by_its_annotations_and_the_text_says_which(tmp_path):
    scored(tmp_path, ("bad", {"score": 0.25, "label": "cat"}), ("good", {"score": 0.75}))
    fail_on = FailOn({"score<0.5", "blurred"}, tmp_path)
    text = failure_text(outcome("bad"), fail_on)
    assert text == ("annotation", "score<0.5: images/a.webp has 0.25")
    assert failure_text(outcome("good"), fail_on) is None
    assert failure_text(outcome("unknown"), fail_on) is None
    assert failure_text(outcome("good", flags=Flags(blurred=True)), fail_on).kind == "blurred"
    assert failure_text(failed("bad"), fail_on).kind == "failed"
    assert failure_text(outcome("bad"), FailOn({"label=cat"}, tmp_path)).message.endswith('has "cat"')
    assert failure_text(outcome("bad"), {"score<0.5"}) is None, "without a folder there are no annotations"


def test_images_that_a_condition_cannot_judge_are_told_and_do_not_fail(tmp_path):
    flagged = FlaggedJobs(FailOn({"score<0.5"}, scored(tmp_path, ("j0", {"score": 0}), ("j1", {"score": 1}))))
    for number in range(3):
        flagged.add(number, outcome(f"j{number}"))
    flagged.add(None, outcome("of another file"))
    flagged.add(3, failed("without image"))
    assert list(flagged.notices()) == [
        "--fail-on: 1 of 3 images has no annotation 'score' and cannot fail by it",
        "1 job meets --fail-on: j0",
    ]


def test_a_name_that_no_image_has_is_told_with_those_that_there_are(tmp_path):
    flagged = FlaggedJobs(FailOn({"scor<0.5"}, scored(tmp_path, ("j0", {"score": 0, "ok": True}))))
    flagged.add(0, outcome("j0"))
    (notice,) = flagged.notices()
    assert notice == "--fail-on: no image has the annotation 'scor' yet, so none can fail by it; there is score, ok"


def test_nothing_is_told_when_every_image_is_judged_and_none_fails(tmp_path):
    flagged = FlaggedJobs(FailOn({"score<0.5"}, scored(tmp_path, ("j0", {"score": 1}))))
    flagged.add(0, outcome("j0"))
    assert (list(flagged.notices()), flagged.count) == ([], 0)


def test_a_condition_that_makes_no_sense_is_refused():
    with pytest.raises(UsageError, match="--fail-on: 'score<' is no condition"):
        FailOn({"score<"})
