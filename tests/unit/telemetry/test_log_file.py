"""The file of a replica's log."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest

from serving.telemetry.logs import JsonFormatter, LogFile

LINE = len(JsonFormatter({}).line(logging.makeLogRecord({"msg": "0000"}))) + 1


def write(path: Path, numbers: range, *, lines: int) -> None:
    """Writes a line for each number, to a file that holds at most so many."""
    file = LogFile(path, JsonFormatter({}), max_bytes=lines * LINE - 1, backups=2)
    for number in numbers:
        file.emit(logging.makeLogRecord({"msg": f"{number:04}"}))
    file.close()


def numbers(path: Path) -> list[int]:
    return [int(json.loads(line)["message"]) for line in path.read_bytes().splitlines()]


@pytest.mark.parametrize("replicas", [1, 4], ids=["one replica", "replicas that follow each other"])
def test_a_full_file_is_rotated_and_the_oldest_is_deleted(tmp_path: Path, replicas: int) -> None:
    path = tmp_path / "gateway.log"
    each = 16 // replicas
    for replica in range(replicas):
        write(path, range(replica * each, (replica + 1) * each), lines=5)
    assert numbers(path) == [15]
    assert numbers(tmp_path / "gateway.log.1") == [10, 11, 12, 13, 14]
    assert numbers(tmp_path / "gateway.log.2") == [5, 6, 7, 8, 9]
    assert len(list(tmp_path.iterdir())) == 3


def test_a_line_is_in_the_file_when_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "gateway.log"
    file = LogFile(path, JsonFormatter({}), max_bytes=0, backups=2)
    for number in range(3):
        file.emit(logging.makeLogRecord({"msg": str(number)}))
        assert numbers(path) == list(range(number + 1))
    file.close()
