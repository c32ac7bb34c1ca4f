"""A kit built from Go modules. An interrupted build continues where it stopped, thanks to Go's build cache."""

import hashlib
import json
import os
import shutil
import subprocess
import tempfile
import time
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path

from infra.programs import GoModule, Kit
from tools import progress
from tools.report import ToolError, say

SOURCES = Path(__file__).parents[1] / "go"


class GoBuildOutput:
    """The progress of a `go build -v`, which prints a line per module downloaded and per package compiled."""

    def __init__(self) -> None:
        self.tail: deque[str] = deque(maxlen=8)
        self.compiled = 0
        self.downloaded = 0

    def add(self, line: str) -> None:
        """Counts one line of output."""
        self.tail.append(line)
        if line.startswith("go: downloading "):
            self.downloaded += 1
        elif not line.startswith("#"):
            self.compiled += 1

    def __str__(self) -> str:
        last = self.tail[-1] if self.tail else "reading the build cache"
        return f"{self.downloaded} modules downloaded, {self.compiled} packages compiled, last: {last}"


@dataclass(frozen=True)
class GoBuild:
    """Obtains a kit by building its Go module."""

    kit: Kit
    module: GoModule
    label: str = field(default="go build", init=False)

    @property
    def version(self) -> str:
        """The version that the binaries report."""
        return self.module.version

    @property
    def source(self) -> Path:
        """The folder with go.mod."""
        return SOURCES / self.module.source

    @property
    def key(self) -> str:
        """A hex digest of everything that the result depends on besides the version: the Go sources and the flags."""
        digest = hashlib.sha256(repr(self.module).encode() + b"cgo" * self.module.cgo)
        modfile = Path(self.module.modfile)
        for file in sorted(self.source.rglob("*")):
            if file.suffix == ".go" or file.name in {modfile.name, modfile.with_suffix(".sum").name}:
                digest.update(f"{file.relative_to(self.source)}\0".encode())
                digest.update(hashlib.sha256(file.read_bytes()).digest())
        return digest.hexdigest()

    def make(self, folder: Path) -> None:
        """Puts the kit's binaries into the folder.

        Raises:
            ToolError: Go or a C compiler that the module needs is not installed, a module cannot be downloaded, or the
                build failed.
        """
        go = shutil.which("go")
        if go is None:
            raise ToolError("Go is not installed")
        if self.module.cgo and c_compiler() is None:
            raise ToolError("no C compiler is installed (`cc`, for example of the package gcc)")
        say(f"{self.kit.name}: building {self.version} from its Go module; the first time takes minutes")
        start = time.monotonic()
        with tempfile.NamedTemporaryFile("w", suffix=".json") as overlay:
            replaced = {
                str(self.source / path): str(self._module(go, module) / source)
                for path, module, source in self.module.overlay
            }
            json.dump({"Replace": replaced}, overlay)
            overlay.flush()
            self._build(go, folder, overlay.name)
        for module, path in self.module.files:
            shutil.copy(self._module(go, module) / path, folder)
        say(f"{self.kit.name}: built in {time.monotonic() - start:.0f} s")

    def _build(self, go: str, folder: Path, overlay: str) -> None:
        flags = ["-v", "-trimpath", "-mod=readonly", "-buildvcs=false", "-overlay", overlay]
        if self.module.modfile != "go.mod":
            flags.append(f"-modfile={self.module.modfile}")
        command = [go, "build", *flags, "-tags", self.module.tags, "-ldflags", self.module.ldflags]
        output = GoBuildOutput()
        build = [*command, "-o", f"{folder}/", *self.module.packages]
        code = progress.run(self.kit.name, build, output, cwd=self.source, env=_environment(cgo=self.module.cgo))
        if code != 0:
            raise ToolError(f"go build failed: {' | '.join(output.tail)}")

    def _module(self, go: str, module: str) -> Path:
        """Returns the module's folder in Go's cache, downloading the module if it is missing."""
        self._go(go, "mod", "download", module)
        return Path(self._go(go, "list", "-mod=readonly", "-m", "-f", "{{.Dir}}", module))

    def _go(self, go: str, *arguments: str) -> str:
        try:
            return subprocess.run(
                [go, *arguments], cwd=self.source, env=_environment(), check=True, capture_output=True, text=True
            ).stdout.strip()
        except subprocess.CalledProcessError as error:
            raise ToolError(f"go {' '.join(arguments)}: {error.stderr.strip()}") from error


def c_compiler() -> str | None:
    """Returns the C compiler that Go uses: the value of CC, else gcc or cc; None if it is not installed."""
    named = [os.environ["CC"].split()[0]] if os.environ.get("CC") else ["gcc", "cc"]
    return next((found for name in named if (found := shutil.which(name))), None)


def _environment(*, cgo: bool = False) -> dict[str, str]:
    # Without cgo the binaries run on any Linux; a go.work above the checkout must not change what is built.
    return {**os.environ, "CGO_ENABLED": str(int(cgo)), "GOWORK": "off"}
