"""How much a request may refer to: each reference is an item that is read and validated anew."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from serving.core.ids import whole_id
from serving.core.principal import Principal
from serving.inference.responses import references
from serving.protocol.errors import ApiError
from serving.protocol.responses import ResponseRequest
from serving.store.responses import Responses

CALLER = Principal("acme", "ann", "key_1")


class Kept:
    """Every response that is asked for, with one message each."""

    def __init__(self, ids: list[str]) -> None:
        self.items = {whole_id("resp", id): id for id in ids}
        self.read = 0

    async def get(self, caller: Principal, id: str) -> Any:
        self.read += 1
        content = [{"type": "output_text", "text": "x", "annotations": []}]
        said = {"id": self.items[id], "type": "message", "role": "assistant", "status": "completed", "content": content}
        return SimpleNamespace(body={"output": [said]})


def request(ids: list[str]) -> ResponseRequest:
    return ResponseRequest.model_validate({"model": "m", "input": [{"type": "item_reference", "id": id} for id in ids]})


async def test_referenced_items_and_their_responses_are_limited() -> None:
    ids = [f"msg_{number:016x}{'0' * 16}" for number in range(references.MAX_RESPONSES + 1)]
    kept = Kept(ids)
    most = ids[:-1] * (references.MAX_REFERENCES // references.MAX_RESPONSES)
    resolved = await references.resolved(cast(Responses, kept), CALLER, request(most))
    assert len(resolved.input) == references.MAX_REFERENCES
    assert kept.read == references.MAX_RESPONSES, "each response is read once"
    for wrong, param in ((most + ids[:1], "input"), (ids, f"input[{references.MAX_RESPONSES}].id")):
        with pytest.raises(ApiError) as refused:
            await references.resolved(cast(Responses, kept), CALLER, request(wrong))
        assert refused.value.param == param
