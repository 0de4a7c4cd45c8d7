"""Tests of what Python's own parser tells of a source: what it says to be absent must be absent."""

from __future__ import annotations

import argparse
import ast
import asyncio.tasks
import dataclasses
import inspect
import typing

import pytest

from lint_rules import engine, registry
from lint_rules.config import Settings
from lint_rules.knowledge import LOAD
from lint_rules.outline import Outline, nodes

if typing.TYPE_CHECKING:
    from types import ModuleType


def outline(text: str) -> Outline:
    return Outline(engine.parse(text))


def calls(text: str) -> list[str] | None:
    found = outline(text).calls_of(LOAD)
    return None if found is None else [ast.unparse(call) for call in found]


NAMELESS = (ast.expr_context, ast.operator, ast.unaryop, ast.boolop, ast.cmpop)


SYNTAX = """
from a import b as c
import d.e
def f(a, /, b: int = 1, *c, d, e=2, **g) -> None:
    global h
    return {**g, "a": [x async for x in a if not x and -x < 1 <= 2], f"{b!r:>{c}}": (yield)}
async def k():
    nonlocal_ = [await x for x in y]
    async with a as b, c: ...
    async for i in j: break
    else: pass
@d(1)
class C(B, metaclass=M):
    x: int = 3
    y: str
    x += lambda: (z := 4)
match subject:
    case [1, *rest] | {"k": v, **others} if v is None: pass
    case Point(x=0, y=y) as p: del p
    case None: raise E from e
try: a[1:2, ...] = b, *c = d
except E as e: assert a, b
finally: print(*a, **b, c=d) if e else {1, *f}
while True: yield_ = a @ b
"""


@pytest.mark.parametrize("module", [None, ast, argparse, dataclasses, typing, asyncio.tasks])
def test_nodes_are_those_of_ast_in_the_same_order(module: ModuleType | None) -> None:
    tree = engine.parse(inspect.getsource(module) if module else SYNTAX)
    assert nodes(tree) == [node for node in ast.walk(tree) if not isinstance(node, NAMELESS)]


@pytest.mark.parametrize(
    "text",
    [
        "import torch\ntorch.load(p)",
        "torch.load(p)",
        "import torch as t\nt.load(p)",
        "import torch.serialization as s\ns.load(p)",
        "from torch import load\nload(p)",
        "from torch.serialization import load as read\nread(p)",
        "import torch\nread = torch.load\nread(p)",
        "import torch\na = b\nb = c\nc = torch.load\na(p)",
        "import torch\nlib = torch\nlib.load(p)",
        "import torch\nclass A:\n    def f(self):\n        self.read = torch.load\n        self.read(p)",
        "import importlib\nimportlib.import_module('torch').load(p)",
        "from importlib import import_module as get\nlib = get('torch')\nlib.load(p)",
        "import torch\n(read := torch.load)(p)",
        "import torch\ndef f(read): ...\nread = torch.load\nread(p)",
        "import torch\ndef f(read): ...\ndef g():\n    read = torch.load\n    read(p)",
        "import torch\ndef read(): ...\ndef g():\n    read = torch.load\n    read(p)",
        "import torch\ndef f(read):\n    class A:\n        read = torch.load\n        read(p)",
        "from torch import load as read\ndef f(read):\n    read = read or 1\nread(p)",
    ],
)
def test_calls_by_any_name(text: str) -> None:
    last = text.splitlines()[-1].strip()
    assert last in (calls(text) or ())
    assert outline(text).may_use(LOAD)


@pytest.mark.parametrize(
    "text",
    [
        "import torch\ndef f(read=None):\n    read = read or g\n    if a: read = torch.load\n    read(p)",
        "import torch\nclass A:\n    def f(self, read):\n        read = torch.load\n        read(p)",
        "import torch\ndef f(*, read):\n    read = torch.load\n    def g():\n        read(p)",
        "import torch\ndef f():\n    if a:\n        def g(p): ...\n    else:\n        g = torch.load\n    g(p)",
    ],
)
def test_names_that_stand_for_several_things(text: str) -> None:
    assert calls(text) == []


@pytest.mark.parametrize(
    "text",
    [
        "from functools import partial\nimport torch\nread = partial(torch.load, weights_only=True)\nread(p)",
        "import torch\nlist(map(torch.load, paths))",
        "from torch import *\nload(p)",
        "import torch\nclass A:\n    read = staticmethod(torch.load)\n    def f(self):\n        self.read(p)",
    ],
)
def test_calls_that_are_not_all_seen(text: str) -> None:
    assert calls(text) is None
    assert outline(text).may_use(LOAD)


def test_torch_that_is_handed_on_may_be_used_anyhow() -> None:
    text = "import torch as t\ndef read(lib, path):\n    return lib.load(path)\nread(t, p)"
    assert calls(text) == []
    assert outline(text).may_use(LOAD)


@pytest.mark.parametrize(
    "text",
    [
        '"""torch.load(p)"""',
        "# torch.load(p)",
        "import json\njson.load(p)",
        "import safetensors.torch\nsafetensors.torch.load(p)",
        "import numpy as np, torch\ntorch.save(np.load(p), q)",
    ],
)
def test_other_loads(text: str) -> None:
    assert calls(text) == []
    assert not outline(text).may_use(LOAD)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a.load_state_dict(b.state_dict())", True),
        ("a.load_state_dict(b[0].c.state_dict())", True),
        ("import b\na.load_state_dict(b.state_dict())", False),
        ("from lib import c as b\na.load_state_dict(b.state_dict())", False),
        ("def state_dict(self): ...\na.load_state_dict(b.state_dict())", False),
        ("b.state_dict = f\na.load_state_dict(b.state_dict())", False),
        ("class B:\n    state_dict = f\na.load_state_dict(b.state_dict())", False),
        ("a.load_state_dict(state)", False),
    ],
)
def test_state_of_another_module(text: str, expected: bool) -> None:
    read = outline(text)
    assert read.is_state_of_module(read.methods("load_state_dict")[0].args[0]) is expected


def test_source_in_which_nothing_can_be_found_is_not_parsed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object) -> None:
        raise AssertionError

    monkeypatch.setattr("lint_rules.engine.narrow", never)
    text = 'import torch\n\n"""torch.load(path)"""\nmodel.to("cuda").eval()\n'
    assert engine.lint_text(text, "a.py", [registry.rule("CKP301"), registry.rule("CKP501")], Settings()) == []
