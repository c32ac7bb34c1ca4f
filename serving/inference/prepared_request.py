"""A request that is parsed and about to be answered."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from serving.assistants.reader import reader
from serving.config import Assistant, Reasoning
from serving.engines.router import Route
from serving.inference.active_catalog import CatalogView
from serving.inference.approvals import GivenApprovals
from serving.inference.files.request_files import RequestFiles
from serving.inference.request_forms import ParsedRequest
from serving.retrieval.types import Hit


@dataclass(frozen=True, slots=True)
class PreparedRequest:
    """A parsed request: its chat, its route, its approvals and its files."""

    view: CatalogView
    route: Route
    asked: ParsedRequest
    strategy: Reasoning | None
    approvals: GivenApprovals
    files: RequestFiles | None = None

    @property
    def reader(self) -> Assistant | None:
        """The assistant that reads documents, with what the request says about them."""
        return reader(self.route, self.asked.chat)

    @property
    def quotes(self) -> bool:
        """Whether the answer is quotes of documents."""
        return (reads := self.reader) is not None and reads.unsupported == "quote"

    @property
    def attached(self) -> Sequence[Hit]:
        """What files say: with quotes, the passages that answer, else all that the model reads of them."""
        return self.files.hits if self.files is not None else ()

    @property
    def answered_by_files(self) -> bool:
        """Whether files are quoted: then no documents are searched."""
        return bool(self.attached) and self.strategy is None and self.quotes

    def refuses(self, hits: Sequence[Hit] | None) -> bool:
        """Returns whether the assistant must refuse, since nothing relevant was found.

        A model with functions may find the answer with these. An assistant with documents answers only from documents.
        """
        found = hits is None or bool(hits) or bool(self.attached)
        return not found and (self.route.reads or not self.asked.chat.tools)
