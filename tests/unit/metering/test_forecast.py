"""Forecasts of months whose whole usage is known: synthetic weeks with seasons, growth and noise."""

from __future__ import annotations

import calendar
import itertools
import math
from datetime import UTC, date, datetime, timedelta, timezone

import numpy as np
import pytest

from serving.metering.forecast import (
    COVERAGE,
    HISTORY_DAYS,
    MIN_DAYS,
    TooLittleHistory,
    _student,
    forecast,
    history_start,
)

OFFICE = (1.0, 1.1, 1.05, 1.0, 0.9, 0.3, 0.2)
"""Usage of Monday to Sunday."""
ALWAYS = (1.0,) * 7
NEVER_AT_WEEKENDS = (1.0, 1.1, 1.0, 1.0, 0.8, 0.0, 0.0)
GROWTH = (-0.04, 0.0, 0.02, 0.05)
"""Per week."""


def day(text):
    return date.fromisoformat(text)


def at(text):
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def end_of(today):
    return today.replace(day=calendar.monthrange(today.year, today.month)[1])


def synthetic(today, *, weekdays=OFFICE, growth=0.0, noise=0.0, carry=0.0, history=HISTORY_DAYS, seed=0):
    """The usage of each day until the end of the month; noise is relative, and `carry` its correlation by day."""
    random = np.random.default_rng(seed)
    start = today - timedelta(days=history + 1)
    days = [start + timedelta(days=n) for n in range((end_of(today) - start).days + 1)]
    shock, daily = random.normal(), {}
    for number, each in enumerate(days):
        shock = carry * shock + math.sqrt(1 - carry**2) * random.normal()
        level = 1000 * weekdays[each.weekday()] * (1 + growth) ** (number / 7)
        daily[each] = max(level * (1 + noise * shock), 0.0)
    return daily


def known(daily, today):
    """What is known in the first second of `today`."""
    return {each: amount for each, amount in daily.items() if each < today}


def first_second(today):
    return datetime(today.year, today.month, today.day, tzinfo=UTC)


def month(daily, today, *, since=1):
    return sum(amount for each, amount in daily.items() if today.replace(day=since) <= each <= end_of(today))


def compare(daily, today):
    """Returns the forecast of the month's total divided by the truth, and whether the interval contains it."""
    found = forecast(known(daily, today), first_second(today))
    so_far, rest = month(daily, today) - month(daily, today, since=today.day), month(daily, today, since=today.day)
    return (so_far + found.expected) / (so_far + rest), found.low <= rest <= found.high


MONTHS = ("2026-02", "2028-02", "2026-04", "2026-12")
"""Of 28, 29, 30 and 31 days."""


@pytest.mark.parametrize("first", MONTHS)
@pytest.mark.parametrize("weekdays", [OFFICE, ALWAYS, NEVER_AT_WEEKENDS], ids=["office", "always", "never-at-weekends"])
def test_a_months_total_is_forecast_within_ten_percent(first, weekdays):
    for number, (growth, origin) in enumerate(itertools.product(GROWTH, (1, 8, 15, 28))):
        today = day(f"{first}-{origin:02}")
        daily = synthetic(today, weekdays=weekdays, growth=growth, noise=0.05, seed=number)
        ratio, _ = compare(daily, today)
        assert ratio == pytest.approx(1, abs=0.1), (growth, origin)


@pytest.mark.parametrize("weekdays", [OFFICE, ALWAYS, NEVER_AT_WEEKENDS], ids=["office", "always", "never-at-weekends"])
def test_seasons_and_growth_without_noise_are_found_exactly(weekdays):
    for growth in GROWTH:
        today = day("2026-12-01")
        ratio, _ = compare(synthetic(today, weekdays=weekdays, growth=growth), today)
        assert ratio == pytest.approx(1, abs=0.001)


@pytest.mark.parametrize(
    ("noise", "carry", "history"),
    [(0.05, 0, HISTORY_DAYS), (0.2, 0, HISTORY_DAYS), (0.1, 0.4, HISTORY_DAYS), (0.1, 0, 21)],
)
def test_intervals_contain_the_truth_as_often_as_they_say(noise, carry, history):
    """Over 120 months: more often, since old days count less, but not always, or an interval would say nothing."""
    inside, ratios = 0, []
    for number in range(120):
        today = date(2026 + number % 3, 1 + number % 12, (1, 8, 15)[number % 3])
        growth = GROWTH[number % 4]
        daily = synthetic(today, growth=growth, noise=noise, carry=carry, history=history, seed=1000 + number)
        ratio, contained = compare(daily, today)
        ratios.append(ratio)
        inside += contained
    assert COVERAGE - 0.04 <= inside / 120 <= 0.995
    assert np.mean(ratios) == pytest.approx(1, abs=0.02)


