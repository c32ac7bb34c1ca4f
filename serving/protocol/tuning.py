"""Requests that freeze data sets and tune models: the hub's own, and OpenAI's fine-tuning as a front of them.

Source of OpenAI's names and limits: its API reference (fine-tuning).
"""

from __future__ import annotations

import math
from typing import Annotated, Any, Final, Literal

from pydantic import Field, StringConstraints, model_validator

from serving.protocol.parts import Body, FileId, Metadata, ModelName, Refused

RowFormat = Literal["trl-sft", "trl-preference", "trl-unpaired-preference", "openai-chat", "openai-preference"]

HubId = Annotated[str, StringConstraints(pattern=r"^[a-z]{1,8}_[0-9a-f]{32}$")]

VERSION_NAME: Final = r"^[a-z0-9]([a-z0-9-]{0,46}[a-z0-9])?$"
"""Short enough that `tenant.name.number`, the name of a live version, is a name of a model."""

MAX_VERSION_NAME: Final = 48

VersionName = Annotated[str, StringConstraints(pattern=VERSION_NAME)]

Method = Literal["sft", "dpo", "kto", "reward", "distil", "prune", "quantise"]


STEPS = 20
"""Steps of a recipe that says nothing of its length."""


class DatasetRequest(Body):
    """`POST /v1/hub/datasets`: rows of rated answers, or of an uploaded file."""

    format: RowFormat = "trl-sft"
    file: FileId | None = Field(default=None, description="uploaded rows; without it, rows are made of rated answers")
    validation_file: FileId | None = None
    since: float | None = Field(default=None, ge=0)
    until: float | None = Field(default=None, ge=0)
    assistant: Annotated[str, StringConstraints(min_length=1, max_length=64)] | None = None
    model: ModelName | None = None
    min_score: float = Field(default=0.5, ge=0, le=1)
    tags: Annotated[list[Annotated[str, StringConstraints(min_length=1, max_length=64)]], Field(max_length=16)] = Field(
        default_factory=list
    )
    splits: Annotated[
        dict[Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,31}$")], Annotated[float, Field(gt=0, le=1)]],
        Field(min_length=1, max_length=8),
    ] = Field(default_factory=lambda: {"train": 0.9, "test": 0.1})
    seed: int = Field(default=0, ge=0, le=2**31 - 1)
    alike: float | None = Field(default=0.9, gt=0, le=1)
    per_user: int | None = Field(default=None, ge=1, le=1_000_000)
    redact: bool = True

    @model_validator(mode="after")
    def _of_one_source(self) -> DatasetRequest:
        answers = {"since", "until", "assistant", "model", "min_score", "tags", "splits", "seed", "alike", "per_user"}
        if self.file is not None and (given := self.model_fields_set & (answers | {"redact"})):
            raise ValueError(f"file, whose rows are used as they are, excludes {', '.join(sorted(given))}")
        if self.file is None and self.validation_file is not None:
            raise ValueError("validation_file needs file")
        if self.file is None and "train" not in self.splits:
            raise ValueError("splits must include train")
        return self


class Recipe(Body):
    """How a version is made. Fields that the method does not use are errors."""

    steps: int | None = Field(default=None, ge=1, le=100_000, description="updates of the weights; by default 20")
    epochs: int | None = Field(default=None, ge=1, le=1000, description="passes over the rows, in place of steps")
    batch: int = Field(default=8, ge=1, le=256)
    learning_rate: float = Field(default=5e-4, gt=0, le=1)
    rank: int = Field(default=8, ge=1, le=256)
    max_tokens: int = Field(
        default=512, ge=16, le=32_768, description="tokens of a row; longer ones lose their beginning"
    )
    seed: int = Field(default=0, ge=0, le=2**31 - 1)
    checkpoint_every: int = Field(default=5, ge=1, le=10_000)
    retain_weight: float = Field(default=30.0, ge=0, le=100)
    beta: float = Field(default=0.1, gt=0, le=10)
    sft_weight: float = Field(default=1.0, ge=0, le=100)
    temperature: float = Field(default=1.0, ge=0.1, le=20)
    layers: int = Field(default=2, ge=1, le=256)
    type: Literal["Q8_0", "Q6_K", "Q5_K", "Q4_K", "Q4_0"] = "Q4_K"

    @model_validator(mode="after")
    def _of_one_length(self) -> Recipe:
        if self.steps is not None and self.epochs is not None:
            raise ValueError("steps and epochs cannot be combined")
        return self

    def steps_for(self, rows: int) -> int:
        """Returns the number of steps for a data set of `rows` rows."""
        if self.epochs is not None:
            return max(1, math.ceil(rows * self.epochs / self.batch))
        return self.steps if self.steps is not None else STEPS


