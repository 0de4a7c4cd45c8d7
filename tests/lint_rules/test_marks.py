"""Where the words stand that a rule waits for."""

from __future__ import annotations

import ast

import pytest

from lint_rules.marks import marked_lines
from lint_rules.outline import Outline


@pytest.mark.parametrize(
    ("code", "lines"),
    [
        ("torch.load(path)", {1}),
        ("load(path)", {1}),
        ("x = 1\nmap(torch.load, paths)", {2}),
        ("def load(path):\n    return 1", {1}),
        ("# torch.load(path)\nx = 'torch.load(path)'", set()),
        ("download(path)", set()),
        ("f(load=1)", set()),
        ("from torch import load as ld\nld(path)", {2}),
        ("ld = torch.load\nld(path)", {1, 2}),
        ("ld: object = torch.load\nself.ld(path)", {1, 2}),
        ("ld = partial(torch.load, path)\n\nld()", {1, 3}),
        ("ld = one if first else torch.load\nld(path)", {1, 2}),
        ("use(ld := torch.load)\nld(path)", {1, 2}),
        ("net = torch.load(path)\nnet(x)", {1}),
        ("Reader(ld=torch.load)\nself.ld(path)\nReader(ld=None)", {1, 2, 3}),
        ("def read(path, ld=torch.load):\n    return ld(path)", {1, 2}),
        ("def read(path, *, ld=torch.load):\n    return ld(path)", {1, 2}),
        ("def read(path, /, ld=torch.load, of=None):\n    return of(path)", {1}),
        ("def read():\n    global net\n    net = 1", {2}),
        ("def read():\n    def inner():\n        nonlocal net", {3}),
    ],
)
def test_lines_of_a_mark(code: str, lines: set[int]) -> None:
    assert marked_lines(Outline(ast.parse(code)), {"load"}) == lines


def test_an_f_string_counts_where_it_begins() -> None:
    assert 1 in marked_lines(Outline(ast.parse("x = f'''\n\n{torch.load(path)}'''")), {"load"})
