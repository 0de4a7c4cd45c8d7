"""Where the interpreter starts: the module from top to bottom, then what that did not reach."""

from __future__ import annotations

from typing import TYPE_CHECKING

import libcst as cst

from lint_rules.flow.machine import ExhaustedError
from lint_rules.flow.statements import Statements
from lint_rules.objects import Kind, State, Thing, Training, Values
from lint_rules.tree import children, dotted, method_of, walk

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from lint_rules.names import Names

_LOADERS = 3  # methods of one class that load, after each of which the others are followed


class Flow(Statements):
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
        saved: For each call of `torch.save`, what the containers that it saves hold.
        copies: For each copy, what it was copied from.
        given_out: What functions give to callers outside the file.
        held: Objects kept as attributes of a module of this file, whose own eval() reaches them.
        teaches: Whether anything in the file trains a module, beyond putting it into training mode.
        pickles_evaluated: Whether a whole module is saved in another mode than it was made in: loading gives that back.
        synchronised: Modules that were given the state of another module of the program.
        complete: Whether the whole file was followed; if not, nothing should be concluded from what is missing.
    """

    def __init__(self, tree: cst.Module, names: Names) -> None:
        """Follow everything in a file."""
        super().__init__(tree, names)
        try:
            self._run_everything()
        except (ExhaustedError, RecursionError):
            self.complete = False

    def _run_everything(self) -> None:
        self._block(self._tree.body, self._top)
        after = self._state
        after.live = True
        after.facts = frozenset()
        definitions = list(self._definitions(self._tree.body, None))
        functions = [node for node, owner in definitions if isinstance(node, cst.FunctionDef) and owner is None]
        classes = [node for node, _ in definitions if isinstance(node, cst.ClassDef)]
        self._run_functions([function for function in functions if function not in self._entered], after)
        for each in classes:
            self._run_class(each, after)
        for function in tuple(self._things.values()):
            definition = function.definition
            if isinstance(definition, cst.Lambda) and definition not in self._entered and function.frame is self._top:
                self._start(after)
                self._enter_lambda(function, definition, (), {}, ("alone", definition))

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

    def _run_functions(self, left: Sequence[cst.FunctionDef], after: State) -> None:
        """Run the functions that nothing has called: each by itself, and after each that loads for the others."""
        called = {node.func.value for node, _ in self._names.calls if isinstance(node.func, cst.Name)}
        loaded: list[tuple[cst.FunctionDef, State, frozenset[str]]] = []
        for function in sorted(left, key=lambda node: node.name.value in called):
            if function not in self._entered:
                self._start(after)
                self._enter_alone(function, None)
                names = self._loaded_names(self._state.variables.get(self._top.number, {}))
                if names:
                    self._state.live = True
                    loaded.append((function, self._state, names))
        for loader, state, names in loaded[:_LOADERS]:
            for function in left:
                if function is not loader and names & _mentioned(function):
                    self._start(state)
                    self._enter_alone(function, None)

    def _loaded_names(self, variables: Mapping[str, Values]) -> frozenset[str]:
        """Name the variables or attributes through which something can be reached that this run has loaded."""
        new = {thing for thing, modes in self._state.modes.items() if any(m.load and m.run == self._run for m in modes)}
        return (
            frozenset(name for name, values in variables.items() if new & self._reach(values)) if new else frozenset()
        )

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
        loaded: list[tuple[cst.FunctionDef, State, frozenset[str]]] = []
        called = frozenset().union(*(_attributes(method) for method in left))
        for method in sorted(left, key=lambda each: each.name.value in called):
            if method in self._entered and not (kind is Kind.INSTANCE and _loads(method)):
                continue
            self._start(built)
            self._enter_alone(method, me)
            attributes = self._loaded_names(self._state.attributes.get(me, {}))
            if kind is Kind.INSTANCE and attributes:
                self._state.live = True
                loaded.append((method, self._state, attributes))
        for loader, state, attributes in loaded[:_LOADERS]:
            for method in left:
                if method is not loader and attributes & _attributes(method):
                    self._start(state)
                    self._enter_alone(method, me)

    def _enter_alone(self, function: cst.FunctionDef, me: Thing | None) -> None:
        """Run a function as a caller outside the file would, with arguments of which nothing is known."""
        marks = {dotted(decorator.decorator) for decorator in function.decorators}
        bound = self._bound_to(me, marks) if me is not None else None
        owner = Thing(Kind.FUNCTION, definition=function, frame=self._top, bound=bound)
        self.given_out |= self._enter(owner, function, (), {}, ("alone", function))


def _loads(method: cst.FunctionDef) -> bool:
    """Tell whether a method loads a state."""
    return any(isinstance(node, cst.Call) and method_of(node) == "load_state_dict" for node in walk(method.body))


def _mentioned(function: cst.FunctionDef) -> frozenset[str]:
    """Name everything that the body of a function mentions by a bare name."""
    return frozenset(node.value for node in walk(function.body) if isinstance(node, cst.Name))


def _attributes(method: cst.FunctionDef) -> frozenset[str]:
    """Name every attribute that a method mentions."""
    return frozenset(node.attr.value for node in walk(method.body) if isinstance(node, cst.Attribute))
