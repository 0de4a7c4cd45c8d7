"""CKP403: a state dict that is kept while training goes on."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from lint_rules.rule import Example, Finding, Fix, Rule

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lint_rules.engine import Context
    from lint_rules.outline import Outline

_STATE = re.compile(rb"\.state_dict\(\)")
_LIVE = re.compile(rb"(?:deepcopy|load_state_dict|save\w*)\($")
_NO_MODULE = re.compile(rb"(?:optim|sched|scaler)\w*$")
#: Each alternative begins with what it says itself, and looks back for a beginning word only then: ten times faster.
_TRAINS = re.compile(
    rb"\.step\(|\.backward\(|fit(?<!\wfit)\w*\(|train(?<!\wtrain)\w*\(|epoch\w*\(|Trainer\(|\.data\s*[-+*/]="
    rb"|-=[^\n]*\.grad\b|sub_\((?<!\wsub_\()[^\n]*\.grad\b|add_\((?<!\wadd_\()[^\n]*\.grad\b"
)
#: What gives a state back that was kept: after other code has run, or after another state was loaded.
_GIVES_BACK = re.compile(rb"\byield\b[\s\S]*?\bload_state_dict\(|\bload_state_dict\([\s\S]*?\bload_state_dict\(")
_BEST = re.compile(rb"self\.\w*best\w*\s*=\s*[\w.]+$", re.IGNORECASE)
_RECEIVER = re.compile(rb"[\w.\[\]]*$")
_HELD = re.compile(rb"\s*(self\.\w+)\s*(?:=|\.append\()")
_DEFINED = re.compile(rb"def +(\w+)")
_CALLED = re.compile(rb"(?<!def )\b(\w+)\(")


def _may_be_kept(data: bytes) -> bool:
    """Tell whether a state dict may be kept while a model is trained; cheap, and often wrong."""
    trains: bool | None = None
    for found in _STATE.finditer(data):
        line = data[data.rfind(b"\n", 0, found.start()) + 1 : found.start()]
        if _BEST.search(line) is not None:
            return True
        receiver = _RECEIVER.search(line)
        before = line[: receiver.start()] if receiver else line
        if _LIVE.search(before) or _NO_MODULE.search(line):
            continue
        held = _HELD.match(line)
        if held is not None and data.count(held[1]) > 1 and b"load_state_dict(" in data:
            return True
        if _GIVES_BACK.search(data, *_function_around(found.start(), data)):
            return True
        if trains is False:
            continue
        if trains is None:
            trains = _TRAINS.search(data) is not None
        is_kept = (
            before.lstrip().startswith(b"self.") or not line[:1].isspace() or _is_returned(found.start(), before, data)
        )
        around = _function_around(found.start(), data)
        if trains and (is_kept or _TRAINS.search(data, *around) or _calls_own(data, *around)):
            return True
    return False


def _function_around(place: int, data: bytes) -> tuple[int, int]:
    """Say roughly where the function or method around a place begins and ends, with functions that it defines."""
    outer, method = data.rfind(b"\ndef ", 0, place), data.rfind(b"\n    def ", 0, place)
    start = method if data.rfind(b"\nclass ", 0, place) > outer else outer
    ends = [data.find(b"\ndef ", place), data.find(b"\n    def ", place) if start == method else -1]
    return max(start, 0), min((each for each in ends if each >= 0), default=len(data))


def _calls_own(data: bytes, start: int, end: int) -> bool:
    """Tell whether a part of a source calls a function of the source, which may train what it is given."""
    return not set(_DEFINED.findall(data)).isdisjoint(_CALLED.findall(data, start, end))


def _is_returned(place: int, line: bytes, data: bytes) -> bool:
    """Tell whether a state is what a function gives that is called somewhere."""
    if line.strip() != b"return":
        return False
    start = data.rfind(b"def ", 0, place)
    name = data[start + 4 : data.find(b"(", max(start, 0))]
    return start >= 0 and name != b"state_dict" and data.count(name + b"(") > 1


class StateDictAlias(Rule):
    """Finds best states that change with the model they were taken from.

    ## What it does

    Reports `model.state_dict()` whose result is kept, under a name, in a container or as an attribute, and used after a
    training step of the same model: loaded, saved, returned, read; or given back to it after another state was loaded,
    or after a context manager has run other code. `.copy()`, `dict(...)` and `copy.copy(...)` make no
    difference: they copy the names, not the tensors. What is read, saved or loaded at once is left alone.

    ## Why is this bad

    The entries of a `state_dict` are the live tensors of the module. Every optimizer step changes them in place, so the
    state kept at the best epoch is, when training ends, the state of the last one. Nothing fails; the wrong weights are
    restored or saved.

    ## Fix safety

    Puts `copy.deepcopy(...)` around the call and imports `copy` where it is missing. The fix is safe: the kept state is
    then what it was when it was taken. It costs the memory of one more set of weights.

    ## References

    - [PyTorch: Saving and loading models](https://docs.pytorch.org/tutorials/beginner/saving_loading_models.html)
    - [Module.state_dict](https://docs.pytorch.org/docs/stable/generated/torch.nn.Module.html)
    """

    code = "CKP403"
    name = "state-dict-alias"
    summary = "A kept `state_dict` changes with every training step"
    needs = ((b"state_dict", b".state_dict()", _may_be_kept),)
    marks = frozenset({"state_dict"})
    follows = True
    needs_all = True

    def may_find(self, outline: Outline) -> bool:
        """Tell whether a state is taken for anything but to be loaded at once."""
        loaded = {arg for call in outline.methods("load_state_dict") for arg in call.args}
        return any(call not in loaded for call in outline.methods("state_dict"))

    def check(self, context: Context) -> Iterator[Finding]:
        """Report each state dict that is used after a step has changed it.

        Args:
            context: The source.

        Yields:
            One finding a call of `state_dict()`.
        """
        from lint_rules.kept import is_module_state, kept_as_best, kept_by_hooks, kept_to_restore

        flow = context.flow
        for call in {
            **{call: None for call in flow.aliased if is_module_state(call)},
            **dict.fromkeys(kept_by_hooks(context.tree)),
            **dict.fromkeys(kept_as_best(context.tree)),
            **dict.fromkeys(kept_to_restore(context.tree)),
        }:
            deepcopy, imports = context.spelling("copy.deepcopy", context.names.module)
            yield context.finding(
                self,
                call,
                "`state_dict()` gives the live tensors, so the kept state follows every training step; "
                "keep `copy.deepcopy(...)` of it",
                Fix(context.wrap(call, f"{deepcopy}(", ")"), safe=True, imports=imports),
            )

    invalid = (
        Example(
            """
            import torch

            from networks import Net, accuracy, batches

            model = Net()
            optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
            best = 0.0
            for epoch in range(10):
                for x, y in batches():
                    optimizer.zero_grad()
                    loss = torch.nn.functional.cross_entropy(model(x), y)
                    loss.backward()
                    optimizer.step()
                if accuracy(model) > best:
                    best = accuracy(model)
                    best_state = model.state_dict()

            model.load_state_dict(best_state)
            """,
            why="the best epoch",
            lines=(16,),
            fixed="""
            import torch

            from networks import Net, accuracy, batches
            import copy

            model = Net()
            optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
            best = 0.0
            for epoch in range(10):
                for x, y in batches():
                    optimizer.zero_grad()
                    loss = torch.nn.functional.cross_entropy(model(x), y)
                    loss.backward()
                    optimizer.step()
                if accuracy(model) > best:
                    best = accuracy(model)
                    best_state = copy.deepcopy(model.state_dict())

            model.load_state_dict(best_state)
            """,
        ),
        Example(
            """
            import torch
            from networks import *

            net = Net()
            optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
            for x in batches:
                net(x).mean().backward()
                optimizer.step()
                if better(net):
                    best = net.state_dict()
            net.load_state_dict(best)
            """,
            why="everything of a module is imported",
            lines=(10,),
            fixed="""
            import torch
            from networks import *
            import copy

            net = Net()
            optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
            for x in batches:
                net(x).mean().backward()
                optimizer.step()
                if better(net):
                    best = copy.deepcopy(net.state_dict())
            net.load_state_dict(best)
            """,
        ),
        Example(
            """
            import torch

            from networks import Net, batches, better

            net = Net()
            for x in batches:
                net(x).mean().backward()
                with torch.no_grad():
                    for weight in net.parameters():
                        gradient = weight.grad
                        weight.sub_(0.1 * gradient)
                if better(net):
                    best = net.state_dict()
            net.load_state_dict(best)
            """,
            why="weights that are changed by hand",
            lines=(13,),
        ),
        Example(
            """
            from copy import deepcopy

            import torch


            def fit(model, optimizer, loader, criterion, validate, epochs):
                best, best_loss = None, float("inf")
                for epoch in range(epochs):
                    model.train()
                    for x, y in loader:
                        loss = criterion(model(x), y)
                        loss.backward()
                        optimizer.step()
                    value = validate(model)
                    if value < best_loss:
                        best_loss = value
                        best = model.state_dict().copy()
                return best
            """,
            why="a shallow copy that is returned, with an optimizer that the caller made",
            lines=(17,),
            fixed="""
            from copy import deepcopy

            import torch


            def fit(model, optimizer, loader, criterion, validate, epochs):
                best, best_loss = None, float("inf")
                for epoch in range(epochs):
                    model.train()
                    for x, y in loader:
                        loss = criterion(model(x), y)
                        loss.backward()
                        optimizer.step()
                    value = validate(model)
                    if value < best_loss:
                        best_loss = value
                        best = deepcopy(model.state_dict()).copy()
                return best
            """,
        ),
        Example(
            """
            import torch


            def train_epoch(model, optimizer, loader):
                for x, y in loader:
                    loss = (model(x) - y).pow(2).mean()
                    optimizer.zero_grad()
                    loss.backward()
                    optimizer.step()


            def main(loader, score):
                model = torch.nn.Linear(2, 1)
                optimizer = torch.optim.Adam(model.parameters())
                best = {"score": 0.0, "weights": None}
                for epoch in range(10):
                    train_epoch(model, optimizer, loader)
                    if score(model) > best["score"]:
                        best = {"score": score(model), "weights": model.state_dict()}
                torch.save(best["weights"], "best.pt")
            """,
            why="in a dict, trained by a helper of the same file",
            lines=(19,),
        ),
        Example(
            """
            import torch

            from networks import Net


            class Trainer:
                def __init__(self, loader):
                    self.model = Net()
                    self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.1)
                    self.loader = loader
                    self.best = None

                def train(self):
                    for epoch in range(10):
                        for x, y in self.loader:
                            loss = self.model(x).sum()
                            loss.backward()
                            self.optimizer.step()
                        if self.improved():
                            self.best = dict(self.model.state_dict())
                    self.model.load_state_dict(self.best)

                def improved(self):
                    return True
            """,
            why="an attribute",
            lines=(20,),
        ),
        Example(
            """
            import torch

            from networks import Net, train_one_epoch

            model = Net()
            states = []
            for epoch in range(10):
                train_one_epoch(model)
                states.append(model.state_dict())
            torch.save(states, "all.pt")
            """,
            why="one of each epoch, trained by an imported function",
            lines=(9,),
        ),
        Example(
            """
            import torch

            from networks import Net, score, train_one_epoch

            model = Net()
            best, highest = None, 0.0
            for epoch in range(10):
                train_one_epoch(model)
                checkpoint = {"epoch": epoch, "weights": model.state_dict()}
                if score(model) > highest:
                    highest = score(model)
                    best = checkpoint
            torch.save(best, "best.pt")
            """,
            why="that of an earlier round, through two names",
            lines=(9,),
        ),
        Example(
            """
            from training import Data, train_model

            from networks import Net

            net = Net()
            start = net.state_dict()
            for fold in range(5):
                net.load_state_dict(start)
                train_model(net, Data(fold))
            """,
            why="the start of each fold",
            lines=(6,),
        ),
        Example(
            """
            from lightning.pytorch import Callback


            class Frozen(Callback):
                def on_train_epoch_start(self, trainer, pl_module):
                    self.before = pl_module.state_dict()

                def on_train_epoch_end(self, trainer, pl_module):
                    for name, value in pl_module.state_dict().items():
                        print(name, (value - self.before[name]).norm())
            """,
            why="kept by one hook for another",
            lines=(6,),
        ),
        Example(
            """
            import torch

            from networks import Net, score

            net = Net()


            def noisy(noise):
                kept = net.state_dict()
                for weight, shift in zip(net.parameters(), noise):
                    weight.data += 0.1 * shift
                value = score(net)
                net.load_state_dict(kept)
                return value


            def step(rate):
                before = dict(net.named_parameters()), net.state_dict()
                with torch.no_grad():
                    for name, weight in net.named_parameters():
                        weight -= rate * weight.grad
                return before
            """,
            why="weights are changed by hand",
            lines=(9, 18),
        ),
        Example(
            """
            class EarlyStopping:
                def __init__(self):
                    self.best_loss, self.best_state = float("inf"), None

                def __call__(self, loss, model):
                    if loss < self.best_loss:
                        self.best_loss = loss
                        self.best_state = model.state_dict()
                    else:
                        self.patience -= 1

                def restore(self, model):
                    model.load_state_dict(self.best_state)
            """,
            why="a helper keeps the best state while its caller trains",
            lines=(8,),
        ),
        Example(
            """
            import torch

            from networks import Net, batches, better, moved

            net = Net()
            optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
            start = {name: value for name, value in net.state_dict().items() if "weight" in name}
            for x in batches:
                net(x).mean().backward()
                optimizer.step()
                if better(net):
                    best = {**net.state_dict()}
            print(moved(start))
            net.load_state_dict(best)
            """,
            why="in another dict",
            lines=(7, 12),
        ),
        Example(
            """
            import torch

            from networks import Net, batches, better

            net = Net()
            for x in batches:
                net(x).mean().backward()
                with torch.no_grad():
                    for weight in net.parameters():
                        weight.sub_(0.1 * weight.grad)
                if better(net):
                    best = net.state_dict()
            net.load_state_dict(best)
            """,
            why="a step that is written out",
            lines=(12,),
        ),
        Example(
            """
            import contextlib

            import torch

            from networks import Net


            @contextlib.contextmanager
            def unchanged(net):
                kept = net.state_dict()
                yield net
                net.load_state_dict(kept)


            def compare(net, other, batch):
                before = net.state_dict()
                net.load_state_dict(torch.load(other, weights_only=True))
                result = net(batch)
                net.load_state_dict(before)
                return result
            """,
            why="given back after other code has run, and after another state was loaded",
            lines=(10, 16),
        ),
        Example(
            """
            import torch

            from networks import Net


            def weights(net):
                return net.state_dict()


            def search(seed):
                net = Net()
                optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
                best = {"loss": 1e9, "state": None}

                def step(x):
                    loss = net(x).mean()
                    loss.backward()
                    optimizer.step()
                    return loss.item()

                def keep(loss):
                    if loss < best["loss"]:
                        best["loss"] = loss
                        best["state"] = net.state_dict()

                start = weights(net)
                for x in range(10):
                    keep(step(x))
                net.load_state_dict(best["state"])
                return net, start
            """,
            why="what a function returns, and what nested functions share",
            lines=(7, 24),
        ),
        Example(
            """
            import torch

            from networks import Net


            class Search:
                def __init__(self, score):
                    self.net, self.score, self.history = Net(), score, []
                    self.lowest = float("inf")

                def pause(self):
                    self.paused = self.net.state_dict()

                def resume(self):
                    self.net.load_state_dict(self.paused)

                def note(self, net, loss):
                    if loss < self.lowest:
                        self.keep(net, loss)

                def keep(self, net, loss):
                    self.lowest = loss
                    self.found = {"loss": loss, "weights": net.state_dict()}

                def finish(self, net):
                    weights = self.found["weights"]
                    net.load_state_dict(weights)

                def on_round_start(self, net):
                    self.history.append(net.state_dict())

                def on_round_end(self, net):
                    net.load_state_dict(self.history[-1])
            """,
            why="kept by one method, and given back by another to the same module",
            lines=(12, 23, 30),
        ),
        Example(
            """
            import torch

            from networks import Net, batches, make_optimizer, setup


            def fit(net, optimizer):
                for x in batches:
                    net(x).mean().backward()
                    optimizer.step()


            def move(net, optimizer):
                before = net.state_dict()
                fit(net, optimizer)
                after = net.state_dict()
                return sum((after[name] - before[name]).norm() for name in before)


            def tune(epochs):
                net = Net()
                net.head = torch.nn.Linear(8, 2)
                optimizer = torch.optim.SGD(net.head.parameters(), lr=0.1)
                start = net.state_dict()
                for x in batches:
                    net(x).mean().backward()
                    optimizer.step()
                return start


            net, scheduler, optimizer = setup()
            states = []
            for x in batches:
                net(x).mean().backward()
                optimizer.step()
                states.append(net.state_dict())
            mean = {name: sum(state[name] for state in states) for name in states[0]}
            other = Net()
            optimizer = make_optimizer("sgd")
            first = other.state_dict()
            for x in batches:
                other(x).mean().backward()
                optimizer.step()
            torch.save(first, "first.pt")
            """,
            why="a helper trains, only a part is trained, or somebody else made the optimizer",
            lines=(13, 23, 35, 39),
        ),
        Example(
            """
            import torch

            from networks import compare, score


            class Hook:
                def on_train_start(self, trainer):
                    self.start = self.model.state_dict()
                    self.other = self.model.state_dict()
                    self.count = len(trainer.batches)
                    self.device = "cpu"
                    self.moments = self.optimizer.state_dict()
                    trainer.first = self.model.state_dict()

                def on_batch(self):
                    self.middle = self.model.state_dict()

                def on_train_end(self, trainer):
                    compare(self.start, self.middle, self.count, self.device, self.moments, trainer.first)

                def report(self):
                    print(self.other)


            class Best:
                def update(self, values):
                    if score(values) > self.best_value:
                        self.best_value = score(values)
                        self.best_size = len(values)
                        self.best_state = self.model.state_dict()
                        self.last_state = self.model.state_dict()
                        best_here = self.model.state_dict()
                        self.best_saved = self.model.state_dict()
                        torch.save(self.best_saved, "best.pt")
                    for self.best_place in values:
                        self.best_seen = self.model.state_dict()
            """,
            why="kept by a hook for another, or as the best, beside what is not",
            lines=(8, 30),
        ),
        Example(
            """
            import torch

            from networks import Net, find


            class Both:
                def __init__(self):
                    self.model = Net()
                    self.kept = None

                def keep(self):
                    self.kept = self.model.state_dict(), self.optimizer.state_dict()
                    kept = self.model.state_dict()
                    self.run.kept = self.model.state_dict()

                def restore(self, kept):
                    first, second = self.kept
                    self.model.load_state_dict(first)
                    self.optimizer.load_state_dict(second)
                    self.model.load_state_dict(kept)
                    self.model.load_state_dict(self.run.kept)
                    self.kept = None
                    del self.cache


            class Higher:
                def keep(self, model, value):
                    if value > self.highest:
                        self.highest = value
                        self.kept = model.state_dict()

                def restore(self, model):
                    model.load_state_dict(self.kept)


            class Given:
                def keep(self, run):
                    run.kept = self.model.state_dict()

                def restore(self, run):
                    self.model.load_state_dict(run.kept)


            class Switched:
                def keep(self, model, value):
                    if self.active:
                        self.kept = model.state_dict()
                    if value > self.highest:
                        print(value)

                def restore(self, model):
                    model.load_state_dict(self.kept)


            class Same:
                def keep(self):
                    self.kept = self.model.state_dict()
                    self.found = find().state_dict()
                    self.model.load_state_dict(self.kept)
                    find().load_state_dict(self.found)


            class Edited:
                def keep(self):
                    self.kept = self.model.state_dict()
                    self.more = self.model.state_dict()

                def edit(self, weight):
                    self.kept["weight"] = weight
                    self.more.update(weight=weight)

                def restore(self):
                    self.model.load_state_dict(self.kept)
                    self.model.load_state_dict(self.more)
            """,
            why="kept by one method for another to give back, beside what is changed or may be another module",
            lines=(12, 30),
        ),
        Example(
            """
            import torch

            import wrapping
            from networks import Net


            def run(net, optimizer, batches):
                for x, better in batches:
                    net(x).backward()
                    optimizer.step()
                    if better:
                        best = wrapping.get_module(net).state_dict()
                torch.save(best, "best.pt")


            net = torch.nn.DataParallel(Net())
            run(net, torch.optim.SGD(net.parameters(), lr=0.1), read())
            """,
            why="of the module that a function elsewhere takes out of its wrapper",
            lines=(12,),
        ),
    )
    valid = (
        Example(
            """
            import torch
            from torch import nn


            class Net(nn.Module):
                def __init__(self, size):
                    super().__init__()
                    self.head = nn.Linear(size, 2)


            def make(size):
                net = Net(size)
                return net, net.head


            first = None
            for chunks in (1, 2, 4):
                net, head = make(2)
                if first is None:
                    first = net.head.state_dict()
                else:
                    net.head.load_state_dict(first)
                head(torch.ones(chunks, 2)).sum().backward()
            """,
            why="the part of a net that each round makes anew",
        ),
        Example(
            """
            import torch

            from networks import Net, accuracy

            model = Net()
            optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
            best = 0.0
            for epoch in range(10):
                accuracy(model).backward()
                optimizer.step()
                if accuracy(model) > best:
                    best = accuracy(model)
                    checkpoint = {"model": model.state_dict(), "epoch": epoch}
                    torch.save(checkpoint, "best.pt")
            print("the best was", checkpoint["epoch"])
            """,
            why="written at once, and only another entry is read later",
        ),
        Example(
            """
            import torch
            from runs import Net, losses, read_config

            config = read_config("run.yaml")
            config["norm"] = {"mean": 0.5}
            model = Net()
            optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
            for loss in losses(model):
                loss.backward()
                optimizer.step()
                spec = config["model"]
                spec["state"] = model.state_dict()
                steps = config["optimizer"]
                steps["state"] = optimizer.state_dict()
                torch.save({"model": spec, "optimizer": steps}, "last.pt")
                print(config["norm"])
            """,
            why="each round puts a new state in the place of the last one",
        ),
        Example(
            """
            import torch

            from networks import Net


            class Worker:
                def __init__(self):
                    self.net, self.head, self.other = Net(), Net(), Net()

                def stop(self):
                    self.state = self.net.state_dict()
                    self.net = None
                    self.mixed = self.head.state_dict()
                    self.source = self.other.state_dict()

                def start(self):
                    self.net = Net()
                    self.net.load_state_dict(self.state)

                def take(self, path):
                    for name, value in torch.load(path, map_location="cpu", weights_only=True).items():
                        self.mixed[name] = value
                    self.head.load_state_dict(self.mixed)

                def follow(self):
                    self.head.load_state_dict(self.source)

                def pack(self, net, optimizer):
                    self.packed = net.state_dict()
                    self.steps = optimizer.state_dict()

                def unpack(self, net, optimizer):
                    net.load_state_dict(self.packed)
                    optimizer.load_state_dict(self.steps)
            """,
            why="given to a module that is made anew, with other entries, or to another module",
        ),
        Example(
            """
            class Synchronized:
                def __init__(self, model, optimizer):
                    self.size = len(model.state_dict())
                    self._optimizer = optimizer
                    self.initial = self._optimizer.state_dict()

                def step(self, closure=None):
                    self._optimizer.step(closure)
                    self._reset()

                def _reset(self):
                    self._optimizer.load_state_dict(self.initial)
            """,
            why="the state of an optimizer, which is no model's",
        ),
        Example(
            """
            import torch

            from networks import Net, batches, moved

            net = Net()
            optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
            start = {name: value.clone() for name, value in net.state_dict().items()}
            norms = {name: value.norm() for name, value in net.state_dict().items()}
            places = {name: number for number, name in enumerate(net.state_dict())}
            for x in batches:
                net(x).mean().backward()
                optimizer.step()
            print(moved(start, norms, places))
            """,
            why="copies in another dict, and something computed",
        ),
        Example(
            """
            import copy

            import torch

            from training import Net, Trainer, compare

            net, other = Net(), Net()
            state = net.state_dict()
            trainer = Trainer(net)
            compare(state, other.state_dict())
            optimizer = torch.optim.SGD(other.parameters(), lr=0.1)
            run = Trainer(name=net.name)
            before = net.state_dict()
            for metric in run.state_train_metrics.values(net):
                compare(metric, before)
            other.fit(start=before)
            compare(before, other.state_dict())
            """,
            why="a trainer is made, metrics of training are read, and another module starts from a state",
        ),
        Example(
            """
            import copy

            import torch


            class Keeper:
                def __call__(self, loss, model, optimizer):
                    if loss < self.best_loss:
                        self.best_state = model.state_dict()
                        torch.save(self.best_state, "best.pt")
                        self.best_copy = copy.deepcopy(model.state_dict())
                        self.best_optimizer = optimizer.state_dict()
            """,
            why="a helper saves the best state at once, or copies it",
        ),
        Example(
            """
            from networks import Net

            net = Net()


            def total(batches):
                kept = net.state_dict()
                loss = 0
                for x in batches:
                    loss -= net(x).grad.mean()
                net.load_state_dict(kept)
                return loss
            """,
            why="what is added up is no weight",
        ),
        Example(
            """
            import copy

            import torch

            from networks import Net, accuracy, train_epoch

            model = Net()
            best, best_state = 0.0, copy.deepcopy(model.state_dict())
            for epoch in range(10):
                train_epoch(model)
                if accuracy(model) > best:
                    best = accuracy(model)
                    best_state = {name: value.clone() for name, value in model.state_dict().items()}
            model.load_state_dict(best_state)
            """,
            why="copied",
        ),
        Example(
            """
            import torch

            from networks import Net, accuracy, train_epoch

            model = Net()
            best = 0.0
            for epoch in range(10):
                train_epoch(model)
                state = model.state_dict()
                torch.save(state, "last.pt")
                if accuracy(model) > best:
                    best = accuracy(model)
                    best_state = model.state_dict()
                    torch.save(best_state, "best.pt")
            """,
            why="saved at once",
        ),
        Example(
            """
            import torch

            from networks import Net, batches
            from train_tools import evaluate

            model = Net()
            optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
            scaler = torch.amp.GradScaler()
            for epoch in range(10):
                for x in batches():
                    loss = model(x).sum()
                    loss.backward()
                    optimizer.step()
                checkpoint = {"optimizer": optimizer.state_dict(), "epoch": epoch}
                if epoch > 5:
                    checkpoint["scaler"] = scaler.state_dict()
                    checkpoint["model"] = model.state_dict()
                evaluate(model)
                torch.save(checkpoint, "last.pt")
            """,
            why="a dict that each round makes anew",
        ),
        Example(
            """
            from networks import Net, train_epoch

            model = Net()
            for epoch in range(10):
                train_epoch(model)
            state = model.state_dict()
            other = Net()
            other.load_state_dict(state)
            """,
            why="taken when training is over",
        ),
        Example(
            """
            import torch

            from networks import Net

            online, target = Net(), Net()
            optimizer = torch.optim.SGD(online.parameters(), lr=0.1)
            frozen = target.state_dict()
            for x in range(10):
                loss = online(x).sum()
                loss.backward()
                optimizer.step()
                for name, value in frozen.items():
                    print(name, value)
            """,
            why="another model is trained",
        ),
        Example(
            """
            import copy

            import torch

            from networks import Net, train_epoch

            model = Net()
            state = model.state_dict()
            trained = copy.deepcopy(model)
            train_epoch(trained)
            model.load_state_dict(state)
            """,
            why="a copy of the model is trained",
        ),
        Example(
            """
            import torch

            from networks import Net, train_epoch

            model = Net()
            state = model.state_dict()
            print(len(state))
            train_epoch(model)
            state = model.state_dict()
            torch.save(state, "model.pt")
            """,
            why="taken again after training",
        ),
        Example(
            """
            import copy

            import torch

            from networks import Net, average


            def collect(server, clients):
                states = []
                for batches in clients:
                    model = copy.deepcopy(server)
                    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
                    for x in batches:
                        model(x).sum().backward()
                        optimizer.step()
                    states.append(model.state_dict())
                return states


            def ensemble(folds):
                states = []
                for batches in folds:
                    states.append(fit(Net(), batches))
                return average(states)


            def fit(model, batches):
                optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
                for x in batches:
                    model(x).sum().backward()
                    optimizer.step()
                return model.state_dict()
            """,
            why="each round makes a model of its own",
        ),
        Example(
            """
            import contextlib
            import copy

            import torch

            from networks import Net


            @contextlib.contextmanager
            def unchanged(net):
                kept = copy.deepcopy(net.state_dict())
                yield net
                net.load_state_dict(kept)


            def warm(net, path):
                own = net.state_dict()
                saved = torch.load(path, weights_only=True)
                net.load_state_dict({name: saved[name] for name in own if name in saved}, strict=False)
                print([name for name in own if name not in saved])
                own.update(saved)
                net.load_state_dict(own)
                net.load_state_dict(own)


            def clone(net):
                other = Net()
                state = net.state_dict()
                other.load_state_dict(torch.load("other.pt", weights_only=True))
                other.load_state_dict(state)
                return other
            """,
            why="a copy is given back, names are read, a state is put into another module",
        ),
        Example(
            """
            import torch

            from networks import Net, batches

            net, follower = Net(), Net()
            optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
            for x in batches():
                net(x).sum().backward()
                optimizer.step()
                follower.load_state_dict(net.state_dict(), strict=True)
            """,
            why="a state that is loaded at once",
        ),
    )
