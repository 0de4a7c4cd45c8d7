"""Runs a module on the given inputs, always with the same randomness, and compares what comes out.

Outputs are compared by bits first and then within a few units in the last place: two runs of one kernel on differently
aligned memory may differ there, and a difference of that size is not lost state.
"""

from __future__ import annotations

import inspect
import random
import re
import sys
import traceback
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.utils._pytree import tree_map

from pytest_ckpt.compare import bits_equal, describe, spread, state_of
from pytest_ckpt.containers import items_of, pairs_of
from pytest_ckpt.copying import duplicate
from pytest_ckpt.findings import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from torch import Tensor

SEED = 20_031
WHOLE = "output"
_DEPTH = 12  # containers inside each other
_ESCAPES = re.compile(r"\x1b\[[0-9;]*m")
_NOT_THE_USERS = (str(Path(__file__).parent), str(Path(torch.__file__).parent))
_UNITS_IN_LAST_PLACE = {torch.float64: 64, torch.float32: 32, torch.bfloat16: 1, torch.float16: 2}


class ForwardError(Exception):
    """Forward raised; the message has the exception's type, text and place in the user's code."""


@contextmanager
def kept_randomness() -> Iterator[None]:
    """Give the generators of torch, `random` and, where it is loaded, NumPy back as they were."""
    numpy = sys.modules.get("numpy")
    python_state = random.getstate()
    numpy_state = numpy.random.get_state() if numpy else None
    with torch.random.fork_rng(devices=_accelerators(), device_type=_accelerator_type()):
        try:
            yield
        finally:
            random.setstate(python_state)
            if numpy:
                numpy.random.set_state(numpy_state)


def draw() -> None:
    """Draw from every global generator, so that whoever seeds one does not leave it where it was by chance."""
    torch.rand(())
    random.random()  # noqa: S311 -- not for its value
    numpy = sys.modules.get("numpy")
    if numpy:
        numpy.random.random()


@contextmanager
def same_randomness(seed: int = SEED) -> Iterator[None]:
    """Seed the generators of torch, `random` and, where it is loaded, NumPy; give them back as they were."""
    numpy = sys.modules.get("numpy")
    with kept_randomness():
        torch.manual_seed(seed)
        random.seed(seed)
        if numpy:
            numpy.random.seed(seed)
        yield


def _accelerator_type() -> str:
    device = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    return device.type if device is not None else "cuda"


def _accelerators() -> list[int]:
    return list(range(torch.accelerator.device_count())) if torch.accelerator.is_available() else []


def _holds_iterator(value: Any) -> bool:
    return isinstance(value, Iterator) or any(isinstance(item, Iterator) for item in items_of(value))


class Runner:
    """Calls a module on fresh copies of one set of inputs.

    Attributes:
        given: Whether there are inputs at all.
    """

    def __init__(self, inputs: Any) -> None:
        """Take the inputs.

        Args:
            inputs: A tensor or another object (the one positional argument), a tuple (positional arguments), a dict
                (keyword arguments), or a callable that gives one of these; it is called once. None: no forward.

        Raises:
            UsageError: The callable raised.
        """
        if inspect.isroutine(inputs) or isinstance(inputs, (partial, type)):
            try:
                inputs = inputs()
            except Exception as error:  # noqa: BLE001 -- the user's function may raise anything
                raise UsageError(
                    f"inputs() raised {where(error)}: give a callable that takes nothing and returns what forward takes"
                ) from None
        if _holds_iterator(inputs):
            raise UsageError(
                "inputs hold a generator or another iterator, which can be read only once, and forward runs several "
                "times: give a list or a tuple"
            )
        self.given = inputs is not None
        self._inputs = inputs
        self._grad = False
        self._seed = SEED

    def __call__(self, module: nn.Module, device: str = "cpu") -> Any:
        """Run forward and give a copy of its outputs that nothing else holds.

        Gradients are off unless forward needs them. The module's own mode is left as it is.

        Raises:
            ForwardError: It raised with gradients off and on.
        """
        first = ""
        if not self._grad:
            try:
                return self._run(module, device, grad=False)
            except Exception as error:  # noqa: BLE001 -- whatever it is, a forward that differentiates deserves a second try
                first = where(error)
                self._grad = True
        try:
            return self._run(module, device, grad=True)
        except Exception as error:  # noqa: BLE001 -- forward may raise anything
            self._grad = False
            raise ForwardError(first if first and "grad" not in first else where(error)) from None

    def _run(self, module: nn.Module, device: str, *, grad: bool) -> Any:
        inputs = duplicate(self._inputs)
        if device != "cpu":
            inputs = moved(inputs, device)
        with same_randomness(self._seed), torch.set_grad_enabled(grad):
            outputs = _given(module, inputs)
            return duplicate(list(outputs) if inspect.isgenerator(outputs) else outputs)

    @property
    def inputs(self) -> Any:
        """What forward takes, as it was given; what a callable gave."""
        return self._inputs

    def bare(self, module: nn.Module, device: str) -> None:
        """Run forward on a device, and let through whatever it raises."""
        with torch.set_grad_enabled(self._grad):
            _given(module, moved(duplicate(self._inputs), device))

    def reseeded(self) -> Runner:
        """Give a runner of the same inputs under other randomness."""
        other = Runner(self._inputs)
        other._seed = SEED + 1
        return other

    def widened(self) -> Runner:
        """Give a runner of the same inputs in double precision."""
        return Runner(_widened(self._inputs))

    def describe(self) -> str:
        """Describe the inputs for a message."""
        return describe(self._inputs)


