"""CKP404: a checkpoint to go on from, without the optimizer's state."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from lint_rules.knowledge import NO_MODULE, OPTIMIZERS
from lint_rules.rule import Example, Finding, Rule

if TYPE_CHECKING:
    from collections.abc import Iterator

    import libcst as cst

    from lint_rules.checkpoints import Block, Checkpoint
    from lint_rules.engine import Context

_OPTIMIZER = re.compile(r"optim|(^|[._])opt(_|$|s$|\d|im|(?-i:[A-Z]))|adam|sgd|solver|(^|_)trainer", re.IGNORECASE)
_NO_MODEL = re.compile(
    r"optim|sched|scaler|(^|_)amp$|(^|_)lr(_|$)|sampler|loader|criterion|meter|metric", re.IGNORECASE
)
_PROGRESS = re.compile(
    r"(^|_)(epochs?|steps?|iters?|iterations?|itr|n_iter|global_step|batches_done)(_|$)", re.IGNORECASE
)
_RESUME = re.compile(r"(^|_)resum(e|ing)(_|d?$)|start_epoch|epoch_start|begin_epoch|initial_epoch")
#: Objects with optimizers of their own, whose state holds those of their optimizers.
_WHOLE = re.compile(r"algorithm|policy|^task$|learner|^self$|system", re.IGNORECASE)
_BEST = re.compile(r"best", re.IGNORECASE)
_STEPS = frozenset({"step", "zero_grad", "backward", "manual_backward"})
#: What takes the optimizer's state out of a rule's sight: another call saves everything there is to save.
_ELSEWHERE = re.compile(
    rb"(?im)^[^#\n]*(?:(?:optim\w*|opt|sgd|adam|solver)(?:\[\w+\])?\.state_dict\(|\bsave_state\(|"
    rb"get_(?:optimizer_)?state_dict\()"
)


def _forgets_optimizer(data: bytes) -> bool:
    """Tell whether a source has an optimizer whose state it nowhere takes."""
    return re.search(rb"(?i)optim", data) is not None and _ELSEWHERE.search(data) is None


def _trains(block: Block) -> bool:
    """Tell whether some code takes optimizer steps, or hands its optimizer to a function that may."""
    import libcst as cst

    from lint_rules.tree import dotted, method_of

    for node in block.nodes:
        if isinstance(node, cst.Call):
            if method_of(node) in _STEPS:
                return True
            if any(_OPTIMIZER.search(dotted(arg.value) or "") for arg in node.args):
                return True
    return False


def _keeps_optimizer(block: Block) -> bool:
    """Tell whether some code takes the state of an optimizer."""
    import libcst as cst

    from lint_rules.tree import dotted, method_of

    for node in block.nodes:
        if isinstance(node, cst.Call) and isinstance(node.func, cst.Attribute) and method_of(node) == "state_dict":
            owner = node.func.value.value if isinstance(node.func.value, cst.Subscript) else node.func.value
            if _OPTIMIZER.search((dotted(owner) or "").rpartition(".")[2]):
                return True
    return False


def _resumes(context: Context) -> bool:
    """Tell whether a file loads a model's state in order to go on training."""
    import libcst as cst

    from lint_rules.checkpoints import mentions
    from lint_rules.loading import torch_loads
    from lint_rules.tree import walk

    loads = any(isinstance(node, cst.Attribute) and node.attr.value == "load_state_dict" for node in walk(context.tree))
    return loads and any(torch_loads(context)) and mentions(context.tree, _RESUME)


def _is_model(checkpoint: Checkpoint) -> bool:
    """Tell whether a saved dict has a model's state, and nothing in which an optimizer's may be."""
    import libcst as cst

    from lint_rules.tree import dotted, method_of

    has_model = False
    for key, values in checkpoint.values.items():
        if _OPTIMIZER.search(key):
            return False
        for value in values:
            if (
                isinstance(value, cst.Call)
                and isinstance(value.func, cst.Attribute)
                and method_of(value) == "state_dict"
            ):
                owner = dotted(value.func.value) or ""
                last = owner.rpartition(".")[2]
                if not last or _WHOLE.search(last) or _OPTIMIZER.search(owner) or NO_MODULE.search(last):
                    return False
                has_model = has_model or not _NO_MODEL.search(last)
    return has_model


