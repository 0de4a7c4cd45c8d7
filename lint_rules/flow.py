"""What happens to each object, in order: created, loaded, eval, train, called, returned, rebound.

A small abstract interpreter. It runs the module from top to bottom, then every function and method that this did not
reach, and follows objects rather than names: through branches (both are taken, and what differs afterwards remembers
the condition), loops (the body runs, twice), `try`, `with`, calls of functions and methods of the same file,
attributes, containers and rebinding. What leaves the file is unknown from then on. It never executes anything.

Rules read what was seen: `calls`, `uses` and `trained`.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from itertools import chain
from typing import TYPE_CHECKING, ClassVar

import libcst as cst

from lint_rules import knowledge
from lint_rules.objects import Fact, Frame, Keep, Kind, Mode, State, Thing, Training, Values, contradicts
from lint_rules.tree import children, dotted, method_of, text_of, walk

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from lint_rules.names import Names, Scope

_DEPTH = 5  # calls of this file's functions inside each other
_STEPS = 22_000  # expressions in one file; a file that takes more is left alone
_DEPS = 24  # objects that a value remembers to be computed from
_FACT_LENGTH = 100
_ROUNDS = 2  # how often the body of a loop is followed, and how deep loops may be nested for that
_PARTS = 5  # attributes of attributes
_FACTS = 6  # conditions that one state remembers
_LOADERS = 3  # methods of one class that load, after each of which the others are followed
_MODES = 12  # states that one module may be in; where there are more, nothing is concluded
_ITEM = "[]"
_PARTS_OF = "modules()"
_NOTHING: Values = frozenset()


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
    """

    thing: Thing
    node: cst.Call
    modes: frozenset[Mode]
    run: int
    order: int


@dataclass(frozen=True, slots=True)
class _Site:
    """One call as it is being followed."""

    node: cst.Call
    frame: Frame
    receivers: Values
    arguments: list[Values]

    @property
    def given(self) -> Values:
        """Everything that is passed."""
        return frozenset().union(*self.arguments)


@dataclass(frozen=True, slots=True)
class _Made:
    """What a constructor makes."""

    kind: Kind
    birth: Training
    name: str
    deps: Values = _NOTHING


class _ExhaustedError(Exception):
    """The file takes too many steps."""


