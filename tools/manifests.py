"""`python -m tools.manifests PATH...`: holds manifests against the rules of the policy pack.

Manifests are what `helm template` prints, or what `up` writes with the setting `kubernetes.render`.
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


def read(paths: Iterable[str]) -> Iterator[dict[str, Any]]:
    """The objects in files, in the YAML files below folders, and in the standard input (`-`).

    Raises:
        ToolError: something cannot be read, or is no manifest.
    """
    for path in paths:
        for name, text in _texts(path):
            try:
                documents = list(yaml.load_all(text, yaml.CSafeLoader))
            except yaml.YAMLError as error:
                raise ToolError(f"{name} is no YAML: {' '.join(str(error).split())}") from None
            for document in documents:
                if document is None:
                    continue
                if not isinstance(document, dict) or not {"apiVersion", "kind"} <= document.keys():
                    raise ToolError(f"{name} holds something that is no object of Kubernetes")
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
    """Prints what breaks a rule, with what to do about it; returns 1 when a mandatory rule is broken."""
    objects = list(read(paths))
    found = evaluate_manifests(objects)
    for violation in found:
        print(f"{violation.rule.level}: {violation}")
    broken = [v for v in found if not v.exception]
    for rule in {v.rule.name: v.rule for v in broken}.values():
        print(f"\n{rule.name}: {rule.remediation}")
    mandatory = sum(v.rule.level == "mandatory" for v in broken)
    say(
        f"{len(objects)} objects: {mandatory} violations of mandatory rules, {len(broken) - mandatory} of advisory ones"
    )
    return 1 if mandatory else 0


def main(argv: Sequence[str] | None = None) -> int:
    """Checks and returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tools.manifests", description=__doc__)
    parser.add_argument("paths", nargs="+", metavar="PATH", help="a file, a folder, or - for the standard input")
    try:
        return check(parser.parse_args(argv).paths)
    except ToolError as error:
        say(f"error: {error}")
        return 1


if __name__ == "__main__":
    sys.exit(main())
