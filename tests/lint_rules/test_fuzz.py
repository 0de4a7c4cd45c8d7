"""The linter holds its promises on code that nobody thought of.

For any bytes: nothing crashes; a fix leaves alone what it does not concern, gives what parses, and applied again gives
nothing more; comments that silence leave the program as it is; and neither the number of processes nor the cache makes
a difference. The suite goes through a few hundred programs. The long form goes through the standard library, every
installed package, the tests, 5,000 mutants of real files, as many of the rules' examples, and generated programs:

    python -m pytest -m fuzz tests/lint_rules/test_fuzz.py
"""

from __future__ import annotations

import ast
import difflib
import io
import json
import sysconfig
import tokenize
import warnings
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesmith
import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings

from lint_rules import registry
from lint_rules.checker import Job, Report, check
from lint_rules.cli import main
from lint_rules.config import Overrides, Resolver, Settings
from lint_rules.regions import split_lines
from lint_rules.runner import Runner
from tests.lint_rules import mutations

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


#: Places of a later round count in lines that the earlier ones may have moved by an import or an added statement.
_SHIFT = 8

CODES = registry.codes()
TESTS = Path(__file__).parents[1]
STANDARD = Path(sysconfig.get_path("stdlib"))
INSTALLED = Path(sysconfig.get_path("purelib"))


def job(data: bytes, name: str = "a.py", *, fix: bool = False, unsafe: bool = False, silence: bool = False) -> Job:
    return Job(name, data, CODES, Settings(), fix, unsafe, silence)


def hold(data: bytes, name: str = "a.py") -> Report:
    """See that the promises hold for one source; give what is found in it."""
    found = check(job(data, name))
    assert not any("the linter failed" in str(problem) for problem in found.problems), found.problems
    if found.findings and not found.problems:
        _see_that_fixes_hold(data, name)
        _see_that_comments_hold(data, name, found)
    return found


def _see_that_fixes_hold(data: bytes, name: str) -> None:
    for unsafe in (False, True):
        made = check(job(data, name, fix=True, unsafe=unsafe))
        assert made.problems == ()
        if made.data is None:
            continue
        again = check(job(made.data, name, fix=True, unsafe=unsafe))
        assert again.data is None
        assert again.findings == made.findings
        if name.endswith(".py"):
            _parse(made.after[None])
            _see_that_the_rest_stays(made)


def _see_that_the_rest_stays(made: Report) -> None:
    """Only lines near what was found may change, and no comment but one that silences nothing may go."""
    before, after = split_lines(made.before[None]), split_lines(made.after[None])
    places = [(finding.line, finding.end_line) for finding in made.fixed]
    places += [(edit.line, edit.end_line) for finding in made.fixed if finding.fix for edit in finding.fix.edits]
    edited = {line for first, last in places for line in range(first, last + 1)}
    near = {line + shift for line in edited for shift in range(-_SHIFT, _SHIFT + 1)}
    matcher = difflib.SequenceMatcher(None, before, after, autojunk=False)
    for tag, start, end, _, _ in matcher.get_opcodes():
        if tag in {"delete", "replace"}:
            assert set(range(start + 1, end + 1)) <= near, (before[start:end], made.fixed)
    lost = Counter(_comments(made.before[None])) - Counter(_comments(made.after[None]))
    assert all("noqa" in comment for comment in lost), lost


def _see_that_comments_hold(data: bytes, name: str, found: Report) -> None:
    made = check(job(data, name, silence=True))
    assert made.problems == ()
    assert len(made.fixed) + len(made.findings) >= len(found.findings)
    if made.data is not None and name.endswith(".py"):
        assert _parse(made.after[None]) == _parse(made.before[None])


def _parse(text: str) -> str:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return ast.dump(compile(text, "a.py", "exec", ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT))


def _comments(text: str) -> Iterator[str]:
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    return (token.string for token in tokens if token.type == tokenize.COMMENT)


