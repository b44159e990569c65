import gzip
import random
import zlib

import pytest

from venice_batch.sandbox import faults
from venice_batch.sandbox.faults import FaultPicker, corrupted, faulty_answer, from_gateway, injected_error
from venice_batch.sandbox.settings import FAULT_KINDS, SandboxSettings

RNG = random.Random(0)


def test_the_schedule_counts_requests_from_one():
    picker = FaultPicker(SandboxSettings(fault_schedule={2: "500"}))
    assert [picker.next() for _ in range(3)] == ["", "500", ""]


def test_the_same_seed_gives_the_same_faults_even_with_a_schedule():
    chance = {"fault_rate": 0.4, "fault_seed": 5}
    first = FaultPicker(SandboxSettings(**chance))
    second = FaultPicker(SandboxSettings(**chance, fault_schedule={1: "stall"}))
    plain, scheduled = [first.next() for _ in range(50)], [second.next() for _ in range(50)]
    assert plain[1:] == scheduled[1:]
    assert scheduled[0] == "stall"
    assert 5 < sum(map(bool, plain)) < 40


@pytest.mark.parametrize("fault", [kind for kind in FAULT_KINDS if kind not in faults.NEEDS_ANSWER])
def test_every_fault_without_a_real_answer_makes_its_own(fault):
    if fault.isdigit() and not from_gateway(int(fault)):
        assert injected_error(int(fault), 0).status == int(fault)
    else:
        assert faulty_answer(fault, "http://localhost:1/", RNG) is not None


@pytest.mark.parametrize("fault", sorted(faults.NEEDS_ANSWER))
def test_corrupted_answers_never_equal_the_good_one(fault):
    body = b'{"images":["' + b"QUJD" * 100 + b'"]}'
    answer = corrupted(fault, body, {}, is_json=True)
    whole = b"".join(answer.chunks) == body and answer.declared_bytes == len(body) and answer.ending == "whole"
    assert whole == (fault == "slow")


def test_only_a_503_has_retry_after():
    assert injected_error(503, 2.0).headers == {"Retry-After": "2"}
    assert injected_error(503, 0.0).headers == {}
    assert injected_error(500, 2.0).headers == {}


def test_the_bomb_is_valid_gzip(monkeypatch):
    monkeypatch.setattr(faults, "BOMB_BYTES", 1 << 25)
    packed = b"".join(faulty_answer("gzip-bomb", "", RNG).chunks)
    assert len(packed) < 1 << 17
    assert gzip.decompress(packed) == bytes(1 << 25)


def test_the_bomb_of_full_size_starts_to_inflate():
    chunks = faulty_answer("gzip-bomb", "", RNG).chunks
    inflater = zlib.decompressobj(wbits=31)
    assert inflater.decompress(next(chunks) + next(chunks), 1000) == bytes(1000)


def test_the_endless_body_is_capped(monkeypatch):
    monkeypatch.setattr(faults, "ENDLESS_BYTES", 1 << 17)
    assert sum(map(len, faulty_answer("endless", "", RNG).chunks)) > 1 << 17
