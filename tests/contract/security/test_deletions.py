"""Receipts of what users deleted: the user looks them up, and the auditor finds the same ids in the audit log."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from serving.api.services import Services
from serving.core.principal import Principal
from serving.store.conversations import PRUNED_TOGETHER
from tests.callers.identity import key_of
from tests.contract.running import Gateway

MANY = PRUNED_TOGETHER + 3


@pytest.fixture
def ada(up: Gateway) -> Iterator[httpx.Client]:
    with _client(up, "acme", f"del{secrets.token_hex(4)}") as client:
        yield client


def _client(up: Gateway, tenant: str, user: str) -> httpx.Client:
    key = up.loop.do(key_of(up.services, Principal(tenant, user, "")))
    return httpx.Client(base_url=up.url, headers={"authorization": f"Bearer {key}"}, timeout=60)


def ok(answer: httpx.Response) -> dict[str, Any]:
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def talk(client: httpx.Client, items: int = 0) -> str:
    said = [{"role": "user", "content": f"Secret {at}."} for at in range(items)]
    return str(ok(client.post("/v1/conversations", json={"items": said}))["id"])


def logged(up: Gateway, target: str, tenant: str = "acme") -> list[dict[str, Any]]:
    """The events of the audit log about an object, as the platform's operator sees them, the newest first."""
    operator = {"authorization": f"Bearer {up.key}"}
    found = ok(httpx.get(f"{up.url}/v1/admin/audit", params={"tenant": tenant, "limit": 100}, headers=operator))
    return [each for each in found["data"] if each["target"] == target]


def test_a_deleted_conversation_has_a_receipt_that_the_auditor_finds(up: Gateway, ada: httpx.Client) -> None:
    id = talk(ada, items=2)
    assert ada.get(f"/v1/me/deletions/{id}").status_code == 404
    ok(ada.delete(f"/v1/conversations/{id}"))
    receipt = ok(ada.get(f"/v1/me/deletions/{id}"))
    assert (receipt["kind"], receipt["deleted"], receipt["items"]) == ("conversation", 1, 2)
    assert (receipt["id"], receipt["status"]) == (id, "finished")
    [event] = logged(up, id)
    assert receipt["event"] == {"id": event["id"], "hash": event["hash"]}
    assert (receipt["actor"], receipt["created_at"]) == (event["actor"], event["created_at"])
    assert (event["action"], event["detail"]) == ("conversation.delete", {"deleted": 1, "items": 2})
    assert "Secret" not in str(event)
    assert ada.delete(f"/v1/conversations/{id}").status_code == 404
    assert ok(ada.get("/v1/me/deletions"))["data"] == [receipt]


def test_all_conversations_have_one_receipt_with_their_number(up: Gateway, ada: httpx.Client) -> None:
    for _ in range(MANY):
        talk(ada)
    gone = ok(ada.delete("/v1/conversations"))
    assert gone["deleted"] == MANY
    receipt = ok(ada.get(f"/v1/me/deletions/{gone['id']}"))
    assert (receipt["kind"], receipt["deleted"], receipt["status"]) == ("conversations", MANY, "finished")
    details = [event["detail"] for event in logged(up, gone["id"])]
    assert details == [{"deleted": MANY, "finished": True}, {"deleted": PRUNED_TOGETHER, "finished": False}]
    assert ok(ada.get("/v1/me/deletions"))["data"] == [receipt]
    assert ok(ada.delete("/v1/conversations")) == {"id": None, "object": "conversations.deleted", "deleted": 0}
    assert len(ok(ada.get("/v1/me/deletions"))["data"]) == 1


def test_a_deletion_that_breaks_off_has_a_receipt_that_says_so(up: Gateway, ada: httpx.Client) -> None:
    for _ in range(MANY):
        talk(ada)
    services: Services = up.services
    whole = services.conversation_list.delete_all

    async def breaks(caller: Principal, record: Any) -> int:
        async def once(deleted: int, finished: bool) -> None:
            if finished:
                raise RuntimeError("the gateway ends here")
            await record(deleted, finished)

        return await whole(caller, once)

    services.conversation_list.delete_all = breaks  # type: ignore[method-assign]
    try:
        assert ada.delete("/v1/conversations").status_code == 500
    finally:
        services.conversation_list.delete_all = whole  # type: ignore[method-assign]
    [receipt] = ok(ada.get("/v1/me/deletions"))["data"]
    assert (receipt["status"], receipt["deleted"]) == ("begun", PRUNED_TOGETHER)
    assert len(ok(ada.get("/v1/conversations?limit=100"))["data"]) == MANY - PRUNED_TOGETHER


def test_forgotten_memories_have_receipts(up: Gateway, ada: httpx.Client) -> None:
    services: Services = up.services
    who = Principal("acme", str(ok(ada.get("/v1/me"))["id"]), "")
    one, *_ = [up.loop.do(services.memories.add(who, "friend", text)).id for text in ("Rows.", "Reads.", "Rides.")]
    ok(ada.delete(f"/v1/memories/{one}"))
    gone = ok(ada.delete("/v1/memories"))
    assert gone["deleted"] == 2
    found = ok(ada.get("/v1/me/deletions"))["data"]
    assert [(each["id"], each["kind"], each["deleted"]) for each in found] == [
        (gone["id"], "memories", 2),
        (one, "memory", 1),
    ]
    assert [len(logged(up, each["id"])) for each in found] == [1, 1]
    assert ok(ada.delete("/v1/memories"))["id"] is None


def test_receipts_are_listed_page_by_page_and_only_to_their_user(up: Gateway, ada: httpx.Client) -> None:
    made = [talk(ada) for _ in range(3)]
    for id in made:
        ok(ada.delete(f"/v1/conversations/{id}"))
    first = ok(ada.get("/v1/me/deletions?limit=2"))
    assert ([each["id"] for each in first["data"]], first["has_more"]) == (made[:0:-1], True)
    rest = ok(ada.get("/v1/me/deletions", params={"limit": 2, "after": first["last_id"]}))
    assert ([each["id"] for each in rest["data"]], rest["has_more"]) == (made[:1], False)
    for bad in ({"limit": "0"}, {"limit": "x"}, {"after": "del_none"}):
        assert ada.get("/v1/me/deletions", params=bad).status_code == 400, bad
    for tenant, user in (("acme", "other"), ("evil", str(ok(ada.get("/v1/me"))["id"]))):
        with _client(up, tenant, user) as other:
            assert ok(other.get("/v1/me/deletions"))["data"] == []
            ok(other.delete(f"/v1/conversations/{talk(other)}"))
            assert other.get(f"/v1/me/deletions/{made[0]}").status_code == 404
            assert other.get("/v1/me/deletions", params={"after": made[0]}).status_code == 400
