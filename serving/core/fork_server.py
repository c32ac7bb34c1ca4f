"""Questions to child processes that are there in a blink: a server imports what they need, and forks one for each.

`ForkServer.ask` does what `serving.core.child.ask` does. The server is `python -m <module>` with an empty environment,
in one thread. It reads no question: it passes on descriptors, so each child begins as the same process that has seen
nobody's data, and puts up its own walls before it reads. A child dies with the server, and with whoever asked.

Forked children have one address-space layout. So that nobody learns it from one and uses it in another, a server
whose child crashed gets no further questions, nor does one that has forked `MAX_CHILDREN`.
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
"""A server that is asked nothing for so long ends."""

_REAP_S: Final = 30.0
"""A killed child that is not gone by then has a server that does not work."""

_FORKED, _ENDED, _CRASHED = b"f", b"e", b"c"
"""What a server says of a child."""

_CRASHES: Final = {signal.SIGSEGV, signal.SIGBUS, signal.SIGILL, signal.SIGABRT, signal.SIGFPE, signal.SIGSYS}


class _NotForked(Exception):
    """The server ended before it had a child for the question."""


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
        """`arguments` are asked for when a server starts; `module` calls `serve`."""
        self._module = module
        self._arguments = arguments
        self._lock = threading.Lock()
        self._server: _ForkedServer | None = None

    def ask(self, question: bytes, *, bound: int, deadline: float, wanted: Callable[[], bool] = lambda: True) -> bytes:
        """Returns what a child answered to its end, which may be a crash; the child is gone then.

        Raises `Overrun` as `serving.core.child.ask` does, and `ChildProcessError` when no child can be had, or when the
        server ended before its child: that says nothing of the question.
        """
        with suppress(_NotForked):  # it had nothing to do for a while, or was killed
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
            raise ChildProcessError(f"{self._module} was killed while a child answered")  # whatever that had said
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
        # Waited for, so that one that ends by itself leaves no zombie.
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
    """Has the child ended, waits until it is gone, and returns what the server said of it."""
    said = bytearray()
    with lifeline, suppress(OSError):
        lifeline.settimeout(_REAP_S)
        lifeline.shutdown(socket.SHUT_WR)
        while data := lifeline.recv(16):
            said += data
    return bytes(said)


def _retire(server: _ForkedServer) -> None:
    """A server ends once nobody holds the other end of its socket."""
    server.retired = True
    if not server.waiting:
        server.control.close()


# The server's side.


def serve(
    answer: Callable[[], None], preparations: Iterable[Callable[[], object]] = (), idle_s: float = IDLE_S
) -> None:
    """Forks a child for each question, which calls `answer` to read it from stdin and to write to stdout.

    To be called by a process that `ForkServer` started, which has one thread. `preparations` are made one after the
    other while there is no question; a child that is forked before does itself what it needs of them. Returns when
    whoever asks has ended, or asks nothing for `idle_s` seconds.
    """
    left = deque([*preparations, gc.freeze])  # in the end, so that what all children share is not written to
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # of a terminal: whoever asks knows what to do
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
                elif key.data in lifelines:  # whoever asked has the answer, does not want it any more, or is gone
                    os.kill(key.data, signal.SIGKILL)
                    selector.unregister(key.fileobj)
            _reap(lifelines, selector)


def _take(control: socket.socket) -> list[int]:
    """Returns the descriptors of a question: its file, the pipe of the answer, and the lifeline."""
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
        os.closerange(3, os.sysconf("SC_OPEN_MAX"))  # what is others': the server's socket and their lifelines
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
    with suppress(OSError):  # whoever asked is gone
        lifeline.send(what)
