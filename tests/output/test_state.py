"""From a record to the state of its job."""

import pytest

from venice_batch.output.record import FileView, RecordView
from venice_batch.output.state import DONE, LOST, PENDING, PLAYED, REJECTED, state_of

FILES = (FileView("images/a.webp", 8),)


def never(files):
    raise AssertionError("looked at files that do not matter")


@pytest.mark.parametrize(("whole", "state"), [(True, DONE), (False, LOST)])
def test_a_success_is_worth_what_its_files_are(whole, state):
    assert state_of(RecordView("a", "h", "succeeded", FILES), lambda files: whole, sandbox=True) == state


@pytest.mark.parametrize(("status", "state"), [("rejected", REJECTED), ("failed", PENDING), ("of the future", PENDING)])
def test_without_a_success_no_file_is_looked_at(status, state):
    assert state_of(RecordView("a", "h", status, FILES), never, sandbox=False) == state


@pytest.mark.parametrize("status", ["succeeded", "failed", "rejected"])
def test_what_the_sandbox_said_counts_only_where_it_is_asked_again(status):
    record = RecordView("a", "h", status, FILES, sandbox=True)
    assert state_of(record, never, sandbox=False) == PLAYED
    assert state_of(record, lambda files: True, sandbox=True) != PLAYED
