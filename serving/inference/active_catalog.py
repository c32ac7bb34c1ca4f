"""The catalogue that a gateway currently serves."""

from __future__ import annotations

from dataclasses import dataclass

from serving.assistants.tools.catalogue import CatalogTools
from serving.engines.router import ModelRouter
from serving.guardrails.rails import AssistantRails


@dataclass(frozen=True, slots=True)
class CatalogView:
    """What is derived from one catalogue: names, guardrails and tools."""

    router: ModelRouter
    rails: AssistantRails
    tools: CatalogTools


class ActiveCatalog:
    """The newest view. A request reads it once, since the catalogue may change while the request waits."""

    def __init__(self, view: CatalogView) -> None:
        self.current = view
