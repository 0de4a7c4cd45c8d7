"""Save and load functions that lose, change, share or refuse something."""

# Code under test, as people write it: to type it would change it.
# mypy: ignore-errors

from __future__ import annotations

import argparse
import functools
import gzip
import io
import json
import random
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from tests.pytest_ckpt.cases import faulty

if TYPE_CHECKING:
    from pathlib import Path

X = torch.linspace(-1.0, 1.0, 8).reshape(2, 4)


class Net(nn.Module):
    """A linear layer, batch norm with statistics that have moved, and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.norm, self.head = nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Linear(4, 2)
        self.drop = nn.Dropout(0.1)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.drop(self.norm(self.body(x))))


def train(module: nn.Module) -> None:
    """Move the running statistics."""
    module.train()
    for _ in range(3):
        module(torch.randn(8, 4))


def read(path: Path) -> Any:
    return torch.load(path, map_location="cpu", weights_only=True)


def write(module: nn.Module, path: Path) -> None:
    torch.save(module.state_dict(), path)


def load_net(path: Path) -> Net:
    module = Net()
    module.load_state_dict(read(path))
    return module


TRAINED: dict[str, Any] = {"inputs": X, "prepare": train}


# ----------------------------------------------------------------------------------------------------- entries left out


def save_trainable(module: nn.Module, path: Path) -> None:
    torch.save({name: tensor for name, tensor in module.named_parameters() if tensor.requires_grad}, path)


def load_leniently(path: Path) -> Net:
    module = Net()
    module.load_state_dict(read(path), strict=False)
    return module


@faulty(
    "unsaved-state", "key-mismatch", key=("norm.running_mean", "norm.running_var"),
    save=save_trainable, load=load_leniently, **TRAINED,
)  # fmt: skip
def trainable_parameters_only():
    return Net()


def load_by_named_parameters(path: Path) -> Net:
    module, state = Net(), read(path)
    with torch.no_grad():
        for name, tensor in module.named_parameters():
            tensor.copy_(state[name])
    return module


@faulty(
    "unsaved-state",
    says="was not restored",
    key=("norm.running_mean", "norm.running_var"),
    load=load_by_named_parameters,
    **TRAINED,
)
def loader_of_parameters_only():
    return Net()


def load_without_counter(path: Path) -> nn.Module:
    module = nn.BatchNorm1d(4, momentum=None)
    state = {name: tensor for name, tensor in read(path).items() if not name.endswith("num_batches_tracked")}
    module.load_state_dict(state, strict=False)
    return module


@faulty("unsaved-state", key="num_batches_tracked", load=load_without_counter, **TRAINED)
def loader_drops_the_batch_counter():
    return nn.BatchNorm1d(4, momentum=None)


def save_backbone(module: Net, path: Path) -> None:
    torch.save(module.body.state_dict(), path)


def load_backbone(path: Path) -> Net:
    module = Net()
    module.body.load_state_dict(read(path))
    return module


@faulty(
    "unsaved-state",
    "key-mismatch",
    says="is not in the file",
    key=("head.weight",),
    save=save_backbone,
    load=load_backbone,
    **TRAINED,
)
def backbone_only():
    return Net()


def load_matching_prefix(path: Path) -> Net:
    module = Net()
    module.load_state_dict({key: value for key, value in read(path).items() if "head" not in key}, strict=False)
    return module


@faulty("unsaved-state", "value-changed", key="head.weight", load=load_matching_prefix, **TRAINED)
def loader_skips_the_head():
    return Net()


def load_own_updated(path: Path) -> Net:
    module = Net()
    own = module.state_dict()
    own.update({key: value for key, value in read(path).items() if key in own and value.dim() == 2})
    module.load_state_dict(own)
    return module


@faulty("unsaved-state", key=("body.bias", "norm.weight"), load=load_own_updated, **TRAINED)
def loader_of_matrices_only():
    return Net()


def load_state_forgets_last(module: nn.Module, state: Any) -> None:
    for name in list(state)[:-1]:
        module.state_dict()[name].copy_(state[name])


@faulty("unsaved-state", key="head.bias", load_state=load_state_forgets_last, **TRAINED)
def off_by_one_load_state():
    return Net()


def load_into_a_copy(module: nn.Module, state: Any) -> None:
    with torch.no_grad():
        for name, tensor in module.named_parameters():
            tensor = state[name]  # noqa: F841, PLW2901 -- rebinding the name is the fault


@faulty("unsaved-state", key=("body.weight",), load_state=load_into_a_copy, **TRAINED)
def load_state_that_only_rebinds_names():
    return Net()


def save_as_arrays(module: nn.Module, path: Path) -> None:
    with path.open("wb") as file:
        np.savez(file, **{name: tensor.detach().numpy() for name, tensor in module.named_parameters()})


def load_from_arrays(path: Path) -> Net:
    module = Net()
    with np.load(path) as arrays:
        module.load_state_dict({name: torch.from_numpy(arrays[name]) for name in arrays.files}, strict=False)
    return module


@faulty("unsaved-state", "key-mismatch", key="norm.running_mean", save=save_as_arrays, load=load_from_arrays, **TRAINED)
def numpy_file_of_parameters_only():
    return Net()


# ---------------------------------------------------------------------------------------------------------- wrong names


def save_compiled(module: nn.Module, path: Path) -> None:
    torch.save(torch.compile(module, backend="eager").state_dict(), path)


@faulty("key-mismatch", key=("body.weight",), save=save_compiled, load=load_leniently, **TRAINED)
def compiled_prefix():
    return Net()


def save_parallel(module: nn.Module, path: Path) -> None:
    torch.save({"model": nn.DataParallel(module).state_dict(), "epoch": 3}, path)


def load_parallel(path: Path) -> Net:
    module = Net()
    module.load_state_dict(read(path)["model"], strict=False)
    return module


@faulty(
    "key-mismatch",
    says="the file holds this entry as",
    key=("body.weight",),
    save=save_parallel,
    load=load_parallel,
    **TRAINED,
)
def parallel_prefix_one_level_down():
    return Net()


@faulty("not-loadable", says="model.module.state_dict()", key="module.body.weight", save=save_parallel, load=load_net)
def parallel_prefix_loaded_strictly():
    return Net()


@faulty(
    "not-loadable", says="model._orig_mod.state_dict()", key="_orig_mod.body.weight", save=save_compiled, load=load_net
)
def compiled_prefix_loaded_strictly():
    return Net()


class Small(nn.Linear):
    def __init__(self) -> None:
        super().__init__(4, 2)


@faulty("pickled-module", says="to 1 class, and load raised", key=f"{__name__}.Small", save=torch.save, load=torch.load)
def whole_module_read_safely():
    return Small()


def save_with_compiled_part(module: Net, path: Path) -> None:
    state = module.state_dict()
    torch.save({key.replace("body.", "body._orig_mod."): value for key, value in state.items()}, path)


@faulty(
    "key-mismatch", "unsaved-state", key=("body.weight", "body.bias"),
    save=save_with_compiled_part, load=load_leniently, **TRAINED,
)  # fmt: skip
def compiled_submodule_prefix():
    return Net()


def save_lightning(module: nn.Module, path: Path) -> None:
    state = {f"net.{key}": value for key, value in module.state_dict().items()}
    torch.save({"state_dict": state, "global_step": 7, "hyper_parameters": {"lr": 0.1}}, path)


def load_lightning(path: Path) -> Net:
    module = Net()
    module.load_state_dict(read(path)["state_dict"], strict=False)
    return module


@faulty("key-mismatch", "unsaved-state", key="body.weight", save=save_lightning, load=load_lightning, **TRAINED)
def lightning_prefix_not_stripped():
    return Net()


def load_stripping_too_much(path: Path) -> Net:
    module = Net()
    state = {key.replace("body.", "").replace("norm.", ""): value for key, value in read(path).items()}
    module.load_state_dict(state, strict=False)
    return module


@faulty(
    "unsaved-state", "key-mismatch", key=("body.weight", "norm.running_mean"), load=load_stripping_too_much, **TRAINED
)
def strips_too_much():
    return Net()


# --------------------------------------------------------------------------------------------------------- wrong values


def normalised() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Linear(4, 4))


def load_by_position(path: Path) -> nn.Module:
    module, state = normalised(), read(path)
    with torch.no_grad():
        for tensor, value in zip(module.parameters(), state.values(), strict=False):
            tensor.copy_(value)
    return module


@faulty("value-changed", key=("2.weight", "2.bias"), load=load_by_position, **TRAINED)
def loader_by_position():
    """The statistics shift all that follows, and broadcast into the matrix."""
    return normalised()


def chain() -> nn.Sequential:
    return nn.Sequential(*[nn.Linear(4, 4) for _ in range(11)])


def load_sorted(path: Path) -> nn.Module:
    module, state = chain(), read(path)
    names = sorted(state)
    with torch.no_grad():
        for tensor, name in zip(module.state_dict().values(), sorted(names), strict=True):
            tensor.copy_(state[name] if tensor.shape == state[name].shape else tensor)
    return module


@faulty("value-changed", "unsaved-state", key=("1.weight", "1.bias", "2.weight"), inputs=X, load=load_sorted)
def loader_by_sorted_names():
    return chain()


def save_half(module: nn.Module, path: Path) -> None:
    torch.save(
        {key: value.half() if value.is_floating_point() else value for key, value in module.state_dict().items()}, path
    )


@faulty(
    "value-changed",
    "dtype-changed",
    says="was rounded to a narrower",
    key=("body.weight",),
    save=save_half,
    load=load_net,
    **TRAINED,
)
def half_on_disk():
    return Net()


def save_json(module: nn.Module, path: Path) -> None:
    state = {key: np.round(value.numpy(), 4).tolist() for key, value in module.state_dict().items()}
    path.write_text(json.dumps(state), encoding="utf-8")


def load_json(path: Path) -> Net:
    module = Net()
    state = json.loads(path.read_text(encoding="utf-8"))
    module.load_state_dict({key: torch.tensor(value) for key, value in state.items()})
    return module


@faulty("value-changed", says="came back different", key="body.weight", save=save_json, load=load_json, **TRAINED)
def json_of_four_digits():
    return Net()


def load_transposed(path: Path) -> nn.Module:
    module = nn.Linear(4, 4)
    module.load_state_dict({key: value.t() if value.dim() == 2 else value for key, value in read(path).items()})
    return module


@faulty("value-changed", key="weight", inputs=X, load=load_transposed)
def transposed_like_the_other_framework():
    return nn.Linear(4, 4)


def load_and_initialise(path: Path) -> Net:
    module = load_net(path)
    for layer in module.modules():
        if isinstance(layer, nn.Linear):
            nn.init.xavier_uniform_(layer.weight)
    return module


@faulty("value-changed", "unsaved-state", key=("body.weight", "head.weight"), load=load_and_initialise, **TRAINED)
def initialised_after_loading():
    return Net()


def fused_attention() -> nn.Module:
    return nn.MultiheadAttention(4, 2)


def save_split(module: nn.MultiheadAttention, path: Path) -> None:
    state = dict(module.state_dict())
    for kind in ("weight", "bias"):
        parts = state.pop(f"in_proj_{kind}").chunk(3)
        state.update({f"{name}.{kind}": part.clone() for name, part in zip("qkv", parts, strict=True)})
    torch.save(state, path)


def load_fused_in_wrong_order(path: Path) -> nn.Module:
    module, state = fused_attention(), read(path)
    for kind in ("weight", "bias"):
        state[f"in_proj_{kind}"] = torch.cat([state.pop(f"{name}.{kind}") for name in "kqv"])
    module.load_state_dict(state)
    return module


@faulty(
    "value-changed", "unsaved-state", key=("in_proj_weight",),
    inputs=(torch.randn(3, 4), torch.randn(3, 4), torch.randn(3, 4)),
    save=save_split, load=load_fused_in_wrong_order,
)  # fmt: skip
def fused_in_wrong_order():
    return fused_attention()


def load_meta_without_assign(path: Path) -> Net:
    with torch.device("meta"):
        module = Net()
    module.load_state_dict(read(path))
    module.to_empty(device="cpu")
    for tensor in (*module.parameters(), *module.buffers()):
        tensor.data.fill_(0.5 if tensor.is_floating_point() else 1)  # what stands in fresh memory, made definite
    return module


@faulty("value-changed", "unsaved-state", key="body.weight", load=load_meta_without_assign, **TRAINED)
def meta_without_assign():
    return Net()


class Rotary(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("frequencies", 1 / 10 ** torch.arange(4.0), persistent=False)
        self.fc = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(x) * self.frequencies.cos()


def load_meta_to_empty(path: Path) -> Rotary:
    with torch.device("meta"):
        module = Rotary()
    module.to_empty(device="cpu")
    module.frequencies.zero_()  # what stands in fresh memory, made definite
    module.load_state_dict(read(path))
    return module


@faulty("nonpersistent-buffer", key="frequencies", inputs=X, load=load_meta_to_empty)
def table_never_computed():
    return Rotary()


def load_meta_assign(path: Path) -> Rotary:
    with torch.device("meta"):
        module = Rotary()
    module.load_state_dict(read(path), assign=True)
    return module


def load_body_alone(path: Path) -> Net:
    with torch.device("meta"):
        module = Net()
    module.load_state_dict({key: value for key, value in read(path).items() if "head" not in key}, False, assign=True)
    return module


@faulty("device-location", key="head.weight", load=load_body_alone)
def head_left_on_meta():
    return Net()


@faulty("nonpersistent-buffer", "device-location", key="frequencies", inputs=X, load=load_meta_assign)
def table_left_on_meta():
    return Rotary()


# -------------------------------------------------------------------------------------------------- structure and flags


def load_single_precision(path: Path) -> nn.Module:
    module = nn.Linear(4, 2)
    module.load_state_dict(read(path))
    return module


@faulty("dtype-changed", key=("weight", "bias"), inputs=X.bfloat16(), load=load_single_precision)
def bfloat16_checkpoint_in_float32():
    return nn.Linear(4, 2).to(torch.bfloat16)


def load_half_by_default(path: Path) -> Net:
    return load_net(path).half()


@faulty("dtype-changed", key="body.weight", load=load_half_by_default, prepare=train)
def loaded_for_a_faster_machine():
    return Net()


def load_broadcasting(path: Path) -> nn.Module:
    module = nn.Linear(4, 3)
    with torch.no_grad():
        for name, value in read(path).items():
            module.state_dict()[name].copy_(value)
    return module


class OneBias(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.randn(3, 4)), nn.Parameter(torch.randn(1))

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.linear(x, self.weight) + self.bias


@faulty("shape-changed", key="bias", inputs=X, load=load_broadcasting)
def broadcast_into_the_bias():
    return OneBias()


def load_squeezed(path: Path) -> nn.Module:
    module = nn.Conv1d(1, 4, 1)
    for name, value in read(path).items():
        setattr(module, name, nn.Parameter(value.squeeze()))
    return module


@faulty("shape-changed", says="the shape changed", key="weight", load=load_squeezed)
def squeezed_by_conversion():
    return nn.Conv1d(1, 4, 1)


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.head = nn.Embedding(5, 4), nn.Linear(4, 5, bias=False)
        self.head.weight = self.embedding.weight

    def forward(self, tokens: Tensor) -> Tensor:
        return self.head(self.embedding(tokens))


def save_once(module: Tied, path: Path) -> None:
    save_file({"embedding.weight": module.embedding.weight.detach()}, path)


def load_never_tied(path: Path) -> Tied:
    with torch.device("meta"):
        module = Tied()
    module.load_state_dict(load_file(path), strict=False, assign=True)
    module.head.weight = nn.Parameter(module.embedding.weight.detach().clone())
    return module


@faulty(
    "tie-broken",
    key=("head.weight", "embedding.weight"),
    inputs=torch.tensor([0, 3]),
    save=save_once,
    load=load_never_tied,
)
def tie_dropped_and_never_made_again():
    return Tied()


def load_each_assigned(path: Path) -> Tied:
    module = Tied()
    for name, value in read(path).items():
        owner, _, leaf = name.rpartition(".")
        setattr(module.get_submodule(owner), leaf, nn.Parameter(value))
    return module


@faulty("tie-broken", key=("head.weight", "embedding.weight"), inputs=torch.tensor([0, 3]), load=load_each_assigned)
def tie_replaced_by_two_parameters_over_one_memory():
    return Tied()


def load_frozen_in_train_mode(path: Path) -> Net:
    module = Net()
    for name, value in read(path).items():
        if name in dict(module.named_parameters()):
            owner, _, leaf = name.rpartition(".")
            setattr(module.get_submodule(owner), leaf, nn.Parameter(value, requires_grad=False))
        else:
            module.get_buffer(name).copy_(value)
    return module


@faulty(
    "requires-grad", says="trained and is frozen now", key=("body.weight",), load=load_frozen_in_train_mode, **TRAINED
)
def frozen_by_a_flag_forgotten():
    return Net()


def load_partly_eval(path: Path) -> Net:
    module = load_net(path)
    module.norm.eval()
    return module


@faulty("mode-changed", key="norm", load=load_partly_eval, **TRAINED)
def one_part_left_in_eval():
    return Net()


# --------------------------------------------------------------------------------------------------- what saving leaves


def save_through_half(module: nn.Module, path: Path) -> None:
    module.half()
    write(module, path)
    module.float()


@faulty("save-mutates", says="convert copies of the tensors", key="body.weight", save=save_through_half, **TRAINED)
def rounded_by_saving():
    return Net()


def save_in_eval(module: nn.Module, path: Path) -> None:
    module.eval()
    write(module, path)


@faulty("mode-changed", key="Net", save=save_in_eval, **TRAINED)
def left_in_eval_by_saving():
    return Net()


def save_frozen(module: nn.Module, path: Path) -> None:
    module.requires_grad_(False)
    write(module, path)


@faulty("save-mutates", key="body.weight", save=save_frozen, **TRAINED)
def frozen_by_saving():
    return Net()


def save_reproducibly(module: nn.Module, path: Path) -> None:
    torch.manual_seed(0)
    random.seed(0)
    write(module, path)


@faulty(
    "save-mutates",
    says="saving draws from",
    key=("torch.get_rng_state()", "random.getstate()"),
    save=save_reproducibly,
    **TRAINED,
)
def seeded_by_saving():
    return Net()


def save_averaged(module: Net, path: Path) -> None:
    """Put the averaged weights into the model to save it, and forget to put the live ones back."""
    with torch.no_grad():
        for tensor in module.parameters():
            tensor.mul_(0.99)
    write(module, path)


@faulty("save-mutates", key="body.weight", save=save_averaged, **TRAINED)
def average_swapped_in_and_not_out():
    return Net()


def save_pruned(module: Net, path: Path) -> None:
    """Strip what the file does not need, from the live module."""
    module.norm.num_batches_tracked = None
    write(module, path)


@faulty("save-mutates", key="norm.num_batches_tracked", save=save_pruned, load=load_leniently, **TRAINED)
def stripped_by_saving():
    return Net()


def save_to_double_and_back(module: Net, path: Path) -> None:
    state = module.state_dict()
    for tensor in state.values():
        if tensor.is_floating_point():
            tensor.copy_(tensor.to(torch.bfloat16))
    torch.save(state, path)


@faulty("save-mutates", key="body.weight", save=save_to_double_and_back, **TRAINED)
def rounds_the_state_dict_in_place():
    return Net()


# -------------------------------------------------------------------------------------------------------------- sharing


class CachingLoader:
    """Reads each file once and assigns the same tensors to every model."""

    def __init__(self) -> None:
        self.read = functools.lru_cache(maxsize=8)(read)

    def __call__(self, path: Path) -> Net:
        module = Net()
        module.load_state_dict(self.read(path), assign=True)
        return module


@faulty("aliasing", key=("body.weight",), load=CachingLoader(), **TRAINED)
def cached_checkpoint_assigned():
    return Net()


class RegistryLoader:
    """Shares one frozen backbone between all the models that it gives."""

    def __init__(self) -> None:
        self.backbone: nn.Module | None = None

    def __call__(self, path: Path) -> Net:
        module = load_net(path)
        self.backbone = self.backbone or module.body
        self.backbone.load_state_dict(module.body.state_dict())
        module.body = self.backbone
        return module


@faulty("aliasing", key=("body.weight", "body.bias"), load=RegistryLoader(), **TRAINED)
def backbone_shared_between_models():
    return Net()


def load_state_dividing(module: nn.Module, state: Any) -> None:
    state["weight"].mul_(2)
    module.load_state_dict({name: value / 2 if name == "weight" else value for name, value in state.items()})


@faulty("input-mutated", key="weight", inputs=X, load_state=load_state_dividing)
def load_state_scales_the_callers_tensor():
    return nn.Linear(4, 2)


# -------------------------------------------------------------------------------------------------------- settings lost


class Attention(nn.Module):
    def __init__(self, heads: int = 2, eps: float = 1e-5, activation: str = "relu") -> None:
        super().__init__()
        self.heads, self.eps, self.activation = heads, eps, activation
        self.qkv = nn.Linear(4, 12)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).unbind(-3)
        out = torch.softmax(q @ k.transpose(-1, -2) + self.eps, -1) @ v
        return (out.relu() if self.activation == "relu" else out.tanh()).flatten(-2)


def load_attention(path: Path) -> Attention:
    module = Attention()
    module.load_state_dict(read(path))
    return module


@faulty("config-lost", key="heads", inputs=X, load=load_attention)
def number_of_heads_lost():
    return Attention(heads=4)


@faulty("config-lost", key="activation", inputs=X, load=load_attention)
def name_of_activation_lost():
    return Attention(activation="tanh")


def layer_norm(eps: float) -> nn.Module:
    return nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4, eps=eps))


def load_layer_norm(path: Path) -> nn.Module:
    module = layer_norm(1e-5)
    module.load_state_dict(read(path))
    return module


@faulty("config-lost", key="1.eps", inputs=X, load=load_layer_norm)
def epsilon_lost():
    return layer_norm(1e-1)


def convolution(**settings: Any) -> nn.Module:
    return nn.Conv1d(2, 2, 3, **settings)


def load_convolution(path: Path) -> nn.Module:
    module = convolution()
    module.load_state_dict(read(path))
    return module


@faulty("config-lost", "unsaved-state", key=("dilation",), inputs=torch.randn(1, 2, 9), load=load_convolution)
def dilation_lost():
    return convolution(dilation=(2,))


# ------------------------------------------------------------------------------------------------------ the file itself


def load_as_written(path: Path) -> Net:
    module = Net()
    module.load_state_dict(torch.load(path, weights_only=True))
    return module


@faulty("device-location", key="torch.load on cpu", load=load_as_written, **TRAINED)
def no_map_location():
    return Net()


def save_record(module: nn.Module, path: Path) -> None:
    torch.save({"state_dict": module.state_dict(), "best": torch.tensor(0.3)}, path)


def load_record_from_open_file(path: Path) -> Net:
    module = Net()
    with path.open("rb") as file:
        module.load_state_dict(torch.load(file)["state_dict"])
    return module


@faulty("device-location", key="torch.load on cpu", save=save_record, load=load_record_from_open_file, **TRAINED)
def no_map_location_from_an_open_file():
    return Net()


def load_through_memory(path: Path) -> Net:
    module = Net()
    module.load_state_dict(torch.load(io.BytesIO(path.read_bytes())))
    return module


@faulty("device-location", key="torch.load on cpu", load=load_through_memory, **TRAINED)
def no_map_location_from_memory():
    return Net()


def load_to_cuda(path: Path) -> Net:
    module = Net()
    module.load_state_dict(torch.load(path, map_location="cuda", weights_only=True))
    return module


@faulty("device-location", "not-loadable", key=("torch.load on cpu", "Net"), load=load_to_cuda, **TRAINED)
def map_location_to_a_device_that_is_not_here():
    return Net()


def save_compressed(module: nn.Module, path: Path) -> None:
    with gzip.open(path, "wb") as file:
        torch.save(module.state_dict(), file)


def load_uncompressed(path: Path) -> Net:
    return load_net(path)


@faulty(
    "not-loadable", says="make load(path) accept", key=("Net",), save=save_compressed, load=load_uncompressed, **TRAINED
)
def compressed_and_read_plain():
    return Net()


def load_state_of_a_record(module: nn.Module, record: Any) -> None:
    module.load_state_dict(record["model"])


@faulty(
    "not-loadable",
    key="Net",
    says="make load_state(module, state_dict) accept",
    alone=True,
    load_state=load_state_of_a_record,
)
def state_asked_for_within_a_record():
    return Net()


@faulty("not-loadable", key="Unready", says="make load_state_dict(state_dict) accept", alone=True)
class Unready(Net):
    """Loads only once it has been compiled."""

    compiled = False

    def load_state_dict(self, *args: Any, **kwargs: Any) -> Any:
        if not self.compiled:
            raise RuntimeError("call compile_layers() first")
        return super().load_state_dict(*args, **kwargs)


class Config:
    def __init__(self) -> None:
        self.width = 4


def save_with_namespace(module: nn.Module, path: Path) -> None:
    torch.save({"state_dict": module.state_dict(), "args": argparse.Namespace(lr=0.1)}, path)


def load_with_default(path: Path) -> Net:
    module = Net()
    module.load_state_dict(torch.load(path, map_location="cpu")["state_dict"])
    return module


@faulty(
    "not-weights-only",
    key="argparse.Namespace",
    alone=True,
    save=save_with_namespace,
    load=load_with_default,
    **TRAINED,
)
def namespace_beside_the_weights():
    return Net()


def save_with_config(module: nn.Module, path: Path) -> None:
    torch.save({"state_dict": module.state_dict(), "config": Config()}, path)


def load_anything(path: Path) -> Net:
    module = Net()
    module.load_state_dict(torch.load(path, map_location="cpu", weights_only=False)["state_dict"])
    return module


@faulty("not-weights-only", key=f"{__name__}.Config", save=save_with_config, load=load_anything, **TRAINED)
def config_object_beside_the_weights():
    return Net()


def save_weights_and_array(module: nn.Module, path: Path) -> None:
    torch.save({"state_dict": module.state_dict(), "losses": np.zeros(3)}, path)


@faulty("not-weights-only", key="numpy.ndarray", save=save_weights_and_array, load=load_anything, **TRAINED)
def array_beside_the_weights():
    return Net()


def save_into_a_folder_that_is_not_there(module: nn.Module, path: Path) -> None:
    torch.save(module.state_dict(), path / "model.pt")


@faulty(
    "not-saveable",
    says="make save(module, path) accept",
    key=("Net",),
    save=save_into_a_folder_that_is_not_there,
    load=load_net,
    **TRAINED,
)
def folder_never_made():
    return Net()
