"""Program-aided language models: the model writes a program, and a sandbox runs it.

Source: Gao et al. 2023, PAL: Program-aided Language Models. In addition, a model may correct a failed program, given
its error.
"""

from __future__ import annotations

from serving.assistants.items import Message
from serving.assistants.sandbox.pool import SandboxOf
from serving.assistants.strategies import answers, templates
from serving.assistants.strategies.code_block import code_block
from serving.assistants.strategies.work import StrategyAnswer, Work
from serving.config import ProgramAided

NOTHING = "the program gave no result: solution() must return one"


async def solve(work: Work, messages: list[Message], settings: ProgramAided, sandbox: SandboxOf) -> StrategyAnswer:
    """Returns the program's result; if none succeeded, the model's last text.

    Raises `SandboxFull` and `SandboxUnavailable`.
    """
    asked = templates.ask(settings.pal_template or templates.PAL, messages)
    for _ in range(settings.repairs + 1):
        before = work.usage.completion_tokens
        (said, *_) = await work.generate(asked)
        tokens = work.usage.completion_tokens - before
        work.draft = draft = _in_words(said.text)
        program = code_block(said.text)
        if program is None:
            await work.note("thought", said.text, tokens=tokens)
            wrong = "there is no program in your answer"
        else:
            await work.note("program", program, tokens=tokens)
            outcome = await (await sandbox()).run(program)
            result = outcome.answer
            if result is not None:
                await work.note("result", result)
                return StrategyAnswer(result, answers.value(result))
            wrong = NOTHING if outcome.kind == "value" else outcome.error
            await work.note("result", f"Error: {wrong}")
        complaint = f"That failed: {wrong}\nWrite the whole program again, corrected."
        asked = [*asked, {"role": "assistant", "content": said.text}, {"role": "user", "content": complaint}]
    await work.note("switch", "no program ran to its end: the answer is the model's text")
    return draft


def _in_words(text: str) -> StrategyAnswer:
    found = answers.find(text)
    return StrategyAnswer(text, found.value if found else None)
