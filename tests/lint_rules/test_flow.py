"""Following objects: what a call was made on and with, when a module ran, and in which mode."""

from __future__ import annotations

import textwrap

import libcst as cst
import pytest

from lint_rules.flow import Flow
from lint_rules.names import Names
from lint_rules.objects import Kind


def follow(code: str) -> Flow:
    tree = cst.parse_module(textwrap.dedent(code).strip() + "\n")
    return Flow(tree, Names(tree))


def shown(code: str) -> set[Kind]:
    """Say what the argument of `show(...)` may be, over all paths."""
    flow = follow(code)
    calls = [
        call for call in flow.calls.values() if isinstance(call.node.func, cst.Name) and call.node.func.value == "show"
    ]
    return {value.kind for call in calls for value in call.arguments[0]}


def modes(code: str) -> list[set[str]]:
    """Give the modes of each run of a loaded module, in order."""
    uses = follow("import torch\n" + textwrap.dedent(code).strip()).uses
    return [{mode.training.name.lower() for mode in use.modes if mode.load} for use in uses]


LOAD = "net.load_state_dict(torch.load('a.pt', weights_only=True))"


@pytest.mark.parametrize(
    ("code", "kinds"),
    [
        ("show('a')", {Kind.TEXT}),
        ("show(b'a')", {Kind.UNKNOWN}),
        ("x = 'a'\nif c:\n    x = None\nshow(x)", {Kind.TEXT, Kind.NONE}),
        ("x = 'a'\nif c:\n    raise E\nelse:\n    x = f()\nshow(x)", {Kind.UNKNOWN}),
        ("import sys\nx = f()\nif c:\n    x = 'a'\nelse:\n    sys.exit()\nshow(x)", {Kind.TEXT}),
        ("a, b = 'a', f()\nshow(a)", {Kind.TEXT}),
        ("a, b = 'a', f()\nshow(b)", {Kind.UNKNOWN}),
        ("for x in ['a', 'b']:\n    show(x)", {Kind.TEXT}),
        ("x = ['a', f()]\nshow(x[0])", {Kind.TEXT}),
        ("x = {'k': 'a', 'l': f()}\nshow(x['k'])", {Kind.TEXT}),
        ("x = {'k': 'a', 'l': f()}\nshow(x[l])", {Kind.TEXT, Kind.UNKNOWN}),
        ("show([y + 'b' for y in z][0])", {Kind.TEXT}),
        ("show('a' if c else f())", {Kind.TEXT, Kind.UNKNOWN}),
        ("def f(x='a'):\n    show(x)\nf()\nf(1)", {Kind.TEXT, Kind.UNKNOWN}),
        ("def f():\n    return 'a'\nshow(f())", {Kind.TEXT}),
        ("def f(n):\n    return f(n - 1) if n else 'a'\nshow(f(3))", {Kind.TEXT, Kind.UNKNOWN}),
        ("class A:\n    def __init__(self):\n        self.x = 'a'\nshow(A().x)", {Kind.TEXT}),
        ("class A:\n    x = 1\n    @property\n    def y(self):\n        return 'a'\nshow(A().y)", {Kind.TEXT}),
        ("class A:\n    @staticmethod\n    def f(x):\n        return x\nshow(A.f('a'))", {Kind.TEXT}),
        ("class A:\n    def f(self):\n        return 'a'\nclass B(A):\n    pass\nshow(B().f())", {Kind.TEXT}),
        ("def f():\n    global x\n    x = 'a'\nf()\nshow(x)", {Kind.TEXT}),
        ("def f():\n    x = 'a'\n    def g():\n        show(x)\n    return g", {Kind.TEXT}),
        ("def f(x: str):\n    show(x)", {Kind.TEXT}),
        ("def f(x: int):\n    show(x)", {Kind.UNKNOWN}),
        ("try:\n    x = f()\nexcept E:\n    x = 'a'\nshow(x)", {Kind.UNKNOWN, Kind.TEXT}),
        ("while True:\n    x = 'a'\n    break\nshow(x)", {Kind.TEXT}),
        ("(x := 'a')\nshow(x)", {Kind.TEXT}),
        ("f = lambda: 'a'\nshow(f())", {Kind.TEXT}),
        ("import torch\nshow(torch.load('a')['b'])", {Kind.UNKNOWN}),
        ("import torch\nshow(torch.load('a'))", {Kind.LOADED}),
    ],
)
def test_values(code: str, kinds: set[Kind]) -> None:
    assert shown(code) == kinds


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (f"net = Net()\n{LOAD}\nnet(1)", [{"default"}]),
        (f"net = Net()\n{LOAD}\nnet.eval()\nnet(1)", [{"eval"}]),
        (f"net = Net().eval()\n{LOAD}\nnet(1)", [{"eval"}]),
        (f"net = Net()\n{LOAD}\nif c:\n    net.eval()\nnet(1)", [{"eval", "default"}]),
        (f"net = Net()\n{LOAD}\nif c:\n    net.eval()\nif c:\n    net(1)", [{"eval"}]),
        (f"net = Net()\n{LOAD}\nif c:\n    net.eval()\nif not c:\n    net(1)", [{"default"}]),
        (f"net = Net()\n{LOAD}\nif c == 'a':\n    net.eval()\nelif c == 'b':\n    net(1)", [{"default"}]),
        (f"if c:\n    net = Net().eval()\nelse:\n    net = Other().eval()\n{LOAD}\nnet(1)", [{"eval"}] * 2),
        (f"net = Net()\n{LOAD}\nother = net\nother.eval()\nnet(1)", [{"eval"}]),
        (f"net = Net()\n{LOAD}\nevaluate(net)\nnet(1)", [{"unknown"}]),
        (f"net = Net()\n{LOAD}\nprint(net)\nnet(1)", [{"default"}]),
        (f"import copy\nnet = Net()\n{LOAD}\nb = copy.deepcopy(net)\nb.eval()\nnet(1)\nb(1)", [{"default"}, {"eval"}]),
        (f"def f(net):\n    {LOAD}\n    net(1)", [{"given"}]),
        (f"def f(net):\n    {LOAD}\n    net(1)\nf(Net())", [{"default"}]),
        (
            f"def f(flag):\n    net = Net()\n    {LOAD}\n    if flag:\n        net.eval()\n    net(1)\nf(True)",
            [{"eval"}],
        ),
        (f"for i in x:\n    net = Net()\n    {LOAD}\n    net.eval()\n    net(1)", [{"eval"}] * 2),
        (f"net = Net()\n{LOAD}\ntry:\n    net.eval()\nfinally:\n    net(1)", [{"eval"}]),
        ("net = Net()\nnet.load_state_dict(other.state_dict())\nnet(1)", []),
        ("net = Net()\nnet.load_state_dict({'weight': w})\nnet(1)", []),
    ],
)
def test_modes(code: str, expected: list[set[str]]) -> None:
    assert modes(code) == expected


