"""The catalogue that a gateway works by."""

from __future__ import annotations

from dataclasses import dataclass

from serving.assistants.tools.catalogue import CatalogTools
from serving.engines.router import ModelRouter
from serving.guardrails.rails import AssistantRails


@dataclass(frozen=True, slots=True)
class CatalogView:
    """What one catalogue makes of names, guardrails and tools."""

    router: ModelRouter
    rails: AssistantRails
    tools: CatalogTools


class ActiveCatalog:
    """The newest view. A request takes it once, since another catalogue may come while the request waits."""

    def __init__(self, view: CatalogView) -> None:
        self.current = view
