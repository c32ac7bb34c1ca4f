"""Sends events to webhooks, signed by the Standard Webhooks scheme.

Source: the Standard Webhooks specification 1.0.0 (headers, symmetric signatures, secrets).
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac

import aiohttp
import orjson
from yarl import URL

from serving.assistants.tools.sockets import GuardedSockets
from serving.core.ids import now
from serving.store.background.webhooks import DELAYS_S, DELIVER, Webhook, Webhooks
from serving.store.errors import NotFound
from serving.store.jobs.counted import counted
from serving.store.jobs.job import Json
from serving.store.jobs.queue import Jobs
from serving.store.jobs.worker import ExternalError, Handler, JobContext, Worker

TIMEOUT_S = 15.0

AT_ONCE = 16
"""Number of events that a gateway sends at once."""

EACH_AT_ONCE = 4
"""Number of them that one tenant may have: a receiver can be slow on purpose."""


class NotDelivered(Exception):
    """The receiver did not accept the event; the message has the reason, without the receiver's answer."""


class WebhookSender:
    """The job that sends one event. It may be sent twice: receivers recognise it by `webhook-id`."""

    def __init__(self, store: Webhooks) -> None:
        self._store = store
        self.handlers: dict[str, Handler] = {DELIVER: counted(self._deliver)}

    def worker(self, jobs: Jobs) -> Worker:
        """Returns the worker of a gateway."""
        return Worker(jobs, self.handlers, lane="", concurrency=AT_ONCE, each=EACH_AT_ONCE)

    async def _deliver(self, context: JobContext) -> Json | None:
        job = context.job
        try:
            webhook = await self._store.get(job.tenant, job.payload["webhook_id"])
        except NotFound:  # it was deleted
            return None
        try:
            return {"status": await _send(webhook, job.payload["event"])}
        except NotDelivered as e:
            delay_s = DELAYS_S[min(job.attempts, len(DELAYS_S)) - 1]
            raise ExternalError("not_delivered", str(e), delay_s) from None


async def _send(webhook: Webhook, event: Json) -> int:
    """Sends an event; raises `NotDelivered` unless it was accepted. Redirects are not followed."""
    body, at = orjson.dumps(event), int(now())
    headers = {
        "Content-Type": "application/json",
        "User-Agent": "headrace",
        "webhook-id": event["id"],
        "webhook-timestamp": str(at),
        "webhook-signature": " ".join(sign(secret, event["id"], at, body) for secret in webhook.secrets(at)),
    }
    sockets = GuardedSockets(webhook.private)
    connector = aiohttp.TCPConnector(socket_factory=sockets, use_dns_cache=False, force_close=True)
    session = aiohttp.ClientSession(
        connector=connector, cookie_jar=aiohttp.DummyCookieJar(), timeout=aiohttp.ClientTimeout(total=None)
    )
    try:
        async with asyncio.timeout(TIMEOUT_S), session:
            url = URL(webhook.url, encoded=True)
            async with session.post(url, data=body, headers=headers, allow_redirects=False) as response:
                status = response.status
    except (aiohttp.ClientError, TimeoutError, ValueError) as e:
        why = "its address is not allowed" if sockets.refused else type(e).__name__
        raise NotDelivered(f"the receiver cannot be reached: {why}") from None
    if not 200 <= status < 300:
        raise NotDelivered(f"the receiver answered with the status {status}")
    return status


def sign(secret: str, id: str, at: int, body: bytes) -> str:
    """Returns the signature of a delivery at unix time `at`."""
    key = base64.b64decode(secret.removeprefix("whsec_"))
    return "v1," + base64.b64encode(hmac.digest(key, f"{id}.{at}.".encode() + body, hashlib.sha256)).decode()
