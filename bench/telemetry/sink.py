"""`python -m bench.telemetry.sink --port 9721`: a receiver of traces that discards them.

Each sender has its own path, `/from/NAME`; `/taken` returns how many bytes each has sent.
"""

from __future__ import annotations

import argparse
from collections import Counter

from aiohttp import web

PORT = 9721


TAKEN = web.AppKey("taken", Counter)


async def _receive(request: web.Request) -> web.Response:
    request.app[TAKEN][request.match_info["name"]] += len(await request.read())
    return web.Response()


async def _received_bytes(request: web.Request) -> web.Response:
    return web.json_response(request.app[TAKEN])


def main() -> None:
    """Serves until terminated."""
    parser = argparse.ArgumentParser(description="a receiver of traces")
    parser.add_argument("--port", type=int, default=PORT)
    app = web.Application(client_max_size=10**8)
    app[TAKEN] = Counter()
    app.router.add_post("/from/{name}", _receive)
    app.router.add_get("/taken", _received_bytes)
    web.run_app(app, host="127.0.0.1", port=parser.parse_args().port, print=None, access_log=None)


if __name__ == "__main__":
    main()
