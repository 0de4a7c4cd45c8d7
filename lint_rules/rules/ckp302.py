"""CKP302: `torch.load` with `weights_only=False`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lint_rules.loading import TORCH_LOAD_NEEDS, partial_loads, torch_loads
from lint_rules.rule import Example, Finding, Rule

if TYPE_CHECKING:
    from collections.abc import Iterator

    import libcst as cst

    from lint_rules.engine import Context
    from lint_rules.loading import TorchLoad

_GUARD = "weights_only"
_MESSAGE = (
    "`weights_only=False` lets the file run any code when it is loaded; save a `state_dict` and load it with "
    "`weights_only=True`"
)


def _is_off(load: TorchLoad, context: Context) -> bool:
    """Tell whether the guard is `False`, as it is written or as the one thing that a name is bound to."""
    from lint_rules.tree import is_false

    value = load.keyword(_GUARD)
    return value is not None and is_false(context.names.constant(value, load.scope))


class WeightsOnlyFalse(Rule):
    """Finds calls of `torch.load` that switch its guard off.

    ## What it does

    Reports `torch.load(..., weights_only=False)`, under whatever name the function goes in the file, and partials of it
    that are handed on. Only a literal `False` (or `0`) counts: a variable leaves the choice to somebody else.

    The rule is off by default, because there are files that load in no other way. Switch it on where none should be
    left, and mark the exceptions.

    ## Why is this bad

    A checkpoint is a pickle, and a pickle can run any code when it is opened. With `weights_only=False` whoever can
    write the file, or the server that it is downloaded from, can run what they like as you.

    ## Fix safety

    There is no fix: what has to change is how the file is written. Save a `state_dict`, or allow the classes that the
    file needs by `torch.serialization.add_safe_globals`.

    ## References

    - [torch.load](https://docs.pytorch.org/docs/stable/generated/torch.load.html)
    - [PyTorch: Serialization semantics](https://docs.pytorch.org/docs/stable/notes/serialization.html)
    """

    code = "CKP302"
    name = "weights-only-false"
    summary = "`torch.load` with `weights_only=False`"
    default = False
    needs = tuple((*need, _GUARD.encode()) for need in TORCH_LOAD_NEEDS)
    marks = frozenset({"load"})

    def check(self, context: Context) -> Iterator[Finding]:
        """Report each call that switches the guard off, and each partial that does and is not called here.

        Args:
            context: The source.

        Yields:
            One finding a call.
        """
        called: set[cst.Arg] = set()
        for load in torch_loads(context, patched=True):
            called.update(load.args)
            if _is_off(load, context):
                yield context.finding(self, load.node, _MESSAGE)
        for load in partial_loads(context):
            if called.isdisjoint(load.args) and _is_off(load, context):
                yield context.finding(self, load.node, _MESSAGE)

    invalid = (
        Example(
            """
            import torch

            checkpoint = torch.load("checkpoint.pt", map_location="cpu", weights_only=False)
            """,
            why="a literal False",
            lines=(3,),
        ),
        Example(
            """
            import torch as t

            checkpoint = t.load("checkpoint.pt", weights_only=0)
            """,
            why="the module has another name, and a zero",
            lines=(3,),
        ),
        Example(
            """
            from torch import load

            checkpoint = load("checkpoint.pt", weights_only=False)
            """,
            why="the function is imported",
            lines=(3,),
        ),
        Example(
            """
            from torch import serialization

            checkpoint = serialization.load("checkpoint.pt", weights_only=False)
            """,
            why="the module that defines it",
            lines=(3,),
        ),
        Example(
            """
            import torch


            def read(path, *args, **options):
                return torch.load(path, *args, weights_only=False, **options)
            """,
            why="beside other arguments",
            lines=(5,),
        ),
        Example(
            """
            import torch

            checkpoint = torch.load("checkpoint.pt", **{"weights_only": False})
            """,
            why="keywords that are written out",
            lines=(3,),
        ),
        Example(
            """
            from functools import partial

            import torch

            read = partial(torch.load, weights_only=False)


            def restore(path):
                return read(path, map_location="cpu")
            """,
            why="a call of a partial",
            lines=(9,),
        ),
        Example(
            """
            import functools

            import torch

            torch.load = functools.partial(torch.load, weights_only=False)
            checkpoint = torch.load("checkpoint.pt")
            """,
            why="torch.load is replaced by a partial",
            lines=(5,),
        ),
        Example(
            """
            import torch

            original = torch.load


            def unguarded(*args, **kwargs):
                kwargs.pop("weights_only", None)
                return original(*args, **kwargs, weights_only=False)


            torch.load = unguarded
            """,
            why="torch.load is replaced by a function",
            lines=(8,),
        ),
        Example(
            """
            import torch

            GUARD = False
            state = torch.load("checkpoint.pt", weights_only=GUARD)
            """,
            why="a name that stands for False",
            lines=(4,),
        ),
    )
    valid = (
        Example(
            """
            import torch

            state = torch.load("checkpoint.pt", weights_only=True)
            """,
            why="the guard is on",
        ),
        Example(
            """
            import torch


            def read(path, trusted, weights_only=False):
                return torch.load(path, weights_only=not trusted), torch.load(path, weights_only=weights_only)
            """,
            why="a variable",
        ),
        Example(
            """
            import torch

            state = torch.load("checkpoint.pt", map_location="cpu")  # weights_only is not given
            """,
            why="nothing is said",
        ),
        Example(
            """
            import functools

            import torch

            read = functools.partial(torch.load, weights_only=False)
            state = read("checkpoint.pt", weights_only=True)
            """,
            why="a call of a partial that switches the guard on",
        ),
        Example(
            """
            import torch
            from lightning import Trainer

            from .checkpoints import load

            state = load("checkpoint.pt", weights_only=False)
            net = torch.hub.load("a/b", "c", weights_only=False)
            Trainer().fit(net, weights_only=False)
            """,
            why="other functions with such a parameter",
        ),
    )
