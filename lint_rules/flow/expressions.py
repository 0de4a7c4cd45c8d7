"""Expressions: what each may give."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import libcst as cst

from lint_rules import knowledge
from lint_rules.flow.calls import Calls, Site, all_are
from lint_rules.flow.conditions import index_of
from lint_rules.flow.functions import NONE
from lint_rules.flow.machine import ITEM, NOTHING, SOMEWHERE, ExhaustedError
from lint_rules.objects import Frame, Kind, Thing, Values
from lint_rules.tree import children, dotted, method_of, text_of

if TYPE_CHECKING:
    from collections.abc import Callable


_STEPS = 12_000  # expressions in one file; a file that takes more is left alone
_CONSTANTS = {
    "None": NONE,
    "True": Thing(Kind.UNKNOWN, constant="True"),
    "False": Thing(Kind.UNKNOWN, constant="False"),
}


class Expressions(Calls):
    """Follows expressions."""

    def _value(self, node: cst.BaseExpression, frame: Frame) -> Values:
        """Follow an expression and say what it may be; never empty."""
        self._steps += 1
        if self._steps > _STEPS:
            raise ExhaustedError
        handler = self._EXPRESSIONS.get(type(node))
        values: Values = handler(self, node, frame) if handler is not None else self._anything(node, frame)
        return values or self._make(node, frame, tag="nothing")

    def _anything(self, node: cst.CSTNode, frame: Frame) -> Values:
        """Follow what is inside an expression of which nothing else is known."""
        return self._make(node, frame, deps=self._deps(self._inside(node, frame)))

    def _inside(self, node: cst.CSTNode, frame: Frame) -> Values:
        found: Values = NOTHING
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
            self._declare_all(stored, base, name)
            return stored
        if base.kind is Kind.TEXT:
            kind = Kind.TEXT if name in knowledge.TEXT_PROPERTIES else Kind.UNKNOWN
            return self._shared(("text", name), kind)
        if (option := self._option(base, name)) is not None:
            return option
        if base.kind is Kind.REFERENCE:
            return self._reference(f"{base.made_by}.{name}")
        if name == "module" and base in self._modules:
            return frozenset({base})
        field = self._field(base, name)
        if base.definition is not None and isinstance(base.definition, cst.ClassDef):
            method = self._methods(base.definition).get(name)
            if method is not None:
                return self._method(base, method, frame)
            values = self._class_value(base.definition, name)
            if values is not None and not (field is not None and all_are(values, Kind.TEXT)):
                return values
        return frozenset({self._part(base, name)}) if field is None else field

    def _option(self, base: Thing, name: str | None) -> Values | None:
        """Give what the command line says under a name; None where that is not known."""
        return self._options[base.owner].get(name) if base.kind is Kind.OPTIONS and base.owner and name else None

    def _class_value(self, definition: cst.ClassDef, name: str) -> Values | None:
        """Give what a class of this file sets for its instances and nothing sets again."""
        values = self._state.variable(self._top.number, definition.name.value) or NOTHING
        found: Values = frozenset().union(*(self._state.attribute(each, name) or NOTHING for each in values))
        again = name in self._names.assigned_attributes
        return found if found and not again else None

    def _inherited(self, node: cst.Call, frame: Frame) -> Values:
        """Give the method of a base class of this file that `super().method(...)` calls."""
        function = frame.function
        if not isinstance(node.func, cst.Attribute) or not isinstance(node.func.value, cst.Call):
            return NOTHING
        if self._names.resolve(node.func.value.func, frame.scope) != "builtins.super":
            return NOTHING
        if not isinstance(function, cst.FunctionDef) or not function.params.params:
            return NOTHING
        found: Values = NOTHING
        for me in self._state.variable(frame.number, function.params.params[0].name.value) or NOTHING:
            method = self._method_above(me.definition, function, node.func.attr.value)
            if method is not None:
                found |= self._method(me, method, frame)
        return found

    def _method(self, base: Thing, method: cst.FunctionDef, frame: Frame) -> Values:
        marks = {dotted(decorator.decorator) for decorator in method.decorators}
        bound = self._bound_to(base, marks)
        key = ("method", method, bound)
        if key not in self._things:
            self._things[key] = Thing(Kind.FUNCTION, definition=method, frame=base.frame or self._top, bound=bound)
        function = self._things[key]
        if marks & {"property", "cached_property", "functools.cached_property"}:
            return self._enter(function, method, (), {}, ("property", method, frame.number))
        return frozenset({function})

    def _bound_to(self, base: Thing, marks: set[str | None]) -> Thing | None:
        """Say what a method that is read from an object or a class takes as its first argument."""
        if "classmethod" in marks and isinstance(base.definition, cst.ClassDef):
            return self._defined(base.definition, base.frame or self._top, Kind.CLASS)
        return None if base.kind is Kind.CLASS or "staticmethod" in marks else base

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
            (isinstance(node.operator, cst.Add) and (all_are(left, Kind.TEXT) or all_are(right, Kind.TEXT)))
            or (isinstance(node.operator, cst.Divide) and (all_are(left, Kind.TEXT) or all_are(right, Kind.TEXT)))
            or (isinstance(node.operator, cst.Modulo) and all_are(left, Kind.TEXT))
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

    def _yield(self, node: cst.Yield, frame: Frame) -> Values:
        if isinstance(node.value, cst.From):
            frame.yielded |= self._items(self._value(node.value.item, frame), node, frame)
        elif node.value is not None:
            frame.yielded |= self._value(node.value, frame)
        if isinstance(frame.function, cst.FunctionDef) and self._is_resumed(frame.function):
            self._stepped(frozenset(keep.source for keeps in self._state.kept.values() for keep in keeps))
        return self._make(node, frame)

    def _lambda(self, node: cst.Lambda, frame: Frame) -> Values:
        return frozenset({self._defined(node, frame, Kind.FUNCTION)})

    def _sequence(self, node: cst.Tuple | cst.List | cst.Set, frame: Frame) -> Values:
        (made,) = self._make(node, frame, Kind.COLLECTION, tag=self._round)
        everything: Values = NOTHING
        plain = True
        for number, element in enumerate(node.elements):
            values = self._value(element.value, frame)
            if isinstance(element, cst.StarredElement):
                plain = False
                values = self._items(values, element, frame)
            elif plain:
                self._state.set_attribute(made, f"[{number}]", values)
            everything |= values
        self._state.set_attribute(made, ITEM, everything)
        return frozenset({made})

    def _dict(self, node: cst.Dict, frame: Frame) -> Values:
        (made,) = self._make(node, frame, Kind.COLLECTION, tag=self._round)
        everything: Values = NOTHING
        for element in node.elements:
            values = self._value(element.value, frame)
            if isinstance(element, cst.DictElement):
                self._value(element.key, frame)
                key = text_of(element.key)
                if key is not None:
                    self._state.set_attribute(made, f"[{key!r}]", values)
            else:
                self._keep_in(made, values)
                values = self._items(values, element, frame)
            everything |= values
        self._state.set_attribute(made, ITEM, everything)
        return frozenset({made})

    def _comprehension(self, node: cst.BaseSimpleComp | cst.DictComp, frame: Frame) -> Values:
        inner = Frame(self._number(("comprehension", node, frame.number)), self._names.scope(node), frame)
        clause: cst.CompFor | None = node.for_in
        where = frame
        repeated = 0
        while clause is not None:
            items = self._items(self._value(clause.iter, where), clause, frame)
            where = inner
            repeated += self._counts(clause.iter, frame)
            self._assign(clause.target, items, inner)
            for test in clause.ifs:
                self._value(test.test, inner)
            clause = clause.inner_for_in
        element = node.value if isinstance(node, cst.DictComp) else node.elt
        self._sampling += repeated
        values = self._value(element, inner)
        self._sampling -= repeated
        (made,) = self._make(node, frame, Kind.COLLECTION, tag=self._round)
        self._state.set_attribute(made, ITEM, values)
        if (shared := _shallow(node)) is not None:
            self._keep_in(made, self._value(shared, frame))
        return frozenset({made})

    def _subscript(self, node: cst.Subscript, frame: Frame) -> Values:
        name = self._names.resolve(node.value, frame.scope)
        bases = self._value(node.value, frame)
        self._inside(node.slice[0], frame)
        if name in knowledge.TEXT_COLLECTIONS and isinstance(node.slice[0].slice, cst.Slice):
            return self._texts(node, frame)
        if name in knowledge.TEXT_COLLECTIONS or name == "os.environ":
            return self._make(node, frame, Kind.TEXT)
        found: Values = NOTHING
        index = index_of(node)
        key = text_of(node.slice[0].slice.value) if isinstance(node.slice[0].slice, cst.Index) else None
        for base in bases:
            exact = self._state.attribute(base, index) if index else None
            if exact is None:
                exact = self._option(base, key)
            if exact is not None:
                found |= exact
            elif base.kind is Kind.TEXT:
                found |= self._make(node, frame, Kind.TEXT)
            elif isinstance(node.slice[0].slice, cst.Slice) and base.kind is Kind.COLLECTION:
                found |= {base}
            elif (held := self._state.attribute(base, ITEM)) is not None and not (index and self._has_more(base)):
                found |= held
                if not index and base.kind is not Kind.COLLECTION and all_are(held, Kind.TEXT):
                    found |= frozenset({self._part(base, ITEM)})  # what it held before may be something else
            else:
                found |= frozenset({self._part(base, index or ITEM)})
        written = index and all(self._state.attribute(base, index) is not None for base in bases)
        self._use_states(found if written else bases)
        return found

    def _has_more(self, base: Thing) -> bool:
        """Tell whether something made elsewhere was given entries under written keys only, besides what it held."""
        return base.kind in {Kind.UNKNOWN, Kind.LOADED} and self._state.attribute(base, SOMEWHERE) is None

    def _call(self, node: cst.Call, frame: Frame) -> Values:
        name = self._names.resolve(node.func, frame.scope)
        receivers: Values = NOTHING
        method = method_of(node) if name is None else None
        if isinstance(node.func, cst.Attribute):
            receivers = self._value(node.func.value, frame)
        arguments = [self._value(arg.value, frame) for arg in node.args]
        self._record(node, frame, receivers, arguments)
        if above := self._inherited(node, frame):
            return self._apply(above, Site(node, frame, receivers, arguments))
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
        return self._apply(functions, Site(node, frame, receivers, arguments))

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
        cst.Yield: _yield,
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


def _shallow(node: cst.BaseSimpleComp | cst.DictComp) -> cst.BaseExpression | None:
    """Give the dict whose values a comprehension puts into a new one as they are; None if it does anything else."""
    if not isinstance(node, cst.DictComp) or node.for_in.inner_for_in is not None:
        return None
    items, target = node.for_in.iter, node.for_in.target
    if not isinstance(items, cst.Call) or method_of(items) != "items" or not isinstance(target, cst.Tuple):
        return None
    value = dotted(target.elements[-1].value)
    kept = value is not None and dotted(node.value) in {value, f"{value}.data"}
    return items.func.value if kept and isinstance(items.func, cst.Attribute) else None