class Flow:
    """The objects of one file.

    Attributes:
        calls: Every call that was reached, by its node.
        uses: Every time that a module was run.
        trained: For each object, when it was last trained or made ready for training.
        trained_somewhere: For each run, when something unknown was last trained.
        results: What each `load_state_dict` gave back, and that call.
        called: Objects that were called and are no function or class of this file.
        evaluated: Objects that were put into evaluation mode anywhere.
        stepped: For each module, when a training step last changed its weights.
        aliased: Calls of `state_dict()` whose result is used after such a step.
        copies: For each copy, what it was copied from.
        held: Objects kept as attributes of a module of this file, whose own eval() reaches them.
        complete: Whether the whole file was followed; if not, nothing should be concluded from what is missing.
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
        self.stepped: dict[Thing, int] = {}
        self.aliased: dict[cst.Call, None] = {}
        self.copies: dict[Thing, Thing] = {}
        self.complete = True
        self._tree = tree
        self._names = names
        self._state = State()
        self._clock = 0
        self._run = 0
        self._steps = 0
        self._expecting_error = 0
        self._looping = 0
        self._graded: frozenset[Thing] = frozenset()
        self._things: dict[tuple[object, ...], Thing] = {}
        self._parts: dict[Thing, dict[str, Thing]] = defaultdict(dict)
        self._modules: set[Thing] = set()
        self._entered: set[cst.CSTNode] = set()
        self._stack: list[cst.CSTNode] = []
        self._frames: dict[tuple[object, ...], int] = {}
        self._top = Frame(0, names.module)
        self._pickled = Training.DEFAULT
        self._facts: dict[cst.BaseExpression, tuple[frozenset[Fact], frozenset[Fact]]] = {}
        self._generators: dict[cst.FunctionDef, bool] = {}
        self._options: dict[Thing, dict[str, Values]] = defaultdict(dict)
        self._updated: set[Thing] = set()
        try:
            self._run_everything()
        except (_ExhaustedError, RecursionError):
            self.complete = False

    # Runs

    def _run_everything(self) -> None:
        self._block(self._tree.body, self._top)
        after = self._state
        after.live = True
        after.facts = frozenset()
        definitions = list(self._definitions(self._tree.body, None))
        functions = [node for node, owner in definitions if isinstance(node, cst.FunctionDef) and owner is None]
        classes = [node for node, _ in definitions if isinstance(node, cst.ClassDef)]
        self._run_functions([function for function in functions if function not in self._entered], after)
        for definition in classes:
            self._run_class(definition, after)

    def _definitions(
        self, body: Iterable[cst.CSTNode], owner: cst.ClassDef | None
    ) -> Iterator[tuple[cst.FunctionDef | cst.ClassDef, cst.ClassDef | None]]:
        """Yield functions and classes that stand on the module's level, in classes or under conditions there."""
        for node in body:
            if isinstance(node, cst.FunctionDef):
                yield node, owner
            elif isinstance(node, cst.ClassDef):
                yield node, owner
                yield from self._definitions(node.body.body, node)
            elif isinstance(node, (cst.If, cst.Try, cst.With, cst.Else, cst.ExceptHandler, cst.IndentedBlock, cst.For)):
                yield from self._definitions(children(node), owner)

    def _start(self, state: State) -> None:
        self._run += 1
        self._state = state.copy()

    def _run_functions(self, left: Sequence[cst.FunctionDef], after: State) -> None:
        """Run the functions that nothing has called: each by itself, and after each that loads for the others."""
        called = {node.func.value for node, _ in self._names.calls if isinstance(node.func, cst.Name)}
        loaded: list[tuple[cst.FunctionDef, State, frozenset[str]]] = []
        for function in sorted(left, key=lambda node: node.name.value in called):
            if function not in self._entered:
                self._start(after)
                self._enter_alone(function, None)
                names = self._loaded_globals()
                if names:
                    self._state.live = True
                    loaded.append((function, self._state, names))
        for loader, state, names in loaded[:_LOADERS]:
            for function in left:
                if function is not loader and names & _mentioned(function):
                    self._start(state)
                    self._enter_alone(function, None)

    def _loaded_globals(self) -> frozenset[str]:
        """Name the variables of the module through which something can be reached that this run has loaded."""
        new = {thing for thing, modes in self._state.modes.items() if any(m.load and m.run == self._run for m in modes)}
        if not new:
            return frozenset()
        variables = self._state.variables.get(self._top.number, {})
        return frozenset(name for name, values in variables.items() if new & self._reach(values))

    def _run_class(self, definition: cst.ClassDef, after: State) -> None:
        """Run the methods of a class that nothing has called: each after `__init__`, and each after one that loads."""
        methods = self._methods(definition)
        left = [method for name, method in methods.items() if method not in self._entered and name != "__init__"]
        init = methods.get("__init__")
        if not left and (init is None or init in self._entered):
            return
        kind = Kind.MODULE if self._is_module(definition) else Kind.INSTANCE
        me = Thing(kind, Training.UNKNOWN, definition.name.value, definition=definition, frame=self._top)
        self._start(after)
        if init is not None:
            self._enter_alone(init, me)
        built = self._state
        built.live = True
        loaded: list[tuple[cst.FunctionDef, State]] = []
        called = frozenset().union(*(_attributes(method) for method in left))
        for method in sorted(left, key=lambda each: each.name.value in called):
            loads = kind is Kind.INSTANCE and bool(_loaded_attributes(method))
            if method in self._entered and not loads:
                continue
            self._start(built)
            self._enter_alone(method, me)
            if loads:
                self._state.live = True
                loaded.append((method, self._state))
        for loader, state in loaded[:_LOADERS]:
            attributes = _loaded_attributes(loader)
            for method in left:
                if method is not loader and attributes & _attributes(method):
                    self._start(state)
                    self._enter_alone(method, me)

    def _enter_alone(self, function: cst.FunctionDef, me: Thing | None) -> None:
        """Run a function as a caller outside the file would, with arguments of which nothing is known."""
        owner = Thing(Kind.FUNCTION, definition=function, frame=self._top, bound=me)
        self._enter(owner, function, (), {}, ("alone", function))

    # Statements

    def _block(self, body: Iterable[cst.CSTNode], frame: Frame) -> None:
        for statement in body:
            if not self._state.live:
                return
            self._statement(statement, frame)

    def _statement(self, node: cst.CSTNode, frame: Frame) -> None:
        handler = self._STATEMENTS.get(type(node))
        if handler is not None:
            handler(self, node, frame)
        else:
            for child in children(node):
                if isinstance(child, cst.BaseExpression):
                    self._value(child, frame)

    def _lines(
        self, node: cst.SimpleStatementLine | cst.SimpleStatementSuite | cst.IndentedBlock, frame: Frame
    ) -> None:
        self._block(node.body, frame)

    def _expression(self, node: cst.Expr, frame: Frame) -> None:
        self._value(node.value, frame)

    def _assignment(self, node: cst.Assign, frame: Frame) -> None:
        values = self._value(node.value, frame)
        for target in node.targets:
            if _is_rebound(target.target, node.value):
                self._forget(values)
            self._assign(target.target, values, frame)

    def _annotated(self, node: cst.AnnAssign, frame: Frame) -> None:
        if node.value is not None:
            values = self._value(node.value, frame)
            self._assign(node.target, values, frame)
        elif self._is_textual(node.annotation.annotation, frame.scope):
            self._assign(node.target, self._make(node, frame, Kind.TEXT), frame)

    def _augmented(self, node: cst.AugAssign, frame: Frame) -> None:
        old = self._value(node.target, frame)
        new = self._value(node.value, frame)
        text = _all(old, Kind.TEXT)
        self._assign(
            node.target, self._make(node, frame, Kind.TEXT if text else Kind.UNKNOWN, self._deps(old | new)), frame
        )

    def _function(self, node: cst.FunctionDef, frame: Frame) -> None:
        function = self._defined(node, frame, Kind.FUNCTION)
        self._store(node.name.value, self._decorated(function, node, frame), frame)
        if frame.function is not None:
            frame.nested.append(function)

    def _decorated(self, function: Thing, node: cst.FunctionDef, frame: Frame) -> Values:
        """Give what the decorators of this file make of a function; others are taken to leave it as it is."""
        values = frozenset({function})
        for decorator in reversed(node.decorators):
            maker = decorator.decorator
            name = maker.func if isinstance(maker, cst.Call) else maker
            known = self._name(name, frame) if isinstance(name, cst.Name) else _NOTHING
            if _all(known, Kind.FUNCTION):
                makers = self._value(maker, frame) if isinstance(maker, cst.Call) else known
                for each in makers:
                    if isinstance(each.definition, cst.FunctionDef) and not self._is_generator(each.definition):
                        values = self._enter(each, each.definition, [values], {}, (decorator, frame.number))
        return values

    def _class(self, node: cst.ClassDef, frame: Frame) -> None:
        definition = self._defined(node, frame, Kind.CLASS)
        self._store(node.name.value, frozenset({definition}), frame)
        inner = Frame(self._number(("class", node, frame.number)), self._names.scope(node), frame)
        for statement in node.body.body:
            if isinstance(statement, cst.SimpleStatementLine):
                self._statement(statement, inner)
        self._state.attributes[definition] = self._state.variables.pop(inner.number, {})

    def _return(self, node: cst.Return, frame: Frame) -> None:
        values = self._value(node.value, frame) if node.value else _NOTHING
        self._use_states(values)
        frame.returned.append((values, self._state.copy()))
        self._state.live = False

    def _raise(self, node: cst.Raise, frame: Frame) -> None:
        if node.exc is not None:
            self._value(node.exc, frame)
        self._state.live = False

    def _leave_loop(self, _node: cst.Break | cst.Continue, frame: Frame) -> None:
        if frame.loops:
            frame.loops[-1].append(self._state.copy())
        self._state.live = False

    def _if(self, node: cst.If, frame: Frame) -> None:
        self._value(node.test, frame)
        facts, otherwise = self._conditions(node.test)
        before, since = self._state, self._clock
        yes, no = before.copy(), before
        verdict = _verdict(node.test, self._names, frame.scope)
        if verdict is None:
            verdict = self._decided(node.test, before.facts)
        self._state = yes
        yes.facts |= facts
        self._narrow(node.test, frame, holds=True)
        if verdict is False:
            yes.live = False
        else:
            self._statement(node.body, frame)
        yes = self._state
        self._state = no
        outer = no.facts
        no.facts |= otherwise
        if verdict is True:
            no.live = False
        else:
            self._narrow(node.test, frame, holds=False)
            if node.orelse is not None:
                self._statement(node.orelse, frame)
        self._state = self._join(yes, self._state, since, facts, otherwise)
        self._state.facts = outer

    def _else(self, node: cst.Else | cst.Finally, frame: Frame) -> None:
        self._statement(node.body, frame)

    def _for(self, node: cst.For, frame: Frame) -> None:
        items = self._items(self._value(node.iter, frame), node, frame)
        self._loop(node, frame, lambda: self._assign(node.target, items, frame))

    def _while(self, node: cst.While, frame: Frame) -> None:
        self._loop(node, frame, lambda: self._value(node.test, frame))

    def _loop(self, node: cst.For | cst.While, frame: Frame, head: Callable[[], object]) -> None:
        """Follow a loop that runs at least once: what it does to modes has happened afterwards."""
        before, since = self._state.copy(), self._clock
        left: list[State] = []
        self._looping += 1
        for _ in range(_ROUNDS if self._looping <= _ROUNDS else 1):
            frame.loops.append([])
            head()
            self._statement(node.body, frame)
            left += frame.loops.pop()
            if not self._state.live:
                break
        self._looping -= 1
        for state in left:
            self._state = self._join(self._state, state, since)
        if self._state.live:
            for number, names in before.variables.items():
                self._state.variables[number] = _union(self._state.variables.get(number, {}), names)
        elif isinstance(node, cst.For) and any(state.live for state in left):
            self._state.live = True
        self._state.facts = before.facts
        if node.orelse is not None:
            self._statement(node.orelse, frame)

    def _with(self, node: cst.With, frame: Frame) -> None:
        expected = 0
        for item in node.items:
            values = self._value(item.item, frame)
            name = dotted(item.item.func) if isinstance(item.item, cst.Call) else None
            expected += bool(name and knowledge.EXPECTS_ERROR.search(name))
            if item.asname is not None:
                self._assign(item.asname.name, values, frame)
        self._expecting_error += bool(expected)
        self._statement(node.body, frame)
        self._expecting_error -= bool(expected)
        if expected and not self._state.live:
            self._state.live = True

    def _try(self, node: cst.Try | cst.TryStar, frame: Frame) -> None:
        before, since = self._state.copy(), self._clock
        self._statement(node.body, frame)
        body = self._state.copy()
        if node.orelse is not None and self._state.live:
            self._statement(node.orelse, frame)
        ends = [self._state]
        for handler in node.handlers:
            self._state = self._join(before.copy(), body.copy(), since) if body.live else before.copy()
            if handler.name is not None:
                self._assign(handler.name.name, self._make(handler, frame), frame)
            self._statement(handler.body, frame)
            ends.append(self._state)
        self._state = ends[0]
        for end in ends[1:]:
            self._state = self._join(self._state, end, since)
        if node.finalbody is not None:
            live, self._state.live = self._state.live, True
            self._statement(node.finalbody, frame)
            self._state.live = self._state.live and live

    def _match(self, node: cst.Match, frame: Frame) -> None:
        self._value(node.subject, frame)
        before, since = self._state, self._clock
        result = before.copy()
        for case in node.cases:
            self._state = before.copy()
            self._statement(case.body, frame)
            result = self._join(result, self._state, since)
        self._state = result

    def _delete(self, _node: cst.Del, _frame: Frame) -> None:
        """Deleting a name changes no object."""

    def _assert(self, node: cst.Assert, frame: Frame) -> None:
        self._value(node.test, frame)
        self._narrow(node.test, frame, holds=True)

    _STATEMENTS: ClassVar[dict[type[cst.CSTNode], Callable[..., None]]] = {
        cst.SimpleStatementLine: _lines,
        cst.SimpleStatementSuite: _lines,
        cst.IndentedBlock: _lines,
        cst.Expr: _expression,
        cst.Assign: _assignment,
        cst.AnnAssign: _annotated,
        cst.AugAssign: _augmented,
        cst.FunctionDef: _function,
        cst.ClassDef: _class,
        cst.Return: _return,
        cst.Raise: _raise,
        cst.Break: _leave_loop,
        cst.Continue: _leave_loop,
        cst.If: _if,
        cst.Else: _else,
        cst.Finally: _else,
        cst.For: _for,
        cst.While: _while,
        cst.With: _with,
        cst.Try: _try,
        cst.TryStar: _try,
        cst.Match: _match,
        cst.Del: _delete,
        cst.Assert: _assert,
    }

    # Conditions

    def _conditions(self, test: cst.BaseExpression) -> tuple[frozenset[Fact], frozenset[Fact]]:
        """Say what is known where a condition holds, and where it does not."""
        known = self._facts.get(test)
        if known is None:
            known = self._facts[test] = self._read_conditions(test)
        return known

    def _read_conditions(self, test: cst.BaseExpression) -> tuple[frozenset[Fact], frozenset[Fact]]:
        if isinstance(test, cst.UnaryOperation) and isinstance(test.operator, cst.Not):
            holds, fails = self._conditions(test.expression)
            return fails, holds
        if isinstance(test, cst.BooleanOperation):
            left, right = self._conditions(test.left), self._conditions(test.right)
            if isinstance(test.operator, cst.And):
                return left[0] | right[0], frozenset()
            return frozenset(), left[1] | right[1]
        subject, value, answer = self._tree.code_for_node(test.with_changes(lpar=(), rpar=())), "", True
        if isinstance(test, cst.Comparison) and len(test.comparisons) == 1:
            compared = test.comparisons[0]
            subject = self._tree.code_for_node(test.left)
            value = self._tree.code_for_node(compared.comparator)
            if isinstance(compared.operator, (cst.NotEqual, cst.IsNot, cst.NotIn)):
                answer = False
            if not isinstance(compared.operator, (cst.Equal, cst.NotEqual, cst.Is, cst.IsNot)):
                subject, value = f"{subject} {type(compared.operator).__name__} {value}", ""
                if isinstance(compared.operator, cst.NotIn):
                    subject = subject.replace(" NotIn ", " In ")
            elif not isinstance(compared.comparator, (cst.SimpleString, cst.Integer)) and value not in {"None", "True"}:
                subject, value = f"{subject} == {value}", ""
        if len(subject) > _FACT_LENGTH:
            return frozenset(), frozenset()
        return frozenset({(subject, value, answer)}), frozenset({(subject, value, not answer)})

    def _decided(self, test: cst.BaseExpression, facts: frozenset[Fact]) -> bool | None:
        """Decide a condition by those that hold already."""
        if isinstance(test, cst.UnaryOperation) and isinstance(test.operator, cst.Not):
            inner = self._decided(test.expression, facts)
            return None if inner is None else not inner
        if isinstance(test, cst.BooleanOperation):
            sides = {self._decided(test.left, facts), self._decided(test.right, facts)}
            decisive = isinstance(test.operator, cst.Or)
            if decisive in sides:
                return decisive
            return not decisive if sides == {not decisive} else None
        for subject, value, answer in self._conditions(test)[0]:
            if (subject, value, answer) in facts:
                return True
            if contradicts(Mode(Training.UNKNOWN, facts=facts), frozenset({(subject, value, answer)})):
                return False
        return None

    # Storing and joining

    def _assign(self, target: cst.CSTNode, values: Values, frame: Frame) -> None:
        if isinstance(target, cst.Name):
            self._store(target.value, values, frame)
        elif isinstance(target, cst.Attribute):
            bases = self._value(target.value, frame)
            for base in bases:
                old = self._attribute(base, target.attr.value, frame) if len(bases) > 1 else _NOTHING
                self._state.set_attribute(base, target.attr.value, values | old)
                if base.kind is Kind.MODULE:
                    self.held |= values
            if target.attr.value == "training":
                self._set_mode(bases, Training.UNKNOWN)
        elif isinstance(target, (cst.Tuple, cst.List)):
            self._unpack(target, values, frame)
        elif isinstance(target, cst.Subscript):
            for base in self._value(target.value, frame):
                self._state.add_attribute(base, _ITEM, values)
                self._keep_in(base, values)
                if index := _index(target):
                    self._state.set_attribute(base, index, values)
        elif isinstance(target, cst.StarredElement):
            self._assign(target.value, self._make(target, frame, deps=self._deps(values)), frame)

    def _unpack(self, target: cst.Tuple | cst.List, values: Values, frame: Frame) -> None:
        for number, element in enumerate(target.elements):
            parts = [self._state.attribute(value, f"[{number}]") for value in values]
            if values and None not in parts:
                found: Values = frozenset(chain.from_iterable(part for part in parts if part))
            else:
                known = [values for values in parts if values]
                found = frozenset(chain.from_iterable(known)) | self._items(values, element, frame)
            self._assign(element if isinstance(element, cst.StarredElement) else element.value, found, frame)

    def _store(self, name: str, values: Values, frame: Frame) -> None:
        owner = self._owner(name, frame)
        self._state.set_variable(owner.number, name, values)
        if self._state.facts:
            self._state.facts = frozenset(fact for fact in self._state.facts if name not in fact[0])

    def _owner(self, name: str, frame: Frame) -> Frame:
        """Find the frame that a name assigned in this one belongs to."""
        outer = frame.scope.outer.get(name)
        walker: Frame | None = frame
        while outer is not None and walker is not None:
            if walker.scope is outer:
                return walker
            walker = walker.parent
        return frame

    def _join(
        self,
        one: State,
        other: State,
        since: int,
        facts: frozenset[Fact] = frozenset(),
        otherwise: frozenset[Fact] = frozenset(),
    ) -> State:
        """Join two paths that parted at a time `since`; each remembers its condition where they differ."""
        if not other.live:
            return self._only(one, facts)
        if not one.live:
            return self._only(other, otherwise)
        for number, names in other.variables.items():
            one.variables[number] = _union(one.variables.get(number, {}), names)
        for thing in one.attributes.keys() - other.attributes.keys():
            one.attributes[thing] = self._join_attributes(thing, one.attributes[thing], {})
        for thing, theirs in other.attributes.items():
            mine = one.attributes.get(thing)
            if mine is not theirs:
                one.attributes[thing] = self._join_attributes(thing, mine or {}, theirs)
        for thing, keeps in other.kept.items():
            one.kept[thing] = one.kept.get(thing, frozenset()) | keeps
        changed = [thing for thing, there in other.modes.items() if one.modes.get(thing) is not there]
        for thing in (*changed, *(one.modes.keys() - other.modes.keys())):
            absent = _NO_MODES if thing.born > since else frozenset({Mode(thing.birth)})
            here, there = one.modes.get(thing, absent), other.modes.get(thing, absent)
            if here != there:
                one.modes[thing] = _merge(here, there, facts, otherwise)
        return one

    def _join_attributes(self, thing: Thing, mine: dict[str, Values], theirs: dict[str, Values]) -> dict[str, Values]:
        """Join attributes; one that only a branch has bound is what it was before in the other."""
        joined = _union(mine, theirs)
        for name in mine.keys() ^ theirs.keys():
            if not name.startswith("["):
                joined[name] |= {self._part(thing, name)}
        return joined

    @staticmethod
    def _only(state: State, facts: frozenset[Fact]) -> State:
        """Give the one branch that goes on; whatever follows, its condition holds there."""
        state.facts |= facts
        return state

    def _narrow(self, test: cst.BaseExpression, frame: Frame, *, holds: bool) -> None:
        """Learn from a condition whether a variable is a path."""
        if isinstance(test, cst.UnaryOperation) and isinstance(test.operator, cst.Not):
            self._narrow(test.expression, frame, holds=not holds)
        elif isinstance(test, cst.BooleanOperation):
            if isinstance(test.operator, cst.And) == holds:
                self._narrow(test.left, frame, holds=holds)
                self._narrow(test.right, frame, holds=holds)
        elif isinstance(test, cst.Comparison) and len(test.comparisons) == 1 and isinstance(test.left, cst.Call):
            compared = test.comparisons[0]
            if self._names.resolve(test.left.func, frame.scope) == "builtins.type" and len(test.left.args) == 1:
                same = isinstance(compared.operator, (cst.Equal, cst.Is)) == holds
                textual = same and self._is_textual(compared.comparator, frame.scope)
                self._set_kind(test.left.args[0].value, Kind.TEXT if textual else Kind.UNKNOWN, frame, test)
        elif isinstance(test, cst.Call) and test.args:
            subject = test.args[0].value
            function = self._names.resolve(test.func, frame.scope)
            if function in knowledge.TEXT_TESTS:  # whatever it answers, it raises for a dictionary
                self._set_kind(subject, Kind.TEXT, frame, test)
            elif function == "builtins.isinstance" and len(test.args) > 1:
                textual = self._is_textual(test.args[1].value, frame.scope)
                self._set_kind(subject, Kind.TEXT if holds and textual else Kind.UNKNOWN, frame, test)
            elif function is None and holds and method_of(test) in {"endswith", "startswith", "exists", "is_file"}:
                self._set_kind(cst.ensure_type(test.func, cst.Attribute).value, Kind.TEXT, frame, test)

    def _set_kind(self, subject: cst.BaseExpression, kind: Kind, frame: Frame, origin: cst.CSTNode) -> None:
        values = self._value(subject, frame)
        if kind is Kind.TEXT and not all(value.kind in {Kind.UNKNOWN, Kind.TEXT} for value in values):
            return
        if isinstance(subject, (cst.Name, cst.Attribute)) and any(value.kind is not kind for value in values):
            if kind is Kind.UNKNOWN and not any(value.kind is Kind.TEXT for value in values):
                return
            self._assign(subject, self._make(origin, frame, kind, self._deps(values), tag=str(kind)), frame)

    # Expressions

    def _value(self, node: cst.BaseExpression, frame: Frame) -> Values:
        """Follow an expression and say what it may be; never empty."""
        self._steps += 1
        if self._steps > _STEPS:
            raise _ExhaustedError
        handler = self._EXPRESSIONS.get(type(node))
        values: Values = handler(self, node, frame) if handler is not None else self._anything(node, frame)
        return values or self._make(node, frame, tag="nothing")

    def _anything(self, node: cst.CSTNode, frame: Frame) -> Values:
        """Follow what is inside an expression of which nothing else is known."""
        return self._make(node, frame, deps=self._deps(self._inside(node, frame)))

    def _inside(self, node: cst.CSTNode, frame: Frame) -> Values:
        found: Values = _NOTHING
        for child in children(node):
            found |= self._value(child, frame) if isinstance(child, cst.BaseExpression) else self._inside(child, frame)
        return found

    def _name(self, node: cst.Name, frame: Frame) -> Values:
        if node.value in _CONSTANTS:
            return frozenset({_CONSTANTS[node.value]})
        walker: Frame | None = frame
        while walker is not None:
            outer = walker.scope.outer.get(node.value)
            known = self._state.variable(walker.number, node.value) if outer is None else None
            if known is not None:
                return known
            walker = walker.parent
        name = self._names.resolve(node, frame.scope)
        return self._reference(name) if name else self._shared(("free", node.value), Kind.UNKNOWN)

    def _attribute_of(self, node: cst.Attribute, frame: Frame) -> Values:
        name = self._names.resolve(node, frame.scope)
        if name is not None:
            return self._reference(name)
        bases = self._value(node.value, frame)
        return frozenset().union(*(self._attribute(base, node.attr.value, frame) for base in bases))

    def _attribute(self, base: Thing, name: str, frame: Frame) -> Values:
        stored = self._state.attribute(base, name)
        if stored is not None:
            return stored
        if base.kind is Kind.TEXT:
            kind = Kind.TEXT if name in knowledge.TEXT_PROPERTIES else Kind.UNKNOWN
            return self._shared(("text", name), kind)
        if base.kind is Kind.OPTIONS and base.owner is not None and name in self._options[base.owner]:
            return self._options[base.owner][name]
        if base.kind is Kind.REFERENCE:
            return self._reference(f"{base.made_by}.{name}")
        if name == "module" and base in self._modules:
            return frozenset({base})
        if base.definition is not None and isinstance(base.definition, cst.ClassDef):
            method = self._methods(base.definition).get(name)
            if method is not None:
                return self._method(base, method, frame)
            text = self._class_text(base.definition, name)
            if text is not None:
                return text
        return frozenset({self._part(base, name)})

    def _class_text(self, definition: cst.ClassDef, name: str) -> Values | None:
        """Give a text that a class of this file sets for its instances and that nothing sets again."""
        values = self._state.variable(self._top.number, definition.name.value) or _NOTHING
        found: Values = frozenset().union(*(self._state.attribute(each, name) or _NOTHING for each in values))
        again = name in self._names.assigned_attributes
        return found if _all(found, Kind.TEXT) and not again else None

    def _method(self, base: Thing, method: cst.FunctionDef, frame: Frame) -> Values:
        marks = {dotted(decorator.decorator) for decorator in method.decorators}
        bound = None if base.kind is Kind.CLASS or "staticmethod" in marks else base
        key = ("method", method, bound)
        if key not in self._things:
            self._things[key] = Thing(Kind.FUNCTION, definition=method, frame=base.frame or self._top, bound=bound)
        function = self._things[key]
        if marks & {"property", "cached_property", "functools.cached_property"}:
            return self._enter(function, method, (), {}, ("property", method, frame.number))
        return frozenset({function})

    def _text(self, node: cst.BaseString, frame: Frame) -> Values:
        if isinstance(node, cst.FormattedString):
            self._inside(node, frame)
        binary = isinstance(node, cst.SimpleString) and "b" in node.prefix
        (made,) = self._make(node, frame, Kind.UNKNOWN if binary else Kind.TEXT)
        if isinstance(node, cst.SimpleString):
            made.constant = node.value
        return frozenset({made})

    def _number_of(self, node: cst.Integer, frame: Frame) -> Values:
        (made,) = self._make(node, frame)
        made.constant = node.value
        return frozenset({made})

    def _binary(self, node: cst.BinaryOperation, frame: Frame) -> Values:
        left, right = self._value(node.left, frame), self._value(node.right, frame)
        text = (
            (isinstance(node.operator, cst.Add) and (_all(left, Kind.TEXT) or _all(right, Kind.TEXT)))
            or (isinstance(node.operator, cst.Divide) and (_all(left, Kind.TEXT) or _all(right, Kind.TEXT)))
            or (isinstance(node.operator, cst.Modulo) and _all(left, Kind.TEXT))
        )
        return self._make(node, frame, Kind.TEXT if text else Kind.UNKNOWN, self._deps(left | right))

    def _choice(self, node: cst.IfExp, frame: Frame) -> Values:
        self._value(node.test, frame)
        return self._value(node.body, frame) | self._value(node.orelse, frame)

    def _either(self, node: cst.BooleanOperation, frame: Frame) -> Values:
        return self._value(node.left, frame) | self._value(node.right, frame)

    def _walrus(self, node: cst.NamedExpr, frame: Frame) -> Values:
        values = self._value(node.value, frame)
        self._assign(node.target, values, frame)
        return values

    def _await(self, node: cst.Await, frame: Frame) -> Values:
        return self._value(node.expression, frame)

    def _lambda(self, node: cst.Lambda, frame: Frame) -> Values:
        return frozenset({self._defined(node, frame, Kind.FUNCTION)})

    def _sequence(self, node: cst.Tuple | cst.List | cst.Set, frame: Frame) -> Values:
        (made,) = self._make(node, frame, Kind.COLLECTION)
        everything: Values = _NOTHING
        plain = True
        for number, element in enumerate(node.elements):
            values = self._value(element.value, frame)
            if isinstance(element, cst.StarredElement):
                plain = False
                values = self._items(values, element, frame)
            elif plain:
                self._state.set_attribute(made, f"[{number}]", values)
            everything |= values
        self._state.set_attribute(made, _ITEM, everything)
        return frozenset({made})

    def _dict(self, node: cst.Dict, frame: Frame) -> Values:
        (made,) = self._make(node, frame, Kind.COLLECTION)
        everything: Values = _NOTHING
        for element in node.elements:
            values = self._value(element.value, frame)
            if isinstance(element, cst.DictElement):
                self._value(element.key, frame)
                key = text_of(element.key)
                if key is not None:
                    self._state.set_attribute(made, f"[{key!r}]", values)
            else:
                values = self._items(values, element, frame)
            everything |= values
        self._state.set_attribute(made, _ITEM, everything)
        return frozenset({made})

    def _comprehension(self, node: cst.BaseSimpleComp | cst.DictComp, frame: Frame) -> Values:
        inner = Frame(self._number(("comprehension", node, frame.number)), self._names.scope(node), frame)
        clause: cst.CompFor | None = node.for_in
        where = frame
        while clause is not None:
            items = self._items(self._value(clause.iter, where), clause, frame)
            where = inner
            self._assign(clause.target, items, inner)
            for test in clause.ifs:
                self._value(test.test, inner)
            clause = clause.inner_for_in
        element = node.value if isinstance(node, cst.DictComp) else node.elt
        values = self._value(element, inner)
        (made,) = self._make(node, frame, Kind.COLLECTION)
        self._state.set_attribute(made, _ITEM, values)
        return frozenset({made})

    def _subscript(self, node: cst.Subscript, frame: Frame) -> Values:
        name = self._names.resolve(node.value, frame.scope)
        bases = self._value(node.value, frame)
        self._inside(node.slice[0], frame)
        self._use_states(bases)
        if name in knowledge.TEXT_COLLECTIONS or name == "os.environ":
            return self._make(node, frame, Kind.TEXT)
        found: Values = _NOTHING
        index = _index(node)
        for base in bases:
            exact = self._state.attribute(base, index) if index else None
            if exact is not None:
                found |= exact
            elif base.kind is Kind.TEXT:
                found |= self._make(node, frame, Kind.TEXT)
            elif isinstance(node.slice[0].slice, cst.Slice) and base.kind is Kind.COLLECTION:
                found |= {base}
            elif (held := self._state.attribute(base, _ITEM)) is not None:
                found |= held
            else:
                found |= frozenset({self._part(base, index or _ITEM)})
        return found

    # Calls

    def _call(self, node: cst.Call, frame: Frame) -> Values:
        name = self._names.resolve(node.func, frame.scope)
        receivers: Values = _NOTHING
        method = method_of(node) if name is None else None
        if isinstance(node.func, cst.Attribute):
            receivers = self._value(node.func.value, frame)
        arguments = [self._value(arg.value, frame) for arg in node.args]
        self._record(node, frame, receivers, arguments)
        if name is not None:
            values = self._known(name, node, arguments, frame)
            if values is not None:
                return values
        if method is not None:
            values = self._called_method(method, node, receivers, arguments, frame)
            if values is not None:
                return values
        if isinstance(node.func, cst.Attribute):
            found: list[Values] = [self._attribute(each, node.func.attr.value, frame) for each in receivers]
            functions: Values = frozenset().union(*found)
        else:
            functions = self._value(node.func, frame)
        return self._apply(functions, _Site(node, frame, receivers, arguments))

    def _apply(self, functions: Values, site: _Site) -> Values:
        """Call what was found to be called."""
        results: Values = _NOTHING
        for function in functions:
            definition = function.definition
            if function.kind is Kind.FUNCTION and isinstance(definition, (cst.FunctionDef, cst.Lambda)):
                results |= self._follow(function, site.node, site.arguments, site.frame)
            elif function.kind is Kind.CLASS and isinstance(definition, cst.ClassDef):
                results |= self._instance(function, site.node, site.arguments, site.frame)
            else:
                results |= self._unknown_call(function, site)
        return results

    def _unknown_call(self, function: Thing, site: _Site) -> Values:
        """Call something outside the file: a module runs, anything else may do what it likes with its arguments."""
        imported = function.kind is Kind.REFERENCE
        name = function.made_by if imported else (dotted(site.node.func) or "")
        last = name.rpartition(".")[2]
        given = site.given
        if not self._expecting_error:
            self.called.add(function)
        if not imported and (not isinstance(site.node.func, cst.Attribute) or self._is_followed(function)):
            self._use(function, site.node)
        if knowledge.TRAINERS.search(name):
            trained = self._deps(given | ({function.owner} if function.owner else set()))
            self._train(trained)
            self._stepped(trained)
        if not self._neutral(name):
            self._escape(given)
        modules = any(self._is_followed(thing) for thing in self._reach(given))
        birth = Training.DEFAULT
        if knowledge.EVALUATED.search(name) or (modules and not last[:1].isupper()):
            birth = Training.UNKNOWN
        kind = Kind.OPTIMIZER if knowledge.OPTIMIZERS.search(name) else Kind.UNKNOWN
        deps = self._deps(given | site.receivers | {function})
        return self._create(site.node, site.frame, _Made(kind, birth, name, deps))

    def _neutral(self, name: str) -> bool:
        return bool(knowledge.NEUTRAL.match(name)) and not knowledge.MODE_KEEPERS_EXCEPT.match(name)

    def _known(self, name: str, node: cst.Call, arguments: list[Values], frame: Frame) -> Values | None:
        """Call something imported that the tables know; None if they do not."""
        handler = self._FUNCTIONS.get(name)
        if handler is not None and not (name == "copy.copy" and _all(arguments[0], Kind.STATE)):
            return handler(self, node, arguments, frame)
        if name in knowledge.TEXT:
            return self._make(node, frame, Kind.TEXT)
        if name in _SHALLOW and len(arguments) == 1 and _all(arguments[0], Kind.STATE):
            return arguments[0]
        if knowledge.WRAPPERS.match(name) and arguments:
            self._modules |= arguments[0]
            return arguments[0]
        if name.startswith("torch.nn.") and name.rpartition(".")[2][:1].isupper():
            (made,) = self._create(node, frame, _Made(Kind.MODULE, Training.DEFAULT, name))
            self._state.set_attribute(made, _ITEM, frozenset().union(*arguments))
            return frozenset({made})
        return None

    def _torch_load(self, node: cst.Call, _arguments: list[Values], frame: Frame) -> Values:
        self._clock += 1
        (made,) = self._make(node, frame, Kind.LOADED)
        made.made_by = "torch.load"
        made.born = self._clock
        mode = Mode(self._pickled, node, self._clock, self._run, self._state.facts)
        self._state.modes[made] = frozenset({mode})
        return frozenset({made})

    def _torch_save(self, node: cst.Call, arguments: list[Values], frame: Frame) -> Values:
        """Note whether a whole module is saved in another mode than it was made in: loading gives that mode back."""
        modules = [thing for thing in (arguments[0] if arguments else ()) if thing in self._modules]
        if any(mode.training is not Training.DEFAULT for thing in modules for mode in self._modes(thing)):
            self._pickled = Training.UNKNOWN
        return self._make(node, frame)

    def _text_list(self, node: cst.Call, _arguments: list[Values], frame: Frame) -> Values:
        return self._texts(node, frame)

    def _same(self, node: cst.Call, arguments: list[Values], frame: Frame) -> Values:
        return arguments[0] if arguments else self._make(node, frame, Kind.COLLECTION)

    def _one(self, node: cst.Call, arguments: list[Values], frame: Frame) -> Values | None:
        positional = [arg for arg in node.args if not arg.keyword]
        return self._items(arguments[0], node, frame) if len(positional) == 1 else None

    def _enumerate(self, node: cst.Call, arguments: list[Values], frame: Frame) -> Values | None:
        return self._collection(node, frame, self._items(arguments[0], node, frame), paired=True) if arguments else None

    def _zip(self, node: cst.Call, arguments: list[Values], frame: Frame) -> Values | None:
        if any(arg.star for arg in node.args):
            return None
        (row,) = self._make(node, frame, Kind.COLLECTION, tag="row")
        for number, (arg, values) in enumerate(zip(node.args, arguments, strict=True)):
            self._state.set_attribute(row, f"[{number}]", self._items(values, arg, frame))
        return self._collection(node, frame, frozenset({row}))

    def _module_method(self, node: cst.Call, arguments: list[Values], frame: Frame) -> Values:
        """Call `torch.nn.Module.eval(net)` or `.train(net, mode)`."""
        is_eval = method_of(node) == "eval"
        self._set_mode(arguments[0] if arguments else _NOTHING, Training.EVAL if is_eval else Training.UNKNOWN)
        return arguments[0] if arguments else self._make(node, frame)

    def _copy(self, node: cst.Call, arguments: list[Values], frame: Frame) -> Values | None:
        return self._copied(arguments[0], node, frame) if arguments else None

    def _trace(self, node: cst.Call, arguments: list[Values], frame: Frame) -> Values:
        for thing in arguments[0] if arguments else ():
            self._use(thing, node)
        return self._make(node, frame)

    def _exit(self, node: cst.Call, _arguments: list[Values], frame: Frame) -> Values:
        self._state.live = False
        return self._make(node, frame)

    def _parser(self, node: cst.Call, _arguments: list[Values], frame: Frame) -> Values:
        return self._make(node, frame, Kind.PARSER)

    def _gradients(self, node: cst.Call, arguments: list[Values], frame: Frame) -> Values:
        deps = self._deps(frozenset().union(*arguments))
        self._train(deps, anything=True)
        self._graded = deps
        return self._make(node, frame, deps=deps)

    _FUNCTIONS: ClassVar[dict[str, Callable[..., Values | None]]] = {
        **dict.fromkeys(knowledge.LOAD, _torch_load),
        **dict.fromkeys(knowledge.TEXT_COLLECTIONS, _text_list),
        **dict.fromkeys(knowledge.SAME_ELEMENTS, _same),
        **dict.fromkeys(knowledge.ONE_ELEMENT, _one),
        **dict.fromkeys(knowledge.COPIERS, _copy),
        **dict.fromkeys(knowledge.TRACERS, _trace),
        **dict.fromkeys(knowledge.EXITS, _exit),
        **dict.fromkeys(("torch.autograd.backward", "torch.autograd.grad"), _gradients),
        "builtins.enumerate": _enumerate,
        "builtins.zip": _zip,
        "torch.nn.Module.eval": _module_method,
        "torch.nn.Module.train": _module_method,
        "torch.save": _torch_save,
        "argparse.ArgumentParser": _parser,
    }

    def _called_method(
        self, method: str, node: cst.Call, receivers: Values, arguments: list[Values], frame: Frame
    ) -> Values | None:
        """Call a method by what its name means on modules, optimizers, losses, texts and containers."""
        own = [each for each in receivers if self.defines(each, method)]
        if own and not (method in _MODE_METHODS and all(each.kind is Kind.MODULE for each in own)):
            return None
        handler = self._METHODS.get(method)
        values = handler(self, node, receivers, arguments, frame) if handler is not None else None
        if values is not None:
            return values
        if _gives_itself(method, receivers):
            return receivers
        if method in knowledge.WEIGHT_METHODS or method in _STATE_METHODS:
            return self._weights(node, receivers, frame)
        if method in knowledge.PART_METHODS and not node.args:
            return self._collection(node, frame, self._somewhere_in(receivers), paired=method.startswith("named_"))
        if _all(receivers, Kind.TEXT):
            if method in knowledge.TEXT_METHODS:
                return self._make(node, frame, Kind.TEXT)
            return self._texts(node, frame) if method in knowledge.TEXT_LIST_METHODS else self._make(node, frame)
        if any(each.kind is Kind.COLLECTION for each in receivers):
            return self._container(method, node, receivers, arguments, frame)
        if knowledge.INFERENCE.match(method):
            for each in receivers:
                self._use(each, node)
            return self._make(node, frame, deps=self._deps(receivers | frozenset().union(*arguments)) | receivers)
        return None

    def _weights(self, node: cst.Call, receivers: Values, frame: Frame) -> Values:
        self._modules |= receivers
        deps = self._deps(receivers) | receivers
        if method_of(node) != "state_dict":
            return self._make(node, frame, deps=deps)
        made = self._make(node, frame, Kind.STATE, deps)
        self._keep(node, made, receivers)
        return made

    def _container(
        self, method: str, node: cst.Call, receivers: Values, arguments: list[Values], frame: Frame
    ) -> Values | None:
        if method in {"append", "add", "insert", "extend", "update", "setdefault"} and arguments:
            values = arguments[-1]
            if method in {"extend", "update"}:
                values = self._items(values, node, frame)
            for each in receivers:
                self._state.add_attribute(each, _ITEM, values)
                self._keep_in(each, values)
            return frozenset({_NONE})
        if method in {"values", "copy"}:
            return receivers
        if method == "items":
            return self._collection(node, frame, self._items(receivers, node, frame), paired=True)
        if method in {"get", "pop", "popitem"}:
            key = text_of(node.args[0].value) if node.args else None
            named = [self._state.attribute(each, f"[{key!r}]") for each in receivers] if key else []
            if named and all(named):
                return frozenset().union(*(values for values in named if values))
            return self._items(receivers, node, frame)
        return self._make(node, frame, deps=self._deps(receivers))

    def _load_state(self, node: cst.Call, receivers: Values, arguments: list[Values], frame: Frame) -> Values:
        source = arguments[0] if arguments else _NOTHING
        by_hand = bool(node.args) and isinstance(node.args[0].value, cst.Dict)
        from_live = by_hand or (bool(source) and all(self._is_live(each) for each in source))
        self._clock += 1
        for thing in receivers:
            self._modules.add(thing)
            if thing.kind is Kind.OPTIMIZER:
                self._train(thing.deps)
            if from_live:
                continue
            old = self._modes(thing)
            facts = self._state.facts
            new = frozenset(Mode(mode.training, node, self._clock, self._run, mode.facts | facts) for mode in old)
            self._state.modes[thing] = new if len(receivers) == 1 else old | new
        result = self._make(node, frame)
        self.results |= dict.fromkeys(result, node)
        return result

    def _is_live(self, state: Thing) -> bool:
        """Tell whether a state is that of a module of this program, with nothing merged into it from elsewhere."""
        stored = state in self._updated or any(each.kind is Kind.LOADED for each in state.deps)
        return state.kind is Kind.STATE and not stored

    def _update(self, node: cst.Call, receivers: Values, arguments: list[Values], frame: Frame) -> Values | None:
        states = {each for each in receivers if each.kind is Kind.STATE}
        self._updated |= states
        return self._make(node, frame) if states and arguments else None

    def _eval(self, node: cst.Call, receivers: Values, arguments: list[Values], frame: Frame) -> Values:
        if arguments:  # pandas and friends: a module's eval takes nothing
            return self._make(node, frame)
        self._set_mode(receivers, Training.EVAL)
        return receivers

    def _train_mode(self, node: cst.Call, receivers: Values, arguments: list[Values], frame: Frame) -> Values:
        if not arguments:
            self._set_mode(receivers, Training.TRAIN)
            self._train(receivers)
            return receivers
        mode = dotted(node.args[0].value)
        if mode == "False":
            self._set_mode(receivers, Training.EVAL)
        elif mode == "True":
            self._set_mode(receivers, Training.TRAIN)
            self._train(receivers)
        else:
            given: Values = frozenset().union(*arguments)
            self._set_mode(receivers, Training.UNKNOWN)
            self._train(self._deps(given | receivers))
            self._escape(given)
        return receivers | self._make(node, frame, deps=self._deps(receivers))

    def _backward(self, node: cst.Call, receivers: Values, arguments: list[Values], frame: Frame) -> Values:
        deps = self._deps(receivers | frozenset().union(*arguments))
        self._train(deps, anything=True)
        self._graded = deps
        return self._make(node, frame)

    def _step(self, node: cst.Call, receivers: Values, arguments: list[Values], frame: Frame) -> Values:
        optimizer = any(each.kind is Kind.OPTIMIZER for each in receivers)
        spelled = dotted(node.func) or ""
        named = bool(knowledge.OPTIMIZER_NAMES.search(spelled.rpartition(".")[0]))
        deps = self._deps(receivers | (frozenset().union(*arguments) if named else _NOTHING))
        if optimizer or named:
            self._train(deps, anything=True)
            if method_of(node) == "step":
                self._stepped(deps)
        return self._make(node, frame, deps=deps | self._deps(frozenset().union(*arguments)))

    def _apply_to_parts(
        self, node: cst.Call, receivers: Values, arguments: list[Values], frame: Frame
    ) -> Values | None:
        functions = [each for each in frozenset().union(*arguments) if each.kind is Kind.FUNCTION]
        if functions and len(node.args) == 1 and not _all(receivers, Kind.COLLECTION):
            parts = self._somewhere_in(receivers)
            self._apply(frozenset(functions), _Site(node, frame, receivers, [parts]))
        return None

    def _add_option(self, node: cst.Call, receivers: Values, _arguments: list[Values], frame: Frame) -> Values:
        options = {arg.keyword.value: arg.value for arg in node.args if arg.keyword}
        flags = [flag for arg in node.args if not arg.keyword and (flag := text_of(arg.value))]
        dest = text_of(options["dest"]) if "dest" in options else None
        long = [flag for flag in flags if flag.startswith("--")]
        name = dest or (long or flags or [""])[0].lstrip("-").replace("-", "_")
        kind_of = options.get("type")
        textual = (
            ("type" not in options or (kind_of is not None and self._is_textual(kind_of, frame.scope)))
            and "action" not in options
            and "nargs" not in options
        )
        if "default" in options:
            default = self._value(options["default"], frame)
            textual = textual and all(value.kind in {Kind.TEXT, Kind.NONE} for value in default)
        for parser in receivers:
            if name:
                self._options[parser][name] = self._make(node, frame, Kind.TEXT if textual else Kind.UNKNOWN)
        return self._make(node, frame, tag="action")

    def _parse_options(
        self, node: cst.Call, receivers: Values, _arguments: list[Values], frame: Frame
    ) -> Values | None:
        parsers = [each for each in receivers if each.kind is Kind.PARSER]
        if len(parsers) != 1:
            return None
        (made,) = self._make(node, frame, Kind.OPTIONS)
        made.owner = parsers[0]
        if method_of(node) == "parse_args":
            return frozenset({made})
        (pair,) = self._make(node, frame, Kind.COLLECTION, tag="pair")
        self._state.set_attribute(pair, "[0]", frozenset({made}))
        self._state.set_attribute(pair, "[1]", self._make(node, frame, tag="rest"))
        return frozenset({pair})

    def _option_group(
        self, _node: cst.Call, receivers: Values, _arguments: list[Values], _frame: Frame
    ) -> Values | None:
        return receivers if all(each.kind is Kind.PARSER for each in receivers) else None

    _METHODS: ClassVar[dict[str, Callable[..., Values | None]]] = {
        "load_state_dict": _load_state,
        "update": _update,
        "apply": _apply_to_parts,
        "eval": _eval,
        "train": _train_mode,
        "backward": _backward,
        "manual_backward": _backward,
        "step": _step,
        "zero_grad": _step,
        "add_argument": _add_option,
        "parse_args": _parse_options,
        "parse_known_args": _parse_options,
        "add_argument_group": _option_group,
    }

    # Functions and classes of this file

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
        if isinstance(definition, cst.FunctionDef) and followed and not self._is_generator(definition):
            return self._enter(function, definition, positional, named, (node, definition, frame.number))
        if isinstance(definition, cst.Lambda) and followed:
            return self._enter_lambda(function, definition, positional, named, (node, definition, frame.number))
        everything: Values = frozenset().union(*arguments)
        self._escape(everything | ({function.bound} if function.bound else set()))
        return self._make(node, frame, deps=self._deps(everything))

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
        self._stack.append(definition)
        self._statement(definition.body, inner)
        self._stack.pop()
        values: Values = _NOTHING
        for returned, state in inner.returned:
            values |= returned
            self._state = self._join(self._state, state, since)
        self._state.facts = outside
        if inner.nested:
            self._enter_nested(inner)
        else:
            self._state.variables.pop(inner.number, None)
        return values or frozenset({_NONE})

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
        inner = Frame(self._number(key), self._names.scope(definition), function.frame or self._top, definition)
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
            textual = param.annotation is not None and self._is_textual(param.annotation.annotation, outer.scope)
            if number < len(positional) and number < len(by_position):
                values = positional[number]
            elif name in named:
                values = named[name]
            elif param.default is not None and inner.called:
                values = self._value(param.default, outer)
            else:
                default = self._value(param.default, outer) if param.default is not None else _NOTHING
                unknown = self._make(param, inner, Kind.TEXT if textual else Kind.UNKNOWN)
                for each in unknown:
                    each.birth = Training.GIVEN
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

    def _instance(self, definition: Thing, node: cst.Call, arguments: list[Values], frame: Frame) -> Values:
        """Make an object of a class of this file, and follow its `__init__`."""
        node_of = definition.definition
        if not isinstance(node_of, cst.ClassDef):
            return self._make(node, frame)
        kind = Kind.MODULE if self._is_module(node_of) else Kind.INSTANCE
        (made,) = self._create(node, frame, _Made(kind, Training.DEFAULT, node_of.name.value))
        made.definition = node_of
        made.frame = definition.frame
        init = self._methods(node_of).get("__init__")
        if init is not None:
            bound = Thing(Kind.FUNCTION, definition=init, frame=definition.frame, bound=made)
            self._follow(bound, node, arguments, frame)
        elif kind is Kind.MODULE:
            self._escape(frozenset().union(*arguments))
        return frozenset({made})

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

    def _local_class(self, node: cst.BaseExpression) -> cst.ClassDef | None:
        if not isinstance(node, cst.Name):
            return None
        values = self._state.variable(self._top.number, node.value) or _NOTHING
        found = [each.definition for each in values if isinstance(each.definition, cst.ClassDef)]
        return found[0] if len(found) == 1 else None

    def _is_module(self, definition: cst.ClassDef, depth: int = 8) -> bool:
        """Tell whether a class may be a module: one without bases of unknown origin is none."""
        for base in definition.bases:
            value = base.value.value if isinstance(base.value, cst.Subscript) else base.value
            name = self._names.resolve(value, self._top.scope)
            if name in knowledge.PLAIN_BASES:
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

    # Modes

    def _modes(self, thing: Thing) -> frozenset[Mode]:
        """Give the states that a module may be in here."""
        stored = self._state.modes.get(thing)
        if stored is not None:
            return frozenset(mode for mode in stored if not contradicts(mode, self._state.facts))
        if thing.owner is not None and thing.owner.kind is not Kind.PARSER:
            return self._modes(thing.owner)
        return frozenset({Mode(thing.birth)})

    def _use(self, thing: Thing, node: cst.Call) -> None:
        if self._expecting_error:
            return
        self._clock += 1
        self._modules.add(thing)
        for each in self._reach(frozenset({thing})) if thing.kind is Kind.MODULE else {thing}:
            modes = self._modes(each)
            if any(mode.load for mode in modes):
                self.uses.append(Use(each, node, modes, self._run, self._clock))

    def _set_mode(self, things: Values, training: Training) -> None:
        self._clock += 1
        for thing in things:
            self._modules.add(thing)
            if thing.made_by == _PARTS_OF and thing.owner is not None:  # some of its parts, perhaps all
                self._set_mode(frozenset({thing.owner}), Training.UNKNOWN)
                self.evaluated.add(thing.owner)
            for each in {thing, *self._reach(frozenset({thing})), *self._below(thing)}:
                if training is Training.EVAL:
                    self.evaluated.add(each)
                self._state.modes[each] = frozenset(
                    Mode(training, mode.load, mode.order, mode.run, mode.facts) for mode in self._modes(each)
                )

    def _train(self, things: Iterable[Thing], *, anything: bool = False) -> None:
        """Note that modules are trained; where it is not known which, that something in this run is."""
        self._clock += 1
        followed = [thing for thing in things if thing in self._modules]
        for thing in followed:
            walker: Thing | None = thing
            while walker is not None:
                self.trained[walker] = self._clock
                walker = walker.owner
            for part in self._below(thing):
                self.trained[part] = self._clock
        if anything and not followed:
            self.trained_somewhere[self._run] = self._clock

    def _forget(self, values: Values) -> None:
        """Forget the mode of what unknown code made of an object of the same name, such as `net = prepare(net)`."""
        for thing in values:
            if thing.birth is Training.DEFAULT and thing.definition is None and thing not in self._state.modes:
                thing.birth = Training.UNKNOWN

    def _stepped(self, things: Values) -> None:
        """Note that a training step changed modules: those given, or else those that the last gradients are of."""
        self._clock += 1
        known = [thing for thing in things if thing in self._modules and thing.kind is not Kind.OPTIMIZER]
        for thing in known or [thing for thing in self._graded if thing in self._modules]:
            walker: Thing | None = thing
            while walker is not None:
                self.stepped[walker] = self._clock
                walker = walker.owner
            for part in self._below(thing):
                self.stepped[part] = self._clock

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

    def _use_states(self, values: Values) -> None:
        """Note each state dict that is used after a step has changed the tensors that it shares."""
        if self._state.kept and not self._expecting_error:
            for thing in self._contents(values):
                for keep in self._state.kept.get(thing, ()):
                    if self.stepped.get(keep.source, 0) > keep.order:
                        self.aliased[keep.node] = None

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
        deps: Values = _NOTHING,
        tag: str = "",
    ) -> Values:
        """Give the object that an expression makes, the same one each time it is followed."""
        key = (node, frame.number, kind, tag)
        thing = self._things.get(key)
        if thing is None:
            thing = self._things[key] = Thing(kind, deps=deps)
        elif deps - thing.deps:
            thing.deps = _few(thing.deps | deps)
        return frozenset({thing})

    def _create(self, node: cst.Call, frame: Frame, new: _Made) -> Values:
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
        copies: Values = _NOTHING
        for number, value in enumerate(sorted(values, key=lambda thing: thing.number)):
            (made,) = self._make(node, frame, value.kind, value.deps, tag=str(number))
            made.definition, made.frame, made.made_by = value.definition, value.frame, value.made_by
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
        self._state.set_attribute(made, _ITEM, items)
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
        self._state.set_attribute(made, _ITEM, self._make(node, frame, Kind.TEXT))
        return frozenset({made})

    def _items(self, values: Values, node: cst.CSTNode, frame: Frame) -> Values:
        """Give what iterating over values yields."""
        found: Values = _NOTHING
        for value in values:
            held = self._state.attribute(value, _ITEM)
            found |= held if held is not None else frozenset({self._part(value, _ITEM)})
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
            parts[name] = Thing(Kind.UNKNOWN, thing.birth, deps=_few(thing.deps | {thing}), owner=thing)
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

    def _deps(self, values: Iterable[Thing]) -> Values:
        found: set[Thing] = set()
        for value in values:
            found |= value.deps
            if value.kind not in {Kind.TEXT, Kind.NONE, Kind.REFERENCE}:
                found.add(value)
        return _few(frozenset(found))

    def _is_textual(self, annotation: cst.BaseExpression, scope: Scope) -> bool:
        """Tell whether an annotation, or a tuple of types, admits nothing but strings and paths (and None)."""
        if isinstance(annotation, cst.SimpleString):
            return text_of(annotation) in {"str", "Path", "os.PathLike"}
        if isinstance(annotation, cst.BinaryOperation) and isinstance(annotation.operator, cst.BitOr):
            sides = [side for side in (annotation.left, annotation.right) if dotted(side) != "None"]
            return bool(sides) and all(self._is_textual(side, scope) for side in sides)
        if isinstance(annotation, cst.Tuple):
            return all(self._is_textual(element.value, scope) for element in annotation.elements)
        if isinstance(annotation, cst.Subscript):
            name = self._names.resolve(annotation.value, scope)
            if name in knowledge.TEXT_TYPES:
                return True
            if name not in {"typing.Optional", "typing.Union"}:
                return False
            inner = [part.slice.value for part in annotation.slice if isinstance(part.slice, cst.Index)]
            wanted = [each for each in inner if dotted(each) != "None"]
            return bool(wanted) and all(self._is_textual(each, scope) for each in wanted)
        return self._names.resolve(annotation, scope) in knowledge.TEXT_TYPES

    _EXPRESSIONS: ClassVar[dict[type[cst.CSTNode], Callable[..., Values]]] = {
        cst.Name: _name,
        cst.Attribute: _attribute_of,
        cst.SimpleString: _text,
        cst.FormattedString: _text,
        cst.ConcatenatedString: _text,
        cst.Integer: _number_of,
        cst.BinaryOperation: _binary,
        cst.IfExp: _choice,
        cst.BooleanOperation: _either,
        cst.NamedExpr: _walrus,
        cst.Await: _await,
        cst.Lambda: _lambda,
        cst.Tuple: _sequence,
        cst.List: _sequence,
        cst.Set: _sequence,
        cst.Dict: _dict,
        cst.ListComp: _comprehension,
        cst.SetComp: _comprehension,
        cst.GeneratorExp: _comprehension,
        cst.DictComp: _comprehension,
        cst.Subscript: _subscript,
        cst.Call: _call,
    }


