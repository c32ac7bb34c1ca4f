"""The log of a replica: one JSON object per line, with the keys of Ray Serve's own JSON lines.

It is a separate file beside Ray Serve's log for the replica, which is written a thousand lines at a time, has only one
level, and takes three times as long per line.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterable, Mapping
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Any, TextIO

import orjson

LOGGERS = ("headrace", "serving")
"""Root of all loggers of Headrace."""

SERVE = "ray.serve"
"""Ray Serve's logger."""

RAY = "ray"
"""Ray's own logger, which writes plain text to stderr."""

_OWN = frozenset(logging.makeLogRecord({}).__dict__) | {"asctime", "message"}


class JsonFormatter(logging.Formatter):
    """Formats records with their `extra` values, and with `fields` that are the same on each line.

    If `extra` has only the key `fields`, a mapping, its items are added: Python would process them one by one.
    """

    def __init__(self, fields: Mapping[str, str]) -> None:
        super().__init__()
        self._fields = dict(fields)
        self._second = (0, "")

    def format(self, record: logging.LogRecord) -> str:
        """Returns the line, without its end."""
        return self.line(record).decode()

    def line(self, record: logging.LogRecord) -> bytes:
        """Returns the same as bytes."""
        line: dict[str, object] = {
            "asctime": f"{self._time(record)},{int(record.msecs):03d}",
            "levelname": record.levelname,
            "message": record.getMessage(),
            "logger": record.name,
            "filename": record.filename,
            "lineno": record.lineno,
            "process": record.process,
            **self._fields,
        }
        own = record.__dict__.get("fields")
        line |= own or {name: value for name, value in record.__dict__.items() if name not in _OWN}
        if record.exc_info:
            line["exc_text"] = self.formatException(record.exc_info)
        line["timestamp_ns"] = time.time_ns()
        try:
            return orjson.dumps(line, default=str)
        except TypeError:  # an unpaired surrogate, or a number beyond 64 bits
            return json.dumps(line, default=str).encode()

    def _time(self, record: logging.LogRecord) -> str:
        second = int(record.created)
        if self._second[0] != second:
            self._second = second, time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(second))
        return self._second[1]


class LogFile(RotatingFileHandler):
    """A file that is rotated once it has `maxBytes`.

    Unlike its base class it formats each line once, and counts what it writes: asking a file for its position takes as
    long as writing to it.
    """

    def __init__(self, path: Path, lines: JsonFormatter, *, max_bytes: int, backups: int) -> None:
        self._size = 0
        super().__init__(path, maxBytes=max_bytes, backupCount=backups)
        self._lines = lines

    def shouldRollover(self, record: logging.LogRecord) -> bool:
        """Returns whether the file is full."""
        return 0 < self.maxBytes <= self._size

    def emit(self, record: logging.LogRecord) -> None:
        """Writes a line; failures are reported on standard error, as by every handler."""
        try:
            if self.stream is None or self.stream.closed:  # it could not be rotated
                self.stream = self._open()
            if self.shouldRollover(record):
                self.doRollover()
            stream: Any = self.stream
            self._size += stream.write(self._lines.line(record) + b"\n")
            stream.flush()
        except Exception:
            self.handleError(record)

    def _open(self) -> Any:
        path = Path(self.baseFilename)
        self._size = path.stat().st_size if path.exists() else 0
        return path.open("ab")


class Stderr(logging.StreamHandler[TextIO]):
    """Standard error."""


def to_stderr(fields: Mapping[str, str], level: int = logging.WARNING, also: Iterable[str] = ()) -> None:
    """Makes loggers without a handler write such lines to standard error, from `level` on.

    `also` names loggers with their own handler, which is replaced.
    """
    handler = Stderr()
    handler.setFormatter(JsonFormatter(fields))
    root = logging.getLogger()
    for old in [each for each in root.handlers if isinstance(each, Stderr)]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(level)
    for logger in map(logging.getLogger, also):
        logger.handlers = [handler]


def keep(name: str, fields: Mapping[str, str]) -> Path | None:
    """Makes all loggers of Headrace write to a file `name` beside Ray Serve's; returns its path.

    Warnings of other loggers are written to standard error, in the same format. If Ray Serve has no file, nothing
    changes.
    """
    theirs = _file_of_serve()
    if theirs is None:
        return None
    path = Path(theirs.baseFilename).with_name(name)
    handler = LogFile(path, JsonFormatter(fields), max_bytes=theirs.maxBytes, backups=theirs.backupCount)
    for ours in map(logging.getLogger, LOGGERS):
        for old in [each for each in ours.handlers if isinstance(each, LogFile)]:
            ours.removeHandler(old)
            old.close()
        ours.addHandler(handler)
        ours.setLevel(logging.INFO)
        ours.propagate = False
    to_stderr(fields, also=(RAY,))
    return path


def _file_of_serve() -> RotatingFileHandler | None:
    for handler in logging.getLogger(SERVE).handlers:
        target = getattr(handler, "target", handler)  # it writes through a buffer
        if isinstance(target, RotatingFileHandler):
            return target
    return None
