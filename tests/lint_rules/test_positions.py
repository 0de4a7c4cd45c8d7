"""Positions agree with those that libcst computes for a whole module, wherever a node stands."""

from __future__ import annotations

import ast
import inspect

import libcst as cst
import pytest
from libcst.metadata import MetadataWrapper, PositionProvider

from lint_rules import registry
from lint_rules.outline import Outline
from lint_rules.positions import Positions
from lint_rules.regions import narrow
from lint_rules.tree import walk

SOURCES = {
    "decorators, comments and blocks": """
        '''A module.'''

        # a comment
        import torch; import os


        @first  # one
        # two

        @second(
            1,
        )
        def cut(x):
            # nothing of interest
            return x + 1


        # above the class
        class Outer(Base,
                    metaclass=Meta):
            '''Doc.'''

            attribute = torch.load(
                "a.pt",
              map_location="cpu")

            class Inner:
                @property

                def loaded(self):
                    text = '''several
            lines'''
                    return torch.load(text)

            def cut(self):
                return [
                    1,
                ]

            x = 1; y = torch.load("b.pt")


        if True: torch.load("c.pt")
        """,
    "blocks in blocks": """
        import torch

        def read(paths):
            # first
            for path in paths:

                # about the path
                if path: torch.load(path)
                elif (
                    torch.load(path)
                ):
                    x = (torch
                         .load(path))
                    # last of it
                elif path.x:
                  y = torch.load("two"); z = torch.load("spaces")
                else:
                    while torch.load(path):
                        torch.load(path)
                    else:
                        (
                            torch.load(path)
                        )
            else:
                torch.load("else")
            try:
                with torch.load(path) as held, \\
                        held:
                    torch.load(held)
            except (A, torch.load(path)) as error:
                torch.load(error)
            except B:
                @torch.load(path)
                def inner(x=torch.load(path)):
                    async def innermost():
                        async with x:
                            torch.load(x)
                        async for y in x:
                            torch.load(y)
                    return torch.load(x)
            else:
                torch.load("else")
            finally:
                match torch.load(path):
                    case A() if torch.load(path):
                        torch.load(path)
                    case _:

                        torch.load(path)
        """,
    "groups": "import torch\ntry:\n    torch.load(1)\nexcept* A:\n    torch.load(2)\nfinally:\n    torch.load(3)\n",
    "tabs": "class A:\n\tdef f(self):\n\t\tif self:\n\t\t\treturn torch.load('a', \\\n  'b')\n",
    "a class on one line": "class A: x = torch.load('a'); y = 1\nz = torch.load('b')\n",
    "Windows line ends": "def f():\r\n    return 1\r\n\r\n\r\nclass A:\r\n  x = torch.load('a')\r\n",
}


@pytest.mark.parametrize("name", SOURCES)
def test_every_node_is_where_libcst_says(name: str) -> None:
    source = SOURCES[name]
    text = inspect.cleandoc(source) + "\n" if source.startswith("\n") else source
    region = narrow(text, Outline(ast.parse(text)), (registry.rule("CKP301"),))
    tree = cst.parse_module(region.text)
    expected = MetadataWrapper(tree, unsafe_skip_copy=True).resolve(PositionProvider)
    positions = Positions(tree, region)
    kinds = (cst.BaseExpression, cst.BaseStatement, cst.BaseSmallStatement, cst.Arg)
    nodes = [node for node in walk(tree) if isinstance(node, kinds)]
    assert any(isinstance(node, cst.Call) for node in nodes)
    for node in nodes:
        place = expected[node]
        assert positions.find(node) == (place.start.line, place.start.column, place.end.line, place.end.column)
