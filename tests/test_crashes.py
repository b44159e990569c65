import pytest

from benchmarks.crashes import crash


@pytest.mark.no_cover
@pytest.mark.parametrize("processes", [1, 2])
def test_a_killed_run_is_taken_up_where_it_was(tmp_path, processes):
    found = crash(tmp_path, jobs=150, kills=3, concurrency=8, seed=3, processes=processes)
    assert found.is_sound, found
    assert found.kills >= 1
