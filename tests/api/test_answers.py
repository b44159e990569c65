import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from venice_batch.api.answers import Answer, Fault, Verdict, failure_kind
from venice_batch.api.responses import AnswerHeaders, RateLimit, Reset
from venice_batch.pacing.backoff import Backoff


def answer(status, message="", *, fault=None, **head):
    return Answer(status, AnswerHeaders(**head), message, 0.0, 1.0, fault)


@pytest.mark.parametrize(
    ("status", "message", "verdict"),
    [
        (200, "", Verdict.SUCCEEDED),
        (400, "Invalid request parameters", Verdict.REJECTED),
        (404, "Model not found", Verdict.LANE_REFUSED),
        (410, "Gone", Verdict.LANE_REFUSED),
        (400, "Invalid model id", Verdict.LANE_REFUSED),
        (400, "The model flux-dev was retired on 2026-03-01; use flux-2-pro", Verdict.LANE_REFUSED),
        (400, "Invalid request parameters: model does not accept width", Verdict.REJECTED),
        (400, "style_references: this model is not listed as using them", Verdict.REJECTED),
        (413, "Request body too large", Verdict.REJECTED),
        (415, "Invalid content type", Verdict.REJECTED),
        (422, "Your prompt violates the content policy", Verdict.REJECTED),
        (302, "", Verdict.REJECTED),
        (408, "", Verdict.TRANSIENT),
        (500, "Inference processing failed", Verdict.TRANSIENT),
        (502, "<html>", Verdict.TRANSIENT),
        (504, "", Verdict.TRANSIENT),
        (520, "", Verdict.TRANSIENT),
        (522, "", Verdict.TRANSIENT),
        (524, "", Verdict.TRANSIENT),
        (503, "The model is at capacity", Verdict.OVERLOADED),
        (429, "Rate limit exceeded", Verdict.LIMITED),
        (429, "", Verdict.LIMITED),
        (429, "The model is overloaded", Verdict.OVERLOADED),
        (429, "Too many failed attempts (> 20) resulting in a non-success status code", Verdict.BLOCKED),
        (402, "Insufficient balance", Verdict.NO_MONEY),
        (429, "You exceeded your current quota (insufficient_quota)", Verdict.NO_MONEY),
        (403, "quota: insufficient_user_quota", Verdict.NO_MONEY),
        (400, "prompt: insufficient_quota", Verdict.REJECTED),
        (401, "Authentication failed", Verdict.KEY_REFUSED),
        (403, "Access disabled", Verdict.KEY_REFUSED),
        (401, "This model is only available to Pro users", Verdict.LANE_REFUSED),
        (401, "Not in your tier", Verdict.LANE_REFUSED),
        (403, "No access to this model", Verdict.LANE_REFUSED),
    ],
)
def test_every_answer_has_the_verdict_of_the_contract(status, message, verdict):
    assert answer(status, message).verdict is verdict


@pytest.mark.parametrize("fault", Fault)
@pytest.mark.parametrize("status", [None, 200])
def test_a_fault_is_tried_again_unless_it_would_only_repeat(fault, status):
    others = {Fault.NOT_THE_API: Verdict.WRONG_ADDRESS, Fault.UNRECOGNISED: Verdict.UNRECOGNISED}
    assert answer(status, fault=fault).verdict is others.get(fault, Verdict.TRANSIENT)


def test_overloaded_with_no_quota_left_means_the_quota():
    assert answer(429, "overloaded", rate=RateLimit(20, 0)).verdict is Verdict.LIMITED
    assert answer(429, "overloaded", rate=RateLimit(20, 5)).verdict is Verdict.OVERLOADED


def test_a_content_violation_is_rejected_although_it_is_a_200():
    given = answer(200, content_violation=True)
    assert given.verdict is Verdict.REJECTED
    assert failure_kind(given) == "content_violation"
    assert not given.possibly_billed


@pytest.mark.parametrize(
    ("status", "head", "hinted"),
    [
        (429, {"retry_after_s": 3.0}, True),
        (503, {"retry_after_s": 0.0}, True),
        (429, {"rate": RateLimit(reset=Reset(in_s=1.0))}, True),
        (503, {"rate": RateLimit(reset=Reset(in_s=1.0))}, False),
        (429, {}, False),
        (500, {}, False),
        (500, {"retry_after_s": 3.0}, False),
        (502, {"retry_after_s": 3.0}, False),
    ],
)
def test_only_a_limit_or_overload_with_a_named_end_waits_at_the_gate(status, head, hinted):
    assert answer(status, **head).waits_at_gate is hinted
    assert answer(status, **head).hint_s == head.get("retry_after_s")


@pytest.mark.parametrize("fault", Fault)
def test_only_requests_that_were_sent_may_have_been_billed(fault):
    unsent = (Fault.CONNECT, Fault.SOURCE, Fault.NOT_THE_API)
    assert answer(None, fault=fault).possibly_billed is (fault not in unsent)


@pytest.mark.parametrize("status", [502, 504, 520, 524])
def test_a_gateway_that_lost_the_answer_may_hide_an_image(status):
    assert answer(status).possibly_billed


@pytest.mark.parametrize("status", [400, 403, 404, 408, 429, 500, 503, 521, 522, 523, 525, 526])
def test_a_request_that_the_api_did_not_take_or_do_is_free(status):
    assert not answer(status).possibly_billed


@pytest.mark.parametrize("status", [302, 401, 403, 404, 405, 407, 410])
def test_a_page_of_another_server_is_no_verdict_on_key_or_model(status):
    told = answer(status, "This model is not found; Pro users only", fault=Fault.NOT_THE_API)
    assert told.verdict is Verdict.WRONG_ADDRESS
    assert failure_kind(told) == "not_the_api"


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, "invalid_request"),
        (401, "model_access"),
        (403, "model_access"),
        (404, "not_found"),
        (410, "not_found"),
        (408, "timeout"),
        (413, "too_large"),
        (415, "content_type"),
        (418, "invalid_request"),
        (422, "content_policy"),
        (429, "rate_limited"),
        (500, "server"),
        (503, "overloaded"),
        (301, "redirect"),
        (None, "connect"),
    ],
)
def test_names_the_kind_of_failure(status, kind):
    assert failure_kind(answer(status)) == kind


def test_names_a_fault_rather_than_its_status():
    assert failure_kind(answer(200, fault=Fault.NO_IMAGE)) == "no_image"


@settings(deadline=None)
@given(st.integers(1, 10_000), st.floats(0.01, 10), st.floats(0.01, 100), st.integers())
def test_backs_off_between_zero_and_the_doubled_base_up_to_the_cap(attempt, base_s, cap_s, seed):
    wait_s = Backoff(base_s, cap_s).wait_s(attempt, random.Random(seed))
    assert 0 <= wait_s <= cap_s
    assert wait_s <= base_s * 2.0 ** min(attempt - 1, 60)


def test_jitter_is_full():
    rng = random.Random(1)
    waits = [Backoff(1.0, 30.0).wait_s(4, rng) for _ in range(2000)]
    assert min(waits) < 0.1
    assert max(waits) > 7.9
    assert 3.8 < sum(waits) / len(waits) < 4.2
