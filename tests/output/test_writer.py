import os
import socket
import threading

import msgspec
import pytest

from venice_batch.output.orders import Done, Drop, Ending, Write
from venice_batch.output.store import ImageStore
from venice_batch.output.writer import serve


class Served:
    """The other end of a link, as its parent has it."""

    def __init__(self, images, parent):
        self.link, theirs = socket.socketpair()
        self.link.settimeout(10)
        store = ImageStore(str(images), lambda number: memoryview(b"data"))
        self.thread = threading.Thread(target=self._serve, args=(theirs, store, parent))
        self.thread.start()
        self.lines = self.link.makefile("rb")

    def _serve(self, theirs, store, parent):
        with theirs:
            serve(theirs, store, parent)

    def ask(self, *orders):
        self.link.sendall(b"".join(msgspec.json.encode(order) + b"\n" for order in orders))

    def answer(self):
        return msgspec.json.decode(self.lines.readline(), type=Ending)

    def close(self):
        self.lines.close()
        self.link.close()
        self.thread.join(10)
        assert not self.thread.is_alive()


@pytest.fixture
def served(tmp_path):
    one = Served(tmp_path, os.getppid())
    yield one
    one.close()


def test_each_order_is_answered_in_turn_after_a_greeting(served, tmp_path):
    assert served.lines.readline() == b"\n"
    served.ask(Write(".p", 0, 4), Write("missing/.p", 0, 4), Drop((".p",)))
    assert served.answer() == Done()
    assert served.answer().why == "No such file or directory"
    assert served.answer() == Done()
    assert os.listdir(tmp_path) == []


def test_an_order_that_arrives_in_two_halves_is_one_order(served, tmp_path):
    text = msgspec.json.encode(Write(".p", 0, 4)) + b"\n"
    served.lines.readline()
    served.link.sendall(text[:10])
    served.link.sendall(text[10:])
    assert served.answer() == Done()
    assert (tmp_path / ".p").read_bytes() == b"data"


def test_with_its_parent_gone_it_touches_nothing(tmp_path):
    orphan = Served(tmp_path, parent=-1)
    assert orphan.lines.readline() == b"\n"
    orphan.ask(Write(".p", 0, 4))
    assert orphan.lines.readline() == b""
    orphan.close()
    assert os.listdir(tmp_path) == []


def test_a_parent_that_hears_no_answer_ends_it():
    ours, theirs = socket.socketpair()
    ours.close()
    with theirs:
        serve(theirs, ImageStore("nowhere", lambda number: memoryview(b"")), os.getppid())
