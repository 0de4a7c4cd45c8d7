"""Show what pytest-ckpt does: round trips that pass, one that fails, and the linter on a few scripts.

Run it with `make demo`. The exit code is 0 if everything went as the text says, and 1 otherwise.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

HERE = Path(__file__).parent

#: The faults of `models.Forecaster`, by the check that finds them.
FAULTS = {
    ("unsaved-state", "scale"),
    ("unsaved-submodule", "layers"),
    ("nonpersistent-buffer", "running_mean"),
}

#: The rules that each script breaks.
SCRIPTS = {
    "lint/predict.py": ["CKP101", "CKP201"],
    "lint/evaluate.py": ["CKP201", "CKP301"],
    "lint/serve.py": [],
}

#: What the linter's fixes put into `lint/evaluate.py`.
FIXED = [
    'model.load_state_dict(torch.load(arguments.checkpoint, map_location="cpu", weights_only=True))',
    "model.eval()",
]


class Demo:
    """Prints what happens, and keeps count of what did not go as expected."""

    def __init__(self) -> None:
        self._steps = 0
        self.surprises: list[str] = []

    def step(self, title: str, *text: str) -> None:
        """Announce the next step."""
        self._steps += 1
        print(f"\n\n{self._steps}. {title}\n", *text, sep="\n", end="\n\n", flush=True)

    def expect(self, what: str, expected: Any, actual: Any) -> None:
        """Take note if something is not as announced."""
        if expected != actual:
            self.surprises.append(f"{what}: expected {expected}, got {actual}")

    def command(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run a command of this installation in the folder of the examples, and show it as typed, with its output."""
        print("$", shlex.join(words))
        module = {"ckpt-lint": "lint_rules", "pytest": "pytest"}[words[0]]
        done = subprocess.run(
            [sys.executable, "-m", module, *words[1:]],
            cwd=HERE,
            env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1", "NO_COLOR": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            check=False,
        )
        print(done.stdout, end="")
        print(f"[exit code {done.returncode}]\n", flush=True)
        return done


def passing_round_trips(demo: Demo) -> None:
    """Round-trip three correct models."""
    import torch
    from models import ImageClassifier, Tagger, tiny_gpt2, train_classifier
    from transformers.utils.logging import disable_progress_bar

    from pytest_ckpt import check_module

    disable_progress_bar()
    demo.step(
        "Round trips that pass",
        "Each model is saved, loaded into a fresh one, and compared: keys, dtypes, shapes, bits, ties, flags, outputs.",
        "A leg that needs a GPU is simulated where it can be, and otherwise skipped with the reason, never passed.",
    )
    cases: list[tuple[str, Callable[[], Any], dict[str, Any]]] = [
        (
            "a CNN with BatchNorm and dropout, after some training",
            ImageClassifier,
            {"inputs": torch.randn(2, 3, 16, 16), "prepare": train_classifier},
        ),
        ("a bidirectional LSTM", Tagger, {"inputs": torch.randint(50, (2, 7))}),
        (
            "transformers' GPT-2, its output layer tied to its embedding",
            tiny_gpt2,
            {"inputs": {"input_ids": torch.randint(64, (2, 7))}},
        ),
        (
            "the same through its own save_pretrained and from_pretrained",
            tiny_gpt2,
            {
                "inputs": {"input_ids": torch.randint(64, (2, 7))},
                "save": lambda model, path: model.save_pretrained(path),
                "load": _from_pretrained,
            },
        ),
    ]
    for text, make, arguments in cases:
        report = check_module(make, **arguments)
        summary, *legs = report.text().splitlines()
        print(f"{text}:", f"  {summary}", sep="\n", flush=True)
        demo.expect(f"findings of {text}", (), report.findings)
    print("\nThe legs of the last one, whose files torch.save does not write:", *legs, sep="\n", flush=True)


def _from_pretrained(path: Path) -> Any:
    from transformers import GPT2LMHeadModel

    return GPT2LMHeadModel.from_pretrained(path)


def failing_round_trip(demo: Demo) -> None:
    """Round-trip a model that keeps part of its state where no checkpoint sees it."""
    import torch
    from models import Forecaster, train_forecaster

    from pytest_ckpt import check_module

    demo.step(
        "A round trip that fails",
        "Forecaster keeps a tensor in a plain attribute, its layers in a Python list, and a running mean in a buffer",
        "with persistent=False. torch saves and loads it without a word; the report names all three and says what to",
        "type instead.",
    )
    report = check_module(Forecaster, inputs=torch.randn(2, 4), prepare=train_forecaster)
    print(report.text(), flush=True)
    demo.expect("findings of Forecaster", FAULTS, {(finding.category, finding.key) for finding in report.findings})


def pytest_fixture(demo: Demo) -> None:
    """Run a test suite that uses the fixture."""
    demo.step(
        "The same in a test suite",
        "test_models.py hands every model of models.py to the fixture ckpt_roundtrip.",
    )
    done = demo.command("pytest", "-p", "no:cacheprovider", "-q", "test_models.py")
    demo.expect("exit code of pytest", 0, done.returncode)


def linter(demo: Demo) -> None:
    """Lint three scripts, and show what fixing would change."""
    demo.step(
        "The linter",
        "Two scripts with faults, and one that does the same correctly. Only the first two are reported.",
        "Their project supports torch 2.4, where torch.load still runs the code that a file holds.",
    )
    done = demo.command("ckpt-lint", *SCRIPTS)
    demo.expect("exit code of ckpt-lint", 1, done.returncode)
    demo.expect("rules by script", SCRIPTS, _rules_by_script(done.stdout))
    print("What its fixes would change in the second script; --fix would write it:\n")
    done = demo.command("ckpt-lint", "--diff", "--unsafe-fixes", "lint/evaluate.py")
    demo.expect("exit code of ckpt-lint --diff", 1, done.returncode)
    added = [line[1:].strip() for line in done.stdout.splitlines() if re.match(r"\+(?!\+)", line)]
    demo.expect("lines that the fixes add", FIXED, added)


def _rules_by_script(output: str) -> dict[str, list[str]]:
    """Read from the linter's output which rules it reports where."""
    found: dict[str, list[str]] = {script: [] for script in SCRIPTS}
    for script, code in re.findall(r"^([\w/.]+):\d+:\d+: (CKP\d+)", output, re.MULTILINE):
        found[script].append(code)
    return {script: sorted(codes) for script, codes in found.items()}


def main() -> int:
    """Run every step.

    Returns:
        The exit code.
    """
    import torch

    torch.manual_seed(0)
    demo = Demo()
    print("pytest-ckpt: what it does, on real models and real scripts", flush=True)
    for step in (passing_round_trips, failing_round_trip, pytest_fixture, linter):
        step(demo)
    if demo.surprises:
        print("\nNot as expected:", *demo.surprises, sep="\n  ")
        return 1
    print("\nAll of this went as announced. How to go on: README.md.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
