"""CKP402: the state of a wrapped module saved with the wrapper's prefix."""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

from lint_rules.rule import Edit, Example, Finding, Fix, Rule

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import libcst as cst

    from lint_rules.engine import Context
    from lint_rules.names import Scope

#: Wrappers, and the attribute that holds the module and prefixes every key.
_PARALLEL = re.compile(
    r"torch\.nn\.(DataParallel|parallel\.(data_parallel\.)?DataParallel|parallel\.(distributed\.)?DistributedDataParallel)$"
    r"|apex\.parallel\.(distributed\.)?DistributedDataParallel$"
)
_COMPILE = "torch.compile"
_KEEPS = frozenset({"to", "cuda", "cpu", "train", "eval", "float", "half"})
_SAVES = re.compile(r"(^|[._])(save|dump)(_|$)|save$|^save|checkpoint", re.IGNORECASE)
_WRAPS = re.compile(rb"DataParallel\(|\bDDP\(|torch\.compile\(|DataParallel as ")
_STRIPS = re.compile(
    rb"[\"'](?:module|_orig_mod)\.[\"']|(?:replace|startswith|removeprefix|strip|split)\([\"'](?:module|_orig_mod)[\"']|consume_prefix_in_state_dict_if_present|\bunwrap_model\b|de_parallel"
    rb"|\[7:\]|\[10:\]"
)

_NEAR = 400  # bytes around what cuts a prefix off in which it says of what


def _unhandled(data: bytes) -> bool:
    """Tell whether a source wraps modules and nowhere deals with the prefix that this gives their keys."""
    return _WRAPS.search(data) is not None and not _is_stripped(data)


def _is_stripped(data: bytes) -> bool:
    """Tell whether a source cuts the prefix off keys, and not only off those of weights that somebody else trained."""
    return any(
        b"pretrain" not in data[max(found.start() - _NEAR, 0) : found.end() + _NEAR].lower()
        for found in _STRIPS.finditer(data)
    )


class _Wrap(NamedTuple):
    """How a name was wrapped: which attribute holds the module, and whether that is so on every path."""

    holder: str
    always: bool


class _Bound(NamedTuple):
    """One binding of a name, an attribute or a parameter.

    Attributes:
        order: When in the source it is bound.
        value: To what.
        always: Whether under no condition.
        scope: Where the value stands.
        at: When in the source that is read.
        part: Which element of the value it is bound to; None for all of it.
    """

    order: int
    value: cst.BaseExpression
    always: bool
    scope: Scope
    at: int
    part: int | None = None


