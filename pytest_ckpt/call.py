"""One call of a checking function: its arguments, checked, and the user's callables with their faults named."""

from __future__ import annotations

import inspect
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, Literal

from torch import nn

from pytest_ckpt.compare import describe, entries, nonpersistent, storage_address, storages, uninitialized
from pytest_ckpt.construction import quick_fills
from pytest_ckpt.findings import UsageError
from pytest_ckpt.outputs import ForwardError, Runner, where
from pytest_ckpt.process_settings import own
from pytest_ckpt.surroundings import Surroundings

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence
    from pathlib import Path

    from torch import Tensor

Mode = Literal["eval", "train"]

#: The user's functions, and what they are called with.
_CALLED_WITH = {
    "make": (),
    "prepare": ("module",),
    "save": ("module", "path"),
    "load": ("path",),
    "load_state": ("module", "state_dict"),
}


@dataclass(frozen=True)
class Call:
    """The arguments of one call of `check_module`, and the user's callables with their faults reported by name."""

    make: Callable[[], nn.Module]
    runner: Runner
    prepare: Callable[[Any], Any] | None
    mode: Mode
    save: Callable[[Any, Path], Any] | None
    load: Callable[[Path], Any] | None
    load_state: Callable[[Any, Any], Any] | None
    allow_missing: tuple[str, ...]
    allow_unexpected: tuple[str, ...]
    claims: tuple[str, ...] = ()
    surroundings: Surroundings = field(default_factory=Surroundings)
    constants: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        for name, given in _CALLED_WITH.items():
            value = getattr(self, name)
            called = f"{name}({', '.join(given)})"
            if isinstance(value, nn.Module) and name == "make":
                raise UsageError(
                    f"make is a module, a {type(value).__name__}: give something that builds a fresh one each time, "
                    f"such as lambda: {type(value).__name__}(...)"
                )
            if not callable(value) and (value is not None or name == "make"):
                raise UsageError(f"{name} must be callable, but {value!r} was given: it is called as {called}")
            if value is not None and given and (signature := _refusing(value, given)):
                raise UsageError(f"{name} is called as {called}, but a function of {signature} was given")
        if self.mode not in ("eval", "train"):
            raise UsageError(f"mode must be 'eval' or 'train', but {self.mode!r} was given")

    @property
    def is_plain(self) -> bool:
        """Whether saving and loading are torch's own throughout, with no function of the user's."""
        return self.save is None and self.load is None and self.load_state is None

    def build(self) -> nn.Module:
        """Call the factory.

        Raises:
            UsageError: It raised, or gave something else than a module.
        """
        try:
            with quick_fills():
                module = self.make()
        except Exception as error:  # noqa: BLE001 -- a factory may raise anything
            raise UsageError(
                f"make() raised {where(error)}: it must build a module when called with no arguments"
            ) from None
        if not isinstance(module, nn.Module):
            raise UsageError(
                f"make() gave {describe(module)}, not a torch.nn.Module: return the module itself, freshly built"
            )
        return module

    def source(self) -> nn.Module:
        """Build the module that is to be saved: prepared, or initialised by its inputs if it is lazy.

        Raises:
            UsageError: `prepare` raised, or the inputs do not fit forward.
        """
        source = self.build()
        self.surroundings.note(source)
        if self.prepare is not None:
            try:
                self.prepare(source)
            except Exception as error:  # noqa: BLE001 -- the user's function may raise anything
                raise UsageError(
                    f"prepare({type(source).__name__}) raised {where(error)}: it is called with the module that make() "
                    "built and must leave it in the state that is to be saved"
                ) from None
        elif self.runner.given and uninitialized(source):
            try:
                self.runner(source)
            except ForwardError as error:
                raise self.unfit(source, error) from None
        return source

    def unfit(self, module: nn.Module, error: ForwardError) -> UsageError:
        """Give the error of inputs that do not fit a module's forward."""
        return UsageError(
            f"forward of {type(module).__name__} raised {error} on the inputs that were given, "
            f"{self.runner.describe()}: give the tensor, tuple or dict of keywords that forward takes"
        )

    def build_apart(self, other: nn.Module) -> nn.Module:
        """Call the factory and make sure that it gives another module than before.

        Raises:
            UsageError: It gave the same module, or one that shares parameters with it.
        """
        module = self.build()
        theirs = {id(parameter) for parameter in other.parameters()}
        shared = [name for name, parameter in module.named_parameters() if id(parameter) in theirs]
        if module is other or shared:
            what = f"two modules that share {shared[0]!r}" if module is not other else "the same module twice"
            raise UsageError(
                f"make() gave {what} ({type(module).__name__}): build a new module inside it, "
                f"such as lambda: {type(module).__name__}(...), so that saving and loading have two to work with"
            )
        self.constants.update(part(module, other, self.constants))
        return module

    def allowed(self, key: str) -> bool:
        """Whether an entry need not come back, or may come although nobody has it."""
        return any(fnmatchcase(key, pattern) for pattern in (*self.allow_missing, *self.allow_unexpected))

    def may_miss(self, key: str) -> bool:
        """Whether the checkpoint need not bring this entry."""
        return _matches(key, self.allow_missing)

    def may_hold(self, key: str) -> bool:
        """Whether the checkpoint may hold this entry although a fresh module has none such."""
        return _matches(key, self.allow_unexpected)

    def read(self, path: Path) -> Any:
        """Give what `load` makes of a checkpoint.

        Raises:
            Exception: Whatever the user's function raises.
        """
        assert self.load is not None  # noqa: S101 -- for the type checker: asked only where there is one
        with quick_fills():
            return self.load(path)

    def put(self, module: nn.Module, state: Any) -> Any:
        """Load a state into a module the way the user does, tolerating only what is allowed.

        Returns:
            What `load_state` or the module's own load_state_dict returned.

        Raises:
            Exception: Whatever that way raises.
        """
        if self.load_state is not None:
            return self.load_state(module, state)
        if not self.allow_missing and not self.allow_unexpected:
            return module.load_state_dict(state)
        result = module.load_state_dict(state, strict=False)
        missing = [key for key in result.missing_keys if not self.may_miss(key)]
        unexpected = [key for key in result.unexpected_keys if not self.may_hold(key)]
        if missing or unexpected:
            raise RuntimeError(f"Missing key(s) in state_dict: {missing}. Unexpected key(s): {unexpected}.")
        return None


