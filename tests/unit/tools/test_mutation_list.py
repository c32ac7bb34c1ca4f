"""`make mutations` on a toy project: which mutants are killed, and what is said of those that are not."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from tools.mutations import __main__ as program
from tools.mutations.__main__ import LIST, ROOT, main, run
from tools.mutations.copies import Copy
from tools.mutations.entry import Mutation, find_test, misfit_reason, read_list, read_tests
from tools.report import ToolError

Entry = dict[str, Any]

CODE = """
LIMIT = 3


def allowed(count):
    return count < LIMIT


def greeting(name):
    return f"Hello, {name}"
"""
TESTS = """
import pytest
from shop import allowed, greeting


@pytest.mark.parametrize(("count", "said"), [(2, True), (3, False)])
def test_the_limit(count, said):
    assert allowed(count) is said


def test_a_greeting():
    assert greeting("Ann").endswith("Ann")


class TestTwice:
    def test_the_limit(self):
        assert not allowed(4)


def test_it_never_passes():
    assert greeting("Ann") == ""


@pytest.mark.skip(reason="not here")
def test_it_never_runs():
    assert allowed(0)
"""


def entry(id: str, old: str, new: str, test: str, **more: str) -> Entry:
    return {"id": id, "breaks": "It says so.", "file": "shop.py", "old": old, "new": new, "test": test, **more}


CAUGHT = entry("limit", "count < LIMIT", "count <= LIMIT", "test_shop.py::test_the_limit")
SURVIVES = entry("greeting", "Hello", "Goodbye", "test_shop.py::test_a_greeting")
GONE = entry("gone", "count > LIMIT", "count", "test_shop.py::test_the_limit")
FAILS = entry("fails", "Hello", "Goodbye", "test_shop.py::test_it_never_passes")
SKIPPED = entry("skipped", "count < LIMIT", "False", "test_shop.py::test_it_never_runs")
IMPORTS = entry("imports", "LIMIT = 3", "from shelf import LIMIT", "test_shop.py::test_the_limit")


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Sequence[Entry]], Path]:
    """Makes a project with a list; what it has is not committed. Its tests need no plugin."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")

    def make(entries: Sequence[Entry]) -> Path:
        root = tmp_path / "project"
        files = {"shop.py": CODE, "tests/unit/test_shop.py": TESTS, str(LIST): yaml.safe_dump(list(entries))}
        for name, text in files.items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(text)
        subprocess.run(["git", "init", "--quiet", str(root)], check=True)
        return root

    return make


def results(root: Path, **options: Any) -> dict[str, str]:
    return {verdict.mutation.id: verdict.result for verdict in run(root, read_list(root / LIST), **options)}


def test_mutants_get_their_verdicts(project: Callable[..., Path]) -> None:
    root = project([CAUGHT, SURVIVES, GONE, FAILS, SKIPPED, IMPORTS])
    found = results(root, jobs=2)
    assert found.pop("limit") == "killed"
    assert found == {
        "greeting": "survived",
        "gone": "stale",
        "fails": "broken",
        "skipped": "broken",
        "imports": "invalid",
    }
    assert (root / "shop.py").read_text() == CODE


