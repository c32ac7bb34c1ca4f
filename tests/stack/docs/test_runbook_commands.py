"""The host commands of the runbooks work where an operator types them: on the host of a stack."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.pages import runbooks
from tests.stack.docs.operator import Operator, with_certificate
from tests.stacks.stack import Stack

pytestmark = pytest.mark.full


@pytest.fixture(scope="module")
def operator(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operator]:
    exporter = stack.settings()["ports"]["exporter"]  # type: ignore[index]
    with with_certificate(tmp_path_factory.mktemp("certificate")) as tls:
        yield Operator(stack, exporter, tls)


@pytest.mark.parametrize("page", [page for page in runbooks.pages() if runbooks.on_host(page)])
def test_host_commands_of_a_runbook_run(page: str, operator: Operator) -> None:
    for command in runbooks.on_host(page):
        operator.types(command)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("tail -n 3 .headrace/local/logs/absent.log", "No such file"),
        ("sh -c 'tail -n 3 /tmp/headrace-*/absent/*.log | head'", "No such file"),
        ("grep -rh error /tmp/headrace-*/absent | tail -5", "No such file"),
        ("du -xh --max-depth=2 .headrace/local/absent | sort -h | tail", "du fails"),
        ("sh -c 'absent | tail -n 3'", "not found"),
        ("curl -s http://127.0.0.1:8080/v1/absent | head -n 1", "curl fails"),
        ("headrace keys get KEY_ID --tenant absent", "exit status"),
        ("make absent", "exit status"),
        ("openssl s_client -connect 127.0.0.1:9 </dev/null 2>/dev/null | openssl x509 -noout -dates", "exit status"),
    ],
)
def test_a_command_that_does_not_work_is_found(text: str, said: str, operator: Operator) -> None:
    with pytest.raises(AssertionError, match=said):
        operator.types(runbooks.Command("page.md", "page.md:1", "host", text))
