"""CKP401: a whole module saved."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from lint_rules.knowledge import MODULE, SAME_MODULE
from lint_rules.loading import TORCH_SAVE_NEEDS
from lint_rules.prefilter import places
from lint_rules.rule import Edit, Example, Finding, Fix, Rule

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import libcst as cst

    from lint_rules.engine import Context
    from lint_rules.evidence import Modules
    from lint_rules.flow import Call
    from lint_rules.names import Scope
    from lint_rules.objects import Thing
    from lint_rules.outline import Outline

_SAVE = ("torch.save", "torch.serialization.save")
_SAVED = re.compile(rb"save\w*\(\s*(?:obj\s*=\s*)?(?:([A-Za-z_][\w.]*)[^,\n]*,|[{\[])")
_STATE = re.compile(rb"(?i)(?:state|dict|ckpt|checkpoint|args|data|opt\w*|config)s?$|_(?:sd|loss|acc)$")
_BOUND = re.compile(rb"=[^\n]*\btorch\.save\b(?!\()")
#: An entry of a dict that may be a module.
_ENTRY = re.compile(
    rb"(?i)[\"']\\?\s*(?::|\]\s*=)\s*(?:(?:copy\.)?deepcopy\()?[\w.]*(?:model|net|coder|actor|critic|policy|ema|rator)\w*"
    rb"(?:\([^()\n]*\))?(?:\.(?:" + "|".join(sorted(SAME_MODULE)).encode() + rb")\([^()\n]*\))*\s*[,})\n\\]"
)
#: What shows that there is a module somewhere.
_MODULES = re.compile(
    rb"\bnn\b|models\.|Module\b|\.(?:named_)?parameters\(|from_pretrained\(|hub\.load\(|create_model\(|\.eval\("
    rb"|\.state_dict\(|\.(?:to|cuda|cpu)\("
    rb"|(?:Model(?:Class)?|Net(?:work)?)\(|\boptim|(?:model|net\w*)\s*=\s*(?:\w+\.)*[A-Z]\w*\("
)
#: Methods that only a module has.
_PROOF = frozenset(
    {"parameters", "named_parameters", "named_modules", "named_children", "named_buffers", "register_forward_hook"}
)
#: Methods that modules have and few other objects, and what classes of modules are called: each alone proves nothing.
_SIGNS = frozenset({"state_dict", "load_state_dict", "eval"})
_MOVES = frozenset({"to", "cuda", "cpu"})
_CALLED_SO = re.compile(r"(^|\.)(?!\w*(EMA|Ema|Averag|Swa|SWA))([A-Z]\w*)?(Model(Class)?|Net(work)?)$")
_FACTORIES = re.compile(
    r"torchvision\.models\.(\w+\.)*[a-z]\w*$|torch\.hub\.load$|timm\.(models\.)?create_model$|segmentation_models_pytorch\.\w+$"
    r"|transformers\.\w*(Model|For[A-Z])\w*\.from_(pretrained|config)$|efficientnet_pytorch\.\w+\.from_(pretrained|name)$"
    r"|torch\.optim\.swa_utils\.AveragedModel$"
)
#: What modules are called, the objects beside them, and what makes models of another kind.
_NAMED_SO = re.compile(r"(^|[_.])(model|net|network|encoder|decoder|classifier|generator|discriminator)(_?\d)?$")
_OPTIMIZER = re.compile(r"(optim(izer)?|opt|lr_scheduler|scheduler)$")
_OTHER_MODELS = re.compile(
    r"(sklearn|gensim|xgboost|lightgbm|catboost|statsmodels|prophet|keras|tensorflow|stable_baselines3)\.|\.keras\."
    r"|(Config|Args|Dict|Namespace|EMA|Ema|Trainer|Dataset|Means|Mixture|Regression|Regressor|Forest|2[Vv]ec|Process|HMM|PCA|Average\w*)$"
)
_WRAPPERS = re.compile(r"torch\.nn\.(parallel\.)?(DataParallel|DistributedDataParallel)$")
_MEMORY = frozenset({"io.BytesIO", "BytesIO"})


def _may_save_module(data: bytes) -> bool:
    """Tell whether something that is saved by name, or in a written container, may be a module; often wrong."""
    found = (_SAVED.match(data, start) for start in places(data, b"save"))
    names = [each[1] for each in found if each is not None]
    renamed = b" save as " in data
    if not (names or renamed) or _MODULES.search(data) is None:
        return False
    written = b"dict" in names
    return (
        renamed
        or written
        or any(name is None or not _STATE.search(name) for name in names)
        or _ENTRY.search(data) is not None
    )


class _Proof:
    """What of a file's objects are modules for certain."""

    def __init__(self, context: Context, modules: Modules, saves: Sequence[Call]) -> None:
        from lint_rules.tree import method_of

        saved = {arg.value for call in saves for arg in call.node.args}

        self._flow = context.flow
        self._modules = modules
        self._asked: set[Thing] = set()
        signs: set[Thing] = set()
        restored: set[Thing] = set()
        moved: set[Thing] = set()
        switched: dict[str, set[Thing]] = {"train": set(), "eval": set()}
        for call in context.flow.calls.values():
            name = context.names.resolve(call.node.func, call.scope)
            method = method_of(call.node) if name is None else None
            if method in _PROOF:
                self._asked |= call.receivers
            if method in _SIGNS:
                signs |= call.receivers
            if method == "load_state_dict":
                restored |= call.receivers
            if method in _MOVES and context.statement(call.node) is not None:
                moved |= call.receivers
            if method in switched and not call.node.args:
                switched[method] |= call.receivers
                switched[method] |= {context.flow.copies[each] for each in call.receivers & context.flow.copies.keys()}
            elif method == "unwrap_model" and call.arguments:
                self._asked |= call.arguments[0]
            elif method == "state_dict" and call.node in saved:
                self._asked |= call.receivers
            elif name is not None and _WRAPPERS.match(name) and call.arguments:
                self._asked |= call.arguments[0]
        self._asked |= switched["eval"] & (switched["train"] | restored)
        self._asked |= switched["train"] & self._flow.called
        self._asked |= moved & self._flow.called.union(*(thing.deps for thing in self._asked))
        self._asked |= {thing for thing in signs if _CALLED_SO.search(thing.made_by)}
        makers = {thing.made_by for thing in self._asked}
        self._classes = {maker for maker in makers if maker.rpartition(".")[2][:1].isupper()}

    def holds_module(self, call: Call, at: int) -> bool:
        """Tell whether what is saved is a dict or list of the file that has a module in it for certain."""
        from lint_rules.objects import Kind

        written = all(thing.kind is Kind.COLLECTION for thing in call.arguments[at])
        held = (thing for thing in self._flow.saved.get(call.node, ()) if not thing.made_by.endswith("Loss"))
        return written and any(map(self._is_module, held))

    def all_modules(self, things: set[Thing]) -> bool:
        """Tell whether everything that a value may be is a module; it may be None besides."""
        from lint_rules.objects import Kind

        known = [thing for thing in things if thing.kind is not Kind.NONE]
        others = [thing for thing in known if thing.kind is not Kind.LOADED]  # what takes a module's place is one
        return bool(known) and all(map(self._is_module, others or known))

    def is_called_so(self, call: Call, at: int) -> bool:
        """Tell whether what is saved is called a model or network, and is an instance of a class from elsewhere."""
        from lint_rules.objects import Kind
        from lint_rules.tree import dotted

        named = _NAMED_SO.search(dotted(call.node.args[at].value) or "") is not None
        return named and all(
            thing.kind is Kind.UNKNOWN
            and thing.made_by.rpartition(".")[2][:1].isupper()
            and not _OTHER_MODELS.search(thing.made_by)
            for thing in call.arguments[at]
        )

    def _is_module(self, thing: Thing) -> bool:
        import libcst as cst

        from lint_rules.objects import Kind

        if isinstance(thing.definition, cst.ClassDef):
            if self._modules.is_module(thing.definition):
                return thing.kind is Kind.MODULE
            if any(self._flow.defines(thing, method) for method in _PROOF):
                return False
            runs = thing in self._asked or self._flow.defines(thing, "forward")
            return runs and thing.kind is Kind.MODULE
        if thing in self._flow.copies:
            return thing in self._asked or self._is_module(self._flow.copies[thing])
        if thing.kind is Kind.MODULE:
            return True
        if thing.kind not in {Kind.UNKNOWN, Kind.LOADED}:
            return False
        if thing in self._asked or thing.made_by in self._classes:
            return True
        return any(known.match(thing.made_by) for known in (_FACTORIES, MODULE))