_TRAINING = frozenset({"steps", "epochs", "batch", "learning_rate", "rank", "max_tokens", "seed", "checkpoint_every"})

USED: dict[Method, frozenset[str]] = {
    "sft": _TRAINING | {"retain_weight"},
    "dpo": _TRAINING | {"retain_weight", "beta", "sft_weight"},
    "kto": _TRAINING | {"retain_weight", "beta"},
    "reward": _TRAINING,
    "distil": _TRAINING | {"temperature"},
    "prune": _TRAINING | {"temperature", "layers"},
    "quantise": frozenset({"type"}),
}
"""The fields of a recipe that each method uses."""


class JobRequest(Body):
    """`POST /v1/hub/jobs`."""

    method: Method
    name: VersionName
    base: ModelName
    version: HubId | None = Field(default=None, description="a version of the base that has a model of its own")
    dataset: HubId | None = None
    retain: HubId | None = Field(default=None, description="a data set whose answers must stay as the base gives them")
    teacher: ModelName | None = None
    without_rater: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{32}$")] | None = Field(
        default=None, description="a rater of the data set, as on a card, whose rows are left out"
    )
    recipe: Recipe = Recipe()

    @model_validator(mode="after")
    def _complete(self) -> JobRequest:
        if unused := self.recipe.model_fields_set - USED[self.method]:
            raise ValueError(f"the recipe of {self.method} does not use {', '.join(sorted(unused))}")
        needs = self.method != "quantise"
        if (self.dataset is not None) != needs:
            raise ValueError(f"{self.method} {'needs a data set' if needs else 'uses no data set'}")
        if (self.teacher is not None) != (self.method == "distil"):
            raise ValueError("distil needs a teacher, and no other method uses one")
        if self.retain is not None and "retain_weight" not in USED[self.method]:
            raise ValueError(f"{self.method} does not use retain")
        if self.without_rater is not None and self.dataset is None:
            raise ValueError("without_rater needs a data set")
        return self


Auto = Literal["auto"]


class SftHyperparameters(Body):
    """Settings of OpenAI's supervised method."""

    n_epochs: Auto | Annotated[int, Field(ge=1, le=50)] = "auto"
    batch_size: Auto | Annotated[int, Field(ge=1, le=256)] = "auto"
    learning_rate_multiplier: Auto | Annotated[float, Field(gt=0, le=100)] = "auto"


class DpoHyperparameters(SftHyperparameters):
    """Settings of OpenAI's method of preferences."""

    beta: Auto | Annotated[float, Field(gt=0, le=2)] = "auto"


class Supervised(Body):
    """OpenAI's `method.supervised`."""

    hyperparameters: SftHyperparameters = SftHyperparameters()


class Dpo(Body):
    """OpenAI's `method.dpo`."""

    hyperparameters: DpoHyperparameters = DpoHyperparameters()


class FineTuningMethod(Body):
    """OpenAI's `method`."""

    type: Literal["supervised", "dpo"]
    supervised: Supervised | None = None
    dpo: Dpo | None = None
    reinforcement: Annotated[None, Refused("Reinforcement by graders is not supported: use supervised or dpo.")] = None


class FineTuningRequest(Body):
    """`POST /v1/fine_tuning/jobs`."""

    model: ModelName
    training_file: FileId
    validation_file: FileId | None = None
    method: FineTuningMethod | None = None
    hyperparameters: SftHyperparameters | None = None
    suffix: Annotated[str, StringConstraints(min_length=1, max_length=48)] | None = None
    seed: int | None = Field(default=None, ge=0, le=2**31 - 1)
    metadata: Metadata | None = None
    integrations: Annotated[
        Annotated[list[Any], Field(max_length=0)] | None,
        Refused("There are no integrations: the job's events have its metrics."),
    ] = None
