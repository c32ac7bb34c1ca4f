"""Forecasts what is used until the end of a month, from the usage of the days before.

The model is a Poisson regression with log link and free dispersion (McCullagh and Nelder 1989, Generalized Linear
Models, chapters 6 and 9): the logarithm of a day's usage is a level, plus the effect of its weekday, plus growth per
week. So weekdays multiply, growth is a percentage, and days without usage need no exception. Normal priors on weekdays
and growth (a ridge penalty; Gelman et al. 2008, doi:10.1214/08-AOAS191) keep estimates of few days near "all weekdays
alike, no growth". Older days count less (discounting; West and Harrison 1997, Bayesian Forecasting and Dynamic Models,
chapter 6), so that growth may change: intervals are wider than steady growth would need.

The interval has the uncertainty of the estimates (delta method) and the noise of the days ahead. If a busy day tends to
follow a busy day, both are widened by (1 + r) / (1 - r) for the correlation r of neighbouring days, as for any mean of
a first-order autoregression (Bayley and Hammersley 1946, doi:10.2307/2983560). Its quantiles are Student's.
"""

from __future__ import annotations

import calendar
import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from statistics import NormalDist
from typing import Any

import numpy as np
import numpy.typing as npt

HISTORY_DAYS = 56
"""Complete days that a forecast looks back at: eight of each weekday."""
MIN_DAYS = 14
"""Complete days without which there is no forecast: two of each weekday, so that a weekday is not taken for growth."""
COVERAGE = 0.9
"""Probability that the interval contains what will be used."""

_WEEKDAY_SD = 1.0
"""Prior standard deviation of a weekday's effect: mostly between a third and three times the level."""
_GROWTH_SD = 0.1
"""Prior standard deviation of the growth per week: mostly below 10 %."""
_HALF_LIFE_DAYS = 28
"""A day counts half as much as one that is so many days younger."""
_MIN_DISPERSION = 1e-6
_MAX_CORRELATION = 0.8
_ITERATIONS = 100

Vector = npt.NDArray[np.float64]


class TooLittleHistory(ValueError):
    """There is too little usage to forecast from; the message says what is missing."""


@dataclass(frozen=True, slots=True)
class Forecast:
    """What will be used from now until the end of the month, in the unit of the usage that it was made from.

    `low` and `high` are the ends of the interval around `expected`; `days` has the expected usage of each day, and of
    today that of the rest of it.
    """

    expected: float
    low: float
    high: float
    days: tuple[tuple[date, float], ...]

    def used_up_on(self, left: float) -> date | None:
        """Returns the day on which the usage from now on reaches `left`; None if it is after the month."""
        used = 0.0
        for day, amount in self.days:
            used += amount
            if used >= left:
                return day
        return None


def history_start(today: date) -> date:
    """Returns the first day whose usage `forecast` reads; the whole month is never before it."""
    return today - timedelta(days=HISTORY_DAYS + 1)


def forecast(daily: Mapping[date, float], now: datetime) -> Forecast:
    """Returns the forecast of the rest of the month of `now` in UTC, from the usage of each day before.

    Days that are missing in `daily` had no usage. The day of the first usage is left out, because it may not have been
    whole, and so is today. Usage is taken as evenly distributed over a day.
    Raises `TooLittleHistory`.
    """
    at = now.astimezone(UTC)
    today = at.date()
    history = _history(daily, today)
    fitted = _fit(np.array([amount for _, amount in history]), [day for day, _ in history])
    last = date(today.year, today.month, calendar.monthrange(today.year, today.month)[1])
    ahead = [today + timedelta(days=n) for n in range((last - today).days + 1)]
    midnight = datetime(today.year, today.month, today.day, tzinfo=UTC)
    share = np.ones(len(ahead))
    share[0] = 1 - (at - midnight) / timedelta(days=1)
    return fitted.predict(ahead, share)