def _is_best(checkpoint: Checkpoint, context: Context) -> bool:
    """Tell whether a checkpoint is that of the best weights: its path, function or condition says so."""
    import libcst as cst

    from lint_rules.tree import walk

    call = checkpoint.call
    if isinstance(checkpoint.block.node, cst.FunctionDef) and _BEST.search(checkpoint.block.node.name.value):
        return True
    if any(_BEST.search(context.tree.code_for_node(arg)) for arg in call.args[1:] if not _is_flag(arg)):
        return True
    for node in checkpoint.block.nodes:
        if isinstance(node, cst.If) and any(each is call for each in walk(node.body)):
            test = node.test
            if (
                isinstance(test, cst.Comparison)
                and isinstance(
                    test.comparisons[0].operator,
                    (cst.LessThan, cst.GreaterThan, cst.LessThanEqual, cst.GreaterThanEqual),
                )
                and _BEST.search(context.tree.code_for_node(test))
            ):
                return True
            if isinstance(test, cst.Name) and _BEST.search(test.value):
                return True
    return False


def _is_flag(arg: cst.Arg) -> bool:
    """Tell whether an argument only says whether the checkpoint is the best, besides being the last."""
    import libcst as cst

    return isinstance(arg.value, cst.Name) and arg.value.value.startswith("is_")


def _has_optimizer(block: Block | None, code: list[Block], context: Context) -> bool:
    """Tell whether an optimizer is at hand where a checkpoint is saved: in its function or class; None for anywhere."""
    near = [
        each
        for each in code
        if block is None
        or each is block
        or each.scope is context.names.module
        or (each.owner is not None and each.owner is block.owner)
    ]
    return any(_makes_optimizer(each, context) for each in near)


def _makes_optimizer(block: Block, context: Context) -> bool:
    """Tell whether some code makes an optimizer, or is given one."""
    import libcst as cst

    from lint_rules.tree import dotted

    params = block.node.params.params if isinstance(block.node, cst.FunctionDef) else ()
    if any(_OPTIMIZER.search(param.name.value) for param in params if param.name.value != "opt"):
        return True
    calls = [node.func for node in block.nodes if isinstance(node, cst.Call)]
    return any(OPTIMIZERS.search(context.names.resolve(each, block.scope) or dotted(each) or "") for each in calls)


