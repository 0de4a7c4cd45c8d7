"""Check: a derived value that loading does not renew."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import nn

from pytest_ckpt.checks import Case, Check, Stage
from pytest_ckpt.findings import Finding

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_ckpt.trip import Trip


class StaleCache(Check):
    """A value that was computed from the weights is still that of the old weights after loading.

    ## What it checks

    An attribute or a non-persistent buffer decides the outputs, and the constructor computes it from the module's own
    parameters or buffers. Or it was computed by a forward before loading, and stays.

    ## Why it matters

    After `load_state_dict` the parameters are new and the value derived from them is old. The module computes with a
    mix of both, and nothing in the state_dict shows it.

    ## How it is found

    As for unsaved-state; then a fresh module is built while the operations of its constructor are recorded, which
    tells whether the value comes from the module's entries. Where a forward sets attributes or fills a cache of
    functools, another fresh module runs before it is loaded, as a model in use that gets new weights; it must then
    compute what the saved one computes, without another `eval()`. A module whose second run differs from its first by
    itself, such as one that keeps a stream, is left alone.

    ## What to do

    Compute it in `forward`, or again after loading with `self.register_load_state_dict_post_hook(lambda module, keys:
    module.renew())`.

    ## References

    - [torch.nn.Module.register_load_state_dict_post_hook](https://docs.pytorch.org/docs/stable/generated/torch.nn.Module.html)
    - [vllm-project/vllm#57638](https://github.com/vllm-project/vllm/issues/57638)
    """

    name: ClassVar[str] = "stale-cache"
    summary: ClassVar[str] = "a value computed from the weights is not renewed by loading"
    stage: ClassVar[Stage] = Stage.VALUES

    def run(self, trip: Trip) -> Iterator[Finding]:
        for culprit in trip.outputs.culprits:
            if culprit.kind == "derived":
                yield Finding(
                    self.name,
                    culprit.key,
                    f"the value is computed from the weights in __init__ and not again after loading ({culprit.place})",
                    "compute it in forward, or again in a self.register_load_state_dict_post_hook(...)",
                    culprit.expected,
                    culprit.actual,
                )
        for culprit in trip.warm.culprits:
            yield Finding(
                self.name,
                culprit.key,
                f"a module that ran before loading still uses what it kept of its former weights ({culprit.place})",
                "drop it after loading: self.register_load_state_dict_post_hook(...) that sets it to None",
                culprit.expected,
                culprit.actual,
            )

    @staticmethod
    def failing() -> Case:
        return Case(_ComputedOnce, key="inverse", arguments={"inputs": torch.ones(2, 3)})

    @staticmethod
    def passing() -> Case:
        return Case(_Renewed, arguments={"inputs": torch.ones(2, 3)})


class _ComputedOnce(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.rand(3) + 1)
        self.inverse = 1 / self.scale.detach()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.inverse


class _Renewed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.rand(3) + 1)
        self.inverse = 1 / self.scale.detach()
        self.register_load_state_dict_post_hook(self._renew)  # type: ignore[no-untyped-call]

    @staticmethod
    def _renew(module: nn.Module, _keys: Any) -> None:
        assert isinstance(module, _Renewed)  # noqa: S101 -- a hook is given any module
        module.inverse = 1 / module.scale.detach()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.inverse
