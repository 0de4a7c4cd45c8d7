"""What keeps sources and functions from libcst loses no finding and makes none."""

from __future__ import annotations

import contextlib
import inspect
import os
import sysconfig
from pathlib import Path

import pytest

from lint_rules import registry
from tests.lint_rules import mutations, shortcuts

#: Programs in which a part that holds no word of a rule decides, and the lines of what is found by that rule.
PROGRAMS = {
    "a closure runs what the function around it loads": (
        """
        import torch
        from networks import Net

        def create():
            net = Net()
            net.load_state_dict(torch.load("net.pt", weights_only=True))
            @app.get("/")
            def predict(x):
                return net(x)
            return predict
        """,
        "CKP201",
        [6],
    ),
    "one closure loads, another runs": (
        """
        import torch
        from networks import Net

        def create():
            net = Net()
            def read():
                net.load_state_dict(torch.load("net.pt", weights_only=True))
            read()
            @app.get("/")
            def predict(x):
                return net(x)
        """,
        "CKP201",
        [7],
    ),
    "one function loads into a global, another runs it": (
        """
        import torch
        from networks import Net

        net = Net()
        def read():
            net.load_state_dict(torch.load("net.pt", weights_only=True))
        def predict(x):
            return net(x)
        read()
        print(predict(1))
        """,
        "CKP201",
        [6],
    ),
    "a loop loads all, a function runs one": (
        """
        import torch
        from networks import Net

        nets = {"a": Net(), "b": Net()}
        for name, net in nets.items():
            net.load_state_dict(torch.load(name, weights_only=True))
        def predict(x):
            return nets["a"](x)
        """,
        "CKP201",
        [6],
    ),
    "a part of what was loaded is run elsewhere": (
        """
        import torch
        from networks import Net

        net = torch.nn.DataParallel(Net())
        net.module.load_state_dict(torch.load("net.pt", weights_only=True))
        features = torch.nn.Sequential(*list(net.children())[:-1])
        def predict(x):
            return features(x)
        """,
        "CKP201",
        [5],
    ),
    "states are collected in one place and used in another": (
        """
        import torch
        from networks import Net

        def create():
            model = Net()
            states = []
            for epoch in range(10):
                train_one_epoch(model)
                states.append(model.state_dict())
            def finish():
                torch.save(states, "all.pt")
        """,
        "CKP403",
        [9],
    ),
    "a state is kept above functions that train": (
        """
        from networks import Net, train_model

        net = Net()
        start = net.state_dict()
        def run():
            for fold in range(5):
                net.load_state_dict(start)
                train_model(net, fold)
        """,
        "CKP403",
        [4],
    ),
    "a state is kept above a closure that trains": (
        """
        from networks import Net, train_model

        def create():
            net = Net()
            start = net.state_dict()
            def run():
                for fold in range(5):
                    net.load_state_dict(start)
                    train_model(net, fold)
        """,
        "CKP403",
        [5],
    ),
    "a function takes the wrapper off": (
        """
        import torch
        from networks import Net

        model = torch.nn.DataParallel(Net())
        def finish():
            global model
            model = model.module
        def save():
            torch.save(model.state_dict(), "net.pt")
        """,
        "CKP402",
        [],
    ),
    "a function binds the name anew": (
        """
        import torch
        from networks import Net

        def create():
            model = torch.nn.DataParallel(Net())
            def finish():
                nonlocal model
                model = Net()
            finish()
            def save():
                torch.save(model.state_dict(), "net.pt")
        """,
        "CKP402",
        [],
    ),
    "a function gives what it loaded among other things": (
        """
        import torch
        from networks import Net

        def read():
            net = Net()
            net.load_state_dict(torch.load("net.pt", weights_only=True))
            return net, 3
        net, count = read()
        def predict(x):
            return net(x)
        """,
        "CKP201",
        [6],
    ),
    "what proves a module stands elsewhere": (
        """
        import torch
        from networks import Net

        class Run:
            def setup(self):
                self.net = Net()
            def prepare(self):
                self.optimizer = torch.optim.SGD(self.net.parameters(), lr=0.1)
            def save(self):
                torch.save(self.net, "net.pt")
        """,
        "CKP401",
        [10],
    ),
    "what is loaded whole was saved in evaluation mode": (
        """
        import torch
        from networks import Net, Other

        class Net:
            def keep(self):
                self.net = Other()
                self.net.eval()
                torch.save(self.net, "net.pt")
            def predict(self, x):
                return torch.load("net.pt", weights_only=False)(x)
        """,
        "CKP201",
        [],
    ),
    "carriage returns alone end the lines": (
        "import torch\rx = torch.zeros(2, 2)\rx.to('cuda')\r",
        "CKP501",
        [3],
    ),
    "nothing ends the last line": (
        """
        from torch import nn

        class Net(nn.Module):
            def __init__(self):
                super().__init__()
                layers = []
                layers.append(nn.Linear(2, 2))
                self.layers = layers""",
        "CKP503",
        [8],
    ),
    "another method registers what is moved": (
        """
        import torch
        from torch import nn

        class Net(nn.Module):
            def reset(self, size):
                self.register_buffer("scale", size)
            def place(self, device):
                self.scale.to(device)
        """,
        "CKP501",
        [8],
    ),
    "a function takes what is moved from one that takes it from another": (
        """
        import torch

        def raw():
            return torch.randn(3)
        def noise():
            made = raw()
            return made
        def sample(device):
            drawn = noise()
            drawn.to(device)
        """,
        "CKP501",
        [10],
    ),
    "not everybody passes a loader": (
        """
        import torch
        from torch.utils.data import DataLoader

        def train(batches, device):
            for one, other in batches:
                one.to(device)
        def first(data):
            train(DataLoader(data), "cuda")
        def second(encoded):
            train(encoded, "cuda")
        """,
        "CKP501",
        [],
    ),
    "an attribute of an attribute": (
        """
        import torch

        class Runner:
            def fill(self):
                self.state.noise = torch.randn(3)
            def place(self, device):
                self.state.noise.to(device)
        """,
        "CKP501",
        [7],
    ),
    "a method hands on what a module hides": (
        """
        from torch import nn

        class Net(nn.Module):
            def __init__(self):
                super().__init__()
                self.layers = [nn.Linear(2, 2)]
            def forward(self, x):
                return self.step(x)
            def step(self, x):
                return run(self.layers, x)
        """,
        "CKP503",
        [6],
    ),
    "a function makes what a module hides": (
        """
        from torch import nn

        class Block(nn.Module):
            def __init__(self):
                super().__init__()
        def block():
            return other()
        def other():
            return Block()
        class Net(nn.Module):
            def __init__(self):
                super().__init__()
                self.layers = [block()]
        """,
        "CKP503",
        [13],
    ),
    "a function registers what a module hides": (
        """
        from torch import nn

        class Parts(nn.Module):
            def __init__(self):
                super().__init__()
                self.layers = [nn.Linear(2, 2)]
        def whole(parts):
            return nn.ModuleList(parts.layers)
        """,
        "CKP503",
        [],
    ),
    "a module is made inside of another one": (
        """
        from torch import nn

        class Outer(nn.Module):
            def parameters(self):
                return []
            def make(self):
                class Inner(nn.Module):
                    def __init__(self):
                        super().__init__()
                        self.layers = [nn.Linear(2, 2)]
                return Inner()
        """,
        "CKP503",
        [10],
    ),
    "a function that a function defines yields": (
        """
        class Base:
            def path(self) -> str:
                def parts():
                    first = 1
                    yield first
                raise NotImplementedError
            def restore(self, net):
                net.load_state_dict(self.path())
        """,
        "CKP101",
        [8],
    ),
}


