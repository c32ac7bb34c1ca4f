"""What `up` must know of a resource: what is lost with it, and what an error of its provider means."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Holding:
    """A type of resource that holds data or machines: `up` replaces or deletes one only if it is named."""

    kind: str
    loses: str
    """What is lost with a resource of the type."""
    added_by: str
    """The setting because of which the stack has the resource."""
    settings: Mapping[str, str] = field(default_factory=dict)
    """The settings that determine a property, by the beginning of its path; `{pool}` is the pool's name."""
    version: str = ""
    """The property with the version of Kubernetes, if the stack alone changes it; empty if the cloud does too."""
    only: str = ""
    """Pattern of the resource names that hold something; empty: all do."""

    def setting_of(self, path: str, name: str) -> str:
        """Returns the setting that determines a property of the resource `name`; empty if none is known."""
        plain = re.sub(r"\[[^]]*\]", "", path)
        found = [p for p in self.settings if plain == p or plain.startswith(f"{p}.")]
        return self.settings[max(found, key=len)].format(pool=name.removeprefix("pool-")) if found else ""


@dataclass(frozen=True)
class Remedy:
    """What an error of a provider means, and what to do about it."""

    pattern: str
    """Regular expression that finds the error's text; its named groups may be in `cause` and `fix`."""
    cause: str
    fix: str

    def explain(self, text: str) -> str:
        """Returns cause and fix of an error; empty if it is another one."""
        found = re.search(self.pattern, text, re.DOTALL)
        return f"{self.cause}; {self.fix}".format(**found.groupdict("")) if found else ""