def hold_together(folder: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """See that processes and the cache make no difference to a folder; give the findings."""
    monkeypatch.chdir(folder)
    runs = (
        ["--no-cache", "--jobs", "1"],
        ["--no-cache", "--jobs", "3"],
        ["--jobs", "2"],  # fills the cache
        ["--jobs", "1"],  # reads it
    )
    made = [CliRunner().invoke(main, [".", "--select", "ALL", "--output-format", "json", *run]) for run in runs]
    assert len({(each.exit_code, each.stdout, each.stderr) for each in made}) == 1
    return made[0].stdout


def _as_notebook(data: bytes) -> bytes:
    lines = data.decode("utf-8", "replace").splitlines(keepends=True)
    half = len(lines) // 2
    cells = [{"cell_type": "code", "source": part, "outputs": []} for part in (lines[:half], lines[half:])]
    return json.dumps({"cells": cells, "nbformat": 4}).encode()


def _as_document(data: bytes) -> bytes:
    return b"Text.\n\n```python\n" + data + b"\n```\n\n    " + data.replace(b"\n", b"\n    ") + b"\n"


_SHAPES: dict[str, Callable[[bytes], bytes]] = {"a.py": bytes, "n.ipynb": _as_notebook, "d.md": _as_document}
_NAMES = tuple(_SHAPES)


@pytest.mark.parametrize("name", _SHAPES)
def test_mutated_examples(name):
    sources = mutations.examples()
    found = sum(
        len(hold(_SHAPES[name](mutations.mutated(text, seed)), name).findings)
        for seed, text in enumerate(sources[:: len(_NAMES)])
    )

    assert found > 20


def test_mutated_examples_agree_from_processes_and_cache(tmp_path, monkeypatch):
    for seed, text in enumerate(mutations.examples()[::5]):
        _write(tmp_path, seed, mutations.mutated(text, seed))

    assert hold_together(tmp_path, monkeypatch).count('"code"') > 20


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True, database=None)
@given(hypothesmith.from_grammar())
def test_generated_programs(text):
    hold(text.encode("utf-8", "replace"))


def test_some_of_the_standard_library():
    for path in sorted((STANDARD / "asyncio").glob("*.py"))[:6]:
        assert hold(path.read_bytes()).problems == ()


@pytest.fixture
def tell(capsys):
    """Give a way to print figures while a long test runs."""

    def tell(text: str) -> None:
        with capsys.disabled():
            print(f"\n{text}")  # noqa: T201 -- figures to look at

    return tell


@pytest.mark.fuzz
@pytest.mark.parametrize("folder", [STANDARD, INSTALLED, TESTS], ids=["standard library", "installed", "tests"])
def test_every_file(folder, tell):
    result = Runner(Resolver(Overrides(select=("ALL",))), jobs=2).run([str(folder)])

    tell(f"{folder.name}: {result.files} files, {len(result.findings)} findings, {len(result.problems)} problems")
    assert [problem for problem in result.problems if "the linter failed" in str(problem)] == []
    for path in dict.fromkeys(finding.path for finding in result.findings):
        hold(Path(path).read_bytes(), "a.py" if path.endswith(".py") else path)


@pytest.mark.fuzz
def test_every_rule_on_the_standard_library(tell):
    read = [path.read_bytes() for path in sorted(STANDARD.glob("*.py")) if path.stat().st_size < 60_000]
    problems = [problem for data in read for problem in hold(data).problems]

    tell(f"{len(read)} files without the prefilter, {len(problems)} problems")


@pytest.mark.fuzz
def test_thousands_of_mutated_files(tell):
    names = ("transformers", "lightning", "torch/optim", "torch/distributed/checkpoint")
    folders = [INSTALLED / name for name in names]
    real = [*mutations.files(folders, b"state_dict", 20_000), *mutations.files(folders, b"torch.load", 60_000)]
    pools = (mutations.examples(), real)
    reports = []
    for seed in range(10_000):
        name = _NAMES[seed % 7] if seed % 7 < len(_NAMES) else "a.py"
        sources = pools[seed % 2]
        data = mutations.mutated(sources[seed // 2 % len(sources)], seed)
        reports.append(hold(_SHAPES[name](data), name))

    parsed = sum(1 for report in reports if not report.problems)
    findings = sum(len(report.findings) for report in reports)
    tell(f"{len(reports)} mutants, half of them of {len(real)} files, {parsed} without problems, {findings} findings")
    assert findings > 1_000


@pytest.mark.fuzz
@settings(max_examples=2_000, deadline=None, suppress_health_check=list(HealthCheck), database=None)
@given(hypothesmith.from_grammar())
def test_thousands_of_generated_programs(text):
    hold(text.encode("utf-8", "replace"))


@pytest.mark.fuzz
def test_thousands_of_mutants_agree_from_processes_and_cache(tmp_path, monkeypatch):
    sources = mutations.examples()
    for seed in range(2_000):
        _write(tmp_path, seed, mutations.mutated(sources[seed % len(sources)], seed))

    assert hold_together(tmp_path, monkeypatch).count('"code"') > 200


def _write(folder: Path, seed: int, data: bytes) -> None:
    name = _NAMES[seed % len(_NAMES)]
    (folder / name.replace(".", f"{seed}.")).write_bytes(_SHAPES[name](data))
