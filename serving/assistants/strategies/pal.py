"""Program-aided language models: the model writes a program, and a sandbox runs it.

Source: Gao et al. 2023, PAL: Program-aided Language Models. Here a program that fails can be written again, with the
error before the model's eyes.
"""

from __future__ import annotations

from serving.assistants.code_block import code_in
from serving.assistants.interpreter import Interpreter
from serving.assistants.items import Message
from serving.assistants.strategies import answers, templates
from serving.assistants.strategies.work import Answer, Work
from serving.assistants.tools.tool import shorten
from serving.config import ProgramAided

MAX_ERROR = 1000
"""Characters of an error that the model is shown."""


async def solve(work: Work, messages: list[Message], settings: ProgramAided, interpreter: Interpreter) -> Answer:
    """Returns what the program gave; when none ran to its end, what the model's last text says."""
    asked = templates.ask(settings.pal_template or templates.PAL, messages)
    for _ in range(settings.repairs + 1):
        before = work.usage.completion_tokens
        (said, *_) = await work.generate(asked)
        tokens = work.usage.completion_tokens - before
        work.draft = draft = _in_words(said.text)
        program = code_in(said.text)
        if program is None:
            await work.note("thought", said.text, tokens=tokens)
            wrong = "there is no program in your answer"
        else:
            await work.note("program", program, tokens=tokens)
            ran = await interpreter.run(program, settings.program_seconds)
            await work.note("result", ran.text if ran.ok else f"Error: {ran.text}")
            if ran.ok:
                return Answer(ran.text, answers.value(ran.text))
            wrong = ran.text
        complaint = f"That failed: {shorten(wrong, MAX_ERROR)}\nWrite the whole program again, corrected."
        asked = [*asked, {"role": "assistant", "content": said.text}, {"role": "user", "content": complaint}]
    await work.note("switch", "no program ran to its end: the answer is the model's text")
    return draft


def _in_words(text: str) -> Answer:
    found = answers.find(text)
    return Answer(text, found.value if found else None)
