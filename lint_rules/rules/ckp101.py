"""CKP101: a path passed to `load_state_dict`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lint_rules.loading import STATE_METHOD, STATE_NEEDS, foreign, removals, takes_state
from lint_rules.rule import Example, Finding, Fix, Rule

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lint_rules.engine import Context
    from lint_rules.flow import Call
    from lint_rules.objects import Thing
    from lint_rules.outline import Outline

_DEFAULTS = {"map_location": '"cpu"', "weights_only": "True"}


def _are_files(values: set[Thing]) -> bool:
    """Tell whether a value is a path, or an open file; it may be None besides, which raises as well."""
    from lint_rules.knowledge import FILES
    from lint_rules.objects import Kind

    given = [value for value in values if value.kind is not Kind.NONE]
    return bool(given) and all(value.kind is Kind.TEXT or value.made_by in FILES for value in given)


def _fix(call: Call, context: Context) -> Fix:
    torch, imports = context.spelling("torch", call.scope)
    misplaced = list(foreign(call.node))
    given = {arg.keyword.value for arg in misplaced if arg.keyword}
    added = [f"{name}={value}" for name, value in _DEFAULTS.items() if name not in given]
    code = ", ".join((*map(context.source, misplaced), *added))
    wrapped = context.wrap(call.node.args[0].value, f"{torch}.load(", f", {code})")
    return Fix((*wrapped, *removals(call.node, misplaced, context)), safe=True, imports=imports)


class LoadStateDictPath(Rule):
    """Finds paths that are passed where the loaded dictionary belongs.

    ## What it does

    Reports `x.load_state_dict(path)` where `x` is a module, an optimizer, a scheduler or a scaler and the argument is a
    string or a path for certain: written there, joined, formatted, annotated, read from the command line, or returned
    by a function that returns paths; also an open file. A name such as `PATH` proves nothing; what it is bound to
    does.

    A file in which too much would have to be followed, several thousand lines that call each other, is left alone.

    Functions and methods of other classes that happen to be called `load_state_dict` and take a path are left alone.

    ## Why is this bad

    `load_state_dict` takes the dictionary that `state_dict()` gave, not the file it was saved to. The call raises
    `TypeError` or `AttributeError`, often only at the end of a long run, on the line that was to restore its result.

    ## Fix safety

    Puts `torch.load(..., map_location="cpu", weights_only=True)` around the argument, with what was meant for
    `torch.load` and passed to `load_state_dict`, and imports torch where it is missing. The fix is safe: the call
    cannot have worked before.

    ## References

    - [Module.load_state_dict](https://docs.pytorch.org/docs/stable/generated/torch.nn.Module.html)
    - [PyTorch: Saving and loading models](https://docs.pytorch.org/tutorials/beginner/saving_loading_models.html)
    """

    code = "CKP101"
    name = "load-state-dict-path"
    summary = "A path is passed to `load_state_dict`"
    needs = STATE_NEEDS
    marks = frozenset({STATE_METHOD, "load"})
    follows = True
    needs_all = True

    def may_find(self, outline: Outline) -> bool:
        """Tell whether a state may be given as a text or an open file."""
        given = (
            each
            for call in outline.methods(STATE_METHOD)
            for each in (*call.args[:1], *(keyword.value for keyword in call.keywords if keyword.arg == "state_dict"))
        )
        return any(map(outline.origins.may_be_text, given))

    def check(self, context: Context) -> Iterator[Finding]:
        """Report each call that is given a path for certain.

        Args:
            context: The source.

        Yields:
            One finding a call.
        """
        from lint_rules.tree import method_of

        for call in context.flow.calls.values():
            node = call.node
            if method_of(node) != STATE_METHOD or not node.args or node.args[0].star:
                continue
            if node.args[0].keyword is not None and node.args[0].keyword.value != "state_dict":
                continue
            if _are_files(call.arguments[0]) and takes_state(call, context):
                yield context.finding(
                    self,
                    node,
                    "`load_state_dict` takes a state dict, not a path, and raises here; "
                    "pass `torch.load(path, weights_only=True)`",
                    _fix(call, context),
                )

    invalid = (
        Example(
            """
            import torch
            from networks import Net

            model = Net()
            model.load_state_dict("model.pt", strict=True, map_location=device)
            """,
            why="keywords of torch.load, too",
            lines=(5,),
            fixed="""
            import torch
            from networks import Net

            model = Net()
            model.load_state_dict(torch.load("model.pt", map_location=device, weights_only=True), strict=True)
            """,
        ),
        Example(
            """
            import torch

            model = torch.nn.Linear(2, 2)
            model.load_state_dict("model.pt")
            """,
            why="a string",
            lines=(4,),
            fixed="""
            import torch

            model = torch.nn.Linear(2, 2)
            model.load_state_dict(torch.load("model.pt", map_location="cpu", weights_only=True))
            """,
        ),
        Example(
            """
            from __future__ import annotations

            import typing

            if typing.TYPE_CHECKING:
                import torch
                from torch import nn


            def restore(model: nn.Module) -> torch.Tensor:
                model.load_state_dict("model.pt")
            """,
            why="torch is imported for annotations only",
            lines=(11,),
            fixed="""
            from __future__ import annotations

            import typing
            import torch

            if typing.TYPE_CHECKING:
                import torch
                from torch import nn


            def restore(model: nn.Module) -> torch.Tensor:
                model.load_state_dict(torch.load("model.pt", map_location="cpu", weights_only=True))
            """,
        ),
        Example(
            """
            '''Evaluate a network.'''
            import os

            from networks import Net

            PATH = os.path.join("runs", "best.pt")
            net = Net()
            net.load_state_dict(PATH, strict=False)
            """,
            why="a name bound to a path, and torch not imported",
            lines=(8,),
            fixed="""
            '''Evaluate a network.'''
            import os

            from networks import Net
            import torch

            PATH = os.path.join("runs", "best.pt")
            net = Net()
            net.load_state_dict(torch.load(PATH, map_location="cpu", weights_only=True), strict=False)
            """,
        ),
        Example(
            """
            from pathlib import Path

            import torch as t

            folder = Path("runs")
            model = t.nn.Linear(2, 2)
            optimizer = t.optim.SGD(model.parameters(), lr=0.1)
            optimizer.load_state_dict(folder / "optimizer.pt")
            """,
            why="pathlib, by the slash",
            lines=(8,),
            fixed="""
            from pathlib import Path

            import torch as t

            folder = Path("runs")
            model = t.nn.Linear(2, 2)
            optimizer = t.optim.SGD(model.parameters(), lr=0.1)
            optimizer.load_state_dict(t.load(folder / "optimizer.pt", map_location="cpu", weights_only=True))
            """,
        ),
        Example(
            """
            import os
            from pathlib import Path
            from typing import Optional, Union


            def one(model, path: str):
                model.load_state_dict(path)


            def two(model, path: Union[str, os.PathLike]):
                model.load_state_dict(path)


            def three(model, path: Optional[Path] = None):
                if path is not None:
                    model.load_state_dict(path)


            def four(model, path: str | Path):
                model.load_state_dict(path)
            """,
            why="an annotated parameter",
            lines=(7, 11, 16, 20),
        ),
        Example(
            """
            import sys

            from networks import Net

            net = Net()
            epoch = 3
            net.load_state_dict(f"runs/{epoch}.pt")
            net.load_state_dict("runs/%d.pt" % epoch)
            net.load_state_dict("runs/{}.pt".format(epoch))
            net.load_state_dict("runs/" + str(epoch) + ".pt")
            net.load_state_dict(sys.argv[1])
            net.load_state_dict(state_dict=input())
            """,
            why="every kind of text",
            lines=(7, 8, 9, 10, 11, 12),
        ),
        Example(
            """
            import os

            from networks import Net


            def newest(folder):
                return os.path.join(folder, sorted(os.listdir(folder))[-1])


            net = Net()
            net.load_state_dict(newest("runs"))
            """,
            why="a helper of the same file returns the path",
            lines=(11,),
        ),
        Example(
            """
            import torch


            class Tester:
                def __init__(self, name):
                    self.path = "runs/" + name
                    self.model = torch.nn.Linear(2, 2)

                def restore(self):
                    self.model.load_state_dict(self.path)
            """,
            why="an attribute set in the same class",
            lines=(10,),
        ),
        Example(
            """
            import argparse

            from networks import Net

            parser = argparse.ArgumentParser()
            parser.add_argument("--checkpoint", type=str, required=True)
            args = parser.parse_args()
            net = Net().cuda()
            net.load_state_dict(args.checkpoint)
            """,
            why="an option of the command line",
            lines=(9,),
        ),
        Example(
            """
            import torch

            from networks import Net

            net = Net()
            if torch.cuda.is_available():
                weights = "gpu.pt"
            else:
                weights = "cpu.pt"
            net.load_state_dict(weights)
            """,
            why="a path on every branch",
            lines=(10,),
        ),
        Example(
            """
            from huggingface_hub import hf_hub_download

            from networks import Net

            net = Net()
            net.load_state_dict(hf_hub_download("name/model", "model.pt"))
            """,
            why="a downloaded file",
            lines=(6,),
        ),
        Example(
            """
            import os


            def restore(model, args):
                if os.path.isfile(args.resume):
                    model.load_state_dict(args.resume)
            """,
            why="a test for a file shows that it is a path",
            lines=(6,),
        ),
        Example(
            """
            import glob

            from networks import Net

            for path in sorted(glob.glob("runs/*.pt")):
                net = Net()
                net.load_state_dict(path)
            """,
            why="each of a list of files",
            lines=(7,),
        ),
        Example(
            """
            import os

            from networks import Net


            def main(accelerator):
                def restore(models, folder):
                    model = Net().load_state_dict(os.path.join(folder, "model.bin"))

                accelerator.register_load_state_pre_hook(restore)
            """,
            why="inside a function that is handed on",
            lines=(8,),
        ),
        Example(
            """
            import torch.nn as nn


            class Net(nn.Module):
                def forward(self, x):
                    return x


            net = Net()
            net.load_state_dict("net.pt")
            """,
            why="an instance of a module class of this file",
            lines=(10,),
        ),
        Example(
            """
            import torch


            class Net(torch.nn.Module):
                def __init__(self):
                    super().__init__()
                    self.layer = torch.nn.Linear(2, 2)

                def restore(self):
                    self.load_state_dict("net.pt")
            """,
            why="self, where the class inherits from Module alone",
            lines=(10,),
        ),
        Example(
            """
            import os


            def restore(model, path):
                if not os.path.exists(path):
                    raise FileNotFoundError(path)
                model.eval()
                model.load_state_dict(path)
            """,
            why="a test for a file raises for anything but a path",
            lines=(8,),
        ),
        Example(
            """
            from dataclasses import dataclass

            from networks import Net


            class Paths:
                BEST = "best.pt"


            @dataclass
            class Options:
                weights: str
                epochs: int = 1


            net = Net()
            options = Options("last.pt")
            net.load_state_dict(Paths.BEST)
            net.load_state_dict(options.weights)
            """,
            why="texts that classes hold",
            lines=(18, 19),
        ),
        Example(
            """
            import torch

            from networks import Net

            net = Net()
            with open("net.pt", "rb") as file:
                net.load_state_dict(file)
            """,
            why="an open file",
            lines=(7,),
            fixed="""
            import torch

            from networks import Net

            net = Net()
            with open("net.pt", "rb") as file:
                net.load_state_dict(torch.load(file, map_location="cpu", weights_only=True))
            """,
        ),
        Example(
            """
            import io
            from pathlib import Path

            import torch

            from networks import Net

            WEIGHTS = Path("weights") / "net.pt"


            def read():
                net = Net()
                with WEIGHTS.open("rb") as file:
                    net.load_state_dict(file)
                return net


            def copy(net):
                buffer = io.BytesIO()
                torch.save(net.state_dict(), buffer)
                buffer.seek(0)
                other = Net()
                other.load_state_dict(buffer)
                return other
            """,
            why="a file that a path opens, and one in memory",
            lines=(14, 23),
        ),
        Example(
            """
            import argparse
            import sys
            from dataclasses import dataclass
            from pathlib import Path

            from networks import Net


            @dataclass
            class Files:
                weights: "Path | None"
                other: dict


            @dataclass
            class Config:
                files: Files
                last: str = "last.pt"


            def restore(net: Net, config: Config, files: Files):
                net.load_state_dict(files.weights)
                net.load_state_dict(config.files.weights)
                net.load_state_dict(config.last)


            parser = argparse.ArgumentParser()
            parser.add_argument("--model", required=True)
            args = vars(parser.parse_args())
            net = Net()
            net.load_state_dict(args["model"])
            match sys.argv[1:]:
                case [path]:
                    net.load_state_dict(path)
            """,
            why="a field of a dataclass that is given, options as a dict, a pattern",
            lines=(22, 23, 24, 31, 34),
        ),
        Example(
            """
            from dataclasses import dataclass
            from pathlib import Path
            from typing import Annotated

            from networks import Net


            @dataclass
            class Config:
                weights: Annotated[Path, "to start from"]


            def restore(net: Net, config: Config):
                net.load_state_dict(config.weights)
            """,
            why="a field of a dataclass alone",
            lines=(14,),
        ),
        Example(
            """
            import argparse

            from networks import Net

            parser = argparse.ArgumentParser()
            parser.add_argument("--model", required=True)
            args = vars(parser.parse_args())
            net = Net()
            net.load_state_dict(args["model"])
            """,
            why="an option read from a dict alone",
            lines=(9,),
        ),
        Example(
            """
            import sys

            from networks import Net

            match sys.argv[1:]:
                case [first]:
                    Net().load_state_dict(first)
            for each in sys.argv[1:]:
                Net().load_state_dict(each)
            """,
            why="an argument of the program, by a pattern or in a loop",
            lines=(7, 9),
        ),
        Example(
            """
            from pathlib import Path

            from networks import Net


            def newest(folder):
                found = sorted(Path(folder).glob("*.pt"))
                return found[-1] if found else None


            net = Net()
            net.load_state_dict(newest("runs"))
            """,
            why="a path, or None",
            lines=(12,),
        ),
        Example(
            """
            from networks import Net


            class Base:
                def path(self) -> str:
                    '''Where the weights are.'''
                    raise NotImplementedError

                def restore(self):
                    net = Net()
                    net.load_state_dict(self.path())
                    return net
            """,
            why="a method that subclasses define is said to give a path",
            lines=(11,),
        ),
        Example(
            """
            import torch
            from accelerate import Accelerator
            from transformers import AutoConfig, AutoModelForMaskedLM

            model = AutoModelForMaskedLM.from_config(AutoConfig.from_pretrained("base"))
            model.load_state_dict("masked.bin")


            net = torch.nn.Linear(2, 2)
            restore = lambda path="net.pt": net.load_state_dict("net.pt")
            prepared = Accelerator().prepare(net)
            prepared.load_state_dict("prepared.pt")
            """,
            why="a constructor that transformers gives a model, and a function without a name",
            lines=(6, 10, 12),
        ),
    )
    valid = (
        Example(
            """
            from unittest.mock import MagicMock

            import keys
            from callbacks import Injected, Run

            inner = MagicMock()
            Injected(None, inner).load_state_dict("state")
            inner.load_state_dict.assert_called_once_with("state")

            run = Run(3)
            state = read(run)
            state[keys.VERSION] = "0.1"
            run.load_state_dict(state[keys.NET])
            """,
            why="what a test watches, and another entry of a dict from elsewhere that was given a text",
        ),
        Example(
            """
            from networks import Agent


            def restore(agent, policy_state_dict: str = None):
                if policy_state_dict is not None:
                    agent.policy.load_state_dict(policy_state_dict)
            """,
            why="a state by its name, whatever the annotation says",
        ),
        Example(
            """
            import torch

            from networks import Net

            student, teacher = Net(), Net()
            student.load_state_dict(teacher.state_dict())
            student.head.load_state_dict({"weight": torch.zeros(2, 2), "bias": torch.zeros(2)})
            """,
            why="the state of another module, and a dict that stands there",
        ),
        Example(
            """
            import pickle

            from networks import Net

            net = Net()
            with open("net.pkl", "rb") as state:
                state = pickle.load(state)
                net.load_state_dict(state)
            """,
            why="what is read from a file",
        ),
        Example(
            """
            from base import Model


            class Net(Model):
                def restore(self, path: str):
                    self.load_state_dict(path)
            """,
            why="an inherited method that may take a path",
        ),
        Example(
            """
            import torch

            model = torch.nn.Linear(2, 2)
            model.load_state_dict(torch.load("model.pt", weights_only=True))
            """,
            why="the file is loaded first",
        ),
        Example(
            """
            import torch

            PATH = torch.load("model.pt", weights_only=True)
            model = torch.nn.Linear(2, 2)
            model.load_state_dict(PATH)
            """,
            why="a name that looks like a path",
        ),
        Example(
            """
            def restore(model, path):
                model.load_state_dict(path)
            """,
            why="a parameter of which nothing is known",
        ),
        Example(
            """
            from timm.models import load_state_dict

            import checkpoint

            state = load_state_dict("model.pt")
            checkpoint.load_state_dict("model.pt")
            """,
            why="a function called load_state_dict",
        ),
        Example(
            """
            import torch


            class Model:
                def __init__(self):
                    self.net = torch.nn.Linear(2, 2)

                def load_state_dict(self, path: str):
                    self.net.load_state_dict(torch.load(path, weights_only=True))

                def restore(self):
                    self.load_state_dict("model.pt")


            model = Model()
            model.load_state_dict("model.pt")
            """,
            why="a class whose load_state_dict takes a path",
        ),
        Example(
            """
            from training import Trainer

            trainer = Trainer()
            trainer.load_state_dict("run.pt")
            runner = Trainer()
            runner.load_state_dict("run.pt")
            """,
            why="a trainer",
        ),
        Example(
            """
            import torch


            def restore(model, weights):
                if weights is None:
                    weights = "model.pt"
                model.load_state_dict(weights)


            def reload(model, path: str):
                if path.endswith(".pt"):
                    path = torch.load(path, weights_only=True)
                model.load_state_dict(path)
            """,
            why="a path on one branch only",
        ),
        Example(
            """
            import torch


            def restore(model, source):
                if isinstance(source, str):
                    source = torch.load(source, weights_only=True)
                model.load_state_dict(source)
            """,
            why="the string is turned into a state",
        ),
        Example(
            """
            def restore(model, source: "str | dict"):
                if not isinstance(source, str):
                    model.load_state_dict(source)


            def other(model, source: str):
                if isinstance(source, dict):
                    model.load_state_dict(source)
            """,
            why="a string or a state",
        ),
        Example(
            """
            import torch

            checkpoint = torch.load("all.pt", weights_only=True)
            model = torch.nn.Linear(2, 2)
            model.load_state_dict(checkpoint["model"])
            for name in ["a", "b"]:
                model.load_state_dict(checkpoint[name])
            """,
            why="an entry of what was loaded",
        ),
        Example(
            """
            import torch
            from safetensors.torch import load_file


            def read(path: str):
                return torch.load(path, weights_only=True)


            model = torch.nn.Linear(2, 2)
            model.load_state_dict(read("model.pt"))
            model.load_state_dict(load_file("model.safetensors"))
            model.load_state_dict({"weight": torch.zeros(2, 2), "bias": torch.zeros(2)})
            """,
            why="a dictionary read by a helper",
        ),
        Example(
            """
            import pytest
            import torch


            def test_path():
                model = torch.nn.Linear(2, 2)
                with pytest.raises(TypeError):
                    model.load_state_dict("model.pt")
            """,
            why="a test that expects the error",
        ),
        Example(
            """
            import torch

            weights = "model.pt"
            weights = torch.load(weights, weights_only=True)
            model = torch.nn.Linear(2, 2)
            model.load_state_dict(weights)
            """,
            why="a name that is bound to a state later",
        ),
        Example(
            """
            import argparse

            parser = argparse.ArgumentParser()
            parser.add_argument("--weights", type=read_weights)
            args = parser.parse_args()
            model = build()
            model.load_state_dict(args.weights)
            """,
            why="an option that is no string",
        ),
        Example(
            """
            import torch

            from networks import Net


            class Loader:
                def __init__(self, source):
                    self.net = Net()
                    if type(source) == str:
                        source = torch.load(source, weights_only=True)
                        self.net.load_state_dict(source)
                    else:
                        self.net.load_state_dict(source)


            Loader("net.pt")
            """,
            why="the type of the argument is looked at",
        ),
        Example(
            """
            from networks import make_net

            net = make_net()
            net.save_state_dict("net.pth")
            net.load_state_dict("net.pth")
            """,
            why="an object that writes its own files",
        ),
        Example(
            """
            from settings import Configs

            CFG = Configs()
            CFG.load_state_dict("latest.pkl")
            """,
            why="a configuration restores itself and more",
        ),
        Example(
            """
            import torch

            from networks import Net


            class Options:
                weights = "net.pt"


            options = Options()
            net = Net()
            if torch.cuda.is_available():
                options.weights = torch.load(options.weights, weights_only=True)
            net.load_state_dict(options.weights)
            """,
            why="an attribute of a class that is set to a state later",
        ),
        Example(
            """
            from dataclasses import dataclass

            import torch

            from networks import Net


            @dataclass
            class Config:
                weights: str | dict
                state: dict
                start: str = "start.pt"


            def restore(net: Net, config: Config):
                net.load_state_dict(config.weights)
                net.load_state_dict(config.state)
                config.start = torch.load(config.start, weights_only=True)
                net.load_state_dict(config.start)


            match torch.load("parts.pt", weights_only=True):
                case [state]:
                    Net().load_state_dict(state)
            """,
            why="fields that hold a state, or may, and what a pattern takes out of a file",
        ),
        Example(
            """
            from dataclasses import dataclass
            from typing import Any

            from networks import Net


            @dataclass
            class Job:
                weights: Any = ""


            def restore(net: Net, job: Job):
                net.load_state_dict(job.weights)


            restore(Net(), Job())
            """,
            why="a field that may be anything, whatever its default",
        ),
        Example(
            """
            import torch
            from toolkit import Session, Trainer

            session = Session.from_config("session.yaml")
            session.load_state_dict("session.pt")
            trainer = Trainer.from_config("trainer.yaml")
            trainer.load_state_dict("trainer.pt")
            Trainer().load_state_dict("trainer.pt")

            net = torch.nn.Linear(2, 2)
            restore = lambda state: net.load_state_dict(state)
            restore(torch.load("net.pt", map_location="cpu", weights_only=True))
            """,
            why="an object that its own library restores, and a function that is given a state",
        ),
    )
