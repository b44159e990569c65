"""The file of the run that is under way: there while it lasts, and never in its way."""

import msgspec
import pytest
from records import summary

from venice_batch.events import Notice, RunEnded, RunStarted
from venice_batch.output import folder
from venice_batch.output.run_file import NAME, RunFile, Running

STARTED = RunStarted("run-1", "output/jobs", jobs=200, done=37, lanes=())


def test_the_numbers_are_there_while_the_run_lasts(tmp_path):
    watched = RunFile(tmp_path)
    watched(STARTED)
    watched(Notice("all is well"))
    assert msgspec.json.decode((tmp_path / NAME).read_bytes(), type=Running) == Running("run-1", 200, 37)
    watched(RunEnded(summary()))
    assert list(tmp_path.iterdir()) == []


def test_the_file_of_a_killed_run_is_gone_once_another_has_the_folder(tmp_path):
    RunFile(tmp_path)(STARTED)
    with folder.hold(tmp_path):
        assert not (tmp_path / NAME).exists()


@pytest.mark.parametrize("make", [lambda path: path.mkdir(), lambda path: path.symlink_to("nowhere/else")])
def test_a_file_that_cannot_be_written_is_no_error(tmp_path, make):
    make(tmp_path / NAME)
    watched = RunFile(tmp_path)
    watched(STARTED)
    watched(RunEnded(summary()))
    assert not (tmp_path / "nowhere").exists()
    RunFile(tmp_path / "gone")(STARTED)
