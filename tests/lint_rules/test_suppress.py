"""Comments that silence findings."""

from __future__ import annotations

import pytest

from lint_rules.rule import Finding
from lint_rules.sources import Piece
from lint_rules.suppress import keep

CODE = "CKP301"


def finding(line: int, end_line: int | None = None, cell: int | None = None) -> Finding:
    return Finding(CODE, "name", "a.py", line, 1, end_line or line, 2, "message", None, cell)


def is_kept(comment: str) -> bool:
    return bool(keep([finding(1)], [Piece(0, f"f(){comment}\n")]))


@pytest.mark.parametrize(
    "comment",
    [
        "  # noqa",
        "  #noqa",
        "  # NOQA",
        "  # noqa : CKP301",
        "  # noqa:CKP301",
        "  # noqa: CKP301",
        "  # noqa: ckp301",
        "  # noqa: E501, CKP301",
        "  # noqa: E501,CKP301",
        "  # noqa: E501 CKP301",
        "  # noqa: ,E501,,CKP301",
        "  # noqa: E501CKP301",
        "  # noqa: CKP301 because the file is our own",
        "  # noqa: CKP301 -- a reason",
        "  # type: ignore[x]  # noqa: CKP301",
        "  # noqa -- a reason",
    ],
)
def test_a_comment_that_silences(comment):
    assert not is_kept(comment)


@pytest.mark.parametrize(
    "comment",
    [
        "",
        "  # a comment",
        "  # noqa: E501",
        "  # noqa: CKP3",
        "  # noqa: CKP3011",
        "  # noqa: because",
        "  # noqa:",
        "; g('# noqa')",
        "  # see CKP301",
        "  # ckpt-lint: noqa",
        "  # ruff: noqa: CKP301",
    ],
)
def test_a_comment_that_does_not(comment):
    assert is_kept(comment)


def test_the_first_and_the_last_line_of_a_finding_count():
    text = "f(  {}\n    1,  {}\n)  {}\nx  # noqa\n"
    silent = [text.format(*("# noqa" if line == each else "" for line in range(3))) for each in (0, 2)]
    loud = [text.format("", "# noqa", ""), text.format("", "", "")]

    assert [keep([finding(1, 3)], [Piece(0, each)]) for each in silent] == [[], []]
    assert [len(keep([finding(1, 3)], [Piece(0, each)])) for each in loud] == [1, 1]


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("f() + \\\n  g() + \\\n  1  # noqa\n", {1, 2, 3}),
        ("f(), \\\n'''\n\n''', g(), '''\n'''  # noqa\nf()\n", {1, 2, 3, 4, 5}),
        ("f('\\\n', g)  # noqa\n", {1, 2}),
        ("f()  # \\\ng()  # noqa\n", {2}),
        ("f('\\\\',\ng)  # noqa\n", {2}),
        ("'''\n'''\nf()  # noqa\n", {3}),
    ],
)
def test_a_comment_ends_the_lines_that_take_none(text, lines):
    everywhere = [finding(line) for line in range(1, text.count("\n") + 2)]

    assert lines == {each.line for each in everywhere} - {each.line for each in keep(everywhere, [Piece(0, text)])}


def test_a_noqa_inside_a_long_string_is_text():
    assert keep([finding(2)], [Piece(0, 'x = """\nf()  # noqa\n"""\n')])


@pytest.mark.parametrize("tool", ["ckpt-lint", "ruff", "flake8"])
@pytest.mark.parametrize(
    ("codes", "silences"),
    [("", True), (": CKP301", True), (": E501, CKP301", True), (": E501", False), (": reason", False)],
)
def test_a_line_for_the_whole_file(tool, codes, silences):
    text = f"f()\n\nif x:\n    # {tool}: noqa{codes}\n    pass\n"

    assert (keep([finding(1)], [Piece(0, text)]) == []) is silences


def test_a_line_for_the_whole_notebook_may_stand_in_any_cell():
    pieces = [Piece(1, "f()"), Piece(4, "# ckpt-lint: noqa: CKP301")]

    assert keep([finding(1, cell=1)], pieces) == []
    assert keep([finding(1, cell=1)], pieces[:1]) == [finding(1, cell=1)]


def test_each_cell_has_its_own_lines():
    pieces = [Piece(0, "f()"), Piece(1, "f()  # noqa")]
    found = [finding(1, cell=0), finding(1, cell=1)]

    assert keep(found, pieces) == found[:1]
