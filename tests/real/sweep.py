"""What the sweep goes over: modules that libraries ship, each with how it is built and what its forward takes."""

from __future__ import annotations

import inspect
import os
import random
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

FULL = os.environ.get("SWEEP") == "full"
NODES = torch.rand(5, 4, generator=torch.Generator().manual_seed(0))
EDGES = torch.tensor([[0, 1, 2, 3, 4, 0], [1, 2, 3, 4, 0, 2]])
TINY = {
    "attention_hidden_size": 16, "d_ff": 24, "d_inner": 24, "d_kv": 4, "d_model": 16, "decoder_attention_heads": 4,
    "decoder_ffn_dim": 24, "decoder_layers": 1, "dim": 16, "embedding_size": 16, "emb_dim": 16, "encoder_ffn_dim": 24,
    "encoder_attention_heads": 4, "encoder_layers": 1, "ffn_dim": 24, "head_dim": 4, "hidden_dim": 24,
    "hidden_size": 16, "intermediate_size": 24, "max_position_embeddings": 32, "n_embd": 16, "n_head": 4,
    "n_heads": 4, "n_layer": 1, "n_layers": 1, "num_attention_heads": 4, "num_decoder_layers": 1, "num_heads": 4,
    "num_hidden_layers": 1, "num_key_value_heads": 2, "num_layers": 1, "rotary_dim": 4, "vocab_size": 64,
    "num_experts": 4, "num_local_experts": 4, "n_routed_experts": 4, "moe_intermediate_size": 8, "n_positions": 32,
    "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "image_size": 16, "patch_size": 8, "n_inner": 24,
    "layer_types": None, "num_experts_per_tok": 2, "block_sizes": [1], "use_mamba_kernels": False,
}  # fmt: skip


@dataclass(frozen=True)
class Subject:
    """One module of a library.

    Attributes:
        name: Its class, and which of its sample inputs.
        make: Gives a fresh module.
        inputs: What forward takes.
        arguments: Further arguments of `check_module`.
    """

    name: str
    make: Callable[[], nn.Module]
    inputs: Any
    arguments: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.name


def torch_nn() -> Iterator[Subject]:
    """Give the modules of torch's own test suite with its sample inputs; one each in the reduced form.

    Its import changes global settings, the default dtype among them, which are given back here.
    """
    dtype, state, python_state = torch.get_default_dtype(), torch.get_rng_state(), random.getstate()
    try:
        from torch.testing._internal.common_modules import module_db

        torch.set_default_dtype(torch.float32)
        for info in module_db:
            for training in (False, True)[: 1 + FULL]:
                given = info.module_inputs_func(
                    info, device="cpu", dtype=torch.float32, requires_grad=False, training=training
                )
                for number, sample in enumerate(given[: None if FULL else 1]):
                    built, forward = sample.constructor_input, sample.forward_input
                    if forward is None or "FractionalMaxPool" in info.name:  # whose samples are float64
                        continue
                    yield Subject(
                        f"{info.name}-{number}{'-train' * training}",
                        partial(info.module_cls, *built.args, **built.kwargs),
                        _arguments(info.module_cls, forward.args, forward.kwargs),
                        {"mode": "train" if training else "eval"},
                    )
    finally:
        torch.set_default_dtype(dtype)
        torch.set_rng_state(state)
        random.setstate(python_state)


def _arguments(kind: type[nn.Module], args: Any, kwargs: Any) -> Any:
    if not kwargs:
        return tuple(args)
    return {**dict(zip(list(inspect.signature(kind.forward).parameters)[1:], args, strict=False)), **kwargs}


def geometric() -> Iterator[Subject]:
    """Give the layers of torch_geometric.nn that can be built from sizes and run on a graph of five nodes."""
    import torch_geometric.nn as library

    forms = [(4, 4), (4,), (), (4, 4, 2), (4, 2, 4), (4, 4, 2, 2)]
    inputs = [(NODES, EDGES), (NODES,), (NODES, torch.zeros(5, dtype=torch.long))]
    yield from islice(_found(library, nn.Module, [(form, {}) for form in forms], inputs), None if FULL else 40)


