"""Variables outside of the module that decide its outputs are named; those that do not are not."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter, defaultdict
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from pytest_ckpt import check_module, spare
from pytest_ckpt.surroundings import used
from tests.pytest_ckpt.cases import odd_but_sound

X = torch.linspace(-1, 1, 6).reshape(2, 3)
OFFSETS: dict[str, torch.Tensor] = {}
DRAWN_BY_THE_IMPORT = torch.randn(3)
ARRAY_DRAWN_BY_THE_IMPORT = np.random.default_rng().normal(size=3)
CONSTANT = torch.arange(3.0)
STEPS = 0
TEACHER = nn.Linear(3, 3)
CACHE: dict[int, torch.Tensor] = {}
CALLS: Counter[str] = Counter()
DRAWN: dict[int, torch.Tensor] = {}
PROJECTION: nn.Module | None = None
GIVEN: dict[str, torch.Tensor] = {}
HEAD: Any = None
LAST: dict[str, torch.Tensor] = {}


class Settings:
    """A helper of the user's own."""

    def __init__(self):
        self.factor = 1.0
        self.seen = 0


SETTINGS = Settings()


class Base(nn.Module):
    scale = 1.0
    table: defaultdict[str, float] = defaultdict(float)  # noqa: RUF012 -- the fault

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(3, 3)

    def fit(self):
        """Nothing to fit."""


class GlobalDict(Base):
    def fit(self):
        OFFSETS["offset"] = torch.randn(3)

    def forward(self, x):
        return self.linear(x) + OFFSETS.get("offset", torch.zeros(3))


class GlobalNumber(Base):
    def fit(self):
        global STEPS  # noqa: PLW0603 -- the fault
        STEPS += 10

    def forward(self, x):
        return self.linear(x) * (1 + STEPS)


class GlobalModule(Base):
    def fit(self):
        with torch.no_grad():
            TEACHER.weight.add_(1)

    def forward(self, x):
        return TEACHER(self.linear(x))


class GlobalObject(Base):
    def fit(self):
        SETTINGS.factor += 1

    def forward(self, x):
        return self.linear(x) * factor()


def factor():
    return SETTINGS.factor


class DrawnByTheImport(Base):
    def forward(self, x):
        return self.linear(x) + DRAWN_BY_THE_IMPORT


class ArrayDrawnByTheImport(Base):
    def forward(self, x):
        return self.linear(x) + torch.from_numpy(ARRAY_DRAWN_BY_THE_IMPORT).float()


class ClassAttribute(Base):
    def fit(self):
        type(self).scale += 1

    def forward(self, x):
        return self.linear(x) * self.scale


class ClassDict(Base):
    def fit(self):
        self.table["bias"] += 1

    def forward(self, x):
        return self.linear(x) + self.table["bias"]


class NewClassAttribute(Base):
    gain: float | None = None

    def fit(self):
        type(self).gain = 2.0 if self.gain is None else self.gain + 1

    def forward(self, x):
        return self.linear(x) * (self.gain or 1.0)


class Inner(Base):
    def __init__(self):
        super().__init__()
        self.inner = ClassAttribute()

    def fit(self):
        self.inner.fit()

    def forward(self, x):
        return self.inner(x)


@pytest.mark.parametrize(
    ("make", "key", "home"),
    [
        (GlobalDict, "OFFSETS", __name__),
        (GlobalNumber, "STEPS", __name__),
        (GlobalModule, "TEACHER", __name__),
        (GlobalObject, "SETTINGS", __name__),
        (DrawnByTheImport, "DRAWN_BY_THE_IMPORT", __name__),
        (ArrayDrawnByTheImport, "ARRAY_DRAWN_BY_THE_IMPORT", __name__),
        (ClassAttribute, "scale", "class ClassAttribute"),
        (ClassDict, "table", "class Base"),
        (NewClassAttribute, "gain", "class NewClassAttribute"),
        (Inner, "inner.scale", "class ClassAttribute"),
    ],
)
def test_a_variable_that_decides_the_outputs_is_named(make, key, home):
    report = check_module(make, X, prepare=make.fit)
    (found,) = report.findings
    assert (found.category, found.key) == ("unsaved-state", key), report.text()
    assert found.message.startswith(f"the variable is in {home}, not in the module: a new process has another value")
    name = key.rpartition(".")[2]
    assert found.hint == f'self.register_buffer("{name}", ...), or return it from get_extra_state()'


def test_a_variable_of_a_closure_is_named_although_nothing_can_import_it():
    offsets = {}

    class Local(Base):
        def fit(self):
            offsets["offset"] = torch.randn(3)

        def forward(self, x):
            return self.linear(x) + offsets.get("offset", torch.zeros(3))

    report = check_module(lambda: Local().train(), X, prepare=Local.fit)
    assert [(one.category, one.key) for one in report.findings] == [("unsaved-state", "offsets")], report.text()


