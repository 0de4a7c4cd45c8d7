"""The format of torch.save: a zip archive of a pickle and the storages."""

from __future__ import annotations

import warnings
import zipfile
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ClassVar

import torch

from pytest_ckpt.formats import Format

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from torch import nn

_WORTH_MAPPING = 2**24


class TorchZip(Format):
    """`torch.save(module.state_dict(), path)` and `torch.load(path, map_location=..., weights_only=True)`."""

    name: ClassVar[str] = "torch_zip"
    suffix: ClassVar[str] = ".pt"

    def save(self, module: nn.Module, path: Path) -> None:
        """Write the module's state_dict with torch.save."""
        with _quietly():
            torch.save(module.state_dict(), path)

    def load(self, path: Path, device: str) -> Any:
        """Read the file with torch.load, only weights; a large one is mapped into memory rather than read."""
        mapped = device == "cpu" and path.stat().st_size >= _WORTH_MAPPING and zipfile.is_zipfile(path)
        with _quietly():
            return torch.load(path, map_location=device, weights_only=True, mmap=mapped)


@contextmanager
def _quietly() -> Iterator[None]:
    """Keep torch's warnings about its own ways of saving from the user, who has no part in them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
