"""A module saved with some ranks and loaded with others: torchrun's launcher, FSDP2 and its checkpoints."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from pytest_ckpt.compare import differences
from pytest_ckpt.outputs import where
from pytest_ckpt.trip import Trip

if TYPE_CHECKING:
    from pytest_ckpt.call import Call
    from pytest_ckpt.legs import Leg

PATIENCE = 240.0  # seconds for all ranks to save, or to load
_GRACE = 20.0  # seconds between asking them to end and killing them
_TAIL = 3  # lines of a rank's log


def travel(call: Call, leg: Leg, ranks: tuple[int, int], folder: Path) -> Trip:
    """Save a module with some ranks, load it into a fresh one with others, and compare the full states.

    Each rank builds the module, and `fully_shard` shards it unless the factory has done so itself; a fresh one is
    loaded by `torch.distributed.checkpoint.load` into `get_model_state_dict`.

    Args:
        call: What the user asked for.
        leg: The leg; its device types are those of the ranks.
        ranks: How many save, how many load.
        folder: An empty folder for the checkpoint.
    """
    source = call.build()
    trip = Trip(leg, call, source, source, natural=True)
    trip.unfit = _in_the_way(call, leg, ranks) or _write_job(call, folder)
    if trip.unfit:
        return trip
    trip.save_error = _launch("save", ranks[0], leg.saved_on, folder)
    trip.unfit = _text(folder / "unfit")
    if trip.save_error or trip.unfit:
        return trip
    saved = torch.load(folder / "saved.pt", map_location="cpu", weights_only=False)
    trip.state = saved["state"]
    trip.load_error = _launch("load", ranks[1], leg.loaded_on, folder)
    if trip.load_error:
        return trip
    loaded = torch.load(folder / "loaded.pt", map_location="cpu", weights_only=False)
    trip.kept = frozenset(loaded["kept"])
    wanted = {name: value for name, value in saved["state"].items() if not call.allowed(name)}
    have = {name: value for name, value in loaded["state"].items() if not call.allowed(name)}
    trip.differences = tuple(differences(wanted, have))
    trip.broken_ties = tuple(group for group in saved["ties"] if group not in loaded["ties"])
    trip.notes = ("with ranks, outputs are not compared",)
    return trip


def _in_the_way(call: Call, leg: Leg, ranks: tuple[int, int]) -> str:
    if not call.is_plain:
        return "save, load and load_state of your own run in one process, not with ranks"
    for device, count in zip((leg.saved_on, leg.loaded_on), ranks, strict=True):
        here = count if device == "cpu" else torch.accelerator.device_count()
        if here < count:
            return f"{count} ranks need {count} devices, and there {'is' if here == 1 else 'are'} {here} of {device}"
    return ""


def _write_job(call: Call, folder: Path) -> str:
    """Write what the ranks do; say why they cannot."""
    used = [call.make] if call.prepare is None else [call.make, call.prepare]
    for function in used:
        try:
            pickle.dumps(function)
        except Exception as error:  # noqa: BLE001 -- a __reduce__ of the user's own may raise anything
            return _not_importable(function, where(error).partition(" (at ")[0])
        if _module_of(function) == "__main__":
            return _not_importable(function, "it is defined in __main__")
    modules = {name: getattr(sys.modules.get(name), "__file__", None) or "" for name in map(_module_of, used)}
    job = {"modules": modules, "make": pickle.dumps(call.make), "prepare": pickle.dumps(call.prepare)}
    (folder / "job.pickle").write_bytes(pickle.dumps({**job, "sys.path": sys.path}))
    return ""


def _module_of(function: Any) -> str:
    function = getattr(function, "func", function)  # of a functools.partial
    return str(getattr(function, "__module__", None) or type(function).__module__)


def _not_importable(function: Any, why: str) -> str:
    name = getattr(function, "__qualname__", None) or repr(function)
    return (
        f"ranks are processes of their own, which cannot import {name} ({why}): give a class or a function at the top "
        "of a module, or a functools.partial of one"
    )


def _launch(role: str, count: int, device: str, folder: Path) -> str:
    """Run one group of ranks to its end; give the error of the rank that failed first, or nothing."""
    launcher = ["torch.distributed.run", "--nnodes=1", f"--nproc-per-node={count}", "--max-restarts=0"]
    rendezvous = ["--rdzv-backend=c10d", "--rdzv-endpoint=localhost:0", "--local-addr=localhost"]
    worker = ["--no-python", sys.executable, "-m", "pytest_ckpt.ranks.worker", role, device, str(folder)]
    with (folder / f"{role}.log").open("wb") as log:
        process = subprocess.Popen(  # noqa: S603 -- this Python, with arguments of our own
            [sys.executable, "-m", *launcher, *rendezvous, *worker],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=_environment(),
        )
        try:
            code = process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            return f"TimeoutError: {count} ranks did not {role} within {PATIENCE:.0f} seconds"
        finally:
            _end(process)
    done = len(list(folder.glob(f"{role}-*.done")))
    if code == 0 or done == count:  # gloo may abort a process whose work is done, for another has left before
        return ""
    errors = sorted(folder.glob(f"{role}-*.error"), key=lambda path: (_is_echo(path), path.stat().st_mtime_ns))
    if errors:
        rank = errors[0].stem.rpartition("-")[2]
        return f"{_text(errors[0])} on rank {rank} of {count}"
    last = " | ".join(_text(folder / f"{role}.log").splitlines()[-_TAIL:])
    return f"ChildProcessError: the ranks ended with code {code}: {last}"


def _is_echo(path: Path) -> bool:
    """Whether an error is that of a rank that lost touch with another, which failed before for a reason of its own."""
    return any(word in _text(path).lower() for word in ("gloo", "nccl", "connection closed", "connection reset"))


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the launcher, which ends its ranks; they end themselves too when it has gone."""
    for stop in (process.terminate, process.kill):
        if process.poll() is not None:
            return
        stop()
        with suppress(subprocess.TimeoutExpired):
            process.wait(_GRACE)


def _environment() -> dict[str, str]:
    """Give the environment of the launcher: ours, without what a launcher around us has put there."""
    theirs = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "GROUP_RANK", "MASTER_ADDR", "MASTER_PORT")
    kept = {
        name: value
        for name, value in os.environ.items()
        if name not in theirs and not name.startswith(("TORCHELASTIC_", "COV_CORE_", "PYTEST_"))
    }
    loopback = {"GLOO_SOCKET_IFNAME": "lo"} if sys.platform.startswith("linux") else {}
    here = str(Path(__file__).parents[2])
    return {"OMP_NUM_THREADS": "1", **loopback, **kept, "PYTHONPATH": os.pathsep.join([here, *filter(None, sys.path)])}


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace").strip() if path.exists() else ""
