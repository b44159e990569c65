import pytest

from venice_batch.sandbox.admission import Admission, AdmittedRequest
from venice_batch.sandbox.catalogue import shipped
from venice_batch.sandbox.errors import ErrorAnswer
from venice_batch.sandbox.generate import read_native
from venice_batch.sandbox.limits import Bucket
from venice_batch.sandbox.settings import SandboxSettings
from venice_batch.sandbox.stats import Stats

NOW = 1_800_000_000.0


def admission(**settings):
    stats = Stats(NOW)
    return Admission(SandboxSettings(**settings), stats), stats


def request(**fields):
    return read_native({"model": "venice-sd35", "prompt": "p", **fields}, shipped())


@pytest.mark.parametrize(
    ("wanted", "key", "let_in"),
    [(None, "any", True), (None, "invalid", False), (None, None, False), ("k", "k", True), ("k", "j", False)],
)
def test_unknown_keys_are_refused(wanted, key, let_in):
    tested, _ = admission(api_key=wanted)
    refused = tested.check_key(key, NOW)
    assert (refused is None) == let_in
    if key is None:
        assert (refused.status, refused.native()["x402Version"], "PAYMENT-REQUIRED" in refused.headers) == (
            402,
            2,
            True,
        )
    else:
        assert refused is None or (refused.status, refused.message) == (401, "Authentication failed")
    old, _ = admission(api_key=wanted, era="2026-08")
    assert getattr(old.check_key(key, NOW), "status", None) == (None if let_in else 401)


def test_each_model_has_its_own_window():
    tested, stats = admission(rpm=1, rpm_by_model={"chroma": 2})
    assert isinstance(tested.admit(request(), NOW), AdmittedRequest)
    refused = tested.admit(request(), NOW)
    assert isinstance(refused, ErrorAnswer)
    assert refused.status == 429
    assert refused.headers["Retry-After"] == "60"
    assert refused.headers["x-ratelimit-remaining-requests"] == "0"
    assert isinstance(tested.admit(request(model="chroma"), NOW), AdmittedRequest)
    assert isinstance(tested.admit(request(model="chroma"), NOW), AdmittedRequest)
    assert stats.snapshot(0)["by_model"]["venice-sd35"] == {"requests": 2, "succeeded": 0, "refused": 1}


def test_speed_shortens_the_window_and_sends_decimals():
    tested, _ = admission(rpm=1, speed=100)
    tested.admit(request(), NOW)
    refused = tested.admit(request(), NOW + 0.1)
    assert isinstance(refused, ErrorAnswer)
    assert float(refused.headers["Retry-After"]) == pytest.approx(0.5, abs=0.002)
    assert isinstance(tested.admit(request(), NOW + 0.601), AdmittedRequest)


def test_the_day_has_a_quota_too():
    tested, _ = admission(rpm=0, rpd=1)
    assert tested.headers("venice-sd35", NOW) == {}
    tested.admit(request(), NOW)
    refused = tested.admit(request(), NOW)
    assert isinstance(refused, ErrorAnswer)
    assert int(refused.headers["Retry-After"]) > 3600


def test_settling_frees_a_place():
    tested, stats = admission(capacity=1, retry_after_503_s=1.5)
    admitted = tested.admit(request(), NOW)
    assert isinstance(admitted, AdmittedRequest)
    refused = tested.admit(request(), NOW)
    assert isinstance(refused, ErrorAnswer)
    assert (refused.status, refused.message) == (503, "The model is at capacity. Please try again later.")
    assert refused.headers == {"Retry-After": "1.5"}
    tested.settle(admitted, charged=True)
    assert isinstance(tested.admit(request(), NOW), AdmittedRequest)
    assert stats.snapshot(0)["at_capacity"] == 1


def test_money_is_reserved_while_a_request_is_served():
    tested, _ = admission(balance_usd=0.015)
    admitted = tested.admit(request(), NOW)
    assert isinstance(admitted, AdmittedRequest)
    refused = tested.admit(request(), NOW)
    assert isinstance(refused, ErrorAnswer)
    assert refused.native() == {
        "error": "Insufficient USD or Diem balance to complete request",
        "code": "INSUFFICIENT_BALANCE",
    }
    tested.settle(admitted, charged=False)
    assert tested.ledger.balance_usd == 0.015


def test_in_august_the_block_has_the_documented_text_and_ends():
    tested, stats = admission(era="2026-08")
    for _ in range(21):
        tested.record_failure(Bucket("k"), 503, NOW)
    assert tested.budget_headers(Bucket("k"), NOW) == {}
    refused = tested.check_key("k", NOW + 10)
    assert refused is not None
    assert refused.message == (
        "Too many failed attempts (> 20) resulting in a non-success status code. Please wait 30s and try again."
    )
    assert refused.headers == {"Retry-After": "20"}
    assert tested.check_key("other", NOW + 10) is None
    assert tested.check_key("k", NOW + 30) is None
    assert (stats.snapshot(0)["blocks"], stats.snapshot(0)["blocked"]) == (1, 1)


def test_strangers_failures_are_not_counted():
    tested, stats = admission(failure_limit=1)
    for _ in range(9):
        tested.record_failure(Bucket("invalid"), 400, NOW)
    assert stats.snapshot(0)["blocks"] == 0


