"""The gateway that all tests of responses ask."""

from __future__ import annotations

import pytest

from serving.config import Assistant, BufferMemory, Catalog, Limits, NoMemory, RemoteModel
from tests.contract.inference.responses.scripted import MODELS, Engine, Retrieval, World
from tests.contract.running import Loop, engine, gateway


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    scripted = Engine()
    with Loop() as loop, engine(loop, scripted.app()) as port:
        url = f"http://127.0.0.1:{port}/v1"
        models = [RemoteModel(name=name, url=url, prompt_cache="own") for name in MODELS]
        models.append(RemoteModel(name="counts", url=url, model="echo", tokenizer="vllm"))
        kinds = {"forgets": NoMemory(), "two": BufferMemory(turns=2)}
        assistants = [
            Assistant(name=name, model="echo", prompt="Be brief.", memory=memory) for name, memory in kinds.items()
        ]
        reads = {"knowledge": ("sea",), "refusal": "I do not know."}
        assistants += [Assistant(name=name, model=name[6:], **reads) for name in ("reads-echo", "reads-calls")]
        assistants.append(Assistant(name="reads-counts", model="counts", **reads))
        assistants.append(Assistant(name="cool", model="echo", temperature=0.25))
        catalog = Catalog(models=tuple(models), assistants=tuple(assistants))
        limits = Limits(messages=30, characters=10_000)
        folder = tmp_path_factory.mktemp("gateway")
        with (
            gateway(loop, folder, catalog, limits=limits, retrieval=Retrieval()) as up,
            up.sdk() as sdk,
            up.client() as http,
        ):
            yield World(up, scripted, sdk, http)
