"""What stands in a checkpoint file, seen apart from the loader that the user has for it."""

from __future__ import annotations

import copy
import os
import pickle
import pickletools
import re
import sys
import warnings
from collections.abc import Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, BinaryIO

import torch
from torch import nn

from pytest_ckpt.compare import describe, storage_address
from pytest_ckpt.copying import copy_tensor
from pytest_ckpt.distinguish import is_simple
from pytest_ckpt.trip import Changed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from torch import Tensor

_WORTH_SAVING = 4096  # bytes
_LEADING = 2**16  # elements
_NAMED = re.compile(r"Unsupported global: GLOBAL (\S+)")
_OPERATION = "Unsupported operand"
_OTHER_PICKLE = "Can not safely load weights when explicit pickle_module is specified"
_GETATTR = "builtins.getattr"
_FORCE = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"


def tensors(content: Mapping[Any, Any]) -> dict[str, Tensor]:
    """Give the tensors among a mapping's values, by name."""
    return {str(key): value for key, value in content.items() if isinstance(value, torch.Tensor)}


def read(path: Path) -> Any:
    """Read a file of torch.save as it is, for looking at it; None for a folder or a file of another kind.

    Only plain data is read (`weights_only=True`); a file that holds more gives None.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception:  # noqa: BLE001 -- the user's own format; nothing follows from it
        return None


def find_state(content: Any) -> dict[str, Tensor] | None:
    """Find the state_dict in what a file holds: the content itself or the largest dict of tensors one key below."""
    if not isinstance(content, Mapping):
        return None
    found = tensors(content)
    for value in content.values():
        if isinstance(value, Mapping) and len(inner := tensors(value)) > len(found):
            found = inner
    return found or None


def with_state(content: Any, state: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> Any:
    """Give a copy of what a file holds with the state_dict in it replaced.

    Args:
        content: What `read` gave.
        state: What `find_state` found in it.
        other: The entries to stand there instead.
    """

    def replaced(mapping: Mapping[Any, Any]) -> Any:
        result: Any = copy.copy(mapping)  # its own copy() would lose the versions in `_metadata`
        for key in state:
            result.pop(key, None)
        result.update(other)
        return result

    if tensors(content).keys() == state.keys():
        return replaced(content)
    return {
        key: replaced(value) if isinstance(value, Mapping) and tensors(value).keys() == state.keys() else value
        for key, value in content.items()
    }


class Excerpt(nn.Module):
    """Stands for a module whose state need not be written whole: of each large entry it has the leading elements."""

    def __init__(self, state: Mapping[str, Any]) -> None:
        """Take the excerpt.

        Args:
            state: A state_dict, which is left as it is.
        """
        super().__init__()
        excerpt: Any = copy.copy(state)  # its own copy() would lose the versions in `_metadata`
        excerpt.update((name, _leading(tensor)) for name, tensor in tensors(state).items())
        self._state = excerpt

    def state_dict(self, *_args: Any, **_kwargs: Any) -> Any:
        """Give the state_dict with its large entries cut."""
        return self._state


def _leading(tensor: Tensor) -> Tensor:
    large = is_simple(tensor) and tensor.is_contiguous() and tensor.numel() > _LEADING
    return copy_tensor(tensor.view(-1)[:_LEADING]) if large else tensor


def bloat(content: Any) -> tuple[Changed, ...]:
    """List tensors whose storage is written whole although they show a small part of it.

    A view shares its storage with what it was cut from, and torch.save writes storages. Counted is what all tensors of
    the file together show of a storage; a few kilobytes are not worth a word.
    """
    shown: dict[int, list[tuple[str, Tensor]]] = {}
    for name, tensor in tensors_within(content):
        address = storage_address(tensor)
        if address:
            shown.setdefault(address, []).append((name, tensor))
    found = []
    for views in shown.values():
        name, tensor = max(views, key=lambda view: view[1].numel())
        whole = tensor.untyped_storage().nbytes()
        used = sum(view.numel() * view.element_size() for _, view in views)
        if whole >= 2 * used and whole - used >= _WORTH_SAVING:
            found.append(Changed(name, f"{describe(tensor)} ({used} bytes)", f"a storage of {whole} bytes"))
    return tuple(found)


def tensors_within(content: Any, prefix: str = "") -> Iterator[tuple[str, Tensor]]:
    """Give the tensors in what a file holds, those in containers too, each by the key or position nearest to it."""
    if isinstance(content, torch.Tensor):
        yield prefix, content
    elif isinstance(content, Mapping):
        for key, value in content.items():
            yield from tensors_within(value, str(key))
    elif isinstance(content, (list, tuple)):
        for index, value in enumerate(content):
            yield from tensors_within(value, f"{prefix}[{index}]")


def unsafe_globals(path: Path) -> tuple[str, ...]:
    """Name what a file of torch.save holds that `weights_only=True` refuses; nothing for other files."""
    try:
        found = torch.serialization.get_unsafe_globals_in_checkpoint(path)
    except (ValueError, pickle.UnpicklingError):  # a legacy file, or a protocol that torch does not read there
        return _refused(path)
    except Exception:  # noqa: BLE001 -- a folder, or a file that is not torch's
        return ()
    found = _with_nested(found, path) if _GETATTR in found else found
    return tuple(name for name in found if not name.startswith("torch.nn.parameter.Uninitialized"))


def _with_nested(names: Iterable[str], path: Path) -> list[str]:
    """Name classes that are defined within others, which pickle writes as `getattr(Outer, "Inner")`, as what they are.

    Those others and `getattr` are left out where they stand in the file for that alone.
    """
    content = torch._C.PyTorchFileReader(str(path)).get_record("data.pkl")  # noqa: SLF001 -- zipfile asks for checksums
    memo: dict[Any, Any] = {}
    last: list[Any] = [None]
    nested, owners = [], {_GETATTR}
    for operation, argument, _ in pickletools.genops(content):
        if operation.name == "GLOBAL":
            last.append(str(argument).replace(" ", ".").replace("__builtin__", "builtins"))
        elif operation.name == "BINUNICODE":
            last.append(argument)
        elif operation.name in {"BINGET", "LONG_BINGET"}:
            last.append(memo[argument])
        elif operation.name in {"BINPUT", "LONG_BINPUT"}:
            memo[argument] = last[-1]
        elif operation.name == "REDUCE" and last[-3:-2] == [_GETATTR]:
            owners.add(last[-2])
            last[-3:] = [f"{last[-2]}.{last[-1]}"]
            nested.append(last[-1])
    return [name for name in dict.fromkeys((*names, *nested)) if name not in owners or name in last]


def pickled_modules(path: Path) -> tuple[str, ...]:
    """Name the module classes in a file of `pickle.dump`, which torch.load knows nothing of; nothing for others."""
    try:
        with path.open("rb") as file:
            return tuple(dict.fromkeys(filter(is_module_class, _globals(file))))
    except (OSError, ValueError):  # a folder, or a file of another kind
        return ()


def _globals(file: BinaryIO) -> Iterator[str]:
    """Give the dotted names of the classes and functions in a pickle, without unpickling it."""
    memo: list[Any] = []
    strings: list[Any] = []
    last: Any = None
    for operation, argument, _ in pickletools.genops(file):
        if operation.name == "MEMOIZE":
            memo.append(last)
            continue
        last = argument
        if operation.name in {"BINGET", "LONG_BINGET"} and isinstance(argument, int):
            last = memo[argument] if argument < len(memo) else None
        if isinstance(last, str) and operation.name != "GLOBAL":
            strings.append(last)
        elif operation.name == "GLOBAL":
            yield str(argument).replace(" ", ".")
        elif operation.name == "STACK_GLOBAL":
            yield ".".join(strings[-2:])


def _refused(path: Path) -> tuple[str, ...]:
    """Name the first thing that loading only weights refuses, by what torch says of it."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.load(path, map_location="meta", weights_only=True)
    except Exception as error:  # noqa: BLE001 -- a file that is not torch's raises anything
        if not is_refusal(error):
            return ()
        named = _NAMED.search(str(error))
        return (named[1],) if named else ()
    return ()


