"""One attempt to load an old state into a fresh module, and what it showed."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pytest_ckpt.outputs import where

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import nn

    from pytest_ckpt.call import Call

_MISSHAPEN = re.compile(r"size mismatch for ([^\s:]+):")


@dataclass(frozen=True, slots=True)
class Attempt:
    """What loading a state into a module showed.

    Attributes:
        module: The module, loaded as far as it went.
        error: What loading raised, in one line; empty where it did not.
        missing: Names that `load_state_dict` missed, hooks having run; those that `allow_missing` allows are left out.
        unexpected: Names that it had no use for, those that `allow_unexpected` allows left out.
        misshapen: Names whose shapes differ, as torch's message names them.
    """

    module: nn.Module
    error: str
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    misshapen: tuple[str, ...]

    @property
    def about_keys(self) -> bool:
        """Whether keys and shapes explain why loading raised."""
        return bool(self.missing or self.unexpected or self.misshapen)


def attempt(call: Call, module: nn.Module, state: Mapping[str, Any]) -> Attempt:
    """Load a state the way the user does, and listen to what `load_state_dict` of the module says to its caller."""
    heard: list[tuple[list[str], list[str]]] = []

    def listen(_module: nn.Module, keys: Any) -> None:
        heard.append((list(keys.missing_keys), list(keys.unexpected_keys)))

    handle: Any = module.register_load_state_dict_post_hook(listen)
    error, misshapen = "", []
    try:
        call.put(module, state)
    except Exception as raised:  # noqa: BLE001 -- whatever loading raises is what the report is about
        error, misshapen = where(raised), _MISSHAPEN.findall(str(raised))
    finally:
        handle.remove()
    missing, unexpected = heard[-1] if heard else ([], [])
    return Attempt(
        module,
        error,
        tuple(key for key in missing if not call.may_miss(key)),
        tuple(key for key in unexpected if not call.may_hold(key)),
        tuple(misshapen),
    )