def metrics() -> Iterator[Subject]:
    """Give the metrics of torchmetrics, made persistent and updated, that take predictions and targets."""
    import torchmetrics

    generator = torch.Generator().manual_seed(0)
    scores, classes = torch.rand(8, generator=generator), torch.rand(8, 3, generator=generator).softmax(-1)
    hits = torch.tensor([0, 1, 1, 0, 1, 0, 1, 1])
    forms: list[Any] = [((), {}), ((), {"task": "binary"}), ((), {"task": "multiclass", "num_classes": 3})]
    inputs = [(scores, hits), (scores, scores.flip(0)), (classes, hits + 1), (scores,)]
    for one in islice(_found(torchmetrics, torchmetrics.Metric, forms, inputs), None if FULL else 40):
        yield Subject(one.name, partial(_persistent, one.make), one.inputs, {"prepare": partial(_update, one.inputs)})


def _persistent(make: Callable[[], Any]) -> nn.Module:
    metric = make()
    metric.persistent(mode=True)
    module: nn.Module = metric
    return module


def _update(inputs: Any, metric: Any) -> None:
    metric.update(*inputs)


def _found(library: Any, base: Any, forms: list[Any], inputs: list[Any]) -> Iterator[Subject]:
    """Give the classes of a library that can be built in one of the forms and run on one of the inputs."""
    for name in sorted(dir(library)):
        kind = getattr(library, name)
        if inspect.isclass(kind) and issubclass(kind, base):
            made = (
                Subject(name, partial(_made, kind, args, words), given) for args, words in forms for given in inputs
            )
            yield from islice((one for one in made if _runs(one)), 1)


def _made(kind: Any, args: Any, words: Any) -> nn.Module:
    module: nn.Module = kind(*args, **words)
    return module


def _runs(subject: Subject) -> bool:
    try:
        with torch.no_grad():
            module = subject.make()
            module(**subject.inputs) if isinstance(subject.inputs, dict) else module(*subject.inputs)
    except (Exception, SystemExit):  # noqa: BLE001 -- what cannot be built or run in this simple way is left out
        return False
    return True


def transformers_models() -> Iterator[Subject]:
    """Give the base models of transformers that become tiny by the usual names of sizes and run on tokens."""
    import transformers
    from transformers.models.auto.modeling_auto import MODEL_MAPPING_NAMES

    tokens = torch.tensor([[3, 4, 5, 6], [7, 8, 9, 10]])
    inputs = [{"input_ids": tokens}, {"input_ids": tokens, "decoder_input_ids": tokens}]
    inputs.append({"pixel_values": torch.rand(1, 3, 16, 16)})
    names = (name for given in MODEL_MAPPING_NAMES.values() for name in ([given] if isinstance(given, str) else given))
    kinds = (kind for name in dict.fromkeys(names) if (kind := _class(transformers, name)) is not None)
    yield from islice(_tiny(kinds, inputs), None if FULL else 8)


def _class(library: Any, name: str) -> Any:
    try:
        return getattr(library, name).config_class and getattr(library, name)
    except (ImportError, AttributeError):  # it needs another library, or is not in this release
        return None


def _tiny(kinds: Iterator[Any], inputs: list[Any]) -> Iterator[Subject]:
    for kind in kinds:
        config = kind.config_class
        sizes = {name: value for name, value in TINY.items() if name in inspect.signature(config).parameters}
        make = partial(_build, kind, config, sizes)
        if _small(make):
            made = (Subject(kind.__name__, make, given) for given in inputs)
            yield from islice((one for one in made if _runs(one)), 1)


def _build(model: Any, config: Any, sizes: dict[str, Any]) -> nn.Module:
    built: nn.Module = model(config(**sizes))
    return built


def _small(make: Callable[[], nn.Module]) -> bool:
    """Whether a model has less than half a million parameters, seen without memory for them."""
    try:
        with torch.device("meta"):
            return sum(one.numel() for one in make().parameters()) < 500_000
    except Exception:  # noqa: BLE001 -- left out, as above
        return False
