"""The format of safetensors: plain tensors by name, nothing else, so a file is safe to load."""

from __future__ import annotations

import json
from collections import OrderedDict
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch.nn.parameter import is_lazy

from pytest_ckpt.compare import describe, storage_address
from pytest_ckpt.formats import Format, Unfit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

    from torch import Tensor, nn

#: What writing such a file takes; safetensors does not require NumPy by itself.
NEEDS = ("safetensors", "numpy")
_SIZE = 8  # bytes of the number that a file begins with
_METADATA = "state_dict._metadata"


class Safetensors(Format):
    """`safetensors.torch.save_file(module.state_dict(), path)` and `load_file(path)`.

    Tensors are packed before they are saved, as safetensors asks for. What it refuses by design (tied entries, values
    that are no tensors, sparse and quantized tensors) is no fault of the module. The module versions, `_metadata` of a
    state_dict, stand as JSON in the file's own metadata, so that layers which migrate old checkpoints see a new one.
    """

    name: ClassVar[str] = "safetensors"
    summary: ClassVar[str] = "`safetensors.torch.save_file(module.state_dict(), path)`, tensors only"
    suffix: ClassVar[str] = ".safetensors"
    needs: ClassVar[tuple[str, ...]] = NEEDS
    variants: ClassVar[tuple[str, ...]] = ("path", "str")

    def save(self, module: nn.Module, target: Any) -> None:
        """Write the entries of the module's state_dict."""
        from safetensors.torch import save_file

        state = module.state_dict()
        _require_plain(state)
        try:
            versions = json.dumps(getattr(state, "_metadata", {}))
        except TypeError as error:
            raise Unfit(f"the versions of the state_dict (_metadata) are no JSON: {error}") from None
        save_file({key: value.cpu().contiguous() for key, value in state.items()}, target, {_METADATA: versions})

    def load(self, source: Any, device: str, template: Callable[[], Mapping[str, Any]]) -> Any:
        """Read all entries; the metadata of a file that somebody else wrote may lack the versions."""
        from safetensors import safe_open

        del template
        with safe_open(source, framework="pt") as file:
            state = OrderedDict((key, file.get_tensor(key).to(device)) for key in file.keys())  # noqa: SIM118 -- no mapping
            versions = (file.metadata() or {}).get(_METADATA)
        if versions is not None:
            state._metadata = OrderedDict(json.loads(versions))  # type: ignore[attr-defined]  # noqa: SLF001 -- as torch keeps it
        return state

    def recognises(self, path: Path) -> bool:
        """Whether there is a file that begins as one of safetensors does: the size of a JSON object, then its brace."""
        if not path.is_file():
            return False
        with path.open("rb") as file:
            return file.read(_SIZE + 1)[_SIZE:] == b"{"


def _require_plain(state: Mapping[str, Any]) -> None:
    """Make sure that safetensors can hold a state.

    Raises:
        Unfit: It cannot; the message names the first entry that stands in the way.
    """
    known: dict[tuple[int, int], str] = {}
    for key, value in state.items():
        reason = _unfit(value)
        if reason:
            raise Unfit(f"safetensors holds plain tensors only, and {key!r} is {reason}")
        address = storage_address(value)
        if value.numel() and address:
            place = (address, value.data_ptr())
            if place in known:
                raise Unfit(f"{known[place]!r} and {key!r} share memory, and safetensors writes no tensor twice")
            known[place] = key
    _require_dtypes({value.dtype: key for key, value in state.items()}.items())


def _unfit(value: Any) -> str:
    if not isinstance(value, torch.Tensor):
        return describe(value)
    if is_lazy(value):
        return "uninitialized"
    if type(value.data) is not torch.Tensor:
        return f"a {type(value.data).__name__}"
    if value.is_nested or value.layout != torch.strided:
        return f"a tensor of the layout {str(value.layout).removeprefix('torch.')}"
    if value.device.type == "meta":
        return "on the meta device, without data"
    return "a quantized tensor" if value.is_quantized else ""


def _require_dtypes(dtypes: Iterable[tuple[torch.dtype, str]]) -> None:
    from safetensors.torch import save

    for dtype, key in dtypes:
        one: Tensor = torch.empty(0, dtype=dtype)
        try:
            save({key: one})
        except (KeyError, ValueError):
            raise Unfit(f"safetensors has no {str(dtype).removeprefix('torch.')}, the dtype of {key!r}") from None
