"""The command: what it prints where, and its exit codes."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

from lint_rules import runner as runner_module
from lint_rules.cli import main

if TYPE_CHECKING:
    from click.testing import Result

CLEAN = "import torch\n\nstate = torch.load('a.pt', 'cpu', weights_only=True)\n"
FAULTY = "import torch\n\nstate = torch.load('a.pt', 'cpu')\n"


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("FORCE_COLOR", raising=False)


def lint(*arguments: str, stdin: str | bytes | None = None) -> Result:
    return CliRunner().invoke(main, arguments, input=stdin, catch_exceptions=False)


def found(*arguments: str) -> list[dict[str, Any]]:
    made = lint(*arguments, "--output-format", "json")
    records: list[dict[str, Any]] = json.loads(made.stdout)
    return records


def test_clean_code_exits_with_0():
    Path("a.py").write_text(CLEAN)

    made = lint()

    assert (made.exit_code, made.stdout, made.stderr) == (0, "No findings in 1 file.\n", "")


def test_findings_exit_with_1():
    Path("a.py").write_text(FAULTY)

    made = lint("a.py", "--output-format", "concise")

    assert made.exit_code == 1
    assert made.stdout.startswith("a.py:3:9: CKP301 ")
    assert made.stderr == ""


def test_no_files_exit_with_0_and_a_warning():
    Path("empty").mkdir()

    made = lint("empty")

    assert made.exit_code == 0
    assert made.stderr == "warning: there are no files to lint below the given paths\n"


def test_json_stays_json_without_findings_and_files():
    assert found() == []


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("bad.py", b"def f(:\n", "bad.py:1: not valid Python"),
        ("bad\n.py", b"def f(:\n", "bad\\n.py:1: not valid Python"),
        ("bad.md", b"# Vocoding: fast\n\xff\n", "bad.md:2: byte 0xff is not valid utf-8; save it as UTF-8\n"),
        ("bad.py", b"import torch\ntorch.load('a', 'cpu')\ndef f(:\n", "bad.py:3: not valid Python"),
        ("bad.py", b"print 'torch.load'\n", "bad.py:1: not valid Python"),
        ("bad.py", b"import torch\nx = '\xff'\n", "bad.py:2: byte 0xff is not valid utf-8"),
        ("bad.py", b"import torch\0\ntorch.load('a', 'cpu')\n", "bad.py:1: holds a null byte"),
        ("bad.py", b"(" * 3000 + b")" * 3000, "bad.py"),
        ("bad.py", b"import torch; torch.load(" + b"-" * 20000 + b"1)", "bad.py"),
        ("bad.ipynb", b"{", "bad.ipynb:1: is no notebook"),
        ("bad.ipynb", b'{"\xff": 1}', "bad.ipynb:1: byte 0xff is not valid utf-8; save it as UTF-8\n"),
        (
            "bad.ipynb",
            b'{"cells": [{"cell_type": "code", "source": "torch.load(("}]}',
            "bad.ipynb:cell 0:1: '(' was never",
        ),
        ("bad.ipynb", b'"import torch; torch.load(x)"', "bad.ipynb: is no notebook"),
    ],
)
def test_what_cannot_be_read_is_one_line_and_the_rest_is_linted(name, content, complaint):
    Path("a.py").write_text(FAULTY)
    Path(name).write_bytes(content)

    made = lint(".", "--output-format", "json")

    assert made.exit_code == 2
    assert [record["path"] for record in json.loads(made.stdout)] == ["a.py"]
    assert made.stderr.startswith(f"error: {complaint}")
    assert made.stderr.count("\n") == 1


def test_a_file_that_cannot_be_opened_is_one_line(monkeypatch):
    Path("a.py").write_text(FAULTY)
    Path("shut.py").write_text(FAULTY)

    class Refusing(io.FileIO):
        def __init__(self, path: str) -> None:
            if path.endswith("shut.py"):
                raise PermissionError(13, "Permission denied")
            super().__init__(path)

    monkeypatch.setattr(io, "FileIO", Refusing)
    made = lint("shut.py", "a.py", "missing.py", "--output-format", "concise")

    assert made.exit_code == 2
    assert made.stderr.splitlines() == [
        "error: shut.py: cannot be read (Permission denied)",
        "error: missing.py: there is no such file or folder; check the spelling",
    ]
    assert "a.py:3:9: CKP301" in made.stdout


@pytest.fixture
def closed(monkeypatch):
    """Make a folder that may not be looked into, and a file that may not be read, as they are to anybody but root."""
    Path("closed").mkdir()
    Path("closed/a.py").write_text(FAULTY)
    Path("shut.py").write_text(FAULTY)

    def refusing(call, *names):
        def refuse(path, *arguments, **keywords):
            if isinstance(path, (str, Path)) and {Path(path).name, Path(path).parent.name} & set(names):
                raise PermissionError(13, "Permission denied")
            return call(path, *arguments, **keywords)

        return refuse

    monkeypatch.setattr(os, "stat", refusing(os.stat, "closed"))
    monkeypatch.setattr(os, "access", lambda path, _: Path(path).name != "shut.py")
    monkeypatch.setattr(io, "FileIO", refusing(io.FileIO, "closed", "shut.py"))


@pytest.mark.usefixtures("closed")
def test_where_nobody_may_look_is_one_line_and_the_rest_is_linted():
    Path("a.py").write_text(FAULTY)

    assert lint(".", "--output-format", "concise").stderr.splitlines() == [
        "error: shut.py: cannot be read (Permission denied)",
        "error: closed/a.py: cannot be read (Permission denied)",
    ]
    named = lint("shut.py", "closed/a.py", "a.py", "--output-format", "concise")
    assert named.exit_code == 2
    assert named.stderr.count("cannot be read (Permission denied)") == 2
    assert "a.py:3:9: CKP301" in named.stdout
    assert lint("--show-settings", "closed/a.py").exit_code == 0


def test_a_document_declares_no_encoding():
    Path("a.md").write_text("# Vocoding: fast\n\n```python\nstate = torch.load('a.pt', 'cpu')\n```\n")

    assert [record["line"] for record in found("a.md")] == [4]


def test_an_empty_path_is_not_the_working_directory():
    Path("a.py").write_text(FAULTY)

    made = lint("")

    assert made.exit_code == 2
    assert made.stderr == 'error: "": an empty path names no file; the working directory is .\n'
    assert made.stdout == "No findings in 0 files.\n"


@pytest.mark.parametrize("name", ["big.py", "big.md", "big.ipynb"])
def test_a_file_of_data_is_one_line_and_the_rest_is_linted(name):
    Path("a.py").write_text(FAULTY)
    code = FAULTY + "x = 'filler filler filler filler filler'\n" * 120_000
    half = len(code) // 2
    cells = json.dumps(
        {"cells": [{"cell_type": "code", "source": part} for part in (code[:half] + "'", "'" + code[half:])]}
    )
    Path(name).write_text({"big.py": code, "big.md": f"```python\n{code}```\n", "big.ipynb": cells}[name])

    made = lint(".", "--output-format", "concise")

    assert made.exit_code == 2
    assert "a.py:3:9: CKP301" in made.stdout
    assert made.stderr.count("\n") == 1
    assert made.stderr.startswith(f"error: {name}: holds 4.")
    assert made.stderr.endswith(" MB of Python, and no more than 4 MB is linted; exclude the file\n")


def test_more_loading_code_than_can_be_followed_is_one_line_and_the_rest_is_linted():
    Path("a.py").write_text(FAULTY)
    Path("big.py").write_text(FAULTY + f"torch.load({'x' * 1_000})\n" * 1_250)

    made = lint(".", "--output-format", "concise")

    assert made.exit_code == 2
    assert "a.py:3:9: CKP301" in made.stdout
    assert made.stderr == (
        "error: big.py: holds 1.3 MB of Python around what loads and saves, and no more than 1.2 MB is followed; "
        "exclude the file\n"
    )


def test_large_outputs_of_a_notebook_do_not_count():
    output = {"output_type": "stream", "name": "stdout", "text": "x" * 5_000_000}
    cell = {"cell_type": "code", "source": FAULTY, "outputs": [output]}
    Path("n.ipynb").write_text(json.dumps({"cells": [cell]}))

    assert [record["code"] for record in found()] == ["CKP301"]


@pytest.mark.parametrize("terms", [200, 400, 600, 800, 2_000])
def test_a_long_sum_is_one_line_at_the_most_and_the_rest_is_linted(terms):
    Path("a.py").write_text(FAULTY)
    Path("sum.py").write_text(
        "import torch\n\n\ndef run(model, path):\n    model.load_state_dict(torch.load(path))\n"
        f"    x = {' + '.join(['path'] * terms)}\n    return model(x)\n"
    )

    made = lint(".", "--output-format", "concise")

    assert "a.py:3:9: CKP301" in made.stdout
    assert ("sum.py:5:27: CKP301" in made.stdout) == (not made.stderr)
    assert made.stderr in {"", "error: sum.py: is nested too deeply to be followed; exclude the file\n"}


def test_a_defect_in_a_rule_is_one_line(monkeypatch):
    Path("a.py").write_text(FAULTY)

    def break_down(*_):
        raise ZeroDivisionError("oh")

    monkeypatch.setattr("lint_rules.engine.lint_text", break_down)
    made = lint("a.py")

    assert made.exit_code == 2
    assert made.stderr == "error: a.py: the linter failed (ZeroDivisionError: oh); please report this\n"


def test_large_projects_are_not_parsed_whole(monkeypatch):
    Path("a.py").write_text("def f(:\n")
    monkeypatch.setattr(runner_module, "_CHECKED_WHOLE", 12)

    assert lint(".").exit_code == 2
    Path("b.py").write_text("x = 1\n")
    assert lint(".").exit_code == 0
    Path("a.py").write_bytes(b"\xff\n" * 10)
    assert lint(".").exit_code == 2


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--select", "CKP3O1"], 'there is no rule "CKP3O1": did you mean "CKP301"?'),
        (["--select", "CKP301,nonsense"], 'there is no rule "nonsense"'),
        (["--select", " , "], "no rule is named; leave it out"),
        (["--statistics", "--output-format", "sarif"], "--statistics and --output-format sarif cannot be given"),
        (["--ignore", "F401"], 'there is no rule "F401"'),
        (["--explain", "unguarded-torchload"], 'did you mean "unguarded-torch-load"?'),
        (["--output-format", "xml"], "'xml' is not one of 'concise', 'full', 'github', 'json', 'sarif'"),
        (["--jobs", "0"], "0 is not in the range"),
        (["--selct", "CKP301"], "--select"),
        (["-", "a.py"], "standard input cannot be linted together with files"),
    ],
)
def test_arguments_that_cannot_be_used_exit_with_2(arguments, complaint):
    made = lint(*arguments)

    assert made.exit_code == 2
    assert complaint in made.stderr
    assert made.stdout == ""


def test_settings_that_cannot_be_used_exit_with_2():
    Path("pyproject.toml").write_text('[tool.ckpt-lint]\nselct = ["CKP301"]\n')
    Path("a.py").write_text(FAULTY)

    made = lint("a.py")

    assert made.exit_code == 2
    assert made.stdout == ""
    assert 'there is no setting "selct": did you mean "select"?' in made.stderr
    assert made.stderr.count("\n") == 1


def test_an_output_that_cannot_be_written_exits_with_2(monkeypatch):
    Path("a.py").write_text(FAULTY)

    def render(*_, **__):
        yield "a line"
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("lint_rules.output.renderer", lambda _: render)
    made = lint("a.py")

    assert made.exit_code == 2
    assert made.stderr == "Error: the output cannot be written (No space left on device)\n"


def test_rules_are_chosen_on_the_command_line():
    Path("a.py").write_text(FAULTY)

    assert [record["code"] for record in found("--select", "CKP301")] == ["CKP301"]
    assert [record["code"] for record in found("--select", "ckp3,CKP101")] == ["CKP301"]
    assert found("--select", "CKP101") == []
    assert found("--ignore", "CKP301") == []
    assert found("--ignore", "unguarded-torch-load") == []
    assert len(found("--select", "CKP101", "--select", "CKP301")) == 1


def test_settings_apply_by_folder_and_file():
    Path("pyproject.toml").write_text(
        '[tool.ckpt-lint.per-file-ignores]\n"tests/**" = ["CKP301"]\n"only.py" = ["CKP3"]\n"x.py" = ["CKP101"]\n'
    )
    for name in ("tests/deep/a.py", "only.py", "sub/only.py", "x.py", "inner/a.py"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_text(FAULTY)
    Path("inner/pyproject.toml").write_text('[tool.ckpt-lint]\nignore = ["CKP301"]\n')

    assert [record["path"] for record in found()] == ["x.py"]


def test_files_are_ignored_but_for_some():
    Path("pyproject.toml").write_text('[tool.ckpt-lint.per-file-ignores]\n"!src/**" = ["CKP301"]\n')
    for name in ("src/deep/a.py", "tests/a.py"):
        Path(name).parent.mkdir(parents=True)
        Path(name).write_text(FAULTY)

    assert [record["path"] for record in found()] == ["src/deep/a.py"]


def test_the_projects_torch_counts_for_the_files_below():
    for folder in ("new", "old"):
        Path(folder).mkdir()
        Path(folder, "a.py").write_text(FAULTY)
    Path("new/setup.py").touch()
    Path("old/setup.py").touch()
    Path("new/requirements.txt").write_text("torch>=2.6\n")
    Path("old/requirements.txt").write_text("torch>=2.0\n")

    assert [record["path"] for record in found()] == [str(Path("old/a.py"))]
    Path("pyproject.toml").write_text("[tool.ckpt-lint]\nstrict-guard = true\n")
    assert len(found()) == 2


def test_noqa_silences():
    Path("a.py").write_text(FAULTY.replace("cpu')", "cpu')  # noqa: CKP301"))

    assert lint().exit_code == 0


def test_statistics_count_by_rule():
    Path("a.py").write_text(FAULTY * 2 + "m = torch.nn.Linear(1, 1)\nm.load_state_dict('a.pt')\n")

    made = lint("--statistics")
    assert made.exit_code == 1
    assert made.stdout.splitlines() == ["2  CKP301  [ ]  unguarded-torch-load", "1  CKP101  [*]  load-state-dict-path"]
    assert found("--statistics")[0] == {"code": "CKP301", "name": "unguarded-torch-load", "count": 2, "fixable": 0}


def test_explain_prints_the_page():
    by_code, by_name = lint("--explain", "CKP301"), lint("--explain", "unguarded-torch-load")

    assert by_code.exit_code == 0
    assert by_code.stdout.startswith("# unguarded-torch-load (CKP301)\n")
    assert by_name.stdout == by_code.stdout


def test_settings_are_shown():
    Path("pyproject.toml").write_text('[tool.ckpt-lint]\nselect = ["CKP301"]\n')
    Path("inner").mkdir()
    Path("inner/setup.cfg").touch()
    Path("inner/requirements.txt").write_text("torch>=2.6\n")

    made = lint("--show-settings", "missing.py", "inner")

    assert made.exit_code == 0
    first, second = made.stdout.split("\n\n")
    assert f"# from {Path('pyproject.toml').absolute()}" in first
    assert 'select = ["CKP301"]' in first
    assert "target-torch" not in first
    assert 'target-torch = "2.6"' in second


def test_colours_follow_the_conventions(monkeypatch):
    Path("a.py").write_text(FAULTY)

    assert "\x1b[" not in lint().stdout
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert "\x1b[" in lint().stdout
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[" not in lint().stdout


def test_notebooks_and_documents_are_linted():
    cells = [
        {"cell_type": "markdown", "source": "#"},
        {"cell_type": "code", "source": ["%pylab\n", *FAULTY.splitlines(True)]},
    ]
    Path("n.ipynb").write_text(json.dumps({"cells": cells}))
    Path("d.md").write_text("# Loading\n\n    model = torch.load('a.pt', 'cpu')\n")
    Path("d.rst").write_text("Loading::\n\n  model = torch.load('a.pt', 'cpu')\n")

    assert [(record["path"], record["line"], record["column"], record.get("cell")) for record in found()] == [
        ("d.md", 3, 13, None),
        ("d.rst", 3, 11, None),
        ("n.ipynb", 4, 9, 1),
    ]


def test_processes_change_nothing(monkeypatch):
    for number in range(6):
        Path(f"a{number}.py").write_text(FAULTY * (number + 1))
    Path("bad.py").write_text("import torch\ntorch.load(\n")
    one = lint("--jobs", "1")
    many = lint("--jobs", "3")
    monkeypatch.setattr("lint_rules.pool._WORTH_PROCESSES", 10)
    automatic = lint()

    assert one.stdout.count("CKP301") == 21
    assert (one.exit_code, one.stdout, one.stderr) == (2, many.stdout, many.stderr)
    assert (many.exit_code, many.stdout, many.stderr) == (2, automatic.stdout, automatic.stderr)


class TestStandardInput:
    def test_findings_carry_the_given_name(self):
        made = lint("--stdin-filename", "pkg/a.py", "-", "--output-format", "concise", stdin=FAULTY)

        assert made.exit_code == 1
        assert made.stdout.startswith("pkg/a.py:3:9: CKP301")

    def test_settings_and_kind_are_those_of_the_name(self):
        Path("pyproject.toml").write_text('[tool.ckpt-lint.per-file-ignores]\n"tests/*" = ["CKP301"]\n')

        assert lint("-", "--stdin-filename", "tests/a.py", stdin=FAULTY).exit_code == 0
        made = lint(
            "-", "--stdin-filename", "a.md", "--output-format", "concise", stdin="```\ntorch.load(x, 'cpu')\n```\n"
        )
        assert made.stdout.startswith("a.md:2:1: CKP301")

    def test_without_a_name_it_is_python(self):
        assert lint("-", "--output-format", "concise", stdin=FAULTY).stdout.startswith("-:3:9: CKP301")
        assert lint("-", stdin="def f(:").exit_code == 2

    def test_a_fix_goes_to_standard_output_and_the_rest_to_standard_error(self):
        made = lint("-", "--fix", "--unsafe-fixes", stdin=FAULTY.replace("\n", "\r\n").encode())

        assert made.exit_code == 0
        assert made.stdout_bytes == FAULTY.replace("cpu')", "cpu', weights_only=True)").replace("\n", "\r\n").encode()
        assert "Fixed 1 finding." in made.stderr

    def test_what_cannot_be_fixed_comes_back_as_it_was(self):
        made = lint("-", "--fix", stdin=FAULTY)

        assert (made.exit_code, made.stdout) == (1, FAULTY)
        assert "CKP301" in made.stderr
        assert lint("-", "--fix", stdin="def f(:\n").stdout == "def f(:\n"

    def test_an_excluded_name_is_left_alone_where_exclusions_are_forced(self):
        arguments = ("-", "--stdin-filename", "venv/a.py", "--fix", "--unsafe-fixes")

        assert lint(*arguments, "--force-exclude", stdin=FAULTY).stdout == FAULTY
        assert lint(*arguments, stdin=FAULTY).stdout != FAULTY


def test_the_installed_command_lints_without_torch(tmp_path):
    Path("a.py").write_text(FAULTY)
    code = (
        "import sys\n"
        "sys.modules['torch'] = sys.modules['hypothesis'] = sys.modules['pytest'] = None\n"
        "from lint_rules.cli import main; main(['a.py', '--output-format', 'concise'])"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert done.returncode == 1
    assert done.stdout.startswith("a.py:3:9: CKP301")
    assert done.stderr == ""


def test_a_clean_run_does_not_import_libcst():
    Path("a.py").write_text("import torch\n")
    code = (
        "import sys\nfrom lint_rules.cli import main\n"
        "try: main(['.'])\n"
        "except SystemExit: print(sorted({'libcst', 'pathspec', 'multiprocessing'} & set(sys.modules)))"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.splitlines() == ["No findings in 1 file.", "[]"]
