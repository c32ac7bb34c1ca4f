"""Asks, before anything is made, whether models and images are where the configuration says."""

from __future__ import annotations

from collections.abc import Mapping

import httpx
from pydantic import SecretStr

from infra.config import StackConfig
from infra.resources.inquiry import Check
from infra.targets import hub_check, registry_check


def checks(
    config: StackConfig, secrets: Mapping[str, SecretStr], transport: httpx.BaseTransport | None = None
) -> list[Check]:
    """Returns questions for models that the Hub may not give, and images that their registry may not have.

    `secrets` are those that are known here; a model whose token is not among them is not asked for. They change
    nothing, so a preview and a plan ask too.
    """
    return [*hub_check.checks(config, secrets, transport), *registry_check.checks(config, transport)]
