"""The two calls that most rules ask about: `torch.load` under any name, and `load_state_dict` of a module.

Importing this module does not import libcst, so that rules can use its constants while they are being discovered.
"""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lint_rules.knowledge import LOAD, MOCK, NO_MODULE
from lint_rules.rule import Edit

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import libcst as cst

    from lint_rules.engine import Context
    from lint_rules.flow import Call
    from lint_rules.names import Scope
    from lint_rules.outline import Outline
    from lint_rules.rule import Needle

STATE_METHOD = "load_state_dict"
#: What `torch.load` takes and `load_state_dict` does not.
_KEYWORDS = frozenset({"map_location", "weights_only", "mmap", "pickle_module"})


def _needs(function: bytes) -> tuple[tuple[Needle, ...], ...]:
    """Say what a source must hold so that it can call a function of torch that is a part of `torch.serialization`."""
    imported = rb"from\s+torch(\.serialization)?\s+import\s*(\([^)]*|[^\n(]*)(\b" + function + rb"\b|\*)"
    return (
        (b"torch", function, b"torch." + function),
        (b"torch", function, b"serialization." + function),
        (b"torch", function, b"from torch", re.compile(imported)),
    )


#: What a source must hold so that it can call `torch.load`, and `torch.save`.
TORCH_LOAD_NEEDS = _needs(b"load")
TORCH_SAVE_NEEDS = _needs(b"save")

_STATE_CALL = re.compile(rb"\.load_state_dict\s*\(\s*(?!\))")
_OBJECT = rb"(?:[\w.]|\[[^\[\]\n]*\]|getattr\([^()\n]*\))+"
_ALONE = re.compile(rb"\s*" + _OBJECT)
_COPIED = re.compile(_OBJECT + rb"\.state_dict\(\)\s*,?\s*(?:strict\s*=\s*\w+\s*,?\s*)?\)[ \t]*(?=[;#\r\n]|$)")
_WRITTEN = re.compile(rb"""\s*\{(?:[^{}*"']|"[^"\n]*"|'[^'\n]*')*\}\s*[,)]""")
_FROM_ELSEWHERE = re.compile(rb"load\w*\s*\(|pretrained|checkpoint\w*\s*\(")


def _loads_state(data: bytes) -> bool:
    """Tell whether a state may be loaded that is not just copied from another module of the program.

    `a.load_state_dict(b.state_dict())` on a line of its own is given no path, its result goes nowhere, and what it
    copies comes from no checkpoint, unless the file reads something. Large libraries are full of it, and of
    `a.load_state_dict({"weight": weight})`.
    """
    copies = False
    for found in _STATE_CALL.finditer(data):
        before = data[data.rfind(b"\n", 0, found.start()) + 1 : found.start()]
        if before.lstrip().startswith(b"#"):
            continue
        is_alone = _ALONE.fullmatch(before) is not None
        if is_alone and _COPIED.match(data, found.end()):
            copies = True
        elif not (is_alone and _WRITTEN.match(data, found.end())):
            return True
    return copies and _FROM_ELSEWHERE.search(data.replace(b".load_state_dict", b"")) is not None


#: What a source must hold so that it can load a state that something is to be said about.
STATE_NEEDS: tuple[tuple[Needle, ...], ...] = ((b"state_dict", b".load_state_dict", _loads_state),)


def is_written(call: ast.Call) -> bool:
    """Tell whether a `load_state_dict` is given a dict that stands there."""
    given = call.args[0] if call.args else None
    return isinstance(given, ast.Dict) and None not in given.keys


def is_copied(call: ast.Call, outline: Outline) -> bool:
    """Tell whether a `load_state_dict` is given a dict that stands there, or the state of another module."""
    return is_written(call) or bool(call.args and outline.is_state_of_module(call.args[0]))


_POSITIONAL = ("f", "map_location", "pickle_module")
_APPLIERS = ("builtins.map",)


@dataclass(frozen=True, slots=True)
class TorchLoad:
    """One call of `torch.load`.

    Attributes:
        node: The call as it is written: of `torch.load`, of another name for it, or of `map`.
        scope: The scope that it stands in.
        args: What is passed, with what `functools.partial` has bound before.
        applied: Whether `map` makes the call, so that no argument can be added to it.
    """

    node: cst.Call
    scope: Scope
    args: tuple[cst.Arg, ...]
    applied: bool = False

    def may_give(self, name: str) -> bool:
        """Tell whether a parameter is given, or could be through `*` and `**`."""
        if name in _POSITIONAL:
            positional = [arg for arg in self.args if not arg.keyword and arg.star != "**"]
            if len(positional) > _POSITIONAL.index(name) or any(arg.star for arg in positional):
                return True
        return any(_may_give(arg, name) for arg in self.args)

    def keyword(self, name: str) -> cst.BaseExpression | None:
        """Find what a parameter is given by keyword or in a written-out `**{...}`; the last one counts."""
        import libcst as cst

        from lint_rules.tree import text_of

        found: cst.BaseExpression | None = None
        for arg in self.args:
            if arg.keyword is not None and arg.keyword.value == name:
                found = arg.value
            elif arg.star == "**" and isinstance(arg.value, cst.Dict):
                for element in arg.value.elements:
                    if isinstance(element, cst.DictElement) and text_of(element.key) == name:
                        found = element.value
        return found


