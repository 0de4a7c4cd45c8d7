"""The rules, one file each; `lint_rules.registry` finds them."""
