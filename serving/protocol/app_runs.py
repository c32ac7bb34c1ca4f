"""Requests of an app's process to the gateway of its run."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Text = Annotated[str, Field(max_length=256)]
Kind = Annotated[str, Field(max_length=64)]
Data = Annotated[str, Field(max_length=12_000_000, pattern=r"^[A-Za-z0-9+/=]*$")]


class _RunRequest(BaseModel):
    model_config = ConfigDict(extra="forbid")


class _OfThread(_RunRequest):
    thread: Text
    namespace: Text = ""


class CheckpointQuery(_OfThread):
    """One checkpoint, by default the newest."""

    id: Text | None = None


class CheckpointListing(_OfThread):
    """Checkpoints before `before`, newest first."""

    before: Text | None = None


class NewCheckpoint(_OfThread):
    """A checkpoint to store: its state and metadata, each serialised and with the name of its serialisation."""

    id: Text
    parent: Text | None = None
    checkpoint: tuple[Kind, Data]
    metadata: tuple[Kind, Data]


class NewWrites(_OfThread):
    """Writes of a task after a checkpoint: index, channel and value of each."""

    id: Text
    task: Text
    writes: list[tuple[int, Text, tuple[Kind, Data]]] = Field(max_length=256)


class CheckpointRequest(_RunRequest):
    """One request about a run's checkpoints."""

    get: CheckpointQuery | None = None
    list: CheckpointListing | None = None
    put: NewCheckpoint | None = None
    writes: NewWrites | None = None
    delete: _OfThread | None = None

    @model_validator(mode="after")
    def _one(self) -> Self:
        if len(self.model_fields_set) != 1:
            raise ValueError("exactly one of the fields must be set")
        return self


class AppToolCall(_RunRequest):
    """A call of a tool, with its arguments as a JSON object."""

    name: Text
    arguments: Annotated[str, Field(max_length=100_000)]
