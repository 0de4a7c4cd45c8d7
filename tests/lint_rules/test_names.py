"""The alias resolver: what each name stands for, and None when unsure."""

from __future__ import annotations

import textwrap

import libcst as cst
import pytest

from lint_rules.names import Names


def resolved(code: str) -> str | None:
    """Resolve the function of the last call in a source; arguments bound by a partial are shown in parentheses."""
    names = Names(cst.parse_module(textwrap.dedent(code).strip() + "\n"))
    call, scope = names.calls[-1]
    target = names.target(call.func, scope)
    if target is None:
        return None
    given = ", ".join(arg.keyword.value if arg.keyword else "*" for arg in target.given)
    return f"{target.name}({given})" if given else target.name


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("import torch\ntorch.load()", "torch.load"),
        ("import torch as t\nt.load()", "torch.load"),
        ("import torch.utils.data\ntorch.load()", "torch.load"),
        ("import torch.nn as nn\nnn.Linear()", "torch.nn.Linear"),
        ("import torch.nn as nn\ntorch.load()", None),
        ("from torch import load\nload()", "torch.load"),
        ("from torch import load as ld\nld()", "torch.load"),
        ("from torch import (\n    nn,\n    load,\n)\nload()", "torch.load"),
        ("from .torch import load\nload()", ".torch.load"),
        ("from . import load\nload()", "..load"),
        ("from torch import *\nload()", "torch.load"),
        ("from torch import *\nfrom other import *\nload()", None),
        ("import torch\nld = torch.load\nld()", "torch.load"),
        ("import torch\na = torch\nb = a.load\nb()", "torch.load"),
        ("import torch\nld: object = torch.load\nld()", "torch.load"),
        ("import torch\n(ld := torch.load)\nld()", "torch.load"),
        ("import torch\n(ld := torch.load)()", "torch.load"),
        ("import torch\nld = torch.load\nld = open\nld()", None),
        ("import torch\ntorch = torch\ntorch.load()", None),
        ("import torch\ntorch += 1\ntorch.load()", None),
        ("from functools import partial\nimport torch\nld = partial(torch.load, mmap=True)\nld()", "torch.load(mmap)"),
        (
            "import functools as f, torch\ng = f.partial(f.partial(torch.load, 'a'), mmap=True)\ng()",
            "torch.load(*, mmap)",
        ),
        ("import importlib\nt = importlib.import_module('torch')\nt.load()", "torch.load"),
        ("try:\n    import torch\nexcept ImportError:\n    torch = None\ntorch.load()", "torch.load"),
        ("try:\n    from a import load\nexcept ImportError:\n    from b import load\nload()", None),
        ("if x:\n    import torch as t\nelse:\n    import torch as t\nt.load()", "torch.load"),
        ("import torch\ndef f(torch):\n    torch.load()", None),
        ("import torch\ndef f(*torch):\n    torch.load()", None),
        ("import torch\ndef f():\n    torch.load()", "torch.load"),
        ("import torch\ndef f():\n    torch = 1\n    torch.load()", None),
        ("import torch\ndef f():\n    for torch in x: torch.load()", None),
        ("import torch\nwith x as torch: torch.load()", None),
        ("import torch\ndef f():\n    try: pass\n    except E as torch: torch.load()", None),
        ("import torch\nlambda torch: torch.load()", None),
        ("import torch\n[torch.load() for torch in x]", None),
        ("import torch\n[torch.load() for y in x]", "torch.load"),
        ("import torch\nf = [torch for torch in x]\ntorch.load()", "torch.load"),
        ("import torch\nmatch x:\n    case torch: torch.load()", None),
        ("class A:\n    from torch import load\n    def f(self): load()", None),
        ("class A:\n    from torch import load\n    x = load()", "torch.load"),
        ("def f():\n    global torch\n    import torch\ndef g():\n    torch.load()", "torch.load"),
        ("def f():\n    import torch\n    def g():\n        nonlocal torch\n        torch = 1\n    torch.load()", None),
        ("import torch\ndef torch(): pass\ntorch.load()", None),
        ("import torch\ntorch.load = f\ntorch.load()", None),
        ("import torch\ntorch.save = f\ntorch.load()", "torch.load"),
        ("x.load()", None),
        ("eval()", "builtins.eval"),
        ("eval = 1\neval()", None),
        ("from __future__ import annotations\nimport torch\nx[0].load()", None),
    ],
)
def test_resolves(code: str, expected: str | None) -> None:
    assert resolved(code) == expected


def test_names_bound_through_each_other_end() -> None:
    lines = [f"a{number} = a{number - 1} = a{number + 1}" for number in range(1, 60)] * 3
    assert resolved("\n".join([*lines, "a1()"])) is None


def test_calls_stand_in_source_order() -> None:
    names = Names(cst.parse_module("a(b(), c)\ndef f(x=d()):\n    return e()\n"))
    assert [call.func.value for call, _ in names.calls if isinstance(call.func, cst.Name)] == ["a", "b", "d", "e"]
