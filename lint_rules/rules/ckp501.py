"""CKP501: a tensor is moved and the result thrown away."""

from __future__ import annotations

import ast
import re
from typing import TYPE_CHECKING, cast

from lint_rules.knowledge import COMPUTES, ONLY_TENSORS
from lint_rules.prefilter import may_be_notebook, places
from lint_rules.rule import Edit, Example, Finding, Fix, Rule

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import libcst as cst

    from lint_rules.engine import Context
    from lint_rules.names import Scope
    from lint_rules.outline import Outline

_MOVES = frozenset({"to", "cuda", "cpu"})
_TENSOR_TYPES = re.compile(r"torch\.(\w*Tensor)$|(torchtyping|jaxtyping)\.\w+$")
_LOADER = "torch.utils.data.DataLoader"
#: What libraries promise to be tensors under these names.
_TENSOR_KEYS = frozenset({"input_ids", "attention_mask", "token_type_ids", "pixel_values"})

_SHOWS = "|".join(sorted(ONLY_TENSORS)).encode()
_COMPUTES = "|".join(sorted(COMPUTES)).encode()
_PARAMETERS = frozenset({"torch.nn.Parameter", "torch.nn.parameter.Parameter"})
#: What a loop over batches calls the tensors that it unpacks, and what it loops over.
_UNPACKED = re.compile(r"(x|y|X|Y|img|image|input|label|target)s?$")
_BATCHES = re.compile(r"loader|dataloader|batches|data_iter|train_iter|test_iter", re.IGNORECASE)
#: What a batch that is a dict calls the tensors in it; an encoding or a graph in it would be moved in place.
_ENTRIES = re.compile(r"(\w+_)?(img|image|pixel_value|label|target|mask|video|audio|depth)s?$|[xy]$")
#: What gives the weights of a module; the last two those of its state.
_WEIGHTS = frozenset({"parameters", "buffers", "values"})
_NAMED_WEIGHTS = frozenset({"named_parameters", "named_buffers", "items"})

_MOVED = re.compile(rb"\.(?:to|cuda|cpu)\(")
_ALONE = re.compile(rb"[\"\s(]*(?:[\w.]+\.(?:to|cuda|cpu)\([^()\n]*\), *)*([A-Za-z_][\w.]*)(\[[^\]\n]*\])?$")
#: A line that the next one continues, and the rest of a line that ends with the call or inside its arguments.
_OPEN = re.compile(rb"(?:[(\[{,=+\-*/|&<>\\]|\b(?:and|or|not|in|is|if|else|return))[ \t]*(?:\\n\",)?\r?\n$")
_LAST = re.compile(
    rb"(?:[^\n()]|\((?:[^\n()]|\([^\n()]*\))*\))*(?:\)[ \t]*(?:[#;,][^\n]*|(?:\\n)?\",?)?|\(?)\r?(?:\n|$)"
)
#: What stands behind a name that is a tensor, ...
_EVIDENT = re.compile(
    rb"\.(?:" + _SHOWS + rb")\("
    rb"|\s*:\s*(?:Optional\[)?[\"']?(?:\w+\.)?\w*Tensor\b"
    rb"|\s*=[^=\n]*(?:torch\.(?!nn\.[A-Z]|compile|load|jit|hub|optim|device|Gen)[\w.]+\(|[Tt]ensor\(|Parameter\(|_sequence\()"
    rb"|\s*=(?!=)[^\n]*\.(?:generate|encode|" + _COMPUTES + rb"|" + _SHOWS + rb")\("
    rb"|\s*=(?!=)[^\n]*\b(?:" + "|".join(sorted(_TENSOR_KEYS)).encode() + rb")\b"
)
#: ... on both sides of it, ...
_TESTED = {
    b"isinstance(": re.compile(rb", (?:torch\.)?Tensor"),
    b"is_tensor(": re.compile(rb"\b"),
    b"register_buffer('": re.compile(rb"'"),
    b'register_buffer("': re.compile(rb'"'),
    b"load_state_dict(": re.compile(rb"[,)]"),
}
#: ... or on those of what a loop unpacks.
_LOOPED = re.compile(rb"\b[^\n]* in [^\n]*(?:[Ll]oader|batches|_iter|parameters\(|buffers\(|state_dict\()")
_TAKEN_APART = re.compile(rb"[ \t\"]*\(?\w+(?:\s*,\s*\w+)+,?[\s\\]*\)?[\s\\]*=\s*(?:\w+\b(?![.(\[])|next\()")
_CHAINED = re.compile(rb"[ \t\"]*[\w.]+\.(?:" + _SHOWS + rb")\([^()\n]*\)$")
#: Where a cell of a script begins; a notebook's cell whose lines stand in one string.
_CELL = re.compile(r"^# ?%%", re.MULTILINE)
_WHOLE_CELL = re.compile(rb"\"source\": ?\[?\"[^\"]")


