"""No snippet of the documentation is forgotten: a test runs it, or it is listed with a reason. All are well formed."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys

import pytest

from monitoring.known_series import KNOWN
from tests.pages import snippets
from tests.pages.snippets import Snippet

ALL = [one for page in snippets.pages() for one in snippets.of(page)]
OF = {language: [one for one in ALL if one.language == language] for language in {one.language for one in ALL}}


def test_every_snippet_declares_its_language() -> None:
    known = {*snippets.RUNNABLE, *snippets.SHOWN}
    assert [str(one) for one in ALL if one.language not in known] == []
    fences = sum((snippets.ROOT / page).read_text().count("```") for page in snippets.pages())
    assert fences == 2 * len(ALL), "a fence that is no snippet"


def test_code_is_fenced() -> None:
    """What is only indented has no language."""
    indented = re.compile(r"(?<=\n\n)    \S.*")
    for page in snippets.pages():
        text = (snippets.ROOT / page).read_text()
        for one in snippets.of(page):
            text = text.replace(one.text, "")
        assert indented.findall(text) == [], page


def test_prose_is_outside_of_fences() -> None:
    """A sentence before a snippet ends with a colon; bash takes it for a command."""
    sentence = re.compile(r"[A-Z]\w* .*:$", re.MULTILINE)
    assert [str(one) for one in ALL if one.language != "text" and sentence.match(one.text)] == []


def test_listed_exceptions_exist() -> None:
    """A snippet that was changed or moved is listed anew, or run from then on."""
    for page, listed in snippets.NOT_RUN.items():
        runnable = [one for one in snippets.of(page) if one.language in snippets.RUNNABLE]
        assert runnable, page
        for beginning in () if isinstance(listed, str) else listed:
            assert sum(one.text.startswith(beginning) for one in runnable) == 1, (page, beginning)


def test_executed_snippets_are_shell_or_python() -> None:
    """Of the other languages that readers run, each snippet is listed."""
    run = [one for page in snippets.pages() for one in snippets.run_of(page)]
    assert len(run) > 40
    assert [str(one) for one in run if one.language not in ("sh", "python")] == []


def test_incomplete_snippets_are_not_executed() -> None:
    """An ellipsis stands for what a reader puts in its place, unless the test of the page knows what."""
    from tests.stack.docs.reader import PUT

    for page in snippets.pages():
        for one in snippets.run_of(page):
            text = one.text
            for shown in PUT.get(page, {}):
                text = text.replace(shown, "")
            assert "…" not in text, one
            assert "..." not in text, one


@pytest.mark.parametrize("snippet", [one for one in OF["sh"] if snippets.reason(one) != snippets.USAGE], ids=str)
def test_shell_snippets_are_valid(snippet: Snippet) -> None:
    done = subprocess.run(["bash", "-n"], input=snippet.text, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("snippet", OF["python"], ids=str)
def test_python_snippets_compile(snippet: Snippet) -> None:
    compile(snippet.text, str(snippet), "exec")


@pytest.mark.parametrize("snippet", OF["json"], ids=str)
def test_json_snippets_are_valid(snippet: Snippet) -> None:
    json.loads(snippet.text)


_METRIC = re.compile(r"\b(?:headrace|ray|vllm|llamacpp|haproxy)[_:][a-z_:0-9]+|\b(?:llm|gpu|model|stack):[a-z_:0-9]+")


@pytest.mark.parametrize("snippet", OF["promql"], ids=str)
def test_queries_use_existing_metrics(snippet: Snippet) -> None:
    named = _METRIC.findall(snippet.text)
    assert named
    assert [name for name in named if name not in KNOWN] == []


def _python() -> list[tuple[Snippet, ast.Module]]:
    """Returns the Python that tests run, as trees."""
    run = [one for page in snippets.pages() for one in snippets.run_of(page) if one.language == "python"]
    return [(one, ast.parse(one.text)) for one in run]


def test_samples_import_what_a_reader_has() -> None:
    """Python's own modules, and OpenAI's client, of which the tutorial says how to install it; not what it brings."""
    found = {
        (str(one), name.partition(".")[0])
        for one, tree in _python()
        for node in ast.walk(tree)
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [str(node.module)]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    }
    assert any(name == "openai" for _, name in found)
    assert {(one, name) for one, name in found if name != "openai" and name not in sys.stdlib_module_names} == set()


def test_samples_that_wait_for_an_answer_bound_its_length() -> None:
    """The packaged model goes on, and repeats itself, until its context is full: 51 s in the background."""
    asked = [
        (str(one), {keyword.arg for keyword in node.keywords})
        for one, tree in _python()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
    ]
    waiting = [(one, names) for one, names in asked if "background" in names]
    assert waiting
    assert [one for one, names in waiting if "max_output_tokens" not in names] == []


def test_no_snippet_that_a_host_runs_asks_a_cluster_or_a_cloud() -> None:
    """Else it is found when `.ci/full` types it on a host that has none: list it with its reason in `NOT_RUN`."""
    asking = re.compile(r"^(?:kubectl|helm|aws|az|gcloud|flux|argocd) ", re.MULTILINE)
    assert [str(one) for page in snippets.pages() for one in snippets.run_of(page) if asking.search(one.text)] == []