def test_more_noise_and_less_history_widen_the_interval():
    today = day("2026-12-01")

    def width(**given):
        found = forecast(known(synthetic(today, seed=5, **given), today), first_second(today))
        return (found.high - found.low) / found.expected

    assert width(noise=0.02) < width(noise=0.1) < width(noise=0.1, history=MIN_DAYS)
    assert width(noise=0.1) < width(noise=0.1, carry=0.7)


def test_numbers_of_any_size_have_the_same_forecast():
    """Tokens, and money in tiny parts of a currency."""
    today = day("2026-12-10")
    daily = known(synthetic(today, noise=0.1), today)
    plain = forecast(daily, first_second(today))
    for scale in (1e-9, 1e9):
        scaled = forecast({each: amount * scale for each, amount in daily.items()}, first_second(today))
        assert scaled.expected / scale == pytest.approx(plain.expected, rel=1e-6)
        assert scaled.high / scale == pytest.approx(plain.high, rel=1e-6)


def test_the_day_of_the_first_usage_and_today_are_left_out():
    """They are not whole: a small part of a day would pass for a small day."""
    today = day("2026-12-10")
    daily = {today - timedelta(days=n): 100.0 for n in range(1, 21)}
    first = min(daily)
    expected = forecast(daily, first_second(today)).expected
    assert forecast(daily | {first: 1.0, today: 3.0}, first_second(today)).expected == pytest.approx(expected)
    assert expected == pytest.approx(22 * 100, rel=0.01)


def test_of_today_only_the_rest_is_forecast():
    daily = {day("2026-12-31") - timedelta(days=n): 100.0 for n in range(57)}
    assert forecast(daily, at("2026-12-31T00:00")).expected == pytest.approx(100, rel=0.01)
    assert forecast(daily, at("2026-12-31T18:00")).expected == pytest.approx(25, rel=0.01)
    last = forecast(daily, at("2026-12-31T23:59:59"))
    assert [each for each, _ in last.days] == [day("2026-12-31")]
    assert 0 < last.low <= last.expected <= last.high < 1
    assert last.expected == pytest.approx(100 / 86_400, rel=0.01)
    west = datetime(2026, 12, 31, 19, tzinfo=timezone(timedelta(hours=-5)))  # midnight in UTC: January
    assert [each for each, _ in forecast(daily, west).days] == [
        day("2027-01-01") + timedelta(days=n) for n in range(31)
    ]


@pytest.mark.parametrize("first", MONTHS)
def test_on_the_first_day_the_whole_month_is_ahead(first):
    today = day(f"{first}-01")
    daily = {today - timedelta(days=n): 100.0 for n in range(1, 58)}
    found = forecast(daily, first_second(today))
    assert [each.day for each, _ in found.days] == list(range(1, end_of(today).day + 1))
    assert found.expected == pytest.approx(100 * end_of(today).day, rel=0.01)


@pytest.mark.parametrize(
    ("days", "said"),
    [
        ((), "no usage before today"),
        ((0,), "no usage before today"),
        ((1,), "0 of 14 complete days since the first usage"),
        (range(1, MIN_DAYS + 1), "13 of 14 complete days since the first usage"),
        ((40,), "no usage in the last 39 complete days"),
        (range(HISTORY_DAYS + 2, 100), "no usage before today"),  # too long ago to be read
    ],
)
def test_what_cannot_be_forecast_is_said(days, said):
    today = day("2026-12-10")
    with pytest.raises(TooLittleHistory, match=f"^{said}$"):
        forecast({today - timedelta(days=n): 100.0 for n in days}, first_second(today))


def test_the_least_history_suffices():
    today = day("2026-12-10")
    daily = {today - timedelta(days=n): 100.0 for n in range(1, MIN_DAYS + 2)}
    assert forecast(daily, first_second(today)).expected == pytest.approx(2200, rel=0.01)


def test_usage_that_ended_is_not_forecast_to_go_on():
    today = day("2026-12-01")
    daily = {today - timedelta(days=n): 100.0 if n > 28 else 0.0 for n in range(1, 57)}
    assert forecast(daily, first_second(today)).expected < 0.1 * 31 * 100


def test_the_history_holds_the_whole_month():
    for number in range(366):
        today = day("2028-01-01") + timedelta(days=number)
        assert history_start(today) < today.replace(day=1)


def test_a_budget_is_used_up_on_the_day_that_reaches_it():
    today = day("2026-12-10")
    found = forecast({today - timedelta(days=n): 100.0 for n in range(1, 57)}, first_second(today))
    for left, expected in ((1, 10), (99, 10), (150, 11), (2150, 31)):
        assert found.used_up_on(left) == day(f"2026-12-{expected}")
    assert found.used_up_on(2250) is None


@pytest.mark.parametrize(("freedom", "quantile"), [(5, 2.015), (10, 1.812), (30, 1.697), (1e9, 1.645)])
def test_quantiles_are_those_of_students_table(freedom, quantile):
    assert _student(0.95, freedom) == pytest.approx(quantile, abs=0.01)
