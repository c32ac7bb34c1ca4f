"""The whole platform as one process: `python -m tests.contract.campaigns.amplification.server FOLDER ENGINE POOLING`.

ENGINE and POOLING are ports of scripted engines. FOLDER gets the database, the data, `log` and `url`, and ends with
the process when its standard input does.
"""

from __future__ import annotations

import logging
import sys
from pathlib import Path

from serving.config import (
    AdapterBounds,
    Alias,
    Assistant,
    Catalog,
    FactsMemory,
    LlamaCppModel,
    Managed,
    RemoteModel,
    Tuning,
)
from serving.retrieval.replica import RetrievalReplica
from serving.telemetry.logs import LOGGERS, JsonFormatter, LogFile
from tests.contract.routes.whole import Retrieval
from tests.contract.running import Loop, gateway
from tests.hub.adapters import write_base


def catalog(folder: Path, engine: str, pooling: str) -> Catalog:
    """Models of the scripted engines, an assistant with memories, a managed alias, and a base that is never loaded."""
    model = RemoteModel(name="m", url=f"http://127.0.0.1:{engine}/v1", tokenizer="vllm")
    base = LlamaCppModel(name="based", source=f"file://{write_base(folder / 'base.gguf')}", adapters=AdapterBounds())
    ranks = RemoteModel(name="ranks", url=f"http://127.0.0.1:{pooling}/v1", task="rerank")
    return Catalog(
        models=(model, model.model_copy(update={"name": "other"}), ranks, base),
        aliases=(Alias(name="managed", managed=Managed(base="m")),),
        assistants=(Assistant(name="facts", model="m", memory=FactsMemory()),),
    )


def main(folder: Path, engine: str, pooling: str) -> None:
    """Serves until the standard input ends."""
    handler = LogFile(folder / "log", JsonFormatter({}), max_bytes=0, backups=0)
    for logger in map(logging.getLogger, LOGGERS):  # as `logs.keep` does beside Ray Serve's file
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
    retrieval = Retrieval()
    with (
        Loop() as loop,
        gateway(loop, folder, catalog(folder, engine, pooling), retrieval=retrieval, tuning=Tuning(enabled=True)) as up,
    ):
        retrieval.replica = RetrievalReplica(up.services.config)
        loop.do(retrieval.replica.start())
        (folder / "url").write_text(up.url)
        sys.stdin.read()
        loop.do(retrieval.replica._database.close())


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
