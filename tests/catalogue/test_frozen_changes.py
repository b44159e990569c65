"""What is not as approved: worse refuses the run, better is only reported."""

from pathlib import Path

import msgspec
import pytest
from catalogue.made import NOW, catalogue, entry, job
from catalogue.test_frozen import LISTING, frozen
from hypothesis import given
from hypothesis import strategies as st

from venice_batch.api.listings import Quota
from venice_batch.catalogue import Listing
from venice_batch.catalogue.frozen_changes import differences, has_quotas, hold_against
from venice_batch.errors import ApiError, ExitCode, NotApprovedError, UsageError

PATH = Path("approved.json")
COMMAND = ["venice-batch", "check", "j"]


def listed(usd=0.02, /, **changes):
    """A list with the model `made` at this price, and `other`."""
    spec = {"pricing": {"generation": {"usd": usd}}, **changes}
    return catalogue(entry(**spec), entry("other", pricing={"generation": {"usd": 0.5}}))


def between(before, after, *jobs, **options):
    jobs = jobs or (job(model="made"),)
    return differences(frozen(*jobs, known=before, **options), frozen(*jobs, known=after, **options))


def shown(found):
    return [(str(one), one.refuses) for one in found]


def test_nothing_differs_from_itself():
    assert between(listed(), listed()) == []


def test_a_higher_price_refuses_and_a_lower_one_is_reported():
    assert shown(between(listed(0.01), listed(0.02))) == [
        ("made: price of an image: 0.01 USD approved, 0.02 USD now", True),
        ("1 job for 0.02 USD now, 1 job for 0.01 USD approved; --max-cost limits what a run may cost", False),
    ]
    assert shown(between(listed(0.02), listed(0.01))) == [
        ("made: price of an image: 0.02 USD approved, 0.01 USD now", False)
    ]


@given(st.integers(0, 10**9), st.integers(0, 10**9))
def test_a_price_refuses_exactly_if_it_is_higher(before, after):
    found = between(listed(before / 1e6), listed(after / 1e6))
    assert any(one.refuses for one in found) == (after > before)
    assert bool(found) == (after != before)


def test_a_price_that_becomes_known_or_unknown_refuses():
    unpriced = catalogue(entry())
    assert shown(between(listed(), unpriced)) == [("made: price of an image: 0.02 USD approved, not known now", True)]
    assert shown(between(unpriced, listed()))[0] == (
        "made: price of an image: not known when approved, 0.02 USD now", True,
    )  # fmt: skip
    assert between(unpriced, unpriced) == []


def test_a_price_that_jobs_did_not_pay_when_approved_refuses():
    approved = frozen(job(model="made"), known=listed())
    now = frozen(job(model="made", enhance_prompt=True), known=listed())
    assert shown(differences(approved, now))[0] == ("made: price of a prompt rewrite: not approved, 0.04 USD now", True)


def test_prices_and_models_that_are_no_longer_used_are_no_difference():
    approved = frozen(job(model="made", enhance_prompt=True), job(model="other"), known=listed())
    assert differences(approved, frozen(job(model="made"), known=listed())) == []


def test_a_model_that_was_not_approved_refuses():
    approved = frozen(job(model="made"), known=listed())
    now = frozen(job(model="made"), job(model="other"), known=listed())
    assert shown(differences(approved, now))[0] == (
        "other: the jobs use this model, which is not approved (image 0.50 USD)", True,
    )  # fmt: skip


def test_a_name_that_means_another_model_now_refuses_even_if_both_are_approved():
    jobs = (job(model="default"), job(model="made"), job(model="other"))
    before = catalogue(entry(traits=["default"]), entry("other"))
    after = catalogue(entry(), entry("other", traits=["default"]))
    expected = [("other: 'default' means this model now, and meant made when approved", True)]
    assert shown(between(before, after, *jobs)) == expected
    assert shown(between(before, after, jobs[0])) == expected
    approved = frozen(job(model="made"), known=before)
    assert differences(approved, frozen(job(model="default"), known=before)) == []


