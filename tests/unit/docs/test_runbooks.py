"""No command of a runbook is forgotten: each has one who runs it, or is listed with a reason."""

from __future__ import annotations

import subprocess

import pytest

from tests.pages import runbooks
from tests.pages.runbooks import Command

ALL = [one for page in runbooks.pages() for one in runbooks.of(page)]
SHELL = [one for one in ALL if one.kind != "promql"]


def test_every_command_has_one_who_runs_it() -> None:
    """Else `of` raises; the blocks of a page are those that its fences enclose."""
    kinds = [one.kind for one in ALL]
    assert min(kinds.count("host"), kinds.count("kubectl"), kinds.count("promql")) > 60
    for page in runbooks.pages():
        text = (runbooks.snippets.ROOT / page).read_text()
        assert text.count("```") == 2 * len(list(runbooks.snippets.of(page))), page


@pytest.mark.parametrize(
    ("language", "line", "said"),
    [
        ("", "kubectl get pods", "a block of no language"),
        ("bash", "kubectl get pods", "a block of bash"),
        ("sh", "iostat -x", "iostat is neither kubectl nor a program of the host"),
        ("sh", "python -m serving.store wait", "python is neither"),
        ("sh", "sudo kubectl get pods", "sudo is neither"),
    ],
)
def test_a_command_that_nobody_runs_is_found(language: str, line: str, said: str) -> None:
    with pytest.raises(ValueError, match=f"^page.md:7: {said}"):
        runbooks.kind_of(language, line, "page.md:7")


def test_listed_exceptions_exist() -> None:
    for beginning in runbooks.NOT_RUN:
        assert any(one.text.startswith(beginning) and one.kind == "host" for one in ALL), beginning


def test_each_kubectl_of_a_pipe_is_found() -> None:
    text = "kubectl create secret tls a --dry-run=client -o yaml | kubectl apply -f -"
    both = runbooks.kubectl_arguments(Command("page.md", "page.md:1", "kubectl", text))
    assert [one[0] for one in both] == ["create", "apply"]
    quoted = Command("page.md", "page.md:1", "kubectl", "kubectl exec -n a POD -- sh -c 'grep -h a /b | tail -1'")
    assert runbooks.kubectl_arguments(quoted) == [
        ["exec", "-n", "a", "POD", "--", "sh", "-c", "grep -h a /b | tail -1"]
    ]


@pytest.mark.parametrize("command", SHELL, ids=str)
def test_commands_are_valid_shell(command: Command) -> None:
    scripts = [command.text]
    for words in runbooks.kubectl_arguments(command) if command.kind == "kubectl" else ():
        if "sh" in words:
            scripts.append(words[words.index("sh") + 2])
    for script in scripts:
        done = subprocess.run(["bash", "-n"], input=script, capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (0, "")
