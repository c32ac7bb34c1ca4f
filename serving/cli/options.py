"""Options that commands share."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])

MOST = 10_000

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}


class Seconds(click.ParamType[int]):
    """A duration such as 90s, 15m, 12h, 30d or 4w."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Returns whole seconds."""
        if isinstance(value, int):
            return value
        found = re.fullmatch(r"([0-9]{1,9})([smhdw])", value, re.ASCII)
        if found is None:
            self.fail("must be a number followed by s, m, h, d or w, such as 12h", param, ctx)
        return int(found[1]) * _UNITS[found[2]]


def as_json(command: F) -> F:
    """Adds `--json`."""
    return click.option("--json", "json", is_flag=True, help="Print the API's answer as JSON instead of a table.")(
        command
    )


def of_tenant(command: F) -> F:
    """Adds `--tenant`."""
    return click.option(
        "--tenant", metavar="TENANT", help="The tenant; only the stack's own key may name another one than its own."
    )(command)


def limited(command: F) -> F:
    """Adds `--limit`."""
    return click.option(
        "--limit", type=click.IntRange(1, MOST), default=100, show_default=True, help="Maximum number of items."
    )(command)


def confirmed(question: str) -> Callable[[F], F]:
    """Adds `--yes`, without which the command asks for confirmation."""
    return click.confirmation_option("--yes", prompt=question, help="Do not ask for confirmation.")
