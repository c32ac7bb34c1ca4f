"""The on-prem target on nested machines: a Pulumi stack that contains only their cluster."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from infra.layout import CHECKOUT
from tools.binaries import find
from tools.cluster.kubectl import binaries
from tools.machines.machine import KEY, Machine
from tools.report import ToolError

NAME = "onprem"
"""The stack's name, and so the owner of its machines."""

PROGRAM = """
import pathlib
import pulumi
from infra.onprem_config import OnPrem
from infra.targets.onprem import provision_onprem

settings = OnPrem.model_validate_json(pathlib.Path("settings.json").read_text())
pulumi.export("kubeconfig", provision_onprem(settings, pulumi.get_stack()).kubeconfig)
"""
_TAIL_CHARACTERS = 6000
"""Characters of output that an error quotes, from its end."""


def host(machine: Machine, **more: Any) -> dict[str, Any]:
    """Returns a machine as a host in the settings."""
    public = (machine.folder / "ssh_host_ed25519_key.pub").read_text().strip()
    return {"name": machine.name, "address": machine.ip, "key_file": str(KEY), "host_key": public, **more}


@dataclass
class Stack:
    """The stack in `folder`, created if it does not exist. `settings` are those of the target."""

    folder: Path
    settings: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        exists = self._file.exists()
        self.folder.mkdir(parents=True, exist_ok=exists)
        # Of a stack that exists too: the program calls the code of this checkout.
        (self.folder / "__main__.py").write_text(PROGRAM)
        if exists:
            self.settings = json.loads(self._file.read_text())
            return
        plugin = {"name": "headrace", "path": str(CHECKOUT / "infra/providers/bin")}
        project = {"name": "headrace", "runtime": "python", "plugins": {"providers": [plugin]}}
        (self.folder / "Pulumi.yaml").write_text(json.dumps(project))
        (self.folder / "state").mkdir()
        self.pulumi("stack", "init", NAME)

    def configure(self, settings: Mapping[str, Any]) -> None:
        """Sets the settings for the next `up`."""
        self.settings = dict(settings)
        self._write()

    def up(self, *arguments: str, on_line: Callable[[str], None] = lambda line: None) -> str:
        """Applies the settings; returns Pulumi's output, and passes each line to `on_line` as it is printed.

        Raises:
            ToolError: it failed.
        """
        (self.folder / "kubeconfig").unlink(missing_ok=True)
        return self._run(self._up(*arguments), on_line)

    def destroy(self) -> str:
        """Restores the machines to their previous state."""
        return self.pulumi("destroy", "--yes", "--skip-preview", f"--stack={NAME}")

    def pulumi(self, *arguments: str) -> str:
        """Runs Pulumi; returns what it prints."""
        return self._run(["pulumi", *arguments, "--non-interactive", "--color=never"])

    def kubeconfig(self) -> str:
        """Returns the administrator's kubeconfig, which is a secret."""
        return self.pulumi("stack", "output", "kubeconfig", "--show-secrets", f"--stack={NAME}")

    def kubectl(self, *arguments: str, input: str | None = None, check: bool = True) -> str:
        """Runs kubectl with the stack's own kubeconfig; returns its output."""
        file = self.folder / "kubeconfig"
        if not file.exists():
            file.touch(mode=0o600)
            file.write_text(self.kubeconfig())
        done = subprocess.run(
            [binaries()["kube"], "kubectl", f"--kubeconfig={file}", *arguments],
            input=input,
            capture_output=True,
            text=True,
        )
        if check and done.returncode:
            raise ToolError(f"kubectl {' '.join(arguments)}: {done.stderr}")
        return done.stdout

    def apply(self, *objects: dict[str, Any]) -> None:
        """Applies Kubernetes objects."""
        self.kubectl("apply", "--filename=-", input=json.dumps({"apiVersion": "v1", "kind": "List", "items": objects}))

    def state(self) -> str:
        """Returns Pulumi's whole state as text."""
        return "".join(file.read_text() for file in (self.folder / "state").rglob("*.json"))

    @property
    def _file(self) -> Path:
        return self.folder / "settings.json"

    @property
    def _home(self) -> Path:
        return self.folder

    @property
    def _environment(self) -> dict[str, str]:
        path = (str(Path(sys.executable).parent), str(find.bin_dir(["pulumi"])), os.environ["PATH"])
        return {
            **os.environ,
            "PATH": os.pathsep.join(path),
            "PULUMI_BACKEND_URL": (self.folder / "state").as_uri(),
            "PULUMI_HOME": str(self.folder / "home"),
            "PULUMI_CONFIG_PASSPHRASE": "of a test",
            "PULUMI_SKIP_UPDATE_CHECK": "true",
            "PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION": "true",
        }

    def _write(self) -> None:
        self._file.write_text(json.dumps(self.settings))

    def _up(self, *arguments: str) -> list[str]:
        options = ("--yes", "--skip-preview", f"--stack={NAME}", "--non-interactive", "--color=never")
        return ["pulumi", "up", *options, *arguments]

    def _run(self, command: list[str], on_line: Callable[[str], None] = lambda line: None) -> str:
        lines = []
        with subprocess.Popen(
            command,
            cwd=self._home,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as process:
            assert process.stdout is not None
            for line in process.stdout:
                lines.append(line)
                on_line(line)
        text = "".join(lines)
        if process.returncode:
            raise ToolError(f"{' '.join(command)}: {text[-_TAIL_CHARACTERS:]}")
        return text
