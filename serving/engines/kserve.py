"""Models behind a KServe InferenceService: for the gateway, remote endpoints once their address is known."""

from __future__ import annotations

from serving.config import KServeModel, RemoteCache, RemoteModel, Tokenizer

PATHS = {"huggingface": "/openai/v1"}
"""Path of OpenAI's API of runtimes below the address in the InferenceService's status; others use /v1.

KServe's Hugging Face server: `KSERVE_OPENAI_ROUTE_PREFIX` in python/kserve/kserve/protocol/rest/openai/endpoints.py.
"""

TOKENIZERS: dict[str, Tokenizer] = {"llamacpp": "llamacpp", "vllm": "vllm"}
"""Runtimes with an API that counts tokens."""

CACHES: dict[str, RemoteCache] = {"llamacpp": "off", "vllm": "salted"}
"""How each runtime can separate the prompt caches of callers. Gateways reach a Service, so that none knows whose prompt
a slot of llama.cpp holds.
"""


def remote(model: KServeModel) -> RemoteModel | None:
    """Returns the remote model for `model`; None while its address is unknown."""
    if model.url is None:
        return None
    return RemoteModel(
        name=model.name,
        url=model.url + (model.path or PATHS.get(model.runtime, "/v1")),
        model=model.model or model.service,
        task=model.task,
        embedding=model.embedding,
        context=model.context,
        tokenizer=None if model.existing else TOKENIZERS.get(model.runtime),
        api_key=model.api_key,
        prompt_cache=model.prompt_cache or ("shared" if model.existing else CACHES.get(model.runtime, "shared")),
        first_byte_timeout_s=model.first_byte_timeout_s,
        idle_timeout_s=model.idle_timeout_s,
        max_in_flight=model.max_in_flight,
    )
