"""Confinement of a process, tested with plain Python directly on the kernel."""

from __future__ import annotations

import errno
import json
import os
import re
import signal
import struct
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.core import confine
from serving.core.confine import LIBRARIES, Unconfined, landlock_abi

ROOT = str(Path(__file__).parents[3])
PYTHON = [sysconfig.get_path("stdlib"), f"{sys.base_prefix}/lib", *map(str, LIBRARIES)]

RUNNER = """
import ctypes, fcntl, json, os, resource, select, signal, socket, subprocess, sys, traceback
from pathlib import Path
from serving.core import confine
libc = ctypes.CDLL(None, use_errno=True)
def call(name, *arguments):
    result = getattr(libc, name)(*arguments)
    if result == -1:
        raise OSError(ctypes.get_errno(), name)
    return result
def attempt(folder, code):
    os.mkdir(folder)
    os.chdir(folder)
    Path("file").write_text("text")
    Path("file2").write_text("text")
    file, other, pipe = os.open("file", os.O_RDONLY), os.open("file2", os.O_RDWR), os.pipe()
    if behind_the_wall:
        confine.confine(confine.ProcessLimits(1_000_000_000, 20), map(Path, readable))
    try:
        exec(code, globals() | locals())
    except OSError as e:
        os._exit(e.errno)
    except BaseException:
        traceback.print_exc()
        os._exit(255)
    os._exit(0)
behind_the_wall, readable, attempts = json.load(sys.stdin)
ended = {}
for name, code in attempts.items():
    child = os.fork() or attempt(os.path.join(sys.argv[1], name), code)
    ended[name] = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
print(json.dumps(ended))
"""
"""Runs each attempt in a process of its own; prints the number of the error that stopped it, 0 for none."""

