"""Finds each tool, or obtains it: on PATH at an accepted version, in the cache, the vendor's release, a Go build."""

import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from infra.versions import KITS, Kit, Version
from tools import cache
from tools.download import Download
from tools.gobuild import GoBuild
from tools.report import ToolError, say

Route = Download | GoBuild


@dataclass(frozen=True)
class Found:
    """A kit's binaries, all from one source: `path`, `cache (download)`, `cache (go build)`, `download`, `go build`."""

    kit: Kit
    version: str
    source: str
    files: dict[str, Path]


def ensure(names: Iterable[str] = (), kits: Sequence[Kit] = KITS) -> dict[str, Path]:
    """Returns the path of each named tool (of all, if none is named), obtaining what is not there.

    Obtaining can take minutes; progress goes to stderr.

    Raises:
        ToolError: a name is unknown, or a tool can be had in no way.
    """
    wanted = tuple(names) or tuple(name for kit in kits for name in kit.binaries)
    files = {name: file for kit in kits_of(wanted, kits) for name, file in obtain(kit).files.items()}
    return {name: files[name] for name in wanted}


def bin_dir(names: Iterable[str] = (), kits: Sequence[Kit] = KITS) -> Path:
    """Returns a folder to put on PATH: links to the named tools (all, if none is named) and what belongs to them.

    Obtains what is not there, and raises, as `ensure` does.
    """
    wanted = kits_of(names, kits) or kits
    return cache.link({name: file for kit in wanted for name, file in obtain(kit).files.items()})


def kits_of(names: Iterable[str], kits: Sequence[Kit] = KITS) -> list[Kit]:
    """Returns the kits that the named tools belong to.

    Raises:
        ToolError: a name is unknown.
    """
    wanted = set(names)
    if unknown := wanted.difference(*({kit.name, *kit.binaries} for kit in kits)):
        known = ", ".join(name for kit in kits for name in kit.binaries)
        raise ToolError(f"unknown tool {', '.join(sorted(unknown))}; there is {known}")
    return [kit for kit in kits if wanted & {kit.name, *kit.binaries}]


def find(kit: Kit) -> Found | None:
    """Returns the kit if it is on PATH or in the cache; obtains nothing."""
    return _on_path(kit) or _in_cache(kit)


def obtain(kit: Kit, *, own: bool = False) -> Found:
    """Returns the kit, obtaining it if it is not there; with `own`, one on PATH is passed over.

    Distributors build some programs with less in them; what is not from PATH is as `infra.versions` says.

    Raises:
        ToolError: it can be had in no way.
    """
    if found := _in_cache(kit) if own else find(kit):
        return found
    with cache.lock(kit.name):
        if found := _in_cache(kit):  # another process obtained it while this one waited
            return found
        failures = []
        for route in routes(kit):
            folder = _folder(kit, route)
            if folder.exists():
                say(f"{kit.name}: {folder} is damaged and is made again")
            try:
                files = cache.install(folder, kit.binaries, route.make)
            except ToolError as failure:
                say(f"{kit.name}: no {route.label}: {failure}")
                failures.append(f"{route.label}: {failure}")
            else:
                return Found(kit, route.version, route.label, files)
    tried = "; ".join(failures) or f"{_platform()} has no pinned download"
    raise ToolError(
        f"{kit.name} cannot be obtained ({tried}). Install it ({accepted(kit)}, {kit.homepage})"
        + (" or Go (https://go.dev/dl/)" if kit.go and not shutil.which("go") else "")
    )


def routes(kit: Kit) -> list[Route]:
    """Returns the ways to obtain the kit on this platform, the preferred one first."""
    offered: list[Route] = []
    if kit.release and (archive := kit.release.archives.get(_platform())):
        offered.append(Download(kit, kit.release.version, archive))
    if kit.go:
        offered.append(GoBuild(kit, kit.go))
    return offered


def accepted(kit: Kit) -> str:
    """Returns the accepted versions as text."""
    return f">={'.'.join(map(str, kit.at_least))},<{'.'.join(map(str, kit.below))}"


def version_on_path(kit: Kit) -> str | None:
    """Returns the version of the kit's first binary on PATH; None if there is none, or none that answers."""
    binary = shutil.which(kit.binaries[0], path=_path())
    if binary is None:
        return None
    try:
        answer = subprocess.run(
            [binary, *kit.version_args], env={**os.environ, **kit.env}, capture_output=True, text=True, timeout=30
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    match = re.search(r"\d+\.\d+\.\d+", answer.stdout + answer.stderr)
    return match[0] if match and answer.returncode == 0 else None


def _on_path(kit: Kit) -> Found | None:
    binary = shutil.which(kit.binaries[0], path=_path())
    version = version_on_path(kit)
    if binary is None or version is None or not kit.at_least <= _parse(version) < kit.below:
        return None
    # A vendor's other binaries lie beside its first, to which a link on PATH may point.
    search = os.pathsep.join([str(Path(binary).resolve().parent), _path()])
    files = {name: shutil.which(name, path=search) for name in kit.binaries[1:]}
    found = {name: Path(file) for name, file in files.items() if file}
    if len(found) < len(files):
        return None
    return Found(kit, version, "path", {kit.binaries[0]: Path(binary), **found})


def _path() -> str:
    """PATH without our own `bin_dir`: what lies in the cache is looked for there, where its checksum is verified."""
    folders = os.environ.get("PATH", os.defpath).split(os.pathsep)
    return os.pathsep.join(folder for folder in folders if not Path(folder).is_relative_to(cache.root()))


def _in_cache(kit: Kit) -> Found | None:
    for route in routes(kit):
        try:
            files = cache.read(_folder(kit, route), kit.binaries)
        except cache.Damaged:
            continue
        if files:
            return Found(kit, route.version, f"cache ({route.label})", files)
    return None


def _folder(kit: Kit, route: Route) -> Path:
    return cache.root() / f"{kit.name}-{route.version}-{_platform()}-{route.key[:12]}"


def _platform() -> str:
    machine = platform.machine().lower()
    return f"{sys.platform}-{ {'x86_64': 'amd64', 'aarch64': 'arm64'}.get(machine, machine) }"


def _parse(version: str) -> Version:
    major, minor, patch = map(int, version.split("."))
    return major, minor, patch
