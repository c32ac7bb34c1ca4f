"""PromQL of panels: each selector is held to the dashboard's namespace, job and instance."""

from __future__ import annotations

from monitoring.known import KNOWN
from monitoring.scope import ENGINES, held, placed
from monitoring.series import Series

NAMESPACE = 'namespace=~"$namespace"'
SCRAPED = 'job=~"$job",instance=~"$instance"'
RANGE = "[$__rate_interval]"


def series(name: str, where: str = "") -> str:
    """A selector; `where` are further matchers, such as `model=~"$model"`."""
    return f"{name}{{{','.join(filter(None, (_stack(KNOWN[name]), SCRAPED, where)))}}}"


def recorded(expression: str) -> str:
    """An expression over what rules record, which is of no job and instance."""
    return held(expression, _stack)


def total(name: str, by: str = "", where: str = "") -> str:
    """A gauge, added up over its replicas."""
    return f"sum{_by(by)}({series(name, where)})"


def largest(name: str, by: str = "", where: str = "") -> str:
    """A gauge of which each replica knows the same or a part: the largest."""
    return f"max{_by(by)}({series(name, where)})"


def rate(name: str, by: str = "", where: str = "") -> str:
    """Increase of a counter per second."""
    return f"sum{_by(by)}(rate({series(name, where)}{RANGE}))"


def quantile(q: float, name: str, by: str = "", where: str = "") -> str:
    """A quantile of a histogram, whose name is given without `_bucket`."""
    labels = f"le,{by}" if by else "le"
    return f"histogram_quantile({q:g},{rate(f'{name}_bucket', labels, where)})"


def mean(name: str, by: str = "", where: str = "") -> str:
    """The mean of a histogram's samples."""
    return over(rate(f"{name}_sum", by, where), rate(f"{name}_count", by, where))


def over(part: str, whole: str) -> str:
    """A share or quotient; nothing, rather than NaN, while the whole is zero."""
    return f"{part}/({whole}>0)"


def or_zero(expression: str) -> str:
    """An expression without labels, or zero while it has no series: a counter is absent until its first event."""
    return f"({expression}) or vector(0)"


def _stack(series: Series) -> str:
    if series.source in ENGINES:
        return ""  # they may stand in another namespace, or outside of the cluster
    return NAMESPACE if placed(series) else ""


def _by(labels: str) -> str:
    return f" by ({labels}) " if labels else ""
