"""CKP201: a loaded module is run without `eval()`."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from lint_rules.knowledge import PUBLISHED
from lint_rules.loaded import Loaded
from lint_rules.loading import STATE_METHOD, STATE_NEEDS
from lint_rules.prefilter import is_followed, places
from lint_rules.rule import Edit, Example, Finding, Fix, Rule

if TYPE_CHECKING:
    from collections.abc import Iterator

    import libcst as cst

    from lint_rules.engine import Context
    from lint_rules.flow import Flow, Use
    from lint_rules.objects import Mode
    from lint_rules.outline import Outline


_LOAD = re.compile(rb"load\s*\(")
_BOUND = re.compile(rb"\b(\w+)\s*=\s*(?:[\w.]*\.)?$")
#: What stands in front of a name that something is taken out of, and behind it; and behind one that is run.
_TAKEN = re.compile(rb"(\w+)\s*=\s*$")
_APART = re.compile(rb"\s*[\[.]")
_RUN = re.compile(rb"(?:\.\w+\(\))?(?:\.(?:forward|generate|sample|inference))?\s*\(")
_RETURNED = re.compile(rb"return\s+torch\.load\s*\(")
_BEFORE = 200  # bytes in front of a call in which what it is assigned to stands, for a notebook may be one line
#: What may be loaded whole and called, and has no mode.
_OTHERS = re.compile(
    r"(?i)class|klass|\bcls\b|_def\b|definition|type|constructor|factory|builder|vocab|tokeni|dictionar|transform\b"
)


def _may_run_what_it_loads(data: bytes) -> bool:
    """Tell whether something that is loaded, or a part of it, may be called: torch.load may give a whole module."""
    seen: set[bytes] = set()
    for found in _LOAD.finditer(data):
        before = max(data.rfind(b"\n", 0, found.start()) + 1, found.start() - _BEFORE)
        bound = _BOUND.search(data, before, found.start())
        if bound is not None and bound[1] not in seen:
            seen.add(bound[1])
            if any(is_followed(data, name, _RUN) for name in (bound[1], *_taken_from(bound[1], data))):
                return True
    return _RETURNED.search(data) is not None


def _taken_from(name: bytes, data: bytes) -> set[bytes]:
    """Give the names of parts of something: `model = checkpoint["model"]`."""
    starts = (start for start in places(data, name) if _APART.match(data, start + len(name)))
    found = (_TAKEN.search(data, max(start - _BEFORE, 0), start) for start in starts)
    return {each[1] for each in found if each is not None}


def _in_training_mode(mode: Mode) -> bool:
    from lint_rules.objects import Training

    return mode.training in {Training.DEFAULT, Training.TRAIN}


def _may_be_meant(use: Use, mode: Mode, flow: Flow) -> bool:
    """Tell whether training goes on after the load, or another function may have called `eval()` in between."""
    from lint_rules.objects import Training

    if use.idle and mode.training is Training.TRAIN and not flow.teaches:
        return use.thing in flow.held
    if any(each in flow.held for each in use.thing.wholes()) or flow.trained.get(use.thing, 0) > mode.order:
        return True
    if any(flow.trained_somewhere.get(run, 0) > mode.order for run in (use.run, mode.run)):
        return True
    if _follows_another(use, mode, flow):
        return True
    return use.run != mode.run and any(use.thing in each for each in (flow.evaluated, flow.trained, flow.given_out))


def _follows_another(use: Use, mode: Mode, flow: Flow) -> bool:
    """Tell whether a module is a target network or an average: its weights follow those of one that is trained."""
    if any(each in flow.synchronised or flow.stepped.get(each, 0) > mode.order for each in use.thing.wholes()):
        return True
    return flow.copies.get(use.thing) in flow.trained and mode.order < use.thing.born


def _may_be_made_otherwise(use: Use, load: cst.Call, flow: Flow) -> bool:
    """Tell whether what was loaded whole may have been saved in evaluation mode, or may be no module."""
    import libcst as cst

    from lint_rules.tree import method_of, walk

    if method_of(load) == STATE_METHOD:
        return False
    if _is_read_back(load, flow):
        return True
    words = (node.value for node in walk(use.node.func) if isinstance(node, (cst.Name, cst.SimpleString)))
    return flow.pickles_evaluated or any(map(_OTHERS.search, words))


def _is_read_back(load: cst.Call, flow: Flow) -> bool:
    """Tell whether what is loaded whole was saved by the program itself: it comes back in the mode that it was in.

    What the program trained, and put into no other mode, comes back in training mode.
    """
    read = flow.calls.get(load)
    files = read.arguments[0] if read and read.arguments else set()
    saves = (flow.calls[save] for save in flow.saved if save in flow.calls)
    return any(
        any(thing not in flow.stepped for thing in save.arguments[0])
        for save in saves
        if any(not files.isdisjoint(written) for written in save.arguments[1:])
    )


def _is_given_away(load: cst.Call, use: Use, flow: Flow) -> bool:
    """Tell whether a function that loads published weights leaves the mode to its callers, and one of them tries it."""
    loading, running = flow.calls.get(load), flow.calls.get(use.node)
    if loading is None or running is None or loading.scope is running.scope or not loading.arguments:
        return False
    return any(PUBLISHED.search(each.made_by) for thing in loading.arguments[0] for each in (thing, *thing.deps))


def _fix(load: cst.Call, context: Context) -> Fix | None:
    """Insert `eval()` below a load that stands as a statement of its own on one line."""
    import libcst as cst

    from lint_rules.tree import dotted, method_of

    if method_of(load) != "load_state_dict":
        return None
    receiver = dotted(cst.ensure_type(load.func, cst.Attribute).value)
    line = context.statement(load)
    if receiver is None or line is None:
        return None
    start, column, end, _ = context.span(line)
    return Fix(
        (Edit(end + 1, 1, end + 1, 1, f"{context.indent(start, column)}{receiver}.eval(){context.line_end}"),),
        safe=False,
    )


class MissingEval(Rule):
    """Finds modules that are loaded from a checkpoint and run without having been put into evaluation mode.

    ## What it does

    Follows each module from `load_state_dict` (or from the `torch.load` that gave it whole) to where it is called, or
    where its `forward`, `generate` or the like is, and reports the load if on some path `eval()` was not called on that
    object: neither at construction, nor after the load, nor in a helper of the same file.

    Code that goes on to train what it loaded is left alone: `train()`, `backward()` or an optimizer's `step()` after
    the load. So are modules that leave the file, as an argument of other code, which may call `eval()`, and files
    in which too much would have to be followed, several thousand lines that call each other.

    ## Why is this bad

    A module is in training mode when it is made, and loading does not change that. Dropout then drops activations at
    random, and batch normalisation uses and updates the statistics of whatever is being predicted: results are worse,
    differ from call to call, and the loaded statistics are overwritten.

    ## Fix safety

    Inserts `eval()` on the line after the load, unless `train()` is called after it. The fix is unsafe: outputs change,
    which is its purpose.

    ## References

    - [PyTorch: Saving and loading models](https://docs.pytorch.org/tutorials/beginner/saving_loading_models.html)
    - [Module.eval](https://docs.pytorch.org/docs/stable/generated/torch.nn.Module.html)
    """

    code = "CKP201"
    name = "missing-eval"
    summary = "A loaded module is run without `eval()`"
    needs = (*STATE_NEEDS, (b"torch", b"load", b".load", _may_run_what_it_loads))
    marks = frozenset({"load_state_dict", "load", "save"})
    follows = True
    needs_all = True

    def may_find(self, outline: Outline) -> bool:
        """Tell whether anything that may be loaded, and not just copied from another module, may be run."""
        return Loaded(outline).may_run()

    def check(self, context: Context) -> Iterator[Finding]:
        """Report each load after which a module runs in training mode.

        Args:
            context: The source.

        Yields:
            One finding a load.
        """
        from lint_rules.objects import Training

        flow = context.flow
        loads: dict[cst.Call, bool] = {}
        for use in flow.uses:
            for mode in use.modes:
                if mode.load is None or not _in_training_mode(mode) or _is_given_away(mode.load, use, flow):
                    continue
                if not _may_be_meant(use, mode, flow) and not _may_be_made_otherwise(use, mode.load, flow):
                    loads[mode.load] = loads.get(mode.load, True) and mode.training is Training.DEFAULT
        for load, as_made in loads.items():
            yield context.finding(
                self,
                load,
                "the loaded module is run in training mode, so dropout and batch normalisation distort its output; "
                "call `eval()` before",
                _fix(load, context) if as_made else None,
            )

    invalid = (
        Example(
            """
            import torch

            model = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Dropout())
            model.load_state_dict(torch.load("model.pt", weights_only=True))
            print(model(torch.ones(1, 2)))
            """,
            why="called right after loading",
            lines=(4,),
            fixed="""
            import torch

            model = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Dropout())
            model.load_state_dict(torch.load("model.pt", weights_only=True))
            model.eval()
            print(model(torch.ones(1, 2)))
            """,
        ),
        Example(
            """
            import torch

            from networks import Net

            net = Net().to("cuda")
            net.load_state_dict(torch.load("net.pt", weights_only=True))
            with torch.no_grad():
                for x in batches:
                    y = net(x)
            """,
            why="no_grad is not eval()",
            lines=(6,),
        ),
        Example(
            """
            import torch

            from networks import build

            coder, head = build("net")
            coder.load_state_dict(torch.load("coder.pt", weights_only=True))
            head.load_state_dict(torch.load("head.pt", weights_only=True))
            coder.eval()
            print(head(coder(x)))
            """,
            why="one of two that a function makes",
            lines=(7,),
        ),
        Example(
            """
            import torch


            def generate(decoder, start):
                return decoder(start)


            if __name__ == "__main__":
                decoder = torch.load("decoder.pt", weights_only=False)
                print(generate(decoder, 3))
            """,
            why="loaded whole below the function that runs it",
            lines=(9,),
        ),
        Example(
            """
            import torch

            from networks import Graph

            net = Graph()
            net.load_state_dict(torch.load("net.pt", weights_only=True))
            vectors, _ = net.embed(features)
            """,
            why="what it gives is used for something else",
            lines=(6,),
        ),
        Example(
            """
            import torch

            from networks import Net


            def main(args):
                model = Net()
                model.load_state_dict(torch.load(args.path, weights_only=True))
                if args.verbose:
                    model.eval()
                return model(args.x)
            """,
            why="eval() on one path only",
            lines=(8,),
        ),
        Example(
            """
            import torch

            from networks import Net

            model = Net()
            model.eval()
            model = Net()
            model.load_state_dict(torch.load("model.pt", weights_only=True))
            print(model(1))
            """,
            why="eval() on an object that is replaced",
            lines=(8,),
        ),
        Example(
            """
            import torch

            from networks import Decoder, Encoder

            encoder = Encoder().eval()
            decoder = Decoder()
            encoder.load_state_dict(torch.load("encoder.pt", weights_only=True))
            decoder.load_state_dict(torch.load("decoder.pt", weights_only=True))
            features = encoder(1)
            print(decoder.sample(features))
            """,
            why="eval() on another object",
            lines=(8,),
        ),
        Example(
            """
            import torch

            from networks import Net


            def build(path):
                net = Net()
                net.load_state_dict(torch.load(path, weights_only=True))
                return net


            def main():
                model = build("net.pt")
                print(model(1))


            if __name__ == "__main__":
                main()
            """,
            why="a helper loads, its caller runs",
            lines=(8,),
        ),
        Example(
            """
            import torch

            from networks import Net


            def predict(net, x):
                with torch.no_grad():
                    return net(x)


            model = Net()
            model.load_state_dict(torch.load("net.pt", weights_only=True))
            predict(model, 1)
            """,
            why="a helper runs what its caller loaded",
            lines=(12,),
        ),
        Example(
            """
            import torch

            from networks import Net


            class Predictor:
                def __init__(self, path):
                    self.model = Net()
                    self.model.load_state_dict(torch.load(path, weights_only=True))

                def __call__(self, x):
                    return self.model(x)
            """,
            why="an attribute, across the methods of a class",
            lines=(9,),
        ),
        Example(
            """
            import torch

            model = torch.load("model.pt", weights_only=False)
            print(model(torch.ones(1, 2)))
            """,
            why="a whole module",
            lines=(3,),
        ),
        Example(
            """
            import torch

            from networks import Net

            net = Net()
            optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
            for x, y in batches:
                optimizer.zero_grad()
                loss = (net(x) - y).pow(2).mean()
                loss.backward()
                optimizer.step()
            torch.save(net.state_dict(), "net.pt")
            restored = Net()
            restored.load_state_dict(torch.load("net.pt", weights_only=True))
            print(restored(1))
            """,
            why="training came before, on another object",
            lines=(14,),
        ),
        Example(
            """
            import torch

            from networks import Net

            net = Net()
            optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
            net.train()
            for x, y in batches:
                loss = (net(x) - y).pow(2).mean()
                loss.backward()
                optimizer.step()
            net.load_state_dict(torch.load("best.pt", weights_only=True))
            print(net(1))
            """,
            why="the best weights are reloaded after training",
            lines=(12,),
        ),
        Example(
            """
            import torch

            from networks import Net

            model = Net()
            model.load_state_dict(torch.load("model.pt", weights_only=True))
            limit = eval("1 + 1")
            print(model(limit))
            """,
            why="the builtin eval() is no mode",
            lines=(6,),
        ),
        Example(
            """
            import torch

            from networks import Net

            net = Net()
            net.load_state_dict(torch.load("net.pt", weights_only=True))


            @app.route("/predict")
            def predict():
                return net(request.x)
            """,
            why="a global that functions use",
            lines=(6,),
        ),
        Example(
            """
            import torch

            from networks import Net

            net = torch.nn.DataParallel(Net())
            net.load_state_dict(torch.load("net.pt", weights_only=True))
            print(net.module(1))
            """,
            why="wrapped for several devices",
            lines=(6,),
        ),
        Example(
            """
            import torch

            from networks import Net

            one, two = Net(), Net()
            state = torch.load("net.pt", weights_only=True)
            one.load_state_dict(state)
            two.load_state_dict(state)
            one.generate(1)
            two.forward(1)
            """,
            why="generate() and forward()",
            lines=(7, 8),
        ),
        Example(
            """
            import torch

            from networks import Net

            net = Net()
            with open("net.pt", "rb") as file:
                try:
                    net.load_state_dict(torch.load(file, weights_only=True))
                except RuntimeError:
                    raise SystemExit(1)
            net(1)
            """,
            why="loaded inside try and with",
            lines=(8,),
        ),
        Example(
            """
            import torch

            from networks import Net

            net = Net()
            net.load_state_dict(torch.load("net.pt", weights_only=True))
            net.train(True if False else False)
            other = Net()
            other.load_state_dict(torch.load("net.pt", weights_only=True))
            other(1)
            """,
            why="evaluation after which it trains no more",
            lines=(9,),
        ),
        Example(
            """
            import torch

            from networks import Net

            net = torch.nn.DataParallel(Net()).cuda()
            net.module.load_state_dict(torch.load("net.pt", weights_only=True))
            print(net(1))
            """,
            why="loaded through the attribute of a wrapper",
            lines=(6,),
        ),
        Example(
            """
            import torch

            from networks import Net

            net = Net()
            state = net.state_dict()
            state.update(torch.load("net.pt", weights_only=True))
            net.load_state_dict(state)
            print(net(1))
            other = Net()
            state = other.state_dict()
            for name, value in torch.load("net.pt", weights_only=True).items():
                state[name] = value
            other.load_state_dict(state)
            print(other(1))
            third = Net()
            third.load_state_dict({**third.state_dict(), **torch.load("net.pt", weights_only=True)})
            print(third(1))
            """,
            why="its own state with the checkpoint merged into it",
            lines=(8, 14, 17),
        ),
        Example(
            """
            import torch

            from networks import Net

            net = Net()
            net.load_state_dict(torch.load("net.pt", weights_only=False)["model"].float().state_dict())
            print(net(1))
            """,
            why="the state of a module that was saved whole",
            lines=(6,),
        ),
        Example(
            """
            import torch
            from fastapi import FastAPI

            from networks import Net


            class Service:
                def load(self, path):
                    self.net = Net()
                    state = torch.load(path, weights_only=True)
                    self.net.load_state_dict(state)

                def predict(self, x):
                    return self.net(x)


            app = FastAPI()
            service = Service()


            @app.on_event("startup")
            def start():
                service.load("net.pt")


            @app.post("/predict")
            def predict(x: list[float]):
                return service.predict(x)
            """,
            why="a service that loads when it starts",
            lines=(11,),
        ),
        Example(
            """
            import torch

            from networks import Net

            net = None


            def start():
                global net
                net = Net()
                net.load_state_dict(torch.load("net.pt", weights_only=True))


            def predict(x):
                return net(x)
            """,
            why="a global that one function loads and another runs",
            lines=(11,),
        ),
        Example(
            """
            import torch

            from networks import A, B

            nets = {"a": A(), "b": B()}
            for name, net in nets.items():
                net.load_state_dict(torch.load(f"{name}.pt", weights_only=True))
            print(nets["a"](nets["b"](1)))
            """,
            why="several in a dict",
            lines=(7,),
        ),
        Example(
            """
            import torch

            from networks import Net

            net = Net()
            net.load_state_dict(torch.load("net.pt", weights_only=True))
            features = torch.nn.Sequential(*list(net.children())[:-1])
            print(features(1))
            """,
            why="its layers in another module",
            lines=(6,),
        ),
        Example(
            """
            import torch
            from ts.torch_handler.base_handler import BaseHandler

            from networks import Net


            class Handler(BaseHandler):
                def initialize(self, context):
                    self.model = Net()
                    self.model.load_state_dict(torch.load("net.pt", weights_only=True))

                def inference(self, x):
                    return self.model(x)
            """,
            why="a handler of a serving framework",
            lines=(10,),
        ),
        Example(
            """
            import torch

            from networks import Net


            class Predictor:
                def __init__(self, net):
                    self.net = net

                @classmethod
                def from_file(cls, path):
                    net = Net()
                    net.load_state_dict(torch.load(path, weights_only=True))
                    return cls(net)

                def predict(self, x):
                    return self.net(x)


            print(Predictor.from_file("net.pt").predict(1))
            """,
            why="a constructor that is a class method",
            lines=(13,),
        ),
        Example(
            """
            import torch
            from torch import nn


            class Net(nn.Module):
                def __init__(self):
                    super().__init__()
                    self.head = nn.Linear(2, 2)

                def forward(self, x):
                    return self.head(x)

                def predict(self, x):
                    return self.forward(x).argmax(-1)


            net = Net()
            net.load_state_dict(torch.load("net.pt", weights_only=True))
            print(net.predict(torch.ones(1, 2)))
            """,
            why="a method of the module runs it",
            lines=(18,),
        ),
        Example(
            """
            import torch

            from networks import Net

            net = Net().eval()
            net.load_state_dict(torch.load("net.pt", weights_only=True))
            net.train()
            with torch.no_grad():
                print(net(1))
            """,
            why="train() in a file where nothing is trained",
            lines=(6,),
        ),
        Example(
            """
            import torch
            from dataclasses import dataclass

            from networks import Net


            @dataclass
            class Setup:
                model: torch.nn.Module
                device: str = "cpu"


            def build(path):
                net = Net()
                net.load_state_dict(torch.load(path, weights_only=True))
                return Setup(net)


            print(build("net.pt").model(1))
            """,
            why="a field of a dataclass",
            lines=(15,),
        ),
        Example(
            """
            import torch

            from networks import Net


            class Predictor:
                def __init__(self, path):
                    self.net = self.build(path)

                @staticmethod
                def build(path):
                    made = Net()
                    made.load_state_dict(torch.load(path, weights_only=True))
                    return made

                def __call__(self, x):
                    return self.net(x)
            """,
            why="an attribute that another method of the class makes",
            lines=(13,),
        ),
        Example(
            """
            import torch

            from networks import Net

            net = Net()
            for path in ["best.pt", "last.pt"]:
                try:
                    net.load_state_dict(torch.load(path, weights_only=True))
                    break
                except FileNotFoundError:
                    continue
            else:
                raise SystemExit("no checkpoint")
            print(net(1))
            """,
            why="the first file that is there",
            lines=(8,),
        ),
        Example(
            """
            import torch

            from networks import Net


            class Ensemble:
                def __init__(self, paths):
                    self.nets = {}
                    for path in paths:
                        net = Net()
                        net.load_state_dict(torch.load(path, weights_only=True))
                        self.nets[path] = net

                def run(self, path, x):
                    return self.nets[path](x)
            """,
            why="several in an attribute",
            lines=(11,),
        ),
        Example(
            """
            import torch

            from networks import Net


            class Service:
                net = Net()
                net.load_state_dict(torch.load("net.pt", weights_only=True))

                def run(self, inputs):
                    return list(map(self.net, inputs))
            """,
            why="an attribute of the class, run by map()",
            lines=(8,),
        ),
        Example(
            """
            import torch


            def read(path):
                return torch.load(path, weights_only=False)["model"]


            net = read("net.pt").float()
            print(net(1))
            """,
            why="a whole module in a dict",
            lines=(5,),
        ),
        Example(
            """
            import torch

            from networks import Net, Teacher, batches

            net, teacher = Net(), Teacher()
            teacher.load_state_dict(torch.load("teacher.pt", weights_only=True))
            optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
            for x in batches:
                with torch.no_grad():
                    wanted = teacher(x)
                loss = (net(x) - wanted).pow(2).mean() + (net(x) - teacher(x).detach()).abs().mean()
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
            """,
            why="a teacher, which is not what is trained",
            lines=(6,),
        ),
        Example(
            """
            from safetensors.torch import load_file
            from torch import nn


            class Coder(nn.Module):
                def __init__(self):
                    super().__init__()
                    self.head = nn.Linear(2, 2)

                def decode(self, x):
                    return self.head(x).sigmoid()


            coder = Coder()
            coder.load_state_dict(load_file("coder.safetensors"))
            print(coder.decode(1))
            """,
            why="a method that runs a layer",
            lines=(15,),
        ),
        Example(
            """
            from safetensors.torch import load_file

            from networks import Net

            net = Net()
            net.load_state_dict({**net.state_dict(), **load_file("net.safetensors")})
            print(net(1))
            """,
            why="weights from another format, merged",
            lines=(6,),
        ),
        Example(
            """
            import torch
            from torch import nn


            class Base:
                def setup(self, path):
                    self.net = self.make()
                    self.net.load_state_dict(torch.load(path, weights_only=True))

                def make(self):
                    raise NotImplementedError


            class Denoiser(Base):
                def make(self):
                    return nn.Sequential(nn.Conv1d(1, 4, 3), nn.BatchNorm1d(4))

                def __call__(self, x):
                    return self.net(x)


            def restored(paths):
                for path in paths:
                    net = nn.Sequential(nn.Linear(2, 2), nn.Dropout())
                    net.load_state_dict(torch.load(path, weights_only=True))
                    yield net


            denoiser = Denoiser()
            denoiser.setup("denoiser.pt")
            print(denoiser(torch.rand(1, 1, 8)))
            for net in restored(["a.pt", "b.pt"]):
                print(net(torch.ones(1, 2)))
            """,
            why="loaded by a base class and run by an object that is called; what a generator yields",
            lines=(8, 25),
        ),
        Example(
            """
            import torch
            from torch import nn


            class Lazy:
                _net = None

                @property
                def net(self):
                    if self._net is None:
                        self._net = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
                        self._net.load_state_dict(torch.load("net.pt", weights_only=True))
                    return self._net

                def predict(self, x):
                    return self.net(x)


            print(Lazy().predict(torch.rand(3, 2)))
            """,
            why="loaded when it is first asked for",
            lines=(12,),
        ),
        Example(
            """
            import torch
            from torch import nn

            PATH = "net.pt"
            net = nn.Sequential(nn.Linear(2, 2), nn.Dropout())
            optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
            for x in torch.ones(3, 1, 2):
                net(x).sum().backward()
                optimizer.step()
            torch.save(net, PATH)

            again = torch.load(PATH, weights_only=False)
            print(again(torch.ones(1, 2)))
            """,
            why="trained, saved whole and read back by the program itself",
            lines=(12,),
        ),
        Example(
            """
            import torch
            from torch import nn


            class Net(nn.Module):
                def __init__(self):
                    super().__init__()
                    self.body = nn.Linear(2, 2)
                    self.drop = nn.Dropout()

                def forward(self, x):
                    return self.drop(self.body(x))


            net = Net()
            net.load_state_dict(torch.load("net.pt", weights_only=True))
            net.body.eval()
            print(net(torch.ones(1, 2)))
            """,
            why="another part of it is left as it was",
            lines=(16,),
        ),
        Example(
            """
            import threading

            import torch
            from torch import nn


            class Worker(threading.Thread):
                def __init__(self, queue):
                    super().__init__(daemon=True)
                    self.queue = queue
                    self.net = nn.Sequential(nn.Linear(2, 2), nn.Dropout())
                    self.net.load_state_dict(torch.load("net.pt", weights_only=True))

                def run(self):
                    while True:
                        with torch.no_grad():
                            print(self.net(self.queue.get()))
            """,
            why="a thread, whose class is no module",
            lines=(12,),
        ),
    )
    valid = (
        Example(
            """
            import torch

            from networks import Averaged

            saved = torch.load("net.pt", weights_only=False)
            net = saved["net_def"](20)
            net.load_state_dict(saved["state"])
            net.eval()
            print(net(1))

            averaged = Averaged()
            averaged.load_state_dict(torch.load("averaged.pt", weights_only=True), strict=False)
            averaged.ema.eval()
            print(averaged.sample(2))
            """,
            why="a class that was saved with its name, and the part of a module of elsewhere that is run",
        ),
        Example(
            """
            import torch

            from networks import Net

            net = Net()
            net.load_state_dict(torch.load("net.pt", weights_only=True))
            train_step = net.stepper(torch.optim.Adam(net.learnable_parameters()))
            for number in range(9):
                train_step(number)
                print(net.sample(3))
            """,
            why="trained by a function that was made of it and its optimizer",
        ),
        Example(
            """
            import torch

            from networks import Prior


            def make(options):
                prior = Prior()
                prior.load_state_dict(torch.load(options.path, weights_only=True))
                if options.train:
                    print("to be trained")
                else:
                    prior.eval()
                return prior


            def main(options, x):
                return make(options)(x)
            """,
            why="the condition asks whether it is to be trained",
        ),
        Example(
            """
            import io

            import torch
            from normalizers import make


            def test_pickle():
                normalize, buffer = make(), io.BytesIO()
                torch.save(normalize, buffer)
                buffer.seek(0)
                loaded = torch.load(buffer, weights_only=False)
                assert loaded("A B") == normalize("A B")


            def numbers(words, vocab):
                return vocab(words)


            print(numbers(["a", "b"], torch.load("vocab.pt", weights_only=False)))
            """,
            why="saved by the same program, to see that it comes back; a vocabulary that is called",
        ),
        Example(
            """
            import torch
            from torch.hub import load_state_dict_from_url

            from networks import Net, Vocoder

            voice = Vocoder()
            voice.load_state_dict(torch.load("voice.pt", weights_only=True))
            voice.eval(inference=False)
            print(voice.inference(1))


            def net(pretrained):
                made = Net()
                if pretrained:
                    found = load_state_dict_from_url("https://example.com/net.pt")
                    state = made.state_dict()
                    state.update({name: value for name, value in found.items() if name in state})
                    made.load_state_dict(state)
                return made


            if __name__ == "__main__":
                print(net(pretrained=True)(torch.ones(1)))
            """,
            why="an eval() of its own, and published weights merged into a state",
        ),
        Example(
            """
            import copy

            import torch

            from networks import Net


            class Agent:
                def __init__(self):
                    self.one, self.two, self.three = Net(), Net(), Net()
                    self.target_two, self.target_three = Net(), Net()
                    self.target_two.load_state_dict(self.two.state_dict())
                    weights = list(self.one.parameters()) + list(self.two.parameters()) + list(self.three.parameters())
                    self.optimizer = torch.optim.Adam(weights)

                def load(self, path):
                    state = torch.load(path, weights_only=True)
                    self.one.load_state_dict(state["one"])
                    self.target_one = copy.deepcopy(self.one)
                    self.two.load_state_dict(state["two"])
                    self.target_two.load_state_dict(state["target_two"])
                    self.three.load_state_dict(state["three"])
                    self.target_three.load_state_dict(state["target_three"])

                def learn(self, x, y):
                    with torch.no_grad():
                        wanted = self.target_one(y) + self.target_two(y) + self.target_three(y)
                    loss = (self.one(x) + self.two(x) + self.three(x) - wanted).pow(2).mean()
                    loss.backward()
                    self.optimizer.step()
                    for weight, followed in zip(self.target_three.parameters(), self.three.parameters()):
                        weight.data.lerp_(followed.data, 0.1)
            """,
            why="target networks, which follow those that are trained",
        ),
        Example(
            """
            import torch

            from networks import Average, Net, batches

            net = Net()
            average = Average(net)
            state = torch.load("state.pt", weights_only=True)
            net.load_state_dict(state["net"])
            average.load_state_dict(state["average"])
            optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
            for x in batches:
                net(x).mean().backward()
                optimizer.step()
                average.update(net)
                with torch.no_grad():
                    print(average(x))
            """,
            why="an average of the weights of what is trained",
        ),
        Example(
            """
            import torch

            from networks import Net, batches


            def trained():
                net = Net()
                for x in batches:
                    net.train()
                    net(x).mean().backward()
                    net.eval()
                torch.save(net, "net.pt")
                return net


            net = torch.load("net.pt", weights_only=False) if known else trained()
            print(net(1))
            """,
            why="a whole module that was saved in evaluation mode",
        ),
        Example(
            """
            import torch

            package = torch.load("package.pt", weights_only=False)
            klass = package["class"]
            net = klass(**package["options"])
            other = package["net_class"](2)
            """,
            why="a class from a checkpoint, which is called to make a module",
        ),
        Example(
            """
            import torch
            from torchvision.models import resnet34


            class Features(torch.nn.Module):
                def __init__(self, path):
                    super().__init__()
                    net = resnet34()
                    net.load_state_dict(torch.load(path, weights_only=True))
                    self.last = torch.nn.Sequential(*list(net.children())[6:7])
                    for layer in self.last.children():
                        layer.stride = (1, 1)

                def forward(self, x):
                    return self.last(x)
            """,
            why="layers that a module of this file is made of",
        ),
        Example(
            """
            import torch

            layer = torch.nn.Linear(1, 1)
            layer.load_state_dict({"weight": torch.ones(1, 1), "bias": torch.zeros(1)})
            print(layer(torch.ones(1, 1)))
            """,
            why="weights written by hand are no checkpoint",
        ),
        Example(
            """
            import torch

            model = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Dropout())
            model.load_state_dict(torch.load("model.pt", weights_only=True))
            model.eval()
            print(model(torch.ones(1, 2)))
            """,
            why="eval() before the call",
        ),
        Example(
            """
            import torch

            from networks import Net

            model = Net().eval().to("cuda")
            model.load_state_dict(torch.load("model.pt", weights_only=True))
            print(model(1))
            """,
            why="eval() at construction, before the load",
        ),
        Example(
            """
            import torch

            from networks import Net

            model = Net()
            model.load_state_dict(torch.load("model.pt", weights_only=True))
            model.train(False)
            print(model(1))
            other = Net()
            other.load_state_dict(torch.load("model.pt", weights_only=True))
            other.train(mode=False)
            print(other(1))
            """,
            why="train(False) is eval()",
        ),
        Example(
            """
            import torch

            from networks import Net

            net = Net()
            net.load_state_dict(torch.load("net.pt", weights_only=True))
            optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
            print(net(1))
            for x, y in batches:
                loss = (net(x) - y).pow(2).mean()
                loss.backward()
                optimizer.step()
            """,
            why="training goes on",
        ),
        Example(
            """
            import torch

            from networks import Net


            def train_step(net, optimizer, x):
                loss = net(x).mean()
                loss.backward()
                optimizer.step()


            def main():
                net = Net()
                net.load_state_dict(torch.load("net.pt", weights_only=True))
                optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
                for x in batches:
                    train_step(net, optimizer, x)


            main()
            """,
            why="training goes on in a helper",
        ),
        Example(
            """
            import torch

            from networks import D, G

            g, d = G(), D()
            if opt.epoch:
                g.load_state_dict(torch.load("g.pt", weights_only=True))
                d.load_state_dict(torch.load("d.pt", weights_only=True))
            g_optimizer = torch.optim.Adam(g.parameters())
            d_optimizer = torch.optim.Adam(d.parameters())
            for x in batches:
                g_optimizer.zero_grad()
                g_loss = criterion(d(g(x)), 1)
                g_loss.backward()
                g_optimizer.step()
                d_optimizer.zero_grad()
                d_loss = (criterion(d(x), 1) + criterion(d(g(x).detach()), 0)) / 2
                d_loss.backward()
                d_optimizer.step()
                save_image(g(1))
            """,
            why="networks that train each other are resumed",
        ),
        Example(
            """
            import torch


            class Agent:
                def __init__(self):
                    self.net, self.target = Net(), Net()
                    self.optimizer = torch.optim.Adam(self.net.parameters())

                def learn(self, batch):
                    self.target.load_state_dict(self.net.state_dict())
                    loss = self.criterion(self.net(batch), self.target(batch).detach())
                    self.optimizer.zero_grad()
                    loss.backward()
                    self.optimizer.step()
            """,
            why="a target network follows another",
        ),
        Example(
            """
            import torch
            from torch import nn
            from networks import Net, batches

            class Average(nn.Module):
                def __init__(self, net):
                    super().__init__()
                    self.net = net

                def follow(self, other):
                    for mine, theirs in zip(self.net.parameters(), other.parameters()):
                        mine.data.mul_(0.99).add_(theirs.data, alpha=0.01)

                def forward(self, x):
                    return self.net(x)

            student, teacher = Net(), Average(Net())
            saved = torch.load("last.pt", map_location="cpu", weights_only=True)
            student.load_state_dict(saved["student"])
            teacher.load_state_dict(saved["teacher"])
            optimizer = torch.optim.SGD(student.parameters(), lr=0.1)
            for x in batches():
                with torch.no_grad():
                    wanted = teacher(x)
                (student(x) - wanted).pow(2).mean().backward()
                optimizer.step()
                teacher.follow(student)
            """,
            why="an average that holds the network whose weights follow",
        ),
        Example(
            """
            import torch

            from networks import Net


            def build(path):
                net = Net()
                net.load_state_dict(torch.load(path, weights_only=True))
                return net
            """,
            why="loaded and returned",
        ),
        Example(
            """
            import torch
            from testing import evaluate

            from networks import Net

            net = Net()
            net.load_state_dict(torch.load("net.pt", weights_only=True))
            evaluate(net)
            print(net(1))
            """,
            why="handed to code outside the file",
        ),
        Example(
            """
            import torch

            from networks import Net


            def freeze(module):
                module.eval()
                for parameter in module.parameters():
                    parameter.requires_grad = False


            net = Net()
            net.load_state_dict(torch.load("net.pt", weights_only=True))
            freeze(net)
            print(net(1))
            """,
            why="a helper calls eval()",
        ),
        Example(
            """
            import torch

            from networks import Net


            def build(path):
                net = Net()
                net.load_state_dict(torch.load(path, weights_only=True))
                return net.eval()


            print(build("net.pt")(1))
            """,
            why="a helper loads and calls eval()",
        ),
        Example(
            """
            import torch

            from networks import Net

            one, two = Net(), Net()
            for net in (one, two):
                net.load_state_dict(torch.load("net.pt", weights_only=True))
            for net in [one, two]:
                net.eval()
            print(one(1), two(1))
            """,
            why="eval() on several in a loop",
        ),
        Example(
            """
            import torch
            from torch import nn

            from networks import Backbone


            class Net(nn.Module):
                def __init__(self):
                    super().__init__()
                    self.backbone = Backbone()
                    self.backbone.load_state_dict(torch.load("backbone.pt", weights_only=True))

                def forward(self, x):
                    return self.backbone(x)
            """,
            why="a part of a module, whose own eval() reaches it",
        ),
        Example(
            """
            import torch

            from networks import Net


            class Predictor:
                def __init__(self, path):
                    self.model = Net()
                    self.model.load_state_dict(torch.load(path, weights_only=True))

                def prepare(self):
                    self.model.eval()

                def predict(self, x):
                    return self.model(x)
            """,
            why="another method calls eval()",
        ),
        Example(
            """
            import torch

            from networks import Net


            def main(args):
                model = Net()
                if args.path:
                    model.load_state_dict(torch.load(args.path, weights_only=True))
                if args.path:
                    model.eval()
                    return model(1)
                return None
            """,
            why="eval() where the load was",
        ),
        Example(
            """
            import torch

            from networks import Net


            def main(mode):
                model = Net()
                if mode == "resume":
                    model.load_state_dict(torch.load("model.pt", weights_only=True))
                elif mode == "check":
                    print(model(1))
                return model
            """,
            why="the load and the call exclude each other",
        ),
        Example(
            """
            from training import Trainer

            trainer = Trainer()
            trainer.load_state_dict("run.pt")
            trainer.train()
            """,
            why="a trainer is no module",
        ),
        Example(
            """
            import torch
            from training import Loop

            from networks import Net

            net = Net()
            net.load_state_dict(torch.load("net.pt", weights_only=True))
            loop = Loop()
            loop.train(net, batches)
            print(net(1))
            """,
            why="a trainer's own train() takes the module",
        ),
        Example(
            """
            import torch

            from networks import Net

            net = Net()
            for phase in ("train", "val"):
                if phase == "train":
                    net.train()
                else:
                    net.eval()
            net.load_state_dict(torch.load("best.pt", weights_only=True))
            print(net(1))
            """,
            why="the mode is managed by phase",
        ),
        Example(
            """
            import torch
            from transformers import AutoModel

            model = AutoModel.from_pretrained("name")
            model.load_state_dict(torch.load("model.pt", weights_only=True))
            print(model(1))
            """,
            why="pretrained modules come in evaluation mode",
        ),
        Example(
            """
            import torch

            from networks import Net

            net = Net()
            net.eval()
            torch.save(net, "net.pt")
            again = torch.load("net.pt", weights_only=False)
            print(again(1))
            """,
            why="saved whole in evaluation mode",
        ),
        Example(
            """
            import torch


            def evaluate(model, path, x):
                model.load_state_dict(torch.load(path, weights_only=True))
                return model(x)
            """,
            why="given by the caller, in whatever mode",
        ),
        Example(
            """
            import torch
            from testing import evaluating

            from networks import Net

            net = Net()
            net.load_state_dict(torch.load("net.pt", weights_only=True))
            with evaluating(net):
                print(net(1))
            """,
            why="a context manager may see to the mode",
        ),
        Example(
            """
            import torch

            checkpoint = torch.load("all.pt", weights_only=True)
            for name, value in checkpoint["model"].items():
                print(name, value.shape)
            """,
            why="entries of a checkpoint are not modules",
        ),
        Example(
            """
            import torch
            from wrapping import unwrap

            from networks import Net

            net = Net()
            net = unwrap(net)
            net.load_state_dict(torch.load("net.pt", weights_only=True))
            print(net(1))
            """,
            why="prepared by code outside the file",
        ),
        Example(
            """
            import torch

            from networks import Net

            net = None


            def start():
                global net
                net = Net()
                net.load_state_dict(torch.load("net.pt", weights_only=True))


            def prepare():
                net.eval()


            def predict(x):
                return net(x)
            """,
            why="a global that a third function puts into evaluation mode",
        ),
        Example(
            """
            import torch
            from torch import nn

            from networks import Net

            one, two, three, four = Net(), Net(), Net(), Net()
            for net in (one, two, three, four):
                net.load_state_dict(torch.load("net.pt", weights_only=True))
            for module in one.modules():
                module.eval()
            two.apply(lambda module: module.eval())
            nn.Module.eval(three)
            four.training = False
            print(one(1), two(1), three(1), four(1))
            """,
            why="eval() on every part",
        ),
        Example(
            """
            import torch

            from networks import Net


            def evaluating(function):
                def inner(net, *args):
                    net.eval()
                    return function(net, *args)

                return inner


            @evaluating
            def predict(net, x):
                return net(x)


            net = Net()
            net.load_state_dict(torch.load("net.pt", weights_only=True))
            print(predict(net, 1))
            """,
            why="a decorator of this file calls eval()",
        ),
        Example(
            """
            import torch
            from torch import nn


            class Net(nn.Module):
                def __init__(self):
                    super().__init__()
                    self.head = nn.Linear(2, 2)
                    self._freeze()

                def _freeze(self):
                    self.eval()

                def forward(self, x):
                    return self.head(x)


            net = Net()
            net.load_state_dict(torch.load("net.pt", weights_only=True))
            print(net(torch.ones(1, 2)))
            """,
            why="its constructor calls eval()",
        ),
        Example(
            """
            import torch

            from networks import Net

            net = Net()
            net.load_state_dict(torch.load("net.pt", weights_only=True))
            if net.training:
                net.eval()
            print(net(1))
            """,
            why="eval() where it is in training mode",
        ),
        Example(
            """
            import torch
            from torch import nn


            class Backbone(nn.Module):
                def __init__(self, path):
                    super().__init__()
                    self.layer = nn.Linear(2, 2)
                    self._initialise(path)

                def _initialise(self, path):
                    self.load_state_dict(torch.load(path, weights_only=True))

                def forward(self, x):
                    return self.layer(x)


            if __name__ == "__main__":
                print(Backbone("backbone.pt")(torch.ones(1, 2)).shape)
            """,
            why="initial values that a module gives itself",
        ),
        Example(
            """
            import torch

            cell, layer = torch.nn.LSTMCell(2, 3), torch.nn.LSTM(2, 3)
            renamed = []
            for name, tensor in cell.state_dict().items():
                renamed.append((f"{name}_l0", tensor))
            layer.load_state_dict(dict(renamed))
            print(layer(torch.ones(1, 1, 2)))
            """,
            why="the weights of a live module under other names",
        ),
        Example(
            """
            import torch

            from networks import Net

            net = Net()
            net.load_state_dict(torch.load("net.pt", weights_only=True))
            net.train()
            with torch.no_grad():
                samples = torch.stack([net(1) for _ in range(20)])
            print(samples.std(0))
            """,
            why="several answers drawn with dropout",
        ),
        Example(
            """
            import torch
            from torch2trt import TRTModule

            engine = TRTModule()
            engine.load_state_dict(torch.load("engine.pth", weights_only=True))
            print(engine(torch.ones(1, 3, 224, 224)))
            """,
            why="an engine that is compiled for inference",
        ),
        Example(
            """
            import torch

            from networks import Net


            class Base:
                def __init__(self):
                    self.net = Net()
                    self.net.eval()


            class Restored(Base):
                def __init__(self, path):
                    super().__init__()
                    self.net.load_state_dict(torch.load(path, weights_only=True))

                def run(self, x):
                    return self.net(x)
            """,
            why="the constructor of the base class calls eval()",
        ),
        Example(
            """
            import torch
            from serving import BasePredictor

            from networks import Net


            class Restored(BasePredictor):
                def __init__(self, path):
                    self.net = Net()
                    self.net.load_state_dict(torch.load(path, weights_only=True))
                    self.setup()

                def run(self, x):
                    return self.net(x)
            """,
            why="a method of a base class elsewhere may call eval()",
        ),
        Example(
            """
            import torch

            from networks import ResNet


            def resnet(pretrained=False):
                model = ResNet()
                if pretrained:
                    model.load_state_dict(torch.hub.load_state_dict_from_url("https://example.com/resnet.pt"))
                return model


            if __name__ == "__main__":
                print(resnet(pretrained=True)(torch.ones(1, 3, 8, 8)).shape)
            """,
            why="a library that gives published weights, tried out",
        ),
        Example(
            """
            import torch

            from networks import Net, Vgg

            vgg = Vgg()
            vgg.load_state_dict(torch.load("vgg.pt", weights_only=True))


            class Content(torch.nn.Module):
                def __init__(self):
                    super().__init__()
                    self.features = torch.nn.Sequential(*list(vgg.features.children())[:-1])

                def forward(self, x):
                    return self.features(x)


            def main():
                net, content = Net(), Content()
                optimizer = torch.optim.Adam(net.parameters())
                for x, y in batches:
                    loss = (content(net(x)) - content(y)).pow(2).mean()
                    optimizer.zero_grad()
                    loss.backward()
                    optimizer.step()


            main()
            """,
            why="a loss that is made of the layers of another module",
        ),
        Example(
            """
            import torch
            from conversion import convert, copy_into

            from networks import New, Old

            old, one, two = Old(), New(), New()
            one.load_state_dict(convert(old.state_dict(), heads=4))
            entries = {}
            copy_into(entries, old.state_dict())
            two.load_state_dict(entries)
            third = New()
            merged = third.state_dict()
            merged.update(old.state_dict())
            third.load_state_dict(merged)
            third.load_state_dict({**third.state_dict(), **old.state_dict()})
            print(old(1), one(1), two(1), third(1))
            """,
            why="the weights of a live module, converted by code elsewhere",
        ),
        Example(
            """
            import torch

            vocabulary = torch.load("vocabulary.pt", weights_only=False)
            print(vocabulary.encode("some words"), vocabulary.sample_words(3))
            """,
            why="what is saved whole need not be a module",
        ),
        Example(
            """
            import torch

            from networks import Net, build


            class Worker:
                def __init__(self, options):
                    self.net = build(options)

                def load_state_dict(self, state):
                    self.net.load_state_dict(state)

                def run(self, x):
                    return self.net(x)


            class Task:
                def build(self):
                    self.model = Net()

                def load(self, path):
                    self.model.load_state_dict(torch.load(path, weights_only=True))
                    return self.model

                def __call__(self, x):
                    return self.model(x)
            """,
            why="a state that a caller hands on, and a module that a caller is given",
        ),
        Example(
            """
            import torch
            from speech import Base

            from networks import Voice, rates


            class Speaker(Base):
                def __init__(self, path, rate):
                    super().__init__()
                    self.voice = Voice()
                    self.voice.load_state_dict(torch.load(path, weights_only=True))
                    if rate:
                        self.voice.rate = rates(rate)

                def forward(self, x):
                    return self.voice(x)

                def score(self, x):
                    return self.forward(x).mean()
            """,
            why="a part of a module with a base class elsewhere",
        ),
        Example(
            """
            import contextlib

            import torch
            from torch import nn


            class Base:
                def setup(self, path):
                    self.net = self.make()
                    self.net.load_state_dict(torch.load(path, weights_only=True))


            class Denoiser(Base):
                def make(self):
                    return nn.Sequential(nn.Conv1d(1, 4, 3), nn.BatchNorm1d(4)).eval()

                def __call__(self, x):
                    return self.net(x)


            def restored(paths):
                for path in paths:
                    net = nn.Sequential(nn.Linear(2, 2), nn.Dropout())
                    net.load_state_dict(torch.load(path, weights_only=True))
                    yield net.eval()


            @contextlib.contextmanager
            def evaluating(net):
                net.eval()
                yield net
                net.train()


            denoiser = Denoiser()
            denoiser.setup("denoiser.pt")
            print(denoiser(torch.rand(1, 1, 8)))
            for net in restored(["a.pt", "b.pt"]):
                print(net(torch.ones(1, 2)))
            other = nn.Sequential(nn.Linear(2, 2), nn.Dropout())
            other.load_state_dict(torch.load("other.pt", weights_only=True))
            with evaluating(other):
                print(other(torch.ones(1, 2)))
            """,
            why="made, yielded or lent in evaluation mode",
        ),
        Example(
            """
            import torch
            from torch import nn


            class Lazy:
                _net = None

                @property
                def net(self):
                    if self._net is None:
                        self._net = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2)).eval()
                        self._net.load_state_dict(torch.load("net.pt", weights_only=True))
                    return self._net

                def predict(self, x):
                    return self.net(x)


            print(Lazy().predict(torch.rand(3, 2)))
            """,
            why="loaded when it is first asked for, in evaluation mode",
        ),
        Example(
            """
            import torch
            from torch import nn

            PATH = "net.pt"
            OTHER = "other.pt"
            net = nn.Sequential(nn.Linear(2, 2), nn.Dropout())
            optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
            for x in torch.ones(3, 1, 2):
                net(x).sum().backward()
                optimizer.step()
            net.eval()
            torch.save(net, PATH)
            again = torch.load(PATH, weights_only=False)
            print(again(torch.ones(1, 2)))

            other = nn.Sequential(nn.Linear(2, 2), nn.Dropout())
            torch.save(other, OTHER)
            print(torch.load(OTHER, weights_only=False)(torch.ones(1, 2)))
            """,
            why="saved whole in evaluation mode, or by the program that never trained it",
        ),
        Example(
            """
            import threading

            import torch
            from torch import nn

            from engine import Runner


            class Worker(threading.Thread):
                def __init__(self, queue):
                    super().__init__(daemon=True)
                    self.queue = queue
                    self.net = nn.Sequential(nn.Linear(2, 2), nn.Dropout())
                    self.net.load_state_dict(torch.load("net.pt", weights_only=True))

                def run(self):
                    self.net.eval()
                    print(self.net(self.queue.get()))


            class Other(Runner):
                def __init__(self):
                    super().__init__()
                    self.net = nn.Sequential(nn.Linear(2, 2), nn.Dropout())
                    self.net.load_state_dict(torch.load("net.pt", weights_only=True))

                def run(self, x):
                    print(self.net(x))
            """,
            why="a thread that puts its module in evaluation mode, and a class that may be a module",
        ),
        Example(
            """
            import torch
            from lightning.fabric import Fabric
            from torch import nn

            fabric = Fabric(devices=1)
            net = fabric.setup(nn.Sequential(nn.Linear(2, 2), nn.Dropout()))
            net.load_state_dict(torch.load("net.pt", weights_only=True))
            print(net(torch.zeros(1, 2)))
            """,
            why="prepared by Fabric",
        ),
    )
