"""`ckpt-lint`: libcst rules for code that saves and loads PyTorch checkpoints.

The linter never imports torch: it reads source text, so an installed pre-commit hook stays small.
"""

__all__: list[str] = []
