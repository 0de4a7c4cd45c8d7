"""Break the code in one place at a time, and see whether a test fails: what `make mutation` runs.

    python tests/bench/mutation.py [FILE ...]

The operators are those of cosmic-ray (requirements-mutation.txt) and three of our own. Each mutant costs its tests
alone: the tests are collected once and run once unbroken, and then each mutant is a fork of that process in which the
compiled code of one function is replaced. Mutated are the bodies of functions; of a check, `run`, `resumed`, `compared`
and what they call, not its cases. Texts are left alone: no operator changes a string.

A mutant meets tests that reached its statement in the unbroken run, the quickest first: those that are written for its
file, for a check its two cases; and if it survives them, those of `SUITE`, of more than `MOST` so many, and for a check
all faults of its category.
"""

from __future__ import annotations

import ast
import functools
import gc
import inspect
import os
import random
import re
import signal
import sys
import tempfile
import time
from collections import Counter, defaultdict
from contextlib import contextmanager
from functools import partial
from itertools import zip_longest
from pathlib import Path
from types import CodeType, FunctionType
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, get_args

import parso
import pytest
from cosmic_ray.ast import ast_nodes, get_ast
from cosmic_ray.mutating import mutate_code
from cosmic_ray.operators.operator import Operator
from cosmic_ray.plugins import get_operator

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
    from types import FrameType

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "pytest_ckpt"
PATIENCE = 60
"""Seconds after which a test counts as failed; sooner where it computes for `LEAST` and ten times its usual time."""
LEAST = 3
OPERATORS = (
    *("AddNot", "ReplaceAndWithOr", "ReplaceOrWithAnd", "ReplaceTrueWithFalse", "ReplaceFalseWithTrue"),
    *("ReplaceBreakWithContinue", "ReplaceContinueWithBreak", "ZeroIterationForLoop", "ExceptionReplacer"),
    *("NumberReplacer", "ReplaceUnaryOperator_Delete_Not"),
    *("Eq_NotEq", "NotEq_Eq", "Lt_LtE", "LtE_Lt", "Gt_GtE", "GtE_Gt", "Is_IsNot", "IsNot_Is"),
    *("Add_Sub", "Sub_Add", "Mul_Div", "Mod_Mul", "BitAnd_BitOr", "BitOr_BitAnd"),
)
"""By their names in cosmic-ray, one replacement for each thing replaced; pairs are of comparison or arithmetic."""
OWN = {
    "compare": ("test_compare.py", "test_snapshot.py"),
    "attribution": ("test_attribution.py",),
    "outputs": ("test_outputs.py",),
    "moment": ("test_moment.py",),
    "copying": ("test_copying.py",),
    "snapshot": ("test_snapshot.py",),
}
"""The tests of a file, in tests/pytest_ckpt; those of a check are its cases in tests/meta/test_checks.py."""
SUITE = (
    "tests/meta/test_checks.py",
    "tests/pytest_ckpt/resume",
    *(
        f"tests/pytest_ckpt/test_{name}.py"
        for name in ("faults", "correct", "roundtrip", "warm", "promises", "wrappers")
    ),
    *(
        f"tests/pytest_ckpt/test_{name}.py"
        for name in ("compatibility", "formats", "legs", "elsewhere", "bad_input", "surroundings")
    ),
    "tests/pytest_ckpt/test_strict.py::test_overrides_and_hooks_are_held_to_what_torch_documents",
    *(f"tests/pytest_ckpt/{test}" for test in dict.fromkeys(test for tests in OWN.values() for test in tests)),
)
"""What round-trips modules and resumes trainings in this process, and takes minutes."""
MOST = 60
CORES = len(os.sched_getaffinity(0))

Outcome = Literal["own", "suite", "survived"]
"""Which tests kill a mutant."""
OUTCOMES: tuple[Outcome, ...] = get_args(Outcome)


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
        stands = "pass"
        if iterates and node.children[0].type in {"return_stmt", "yield_expr"}:
            stands = "return iter(())" if node.children[0].type == "return_stmt" else "yield from ()"
        return parso.parse(f"{node.get_first_leaf().prefix}{stands}\n")

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


