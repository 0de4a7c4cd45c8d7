"""CKP102: the result of `load_state_dict` taken for the model."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from lint_rules.knowledge import INFERENCE, RETURNS_SELF, WEIGHT_METHODS, WRAPPERS
from lint_rules.loading import STATE_METHOD, STATE_NEEDS, takes_state
from lint_rules.rule import Edit, Example, Finding, Fix, Rule

if TYPE_CHECKING:
    from collections.abc import Iterator

    import libcst as cst

    from lint_rules.engine import Context
    from lint_rules.outline import Outline

#: The end of a statement, a comment behind it or not.
_END = r"\s*(?:#.*)?$"
_CHAINED = RETURNS_SELF | {"eval", "train"}
#: Methods that modules and optimizers have, and tuples of keys have not.
_METHODS = (
    _CHAINED
    | WEIGHT_METHODS
    | {"buffers", "children", "load_state_dict", "modules", "named_buffers", "named_children", "named_modules"}
    | {"register_forward_hook", "save_pretrained", "state_dict", "step", "zero_grad"}
)


def _used(context: Context) -> set[cst.Call]:
    """Give the calls whose result has a module's method called on it, or is called itself."""
    from lint_rules.tree import method_of

    flow = context.flow
    used = {flow.results[thing] for thing in flow.called if thing in flow.results}
    for node, call in flow.calls.items():
        method = method_of(node)
        if method is not None and (method in _METHODS or INFERENCE.match(method)):
            used |= {flow.results[thing] for thing in call.receivers if thing in flow.results}
        elif call.arguments and WRAPPERS.match(context.names.resolve(node.func, call.scope) or ""):
            used |= {flow.results[thing] for thing in call.arguments[0] if thing in flow.results}
    return used


def _statements(tree: cst.Module) -> Iterator[tuple[cst.Call, cst.SimpleStatementLine]]:
    """Yield the calls that a statement of its own begins with, further methods behind them or not."""
    import libcst as cst

    from lint_rules.tree import method_of, walk

    for line in walk(tree):
        if not isinstance(line, cst.SimpleStatementLine) or len(line.body) != 1:
            continue
        only = line.body[0]
        value = only.value if isinstance(only, (cst.Expr, cst.Assign, cst.Return)) else None
        while isinstance(value, (cst.Call, cst.Attribute)):
            if isinstance(value, cst.Call) and method_of(value) == STATE_METHOD:
                yield value, line
            value = value.func if isinstance(value, cst.Call) else value.value


def _target(line: cst.SimpleStatementLine) -> cst.BaseExpression | None:
    """Give what a statement binds, if that is one name or attribute."""
    import libcst as cst

    from lint_rules.tree import dotted

    only = line.body[0]
    if not isinstance(only, cst.Assign) or len(only.targets) != 1:
        return None
    target = only.targets[0].target
    return target if dotted(target) else None


def _is_value(call: cst.Call, line: cst.SimpleStatementLine) -> bool:
    """Tell whether a statement's value is the call, with nothing behind it."""
    import libcst as cst

    only = line.body[0]
    return isinstance(only, (cst.Expr, cst.Assign, cst.Return)) and only.value is call


def _origin(call: cst.Call) -> cst.BaseExpression:
    """Give the object that a method is called on, without `.to(...)` and the like."""
    import libcst as cst

    from lint_rules.tree import method_of

    origin = cst.ensure_type(call.func, cst.Attribute).value
    while isinstance(origin, cst.Call) and method_of(origin) in _CHAINED:
        origin = cst.ensure_type(origin.func, cst.Attribute).value
    return origin


def _replaces(call: cst.Call, line: cst.SimpleStatementLine, context: Context) -> bool:
    """Tell whether the result takes the place of the object, and is not read as what it is."""
    from lint_rules.tree import dotted

    target = _target(line)
    name = (dotted(target) if target is not None else None) or ""
    origin = dotted(_origin(call)) or ""
    same = f"{origin}.".startswith(f"{name}.") or name.rpartition(".")[2] == origin.rpartition(".")[2]
    return bool(name) and same and _is_value(call, line) and not _read(name, context)


