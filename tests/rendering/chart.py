"""Renders charts/headrace with the real Helm."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from tools.binaries.find import ensure

CHART = Path(__file__).parents[2] / "charts" / "headrace"
FULL = CHART / "ci" / "full-values.yaml"

Object = dict[str, Any]


class Refused(Exception):
    """Helm said no; the text is what it said."""


class Rendered(list[Object]):
    """The objects of a release."""

    def of(self, kind: str, ending: str | None = None) -> list[Object]:
        found = [o for o in self if o["kind"] == kind]
        return found if ending is None else [o for o in found if o["metadata"]["name"].endswith(ending)]

    def one(self, kind: str, ending: str = "") -> Object:
        [found] = self.of(kind, ending)
        return found

    @property
    def cluster(self) -> Object:
        return dict(self.one("RayService")["spec"]["rayClusterConfig"])

    @property
    def groups(self) -> dict[str, Object]:
        return {g["groupName"]: g for g in self.cluster["workerGroupSpecs"]}

    @property
    def document(self) -> Object:
        return dict(json.loads(self.one("RayService")["spec"]["serveConfigV2"]))

    def pods(self) -> Iterator[tuple[str, Object]]:
        """Every pod template, with a name to tell it by."""
        if self.of("RayService"):
            yield "head", self.cluster["headGroupSpec"]["template"]
            for name, group in self.groups.items():
                yield f"worker {name}", group["template"]
        for job in self.of("Job"):
            yield job["metadata"]["name"], job["spec"]["template"]
        for job in self.of("CronJob"):
            yield job["metadata"]["name"], job["spec"]["jobTemplate"]["spec"]["template"]

    def containers(self) -> Iterator[tuple[str, Object]]:
        for name, pod in self.pods():
            for container in (*pod["spec"].get("initContainers", ()), *pod["spec"]["containers"]):
                yield f"{name}: {container['name']}", container


@pytest.fixture(scope="session")
def helm(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs Helm with a home of its own."""
    binary = ensure(["helm"])["helm"]
    home = tmp_path_factory.mktemp("helm")
    env = {**os.environ, "HOME": str(home), "HELM_CACHE_HOME": str(home), "HELM_CONFIG_HOME": str(home)}
    env["GOGC"] = "off"  # of what a run takes, a third would be for memory that its end returns
    env = {k: v for k, v in env.items() if k != "KUBECONFIG"}

    def run(*arguments: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
        return subprocess.run([binary, *arguments], env=env, input=stdin, capture_output=True, text=True, timeout=600)

    return run


@pytest.fixture(scope="session")
def render(helm: Callable[..., subprocess.CompletedProcess[str]]) -> Callable[..., Rendered]:
    """Renders the chart with `values`; raises `Refused` with what Helm says."""

    @cache
    def template(stdin: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        return helm("template", *arguments, stdin=stdin)

    def run(
        values: Mapping[str, Any] | None = None, *arguments: str, full: bool = False, name: str = "headrace"
    ) -> Rendered:
        files = ["--values", str(FULL)] if full else []
        given = (name, str(CHART), "-n", "headrace", *files, "--values", "-", *arguments)
        result = template(json.dumps(values or {}), *given)
        if result.returncode:
            raise Refused(result.stderr)
        return Rendered(o for o in yaml.load_all(result.stdout, yaml.CSafeLoader) if o)  # its own, to be changed

    return run


@pytest.fixture(scope="session")
def default(render: Callable[..., Rendered]) -> Rendered:
    return render()


@pytest.fixture(scope="session")
def full(render: Callable[..., Rendered]) -> Rendered:
    return render(full=True)
