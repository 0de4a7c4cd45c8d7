"""CKP405: a key is read from a checkpoint that the same file saves without it."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from lint_rules.rule import Example, Finding, Rule

if TYPE_CHECKING:
    from collections.abc import Iterator

    import libcst as cst

    from lint_rules.checkpoints import Block, Checkpoint
    from lint_rules.engine import Context

_GETS = frozenset({"get", "pop"})
_CHANGES = frozenset({"update", "setdefault", "clear"})
_OWN = re.compile(r"resum|checkpoint|ckpt|snapshot|last|latest|restore", re.IGNORECASE)
_FOREIGN = re.compile(r"pretrain|backbone|teacher|url|init_from|source|imagenet", re.IGNORECASE)


@dataclass(slots=True)
class _Loaded:
    """One checkpoint that is loaded: from where, and what is read from it.

    Attributes:
        path: The path as an expression; None where it is not known.
        name: What the code calls it; empty where it is read at once.
        reads: Where a key is read, and which.
        asked: Keys that the code asks for, or expects to be missing.
        stored: Keys that the code adds itself, or has a default for.
        known: Whether nothing else changes the dict.
    """

    path: cst.BaseExpression | None
    name: str = ""
    reads: list[tuple[cst.CSTNode, str]] = field(default_factory=list)
    asked: set[str] = field(default_factory=set)
    stored: set[str] = field(default_factory=set)
    known: bool = True

    def get(self, node: cst.Call, key: str, *, has_default: bool) -> None:
        """Note that a key is read by `get` or `pop`; nothing is lost where a default is meant, for a count perhaps."""
        if has_default:
            self.stored.add(key)
        else:
            self.reads.append((node, key))


def _loaded(block: Block, context: Context) -> Iterator[_Loaded]:
    """Yield the checkpoints that some code loads and reads by itself."""
    import libcst as cst

    from lint_rules.knowledge import LOAD
    from lint_rules.tree import argument, dotted

    def is_load(node: cst.CSTNode) -> bool:
        return isinstance(node, cst.Call) and context.names.resolve(node.func, block.scope) in LOAD

    values: dict[str, list[cst.BaseExpression]] = {}
    for node in block.nodes:
        if isinstance(node, cst.Assign):
            for target in node.targets:
                values.setdefault(dotted(target.target) or "", []).append(node.value)
        elif isinstance(node, cst.Subscript) and is_load(node.value):
            direct = _Loaded(argument(cst.ensure_type(node.value, cst.Call), 0, "f"))
            _note_key(node, direct)
            yield direct
    expected = _expected(block)
    for name, given in values.items():
        once = "." in name or len(block.scope.bindings.get(name, ())) == len(given)
        if name and once and all(map(is_load, given)):
            paths = [argument(cst.ensure_type(value, cst.Call), 0, "f") for value in given]
            spelled = {_text(path, context) if path is not None else "" for path in paths}
            loaded = _Loaded(paths[0] if len(spelled) == 1 else None, name)
            _read(name, block, loaded, expected)
            if loaded.known:
                yield loaded


def _read(name: str, block: Block, loaded: _Loaded, expected: set[cst.CSTNode]) -> None:
    """Note what is done with a loaded checkpoint."""
    import libcst as cst

    from lint_rules.tree import dotted, method_of, text_of

    stored = {target.target for node in block.nodes if isinstance(node, cst.Assign) for target in node.targets}
    loads = (node for node in block.nodes if isinstance(node, cst.Call) and method_of(node) == "load_state_dict")
    states = {arg.value for node in loads for arg in node.args}
    for node in block.nodes:
        if isinstance(node, cst.Subscript) and dotted(node.value) == name:
            if node in stored:
                loaded.stored.add(_key(node) or "")
            elif node in expected:
                loaded.asked.add(_key(node) or "")
            else:
                _note_key(node, loaded)
        elif isinstance(node, cst.Call) and isinstance(node.func, cst.Attribute) and dotted(node.func.value) == name:
            key = text_of(node.args[0].value) if node.args else None
            if method_of(node) in _GETS and key is not None:
                loaded.get(node, key, has_default=len(node.args) > 1 and node not in states)
            elif method_of(node) in _CHANGES:
                loaded.known = False
        elif isinstance(node, cst.Comparison) and isinstance(node.comparisons[0].operator, (cst.In, cst.NotIn)):
            container = node.comparisons[0].comparator
            if isinstance(container, cst.Call) and isinstance(container.func, cst.Attribute):
                container = container.func.value
            if dotted(container) == name:
                key = text_of(node.left)
                loaded.known = loaded.known and key is not None
                loaded.asked.add(key or "")


def _key(node: cst.Subscript) -> str | None:
    import libcst as cst

    from lint_rules.tree import text_of

    index = node.slice[0].slice
    return text_of(index.value) if isinstance(index, cst.Index) else None


def _note_key(node: cst.Subscript, loaded: _Loaded) -> None:
    key = _key(node)
    if key is not None:
        loaded.reads.append((node, key))


def _expected(block: Block) -> set[cst.CSTNode]:
    """Give what stands in a `try` that catches the error of a missing key, or where another key is not there."""
    import libcst as cst

    from lint_rules.tree import walk

    guarded: list[cst.CSTNode] = []
    for node in block.nodes:
        if isinstance(node, cst.Try):
            guarded.append(node.body)
        elif isinstance(node, (cst.If, cst.IfExp)) and node.orelse is not None and _asks(node.test):
            guarded.append(node.orelse)
    return {inside for each in guarded for inside in walk(each)}


def _asks(test: cst.BaseExpression) -> bool:
    """Tell whether a test asks for a key."""
    import libcst as cst

    return isinstance(test, cst.Comparison) and isinstance(test.comparisons[0].operator, cst.In)


def _keys(
    loaded: _Loaded,
    block: Block,
    saved: list[Checkpoint],
    others: list[tuple[Block, cst.BaseExpression | None]],
    context: Context,
) -> set[str] | None:
    """Give the keys that the loaded checkpoint is saved with; None where that is not certain."""
    path = _spelled(loaded.path, block, context)
    same = [each for each in saved if path and _spelled(each.path, each.block, context) == path]
    if path and any(_spelled(other, where, context) == path for where, other in others):
        return None
    if not same:
        written = path is not None and path[:1] in "\"'"
        same = [each for each in saved if each.block.owner is block.owner]
        if written or others or len(same) != len(saved) or not _is_own(loaded, block, same, context):
            return None
    if not all(each.known for each in same):
        return None
    keys = {key for each in same for key in each.values}
    if path is not None and any(_spelled(each.path, each.block, context) == path for each in same):
        return keys
    if not keys & {key for _, key in loaded.reads} or _is_converted(loaded, same):
        return None
    return keys | _written(context)


def _is_converted(loaded: _Loaded, saved: list[Checkpoint]) -> bool:
    """Tell whether what is loaded goes into what is saved: one checkpoint is made of another, or of other data."""
    import libcst as cst

    from lint_rules.tree import dotted, walk

    values = (value for each in saved for given in each.values.values() for value in given)
    inside = {node for value in values for node in walk(value)}
    named = {dotted(node) for node in inside if isinstance(node, (cst.Name, cst.Attribute))}
    return any(place in inside for place, _ in loaded.reads) or (loaded.name != "" and loaded.name in named)


def _written(context: Context) -> set[str]:
    """Give the keys of every dict that the file writes: code elsewhere may save it."""
    import libcst as cst

    from lint_rules.tree import text_of, walk

    return {text_of(node.key) or "" for node in walk(context.tree) if isinstance(node, cst.DictElement)}


def _is_own(loaded: _Loaded, block: Block, saved: list[Checkpoint], context: Context) -> bool:
    """Tell whether what is loaded looks like what the file saves: its path says so, or one function mirrors another."""
    if loaded.path is None:
        return False
    path = _text(loaded.path, context)
    mirrored = all(each.block is not block for each in saved)
    return not _FOREIGN.search(path) and (mirrored or _OWN.search(path) is not None)


def _is_from_elsewhere(loaded: _Loaded, keys: set[str], read: list[tuple[Block, _Loaded]], context: Context) -> bool:
    """Tell whether the file reads what it saves, key by key, from another path: this one is somebody else's then."""
    if loaded.path is None:
        return False
    path = _text(loaded.path, context)
    others = (other for _, other in read if other.path is not None and _text(other.path, context) != path)
    return any(len(taken) > 1 and taken <= keys for taken in ({key for _, key in other.reads} for other in others))