class _Wrapped:
    """What the names, attributes and parameters of one file are bound to, in the order of the source."""

    def __init__(self, context: Context) -> None:
        import libcst as cst

        from lint_rules.tree import walk

        self._names = context.names
        self._order = {node: number for number, node in enumerate(walk(context.tree))}
        self._bound: dict[tuple[int, str], list[_Bound]] = {}
        self._unwrapped: set[tuple[int, str]] = set()
        self._following: set[cst.CSTNode] = set()
        defined = [node for node in self._order if isinstance(node, (cst.FunctionDef, cst.ClassDef))]
        self._classes = {context.names.scope(node): node for node in defined if isinstance(node, cst.ClassDef)}
        self._defined = {node.name.value: node for node in defined}
        for name in [name for name, times in Counter(node.name.value for node in defined).items() if times > 1]:
            del self._defined[name]
        functions = (node for node in defined if isinstance(node, cst.FunctionDef))
        bodies: list[cst.FunctionDef | cst.Module] = [context.tree, *functions]
        for body in bodies:
            scope = context.names.scope(body)
            self._read(body, scope, always=True)
            self._unwrapped |= {self._key(name, scope) for name in _unwrapped(body)}
        for call, scope in context.names.calls:
            self._pass(call, scope)

    def binding(self, receiver: str, call: cst.Call, scope: Scope) -> _Wrap | None:
        """Find the wrapper that a name or attribute is bound to where its state is taken."""
        if not receiver or self._key(receiver, scope) in self._unwrapped:
            return None
        return self._bound_to(receiver, self._order[call], scope)

    def _key(self, name: str, scope: Scope) -> tuple[int, str]:
        """Tell names of different scopes apart, and attributes of `self` of classes that are not related."""
        from lint_rules.names import Place

        home: Scope | None = scope
        if "." not in name:
            return id(scope.owner(name)), name
        while home is not None and home.place is not Place.CLASS:
            home = home.parent
        if home is None or not name.startswith("self."):
            return 0, name
        seen = set()
        while home not in seen:
            seen.add(home)
            bases = (self._defined.get(_spelled(base.value)) for base in self._classes[home].bases)
            base = next((base for base in bases if base in self._classes.values()), None)
            home = self._names.scope(base) if base is not None else home
        return id(home), name

    def _bound_to(self, name: str, at: int, scope: Scope, part: int | None = None) -> _Wrap | None:
        """Find the last wrapper that a name is bound to before a place in the source, or at all in other scopes.

        None where the module itself is on the other of two branches.
        """
        found = self._bound.get(self._key(name, scope), [])
        if "." not in name and scope.owner(name) is scope:
            found = [each for each in found if each.order < at]
        last = max((each.order for each in found if each.always and not self._keeps(each.value, name)), default=0)
        if any(_is_inside(each.value) and each.order > last for each in found):
            return None
        for each in sorted(found, key=lambda bound: bound.order, reverse=True):
            wrap = self._wrap(each.value, each.at, each.scope, part if each.part is None else each.part)
            if wrap is not None:
                return _Wrap(wrap.holder, wrap.always and each.always)
            if (each.always and not self._keeps(each.value, name)) or _is_inside(each.value):
                return None
        return None

    def _read(self, body: cst.CSTNode, scope: Scope, *, always: bool) -> None:
        """Note the assignments of one function, or of the module outside its functions."""
        import libcst as cst

        from lint_rules.tree import children

        for node in children(body):
            if isinstance(node, cst.Assign):
                for target in node.targets:
                    self._assign(target.target, node.value, node, scope, always=always)
            elif isinstance(node, cst.AnnAssign) and node.value is not None:
                self._assign(node.target, node.value, node, scope, always=always)
            elif isinstance(node, (cst.If, cst.Else, cst.Try, cst.TryStar, cst.Match)):
                self._read(node, scope, always=always and isinstance(node, cst.If) and _is_main(node))
            elif not isinstance(node, (cst.FunctionDef, cst.ClassDef, cst.BaseExpression)):
                self._read(node, scope, always=always)

    def _assign(
        self, target: cst.CSTNode, value: cst.BaseExpression, node: cst.CSTNode, scope: Scope, *, always: bool
    ) -> None:
        import libcst as cst

        order = self._order[node]
        targets = target.elements if isinstance(target, (cst.Tuple, cst.List)) else ()
        values = value.elements if isinstance(value, (cst.Tuple, cst.List)) else ()
        if len(targets) == len(values) > 0:
            for one, other in zip(targets, values, strict=True):
                self._assign(one.value, other.value, node, scope, always=always)
            return
        for part, element in enumerate(targets):
            name = _spelled(element.value)
            self._bound.setdefault(self._key(name, scope), []).append(_Bound(order, value, always, scope, order, part))
        if name := _spelled(target):
            self._bound.setdefault(self._key(name, scope), []).append(_Bound(order, value, always, scope, order))

    def _pass(self, call: cst.Call, scope: Scope) -> None:
        """Bind the parameters of a function of the file to what one call gives it."""
        import libcst as cst

        function = self._function(call.func)
        if isinstance(function, cst.ClassDef):
            methods = (node for node in function.body.body if isinstance(node, cst.FunctionDef))
            function = next((node for node in methods if node.name.value == "__init__"), None)
        if function is None:
            return
        inner = self._names.scope(function)
        params = [param.name.value for param in (*function.params.params, *function.params.kwonly_params)]
        places = iter(params[params[:1] == ["self"] :])
        for arg in call.args:
            name = arg.keyword.value if arg.keyword else next(places, "")
            if name in params and not arg.star and not _is_tested(name, function):
                bound = _Bound(self._order[function], arg.value, always=False, scope=scope, at=self._order[call])
                self._bound.setdefault((id(inner), name), []).append(bound)

    def _function(self, node: cst.BaseExpression) -> cst.FunctionDef | cst.ClassDef | None:
        """Find the function, method or class of the file that is called."""
        spelled = _spelled(node).removeprefix("self.")
        return self._defined.get(spelled)

    def _wrap(self, value: cst.BaseExpression, at: int, scope: Scope, part: int | None) -> _Wrap | None:
        """Find the wrapper that an expression gives."""
        import libcst as cst

        from lint_rules.evidence import returned
        from lint_rules.tree import method_of

        while isinstance(value, cst.Call) and isinstance(value.func, cst.Attribute) and method_of(value) in _KEEPS:
            value = value.func.value
        if isinstance(value, (cst.Tuple, cst.List)) and part is not None and part < len(value.elements):
            return self._wrap(value.elements[part].value, at, scope, None)
        if isinstance(value, cst.IfExp):
            return self._either((value.body, value.orelse), at, scope, part)
        if isinstance(value, (cst.Name, cst.Attribute)):
            return self._bound_to(_spelled(value), at, scope, part)
        if not isinstance(value, cst.Call):
            return None
        name = self._names.resolve(value.func, scope) or ""
        if holder := "module" if _PARALLEL.match(name) else "_orig_mod" if name == _COMPILE else "":
            return _Wrap(holder, always=True) if part is None else None
        function = self._function(value.func)
        if not isinstance(function, cst.FunctionDef) or function in self._following:
            return None
        self._following.add(function)
        inner = self._names.scope(function)
        given = [each for each in returned(function) if each is not None]
        wrap = self._either(given, len(self._order), inner, part)
        self._following.discard(function)
        return wrap

    def _either(self, values: Sequence[cst.BaseExpression], at: int, scope: Scope, part: int | None) -> _Wrap | None:
        """Find the wrapper that one of several expressions gives; none where another one is the module in it."""
        wraps = [self._wrap(each, at, scope, part) for each in values]
        found = [wrap for wrap in wraps if wrap is not None]
        if not found or any(map(_is_inside, values)):
            return None
        return _Wrap(found[0].holder, len(found) == len(wraps) and all(wrap.always for wrap in found))

    @staticmethod
    def _keeps(value: cst.BaseExpression, receiver: str) -> bool:
        """Tell whether an assignment only moves what the name is bound to already."""
        import libcst as cst

        if not isinstance(value, cst.Call) or not isinstance(value.func, cst.Attribute):
            return False
        return value.func.attr.value in _KEEPS and _spelled(value.func.value) == receiver