def _may_move_tensor(data: bytes) -> bool:
    """Tell whether a statement may move a tensor; cheap, and often wrong."""
    lines = not may_be_notebook(data)  # a notebook's JSON breaks lines in its own way
    if not lines and _WHOLE_CELL.search(data) is not None:
        return True
    names: set[bytes] = set()
    for found in _MOVED.finditer(data):
        line = data.rfind(b"\n", 0, found.start()) + 1
        before = data[line : found.start()]
        alone, chained = _ALONE.match(before), before.endswith(b")") and _CHAINED.match(before)
        if not (alone or chained) or (lines and _OPEN.search(data[max(line - 200, 0) : line])):
            continue
        if chained:
            return True
        if alone and _LAST.match(data, found.end()):
            names.add(alone[1].rpartition(b".")[2])
            names.add((alone[2] or alone[1].rpartition(b".")[2]).strip(b"[]\"'\\"))
    return any(
        (name == b"timesteps" and b".set_timesteps(" in data)
        or name.decode(errors="replace") in _TENSOR_KEYS
        or any(_is_evident(data, start, start + len(name)) for start in places(data, name))
        for name in names
    )


def _is_evident(data: bytes, start: int, end: int) -> bool:
    """Tell whether what stands around a name says that it is a tensor."""
    tests = (after for before, after in _TESTED.items() if data.startswith(before, max(start - len(before), 0)))
    if _EVIDENT.match(data, end) or any(after.match(data, end) for after in tests):
        return True
    line = data.rfind(b"\n", 0, start) + 1
    if data.find(b"for ", line, start) >= 0 and _LOOPED.match(data, end) is not None:
        return True
    return _TAKEN_APART.match(data, line) is not None


def _moved(outline: Outline) -> list[ast.expr]:
    """Give what is moved by a statement that does nothing else."""
    alone = outline.alone.union(*(each.elts for each in outline.alone if isinstance(each, ast.Tuple)))
    moves = (call for method in _MOVES for call in outline.methods(method) if call in alone)
    return [cast("ast.Attribute", call.func).value for call in moves]


def _may_be_tensor(moved: ast.expr, outline: Outline) -> bool:
    """Tell whether what is moved may be a tensor for certain: an attribute has to be assigned, or be known by name."""
    if isinstance(moved, ast.Attribute):
        known = moved.attr in {*_TENSOR_KEYS, "timesteps", "data", "grad"} or moved.attr in outline.members
        return known or bool(outline.methods("register_buffer"))
    if isinstance(moved, ast.Call):
        return isinstance(moved.func, ast.Attribute) and moved.func.attr in ONLY_TENSORS
    return isinstance(moved, (ast.Name, ast.Subscript))


def _is_shown(call: cst.Call, context: Context) -> bool:
    """Tell whether an editor or notebook shows what a statement gives, for it is the last of its cell."""
    line, column, end, _ = context.span(call)
    text = context.text(None)
    if line in context.shown or column != 1 or _CELL.search(text) is None:
        return line in context.shown
    after = text.split("\n")[end:]
    code = (each for each in after if each.strip() and (_CELL.match(each) or not each.startswith("#")))
    return _CELL.match(next(code, "# %%")) is not None


