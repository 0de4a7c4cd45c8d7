"""The manifest of a golden: a text made for reading in a pull request, one line an entry.

It is TOML, in sorted order, so that a change of the code changes the lines that it is about and no others. Nothing in
it differs from machine to machine: digests are those of the stored checkpoint, whose bits are the same everywhere.
"""

from __future__ import annotations

import json
import re
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pytest_ckpt.compatibility.renames import natural
from pytest_ckpt.findings import UsageError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

FORMAT = 1
_HEADER = "# A checkpoint that this code wrote, kept by pytest-ckpt. Read it like code; renew it: pytest --ckpt-update"
_CONFLICT = re.compile(r"^(<{7} |={7}$|>{7} |\|{7} )", re.MULTILINE)
_LFS = "version https://git-lfs."
_TABLES = ("entries", "ties", "buffers", "modules", "inputs", "outputs")
_RENEW = "bring it back with git checkout, or write it anew with: pytest --ckpt-update"

Line = dict[str, Any]


@dataclass(frozen=True)
class Manifest:
    """What a manifest says.

    Attributes:
        module: Class name of the module.
        torch: The version of torch that wrote it.
        alone: Why there is no checkpoint beside it; empty where there is one.
        entries: For each entry of the state_dict its kind, dtype and shape; with a checkpoint a digest and statistics.
        ties: Names and those that they are one tensor with.
        buffers: Dtype and shape of the buffers that are not saved.
        modules: For each submodule its class, its version where it has one, and its settings.
        inputs: Dtype and shape of the inputs.
        outputs: Dtype and shape of the outputs, with statistics; the value where it is no tensor.
    """

    module: str
    torch: str
    alone: str = ""
    entries: Mapping[str, Line] = field(default_factory=dict)
    ties: Mapping[str, str] = field(default_factory=dict)
    buffers: Mapping[str, Line] = field(default_factory=dict)
    modules: Mapping[str, Line] = field(default_factory=dict)
    inputs: Mapping[str, Line] = field(default_factory=dict)
    outputs: Mapping[str, Line] = field(default_factory=dict)

    @property
    def layout(self) -> tuple[Any, ...]:
        """What decides whether a checkpoint of one version is one of another: names, kinds, dtypes, shapes and ties."""
        lines = {name: (line["kind"], line.get("dtype"), line.get("shape")) for name, line in self.entries.items()}
        return lines, dict(self.ties)

    def text(self) -> str:
        """Write the manifest."""
        return "\n".join(self._lines()) + "\n"

    def _lines(self) -> Iterator[str]:
        yield _HEADER
        yield f"format = {FORMAT}"
        yield f"module = {_value(self.module)}"
        yield f"torch = {_value(self.torch)}"
        if self.alone:
            yield f"alone = {_value(self.alone)}"
        for name in _TABLES:
            table: Mapping[str, Any] = getattr(self, name)
            if table:
                yield ""
                yield f"[{name}]"
                yield from (
                    f"{json.dumps(key, ensure_ascii=False)} = {_value(table[key])}"
                    for key in sorted(table, key=natural)
                )


def _value(value: Any) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {_value(item)}" for key, item in value.items()) + " }"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(_value, value)) + "]"
    if isinstance(value, (bool, str)):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return repr(value)


def read(path: Path) -> Manifest:
    """Read a manifest.

    Raises:
        UsageError: It is damaged, has been edited to something else, or comes from a newer version of pytest-ckpt.
    """
    name = f"golden {'/'.join(path.parts[-3:])}"
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{name} cannot be read ({error}): {_RENEW}") from None
    if conflict := _CONFLICT.search(text):
        line = text.count("\n", 0, conflict.start()) + 1
        raise UsageError(
            f"{name} has merge conflict markers (line {line}): both branches changed it. Take one side, git checkout "
            f"--theirs or --ours, for all files of the golden, then run: pytest --ckpt-update"
        )
    if text.startswith(_LFS):
        raise UsageError(f"{name} is a pointer of Git LFS and not the file: run git lfs pull")
    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{name} is no longer TOML ({error}): {_RENEW}") from None
    return _checked(name, content)


def _checked(name: str, content: Mapping[str, Any]) -> Manifest:
    version = content.get("format")
    if isinstance(version, int) and version > FORMAT:
        raise UsageError(
            f"{name} has format {version}, and this pytest-ckpt reads formats up to {FORMAT}: it was written by a "
            "newer version; install that one"
        )
    if version != FORMAT:
        raise UsageError(f"{name} has format {version!r}, which no version of pytest-ckpt has written: {_RENEW}")
    try:
        tables: dict[str, Any] = {key: dict(content.get(key, {})) for key in _TABLES}
        manifest = Manifest(content["module"], content["torch"], content.get("alone", ""), **tables)
        for line in manifest.entries.values():
            _require(line, manifest)
    except (KeyError, TypeError, ValueError) as error:
        raise UsageError(f"{name} lacks something that every manifest has ({error}): {_RENEW}") from None
    return manifest


def _require(line: Line, manifest: Manifest) -> None:
    wanted = ("kind", "json") if line["kind"] == "value" else ("kind", "dtype", "shape")
    for key in wanted if manifest.alone or line["kind"] == "value" else (*wanted, "digest"):
        line[key]  # raises KeyError