class _Given:
    """What functions are given, or give back, that is a module: by an annotation, or by its name beside an optimizer.

    A function or class that takes a `model` and its `optimizer` takes the objects, unless its callers say otherwise.
    """

    def __init__(self, context: Context, modules: Modules) -> None:
        import libcst as cst

        from lint_rules.tree import walk

        self._names = context.names
        self._modules = modules
        self._variables: set[tuple[int, str]] = set()
        self._attributes: set[tuple[int, str]] = set()
        for function in walk(context.tree):
            if isinstance(function, cst.FunctionDef):
                self._read(function)

    def is_module(self, call: Call, at: int) -> bool:
        """Tell whether what is saved is such a parameter, or an attribute that is set to one and to nothing else."""
        import libcst as cst

        from lint_rules.objects import Kind
        from lint_rules.tree import dotted

        if any(thing.kind not in {Kind.UNKNOWN, Kind.LOADED, Kind.MODULE} for thing in call.arguments[at]):
            return False
        value = call.node.args[at].value
        if isinstance(value, cst.Name):
            return (id(call.scope.owner(value.value)), value.value) in self._variables
        return (id(call.scope.parent), dotted(value) or "") in self._attributes

    def _stays_module(self, name: str, scope: Scope) -> bool:
        """Tell whether a parameter is bound to nothing but modules besides what is given."""
        given, *others = scope.bindings.get(name, [None])
        return given is None and all(
            other is not None and not isinstance(other, str) and self._makes(other, name, scope) for other in others
        )

    def _makes(self, value: cst.BaseExpression, name: str, scope: Scope) -> bool:
        """Tell whether an expression gives a new module, or what a name stands for already."""
        import libcst as cst

        if isinstance(value, cst.IfExp):
            return self._makes(value.body, name, scope) and self._makes(value.orelse, name, scope)
        if isinstance(value, cst.BooleanOperation):
            return self._makes(value.left, name, scope) and self._makes(value.right, name, scope)
        itself = isinstance(value, cst.Name) and value.value == name
        return itself or self._modules.makes(value, scope)

    def _read(self, function: cst.FunctionDef) -> None:
        import libcst as cst

        from lint_rules.evidence import returned
        from lint_rules.tree import dotted, walk

        scope = self._names.scope(function)
        params = [*function.params.params, *function.params.kwonly_params]
        optimized = any(_OPTIMIZER.match(param.name.value) for param in params)
        found = {
            param.name.value
            for param in params
            if (
                self._modules.is_type(param.annotation.annotation, scope)
                if param.annotation is not None
                else optimized and _NAMED_SO.search(param.name.value)
            )
            and self._stays_module(param.name.value, scope)
        }
        if function.returns is not None and self._modules.is_type(function.returns.annotation, scope):
            found |= {value.value for value in returned(function) if isinstance(value, cst.Name)}
        self._variables |= {(id(scope), name) for name in found}
        if function.name.value == "__init__" and scope.parent is not None:
            for node in walk(function.body):
                if isinstance(node, cst.Assign) and isinstance(node.value, cst.Name) and node.value.value in found:
                    target = dotted(node.targets[0].target) or ""
                    self._attributes.add((id(scope.parent), target))


