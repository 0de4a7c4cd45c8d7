"""Finding rules by discovery, and by what people call them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from lint_rules import registry, rules

RULE_FILE = '''
from lint_rules.rule import Rule

class {name}(Rule):
    """A rule."""
    code = "{code}"
    name = "made-up"
    summary = "Nothing"
    needs = ((b"nothing",),)
    def check(self, context):
        return iter(())
'''


@pytest.fixture
def extra_rules(tmp_path, monkeypatch):
    """A folder whose files are rules besides the ones that ship."""
    monkeypatch.setattr(rules, "__path__", [*rules.__path__, str(tmp_path)])
    registry.codes.cache_clear()
    registry.rule.cache_clear()
    yield tmp_path
    registry.codes.cache_clear()
    registry.rule.cache_clear()
    for name in [name for name in sys.modules if name.startswith("lint_rules.rules.ckp9")]:
        del sys.modules[name]


def test_every_rule_file_is_a_rule():
    files = Path(rules.__path__[0]).glob("ckp*.py")

    assert registry.codes() == tuple(sorted(file.stem.upper() for file in files))
    assert [rule.code for rule in registry.all_rules()] == list(registry.codes())


def test_a_new_file_is_a_new_rule(extra_rules):
    (extra_rules / "ckp901.py").write_text(RULE_FILE.format(name="MadeUp", code="CKP901"))

    assert "CKP901" in registry.codes()
    assert registry.find("made-up") is registry.rule("CKP901")
    assert "CKP901" in registry.expand("CKP9")


@pytest.mark.parametrize("text", ["", RULE_FILE.format(name="MadeUp", code="CKP999")])
def test_a_rule_file_without_its_rule_is_a_mistake(extra_rules, text):
    (extra_rules / "ckp902.py").write_text(text)

    with pytest.raises(TypeError, match="must hold one Rule whose code is CKP902"):
        registry.rule("CKP902")


@pytest.mark.parametrize("spelling", ["CKP301", "ckp301", " unguarded-torch-load ", "Unguarded-Torch-Load"])
def test_a_rule_is_found_by_code_or_name(spelling):
    assert registry.find(spelling).code == "CKP301"


@pytest.mark.parametrize(
    ("spelling", "hint"),
    [
        ("CKP0301", 'did you mean "CKP301"?'),
        ("unguarded-torchload", 'did you mean "unguarded-torch-load"?'),
        ("", "the rules are CKP"),
        ("E722", "the rules are CKP"),
        ("CKP999", "the rules are CKP"),
        ("201", 'did you mean "CKP201"?'),
    ],
)
def test_an_unknown_rule_is_answered_with_the_nearest(spelling, hint):
    with pytest.raises(registry.UnknownRuleError) as caught:
        registry.find(spelling)

    assert str(caught.value).startswith(f'there is no rule "{spelling}": ')
    assert hint in str(caught.value)


def test_selectors_expand():
    assert registry.expand("ALL") == registry.codes()
    assert registry.expand("CKP") == registry.codes()
    assert registry.expand("ckp301") == ("CKP301",)
    assert registry.expand("unguarded-torch-load") == ("CKP301",)
    assert all(code.startswith("CKP3") for code in registry.expand("CKP3"))


def test_the_command_starts_without_anything_heavy():
    heavy = ["torch", "numpy", "libcst", "hypothesis", "pytest", "pathspec", "packaging", "multiprocessing"]
    code = (
        "import sys; from lint_rules.cli import main\n"
        "try: main(['--help'])\n"
        f"except SystemExit: pass\nprint(sorted(set({heavy}) & set(sys.modules)))"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.splitlines()[-1] == "[]"
