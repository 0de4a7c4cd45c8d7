"""What happens to each object, in order: created, loaded, eval, train, called, returned, rebound.

A small abstract interpreter. It runs the module from top to bottom, then every function and method that this did not
reach, and follows objects rather than names: through branches (both are taken, and what differs afterwards remembers
the condition), loops (the body runs, twice), `try`, `with`, calls of functions and methods of the same file,
attributes, containers and rebinding. What leaves the file is unknown from then on. It never executes anything.

Rules read what was seen: `calls`, `uses` and `trained`.
"""

from lint_rules.flow.machine import Call, Use
from lint_rules.flow.runs import Flow

__all__ = ["Call", "Flow", "Use"]
