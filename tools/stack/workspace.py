"""Pulumi for one stack of this checkout: its backend, passphrase, environment and settings file."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import secrets
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module, metadata
from pathlib import Path
from typing import IO

import psutil
import yaml

from infra.config import NAMESPACE
from infra.gpu.machines import CLOUDS
from infra.targets.layout import CHECKOUT
from tools import environment
from tools.binaries import find
from tools.report import ToolError, say

HOME = CHECKOUT / ".headrace"
PROGRAMS = ("pulumi", "prometheus")
BACKEND = HOME / "pulumi"
_STACKS = BACKEND / ".pulumi/stacks/headrace"
INTERRUPTED = 130
PATIENCE_S = 15


@dataclass(frozen=True)
class Workspace:
    """One stack of this checkout, as Pulumi's command line sees it."""

    stack: str
    environment: dict[str, str]

    @classmethod
    def prepare(cls, stack: str) -> Workspace:
        """Obtains the binaries, which can take minutes the first time, and creates the stack if it does not exist."""
        HOME.mkdir(mode=0o700, exist_ok=True)
        path = f"{find.bin_dir(PROGRAMS)}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
        workspace = cls(stack, {**os.environ, **_settings(), "PATH": path})
        if workspace.target != "local":
            _install_kubernetes_provider()
        if workspace.target in CLOUDS:
            environment.install_groups(workspace.target)
            workspace._install_cloud_provider()
        if not workspace._exists():
            workspace._init()
        return workspace

    def pulumi(self, *arguments: str, lock: IO[str] | None = None) -> int:
        """Runs Pulumi in the foreground and returns its exit status."""
        # Ctrl-C reaches Pulumi too, which then stops cleanly: wait for it, however long it takes.
        process = subprocess.Popen(
            ["pulumi", *arguments, *self._stack_options(arguments)],
            cwd=CHECKOUT,
            env=self.environment,
            pass_fds=[lock.fileno()] if lock else [],
        )
        interrupted = False
        while True:
            try:
                status = process.wait()
            except KeyboardInterrupt:
                interrupted = True
            else:
                return INTERRUPTED if interrupted else status

    def outputs(self) -> dict[str, object]:
        """Returns the stack's outputs, secrets in plain text: do not print them."""
        text = self.pulumi_output("stack", "output", "--json", "--show-secrets", "--stack", self.stack)
        return dict(json.loads(text or "{}"))

    def setting(self, name: str) -> str:
        """Returns a plain string setting of the stack's file; empty when it is not set."""
        own = self._own_settings
        settings = yaml.safe_load(own.read_text()) if own.exists() else None
        value = ((settings or {}).get("config") or {}).get(f"headrace:{name}", "")
        return value if isinstance(value, str) else ""

    @property
    def target(self) -> str:
        """The target that the stack runs on."""
        return self.setting("target") or "local"

    def settings(self) -> dict[str, object]:
        """Returns all settings without their namespace, secrets in plain text: do not print them."""
        options = ["--config-file", str(f)] if (f := self._salted_settings()) else []
        text = self.pulumi_output("config", "--json", "--show-secrets", "--stack", self.stack, *options)
        prefix = f"{NAMESPACE}:"
        return {
            key.removeprefix(prefix): setting.get("objectValue", setting.get("value"))
            for key, setting in json.loads(text or "{}").items()
            if key.startswith(prefix)
        }

    def _install_cloud_provider(self) -> None:
        """Downloads Pulumi's provider in the SDK's version from its vendor, unless it is installed or on PATH."""
        package = import_module(f"infra.targets.{self.target}").SDK.replace("_", "-")
        name, version = package.removeprefix("pulumi-"), metadata.version(package)
        binary = f"pulumi-resource-{name}"
        installed = HOME / "pulumi-home" / "plugins" / f"resource-{name}-v{version}"
        if installed.exists() or shutil.which(binary, path=self.environment["PATH"]):
            return
        say(f"{self.target}: downloading Pulumi's provider {name} {version}")
        try:
            self.pulumi_output("plugin", "install", "resource", name, version)
        except ToolError as e:
            reason = str(e).splitlines()[-1].removeprefix("error: ")
            install = (
                f"PULUMI_HOME=.headrace/pulumi-home pulumi plugin install resource {name} {version} --file ARCHIVE"
            )
            raise ToolError(
                f"Pulumi's provider cannot be downloaded: {reason}; put {binary} on PATH, or run `{install}`"
            ) from None

    @property
    def salt(self) -> str:
        """The salt with which the stack's encryption key is derived from the passphrase."""
        file = self._salt_file if self._salt_file.exists() else self._own_settings
        return str(yaml.safe_load(file.read_text())["encryptionsalt"])

    @contextmanager
    def locked(self) -> Iterator[IO[str]]:
        """Locks the stack for one operation, and removes what a killed operation left behind.

        Pulumi inherits the lock and holds it as long as it runs. A lock that is found in the file backend while this
        one is held therefore belongs to a dead process, and is safe to remove.

        Raises:
            ToolError: another operation holds the lock.
        """
        folder = HOME / self.stack
        folder.mkdir(mode=0o700, exist_ok=True)
        with (folder / "lock").open("w") as lock:
            if not _acquire(lock):
                raise ToolError(f"another operation on stack '{self.stack}' is running; wait for it to end")
            self._clean_backend()
            yield lock

    def _clean_backend(self) -> None:
        """Removes what a killed Pulumi left in the file backend: its lock, and files that it had not finished."""
        for file in (BACKEND / ".pulumi/locks/organization/headrace" / self.stack).glob("*.json"):
            if not _is_owner_alive(file):
                file.unlink(missing_ok=True)
        for file in (
            *_STACKS.glob(f"{self.stack}.json*"),
            *(BACKEND / ".pulumi/history/headrace" / self.stack).glob("*"),
        ):
            unfinished = file.suffix == ".attrs" and file.stat().st_size == 0
            if unfinished or file.suffix == ".tmp":
                file.unlink(missing_ok=True)

    def _stack_options(self, arguments: Sequence[str]) -> list[str]:
        if arguments[0] not in ("up", "preview", "destroy", "refresh"):
            return ["--stack", self.stack]
        return ["--stack", self.stack, *(["--config-file", str(f)] if (f := self._salted_settings()) else [])]

    @property
    def _own_settings(self) -> Path:
        return CHECKOUT / f"Pulumi.{self.stack}.yaml"

    @property
    def _salt_file(self) -> Path:
        return HOME / self.stack / "encryptionsalt"

    def _salted_settings(self) -> Path | None:
        """Writes a copy of the stack's settings with this checkout's salt; None when the stack's own file has a salt.

        The example stacks in the repository have no salt, since it belongs to the passphrase of one checkout; without
        the copy Pulumi would write one into them.
        """
        own = self._own_settings.read_text() if self._own_settings.exists() else ""
        if _has_encryption(own) or not self._salt_file.exists():
            return None
        salted = HOME / self.stack / self._own_settings.name
        salted.write_text(f"{own.rstrip()}\n{self._salt_file.read_text()}".lstrip())
        return salted

    def _exists(self) -> bool:
        if self.environment["PULUMI_BACKEND_URL"] == BACKEND.as_uri():  # starting Pulumi takes most of a second
            return any((_STACKS / f"{self.stack}.json{suffix}").exists() for suffix in ("", ".gz"))
        stacks = json.loads(self.pulumi_output("stack", "ls", "--json") or "[]")
        return any(s["name"].split("/")[-1] == self.stack for s in stacks)

    def _init(self) -> None:
        """Creates the stack; moves the salt that Pulumi adds to a settings file of the repository into `.headrace`."""
        before = self._own_settings.read_text() if self._own_settings.exists() else None
        self.pulumi_output("stack", "init", self.stack)
        after = self._own_settings.read_text() if self._own_settings.exists() else ""
        if _has_encryption(before or "") or not (lines := _salt_lines(after)):
            return
        self._salt_file.parent.mkdir(mode=0o700, exist_ok=True)
        self._salt_file.write_text(lines)
        if before is None:
            self._own_settings.unlink()
        else:
            self._own_settings.write_text(before)

    def pulumi_output(self, *arguments: str) -> str:
        """Runs Pulumi in the background and returns what it prints; raises `ToolError` with its error message."""
        done = subprocess.run(
            ["pulumi", *arguments, "--non-interactive"],
            cwd=CHECKOUT,
            env=self.environment,
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise ToolError(done.stderr.strip().removeprefix("error: "))
        return done.stdout


def _acquire(lock: IO[str]) -> bool:
    """Takes the lock within `PATIENCE_S`: children of a killed operation hold it for a moment after its death."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            if time.monotonic() > deadline:
                return False
            _end_orphans(Path(lock.name))
            time.sleep(0.2)
        else:
            return True


def _end_orphans(lock: Path) -> None:
    """Ends language hosts that hold the lock although their engine was killed: by themselves they end after minutes."""
    for process in psutil.process_iter(["name"]):
        with contextlib.suppress(psutil.Error):
            if process.info["name"].startswith("pulumi-language") and str(lock) in {
                f.path for f in process.open_files()
            }:
                parent = process.parent()
                if parent is None or parent.name() != "pulumi":
                    process.terminate()


def _settings() -> dict[str, str]:
    """Returns variables for Pulumi; a backend or passphrase that the user has set is kept."""
    settings = {
        "PULUMI_HOME": str(HOME / "pulumi-home"),
        "PULUMI_SKIP_UPDATE_CHECK": "true",
        "PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION": "true",
    }
    if "PULUMI_BACKEND_URL" not in os.environ:
        BACKEND.mkdir(mode=0o700, exist_ok=True)
        settings["PULUMI_BACKEND_URL"] = BACKEND.as_uri()
    if not {"PULUMI_CONFIG_PASSPHRASE", "PULUMI_CONFIG_PASSPHRASE_FILE"} & os.environ.keys():
        settings["PULUMI_CONFIG_PASSPHRASE_FILE"] = str(_passphrase())
    return settings


def _install_kubernetes_provider() -> None:
    """Links the provider into Pulumi's plugin folder: Pulumi uses one on PATH too, but warns about it at every step."""
    binary = find.ensure(["pulumi-resource-kubernetes"])["pulumi-resource-kubernetes"]
    folder = HOME / "pulumi-home" / "plugins" / f"resource-kubernetes-v{metadata.version('pulumi-kubernetes')}"
    link = folder / binary.name
    if link.is_symlink() and link.readlink() == binary.resolve():
        return
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    link.unlink(missing_ok=True)
    link.symlink_to(binary.resolve())


def _passphrase() -> Path:
    """Returns the file with this checkout's passphrase, generated at the first use."""
    path = HOME / "passphrase"
    if not path.exists():
        new = path.with_suffix(".new")
        new.unlink(missing_ok=True)
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as out:
            out.write(secrets.token_urlsafe(32))
        new.replace(path)
    return path


def _has_encryption(settings: str) -> bool:
    """Returns whether a settings file itself names how its secrets are encrypted."""
    return any(
        line.startswith(("encryptionsalt:", "encryptedkey:", "secretsprovider:")) for line in settings.split("\n")
    )


def _salt_lines(settings: str) -> str:
    return "".join(f"{line}\n" for line in settings.splitlines() if line.startswith("encryptionsalt:"))


def _is_owner_alive(lock: Path) -> bool:
    """Returns whether the engine that wrote a backend lock still runs on this host."""
    try:
        process = psutil.Process(int(json.loads(lock.read_text())["pid"]))
        return process.name() == "pulumi" and process.status() != psutil.STATUS_ZOMBIE
    except (psutil.Error, OSError, ValueError, KeyError, TypeError):
        return False


def interactive() -> bool:
    """Returns whether a person sits at a terminal."""
    return sys.stdout.isatty() and sys.stdin.isatty()
