"""Break the code in one place at a time, and see whether a test fails: what `make mutation` runs.

    python tests/bench/mutation.py [FILE ...]

The operators are those of cosmic-ray (requirements-mutation.txt) and two of our own. Each mutant costs its tests alone:
torch, pytest and the package are imported once, the tests run once unbroken, and then each mutant is a fork in which
the compiled code of one function is replaced. Mutated are the bodies of functions; of a check, `run`, `resumed`,
`compared` and what they call, not its cases. Texts are left alone: no operator changes a string.
"""

from __future__ import annotations

import functools
import gc
import inspect
import os
import signal
import sys
from collections import Counter
from pathlib import Path
from types import CodeType, FunctionType
from typing import TYPE_CHECKING, Any, NamedTuple

import parso
import pytest
from cosmic_ray.ast import ast_nodes, get_ast
from cosmic_ray.mutating import mutate_code
from cosmic_ray.operators.operator import Operator
from cosmic_ray.plugins import get_operator

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "pytest_ckpt"
PATIENCE = 60
OPERATORS = (
    *("AddNot", "ReplaceAndWithOr", "ReplaceOrWithAnd", "ReplaceTrueWithFalse", "ReplaceFalseWithTrue"),
    *("ReplaceBreakWithContinue", "ReplaceContinueWithBreak", "ZeroIterationForLoop", "ExceptionReplacer"),
    *("NumberReplacer", "ReplaceUnaryOperator_Delete_Not"),
    *("Eq_NotEq", "NotEq_Eq", "Lt_LtE", "LtE_Lt", "Gt_GtE", "GtE_Gt", "Is_IsNot", "IsNot_Is"),
    *("Add_Sub", "Sub_Add", "Mul_Div", "Mod_Mul", "BitAnd_BitOr", "BitOr_BitAnd"),
)
"""By their names in cosmic-ray, one replacement for each thing replaced; pairs are of comparison or arithmetic."""
TESTS = {
    "compare": ("tests/pytest_ckpt/test_compare.py", "tests/pytest_ckpt/test_snapshot.py"),
    "attribution": ("tests/pytest_ckpt/test_attribution.py",),
}
"""What concerns a file; for a check, these are its own cases in tests/meta/test_checks.py."""


class Without(Operator):
    """Leaves a statement out; a function that iterates over what it returns gives nothing."""

    def mutation_positions(self, node: Any) -> Iterator[tuple[Any, Any]]:
        """Give the place of each statement that does something."""
        if node.type == "simple_stmt" and node.children[0].type not in {"string", "import_from", "import_name"}:
            yield node.start_pos, node.end_pos

    def mutate(self, node: Any, _index: int) -> Any:
        """Put `pass` in its place, or a `return` of nothing."""
        function = parso.python.tree.search_ancestor(node, "funcdef")
        iterates = function is not None and function.annotation and "Iterator" in function.annotation.get_code()
        returns = node.children[0].type == "return_stmt" and iterates
        return parso.parse(node.get_first_leaf().prefix + ("return iter(())" if returns else "pass") + "\n")

    @classmethod
    def examples(cls) -> tuple[Any, ...]:
        """Give none: they are there for the documentation of cosmic-ray."""
        return ()


class Membership(Operator):
    """Turns `in` into `not in` and back."""

    def mutation_positions(self, node: Any) -> Iterator[tuple[Any, Any]]:
        """Give the place of each comparison with `in`."""
        if node.type == "comparison" and node.children[1].get_code().split() in (["in"], ["not", "in"]):
            yield node.start_pos, node.end_pos

    def mutate(self, node: Any, _index: int) -> Any:
        """Write the opposite."""
        negated = len(node.children[1].get_code().split()) > 1
        node.children[1] = parso.parse(" in" if negated else " not in")
        return node

    @classmethod
    def examples(cls) -> tuple[Any, ...]:
        """Give none, as above."""
        return ()


class Mutant(NamedTuple):
    """One change: in which function, of which line, by which operator, and what stands there then."""

    function: str
    line: int
    operator: str
    text: str
    code: CodeType


def operators() -> dict[str, Operator]:
    """Give the operators by name."""

    def long(name: str) -> str:
        if "_" not in name or name.startswith("Replace"):
            return name
        sign = name.partition("_")[0] in {"Add", "Sub", "Mul", "Mod", "BitAnd", "BitOr"}
        return f"Replace{'Binary' if sign else 'Comparison'}Operator_{name}"

    theirs = {name: get_operator(f"core/{long(name)}")() for name in OPERATORS}
    return {**theirs, "Without": Without(), "Membership": Membership()}


