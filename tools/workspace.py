"""Where and how Pulumi runs for this checkout: backend, passphrase, environment, the stack's settings file."""

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
from importlib import metadata
from pathlib import Path
from typing import IO

import psutil
import yaml

from infra.config import NAMESPACE
from infra.gpu.machines import CLOUDS
from infra.targets.layout import CHECKOUT
from tools import environment, find
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
    def of(cls, stack: str) -> Workspace:
        """Prepares everything that Pulumi needs; obtains the tools, which can take minutes the first time."""
        HOME.mkdir(mode=0o700, exist_ok=True)
        path = f"{find.bin_dir(PROGRAMS)}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
        workspace = cls(stack, {**os.environ, **_settings(), "PATH": path})
        if workspace.target != "local":
            _install_kubernetes_provider()
        if workspace.target in CLOUDS:
            environment.add(workspace.target)
            workspace._install_cloud_provider()
        if not workspace._exists():
            workspace._init()
        return workspace

    def pulumi(self, *arguments: str, lock: IO[str] | None = None) -> int:
        """Runs Pulumi in the foreground and returns its exit status."""
        # Ctrl-C reaches Pulumi too, which then ends in order: wait for it, however long it takes.
        process = subprocess.Popen(
            ["pulumi", *arguments, *self._where(arguments)],
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
        """Returns the stack's outputs, secrets in plain text: for this process's use."""
        text = self.ask("stack", "output", "--json", "--show-secrets", "--stack", self.stack)
        return dict(json.loads(text or "{}"))

    def setting(self, name: str) -> str:
        """A plain setting of the stack's own file; empty when it is not set."""
        own = self._own_settings
        settings = yaml.safe_load(own.read_text()) if own.exists() else None
        value = ((settings or {}).get("config") or {}).get(f"headrace:{name}", "")
        return value if isinstance(value, str) else ""

    @property
    def target(self) -> str:
        """Where the stack runs."""
        return self.setting("target") or "local"

    def settings(self) -> dict[str, object]:
        """All settings without their namespace, secrets in plain text: for this process's use."""
        where = ["--config-file", str(f)] if (f := self._composed()) else []
        text = self.ask("config", "--json", "--show-secrets", "--stack", self.stack, *where)
        prefix = f"{NAMESPACE}:"
        return {
            key.removeprefix(prefix): said.get("objectValue", said.get("value"))
            for key, said in json.loads(text or "{}").items()
            if key.startswith(prefix)
        }

    def _install_cloud_provider(self) -> None:
        """Pulumi brings the provider of the SDK's version from its vendor, unless it is there or on PATH."""
        package = f"pulumi-{'azure-native' if self.target == 'azure' else self.target}"
        name, version = package.removeprefix("pulumi-"), metadata.version(package)
        binary = f"pulumi-resource-{name}"
        there = HOME / "pulumi-home" / "plugins" / f"resource-{name}-v{version}"
        if there.exists() or shutil.which(binary, path=self.environment["PATH"]):
            return
        say(f"{self.target}: obtaining Pulumi's provider {name} {version}")
        try:
            self.ask("plugin", "install", "resource", name, version)
        except ToolError as e:
            why = str(e).splitlines()[-1].removeprefix("error: ")
            install = (
                f"PULUMI_HOME=.headrace/pulumi-home pulumi plugin install resource {name} {version} --file ARCHIVE"
            )
            raise ToolError(
                f"Pulumi's provider cannot be downloaded: {why}; put {binary} on PATH, or run `{install}`"
            ) from None

    @property
    def salt(self) -> str:
        """What turns the passphrase into this stack's key."""
        file = self._salt if self._salt.exists() else self._own_settings
        return str(yaml.safe_load(file.read_text())["encryptionsalt"])

    @contextmanager
    def locked(self) -> Iterator[IO[str]]:
        """Holds this stack for one operation, and clears what a killed operation left behind.

        The lock is inherited by Pulumi and lives as long as it does. Whoever holds it and finds a lock in our
        own file backend knows that its owner is dead, so that it is safe to remove.
        """
        folder = HOME / self.stack
        folder.mkdir(mode=0o700, exist_ok=True)
        with (folder / "lock").open("w") as lock:
            if not _acquired(lock):
                raise ToolError(f"another operation on stack '{self.stack}' is running; wait for it to end")
            self._mend_backend()
            yield lock

    def _mend_backend(self) -> None:
        """Removes what a killed Pulumi left in our own backend: its lock, and files that it had only begun."""
        for file in (BACKEND / ".pulumi/locks/organization/headrace" / self.stack).glob("*.json"):
            if not _alive(file):
                file.unlink(missing_ok=True)
        for file in (
            *_STACKS.glob(f"{self.stack}.json*"),
            *(BACKEND / ".pulumi/history/headrace" / self.stack).glob("*"),
        ):
            begun = file.suffix == ".attrs" and file.stat().st_size == 0
            if begun or file.suffix == ".tmp":
                file.unlink(missing_ok=True)

    def _where(self, arguments: Sequence[str]) -> list[str]:
        if arguments[0] not in ("up", "preview", "destroy", "refresh"):
            return ["--stack", self.stack]
        return ["--stack", self.stack, *(["--config-file", str(f)] if (f := self._composed()) else [])]

    @property
    def _own_settings(self) -> Path:
        return CHECKOUT / f"Pulumi.{self.stack}.yaml"

    @property
    def _salt(self) -> Path:
        return HOME / self.stack / "encryptionsalt"

    def _composed(self) -> Path | None:
        """A settings file with this checkout's salt, or None when the stack's own file has one.

        The examples that are part of the repository have no salt (it belongs to the passphrase of one checkout),
        and Pulumi would write it into them.
        """
        own = self._own_settings.read_text() if self._own_settings.exists() else ""
        if _encrypted(own) or not self._salt.exists():
            return None
        composed = HOME / self.stack / self._own_settings.name
        composed.write_text(f"{own.rstrip()}\n{self._salt.read_text()}".lstrip())
        return composed

    def _exists(self) -> bool:
        if self.environment["PULUMI_BACKEND_URL"] == BACKEND.as_uri():  # starting Pulumi takes most of a second
            return any((_STACKS / f"{self.stack}.json{suffix}").exists() for suffix in ("", ".gz"))
        stacks = json.loads(self.ask("stack", "ls", "--json") or "[]")
        return any(s["name"].split("/")[-1] == self.stack for s in stacks)

    def _init(self) -> None:
        """Makes the stack; the salt that Pulumi adds to a file of the repository is moved into our folder."""
        before = self._own_settings.read_text() if self._own_settings.exists() else None
        self.ask("stack", "init", self.stack)
        after = self._own_settings.read_text() if self._own_settings.exists() else ""
        if _encrypted(before or "") or not (lines := _salt_lines(after)):
            return
        self._salt.parent.mkdir(mode=0o700, exist_ok=True)
        self._salt.write_text(lines)
        if before is None:
            self._own_settings.unlink()
        else:
            self._own_settings.write_text(before)

    def ask(self, *arguments: str) -> str:
        """Runs Pulumi quietly and returns what it prints; raises `ToolError` with its complaint."""
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


def _acquired(lock: IO[str]) -> bool:
    """Takes the lock; what a killed operation started needs a moment to notice and let go."""
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
    """Ends language hosts that hold the lock although their engine was killed: they notice it after minutes."""
    for process in psutil.process_iter(["name"]):
        with contextlib.suppress(psutil.Error):
            if process.info["name"].startswith("pulumi-language") and str(lock) in {
                f.path for f in process.open_files()
            }:
                parent = process.parent()
                if parent is None or parent.name() != "pulumi":
                    process.terminate()


def _settings() -> dict[str, str]:
    """Variables for Pulumi; a backend or passphrase that the user chose is respected."""
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
    """Puts the provider where Pulumi keeps plugins: one on PATH is used too, with a warning at every step."""
    binary = find.ensure(["pulumi-resource-kubernetes"])["pulumi-resource-kubernetes"]
    folder = HOME / "pulumi-home" / "plugins" / f"resource-kubernetes-v{metadata.version('pulumi-kubernetes')}"
    link = folder / binary.name
    if link.is_symlink() and link.readlink() == binary.resolve():
        return
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    link.unlink(missing_ok=True)
    link.symlink_to(binary.resolve())


def _passphrase() -> Path:
    """The file of this checkout's passphrase, made once."""
    path = HOME / "passphrase"
    if not path.exists():
        new = path.with_suffix(".new")
        new.unlink(missing_ok=True)
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as out:
            out.write(secrets.token_urlsafe(32))
        new.replace(path)
    return path


def _encrypted(settings: str) -> bool:
    """True when a settings file says by itself how its secrets are encrypted."""
    return any(
        line.startswith(("encryptionsalt:", "encryptedkey:", "secretsprovider:")) for line in settings.split("\n")
    )


def _salt_lines(settings: str) -> str:
    return "".join(f"{line}\n" for line in settings.splitlines() if line.startswith("encryptionsalt:"))


def _alive(lock: Path) -> bool:
    """True while the engine that wrote a backend lock runs on this host."""
    try:
        process = psutil.Process(int(json.loads(lock.read_text())["pid"]))
        return process.name() == "pulumi" and process.status() != psutil.STATUS_ZOMBIE
    except (psutil.Error, OSError, ValueError, KeyError, TypeError):
        return False


def interactive() -> bool:
    return sys.stdout.isatty() and sys.stdin.isatty()
