"""What is printed."""

from __future__ import annotations

import json

import pytest

from lint_rules import output
from lint_rules.checker import Report
from lint_rules.rule import Edit, Finding, Fix
from lint_rules.runner import Result

SAFE = Fix((Edit(2, 5, 2, 6, "y"),), safe=True, imports=("torch",))
UNSAFE = Fix((Edit(2, 5, 2, 6, "y"),), safe=False)


def finding(line: int = 1, column: int = 1, end_column: int = 2, **changes: object) -> Finding:
    values: dict[str, object] = {
        "code": "CKP301",
        "name": "unguarded-torch-load",
        "path": "a.py",
        "line": line,
        "column": column,
        "end_line": line,
        "end_column": end_column,
        "message": "A message.",
    }
    return Finding(**(values | changes))  # type: ignore[arg-type]


def result(text: str, *findings: Finding, fixed: tuple[Finding, ...] = ()) -> Result:
    cell = findings[0].cell if findings else None
    return Result((Report("a.py", findings, after={cell: text}, fixed=fixed),), (), 3)


def rendered(name: str, made: Result, *, color: bool = False) -> str:
    return "\n".join(output.renderer(name)(made, color=color))


def test_formats_are_found():
    assert set(output.formats()) >= {"full", "concise", "json"}
    assert not any(name.startswith("_") for name in output.formats())


def test_full_shows_the_lines_and_what_is_meant():
    text = "import torch\n\n\ndef f():\n    return torch.load(p)\n"

    assert rendered("full", result(text, finding(5, 12, 25))) == (
        "a.py:5:12: CKP301 unguarded-torch-load: A message.\n"
        "  |\n"
        "3 |\n"
        "4 | def f():\n"
        "5 |     return torch.load(p)\n"
        "  |            ^^^^^^^^^^^^^\n"
        "  |\n"
        "\n"
        "Found 1 finding in 1 of 3 files."
    )


def test_full_shows_every_line_of_a_finding():
    text = "x\nf(\n    1,\n)  # c\n"

    assert rendered("full", result(text, finding(2, end_line=4, end_column=2))).splitlines()[1:-2] == [
        "  |",
        "1 | x",
        "2 | f(",
        "  | ^^",
        "3 |     1,",
        "  |     ^^",
        "4 | )  # c",
        "  | ^",
        "  |",
    ]


def test_full_cuts_a_very_long_finding():
    text = "\n".join(f"line{number}" for number in range(1, 101))
    shown = rendered("full", result(text, finding(1, end_line=100)))

    assert "line6" in shown
    assert "line7" not in shown


def test_full_shows_controls_that_a_terminal_would_obey_as_pictures():
    shown = rendered("full", result("\x0cx = '\x1b[31\x9b' + torch.load(p)\n", finding(1, 16, 29)))

    assert "1 | ␌x = '␛[31�' + torch.load(p)\n  |                ^^^^^^^^^^^^^\n" in shown


@pytest.mark.parametrize("name", ["concise", "full"])
def test_a_path_stays_on_its_line(name):
    shown = rendered(name, result("x\n", finding(path="a\nb\x1b.py")))

    assert shown.startswith("a\\nb\\x1b.py:1:1: CKP301 ")


@pytest.mark.parametrize(
    ("line", "column", "width", "carets"),
    [
        ("模型 = f(x)", 6, 4, "       ^^^^"),
        ("\tf(x)", 2, 4, "    ^^^^"),
        ("e\u0301 = f(x)", 6, 4, "    ^^^^"),
        ("'\u200f\u2764\ufe0f' + f(x)", 9, 4, "      ^^^^"),
        ("f()", 4, 0, "   ^"),
    ],
)
def test_carets_stand_below_what_is_meant(line, column, width, carets):
    shown = rendered("full", result(line, finding(1, column, column + width)))

    assert shown.splitlines()[3] == f"  | {carets}"


def test_colours_are_for_terminals():
    made = result("x", finding())

    assert "\x1b[" in rendered("full", made, color=True)
    assert "\x1b[" not in rendered("full", made)


@pytest.mark.parametrize("name", ["full", "concise"])
def test_fixes_are_announced(name):
    made = result("x", finding(fix=SAFE), finding(fix=UNSAFE), finding(), fixed=(finding(), finding()))

    lines = rendered(name, made).splitlines()
    assert lines[-4:] == [
        "Fixed 2 findings.",
        "Found 3 findings in 1 of 3 files.",
        "[*] 1 can be fixed with --fix.",
        "1 more can be fixed with --fix --unsafe-fixes.",
    ]
    marked = [line for line in lines if "CKP301 [*] unguarded-torch-load" in line]
    assert len(marked) == 1


def test_concise_is_one_line_a_finding():
    made = result("x", finding(2, 3, 4), finding(7, cell=4))

    assert rendered("concise", made).splitlines()[:2] == [
        "a.py:2:3: CKP301 unguarded-torch-load: A message.",
        "a.py:cell 4:7:1: CKP301 unguarded-torch-load: A message.",
    ]


def test_nothing_found_is_said():
    assert rendered("concise", Result((), (), 1)) == "No findings in 1 file."


def test_json_is_the_contract():
    made = result("x", finding(2, 5, 9, fix=SAFE), finding(3, cell=0))

    first, second = json.loads(rendered("json", made))
    assert first == {
        "code": "CKP301",
        "name": "unguarded-torch-load",
        "path": "a.py",
        "line": 2,
        "column": 5,
        "end_line": 2,
        "end_column": 9,
        "message": "A message.",
        "url": first["url"],
        "fix": {
            "safe": True,
            "imports": ["torch"],
            "edits": [{"line": 2, "column": 5, "end_line": 2, "end_column": 6, "text": "y"}],
        },
    }
    assert first["url"].endswith("CKP301.html")
    assert second["cell"] == 0
    assert second["fix"] is None


def test_json_of_nothing_is_an_empty_array():
    assert json.loads(rendered("json", Result((), (), 0))) == []
