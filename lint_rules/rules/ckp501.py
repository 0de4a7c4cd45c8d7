"""CKP501: a tensor is moved and the result thrown away."""

from __future__ import annotations

import ast
import re
from itertools import chain
from typing import TYPE_CHECKING, cast

from lint_rules.knowledge import COMPUTES, ONLY_TENSORS, TENSOR_KEYS
from lint_rules.outline import last_name, nodes
from lint_rules.prefilter import is_followed, may_be_notebook, places
from lint_rules.rule import Edit, Example, Finding, Fix, Rule

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import libcst as cst

    from lint_rules.engine import Context
    from lint_rules.outline import Outline
    from lint_rules.tensor_names import TensorNames

_MOVES = frozenset({"to", "cuda", "cpu"})
#: Attributes of tensors that are tensors.
_PARTS = frozenset({"data", "grad"})

_SHOWS = "|".join(sorted(ONLY_TENSORS)).encode()
_COMPUTES = "|".join(sorted(COMPUTES)).encode()

_MOVED = re.compile(rb"\.(?:to|cuda|cpu)\(")
_ALONE = re.compile(rb"[\"\s(]*(?:[\w.]+\.(?:to|cuda|cpu)\([^()\n]*\), *)*([A-Za-z_][\w.]*)(\[[^\]\n]*\])?$")
#: A line that the next one continues, and the rest of a line that ends with the call or inside its arguments.
_OPEN = re.compile(rb"(?:[(\[{,=+\-*/|&<>\\]|\b(?:and|or|not|in|is|if|else|return))[ \t]*(?:\\n\",)?\r?\n$")
_LAST = re.compile(
    rb"(?:[^\n()]|\((?:[^\n()]|\([^\n()]*\))*\))*(?:\)[ \t]*(?:[#;,][^\n]*|(?:\\n)?\",?)?|\(?)\r?(?:\n|$)"
)
#: An entry of a batch that is a dict.
_ENTRY = rb"\w+\[\\?[\"'](?:\w+_)?(?:img|image|pixel_value|label|target|mask|video|audio|depth|x\b|y\b)"
#: What stands behind a name that is a tensor, ...
_EVIDENT = re.compile(
    rb"\.(?:" + _SHOWS + rb")\("
    rb"|\s*:\s*(?:Optional\[)?[\"']?(?:\w+\.)?\w*Tensor\b"
    rb"|\s*=[^=\n]*(?:torch\.(?!nn\.[A-Z]|compile|load|jit|hub|optim|device|Gen)[\w.]+\(|[Tt]ensor\(|Parameter\(|_sequence\()"
    rb"|\s*=(?!=)[^\n]*\.(?:generate|encode|" + _COMPUTES + rb"|" + _SHOWS + rb")\("
    rb"|\s*=(?!=)[^\n]*\b(?:" + "|".join(sorted(TENSOR_KEYS)).encode() + rb")\b"
    rb"|\s*=\s*" + _ENTRY
)
#: ... on both sides of it, ...
_TESTED = {
    b"isinstance(": re.compile(rb"(?:\[[^\]\n]*\])?, (?:torch\.)?Tensor"),
    b"is_tensor(": re.compile(rb"\b"),
    b"register_buffer('": re.compile(rb"'"),
    b'register_buffer("': re.compile(rb'"'),
    b"load_state_dict(": re.compile(rb"[,)]"),
}
#: ... or on those of what a loop unpacks.
_LOOPED = re.compile(rb"\b[^\n]* in [^\n]*(?:[Ll]oader|batches|_iter|parameters\(|buffers\(|state_dict\()")
_LOOPED_OVER = re.compile(rb"\b[^\n]* in ")
_TAKEN_APART = re.compile(
    rb"[ \t\"]*\(?\w+(?:\s*,\s*\w+)+,?[\s\\]*\)?[\s\\]*=\s*"
    rb"(?:\w+\b(?![.(\[])|next\(|[^\n]*\btorch\.|(?:self\.)?(\w+)\(|" + _ENTRY + rb")"
)
#: ... or what a loop takes one by one, and an annotation that says that these are tensors.
_ONE_BY_ONE = re.compile(rb" in (\w+):")
_TENSORS = re.compile(rb": *[\"'\w.]+\[[^\n=)]*Tensor")
_HELPED = re.compile(rb"\s*=\s*(?:self\.)?(\w+)\(")
_CHAINED = re.compile(rb"[ \t\"]*[\w.]+\.(?:" + _SHOWS + rb")\([^()\n]*\)$")
#: Where a cell of a script begins; a notebook's cell whose lines stand in one string.
_CELL = re.compile(r"^# ?%%", re.MULTILINE)
_WHOLE_CELL = re.compile(rb"\"source\": ?\[?\"[^\"]")


def _has_tensors(data: bytes) -> bool:
    """Tell whether a source may use torch, or a library that gives its tensors."""
    return any(library in data for library in (b"torch", b"transformers", b"diffusers"))


