"""Appends code to a program that returns its answer as text.

Source: Gao et al., "PAL: Program-aided Language Models", 2022, https://arxiv.org/abs/2211.10435. Its programs define
`solution()`; models also end with an expression, or assign `answer`.
"""

from __future__ import annotations

import ast

_VALUE = "_headrace_value"

# Only the look-up of a name is inside `try`: a NameError in the program is the program's own. A name that does not
# occur in the program is not looked up, since that would ask the host. A format string converts to text, since a
# program can rebind `str`.
_SOLUTION = """
try:
    _headrace_solution = solution if {value} is None else None
except NameError:
    _headrace_solution = None
if _headrace_solution is not None:
    {value} = _headrace_solution() if type(_headrace_solution) is type(lambda: 0) else _headrace_solution
"""
_ANSWER = """
try:
    {value} = answer if {value} is None else {value}
except NameError:
    pass
"""
_TEXT = """
None if {value} is None else f"{{{value}}}"[:{characters}]
"""


def with_answer(program: str, characters: int) -> str:
    """Returns `program` with appended code whose value is its answer as text, truncated to `characters`, or None.

    The answer is the value of the last expression, else what `solution()` returns, else `answer`. The program's line
    numbers do not change.
    """
    program = program.replace("\r\n", "\n").replace("\r", "\n")
    names = {"solution": _SOLUTION, "answer": _ANSWER}
    ending = "".join(lines for name, lines in names.items() if name in program) + _TEXT
    return _with_value(program) + ending.format(value=_VALUE, characters=characters)


def _with_value(program: str) -> str:
    """Assigns the last expression's value; code that this Python cannot parse is left to the sandbox."""
    unbound = f"{program}\n{_VALUE} = None"
    try:
        statements = ast.parse(program).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return unbound
    if not statements or not isinstance(last := statements[-1], ast.Expr):
        return unbound
    assert last.end_lineno is not None
    assert last.end_col_offset is not None
    lines = program.encode().split(b"\n")
    for line, column, text in (
        (last.end_lineno, last.end_col_offset, b")"),
        (last.lineno, last.col_offset, f"{_VALUE} = (".encode()),
    ):
        lines[line - 1] = lines[line - 1][:column] + text + lines[line - 1][column:]
    return b"\n".join(lines).decode()