def test_a_model_that_is_gone_refuses_and_names_its_successor():
    without = catalogue(entry("other"), former={"made": "other"})
    assert shown(between(listed(), without)) == [("made: is no longer listed; use other", True)]
    assert shown(between(listed(), catalogue(entry("other")))) == [("made: is no longer listed", True)]


def test_a_model_that_is_listed_again_is_reported_and_its_price_refuses():
    found = shown(between(catalogue(entry("other")), listed()))
    assert found[:2] == [
        ("made: is listed now; it was not when approved", False),
        ("made: price of an image: not known when approved, 0.02 USD now", True),
    ]


def gone(day, successor="other"):
    return listed(deprecation={"date": f"{day}T00:00:00Z", "replacementModelId": successor, "autoRemap": True})


def test_an_announced_retirement_is_reported_and_one_in_effect_refuses():
    assert shown(between(listed(), gone("2026-12-01"))) == [
        ("made: will be retired on 2026-12-01; the API may use other in its place", False)
    ]
    assert between(gone("2026-12-01"), gone("2026-12-01")) == []
    assert between(gone("2026-12-01"), listed()) == []
    for before in (listed(), gone("2026-12-01")):
        assert shown(between(before, gone("2026-10-01"))) == [
            ("made: was retired on 2026-10-01; the API may use other in its place", True)
        ]


def test_a_retirement_that_came_into_effect_since_the_approval_refuses():
    announced = frozen(job(model="made"), known=gone("2026-11-15"))
    later = msgspec.structs.replace(announced, frozen_at=NOW.replace(month=12))
    assert shown(differences(announced, later)) == [
        ("made: was retired on 2026-11-15; the API may use other in its place", True)
    ]


def test_a_retired_model_stays_approved_until_the_api_names_another_in_its_place():
    assert between(gone("2026-10-01"), gone("2026-10-01")) == []
    assert shown(between(gone("2026-10-01"), gone("2026-10-01", "third"))) == [
        ("made: was retired on 2026-10-01; the API may use third in its place", True)
    ]


@pytest.mark.parametrize(
    ("before", "after", "what", "refuses"),
    [
        ({"promptCharacterLimit": 90}, {}, "prompt_limit: 90 approved, 100 now", False),
        ({}, {"promptCharacterLimit": 90}, "prompt_limit: 100 approved, 90 now", True),
        ({}, {"promptCharacterLimit": None}, "prompt_limit: 100 approved, none now", False),
        ({"steps": None}, {}, "steps_max: none approved, 10 now", True),
        ({}, {"widthHeightDivisor": 16}, "divisor: 8 approved, 16 now", True),
        ({}, {"aspectRatios": ["1:1", "3:2"]}, "ratios: none approved, 1:1, 3:2 now", True),
        ({"aspectRatios": ["1:1"]}, {"aspectRatios": ["3:2", "1:1"]}, "ratios: 3:2 offered now, not when approved", 0),
        ({"aspectRatios": ["3:2", "1:1"]}, {"aspectRatios": ["1:1"]}, "ratios: 3:2 approved, not offered now", True),
        ({"defaultAspectRatio": "1:1"}, {"defaultAspectRatio": "3:2"}, "default_ratio: 1:1 approved, 3:2 now", True),
        (
            {"supportsTransparentBackground": True},
            {"supportsTransparentBackground": False},
            "transparent: yes approved, no now",
            True,
        ),
        ({}, {"supportsTransparentBackground": True}, "transparent: none approved, yes now", False),
        ({"singleImageAspectRatio": False}, {}, "keeps_size: yes approved, no now", True),
    ],
)  # fmt: skip
def test_limits_may_grow_but_not_shrink_or_become_others(before, after, what, refuses):
    made = between(catalogue(entry(constraints=before)), catalogue(entry(constraints=after)))
    assert shown(made) == [(f"made: {what}", refuses)]


