"""Questions to child processes that start quickly: a server imports their modules once, and forks a child for each
question.

`ForkServer.ask` has the interface of `serving.core.child.ask`. The server is `python -m <module>` with an empty
environment and one thread. It never reads a question: it passes on descriptors, so that each child starts as the same
process without anybody's data, and confines itself before it reads. A child dies with the server, and with the caller.

Forked children share one address-space layout. To prevent it from being learned by one child and used in another, a
server whose child crashed gets no further questions, and neither does one that has forked `MAX_CHILDREN`.
"""

from __future__ import annotations

import ctypes
import gc
import os
import selectors
import signal
import socket
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from typing import Final, NoReturn

from serving.core.child import begin, question_file, read_answer

MAX_CHILDREN: Final = 1_000

IDLE_S: Final = 60.0
"""Time without questions after which a server exits."""

_REAP_S: Final = 30.0
"""A server whose killed child is not gone after this time is considered broken."""

_FORKED, _ENDED, _CRASHED = b"f", b"e", b"c"
"""Messages of a server about a child."""

_CRASHES: Final = {signal.SIGSEGV, signal.SIGBUS, signal.SIGILL, signal.SIGABRT, signal.SIGFPE, signal.SIGSYS}


class _NotForked(Exception):
    """The server exited before it forked a child for the question."""


@dataclass(eq=False)
class _ForkedServer:
    process: subprocess.Popen[bytes]
    control: socket.socket
    asked: int = 0
    waiting: int = 0
    retired: bool = False


class ForkServer:
    """Asks children of one server, which is started at the first question. Safe to share between threads."""

    def __init__(self, module: str, arguments: Callable[[], Sequence[str]] = tuple) -> None:
        """`arguments` is called when a server starts; `module` calls `serve`."""
        self._module = module
        self._arguments = arguments
        self._lock = threading.Lock()
        self._server: _ForkedServer | None = None

    def ask(self, question: bytes, *, bound: int, deadline: float, wanted: Callable[[], bool] = lambda: True) -> bytes:
        """Returns a child's output until its end, which may be a crash; the child is gone then.

        Raises `Overrun` as `serving.core.child.ask` does, and `ChildProcessError` when no child can be started, or when
        the server exited before its child, which is independent of the question.
        """
        with suppress(_NotForked):  # it had been idle for too long, or was killed
            return self._ask(question, bound, deadline, wanted)
        try:
            return self._ask(question, bound, deadline, wanted)
        except _NotForked:
            raise ChildProcessError(f"{self._module} ended before it could fork") from None

    def _ask(self, question: bytes, bound: int, deadline: float, wanted: Callable[[], bool]) -> bytes:
        with ExitStack() as ours, ExitStack() as childs:
            reading, writing = os.pipe()
            ours.callback(os.close, reading)
            childs.callback(os.close, writing)
            lifeline, other_end = map(ours.enter_context, socket.socketpair())
            server = self._lease()
            try:
                with question_file(question) as file:
                    _send(server.control, (file.fileno(), writing, other_end.fileno()))
                other_end.close()
                childs.close()
                answer = read_answer(reading, bound, deadline, wanted)
            finally:
                other_end.close()
                said = _end(lifeline)
                self._return(server, said)
        if _FORKED not in said:
            raise _NotForked
        if _ENDED not in said and _CRASHED not in said:
            # Whatever the child has written.
            raise ChildProcessError(f"{self._module} was killed while a child answered")
        return answer

    def _lease(self) -> _ForkedServer:
        with self._lock:
            server = self._server
            if server is None or server.retired or server.asked >= MAX_CHILDREN or server.process.poll() is not None:
                if server is not None:
                    _retire(server)
                server = self._server = self._start()
            server.asked += 1
            server.waiting += 1
            return server

    def _start(self) -> _ForkedServer:
        ours, theirs = socket.socketpair()
        with theirs:
            stdin = theirs.fileno()
            process = begin(self._module, self._arguments(), options="-P", stdin=stdin, stdout=subprocess.DEVNULL)
        # Waited for, so that a server that exits by itself does not remain as a zombie.
        threading.Thread(target=process.wait, name="fork-server", daemon=True).start()
        return _ForkedServer(process, ours)

    def _return(self, server: _ForkedServer, said: bytes) -> None:
        with self._lock:
            server.waiting -= 1
            if _ENDED not in said:  # it crashed, or the server does not answer
                server.retired = True
            if _FORKED in said and _ENDED not in said and _CRASHED not in said:
                server.process.kill()  # its children die with it
            if server.retired:
                _retire(server)


