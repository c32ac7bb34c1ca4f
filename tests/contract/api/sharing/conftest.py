"""One gateway for all tests of shared conversations."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from serving.config import (
    Alias,
    Assistant,
    CallAccess,
    Catalog,
    FactsMemory,
    HttpTool,
    React,
    RemoteModel,
    Target,
)
from tests.contract.api.sharing.world import SECRET, Insider, Retrieval, World
from tests.contract.running import Loop, engine, gateway


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    loop, scripted, retrieval = Loop(), Insider(), Retrieval()
    folder: Path = tmp_path_factory.mktemp("gateway")
    with engine(loop, scripted.app()) as port:
        url = f"http://127.0.0.1:{port}"
        tool = HttpTool(name="look", description="Looks.", allow=(f"{url}/x",), private=True)
        anns = CallAccess(tenants=("acme",), users=("ann",))
        model = RemoteModel(name="m", url=f"{url}/v1", tokenizer="vllm")
        hidden = model.model_copy(update={"name": "anns-model", "access": anns})
        catalog = Catalog(
            models=(model, hidden),
            aliases=(
                Alias(name="either", targets=(Target(model="m"), Target(model="anns-model"))),
                Alias(name="anns-alias", targets=(Target(model="m"),), access=anns),
            ),
            assistants=(
                Assistant(name="open", model="m"),
                Assistant(name="anns", model="m", access=anns),
                Assistant(name="inside", model="anns-model"),
                Assistant(name="asst_help", model="m"),
                Assistant(name="lawyer", model="m", knowledge=("law",)),
                Assistant(name="seeks", model="m", knowledge=("law",), strategy=React(), tools=("retrieval",)),
                Assistant(name="facts", model="m", memory=FactsMemory()),
                Assistant(name="clerk", model="m", strategy=React(), tools=("look",)),
                Assistant(name="counts", model="m", strategy=React(), tools=("calculator",)),
            ),
            tools=(tool,),
        )
        with gateway(loop, folder, catalog, retrieval=retrieval) as up:
            yield World(up, scripted, retrieval)
    loop.stop()


@pytest.fixture(autouse=True)
def _quiet(world: World) -> None:
    world.engine.says, world.engine.before = SECRET, ()
    world.retrieval.files, world.retrieval.cites = [], False
