"""A gateway replica as a process: `python -m tests.contract.monitoring.accountant.gateway`, with five arguments.

FOLDER holds the database, the files `hash` and `key`, and gets the log of requests, `requests-PORT.log`. ENGINE is the
port of the scripted engine, NOBODY one where nobody listens, and STACK the module that says what is served. They are
given as FOLDER PORT ENGINE NOBODY STACK. Metrics go to PROMETHEUS_MULTIPROC_DIR.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from importlib import import_module
from pathlib import Path

import uvicorn

from serving.api import state_sampler
from serving.api.app import Api
from serving.api.services import Services
from serving.config import SecretRef, ServingConfig, Store
from serving.telemetry.logs import JsonFormatter

SAMPLED_S = 0.5
"""How often gauges of the store's state are read: a stack waits half a minute."""


def log_to(path: Path) -> None:
    """Writes the log of requests as a replica writes it, a JSON object per line."""
    handler = logging.FileHandler(path)
    handler.setFormatter(JsonFormatter({}))
    logger = logging.getLogger("headrace.requests")
    logger.setLevel(logging.INFO)
    logger.addHandler(handler)
    logger.propagate = False


async def main(folder: str, port: str, engine: str, nobody: str, module: str) -> None:
    state_sampler.PERIOD_S = SAMPLED_S
    stack = import_module(module)
    log_to(Path(folder) / f"requests-{port}.log")
    config = ServingConfig(
        store=Store(database=f"sqlite:///{folder}/h.db", data=folder),
        key_secret=SecretRef(ref=f"file:{folder}/hash"),
        bootstrap_key=SecretRef(ref=f"file:{folder}/key"),
        limits=stack.LIMITS,
    )
    catalog = stack.catalog(int(engine), int(nobody), Path(folder))
    services = Services(config, *await stack.deployments(config, catalog))
    await services.start()
    services.configure(catalog)
    await uvicorn.Server(uvicorn.Config(Api(services), port=int(port), log_level="critical", lifespan="off")).serve()
    await services.close()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
