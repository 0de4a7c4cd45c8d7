"""CKP303: `torch.load` without `map_location`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lint_rules.knowledge import LOAD
from lint_rules.loading import TORCH_LOAD_NEEDS, torch_loads
from lint_rules.rule import Example, Finding, Fix, Rule

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lint_rules.engine import Context
    from lint_rules.outline import Outline

_LOCATION = "map_location"


class TorchLoadWithoutMapLocation(Rule):
    """Finds calls of `torch.load` that leave open which device the tensors go to.

    ## What it does

    Reports `torch.load(...)` without `map_location`, by keyword or as the second argument, under whatever name the
    function goes in the file. Calls whose arguments arrive through `*args` or `**kwargs` are not reported, nor is an
    explicit `map_location=None`.

    ## Why is this bad

    Each tensor goes back to the device that it was saved from. A checkpoint written on a GPU raises `RuntimeError` on a
    machine without one; with one, a second copy of the weights takes the memory of the GPU that the file names, in
    distributed training that of GPU 0 for every rank.

    ## Fix safety

    Adds `map_location="cpu"`, from where `load_state_dict` copies to the device of the module. The fix is unsafe: code
    that uses the loaded tensors or a pickled module directly finds them on the CPU.

    ## References

    - [torch.load](https://docs.pytorch.org/docs/stable/generated/torch.load.html)
    - [PyTorch: Saving and loading models across devices](https://docs.pytorch.org/tutorials/beginner/saving_loading_models.html)
    """

    code = "CKP303"
    name = "torch-load-without-map-location"
    summary = "`torch.load` without `map_location`"
    needs = TORCH_LOAD_NEEDS
    marks = frozenset({"load"})

    def may_find(self, outline: Outline) -> bool:
        """Tell whether a call may do without the argument."""
        calls = outline.calls_of(LOAD)
        return calls is None or any(all(each.arg != _LOCATION for each in call.keywords) for call in calls)

    def check(self, context: Context) -> Iterator[Finding]:
        """Report each call that leaves the device open.

        Args:
            context: The source.

        Yields:
            One finding a call.
        """
        for load in torch_loads(context):
            if not load.may_give(_LOCATION):
                edit = None if load.applied else context.add_argument(load.node, f'{_LOCATION}="cpu"')
                yield context.finding(
                    self,
                    load.node,
                    "`torch.load` without `map_location` puts tensors on the device that they were saved from and "
                    'raises where it is missing; pass `map_location="cpu"`',
                    Fix((edit,), safe=False) if edit else None,
                )

    invalid = (
        Example(
            """
            import torch

            state = torch.load("checkpoint.pt", weights_only=True)
            """,
            why="no map_location",
            lines=(3,),
            fixed="""
            import torch

            state = torch.load("checkpoint.pt", weights_only=True, map_location="cpu")
            """,
        ),
        Example(
            """
            import torch as t

            net = t.nn.Linear(2, 2).cuda()
            net.load_state_dict(t.load("net.pt"))
            """,
            why="the module has another name, the load is nested",
            lines=(4,),
            fixed="""
            import torch as t

            net = t.nn.Linear(2, 2).cuda()
            net.load_state_dict(t.load("net.pt", map_location="cpu"))
            """,
        ),
        Example(
            """
            from torch import load

            state = load("checkpoint.pt")
            """,
            why="the function is imported",
            lines=(3,),
        ),
        Example(
            """
            from torch import serialization

            state = serialization.load("checkpoint.pt")
            """,
            why="only the module that defines it is imported",
            lines=(3,),
        ),
        Example(
            """
            from functools import partial

            import torch

            read = partial(torch.load, weights_only=True)
            state = read("checkpoint.pt")
            """,
            why="a partial without it",
            lines=(6,),
            fixed="""
            from functools import partial

            import torch

            read = partial(torch.load, weights_only=True)
            state = read("checkpoint.pt", map_location="cpu")
            """,
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
            import torch

            state = torch.load("checkpoint.pt", **{"weights_only": True})
            """,
            why="keywords that are written out",
            lines=(3,),
        ),
        Example(
            """
            import torch


            def restore(model, path):
                if torch.cuda.is_available():
                    state = torch.load(path)
                else:
                    state = torch.load(path, map_location="cpu")
                model.load_state_dict(state)
            """,
            why="only one branch says where to",
            lines=(6,),
        ),
    )
    valid = (
        Example(
            """
            import torch

            state = torch.load("checkpoint.pt", map_location="cpu", weights_only=True)
            """,
            why="map_location is given",
        ),
        Example(
            """
            import torch


            def read(path, device):
                return torch.load(path, device), torch.load(path, lambda storage, _: storage)
            """,
            why="it is given by position",
        ),
        Example(
            """
            import torch

            state = torch.load("checkpoint.pt", map_location=None)
            """,
            why="the devices of the file are asked for",
        ),
        Example(
            """
            import torch


            def read(path, *args, **options):
                return torch.load(path, *args), torch.load(path, **options), torch.load(*args)
            """,
            why="it may arrive with other arguments",
        ),
        Example(
            """
            import functools

            import torch

            read = functools.partial(torch.load, map_location="cpu")
            states = [read("a.pt"), *map(read, ["b.pt", "c.pt"])]
            """,
            why="a partial with it",
        ),
        Example(
            """
            import torch

            states = map(torch.load, ["a.pt", "b.pt"], ["cpu", "cpu"])
            """,
            why="a second sequence gives it",
        ),
        Example(
            """
            import functools

            import torch

            torch.load = functools.partial(torch.load, map_location="cpu")
            state = torch.load("checkpoint.pt")
            """,
            why="torch.load is replaced",
        ),
        Example(
            """
            import json
            import pickle

            import torch
            from safetensors.torch import load

            one = json.load(open("a.json")), pickle.load(open("b.pkl", "rb")), load(b"")
            two = torch.jit.load("c.pt"), torch.hub.load("a/b", "c"), torch.export.load("d.pt2")
            """,
            why="other functions called load",
        ),
        Example(
            """
            import torch


            def torch_load(path, **options):
                options.setdefault("map_location", "cpu")
                return torch.load(path, **options)


            state = torch_load("checkpoint.pt")
            """,
            why="a wrapper with its own default",
        ),
    )