def _given(module: nn.Module, inputs: Any) -> Any:
    """Call a module with keyword arguments, with positional ones, or with a single one."""
    if isinstance(inputs, dict):
        return module(**inputs)
    if isinstance(inputs, tuple) and not hasattr(inputs, "_fields"):
        return module(*inputs)
    return module(inputs)


def moved(value: Any, device: str) -> Any:
    """Give a value with its tensors on a device; containers are rebuilt, other objects use their own `to`."""
    if isinstance(value, dict):
        return {key: moved(item, device) for key, item in pairs_of(value)}
    if isinstance(value, tuple) and hasattr(value, "_fields") and not hasattr(value, "to"):
        return type(value)(*(moved(item, device) for item in items_of(value)))
    if isinstance(value, (list, tuple)) and not hasattr(value, "to"):
        return type(value)(moved(item, device) for item in items_of(value))
    to: Callable[[str], Any] | None = getattr(value, "to", None)
    return to(device) if to is not None else value


def _widened(inputs: Any) -> Any:
    def widened(leaf: Any) -> Any:
        floating = isinstance(leaf, torch.Tensor) and leaf.dtype.is_floating_point
        return leaf.double() if floating else leaf

    return tree_map(widened, inputs)


def set_mode(module: nn.Module, *, training: bool) -> None:
    """Put a module into a mode, unless it has but one, as an exported program does.

    What `train` and `eval` give is not used: some modules return another one, or None.
    """
    with suppress(NotImplementedError):
        if training:
            module.train()
        else:
            module.eval()


def where(error: BaseException) -> str:
    """Describe an exception in one line: type, text, and the place in the code that raised it."""
    frames = [
        frame for frame in traceback.extract_tb(error.__traceback__) if not frame.filename.startswith(_NOT_THE_USERS)
    ]
    place = f" (at {frames[-1].filename}:{frames[-1].lineno} in {frames[-1].name})" if frames else ""
    text = _ESCAPES.sub("", str(error)).strip()
    return f"{type(error).__name__}: {text or 'no message'}{place}"


@dataclass(frozen=True, slots=True, eq=False)
class Trained:
    """What a forward in training mode gave and what it left in persistent buffers, such as running statistics."""

    outputs: Any
    left: Mapping[str, Tensor]


def first_difference(expected: Any, actual: Any, unstable: Collection[str] = ()) -> str | None:
    """Find the first place where two outputs differ.

    Args:
        expected: Any output: tensors, containers, dataclasses, distributions, caches, nested.
        actual: The other.
        unstable: Places that are not compared, as `differing_places` gives them.

    Returns:
        The place, such as `.logits` or `[0]`, and what stands there; None where the outputs agree. What cannot be
        compared (functions, modules, objects without attributes) agrees.
    """
    found = (f"{place}: {text}" for place, text in _all_differences(expected, actual) if place not in unstable)
    return next(found, None)


def differing_places(expected: Any, actual: Any) -> frozenset[str]:
    """Give all places where two outputs differ; `output` is the whole."""
    return frozenset(place for place, _ in _all_differences(expected, actual))


def _all_differences(expected: Any, actual: Any) -> Iterator[tuple[str, str]]:
    if not isinstance(expected, Trained):
        yield from _differences(expected, actual, "", frozenset())
        return
    yield from _all_differences(expected.outputs, actual.outputs)
    for name, buffer in expected.left.items():
        if name in actual.left:
            yield from _differences(buffer, actual.left[name], f"{name} after forward", frozenset())


def _differences(expected: Any, actual: Any, place: str, above: frozenset[int]) -> Iterator[tuple[str, str]]:
    if expected is actual or id(expected) in above or len(above) > _DEPTH:
        return
    above |= {id(expected)}
    here = place or WHOLE
    if isinstance(expected, torch.Tensor) and isinstance(actual, torch.Tensor):
        if not close(expected, actual):
            yield here, _apart(expected, actual)
        return
    if type(expected) is not type(actual):
        yield here, f"{type(expected).__name__} -> {type(actual).__name__}"
        return
    if isinstance(expected, nn.Module) or inspect.isroutine(expected):
        return
    one, other = _tensor(expected), _tensor(actual)
    if one is not None and other is not None:
        if not close(one, other):
            yield here, f"{describe(expected)} -> {describe(actual)}"
        return
    if expected is None or isinstance(expected, (bool, int, str, bytes, set, frozenset)):
        if expected != actual:
            yield here, f"{describe(expected)} -> {describe(actual)}"
        return
    items = _items(expected), _items(actual)
    if list(items[0]) != list(items[1]):
        yield here, f"{describe(expected)} -> {describe(actual)}"
        return
    for name, item in items[0].items():
        yield from _differences(item, items[1][name], f"{place}{name}", above)


