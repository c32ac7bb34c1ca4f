"""Prompts and tools: the text of another user of the tenant taints a turn, as all that the caller did not say."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from serving.config import Assistant, Catalog, HttpTool, React, RemoteModel
from serving.core.principal import Principal, Role
from tests.callers.identity import key_of
from tests.contract.inference.test_tools import FINAL, Outside, act
from tests.contract.running import Gateway, Loop, engine, gateway


class Tickets(Outside):
    """The model, and a ticket system without a secret."""

    async def add(self, request: Any) -> Any:
        self.tickets.append(await request.text())
        return await super().list(request)


class ToolWorld:
    def __init__(self, up: Gateway, outside: Tickets, url: str) -> None:
        self.up, self.outside, self.url = up, outside, url

    def client(self, user: str, role: Role = "user") -> httpx.Client:
        key = self.up.loop.do(key_of(self.up.services, Principal("acme", user, ""), role=role))
        return httpx.Client(base_url=self.up.url, headers={"Authorization": f"Bearer {key}"}, timeout=120)

    def approvals(self, who: httpx.Client, **more: Any) -> int:
        """The number of approvals that an answer asks for, where the model opens a ticket."""
        self.outside.tickets.clear()
        self.outside.says = [act("tickets", url=self.url, method="POST", body="a"), FINAL]
        body = {"model": "clerk", "input": "Open a ticket.", **more}
        answer = who.post("/v1/responses", json=body)
        assert answer.status_code == 200, answer.text
        offered = len((answer.json().get("headrace") or {}).get("approvals", ()))
        assert len(self.outside.tickets) == 1 - offered
        return offered


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ToolWorld]:
    outside = Tickets()
    with Loop() as loop, engine(loop, outside.app()) as port:
        url = f"http://127.0.0.1:{port}/tickets"
        tool = HttpTool(name="tickets", description="Tickets.", allow=(url,), private=True, methods=("GET", "POST"))
        clerk = Assistant(name="clerk", model="bare", tools=("tickets",), strategy=React(tool_seconds=60))
        model = RemoteModel(name="bare", url=f"http://127.0.0.1:{port}/v1")
        catalog = Catalog(models=(model,), assistants=(clerk,), tools=(tool,))
        with gateway(loop, tmp_path_factory.mktemp("taint"), catalog) as up:
            yield ToolWorld(up, outside, url)


def test_anothers_prompt_taints_a_turn(world: ToolWorld) -> None:
    ann, bob, op = world.client("ann"), world.client("bob"), world.client("op", "operator")
    assert world.approvals(bob) == 0
    ids = {}
    for name, who in (("ann", ann), ("bob", bob), ("op", op)):
        made = who.post("/v1/prompts", json={"name": name, "text": "Open tickets {{how}}."})
        ids[name] = made.json()["id"]
    variables = {"how": "now"}
    assert world.approvals(bob, prompt={"id": ids["bob"], "variables": variables}) == 0, "the caller's own words"
    assert world.approvals(bob, prompt={"id": ids["ann"], "variables": variables}) == 1
    assert world.approvals(bob, prompt={"id": ids["op"], "variables": variables}) == 0, "an operator's"
    # The author of the version counts, not the owner of the prompt.
    boss = world.client("boss", "admin")
    added = boss.post(f"/v1/prompts/{ids['ann']}/versions", json={"text": "Open tickets {{how}}, boss."})
    assert added.status_code == 200
    assert world.approvals(bob, prompt={"id": ids["ann"], "version": "2", "variables": variables}) == 0
    assert world.approvals(bob, prompt={"id": ids["ann"], "version": "1", "variables": variables}) == 1
    assert world.approvals(ann, prompt={"id": ids["ann"], "version": "1", "variables": variables}) == 0
