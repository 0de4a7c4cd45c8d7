"""A process to spare, one for a whole test run: it says what the variables of a Python module hold after the import.

It is started at the first question and ends with the run. It imports torch once, and forks a process which imports what
the question is about; that one forks again for each question, so all find the variables as the import leaves them.
"""

from __future__ import annotations

import atexit
import importlib
import importlib.util
import os
import pickle
import select
import socket
import subprocess
import sys
import threading
from collections import deque
from contextlib import suppress
from functools import cache
from pathlib import Path
from types import FunctionType
from typing import TYPE_CHECKING, Any, BinaryIO

from pytest_ckpt.containers import items_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from types import ModuleType

_PATIENCE = 120.0  # seconds for one answer
_IDLE = 30.0  # seconds after which a process that nobody asks gives its memory back
_LENGTH = 8  # bytes of the number that a message begins with
_MOST_BYTES = 2**26


@cache
def values(module: str) -> Mapping[str, Any]:
    """Give what the variables of a Python module, its classes and its functions hold in a new process after the import.

    Args:
        module: Its name, by which it is imported here too.

    Returns:
        Values by dotted path, `TABLE` or `Net.table`: tensors, arrays, containers of such, and what `is_empty`; for
        every other one an ellipsis. Nothing where the module cannot be imported, or where the system cannot fork.
    """
    known = sys.modules.get(module)
    file = getattr(known, "__file__", None)
    if not hasattr(os, "fork") or module == "__main__" or file is None:
        return {}
    try:
        found: dict[str, Any] = ask(_of_module, {"module": module, "file": file}, [(module, file)])[0]
    except Exception:  # noqa: BLE001 -- it cannot be asked; nothing follows from that
        return {}
    return found


def ask(
    answer: Callable[[Any], Any],
    question: Mapping[str, Any],
    imports: Sequence[tuple[str, str]],
    hashes: Sequence[str] = ("",),
) -> list[Any]:
    """Have a question answered in new processes, with the folders that are imported from here.

    Args:
        answer: A function at the top of a module: it is called there with the question.
        question: What can be pickled.
        imports: Names and files of the Python modules that it needs.
        hashes: The PYTHONHASHSEED of each of those processes; that of this one by default.

    Raises:
        Exception: There is no answer.
    """
    message = {"answer": answer, "question": pickle.dumps(question), "home": (list(imports), sys.path)}
    servers = [_server(one) for one in hashes]
    try:
        for server in servers:  # all at once: what they import may take many seconds
            server.put(message)
        answers = [server.take() for server in servers]
    except Exception:
        for server in servers:
            server.stop()  # an answer that nobody took would be taken for the next one's
        raise
    return [pickle.loads(answer) for answer in answers]  # noqa: S301 -- from processes of our own


def stop() -> None:
    """End the processes, as the end of the run does."""
    for server in _running:
        server.stop()


def holds_tensor(value: Any) -> bool:
    """Whether a value is a tensor or an array, or a container of such."""
    items = items_of(value) if isinstance(value, (dict, list, tuple)) else [value]
    return any({"torch", "numpy"} & {kind.__module__ for kind in type(item).__mro__} for item in items)


def is_empty(value: Any) -> bool:
    """Whether a value is None or a container without items."""
    return value is None or (isinstance(value, (dict, list, tuple, set, deque)) and not value)


