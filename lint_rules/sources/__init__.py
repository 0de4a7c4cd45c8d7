"""From paths to Python: files and folders, `.gitignore`, notebooks, and code in documents."""

from lint_rules.sources.base import Piece, Source, UnreadableError, decode
from lint_rules.sources.kinds import kind_of
from lint_rules.sources.walk import File, Problem, Walk, ignored_codes, is_excluded, is_included

__all__ = [
    "File",
    "Piece",
    "Problem",
    "Source",
    "UnreadableError",
    "Walk",
    "decode",
    "ignored_codes",
    "is_excluded",
    "is_included",
    "kind_of",
]
