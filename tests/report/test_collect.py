"""One reading of the records for several collectors, each with its own failures."""

import tempfile

import pytest
from records import failed, outcome

from venice_batch.errors import FolderError
from venice_batch.model import Flags
from venice_batch.report import collect as module
from venice_batch.report.collect import Collector, FlaggedJobs, Spool, collect


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
