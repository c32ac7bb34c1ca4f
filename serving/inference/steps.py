"""Steps of strategies in the API's formats."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from serving.assistants.strategies.work import Step
from serving.core.ids import part_id


def step_fields(step: Step) -> dict[str, Any]:
    """Returns a step in the format of captures and `headrace.steps`."""
    name = {"name": step.name} if step.name else {}
    return {"kind": step.kind, **name, "text": step.text, "tokens": step.tokens, "seconds": round(step.seconds, 4)}


def step_text(step: Mapping[str, Any]) -> str:
    """Returns a step as text: its kind, its tool if it has one, and its text."""
    name = step.get("name")
    return f"{step['kind']}{f' {name}' if name else ''}: {step['text']}"


def reasoning_item(step: Mapping[str, Any], response_id: str) -> dict[str, Any]:
    """Returns a step as an item of a response's output, with a new id."""
    summary = [{"type": "summary_text", "text": step_text(step)}]
    return {"id": part_id("rs", response_id), "type": "reasoning", "summary": summary, "status": "completed"}