def _unwrapped(body: cst.FunctionDef | cst.Module) -> Iterator[str]:
    """Name what some code saves the state of the wrapped module of, on the other of two branches perhaps."""
    import libcst as cst

    for call, receiver in _saved_states(body):
        if isinstance(call.func, cst.Attribute) and _is_inside(call.func.value):
            yield receiver.rpartition(".")[0]


def _is_tested(name: str, function: cst.FunctionDef) -> bool:
    """Tell whether a function asks whether what it is given is a wrapper."""
    import libcst as cst

    from lint_rules.tree import walk

    calls = (node for node in walk(function.body) if isinstance(node, cst.Call))
    return any(
        _spelled(call.func) in {"isinstance", "hasattr"} and call.args and _spelled(call.args[0].value) == name
        for call in calls
    )


def _is_inside(value: cst.BaseExpression) -> bool:
    """Tell whether an expression is the module in a wrapper."""
    import libcst as cst

    return isinstance(value, cst.Attribute) and value.attr.value in {"module", "_orig_mod"}


def _saved_states(body: cst.FunctionDef | cst.Module) -> Iterator[tuple[cst.Call, str]]:
    """Yield each `state_dict()` that one block of code saves, and of what it is."""
    import libcst as cst

    from lint_rules.evidence import own

    nodes = list(own(body.body if isinstance(body, cst.FunctionDef) else body))
    saved = [
        part
        for node in nodes
        if isinstance(node, cst.Call) and _SAVES.search(_spelled(node.func))
        for arg in node.args
        for part in _parts(arg.value)
    ]
    names = {part.value for part in saved if isinstance(part, cst.Name)}
    for node in nodes:
        if isinstance(node, cst.Assign) and any(_name_of(target.target) in names for target in node.targets):
            saved += _parts(node.value)
    for part in saved:
        if isinstance(part, cst.Call) and isinstance(part.func, cst.Attribute) and part.func.attr.value == "state_dict":
            yield part, _spelled(part.func.value)


