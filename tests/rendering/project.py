"""Stacks rendered by the real Pulumi and its real Kubernetes provider into a folder: no cluster, a scratch backend."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import yaml

from infra.layout import CHECKOUT
from tests.rendering.examples import settings
from tools.binaries import find
from tools.stack.events import Events, read_events

Object = dict[str, Any]

STACK = "rendered"


@dataclass(frozen=True)
class Project:
    """A scratch project around this checkout's program, with one stack."""

    folder: Path
    environment: Mapping[str, str]

    @classmethod
    def make(cls, folder: Path, config: Mapping[str, Any]) -> Project:
        """A project with a backend of its own; `config` are settings without their namespace."""
        project = yaml.safe_load((CHECKOUT / "Pulumi.yaml").read_text())
        project["main"] = str(CHECKOUT / project["main"])
        project["runtime"]["options"]["virtualenv"] = str(CHECKOUT / ".venv")
        for provider in project["plugins"]["providers"]:
            provider["path"] = str(CHECKOUT / provider["path"])
        (folder / "Pulumi.yaml").write_text(yaml.safe_dump(project))
        (folder / "backend").mkdir()
        binary = find.ensure(["pulumi-resource-kubernetes"])["pulumi-resource-kubernetes"]
        plugin = folder / "home" / "plugins" / f"resource-kubernetes-v{metadata.version('pulumi-kubernetes')}"
        plugin.mkdir(parents=True)
        (plugin / binary.name).symlink_to(binary.resolve())
        made = cls(
            folder,
            {
                "PATH": f"{find.bin_dir(('pulumi',))}{os.pathsep}{os.environ['PATH']}",
                "HOME": str(folder),
                "PULUMI_HOME": str(folder / "home"),
                "PULUMI_BACKEND_URL": (folder / "backend").as_uri(),
                "PULUMI_CONFIG_PASSPHRASE": "test",
                "GOGC": "400",  # the provider's schemas alone are many collections' work
                "PULUMI_SKIP_UPDATE_CHECK": "true",
                "PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION": "true",
                "PULUMI_DEBUG_COMMANDS": "true",  # --event-log
            },
        )
        made.pulumi("stack", "init", STACK)
        made.configure(config)
        return made

    @property
    def file(self) -> Path:
        return self.folder / f"Pulumi.{STACK}.yaml"

    def configure(self, config: Mapping[str, Any]) -> None:
        """Writes the stack's settings, and keeps its salt."""
        there = yaml.safe_load(self.file.read_text())
        there["config"] = {f"headrace:{key}": value for key, value in config.items()}
        self.file.write_text(yaml.safe_dump(there))

    def preview(self) -> Events:
        """What an update would do, as Pulumi's engine reports it."""
        log = self.folder / "events"
        self.pulumi("preview", "--event-log", str(log))
        return read_events(log)

    def deletion(self) -> Events:
        """What the end of the stack would delete; Pulumi fails if something is protected."""
        log = self.folder / "deletion"
        with suppress(AssertionError):
            self.pulumi("destroy", "--preview-only", "--event-log", str(log))
        return read_events(log)

    def pulumi(self, *arguments: str) -> str:
        """Runs Pulumi and returns what it prints; raises AssertionError with all that it said."""
        where = () if arguments[:2] == ("stack", "init") else ("--stack", STACK)
        done = subprocess.run(
            ["pulumi", *arguments, *where, "--non-interactive"],
            cwd=self.folder,
            env=dict(self.environment),
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


def rendered(example: Path, folder: Path, **config: Any) -> Project:
    """An example, up into `folder`/manifests."""
    project = Project.make(folder, {**settings(example, render=str(folder / "manifests")), **config})
    project.pulumi("up", "--yes", "--skip-preview")
    return project


def objects(folder: Path) -> list[Object]:
    """The Kubernetes objects in the files below a folder."""
    files = sorted(folder.rglob("*.yaml"))
    return [o for f in files for o in yaml.load_all(f.read_text(), yaml.CSafeLoader) if o]
