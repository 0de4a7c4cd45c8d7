"""What a training run consists of at one point: slots, each with a place, a value and a way to put another there."""

from __future__ import annotations

import copy
import random
import sys
from collections.abc import MutableMapping, MutableSequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import torch

from pytest_ckpt.compare import equal
from pytest_ckpt.copying import write_back

if TYPE_CHECKING:
    from collections.abc import Iterator

Kind: TypeAlias = Literal[
    "entry",  # a parameter or persistent buffer of a module
    "buffer",  # a buffer that is in no state_dict
    "mode",  # whether a module is in training mode
    "flag",  # requires_grad
    "grad",  # a gradient that is there between two steps
    "state",  # of an optimizer, for one parameter
    "group",  # a setting of a parameter group
    "held",  # the parameters of a parameter group
    "scheduler",
    "scaler",
    "generator",
    "value",  # a number, tensor or container that is none of these
    "iterator",  # it has a position that cannot be read
    "reference",  # something that stands in another place as well
]
Family: TypeAlias = Literal["", "model", "optimizer", "scheduler", "scaler", "ema", "data", "process"]
Via: TypeAlias = Literal["attribute", "item", "cell", "global", "entry", "mode", "flag", "grad", "state", "group"]
ABSENT: Any = type("Absent", (), {"__repr__": lambda _self: "absent"})()


@dataclass(frozen=True, slots=True)
class Reference:
    """Something that also stands in another place, by the path of the first one."""

    path: str


@dataclass(frozen=True, slots=True, eq=False)
class Slot:
    """One place in a run that holds a value.

    Attributes:
        path: Where it is, seen from the run, such as `optimizer.state[model.fc.weight]['exp_avg']`.
        kind: What it is.
        family: What it belongs to, as far as types and names tell.
        value: What it holds; a copy where the world is a snapshot.
        parent: Path of the object that holds it.
        name: Attribute, key, index or cell within the parent; a `Reference` for a key that is an object of the run.
        via: How it is reached from the parent.
        owner: For the state of an optimizer, the path of the parameter.
    """

    path: str
    kind: Kind
    family: Family
    value: Any
    parent: str
    name: Any
    via: Via
    owner: str = ""


@dataclass(slots=True)
class World:
    """All slots of a run at one point.

    Attributes:
        slots: Slots by path, in the order in which they were found.
        nodes: The objects that hold slots or are referred to, by path.
        names: The path of each node by its id.
        places: Where the dicts among the nodes are: parent, name and `via`, as of a slot.
    """

    slots: dict[str, Slot] = field(default_factory=dict)
    nodes: dict[str, Any] = field(default_factory=dict)
    names: dict[int, str] = field(default_factory=dict)
    places: dict[str, tuple[str, Any, Via]] = field(default_factory=dict)

    def counterparts(self, other: World) -> Iterator[tuple[Any, Any]]:
        """Pair the nodes of two worlds that stand in the same place."""
        return ((node, other.nodes[path]) for path, node in self.nodes.items() if path in other.nodes)


def same(one: Slot | None, other: Slot | None) -> bool:
    """Whether two slots hold the same; an absent one is like one that holds None."""
    if one is None or other is None:
        present = one or other
        return present is None or present.value is None
    if one.kind == "iterator" and other.kind == "iterator":
        return False  # nobody can read where it stands
    return equal(one.value, other.value)


def put(world: World, slot: Slot, value: Any) -> None:
    """Put a value into the place of a slot, which may be one of another world with the same structure.

    Args:
        world: Where to put it.
        slot: The place.
        value: What the place shall hold: the world's own from now on; `ABSENT` to take away what is there.
    """
    parent: Any = world.nodes.get(slot.parent)
    if isinstance(value, Reference):
        value = world.nodes.get(value.path, ABSENT)
        if value is ABSENT:
            return
    if parent is None and slot.via != "global":
        return
    present = world.slots.get(slot.path)
    if slot.via == "mode":
        parent.training = value
    elif slot.via == "flag":
        parent.requires_grad_(value)
    elif slot.via == "grad":
        parent.grad = None if value is ABSENT else value
    elif slot.via == "state":
        _put_state(world, parent, slot, value)
    elif slot.kind == "held":
        _put_held(world, parent, slot, value)
    elif slot.kind == "scaler":
        parent.load_state_dict({**parent.state_dict(), slot.name: value})
    elif slot.via != "global" and present is not None and _in_place(world.nodes.get(slot.path, present.value), value):
        return
    else:
        _bind(world, parent, slot, value)