_NONE = Thing(Kind.NONE, constant="None")
_CONSTANTS = {
    "None": _NONE,
    "True": Thing(Kind.UNKNOWN, constant="True"),
    "False": Thing(Kind.UNKNOWN, constant="False"),
}
_NO_MODES: frozenset[Mode] = frozenset()
_SHALLOW = frozenset({"builtins.dict", "collections.OrderedDict", "copy.copy"})
_READS = frozenset({"items", "values", "get", "pop"})
_LOOKS_ONLY = frozenset({"len", "type", "print", "isinstance", "id", "bool"})
_STATE_METHODS = frozenset({"state_dict", "buffers", "named_buffers"})
_MODE_METHODS = frozenset({"eval", "train", *knowledge.RETURNS_SELF})


def _all(values: Values, kind: Kind) -> bool:
    return bool(values) and all(value.kind is kind for value in values)


def _is_rebound(target: cst.CSTNode, value: cst.BaseExpression) -> bool:
    """Tell whether a name is bound to what a function made of it; a class makes something of its own."""
    if not isinstance(target, cst.Name) or not isinstance(value, cst.Call):
        return False
    last = (dotted(value.func) or "").rpartition(".")[2]
    given = {arg.value.value for arg in value.args if isinstance(arg.value, cst.Name)}
    return not last[:1].isupper() and target.value in given


