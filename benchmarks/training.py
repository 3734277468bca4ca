"""Training, side by side: what PyTorch users write by hand, what the peers do, and charrnn's backends.

    python benchmarks/training.py [--rounds 7] [--threads 1] [--cells lstm,gru,rnn,gru-before]
                                  [--only small|names|large|end-to-end] [--all] [--no-floor] [--no-mallopt]
    python benchmarks/training.py --memory [--cells lstm]    peak memory, not time
    python benchmarks/training.py --check                    three losses of each contender, not time

One process; all contenders begin with the same weights and take turns, in an order that rotates from round to round.
Times are medians over rounds; ratios are taken within a round, then their median, so that a slow moment of the machine
hits both sides. A step is forward, loss, backward, clipping to norm 1 and Adam; the peers clip as they do: not at all.
The reference is what a tutorial has: nn.Embedding, nn.LSTM (...), nn.Linear, cross_entropy, clip_grad_norm_, Adam.

"Its products" are the matrix products that a step cannot do without, alone: by torch.mm into memory that is already
there, by charrnn's kernel, and as so many multiply-adds on registers (needs cc). torch.mm is no lower bound: on an AMD
processor MKL leaves AVX-512 alone, and oneDNN (in nn.LSTM) and the kernel do not.

Before anything else malloc is told to keep what it has, as charrnn does at start-up; --no-mallopt shows the difference.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import itertools
import math
import random
import resource
import statistics
import string
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from sampling import median_ratio
from sampling import probe as probe_library
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, RandomSampler

from charrnn.config import Settings, TextSettings
from charrnn.kernel.library import describe
from charrnn.layout import GATES, PARAMETERS
from charrnn.machine.malloc import tune_malloc
from charrnn.model import kernel
from charrnn.model.charmodel import CharModel
from charrnn.text import corpus as corpora
from charrnn.text.batches import IGNORED, Batch, LineBatches, StreamBatches, line_bounds
from charrnn.training.optim import Optimizer, make_optimizer
from charrnn.training.step import TrainStep


@dataclass(frozen=True)
class Size:
    """What one step works on: L layers of H units (the embedding as wide), B rows of T characters out of V."""

    title: str
    layers: int
    hidden: int
    batch: int
    time: int
    vocabulary: int


SIZES = {
    "small": Size("2 x 128, T=50, B=50, V=65", 2, 128, 50, 50, 65),
    "names": Size("1 x 128, T=16, B=32, V=53", 1, 128, 32, 16, 53),
    "large": Size("3 x 512, T=32, B=64, V=65", 3, 512, 64, 32, 65),
}
END_TO_END = Size("an epoch of names, 1 x 128, B=32", 1, 128, 32, 16, 53)
TORCH = {"lstm": nn.LSTM, "gru": nn.GRU, "rnn": nn.RNN}
TORCH_CELLS = {"lstm": nn.LSTMCell, "gru": nn.GRUCell, "rnn": nn.RNNCell}
LR, CLIP = 1e-3, 1.0
PLAIN, FLOOR, PEAK = "**plain nn.X, Adam**", "its products: torch.mm", "its products: FMA peak"

Step = Callable[[Tensor, Tensor], Any]  # inputs (B, T), targets (B, T) -> nats per character; weights updated
Weights = dict[str, Tensor]  # with CharModel's names
Make = Callable[[str, Size, Weights], Step]  # a contender's model and optimiser for (cell, size, first weights)


# Contenders


class Plain(nn.Module):
    """The tutorial's network. gru-before: nn.GRU, as near as torch.nn comes."""

    def __init__(self, cell: str, size: Size, weights: Weights, batch_first: bool = True) -> None:
        super().__init__()
        self.embedding = nn.Embedding(size.vocabulary, size.hidden)
        self.recurrent = TORCH.get(cell, nn.GRU)(size.hidden, size.hidden, size.layers, batch_first=batch_first)
        self.head = nn.Linear(size.hidden, size.vocabulary)
        self.load_state_dict(weights)

    def forward(self, ids: Tensor) -> Tensor:
        return self.head(self.recurrent(self.embedding(ids))[0])

    def nats(self, inputs: Tensor, targets: Tensor) -> Tensor:
        return F.cross_entropy(self(inputs).flatten(0, 1), targets.flatten(), ignore_index=IGNORED)


