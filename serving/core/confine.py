"""Confinement of processes that read untrusted input: they keep their memory and their pipes, and nothing else.

`confine` is irreversible, for the process and for programs that it executes. It consists of POSIX resource limits,
`no_new_privs`, a seccomp filter that allows a short list of system calls, and Landlock, which leaves a list of readable
files. The first three are required. Landlock was added in Linux 5.13, and a kernel may be built without it: then files
that the process's user can read stay readable, and `landlock_abi` returns 0.

Sources: seccomp(2), prctl(2), landlock(7), and the kernel's `include/uapi/linux/{filter,seccomp,landlock}.h`.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import resource
import secrets
import struct
import sys
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NoReturn

_LIBC: Final = ctypes.CDLL(None, use_errno=True)
_LIBC.syscall.restype = ctypes.c_long


class Unconfined(Exception):
    """A required part of the confinement failed; the process must not continue."""


@dataclass(frozen=True, slots=True)
class ProcessLimits:
    """Limits of the process: address space in bytes, seconds of CPU time, open files."""

    memory_bytes: int
    cpu_s: int
    open_files: int = 64


def confine(limits: ProcessLimits, readable: Iterable[Path]) -> None:
    """Confines this process; only files below `readable` can be read. Raises `Unconfined`."""
    _confine(limits, readable, ())


def become(program: Path, arguments: Sequence[str], limits: ProcessLimits, readable: Iterable[Path]) -> NoReturn:
    """Confines this process, then executes `program` in its place, with an empty environment.

    Raises `Unconfined`, also when the program cannot be executed.
    """
    # The filter allows one execve: the one with this number in a register that execve does not use. The number is lost
    # with this program, so that the next one cannot execute a third.
    token = secrets.randbits(63) | 1
    argv = [os.fsencode(program), *map(os.fsencode, arguments)]
    call = _numbers()["execve"]
    _confine(limits, (program, *readable), ((call, ((3, ~0, token),)),))
    pointers = (ctypes.c_char_p * (len(argv) + 1))(*argv, None)
    nothing = (ctypes.c_char_p * 1)(None)
    _LIBC.syscall(ctypes.c_long(call), ctypes.c_char_p(argv[0]), pointers, nothing, ctypes.c_long(token), 0, 0)
    raise Unconfined(f"{program} cannot be run: {os.strerror(ctypes.get_errno())}")


def keep_to_files(readable: Iterable[Path], writable: Iterable[Path]) -> bool:
    """Restricts this process, and programs that it executes, to files below these; memory, network and privileges stay.

    It can neither signal nor trace earlier processes. Returns False, and changes nothing, on a kernel without Landlock.
    Raises `Unconfined`.
    """
    abi = landlock_abi()
    if not abi:
        return False
    _no_new_privileges()
    _landlock(abi, readable, writable, network=True)
    return True


@dataclass(frozen=True, slots=True)
class RefusedCalls:
    """System calls that fail with an error, or for 0 appear to succeed without an effect.

    Each has its numbers on x86-64 and on AArch64; with `argument`, only calls with that first argument are affected.
    """

    error: int
    calls: Sequence[tuple[int, int]]
    argument: int | None = None


def refuse(refusals: Iterable[RefusedCalls]) -> None:
    """Denies system calls to this process and programs that it executes; all others stay allowed. Raises
    `Unconfined`.
    """
    architecture, column = _architecture()
    program = [
        _instruction(_LOAD, _ARCH),
        _instruction(_EQUAL, architecture, 1, 0),
        _instruction(_RETURN, _KILL),
        _instruction(_LOAD, _NUMBER),
        _instruction(_AT_LEAST, 0x40000000, 0, 1),  # x32: the same calls with other numbers
        _instruction(_RETURN, _ERRNO | errno.ENOSYS),
    ]
    for refusal in refusals:
        conditions = [(0, 0xFFFFFFFF, refusal.argument)] if refusal.argument is not None else []
        for numbers in refusal.calls:
            if numbers[column] != _NEVER:
                program += _rule(numbers[column], conditions, _ERRNO | refusal.error)
    _no_new_privileges()
    _seccomp(b"".join([*program, _instruction(_RETURN, _ALLOW)]))


def drop_capabilities() -> None:
    """Drops root's capabilities of this process and programs that it executes, so that files and processes of other
    users are protected even if it runs as root.

    Raises `Unconfined`.
    """
    _no_new_privileges()
    number = 0
    # PR_CAPBSET_DROP: it fails after the last one, or immediately in an unprivileged process, which cannot gain any.
    while not _LIBC.prctl(24, number, 0, 0, 0):
        number += 1
    _LIBC.prctl(47, 4, 0, 0, 0)  # PR_CAP_AMBIENT_CLEAR_ALL: old kernels have none
    header = struct.pack("=Ii", 0x20080522, 0)  # _LINUX_CAPABILITY_VERSION_3, this process
    if _LIBC.capset(header, bytes(24)):
        raise Unconfined(f"capabilities: {os.strerror(ctypes.get_errno())}")


def _no_new_privileges() -> None:
    if _LIBC.prctl(38, 1, 0, 0, 0):  # PR_SET_NO_NEW_PRIVS
        raise Unconfined(f"no_new_privs: {os.strerror(ctypes.get_errno())}")


LIBRARIES: Final = tuple(Path(p) for p in ("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/etc/ld.so.cache"))
"""Files that the dynamic loader reads, which contain nobody's data."""


