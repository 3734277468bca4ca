"""The contenders of benchmarks/sampling.py: the same weights, written from in several ways.

Shapes: B rows, T characters, H units, V vocabulary, L layers.
"""

from __future__ import annotations

import ctypes
import time

import torch
from torch import Tensor, nn

from charrnn.config import Settings
from charrnn.layout import GATES
from charrnn.model.charmodel import CharModel
from charrnn.sampling.compiled import Compiled
from charrnn.sampling.decode import Decoding
from charrnn.sampling.engine import Sampler, Writer
from charrnn.text.vocabulary import Vocabulary

TORCH = {"lstm": nn.LSTM, "gru": nn.GRU, "rnn": nn.RNN}
# Samplers by name: engine and weights.
ENGINES = {
    "numpy": ("numpy", "float32"),
    "C": ("compiled", "float32"),
    "C float16": ("compiled", "float16"),
}
AS_LEARNT = Decoding()  # temperature 1, nothing filtered
CACHE = 2000  # characters to look back on
LONGEST = 16  # characters of a name, for those who pad


class Contest:
    """The same weights as a CharModel, as samplers, and as bare torch modules."""

    def __init__(self, cell: str, layers: int, hidden: int, vocabulary: int, mode: str) -> None:
        # 1. The weights.
        self.cell = cell
        self.hidden = hidden
        self.mode = mode
        self.settings = Settings().with_values(
            "model", cell=cell, hidden_size=hidden, num_layers=layers, embedding_size=hidden
        )
        torch.manual_seed(1)
        self.network = CharModel(self.settings.model, vocabulary, "torch").eval()
        if mode == "lines":  # names end after about seven characters
            with torch.no_grad():
                self.network.head.bias[0] += 1.6
        self.tensors = {
            name: value.numpy().copy() for name, value in self.network.tensors().items()
        }
        self.vocabulary = Vocabulary("char", (10, *range(64, 63 + vocabulary)))

        # 2. The same as torch modules.
        self.embedding = nn.Embedding.from_pretrained(self.tensor("embedding.weight"))
        self.recurrent = TORCH[cell](hidden, hidden, layers, batch_first=True).eval()
        prefix = "recurrent."
        names = [name for name in self.tensors if name.startswith(prefix)]
        self.recurrent.load_state_dict(
            {name.removeprefix(prefix): self.tensor(name) for name in names}
        )
        self.head = nn.Linear(hidden, vocabulary)
        parts = ("weight", "bias")
        self.head.load_state_dict({part: self.tensor(f"head.{part}") for part in parts})

        # 3. The same as samplers.
        self.refresh()

    def tensor(self, name: str) -> Tensor:
        return torch.tensor(self.tensors[name])

    def refresh(self) -> None:
        """Make the samplers on fresh memory: where pages lie decides a good part of the speed."""
        self.samplers = {
            name: Sampler.from_tensors(
                self.settings,
                self.vocabulary,
                self.mode,
                0,
                self.tensors,
                engine=engine,
                weights=weights,
            )
            for name, (engine, weights) in ENGINES.items()
        }
        self.looking_back: Writer | None = None
        if self.mode == "stream":
            sampler = Sampler.from_tensors(
                self.settings,
                self.vocabulary,
                "stream",
                0,
                self.tensors,
                engine="compiled",
                weights="float16",
                cache=CACHE,
            )
            prompt = next(self.samplers["C"].generate(1, length=CACHE, seed=1)).text
            self.looking_back = sampler.begin(prompt, seed=1)

    # One stream: each writes n characters

    def plain(self, n: int) -> None:
        with torch.no_grad():
            ids = torch.zeros(1, 1, dtype=torch.long)
            state = None
            written = []
            for _ in range(n):
                out, state = self.recurrent(self.embedding(ids), state)
                ids = torch.multinomial(torch.softmax(self.head(out[:, -1]), 1), 1)
                written.append(ids.item())

    def write_looking_back(self, n: int) -> None:
        assert self.looking_back is not None
        for _ in self.looking_back.write(n, decoding=AS_LEARNT):
            pass

    def without_onednn(self, n: int) -> None:
        with torch.backends.mkldnn.flags(enabled=False):
            self.plain(n)

    def char_rnn_pytorch(self, n: int) -> None:
        """Write as char-rnn.pytorch's generate() does.

        It has a fresh tensor for each character, a graph that nobody uses, and exp, not softmax.
        """
        symbols = [chr(code) for code in self.vocabulary.symbols]
        predicted = symbols[0]
        state = None
        for _ in range(n):
            ids = torch.zeros(1).long()
            ids[0] = symbols.index(predicted[-1])
            out, state = self.recurrent(self.embedding(ids.unsqueeze(0)), state)
            weights = self.head(out.view(1, -1)).data.view(-1).exp()
            predicted += symbols[int(torch.multinomial(weights, 1)[0])]

    def write(self, name: str, n: int) -> None:
        sampler = self.samplers[name]
        for _ in sampler.stream(length=n, decoding=AS_LEARNT, seed=1, threads=1):
            pass

    # Names: each writes n lines and returns how many characters they have, newlines included

    def names_plain(self, n: int) -> int:
        chars = 0
        with torch.no_grad():
            for _ in range(n):
                ids = torch.zeros(1, 1, dtype=torch.long)
                state = None
                while True:
                    out, state = self.recurrent(self.embedding(ids), state)
                    ids = torch.multinomial(torch.softmax(self.head(out[:, -1]), 1), 1)
                    chars += 1
                    if ids.item() == 0:
                        break
        return chars

    def names_batched(self, rows: int, n: int) -> int:
        """Write by nn.X on `rows` names at a time; those that have ended leave the batch."""
        chars = 0
        with torch.no_grad():
            for begin in range(0, n, rows):
                ids = torch.zeros(min(rows, n - begin), 1, dtype=torch.long)
                state = None
                while len(ids):
                    out, state = self.recurrent(self.embedding(ids), state)
                    ids = torch.multinomial(torch.softmax(self.head(out[:, -1]), 1), 1)
                    chars += len(ids)
                    goes_on = ids[:, 0] != 0
                    ids = ids[goes_on]
                    if isinstance(state, tuple):
                        state = tuple(part[:, goes_on] for part in state)
                    else:
                        state = state[:, goes_on]
        return chars

    def names_makemore(self, n: int) -> int:
        """Write as makemore's generate() does.

        It writes ten names at a time, reads the whole prefix again for each character, and goes on
        to the full length.
        """
        joined = nn.Linear(2 * self.hidden, GATES[self.cell] * self.hidden)
        w_ih = self.tensor("recurrent.weight_ih_l0")
        w_hh = self.tensor("recurrent.weight_hh_l0")
        with torch.no_grad():
            joined.weight.copy_(torch.cat([w_ih, w_hh], 1))
        advance = self.makemore_gru if self.cell == "gru" else self.makemore_rnn
        chars = 0
        with torch.no_grad():
            for _ in range(0, n, 10):
                ids = torch.zeros(10, 1, dtype=torch.long)
                for _ in range(LONGEST):
                    embedded = self.embedding(ids)
                    h = torch.zeros(10, self.hidden)
                    states = []
                    for t in range(ids.shape[1]):
                        h = advance(joined, embedded[:, t], h)
                        states.append(h)
                    logits = self.head(torch.stack(states, 1))[:, -1]
                    drawn = torch.multinomial(torch.softmax(logits, 1), 1)
                    ids = torch.cat([ids, drawn], 1)
                chars += ids.numel()
        return chars

    def makemore_rnn(self, joined: nn.Linear, x: Tensor, h: Tensor) -> Tensor:
        return torch.tanh(joined(torch.cat([x, h], 1)))

    def makemore_gru(self, joined: nn.Linear, x: Tensor, h: Tensor) -> Tensor:
        linear = nn.functional.linear
        gates = 2 * self.hidden  # r and z; the candidate's rows follow
        joint = torch.cat([x, h], 1)
        both = torch.sigmoid(linear(joint, joined.weight[:gates], joined.bias[:gates]))
        r, z = both.chunk(2, 1)
        other = torch.cat([x, r * h], 1)
        new = torch.tanh(linear(other, joined.weight[gates:], joined.bias[gates:]))
        return (1 - z) * h + z * new

    def names_written(self, name: str, n: int) -> int:
        seed = int(time.perf_counter() * 1e6) % 1_000_003
        names = self.samplers[name].generate(n, decoding=AS_LEARNT, seed=seed, threads=1)
        return sum(one.chars for one in names)

    def read(self, library: ctypes.CDLL, n: int) -> None:
        """Read the matrices of the packed float32 model n times."""
        packed = self.samplers["C"]._network
        assert isinstance(packed, Compiled)
        matrices = [packed._model.head]
        for k, layer in enumerate(packed._layers):
            if k:  # layer 0 looks up its input product
                matrices.append(layer.input)
            matrices.append(layer.recurrent)
        weights = (m.weights for m in matrices)
        counts = (m.inputs * m.columns // 128 * 128 for m in matrices)
        library.read_once(
            (ctypes.c_void_p * len(matrices))(*weights),
            (ctypes.c_size_t * len(matrices))(*counts),
            len(matrices),
            n,
        )
