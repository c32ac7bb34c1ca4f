"""llama.cpp alone, with the parameters of a model replica: prints `{"url", "key"}` and serves until terminated."""

from __future__ import annotations

import asyncio
import json

from infra.config import SMOLLM2
from serving.engines.llamacpp import LlamaCppReplica


async def main() -> None:
    """Starts the server, prints its address, and serves."""
    async for granted in LlamaCppReplica(SMOLLM2).lease("bench", "bench"):
        print(json.dumps(granted), flush=True)


if __name__ == "__main__":
    asyncio.run(main())
