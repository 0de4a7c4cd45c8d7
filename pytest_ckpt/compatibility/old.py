"""Reads what an older version of the code wrote: a file or a state_dict, never unpickling more than weights unasked."""

from __future__ import annotations

import json
import os
import pickle
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from pytest_ckpt.checkpoint_file import is_refusal, tensors, unsafe_globals
from pytest_ckpt.compare import describe
from pytest_ckpt.findings import UsageError
from pytest_ckpt.outputs import where

if TYPE_CHECKING:
    from torch import Tensor

_HEADER_LENGTH = 8  # bytes of the number that a safetensors file begins with


def read_state(checkpoint: Any, *, weights_only: bool) -> Mapping[str, Any]:
    """Give the state_dict that a checkpoint is or holds.

    Args:
        checkpoint: A state_dict; a mapping that holds one below a key, such as `{"model": ...}`; or the path of a file
            of torch.save or safetensors with either.
        weights_only: Whether a file that holds pickled objects besides weights is refused.

    Raises:
        UsageError: It is or holds none, or the file cannot be read.
    """
    content, name = checkpoint, "checkpoint"
    if isinstance(checkpoint, (str, os.PathLike)):
        path = Path(checkpoint)
        content, name = _read_file(path, weights_only=weights_only), f"checkpoint {path.name!r}"
    if isinstance(content, nn.Module) and content is not checkpoint:
        content = content.state_dict()
    if not isinstance(content, Mapping):
        wanted = "a path, or the state_dict that an older version wrote"
        instead = ": give module.state_dict()" if isinstance(content, nn.Module) else ""
        raise UsageError(f"checkpoint must be {wanted}, but it is {describe(content)}{instead}")
    state = _state_within(content)
    if not tensors(state):
        raise UsageError(
            f"{name} holds no tensors, neither at the top nor one key below (its keys: {_listed(content)}): give the "
            "state_dict itself"
        )
    strange = next((key for key in state if type(key) is not str), None)
    if strange is not None:
        raise UsageError(f"{name} has the key {strange!r}, which is no string, so it is no state_dict")
    return state


def _listed(content: Mapping[Any, Any]) -> str:
    keys = [str(key) for key in content]
    return ", ".join(keys[:6]) + (", …" if len(keys) > 6 else "") or "none"  # noqa: PLR2004 -- enough for a message


def _state_within(content: Mapping[Any, Any]) -> Mapping[str, Any]:
    """Give the mapping with the most tensors: the content itself, or one that it holds."""
    inner = [value for value in content.values() if isinstance(value, Mapping)]
    return max((content, *inner), key=lambda mapping: len(tensors(mapping)))


def _read_file(path: Path, *, weights_only: bool) -> Any:
    if not path.exists():
        raise UsageError(f"checkpoint {str(path)!r} does not exist (looked for in {Path.cwd()})")
    if path.is_dir():
        raise UsageError(f"checkpoint {str(path)!r} is a folder: give the file in it, or read it and give a state_dict")
    try:
        if is_safetensors(path):
            from safetensors.torch import load_file

            return load_file(path)
        return torch.load(path, map_location="cpu", weights_only=weights_only)
    except pickle.UnpicklingError as error:
        if not weights_only or not is_refusal(error):
            raise _unreadable(path, error) from None
        found = ", ".join(unsafe_globals(path)) or "pickled objects"
        raise UsageError(
            f"checkpoint {path.name!r} holds more than weights ({found}), and unpickling it would run its code: if you "
            "trust it, say weights_only=False, or keep a copy of its state_dict alone"
        ) from None
    except Exception as error:  # noqa: BLE001 -- a file that is no checkpoint may raise anything
        raise _unreadable(path, error) from None


def _unreadable(path: Path, error: Exception) -> UsageError:
    return UsageError(
        f"checkpoint {path.name!r} ({path.stat().st_size} bytes) is no file of torch.save or safetensors, or it is "
        f"damaged: {where(error)}"
    )


def is_safetensors(path: Path) -> bool:
    """Whether a file begins as safetensors does: the length of a header in eight bytes, and a JSON object."""
    with path.open("rb") as file:
        start = file.read(_HEADER_LENGTH + 1)
        length = int.from_bytes(start[:_HEADER_LENGTH], "little")
        if start[_HEADER_LENGTH:] != b"{" or length > path.stat().st_size:
            return False
        file.seek(_HEADER_LENGTH)
        try:
            return isinstance(json.loads(file.read(length)), dict)
        except ValueError:
            return False


def copied(state: Mapping[str, Any]) -> Mapping[str, Any]:
    """Copy a state_dict with its versions (`_metadata`); entries that are one tensor stay one in the copy."""
    clones: dict[Any, Tensor] = {}
    result: OrderedDict[str, Any] = OrderedDict()
    for key, value in state.items():
        result[key] = clones.setdefault(identity(value), clone(value)) if isinstance(value, torch.Tensor) else value
    if hasattr(state, "_metadata"):
        result._metadata = state._metadata  # type: ignore[attr-defined]  # noqa: SLF001 -- what load_state_dict reads
    return result


def clone(tensor: Tensor) -> Tensor:
    """Copy a tensor without its history; one that cannot be cloned stays itself."""
    try:
        return tensor.detach().clone()
    except (RuntimeError, NotImplementedError, TypeError):
        return tensor


def identity(tensor: Tensor) -> Any:
    """Give what two entries of a state_dict have in common if they are one tensor: memory, shape, strides and dtype."""
    try:
        address = tensor.untyped_storage().data_ptr()
    except (RuntimeError, NotImplementedError):
        address = 0
    if not address or not tensor.numel() or tensor.layout != torch.strided:
        return id(tensor)
    return address, tensor.storage_offset(), tuple(tensor.shape), tensor.stride(), tensor.dtype