def _parts(node: cst.BaseExpression) -> Iterator[cst.BaseExpression]:
    """Yield an expression and what it puts into a container as it is."""
    import libcst as cst

    yield node
    if isinstance(node, cst.Dict):
        for element in node.elements:
            yield from _parts(element.value)
    elif isinstance(node, (cst.Tuple, cst.List)):
        for item in node.elements:
            yield from _parts(item.value)
    elif isinstance(node, cst.Call) and _spelled(node.func) in {"dict", "OrderedDict", "collections.OrderedDict"}:
        for arg in node.args:
            yield from _parts(arg.value)


def _spelled(node: cst.CSTNode) -> str:
    import libcst as cst

    from lint_rules.tree import dotted

    return (dotted(node) if isinstance(node, cst.BaseExpression) else None) or ""


def _name_of(target: cst.BaseExpression) -> str:
    """Spell what an assignment binds, or puts an entry into."""
    import libcst as cst

    return _spelled(target.value if isinstance(target, cst.Subscript) else target)


def _is_main(node: cst.If) -> bool:
    import libcst as cst

    return isinstance(node.test, cst.Comparison) and _spelled(node.test.left) == "__name__"


def _fix(call: cst.Call, receiver: str, wrap: _Wrap, context: Context, *, safe: bool) -> Fix:
    import libcst as cst

    node = cst.ensure_type(call.func, cst.Attribute).value
    line, column, end_line, end_column = context.span(node)
    inner = f"{receiver}.{wrap.holder}" if wrap.always else f'getattr({receiver}, "{wrap.holder}", {receiver})'
    return Fix((Edit(line, column, end_line, end_column, inner),), safe=safe)


