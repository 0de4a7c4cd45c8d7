"""Calls: what is known of a function by its dotted name, and of a method by what it is called on."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import libcst as cst

from lint_rules import knowledge
from lint_rules.flow.functions import NONE, Functions
from lint_rules.flow.machine import ITEM, NOTHING, Made
from lint_rules.objects import Frame, Kind, Mode, Thing, Training, Values
from lint_rules.tree import dotted, method_of, text_of

if TYPE_CHECKING:
    from collections.abc import Callable


_SHALLOW = frozenset({"builtins.dict", "collections.OrderedDict", "copy.copy"})
_NO_MODULES = re.compile(r"Parameter$|Buffer$|\.utils\.")  # classes of torch.nn whose instances are none
_PREPARES = re.compile(r"(accelerator|fabric)$", re.IGNORECASE)
_STATE_METHODS = frozenset({"state_dict", "buffers", "named_buffers"})
_MODE_METHODS = frozenset({"eval", "train", *knowledge.RETURNS_SELF})


@dataclass(frozen=True, slots=True)
class Site:
    """One call as it is being followed."""

    node: cst.Call
    frame: Frame
    receivers: Values
    arguments: list[Values]

    @property
    def given(self) -> Values:
        """Everything that is passed."""
        return frozenset().union(*self.arguments)


class Calls(Functions):
    """Follows calls, into this file or by the tables of `lint_rules.knowledge`."""

    def _apply(self, functions: Values, site: Site) -> Values:
        """Call what was found to be called."""
        results: Values = NOTHING
        for function in sorted(functions, key=lambda each: (each.kind is not Kind.MODULE, each.number)):
            definition = function.definition
            if function.kind is Kind.FUNCTION and isinstance(definition, (cst.FunctionDef, cst.Lambda)):
                results |= self._follow(function, site.node, site.arguments, site.frame)
            elif function.kind is Kind.CLASS and isinstance(definition, cst.ClassDef):
                results |= self._instance(function, site.node, site.arguments, site.frame)
            elif function.kind is Kind.INSTANCE and self.defines(function, "__call__"):
                results |= self._apply(self._attribute(function, "__call__", site.frame), site)
            else:
                results |= self._unknown_call(function, site)
        return results

    def _unknown_call(self, function: Thing, site: Site) -> Values:
        """Call something outside the file: a module runs, anything else may do what it likes with its arguments."""
        imported = function.kind is Kind.REFERENCE
        name = function.made_by if imported else (dotted(site.node.func) or "")
        last = name.rpartition(".")[2]
        given = site.given
        if not self._expecting_error:
            self.called.add(function)
        if last in knowledge.UNWRAPPERS and site.arguments and any(map(self._is_followed, site.arguments[0])):
            return site.arguments[0]
        layer = function.kind is Kind.MODULE or self._is_followed(function)
        if not imported and (layer or not isinstance(site.node.func, cst.Attribute)):
            self._use(function, site.node)
            self._use_all(self._runs_part(function, site.receivers), site.node)
        if knowledge.TRAINERS.search(last if imported else name):
            self._train(self._deps(given | {function} | ({function.owner} if function.owner else set())))
            if knowledge.TRAINERS.search(last) and not last[:1].isupper():  # a trainer is made, and trains later
                objects = frozenset(thing for thing in given if thing.kind is not Kind.STATE)
                self._stepped(self._deps(objects | ({function.owner} if function.owner else set())))
        if function.owner is not None and self._is_followed(function.owner) and any(map(self._is_followed, given)):
            self.synchronised.add(function.owner)  # such as `average.update(net)`
        if not self._neutral(name):
            self._escape(given)
            self._fill_from_states(given)
        if function.owner is not None and function.owner.kind is Kind.INSTANCE:  # by a base class elsewhere
            self._escape(site.receivers & {function.owner})
        modules = any(self._is_followed(thing) for thing in self._reach(given))
        birth = Training.DEFAULT
        if knowledge.EVALUATED.search(name) or (modules and not last[:1].isupper()):
            birth = Training.UNKNOWN
        kind = Kind.OPTIMIZER if knowledge.OPTIMIZERS.search(name) else Kind.UNKNOWN
        deps = self._computed(given | site.receivers | {function})
        return self._create(site.node, site.frame, Made(kind, birth, name, deps))

    def _fill_from_states(self, given: Values) -> None:
        """Note that code outside the file may write into the containers it is given what it is given of states."""
        states = frozenset(thing for thing in given if thing.kind is Kind.STATE)
        for each in given:
            if each.kind is Kind.COLLECTION:
                each.deps |= states

    def _runs_part(self, function: Thing, receivers: Values) -> Values:
        """Give the modules of this file one layer of which is run, unless that layer's mode was chosen by itself."""
        chosen = function.owner is not None or any(
            mode.training is not Training.DEFAULT for mode in self._modes(function)
        )
        return NOTHING if chosen else frozenset(each for each in receivers if each.kind is Kind.MODULE)

    def _neutral(self, name: str) -> bool:
        return bool(knowledge.NEUTRAL.match(name)) and not knowledge.MODE_KEEPERS_EXCEPT.match(name)

    def _known(self, name: str, node: cst.Call, arguments: list[Values], frame: Frame) -> Values | None:
        """Call something imported that the tables know; None if they do not."""
        if name in _SHALLOW and len(arguments) == 1 and all_are(arguments[0], Kind.STATE):
            return arguments[0]
        handler = self._FUNCTIONS.get(name)
        if handler is not None:
            return handler(self, node, arguments, frame)
        if name in knowledge.TEXT:
            return self._make(node, frame, Kind.TEXT)
        if knowledge.WRAPPERS.match(name) and arguments:
            self._modules |= arguments[0]
            return arguments[0]
        if name.startswith("torch.nn.") and name.rpartition(".")[2][:1].isupper() and not _NO_MODULES.search(name):
            (made,) = self._create(node, frame, Made(Kind.MODULE, Training.DEFAULT, name))
            self._state.set_attribute(made, ITEM, frozenset().union(*arguments))
            return frozenset({made})
        return None

    def _torch_load(self, node: cst.Call, _arguments: list[Values], frame: Frame) -> Values:
        self._clock += 1
        (made,) = self._make(node, frame, Kind.LOADED)
        made.made_by = "torch.load"
        made.born = self._clock
        mode = Mode(Training.DEFAULT, node, self._clock, self._run, self._state.facts)
        self._state.modes[made] = frozenset({mode})
        return frozenset({made})

    def _torch_save(self, node: cst.Call, arguments: list[Values], frame: Frame) -> Values:
        """Note whether a whole module is saved in another mode than it was made in: loading gives that mode back."""
        given = arguments[0] if arguments else NOTHING
        self.saved.setdefault(node, set()).update(self._contents(given) - given)
        modules = [thing for thing in given if thing in self._modules]
        if any(mode.training is not Training.DEFAULT for thing in modules for mode in self._modes(thing)):
            self.pickles_evaluated = True
        return self._make(node, frame)

    def _text_list(self, node: cst.Call, _arguments: list[Values], frame: Frame) -> Values:
        return self._texts(node, frame)

    def _same(self, node: cst.Call, arguments: list[Values], frame: Frame) -> Values:
        return arguments[0] if arguments else self._make(node, frame, Kind.COLLECTION)

    def _one(self, node: cst.Call, arguments: list[Values], frame: Frame) -> Values | None:
        positional = [arg for arg in node.args if not arg.keyword]
        return self._items(arguments[0], node, frame) if len(positional) == 1 else None

    def _map(self, node: cst.Call, arguments: list[Values], _frame: Frame) -> None:
        """Run a module on each of several inputs; any other function is left to what is known of `map`."""
        for thing in arguments[0] if arguments else ():
            if self._is_followed(thing):
                self._use(thing, node)

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
        self._set_mode(arguments[0] if arguments else NOTHING, Training.EVAL if is_eval else Training.UNKNOWN)
        return arguments[0] if arguments else self._make(node, frame)

    def _copy(self, node: cst.Call, arguments: list[Values], frame: Frame) -> Values | None:
        return self._copied(arguments[0], node, frame) if arguments else None

    def _trace(self, node: cst.Call, arguments: list[Values], frame: Frame) -> Values:
        self._use_all(arguments[0] if arguments else NOTHING, node)
        return self._make(node, frame)

    def _exit(self, node: cst.Call, _arguments: list[Values], frame: Frame) -> Values:
        self._state.live = False
        return self._make(node, frame)

    def _parser(self, node: cst.Call, _arguments: list[Values], frame: Frame) -> Values:
        return self._make(node, frame, Kind.PARSER)

    def _keywords(self, node: cst.Call, arguments: list[Values], frame: Frame) -> Values | None:
        """Make a dict of keywords."""
        if any(arg.keyword is None for arg in node.args):
            return None
        (made,) = self._make(node, frame, Kind.COLLECTION, tag=self._round)
        for arg, values in zip(node.args, arguments, strict=True):
            if arg.keyword is not None:
                self._state.set_attribute(made, f"[{arg.keyword.value!r}]", values)
        self._state.set_attribute(made, ITEM, frozenset().union(*arguments))
        return frozenset({made})

    def _vars(self, _node: cst.Call, arguments: list[Values], _frame: Frame) -> Values | None:
        """Give the options of the command line again, now read by `args["name"]`."""
        return arguments[0] if arguments and all_are(arguments[0], Kind.OPTIONS) else None

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
        "builtins.dict": _keywords,
        "builtins.enumerate": _enumerate,
        "builtins.map": _map,
        "builtins.vars": _vars,
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
            if method == "forward":
                self._use_all(receivers, node)
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
        if all_are(receivers, Kind.TEXT):
            if method in knowledge.TEXT_METHODS:
                return self._make(node, frame, Kind.TEXT)
            if method in knowledge.TEXT_LIST_METHODS:
                return self._texts(node, frame)
            (made,) = self._make(node, frame)
            made.made_by = method
            return frozenset({made})
        if any(each.kind is Kind.COLLECTION for each in receivers):
            return self._container(method, node, receivers, arguments, frame)
        if knowledge.INFERENCE.match(method):
            proves = knowledge.FORWARD.match(method)  # what is loaded whole may be a tokenizer or a graph, too
            self._use_all(frozenset(each for each in receivers if proves or not self._is_loaded(each)), node)
            return self._make(node, frame, deps=self._computed(frozenset().union(receivers, *arguments)))
        return None

    def _is_loaded(self, thing: Thing) -> bool:
        """Tell whether an object, or what it is a part of, is whatever `torch.load` gave."""
        return thing not in self._modules and any(each.kind is Kind.LOADED for each in thing.wholes())

    def _weights(self, node: cst.Call, receivers: Values, frame: Frame) -> Values:
        self._modules |= receivers
        self._asked |= receivers
        deps = self._deps(receivers) | receivers
        if method_of(node) != "state_dict":
            weights = self._make(node, frame, deps=deps)
            self._weights_of |= weights
            return weights
        made = self._make(node, frame, Kind.STATE, deps, tag=self._round)
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
                self._state.add_attribute(each, ITEM, values)
                self._keep_in(each, values)
            return frozenset({NONE})
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
        source = arguments[0] if arguments else NOTHING
        written = node.args[0].value if node.args else None
        by_hand = isinstance(written, cst.Dict) and all(isinstance(each, cst.DictElement) for each in written.elements)
        copied = bool(source) and all(self._is_live(each, receivers) for each in source)
        from_live = by_hand or copied or _passes_on(frame)
        self._restore(source, receivers)
        self._clock += 1
        for thing in receivers:
            self._modules.add(thing)
            if thing.kind is Kind.OPTIMIZER:
                self._train(thing.deps)
            if copied and not any(thing in each.deps for each in source):
                self.synchronised.add(thing)
            if from_live:
                continue
            old = self._modes(thing)
            facts = self._state.facts
            new = frozenset(Mode(mode.training, node, self._clock, self._run, mode.facts | facts) for mode in old)
            self._state.modes[thing] = new if len(receivers) == 1 else old | new
        result = self._make(node, frame)
        self.results |= dict.fromkeys(result, node)
        return result

    def _is_live(self, state: Thing, receivers: Values) -> bool:
        """Tell whether a state is that of a module of this program, with nothing merged into it from elsewhere."""
        if state in self._updated or any(each.kind is Kind.LOADED for each in state.deps):
            return False
        return state.kind is Kind.STATE or self._is_made_of_state(state) or self._is_converted(state, receivers)

    def _is_converted(self, state: Thing, receivers: Values) -> bool:
        """Tell whether all of a state was computed from that of another module, whatever else went into it."""
        entries = [each for each in self._contents(frozenset({state})) if each.kind is not Kind.COLLECTION] or [state]
        sources = [{each for each in entry.deps if each.kind is Kind.STATE} for entry in entries]
        loaded = any(each.kind is Kind.LOADED for entry in entries for each in entry.deps)
        return all(sources) and not loaded and not any(each.deps & receivers for each in set().union(*sources))

    def _is_made_of_state(self, value: Thing) -> bool:
        """Tell whether everything that a value was computed from is the state of modules of this program."""
        inside = self._contents(frozenset({value}) | value.deps) - {value}
        everything: set[Thing] = inside.union(*(each.deps for each in inside))
        states = {each for each in everything if each.kind is Kind.STATE}
        sources: Values = frozenset().union(*(each.deps for each in states))
        return bool(states) and all(
            each in states or each in sources or (each not in self._updated and not states.isdisjoint(each.deps))
            for each in everything
            if each.kind not in {Kind.TEXT, Kind.COLLECTION} and not each.constant
        )

    def _update(self, node: cst.Call, receivers: Values, arguments: list[Values], frame: Frame) -> Values | None:
        states = {each for each in receivers if each.kind is Kind.STATE}
        for state in states:
            self._merge_into(state, frozenset().union(*arguments))
        return self._make(node, frame) if states and arguments else None

    def _eval(self, node: cst.Call, receivers: Values, arguments: list[Values], frame: Frame) -> Values:
        if arguments:  # pandas and friends, or a module's own eval, whatever it does: torch's takes nothing
            self._set_mode(receivers & self._modules, Training.UNKNOWN)
            return self._make(node, frame)
        self._set_mode(receivers, Training.EVAL)
        return receivers

    def _train_mode(self, node: cst.Call, receivers: Values, arguments: list[Values], frame: Frame) -> Values:
        if not arguments:
            self._set_mode(receivers, Training.TRAIN)
            self._train(receivers, learns=False)
            return receivers
        mode = dotted(node.args[0].value)
        if mode == "False":
            self._set_mode(receivers, Training.EVAL)
        elif mode == "True":
            self._set_mode(receivers, Training.TRAIN)
            self._train(receivers, learns=False)
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
        deps = self._deps(receivers | (frozenset().union(*arguments) if named else NOTHING))
        if optimizer or named:
            self._train(deps, anything=True)
            if method_of(node) == "step":
                self._stepped(deps - receivers)
        return self._make(node, frame, deps=deps | self._deps(frozenset().union(*arguments)))

    def _change(self, _node: cst.Call, receivers: Values, _arguments: list[Values], _frame: Frame) -> None:
        """Change tensors in place: weights among them are trained, or follow those of another module."""
        weights = frozenset(each for each in receivers if not self._weights_of.isdisjoint(each.wholes()))
        if weights:
            self._stepped(self._deps(weights))

    def _detach(self, node: cst.Call, receivers: Values, _arguments: list[Values], frame: Frame) -> Values:
        return self._make(node, frame, deps=self._deps(receivers) - self._modules)

    def _apply_to_parts(
        self, node: cst.Call, receivers: Values, arguments: list[Values], frame: Frame
    ) -> Values | None:
        functions = [each for each in frozenset().union(*arguments) if each.kind is Kind.FUNCTION]
        if functions and len(node.args) == 1 and not all_are(receivers, Kind.COLLECTION):
            parts = self._somewhere_in(receivers)
            self._apply(frozenset(functions), Site(node, frame, receivers, [parts]))
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

    def _prepare(self, node: cst.Call, receivers: Values, arguments: list[Values], frame: Frame) -> Values | None:
        """Give back what Accelerate or Fabric moves and wraps, each thing in its place."""
        spelled = (dotted(node.func) or "").rpartition(".")[0]
        known = _PREPARES.search(spelled) or any(_PREPARES.search(each.made_by) for each in receivers)
        if not known or not arguments or any(arg.star or arg.keyword for arg in node.args):
            return None
        self._set_mode(frozenset().union(*arguments), Training.UNKNOWN)
        if len(arguments) == 1:
            return arguments[0]
        (made,) = self._make(node, frame, Kind.COLLECTION)
        for number, values in enumerate(arguments):
            self._state.set_attribute(made, f"[{number}]", values)
        self._state.set_attribute(made, ITEM, frozenset().union(*arguments))
        return frozenset({made})

    def _unwrap(self, _node: cst.Call, _receivers: Values, arguments: list[Values], _frame: Frame) -> Values | None:
        """Give the module that Accelerate has wrapped."""
        return arguments[0] if arguments else None

    def _restored_object(
        self, node: cst.Call, receivers: Values, _arguments: list[Values], frame: Frame
    ) -> Values | None:
        """Make a module of a class of this file by a constructor that its framework gives it."""
        found: Values = NOTHING
        for each in receivers:
            definition = each.definition
            if each.kind is not Kind.CLASS or not isinstance(definition, cst.ClassDef):
                return None
            if not self._is_module(definition):
                return None
            (made,) = self._create(node, frame, Made(Kind.MODULE, Training.UNKNOWN, definition.name.value))
            made.definition, made.frame = definition, each.frame
            if (init := self._methods(definition).get("__init__")) is not None:
                bound = Thing(Kind.FUNCTION, definition=init, frame=each.frame, bound=made)
                self._enter(bound, init, (), {}, ("alone", init))
            self._set_mode(frozenset({made}), Training.UNKNOWN)
            found |= {made}
        return found or None

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
        "detach": _detach,
        **dict.fromkeys(("copy_", "lerp_", "mul_", "add_", "sub_"), _change),
        "add_argument": _add_option,
        "parse_args": _parse_options,
        "parse_known_args": _parse_options,
        "add_argument_group": _option_group,
        **dict.fromkeys(("prepare", "setup"), _prepare),
        "unwrap_model": _unwrap,
        **dict.fromkeys(("load_from_checkpoint", "from_pretrained", "from_config"), _restored_object),
    }


def all_are(values: Values, kind: Kind) -> bool:
    """Tell whether there is something, and all of it of one kind."""
    return bool(values) and all(value.kind is kind for value in values)


def _passes_on(frame: Frame) -> bool:
    """Tell whether a caller outside the file loads a state into an object that hands it on, and knows its mode."""
    function = frame.function
    return isinstance(function, cst.FunctionDef) and function.name.value == "load_state_dict" and not frame.called


def _gives_itself(method: str, receivers: Values) -> bool:
    """Tell whether a method gives what it is called on: moved at most, or a copy with the same tensors."""
    if method in knowledge.RETURNS_SELF:
        return not all_are(receivers, Kind.TEXT)
    return method == "copy" and all_are(receivers, Kind.STATE)
