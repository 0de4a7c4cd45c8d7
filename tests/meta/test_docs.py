"""The documentation says what is so: its code runs, its outputs are real, and it leaves nothing out.

Code blocks are read by their language, and all blocks of one page belong together, in one folder of their own:

- `python`, `toml`, `yaml` and `ini` blocks whose first line is a comment with a file's name are that file;
- other `python` blocks run, in one namespace;
- a `text` block that follows one is what it prints;
- `console` blocks hold commands after `$`, each with its output. Commands of this project, pytest and python are run.

In outputs, `...` stands for anything, and neither the amount of white space nor the values of decimal fractions count.
"""

from __future__ import annotations

import contextlib
import doctest
import importlib.util
import io
import json
import os
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import click
import pytest
import yaml

from lint_rules import cli, config
from lint_rules import registry as rules
from lint_rules.rule import Edit, Finding, Fix
from pytest_ckpt import options
from pytest_ckpt import registry as checks

if TYPE_CHECKING:
    from collections.abc import Iterator

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
GENERATED = {DOCS / "reference" / "checks", DOCS / "reference" / "rules"}
ELSEWHERE = {DOCS / "changelog.d", DOCS / "_build", DOCS / "examples"}  # what is in examples runs in tests of its own
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *(path for path in sorted(DOCS.rglob("*.md")) if not {*ELSEWHERE, *GENERATED} & {*path.parents}),
]

_RUNNABLE = {"ckpt-lint": ["-m", "lint_rules"], "pytest": ["-m", "pytest"], "python": []}


@dataclass(frozen=True)
class Block:
    """One code block of a page: its language, its text, and the line where it begins."""

    language: str
    text: str
    line: int

    @property
    def file(self) -> str | None:
        """The name in a comment on the first line, if the block is a file."""
        match = re.match(r"# ([\w./-]+\.(?:py|toml|yaml|yml|ini))\n", self.text)
        return match[1] if match else None


def blocks(page: str) -> Iterator[Block]:
    """Read the fenced blocks of a Markdown page, directives left out."""
    for match in re.finditer(r"^( *)```(\w+)\n(.*?)^\1```$", page, re.MULTILINE | re.DOTALL):
        indent = len(match[1])
        text = "".join(line[indent:] or "\n" for line in match[3].splitlines(keepends=True))
        yield Block(match[2], text, page.count("\n", 0, match.start()) + 1)


