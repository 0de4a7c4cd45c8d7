"""A module at one point of its life, kept so that it can be brought back there.

A forward may move what a module holds: a counter, a generator, a running mean, an embedding that is renormalised in
place. Whoever runs it twice and compares has to start from the same point both times.
"""

from __future__ import annotations

import copy
import copyreg
import inspect
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from types import FunctionType, MethodType
from typing import Any

import torch
from torch import nn

from pytest_ckpt.compare import bound_in, equal
from pytest_ckpt.containers import CONTAINERS, items_of
from pytest_ckpt.copying import Copier, duplicate

_OBJECTS_DEEP = 2  # plain objects inside each other in which modules are looked for
_INTERNAL = frozenset(nn.Module().__dict__)
_FORWARD_HOOKS = ("_forward_pre_hooks", "_forward_hooks")
_REGISTRIES = frozenset(name for name, value in nn.Module().__dict__.items() if isinstance(value, dict))


def attributes(module: nn.Module) -> dict[str, Any]:
    """Give what one module holds of its own besides parameters, buffers, submodules, hooks and mode."""
    found = {name: value for name, value in vars(module).items() if name not in _INTERNAL}
    if "_concrete_type" in found:  # a script module, whose attributes are not in Python
        declared = found["_concrete_type"].get_attributes()
        return {name: getattr(module, name) for name in declared if name not in _INTERNAL}
    slots = copyreg._slotnames(type(module))  # type: ignore[attr-defined]  # noqa: SLF001 -- what pickle itself uses
    found.update((name, getattr(module, name)) for name in slots if hasattr(module, name))
    return found


def set_attribute(module: nn.Module, name: str, value: Any) -> None:
    """Set an attribute that `attributes` gives, past the module's own `__setattr__`."""
    if isinstance(module, torch.jit.ScriptModule):
        setattr(module, name, value)
    else:
        object.__setattr__(module, name, value)


def remove_attribute(module: nn.Module, name: str) -> None:
    """Remove an attribute that `attributes` gives, if it is there."""
    if name in attributes(module):
        object.__delattr__(module, name)


def marks(module: nn.Module) -> dict[tuple[str, str], tuple[int, ...]]:
    """Give a mark for every attribute and buffer of a module, which differs if it is set or written to.

    The mark is the object's identity with its version, or its length and its items' identities. It is cheap, and only
    says that something may have changed.
    """
    found = {}
    for path, one in module.named_modules():
        held = {**attributes(one), **{name: one._buffers[name] for name in one._non_persistent_buffers_set}}  # noqa: SLF001 -- no public way
        for name, value in held.items():
            found[path, name] = (id(value), *contents(value))
    return found


def contents(value: Any) -> tuple[int, ...]:
    """Give a mark of what a tensor or container holds, which differs if it is written to; empty for other values."""
    if isinstance(value, torch.Tensor):
        return (value._version,) if not value.is_inference() else ()  # noqa: SLF001 -- counts in-place changes
    if isinstance(value, (dict, list, deque)):
        items = items_of(value)
        return (len(items), *map(id, items))
    return ()


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
    items = items_of(value)
    if deep and not isinstance(value, (Mapping, *CONTAINERS)):
        items, deep = _parts_of_object(value), deep - 1
    for item in items:
        yield from _modules_within(item, seen, deep)


