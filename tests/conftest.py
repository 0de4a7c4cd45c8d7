"""The plugin under test is installed; pytester runs it in sessions of its own."""

import os

# Tiny modules on several workers: with more threads than cores, OpenMP spends its time waiting.
os.environ.setdefault("OMP_NUM_THREADS", "1")

pytest_plugins = ["pytester"]
