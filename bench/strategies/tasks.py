"""Tasks with known answers: JSON lines with `question` and `answer`, as in GSM8K (Cobbe et al. 2021)."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from bench.processes import BenchError
from serving.assistants.strategies import answers

OURS = Path(__file__).with_name("tasks.jsonl")
"""A few own tasks, for a quick run. Figures to quote come from GSM8K."""


@dataclass(frozen=True, slots=True)
class Task:
    """A question and the value of its answer."""

    question: str
    value: str


def load(path: Path, count: int | None = None) -> list[Task]:
    """Returns the first `count` tasks of a file.

    The answer is the text after `####`, or all of it. Raises `BenchError` with the number of an invalid line.
    """
    tasks: list[Task] = []
    try:
        with path.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, 1):
                if count is not None and len(tasks) == count:
                    break
                if line.strip():
                    tasks.append(_task(line, f"{path}:{number}"))
    except (OSError, UnicodeDecodeError) as e:
        raise BenchError(f"{path}: {e}") from None
    if not tasks:
        raise BenchError(f"{path} contains no task")
    return tasks


def _task(line: str, where: str) -> Task:
    try:
        document = json.loads(line)
        question, answer = document["question"], document["answer"]
    except (ValueError, LookupError, TypeError):
        raise BenchError(f"{where}: a task is a JSON object with question and answer") from None
    if not (isinstance(question, str) and question.strip() and isinstance(answer, str) and answer.strip()):
        raise BenchError(f"{where}: question and answer must be texts")
    return Task(question, answers.normalise(answer.rpartition("####")[2]))