def _text(node: cst.BaseExpression, context: Context) -> str:
    return context.tree.code_for_node(node.with_changes(lpar=(), rpar=()))


def _spelled(path: cst.BaseExpression | None, block: Block, context: Context) -> str | None:
    """Spell a path so that two of one file can be compared; None for parameters, which are whatever a caller gives.

    A name for one text counts as the text.
    """
    import libcst as cst

    if isinstance(path, cst.Name):
        owner = block.scope.owner(path.value)
        bound = owner.bindings.get(path.value, []) if owner is not None else []
        if owner is block.scope and bound == [None]:
            return None
        if len(bound) == 1 and isinstance(bound[0], (cst.SimpleString, cst.ConcatenatedString)):
            path = bound[0]
    if path is None:
        return None
    return _text(path, context)


class CheckpointKeyNeverSaved(Rule):
    """Finds keys that a file reads from its checkpoint and never puts into it.

    ## What it does

    Reports `checkpoint["key"]`, `checkpoint.get("key")` and `checkpoint.pop("key")` where `checkpoint` comes from
    `torch.load`, the same file saves that checkpoint as a written dict, and the dict lacks the key: by the same path,
    or by the only checkpoint that the function's file or class saves. Keys that the code asks for with `in` or behind
    `except KeyError`, dicts that other code completes, and checkpoints from elsewhere are left alone. Off by default.

    ## Why is this bad

    The two ends of a checkpoint have drifted apart. Reading the key raises `KeyError` on the day that a run must be
    resumed; `get` hides it, and what was to be restored starts from its default.

    ## Fix safety

    There is no fix: only you know whether the key is to be saved or another one to be read.

    ## References

    - [PyTorch: Saving and loading a general checkpoint](https://docs.pytorch.org/tutorials/recipes/recipes/saving_and_loading_a_general_checkpoint.html)
    """

    code = "CKP405"
    name = "checkpoint-key-never-saved"
    summary = "A key is read from a checkpoint that is saved without it; off by default"
    default = False
    needs = ((b"torch", b"save", b"load(", re.compile(rb"\[\s*[\"']|\.(?:get|pop)\(\s*[\"']")),)
    marks = frozenset({"save", "load", "state_dict", "load_state_dict"})

    def check(self, context: Context) -> Iterator[Finding]:
        """Report each key that is read and that no save of the checkpoint has.

        Args:
            context: The source.

        Yields:
            One finding a place.
        """
        from lint_rules.checkpoints import blocks, checkpoints, saves

        code = blocks(context)
        found = list(checkpoints(context, code))
        if not found:
            return
        calls = {each.call for each in found}
        others = [(block, saved.path) for block, saved in saves(context, code) if saved.call not in calls]
        read = [(block, loaded) for block in code for loaded in _loaded(block, context)]
        for block, loaded in read:
            keys = _keys(loaded, block, found, others, context)
            if keys is None or loaded.asked - keys or _is_from_elsewhere(loaded, keys, read, context):
                continue
            for place, key in loaded.reads:
                if key not in keys | loaded.asked | loaded.stored:
                    yield context.finding(
                        self,
                        place,
                        f"this file saves the checkpoint without the key `{key}`, so reading it fails or gives the "
                        "default; save it too, or read a key that is saved",
                    )

    invalid = (
        Example(
            """
            import torch

            from networks import Net

            model = Net()
            optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
            torch.save({"model_state_dict": model.state_dict(), "epoch": 3}, "checkpoint.pt")

            checkpoint = torch.load("checkpoint.pt", weights_only=True, map_location="cpu")
            model.load_state_dict(checkpoint["model_state"])
            optimizer.load_state_dict(checkpoint.get("optimizer", {}))
            epoch = checkpoint["epoch"]
            """,
            why="another spelling, and one that `get` hides",
            lines=(10, 11),
        ),
        Example(
            """
            import torch


            class Trainer:
                def save(self, path):
                    state = {"model": self.model.state_dict()}
                    state["step"] = self.step
                    state.update(rate=self.rate)
                    torch.save(state, path)

                def load(self, path):
                    state = torch.load(path, weights_only=True, map_location="cpu")
                    self.model.load_state_dict(state["model"])
                    self.step, self.rate = state["step"], state["rate"]
                    self.scheduler.load_state_dict(state["scheduler"])
            """,
            why="the two methods of a class",
            lines=(15,),
        ),
        Example(
            """
            import torch


            def save_checkpoint(state, path):
                torch.save(state, path)


            def main(args, model, train):
                start = 0
                if args.resume:
                    start = torch.load(args.resume, weights_only=True, map_location="cpu")["epoch"]
                    checkpoint = torch.load(args.resume, weights_only=True, map_location="cpu")
                    model.load_state_dict(checkpoint["state_dict"])
                    best = checkpoint["best"]
                for epoch in range(start, 10):
                    train(model)
                    save_checkpoint({"epoch": epoch, "state_dict": model.state_dict()}, "last.pt")
            """,
            why="saved by a helper, loaded from an option",
            lines=(14,),
        ),
        Example(
            """
            import torch


            class Trainer:
                def state(self):
                    return {"net": self.net.state_dict(), "optimizer": self.optimizer.state_dict()}

                def save(self):
                    torch.save(self.state(), "run.pt")

                def load(self):
                    state = torch.load("run.pt", map_location="cpu", weights_only=True)
                    self.net.load_state_dict(state["net"])
                    self.step = state["step"]
            """,
            why="a method makes the dict",
            lines=(14,),
        ),
        Example(
            """
            import torch


            def packed(model, step):
                return {"model": model.state_dict(), "step": step}


            def save(model, step):
                torch.save(packed(model, step), "run.pt")


            def load(model):
                state = torch.load("run.pt", map_location="cpu", weights_only=True)
                model.load_state_dict(state["model"])
                return state["epoch"]
            """,
            why="a function makes the dict of what it is given",
            lines=(15,),
        ),
    )
    valid = (
        Example(
            """
            import torch

            from settings import options

            words = torch.load(options.words, weights_only=True, map_location="cpu")
            count, longest = words["index"], words["longest"]


            def save(model, epoch):
                torch.save({"model": model.state_dict(), "index": words["index"]}, "net.pt")


            def load(model):
                state = torch.load("net.pt", weights_only=True, map_location="cpu")
                model.load_state_dict(state["model"])
                return state.get("epoch", 0), count, longest
            """,
            why="other data, part of which is saved with the model, and a default that is meant",
        ),
        Example(
            """
            import torch


            def build(net, args):
                trained = torch.load(args.net_path, weights_only=True, map_location="cpu")
                net.load_state_dict(trained["net"])
                return net, trained["epoch"]


            def main(args, net, head):
                net, _ = build(net, args)
                if args.resume:
                    state = torch.load(args.resume, weights_only=True, map_location="cuda:1")
                    head.load_state_dict(state["head"])
                    state = torch.load(args.resume, weights_only=True, map_location="cpu")
                    args.start = state["epoch"]
                torch.save({"head": head.state_dict(), "epoch": args.start}, args.folder + "/head.pt")
            """,
            why="weights from elsewhere, beside what the file saves and reads again",
        ),
        Example(
            """
            import torch


            class Trainer:
                def state(self):
                    state = {"net": self.net.state_dict()}
                    state.update(self.extras)
                    return state

                def save(self):
                    torch.save(self.state(), "run.pt")

                def load(self):
                    state = torch.load("run.pt", map_location="cpu", weights_only=True)
                    self.net.load_state_dict(state["net"])
                    self.step = state["step"]
            """,
            why="a method makes the dict, and adds what is not known",
        ),
        Example(
            """
            import torch


            def packed(state, step):
                state["step"] = step
                return state


            def save(model, step):
                torch.save(packed({"model": model.state_dict(), "epoch": step // 100}, step), "run.pt")


            def load(model):
                state = torch.load("run.pt", map_location="cpu", weights_only=True)
                model.load_state_dict(state["model"])
                return state["epoch"]
            """,
            why="a function completes the dict that it is given",
        ),
        Example(
            """
            import torch

            from networks import Net

            model = Net()
            state = {"model": model.state_dict()}
            if model.scaler:
                state["scaler"] = model.scaler.state_dict()
            torch.save(state, "checkpoint.pt")

            checkpoint = torch.load("checkpoint.pt", weights_only=True, map_location="cpu")
            model.load_state_dict(checkpoint["model"])
            model.scaler.load_state_dict(checkpoint["scaler"])
            if "ema" in checkpoint:
                model.ema.load_state_dict(checkpoint["ema"])
            try:
                epoch = checkpoint["epoch"]
            except KeyError:
                epoch = 0
            """,
            why="saved on one of the paths, asked for, or expected to be missing",
        ),
        Example(
            """
            import torch

            from networks import Net, extras

            model = Net()
            torch.save({"model": model.state_dict(), **extras()}, "a.pt")
            print(torch.load("a.pt", weights_only=True)["epoch"])

            state = {"model": model.state_dict()}
            state.update(extras())
            torch.save(state, "b.pt")
            print(torch.load("b.pt", weights_only=True)["epoch"])
            """,
            why="dicts of which not every key is known",
        ),
        Example(
            """
            import torch

            from networks import Net

            model = Net()
            pretrained = torch.load("resnet.pth", weights_only=True)
            model.load_state_dict(pretrained["state_dict"])
            torch.save({"model": model.state_dict()}, "mine.pth")
            torch.save(model.state_dict(), "weights.pth")
            print(torch.load("weights.pth", weights_only=True)["layer.weight"])
            """,
            why="another checkpoint, and a state",
        ),
        Example(
            """
            import torch


            def read(path, model):
                checkpoint = torch.load(path, weights_only=True)
                model.load_state_dict(checkpoint["weights"])


            def write(path, model):
                torch.save({"model": model.state_dict()}, path)
            """,
            why="no key in common: files of two kinds",
        ),
        Example(
            """
            import torch

            from networks import Net, args, prune

            model = Net()
            trained = torch.load(args.model, weights_only=True)
            model.load_state_dict(trained["state_dict"])
            print(trained["epoch"])
            prune(model)
            torch.save({"widths": model.widths, "state_dict": model.state_dict()}, args.save)
            """,
            why="one checkpoint is made of another",
        ),
        Example(
            """
            import torch


            def save(path, model):
                torch.save({"model": model.state_dict(), "step": 1}, path)


            def load(path, model):
                checkpoint = torch.load(path, weights_only=True)
                model.load_state_dict(checkpoint["model"] if "model" in checkpoint else checkpoint["state_dict"])
                if "step" in checkpoint:
                    return checkpoint["step"]
                else:
                    return checkpoint["epoch"]
            """,
            why="keys of an older layout, where today's are not there",
        ),
        Example(
            """
            import torch


            def payload():
                return {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "update": update}


            checkpoint = torch.load(resume_path, weights_only=True)
            model.load_state_dict(checkpoint["model"])
            update = checkpoint["update"]
            logger.keep(payload)
            torch.save({"model": model.state_dict()}, "final.pt")
            """,
            why="a dict that code elsewhere saves has the key",
        ),
        Example(
            """
            import torch

            checkpoint = torch.load(args.checkpoint, weights_only=True)
            torch.save({"model": checkpoint["module"], "epoch": checkpoint["epoch"]}, args.output)
            """,
            why="a checkpoint under new names is made of one given by the user",
        ),
    )
