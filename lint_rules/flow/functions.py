"""Functions and classes of the file itself, which are followed into."""

from __future__ import annotations

from typing import TYPE_CHECKING

import libcst as cst

from lint_rules import knowledge
from lint_rules.evidence import own
from lint_rules.flow.conditions import Conditions
from lint_rules.flow.machine import NOTHING, Made
from lint_rules.objects import Fact, Frame, Kind, State, Thing, Training, Values

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from lint_rules.names import Scope


_DEPTH = 5  # calls of this file's functions inside each other
_LINES = 2  # of a method that is left open: what it says, and that it is
NONE = Thing(Kind.NONE, constant="None")


class Functions(Conditions):
    """Follows calls into functions, lambdas and classes of this file."""

    def _start(self, state: State) -> None:
        """Begin a run of its own."""
        self._run += 1
        self._state = state.copy()

    def _follow(self, function: Thing, node: cst.Call, arguments: list[Values], frame: Frame) -> Values:
        """Follow a call into a function of this file."""
        definition = function.definition
        positional: list[Values] = []
        named: dict[str, Values] = {}
        for arg, values in zip(node.args, arguments, strict=True):
            if arg.keyword is not None:
                named[arg.keyword.value] = values
            elif not arg.star:
                positional.append(values)
        followed = len(self._stack) < _DEPTH and definition not in self._stack
        if isinstance(definition, cst.FunctionDef) and followed and not self._is_resumed(definition):
            return self._enter(function, definition, positional, named, (node, definition, frame.number))
        if isinstance(definition, cst.Lambda) and followed:
            return self._enter_lambda(function, definition, positional, named, (node, definition, frame.number))
        everything: Values = frozenset().union(*arguments)
        self._escape(everything | ({function.bound} if function.bound else set()))
        return self._make(node, frame, deps=self._deps(everything))

    def _is_resumed(self, definition: cst.FunctionDef) -> bool:
        """Tell whether a decorator, such as `contextmanager`, runs a generator on when other code has run."""
        return bool(definition.decorators) and self._is_generator(definition)

    def _is_generator(self, definition: cst.FunctionDef) -> bool:
        known = self._generators.get(definition)
        if known is None:
            known = self._generators[definition] = _yields(definition)
        return known

    def _enter(
        self,
        function: Thing,
        definition: cst.FunctionDef,
        positional: Sequence[Values],
        named: dict[str, Values],
        key: tuple[object, ...],
    ) -> Values:
        if definition in self._stack:
            return self._shared(("recursion", definition), Kind.UNKNOWN)
        self._entered.add(definition)
        inner = Frame(self._number(key), self._names.scope(definition), function.frame or self._top, definition)
        if function.bound is not None:
            positional = [frozenset({function.bound}), *positional]
        outside, since = self._state.facts, self._clock
        inner.called = key[0] != "alone"
        self._state.facts = self._bind(definition.params, positional, named, inner)
        ungraded = any(self._stops_gradients(each.decorator, inner) for each in definition.decorators)
        self._without_gradients += ungraded
        self._stack.append(definition)
        self._statement(definition.body, inner)
        self._state.live |= _is_left_open(definition)
        self._stack.pop()
        self._without_gradients -= ungraded
        values: Values = NOTHING
        for returned, state in inner.returned:
            values |= returned
            self._state = self._join(self._state, state, since)
        self._state.facts = outside
        if inner.nested:
            self._enter_nested(inner)
        else:
            self._state.variables.pop(inner.number, None)
        if self._is_generator(definition):
            return (
                self._collection(definition, inner, inner.yielded) if inner.yielded else self._make(definition, inner)
            )
        return self._promised(values, definition, inner)

    def _promised(self, values: Values, definition: cst.FunctionDef, frame: Frame) -> Values:
        """Give what a function returns; where that is not known, or it has no body, as it is annotated."""
        if definition.returns is None:
            return values or frozenset({NONE})
        annotation = definition.returns.annotation
        if not values and self._is_textual(annotation, self._top.scope):
            return self._make(definition, frame, Kind.TEXT)
        made = values or self._make(definition, frame)
        for each in made:
            if each.kind is Kind.UNKNOWN:
                self._declare(each, annotation, self._top.scope)
        return made if values or any(each.made_by or each in self._types for each in made) else frozenset({NONE})

    def _enter_nested(self, frame: Frame) -> None:
        """Run the functions that a function defines and does not call: it hands them to someone who does."""
        state = self._state
        run = self._run
        for function in frame.nested:
            definition = function.definition
            if isinstance(definition, cst.FunctionDef) and definition not in self._entered and state.live:
                self._start(state)
                self._enter(function, definition, (), {}, ("alone", definition))
        self._state, self._run = state, run

    def _enter_lambda(
        self,
        function: Thing,
        definition: cst.Lambda,
        positional: Sequence[Values],
        named: dict[str, Values],
        key: tuple[object, ...],
    ) -> Values:
        self._entered.add(definition)
        inner = Frame(self._number(key), self._names.scope(definition), function.frame or self._top, definition)
        inner.called = key[0] != "alone"
        self._bind(definition.params, positional, named, inner)
        self._stack.append(definition)
        values = self._value(definition.body, inner)
        self._stack.pop()
        return values

    def _bind(
        self, parameters: cst.Parameters, positional: Sequence[Values], named: dict[str, Values], inner: Frame
    ) -> frozenset[Fact]:
        """Bind arguments to parameters, and give the conditions that constant ones decide."""
        names = {
            param.name.value for param in (*parameters.params, *parameters.posonly_params, *parameters.kwonly_params)
        }
        facts = {fact for fact in self._state.facts if not any(name in fact[0] for name in names)}
        by_position = [*parameters.posonly_params, *parameters.params]
        outer = inner.parent or self._top
        for number, param in enumerate((*by_position, *parameters.kwonly_params)):
            name = param.name.value
            textual = (
                param.annotation is not None
                and "state_dict" not in name  # such an annotation is wrong more often than the program
                and self._is_textual(param.annotation.annotation, outer.scope)
            )
            if number < len(positional) and number < len(by_position):
                values = positional[number]
            elif name in named:
                values = named[name]
            elif param.default is not None and inner.called:
                values = self._value(param.default, outer)
            else:
                default = self._value(param.default, outer) if param.default is not None else NOTHING
                unknown = self._make(param, inner, Kind.TEXT if textual else Kind.UNKNOWN)
                for each in unknown:
                    each.birth = Training.GIVEN
                    if param.annotation is not None and not textual:
                        self._declare(each, param.annotation.annotation, outer.scope)
                constant = all(value.kind in {Kind.NONE, Kind.TEXT} for value in default)
                values = unknown if constant or textual else unknown | default
            if textual and all(value.kind is Kind.UNKNOWN and not value.deps for value in values):
                values = self._make(param, inner, Kind.TEXT)
            self._state.set_variable(inner.number, name, values)
            facts |= _constant_facts(name, values)
        for star in (parameters.star_arg, parameters.star_kwarg):
            if isinstance(star, cst.Param):
                self._state.set_variable(inner.number, star.name.value, self._make(star, inner))
        return frozenset(facts)

    def _declare(self, thing: Thing, annotation: cst.BaseExpression, scope: Scope) -> None:
        """Note of which class an object is, by its annotation."""
        types = self._names.admitted(annotation, scope)
        if len(types) == 1:
            thing.made_by = self._names.resolve(types[0], scope) or thing.made_by
            if (definition := self._local_class(types[0])) is not None:
                self._types[thing] = definition

    def _declare_all(self, values: Values, base: Thing, name: str) -> None:
        """Note of which class an attribute is that was given something unknown, as its own class annotates it."""
        if isinstance(base.definition, cst.ClassDef):
            annotation = self._annotations(base.definition).get(name)
            unknown = [each for each in values if each.kind is Kind.UNKNOWN and not each.made_by]
            if annotation is not None:
                for each in unknown:
                    self._declare(each, annotation, self._top.scope)

    def _annotations(self, definition: cst.ClassDef) -> dict[str, cst.BaseExpression]:
        if definition not in self._fields:
            self._fields[definition] = dict(_declared(definition))
        return self._fields[definition]

    def _field(self, base: Thing, name: str) -> Values | None:
        """Give what the class of an object says that an attribute is: a text, or an object of another such class."""
        definition = base.definition if isinstance(base.definition, cst.ClassDef) else self._types.get(base)
        if definition is None or name in self._names.assigned_attributes:
            return None
        declared = (self._annotations(each).get(name) for each in self._line_of(definition))
        annotation = next((each for each in declared if each is not None), None)
        if annotation is None:
            return None
        if self._is_textual(annotation, self._top.scope):
            return self._make(annotation, self._top, Kind.TEXT)
        part = self._part(base, name)
        self._declare(part, annotation, self._top.scope)
        return frozenset({part})

    def _line_of(self, definition: cst.ClassDef) -> list[cst.ClassDef]:
        """Give a class, its first base in this file, and so on; a name that is bound again may lead back to a class."""
        line: list[cst.ClassDef] = []
        current: cst.ClassDef | None = definition
        while current is not None and current not in line:
            line.append(current)
            current = self._local_class(current.bases[0].value) if current.bases else None
        return line

    def _instance(self, definition: Thing, node: cst.Call, arguments: list[Values], frame: Frame) -> Values:
        """Make an object of a class of this file, and follow its `__init__`."""
        node_of = definition.definition
        if not isinstance(node_of, cst.ClassDef):
            return self._make(node, frame)
        kind = Kind.MODULE if self._is_module(node_of) else Kind.INSTANCE
        (made,) = self._create(node, frame, Made(kind, Training.DEFAULT, node_of.name.value))
        made.definition = node_of
        made.frame = definition.frame
        init = self._methods(node_of).get("__init__")
        if init is not None:
            bound = Thing(Kind.FUNCTION, definition=init, frame=definition.frame, bound=made)
            self._follow(bound, node, arguments, frame)
            if kind is Kind.MODULE:
                self._forget_loads(made)
        elif kind is Kind.MODULE:
            self._escape(frozenset().union(*arguments))
        else:
            self._fill(made, node_of, node, arguments)
        return frozenset({made})

    def _fill(self, made: Thing, definition: cst.ClassDef, node: cst.Call, arguments: list[Values]) -> None:
        """Set the fields of a dataclass or named tuple, in the order in which the class declares them."""
        fields = [name for name, _ in _declared(definition)]
        for number, (arg, values) in enumerate(zip(node.args, arguments, strict=True)):
            if arg.keyword is not None:
                self._state.set_attribute(made, arg.keyword.value, values)
            elif not arg.star and number < len(fields):
                self._state.set_attribute(made, fields[number], values)

    def _methods(self, definition: cst.ClassDef, seen: tuple[cst.ClassDef, ...] = ()) -> dict[str, cst.FunctionDef]:
        """Give a class's methods, those of its bases in this file included."""
        found: dict[str, cst.FunctionDef] = {}
        for base in definition.bases:
            parent = self._local_class(base.value)
            if parent is not None and parent not in seen:
                found |= self._methods(parent, (*seen, definition))
        for statement in definition.body.body:
            if isinstance(statement, cst.FunctionDef):
                found[statement.name.value] = statement
        return found

    def _method_above(
        self, definition: object, method: cst.FunctionDef, name: str, seen: tuple[object, ...] = ()
    ) -> cst.FunctionDef | None:
        """Find a method in the bases of the class that another method stands in, a class or one of its bases."""
        if not isinstance(definition, cst.ClassDef) or definition in seen:
            return None
        parents = [parent for base in definition.bases if (parent := self._local_class(base.value)) is not None]
        if method in definition.body.body:
            found = (self._methods(parent).get(name) for parent in parents)
        else:
            found = (self._method_above(parent, method, name, (*seen, definition)) for parent in parents)
        return next((each for each in found if each is not None), None)

    def _local_class(self, node: cst.BaseExpression) -> cst.ClassDef | None:
        if not isinstance(node, cst.Name):
            return None
        values = self._state.variable(self._top.number, node.value) or NOTHING
        found = [each.definition for each in values if isinstance(each.definition, cst.ClassDef)]
        return found[0] if len(found) == 1 else None

    def _is_module(self, definition: cst.ClassDef, depth: int = 8) -> bool:
        """Tell whether a class may be a module: one without bases of unknown origin is none."""
        for base in definition.bases:
            value = base.value.value if isinstance(base.value, cst.Subscript) else base.value
            name = self._names.resolve(value, self._top.scope)
            if name in knowledge.PLAIN_BASES or (name and knowledge.SERVERS.search(name)):
                continue
            parent = self._local_class(value)
            if parent is None or (depth and parent is not definition and self._is_module(parent, depth - 1)):
                return True
        return False

    def is_plain_module(self, thing: Thing) -> bool:
        """Tell whether an object is of a class of this file that inherits from torch's Module and nothing unknown."""
        return isinstance(thing.definition, cst.ClassDef) and self._derives(thing.definition, ())

    def _derives(self, definition: cst.ClassDef, seen: tuple[cst.ClassDef, ...]) -> bool:
        bases = [base.value for base in definition.bases]
        parents = [self._local_class(base) for base in bases]
        return bool(bases) and all(
            self._names.resolve(base, self._top.scope) in knowledge.MODULES
            or (parent is not None and parent not in seen and self._derives(parent, (*seen, definition)))
            for base, parent in zip(bases, parents, strict=True)
        )

    def defines(self, thing: Thing, method: str) -> bool:
        """Tell whether an object is of a class of this file that defines a method."""
        return isinstance(thing.definition, cst.ClassDef) and method in self._methods(thing.definition)


