"""Save and load functions that look suspicious and are right: no finding."""

# Code under test, as people write it: to type it would change it.
# mypy: ignore-errors

from __future__ import annotations

import copy
import dataclasses
import gzip
import io
import json
import os
import pickle
import tempfile
import warnings
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, load_model, save_file, save_model
from torch import Tensor, nn
from torch.nn.modules.utils import consume_prefix_in_state_dict_if_present

from tests.pytest_ckpt.cases import correct
from tests.pytest_ckpt.cases.broken_loaders import Attention, Net, Rotary, Tied, load_net, read, train, write

X = torch.linspace(-1.0, 1.0, 8).reshape(2, 4)
TOKENS = torch.tensor([0, 3])
TRAINED: dict[str, Any] = {"inputs": X, "prepare": train}


def load_into(module: Any, state: Any, **keywords: Any) -> Any:
    module.load_state_dict(state, **keywords)
    return module


# ------------------------------------------------------------------------------------------------------ what is written


@correct(**TRAINED)
def defaults():
    return Net()


def save_atomically(module: nn.Module, path: Path) -> None:
    handle, name = tempfile.mkstemp(dir=path.parent)
    with os.fdopen(handle, "wb") as file:
        torch.save(module.state_dict(), file)
        file.flush()
        os.fsync(file.fileno())
    Path(name).replace(path)


@correct(save=save_atomically, load=load_net, **TRAINED)
def temporary_file_and_replace():
    return Net()


def save_compressed(module: nn.Module, path: Path) -> None:
    with gzip.open(path, "wb") as file:
        torch.save(module.state_dict(), file)


def load_compressed(path: Path) -> Net:
    with gzip.open(path, "rb") as file:
        return load_into(Net(), torch.load(io.BytesIO(file.read()), map_location="cpu", weights_only=True))


@correct(save=save_compressed, load=load_compressed, **TRAINED)
def compressed_both_ways():
    return Net()


def save_legacy(module: nn.Module, path: Path) -> None:
    torch.save(module.state_dict(), path, _use_new_zipfile_serialization=False)


@correct(save=save_legacy, load=load_net, **TRAINED)
def legacy_file_format():
    return Net()


@correct(save=save_legacy, **TRAINED)
def legacy_file_format_loaded_by_default():
    return Net()


def save_opened(module: nn.Module, path: Path) -> None:
    with path.open("wb") as file:
        torch.save(module.state_dict(), file)


@correct(save=save_opened, **TRAINED)
def open_file():
    return Net()


def save_by_protocol(module: nn.Module, path: Path) -> None:
    torch.save(module.state_dict(), path, pickle_protocol=4)


@correct(save=save_by_protocol, **TRAINED)
def another_pickle_protocol():
    return Net()


def save_safetensors(module: nn.Module, path: Path) -> None:
    save_file(module.state_dict(), path)


@correct(save=save_safetensors, load=lambda path: load_into(Net(), load_file(path)), **TRAINED)
def safetensors():
    return Net()


def load_safetensors_model(path: Path) -> Tied:
    module = Tied()
    load_model(module, path)
    return module


@correct(inputs=TOKENS, save=lambda module, path: save_model(module, str(path)), load=load_safetensors_model)
def safetensors_with_a_tie():
    return Tied()


def save_arrays(module: nn.Module, path: Path) -> None:
    with path.open("wb") as file:
        np.savez_compressed(file, **{key: value.numpy() for key, value in module.state_dict().items()})


def load_arrays(path: Path) -> Net:
    with np.load(path) as arrays:
        return load_into(Net(), {name: torch.from_numpy(arrays[name]) for name in arrays.files})


@correct(save=save_arrays, load=load_arrays, **TRAINED)
def numpy_archive():
    return Net()


