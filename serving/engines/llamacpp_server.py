"""llama.cpp as a server of its own, for KServe's ServingRuntime: `python -m serving.engines.llamacpp_server`.

The same library and settings as in a replica. It answers on every address of its pod, and asks for no key: who may
reach it is decided by network policies, as for every KServe model.
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
    """Reads the command line."""
    parser = argparse.ArgumentParser(prog="llamacpp_server", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--model", type=Path, required=True, help="the GGUF file")
    parser.add_argument("--name", required=True, help="the model's name in the API")
    parser.add_argument("--host", default="0.0.0.0", help="address to bind")  # noqa: S104 (in a pod of its own)
    parser.add_argument("--port", type=_positive, default=8080)
    parser.add_argument("--context", type=_positive, default=8192, help="tokens, shared by all slots")
    parser.add_argument("--slots", type=_positive, default=4, help="requests decoded together")
    parser.add_argument("--threads", type=_positive, default=1)
    parser.add_argument("--task", choices=get_args(Task), default="chat", help="what the model does")
    parser.add_argument("--pooling", choices=("mean", "cls", "last"), help="to embed: by default what the file says")
    return parser.parse_args(argv)


def _positive(value: str) -> int:
    number = int(value)
    if number < 1:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return number


def start(args: argparse.Namespace, keys: Sequence[str] = ()) -> Any:
    """Starts the server and returns it once the model is loaded. It ends when the object goes.

    With `keys` it answers only who brings one of them.

    Raises `FileNotFoundError`.
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
    """Returns llama.cpp's server with one GGUF file, the model loaded.

    `context` counts tokens, shared by all `slots` (requests decoded together). Port 0 is any free one. Without `reuse`
    each prompt is read from its beginning, whatever its slot read before: so it must be where nobody knows whose that
    was. A model whose `task` is not to chat reads each text at once, so that no text has more tokens than a slot; what
    makes one vector of a text's is `pooling`, by default what the file says.
    """
    import xllamacpp  # loads the native library: only where a model runs

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
    params.cache_ram_mib = 0  # the prompt cache beside the slots would grow to 8 GiB
    params.endpoint_metrics = True
    params.endpoint_slots = False
    params.ui = False
    params.verbosity = 1
    if task != "chat":
        params.embedding = True
        # Else texts of unequal length that slots read together are cut between two passes, and a vector is made of the
        # tokens of the last one alone (seen: cosine 0.83 with the vector of the text read by itself).
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
    # Blocked before any thread starts, so that no thread of the library takes the signal and dies of it.
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