ATTEMPTS = {
    "read-a-file": "open('file').read()",
    "read-a-password-file": "open('/etc/passwd').read()",
    "read-the-environment": "open('/proc/self/environ').read()",
    "read-own-memory": "open('/proc/self/mem', 'rb')",
    "list-a-folder": "os.listdir('/')",
    "list-processes": "os.listdir('/proc')",
    "write-a-file": "open('new', 'w')",
    "write-an-old-file": "os.open('file', os.O_RDWR)",
    "append-to-a-file": "open('file', 'a')",
    "truncate-on-opening": "os.open('file', os.O_RDONLY | os.O_TRUNC)",
    "create-on-opening": "os.open('new', os.O_RDONLY | os.O_CREAT)",
    "make-a-nameless-file": "os.open('.', os.O_RDWR | os.O_TMPFILE)",
    "make-a-file-by-openat2": "call('syscall', 437, -100, b'new', (ctypes.c_uint64 * 3)(0o102, 0o600, 0), 24)",
    "creat": "call('creat', b'new', 0o600)",
    "truncate": "os.truncate('file', 0)",
    "make-a-folder": "os.mkdir('folder')",
    "make-a-pipe-file": "os.mkfifo('fifo')",
    "remove-a-file": "os.unlink('file')",
    "rename-a-file": "os.rename('file', 'other')",
    "link-a-file": "os.link('file', 'other')",
    "symlink-a-file": "os.symlink('file', 'other')",
    "change-a-mode": "os.chmod('file', 0o777)",
    "change-a-mode-by-descriptor": "os.fchmod(file, 0o777)",
    "change-an-owner": "os.chown('file', os.getuid(), os.getgid())",
    "change-a-time": "os.utime('file')",
    "change-the-folder": "os.chdir('/')",
    "read-an-attribute": "os.listxattr('file')",
    "statfs": "os.statvfs('/')",
    "lock-a-file": "fcntl.flock(file, fcntl.LOCK_SH)",
    "socket-tcp": "socket.socket()",
    "socket-udp": "socket.socket(type=socket.SOCK_DGRAM)",
    "socket-ipv6": "socket.socket(socket.AF_INET6)",
    "socket-unix": "socket.socket(socket.AF_UNIX)",
    "socket-netlink": "socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)",
    "socket-pair": "socket.socketpair()",
    "fork": "os._exit(0) if (child := os.fork()) == 0 else os.waitpid(child, 0)",
    "fork-by-clone3": "os._exit(0) if call('syscall', 435, (ctypes.c_uint64 * 8)(0, 0, 0, 0, 17), 64) == 0 else None",
    "spawn": "os.waitpid(os.posix_spawn('/bin/true', ['true'], {}), 0)",
    "subprocess": "subprocess.run(['/bin/true'])",
    "shell": "os.system('true') and call('creat', b'/nowhere/file', 0)",
    "exec": "os.execv('/bin/true', ['true'])",
    "exec-of-a-descriptor": "os.execve(os.open('/bin/true', os.O_RDONLY), ['true'], {})",
    "exec-with-a-guess": "call('syscall', confine._numbers()['execve'], b'/bin/true', None, None, 1)",
    "signal-itself": "os.kill(os.getpid(), 0)",
    "signal-the-parent": "os.kill(os.getppid(), 0)",
    "signal-the-group": "os.killpg(0, 0)",
    "queue-a-signal": "call('sigqueue', os.getpid(), 0, 0)",
    "signal-a-thread-of-the-parent": "call('tgkill', os.getppid(), os.getppid(), 0)",
    "signal-by-descriptor": "os.pidfd_open(os.getppid())",
    "signal-by-owner": "fcntl.fcntl(file, fcntl.F_SETOWN, os.getpid())",
    "wait": "os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG) if os.fork() else os._exit(0)",
    "session": "os.fork() or (os.setsid(), os._exit(0))",
    "trace": "call('ptrace', 0, 0, 0, 0)",
    "read-memory-of-others": "call('process_vm_readv', os.getpid(), None, 0, None, 0, 0)",
    "raise-a-limit": "call('setrlimit', 4, (ctypes.c_ulong * 2)(0, 0))",
    "raise-a-limit-of-the-parent": "resource.prlimit(os.getppid(), resource.RLIMIT_CORE)",
    "priority": "os.nice(1)",
    "affinity": "os.sched_setaffinity(0, os.sched_getaffinity(0))",
    "memory-file": "os.memfd_create('x')",
    "pipe": "os.pipe()",
    "event": "call('eventfd', 0, 0)",
    "timer": "call('timerfd_create', 1, 0)",
    "epoll": "__import__('select').epoll()",
    "inotify": "call('inotify_init')",
    "terminal": "call('ioctl', file, 0x541B, ctypes.byref(ctypes.c_int()))",
    "shared-memory": "call('shmctl', call('shmget', 0, 4096, 0o600), 0, None)",
    "semaphores": "call('semctl', call('semget', 0, 1, 0o600), 0, 0)",
    "messages": "call('msgctl', call('msgget', 0, 0o600), 0, None)",
    "personality": "call('personality', 0x0040000)",
    "be-traceable": "call('prctl', 4, 1, 0, 0, 0)",
    "alarm": "signal.setitimer(signal.ITIMER_REAL, 1000)",
    "set-user": "os.setuid(os.getuid())",
    "set-groups": "os.setgid(os.getgid())",
    "send-file": "os.sendfile(other, file, 0, 1)",
    "copy-file-range": "os.copy_file_range(file, other, 1)",
    "splice": "os.splice(file, pipe[1], 1)",
}
"""Expressions that work for every user when unconfined, and raise `OSError` in a confined process."""

