"""The stored prompt that a request names, which becomes its instructions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from serving.core.principal import Principal
from serving.protocol.errors import invalid, not_found
from serving.protocol.prompts.requests import PromptReference
from serving.protocol.prompts.template import parse
from serving.protocol.responses import ResponseRequest
from serving.store.errors import NotFound
from serving.store.jobs.job import Json
from serving.store.prompts.prompts import Prompts
from serving.store.prompts.records import PromptVersion


@dataclass(frozen=True, slots=True)
class NamedPrompt:
    """A version of a prompt with the values of its variables.

    It is found once for each request, so that a label that moves meanwhile does not matter. `foreign` tells whether its
    text counts as that of others, and `trusted` whether it may count as its caller's instructions.
    """

    version: PromptVersion
    variables: Mapping[str, str]
    foreign: bool
    trusted: bool

    def render(self) -> str:
        """Returns the text with the values of its variables; raises `ApiError`."""
        return parse(self.version.text).render(self.variables, "prompt.variables")

    def inserted(self) -> str:
        """Returns the values as they follow each other in the text, without the text between."""
        return " ".join(filter(None, (self.variables[name] for name in parse(self.version.text).places)))

    def pinned(self, body: ResponseRequest) -> ResponseRequest:
        """Returns a request that names the version by its number, to be answered later."""
        number, values = str(self.version.version), dict(self.variables)
        named = PromptReference(id=self.version.prompt_id, version=number, variables=values)
        return body.model_copy(update={"prompt": named})

    def filled(self, body: ResponseRequest) -> ResponseRequest:
        """Returns a request with the text as its instructions.

        The values are in these alone, so that what guardrails remove from them is nowhere else. Raises `ApiError`.
        """
        named = PromptReference(id=self.version.prompt_id, version=str(self.version.version))
        return body.model_copy(update={"prompt": named, "instructions": self.render()})

    def document(self) -> Json:
        """Returns OpenAI's description of it, with the digest of its text."""
        number, digest = str(self.version.version), self.version.sha256
        return {"id": self.version.prompt_id, "version": number, "variables": None, "sha256": digest}


async def find(prompts: Prompts, caller: Principal, body: ResponseRequest) -> NamedPrompt | None:
    """Returns the prompt that a request names, or None if it names none.

    Raises `ApiError`, also for instructions beside it.
    """
    reference = body.prompt
    if reference is None:
        return None
    if body.instructions:
        raise invalid("instructions and prompt cannot be combined.", "instructions")
    try:
        version = await prompts.version(caller, reference.id, reference.version, at="prompt.")
    except NotFound as e:  # as an answer of its own: a background response then fails at once
        raise not_found(e.kind, e.param) from None
    return NamedPrompt(version, reference.variables or {}, version.taints(caller), version.trusted_for(caller))