def save_archive(module: nn.Module, path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", json.dumps({"class": type(module).__name__}))
        with archive.open("weights.pt", "w") as file:
            torch.save(module.state_dict(), file)


def load_archive(path: Path) -> Net:
    with zipfile.ZipFile(path) as archive:
        return load_into(Net(), read(io.BytesIO(archive.read("weights.pt"))))


@correct(save=save_archive, load=load_archive, **TRAINED)
def zip_with_a_config():
    return Net()


def save_pretrained(module: Attention, folder: Path) -> None:
    folder.mkdir()
    settings = {"heads": module.heads, "eps": module.eps, "activation": module.activation}
    (folder / "config.json").write_text(json.dumps(settings), encoding="utf-8")
    save_file(module.state_dict(), folder / "model.safetensors")


def from_pretrained(folder: Path) -> Attention:
    module = Attention(**json.loads((folder / "config.json").read_text(encoding="utf-8")))
    return load_into(module, load_file(folder / "model.safetensors")).eval()


@correct(inputs=X, save=save_pretrained, load=from_pretrained)
def folder_with_config():
    return Attention(heads=4, eps=0.25, activation="tanh")


def save_sharded(module: nn.Module, folder: Path) -> None:
    folder.mkdir()
    index = {}
    for number, (key, value) in enumerate(module.state_dict().items()):
        name = f"shard-{number}.pt"
        torch.save({key: value}, folder / name)
        index[key] = name
    (folder / "index.json").write_text(json.dumps(index), encoding="utf-8")


def load_sharded(folder: Path) -> Net:
    module = Net()
    for key, name in json.loads((folder / "index.json").read_text(encoding="utf-8")).items():
        missing, unexpected = module.load_state_dict(read(folder / name), strict=False)
        if unexpected or key in missing:
            raise RuntimeError(f"{name} does not hold {key} alone")
    return module


@correct(save=save_sharded, load=load_sharded, **TRAINED)
def shards_loaded_one_by_one():
    return Net()


def save_training(module: nn.Module, path: Path) -> None:
    optimizer = torch.optim.AdamW(module.parameters())
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 10)
    torch.save(
        {
            "model": module.state_dict(),
            "ema": OrderedDict((key, value.clone()) for key, value in module.state_dict().items()),
            "optimizer": optimizer.state_dict(),
            "scheduler": schedule.state_dict(),
            "epoch": 3, "best": 0.25, "name": "net", "sizes": torch.Size([4, 2]), "dtype": torch.float32,
            "betas": (0.9, 0.999), "rng": torch.get_rng_state(), "classes": ["cat", "dog"], "args": {"lr": 1e-3},
        },
        path,
    )  # fmt: skip


@correct(save=save_training, load=lambda path: load_into(Net(), read(path)["model"]), **TRAINED)
def training_checkpoint_of_plain_data():
    return Net()


@dataclasses.dataclass
class Settings:
    heads: int = 2


def save_settings(module: Attention, path: Path) -> None:
    settings = Settings(module.heads)
    torch.save({"config": dataclasses.asdict(settings), "state_dict": module.state_dict()}, path)


def load_settings(path: Path) -> Attention:
    content = read(path)
    return load_into(Attention(**content["config"]), content["state_dict"])


@correct(inputs=X, save=save_settings, load=load_settings)
def settings_as_a_plain_dict():
    return Attention(heads=4)


def save_settings_object(module: Attention, path: Path) -> None:
    torch.save({"config": Settings(module.heads), "state_dict": module.state_dict()}, path)


def load_settings_object(path: Path) -> Attention:
    with torch.serialization.safe_globals([Settings]):
        content = torch.load(path, map_location="cpu", weights_only=True)
    return load_into(Attention(content["config"].heads), content["state_dict"])


@correct(inputs=X, save=save_settings_object, load=load_settings_object)
def safe_globals_in_the_loader():
    return Attention(heads=4)


# -------------------------------------------------------------------------------------- names that are taken off and on


def save_wrapped(module: nn.Module, path: Path) -> None:
    torch.save(nn.DataParallel(module).state_dict(), path)


def load_wrapped(path: Path) -> Net:
    state = read(path)
    consume_prefix_in_state_dict_if_present(state, "module.")
    return load_into(Net(), state)


@correct(save=save_wrapped, load=load_wrapped, **TRAINED)
def parallel_prefix_stripped():
    return Net()


@correct(save=lambda module, path: write(nn.DataParallel(module).module, path), load=load_wrapped, **TRAINED)
def optional_prefix_absent():
    return Net()


