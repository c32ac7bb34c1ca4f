"""PromQL for panels: each selector matches the dashboard's namespace, job and instance."""

from __future__ import annotations

from monitoring.dashboards.panel import Variable
from monitoring.known_series import KNOWN
from monitoring.scope import ENGINES, has_stack_namespace, restrict
from monitoring.series import Series

NAMESPACE = 'namespace=~"$namespace"'
SCRAPED = 'job=~"$job",instance=~"$instance"'
RANGE = "[$__rate_interval]"


def series(name: str, where: str = "") -> str:
    """Returns a selector; `where` are further matchers, such as `model=~"$model"`."""
    return f"{name}{{{','.join(filter(None, (_stack(KNOWN[name]), SCRAPED, where)))}}}"


def served_models() -> Variable:
    """Returns the filter by model: every configured one, also those that no engine of the stack serves."""
    selector = series("headrace_request_duration_seconds_count", 'model!~"none|unasked"')
    return Variable("model", "Model", selector, "model")


def recorded_expression(expression: str) -> str:
    """Returns an expression over recorded series, which have no job and instance."""
    return restrict(expression, _stack)


def total(name: str, by: str = "", where: str = "") -> str:
    """Returns the sum of a gauge over replicas."""
    return f"sum{_by_clause(by)}({series(name, where)})"


def largest(name: str, by: str = "", where: str = "") -> str:
    """Returns the maximum of a gauge of which every replica reports the same value or a part."""
    return f"max{_by_clause(by)}({series(name, where)})"


def rate(name: str, by: str = "", where: str = "") -> str:
    """Returns the increase of a counter per second."""
    return f"sum{_by_clause(by)}(rate({series(name, where)}{RANGE}))"


def quantile(q: float, name: str, by: str = "", where: str = "") -> str:
    """Returns a quantile of a histogram, whose name is given without `_bucket`."""
    labels = f"le,{by}" if by else "le"
    return f"histogram_quantile({q:g},{rate(f'{name}_bucket', labels, where)})"


def buckets(name: str, where: str = "") -> str:
    """Returns the observations of a histogram per second that are at most each bound, for a heatmap."""
    return rate(f"{name}_bucket", "le", where)


def mean(name: str, by: str = "", where: str = "") -> str:
    """Returns the mean of a histogram's observations."""
    return quotient(rate(f"{name}_sum", by, where), rate(f"{name}_count", by, where))


def quotient(part: str, whole: str) -> str:
    """Returns a quotient, which has no value, rather than NaN, while the divisor is zero."""
    return f"{part}/({whole}>0)"


def share(part: str, whole: str) -> str:
    """Returns a quotient by the same labels that is zero while `part` has no series: nothing has failed yet."""
    return f"({part} or 0*{whole})/({whole}>0)"


def or_zero(expression: str) -> str:
    """Returns an expression without labels, or zero without a series: a counter is absent before its first event."""
    return f"({expression}) or vector(0)"


def or_none(expression: str, label: str) -> str:
    """Returns an expression by `label`, or while it has no series a zero named `none`.

    Counters of failures do not exist before the first failure: a panel then shows 0, not that data is missing.
    """
    return f'{expression} or label_replace(vector(0) unless on() {expression},"{label}","none","","")'


def _stack(series: Series) -> str:
    if series.source in ENGINES:
        return ""  # engines may run in another namespace, or outside the cluster
    return NAMESPACE if has_stack_namespace(series) else ""


def _by_clause(labels: str) -> str:
    return f" by ({labels}) " if labels else ""
