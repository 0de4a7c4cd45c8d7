"""Proposes another order of the state: entries and submodules that change places, parts that are joined otherwise."""

from __future__ import annotations

from collections import defaultdict
from contextlib import contextmanager
from itertools import combinations, pairwise, permutations
from typing import TYPE_CHECKING, Any

import torch

from pytest_ckpt.compare import entries
from pytest_ckpt.compatibility.renames import natural
from pytest_ckpt.compatibility.search.bench import Cause
from pytest_ckpt.moment import set_attribute

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from torch import Tensor, nn

    from pytest_ckpt.compatibility.provenance import Origin
    from pytest_ckpt.compatibility.search.bench import Bench

_MOST_PAIRS = 200
_MOST_PERMUTED = 4
_MOST_NAMED = 4
_PARTS = (3, 2, 4)
_MATRIX = 2


def search(bench: Bench, origins: Mapping[str, Origin]) -> Iterator[tuple[Cause, ...]]:
    """Give changes to what stands where in the state with which the old outputs come back."""
    yield from _joined_otherwise(bench, origins)
    yield from _exchanged(bench, origins)
    yield from _inserted(bench)
    yield from _skipped(bench)
    yield from _transposed(bench, origins)
    yield from _parts_otherwise(bench, origins)
    yield from _shifted(bench, origins)
    yield from _scaled(bench, origins)


@contextmanager
def holding(values: Iterable[tuple[Tensor, Tensor]]) -> Iterator[None]:
    """Let tensors hold other values for a while."""
    pairs = [(tensor, value, tensor.data) for tensor, value in values]
    try:
        for tensor, value, _ in pairs:
            tensor.data = value
        yield
    finally:
        for tensor, _, before in pairs:
            tensor.data = before


def _agrees(bench: Bench, values: Iterable[tuple[Tensor, Tensor]]) -> bool:
    with holding(values):
        return bench.agrees()


def _category(keys: Iterable[str], origins: Mapping[str, Origin]) -> str:
    """Blame the migration where one has touched an entry, and today's forward otherwise."""
    migrated = any(origins[key].kind not in {"same", "kept"} for key in keys if key in origins)
    return "value-changed" if migrated else "semantics"


def _blame(category: str, hint_of_semantics: str) -> tuple[str, str]:
    if category == "value-changed":
        return "the migration puts", "put it in that order in the load hook"
    return "today's forward takes", hint_of_semantics


# -------------------------------------------------------------------------------------------- joined by a migration


def _joined_otherwise(bench: Bench, origins: Mapping[str, Origin]) -> Iterator[tuple[Cause, ...]]:
    """Join the parts of what a migration has joined in another order, in all entries of a kind at once and in each."""
    live = entries(bench.module)
    joined = {name: origin for name, origin in origins.items() if origin.kind == "joined" and name in live}
    by_count: defaultdict[int, list[str]] = defaultdict(list)
    for name, origin in joined.items():
        by_count[len(origin.parts)].append(name)
    for count, names in by_count.items():
        for group in [names, *([name] for name in names)] if len(names) > 1 else [names]:
            for order in _orders(joined[group[0]].parts):
                if order != tuple(range(count)) and _agrees(bench, _reordered(live, joined, group, order)):
                    yield tuple(_joined_cause(name, joined[name], order) for name in group)


def _orders(parts: Sequence[str]) -> Iterable[tuple[int, ...]]:
    """Give orders of parts to try: all of a few; of many the reverse, and the ones by number and by letter."""
    places = range(len(parts))
    if len(parts) <= _MOST_PERMUTED:
        return permutations(places)
    return (
        tuple(places)[::-1],
        tuple(sorted(places, key=lambda at: natural(parts[at]))),
        tuple(sorted(places, key=parts.__getitem__)),
    )


