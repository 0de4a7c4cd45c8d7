"""The objects that `lint_rules.flow` follows, and what is known of them at one point of a program."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterator

    import libcst as cst

    from lint_rules.names import Scope


class Kind(Enum):
    """What an object is known to be."""

    UNKNOWN = auto()
    NONE = auto()
    TEXT = auto()  # a string or a path
    STATE = auto()  # what state_dict() gives
    LOADED = auto()  # what torch.load gives: a whole module, or anything else
    MODULE = auto()
    OPTIMIZER = auto()
    INSTANCE = auto()  # of a class of this file that is no module
    COLLECTION = auto()
    REFERENCE = auto()  # something imported
    FUNCTION = auto()
    CLASS = auto()
    PARSER = auto()  # argparse.ArgumentParser
    OPTIONS = auto()  # what a parser gives


class Training(Enum):
    """Which mode a module is in, as far as the source tells."""

    DEFAULT = auto()  # as constructed: training mode
    TRAIN = auto()  # train() was called
    EVAL = auto()
    GIVEN = auto()  # as a caller outside the file left it
    UNKNOWN = auto()


#: One condition that holds on a path: what is asked, the constant it is compared with, and the answer.
Fact: TypeAlias = tuple[str, str, bool]


@dataclass(frozen=True, slots=True)
class Mode:
    """One state that a module may be in: what was loaded into it, and whether it trains.

    Attributes:
        training: The mode.
        load: The call that loaded a checkpoint into it; None if none did.
        order: When that was, on the interpreter's clock.
        run: The run that it happened in.
        facts: Conditions that hold where the module is in this state.
    """

    training: Training
    load: cst.Call | None = None
    order: int = 0
    run: int = 0
    facts: frozenset[Fact] = frozenset()

    def __hash__(self) -> int:
        """Hash by time alone: few modes are ever in one set, and hashing every field takes longer than comparing."""
        return self.order


@dataclass(frozen=True, slots=True)
class Keep:
    """One state dict that may be what an object holds: it shares the tensors of the module that gave it.

    Attributes:
        node: The call of `state_dict()`.
        source: The module.
        order: When that was, on the interpreter's clock.
    """

    node: cst.Call
    source: Thing
    order: int


@dataclass(eq=False, slots=True)
class Thing:
    """One object, identified by where it is made.

    Attributes:
        kind: What it is known to be.
        birth: The mode it is in if nothing has changed it since.
        made_by: How its constructor is called: a dotted name, or as spelled.
        deps: Objects that it was computed from.
        owner: The object that it is an attribute or a part of.
        definition: For functions and classes, their definition; for instances, that of their class.
        frame: For functions and classes, where they are defined.
        bound: For methods, the object they are bound to.
        constant: For constants, how they are written.
        born: When it was last made, on the interpreter's clock.
        number: When it was made, so that objects have an order.
    """

    kind: Kind
    birth: Training = Training.UNKNOWN
    made_by: str = ""
    deps: frozenset[Thing] = frozenset()
    owner: Thing | None = None
    definition: cst.FunctionDef | cst.ClassDef | cst.Lambda | None = None
    frame: Frame | None = None
    bound: Thing | None = None
    constant: str = ""
    born: int = 0
    number: int = field(default_factory=itertools.count().__next__)

    def wholes(self) -> Iterator[Thing]:
        """Yield the object, and all that it is a part of."""
        whole: Thing | None = self
        while whole is not None:
            yield whole
            whole = whole.owner


Values: TypeAlias = frozenset[Thing]


_NO_NAMES: dict[str, Values] = {}


@dataclass(eq=False, slots=True)
class State:
    """What is known at one point: variables, attributes, modes, state dicts, and the conditions that hold.

    The inner dictionaries are replaced rather than changed, so that copies share them and joins can skip those that
    are the same.
    """

    variables: dict[int, dict[str, Values]] = field(default_factory=dict)
    attributes: dict[Thing, dict[str, Values]] = field(default_factory=dict)
    modes: dict[Thing, frozenset[Mode]] = field(default_factory=dict)
    facts: frozenset[Fact] = frozenset()
    live: bool = True
    kept: dict[Thing, frozenset[Keep]] = field(default_factory=dict)

    def copy(self) -> State:
        """Give an independent copy."""
        modes, kept = dict(self.modes), dict(self.kept)
        return State(dict(self.variables), dict(self.attributes), modes, self.facts, self.live, kept)

    def variable(self, frame: int, name: str) -> Values | None:
        """Read a variable of a frame."""
        return self.variables.get(frame, _NO_NAMES).get(name)

    def set_variable(self, frame: int, name: str, values: Values) -> None:
        """Bind a variable of a frame."""
        self.variables[frame] = {**self.variables.get(frame, _NO_NAMES), name: values}

    def attribute(self, thing: Thing, name: str) -> Values | None:
        """Read an attribute, or an element spelled `"[0]"`, `"['key']"` or `"[]"` for any."""
        return self.attributes.get(thing, _NO_NAMES).get(name)

    def set_attribute(self, thing: Thing, name: str, values: Values) -> None:
        """Bind an attribute or element."""
        self.attributes[thing] = {**self.attributes.get(thing, _NO_NAMES), name: values}

    def add_attribute(self, thing: Thing, name: str, values: Values) -> None:
        """Bind an attribute or element besides what it is bound to already."""
        self.set_attribute(thing, name, (self.attribute(thing, name) or frozenset()) | values)


@dataclass(eq=False, slots=True)
class Frame:
    """One activation of a function, or of the module.

    Attributes:
        number: Its identity; the same call gives the same number each time it is followed.
        scope: The names that it binds.
        parent: The frame that the function was defined in.
        function: The function's definition; None for the module.
        called: Whether a call of this file opened it, so that parameters left out have their defaults.
        returned: What it returned so far, with the state at that point.
        yielded: What it yielded so far, if it is a generator.
        nested: Functions defined in it.
        loops: For each loop being followed the states that left it by `break` or went on by `continue`, and which.
    """

    number: int
    scope: Scope
    parent: Frame | None = None
    function: cst.CSTNode | None = None
    called: bool = True
    returned: list[tuple[Values, State]] = field(default_factory=list)
    yielded: Values = frozenset()
    nested: list[Thing] = field(default_factory=list)
    loops: list[list[tuple[bool, State]]] = field(default_factory=list)


def contradicts(mode: Mode, facts: frozenset[Fact]) -> bool:
    """Tell whether a mode cannot be met where these conditions hold."""
    if not mode.facts or not facts:
        return False
    for subject, value, answer in facts:
        if (subject, value, not answer) in mode.facts:
            return True
        if answer and any(
            other == subject and constant and value and constant != value and yes for other, constant, yes in mode.facts
        ):
            return True
    return False
