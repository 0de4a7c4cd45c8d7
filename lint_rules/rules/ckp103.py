"""CKP103: `strict=False`, and the keys that did not match thrown away."""

from __future__ import annotations

import ast
import re
from typing import TYPE_CHECKING

from lint_rules.loading import STATE_METHOD
from lint_rules.prefilter import may_be_notebook
from lint_rules.rule import Example, Finding, Rule

if TYPE_CHECKING:
    from collections.abc import Iterator

    import libcst as cst

    from lint_rules.engine import Context
    from lint_rules.outline import Outline

#: Names of objects whose load_state_dict is another, with a meaning of its own.
_OTHERS = re.compile(
    r"trainer|runner|manager|handler|loader|checkpoint|ckpt|session|experiment|saver|storage|optim|sched|scaler",
    re.IGNORECASE,
)
_COMMENT = re.compile(r"^\s*#.*$", re.MULTILINE)

_CALLED = re.compile(rb"\.\s*load_state_dict\s*\(")
_TOLD = re.compile(rb"strict\b(?!\s*=\s*True\b)|,\s*(?:#[^\n]*\n\s*)?(?!True\b)\w+\s*[,)]")
#: What opens and closes brackets, and where brackets count for nothing.
_BRACKETS = re.compile(rb"[()]|#[^\n]*|\"(?:\\.|[^\"\\\n])*\"|'(?:\\.|[^'\\\n])*'")
_LONGEST_CALL = 2000  # bytes
_OVERRIDE = re.compile(rf"\bdef\s+{STATE_METHOD}\b")


def _may_be_told(data: bytes) -> bool:
    """Tell whether a call may be given another `strict` than True."""
    return any(_TOLD.search(data, call.end(), _end_of_call(data, call.end())) for call in _CALLED.finditer(data))


def _end_of_call(data: bytes, start: int) -> int:
    """Find the bracket that closes a call behind its opening one; the longest call's end where that is uncertain."""
    most = start + _LONGEST_CALL
    depth = 1
    for found in _BRACKETS.finditer(data, start, most) if not may_be_notebook(data) else ():
        depth += {b"(": 1, b")": -1}.get(found[0], 0)
        if depth == 0:
            return found.end()
    return most


def _may_be_lenient(call: ast.Call) -> bool:
    given = (*call.args[1:], *(each.value for each in call.keywords if each.arg in {"strict", None}))
    return not all(isinstance(each, ast.Constant) and each.value is True for each in given)


def _statements(tree: cst.Module) -> Iterator[tuple[cst.Expr | cst.Assign, cst.FunctionDef | None]]:
    """Yield expressions and assignments with the function around them; not those that are expected to raise."""
    import libcst as cst

    from lint_rules.knowledge import EXPECTS_ERROR
    from lint_rules.tree import children, dotted

    stack: list[tuple[cst.CSTNode, cst.FunctionDef | None]] = [(tree, None)]
    while stack:
        node, function = stack.pop()
        if isinstance(node, (cst.Expr, cst.Assign)):
            yield node, function
            continue
        if isinstance(node, cst.FunctionDef):
            function = node
        elif isinstance(node, cst.With):
            calls = [item.item.func for item in node.items if isinstance(item.item, cst.Call)]
            if any(EXPECTS_ERROR.search(dotted(each) or "") for each in calls):
                continue
        elif isinstance(node, cst.BaseExpression):
            continue
        stack += ((child, function) for child in children(node))


def _is_lenient(call: cst.Call, context: Context) -> bool:
    """Tell whether `strict` is `False`, as it is written or as the one thing that a name is bound to."""
    import libcst as cst

    from lint_rules.tree import argument, is_false

    strict = argument(call, 1, "strict") or _written_out(call, "strict")
    if isinstance(strict, cst.Name) and strict.value not in {"True", "False"}:
        scope = next(scope for each, scope in context.names.calls if each is call)
        strict = context.names.constant(strict, scope)
    return is_false(strict)


