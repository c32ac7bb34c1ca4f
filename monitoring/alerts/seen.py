"""What Prometheus has seen in an alert's test; samples are a minute apart."""

from __future__ import annotations

from monitoring.rule import Case, Sample


def seen(after: str, *samples: tuple[str, str]) -> Case:
    """Returns the case of `samples`, each a series with labels and its values (`0+5x20`)."""
    return Case(after, tuple(Sample(series, values) for series, values in samples))
