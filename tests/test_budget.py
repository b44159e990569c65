import pytest

from benchmarks.budget import find


@pytest.mark.no_cover
def test_no_cap_is_exceeded_and_a_plan_is_what_is_charged_against_a_real_server():
    found = find(6, seed=2)
    for run in found:
        assert run.charged <= run.cap
        assert run.told is None or run.charged <= run.told <= run.cap
        assert run.planned is None or run.planned == run.charged == run.told
    assert [run.planned is not None for run in found] == [False, False, True] * 2
