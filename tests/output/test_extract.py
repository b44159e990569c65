"""What a stretch says, without the jobs at hand."""

import msgspec

from venice_batch.output.extract import Corrupt, Extract, extract
from venice_batch.output.state import DONE, REJECTED


def test_an_extract_tells_all_records_and_which_lines_are_none():
    lines = [
        b'{"id":"a","request_hash":"1","status":"succeeded"}\n',
        b"\n",
        b"torn\n",
        b'{"id":"a","request_hash":"2","status":"rejected"}\n',
    ]
    found = extract(4, lines, lambda files: True, sandbox=True)
    assert found == Extract(4, Corrupt(1, [3]), [("a", "1", DONE), ("a", "2", REJECTED)])
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(found), type=Extract) == found


def test_of_many_corrupt_lines_the_first_ten_are_numbered_and_all_counted():
    corrupt = Corrupt()
    corrupt.add(7)
    for before in (100, 200):
        later = Corrupt()
        for number in range(1, 21):
            later.add(number)
        corrupt.extend(later, before)
    assert corrupt == Corrupt(41, [7, *range(101, 110)])
