"""A model that says what a script has for it."""

from __future__ import annotations

import asyncio

from serving.assistants.strategies.model import Generation, ModelCompletion, TokenUsage


class Script:
    """Answers in order: texts, `ModelCompletion`s, or exceptions to raise. `most` is the largest n it gives."""

    def __init__(self, *says, most=64, prompt_tokens=10, completion_tokens=5):
        self._says = [ModelCompletion(s) if isinstance(s, str) else s for s in says]
        self._most = most
        self._usage = prompt_tokens, completion_tokens
        self.asked = []

    async def generate(self, messages, *, n=1, temperature=None, stop=(), max_tokens=None, tools=()):
        given = {"n": n, "temperature": temperature, "stop": stop, "max_tokens": max_tokens, "tools": tools}
        self.asked.append({"messages": list(messages), **given})
        count = min(n, self._most)
        taken, self._says = self._says[:count], self._says[count:]
        assert taken, "the script has ended"
        for said in taken:
            if isinstance(said, Exception):
                raise said
        prompt, completion = self._usage
        return Generation(tuple(taken), TokenUsage(prompt, completion * len(taken)))

    @property
    def left(self):
        return len(self._says)


class Endless:
    """Says the same for ever."""

    def __init__(self, text):
        self._text = text
        self.times = 0

    async def generate(self, messages, *, n=1, **given):
        self.times += 1
        return Generation((ModelCompletion(self._text),) * n, TokenUsage(10, 5 * n))


class Silent:
    """Never answers."""

    async def generate(self, messages, **given):
        await asyncio.Event().wait()
