"""Command-line options that select the store."""

from __future__ import annotations

import argparse
from pathlib import Path

from serving.config import ServingConfig, Store

CONFIG = Path("/etc/headrace/config/serving.json")
"""Path of the stack's configuration in pods."""


def add_to(parser: argparse.ArgumentParser) -> None:
    """Adds the options to a parser."""
    parser.add_argument(
        "--config", type=Path, default=CONFIG, help="file with the stack's ServingConfig, JSON (%(default)s)"
    )
    parser.add_argument("--database", help="instead of --config: sqlite:////path or postgresql://user@host/name")
    parser.add_argument("--data", help="with --database: the data folder, or the bucket as in store.data")
    parser.add_argument("--endpoint", help="with --data: URL of an object store that is not the cloud's own")


def chosen(options: argparse.Namespace) -> Store:
    """Returns the selected store. Raises `LookupError` and pydantic's `ValidationError`."""
    if options.database or options.data:
        if not (options.database and options.data):
            raise LookupError("--database and --data must be given together")
        return Store(database=options.database, data=options.data, endpoint=options.endpoint)
    try:
        return ServingConfig.model_validate_json(options.config.read_bytes()).store
    except OSError as e:
        raise LookupError(f"{options.config}: {e.strerror}; name a --config, or --database and --data") from None
