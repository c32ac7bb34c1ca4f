"""`pytest --changed` on a toy checkout: which test modules a change reaches."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from tests.changed import Selection, changed_since

ROOT = Path(__file__).parents[2]
FILES = {
    ".gitignore": "__pycache__/\n.pytest_cache/\n",
    "shop/__init__.py": "",
    "shop/__main__.py": "from shop import till\n",
    "shop/stock.py": '"""What shop.till sells."""\nCOUNT = 3\n',
    "shop/till.py": "def price():\n    from shop.stock import COUNT\n    return COUNT\n",
    "shop/prices.py": "import typing\nif typing.TYPE_CHECKING:\n    from shop import (\n        stock,\n    )\n",
    "shop/window.py": "DRESSED = 'shop/window'\n",
    "shop/data/rates.yaml": "a: 1\n",
    "shop/rates.py": 'FILE = "rates.yaml"\n',
    "shop/words/__init__.py": "",
    "shop/words/all.py": "",
    "shop/words/greeting.txt": "Hello\n",
    "charts/shop/values.yaml": "a: 1\n",
    "pyproject.toml": "",
    "notes.bin": "",
    "tests/conftest.py": (
        "from typing import TYPE_CHECKING\n\nimport pytest\n\n"
        "if TYPE_CHECKING:\n    from shop.window import Window\n\n\n"
        "@pytest.fixture\ndef dressed():\n    from shop import window\n    return window.DRESSED\n"
    ),
    "tests/helper.py": "from shop.till import price\n",
    "tests/unit/conftest.py": (
        "import pytest\nfrom shop import rates, stock\n\n\n"
        "@pytest.fixture(autouse=True)\ndef _rates():\n    rates.FILE\n\n\n"
        "@pytest.fixture\ndef counted(dressed):\n    return stock.COUNT\n"
    ),
    "tests/unit/test_stock.py": "from shop.stock import COUNT\n\n\ndef test_it():\n    assert COUNT\n",
    "tests/unit/test_helped.py": "from tests.helper import price\n\n\ndef test_it():\n    assert price()\n",
    "tests/unit/test_counted.py": "def test_it(counted):\n    assert counted\n",
    "tests/unit/test_program.py": "COMMAND = 'python -m shop.till'\n\n\ndef test_it():\n    assert COMMAND\n",
    "tests/unit/test_package.py": "MODULE = 'shop.words'\n\n\ndef test_it():\n    assert MODULE\n",
    "tests/charts/test_values.py": "def test_it():\n    assert True\n",
    "tests/plan/test_any.py": "import shop.prices\n\n\ndef test_it(request):\n    request.getfixturevalue(f'{1}')\n",
    "tests/plan/samples/one.json": "{}\n",
}
UNIT = [
    "unit/test_counted.py",
    "unit/test_helped.py",
    "unit/test_package.py",
    "unit/test_program.py",
    "unit/test_stock.py",
]
ALL = ["charts/test_values.py", "plan/test_any.py", *UNIT]


def git(root: Path, *arguments: str) -> None:
    names = ("-c", "user.name=Ann", "-c", "user.email=ann@example.com")
    subprocess.run(["git", "-C", str(root), *names, *arguments], check=True, capture_output=True)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    root = tmp_path / "shop"
    for name, text in FILES.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    git(tmp_path, "init", "--quiet", "--initial-branch=main", "shop")
    git(root, "add", "--all")
    git(root, "commit", "--quiet", "--message=All")
    return root


def chosen(root: Path, *changed: str) -> list[str]:
    return sorted(file.removeprefix("tests/") for file in Selection(root, changed).chosen())


@pytest.mark.parametrize(
    ("changed", "reached"),
    [
        (["tests/unit/test_stock.py"], ["unit/test_stock.py"]),
        # By an import in a function, of names in brackets, for types alone, and by a command.
        (
            ["shop/stock.py"],
            [
                "plan/test_any.py",
                "unit/test_counted.py",
                "unit/test_helped.py",
                "unit/test_program.py",
                "unit/test_stock.py",
            ],
        ),
        (["shop/till.py"], ["unit/test_helped.py", "unit/test_program.py"]),
        (["shop/__init__.py"], ["plan/test_any.py", *UNIT]),
        (["tests/helper.py"], ["unit/test_helped.py"]),
        # By fixtures: one that asks for another, any where the name is made up, and one that every test has.
        (["shop/window.py"], ["plan/test_any.py", "unit/test_counted.py"]),
        (["shop/rates.py"], UNIT),
        (["tests/conftest.py"], ALL),
        (["tests/unit/conftest.py"], UNIT),
        # Data: named by a module, in a package, named by nobody, of a room, of the whole checkout.
        (["shop/data/rates.yaml"], ["plan/test_any.py", *UNIT]),
        (["shop/words/greeting.txt"], ["unit/test_package.py"]),
        (["tests/plan/samples/one.json"], ["plan/test_any.py"]),
        (["charts/shop/values.yaml"], ["charts/test_values.py", "plan/test_any.py"]),
        (["notes.bin"], ALL),
        (["pyproject.toml"], ALL),
        (["requirements/dev.txt"], ALL),
        ([], []),
    ],
)
def test_tests_reached_by_a_change(checkout: Path, changed: Sequence[str], reached: Sequence[str]) -> None:
    assert chosen(checkout, *changed) == sorted(reached)


def test_deleted_modules_reach_their_users(checkout: Path) -> None:
    (checkout / "shop/till.py").unlink()
    assert chosen(checkout, "shop/till.py") == ["unit/test_helped.py", "unit/test_program.py"]


def test_a_module_that_cannot_be_parsed_is_no_hindrance(checkout: Path) -> None:
    (checkout / "shop/till.py").write_text("def price(:\n    from shop.stock import COUNT\n")
    assert "unit/test_helped.py" in chosen(checkout, "shop/stock.py")


def test_changed_files_are_found(checkout: Path) -> None:
    assert changed_since(checkout)[1] == set()
    git(checkout, "checkout", "--quiet", "-b", "topic")
    git(checkout, "mv", "shop/stock.py", "shop/store.py")
    git(checkout, "commit", "--quiet", "--message=Rename")
    (checkout / "shop/till.py").write_text("# not committed\n")
    (checkout / "shop/new.py").write_text("# not tracked\n")
    of_topic = {"shop/stock.py", "shop/store.py", "shop/till.py", "shop/new.py"}
    assert changed_since(checkout)[1] == of_topic
    assert changed_since(checkout, "main")[1] == of_topic
    assert changed_since(checkout, "HEAD")[1] == {"shop/till.py", "shop/new.py"}
    with pytest.raises(LookupError, match="no commit tests"):
        changed_since(checkout, "tests")


@pytest.fixture
def run(checkout: Path) -> Callable[..., tuple[int, str]]:
    """Runs pytest there as here, and returns its exit status and what it prints."""

    def run(*arguments: str) -> tuple[int, str]:
        options = ["-q", "-p", "tests.changed", "-p", "xdist.plugin", "--import-mode=importlib"]
        path = os.pathsep.join(map(str, (checkout, ROOT)))
        done = subprocess.run(
            [sys.executable, "-m", "pytest", *options, *arguments],
            cwd=checkout,
            env={**os.environ, "PYTHONPATH": path, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
            capture_output=True,
            text=True,
        )
        return done.returncode, done.stdout + done.stderr

    return run


def test_pytest_runs_the_selected_tests(checkout: Path, run: Callable[..., tuple[int, str]]) -> None:
    status, said = run("tests", "--changed")
    assert status == pytest.ExitCode.NO_TESTS_COLLECTED, said
    (checkout / "shop/till.py").write_text("def price():\n    return 0\n")
    status, said = run("tests", "--changed=HEAD")
    assert status == pytest.ExitCode.TESTS_FAILED
    assert "1 failed, 1 passed" in said
    # With pytest-xdist the workers are told.
    assert "1 failed, 1 passed" in run("-n", "1", "tests", "--changed")[1]
    # A file that is named is run.
    assert "1 passed" in run("tests/unit/test_stock.py", "--changed")[1]
    status, said = run("--changed", "tests")
    assert status == pytest.ExitCode.USAGE_ERROR
    assert "write --changed=REF, or --changed behind all paths" in said
