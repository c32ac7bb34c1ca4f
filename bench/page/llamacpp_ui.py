"""llama.cpp with its own web page, which lies in the locked wheel: `python -m bench.page.llamacpp_ui --port PORT`."""

from __future__ import annotations

import argparse
import signal

import xllamacpp

from infra.config import SMOLLM2
from serving.engines.source import resolve


def main() -> None:
    """Serves until terminated."""
    parser = argparse.ArgumentParser(description="llama.cpp with its web page")
    parser.add_argument("--port", type=int, required=True)
    options = parser.parse_args()
    # Blocked before any thread starts, so that no thread of the library receives the signal.
    ends = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, ends)
    params = xllamacpp.CommonParams()
    params.model.path = str(resolve(SMOLLM2.source, SMOLLM2.sha256))
    params.model_alias = [SMOLLM2.name]
    params.hostnames = ["127.0.0.1"]
    params.port = options.port
    params.n_ctx = SMOLLM2.context
    params.n_parallel = 1
    params.ui = True
    params.verbosity = 1
    server = xllamacpp.Server(params)
    signal.sigwait(ends)
    del server


if __name__ == "__main__":
    main()
