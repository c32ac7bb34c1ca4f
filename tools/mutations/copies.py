"""Copies of a checkout, in which files are mutated and tests run."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tools.mutations.entry import Mutation

LONGEST_S = 900
"""Timeout of a test run: a mutant may loop for ever."""


@dataclass(frozen=True, slots=True)
class Case:
    """A test as pytest reports it: FILE::NAME without parameters, its outcome and message."""

    test: str
    outcome: Literal["passed", "failed", "skipped"]
    message: str = ""


class Copy:
    """A copy of a checkout, in which files are mutated and tests run."""

    def __init__(self, root: Path, folder: Path) -> None:
        self.folder = folder
        git = ["git", "-C", str(root), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
        listed = subprocess.run(git, check=True, capture_output=True, text=True).stdout
        for name in filter(None, listed.split("\0")):
            if (root / name).is_file():
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(root / name, folder / name)

    @contextlib.contextmanager
    def mutated(self, mutation: Mutation) -> Iterator[None]:
        """Applies the mutation for the duration of the context."""
        file = self.folder / mutation.file
        before = file.read_text()
        try:
            _write(file, mutation.apply_to(before))
            yield
        finally:
            _write(file, before)

    def run(self, tests: Iterable[str], options: Sequence[str] = ()) -> list[Case]:
        """Runs tests and returns pytest's report on each; nothing if pytest could not start."""
        report = self.folder / ".mutations.xml"
        report.unlink(missing_ok=True)
        arguments = [
            "-q",
            "-m",
            "not soak",
            "-p",
            "no:cacheprovider",
            "-o",
            "junit_family=xunit1",
            f"--junitxml={report}",
            *options,
        ]
        with contextlib.suppress(subprocess.TimeoutExpired):
            subprocess.run(
                [sys.executable, "-m", "pytest", *arguments, *tests],
                cwd=self.folder,
                env={**os.environ, "PYTHONPATH": str(self.folder)},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                timeout=LONGEST_S,
            )
        return list(_cases(report)) if report.exists() else []


def _write(file: Path, text: str) -> None:
    file.write_text(text)
    # Python recognises an outdated compiled file by the source's time in seconds and size, which may be the same.
    for compiled in file.parent.glob(f"__pycache__/{file.stem}.*.pyc"):
        compiled.unlink()


def _cases(report: Path) -> Iterator[Case]:
    for case in ET.parse(report).iter("testcase"):  # noqa: S314  # pytest wrote it just now
        file, name = case.get("file", ""), case.get("name", "").partition("[")[0]
        module = file.removesuffix(".py").replace("/", ".")
        within = case.get("classname", "").removeprefix(module).strip(".").replace(".", "::")
        test = "::".join(filter(None, (file, within, name)))
        for kind in ("failure", "error", "skipped"):
            if (found := case.find(kind)) is not None:
                text = found.get("message") or (found.text or "").strip() or kind
                yield Case(test, "skipped" if kind == "skipped" else "failed", text)
                break
        else:
            yield Case(test, "passed")