def _apart(expected: Tensor, actual: Tensor) -> str:
    nested = expected.is_nested or actual.is_nested
    same_kind = not nested and expected.dtype == actual.dtype and expected.shape == actual.shape
    return (spread(expected, actual) if same_kind else "") or f"{describe(expected)} -> {describe(actual)}"


def _tensor(value: Any) -> Tensor | None:
    """Give a float, a complex number or a NumPy array as a tensor, to be compared like one."""
    if isinstance(value, (float, complex)):
        return torch.tensor(value, dtype=torch.complex128 if isinstance(value, complex) else torch.float64)
    if type(value).__module__ == "numpy" and hasattr(value, "tobytes"):
        try:
            return torch.as_tensor(value)
        except (TypeError, ValueError, RuntimeError):  # strings, objects, dates
            return None
    return None


def _items(value: Any) -> dict[str, Any]:
    if isinstance(value, Mapping):
        return {f"[{key!r}]": item for key, item in pairs_of(value)}
    if isinstance(value, (list, tuple, deque)):
        return {f"[{index}]": item for index, item in enumerate(items_of(value))}
    state = state_of(value)
    return {f".{key}": item for key, item in state.items()} if isinstance(state, dict) else {}


def close(expected: Tensor, actual: Tensor) -> bool:
    """Whether two outputs agree: same dtype and shape, and equal bits or values a few units in the last place apart.

    The tolerance is 32 units in the last place of float32 and 1 of bfloat16, of the element or of a typical element,
    the median, whichever is larger: an element near zero may be the sum of larger ones. NaNs and infinities must stand
    in the same places.
    """
    if expected.is_nested and actual.is_nested:
        pairs = expected.unbind(), actual.unbind()
        return len(pairs[0]) == len(pairs[1]) and all(map(close, *pairs))
    if expected.dtype != actual.dtype or expected.is_nested != actual.is_nested or expected.shape != actual.shape:
        return False
    if expected.device.type == "meta" or actual.device.type == "meta":
        return expected.device == actual.device
    if bits_equal_or_unknown(expected, actual):
        return True
    if not (expected.dtype.is_floating_point or expected.dtype.is_complex) or expected.dtype.itemsize == 1:
        return False
    if expected.layout != torch.strided:
        return False
    units = _UNITS_IN_LAST_PLACE.get(expected.dtype.to_real(), 1)
    limits = torch.finfo(expected.dtype)
    wide = torch.complex128 if expected.dtype.is_complex else torch.float64
    one, other = expected.detach().cpu().to(wide), actual.detach().cpu().to(wide)
    finite = one.isfinite() & other.isfinite()
    strange = ~finite & (one != other) & ~(one.isnan() & other.isnan())
    if bool(strange.any()):
        return False
    one, other = one[finite], other[finite]
    if not one.numel():
        return True
    size = torch.maximum(one.abs(), other.abs())
    tolerance = units * (limits.eps * size.clamp(min=float(size.median())) + limits.tiny)
    return bool(((one - other).abs() <= tolerance).all())


def bits_equal_or_unknown(expected: Tensor, actual: Tensor) -> bool:
    """Whether two tensors are equal by bits; one that cannot be read counts as equal."""
    try:
        return bits_equal(expected, actual)
    except (RuntimeError, NotImplementedError, TypeError):
        return True


def leaves(outputs: Any) -> dict[str, Any]:
    """Take outputs apart into what they are made of.

    Args:
        outputs: Any output: tensors, containers, dataclasses, nested.

    Returns:
        Tensors (numbers and arrays as such too), strings, truth values and None by their place, such as `.logits`;
        `output` is the whole. What cannot be compared (functions, modules) is left out.
    """
    return dict(_leaves(outputs, "", frozenset()))


def _leaves(value: Any, place: str, above: frozenset[int]) -> Iterator[tuple[str, Any]]:
    if id(value) in above or len(above) > _DEPTH or isinstance(value, nn.Module) or inspect.isroutine(value):
        return
    tensor = value if isinstance(value, torch.Tensor) else _tensor(value)
    if tensor is not None or value is None or isinstance(value, (bool, int, str, bytes, set, frozenset)):
        yield place or WHOLE, value if tensor is None else tensor
        return
    for name, item in _items(value).items():
        yield from _leaves(item, f"{place}{name}", above | {id(value)})
