"""A stack of its own in a checkout, so that the stacks of two checkouts run at the same time.

Its configuration is the checkout's `Pulumi.bench.yaml` with other ports, in a file that exists as long as the stack.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from bench.processes import BenchError
from bench.stack import STACK, Stack

PORTS = "headrace:ports"


def shift_ports(settings: Mapping[str, Any], by: int) -> dict[str, Any]:
    """Returns the settings of a stack with all of its ports `by` higher, except those that are 0 and thus chosen."""
    config = settings["config"]
    ports = {name: port and port + by for name, port in config[PORTS].items()}
    return {**settings, "config": {**config, PORTS: ports}}


@contextlib.contextmanager
def running_stack(checkout: Path, name: str, ports_by: int) -> Iterator[Stack]:
    """Runs a new stack `name` of a checkout during the block, then purges it, also if its start fails.

    Its ports are `ports_by` above those of the benchmarks' stack. A stack that a killed run left is purged before.

    Raises:
        BenchError: the stack does not start, or cannot be purged; the message says how to purge it.
    """
    file = checkout / f"Pulumi.{name}.yaml"
    if file.exists():
        _purge(checkout, name, file)
    settings = yaml.safe_load((checkout / f"Pulumi.{STACK}.yaml").read_text())
    file.write_text(yaml.safe_dump(shift_ports(settings, ports_by)))
    try:
        _run_verb(checkout, name, "up")
        yield _addressed(checkout, name)
    finally:
        _purge(checkout, name, file)


def _addressed(checkout: Path, name: str) -> Stack:
    exports = _run_verb(checkout, name, "env", capture=True)
    pairs = dict(word.split("=", 1) for line in exports.splitlines() for word in shlex.split(line)[1:])
    return Stack(pairs["URL"], pairs["KEY"], checkout / ".headrace" / name)


def _purge(checkout: Path, name: str, file: Path) -> None:
    """Purges a stack, and deletes its configuration, without which nobody could purge it, only after that."""
    _run_verb(checkout, name, "purge")
    file.unlink()


def _run_verb(checkout: Path, name: str, verb: str, *, capture: bool = False) -> str:
    """Runs a verb of a checkout's stack to its end, even after Ctrl-C; returns what it prints if `capture`."""
    argv = [str(checkout / ".venv/bin/python"), "-m", "tools.stack", "--stack", name, verb]
    process = subprocess.Popen(
        argv,
        cwd=checkout,
        env={**os.environ, "PWD": str(checkout)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE if capture else sys.stderr,
        text=True,
    )
    try:
        printed, _ = process.communicate()
    except BaseException:
        # The verb ends in order; a killed one would leave processes that the next verb does not know.
        process.send_signal(signal.SIGINT)
        process.wait()
        raise
    if process.returncode:
        raise BenchError(f"`{shlex.join(argv)}` in {checkout} failed with status {process.returncode}")
    return printed or ""