class Packed(Plain):
    """On a PackedSequence: no padding in recurrence, head and loss."""

    def nats(self, inputs: Tensor, targets: Tensor) -> Tensor:
        lengths = (targets != IGNORED).sum(1)
        pack = partial(nn.utils.rnn.pack_padded_sequence, lengths=lengths, batch_first=True, enforce_sorted=False)
        outputs, _ = self.recurrent(pack(self.embedding(inputs)))
        return F.cross_entropy(self.head(outputs.data), pack(targets).data)


class CellLoop(Plain):
    """nn.LSTMCell and its like in a Python loop over time."""

    def __init__(self, cell: str, size: Size, weights: Weights) -> None:
        nn.Module.__init__(self)
        self.cell, self.size = cell, size
        self.embedding = nn.Embedding(size.vocabulary, size.hidden)
        self.cells = self.make_cells(weights)
        self.head = nn.Linear(size.hidden, size.vocabulary)
        self.load_state_dict(weights, strict=False)

    def make_cells(self, weights: Weights) -> nn.ModuleList:
        cells = [TORCH_CELLS[self.cell](self.size.hidden, self.size.hidden) for _ in range(self.size.layers)]
        for k, layer in enumerate(cells):
            layer.load_state_dict({name: weights[f"recurrent.{name}_l{k}"] for name in PARAMETERS})
        return nn.ModuleList(cells)

    def first_states(self, rows: int) -> list[tuple[Tensor, ...]]:
        zeros = torch.zeros(rows, self.size.hidden)
        return [(zeros, zeros) if self.cell == "lstm" else (zeros,)] * self.size.layers

    def advance(self, k: int, x: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return self.cells[k](x, state) if self.cell == "lstm" else (self.cells[k](x, state[0]),)

    def forward(self, ids: Tensor) -> Tensor:
        embedded, outputs, states = self.embedding(ids), [], self.first_states(len(ids))
        for t in range(ids.shape[1]):
            x = embedded[:, t]
            for k, state in enumerate(states):
                states[k] = self.advance(k, x, state)
                x = states[k][0]
            outputs.append(x)
        return self.head(torch.stack(outputs, 1))


class Makemore(CellLoop):
    """makemore's RNN and GRU: one nn.Linear for each gate on input and state concatenated; a learned first state.

    Its GRU resets before the product. It has one layer and no LSTM: both are added here in its manner.
    """

    def make_cells(self, weights: Weights) -> nn.ModuleList:
        hidden, layers = self.size.hidden, self.size.layers
        self.start = nn.Parameter(torch.zeros(layers, 1, hidden))
        pieces = 3 if self.cell.startswith("gru") else 1  # the LSTM's gates stand side by side
        cells = []
        for k in range(layers):
            w_ih, w_hh, b_ih, b_hh = (weights[f"recurrent.{name}_l{k}"] for name in PARAMETERS)
            gates = torch.cat([w_ih, w_hh, (b_ih + b_hh).unsqueeze(1)], 1).chunk(pieces)
            for gate, sign in zip(gates, (1, -1, 1), strict=False):  # its z is 1 - z of charrnn
                linear = nn.Linear(2 * hidden, len(gate))
                linear.load_state_dict({"weight": sign * gate[:, :-1], "bias": sign * gate[:, -1]})
                cells.append(linear)
        return nn.ModuleList(cells)

    def first_states(self, rows: int) -> list[tuple[Tensor, ...]]:
        starts = [start.expand(rows, -1) for start in self.start]
        return [(h, torch.zeros_like(h)) if self.cell == "lstm" else (h,) for h in starts]

    def advance(self, k: int, x: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        h, joint = state[0], torch.cat([x, state[0]], 1)
        if self.cell == "rnn":
            return (torch.tanh(self.cells[k](joint)),)
        if self.cell == "lstm":
            i, f, g, o = self.cells[k](joint).chunk(4, 1)
            c = torch.sigmoid(f) * state[1] + torch.sigmoid(i) * torch.tanh(g)
            return torch.sigmoid(o) * torch.tanh(c), c
        to_r, to_z, to_new = self.cells[3 * k : 3 * k + 3]
        new = torch.tanh(to_new(torch.cat([x, torch.sigmoid(to_r(joint)) * h], 1)))
        z = torch.sigmoid(to_z(joint))
        return ((1 - z) * h + z * new,)


class CharRNN(Plain):
    """char-rnn.pytorch: nn.X called for one character after another, a loss for each, and their sum.

    builds_data: its batches too, from a Python string, one character after another, instead of those given.
    """

    def __init__(self, cell: str, size: Size, weights: Weights, builds_data: bool = False) -> None:
        super().__init__(cell, size, weights, batch_first=False)
        self.cell, self.size, self.builds_data = cell, size, builds_data
        self.text = "".join(random.Random(1).choices(string.printable[: size.vocabulary], k=100_000))
        self.criterion = nn.CrossEntropyLoss()

    def nats(self, inputs: Tensor, targets: Tensor) -> Tensor:
        if self.builds_data:
            inputs, targets = self.build()
        rows, length = inputs.shape
        hidden: Any = torch.zeros(self.size.layers, rows, self.size.hidden)
        hidden = (hidden, torch.zeros_like(hidden)) if self.cell == "lstm" else hidden
        total = torch.zeros(())
        for t in range(length):
            output, hidden = self.recurrent(self.embedding(inputs[:, t]).view(1, rows, -1), hidden)
            total = total + self.criterion(self.head(output.view(rows, -1)), targets[:, t])
        total.item()  # it keeps account at every step
        return total / length  # there the sum; the same to Adam

    def build(self) -> Tensor:
        pair = torch.empty(2, self.size.batch, self.size.time, dtype=torch.long)
        for row in range(self.size.batch):
            start = random.randint(0, len(self.text) - self.size.time - 1)
            piece = self.text[start : start + self.size.time + 1]
            pair[0, row], pair[1, row] = self.to_tensor(piece[:-1]), self.to_tensor(piece[1:])
        return pair

    def to_tensor(self, piece: str) -> Tensor:
        ids = torch.zeros(len(piece)).long()
        for place in range(len(piece)):
            ids[place] = string.printable.index(piece[place])
        return ids


def trained(
    network: Callable[..., Any], cell: str, size: Size, weights: Weights, *,
    make_optimizer: Callable[..., torch.optim.Optimizer] = torch.optim.Adam, clip: float | None = CLIP,
) -> Step:  # fmt: skip
    """The step of a network as tutorials take it."""
    model = network(cell, size, weights)
    optimizer = make_optimizer(model.parameters(), lr=LR)

    def step(inputs: Tensor, targets: Tensor) -> Tensor:
        loss = model.nats(inputs, targets)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        if clip is not None:
            nn.utils.clip_grad_norm_(model.parameters(), clip)
        optimizer.step()
        return loss.detach()

    return step


plain, packed, cell_loop = partial(trained, Plain), partial(trained, Packed), partial(trained, CellLoop)
char_rnn_pytorch = partial(trained, CharRNN, clip=None)
with_its_data = partial(trained, partial(CharRNN, builds_data=True), clip=None)
adamw = partial(torch.optim.AdamW, weight_decay=0.01, betas=(0.9, 0.99), eps=1e-8)
makemore = partial(trained, Makemore, clip=None, make_optimizer=adamw)


class Charrnn:
    """charrnn's own step. around: something to put about its optimiser."""

    def __init__(
        self, backend: str, cell: str, size: Size, weights: Weights, around: Callable[[Optimizer], Optimizer] | None = None,
        precision: str = "float32",
    ) -> None:  # fmt: skip
        settings = settings_for(cell, size)
        model = CharModel(settings.model, size.vocabulary, backend, precision)
        model.load_tensors(weights)
        optimizer = make_optimizer(model, settings.training)
        self.step = TrainStep(model, around(optimizer) if around else optimizer, settings)
        self.state, self.number = model.zero_state(1), 0

    def __call__(self, inputs: Tensor, targets: Tensor) -> float:
        self.number += 1
        return self.step(Batch(inputs, targets, fresh=True), self.state, LR, self.number).nats_per_char


def settings_for(cell: str, size: Size) -> Settings:
    network = {"hidden_size": size.hidden, "num_layers": size.layers, "embedding_size": size.hidden, "dropout": 0.0}
    settings = Settings().with_values("model", cell=cell, **network)
    return settings.with_values("training", lr=LR, clip=CLIP, weight_decay=0.0)


def needed_products(cell: str, size: Size, *, at_once: bool = False) -> list[tuple[Tensor, Tensor]]:
    """The matrix products (a, b) of one step. Layer 0 looks rows up: V of them are multiplied, whatever T and B.

    at_once: those of all time steps together, as if none had to wait for the one before.
    """
    hidden, places = size.hidden, size.time * size.batch
    products: list[tuple[Tensor, Tensor]] = []

    def numbers(*shape: int) -> Tensor:
        return torch.randn(shape) / 10

    def linear(rows: int, inputs: int, outputs: int, pieces: int = 1) -> None:
        """x W^T and the gradient of x, in pieces of the rows, and the gradient of W."""
        x, weight, d_out = numbers(rows, inputs), numbers(outputs, inputs), numbers(rows, outputs)
        products.extend((piece, weight.t()) for piece in x.chunk(pieces))
        products.extend((piece, weight) for piece in d_out.chunk(pieces))
        products.append((d_out.t(), x))

    for k in range(size.layers):
        linear(places if k else size.vocabulary, hidden, GATES[cell] * hidden)
        # The candidate of gru-before needs the reset gate before it can multiply.
        for gates in (2, 1) if cell == "gru-before" else (GATES[cell],):
            linear(places, hidden, gates * hidden, 1 if at_once else size.time)
    linear(places, hidden, size.vocabulary)
    return products


def torch_products(cell: str, size: Size, weights: Weights) -> Step:
    jobs = [(a, b, torch.empty(len(a), b.shape[1])) for a, b in needed_products(cell, size)]

    def step(inputs: Tensor, targets: Tensor) -> float:
        for a, b, out in jobs:
            torch.mm(a, b, out=out)
        return math.nan

    return step


def kernel_products(cell: str, size: Size, weights: Weights) -> Step:
    """By charrnn's own product, which packs b at each call: so time steps at once, as its layers pack once for all."""
    jobs = needed_products(cell, size, at_once=True)

    def step(inputs: Tensor, targets: Tensor) -> float:
        for a, b in jobs:
            kernel.product(a, b)
        return math.nan

    return step


def contenders(cell: str, *, slow: bool, floors: bool) -> dict[str, Make]:
    """slow: those that loop over time in Python too. torch.nn has no gru-before, so there is less to compare it with."""
    made: dict[str, Make] = {}
    if slow and cell in TORCH:
        made["char-rnn.pytorch's loop"] = char_rnn_pytorch
        made["the same with its data builder"] = with_its_data
    if slow:
        made["makemore's cell loop"] = makemore
    if slow and cell in TORCH:
        made["nn.XCell loop"] = cell_loop
    made[PLAIN] = plain
    made |= {f"charrnn {backend}": partial(Charrnn, backend) for backend in backends(cell)}
    if kernel.has_bfloat16():
        able = [backend for backend in backends(cell) if backend != "func"]
        made |= {f"charrnn {backend}, bfloat16": partial(Charrnn, backend, precision="bfloat16") for backend in able}
    if floors:
        made[FLOOR] = torch_products
        made |= {"its products: kernel.product": kernel_products} if kernel.is_usable() else {}
    return made


def backends(cell: str) -> list[str]:
    """Those that work here, the fastest last."""
    return ["torch"] * (cell in TORCH) + ["func"] + ["kernel"] * kernel.is_usable()


def first_weights(cell: str, size: Size) -> Weights:
    torch.manual_seed(1)
    model = CharModel(settings_for(cell, size).model, size.vocabulary, backends(cell)[-1])
    return {name: value.clone() for name, value in model.tensors().items()}


# The race

Run = Callable[[], tuple[float, float]]  # -> steps done, characters predicted


@dataclass
class Taken:
    """What a contender took, an item for each round."""

    seconds: list[float] = field(default_factory=list)  # per step
    per_char: list[float] = field(default_factory=list)  # seconds
    faults: list[float] = field(default_factory=list)  # minor page faults per step


def race(runs: dict[str, Run], rounds: int) -> dict[str, Taken]:
    taken = {name: Taken() for name in runs}
    for number in range(rounds):
        names = list(runs)
        for name in names[number % len(names) :] + names[: number % len(names)]:
            faults, began = minor_faults(), time.perf_counter()
            steps, chars = runs[name]()
            elapsed = time.perf_counter() - began
            taken[name].seconds.append(elapsed / steps)
            taken[name].per_char.append(elapsed / chars)
            taken[name].faults.append((minor_faults() - faults) / steps)
    return taken


def minor_faults() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt


def show(title: str, taken: dict[str, Taken]) -> None:
    floors = {"of torch.mm": FLOOR, "of FMA peak": PEAK}
    floors = {column: name for column, name in floors.items() if name in taken}
    head("ms per step", "x plain nn.X", *floors, "page faults per step", "chars/s", title=title)
    for name, own in taken.items():
        # Ratios within a round, then their median: a slow moment of the machine hits both.
        shares = [f"{median_ratio(taken[other].seconds, own.seconds):.0%}" for other in floors.values()]
        row(
            name, f"{1000 * statistics.median(own.seconds):.2f}", f"{median_ratio(taken[PLAIN].per_char, own.per_char):.2f}",
            *shares, f"{statistics.median(own.faults):,.0f}", f"{1 / statistics.median(own.per_char):,.0f}",
        )  # fmt: skip


def head(*columns: str, title: str) -> None:
    print(f"\n| {' | '.join([title, *columns])} |\n|---{'|---:' * len(columns)}|")


def row(*cells: str) -> None:
    print(f"| {' | '.join(cells)} |", flush=True)


def single_steps(cell: str, size: Size, options: argparse.Namespace) -> None:
    """All contenders on random ids."""
    weights, batches = first_weights(cell, size), random_batches(size)
    makers = contenders(cell, slow=size.hidden < 512 or options.all, floors=options.floor)
    made = {name: make(cell, size, weights) for name, make in makers.items()}
    losses = {name: [float(step(*batches[0])) for _ in range(3)] for name, step in made.items()}
    check(cell, size, losses, options.check)
    if options.check:
        return

    def run(step: Step, steps: int) -> tuple[int, int]:
        for k in range(steps):
            step(*batches[k % len(batches)])
        return steps, steps * size.batch * size.time

    runs: dict[str, Run] = {}
    for name, step in made.items():
        began = time.perf_counter()
        run(step, 2)
        runs[name] = partial(run, step, max(2, math.ceil(2 * options.seconds / (time.perf_counter() - began))))
    if options.floor:
        with contextlib.suppress(OSError, subprocess.CalledProcessError):  # no compiler
            runs[PEAK] = peak(needed_products(cell, size, at_once=True), options.threads, size)
    show(f"{cell}, {size.title}", race(runs, options.rounds))


def peak(products: list[tuple[Tensor, Tensor]], threads: int, size: Size) -> Run:
    """The arithmetic of a step's products on registers alone: what no program can beat."""
    operations, turns = sum(2 * a.numel() * b.shape[1] for a, b in products), 4_000_000
    with tempfile.TemporaryDirectory() as folder:
        multiply_add = probe_library(Path(folder)).multiply_add

    def run() -> tuple[float, float]:
        multiply_add(turns)
        steps = 512 * turns * threads / operations
        return steps, steps * size.batch * size.time

    return run


def random_batches(size: Size) -> list[tuple[Tensor, Tensor]]:
    ids = torch.randint(size.vocabulary, (8, 2, size.batch, size.time), generator=torch.Generator().manual_seed(2))
    return [(inputs, targets) for inputs, targets in ids]


def check(cell: str, size: Size, losses: dict[str, list[float]], is_shown: bool) -> None:
    """All begin near ln V; those that compute the same function agree with charrnn, and after one update still do."""
    uniform, others = math.log(size.vocabulary), {"gru": "makemore's cell loop", "gru-before": PLAIN}  # another reset
    exact = [found for name, found in losses.items() if name.startswith("charrnn") and "bfloat16" not in name]
    theirs = exact[-1]
    if is_shown:
        print(f"\n{cell}, {size.title}, ln V = {uniform:.4f}: loss of three steps on one batch")
    for name, found in losses.items():
        if math.isnan(found[0]):
            continue  # products alone
        if is_shown:
            print(f"  {name:32}{'  '.join(f'{loss:.5f}' for loss in found)}")
        assert abs(found[0] - uniform) < 0.3, (cell, name, found)
        if name != others.get(cell) and "data builder" not in name:
            rounds = 20 if "bfloat16" in name else 1
            assert abs(found[0] - theirs[0]) < rounds * 1e-4, (cell, name, found, theirs)
            assert abs(found[1] - theirs[1]) < rounds * 1e-3, (cell, name, found, theirs)


class Clocked:
    """An optimiser that counts its seconds."""

    def __init__(self, optimizer: Optimizer) -> None:
        self.optimizer, self.seconds = optimizer, dict.fromkeys(("zero_grad", "clip", "step"), 0.0)

    def __getattr__(self, name: str) -> Any:
        def timed(*arguments: Any) -> Any:
            began = time.perf_counter()
            result = getattr(self.optimizer, name)(*arguments)
            self.seconds[name] += time.perf_counter() - began
            return result

        return timed


def parts_of_a_step(cell: str, size: Size, rounds: int) -> None:
    """What optimiser and data are of charrnn's fastest step, on a stream in a file."""
    step = Charrnn(backends(cell)[-1], cell, size, first_weights(cell, size), Clocked)
    symbols = (string.ascii_letters + string.digits + " .\n")[-size.vocabulary :]
    with tempfile.TemporaryDirectory() as folder:
        path, settings = Path(folder) / "text", TextSettings(mode="stream")
        path.write_text("".join(random.Random(3).choices(symbols, k=1_000_000)))
        corpus, _ = corpora.build(corpora.survey(str(path), settings, 0), settings, 0, Path(folder) / "corpus")
        batches = StreamBatches(corpus, size.batch, size.time)
        taken: list[list[float]] = []
        for k in range(5 + 30 * rounds):
            step.step.optimizer.seconds = dict.fromkeys(step.step.optimizer.seconds, 0.0)
            began = time.perf_counter()
            batch = batches.batch(k % (batches.steps_per_epoch - 1))
            loaded = time.perf_counter()
            step(batch.inputs, batch.targets)
            ended = time.perf_counter()
            taken.append([ended - loaded, *step.step.optimizer.seconds.values(), loaded - began])
        whole, *parts = (statistics.median(times) for times in zip(*taken[5:], strict=True))
    names = ("zero", "clip", "update", "batches.batch()")
    text = ", ".join(f"{name} {part / whole:.1%}" for name, part in zip(names, parts, strict=True))
    print(f"\nOf a step of charrnn {step.step.model.backend} ({1000 * whole:.2f} ms): {text}", flush=True)


# From end to end: an epoch of the shipped names, loading included; real characters are counted, newlines among them


class Words(Dataset):  # type: ignore[type-arg]
    """makemore's data: every word padded to the longest, its tensors made anew each time."""

    def __init__(self, words: list[str]) -> None:
        self.words, self.width = words, max(map(len, words)) + 1
        self.numbers = {char: number for number, char in enumerate(sorted(set("".join(words))), 1)}

    def __len__(self) -> int:
        return len(self.words)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        ids = torch.tensor([self.numbers[char] for char in self.words[index]], dtype=torch.long)
        inputs, targets = torch.zeros(self.width, dtype=torch.long), torch.zeros(self.width, dtype=torch.long)
        inputs[1 : len(ids) + 1] = ids
        targets[: len(ids)] = ids
        targets[len(ids) + 1 :] = IGNORED  # -1 there
        return inputs, targets


def end_to_end(cell: str, options: argparse.Namespace) -> None:
    settings = TextSettings()
    with tempfile.TemporaryDirectory() as folder:
        corpus, _ = corpora.build(corpora.survey("names", settings, 1), settings, 1, Path(folder))
        ids, newline = corpus.split("train").copy(), int(corpus.vocabulary.newline or 0)
    size = dataclasses.replace(END_TO_END, vocabulary=len(corpus.vocabulary))
    lines = [ids[start : start + length].tolist() for start, length in zip(*line_bounds(ids, newline), strict=True)]
    tensors = [torch.tensor([newline, *line, newline]) for line in lines]
    words = Words(["".join(chr(corpus.vocabulary.symbols[number]) for number in line) for line in lines])
    sampler = RandomSampler(words, replacement=True, num_samples=1 << 40)
    endless = iter(DataLoader(words, batch_size=size.batch, sampler=sampler))
    steps, weights = math.ceil(len(lines) / size.batch), first_weights(cell, size)

    def padded() -> Iterator[tuple[Tensor, Tensor]]:
        pad = partial(nn.utils.rnn.pad_sequence, batch_first=True)
        while True:
            for chosen in torch.randperm(len(tensors)).split(size.batch):
                rows = [tensors[k] for k in chosen.tolist()]
                inputs, targets = pad([row[:-1] for row in rows]), pad([row[1:] for row in rows], padding_value=IGNORED)
                missing = (0, words.width - inputs.shape[1])  # all to the longest, as makemore
                yield F.pad(inputs, missing), F.pad(targets, missing, value=IGNORED)

    def buckets() -> Iterator[tuple[Tensor, Tensor]]:
        batches = LineBatches(ids, newline, size.batch, 1)
        return ((batch.inputs, batch.targets) for batch in map(batches.batch, itertools.count()))

    def epoch(step: Step, batches: Iterator[tuple[Tensor, Tensor]]) -> tuple[int, int]:
        chars = 0
        for inputs, targets in itertools.islice(batches, steps):
            step(inputs, targets)
            chars += int((targets != IGNORED).sum())
        return steps, chars

    runs: dict[str, Run] = {
        "makemore's way": partial(epoch, makemore(cell, size, weights), endless),
        PLAIN: partial(epoch, plain(cell, size, weights), padded()),
        "nn.X on packed sequences": partial(epoch, packed(cell, size, weights), padded()),
    }
    for name in backends(cell):
        runs[f"charrnn {name}, length buckets"] = partial(epoch, Charrnn(name, cell, size, weights), buckets())
    for run in runs.values():
        run()
    show(f"{cell}, {size.title}", race(runs, options.rounds))


# Memory: a process for each contender


def memory(key: str, cells: list[str], options: argparse.Namespace) -> None:
    size = SIZES[key]
    head(*cells, title=f"peak MB above imports, {size.title}")
    makers = {cell: contenders(cell, slow=size.hidden < 512 or options.all, floors=False) for cell in cells}
    words = [sys.executable, __file__, "--threads", str(options.threads), *["--no-mallopt"] * (not options.mallopt)]
    for name in dict.fromkeys(name for made in makers.values() for name in made):
        found = []
        for cell in cells:
            run = partial(subprocess.check_output, [*words, "--probe", key, cell, name], text=True)
            found.append(run().strip() if name in makers[cell] else "")
        row(name, *found)


def probe(key: str, cell: str, name: str) -> None:
    """Print the peak of this process over six steps, above what it held before it made its model."""
    size = SIZES[key]
    tiny = Size("", 1, 2, 1, 1, 3)  # the first optimiser and the first backward pass import half of torch
    plain("rnn", tiny, first_weights("rnn", tiny))(*random_batches(tiny)[0])
    batches, weights = random_batches(size), first_weights(cell, size)
    before = resident("VmRSS")
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")  # the peak so far is that of the imports
    step = contenders(cell, slow=True, floors=False)[name](cell, size, weights)
    for inputs, targets in batches[:6]:
        step(inputs, targets)
    print(f"{(resident('VmHWM') - before) / 1024:.0f}")


def resident(what: str) -> int:
    """VmRSS or VmHWM (the peak) of this process, kB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(what)).split()[1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=0.4, help="of each contender in each round")
    parser.add_argument("--cells", default="lstm,gru,rnn,gru-before")
    parser.add_argument("--only", choices=(*SIZES, "end-to-end"))
    parser.add_argument("--all", action="store_true", help="the slow ones at 3 x 512 too")
    parser.add_argument("--floor", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--mallopt", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--memory", action="store_true", help="peak memory of each contender, in a process of its own")
    parser.add_argument("--check", action="store_true", help="print the losses of three steps of each contender")
    parser.add_argument("--probe", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    malloc = tune_malloc() if options.mallopt else "as it is"
    torch.set_num_threads(options.threads)
    if options.probe:
        return probe(*options.probe)
    print(
        f"torch {torch.__version__}, {torch.backends.cpu.get_cpu_capability()}, kernel {describe()}, "
        f"{options.threads} thread{'s' * (options.threads > 1)}, malloc {malloc}"
    )
    cells = options.cells.split(",")
    for key in SIZES if options.only is None else SIZES.keys() & {options.only}:
        if options.memory:
            memory(key, cells, options)
            continue
        for cell in cells:
            single_steps(cell, SIZES[key], options)
            if key == "small" and not options.check:
                parts_of_a_step(cell, SIZES[key], options.rounds)
    if options.only in (None, "end-to-end") and not options.memory and not options.check:
        for cell in cells:
            end_to_end(cell, options)


if __name__ == "__main__":
    main()
