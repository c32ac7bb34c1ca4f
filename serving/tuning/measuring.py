"""What a smaller model costs beside its parent, measured by llama.cpp, which will serve it.

Both read the same text, position by position, and their distributions of each next token are compared. Their speeds
are measured in turns, so that a busy host slows both.
"""

from __future__ import annotations

import gc
import json
import math
import statistics
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from serving.tuning.interruption import Interruption
from serving.tuning.plan import MEASURED, Plan, RecipeFailed
from serving.tuning.progress import EventLog

TEXT = Path(__file__).with_name("prose.txt")
FIRST, POSITIONS = 16, 240
"""The first position whose next token is predicted, and the number of positions."""

TOP = 64
"""The number of the parent's most probable tokens whose probabilities are compared."""

ROUNDS, GENERATED = 3, 48
"""How often each model generates text for its speed, and how many tokens."""

ROOM = 1.25
"""Memory of a model that is read by itself, relative to its file: llama.cpp reorders some weights."""

BESIDE = 500_000_000
"""Memory in bytes beside the models, of which only one is loaded at a time."""

_CONTEXT = 512
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))
_TIMEOUT_S = 3600


@dataclass(frozen=True, slots=True)
class PredictedText:
    """What a model predicts at each position of a text: log probabilities by token, and the tokens that follow."""

    predicted: Sequence[dict[int, float]]
    tokens: Sequence[int]

    @property
    def perplexity(self) -> float:
        """The perplexity of the text. A token that was not predicted counts as the least probable one that was."""
        pairs = zip(self.predicted, self.tokens, strict=True)
        return math.exp(statistics.fmean(-found.get(token, min(found.values())) for found, token in pairs))

    def kl(self, parent: PredictedText) -> float:
        """Returns the mean divergence from the parent in nats, over the parent's most probable tokens."""
        return statistics.fmean(_kl(p, q) for p, q in zip(parent.predicted, self.predicted, strict=True))

    def same_top(self, parent: PredictedText) -> float:
        """Returns the share of positions whose most probable token is the parent's."""
        pairs = zip(parent.predicted, self.predicted, strict=True)
        return statistics.fmean(max(p, key=p.__getitem__) == max(q, key=q.__getitem__) for p, q in pairs)


def _kl(parent: dict[int, float], model: dict[int, float]) -> float:
    top = sorted(parent, key=parent.__getitem__, reverse=True)[:TOP]
    least = min(model.values())
    return sum(math.exp(parent[token]) * (parent[token] - model.get(token, least)) for token in top)


class Engine:
    """llama.cpp with one GGUF file, in this process. Raises `RuntimeError` for a file that it cannot load."""

    def __init__(self, file: Path, threads: int) -> None:
        import xllamacpp  # loads the native library, which only jobs that measure need

        params = xllamacpp.CommonParams()  # ty: ignore[missing-attribute]
        params.model.path = str(file)
        params.hostnames, params.port = ["127.0.0.1"], 0
        params.n_ctx, params.n_parallel, params.cache_ram_mib = _CONTEXT, 1, 0
        params.cpuparams.n_threads = params.cpuparams_batch.n_threads = threads
        self._server = xllamacpp.Server(params)  # ty: ignore[missing-attribute]

    def tokens(self, text: str) -> list[int]:
        """Returns a text's tokens."""
        found: list[int] = self._ask("tokenize", {"content": text})["tokens"]
        return found

    def next_token(self, prompt: Sequence[int]) -> dict[int, float]:
        """Returns the log probabilities of the most probable tokens after a prompt."""
        asked = {"prompt": [*prompt], "n_predict": 1, "n_probs": 8 * TOP, "temperature": 0, "cache_prompt": True}
        [first] = self._ask("completion", asked)["completion_probabilities"]
        return {each["id"]: each["logprob"] for each in first["top_logprobs"]}

    def speeds(self, prompt: Sequence[int]) -> tuple[float, float]:
        """Returns the tokens per second of generating, and of reading the prompt."""
        asked = {"prompt": [*prompt], "n_predict": GENERATED, "temperature": 0, "cache_prompt": False}
        timings = self._ask("completion", asked | {"ignore_eos": True})["timings"]
        return float(timings["predicted_per_second"]), float(timings["prompt_per_second"])

    def _ask(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        url = f"{self._server.listening_address}/{path}"
        request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})  # noqa: S310
        with _OPENER.open(request, timeout=_TIMEOUT_S) as answer:
            found: dict[str, Any] = json.load(answer)
        return found