def test_the_51st_client_error_blocks_its_bucket_only():
    tested, stats = admission()
    bucket = Bucket("k", "chroma")
    for status in (500, 503, 429):
        tested.record_failure(bucket, status, NOW)
    assert tested.budget_headers(bucket, NOW)["x-ratelimit-remaining"] == "50"
    for _ in range(50):
        tested.record_failure(bucket, 404, NOW)
    assert tested.check_failures(bucket, NOW) is None
    tested.record_failure(bucket, 404, NOW + 1)
    refused = tested.check_failures(bucket, NOW + 10)
    assert refused is not None
    assert refused.message.startswith("Too many failed attempts (> 50) resulting in a non-success status code. ")
    assert refused.headers == {"Retry-After": "20"}
    assert tested.budget_headers(bucket, NOW + 10) == {
        "x-ratelimit-remaining": "0",
        "x-ratelimit-resets": str(int(NOW + 30) * 1000),
    }
    assert tested.check_failures(Bucket("k", "venice-sd35"), NOW + 10) is None
    assert tested.check_failures(bucket, NOW + 30) is None
    assert (stats.snapshot(0)["blocks"], stats.snapshot(0)["blocked"]) == (1, 1)


@pytest.mark.parametrize("kind", ["fixed", "aligned", "sliding", "token-bucket"])
def test_a_window_counts_images_and_refuses_a_request_whole(kind):
    tested, _ = admission(rpm=5, window=kind)
    assert isinstance(tested.admit(request(variants=4), NOW), AdmittedRequest)
    assert isinstance(tested.admit(request(variants=2), NOW), ErrorAnswer)
    assert tested.headers("venice-sd35", NOW)["x-ratelimit-remaining-requests"] == "1"
    assert isinstance(tested.admit(request(), NOW), AdmittedRequest)
    old, _ = admission(rpm=5, window=kind, era="2026-08")
    granted = [isinstance(old.admit(request(variants=4), NOW), AdmittedRequest) for _ in range(6)]
    assert granted == [True] * 5 + [False]


def test_a_refusal_by_the_day_uses_no_quota_of_the_minute():
    tested, _ = admission(rpm=20, rpd=5)
    assert isinstance(tested.admit(request(variants=4), NOW), AdmittedRequest)
    assert isinstance(tested.admit(request(variants=2), NOW), ErrorAnswer)
    assert tested.headers("venice-sd35", NOW)["x-ratelimit-remaining-requests"] == "16"


def test_a_shorter_window_opens_again_after_its_length():
    tested, _ = admission(rpm=4, speed=6)
    assert isinstance(tested.admit(request(variants=4), NOW), AdmittedRequest)
    refused = tested.admit(request(), NOW + 9.9)
    assert isinstance(refused, ErrorAnswer)
    assert refused.headers["x-ratelimit-reset-requests"] == str(int(NOW + 10) * 1000)
    assert isinstance(tested.admit(request(), NOW + 10), AdmittedRequest)


@pytest.mark.parametrize(
    ("balances", "header", "left"),
    [
        ({"diem": 1, "bundled_usd": 1}, (1, 1), (0.99, 1, 1)),
        ({"diem": 0.005, "bundled_usd": 1}, (1, 0.005), (0.005, 0.99, 1)),
        ({"diem": 0.005, "bundled_usd": 0.006}, (1, 0.005), (0.005, 0.006, 0.99)),
    ],
)
def test_the_first_currency_that_covers_a_request_pays_all_of_it(balances, header, left):
    tested, _ = admission(balance_usd=1, **balances)
    admitted = tested.admit(request(), NOW, "k")
    assert isinstance(admitted, AdmittedRequest)
    assert (admitted.balance_before_usd, admitted.diem_before) == header
    spendable = tested.ledger.spendable("k")
    assert (spendable["DIEM"], spendable["BUNDLED_CREDITS"], spendable["USD"]) == left


def test_balances_are_not_summed_to_cover_a_request():
    tested, _ = admission(balance_usd=0.006, diem=0.006, bundled_usd=0.006)
    refused = tested.admit(request(), NOW, "k")
    assert isinstance(refused, ErrorAnswer)
    assert (refused.status, refused.native()["code"]) == (402, "INSUFFICIENT_BALANCE")


def test_a_keys_limit_has_its_own_402_and_clamps_its_balance():
    tested, _ = admission(key_limit_usd=0.015)
    assert isinstance(tested.admit(request(), NOW, "k"), AdmittedRequest)
    assert tested.ledger.spendable("k")["USD"] == 0.005
    refused = tested.admit(request(), NOW, "k")
    assert isinstance(refused, ErrorAnswer)
    assert (refused.status, refused.message[:36]) == (402, "API key USD spend limit exceeded. Yo")
    assert isinstance(tested.admit(request(), NOW, "other"), AdmittedRequest)


def test_an_applied_rewrite_costs_four_cents_a_request():
    tested, _ = admission()
    prices = [
        admitted.payment.micro_usd
        for fields in ({"prompt": "a cat"}, {"prompt": "a cat", "variants": 4}, {"prompt": "a cat, verbatim"})
        for admitted in [tested.admit(request(enhance_prompt=True, **fields), NOW)]
        if isinstance(admitted, AdmittedRequest)
    ]
    assert prices == [50_000, 80_000, 10_000]


def test_words_trigger_moderation_and_pro_models_are_refused():
    tested, _ = admission(pro_models=frozenset({"chroma"}))
    admitted = tested.admit(request(prompt="nsfw violation"), NOW)
    assert isinstance(admitted, AdmittedRequest)
    assert (admitted.adult, admitted.violation) == (True, True)
    refused = tested.admit(request(prompt="a Forbidden city"), NOW)
    assert isinstance(refused, ErrorAnswer)
    assert (refused.status, refused.native()["suggested_prompt"]) == (422, "a city")
    assert tested.admit(request(model="chroma"), NOW) == ErrorAnswer(401, "This model is only available to Pro users")
    assert isinstance(tested.admit(request(prompt="unforbiddenly"), NOW), AdmittedRequest)
