"""The engine: places, cells, errors, regions, fixes, and what stays unloaded."""

from __future__ import annotations

import ast
import subprocess
import sys

import pytest

from lint_rules import engine, fixes, prefilter, registry
from lint_rules.config import Settings
from lint_rules.outline import Outline
from lint_rules.regions import narrow, split_lines
from lint_rules.rule import Edit, Finding, Fix

RULES = tuple(map(registry.rule, ("CKP101", "CKP201", "CKP301")))
GUARD = registry.rule("CKP301")
SOURCE = 'import torch\n\n\ndef read(path):\n    """Read."""\n    return torch.load(path)\n'


def lint(text: str, *codes: str) -> list[Finding]:
    rules = tuple(map(registry.rule, codes)) if codes else RULES
    return engine.lint_text(text, "a.py", rules, Settings())


def test_finding_spans_the_call() -> None:
    (finding,) = lint("import torch\nx = 'é', torch.load(\n    'a.pt',\n)\n")
    assert (finding.line, finding.column, finding.end_line, finding.end_column) == (2, 10, 4, 2)
    assert (finding.code, finding.name, finding.path, finding.cell) == ("CKP301", "unguarded-torch-load", "a.py", None)


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_line_ends_do_not_move_places(end: str) -> None:
    text = SOURCE.replace("\n", end)
    (finding,) = lint(text)
    assert (finding.line, finding.column) == (6, 12)
    assert fixes.apply(text, [finding.fix] if finding.fix else []) == text.replace(
        "(path)" + end, "(path, weights_only=True)" + end, 1
    ).replace("read(path, weights_only=True)", "read(path)")


def test_form_feeds_and_separators_end_no_line() -> None:
    (finding,) = lint("import torch\n\x0c\nx = '\u2028'\ntorch.load('a')\n")
    assert finding.line == 4


def test_findings_are_in_order_of_place() -> None:
    text = "import torch\nm = torch.nn.Linear(1, 1)\nm.load_state_dict(torch.load('a'))\nm.load_state_dict('b')\nm(1)\n"
    assert [(each.line, each.code) for each in lint(text)] == [(3, "CKP301"), (4, "CKP101"), (4, "CKP201")]


@pytest.mark.parametrize(
    ("text", "line"),
    [("import torch\nprint 'torch.load'\n", 2), ("torch.load(\n", 1), ("x = 1\n  torch.load()\n", 2), ("a\0b", 1)],
)
def test_syntax_error_is_placed(text: str, line: int) -> None:
    with pytest.raises(engine.SourceError) as raised:
        lint(text)
    assert raised.value.line == line
    assert raised.value.message


def test_deep_nesting_is_an_error_not_a_crash() -> None:
    with pytest.raises(engine.SourceError):
        lint(f"import torch\ntorch.load({'(' * 5000}1{')' * 5000})\n")


def test_no_rules_means_no_work() -> None:
    assert engine.lint_text("no python at all", "a.py", (), Settings()) == []


def test_cells_are_one_script() -> None:
    cells = [
        (1, "import torch\nfrom net import Net"),
        (2, "this is no python"),
        (4, "net = Net()\nnet.load_state_dict(torch.load('a.pt', weights_only=True))"),
        (7, "# prose\nnet(1)\ntorch.load('b.pt')"),
    ]
    found = engine.lint_cells(cells, "a.ipynb", RULES, Settings())
    assert [(each.code, each.cell, each.line) for each in found] == [("CKP201", 4, 2), ("CKP301", 7, 3)]
    assert found[1].fix is not None
    assert {edit.line for edit in found[1].fix.edits} == {3}


def test_a_value_that_ends_a_cell_is_shown() -> None:
    load = "net.load_state_dict(state, strict=False)"
    cells = [(0, load), (1, f"{load};"), (2, f"{load}\nnet(1)"), (3, "keys = " + load), (4, "keys")]
    rules = (registry.rule("CKP103"),)
    assert [each.cell for each in engine.lint_cells(cells, "a.ipynb", rules, Settings())] == [1, 2]
    assert [each.cell for each in engine.lint_cells(cells, "a.md", rules, Settings())] == [0, 1, 2]
    seen = {0: frozenset({1})}
    assert [each.cell for each in engine.lint_cells(cells, "a.md", rules, Settings(), shown_in=seen)] == [1, 2]


def test_top_level_await_is_python_in_a_cell() -> None:
    found = engine.lint_cells([(0, "import torch\nx = await torch.load('a')\n")], "a.ipynb", RULES, Settings())
    assert [each.cell for each in found] == [0]


def test_unneeded_functions_are_cut_and_places_kept() -> None:
    filler = "\n".join(f"def f{n}(x):\n    '''Doc.'''\n    y = x\n    return y\n\n" for n in range(20))
    text = f"import torch\n{filler}\ndef read(path):\n    return torch.load(path)\n"
    region = narrow(text, Outline(ast.parse(text)), (GUARD,))
    assert region.text.count("return y") == 0
    assert region.text.count("(): ...") == 20
    for number, line in enumerate(region.text.splitlines(), 1):
        if not line.endswith("(): ..."):
            assert split_lines(text)[region.origin(number) - 1].rstrip("\n") == line
    (finding,) = lint(text, "CKP301")
    assert text.splitlines()[finding.line - 1] == "    return torch.load(path)"


