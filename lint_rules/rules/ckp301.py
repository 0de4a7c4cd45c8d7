"""CKP301: `torch.load` without `weights_only`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lint_rules.knowledge import LOAD
from lint_rules.loading import TORCH_LOAD_NEEDS, torch_loads
from lint_rules.rule import Example, Finding, Fix, Rule

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lint_rules.engine import Context
    from lint_rules.outline import Outline

_GUARDED_BY_DEFAULT = (2, 6)
_GUARD = "weights_only"


class UnguardedTorchLoad(Rule):
    """Finds calls of `torch.load` that do not say whether the file may run code.

    ## What it does

    Reports `torch.load(...)` without the keyword `weights_only`, under whatever name the function goes in the file:
    `import torch as t`, `from torch import load`, `ld = torch.load`, `functools.partial(torch.load, ...)` and
    `map(torch.load, ...)` included.

    ## Why is this bad

    A checkpoint is a pickle, and a pickle can run any code when it is opened. Before torch 2.6 that is what
    `torch.load` allows unless `weights_only=True` is given. From torch 2.6 on the default is the safe one, and files
    that hold more than tensors, which used to load, raise `UnpicklingError`. Saying which of the two is meant makes the
    code safe with old versions and plain with new ones.

    A project that requires `torch>=2.6` has the safe default everywhere, so the rule is quiet there unless
    `strict-guard = true` is set in `[tool.ckpt-lint]`. Calls whose keywords arrive through `**kwargs` are not reported.

    ## Fix safety

    Adds `weights_only=True`. The fix is unsafe: a file that holds pickled objects, such as a whole module, no longer
    loads. Allow its classes by `torch.serialization.add_safe_globals`, or save a `state_dict` instead.

    ## References

    - [torch.load](https://docs.pytorch.org/docs/stable/generated/torch.load.html)
    - [PyTorch: Serialization semantics](https://docs.pytorch.org/docs/stable/notes/serialization.html)
    """

    code = "CKP301"
    name = "unguarded-torch-load"
    summary = "`torch.load` without `weights_only`"
    needs = TORCH_LOAD_NEEDS
    marks = frozenset({"load"})

    def may_find(self, outline: Outline) -> bool:
        """Tell whether a call may do without the argument."""
        calls = outline.calls_of(LOAD)
        return calls is None or any(all(each.arg != _GUARD for each in call.keywords) for call in calls)

    def check(self, context: Context) -> Iterator[Finding]:
        """Report each unguarded call.

        Args:
            context: The source.

        Yields:
            One finding a call.
        """
        settings = context.settings
        if settings.target_torch and settings.target_torch >= _GUARDED_BY_DEFAULT and not settings.strict_guard:
            return
        for load in torch_loads(context):
            if not load.may_give(_GUARD):
                edit = None if load.applied else context.add_argument(load.node, f"{_GUARD}=True")
                yield context.finding(
                    self,
                    load.node,
                    "`torch.load` without `weights_only` can run code from the file before torch 2.6; "
                    "pass `weights_only=True`",
                    Fix((edit,), safe=False) if edit else None,
                )

    invalid = (
        Example(
            """
            import torch

            state = torch.load("checkpoint.pt", map_location="cpu")
            """,
            why="no weights_only",
            lines=(3,),
            fixed="""
            import torch

            state = torch.load("checkpoint.pt", map_location="cpu", weights_only=True)
            """,
        ),
        Example(
            """
            import torch as t

            state = t.load("checkpoint.pt")
            """,
            why="the module has another name",
            lines=(3,),
            fixed="""
            import torch as t

            state = t.load("checkpoint.pt", weights_only=True)
            """,
        ),
        Example(
            """
            from torch import load as ld
            from torch.serialization import load


            def read(path):
                return ld(path), load(path)
            """,
            why="the function is imported, from either module",
            lines=(6, 6),
        ),
        Example(
            """
            from torch import serialization

            state = serialization.load("checkpoint.pt")
            """,
            why="the module that defines it",
            lines=(3,),
        ),
        Example(
            """
            import torch

            read = torch.load
            state = read("checkpoint.pt")
            """,
            why="another name is bound to the function",
            lines=(4,),
        ),
        Example(
            """
            from functools import partial

            import torch

            read = partial(torch.load, map_location="cpu")
            state = read("checkpoint.pt")
            """,
            why="a partial without the keyword",
            lines=(6,),
        ),
        Example(
            """
            import torch

            states = list(map(torch.load, ["a.pt", "b.pt"]))
            """,
            why="applied to each of several files",
            lines=(3,),
        ),
        Example(
            """
            import torch.utils.data

            state = torch.load("checkpoint.pt")
            """,
            why="importing a submodule binds the package",
            lines=(3,),
        ),
        Example(
            """
            try:
                import torch
            except ImportError:
                torch = None


            def read(path):
                return torch.load(path)
            """,
            why="torch is optional",
            lines=(8,),
        ),
        Example(
            """
            import pickle

            import torch

            state = torch.load("checkpoint.pt", "cpu", pickle)
            """,
            why="arguments by position cannot reach weights_only",
            lines=(5,),
        ),
        Example(
            """
            import torch

            state = torch.load("checkpoint.pt", **{"map_location": "cpu"})
            """,
            why="keywords that are written out",
            lines=(3,),
        ),
        Example(
            """
            import torch

            state = torch.load(
                "checkpoint.pt",
                map_location="cpu",
            )
            """,
            why="a trailing comma",
            lines=(3,),
            fixed="""
            import torch

            state = torch.load(
                "checkpoint.pt",
                map_location="cpu", weights_only=True,
            )
            """,
        ),
        Example(
            """
            def read(path):
                import torch

                return torch.load(path)["state_dict"]
            """,
            why="imported where it is used",
            lines=(4,),
        ),
        Example(
            """
            import torch

            read = lambda path: torch.load(path)


            def info(state=torch.load("a.pt")):
                return f"{torch.load('b.pt')}"
            """,
            why="inside an f-string, a lambda and a default",
            lines=(3, 6, 7),
        ),
        Example(
            """
            import torch

            state = torch.load("checkpoint.pt")
            """,
            why="the project asks for the guard with every torch",
            lines=(3,),
            settings=(("target-torch", "2.8"), ("strict-guard", True)),
        ),
        Example(
            """
            import torch

            state = torch.load("checkpoint.pt")
            """,
            why="an older torch",
            lines=(3,),
            settings=(("target-torch", "2.5"),),
        ),
        Example(
            """
            from torch import *

            state = load("checkpoint.pt")
            """,
            why="everything is imported",
            lines=(3,),
        ),
        Example(
            """
            from helpers import *

            state = torch.load("checkpoint.pt")
            """,
            why="torch arrives through a star import",
            lines=(3,),
        ),
        Example(
            """
            import torch


            class Store:
                read = staticmethod(torch.load)

                def __init__(self):
                    self.open = torch.load

                def state(self, path):
                    return self.open(path) or self.read(path)
            """,
            why="an attribute of the class",
            lines=(11, 11),
        ),
        Example(
            """
            import torch

            save, load = torch.save, torch.load
            state = load("a.pt")
            """,
            why="bound in a tuple",
            lines=(4,),
        ),
        Example(
            """
            try:
                from torch.serialization import load as read
            except ImportError:
                from torch import load as read

            state = read("a.pt")
            """,
            why="imported from either place",
            lines=(6,),
        ),
    )
    valid = (
        Example(
            """
            import torch

            state = torch.load("checkpoint.pt", weights_only=True)
            """,
            why="weights_only is given",
        ),
        Example(
            """
            import torch


            def read(path, trusted):
                return torch.load(path, weights_only=not trusted), torch.load(path, weights_only=False)
            """,
            why="weights_only is given, whatever it is",
        ),
        Example(
            """
            import torch


            def read(path, **options):
                return torch.load(path, **options)
            """,
            why="it may arrive with other keywords",
        ),
        Example(
            """
            import torch

            state = torch.load("checkpoint.pt", **{"weights_only": True})
            """,
            why="it is among keywords that are written out",
        ),
        Example(
            """
            import json
            import pickle

            import numpy as np
            import torch
            from safetensors.torch import load

            values = json.load(open("a.json")), pickle.load(open("b.pkl", "rb")), np.load("c.npy")
            tensors = load(b""), torch.jit.load("d.pt"), torch.hub.load("a/b", "c"), torch.export.load("e.pt2")
            """,
            why="other functions called load",
        ),
        Example(
            """
            import torch


            def read(torch, path):
                return torch.load(path)
            """,
            why="a parameter hides the module",
        ),
        Example(
            """
            from torch import load


            def load(path):
                return load_file(path)


            state = load("model.safetensors")
            """,
            why="a function of this file hides the import",
        ),
        Example(
            """
            try:
                from torch import load
            except ImportError:
                from joblib import load

            state = load("checkpoint.pt")
            """,
            why="which load it is depends",
        ),
        Example(
            """
            import functools

            import torch

            read = functools.partial(torch.load, weights_only=True)
            state = read("checkpoint.pt")
            """,
            why="a partial with the keyword",
        ),
        Example(
            """
            import functools

            import torch

            torch.load = functools.partial(torch.load, weights_only=False)
            state = torch.load("checkpoint.pt")
            """,
            why="torch.load is replaced",
        ),
        Example(
            """
            import inspect

            import torch

            # torch.load("a.pt")
            SIGNATURE = inspect.signature(torch.load)
            HELP = '''torch.load("a.pt")'''
            """,
            why="only mentioned",
        ),
        Example(
            """
            import torch.nn as nn


            def read(torch, path):
                return torch.load(path), nn.load(path)
            """,
            why="importing a submodule under a name does not bind the package",
        ),
        Example(
            """
            import torch


            class Store:
                def load(self, path):
                    return torch.load(path, weights_only=True)

                def read(self, path):
                    return self.load(path)
            """,
            why="a method of another object",
        ),
        Example(
            """
            import torch


            class Store:
                load = torch.load

                def read(self, path):
                    return load(path)
            """,
            why="names of a class are not seen in its methods",
        ),
        Example(
            """
            import torch

            state = torch.load("checkpoint.pt")
            """,
            why="the project needs a torch that guards by default",
            settings=(("target-torch", "2.6"),),
        ),
        Example(
            """
            from .torch import load

            state = load("checkpoint.pt")
            """,
            why="a relative module called torch",
        ),
        Example(
            """
            import pickle

            import torch


            class Store:
                def __init__(self, plain):
                    self.open = torch.load
                    if plain:
                        self.open = pickle.load

                def state(self, path):
                    return self.open(path)
            """,
            why="an attribute that may be something else",
        ),
        Example(
            """
            import pickle

            import torch

            save, load = torch.save, pickle.load
            with open("a.pkl", "rb") as file:
                state = load(file)
            first, *load = torch.load, torch.save
            """,
            why="another function is bound in a tuple",
        ),
    )
