"""Our lines lie beside Ray Serve's, in its shape, and a file that is full is replaced."""

from __future__ import annotations

import json
import logging
import time
from datetime import datetime
from logging.handlers import MemoryHandler, RotatingFileHandler
from pathlib import Path

import pytest

from serving.api import request_log
from serving.telemetry import logs

FIELDS = {"deployment": "Gateway"}


@pytest.fixture(autouse=True)
def loggers():
    root, ray = logging.getLogger(), logging.getLogger(logs.RAY)
    before = root.level, list(root.handlers), list(ray.handlers)
    yield
    root.level, root.handlers, ray.handlers = before
    for name in (*logs.LOGGERS, logs.SERVE):
        logger = logging.getLogger(name)
        for handler in list(logger.handlers):
            if isinstance(handler, RotatingFileHandler | MemoryHandler):
                logger.removeHandler(handler)
                handler.close()
        logger.propagate = True
        logger.setLevel(logging.NOTSET)


@pytest.fixture
def serve(tmp_path):
    """Ray Serve's own logger, as it makes it for a replica."""
    from ray.serve._private.common import ServeComponentType
    from ray.serve._private.logging_utils import configure_component_logger
    from ray.serve.schema import LoggingConfig

    configure_component_logger(
        component_name="headrace_Gateway",
        component_id="abc",
        component_type=ServeComponentType.REPLICA,
        logging_config=LoggingConfig(encoding="JSON", logs_dir=str(tmp_path), log_level="WARNING"),
        max_bytes=600,
        backup_count=2,
        buffer_size=1000,
    )
    return tmp_path


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_line_has_the_keys_of_ray_serves(serve):
    path = logs.keep("headrace.log", FIELDS)
    assert path.parent == serve
    logging.getLogger("headrace.requests").info("request", extra={"status": 200, "stages": {"decode": 0.5}})
    given = {"status": 201, "code": None}
    logging.getLogger("headrace.requests").info("request", extra={"fields": given})
    logging.getLogger("ray.serve").error("theirs")
    [ours, spread] = lines(path)
    assert spread.items() >= {"message": "request", **given, **FIELDS}.items()
    assert "fields" not in spread
    [theirs] = [line for file in serve.glob("replica_*.log") for line in lines(file)]
    assert ours.items() >= {"message": "request", "status": 200, "stages": {"decode": 0.5}, **FIELDS}.items()
    assert ours["levelname"] == "INFO"
    shape = {"asctime", "levelname", "message", "filename", "lineno", "process", "timestamp_ns"}
    assert shape <= ours.keys() & theirs.keys()
    assert len(ours["asctime"]) == len(theirs["asctime"])


def test_failures_are_reported_and_lines_written_once(serve):
    for _ in range(2):
        path = logs.keep("headrace.log", FIELDS)
    try:
        raise ValueError("why\nin two lines")
    except ValueError:
        logging.getLogger("serving.store.jobs.worker").exception("it failed: %s", "this")
    [line] = lines(path)
    assert line["message"] == "it failed: this"
    assert line["exc_text"].endswith("ValueError: why\nin two lines")


def test_values_orjson_rejects_are_written_too(serve):
    path = logs.keep("headrace.log", FIELDS)
    logging.getLogger("headrace.api").warning("half of a pair: %s", "\ud83d")
    logging.getLogger("headrace.api").warning("far", extra={"fields": {"tokens": 2**64}})
    half, far = lines(path)
    assert half["message"] == "half of a pair: \ud83d"
    assert far["tokens"] == 2**64


def test_a_full_file_is_replaced(serve):
    path = logs.keep("headrace.log", FIELDS)
    for number in range(12):
        logging.getLogger("headrace.api").warning("%d", number)
    kept = [lines(file) for file in (serve / "headrace.log.2", serve / "headrace.log.1", path)]
    assert [line["message"] for file in kept for line in file][-1] == "11"
    assert all(1 < len(file) < 6 for file in kept[:2])
    assert len(list(serve.glob("headrace.log*"))) == 3


def test_a_file_that_could_not_be_opened_is_opened_later(serve, monkeypatch, capsys):
    path = logs.keep("headrace.log", FIELDS)
    log = logging.getLogger("headrace.api")
    with monkeypatch.context() as full:
        full.setattr(logs.LogFile, "_open", raises(OSError(28, "No space left on device")))
        for number in range(6):
            log.warning("%d", number)
    assert "No space left on device" in capsys.readouterr().err
    log.warning("again")
    assert [line["message"] for line in lines(path)] == ["again"]


def test_unclosable_files_are_reopened(serve, monkeypatch, capsys):
    path = logs.keep("headrace.log", FIELDS)
    [handler] = [each for each in logging.getLogger("headrace").handlers if isinstance(each, logs.LogFile)]
    log = logging.getLogger("headrace.api")
    log.warning("%s", "x" * handler.maxBytes)
    full = Path("/dev/full").open("wb")  # noqa: SIM115 (the handler closes it)
    full.write(b"what the disk has no place for")
    handler.stream.close()
    handler.stream = full
    with monkeypatch.context() as now:
        now.setattr(handler, "shouldRollover", lambda record: True)
        log.warning("lost")
    assert "No space left on device" in capsys.readouterr().err
    assert full.closed
    log.warning("again")
    assert [line["message"] for line in lines(path)] == ["again"]


def test_a_line_of_a_request_has_the_same_shape(serve):
    path = logs.keep("headrace.log", FIELDS)
    begun = time.time()
    request_log.log.handle(request_log._Line({"status": 200}))
    logging.getLogger("headrace.requests").info("request", extra={"fields": {"status": 200}})
    ours, usual = lines(path)
    assert ours.keys() == usual.keys()
    same = {"levelname", "message", "logger", "process", "status", *FIELDS}
    assert {name: ours[name] for name in same} == {name: usual[name] for name in same}
    assert ours["filename"] == "request_log.py"
    at = datetime.strptime(ours["asctime"], "%Y-%m-%d %H:%M:%S,%f").timestamp()
    assert begun - 0.001 <= at <= time.time()


def raises(error):
    def raising(*_):
        raise error

    return raising


def test_without_ray_serve_logging_is_unchanged():
    before = list(logging.getLogger("headrace").handlers)
    assert logs.keep("headrace.log", FIELDS) is None
    assert logging.getLogger("headrace").handlers == before


def test_third_party_warnings_have_the_same_format(serve, capsys):
    """Once, and Ray's own too, which brings a handler."""
    logging.getLogger(logs.RAY).addHandler(logging.StreamHandler())
    for _ in range(2):
        logs.keep("headrace.log", FIELDS)
    logging.getLogger("a.library").info("not this")
    logging.getLogger("a.library").warning("this")
    logging.getLogger("ray.worker").warning("and this")
    logging.getLogger("headrace.api").warning("this is in the file")
    told = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [(line["logger"], line["message"]) for line in told] == [("a.library", "this"), ("ray.worker", "and this")]
    assert all(line.items() >= FIELDS.items() for line in told)
