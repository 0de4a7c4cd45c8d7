"""Conditions and paths: what a test says, what a path knows by it, and what is left when paths meet again."""

from __future__ import annotations

import re
from itertools import chain

import libcst as cst

from lint_rules import knowledge
from lint_rules.flow.machine import ITEM, NOTHING, SOMEWHERE, Machine
from lint_rules.objects import Fact, Frame, Kind, Mode, State, Thing, Training, Values, contradicts
from lint_rules.tree import method_of, text_of

_FACT_LENGTH = 100  # characters of a condition that is remembered
_FACTS = 6  # conditions that one state remembers
_MODES = 12  # states that one module may be in; where there are more, nothing is concluded
_ASKS_MODE = re.compile(r"(?i)(^|[\W_])(train(ing)?|eval(uate|uation)?|test(ing)?|inference|phase|mode)([\W_]|$)")
_NO_MODES: frozenset[Mode] = frozenset()


class Conditions(Machine):
    """Learns from conditions, binds names, joins paths."""

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
                old = self._attribute(base, target.attr.value, frame) if len(bases) > 1 else NOTHING
                self._state.set_attribute(base, target.attr.value, values | old)
                if base.kind is Kind.MODULE:
                    self.held |= self._reach(values)
            if target.attr.value == "training":
                self._set_mode(bases, Training.UNKNOWN)
        elif isinstance(target, (cst.Tuple, cst.List)):
            self._unpack(target, values, frame)
        elif isinstance(target, cst.Subscript):
            for base in self._value(target.value, frame):
                self._state.add_attribute(base, ITEM, values)
                if index := index_of(target):
                    self._drop_from(base, self._state.attribute(base, index) or NOTHING)
                    self._state.set_attribute(base, index, values)
                else:
                    self._state.add_attribute(base, SOMEWHERE, values)
                self._keep_in(base, values)
                self._merge_into(base, values)
        elif isinstance(target, cst.StarredElement):
            self._assign(target.value, self._make(target, frame, deps=self._deps(values)), frame)

    def _unpack(self, target: cst.Tuple | cst.List, values: Values, frame: Frame) -> None:
        starred = any(isinstance(element, cst.StarredElement) for element in target.elements)
        for number, element in enumerate(target.elements):
            name = ITEM if starred else f"[{number}]"
            parts = [self._element(value, name, number) for value in values]
            found: Values = frozenset(chain.from_iterable(parts)) or self._items(values, element, frame)
            self._assign(element if isinstance(element, cst.StarredElement) else element.value, found, frame)

    def _element(self, value: Thing, name: str, number: int) -> Values:
        """Give one of the elements that something is taken apart into; of nothing known, each is another object."""
        for known in (f"[{number}]", ITEM):
            held = self._state.attribute(value, known)
            if held is not None:
                return held
        return frozenset({self._part(value, name)})

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
            one.variables[number] = union(one.variables.get(number, {}), names)
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
        joined = union(mine, theirs)
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
        """Learn from a condition whether a variable is a path, or a module is in evaluation mode."""
        if isinstance(test, cst.UnaryOperation) and isinstance(test.operator, cst.Not):
            self._narrow(test.expression, frame, holds=not holds)
        elif isinstance(test, cst.BooleanOperation):
            if isinstance(test.operator, cst.And) == holds:
                self._narrow(test.left, frame, holds=holds)
                self._narrow(test.right, frame, holds=holds)
        elif isinstance(test, cst.Attribute) and test.attr.value == "training" and not holds:
            self._set_mode(self._value(test.value, frame), Training.EVAL)
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


def _merge(
    mine: frozenset[Mode], theirs: frozenset[Mode], facts: frozenset[Fact], otherwise: frozenset[Fact]
) -> frozenset[Mode]:
    """Join the states of two branches; what only one of them has remembers its condition.

    A branch that calls `train()` beside one that calls `eval()` manages the mode on purpose: nothing is known then.
    So does a condition that asks for the mode.
    """
    both = mine | theirs
    chosen = {mode.training for mode in both}
    asked = Training.EVAL in chosen and any(_ASKS_MODE.search(subject) for subject, _, _ in facts | otherwise)
    if asked or {Training.TRAIN, Training.EVAL} <= chosen:
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


def union(mine: dict[str, Values], theirs: dict[str, Values]) -> dict[str, Values]:
    """Join what names stand for on two paths."""
    if mine is theirs:
        return mine
    joined = dict(mine)
    for name, values in theirs.items():
        known = joined.get(name)
        if known is not values:
            joined[name] = values if known is None else known | values
    return joined


def index_of(node: cst.Subscript) -> str:
    """Spell a constant index as an attribute; empty for any other."""
    if len(node.slice) != 1 or not isinstance(node.slice[0].slice, cst.Index):
        return ""
    value = node.slice[0].slice.value
    if isinstance(value, cst.Integer):
        return f"[{value.value}]"
    key = text_of(value)
    return f"[{key!r}]" if key is not None else ""