def landlock_abi() -> int:
    """Returns the version of the kernel's Landlock interface; 0 if it has none."""
    return max(0, int(_LIBC.syscall(ctypes.c_long(444), None, ctypes.c_size_t(0), ctypes.c_uint32(1))))


_Condition = tuple[int, int, int]
"""Number of an argument, mask, and the required value under that mask."""
_Rule = tuple[int, tuple[_Condition, ...]]
"""Number of a system call, and its conditions, all of which must hold."""


def _confine(limits: ProcessLimits, readable: Iterable[Path], more: Sequence[_Rule]) -> None:
    if sys.platform != "linux":
        raise Unconfined(f"processes cannot be confined on {sys.platform}, only on Linux")
    if len(list(Path("/proc/self/task").iterdir())) != 1:  # Landlock confines a single thread
        raise Unconfined("the process has more than one thread")
    filter_ = _filter((*_rules(), *more))
    _limit(limits)
    _no_new_privileges()
    if abi := landlock_abi():
        _landlock(abi, readable)
    _seccomp(filter_)


def _limit(limits: ProcessLimits) -> None:
    """Sets resource limits: exceeding the CPU limit kills; exceeding the memory limit makes allocations fail; writing
    to files fails.
    """
    values = {
        resource.RLIMIT_AS: limits.memory_bytes,
        resource.RLIMIT_CPU: limits.cpu_s,
        resource.RLIMIT_NOFILE: limits.open_files,
        resource.RLIMIT_FSIZE: 0,
        resource.RLIMIT_CORE: 0,
    }
    try:
        for kind, value in values.items():
            hard = resource.getrlimit(kind)[1]
            bound = value if hard == resource.RLIM_INFINITY else min(value, hard)
            resource.setrlimit(kind, (bound, bound))
    except (OSError, ValueError) as e:
        raise Unconfined(f"a resource limit: {e}") from None


# Landlock

_EXECUTE, _READ_FILE, _READ_DIR = 1 << 0, 1 << 2, 1 << 3
# The others are for writing, truncating and device control.
_OF_A_FILE = _EXECUTE | 1 << 1 | _READ_FILE | 1 << 14 | 1 << 15


def _landlock(abi: int, readable: Iterable[Path], writable: Iterable[Path] = (), *, network: bool = False) -> None:
    """Denies files, abstract sockets and signals to other processes, as far as the kernel's version supports it.

    Unless `network` is set, TCP is denied too.
    """
    files = (1 << (13 + (abi >= 2) + (abi >= 3) + (abi >= 5))) - 1
    tcp, scopes = (3 if abi >= 4 and not network else 0), (3 if abi >= 6 else 0)
    attributes = struct.pack("=QQQ", files, tcp, scopes)[: 24 if abi >= 6 else 16 if abi >= 4 else 8]
    ruleset = _landlock_call(444, attributes, ctypes.c_size_t(len(attributes)), ctypes.c_uint32(0))
    try:
        for path in readable:
            with suppress(FileNotFoundError):  # missing files need no permission
                _landlock_allow(ruleset, path, _EXECUTE | _READ_FILE | (_READ_DIR if path.is_dir() else 0))
        for path in writable:
            with suppress(FileNotFoundError):
                _landlock_allow(ruleset, path, files if path.is_dir() else files & _OF_A_FILE)
        _landlock_call(446, ctypes.c_int(ruleset), ctypes.c_uint32(0))
    finally:
        os.close(ruleset)


