"""CKP104: arguments of `torch.load` that are passed to `load_state_dict`."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from lint_rules.loading import STATE_METHOD, foreign, removals, takes_state, torch_loads
from lint_rules.rule import Example, Finding, Fix, Rule

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import libcst as cst

    from lint_rules.engine import Context
    from lint_rules.flow import Call
    from lint_rules.loading import TorchLoad
    from lint_rules.objects import Kind, Thing


def _state_of(call: cst.Call) -> cst.Arg | None:
    """Find the argument that gives the state."""
    first = call.args[0]
    if first.keyword is None:
        return None if first.star else first
    return next((arg for arg in call.args if arg.keyword is not None and arg.keyword.value == "state_dict"), None)


def _is_given(call: Call, kind: Kind) -> bool:
    """Tell whether the state is of a kind for certain, what `torch.load` gives or a path, or an entry of such."""
    state = _state_of(call.node)
    if state is None:
        return False
    roots = call.arguments[call.node.args.index(state)]
    while any(thing.owner is not None for thing in roots):
        roots = {thing.owner or thing for thing in roots}
    return bool(roots) and all(thing.kind is kind for thing in roots)


def _is_torchs(thing: Thing, context: Context) -> bool:
    """Tell whether the `load_state_dict` of an object is torch's own, whatever it is given."""
    return thing.made_by.startswith(("torch.nn.", "torch.optim.", "torchvision.models.")) or (
        context.flow.is_plain_module(thing)
    )


def _fix(call: cst.Call, loads: Iterable[TorchLoad], context: Context) -> Fix | None:
    """Move the keywords into the one `torch.load` that stands inside."""
    import libcst as cst

    from lint_rules.tree import walk

    state = _state_of(call)
    inside = set(walk(state)) if state is not None else set()
    nested = [load for load in loads if load.node in inside]
    moved = list(foreign(call))
    commas = [arg.comma for arg in call.args if isinstance(arg.comma, cst.Comma)]
    commented = any("#" in context.tree.code_for_node(comma) for comma in commas)
    if len(nested) != 1 or commented or any(arg.keyword and nested[0].may_give(arg.keyword.value) for arg in moved):
        return None
    code = ", ".join(context.source(arg) for arg in moved)
    added = context.add_argument(nested[0].node, code)
    return Fix((added, *removals(call, moved, context)), safe=True) if added else None