def read(engine: Engine, interruption: Interruption, positions: int = POSITIONS) -> PredictedText:
    """Reads the text with a model. Raises `TuningInterrupted`."""
    tokens = engine.tokens(TEXT.read_text(encoding="utf-8"))[: FIRST + positions]
    predicted = []
    for at in range(FIRST, len(tokens)):
        interruption.check()
        predicted.append(engine.next_token(tokens[:at]))
    return PredictedText(predicted, tokens[FIRST:])


def compare(model: Path, parent: Path, threads: int, interruption: Interruption) -> dict[str, Any]:
    """Returns what a card says of a model beside its parent. Only one of them is in memory at a time.

    Raises `RuntimeError` when the parent cannot be loaded, and `RecipeFailed` when the model cannot.
    """
    readings: dict[Path, PredictedText] = {}
    speeds: dict[Path, list[tuple[float, float]]] = {parent: [], model: []}
    for _ in range(ROUNDS):
        for file in (parent, model):
            interruption.check()
            try:
                engine = Engine(file, threads)
            except RuntimeError as e:
                if file == parent:
                    raise
                raise RecipeFailed(
                    "unservable", f"llama.cpp, which loads the parent, cannot load the model: {e}"
                ) from e
            if file not in readings:
                readings[file] = read(engine, interruption)
            speeds[file].append(engine.speeds(readings[file].tokens[:64]))
            del engine
            gc.collect()

    def side(file: Path) -> dict[str, Any]:
        generating, reading = (statistics.median(each) for each in zip(*speeds[file], strict=True))
        return {
            "bytes": file.stat().st_size,
            "perplexity": round(readings[file].perplexity, 3),
            "tokens_per_second": round(generating, 2),
            "prompt_tokens_per_second": round(reading, 2),
        }

    return {
        "model": side(model),
        "parent": side(parent),
        "kl": round(readings[model].kl(readings[parent]), 5),
        "same_top": round(readings[model].same_top(readings[parent]), 4),
        "positions": len(readings[parent].tokens),
        "threads": threads,
    }


def measure(plan: Plan, model: Path, progress: EventLog, interruption: Interruption, **more: Any) -> None:
    """Compares a model with the plan's base, if both fit into the job's memory, and writes down what the card says.

    `more` was measured by other means. Raises `RecipeFailed` when llama.cpp loads the base alone.
    """
    progress.say("stage", stage="measuring")
    parent = Path(plan.base.path)
    found = dict(more)
    needed = ROOM * max(parent.stat().st_size, model.stat().st_size) + BESIDE
    if needed > plan.memory_bytes:
        reason = (
            f"it takes {needed / 1e9:.1f} GB of memory, and tuning.memory_bytes allows {plan.memory_bytes / 1e9:.1f}"
        )
        progress.say("unmeasured", reason=reason)
    else:
        try:
            found |= compare(model, parent, plan.threads, interruption)
        except RuntimeError as e:
            progress.say("unmeasured", reason=f"llama.cpp cannot load {parent.name}: {e}")
    if found:
        write(plan, progress, found)


def write(plan: Plan, progress: EventLog, found: dict[str, Any]) -> None:
    """Writes down what was measured, for the card of the version."""
    (plan.out / MEASURED).write_text(json.dumps(found, indent=1), encoding="utf-8")
    progress.say("measured", **found)
