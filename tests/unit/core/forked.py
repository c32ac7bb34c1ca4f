"""The server that test_fork_server.py asks: the questions are programs, which print what they find."""

from __future__ import annotations

import sys

from serving.core.fork_server import IDLE_S, serve

SEEN: list[str] = []


def answer() -> None:
    exec(sys.stdin.read(), {"seen": SEEN})


if __name__ == "__main__":
    serve(answer, idle_s=float(sys.argv[1]) if sys.argv[1:] else IDLE_S)