class Negate(Operator):
    """Turns the conditions of `elif` and of comprehensions, which cosmic-ray's AddNot leaves alone."""

    def mutation_positions(self, node: Any) -> Iterator[tuple[Any, Any]]:
        """Give the place of each condition."""
        for condition in self._conditions(node):
            yield condition.start_pos, condition.end_pos

    def mutate(self, node: Any, index: int) -> Any:
        """Put the condition in brackets behind a `not`."""
        condition = list(self._conditions(node))[index]
        node.children[node.children.index(condition)] = parso.parse(f" not ({condition.get_code().strip()})")
        return node

    @staticmethod
    def _conditions(node: Any) -> Iterator[Any]:
        if node.type in {"if_stmt", "comp_if"}:
            words = [getattr(one, "value", "") for one in node.children]
            first = "if" if node.type == "comp_if" else "elif"
            yield from (node.children[index + 1] for index, word in enumerate(words) if word == first)

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
    return {**theirs, "Without": Without(), "Membership": Membership(), "Negate": Negate()}


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
            if not changed or not counts(changed[0][0]) or is_unlike(functions[changed[0]], mutated[changed[0]]):
                continue
            lines = zip(source.splitlines(), text.splitlines(), strict=False)
            line = next(number for number, (was, now) in enumerate(lines, 1) if was != now)
            yield Mutant(changed[0][0], line, name, text.splitlines()[line - 1].strip(), mutated[changed[0]])


def is_unlike(code: CodeType, other: CodeType) -> bool:
    """Say whether a function cannot be given another code, because that takes other variables from around it."""
    return code.co_freevars != other.co_freevars


def cores(functions: dict[tuple[str, int], CodeType]) -> Callable[[str], bool]:
    """Tell of a function of a check's file whether it is the check itself and not its cases."""
    cores = {key[0] for key in functions if key[0].rpartition(".")[2] in {"run", "resumed", "compared"}}
    cores = {name for name in cores if not name.startswith("_")}
    called = {name for key, code in functions.items() if key[0] in cores for name in code.co_names}
    return lambda name: name in cores or name in called or any(name.startswith(f"{core}.") for core in cores)


# ------------------------------------------------------------------------------------------------------------- running


class Reach:
    """Notes which lines of the given files each test runs, and how long it takes."""

    def __init__(self, paths: Collection[Path]) -> None:
        """Prepare for a run."""
        self._files = {str(path): path for path in paths}
        self.lines: defaultdict[Path, defaultdict[int, set[str]]] = defaultdict(lambda: defaultdict(set))
        self.seconds: dict[str, float] = {}
        self._test = ""

    @contextmanager
    def of(self, test: str) -> Iterator[None]:
        """Watch a test with its fixtures."""
        self._test, began = test, time.process_time()
        sys.settrace(self._entered)
        try:
            yield
        finally:
            sys.settrace(None)
            self.seconds[test] = time.process_time() - began

    def tests(self, path: Path, line: int) -> list[str]:
        """Give the tests that reach the statement of a line, those first that enter its body, else in any order."""
        statement, body = range(line, line + 1), range(0)
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.stmt) and node.lineno <= line <= (last := node.end_lineno or 0):
                inner = getattr(node, "body", None)
                first = inner[0].lineno if isinstance(inner, list) else last + 1
                if line < first:
                    statement, body = range(node.lineno, first), range(first, last + 1)
        reached, entered = ({test for one in lines for test in self.lines[path][one]} for lines in (statement, body))
        shuffled = random.Random(0).sample(sorted(reached), len(reached))
        return sorted(shuffled, key=lambda test: test not in entered)

    def _entered(self, frame: FrameType, _event: str, _value: Any) -> Any:
        return self._line if frame.f_code.co_filename in self._files else None

    def _line(self, frame: FrameType, event: str, _value: Any) -> Any:
        if event == "line":
            self.lines[self._files[frame.f_code.co_filename]][frame.f_lineno].add(self._test)
        return self._line


