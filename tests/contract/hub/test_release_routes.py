"""Releases through the API: two models behind a managed alias, whose weights follow what people and guards decide."""

from __future__ import annotations

import asyncio
import json
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import select

from serving.config import Alias, CallAccess, Catalog, Managed, RemoteModel, Target
from serving.core.principal import Principal
from serving.core.uninterrupted import uninterrupted
from serving.hub import release_keeper
from serving.store.relational.tables import captures
from tests.callers.identity import key_of
from tests.contract.hub.answering import Answering
from tests.contract.running import Loop, engine, gateway
from tests.wait import eventually

MODELS = ("base", "good", "bad")
SHARE = 0.5


class Half:
    """Every second answer is broken off."""

    def __init__(self):
        self.asked = 0

    def __call__(self, message):
        self.asked += 1
        return "bad", "length" if self.asked % 2 else "stop"


class World:
    def __init__(self, up, folder, scripted, port, http):
        self.up, self.folder, self.scripted, self.port, self.http = up, folder, scripted, port, http

    def catalog(self, **managed):
        """The models, and aliases of which each test has one of its own."""
        models = [RemoteModel(name=name, url=f"http://127.0.0.1:{self.port}/v1") for name in MODELS]
        embeds = {"task": "embed", "embedding": {"dimensions": 4}}
        models.append(RemoteModel(name="theirs", url=models[0].url, access=CallAccess(tenants=("evil",))))
        models.append(RemoteModel(name="embeds", url="http://127.0.0.1:9/v1", **embeds))
        bounds = Managed(**{"base": "base", "max_canary": SHARE} | managed)
        names = ("weights", "harm", "race", "bounds", "rejects", "forgets", "takes-over", "acme-only", "streams")
        aliases = [
            Alias(name=name, managed=bounds, access=CallAccess(tenants=("acme",)) if name == "acme-only" else None)
            for name in names
        ]
        fixed = Alias(name="fixed", targets=(Target(model="base"),))
        return Catalog(models=tuple(models), aliases=(*aliases, fixed))

    def configure(self, **managed):
        catalog = self.catalog(**managed)

        async def configure():
            self.up.services.configure(catalog)
            await self.up.services.hub.load_releases()

        self.up.loop.do(configure())

    def post(self, path, status=200, key=None, **body):
        headers = {"Authorization": f"Bearer {key}"} if key else None
        response = self.http.post(f"/v1/hub/releases{path}", json=body, headers=headers)
        assert response.status_code == status, response.text
        return response.json()

    def get(self, id):
        return self.http.get(f"/v1/hub/releases/{id}").raise_for_status().json()

    def ask(self, alias, times=1):
        """Asks and returns the models that answered."""
        before = len(self.scripted.asked)
        for _ in range(times):
            body = {"model": alias, "messages": [{"role": "user", "content": "hi"}]}
            self.http.post("/v1/chat/completions", json=body).raise_for_status()
        return self.scripted.asked[before:]

    def captured(self, alias):
        """The models that captures name, from the oldest."""

        @uninterrupted
        async def captured():
            async with self.up.services.database.read() as connection:
                query = select(captures.c.model).where(captures.c.alias == alias).order_by(captures.c.created_at)
                return (await connection.execute(query)).scalars().all()

        return self.up.loop.do(captured())

    def look(self):
        self.up.loop.do(self.up.services.hub.keeper.look())


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    scripted = Answering(base=lambda m: ("base", "stop"), good=lambda m: ("good", "stop"), bad=Half())
    with pytest.MonkeyPatch.context() as patch, Loop() as loop, engine(loop, scripted.app()) as port:
        patch.setattr(release_keeper, "SETTLE_S", 0.0)
        patch.setattr(release_keeper, "PERIOD_S", 0.1)
        folder = tmp_path_factory.mktemp("gateway")
        with gateway(loop, folder, Catalog()) as up, up.client() as http:
            made = World(up, folder, scripted, port, http)
            made.configure()
            yield made


