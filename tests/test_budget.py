from benchmarks.budget import find


def test_no_cap_is_exceeded_against_a_real_server():
    for run in find(4, seed=2):
        assert run.charged <= run.cap
        assert run.told is None or run.charged <= run.told <= run.cap
