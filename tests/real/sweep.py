"""What the sweep goes over: modules that libraries ship, each with how it is built and what its forward takes."""

from __future__ import annotations

import importlib
import inspect
import os
import random
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from tests.real.training import train

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from pathlib import Path

FULL = os.environ.get("SWEEP") == "full"
NODES = torch.rand(5, 4, generator=torch.Generator().manual_seed(0))
EDGES = torch.tensor([[0, 1, 2, 3, 4, 0], [1, 2, 3, 4, 0, 2]])
LINK = ("node", "to", "node")
GRAPH = {
    "adj": torch.eye(5).roll(1, 0)[None], "batch": torch.tensor([0, 0, 0, 1, 1]), "edge_attr": torch.ones(6, 4),
    "edge_index": EDGES, "edge_index_dict": {LINK: EDGES}, "edge_type": torch.arange(6) % 2,
    "head_index": torch.arange(3), "hyperedge_index": EDGES, "index": torch.arange(5) // 2,
    "mask": torch.tensor([True, False, True, True, False]), "msg": NODES.flip(0), "neg_edge_index": EDGES.flip(0),
    "node_type": torch.arange(5) % 2, "normal": NODES[:, 1:], "pos": NODES[:, :3], "pos_edge_index": EDGES,
    "pos_enc": NODES.flip(0), "rel_type": torch.arange(3) % 2, "tail_index": torch.arange(2, 5),
    "type_vec": torch.arange(5) % 2, "x": NODES, "x_0": NODES.flip(0), "x_dict": {"node": NODES},
    "xs": [NODES, NODES.flip(0)], "xs_dict": {"node": [NODES, NODES]}, "y": torch.arange(5) % 3, "z": NODES,
}  # fmt: skip
GRAPH_LAYERS = {
    "K": 2, "aggr": "mean", "aggregators": ["mean", "max"], "aggrs": ["mean", "max"], "alpha": 0.5, "channels": 4,
    "context_size": 2, "deg": torch.tensor([0, 4, 1]), "depth": 2, "dim": 4, "dim_emb": 8, "dim_pe_in": 4,
    "dim_pe_out": 4, "edge_attr_emb_dim": 4, "edge_dim": 4, "edge_index": EDGES, "edge_type_emb_dim": 4,
    "embedding_dim": 4, "filter_size": 2, "first_aggr": True, "gate_nn": partial(nn.LazyLinear, 1), "groups": 2,
    "heads": 2, "hidden_channels": 8, "hidden_dim": 8, "in_channels": 4, "input_dim": 4, "k": 2, "kernel_size": 3,
    "max_num_elements": 4, "metadata": (["node"], [LINK]), "mlp_f": partial(nn.LazyLinear, 4),
    "mlp_g": partial(nn.LazyLinear, 4), "mlp_h": partial(nn.LazyLinear, 3), "mode": "cat",
    "nn": partial(nn.LazyLinear, 4), "num_classes": 3, "num_clusters": 2, "num_edge_types": 2, "num_heads": 2,
    "num_layers": 2, "num_node_types": 2, "num_nodes": 5, "num_relations": 2, "num_timesteps": 2, "num_types": 2,
    "out_channels": 8, "output_dim": 4, "patch_size": 2, "processing_steps": 2, "q": 0.5, "ratio": 0.5,
    "scaler": "identity", "scalers": ["identity", "amplification"], "space_dimensions": 2, "types": ["node"],
    "walk_length": 3,
}  # fmt: skip
METRICS = {
    "beta": 1.0, "domain_mapping": None, "fs": 8000, "min_precision": 0.5, "min_recall": 0.5, "min_sensitivity": 0.5,
    "min_specificity": 0.5, "num_classes": 3, "num_groups": 2, "num_labels": 3, "num_outputs": 1, "p": 2.0,
    "task": "binary", "threshold": 0.5,
}  # fmt: skip
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
        alone: Whether its library gives it in each of its ways already.
    """

    name: str
    make: Callable[[], nn.Module]
    inputs: Any
    arguments: dict[str, Any] = field(default_factory=dict)
    alone: bool = False

    def __str__(self) -> str:
        return self.name


def ways(subject: Subject) -> Iterator[Subject]:
    """Give a module as it is and, in full, saved and loaded as users write it, and trained."""
    yield subject
    if not FULL or subject.alone:
        return
    own = {"save": _save, "load": partial(_load, make=subject.make)}
    yield replace(subject, name=f"{subject.name}-file", arguments={**subject.arguments, **own})
    if "prepare" not in subject.arguments and subject.inputs is not None:
        trained = {"prepare": train(subject.inputs)}
        yield replace(subject, name=f"{subject.name}-trained", arguments={**subject.arguments, **trained})


def _save(module: nn.Module, path: Path) -> None:
    torch.save({"epoch": 3, "model": module.state_dict()}, path)


def _load(path: Path, make: Callable[[], nn.Module]) -> nn.Module:
    module = make()
    module.load_state_dict(torch.load(path, map_location="cpu", weights_only=True)["model"])
    return module


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
    """Give what torch_geometric.nn exports and what can be built and run on a graph of five nodes, by names alone."""
    import torch_geometric.nn as library

    plain = {name: value for name, value in GRAPH.items() if name not in {"batch", "edge_attr", "edge_type", "mask"}}
    inputs = [GRAPH, plain, {**plain, "x": NODES[None]}]
    yield from islice(_named(_kinds([library], nn.Module), GRAPH_LAYERS, inputs), None if FULL else 40)


def metrics() -> Iterator[Subject]:
    """Give the metrics of torchmetrics, made persistent and updated."""
    import torchmetrics

    names = "aggregation classification clustering nominal regression retrieval segmentation"  # the others download
    parts = [importlib.import_module(f"torchmetrics.{name}") for name in names.split()]
    kinds = _kinds([torchmetrics, *parts], torchmetrics.Metric)
    for one in islice(_named(kinds, METRICS, _measured()), None if FULL else 40):
        yield Subject(one.name, partial(_persistent, one.make), one.inputs, {"prepare": partial(_update, one.inputs)})


def _measured() -> list[Any]:
    """Give what metrics take: predictions and targets of several kinds."""
    generator = torch.Generator().manual_seed(0)
    scores, classes = torch.rand(8, generator=generator), torch.rand(8, 3, generator=generator).softmax(-1)
    hits, labels = torch.tensor([0, 1, 1, 0, 1, 0, 1, 1]), torch.arange(8) % 3
    images, masks = torch.rand(2, 3, 24, 24, generator=generator), torch.rand(2, 3, 8, 8, generator=generator) > 0.5
    text, other = ["the cat is on the mat"], ["a cat lies on the mat"]
    return [
        (scores, hits),
        (scores, scores.flip(0)),
        (classes, labels),
        (classes, classes.flip(0)),
        (classes, classes.flip(0) > 0.4),
        (labels, labels.flip(0)),
        (scores, hits, labels),
        (classes.log().view(2, 4, 3), labels.view(2, 4)),
        (images[:1].clone(), images[1:].clone()),  # a metric that keeps a view keeps all of it
        (masks.long(), masks.flip(0).long()),
        (text, other),
        (text, [other]),
        (text, text, [other]),
        (classes,),
        (images,),
        (scores,),
    ]


def _persistent(make: Callable[[], Any]) -> nn.Module:
    metric = make()
    metric.persistent(mode=True)
    module: nn.Module = metric
    return module


def _update(inputs: Any, metric: Any) -> None:
    metric.update(*inputs)


def _kinds(libraries: Iterable[Any], base: Any) -> list[Any]:
    """Give the classes of libraries, each once."""
    found = (getattr(library, name) for library in libraries for name in sorted(dir(library)))
    return list(dict.fromkeys(kind for kind in found if inspect.isclass(kind) and issubclass(kind, base)))


def _named(kinds: Iterable[Any], sizes: Mapping[str, Any], inputs: Iterable[Any]) -> Iterator[Subject]:
    """Give the classes that can be built from the usual names of sizes, and run on one of the inputs."""
    for kind in kinds:
        made = (Subject(kind.__name__, partial(_made, kind, sizes), _taken(kind, given)) for given in inputs)
        yield from islice((one for one in made if _runs(one)), 1)


def _made(kind: Any, sizes: Mapping[str, Any]) -> nn.Module:
    words = inspect.signature(kind).parameters.items()
    names = [name for name, one in words if one.default is one.empty or name == "num_classes"]
    given = {name: sizes[name] for name in names if name in sizes}
    module: nn.Module = kind(**{name: one() if callable(one) else one for name, one in given.items()})
    return module


def _taken(kind: Any, given: Any) -> Any:
    """Give what forward takes of the inputs, where these go by name."""
    if not isinstance(given, dict):
        return given
    return {name: given[name] for name in inspect.signature(kind.forward).parameters if name in given}


def _runs(subject: Subject) -> bool:
    try:
        with torch.no_grad():
            module = subject.make()
            module(**subject.inputs) if isinstance(subject.inputs, dict) else module(*subject.inputs)
    except (Exception, SystemExit):  # noqa: BLE001 -- what cannot be built or run in this simple way is left out
        return False
    return True


def lightning_modules() -> Iterator[Subject]:
    """Give modules of Lightning, trained by a Trainer, in each of the ways in which they are saved and loaded."""
    from tests.real import lightning_modules as library

    yield from islice((Subject(*way, alone=True) for way in library.ways()), None if FULL else 8)


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
