"""The files of a golden: a manifest, a checkpoint, the inputs and outputs; written whole or not at all."""

from __future__ import annotations

import ctypes
import hashlib
import math
import os
import socket
import tempfile
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save

from pytest_ckpt.findings import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from torch import Tensor

_LOCK = ".updating"
_STORED = frozenset(
    {
        torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.int16, torch.int8,
        torch.uint8, torch.bool,
    }
)  # fmt: skip


def packed(tensors: Mapping[str, Tensor]) -> bytes:
    """Write tensors as safetensors; a dtype that the format lacks, such as a complex one, as its bytes."""
    return save({name: _plain(one) for name, one in tensors.items()})


def _plain(tensor: Tensor) -> Tensor:
    tensor = tensor.detach().cpu().resolve_conj().resolve_neg().contiguous().clone()
    return tensor if tensor.dtype in _STORED else as_bytes(tensor)


def as_bytes(tensor: Tensor) -> Tensor:
    """Give the bytes of a dense tensor."""
    return tensor.detach().cpu().resolve_conj().resolve_neg().contiguous().reshape(-1).view(torch.uint8)


def digest(tensor: Tensor) -> str:
    """Give the first half of the SHA-256 of a dense tensor's bytes."""
    content = as_bytes(tensor)
    return hashlib.sha256(ctypes.string_at(content.data_ptr(), content.numel())).hexdigest()[:32]


def unpacked(path: Path, kinds: Mapping[str, tuple[str, list[int]]]) -> dict[str, Tensor]:
    """Read tensors.

    Args:
        path: A file that `packed` gave.
        kinds: Dtype and shape of each, as the manifest names them.

    Raises:
        UsageError: The file is missing, damaged, or holds something else than the manifest says.
    """
    name = "/".join(path.parts[-3:])
    renew = "bring back all files of the golden with git checkout, or write them anew with: pytest --ckpt-update"
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UsageError(f"{name}, which belongs to the golden, cannot be read ({error.strerror}): {renew}") from None
    if content.startswith(b"version https://git-lfs."):
        raise UsageError(f"{name} is a pointer of Git LFS and not the file: run git lfs pull")
    try:
        found = load(content)
    except SafetensorError as error:
        raise UsageError(f"{name} is no safetensors file any more ({error}): {renew}") from None
    if found.keys() != kinds.keys():
        apart = min(found.keys() ^ kinds.keys())
        raise UsageError(f"{name} and the manifest do not have the same entries ({apart!r} is in one of them): {renew}")
    result = {key: _restored(found[key], dtype, shape) for key, (dtype, shape) in kinds.items()}
    for key, tensor in result.items():
        if tensor is None:
            held, (dtype, shape) = found[key], kinds[key]
            raise UsageError(
                f"{name} holds {key!r} as {held.dtype} {list(held.shape)}, and the manifest says {dtype} {shape}: "
                f"{renew}"
            )
    return {key: tensor for key, tensor in result.items() if tensor is not None}


def _restored(tensor: Tensor, name: str, shape: list[int]) -> Tensor | None:
    """Give a stored tensor its dtype and shape; None where it cannot have been stored from such a one."""
    dtype = getattr(torch, name, None)
    if dtype in _STORED or not isinstance(dtype, torch.dtype):
        return tensor if tensor.dtype == dtype and list(tensor.shape) == shape else None
    fits = tensor.dtype == torch.uint8 and tensor.numel() == math.prod(shape) * dtype.itemsize
    return tensor.view(dtype).reshape(shape) if fits else None


def write(contents: Mapping[Path, bytes]) -> None:
    """Write files, all of them whole or none: each beside its place first, and then all moved there.

    Args:
        contents: What to write where, in one folder, which is made; the last one is moved last.

    Raises:
        UsageError: Writing failed, and nothing was changed; or another process is writing the same golden.
    """
    folder = next(iter(contents)).parent
    made = _made(folder)
    waiting: dict[Path, Path] = {}
    try:
        with _alone(folder):
            for path, content in contents.items():
                waiting[path] = _beside(path, content)
            for path, temporary in waiting.items():
                temporary.replace(path)
    except OSError as error:
        for temporary in waiting.values():
            temporary.unlink(missing_ok=True)
        for one in made:
            with suppress(OSError):
                one.rmdir()
        raise UsageError(
            f"the golden {'/'.join(folder.parts[-2:])} could not be written ({error.strerror or error}): nothing was "
            f"changed. Make room or see to the rights of {folder}, and run again"
        ) from None


def _made(folder: Path) -> list[Path]:
    """Make a folder, and give those that were made, the deepest first."""
    missing = [one for one in (folder, *folder.parents) if not one.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"the folder {folder} cannot be made ({error.strerror}): goldens are kept there") from None
    return missing


def _beside(path: Path, content: bytes) -> Path:
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o644)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    return temporary


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Keep other processes from writing to a folder; a lock that a dead process of this machine left is taken over."""
    lock = folder / _LOCK
    mine = f"{socket.gethostname()} {os.getpid()}"
    if lock.exists() and _is_dead(lock):
        lock.unlink(missing_ok=True)
    try:
        handle = os.open(lock, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
    except FileExistsError:
        raise UsageError(
            f"another process ({_holder(lock)}) is updating the golden {'/'.join(folder.parts[-2:])}: wait for it and "
            f"run again; if there is none, delete {lock}"
        ) from None
    try:
        os.write(handle, mine.encode())
        os.close(handle)
        yield
    finally:
        lock.unlink(missing_ok=True)


def _holder(lock: Path) -> str:
    try:
        return lock.read_text(encoding="utf-8") or "unknown"
    except OSError:
        return "unknown"


def _is_dead(lock: Path) -> bool:
    host, _, number = _holder(lock).partition(" ")
    if host != socket.gethostname() or not number.isdecimal():
        return False
    try:
        os.kill(int(number), 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return False
