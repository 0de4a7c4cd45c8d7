"""Holds the goldens of one test against today's code, and writes them where an update flag asks for it."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import torch
from torch.utils._pytree import tree_flatten, tree_unflatten

from pytest_ckpt.compare import entries
from pytest_ckpt.compatibility.judge import CATEGORIES, Judge
from pytest_ckpt.distinguish import distinguish
from pytest_ckpt.findings import LegResult, Report, UsageError
from pytest_ckpt.golden import MOST_BYTES, schema
from pytest_ckpt.golden.files import digest, packed, unpacked, write
from pytest_ckpt.golden.manifest import Manifest, read
from pytest_ckpt.outputs import ForwardError, Runner, kept_randomness, leaves, same_randomness, set_mode

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from torch import Tensor, nn

    from pytest_ckpt.call import Call
    from pytest_ckpt.options import Update


@dataclass
class Goldens:
    """The goldens of one test: a folder with a manifest, a checkpoint and outputs for each generation.

    Attributes:
        folder: Where they are.
        call: Today's factory and loader.
        update: What the session may write.
        tolerance: Largest absolute difference of an output; None for the measured one.
        most_bytes: Size of a state_dict up to which a checkpoint is kept.
        written: Manifests that were written.
    """

    folder: Path
    call: Call
    update: Update
    tolerance: float | None = None
    most_bytes: int = MOST_BYTES
    written: list[Path] = field(default_factory=list)

    @property
    def manifests(self) -> list[Path]:
        """The manifests of all generations, the oldest first."""
        found = {path: path.stem[1:] for path in self.folder.glob("v*.toml")}
        return sorted((path for path, number in found.items() if number.isdecimal()), key=lambda path: int(found[path]))

    def check(self) -> Report:
        """Hold every generation against today's code, after writing what the update flag asks for.

        Raises:
            UsageError: There is no golden and none may be written, or one is damaged.
        """
        with kept_randomness():
            if not self.manifests:
                self._first()
            reports = {path: self._try(path) for path in self.manifests}
            latest = self.manifests[-1]
            if reports[latest] is None or not reports[latest].ok:  # type: ignore[union-attr]  # None comes first
                reports[latest] = self._renewed(latest)
            elif self.update and all(report is not None and report.ok for report in reports.values()):
                reports.update(self._next(latest))
        return self._merged({path: report for path, report in reports.items() if report is not None})

    # -------------------------------------------------------------------------------------------------------- check

    def _try(self, path: Path) -> Report | None:
        """Hold one generation against today's code; None where it is the newest, damaged, and may be renewed."""
        try:
            return self._held(path)
        except UsageError:
            if path == self.manifests[-1]:
                return None
            raise

    def _held(self, path: Path) -> Report:
        manifest = read(path)
        self._require_same_module(path, manifest)
        stored, call, expected = None, replace(self.call, runner=Runner(None)), None
        if not manifest.alone:
            lines = {name: one for name, one in manifest.entries.items() if one["kind"] != "value"}
            own = {name: one for name, one in lines.items() if name not in manifest.ties}
            stored = unpacked(path.with_suffix(".safetensors"), _kinds(own))
            self._require_digests(path, own, stored)
            if manifest.outputs and self.call.runner.given:
                call, expected = self._inputs_and_outputs(path, manifest)
        state = schema.restored(manifest, stored)
        judge = Judge(call, state, expected, self.tolerance, _settings(manifest))
        return replace(judge.report(), legs=(LegResult(_leg(path), "real"),))

    def _require_same_module(self, path: Path, manifest: Manifest) -> None:
        today = self.call.build()
        names = set(today.state_dict())
        shared = len(names & manifest.entries.keys())
        other = type(today).__name__ != manifest.module
        if other and names and manifest.entries and 2 * shared < min(len(names), len(manifest.entries)):
            raise UsageError(
                f"the golden {_shown(path)} is of another module: it holds {len(manifest.entries)} entries of "
                f"{manifest.module}, {shared} of which {type(today).__name__} has. Give the call a name of its own "
                "(name=...), or write the golden anew with: pytest --ckpt-update"
            )

    def _require_digests(self, path: Path, lines: Mapping[str, Any], stored: Mapping[str, Tensor]) -> None:
        wrong = [name for name, tensor in stored.items() if digest(tensor) != lines[name]["digest"]]
        if wrong:
            raise UsageError(
                f"the golden {_shown(path)} was edited or damaged: the bits of {wrong[0]!r} in the checkpoint are not "
                "those of the manifest's digest. Bring back all files of the golden with git checkout, or write them "
                "anew with: pytest --ckpt-update"
            )

    def _inputs_and_outputs(self, path: Path, manifest: Manifest) -> tuple[Call, dict[str, Any]]:
        """Read the stored inputs into the structure of today's, and the outputs."""
        tensors = {name: one for name, one in manifest.outputs.items() if "dtype" in one}
        kinds = _kinds({**_named("inputs", manifest.inputs), **_named("outputs", tensors)})
        stored = unpacked(path.with_suffix(".outputs.safetensors"), kinds)
        given, structure = tree_flatten(self.call.runner.inputs)
        places = [at for at, leaf in enumerate(given) if isinstance(leaf, torch.Tensor)]
        if [str(at) for at in places] != list(manifest.inputs):
            raise UsageError(
                f"the golden {_shown(path)} was recorded with other inputs ({len(manifest.inputs)} tensors, today "
                f"{len(places)}): give those again, or write it anew with: pytest --ckpt-update"
            )
        for at in places:
            given[at] = stored[f"inputs.{at}"]
        expected = {
            place: stored[f"outputs.{place}"] if "dtype" in line else json.loads(line["json"])
            for place, line in manifest.outputs.items()
        }
        return replace(self.call, runner=Runner(tree_unflatten(given, structure))), expected

    def _merged(self, reports: Mapping[Path, Report]) -> Report:
        last = list(reports.values())[-1]
        findings = [replace(one, leg=_leg(path)) for path, report in reports.items() for one in report.findings]
        notes = [note for report in reports.values() for note in report.notes]
        if findings:
            notes.append("if the change is meant, pytest --ckpt-update writes the newest golden anew")
        elif self._is_new_layout(list(reports)[-1]):
            notes.append("today's checkpoints have another layout: pytest --ckpt-update-new-only adds a golden of it")
        return Report(
            last.subject,
            last.entries,
            tuple(findings),
            tuple(leg for report in reports.values() for leg in report.legs),
            CATEGORIES,
            tuple(dict.fromkeys(notes)),
        )

    # -------------------------------------------------------------------------------------------------------- write

    def _first(self) -> None:
        if not self.update:
            raise UsageError(
                f"there is no golden in {self.folder}: write the first one with pytest --ckpt-update-new-only, look at "
                "the manifest, and commit it"
            )
        self._write(self.folder / "v1.toml")

    def _renewed(self, latest: Path) -> Report:
        if self.update == "all":
            self._write(latest)
        return self._held(latest)

    def _next(self, latest: Path) -> Iterator[tuple[Path, Report]]:
        """Add a generation where today's code writes another layout than the newest golden has."""
        if self._is_new_layout(latest):
            path = latest.with_name(f"v{int(latest.stem[1:]) + 1}.toml")
            self._write(path)
            yield path, self._held(path)

    def _is_new_layout(self, latest: Path) -> bool:
        module = self.call.build()
        state = module.state_dict()
        today = Manifest("", "", entries=schema.entry_lines(module, state, digests=False), ties=schema.ties(state))
        return today.layout != read(latest).layout

    def _write(self, path: Path) -> None:
        module = self._module()
        state = module.state_dict()
        size = sum(
            one.nbytes for one in state.values() if isinstance(one, torch.Tensor) and one.layout == torch.strided
        )
        alone = ""
        if size > self.most_bytes:
            alone = f"the state_dict has {size} bytes, more than {self.most_bytes}"
        elif name := schema.unstorable(state):
            alone = f"safetensors cannot hold {name!r}"
        inputs, outputs = ({}, {}) if alone else self._run(module)
        manifest = Manifest(
            type(module).__name__,
            str(torch.__version__).partition("+")[0],
            alone,
            schema.entry_lines(module, state, digests=not alone),
            schema.ties(state),
            schema.buffer_lines(module),
            schema.module_lines(module),
            {name: schema.tensor_line(one) for name, one in inputs.items()},
            {place: _output_line(value) for place, value in outputs.items()},
        )
        contents = {}
        if not alone:
            own = {
                name: one for name, one in state.items() if isinstance(one, torch.Tensor) and name not in manifest.ties
            }
            contents[path.with_suffix(".safetensors")] = packed(own)
        if outputs:
            tensors = {place: one for place, one in outputs.items() if isinstance(one, torch.Tensor)}
            stored = packed({**_named("inputs", inputs), **_named("outputs", tensors)})
            contents[path.with_suffix(".outputs.safetensors")] = stored
        write({**contents, path: manifest.text().encode()})
        self.written.append(path)

    def _module(self) -> nn.Module:
        """Build the module whose state is kept, and move its numbers, so that each entry can be told from a default."""
        with same_randomness():
            natural = self._prepared()
        with same_randomness():
            moved = self._prepared()
        floating = {name: one for name, one in entries(moved).items() if one.dtype.is_floating_point}
        distinguish(floating, seed=0)
        if not self.call.runner.given:
            return moved
        try:
            outputs = leaves(self.call.runner(_in_eval(moved)))
        except ForwardError:
            return natural
        return moved if all(map(_is_finite, outputs.values())) else natural

    def _prepared(self) -> nn.Module:
        module = self.call.build()
        if self.call.prepare is not None:
            self.call.prepare(module)
        return module

    def _run(self, module: nn.Module) -> tuple[dict[str, Tensor], dict[str, Any]]:
        if not self.call.runner.given:
            return {}, {}
        given, _ = tree_flatten(self.call.runner.inputs)
        inputs = {str(at): leaf for at, leaf in enumerate(given) if isinstance(leaf, torch.Tensor)}
        try:
            outputs = leaves(self.call.runner(_in_eval(module)))
        except ForwardError as error:
            raise UsageError(
                f"forward of {type(module).__name__} raised {error} on the inputs that were given, "
                f"{self.call.runner.describe()}: give what forward takes"
            ) from None
        return inputs, {place: value for place, value in outputs.items() if _is_storable(value)}