def _gives_itself(method: str, receivers: Values) -> bool:
    """Tell whether a method gives what it is called on: moved at most, or a copy with the same tensors."""
    if method in knowledge.RETURNS_SELF:
        return not _all(receivers, Kind.TEXT)
    return method == "copy" and _all(receivers, Kind.STATE)


def _few(deps: frozenset[Thing]) -> frozenset[Thing]:
    return deps if len(deps) <= _DEPS else frozenset(sorted(deps, key=lambda thing: thing.number)[:_DEPS])


def _merge(
    mine: frozenset[Mode], theirs: frozenset[Mode], facts: frozenset[Fact], otherwise: frozenset[Fact]
) -> frozenset[Mode]:
    """Join the states of two branches; what only one of them has remembers its condition.

    A branch that calls `train()` beside one that calls `eval()` manages the mode on purpose: nothing is known then.
    """
    both = mine | theirs
    chosen = {mode.training for mode in both}
    if {Training.TRAIN, Training.EVAL} <= chosen:
        return frozenset(Mode(Training.UNKNOWN, mode.load, mode.order, mode.run, mode.facts) for mode in both)
    joined = frozenset(
        (mine & theirs)
        | {_where(mode, facts) for mode in mine - theirs}
        | {_where(mode, otherwise) for mode in theirs - mine}
    )
    return joined if len(joined) <= _MODES else frozenset({Mode(Training.UNKNOWN)})