def make_room(world: World, other: World, path: str) -> None:
    """Put an empty dict where another world has one, and this one has None or nothing yet.

    Args:
        world: Where to put it.
        other: The other world.
        path: The dict's.
    """
    if path in world.nodes or path not in other.places:
        return
    parent, name, via = other.places[path]
    make_room(world, other, parent)
    if parent in world.nodes:
        room = copy.copy(other.nodes[path])
        room.clear()
        _bind(world, world.nodes[parent], Slot(path, "value", "", room, parent, name, via), room)
        world.nodes[path] = room


def _put_state(world: World, optimizer: Any, slot: Slot, value: Any) -> None:
    parameter = world.nodes.get(slot.owner)
    if parameter is None:
        return
    if value is ABSENT:
        optimizer.state[parameter].pop(slot.name, None)
    else:
        optimizer.state[parameter][slot.name] = value


def _put_held(world: World, optimizer: Any, slot: Slot, value: Any) -> None:
    """Let a parameter group hold the parameters of these names; what they had of state goes with them."""
    if value is ABSENT or slot.name >= len(optimizer.param_groups):
        return
    group = optimizer.param_groups[slot.name]
    wanted = [world.nodes[path] for path in value if path in world.nodes]
    if len(wanted) != len(value):
        return
    for old, new in zip(group["params"], wanted, strict=False):
        if old is not new and old in optimizer.state and new not in optimizer.state:
            optimizer.state[new] = optimizer.state.pop(old)
    group["params"] = wanted


def _in_place(present: Any, value: Any) -> bool:
    """Write a value into an object that others may hold as well; whether that was possible."""
    if isinstance(present, torch.Tensor) and isinstance(value, torch.Tensor):
        write_back(present, value)
        return True
    if isinstance(present, torch.Generator) and isinstance(value, torch.Generator):
        present.set_state(value.get_state())
        return True
    if isinstance(present, random.Random) and isinstance(value, random.Random):
        present.setstate(value.getstate())
        return True
    bits = getattr(present, "bit_generator", None), getattr(value, "bit_generator", None)
    if all(bits):
        present.bit_generator.state = value.bit_generator.state
        return True
    if type(present).__name__ == type(value).__name__ == "RandomState":
        present.set_state(value.get_state())
        return True
    return False


def _bind(world: World, parent: Any, slot: Slot, value: Any) -> None:
    if slot.via == "global":
        set_global(slot.name, value)
    elif slot.via == "cell":
        parent.cell_contents = value
    elif slot.via in {"item", "group"}:
        key = world.nodes.get(slot.name.path) if isinstance(slot.name, Reference) else slot.name
        _set_item(parent, key, value)
    elif slot.via == "entry":
        held = parent._parameters if isinstance(value, torch.nn.Parameter) else parent._buffers  # noqa: SLF001 -- no public way
        held[slot.name] = None if value is ABSENT else value
    elif value is ABSENT:
        if hasattr(parent, slot.name):
            delattr(parent, slot.name)
    elif isinstance(parent, type):
        setattr(parent, slot.name, value)
    else:
        object.__setattr__(parent, slot.name, value)


def _set_item(parent: Any, name: Any, value: Any) -> None:
    if isinstance(parent, MutableMapping):
        if value is ABSENT:
            parent.pop(name, None)
        else:
            parent[name] = value
    elif isinstance(parent, MutableSequence) and value is not ABSENT and name < len(parent):
        parent[name] = value


# ------------------------------------------------------------------------------------------------- global generators


def global_generators() -> dict[str, Any]:
    """Give the position of the process's generators: `torch`, `cuda`, `python`, and `numpy` where it is loaded."""
    found: dict[str, Any] = {"torch": torch.get_rng_state(), "python": random.getstate()}
    if torch.cuda.is_available():
        found["cuda"] = torch.cuda.get_rng_state_all()
    numpy = sys.modules.get("numpy")
    if numpy is not None:
        found["numpy"] = numpy.random.get_state()
    return found


def set_global(name: str, value: Any) -> None:
    """Put one of the process's generators to a position that `global_generators` gave."""
    if name == "torch":
        torch.set_rng_state(value)
    elif name == "cuda":
        torch.cuda.set_rng_state_all(value)
    elif name == "python":
        random.setstate(value)
    elif name == "numpy":
        sys.modules["numpy"].random.set_state(value)


def seed(number: int) -> None:
    """Seed the process's generators: torch on every device, `random`, and NumPy where it is loaded."""
    torch.manual_seed(number)
    random.seed(number)
    numpy = sys.modules.get("numpy")
    if numpy is not None:
        numpy.random.seed(number)
