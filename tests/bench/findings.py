"""Count what `ckpt-lint` finds in libraries with every rule on, for docs/explanation/findings-in-libraries.md.

    pip download --no-deps accelerate diffusers lightning timm torch_geometric transformers ultralytics
    for wheel in *.whl; do unzip -q "$wheel"; done
    python tests/bench/findings.py accelerate diffusers lightning timm torch_geometric transformers ultralytics [--list]

A folder is what a wheel unpacks to, beside the `.dist-info` that tells its version. With `--list`, every finding
follows on a line of its own, to be read at its place.
"""

from __future__ import annotations

import argparse
import os
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from lint_rules.config import Overrides, Resolver
from lint_rules.output import renderer
from lint_rules.runner import Runner

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from lint_rules.runner import Result


def lint(folder: Path) -> Result:
    """Apply every rule to a folder, whose files are named from beside it."""
    os.chdir(folder.parent)
    return Runner(Resolver(Overrides(select=("ALL",)))).run([folder.name])


def version(folder: Path) -> str:
    """Give the version that the wheel's metadata says."""
    (metadata,) = folder.parent.glob(f"{folder.name}-*.dist-info")
    return metadata.name.removesuffix(".dist-info").rpartition("-")[2]


def table(results: Mapping[Path, Result]) -> Iterator[str]:
    """Yield a Markdown table with a column for each rule that finds something."""
    counts = {folder: Counter(each.code for each in result.findings) for folder, result in results.items()}
    codes = sorted(set().union(*counts.values()))
    columns = ["library", "version", "files", *codes, "all"]
    yield f"| {' | '.join(columns)} |"
    yield "|---" * len(columns) + "|"
    for folder, found in counts.items():
        row = [folder.name, version(folder), f"{results[folder].files:,}", *(found[code] for code in codes)]
        yield f"| {' | '.join(map(str, [*row, found.total()]))} |"


def main(say: Callable[[str], None]) -> None:
    """Print the table, and what it counts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", type=Path, nargs="+")
    parser.add_argument("--list", action="store_true", help="print every finding too")
    args = parser.parse_args()
    results = {folder: lint(folder) for folder in map(Path.resolve, args.folders)}
    for line in table(results):
        say(line)
    for result in results.values() if args.list else ():
        for line in renderer("concise")(result, color=False):
            say(line)


if __name__ == "__main__":
    main(lambda line: print(line, flush=True))  # noqa: T201 -- a script's output
