"""Findings about a checkpoint that loads: entries that kept what they held, took another's place, or lost something."""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from pytest_ckpt.compare import bits_equal, describe, tied_groups
from pytest_ckpt.compatibility.old import identity
from pytest_ckpt.compatibility.outlook import loses
from pytest_ckpt.compatibility.renames import guess, natural, shape_key
from pytest_ckpt.compatibility.search.bench import Cause
from pytest_ckpt.compatibility.search.wiring import holding
from pytest_ckpt.facts import rounded
from pytest_ckpt.findings import Finding
from pytest_ckpt.outputs import WHOLE

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from torch import Tensor

    from pytest_ckpt.compatibility.attempt import Attempt
    from pytest_ckpt.compatibility.provenance import Origin
    from pytest_ckpt.compatibility.search.bench import Bench

_THREE = ("q", "k", "v")


@dataclass(frozen=True)
class Landing:
    """What stands where after loading.

    Attributes:
        old: The checkpoint's tensors.
        live: The module's entries after loading the checkpoint as it is.
        origins: Where each came from.
        loaded: What loading showed.
        constant: Entries whose value is the same in every new module.
        unused: Old entries that nothing came of.
        agrees: Whether the outputs are the old ones; None where that is not known.
        lenient: Whether the user's own function loaded it.
        may_miss: Entries that the checkpoint need not bring.
    """

    old: Mapping[str, Tensor]
    live: Mapping[str, Tensor]
    origins: Mapping[str, Origin]
    loaded: Attempt
    constant: frozenset[str]
    unused: tuple[str, ...]
    agrees: bool | None
    lenient: bool
    may_miss: frozenset[str]

    def findings(self) -> Iterator[Finding]:
        """Report what is certain, whatever the outputs are."""
        lost = list(self._lost())
        yield from lost
        if lost and self.lenient:
            yield Finding(
                "strictness",
                lost[0].key,
                "load_state takes an old checkpoint that does not fill this entry, and says nothing",
                "load with strict=True, or raise for the keys that load_state_dict(..., strict=False) returns",
            )
        for name, origin in self.origins.items():
            yield from self._of_entry(name, origin)
        yield from self._ties()

    # ------------------------------------------------------------------------------------------------- not restored

    def _lost(self) -> Iterator[Finding]:
        partners = {new: old for old, new in self._partners().items()}
        for name, origin in self.origins.items():
            if origin.kind != "kept" or name in self.may_miss or not self.live[name].numel():
                continue
            partner = partners.get(name, "")
            if not partner and (name in self.constant or self.agrees or self._is_deliberate(name)):
                continue
            what = "the checkpoint does not fill this entry, and nothing was said: it keeps "
            what += "its default" if name in self.constant else "the random numbers of a new module"
            if partner:
                hint = f"move it in the load hook: state_dict[prefix + {name!r}] = state_dict.pop(prefix + {partner!r})"
                what += f"; the old {partner!r} of the same shape was left unused"
            else:
                hint = (
                    f"set it in the load hook: state_dict.setdefault(prefix + {name!r}, ...), and leave it in "
                    f"missing_keys; or allow it: allow_missing=[{name!r}]"
                )
            yield Finding(
                "key-mismatch", name, what, hint, repr(partner) if partner else "absent", describe(self.live[name])
            )

    def _is_deliberate(self, name: str) -> bool:
        """Whether a hook took an entry out of the missing keys, with nothing of the checkpoint left that it could be.

        Only outputs could tell whether it matters, and there are none.
        """
        return self.agrees is None and not self.lenient and name not in self.loaded.missing and not self.unused

    def _partners(self) -> dict[str, str]:
        """Pair unused old entries with entries that were not filled, where something else speaks for it too.

        That is another entry of the same two submodules which did move, or that `load_state_dict` missed the one and
        did not expect the other.
        """
        kept = {name: self.live[name] for name, origin in self.origins.items() if origin.kind == "kept"}
        pairs = guess({name: self.old[name] for name in self.unused}, kept)
        moves = {
            (part.rpartition(".")[0], name.rpartition(".")[0])
            for name, origin in self.origins.items()
            if origin.kind in {"moved", "joined"}
            for part in origin.parts
        }
        return {
            old: new
            for old, new in pairs.items()
            if (old.rpartition(".")[0], new.rpartition(".")[0]) in moves
            or (old in self.loaded.unexpected and new in self.loaded.missing)
            or new not in self.constant
        }

    def forgotten(self, bench: Bench) -> tuple[Cause, ...]:
        """Undo what loading did to old entries of the same name, or fill defaults from old entries left unused.

        What is reported is what brings the old outputs back.
        """
        kept = {name: self.live[name] for name, origin in self.origins.items() if origin.kind == "kept"}
        raw = {
            name: self.old[name]
            for name, origin in self.origins.items()
            if origin.kind == "computed" and name in self.old and self.old[name].shape == self.live[name].shape
        }
        with holding((self.live[name], one.detach().to(self.live[name].dtype)) for name, one in raw.items()):
            agrees = bool(raw) and bench.agrees()
        if agrees:
            return tuple(_untouched(name, describe(one), describe(self.live[name])) for name, one in raw.items())
        if missed := self._missed(bench):
            return tuple(_dropped(name, describe(self.old[name])) for name in missed)
        pairs = guess({name: self.old[name] for name in self.unused}, kept)
        changed = [
            (kept[new], self.old[old].detach().to(kept[new].dtype).reshape(kept[new].shape))
            for old, new in pairs.items()
        ]
        with holding(changed):
            agrees = bool(pairs) and bench.agrees()
        return tuple(
            Cause(
                "key-mismatch",
                new,
                repr(old),
                "a default",
                f"nothing fills this entry, and with the old {old!r} in it the outputs are the old ones",
                f"move it in the load hook: state_dict[prefix + {new!r}] = state_dict.pop(prefix + {old!r})",
            )
            for old, new in pairs.items()
            if agrees
        )

    def _missed(self, bench: Bench) -> tuple[str, ...]:
        """Give the unused old entries in whose place today has None, as with `bias=False`, if the outputs miss them."""
        owners = dict(self.loaded.module.named_modules())
        places = {}
        for name in self.unused:
            path, _, last = name.rpartition(".")
            for registry in (owners[path]._parameters, owners[path]._buffers) if path in owners else ():  # noqa: SLF001 -- what is None is listed nowhere else
                if last in registry and registry[last] is None:
                    places[name] = registry, last
        try:
            for name, (registry, last) in places.items():
                registry[last] = nn.Parameter(self.old[name].detach(), requires_grad=False)
            return tuple(places) if places and bench.agrees() else ()
        finally:
            for registry, last in places.values():
                registry[last] = None

    def unexplained(self, difference: str) -> tuple[Cause, ...]:
        """Name what is most likely at fault where no single change brings the old outputs back."""
        kept = [name for name, origin in self.origins.items() if origin.kind == "kept" and name not in self.may_miss]
        if kept:
            what = (
                "the outputs are not the old ones, and the checkpoint does not fill this entry, which keeps its default"
            )
            hint = "say in a load hook what old checkpoints mean by it: state_dict.setdefault(prefix + {!r}, ...)"
            return tuple(
                Cause("key-mismatch", name, "absent", describe(self.live[name]), what, hint.format(name))
                for name in kept
            )
        place = difference.partition(":")[0]
        return (
            Cause(
                "semantics",
                type(self.loaded.module).__name__ if place == WHOLE else place,
                "the old outputs",
                "others",
                "everything fits, and the outputs are not the old ones: forward has changed, or a setting that is "
                "not in the checkpoint",
                "compare forward and the defaults of __init__ with the old version; save settings (get_extra_state())",
            ),
        )

    # ----------------------------------------------------------------------------------------------- single entries

    def _of_entry(self, name: str, origin: Origin) -> Iterator[Finding]:
        live = self.live[name]
        if narrowed := [part for part in origin.parts if loses(self.old[part], live)]:
            old = self.old[narrowed[0]]
            dtypes = [str(one.dtype).removeprefix("torch.") for one in (old, live)]
            yield Finding(
                "dtype-changed",
                name,
                f"the old values are {dtypes[0]}, and today's {dtypes[1]} rounds them without a word",
                f"declare the entry as {old.dtype} again, or convert old checkpoints once and on purpose",
                describe(old),
                describe(live),
            )
        old_one = self.old.get(name)
        if origin.kind == "computed" and old_one is not None and self.agrees is not True:
            yield from self._computed(name, old_one, live)
        if origin.kind == "joined" and self.agrees is None:
            yield from self._order(name, origin)
        if origin.parts == (name,) * live.numel() and live.numel() > 1 and self.agrees is not True:
            yield from self._computed(name, self.old[name], live)
        elif origin.kind == "joined" and len(set(origin.parts)) < len(origin.parts):
            yield from self._used_twice(name, origin)

    def _computed(self, name: str, old: Tensor, live: Tensor) -> Iterator[Finding]:
        if old.dtype == live.dtype and old.shape == live.shape and rounded(old, live):
            yield Finding(
                "value-changed",
                name,
                "loading rounds the old value to a narrower dtype and widens it again",
                "load the entry in its own dtype: state_dict[name].float() does not bring back what half() lost",
                describe(old),
                describe(live),
            )
        elif old.numel() < live.numel() and _is_broadcast(old, live):
            yield Finding(
                "shape-changed",
                name,
                "the old entry is smaller, and its values were repeated to fill today's",
                f"compare shapes before copying: state_dict[{name!r}].shape == parameter.shape, or load_state_dict",
                describe(old),
                describe(live),
            )

    def _used_twice(self, name: str, origin: Origin) -> Iterator[Finding]:
        twice = next(part for part in origin.parts if origin.parts.count(part) > 1)
        forgotten = [one for one in self.unused if shape_key(self.old[one]) == shape_key(self.old[twice])]
        if forgotten:
            yield Finding(
                "value-changed",
                name,
                f"the migration puts {twice!r} into it twice, and {forgotten[0]!r} nowhere",
                f"join each old entry once: torch.cat([..., state_dict.pop(prefix + {forgotten[0]!r}), ...])",
                forgotten[0],
                ", ".join(origin.parts),
            )

    def _order(self, name: str, origin: Origin) -> Iterator[Finding]:
        """Compare the order in which parts were joined with the one that the entry's own name spells."""
        wanted = _spelled(name, origin.parts, self.loaded.module) or _counted(origin.parts)
        if wanted and wanted != origin.parts:
            yield Finding(
                "value-changed",
                name,
                "the migration joins the old entries in another order than the entry's name says",
                f"join them so: torch.cat([{', '.join(f'state_dict.pop(prefix + {part!r})' for part in wanted)}])",
                ", ".join(wanted),
                ", ".join(origin.parts),
            )

    # --------------------------------------------------------------------------------------------------------- ties

    def _ties(self) -> Iterator[Finding]:
        groups: defaultdict[Any, list[str]] = defaultdict(list)
        for name, one in self.old.items():
            if name in self.live:
                groups[identity(one)].append(name)
        for names in groups.values():
            first, *others = names
            apart = [name for name in others if self.live[name] is not self.live[first]]
            if apart:
                yield Finding(
                    "tie-broken",
                    apart[-1],
                    f"{first!r} and {apart[-1]!r} were one tensor in the old version and are two today",
                    f"tie them again: module.{apart[-1]} = module.{first}",
                    "one tensor",
                    "separate tensors",
                )
        for group in tied_groups(self.live):
            first, *others = [name for name in self.live if name in group and name in self.old] or [""]
            apart = [name for name in others if not bits_equal(self.old[name], self.old[first])]
            if apart and not self.agrees:
                yield Finding(
                    "tie-conflict",
                    apart[-1],
                    f"{first!r} and {apart[-1]!r} are one tensor today, and the checkpoint has two values: one is lost",
                    f"leave them untied: module.{apart[-1]} = nn.Parameter(...), or choose one in a load hook",
                    "separate tensors",
                    "one tensor",
                )


