"""Runs a .tflite file with LiteRT's reference kernels, in a process of its own.

The reference kernels define what an operator means, and have been seen to end the whole
process without a word (int8 softmax after other interpreters in the same process, LiteRT
2.1.2). Here that ends the worker only and becomes an error.

Run as a module this is the worker. Both sides exchange frames of one kind byte, the length
as uint64 and the content: ``H`` the runtime's name, ``R`` an npz of arrays, ``E`` a JSON
pair of error class and message.
"""

from __future__ import annotations

import io
import json
import os
import struct
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from edgekit import errors
from edgekit.core.signature import ModelSignature
from edgekit.core.target import RuntimeConfig
from edgekit.measure.worker_process import (
    how_it_ended,
    last_words,
    module_command,
    module_environment,
)
from edgekit.targets.tflite.metadata import canonical_signature
from edgekit.targets.tflite.model_file import read_model_file
from edgekit.targets.tflite.runtime import LiteRTSession

if TYPE_CHECKING:
    import numpy.typing as npt

    type Array = npt.NDArray[Any]

_HEADER = struct.Struct("<cQ")
_HELLO, _ARRAYS, _ERROR = b"H", b"R", b"E"


class ReferenceSession:
    """A .tflite file under the reference kernels; implements `edgekit.core.target.Session`."""

    def __init__(self, path: Path, config: RuntimeConfig) -> None:
        """Starts the worker and loads the file in it.

        Raises:
            InputError: If the file is missing, damaged or of another format.
            UnsupportedError: If LiteRT refuses the file or dies of it.
            MissingToolError: If LiteRT is not installed.
        """
        self._signature = canonical_signature(read_model_file(path))
        self._name = path.name
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 - closed by close()
        self._worker = subprocess.Popen(
            module_command(__name__, str(path), str(config.threads)),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            env=module_environment(),
        )
        try:
            self._runtime = self._receive(_HELLO).decode()
        except errors.EdgekitError:
            self.close()
            raise

    @property
    def signature(self) -> ModelSignature:
        """Inputs and outputs in the canonical graph's axis order."""
        return self._signature

    @property
    def runtime(self) -> str:
        """For example ``"LiteRT 2.1.2 (reference kernels)"``."""
        return self._runtime

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Runs once; see `edgekit.core.target.Session.run`.

        Raises:
            InputError: If a feed is missing or has the wrong shape or dtype.
            UnsupportedError: If LiteRT fails or dies.
        """
        if self._worker.poll() is not None:
            raise self._death()
        assert self._worker.stdin is not None
        try:
            _send(self._worker.stdin, _ARRAYS, _pack(feeds))
        except BrokenPipeError:
            raise self._death() from None
        return _unpack(self._receive(_ARRAYS))

    def close(self) -> None:
        """Ends the worker; the session cannot be used afterwards."""
        if self._worker.poll() is None:
            self._worker.kill()
        self._worker.wait()
        for stream in (self._worker.stdin, self._worker.stdout, self._stderr):
            if stream is not None:
                stream.close()

    def _receive(self, expected: bytes) -> bytes:
        assert self._worker.stdout is not None
        frame = _receive(self._worker.stdout)
        if frame is None:
            raise self._death()
        kind, content = frame
        if kind == _ERROR:
            name, message = json.loads(content)
            raise getattr(errors, name)(message)
        if kind != expected:
            raise errors.InternalError(f"The reference worker sent {kind!r}, not {expected!r}.")
        return content

    def _death(self) -> errors.UnsupportedError:
        code = self._worker.wait()
        self._stderr.seek(0)
        said = last_words(self._stderr.read().decode(errors="replace"))
        return errors.UnsupportedError(
            f"LiteRT's reference kernels ended their process ({how_it_ended(code)}) while running "
            f"{self._name}.{said} The default kernels are not affected."
        )


def _send(stream: IO[bytes], kind: bytes, content: bytes) -> None:
    stream.write(_HEADER.pack(kind, len(content)))
    stream.write(content)
    stream.flush()


def _receive(stream: IO[bytes]) -> tuple[bytes, bytes] | None:
    """One frame; None when the other side is gone."""
    header = stream.read(_HEADER.size)
    if len(header) < _HEADER.size:
        return None
    kind, size = _HEADER.unpack(header)
    content = stream.read(size)
    return (kind, content) if len(content) == size else None


def _pack(arrays: Mapping[str, Array]) -> bytes:
    # The names go apart from the arrays: npz would take "file" or a slash amiss.
    stream = io.BytesIO()
    names = np.array(json.dumps(list(arrays)))
    numbered = {f"a{place}": array for place, array in enumerate(arrays.values())}
    np.savez(stream, allow_pickle=False, names=names, **numbered)
    return stream.getvalue()


def _unpack(content: bytes) -> dict[str, Array]:
    with np.load(io.BytesIO(content), allow_pickle=False) as archive:
        names: list[str] = json.loads(str(archive["names"]))
        return {name: archive[f"a{place}"] for place, name in enumerate(names)}


def _serve(path: Path, threads: int, requests: IO[bytes], replies: IO[bytes]) -> None:
    """The worker: loads the file, then answers feeds with outputs until the pipe closes."""
    try:
        session = LiteRTSession(path, RuntimeConfig(threads=threads), "reference")
    except errors.EdgekitError as error:
        _send(replies, _ERROR, _error(error))
        return
    _send(replies, _HELLO, session.runtime.encode())
    while (frame := _receive(requests)) is not None:
        try:
            _send(replies, _ARRAYS, _pack(session.run(_unpack(frame[1]))))
        except errors.EdgekitError as error:
            _send(replies, _ERROR, _error(error))


def _error(error: errors.EdgekitError) -> bytes:
    return json.dumps([type(error).__name__, str(error)]).encode()


def main() -> None:
    """Entry of the worker process: ``python -m ... FILE THREADS``."""
    # Native code may print; its standard output must not reach the frames.
    replies = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    _serve(Path(sys.argv[1]), int(sys.argv[2]), sys.stdin.buffer, replies)


if __name__ == "__main__":
    main()
