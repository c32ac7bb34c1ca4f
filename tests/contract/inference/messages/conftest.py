"""The gateway that all tests of messages ask."""

from __future__ import annotations

import anthropic
import pytest

from serving.config import Assistant, Catalog, InjectionGuardrail, Limits, Price, RemoteModel, SelfConsistency
from tests.contract.inference.messages.scripted import MODELS, Engine, World
from tests.contract.inference.responses.scripted import Retrieval
from tests.contract.running import Loop, engine, gateway


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    scripted = Engine()
    with Loop() as loop, engine(loop, scripted.app()) as port:
        url = f"http://127.0.0.1:{port}/v1"
        models = [RemoteModel(name=name, url=url, prompt_cache="own") for name in MODELS]
        models.append(RemoteModel(name="counts", url=url, model="echo", tokenizer="vllm"))
        price = Price(currency="EUR", input="1", output="2")
        models.append(RemoteModel(name="priced", url=url, model="echo", price=price))
        reads = {"knowledge": ("sea",), "refusal": "I do not know."}
        catalog = Catalog(
            models=tuple(models),
            assistants=(
                Assistant(name="reads", model="echo", **reads),
                Assistant(name="reads-counts", model="counts", **reads),
                Assistant(name="closed", model="echo", instructions="refuse"),
                Assistant(name="guarded", model="echo", guardrails=(InjectionGuardrail(),)),
                Assistant(name="voter", model="echo", strategy=SelfConsistency(samples=3)),
            ),
        )
        limits = Limits(messages=12, characters=10_000)
        folder = tmp_path_factory.mktemp("gateway")
        with (
            gateway(loop, folder, catalog, limits=limits, retrieval=Retrieval()) as up,
            anthropic.Anthropic(base_url=up.url, api_key=up.key, max_retries=0) as sdk,
            up.client() as http,
        ):
            yield World(up, scripted, sdk, http)