PRIVILEGED = {
    "mount": "call('mount', b'none', b'.', b'tmpfs', 0, None)",
    "unmount": "call('umount2', b'/', 2)",
    "unshare-user": "call('unshare', 0x10000000)",
    "unshare-network": "call('unshare', 0x40000000)",
    "join-a-namespace": "call('setns', file, 0)",
    "chroot": "os.chroot('.')",
    "pivot-root": "call('syscall', {'x86_64': 155, 'aarch64': 41}[os.uname().machine], b'.', b'.')",
    "io-uring": "call('syscall', 425, 1, (ctypes.c_uint32 * 30)())",
    "move-a-mount": "call('syscall', 428, -100, b'/', 1)",
    "take-a-descriptor": "call('syscall', 438, file, 0, 0)",
    "secret-memory": "call('syscall', 447, 0)",
    "bpf": "call('syscall', {'x86_64': 321, 'aarch64': 280}[os.uname().machine], 0, (ctypes.c_uint64 * 9)(), 72)",
    "perf": "call('syscall', {'x86_64': 298, 'aarch64': 241}[os.uname().machine], b' ' * 128, 0, -1, -1, 0)",
    "user-fault": "call('syscall', {'x86_64': 323, 'aarch64': 282}[os.uname().machine], 0)",
    "keyring": "call('syscall', {'x86_64': 250, 'aarch64': 219}[os.uname().machine], 0, -3, 0)",
    "kernel-log": "call('klogctl', 10, None, 0)",
    "host-name": "call('sethostname', b'x', 1)",
    "clock": "call('clock_settime', 0, ctypes.byref((ctypes.c_long * 2)(0, 0)))",
    "swap": "call('swapoff', b'/nowhere')",
    "module": "call('syscall', {'x86_64': 176, 'aarch64': 106}[os.uname().machine], b'nothing', 0)",
    "handle": "call('name_to_handle_at', -100, b'/', (ctypes.c_uint32 * 40)(128), (ctypes.c_int * 1)(), 0)",
    "another-filter": "call('prctl', 22, 1, 0, 0, 0)",
    "device": "os.mknod('device', 0o020600, os.makedev(1, 1))",
}
"""Attempts that need rights or a kernel that not everyone has; confinement must refuse them before the kernel does."""

READS = {name for name in ATTEMPTS if name.startswith(("read-a-f", "read-a-p", "read-the", "read-own", "list-"))}


def ends(folder, behind_the_wall, attempts):
    done = subprocess.run(
        [sys.executable, "-SBP", "-c", RUNNER, str(folder)],
        input=json.dumps([behind_the_wall, PYTHON, attempts]),
        capture_output=True,
        env={"PYTHONPATH": ROOT},
        text=True,
        timeout=300,
        check=True,
    )
    return json.loads(done.stdout), done.stderr


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("attempts")


@pytest.fixture(scope="module")
def confined(folder):
    (folder / "confined").mkdir()
    return ends(folder / "confined", True, ATTEMPTS | PRIVILEGED)


@pytest.fixture(scope="module")
def free(folder):
    (folder / "free").mkdir()
    return ends(folder / "free", False, ATTEMPTS)


@pytest.mark.parametrize("name", ATTEMPTS)
def test_every_attempt_to_leave_the_sandbox_is_blocked(folder, confined, name):
    if name in READS and not landlock_abi():
        pytest.skip("this kernel has no Landlock")
    ended, errors = confined
    assert ended[name] in (errno.EPERM, errno.EACCES, errno.ENOSYS), errors
    assert sorted(p.name for p in (folder / "confined" / name).iterdir()) == ["file", "file2"]


@pytest.mark.parametrize("name", ATTEMPTS)
def test_without_the_wall_the_same_attempt_works(free, name):
    ended, errors = free
    assert ended[name] == 0, errors


@pytest.mark.parametrize("name", PRIVILEGED)
def test_privileged_calls_are_blocked_early(confined, name):
    ended, errors = confined
    assert ended[name] in (errno.EPERM, errno.ENOSYS), errors


def python(code, *arguments, **options):
    return subprocess.run(
        [sys.executable, "-SBP", "-c", code, *arguments],
        capture_output=True,
        env={"PYTHONPATH": ROOT, "PLANTED": "tangerine"},
        text=True,
        timeout=300,
        **options,
    )


CONFINED = f"""
from pathlib import Path
from serving.core.confine import ProcessLimits, Unconfined, become, confine
READABLE = [Path(p) for p in {PYTHON!r}]
"""


