import os

import pytest

from venice_batch.output.memory import BUFFER_BYTES, InheritedMemory, Memory


def test_what_was_filled_is_read_by_the_process_that_inherits_the_memory():
    memory = Memory(2)
    assert memory.fill(1, 0, b"abc") == 3
    assert memory.fill(1, 3, b"de") == 2
    assert bytes(memory.read(1)[:5]) == b"abcde"
    assert bytes(InheritedMemory(memory.file).read(1)[:5]) == b"abcde"


def test_a_buffer_takes_what_it_has_room_for_and_spills_into_no_other():
    memory = Memory(2)
    memory.fill(1, 0, b"other")
    assert memory.fill(0, BUFFER_BYTES - 2, b"abc") == 2
    assert bytes(memory.read(0)[-2:]) == b"ab"
    assert bytes(memory.read(1)[:5]) == b"other"


def _no_memory(*args):
    raise OSError("not here")


@pytest.mark.parametrize("missing", ["memfd_create", "ftruncate"])
def test_without_memory_that_can_be_shared_the_memory_serves_this_process(monkeypatch, missing):
    monkeypatch.setattr(os, missing, _no_memory)
    memory = Memory(2)
    assert memory.file == -1
    memory.fill(1, 0, b"abc")
    assert bytes(memory.read(1)[:3]) == b"abc"


def test_a_system_that_knows_no_shared_memory_is_none_to_stop_at(monkeypatch):
    monkeypatch.delattr(os, "memfd_create")
    assert Memory(1).file == -1


def test_the_descriptor_goes_with_the_memory():
    memory = Memory(1)
    file = memory.file
    del memory
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(file)