def _may_move_tensor(data: bytes) -> bool:
    """Tell whether a statement may move a tensor; cheap, and often wrong."""
    lines = not may_be_notebook(data)  # a notebook's JSON breaks lines in its own way
    if not lines and _WHOLE_CELL.search(data) is not None:
        return True
    names: set[bytes] = set()
    for found in _MOVED.finditer(data):
        line = data.rfind(b"\n", 0, found.start()) + 1
        start = max(line, data.rfind(b";", line, found.start()) + 1, data.rfind(b":", line, found.start()) + 1)
        before = data[start : found.start()]  # of the last statement on the line
        alone, chained = _ALONE.match(before), before.endswith(b")") and _CHAINED.match(before)
        if not (alone or chained) or (lines and _OPEN.search(data[max(line - 200, 0) : line])):
            continue
        if chained:
            return True
        if alone and _LAST.match(data, found.end()):
            names.add(alone[1].rpartition(b".")[2])
            names.add((alone[2] or alone[1].rpartition(b".")[2]).strip(b"[]\"'\\"))
    looped = _LOOPED_OVER if names and b"DataLoader(" in data else _LOOPED
    return any(
        (name == b"timesteps" and b".set_timesteps(" in data)
        or name.decode(errors="replace") in TENSOR_KEYS
        or any(_is_evident(data, start, start + len(name), looped) for start in places(data, name))
        for name in names
    )


def _is_evident(data: bytes, start: int, end: int, looped: re.Pattern[bytes]) -> bool:
    """Tell whether what stands around a name says that it is a tensor."""
    tests = (after for before, after in _TESTED.items() if data.startswith(before, max(start - len(before), 0)))
    if _EVIDENT.match(data, end) or any(after.match(data, end) for after in tests):
        return True
    if (helper := _HELPED.match(data, end)) is not None and b"def " + helper[1] in data:
        return True
    line = data.rfind(b"\n", 0, start) + 1
    if data.find(b"for ", line, start) >= 0:
        over = _ONE_BY_ONE.match(data, end)
        if looped.match(data, end) or (over is not None and is_followed(data, over[1], _TENSORS)):
            return True
    apart = _TAKEN_APART.match(data, line)
    return apart is not None and (apart[1] is None or b"def " + apart[1] in data)


def _moved(outline: Outline) -> list[ast.expr]:
    """Give what is moved by a statement that does nothing else."""
    alone = outline.alone.union(*(each.elts for each in outline.alone if isinstance(each, ast.Tuple)))
    moves = (call for method in _MOVES for call in outline.methods(method) if call in alone)
    return [cast("ast.Attribute", call.func).value for call in moves]


def _may_be_tensor(moved: ast.expr, outline: Outline) -> bool:
    """Tell whether what is moved may be a tensor for certain: something has to be bound to it, or done with it."""
    if isinstance(moved, ast.Attribute):
        if moved.attr in _PARTS:
            return _may_be_tensor(moved.value, outline)
        if moved.attr in {*TENSOR_KEYS, "timesteps"}:
            return True
        if _is_own(moved):
            return moved.attr in outline.members or bool(outline.methods("register_buffer"))
        return any(last_name(node.target) == moved.attr for node in outline.of(ast.AnnAssign))
    if isinstance(moved, ast.Call):
        return isinstance(moved.func, ast.Attribute) and moved.func.attr in ONLY_TENSORS
    return isinstance(moved, ast.Subscript) or (isinstance(moved, ast.Name) and _may_show(moved.id, outline))


def _may_show(name: str, outline: Outline) -> bool:
    """Tell whether a name is bound, annotated, asked for its type, or used as only tensors can be."""
    used = (cast("ast.Attribute", each.func).value for method in ONLY_TENSORS for each in outline.methods(method))
    tests = (each for test in outline.of(ast.If) for each in nodes(test.test))
    asked = (each.args[0] for each in tests if isinstance(each, ast.Call) and each.args)
    return (
        any(each.id == name and type(each.ctx) is ast.Store for each in outline.of(ast.Name))
        or any(each.arg == name and each.annotation is not None for each in outline.of(ast.arg))
        or any(last_name(each) == name for each in chain(used, asked))
    )


def _is_own(node: ast.expr) -> bool:
    """Tell whether an expression is an attribute of `self`, or of one of its attributes."""
    while isinstance(node, ast.Attribute):
        node = node.value
    return isinstance(node, ast.Name) and node.id == "self"


def _evidence(outline: Outline) -> Iterator[ast.expr | ast.stmt]:
    """Yield what is moved, and what may show elsewhere that it is a tensor.

    That is the functions from which the code around takes values, where attributes that this code reads are given, and
    the calls that may pass to it what it loops over.
    """
    moved = _moved(outline)
    taken = (each.value for each in outline.of(ast.Assign, ast.AnnAssign, ast.Return))
    functions = outline.reached(moved, [each for each in taken if isinstance(each, ast.Call)])
    lines = frozenset(chain.from_iterable(range(each.lineno, each.end_lineno + 1) for each in functions))
    own = [each for each in outline.of(ast.Attribute) if _is_own(each)]
    read = {each.attr for each in own if each.lineno in lines}
    names = {each.name for each in functions}
    yield from chain(moved, functions)
    yield from (each for each in own if each.attr in read and type(each.ctx) is ast.Store)
    for call in outline.methods("register_buffer"):
        yield from (each for each in call.args[:1] if getattr(each, "value", None) in read)
    yield from (call for call in outline.calls if last_name(call.func) in names)


def _is_shown(call: cst.Call, context: Context) -> bool:
    """Tell whether an editor or notebook shows what a statement gives, for it is the last of its cell."""
    line, column, end, _ = context.span(call)
    text = context.text(None)
    if line in context.shown or column != 1 or _CELL.search(text) is None:
        return line in context.shown
    after = text.split("\n")[end:]
    code = (each for each in after if each.strip() and (_CELL.match(each) or not each.startswith("#")))
    return _CELL.match(next(code, "# %%")) is not None


