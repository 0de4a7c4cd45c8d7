"""A pickle of the module itself, bound to its class."""

from __future__ import annotations

import io
import pickle
import sys
from functools import reduce
from typing import TYPE_CHECKING, Any, ClassVar

import torch

from pytest_ckpt.compare import describe
from pytest_ckpt.formats import Format, location, torch_zip

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from torch import nn

_TENSORS = ("_parameters", "_buffers")


class WholeModule(Format):
    """`torch.save(module, path)` and `torch.load(path, weights_only=False)`."""

    name: ClassVar[str] = "whole_module"
    summary: ClassVar[str] = "`torch.save(module, path)`, a pickle of the module, bound to its class"
    suffix: ClassVar[str] = ".pt"
    tagged: ClassVar[bool] = True

    def save(self, module: nn.Module, target: Any) -> None:
        """Pickle the module with torch.save."""
        with torch_zip.quietly():
            torch.save(module, target)  # noqa: CKP401 -- that is what this format is

    def load(self, source: Any, device: str, template: Callable[[], Mapping[str, Any]]) -> Any:
        """Unpickle it with torch.load; it runs what the pickle asks for, which is what was saved a moment ago."""
        del template
        with torch_zip.quietly():
            return torch.load(source, map_location=location(device), weights_only=False)

    def binds(self, module: nn.Module) -> tuple[str, str] | None:
        """Name the class, attribute or hook that cannot be pickled, such as a lambda or a class inside a function."""
        for prefix, owner in module.named_modules():
            kind = type(owner)
            if not _importable(kind):
                return prefix or kind.__name__, f"the class {kind.__module__}.{kind.__qualname__}"
            for name, value in _held(owner):
                if not _pickles(value):
                    return ".".join(filter(None, (prefix, name))), describe(value)
        return None


def _held(owner: nn.Module) -> Iterator[tuple[str, Any]]:
    """Give what the pickle of a module holds besides its submodules: its attributes, or what its own way keeps."""
    state = getattr(owner, "__getstate__", lambda: vars(owner))()
    for name, value in state.items() if isinstance(state, dict) else [("__getstate__()", state)]:
        if name in _TENSORS and isinstance(value, dict):
            yield from value.items()
        elif name != "_modules":
            yield name, value


def _importable(kind: type) -> bool:
    """Whether pickle finds a class again by its name."""
    try:
        found: Any = reduce(getattr, kind.__qualname__.split("."), sys.modules[kind.__module__])
    except (AttributeError, KeyError):
        return False
    return found is kind


def _pickles(value: Any) -> bool:
    try:
        pickle.Pickler(io.BytesIO()).dump(value)
    except Exception:  # noqa: BLE001 -- a __reduce__ of the user's own may raise anything
        return False
    return True
