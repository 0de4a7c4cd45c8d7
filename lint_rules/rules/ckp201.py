"""CKP201: a loaded module is run without `eval()`."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from lint_rules.rule import Edit, Example, Finding, Fix, Rule

if TYPE_CHECKING:
    from collections.abc import Iterator

    import libcst as cst

    from lint_rules.engine import Context
    from lint_rules.flow import Flow, Use
    from lint_rules.objects import Mode


#: Something is loaded into a name, and the name is called: what torch.load gave was a whole module.
_WHOLE = re.compile(
    rb"\b(\w+)\s*=\s*(?:[\w.]*\.)?load\s*\([\s\S]*?\b\1(?:\.\w+\(\))?(?:\.(?:forward|generate|sample|inference))?\s*\("
)


class MissingEval(Rule):
    """Finds modules that are loaded from a checkpoint and run without having been put into evaluation mode.

    ## What it does

    Follows each module from `load_state_dict` (or from the `torch.load` that gave it whole) to where it is called, or
    where its `forward`, `generate` or the like is, and reports the load if on some path `eval()` was not called on that
    object: neither at construction, nor after the load, nor in a helper of the same file.

    Code that goes on to train what it loaded is left alone: `train()`, `backward()` or an optimizer's `step()` after
    the load. So are modules that leave the file, as an argument of other code, which may call `eval()`.

    ## Why is this bad

    A module is in training mode when it is made, and loading does not change that. Dropout then drops activations at
    random, and batch normalisation uses and updates the statistics of whatever is being predicted: results are worse,
    differ from call to call, and the loaded statistics are overwritten.

    ## Fix safety

    Inserts `eval()` on the line after the load. The fix is unsafe: outputs change, which is its purpose.

    ## References

    - [PyTorch: Saving and loading models](https://docs.pytorch.org/tutorials/beginner/saving_loading_models.html)
    - [Module.eval](https://docs.pytorch.org/docs/stable/generated/torch.nn.Module.html)
    """

    code = "CKP201"
    name = "missing-eval"
    summary = "A loaded module is run without `eval()`"
    needs = ((b".load_state_dict",), (b"torch", _WHOLE))
    marks = frozenset({"load_state_dict", "load"})
    follows = True
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
    )
    valid = (
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
    )

    def check(self, context: Context) -> Iterator[Finding]:
        """Report each load after which a module runs in training mode.

        Args:
            context: The source.

        Yields:
            One finding a load.
        """
        flow = context.flow
        if not flow.complete:
            return
        loads: dict[cst.Call, None] = {}
        for use in flow.uses:
            for mode in use.modes:
                if mode.load is not None and _in_training_mode(mode) and not _may_be_meant(use, mode, flow):
                    loads[mode.load] = None
        for load in loads:
            yield context.finding(
                self,
                load,
                "the loaded module is run in training mode, so dropout and batch normalisation distort its output; "
                "call `eval()` before",
                _fix(load, context),
            )


def _in_training_mode(mode: Mode) -> bool:
    from lint_rules.objects import Training

    return mode.training in {Training.DEFAULT, Training.TRAIN}


def _may_be_meant(use: Use, mode: Mode, flow: Flow) -> bool:
    """Tell whether training goes on after the load, or another function may have called `eval()` in between."""
    if use.thing in flow.held or flow.trained.get(use.thing, 0) > mode.order:
        return True
    if any(flow.trained_somewhere.get(run, 0) > mode.order for run in (use.run, mode.run)):
        return True
    return use.run != mode.run and (use.thing in flow.evaluated or use.thing in flow.trained)


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
