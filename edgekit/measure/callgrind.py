"""Starts and ends the counting of valgrind's tool callgrind from within the counted process.

Valgrind recognises requests by a sequence of instructions that does nothing elsewhere
(``valgrind.h``, ``callgrind.h``). C programs get it by a macro; here its machine code is put into
memory of the process, so that neither a compiler nor a library is needed.
"""

from __future__ import annotations

import ctypes
import mmap
import platform
import sys
from collections.abc import Callable
from typing import Any

# int64 request(const int64 *rdi), System V calling convention:
#   push rbx; mov rax, rdi; xor edx, edx
#   rol rdi, 3; rol rdi, 13; rol rdi, 61; rol rdi, 51; xchg rbx, rbx    <- valgrind's sequence
#   mov rax, rdx; pop rbx; ret
_X86_64 = bytes.fromhex("53 4889f8 31d2 48c1c703 48c1c70d 48c1c73d 48c1c733 4887db 4889d0 5b c3")
_MACHINES = frozenset({"x86_64", "AMD64"})

_BASE = (ord("C") << 24) + (ord("T") << 16)
_ZERO_STATS = _BASE + 1
_DUMP_STATS_AT = _BASE + 3
_START_INSTRUMENTATION = _BASE + 4
_STOP_INSTRUMENTATION = _BASE + 5
_RUNNING_ON_VALGRIND = 0x1001


def unsupported_machine() -> str:
    """Why counting cannot be steered on this machine; empty where it can."""
    if sys.platform != "linux" or platform.machine() not in _MACHINES:
        return (
            f"instructions are counted on Linux on x86-64, and this is {sys.platform} on "
            f"{platform.machine()}"
        )
    return ""


class Callgrind:
    """The requests of callgrind; without valgrind they do nothing."""

    def __init__(self) -> None:
        """Puts the sequence into memory.

        Raises:
            OSError: If the system forbids memory that can be executed.
        """
        self._memory = mmap.mmap(
            -1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC
        )
        self._memory.write(_X86_64)
        address = ctypes.addressof(ctypes.c_char.from_buffer(self._memory))
        prototype = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.POINTER(ctypes.c_int64))
        self._request: Callable[[Any], int] = prototype(address)

    @property
    def running(self) -> bool:
        """Whether this process runs under valgrind."""
        return self._send(_RUNNING_ON_VALGRIND) > 0

    def start(self) -> None:
        """Begins to count."""
        self._send(_START_INSTRUMENTATION)

    def stop(self) -> None:
        """Ends counting."""
        self._send(_STOP_INSTRUMENTATION)

    def count(self, run: Callable[[], object], label: str) -> None:
        """Calls ``run`` and writes a dump that holds what it took.

        Args:
            run: What is counted.
            label: Stands in the dump.
        """
        text = ctypes.create_string_buffer(label.encode())
        dump = _arguments(_DUMP_STATS_AT, ctypes.addressof(text))
        zero = _arguments(_ZERO_STATS)
        request = self._request
        request(zero)
        run()
        request(dump)

    def _send(self, code: int, *arguments: int) -> int:
        return self._request(_arguments(code, *arguments))


def _arguments(*values: int) -> Any:
    """A request as valgrind reads it: six numbers, the first says what is wanted."""
    return (ctypes.c_int64 * 6)(*values)
