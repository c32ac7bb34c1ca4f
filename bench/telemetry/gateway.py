"""A gateway alone, with the given parts of its telemetry.

    python -m bench.telemetry.gateway FOLDER --port PORT --upstream PORT [--silent | --log] [--traces URL [--every]]

FOLDER contains the files `hash` and `key`. With `PROMETHEUS_MULTIPROC_DIR` set, its metrics are in files, as
they are in a stack. `--silent` disables counting altogether, which no stack can do.
"""

from __future__ import annotations

import argparse
import gc
import logging
from logging.handlers import RotatingFileHandler
from pathlib import Path

import uvicorn
import uvloop

from bench.telemetry import ASSISTANT
from bench.telemetry.disabled_metrics import disable_metrics
from serving.api.app import Api
from serving.api.services import Services
from serving.config import Assistant, Catalog, RemoteModel, SecretRef, ServingConfig, Store, Tracing
from serving.telemetry import logs

LOG_BYTES, LOG_FILES = 100_000_000, 5
"""As for Ray Serve's own log files."""


def keep_log(folder: Path) -> None:
    """Writes request lines as a replica does, in addition to a file like Ray Serve's."""
    serve_handler = RotatingFileHandler(folder / "serve.log", maxBytes=LOG_BYTES, backupCount=LOG_FILES)
    logging.getLogger(logs.SERVE).addHandler(serve_handler)
    logs.keep("requests.log", {"application": "headrace", "deployment": "Gateway", "replica": "bench"})


async def serve(folder: Path, port: int, upstream: int, tracing: Tracing) -> None:
    """Serves until terminated."""
    config = ServingConfig(
        store=Store(database=f"sqlite:///{folder}/h.db", data=str(folder)),
        key_secret=SecretRef(ref=f"file:{folder}/hash"),
        bootstrap_key=SecretRef(ref=f"file:{folder}/key"),
        tracing=tracing,
    )
    services = Services(config, None, lambda name: None)  # type: ignore[arg-type,return-value]
    await services.start()
    model = RemoteModel(name="scripted", url=f"http://127.0.0.1:{upstream}/v1")
    assistant = Assistant(name=ASSISTANT, model=model.name, prompt="Be brief.", capture="none")
    services.configure(Catalog(models=(model,), assistants=(assistant,)))
    gc.collect()
    gc.freeze()  # as Ray Serve does with a started replica
    await uvicorn.Server(uvicorn.Config(Api(services), port=port, log_level="critical", lifespan="off")).serve()
    await services.close()


def main() -> None:
    """Runs one gateway."""
    parser = argparse.ArgumentParser(description="a gateway alone")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--upstream", type=int, required=True)
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--silent", action="store_true", help="disable metrics")
    how.add_argument("--log", action="store_true", help="write a line for each request")
    parser.add_argument("--traces", help="URL of an OTLP receiver")
    parser.add_argument("--every", action="store_true", help="trace every request")
    options = parser.parse_args()
    if options.silent:
        disable_metrics()
    if options.log:
        keep_log(options.folder)
    tracing = Tracing(endpoint=options.traces, **({"per_second": 1000} if options.every else {}))
    uvloop.run(serve(options.folder, options.port, options.upstream, tracing))


if __name__ == "__main__":
    main()