class Reader:
    """Does what a reader of one page does, block by block, and compares what comes of it with what the page says."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.wrong: list[str] = []
        self._namespace: dict[str, Any] = {"__name__": "page"}
        self._printed: str | None = None

    def read(self, page: str) -> None:
        for block in blocks(page):
            printed, self._printed = self._printed, None
            if block.file:
                path = self.folder / block.file
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(block.text, encoding="utf-8")
            if block.language == "python":
                code = compile(block.text, f"line {block.line}", "exec")
                if not block.file:
                    self._printed = self._run(code)
            elif block.language == "text" and printed is not None:
                self._compare(block.line, "the code above", block.text, printed)
            elif block.language == "console":
                self._type(block)
            elif block.language == "toml":
                document = tomllib.loads(block.text)
                config.from_table(document.get("tool", {}).get("ckpt-lint", {}))
            elif block.language == "yaml":
                assert yaml.safe_load(block.text)
            elif block.language == "json":
                assert json.loads(block.text)

    def _run(self, code: Any) -> str:
        with contextlib.redirect_stdout(io.StringIO()) as out:
            exec(code, self._namespace)
        return out.getvalue()

    def _type(self, block: Block) -> None:
        commands = re.split(r"^\$ ", block.text, flags=re.MULTILINE)[1:]
        assert commands, f"line {block.line}: a console block shows commands after `$ `"
        for command in commands:
            typed, _, output = command.partition("\n")
            words = shlex.split(typed, comments=True)
            if words[0] == "make":
                makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
                assert all(re.search(rf"^{target}:", makefile, re.MULTILINE) for target in words[1:]), typed
            if words[0] in _RUNNABLE:
                really = self._output_of([sys.executable, *_RUNNABLE[words[0]], *words[1:]])
                self._compare(block.line, typed, output, really)

    def _output_of(self, command: list[str]) -> str:
        hidden = {"CUDA_VISIBLE_DEVICES": "", "PYTEST_ADDOPTS": "-p no:cacheprovider", "PYTEST_PLUGINS": ""}
        done = subprocess.run(
            command,
            cwd=self.folder,
            env=os.environ | hidden | {"NO_COLOR": "1", "COLUMNS": "100", "PYTHONDONTWRITEBYTECODE": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            check=False,
        )
        return done.stdout

    def _compare(self, line: int, what: str, expected: str, actual: str) -> None:
        flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
        if not doctest.OutputChecker().check_output(_comparable(expected), _comparable(actual), flags):
            self.wrong.append(f"line {line}: the page says that {what} gives\n{expected}\nbut it gives\n{actual}")


def _comparable(output: str) -> str:
    output = re.sub(r" \(\d+:\d\d:\d\d\)", "", output)  # pytest's, after a minute
    return re.sub(r"-?\d+\.\d+(e[+-]?\d+)?", "0.0", output).strip() + "\n"


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_code_runs_and_outputs_are_real(page: Path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("pytest_ckpt.legs.accelerator", lambda: None)  # the pages show a machine without a GPU
    reader = Reader(tmp_path)
    reader.read(page.read_text(encoding="utf-8"))
    assert not reader.wrong, "\n\n".join(reader.wrong)


# ----------------------------------------------------------------------------------------------------------- generated


@pytest.fixture(scope="module")
def reference(tmp_path_factory) -> Path:
    """The pages of checks and rules, freshly generated, as building the documentation does it."""
    folder: Path = tmp_path_factory.mktemp("reference")
    specification = importlib.util.spec_from_file_location("generate", DOCS / "generate.py")
    assert specification is not None
    assert specification.loader is not None
    generate = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(generate)
    stale = folder / "rules" / "CKP000.md"
    stale.parent.mkdir()
    stale.touch()
    generate.write(folder)
    assert not stale.exists()
    return folder


@pytest.mark.parametrize("name", checks.names())
def test_page_of_check(name, reference):
    page = (reference / "checks" / f"{name}.md").read_text(encoding="utf-8")
    assert re.findall(r"^#+ .*", page, re.MULTILINE)[0] == f"# {name}"
    assert f"[{name}]({name}.md)" in (reference / "checks" / "index.md").read_text(encoding="utf-8")

    found, found_nothing = (
        _printed_by(block.text) for block in blocks(page) if block.text.rstrip().endswith("print(report.text())")
    )
    assert re.search(rf"^  {name} ", found, re.MULTILINE)
    assert "came back" in found_nothing


def _printed_by(code: str) -> str:
    page = ModuleType("page")
    sys.modules[page.__name__] = page  # pickle finds a page's classes by their module
    try:
        with contextlib.redirect_stdout(io.StringIO()) as out:
            exec(compile(code, "page", "exec"), vars(page))
    finally:
        del sys.modules[page.__name__]
    return out.getvalue()


@pytest.mark.parametrize("code", rules.codes())
def test_page_of_rule(code, reference):
    page = (reference / "rules" / f"{code}.md").read_text(encoding="utf-8")
    assert page.startswith(f"# {rules.rule(code).name} ({code})\n")
    assert f"[{code}]({code}.md)" in (reference / "rules" / "index.md").read_text(encoding="utf-8")


# ------------------------------------------------------------------------------------------------------------ complete


class _Parser:
    """Takes note of the options that the plugin declares."""

    def __init__(self) -> None:
        self.flags: list[str] = []
        self.settings: list[str] = []

    def getgroup(self, *_names):
        return self

    def addoption(self, flag, **_details):
        self.flags.append(flag)

    def addini(self, name, *_details, **_more):
        self.settings.append(name)


def test_every_option_of_the_plugin_is_documented():
    parser: Any = _Parser()
    options.add(parser)
    page = (DOCS / "reference" / "options.md").read_text(encoding="utf-8")
    documented = re.findall(r"^\| `(--[\w-]+)` \| (?:`(\w+)` )?\|", page, re.MULTILINE)
    assert [flag for flag, _ in documented] == parser.flags
    assert [setting for _, setting in documented if setting] == parser.settings


def test_every_option_of_the_linter_is_documented():
    page = (DOCS / "reference" / "command-line.md").read_text(encoding="utf-8")
    flags = [flag for param in cli.main.params if isinstance(param, click.Option) for flag in param.opts]
    assert "--select" in flags
    assert [flag for flag in flags if not re.search(rf"{flag}(?![\w-])", page)] == []


def test_every_setting_of_the_linter_is_documented():
    everything = config.Settings(per_file_ignores=(("x", ("ALL",)),), target_torch=(2, 4))
    settings = tomllib.loads(config.describe(everything))["tool"]["ckpt-lint"]
    page = (DOCS / "reference" / "settings.md").read_text(encoding="utf-8")
    assert re.findall(r"^\| `([\w-]+)` \|", page, re.MULTILINE) == list(settings)


def test_every_field_of_the_json_output_is_documented():
    fix = Fix((Edit(1, 1, 1, 2, "x"),), safe=True)
    record = Finding("CKP000", "name", "path", 1, 1, 1, 2, "message", fix, cell=0).as_dict()
    page = (DOCS / "reference" / "json.md").read_text(encoding="utf-8")
    documented = re.findall(r"`(\w+)`", " ".join(re.findall(r"^\|([^|]*)\|", page, re.MULTILINE)))
    assert sorted(documented) == sorted([*record, *record["fix"]])


def test_checks_and_rules_in_the_readme_exist():
    """The reference lists all of them by itself; the README may be a step behind, but never wrong."""
    page = (ROOT / "README.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| \[`?([\w-]+)`?\]\(([\w/.]+)\) \|", page, re.MULTILINE))
    files = {name: f"pytest_ckpt/checks/{name.replace('-', '_')}.py" for name in checks.names()}
    files |= {code: f"lint_rules/rules/{code.lower()}.py" for code in rules.codes()}
    assert rows
    assert rows.items() <= files.items()


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_relative_links_lead_somewhere(page: Path):
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", text):
        path = (page.parent / target).resolve()
        assert path.exists() or path.parent in GENERATED, f"{target} does not exist"


def test_fragments_of_the_changelog_have_valid_names():
    kinds = "|".join(each["directory"] for each in _towncrier()["type"])
    valid = re.compile(rf"(\d+|\+[\w-]+)\.({kinds})(\.\d+)?\.md")
    assert [path.name for path in _fragments() if not valid.fullmatch(path.name)] == []


def test_every_fragment_is_in_the_draft_of_the_next_release():
    command = [sys.executable, "-m", "towncrier", "build", "--draft", "--version", "next"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, encoding="utf-8", check=False)
    assert done.returncode == 0, done.stderr
    missing = [path.name for path in _fragments() if path.read_text(encoding="utf-8").strip() not in done.stdout]
    assert missing == []


def _fragments() -> list[Path]:
    return [path for path in (DOCS / "changelog.d").iterdir() if not path.name.startswith(".")]


def _towncrier() -> Any:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["towncrier"]


def test_the_changelog_has_room_for_the_next_release():
    settings = _towncrier()
    assert (ROOT / settings["filename"]).read_text(encoding="utf-8").count(settings["start_string"]) == 1