class _Attributes:
    """What the classes of a file assign to attributes of `self`, and what they register as buffers."""

    def __init__(self, context: Context) -> None:
        import libcst as cst

        from lint_rules.tree import dotted, text_of, walk

        self._context = context
        self._values: dict[str, list[tuple[cst.BaseExpression, Scope]]] = {}
        self._registered: set[str] = set()
        for function in walk(context.tree):
            if isinstance(function, cst.FunctionDef):
                for node in walk(function.body):
                    if isinstance(node, cst.Assign):
                        for target in node.targets:
                            name = dotted(target.target)
                            if name and name.startswith("self."):
                                self._values.setdefault(name, []).append((node.value, context.names.scope(function)))
                    elif isinstance(node, cst.Call) and dotted(node.func) == "self.register_buffer" and node.args:
                        self._registered.add(f"self.{text_of(node.args[0].value)}")

    def is_tensor(self, name: str) -> bool:
        """Tell whether an attribute is given nothing but tensors, or moved ones of its own."""
        values = self._values.get(name, [])
        return name in self._registered or (
            any(self._gives(*value) for value in values) and all(self._gives(*value, name) for value in values)
        )

    def is_global_tensor(self, name: str, scope: Scope) -> bool:
        """Tell whether a function reads a name to which the module binds nothing but tensors."""
        import libcst as cst

        owner = scope.owner(name)
        values = owner.bindings.get(name, []) if owner is not None and owner is scope.module else []
        given = [(value, owner) for value in values if isinstance(value, cst.BaseExpression) and owner is not None]
        return (
            len(given) == len(values)
            and any(self._gives(*each) for each in given)
            and all(self._gives(*each, name) for each in given)
        )

    def _gives(self, value: cst.BaseExpression, scope: Scope, itself: str = "") -> bool:
        import libcst as cst

        from lint_rules.tensors import Tensors

        names = self._context.names
        if isinstance(value, cst.Call) and names.resolve(value.func, scope) in _PARAMETERS:
            return True
        return Tensors(names, scope, lambda name: name == itself, moved=True).gives(value)


