"""Image files of strangers, read in a worker process with limits of time and memory.

A codec that crashes, hangs or eats memory takes the worker with it, not the program. The worker gets a path
or bytes and answers with raw grey pixels and JSON; nothing that it sends is unpickled, executed or decoded by
a codec. It writes no file and says nothing on the terminal. Limits of memory and CPU time need POSIX; where
they are absent (Windows) the limit of time on the clock holds.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import struct
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

import numpy as np

from cxreport.data.images import ImageFormat, Inspected, Picture, picture_in, picture_of
from cxreport.data.pixels import MAX_PIXELS
from cxreport.errors import UserError
from cxreport.study import PROJECTIONS

_MAX_HEADER_BYTES = 2**16
_START_SECONDS = 120.0
_NO_ANSWER = (OSError, EOFError, ValueError, LookupError, TypeError, OverflowError, RecursionError)
_ENVIRONMENT = ("PATH", "LANG", "LC_ALL", "SYSTEMROOT", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "VIRTUAL_ENV")


@dataclass(frozen=True, slots=True)
class Limits:
    """What one image may cost.

    ``seconds`` is CPU time, so that a busy machine refuses nothing; :data:`PATIENCE` times as much may pass
    on the clock. ``memory`` is the worker's address space in bytes.
    """

    seconds: float = 15.0
    memory: int = 2**30


PATIENCE = 3


class IsolatedReader:
    """Reads image files in one worker process, which is started when first needed and again after a failure.

    ``with IsolatedReader() as reader: reader.inspect(path)``. Threads may share a reader and then take turns;
    a process that was forked starts a worker of its own.
    """

    def __init__(self, limits: Limits | None = None) -> None:
        self.limits = limits or Limits()
        self._lock = threading.Lock()
        self._worker: subprocess.Popen[bytes] | None = None
        self._owner = os.getpid()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def inspect(
        self, path: Path | str, *, max_side: int | None = None, image_format: ImageFormat = "png"
    ) -> Inspected:
        """The same as :func:`cxreport.data.images.inspect`; UserError also for a crash or a broken limit."""
        return self.picture(path, max_side=max_side).inspected(image_format)

    def inspect_bytes(self, content: bytes, name: str, *, max_side: int | None = None) -> Inspected:
        """The same for the bytes of a file, such as an upload, which sentences call `name`."""
        return self._ask({"name": name, "max_side": max_side}, content, name).inspected()

    def picture(self, path: Path | str, *, max_side: int | None = None) -> Picture:
        """The picture in a file, not yet encoded; see :func:`cxreport.data.images.picture_in`."""
        name = str(path)
        return self._ask({"path": os.path.abspath(path), "name": name, "max_side": max_side}, b"", name)

    def close(self) -> None:
        """End the worker, if there is one."""
        worker, self._worker = self._worker, None
        if worker is None or self._owner != os.getpid():
            return
        worker.kill()
        worker.wait()
        for pipe in (worker.stdin, worker.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()

    def _ask(self, request: dict[str, Any], content: bytes, name: str) -> Picture:
        with self._lock:
            if self._owner != os.getpid():
                self._worker, self._owner = None, os.getpid()
            fresh = self._worker is None or self._worker.poll() is not None
            if fresh:
                self.close()
                self._start()
            try:
                return self._answered(request, content, name)
            except MemoryError:
                self.close()
                if not fresh:  # what was read before may have left less memory
                    self._start()
                    with contextlib.suppress(MemoryError):
                        return self._answered(request, content, name)
                    self.close()
            memory = self.limits.memory >> 20
            raise UserError(f"{name} needs more than {memory} MiB of memory; shrink it first.")

    def _answered(self, request: dict[str, Any], content: bytes, name: str) -> Picture:
        worker = self._worker
        assert worker is not None
        assert worker.stdin is not None
        assert worker.stdout is not None
        try:
            with _Deadline(worker, PATIENCE * self.limits.seconds) as deadline:
                _send(worker.stdin, request | {"bytes": len(content)}, content)
                return _picture(_receive(worker.stdout), worker.stdout)
        except (UserError, MemoryError):
            raise
        except _NO_ANSWER:
            worker.kill()
            status = worker.wait()
            self.close()
            raise UserError(_failure(name, status, deadline.passed, self.limits)) from None
        except BaseException:
            self.close()  # interrupted in the middle of an answer
            raise

    def _start(self) -> None:
        environment = {key: os.environ[key] for key in _ENVIRONMENT if key in os.environ}
        environment |= {"PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path)}
        environment |= {"PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        limits = [str(self.limits.memory), str(self.limits.seconds)]
        try:
            self._worker = subprocess.Popen(
                # -P: the folder of the images must not provide modules.
                [sys.executable, "-P", "-m", "cxreport.data.isolation", *limits],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=environment,
            )
            assert self._worker.stdout is not None
            _widen(self._worker.stdout)
            with _Deadline(self._worker, _START_SECONDS):
                _receive(self._worker.stdout)
        except _NO_ANSWER as error:
            self.close()
            raise UserError(
                f"The process that reads images cannot start ({type(error).__name__}); allow it more than "
                f"{self.limits.memory >> 20} MiB of memory."
            ) from None
        except BaseException:
            self.close()
            raise


def inspect_isolated(
    path: Path | str, *, max_side: int | None = None, limits: Limits | None = None
) -> Inspected:
    """:meth:`IsolatedReader.inspect` for a single file, with a worker that is started for it alone."""
    with IsolatedReader(limits) as reader:
        return reader.inspect(path, max_side=max_side)


def _widen(pipe: BinaryIO | Any) -> None:
    """Larger pipes save switches between the processes; only Linux has them, and it may refuse."""
    with contextlib.suppress(ImportError, AttributeError, OSError):
        import fcntl

        fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, 2**20)


class _Deadline:
    """Kills the worker when its time is over, which ends every wait for it."""

    def __init__(self, worker: subprocess.Popen[bytes], seconds: float) -> None:
        self.passed = False
        self._worker = worker
        self._timer = threading.Timer(seconds, self._kill)
        self._timer.daemon = True

    def _kill(self) -> None:
        self.passed = True
        self._worker.kill()

    def __enter__(self) -> Self:
        self._timer.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()


def _send(pipe: BinaryIO | Any, header: dict[str, Any], content: bytes | memoryview) -> None:
    encoded = json.dumps(header).encode()
    pipe.write(struct.pack("<I", len(encoded)) + encoded)
    pipe.write(content)
    pipe.flush()


def _exactly(pipe: BinaryIO | Any, count: int) -> bytes:
    content = pipe.read(count)
    if len(content) < count:
        raise EOFError
    return bytes(content)


def _receive(pipe: BinaryIO | Any) -> dict[str, Any]:
    (length,) = struct.unpack("<I", _exactly(pipe, 4))
    if length > _MAX_HEADER_BYTES:
        raise ValueError("a header that is too long")
    header = json.loads(_exactly(pipe, length))
    if not isinstance(header, dict):
        raise TypeError("a header that is no object")
    return header


def _picture(answer: dict[str, Any], pipe: BinaryIO | Any) -> Picture:
    """The picture of an answer, believed only as far as it can be checked."""
    if answer.get("memory"):
        raise MemoryError
    if "error" in answer:
        raise UserError(_printable(answer["error"]))
    width, height = int(answer["width"]), int(answer["height"])
    if not (0 < width <= MAX_PIXELS and 0 < height <= MAX_PIXELS and width * height <= MAX_PIXELS):
        raise ValueError("a size that no picture has")
    projection = answer["projection"]
    if projection not in (None, *PROJECTIONS):
        raise ValueError("a projection that does not exist")
    notes = tuple(_printable(note) for note in answer["warnings"][:20])
    grey = np.frombuffer(_exactly(pipe, width * height), np.uint8).reshape(height, width)
    return Picture(grey, projection, notes)


def _printable(text: str) -> str:
    return "".join(character for character in str(text)[:4096] if character.isprintable())


def _failure(name: str, status: int, timed_out: bool, limits: Limits) -> str:
    if timed_out or status == -getattr(signal, "SIGPROF", 0):
        return f"{name} takes more than {limits.seconds:g} s to read; it is damaged or too large."
    return f"{name} makes the reader of its format crash, so it is damaged; export it again."


def _serve(memory: int, seconds: float) -> None:
    """The worker: answer requests on stdin until it is closed."""
    requests = sys.stdin.buffer
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a codec prints must not end up among the answers
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    import cxreport.data.dicom  # noqa: F401  codecs are loaded before the limits hold

    _limit(memory)
    _send(answers, {"ready": True}, b"")
    while True:
        try:
            request = _receive(requests)
        except EOFError:
            return
        _allow_seconds(seconds)
        header, content = _answer(request, _exactly(requests, int(request["bytes"])))
        _send(answers, header, content)
        _allow_seconds(0)


def _answer(request: dict[str, Any], content: bytes) -> tuple[dict[str, Any], memoryview]:
    try:
        if "path" in request:
            path = Path(request["path"])
            picture = picture_in(path, name=request["name"], max_side=request["max_side"])
        else:
            picture = picture_of(io.BytesIO(content), request["name"], max_side=request["max_side"])
    except UserError as error:
        return {"error": str(error)}, memoryview(b"")
    except MemoryError:
        return {"memory": True}, memoryview(b"")
    height, width = picture.grey.shape
    header = {"width": width, "height": height}
    header |= {"projection": picture.projection, "warnings": picture.warnings}
    return header, np.ascontiguousarray(picture.grey).data.cast("B")


def _limit(memory: int) -> None:
    """No more than `memory` bytes of address space, no file written, no core dump, no further process."""
    try:
        import resource
    except ImportError:  # Windows
        return
    limits = {
        "RLIMIT_AS": memory,
        "RLIMIT_CORE": 0,
        "RLIMIT_FSIZE": 0,
        "RLIMIT_NPROC": 0,
        "RLIMIT_NOFILE": 64,
    }
    for kind, most in limits.items():
        with contextlib.suppress(ValueError, OSError, AttributeError):
            resource.setrlimit(getattr(resource, kind), (most, most))


def _allow_seconds(seconds: float) -> None:
    """CPU time until the worker is ended by a signal, also when its parent is gone; 0 for no end."""
    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_PROF, seconds)


if __name__ == "__main__":
    _serve(int(sys.argv[1]), float(sys.argv[2]))
