"""Embeddings by a local model with onnxruntime."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence

import numpy as np
import onnxruntime
from tokenizers import Encoding, Tokenizer

from serving.config import DEFAULT_EMBEDDER
from serving.retrieval.embedders.embedder import Role, Vectors
from serving.retrieval.embedders.local_models import LOCAL_MODELS
from serving.retrieval.text.tokens import TextTokens, package_file

READ = 32_768
"""Number of characters of a text that are considered for a vector; an embedder's window is far smaller."""


MARKS = 2
"""Special tokens around each text."""


def _windows(words: Sequence[tuple[int, int, int]], most: int) -> list[tuple[int, int, int]]:
    """Returns the characters and tokens of pieces of whole words, each with at most `most` tokens."""
    pieces: list[tuple[int, int, int]] = []
    for start, end, tokens in words:
        if pieces and pieces[-1][2] + tokens <= most:
            pieces[-1] = pieces[-1][0], end, pieces[-1][2] + tokens
        else:
            pieces.append((start, end, tokens))
    return pieces


class OnnxEmbedder(TextTokens):
    """Turns texts into unit vectors. Safe to share between threads.

    `threads` is the size of onnxruntime's pool for one call. `batch_tokens` limits rows x longest row: small batches
    are faster on CPUs (512 against 4096: 3.2 s and 4.5 s for 60 abstracts on one thread).
    """

    def __init__(self, name: str = DEFAULT_EMBEDDER, threads: int = 1, batch_tokens: int = 512) -> None:
        self.name = name
        self._model = LOCAL_MODELS[name]
        model, tokenizer = package_file(*self._model.weights), package_file(*self._model.tokenizer)
        super().__init__(tokenizer)
        digest = hashlib.sha256(model.read_bytes() + tokenizer.read_bytes()).hexdigest()
        self.id = f"{name}-{self._model.precision}-{digest[:12]}"
        self.dimensions = self._model.dimensions
        self.max_tokens = self._model.max_tokens
        self.unrelated = self._model.unrelated
        self._batch_tokens = batch_tokens
        self._tokenizer = Tokenizer.from_file(str(tokenizer))
        self._tokenizer.enable_truncation(self.max_tokens)
        self._tokenizer.no_padding()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
        self._inputs = {each.name for each in self._session.get_inputs()}

    def embed(self, texts: Sequence[str], role: Role = "passage") -> Vectors:
        """Returns unit vectors, float32[len(texts), dimensions]. A text's vector does not depend on the others."""
        before = self._prefix(role)
        vectors = np.zeros((len(texts), self.dimensions), np.float32)
        encodings = self._tokenizer.encode_batch([before + text[:READ] for text in texts])
        for rows in self._batches([len(e.ids) for e in encodings]):
            vectors[rows] = self._run([encodings[row] for row in rows])
        return vectors

    def embed_whole(self, texts: Sequence[str], role: Role = "passage") -> Vectors:
        """Like `embed`, but for the whole of each text: one that exceeds the window is read window by window.

        Its vector is the mean of the windows' vectors, weighted by their tokens. A text that fits has the vector of
        `embed`.
        """
        most = self.max_tokens - MARKS - self.count_tokens(self._prefix(role))
        windows: list[str] = []
        of: list[int] = []
        weights: list[int] = []
        for n, (text, words) in enumerate(zip(texts, self.word_spans(texts), strict=True)):
            for start, end, tokens in _windows(words, most) or [(0, len(text), 1)]:
                windows.append(text[start:end])
                of.append(n)
                weights.append(tokens)
        vectors = np.zeros((len(texts), self.dimensions), np.float32)
        np.add.at(vectors, of, self.embed(windows, role) * np.asarray(weights, np.float32)[:, None])
        unit: Vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        return unit

    def _batches(self, lengths: list[int]) -> Iterator[list[int]]:
        """Groups rows of similar length, to minimise padding."""
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
        given = {name: value for name, value in inputs.items() if name in self._inputs}
        hidden: Vectors = self._session.run([self._model.output], given)[0]
        if self._model.pooling == "first":
            pooled = hidden[:, 0]
        else:
            weights = mask[:, :, None].astype(np.float32)
            pooled = (hidden * weights).sum(axis=1) / weights.sum(axis=1)
        unit: Vectors = pooled / np.linalg.norm(pooled, axis=1, keepdims=True)
        return unit

    def _prefix(self, role: Role) -> str:
        return self._model.query_prefix if role == "query" else self._model.passage_prefix