class DrawnWhenNeeded(Base):
    def forward(self, x):
        if x.shape[-1] not in DRAWN:
            DRAWN[x.shape[-1]] = torch.randn(x.shape[-1])
        return self.linear(x) + DRAWN[x.shape[-1]]


class BuiltWhenNeeded(Base):
    def forward(self, x):
        global PROJECTION  # noqa: PLW0603 -- the fault
        if PROJECTION is None:
            PROJECTION = nn.Linear(3, 3)
        return PROJECTION(self.linear(x))


class OnAFunction(Base):
    def forward(self, x):
        return shifted(self.linear(x))


def shifted(x):
    if not hasattr(shifted, "offset"):
        shifted.offset = torch.rand(3)  # type: ignore[attr-defined]
    return x + shifted.offset  # type: ignore[attr-defined]


class GivenAndDrawn(DrawnWhenNeeded):
    def forward(self, x):
        return super().forward(x) * GIVEN["scale"]


@pytest.mark.parametrize(
    ("make", "key"),
    [
        (GlobalDict, "OFFSETS"),
        (DrawnWhenNeeded, "DRAWN"),
        (BuiltWhenNeeded, "PROJECTION"),
        (OnAFunction, "shifted.offset"),
        (GivenAndDrawn, "DRAWN"),
    ],
)
def test_a_variable_that_an_earlier_use_has_filled_is_named(make, key, monkeypatch):
    monkeypatch.setitem(GIVEN, "scale", torch.ones(3))
    with torch.random.fork_rng():
        used_before = make()
        used_before.fit()
        used_before(X)
    report = check_module(make, X, prepare=make.fit)
    assert [(one.category, one.key) for one in report.findings] == [("unsaved-state", key)], report.text()


class Given(Base):
    def forward(self, x):
        return self.linear(x) * GIVEN.get("scale", 1.0)


class GivenAndNeeded(Base):
    def forward(self, x):
        return self.linear(x) * GIVEN["scale"]


class GivenToAFunction(Base):
    def forward(self, x):
        return scaled(self.linear(x))


def scaled(x):
    return x * getattr(scaled, "scale", 1.0)


@pytest.mark.parametrize("make", [Given, GivenAndNeeded, GivenToAFunction])
def test_a_variable_that_was_filled_by_hand_is_not_accused(make, monkeypatch):
    monkeypatch.setitem(GIVEN, "scale", torch.full((3,), 2.0))
    monkeypatch.setattr(scaled, "scale", torch.full((3,), 2.0), raising=False)
    report = check_module(make, X)
    assert report.ok, report.text()
    assert torch.equal(GIVEN["scale"], torch.full((3,), 2.0))


class GivenAndTrained(Base):
    def fit(self):
        with torch.no_grad():
            HEAD.weight.add_(1)

    def forward(self, x):
        return self.linear(x) if HEAD is None else HEAD(self.linear(x))


def test_a_module_that_was_given_by_hand_and_trained_since_is_named(monkeypatch):
    monkeypatch.setitem(globals(), "HEAD", nn.Linear(3, 3))
    report = check_module(GivenAndTrained, X, prepare=GivenAndTrained.fit)
    assert [(one.category, one.key) for one in report.findings] == [("unsaved-state", "HEAD")], report.text()


class Constant(Base):
    def forward(self, x):
        return self.linear(x) + CONSTANT


class Cached(Base):
    def forward(self, x):
        if x.shape[-1] not in CACHE:
            CACHE[x.shape[-1]] = torch.arange(float(x.shape[-1]))
        return self.linear(x) + CACHE[x.shape[-1]]


class Counted(Base):
    def fit(self):
        CALLS["fit"] += 1
        SETTINGS.seen += 1

    def forward(self, x):
        CALLS["forward"] += 1
        SETTINGS.seen += 1
        return self.linear(x)


class Saved(Base):
    def __init__(self):
        super().__init__()
        self.register_buffer("offset", torch.zeros(3))

    def fit(self):
        OFFSETS["last"] = torch.randn(3)
        self.get_buffer("offset").copy_(OFFSETS["last"])

    def forward(self, x):
        return self.linear(x) + self.offset


class Noise(Base):
    def forward(self, x):
        CALLS["noise"] += 1
        return self.linear(x) + torch.randn(3)


class Instances(Base):
    instances: list[nn.Module] = []  # noqa: RUF012 -- as a registry of instances is written

    def __init__(self):
        super().__init__()
        self.instances.append(self)

    def forward(self, x):
        return self.linear(x)


@pytest.mark.parametrize("make", [Constant, Cached, Counted, Saved, Noise, Instances])
def test_a_variable_that_decides_nothing_is_not_accused(make):
    report = check_module(make, X, prepare=make.fit)
    assert report.ok, report.text()


