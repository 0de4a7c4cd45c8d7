"""One training run: built, driven step by step, saved and loaded by the user's own code, with its faults named."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from pytest_ckpt.compare import describe
from pytest_ckpt.copying import duplicate
from pytest_ckpt.findings import UsageError
from pytest_ckpt.outputs import where
from pytest_ckpt.resume.adapters import as_run
from pytest_ckpt.resume.adapters.stepping import SteppedRun
from pytest_ckpt.resume.slots import World, put, seed
from pytest_ckpt.resume.walk import snapshot, walk

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from pytest_ckpt.resume.environment import Environment

SEED = 20_031
SEEDS_OF_NEW_PROCESSES = (104_729, 611_953, 1_299_709, 15_485_863, 32_452_843, 49_979_687)
_MEMBERS = ("step", "save", "load")


class SaveError(Exception):
    """Saving raised; the message says what and where."""


class LoadError(Exception):
    """Loading raised.

    Attributes:
        error: What was raised.
    """

    def __init__(self, error: BaseException) -> None:
        super().__init__(where(error))
        self.error = error


@dataclass(slots=True)
class Trace:
    """What some steps of a run gave.

    Attributes:
        losses: The loss of each step, by its number.
        error: What a step raised; empty if none did.
        observed: What `observable()` gave at the end.
        batches: The batch of each step, where the run tells it.
    """

    losses: dict[int, tuple[float, ...]] = field(default_factory=dict)
    error: str = ""
    observed: Any = None
    batches: dict[int, Any] = field(default_factory=dict)


@dataclass(slots=True)
class Driver:
    """Builds runs with one factory and drives them.

    Attributes:
        training: The user's factory.
        environment: What runs share through the process.
        generators: The state of the run's own generators at the beginning, where they are seeded by chance.
        stepped: Runs that a trainer's own loop makes.
    """

    training: Callable[[], Any]
    environment: Environment
    generators: World | None = None
    stepped: list[SteppedRun] = field(default_factory=list)

    def start(self, number: int, *, second: bool = False) -> Any:
        """Give a new run, as a new process would build it.

        Args:
            number: What all generators of the process are seeded with before.
            second: Whether the process shall count it as its second one, where it counts them.

        Raises:
            UsageError: The factory raised, or what it gave is no run.
        """
        self.environment.reset(second=second)
        seed(number)
        try:
            run = as_run(self.training())
        except UsageError:
            raise
        except Exception as error:  # noqa: BLE001 -- a factory may raise anything
            raise UsageError(
                f"training() raised {where(error)}: it must build a run when called with no arguments"
            ) from None
        missing = [name for name in _MEMBERS if not callable(getattr(run, name, None))]
        if missing:
            raise UsageError(
                f"training() gave {describe(run)} without {_listed(missing)}: a run has .model, .optimizer, "
                ".step(i), which gives a loss, .save(path) and .load(path)"
            )
        self.environment.add(run)
        if isinstance(run, SteppedRun):
            self.stepped.append(run)
        return run

    def close(self) -> None:
        """End what still trains, and take back what the runs left in the process."""
        for run in self.stepped:
            run.close()
        self.environment.reset()

    def world(self, run: Any) -> World:
        """Find what a run consists of now."""
        return walk(run, self.environment.bindings())

    def uninterrupted(self, upto: int) -> tuple[Any, Trace]:
        """Build a run and train it from the first step on; all such runs draw the same random numbers.

        Raises:
            UsageError: A step raised, or gave no loss.
        """
        run = self.start(SEED)
        if self.generators is not None:
            mine = self.world(run)
            for path, slot in self.generators.slots.items():
                if path in mine.slots:
                    put(mine, slot, duplicate(slot.value))
        trace = train(run, 0, upto)
        if trace.error:
            raise UsageError(f"run.{trace.error}: the uninterrupted training itself fails, so nothing can be compared")
        return run, trace


def train(run: Any, first: int, end: int) -> Trace:
    """Train from one step up to another, which is left out.

    Raises:
        UsageError: A step gave no loss.
    """
    trace = Trace()
    for number in range(first, end):
        try:
            loss = run.step(number)
        except UsageError:
            raise
        except Exception as error:  # noqa: BLE001 -- the user's step may raise anything
            trace.error = f"step({number}) raised {where(error)}"
            return trace
        trace.losses[number] = _loss(loss, number)
    if isinstance(run, SteppedRun):
        trace.batches = dict(run.batches)
    observable = getattr(run, "observable", None)
    if callable(observable):
        try:
            trace.observed = duplicate(observable())
        except Exception as error:  # noqa: BLE001 -- as above
            trace.error = f"observable() raised {where(error)}"
    return trace


def save(run: Any, path: Path) -> None:
    """Save a run.

    Raises:
        SaveError: Saving raised.
        UsageError: It wrote nothing.
    """
    try:
        run.save(path)
    except UsageError:
        raise
    except Exception as error:  # noqa: BLE001 -- the user's code may raise anything
        raise SaveError(where(error)) from None
    if not any(file.is_file() for file in path.parent.rglob("*")):
        raise UsageError(
            f"run.save(path) wrote nothing to {path.name!r} or beside it: write everything that a new process needs "
            "to that path, such as torch.save({...}, path)"
        )


def settle(run: Any) -> bool:
    """Bring a run that a trainer makes to the beginning of its next step; whether it is one."""
    if not isinstance(run, SteppedRun):
        return False
    run.settle()
    return True


def load(run: Any, path: Path) -> None:
    """Load a run.

    Raises:
        LoadError: Loading raised.
        UsageError: It gave another run.
    """
    try:
        given = run.load(path)
    except UsageError:
        raise
    except Exception as error:  # noqa: BLE001 -- the user's code may raise anything
        raise LoadError(error) from None
    if given is not run and all(callable(getattr(given, name, None)) for name in _MEMBERS):
        raise UsageError(
            f"run.load(path) gave another run, {describe(given)}: let it restore the run that it is called on"
        )


def require_apart(one: Any, other: Any, first: World, second: World) -> None:
    """Make sure that two runs are two.

    Raises:
        UsageError: They are one, or share a module, an optimizer or a parameter; or there is nothing that trains.
    """
    if one is other:
        raise UsageError(
            "training() gave the same run twice: build the model, the optimizer and the run inside it, so that each "
            "call gives a new one"
        )
    learnt = [path for path, node in first.nodes.items() if _trains(node)]
    if not learnt:
        raise UsageError(
            f"training() gave {describe(one)} in which no torch.nn.Module and no torch.optim.Optimizer was found: give "
            "the run the attributes .model and .optimizer"
        )
    shared = [path for path in learnt if first.nodes[path] is second.nodes.get(path) and _learns(first.nodes[path])]
    if shared:
        raise UsageError(
            f"training() gave two runs that share {shared[0]!r}: build everything that is trained inside it, so that "
            "the resumed run has only what it loads"
        )


def _trains(node: Any) -> bool:
    return isinstance(node, (nn.Module, torch.optim.Optimizer))


def _learns(node: Any) -> bool:
    if isinstance(node, nn.Module):
        return any(parameter.requires_grad for parameter in node.parameters())
    return True


def _loss(given: Any, number: int) -> tuple[float, ...]:
    """Take what a step gave: a number, a tensor of one element, or several of them in a container."""
    if isinstance(given, dict):
        given = tuple(given.values())
    items = given if isinstance(given, (list, tuple)) and given else [given]
    try:
        return tuple(float(item.detach() if isinstance(item, torch.Tensor) else item) for item in items)
    except (TypeError, ValueError, RuntimeError):
        raise UsageError(
            f"run.step({number}) gave {describe(given)}, not a loss: return loss.item() from step"
        ) from None


def _listed(names: list[str]) -> str:
    return ", ".join(f".{name}" for name in names)


def remembered(driver: Driver, run: Any) -> World:
    """Give a copy of all that a run holds now."""
    return snapshot(driver.world(run))