def _is_all(call: cst.Call, line: cst.SimpleStatementLine, context: Context) -> bool:
    """Tell whether the result is returned, while the model was made for this call alone."""
    import libcst as cst

    from lint_rules.tree import dotted

    origin = _origin(call)
    if not isinstance(origin, cst.Call) or not _is_value(call, line):
        return False
    made = dotted(origin.func) or ""
    if not any(part[:1].isupper() for part in made.split(".")):
        return False
    if isinstance(line.body[0], cst.Return):
        return True
    target = _target(line)
    name = re.escape((dotted(target) if target is not None else None) or "")
    return bool(name) and re.search(rf"^\s*return {name}{_END}", context.text(None), re.MULTILINE) is not None


def _read(name: str, context: Context) -> bool:
    """Tell whether keys are read from what a name is bound to."""
    name = re.escape(name)
    keys = rf"(?<![\w.]){name}\s*\.\s*(missing|unexpected)_keys\b|,[^=\n]*=\s*{name}{_END}"
    return re.search(keys, context.text(None), re.MULTILINE) is not None


def _fix(call: cst.Call, line: cst.SimpleStatementLine, context: Context) -> Fix | None:
    """Load in a statement of its own, and go on with the object in the next."""
    import libcst as cst

    from lint_rules.tree import dotted

    target = _target(line)
    only = line.body[0]
    receiver = cst.ensure_type(call.func, cst.Attribute).value
    bound = dotted(target) if target is not None else None
    alone = _is_value(call, line)
    if call.lpar or receiver.lpar or (bound and _read(bound, context)) or (alone and isinstance(only, cst.Return)):
        return None
    start, column, *_ = context.span(line)
    below = f"{context.line_end}{context.indent(start, column)}"
    if bound and alone and f"{dotted(_origin(call)) or ''}.".startswith(f"{bound}."):
        return Fix((Edit(start, column, *context.span(call)[:2], ""),), safe=True)
    if spelled := dotted(receiver):
        moved = Edit(start, column, start, column, f"{context.source(call)}{below}")
        return Fix((moved, Edit(*context.span(call), spelled)), safe=True)
    if bound and _gives_itself(call, line) and not _mentions(call, bound.partition(".")[0]):
        named = f"{bound} = {context.source(receiver)}{below}{bound}"
        return Fix((Edit(start, column, *context.span(receiver)[2:], named),), safe=True)
    return None


def _mentions(node: cst.CSTNode, name: str) -> bool:
    import libcst as cst

    from lint_rules.tree import walk

    return any(isinstance(each, cst.Name) and each.value == name for each in walk(node))


def _gives_itself(call: cst.Call, line: cst.SimpleStatementLine) -> bool:
    """Tell whether everything that is chained behind a call gives the object back."""
    import libcst as cst

    from lint_rules.tree import method_of

    only = line.body[0]
    value = only.value if isinstance(only, cst.Assign) else None
    while isinstance(value, cst.Call) and value is not call and method_of(value) in _CHAINED:
        value = cst.ensure_type(value.func, cst.Attribute).value
    return value is call


