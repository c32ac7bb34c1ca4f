"""The gateways that all tests of repetitions ask."""

from __future__ import annotations

import httpx
import pytest

from serving.config import Assistant, Catalog, FactsMemory, RemoteModel
from tests.contract.api.idempotency.scripted import KINDS, World
from tests.contract.inference.test_chat_conversation import Engine, Retrieval
from tests.contract.running import Loop, engine, gateway


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    scripted = Engine()
    folder = tmp_path_factory.mktemp("gateway")
    with Loop() as loop, engine(loop, scripted.app()) as port:
        url = f"http://127.0.0.1:{port}/v1"
        assistants = (
            Assistant(name="reads", model="echo", knowledge=("sea",), refusal="I do not know."),
            Assistant(name="thinks", model="echo", strategy={"kind": "cot"}),
            Assistant(name="silent", model="echo", capture="none"),
            Assistant(name="knows", model="echo", memory=FactsMemory()),
        )
        catalog = Catalog(models=tuple(RemoteModel(name=name, url=url) for name in KINDS), assistants=assistants)
        with (
            gateway(loop, folder, catalog, retrieval=Retrieval()) as up,
            gateway(loop, folder, catalog, retrieval=Retrieval()) as other,
            # The second one's key took the place of the first one's.
            httpx.Client(headers={"Authorization": f"Bearer {other.key}"}, timeout=60) as http,
        ):
            yield World(up, other, scripted, http)
