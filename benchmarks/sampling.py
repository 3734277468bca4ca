"""Sampling, side by side: what PyTorch users write by hand, what the peers do, numpy, and the compiled kernel.

    python benchmarks/sampling.py [--rounds 7] [--seconds 0.4] [--only streams|names|start]

One process, one thread, the same random weights for all, contenders in turn, each round on fresh memory; medians. Needs
a C compiler (cc): the read ceiling (the time to stream once, from the very arrays the kernel reads, what one character
needs) and the peak of multiply-adds are measured by a few lines of C in the same run. Ratios are to the plain loop:
nn.LSTM step by step under no_grad, softmax, multinomial, as tutorials have it.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import nn

from charrnn.config import Settings
from charrnn.layout import GATES
from charrnn.model.charmodel import CharModel
from charrnn.modelfile import MODEL_FILE, model_meta
from charrnn.sampling.compiled import Compiled
from charrnn.sampling.decode import Decoding
from charrnn.sampling.engine import Sampler, Writer
from charrnn.storage import write_tensors
from charrnn.text.vocabulary import Vocabulary

STREAMS = (
    ("lstm", 1, 128, 28),
    ("lstm", 2, 128, 65),
    ("gru", 2, 128, 65),
    ("rnn", 2, 128, 65),
    ("lstm", 3, 512, 65),
)
NAMES = (("lstm", 1, 128, 28), ("gru", 1, 128, 28), ("rnn", 1, 128, 28))
TORCH = {"lstm": nn.LSTM, "gru": nn.GRU, "rnn": nn.RNN}
AS_LEARNT = Decoding()  # temperature 1, nothing filtered
CACHE = 2000  # characters to look back on
LONGEST = 16  # characters of a name, for those who pad

PROBE = r"""
#include <stddef.h>
typedef float v16 __attribute__((vector_size(64), aligned(4)));
float read_once(const float **piece, const size_t *count, int pieces, int times) { /* counts: multiples of 128 */
    v16 s[8] = {{0}};
    while (times--) for (int p = 0; p < pieces; p++) {
        const float *w = piece[p];
        for (size_t i = 0; i < count[p]; i += 128) for (int k = 0; k < 8; k++) s[k] += *(const v16 *)(w + i + 16 * k);
        __asm__ volatile("" ::: "memory");
    }
    for (int k = 1; k < 8; k++) s[0] += s[k];
    return s[0][0];
}
float multiply_add(long times) { /* 16 independent chains of 16 lanes: 512 operations a turn */
    v16 s[16], a = (v16){0} + 0.5f, b = (v16){0} + 0.1f;
    for (int k = 0; k < 16; k++) s[k] = (v16){0} + (float)k;
    while (times--) for (int k = 0; k < 16; k++) s[k] = s[k] * a + b;
    for (int k = 1; k < 16; k++) s[0] += s[k];
    return s[0][0];
}
"""


def probe(folder: Path) -> ctypes.CDLL:
    (folder / "probe.c").write_text(PROBE)
    # 512-bit vectors where the processor has them: what the kernel may use, the ceiling may too.
    options = [
        "-O3",
        "-march=native",
        "-mprefer-vector-width=512",
        "-ffp-contract=fast",
        "-shared",
        "-fPIC",
    ]
    subprocess.run(["cc", *options, "probe.c", "-o", "probe.so"], cwd=folder, check=True)
    loaded = ctypes.CDLL(str(folder / "probe.so"))
    loaded.read_once.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int, ctypes.c_int]
    loaded.read_once.restype = loaded.multiply_add.restype = ctypes.c_float
    loaded.multiply_add.argtypes = [ctypes.c_long]
    return loaded


class Contest:
    """The same weights as a CharModel, as samplers, and as bare torch modules."""

    def __init__(self, cell: str, layers: int, hidden: int, vocabulary: int, mode: str) -> None:
        self.cell, self.size = cell, (layers, hidden, vocabulary)
        values = {
            "cell": cell,
            "hidden_size": hidden,
            "num_layers": layers,
            "embedding_size": hidden,
        }
        self.settings = Settings().with_values("model", **values)
        torch.manual_seed(1)
        self.network = CharModel(self.settings.model, vocabulary, "torch").eval()
        if mode == "lines":  # names end after about seven characters
            with torch.no_grad():
                self.network.head.bias[0] += 1.6
        self.tensors = {
            name: value.numpy().copy() for name, value in self.network.tensors().items()
        }
        self.vocabulary = Vocabulary("char", (10, *range(64, 63 + vocabulary)))
        self.mode = mode
        self.embedding = nn.Embedding.from_pretrained(
            torch.tensor(self.tensors["embedding.weight"])
        )
        self.recurrent = TORCH[cell](hidden, hidden, layers, batch_first=True).eval()
        names = {
            name.removeprefix("recurrent."): name
            for name in self.tensors
            if name.startswith("recurrent.")
        }
        self.recurrent.load_state_dict(
            {short: torch.tensor(self.tensors[name]) for short, name in names.items()}
        )
        self.head = nn.Linear(hidden, vocabulary)
        self.head.load_state_dict(
            {part: torch.tensor(self.tensors[f"head.{part}"]) for part in ("weight", "bias")}
        )
        self.refresh()

    def refresh(self) -> None:
        """Samplers on fresh memory: where pages lie decides a good part of the speed."""
        make = {
            "numpy": ("numpy", "float32"),
            "C": ("compiled", "float32"),
            "C float16": ("compiled", "float16"),
        }
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
            for name, (engine, weights) in make.items()
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
            ids, state = torch.zeros(1, 1, dtype=torch.long), None
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
        """Its generate(): a fresh tensor for each character, a graph that nobody asked for, exp instead of softmax."""
        symbols = [chr(code) for code in self.vocabulary.symbols]
        predicted, state = symbols[0], None
        for _ in range(n):
            ids = torch.zeros(1).long()
            ids[0] = symbols.index(predicted[-1])
            out, state = self.recurrent(self.embedding(ids.unsqueeze(0)), state)
            weights = self.head(out.view(1, -1)).data.view(-1).exp()
            predicted += symbols[int(torch.multinomial(weights, 1)[0])]

    def write(self, name: str, n: int) -> None:
        for _ in self.samplers[name].stream(length=n, decoding=AS_LEARNT, seed=1, threads=1):
            pass

    # Names: each writes n lines and returns how many characters they have, newlines included

    def names_plain(self, n: int) -> int:
        chars = 0
        with torch.no_grad():
            for _ in range(n):
                ids, state = torch.zeros(1, 1, dtype=torch.long), None
                while True:
                    out, state = self.recurrent(self.embedding(ids), state)
                    ids = torch.multinomial(torch.softmax(self.head(out[:, -1]), 1), 1)
                    chars += 1
                    if ids.item() == 0:
                        break
        return chars

    def names_batched(self, rows: int, n: int) -> int:
        """nn.X on `rows` names at a time; those that have ended leave the batch."""
        chars = 0
        with torch.no_grad():
            for begin in range(0, n, rows):
                ids, state = torch.zeros(min(rows, n - begin), 1, dtype=torch.long), None
                while len(ids):
                    out, state = self.recurrent(self.embedding(ids), state)
                    ids = torch.multinomial(torch.softmax(self.head(out[:, -1]), 1), 1)
                    chars += len(ids)
                    goes_on = ids[:, 0] != 0
                    ids = ids[goes_on]
                    parts = state if isinstance(state, tuple) else (state,)
                    kept = tuple(part[:, goes_on] for part in parts)
                    state = kept if len(kept) > 1 else kept[0]
        return chars

    def names_makemore(self, n: int) -> int:
        """makemore's generate(): ten names at a time, the whole prefix again for each character, to the full length."""
        size = self.size[1]
        gates = {
            name: torch.tensor(self.tensors[f"recurrent.{name}_l0"])
            for name in ("weight_ih", "weight_hh")
        }
        rows = GATES[self.cell] * size
        joined = nn.Linear(2 * size, rows)
        with torch.no_grad():
            joined.weight.copy_(torch.cat([gates["weight_ih"], gates["weight_hh"]], 1))
        chars = 0
        with torch.no_grad():
            for _ in range(0, n, 10):
                ids = torch.zeros(10, 1, dtype=torch.long)
                for _ in range(LONGEST):
                    embedded, h, states = self.embedding(ids), torch.zeros(10, size), []
                    for t in range(ids.shape[1]):
                        if self.cell == "gru":
                            joint = torch.cat([embedded[:, t], h], 1)
                            both = torch.sigmoid(
                                nn.functional.linear(
                                    joint, joined.weight[: 2 * size], joined.bias[: 2 * size]
                                )
                            )
                            r, z = both.chunk(2, 1)
                            other = torch.cat([embedded[:, t], r * h], 1)
                            new = torch.tanh(
                                nn.functional.linear(
                                    other, joined.weight[2 * size :], joined.bias[2 * size :]
                                )
                            )
                            h = (1 - z) * h + z * new
                        else:
                            h = torch.tanh(joined(torch.cat([embedded[:, t], h], 1)))
                        states.append(h)
                    logits = self.head(torch.stack(states, 1))[:, -1]
                    ids = torch.cat([ids, torch.multinomial(torch.softmax(logits, 1), 1)], 1)
                chars += ids.numel()
        return chars

    def names_written(self, name: str, n: int) -> int:
        seed = int(time.perf_counter() * 1e6) % 1_000_003
        return sum(
            one.chars
            for one in self.samplers[name].generate(n, decoding=AS_LEARNT, seed=seed, threads=1)
        )

    def read(self, library: ctypes.CDLL, n: int) -> None:
        """Stream the matrices of the packed float32 model n times."""
        packed = self.samplers["C"]._network
        assert isinstance(packed, Compiled)
        matrices = [packed._model.head]
        for k, layer in enumerate(packed._layers):
            matrices += ([layer.input] if k else []) + [layer.recurrent]
        places = (ctypes.c_void_p * len(matrices))(*(m.weights for m in matrices))
        counts = (ctypes.c_size_t * len(matrices))(
            *(m.inputs * m.columns // 128 * 128 for m in matrices)
        )
        library.read_once(places, counts, len(matrices), n)


def seconds(run: Callable[[], object]) -> float:
    began = time.perf_counter()
    run()
    return time.perf_counter() - began


def how_many(run: Callable[[int], object], wanted_s: float, least: int, most: int) -> int:
    """A number of characters or names that takes about so long."""
    n = least
    while (taken := seconds(partial(run, n))) < wanted_s / 4 and n < most:
        n *= 2
    return max(least, min(most, int(n * wanted_s / taken)))


def streams(library: ctypes.CDLL, rounds: int, wanted_s: float) -> None:
    for cell, layers, hidden, vocabulary in STREAMS:
        contest = Contest(cell, layers, hidden, vocabulary, "stream")
        runs: dict[str, Callable[[int], object]] = {
            f"plain nn.{TORCH[cell].__name__} loop": contest.plain,
            "the same, oneDNN off": contest.without_onednn,
            "char-rnn.pytorch's way": contest.char_rnn_pytorch,
            **{name: partial(contest.write, name) for name in contest.samplers},
            f"C float16, cache of {CACHE:,}": contest.write_looking_back,
            "read ceiling": partial(contest.read, library),
        }
        plain = next(iter(runs))
        counts = {name: how_many(run, wanted_s, 50, 4_000_000) for name, run in runs.items()}
        counts["char-rnn.pytorch's way"] = min(
            2000, counts["char-rnn.pytorch's way"]
        )  # its graph grows
        taken: dict[str, list[float]] = {name: [] for name in runs}
        for _ in range(rounds):
            contest.refresh()
            for name, run in runs.items():
                taken[name].append(seconds(partial(run, counts[name])) / counts[name])
        head(
            f"one stream, {cell} {layers}x{hidden}, V {vocabulary}",
            "chars/s",
            "x plain loop",
            "of the ceiling",
        )
        for name, times in taken.items():
            # Ratios within a round, then their median: a slow moment of the machine hits both.
            share = median_ratio(taken["read ceiling"], times)
            row(
                name,
                1 / statistics.median(times),
                median_ratio(taken[plain], times),
                f"{share:.0%}",
            )


def names(library: ctypes.CDLL, rounds: int, wanted_s: float) -> None:
    for cell, layers, hidden, vocabulary in NAMES:
        contest = Contest(cell, layers, hidden, vocabulary, "lines")
        plain, makemore = (
            f"plain nn.{TORCH[cell].__name__} loop, one at a time",
            "makemore's way, ten at a time",
        )
        runs: dict[str, Callable[[int], int]] = {plain: contest.names_plain}
        if cell != "lstm":  # makemore has no LSTM
            runs[makemore] = contest.names_makemore
        for rows in (100, 1000, 10_000):
            runs[f"nn.{TORCH[cell].__name__}, {rows:,} rows"] = partial(contest.names_batched, rows)
        runs |= {name: partial(contest.names_written, name) for name in contest.samplers}
        counts = dict.fromkeys(runs, 10_000)
        for name in runs.keys() & {plain, makemore}:
            counts[name] = how_many(runs[name], wanted_s, 20, 10_000) // 10 * 10
        taken: dict[str, list[float]] = {name: [] for name in runs}
        shares: dict[str, list[float]] = {name: [] for name in runs}
        lengths = []
        flops = 2 * (GATES[cell] * hidden * hidden + vocabulary * hidden)
        for _ in range(rounds):
            contest.refresh()
            peak = 512 * 4_000_000 / seconds(partial(library.multiply_add, 4_000_000))
            for name, run in runs.items():
                began = time.perf_counter()
                chars = run(counts[name])
                elapsed = time.perf_counter() - began
                taken[name].append(elapsed / counts[name])
                # The character that begins a line needs no product: its scores are the same for all.
                shares[name].append(flops * (chars - counts[name]) / elapsed / peak)
                lengths.append(chars / counts[name])
        head(
            f"10,000 names, {cell} {layers}x{hidden}, V {vocabulary}",
            "names/s",
            "x one at a time",
            "of the FMA peak",
        )
        for name, times in taken.items():
            share = f"{statistics.median(shares[name]):.0%}" if name != makemore else ""
            row(name, 1 / statistics.median(times), median_ratio(taken[plain], times), share)
        print(f"\n{statistics.median(lengths):.1f} characters a name, newline included", flush=True)


def median_ratio(others: list[float], times: list[float]) -> float:
    return statistics.median(other / own for other, own in zip(others, times, strict=True))


def head(*titles: str) -> None:
    print(f"\n| {' | '.join(titles)} |\n{'|---' * len(titles)}|")


def row(name: str, rate: float, ratio: float, share: str) -> None:
    print(
        f"| {name} | {rate:,.0f} | {ratio:.{0 if ratio >= 20 else 1 if ratio >= 3 else 2}f} | {share} |",
        flush=True,
    )


SCRIPT = """
import json, sys, torch
from safetensors.torch import load_file
tensors = load_file(sys.argv[1])
layers = sum(name.startswith("recurrent.weight_hh") for name in tensors)
hidden = tensors["recurrent.weight_hh_l0"].shape[1]
embedding = torch.nn.Embedding.from_pretrained(tensors["embedding.weight"])
recurrent = torch.nn.LSTM(embedding.embedding_dim, hidden, layers, batch_first=True)
recurrent.load_state_dict({n.removeprefix("recurrent."): t for n, t in tensors.items() if n.startswith("recurrent.")})
head = torch.nn.Linear(hidden, len(tensors["head.bias"]))
head.load_state_dict({"weight": tensors["head.weight"], "bias": tensors["head.bias"]})
symbols = [chr(code) for code in json.loads(sys.argv[2])]
with torch.no_grad():
    ids, state, written = torch.zeros(1, 1, dtype=torch.long), None, []
    for _ in range(1000):
        out, state = recurrent(embedding(ids), state)
        ids = torch.multinomial(torch.softmax(head(out[:, -1]) / 0.8, 1), 1)
        written.append(symbols[ids.item()])
print("".join(written))
"""


def start(rounds: int, folder: Path) -> None:
    """Whole processes: charrnn sample, and a script that imports torch and runs the plain loop on the same file."""
    environment = {
        name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"
    }
    command = str(Path(sys.executable).parent / "charrnn")
    head("from process start to 1,000 characters", "median s", "x script")
    for cell, layers, hidden, vocabulary in (
        ("lstm", 1, 128, 28),
        ("lstm", 2, 128, 65),
        ("lstm", 3, 512, 65),
    ):
        contest = Contest(cell, layers, hidden, vocabulary, "stream")
        run = folder / f"run-{layers}x{hidden}"
        run.mkdir()
        write_tensors(
            run / MODEL_FILE,
            contest.tensors,
            model_meta("charrnn-model", contest.settings, contest.vocabulary, "stream", 0),
        )
        symbols = str(list(contest.vocabulary.symbols))
        runs = {
            "script": [sys.executable, "-c", SCRIPT, str(run / MODEL_FILE), symbols],
            "charrnn sample": [command, "sample", str(run), "--length", "1000", "--seed", "1"],
        }
        taken: dict[str, list[float]] = {name: [] for name in runs}
        for number in range(rounds + 1):
            for name, words in runs.items():
                elapsed = seconds(
                    partial(subprocess.run, words, check=True, capture_output=True, env=environment)
                )
                if number:  # the first fills the disk cache
                    taken[name].append(elapsed)
        for name, times in taken.items():
            ratio = median_ratio(taken["script"], times)
            print(
                f"| {name}, {cell} {layers}x{hidden} | {statistics.median(times):.3f} | {ratio:.1f} |",
                flush=True,
            )
    words = [command, "sample", str(folder / "run-2x128"), "--length", "10000000", "--seed", "1"]
    began, peak = time.perf_counter(), 0
    process = subprocess.Popen(
        words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment
    )
    while process.poll() is None:  # getrusage would count this process's own memory before the exec
        status = Path(f"/proc/{process.pid}/status").read_text()
        peak = max(
            [
                peak,
                *(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")),
            ]
        )
        time.sleep(0.05)
    taken_s = time.perf_counter() - began
    print(
        f"\n10 MB from one stream of lstm 2x128: {peak / 1024:.0f} MB resident at most, {taken_s:.0f} s"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument(
        "--seconds", type=float, default=0.4, help="of each contender in each round"
    )
    parser.add_argument("--only", choices=("streams", "names", "start"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(
        f"torch {torch.__version__}, numpy {np.__version__}, {torch.backends.cpu.get_cpu_capability()}, one thread"
    )
    with tempfile.TemporaryDirectory() as folder:
        library = probe(Path(folder))
        if options.only in (None, "streams"):
            streams(library, options.rounds, options.seconds)
        if options.only in (None, "names"):
            names(library, options.rounds, options.seconds)
        if options.only in (None, "start"):
            start(options.rounds, Path(folder))


if __name__ == "__main__":
    main()
