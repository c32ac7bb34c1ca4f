"""What the process of an app asks the gateway that has its run."""

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
    """One checkpoint, the newest without `id`."""

    id: Text | None = None


class CheckpointListing(_OfThread):
    """Checkpoints, from the newest that is older than `before`."""

    before: Text | None = None


class NewCheckpoint(_OfThread):
    """A checkpoint to keep: its state and metadata, each serialised, with the name of how."""

    id: Text
    parent: Text | None = None
    checkpoint: tuple[Kind, Data]
    metadata: tuple[Kind, Data]


class NewWrites(_OfThread):
    """What a task has written after a checkpoint: place, channel and value of each."""

    id: Text
    task: Text
    writes: list[tuple[int, Text, tuple[Kind, Data]]] = Field(max_length=256)


class CheckpointRequest(_RunRequest):
    """One thing that is asked of a run's checkpoints."""

    get: CheckpointQuery | None = None
    list: CheckpointListing | None = None
    put: NewCheckpoint | None = None
    writes: NewWrites | None = None
    delete: _OfThread | None = None

    @model_validator(mode="after")
    def _one(self) -> Self:
        if len(self.model_fields_set) != 1:
            raise ValueError("one thing at a time")
        return self


class AppToolCall(_RunRequest):
    """A call of a tool, with its arguments as a JSON object."""

    name: Text
    arguments: Annotated[str, Field(max_length=100_000)]
