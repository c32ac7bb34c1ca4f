"""Pulumi for one stack of this checkout: its backend, passphrase, environment and settings file."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from importlib import import_module, metadata
from pathlib import Path
from types import MappingProxyType
from typing import IO, Any

import yaml

from infra.config import NAMESPACE
from infra.layout import CHECKOUT, Layout
from infra.nodes.machines import CLOUDS
from tools import environment
from tools.binaries import find
from tools.report import ToolError, say
from tools.stack import model_choice, stack_lock
from tools.stack.backend import HOME, LOCAL, PASSPHRASES, Backend, backend_of, check_keeping, lock_advice

PROGRAMS = ("pulumi", "prometheus")
FIRST_PROGRAMS = ("pulumi",)
"""What a new stack on this host needs for its first answer."""
_STACKS = LOCAL / ".pulumi/stacks/headrace"
OPERATIONS = ("up", "preview", "destroy", "refresh")
"""Commands of Pulumi that run its engine on a stack."""

INTERRUPTED = 130

VARIABLES = {
    "PULUMI_HOME": str(HOME / "pulumi-home"),
    "PULUMI_SKIP_UPDATE_CHECK": "true",
    "PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION": "true",
}


@dataclass(frozen=True)
class Workspace:
    """One stack of this checkout, as Pulumi's command line sees it."""

    stack: str
    environment: dict[str, str]
    backend: Backend = field(default_factory=Backend)

    @classmethod
    def prepare(
        cls, stack: str, *, create: bool = True, changes: bool = False, programs: Sequence[str] = PROGRAMS
    ) -> Workspace:
        """Obtains the programs, which can take minutes the first time, and creates the stack if it does not exist.

        `changes` is whether resources will be created or changed, which needs a state that is kept.

        Raises:
            ToolError: the backend cannot be used, or its state of the stack is still in this checkout.
        """
        HOME.mkdir(mode=0o700, exist_ok=True)
        unprepared = cls(stack, {})
        backend = backend_of(unprepared._file_setting("backend"), unprepared.target, os.environ)
        if changes:
            check_keeping(backend, unprepared.target, stack)
        path = f"{find.bin_dir(programs)}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
        workspace = cls(stack, {**os.environ, **VARIABLES, **backend.variables(), "PATH": path}, backend)
        if workspace.target != "local":
            _install_kubernetes_provider()
        if workspace.target in CLOUDS:
            environment.install_groups(workspace.target)
            workspace._install_cloud_provider()
        if create and not workspace._exists():
            workspace._init()
        return workspace

    def pulumi(
        self,
        *arguments: str,
        lock: IO[str] | None = None,
        events: Path | None = None,
        variables: Mapping[str, str] = MappingProxyType({}),
    ) -> int:
        """Runs Pulumi in the foreground and returns its exit status; its engine's events are written to `events`.

        The program sees `variables` in its environment.
        """
        logged = ["--event-log", str(events)] if events else []
        # Where others may hold the lock, what Pulumi says of it is read; a file outlives this process, unlike a pipe.
        shared = self.backend.shared and arguments[0] in OPERATIONS
        with tempfile.TemporaryFile("w+") if shared else nullcontext() as said:
            # Ctrl-C reaches Pulumi too, which then stops cleanly: wait for it, however long it takes.
            process = subprocess.Popen(
                ["pulumi", *arguments, *logged, *self._stack_options(arguments)],
                cwd=CHECKOUT,
                # As Pulumi's automation API does: without the variable there is no log of events.
                env={**self.environment, **variables, **({"PULUMI_DEBUG_COMMANDS": "true"} if events else {})},
                pass_fds=[lock.fileno()] if lock else [],
                stderr=said,
            )
            status = _wait(process)
            if said is not None:
                said.seek(0)
                text = said.read().rstrip()
                if text := (lock_advice(text, self.stack) if status else "") or text:
                    say(text)
        return status

    def outputs(self) -> dict[str, object]:
        """Returns the stack's outputs, secrets in plain text: do not print them."""
        text = self.pulumi_output("stack", "output", "--json", "--show-secrets", "--stack", self.stack)
        return dict(json.loads(text or "{}"))

    def setting(self, name: str) -> str:
        """Returns a plain string setting of the stack's file; empty when it is not set."""
        value = self._file_setting(name)
        return value if isinstance(value, str) else ""

    def _file_setting(self, name: str) -> Any:
        return self.file_settings.get(f"{NAMESPACE}:{name}")

    @property
    def file_settings(self) -> dict[str, Any]:
        """The settings of the stack's file, with their namespace; secrets are encrypted."""
        own = self.own_settings
        settings = yaml.safe_load(own.read_text()) if own.exists() else None
        return (settings or {}).get("config") or {}

    @property
    def target(self) -> str:
        """The target that the stack runs on."""
        return self.setting("target") or "local"

    @property
    def layout(self) -> Layout:
        """The stack's folders on this host, which the setting `state` may have moved."""
        return Layout.for_stack(self.stack, self.setting("state"))

    @property
    def is_new(self) -> bool:
        """Whether the stack runs on this host and has never been up there, so that it has no data."""
        return self.target == "local" and not self.layout.data.exists()

    @property
    def rendered(self) -> bool:
        """Whether `up` writes manifests into a folder, and so changes no cluster."""
        kubernetes = self._file_setting("kubernetes")
        return isinstance(kubernetes, dict) and bool(kubernetes.get("render"))

    def settings(self) -> dict[str, object]:
        """Returns all settings without their namespace, secrets in plain text: do not print them."""
        options = ["--config-file", str(f)] if (f := self._settings_copy()) else []
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
        file = self._salt_file if self._salt_file.exists() else self.own_settings
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
            if not stack_lock.acquire(lock):
                raise ToolError(f"another operation on stack '{self.stack}' is running; wait for it to end")
            if not self.backend.shared:
                self._clean_backend()
            yield lock

    def version(self) -> str:
        """Returns what changes with the state if others may write it; empty if they may not."""
        if not self.backend.shared:
            return ""
        return hashlib.sha256(self.pulumi_output("stack", "export", "--stack", self.stack).encode()).hexdigest()

    def _clean_backend(self) -> None:
        """Removes what a killed Pulumi left in the file backend: its lock, and files that it had not finished."""
        for file in (LOCAL / ".pulumi/locks/organization/headrace" / self.stack).glob("*.json"):
            if not stack_lock.is_owner_alive(file):
                file.unlink(missing_ok=True)
        for file in (
            *_STACKS.glob(f"{self.stack}.json*"),
            *(LOCAL / ".pulumi/history/headrace" / self.stack).glob("*"),
        ):
            unfinished = file.suffix == ".attrs" and file.stat().st_size == 0
            if unfinished or file.suffix == ".tmp":
                file.unlink(missing_ok=True)

    def _stack_options(self, arguments: Sequence[str]) -> list[str]:
        if arguments[0] not in OPERATIONS:
            return ["--stack", self.stack]
        return ["--stack", self.stack, *(["--config-file", str(f)] if (f := self._settings_copy()) else [])]

    @property
    def own_settings(self) -> Path:
        """The stack's file in the checkout."""
        return CHECKOUT / f"Pulumi.{self.stack}.yaml"

    @property
    def _salt_file(self) -> Path:
        return HOME / self.stack / "encryptionsalt"

    @property
    def encryption(self) -> str:
        """The lines of a settings file that say how its secrets are encrypted; empty before the stack exists."""
        own = self.own_settings.read_text() if self.own_settings.exists() else ""
        lines = "".join(f"{line}\n" for line in own.splitlines() if _has_encryption(line))
        return lines or (self._salt_file.read_text() if self._salt_file.exists() else "")

    def _settings_copy(self) -> Path | None:
        """Writes a copy of the stack's settings with this checkout's salt and the chosen model; None if it has neither.

        The example stacks in the repository have no salt, since it belongs to the passphrase of one checkout; without
        the copy Pulumi would write one into them.
        """
        own = self.own_settings.read_text() if self.own_settings.exists() else ""
        salt = "" if _has_encryption(own) else self.encryption
        chosen = model_choice.merged_text(own, HOME / self.stack)
        if not salt and chosen == own:
            return None
        copy = HOME / self.stack / self.own_settings.name
        copy.write_text(f"{chosen.rstrip()}\n{salt}".lstrip())
        return copy

    def write_salt(self) -> None:
        """Writes this checkout's salt into the stack's own file, for commands of Pulumi that read no other."""
        own = self.own_settings.read_text() if self.own_settings.exists() else ""
        if self._salt_file.exists() and not _has_encryption(own):
            self.own_settings.write_text(f"{own.rstrip()}\n{self._salt_file.read_text()}".lstrip())

    def forget_salt(self) -> None:
        """Deletes this checkout's salt, when the stack's own file names a key."""
        self._salt_file.unlink(missing_ok=True)

    @property
    def is_in_checkout(self) -> bool:
        """Whether this checkout has a state of the stack."""
        return any((_STACKS / f"{self.stack}.json{suffix}").exists() for suffix in ("", ".gz"))

    def _exists(self) -> bool:
        if self.backend.is_default:  # starting Pulumi takes most of a second
            return self.is_in_checkout
        stacks = json.loads(self.pulumi_output("stack", "ls", "--json") or "[]")
        return any(s["name"].split("/")[-1] == self.stack for s in stacks)

    def _init(self) -> None:
        """Creates the stack; moves the salt that Pulumi adds to a settings file of the repository into `.headrace`.

        The encrypted key of a secrets provider stays in the stack's file, which is then for everybody.
        """
        if self.backend.shared and self.is_in_checkout:
            raise ToolError(
                f"the state of stack '{self.stack}' is in this checkout; a second one would create everything again:"
                f" move it by `.venv/bin/python -m tools.stack --stack {self.stack} migrate`"
            )
        before = self.own_settings.read_text() if self.own_settings.exists() else None
        provider = self.backend.secrets_provider
        if self.backend.is_bucket and not (provider or os.environ.keys() & set(PASSPHRASES)):
            raise ToolError(
                "headrace:backend.secrets_provider: is missing, so that only this checkout could decrypt the state;"
                " name a key, for example awskms://alias/NAME?region=eu-central-1 (docs/how-to/keep-the-state.md)"
            )
        if provider and "secure:" in (before or "") and yaml.safe_load(before or "").get("secretsprovider") != provider:
            raise ToolError(
                f"{self.own_settings.name} has secrets that another key encrypts, and that a new stack could not read:"
                " remove them, and set them again once the stack exists (`pulumi config set --secret`)"
            )
        # Without it, Pulumi takes a passphrase, even if the file names the key of an earlier stack.
        options = ["--secrets-provider", provider] if provider else []
        self.pulumi_output("stack", "init", self.stack, *options)
        after = self.own_settings.read_text() if self.own_settings.exists() else ""
        if _has_encryption(before or "") or not (lines := _salt_lines(after)):
            return
        self._salt_file.parent.mkdir(mode=0o700, exist_ok=True)
        self._salt_file.write_text(lines)
        if before is None:
            self.own_settings.unlink()
        else:
            self.own_settings.write_text(before)

    def pulumi_output(self, *arguments: str, stdin: str | None = None) -> str:
        """Runs Pulumi in the background and returns what it prints; raises `ToolError` with its error message."""
        done = subprocess.run(
            ["pulumi", *arguments, "--non-interactive"],
            cwd=CHECKOUT,
            env=self.environment,
            input=stdin,
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise ToolError(done.stderr.strip().removeprefix("error: "))
        return done.stdout


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


def _has_encryption(settings: str) -> bool:
    """Returns whether a settings file itself names how its secrets are encrypted."""
    return any(
        line.startswith(("encryptionsalt:", "encryptedkey:", "secretsprovider:")) for line in settings.split("\n")
    )


def _salt_lines(settings: str) -> str:
    return "".join(f"{line}\n" for line in settings.splitlines() if line.startswith("encryptionsalt:"))


def _wait(process: subprocess.Popen[bytes]) -> int:
    """Returns a program's exit status, or `INTERRUPTED` if Ctrl-C was pressed meanwhile."""
    interrupted = False
    while True:
        try:
            status = process.wait()
        except KeyboardInterrupt:
            interrupted = True
        else:
            return INTERRUPTED if interrupted else status


def interactive() -> bool:
    """Returns whether a person sits at a terminal."""
    return sys.stdout.isatty() and sys.stdin.isatty()
