"""The page's words and figures about the whole folder."""

import msgspec
import pytest
from gallery.made import contents, report, timeline
from records import IMAGE, attempt, failed, outcome

from venice_batch.gallery.overview import Figure, cost_sentence, figures, progress_text
from venice_batch.model import Flags, Status


def shown(*outcomes):
    found = figures(report(outcomes), contents(outcomes), timeline(outcomes))
    return {figure.name: (figure.value, figure.note) for figure in found}


def test_an_empty_folder_is_shown_in_zeros():
    assert shown() == {
        "Images": ("0", "0 Bytes"),
        "Jobs": ("0", "all succeeded"),
        "Cost": ("–", "prices not known"),
        "Time": ("0 s", "in 0 runs"),
        "A job took": ("–", "95 % within –"),
        "Requests": ("0", "no 429, none repeated"),
    }


def test_the_numbers_come_from_the_report():
    big = msgspec.structs.replace(IMAGE, bytes=1_300_000)
    found = shown(
        outcome("a", files=(big, big), cost_usd=0.02, attempts=(attempt(429), attempt())),
        outcome("b", lane="flux", cost_usd=0.5),
        failed("c", cost_usd=0.0),
        failed("d", status=Status.REJECTED, cost_usd=0.0, attempts=()),
    )
    assert found["Images"] == ("3", "2.6 MB")
    assert found["Jobs"] == ("4", "1 failed, 1 rejected")
    assert found["Cost"] == ("0.52 USD", "by the published prices")
    assert found["Time"] == ("2.0 s", "in 1 run")
    assert found["A job took"] == ("2.0 s", "95 % within 2.0 s")
    assert found["Requests"] == ("4", "1 answered with 429, 1 retry")


@pytest.mark.parametrize(
    ("costs", "sandbox", "note"),
    [
        ((0.1, 0.2), False, "by the published prices"),
        ((0.1, 0.2), True, "no real money was spent"),
        ((0.1, None), True, "and 1 job of unknown price"),
        ((None, None), False, "prices not known"),
    ],
)
def test_the_cost_comes_with_its_reliability(costs, sandbox, note):
    outcomes = [outcome(str(number), cost_usd=cost, sandbox=sandbox) for number, cost in enumerate(costs)]
    assert shown(*outcomes)["Cost"][1] == note


@pytest.mark.parametrize(
    ("cost", "unpriced", "lost", "note"),
    [
        (0.1, 0, 2, "2 jobs possibly billed"),
        (0.1, 1, 2, "2 jobs possibly billed, 1 of unknown price"),
        (None, 0, 1, "1 job possibly billed"),
        (None, 2, 1, "1 job possibly billed, 2 of unknown price"),
    ],
)
def test_a_possibly_billed_job_is_not_shown_as_an_unknown_price(cost, unpriced, lost, note):
    outcomes = [failed(str(number), flags=Flags(possibly_billed=True)) for number in range(lost)]
    outcomes += [outcome(f"u{number}") for number in range(unpriced)]
    outcomes += [] if cost is None else [outcome("a", cost_usd=cost)]
    assert shown(*outcomes)["Cost"][1] == note


def test_the_progress_is_described_in_words():
    tries = (attempt(429), attempt(500), attempt(500), attempt())
    outcomes = [outcome("a", attempts=tries), outcome("b", run_id="other")]
    assert progress_text(timeline(outcomes), contents(outcomes)) == (
        "2 images in 4.0 s of work over 2 runs, without the time between them."
        " 1 request was asked to wait. 2 requests failed and were repeated."
        ""
    )
    one = [outcome("a", attempts=(attempt(500), attempt()))]
    assert progress_text(timeline(one), contents(one)) == (
        "1 image in 2.0 s of work. 1 request failed and was repeated."
    )


def test_the_cost_is_described_in_words():
    outcomes = [outcome("a", cost_usd=0.03, files=(IMAGE, IMAGE)), outcome("b")]
    assert cost_sentence(report(outcomes), contents(outcomes)) == (
        "≥ 0.03 USD, and 1 job of unknown price, $0.015 an image."
    )
    free = [failed("a", cost_usd=0.0)]
    assert cost_sentence(report(free), contents(free)) == "0.00 USD, by the published prices."


def test_the_cost_names_unknown_prices_and_sandbox_money():
    lost = failed("a", flags=Flags(possibly_billed=True), at_most_usd=0.02)
    assert shown(lost, outcome("b", cost_usd=0.04))["Cost"] == ("0.06 USD", "1 job possibly billed")
    assert shown(outcome("a", cost_usd=0.04), outcome("b"))["Cost"][0] == "≥ 0.04 USD"
    assert shown(outcome("b"))["Cost"] == ("price not known", "prices not known")
    assert shown(outcome("a", cost_usd=0.04, sandbox=True))["Cost"][0] == "0.04 USD of sandbox money"
    mixed = (outcome("a", cost_usd=0.04, sandbox=True), outcome("b", cost_usd=0.5))
    assert shown(*mixed)["Cost"] == ("0.54 USD, 0.04 of it sandbox money", "by the published prices")


@pytest.mark.parametrize(
    ("value", "parts"),
    [
        ("2.40 USD of sandbox money", ("2.40 USD", "of sandbox money")),
        ("≥ 0.54 USD, 0.04 of it sandbox money", ("≥ 0.54 USD", "0.04 of it sandbox money")),
        ("2.40 USD", ("2.40 USD", "")),
        ("price not known", ("price not known", "")),
        ("2 h 05 min", ("2 h 05 min", "")),
    ],
)
def test_a_figures_number_is_apart_from_the_words_about_it(value, parts):
    assert Figure("Cost", value).parts == parts