def _written_out(call: cst.Call, name: str) -> cst.BaseExpression | None:
    """Find an argument in a written-out `**{...}`."""
    import libcst as cst

    from lint_rules.tree import text_of

    dicts = (arg.value for arg in call.args if arg.star == "**" and isinstance(arg.value, cst.Dict))
    elements = (each for written in dicts for each in written.elements)
    found = (each.value for each in elements if isinstance(each, cst.DictElement) and text_of(each.key) == name)
    return next(found, None)


def _tells(call: cst.Call, context: Context) -> bool:
    """Tell whether a `load_state_dict` is one that gives the keys back, and nothing else tells them."""
    import libcst as cst

    from lint_rules.tree import dotted

    receiver = cst.ensure_type(call.func, cst.Attribute).value
    spelled = (dotted(receiver) or "").rpartition(".")[2]
    scope = next(scope for each, scope in context.names.calls if each is call)
    if context.names.resolve(receiver, scope) or _OTHERS.search(spelled):
        return False
    if not _OVERRIDE.search(context.text(None)):
        return True
    seen = context.flow.calls.get(call)
    overridden = [each for each in seen.receivers if context.flow.defines(each, STATE_METHOD)] if seen else []
    return all(isinstance(each.definition, cst.ClassDef) and _gives_back(each.definition) for each in overridden)


def _gives_back(definition: cst.ClassDef) -> bool:
    """Tell whether the `load_state_dict` that a class itself defines returns anything."""
    import libcst as cst

    from lint_rules.tree import walk

    own = [
        statement
        for statement in definition.body.body
        if isinstance(statement, cst.FunctionDef) and statement.name.value == STATE_METHOD
    ]
    return any(isinstance(node, cst.Return) and node.value is not None for method in own for node in walk(method.body))


def _unread(node: cst.Assign, function: cst.FunctionDef | None, context: Context) -> bool:
    """Tell whether a result is bound to plain names that the function, or the module, never mentions again."""
    import libcst as cst

    from lint_rules.tree import walk

    target = node.targets[0].target
    elements = [each.value for each in target.elements] if isinstance(target, (cst.Tuple, cst.List)) else [target]
    names = [each.value for each in elements if isinstance(each, cst.Name)]
    if len(node.targets) > 1 or len(names) < len(elements) or all(name.startswith("_") for name in names):
        return False
    if function is not None and any(isinstance(each, (cst.Global, cst.Nonlocal)) for each in walk(function.body)):
        function = None
    spelled = f"{context.tree.code_for_node(target)} ="
    text = _COMMENT.sub("", context.text(function))
    mentions = [re.compile(rf"(?<![\w.]){re.escape(name)}\b(?!\s*=(?![=}}:!]))") for name in names]
    return all(len(mention.findall(text)) == len(mention.findall(spelled)) for mention in mentions)


