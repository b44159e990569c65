from datetime import UTC, datetime

import anyio
import pytest
from fakes import FakeClock
from hypothesis import given
from hypothesis import strategies as st

from venice_batch.errors import FolderError, UsageError
from venice_batch.output.disk import Disk
from venice_batch.output.ledger import Books, Entry, Ledger, day_of, moment, read_books
from venice_batch.run.budget import (
    Budget,
    Share,
    Shortage,
    Window,
    caps_of,
    parse_caps,
    renewal_text,
    shares,
    shares_in,
    shares_text,
    shortage,
    shortage_text,
)


def at(text):
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


NOW = at("2026-11-29T21:00:00")  # a Sunday


def reserved(number, micro_usd, when=NOW, **changes):
    return Entry(moment(when), "reserved", "x", number, micro_usd, **changes)


def books(*entries):
    made = Books()
    for entry in entries:
        made.add(entry)
    return made


@pytest.mark.parametrize(
    ("window", "begins", "ends"),
    [
        ("day", "2026-11-29", "2026-11-30"),
        ("week", "2026-11-23", "2026-11-30"),
        ("month", "2026-11-01", "2026-12-01"),
    ],
)
def test_windows_follow_the_calendar_in_utc(window, begins, ends):
    assert [f"{bound:%Y-%m-%d %H:%M}" for bound in Window(window).bounds(NOW)] == [f"{begins} 00:00", f"{ends} 00:00"]


@given(st.floats(0, 4e9), st.sampled_from(Window))
def test_windows_cover_all_time_without_a_gap(unix_s, window):
    begins, ends = window.bounds(unix_s)
    assert begins.timestamp() <= unix_s < ends.timestamp()
    assert window.bounds(ends.timestamp())[0] == ends


def test_caps_are_read_as_they_are_written():
    assert parse_caps("day=5, month=60.5") == {"day": 5.0, "month": 60.5}
    assert caps_of({"day": 5, "month": 60.5}) == {Window.DAY: 5_000_000, Window.MONTH: 60_500_000}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("5", "'5' is not WINDOW=USD,…; give amounts as in day=5,month=60"),
        ("day=5,day=6", "'day=5,day=6' names day twice; give amounts as in day=5,month=60"),
        ("day=much", "'much' is not an amount of USD"),
        ("day=-1", "day must be an amount of USD"),
        ("day=nan", "day must be an amount of USD"),
        ("year=5", "'year' is not one of day, week, month"),
    ],
)
def test_caps_that_cannot_be_meant_are_refused(text, told):
    with pytest.raises(UsageError) as refused:
        parse_caps(text)
    assert str(refused.value) == f"--max-cost-per: {told}"


def test_each_window_has_its_own_sum():
    spent = books(
        reserved(1, 1, at("2026-10-31T23:59:59")), reserved(2, 10, at("2026-11-22T23:59:59")),
        reserved(3, 100, at("2026-11-23T00:00:00")), reserved(4, 1000), reserved(5, 7, sandbox=True),
    )  # fmt: skip
    caps = caps_of({"month": 1, "day": 0.000_5, "week": 1})
    found = shares(caps, spent, now_unix_s=NOW, sandbox=False)
    assert [(share.window, share.committed, share.left) for share in found] == [
        ("day", 1000, 0), ("week", 1100, 998_900), ("month", 1110, 998_890)
    ]  # fmt: skip
    assert [share.committed for share in shares(caps, spent, now_unix_s=NOW, sandbox=True)] == [7, 7, 7]


def short(price, caps, spent, is_open=lambda entry: False):
    return shortage(price, caps_of(caps), spent, now_unix_s=NOW, sandbox=False, is_open=is_open)


def test_a_price_fits_up_to_the_last_millionth():
    assert short(5_000_000, {"day": 5}, books()) is None
    assert short(4_000_000, {"day": 5}, books(reserved(1, 1_000_000))) is None
    assert short(4_000_001, {"day": 5}, books(reserved(1, 1_000_000))).share.window is Window.DAY


def test_a_price_may_fit_later_while_requests_under_way_may_give_back_enough():
    spent = books(reserved(1, 3_000_000), reserved(2, 1_000_000))
    caps = {"day": 5}
    assert not short(2_000_000, caps, spent).may_fit
    assert short(2_000_000, caps, spent, lambda entry: entry.request == 2).may_fit
    assert not short(3_000_001, caps, spent, lambda entry: entry.request == 2).may_fit


def test_the_window_that_stays_short_for_longest_is_named():
    spent = books(reserved(1, 5_000_000))
    found = short(1, {"day": 5, "week": 9, "month": 5}, spent)
    assert (found.share.window, found.may_fit) == (Window.MONTH, False)
    under_way = short(1, {"day": 5, "month": 5}, spent, lambda entry: True)
    assert (under_way.share.window, under_way.may_fit) == (Window.DAY, True)


def test_money_that_comes_back_of_another_day_does_not_help_today():
    spent = books(reserved(1, 5_000_000), reserved(2, 5_000_000, NOW - 86_400))
    assert not short(1, {"day": 5}, spent, lambda entry: entry.request == 2).may_fit


