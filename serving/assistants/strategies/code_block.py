"""Extracts the program from a model's output."""

from __future__ import annotations

import ast
import re
import textwrap

from markdown_it import MarkdownIt

MAX_CHARACTERS = 65_536
"""Maximum length of the searched output; a program is short, and the rest is not needed."""

_LANGUAGES = ("python", "python3", "py", "py3")
_MARKDOWN = MarkdownIt("zero").enable(["fence", "list", "blockquote"])
_STARTS = re.compile(r"(?:from\s+\w|import\s+\w|def\s+\w+\s*\(|class\s+\w|@\w|\w+\s*=[^=]|print\s*\()")
_MAX_CUTS = 64
"""Number of lines at the end that are tried as prose; each try parses the rest."""


def code_block(output: str) -> str | None:
    """Returns the last Python program in a model's output, None when there is none.

    A program is the content of a fence, even an unclosed one. Without fences it is the longest valid Python text, from
    the first line that looks like it.
    """
    output = output[:MAX_CHARACTERS]
    fences = [token for token in _MARKDOWN.parse(output) if token.type == "fence" and token.content.strip()]
    if fences:
        named = [f for f in fences if f.info.strip().lower().partition(" ")[0] in _LANGUAGES]
        unnamed = [f for f in fences if not f.info.strip()]
        found = named or unnamed
        return textwrap.dedent(found[-1].content).rstrip() + "\n" if found else None
    return _unfenced(output)


def _unfenced(output: str) -> str | None:
    lines = output.splitlines()
    first = next((i for i, line in enumerate(lines) if _STARTS.match(line.strip())), None)
    if first is None:
        return None
    for end in range(len(lines), max(first, len(lines) - _MAX_CUTS), -1):
        program = textwrap.dedent("\n".join(lines[first:end])).rstrip()
        if program and _is_python(program):
            return program + "\n"
    return None


def _is_python(text: str) -> bool:
    try:
        ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return True