def _where(mode: Mode, facts: frozenset[Fact]) -> Mode:
    if not facts or len(mode.facts) > _FACTS:
        return mode
    return Mode(mode.training, mode.load, mode.order, mode.run, mode.facts | facts)


def _verdict(test: cst.BaseExpression, names: Names, scope: Scope) -> bool | None:
    """Decide conditions that are the same in every run: `__name__ == "__main__"`, `True`, `TYPE_CHECKING`."""
    if isinstance(test, cst.Name) and test.value in {"True", "False"}:
        return test.value == "True"
    if isinstance(test, cst.Integer):
        return test.evaluated_value != 0
    if names.resolve(test, scope) == "typing.TYPE_CHECKING":
        return False
    if isinstance(test, cst.Comparison) and len(test.comparisons) == 1 and dotted(test.left) == "__name__":
        compared = test.comparisons[0]
        if text_of(compared.comparator) == "__main__":
            return isinstance(compared.operator, cst.Equal)
    return None


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


def _union(mine: dict[str, Values], theirs: dict[str, Values]) -> dict[str, Values]:
    if mine is theirs:
        return mine
    joined = dict(mine)
    for name, values in theirs.items():
        known = joined.get(name)
        if known is not values:
            joined[name] = values if known is None else known | values
    return joined


