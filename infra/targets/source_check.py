"""Asks, before anything is made, whether models and images are where the configuration says."""

from __future__ import annotations

from collections.abc import Mapping

import httpx
from pydantic import SecretStr

from infra.config import StackConfig
from infra.mistakes import Mistake
from infra.targets import hub_check, registry_check


def mistakes(
    config: StackConfig, secrets: Mapping[str, SecretStr], transport: httpx.BaseTransport | None = None
) -> list[Mistake]:
    """Reports models that the Hub does not give to the stack, and images that their registry does not have.

    `secrets` are those that are known here; a model whose token is not among them is not asked for. It changes
    nothing, so a preview and a plan ask too.
    """
    return [*hub_check.mistakes(config, secrets, transport), *registry_check.mistakes(config, transport)]
