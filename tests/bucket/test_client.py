"""The tries of a call: with which timeout, how long, and when no more."""

import os

import pytest
from faulty_store import FAULTS, Time
from obstore.exceptions import GenericError

from venice_batch.bucket.address import parse
from venice_batch.bucket.client import TIMEOUTS_S, Clients, Memory, Patience, Tries, connector
from venice_batch.errors import BucketError, UsageError


def tries(time, *, total_s=120.0, size_bytes=0):
    clients = Clients(lambda timeout_s: timeout_s)
    return Tries(clients, Patience(total_s, time.sleep, time.now), "s3://b", str, size_bytes=size_bytes)


def test_a_small_call_has_the_shortest_timeout_and_a_large_one_a_longer():
    assert tries(Time()).client == TIMEOUTS_S[0]
    assert tries(Time(), size_bytes=8_000_000).client == TIMEOUTS_S[1]
    assert tries(Time(), size_bytes=10**9).client == TIMEOUTS_S[2]


def test_each_hanging_request_gives_the_next_more_time():
    call = tries(Time())
    seen = [call.client]
    for _ in range(3):
        call.failed(FAULTS["hangs"]())
        seen.append(call.client)
    assert seen == [10, 30, 120, 120]


def test_a_call_with_little_patience_keeps_the_short_timeout():
    call = tries(Time(), total_s=15)
    call.failed(FAULTS["hangs"]())
    assert call.client == 10


def test_another_failure_leaves_the_timeout():
    call = tries(Time())
    call.failed(FAULTS["503"]())
    assert call.client == 10


def test_pauses_grow_and_end_with_the_patience():
    time = Time()
    call = tries(time, total_s=60)
    while time.now_s < 1060:
        call.failed(FAULTS["503"]())
    with pytest.raises(BucketError, match="for 60 s"):
        call.failed(FAULTS["503"]())
    assert max(time.slept[:2]) <= 0.4
    assert max(time.slept) <= 8
    assert len(time.slept) < 60


def test_a_success_begins_the_count_anew():
    time = Time()
    call = tries(time, total_s=10)
    call.failed(FAULTS["503"]())
    time.now_s += 100
    call.succeeded()
    call.failed(FAULTS["503"]())


def test_missing_credentials_are_reported_at_once_but_waited_for_once_they_were_there():
    error = GenericError("Generic S3 error: Error performing PUT http://169.254.169.254/latest/api/token in 1ms")
    with pytest.raises(BucketError, match="no credentials found"):
        tries(Time()).failed(error)
    call = tries(Time())
    call.succeeded()
    call.failed(error)


def test_a_client_is_made_once_for_each_timeout():
    made = []
    clients = Clients(lambda timeout_s: made.append(timeout_s) or timeout_s)
    assert [clients.get(1), clients.get(1), clients.get(0)] == [30, 30, 10]
    assert made == [30, 10]


def test_a_setting_that_the_client_refuses_is_one_line_without_secrets():
    environ = {"AZURE_STORAGE_ACCOUNT_NAME": "a", "AZURE_STORAGE_ACCOUNT_KEY": "no base64!"}
    with pytest.raises(UsageError, match=r"^az://b: Invalid Access Key: [^\n]*$") as refused:
        connector(parse("az://b"), environ)(10.0)
    assert "no base64!" not in str(refused.value)


def test_a_piece_larger_than_the_memory_goes_alone():
    memory = Memory(10)
    with memory.taken(4), memory.taken(6):
        pass
    with memory.taken(100):
        pass


@pytest.mark.parametrize("content", [b"", b"12345"])
def test_a_file_is_held_whole_and_given_back(tmp_path, content):
    path = tmp_path / "image"
    path.write_bytes(content)
    memory = Memory(3)
    for _ in range(2):
        with memory.content(path) as data:
            assert bytes(data) == content
            kept = memoryview(data)  # as a request does that has been given up
        del kept


def test_a_file_that_shrinks_while_it_is_read_is_an_error(tmp_path, monkeypatch):
    path = tmp_path / "image"
    path.write_bytes(b"12345")
    real = os.fstat
    monkeypatch.setattr("os.fstat", lambda file: os.stat_result([*real(file)[:6], 9, *real(file)[7:10]]))
    with pytest.raises(OSError, match="became shorter"), Memory(100).content(path):
        pass
