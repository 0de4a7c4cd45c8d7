"""The dicts that a file saves as checkpoints: what is in them, how much of that is known, and where they go."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import libcst as cst

from lint_rules.evidence import own
from lint_rules.tree import argument, dotted, method_of, name_of, text_of, walk

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lint_rules.engine import Context
    from lint_rules.names import Scope

SAVE = frozenset({"torch.save", "torch.serialization.save"})
#: Functions of other files that write what they are given first.
_SAVERS = re.compile(
    r"save(_\w*)?(checkpoint|ckpt|state|snapshot)\w*$|save_on_(master|main)\w*$|^xm\.save$", re.IGNORECASE
)
_LOOKS_ONLY = frozenset({"print", "len", "type", "isinstance", "str", "repr", "sorted", "list"})


@dataclass(frozen=True, slots=True)
class Block:
    """The code of one function, or of the module outside its functions and classes.

    Attributes:
        node: The function or the module.
        scope: The names that it binds.
        owner: The class that it is a method of; None if it is none.
        nodes: Everything in it, functions and classes that it defines left out.
    """

    node: cst.FunctionDef | cst.Module
    scope: Scope
    owner: cst.ClassDef | None
    nodes: tuple[cst.CSTNode, ...]


@dataclass(slots=True)
class Checkpoint:
    """One saved dict.

    Attributes:
        call: The call that saves it.
        block: The code that it stands in.
        path: Where it is saved; None where that is not known.
        values: For each key what is stored under it.
        known: Whether it holds nothing but these keys.
    """

    call: cst.Call
    block: Block
    path: cst.BaseExpression | None
    values: dict[str, list[cst.BaseExpression]] = field(default_factory=dict)
    known: bool = True


@dataclass(frozen=True, slots=True)
class _Saved:
    """Something that a call saves: the call, what it saves and where."""

    call: cst.Call
    value: cst.BaseExpression
    path: cst.BaseExpression | None


def blocks(context: Context) -> list[Block]:
    """Give the code of a file, function by function."""
    names = context.names
    found = [Block(context.tree, names.module, None, tuple(own(context.tree)))]

    def enter(node: cst.CSTNode, owner: cst.ClassDef | None) -> None:
        for each in own(node):
            if isinstance(each, cst.FunctionDef):
                found.append(Block(each, names.scope(each), owner, tuple(own(each.body))))
                enter(each.body, owner)
            elif isinstance(each, cst.ClassDef):
                enter(each.body, each)

    enter(context.tree, None)
    return found


def saves(context: Context, code: list[Block]) -> Iterator[tuple[Block, _Saved]]:
    """Yield everything that is saved, by `torch.save` or by a function that hands its argument to it."""
    helpers = dict(_helpers(context, code))
    inside = {
        block.node for block in code if isinstance(block.node, cst.FunctionDef) and block.node.name.value in helpers
    }
    for block in code:
        for call in block.nodes:
            if not isinstance(call, cst.Call):
                continue
            name = context.names.resolve(call.func, block.scope)
            last = ((name or dotted(call.func)) or "").rpartition(".")[2] or method_of(call) or ""
            if name in SAVE:
                if block.node in inside:
                    continue
                at, path = 0, argument(call, 1, "f")
                value = argument(call, 0, "obj")
            elif last in helpers:
                at, path = helpers[last], None
                value = argument(call, at, "")
            elif _SAVERS.search(last) and call.args and not call.args[0].star:
                value, path = call.args[0].value, None
            else:
                continue
            if value is not None:
                yield block, _Saved(call, value, path)


def _helpers(context: Context, code: list[Block]) -> Iterator[tuple[str, int]]:
    """Yield the functions of a file that save one of their parameters as it is, and which."""
    for block in code:
        if not isinstance(block.node, cst.FunctionDef):
            continue
        params = [param.name.value for param in block.node.params.params]
        for call in block.nodes:
            if isinstance(call, cst.Call) and context.names.resolve(call.func, block.scope) in SAVE:
                value = argument(call, 0, "obj")
                name = value.value if isinstance(value, cst.Name) else ""
                if name in params and block.scope.bindings.get(name) == [None]:
                    yield block.node.name.value, params.index(name) - (block.owner is not None)


def checkpoints(context: Context, code: list[Block]) -> Iterator[Checkpoint]:
    """Yield the dicts that a file saves; what is saved besides is no dict for certain."""
    for block, saved in saves(context, code):
        found = Checkpoint(saved.call, block, saved.path)
        value = saved.value
        if isinstance(value, cst.Name):
            if not _read_name(value.value, found):
                continue
        elif (helper := _helper(value, block, code)) is not None:
            if not _read_returned(helper, found):
                continue
        elif not _read(value, found):
            continue
        yield found


def _helper(value: cst.BaseExpression, block: Block, code: list[Block]) -> Block | None:
    """Find the function of the file, or the method of the same class, that makes what is saved."""
    if not isinstance(value, cst.Call):
        return None
    name = name_of(value.func).removeprefix("self.")
    owner = block.owner if isinstance(value.func, cst.Attribute) else None
    found = [each for each in code if isinstance(each.node, cst.FunctionDef) and each.node.name.value == name]
    return found[0] if len(found) == 1 and found[0].owner is owner else None


def _read_returned(helper: Block, into: Checkpoint) -> bool:
    """Note the keys of the dict that a function returns; False if it may return anything else."""
    returned = [node.value for node in helper.nodes if isinstance(node, cst.Return)]
    if len(returned) != 1 or returned[0] is None:
        return False
    made = Checkpoint(into.call, helper, None)
    value = returned[0]
    is_dict = _read_name(value.value, made) if isinstance(value, cst.Name) else _read(value, made)
    into.values, into.known = made.values, made.known
    return is_dict


def _read(value: cst.BaseExpression, into: Checkpoint) -> bool:
    """Note the keys of a written dict; False if it is none."""
    if isinstance(value, cst.Dict):
        for element in value.elements:
            key = text_of(element.key) if isinstance(element, cst.DictElement) else None
            if key is None:
                into.known = False
            else:
                into.values.setdefault(key, []).append(element.value)
        return True
    if isinstance(value, cst.Call) and dotted(value.func) in {"dict", "OrderedDict", "collections.OrderedDict"}:
        for arg in value.args:
            if arg.keyword is None:
                into.known = into.known and not arg.star and _read(arg.value, into)
            else:
                into.values.setdefault(arg.keyword.value, []).append(arg.value)
        return True
    return False


def _read_name(name: str, into: Checkpoint) -> bool:
    """Note what one function puts into the dict that a name of its own stands for; False if it may be no dict."""
    made = False
    for node in into.block.nodes:
        if isinstance(node, cst.Assign):
            for target in node.targets:
                if isinstance(target.target, cst.Name) and target.target.value == name:
                    if not _read(node.value, into):
                        return False
                    made = True
                elif isinstance(target.target, cst.Subscript) and dotted(target.target.value) == name:
                    _store(target.target, node.value, into)
        elif isinstance(node, (cst.AnnAssign, cst.AugAssign)) and dotted(node.target) == name:
            if isinstance(node, cst.AugAssign) or node.value is None or not _read(node.value, into):
                return False
            made = True
        elif isinstance(node, cst.Call) and node is not into.call:
            into.known = _keeps_keys(node, name, into) and into.known
    return made and len(into.block.scope.bindings.get(name, ())) == _bound(name, into.block)


def _bound(name: str, block: Block) -> int:
    """Count the assignments of a name that were read; loops, imports and others bind it too."""
    found = (node for node in block.nodes if isinstance(node, (cst.Assign, cst.AnnAssign)))
    targets = (
        target
        for node in found
        for target in ([each.target for each in node.targets] if isinstance(node, cst.Assign) else [node.target])
    )
    return sum(isinstance(target, cst.Name) and target.value == name for target in targets)


def _store(target: cst.Subscript, value: cst.BaseExpression, into: Checkpoint) -> None:
    index = target.slice[0].slice
    key = text_of(index.value) if isinstance(index, cst.Index) else None
    if key is None:
        into.known = False
    else:
        into.values.setdefault(key, []).append(value)


def _keeps_keys(call: cst.Call, name: str, into: Checkpoint) -> bool:
    """Tell whether it is known which keys a dict has after a call, and note those that the call adds."""
    if isinstance(call.func, cst.Attribute) and dotted(call.func.value) == name:
        method = call.func.attr.value
        if method == "update":
            for arg in call.args:
                if arg.keyword is not None:
                    into.values.setdefault(arg.keyword.value, []).append(arg.value)
            return all(not arg.star and (arg.keyword is not None or _read(arg.value, into)) for arg in call.args)
        if method == "setdefault" and len(call.args) > 1:
            key = text_of(call.args[0].value)
            into.values.setdefault(key or "", []).append(call.args[1].value)
            return key is not None
        return True
    last = name_of(call.func).rpartition(".")[2]
    given = any(isinstance(arg.value, cst.Name) and arg.value.value == name for arg in call.args)
    return not given or last in _LOOKS_ONLY or "save" in last.lower()


def mentions(tree: cst.CSTNode, pattern: re.Pattern[str]) -> bool:
    """Tell whether a name, attribute or string of some code matches a pattern."""
    for node in walk(tree):
        if isinstance(node, cst.Name):
            if pattern.search(node.value):
                return True
        elif isinstance(node, cst.SimpleString) and pattern.search(text_of(node) or ""):
            return True
    return False