def _moves(nodes: Iterable[cst.CSTNode]) -> Iterator[tuple[cst.Call, cst.BaseExpression, bool]]:
    """Yield the calls that move something and give it to nobody, what they move, and whether nothing stands beside."""
    import libcst as cst

    for node in nodes:
        if not isinstance(node, cst.Expr):
            continue
        several = [each.value for each in node.value.elements] if isinstance(node.value, cst.Tuple) else []
        for call in several or [node.value]:
            if isinstance(call, cst.Call) and isinstance(call.func, cst.Attribute) and call.func.attr.value in _MOVES:
                yield call, call.func.value, not several


def _fix(call: cst.Call, moved: cst.BaseExpression, names: TensorNames, context: Context) -> Fix | None:
    import libcst as cst

    if isinstance(moved, cst.Call):
        return None
    if isinstance(moved, cst.Name) and (moved.value not in names.scope.bindings or names.are_weights(moved.value)):
        return None
    line, column, _, _ = context.span(call)
    return Fix((Edit(line, column, line, column, f"{context.tree.code_for_node(moved)} = "),), safe=True)


class DiscardedTensorTo(Rule):
    """Finds tensors that are moved to another device, and stay where they are.

    ## What it does

    Reports `x.to(device)`, `x.cuda()` and `x.cpu()` as a statement of its own where `x` is a tensor for certain: made
    by torch, annotated, an element of a `DataLoader`'s batch, or used as only tensors can be. Modules are moved in
    place, and so are pipelines, encodings and batches of graphs: they are left alone.

    ## Why is this bad

    `Module.to` changes the module, `Tensor.to` gives a new tensor and leaves the old one as it was. The statement has
    no effect, and the next operation raises because its operands are on different devices, or runs on the wrong one.

    ## Fix safety

    Assigns the result back. The fix is safe: that is what the statement is for. There is no fix where the name belongs
    to an outer scope, or stands for one weight after the other.

    ## References

    - [Tensor.to](https://docs.pytorch.org/docs/stable/generated/torch.Tensor.to.html)
    - [Module.to](https://docs.pytorch.org/docs/stable/generated/torch.nn.Module.html)
    """

    code = "CKP501"
    name = "discarded-tensor-to"
    summary = "A tensor is moved and the result thrown away"
    needs = ((_has_tensors, _may_move_tensor),)
    marks = frozenset()

    def may_find(self, outline: Outline) -> bool:
        """Tell whether a move is a statement of its own, of something that may be a tensor."""
        return any(_may_be_tensor(moved, outline) for moved in _moved(outline))

    def lines_in(self, outline: Outline) -> set[int]:
        """Give the lines of the moves, and of what may show that they move tensors."""
        return {node.lineno for node in _evidence(outline)}

    def check(self, context: Context) -> Iterator[Finding]:
        """Report each tensor that is moved in vain.

        Args:
            context: The source.

        Yields:
            One finding a statement.
        """
        from lint_rules.evidence import bodies
        from lint_rules.tensor_names import TensorAttributes, TensorNames

        attributes = TensorAttributes(context.tree, context.names)
        for body in bodies(context.tree):
            names = TensorNames(body, context.names, attributes)
            for call, moved, alone in _moves(names.nodes):
                if names.is_tensor(moved, call) and not _is_shown(call, context):
                    yield context.finding(
                        self,
                        call,
                        "the tensor stays where it is, for `to()`, `cuda()` and `cpu()` give a new one; "
                        "assign the result",
                        _fix(call, moved, names, context) if alone else None,
                    )

    invalid = (
        Example(
            """
            import torch

            x = torch.zeros(2, 2)
            x.to("cuda")
            """,
            why="made by torch",
            lines=(4,),
            fixed="""
            import torch

            x = torch.zeros(2, 2)
            x = x.to("cuda")
            """,
        ),
        Example(
            """
            import torch
            from torch.utils.data import DataLoader

            from data import Images
            from networks import Net

            device = torch.device("cuda")
            loader = DataLoader(Images(), batch_size=4)
            net = Net().to(device)
            for step, (images, labels) in enumerate(loader):
                images.to(device)
                labels.cuda(non_blocking=True)
                loss = net(images, labels)
            """,
            why="a batch of a loader",
            lines=(11, 12),
            fixed="""
            import torch
            from torch.utils.data import DataLoader

            from data import Images
            from networks import Net

            device = torch.device("cuda")
            loader = DataLoader(Images(), batch_size=4)
            net = Net().to(device)
            for step, (images, labels) in enumerate(loader):
                images = images.to(device)
                labels = labels.cuda(non_blocking=True)
                loss = net(images, labels)
            """,
        ),
        Example(
            """
            from typing import Optional

            import torch
            from torch import Tensor


            def one(x: torch.Tensor, device):
                x.to(device)
                return x


            def two(mask: Optional[Tensor], y: "torch.Tensor", device):
                mask.to(device)
                y.to(device)
                return mask, y
            """,
            why="annotated",
            lines=(8, 13, 14),
        ),
        Example(
            """
            import torch


            def evaluate(net, loader, device):
                for images, labels in loader:
                    images.to(device)
                    images = images.view(-1, 784)
                    net(images)


            def embed(encoder, image, device):
                emb = encoder(image)["embeds"]
                emb = emb.repeat_interleave(2, dim=0)
                emb.to(device=device)
                return emb
            """,
            why="used as only tensors can be",
            lines=(6, 14),
        ),
        Example(
            """
            import torch


            def move(x: torch.Tensor, device):
                print(device); x.to(device)
            """,
            why="two statements on a line",
            lines=(5,),
        ),
        Example(
            """
            import torch


            def move(x: torch.Tensor, device, wanted):
                if wanted: x.to(device)
            """,
            why="behind a condition on the same line",
            lines=(5,),
        ),
        Example(
            """
            import torch


            def test(model, device, test_loader):
                for data, target in test_loader:
                    data.to(device)
                    model(data, target.to(device))
            """,
            why="data and target of some loader",
            lines=(6,),
        ),
        Example(
            """
            from torch.utils.data import DataLoader

            from data import Images

            train_dl = DataLoader(Images(), batch_size=4)
            for one, other in train_dl:
                one.to("cuda")
            """,
            why="a loader by any name",
            lines=(7,),
        ),
        Example(
            """
            from transformers import AutoTokenizer

            encoded = AutoTokenizer.from_pretrained("bert-base-uncased")("text", return_tensors="pt")
            encoded["input_ids"].to("cuda")
            """,
            why="torch is not imported: a tokenizer's ids",
            lines=(4,),
        ),
        Example(
            """
            from diffusers import DDIMScheduler

            scheduler = DDIMScheduler()
            scheduler.set_timesteps(10)
            scheduler.timesteps.to("cuda")
            """,
            why="torch is not imported: a scheduler's steps",
            lines=(5,),
        ),
        Example(
            """
            import torch


            def run(train_loader, net, device):
                for batch in train_loader:
                    images, masks = batch["image"], batch["mask"]
                    images.to(device)
                    net(images, masks.to(device))
            """,
            why="names for the entries of a batch",
            lines=(7,),
        ),
        Example(
            """
            import torch


            def test(test_loader, net, device):
                for batch in test_loader:
                    image = batch["image"]
                    image.to(device)
                    net(image)
            """,
            why="a name for an entry of a batch",
            lines=(7,),
        ),
        Example(
            """
            import torch


            def run(loader: torch.utils.data.DataLoader, net, device):
                for step, (img, lab) in enumerate(loader):
                    img.to(device)
                    net(img, lab)
            """,
            why="a parameter that is annotated as torch's loader",
            lines=(6,),
        ),
        Example(
            """
            import torch


            def move(batch, device):
                for key in batch:
                    if isinstance(batch[key], torch.Tensor):
                        batch[key].to(device)
            """,
            why="an entry that is asked for its type",
            lines=(7,),
            fixed="""
            import torch


            def move(batch, device):
                for key in batch:
                    if isinstance(batch[key], torch.Tensor):
                        batch[key] = batch[key].to(device)
            """,
        ),
        Example(
            """
            import torch


            def predict(net, x):
                best, places = torch.max(net(x), 1)
                places.cpu()
                return best, places
            """,
            why="one of two that torch gives",
            lines=(6,),
        ),
        Example(
            """
            import torch


            def sample(model, tokenizer, scheduler, text, device):
                inputs = tokenizer(text, return_tensors="pt")
                inputs["input_ids"].to(device)
                scheduler.set_timesteps(10)
                scheduler.timesteps.to(device)
                ids = model.generate(**inputs)
                ids.to(device)
                return ids
            """,
            why="what libraries promise to be tensors",
            lines=(6, 8, 10),
        ),
        Example(
            """
            import torch
            from torch.nn.utils.rnn import pack_padded_sequence
            from torchvision import transforms

            from data import image, lengths, tokenizer


            def prepare(x, batch, device):
                doubled = torch.ones(2) * 2 - 1
                doubled.to(device)
                other = doubled
                other.cuda()
                packed = pack_padded_sequence(x, lengths)
                packed.to(device)
                ids = tokenizer.encode("text", return_tensors="pt")
                ids.to(device)
                picture = transforms.ToTensor()(image)
                picture.cuda()
                for value in batch.values():
                    if isinstance(value, torch.Tensor):
                        value.to(device)
                loss = x.sum()
                loss.detach().cpu()
                return doubled, other, packed, ids, picture, loss
            """,
            why="arithmetic, another name, packed sequences, token ids, pictures, what is asked for, a chain",
            lines=(10, 12, 14, 16, 18, 21, 23),
        ),
        Example(
            """
            import torch


            class Layer(torch.nn.Module):
                def __init__(self):
                    super().__init__()
                    self.weight = torch.nn.Parameter(torch.rand(3))
                    self.register_buffer("mean", torch.zeros(3))

                def move(self, device):
                    self.weight.to(device)
                    self.mean.to(device)


            def evaluate(model, test_loader, device):
                for i, (inputs, labels) in enumerate(test_loader):
                    inputs.to(device)
                    model(inputs)
            """,
            why="a parameter, a buffer, and what a loader gives",
            lines=(11, 12, 17),
        ),
        Example(
            """
            import torch


            class Noise:
                def __init__(self):
                    self.base = torch.randn(4)

                def move(self, device):
                    self.base.to(device)
            """,
            why="an attribute",
            lines=(9,),
            fixed="""
            import torch


            class Noise:
                def __init__(self):
                    self.base = torch.randn(4)

                def move(self, device):
                    self.base = self.base.to(device)
            """,
        ),
        Example(
            """
            import torch


            def move(x, y, device, wanted):
                if isinstance(x, torch.Tensor) and wanted:
                    x.to(device)
                if wanted and torch.is_tensor(y):
                    y.to(device)
            """,
            why="asked for beside something else",
            lines=(6, 8),
        ),
        Example(
            """
            import torch


            def move(x: torch.Tensor, y: torch.Tensor, device):
                x.to(device); y.to(device)
            """,
            why="two on a line",
            lines=(5, 5),
        ),
        Example(
            """
            import torch


            def move(images: torch.Tensor, labels: "torch.Tensor | None", device):
                images.to(device), labels.to(device)
            """,
            why="two in a tuple that nobody takes",
            lines=(5, 5),
            fixed="""
            import torch


            def move(images: torch.Tensor, labels: "torch.Tensor | None", device):
                images.to(device), labels.to(device)
            """,
        ),
        Example(
            """
            import torch


            def widen(model):
                for name, weight in model.named_parameters():
                    if "norm" in name:
                        weight.to(torch.float32)
                    weight.grad.cpu()
                for entry in model.state_dict().values():
                    entry.cpu()


            def evaluate(model, val_loader):
                for step, batch in enumerate(val_loader):
                    batch["image"].cuda()
                    batch["gt_mask"].to("cuda")
                    model(batch)
            """,
            why="weights that a loop goes over, and entries of a batch",
            lines=(7, 8, 10, 15, 16),
            fixed="""
            import torch


            def widen(model):
                for name, weight in model.named_parameters():
                    if "norm" in name:
                        weight.to(torch.float32)
                    weight.grad = weight.grad.cpu()
                for entry in model.state_dict().values():
                    entry.cpu()


            def evaluate(model, val_loader):
                for step, batch in enumerate(val_loader):
                    batch["image"] = batch["image"].cuda()
                    batch["gt_mask"] = batch["gt_mask"].to("cuda")
                    model(batch)
            """,
        ),
        Example(
            """
            import torch


            def evaluate(model, loader):
                for batch in loader:
                    images, labels = batch
                    labels.cuda()
                    model(images, labels)
            """,
            why="what a batch is taken apart into, and nothing else",
            lines=(7,),
        ),
        Example(
            """
            import torch


            def evaluate(model, loader):
                shift = torch.nn.Parameter(torch.zeros(3))
                shift.cuda()
                for batch in loader:
                    images, labels = batch
                    images.cuda()
                    model(images + shift, labels)
            """,
            why="a parameter, and what a batch is taken apart into",
            lines=(6, 9),
        ),
        Example(
            """
            import torch

            table = torch.zeros(3)
            table = table.unsqueeze(0)


            def restore(net, encoder, words, weights):
                weights["embed.weight"].to(next(net.parameters()).device)
                net.load_state_dict(weights)
                table.cuda()
                found = encoder.encode(words, convert_to_tensor=True)
                found.cpu()
                wrong = found != 0
                wrong.cuda()
                best = torch.topk(found, 3).indices
                best.cpu()
                return net(found, table, wrong, best)


            # %%
            table.cuda()
            # it is on the CPU still
            print(table)
            """,
            why="an entry of a state, a table of the module, sentences as tensors, and inside a cell of a script",
            lines=(8, 10, 12, 14, 16, 21),
        ),
        Example(
            """
            import torch
            from transformers import AutoTokenizer

            tokenizer = AutoTokenizer.from_pretrained("gpt2")
            ids = tokenizer("text", return_tensors="pt").input_ids
            ids.to("cuda")
            """,
            why="what a tokenizer gives under its own name, kept under another",
            lines=(6,),
        ),
        Example(
            """
            import torch


            def move(encoding):
                mask = encoding["attention_mask"]
                mask.cuda()
            """,
            why="an entry of an encoding",
            lines=(6,),
        ),
        Example(
            """
            import torch
            from torch.utils.data import DataLoader
            from tqdm import tqdm


            def first(train_loader, dataset):
                images, labels = next(iter(train_loader))
                images.to("cuda")
                x, y = next(iter(DataLoader(dataset)))
                y.cuda()
                for one, two in tqdm(DataLoader(dataset)):
                    two.cuda()
                return images, labels, x, y
            """,
            why="one batch, taken by hand, and a loop whose progress is shown",
            lines=(8, 10, 12),
        ),
        Example(
            """
            import torch


            def mask(x):
                kept = (x != 0).any(-1)
                kept.to("cuda")
                return kept


            class Sampler:
                def __init__(self):
                    self.grid = torch.linspace(0, 1, 8)

                def place(self, device):
                    self.grid.to(device)
                    grid = self.grid
                    grid.cuda()

                def move(self, device):
                    self.grid = self.grid.to(device)
            """,
            why="what is computed by a method, and an attribute that is moved elsewhere",
            lines=(6, 15, 17),
        ),
        Example(
            """
            import torch as t
            from torchvision.transforms.functional import to_tensor


            def read(image):
                image = to_tensor(image)
                image.to("cuda")
                return image


            def noise():
                x = t.rand(2)
                x.cuda()
                return x
            """,
            why="an image as a tensor, and torch under another name",
            lines=(7, 13),
        ),
        Example(
            """
            import torch


            class Track:
                def start(self, size):
                    self.scores = torch.zeros(size)

                def place(self, device):
                    self.scores.to(device)
            """,
            why="an attribute that another method makes a tensor",
            lines=(9,),
        ),
        Example(
            """
            from dataclasses import dataclass
            from typing import Tuple

            import torch
            from torch import Tensor, nn
            from torch.utils.data import DataLoader
            from torchvision import transforms

            from data import Boxes, read


            @dataclass
            class Batch:
                image: Tensor
                names: list[str]


            @torch.no_grad()
            def prepared(path):
                image = transforms.ToTensor()(read(path))
                return image.unsqueeze(0)


            def noise(shape) -> torch.Tensor:
                return read(shape)


            def move(batch: Batch, pair: Tuple[Tensor, str], several: tuple[Tensor, ...], device):
                batch.image.to(device)
                one, name = pair
                one.to(device)
                first, second = several
                second.cuda()
                return batch, one, first, second


            def train(loader, net, device):
                net.train()
                for step, (images, boxes) in enumerate(loader):
                    boxes.to(device)
                    net(images, boxes)


            class Run:
                def __init__(self):
                    self.boxes = DataLoader(Boxes(), batch_size=4)

                def go(self, net, device):
                    for pictures, boxes in self.boxes:
                        boxes.to(device)
                        out = net(pictures)
                        out.last_hidden_state.cpu()

                def begin(self, net, device):
                    net.train()
                    self.train(DataLoader(Boxes(), batch_size=4), device)
                    drawn = self.draw(2)
                    drawn.to(device)

                def train(self, loader, device):
                    for pictures, boxes in loader:
                        boxes.to(device)

                @staticmethod
                def draw(size):
                    return torch.randn(size)


            style, content = torch.zeros(2), read("a.png")
            style.to("cuda")
            picture = prepared("b.png")
            picture.to("cuda")
            start = noise((2, 2))
            start.to("cuda")
            boxes = DataLoader(Boxes(), batch_size=4)
            train(boxes, nn.Linear(2, 2), "cuda")
            """,
            why="told by a class, by annotations of several, by what helpers return, and by whoever passes the loader",
            lines=(
                29,
                31,
                33,
                40,
                50,
                52,
                58,
                62,
                70,
                72,
                74,
            ),
        ),
        Example(
            """
            import tensorflow as tf
            import torch
            from torch import nn

            from data import make


            def chained(net, x, y, device):
                net.train().cuda()
                make(x).to(device)
                tf.squeeze(x).cuda()
                (x + y).to(device)
                x.detach().cuda()


            def asked(x, y, z, ready, device):
                if ready:
                    x.to(device)
                if isinstance(x, torch.Tensor) or ready:
                    x.to(device)
                if isinstance(y, torch.Tensor):
                    x.to(device)
                    y.to(device)
                if make(x, torch.Tensor):
                    x.to(device)
                if isinstance(x, nn.Module):
                    x.to(device)
                ready.timesteps.to(device)
                z.to(device)
                z = torch.zeros(2)


            def bound(x, network: nn.Module, anything: object, device):
                tensor: torch.Tensor = make()
                unsure: object = make()
                made = make()
                one, two = make()
                alias = x
                for number in range(3):
                    with make() as file:
                        tensor.to(device)
                network.to(device)
                anything.to(device)
                unsure.to(device)
                made.to(device)
                one.to(device)
                alias.to(device)
                anything.squeeze(), unsure.squeeze(), made.squeeze(), one.squeeze(), alias.squeeze()
                for item in made:
                    item.to(device)
                    item.squeeze()
            """,
            why="beside what is asked for its type, annotated, or bound in ways that show nothing",
            lines=(13, 23, 41, 43, 44, 45, 46, 50),
        ),
        Example(
            """
            import torch
            from torch.utils.data import DataLoader

            from data import Images, make

            net = make()
            weights = torch.zeros(2)
            with make() as weights:
                pass
            later.to("cuda")
            later = torch.zeros(2)


            class Batch:
                images: torch.Tensor


            class Base:
                def make(self):
                    raise NotImplementedError

                def run(self, device):
                    made = self.make()
                    made.to(device)


            class Run:
                def __init__(self, device):
                    self.loader = make()
                    self.device = device

                def train(self, loader):
                    for images, labels in self.loader:
                        images.to(self.device)
                    for one, two in self.loader:
                        one.to(self.device)
                    for kept, dropped in loader:
                        kept.to(self.device)

                def test(self, loader):
                    for one, two in loader:
                        one.to(self.device)


            def grow(size):
                if size:
                    return grow(size - 1)
                return torch.zeros(size)


            def maybe(size):
                if size:
                    return
                return torch.zeros(size)


            def outer(later, device):
                def inner():
                    later.to(device)

                inner()
                net.to(device)
                weights.to(device)


            def read(batch: Batch, other, given: Batch, state, names: None, device):
                given = make()
                given.images.to(device)
                batch.other.to(device)
                other.images.to(device)
                other.weights.to(device)
                names.to(device)
                other.load_state_dict(state)
                state["weight"].to(device)
                other.weights = torch.zeros(2)


            grown = grow(2)
            grown.to("cuda")
            maybe_none = maybe(2)
            maybe_none.to("cuda")
            Run("cuda").train(DataLoader(Images()))
            Run("cuda").test(make())
            """,
            why="beside names of the file, attributes and helpers that hold no tensor for certain",
            lines=(34, 38, 74),
        ),
        Example(
            """
            import torch
            from torch import nn
            from torch.utils.data import DataLoader

            from data import Graphs, Images, collate, loader, make, net


            def parts(pair: tuple[torch.Tensor, nn.Module], several: list[torch.Tensor], any_pair: tuple, device):
                x, network = pair
                network.to(device)
                y, z = several
                z.to(device)
                a, b = any_pair
                a.to(device)
                c, d, e = pair
                e.to(device)
                *f, g = torch.zeros(2), torch.zeros(2), net
                g.to(device)
                h, i = torch.zeros(2), net
                i.to(device)


            def graphs(both: Graphs[torch.Tensor], train_loader, device):
                graph, other = both
                graph.to(device)
                for images, (boxes, labels) in train_loader:
                    images.to(device)


            def batches(items, first, device):
                for batch in items:
                    batch["image"].to(device)
                inputs, labels = first(iter(loader))
                inputs.to(device)
                images, targets = make(iter(loader))
                images.to(device)
                collated = DataLoader(Images(), collate_fn=collate)
                for images, labels in collated:
                    images.to(device)
                own_loader = DataLoader(Images())
                own_loader = make(own_loader)
                for images, labels in own_loader:
                    images.to(device)
                for one, two in loader:
                    one.to(device)
                for item in enumerate(loader):
                    item[1].to(device)
                for item in net.named_parameters():
                    item.to(device)


            def given_loader(loader, device):
                for one, two in loader:
                    one.to(device)


            given_loader(DataLoader(Images()), "cuda")
            """,
            why="beside what other loops and pairs give",
            lines=(12, 54),
        ),
        Example(
            """
            from __future__ import annotations

            from torch import Tensor, nn, zeros


            class Net(nn.Module):
                def hidden(self, n):
                    return zeros(1, n, 3), zeros(1, n, 3)

                def forward(self, x):
                    h, c = self.hidden(len(x))
                    h.to(x.device)
                    return x + h + c.to(x.device)


            def pair() -> tuple[Tensor, int]:
                return zeros(3), 3


            def moved(device):
                start, count = pair()
                start.to(device)
                y = zeros(count)
                y.to(device)
            """,
            why="without torch in front, and one of two that a helper gives",
            lines=(12, 22, 24),
        ),
        Example(
            """
            from torch import Tensor


            def moved(tensors: list[Tensor], pair: tuple[Tensor, ...], device):
                for each in tensors:
                    each.to(device)
                for other in pair:
                    other.to(device)
            """,
            why="one of an annotated list",
            lines=(6, 8),
        ),
    )
    valid = (
        Example(
            """
            import torch


            def move(batch, other, device):
                for key in batch:
                    if isinstance(other[key], torch.Tensor):
                        batch[key].to(device)
                first, second = torch.nn.Linear(2, 2), torch.max
                first.to(device)
                third, fourth = other.max(batch, 1)
                fourth.to(device)
            """,
            why="an entry of another dict is asked for its type, and pairs of other things",
        ),
        Example(
            """
            import torch
            from torch_geometric.loader import DataLoader


            def run(one: torch.utils.data.DataLoader, two: DataLoader, three, net, device):
                for graph, lab in one:
                    graph.to(device)
                for img, lab in two:
                    img.to(device)
                for image in one:
                    image.to(device)
                for batch in three:
                    mask = batch["mask"]
                    mask.to(device)
            """,
            why="what torch's loader may give besides, and what other loaders give",
        ),
        Example(
            """
            import torch
            from torch_geometric.data import Batch


            def test(model, device, test_loader):
                for data, target in test_loader:
                    data.to(device)
                    model(data, target.to(device))
            """,
            why="data that is a graph",
        ),
        Example(
            """
            import torch

            from networks import build, tell


            class Runner:
                def __init__(self, device):
                    self.add_module("net", build())
                    self.net.to(device)


            def run(one, two, three, state, options, graph_loader, device):
                if isinstance(one, torch.Tensor):
                    tell(one)
                else:
                    one.to(device)
                two.detach()
                three.to(device)
                net = build()
                net.load_state_dict(state)
                options["first"].to(device)
                limit: torch.Tensor = tell(net)
                net.to(device)
                for name, part in build().items():
                    part.to(device)
                graph, label = next(iter(graph_loader))
                graph.to(device)
                last = torch.zeros(2)
                with build() as last:
                    last.to(device)
                other = tell(limit)
                tell(other.detach())
                other = build()
                other.to(device)
            """,
            why="what stands beside a tensor, or takes its name",
        ),
        Example(
            """
            import torch

            nets = {"one": torch.nn.Linear(2, 2)}
            for net in nets:
                nets["one"].cuda()


            def encode(encoder, text):
                found = encoder.encode(text, convert_to_tensor=False)
                found.cpu()
                nets["one"].cpu()


            # %% Where is it?
            x = torch.zeros(2)
            x.to("cuda")

            # There.
            # %%
            x.cpu()
            """,
            why="what an editor shows at the end of a cell, and modules in a dict",
        ),
        Example(
            """
            import torch


            def evaluate(model, val_loader, parts):
                for name, part in model.named_children():
                    part.cuda()
                parts["mask"].cuda()
                for batch in val_loader:
                    batch["inputs"].to("cuda")
                    model(batch)
            """,
            why="layers, a dict of models, an encoding in a batch",
        ),
        Example(
            """
            import torch


            class Trainer:
                def place(self, batch, device):
                    self.model.to(device)
                    images = batch["images"].unsqueeze(0)
                    return images.to(device)
            """,
            why="a module that is no attribute of this class, and a tensor that is returned",
        ),
        Example(
            """
            import torch

            from networks import make

            model = torch.nn.Linear(2, 2)
            model.to("cuda")
            model.cuda()
            frozen = make().requires_grad_(False)
            frozen.to("cuda")
            x = torch.zeros(2).to("cuda")
            x = x.to("cuda")
            torch.zeros(1).cuda()
            """,
            why="a module, results that are used, and one that wakes the device up",
        ),
        Example(
            """
            import torch


            def run(pipe, tokenizer, batch, models, text, device):
                pipe.to(device)
                inputs = tokenizer(text, return_tensors="pt")
                inputs.to(device)
                batch.to(device)
                models["unet"].to(device)
                for model in models.values():
                    model.to(device)
                for data in batch:
                    data.to(device)
                    torch.view_as_real(data.x)
            """,
            why="pipelines, encodings and batches",
        ),
        Example(
            """
            import torch
            from torch.utils.data import DataLoader

            from data import Graphs, collate

            loader = DataLoader(Graphs(), collate_fn=collate)
            for graph, label in loader:
                graph.to("cuda")
            for batch in DataLoader(Graphs()):
                batch.to("cuda")
            for graph, label in DataLoader(Graphs(), **options):
                graph.to("cuda")
            x, y = next(iter(DataLoader(Graphs(), **options)))
            x.to("cuda")
            """,
            why="batches that may be anything",
        ),
        Example(
            """
            import torch


            def run(x, net):
                x = torch.zeros(2)
                x = net
                x.to("cuda")
            """,
            why="the name is bound to something else",
        ),
        Example(
            """
            import torch


            class Holder:
                def __init__(self, net):
                    self.part = torch.zeros(2)
                    if net:
                        self.part = net

                def move(self, device):
                    self.part.to(device)
            """,
            why="an attribute that may be a module",
        ),
        Example(
            """
            import torch


            def run(graph_loader, pairs, device):
                for graph, label in graph_loader:
                    graph.to(device)
                for x, y in pairs:
                    x.to(device)
                wanted = graph if label else torch.zeros(1)
                wanted.to(device)
            """,
            why="what a loop unpacks from anything, and what may be something else",
        ),
        Example(
            """
            import torch


            class Holder:
                def __init__(self, parts):
                    self.part = parts[0]

                def move(self, parts, graphs, device):
                    self.part = self.part.to(device)
                    self.part.to(device)
                    model = parts.clone()
                    model.to(device)
                    graph, label = next(iter(graphs))
                    graph.to(device)
            """,
            why="an attribute of which nothing is known, a copy, and a graph",
        ),
        Example(
            """
            from dataclasses import dataclass
            from typing import Tuple, Union

            import torch
            from torch import Tensor, nn
            from torch.utils.data import DataLoader

            from data import Boxes, Graphs, read


            @dataclass
            class Batch:
                image: Tensor
                graph: Graphs


            def prepared(path):
                if path.endswith(".png"):
                    return torch.zeros(2)
                return read(path)


            def layer():
                return nn.Linear(2, 2)


            def move(batch: Batch, pair: Tuple[Graphs, Tensor], either: Union[Tuple[Tensor, Tensor], Graphs], device):
                batch.graph.to(device)
                one, two = pair
                one.to(device)
                first, second = either
                second.cuda()
                return batch, one, two, first, second


            def train(loader, net, device):
                for step, (images, boxes) in enumerate(loader):
                    boxes.to(device)
                    net(images, boxes)


            graph, content = read("a.png"), torch.zeros(2)
            graph.to("cuda")
            picture = prepared("b.png")
            picture.to("cuda")
            net = layer()
            net.to("cuda")
            train(DataLoader(Boxes(), batch_size=4), net, "cuda")
            train(Graphs(), net, "cuda")
            """,
            why="other fields, elements, helpers and loaders",
        ),
        Example(
            """
            import torch
            from torch import nn
            from torch.utils.data import DataLoader

            from base import Base, remote
            from data import Boxes, graphs


            def noise(shape):
                return torch.zeros(shape)


            @remote
            def later(shape):
                return torch.zeros(shape)


            class Other:
                def make(self):
                    return torch.zeros(2)


            class Run(Base):
                def __init__(self, device):
                    self.logits = nn.Linear(2, 2)
                    self.logits.to(device)

                def start(self, device):
                    first = self.noise(2)
                    first.to(device)
                    second = self.make()
                    second.to(device)
                    self.train(DataLoader(Boxes()), device)

                def train(self, loader, device):
                    for images, boxes in loader:
                        boxes.to(device)


            def twice(shape):
                return torch.zeros(shape)


            twice = remote(twice)
            both = twice(2)
            both.to("cuda")


            def pick(make, device):
                part = make(2)
                part.to(device)


            third = later(2)
            third.to("cuda")
            Run("cpu").train(graphs(), "cpu")
            """,
            why="methods of other classes, a helper that is changed, a loader passed from outside, and a head",
        ),
        Example(
            """
            from __future__ import annotations

            import torch
            from torch import nn, zeros

            from data import batch


            def build():
                return nn.Linear(3, 3), zeros(3)


            def several(x):
                if x is None:
                    return zeros(3), zeros(3)
                return batch(x)


            def three():
                return *batch(3), zeros(3)


            def parts(encodings: list[torch.Tensor, dict], modules: list[nn.Module], device):
                net, x = build()
                net.to(device)
                y, z = several(x)
                y.to(device)
                a, b, c = three()
                b.to(device)
                for encoding in encodings:
                    encoding.to(device)
                for module in modules:
                    module.to(device)
                return net(x), z, a, c
            """,
            why="a module beside a tensor that a helper gives, and lists of what may be none",
        ),
    )