def test_variables_are_left_as_they_were():
    steps, scale = STEPS, ClassAttribute.scale
    check_module(GlobalNumber, X)
    check_module(ClassAttribute, X)
    assert (STEPS, ClassAttribute.scale) == (steps, scale)
    assert "scale" not in vars(Inner)


class KeepsItsLast(Base):
    def forward(self, x):
        LAST["x"] = x
        type(self).scale = x.sum()
        return self.linear(x)


def test_no_tensor_of_a_device_that_is_not_here_stays_in_a_variable():
    for _ in range(2):
        report = check_module(KeepsItsLast, X)
        assert report.ok, report.text()
        assert "simulated" in {one.status for one in report.legs if one.leg == "cpu->cuda torch_zip"}
        assert torch.equal(LAST["x"], X)
        assert torch.equal(torch.as_tensor(KeepsItsLast.scale), X.sum())


def test_constants_that_modules_are_built_on_are_never_written_to():
    before = odd_but_sound.PIXEL_MEAN.clone()
    check_module(odd_but_sound.ConstantOfTheFileAsBuffer, odd_but_sound.X)
    assert torch.equal(odd_but_sound.PIXEL_MEAN, before)


def test_code_of_libraries_is_not_looked_into():
    assert used(nn.TransformerEncoderLayer(4, 2)) == ()


def test_one_process_answers_for_a_whole_run():
    values = spare.values(__name__)
    assert not torch.equal(values["DRAWN_BY_THE_IMPORT"], DRAWN_BY_THE_IMPORT)
    assert torch.equal(values["CONSTANT"], CONSTANT)
    assert (values["OFFSETS"], values["PROJECTION"], values["Base.scale"]) == ({}, None, ...)
    assert spare.values("tests.no_such_module") == {}
    assert spare._server() is spare._server()


def _drawn(module: Any, file: Any) -> Any:
    return spare.ask(spare._of_module, {"module": module, "file": str(file)}, [(module, str(file))])[0].get("DRAWN")


def test_what_questions_are_about_is_imported_once(tmp_path):
    for name in ("one", "other"):
        (tmp_path / f"{name}.py").write_text("import torch, os; DRAWN = torch.tensor(float(os.getpid()))")
    first, again, other, anew = (_drawn(name, tmp_path / f"{name}.py") for name in ("one", "one", "other", "one"))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert not torch.equal(first, anew)


def test_a_process_with_threads_is_not_forked(tmp_path):
    file = tmp_path / "threaded.py"
    file.write_text(
        "import threading, time, torch, os\n"
        "threading.Thread(target=time.sleep, args=(600,), daemon=True).start()\n"
        "DRAWN = torch.tensor(float(os.getpid()))\n"
    )
    first, again = (_drawn("threaded", file) for _ in range(2))
    assert not torch.equal(first, again)


def test_libraries_are_kept_from_starting_threads(tmp_path):
    file = tmp_path / "counting.py"
    file.write_text("import torch, os; DRAWN = torch.tensor(float(os.environ['OPENBLAS_NUM_THREADS']))")
    assert _drawn("counting", file) == 1.0


def test_a_module_that_ends_the_process_answers_nothing(tmp_path):
    (tmp_path / "ending.py").write_text("import os; os._exit(3)")
    assert _drawn("ending", tmp_path / "ending.py") is None
    assert torch.equal(spare.ask(spare._of_module, {"module": __name__, "file": __file__}, [])[0]["CONSTANT"], CONSTANT)


def test_the_process_ends_with_the_run():
    code = (
        "import tests.pytest_ckpt.test_surroundings as t; from pytest_ckpt import spare;"
        "assert spare.values(t.__name__); print(spare._server()._process.pid)"
    )
    pid = int(subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True).stdout)
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


class GainOfTheEnvironment(nn.Linear):
    def __init__(self):
        super().__init__(3, 3)

    def forward(self, x):
        return super().forward(x) * float(os.environ.get("GAIN_FOR_A_TEST", "1.0"))


def test_a_variable_of_the_environment_counts_where_it_is_set_after_the_module_was_built(monkeypatch):
    monkeypatch.delenv("GAIN_FOR_A_TEST", raising=False)
    report = check_module(GainOfTheEnvironment, X, prepare=lambda _module: monkeypatch.setenv("GAIN_FOR_A_TEST", "3.0"))
    found = [(one.category, one.key, one.expected, one.actual) for one in report.findings]
    assert found == [("unsaved-state", "GAIN_FOR_A_TEST", "'3.0'", "not set")], report.text()
    assert os.environ["GAIN_FOR_A_TEST"] == "3.0"
    assert check_module(GainOfTheEnvironment, X).ok
