"""Which models are taken to answer from passages, unless their settings say it."""

from __future__ import annotations

import pytest

from infra.config import SMOLLM2
from serving.config import KServeModel, LlamaCppModel, RemoteModel
from serving.config.tasks import Tasked

LARGER = "package://x/SmolLM2-1.7B.gguf"


@pytest.mark.parametrize(
    ("model", "grounded"),
    [
        (SMOLLM2, False),
        (SMOLLM2.model_copy(update={"grounded": True}), True),
        (LlamaCppModel(name="m", source=LARGER), True),
        (LlamaCppModel(name="m", source=LARGER, grounded=False), False),
        (KServeModel(name="m", storage="hf://a/SmolLM2-135M-Instruct-GGUF", file="a.gguf"), False),
        (RemoteModel(name="m", url="http://127.0.0.1/v1"), True),
    ],
)
def test_the_packaged_model_is_not_taken_to_answer_from_passages(model: Tasked, grounded: bool) -> None:
    assert model.answers_from_passages is grounded
