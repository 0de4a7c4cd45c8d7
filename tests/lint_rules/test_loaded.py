"""What may be run of what a source may load."""

from __future__ import annotations

import ast
import textwrap

import pytest

from lint_rules.loaded import Loaded
from lint_rules.outline import Outline

LOAD = "net.load_state_dict(torch.load(path))"


def may_run(code: str) -> bool:
    return Loaded(Outline(ast.parse(f"import torch\n{textwrap.dedent(code)}\n"))).may_run()


@pytest.mark.parametrize(
    "code",
    [
        f"{LOAD}\nnet(x)",
        f"{LOAD}\nnet.forward(x)",
        f"{LOAD}\nnet.module(x)",
        f"{LOAD}\nnet.encoder(x)\nprint(net.encoder)",
        f"{LOAD}\nfor row in map(net, rows):\n    print(row)",
        f"{LOAD}\ntorch.jit.trace(net, x)",
        f"{LOAD}\nother = net\nother(x)",
        f"other = net\nother(x)\n{LOAD}",
        f"{LOAD}\nnet.half().cuda()(x)",
        f"{LOAD}\nnet{'.half().cuda()' * 40}(x)",  # each link is looked at once, or it never ends
        f"{LOAD}\nencoder = net.encoder\nencoder(x)",
        f"{LOAD}\nif (best := net) is not None:\n    best(x)",
        f"{LOAD}\n(best := net)(x)",
        f"{LOAD}\nchosen = net if good else None\nchosen(x)",
        f"{LOAD}\nchosen = given or net\nchosen(x)",
        f"{LOAD}\nfast = torch.compile(net)\nfast(x)",
        f"{LOAD}\nboth = torch.nn.Sequential(net, head)\nboth(x)",
        f"import copy\n{LOAD}\nother = copy.deepcopy(net)\nother(x)",
        f"from copy import copy\n{LOAD}\nother = copy(net)\nother(x)",
        f"{LOAD}\nupdate(averages)\napply(averages)\nnet(x)",
        f"{LOAD}\nwhole.encoder, whole.head = net, head\nwhole(x)",
        f"{LOAD}\nnets = [net]\nnets[0](x)",
        f"{LOAD}\nnets = {{'a': net}}\nfor name, each in nets.items():\n    each(x)",
        f"{LOAD}\nnets = []\nnets.append(net)\nfor each in nets:\n    each(x)",
        f"{LOAD}\nnets = {{name: net for name in names}}\nnets['a'](x)",
        f"{LOAD}\nnets = [net for name in names]\nnets[0](x)",
        f"{LOAD}\nfor pair in nets.items():\n    pair[1](x)\nnets['a'] = net",
        f"{LOAD}\nnets = {{net}}\nnext(iter(nets))(x)",
        f"{LOAD}\nmake = lambda: net\nmake()(x)",
        f"{LOAD}\n(one, other), number = (net, None), 1\none(x)",
        f"{LOAD}\nfor x, each in zip(batches, [net]):\n    each(x)",
        f"{LOAD}\npairs = [[net], [x]]\nfor each, x in zip(*pairs):\n    each(x)",
        f"{LOAD}\nfor number, each in enumerate([net]):\n    each(x)",
        f"{LOAD}\nfor number, each in enumerate([net], 1):\n    each(x)",
        f"{LOAD}\nprint([each(x) for each in (net,)])",
        f"{LOAD}\nwith torch.no_grad(), net as held:\n    held(x)",
        f"{LOAD}\nrun = net.forward\nrun(x)",
        f"{LOAD}\ndef test(model):\n    model(x)\ntest(net)",
        f"{LOAD}\ndef test(x, *, model):\n    model(x)\ntest(x, model=net)",
        f"{LOAD}\ndef test(x, model):\n    model(x)\ntest(*[x, net])",
        f"{LOAD}\ndef test(x, model):\n    model(x)\ntest(**{{'model': net}})",
        f"{LOAD}\ntest = lambda model: model(x)\ntest(net)",
        f"{LOAD}\ndef test(part):\n    part(x)\nnet.apply(test)",
        f"{LOAD}\nnet.apply(lambda part: part(x))",
        f"def read(net):\n    {LOAD}\nmodel = build()\nread(model)\nmodel(x)",
        f"def read():\n    {LOAD}\n    return net\nread()(x)",
        f"def read():\n    {LOAD}\n    return net\nget = read\nmodel = get()\nmodel(x)",
        f"def read():\n    {LOAD}\n    return net, 1\nmodel, epoch = read()\nmodel(x)",
        f"def main():\n    {LOAD}\n    def test():\n        net(x)\n    test()",
        f"def main():\n    global net\n    net = build()\n    {LOAD}\nmain()\nnet(x)",
        "class Net:\n    pass\nmake = Net\nnet = make()\nnet.load_state_dict(torch.load(path))\nit = Net()\nit(x)",
        f"from zoo import net\nnet = net()\n{LOAD}\nnet(x)",
        "def read(filter):\n    filter.load_state_dict(torch.load(path))\n    filter(x)",
        "net = torch.nn.DataParallel(build())\nnet.module.load_state_dict(torch.load(path))\nnet(x)",
        "net.load_state_dict(state)\nnet(x)",
        "net = torch.load(path)\nnet(x)",
        "torch.load(path)(x)",
        "net = torch.load(path)['model']\nnet(x)",
        "checkpoint = torch.load(path)\nnet = checkpoint.get('model')\nnet(x)",
        "net.load_state_dict(torch.load(path)['model'].state_dict())\nnet(x)",
        "read(torch.load)",
        """
        def main():
            net = build()
            net.load_state_dict(torch.load(path))
            def test():
                nonlocal net
                net = 1
            net(x)
        """,
        """
        class Net(torch.nn.Module):
            def __init__(self):
                super().__init__()
                self.layer = build()
                self.load_state_dict(torch.load(path))
            def forward(self, x):
                return self.layer(x)
        """,
        """
        class Net(torch.nn.Module):
            def read(self):
                self.load_state_dict(torch.load(path))
                layer = self.layer
                layer(x)
        """,
        """
        class Net(Base):
            def read(self):
                self.encoder.load_state_dict(torch.load(path))
            def extend(self):
                self.encoder = build()
        net = Net()
        net.read()
        net(x)
        """,
        """
        class Net(Base):
            def __init__(self):
                self.encoder = build()
            def read(self):
                self.encoder.load_state_dict(torch.load(path))
        net = Net()
        net.read()
        net(x)
        """,
        """
        class Base:
            @classmethod
            def read(cls):
                net = cls()
                net.load_state_dict(torch.load(path))
                return net
        Base.read()(x)
        """,
        """
        class Part(Base):
            def forward(self, x):
                return self.layer(x)
        class Net(Part):
            def read(self):
                self.load_state_dict(torch.load(path))
                print(self.layer)
        """,
        """
        class Net(Other):
            def __init__(self):
                self.encoder = build()
            def read(self):
                self.encoder.load_state_dict(torch.load(path))
        class Other(Net, Base):
            pass
        net = Net()
        net.read()
        net(x)
        """,
        """
        class Holder:
            net = build()
            net.load_state_dict(torch.load(path))
        Holder.net(x)
        """,
        """
        class Job:
            def __init__(self, model):
                self.model = model
            def run(self, x):
                return self.model(x)
        net.load_state_dict(torch.load(path))
        Job(net).run(x)
        """,
        """
        class Job:
            def run(self, model):
                model(x)
        net.load_state_dict(torch.load(path))
        job = Job()
        job.run(net)
        """,
        """
        class Job:
            def run(self, model):
                model(x)
        net.load_state_dict(torch.load(path))
        Job.run(job, net)
        """,
        """
        class Job:
            def start(self):
                net.load_state_dict(torch.load(path))
                self.run(net)
            @staticmethod
            def run(model):
                model(x)
        """,
        """
        class Base:
            model: torch.nn.Module
            def __init__(self, model):
                self.part = model
        class Job(Base):
            def run(self, x):
                return self.part(x)
        net.load_state_dict(torch.load(path))
        Job(net).run(x)
        """,
        """
        class Base:
            model: torch.nn.Module
        class Job(Base):
            def run(self, x):
                return self.model(x)
        net.load_state_dict(torch.load(path))
        Job(net).run(x)
        """,
        """
        class Net(torch.nn.Module):
            pass
        class Larger(Net):
            def __init__(self):
                self.encoder = build()
            def read(self):
                self.encoder.load_state_dict(torch.load(path))
        net = Larger()
        net.read()
        net(x)
        """,
        """
        class Job:
            model: torch.nn.Module
            def run(self, x):
                return self.model(x)
        net.load_state_dict(torch.load(path))
        Job(model=net).run(x)
        """,
        """
        class Job:
            net = build()
            net.load_state_dict(torch.load(path))
            def run(self, x):
                return self.net(x)
        """,
        """
        class Job:
            def __init__(self):
                self._net = build()
                self._net.load_state_dict(torch.load(path))
            @property
            def inner(self):
                return self._net
            def run(self, x):
                return self.inner(x)
        """,
    ],
)
def test_a_run_of_what_is_loaded_is_seen(code: str) -> None:
    assert may_run(code)


