"""One rank: builds the module, shards it, and saves or loads it. Started by torchrun's launcher."""

from __future__ import annotations

import faulthandler
import os
import pickle
import sys
import threading
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import distributed, nn
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict, set_model_state_dict
from torch.distributed.checkpoint.state_dict_loader import load
from torch.distributed.checkpoint.state_dict_saver import save
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor

from pytest_ckpt import places
from pytest_ckpt.compare import bits_equal, entries, tied_groups
from pytest_ckpt.distinguish import distinguish
from pytest_ckpt.outputs import where
from pytest_ckpt.ranks import PATIENCE
from pytest_ckpt.spare import imported

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

_SEEDS = {"save": 11, "load": 12}
_FULL = StateDictOptions(full_state_dict=True, cpu_offload=True)


class _Refused(Exception):  # noqa: N818 -- the leg is skipped
    """FSDP2 does not shard this module, which is not its fault."""


def main(role: str, device: str, folder: Path) -> int:
    """Save or load as one rank of many, and write down what it saw.

    Args:
        role: `save` or `load`.
        device: The device type of the ranks.
        folder: Where the job is, the checkpoint, and what is written down.

    Returns:
        The exit code.
    """
    _end_with(os.getppid())
    faulthandler.dump_traceback_later(PATIENCE, exit=True)
    rank = int(os.environ["RANK"])
    try:
        with warnings.catch_warnings(), places.plainly():
            warnings.simplefilter("ignore")
            _run(role, device, folder)
    except _Refused as reason:
        (folder / "unfit").write_text(str(reason), encoding="utf-8")
    except Exception as error:  # noqa: BLE001 -- whatever it is, it is what the report is about
        (folder / f"{role}-{rank}.error").write_text(where(error), encoding="utf-8")
        return 1
    return 0


def _run(role: str, device: str, folder: Path) -> None:
    _join(device)
    try:
        module = _build(role, folder)
        plain = not any(isinstance(parameter, DTensor) for parameter in module.parameters())
        if device != "cpu":
            module.to(device)
        if plain:
            _align(module, move=role == "save")
        before = {name: tensor.detach().cpu().clone() for name, tensor in entries(module).items() if plain}
        if plain:
            _shard(module)
        (_save if role == "save" else _load)(module, before, folder)
        (folder / f"{role}-{distributed.get_rank()}.done").touch()
        distributed.barrier()
    finally:
        distributed.destroy_process_group()


def _join(device: str) -> None:
    if device == "cpu":
        distributed.init_process_group("gloo")
        return
    torch.accelerator.set_device_index(int(os.environ["LOCAL_RANK"]))
    distributed.init_process_group()


def _build(role: str, folder: Path) -> nn.Module:
    job = pickle.loads((folder / "job.pickle").read_bytes())  # noqa: S301 -- of the process that started this one
    sys.path[:] = job["sys.path"]
    for name, file in job["modules"].items():
        imported(name, file)
    make, prepare = (pickle.loads(job[name]) for name in ("make", "prepare"))  # noqa: S301 -- as above
    torch.manual_seed(_SEEDS[role])
    module: nn.Module = make()
    if role == "save" and prepare is not None:
        prepare(module)
    return module


def _align(module: nn.Module, *, move: bool) -> None:
    """Give every rank the values of the first, moved a little if asked for, so that they are not a fresh module's."""
    live = entries(module)
    if move:
        distinguish(live, seed=0)
    held: list[Any] = [{name: tensor.detach().cpu() for name, tensor in live.items()}]
    distributed.broadcast_object_list(held, src=0)
    with torch.no_grad():
        for name, tensor in live.items():
            if not bits_equal(tensor.detach(), held[0][name]):
                tensor.detach().copy_(held[0][name])


def _shard(module: nn.Module) -> None:
    if not any(True for _ in module.parameters()):
        return
    try:
        fully_shard(module)
    except Exception as error:  # noqa: BLE001 -- it has many reasons, and none is the module's fault
        raise _Refused(f"fully_shard refuses the module: {where(error).partition(' (at ')[0]}") from None


def _save(module: nn.Module, before: Mapping[str, Tensor], folder: Path) -> None:
    state = get_model_state_dict(module)
    save(state, checkpoint_id=folder / "checkpoint")
    full = _full(module) if not before else {**_full(module), **before}
    _write(folder / "saved.pt", {"state": full, "ties": _ties(module)})


def _load(module: nn.Module, before: Mapping[str, Tensor], folder: Path) -> None:
    state = get_model_state_dict(module)
    load(state, checkpoint_id=folder / "checkpoint")
    set_model_state_dict(module, state)
    full = _full(module)
    kept = [name for name, value in before.items() if name in full and bits_equal(full[name], value)]
    _write(folder / "loaded.pt", {"state": full, "ties": _ties(module), "kept": kept})


def _full(module: nn.Module) -> dict[str, Any]:
    """Gather the whole state; it is complete on the first rank only."""
    return dict(get_model_state_dict(module, options=_FULL))


def _ties(module: nn.Module) -> list[tuple[str, ...]]:
    live = entries(module)
    return [tuple(name for name in live if name in group) for group in tied_groups(live)]


def _write(path: Path, content: Mapping[str, Any]) -> None:
    if distributed.get_rank() == 0:
        torch.save(content, path)


def _end_with(parent: int) -> None:
    """End this process when its parent has gone, whatever it is doing."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2], Path(sys.argv[3])))