def _reordered(
    live: Mapping[str, Tensor], joined: Mapping[str, Origin], names: Sequence[str], order: Sequence[int]
) -> Iterator[tuple[Tensor, Tensor]]:
    for name in names:
        tensor, origin = live[name], joined[name]
        sizes = [tensor.shape[origin.axis] // len(origin.parts)] * len(origin.parts)
        if sum(sizes) != tensor.shape[origin.axis]:
            return
        parts = tensor.data.split(sizes, origin.axis)
        yield tensor, torch.cat([parts[at] for at in order], origin.axis)


def _joined_cause(name: str, origin: Origin, order: Sequence[int]) -> Cause:
    wanted = [origin.parts[at] for at in order]
    return Cause(
        "value-changed",
        name,
        ", ".join(wanted),
        ", ".join(origin.parts),
        "the migration joins the old entries in an order with which the outputs are not the old ones",
        "join them so in the load hook: "
        f"torch.cat([{', '.join(f'state_dict.pop(prefix + {part!r})' for part in wanted)}], dim={origin.axis})",
    )


# -------------------------------------------------------------------------------------------------- changed places


def _exchanged(bench: Bench, origins: Mapping[str, Origin]) -> Iterator[tuple[Cause, ...]]:
    """Exchange the states of submodules that are built alike, then of alike entries of one submodule."""
    for group in _alike(bench.module):
        for one, other in list(combinations(group, 2))[:_MOST_PAIRS]:
            pairs = list(zip(group[one], group[other], strict=True))
            if _agrees(bench, _swapped(pairs)):
                names = {**_names_below(bench.module, one), **_names_below(bench.module, other)}
                yield _exchange_causes([one, other], [other, one], _category(names, origins))
        if len(group) > 2:  # noqa: PLR2004 -- two have only one other order
            yield from _permuted(bench, group, origins)
    for path, owner in bench.module.named_modules():
        own = {**owner._parameters, **owner._buffers}  # noqa: SLF001 -- torch has no public way
        held = {".".join(filter(None, (path, name))): one for name, one in own.items() if one is not None}
        for (one, first), (other, second) in combinations(held.items(), 2):
            same = first.shape == second.shape and first.dtype == second.dtype
            if same and first.numel() > 1 and _agrees(bench, _swapped([(first, second)])):
                yield _exchange_causes([one, other], [other, one], _category([one, other], origins))


def _permuted(
    bench: Bench, group: Mapping[str, list[Tensor]], origins: Mapping[str, Origin]
) -> Iterator[tuple[Cause, ...]]:
    paths = list(group)
    turned = [tuple(paths[::-1]), *(tuple(paths[at:] + paths[:at]) for at in range(1, len(paths)))]
    for order in permutations(paths) if len(paths) <= _MOST_PERMUTED else turned:
        moved = [
            (one, group[other][at].data)
            for path, other in zip(paths, order, strict=True)
            for at, one in enumerate(group[path])
        ]
        if list(order) != paths and _agrees(bench, moved):
            places = [(path, other) for path, other in zip(paths, order, strict=True) if path != other]
            names = [name for path, _ in places for name in _names_below(bench.module, path)]
            yield _exchange_causes(
                [one for one, _ in places], [other for _, other in places], _category(names, origins)
            )


def _swapped(pairs: Iterable[tuple[Tensor, Tensor]]) -> list[tuple[Tensor, Tensor]]:
    return [change for one, other in pairs for change in ((one, other.data), (other, one.data))]


def _exchange_causes(keys: Sequence[str], others: Sequence[str], category: str) -> tuple[Cause, ...]:
    subject, hint = _blame(category, "exchange them where forward uses them, or in a load hook for old checkpoints")
    return tuple(
        Cause(
            category,
            key,
            f"the role of {other!r}",
            f"the role of {key!r}",
            f"{subject} it for {other!r}: with the two exchanged the outputs are the old ones",
            hint if category == "semantics" else f"{hint}: state_dict[prefix + {key!r}] and {other!r} change places",
        )
        for key, other in zip(keys, others, strict=True)
    )


def _alike(module: nn.Module) -> Iterator[dict[str, list[Tensor]]]:
    """Give groups of submodules whose entries have the same names and shapes, with their entries."""
    groups: defaultdict[Any, dict[str, list[Tensor]]] = defaultdict(dict)
    for path, one in module.named_modules():
        held = entries(one)
        if path and held:
            signature = tuple((name, tensor.shape, tensor.dtype) for name, tensor in held.items())
            groups[signature][path] = list(held.values())
    yield from (group for group in groups.values() if len(group) > 1)


def _names_below(module: nn.Module, path: str) -> dict[str, None]:
    return dict.fromkeys(name for name in entries(module) if name.startswith(f"{path}."))


# ------------------------------------------------------------------------------------------------------- new layers


def _inserted(bench: Bench) -> Iterator[tuple[Cause, ...]]:
    """Skip one of a row of layers that are built alike, and give those behind it the state of the one before.

    Which one is new cannot be told where several can be skipped with the same result, so all of these are named.
    """
    for container, row in _rows(bench.module):
        keys = [
            ".".join(filter(None, (container, name)))
            for at, (name, layer) in enumerate(row)
            if _agrees_without(bench, layer, row[at:])
        ]
        if keys:
            what = "the state of an old layer landed in a new one, and so for all behind it"
            if len(keys) > 1:
                what += f" (which of {', '.join(keys)} is new cannot be told from the state)"
            yield tuple(_inserted_cause(key, what) for key in keys[:_MOST_NAMED])


def _agrees_without(bench: Bench, layer: nn.Module, behind: Sequence[tuple[str, nn.Module]]) -> bool:
    moved = [
        (tensor, value.data)
        for (_, before), (_, after) in pairwise(behind)
        for tensor, value in zip(entries(after).values(), entries(before).values(), strict=True)
    ]
    with _passing_through(layer):
        return _agrees(bench, moved)


def _rows(module: nn.Module) -> Iterator[tuple[str, list[tuple[str, nn.Module]]]]:
    for path, container in module.named_modules():
        groups: defaultdict[Any, list[tuple[str, nn.Module]]] = defaultdict(list)
        for name, child in container.named_children():
            held = entries(child)
            if held:
                groups[tuple((key, one.shape, one.dtype) for key, one in held.items())].append((name, child))
        yield from ((path, row) for row in groups.values() if len(row) > 1)


def _skipped(bench: Bench) -> Iterator[tuple[Cause, ...]]:
    """Skip one submodule, as if it were not there."""
    for path, one in bench.module.named_modules():
        if path:
            with _passing_through(one):
                if bench.agrees():
                    yield (_inserted_cause(path, "the old version cannot have had it"),)


def _inserted_cause(key: str, what: str) -> Cause:
    return Cause(
        "semantics",
        key,
        "no such layer",
        "a layer",
        f"the outputs are the old ones only without it: {what}",
        "give new layers names that no old one has (self.extra = ...), move the old entries to their places in a "
        "register_load_state_dict_pre_hook, and load with strict=True",
    )


@contextmanager
def _passing_through(module: nn.Module) -> Iterator[None]:
    def forward(*arguments: Any, **keywords: Any) -> Any:
        return next(iter((*arguments, *keywords.values())))

    before = vars(module).get("forward")
    set_attribute(module, "forward", forward)
    try:
        yield
    finally:
        object.__delattr__(module, "forward")
        if before is not None:
            set_attribute(module, "forward", before)


# -------------------------------------------------------------------------------------------- within single entries


def _transposed(bench: Bench, origins: Mapping[str, Origin]) -> Iterator[tuple[Cause, ...]]:
    square = {
        name: one
        for name, one in entries(bench.module).items()
        if one.dim() == _MATRIX and one.shape[0] == one.shape[1] and one.shape[0] > 1
    }
    migrated = [name for name in square if _category([name], origins) == "value-changed"]
    for names in [migrated, list(square), *([name] for name in square)]:
        if names and _agrees(bench, [(square[name], square[name].data.t().contiguous()) for name in names]):
            category = _category(names, origins)
            subject, hint = _blame(category, "take it as it is: functional.linear(x, weight) is x @ weight.t()")
            yield tuple(
                Cause(
                    category,
                    name,
                    "transposed",
                    "as it is",
                    f"{subject} rows for columns: with the matrix transposed the outputs are the old ones",
                    hint
                    if category == "semantics"
                    else f"transpose it once, in the load hook: state_dict[{name!r}].t()",
                )
                for name in names
            )


def _scaled(bench: Bench, origins: Mapping[str, Origin]) -> Iterator[tuple[Cause, ...]]:
    """Solve for the factor by which a migration should not have multiplied an entry."""
    for name, one in entries(bench.module).items():
        if one.dtype.is_floating_point and name in origins and origins[name].kind == "computed":
            before = one.data

            def put(factor: float, one: Tensor = one, before: Tensor = before) -> None:
                one.data = before * factor

            factor = bench.solve(put, 1.0)
            if factor is not None:
                yield (
                    Cause(
                        "value-changed",
                        name,
                        f"times {factor:.6g}",
                        "as it is",
                        "the migration scales it: with another factor the outputs are the old ones",
                        f"load it unscaled: state_dict[prefix + {name!r}] as the checkpoint has it",
                    ),
                )


def _parts_otherwise(bench: Bench, origins: Mapping[str, Origin]) -> Iterator[tuple[Cause, ...]]:
    """Put equal parts of an entry, such as query, key and value, into another order, or interleave them."""
    for path, owner in bench.module.named_modules():
        held = {name: one for name, one in owner.named_parameters(recurse=False) if one.dim()}
        for size in dict.fromkeys(one.shape[0] for one in held.values()):
            group = {f"{path}.{name}" if path else name: one for name, one in held.items() if one.shape[0] == size}
            for count in _PARTS:
                if size % count == 0 and size > count:
                    yield from _parts_of(bench, group, count, origins)


def _parts_of(
    bench: Bench, group: Mapping[str, Tensor], count: int, origins: Mapping[str, Origin]
) -> Iterator[tuple[Cause, ...]]:
    for order in permutations(range(count)):
        changed = [(one, torch.cat([one.data.chunk(count)[at] for at in order])) for one in group.values()]
        if order != tuple(range(count)) and _agrees(bench, changed):
            yield _parts_causes(group, f"parts {order}", f"parts {tuple(range(count))}", origins)
    for one, other in ((count, -1), (-1, count)):
        changed = [(each, _interleaved(each.data, one, other)) for each in group.values()]
        if _agrees(bench, changed):
            yield _parts_causes(group, "interleaved rows", "rows in order", origins)


def _interleaved(tensor: Tensor, one: int, other: int) -> Tensor:
    return tensor.reshape(one, other, *tensor.shape[1:]).transpose(0, 1).reshape(tensor.shape)


def _parts_causes(names: Iterable[str], expected: str, actual: str, origins: Mapping[str, Origin]) -> tuple[Cause, ...]:
    names = list(names)
    subject, hint = _blame(_category(names, origins), "split it as the old forward did, in the same order")
    return tuple(
        Cause(
            _category(names, origins),
            name,
            expected,
            actual,
            f"{subject} its {actual}: with {expected} the outputs are the old ones",
            hint + " (torch.chunk, torch.cat)",
        )
        for name in names
    )


def _shifted(bench: Bench, origins: Mapping[str, Origin]) -> Iterator[tuple[Cause, ...]]:
    """Add one to an entry or subtract it: a gain may be stored as it is or as its distance from one."""
    live = {name: one for name, one in entries(bench.module).items() if one.dtype.is_floating_point}
    for text, factor, shift in (("plus 1", 1, 1), ("minus 1", 1, -1), ("negated", -1, 0)):
        by_leaf: defaultdict[str, list[str]] = defaultdict(list)
        for name in live:
            by_leaf[name.rpartition(".")[2]].append(name)
        for names in [*by_leaf.values(), *([name] for name in live)]:
            if _agrees(bench, [(live[name], live[name].data * factor + shift) for name in names]):
                category = _category(names, origins)
                subject, hint = _blame(category, f"use what is stored, {text}, in forward")
                message = f"{subject} another number: with the values {text} the outputs are the old ones"
                if category != "semantics":
                    hint += ": state_dict[prefix + ...]"
                yield tuple(Cause(category, name, text, "as it is", message, hint) for name in names)
