"""A module at one point of its life, kept so that it can be brought back there.

A forward may move what a module holds: a counter, a generator, a running mean, an embedding that is renormalised in
place. Whoever runs it twice and compares has to start from the same point both times.
"""

from __future__ import annotations

import copy
import copyreg
import inspect
from collections import deque
from collections.abc import Mapping
from functools import partial
from types import FunctionType, MethodType
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn.parameter import is_lazy
from torch.utils.hooks import RemovableHandle

from pytest_ckpt.compare import bound_in, difference

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from torch import Tensor

_OBJECTS_DEEP = 2
_INTERNAL = frozenset(nn.Module().__dict__)
_HOOKS = frozenset(name for name in _INTERNAL if name.endswith(("_hooks", "_hooks_with_kwargs")))


def attributes(module: nn.Module) -> dict[str, Any]:
    """Give what one module holds of its own besides parameters, buffers, submodules, hooks and mode."""
    found = {name: value for name, value in vars(module).items() if name not in _INTERNAL}
    slots = copyreg._slotnames(type(module))  # type: ignore[attr-defined]  # noqa: SLF001 -- what pickle itself uses
    found.update((name, getattr(module, name)) for name in slots if hasattr(module, name))
    return found


def set_attribute(module: nn.Module, name: str, value: Any) -> None:
    """Set an attribute that `attributes` gives, past the module's own `__setattr__`."""
    object.__setattr__(module, name, value)


def remove_attribute(module: nn.Module, name: str) -> None:
    """Remove an attribute that `attributes` gives, if it is there."""
    if name in attributes(module):
        object.__delattr__(module, name)


def modules_within(value: Any) -> list[nn.Module]:
    """Give the modules that a value is or contains, through containers, closures, partials and plain objects."""
    return list(_modules_within(value, set(), _OBJECTS_DEEP))


def _modules_within(value: Any, seen: set[int], deep: int) -> Iterator[nn.Module]:
    if id(value) in seen or value is None or isinstance(value, (torch.Tensor, int, float, str, type)):
        return
    seen.add(id(value))
    if isinstance(value, nn.Module):
        yield value
        return
    items: Any = ()
    if isinstance(value, Mapping):
        items = value.values()
    elif isinstance(value, (list, tuple, set, frozenset, deque)):
        items = value
    elif deep:
        items, deep = _parts_of_object(value), deep - 1
    for item in list(items):
        yield from _modules_within(item, seen, deep)


def _parts_of_object(value: Any) -> Iterable[Any]:
    if isinstance(value, partial):
        return (value.func, value.args, value.keywords)
    if isinstance(value, FunctionType):
        return bound_in(value)
    if isinstance(value, MethodType):
        return (value.__self__,)
    return list(getattr(value, "__dict__", {}).values()) if not inspect.isroutine(value) else ()


def reachable(module: nn.Module) -> dict[str, nn.Module]:
    """Give all modules that belong to a module, registered ones and those that sit in plain attributes.

    Returns:
        Modules by name: the fully qualified name for a registered one; owner, attribute and position for another.
    """
    found = dict(module.named_modules())
    known = {id(one) for one in found.values()}
    queue = deque(found.items())
    while queue:
        prefix, owner = queue.popleft()
        for name, value in attributes(owner).items():
            for position, inner in enumerate(modules_within(value)):
                if id(inner) in known:
                    continue
                path = ".".join(filter(None, (prefix, f"{name}[{position}]")))
                for suffix, one in inner.named_modules():
                    if id(one) not in known:
                        known.add(id(one))
                        found[".".join(filter(None, (path, suffix)))] = one
                        queue.append((".".join(filter(None, (path, suffix))), one))
    return found


def duplicate(value: Any, keep: dict[int, Any] | None = None) -> Any:
    """Copy a value deeply, as far as it can be copied.

    Tensors are detached and cloned, generators keep their position, and modules, with everything listed in `keep` by
    its id, stay the objects that they are. What cannot be copied is returned as it is.
    """
    return _duplicate(value, dict(keep or {}))


