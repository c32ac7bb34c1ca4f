"""Results: one JSON file per run, and the dated tables of docs/benchmarks.md, generated from these files."""

from __future__ import annotations

import datetime
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bench import machine

FOLDER = Path(__file__).parent / "results"
PAGE = Path(__file__).parents[1] / "docs" / "benchmarks.md"
Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Goal:
    """A goal, the measured figure, and whether it meets the goal."""

    goal: str
    figure: float | str
    met: bool


def write(
    kind: str,
    rows: Sequence[Row],
    goals: Sequence[Goal],
    facts: Mapping[str, Any],
    *,
    settings: Mapping[str, Any] | None = None,
    rounds: Sequence[Row] = (),
) -> Path:
    """Writes a run's results and updates the page; prints the rows and goals.

    `rows` are shown in the page; `rounds` are the single measurements behind them. `facts` are `machine.facts()`
    from before the run.
    """
    now = datetime.datetime.now(datetime.UTC)
    record = {
        "bench": kind,
        "at": now.isoformat(timespec="seconds"),
        "machine": {**facts, "load_1m_after": machine.load()},
        "settings": settings or {},
        "goals": [asdict(g) for g in goals],
        "rows": list(rows),
        "rounds": list(rounds),
    }
    FOLDER.mkdir(exist_ok=True)
    path = FOLDER / f"{now:%Y%m%dT%H%M%S}-{kind}.json"
    path.write_text(json.dumps(record, indent=1) + "\n")
    print(_table(rows))
    for goal in goals:
        print(f"{'met   ' if goal.met else 'MISSED'}  {goal.goal}: {goal.figure}")
    render()
    return path


def render() -> None:
    """Generates the page's tables from the files."""
    page = PAGE.read_text(encoding="utf-8")
    records = [json.loads(p.read_text()) for p in sorted(FOLDER.glob("*.json"))]
    for kind in re.findall(r"<!-- bench:([a-z-]+) -->", page):
        text = "\n".join(_section(r) for r in reversed(records) if r["bench"] == kind) or "No run yet.\n"
        pattern = rf"(<!-- bench:{kind} -->\n).*?(<!-- /bench:{kind} -->)"
        page = re.sub(pattern, lambda m, text=text: m[1] + text + m[2], page, flags=re.DOTALL)  # type: ignore[misc]
    PAGE.write_text(page, encoding="utf-8")


def _section(record: Mapping[str, Any]) -> str:
    m = record["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in sorted(m["versions"].items()))
    lines = [
        f"**{record['at'][:16].replace('T', ' ')} UTC** on {m['cores']} cores ({m['cpu']}), {m['memory_gb']} GB, Linux "
        f"{m['kernel']}, Python {m['python']}, {versions}. Load average {m['load_1m_before']} before and "
        f"{m['load_1m_after']} after.",
        *(f"{name}: {value}." for name, value in record["settings"].items()),
    ]
    goals = [f"- {'met' if g['met'] else '**missed**'}: {g['goal']}: {g['figure']}" for g in record["goals"]]
    dated = [{"date": record["at"][:10], **row} for row in record["rows"]]
    return "\n".join([" ".join(lines), "", *goals, "", _table(dated)])


def _table(rows: Sequence[Row]) -> str:
    if not rows:
        return ""
    columns = list(rows[0])
    lines = [columns, ["---"] * len(columns), *([_cell(row.get(c, "")) for c in columns] for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _cell(value: object) -> str:
    return f"{value:,}" if isinstance(value, int | float) else str(value)