def save_compiled(module: nn.Module, path: Path) -> None:
    torch.save({f"_orig_mod.{key}": value for key, value in module.state_dict().items()}, path)


def load_compiled(path: Path) -> nn.Module:
    return load_into(torch.compile(Net(), backend="eager"), read(path))


@correct(save=save_compiled, load=load_compiled, **TRAINED)
def loader_gives_a_compiled_module():
    return Net()


@correct(load=lambda path: nn.DataParallel(load_net(path)), **TRAINED)
def loader_gives_a_parallel_module():
    return Net()


def save_lightning(module: nn.Module, path: Path) -> None:
    state = {f"net.{key}": value for key, value in module.state_dict().items()}
    torch.save({"state_dict": state, "pytorch-lightning_version": "2.4.0", "hyper_parameters": {"lr": 0.1}}, path)


def load_lightning(path: Path) -> Net:
    state = read(path)["state_dict"]
    return load_into(Net(), {key.removeprefix("net."): value for key, value in state.items()})


@correct(save=save_lightning, load=load_lightning, **TRAINED)
def lightning_checkpoint():
    return Net()


def save_renamed(module: nn.Module, path: Path) -> None:
    state = module.state_dict()
    renamed = {key.replace("body", "encoder"): value.t() if value.dim() == 2 else value for key, value in state.items()}
    torch.save({key: value.contiguous() for key, value in renamed.items()}, path)


def load_renamed(path: Path) -> Net:
    state = {key.replace("encoder", "body"): value for key, value in read(path).items()}
    return load_into(Net(), {key: value.t() if value.dim() == 2 else value for key, value in state.items()})


@correct(save=save_renamed, load=load_renamed, **TRAINED)
def another_frameworks_layout_and_back():
    return Net()


def load_by_position(path: Path) -> Net:
    module = Net()
    own, values = module.state_dict(), list(read(path).values())
    return load_into(module, dict(zip(own, values, strict=True)))


@correct(load=load_by_position, **TRAINED)
def loader_by_position_of_the_whole_state():
    return Net()


# ------------------------------------------------------------------------------------------ what is left out on purpose