def test_weights_follow_a_release_and_captures_name_the_model(world):
    assert set(world.ask("weights", 10)) == {"base"}
    release = world.post("", alias="weights", target="good", share=0.4)
    assert (release["status"], release["share"], release["base"]) == ("canary", 0.4, "base")
    assert set(world.ask("weights", 40)) == {"base", "good"}

    assert world.captured("weights") == world.scripted.asked[-50:]
    world.post(f"/{release['id']}/pause")
    assert set(world.ask("weights", 20)) == {"base"}
    world.post(f"/{release['id']}/resume")
    assert set(world.ask("weights", 40)) == {"base", "good"}
    assert world.post(f"/{release['id']}/promote")["status"] == "promoted"
    assert set(world.ask("weights", 10)) == {"good"}
    world.post(f"/{release['id']}/rollback")
    assert set(world.ask("weights", 10)) == {"base"}


def test_a_canary_with_half_of_its_answers_bad_is_rolled_back_within_sixty_requests(world):
    release = world.post("", alias="harm", target="bad")
    asked = world.scripted.asked.count("bad")
    for _ in range(60):
        if world.get(release["id"])["status"] != "canary":
            break
        world.ask("harm", 4)
        world.look()
    ended = world.get(release["id"])
    assert (ended["status"], ended["reason"]) == ("rolled_back", "guards")
    assert ended["evidence"]["harm"] >= 100
    assert ended["outcomes"]["requests"]["canary"]["bad"].keys() == {"truncation"}
    assert world.scripted.asked.count("bad") - asked <= 60
    assert set(world.ask("harm", 20)) == {"base"}


def test_ratings_end_a_canary_too(world):
    release = world.post("", alias="forgets", target="good")
    while world.get(release["id"])["status"] == "canary":
        body = {"model": "forgets", "messages": [{"role": "user", "content": "hi"}]}
        answer = world.http.post("/v1/chat/completions", json=body).raise_for_status().json()
        thumb = "down" if answer["choices"][0]["message"]["content"] == "good" else "up"
        target = {"type": "response", "id": answer["id"]}
        world.http.post("/v1/feedback", json={"target": target, "thumb": thumb}).raise_for_status()
        assert len(world.scripted.asked) < 2000
    ended = world.get(release["id"])
    assert (ended["status"], ended["reason"]) == ("rolled_back", "guards")
    assert ended["outcomes"]["requests"]["canary"]["bad"] == {}


def test_a_rollback_in_the_middle_of_a_stream_lets_it_finish(world, monkeypatch):
    taken_back = threading.Event()

    async def between(model):
        if model == "good":
            await asyncio.to_thread(taken_back.wait, 60)

    monkeypatch.setattr(world.scripted, "between", between)
    release = world.post("", alias="streams", target="good")
    body = {"model": "streams", "messages": [{"role": "user", "content": "hi"}], "stream": True, "store": True}
    while not taken_back.is_set():
        with world.http.stream("POST", "/v1/chat/completions", json=body) as response:
            lines = response.iter_lines()
            said = [next(lines)]
            if world.scripted.asked[-1] == "good":
                assert world.post(f"/{release['id']}/rollback")["status"] == "rolled_back"
                assert set(world.ask("streams", 10)) == {"base"}
                taken_back.set()
            said += [line for line in lines if line]
        assert said[-1] == "data: [DONE]"
    frames = [json.loads(line.removeprefix("data: ")) for line in said[:-1]]
    choices = [choice for frame in frames for choice in frame["choices"]]
    assert "".join(choice["delta"].get("content") or "" for choice in choices) == "good"
    assert choices[-1]["finish_reason"] == "stop"
    named = eventually(lambda: "good" in (found := world.captured("streams")) and found, "the stream is captured")
    assert named.count("good") == 1


