"""A kit from its vendor's release archive, whose checksum is verified before anything in it is used."""

import hashlib
import tarfile
import time
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from infra.programs import Archive, Kit
from tools.report import INTERVAL_S, ToolError, say

_MIB = 1 << 20


@dataclass(frozen=True)
class Download:
    """Obtains a kit from its vendor's archive."""

    kit: Kit
    version: str
    archive: Archive
    # Without a network, connecting fails within seconds; a connection that exists may stall for longer.
    connect_timeout_s: float = 5
    read_timeout_s: float = 30
    label: str = field(default="download", init=False)

    @property
    def key(self) -> str:
        """A hex digest of everything that the result depends on besides the version."""
        return self.archive.sha256

    def make(self, folder: Path) -> None:
        """Puts the kit's binaries into the folder.

        Raises:
            ToolError: the download failed, the checksum differs, or the archive lacks a binary.
        """
        import httpx  # kits are looked up before an environment has any package

        say(f"{self.kit.name}: downloading {self.version} from {self.archive.url}")
        file = folder / "archive.tar.gz"
        try:
            found = self._fetch(file)
        except httpx.HTTPStatusError as error:
            raise ToolError(f"the server answered {error.response.status_code}") from error
        except httpx.HTTPError as error:
            raise ToolError(f"{type(error).__name__}: {error}") from error
        if found != self.archive.sha256:
            raise ToolError(f"the archive's SHA-256 is {found}, not the pinned {self.archive.sha256}")
        try:
            self._extract(file, folder)
        except tarfile.TarError as error:
            raise ToolError(f"the archive cannot be read: {error}") from error
        file.unlink()

    def _fetch(self, file: Path) -> str:
        """Writes the archive to the file and returns its SHA-256."""
        import httpx

        digest = hashlib.sha256()
        timeout = httpx.Timeout(self.read_timeout_s, connect=self.connect_timeout_s)
        start = reported = time.monotonic()
        with (
            httpx.stream("GET", self.archive.url, follow_redirects=True, timeout=timeout) as response,
            file.open("wb") as out,
        ):
            response.raise_for_status()
            size = int(response.headers.get("content-length", 0))
            for block in response.iter_raw(_MIB):
                digest.update(block)
                out.write(block)
                if (now := time.monotonic()) - reported >= INTERVAL_S:
                    reported = now
                    done = f"{out.tell() // _MIB} of {size // _MIB} MiB" if size else f"{out.tell() // _MIB} MiB"
                    say(f"{self.kit.name}: {now - start:.0f} s, {done}")
        return digest.hexdigest()

    def _extract(self, file: Path, folder: Path) -> None:
        """Extracts the kit's binaries, and nothing else, from whichever folder of the archive they are in."""
        missing = set(self.kit.binaries)
        with tarfile.open(file) as archive:
            for member in archive:
                name = PurePosixPath(member.name).name
                if name in missing and member.isreg():
                    archive.extract(member.replace(name=name), folder, filter="data")
                    missing.discard(name)
        if missing:
            raise ToolError(f"the archive has no {', '.join(sorted(missing))}")
