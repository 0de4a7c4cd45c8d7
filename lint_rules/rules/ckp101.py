"""CKP101: a path passed to `load_state_dict`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lint_rules.rule import Example, Finding, Fix, Rule

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lint_rules.engine import Context
    from lint_rules.flow import Call

_METHOD = "load_state_dict"


class LoadStateDictPath(Rule):
    """Finds paths that are passed where the loaded dictionary belongs.

    ## What it does

    Reports `x.load_state_dict(path)` where `x` is a module, an optimizer, a scheduler or a scaler and the argument is a
    string or a path for certain: written there, joined, formatted, annotated, read from the command line, or returned
    by a function that returns paths. A name such as `PATH` proves nothing; what it is bound to does.

    Functions and methods of other classes that happen to be called `load_state_dict` and take a path are left alone.

    ## Why is this bad

    `load_state_dict` takes the dictionary that `state_dict()` gave, not the file it was saved to. The call raises
    `TypeError` or `AttributeError`, often only at the end of a long run, on the line that was to restore its result.

    ## Fix safety

    Puts `torch.load(..., map_location="cpu", weights_only=True)` around the argument and imports torch where it is
    missing. The fix is safe: the call cannot have worked before.

    ## References

    - [Module.load_state_dict](https://docs.pytorch.org/docs/stable/generated/torch.nn.Module.html)
    - [PyTorch: Saving and loading models](https://docs.pytorch.org/tutorials/beginner/saving_loading_models.html)
    """

    code = "CKP101"
    name = "load-state-dict-path"
    summary = "A path is passed to `load_state_dict`"
    needs = ((b".load_state_dict",),)
    marks = frozenset({_METHOD})
    follows = True
    invalid = (
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
    )
    valid = (
        Example(
            """
            import torch

            model = torch.nn.Linear(2, 2)
            model.load_state_dict(torch.load("model.pt", weights_only=True))
            """,
            why="the file is loaded first",
        ),
    )

    def check(self, context: Context) -> Iterator[Finding]:
        """Report each call that is given a path for certain.

        Args:
            context: The source.

        Yields:
            One finding a call.
        """
        from lint_rules.objects import Kind
        from lint_rules.tree import method_of

        for call in context.flow.calls.values():
            node = call.node
            if method_of(node) != _METHOD or not node.args or node.args[0].star:
                continue
            if node.args[0].keyword is not None and node.args[0].keyword.value != "state_dict":
                continue
            if {value.kind for value in call.arguments[0]} == {Kind.TEXT} and _takes_state(call, context):
                yield context.finding(
                    self,
                    node,
                    "`load_state_dict` takes a state dict, not a path, and raises here; "
                    "pass `torch.load(path, weights_only=True)`",
                    _fix(call, context),
                )


def _takes_state(call: Call, context: Context) -> bool:
    """Tell whether the method called is that of a module or optimizer, as far as can be seen."""
    import libcst as cst

    from lint_rules.knowledge import NO_MODULE
    from lint_rules.objects import Kind
    from lint_rules.tree import dotted

    node = cst.ensure_type(call.node.func, cst.Attribute)
    spelled = dotted(node.value) or ""
    if context.names.resolve(node.value, call.scope) or NO_MODULE.search(spelled.rpartition(".")[2]):
        return False
    if spelled in {"self", "cls"} or not call.receivers:
        return False
    for thing in call.receivers:
        if thing.kind in {Kind.INSTANCE, Kind.COLLECTION, Kind.REFERENCE, Kind.TEXT, Kind.FUNCTION, Kind.CLASS}:
            return False
        if NO_MODULE.search(thing.made_by.rpartition(".")[2]) or context.flow.defines(thing, _METHOD):
            return False
    return True


def _fix(call: Call, context: Context) -> Fix:
    torch, imports = context.spelling("torch", call.scope)
    before, after = f"{torch}.load(", ', map_location="cpu", weights_only=True)'
    return Fix(context.wrap(call.node.args[0].value, before, after), safe=True, imports=imports)