def _landlock_allow(ruleset: int, path: Path, rights: int) -> None:
    descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        beneath = struct.pack("=Qi", rights, descriptor)
        _landlock_call(445, ctypes.c_int(ruleset), ctypes.c_int(1), beneath, ctypes.c_uint32(0))
    finally:
        os.close(descriptor)


def _landlock_call(number: int, *arguments: object) -> int:
    result = int(_LIBC.syscall(ctypes.c_long(number), *arguments))
    if result < 0:
        raise Unconfined(f"Landlock: {os.strerror(ctypes.get_errno())}")
    return result


# seccomp

_ARCHITECTURES: Final = {"x86_64": (0xC000003E, 0), "aarch64": (0xC00000B7, 1)}
"""AUDIT_ARCH, and the column of the numbers below."""

_NEVER: Final = -1
"""A system call that the architecture does not have."""

_HARMLESS: Final = {
    # Open descriptors, and file metadata.
    "read": (0, 63),
    "write": (1, 64),
    "readv": (19, 65),
    "writev": (20, 66),
    "pread64": (17, 67),
    "lseek": (8, 62),
    "close": (3, 57),
    "dup": (32, 23),
    "poll": (7, _NEVER),
    "ppoll": (271, 73),
    "fstat": (5, 80),
    "newfstatat": (262, 79),
    "stat": (4, _NEVER),
    "lstat": (6, _NEVER),
    "statx": (332, 291),
    "access": (21, _NEVER),
    "faccessat": (269, 48),
    "faccessat2": (439, 439),
    "readlink": (89, _NEVER),
    "readlinkat": (267, 78),
    "getdents64": (217, 61),
    "getcwd": (79, 17),
    # Memory.
    "mmap": (9, 222),
    "munmap": (11, 215),
    "mremap": (25, 216),
    "mprotect": (10, 226),
    "madvise": (28, 233),
    "brk": (12, 214),
    # Its own threads and signal handlers.
    "futex": (202, 98),
    "sched_yield": (24, 124),
    "sched_getaffinity": (204, 123),
    "set_robust_list": (273, 99),
    "set_tid_address": (218, 96),
    "rseq": (334, 293),
    "membarrier": (324, 283),
    "arch_prctl": (158, _NEVER),
    "rt_sigaction": (13, 134),
    "rt_sigprocmask": (14, 135),
    "rt_sigreturn": (15, 139),
    "sigaltstack": (131, 132),
    "restart_syscall": (219, 128),
    "exit": (60, 93),
    "exit_group": (231, 94),
    # Clocks, entropy, and its own identity.
    "clock_gettime": (228, 113),
    "clock_getres": (229, 114),
    "clock_nanosleep": (230, 115),
    "nanosleep": (35, 101),
    "getrandom": (318, 278),
    "getpid": (39, 172),
    "gettid": (186, 178),
    "getuid": (102, 174),
    "geteuid": (107, 175),
    "getgid": (104, 176),
    "getegid": (108, 177),
    "getrusage": (98, 165),
    "getrlimit": (97, 163),
    "uname": (63, 160),
    "sysinfo": (99, 179),
}
"""Numbers of system calls on x86-64 and on AArch64 that affect nothing outside of the process."""

_CONDITIONAL: Final = {
    "open": (2, _NEVER),
    "openat": (257, 56),
    "fcntl": (72, 25),
    "clone": (56, 220),
    "clone3": (435, 435),
    "prctl": (157, 167),
    "prlimit64": (302, 261),
    "tgkill": (234, 131),
    "execve": (59, 221),
    "seccomp": (317, 277),
}

