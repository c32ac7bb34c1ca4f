"""Reads the file of a suite."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from serving.protocol.suites import Suite

MAX_FILE = 64 << 20


def read_suite(file: Path) -> Suite:
    """Returns the suite in a file of YAML or JSON; raises a `BadParameter`."""
    import yaml

    from serving.hub.evaluation.checks import check_patterns
    from serving.protocol.errors import ApiError
    from serving.protocol.suites import Suite
    from serving.protocol.validation import validate
    from serving.store.errors import InvalidValue

    if file.stat().st_size > MAX_FILE:
        raise click.BadParameter(f"{file} is larger than {MAX_FILE} bytes.")
    try:
        document = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        raise click.BadParameter(f"{file} is not YAML.") from None
    try:
        suite = validate(Suite, document)
        check_patterns(suite)
    except ApiError as e:
        raise click.BadParameter(f"{file}: {f'{e.param}: ' if e.param else ''}{e.message}") from None
    except InvalidValue as e:
        raise click.BadParameter(f"{file}: {e}") from None
    return suite
