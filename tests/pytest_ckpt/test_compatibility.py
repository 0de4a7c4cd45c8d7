"""`check_compatibility`: what it reads, what it refuses, what it suggests."""

# Modules of many kinds, whose attributes torch declares as Tensor | Module.
# mypy: ignore-errors

from __future__ import annotations

import argparse
import copy
import pickle
import re

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from pytest_ckpt import UsageError, check_compatibility
from tests.pytest_ckpt.changes import X
from tests.pytest_ckpt.changes.layers import Block, Chain, Stack


def old():
    return Chain(body=nn.Linear(8, 8), norm=nn.LayerNorm(8), fc=nn.Linear(8, 3))


def renamed():
    return Chain(body=nn.Linear(8, 8), norm=nn.LayerNorm(8), head=nn.Linear(8, 3))


@pytest.fixture
def saved():
    torch.manual_seed(0)
    return old().eval()


# ----------------------------------------------------------------------------------------------------- what it reads


@pytest.mark.parametrize("kind", ["torch", "legacy", "safetensors", "nested", "string"])
def test_files_of_every_kind_are_read(kind, saved, tmp_path):
    path = tmp_path / "old.ckpt"
    state = saved.state_dict()
    if kind == "safetensors":
        save_file(state, path)
    else:
        content = {"epoch": 3, "state_dict": state} if kind == "nested" else state
        torch.save(content, path, _use_new_zipfile_serialization=kind != "legacy")
    report = check_compatibility(old, str(path) if kind == "string" else path, X, saved(X))
    assert report.ok, report.text()
    assert report.entries == 6
    changed = check_compatibility(renamed, path, X, saved(X))
    assert "head.weight" in [one.key for one in changed.findings]


def test_the_callers_state_is_left_alone(saved):
    def hook(_module, state, prefix, *_):
        state[prefix + "body.weight"].mul_(2)
        state[prefix + "head.weight"] = state.pop(prefix + "fc.weight")
        state[prefix + "head.bias"] = state.pop(prefix + "fc.bias")

    state = saved.state_dict()
    before = copy.deepcopy(state)
    check_compatibility(lambda: with_hook(renamed(), hook), state, X, saved(X))
    assert list(state) == list(before)
    assert all(torch.equal(state[key], before[key]) for key in before)


def with_hook(module, hook):
    module.register_load_state_dict_pre_hook(hook)
    return module


def test_global_randomness_is_left_alone(saved):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    check_compatibility(old, saved.state_dict(), X, saved(X))
    assert torch.equal(torch.rand(3), expected)
    assert torch.manual_seed.__module__ == "torch.random"


# -------------------------------------------------------------------------------------------------- what it refuses


@pytest.fixture
def pickled(saved, tmp_path):
    path = tmp_path / "old.pt"
    torch.save({"model": saved.state_dict(), "arguments": argparse.Namespace(width=8)}, path)
    return path


def test_pickles_are_not_unpickled_unless_told(pickled, saved):
    with pytest.raises(
        UsageError, match=r"'old\.pt' holds more than weights \(argparse\.Namespace\).*weights_only=False"
    ):
        check_compatibility(old, pickled)
    assert check_compatibility(old, pickled, X, saved(X), weights_only=False).ok


def test_code_in_a_pickle_does_not_run(tmp_path):
    class Harmful:
        def __reduce__(self):
            return (open, (str(tmp_path / "written"), "w"))

    (tmp_path / "old.pt").write_bytes(pickle.dumps(Harmful()))
    with pytest.raises(UsageError, match=r"old\.pt"):
        check_compatibility(old, tmp_path / "old.pt")
    assert not (tmp_path / "written").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"'old\.pt' \(0 bytes\) is no file of torch\.save or safetensors, or it is damaged"),
        (b"hello", r"'old\.pt' \(5 bytes\) is no file of torch\.save"),
        (b"PK\x03\x04 cut off", "or it is damaged"),
    ],
)
def test_a_file_that_is_no_checkpoint(tmp_path, content, message):
    (tmp_path / "old.pt").write_bytes(content)
    with pytest.raises(UsageError, match=message):
        check_compatibility(old, tmp_path / "old.pt")


