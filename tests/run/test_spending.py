import random

from hypothesis import given
from hypothesis import strategies as st

from venice_batch.run.spending import Balance, Reservation, Spending


def told(*balances):
    """An account that was told of balances, each with what they lack and may lack."""
    account = Balance()
    for balance, lacks, may_lack in balances:
        account.update(balance if isinstance(balance, dict) else {"USD": balance}, lacks=lacks, may_lack=may_lack)
    return account


def test_of_an_account_that_nothing_is_known_of_anything_is_expected():
    account = Balance()
    assert account.surely_covers(10**12)
    assert account.perhaps_covers(10**12)
    assert not account.believed


def test_a_balance_read_while_nothing_was_under_way_is_exact():
    account = told((100, 0, 0))
    assert account.surely_covers(100)
    assert not account.perhaps_covers(101)


def test_a_balance_may_lack_what_was_under_way_when_it_was_read():
    account = told((60, 20, 50))
    assert account.surely_covers(80)
    assert not account.surely_covers(81)
    assert account.perhaps_covers(110)
    assert not account.perhaps_covers(111)


def test_balances_narrow_each_other_down_in_whatever_order_they_come():
    newer, older = (60, 40, 50), (90, 0, 40)
    assert (told(newer, older).low, told(newer, older).high) == (100, 110)
    assert (told(older, newer).low, told(older, newer).high) == (100, 110)


def test_what_someone_else_has_spent_is_learned():
    account = told((100, 0, 0), (40, 10, 10))
    assert not account.perhaps_covers(51)
    assert account.surely_covers(50)


def test_a_top_up_is_learned():
    account = told((10, 0, 0), (5, 5, 5), (1000, 10, 10))
    assert account.surely_covers(1010)


def test_a_balance_is_believed_once_it_has_fallen():
    assert not told((100, 0, 0)).believed
    assert not told((100, 0, 0), (100, 30, 30)).believed
    assert told((100, 0, 0), (70, 30, 30)).believed


def test_a_balance_that_cannot_have_paid_for_an_image_is_believed_no_more():
    account = told((100, 0, 0), (70, 30, 30))
    account.disprove()
    account.update({"USD": 0}, lacks=100, may_lack=100)
    assert not account.believed
    assert account.surely_covers(10**12)


def test_the_largest_balance_counts_as_one_currency_pays_a_whole_request():
    account = told(({"DIEM": 40, "USD": 100}, 0, 0))
    assert account.surely_covers(100)
    assert not account.perhaps_covers(101)


def test_what_another_currency_has_paid_is_left_in_the_largest():
    account = told(({"DIEM": 40, "USD": 100}, 0, 0), ({"DIEM": 10, "USD": 100}, 30, 35))
    assert account.surely_covers(130)
    assert not account.perhaps_covers(136)


def test_diem_that_falls_proves_nothing_as_earned_credits_pay_after_it():
    assert not told(({"DIEM": 100, "USD": 0}, 0, 0), ({"DIEM": 5, "USD": 0}, 95, 95)).believed
    assert told(({"DIEM": 5, "USD": 100}, 0, 0), ({"DIEM": 5, "USD": 90}, 10, 10)).believed
    assert told(({"DIEM": 0, "USD": 10}, 0, 0), ({"DIEM": 0, "USD": 0}, 10, 10)).believed


def test_while_bundled_credits_are_listed_only_lists_count():
    assert told(({"DIEM": 0, "BUNDLED_CREDITS": 1, "USD": 0}, 0, 0)).only_lists
    assert not told(({"BUNDLED_CREDITS": 1}, 0, 0), ({"BUNDLED_CREDITS": 0, "USD": 5}, 1, 1)).only_lists


@given(st.integers(0, 2**32), st.integers(1, 8), st.booleans(), st.integers(0, 2000))
def test_what_really_is_in_the_account_is_always_within_the_bounds(seed, most_at_once, charged_at_once, funds):
    """A server that charges at admission or at the end, answers in any order, and one client of it."""
    rng = random.Random(seed)
    account, left = Balance(), funds
    spent = reserved = 0
    under_way = []
    for _ in range(60):
        price = rng.randint(1, 50)
        if len(under_way) < most_at_once and price <= left - (0 if charged_at_once else reserved):
            under_way.append((price, left, spent))
            reserved += price
            left -= price if charged_at_once else 0
        elif under_way:
            price, balance, spent_before = under_way.pop(rng.randrange(len(under_way)))
            account.update({"USD": balance}, lacks=spent_before, may_lack=spent + reserved - price)
            left -= 0 if charged_at_once else price
            reserved -= price
            spent += price
            assert account.low <= funds <= account.high


CURRENCIES = ("DIEM", "USD")


