from hypothesis import given
from hypothesis import strategies as st

from venice_batch.engine.purse import Purse


def test_without_a_limit_everything_fits():
    purse = Purse()
    assert purse.reserve(10**12)
    purse.settle(10**12, billed=True)
    assert purse.spent == 10**12


def test_what_is_given_back_may_be_spent_by_another():
    purse = Purse(limit=100)
    assert purse.reserve(60)
    assert not purse.reserve(60)
    assert purse.may_fit(60)
    purse.settle(60, billed=False)
    assert purse.reserve(60)
    purse.settle(60, billed=True)
    assert not purse.may_fit(60)


@given(st.integers(0, 1000), st.lists(st.tuples(st.integers(0, 300), st.booleans(), st.booleans()), max_size=50))
def test_no_order_of_events_spends_more_than_the_limit(limit, steps):
    purse = Purse(limit=limit)
    under_way = []
    for price, billed, wait in steps:
        if purse.reserve(price):
            under_way.append((price, billed))
        if under_way and not wait:
            paid, was_billed = under_way.pop(0)
            purse.settle(paid, billed=was_billed)
        assert purse.spent + purse.reserved <= limit