def _send(control: socket.socket, descriptors: Sequence[int]) -> None:
    try:
        socket.send_fds(control, [b"?"], descriptors)
    except OSError:
        raise _NotForked from None


def _end(lifeline: socket.socket) -> bytes:
    """Has the child terminated, waits until it is gone, and returns the server's message about it."""
    said = bytearray()
    with lifeline, suppress(OSError):
        lifeline.settimeout(_REAP_S)
        lifeline.shutdown(socket.SHUT_WR)
        while data := lifeline.recv(16):
            said += data
    return bytes(said)


def _retire(server: _ForkedServer) -> None:
    """A server exits once nobody holds the other end of its socket."""
    server.retired = True
    if not server.waiting:
        server.control.close()


# The server's side.


def serve(
    answer: Callable[[], None], preparations: Iterable[Callable[[], object]] = (), idle_s: float = IDLE_S
) -> None:
    """Forks a child for each question, which calls `answer` to read it from stdin and to write to stdout.

    It is called by a process that `ForkServer` started, which has one thread. `preparations` run one after the other
    while there are no questions; a child that is forked before does the missing ones itself. Returns when the caller
    has ended, or sends no question for `idle_s` seconds.
    """
    left = deque([*preparations, gc.freeze])  # last, so that memory shared by all children is not written to
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # of a terminal: the caller decides what to do
    signal.signal(signal.SIGCHLD, lambda *_: None)
    wake, wake_writer = os.pipe()
    for descriptor in (wake, wake_writer):
        os.set_blocking(descriptor, False)
    signal.set_wakeup_fd(wake_writer, warn_on_full_buffer=False)
    control = socket.socket(fileno=os.dup(0))
    lifelines: dict[int, socket.socket] = {}
    with selectors.DefaultSelector() as selector:
        selector.register(control, selectors.EVENT_READ)
        selector.register(wake, selectors.EVENT_READ)
        while True:
            events = selector.select(0 if left else None if lifelines else idle_s)
            if not events:
                if not left:
                    return
                left.popleft()()
            for key, _ in events:
                if key.fileobj is control:
                    if not (taken := _take(control)):
                        return  # children die with their parent
                    pid = _fork(answer, *taken[:2])
                    lifeline = socket.socket(fileno=taken[2])
                    lifelines[pid] = lifeline
                    selector.register(lifeline, selectors.EVENT_READ, pid)
                    _tell(lifeline, _FORKED)
                elif key.fileobj is wake:
                    os.read(wake, 4096)
                elif key.data in lifelines:  # the caller has the answer, no longer wants it, or has ended
                    os.kill(key.data, signal.SIGKILL)
                    selector.unregister(key.fileobj)
            _reap(lifelines, selector)


def _take(control: socket.socket) -> list[int]:
    """Returns the descriptors of a question: its file, the pipe for the answer, and the lifeline."""
    said, descriptors, _, _ = socket.recv_fds(control, 1, 3)
    return descriptors if said and len(descriptors) == 3 else []


def _fork(answer: Callable[[], None], question: int, pipe: int) -> int:
    parent = os.getpid()
    pid = os.fork()
    if not pid:
        _be_child(answer, question, pipe, parent)
    os.close(question)
    os.close(pipe)
    return pid


def _be_child(answer: Callable[[], None], question: int, pipe: int, parent: int) -> NoReturn:
    status = 1
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        if sys.platform == "linux":
            ctypes.CDLL(None).prctl(1, signal.SIGKILL, 0, 0, 0)  # PR_SET_PDEATHSIG
        os.dup2(question, 0)
        os.dup2(pipe, 1)
        os.closerange(3, os.sysconf("SC_OPEN_MAX"))  # descriptors of others: the server's socket and their lifelines
        if os.getppid() == parent:
            answer()
            sys.stdout.flush()
            status = 0
    finally:
        os._exit(status)


def _reap(lifelines: dict[int, socket.socket], selector: selectors.BaseSelector) -> None:
    while lifelines:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if not pid:
            return
        lifeline = lifelines.pop(pid)
        with suppress(KeyError):
            selector.unregister(lifeline)
        crashed = os.WIFSIGNALED(status) and os.WTERMSIG(status) in _CRASHES
        _tell(lifeline, _CRASHED if crashed else _ENDED)
        lifeline.close()


def _tell(lifeline: socket.socket, what: bytes) -> None:
    with suppress(OSError):  # the caller has ended
        lifeline.send(what)
