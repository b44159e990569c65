from venice_batch.sandbox.errors import INSUFFICIENT
from venice_batch.sandbox.ledger import Ledger, Payment


def test_money_is_reserved_then_charged_or_given_back_to_the_cent():
    ledger = Ledger(0.03)
    payments = [ledger.reserve(10_000) for _ in range(4)]
    assert payments == [Payment("", "USD", 10_000)] * 3 + [INSUFFICIENT]
    ledger.charge(payments[0])
    ledger.give_back(payments[1])
    assert (ledger.balance_usd, ledger.charged_usd) == (0.01, 0.01)