class TorchLoadKeywordInLoadStateDict(Rule):
    """Finds arguments that stand behind the wrong parenthesis.

    ## What it does

    Reports `load_state_dict(torch.load(...), map_location=...)`: the keywords `map_location`, `weights_only`, `mmap`
    and `pickle_module` where what is passed comes from `torch.load` and the method is that of a module or an optimizer,
    or whatever is passed where the method is torch's own for certain.

    ## Why is this bad

    `load_state_dict` knows none of them and raises `TypeError`, on the line that was to restore the result of a long
    run. They belong to the `torch.load` inside.

    ## Fix safety

    Moves the keywords into the `torch.load` that stands inside, unless it has them already or a comment stands between
    the arguments. The fix is safe: the call cannot have worked before.

    ## References

    - [torch.load](https://docs.pytorch.org/docs/stable/generated/torch.load.html)
    - [Module.load_state_dict](https://docs.pytorch.org/docs/stable/generated/torch.nn.Module.html)
    """

    code = "CKP104"
    name = "torch-load-keyword-in-load-state-dict"
    summary = "An argument of `torch.load` is passed to `load_state_dict`"
    needs = (
        (
            b"state_dict",
            b".load_state_dict",
            re.compile(
                rb"\.\s*load_state_dict\s*\([\s\S]{1,2000}?\b(?:map_location|weights_only|mmap|pickle_module)\s*="
            ),
        ),
    )
    marks = frozenset({STATE_METHOD, "load"})
    follows = True

    def check(self, context: Context) -> Iterator[Finding]:
        """Report each call with keywords of the other function.

        Args:
            context: The source.

        Yields:
            One finding a call.
        """
        from lint_rules.objects import Kind
        from lint_rules.tree import method_of

        suspects = [call for call, _ in context.names.calls if method_of(call) == STATE_METHOD and any(foreign(call))]
        if not suspects:
            return
        loads = list(torch_loads(context))
        for node in suspects:
            call = context.flow.calls.get(node)
            if call is None or not takes_state(call, context):
                continue
            known = _is_given(call, Kind.LOADED) or _is_given(call, Kind.TEXT)
            if not known and not all(_is_torchs(thing, context) for thing in call.receivers):
                continue
            names = " and ".join(f"`{arg.keyword.value}`" for arg in foreign(node) if arg.keyword)
            yield context.finding(
                self,
                node,
                f"`load_state_dict` has no {names} and raises `TypeError` here; pass it to `torch.load`",
                _fix(node, loads, context),
            )

    invalid = (
        Example(
            """
            from networks import Net

            model = Net()
            model.load_state_dict("model.pt", map_location="cpu")
            """,
            why="a path, which CKP101 reports besides",
            lines=(4,),
        ),
        Example(
            """
            import torch

            model = torch.nn.Linear(2, 2)
            model.load_state_dict(torch.load("model.pt"), map_location="cpu")
            """,
            why="behind the wrong parenthesis",
            lines=(4,),
            fixed="""
            import torch

            model = torch.nn.Linear(2, 2)
            model.load_state_dict(torch.load("model.pt", map_location="cpu"))
            """,
        ),
        Example(
            """
            import torch as t


            def restore(model, path, device):
                model.load_state_dict(
                    t.load(path)["model"],
                    weights_only=True,
                    strict=True,
                    map_location=device,
                )
            """,
            why="two of them around another, and an entry of what is loaded",
            lines=(5,),
            fixed="""
            import torch as t


            def restore(model, path, device):
                model.load_state_dict(
                    t.load(path, weights_only=True, map_location=device)["model"],
                    strict=True,
                )
            """,
        ),
        Example(
            """
            import torch


            def restore(model, path):
                model.load_state_dict(map_location="cpu", state_dict=torch.load(path, weights_only=True))
            """,
            why="the keyword comes first",
            lines=(5,),
            fixed="""
            import torch


            def restore(model, path):
                model.load_state_dict(state_dict=torch.load(path, weights_only=True, map_location="cpu"))
            """,
        ),
        Example(
            """
            import torch


            class Net(torch.nn.Module):
                def restore(self, path, optimizer):
                    checkpoint = torch.load(path)
                    self.load_state_dict(checkpoint["model"], map_location="cpu")
                    optimizer.load_state_dict(checkpoint["optimizer"], map_location="cpu")
            """,
            why="what is loaded has a name",
            lines=(7, 8),
        ),
        Example(
            """
            import torch


            def restore(model, path):
                model.load_state_dict(torch.load(path, "cpu"), map_location="cpu")
                model.load_state_dict(torch.load(path, weights_only=True), weights_only=True)
            """,
            why="both have it",
            lines=(5, 6),
        ),
        Example(
            """
            import torch


            def restore(model, path):
                model.load_state_dict(
                    torch.load(path),  # of the best epoch
                    map_location="cpu",
                )
            """,
            why="a comment that would be lost",
            lines=(5,),
        ),
        Example(
            """
            import torch


            def restore(state):
                model = torch.nn.Linear(2, 2)
                model.load_state_dict(state, map_location="cpu")
                return model
            """,
            why="a method that is torch's own",
            lines=(6,),
        ),
    )
    valid = (
        Example(
            """
            import torch

            model = torch.nn.Linear(2, 2)
            model.load_state_dict(torch.load("model.pt", map_location="cpu", weights_only=True), strict=True)
            """,
            why="behind the right parenthesis",
        ),
        Example(
            """
            from timm.models import load_state_dict

            import checkpoints

            state = load_state_dict("model.pt", map_location="cpu", weights_only=True)
            state = checkpoints.load_state_dict("model.pt", map_location="cpu")
            """,
            why="functions of this name that read files",
        ),
        Example(
            """
            import torch


            class Store:
                def load_state_dict(self, state, map_location=None):
                    self.state = {key: value.to(map_location) for key, value in state.items()}


            store = Store()
            store.load_state_dict(torch.load("a.pt"), map_location="cpu")
            """,
            why="a method that has such a parameter",
        ),
        Example(
            """
            import torch


            def restore(trainer, path):
                trainer.load_state_dict(torch.load(path), map_location="cpu")
            """,
            why="another object",
        ),
        Example(
            """
            import torch


            class Net(Base):
                def restore(self, path):
                    self.load_state_dict(torch.load(path), map_location="cpu")


            def read(model, state):
                model.load_state_dict(state, map_location="cpu")
            """,
            why="an inherited method, and a state of unknown origin",
        ),
        Example(
            """
            import pytest
            import torch


            def test_keywords(path):
                model = torch.nn.Linear(2, 2)
                with pytest.raises(TypeError):
                    model.load_state_dict(torch.load(path), map_location="cpu")
            """,
            why="a test that expects the error",
        ),
    )
