"""Whether today's outputs are those that an older version gave, as far as rounding allows.

Another processor or another torch adds up in another order, so outputs cannot be compared by bits. How much that may
change is measured and not guessed: the module runs in double precision as well, and what its own rounding makes of the
outputs, times `ROUNDINGS`, is what is tolerated.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from pytest_ckpt.compare import describe, spread
from pytest_ckpt.outputs import ForwardError, close, leaves

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor, nn

    from pytest_ckpt.outputs import Runner

#: How many times its own rounding error an output may differ from the old one.
ROUNDINGS = 16
#: The same for dtypes of two bytes and less, whose rounding is coarse.
ROUNDINGS_OF_HALF = 4
#: Units in the last place of the largest element that are tolerated where rounding cannot be measured.
UNMEASURED = 64
_FAR = float("inf")


class Agreement:
    """The old outputs, and how far from them today's may be.

    Attributes:
        unstable: Places that change with the seed, which are not compared.
    """

    def __init__(
        self, expected: Mapping[str, Any], errors: Mapping[str, float] | None = None, tolerance: float | None = None
    ) -> None:
        """Take the old outputs.

        Args:
            expected: What the older version gave, as `leaves` gives it.
            errors: Rounding errors of today's code by place, as `rounding_errors` gives them.
            tolerance: Largest absolute difference to accept instead of the measured one.
        """
        self._expected = {place: _plain(value) for place, value in expected.items()}
        self._errors = errors or {}
        self._given = tolerance
        self.unstable: frozenset[str] = frozenset()

    def tolerated(self, place: str) -> float:
        """Give the largest absolute difference that is tolerated at one place."""
        expected = self._expected[place]
        if self._given is not None:
            return self._given
        if not isinstance(expected, torch.Tensor) or not _is_inexact(expected):
            return 0.0
        unit = float(torch.finfo(expected.dtype).eps) * _largest(expected)
        if place not in self._errors:
            return UNMEASURED * unit
        half = expected.dtype.itemsize <= torch.float16.itemsize
        return max((ROUNDINGS_OF_HALF if half else ROUNDINGS) * self._errors[place], unit)

    def difference(self, actual: Mapping[str, Any]) -> str | None:
        """Say where and how today's outputs differ; None where they agree. Places that only they have do not count."""
        for place, expected in self._expected.items():
            if place in self.unstable:
                continue
            if place not in actual:
                return f"{place}: {describe(expected)} -> absent"
            value = _plain(actual[place])
            if self._apart(place, value) > self.tolerated(place) and not _close(expected, value):
                return f"{place}: {_told(expected, value)}"
        return None

    def places_apart(self, actual: Mapping[str, Any]) -> frozenset[str]:
        """Give the places where other outputs are not these."""
        return frozenset(
            place
            for place, expected in self._expected.items()
            if place not in actual
            or (
                self._apart(place, value := _plain(actual[place])) > self.tolerated(place)
                and not _close(expected, value)
            )
        )

    def distance(self, actual: Mapping[str, Any]) -> float:
        """Give how far today's outputs are from the old ones: 0 where they agree, infinite for what is no number."""
        total = 0.0
        for place in self._expected.keys() - self.unstable:
            value = _plain(actual[place]) if place in actual else None
            apart = self._apart(place, value)
            if apart > self.tolerated(place) and not _close(self._expected[place], value):
                total += apart
        return total

    def _apart(self, place: str, actual: Any) -> float:
        expected = self._expected[place]
        if not isinstance(expected, torch.Tensor) or not isinstance(actual, torch.Tensor):
            return 0.0 if type(expected) is type(actual) and expected == actual else _FAR
        if expected.shape != actual.shape or expected.layout != torch.strided or actual.layout != torch.strided:
            return _FAR
        if not expected.numel():
            return 0.0
        one, other = wide(expected), wide(actual)
        same = (one == other) | (one.isnan() & other.isnan())
        apart = torch.where(same, torch.zeros((), dtype=torch.float64), (one - other).abs().to(torch.float64))
        largest = float(apart.max())
        return largest if largest == largest else _FAR  # noqa: PLR0124 -- not NaN


def rounding_errors(twin: nn.Module, runner: Runner, actual: Mapping[str, Any]) -> dict[str, float]:
    """Measure what rounding makes of the outputs: the largest difference from a run in double precision, by place.

    Args:
        twin: Another module with the state of the one that was run; it is widened.
        runner: Runs it on the inputs, in the mode that it is in.
        actual: What the module gave in its own precision.

    Returns:
        Errors of the places that could be measured; empty where forward does not run in double precision.
    """
    try:
        twin.double()
        twin.eval()
        exact = leaves(runner.widened()(twin))
    except (ForwardError, RuntimeError, TypeError):
        return {}
    pairs = {place: (_plain(value), _plain(exact.get(place))) for place, value in actual.items()}
    return {
        place: float((wide(one) - wide(other)).abs().max())
        for place, (one, other) in pairs.items()
        if isinstance(one, torch.Tensor)
        and isinstance(other, torch.Tensor)
        and one.shape == other.shape
        and one.numel()
        and _is_inexact(one)
        and bool(wide(one).isfinite().all())
        and bool(wide(other).isfinite().all())
    }


def _is_inexact(tensor: Tensor) -> bool:
    return tensor.dtype.is_floating_point or tensor.dtype.is_complex


def wide(tensor: Tensor) -> Tensor:
    """Give a tensor's values in double precision, for arithmetic."""
    return tensor.to(torch.complex128 if tensor.dtype.is_complex else torch.float64)


def _largest(tensor: Tensor) -> float:
    finite = wide(tensor).abs()
    finite = finite[finite.isfinite()]
    return float(finite.max()) if finite.numel() else 0.0


def _plain(value: Any) -> Any:
    if not isinstance(value, torch.Tensor):
        return value
    value = value.detach().cpu()
    return value.dequantize() if value.is_quantized else value


def _close(expected: Any, actual: Any) -> bool:
    return isinstance(expected, torch.Tensor) and isinstance(actual, torch.Tensor) and close(expected, actual)


def _told(expected: Any, actual: Any) -> str:
    both = isinstance(expected, torch.Tensor) and isinstance(actual, torch.Tensor)
    told = spread(expected, actual) if both and expected.shape == actual.shape else ""
    return told or f"{describe(expected)} -> {describe(actual)}"