def test_what_is_no_checkpoint(saved, tmp_path):
    for given, message in (
        (tmp_path / "none.pt", r"none\.pt' does not exist"),
        (tmp_path, "is a folder"),
        (saved, r"Chain with 6 parameters: give module\.state_dict\(\)"),
        (3, "checkpoint must be a path, or the state_dict .* but it is 3"),
        ({"epoch": 3}, r"holds no tensors, neither at the top nor one key below \(its keys: epoch\)"),
        ({0: torch.ones(2)}, "has the key 0, which is no string"),
    ):
        with pytest.raises(UsageError, match=message):
            check_compatibility(old, given)


def test_arguments_that_do_not_go_together(saved):
    state = saved.state_dict()
    for arguments, message in (
        ({"outputs": saved(X)}, "outputs need the inputs"),
        ({"inputs": X, "tolerance": -1}, "tolerance must be a number that is not negative, but -1"),
        ({"allow_missing": "head.*"}, r"write allow_missing=\['head\.\*'\]"),
        ({"load_state": 3}, "load_state must be callable"),
        ({"inputs": torch.ones(2, 3)}, r"forward of Chain raised .* on the inputs that were given, float32\[2, 3\]"),
    ):
        with pytest.raises(UsageError, match=message):
            check_compatibility(old, state, **arguments)
    with pytest.raises(UsageError, match="make is a module"):
        check_compatibility(saved, state)


# ------------------------------------------------------------------------------------------------- what it suggests


def pasted(report, module):
    """Do what the first hint says: paste its code into the module."""
    head, _, code = report.findings[0].hint.partition(":\n")
    exec(code, {"self": module})
    return head, module


def test_the_migration_works_when_pasted(saved):
    report = check_compatibility(renamed, saved.state_dict(), X, saved(X))
    head, module = pasted(report, renamed())
    assert head == "with this hook the checkpoint loads, and the outputs are the old ones"
    module.load_state_dict(saved.state_dict())
    assert torch.equal(module.eval()(X), saved(X))
    again = renamed()
    again.load_state_dict(module.state_dict())
    pasted(report, again)[1].load_state_dict(module.state_dict())  # a checkpoint of today still loads
    assert torch.equal(again.eval()(X), saved(X))
    assert check_compatibility(lambda: pasted(report, renamed())[1], saved.state_dict(), X, saved(X)).ok


def test_the_migration_works_below_a_prefix(saved):
    report = check_compatibility(renamed, saved.state_dict())
    outer = nn.ModuleDict({"inner": pasted(report, renamed())[1]})
    outer.load_state_dict({f"inner.{key}": one for key, one in saved.state_dict().items()})
    assert torch.equal(outer["inner"].head.weight, saved.fc.weight)


def test_renumbered_layers_keep_the_checkpoints_of_today():
    def today():
        return nn.Sequential(nn.Linear(8, 8), nn.Dropout(), nn.Linear(8, 8), nn.Linear(8, 8))

    before = nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 8)).eval()
    report = check_compatibility(today, before.state_dict(), X, before(X))
    module = pasted(report, today())[1]
    module.load_state_dict(before.state_dict())
    assert torch.equal(module.eval()(X), before(X))
    fresh = today().eval()
    module.load_state_dict(fresh.state_dict())
    assert torch.equal(module(X), fresh(X))


def test_names_of_one_shape_are_told_apart_by_the_outputs():
    class Pair(nn.Module):
        def __init__(self, first, second):
            super().__init__()
            self.names = (first, second)
            for name in self.names:
                self.add_module(name, nn.Linear(8, 8))

        def forward(self, x):
            return torch.tanh(getattr(self, self.names[0])(x)) @ getattr(self, self.names[1]).weight

    class Turned(Pair):
        def __init__(self):
            super().__init__("zeta", "omega")
            self.add_module("zeta", self._modules.pop("zeta"))  # registered last, used first

    before = Pair("alpha", "beta").eval()
    report = check_compatibility(Turned, before.state_dict(), X, before(X))
    assert "the outputs are the old ones" in report.findings[0].hint
    module = pasted(report, Turned())[1]
    module.load_state_dict(before.state_dict())
    assert torch.equal(module.zeta.weight, before.alpha.weight)