def test_tests_are_checked_a_few_at_a_time(project: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """Each run of them has to end within its time."""
    checked = []
    runner = program.failing_tests

    def noted(copy: Copy, tests: Sequence[str], options: Sequence[str]) -> dict[str, str]:
        checked.append(len(tests))
        return runner(copy, tests, options)

    monkeypatch.setattr(program, "CHECKED", 1)
    monkeypatch.setattr(program, "failing_tests", noted)
    assert results(project([CAUGHT, FAILS]))["fails"] == "broken"
    assert checked == [1, 1]


def test_without_the_base_check_a_test_that_never_passes_kills(project: Callable[..., Path]) -> None:
    assert results(project([FAILS, SKIPPED]), base_check=False) == {"fails": "killed", "skipped": "survived"}


def test_the_summary_explains_what_to_do(project: Callable[..., Path], capsys: pytest.CaptureFixture[str]) -> None:
    root = project([CAUGHT, SURVIVES, GONE])
    assert main([], root) == 1
    said = capsys.readouterr()
    assert sorted(line.split()[0] for line in said.out.splitlines()[:-1]) == ["killed", "stale", "survived"]
    assert said.out.splitlines()[-1].startswith("1 of 3 mutants killed in ")
    assert "survived: greeting: It says so.; the test passes with the mutation" in said.err
    assert "stale: gone: It says so. (the snippet occurs 0 times in shop.py" in said.err
    assert main(["--only", "lim*"], root) == 0


def test_arguments_select_mutations(project: Callable[..., Path], capsys: pytest.CaptureFixture[str]) -> None:
    root = project([CAUGHT, SURVIVES, entry("up", "LIMIT = 3", "LIMIT = 4", CAUGHT["test"], tier="stack")])
    for arguments, ids in (
        (["--list"], ["limit", "greeting"]),
        (["--list", "--tier", "stack"], ["up"]),
        (["--list", "--only", "*::test_a_greeting"], ["greeting"]),
        (["--list", "--only", "greet*", "--only", "shop.py"], ["limit", "greeting"]),
    ):
        assert main(arguments, root) == 0
        assert [line.split()[0] for line in capsys.readouterr().out.splitlines()[::2]] == ids
    assert main(["--only", "nothing"], root) == 1
    assert "no mutation matches" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"file": "store.py"}, "store.py does not exist"),
        ({"old": "count"}, "the snippet occurs 2 times in shop.py"),
        ({"new": "count <"}, "with `new`, shop.py is not valid Python"),
        ({"test": "test_shop.py::test_nothing"}, "no file test_shop.py under tests defines test_nothing"),
        ({"test": "test_till.py::test_a_greeting"}, "which is in tests/unit/test_shop.py"),
    ],
)
def test_an_entry_that_no_longer_applies(project: Callable[..., Path], changed: Entry, why: str) -> None:
    root = project([])
    assert why in misfit_reason(root, read_tests(root), Mutation.model_validate(CAUGHT | changed))


def test_a_test_is_found_wherever_it_is(project: Callable[..., Path]) -> None:
    root = project([])
    found = "tests/unit/test_shop.py::test_a_greeting"
    assert find_test(read_tests(root), "test_shop.py::test_a_greeting") == found
    assert find_test(read_tests(root), "unit/test_shop.py::test_a_greeting") == found
    assert find_test(read_tests(root), "test_shop.py::TestTwice::test_the_limit").endswith(
        "::TestTwice::test_the_limit"
    )
    (root / "tests/stack").mkdir()
    (root / "tests/unit/test_shop.py").rename(root / "tests/stack/test_shop.py")
    assert find_test(read_tests(root), "test_shop.py::test_a_greeting") == found.replace("unit", "stack")
    (root / "tests/test_shop.py").write_text(TESTS)
    with pytest.raises(LookupError, match="name one by a longer path"):
        find_test(read_tests(root), "test_shop.py::test_a_greeting")


@pytest.mark.parametrize(
    "text", ["a: b", "- id: a", "- [", yaml.safe_dump([CAUGHT, CAUGHT]), yaml.safe_dump([CAUGHT | {"note": "x"}])]
)
def test_invalid_lists_are_rejected(tmp_path: Path, text: str) -> None:
    (tmp_path / "list.yaml").write_text(text)
    with pytest.raises(ToolError):
        read_list(tmp_path / "list.yaml")


def test_every_entry_of_ours_applies() -> None:
    mutations, tests = read_list(ROOT / LIST), read_tests(ROOT)
    assert len(mutations) >= 60
    assert {m.id: why for m in mutations if (why := misfit_reason(ROOT, tests, m))} == {}


def test_a_file_has_at_most_two_mutations() -> None:
    files = [mutation.file for mutation in read_list(ROOT / LIST)]
    assert [file for file in sorted(set(files)) if files.count(file) > 2] == []
