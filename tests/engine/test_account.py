import random

from hypothesis import given
from hypothesis import strategies as st

from venice_batch.engine.account import Account


def told(*balances):
    """An account that was told of balances, each with what they lack and may lack."""
    account = Account()
    for balance, lacks, may_lack in balances:
        account.told(balance, lacks=lacks, may_lack=may_lack)
    return account


def test_of_an_account_that_nothing_is_known_of_anything_is_expected():
    account = Account()
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
    account.told(0, lacks=100, may_lack=100)
    assert not account.believed
    assert account.surely_covers(10**12)


@given(st.integers(0, 2**32), st.integers(1, 8), st.booleans(), st.integers(0, 2000))
def test_what_really_is_in_the_account_is_always_within_the_bounds(seed, most_at_once, charged_at_once, funds):
    """A server that charges at admission or at the end, answers in any order, and one client of it."""
    rng = random.Random(seed)
    account, left = Account(), funds
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
            account.told(balance, lacks=spent_before, may_lack=spent + reserved - price)
            left -= 0 if charged_at_once else price
            reserved -= price
            spent += price
            assert account.low <= funds <= account.high
