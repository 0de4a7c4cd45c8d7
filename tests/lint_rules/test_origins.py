"""What the names of a source may come from."""

from __future__ import annotations

import ast

import pytest

from lint_rules.outline import Outline


def may_be_text(code: str) -> bool:
    """Ask it of the argument of the call of `use`."""
    outline = Outline(ast.parse(code))
    (call,) = (each for each in outline.calls if isinstance(each.func, ast.Name) and each.func.id == "use")
    return outline.origins.may_be_text(call.args[0])


@pytest.mark.parametrize(
    "code",
    [
        "use('net.pt')",
        "use(f'{name}.pt')",
        "path = folder + '.pt'\nuse(path)",
        "use('%s.pt' % name)",
        "import os\nuse(os.path.join(folder, name))",
        "from os.path import join as beside\nuse(beside(folder, name))",
        "from pathlib import Path as P\nuse(P(folder) / name)",
        "use(folder.with_suffix('.pt'))",
        "use(file.parent)",
        "with open(name, 'rb') as stream:\n    use(stream)",
        "def find(folder):\n    return f'{folder}/net.pt'\nuse(find(here))",
        "find = lambda folder: f'{folder}/net.pt'\nuse(find(here))",
        "from functools import partial\ndef find(folder):\n    return 'a'\nfinder = partial(find, here)\nuse(finder())",
        "class Job:\n    path = 'net.pt'\n    def run(self):\n        use(self.path)",
        "class A:\n    @property\n    def path(self):\n        return 'a'\n    def run(self):\n        use(self.path)",
        "class Job:\n    path: object\n    def run(self):\n        use(self.path)\nJob('net.pt').run()",
        "class A:\n    def __init__(self, it):\n        self.it = it\n    def run(self):\n        use(self.it)\nA('a')",
        "def run(path):\n    use(path)\nrun('net.pt')",
        "def run(*paths):\n    for path in paths:\n        use(path)\nrun(*['net.pt'])",
        "def run(first, *paths):\n    for path in paths:\n        use(path)\nrun(None, 'net.pt')",
        "def run(**paths):\n    use(paths['a'])\nrun(a='net.pt')",
        "def run(path=None):\n    use(path)\nrun(path='net.pt')",
        "def run(path='net.pt'):\n    use(path)",
        "def run(path, *, name='net.pt'):\n    use(name)",
        "def run(path: str):\n    use(path)",
        "from typing import Optional\ndef run(path: Optional['str']):\n    use(path)",
        "import os\ndef run(path: str | os.PathLike | None):\n    use(path)",
        "import os\ndef run(path):\n    if os.path.isfile(path):\n        use(path)",
        "def run(path):\n    if isinstance(path, str):\n        use(path)",
        "def run(path):\n    if path.endswith('.pt'):\n        use(path)",
        "parser.add_argument('--resume-from')\nuse(parser.parse_args().resume_from)",
        "parser.add_argument('-r', dest='resume')\nuse(parser.parse_args().resume)",
        "paths = {'a': 'net.pt'}\nuse(paths['a'])",
        "paths = {'a': 'net.pt'}\nuse(paths.get(key))",
        "paths = {}\npaths[key] = 'net.pt'\nfor key, path in paths.items():\n    use(path)",
        "paths = []\npaths.append('net.pt')\nuse(paths[0])",
        "paths = []\npaths.extend(['net.pt'])\nuse(paths[-1])",
        "import glob\nuse(max(glob.glob(pattern)))",
        "import glob\nfor path in sorted(glob.glob(pattern)):\n    use(path)",
        "import os\nuse([os.path.join(folder, each) for each in names][0])",
        "import sys\nuse(sys.argv[1])",
        "import os\nuse(os.environ['NET'])",
        "first, second = 'a.pt', 'b.pt'\nuse(second)",
        "if (path := 'net.pt'):\n    use(path)",
        "use(path if given else 'net.pt')",
        "path = 'net.pt'\nuse(path[:-3])",
        "use(max('a.pt', 'b.pt'))",
        "use(dict(a='net.pt')['a'])",
        "class Job:\n    path: object\n    def run(self):\n        use(self.path)\nJob(*['net.pt']).run()",
        "use(given or 'net.pt')",
        "path = 'net.pt'\nother = path\nuse(other)",
        "async def find():\n    return 'net.pt'\nasync def run():\n    use(await find())",
    ],
)
def test_what_may_be_a_text(code: str) -> None:
    assert may_be_text(code)


@pytest.mark.parametrize(
    "code",
    [
        "import torch\nuse(torch.load('net.pt'))",
        "import torch\nstate = torch.load('net.pt')\nuse(state['model'])",
        "state = read(path)\nuse(state)",
        "use({'weight': weight})",
        "state = {}\nfor key, value in read('net.pt').items():\n    state['net.' + key] = value\nuse(state)",
        "use({key.replace('a', 'b'): value for key, value in state.items()})",
        "def run(state: dict[str, object]):\n    use(state)",
        "def run(state: 'str | dict'):\n    pass\ndef other(thing):\n    use(thing)",
        "def run(model, state):\n    use(state)\nrun('net', read('net.pt'))",
        "names = ['a', 'b']\nuse(names)",
        "names = 'a b'.split()\nuse(names)",
        "from functools import partial\nreader = partial(read, 'cpu')\nuse(reader(path))",
        "def run(state):\n    if isinstance(state, dict):\n        use(state)",
        "use(3)",
        "def run(*paths):\n    use(paths)\nrun('net.pt')",
        "use(name)",
    ],
)
def test_what_is_no_text(code: str) -> None:
    assert not may_be_text(code)


def may_be_module(code: str) -> bool:
    """Ask it of the argument of the call of `use`."""
    outline = Outline(ast.parse(code))
    (call,) = (each for each in outline.calls if isinstance(each.func, ast.Name) and each.func.id == "use")
    return outline.origins.may_be_module(call.args[0])


@pytest.mark.parametrize(
    "code",
    [
        "use(net)",
        "net = build()\nuse(net)",
        "use({'model': build()})",
        "use([each.to('cpu') for each in nets])",
        "state = {}\nstate['model'] = build()\nuse(state)",
        "state = {'epoch': 1}\nstate.update(model=net)\nuse(dict(state, model=net))",
        "def run(net):\n    use(net)",
        "class Job:\n    def run(self):\n        use(self.net)",
        "class Net:\n    def state_dict(self):\n        return {'net': build()}\nuse(Net().state_dict())",
        "use(lambda x: x)",
    ],
)
def test_what_may_be_a_module(code: str) -> None:
    assert may_be_module(code)


@pytest.mark.parametrize(
    "code",
    [
        "use({'epoch': 1, 'name': f'{name}'})",
        "use(net.state_dict())",
        "state = {key: value.contiguous() for key, value in weights().items()}\nuse(state)",
        "state = {'model': net.state_dict(), 'loss': loss.item()}\nuse(state)",
        "use({name(): 1})",
    ],
)
def test_what_is_no_module(code: str) -> None:
    assert not may_be_module(code)