class CheckpointWithoutOptimizer(Rule):
    """Finds checkpoints to go on from that hold the model and not the optimizer.

    ## What it does

    Reports a saved dict with the `state_dict()` of a model and how far training has come (an epoch, a step), or one
    that the file loads to resume, where an optimizer is at hand and its state is saved nowhere. Exports of the best
    weights, and files that save the optimizer besides, are left alone. Off by default: whoever never resumes needs no
    optimizer.

    ## Why is this bad

    Adam's moments and SGD's momentum are part of the run. A training that resumes without them goes on from the right
    weights with an optimizer that has seen nothing: the loss jumps, the learning rate of a schedule that counts its
    steps starts again, and the result differs from that of an uninterrupted run. Nothing fails.

    ## Fix safety

    There is no fix: which optimizer belongs to the checkpoint, and how it is loaded again, is for you to write.

    ## References

    - [PyTorch: Saving and loading a general checkpoint](https://docs.pytorch.org/tutorials/recipes/recipes/saving_and_loading_a_general_checkpoint.html)
    - [Optimizer.state_dict](https://docs.pytorch.org/docs/stable/generated/torch.optim.Optimizer.state_dict.html)
    """

    code = "CKP404"
    name = "checkpoint-without-optimizer"
    summary = "A checkpoint to resume from lacks the optimizer's state; off by default"
    default = False
    needs = ((b"torch", b"state_dict", b"save", b".state_dict()", _forgets_optimizer),)
    marks = frozenset({"save", "state_dict", "load_state_dict", *_STEPS, "parameters", "__init__"})

    def check(self, context: Context) -> Iterator[Finding]:
        """Report each checkpoint that a training cannot go on from as if it had not been interrupted.

        Args:
            context: The source.

        Yields:
            One finding a call that saves.
        """
        from lint_rules.checkpoints import blocks, checkpoints

        code = blocks(context)
        if not any(map(_trains, code)) or any(map(_keeps_optimizer, code)):
            return
        resumes = _resumes(context)
        for each in checkpoints(context, code):
            if not each.known or not _is_model(each):
                continue
            progress = any(map(_PROGRESS.search, each.values))
            if (resumes and _has_optimizer(None, code, context)) or (
                progress and not _is_best(each, context) and _has_optimizer(each.block, code, context)
            ):
                yield context.finding(
                    self,
                    each.call,
                    "the checkpoint has the model's state and not the optimizer's, so a resumed training starts its "
                    "moments from nothing; add `optimizer.state_dict()`",
                )

    invalid = (
        Example(
            """
            import torch

            from networks import Net, batches

            model = Net()
            optimizer = torch.optim.Adam(model.parameters())
            for epoch in range(10):
                for x in batches():
                    optimizer.zero_grad()
                    model(x).sum().backward()
                    optimizer.step()
                torch.save({"epoch": epoch, "model": model.state_dict()}, "last.pt")
            """,
            why="the epoch and the model",
            lines=(12,),
        ),
        Example(
            """
            import torch

            from networks import Net, train

            model = Net()
            optimizer = torch.optim.Adam(model.parameters())
            for epoch in range(10):
                train(model, optimizer)
                state = {
                    "epoch": epoch,
                    "model": model.state_dict(),
                    # "optimizer": optimizer.state_dict(),
                }
                torch.save(state, "last.pt")
            """,
            why="the optimizer's line is a comment",
            lines=(14,),
        ),
        Example(
            """
            import torch


            class Trainer:
                def __init__(self, model, optimizer):
                    self.model = model
                    self.optimizer = optimizer
                    self.steps = 0

                def train_step(self, x):
                    self.model(x).sum().backward()
                    self.optimizer.step()
                    self.steps += 1

                def save(self, path):
                    state = {"model": self.model.state_dict()}
                    state["step"] = self.steps
                    torch.save(state, path)
            """,
            why="a class that steps an optimizer; a key that is added",
            lines=(18,),
        ),
        Example(
            """
            import torch
            from torch import optim

            from networks import Net, evaluate, train


            def main(args):
                model = Net()
                optimizer = optim.SGD(model.parameters(), lr=0.1)
                best = 0.0
                if args.resume:
                    loaded = torch.load("best.pt", weights_only=True, map_location="cpu")
                    model.load_state_dict(loaded["net"])
                    best = loaded["accuracy"]
                for _ in range(10):
                    train(model, optimizer)
                    if evaluate(model) > best:
                        best = evaluate(model)
                        torch.save({"net": model.state_dict(), "accuracy": best}, "best.pt")
            """,
            why="the best weights are what it resumes from",
            lines=(19,),
        ),
    )
    valid = (
        Example(
            """
            import torch

            from networks import Net, train

            model = Net()
            optimizer = torch.optim.Adam(model.parameters())
            for epoch in range(10):
                train(model, optimizer)
                torch.save(
                    {"epoch": epoch, "model": model.state_dict(), "optimizer": optimizer.state_dict()}, "last.pt"
                )
                torch.save({"epoch": epoch, "model": model.state_dict()}, "weights.pt")
            """,
            why="with the optimizer; and besides, the weights alone",
        ),
        Example(
            """
            import torch

            from networks import Net, evaluate, train

            model = Net()
            optimizer = torch.optim.Adam(model.parameters())
            best = 0.0
            for epoch in range(10):
                train(model, optimizer)
                if evaluate(model) > best:
                    best = evaluate(model)
                    torch.save({"epoch": epoch, "model": model.state_dict()}, "model.pt")
            torch.save(model.state_dict(), "final.pt")
            torch.save({"model": model.state_dict(), "classes": 10}, "export.pt")
            """,
            why="the best weights, the last weights, an export",
        ),
        Example(
            """
            import torch

            from networks import Net, states_of, train

            model = Net()
            optimizer = torch.optim.Adam(model.parameters())
            for epoch in range(10):
                train(model, optimizer)
                state = {"epoch": epoch, "model": model.state_dict()}
                state.update(states_of(optimizer))
                torch.save(state, "last.pt")
            """,
            why="a dict that a function completes",
        ),
        Example(
            """
            import torch

            from networks import Net

            model = Net()
            torch.save({"epoch": 0, "step": model.steps, "model": model.state_dict()}, "converted.pt")
            """,
            why="nothing is trained",
        ),
        Example(
            """
            import torch

            from agents import Algorithm, Policy, train

            optimizer = torch.optim.Adam(Policy().parameters())
            algorithm = Algorithm(optimizer)
            for epoch in range(10):
                train(algorithm, optimizer)
                torch.save({"epoch": epoch, "model": algorithm.state_dict()}, "last.pt")
            """,
            why="an object that owns its optimizer",
        ),
        Example(
            """
            import torch
            from torch import nn

            netG, netD = nn.Linear(4, 4), nn.Linear(4, 1)
            optG = torch.optim.Adam(netG.parameters())
            optD = torch.optim.Adam(netD.parameters())
            for step in range(100):
                optD.zero_grad()
                netD(netG(torch.randn(8, 4))).mean().backward()
                optD.step()
                optG.step()
                torch.save(
                    {"netG": netG.state_dict(), "netD": netD.state_dict(), "optG": optG.state_dict(), "step": 1}, "g.pt"
                )
            """,
            why="optimizers of a generator and a discriminator",
        ),
    )
