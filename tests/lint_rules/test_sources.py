"""From bytes to Python and back: encodings, line ends, notebooks, documents."""

from __future__ import annotations

import codecs
import json
from typing import Any

import nbformat
import pytest

from lint_rules.rule import Edit, Finding, Fix
from lint_rules.sources import Source, UnreadableError, decode, kind_of
from lint_rules.sources.base import syntax_error
from lint_rules.sources.magics import neutralise


def source(name: str, text: str | bytes) -> Source:
    return kind_of(name)(text.encode() if isinstance(text, str) else text)


def insertion(line: int, column: int, text: str) -> Edit:
    return Edit(line, column, line, column, text)


class TestEncodings:
    @pytest.mark.parametrize(
        ("data", "text"),
        [
            ("é = 1\n".encode(), "é = 1\n"),
            (codecs.BOM_UTF8 + "é = 1\n".encode(), "é = 1\n"),
            ("# -*- coding: latin-1 -*-\né = 1\n".encode("latin-1"), "# -*- coding: latin-1 -*-\né = 1\n"),
            (
                "#!x\n# vim: set fileencoding=gbk :\nx = '编'\n".encode("gbk"),
                "#!x\n# vim: set fileencoding=gbk :\nx = '编'\n",
            ),
            (codecs.BOM_UTF8 + b"# coding: utf-8\n", "# coding: utf-8\n"),
            (b"a\r\nb\rc\n", "a\nb\nc\n"),
            (b"", ""),
        ],
    )
    def test_text_is_decoded_as_python_does_and_written_back_as_it_was(self, data, text):
        decoded = decode(data)

        assert decoded.text == text
        assert decoded.encode(text) == data

    @pytest.mark.parametrize(
        ("data", "message", "line"),
        [
            (b"ok\nx = '\xff'\n", "byte 0xff is not valid utf-8; save it as UTF-8, or declare its encoding", 2),
            (b"# coding: ascii\n\n\xe9\n", "byte 0xe9 is not valid ascii", 3),
            (b"# coding: nonsense\n", "unknown encoding: nonsense; declare", 1),
            (b"# coding: rot13\n", "cannot be read as rot13", 1),
            (codecs.BOM_UTF8 + b"# coding: latin-1\n", "encoding problem", 1),
            (b"x\n\0\n", "null byte", 2),
            ("x = 1\n".encode("utf-16"), "is UTF-16", 1),
            ("x = 1\n".encode("utf-32"), "is UTF-32", 1),
            (codecs.BOM_UTF32_BE + "x = 1\n".encode("utf-32-be"), "is UTF-32", 1),
        ],
    )
    def test_what_cannot_be_decoded_is_said_with_its_line(self, data, message, line):
        with pytest.raises(UnreadableError) as caught:
            decode(data)

        assert message in str(caught.value)
        assert caught.value.line == line

    def test_a_changed_text_keeps_the_line_ends_of_the_lines_that_stay(self):
        decoded = decode(b"a\r\nb\nc\rd")

        assert decoded.encode("a\nnew\nb\nc\nd") == b"a\r\nnew\r\nb\nc\rd"
        assert decode(b"a\r\nb\r\n").encode("a\nnew\nb\n") == b"a\r\nnew\r\nb\r\n"
        assert decode(b"a").encode("a\nnew") == b"a\nnew"

    def test_a_character_that_the_encoding_lacks_is_no_silent_loss(self):
        with pytest.raises(UnicodeEncodeError):
            decode(b"# coding: ascii\n").encode("# coding: ascii\né\n")

    def test_edits_of_a_module_keep_its_bytes(self):
        data = codecs.BOM_UTF8 + "é = f(1)\r\n".encode()

        assert (
            source("a.py", data).edited({0: [insertion(1, 8, ", 2")]}) == codecs.BOM_UTF8 + "é = f(1, 2)\r\n".encode()
        )


def notebook(*cells: str | tuple[str, str], **metadata: Any) -> str:
    """Write a notebook as Jupyter does; a cell is code, or a pair of its type and its text."""
    made = nbformat.v4.new_notebook(metadata=metadata)
    for cell in cells:
        kind, text = ("code", cell) if isinstance(cell, str) else cell
        made.cells.append(getattr(nbformat.v4, f"new_{kind}_cell")(text, id=f"cell{len(made.cells)}"))
    written: str = nbformat.writes(made)
    return written + "\n"


