"""Writes the reference pages of checks and rules, each from the one file that defines it.

A check's page is its class docstring, with its two cases between the explanation and the references: their source,
the call that judges them, and the report that it gives. A rule's page is what `ckpt-lint --explain` prints.
"""

from __future__ import annotations

import ast
import inspect
import re
import sys
import textwrap
from typing import TYPE_CHECKING

import torch

import pytest_ckpt
from lint_rules import pages as rule_pages
from lint_rules import registry as rules
from pytest_ckpt import formats
from pytest_ckpt import registry as checks

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path
    from types import ModuleType

    from lint_rules.rule import Rule
    from pytest_ckpt.checks import Case, Check

_REFERENCES = "\n## References"


def write(folder: Path) -> None:
    """Write all pages and their indexes, and remove those of checks and rules that are no more.

    Args:
        folder: Where the folders `checks` and `rules` are; a page that has not changed is not touched, so that Sphinx
            need not read it again.
    """
    all_checks, all_rules = checks.all_checks(), rules.all_rules()
    _fill(folder / "checks", {"index": check_index(all_checks)} | {one.name: check_page(one) for one in all_checks})
    _fill(
        folder / "rules",
        {"index": rule_index(all_rules)} | {one.code: rule_pages.page(one) for one in all_rules},
    )


