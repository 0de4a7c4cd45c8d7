"""The format that torch.save wrote before 1.6: pickles and storages one after the other, no archive."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import torch

from pytest_ckpt.formats import torch_zip

if TYPE_CHECKING:
    from torch import nn


class TorchLegacy(torch_zip.TorchZip):
    """`torch.save(..., _use_new_zipfile_serialization=False)`; torch.load reads it as it reads the other."""

    name: ClassVar[str] = "torch_legacy"
    summary: ClassVar[str] = "`torch.save(..., _use_new_zipfile_serialization=False)`, as torch wrote before 1.6"

    def save(self, module: nn.Module, target: Any) -> None:
        """Write the module's state_dict with torch.save, the old way."""
        with torch_zip.quietly():
            torch.save(module.state_dict(), target, _use_new_zipfile_serialization=False)
