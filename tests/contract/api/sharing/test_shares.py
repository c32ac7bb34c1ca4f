"""Sharing a conversation within the tenant: a real server and store before a scripted engine."""

from __future__ import annotations

import time

import httpx

from serving.assistants.tools.tool import Toolbox
from serving.core.principal import SCOPES_OF, Principal
from serving.store.apps.checkpoints import Thread
from tests.contract.api.sharing.world import SECRET, World, items, made, seen

PICTURE = "data:image/png;base64,aGlkZGVu"


def test_a_plain_conversation_is_read_in_the_tenant_as_it_was(world: World) -> None:
    id = world.talk("What is new?")
    before = time.time()
    share = made(world.ann.post("/v1/shares", json={"conversation": id}))
    assert (share["object"], share["owner"], share["conversation"]) == ("share", "ann", id)
    assert share["title"] == "What is new?"
    assert before + 30 * 86_400 - 1 <= share["expires_at"] <= time.time() + 30 * 86_400
    world.ask(id, "And later?")
    assert seen(world.bob, share["id"]) == seen(world.ann, share["id"]) == ["What is new?", SECRET]
    told = made(world.bob.get(f"/v1/shares/{share['id']}"))
    assert told == {**share, "conversation": None, "title": None}, "what else the conversation is, is its owner's"
    question, answer = items(world.bob, share["id"])
    assert (question["role"], answer["role"], answer["status"]) == ("user", "assistant", "completed")
    fields = {"id", "object", "created_at", "role", "status", "text", "withheld", "attachments", "headrace"}
    assert question.keys() == answer.keys() == fields
    assert answer["headrace"] == {}
    assert made(world.ann.get("/v1/shares", params={"conversation": id}))["data"] == [share]
    assert made(world.bob.get("/v1/shares"))["data"] == []
    first = made(world.bob.get(f"/v1/shares/{share['id']}/items", params={"limit": 1}))
    assert (first["has_more"], first["last_id"]) == (True, question["id"])
    assert [item["id"] for item in items(world.bob, share["id"], after=question["id"])] == [answer["id"]]
    assert world.bob.get(f"/v1/conversations/{id}").status_code == 404, "a share opens nothing else"
    assert world.bob.get(f"/v1/conversations/{id}/items").status_code == 404


def test_attachments_calls_results_and_instructions_are_not_shared(world: World) -> None:
    id = world.talk("Hello?")
    file = world.file("{}")
    picture = {"type": "image_url", "image_url": {"url": PICTURE}}
    attached = {"type": "file", "file": {"file_id": file}}
    world.ask(id, [{"role": "user", "content": [{"type": "text", "text": "See."}, attached]}])
    shown = seen(world.bob, world.share(id))
    assert shown == ["Hello?", SECRET, "See.", "documents"]
    assert seen(world.ann, world.share(id))[3] == SECRET, "whoever may read the file reads the answer"
    world.ask(id, [{"role": "user", "content": [{"type": "text", "text": "Look."}, picture]}])
    stored = [
        {"type": "function_call", "call_id": "c1", "name": "look", "arguments": '{"at": "arguments"}'},
        {"type": "function_call_output", "call_id": "c1", "output": "output of the call"},
        {"role": "system", "content": "instructions of mine"},
        {"role": "assistant", "content": "words put into its mouth"},
    ]
    made(world.ann.post(f"/v1/conversations/{id}/items", json={"items": stored}))
    share = world.share(id)
    told = world.bob.get(f"/v1/shares/{share}/items").text
    for secret in ("aGlkZGVu", file, "arguments", "output", "instructions of", "words put", '"look"'):
        assert secret not in told, secret
    assert [item["attachments"] for item in items(world.ann, share)][:6] == [0, 0, 1, 0, 1, 0]
    reasons = ["documents", "private", "private", "private", "documents"]
    assert [item["withheld"] for item in items(world.ann, share)][5:] == reasons
    assert [item["role"] for item in items(world.ann, share)][6:9] == [None] * 3


def test_a_missing_share_looks_like_a_forbidden_one(world: World) -> None:
    id = world.talk("x")
    share, revoked = world.share(id), world.share(id)
    made(world.ann.delete(f"/v1/shares/{revoked}"))
    for path in ("", "/items"):
        answers = [
            who.get(f"/v1/shares/{each}{path}")
            for who, each in (
                (world.other, share),
                (world.other, revoked),
                (world.bob, revoked),
                (world.bob, "share_" + "0" * 32),
                (world.bob, "none"),
                (world.bob, id),
            )
        ]
        assert {(each.status_code, each.text) for each in answers} == {(404, answers[0].text)}
    for who in (world.bob, world.other):
        assert who.delete(f"/v1/shares/{share}").status_code == 404
        refused = who.post("/v1/shares", json={"conversation": id})
        unknown = who.post("/v1/shares", json={"conversation": "conv_none"})
        assert (refused.status_code, refused.text) == (404, unknown.text)
    assert seen(world.bob, share) == ["x", SECRET]


