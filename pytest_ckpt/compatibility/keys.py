"""Findings about a checkpoint that does not load: entries that are missing, left over, renamed or of another shape."""

from __future__ import annotations

from itertools import islice, permutations
from typing import TYPE_CHECKING

import torch

from pytest_ckpt.checkpoint_file import tensors
from pytest_ckpt.compare import describe, entries, nonpersistent
from pytest_ckpt.compatibility.attempt import Attempt, attempt
from pytest_ckpt.compatibility.migration import Migration, applied, suggest
from pytest_ckpt.compatibility.old import copied
from pytest_ckpt.compatibility.renames import guess, renumbered, shape_key
from pytest_ckpt.findings import Finding

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping
    from typing import Any

    from pytest_ckpt.call import Call

_ROWS = 24
_MOST_ORDERS = 24


class Misfit:
    """A checkpoint that `load_state_dict` refuses over its keys and shapes, and what would make it fit.

    Attributes:
        migration: The hook that is suggested; it may be empty.
        migrated: What loading showed with the hook in place; None where there is no hook or it does not run.
    """

    def __init__(self, call: Call, state: Mapping[str, Any], failed: Attempt, constant: Collection[str]) -> None:
        self._call, self._state, self._failed, self._constant = call, state, failed, constant
        self._old, self._new = tensors(state), entries(call.build())
        misshapen = failed.misshapen
        self._missing = tuple(dict.fromkeys((*failed.missing, *(name for name in misshapen if name in self._new))))
        self._left = tuple(dict.fromkeys((*failed.unexpected, *(name for name in misshapen if name in self._old))))
        moved = renumbered(self._old, self._new)
        taken = set(moved.values())
        self._renamed = moved | guess(
            {name: self._old[name] for name in self._old if name in self._left and name not in moved},
            {name: self._new[name] for name in self._new if name in self._missing and name not in taken},
        )
        self.migration = self._suggest(self._renamed)
        self.migrated = self._try()

    def _suggest(self, renamed: Mapping[str, str]) -> Migration:
        return suggest(renamed, self._old, self._new, self._missing, self._left, self._constant)

    def _try(self) -> Attempt | None:
        module = self._call.build()
        if self.migration.is_empty or not applied(self.migration, module):
            return None
        return attempt(self._call, module, copied(self._state))

    @property
    def works(self) -> bool:
        """Whether the old checkpoint loads with the suggested hook."""
        return self.migrated is not None and not self.migrated.error

    def settle(self, agrees: Callable[[Attempt], bool]) -> None:
        """Try other pairs of names of one shape until the outputs agree; keep the first guess where none does."""
        if not self.works or self.migrated is None or agrees(self.migrated):
            return
        first = self.migration, self.migrated
        for renamed in islice(self._other_orders(), _MOST_ORDERS):
            self.migration = self._suggest(renamed)
            self.migrated = self._try()
            if self.migrated is not None and not self.migrated.error and agrees(self.migrated):
                self._renamed = renamed
                return
        self.migration, self.migrated = first

    def _other_orders(self) -> Iterator[dict[str, str]]:
        """Exchange the new names of old entries with one shape, those of one submodule together."""
        groups: dict[Any, dict[str, list[str]]] = {}
        for name in self._renamed:
            owner, _, leaf = name.rpartition(".")
            groups.setdefault((leaf, shape_key(self._old[name])), {}).setdefault(owner, []).append(name)
        owners = {tuple(group) for group in groups.values() if len(group) > 1}
        for group in owners:
            for order in permutations(group):
                renamed = dict(self._renamed)
                for one, other in zip(group, order, strict=True):
                    for name in self._renamed:
                        twin = f"{other}.{name.rpartition('.')[2]}" if other else name.rpartition(".")[2]
                        if name.rpartition(".")[0] == one and twin in self._renamed:
                            renamed[name] = self._renamed[twin]
                if renamed != self._renamed:
                    yield renamed

    # ---------------------------------------------------------------------------------------------------- findings

    def findings(self, *, agrees: bool | None) -> Iterator[Finding]:
        """Report every entry that does not fit; the first hint has the whole migration.

        Args:
            agrees: Whether the outputs are the old ones once the migration is in place; None if that is not known.
        """
        rows = list(self._rows())
        shown = rows[:_ROWS]
        for at, one in enumerate(shown):
            yield Finding(*one[:3], self._hint(len(rows), one[3], agrees=agrees) if at == 0 else one[3], *one[4:])

    def _rows(self) -> Iterator[tuple[str, str, str, str, str, str]]:
        back = {new: old for old, new in self._renamed.items()}
        for name in self._failed.misshapen:
            yield self._misshapen(name)
        for name in (*self._failed.missing, *self._moved_over()):
            if name in back:
                yield (
                    "key-mismatch",
                    name,
                    f"the old {back[name]!r} of the same shape has probably become it"
                    + (", and would go elsewhere" if name in self._old else ", which the checkpoint does not have"),
                    f"rename it in a load hook: {back[name]!r} is {name!r} now",
                    repr(back[name]),
                    repr(name),
                )
            else:
                yield self._absent(name)
        for name in self._failed.unexpected:
            yield self._left_over(name)

    def _moved_over(self) -> list[str]:
        """Give today's names that the checkpoint has too, but for an entry that has moved on."""
        return [name for name in self._renamed.values() if name in self._old and name not in self._failed.misshapen]

    def _misshapen(self, name: str) -> tuple[str, str, str, str, str, str]:
        old, new = self._old.get(name), self._new.get(name)
        now = self._renamed.get(name, name)
        other = f"; what stood there has probably become {now!r}" if now != name else ""
        return (
            "shape-changed",
            name,
            f"the entry has another shape today{other}",
            f"give the old entry today's shape in a load hook: state_dict[prefix + {name!r}] = ...",
            describe(old) if old is not None else "",
            describe(new) if new is not None else "",
        )

    def _absent(self, name: str) -> tuple[str, str, str, str, str, str]:
        what = "the checkpoint has no such entry: it was added since"
        if name in self._constant:
            hint = f"set a default for old checkpoints in a load hook: state_dict.setdefault(prefix + {name!r}, ...)"
        else:
            what += ", and a new module holds random numbers in it"
            hint = (
                f"say in a load hook what old checkpoints mean by it: state_dict.setdefault(prefix + {name!r}, ...), "
                f"or allow it: allow_missing=[{name!r}]"
            )
        return "key-mismatch", name, what, hint, "absent", describe(self._new.get(name))

    def _left_over(self, name: str) -> tuple[str, str, str, str, str, str]:
        value = self._state.get(name)
        actual, hint = "absent", f"drop or move it in a load hook: state_dict.pop(prefix + {name!r}, None)"
        if name in self._renamed:
            now = repr(self._renamed[name])
            what, actual = f"nothing has this name today; {now} has probably come of it", now
            hint = f"rename it in a load hook: {name!r} is {now} now"
        elif name in nonpersistent(self._call.build()):
            what, actual = "today's code does not save this buffer: persistent=False", "not persistent"
        else:
            what = "nothing has this name today: it was removed since"
        return (
            "key-mismatch",
            name,
            what,
            hint,
            describe(value) if isinstance(value, torch.Tensor) else "an entry",
            actual,
        )

    def _hint(self, count: int, own: str, *, agrees: bool | None) -> str:
        """Give the hook, or the first finding's own hint where there is none that keeps anything."""
        more = f"{count - _ROWS} more entries are not shown\n" if count > _ROWS else ""
        if self.migrated is None or (self.migration.only_drops and not self.works):
            return f"{more}{own}"
        if self.works:
            outputs = {
                True: ", and the outputs are the old ones",
                False: ", but the outputs are not the old ones",
                None: "",
            }
            result = f"with this hook the checkpoint loads{outputs[agrees]}"
        else:
            rest = sorted({*self.migrated.missing, *self.migrated.misshapen})
            result = f"this hook migrates all but {', '.join(map(repr, rest[:4]))}"
        return f"{more}{result}:\n{self.migration.code()}"