def _saved(call: cst.Call) -> int | None:
    """Find the argument that is saved."""
    for at, arg in enumerate(call.args):
        if arg.star:
            return None
        if arg.keyword is None or arg.keyword.value == "obj":
            return at
    return None


def _into_memory(call: Call) -> bool:
    return any(thing.made_by in _MEMORY for values in call.arguments for thing in values)


def _fix(saved: cst.BaseExpression, context: Context) -> Fix | None:
    import libcst as cst

    if not isinstance(saved, (cst.Name, cst.Attribute, cst.Subscript, cst.Call)) or saved.lpar:
        return None
    _, _, line, column = context.span(saved)
    return Fix((Edit(line, column, line, column, ".state_dict()"),), safe=False)


class SaveWholeModule(Rule):
    """Finds modules that are pickled whole.

    ## What it does

    Reports `torch.save(model, ...)` where `model` is a module for certain: an instance of a module class, annotated as
    one, made by a known factory, something whose `parameters()` the file asks for, which it puts into both modes, or
    moves in place and calls; also such a module in a dict or list. A name such as `best_model` proves nothing: it may
    hold a state. Saving into memory is left alone.

    ## Why is this bad

    The file then holds a pickle that names the module's class and the path of its source. It loads only while exactly
    that class can be imported, so renaming or moving it makes every checkpoint unreadable; `weights_only=True` refuses
    it, and opening it runs code. A `state_dict` holds the weights and nothing else.

    ## Fix safety

    Saves the module's `state_dict()` instead. The fix is unsafe: what loads the file must build the module and call
    `load_state_dict`.

    ## References

    - [PyTorch: Saving and loading models](https://docs.pytorch.org/tutorials/beginner/saving_loading_models.html)
    - [torch.save](https://docs.pytorch.org/docs/stable/generated/torch.save.html)
    """

    code = "CKP401"
    name = "save-whole-module"
    summary = "A whole module is pickled instead of its `state_dict`"
    needs = (*((*need, _may_save_module) for need in TORCH_SAVE_NEEDS), (b"torch.save", _BOUND, _MODULES))
    marks = frozenset({"save", "train"}) | _PROOF | _SIGNS | _MOVES
    follows = True
    needs_all = True

    def may_find(self, outline: Outline) -> bool:
        """Tell whether `torch.save` may be given a module, or something that holds one."""
        calls = outline.calls_of(_SAVE)
        return calls is None or any(not call.args or outline.origins.may_be_module(call.args[0]) for call in calls)

    def check(self, context: Context) -> Iterator[Finding]:
        """Report each module that is saved whole.

        Args:
            context: The source.

        Yields:
            One finding a call.
        """
        from lint_rules.evidence import Modules

        flow = context.flow
        saves = [call for call in flow.calls.values() if context.names.resolve(call.node.func, call.scope) in _SAVE]
        if not saves:
            return
        modules = Modules(context.tree, context.names)
        proof = _Proof(context, modules, saves)
        given = _Given(context, modules)
        for call in saves:
            at = _saved(call.node)
            if at is None or _into_memory(call):
                continue
            whole = proof.all_modules(call.arguments[at]) or proof.is_called_so(call, at) or given.is_module(call, at)
            if whole or proof.holds_module(call, at):
                yield context.finding(
                    self,
                    call.node,
                    "the file will hold a pickle of the whole module and load only with exactly this class; "
                    "save its `state_dict()`",
                    _fix(call.node.args[at].value, context) if whole else None,
                )

    invalid = (
        Example(
            """
            import torch
            from torch import nn

            model = nn.Sequential(nn.Linear(8, 8), nn.ReLU())
            torch.save(model, "model.pt")
            """,
            why="a module of torch",
            lines=(5,),
            fixed="""
            import torch
            from torch import nn

            model = nn.Sequential(nn.Linear(8, 8), nn.ReLU())
            torch.save(model.state_dict(), "model.pt")
            """,
        ),
        Example(
            """
            import torch
            import torch.nn as nn


            class Net(nn.Module):
                def __init__(self):
                    super().__init__()
                    self.linear = nn.Linear(2, 2)

                def keep(self, path):
                    torch.save(self, path)


            net = Net().cuda()
            torch.save(obj=net, f="net.pt")
            """,
            why="a class of the same file",
            lines=(11, 15),
            fixed="""
            import torch
            import torch.nn as nn


            class Net(nn.Module):
                def __init__(self):
                    super().__init__()
                    self.linear = nn.Linear(2, 2)

                def keep(self, path):
                    torch.save(self.state_dict(), path)


            net = Net().cuda()
            torch.save(obj=net.state_dict(), f="net.pt")
            """,
        ),
        Example(
            """
            import torch

            from networks import Net, batches

            model = Net()
            optimizer = torch.optim.SGD(model.parameters(), lr=0.1)


            def checkpoint(epoch):
                torch.save(model, f"model_{epoch}.pt")


            for epoch in range(10):
                checkpoint(epoch)
            """,
            why="its parameters are trained",
            lines=(10,),
        ),
        Example(
            """
            import copy

            import torch
            from torch import save
            from torchvision import models

            net = models.resnet18()
            best = None
            for epoch in range(10):
                best = copy.deepcopy(net)
            save(best, "best.pt")
            """,
            why="a copy of what a factory made, saved by an imported function",
            lines=(11,),
        ),
        Example(
            """
            import torch as th

            from networks import Net


            class Runner:
                def __init__(self):
                    self.model = th.nn.DataParallel(Net())
                    self.optimizer = th.optim.Adam(self.model.parameters())

                def save(self, path):
                    th.save(self.model.module, path)
            """,
            why="an attribute, unwrapped",
            lines=(12,),
        ),
        Example(
            """
            import torch
            from torch import nn

            from recommenders import Recommender


            class Factors(Recommender):
                def __init__(self):
                    super().__init__()
                    self.layer = nn.Linear(2, 2)

                def forward(self, x):
                    return self.layer(x)

                def dump(self, path):
                    torch.save(self, path)
            """,
            why="a class with a forward, whatever its base is",
            lines=(16,),
        ),
        Example(
            """
            import torch

            from networks import Net, run

            net = Net().cuda()
            for epoch in range(10):
                net.train()
                run(net)
                net.eval()
                run(net)
                torch.save(net, "net.pt")
            """,
            why="it is put into both modes",
            lines=(11,),
        ),
        Example(
            """
            import copy

            import torch
            from torch import nn
            from torch import save as write
            from transformers import AutoModelForCausalLM

            from networks import Net


            class Average:
                def __init__(self, model):
                    self.model = copy.deepcopy(model)
                    for weight in self.model.parameters():
                        weight.requires_grad_(False)

                def save(self, path):
                    torch.save(self.model, path)


            def export(encoder: nn.Module, path):
                torch.save(encoder, path)


            language = AutoModelForCausalLM.from_pretrained("gpt2")
            write(language, "language.pt")
            hub = torch.hub.load("pytorch/vision", "resnet18")
            torch.save(hub.cpu(), "hub.pt")
            for number, net in enumerate([nn.Linear(2, 2), nn.Linear(2, 2)]):
                torch.save(net, f"{number}.pt")
            torch.save({"net": net, "epoch": 3}, "checkpoint.pt")
            """,
            why="a copy, an annotation, known factories, a list, and inside a dict",
            lines=(18, 22, 26, 28, 30, 31),
        ),
        Example(
            """
            import torch
            from networks import UNet, build

            net = UNet(3)
            net.load_state_dict(torch.load("unet.pt", weights_only=True))
            torch.save(net, "whole.pt")
            """,
            why="an imported class that is called a network and loads a state",
            lines=(6,),
        ),
        Example(
            """
            import torch
            from zoo import makers

            net = makers["resnet"]()
            net.load_state_dict(torch.load("weights.pt", weights_only=True))
            net.eval()
            torch.save(net, "whole.pt")


            class Keeper:
                def save(self, path, whole):
                    if whole:
                        torch.save(self.model, path)
                    else:
                        torch.save(self.model.state_dict(), path)
            """,
            why="it is restored and evaluated, or its state is saved elsewhere",
            lines=(7, 13),
        ),
        Example(
            """
            import torch
            from zoo import Classifier, build

            encoder, head = build("encoder"), build("head")
            encoder.to("cuda")
            head.cuda()
            classifier = Classifier(encoder)
            optimizer = torch.optim.Adam(classifier.parameters())
            head(classifier(batch))
            torch.save(encoder.cpu(), "encoder.pt")
            torch.save(head, "head.pt")
            """,
            why="it is moved in place, and called or part of another module",
            lines=(10, 11),
        ),
        Example(
            """
            import torch
            from speech import Glow

            glow, kept = Glow(8), Glow(8)
            optimizer = torch.optim.Adam(glow.parameters())
            kept.load_state_dict(glow.state_dict())
            torch.save({"model": kept, "optimizer": optimizer.state_dict()}, "glow.pt")
            """,
            why="another instance of its class is asked for its parameters",
            lines=(7,),
        ),
        Example(
            """
            import torch
            from torch import nn


            class Trainer:
                def __init__(self, model: nn.Module, path: str):
                    self.model = model
                    self.path = path

                def save(self, epoch):
                    checkpoint = {"model": self.model, "epoch": epoch}
                    torch.save(checkpoint, self.path)
            """,
            why="a dict that has a name, with an attribute that is given as a module",
            lines=(12,),
        ),
        Example(
            """
            import torch

            from networks import ImageNet

            net = ImageNet(3)
            checkpoint = {"model": ImageNet(3), "state_dict": net.state_dict()}
            torch.save(checkpoint, "published.pt")
            """,
            why="a dict that has a name, with a module that is made for it",
            lines=(7,),
        ),
        Example(
            """
            import torch

            from networks import Detector

            net = Detector()
            net.load_state_dict(torch.load("detector.pt", weights_only=True))
            for parameter in net.parameters():
                parameter.requires_grad = False
            ckpt = {"model": net.half(), "epoch": -1}
            torch.save(ckpt, "published.pt")
            """,
            why="a dict that has a name, with a module that is made smaller",
            lines=(10,),
        ),
        Example(
            """
            import torch
            from torch import nn
            from zoo import GPT, Trainer


            class Checkpoint:
                def __init__(self, model, optimizer):
                    self.model = model
                    self.optimizer = optimizer

                def save(self, path):
                    torch.save(self.model, path)


            class Keeper:
                def __init__(self, net: nn.Module, path: str) -> None:
                    self.net = net
                    self.path = path

                def __call__(self, loss):
                    torch.save(self.net, self.path)


            def cached(path) -> nn.Module:
                found = torch.load(path, weights_only=False)
                torch.save(found, "cache.pt")
                return found


            def save_checkpoint(model, optimizer, path):
                torch.save(model, path)
                torch.save(optimizer.state_dict(), "optimizer.pt")


            model = GPT(layers=6)
            Trainer(model).train()
            torch.save(model, "gpt.pt")
            head = nn.Linear(2, 2)
            if known:
                head = torch.load("head.pt", weights_only=False)
            torch.save(head, "head.pt")
            """,
            why="what a class or function is given, or gives back, a class from elsewhere, a file that may be there",
            lines=(12, 21, 26, 31, 37, 41),
        ),
        Example(
            """
            from __future__ import annotations

            from typing import Optional, Union

            import torch
            from torch import nn


            class Net(nn.Module):
                def forward(self, x):
                    return x


            def one(net: "nn.Module", path):
                torch.save(net, path)


            def two(net: Optional[Net], path):
                if net is not None:
                    torch.save(net, path)


            def three(path, net: nn.Module | None = None):
                if net is None:
                    net = Net()
                torch.save(net, path)


            def four(path, net: "Union[Net, nn.Linear, None]" = None):
                net = Net() if net is None else net
                torch.save(net, path)
            """,
            why="quoted annotations and unions, with a default that is made in the function",
            lines=(15, 20, 26, 31),
        ),
        Example(
            """
            import torch
            from torch import nn

            net = nn.Linear(2, 2)
            torch.save(dict(model=net, epoch=3), "checkpoint.pt")
            """,
            why="in a dict of keywords",
            lines=(5,),
        ),
        Example(
            """
            import torch as t

            net = t.nn.Linear(2, 2)
            keep, read = t.save, t.load
            keep(net, "net.pt")
            """,
            why="under another name",
            lines=(5,),
        ),
        Example(
            """
            import abc

            import torch
            from torch import nn


            class Base(abc.ABC):
                def __init__(self):
                    self.model = self.build()

                @abc.abstractmethod
                def build(self) -> nn.Module: ...

                def save(self, path):
                    torch.save(self.model, path)
            """,
            why="what a method is said to give",
            lines=(15,),
        ),
        Example(
            """
            import torch
            from torch import nn


            class Runner:
                model: nn.Module
                path: str

                def __init__(self, model, path):
                    self.model, self.path = model, path

                def prefix(self) -> str:
                    raise NotImplementedError

                def save(self):
                    name = self.prefix() + self.path
                    torch.save(self.model, name)

                @property
                def inner(self) -> nn.Module:
                    return self.given()

                def export(self, path):
                    torch.save(self.inner, path)
            """,
            why="annotated in its class, or given by an annotated property",
            lines=(17, 24),
        ),
        Example(
            """
            from torch import nn, serialization

            net = nn.Linear(2, 2)
            serialization.save(net, "net.pt")
            """,
            why="by the module that defines it",
            lines=(4,),
            fixed="""
            from torch import nn, serialization

            net = nn.Linear(2, 2)
            serialization.save(net.state_dict(), "net.pt")
            """,
        ),
        Example(
            """
            import torch

            lib = torch  # or a stand-in
            net = lib.nn.Linear(2, 2)
            lib.save(net, "net.pt")
            """,
            why="torch under a name that it is bound to",
            lines=(5,),
            fixed="""
            import torch

            lib = torch  # or a stand-in
            net = lib.nn.Linear(2, 2)
            lib.save(net.state_dict(), "net.pt")
            """,
        ),
        Example(
            """
            import torch
            from accelerate import Accelerator
            from torch.optim.swa_utils import AveragedModel

            from networks import build

            accelerator = Accelerator()
            model = build()
            model, optimizer = accelerator.prepare(model, torch.optim.SGD(model.parameters(), lr=0.1))
            torch.save(accelerator.unwrap_model(model), "unwrapped.pt")

            averaged = AveragedModel(build())
            torch.save(averaged, "averaged.pt")
            torch.save(accelerator.prepare(torch.nn.Linear(2, 2)), "linear.pt")


            def save(model):
                torch.save(accelerator.unwrap_model(model), "given.pt")
            """,
            why="unwrapped or averaged",
            lines=(10, 13, 14, 18),
        ),
        Example(
            """
            import copy

            import torch

            from networks import build

            net = build()
            net.train()
            frozen = copy.deepcopy(net)
            frozen.eval()
            torch.save(net, "net.pt")


            def train(net, optimizer, data):
                net.train()
                for x in data:
                    net(x).sum().backward()
                    optimizer.step()
                torch.save(net, "trained.pt")
            """,
            why="trained by the program, or a copy that was put in evaluation mode",
            lines=(11, 19),
        ),
        Example(
            """
            import torch
            from lightning import LightningModule


            class Tagger(LightningModule):
                def forward(self, x):
                    return x


            tagger = Tagger.load_from_checkpoint("tagger.ckpt")
            torch.save(tagger, "tagger.pt")
            """,
            why="a Lightning module that is restored from its checkpoint",
            lines=(11,),
        ),
        Example(
            """
            import torch

            from trainers import Trainer


            class TextTrainer(Trainer):
                def run(self, batches, path):
                    self.model.train()
                    for x in batches:
                        self.model(x).sum().backward()
                        self.optimizer.step()
                    torch.save(self.model, path)
            """,
            why="put into training mode and called, as the base class elsewhere made it",
            lines=(12,),
        ),
    )
    valid = (
        Example(
            """
            import torch

            from players import make

            player = make("chess")
            player.train()
            player.play(3)
            torch.save(player, "player.pt")
            """,
            why="what trains by itself and is not called",
        ),
        Example(
            """
            from collections import OrderedDict

            import torch
            from gensim.models import Word2Vec
            from sklearn.cluster import KMeans
            from zoo import GPTConfig, Net, build


            def save(model, optimizer, path):
                torch.save(model, path)
                torch.save(optimizer, path)


            class Saver:
                def __init__(self, model, path):
                    self.model = model

                def save(self, path):
                    torch.save(self.model, path)


            net = Net()
            save(net.state_dict(), torch.optim.SGD(net.parameters(), lr=0.1).state_dict(), "net.pt")
            model = KMeans(8)
            torch.save(model, "means.pt")
            model = Word2Vec(words)
            torch.save(model, "words.pt")
            model = GPTConfig(layers=6)
            torch.save(model, "config.pt")
            model = OrderedDict()
            torch.save(model, "layers.pt")
            model = build("model")
            torch.save(model, "built.pt")
            """,
            why="a state that a caller passes, models of another kind, and what may be anything",
        ),
        Example(
            """
            import torch
            from graphs import load

            graph = load("graph")
            graph.to("cuda")
            torch.save(graph, "graph.pt")
            """,
            why="graphs are moved in place, too",
        ),
        Example(
            """
            import torch
            from networks import EMAModel, Lookahead, UNet, WordNet

            averaged, optimizer, graph = EMAModel(net), Lookahead(base), WordNet("nouns")
            for each in (averaged, optimizer):
                each.load_state_dict(torch.load("state.pt", weights_only=True))
            averaged.load_state_dict({})
            optimizer.load_state_dict({})
            torch.save(averaged, "ema.pt")
            torch.save(optimizer, "optimizer.pt")
            torch.save(graph, "nouns.pt")
            """,
            why="other objects that have states, and a class that is called a network only",
        ),
        Example(
            """
            import torch


            def keep(model, image, path):
                # torch.save(model, path) would save its class, too
                torch.save(model.state_dict(), path)
                image.save(path)
            """,
            why="its state, and something that saves itself",
        ),
        Example(
            """
            import torch
            from runs import restore

            model, epoch = restore("run.pt")
            optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
            torch.save({"net": model.state_dict(), "epoch": epoch}, "run.pt")
            """,
            why="what is given back beside a module",
        ),
        Example(
            """
            import torch

            model = torch.nn.Linear(2, 2)
            torch.save(model.state_dict(), "model.pt")
            torch.save({"model": model.state_dict(), "epoch": 3}, "checkpoint.pt")
            state = model.state_dict()
            torch.save(state, "state.pt")
            torch.save({"model": state, "loss": torch.nn.CrossEntropyLoss()}, "both.pt")
            """,
            why="its state, beside a loss perhaps",
        ),
        Example(
            """
            import copy

            import torch

            from networks import Net, better

            model = Net()
            optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
            best_model = None
            if better(model):
                best_model = copy.deepcopy(model.state_dict())
            torch.save(best_model, "best.pt")
            """,
            why="a name that sounds like a module",
        ),
        Example(
            """
            import torch


            def keep(model, path):
                torch.save(model, path)


            def write(data, args):
                torch.save(args, "args.pt")
                torch.save(data, "data.pt")
            """,
            why="something of which nothing is known",
        ),
        Example(
            """
            import torch

            model = torch.nn.Linear(2, 2)
            if full:
                kept = model
            else:
                kept = model.state_dict()
            torch.save(kept, "model.pt")
            """,
            why="a state on one of the branches",
        ),
        Example(
            """
            import torch


            class Agent:
                def __init__(self):
                    self.net = torch.nn.Linear(2, 2)

                def parameters(self):
                    return self.net.parameters()


            agent = Agent()
            optimizer = torch.optim.SGD(agent.parameters(), lr=0.1)
            torch.save(agent, "agent.pt")
            torch.save(optimizer, "optimizer.pt")
            """,
            why="objects that are no modules",
        ),
        Example(
            """
            import io

            import torch

            model = torch.nn.Linear(2, 2)
            buffer = io.BytesIO()
            torch.save(model, buffer)
            """,
            why="into memory, to copy or to measure it",
        ),
        Example(
            """
            from tools import save

            import torch

            model = torch.nn.Linear(2, 2)
            save(model, "model.pt")
            torch.save(model(torch.zeros(1, 2)), "output.pt")
            torch.save(model.weight, "weight.pt")
            torch.save(torch.nn.Parameter(torch.zeros(2)), "parameter.pt")
            torch.save({"output": model(torch.zeros(1, 2)), "state": model.state_dict()}, "both.pt")
            """,
            why="another function, an output, a weight",
        ),
        Example(
            """
            from typing import Union

            import torch
            from torch import nn


            def one(net: Union[nn.Module, dict], path):
                torch.save(net, path)


            def two(net: "nn.Module | dict", path):
                torch.save(net, path)


            def three(net: nn.Module, path):
                net = net.state_dict()
                torch.save(net, path)
            """,
            why="annotations that admit a state, and a parameter that becomes one",
        ),
        Example(
            """
            import abc

            import torch


            class Base(abc.ABC):
                def __init__(self):
                    self.model = self.build()
                    self.state = self.read()

                @abc.abstractmethod
                def build(self) -> dict: ...

                def read(self) -> None: ...

                def save(self, path):
                    torch.save(self.model, path)
                    torch.save(self.state, path)
            """,
            why="a method is said to give a dict, or nothing",
        ),
        Example(
            """
            import torch
            from accelerate import Accelerator
            from torch.optim.swa_utils import AveragedModel

            from networks import build
            from tables import Packer, Table

            accelerator = Accelerator()
            model = build()
            rows = Table.load_from_checkpoint("rows.csv")
            model, loader, rows = accelerator.prepare(model, [1, 2], rows)
            torch.save(accelerator.unwrap_model(model).state_dict(), "unwrapped.pt")
            torch.save(AveragedModel(build()).state_dict(), "averaged.pt")
            torch.save(loader, "loader.pt")
            torch.save(rows, "rows.pt")
            torch.save(Packer().prepare(torch.nn.Linear(2, 2)), "packed.pt")
            """,
            why="states of what Accelerate or an average holds, and what a loader gives",
        ),
    )
