"""Settings of the whole process, which a user's function may change and must not change for the rest of a run."""

from __future__ import annotations

import os
from contextlib import contextmanager, suppress
from functools import update_wrapper
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@contextmanager
def kept_settings() -> Iterator[None]:
    """Give the working directory, default dtype and device, gradient mode and number of threads back as they were."""
    folder, dtype, device = _folder(), torch.get_default_dtype(), _device()
    grad, threads = torch.is_grad_enabled(), torch.get_num_threads()
    try:
        yield
    finally:
        if folder != _folder():
            with suppress(OSError):
                os.chdir(folder)
        if torch.get_default_dtype() != dtype:
            torch.set_default_dtype(dtype)
        if _device() != device:
            torch.set_default_device(device)
        if torch.is_grad_enabled() != grad:
            torch.set_grad_enabled(grad)
        if torch.get_num_threads() != threads:
            torch.set_num_threads(threads)


def keeping(function: Callable[..., Any] | None) -> Callable[..., Any] | None:
    """Give a function that does the same, and leaves the settings of the process as they were."""
    if not callable(function) or isinstance(function, torch.nn.Module):
        return function  # what is wrong with it is said where arguments are checked
    return _Keeping(function)


def own(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give the user's own function back for one that keeps settings."""
    return function.func if isinstance(function, _Keeping) else function


class _Keeping:
    """A function of the user's, called so that settings are kept; it can be pickled wherever the function can."""

    def __init__(self, func: Callable[..., Any]) -> None:
        self.func = func
        update_wrapper(self, func, updated=())

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        with kept_settings():
            return self.func(*args, **kwargs)

    def __reduce__(self) -> tuple[type[_Keeping], tuple[Callable[..., Any]]]:
        return _Keeping, (self.func,)


def _folder() -> str:
    try:
        return os.getcwd()  # noqa: PTH109 -- a string, to give back
    except OSError:  # it has been removed
        return "."


def _device() -> torch.device | None:
    """Give the device that `torch.set_default_device` has set; None where it was not called."""
    context = getattr(torch._GLOBAL_DEVICE_CONTEXT, "device_context", None)  # noqa: SLF001 -- the public getter cannot tell that none was set
    return getattr(context, "device", None)
