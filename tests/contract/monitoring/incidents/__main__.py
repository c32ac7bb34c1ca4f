"""Injects the incidents, or those named, and writes their page: `python -m tests.contract.monitoring.incidents`."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from tests.contract.monitoring.incidents.campaign import Outcome, ran
from tests.contract.monitoring.incidents.incident import INCIDENTS
from tests.contract.monitoring.incidents.report import PAGE, page


def main(names: list[str]) -> int:
    """Returns 1 if something does not name its cause."""
    outcomes: list[Outcome] = []

    def told(outcome: Outcome) -> None:
        outcomes.append(outcome)
        result = "; ".join(outcome.wrong) or f"named by {outcome.incident.alert}"
        print(f"{outcome.incident.name}: {result}, after {outcome.seconds:.0f} s", flush=True)

    chosen = [each for each in INCIDENTS if not names or each.name in names]
    with tempfile.TemporaryDirectory() as folder:
        ran(Path(folder), chosen, told)
    PAGE.write_text(page())
    return any(outcome.wrong for outcome in outcomes)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