class _Block:
    """The code of one function, or of the module outside its functions."""

    def __init__(self, body: cst.FunctionDef | cst.Module, context: Context, attributes: _Attributes) -> None:
        import libcst as cst

        from lint_rules.evidence import own

        self.scope = context.names.scope(body)
        self._context = context
        self._attributes = attributes
        self._nodes = list(own(body.body if isinstance(body, cst.FunctionDef) else body))
        self._order = {node: number for number, node in enumerate(self._nodes)}
        self._bound: dict[str, list[tuple[int, cst.BaseExpression | bool | None]]] = {}
        self._judged: dict[tuple[str, int], bool] = {}
        self._parameters = body.params if isinstance(body, cst.FunctionDef) else None

    def moves(self) -> Iterator[tuple[cst.Call, cst.BaseExpression]]:
        """Yield the calls that move something and give it to nobody, and what they move."""
        import libcst as cst

        for node in self._nodes:
            if not isinstance(node, cst.Expr):
                continue
            several = node.value.elements if isinstance(node.value, cst.Tuple) else ()
            for call in (node.value, *(each.value for each in several)):
                if not isinstance(call, cst.Call) or not isinstance(call.func, cst.Attribute):
                    continue
                if call.func.attr.value in _MOVES:
                    yield call, call.func.value

    def is_statement(self, call: cst.Call) -> bool:
        """Tell whether a call is a statement of its own."""
        import libcst as cst

        return any(isinstance(node, cst.Expr) and node.value is call for node in self._nodes)

    def is_tensor(self, target: cst.BaseExpression, call: cst.Call) -> bool:
        """Tell whether what is moved is a tensor for certain."""
        import libcst as cst

        from lint_rules.tree import dotted, text_of

        if isinstance(target, cst.Name):
            return self._is_tensor_name(target.value, self._order[call]) or self._is_checked(target.value, call)
        if isinstance(target, cst.Call):
            return self._is_chained(target)
        if isinstance(target, cst.Subscript) and isinstance(target.slice[0].slice, cst.Index):
            key = text_of(target.slice[0].slice.value) or ""
            if key and self._is_loaded(target.value):
                return True
            return key in _TENSOR_KEYS or (_ENTRIES.match(key) is not None and self._is_of_batch(target.value))
        if isinstance(target, cst.Attribute):
            if target.attr.value == "timesteps":
                return self._sets_timesteps(dotted(target.value))
            if target.attr.value in {"data", "grad"} and isinstance(target.value, cst.Name):
                return self.is_tensor(target.value, call)
            return target.attr.value in _TENSOR_KEYS or self._attributes.is_tensor(dotted(target) or "")
        return False

    def _is_chained(self, target: cst.Call) -> bool:
        """Tell whether a method that only tensors have was called on a name of the code: `loss.detach().cpu()`."""
        import libcst as cst

        from lint_rules.tree import dotted

        if not isinstance(target.func, cst.Attribute) or target.func.attr.value not in ONLY_TENSORS:
            return False
        return dotted(target.func.value) is not None and self._context.names.resolve(target.func, self.scope) is None

    def _is_loaded(self, value: cst.BaseExpression) -> bool:
        """Tell whether a name is given to `load_state_dict`, so that it holds tensors under the names of weights."""
        import libcst as cst

        from lint_rules.tree import argument, method_of

        loads = (node for node in self._nodes if isinstance(node, cst.Call) and method_of(node) == "load_state_dict")
        states = (argument(node, 0, "state_dict") for node in loads)
        return isinstance(value, cst.Name) and any(
            isinstance(state, cst.Name) and state.value == value.value for state in states
        )

    def _is_checked(self, name: str, call: cst.Call) -> bool:
        """Tell whether a statement stands where `isinstance(name, torch.Tensor)` holds."""
        import libcst as cst

        from lint_rules.tree import walk

        return any(
            isinstance(node, cst.If) and self._asks(node.test, name) and any(each is call for each in walk(node.body))
            for node in self._nodes
        )

    def _asks(self, test: cst.BaseExpression, name: str) -> bool:
        import libcst as cst

        if isinstance(test, cst.BooleanOperation) and isinstance(test.operator, cst.And):
            return self._asks(test.left, name) or self._asks(test.right, name)
        if not isinstance(test, cst.Call) or not test.args or not _names_in(test.args[0].value, name):
            return False
        asked = self._context.names.resolve(test.func, self.scope)
        if asked == "builtins.isinstance" and len(test.args) == 2:  # noqa: PLR2004 -- what isinstance takes
            return self._is_type(test.args[1].value)
        return asked == "torch.is_tensor"

    def _sets_timesteps(self, scheduler: str | None) -> bool:
        import libcst as cst

        from lint_rules.tree import dotted

        called = {dotted(node.func) for node in self._nodes if isinstance(node, cst.Call)}
        return scheduler is not None and f"{scheduler}.set_timesteps" in called

    def _is_tensor_at(self, name: str, place: int) -> bool:
        return self._attributes.is_tensor(name) if "." in name else self._is_tensor_name(name, place)

    def _is_tensor_name(self, name: str, place: int) -> bool:
        """Judge a name by what it was bound to last, or else by what is done with it."""
        import libcst as cst

        if name not in self._bound:
            self._bound[name] = sorted(self._bindings(name), key=lambda binding: binding[0])
        bindings = [(order, shows) for order, shows in self._bound[name] if order < place]
        if not bindings:
            return self._parameters is not None and self._attributes.is_global_tensor(name, self.scope)
        order, shows = bindings[-1]
        if (name, order) not in self._judged:
            self._judged[name, order] = False  # what a name is bound to through itself shows nothing
            proven = self._shows(shows, order) if isinstance(shows, cst.BaseExpression) else shows
            self._judged[name, order] = self._is_used_as_tensor(name, bindings) if proven is None else proven
        return self._judged[name, order]

    def _bindings(self, name: str) -> Iterator[tuple[int, cst.BaseExpression | bool | None]]:
        """Yield where a name is bound, to what, or whether that shows a tensor; None where it shows nothing."""
        import libcst as cst

        params = self._parameters
        for param in (*params.posonly_params, *params.params, *params.kwonly_params) if params else ():
            if param.name.value == name:
                yield -1, (param.annotation is not None and self._is_type(param.annotation.annotation)) or None
        for order, node in enumerate(self._nodes):
            if isinstance(node, cst.Assign):
                for target in node.targets:
                    if isinstance(target.target, cst.Name) and target.target.value == name:
                        yield order, node.value
                    elif _names_in(target.target, name):
                        of_batch = self._is_of_batch(node.value) or self._is_next_batch(node.value)
                        yield order, (of_batch and _are_batched(target.target)) or None
            elif isinstance(node, cst.AnnAssign) and isinstance(node.target, cst.Name) and node.target.value == name:
                yield order, self._is_type(node.annotation.annotation) or None
            elif isinstance(node, cst.For) and _names_in(node.target, name):
                found = self._is_batch(node) or self._is_unpacked(node, name) or _is_weight(node, name)
                yield order, found or None
            elif isinstance(node, cst.AsName) and _names_in(node.name, name):
                yield order, False

    def _shows(self, value: cst.BaseExpression, place: int) -> bool | None:
        import libcst as cst

        from lint_rules.tensors import Tensors

        names = self._context.names
        tensors = Tensors(names, self.scope, lambda name: self._is_tensor_at(name, place), moved=True)
        if tensors.gives(value):
            return True
        if isinstance(value, cst.Call) and names.resolve(value.func, self.scope) in _PARAMETERS:
            return True
        if _key(value) in _TENSOR_KEYS:
            return True
        return False if isinstance(value, (cst.Name, cst.Attribute)) else None

    def _is_used_as_tensor(self, name: str, bindings: Sequence[object]) -> bool:
        """Tell whether something is done with a name that only tensors allow; only if it always is the same thing."""
        import libcst as cst

        if len(bindings) > 1:
            return False
        for node in self._nodes:
            if isinstance(node, cst.Call) and isinstance(node.func, cst.Attribute):
                function = node.func
                if function.attr.value in ONLY_TENSORS and _names_in(function.value, name):
                    return True
        return False

    def _is_type(self, annotation: cst.BaseExpression) -> bool:
        names = self._context.names
        types = names.admitted(annotation, self.scope)
        return bool(types) and all(_TENSOR_TYPES.match(names.resolve(each, self.scope) or "") for each in types)

    def goes_over(self, name: str) -> bool:
        """Tell whether a loop over weights binds a name, so that binding it again changes no weight."""
        import libcst as cst

        return any(isinstance(node, cst.For) and _is_weight(node, name) for node in self._nodes)

    def _is_of_batch(self, value: cst.BaseExpression) -> bool:
        """Tell whether a name is what a loop over a loader gives."""
        import libcst as cst

        loops = (node for node in self._nodes if isinstance(node, cst.For))
        batches = (_batch(loop) for loop in loops)
        return isinstance(value, cst.Name) and any(
            isinstance(batch, cst.Name) and batch.value == value.value and _BATCHES.search(source)
            for source, batch in batches
        )

    def _is_next_batch(self, value: cst.BaseExpression) -> bool:
        """Tell whether an expression takes one batch from a loader: `next(iter(loader))`."""
        import libcst as cst

        from lint_rules.tree import dotted

        names = self._context.names
        for function in ("builtins.next", "builtins.iter"):
            if not isinstance(value, cst.Call) or names.resolve(value.func, self.scope) != function or not value.args:
                return False
            value = value.args[0].value
        if isinstance(value, cst.Call):
            return names.resolve(value.func, self.scope) == _LOADER and not any(map(_collates, value.args))
        return _BATCHES.search(dotted(value) or "") is not None

    def _is_unpacked(self, loop: cst.For, name: str) -> bool:
        """Tell whether a loop unpacks images and labels from a loader that the file is given; graphs are named so."""
        source, inner = _batch(loop)
        owner = self.scope.owner(source) if source.isidentifier() else None
        given = owner is None or owner.bindings.get(source) == [None]
        return given and _names_in(inner, name) and _are_batched(inner) and _BATCHES.search(source) is not None

    def _is_batch(self, loop: cst.For) -> bool:
        """Tell whether a loop unpacks what a `DataLoader` collates in its own way."""
        import libcst as cst

        names = self._context.names
        iterated: cst.BaseExpression = loop.iter
        target: cst.BaseExpression = loop.target
        if isinstance(iterated, cst.Call) and names.resolve(iterated.func, self.scope) == "builtins.enumerate":
            iterated = iterated.args[0].value if iterated.args else iterated
            if not isinstance(target, cst.Tuple) or len(target.elements) <= 1:
                return False
            target = target.elements[1].value
        if not isinstance(target, (cst.Tuple, cst.List)):
            return False
        if isinstance(iterated, cst.Name):
            owner = self.scope.owner(iterated.value)
            bound = owner.bindings.get(iterated.value, []) if owner else []
            made = bound[0] if len(bound) == 1 else None
        else:
            made = iterated
        if not isinstance(made, cst.Call) or any(arg.star or _collates(arg) for arg in made.args):
            return False
        return names.resolve(made.func, self.scope) == _LOADER


