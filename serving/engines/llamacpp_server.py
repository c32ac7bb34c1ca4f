"""llama.cpp's HTTP server as a program: `python -m serving.engines.llamacpp_server`.

A replica runs it as its child, since making a server holds Python's lock for as long as the model loads, and since a
server only knows the adapters that it was made with. The child has a key, on an address of the node.

It is also KServe's ServingRuntime. It then listens on all addresses of its pod and requires no key: as for every KServe
model, network policies decide who can reach it.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from serving.config import Task

TASKS = ("chat", "embed", "rerank")
"""Each `Task`: importing the configuration would take longer than a small model takes to load."""

KEY = "HEADRACE_ENGINE_KEY"
"""Environment variable with the key that requests must have, if any."""


def arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """Parses the command line."""
    parser = argparse.ArgumentParser(prog="llamacpp_server", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--model", type=Path, required=True, help="the GGUF file")
    parser.add_argument("--name", required=True, help="the model's name in the API")
    parser.add_argument("--host", default="0.0.0.0", help="address to bind")  # noqa: S104 (in a pod of its own)
    parser.add_argument("--port", type=_port, default=8080, help="port to bind; 0 selects a free one")
    parser.add_argument("--context", type=_positive, default=8192, help="tokens, shared by all slots")
    parser.add_argument("--slots", type=_positive, default=4, help="requests decoded at once")
    parser.add_argument("--threads", type=_positive, default=1)
    parser.add_argument("--task", choices=TASKS, default="chat", help="task of the model")
    parser.add_argument(
        "--pooling", choices=("mean", "cls", "last"), help="pooling of an embedder; by default the file's"
    )
    parser.add_argument(
        "--adapter",
        type=Path,
        action="append",
        default=[],
        help="GGUF file of a LoRA adapter; its id in requests is its position. By default none of them is applied",
    )
    parser.add_argument(
        "--reuse", action="store_true", help="keep what a slot has read, for callers who name their slot"
    )
    return parser.parse_args(argv)


def _port(value: str) -> int:
    return 0 if value == "0" else _positive(value)


def _positive(value: str) -> int:
    number = int(value)
    if number < 1:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return number


def start(args: argparse.Namespace, keys: Sequence[str] = ()) -> Any:
    """Starts the server and returns it once the model is loaded. It stops when the object is deleted.

    With `keys`, requests must have one of them. Raises `FileNotFoundError`.
    """
    if not args.model.is_file():
        raise FileNotFoundError(f"there is no file {args.model}")
    return serve(
        args.model,
        args.name,
        args.host,
        args.port,
        keys,
        context=args.context,
        slots=args.slots,
        threads=args.threads,
        reuse=args.reuse,
        task=args.task,
        pooling=args.pooling,
        adapters=args.adapter,
    )


def serve(
    file: Path,
    name: str,
    host: str,
    port: int,
    keys: Sequence[str],
    *,
    context: int,
    slots: int,
    threads: int,
    reuse: bool = True,
    task: Task = "chat",
    pooling: str | None = None,
    adapters: Sequence[Path] = (),
) -> Any:
    """Starts llama.cpp's server with one GGUF file, and returns it with the model loaded.

    `context` is the number of tokens shared by all `slots` (requests decoded at once). Port 0 selects a free one.
    Without `reuse`, each prompt is read from its beginning, whatever its slot has read before, as required where the
    owner of cached prompts is unknown. A model whose `task` is not chat reads each text in one pass, so that no text
    can have more tokens than a slot; `pooling` combines the vectors of a text's tokens, by default as the file
    specifies. The position of one of the `adapters` is its id in a request's field `lora`; a request without the field
    is answered by the model alone. Raises `RuntimeError`, whose reason is in llama.cpp's log.
    """
    import xllamacpp  # loads the native library, which only processes with a model need

    params = xllamacpp.CommonParams()
    params.model.path = str(file)
    params.model_alias = [name]
    params.hostnames = [host]
    params.port = port
    params.api_keys = list(keys)
    params.n_ctx = context
    params.n_parallel = slots
    params.cpuparams.n_threads = threads
    params.cpuparams_batch.n_threads = threads
    params.n_threads_http = slots + 4
    params.cache_prompt = reuse
    params.cache_ram_mib = 0  # the prompt cache in addition to the slots would grow to 8 GiB
    params.endpoint_metrics = True
    params.endpoint_slots = False
    params.ui = False
    params.verbosity = 1
    # With `lora_init_without_apply`, a request without the field would get the sum of all adapters.
    params.lora_adapters = [xllamacpp.CommonAdapterLoraInfo(str(adapter), 0.0) for adapter in adapters]
    if task != "chat":
        params.embedding = True
        # Otherwise, texts of unequal length that slots read together are split over two passes, and a vector is made
        # only of the tokens in the last one (seen: cosine 0.83 to the vector of the text read by itself).
        params.kv_unified = True
        params.cache_prompt = False
        params.n_batch = params.n_ubatch = context // slots
        kinds = xllamacpp.llama_pooling_type
        kind = "RANK" if task == "rerank" else (pooling or "unspecified").upper()
        params.pooling_type = kinds[f"LLAMA_POOLING_TYPE_{kind}"]
    return xllamacpp.Server(params)


def main() -> int:
    """Serves until SIGTERM or SIGINT."""
    args = arguments()
    # Blocked before any thread starts, so that no thread of the library receives the signal and ends the process.
    ends = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, ends)
    try:
        server = start(args, [key] if (key := os.environ.get(KEY)) else ())
    except (FileNotFoundError, RuntimeError) as e:
        print(f"llamacpp_server: {e}", file=sys.stderr)
        return 1
    print(f"serving {args.name} at {server.listening_address}", flush=True)
    signal.sigwait(ends)
    del server
    return 0


if __name__ == "__main__":
    sys.exit(main())
