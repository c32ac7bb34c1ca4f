"""`vllm serve` on a CPU: the flags of vLLM's own command line, and llama.cpp behind them.

It takes what the pinned vLLM takes and refuses what it would refuse: unknown flags, values out of its choices, a port
that is taken. TWIN_SAYS is a line for its log, TWIN_STATUS ends it with that status after it.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

from serving.engines import llamacpp_server

FLAGS = Path(__file__).with_name("vllm-0.33.0-flags.txt").read_text(encoding="utf-8").split()
"""Of `vllm serve`, read from vllm/engine/arg_utils.py and vllm/entrypoints/common/cli_args.py of the release."""

SWITCHES = {"--disable-uvicorn-access-log", "--enable-lora", "--enforce-eager"}

VALUES = {
    "--dtype": {"auto", "half", "float16", "bfloat16", "float", "float32"},
    "--max-lora-rank": {"1", "8", "16", "32", "64", "128", "256", "320", "512"},
    "--distributed-executor-backend": {"ray", "mp", "uni", "external_launcher"},
}
"""`ModelDType` in vllm/config/model.py, `MaxLoRARanks` in lora.py, `DistributedExecutorBackend` in parallel.py."""


def parse(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="vllm serve")
    parser.add_argument("model_tag")
    for flag in FLAGS:
        if flag in SWITCHES:
            parser.add_argument(flag, action="store_true")
        elif flag == "--lora-modules":
            parser.add_argument(flag, nargs="+", type=json.loads)
        else:
            parser.add_argument(flag, choices=VALUES.get(flag))
    return parser.parse_args(argv)


def main() -> int:
    command, *argv = sys.argv[1:]
    assert command == "serve"
    args = parse(argv)
    print(os.environ.get("TWIN_SAYS", "twin of vLLM"), file=sys.stderr, flush=True)
    if status := os.environ.get("TWIN_STATUS"):
        return int(status)
    # Like vLLM, it binds before it loads the model, and says so as Python does.
    with socket.socket() as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        s.bind((args.host, int(args.port)))
    # Like vLLM, it has a process of its own that holds the model.
    worker = subprocess.Popen(["sleep", "3600"])
    ends = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, ends)
    own = ["--model", args.model_tag, "--name", args.served_model_name, "--host", args.host, "--port", args.port]
    own += ["--context", args.max_model_len or "1024", "--slots", args.max_num_seqs]
    server = llamacpp_server.start(llamacpp_server.arguments(own), [os.environ["VLLM_API_KEY"]])
    signal.sigwait(ends)
    del server
    worker.kill()
    worker.wait()
    return 0


if __name__ == "__main__":
    sys.exit(main())