class TestNotebooks:
    def test_cells_are_counted_over_all_types(self):
        read = source("n.ipynb", notebook(("markdown", "# Title"), "a = 1", ("raw", "x"), "b = 2"))

        assert [(piece.number, piece.text) for piece in read.pieces] == [(1, "a = 1"), (3, "b = 2")]

    @pytest.mark.parametrize(
        ("cell", "plain"),
        [
            ("%matplotlib inline\nx = 1", "pass\nx = 1"),
            ("!pip install torch\nx = 1", "pass\nx = 1"),
            ("if x:\n    !ls\n    y = 1", "if x:\n    pass\n    y = 1"),
            ("!pip install \\\n  torch\nx = 1", "pass\n\nx = 1"),
            ("files = !ls\nx = 1", "files = None\nx = 1"),
            ("x = %time f()", "x =       f()"),
            ("%time y = f()", "pass; y = f()"),
            ("%timeit -n 10 f()", "pass;         f()"),
            ("%time !ls %%", "pass"),
            ("%%time\nf()", '""\nf()'),
            ("%%capture out\nf()", '""\nf()'),
            ("torch.load?\nx = 1", "pass\nx = 1"),
            ("pip install torch\nls -lh *.pt\nx = 1", "pass\npass\nx = 1"),
            ("?torch.load\nx = 1", "pass\nx = 1"),
            ("!echo it's (\nx = 1", "pass\nx = 1"),
            ("x = (a\n  % b)", "x = (a\n  % b)"),
            ('"""\n%matplotlib\n!ls\n"""', '"""\n%matplotlib\n!ls\n"""'),
            ("await f()", "await f()"),
        ],
    )
    def test_magics_are_replaced_line_by_line(self, cell, plain):
        text, error = neutralise(cell)

        assert error is None
        assert text == plain
        assert text.count("\n") == cell.count("\n")

    @pytest.mark.parametrize("cell", ["def f(:", "%time x = 1\ny = (", "print 'two'"])
    def test_a_cell_that_is_no_python_is_a_problem_of_its_own(self, cell):
        read = source("n.ipynb", notebook("a = 1", cell, "b = 2"))

        assert [piece.number for piece in read.pieces] == [0, 2]
        assert [problem.cell for problem in read.problems] == [1]
        assert "the cell is left out" in str(read.problems[0])

    def test_cells_of_other_languages_are_left_out(self):
        read = source("n.ipynb", notebook("%%bash\nls -l", "%%writefile x.yaml\na: 1", "a = 1"))

        assert [piece.number for piece in read.pieces] == [2]
        assert read.problems == ()

    @pytest.mark.parametrize("magic", ["%%writefile x.py", "%%writefile -a {folder}/x.py", "%%file x.py "])
    def test_a_cell_that_is_written_to_a_python_file_is_a_script_of_its_own(self, magic):
        read = source("n.ipynb", notebook("a = 1", f"{magic}\nb = 2", "c = 3"))

        assert [(piece.text, piece.alone) for piece in read.pieces] == [
            ("a = 1", False),
            ('""\nb = 2', True),
            ("c = 3", False),
        ]

    @pytest.mark.parametrize(
        "metadata",
        [{"language_info": {"name": "R"}}, {"kernelspec": {"name": "x", "display_name": "x", "language": "julia"}}],
    )
    def test_a_notebook_in_another_language_has_no_python(self, metadata):
        assert source("n.ipynb", notebook("a <- 1", **metadata)).pieces == ()

    def test_an_old_notebook_is_read(self):
        cells = [{"cell_type": "heading", "source": "T"}, {"cell_type": "code", "input": ["a = 1\n", "b = 2"]}]
        read = source("n.ipynb", json.dumps({"nbformat": 3, "worksheets": [{"cells": cells}]}))

        assert [(piece.number, piece.text) for piece in read.pieces] == [(1, "a = 1\nb = 2")]
        changed = json.loads(read.edited({1: [insertion(1, 6, "0")]}))
        assert changed["worksheets"][0]["cells"][1]["input"] == ["a = 10\n", "b = 2"]

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("", "is no notebook: it is empty; delete or restore it"),
            ('{"cells": [', "its JSON is broken here (Expecting value, column 12); repair or restore it"),
            ("[]", "its JSON is a list"),
            ("{}", "has no list of cells"),
            ('{"cells": {}}', "has no list of cells"),
            ('{"cells": [3]}', "has no list of cells"),
            ('{"worksheets": [3]}', None),
            ("[" * 100_000, "nested too deeply"),
            (b'{"cells": ["\xff"]}', "byte 0xff is not valid utf-8"),
        ],
    )
    def test_what_is_no_notebook_is_said_so(self, text, message):
        if message is None:
            assert source("n.ipynb", text).pieces == ()
            return
        with pytest.raises(UnreadableError) as caught:
            source("n.ipynb", text)
        assert message in str(caught.value)

    @pytest.mark.parametrize(
        "layout",
        [
            {"indent": 1, "ensure_ascii": False},
            {"indent": 2, "ensure_ascii": True},
            {"indent": 4, "ensure_ascii": False, "separators": (", ", ": ")},
            {"indent": None, "ensure_ascii": False},
            {"indent": None, "separators": (",", ":")},
            {"indent": "\t", "ensure_ascii": False},
        ],
    )
    @pytest.mark.parametrize("tail", ["", "\n", "\n\n"])
    def test_an_edit_changes_one_cell_and_no_other_byte(self, layout, tail):
        document = json.loads(notebook("%time x = 1", "é = f(1)\ny = 2", note="ü"))
        document["cells"][0]["outputs"] = [{"output_type": "stream", "name": "stdout", "text": ["π\n"]}]
        before = json.dumps(document, **layout) + tail
        changed = source("n.ipynb", before).edited({1: [insertion(1, 8, ", 2")]}).decode()

        old, new = ("é = f(1)\n", "é = f(1, 2)\n")
        escaped = layout.get("ensure_ascii", True)
        old, new = (json.dumps(each, ensure_ascii=escaped)[1:-1] for each in (old, new))
        assert changed == before.replace(old, new)
        assert changed != before

    @pytest.mark.parametrize(
        "by_hand",
        [
            lambda text: text.replace('"# Title\\n",', '   "# Title\\n",  '),
            lambda text: text.replace("\n", "\r\n"),
            lambda text: "\ufeff" + text,
            lambda text: text.replace("Title", "\\u003cTitle\\/> é"),
            lambda text: text.replace("y = 2", "y = \\u003c\\\\n 2"),
            lambda text: text.replace('f(1)\\n",', 'f(1)\\n"   ,\n'),
            lambda text: json.dumps(json.loads(text) | {"é": 1.50e3}, indent=1, ensure_ascii=False).replace("  ", ""),
        ],
        ids=["indented", "crlf", "bom", "escapes in prose", "escapes in code", "spaces", "mixed"],
    )
    def test_a_notebook_that_was_edited_by_hand_stays_as_it_is_around_the_edit(self, by_hand):
        before = by_hand(notebook(("markdown", "# Title\nText"), "x = f(1)\ny = 2"))
        changed = source("n.ipynb", before).edited({1: [insertion(1, 8, ", 2")]})

        assert changed == before.replace("f(1)", "f(1, 2)").encode()

    def test_half_a_character_is_read_and_kept(self):
        before = r'{"cells": [{"cell_type": "code", "source": "x = f(1)  # \ud83d\ny = 2  # \ude00"}]}'
        read = source("n.ipynb", before)

        assert [piece.text for piece in read.pieces] == ["x = f(1)  # \ufffd\ny = 2  # \ufffd"]
        assert read.edited({0: [insertion(1, 8, ", 2")]}).decode() == before.replace("f(1)", "f(1, 2)")

    def test_what_is_no_text_at_all_is_no_python(self):
        error = syntax_error("x = '\ud800'")

        assert error is not None
        assert "surrogates not allowed" in error.msg

    def test_several_cells_are_edited_at_once(self):
        before = notebook("x = f(1)", "y = f(2)")

        changed = source("n.ipynb", before).edited({0: [insertion(1, 8, ", 3")], 1: [insertion(1, 8, ", 4")]})

        assert changed.decode() == before.replace("f(1)", "f(1, 3)").replace("f(2)", "f(2, 4)")

    @pytest.mark.parametrize(
        ("before", "edit", "after"),
        [
            ('["a\\n", "b"]', insertion(2, 1, "c\n"), '["a\\n", "c\\n", "b"]'),
            ('[\n "b"\n]', insertion(1, 1, "c\n"), '[\n "c\\n",\n "b"\n]'),
            ('["a\\n",  "b\\n",\n"c"]', Edit(2, 1, 3, 1, ""), '["a\\n",  "c"]'),
            ('["a\\n",\t"b"]', Edit(2, 1, 2, 2, ""), '["a\\n"]'),
            ('[ "a" ]', Edit(1, 1, 1, 2, ""), '[ "" ]'),
            ("[]", insertion(1, 1, "a\nb"), '["a\\n", "b"]'),
            (r'"\u003ca\\n\/\nb(é)\n\u00e9"', insertion(2, 4, "\nc"), r'"\u003ca\\n\/\nb(é\nc)\n\u00e9"'),
            (r'"\u003ca\nb(\u00e9)"', insertion(2, 4, "c"), r'"\u003ca\nb(\u00e9c)"'),
            ('""', insertion(1, 1, "a"), '"a"'),
        ],
    )
    def test_the_lines_that_stay_are_written_as_they_were(self, before, edit, after):
        frame = '{{ "cells" : [{{"source": [""], "cell_type": "code"}},{{ "source":{},"cell_type": "code"}} ]}}'

        assert source("n.ipynb", frame.format(before)).edited({1: [edit]}).decode() == frame.format(after)

    @pytest.mark.parametrize("cell", ["a = 1\r\nx = f(1)\r\ny = 2", "a = 1\rx = f(1)\ny = 2", "a = '\x0c'\nx = f(1)"])
    @pytest.mark.parametrize("lines", [True, False])
    def test_the_line_ends_inside_a_cell_stay(self, cell, lines):
        cells = [{"cell_type": "code", "source": cell.splitlines(keepends=True) if lines else cell}]
        before = json.dumps({"cells": cells}, indent=1)

        changed = source("n.ipynb", before).edited({0: [insertion(2, 8, ", 2")]}).decode()

        assert changed == before.replace("f(1)", "f(1, 2)")


