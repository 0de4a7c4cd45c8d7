"""The code of guides that people learn from, reduced: each faulty line names the rule that reports it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from lint_rules.cli import main

DATA = Path(__file__).parent / "data"
GUIDES = sorted(DATA.glob("guide_*"))


def _copied(guide: Path, folder: Path) -> Path:
    """Take a guide out of this project, whose own torch counts for the files in it."""
    copy = folder / guide.name
    copy.write_bytes(guide.read_bytes())
    return copy


@pytest.mark.parametrize("guide", GUIDES, ids=lambda guide: guide.name)
def test_the_faulty_lines_of_a_guide_are_reported_and_no_others(guide, tmp_path):
    expected = [
        (number, code)
        for number, line in enumerate(guide.read_text().split("\n"), start=1)
        for code in re.findall(r"# (CKP\d+)", line)
    ]
    assert expected

    made = CliRunner().invoke(
        main, [str(_copied(guide, tmp_path)), "--output-format", "json", "--select", "CKP101,CKP201,CKP301"]
    )

    assert made.stderr == ""
    assert [(record["line"], record["code"]) for record in json.loads(made.stdout)] == expected


@pytest.mark.parametrize("guide", GUIDES, ids=lambda guide: guide.name)
def test_a_guide_is_fixed_where_it_is_faulty_and_nowhere_else(guide, tmp_path):
    copy = _copied(guide, tmp_path)

    made = CliRunner().invoke(main, [str(copy), "--fix", "--unsafe-fixes", "--select", "CKP301"])

    assert made.exit_code == 0
    guarded = re.sub(r"(torch\.load\([^()]*)(\).*# CKP301)", r"\1, weights_only=True\2", guide.read_text())
    assert copy.read_text() == guarded