def torch_loads(context: Context, *, patched: bool = False) -> Iterator[TorchLoad]:
    """Find the calls of `torch.load` in a source, those that `map` makes included.

    Args:
        context: The source.
        patched: Whether to go on where the source assigns something else to `torch.load`.
    """
    names = context.names
    find = names.written if patched else names.target
    for call, scope in names.calls:
        target = find(call.func, scope) or names.attribute(call.func, scope)
        if target is None:
            continue
        if target.name in LOAD:
            yield TorchLoad(call, scope, (*target.given, *call.args))
        elif target.name in _APPLIERS and call.args and not call.args[0].star:
            function = find(call.args[0].value, scope)
            if function is not None and function.name in LOAD:
                yield TorchLoad(call, scope, (*function.given, *call.args[1:]), applied=True)


def partial_loads(context: Context) -> Iterator[TorchLoad]:
    """Find the partials of `torch.load` that a source makes, whether or not it calls them."""
    for call, scope in context.names.calls:
        target = context.names.written(call, scope)
        if target is not None and target.name in LOAD and target.given:
            yield TorchLoad(call, scope, target.given)


def takes_state(call: Call, context: Context) -> bool:
    """Tell whether a `load_state_dict` is that of a module or optimizer, as far as can be seen."""
    import libcst as cst

    from lint_rules.objects import Kind
    from lint_rules.tree import dotted

    node = cst.ensure_type(call.node.func, cst.Attribute)
    spelled = dotted(node.value) or ""
    if context.names.resolve(node.value, call.scope) or NO_MODULE.search(spelled.rpartition(".")[2]):
        return False
    if not call.receivers or _has_own_format(spelled, context):
        return False
    if spelled in {"self", "cls"} and not all(map(context.flow.is_plain_module, call.receivers)):
        return False
    for thing in call.receivers:
        if thing.kind in {Kind.INSTANCE, Kind.COLLECTION, Kind.REFERENCE, Kind.TEXT, Kind.FUNCTION, Kind.CLASS}:
            return False
        if any(MOCK.search(each.made_by) for each in (thing, *thing.deps)):
            return False
        if NO_MODULE.search(_maker(thing.made_by)) or context.flow.defines(thing, STATE_METHOD):
            return False
    return True


def _maker(name: str) -> str:
    """Give the last part of the name of a constructor; that of the class where it is a method, as in `from_config`."""
    *first, last = name.split(".")
    return first[-1] if first and last.startswith("from_") else last


def _has_own_format(spelled: str, context: Context) -> bool:
    """Tell whether an object also has `save_state_dict`, the other half of a pair that deals in files."""
    import libcst as cst

    from lint_rules.tree import dotted, method_of

    return any(
        method_of(call) == "save_state_dict" and dotted(cst.ensure_type(call.func, cst.Attribute).value) == spelled
        for call, _ in context.names.calls
    )


def _may_give(arg: cst.Arg, name: str) -> bool:
    import libcst as cst

    from lint_rules.tree import text_of

    if arg.star != "**":
        return arg.keyword is not None and arg.keyword.value == name
    if not isinstance(arg.value, cst.Dict):
        return True
    keys = [text_of(element.key) if isinstance(element, cst.DictElement) else None for element in arg.value.elements]
    return None in keys or name in keys


def foreign(call: cst.Call) -> Iterator[cst.Arg]:
    """Yield the arguments of a `load_state_dict` that belong to `torch.load`."""
    return (arg for arg in call.args if arg.keyword is not None and arg.keyword.value in _KEYWORDS)


def removals(call: cst.Call, moved: Iterable[cst.Arg], context: Context) -> Iterator[Edit]:
    """Make the edits that take arguments out of a call, each with the comma before it, or behind it for the first."""
    args = list(call.args)
    kept = next(number for number, arg in enumerate(args) if arg not in moved)
    for arg in moved:
        number = args.index(arg)
        if number < kept:
            yield Edit(*context.span(arg)[:2], *context.span(args[number + 1])[:2], "")
        else:
            yield Edit(*context.span(args[number - 1])[2:], *context.span(arg)[2:], "")