def test_callers_need_the_scopes_of_conversations(world: World) -> None:
    share = world.share(world.talk("x"))
    asks = world.client("acme", "bob", scopes=("inference",))
    reads = world.client("acme", "bob", scopes=("data:read",))
    for path in ("/v1/shares", f"/v1/shares/{share}", f"/v1/shares/{share}/items"):
        assert (asks.get(path).status_code, reads.get(path).status_code) == (403, 200)
        assert httpx.get(world.up.url + path, trust_env=False).status_code == 401
    assert reads.post("/v1/shares", json={"conversation": "c"}).status_code == 403
    assert reads.delete(f"/v1/shares/{share}").status_code == 403


def test_a_share_lasts_as_long_as_it_is_asked_to(world: World) -> None:
    id = world.talk("x")
    share = made(world.ann.post("/v1/shares", json={"conversation": id, "expires_in_s": 60}))
    assert 59 <= share["expires_at"] - share["created_at"] <= 61
    for wrong in (59, 365 * 86_400 + 1, "soon"):
        answer = world.ann.post("/v1/shares", json={"conversation": id, "expires_in_s": wrong})
        assert (answer.status_code, answer.json()["error"]["param"]) == (400, "expires_in_s")
    assert world.ann.post("/v1/shares", json={"conversation": id, "everybody": True}).status_code == 400


def test_a_deleted_conversation_and_a_suspended_owner_share_nothing(world: World) -> None:
    id = world.talk("x")
    share = world.share(id)
    boss = world.client("acme", "boss", role="admin")
    made(boss.post("/v1/admin/users/ann", json={"disabled": True}))
    assert world.bob.get(f"/v1/shares/{share}/items").status_code == 404
    made(boss.post("/v1/admin/users/ann", json={"disabled": False}))
    assert seen(world.bob, share) == ["x", SECRET]
    made(world.ann.delete(f"/v1/conversations/{id}"))
    assert world.bob.get(f"/v1/shares/{share}").status_code == 404
    assert world.ann.get(f"/v1/shares/{share}").status_code == 404


def test_sharing_and_revoking_are_on_record_and_reading_is_not(world: World) -> None:
    boss = world.client("acme", "boss", role="admin")

    def events() -> list[tuple[str, str]]:
        found = made(boss.get("/v1/admin/audit", params={"limit": 100}))["data"]
        return [(each["action"], each["target"]) for each in found if each["action"].startswith("share.")]

    before = len(events())
    id = world.talk("x")
    share = world.share(id)
    for _ in range(3):
        seen(world.bob, share)
    assert world.bob.delete(f"/v1/shares/{share}").status_code == 404
    made(world.ann.delete(f"/v1/shares/{share}"))
    assert events()[: len(events()) - before] == [("share.delete", id), ("share.create", id)]
    assert share not in boss.get("/v1/admin/audit", params={"limit": 100}).text, "an id opens a share"


def test_strange_characters_are_shared_as_they_are(world: World) -> None:
    world.engine.says = "<img src=x onerror=alert(1)> \0 \u202e"
    share = world.share(world.talk("a\0b"))
    assert seen(world.bob, share) == ["a\0b", world.engine.says]


def test_an_app_shares_and_revokes_nothing_for_its_caller(world: World) -> None:
    id = world.talk("x")
    share = world.share(id)
    before = made(world.ann.get("/v1/shares"))["data"]
    caller = Principal("acme", "ann", "key_a", SCOPES_OF["user"])

    async def asked() -> list[httpx.Response]:
        runs = world.up.services.app_runs
        async with runs.opened(caller, "a", Thread("a", "t"), Toolbox([], 1, 1), None) as run:
            headers = {"Authorization": f"Bearer {run.token}"}
            async with httpx.AsyncClient(base_url=f"http://{runs.address}", headers=headers, trust_env=False) as http:
                return [
                    await http.post("/v1/shares", json={"conversation": id}),
                    await http.delete(f"/v1/shares/{share}"),
                    await http.get(f"/v1/shares/{share}/items"),
                ]

    *refused, read = world.up.loop.do(asked())
    told = [(each.status_code, each.json()["error"]["code"]) for each in refused]
    assert told == [(403, "app_cannot_share")] * 2
    assert read.status_code == 200
    assert made(world.ann.get("/v1/shares"))["data"] == before


def test_a_share_that_is_asked_for_twice_with_a_key_is_one(world: World) -> None:
    id = world.talk("x")
    headers = {"Idempotency-Key": f"share {id}"}
    first, again = [world.ann.post("/v1/shares", json={"conversation": id}, headers=headers) for _ in range(2)]
    assert made(first) == made(again)
    assert [each["id"] for each in made(world.ann.get("/v1/shares", params={"conversation": id}))["data"]] == [
        made(first)["id"]
    ]
    other = {"Idempotency-Key": f"share {id} again"}
    revoked, kept = [
        made(world.ann.post("/v1/shares", json={"conversation": id}, headers=each)) for each in (other, headers)
    ]
    made(world.ann.delete(f"/v1/shares/{revoked['id']}"))
    answer = world.ann.post("/v1/shares", json={"conversation": id}, headers=other)
    assert answer.json()["error"]["code"] == "idempotency_answer_not_kept", "a revoked share is not there"
    assert made(world.ann.post("/v1/shares", json={"conversation": id}, headers=headers)) == kept
    made(world.ann.delete(f"/v1/conversations/{id}"))
    gone = world.ann.post("/v1/shares", json={"conversation": id}, headers=headers)
    assert gone.json()["error"]["code"] == "idempotency_answer_not_kept", "the title goes with the conversation"