def _key(value: cst.BaseExpression) -> str:
    """Give the name under which an attribute, or an entry of a dict, is read."""
    import libcst as cst

    from lint_rules.tree import text_of

    if isinstance(value, cst.Attribute):
        return value.attr.value
    index = value.slice[0].slice if isinstance(value, cst.Subscript) else None
    return (text_of(index.value) or "") if isinstance(index, cst.Index) else ""


def _batch(loop: cst.For) -> tuple[str, cst.CSTNode]:
    """Give what a loop goes over, seen through `enumerate` and `tqdm`, and what it calls one of these things."""
    import libcst as cst

    from lint_rules.tree import dotted

    iterated: cst.BaseExpression = loop.iter
    target: cst.CSTNode = loop.target
    while isinstance(iterated, cst.Call) and iterated.args and dotted(iterated.func) in {"enumerate", "tqdm"}:
        if dotted(iterated.func) == "enumerate" and isinstance(target, cst.Tuple):
            target = target.elements[-1].value
        iterated = iterated.args[0].value
    return dotted(iterated) or "", target


def _are_batched(target: cst.CSTNode) -> bool:
    """Tell whether several names are called as what a loader collates is called."""
    import libcst as cst

    elements = [each.value for each in target.elements] if isinstance(target, cst.Tuple) else []
    names = [each.value for each in elements if isinstance(each, cst.Name)]
    return len(names) > 1 and all(map(_UNPACKED.match, names))


