from hypothesis import given
from hypothesis import strategies as st

from venice_batch.engine.purse import Leave, Purse


def with_balance(balance, **fields):
    purse = Purse(**fields)
    purse.balances_told({"USD": balance}, spent_before=0)
    return purse


def test_without_a_limit_everything_fits():
    purse = Purse()
    assert purse.reserve(10**12) is Leave.GRANTED
    purse.settle(10**12, spent=10**12)
    assert purse.spent == 10**12


def test_what_is_given_back_may_be_spent_by_another():
    purse = Purse(limit=100)
    assert purse.reserve(60) is Leave.GRANTED
    assert purse.reserve(60) is Leave.LATER
    purse.settle(60, spent=0)
    assert purse.reserve(60) is Leave.GRANTED
    purse.settle(60, spent=60)
    assert purse.reserve(60) is Leave.OVER_LIMIT
    assert purse.reserved == 0


def test_a_request_may_cost_less_than_was_set_aside():
    purse = Purse(limit=100)
    assert purse.reserve(60) is Leave.GRANTED
    purse.settle(60, spent=20)
    assert (purse.spent, purse.reserved) == (20, 0)
    assert purse.reserve(80) is Leave.GRANTED


def test_currencies_are_not_added_up():
    purse = Purse()
    purse.balances_told({"DIEM": 30, "BUNDLED_CREDITS": 20, "USD": 40}, spent_before=0)
    assert purse.reserve(41) is Leave.SHORT
    assert purse.reserve(40) is Leave.GRANTED


def test_no_more_is_under_way_than_the_balance_surely_covers():
    purse = with_balance(100)
    assert purse.reserve(60) is Leave.GRANTED
    assert purse.reserve(40) is Leave.GRANTED
    assert purse.reserve(1) is Leave.LATER
    purse.settle(60, spent=60)
    purse.settle(40, spent=40)
    assert purse.reserve(1) is Leave.SHORT


def test_what_costs_nothing_that_is_known_needs_no_balance():
    assert with_balance(0).reserve(0) is Leave.GRANTED


def test_where_the_balance_may_suffice_one_at_a_time_is_let_out():
    purse = Purse()
    assert [purse.reserve(10) for _ in range(4)] == [Leave.GRANTED] * 4
    purse.balances_told({"USD": 10}, spent_before=0, own=10)  # written before, between or after the other three
    for _ in range(4):
        purse.settle(10, spent=0)
    assert purse.reserve(10) is Leave.GRANTED
    assert purse.reserve(10) is Leave.LATER


def test_the_lower_of_limit_and_balance_counts():
    assert with_balance(50, limit=100).reserve(60) is Leave.SHORT
    assert with_balance(100, limit=50).reserve(60) is Leave.OVER_LIMIT


def test_one_may_go_out_against_what_the_balance_says():
    purse = with_balance(5)
    assert purse.reserve(10) is Leave.SHORT
    purse.dare(10)
    assert purse.reserve(10) is Leave.LATER
    purse.settle(10, spent=0)
    assert purse.reserved == 0


@given(
    st.integers(0, 1000),
    st.none() | st.integers(0, 1000),
    st.lists(st.tuples(st.integers(0, 300), st.booleans(), st.booleans()), max_size=50),
)
def test_no_order_of_events_spends_more_than_the_limit_or_an_exact_balance(limit, balance, steps):
    purse = Purse(limit=limit) if balance is None else with_balance(balance, limit=limit)
    under_way = []
    for price, billed, wait in steps:
        if purse.reserve(price) is Leave.GRANTED:
            under_way.append((price, billed))
        if under_way and not wait:
            paid, was_billed = under_way.pop(0)
            purse.settle(paid, spent=paid if was_billed else 0)
        assert purse.spent + purse.reserved <= min(limit, limit if balance is None else balance)
