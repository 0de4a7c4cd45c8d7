"""What the interpreter works on: objects, the modes that they are in, and the records of what was seen."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import defaultdict
from dataclasses import dataclass, field
from itertools import chain
from typing import TYPE_CHECKING

import libcst as cst

from lint_rules import knowledge
from lint_rules.objects import Fact, Frame, Keep, Kind, Mode, State, Thing, Training, Values, contradicts
from lint_rules.tree import dotted, method_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from lint_rules.names import Names, Scope

_DEPS = 24  # objects that a value remembers to be computed from
_PARTS = 5  # attributes of attributes
ITEM = "[]"
SOMEWHERE = "[*]"  # what is put under a key that is not written there
_PARTS_OF = "modules()"
NOTHING: Values = frozenset()
_READS = frozenset({"items", "values", "get", "pop"})
_LOOKS_ONLY = frozenset({"len", "type", "print", "isinstance", "id", "bool"})


@dataclass(slots=True)
class Call:
    """All that was seen of one call, over every path and every caller.

    Attributes:
        node: The call.
        scope: The scope that it stands in.
        receivers: For a method call, what the method was called on.
        arguments: What each argument was, in the order of the source.
    """

    node: cst.Call
    scope: Scope
    receivers: set[Thing] = field(default_factory=set)
    arguments: list[set[Thing]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Use:
    """A module was run.

    Attributes:
        thing: The module.
        node: The call that runs it.
        modes: The states that it may have been in.
        run: The run that this happened in.
        order: When, on the interpreter's clock.
        idle: Whether nothing can be learned from it: once, without gradients, and its result is used.
    """

    thing: Thing
    node: cst.Call
    modes: frozenset[Mode]
    run: int
    order: int
    idle: bool = False


@dataclass(frozen=True, slots=True)
class Made:
    """What a constructor makes."""

    kind: Kind
    birth: Training
    name: str
    deps: Values = NOTHING


class ExhaustedError(Exception):
    """The file takes too many steps."""


class Machine(ABC):
    """The state of the interpreter, and what can be done to objects.

    The layers above add, one on the other: conditions and joins, functions and classes, calls, expressions, statements.
    """

    def __init__(self, tree: cst.Module, names: Names) -> None:
        self.calls: dict[cst.Call, Call] = {}
        self.uses: list[Use] = []
        self.trained: dict[Thing, int] = {}
        self.trained_somewhere: dict[int, int] = {}
        self.results: dict[Thing, cst.Call] = {}
        self.called: set[Thing] = set()
        self.evaluated: set[Thing] = set()
        self.held: set[Thing] = set()
        self.given_out: set[Thing] = set()
        self.stepped: dict[Thing, int] = {}
        self._overwritten: dict[Thing, int] = {}
        self.saved: dict[cst.Call, set[Thing]] = {}
        self.aliased: dict[cst.Call, None] = {}
        self.copies: dict[Thing, Thing] = {}
        self.teaches = False
        self.pickles_evaluated = False
        self.synchronised: set[Thing] = set()
        self.complete = True
        self._tree = tree
        self._names = names
        self._state = State()
        self._clock = 0
        self._run = 0
        self._steps = 0
        self._expecting_error = 0
        self._looping = 0
        self._round = ""  # which rounds of the loops around are followed: what they make is told apart
        self._sampling = 0
        self._without_gradients = 0
        self._dropped: cst.BaseExpression | None = None
        self._graded: frozenset[Thing] = frozenset()
        self._things: dict[tuple[object, ...], Thing] = {}
        self._parts: dict[Thing, dict[str, Thing]] = defaultdict(dict)
        self._modules: set[Thing] = set()
        self._entered: set[cst.CSTNode] = set()
        self._stack: list[cst.CSTNode] = []
        self._frames: dict[tuple[object, ...], int] = {}
        self._top = Frame(0, names.module)
        self._facts: dict[cst.BaseExpression, tuple[frozenset[Fact], frozenset[Fact]]] = {}
        self._generators: dict[cst.FunctionDef, bool] = {}
        self._options: dict[Thing, dict[str, Values]] = defaultdict(dict)
        self._types: dict[Thing, cst.ClassDef] = {}
        self._fields: dict[cst.ClassDef, dict[str, cst.BaseExpression]] = {}
        self._updated: set[Thing] = set()
        self._weights_of: set[Thing] = set()
        self._asked: set[Thing] = set()  # modules whose weights are asked for

    @abstractmethod
    def _value(self, node: cst.BaseExpression, frame: Frame) -> Values:
        """Follow an expression and say what it may be; never empty."""

    @abstractmethod
    def _attribute(self, base: Thing, name: str, frame: Frame) -> Values:
        """Read an attribute."""

    @abstractmethod
    def _statement(self, node: cst.CSTNode, frame: Frame) -> None:
        """Follow a statement."""

    # Modes

    def _modes(self, thing: Thing) -> frozenset[Mode]:
        """Give the states that a module may be in here."""
        stored = self._state.modes.get(thing)
        if stored is not None:
            return frozenset(mode for mode in stored if not contradicts(mode, self._state.facts))
        if thing.owner is not None and thing.owner.kind is not Kind.PARSER:
            return self._modes(thing.owner)
        return frozenset({Mode(thing.birth)})

    def _use_all(self, things: Values, node: cst.Call) -> None:
        for thing in things:
            self._use(thing, node)

    def _use(self, thing: Thing, node: cst.Call) -> None:
        if self._expecting_error:
            return
        self._clock += 1
        self._modules.add(thing)
        for each in self._reach(frozenset({thing})) if thing.kind is Kind.MODULE else {thing}:
            modes = self._modes(each)
            if any(mode.load for mode in modes):
                idle = self._without_gradients > 0 and not self._sampling and node is not self._dropped
                self.uses.append(Use(each, node, modes, self._run, self._clock, idle))

    def _set_mode(self, things: Values, training: Training) -> None:
        self._clock += 1
        for thing in things:
            self._modules.add(thing)
            whole = thing.owner
            chosen = training is Training.EVAL and self._is_loaded_elsewhere(whole)
            if whole is not None and (chosen or thing.made_by == _PARTS_OF):  # some of its parts, perhaps all that run
                self._set_mode(frozenset({whole}), Training.UNKNOWN)
                self.evaluated.add(whole)
            for each in {thing, *self._reach(frozenset({thing})), *self._below(thing)}:
                if training is Training.EVAL:
                    self.evaluated.add(each)
                self._state.modes[each] = frozenset(
                    Mode(training, mode.load, mode.order, mode.run, mode.facts) for mode in self._modes(each)
                )

    def _is_loaded_elsewhere(self, thing: Thing | None) -> bool:
        """Tell whether a module whose class the file does not have was loaded: which of its parts run is not known."""
        modes = self._state.modes.get(thing, ()) if thing is not None and thing.kind is Kind.UNKNOWN else ()
        return any(mode.load is not None for mode in modes)

    def _train(self, things: Iterable[Thing], *, anything: bool = False, learns: bool = True) -> None:
        """Note that modules are trained; where it is not known which, that something in this run is.

        Args:
            things: What is trained, or was made ready for it.
            anything: Whether something is, where none of these is a module.
            learns: Whether it is, rather than being in training mode only.
        """
        self._clock += 1
        self.teaches |= learns
        followed = [thing for thing in things if thing in self._modules]
        layers = self._reach(frozenset(thing for thing in followed if thing.kind is Kind.MODULE))
        for thing in (*followed, *layers.difference(followed)):
            self.trained |= dict.fromkeys(thing.wholes(), self._clock)
            for part in self._below(thing):
                self.trained[part] = self._clock
        if anything and not followed:
            self.trained_somewhere[self._run] = self._clock

    def _forget(self, values: Values) -> None:
        """Forget the mode of what unknown code made of an object of the same name, such as `net = prepare(net)`."""
        for thing in values:
            if thing.birth is Training.DEFAULT and thing.definition is None and thing not in self._state.modes:
                thing.birth = Training.UNKNOWN

    def _forget_loads(self, thing: Thing) -> None:
        """Take what a constructor loads for initial values: what is made of them is not known yet."""
        modes = self._state.modes.get(thing)
        if modes is not None:
            self._state.modes[thing] = frozenset(Mode(mode.training, facts=mode.facts) for mode in modes)

    def _stepped(self, things: Values) -> None:
        """Note that a training step changed modules: those given and, where no weights of theirs are known, the loss's.

        What an optimizer was made by is called as a module is, so it alone does not tell whose weights are changed.
        """
        self._clock += 1
        changed = [thing for thing in things if thing in self._modules and thing.kind is not Kind.OPTIMIZER]
        if self._asked.isdisjoint(changed):
            changed += (thing for thing in self._graded if thing in self._modules)
        for thing in changed:
            self.stepped |= dict.fromkeys((*thing.wholes(), *self._below(thing)), self._clock)
        self.stepped |= dict.fromkeys(self._holders(frozenset(changed)), self._clock)

    def _holders(self, things: Values) -> Iterator[Thing]:
        """Yield the modules that hold one of some objects as an attribute."""
        for holder, attributes in self._state.attributes.items():
            is_module = holder.kind is Kind.MODULE or (holder.kind is Kind.UNKNOWN and holder in self._modules)
            if is_module and any(not things.isdisjoint(held) for held in attributes.values()):
                yield holder

    def _keep(self, node: cst.Call, made: Values, sources: Values) -> None:
        """Note that a state dict shares its tensors with the module that gave it."""
        self._clock += 1
        for thing in made:
            self._state.kept[thing] = frozenset(Keep(node, source, self._clock) for source in sources)

    def _keep_in(self, container: Thing, values: Values) -> None:
        """Note that a container holds state dicts besides those that it holds already."""
        kept = self._state.kept
        held: frozenset[Keep] = frozenset().union(*(kept.get(each, frozenset()) for each in self._contents(values)))
        if held:
            kept[container] = kept.get(container, frozenset()) | held

    def _drop_from(self, container: Thing, values: Values) -> None:
        """Note that a container holds other state dicts no more: something else has taken their place."""
        dropped: frozenset[Keep] = frozenset().union(*(self._state.kept.get(each, frozenset()) for each in values))
        if dropped and container in self._state.kept:
            self._state.kept[container] -= dropped

    def _merge_into(self, state: Thing, values: Values) -> None:
        """Note that something other than the weights of this program is put into a state."""
        live = all(Kind.STATE in {thing.kind for thing in (each, *each.deps)} for each in values)
        if state.kind is Kind.STATE and not live:
            self._updated.add(state)
            state.deps = self._few(state.deps | self._deps(self._contents(values)))

    def _use_states(self, values: Values) -> None:
        """Note each state dict that is used after a step has changed the tensors that it shares.

        What a loop has made anew since then is another module, whose steps leave the kept state as it is.
        """
        if self._state.kept and not self._expecting_error:
            for thing in self._contents(values):
                for keep in self._state.kept.get(thing, ()):
                    if self.stepped.get(keep.source, 0) > keep.order and keep.source.born < keep.order:
                        self.aliased[keep.node] = None

    def _restore(self, source: Values, receivers: Values) -> None:
        """Note each state dict that a module is to get back after another state was written into its tensors."""
        kept = {keep for thing in self._contents(source) for keep in self._state.kept.get(thing, ())}
        updated = not self._updated.isdisjoint(source)
        for module in receivers:
            own = {keep for keep in kept if keep.source is module}
            for keep in own:
                anew = any(each.born > keep.order for each in module.wholes())
                written = self._overwritten.get(module, 0) > keep.order and not anew
                if written and not updated and not self._expecting_error:
                    self.aliased[keep.node] = None
            if not own:
                self._clock += 1
                self._overwritten[module] = self._clock

    def _contents(self, values: Values) -> set[Thing]:
        """Give objects with what their containers hold; attributes of other objects are not entered."""
        found = set(values)
        level = {value for value in values if value.kind is Kind.COLLECTION}
        for _ in range(3):
            inside = (held for base in level for held in self._state.attributes.get(base, {}).values())
            inner = set(chain.from_iterable(inside)) - found
            if not inner:
                break
            found |= inner
            level = {each for each in inner if each.kind is Kind.COLLECTION}
        return found

    def _escape(self, values: Values) -> None:
        """Forget the mode of what was handed to code outside the file."""
        for thing in self._reach(values):
            if self._is_followed(thing):
                self._state.modes[thing] = frozenset(
                    Mode(Training.UNKNOWN, mode.load, mode.order, mode.run, mode.facts) for mode in self._modes(thing)
                )

    def _is_followed(self, thing: Thing) -> bool:
        return thing in self._state.modes or thing in self._modules

    def _reach(self, values: Values) -> set[Thing]:
        """Give objects with what their containers and attributes hold, a few levels deep."""
        found = set(values)
        level = set(values)
        for _ in range(3):
            attributes = (self._state.attributes.get(base) for base in level)
            inner = {each for names in attributes if names for held in names.values() for each in held} - found
            if not inner:
                break
            found |= inner
            level = inner
        return found

    def _below(self, thing: Thing) -> Iterator[Thing]:
        for part in tuple(self._parts.get(thing, {}).values()):
            yield part
            yield from self._below(part)

    # Making objects

    def _record(self, node: cst.Call, frame: Frame, receivers: Values, arguments: list[Values]) -> None:
        if self._expecting_error:
            return
        if dotted(node.func) not in _LOOKS_ONLY:
            self._use_states(frozenset().union(*arguments))
        if method_of(node) in _READS:
            self._use_states(receivers)
        call = self.calls.get(node)
        if call is None:
            call = self.calls[node] = Call(node, frame.scope, arguments=[set() for _ in arguments])
        call.receivers |= receivers
        for seen, values in zip(call.arguments, arguments, strict=True):
            seen.update(values)

    def _make(
        self,
        node: cst.CSTNode,
        frame: Frame,
        kind: Kind = Kind.UNKNOWN,
        deps: Values = NOTHING,
        tag: str = "",
    ) -> Values:
        """Give the object that an expression makes, the same one each time it is followed."""
        key = (node, frame.number, kind, tag)
        thing = self._things.get(key)
        if thing is None:
            thing = self._things[key] = Thing(kind, deps=deps)
        elif deps - thing.deps:
            thing.deps = self._few(thing.deps | deps)
        return frozenset({thing})

    def _create(self, node: cst.Call, frame: Frame, new: Made) -> Values:
        """Give the new object that a constructor makes."""
        (made,) = self._make(node, frame, new.kind, new.deps, tag="created")
        made.birth = new.birth
        made.made_by = new.name
        self._clock += 1
        made.born = self._clock
        for each in (made, *self._below(made)):
            self._state.modes.pop(each, None)
        return frozenset({made})

    def _copied(self, values: Values, node: cst.Call, frame: Frame) -> Values:
        copies: Values = NOTHING
        for number, value in enumerate(sorted(values, key=lambda thing: thing.number)):
            (made,) = self._make(node, frame, value.kind, value.deps, tag=str(number))
            made.definition, made.frame, made.made_by = value.definition, value.frame, value.made_by
            self._clock += 1
            made.born = self._clock
            self._state.modes[made] = self._modes(value)
            self.copies[made] = value
            if value in self._state.attributes:
                self._state.attributes[made] = self._state.attributes[value]
            copies |= {made}
        return copies

    def _defined(self, node: cst.FunctionDef | cst.ClassDef | cst.Lambda, frame: Frame, kind: Kind) -> Thing:
        key = ("defined", node, frame.number)
        if key not in self._things:
            name = node.name.value if not isinstance(node, cst.Lambda) else ""
            self._things[key] = Thing(kind, made_by=name, definition=node, frame=frame)
        return self._things[key]

    def _collection(self, node: cst.CSTNode, frame: Frame, items: Values, *, paired: bool = False) -> Values:
        """Give a collection of these items, each behind a key or number if they come in pairs."""
        (made,) = self._make(node, frame, Kind.COLLECTION)
        if paired:
            (pair,) = self._make(node, frame, Kind.COLLECTION, tag="pair")
            self._state.set_attribute(pair, "[0]", self._make(node, frame, tag="key"))
            self._state.set_attribute(pair, "[1]", items)
            items = frozenset({pair})
        self._state.set_attribute(made, ITEM, items)
        return frozenset({made})

    def _somewhere_in(self, modules: Values) -> Values:
        """Give the parts of modules, which one is not known."""
        self._modules |= modules
        parts = [self._part(module, _PARTS_OF) for module in modules]
        for part in parts:
            part.made_by = _PARTS_OF
        return frozenset(parts)

    def _texts(self, node: cst.CSTNode, frame: Frame) -> Values:
        (made,) = self._make(node, frame, Kind.COLLECTION)
        self._state.set_attribute(made, ITEM, self._make(node, frame, Kind.TEXT))
        return frozenset({made})

    def _items(self, values: Values, node: cst.CSTNode, frame: Frame) -> Values:
        """Give what iterating over values yields."""
        found: Values = NOTHING
        for value in values:
            held = self._state.attribute(value, ITEM)
            found |= held if held is not None else frozenset({self._part(value, ITEM)})
        return found or self._make(node, frame, tag="item")

    def _part(self, thing: Thing, name: str) -> Thing:
        """Give an attribute or element of an object of which nothing else is known."""
        parts = self._parts[thing]
        if name not in parts:
            depth, owner = 0, thing.owner
            while owner is not None:
                depth, owner = depth + 1, owner.owner
            if depth > _PARTS:
                return thing
            parts[name] = Thing(Kind.UNKNOWN, thing.birth, deps=self._few(thing.deps | {thing}), owner=thing)
        return parts[name]

    def _reference(self, name: str) -> Values:
        key = ("reference", name)
        if key not in self._things:
            text = name in knowledge.TEXT_ATTRIBUTES
            self._things[key] = Thing(Kind.TEXT if text else Kind.REFERENCE, made_by=name)
        return frozenset({self._things[key]})

    def _shared(self, key: tuple[object, ...], kind: Kind) -> Values:
        if key not in self._things:
            self._things[key] = Thing(kind)
        return frozenset({self._things[key]})

    def _number(self, key: tuple[object, ...]) -> int:
        return self._frames.setdefault(key, len(self._frames) + 1)

    def _computed(self, values: Iterable[Thing]) -> Values:
        """Give what a result is computed from; without gradients no training reaches the modules among it."""
        deps = self._deps(values)
        return deps - self._modules if self._without_gradients else deps

    def _deps(self, values: Iterable[Thing]) -> Values:
        found: set[Thing] = set()
        for value in values:
            found |= value.deps
            if value.kind not in {Kind.TEXT, Kind.NONE, Kind.REFERENCE}:
                found.add(value)
        return self._few(frozenset(found))

    def _few(self, deps: Values) -> Values:
        """Keep the first of too many objects that something is computed from, and modules before all others."""
        if len(deps) <= _DEPS:
            return deps
        plain = {thing for thing in deps if thing.kind is Kind.UNKNOWN and thing not in self._modules}
        return frozenset(sorted(deps, key=lambda thing: (thing in plain, thing.number))[:_DEPS])

    def _stops_gradients(self, node: cst.BaseExpression, frame: Frame) -> bool:
        """Tell whether a context manager or decorator is torch's for code that computes no gradients."""
        function = node.func if isinstance(node, cst.Call) else node
        return self._names.resolve(function, frame.scope) in knowledge.WITHOUT_GRADIENTS

    def _counts(self, node: cst.BaseExpression, frame: Frame) -> bool:
        """Tell whether an iterable merely says how often something is repeated."""
        return isinstance(node, cst.Call) and self._names.resolve(node.func, frame.scope) == "builtins.range"

    def _is_textual(self, annotation: cst.BaseExpression, scope: Scope) -> bool:
        """Tell whether an annotation, or a tuple of types, admits nothing but strings and paths (and None)."""
        if isinstance(annotation, cst.Tuple):
            return all(self._is_textual(element.value, scope) for element in annotation.elements)
        types = self._names.admitted(annotation, scope)
        classes = (each.value if isinstance(each, cst.Subscript) else each for each in types)
        return bool(types) and all(self._names.resolve(each, scope) in knowledge.TEXT_TYPES for each in classes)
