"""Fuses the BM25 and dense legs of a hybrid search, and the searches for a follow-up question with and without context.

Convex fusion of relative scores (Bruch et al., "An Analysis of Fusion Functions for Hybrid Retrieval", 2022): each
leg's scores are divided by its best one, so that their scales do not matter, and the sum is scaled by the best cosine,
so that scores of different queries are comparable: a query that resembles nothing gets low scores.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from serving.retrieval.types import Hit

DEPTH = 100
"""Rows that each leg returns before fusion."""

DENSE_WEIGHT = 0.75
"""The middle of a plateau on the tuning half of the questions about the documentation (bench/retrieval/answers.py)."""

FOLLOW_UP_WEIGHT = 0.45
"""Weight of the search for a message joined with the previous one, in the results for a follow-up.

With 0.4, follow-ups find less (7 of 10 in the tuning half instead of 8); with 0.5, changes of topic do too (35 of 51
instead of 37; 38 without any previous message).
"""


def fuse(bm25: Mapping[str, float], cosine: Mapping[str, float], dense_weight: float | None = None) -> dict[str, float]:
    """Returns the fused score (0..1) of every chunk that either leg found.

    `bm25` has the scores of the BM25 leg, `cosine` those of the chunks of both legs.
    """
    weight = DENSE_WEIGHT if dense_weight is None else dense_weight
    best_bm25 = max(bm25.values(), default=0.0)
    best_cosine = max(0.0, min(1.0, max(cosine.values(), default=0.0)))
    fused = {}
    for chunk_id in cosine.keys() | bm25.keys():
        lexical = bm25.get(chunk_id, 0.0) / best_bm25 if best_bm25 > 0 else 0.0
        dense = max(0.0, min(1.0, cosine.get(chunk_id, 0.0)))
        fused[chunk_id] = weight * dense + (1 - weight) * best_cosine * lexical
    return fused


def fuse_follow_up(alone: Sequence[Hit], joined: Sequence[Hit]) -> list[Hit]:
    """Returns the hits for a message in a conversation, best first.

    `alone` are the hits for the message, and `joined` those for the message after the previous one. A follow-up ("And
    how do I undo that?") finds little by itself, and after a change of topic the previous message misleads; since
    scores of different searches are comparable, their mean keeps the good hits of both. A hit that is missing in one
    search gets its lowest score.
    """
    weights = (1 - FOLLOW_UP_WEIGHT, FOLLOW_UP_WEIGHT)
    searches = [{hit.chunk_id: hit for hit in hits} for hits in (alone, joined)]
    least = [min((hit.score for hit in hits), default=0.0) for hits in (alone, joined)]
    least_dense = [min((hit.dense_score for hit in hits), default=0.0) for hits in (alone, joined)]
    fused = []
    for hit in {**searches[1], **searches[0]}.values():
        score = dense_score = bm25_score = 0.0
        for place, weight in enumerate(weights):
            found = searches[place].get(hit.chunk_id)
            score += weight * (found.score if found else least[place])
            dense_score += weight * (found.dense_score if found else least_dense[place])
            bm25_score += weight * (found.bm25_score if found else 0.0)
        fused.append(replace(hit, score=score, dense_score=dense_score, bm25_score=bm25_score))
    return sorted(fused, key=lambda hit: (-hit.score, hit.chunk_id))
