"""Writes the hook that makes an old checkpoint fit today's code, ready to paste, and tries it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pytest_ckpt.compatibility.renames import shape_key

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from torch import Tensor, nn

_INDENT = "    "


@dataclass(frozen=True)
class Migration:
    """What would make an old checkpoint fit.

    Attributes:
        renamed: Old names and today's.
        reshaped: Of today's names in `renamed`, those whose shape differs by ones, with today's shape.
        defaults: Today's entries without an old one whose value is the same in every new module.
        dropped: Old entries that nobody has a use for.
        misshapen: Of those, the ones that today's module has in another shape.
        sign: Today's entry that no old checkpoint has, by which the hook tells a checkpoint of today.
        old_names: All names of the old checkpoint.
    """

    renamed: Mapping[str, str]
    reshaped: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    defaults: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()
    misshapen: tuple[str, ...] = ()
    sign: str = ""
    old_names: tuple[str, ...] = ()

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to migrate."""
        return not (self.renamed or self.defaults or self.dropped)

    @property
    def only_drops(self) -> bool:
        """Whether all that it does is to drop entries whose shape is another today, so that it migrates nothing."""
        return not (self.renamed or self.defaults) and self.dropped == self.misshapen

    def code(self) -> str:
        """Write the hook and the line that registers it, as Python source."""
        return "\n".join(self._lines())

    def _lines(self) -> Iterator[str]:
        yield "def _migrate(module, state_dict, prefix, *_):"
        if self.sign:
            yield f'{_INDENT}if prefix + "{self.sign}" in state_dict:'
            yield f"{_INDENT * 2}return  # a checkpoint of today"
        if self.renamed:
            yield f"{_INDENT}moved = {{}}"
            yield f"{_INDENT}renamed = {{"
            yield from (f'{_INDENT * 2}"{old}": "{new}",' for old, new in self._rules())
            yield f"{_INDENT}}}"
            yield f"{_INDENT}for old, new in renamed.items():"
            yield f"{_INDENT * 2}for key in [key for key in state_dict if key.startswith(prefix + old)]:"
            yield f"{_INDENT * 3}moved[prefix + new + key[len(prefix + old) :]] = state_dict.pop(key)"
            yield f"{_INDENT}state_dict.update(moved)"
        for name, shape in self.reshaped.items():
            key = f'prefix + "{name}"'
            yield f"{_INDENT}state_dict[{key}] = state_dict[{key}].reshape({shape})"
        for name in self.defaults:
            yield f'{_INDENT}state_dict[prefix + "{name}"] = module.state_dict()["{name}"]  # what a new module holds'
        for name in self.dropped:
            why = "it has another shape today" if name in self.misshapen else "nothing in the module has this name"
            yield f'{_INDENT}state_dict.pop(prefix + "{name}", None)  # {why}'
        yield ""
        yield "# at the end of __init__:"
        yield "self.register_load_state_dict_pre_hook(_migrate)"

    def _rules(self) -> list[tuple[str, str]]:
        """Shorten renames to those of whole submodules where every old entry below moves the same way."""
        rules: dict[str, str] = {}
        for old, new in self.renamed.items():
            one, other = old.split("."), new.split(".")
            while len(one) > 1 and len(other) > 1 and one[-1] == other[-1]:
                one, other = one[:-1], other[:-1]
            beginning = ".".join(one) + "." * (len(one) < old.count(".") + 1)
            ending = ".".join(other) + "." * (len(other) < new.count(".") + 1)
            rules[beginning] = ending if rules.get(beginning, ending) == ending else ""
        below = {beginning: [name for name in self.old_names if name.startswith(beginning)] for beginning in rules}
        short = {
            beginning: ending
            for beginning, ending in rules.items()
            if ending and all(self.renamed.get(name) == ending + name[len(beginning) :] for name in below[beginning])
        }
        covered = {name for beginning in short for name in below[beginning]}
        rest = {old: new for old, new in self.renamed.items() if old not in covered}
        return list((short | rest).items())


def suggest(  # noqa: PLR0913, PLR0917 -- both sides and what is known of them
    renamed: Mapping[str, str],
    old: Mapping[str, Tensor],
    new: Mapping[str, Tensor],
    missing: Collection[str],
    unexpected: Collection[str],
    constant: Collection[str],
) -> Migration:
    """Give the migration of an old checkpoint.

    Args:
        renamed: Old names and today's, as they were guessed.
        old: The checkpoint's tensors.
        new: Today's entries.
        missing: Today's names that the checkpoint lacks.
        unexpected: Old names without a place today.
        constant: Today's names whose value is the same in every new module.
    """
    targets = set(renamed.values())
    reshaped = {
        name: tuple(new[name].shape)
        for key, name in renamed.items()
        if new[name].shape != old[key].shape and shape_key(new[name]) == shape_key(old[key])
    }
    left = [name for name in missing if name not in targets]
    dropped = tuple(name for name in unexpected if name not in renamed)
    return Migration(
        renamed,
        reshaped,
        tuple(name for name in left if name in constant),
        dropped,
        tuple(name for name in dropped if name in new),
        next((name for name in new if name not in old), ""),
        tuple(old),
    )


def applied(migration: Migration, module: nn.Module) -> bool:
    """Register the written hook on a module, as its `__init__` would; say whether that worked."""
    namespace: dict[str, Any] = {"self": module}
    try:
        exec(migration.code(), namespace)  # noqa: S102 -- our own text, and what the user is told to paste
    except Exception:  # noqa: BLE001 -- a text that does not run is not suggested
        return False
    return True
