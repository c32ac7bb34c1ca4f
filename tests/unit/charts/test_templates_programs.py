"""What containers run exists in the image, and takes the arguments that the chart gives."""

from __future__ import annotations

import argparse
import importlib
import json
import os
import subprocess
import sys

import pytest

PACKAGES = ("serving.ingest", "serving.store")


class Parsed(Exception):
    """The program has read its arguments."""


def test_programs_take_their_arguments(full, monkeypatch):
    parse = argparse.ArgumentParser.parse_args

    def parsed(self, args=None, namespace=None):
        parse(self, args, namespace)
        raise Parsed

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", parsed)
    seen = set()
    for name, container in full.containers():
        words = (*container.get("command", ()), *container.get("args", ()))
        assert all(isinstance(word, str) for word in words), f"{name}: YAML reads one as something else"
        if not (command := container.get("command")):
            continue  # KubeRay's
        if command[0] == "/bin/bash":
            assert container["name"] in ("ray-head", "ray-worker"), name
            continue  # What it runs is tested below.
        python, flag, module, *arguments = (*command, *container.get("args", ()))
        assert (python, flag) == ("python", "-m"), name
        program = importlib.import_module(f"{module}.__main__" if module in PACKAGES else module)
        with pytest.raises(Parsed):
            program.main(arguments)
        seen.add((module, arguments[0].partition("=")[0]))
    assert {module for module, _ in seen} == {
        "serving.dashboard_proxy",
        "serving.ingest",
        "serving.store",
        "serving.telemetry.exporter",
    }
    assert {first for module, first in seen if module == "serving.store"} == {"wait", "migrate", "backup"}


def test_annotations_of_pools_do_not_replace_the_one_by_which_ray_is_started(render):
    """KubeRay would start Ray itself, without `serving.ray_node`, and its pods would come up all the same."""
    theirs = {"annotations": {"ray.io/overwrite-container-cmd": "false", "example.com/owner": "platform"}}
    rendered = render({"head": theirs, "pools": {"serving": theirs}})
    given = [pod["metadata"].get("annotations", {}) for _, pod in rendered.pods()]
    started = [each for each in given if each.get("example.com/owner") == "platform"]
    assert len(started) == 2
    assert {each["ray.io/overwrite-container-cmd"] for each in started} == {"true"}


@pytest.mark.parametrize("name", ["ray-head", "ray-worker"])
def test_ray_is_started_as_kuberay_says(full, tmp_path, name):
    """By `serving.ray_node`, with each word of KubeRay's command whole, and in the place of the shell."""
    program = tmp_path / "python"
    program.write_text(f"#!{sys.executable}\nimport json, os, sys\nprint(json.dumps([os.getpid(), *sys.argv[1:]]))\n")
    program.chmod(0o755)
    pods = [pod for _, pod in full.pods()]
    containers = [(pod, c) for pod in pods for c in pod["spec"]["containers"] if c["name"] == name]
    assert {p["metadata"]["annotations"]["ray.io/overwrite-container-cmd"] for p, _ in containers} == {"true"}
    [command] = {(*c["command"], *c["args"]) for _, c in containers}
    generated = """ray start --head --resources='{"a b": 1}' --labels="ray.io/group=x y" --block """
    process = subprocess.Popen(
        command,
        env={"PATH": f"{tmp_path}:{os.environ['PATH']}", "KUBERAY_GEN_RAY_START_CMD": generated},
        stdout=subprocess.PIPE,
        text=True,
    )
    printed, _ = process.communicate(timeout=300)
    pid, *words = json.loads(printed)
    assert words == [
        "-m",
        "serving.ray_node",
        "start",
        "--head",
        '--resources={"a b": 1}',
        "--labels=ray.io/group=x y",
        "--block",
    ]
    assert pid == process.pid, "the node has the signals that its container gets"


def test_a_collection_with_access_is_ingested_for_the_stack_alone(render):
    names = ("law", "open")
    rendered = render(
        {
            "knowledge": [{"name": name, "files": {"a.md": "QQ=="}} for name in names],
            "catalog": {"collections": [{"name": "law", "access": {"groups": ["legal"]}}]},
        }
    )
    ingesting = [c["args"] for _, c in rendered.containers() if "serving.ingest" in c.get("command", ())]
    found = {next(a for a in args if a.startswith("--collection=")): "--restricted" in args for args in ingesting}
    assert found == {"--collection=law": True, "--collection=open": False}
