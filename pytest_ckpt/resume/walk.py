"""Finds all slots of a run: whatever can be reached from its attributes, and from what its functions are bound to.

Models come first, so that a parameter is called by its place in a model wherever else it is met. An object that is met
a second time is a reference to the first place. Libraries' own machinery (loggers, threads, trainers) is not entered.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cache, partial
from types import CellType, FunctionType, MethodType, ModuleType
from typing import TYPE_CHECKING, Any, TypeAlias
from weakref import WeakKeyDictionary

import torch
from torch import nn
from torch.optim import Optimizer, lr_scheduler

from pytest_ckpt.copying import Copier, fields
from pytest_ckpt.moment import attributes
from pytest_ckpt.resume.adapters.stepping import SteppedRun
from pytest_ckpt.resume.families import family_of
from pytest_ckpt.resume.slots import Reference, Slot, World, global_generators

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pytest_ckpt.resume.slots import Family, Kind, Via

Place: TypeAlias = "tuple[str, Any, Via]"
_DEEP = 16  # attributes and elements inside each other, from the run on
_SEQUENCES = (list, tuple, deque, set, frozenset)
_ATOMS = (bool, int, float, complex, str, bytes, type(None), torch.dtype, torch.device, torch.Size, range, slice)
_FOREIGN = frozenset(
    {"_io", "_pytest", "_thread", "accelerate", "asyncio", "concurrent", "contextlib", "ctypes", "io", "lightning"}
    | {"lightning_fabric", "logging", "multiprocessing", "pathlib", "pluggy", "pytest", "pytest_ckpt", "threading"}
    | {"pytorch_lightning", "tempfile", "torchgen", "transformers", "unittest", "weakref"}
    | {"clearml", "comet_ml", "mlflow", "neptune", "pyarrow", "rich", "tensorboard", "tqdm", "wandb"}
)
_UNREAD_OF_SCHEDULERS = frozenset({"_step_count", "_get_lr_called_within_step", "_is_initial", "verbose", "optimizer"})


@cache
def _of_optimizers() -> frozenset[str]:
    """Names of what every optimizer holds; asked when one is met, since the first to be built imports torch._dynamo."""
    return frozenset(vars(Optimizer([torch.zeros(1)], {}))) | {"_step_count", "_opt_called", "step", "zero_grad"}


def walk(run: Any, environment: Iterable[tuple[str, Any, Any, Via, Any]] = ()) -> World:
    """Find all slots.

    Args:
        run: The run; its attributes are where it begins.
        environment: Bindings outside the run, as `environment.bindings` gives them.
    """
    walker = _Walker()
    walker.node("", run)
    walker.mapping(run.parts() if isinstance(run, SteppedRun) else fields(run), "", "", 0)
    if isinstance(run, SteppedRun):
        walker.node("trainer", run.trainer)
        walker.mapping(run.own_attributes(), "trainer", "", 0)
    for path, holder, name, via, value in environment:
        walker.world.nodes.setdefault(f"<{path}>", holder)
        walker.visit(value, walker.free(path, "process"), (f"<{path}>", name, via), "process", 0)
    for name, value in global_generators().items():
        walker.add(name, "generator", "process", value, ("", name, "global"))
    return walker.world


def snapshot(world: World) -> World:
    """Copy the values of all slots, so that they stay as they are while the run goes on."""
    copier = Copier(keep=world.nodes.values())
    slots = {path: replace(slot, value=_copied(world, copier, slot)) for path, slot in world.slots.items()}
    return World(slots, world.nodes, world.names, world.places)


def _copied(world: World, copier: Copier, slot: Slot) -> Any:
    if slot.kind in {"iterator", "reference", "held"}:
        return slot.value
    is_node = id(slot.value) in world.names  # which the copier keeps
    return Copier().copy(slot.value) if is_node else copier.copy(slot.value)


class _Walker:
    def __init__(self) -> None:
        self.world = World()

    def add(self, path: str, kind: Kind, family: Family, value: Any, place: Place, owner: str = "") -> None:  # noqa: PLR0913, PLR0917 -- a slot's fields
        self.world.slots[path] = Slot(path, kind, family, value, *place, owner)

    def node(self, path: str, value: Any) -> None:
        self.world.nodes[path] = value
        self.world.names.setdefault(id(value), path)

    # ---------------------------------------------------------------------------------------------------- visiting

    def visit(self, value: Any, path: str, place: Place, inherited: Family, depth: int) -> None:
        """Add what a value consists of."""
        family = family_of(value, "" if isinstance(place[1], Reference) else place[1], inherited)
        if isinstance(value, _ATOMS):
            self.add(path, "value", family, value, place)
        elif id(value) in self.world.names:
            self.add(path, "reference", inherited, Reference(self.world.names[id(value)]), place)
        elif not isinstance(value, (type, ModuleType)) and depth <= _DEEP and not _foreign(value):
            if isinstance(value, dict):
                self.world.places[path] = place
            if not isinstance(value, _SEQUENCES):
                self.node(path, value)
            self.enter(value, path, place, family, depth)

    def enter(self, value: Any, path: str, place: Place, family: Family, depth: int) -> None:  # noqa: C901, PLR0912 -- a list of cases
        if isinstance(value, nn.Module):
            self.module(value, path, family, depth)
        elif isinstance(value, Optimizer):
            self.optimizer(value, path, depth)
        elif isinstance(value, lr_scheduler.LRScheduler):
            self.scheduler(value, path, depth)
        elif _is_scaler(value):
            for key, one in value.state_dict().items():
                self.add(f"{path}.{key}", "scaler", "scaler", one, (path, key, "item"))
        elif isinstance(value, torch.Tensor):
            self.add(path, "value", family, value, place)
            self.learnable(value, path, family)
        elif _is_generator(value):
            self.add(path, "generator", family, value, place)
        elif isinstance(value, Iterator):
            self.add(path, "iterator", "data", value, place)
        elif isinstance(value, (FunctionType, MethodType, partial)):
            self.function(value, path, family, depth)
        elif isinstance(value, Mapping):
            self.items(value, path, family, depth)
        elif isinstance(value, _SEQUENCES):
            self.sequence(value, path, place, family, depth)
        elif _has_fields(value):
            self.mapping(fields(value), path, family, depth)
        elif not callable(value):
            self.add(path, "value", family, value, place)

    def mapping(self, attributes: Mapping[str, Any], path: str, family: Family, depth: int) -> None:
        """Visit the attributes of an object, models before optimizers, and these before what may refer to both."""
        for name, value in sorted(attributes.items(), key=_rank_of_item):
            inner = f"{path}.{name}" if path else name
            self.visit(value, inner, (path, name, "attribute"), family, depth + 1)

    def items(self, value: Mapping[Any, Any], path: str, family: Family, depth: int) -> None:
        """Visit the items of a mapping; a key that is an object of the run goes by its path."""
        for key, item in sorted(value.items(), key=_rank_of_item):
            known = None if isinstance(key, _ATOMS) else self.world.names.get(id(key))
            if known is not None:
                self.visit(item, f"{path}[{known!r}]", (path, Reference(known), "item"), family, depth + 1)
            elif isinstance(key, (*_ATOMS, tuple)):
                self.visit(item, f"{path}[{key!r}]", (path, key, "item"), family, depth + 1)

    def sequence(self, value: Any, path: str, place: Place, family: Family, depth: int) -> None:
        """Visit the items of a sequence; one that holds nothing but plain data is one slot."""
        if self.plain(value):
            self.add(path, "value", family, value, place)
        elif not isinstance(value, (set, frozenset)):
            self.node(path, value)
            for index, item in enumerate(value):
                self.visit(item, f"{path}[{index}]", (path, index, "item"), family, depth + 1)

    def plain(self, value: Any) -> bool:
        """Whether a value is data alone: nothing in it has a place of its own elsewhere."""
        if isinstance(value, torch.Tensor):
            return id(value) not in self.world.names and not value.requires_grad
        if isinstance(value, Mapping):
            return all(isinstance(key, _ATOMS) for key in value) and all(map(self.plain, value.values()))
        if isinstance(value, _SEQUENCES):
            return all(map(self.plain, value))
        return isinstance(value, _ATOMS) or type(value).__module__ == "numpy"

    def function(self, value: Any, path: str, family: Family, depth: int) -> None:
        """Visit what a function is bound to: the variables of its closure, an object, arguments."""
        if isinstance(value, partial):
            names = getattr(getattr(value.func, "__code__", None), "co_varnames", ())
            given = dict(zip(names, value.args, strict=False))
            for name, item in sorted({"func": value.func, **given, **value.keywords}.items(), key=_rank_of_item):
                self.visit(item, self.free(name, path), (path, name, "attribute"), family, depth + 1)
        elif isinstance(value, MethodType):
            self.mapping({"__self__": value.__self__}, path, family, depth)
        else:
            cells = dict(zip(value.__code__.co_freevars, value.__closure__ or (), strict=False))
            filled = {name: cell for name, cell in cells.items() if id(cell) not in self.world.names and _filled(cell)}
            for name, cell in sorted(filled.items(), key=lambda item: _rank(item[1].cell_contents, item[0])):
                place = f"<{path}.{name}>"
                self.node(place, cell)
                self.visit(cell.cell_contents, self.free(name, path), (place, name, "cell"), family, depth + 1)

    def free(self, name: str, path: str) -> str:
        """Give the path of a variable outside the run: its bare name where nothing else has it."""
        return name if name not in self.world.slots and name not in self.world.nodes else f"{path}.{name}"

    # ---------------------------------------------------------------------------------------------------- torch's own

    def module(self, module: nn.Module, path: str, family: Family, depth: int) -> None:
        places = [(".".join(filter(None, (path, name))), one) for name, one in module.named_modules()]
        places = [(place, one) for place, one in places if place == path or id(one) not in self.world.names]
        for place, one in places:
            self.node(place, one)
            self.add(f"{place} mode", "mode", family, one.training, (place, "training", "mode"))
            skipped = one._non_persistent_buffers_set  # noqa: SLF001 -- torch has no public way
            for registry in (one._parameters, one._buffers):  # noqa: SLF001 -- what the module itself has registered
                for name, tensor in registry.items():
                    kind: Kind = "buffer" if name in skipped else "entry"
                    self.entry(tensor, f"{place}.{name}", (place, name, "entry"), kind, family)
        for place, one in places:
            self.mapping(attributes(one), place, family, depth)

    def entry(self, tensor: Any, path: str, place: Place, kind: Kind, family: Family) -> None:
        known = self.world.names.get(id(tensor)) if tensor is not None else None
        if known is not None:
            self.add(path, "reference", family, Reference(known), place)
            return
        self.add(path, kind, family, tensor, place)
        if tensor is not None:
            self.node(path, tensor)
            self.learnable(tensor, path, family)

    def learnable(self, tensor: torch.Tensor, path: str, family: Family) -> None:
        if tensor.is_leaf and (isinstance(tensor, nn.Parameter) or tensor.requires_grad):
            self.add(f"{path} requires_grad", "flag", family, tensor.requires_grad, (path, "requires_grad", "flag"))
            self.add(f"{path} grad", "grad", family, tensor.grad, (path, "grad", "grad"))

    def optimizer(self, optimizer: Optimizer, path: str, depth: int) -> None:
        for index, group in enumerate(optimizer.param_groups):
            inner = f"{path}.param_groups[{index}]"
            self.world.nodes[inner] = group
            for number, parameter in enumerate(group["params"]):
                if id(parameter) not in self.world.names:
                    self.node(f"{inner}['params'][{number}]", parameter)
            held = tuple(self.world.names[id(parameter)] for parameter in group["params"])
            self.add(f"{inner} params", "held", "optimizer", held, (path, index, "group"))
            for key, value in group.items():
                if key != "params":
                    self.add(f"{inner}[{key!r}]", "group", "optimizer", value, (inner, key, "group"))
            for name, parameter in zip(held, group["params"], strict=True):
                for key, value in optimizer.state.get(parameter, {}).items():
                    self.add(f"{path}.state[{name}][{key!r}]", "state", "optimizer", value, (path, key, "state"), name)
        rest = {key: value for key, value in vars(optimizer).items() if key not in _of_optimizers()}
        self.mapping(rest, path, "optimizer", depth)

    def scheduler(self, scheduler: lr_scheduler.LRScheduler, path: str, depth: int) -> None:
        driven = Reference(self.world.names.get(id(scheduler.optimizer), "another object"))
        self.add(f"{path}.optimizer", "reference", "scheduler", driven, (path, "optimizer", "attribute"))
        held = {key: one for key, one in vars(scheduler).items() if key not in _UNREAD_OF_SCHEDULERS}
        self.mapping(held, path, "scheduler", depth)


def _filled(cell: CellType) -> bool:
    try:
        return cell.cell_contents is not cell
    except ValueError:
        return False


def _rank(value: Any, name: str) -> tuple[int, bool, str]:
    """Order the parts of an object: models, containers of models, other tensors and objects, optimizers, the rest."""
    order = 3
    if isinstance(value, nn.Module):
        order = 0
    elif isinstance(value, (list, tuple, dict)) and _first_is_module(value):
        order = 1
    elif isinstance(value, torch.Tensor):
        order = 2
    elif isinstance(value, Optimizer):
        order = 4
    elif isinstance(value, lr_scheduler.LRScheduler):
        order = 5
    elif isinstance(value, (FunctionType, MethodType, partial)):
        order = 6
    return order, name != "model", name


def _rank_of_item(item: tuple[Any, Any]) -> tuple[int, bool, str]:
    return _rank(item[1], str(item[0]))


def _first_is_module(value: Any) -> bool:
    items = list(value.values()) if isinstance(value, dict) else value
    return bool(items) and isinstance(items[0], nn.Module)


def _is_generator(value: Any) -> bool:
    if isinstance(value, (torch.Generator, random.Random)):
        return True
    return type(value).__module__.startswith("numpy.random") and (
        hasattr(value, "bit_generator") or type(value).__name__ == "RandomState"
    )


def _is_scaler(value: Any) -> bool:
    return "GradScaler" in type(value).__name__ and hasattr(value, "state_dict")


def _foreign(value: Any) -> bool:
    if isinstance(value, (nn.Module, Optimizer, lr_scheduler.LRScheduler, WeakKeyDictionary)):
        return False
    module = type(value).__module__
    return module.partition(".")[0] in _FOREIGN or module.startswith("torch.utils.tensorboard")


def _has_fields(value: Any) -> bool:
    return hasattr(value, "__dict__") or bool(getattr(type(value), "__slots__", ()))
