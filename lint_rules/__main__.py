"""`python -m lint_rules` is `ckpt-lint`."""

from lint_rules.cli import main

if __name__ == "__main__":
    main(prog_name="ckpt-lint")