def _fill(folder: Path, texts: Mapping[str, str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for path in folder.glob("*.md"):
        if path.stem not in texts:
            path.unlink()
    for name, text in texts.items():
        path = folder / f"{name}.md"
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")


# ---------------------------------------------------------------------------------------------------- checks


def check_index(all_checks: Iterable[Check]) -> str:
    """Write the table of all checks, in the order in which they look at a round trip."""
    rows = [f"| [{one.name}]({one.name}.md) | {one.summary} |" for one in all_checks]
    names = [one.name for one in all_checks]
    return "\n".join(
        [
            "# Checks",
            "",
            "The checks of a round trip, in the order in which they look: causes come before their consequences.",
            "A check's name is the category of its findings, and what the arguments and options `checks` and",
            "`ignore` take.",
            "",
            "| check | what it finds |",
            "|---|---|",
            *rows,
            "",
            *_toctree(names),
        ]
    )


def check_page(check: Check) -> str:
    """Write one check's page, in MyST Markdown."""
    introduction, references, links = (inspect.getdoc(type(check)) or "").partition(_REFERENCES)
    parts = [
        f"# {check.name}",
        introduction.strip(),
        "## Example",
        *_case(check, check.failing(), "failing"),
        "## Use instead",
        *_case(check, check.passing(), "passing"),
        f"{references}{links}".strip(),
        f"To leave this check out: `ignore=[{check.name!r}]` in a call, `--ckpt-ignore {check.name}` for a run.",
    ]
    return "\n\n".join(filter(None, parts)) + "\n"


def _case(check: Check, case: Case, name: str) -> Iterator[str]:
    """Show one case: its code, its call, and the report."""
    module = sys.modules[type(check).__module__]
    yield _block("python", _source(module, name))
    torch.manual_seed(0)
    report = case.report(**({"devices": ["cpu", "cuda"]} if case.judge == "check_module" else {}))
    yield "which reports:" if report.findings else "which finds nothing:"
    shown = [line for line in _public(report.text(), module).splitlines() if not line.startswith("  leg")]
    yield _block("text", re.sub(r"\(at [^)]*[/\\](\w+\.py:\d+)", r"(at \1", "\n".join(shown)).strip())


def _source(module: ModuleType, case: str) -> str:
    """Give the code of a case as a script: the imports and definitions that it needs, and the call that judges it."""
    text = inspect.getsource(module)
    tree = ast.parse(text)
    own = next(node for node in tree.body if isinstance(node, ast.ClassDef) and node.name[0] != "_")
    method = next(node for node in own.body if isinstance(node, ast.FunctionDef) and node.name == case)
    helpers = _needed(method, [node for node in tree.body if node is not own])
    call = _call(method)
    sources = [_with_decorators(text, node) for node in helpers]
    imports = _imports(tree, [method, *helpers], call.partition("(")[0].rpartition(" ")[2])
    return _public("\n\n\n".join(["\n".join(imports).rstrip(), *sources, call]), module)


def _needed(start: ast.AST, others: list[ast.stmt]) -> list[ast.stmt]:
    """Give those definitions of a module that a piece of it uses, directly or by way of others, in their order."""
    defined: dict[str, ast.stmt] = {}
    for node in others:
        if isinstance(node, (ast.ClassDef, ast.FunctionDef)):
            defined[node.name] = node
        elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            defined[node.targets[0].id] = node
    found: dict[str, ast.stmt] = {}
    queue = [start]
    while queue:
        for name in _names(queue.pop()) & defined.keys() - found.keys():
            found[name] = defined[name]
            queue.append(defined[name])
    return [node for node in others if node in found.values()]


def _names(node: ast.AST) -> set[str]:
    return {each.id for each in ast.walk(node) if isinstance(each, ast.Name)}


def _call(method: ast.FunctionDef) -> str:
    """Turn `return Case(make, key=..., arguments={...}, judge=...)` into a call of the function that judges it."""
    (statement,) = (node for node in method.body if isinstance(node, ast.Return))
    case = statement.value
    if not isinstance(case, ast.Call):
        raise TypeError(f"{method.name} must return a Case(...), written out, for its page")
    given = next((word.value for word in case.keywords if word.arg == "arguments"), ast.Dict([], []))
    if not isinstance(given, ast.Dict):
        raise TypeError(f"{method.name} must write its arguments as a dict, for its page")
    words = [
        f"{ast.literal_eval(key)}={ast.unparse(value)}"
        for key, value in zip(given.keys, given.values, strict=True)
        if key is not None
    ]
    return f"report = {_judge(case)}({', '.join([ast.unparse(case.args[0]), *words])})\nprint(report.text())"


def _judge(case: ast.Call) -> str:
    given = (ast.literal_eval(word.value) for word in case.keywords if word.arg == "judge")
    return str(next(given, "check_module"))


def _with_decorators(text: str, node: ast.stmt) -> str:
    decorators = getattr(node, "decorator_list", [])
    first = min([node.lineno, *(each.lineno for each in decorators)])
    return textwrap.dedent("\n".join(text.splitlines()[first - 1 : node.end_lineno]))


def _imports(tree: ast.Module, users: Iterable[ast.AST], judge: str) -> list[str]:
    """Give the import statements that some pieces of a module need, and that of the judge, as isort orders them."""
    used = set().union(*map(_names, users))
    ours = sorted({judge} | (used & set(pytest_ckpt.__all__)), key=lambda name: (not name[0].isupper(), name))
    groups: tuple[list[str], list[str], list[str]] = ([], [], [f"from pytest_ckpt import {', '.join(ours)}"])
    for node in ast.walk(tree):
        if not isinstance(node, (ast.Import, ast.ImportFrom)):
            continue
        origin = (node.module or "") if isinstance(node, ast.ImportFrom) else node.names[0].name
        names = [alias for alias in node.names if (alias.asname or alias.name).partition(".")[0] in used]
        package = origin.partition(".")[0]
        if names and package not in {"__future__", "pytest_ckpt"}:
            needed = ast.ImportFrom(origin, names, 0) if isinstance(node, ast.ImportFrom) else ast.Import(names)
            groups[package not in sys.stdlib_module_names].append(ast.unparse(needed))
    ordered = (sorted(group, key=lambda line: (line.startswith("from"), line)) for group in groups if group)
    return [line for group in ordered for line in (*group, "")]


def _public(text: str, module: ModuleType) -> str:
    """Drop the leading underscore of a module's private names, which means nothing outside of it."""
    private = [name for name in vars(module) if name[0] == "_" and name[1].isalpha()]
    return re.sub(rf"\b_({'|'.join(name[1:] for name in private)})\b", r"\1", text)


# ---------------------------------------------------------------------------------------------------- rules


def rule_index(all_rules: Iterable[Rule]) -> str:
    """Write the table of all rules."""
    rows = [
        f"| [{one.code}]({one.code}.md) | {one.name} | {one.summary} | {'on' if one.default else 'off'} | {_fix(one)} |"
        for one in all_rules
    ]
    return "\n".join(
        [
            "# Rules",
            "",
            "The rules of `ckpt-lint`. `ckpt-lint --explain CODE` prints a rule's page in the terminal.",
            "",
            "| code | name | what it finds | default | has a fix |",
            "|---|---|---|---|---|",
            *rows,
            "",
            *_toctree([one.code for one in all_rules]),
        ]
    )


def _fix(rule: Rule) -> str:
    return "yes" if any(example.fixed for example in rule.invalid) else "no"


# ---------------------------------------------------------------------------------------------------- layout


def layout(root: Path) -> str:
    """Draw the tree of both packages, each module with the first sentence of its docstring."""
    lines = [line for package in ("pytest_ckpt", "lint_rules") for line in _branch(root / package, "")]
    return _block("text", "\n".join(lines))


def _branch(folder: Path, indent: str) -> Iterator[str]:
    yield f"{indent}{folder.name + '/':<{20 - len(indent)}} {_first_sentence(folder / '__init__.py')}"
    for path in sorted(folder.iterdir()):
        if (path / "__init__.py").exists():
            yield from _branch(path, f"{indent}  ")
        elif path.suffix == ".py" and path.stem not in {"__init__", "__main__"} and folder.name not in _OF_A_KIND:
            yield f"{indent}  {path.name:<{18 - len(indent)}} {_first_sentence(path)}"


def _first_sentence(path: Path) -> str:
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return docstring.partition("\n")[0].removesuffix(".")


def formats_table() -> str:
    """Write the table of all formats, from their classes."""
    kinds = [formats.get(name) for name in formats.names()]
    rows = [
        f"| `{one.name}` | {one.summary} | {'yes' if one.tagged else 'no'} | "
        f"{', '.join(f'`@{variant}`' for variant in one.variants)} |"
        for one in kinds
    ]
    head = ["| format | what writes it | carries a device tag | variants |", "|---|---|---|---|"]
    return "\n".join([*head, *rows])


#: Folders whose files are all of one kind, and too many for a picture.
_OF_A_KIND = {"checks", "formats", "rules", "output"}


# ---------------------------------------------------------------------------------------------------- common


def _toctree(names: Iterable[str]) -> list[str]:
    return ["```{toctree}", ":hidden:", "", *names, "```", ""]


def _block(language: str, text: str) -> str:
    return f"```{language}\n{text.rstrip()}\n```"
