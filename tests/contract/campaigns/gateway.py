"""A gateway replica as a process: `python -m tests.contract.campaigns.gateway DATABASE FOLDER PORT ENGINE_PORT`.

FOLDER holds the files `hash` and `key`. Whoever started it may kill it: it says nothing and cleans nothing up.
"""

from __future__ import annotations

import asyncio
import sys
from decimal import Decimal

import uvicorn

from serving.api.app import Api
from serving.api.services import Services
from serving.config import Catalog, Price, RemoteModel, SecretRef, ServingConfig, Store

PRICE = Price(input=Decimal(3), output=Decimal(15))


async def main(database: str, folder: str, port: str, engine_port: str) -> None:
    config = ServingConfig(
        store=Store(database=database, data=folder),
        key_secret=SecretRef(ref=f"file:{folder}/hash"),
        bootstrap_key=SecretRef(ref=f"file:{folder}/key"),
    )
    services = Services(config, None, lambda name: None)  # type: ignore[arg-type,return-value]
    await services.start()
    model = RemoteModel(name="m", url=f"http://127.0.0.1:{engine_port}/v1", tokenizer="vllm", price=PRICE)
    services.configure(Catalog(models=(model,)))
    await uvicorn.Server(uvicorn.Config(Api(services), port=int(port), log_level="critical", lifespan="off")).serve()
    await services.close()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
