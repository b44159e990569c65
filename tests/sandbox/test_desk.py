import pytest

from venice_batch.sandbox.catalogue import shipped
from venice_batch.sandbox.desk import Desk, Ticket
from venice_batch.sandbox.native_request import read
from venice_batch.sandbox.refusal import Refusal
from venice_batch.sandbox.settings import SandboxSettings
from venice_batch.sandbox.stats import Stats

NOW = 1_800_000_000.0


def desk(**settings):
    stats = Stats(NOW)
    return Desk(SandboxSettings(**settings), stats), stats


def order(**fields):
    return read({"model": "venice-sd35", "prompt": "p", **fields}, shipped())


@pytest.mark.parametrize(
    ("wanted", "key", "let_in"),
    [(None, "any", True), (None, "invalid", False), (None, None, False), ("k", "k", True), ("k", "j", False)],
)
def test_which_keys_are_let_in(wanted, key, let_in):
    tested, _ = desk(api_key=wanted)
    refused = tested.knock(key, NOW)
    assert (refused is None) == let_in
    assert refused is None or (refused.status, refused.message) == (401, "Authentication failed")


def test_models_have_windows_of_their_own_and_share_one_account():
    tested, stats = desk(rpm=1, rpm_by_model={"chroma": 2})
    assert isinstance(tested.admit(order(), NOW), Ticket)
    refused = tested.admit(order(), NOW)
    assert isinstance(refused, Refusal)
    assert refused.status == 429
    assert refused.headers["Retry-After"] == "60"
    assert refused.headers["x-ratelimit-remaining-requests"] == "0"
    assert isinstance(tested.admit(order(model="chroma"), NOW), Ticket)
    assert isinstance(tested.admit(order(model="chroma"), NOW), Ticket)
    assert stats.snapshot(0)["by_model"]["venice-sd35"] == {"requests": 2, "succeeded": 0, "refused": 1}


def test_speed_shortens_the_window_and_sends_decimals():
    tested, _ = desk(rpm=1, speed=100)
    tested.admit(order(), NOW)
    refused = tested.admit(order(), NOW + 0.1)
    assert isinstance(refused, Refusal)
    assert float(refused.headers["Retry-After"]) == pytest.approx(0.5, abs=0.002)
    assert isinstance(tested.admit(order(), NOW + 0.601), Ticket)


def test_the_day_has_a_quota_too():
    tested, _ = desk(rpm=0, rpd=1)
    assert tested.headers("venice-sd35", NOW) == {}
    tested.admit(order(), NOW)
    refused = tested.admit(order(), NOW)
    assert isinstance(refused, Refusal)
    assert int(refused.headers["Retry-After"]) > 3600


def test_capacity_is_given_free_by_settling():
    tested, stats = desk(capacity=1, retry_after_503_s=1.5)
    ticket = tested.admit(order(), NOW)
    assert isinstance(ticket, Ticket)
    refused = tested.admit(order(), NOW)
    assert isinstance(refused, Refusal)
    assert (refused.status, refused.message) == (503, "The model is at capacity. Please try again later.")
    assert refused.headers == {"Retry-After": "1.5"}
    tested.settle(ticket, charged=True)
    assert isinstance(tested.admit(order(), NOW), Ticket)
    assert stats.snapshot(0)["at_capacity"] == 1


def test_money_is_held_while_a_request_is_served():
    tested, _ = desk(balance_usd=0.015)
    ticket = tested.admit(order(), NOW)
    assert isinstance(ticket, Ticket)
    refused = tested.admit(order(), NOW)
    assert isinstance(refused, Refusal)
    assert refused.native() == {
        "error": "Insufficient USD or Diem balance to complete request",
        "code": "INSUFFICIENT_BALANCE",
    }
    tested.settle(ticket, charged=False)
    assert tested.ledger.balance_usd == 0.015


def test_the_block_has_the_documented_text_and_ends():
    tested, stats = desk()
    for _ in range(21):
        tested.record_failure("k", NOW)
    refused = tested.knock("k", NOW + 10)
    assert refused is not None
    assert refused.message == (
        "Too many failed attempts (> 20) resulting in a non-success status code. Please wait 30s and try again."
    )
    assert refused.headers == {"Retry-After": "20"}
    assert tested.knock("other", NOW + 10) is None
    assert tested.knock("k", NOW + 30) is None
    assert (stats.snapshot(0)["blocks"], stats.snapshot(0)["blocked"]) == (1, 1)


def test_strangers_failures_are_not_counted():
    tested, stats = desk(failure_limit=1)
    for _ in range(9):
        tested.record_failure("invalid", NOW)
        tested.record_failure(None, NOW)
    assert stats.snapshot(0)["blocks"] == 0


def test_words_steer_moderation_and_pro_models_are_refused():
    tested, _ = desk(pro_models=frozenset({"chroma"}))
    ticket = tested.admit(order(prompt="nsfw violation"), NOW)
    assert isinstance(ticket, Ticket)
    assert (ticket.adult, ticket.violation) == (True, True)
    refused = tested.admit(order(prompt="a Forbidden city"), NOW)
    assert isinstance(refused, Refusal)
    assert (refused.status, refused.native()["suggested_prompt"]) == (422, "a city")
    assert tested.admit(order(model="chroma"), NOW) == Refusal(401, "This model is only available to Pro users")
    assert isinstance(tested.admit(order(prompt="unforbiddenly"), NOW), Ticket)