@given(st.integers(0, 2**32), st.integers(1, 8), st.integers(0, 2000), st.integers(0, 2000))
def test_with_two_currencies_what_is_surely_covered_can_be_paid(seed, most_at_once, diem, usd):
    """A server that pays each request from the first currency that covers it, and answers in any order."""
    rng = random.Random(seed)
    account, left = Balance(), {"DIEM": diem, "USD": usd}
    spent = reserved = 0
    under_way = []
    for _ in range(60):
        price = rng.randint(1, 50)
        if len(under_way) < most_at_once and account.surely_covers(spent + reserved + price):
            pays = next((name for name in CURRENCIES if left[name] >= price), None)
            if account.low is not None:
                assert pays is not None, "the account promised that this can be paid"
            if pays is None:
                continue
            under_way.append((price, dict(left), spent))
            reserved += price
            left[pays] -= price
        elif under_way:
            price, balances, spent_before = under_way.pop(rng.randrange(len(under_way)))
            account.update(balances, lacks=spent_before, may_lack=spent + reserved - price, own=price)
            reserved -= price
            spent += price
            # With nothing under way the bounds hold the truth, so a run never stops while money is left.
            if not under_way:
                assert account.high - spent >= max(left.values())


def with_balance(balance, **fields):
    spending = Spending(**fields)
    spending.update_balances({"USD": balance}, spent_before=0)
    return spending


def test_without_a_limit_everything_fits():
    spending = Spending()
    assert spending.reserve(10**12) is Reservation.GRANTED
    spending.settle(10**12, spent=10**12)
    assert spending.spent == 10**12


def test_what_is_given_back_may_be_spent_by_another():
    spending = Spending(limit=100)
    assert spending.reserve(60) is Reservation.GRANTED
    assert spending.reserve(60) is Reservation.LATER
    spending.settle(60, spent=0)
    assert spending.reserve(60) is Reservation.GRANTED
    spending.settle(60, spent=60)
    assert spending.reserve(60) is Reservation.OVER_LIMIT
    assert spending.reserved == 0


def test_a_request_may_cost_less_than_was_set_aside():
    spending = Spending(limit=100)
    assert spending.reserve(60) is Reservation.GRANTED
    spending.settle(60, spent=20)
    assert (spending.spent, spending.reserved) == (20, 0)
    assert spending.reserve(80) is Reservation.GRANTED


def test_currencies_are_not_added_up():
    spending = Spending()
    spending.update_balances({"DIEM": 30, "BUNDLED_CREDITS": 20, "USD": 40}, spent_before=0)
    assert spending.reserve(41) is Reservation.SHORT
    assert spending.reserve(40) is Reservation.GRANTED


def test_no_more_is_under_way_than_the_balance_surely_covers():
    spending = with_balance(100)
    assert spending.reserve(60) is Reservation.GRANTED
    assert spending.reserve(40) is Reservation.GRANTED
    assert spending.reserve(1) is Reservation.LATER
    spending.settle(60, spent=60)
    spending.settle(40, spent=40)
    assert spending.reserve(1) is Reservation.SHORT


def test_what_costs_nothing_that_is_known_needs_no_balance():
    assert with_balance(0).reserve(0) is Reservation.GRANTED


def test_where_the_balance_may_suffice_one_at_a_time_is_let_out():
    spending = Spending()
    assert [spending.reserve(10) for _ in range(4)] == [Reservation.GRANTED] * 4
    spending.update_balances({"USD": 10}, spent_before=0, own=10)  # written before, between or after the other three
    for _ in range(4):
        spending.settle(10, spent=0)
    assert spending.reserve(10) is Reservation.GRANTED
    assert spending.reserve(10) is Reservation.LATER


def test_the_lower_of_limit_and_balance_counts():
    assert with_balance(50, limit=100).reserve(60) is Reservation.SHORT
    assert with_balance(100, limit=50).reserve(60) is Reservation.OVER_LIMIT


def test_one_may_go_out_against_what_the_balance_says():
    spending = with_balance(5)
    assert spending.reserve(10) is Reservation.SHORT
    spending.reserve_regardless(10)
    assert spending.reserve(10) is Reservation.LATER
    spending.settle(10, spent=0)
    assert spending.reserved == 0


@given(
    st.integers(0, 1000),
    st.none() | st.integers(0, 1000),
    st.lists(st.tuples(st.integers(0, 300), st.booleans(), st.booleans()), max_size=50),
)
def test_no_order_of_events_spends_more_than_the_limit_or_an_exact_balance(limit, balance, steps):
    spending = Spending(limit=limit) if balance is None else with_balance(balance, limit=limit)
    under_way = []
    for price, billed, wait in steps:
        if spending.reserve(price) is Reservation.GRANTED:
            under_way.append((price, billed))
        if under_way and not wait:
            paid, was_billed = under_way.pop(0)
            spending.settle(paid, spent=paid if was_billed else 0)
        assert spending.spent + spending.reserved <= min(limit, limit if balance is None else balance)