class Adapted(nn.Module):
    """A base that comes from elsewhere and a small trained part."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(11)
            self.base = nn.Linear(4, 4).requires_grad_(False)
        self.adapter = nn.Linear(4, 4, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.base(x) + self.adapter(x)


def save_adapter(module: Adapted, path: Path) -> None:
    torch.save({name: value for name, value in module.named_parameters() if value.requires_grad}, path)


def load_adapter(path: Path) -> Adapted:
    module = Adapted()
    missing, unexpected = module.load_state_dict(read(path), strict=False)
    if unexpected or any("adapter" in name for name in missing):
        raise RuntimeError(f"not an adapter: {missing}, {unexpected}")
    return module


@correct(inputs=X, save=save_adapter, load=load_adapter)
def adapter_over_a_deterministic_base():
    return Adapted()


def load_state_checked(module: nn.Module, state: Any) -> None:
    result = module.load_state_dict({**state, "old.steps": torch.zeros(1)}, strict=False)
    unknown = [key for key in result.unexpected_keys if not key.startswith("old.")]
    if result.missing_keys or unknown:
        raise RuntimeError(f"missing {result.missing_keys}, unknown {unknown}")


@correct(load_state=load_state_checked, **TRAINED)
def lenient_with_an_allow_list():
    return Net()


class WithAuxiliaryHead(Net):
    def __init__(self) -> None:
        super().__init__()
        self.auxiliary = nn.Linear(4, 3)


def save_for_inference(module: nn.Module, path: Path) -> None:
    torch.save({key: value for key, value in module.state_dict().items() if "auxiliary" not in key}, path)


def load_for_inference(path: Path) -> nn.Module:
    module = WithAuxiliaryHead()
    missing, unexpected = module.load_state_dict(read(path), strict=False)
    if unexpected or any(not key.startswith("auxiliary.") for key in missing):
        raise RuntimeError(f"missing {missing}, unexpected {unexpected}")
    return module


@correct(allow_missing=["auxiliary.*"], save=save_for_inference, load=load_for_inference, **TRAINED)
def training_head_left_out():
    return WithAuxiliaryHead()


@correct(allow_missing=["auxiliary.*"], save=save_for_inference, **TRAINED)
def training_head_left_out_by_default_loader():
    return WithAuxiliaryHead()


def save_tied_once(module: Tied, path: Path) -> None:
    save_file({"embedding.weight": module.embedding.weight.detach()}, path)


def load_and_tie(path: Path) -> Tied:
    with torch.device("meta"):
        module = Tied()
    module.load_state_dict(load_file(path), strict=False, assign=True)
    module.head.weight = module.embedding.weight
    return module


@correct(inputs=TOKENS, save=save_tied_once, load=load_and_tie)
def tied_again_after_assigning():
    return Tied()


# ------------------------------------------------------------------------------------------------ how it is constructed


def load_meta(path: Path) -> Net:
    with torch.device("meta"):
        module = Net()
    return load_into(module, torch.load(path, map_location="cpu", mmap=True, weights_only=True), assign=True)


@correct(save=save_atomically, load=load_meta, **TRAINED)
def built_on_meta_and_assigned():
    return Net()


def load_meta_rotary(path: Path) -> Rotary:
    with torch.device("meta"):
        module = Rotary()
    module.to_empty(device="cpu")
    module.load_state_dict(read(path))
    module.frequencies.copy_(1 / 10 ** torch.arange(4.0))
    return module


@correct(inputs=X, load=load_meta_rotary)
def table_computed_again_after_to_empty():
    return Rotary()


def load_without_initialisation(path: Path) -> Net:
    return load_into(torch.nn.utils.skip_init(nn.Linear, 4, 2), read(path))


@correct(inputs=X, load=load_without_initialisation)
def initialisation_skipped():
    return nn.Linear(4, 2)


def load_under_default_dtype(path: Path) -> nn.Module:
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.bfloat16)
    try:
        return load_into(nn.Linear(4, 2), read(path))
    finally:
        torch.set_default_dtype(before)


@correct(inputs=X.bfloat16(), load=load_under_default_dtype)
def bfloat16_model_built_in_bfloat16():
    return nn.Linear(4, 2).to(torch.bfloat16)


def load_from_template(path: Path) -> Net:
    template = Net()
    module = copy.deepcopy(template)
    return load_into(module, read(path))


@correct(load=load_from_template, **TRAINED)
def copy_of_a_template():
    return Net()


class CopyingCache:
    """Reads each file once and gives each model copies."""

    def __init__(self) -> None:
        self._states: dict[Path, Any] = {}

    def __call__(self, path: Path) -> Net:
        state = self._states.setdefault(path, read(path)) if path in self._states else None
        if state is None:
            state = self._states[path] = read(path)
        return load_into(Net(), copy.deepcopy(state), assign=True)


@correct(load=CopyingCache(), **TRAINED)
def cached_checkpoint_copied():
    return Net()


# ------------------------------------------------------------------------------------------------------ modes and flags


@correct(load=lambda path: load_net(path).eval(), **TRAINED)
def loader_gives_eval():
    return Net()


@correct(load=lambda path: load_net(path).eval().requires_grad_(False), **TRAINED)
def loader_gives_frozen_for_inference():
    return Net()


@correct(load=lambda path: load_net(path).eval(), inputs=X, prepare=lambda module: (train(module), module.eval()))
def evaluated_before_saving():
    return Net()


def save_in_eval_and_back(module: nn.Module, path: Path) -> None:
    was_training = module.training
    module.eval()
    try:
        write(module, path)
    finally:
        module.train(was_training)


@correct(save=save_in_eval_and_back, **TRAINED)
def eval_while_saving():
    return Net()


def save_half_of_a_copy(module: nn.Module, path: Path) -> None:
    write(copy.deepcopy(module).double(), path)


@correct(save=save_half_of_a_copy, load=load_net, **TRAINED)
def wider_on_disk():
    return Net()


def save_averaged_and_back(module: nn.Module, path: Path) -> None:
    """Swap something else in for the time of saving, and put the live weights back."""
    live = {name: tensor.detach().clone() for name, tensor in module.named_parameters()}
    write(module, path)
    with torch.no_grad():
        for name, tensor in module.named_parameters():
            tensor.mul_(2)
            tensor.copy_(live[name])


@correct(save=save_averaged_and_back, **TRAINED)
def swapped_out_and_in_again():
    return Net()


def save_drawing_from_a_fork(module: nn.Module, path: Path) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        torch.rand(3)
        write(module, path)


@correct(save=save_drawing_from_a_fork, **TRAINED)
def random_numbers_from_a_fork():
    return Net()


class FreezesOnLoad(nn.Module):
    """Its flags are saved beside the weights."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(4, 4) for _ in range(3)])

    def freeze(self, count: int) -> None:
        for layer in self.layers[:count]:
            layer.requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x)
        return x


