"""The call itself: what it refuses and how, what it gathers into one report, and what it leaves behind: nothing."""

from __future__ import annotations

import argparse
import os
import random
import re
import tempfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import pytest_ckpt
from pytest_ckpt import UsageError

check_module: Any = pytest_ckpt.check_module  # to a type checker, most calls below are as wrong as they are meant to be
X = torch.ones(2, 3)
ONE_LEG = ["cpu"]


def linear():
    return nn.Linear(3, 3)


SINGLE = linear()


class Sharing(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = SINGLE


def raises(*_arguments):
    raise ZeroDivisionError("division by zero")


def on_the_second_call(first, second):
    """Give what the first function gives once, then what the second gives."""
    calls = iter([first])

    def call():
        return next(calls, second)()

    return call


# ------------------------------------------------------------------------------------------------------------ bad input

BAD: dict[str, Any] = {
    # the factory
    "make is missing": ({"make": None}, "make must be callable, but None was given"),
    "make is a module": ({"make": SINGLE}, r"make is a module, a Linear: .*such as lambda: Linear\(\.\.\.\)"),
    "make gives None": ({"make": lambda: None}, r"make\(\) gave None, not a torch.nn.Module"),
    "make gives a class": ({"make": lambda: nn.Linear}, r"make\(\) gave <class .*Linear.*>, not a torch.nn.Module"),
    "make gives a state": ({"make": lambda: linear().state_dict()}, r"make\(\) gave OrderedDict\(2\).*not a torch"),
    "make gives a tuple": ({"make": lambda: (linear(), 1)}, r"make\(\) gave tuple\(2\) \[Linear with 2 parameters"),
    "make gives one twice": ({"make": lambda: SINGLE}, r"make\(\) gave the same module twice \(Linear\): build a new"),
    "make shares": ({"make": Sharing}, r"make\(\) gave .* share .*\(Sharing\): build a new"),
    "make raises": ({"make": raises}, r"make\(\) raised ZeroDivisionError: division by zero \(at .*test_roundtrip"),
    "make needs arguments": ({"make": nn.Linear}, r"make\(\) raised TypeError: .*in_features.* with no arguments"),
    "make raises later": ({"make": on_the_second_call(linear, raises)}, r"make\(\) raised ZeroDivisionError"),
    "make gives None later": ({"make": on_the_second_call(linear, lambda: None)}, r"make\(\) gave None"),
    # what the module runs on
    "inputs do not fit": ({"inputs": torch.ones(2, 5)}, r"forward of Linear raised RuntimeError: .*float32\[2, 5\]"),
    "inputs are too many": ({"inputs": (X, X)}, r"forward of Linear raised TypeError: .*tuple\(2\)"),
    "inputs are too few": ({"inputs": ()}, r"forward of Linear raised TypeError: .*missing 1 required"),
    "inputs have another name": ({"inputs": {"y": X}}, r"forward of Linear raised TypeError: .*'y'.*dict\(1\)"),
    "inputs raise": ({"inputs": lambda: 1 / 0}, r"inputs\(\) raised ZeroDivisionError"),
    "inputs want arguments": ({"inputs": lambda x: x}, r"inputs\(\) raised TypeError: .*takes nothing"),
    "there is no forward": ({"make": nn.ModuleList, "inputs": X}, "forward of ModuleList raised NotImplementedError"),
    "prepare raises": ({"prepare": raises}, r"prepare\(Linear\) raised ZeroDivisionError: .*test_roundtrip"),
    "prepare takes nothing": (
        {"prepare": lambda: None},
        r"prepare is called as prepare\(module\), .* function of \(\) ",
    ),
    "prepare is no function": ({"prepare": 3}, "prepare must be callable, but 3 was given"),
    # the user's own save and load
    "save writes nothing": ({"save": lambda _module, _path: None}, r"save\(Linear, path\) wrote nothing"),
    "save is no function": (
        {"save": "file.pt"},
        r"save must be callable, but 'file.pt' was given: it is called as save\(module, path\)",
    ),
    "save takes one": (
        {"save": lambda path: None},
        r"save is called as save\(module, path\), .* of \(path\) was given",
    ),
    "save writes a list": ({"save": lambda _, path: torch.save([1], path)}, r"save wrote list\(1\) \[1\].*give load="),
    "load gives None": ({"load": lambda _path: None}, r"load\(path\) gave None, not a torch.nn.Module: return"),
    "load gives a state": ({"load": torch.load}, r"load\(path\) gave OrderedDict\(2\).*: return the module"),
    "load takes two": ({"load": lambda m, path: m}, r"load is called as load\(path\), .* of \(m, path\) was given"),
    "load is no function": ({"load": "file.pt"}, "load must be callable"),
    "load_state is no function": ({"load_state": True}, "load_state must be callable"),
    # names
    "check is unknown": ({"checks": ["unsaved_state"]}, "no check named 'unsaved_state': did you mean 'unsaved-state'"),
    "ignored is unknown": ({"ignore": ["alias"]}, "no check named 'alias': did you mean 'aliasing'"),
    "format is unknown": ({"formats": ["torchzip"]}, "no format 'torchzip': did you mean 'torch_zip'"),
    "device is unknown": ({"devices": ["cud"]}, "no device 'cud': did you mean 'cuda'"),
    "mode is unknown": ({"mode": "test"}, "mode must be 'eval' or 'train', but 'test' was given"),
    "no check is left": ({"checks": []}, "checks is empty, so nothing would run"),
    "no device is left": ({"devices": []}, "devices is empty, so nothing would run"),
    "no format is left": ({"formats": []}, "formats is empty, so nothing would run"),
    # types
    "checks is text": ({"checks": "aliasing"}, r"checks takes a list .*write checks=\['aliasing'\]"),
    "ignore is text": ({"ignore": "aliasing"}, r"ignore takes a list .*write ignore=\['aliasing'\]"),
    "formats is text": ({"formats": "torch_zip"}, r"formats takes a list .*write formats=\['torch_zip'\]"),
    "devices is text": ({"devices": "cuda"}, r"devices takes a list .*write devices=\['cuda'\]"),
    "allow_missing is text": ({"allow_missing": "head.*"}, r"write allow_missing=\['head\.\*'\]"),
    "allow_unexpected is text": ({"allow_unexpected": "x"}, r"write allow_unexpected=\['x'\]"),
    **{
        f"{name} is {given!r}": ({name: given}, name)
        for name in ("checks", "ignore", "formats", "devices", "allow_missing", "allow_unexpected")
        for given in (5, [5], True)
    },
    "mode is a list": ({"mode": ["eval"]}, "mode must be 'eval' or 'train'"),
}
"""Name of the mistake: the arguments, and what the message must say of it."""


@pytest.mark.parametrize("mistake", BAD)
def test_a_call_that_cannot_be_carried_out(mistake, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    arguments, text = BAD[mistake]
    with pytest.raises(UsageError, match=text) as caught:
        check_module(**{"make": linear, **arguments})
    message = str(caught.value)
    assert re.search(r": |, but ", message), "what was given, then what to do"
    assert "pytest_ckpt/" not in message.replace("tests/pytest_ckpt/", "")
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None
    frames = {Path(entry.path).name for entry in caught.traceback}
    assert frames == {"test_roundtrip.py", "roundtrip.py"}, "no traceback from inside"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("argument", ["make", "save", "load", "prepare", "inputs"])
@pytest.mark.parametrize("error", [KeyboardInterrupt, pytest.skip.Exception])
def test_what_is_no_error_passes_through(argument, error, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    def stop(*_arguments):
        raise error

    with pytest.raises(error):
        check_module(**{"make": linear, argument: stop})
    assert list(tmp_path.iterdir()) == []


def test_lists_of_names_may_be_any_iterable():
    report = check_module(
        linear,
        devices=("cpu",),
        formats={"torch_zip"},
        checks=iter(["aliasing"]),
        ignore=frozenset(),
        allow_missing={"x"},
    )
    assert report.checks == ("aliasing",)


# ----------------------------------------------------------------------------------------------------------- one report


class Faulty(nn.Module):
    """Has one fault of each of many kinds; none hides another."""

    def __init__(self):
        super().__init__()
        self.frozen = nn.Linear(3, 3)
        self.offset = torch.randn(3)
        self.scale = 1.0
        self.layers = [nn.Linear(3, 3)]
        self.register_buffer("projection", torch.randn(3, 3), persistent=False)
        self.weight = nn.Parameter(torch.rand(3) + 1)
        self.inverse = 1 / self.weight.detach()
        self.register_buffer("seen", torch.zeros(()))
        self.drop = nn.Dropout()
        self.config = argparse.Namespace(width=3)

    def get_extra_state(self):
        return self.config

    def set_extra_state(self, state):
        self.config = state

    def fit(self):
        self.frozen.weight.requires_grad = False
        self.seen = torch.tensor(2**24 + 1)
        self.scale = 2.0

    def forward(self, x):
        x = self.layers[0](self.frozen(x)) @ self.projection
        return x * self.inverse * self.weight * self.scale + self.offset


def save_in_eval(module, path):
    module.eval()
    with torch.no_grad():
        module.weight += 1
    torch.save(module.state_dict(), path)


FOUND = {
    ("unsaved-state", "offset"),
    ("unsaved-state", "scale"),
    ("unsaved-submodule", "layers"),
    ("nonpersistent-buffer", "projection"),
    ("stale-cache", "inverse"),
    ("dtype-changed", "seen"),
    ("requires-grad", "frozen.weight"),
    ("mode-changed", "Faulty"),
    ("save-mutates", "weight"),
    ("not-weights-only", "argparse.Namespace"),
}


def test_every_finding_is_in_one_report_under_its_own_name():
    report = check_module(Faulty, X, prepare=Faulty.fit, save=save_in_eval)
    assert {(one.category, one.key) for one in report.findings} == FOUND, report.text()
    assert len(report.findings) == len(FOUND), "each once, though several legs show it"
    assert report.subject == "Faulty"
    assert report.entries == len(Faulty().state_dict())


@pytest.mark.parametrize("category", sorted({category for category, _ in FOUND}))
def test_a_check_can_be_run_alone_or_left_out(category):
    arguments = {"prepare": Faulty.fit, "save": save_in_eval, "devices": ONE_LEG}
    alone = check_module(Faulty, X, checks=[category], **arguments)
    assert {(one.category, one.key) for one in alone.findings} == {one for one in FOUND if one[0] == category}
    without = check_module(Faulty, X, ignore=[category], **arguments)
    assert {(one.category, one.key) for one in without.findings} == {one for one in FOUND if one[0] != category}


def test_findings_come_in_the_order_of_the_checks():
    report = check_module(Faulty, X, prepare=Faulty.fit, save=save_in_eval)
    order = {name: index for index, name in enumerate(report.checks)}
    places = [order[one.category] for one in report.findings]
    assert places == sorted(places)


# ----------------------------------------------------------------------------------------------- what a round trip sees


def load_all_but(*skipped):
    """Give a way to load that leaves out some entries and says nothing of it."""

    def load_state(module, state):
        module.load_state_dict({key: value for key, value in state.items() if key not in skipped}, strict=False)

    return load_state


@pytest.mark.parametrize("key", ["weight", "bias", "running_mean", "running_var", "num_batches_tracked"])
def test_an_entry_that_loading_skips_shows_though_every_instance_holds_the_same(key):
    load_state = load_all_but(key)

    def load(path):
        module = nn.BatchNorm1d(3)
        load_state(module, torch.load(path, map_location="cpu", weights_only=True))
        return module

    for loading in ({"load": load}, {"load_state": load_state}):
        report = check_module(lambda: nn.BatchNorm1d(3), **loading, ignore=["strictness"])
        assert [(one.category, one.key) for one in report.findings] == [("unsaved-state", key)], report.text()


class Adapted(nn.Module):
    """A pretrained base, the same in every instance and frozen, and what is trained on top of it."""

    def __init__(self):
        super().__init__()
        self.base = nn.Linear(3, 3).requires_grad_(requires_grad=False)
        nn.init.eye_(self.base.weight)
        nn.init.zeros_(self.base.bias)
        self.adapter = nn.Linear(3, 3)

    def forward(self, x):
        return self.base(x) + self.adapter(x)


def save_adapter(module, path):
    torch.save({key: value for key, value in module.state_dict().items() if key.startswith("adapter")}, path)


def load_adapter_into(module, state):
    left_out = module.load_state_dict(state, strict=False)
    if left_out.unexpected_keys or not all(key.startswith("base.") for key in left_out.missing_keys):
        raise RuntimeError(f"not the state of an adapter: {left_out}")


def load_adapter(path):
    module = Adapted()
    load_adapter_into(module, torch.load(path, map_location="cpu", weights_only=True))
    return module


@pytest.mark.parametrize("loading", [{"load": load_adapter}, {"load_state": load_adapter_into}], ids=["load", "state"])
def test_a_frozen_base_that_every_instance_holds_need_not_be_saved(loading):
    report = check_module(Adapted, X, save=save_adapter, **loading)
    assert report.ok, report.text()


class Extra(nn.Module):
    def __init__(self, *, takes):
        super().__init__()
        self.steps, self.takes = 0, takes

    def count(self):
        self.steps = 7

    def get_extra_state(self):
        return {"steps": self.steps}

    def set_extra_state(self, state):
        if self.takes:
            self.steps = state["steps"]


def test_extra_state_must_come_back_too():
    assert check_module(lambda: Extra(takes=True), prepare=Extra.count).ok
    (finding,) = check_module(lambda: Extra(takes=False), prepare=Extra.count).findings
    assert (finding.category, finding.key) == ("value-changed", "_extra_state")
    assert "7" in finding.expected
    assert "0" in finding.actual


class Listed(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = [nn.Linear(3, 3)]


def test_hidden_layers_are_found_without_inputs():
    report = check_module(Listed)
    assert [(one.category, one.key) for one in report.findings] == [("unsaved-submodule", "layers")]
    assert report.findings[0].actual == "the same with other values"
    assert any("outputs were not compared" in note for note in report.notes)


class Scaler:
    def __init__(self):
        self.gain = 1.0


class Scaled(nn.Linear):
    def __init__(self):
        super().__init__(3, 3)
        self.scaler = Scaler()

    def forward(self, x):
        return super().forward(x) * self.scaler.gain


def test_of_two_objects_that_read_alike_it_is_said_where_they_differ():
    report = check_module(Scaled, X, prepare=lambda module: setattr(module.scaler, "gain", 3.0))
    found = [(one.key, one.actual) for one in report.findings]
    assert found == [("scaler", "the same with other values (.gain: 3.0 -> 1.0)")]


@pytest.mark.parametrize("mode", ["train", "eval"])
def test_outputs_are_compared_in_the_mode_that_is_asked_for(mode):
    class OnlyIn(nn.Module):
        """Loses its offset, which only one mode shows."""

        def __init__(self):
            super().__init__()
            self.offset = torch.randn(3)

        def forward(self, x):
            return x + self.offset if self.training else x

    report = check_module(OnlyIn, X, mode=mode)
    assert [one.key for one in report.findings] == (["offset"] if mode == "train" else [])


@pytest.mark.filterwarnings("ignore:Lazy modules")
def test_lazy_modules_are_saved_as_their_first_forward_leaves_them():
    saved = []

    def save(module, path):
        saved.append([tuple(tensor.shape) for tensor in module.parameters()])
        torch.save(module.state_dict(), path)

    report = check_module(lambda: nn.Sequential(nn.LazyLinear(5), nn.LazyBatchNorm1d()), X, save=save)
    assert report.ok, report.text()
    assert saved
    assert all(shapes == [(5, 3), (5,), (5,), (5,)] for shapes in saved)


def test_a_fault_on_several_legs_is_one_finding_that_names_them():
    report = check_module(linear, load_state=load_all_but("bias"), devices=["cpu", "xla"], checks=["unsaved-state"])
    (finding,) = report.findings
    ran = [leg.leg for leg in report.legs if leg.status != "skipped"]
    assert len(ran) > 1
    assert finding.leg.split(", ") == ran


# ------------------------------------------------------------------------------------------------------ what is allowed


class Headed(nn.Module):
    def __init__(self, *, head=True):
        super().__init__()
        self.body = nn.Linear(3, 3)
        if head:
            self.head = nn.Linear(3, 3)


def save_body(module, path):
    torch.save({name: value for name, value in module.state_dict().items() if name.startswith("body")}, path)


def save_more(module, path):
    torch.save({**module.state_dict(), "old.weight": torch.ones(1)}, path)


def test_entries_that_need_not_come_back():
    assert not check_module(Headed, save=save_body).ok
    assert check_module(Headed, save=save_body, allow_missing=["head.*"]).ok
    assert not check_module(Headed, save=save_body, allow_missing=["head.weight"]).ok
    assert not check_module(Headed, save=save_body, allow_unexpected=["head.*"]).ok


def test_entries_that_may_come_although_nobody_has_them():
    assert not check_module(Headed, save=save_more).ok
    assert check_module(Headed, save=save_more, allow_unexpected=["old.*"]).ok
    assert not check_module(Headed, save=save_more, allow_missing=["old.*"]).ok


# -------------------------------------------------------------------------------------------------- nothing left behind

ENDINGS: dict[str, Any] = {
    "passes": {"inputs": X},
    "fails": {"make": Faulty, "inputs": X, "prepare": Faulty.fit, "save": save_in_eval},
    "save raises": {"save": raises},
    "load raises": {"load": raises},
    "save writes nothing": {"save": lambda _module, _path: None},
    "inputs do not fit": {"inputs": torch.ones(2, 5)},
    "forward draws": {"make": lambda: nn.Dropout(0.5), "inputs": X, "mode": "train"},
}


@pytest.fixture(params=ENDINGS)
def run(request):
    """Give a function that makes a round trip with one of the endings that it may have."""

    def run():
        try:
            return check_module(**{"make": linear, **ENDINGS[request.param]})
        except UsageError as error:
            return str(error)

    return run


def surroundings():
    return {
        "generator of torch": torch.get_rng_state().tolist(),
        "generator of Python": random.getstate(),
        "generator of NumPy": str(np.random.get_state()),  # noqa: NPY002 -- the global generator is the point
        "default dtype": torch.get_default_dtype(),
        "default device": torch.get_default_device(),
        "threads": torch.get_num_threads(),
        "gradients": torch.is_grad_enabled(),
        "anomalies": torch.is_anomaly_enabled(),
        "determinism": torch.are_deterministic_algorithms_enabled(),
        "taggers": list(torch.serialization._package_registry),
        "safe globals": list(torch.serialization.get_safe_globals()),
        "warnings": list(warnings.filters),
        "folder": Path.cwd(),
        "environment": dict(os.environ),
        "hooks": list(torch.nn.modules.module._global_forward_hooks),
    }


def test_everything_around_is_left_as_it_was(run):
    before = surroundings()
    run()
    assert surroundings() == before


def test_temporary_files_are_gone(run, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    run()
    assert list(tmp_path.iterdir()) == []


def test_files_that_save_wrote_beside_the_checkpoint_are_gone_too(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    def save(module, path):
        path.mkdir()
        torch.save(module.state_dict(), path / "weights.pt")
        (path.parent / "notes.txt").write_text("text")

    def load(path):
        assert (path.parent / "notes.txt").exists()
        module = linear()
        module.load_state_dict(torch.load(path / "weights.pt", map_location="cpu", weights_only=True))
        return module

    assert check_module(linear, X, save=save, load=load).ok
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("training", [True, False])
def test_modules_are_saved_in_the_mode_that_they_were_built_in(training):
    seen = []

    def save(module, path):
        seen.append({one.training for one in module.modules()})
        torch.save(module.state_dict(), path)

    check_module(lambda: nn.Sequential(linear(), nn.Dropout()).train(training), X, save=save)
    assert seen
    assert all(modes == {training} for modes in seen)


def test_the_same_call_says_the_same_twice():
    reports = [check_module(Faulty, X, prepare=Faulty.fit, save=save_in_eval) for _ in range(2)]
    assert [one.key for one in reports[0].findings] == [one.key for one in reports[1].findings]


# ------------------------------------------------------------------------------------------------------------- warnings


class Buffers(nn.Module):
    def __init__(self, **buffers):
        super().__init__()
        for name, value in buffers.items():
            self.register_buffer(name, value)

    def forward(self, x):
        return x


WARNED = {
    "sparse": lambda: Buffers(coo=torch.eye(3).to_sparse()),
    "compressed": lambda: Buffers(csr=torch.eye(3).to_sparse_csr()),
    "quantized": lambda: Buffers(q=torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8)),
    "complex": lambda: Buffers(c=torch.ones(3, dtype=torch.complex32)),
    "float8": lambda: Buffers(f=torch.ones(3).to(torch.float8_e4m3fn)),
    "frozen": lambda: linear().requires_grad_(requires_grad=False),
    "transformer": lambda: nn.TransformerEncoder(nn.TransformerEncoderLayer(3, 1, 4, batch_first=True), 1),
    "lstm": lambda: nn.LSTM(3, 3),
    "weight_norm": lambda: nn.utils.parametrizations.weight_norm(linear()),
    "half": lambda: linear().half(),
}


@pytest.mark.parametrize("kind", WARNED)
def test_no_warning_comes_from_inside(kind):
    make = WARNED[kind]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        modules = [make() for _ in range(12)]  # what the user's own factory warns of is the user's
        inputs = X.half() if kind == "half" else X
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        report = check_module(modules.pop, inputs)
    assert report.ok, report.text()


# ------------------------------------------------------------------------------------------------- both ways of loading


def save_nested(module, path):
    torch.save({"model": module.state_dict()}, path)


def load_nested(path):
    module = linear()
    module.load_state_dict(torch.load(path, map_location="cpu", weights_only=True)["model"])
    return module


def load_leniently(module, state):
    module.load_state_dict(state, strict=False)


BOTH = {"inputs": X, "devices": ONE_LEG, "save": save_nested, "load": load_nested}


def test_a_load_state_beside_a_load_is_held_to_the_same():
    report = check_module(linear, load_state=load_leniently, **BOTH)
    assert [(one.category, one.key) for one in report.findings] == [("strictness", "weight")], report.text()
    assert not check_module(linear, load_state=nn.Module.load_state_dict, **BOTH).findings


def test_a_load_state_for_the_whole_content_of_the_file_is_not_accused_for_a_state_dict():
    report = check_module(linear, load_state=lambda module, content: load_leniently(module, content["model"]), **BOTH)
    assert not report.findings, report.text()
    assert any("load_state was not judged" in note for note in report.notes), report.text()