class StrictFalseIgnored(Rule):
    """Finds partial loads of which nobody looks at what was left out.

    ## What it does

    Reports `model.load_state_dict(state, strict=False)` where the result is thrown away, or bound to a name that is not
    read again. Only `False` itself (or `0`) counts, written there or bound to the name that
    stands there. A result that is assigned to `_` is thrown away on purpose, one that ends
    a notebook's cell is shown: both are left alone.

    ## Why is this bad

    With `strict=False` entries that do not match are skipped. A prefix such as `module.`, a renamed layer or the wrong
    file then leave layers, or all of them, at their random initialisation, and the program runs on without a word. What
    was skipped stands in the result alone.

    ## Fix safety

    There is no fix: only you know which keys may be missing. Bind the result, and check `missing_keys` and
    `unexpected_keys` against them, or print both.

    ## References

    - [Module.load_state_dict](https://docs.pytorch.org/docs/stable/generated/torch.nn.Module.html)
    - [PyTorch: Warmstarting a model](https://docs.pytorch.org/tutorials/beginner/saving_loading_models.html)
    """

    code = "CKP103"
    name = "strict-false-ignored"
    summary = "`strict=False`, and the keys that did not match are thrown away"
    needs = ((b"state_dict", b".load_state_dict", _may_be_told),)
    marks = frozenset({STATE_METHOD})

    def follows_in(self, outline: Outline) -> bool:
        """Tell whether a class of the source has a `load_state_dict` of its own, which may give nothing back."""
        return STATE_METHOD in outline.members

    def may_find(self, outline: Outline) -> bool:
        """Tell whether `strict` may be given as anything but True."""
        return any(map(_may_be_lenient, outline.methods(STATE_METHOD)))

    def check(self, context: Context) -> Iterator[Finding]:
        """Report each call whose result nobody reads.

        Args:
            context: The source.

        Yields:
            One finding a call.
        """
        import libcst as cst

        from lint_rules.tree import method_of

        for node, function in _statements(context.tree):
            call = node.value
            if not isinstance(call, cst.Call) or method_of(call) != STATE_METHOD:
                continue
            if not _is_lenient(call, context) or not _tells(call, context):
                continue
            thrown = isinstance(node, cst.Expr) and context.span(call)[0] not in context.shown
            unread = isinstance(node, cst.Assign) and _unread(node, function, context)
            if thrown or unread:
                yield context.finding(
                    self,
                    call,
                    "`strict=False` skips what does not match, and the result that names it is thrown away, so layers "
                    "may stay untrained unnoticed; check its `missing_keys` and `unexpected_keys`",
                )

    invalid = (
        Example(
            """
            import torch

            model = torch.nn.Linear(2, 2)
            model.load_state_dict(torch.load("warm.pt", weights_only=True), strict=False)
            """,
            why="the result is thrown away",
            lines=(4,),
        ),
        Example(
            """
            LENIENT = False


            def restore(model, state):
                model.load_state_dict(state, LENIENT)
            """,
            why="a name that says nothing",
            lines=(5,),
        ),
        Example(
            """
            def restore(model, states):
                model.load_state_dict(
                    states["1) averaged"],  # or 2)
                    strict=False,
                )
            """,
            why="brackets in a string and in a comment",
            lines=(2,),
        ),
        Example(
            """
            def restore(model, state):
                model.load_state_dict(state, False)
                model.load_state_dict(state, strict=0)
            """,
            why="strict by position, and a zero",
            lines=(2, 3),
        ),
        Example(
            """
            class Net(Base):
                def restore(self, state):
                    if state:
                        self.load_state_dict(
                            state,
                            strict=False,
                        )
                    for part in self.parts: part.load_state_dict(state, strict=False)
            """,
            why="inside a class, a branch and a loop",
            lines=(4, 8),
        ),
        Example(
            """
            import logging


            def restore(model, state):
                msg = model.load_state_dict(state, strict=False)
                logging.info("loaded")


            def extend(model, state):
                missing, unexpected = model.load_state_dict(state, strict=False)
                return model
            """,
            why="bound to names that nothing reads",
            lines=(5, 10),
        ),
        Example(
            """
            def restore(model, state):
                missing = set(model.state_dict()) - set(state)
                if missing:
                    raise KeyError(missing)
                model.load_state_dict(state, strict=False)
            """,
            why="only half of the keys are compared by hand",
            lines=(5,),
        ),
        Example(
            """
            class Net(Base):
                def load_state_dict(self, state, strict=True):
                    return super().load_state_dict(convert(state), strict)


            net = Net()
            net.load_state_dict(read(), strict=False)
            """,
            why="an override that hands the result on",
            lines=(7,),
        ),
        Example(
            """
            class Net(Base):
                def load_state_dict(self, state, strict=True):
                    super().load_state_dict(state, strict=False)
            """,
            why="an override that throws the result away",
            lines=(3,),
        ),
        Example(
            """
            import torch

            from networks import Net

            STRICT = False
            net = Net()
            net.load_state_dict(torch.load("net.pt", weights_only=True), strict=STRICT)
            net.load_state_dict(torch.load("net.pt", weights_only=True), **{"strict": False})
            """,
            why="False under a name, and among keywords that are written out",
            lines=(7, 8),
        ),
        Example(
            """
            import torch

            from networks import Net

            net = Net()
            missing, unexpected = net.load_state_dict(torch.load("net.pt", weights_only=True), strict=False)
            # missing keys do not matter here
            net.eval()
            """,
            why="only a comment speaks of them",
            lines=(6,),
        ),
    )
    valid = (
        Example(
            """
            def restore(model, state):
                model.load_state_dict(state)
                model.load_state_dict(state, strict=True)
                model.load_state_dict(state, assign=False)
            """,
            why="strict",
        ),
        Example(
            """
            def restore(model, state, strict=False):
                model.load_state_dict(state, strict=strict)
                model.load_state_dict(state, strict=not strict)
            """,
            why="a variable",
        ),
        Example(
            """
            def restore(model, state):
                missing, unexpected = model.load_state_dict(state, strict=False)
                if missing:
                    raise KeyError(missing)
            """,
            why="what is missing is looked at",
        ),
        Example(
            """
            def restore(model, state):
                keys = model.load_state_dict(state, strict=False)
                assert not keys.unexpected_keys


            def extend(model, state):
                msg = model.load_state_dict(state, strict=False)
                print(f"{msg=}")
            """,
            why="the result is checked or printed",
        ),
        Example(
            """
            def restore(model, state):
                print(model.load_state_dict(state, strict=False))
                assert not model.load_state_dict(state, strict=False).unexpected_keys
                return model.load_state_dict(state, strict=False)


            restore_later = lambda model, state: model.load_state_dict(state, strict=False)
            """,
            why="the result is handed on",
        ),
        Example(
            """
            def restore(self, model, state):
                self.result = model.load_state_dict(state, strict=False)
                results = {}
                results["model"] = model.load_state_dict(state, strict=False)
            """,
            why="the result is kept where others may read it",
        ),
        Example(
            """
            def restore(model, state):
                keys = model.load_state_dict(state, strict=False)

                def report():
                    print(keys)

                return report
            """,
            why="a function inside reads the result",
        ),
        Example(
            """
            def restore(model, state):
                _ = model.load_state_dict(state, strict=False)
                _missing, _unexpected = model.load_state_dict(state, strict=False)
            """,
            why="thrown away on purpose",
        ),
        Example(
            """
            from mmcv.runner import load_state_dict

            import checkpoints

            load_state_dict(model, state, strict=False)
            checkpoints.load_state_dict(model, state, strict=False)
            """,
            why="a function called load_state_dict",
        ),
        Example(
            """
            def restore(trainer, optimizer, state):
                trainer.load_state_dict(state, strict=False)
                optimizer.load_state_dict(state, strict=False)
            """,
            why="other objects",
        ),
        Example(
            """
            import logging


            class Net(Base):
                def load_state_dict(self, state, strict=True):
                    result = super().load_state_dict(state, strict=strict)
                    logging.info("%s", result)


            net = Net()
            net.load_state_dict(read(), strict=False)
            """,
            why="an override that reports and gives nothing back",
        ),
        Example(
            """
            import pytest


            def test_shapes(model, state):
                with pytest.raises(RuntimeError, match="size mismatch"):
                    model.load_state_dict(state, strict=False)
            """,
            why="a test that expects an error",
        ),
        Example(
            """
            import torch

            from networks import Net


            def read(net, path, strict=False):
                net.load_state_dict(torch.load(path, weights_only=True), strict=strict)
            """,
            why="the caller decides",
        ),
    )
