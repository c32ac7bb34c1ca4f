"""Makes hits into the excerpts of a prompt, or into the passages that are quoted as an answer."""

from __future__ import annotations

from collections.abc import Sequence

from serving.config import Assistant
from serving.retrieval.embedders.onnx import OnnxEmbedder
from serving.retrieval.excerpts.answer_sentences import AnswerSentences
from serving.retrieval.excerpts.passage import within
from serving.retrieval.excerpts.quote import passages
from serving.retrieval.relevance import THRESHOLD, SecondEmbedder, good_enough
from serving.retrieval.types import Hit


def for_prompt(
    question: str,
    hits: Sequence[Hit],
    assistant: Assistant,
    judge: OnnxEmbedder,
    meant: Sequence[str],
    sentences: AnswerSentences,
    threshold: float = THRESHOLD,
    second: SecondEmbedder | None = None,
) -> list[Hit]:
    """Returns the hits for an assistant's prompt that fit its budget, best first.

    There is at least one, unless none of the best `top_k` is relevant to `meant[0]`: then there is none. `meant` is the
    question `without_subject`, and after another question also the two together. If passages are the answer, the
    `second` embedder reads the best hits again, which may be more than `top_k`, and `sentences` chooses what to show.
    """
    best = hits[: assistant.top_k]
    if not good_enough(meant[0], best, threshold):
        return []
    if assistant.unsupported == "quote":
        ordered = second.read_again(meant, hits)[: assistant.top_k] if second else best
        # The two orders may share no relevant hit.
        best = ordered if good_enough(meant[0], ordered, threshold) else best
        return sentences.choose(question, meant, passages(assistant.context_tokens, best, question, judge))
    return within(assistant.context_tokens, best, question, judge)