class LoadStateDictResultAsModel(Rule):
    """Finds code that goes on with what `load_state_dict` returns as if it were the model.

    ## What it does

    Reports `model.load_state_dict(...)` whose result is used as a module or an optimizer: a method is called on it
    (`.eval()`, `.to(device)`, `.parameters()`), it is called itself, it takes the place of the object
    (`model = model.load_state_dict(...)`), or it is all that a function keeps of a model that it has just made. The
    result is followed through names, attributes and functions of the file.

    Results of which `missing_keys` and `unexpected_keys` are read are left alone, as are methods of other classes that
    may well return the object.

    ## Why is this bad

    A module's `load_state_dict` returns the missing and unexpected keys, an optimizer's returns None. The next line
    that takes it for the model raises `AttributeError` or `TypeError`, and the name of the model is gone.

    ## Fix safety

    Loads on a line of its own and goes on with the model. The fix is safe: what follows cannot have worked before. It
    is offered where the call stands in a statement of its own.

    ## References

    - [Module.load_state_dict](https://docs.pytorch.org/docs/stable/generated/torch.nn.Module.html)
    - [Optimizer.load_state_dict](https://docs.pytorch.org/docs/stable/generated/torch.optim.Optimizer.load_state_dict.html)
    """

    code = "CKP102"
    name = "load-state-dict-result-as-model"
    summary = "The result of `load_state_dict` is taken for the model"
    needs = STATE_NEEDS
    marks = frozenset({STATE_METHOD})
    follows = True

    def may_find(self, outline: Outline) -> bool:
        """Tell whether anything becomes of a result."""
        return any(call not in outline.alone for call in outline.methods(STATE_METHOD))

    def check(self, context: Context) -> Iterator[Finding]:
        """Report each call whose result is taken for the model.

        Args:
            context: The source.

        Yields:
            One finding a call.
        """
        used, results = _used(context), frozenset(context.flow.results.values())
        statements: dict[cst.Call, cst.SimpleStatementLine] | None = None
        for node, call in context.flow.calls.items():
            if node not in results or not node.args or not takes_state(call, context):
                continue
            if statements is None:
                statements = dict(_statements(context.tree))
            line = statements.get(node)
            if node in used or (line is not None and (_replaces(node, line, context) or _is_all(node, line, context))):
                yield context.finding(
                    self,
                    node,
                    "`load_state_dict` returns the missing and unexpected keys (an optimizer's returns None), so "
                    "taking the result for the model raises; load on a line of its own and go on with the model",
                    _fix(node, line, context) if line is not None else None,
                )

    invalid = (
        Example(
            """
            import torch

            model = torch.nn.Linear(2, 2)
            model = model.load_state_dict(torch.load("model.pt", weights_only=True))
            model.eval()
            """,
            why="in place of the model",
            lines=(4,),
            fixed="""
            import torch

            model = torch.nn.Linear(2, 2)
            model.load_state_dict(torch.load("model.pt", weights_only=True))
            model.eval()
            """,
        ),
        Example(
            """
            def restore(model, state, device):
                model.load_state_dict(state).eval()
                net = model.load_state_dict(
                    state,
                ).to(device)  # ready
                return model.load_state_dict(state).requires_grad_(False)
            """,
            why="chained",
            lines=(2, 3, 6),
            fixed="""
            def restore(model, state, device):
                model.load_state_dict(state)
                model.eval()
                model.load_state_dict(
                    state,
                )
                net = model.to(device)  # ready
                model.load_state_dict(state)
                return model.requires_grad_(False)
            """,
        ),
        Example(
            """
            import torch

            from networks import Net

            net = Net(3).cuda().load_state_dict(torch.load("net.pt", weights_only=True))
            other = Net(4).load_state_dict(torch.load("net.pt", weights_only=True)).eval()
            print(net(torch.ones(1)), other)
            """,
            why="of a model that has no name yet",
            lines=(5, 6),
            fixed="""
            import torch

            from networks import Net

            net = Net(3).cuda()
            net.load_state_dict(torch.load("net.pt", weights_only=True))
            other = Net(4)
            other.load_state_dict(torch.load("net.pt", weights_only=True))
            other.eval()
            print(net(torch.ones(1)), other)
            """,
        ),
        Example(
            """
            def resume(model, optimizer, checkpoint):
                optimizer = optimizer.load_state_dict(checkpoint["optimizer"])
                model = model.module.load_state_dict(checkpoint["model"])
                return model, optimizer


            class Run:
                def __init__(self, scheduler, checkpoint):
                    self.scheduler = scheduler.load_state_dict(checkpoint["scheduler"])
            """,
            why="an optimizer, a wrapped model and a scheduler",
            lines=(2, 3, 9),
            fixed="""
            def resume(model, optimizer, checkpoint):
                optimizer.load_state_dict(checkpoint["optimizer"])
                model.module.load_state_dict(checkpoint["model"])
                return model, optimizer


            class Run:
                def __init__(self, scheduler, checkpoint):
                    scheduler.load_state_dict(checkpoint["scheduler"])
                    self.scheduler = scheduler
            """,
        ),
        Example(
            """
            from networks import Net


            class Tester:
                def __init__(self, model, state):
                    self.model = model
                    self.net = self.model.load_state_dict(state)

                def run(self, x):
                    return self.net(x)
            """,
            why="kept as an attribute and called",
            lines=(7,),
            fixed="""
            from networks import Net


            class Tester:
                def __init__(self, model, state):
                    self.model = model
                    self.model.load_state_dict(state)
                    self.net = self.model

                def run(self, x):
                    return self.net(x)
            """,
        ),
        Example(
            """
            from networks import Net


            def load(state):
                net = Net()
                return net.load_state_dict(state)


            model = load(read())
            model.eval()
            """,
            why="returned to code that takes it for the model",
            lines=(6,),
        ),
        Example(
            """
            from networks import Net


            def one(state):
                net = Net().load_state_dict(state)
                return net  # for good


            def two(state):
                return Net().load_state_dict(state)
            """,
            why="all that is left of a model",
            lines=(5, 10),
        ),
        Example(
            """
            import torch


            def train(net, state, lr):
                found = net.load_state_dict(state)
                return torch.optim.SGD(found.parameters(), lr)
            """,
            why="its parameters are asked for",
            lines=(5,),
            fixed="""
            import torch


            def train(net, state, lr):
                net.load_state_dict(state)
                found = net
                return torch.optim.SGD(found.parameters(), lr)
            """,
        ),
        Example(
            """
            import torch

            from networks import Net

            net = Net()
            wrapped = torch.nn.DataParallel(net.load_state_dict(torch.load("net.pt", weights_only=True)))
            """,
            why="wrapped for several devices",
            lines=(6,),
        ),
    )
    valid = (
        Example(
            """
            import torch

            model = torch.nn.Linear(2, 2)
            model.load_state_dict(torch.load("model.pt", weights_only=True))
            model.eval()
            """,
            why="on a line of its own",
        ),
        Example(
            """
            def restore(model, state):
                keys = model.load_state_dict(state, strict=False)
                missing, unexpected = keys
                print(keys, len(keys.missing_keys), keys[1], keys.index([]))
                model.eval()
                return keys
            """,
            why="the keys are taken for what they are",
        ),
        Example(
            """
            def restore(net, state):
                net = net.load_state_dict(state, strict=False)
                return net.missing_keys
            """,
            why="a bad name for the keys",
        ),
        Example(
            """
            def keys(model, state):
                return model.load_state_dict(state)


            def check(model, state):
                assert not keys(model, state).missing_keys
                return model(1)
            """,
            why="a function that returns the keys",
        ),
        Example(
            """
            from networks import Net

            print(Net().load_state_dict(read()))
            result = Net().load_state_dict(read())
            print(result)
            """,
            why="the keys are printed",
        ),
        Example(
            """
            class Net(Base):
                def load_state_dict(self, state):
                    super().load_state_dict(convert(state))
                    return self


            net = Net().load_state_dict(read()).eval()
            """,
            why="a method of this file that returns the model",
        ),
        Example(
            """
            from library import AgentClass, Trainer, checkpoints

            trainer = Trainer()
            trainer = trainer.load_state_dict(read())
            trainer.train()
            agent = AgentClass(3).load_state_dict(read()).eval()
            loaded = optimizer.load_state_dict(read(), partly=True)
            if loaded:
                print("resumed")
            flat = checkpoints.load_state_dict("a.pt").to("cpu")
            config = Trainer.load_state_dict(read()).eval()
            """,
            why="other functions and objects",
        ),
        Example(
            """
            import pytest


            def test_result(model, state):
                with pytest.raises(AttributeError):
                    model.load_state_dict(state).eval()
            """,
            why="a test that expects the error",
        ),
        Example(
            """
            def restore(model, state):
                net = model.load_state_dict(state)
                net = model
                net.eval()
            """,
            why="the name is bound to the model again",
        ),
        Example(
            """
            def restore(run, state):
                run.model = run.net.model.load_state_dict(state)
                missing, unexpected = run.model  # none, it is hoped
            """,
            why="the keys are taken apart",
        ),
    )
