"""What a new process lacks, or has in another order: caches, attributes of functions, hashes; and right twins."""

# Code under test, as people write it: to type it would change it.
# mypy: ignore-errors

from __future__ import annotations

import functools
import zlib
from typing import ClassVar

import torch
from torch import Tensor, nn

from tests.pytest_ckpt.cases import correct, faulty

X = torch.linspace(-1.0, 1.0, 8).reshape(2, 4)
SENTENCES = (["the cat sat", "a big dog"],)
WORDS = ["the", "a", "cat", "dog", "bird", "sat", "ran", "on", "by", "with", "big", "small", "red", "blue", "house"]
TOPICS = {"sport", "politics", "science", "culture", "weather", "other", "finance"}
NUMBERS = {topic: number for number, topic in enumerate(TOPICS)}
SORTED_NUMBERS = {topic: number for number, topic in enumerate(sorted(TOPICS))}

# ----------------------------------------------------------------------------------------------- what hashes are behind


class Words(nn.Module):
    """Adds up the embeddings of words, which it numbers in the order that it is given."""

    def __init__(self, words) -> None:
        super().__init__()
        self.numbers = {word: number for number, word in enumerate(words)}
        self.embedding = nn.Embedding(len(self.numbers), 4)

    def forward(self, sentences) -> Tensor:
        rows = [torch.tensor([self.numbers[word] for word in sentence.split()]) for sentence in sentences]
        return torch.stack([self.embedding(row).sum(0) for row in rows])


class WordsOfSet(Words):
    """Numbers them as a set gives them."""

    def __init__(self) -> None:
        super().__init__(set(WORDS))


class WordsSorted(Words):
    """Numbers them in their order."""

    def __init__(self) -> None:
        super().__init__(sorted(set(WORDS)))


faulty("unsaved-state", key="numbers", says="it follows the hashes", inputs=SENTENCES, alone=True)(WordsOfSet)
correct(inputs=SENTENCES)(WordsSorted)


@faulty("unsaved-state", key="inner.numbers", inputs={"sentences": SENTENCES[0]}, alone=True)
def wrapped_words():
    return _Wrapper(WordsOfSet())


class _Wrapper(nn.Module):
    def __init__(self, inner) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, sentences) -> Tensor:
        return self.inner(sentences)


def _factory(kind, scale):
    def make():
        module = kind()
        module.scale = scale
        return module

    return make


_of_closure = _factory(WordsOfSet, [1.0])
_of_closure.__name__ = "factory_with_a_closure"
faulty("unsaved-state", key="numbers", inputs=SENTENCES, alone=True)(_of_closure)


class Hashed(nn.Module):
    """Finds the row of a word by its hash."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(512, 4)

    def row(self, word: str) -> int:
        return hash(word) % 512

    def forward(self, sentences) -> Tensor:
        rows = [torch.tensor([self.row(word) for word in sentence.split()]) for sentence in sentences]
        return torch.stack([self.embedding(row).sum(0) for row in rows])


class Checked(Hashed):
    """Finds it by a checksum, which every process computes alike."""

    def row(self, word: str) -> int:
        return zlib.crc32(word.encode()) % 512


faulty("unsaved-state", key="hash()", says="zlib.crc32", inputs=SENTENCES, alone=True)(Hashed)
correct(inputs=SENTENCES)(Checked)


class Topics(nn.Module):
    """Looks topics up in a table of the file."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(7, 4)

    def forward(self, topics) -> Tensor:
        return self.embedding(torch.tensor([NUMBERS[topic] for topic in topics]))


class TopicsSorted(Topics):
    """Looks them up in one that was sorted."""

    def forward(self, topics) -> Tensor:
        return self.embedding(torch.tensor([SORTED_NUMBERS[topic] for topic in topics]))


faulty("unsaved-state", key="NUMBERS", inputs=(["sport", "other", "finance"],), alone=True)(Topics)
correct(inputs=(["sport", "other", "finance"],))(TopicsSorted)


class Labels(nn.Module):
    """Has its labels in the class."""

    LABELS: ClassVar[list[str]] = list({"person", "place", "date", "number", "product", "event"})

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(6, 4)

    def forward(self, labels) -> Tensor:
        return self.embedding(torch.tensor([self.LABELS.index(label) for label in labels]))


faulty("unsaved-state", key="LABELS", inputs=(["person", "date", "event"],), alone=True)(Labels)


@correct(inputs=SENTENCES)
class OnlyAsks(Words):
    """Has sets and counts in no order, and only asks whether something is in them."""

    SKIPPED = frozenset({"the", "a", "on", "by"})

    def __init__(self) -> None:
        super().__init__(WORDS)
        self.counts = dict.fromkeys(set(WORDS), 0)

    def forward(self, sentences) -> Tensor:
        kept = [[word for word in sentence.split() if word not in self.SKIPPED] for sentence in sentences]
        for word in {word for words in kept for word in words}:
            self.counts[word] += 1
        return super().forward([" ".join(words) for words in kept])


# -------------------------------------------------------------------------------------------- caches and functions


@functools.lru_cache
def drawn(rows: int, columns: int) -> Tensor:
    return torch.randn(rows, columns)


@functools.cache
def computed(rows: int, columns: int) -> Tensor:
    return torch.arange(float(rows * columns)).cos().reshape(rows, columns)


@functools.lru_cache(maxsize=8)
def drawn_from_a_seed(rows: int, columns: int) -> Tensor:
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(3))


class Projected(nn.Module):
    """Projects with a matrix that is drawn when it is first needed, and cached."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 2)

    def matrix(self) -> Tensor:
        return drawn(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x @ self.matrix())


class ProjectedByFormula(Projected):
    """Caches what each process computes alike."""

    def matrix(self) -> Tensor:
        return computed(4, 3) + drawn_from_a_seed(4, 3)


faulty("unsaved-state", key="drawn", inputs=X, alone=True)(Projected)
correct(inputs=X)(ProjectedByFormula)


def shifted(x: Tensor) -> Tensor:
    if not hasattr(shifted, "offset"):
        shifted.offset = torch.rand(4)
    return x + shifted.offset


def counted(x: Tensor) -> Tensor:
    counted.calls = getattr(counted, "calls", 0) + 1
    return x


class Shifts(nn.Module):
    """Calls a function that remembers on itself what it has drawn."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(shifted(x))


class Counts(Shifts):
    """Calls a function that counts its calls."""

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(counted(x))


faulty("unsaved-state", key="shifted.offset", inputs=X, alone=True)(Shifts)
correct(inputs=X)(Counts)


TABLES: dict[int, Tensor] = {}


@faulty("unsaved-state", key="TABLES", inputs=X, alone=True)
class DrawsTable(nn.Module):
    """Draws a table when it first meets a width, and keeps it for all."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        width = x.shape[-1]
        if width not in TABLES:
            TABLES[width] = torch.randn(width)
        return self.linear(x * TABLES[width])
