"""Round trips of the models and checkpoints of the PyTorch guides to saving and loading."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import nn

from pytest_ckpt import check_module
from tests.real.guide_models import (
    GAN,
    SimpleNet,
    Tensors,
    TheModelBClass,
    TheModelClass,
    load_general_checkpoint,
    load_pair,
    save_general_checkpoint,
    save_pair,
    sequential_net,
)
from tests.real.training import train
from tests.real.vgg16 import VGG16

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from pytest_ckpt import Report

IMAGES = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
VECTORS = torch.rand(2, 128, generator=torch.Generator().manual_seed(0))
NOISE = torch.rand(5, 4, generator=torch.Generator().manual_seed(0))
MODELS: dict[str, tuple[Callable[[], nn.Module], torch.Tensor]] = {
    "TheModelClass": (TheModelClass, IMAGES),
    "Sequential": (sequential_net, VECTORS),
    "SimpleNet": (SimpleNet, VECTORS[:, :10]),
    "VGG16": (lambda: VGG16(width=64), IMAGES[:1]),
}


def found(report: Report) -> list[tuple[str, str]]:
    return [(one.category, one.key) for one in report.findings]


# -------------------------------------------------------------------------------------------------- the recommended way


@pytest.mark.parametrize("name", MODELS)
def test_state_dict(name: str) -> None:
    make, inputs = MODELS[name]
    report = check_module(make, inputs)
    report.raise_for_findings()
    assert not report.notes
    assert report.entries == len(make().state_dict())


def test_state_dict_of_a_trained_model() -> None:
    check_module(TheModelClass, IMAGES, prepare=train(IMAGES)).raise_for_findings()


def test_vgg16_is_the_published_one() -> None:
    with torch.device("meta"):
        model = VGG16()
    assert sum(parameter.numel() for parameter in model.parameters()) == 138_357_544
    assert model(torch.empty(1, 3, 224, 224, device="meta")).shape == (1, 1000)


# -------------------------------------------------------------------------------------------------------------- devices


def save_state_dict(model: nn.Module, path: Path) -> None:
    torch.save(model.state_dict(), path)


def load_where_it_was_saved(path: Path) -> nn.Module:
    model = TheModelClass()
    model.load_state_dict(torch.load(path))
    model.eval()
    return model


def load_on_the_cpu(path: Path) -> nn.Module:
    device = torch.device("cpu")
    model = TheModelClass()
    model.load_state_dict(torch.load(path, map_location=device))
    return model


def test_a_file_from_a_gpu_needs_map_location() -> None:
    report = check_module(TheModelClass, IMAGES, save=save_state_dict, load=load_where_it_was_saved)
    assert {one.category for one in report.findings} == {"device-location"}, report.text()
    assert {one.leg for one in report.findings} == {"cuda->cpu torch_zip"}


def test_map_location() -> None:
    check_module(TheModelClass, IMAGES, save=save_state_dict, load=load_on_the_cpu).raise_for_findings()


# ------------------------------------------------------------------------------------------------------ whole modules


def load_whole_module(path: Path) -> nn.Module:
    model: nn.Module = torch.load(path, map_location="cpu", weights_only=False)
    model.eval()
    return model


@pytest.mark.parametrize("name", MODELS)
def test_whole_module_comes_back_but_is_bound_to_its_classes(name: str) -> None:
    make, inputs = MODELS[name]
    report = check_module(make, inputs, save=torch.save, load=load_whole_module, devices=["cpu"])
    assert found(report) == [("pickled-module", class_path(make()))], report.text()


def test_whole_module_as_the_older_guides_load_it() -> None:
    report = check_module(sequential_net, VECTORS, save=torch.save, load=torch.load)
    assert found(report) == [("pickled-module", "torch.nn.modules.container.Sequential")], report.text()


def class_path(module: nn.Module) -> str:
    return f"{type(module).__module__}.{type(module).__qualname__}"


# ---------------------------------------------------------------------------------------------------------- checkpoints


def test_general_checkpoint() -> None:
    report = check_module(
        TheModelClass, IMAGES, prepare=train(IMAGES), save=save_general_checkpoint, load=load_general_checkpoint
    )
    report.raise_for_findings()


def test_general_checkpoint_taken_for_a_state_dict() -> None:
    report = check_module(TheModelClass, IMAGES, save=save_general_checkpoint)
    assert {one.category for one in report.findings} == {"not-loadable"}, report.text()
    assert "model_state_dict" in {one.key for one in report.findings}


def test_several_models_in_one_file() -> None:
    check_module(GAN, NOISE, prepare=train(NOISE), save=save_pair, load=load_pair).raise_for_findings()


def test_several_models_of_which_one_is_forgotten() -> None:
    def load(path: Path) -> GAN:
        gan = GAN()
        gan.generator.load_state_dict(torch.load(path, map_location="cpu")["modelA_state_dict"])
        gan.eval()
        return gan

    report = check_module(GAN, NOISE, prepare=train(NOISE), save=save_pair, load=load)
    assert {one.key for one in report.findings} == {
        f"discriminator.{name}" for name in GAN().discriminator.state_dict()
    }, report.text()


# ----------------------------------------------------------------------------------------------------------- warm start

HEADS_OF_THE_TWO: dict[str, Any] = {"allow_missing": ["head.*"], "allow_unexpected": ["fc?.*"]}


def save_the_other_model(model: TheModelBClass, path: Path) -> None:
    """Save what a TheModelClass with these convolutions has."""
    with torch.random.fork_rng():
        other = TheModelClass()
    other.conv1, other.conv2 = model.conv1, model.conv2
    torch.save(other.state_dict(), path)


def load_what_fits(model: nn.Module, state: dict[str, Any]) -> None:
    model.load_state_dict(state, strict=False)


def test_warm_start() -> None:
    check_module(TheModelBClass, IMAGES, save=save_the_other_model, **HEADS_OF_THE_TWO).raise_for_findings()


def test_warm_start_that_would_take_anything() -> None:
    report = check_module(
        TheModelBClass, IMAGES, save=save_the_other_model, load_state=load_what_fits, **HEADS_OF_THE_TWO
    )
    assert found(report) == [("strictness", "conv1.weight")], report.text()


def test_warm_start_that_looks_at_what_did_not_fit() -> None:
    def load_and_look(model: nn.Module, state: dict[str, Any]) -> None:
        missing, unexpected = model.load_state_dict(state, strict=False)
        wrong = [key for key in missing if not key.startswith("head.")]
        wrong += [key for key in unexpected if not key.startswith("fc")]
        if wrong:
            raise KeyError(wrong)

    report = check_module(
        TheModelBClass, IMAGES, save=save_the_other_model, load_state=load_and_look, **HEADS_OF_THE_TWO
    )
    report.raise_for_findings()


def test_warm_start_that_nobody_declared() -> None:
    report = check_module(TheModelBClass, IMAGES, save=save_the_other_model, load_state=load_what_fits)
    assert {"head.weight", "head.bias"} <= {one.key for one in report.findings}, report.text()


def test_warm_start_that_misses_more_than_declared() -> None:
    def load_one_of_two(model: nn.Module, state: dict[str, Any]) -> None:
        load_what_fits(model, {name: value for name, value in state.items() if not name.startswith("conv2.")})

    report = check_module(
        TheModelBClass, IMAGES, save=save_the_other_model, load_state=load_one_of_two, **HEADS_OF_THE_TWO
    )
    assert found(report) == [("unsaved-state", "conv2.weight"), ("unsaved-state", "conv2.bias")], report.text()


def test_renamed_keys() -> None:
    def save(model: TheModelBClass, path: Path) -> None:
        torch.save({name.replace("head", "classifier"): value for name, value in model.state_dict().items()}, path)

    def load_renamed(model: nn.Module, state: dict[str, Any]) -> None:
        model.load_state_dict({name.replace("classifier", "head"): value for name, value in state.items()})

    check_module(TheModelBClass, IMAGES, save=save, load_state=load_renamed).raise_for_findings()


# --------------------------------------------------------------------------------------------------------- DataParallel


def parallel_model() -> nn.Module:
    return nn.DataParallel(TheModelClass())


def test_data_parallel() -> None:
    check_module(parallel_model, IMAGES).raise_for_findings()


def test_data_parallel_saved_without_its_wrapper() -> None:
    def save(model: nn.DataParallel[TheModelClass], path: Path) -> None:
        torch.save(model.module.state_dict(), path)

    check_module(parallel_model, IMAGES, save=save, load=load_on_the_cpu).raise_for_findings()


def test_data_parallel_saved_with_its_wrapper() -> None:
    report = check_module(parallel_model, IMAGES, save=save_state_dict, load=load_on_the_cpu)
    assert report.findings
    assert "module.conv1.weight" in report.text()


# -------------------------------------------------------------------------------------------------------- plain tensors


def save_tensors(tensors: Tensors, path: Path) -> None:
    torch.save({"x": tensors.x, "y": tensors.y}, path)


def load_tensors(path: Path) -> Tensors:
    tensors = Tensors()
    loaded = torch.load(path, map_location="cpu")
    tensors.x, tensors.y = loaded["x"], loaded["y"]
    return tensors


def test_tensors_in_a_dict() -> None:
    check_module(Tensors, save=save_tensors, load=load_tensors).raise_for_findings()


def test_tensors_in_a_dict_of_which_one_is_forgotten() -> None:
    def load(path: Path) -> Tensors:
        tensors = Tensors()
        tensors.y = torch.load(path, map_location="cpu")["y"]
        return tensors

    assert found(check_module(Tensors, save=save_tensors, load=load)) == [("unsaved-state", "x")]
