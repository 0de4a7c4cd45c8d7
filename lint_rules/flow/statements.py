"""Statements: what each does, in order."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import libcst as cst

from lint_rules import knowledge
from lint_rules.flow.calls import all_are
from lint_rules.flow.conditions import union
from lint_rules.flow.expressions import Expressions
from lint_rules.flow.machine import NOTHING
from lint_rules.objects import Frame, Kind, State, Thing, Values
from lint_rules.tree import children, dotted, text_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from lint_rules.names import Names, Scope

_ROUNDS = 2  # how often the body of a loop is followed, and how deep loops may be nested for that


class Statements(Expressions):
    """Follows statements."""

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
        self._dropped = node.value
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
        text = all_are(old, Kind.TEXT)
        weights = frozenset(each for each in old if not self._weights_of.isdisjoint(each.wholes()))
        if weights:  # such as `weight.data += noise`, or a step that is written out
            self._stepped(self._deps(weights))
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
            known = self._name(name, frame) if isinstance(name, cst.Name) else NOTHING
            if all_are(known, Kind.FUNCTION):
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
        values = self._value(node.value, frame) if node.value else NOTHING
        self._use_states(values)
        frame.returned.append((values, self._state.copy()))
        self._state.live = False

    def _raise(self, node: cst.Raise, frame: Frame) -> None:
        if node.exc is not None:
            self._value(node.exc, frame)
        self._state.live = False

    def _leave_loop(self, node: cst.Break | cst.Continue, frame: Frame) -> None:
        if frame.loops:
            frame.loops[-1].append((isinstance(node, cst.Break), self._state.copy()))
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
        counts = self._counts(node.iter, frame)
        self._sampling += counts
        self._loop(node, frame, lambda: self._assign(node.target, items, frame))
        self._sampling -= counts

    def _while(self, node: cst.While, frame: Frame) -> None:
        self._loop(node, frame, lambda: self._value(node.test, frame))

    def _loop(self, node: cst.For | cst.While, frame: Frame, head: Callable[[], object]) -> None:
        """Follow a loop that runs at least once: what it does to modes has happened afterwards."""
        before, since = self._state.copy(), self._clock
        left: list[tuple[bool, State]] = []
        self._looping += 1
        outer = self._round
        for number in range(_ROUNDS if self._looping <= _ROUNDS else 1):
            self._round = f"{outer}.{number}"
            frame.loops.append([])
            head()
            self._statement(node.body, frame)
            left += frame.loops.pop()
            if not self._state.live:
                break
        self._round = outer
        self._looping -= 1
        breaks = [state for is_break, state in left if is_break and node.orelse is not None]
        for is_break, state in left:
            if not is_break or node.orelse is None:
                self._state = self._join(self._state, state, since)
        if self._state.live:
            for number, names in before.variables.items():
                self._state.variables[number] = union(self._state.variables.get(number, {}), names)
        elif isinstance(node, cst.For) and any(state.live for _, state in left):
            self._state.live = True
        self._state.facts = before.facts
        if node.orelse is not None:
            self._statement(node.orelse, frame)
            for state in breaks:
                self._state = self._join(self._state, state, since)
            self._state.facts = before.facts

    def _with(self, node: cst.With, frame: Frame) -> None:
        expected = ungraded = 0
        for item in node.items:
            values = self._value(item.item, frame)
            name = dotted(item.item.func) if isinstance(item.item, cst.Call) else None
            expected += bool(name and knowledge.EXPECTS_ERROR.search(name))
            ungraded += self._stops_gradients(item.item, frame)
            if item.asname is not None:
                self._assign(item.asname.name, values, frame)
        self._expecting_error += bool(expected)
        self._without_gradients += ungraded
        self._statement(node.body, frame)
        self._without_gradients -= ungraded
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
        subject = self._value(node.subject, frame)
        before, since = self._state, self._clock
        result = before.copy()
        for case in node.cases:
            self._state = before.copy()
            self._capture(case.pattern, subject, frame)
            self._statement(case.body, frame)
            result = self._join(result, self._state, since)
        self._state = result

    def _capture(self, pattern: cst.MatchPattern, values: Values, frame: Frame) -> None:
        """Bind the names of a pattern to what they match: all of it, or its elements."""
        if isinstance(pattern, cst.MatchAs):
            if pattern.name is not None:
                self._assign(pattern.name, values, frame)
            if pattern.pattern is not None:
                self._capture(pattern.pattern, values, frame)
        elif isinstance(pattern, cst.MatchSequence):
            for element in pattern.patterns:
                if isinstance(element, cst.MatchSequenceElement):
                    self._capture(element.value, self._items(values, element, frame), frame)

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


def _is_rebound(target: cst.CSTNode, value: cst.BaseExpression) -> bool:
    """Tell whether a name is bound to what a function made of it; a class makes something of its own."""
    if not isinstance(target, cst.Name) or not isinstance(value, cst.Call):
        return False
    last = (dotted(value.func) or "").rpartition(".")[2]
    given = {arg.value.value for arg in value.args if isinstance(arg.value, cst.Name)}
    return not last[:1].isupper() and target.value in given


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