def test_a_confined_process_still_works():
    code = "confine(ProcessLimits(10**9, 20), READABLE)\nimport decimal, threading\n"
    code += (
        "t = threading.Thread(target=print, args=('thread',))\nt.start(); t.join()\nprint(len('x' * 10**8), flush=True)"
    )
    done = python(CONFINED + code)
    assert done.stdout.split() == ["thread", "100000000"], done.stderr


def test_memory_is_bounded():
    code = "confine(ProcessLimits(300_000_000, 20), READABLE)\n"
    code += "try:\n x = 'x' * 10**9\nexcept MemoryError: print('bounded')"
    assert python(CONFINED + code).stdout == "bounded\n"


def test_the_processor_is_bounded():
    done = python(CONFINED + "confine(ProcessLimits(10**9, 1), READABLE)\nwhile True: pass")
    assert done.returncode in (-signal.SIGKILL, -signal.SIGXCPU)


def test_open_files_are_bounded():
    code = "import sys\nconfine(ProcessLimits(10**9, 20, open_files=8), READABLE)\n"
    code += "print(len([open(sys.argv[1]) for _ in range(20)]))"
    done = python(CONFINED + code, str(Path(sysconfig.get_path("stdlib"), "os.py")))
    assert "Too many open files" in done.stderr


def test_a_lower_limit_of_the_host_stands():
    code = "import resource as r\nr.setrlimit(r.RLIMIT_CPU, (5, 5))\nconfine(ProcessLimits(10**9, 20), READABLE)\n"
    assert python(CONFINED + code + "print(r.getrlimit(r.RLIMIT_CPU))").stdout == "(5, 5)\n"


def test_the_program_that_a_process_becomes_has_no_environment_and_runs_no_other():
    inner = """
import os
print(dict(os.environ).get("PLANTED"), flush=True)
for path in ("/bin/true", "/proc/self/exe"):
    try:
        os.execv(path, ["true"])
    except OSError as e:
        print(e.errno, flush=True)
try:
    os.fork()
except OSError as e:
    print(e.errno, flush=True)
"""
    code = "import sys\nlimits = ProcessLimits(10**9, 20)\n"
    code += "become(Path(sys.executable).resolve(), ['-ISB', '-c', sys.argv[1]], limits, READABLE)"
    done = python(CONFINED + code, inner)
    assert done.stdout.split() == ["None", *[str(errno.EPERM)] * 3], done.stderr


def test_a_missing_program_is_reported():
    code = "try: become(Path('/nowhere'), [], ProcessLimits(10**9, 20), READABLE)\nexcept Unconfined as e: print(e)"
    assert "/nowhere cannot be run" in python(CONFINED + code).stdout


def test_two_threads_are_refused():
    code = "import threading\ne = threading.Event()\nt = threading.Thread(target=e.wait)\nt.start()\n"
    code += "try: confine(ProcessLimits(10**9, 20), READABLE)\nexcept Unconfined as error: print(error)\ne.set()"
    assert "more than one thread" in python(CONFINED + code).stdout


@pytest.mark.parametrize(
    ("forbidden", "missing"),
    [("prctl", "no_new_privs"), ("seccomp", "seccomp"), ("prlimit64", "a resource limit"), (446, "Landlock")],
)
def test_processes_stop_without_isolation(forbidden, missing):
    if missing == "Landlock" and not landlock_abi():
        pytest.skip("this kernel has no Landlock")
    code = f"""
import serving.core.confine as m
number = m._numbers().get({forbidden!r}, {forbidden!r})
steps = [(m._LOAD, 0), (m._EQUAL, number, 0, 1), (m._RETURN, 0x00050001), (m._RETURN, m._ALLOW)]
m._LIBC.prctl(38, 1, 0, 0, 0)
m._seccomp(b"".join(m._instruction(*step) for step in steps))
try: confine(ProcessLimits(10**9, 20), READABLE)
except Unconfined as e: print(e)
"""
    assert python(CONFINED + code).stdout.startswith(missing)


