"""Checks and converts adapters of strangers in a child process, which can only change their folder.

`python -m serving.hub.adapter_child` reads a question from stdin and writes the answer to stdout.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import sysconfig
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from serving.core.child import Overrun, ask
from serving.core.confine import LIBRARIES, keep_to_files
from serving.hub.base_facts import BaseFacts
from serving.hub.names import GGUF, WEIGHTS

if TYPE_CHECKING:
    from serving.hub.adapter import AdapterFacts

CPU_S = 300
MEMORY_BYTES = 4 << 30
MEMORY_PER_BYTE = 12
"""Bytes of address space: for the libraries, and for each byte of the adapter. A file that lies about its sizes must
not take the memory of the process beside it.
"""
FILE_BYTES = 8 << 30
WALL_S = 900
_ANSWER_BYTES = 1 << 16


def prepare_adapter(folder: Path, base: BaseFacts) -> AdapterFacts:
    """Checks the adapter in a folder, of either format; one of PEFT's gets `adapter.gguf` beside it, if the base's
    architecture is known.

    Raises `InvalidAdapter`, also when the child exceeds its limits, and `OSError` when the disk is full.
    """
    from serving.hub.adapter import AdapterFacts, InvalidAdapter

    question = json.dumps({"folder": str(folder), "base": asdict(base)}).encode()
    try:
        answer = ask(__name__, question, bound=_ANSWER_BYTES, deadline=time.monotonic() + WALL_S)
        found: dict[str, Any] = json.loads(answer)
    except (Overrun, ValueError):
        raise InvalidAdapter("it needs more time or memory than an adapter should") from None
    if "disk" in found:
        raise OSError(found["disk"])
    if "invalid" in found:
        raise InvalidAdapter(found["invalid"])
    return AdapterFacts(**found)


def _base(document: dict[str, Any]) -> BaseFacts:
    shapes = {name: (out, into) for name, (out, into) in document["shapes"].items()}
    return BaseFacts(**(document | {"shapes": shapes}))


def _prepared(folder: Path, base: BaseFacts) -> dict[str, Any]:
    # After the confinement: threads that numpy starts would not have it.
    from serving.hub.adapter import InvalidAdapter, check_adapter, to_gguf
    from serving.hub.gguf_adapter import check_gguf

    try:
        if not (folder / WEIGHTS).exists():
            return asdict(check_gguf(folder / GGUF, base))
        facts = check_adapter(folder, base)
        if base.architecture is not None:
            to_gguf(folder, base, folder / GGUF)
        return asdict(facts)
    except InvalidAdapter as e:
        return {"invalid": str(e)}
    except OSError as e:
        return {"disk": e.strerror or type(e).__name__}


def main() -> None:
    question = json.loads(sys.stdin.buffer.read())
    folder = Path(question["folder"])
    os.environ["OPENBLAS_NUM_THREADS"] = "1"  # each thread reserves memory
    memory = MEMORY_BYTES + MEMORY_PER_BYTE * sum(file.stat().st_size for file in folder.iterdir())
    for kind, limit in (
        (resource.RLIMIT_CPU, CPU_S),
        (resource.RLIMIT_AS, memory),
        (resource.RLIMIT_FSIZE, FILE_BYTES),
        (resource.RLIMIT_CORE, 0),
    ):
        hard = resource.getrlimit(kind)[1]
        bound = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
        resource.setrlimit(kind, (bound, bound))
    packages = [Path(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib", "purelib", "platlib")]
    code = [Path(__file__).parents[1], Path(sys.base_prefix) / "lib", *packages, *LIBRARIES]
    keep_to_files(code, [folder])
    json.dump(_prepared(folder, _base(question["base"])), sys.stdout)


if __name__ == "__main__":
    main()
