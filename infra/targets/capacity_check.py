"""Asks a cloud, before anything is made, whether its quotas and zones have room for the nodes of a stack.

It asks by the cloud's own command line, which a stack in a cloud needs anyway.
"""

from __future__ import annotations

import importlib
from typing import Any, Protocol, cast

from infra.config import StackConfig
from infra.nodes.machines import CLOUDS
from infra.resources.capacity import Run, run_program
from infra.resources.cloud_stack import CloudStack
from infra.resources.inquiry import Check
from infra.targets.cloud_stacks import cloud_stack


class Capacity(Protocol):
    """The interface of a cloud's module `capacity`."""

    def check(self, stack: CloudStack[Any], run: Run) -> Check:
        """Returns questions and judge: pools whose machines a quota does not allow, or a zone does not have."""
        ...


def checks(config: StackConfig, stack: str, run: Run | None = None) -> list[Check]:
    """Returns what is asked of the stack's cloud; nothing on other targets.

    It reports quotas that are smaller than the stack's fewest nodes, and zones without their machine type.
    """
    if config.target not in CLOUDS:
        return []
    module = cast(Capacity, importlib.import_module(f"infra.targets.{config.target}.capacity"))
    return [module.check(cloud_stack(config, stack), run or run_program)]
