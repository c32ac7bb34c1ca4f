"""When code or configuration was rolled out, which dashboards mark on all of their charts."""

from __future__ import annotations

from monitoring.dashboards.query import largest, series

_NAME, _BY = "headrace_deployed_hash", "part"
DEPLOYED = largest(_NAME, _BY)
"""What the gateways serve, as a number for each part; it changes when another one is rolled out."""
STEP = "1m"
CHANGED = f"{DEPLOYED} != max by ({_BY}) ({series(_NAME)} offset {STEP})"
"""Has a series for each part that is another one than a step ago: one point for a roll-out, evaluated each step."""
TITLE = "Rolled out: {{part}}"
