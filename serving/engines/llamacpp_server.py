"""llama.cpp as a standalone server, for KServe's ServingRuntime: `python -m serving.engines.llamacpp_server`.

It uses the same library and settings as a replica. It listens on all addresses of its pod and requires no key: as for
every KServe model, network policies decide who can reach it.
"""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

from serving.config import Task


def arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """Parses the command line."""
    parser = argparse.ArgumentParser(prog="llamacpp_server", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--model", type=Path, required=True, help="the GGUF file")
    parser.add_argument("--name", required=True, help="the model's name in the API")
    parser.add_argument("--host", default="0.0.0.0", help="address to bind")  # noqa: S104 (in a pod of its own)
    parser.add_argument("--port", type=_positive, default=8080)
    parser.add_argument("--context", type=_positive, default=8192, help="tokens, shared by all slots")
    parser.add_argument("--slots", type=_positive, default=4, help="requests decoded at once")
    parser.add_argument("--threads", type=_positive, default=1)
    parser.add_argument("--task", choices=get_args(Task), default="chat", help="task of the model")
    parser.add_argument(
        "--pooling", choices=("mean", "cls", "last"), help="pooling of an embedder; by default the file's"
    )
    return parser.parse_args(argv)


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
        reuse=False,
        task=args.task,
        pooling=args.pooling,
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
) -> Any:
    """Starts llama.cpp's server with one GGUF file, and returns it with the model loaded.

    `context` is the number of tokens shared by all `slots` (requests decoded at once). Port 0 selects a free one.
    Without `reuse`, each prompt is read from its beginning, whatever its slot has read before, as required where the
    owner of cached prompts is unknown. A model whose `task` is not chat reads each text in one pass, so that no text
    can have more tokens than a slot; `pooling` combines the vectors of a text's tokens, by default as the file
    specifies.
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
        server = start(args)
    except (FileNotFoundError, RuntimeError) as e:
        print(f"llamacpp_server: {e}", file=sys.stderr)
        return 1
    print(f"serving {args.name} at {server.listening_address}", flush=True)
    signal.sigwait(ends)
    del server
    return 0


if __name__ == "__main__":
    sys.exit(main())