def _dropped(name: str, expected: str) -> Cause:
    return Cause(
        "key-mismatch",
        name,
        expected,
        "None",
        "today's module has None here, so the old entry is dropped, and with it the outputs are the old ones",
        "build the module with it for old checkpoints, and raise for unexpected keys when loading",
    )


def _untouched(name: str, expected: str, actual: str) -> Cause:
    return Cause(
        "value-changed",
        name,
        expected,
        actual,
        "a load hook changes its values, and with those of the checkpoint the outputs are the old ones",
        f"leave state_dict[prefix + {name!r}] as it is; let the hook look at local_metadata.get('version') first",
    )


def _is_broadcast(old: Tensor, live: Tensor) -> bool:
    try:
        return torch.equal(old.to(live.dtype).expand_as(live), live)
    except RuntimeError:
        return False


def _spelled(name: str, parts: tuple[str, ...], module: nn.Module) -> tuple[str, ...]:
    """Give parts in the order that a name spells (`qkv_proj`, `gate_up_proj`), or torch's own attention takes.

    Empty where the name says nothing of some part.
    """
    tokens = {part: _token(part, parts) for part in parts}
    owner = module.get_submodule(name.rpartition(".")[0])
    if isinstance(owner, nn.MultiheadAttention):
        text = "q k v"
        tokens = {part: token[:1] for part, token in tokens.items()}
    else:
        text = next(
            (one for one in reversed(name.lower().split(".")) if all(token in one for token in tokens.values())), ""
        )
        if not text and set(tokens_first := [token[:1] for token in tokens.values()]) == set(_THREE):
            text = next((one for one in reversed(name.lower().split(".")) if "".join(_THREE) in one), "")
            tokens = dict(zip(tokens, tokens_first, strict=True))
    places = {part: text.find(token) if token else -1 for part, token in tokens.items()}
    if len(set(places.values())) < len(parts) or min(places.values()) < 0:
        return ()
    return tuple(sorted(parts, key=places.__getitem__))


def _counted(parts: tuple[str, ...]) -> tuple[str, ...]:
    """Give parts in the order of their numbers where they stand in that of letters, `10` before `2`; else empty."""
    by_number = tuple(sorted(parts, key=natural))
    alike = len({re.sub(r"\d+", "", part) for part in parts}) == 1
    return by_number if alike and parts == tuple(sorted(parts)) != by_number else ()


def _token(part: str, parts: tuple[str, ...]) -> str:
    """Give the word in which one name differs from its neighbours: `q` of `attn.q_proj.weight`."""
    split = [name.lower().replace(".", "_").split("_") for name in dict.fromkeys(parts)]
    own = part.lower().replace(".", "_").split("_")
    return next((word for word in own if sum(word in words for words in split) == 1), "")
