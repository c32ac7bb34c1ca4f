"""What containers run exists in the image, and takes the arguments that the chart gives."""

from __future__ import annotations

import argparse
import importlib

import pytest


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
        python, flag, module, *arguments = (*command, *container.get("args", ()))
        assert (python, flag) == ("python", "-m"), name
        program = importlib.import_module(f"{module}.__main__" if module == "serving.store" else module)
        with pytest.raises(Parsed):
            program.main(arguments)
        seen.add((module, arguments[0].partition("=")[0]))
    assert {module for module, _ in seen} == {
        "serving.door",
        "serving.ingest",
        "serving.store",
        "serving.telemetry.exporter",
    }
    assert {first for module, first in seen if module == "serving.store"} == {"wait", "migrate", "backup"}


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