def _is_weight(loop: cst.For, name: str) -> bool:
    """Tell whether a loop over the parameters or buffers of a module gives one of them this name."""
    import libcst as cst

    from lint_rules.tree import method_of

    iterated = loop.iter
    method = method_of(iterated) if isinstance(iterated, cst.Call) else None
    if method in {"items", "values"} and isinstance(iterated, cst.Call) and isinstance(iterated.func, cst.Attribute):
        inner = iterated.func.value
        if not isinstance(inner, cst.Call) or method_of(inner) != "state_dict":
            return False
    target: cst.CSTNode = loop.target
    if method in _NAMED_WEIGHTS and isinstance(target, cst.Tuple):
        return _names_in(target.elements[-1].value, name)
    return method in _WEIGHTS and _names_in(target, name)


def _collates(arg: cst.Arg) -> bool:
    return arg.keyword is not None and arg.keyword.value == "collate_fn"


def _names_in(target: cst.CSTNode, name: str) -> bool:
    """Tell whether a target binds a name."""
    import libcst as cst

    if isinstance(target, (cst.Tuple, cst.List)):
        return any(_names_in(element.value, name) for element in target.elements)
    return isinstance(target, cst.Name) and target.value == name


def _fix(call: cst.Call, target: cst.BaseExpression, block: _Block, context: Context) -> Fix | None:
    import libcst as cst

    if isinstance(target, cst.Call):
        return None
    if isinstance(target, cst.Name) and (target.value not in block.scope.bindings or block.goes_over(target.value)):
        return None
    line, column, _, _ = context.span(call)
    return Fix((Edit(line, column, line, column, f"{context.tree.code_for_node(target)} = "),), safe=True)


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
    needs = ((b"torch", _may_move_tensor),)
    marks = _MOVES | {"__init__"}

    def may_find(self, outline: Outline) -> bool:
        """Tell whether a move is a statement of its own, of something that may be a tensor."""
        return any(_may_be_tensor(moved, outline) for moved in _moved(outline))

    def marks_in(self, outline: Outline) -> frozenset[str]:
        """Add the attributes that are moved, which any method may make tensors."""
        return self.marks.union(each.attr for each in _moved(outline) if isinstance(each, ast.Attribute))

    def check(self, context: Context) -> Iterator[Finding]:
        """Report each tensor that is moved in vain.

        Args:
            context: The source.

        Yields:
            One finding a statement.
        """
        import libcst as cst

        from lint_rules.tree import walk

        attributes = _Attributes(context)
        functions = (node for node in walk(context.tree) if isinstance(node, cst.FunctionDef))
        bodies: list[cst.FunctionDef | cst.Module] = [context.tree, *functions]
        for body in bodies:
            block = _Block(body, context, attributes)
            for call, target in block.moves():
                if block.is_tensor(target, call) and not _is_shown(call, context):
                    yield context.finding(
                        self,
                        call,
                        "the tensor stays where it is, for `to()`, `cuda()` and `cpu()` give a new one; "
                        "assign the result",
                        _fix(call, target, block, context) if block.is_statement(call) else None,
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


            def first(train_loader, dataset):
                images, labels = next(iter(train_loader))
                images.to("cuda")
                x, y = next(iter(DataLoader(dataset)))
                y.cuda()
                return images, labels, x, y
            """,
            why="one batch, taken by hand",
            lines=(7, 9),
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
    )
    valid = (
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
    )
