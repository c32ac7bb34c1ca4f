"""The template of a prompt: text with variables such as `{{city}}`, which are replaced once.

Only a name between double braces is a variable, with or without spaces around it; everything else is text, other
braces included. The values are inserted as they are: a value that contains `{{city}}` stays so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from serving.protocol.errors import invalid
from serving.store.prompts.records import MAX_TEXT

MAX_VARIABLES = 64

MAX_OPENINGS = 2_000
"""Maximum number of double braces in a prompt: each costs time with every request."""

MAX_NAME = 64

MAX_RENDERED = 262_144
"""Maximum number of characters of a rendered prompt: a variable may occur thousands of times."""

_OPEN, _CLOSE = "{{", "}}"

_WIDEST = MAX_NAME + 16
"""Maximum number of characters between the braces: how far each pair is searched, so that time grows with length."""

_DIGITS = frozenset("0123456789")
_LETTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_")


@dataclass(frozen=True, slots=True)
class PromptTemplate:
    """A parsed template: its texts, each of which but the last is followed by the variable of the same index."""

    texts: tuple[str, ...]
    places: tuple[str, ...]

    @property
    def variables(self) -> list[str]:
        """The names of its variables, each once, in the order of their first occurrence."""
        return list(dict.fromkeys(self.places))

    def render(self, values: Mapping[str, str], param: str) -> str:
        """Returns the text with the values of all variables.

        Raises `ApiError` for a missing value, for one without a variable, and for a result that is too long; `param` is
        the field of the request that has the values.
        """
        check_values(values, param)
        known = self.variables
        for name in values:
            if name not in known:
                raise invalid("The prompt has no such variable.", f"{param}.{name}", "unknown_variable")
        for name in known:
            if name not in values:
                raise invalid("This variable of the prompt has no value.", f"{param}.{name}", "missing_variable")
        # Counted before the text is made: a short request could otherwise ask for gigabytes.
        if sum(map(len, self.texts)) + sum(len(values[name]) for name in self.places) > MAX_RENDERED:
            raise invalid(f"The prompt with its variables has more than {MAX_RENDERED} characters.", param, "too_long")
        parts = [self.texts[0]]
        for name, text in zip(self.places, self.texts[1:], strict=True):
            parts += (values[name], text)
        return "".join(parts)


def parse(text: str) -> PromptTemplate:
    """Returns the template of a text, in time that grows with its length alone."""
    texts: list[str] = []
    places: list[str] = []
    begun = at = 0
    while (opened := text.find(_OPEN, at)) >= 0:
        inside = opened + len(_OPEN)
        closed = text.find(_CLOSE, inside, inside + _WIDEST + len(_CLOSE))
        name = text[inside:closed].strip(" ") if closed >= 0 else ""
        if not is_variable(name):
            at = opened + 1
            continue
        texts.append(text[begun:opened])
        places.append(name)
        begun = at = closed + len(_CLOSE)
    return PromptTemplate((*texts, text[begun:]), tuple(places))


def is_variable(name: str) -> bool:
    """Returns whether `name` can be a variable: letters, digits and `_` of ASCII, not beginning with a digit."""
    if not 1 <= len(name) <= MAX_NAME or name[0] in _DIGITS:
        return False
    return all(c in _LETTERS or c in _DIGITS for c in name)


def check_values(values: Mapping[str, str], param: str) -> None:
    """Raises `ApiError` for a name that cannot be a variable, and for a value that no prompt may have."""
    if len(values) > MAX_VARIABLES:
        raise invalid(f"There are more than {MAX_VARIABLES} variables.", param)
    for name, value in values.items():
        if not is_variable(name):
            # The name is not repeated: it can be anything.
            raise invalid(
                f"Names of variables have 1 to {MAX_NAME} letters, digits and underscores, and do not begin with "
                "a digit.",
                param,
            )
        if len(value) > MAX_TEXT:  # as a whole prompt
            raise invalid(f"A variable has at most {MAX_TEXT} characters.", f"{param}.{name}", "too_long")
        if "\0" in value:
            raise invalid("A variable must not contain NUL.", f"{param}.{name}")
