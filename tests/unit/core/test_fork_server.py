"""Children of a server that has seen nothing: each for one question, and gone when it is answered."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from serving.core import fork_server
from serving.core.child import Overrun
from serving.core.fork_server import ForkServer

MODULE = "tests.unit.core.forked"
ROOT = Path(__file__).parents[3]
WAIT = "import os, time; os.write(1, f'{os.getpid()} {os.getppid()}'.encode()); time.sleep(60)"


def asked(server: ForkServer, question: str, **options: object) -> str:
    given = {"bound": 1_000_000, "deadline": time.monotonic() + 60, **options}
    return server.ask(question.encode(), **given).decode()  # type: ignore[arg-type]


def gone(pid: int) -> bool:
    for _ in range(500):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.02)
    return False


@pytest.fixture
def server() -> Iterator[ForkServer]:
    made = ForkServer(MODULE)
    yield made
    if made._server is not None:
        fork_server._retire(made._server)


def test_each_question_has_a_child_that_saw_no_other(server: ForkServer) -> None:
    program = "import os; print(os.getppid(), os.getpid(), seen); seen.append('tangerine')"
    parents, children, seen = zip(*(asked(server, program).split() for _ in range(3)), strict=True)
    assert len(set(parents)) == 1
    assert len(set(children)) == 3
    assert set(seen) == {"[]"}


def test_many_ask_at_once_and_children_hold_nothing_of_each_other(server: ForkServer) -> None:
    def ask(number: int) -> str:
        return asked(
            server, f"import os, time; time.sleep(0.02); print({number}, *sorted(os.listdir('/proc/self/fd')))"
        )

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(ask, range(24)))
    # 3 is the folder that is listed.
    assert answers == [f"{number} 0 1 2 3\n" for number in range(24)]


def test_a_child_has_no_environment(server: ForkServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLANTED", "tangerine")
    assert "tangerine" not in asked(server, "import os; print(dict(os.environ), open('/proc/self/environ').read())")


@pytest.mark.parametrize("why", ["deadline", "bound", "wanted"])
def test_a_child_over_a_limit_is_dead_before_the_caller_is_told(server: ForkServer, tmp_path: Path, why: str) -> None:
    pid = tmp_path / "pid"
    program = f"import os\nopen({str(pid)!r}, 'w').write(str(os.getpid()))\nwhile True: os.write(1, b'x' * 100)"
    asked(server, "")  # the server has started
    options: dict[str, object] = {
        "deadline": {"deadline": time.monotonic() + 0.5, "bound": 1 << 40},
        "bound": {"bound": 10_000},
        "wanted": {"wanted": lambda: not pid.exists(), "bound": 1 << 40},
    }[why]  # type: ignore[assignment]
    with pytest.raises(Overrun):
        asked(server, program, **options)
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid.read_text()), 0)
    assert asked(server, "print('next')") == "next\n"


def test_a_server_whose_child_crashed_forks_no_more(server: ForkServer) -> None:
    before = asked(server, "import os; print(os.getppid())")
    assert asked(server, "import os; os.write(1, b'half'); os.kill(os.getpid(), 11)") == "half"
    after = asked(server, "import os; print(os.getppid())")
    assert after != before
    assert gone(int(before))


def test_a_failure_is_no_crash(server: ForkServer) -> None:
    before = asked(server, "import os; print(os.getppid())")
    assert asked(server, "raise SystemExit(3)") == ""
    assert asked(server, "import os; os.kill(os.getpid(), 9)") == ""
    assert asked(server, "import os; print(os.getppid())") == before


def test_a_server_is_replaced_after_its_last_child(server: ForkServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fork_server, "MAX_CHILDREN", 2)
    parents = [int(asked(server, "import os; print(os.getppid())")) for _ in range(4)]
    assert parents[0] == parents[1] != parents[2] == parents[3]
    assert gone(parents[0])


def test_a_server_that_is_killed_takes_its_children_with_it(server: ForkServer, tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    program = f"import os, pathlib, time; file = pathlib.Path({str(pids)!r}); again = file.exists()\n"
    program += "again or (file.write_text(f'{os.getpid()} {os.getppid()} '), time.sleep(60)); print('again')"
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(asked, server, program)
        while not (pids.exists() and pids.read_text().endswith(" ")):
            time.sleep(0.01)
        child, forker = map(int, pids.read_text().split())
        os.kill(forker, signal.SIGKILL)
        try:  # where the server could not say any more that it had forked a child, it is asked again
            assert waiting.result(30) == "again\n"
        except ChildProcessError as e:
            assert "was killed while a child answered" in str(e)  # noqa: PT017
    assert gone(child)
    assert asked(server, "print('next')") == "next\n"


def test_a_server_that_is_asked_nothing_ends_and_another_starts() -> None:
    server = ForkServer(MODULE, lambda: ["0.05"])
    before = int(asked(server, "import os; print(os.getppid())"))
    assert gone(before)
    assert int(asked(server, "import os; print(os.getppid())")) != before


def test_a_module_that_does_not_start() -> None:
    with pytest.raises(ChildProcessError, match=r"serving\.nowhere"):
        asked(ForkServer("serving.nowhere"), "")


def test_children_end_with_the_process_that_requested_them() -> None:
    program = f"""
import os, time
from serving.core import fork_server

def read(descriptor, *_):
    os.write(1, os.read(descriptor, 100))
    os._exit(0)

fork_server.read_answer = read
fork_server.ForkServer({MODULE!r}).ask({WAIT.encode()!r}, bound=100, deadline=time.monotonic() + 60)
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    child, forker = map(int, done.stdout.split())
    assert gone(child)
    assert gone(forker)
