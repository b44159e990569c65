from venice_batch.sandbox.failure_block import FailureBlock


def test_twenty_failures_are_tolerated_and_one_more_blocks_for_half_a_minute():
    block = FailureBlock(20, 30.0, 30.0)
    assert not any(block.record_failure(100.0 + i) for i in range(20))
    assert block.remaining_s(120.0) == 0
    assert block.record_failure(120.0)
    assert block.remaining_s(120.0) == 30.0
    assert block.remaining_s(149.5) == 0.5
    assert block.remaining_s(150.0) == 0


def test_failures_older_than_the_window_do_not_count():
    block = FailureBlock(2, 30.0, 30.0)
    assert not any(block.record_failure(t) for t in (0.0, 1.0, 30.0, 31.0, 60.0, 61.0))


def test_failures_during_a_block_do_not_extend_it():
    block = FailureBlock(1, 30.0, 30.0)
    block.record_failure(0.0)
    assert block.record_failure(0.0)
    assert not any(block.record_failure(20.0) for _ in range(10))
    assert block.remaining_s(30.0) == 0
    assert not block.record_failure(30.0)


def test_a_limit_of_zero_lifts_the_rule():
    block = FailureBlock(0, 30.0, 30.0)
    assert not any(block.record_failure(0.0) for _ in range(100))