def test_what_no_hook_can_know_is_said(saved):
    class More(Chain):
        def __init__(self):
            super().__init__(body=nn.Linear(8, 8), norm=nn.LayerNorm(8), head=nn.Linear(8, 3), extra=nn.Linear(8, 8))

    report = check_compatibility(More, saved.state_dict())
    assert report.findings[0].hint.startswith("this hook migrates all but 'extra.bias', 'extra.weight':\n")
    rows = {one.key: one for one in report.findings}
    assert "a new module holds random numbers in it" in rows["extra.weight"].message
    assert rows["head.weight"].expected == "'fc.weight'"


def test_a_hook_that_would_keep_nothing_is_not_proposed():
    report = check_compatibility(lambda: nn.Linear(8, 4), nn.Linear(8, 3).state_dict())

    assert [one.hint for one in report.findings] == [
        f"give the old entry today's shape in a load hook: state_dict[prefix + {name!r}] = ..."
        for name in ("weight", "bias")
    ]


def test_a_hook_says_of_a_head_with_more_classes_why_it_is_dropped(saved):
    class More(Chain):
        def __init__(self):
            super().__init__(trunk=nn.Linear(8, 8), norm=nn.LayerNorm(8), fc=nn.Linear(8, 5))

    report = check_compatibility(More, saved.state_dict())

    hint = report.findings[0].hint
    assert '"body.": "trunk.",' in hint
    assert 'state_dict.pop(prefix + "fc.weight", None)  # it has another shape today' in hint
    rows = {one.key: one for one in report.findings}
    assert rows["body.weight"].hint == "rename it in a load hook: 'body.weight' is 'trunk.weight' now"


def test_defaults_of_new_buffers_are_in_the_migration(saved):
    def today():
        module = old()
        module.register_buffer("scale", torch.full((3,), 2.0))
        return module

    report = check_compatibility(today, saved.state_dict())
    module = pasted(report, today())[1]
    module.load_state_dict(saved.state_dict())
    assert module.scale.tolist() == [2, 2, 2]


def test_a_large_change_is_cut_and_the_migration_is_not(saved):
    before = Stack(12)
    report = check_compatibility(lambda: nn.ModuleDict({"net": Stack(12)}), before.state_dict())
    assert len(report.findings) == 24
    assert report.findings[0].hint.startswith("76 more entries are not shown\n")
    assert '"": "net.",' in report.findings[0].hint or report.findings[0].hint.count('": "net.') <= 3


# -------------------------------------------------------------------------------------------------- how it compares


def test_the_old_number_is_found_to_its_last_digit():
    before = Chain(norm=nn.LayerNorm(8, eps=3e-4), fc=nn.Linear(8, 2)).eval()
    report = check_compatibility(
        lambda: Chain(norm=nn.LayerNorm(8), fc=nn.Linear(8, 2)), before.state_dict(), X, before(X)
    )
    (finding,) = report.findings
    assert (finding.category, finding.key, finding.expected, finding.actual) == (
        "semantics",
        "norm.eps",
        "0.0003",
        "1e-05",
    )


def test_what_is_not_found_is_still_reported():
    before = Stack(2, lambda: Block(pre=True)).eval()

    class Other(Stack):
        def forward(self, x):
            return super().forward(x.flip(-1)).square()

    (finding,) = check_compatibility(Other, before.state_dict(), X, before(X)).findings
    assert (finding.category, finding.key) == ("semantics", "Other")
    assert "9 of 9 elements differ" in finding.message


def test_a_tolerance_replaces_the_measured_one(saved):
    state, outputs = saved.state_dict(), saved(X) + 0.01
    assert not check_compatibility(old, state, X, outputs).ok
    assert check_compatibility(old, state, X, outputs, tolerance=0.011).ok


def test_outputs_of_chance_are_left_out_and_said():
    class Noisy(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(8, 8)

        def forward(self, x):
            return {"mean": self.fc(x), "sample": self.fc(x) + torch.randn(8)}

    before = Noisy().eval()
    report = check_compatibility(Noisy, before.state_dict(), X, before(X))
    assert report.ok, report.text()
    assert report.notes == ("['sample'] differ from run to run or with the seed, and were not compared",)


def test_the_report_is_text_and_names_the_module(saved):
    report = check_compatibility(renamed, saved.state_dict())
    assert pickle.loads(pickle.dumps(report)) == report
    assert re.match(r"Chain \(old checkpoint\): 4 findings, 6 entries in the state_dict\n", report.text())
