"""mypy itself with the cache that checkouts share."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from tools import type_check

SOURCES = {
    "pyproject.toml": '[tool.mypy]\nstrict = true\npackages = ["serving"]\n',
    "serving/__init__.py": "",
    "serving/defines.py": "def double(x: int) -> int:\n    return 2 * x\n",
    "serving/calls.py": 'from serving.defines import double\n\ndouble("a")\n',
    "serving/alone.py": "Y = 1\n",
}
WRONG = 'serving/calls.py:3: error: Argument 1 to "double" has incompatible type "str"; expected "int"'


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HEADRACE_CACHE", str(tmp_path / "cache"))
    root = tmp_path / "checkout"
    for name, text in SOURCES.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def test_another_checkout_checks_only_what_differs(
    checkout: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    def run(root: Path) -> tuple[int, set[str], str]:
        """Returns the status, the names of the sources that were read instead of their cache, and the output."""
        status = type_check.check(root, type_check.program(root, ["--verbose"]))
        out, log = capfd.readouterr()
        return status, {Path(name).name for name in re.findall(rf"Parsing {re.escape(str(root))}/(\S+)", log)}, out

    status, parsed, out = run(checkout)
    assert (status, parsed) == (1, {"__init__.py", "defines.py", "calls.py", "alone.py"})
    assert WRONG in out

    other = tmp_path / "other"
    shutil.copytree(checkout, other)
    status, parsed, out = run(other)
    assert (status, parsed) == (1, set()), "the cache has all of it, the error too"
    assert WRONG in out

    (other / "serving" / "defines.py").write_text("def double(x: str) -> str:\n    return 2 * x\n")
    status, parsed, out = run(other)
    assert (status, parsed) == (0, {"defines.py", "calls.py"}), "what calls a changed function is checked again"

    status, parsed, out = run(checkout)
    assert (status, parsed) == (1, {"defines.py", "calls.py"}), "the first checkout has kept its error"
    assert WRONG in out
