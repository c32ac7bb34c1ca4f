"""The prompts of strategies."""

from __future__ import annotations

from string import Formatter

from serving.assistants import prompt
from serving.assistants.items import Message
from serving.config import Template

COT = Template(
    name="cot",
    version=1,
    text="""{question}

Let's think step by step. End with a line of this form: The answer is <answer>.""",
)

# An example as in the paper's prompts: small models copy an example's form, but do not follow a description.
PAL = Template(
    name="pal",
    version=2,
    text="""Write a Python function solution() that computes the answer and returns it. Import nothing but math.

Question: A baker sells 12 loaves at 5 coins each. How many coins is that?
```python
def solution():
    loaves = 12
    coins_each = 5
    return loaves * coins_each
```

Question: {question}
Write the program.""",
)

REACT = Template(
    name="react",
    version=1,
    text="""Answer the question. You can use these tools:

{tools}

Write in this form:

Thought: what you need to find out
Action: the name of one tool
Action Input: what the tool gets
Observation: what the tool says (you are told; do not write it)
... (Thought, Action, Action Input and Observation can come several times)
Thought: I know the answer
Final Answer: the answer

Question: {question}""",
)


def ask(template: Template, messages: list[Message], **values: str) -> list[Message]:
    """Returns `messages` with `template` around the text of the last user message, its `{question}`.

    Raises `ValueError` when there is none.
    """
    asked = prompt.question_of(messages)
    if asked is None:
        raise ValueError("there is no question: the messages have none of a user")
    around = [""]
    for literal, place, _, _ in Formatter().parse(template.text):
        around[-1] += literal
        if place == "question":
            around.append("")
        elif place is not None:
            around[-1] += values[place]
    before, after = around
    wrapped = prompt.around(messages[asked], before, after)
    return [*messages[:asked], wrapped, *messages[asked + 1 :]]