def test_unknown_architectures_are_rejected(monkeypatch):
    monkeypatch.setattr(confine.platform, "machine", lambda: "riscv64")
    with pytest.raises(Unconfined, match="riscv64"):
        confine._filter(())


# The filter, by an interpreter of its instructions.

ALLOW, KILL = 0x7FFF0000, 0x80000000


def verdict(program, number, arguments=(0,) * 6, arch=0xC000003E):
    data = struct.pack("=IIQ6Q", number & 0xFFFFFFFF, arch, 0, *arguments)
    accumulator = place = 0
    while True:
        code, if_true, if_false, operand = struct.unpack_from("=HBBI", program, place * 8)
        place += 1
        match code:
            case 0x20:
                accumulator = struct.unpack_from("=I", data, operand)[0]
            case 0x54:
                accumulator &= operand
            case 0x15:
                place += if_true if accumulator == operand else if_false
            case 0x06:
                return operand


MACHINES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}


@pytest.fixture(params=MACHINES)
def machine(request, monkeypatch):
    monkeypatch.setattr(confine.platform, "machine", lambda: request.param)
    return request.param


def test_only_listed_system_calls_are_allowed(machine):
    program = confine._filter(confine._rules())
    column = list(MACHINES).index(machine)
    harmless = {numbers[column] for numbers in confine._HARMLESS.values()} - {-1}
    unconditional = {n for n in range(2000) if verdict(program, n, (2**64 - 1,) * 6, MACHINES[machine]) == ALLOW}
    numbers = confine._numbers()
    assert unconditional - {numbers["clone"]} == harmless  # with every bit set it is a thread, and has CLONE_THREAD
    assert verdict(program, numbers["clone3"], arch=MACHINES[machine]) == 0x00050000 | errno.ENOSYS


def test_other_calling_conventions_are_blocked(machine):
    program = confine._filter(confine._rules())
    for number in range(600):
        assert verdict(program, number | 0x40000000, arch=MACHINES[machine]) != ALLOW  # x32
        assert verdict(program, number, arch=0x40000003) == KILL  # i386
    assert verdict(program, -1, arch=MACHINES[machine]) != ALLOW


@given(flags=st.integers(0, 2**32 - 1))
def test_files_open_to_read_only(flags):
    program = confine._filter(confine._rules())
    writing = flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | 0o20000000)
    opened = verdict(program, confine._numbers()["openat"], (0, 0, flags, 0, 0, 0), MACHINES[os.uname().machine])
    assert (opened == ALLOW) == (not writing)


@given(token=st.integers(1, 2**63 - 1), guess=st.integers(0, 2**64 - 1))
def test_only_the_token_runs_a_program(token, guess):
    number, arch = confine._numbers()["execve"], MACHINES[os.uname().machine]
    program = confine._filter([*confine._rules(), (number, ((3, ~0, token),))])
    assert verdict(program, number, (0, 0, 0, token, 0, 0), arch) == ALLOW
    assert (verdict(program, number, (0, 0, 0, guess, 0, 0), arch) == ALLOW) == (guess == token)


@pytest.mark.parametrize(
    ("column", "header"),
    [(0, "/usr/include/x86_64-linux-gnu/asm/unistd_64.h"), (1, "/usr/include/asm-generic/unistd.h")],
)
def test_the_numbers_are_the_kernels(column, header):
    if not Path(header).exists():
        pytest.skip(f"{header} is not installed")
    theirs = dict(re.findall(r"#define __NR(?:3264)?_(\w+)\s+(\d+)", Path(header).read_text()))
    if column:
        theirs["newfstatat"] = theirs["fstatat"]  # the generic header names it by its 32-bit sibling
    ours = confine._HARMLESS | confine._CONDITIONAL
    assert {n: v[column] for n, v in ours.items()} == {n: int(theirs.get(n, -1)) for n in ours}