def _in_eval(module: nn.Module) -> nn.Module:
    set_mode(module, training=False)
    return module


def _kinds(lines: Mapping[str, Any]) -> dict[str, tuple[str, list[int]]]:
    return {name: (line["dtype"], line["shape"]) for name, line in lines.items()}


def _named(group: str, values: Mapping[str, Any]) -> dict[str, Any]:
    return {f"{group}.{name}": value for name, value in values.items()}


def _output_line(value: Any) -> dict[str, Any]:
    if isinstance(value, torch.Tensor):
        return {**schema.tensor_line(value), **schema.statistics(value)}
    return {"json": json.dumps(value)}


def _is_storable(value: Any) -> bool:
    if isinstance(value, torch.Tensor):
        return value.layout == torch.strided and not value.is_quantized
    return value is None or isinstance(value, (bool, int, str))


def _is_finite(value: Any) -> bool:
    inexact = isinstance(value, torch.Tensor) and (value.dtype.is_floating_point or value.dtype.is_complex)
    return not inexact or bool(value.isfinite().all())


def _settings(manifest: Manifest) -> dict[str, dict[str, Any]]:
    return {
        path: {name: value for name, value in line.items() if name not in {"class", "version"}}
        for path, line in manifest.modules.items()
    }


def _leg(path: Path) -> str:
    return f"golden {path.stem}"


def _shown(path: Path) -> str:
    return "/".join(path.parts[-3:])