@pytest.mark.parametrize(
    "code",
    [
        "net(x)",
        LOAD,
        f"{LOAD}\nnet.eval()\ntorch.save(net.state_dict(), path)",
        f"{LOAD}\nother(x)",
        f"{LOAD}\nsave(net)",
        f"{LOAD}\nprint(list(map(str, rows)))",
        f"{LOAD}\nnet.eval()\nprint(net.eval)",
        f"{LOAD}\ndef test(part):\n    part(x)\nnet.write(test)",
        "from zoo import net as other\nother.load_state_dict(torch.load(path))\nother(x)",
        "make, other = build, build\nnet = make()\nnet.load_state_dict(torch.load(path))\nother()(x)",
        "def read(self):\n    self.load_state_dict(torch.load(path))\ndef run(self, x):\n    self(x)",
        f"{LOAD}\nnet.resize(x)",
        f"{LOAD}\nother = convert(net)\nother(x)",
        f"def read(net):\n    {LOAD}\ndef test(net):\n    net(x)\ntest(build())",
        f"def read():\n    net = build()\n    {LOAD}\ndef test():\n    net = other()\n    net(x)",
        f"{LOAD}\nother = max(net, 1)\nother(x)",
        f"{LOAD}\nother = net.size()\nother(x)",
        f"{LOAD}\nfor name, each in net.items():\n    name(x)",
        f"{LOAD}\nfor run, each in zip(runs, [net]):\n    run(x)",
        f"{LOAD}\ndtype = net.dtype\ndtype(x)",
        f"def read(path):\n    {LOAD}\n    return net\nread(path)",
        "net.load_state_dict(other.state_dict())\nnet(x)",
        "net.load_state_dict({'weight': w})\nnet(x)",
        """
        import zoo
        class Job:
            def read(self):
                self.net.load_state_dict(torch.load(path))
        zoo.net(x)
        """,
        """
        class Job:
            def read(self):
                self.made = build()
                self.made.load_state_dict(torch.load(path))
            def net(self):
                return self.made
            def run(self, x):
                make = self.net
                make(x)
        """,
        """
        class Coder(torch.nn.Module):
            pass
        class Head(torch.nn.Module):
            pass
        coder = Coder()
        coder.load_state_dict(torch.load(path))
        head = Head()
        head(x)
        """,
        """
        class Job:
            def run(self, model):
                model(x)
        net.load_state_dict(torch.load(path))
        Job(net)
        """,
        """
        class Job:
            def __init__(self):
                self.run = build()
            def read(self):
                self.net.load_state_dict(torch.load(path))
            def test(self, x):
                self.run(x)
        """,
        """
        class Job:
            def __init__(self):
                self.net = build()
                self.net.load_state_dict(torch.load(path))
        job = Job()
        job(x)
        """,
        """
        class Base(BaseHandler, object):
            pass
        class Job(Base):
            def __init__(self):
                self.net = build()
                self.net.load_state_dict(torch.load(path))
        job = Job()
        job(x)
        """,
        """
        class Job(Base):
            def __init__(self):
                self.rate = 1
                self.load_state_dict(torch.load(path))
                rate = self.rate
                rate(x)
        """,
    ],
)
def test_what_is_not_loaded_and_what_is_not_run(code: str) -> None:
    assert not may_run(code)
