"""An epoch of the shipped names, loading included, for benchmarks/training.py.

Real characters are counted, newlines among them.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from contenders import PLAIN, Charrnn, backends, first_weights, makemore, packed, plain
from networks import Size
from products import Step
from race import Run, Taken, race
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, RandomSampler

from charrnn.config import TextSettings
from charrnn.text import building
from charrnn.text.batches import IGNORED, LineBatches
from charrnn.text.corpus import line_bounds

EPOCH = Size("an epoch of names, 1 x 128, B=32", 1, 128, 32, 16, 53)


class Words(Dataset):  # type: ignore[type-arg]
    """makemore's data: every word padded to the longest, its tensors made again each time."""

    def __init__(self, words: list[str]) -> None:
        self.words = words
        self.width = max(map(len, words)) + 1
        symbols = sorted(set("".join(words)))
        self.numbers = {char: number for number, char in enumerate(symbols, 1)}

    def __len__(self) -> int:
        return len(self.words)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        numbers = [self.numbers[char] for char in self.words[index]]
        ids = torch.tensor(numbers, dtype=torch.long)
        inputs = torch.zeros(self.width, dtype=torch.long)
        targets = torch.zeros(self.width, dtype=torch.long)
        inputs[1 : len(ids) + 1] = ids
        targets[: len(ids)] = ids
        targets[len(ids) + 1 :] = IGNORED  # makemore has -1 there
        return inputs, targets


def end_to_end(cell: str, rounds: int) -> dict[str, Taken]:
    """Race the contenders over an epoch of names."""
    # 1. The corpus, as charrnn has it and as lists of lines.
    settings = TextSettings()
    with tempfile.TemporaryDirectory() as folder:
        survey = building.survey("names", settings, 1)
        corpus, _ = building.build(survey, settings, 1, Path(folder))
        ids = corpus.split("train").copy()
        newline = int(corpus.vocabulary.newline or 0)
    size = dataclasses.replace(EPOCH, vocabulary=len(corpus.vocabulary))
    starts, lengths = line_bounds(ids, newline)
    bounds = zip(starts, lengths, strict=True)
    lines = [ids[start : start + length].tolist() for start, length in bounds]
    symbols = [chr(code) for code in corpus.vocabulary.symbols]
    words = Words(["".join(symbols[number] for number in line) for line in lines])
    tensors = [torch.tensor([newline, *line, newline]) for line in lines]

    # 2. Each contender's batches, without end.
    sampler = RandomSampler(words, replacement=True, num_samples=1 << 40)
    random_words = iter(DataLoader(words, batch_size=size.batch, sampler=sampler))
    steps = math.ceil(len(lines) / size.batch)
    weights = first_weights(cell, size)

    def padded() -> Iterator[tuple[Tensor, Tensor]]:
        pad = partial(nn.utils.rnn.pad_sequence, batch_first=True)
        while True:
            for numbers in torch.randperm(len(tensors)).split(size.batch):
                rows = [tensors[k] for k in numbers.tolist()]
                inputs = pad([row[:-1] for row in rows])
                targets = pad([row[1:] for row in rows], padding_value=IGNORED)
                missing = (0, words.width - inputs.shape[1])  # all to the longest, as makemore
                yield F.pad(inputs, missing), F.pad(targets, missing, value=IGNORED)

    def buckets() -> Iterator[tuple[Tensor, Tensor]]:
        batches = LineBatches(ids, newline, size.batch, 1)
        numbered = map(batches.batch, itertools.count())
        return ((batch.inputs, batch.targets) for batch in numbered)

    # 3. The race, after one epoch each that is not timed.
    def epoch(step: Step, batches: Iterator[tuple[Tensor, Tensor]]) -> tuple[int, int]:
        chars = 0
        for inputs, targets in itertools.islice(batches, steps):
            step(inputs, targets)
            chars += int((targets != IGNORED).sum())
        return steps, chars

    runs: dict[str, Run] = {
        "makemore's way": partial(epoch, makemore(cell, size, weights), random_words),
        PLAIN: partial(epoch, plain(cell, size, weights), padded()),
        "nn.X on packed sequences": partial(epoch, packed(cell, size, weights), padded()),
    }
    for name in backends(cell):
        step = Charrnn(name, cell, size, weights)
        runs[f"charrnn {name}, length buckets"] = partial(epoch, step, buckets())
    for run in runs.values():
        run()
    return race(runs, rounds)
