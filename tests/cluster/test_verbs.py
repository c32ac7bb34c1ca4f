"""The verbs of a stack on a cluster that differ from those of a local one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import httpx
import pytest

from infra.layout import CHECKOUT
from tests.cluster.stack import ClusterStack

# An attack on Ray begins here, which test_isolation.py judges: other tests go on while it waits.
pytestmark = pytest.mark.usefixtures("kept_out")


def test_down_refuses_to_delete_data_without_purge(stack: ClusterStack) -> None:
    with pytest.raises(AssertionError) as raised:
        stack.run("down")
    assert "to delete both, run `make purge`" in str(raised.value)


def test_up_changes_nothing_that_nobody_can_confirm(stack: ClusterStack) -> None:
    with pytest.raises(AssertionError) as raised:
        stack.run("up")
    assert "here is no terminal to answer at" in str(raised.value)


def test_the_api_is_reachable_through_a_forwarded_port(stack: ClusterStack) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "tools.stack", "--stack", stack.name, "forward"],
        cwd=CHECKOUT,
        stdout=subprocess.PIPE,
        env=dict(os.environ),
        text=True,
        # As from a terminal: what a shell starts in the background ignores it.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as process:
        try:
            assert process.stdout is not None
            url = process.stdout.readline().strip().removeprefix("export URL=")
            headers = {"Authorization": f"Bearer {stack.key}"}
            with httpx.Client(base_url=url, headers=headers, timeout=60, trust_env=False) as client:
                for _ in range(3):
                    assert client.get("/v1/models").status_code == 200
            body = {"model": "docs", "stream": True, "messages": [{"role": "user", "content": "Where is the data?"}]}
            with httpx.stream(
                "POST", f"{url}/v1/chat/completions", headers=headers, json=body, timeout=120, trust_env=False
            ) as answer:
                assert answer.status_code == 200
                assert list(answer.iter_lines())[-2] == "data: [DONE]"
        finally:
            process.send_signal(signal.SIGINT)
        assert process.wait(30) == 130
