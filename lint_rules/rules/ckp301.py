"""CKP301: `torch.load` without `weights_only`."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from lint_rules.rule import Example, Finding, Fix, Rule

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import libcst as cst

    from lint_rules.engine import Context
    from lint_rules.names import Scope

_LOAD = ("torch.load", "torch.serialization.load")
_GUARDED_BY_DEFAULT = (2, 6)
_GUARD = "weights_only"
_APPLIERS = ("builtins.map",)
_IMPORTED = re.compile(rb"from\s+torch(\.serialization)?\s+import\s*(\([^)]*|[^\n(]*)(\bload\b|\*)")


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
    needs = ((b"torch", re.compile(rb"\.\s*load\b")), (_IMPORTED,))
    marks = frozenset({"load"})
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
    )
    valid = (
        Example(
            """
            import torch

            state = torch.load("checkpoint.pt", weights_only=True)
            """,
            why="weights_only is given",
        ),
    )

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
        for call, scope in context.names.calls:
            if self._loads(call, scope, context):
                edit = None if self._applied(call, scope, context) else context.add_argument(call, f"{_GUARD}=True")
                yield context.finding(
                    self,
                    call,
                    "`torch.load` without `weights_only` can run code from the file before torch 2.6; "
                    "pass `weights_only=True`",
                    Fix((edit,), safe=False) if edit else None,
                )

    def _loads(self, call: cst.Call, scope: Scope, context: Context) -> bool:
        target = context.names.target(call.func, scope)
        if target is None:
            return False
        if target.name in _LOAD:
            return not _may_guard((*target.given, *call.args))
        return self._applied(call, scope, context)

    def _applied(self, call: cst.Call, scope: Scope, context: Context) -> bool:
        """Tell whether a call applies an unguarded `torch.load` to each item of something."""
        if context.names.resolve(call.func, scope) not in _APPLIERS or not call.args or call.args[0].star:
            return False
        function = context.names.target(call.args[0].value, scope)
        return function is not None and function.name in _LOAD and not _may_guard(function.given)


def _may_guard(args: Sequence[cst.Arg]) -> bool:
    """Tell whether arguments hold `weights_only`, or could, through `**`."""
    return any(_may_give_guard(arg) for arg in args)


def _may_give_guard(arg: cst.Arg) -> bool:
    import libcst as cst

    from lint_rules.tree import text_of

    if arg.star != "**":
        return arg.keyword is not None and arg.keyword.value == _GUARD
    if not isinstance(arg.value, cst.Dict):
        return True
    keys = [text_of(element.key) if isinstance(element, cst.DictElement) else None for element in arg.value.elements]
    return None in keys or _GUARD in keys