def _refusing(function: Callable[..., Any], given: Sequence[str]) -> str:
    """Give the signature of a function that cannot be called with some arguments; nothing where it can, or may."""
    try:
        signature = inspect.signature(own(function), follow_wrapped=False)
    except (TypeError, ValueError):  # a function of C, of which nothing is known
        return ""
    try:
        signature.bind(*given)
    except TypeError:
        return str(signature)
    return ""


def part(one: nn.Module, other: nn.Module, constants: Collection[int] = ()) -> set[int]:
    """Give two modules memory of their own where a constant from outside the factory stands behind both.

    `nn.Embedding.from_pretrained(vectors)` and `register_buffer("mean", MEAN)` use the tensor that they are given. It
    must not be written to, and the two modules must be able to differ.

    Args:
        one: A module.
        other: Another one.
        constants: Addresses of constants that are known from two other modules.

    Returns:
        Addresses of the constants that were found.
    """
    ours, theirs = (storages(_tensors(module)).keys() for module in (one, other))
    memory = (ours & theirs) | ((ours | theirs) & set(constants))
    for module in (one, other):
        copies: dict[int, Tensor] = {}
        for owner in module.modules():
            for name, buffer in owner._buffers.items():  # noqa: SLF001 -- the registry, so that persistence is kept
                if buffer is not None and storage_address(buffer) in memory:
                    owner._buffers[name] = copies.setdefault(id(buffer), buffer.detach().clone())  # noqa: SLF001 -- as above
        for parameter in module.parameters():
            if storage_address(parameter) in memory:
                parameter.data = parameter.detach().clone()
    return memory


def _tensors(module: nn.Module) -> dict[str, Tensor]:
    return {**entries(module), **nonpersistent(module)}


def _matches(key: str, patterns: Sequence[str]) -> bool:
    return any(fnmatchcase(key, pattern) for pattern in patterns)
