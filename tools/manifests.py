"""`python -m tools.manifests PATH...`: checks Kubernetes manifests against the rules of the policy pack.

Manifests come from `helm template`, or from `make up` with the setting `kubernetes.render`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

from infra.policies.catalogue import evaluate_manifests
from tools.report import ToolError, say


def read_objects(paths: Iterable[str]) -> Iterator[dict[str, Any]]:
    """Yields the objects in files, in the YAML files below folders, and on standard input (`-`).

    Raises:
        ToolError: a file cannot be read, or holds something other than Kubernetes objects.
    """
    for path in paths:
        for name, text in _texts(path):
            try:
                documents = list(yaml.load_all(text, yaml.CSafeLoader))
            except yaml.YAMLError as error:
                raise ToolError(f"{name} is not valid YAML: {' '.join(str(error).split())}") from None
            for document in documents:
                if document is None:
                    continue
                if not isinstance(document, dict) or not {"apiVersion", "kind"} <= document.keys():
                    raise ToolError(f"{name} holds a document that is not a Kubernetes object")
                yield from document.get("items") or () if document["kind"] == "List" else [document]


def _texts(path: str) -> Iterator[tuple[str, str]]:
    if path == "-":
        yield "the standard input", sys.stdin.read()
        return
    found = sorted(Path(path).rglob("*.y*ml")) if Path(path).is_dir() else [Path(path)]
    if not found:
        raise ToolError(f"{path} holds no YAML files")
    for file in found:
        try:
            yield str(file), file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ToolError(f"{file} cannot be read: {error}") from None


def check(paths: Sequence[str]) -> int:
    """Prints each violation and how to remedy it; returns 1 when a mandatory rule is violated."""
    objects = list(read_objects(paths))
    violations = evaluate_manifests(objects)
    for violation in violations:
        print(f"{violation.rule.level}: {violation}")
    unexcused = [v for v in violations if not v.exception]
    for rule in {v.rule.name: v.rule for v in unexcused}.values():
        print(f"\n{rule.name}: {rule.remediation}")
    mandatory = sum(v.rule.level == "mandatory" for v in unexcused)
    advisory = len(unexcused) - mandatory
    say(f"{len(objects)} objects: {mandatory} violations of mandatory rules, {advisory} of advisory ones")
    return 1 if mandatory else 0


def main(argv: Sequence[str] | None = None) -> int:
    """Checks the manifests and returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tools.manifests", description=__doc__)
    parser.add_argument("paths", nargs="+", metavar="PATH", help="a file, a folder, or - for the standard input")
    try:
        return check(parser.parse_args(argv).paths)
    except ToolError as error:
        say(f"error: {error}")
        return 1


if __name__ == "__main__":
    sys.exit(main())
