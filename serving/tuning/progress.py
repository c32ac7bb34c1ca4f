"""What a child says: one line of JSON for each event, on the standard output that it was started with."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from typing import Any


class EventLog:
    """Writes events. From its creation on, whatever else is printed goes to standard error."""

    def __init__(self) -> None:
        sys.stdout.flush()
        self._out = os.fdopen(os.dup(1), "w", encoding="utf-8")
        os.dup2(2, 1)
        self._began = time.monotonic()

    def say(self, event: str, **fields: Any) -> None:
        """Writes one event, with the seconds since the child began."""
        seconds = round(time.monotonic() - self._began, 2)
        self._out.write(json.dumps({"event": event, "seconds": seconds, **fields}) + "\n")
        self._out.flush()


def end_with_parent() -> None:
    """Ends this process as soon as its standard input closes: whoever started it has ended, for whatever reason."""

    def wait() -> None:
        while os.read(0, 512):
            pass
        os._exit(1)

    threading.Thread(target=wait, daemon=True, name="parent").start()
