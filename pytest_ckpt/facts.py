"""Small facts about two modules, or about an error: each a pure function of what it is given."""

from __future__ import annotations

import traceback
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from pytest_ckpt.compare import OTHER_VALUES, bits_equal, describe, differences, entries, storages, tied_groups
from pytest_ckpt.moment import attributes, modules_within, reachable
from pytest_ckpt.snapshot import changed_modes, modes
from pytest_ckpt.trip import Changed

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor


ABSENT = "absent from the file"


def unwrapped(module: nn.Module) -> nn.Module:
    """Give the module inside the wrappers of torch.compile, DataParallel and DistributedDataParallel."""
    while True:
        inner = getattr(module, "_orig_mod", None)
        if inner is None and isinstance(module, (nn.DataParallel, nn.parallel.DistributedDataParallel)):
            inner = module.module
        if not isinstance(inner, nn.Module):
            return module
        module = inner


def to_device(module: nn.Module, device: str) -> None:
    """Move a module, and keep its ties: on torch-xla's device, `Module.to` makes one parameter of each name."""
    ties = tied_groups(entries(module))
    module.to(device)
    live = entries(module)
    for group in ties:
        first, *others = (name for name in live if name in group)
        for name in others:
            owner, _, attribute = name.rpartition(".")
            if live[name] is not live[first]:
                setattr(module.get_submodule(owner), attribute, live[first])


def rounded(expected: Tensor, actual: Tensor) -> bool:
    """Whether the loaded value is the saved one, rounded to a narrower floating-point dtype and widened again."""
    if not expected.dtype.is_floating_point or expected.layout != torch.strided:
        return False
    narrower = (torch.float32, torch.float16, torch.bfloat16, torch.float8_e4m3fn, torch.float8_e5m2)
    saved, loaded = expected.detach(), actual.detach()
    try:
        return any(
            bits_equal(saved.to(dtype).to(saved.dtype), loaded)
            for dtype in narrower
            if dtype.itemsize < saved.dtype.itemsize
        )
    except (RuntimeError, NotImplementedError):  # a dtype without conversions
        return False


def shared(ours: Mapping[str, Tensor], theirs: Mapping[str, Any], what: str) -> tuple[Changed, ...]:
    """List our entries that use memory of theirs."""
    memory = storages(theirs)
    return tuple(
        Changed(name, "memory of its own", f"memory of {memory[address]!r} in {what}")
        for address, name in storages(ours).items()
        if address in memory
    )


def hidden(source: nn.Module, loaded: nn.Module) -> tuple[Changed, ...]:
    """List attributes that hold unregistered submodules whose parameters differ between the two sides."""
    known = {id(one) for one in source.modules()}
    others = reachable(loaded)
    found = []
    for path, owner in source.named_modules():
        for name, value in attributes(owner).items():
            inside = [one for one in modules_within(value) if id(one) not in known]
            theirs = modules_within(attributes(others[path]).get(name)) if path in others else []
            pairs = zip(inside, theirs, strict=False)
            if any(next(differences(entries(one), entries(other)), None) for one, other in pairs):
                key = ".".join(filter(None, (path, name)))
                expected, actual = describe(value), describe(attributes(others[path])[name])
                found.append(Changed(key, expected, actual if actual != expected else OTHER_VALUES))
    return tuple(found)


def mixed_modes(source: nn.Module, loaded: nn.Module) -> tuple[Changed, ...]:
    """List submodules in another mode than in the source, unless the loader put the whole module into one mode.

    Layers decide: the flag of a container, all of whose layers are as they were, is read by nobody.
    """
    ours, theirs = modes(source), modes(loaded)
    layers = {name: one for name, one in loaded.named_modules() if not any(True for _ in one.children())}
    if len({one.training for one in layers.values()}) <= 1:
        return ()
    changed = {one.key: one for one in changed_modes(ours, theirs)}
    holding = {above for layer in layers for above in _at_and_above(layer)}
    mixed = {above for layer in layers if layer not in changed for above in _at_and_above(layer)}
    found: dict[str, Changed] = {}
    for name, one in changed.items():
        if name in holding and name not in mixed and found.keys().isdisjoint(_at_and_above(name)):
            found[name] = one
    return tuple(found.values())


