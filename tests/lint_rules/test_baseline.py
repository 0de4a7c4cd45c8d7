"""Adopting the linter: a baseline of what is there, and comments that silence it."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

from lint_rules.cli import main

if TYPE_CHECKING:
    from click.testing import Result

FAULTY = "import torch\n\nstate = torch.load('a.pt', 'cpu')\n"
TWICE = FAULTY + "other = torch.load('b.pt', 'cpu')\n"


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def lint(*arguments: str, stdin: str | None = None) -> Result:
    return CliRunner().invoke(main, arguments, input=stdin, catch_exceptions=False)


def found(*arguments: str) -> list[tuple[str, int]]:
    made = lint(*arguments, "--output-format", "json")
    return [(record["path"], record["line"]) for record in json.loads(made.stdout)]


class TestBaseline:
    @pytest.fixture(autouse=True)
    def _written(self):
        Path("pkg").mkdir()
        Path("pkg/a.py").write_text(FAULTY)
        Path("b.py").write_text(TWICE)
        self.made = lint("--baseline", "known.json", "--update-baseline", ".")

    def document(self, path: str = "known.json") -> dict[str, Any]:
        read: dict[str, Any] = json.loads(Path(path).read_text())
        return read

    def test_it_counts_by_file_and_code(self):
        assert (self.made.exit_code, self.made.stdout) == (0, "No findings in 2 files.\n")
        assert self.made.stderr == "known.json: wrote 3 findings down\n"
        assert self.document() == {
            "tool": "ckpt-lint",
            "version": 1,
            "files": {"b.py": {"CKP301": 2}, "pkg/a.py": {"CKP301": 1}},
        }

    def test_what_it_holds_is_not_reported(self):
        made = lint("--baseline", "known.json")

        assert (made.exit_code, made.stdout) == (0, "No findings in 2 files.\n")
        assert made.stderr == "known.json hides 3 findings\n"
        assert lint().exit_code == 1

    def test_lines_may_move(self):
        Path("b.py").write_text("# new\n\n" + TWICE)

        assert found("--baseline", "known.json") == []

    def test_one_more_shows_all_of_that_file_and_rule(self):
        Path("b.py").write_text(
            TWICE + "third = torch.load('c.pt', 'cpu')\nnew = torch.load('d.pt', weights_only=True)\n"
        )

        assert found("--baseline", "known.json") == [("b.py", 3), ("b.py", 4), ("b.py", 5), ("b.py", 6)]
        assert lint("--baseline", "known.json").exit_code == 1

    def test_another_rule_shows(self):
        Path("pkg/a.py").write_text("import torch\n\nstate = torch.load('a.pt')\n")

        made = lint("--baseline", "known.json", "--output-format", "concise")
        assert [line.split()[1] for line in made.stdout.splitlines()[:-2]] == ["CKP303"]

    def test_paths_count_from_the_baselines_folder(self, monkeypatch, tmp_path):
        monkeypatch.chdir("pkg")

        assert lint("--baseline", "../known.json", "a.py").exit_code == 0
        assert lint("--baseline", str(tmp_path / "known.json"), str(tmp_path / "b.py")).exit_code == 0

    def test_it_says_when_findings_are_gone(self):
        Path("b.py").write_text(FAULTY)

        made = lint("--baseline", "known.json")
        assert made.exit_code == 0
        assert made.stderr.splitlines() == [
            "known.json hides 2 findings",
            "known.json allows 1 finding too many; write it anew with --update-baseline",
        ]
        assert "too many" not in lint("--baseline", "known.json", "pkg").stderr

    def test_an_update_leaves_files_alone_that_were_not_linted(self):
        Path("pkg/a.py").write_text("x = 1\n")
        Path("broken.py").write_text(FAULTY)
        lint("--baseline", "known.json", "--update-baseline", ".")
        Path("broken.py").write_text(FAULTY + "def f(:\n")

        assert lint("--baseline", "known.json", "--update-baseline", "pkg", "broken.py").exit_code == 2
        assert self.document()["files"] == {"b.py": {"CKP301": 2}, "broken.py": {"CKP301": 1}}

    def test_an_update_forgets_files_that_are_gone(self):
        Path("pkg/a.py").unlink()

        lint("--baseline", "known.json", "--update-baseline", "b.py")
        assert self.document()["files"] == {"b.py": {"CKP301": 2}}

    def test_all_formats_and_standard_input_obey(self):
        for output_format in ("full", "concise", "github", "sarif", "json"):
            assert "CKP301" not in lint("--baseline", "known.json", "--output-format", output_format).stdout
        assert lint("--baseline", "known.json", "--statistics").stdout == ""
        assert lint("--baseline", "known.json", "--stdin-filename", "pkg/a.py", "-", stdin=FAULTY).exit_code == 0
        assert lint("--baseline", "known.json", "--stdin-filename", "pkg/a.py", "-", stdin=TWICE).exit_code == 1

    @pytest.mark.skipif(sys.platform != "linux", reason="elsewhere, every name of a file is text")
    def test_a_name_that_is_no_text_can_be_written_down(self):
        path = os.fsdecode(b"caf\xe9.py")
        Path(path).write_text(FAULTY)

        assert lint("--baseline", "known.json", "--update-baseline", path).exit_code == 0
        assert lint("--baseline", "known.json", path).exit_code == 0
        assert lint(path).exit_code == 1

    @pytest.mark.parametrize(
        ("content", "complaint"),
        [
            ("{", "this is no baseline of ckpt-lint: it is not JSON"),
            ("\xff", "this is no baseline of ckpt-lint: it is not JSON"),
            ('{"name": "package"}', 'this is no baseline of ckpt-lint: it has no "tool": "ckpt-lint"'),
            ("[]", "this is no baseline of ckpt-lint"),
            (
                '{"tool": "ckpt-lint", "version": 2, "files": {}}',
                "the baseline has version 2, and this ckpt-lint reads 1",
            ),
            ('{"tool": "ckpt-lint", "version": 1, "files": {"a": {"CKP301": "2"}}}', "do not give a number"),
            ('{"tool": "ckpt-lint", "version": 1, "files": []}', "do not give a number"),
        ],
    )
    def test_one_that_cannot_be_used_is_one_line_and_stays(self, content, complaint):
        Path("known.json").write_text(content, encoding="latin-1")

        for arguments in ((), ("--update-baseline",)):
            made = lint("--baseline", "known.json", *arguments)
            assert (made.exit_code, made.stdout) == (2, "")
            assert made.stderr.startswith("Error: known.json: ")
            assert complaint in made.stderr
            assert made.stderr.count("\n") == 1
        assert Path("known.json").read_text(encoding="latin-1") == content

    def test_one_that_is_missing_or_a_folder_is_one_line(self):
        missing, folder = lint("--baseline", "unknown.json"), lint("--baseline", "pkg", "--update-baseline")

        assert (missing.exit_code, folder.exit_code) == (2, 2)
        assert "unknown.json: there is no such baseline; write it with --update-baseline" in missing.stderr
        assert "pkg: the baseline must be a file, and cannot be read (Is a directory)" in folder.stderr

    def test_one_that_cannot_be_written_is_one_line_and_stays(self, monkeypatch):
        before = Path("known.json").read_text()
        Path("b.py").write_text(FAULTY)

        def fail(*_):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(Path, "replace", fail)
        made = lint("--baseline", "known.json", "--update-baseline", "--no-cache")
        assert made.exit_code == 2
        assert "the baseline cannot be written (No space left on device)" in made.stderr
        assert Path("known.json").read_text() == before


class TestAddNoqa:
    def test_findings_are_silenced_where_they_stand(self):
        Path("a.py").write_text(
            "import torch\n"
            "\n"
            "a = torch.load('a.pt')\n"
            "b = torch.load('b.pt', 'cpu')  # noqa: S614 -- our own file\n"
            "c = torch.load(\n"
            "    'c.pt', 'cpu'\n"
            ")  # the weights\n"
        )

        made = lint("--add-noqa")

        assert (made.exit_code, made.stdout) == (0, "Silenced 4 findings.\nNo findings in 1 file.\n")
        assert Path("a.py").read_text() == (
            "import torch\n"
            "\n"
            "a = torch.load('a.pt')  # noqa: CKP301, CKP303\n"
            "b = torch.load('b.pt', 'cpu')  # noqa: S614, CKP301 -- our own file\n"
            "c = torch.load(  # noqa: CKP301\n"
            "    'c.pt', 'cpu'\n"
            ")  # the weights\n"
        )
        assert lint().exit_code == 0

    def test_twice_changes_nothing_more(self):
        Path("a.py").write_text(TWICE)
        lint("--add-noqa")
        once = Path("a.py").read_text()

        assert lint("--add-noqa").stdout == "No findings in 1 file.\n"
        assert Path("a.py").read_text() == once

    @pytest.mark.parametrize(
        ("statement", "expected"),
        [
            ("x = torch.load('a', 'cpu') + \\\n    1", "x = torch.load('a', 'cpu') + \\\n    1  # noqa: CKP301"),
            ("x = 1 + \\\n  torch.load(\n'a', 'cpu')", "x = 1 + \\\n  torch.load(  # noqa: CKP301\n'a', 'cpu')"),
            ("x = torch.load('''\n''', 'cpu')", "x = torch.load('''\n''', 'cpu')  # noqa: CKP301"),
            ("x = torch.load('a', 'cpu'), '''\n\n'''", "x = torch.load('a', 'cpu'), '''\n\n'''  # noqa: CKP301"),
            (
                "x = torch.load('a', 'cpu')  # noqa: our file",
                "x = torch.load('a', 'cpu')  # noqa: our file  # noqa: CKP301",
            ),
            ("x = torch.load('a', 'cpu')  \t", "x = torch.load('a', 'cpu')  # noqa: CKP301"),
            ("x = torch.load('a', 'cpu'); y = 1", "x = torch.load('a', 'cpu'); y = 1  # noqa: CKP301"),
        ],
    )
    def test_a_comment_stands_where_it_can(self, statement, expected):
        Path("a.py").write_text(f"import torch\n{statement}\n")

        made = lint("--add-noqa")

        assert (made.exit_code, Path("a.py").read_text()) == (0, f"import torch\n{expected}\n")
        assert lint().exit_code == 0

    def test_bytes_that_it_does_not_concern_stay(self):
        data = ("\ufeff# é\n" + FAULTY).replace("\n", "\r\n").encode()
        Path("a.py").write_bytes(data)

        lint("--add-noqa")

        assert Path("a.py").read_bytes() == data.replace(b"'cpu')\r", b"'cpu')  # noqa: CKP301\r")

    def test_notebooks_and_documents_get_comments_too(self):
        cell = {
            "cell_type": "code",
            "source": ["%matplotlib inline\n", *FAULTY.splitlines(keepends=True)],
            "outputs": [1],
        }
        Path("n.ipynb").write_text(json.dumps({"cells": [cell]}, indent=1))
        Path("d.md").write_text("Read:\n\n    >>> state = torch.load('a.pt', 'cpu')\n")

        assert lint("--add-noqa").exit_code == 0

        fixed = json.loads(Path("n.ipynb").read_text())["cells"][0]
        assert fixed["source"][-1] == "state = torch.load('a.pt', 'cpu')  # noqa: CKP301\n"
        assert fixed["outputs"] == [1]
        assert Path("d.md").read_text() == "Read:\n\n    >>> state = torch.load('a.pt', 'cpu')  # noqa: CKP301\n"

    def test_a_comment_too_many_gets_no_comment(self):
        text = "import torch\n\nstate = {}  # noqa: CKP301\n"
        Path("a.py").write_text(text)

        assert lint("--add-noqa").exit_code == 1
        assert Path("a.py").read_text() == text

    def test_a_diff_shows_the_comments_and_writes_nothing(self):
        Path("a.py").write_text(FAULTY)

        made = lint("--add-noqa", "--diff")

        assert made.exit_code == 1
        assert "+state = torch.load('a.pt', 'cpu')  # noqa: CKP301" in made.stdout.splitlines()
        assert made.stderr == "Would silence 1 finding.\n"
        assert Path("a.py").read_text() == FAULTY

    def test_standard_input_comes_back_with_comments(self):
        assert lint("-", "--add-noqa", stdin=FAULTY).stdout == FAULTY.replace("cpu')", "cpu')  # noqa: CKP301")


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--add-noqa", "--fix"], "--add-noqa and --fix cannot be given together"),
        (["--add-noqa", "--baseline", "x"], "--add-noqa and --baseline cannot be given together"),
        (["--update-baseline"], "--update-baseline needs --baseline FILE"),
        (["--update-baseline", "--baseline", "x", "--diff"], "--update-baseline and --diff cannot be given together"),
    ],
)
def test_what_does_not_go_together_is_refused(arguments, complaint):
    Path("a.py").write_text(FAULTY)

    made = lint(*arguments)

    assert made.exit_code == 2
    assert complaint in made.stderr
    assert Path("a.py").read_text() == FAULTY