@pytest.mark.parametrize("why", PROGRAMS)
def test_parts_without_a_word_of_a_rule_are_seen(why: str) -> None:
    text, code, lines = PROGRAMS[why]
    data = inspect.cleandoc(text).encode()

    assert [each.line for each in shortcuts.found(data, "a.py") if each.code == code] == lines
    assert shortcuts.differences(data, "a.py") == []


def test_mutated_examples() -> None:
    for seed, text in enumerate(mutations.examples()[::4]):
        assert shortcuts.differences(mutations.mutated(text, seed), "a.py") == []


def test_scattered_examples() -> None:
    found = 0
    for seed, text in enumerate(mutations.examples()[::4]):
        with contextlib.suppress(SyntaxError):
            data = mutations.scattered(text, seed).encode()
            assert shortcuts.differences(data, "a.py") == []
            found += len(shortcuts.found(data, "a.py"))

    assert found > 50


@pytest.mark.parametrize(
    ("shortcut", "name", "broken"),
    [
        (shortcuts.OUTLINE, "may_find", lambda _rule, _outline: False),
        (shortcuts.PREFILTER, "needs", ((b"a word that no source holds",),)),
        (shortcuts.REGIONS, "marks", frozenset({"a word that no source holds"})),
    ],
)
def test_a_shortcut_that_is_wrong_is_told(
    monkeypatch: pytest.MonkeyPatch, shortcut: str, name: str, broken: object
) -> None:
    data = b"import torch\ndef read(path):\n    torch.load(path)\n"
    monkeypatch.setattr(type(registry.rule("CKP301")), name, broken)

    told = shortcuts.differences(data, "a.py")
    assert any("CKP301 lost, with CKP301 alone" in line for line in told)
    assert shortcut in told[-1] or shortcut == shortcuts.REGIONS


@pytest.mark.fuzz
@pytest.mark.parametrize("path", ["stdlib", "purelib", "FUZZ_FOLDER"])
def test_every_file(path: str) -> None:
    folder = sysconfig.get_paths().get(path) or os.environ.get(path)
    if not folder:
        pytest.skip(f"{path} names no folder")
    for found, data in shortcuts.sources([Path(folder)]):
        assert shortcuts.differences(data, str(found)) == []


@pytest.mark.fuzz
def test_thousands_of_scattered_examples() -> None:
    sources = mutations.examples()
    for seed in range(10_000):
        with contextlib.suppress(SyntaxError):
            data = mutations.scattered(sources[seed % len(sources)], seed).encode()
            assert shortcuts.differences(data, "a.py") == []