def _duplicate(value: Any, memo: dict[int, Any]) -> Any:
    if id(value) in memo:
        return memo[id(value)]
    if value is None or isinstance(value, (nn.Module, RemovableHandle, bool, int, float, str, bytes, type)):
        return value  # a handle's copy would bring a copy of the registry that it belongs to
    if isinstance(value, torch.Tensor):
        result: Any = copy_tensor(value)
    elif isinstance(value, torch.Generator):
        result = torch.Generator(device=value.device)
        result.set_state(value.get_state())
    elif type(value) is dict or type(value) is list:
        result = type(value)()
        memo[id(value)] = result
        if isinstance(value, dict):
            result.update((key, _duplicate(item, memo)) for key, item in value.items())
        else:
            result.extend(_duplicate(item, memo) for item in value)
    elif type(value) is tuple:
        result = tuple(_duplicate(item, memo) for item in value)
    elif type(value) is deque:
        result = deque((_duplicate(item, memo) for item in value), maxlen=value.maxlen)
    else:
        result = _deep_copied(value, memo)
    memo[id(value)] = result
    return result


def _deep_copied(value: Any, memo: dict[int, Any]) -> Any:
    inner: dict[int, Any] = dict(memo)
    for module in modules_within(list(vars(value).values()) if hasattr(value, "__dict__") else value):
        inner[id(module)] = module
    try:
        with torch.no_grad():
            return copy.deepcopy(value, inner)
    except Exception:  # noqa: BLE001 -- a foreign __deepcopy__ may raise anything
        return value


def copy_tensor(tensor: Tensor) -> Tensor:
    """Clone a tensor without its history; lazy ones and those that cannot be cloned stay themselves."""
    if is_lazy(tensor):
        return tensor
    try:
        with torch.no_grad():
            result = tensor.detach().clone()
            return nn.Parameter(result, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else result
    except (RuntimeError, NotImplementedError, TypeError):
        return tensor


class Moment:
    """What a module and everything in it held when this was made.

    Attributes:
        attributes: For each reachable module its own attributes, copied; names as `reachable` gives them.
        tensors: For each reachable module its own parameters and buffers, copied.
    """

    def __init__(self, module: nn.Module) -> None:
        """Copy what the module holds.

        Args:
            module: Any module; its tensors are cloned, so memory for a second one is needed.
        """
        self._modules = reachable(module)
        self._keep: dict[int, Any] = {}
        self._tensors: list[tuple[dict[str, Any], dict[str, Any], dict[str, Any]]] = []
        clones: dict[int, Any] = {}
        for one in self._modules.values():
            for held in (one._parameters, one._buffers):  # noqa: SLF001 -- the registries themselves are restored
                for tensor in (one for one in held.values() if one is not None):
                    self._keep[id(tensor)] = tensor
                    if id(tensor) not in clones:
                        clones[id(tensor)] = copy_tensor(tensor)
                copies = {name: None if tensor is None else clones[id(tensor)] for name, tensor in held.items()}
                self._tensors.append((held, dict(held), copies))
        self._training = {name: one.training for name, one in self._modules.items()}
        self._classes = {name: type(one) for name, one in self._modules.items()}
        self._hooks = [
            (registry, dict(registry))
            for one in self._modules.values()
            for name, registry in vars(one).items()
            if name in _HOOKS
        ]
        self.attributes = {
            name: {key: duplicate(value, self._keep) for key, value in attributes(one).items()}
            for name, one in self._modules.items()
        }
        self.tensors = {
            name: {
                key: clones[id(tensor)]
                for held in (one._parameters, one._buffers)  # noqa: SLF001 -- as above
                for key, tensor in held.items()
                if tensor is not None
            }
            for name, one in self._modules.items()
        }

    def restore(self) -> None:
        """Bring the module back: tensors by value into the same objects, attributes as fresh copies."""
        for held, objects, copies in self._tensors:
            held.clear()
            held.update(objects)
            for name, tensor in objects.items():
                if tensor is not None and copies[name] is not tensor:
                    _write_back(tensor, copies[name].detach())
        for registry, hooks in self._hooks:
            registry.clear()
            registry.update(hooks)
        for name, one in self._modules.items():
            one.__class__ = self._classes[name]  # the first forward of a lazy module changes it
            one.training = self._training[name]
            for key in attributes(one).keys() - self.attributes[name].keys():
                remove_attribute(one, key)
            for key, value in self.attributes[name].items():
                set_attribute(one, key, duplicate(value, self._keep))


def _write_back(tensor: Tensor, value: Tensor) -> None:
    """Give a tensor its former value; in place where that is possible, since others may hold views of its memory."""
    if not is_lazy(tensor) and difference("", value, tensor) is None:
        return
    with torch.no_grad():
        try:
            tensor.data.copy_(value)
            if difference("", value, tensor) is None:
                return
        except (RuntimeError, ValueError):
            pass  # another shape or an expanded view: only a new storage can hold it
        tensor.data = value.clone()