def test_training_is_credited_to_what_the_loss_was_computed_from() -> None:
    flow = follow(
        """
        import torch

        a, b = A(), B()
        a.load_state_dict(torch.load("a.pt"))
        b.load_state_dict(torch.load("b.pt"))
        loss = criterion(a(x), y)
        b(x)
        loss.backward()
        """
    )
    trained = {use.thing.made_by for use in flow.uses if use.thing in flow.trained}
    assert {use.thing.made_by for use in flow.uses} == {"A", "B"}
    assert trained == {"A"}


def test_training_reaches_a_module_through_many_other_values() -> None:
    values = "; ".join(f"v{number} = f({number})" for number in range(40))
    sums = " + ".join(f"v{number}" for number in range(40))
    flow = follow(
        f"""
        import torch

        {values}
        net = A()
        net.load_state_dict(torch.load("a.pt"))
        loss = criterion(net({sums}))
        loss.backward()
        """
    )
    assert {use.thing.made_by for use in flow.uses if use.thing in flow.trained} == {"A"}


def test_functions_that_nothing_calls_are_followed_too() -> None:
    flow = follow("def f():\n    one()\n\n\nclass A:\n    def g(self):\n        two()\n")
    assert {call.node.func.value for call in flow.calls.values() if isinstance(call.node.func, cst.Name)} == {
        "one",
        "two",
    }


def test_a_class_whose_name_is_bound_again_is_no_base_of_itself() -> None:
    code = """
    class A:
        def run(self):
            return self.net(self.size.rate)

    class B(A):
        pass

    class A(B):
        pass

    print(A().run(), A().width.rate)
    """
    assert follow(code).complete


def test_a_file_that_takes_too_long_is_given_up() -> None:
    calls = "\n".join("x = g(g(g(g(1))))" for _ in range(9000))
    assert follow(calls).complete is False
    assert follow("x = g(1)").complete is True