def codes(code: CodeType, name: str = "") -> Iterator[tuple[tuple[str, int], CodeType]]:
    """Give the code of every function in a compiled file, by qualified name and line."""
    for one in code.co_consts:
        if isinstance(one, CodeType):
            full = f"{name}.{one.co_name}".lstrip(".")
            if one.co_flags & inspect.CO_OPTIMIZED:  # a function, not the body of a class
                yield (full, one.co_firstlineno), one
            yield from codes(one, full)


def mutants(path: Path) -> Iterator[Mutant]:
    """Give every mutant of a file whose change is in the body of a function that counts."""
    source = path.read_text(encoding="utf-8")
    functions = dict(codes(compile(source, path, "exec")))
    counts = cores(functions) if path.parent.name == "checks" else lambda _name: True
    nodes = list(ast_nodes(get_ast(source)))
    for name, operator in operators().items():
        for occurrence in range(sum(len(list(operator.mutation_positions(node))) for node in nodes)):
            text = mutate_code(source, operator, occurrence)
            mutated = dict(codes(compile(text, path, "exec")))
            changed = [key for key, code in mutated.items() if key in functions and code != functions[key]]
            if not changed or not counts(changed[0][0]):
                continue
            lines = zip(source.splitlines(), text.splitlines(), strict=False)
            line = next(number for number, (was, now) in enumerate(lines, 1) if was != now)
            yield Mutant(changed[0][0], line, name, text.splitlines()[line - 1].strip(), mutated[changed[0]])


def cores(functions: dict[tuple[str, int], CodeType]) -> Callable[[str], bool]:
    """Tell of a function of a check's file whether it is the check itself and not its cases."""
    cores = {key[0] for key in functions if key[0].rpartition(".")[2] in {"run", "resumed", "compared"}}
    cores = {name for name in cores if not name.startswith("_")}
    called = {name for key, code in functions.items() if key[0] in cores for name in code.co_names}
    return lambda name: name in cores or name in called or any(name.startswith(f"{core}.") for core in cores)


# ------------------------------------------------------------------------------------------------------------- running


def run(arguments: tuple[str, ...]) -> int:
    """Run tests in this process."""
    return int(pytest.main(["-x", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", *arguments]))


def survives(path: Path, mutant: Mutant, suites: list[tuple[str, ...]]) -> bool:
    """Say whether every test passes with the mutant, in a fork; one that takes forever fails."""
    child = os.fork()
    if child == 0:
        for stream in (1, 2):
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream)
        signal.alarm(PATIENCE)
        replace(path, mutant)
        os._exit(any(run(suite) for suite in suites))
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def replace(path: Path, mutant: Mutant) -> None:
    """Give the function its mutated code, wherever it is referred to, and forget what was computed before."""
    line = mutant.code.co_firstlineno
    for one in gc.get_objects():
        if isinstance(one, FunctionType) and one.__code__.co_filename == str(path):
            if one.__code__.co_firstlineno == line and one.__code__.co_name == mutant.code.co_name:
                one.__code__ = mutant.code
        elif isinstance(one, functools._lru_cache_wrapper):  # its type has no other name
            module = one.__module__ or ""
            if module.startswith(("pytest_ckpt.", "tests.")) and module != "pytest_ckpt.spare":
                one.cache_clear()


def suites_of(path: Path) -> list[tuple[str, ...]]:
    """Give what is run for a file, the quickest first."""
    if path.parent.name == "checks":
        name = path.stem.replace("_", "-")
        return [("tests/meta/test_checks.py", "-k", name)]
    return [(test,) for test in TESTS[path.stem]]


def say(text: str) -> None:
    """Print a line at once."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def main() -> None:
    """Mutate the files that are named, or the checks, compare and attribution."""
    os.chdir(ROOT)
    sys.path.insert(0, str(ROOT))
    os.environ["OMP_NUM_THREADS"] = "1"  # before torch is imported
    checks = sorted(PACKAGE.glob("checks/[!_]*.py"))
    paths = [Path(one).resolve() for one in sys.argv[1:]]
    paths = paths or [*checks, PACKAGE / "compare.py", PACKAGE / "attribution.py"]
    suites = {path: suites_of(path) for path in paths}
    for suite in dict.fromkeys(suite for some in suites.values() for suite in some):
        if run(suite):
            sys.exit(f"{' '.join(suite)} fails on the code as it is")
    total: Counter[str] = Counter()
    for path in paths:
        count: Counter[str] = Counter()
        for mutant in mutants(path):
            outcome = "survived" if survives(path, mutant, suites[path]) else "killed"
            count[outcome] += 1
            if outcome == "survived":
                say(f"  {path.name}:{mutant.line} {mutant.operator}: {mutant.text}")
        say(f"{path.name}: {count['killed']} killed, {count['survived']} survived")
        total += count
    say(f"{total['killed']} killed, {total['survived']} survived")


if __name__ == "__main__":
    main()