class Mutation:
    """A plugin that runs the tests, and then some of them again for each mutant, in a fork."""

    def __init__(self, paths: Collection[Path]) -> None:
        """Take the files to mutate."""
        self._paths, self._reach = paths, Reach(paths)
        self._unbroken = True

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Leave out what starts a pytest of its own: in another process a mutant is not there."""
        items[:] = [one for one in items if "pytester" not in getattr(one, "fixturenames", ())]

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        """Watch a test of the first run; end the process if a test of a later one does not end."""
        if not self._unbroken:
            signal.alarm(PATIENCE)
            signal.setitimer(signal.ITIMER_PROF, LEAST + 10 * self._reach.seconds[item.nodeid])
            return (yield)
        with self._reach.of(item.nodeid):
            return (yield)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtestloop(self, session: pytest.Session) -> Iterator[None]:
        """Break the code, once all tests have passed."""
        passed = yield
        self._unbroken = False
        items = {one.nodeid: one for one in session.items}
        change = Change.within(self._paths)
        own_processes()
        for test in unrepeatable(items.values(), change.make):
            say(f"left out, for it fails when it is run for the second time: {test}")
            del items[test]
        tried = [(path, mutant) for path in self._paths for mutant in mutants(path)]
        outcomes = in_forks([partial(self._outcome, *one, items, change) for one in tried])
        counts: defaultdict[Path, Counter[Outcome]] = defaultdict(Counter)
        for (path, _), outcome in zip(tried, outcomes, strict=True):
            counts[path][outcome] += 1
        say("\n| file | mutants | killed by its own tests | killed by the suite | survived |\n|---|---|---|---|---|")
        say("\n".join(row(path.relative_to(PACKAGE).as_posix(), count) for path, count in counts.items()))
        say(row("all", Counter(outcomes)))
        return passed

    def _outcome(self, path: Path, mutant: Mutant, items: Mapping[str, pytest.Item], change: Change) -> Outcome:
        reached = [test for test in self._reach.tests(path, mutant.line) if test in items]
        cases = items if path.parent.name == "checks" else reached  # what is said of a case is kept for several tests
        first = [test for test in cases if is_own(path, test)]
        about = [test for test in reached if concerns(path, items[test])]
        second = {*about, *reached[:MOST]} - {*first}
        stages: tuple[tuple[Outcome, Collection[str]], ...] = (("own", first), ("suite", second))
        for outcome, tests in stages:
            ordered = [items[test] for test in sorted(tests, key=self._reach.seconds.__getitem__)]
            if not survive(ordered, partial(change.make, mutant)):
                return outcome
        say(f"{path.name}:{mutant.line} {mutant.function} {mutant.operator}: {mutant.text}")
        return "survived"


def in_forks(tasks: Sequence[Callable[[], Outcome]]) -> list[Outcome]:
    """Call functions, a share of them in a fork for each core, and give what they return."""
    children = []
    with tempfile.TemporaryDirectory() as folder:
        shares = [Path(folder, str(core)) for core in range(CORES)]
        for core, share in enumerate(shares):
            children.append(os.fork())
            if not children[-1]:
                try:
                    own_processes()
                    share.write_bytes(bytes(OUTCOMES.index(task()) for task in tasks[core::CORES]))
                finally:
                    os._exit(0)
        for child in children:
            os.waitpid(child, 0)
        found = [share.read_bytes() for share in shares]
    return [OUTCOMES[found[index % CORES][index // CORES]] for index in range(len(tasks))]


def own_processes() -> None:
    """Start spare processes for this process and the forks that it makes, which end with it and not with a run."""
    from pytest_ckpt import hashing, spare

    spare._server.cache_clear()
    for hashes in ("", *hashing._HASHES):
        spare._server(hashes)
    spare._running.clear()


def survive(items: Collection[pytest.Item], change: Callable[[], None]) -> bool:
    """Say whether every test passes with a change, in a fork."""
    child = os.fork()
    if child == 0:
        for stream in (1, 2):
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream)
        change()
        os._exit(not all(passes(*pair) for pair in zip_longest(items, list(items)[1:])))
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def unrepeatable(items: Collection[pytest.Item], change: Callable[[], None]) -> list[str]:
    """Name the tests that do not pass a second time where nothing is broken, in a fork."""
    with tempfile.TemporaryFile("w+") as failed:
        child = os.fork()
        if child == 0:
            for stream in (1, 2):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream)
            change()
            for item, following in zip_longest(items, list(items)[1:]):
                if not passes(item, following):
                    failed.write(f"{item.nodeid}\n")
                    item.session.testsfailed, item.session.shouldfail = 0, False
            failed.flush()
            os._exit(0)
        os.waitpid(child, 0)
        failed.seek(0)
        return failed.read().splitlines()


def passes(item: Any, following: Any) -> bool:
    """Run a test once more, and clear up after it what the following one does not use."""
    item._initrequest()  # as plugins do that run a test again
    item.config.pluginmanager.unregister(name="terminalreporter")
    item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
    return not item.session.testsfailed


class Change(NamedTuple):
    """What a mutant changes: the functions of the files, wherever they are referred to, and what they have cached."""

    functions: list[FunctionType]
    caches: list[Any]

    @classmethod
    def within(cls, paths: Collection[Path]) -> Change:
        """Look for both among all objects, and keep these from being touched, and so copied, by each fork."""
        gc.collect()
        everything, files = gc.get_objects(), {str(path) for path in paths}
        functions = [one for one in everything if isinstance(one, FunctionType) and one.__code__.co_filename in files]
        caches = [one for one in everything if isinstance(one, functools._lru_cache_wrapper)]  # it has no other name
        ours = [one for one in caches if (one.__module__ or "").startswith(("pytest_ckpt.", "tests."))]
        gc.freeze()
        kept = {"values", "_server"}  # the spare processes, and what they gave
        return cls(functions, [one for one in ours if one.__name__ not in kept])

    def make(self, mutant: Mutant | None = None) -> None:
        """Give a function its mutated code."""
        for cache in self.caches:
            cache.cache_clear()
        if mutant is None:
            return
        for one in self.functions:
            was, now = one.__code__, mutant.code
            if (was.co_filename, was.co_firstlineno, was.co_name) == (now.co_filename, now.co_firstlineno, now.co_name):
                one.__code__ = now


def is_own(path: Path, test: str) -> bool:
    """Say whether a test is written for a file."""
    if path.parent.name == "checks":
        return re.match(rf"tests/meta/test_checks\.py.*[\[-]{path.stem.replace('_', '-')}[]-]", test) is not None
    return Path(test.partition("::")[0]).name in OWN[path.stem]


def concerns(path: Path, item: pytest.Item) -> bool:
    """Say whether a test is of a fault in the category of a check, or of what no other check may report."""
    case = getattr(getattr(item, "callspec", None), "params", {}).get("case")
    return path.parent.name == "checks" and (
        "test_no_other_check" in item.nodeid or path.stem.replace("_", "-") in getattr(case, "categories", ())
    )


def say(text: str) -> None:
    """Print a line at once."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def row(name: str, count: Mapping[Outcome, int]) -> str:
    """Write a line of the table."""
    return f"| {name} | {sum(count.values())} | {' | '.join(str(count[outcome]) for outcome in OUTCOMES)} |"


def main() -> None:
    """Mutate the files that are named, or the checks, compare and attribution."""
    os.chdir(ROOT)
    sys.path.insert(0, str(ROOT))
    os.environ["OMP_NUM_THREADS"] = "1"  # before torch is imported
    checks = sorted(PACKAGE.glob("checks/[!_]*.py"))
    paths = [Path(one).resolve() for one in sys.argv[1:]]
    paths = paths or [*checks, PACKAGE / "compare.py", PACKAGE / "attribution.py"]
    sys.exit(pytest.main(["-x", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", *SUITE], [Mutation(paths)]))


if __name__ == "__main__":
    main()
