"""Divergence of one model's answers from another's: what distillation, healing and retention minimise."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch.nn import functional

from serving.tuning.rows import Row

Batch = dict[str, torch.Tensor]


def kl(model: torch.Tensor, reference: torch.Tensor, counted: torch.Tensor, temperature: float = 1.0) -> torch.Tensor:
    """Returns the mean KL divergence, in nats per token, of logits from reference logits at the counted positions."""
    wanted = functional.log_softmax(reference[counted].float() / temperature, dim=-1)
    given = functional.log_softmax(model[counted].float() / temperature, dim=-1)
    # The gradient of softened distributions shrinks by the square of the temperature: Hinton et al., 2015.
    return functional.kl_div(given, wanted, log_target=True, reduction="batchmean") * temperature**2


def counted(batch: Batch) -> torch.Tensor:
    """Returns the positions from which an answer's tokens, and its end, are predicted."""
    answers = batch["answers"].bool()
    return functional.pad(answers[:, 1:], (0, 1), value=False)


class Collator:
    """Tokenises chats to one batch, padded on the right: `answers` marks the tokens of answers."""

    def __init__(self, tokenizer: Any, max_tokens: int, *, whole: bool = False) -> None:
        """With `whole`, the tokens of prompts count as answers too."""
        self._tokenizer = tokenizer
        self._max_tokens = max_tokens
        self._whole = whole

    def __call__(self, rows: Sequence[Row]) -> Batch:
        made = [self._ids(row) for row in rows]
        longest = max(len(ids) for ids, _ in made)
        pad = self._tokenizer.pad_token_id

        def padded(values: list[int], filler: int) -> list[int]:
            return values + [filler] * (longest - len(values))

        return {
            "input_ids": torch.tensor([padded(ids, pad) for ids, _ in made]),
            "attention_mask": torch.tensor([padded([1] * len(ids), 0) for ids, _ in made]),
            "answers": torch.tensor(
                [padded([int(self._whole or at >= start) for at in range(len(ids))], 0) for ids, start in made]
            ),
        }

    def _ids(self, row: Row) -> tuple[list[int], int]:
        """Returns the tokens of a chat, and where its answer begins; a long prompt loses its beginning."""
        template = self._tokenizer.apply_chat_template
        prompt = template(row["prompt"], add_generation_prompt=True, tokenize=True, return_dict=False)
        chat = template([*row["prompt"], *row["completion"]], tokenize=True, return_dict=False)
        left = max(0, len(chat) - self._max_tokens)
        return chat[left:], max(0, len(prompt) - left)


def logits(model: Any, batch: Batch) -> torch.Tensor:
    """Returns a model's logits."""
    found = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], use_cache=False).logits
    assert isinstance(found, torch.Tensor)
    return found
