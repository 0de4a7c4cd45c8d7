"""Python that nobody wrote: real files, changed at random, statement by statement or byte by byte.

Changes of statements give programs that mostly parse, so the rules see control flow that no example has; changes of
bytes give what editors, merges and bad disks leave behind. A program that is scattered over functions does what it did,
or nearly, but whoever looks at one function sees little of it.
"""

from __future__ import annotations

import ast
import random
import textwrap
import warnings
from typing import TYPE_CHECKING

from lint_rules import registry

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
    from pathlib import Path

_FRAMES = (
    "if flag:",
    "for each in things:",
    "while flag:",
    "with context() as held:",
    "def wrapped(self):",
    "class C:",
)
_TOKENS = (
    *("(", ")", "[", "]", "{", "}", ":", ";", ",", "\\", "\\\n", "'", '"', '"""', "#", "# noqa", "# noqa: CKP301"),
    *("\t", "\x0c", "\ufeff", "\u2028", "é", "模型", "\r", "\n", "\n\n", "\0", "...", "*", "**kwargs", "=", ":="),
    *("await ", "yield ", "lambda: ", "not ", "async ", "global x\n", "return ", "del ", "f'{x}'", "if x else y"),
    *(".eval()", ".train()", ".to('cuda')", ".state_dict()", ".load_state_dict(", "torch.load(", "strict=False"),
)


def examples() -> tuple[str, ...]:
    """Give the code of every rule's examples, from which every rule's own ground is reached."""
    return tuple(
        source
        for rule in registry.all_rules()
        for example in (*rule.invalid, *rule.valid)
        for source in (example.source, example.fixed)
        if source
    )


def files(folders: Iterable[Path], token: bytes, largest: int) -> Iterator[str]:
    """Yield the text of the files below some folders that mention a token and are not too large."""
    for folder in folders:
        for path in sorted(folder.rglob("*.py")):
            data = path.read_bytes()
            if token in data and len(data) <= largest:
                yield data.decode(errors="ignore")


def mutated(text: str, seed: int) -> bytes:
    """Change a text, the same way for the same seed."""
    chance = random.Random(seed)
    for _ in range(chance.choice((1, 1, 2, 3))):
        text = chance.choice((*_OF_STATEMENTS, *_OF_STATEMENTS, *_OF_CHARACTERS))(text, chance)
    data = text.encode("utf-8", "replace")
    return chance.choice((*[_same] * 9, *_OF_BYTES))(data, chance)


def scattered(text: str, seed: int) -> str:
    """Spread a program over functions of the module, over functions inside one that is around all, or over methods."""
    chance = random.Random(seed)
    body = ast.parse(text).body
    rest = [node for node in body if not isinstance(node, _STAYS)]
    head = [node for node in body if node not in rest]
    runs = []
    while rest:
        size = chance.randint(1, 4)
        runs.append(rest[:size])
        rest = rest[size:]
    shape = chance.choice((_functions, _closures, _methods))
    return f"{ast.unparse(ast.Module(head, []))}\n{shape(runs, chance)}\n"


def _functions(runs: Sequence[list[ast.stmt]], chance: random.Random, rebinds: str = "global") -> str:
    made: list[str] = []
    outside: set[str] = set()
    for number, run in enumerate(runs):
        code, bound = ast.unparse(ast.Module(run, [])), _bound(run)
        if not number or chance.random() < 0.4:
            outside |= bound
            made.append(code)
            continue
        names = sorted(bound & outside if rebinds == "nonlocal" else bound)
        declared = f"{rebinds} {', '.join(names)}\n" if names and chance.random() < 0.7 else ""
        decorator = chance.choice(("", "", "@app.get('/')\n"))
        made.append(f"{decorator}def part{number}():\n{textwrap.indent(declared + code, '    ')}")
        made += [f"part{number}()"] * chance.randint(0, 1)
    return "\n".join(made)


def _closures(runs: Sequence[list[ast.stmt]], chance: random.Random) -> str:
    return f"def create():\n{textwrap.indent(_functions(runs, chance, 'nonlocal') or 'pass', '    ')}"


def _methods(runs: Sequence[list[ast.stmt]], chance: random.Random) -> str:
    kept = {name for run in runs for name in sorted(_bound(run)) if chance.random() < 0.8}
    made = ["class Scattered:", "    x = 1"]
    for number, run in enumerate(runs):
        code = ast.unparse(_OnSelf(kept).visit(ast.Module(run, [])))
        name = "__init__" if not number and chance.random() < 0.6 else f"{chance.choice(_METHODS)}{number}"
        made.append(f"    def {name}(self):\n{textwrap.indent(code, ' ' * 8)}")
    return "\n".join(made)