@pytest.mark.parametrize(
    "text",
    [
        "class A:\n    def f(self): return 1\n    def g(self):\n        return 2\n",
        "def f():\n    # nothing\n    def g():\n        return 1\n    return g\n",
        "def f():\n    @decorator\n    class A:\n        pass\n",
        "if x:\n\tdef f():\n\t\treturn 1\nelse:\n\tdef f():\n\t\treturn 2",
        "async def f():\n    return 1\n",
        "class A:\n    @property\n    def f(\n        self,\n    ) -> int:\n        return 1\n    x = 1\n",
        "",
    ],
)
def test_a_narrowed_source_parses(text: str) -> None:
    region = narrow(text, Outline(ast.parse(text)), (GUARD,))
    ast.parse(region.text)
    assert "return 2" not in region.text


_TABLE = ",\n".join(f"    ({number}, -{number}.5, 'é')" for number in range(900))


@pytest.mark.parametrize(
    ("before", "behind"),
    [
        ("table = [", "]"),
        ("table: list = [", "]  # of numbers"),
        ("class A:\n    table = (", ")"),
        ("a = 1; é = {", "}"),
        ("table = {'é': [", "], 1: {2: None}}"),
        ("def f():\n    torch.load\n    table = [", "]"),
    ],
)
def test_of_a_long_table_a_few_elements_are_read(before: str, behind: str) -> None:
    text = f"import torch\n{before}\n{_TABLE}\n{behind}\ntorch.load('net.pt')\n"
    region = narrow(text, Outline(ast.parse(text)), (GUARD,))
    ast.parse(region.text)
    assert len(region.text) < 300
    assert "2.5" in region.text
    assert region.origin(len(region.lines)) == len(text.splitlines())
    assert [(each.line, each.column) for each in lint(text, "CKP301")][-1:] == [(len(text.splitlines()), 1)]


@pytest.mark.parametrize(
    "text",
    [
        f"table = [\n{_TABLE}, name]\n",
        f"table = [\n{_TABLE}]; other = 1\n",
        f"table = [\n{_TABLE}].copy()\n",
        f"use([\n{_TABLE}])\n",
        "table = [1, 2, 3, 4, 5, 6, 7, 8]\n",
    ],
)
def test_other_literals_are_left_as_they_are(text: str) -> None:
    assert narrow(text, Outline(ast.parse(text)), (GUARD,)).text == text


def test_global_may_stand_below_the_last_function() -> None:
    text = """\
import torch
def build():
    return Net()
if __name__ == "__main__":
    global net
    net = build()
    net.load_state_dict(torch.load("net.pt"))
    net(1)
"""
    assert [each.line for each in lint(text, "CKP201")] == [7]


_LOADS = """\
import torch

net = torch.nn.Dropout()
net.load_state_dict(torch.load("net.pt"))
"""


@pytest.mark.parametrize(("names", "codes"), [(500, ["CKP201", "CKP301"]), (2_500, ["CKP301"])])
def test_where_there_is_too_much_to_follow_only_the_rules_speak_that_need_not_all(names: int, codes: list[str]) -> None:
    text = _LOADS + "def other(x):\n    return x\n\n\n" + "net(x)\n" * names
    assert sorted({each.code for each in lint(text)}) == codes


@pytest.mark.parametrize(("deep", "codes"), [(2, ["CKP201", "CKP301"]), (4, ["CKP301"])])
def test_calls_that_take_too_many_steps_to_follow_are_as_good_as_too_much_code(deep: int, codes: list[str]) -> None:
    body = f"    {'; '.join(['step{}(x)'] * 12)}\n"
    steps = "".join(f"def step{number}(x):\n" + body.replace("{}", str(number + 1)) for number in range(deep))
    text = f"{_LOADS}{steps}def step{deep}(x):\n    net(x)\n\n\nstep0(1)\n"
    assert sorted({each.code for each in lint(text)}) == codes


def test_prefilter_leaves_only_rules_that_can_speak() -> None:
    assert prefilter.wanted(b"import json\njson.load(f)\n", RULES) == ()
    assert [rule.code for rule in prefilter.wanted(b"m.load_state_dict(x)", RULES)] == ["CKP101", "CKP201"]


def test_overlapping_fixes_wait_and_imports_are_added_once() -> None:
    def finding(line: int, fix: Fix) -> Finding:
        return Finding("CKP000", "a-b", "a.py", line, 1, line, 2, "", fix)

    text = '"""Doc."""\nimport os\n\nf(a)\ng(b)\n'
    wrap = Fix((Edit(4, 3, 4, 4, "h(a)"),), safe=True, imports=("torch",))
    inner = Fix((Edit(4, 1, 4, 5, "x"),), safe=True)
    other = Fix((Edit(5, 3, 5, 4, "h(b)"),), safe=True, imports=("torch",))
    unsafe = Fix((Edit(5, 1, 5, 2, "k"),), safe=False)
    found = [finding(4, wrap), finding(4, inner), finding(5, other), finding(5, unsafe)]
    plan = fixes.plan(text, found, unsafe=False)
    assert plan.applied == (found[0], found[2])
    assert fixes.edit(text, plan.edits) == '"""Doc."""\nimport os\nimport torch\n\nf(h(a))\ng(h(b))\n'
    assert found[3] in fixes.plan(text, found, unsafe=True).applied


