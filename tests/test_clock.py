import math

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from venice_batch.clock import BEAT_S, LONGEST_BEAT_S, READ_FIRST_S, SystemClock, left_s


class Hands:
    """A monotonic clock that a test moves."""

    def __init__(self):
        self.now_s = 100.0

    def __call__(self):
        return self.now_s


@pytest.fixture
def hands():
    return Hands()


async def test_a_stop_of_the_process_stands_still_on_the_running_clock(hands):
    clock = SystemClock(hands)
    with clock.beating():
        before = clock.running()
        hands.now_s += 3600
        assert clock.running() - before == pytest.approx(LONGEST_BEAT_S)
        assert clock.resumed() == hands.now_s
        hands.now_s += BEAT_S
        assert clock.running() - before == pytest.approx(LONGEST_BEAT_S + BEAT_S)
        assert clock.now() - 100 == pytest.approx(3600 + BEAT_S)


async def test_a_busy_loop_is_no_stop(hands):
    clock = SystemClock(hands)
    with clock.beating():
        for _ in range(100):
            hands.now_s += LONGEST_BEAT_S
            clock.running()
    assert clock.resumed() == -math.inf
    assert clock.running() == hands.now_s


async def test_without_beats_long_waits_are_taken_for_stops_by_nobody(hands):
    clock = SystemClock(hands)
    clock.running()
    hands.now_s += 3600
    assert clock.running() == hands.now_s
    with clock.beating(), clock.beating():
        pass
    hands.now_s += 3600
    assert clock.running() == hands.now_s


async def test_the_clock_is_looked_at_while_it_beats():
    looks = []
    clock = SystemClock(lambda: looks.append(None) or 0.0)
    with clock.beating():
        await anyio.sleep(3 * BEAT_S)
    assert len(looks) >= 3
    seen = len(looks)
    await anyio.sleep(2 * BEAT_S)
    assert len(looks) == seen


async def test_after_a_stop_there_is_a_chance_to_read_before_a_deadline_is_believed(hands):
    clock = SystemClock(hands)
    with clock.beating():
        ends_s = clock.running() + 0.1
        hands.now_s += 60
        assert left_s(clock, ends_s) == READ_FIRST_S
        assert left_s(clock, ends_s, chance_s=1.0) == 1.0
        for _ in range(60):
            hands.now_s += 0.1
            clock.running()
        assert left_s(clock, ends_s) < 0


@given(st.lists(st.floats(0, 10_000), max_size=50))
def test_the_running_clock_never_steps_back_and_never_overtakes(steps):
    async def go():
        hands = Hands()
        clock = SystemClock(hands)
        with clock.beating():
            last = clock.running()
            for step in steps:
                hands.now_s += step
                found = clock.running()
                assert last - 1e-6 <= found <= last + min(step, LONGEST_BEAT_S) + 1e-6
                last = found

    anyio.run(go)