MARKDOWN = """\
Text with `code`.

```python
a = 1
```

~~~ py title="x.py"
b = 2
~~~

```
c = 3
```

```bash
d = 4
```

- item

  ```python
  e = 5
  ```

1. ```python
   f = 6
   ```

> ```python
> g = 7
> if g:
>     g = 8
> ```

    h = 9

    h = 10

Not code:
    i = 11

>>> j = 12
>>> for k in [j]:
...     k
13
...

```pycon
>>> l = (
...     14)
14

>>> m = 15
```

````{note}
```{code-block} python
:linenos:
:caption: x

n = 16
```
````

```{code-cell} ipython3
---
tags: [hide]
---
o = 17
```

:::{code-block} python
p = 18
:::

```python
not python at all
```

``` {.python .numberLines}
q = 19
```

```js
r = 20
```

<!-- prettier-ignore -->
```python
s = 21
```

<!--
```python
t = 22
```
-->

```python
u = 23
"""

REST = """\
Title
=====

.. code-block:: python
   :caption: x

   a = 1

   b = 2

.. code:: bash

   c = 3

.. note::

   .. code-block:: python

      d = 4

   Literal::

      e = 5

Not code: f = 6

.. code-block:: default


    g = 7

Session:

>>> h = 8
8
>>> i = (
...     9)

.. doctest::

   >>> j = 10

.. testcode::

   k = 11

.. image:: x.png
   :alt: l = 12

.. Not shown:

       m = 13

   .. code-block:: python

      n = 14

..
   .. code-block:: python

      o = 15

.. _target:

   .. code-block:: python

      p = 16

..

   >>> q = 17
"""


