"""The networks that benchmarks/training.py trains: the tutorials' and the peers', in PyTorch alone.

Shapes: B rows, T characters, H units, E embedding (here H), V vocabulary.
"""

from __future__ import annotations

import random
import string
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from charrnn.layout import PARAMETERS
from charrnn.text.batches import IGNORED


@dataclass(frozen=True)
class Size:
    """What one step works on: L layers of H units (the embedding as wide), B rows of T of V."""

    title: str
    layers: int
    hidden: int
    batch: int
    time: int
    vocabulary: int


TORCH = {"lstm": nn.LSTM, "gru": nn.GRU, "rnn": nn.RNN}
TORCH_CELLS = {"lstm": nn.LSTMCell, "gru": nn.GRUCell, "rnn": nn.RNNCell}

Weights = dict[str, Tensor]  # with CharModel's names


class Plain(nn.Module):
    """The tutorial's network. For gru-before it has nn.GRU, as near as torch.nn comes."""

    def __init__(self, cell: str, size: Size, weights: Weights, batch_first: bool = True) -> None:
        super().__init__()
        self.embedding = nn.Embedding(size.vocabulary, size.hidden)
        recurrent = TORCH.get(cell, nn.GRU)
        self.recurrent = recurrent(size.hidden, size.hidden, size.layers, batch_first=batch_first)
        self.head = nn.Linear(size.hidden, size.vocabulary)
        self.load_state_dict(weights)

    def forward(self, ids: Tensor) -> Tensor:
        logits: Tensor = self.head(self.recurrent(self.embedding(ids))[0])
        return logits

    def nats(self, inputs: Tensor, targets: Tensor) -> Tensor:
        logits = self(inputs)
        return F.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=IGNORED)


class Packed(Plain):
    """The tutorial's network on a PackedSequence: no padding in recurrence, head and loss."""

    def nats(self, inputs: Tensor, targets: Tensor) -> Tensor:
        pack = partial(
            nn.utils.rnn.pack_padded_sequence,
            lengths=(targets != IGNORED).sum(1),
            batch_first=True,
            enforce_sorted=False,
        )
        outputs, _ = self.recurrent(pack(self.embedding(inputs)))
        return F.cross_entropy(self.head(outputs.data), pack(targets).data)


class CellLoop(Plain):
    """nn.LSTMCell and its like in a Python loop over time."""

    def __init__(self, cell: str, size: Size, weights: Weights) -> None:
        nn.Module.__init__(self)
        self.cell = cell
        self.size = size
        self.embedding = nn.Embedding(size.vocabulary, size.hidden)
        self.cells = self.make_cells(weights)
        self.head = nn.Linear(size.hidden, size.vocabulary)
        self.load_state_dict(weights, strict=False)

    def make_cells(self, weights: Weights) -> nn.ModuleList:
        make = TORCH_CELLS[self.cell]
        cells = [make(self.size.hidden, self.size.hidden) for _ in range(self.size.layers)]
        for k, layer in enumerate(cells):
            layer.load_state_dict({name: weights[f"recurrent.{name}_l{k}"] for name in PARAMETERS})
        return nn.ModuleList(cells)

    def first_states(self, rows: int) -> list[tuple[Tensor, ...]]:
        zeros = torch.zeros(rows, self.size.hidden)
        state = (zeros, zeros) if self.cell == "lstm" else (zeros,)
        return [state] * self.size.layers

    def advance(self, k: int, x: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        if self.cell != "lstm":
            return (self.cells[k](x, state[0]),)
        after: tuple[Tensor, ...] = self.cells[k](x, state)
        return after

    def forward(self, ids: Tensor) -> Tensor:
        embedded = self.embedding(ids)
        outputs = []
        states = self.first_states(len(ids))
        for t in range(ids.shape[1]):
            x = embedded[:, t]
            for k, state in enumerate(states):
                states[k] = self.advance(k, x, state)
                x = states[k][0]
            outputs.append(x)
        logits: Tensor = self.head(torch.stack(outputs, 1))
        return logits


class Makemore(CellLoop):
    """makemore's RNN and GRU: an nn.Linear a gate on [input, state]; a learned first state.

    Its GRU resets before the product. It has one layer and no LSTM: both are added in its manner.
    """

    def make_cells(self, weights: Weights) -> nn.ModuleList:
        hidden = self.size.hidden
        layers = self.size.layers
        self.start = nn.Parameter(torch.zeros(layers, 1, hidden))
        # The LSTM's gates stand side by side in one nn.Linear.
        pieces = 3 if self.cell.startswith("gru") else 1
        cells = []
        for k in range(layers):
            w_ih, w_hh, b_ih, b_hh = (weights[f"recurrent.{name}_l{k}"] for name in PARAMETERS)
            gates = torch.cat([w_ih, w_hh, (b_ih + b_hh).unsqueeze(1)], 1).chunk(pieces)
            # makemore's z is 1 - z of charrnn: its gate has the opposite sign.
            for gate, sign in zip(gates, (1, -1, 1), strict=False):
                linear = nn.Linear(2 * hidden, len(gate))
                linear.load_state_dict({"weight": sign * gate[:, :-1], "bias": sign * gate[:, -1]})
                cells.append(linear)
        return nn.ModuleList(cells)

    def first_states(self, rows: int) -> list[tuple[Tensor, ...]]:
        starts = [start.expand(rows, -1) for start in self.start]
        if self.cell == "lstm":
            return [(h, torch.zeros_like(h)) for h in starts]
        return [(h,) for h in starts]

    def advance(self, k: int, x: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        h = state[0]
        joint = torch.cat([x, h], 1)
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
    """char-rnn.pytorch: nn.X called for each character in turn, a loss for each, and their sum.

    builds_data: it builds its batches too, from a Python string, one character after another.
    """

    def __init__(self, cell: str, size: Size, weights: Weights, builds_data: bool = False) -> None:
        super().__init__(cell, size, weights, batch_first=False)
        self.cell = cell
        self.size = size
        self.builds_data = builds_data
        symbols = string.printable[: size.vocabulary]
        self.text = "".join(random.Random(1).choices(symbols, k=100_000))
        self.criterion = nn.CrossEntropyLoss()

    def nats(self, inputs: Tensor, targets: Tensor) -> Tensor:
        if self.builds_data:
            inputs, targets = self.build()
        rows, length = inputs.shape
        hidden: Any = torch.zeros(self.size.layers, rows, self.size.hidden)
        if self.cell == "lstm":
            hidden = (hidden, torch.zeros_like(hidden))
        total = torch.zeros(())
        for t in range(length):
            embedded = self.embedding(inputs[:, t]).view(1, rows, -1)
            output, hidden = self.recurrent(embedded, hidden)
            total = total + self.criterion(self.head(output.view(rows, -1)), targets[:, t])
        total.item()  # char-rnn.pytorch reads the loss at every step
        return total / length  # char-rnn.pytorch has the sum; it is the same to Adam

    def build(self) -> Tensor:
        """Return inputs and targets (2, B, T) cut at random places of the string."""
        pair = torch.empty(2, self.size.batch, self.size.time, dtype=torch.long)
        for row in range(self.size.batch):
            start = random.randint(0, len(self.text) - self.size.time - 1)
            piece = self.text[start : start + self.size.time + 1]
            pair[0, row] = self.to_tensor(piece[:-1])
            pair[1, row] = self.to_tensor(piece[1:])
        return pair

    def to_tensor(self, piece: str) -> Tensor:
        ids = torch.zeros(len(piece)).long()
        for place in range(len(piece)):
            ids[place] = string.printable.index(piece[place])
        return ids