@given(
    st.lists(st.tuples(st.integers(0, 50), st.sampled_from((0, 1, 8, 40)), st.booleans()), max_size=12),
    st.integers(1, 60), st.integers(1, 300),
)  # fmt: skip
def test_what_fits_is_within_every_cap_and_what_may_not_fit_never_will(entries, price, cap):
    """A price is refused for good only if it exceeds a cap even when all that may come back does."""
    made = [reserved(number, micro, NOW - days * 86_400) for number, (micro, days, _) in enumerate(entries)]
    under_way = {number for number, (_, _, is_open) in enumerate(entries) if is_open}
    caps = {Window.DAY: cap // 2, Window.WEEK: cap, Window.MONTH: cap}
    spent = books(*made)
    found = shortage(
        price, caps, spent, now_unix_s=NOW, sandbox=False, is_open=lambda entry: entry.request in under_way
    )
    kept = books(*(entry for entry in made if entry.request not in under_way))

    def fits(of):
        return all(share.committed + price <= share.cap for share in shares(caps, of, now_unix_s=NOW, sandbox=False))

    assert (found is None) == fits(spent)
    if found is not None:
        assert found.may_fit == fits(kept)


def share(window="day", cap=5_000_000, committed=4_800_000):
    return Share(Window(window), cap, committed, Window(window).bounds(NOW)[1])


def test_a_stop_says_what_is_spent_and_when_the_window_renews():
    told = shortage_text(share(), 350_000, now_unix_s=NOW)
    assert told == (
        "--max-cost-per: 4.80 of today's 5.00 USD are spent, the next job's 0.35 do not fit;"
        " the next day begins at 00:00 UTC (in 3 h)"
    )
    assert renewal_text(share("week"), now_unix_s=NOW) == "the next week begins on 2026-11-30, 00:00 UTC (in 3 h)"
    assert renewal_text(share("month"), now_unix_s=NOW) == "the next month begins on 2026-12-01, 00:00 UTC (in 1 d 3 h)"


def test_a_job_dearer_than_the_whole_cap_is_told_so():
    told = shortage_text(share(committed=0), 6_000_000, now_unix_s=NOW)
    assert told == "--max-cost-per: the next job's 6.00 USD are more than the 5.00 USD of a day"


@pytest.mark.parametrize(
    ("price", "verdict"),
    [(200_000, "enough"), (200_001, "not enough for all"), (None, "whether that is enough is unknown")],
)
def test_a_plan_says_what_is_left_and_whether_it_is_enough(price, verdict):
    found = [share(), share("month", 60_000_000, 19_000_000)]
    left = "0.20 of today's 5.00 USD left, 41.00 of this month's 60.00 USD left"
    assert shares_text(found, price) == f"budget: {left}; {verdict}"


def test_caps_need_a_file(tmp_path):
    with pytest.raises(UsageError, match="--max-cost-per needs --budget-file"):
        shares_in(None, {"day": 5}, now_unix_s=NOW, sandbox=False)
    assert shares_in(None, {}, now_unix_s=NOW, sandbox=False) == []
    assert shares_in(tmp_path / "none", {"day": 5}, now_unix_s=NOW, sandbox=False)[0].left == 5_000_000


@pytest.fixture
async def clock():
    async with FakeClock() as clock:
        yield clock


@pytest.fixture
def budget(tmp_path, clock):
    ledger = Ledger(tmp_path / "budget.jsonl", run_id="a", wall=clock.wall)
    ledger.open()
    yield Budget(ledger, {Window.DAY: 100}, clock, Disk(), run_id="a", output="/out")
    ledger.close()


async def test_a_request_is_written_down_before_it_is_sent_and_settled_after_it(budget, tmp_path, clock):
    number = await budget.reserve(60, model="m", job="j")
    found = await budget.reserve(60, model="m", job="k")
    assert isinstance(found, Shortage)
    assert found.may_fit
    await budget.settle(number, spent=40)
    assert await budget.reserve(60, model="m", job="k") == number + 1
    read = read_books(tmp_path / "budget.jsonl", now_unix_s=clock.wall())
    (entry,) = read.open.values()
    assert (entry.run_id, entry.request, entry.model, entry.job, entry.output) == ("a", 2, "m", "k", "/out")
    assert read.committed(day_of(clock.wall()), sandbox=False) == 100


async def test_a_settlement_is_written_although_the_run_is_cancelled(budget, tmp_path, clock):
    number = await budget.reserve(60, model="m", job="j")
    with anyio.CancelScope() as scope:
        scope.cancel()
        await budget.settle(number, spent=0)
    assert not read_books(tmp_path / "budget.jsonl", now_unix_s=clock.wall()).open


async def test_an_abandoned_disk_is_an_error_of_the_file(budget):
    budget._disk.abandon()
    with pytest.raises(FolderError, match=r"budget.jsonl: the disk does not answer"):
        await budget.reserve(60, model="m", job="j")
