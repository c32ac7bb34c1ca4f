"""Finds a kit's binaries on PATH or in the cache, else obtains them from the vendor's release or by a Go build."""

import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from infra.programs import KITS, Kit, Version
from tools import cache
from tools.binaries.download import Download
from tools.binaries.gobuild import GoBuild
from tools.report import ToolError, say

Source = Download | GoBuild


@dataclass(frozen=True)
class InstalledKit:
    """A kit's binaries. `source` is `path`, `cache (download)`, `cache (go build)`, `download` or `go build`."""

    kit: Kit
    version: str
    source: str
    files: dict[str, Path]


def ensure(names: Iterable[str] = (), kits: Sequence[Kit] = KITS) -> dict[str, Path]:
    """Returns the path of each named tool (by default of all), obtaining those that are missing.

    Obtaining can take minutes; progress is printed on stderr.

    Raises:
        ToolError: a name is unknown, or a tool cannot be obtained.
    """
    wanted = tuple(names) or tuple(name for kit in kits for name in kit.binaries)
    files = {name: file for kit in kits_for(wanted, kits) for name, file in obtain(kit).files.items()}
    return {name: files[name] for name in wanted}


def bin_dir(names: Iterable[str] = (), kits: Sequence[Kit] = KITS) -> Path:
    """Returns a folder for PATH, with links to all binaries of the kits of the named tools (by default of all kits).

    Obtains missing tools and raises as `ensure` does.
    """
    wanted = kits_for(names, kits) or kits
    return cache.link({name: file for kit in wanted for name, file in obtain(kit).files.items()})


def kits_for(names: Iterable[str], kits: Sequence[Kit] = KITS) -> list[Kit]:
    """Returns the kits that the named tools belong to.

    Raises:
        ToolError: a name is unknown.
    """
    wanted = set(names)
    if unknown := wanted.difference(*({kit.name, *kit.binaries} for kit in kits)):
        known = ", ".join(name for kit in kits for name in kit.binaries)
        raise ToolError(f"unknown tool {', '.join(sorted(unknown))}; there is {known}")
    return [kit for kit in kits if wanted & {kit.name, *kit.binaries}]


def find(kit: Kit) -> InstalledKit | None:
    """Returns the kit if it is on PATH or in the cache, else None; obtains nothing."""
    return _on_path(kit) or _in_cache(kit)


def obtain(kit: Kit, *, own: bool = False) -> InstalledKit:
    """Returns the kit, obtaining it if it is missing.

    With `own`, a kit on PATH is ignored: distributors build some programs with fewer features, whereas one from the
    cache is exactly what `infra.programs` pins.

    Raises:
        ToolError: the kit cannot be obtained.
    """
    if found := _in_cache(kit) if own else find(kit):
        return found
    with cache.lock(kit.name):
        if found := _in_cache(kit):  # another process obtained it while this one waited
            return found
        failures = []
        for source in sources(kit):
            folder = _folder(kit, source)
            if folder.exists():
                say(f"{kit.name}: {folder} is damaged; obtaining it again")
            try:
                files = cache.install(folder, kit.binaries, source.make)
            except ToolError as failure:
                say(f"{kit.name}: no {source.label}: {failure}")
                failures.append(f"{source.label}: {failure}")
            else:
                return InstalledKit(kit, source.version, source.label, files)
    tried = "; ".join(failures) or f"{_platform()} has no pinned download"
    raise ToolError(
        f"{kit.name} cannot be obtained ({tried}). Install it ({accepted_versions(kit)}, {kit.homepage})"
        + (" or Go (https://go.dev/dl/)" if kit.go and not shutil.which("go") else "")
    )


def sources(kit: Kit) -> list[Source]:
    """Returns the sources of the kit for this platform, the preferred one first."""
    found: list[Source] = []
    if kit.release and (archive := kit.release.archives.get(_platform())):
        found.append(Download(kit, kit.release.version, archive))
    if kit.go:
        found.append(GoBuild(kit, kit.go))
    return found


def accepted_versions(kit: Kit) -> str:
    """Returns the accepted versions as a requirement, such as `>=1.2.0,<2.0.0`."""
    return f">={'.'.join(map(str, kit.at_least))},<{'.'.join(map(str, kit.below))}"


def version_on_path(kit: Kit) -> str | None:
    """Returns the version of the kit's first binary on PATH; None if it is missing or does not print a version."""
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


def _on_path(kit: Kit) -> InstalledKit | None:
    binary = shutil.which(kit.binaries[0], path=_path())
    version = version_on_path(kit)
    if binary is None or version is None or not kit.at_least <= _parse(version) < kit.below:
        return None
    # A link on PATH may point to the first binary; the vendor's other binaries are beside its target.
    search = os.pathsep.join([str(Path(binary).resolve().parent), _path()])
    files = {name: shutil.which(name, path=search) for name in kit.binaries[1:]}
    found = {name: Path(file) for name, file in files.items() if file}
    if len(found) < len(files):
        return None
    return InstalledKit(kit, version, "path", {kit.binaries[0]: Path(binary), **found})


def _path() -> str:
    """Returns PATH without folders in the cache, whose files are looked up there and verified by checksum."""
    folders = os.environ.get("PATH", os.defpath).split(os.pathsep)
    return os.pathsep.join(folder for folder in folders if not Path(folder).is_relative_to(cache.root()))


def _in_cache(kit: Kit) -> InstalledKit | None:
    for source in sources(kit):
        try:
            files = cache.installed_files(_folder(kit, source), kit.binaries)
        except cache.DamagedFileError:
            continue
        if files:
            return InstalledKit(kit, source.version, f"cache ({source.label})", files)
    return None


def _folder(kit: Kit, source: Source) -> Path:
    return cache.root() / f"{kit.name}-{source.version}-{_platform()}-{source.key[:12]}"


def _platform() -> str:
    machine = platform.machine().lower()
    return f"{sys.platform}-{ {'x86_64': 'amd64', 'aarch64': 'arm64'}.get(machine, machine) }"


def _parse(version: str) -> Version:
    major, minor, patch = map(int, version.split("."))
    return major, minor, patch
