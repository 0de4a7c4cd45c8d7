"""Configuration of the documentation, which Sphinx builds from MyST Markdown."""

from __future__ import annotations

import sys
from importlib.metadata import version as installed_version
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import generate

project = "pytest-ckpt"
author = "The pytest-ckpt developers"
project_copyright = author
version = release = installed_version("pytest-ckpt")

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build", "changelog.d", "examples"]

myst_enable_extensions = ["deflist", "substitution"]
myst_substitutions = {"layout": generate.layout(Path(__file__).parents[1]), "formats": generate.formats_table()}
myst_heading_anchors = 3

default_role = "code"  # the docstrings are Markdown: single backticks are code
autoclass_content = "both"  # what a class is, and what it is made of
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
python_maximum_signature_line_length = 100
napoleon_numpy_docstring = False

html_theme = "furo"
html_title = f"pytest-ckpt {version}"
html_show_copyright = False
html_copy_source = False

generate.write(Path(__file__).parent / "reference")
