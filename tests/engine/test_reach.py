from venice_batch.engine.reach import Patience, Reach


def test_an_api_that_was_never_reached_is_given_up_soon():
    reach = Reach(Patience(first_s=15, later_s=120))
    assert reach.note(0, reached=False) is None
    assert reach.note(14, reached=False) is None
    assert "address" in reach.note(15, reached=False)


def test_an_outage_is_sat_out_for_longer():
    reach = Reach(Patience(first_s=15, later_s=120))
    reach.note(0, reached=True)
    assert reach.note(10, reached=False) is None
    assert reach.note(129, reached=False) is None
    assert "again" in reach.note(130, reached=False)


def test_one_connection_ends_an_outage():
    reach = Reach(Patience(first_s=15, later_s=120))
    reach.note(0, reached=True)
    reach.note(10, reached=False)
    reach.note(100, reached=True)
    assert reach.note(200, reached=False) is None
