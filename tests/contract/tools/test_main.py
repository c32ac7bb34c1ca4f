import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tools.__main__ import main


def test_the_table_lists_missing_tools_with_reasons(
    put: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    put("prometheus", "2.42.0")
    assert main([]) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[0].split() == ["TOOL", "VERSION", "SOURCE", "PATH"]
    (line,) = (line for line in out if line.startswith("promtool "))
    assert "PATH has 2.42.0, accepted is >=3.0.0,<4.0.0; `ensure` would obtain it by " in line


def test_the_table_and_path_show_what_is_on_path(put: Callable[..., Path], capsys: pytest.CaptureFixture[str]) -> None:
    put("prometheus", "3.7.1")
    promtool = put("promtool", "3.7.1")
    assert main([]) == 0
    assert f"promtool                       3.7.1    path     {promtool}" in capsys.readouterr().out
    assert main(["path", "promtool"]) == 0
    assert capsys.readouterr().out == f"{promtool}\n"
    assert main(["bin", "promtool"]) == 0
    folder = Path(capsys.readouterr().out.strip())
    assert (folder / "promtool").resolve() == promtool


def test_a_mistake_is_one_line() -> None:
    done = subprocess.run([sys.executable, "-m", "tools", "path", "beta"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("error: unknown tool beta; there is pulumi, ")
    assert done.stderr.count("\n") == 1


def test_help_names_every_command() -> None:
    done = subprocess.run([sys.executable, "-m", "tools", "--help"], capture_output=True, text=True, check=True)
    for command in ("ensure", "path", "bin", "HEADRACE_CACHE"):
        assert command in done.stdout