def test_one_of_two_concurrent_promotions_is_a_conflict(world):
    release = world.post("", alias="race", target="good")
    with ThreadPoolExecutor() as threads:
        found = list(
            threads.map(
                lambda _: (
                    world.http.post(f"/v1/hub/releases/{release['id']}/promote", json={"revision": 1}).status_code
                ),
                range(2),
            )
        )
    assert sorted(found) == [200, 409]
    assert world.post(f"/{release['id']}/rollback", revision=1, status=409)["error"]["code"] == "conflict"


def test_the_configuration_sets_the_bounds_and_leaves_the_weights(world):
    release = world.post("", alias="bounds", target="good")
    world.configure(guards=("ratings",))  # as `make up` does after another change
    assert set(world.ask("bounds", 40)) == {"base", "good"}
    world.configure(max_canary=1e-9)
    assert set(world.ask("bounds", 40)) == {"base"}
    world.configure(pin="bad")
    assert set(world.ask("bounds", 10)) == {"bad"}
    assert world.post("", 409, alias="rejects", target="good")["error"]["message"].startswith("The configuration pins")
    world.configure(max_hours=1e-9)
    ended = eventually(lambda: (found := world.get(release["id"]))["ended_at"] and found, "it is undecided")
    assert (ended["status"], ended["reason"]) == ("rolled_back", "undecided")
    world.configure()


def test_a_proven_canary_is_promoted_if_the_configuration_says_so(world):
    world.configure(auto_promote=True)
    release = world.post("", alias="takes-over", target="good")
    while world.get(release["id"])["status"] == "canary":
        world.ask("takes-over", 20)
        assert len(world.scripted.asked) < 4000
    ended = world.get(release["id"])
    assert (ended["status"], ended["reason"]) == ("promoted", "no_worse")
    assert set(world.ask("takes-over", 10)) == {"good"}
    world.configure()


def test_unsuitable_aliases_and_targets_are_rejected(world):
    for status, param, body in (
        (404, "alias", {"alias": "nothing", "target": "good"}),
        (404, "alias", {"alias": "good", "target": "good"}),
        (400, "alias", {"alias": "fixed", "target": "good"}),
        (404, "target", {"alias": "rejects", "target": "nothing"}),
        (404, "target", {"alias": "rejects", "target": "embeds"}),
        (404, "target", {"alias": "rejects", "target": "fixed"}),
        (400, "share", {"alias": "rejects", "target": "good", "share": 0.6}),
        (409, None, {"alias": "rejects", "target": "base"}),
    ):
        assert world.post("", status, **body)["error"]["param"] == param
    world.post("", alias="rejects", target="good")
    world.post("", 409, alias="rejects", target="bad")


def test_a_tenant_releases_only_for_aliases_that_no_other_tenant_calls(world):
    async def keys():
        made = [Principal(tenant, "ann", "key_t") for tenant in ("acme", "evil")]
        return [await key_of(world.up.services, who, role="admin") for who in made]

    acme, evil = world.up.loop.do(keys())
    world.post("", 403, key=acme, alias="rejects", target="good")
    world.post("", 404, key=evil, alias="acme-only", target="good")
    refused = world.post("", 404, key=acme, alias="acme-only", target="theirs")
    assert refused["error"]["param"] == "target", "an assistant of this alias would ask what the tenant may not"
    release = world.post("", key=acme, alias="acme-only", target="good")
    world.post(f"/{release['id']}/promote", 404, key=evil)
    assert world.post(f"/{release['id']}/promote", key=acme)["status"] == "promoted"


def test_a_restarted_gateway_knows_what_was_released(world):
    release = world.post("", alias="weights", target="bad")
    with (
        Loop() as loop,
        gateway(loop, world.folder, world.catalog()) as other,
    ):

        async def configure():
            other.services.configure(world.catalog())
            await other.services.hub.load_releases()
            return other.services.hub.released.for_alias("weights")

        assert {target.model: target.weight for target in loop.do(configure())} == {"base": 0.5, "bad": 0.5}
        world.post(f"/{release['id']}/rollback")
        released = other.services.hub.released
        eventually(lambda: [t.model for t in released.for_alias("weights")] == ["base"], "it sees the rollback")