def test_choices_in_another_order_are_no_difference():
    known = [catalogue(entry(constraints={"aspectRatios": list(ratios)})) for ratios in ("ab", "ba")]
    assert between(*known) == []


def test_a_quota_may_rise_but_not_fall_and_one_that_is_not_known_is_not_compared():
    def of(quota):
        return frozen(job(model="made"), known=listed(), quotas=quota and {"made": quota})

    approved = of(Quota(20, 100))
    assert shown(differences(approved, of(Quota(10, 200)))) == [
        ("made: images_a_minute: 20 approved, 10 now", True),
        ("made: images_a_day: 100 approved, 200 now", False),
    ]
    assert differences(approved, of(None)) == []
    assert [has_quotas(one) for one in (approved, of(None))] == [True, False]
    assert shown(hold_against(approved, of(None), path=PATH, command=COMMAND)) == [
        ("quotas are not compared: the key's own limits are not known", False)
    ]


def test_more_jobs_are_reported_and_fewer_are_not():
    one, two = (frozen(*[job(model="made")] * count, known=listed()) for count in (1, 2))
    assert shown(differences(one, two)) == [
        ("2 jobs for 0.04 USD now, 1 job for 0.02 USD approved; --max-cost limits what a run may cost", False)
    ]
    assert differences(two, one) == []


def test_what_is_worse_is_raised_with_the_file_the_model_and_what_to_do():
    approved, now = (frozen(job(model="made"), known=listed(usd)) for usd in (0.01, 0.02))
    with pytest.raises(NotApprovedError) as caught:
        hold_against(approved, now, path=Path("my prices.json"), command=["venice-batch", "check", "a b"])
    assert str(caught.value) == "my prices.json: made: price of an image: 0.01 USD approved, 0.02 USD now"
    assert caught.value.undone == "sent; approve with `venice-batch check 'a b'`"
    assert caught.value.exit_code == ExitCode.INVALID


def test_what_is_better_is_returned():
    approved, now = (frozen(job(model="made"), known=listed(usd)) for usd in (0.02, 0.01))
    assert [one.refuses for one in hold_against(approved, now, path=PATH, command=COMMAND)] == [False]


def test_a_list_that_is_older_than_the_approved_one_is_named():
    older = Listing((), (), LISTING.asked_unix_s - 86_400, "snapshot")
    approved = frozen(job(model="made"), known=listed(0.01))
    said = "compared with the packaged list of 2026-10-30, older than the approved one of 2026-10-31"
    same_price = frozen(job(model="made"), known=listed(0.01), listing=older)
    assert shown(hold_against(approved, same_price, path=PATH, command=COMMAND)) == [(said, False)]
    with pytest.raises(NotApprovedError) as caught:
        hold_against(approved, frozen(job(model="made"), known=listed(), listing=older), path=PATH, command=COMMAND)
    assert caught.value.undone == f"sent; {said}; approve with `venice-batch check j`"


def test_a_file_about_another_server_is_refused_but_in_the_sandbox():
    approved, local, sandbox = (
        frozen(job(model="made"), known=listed(), server=server) for server in ("https://a", "localhost", "sandbox")
    )
    with pytest.raises(UsageError, match=r"approved.json: is about prices of https://a, not of localhost"):
        hold_against(approved, local, path=PATH, command=COMMAND)
    with pytest.raises(UsageError, match="is about prices of sandbox, not of https://a"):
        hold_against(sandbox, approved, path=PATH, command=COMMAND)
    assert shown(hold_against(approved, sandbox, path=PATH, command=COMMAND)) == [
        ("not compared: it is about prices of https://a", False)
    ]


def test_without_any_list_the_run_has_to_wait_for_one():
    with pytest.raises(ApiError, match="no list of models is known for https://a") as caught:
        hold_against(frozen(job(model="made"), known=listed(), server="https://a"), None, path=PATH, command=COMMAND)
    assert caught.value.exit_code == ExitCode.TEMPORARY
