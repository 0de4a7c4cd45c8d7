"""The format of torch.save: a zip archive of a pickle and the storages."""

from __future__ import annotations

import warnings
import zipfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import torch

from pytest_ckpt.formats import Format, location

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from torch import nn

_WORTH_MAPPING = 2**24


class TorchZip(Format):
    """`torch.save(module.state_dict(), path)` and `torch.load(path, map_location=..., weights_only=True)`."""

    name: ClassVar[str] = "torch_zip"
    summary: ClassVar[str] = "`torch.save(module.state_dict(), path)`, a zip archive"
    suffix: ClassVar[str] = ".pt"
    tagged: ClassVar[bool] = True

    def save(self, module: nn.Module, target: Any) -> None:
        """Write the module's state_dict with torch.save, without the checksums, which take as long as the writing."""
        checked = torch.serialization.get_crc32_options()
        torch.serialization.set_crc32_options(False)
        try:
            with quietly():
                torch.save(module.state_dict(), target)
        finally:
            torch.serialization.set_crc32_options(checked)

    def load(self, source: Any, device: str, template: Callable[[], Mapping[str, Any]]) -> Any:
        """Read the file with torch.load, only weights; a large one is mapped into memory rather than read."""
        del template
        mapped = device == "cpu" and isinstance(source, Path) and _worth_mapping(source)
        with quietly():
            return torch.load(source, map_location=location(device), weights_only=True, mmap=mapped)


def _worth_mapping(path: Path) -> bool:
    return path.stat().st_size >= _WORTH_MAPPING and zipfile.is_zipfile(path)


@contextmanager
def quietly() -> Iterator[None]:
    """Keep torch's warnings about its own ways of saving from the user, who has no part in them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
