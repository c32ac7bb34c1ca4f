"""Runs the accountant and writes its report: `python -m tests.contract.monitoring.accountant`."""

from __future__ import annotations

import tempfile
from pathlib import Path

from tests.contract.monitoring.accountant.audit import audited
from tests.contract.monitoring.accountant.report import PAGE, page


def main() -> int:
    """Returns 1 if a figure is wrong, or nobody compares it."""
    with tempfile.TemporaryDirectory() as folder, audited(Path(folder)) as audit:
        found = audit.findings()
        PAGE.write_text(page(audit))
        for finding in found:
            print(finding)
    print(f"{len(found)} wrong figures; the report is {PAGE}")
    return bool(found)


if __name__ == "__main__":
    raise SystemExit(main())
