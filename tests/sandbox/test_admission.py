import pytest

from venice_batch.sandbox.admission import Desk, Ticket
from venice_batch.sandbox.catalogue import shipped
from venice_batch.sandbox.error_budget import Bucket
from venice_batch.sandbox.errors import Refusal
from venice_batch.sandbox.generate import read
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
    if key is None:
        assert (refused.status, refused.native()["x402Version"], "PAYMENT-REQUIRED" in refused.headers) == (
            402,
            2,
            True,
        )
    else:
        assert refused is None or (refused.status, refused.message) == (401, "Authentication failed")
    old, _ = desk(api_key=wanted, era="2026-08")
    assert getattr(old.knock(key, NOW), "status", None) == (None if let_in else 401)


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


def test_in_august_the_block_has_the_documented_text_and_ends():
    tested, stats = desk(era="2026-08")
    for _ in range(21):
        tested.record_failure(Bucket("k"), 503, NOW)
    assert tested.budget_headers(Bucket("k"), NOW) == {}
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
        tested.record_failure(Bucket("invalid"), 400, NOW)
    assert stats.snapshot(0)["blocks"] == 0


def test_fifty_client_errors_are_tolerated_and_one_more_blocks_the_bucket_alone():
    tested, stats = desk()
    bucket = Bucket("k", "chroma")
    for status in (500, 503, 429):
        tested.record_failure(bucket, status, NOW)
    assert tested.budget_headers(bucket, NOW)["x-ratelimit-remaining"] == "50"
    for _ in range(50):
        tested.record_failure(bucket, 404, NOW)
    assert tested.blocked(bucket, NOW) is None
    tested.record_failure(bucket, 404, NOW + 1)
    refused = tested.blocked(bucket, NOW + 10)
    assert refused is not None
    assert refused.message.startswith("Too many failed attempts (> 50) resulting in a non-success status code. ")
    assert refused.headers == {"Retry-After": "20"}
    assert tested.budget_headers(bucket, NOW + 10) == {
        "x-ratelimit-remaining": "0",
        "x-ratelimit-resets": str(int(NOW + 30) * 1000),
    }
    assert tested.blocked(Bucket("k", "venice-sd35"), NOW + 10) is None
    assert tested.blocked(bucket, NOW + 30) is None
    assert (stats.snapshot(0)["blocks"], stats.snapshot(0)["blocked"]) == (1, 1)


@pytest.mark.parametrize("kind", ["fixed", "aligned", "sliding", "token-bucket"])
def test_a_window_counts_images_and_refuses_a_request_whole(kind):
    tested, _ = desk(rpm=5, window=kind)
    assert isinstance(tested.admit(order(variants=4), NOW), Ticket)
    assert isinstance(tested.admit(order(variants=2), NOW), Refusal)
    assert tested.headers("venice-sd35", NOW)["x-ratelimit-remaining-requests"] == "1"
    assert isinstance(tested.admit(order(), NOW), Ticket)
    old, _ = desk(rpm=5, window=kind, era="2026-08")
    granted = [isinstance(old.admit(order(variants=4), NOW), Ticket) for _ in range(6)]
    assert granted == [True] * 5 + [False]


def test_a_day_counts_images_and_its_refusal_uses_nothing_of_the_minute():
    tested, _ = desk(rpm=20, rpd=5)
    assert isinstance(tested.admit(order(variants=4), NOW), Ticket)
    assert isinstance(tested.admit(order(variants=2), NOW), Refusal)
    assert tested.headers("venice-sd35", NOW)["x-ratelimit-remaining-requests"] == "16"


def test_a_window_of_another_length_opens_again_after_it():
    tested, _ = desk(rpm=4, speed=6)
    assert isinstance(tested.admit(order(variants=4), NOW), Ticket)
    refused = tested.admit(order(), NOW + 9.9)
    assert isinstance(refused, Refusal)
    assert refused.headers["x-ratelimit-reset-requests"] == str(int(NOW + 10) * 1000)
    assert isinstance(tested.admit(order(), NOW + 10), Ticket)


@pytest.mark.parametrize(
    ("balances", "header", "left"),
    [
        ({"diem": 1, "bundled_usd": 1}, (1, 1), (0.99, 1, 1)),
        ({"diem": 0.005, "bundled_usd": 1}, (1, 0.005), (0.005, 0.99, 1)),
        ({"diem": 0.005, "bundled_usd": 0.006}, (1, 0.005), (0.005, 0.006, 0.99)),
    ],
)
def test_the_first_currency_that_covers_a_request_pays_all_of_it(balances, header, left):
    tested, _ = desk(balance_usd=1, **balances)
    ticket = tested.admit(order(), NOW, "k")
    assert isinstance(ticket, Ticket)
    assert (ticket.balance_before_usd, ticket.diem_before) == header
    spendable = tested.ledger.spendable("k")
    assert (spendable["DIEM"], spendable["BUNDLED_CREDITS"], spendable["USD"]) == left


def test_no_balance_that_covers_a_request_is_a_402_whatever_their_sum():
    tested, _ = desk(balance_usd=0.006, diem=0.006, bundled_usd=0.006)
    refused = tested.admit(order(), NOW, "k")
    assert isinstance(refused, Refusal)
    assert (refused.status, refused.native()["code"]) == (402, "INSUFFICIENT_BALANCE")


def test_a_keys_own_limit_is_a_402_of_its_own_and_clamps_its_balance():
    tested, _ = desk(key_limit_usd=0.015)
    assert isinstance(tested.admit(order(), NOW, "k"), Ticket)
    assert tested.ledger.spendable("k")["USD"] == 0.005
    refused = tested.admit(order(), NOW, "k")
    assert isinstance(refused, Refusal)
    assert (refused.status, refused.message[:36]) == (402, "API key USD spend limit exceeded. Yo")
    assert isinstance(tested.admit(order(), NOW, "other"), Ticket)


def test_a_rewrite_costs_four_cents_a_request_only_where_it_is_applied():
    tested, _ = desk()
    prices = [
        ticket.payment.micro_usd
        for fields in ({"prompt": "a cat"}, {"prompt": "a cat", "variants": 4}, {"prompt": "a cat, verbatim"})
        for ticket in [tested.admit(order(enhance_prompt=True, **fields), NOW)]
        if isinstance(ticket, Ticket)
    ]
    assert prices == [50_000, 80_000, 10_000]


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