def is_of_another_protocol(error: BaseException) -> bool:
    """Whether torch refuses a file for its pickle protocol, 4 or 5, which says nothing of what is in it."""
    return is_refusal(error) and _OPERATION in str(error)


def classes_of_main(path: Path) -> tuple[str, ...]:
    """Name the module classes that a pickled module takes from `__main__`, which is another script elsewhere."""
    return tuple(name for name in unsafe_globals(path) if name.startswith("__main__.") and is_module_class(name))


def is_module_class(name: str) -> bool:
    """Whether a dotted name, as pickle writes it, is that of a subclass of nn.Module."""
    found = _found(name)
    return isinstance(found, type) and issubclass(found, nn.Module)


def _found(name: str) -> Any:
    """Give what has a dotted name: an imported Python module, something in one, or in a class of one; else None."""
    owner, _, last = name.rpartition(".")
    return sys.modules.get(name) or (getattr(_found(owner), last, None) if owner else None)


def needs_more_than_weights(load: Callable[[Path], Any], path: Path) -> bool:
    """Whether a loader cannot read its file once torch is told to load only weights, whatever the loader says.

    A loader that allows its own classes with `torch.serialization.safe_globals` can.
    """
    with _only_weights():
        try:
            load(path)
        except (Exception, SystemExit) as error:  # noqa: BLE001 -- only one kind of error answers the question
            return is_refusal(error)
    return False


def is_refusal(error: BaseException) -> bool:
    """Whether an error is torch's refusal to unpickle more than weights."""
    if isinstance(error, pickle.UnpicklingError):
        return "weights" in str(error).lower()
    return isinstance(error, RuntimeError) and _OTHER_PICKLE in str(error)


@contextmanager
def _only_weights() -> Iterator[None]:
    before = os.environ.get(_FORCE)
    os.environ[_FORCE] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[_FORCE]
        else:
            os.environ[_FORCE] = before
