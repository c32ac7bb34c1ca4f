"""`make plan`: what the nodes of a stack in a cloud cost, and whether its models fit them, without asking the cloud.

It asks the Hub and the registries whether they have the models and images."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from typing import Any

import httpx
import yaml

from infra import application
from infra.cluster_config import MOUNTED_SECRETS
from infra.config import NAMESPACE, PROVISIONED_TARGETS, StackConfig
from infra.config_loader import load
from infra.gpu import cost
from infra.layout import CHECKOUT
from infra.mistakes import report
from infra.resources import inquiry
from infra.scheduling import checks as scheduling
from infra.targets import source_check
from tools.report import ToolError, say


class StackFileLoader(yaml.SafeLoader):
    """Reads a stack's file as Pulumi does: `on`, `off`, `yes` and `no` are text, as in YAML 1.2."""

    yaml_implicit_resolvers = {  # noqa: RUF012 (as the base class declares it)
        first: [(tag, shape) for tag, shape in resolvers if tag != "tag:yaml.org,2002:bool" or first in "tTfF"]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


def settings(stack: str) -> dict[str, Any]:
    """Returns the settings in a stack's file without their namespace; encrypted values become the word `encrypted`.

    Raises `ToolError` when the file does not exist or has no settings.
    """
    file = CHECKOUT / f"Pulumi.{stack}.yaml"
    try:
        found = yaml.load(file.read_text(), StackFileLoader)["config"]  # noqa: S506 (a safe one)
        return {key.removeprefix(f"{NAMESPACE}:"): _without_secrets(value) for key, value in found.items()}
    except OSError:
        raise ToolError(f"{file.name} does not exist; examples are in examples/") from None
    except (yaml.YAMLError, TypeError, KeyError, AttributeError):
        raise ToolError(f"{file.name} has no `config:` with settings") from None


def _without_secrets(value: Any) -> Any:
    if isinstance(value, dict):
        return "encrypted" if set(value) == {"secure"} else {k: _without_secrets(v) for k, v in value.items()}
    return [_without_secrets(v) for v in value] if isinstance(value, list) else value


def plan(stack: str) -> str:
    """Returns the table of a stack's nodes, their prices, the models that run on them and their autoscalers' targets.

    Raises `ToolError` when the settings have mistakes, or when the stack's target creates no nodes.
    """
    config = _checked(stack)
    return "\n".join([cost.table(config), *scheduling.lines(config), *application.scaling_lines(config)])


def _checked(stack: str) -> StackConfig:
    raw = settings(stack)
    loaded = load(raw, frozenset(raw), MOUNTED_SECRETS)
    if loaded.mistakes:
        raise ToolError(report(loaded.mistakes))
    if loaded.config.target not in PROVISIONED_TARGETS:
        raise ToolError(f"target {loaded.config.target} creates no nodes, so there is nothing to plan")
    return loaded.config


def ask_sources(stack: str, transport: httpx.BaseTransport | None = None) -> None:
    """Asks the Hub and the registries for a stack's models and images. Raises `ToolError` if some are not there.

    It names those without an answer. A model that has a token is one of them: the stack's file has it encrypted.
    """
    found = inquiry.ask(source_check.checks(_checked(stack), {}, transport))
    if notice := found.notice():
        say(notice)
    if found.mistakes:
        raise ToolError(report(found.mistakes))


def main(argv: Sequence[str] | None = None, transport: httpx.BaseTransport | None = None) -> int:
    """Prints the table and returns the exit status; `transport` takes the place of the network."""
    parser = argparse.ArgumentParser(prog="python -m tools.plan", description=__doc__)
    parser.add_argument("--stack", default=os.environ.get("STACK", "local"))
    try:
        stack = parser.parse_args(argv).stack
        print(plan(stack))
        ask_sources(stack, transport)
    except ToolError as e:
        say(f"error: {e}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
