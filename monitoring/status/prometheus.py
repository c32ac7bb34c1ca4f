"""A client of Prometheus's HTTP API."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import httpx

from monitoring.status.problem import Problem

TIMEOUT_S = 10.0
CONNECTIONS = 8
"""Most concurrent queries: a page has 28 panels, and Prometheus has other clients."""
MOST_SERIES = 200
"""Most series of one query: more make no readable chart."""


class Prometheus:
    """A Prometheus server; its URL may have a path."""

    def __init__(self, url: str, timeout_s: float = TIMEOUT_S) -> None:
        self.url = url.rstrip("/")
        self._timeout_s = timeout_s
        self._http = httpx.AsyncClient(
            base_url=f"{self.url}/api/v1/",
            timeout=httpx.Timeout(timeout_s, pool=6 * timeout_s),
            limits=httpx.Limits(max_connections=CONNECTIONS),
            trust_env=False,
        )

    async def close(self) -> None:
        await self._http.aclose()

    async def range(self, expression: str, start: float, end: float, step: int) -> list[dict[str, Any]]:
        """Returns series with `metric` and `values`; raises `Problem`."""
        asked = {"query": expression, "start": start, "end": end, "step": step}
        found: list[dict[str, Any]] = (await self._ask("query_range", asked))["result"]
        return found

    async def instant(self, expression: str) -> list[dict[str, Any]]:
        """Returns series with `metric` and the current `value`; raises `Problem`."""
        data = await self._ask("query", {"query": expression})
        if data["resultType"] == "scalar":
            return [{"metric": {}, "value": data["result"]}]
        found: list[dict[str, Any]] = data["result"]
        return found

    async def label_values(self, label: str, selector: str, start: float, end: float) -> list[str]:
        """Returns the values of `label` on the series that `selector` finds between two times; raises `Problem`."""
        found: list[str] = await self._ask(
            f"label/{label}/values", {"match[]": selector, "start": start, "end": end}, post=False
        )
        return sorted(found)

    async def _ask(self, path: str, asked: Mapping[str, Any], *, post: bool = True) -> Any:
        """Returns the `data` of a response. Queries are posted, since long ones do not fit into a URL."""
        late = Problem(504, f"Prometheus did not answer within {self._timeout_s:g} s; choose a shorter range")
        try:
            if post:
                answer = await self._http.post(path, data={**asked, "timeout": f"{self._timeout_s:g}s"})
            else:
                answer = await self._http.get(path, params=asked)
            if answer.status_code == 503 and "json" not in answer.headers.get("content-type", ""):
                raise Problem(502, f"Prometheus at {self.url} is not ready yet; it is loading its data")
            body = answer.json()
        except httpx.TimeoutException as error:
            raise late from error
        except httpx.HTTPError as error:
            why = " ".join(str(error).split()) or type(error).__name__
            raise Problem(502, f"Prometheus at {self.url} does not answer: {why}") from error
        except ValueError as error:
            raise Problem(502, f"the server at {self.url} is not Prometheus (HTTP {answer.status_code})") from error
        if not _is_prometheus_answer(body, query=post):
            raise Problem(502, f"the server at {self.url} is not Prometheus (HTTP {answer.status_code})")
        if body["status"] == "error":
            if body.get("errorType") in ("timeout", "canceled"):
                raise late
            raise Problem(502, f"Prometheus rejected the query: {' '.join(str(body.get('error')).split())[:300]}")
        data = body["data"]
        if post and len(data["result"]) > MOST_SERIES:
            raise Problem(
                422,
                f"the panel has {len(data['result'])} series, more than {MOST_SERIES}; choose fewer in its fields",
            )
        return data


def _is_prometheus_answer(body: object, *, query: bool) -> bool:
    """Returns whether a response has the form of Prometheus's to a query, or to a request for label values."""
    match body:
        case {"status": "error"}:
            return True
        case {"status": "success", "data": {"resultType": _, "result": [*_]}}:
            return query
        case {"status": "success", "data": [*_]}:
            return not query
    return False