def _history(daily: Mapping[date, float], today: date) -> list[tuple[date, float]]:
    """Returns each complete day after that of the first usage."""
    before = [day for day, amount in daily.items() if amount > 0 and history_start(today) <= day < today]
    if not before:
        raise TooLittleHistory("no usage before today")
    first = min(before) + timedelta(days=1)
    history = [(day, daily.get(day, 0.0)) for day in (first + timedelta(days=n) for n in range((today - first).days))]
    if len(history) < MIN_DAYS:
        raise TooLittleHistory(f"{len(history)} of {MIN_DAYS} complete days since the first usage")
    if not any(amount for _, amount in history):
        raise TooLittleHistory(f"no usage in the last {len(history)} complete days")
    return history


@dataclass(frozen=True, slots=True)
class _Fit:
    """The estimates: `scale` is the mean of a day, `coefficients` are those of `_rows`."""

    scale: float
    last: date
    coefficients: Vector
    covariance: Vector
    dispersion: float
    inflation: float
    freedom: float

    def predict(self, days: list[date], share: Vector) -> Forecast:
        """Returns the forecast of `days`, of each the given `share`."""
        rows = _rows(days, self.last)
        means = _exp(rows @ self.coefficients) * share
        total = float(means.sum())
        gradient = means @ rows
        variance = self.inflation * float(gradient @ self.covariance @ gradient + self.dispersion * total)
        # Log-normal, since a total cannot be negative.
        spread = math.sqrt(math.log1p(variance / total**2)) if total > 0 else 0.0
        factor = math.exp(_student((1 + COVERAGE) / 2, self.freedom) * spread)
        expected = total * self.scale
        amounts = zip(days, (float(each) for each in means * self.scale), strict=True)
        return Forecast(expected, expected / factor, expected * factor, tuple(amounts))


def _fit(amounts: Vector, days: list[date]) -> _Fit:
    """Returns the estimates, by iteratively reweighted least squares; the dispersion is that of Pearson's residuals."""
    scale = float(amounts.mean())
    y = amounts / scale
    rows = _rows(days, days[-1])
    penalty = np.diag([0.0, *[_WEEKDAY_SD**-2] * 7, _GROWTH_SD**-2])
    weights = 0.5 ** (np.arange(len(y))[::-1] / _HALF_LIFE_DAYS)
    coefficients = np.zeros(rows.shape[1])
    dispersion = 1.0
    means, freedom, covariance = y, 1.0, penalty
    for _ in range(_ITERATIONS):
        linear = np.clip(rows @ coefficients, -30, 30)
        means = np.exp(linear)
        information = (rows.T * (weights * means)) @ rows / dispersion
        covariance = np.linalg.inv(information + penalty)
        new = covariance @ (rows.T @ (weights * (means * linear + y - means))) / dispersion
        change = float(np.abs(new - coefficients).max())
        coefficients = coefficients + np.clip(new - coefficients, -1, 1)
        means = _exp(rows @ coefficients)
        freedom = max(float(weights.sum() - np.trace(covariance @ information)), 1.0)
        dispersion = max(float((weights * (y - means) ** 2 / means).sum()) / freedom, _MIN_DISPERSION)
        if change < 1e-8:
            break
    residuals = (y - means) / np.sqrt(means)
    power = float(residuals @ residuals)
    correlation = float(residuals[1:] @ residuals[:-1]) / power if power > 0 else 0.0
    correlation = min(max(correlation, 0.0), _MAX_CORRELATION)
    inflation = (1 + correlation) / (1 - correlation)
    return _Fit(scale, days[-1], coefficients, covariance, dispersion, inflation, freedom)


def _rows(days: list[date], last: date) -> Vector:
    """Returns one row for each day: 1, which weekday it is, and the weeks since the last day of the history."""
    weekdays = np.eye(7)[[day.weekday() for day in days]]
    weeks = np.array([(day - last).days / 7 for day in days])
    return np.column_stack([np.ones(len(days)), weekdays, weeks])


def _exp(linear: Vector) -> Any:
    return np.exp(np.clip(linear, -30, 30))


def _student(probability: float, freedom: float) -> float:
    """Returns a quantile of Student's distribution: Abramowitz and Stegun 1964, 26.7.5, to its second term."""
    z = NormalDist().inv_cdf(probability)
    return z + (z**3 + z) / (4 * freedom) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)
