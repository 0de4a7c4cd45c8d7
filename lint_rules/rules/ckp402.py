"""CKP402: the state of a wrapped module saved with the wrapper's prefix."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from lint_rules.rule import Edit, Example, Finding, Fix, Rule

if TYPE_CHECKING:
    from collections.abc import Iterator

    import libcst as cst

    from lint_rules.engine import Context
    from lint_rules.wrappers import Wrap

_WRAPS = re.compile(rb"DataParallel\(|DDP(?<!\wDDP)\(|torch\.compile\(|DataParallel as |DataParallel\)\s*:")
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


def _fix(call: cst.Call, receiver: str, wrap: Wrap, context: Context, *, safe: bool) -> Fix:
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

        from lint_rules.evidence import bodies
        from lint_rules.tree import walk
        from lint_rules.wrappers import Wrapped, saved_states

        if _is_stripped(context.text(None).encode()):
            return
        loads = any(
            isinstance(node, cst.Attribute) and node.attr.value == "load_state_dict" for node in walk(context.tree)
        )
        wrapped = Wrapped(context.tree, context.names)
        for body in bodies(context.tree):
            for call, receiver in saved_states(body):
                wrap = wrapped.binding(receiver, call, context.names.scope(body))
                if wrap is not None:
                    spelled = context.tree.code_for_node(cst.ensure_type(call.func, cst.Attribute).value)
                    yield context.finding(
                        self,
                        call,
                        f"every key is saved with the wrapper's prefix `{wrap.holder}.`, and loads only into a module "
                        f"that is wrapped alike; save `{spelled}.{wrap.holder}.state_dict()`",
                        _fix(call, spelled, wrap, context, safe=wrap.always and not loads),
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


            def wrapped(net, many):
                if many:
                    return nn.DataParallel(net)
                return net


            if torch.cuda.device_count() > 1:
                one = nn.DataParallel(Net())
            else:
                one = Net()
            two = wrapped(Net(), many=True)
            three = nn.DataParallel(Net()) if torch.cuda.is_available() else Net()
            torch.save(one.state_dict(), "one.pt")
            torch.save(two.state_dict(), "two.pt")
            torch.save(three.state_dict(), "three.pt")
            """,
            why="wrapped on more than one device, by a helper that may not, and in an expression",
            lines=(19, 20, 21),
            fixed="""
            import torch
            from torch import nn

            from networks import Net


            def wrapped(net, many):
                if many:
                    return nn.DataParallel(net)
                return net


            if torch.cuda.device_count() > 1:
                one = nn.DataParallel(Net())
            else:
                one = Net()
            two = wrapped(Net(), many=True)
            three = nn.DataParallel(Net()) if torch.cuda.is_available() else Net()
            torch.save(getattr(one, "module", one).state_dict(), "one.pt")
            torch.save(getattr(two, "module", two).state_dict(), "two.pt")
            torch.save(getattr(three, "module", three).state_dict(), "three.pt")
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
        Example(
            """
            import torch

            from networks import Net


            class Open(torch.nn.DataParallel):
                def __getattr__(self, name):
                    try:
                        return super().__getattr__(name)
                    except AttributeError:
                        return getattr(self.module, name)


            net = Open(Net())
            torch.save(net.state_dict(), "net.pt")
            """,
            why="a class of the file that is derived from a wrapper",
            lines=(15,),
        ),
        Example(
            """
            import abc

            import torch
            from torch import nn

            from networks import Net


            class Run(abc.ABC):
                def save(self, path):
                    torch.save(self.model.state_dict(), path)

                def start(self):
                    self.model = nn.DataParallel(Net())
                    if torch.cuda.is_available():
                        self.model = self.model.cuda().train()


            class LongRun(abc.ABC, Run):
                def keep(self, path):
                    model = self.model
                    torch.save(dict(model=model.state_dict(), epoch=3), path)


            class SmallRun:
                def save(self, path):
                    torch.save(self.model.state_dict(), path)

                def start(self):
                    self.model = Net()


            def wrap(run):
                run.net = nn.DataParallel(run.net)


            class Report:
                def keep(self, run, path):
                    torch.save(run.net.state_dict(), path)
            """,
            why="attributes, wrapped below the method that saves, in a base class, or from outside, and moved",
            lines=(11, 22, 39),
            fixed="""
            import abc

            import torch
            from torch import nn

            from networks import Net


            class Run(abc.ABC):
                def save(self, path):
                    torch.save(self.model.module.state_dict(), path)

                def start(self):
                    self.model = nn.DataParallel(Net())
                    if torch.cuda.is_available():
                        self.model = self.model.cuda().train()


            class LongRun(abc.ABC, Run):
                def keep(self, path):
                    model = self.model
                    torch.save(dict(model=model.module.state_dict(), epoch=3), path)


            class SmallRun:
                def save(self, path):
                    torch.save(self.model.state_dict(), path)

                def start(self):
                    self.model = Net()


            def wrap(run):
                run.net = nn.DataParallel(run.net)


            class Report:
                def keep(self, run, path):
                    torch.save(run.net.module.state_dict(), path)
            """,
        ),
        Example(
            """
            import torch
            from torch import nn

            from networks import Net


            def save(path):
                torch.save({"all": model.state_dict(), "head": model.head.state_dict()}, path)


            model: nn.Module
            model = read().module
            model = nn.DataParallel(model)
            try:
                other = nn.DataParallel(Net())
            except RuntimeError:
                other = Net()
            save("model.pt")
            torch.save(other.state_dict(), "other.pt")
            """,
            why="a name of the file, wrapped below the function that saves; one that may fail to be wrapped",
            lines=(8, 19),
            fixed="""
            import torch
            from torch import nn

            from networks import Net


            def save(path):
                torch.save({"all": model.module.state_dict(), "head": model.head.state_dict()}, path)


            model: nn.Module
            model = read().module
            model = nn.DataParallel(model)
            try:
                other = nn.DataParallel(Net())
            except RuntimeError:
                other = Net()
            save("model.pt")
            torch.save(getattr(other, "module", other).state_dict(), "other.pt")
            """,
        ),
        Example(
            """
            import torch
            from torch import nn

            from networks import Net


            def save(net, path):
                print()
                print(net)
                if isinstance(path, str):
                    torch.save(net.state_dict(), path)


            class Keeper:
                count = 0

                def keep(self, path):
                    torch.save(self.net.state_dict(), path)

                def __init__(self, net):
                    self.net = net


            def pick(net, many):
                if many:
                    net = nn.DataParallel(net)
                return net


            save(path="net.pt", net=nn.DataParallel(Net()))
            Keeper(nn.DataParallel(Net())).keep("net.pt")
            picked = pick(Net(), many=False)
            torch.save(picked.state_dict(), "picked.pt")
            """,
            why="given by keyword, to a constructor, and by a helper that may wrap",
            lines=(11, 18, 33),
            fixed="""
            import torch
            from torch import nn

            from networks import Net


            def save(net, path):
                print()
                print(net)
                if isinstance(path, str):
                    torch.save(getattr(net, "module", net).state_dict(), path)


            class Keeper:
                count = 0

                def keep(self, path):
                    torch.save(getattr(self.net, "module", self.net).state_dict(), path)

                def __init__(self, net):
                    self.net = net


            def pick(net, many):
                if many:
                    net = nn.DataParallel(net)
                return net


            save(path="net.pt", net=nn.DataParallel(Net()))
            Keeper(nn.DataParallel(Net())).keep("net.pt")
            picked = pick(Net(), many=False)
            torch.save(getattr(picked, "module", picked).state_dict(), "picked.pt")
            """,
        ),
        Example(
            """
            import torch
            from torch import nn

            from networks import build


            def train(settings):
                nets = build(settings)
                for name in nets:
                    if name != "critic":
                        nets[name] = nn.DataParallel(nets[name])
                states = {name: nets[name].state_dict() for name in nets}
                torch.save({"nets": states, "epoch": 3}, "nets.pt")


            class Run:
                def start(self, names):
                    self.nets = {name: build(name) for name in names}
                    for name in names:
                        self.nets[name] = nn.DataParallel(self.nets[name])

                def save(self, name):
                    torch.save(self.nets[name].state_dict(), f"{name}.pt")


            pair = {"a": build("a"), "b": build("b")}
            pair["a"] = nn.DataParallel(pair["a"])
            if torch.cuda.is_available():
                pair["a"] = pair["a"].cuda()
            one = pair["a"]
            torch.save([pair["a"].state_dict(), pair["b"].state_dict(), one.state_dict()], "pair.pt")
            """,
            why="the entries of a dict",
            lines=(12, 23, 31, 31),
            fixed="""
            import torch
            from torch import nn

            from networks import build


            def train(settings):
                nets = build(settings)
                for name in nets:
                    if name != "critic":
                        nets[name] = nn.DataParallel(nets[name])
                states = {name: getattr(nets[name], "module", nets[name]).state_dict() for name in nets}
                torch.save({"nets": states, "epoch": 3}, "nets.pt")


            class Run:
                def start(self, names):
                    self.nets = {name: build(name) for name in names}
                    for name in names:
                        self.nets[name] = nn.DataParallel(self.nets[name])

                def save(self, name):
                    torch.save(getattr(self.nets[name], "module", self.nets[name]).state_dict(), f"{name}.pt")


            pair = {"a": build("a"), "b": build("b")}
            pair["a"] = nn.DataParallel(pair["a"])
            if torch.cuda.is_available():
                pair["a"] = pair["a"].cuda()
            one = pair["a"]
            torch.save([pair["a"].module.state_dict(), pair["b"].state_dict(), one.module.state_dict()], "pair.pt")
            """,
        ),
        Example(
            """
            import torch
            from torch import nn

            from networks import Net


            class Base(nn.Module):
                def save(self, path):
                    torch.save({"net": self.net.state_dict()}, path)


            class Colours(Base):
                def __init__(self, gpus):
                    super().__init__()
                    net = Net()
                    if len(gpus) > 1:
                        net = nn.DataParallel(net, gpus)
                    self.add_module("net", net)
            """,
            why="an attribute by its name, of a derived class",
            lines=(9,),
        ),
    )
    valid = (
        Example(
            """
            import torch
            from torch import nn

            from networks import build


            def train(nets, gpus):
                for name in nets:
                    if gpus > 1:
                        nets[name] = nn.DataParallel(nets[name])
                for name in nets:
                    if gpus > 1:
                        torch.save(nets[name].module.state_dict(), f"{name}.pt")
                    else:
                        torch.save(nets[name].state_dict(), f"{name}.pt")


            class Run:
                def start(self, names):
                    self.nets = {name: build(name) for name in names}
                    for name in names:
                        self.nets[name] = nn.DataParallel(self.nets[name])

                def save(self, name):
                    inner = self.nets[name].module
                    torch.save(inner.state_dict(), f"{name}.pt")


            def wrap(parts):
                parts["a"] = nn.DataParallel(parts["a"])
                build(parts)[0] = parts["a"]


            def save(parts):
                torch.save(parts["a"].state_dict(), "a.pt")
                torch.save(build(parts)[0].state_dict(), "b.pt")
            """,
            why="the entries of a dict, of which the module inside is saved, or that of other dicts",
        ),
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


            def build(net):
                return build(net)


            model, other = nn.DataParallel(Net()), Net()
            torch.save(model.names(), "names.pt")
            torch.save(other.state_dict(), "other.pt")
            net = build(Net())
            torch.save(net.state_dict(), "net.pt")
            """,
            why="something else of a wrapped module, the state of another one, and what never comes back",
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
        Example(
            """
            import torch

            from networks import Net


            class Bare(torch.nn.DataParallel):
                def state_dict(self, *args, **kwargs):
                    return self.module.state_dict(*args, **kwargs)


            class Net(Net):
                pass


            torch.save(Bare(Net()).state_dict(), "net.pt")
            net = Bare(Net())
            torch.save(net.state_dict(), "net.pt")
            other = Net()
            torch.save(other.state_dict(), "other.pt")
            """,
            why="a class derived from a wrapper gives the state without the prefix; another has its base's name",
        ),
        Example(
            """
            import torch
            from torch import nn

            from networks import Net, convert, nets


            class Single:
                def build(self):
                    return Net()

                def save(self, path):
                    model = self.build()
                    torch.save(model.state_dict(), path)


            class Parallel:
                def build(self):
                    return nn.DataParallel(Net())


            def convert_all(path):
                model = nn.DataParallel(Net())
                state = model.state_dict()
                torch.save({"entries": len(state)}, path)
                torch.save(convert(model.state_dict()), path)


            def keep(path, net, other):
                torch.save(net.state_dict(), path)


            def keep_own(self, path):
                torch.save(self.model.state_dict(), path)


            def outer(path):
                model = nets[0]

                def wrapped():
                    model = nn.DataParallel(Net())
                    return model

                torch.save(model.state_dict(), path)
                keep(*path, wrapped(), model)


            class Around:
                def __init__(self, inner):
                    self.inner = self.outer
                    self.outer = self.inner
                    self.first, self.second = (*inner,)

                def save(self, path):
                    torch.save([self.inner.state_dict(), self.second.state_dict()], path)
            """,
            why="methods and names of other scopes, states that are not saved as they are, what is bound to itself",
        ),
        Example(
            """
            import torch
            from torch.nn.parallel import DistributedDataParallel

            from networks import Net


            def main(path, distributed):
                model = Net()
                if distributed:
                    model = DistributedDataParallel(model)
                bare = model.module if distributed else model
                torch.save(bare.state_dict(), path)
            """,
            why="the module in it, where it is wrapped",
        ),
    )