def _index(node: cst.Subscript) -> str:
    """Spell a constant index as an attribute; empty for any other."""
    if len(node.slice) != 1 or not isinstance(node.slice[0].slice, cst.Index):
        return ""
    value = node.slice[0].slice.value
    if isinstance(value, cst.Integer):
        return f"[{value.value}]"
    key = text_of(value)
    return f"[{key!r}]" if key is not None else ""


def _yields(definition: cst.FunctionDef) -> bool:
    return any(isinstance(node, cst.Yield) for node in walk(definition.body))


def _loaded_attributes(method: cst.FunctionDef) -> frozenset[str]:
    """Name the attributes that a method loads something into."""
    calls = [node for node in walk(method.body) if isinstance(node, cst.Call) and method_of(node) == "load_state_dict"]
    receivers = [node.func.value for node in calls if isinstance(node.func, cst.Attribute)]
    return frozenset(node.attr.value for node in receivers if isinstance(node, cst.Attribute))


def _mentioned(function: cst.FunctionDef) -> frozenset[str]:
    """Name everything that the body of a function mentions by a bare name."""
    return frozenset(node.value for node in walk(function.body) if isinstance(node, cst.Name))


def _attributes(method: cst.FunctionDef) -> frozenset[str]:
    """Name every attribute that a method mentions."""
    return frozenset(node.attr.value for node in walk(method.body) if isinstance(node, cst.Attribute))