def _declared(definition: cst.ClassDef) -> Iterator[tuple[str, cst.BaseExpression]]:
    """Yield what the body of a class annotates, each with its type."""
    for line in definition.body.body:
        for each in line.body if isinstance(line, cst.SimpleStatementLine) else ():
            if isinstance(each, cst.AnnAssign) and isinstance(each.target, cst.Name):
                yield each.target.value, each.annotation.annotation


def _constant_facts(name: str, values: Values) -> frozenset[Fact]:
    """Say what a parameter that is given a constant decides."""
    constants = {value.constant for value in values}
    if len(constants) != 1:
        return frozenset()
    (constant,) = constants
    if constant in {"True", "False"}:
        return frozenset({(name, "", constant == "True")})
    if constant == "None":
        return frozenset({(name, "None", True), (name, "", False)})
    return frozenset({(name, constant, True)}) if constant else frozenset()


def _is_left_open(definition: cst.FunctionDef) -> bool:
    """Tell whether a method does nothing but say that subclasses have to define it."""
    last = definition.body.body[-1] if definition.body.body else None
    statement = last.body[0] if isinstance(last, cst.SimpleStatementLine) else last
    raised = statement.exc if isinstance(statement, cst.Raise) else None
    name = raised.func if isinstance(raised, cst.Call) else raised
    return isinstance(name, cst.Name) and name.value == "NotImplementedError" and len(definition.body.body) <= _LINES


def _yields(definition: cst.FunctionDef) -> bool:
    return any(isinstance(node, cst.Yield) for node in own(definition.body))