def _parts_of_object(value: Any) -> list[Any]:
    if isinstance(value, partial):
        return [value.func, value.args, value.keywords]
    if isinstance(value, FunctionType):
        return bound_in(value)
    if isinstance(value, MethodType):
        return [value.__self__]
    return list(getattr(value, "__dict__", {}).values()) if not inspect.isroutine(value) else []


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
        self._copier = Copier()
        self._attributes = {name: attributes(one) for name, one in self._modules.items()}
        self._registries = [
            (registry, dict(registry))
            for one in self._modules.values()
            for name, registry in vars(one).items()
            if name in _REGISTRIES and isinstance(registry, dict)  # those of a script module are views
        ]
        self._flags = {name: (type(one), one.training) for name, one in self._modules.items()}
        self.tensors = {
            name: {
                key: self._copier.copy(tensor)
                for held in (one._parameters, one._buffers)  # noqa: SLF001 -- what the module itself has registered
                for key, tensor in held.items()
                if tensor is not None
            }
            for name, one in self._modules.items()
        }
        self.attributes = {
            name: {key: self._copier.copy(value) for key, value in held.items()}
            for name, held in self._attributes.items()
        }

    def restore(self) -> None:
        """Bring the module back: the same objects, each with what it held."""
        for one in self._modules.values():
            reshard: Any = getattr(type(one), "reshard", None)
            if reshard is not None and type(one).__name__.startswith("FSDP"):
                reshard(one)  # forward leaves it whole, and FSDP keeps account of that elsewhere
        for registry, held in self._registries:
            registry.clear()
            registry.update(held)
        for name, one in self._modules.items():
            one.__class__, one.training = self._flags[name]  # the first forward of a lazy module changes its class
            for key in attributes(one).keys() - self._attributes[name].keys():
                remove_attribute(one, key)
            for key, value in self._attributes[name].items():
                set_attribute(one, key, self._again(name, key) if isinstance(value, Iterator) else value)
        self._copier.restore()

    def _again(self, name: str, key: str) -> Any:
        """Give an iterator at its former position; one cannot be wound back, but a copy of it can be copied."""
        return duplicate(self.attributes[name][key])


@dataclass(frozen=True, slots=True, eq=False)
class Replaced:
    """An attribute of a module, or a submodule without tensors, that holds or is something else than before.

    Attributes:
        key: Its fully qualified name.
        owner: The module.
        name: Its name there.
        before: A copy of what it held.
        now: What it holds.
    """

    key: str
    owner: nn.Module
    name: str
    before: Any
    now: Any

    @property
    def is_hooks(self) -> bool:
        """Whether it is a registry of forward hooks."""
        return self.name in _FORWARD_HOOKS

    @property
    def is_submodule(self) -> bool:
        """Whether it is a submodule."""
        return isinstance(self.before, nn.Module)

    def put(self, value: Any) -> None:
        """Have the module hold a value there."""
        if self.is_submodule:
            self.owner._modules[self.name] = value  # noqa: SLF001 -- the registry, past what __setattr__ is overridden with
        else:
            set_attribute(self.owner, self.name, value)


class Attributes:
    """What a module and its submodules hold at one time besides tensors: attributes, forward hooks, submodules."""

    def __init__(self, module: nn.Module) -> None:
        """Copy it.

        Args:
            module: Any module.
        """
        copier = Copier()
        self._held = [
            Replaced(".".join(filter(None, (path, name))), owner, name, copier.copy(value), None)
            for path, owner in module.named_modules()
            for name, value in attributes(owner).items()
        ]
        self._held += [
            Replaced(".".join(filter(None, (path, name))), owner, name, copy.copy(vars(owner)[name]), None)
            for path, owner in module.named_modules()
            for name in _FORWARD_HOOKS
        ]
        self._held += [
            Replaced(".".join(filter(None, (path, name))), owner, name, child, None)
            for path, owner in module.named_modules()
            for name, child in owner.named_children()
            if not any(True for _ in chain(child.parameters(), child.buffers()))
        ]

    def replaced(self) -> Iterator[Replaced]:
        """Give those that hold something else now."""
        for one in self._held:
            if one.is_submodule:
                now = one.owner._modules.get(one.name)  # noqa: SLF001 -- as above
                same = now is one.before
            else:
                now = vars(one.owner)[one.name] if one.is_hooks else attributes(one.owner).get(one.name)
                same = equal(one.before, now)
            if not same:
                yield replace(one, now=now)