def _at_and_above(name: str) -> list[str]:
    """Give a submodule's name and those of the submodules that it is in: `a.b`, `a`."""
    parts = name.split(".")
    return [".".join(parts[:length]) for length in range(len(parts), 0, -1)]


def blamed(saved: Mapping[str, Any], content: Mapping[str, Any], target: nn.Module, error: str) -> tuple[Changed, ...]:
    """List the entries that a failed load is about: those that do not fit, else those that the error names."""
    try:
        wanted = target.state_dict()
    except Exception:  # noqa: BLE001 -- the error at hand is the one to report
        wanted = {}
    found = []
    for key, value in content.items():
        if key not in wanted:
            found.append(Changed(key, describe(value), "no such entry in a fresh module"))
        elif isinstance(value, torch.Tensor) and isinstance(wanted[key], torch.Tensor):
            one, other = value, wanted[key]
            if not is_lazy(one) and not is_lazy(other) and one.shape != other.shape:
                found.append(Changed(key, describe(one), describe(other)))
    found += [Changed(key, ABSENT, describe(value)) for key, value in wanted.items() if key not in content]
    known = {**entries(target), **saved}
    named = [key for key in known if f'"{key}"' in error or f"'{key}'" in error or f" {key}: " in error]
    return tuple(found) or tuple(
        Changed(key, describe(saved[key]), "") if key in saved else Changed(key, ABSENT, "") for key in named
    )


def extra_state_refused(error: BaseException, target: nn.Module) -> tuple[Changed, ...]:
    """Name the extra state that a submodule could not take back, if that is where the error came from."""
    names = {id(one): name for name, one in target.named_modules()}
    for frame, _ in traceback.walk_tb(error.__traceback__):
        owner = frame.f_locals.get("self")
        if frame.f_code.co_name == "set_extra_state" and id(owner) in names:
            key = ".".join(filter(None, (names[id(owner)], "_extra_state")))
            return (Changed(key, "", ""),)
    return ()


def merged(first: tuple[Changed, ...], second: tuple[Changed, ...]) -> tuple[Changed, ...]:
    """Join two lists of changes, each key once."""
    seen = {one.key for one in first}
    return (*first, *(one for one in second if one.key not in seen))


def saves_its_own_way(module: nn.Module) -> bool:
    """Whether `state_dict` goes through code that is not torch's: an override or a hook in any submodule."""
    return _has_its_own(
        module, ("state_dict", "_save_to_state_dict", "get_extra_state"), ("_state_dict_hooks", "_state_dict_pre_hooks")
    )


def saves_with_torch_alone(module: nn.Module) -> bool:
    """Whether no code but torch's has a part in `torch.save(module.state_dict(), path)`, which changes nothing."""
    return not saves_its_own_way(module) and _has_plain_entries(module)


def loads_its_own_way(module: nn.Module) -> bool:
    """Whether `load_state_dict` goes through code that is not torch's: an override or a hook in any submodule."""
    return _has_its_own(
        module,
        ("load_state_dict", "_load_from_state_dict"),
        ("_load_state_dict_post_hooks", "_load_state_dict_pre_hooks"),
    )


def loads_with_torch_alone(module: nn.Module) -> bool:
    """Whether no code but torch's has a part in `load_state_dict`, which leaves the dict that it is given alone."""
    own = loads_its_own_way(module) or _has_its_own(module, ("set_extra_state",), ())
    return not own and _has_plain_entries(module)


def _has_plain_entries(module: nn.Module) -> bool:
    return all(type(tensor) in {torch.Tensor, nn.Parameter, nn.Buffer} for tensor in entries(module).values())


def _has_its_own(module: nn.Module, methods: tuple[str, ...], registries: tuple[str, ...]) -> bool:
    for one in module.modules():
        functions = [getattr(type(one), name) for name in methods]
        hooks = [hook for name in registries for hook in getattr(one, name).values()]
        functions += [getattr(hook, "hook", hook) for hook in hooks]
        if any(not str(getattr(function, "__module__", "")).startswith("torch.") for function in functions):
            return True
    return False