def save_flags(module: FreezesOnLoad, path: Path) -> None:
    frozen = [name for name, tensor in module.named_parameters() if not tensor.requires_grad]
    torch.save({"weights": module.state_dict(), "frozen": frozen}, path)


def load_flags(path: Path) -> FreezesOnLoad:
    content = read(path)
    module = load_into(FreezesOnLoad(), content["weights"])
    for name in content["frozen"]:
        module.get_parameter(name).requires_grad_(False)
    return module


@correct(inputs=X, prepare=lambda module: module.freeze(2), save=save_flags, load=load_flags)
def frozen_layers_saved_and_frozen_again():
    return FreezesOnLoad()


# -------------------------------------------------------------------------------------------------------- whole modules


def save_scripted(module: nn.Module, path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.script(module), path)


def load_scripted(path: Path) -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.jit.load(path, map_location="cpu")


@correct(inputs=X, save=save_scripted, load=load_scripted)
def scripted_archive():
    return nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.BatchNorm1d(4))


# ---------------------------------------------------------------------------------------------- load_state and its dict


def load_state_assigning(module: nn.Module, state: Any) -> None:
    module.load_state_dict(state, assign=True)


@correct(load_state=load_state_assigning, **TRAINED)
def assigned_by_load_state():
    return Net()


def load_state_by_copy(module: nn.Module, state: Any) -> None:
    own = module.state_dict()
    if own.keys() != state.keys():
        raise KeyError(sorted(own.keys() ^ state.keys()))
    with torch.no_grad():
        for name, tensor in own.items():
            if tensor.shape != state[name].shape:
                raise ValueError(name)
            tensor.copy_(state[name])


@correct(load_state=load_state_by_copy, **TRAINED)
def copied_entry_by_entry():
    return Net()


def load_state_through_vector(module: nn.Module, state: Any) -> None:
    with torch.no_grad():
        vector = nn.utils.parameters_to_vector(state[name] for name, _ in module.named_parameters())
        nn.utils.vector_to_parameters(vector, module.parameters())
        for name, buffer in module.named_buffers():
            buffer.copy_(state[name])


@correct(load_state=load_state_through_vector, **TRAINED)
def through_one_vector():
    return Net()


def load_state_part_by_part(module: nn.Module, state: Any) -> None:
    for name, child in module.named_children():
        part = {key.removeprefix(f"{name}."): value for key, value in state.items() if key.startswith(f"{name}.")}
        child.load_state_dict(part)


@correct(load_state=load_state_part_by_part, **TRAINED)
def part_by_part():
    return Net()


def load_noisily(path: Path) -> Net:
    """Prints, seeds, and goes to the folder of the file and back."""
    print(f"loading {path.name}")  # noqa: T201 -- many loaders do
    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002 -- the global one is meant
    here = Path.cwd()
    os.chdir(path.parent)
    try:
        return load_net(Path(path.name))
    finally:
        os.chdir(here)


@correct(load=load_noisily, **TRAINED)
def noisy_loader():
    return Net()


def save_pickled_state(module: nn.Module, path: Path) -> None:
    arrays = {key: value.numpy().copy() for key, value in module.state_dict().items()}
    path.write_bytes(pickle.dumps(arrays))


def load_pickled_state(path: Path) -> Net:
    arrays = pickle.loads(path.read_bytes())
    return load_into(Net(), {key: torch.from_numpy(np.array(value)) for key, value in arrays.items()})


@correct(save=save_pickled_state, load=load_pickled_state, **TRAINED)
def pickle_of_arrays():
    return Net()
