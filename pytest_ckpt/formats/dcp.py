"""The format of torch.distributed.checkpoint: a folder of shards that are read into an existing state_dict."""

from __future__ import annotations

import copy
import re
from typing import TYPE_CHECKING, Any, ClassVar

import torch

from pytest_ckpt import places
from pytest_ckpt.formats import Format, Unfit, torch_zip

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from torch import nn

_RANKS = re.compile(r"[1-9]\d?:[1-9]\d?")


class Dcp(Format):
    """`torch.distributed.checkpoint.save(module.state_dict(), checkpoint_id=path)` and `load`.

    Without ranks it runs in this process and needs no process group. Loading reads into the state_dict of a fresh
    module, as it always does: an entry that this one does not have is left out, and a value is cast to its dtype.
    """

    name: ClassVar[str] = "dcp"
    summary: ClassVar[str] = "`torch.distributed.checkpoint.save` and `load`, in this process or with ranks"
    suffix: ClassVar[str] = ""
    into: ClassVar[bool] = True
    variants: ClassVar[tuple[str, ...]] = ("N:M",)

    @classmethod
    def accepts(cls, variant: str) -> bool:
        """Whether the words are numbers of ranks to save and to load with, such as `2:1`."""
        return _RANKS.fullmatch(variant) is not None

    @property
    def ranks(self) -> tuple[int, int] | None:
        """With how many ranks it is saved and loaded; None for this process alone."""
        saving, _, loading = self.variant.partition(":")
        return (int(saving), int(loading)) if loading else None

    @property
    def absent(self) -> str:
        """Why the format cannot be used here: a torch without torch.distributed."""
        return "" if torch.distributed.is_available() else f"torch {torch.__version__} is built without distributed"

    def save(self, module: nn.Module, target: Any) -> None:
        """Write the module's state_dict as shards of one rank."""
        from torch.distributed.checkpoint.state_dict_saver import save

        state = module.state_dict()
        for key, value in state.items():
            if isinstance(value, torch.Tensor) and (value.is_nested or value.layout != torch.strided):
                layout = "nested" if value.is_nested else str(value.layout).removeprefix("torch.")
                raise Unfit(f"torch.distributed.checkpoint writes dense tensors only, and {key!r} is {layout}")
        with torch_zip.quietly(), places.plainly():
            save(state, checkpoint_id=target, no_dist=True)

    def load(self, source: Any, device: str, template: Callable[[], Mapping[str, Any]]) -> Any:
        """Read the entries of a fresh module's state_dict into copies of them."""
        from torch.distributed.checkpoint.state_dict_loader import load

        del device
        state: Any = copy.copy(template())  # its own copy() would lose the versions in `_metadata`
        for key, value in state.items():
            if isinstance(value, torch.Tensor):
                state[key] = value.detach().clone()
        with torch_zip.quietly(), places.plainly():
            load(state, checkpoint_id=source, no_dist=True)
        return state

    def recognises(self, path: Path) -> bool:
        """Whether there is a folder with the metadata of all shards."""
        return (path / ".metadata").is_file()
