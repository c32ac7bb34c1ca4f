"""A client of Prometheus's HTTP API."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import aiohttp
import orjson

from serving.config import PrometheusServer

TIMEOUT_S = 10.0
"""Maximum time of one query."""
CONNECTIONS = 8
"""Maximum number of concurrent queries: a dashboard has 28 panels, and Prometheus has other clients."""
MAX_SERIES = 100
"""Maximum number of series of one query: more make no readable chart."""
MAX_ANSWER = 8 * 1024 * 1024
"""Maximum size of an answer in bytes; of 100 series with 300 points each it is about 1 MiB."""


class PrometheusUnavailable(Exception):
    """There is no Prometheus, or it does not answer. The message says which, for operators."""


class QueryFailed(Exception):
    """Prometheus answers, but not this query. The message says why, for operators."""


class PrometheusClient:
    """A Prometheus server. The client belongs to the event loop of its first request."""

    def __init__(self, server: PrometheusServer, timeout_s: float = TIMEOUT_S) -> None:
        self._url = server.url.rstrip("/")
        self.namespace = server.namespace
        self._timeout_s = timeout_s
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        """Closes all connections."""
        if self._session is not None:
            await self._session.close()

    async def range(self, expression: str, start: int, end: int, step: int) -> list[dict[str, Any]]:
        """Returns series with `metric` and `values`. Times are Unix seconds.

        Raises `PrometheusUnavailable` and `QueryFailed`.
        """
        times = {"start": str(start), "end": str(end), "step": str(step)}
        series: list[dict[str, Any]] = (await self._query("query_range", {"query": expression, **times}))["result"]
        return series

    async def instant(self, expression: str, at: int) -> list[dict[str, Any]]:
        """Returns series with `metric` and the `value` at a time in Unix seconds; raises as `range`."""
        data = await self._query("query", {"query": expression, "time": str(at)})
        if data["resultType"] == "scalar":
            return [{"metric": {}, "value": data["result"]}]
        series: list[dict[str, Any]] = data["result"]
        return series

    async def label_values(self, label: str, selector: str, start: int, end: int) -> list[str]:
        """Returns the values of `label` on the series that `selector` finds between two times; raises as `range`."""
        query = {"match[]": selector, "start": str(start), "end": str(end)}
        values: list[str] = await self._ask("GET", f"label/{label}/values", params=query)
        return sorted(values)

    async def alerts(self) -> list[dict[str, Any]]:
        """Returns the active alerts of its rules, with `labels`, filled `annotations`, `state` and `activeAt`.

        Raises as `range`; a server that only answers queries has none, or is unavailable for this.
        """
        active: list[dict[str, Any]] = await self._ask("GET", "alerts")
        return active

    async def _query(self, path: str, form: Mapping[str, str]) -> dict[str, Any]:
        """Evaluates a query, which is posted, since long ones do not fit into a URL."""
        limits = {"timeout": f"{self._timeout_s:g}s", "limit": str(MAX_SERIES + 1)}
        data: dict[str, Any] = await self._ask("POST", path, data={**form, **limits})
        if len(data["result"]) > MAX_SERIES:
            raise QueryFailed(f"There are more than {MAX_SERIES} series: choose fewer by the filters.")
        return data

    async def _ask(self, method: str, path: str, **request: Any) -> Any:
        """Returns the `data` of an answer."""
        if not self._url:
            raise PrometheusUnavailable("This stack has no Prometheus: headrace:prometheus.url names one.")
        url = f"{self._url}/api/v1/{path}"
        try:
            async with self._connections().request(method, url, allow_redirects=False, **request) as response:
                answer = await response.content.read(MAX_ANSWER + 1)
                while len(answer) <= MAX_ANSWER and (more := await response.content.read(MAX_ANSWER)):
                    answer += more
        except aiohttp.ConnectionTimeoutError as e:
            raise PrometheusUnavailable(f"Prometheus at {self._url} does not answer.") from e
        except TimeoutError:
            raise QueryFailed(f"Prometheus did not answer in {self._timeout_s:g} s: choose a shorter range.") from None
        except aiohttp.ClientError as e:
            raise PrometheusUnavailable(f"Prometheus at {self._url} does not answer.") from e
        if len(answer) > MAX_ANSWER:
            raise QueryFailed("There is too much data: choose a shorter range, or fewer series by the filters.")
        return _data_of(_parsed(answer), self._url, query=method == "POST")

    def _connections(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=CONNECTIONS),
                # Without a limit on waiting for one of the connections: those before it are limited.
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=self._timeout_s, sock_read=self._timeout_s),
            )
        return self._session


def _parsed(answer: bytes) -> object:
    try:
        parsed: object = orjson.loads(answer)
    except orjson.JSONDecodeError:
        return None
    return parsed


def _data_of(body: object, url: str, *, query: bool) -> Any:
    """Returns the data of Prometheus's answer to a query, or to a request for label values or alerts."""
    match body:
        case {"status": "success", "data": {"resultType": _, "result": [*_]} as data} if query:
            return data
        case {"status": "success", "data": [*_] as data} if not query:
            return data
        case {"status": "success", "data": {"alerts": [*_] as data}} if not query:
            return data
        case {"status": "error", "errorType": "timeout" | "canceled"}:
            raise QueryFailed("Prometheus gave the query up: choose a shorter range.")
        case {"status": "error", "error": str(why)}:
            raise QueryFailed(f"Prometheus rejects the query: {' '.join(why.split())[:300]}")
    raise PrometheusUnavailable(f"The server at {url} is no Prometheus, or is not ready yet.")


async def gather(*queries: Any) -> list[Any]:
    """Returns the results of queries that run at once; the first to fail ends the others."""
    tasks = [asyncio.ensure_future(query) for query in queries]
    try:
        return list(await asyncio.gather(*tasks))
    except BaseException:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        raise