_STAYS = (ast.Import, ast.ImportFrom, ast.ClassDef, ast.FunctionDef)
_METHODS = ("setup", "fit", "save", "load", "predict", "test")


class _OnSelf(ast.NodeTransformer):
    """Makes names attributes of `self`."""

    def __init__(self, names: Collection[str]) -> None:
        self._names = names

    def visit_Name(self, node: ast.Name) -> ast.expr:
        return ast.Attribute(ast.Name("self", ast.Load()), node.id, node.ctx) if node.id in self._names else node


def _bound(run: Iterable[ast.stmt]) -> set[str]:
    nodes = (node for statement in run for node in ast.walk(statement))
    return {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}


def _statement(text: str, chance: random.Random) -> tuple[list[str], int, int]:
    """Choose a statement; give all lines, and where the statement's begin and end."""
    lines = text.splitlines(keepends=True)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return lines, 0, 0
    found = [node for node in ast.walk(tree) if isinstance(node, ast.stmt)]
    if not found:
        return lines, 0, 0
    node = chance.choice(found)
    return lines, node.lineno - 1, node.end_lineno or node.lineno


def _drop(text: str, chance: random.Random) -> str:
    lines, start, end = _statement(text, chance)
    return "".join(lines[:start] + lines[end:])


def _repeat(text: str, chance: random.Random) -> str:
    lines, start, end = _statement(text, chance)
    return "".join(lines[:end] + lines[start:])


def _frame(text: str, chance: random.Random) -> str:
    lines, start, end = _statement(text, chance)
    body = lines[start:end]
    if not body:
        return text
    indent = body[0][: len(body[0]) - len(body[0].lstrip())]
    return "".join(
        [*lines[:start], f"{indent}{chance.choice(_FRAMES)}\n", *(f"    {line}" for line in body), *lines[end:]]
    )


def _move(text: str, chance: random.Random) -> str:
    lines, start, end = _statement(text, chance)
    rest = lines[:start] + lines[end:]
    at = chance.randint(0, len(rest))
    return "".join(rest[:at] + lines[start:end] + rest[at:])


def _splice(text: str, chance: random.Random) -> str:
    other = chance.choice(examples())
    lines, start, _ = _statement(text, chance)
    indent = lines[start][: len(lines[start]) - len(lines[start].lstrip())] if lines else ""
    return "".join([*lines[:start], *(f"{indent}{line}" for line in other.splitlines(keepends=True)), *lines[start:]])


def _put(text: str, chance: random.Random) -> str:
    at = chance.randint(0, len(text))
    return text[:at] + chance.choice(_TOKENS) + text[at:]


def _take(text: str, chance: random.Random) -> str:
    at = chance.randint(0, len(text))
    return text[:at] + text[at + chance.randint(1, 8) :]


def _cut(text: str, chance: random.Random) -> str:
    return text[: chance.randint(0, len(text))]


def _rename(text: str, chance: random.Random) -> str:
    old, new = chance.sample(("model", "net", "torch", "nn", "state", "self", "load", "path", "x", "F"), 2)
    return text.replace(old, new)


def _same(data: bytes, _chance: random.Random) -> bytes:
    return data


def _spoil(data: bytes, chance: random.Random) -> bytes:
    at = chance.randint(0, len(data))
    return data[:at] + bytes([chance.randrange(256)]) + data[at:]


_OF_STATEMENTS: tuple[Callable[[str, random.Random], str], ...] = (_drop, _repeat, _frame, _move, _splice)
_OF_CHARACTERS: tuple[Callable[[str, random.Random], str], ...] = (_put, _take, _cut, _rename)
_OF_BYTES: tuple[Callable[[bytes, random.Random], bytes], ...] = (
    _spoil,
    lambda data, _: data.replace(b"\n", b"\r\n"),
    lambda data, _: data.replace(b"\n", b"\r"),
    lambda data, _: b"\xef\xbb\xbf" + data,
    lambda data, _: b"# -*- coding: latin-1 -*-\n" + data,
    lambda data, _: data.replace(b"    ", b"\t"),
    lambda data, _: data.rstrip(b"\n"),
)
