"""Round trips of tiny transformers with random weights, by default and by their own save_pretrained."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
import torch
import transformers
from huggingface_hub import constants

from pytest_ckpt import check_module
from tests.real.known import Fault, judge
from tests.real.training import train

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor, nn


def integers(*shape: int) -> Tensor:
    return torch.randint(3, 90, shape, generator=torch.Generator().manual_seed(0))


def floats(*shape: int) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(0))


TOKENS = integers(2, 7)
IMAGES = floats(2, 3, 16, 16)
TEXT = {"vocab_size": 99, "hidden_size": 16, "num_hidden_layers": 2, "intermediate_size": 24}
VISION = {"image_size": 16, "patch_size": 8, "hidden_size": 16, "num_hidden_layers": 2, "intermediate_size": 24}
HEADS = {"num_attention_heads": 4}
GROUPED = {"num_attention_heads": 4, "num_key_value_heads": 2}
ENDS = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}


@dataclass(frozen=True)
class Architecture:
    """A class of transformers, the sizes that make its configuration tiny, and what to call it with."""

    name: str
    sizes: dict[str, Any]
    inputs: dict[str, Tensor]

    def build(self) -> nn.Module:
        kind = self.kind()
        model: nn.Module = kind(kind.config_class(**self.sizes))
        return model

    def kind(self) -> Any:
        return getattr(transformers, self.name)

    def save(self, model: Any, path: Path) -> None:
        model.save_pretrained(path)

    def load(self, path: Path) -> Any:
        return self.kind().from_pretrained(path)

    def __str__(self) -> str:
        return self.name


ARCHITECTURES = (
    Architecture("BertForMaskedLM", TEXT | HEADS, {"input_ids": TOKENS}),
    Architecture(
        "GPT2LMHeadModel",
        {"vocab_size": 99, "n_positions": 16, "n_embd": 16, "n_layer": 2, "n_head": 4},
        {"input_ids": TOKENS},
    ),
    Architecture("LlamaForCausalLM", TEXT | GROUPED, {"input_ids": TOKENS}),
    Architecture(
        "T5ForConditionalGeneration",
        {"vocab_size": 99, "d_model": 16, "d_kv": 4, "d_ff": 24, "num_layers": 2, "num_heads": 4},
        {"input_ids": TOKENS, "decoder_input_ids": TOKENS[:, :3]},
    ),
    Architecture("ViTForImageClassification", VISION | HEADS, {"pixel_values": IMAGES}),
    Architecture(
        "CLIPModel",
        {"text_config": TEXT | HEADS | ENDS, "vision_config": VISION | HEADS, "projection_dim": 8},
        {"input_ids": TOKENS, "pixel_values": IMAGES},
    ),
    Architecture(
        "WhisperForConditionalGeneration",
        {"vocab_size": 99, "d_model": 16, "num_mel_bins": 8, "max_source_positions": 10, "max_target_positions": 16}
        | {f"{side}_{size}": 2 for side in ("encoder", "decoder") for size in ("layers", "attention_heads")}
        | {"encoder_ffn_dim": 24, "decoder_ffn_dim": 24, "decoder_start_token_id": 1}
        | ENDS,
        {"input_features": floats(2, 8, 20), "decoder_input_ids": TOKENS},
    ),
    Architecture(
        "MambaForCausalLM",
        {"vocab_size": 99, "hidden_size": 16, "num_hidden_layers": 2, "state_size": 4, "time_step_rank": 2},
        {"input_ids": TOKENS},
    ),
    Architecture("MixtralForCausalLM", TEXT | GROUPED | {"num_local_experts": 4}, {"input_ids": TOKENS}),
    Architecture(
        "Wav2Vec2ForCTC",
        TEXT
        | HEADS
        | {"conv_dim": [8, 8], "conv_kernel": [10, 3], "conv_stride": [5, 2], "num_feat_extract_layers": 2}
        | {"num_conv_pos_embeddings": 4, "num_conv_pos_embedding_groups": 2},
        {"input_values": floats(2, 400)},
    ),
)


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    transformers.utils.logging.disable_progress_bar()


@pytest.mark.parametrize("architecture", ARCHITECTURES, ids=str)
def test_state_dict(architecture: Architecture) -> None:
    report = check_module(architecture.build, architecture.inputs)
    report.raise_for_findings()
    assert not report.notes


@pytest.mark.parametrize("architecture", ARCHITECTURES, ids=str)
def test_state_dict_of_a_trained_model(architecture: Architecture) -> None:
    report = check_module(architecture.build, architecture.inputs, prepare=train(architecture.inputs))
    report.raise_for_findings()
    assert not report.notes


FAULTS = {
    "WhisperForConditionalGeneration": Fault(
        "requires-grad",
        ("model.encoder.embed_positions.weight",),
        "from_pretrained lets every parameter train; the constructor freezes this one (huggingface/transformers#26032)",
    )
}


@pytest.mark.parametrize("architecture", ARCHITECTURES, ids=str)
def test_pretrained(architecture: Architecture) -> None:
    report = check_module(architecture.build, architecture.inputs, save=architecture.save, load=architecture.load)
    judge(report, FAULTS.get(architecture.name))
    assert not report.notes


def test_from_pretrained_lets_whispers_frozen_positions_train(tmp_path: Path) -> None:
    [architecture] = (one for one in ARCHITECTURES if one.name in FAULTS)
    saved = architecture.build()
    architecture.save(saved, tmp_path)
    loaded = architecture.load(tmp_path)
    [key] = FAULTS[architecture.name].keys
    assert not saved.get_parameter(key).requires_grad
    assert loaded.get_parameter(key).requires_grad


def test_a_head_that_is_not_in_the_file_is_named() -> None:
    bert = ARCHITECTURES[0]

    def save(model: Any, path: Path) -> None:
        model.bert.save_pretrained(path)

    report = check_module(bert.build, bert.inputs, save=save, load=bert.load)
    assert {one.key for one in report.findings} == {
        "cls.predictions.bias",
        "cls.predictions.transform.dense.weight",
        "cls.predictions.transform.dense.bias",
        "cls.predictions.transform.LayerNorm.weight",
        "cls.predictions.transform.LayerNorm.bias",
    }, report.text()