class SaveWrappedModule(Rule):
    """Finds states that are saved with the prefix of a wrapper.

    ## What it does

    Reports `model.state_dict()` on its way into a file where `model` was bound to `DataParallel(...)`,
    `DistributedDataParallel(...)` or `torch.compile(...)`, always or on some paths. Files that deal with the prefix
    themselves, by a helper or by stripping it, and not only from pretrained weights, and functions that save
    `model.module.state_dict()` elsewhere are left alone.

    ## Why is this bad

    The wrapper is a module itself, so every key of its state begins with `module.` or `_orig_mod.`. The checkpoint
    loads only into a module that is wrapped in the same way: on one device, for inference or without the compiler,
    every key is both missing and unexpected, and with `strict=False` nothing is loaded at all.

    ## Fix safety

    Saves the state of the wrapped module, `model.module.state_dict()`. The fix is safe where the wrapping is
    unconditional and the file does not load states itself. Where the wrapping depends, the new code serves both cases.

    ## References

    - [PyTorch: Saving and loading models](https://docs.pytorch.org/tutorials/beginner/saving_loading_models.html)
    - [DistributedDataParallel](https://docs.pytorch.org/docs/stable/generated/torch.nn.parallel.DistributedDataParallel.html)
    """

    code = "CKP402"
    name = "save-wrapped-module"
    summary = "A state is saved with the prefix of `DataParallel`, `DistributedDataParallel` or `torch.compile`"
    needs = ((b"state_dict", b".state_dict()", b"save", _unhandled),)
    marks = frozenset(
        {
            "state_dict",
            "load_state_dict",
            "DataParallel",
            "DistributedDataParallel",
            "DDP",
            "compile",
            "module",
            "_orig_mod",
        }
    )
    follows = True

    def check(self, context: Context) -> Iterator[Finding]:
        """Report each state of a wrapped module that is saved.

        Args:
            context: The source.

        Yields:
            One finding a call of `state_dict()`.
        """
        import libcst as cst

        from lint_rules.tree import walk

        if _is_stripped(context.text(None).encode()):
            return
        loads = any(
            isinstance(node, cst.Attribute) and node.attr.value == "load_state_dict" for node in walk(context.tree)
        )
        wrapped = _Wrapped(context)
        functions = (node for node in walk(context.tree) if isinstance(node, cst.FunctionDef))
        bodies: list[cst.FunctionDef | cst.Module] = [context.tree, *functions]
        for body in bodies:
            for call, receiver in _saved_states(body):
                wrap = wrapped.binding(receiver, call, context.names.scope(body))
                if wrap is not None:
                    yield context.finding(
                        self,
                        call,
                        f"every key is saved with the wrapper's prefix `{wrap.holder}.`, and loads only into a module "
                        f"that is wrapped alike; save `{receiver}.{wrap.holder}.state_dict()`",
                        _fix(call, receiver, wrap, context, safe=wrap.always and not loads),
                    )

    invalid = (
        Example(
            """
            import torch
            from torch import nn

            model = nn.DataParallel(nn.Linear(8, 2))
            torch.save(model.state_dict(), "model.pt")
            """,
            why="DataParallel",
            lines=(5,),
            fixed="""
            import torch
            from torch import nn

            model = nn.DataParallel(nn.Linear(8, 2))
            torch.save(model.module.state_dict(), "model.pt")
            """,
        ),
        Example(
            """
            import torch

            from networks import Net

            net = torch.compile(Net())
            torch.save({"net": net.state_dict(), "epoch": 3}, "net.pt")
            """,
            why="the compiler",
            lines=(6,),
            fixed="""
            import torch

            from networks import Net

            net = torch.compile(Net())
            torch.save({"net": net._orig_mod.state_dict(), "epoch": 3}, "net.pt")
            """,
        ),
        Example(
            """
            import torch
            from torch import nn

            from networks import Net


            def save_model(net, path):
                torch.save(net.state_dict(), path)


            class Run:
                def keep(self, path, *, model):
                    torch.save({"net": model.state_dict()}, path)

                def main(self):
                    model = nn.DataParallel(Net())
                    save_model(model, "net.pt")
                    self.keep("run.pt", model=model)


            def keep_both(models):
                coder, head = models
                torch.save([coder.state_dict(), head.state_dict()], "both.pt")


            coder, head = nn.DataParallel(Net()), Net()
            keep_both([coder, head])
            """,
            why="saved by a function or method that is given it",
            lines=(8, 13, 23),
            fixed="""
            import torch
            from torch import nn

            from networks import Net


            def save_model(net, path):
                torch.save(getattr(net, "module", net).state_dict(), path)


            class Run:
                def keep(self, path, *, model):
                    torch.save({"net": getattr(model, "module", model).state_dict()}, path)

                def main(self):
                    model = nn.DataParallel(Net())
                    save_model(model, "net.pt")
                    self.keep("run.pt", model=model)


            def keep_both(models):
                coder, head = models
                torch.save([getattr(coder, "module", coder).state_dict(), head.state_dict()], "both.pt")


            coder, head = nn.DataParallel(Net()), Net()
            keep_both([coder, head])
            """,
        ),
        Example(
            """
            import torch
            from torch import nn

            from networks import Net


            def start(net, pretrained):
                state = torch.load(pretrained, weights_only=True)
                net.load_state_dict({name.replace("module.", ""): value for name, value in state.items()})


            net = Net()
            start(net, "start.pt")
            net = nn.DataParallel(net)
            torch.save(net.state_dict(), "net.pt")
            """,
            why="only the weights that it starts from lose their prefix",
            lines=(15,),
        ),
        Example(
            """
            import torch
            from torch.nn.parallel import DistributedDataParallel as DDP

            from networks import Net


            def main(rank, distributed):
                model = Net().cuda(rank)
                if distributed:
                    model = DDP(model, device_ids=[rank])
                if rank == 0:
                    save_checkpoint({"state_dict": model.state_dict()}, "model.pt")


            def save_checkpoint(state, path):
                torch.save(state, path)
            """,
            why="on some paths, saved by a helper",
            lines=(12,),
            fixed="""
            import torch
            from torch.nn.parallel import DistributedDataParallel as DDP

            from networks import Net


            def main(rank, distributed):
                model = Net().cuda(rank)
                if distributed:
                    model = DDP(model, device_ids=[rank])
                if rank == 0:
                    save_checkpoint({"state_dict": getattr(model, "module", model).state_dict()}, "model.pt")


            def save_checkpoint(state, path):
                torch.save(state, path)
            """,
        ),
        Example(
            """
            import torch
            from torch import nn

            from networks import Net


            class Trainer:
                def __init__(self):
                    self.model = nn.DataParallel(Net()).cuda()

                def keep(self, path):
                    state = self.model.state_dict()
                    torch.save(state, path)
            """,
            why="an attribute, kept under a name first",
            lines=(12,),
        ),
        Example(
            """
            import torch
            from torch import nn

            from networks import Net, train

            model = nn.DataParallel(Net())
            optimizer = torch.optim.Adam(model.module.parameters())
            memory = model.module.initial_state(4)
            train(model, optimizer, memory)
            torch.save(model.state_dict(), "model.pt")
            """,
            why="of the module inside only the parameters are used",
            lines=(10,),
        ),
        Example(
            """
            import torch
            from apex.parallel import DistributedDataParallel
            from torch import nn

            from networks import Net, evaluate


            class Trainer:
                def __init__(self, model, several):
                    if several:
                        model = nn.DataParallel(model)
                    self.model = model

                def save(self, path):
                    state = {"epoch": 3}
                    state["model"] = self.model.state_dict()
                    torch.save(state, path)


            def main(path, average):
                model = Net()
                model = DistributedDataParallel(model)
                average.load_state_dict(model.module.state_dict())
                evaluate(model.module)
                torch.save(model.state_dict(), path)


            def export(model, path):
                torch.save(model.module.state_dict(), path)
            """,
            why="bound to an attribute, and an entry of a dict; the module inside is used elsewhere",
            lines=(16, 25),
            fixed="""
            import torch
            from apex.parallel import DistributedDataParallel
            from torch import nn

            from networks import Net, evaluate


            class Trainer:
                def __init__(self, model, several):
                    if several:
                        model = nn.DataParallel(model)
                    self.model = model

                def save(self, path):
                    state = {"epoch": 3}
                    state["model"] = getattr(self.model, "module", self.model).state_dict()
                    torch.save(state, path)


            def main(path, average):
                model = Net()
                model = DistributedDataParallel(model)
                average.load_state_dict(model.module.state_dict())
                evaluate(model.module)
                torch.save(model.module.state_dict(), path)


            def export(model, path):
                torch.save(model.module.state_dict(), path)
            """,
        ),
        Example(
            """
            import torch
            from torch import nn, optim
            from torch.nn.parallel import DistributedDataParallel as DDP

            from networks import Net, step


            def wrap(model):
                return DDP(model).cuda()


            def setup(rank):
                model: nn.Module = DDP(Net().to(rank), device_ids=[rank])
                optimizer = optim.SGD(model.parameters(), lr=0.1)
                return model, optimizer


            def save(model, path):
                torch.save(model.state_dict(), path)


            class Trainer:
                def __init__(self, net, path):
                    self.net, self.path = net, path

                def keep(self):
                    torch.save(self.net.state_dict(), self.path)


            def main(rank):
                model, optimizer = setup(rank)
                step(model, optimizer)
                torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict()}, "last.pt")


            net, first = wrap(Net()), nn.DataParallel(Net())
            save(net, "net.pt")
            torch.save(net.state_dict(), "again.pt")
            Trainer(first, "first.pt").keep()
            """,
            why="helpers of the file wrap it, alone or among others, or are given it",
            lines=(19, 27, 33, 38),
        ),
    )
    valid = (
        Example(
            """
            import torch
            from torch import nn

            from networks import Net

            net = nn.DataParallel(Net()) if torch.cuda.is_available() else Net()
            if isinstance(net, nn.DataParallel):
                net = net.module
            torch.save(net.state_dict(), "net.pt")
            state = {"first": net.state_dict()}
            other = net
            net = other
            """,
            why="bound to the module inside where it was wrapped",
        ),
        Example(
            """
            import torch
            from torch import nn

            from networks import Net

            net = Net()
            model = nn.DataParallel(net)
            torch.save(model.module.state_dict(), "a.pt")
            torch.save(net.state_dict(), "b.pt")
            """,
            why="the module inside",
        ),
        Example(
            """
            import torch
            from torch import nn

            from networks import Net

            model = Net()
            if torch.cuda.device_count() > 1:
                model = nn.DataParallel(model)
            if torch.cuda.device_count() > 1:
                state = model.module.state_dict()
            else:
                state = model.state_dict()
            torch.save(state, "a.pt")
            """,
            why="either way has its branch",
        ),
        Example(
            """
            import torch
            from torch import nn

            from networks import Net

            model = nn.DataParallel(Net())
            model = model.module
            torch.save(model.state_dict(), "a.pt")
            """,
            why="unwrapped before",
        ),
        Example(
            """
            import torch
            from torch import nn

            from networks import Net

            model = Net()
            torch.save(model.state_dict(), "start.pt")
            model = nn.DataParallel(model)
            for name, value in model.state_dict().items():
                print(name, value.shape)
            """,
            why="saved before it is wrapped, only read afterwards",
        ),
        Example(
            """
            import torch
            from torch import nn

            from networks import Net

            model = nn.DataParallel(Net())
            state = {name.replace("module.", ""): value for name, value in model.state_dict().items()}
            torch.save(state, "a.pt")
            """,
            why="the prefix is stripped",
        ),
        Example(
            """
            import torch
            from torch import nn

            from networks import Net

            model = nn.DataParallel(Net())
            torch.save(model.state_dict(), "a.pt")
            loaded = torch.load("a.pt", weights_only=True)
            Net().load_state_dict({name[7:]: value for name, value in loaded.items()})
            """,
            why="the prefix is cut off by its length",
        ),
        Example(
            """
            import torch
            from torch import nn

            from networks import Net


            def keep(net, other):
                net = unwrapped(net)
                torch.save(net.state_dict(), "net.pt")
                torch.save(other.state_dict(), "other.pt")


            class Run:
                def __init__(self, parallel):
                    self.parallel = parallel
                    self.net = nn.DataParallel(Net()) if parallel else Net()

                def write(self, net, path):
                    torch.save(net.state_dict(), path)

                def save(self, path):
                    if self.parallel:
                        self.write(self.net.module, path)
                    else:
                        self.write(self.net, path)


            def checked(net):
                if isinstance(net, nn.DataParallel):
                    return
                torch.save(net.state_dict(), "net.pt")


            model = nn.DataParallel(Net())
            keep(model, model.module)
            checked(model)
            if parallel:
                bare = model.module
            else:
                bare = model
            torch.save(bare.state_dict(), "bare.pt")
            """,
            why="parameters that are unwrapped, asked what they are, or given the module inside where there is one",
        ),
        Example(
            """
            import torch
            from torch import nn

            from networks import Net


            def inside(model):
                if isinstance(model, nn.DataParallel):
                    return model.module
                return model


            def inner(model):
                return model.module if hasattr(model, "module") else model


            def save(model, path):
                model = inner(model)
                torch.save(model.state_dict(), path)


            class Parallel:
                def __init__(self, net):
                    self.net = nn.DataParallel(net)


            class Single:
                def __init__(self, net):
                    self.net = net

                def keep(self, path):
                    torch.save(self.net.state_dict(), path)


            net = nn.DataParallel(Net())
            save(net, "net.pt")
            bare = inside(net)
            torch.save(bare.state_dict(), "bare.pt")
            """,
            why="helpers of the file unwrap it, and an attribute of another class",
        ),
    )
