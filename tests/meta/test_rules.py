"""What holds for every rule, found by discovery: a rule that is added is tested here without an edit."""

from __future__ import annotations

import ast
import io
import json
import re
import tokenize
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lint_rules import engine, fixes, prefilter, registry, rules
from lint_rules.config import Settings
from lint_rules.outline import Outline
from lint_rules.rule import Example, Finding, Rule

SECTIONS = ("What it does", "Why is this bad", "Fix safety", "References")
RULES = registry.all_rules()


def settings_of(example: Example) -> Settings:
    values: dict[str, Any] = {}
    for key, value in example.settings:
        is_version = key == "target-torch"
        values[key.replace("-", "_")] = tuple(map(int, value.split("."))) if is_version else value
    return replace(Settings(), **values)


def lint(rule: Rule, example: Example, source: str | None = None) -> list[Finding]:
    return engine.lint_text(example.source if source is None else source, "example.py", (rule,), settings_of(example))


def remarked(source: str) -> str:
    """Put a comment behind every line that can have one, as people do, and leave the program what it is."""
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    open_lines = {token.start[0] for token in tokens if token.type in {tokenize.NEWLINE, tokenize.NL}}
    lines = source.split("\n")
    return "\n".join(f"{line}  # so" if at in open_lines and line else line for at, line in enumerate(lines, 1))


def examples(kind: str) -> list[Any]:
    return [
        pytest.param(rule, example, id=f"{rule.code}-{example.why.replace(' ', '_')}")
        for rule in RULES
        for example in getattr(rule, kind)
    ]


def test_there_are_rules() -> None:
    assert {"CKP101", "CKP201", "CKP301"} <= {rule.code for rule in RULES}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.code)
class TestRule:
    def test_file_is_named_after_the_code(self, rule: Rule) -> None:
        assert type(rule).__module__ == f"lint_rules.rules.{rule.code.lower()}"
        assert re.fullmatch(r"CKP\d{3}", rule.code)
        assert re.fullmatch(r"[a-z]+(-[a-z]+)+", rule.name)

    def test_page_is_complete(self, rule: Rule) -> None:
        page = type(rule).__doc__ or ""
        found = re.findall(r"^    ## (.+)$", page, flags=re.MULTILINE)
        assert tuple(found) == SECTIONS
        for section in re.split(r"^    ## .+$", page, flags=re.MULTILINE):
            assert len(section.split()) >= 2, page

    def test_carries_examples(self, rule: Rule) -> None:
        assert rule.invalid
        assert rule.valid
        assert all(example.lines for example in rule.invalid)
        assert not any(example.lines or example.fixed for example in rule.valid)
        assert rule.invalid[0].fixed or not any(finding.fix for finding in lint(rule, rule.invalid[0]))

    def test_examples_tell_apart(self, rule: Rule) -> None:
        whys = [example.why for example in (*rule.invalid, *rule.valid)]
        assert len(set(whys)) == len(whys)

    def test_file_imports_no_parser(self, rule: Rule) -> None:
        source = Path(str(rules.__path__[0]), f"{rule.code.lower()}.py").read_text(encoding="utf-8")
        runtime = source.partition("if TYPE_CHECKING:")[0]
        assert "libcst" not in runtime

    def test_examples_stand_below_the_logic(self, rule: Rule) -> None:
        tree = ast.parse(Path(str(rules.__path__[0]), f"{rule.code.lower()}.py").read_text(encoding="utf-8"))
        last = tree.body[-1]
        assert isinstance(last, ast.ClassDef)
        assert [ast.unparse(node).partition(" =")[0] for node in last.body[-2:]] == ["invalid", "valid"]

    def test_each_alternative_of_the_prefilter_is_needed(self, rule: Rule) -> None:
        for need in rule.needs:
            alone = type("Alone", (type(rule),), {"needs": tuple(other for other in rule.needs if other is not need)})()
            missed = [e for e in rule.invalid if not prefilter.wanted(e.source.encode(), (alone,))]
            assert missed, f"no example needs {need}"

    def test_outline_spares_something(self, rule: Rule) -> None:
        if type(rule).may_find is not Rule.may_find:
            assert not all(rule.may_find(Outline(engine.parse(example.source))) for example in rule.valid)


@pytest.mark.parametrize(("rule", "example"), examples("invalid"))
class TestInvalid:
    def test_is_reported(self, rule: Rule, example: Example) -> None:
        findings = lint(rule, example)
        assert tuple(finding.line for finding in findings) == example.lines
        assert {finding.code for finding in findings} == {rule.code}

    def test_passes_the_prefilter(self, rule: Rule, example: Example) -> None:
        assert prefilter.wanted(example.source.encode(), (rule,)) == (rule,)

    @pytest.mark.parametrize("indent", [None, 1])
    @pytest.mark.parametrize("lines", [True, False])
    def test_passes_the_prefilter_in_a_notebook(
        self, rule: Rule, example: Example, *, lines: bool, indent: int | None
    ) -> None:
        source = example.source.splitlines(keepends=True) if lines else example.source
        notebook = json.dumps({"cells": [{"cell_type": "code", "source": source}]}, indent=indent)
        assert prefilter.wanted(notebook.encode(), (rule,)) == (rule,)

    def test_is_found_with_comments_behind_its_lines(self, rule: Rule, example: Example) -> None:
        text = remarked(example.source)
        assert prefilter.wanted(text.encode(), (rule,)) == (rule,)
        assert tuple(finding.line for finding in lint(rule, example, text)) == example.lines

    def test_passes_the_prefilter_behind_prompts(self, rule: Rule, example: Example) -> None:
        if rule.code == "CKP501":
            pytest.skip("a prompt shows what a statement gives")
        lines = example.source.splitlines(keepends=True)
        text = "".join((">>> " if line[0].isalpha() else "... ") + line for line in lines)
        assert prefilter.wanted(text.encode(), (rule,)) == (rule,)

    def test_shows_in_the_outline(self, rule: Rule, example: Example) -> None:
        assert rule.may_find(Outline(engine.parse(example.source)))

    def test_is_fixed(self, rule: Rule, example: Example) -> None:
        findings = lint(rule, example)
        text = example.source
        for _ in range(5):
            plan = fixes.plan(text, lint(rule, example, text), unsafe=True)
            if not plan.edits:
                break
            text = fixes.edit(text, plan.edits)
        if example.fixed is not None:
            assert text == Example(example.fixed, why="").source
        fixable = [finding for finding in findings if finding.fix]
        left = lint(rule, example, text)
        assert len(left) == len(findings) - len(fixable)

    def test_is_found_in_a_notebook(self, rule: Rule, example: Example) -> None:
        lines = example.source.splitlines(keepends=True)
        cells = [(2, lines[0]), (5, "".join(lines[1:]))] if lines[0].startswith(("import", "from")) else []
        for finding in engine.lint_cells(cells, "example.ipynb", (rule,), settings_of(example)):
            assert finding.cell == 5
            assert finding.line + 1 in example.lines


@pytest.mark.parametrize(("rule", "example"), examples("valid"))
def test_valid_is_silent(rule: Rule, example: Example) -> None:
    assert lint(rule, example) == []
    assert lint(rule, example, remarked(example.source)) == []
