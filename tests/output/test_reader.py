"""The program that reads a manifest for another: stretches in, extracts out."""

import io
import subprocess
import sys

import msgspec
import pytest

from venice_batch.output.extract import Extract
from venice_batch.output.reader import GREETING, HEADER, serve
from venice_batch.output.state import DONE, LOST, PLAYED
from venice_batch.output.stretches import opened

SIZE_BYTES = 100
PROGRAM = [sys.executable, "-m", "venice_batch.output.reader"]


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "manifest.jsonl"
    (tmp_path / "a.webp").write_bytes(b"an image")
    record = b'{"id":"%d","request_hash":"h","status":"succeeded","files":[{"path":"a.webp","bytes":8}],"sandbox":%s}\n'
    path.write_bytes(b"torn\n" + b"".join(record % (number, (b"false", b"true")[number % 2]) for number in range(9)))
    return path


def extracts(output):
    """The extracts that `output` consists of, by their stretches' numbers."""
    assert output.startswith(GREETING)
    position = len(GREETING)
    found = {}
    while position < len(output):
        number, size = HEADER.unpack_from(output, position)
        position += HEADER.size + size
        found[number] = msgspec.msgpack.decode(output[position - size : position], type=Extract)
    return found


@pytest.mark.parametrize(
    ("verify", "sandbox", "states"),
    [(False, True, [DONE, DONE]), (False, False, [DONE, PLAYED]), (True, True, [LOST, LOST])],
)
def test_each_stretch_asked_for_is_extracted(path, verify, sandbox, states):
    out = io.BytesIO()
    with opened(path, SIZE_BYTES) as stretches:
        numbers = range(len(stretches) - 1, -1, -1)
        asked = [b"%d\n" % number for number in numbers]
        serve(asked, out, path, stretches.file, SIZE_BYTES, verify, sandbox)
    found = extracts(out.getvalue())
    assert list(found) == list(numbers)
    in_order = [found[number] for number in sorted(found)]
    records = [record for one in in_order for record in one.records]
    assert records == [(str(number), "h", states[number % 2]) for number in range(9)]
    assert sum(one.lines for one in in_order) == 10
    assert found[0].corrupt.numbers == [1]


def test_as_a_program_it_answers_and_ends_with_its_input(path):
    with opened(path, SIZE_BYTES) as stretches:
        options = [str(path), str(stretches.file), str(SIZE_BYTES), "0", "1"]
        done = subprocess.run(
            [*PROGRAM, *options], input=b"1\n0\n", capture_output=True, check=True, pass_fds=[stretches.file]
        )
    assert done.stderr == b""
    assert list(extracts(done.stdout)) == [1, 0]


def test_it_ends_when_nobody_hears_it_any_more(path):
    with opened(path, SIZE_BYTES) as stretches:
        options = [str(path), str(stretches.file), str(SIZE_BYTES), "0", "1"]
        with subprocess.Popen(
            [*PROGRAM, *options],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            pass_fds=[stretches.file],
        ) as process:
            process.stdout.close()
            process.stdin.write(b"0\n")
            process.stdin.flush()
            assert process.wait(60) == 0  # its input is still open
            assert b"Traceback" not in process.stderr.read()


def test_it_is_light():
    """It is to be at work before the first process is through; what it imports is most of its start."""
    program = "import sys, venice_batch.output.reader; print(*sys.modules)"
    modules = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, text=True).stdout.split()
    assert "msgspec" in modules
    assert not {"asyncio", "anyio", "aiohttp", "logging", "subprocess", "orjson"} & set(modules)
