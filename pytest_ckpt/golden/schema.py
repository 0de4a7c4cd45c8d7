"""Describes a module and its state the way a manifest does, and makes a state of what a manifest describes."""

from __future__ import annotations

import json
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

import torch

from pytest_ckpt.compare import entries, nonpersistent
from pytest_ckpt.compatibility.agreement import wide
from pytest_ckpt.compatibility.old import identity
from pytest_ckpt.findings import UsageError
from pytest_ckpt.golden.files import digest
from pytest_ckpt.moment import attributes

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor, nn

    from pytest_ckpt.golden.manifest import Line, Manifest

_SEED = 11
_PLAIN = torch.nn.Module._version  # noqa: SLF001 -- torch has no public name for it


def entry_lines(module: nn.Module, state: Mapping[str, Any], *, digests: bool) -> dict[str, Line]:
    """Describe every entry of a state_dict; with `digests`, by digests and statistics too."""
    live = entries(module)
    parameters = {name for name, one in live.items() if isinstance(one, torch.nn.Parameter)}
    return {name: _line(value, _kind(name, live, parameters), digests=digests) for name, value in state.items()}


def _kind(name: str, live: Mapping[str, Tensor], parameters: set[str]) -> str:
    if name in parameters:
        return "parameter"
    return "buffer" if name in live else "entry"


def _line(value: Any, kind: str, *, digests: bool) -> Line:
    if not isinstance(value, torch.Tensor):
        return {"kind": "value", "json": _as_json(value)}
    line = {"kind": kind, **tensor_line(value)}
    return {**line, "digest": digest(value), **statistics(value)} if digests else line


def tensor_line(tensor: Tensor) -> Line:
    """Give dtype and shape."""
    return {"dtype": str(tensor.dtype).removeprefix("torch."), "shape": list(tensor.shape)}


def statistics(tensor: Tensor) -> Line:
    """Give mean, smallest and largest of a tensor of numbers, to four digits."""
    if not tensor.numel() or tensor.dtype.is_complex or tensor.dtype == torch.bool:
        return {}
    values = wide(tensor.detach().cpu())
    figures = {"mean": values.mean(), "min": values.min(), "max": values.max()}
    return {name: float(f"{float(value):.4g}") for name, value in figures.items()}


def _as_json(value: Any) -> str:
    try:
        text = json.dumps(value, sort_keys=True)
    except (TypeError, ValueError):
        return ""
    return text if json.loads(text) == value else ""


def unstorable(state: Mapping[str, Any]) -> str:
    """Name an entry that safetensors cannot hold; empty where there is none."""
    for name, value in state.items():
        if isinstance(value, torch.Tensor):
            dense = value.layout == torch.strided and not value.is_quantized and not value.is_nested
            if not dense or type(value.data) is not torch.Tensor or value.device.type == "meta":
                return name
        elif not _as_json(value):
            return name
    return ""


def ties(state: Mapping[str, Any]) -> dict[str, str]:
    """Give names that are one tensor with an earlier one, and that one's name."""
    first: dict[Any, str] = {}
    found = {}
    for name, value in state.items():
        if isinstance(value, torch.Tensor) and (known := first.setdefault(identity(value), name)) != name:
            found[name] = known
    return found


def buffer_lines(module: nn.Module) -> dict[str, Line]:
    """Describe the buffers that a state_dict leaves out."""
    return {name: tensor_line(one) for name, one in nonpersistent(module).items()}


def module_lines(module: nn.Module) -> dict[str, Line]:
    """Describe every submodule: its class, its version where it has one of its own, its settings."""
    return {
        path: {"class": type(one).__name__, **_version(one), **settings(one)} for path, one in module.named_modules()
    }


def _version(module: nn.Module) -> Line:
    version = module._version  # noqa: SLF001 -- what state_dict writes into its metadata
    return {} if version == _PLAIN else {"version": version}


def settings(module: nn.Module) -> Line:
    """Give the numbers, flags and words that a submodule holds as attributes with names that TOML takes bare."""
    return {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in attributes(module).items()
        if name.isidentifier()
        and name.isascii()
        and name[0] != "_"
        and name not in {"class", "version"}
        and _is_plain(value)
    }


def _is_plain(value: Any) -> bool:
    if isinstance(value, tuple):
        return all(type(one) in {int, float, bool, str} for one in value)
    return type(value) in {int, float, bool, str}


def restored(manifest: Manifest, tensors: Mapping[str, Tensor] | None) -> OrderedDict[str, Any]:
    """Make the state_dict that a manifest describes.

    Args:
        manifest: The manifest.
        tensors: The stored tensors, tied ones once; None to make up some of the right kind.
    """
    made = _made_up(manifest) if tensors is None else tensors
    state: OrderedDict[str, Any] = OrderedDict()
    for name, line in manifest.entries.items():
        if line["kind"] == "value":
            if line["json"]:
                state[name] = json.loads(line["json"])
        else:
            state[name] = made[manifest.ties.get(name, name)]
    versions = {path: {"version": line.get("version", _PLAIN)} for path, line in manifest.modules.items()}
    state._metadata = OrderedDict(versions)  # type: ignore[attr-defined]  # noqa: SLF001 -- what load_state_dict reads
    return state


def _made_up(manifest: Manifest) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(_SEED)
    found = {}
    for name, line in manifest.entries.items():
        if line["kind"] != "value":
            dtype = getattr(torch, str(line["dtype"]), None)
            if not isinstance(dtype, torch.dtype):
                raise UsageError(
                    f"the golden's entry {name!r} has the dtype {line['dtype']!r}, which torch does not know"
                )
            found[name] = torch.rand(line["shape"], generator=generator).to(dtype)
    return found
