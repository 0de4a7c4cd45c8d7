"""Check: state that never reached the checkpoint."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import torch
from torch import nn

from pytest_ckpt.checks import Case, Check, Stage
from pytest_ckpt.findings import Finding

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_ckpt.resume.resumption import Resumption
    from pytest_ckpt.trip import Trip


class UnsavedState(Check):
    """A value that decides what the module computes is not in its checkpoint.

    ## What it checks

    Two things. An attribute that is no parameter and no buffer (a tensor, a number, a list, a `torch.Generator`), or a
    variable outside of the module, makes the loaded module compute something else than the saved one. Or an entry of
    the state_dict still holds after loading what a fresh module holds, because saving left it out or loading skipped
    it.

    ## Why it matters

    `state_dict()` knows parameters, buffers, submodules and extra state, nothing else. What is kept in a plain
    attribute is silently replaced by whatever the constructor makes, and the model that was evaluated is not the
    model that is deployed.

    ## How it is found

    The attributes in which the two modules differ are transplanted from the saved module into the loaded one. If the
    outputs then agree, the set is reduced to the smallest one that still makes them agree. An attribute that changes
    no output is never named. Entries are moved a little before saving, so that one which was skipped cannot look
    restored. Variables outside of the module are brought back to what they were before the module was used, or to what
    an import in a new process gives, and the checkpoint is loaded once more.

    ## What to do

    Register a tensor with `self.register_buffer(name, tensor)`, and keep parameters in an `nn.ParameterList` or
    `nn.ParameterDict`. Give any other value to `get_extra_state` and take it back in `set_extra_state`. In a loader of
    your own, restore every entry of `state_dict()`, buffers included.

    ## References

    - [torch.nn.Module.register_buffer](https://docs.pytorch.org/docs/stable/generated/torch.nn.Module.html)
    - [torch.nn.Module.get_extra_state](https://docs.pytorch.org/docs/stable/generated/torch.nn.Module.html)
    """

    name: ClassVar[str] = "unsaved-state"
    summary: ClassVar[str] = "a value that decides the outputs is in no checkpoint"
    stage: ClassVar[Stage] = Stage.VALUES

    def run(self, trip: Trip) -> Iterator[Finding]:
        for one in trip.of_category(self.name):
            where = (
                "is not in the file"
                if trip.file_state is not None and one.key not in trip.file_state
                else "was not restored"
            )
            yield Finding(
                self.name,
                one.key,
                f"the entry {where}: the loaded module holds what a fresh one holds",
                "save module.state_dict() whole, and load it with load_state_dict(state_dict)",
                one.expected,
                one.actual,
            )
        changed = {one.key for one in trip.save_changes}
        for culprit in trip.outputs.culprits:
            if culprit.key in changed or (changed and culprit.kind == "unknown"):
                continue  # a consequence of what saving did to the live module
            if culprit.kind == "attribute":
                yield Finding(
                    self.name,
                    culprit.key,
                    f"the attribute is not in the state_dict, and the outputs depend on it ({culprit.place})",
                    _hint(culprit.key, culprit.type),
                    culprit.expected,
                    culprit.actual,
                )
            elif culprit.kind == "closure":
                name = culprit.key.rpartition(".")[2]
                yield Finding(
                    self.name,
                    culprit.key,
                    f"the variable is in the closure of a hook, and the outputs depend on it ({culprit.place})",
                    f'self.register_buffer("{name}", ...), and let the hook read it there',
                    culprit.expected,
                    culprit.actual,
                )
            elif culprit.kind == "on a tensor":
                owner, _, name = culprit.key.rpartition(".")
                yield Finding(
                    self.name,
                    culprit.key,
                    f"it is an attribute of the tensor {owner}, of which a state_dict has the values alone, and the "
                    f"outputs depend on it ({culprit.place})",
                    f'self.register_buffer("{name}", ...) in the module, beside {owner.rpartition(".")[2]}',
                    culprit.expected,
                    culprit.actual,
                )
            elif culprit.kind == "unknown":
                yield Finding(
                    self.name,
                    culprit.key,
                    f"the outputs differ although the state is equal, and no attribute explains it ({culprit.place})",
                    "look outside the instance (class attributes, globals, hooks); return it from get_extra_state()",
                    culprit.expected,
                    culprit.actual,
                )

        for outside in trip.outside:
            message = f"the variable is in {outside.home}, not in the module: a new process has another value, and the "
            hint = f'self.register_buffer("{outside.key.rpartition(".")[2]}", ...), or return it from get_extra_state()'
            if outside.hashed:
                message = "it follows the hashes of strings, which are others in each new process, and the "
                hint = "number what is sorted, sorted(set(...)), and hash with zlib.crc32(text.encode())"
            yield Finding(
                self.name, outside.key, f"{message}outputs depend on it", hint, outside.expected, outside.actual
            )

    def resumed(self, resumption: Resumption) -> Iterator[Finding]:
        for one in resumption.in_memory:
            yield Finding(
                self.name,
                one.key,
                "the checkpoint is not in the file but in the memory of the process that saved it: a new process has "
                "nothing to load",
                f"write {one.key} to the path that save gets, torch.save(..., path)",
                one.expected,
                one.actual,
                resumption.leg,
            )
        yield from resumption.findings(
            self.name, "put {key} into what save(path) writes, and set it again in load(path)"
        )
        if resumption.place:
            yield Finding(
                self.name,
                resumption.place,
                f"training goes on otherwise, and nothing that was found in the run explains it ({resumption.drift})",
                "keep what step(i) depends on in attributes of the run, and save it: torch.save({...}, path)",
                leg=resumption.leg,
            )

    @staticmethod
    def failing() -> Case:
        return Case(_Attribute, key="offset", arguments={"inputs": torch.ones(2, 3)})

    @staticmethod
    def passing() -> Case:
        return Case(_Buffer, arguments={"inputs": torch.ones(2, 3)})


def _hint(key: str, kind: str) -> str:
    owner, _, name = key.rpartition(".")
    place = f"self.{name}" + (f" in {owner}" if owner else "")
    if kind in {"Tensor", "Parameter"}:
        return f'self.register_buffer("{name}", ...) instead of assigning {place}'
    if kind in {"ParameterDict", "ParameterList"}:
        return f"nn.{kind}(...) in place of a plain container in {place}"
    if kind == "Generator":
        return f"return {place}.get_state() from get_extra_state(), and set it in set_extra_state(state)"
    if kind == "numpy.Generator":
        return f"return {place}.bit_generator.state from get_extra_state(), and set it in set_extra_state(state)"
    if kind in {"int", "float", "bool"}:
        return (
            f'self.register_buffer("{name}", torch.tensor(...)) instead of assigning {place},\n'
            "or return it from get_extra_state() and take it back in set_extra_state(state)"
        )
    return f"return {place} from get_extra_state(), and take it back in set_extra_state(state)"


class _Attribute(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 3)
        self.offset = torch.randn(3)
        self.calls = 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        result: torch.Tensor = self.linear(x) + self.offset
        return result


class _Buffer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 3)
        self.register_buffer("offset", torch.randn(3))
        self.calls = 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        result: torch.Tensor = self.linear(x) + self.offset
        return result
