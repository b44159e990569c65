import pytest

from venice_batch.engine.reach import Patience, Reach, stop_reason
from venice_batch.headers import AnswerHeaders
from venice_batch.retry import Answer, Fault, Verdict


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


def page(status=403, *, at_s=0.0):
    return Answer(status, AnswerHeaders(), "a web page", at_s, at_s, Fault.NOT_THE_API, from_api=False)


def own(status=200, *, sent_s=0.0, received_s=None):
    return Answer(status, AnswerHeaders(), "said so", sent_s, sent_s if received_s is None else received_s)


def reached(*answers, known=False):
    reach = Reach(Patience(), known=known)
    for answer in answers:
        reach.judge(answer, "before")
    return reach


def judge(reach, answer, job):
    """One request after the other."""
    reach.ended(reach.sent())
    return reach.judge(answer, job)


@pytest.mark.parametrize(
    ("status", "verdict"),
    [(401, Verdict.KEY_REFUSED), (403, Verdict.KEY_REFUSED), (404, Verdict.WRONG_ADDRESS), (405, Verdict.WRONG_ADDRESS),
     (407, Verdict.WRONG_ADDRESS), (302, Verdict.WRONG_ADDRESS)],
)  # fmt: skip
def test_a_page_is_believed_at_once_where_the_api_has_never_answered(status, verdict):
    assert judge(reached(), page(status), "a") is verdict


@pytest.mark.parametrize("status", [401, 403, 404, 405, 407, 410, 451])
@pytest.mark.parametrize("before", [own(), own(400), own(429), own(503)])
def test_a_page_after_any_answer_of_the_apis_is_its_jobs_own_trouble(status, before):
    assert judge(reached(before), page(status), "a") is Verdict.TRANSIENT


def test_an_address_that_was_good_before_the_run_counts_for_pages_and_not_for_redirects():
    assert judge(reached(known=True), page(403), "a") is Verdict.TRANSIENT
    assert judge(reached(known=True), page(302), "a") is Verdict.WRONG_ADDRESS
    assert judge(reached(own()), page(302), "a") is Verdict.TRANSIENT


def test_neither_a_gateways_500_nor_a_cut_answer_shows_that_the_api_is_there():
    gateway = Answer(502, AnswerHeaders(), "a web page", 0.0, 0.0, from_api=False)
    cut = Answer(200, AnswerHeaders(), "cut", 0.0, 0.0, Fault.CUT)
    timeout = Answer(None, AnswerHeaders(), "no answer", 0.0, 0.0, Fault.TIMEOUT)
    empty = Answer(200, AnswerHeaders(), "a web page instead of an image", 0.0, 0.0, Fault.NO_IMAGE)
    assert judge(reached(gateway, cut, timeout, empty), page(404), "a") is Verdict.WRONG_ADDRESS


def test_pages_for_three_jobs_in_a_row_mean_that_everything_is_refused():
    reach = reached(own())
    assert [judge(reach, page(), job) for job in "aab"] == [Verdict.TRANSIENT] * 3
    assert judge(reach, page(404), "c") is Verdict.WRONG_ADDRESS


def test_anything_of_the_apis_between_begins_the_row_anew():
    reach = reached(own())
    for between in (own(), own(400), own(503)):
        assert [judge(reach, page(), job) for job in "ab"] == [Verdict.TRANSIENT] * 2
        judge(reach, between, "good")


def test_pages_are_weighed_against_images_that_were_under_way_before_them():
    reach = reached(own())
    slow = reach.sent()
    assert [judge(reach, page(), job) for job in "abcde"] == [Verdict.TRANSIENT] * 5
    reach.ended(slow)
    assert judge(reach, page(), "f") is Verdict.WRONG_ADDRESS


def test_what_was_sent_after_the_first_page_delays_nothing():
    reach = reached(own())
    assert judge(reach, page(), "a") is Verdict.TRANSIENT
    reach.sent()
    assert judge(reach, page(), "b") is Verdict.TRANSIENT
    assert judge(reach, page(), "c") is Verdict.WRONG_ADDRESS


@pytest.mark.parametrize("status", [401, 403])
def test_the_apis_own_refusal_of_a_key_that_never_worked_is_believed_at_once(status):
    assert judge(reached(known=True), own(status), "a") is Verdict.KEY_REFUSED
    assert judge(reached(own(503)), own(status), "a") is Verdict.KEY_REFUSED


def test_a_key_that_has_worked_is_refused_once_a_later_request_is_refused_too():
    reach = reached(own())
    assert judge(reach, own(401, sent_s=1, received_s=2), "a") is Verdict.TRANSIENT
    assert judge(reach, own(401, sent_s=1.5, received_s=3), "b") is Verdict.TRANSIENT, "it was under way already"
    assert judge(reach, own(401, sent_s=2.5, received_s=3), "c") is Verdict.KEY_REFUSED


def test_an_image_clears_the_key_of_doubt():
    reach = reached(own())
    for moment in range(5):
        assert judge(reach, own(401, sent_s=10 * moment), "a") is Verdict.TRANSIENT
        assert judge(reach, own(sent_s=10 * moment + 5), "b") is Verdict.SUCCEEDED


def test_what_only_one_model_refuses_is_no_refusal_of_the_key():
    reach = reached(own())
    only_pro = Answer(401, AnswerHeaders(), "This model is only available to Pro users", 0.0, 0.0)
    assert [judge(reach, only_pro, job) for job in "ab"] == [Verdict.LANE_REFUSED] * 2


@pytest.mark.parametrize(
    ("answer", "known", "reason"),
    [
        (own(401), True, "the API refused the key: said so"),
        (page(403), False, "the key was refused, though not in the API's own words: a web page; is --base-url right?"),
        (page(404), False, "this is not the API: a web page; is --base-url right?"),
        (
            page(404),
            True,
            "something on the way to the API refuses everything: a web page; run the same command again later",
        ),
    ],
)
def test_the_reason_of_a_stop_says_who_refused_what(answer, known, reason):
    assert stop_reason(answer, known=known) == reason
