"""Which files are linted."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from lint_rules.config import Overrides, Resolver
from lint_rules.sources import Walk


@pytest.fixture
def tree(tmp_path, monkeypatch):
    """Make files in a folder that is the working one; a text may be given after the path."""
    monkeypatch.chdir(tmp_path)

    folder: Path = tmp_path

    def make(*paths: str | tuple[str, str]) -> Path:
        for each in paths:
            path, text = (each, "") if isinstance(each, str) else each
            target = folder / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text)
        return folder

    return make


def walked(*named: str, overrides: Overrides | None = None) -> list[str]:
    walk = Walk(Resolver(overrides))
    found = [file.path for file in walk.files(named)]
    assert walk.problems == []
    return [path.replace(os.sep, "/") for path in found]


def test_folders_give_the_kinds_that_are_read_in_order(tree):
    tree("b.py", "a.pyi", "n.ipynb", "z.md", "z.rst", "c.pyw", "no.txt", "no", "sub/x.py", "no.pyc", ".hidden/h.py")

    assert walked(".") == ["a.pyi", "b.py", "c.pyw", "n.ipynb", "z.md", "z.rst", ".hidden/h.py", "sub/x.py"]
    assert walked("./") == walked(".")


def test_paths_are_shown_as_the_user_named_them(tree):
    folder = tree("sub/deep/x.py")

    assert walked("sub") == walked("sub/") == ["sub/deep/x.py"]
    assert walked("./sub") == ["./sub/deep/x.py"]
    assert walked(str(folder)) == [str(folder / "sub/deep/x.py")]
    assert walked("sub/deep/x.py") == ["sub/deep/x.py"]


def test_a_file_is_linted_once(tree):
    folder = tree("sub/x.py")
    (folder / "link.py").symlink_to(folder / "sub/x.py")
    (folder / "again").symlink_to(folder / "sub", target_is_directory=True)

    assert walked("sub/x.py", ".", "again", "sub/../sub/x.py") == ["sub/x.py"]
    assert walked("again") == ["again/x.py"]


def test_links_in_circles_and_to_nowhere(tree):
    folder = tree("sub/x.py")
    (folder / "sub/up").symlink_to(folder, target_is_directory=True)
    (folder / "sub/nowhere.py").symlink_to(folder / "missing.py")
    (folder / "sub/circle.py").symlink_to(folder / "sub/circle.py")
    walk = Walk(Resolver())

    assert [file.path for file in walk.files(["."])] == ["sub/x.py"]
    assert [str(problem) for problem in walk.problems] == [
        "sub/circle.py: cannot be read (Too many levels of symbolic links)"
    ]


def test_default_exclusions_hold_below_what_is_named_only(tree):
    tree("venv/lib/x.py", "lib/site-packages/y.py", "node_modules/z.py", "src/build/w.py", "src/k.py")

    assert walked(".") == ["src/k.py"]
    assert walked("venv") == ["venv/lib/x.py"]
    assert walked("lib/site-packages", "src/build/w.py") == ["lib/site-packages/y.py", "src/build/w.py"]


def test_exclusions_of_the_settings(tree):
    tree(
        (
            "pyproject.toml",
            '[tool.ckpt-lint]\nexclude = ["gen", "*_pb2.py", "docs/*.py"]\nextend-exclude = ["/top.py"]',
        ),
        "gen/a.py",
        "src/gen/b.py",
        "src/x_pb2.py",
        "docs/conf.py",
        "docs/deep/kept.py",
        "top.py",
        "src/top.py",
        "venv/kept.py",
    )

    assert walked(".") == ["docs/deep/kept.py", "src/top.py", "venv/kept.py"]
    assert walked("gen", "src/x_pb2.py") == ["gen/a.py", "src/x_pb2.py"]
    forced = Overrides(force_exclude=True)
    assert walked("gen", "gen/a.py", "src/x_pb2.py", "src/top.py", overrides=forced) == ["src/top.py"]


def test_a_negated_exclusion_keeps_a_file(tree):
    tree(("pyproject.toml", '[tool.ckpt-lint]\nexclude = ["*.py", "!kept.py"]'), "a.py", "kept.py", "sub/kept.py")

    assert walked(".") == ["kept.py", "sub/kept.py"]


def test_nested_settings_hold_below_their_folder(tree):
    tree(
        ("pyproject.toml", '[tool.ckpt-lint]\nexclude = ["a.py"]'),
        ("inner/pyproject.toml", '[tool.ckpt-lint]\nexclude = ["b.py"]\ninclude = ["*.py"]'),
        "a.py",
        "b.py",
        "inner/a.py",
        "inner/b.py",
        "inner/c.md",
        "inner/deep/a.py",
    )

    assert walked(".") == ["b.py", "inner/a.py", "inner/deep/a.py"]


def test_gitignore_files_nest_and_negate(tree):
    tree(
        (".gitignore", "*.md\n/top.py\nout/\n!kept.md\n"),
        ("sub/.gitignore", "!top.md\nlocal.py\n\n!\n"),
        "a.md",
        "kept.md",
        "top.py",
        "sub/top.py",
        "sub/top.md",
        "sub/local.py",
        "local.py",
        "out/x.py",
        "out/kept.md",
        "sub/out/x.py",
    )

    assert walked(".") == ["kept.md", "local.py", "sub/top.md", "sub/top.py"]


def test_gitignore_files_above_what_is_named_count_up_to_the_repository(tree):
    folder = tree((".gitignore", "*.py"), ("repo/.gitignore", "skip.py\nwhole/\n"), "repo/src/skip.py", "repo/src/x.py")
    (folder / "repo/.git").mkdir()
    tree("repo/whole/y.py", "repo/whole/skip.py")

    assert walked("repo/src") == ["repo/src/x.py"]
    assert walked("repo/src/skip.py") == ["repo/src/skip.py"]
    assert walked("repo/whole") == ["repo/whole/skip.py", "repo/whole/y.py"]


def test_the_nearest_gitignore_file_has_the_last_word(tree):
    folder = tree((".gitignore", "*.py"), ("src/.gitignore", "!x.py"), "src/deep/x.py", "src/deep/y.py")
    (folder / ".git").mkdir()

    assert walked("src/deep") == walked("src/deep/") == ["src/deep/x.py"]


def test_a_gitignore_file_may_ignore_all_but_folders_and_endings(tree):
    tree((".gitignore", "*\n!*/\n!*.py\n/out/\n"), "x.py", "src/deep/y.py", "src/notes.md", "out/z.py")

    assert walked(".") == ["x.py", "src/deep/y.py"]


def test_a_gitignore_file_is_read_as_git_reads_it(tree):
    tree((".gitignore", "\ufeffx.py\n[^a-f].py\n\\[^]y.py\n"), "x.py", "a.py", "z.py", "^y.py", "[^]y.py")

    assert walked(".") == ["^y.py", "a.py"]


def test_gitignore_files_can_be_left_unread(tree):
    tree((".gitignore", "*.py"), ("pyproject.toml", "[tool.ckpt-lint]\nrespect-gitignore = false"), "x.py")

    assert walked(".") == ["x.py"]


def test_what_is_not_there_is_a_problem_and_the_rest_is_walked(tree):
    tree("x.py")
    walk = Walk(Resolver())

    assert [file.path for file in walk.files(["missing.py", "x.py", "missing"])] == ["x.py"]
    assert [problem.path for problem in walk.problems] == ["missing.py", "missing"]
    assert "no such file or folder" in walk.problems[0].message


def test_a_folder_that_cannot_be_read_is_a_problem(tree, monkeypatch):
    tree("shut/x.py", "open/y.py")
    scandir = os.scandir

    def refuse(path: str):
        if Path(path).name == "shut":
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    walk = Walk(Resolver())

    assert [file.path for file in walk.files(["."])] == [str(Path("open", "y.py"))]
    assert [str(problem) for problem in walk.problems] == ["shut/: the folder cannot be read (Permission denied)"]


def test_a_very_deep_folder(tree, tmp_path):
    deep = Path(*["d"] * 300)
    (tmp_path / deep).mkdir(parents=True)
    tree(f"{deep}/x.py")

    assert walked("d") == [f"{deep.as_posix()}/x.py"]