class _Server:
    """The process, seen from here."""

    def __init__(self, hashes: str) -> None:
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
            "OPENBLAS_NUM_THREADS": "1",  # else SciPy's starts threads when it is imported
        }
        if hashes:
            environment["PYTHONHASHSEED"] = hashes
        self._process = subprocess.Popen(
            [sys.executable, "-c", "from pytest_ckpt import spare; spare.serve()"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
        )
        atexit.register(self.stop)

    def put(self, question: Mapping[str, Any]) -> None:
        """Put one question.

        Raises:
            OSError: Nobody is there.
        """
        assert self._process.stdin is not None  # noqa: S101 -- for the type checker
        _write(self._process.stdin, pickle.dumps(question))

    def take(self) -> bytes:
        """Wait for the answer.

        Raises:
            OSError: There is none.
        """
        assert self._process.stdout is not None  # noqa: S101 -- for the type checker
        if not select.select([self._process.stdout], [], [], _PATIENCE)[0]:
            raise TimeoutError("the spare process gave no answer")
        return _read(self._process.stdout)

    def stop(self) -> None:
        """End the process."""
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                with suppress(OSError):
                    stream.close()
        self._process.kill()
        self._process.wait()


_running: list[_Server] = []


@cache
def _server(hashes: str = "") -> _Server:
    _running.append(_Server(hashes))
    return _running[-1]


def _write(stream: BinaryIO | Any, data: bytes) -> None:
    stream.write(len(data).to_bytes(_LENGTH, "big") + data)
    stream.flush()


def _read(stream: BinaryIO | Any) -> bytes:
    """Read one message.

    Raises:
        EOFError: The other side has gone.
    """
    head = stream.read(_LENGTH)
    if len(head) < _LENGTH:
        raise EOFError
    data: bytes = stream.read(int.from_bytes(head, "big"))
    return data


# ------------------------------------------------------------------------------------------------- in the other process


def serve() -> None:
    """Answer questions until the asking process has gone."""
    import torch  # noqa: F401 -- once, for all that are forked

    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what is imported may print
    ready = None
    with suppress(EOFError):
        while True:
            message = pickle.loads(_read(sys.stdin.buffer))  # noqa: S301 -- from the process that started this one
            answer = ready.ask(message) if ready is not None and ready.serves(message) else b""
            if not answer:  # it may have ended since
                ready = _Ready(message["home"])
                answer = ready.ask(message)
            _write(answers, answer or pickle.dumps({}))


class _Ready:
    """A process in which some Python modules have been imported, and which is forked for each question about them."""

    def __init__(self, home: tuple[list[tuple[str, str]], list[str]]) -> None:
        self._home = home
        ours, theirs = socket.socketpair()
        self._child = os.fork()
        if self._child == 0:
            try:
                ours.close()
                self._serve(theirs)
            finally:
                os._exit(0)
        theirs.close()
        self._stream = ours.makefile("rwb")
        ours.close()

    def serves(self, message: Mapping[str, Any]) -> bool:
        """Whether it is there still, and for the modules that a message names; if not, it ends."""
        alive = os.waitpid(self._child, os.WNOHANG) == (0, 0)
        if alive and self._home == message["home"]:
            return True
        self._stream.close()
        if alive:
            os.waitpid(self._child, 0)
        return False

    def ask(self, message: Mapping[str, Any]) -> bytes:
        """Give the answer to a question, nothing if the process has ended."""
        try:
            _write(self._stream, pickle.dumps(message))
            return _read(self._stream)
        except (OSError, EOFError):
            return b""

    def _serve(self, theirs: socket.socket) -> None:
        imports, sys.path[:] = self._home
        for name, file in imports:
            imported(name, file)
        stream = theirs.makefile("rwb")
        while select.select([theirs], [], [], _IDLE)[0]:
            message = pickle.loads(_read(stream))  # noqa: S301 -- from the process that forked this one
            if _is_forkable():
                _write(stream, _in_fork(message))
            else:
                _write(stream, _answer(message))
                return


def _is_forkable() -> bool:
    """Whether nothing but this one thread is running, which alone would live on in a fork."""
    tasks = Path("/proc/self/task")
    return threading.active_count() == 1 and not (tasks.is_dir() and len(list(tasks.iterdir())) > 1)


def _in_fork(question: Mapping[str, Any]) -> bytes:
    ours, theirs = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(ours)
            with os.fdopen(theirs, "wb") as pipe:
                pipe.write(_answer(question))
        finally:
            os._exit(0)
    os.close(theirs)
    with os.fdopen(ours, "rb") as pipe:
        answer = pipe.read()
    os.waitpid(child, 0)
    return answer or pickle.dumps({})


def imported(name: str, file: str) -> ModuleType:
    """Import a Python module by its name, or from its file, as a test module of a folder that is no package.

    Raises:
        ImportError: Neither leads to it.
    """
    try:
        return importlib.import_module(name)
    except ImportError:
        specification = importlib.util.spec_from_file_location(name, file)
        if specification is None or specification.loader is None:
            raise
    module = importlib.util.module_from_spec(specification)
    sys.modules[name] = module
    specification.loader.exec_module(module)
    return module


def _answer(message: Mapping[str, Any]) -> bytes:
    return pickle.dumps(message["answer"](pickle.loads(message["question"])))  # noqa: S301 -- as above


def _of_module(question: Mapping[str, Any]) -> dict[str, Any]:
    module = imported(question["module"], question["file"])
    found = dict(vars(module))
    for one in [one for one in found.values() if isinstance(one, (type, FunctionType))]:
        if one.__module__ == module.__name__:
            found.update({f"{one.__qualname__}.{name}": value for name, value in vars(one).items()})
    told = {path for path, value in found.items() if is_empty(value) or holds_tensor(value)}
    return {path: value if path in told and can_be_sent(value) else ... for path, value in found.items()}


def can_be_sent(value: Any) -> bool:
    """Whether a value can be pickled, and is not too large to go from one process to another."""
    try:
        return len(pickle.dumps(value)) < _MOST_BYTES
    except Exception:  # noqa: BLE001 -- what pickle cannot take stays away
        return False
