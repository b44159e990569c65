from benchmarks.crashes import crash


def test_a_killed_run_is_taken_up_where_it_was(tmp_path):
    found = crash(tmp_path, jobs=150, kills=4, concurrency=8, seed=3)
    assert found.is_sound, found
    assert found.kills >= 1