_WRITING: Final = os.O_ACCMODE | os.O_CREAT | os.O_TRUNC | 0o20000000  # the last is __O_TMPFILE
_CLONE_THREAD: Final = 0x10000
_PR_SET_NAME, _PR_SET_VMA = 15, 0x53564D41
_FCNTL: Final = (1, 2, 3, 1030)  # F_GETFD, F_SETFD, F_GETFL, F_DUPFD_CLOEXEC: none that sends a signal


def _architecture() -> tuple[int, int]:
    machine = platform.machine()
    if machine not in _ARCHITECTURES or sys.maxsize < 2**32:
        raise Unconfined(f"no seccomp filter is known for {machine}")
    return _ARCHITECTURES[machine]


def _numbers() -> dict[str, int]:
    column = _architecture()[1]
    return {name: numbers[column] for name, numbers in (_HARMLESS | _CONDITIONAL).items()}


def _rules() -> list[_Rule]:
    number = _numbers()
    return [
        *((number[name], ()) for name in _HARMLESS),
        (number["open"], ((1, _WRITING, os.O_RDONLY),)),
        (number["openat"], ((2, _WRITING, os.O_RDONLY),)),
        *((number["fcntl"], ((1, 0xFFFFFFFF, command),)) for command in _FCNTL),
        (number["clone"], ((0, _CLONE_THREAD, _CLONE_THREAD),)),
        *((number["prctl"], ((0, 0xFFFFFFFF, option),)) for option in (_PR_SET_NAME, _PR_SET_VMA)),
        (number["prlimit64"], ((0, 0xFFFFFFFF, 0), (2, ~0, 0))),  # reading its own limits
        (number["tgkill"], ((0, 0xFFFFFFFF, os.getpid()),)),
    ]


_LOAD, _EQUAL, _AND, _RETURN = 0x20, 0x15, 0x54, 0x06  # BPF_LD|W|ABS, BPF_JMP|JEQ|K, BPF_ALU|AND|K, BPF_RET|K
_AT_LEAST = 0x35  # BPF_JMP|JGE|K
_ALLOW, _ERRNO, _KILL = 0x7FFF0000, 0x00050000, 0x80000000
_NUMBER, _ARCH, _ARGUMENTS = 0, 4, 16  # offsets in struct seccomp_data


def _instruction(code: int, operand: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("=HBBI", code, if_true, if_false, operand & 0xFFFFFFFF)


def _filter(rules: Iterable[_Rule]) -> bytes:
    """Returns a BPF program: calls that match a rule are allowed, another architecture kills the process, all others
    get EPERM.
    """
    program = [
        _instruction(_LOAD, _ARCH),
        _instruction(_EQUAL, _architecture()[0], 1, 0),
        _instruction(_RETURN, _KILL),
        # Its flags are in memory, where filters cannot see them. Without it, the C library uses clone.
        *_rule(_numbers()["clone3"], (), _ERRNO | errno.ENOSYS),
    ]
    for number, conditions in rules:
        if number != _NEVER:
            program += _rule(number, conditions, _ALLOW)
    return b"".join([*program, _instruction(_RETURN, _ERRNO | errno.EPERM)])


def _rule(number: int, conditions: Sequence[_Condition], action: int) -> list[bytes]:
    checks: list[tuple[int, int, int]] = []
    for argument, mask, value in conditions:
        for half in (0, 32):  # little-endian, as both architectures are
            if word := mask >> half & 0xFFFFFFFF:
                checks.append((_ARGUMENTS + 8 * argument + half // 8, word, value >> half & word))
    left = 3 * len(checks) + 1
    program = [_instruction(_LOAD, _NUMBER), _instruction(_EQUAL, number, 0, left)]
    for offset, mask, value in checks:
        left -= 3
        program += [_instruction(_LOAD, offset), _instruction(_AND, mask), _instruction(_EQUAL, value, 0, left)]
    return [*program, _instruction(_RETURN, action)]


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p))


def _seccomp(filter_: bytes) -> None:
    program = _Program(len(filter_) // 8, filter_)
    number = _numbers()["seccomp"]
    # SECCOMP_SET_MODE_FILTER
    if _LIBC.syscall(ctypes.c_long(number), ctypes.c_uint(1), ctypes.c_uint(0), ctypes.byref(program)):
        raise Unconfined(f"seccomp: {os.strerror(ctypes.get_errno())}")