def test_a_fix_that_remedies_several_findings_is_applied_once_for_all() -> None:
    wrap = Fix((Edit(1, 1, 1, 1, "f("), Edit(1, 2, 1, 2, ")")), safe=True)
    found = [Finding("CKP000", "a-b", "a.py", line, 1, line, 2, "", wrap) for line in (2, 3)]
    plan = fixes.plan("x\ny\nz\n", found, unsafe=False)
    assert plan.applied == tuple(found)
    assert fixes.edit("x\ny\nz\n", plan.edits) == "f(x)\ny\nz\n"


def test_insertions_at_one_place_wait_for_each_other() -> None:
    one, two = (Fix((Edit(1, 1, 1, 1, text),), safe=True) for text in ("a", "b"))
    assert fixes.apply("x\n", [one, two]) == "ax\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("f()\n", "import torch\n\nf()\n"),
        ("#!/bin/python\n# c\n@d\ndef f(): pass\n", "#!/bin/python\n# c\nimport torch\n\n@d\ndef f(): pass\n"),
        ('"""Doc."""\nf()\n', '"""Doc."""\n\nimport torch\nf()\n'),
        ("from __future__ import annotations\nf()\n", "from __future__ import annotations\n\nimport torch\nf()\n"),
        ("import a\nfrom b import (\n    c,\n)\nf()\n", "import a\nfrom b import (\n    c,\n)\nimport torch\nf()\n"),
        ("import a\r\nf()\r\n", "import a\r\nimport torch\r\nf()\r\n"),
        ("import a", "import a\nimport torch\n"),
    ],
)
def test_missing_import_goes_behind_the_leading_ones(text: str, expected: str) -> None:
    assert fixes.apply(text, [Fix((), safe=True, imports=("torch",))]) == expected


def test_importing_the_engine_and_the_rules_loads_no_parser() -> None:
    code = (
        "import sys; from lint_rules import engine, prefilter, registry; registry.all_rules(); "
        "heavy = {'libcst', 'torch', 'numpy'} & set(sys.modules); sys.exit(str(heavy) if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("code", "wanted"),
    [
        ("net.load_state_dict(state)", True),
        ("net.load_state_dict(other.state_dict())", False),
        ("self.nets[0].load_state_dict(\n    getattr(other, name).state_dict(), strict=False\n)  # copied", False),
        ("net.load_state_dict(other.state_dict())\nnet.load_state_dict('a.pt')", True),
        ("keys = net.load_state_dict(other.state_dict())", True),
        ("net.load_state_dict(other.state_dict()).eval()", True),
        ("net.load_state_dict(load_model().state_dict())", True),
        ("other = torch.load(path)\nnet.load_state_dict(other.state_dict())", True),
        ("other = Net.from_pretrained(path)\nnet.load_state_dict(other.state_dict())", True),
        ("# see net.load_state_dict(state)", False),
        ("if x: net.load_state_dict(other.state_dict())", True),
        ('{"source": ["net.load_state_dict(other.state_dict())\\n"]}', True),
    ],
)
def test_copies_between_modules_of_a_program_are_not_parsed(code: str, wanted: bool) -> None:
    assert bool(prefilter.wanted(code.encode(), RULES[:2])) is wanted


def test_a_fix_that_an_f_string_cannot_hold_is_none() -> None:
    text = "import torch\ndef f(p): return f\"{torch.load('é')}\", f'{1}', torch.load('b')\n"
    device = [each.fix for each in lint(text, "CKP303")]
    assert [fix is None for fix in device] == [True, False]
    assert all(finding.fix for finding in lint(text, "CKP301"))


def test_a_fix_below_the_last_line_starts_a_new_one() -> None:
    text = "from net import Net\nnet = Net()\ndef run():\n    net(1)\nif 1:\n    net.load_state_dict(read())\n"
    fixed = f"{text}    net.eval()\n"
    for source, expected in ((text, fixed), (text.rstrip(), fixed.rstrip())):
        (finding,) = lint(source, "CKP201")
        assert fixes.apply(source, [finding.fix] if finding.fix else []) == expected


def test_a_fix_below_the_last_line_of_a_cell_stays_in_it() -> None:
    load = "net = Net()\nnet.load_state_dict(read())"
    cells = [(0, "from net import Net\ndef run():\n    net(1)"), (1, load), (2, load)]
    found = engine.lint_cells(cells, "a.ipynb", (registry.rule("CKP201"),), Settings())
    assert found
    for finding in found:
        assert fixes.apply(load, [finding.fix] if finding.fix else []) == f"{load}\nnet.eval()"
