"""What each panel must show, by dashboard, panel and legend."""

from __future__ import annotations

from collections.abc import Mapping

from tests.contract.monitoring.accountant.figures import ASSISTANTS, FEEDBACK, MODELS, OVERVIEW, RAY, Figure
from tests.contract.monitoring.accountant.money import CAPACITY, TENANTS

PANELS: Mapping[str, Figure] = {
    f"{board}: {name}": figure
    for board, figures in (
        ("overview", OVERVIEW),
        ("models", MODELS),
        ("assistants", ASSISTANTS),
        ("tenants", TENANTS),
        ("capacity", CAPACITY),
        ("feedback", FEEDBACK),
        ("ray", RAY),
    )
    for name, figure in figures.items()
}
