"""When windows begin and end."""

from __future__ import annotations

import math
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.quotas.windows import bounds, day

times = st.floats(0, 4_000_000_000)


@given(times, st.sampled_from(["minute", "day", "month"]))
def test_each_time_is_in_one_window_and_the_next_begins_where_it_ends(at, window):
    start, end = bounds(window, at)
    assert start <= at < end
    assert bounds(window, end)[0] == end
    assert bounds(window, start) == bounds(window, math.nextafter(end, 0)) == (start, end)


@pytest.mark.parametrize(
    ("window", "at", "start", "end"),
    [
        ("minute", "2026-01-31T23:59:59", "2026-01-31T23:59:00", "2026-02-01T00:00:00"),
        ("day", "2026-12-31T23:59:59", "2026-12-31T00:00:00", "2027-01-01T00:00:00"),
        ("month", "2028-02-29T12:00:00", "2028-02-01T00:00:00", "2028-03-01T00:00:00"),
        ("month", "2026-12-01T00:00:00", "2026-12-01T00:00:00", "2027-01-01T00:00:00"),
    ],
)
def test_windows_follow_the_calendar(window, at, start, end):
    def seconds(text):
        return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()

    assert bounds(window, seconds(at)) == (seconds(start), seconds(end))


def test_concurrent_windows_have_no_end():
    assert bounds("concurrent", 5) == (0, math.inf)
    assert day(86_399.9) == "1970-01-01"
    assert day(86_400) == "1970-01-02"