class TestDocuments:
    @pytest.mark.parametrize(
        ("name", "text", "names"),
        [
            ("x.md", MARKDOWN, "a b c e f g h j k l m n o p q s u"),
            ("x.rst", REST, "a b d e g h i j k p q"),
            ("x.txt", MARKDOWN, "a b c e f g h j k l m n o p q s u"),
            ("x.txt", REST, "a b d e g h i j k p q"),
        ],
    )
    def test_every_way_to_write_code_is_read(self, name, text, names):
        read = source(name, text)
        found: dict[str, None] = {}
        for piece in read.pieces:
            space: dict[str, Any] = {}
            exec(piece.text, space)
            found |= dict.fromkeys(key for key in space if len(key) == 1)

        assert list(found) == names.split()

    @pytest.mark.parametrize(("name", "text"), [("x.md", MARKDOWN), ("x.rst", REST)])
    def test_places_and_fixes_are_those_of_the_document(self, name, text):
        read = source(name, text)
        lines = text.split("\n")
        checked = 0
        for piece in read.pieces:
            for number, line in enumerate(piece.text.splitlines(), start=1):
                fix = Fix((insertion(number, 1, "X"),), safe=True)
                finding = Finding("CKP301", "n", name, number, 1, number, len(line) + 1, "m", fix, piece.number)
                placed = read.locate(finding)
                assert placed.cell is None
                assert lines[placed.line - 1][placed.column - 1 : placed.end_column - 1] == line
                assert placed.fix is not None
                assert (placed.fix.edits[0].line, placed.fix.edits[0].column) == (placed.line, placed.column)
                checked += bool(line)
        assert checked >= 10

    @pytest.mark.parametrize(
        ("before", "edit", "after"),
        [
            (
                "- a\n\n  ```python\n  x = f(1)\n  ```\n",
                insertion(1, 8, ", 2"),
                "- a\n\n  ```python\n  x = f(1, 2)\n  ```\n",
            ),
            ("```py\n\n    x = 1\n```\n", insertion(2, 6, "\ny = 2"), "```py\n\n    x = 1\n    y = 2\n```\n"),
            ("    x = 1\n", insertion(1, 1, "import torch\n\n"), "    import torch\n\n    x = 1\n"),
            ("    x = 1\nText\n", insertion(2, 1, "y = 2\n"), "    x = 1\n    y = 2\nText\n"),
            (">>> x = 1\n1\n", insertion(1, 6, "\ny = 2"), ">>> x = 1\n>>> y = 2\n1\n"),
            (">>> x = 1\n", insertion(1, 1, "import torch\n"), ">>> import torch\n>>> x = 1\n"),
            (">>> for x in y:\n...     x\n", insertion(2, 6, "\n    z"), ">>> for x in y:\n...     x\n...     z\n"),
            ("> ```py\n> x = 1\n> ```\n", insertion(1, 6, "\ny = 2"), "> ```py\n> x = 1\n> y = 2\n> ```\n"),
        ],
    )
    def test_an_edit_is_written_with_what_stands_before_the_code(self, before, edit, after):
        read = source("x.md", before)

        assert read.edited({read.pieces[0].number: [edit]}).decode() == after

    def test_what_a_session_printed_is_no_code(self):
        read = source("x.md", ">>> x = 1\n[0, 1,\n... and 7 more\n>>> y = 2\n... \n")

        assert [piece.text for piece in read.pieces] == ["x = 1\ny = 2\n\n"]

    def test_what_is_written_for_a_notebook_is_read_in_a_document_too(self):
        read = source("x.md", "```python\n!pip install torch\n%cd work\nx = 1\n```\n\n```\npython -m this\n```\n")

        assert [piece.text for piece in read.pieces] == ["pass\npass\nx = 1\n"]

    def test_a_session_says_what_the_reader_sees(self):
        read = source("x.md", ">>> f(\n...   1)\n'shown'\n>>> g()\n>>> h()\n<shown>\n\n>>> f()\n")

        assert [piece.shown for piece in read.pieces] == [frozenset({1, 4}), frozenset()]

    def test_a_document_may_leave_out_what_goes_without_saying(self):
        assert "import torch\n" in source("x.md", "").prelude
        assert source("x.py", "").prelude == source("x.ipynb", notebook()).prelude == ""
