"""Debian's buildah, with its own store in the cache: no daemon, no registry, and no access to the host's images."""

import os
import subprocess
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tools.images.layer import EPOCH_S
from tools.machines import host
from tools.report import INTERVAL_S, ToolError, say

# program: the Debian package that has it
PROGRAMS = {"buildah": "buildah", "debootstrap": "debootstrap", "unshare": "util-linux"}


def check() -> None:
    """Raises `ToolError` unless this host can build images; the text says what to install."""
    if os.geteuid() != 0:
        raise ToolError("building an image without a registry needs root: it makes a Debian root and mounts layers")
    if packages := host.missing(PROGRAMS):
        raise ToolError(
            f"programs are missing; install Debian's packages {' '.join(packages)}"
            " (`.venv/bin/python -m tools.images prepare`)"
        )


@dataclass(frozen=True)
class Buildah:
    """Images and their layers in a folder, on which the caller holds a lock."""

    store: Path

    def pull(self, archive: Path, name: str) -> None:
        """Imports an OCI archive's image into the store, under its name in the archive."""
        if not self._has(name):
            self._call(["pull", "--quiet", f"oci-archive:{archive}:{name}"], "reading the base image")

    def build(
        self,
        dockerfile: Path,
        context: Path,
        name: str,
        *,
        arguments: Mapping[str, str],
        secrets: Mapping[str, Path],
        target: str | None = None,
    ) -> None:
        """Builds a Dockerfile. Layers are cached by their inputs, and times in the image are fixed.

        `target` is the stage to stop at, by default the last one.
        """
        command = ["build-using-dockerfile", "--layers", "--pull-never", "--network=host", "--format=oci"]
        command += [f"--timestamp={EPOCH_S}", "--identity-label=false", f"--tag={name}", f"--file={dockerfile}"]
        command += [f"--ignorefile={dockerfile}.dockerignore", *([f"--target={target}"] if target else [])]
        command += [f"--build-arg={key}={value}" for key, value in arguments.items()]
        command += [f"--secret=id={key},src={file}" for key, file in secrets.items()]
        self._call([*command, str(context)], f"building {dockerfile.parent.name}")

    def push(self, name: str, folder: Path) -> None:
        """Writes an image's manifest, configuration and layers, uncompressed, into a folder (skopeo's `dir:`)."""
        self._call(["push", "--quiet", "--disable-compression", name, f"dir:{folder}"], "writing the image")

    def run(self, name: str, command: Sequence[str]) -> str:
        """Runs a command in a container of the image, as the image's user; returns its output.

        Raises:
            ToolError: it failed.
        """
        container = self._call(["from", "--pull-never", name], "starting a container").strip()
        try:
            return self._call(["run", container, "--", *command], f"running {command[0]}")
        finally:
            self._call(["rm", container], "removing the container")

    def clean(self) -> None:
        """Removes containers left by a killed build."""
        if self.store.exists():
            self._call(["rm", "--all"], "removing containers")

    def _has(self, name: str) -> bool:
        return name in self._call(["images", "--format={{.Name}}:{{.Tag}}"], "listing images").split()

    def _call(self, arguments: Sequence[str], what: str) -> str:
        """Runs buildah in its own mount namespace, so that no mount outlives it, and prints progress.

        Raises:
            ToolError: it failed; the text contains its last lines.
        """
        self.store.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="headrace-buildah-") as state:
            command = ["unshare", "--mount", "buildah", f"--root={self.store}", f"--runroot={state}", *arguments]
            environment = {**os.environ, "STORAGE_DRIVER": "overlay", "BUILDAH_ISOLATION": "chroot", "LC_ALL": "C"}
            with subprocess.Popen(
                command,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                errors="replace",
            ) as process:
                try:
                    return _watch(process, what)
                except BaseException:
                    process.terminate()
                    raise


def _watch(process: subprocess.Popen[str], what: str) -> str:
    """Reads stdout and stderr of a program to their ends and returns stdout."""
    assert process.stdout
    assert process.stderr
    printed: list[str] = []
    said: list[str] = []
    readers = [
        threading.Thread(target=lines.extend, args=(stream,), daemon=True)
        for lines, stream in ((printed, process.stdout), (said, process.stderr))
    ]
    for reader in readers:
        reader.start()
    start = time.monotonic()
    while process.poll() is None:
        try:
            process.wait(INTERVAL_S)
        except subprocess.TimeoutExpired:
            say(f"images: {what}, {time.monotonic() - start:.0f} s{_step(printed)}")
    for reader in readers:
        reader.join()
    if process.returncode:
        last = "".join([*printed[-15:], *said[-15:]]).strip()
        raise ToolError(f"{what} failed (exit status {process.returncode}):\n{last}")
    return "".join(printed)


def _step(printed: Sequence[str]) -> str:
    """Returns the current step of the Dockerfile, such as `[3/6] STEP 2/5: COPY ...`."""
    steps = [line for line in list(printed) if "STEP " in line[:20]]
    return f", {steps[-1].strip()[:70]}" if steps else ""
