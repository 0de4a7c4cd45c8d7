"""Hypothesis strategies: modules, their state_dicts, and state_dicts that do not fit.

They are for property tests of code that saves, loads or converts checkpoints:

    from hypothesis import given, strategies as st
    from pytest_ckpt.strategies import key_mismatches, modules

    @given(st.data())
    def test_loader_raises_for_every_missing_key(data):
        module = data.draw(modules())
        wrong = data.draw(key_mismatches(module.state_dict(), kinds=["dropped"]))
        with pytest.raises(KeyError, match=re.escape(wrong.missing[0])):
            load(module, wrong.state_dict)

What they give is made of a few drawn numbers and names alone, so examples repeat from run to run, and a failure
shrinks: to the smallest tree, and to one key with the plainest thing that can be wrong with it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

import torch
from hypothesis import strategies as st
from hypothesis.errors import InvalidArgument
from torch import nn

from pytest_ckpt import mismatches
from pytest_ckpt.findings import did_you_mean
from pytest_ckpt.mismatches import KINDS, Kind, Mismatch

if TYPE_CHECKING:
    from collections.abc import Callable

    from hypothesis.strategies import DrawFn, SearchStrategy
    from torch import Tensor

__all__ = ["Mismatch", "Tree", "key_mismatches", "modules", "state_dicts"]

_PARAMETER_DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16, torch.complex64)
_BUFFER_DTYPES = (*_PARAMETER_DTYPES, torch.int64, torch.uint8, torch.bool)
_SHAPES = ((2,), (), (1,), (0,), (2, 3), (1, 3), (0, 2), (2, 1, 2))
_NAMES = ("a", "b", "weight", "bias", "0", "1", "module", "a_b", "with space", "größe", "层", "/", "_orig_mod")
_PREFIXES = ("module.", "_orig_mod.", "model.", "module.module.", "a")
_FOREIGN = ("extra", "head", "weight", "0", "层")
_LAYERS: tuple[Callable[[], nn.Module], ...] = (
    lambda: nn.Linear(2, 3),
    lambda: nn.Linear(2, 1, bias=False),
    lambda: nn.LayerNorm(2),
    lambda: nn.Embedding(3, 2, padding_idx=0),
    lambda: nn.BatchNorm1d(2),
    lambda: nn.BatchNorm1d(2, track_running_stats=False),
    lambda: nn.Conv1d(1, 2, 1),
    lambda: nn.ParameterList([torch.ones(2), torch.ones(1, 2)]),
    lambda: nn.ParameterDict({"king": torch.ones(2), "queen": torch.ones(())}),
    nn.ReLU,
)


class Tree(nn.Module):
    """A module of whatever was registered in it; it has no forward."""


# ------------------------------------------------------------------------------------------------------------- modules


def modules(*, max_depth: int = 2, max_entries: int = 4) -> SearchStrategy[nn.Module]:
    """Give small trees of modules, with what real ones have and what is easily overlooked.

    Nested prefixes, tied parameters, buffers and submodules, buffers that are not persistent, entries that are None,
    BatchNorm, Embedding, ParameterList and ParameterDict, frozen parameters, tensors without dimensions and without
    elements, several dtypes, and names with spaces and letters beyond ASCII.

    Args:
        max_depth: How many levels of submodules there may be; with 0 there are only parameters and buffers.
        max_entries: How many parameters, buffers and submodules each level may have.

    Returns:
        A strategy of modules on the CPU. It shrinks to a module without anything.

    Raises:
        InvalidArgument: An argument is no number, or too small.
    """
    _whole("modules", "max_depth", max_depth, 0)
    _whole("modules", "max_entries", max_entries, 1)
    return _modules(max_depth, max_entries)


def state_dicts(*, max_depth: int = 2, max_entries: int = 4) -> SearchStrategy[Mapping[str, Any]]:
    """Give the state_dicts of `modules()`, with their `_metadata`; the arguments are the same.

    Raises:
        InvalidArgument: An argument is no number, or too small.
    """
    _whole("state_dicts", "max_depth", max_depth, 0)
    _whole("state_dicts", "max_entries", max_entries, 1)
    return _modules(max_depth, max_entries).map(lambda module: module.state_dict())


@st.composite
def _modules(draw: DrawFn, depth: int, entries: int) -> nn.Module:
    made: list[tuple[str, Any]] = []
    root = _tree(draw, depth, entries, made)
    generator = torch.Generator().manual_seed(draw(st.integers(0, 255)))
    with torch.no_grad():
        for tensor in (*root.parameters(), *root.buffers()):
            tensor.copy_(torch.randint(1, 100, tensor.shape, generator=generator).to(torch.float64) / 32)
    return root


def _tree(draw: DrawFn, depth: int, entries: int, made: list[tuple[str, Any]]) -> nn.Module:
    """Build one level.

    Args:
        draw: Hypothesis' own.
        depth: How many levels may come below.
        entries: How many entries each level may have.
        made: What was registered anywhere before, by what it is, for ties; this level's is added.
    """
    tree = Tree()
    for name in draw(st.lists(_names(), unique=True, max_size=entries)):
        kinds = ["parameter", "buffer", "none", *(("layer", "tree") if depth else ()), *(("tie",) if made else ())]
        kind = draw(st.sampled_from(kinds))
        if kind == "tie":
            kind, value = draw(st.sampled_from(made))
        else:
            value = _value(draw, kind, depth, entries, made)
        _register(draw, tree, name, kind, value)
        if value is not None:
            made.append((kind, value))
    return tree


def _value(draw: DrawFn, kind: str, depth: int, entries: int, made: list[tuple[str, Any]]) -> Any:
    if kind == "parameter":
        tensor = torch.empty(draw(st.sampled_from(_SHAPES)), dtype=draw(st.sampled_from(_PARAMETER_DTYPES)))
        return nn.Parameter(tensor, requires_grad=draw(st.sampled_from((True, False))))
    if kind == "buffer":
        return torch.empty(draw(st.sampled_from(_SHAPES)), dtype=draw(st.sampled_from(_BUFFER_DTYPES)))
    if kind == "layer":
        with torch.random.fork_rng(devices=[]):
            return draw(st.sampled_from(_LAYERS))()
    return _tree(draw, depth - 1, entries, made) if kind == "tree" else None


def _register(draw: DrawFn, tree: nn.Module, name: str, kind: str, value: Any) -> None:
    if kind == "none":
        kind = draw(st.sampled_from(("parameter", "buffer", "layer")))
    if kind == "parameter":
        tree.register_parameter(name, value)
    elif kind == "buffer":
        tree.register_buffer(name, value, persistent=draw(st.sampled_from((True, False))))
    else:
        tree.register_module(name, value)


def _names() -> SearchStrategy[str]:
    usual = st.sampled_from(_NAMES)
    any_text = st.text(st.characters(codec="utf-8", exclude_characters="."), min_size=1, max_size=6)
    return usual | any_text.filter(lambda name: not hasattr(Tree, name) and name not in vars(nn.Module()))


# ---------------------------------------------------------------------------------------------------------- mismatches


def key_mismatches(state_dict: Mapping[str, Any], *, kinds: Collection[Kind] | None = None) -> SearchStrategy[Mismatch]:
    """Give state_dicts that do not fit the module that this one belongs to.

    The kinds: entries `dropped`, `renamed`, `added`, `reshaped` (to one element, to what broadcasts, to more rows,
    turned, flattened) and `retyped` (another dtype); all of them `prefixed` as in a wrapper, `emptied`, or `nested`
    one level down as in a training checkpoint; and `partial`, some entries with foreign ones, as a warm start meets.

    Args:
        state_dict: The state_dict of a module; it is not changed.
        kinds: The kinds to give; the default is all that are possible with this state_dict.

    Returns:
        A strategy of `Mismatch`, which has the state_dict to load and the keys that a right loader must name. It
        shrinks to the first kind and to a single key.

    Raises:
        InvalidArgument: The state_dict is no mapping of strings, or a kind is unknown or not possible with it.
    """
    _mapping(state_dict)
    possible = possible_kinds(state_dict)
    if kinds is None:
        return st.one_of(*possible.values())
    _known(kinds)
    if impossible := [kind for kind in kinds if kind not in possible]:
        raise InvalidArgument(
            f"key_mismatches: no entry can be {impossible[0]} in a state_dict of {len(state_dict)} entries: "
            f"with this one, kinds can be {', '.join(possible) or 'nothing'}"
        )
    return st.one_of(*(possible[kind] for kind in KINDS if kind in kinds))


def possible_kinds(state: Mapping[str, Any]) -> dict[Kind, SearchStrategy[Mismatch]]:
    """Give a strategy for each kind of mismatch that is possible with a state_dict."""
    keys = list(state)
    shapes = {key: mismatches.other_shapes(value) for key, value in state.items() if mismatches.reshapable(value)}
    retypable = [key for key, value in state.items() if mismatches.retypable(value)]
    foreign = _foreign(state)
    possible: dict[Kind, SearchStrategy[Mismatch]] = {}
    if keys:
        possible["dropped"] = _some(keys).map(lambda some: mismatches.dropped(state, some))
        possible["renamed"] = _some(keys).flatmap(lambda some: _renamings(state, some))
    possible["added"] = foreign.map(lambda entries: mismatches.added(state, entries))
    if shapes:
        possible["reshaped"] = (
            _some(list(shapes))
            .flatmap(lambda some: st.fixed_dictionaries({key: st.sampled_from(shapes[key]) for key in some}))
            .map(lambda chosen: mismatches.reshaped(state, chosen))
        )
    if retypable:
        possible["retyped"] = _some(retypable).map(lambda some: mismatches.retyped(state, some))
    # What is drawn shortest shrinks last: these draw keys that they have no use for, so that `dropped` is simpler.
    wasted = _some(keys) if keys else st.just([])
    if keys:
        possible["prefixed"] = st.builds(
            lambda prefix, _: mismatches.prefixed(state, prefix), st.sampled_from(_PREFIXES), wasted
        )
        possible["emptied"] = wasted.map(lambda _: mismatches.emptied(state))
    levels = [_unused(name, state) for name in ("state_dict", "model", "module")]
    possible["nested"] = st.builds(lambda name, _: mismatches.nested(state, name), st.sampled_from(levels), wasted)
    if len(keys) > 1:
        possible["partial"] = st.builds(
            lambda some, entries: mismatches.partial(state, some, entries),
            _some(keys).filter(lambda some: len(some) < len(keys)),
            foreign,
        )
    return possible


def _some(keys: list[str]) -> SearchStrategy[list[str]]:
    """Give one to five keys; drawn with repetition, since what is drawn uniquely does not shrink to a single one."""
    return st.lists(st.sampled_from(keys), min_size=1, max_size=5).map(lambda some: list(dict.fromkeys(some)))


def _renamings(state: Mapping[str, Any], keys: list[str]) -> SearchStrategy[Mismatch]:
    def rename(suffixes: list[str]) -> Mismatch:
        names: dict[str, str] = {}
        for key, suffix in zip(keys, suffixes, strict=True):
            names[key] = _unused(f"{key}{suffix}", {*state, *names.values()})
        return mismatches.renamed(state, names)

    return st.lists(st.sampled_from(("_renamed", "_", ".0", "层")), min_size=len(keys), max_size=len(keys)).map(rename)


def _foreign(state: Mapping[str, Any]) -> SearchStrategy[dict[str, Tensor]]:
    """Give one to three entries that the state_dict does not have: at the top, beside its entries and below them."""
    places = dict.fromkeys(["", *(f"{key.rpartition('.')[0]}." for key in state if "." in key)])
    places.update(dict.fromkeys(f"{key}." for key in state if not key.endswith("_extra_state")))
    name = st.builds(
        lambda place, name: _unused(f"{place}{name}", state), *map(st.sampled_from, (list(places), _FOREIGN))
    )
    names = st.lists(name, min_size=1, max_size=3)
    return names.map(lambda names: {name: torch.full((2,), mismatches.FILL) for name in names})


def _unused(name: str, used: Collection[str]) -> str:
    while name in used:
        name += "_"
    return name


# ----------------------------------------------------------------------------------------------------------- arguments


def _whole(function: str, argument: str, given: object, least: int) -> None:
    if not isinstance(given, int) or isinstance(given, bool) or given < least:
        raise InvalidArgument(f"{function}: {argument} must be a whole number of at least {least}, not {given!r}")


def _mapping(given: object) -> None:
    if isinstance(given, nn.Module):
        raise InvalidArgument(
            f"key_mismatches: takes a state_dict, not a module: write {type(given).__name__}(...).state_dict()"
        )
    if not isinstance(given, Mapping):
        raise InvalidArgument(f"key_mismatches: state_dict must be a mapping of names to tensors, not {given!r}")
    for key in given:
        if not isinstance(key, str):
            raise InvalidArgument(f"key_mismatches: the keys of state_dict must be strings, but it has {key!r}")


def _known(given: object) -> None:
    if isinstance(given, str) or not isinstance(given, Collection) or not given:
        raise InvalidArgument(f"key_mismatches: kinds must be a list of at least one kind, not {given!r}")
    for kind in given:
        if kind not in KINDS:
            meant = did_you_mean(kind, KINDS)
            raise InvalidArgument(f"key_mismatches: there is no kind {kind!r}: {meant}The kinds are {', '.join(KINDS)}")
