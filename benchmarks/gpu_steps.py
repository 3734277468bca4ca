"""The parts of gpu.py below a training: products, recurrent steps, kernels, states of a text.

Shapes: L layers, H hidden units, B lanes, T characters, V vocabulary.
"""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Callable, Iterator
from functools import partial

import torch
import torch.nn.functional as F
from gpu import Bench
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

from charrnn.config import RuntimeSettings, Settings
from charrnn.layout import GATES
from charrnn.machine import runtime
from charrnn.model.charmodel import CharModel
from charrnn.model.recurrent import folded_bias, run_own
from charrnn.training.graph import CudaGraph, Graph

V = 65
CLIP = 1.0
NETWORKS = ((1, 128), (2, 384), (3, 512), (1, 2048))  # (L, H)
LANES = (32, 256, 2048)
WAYS = ("cudnn", "cudnn, graph", "own, graph")
T = 64
MEASURED_S = 0.2
# Dense TFLOP/s as NVIDIA states them: bfloat16, tf32
PEAKS = {
    "H100": (989, 495),
    "H200": (989, 495),
    "A100": (312, 156),
    "L40S": (362, 183),
    "4090": (165, 83),
}

Work = Callable[[], object]


class Played:
    """A graph without CUDA, for dry runs: it runs the work again."""

    def capture(self, work: Work) -> None:
        work()
        self._work = work

    def replay(self) -> None:
        self._work()


def new_graph(bench: Bench) -> Graph:
    return Played() if bench.is_dry else CudaGraph()


def wait(bench: Bench) -> None:
    if not bench.is_dry:
        torch.cuda.synchronize()


def timed_s(bench: Bench, work: Work) -> float:
    """Return the median seconds of a piece of work, waited for each time."""
    for _ in range(2):
        work()
    wait(bench)
    taken: list[float] = []
    began = time.perf_counter()
    while len(taken) < 3 or (time.perf_counter() - began < MEASURED_S and not bench.is_dry):
        before = time.perf_counter()
        work()
        wait(bench)
        taken.append(time.perf_counter() - before)
    return statistics.median(taken)


def prepare(bench: Bench, precision: str) -> torch.device:
    """Set the precision of products: "tf32" or "bfloat16"; a processor has float32 alone."""
    if bench.is_dry:
        return torch.device("cpu")
    return runtime.prepare(RuntimeSettings(device="cuda:0", precision=precision))


def nominal_flops(precision: str) -> float | None:
    """Return the dense peak of this card as its maker states it; None for a card not known."""
    if not torch.cuda.is_available():
        return None
    name = torch.cuda.get_device_name(0)
    for key, peaks in PEAKS.items():
        if key in name:
            return 1e12 * peaks[precision == "tf32"]
    return None


def square_flops(bench: Bench, precision: str) -> float:
    """Return what one large square product reaches here."""
    device = prepare(bench, precision)
    size = 32 if bench.is_dry else 8192
    dtype = torch.bfloat16 if precision == "bfloat16" else torch.float32
    a, b = torch.randn(2, size, size, device=device).to(dtype)
    out = torch.empty_like(a)
    seconds = timed_s(bench, lambda: torch.mm(a, b, out=out))
    return 2 * size**3 / seconds


# Facts


def about(bench: Bench) -> None:
    """Say what this machine is, and what large products reach."""
    if not bench.is_dry:
        bench.report(
            device=torch.cuda.get_device_name(0),
            multiprocessors=torch.cuda.get_device_properties(0).multi_processor_count,
            torch=torch.__version__,
            cudnn=torch.backends.cudnn.version(),
        )
    for precision in ("tf32", "bfloat16"):
        stated = nominal_flops(precision)
        bench.report(
            precision=precision,
            square_tflops=square_flops(bench, precision) / 1e12,
            stated_tflops=None if stated is None else stated / 1e12,
        )


# Recurrent steps


def recurrent_work(
    cell: str, layers: int, hidden: int, lanes: int, length: int, dtype: torch.dtype, way: str,
    device: torch.device,
) -> Work:  # fmt: skip
    """Return forward and backward of a stack of layers, H inputs each, over (T, B, H)."""
    inputs = torch.randn(length, lanes, hidden, device=device).to(dtype).requires_grad_()
    ones = torch.ones_like(inputs)
    kind = {"gru": nn.GRU, "lstm": nn.LSTM}[cell]
    stack = kind(hidden, hidden, layers).to(device, dtype)
    weights = list(stack.parameters())

    def by_cudnn() -> Tensor:
        outputs: Tensor = stack(inputs)[0]
        return outputs

    def by_own() -> Tensor:
        below: Tensor = inputs
        zeros = inputs.new_zeros(lanes, hidden)
        state = (zeros, zeros) if cell == "lstm" else (zeros,)
        for k in range(layers):
            weight_ih, weight_hh, bias_ih, bias_hh = weights[4 * k : 4 * k + 4]
            bias, bias_hn = folded_bias(cell, bias_ih, bias_hh)
            gates_x = F.linear(below, weight_ih, bias)
            below, _ = run_own(cell, gates_x, state, weight_hh, bias_hn)
        return below

    run = by_own if way.startswith("own") else by_cudnn

    def work() -> None:
        for leaf in (inputs, *weights):
            leaf.grad = None
        run().backward(ones)

    return work


def cases() -> Iterator[tuple[str, int, int, int, str, str]]:
    """Yield cell, L, H, B, precision and way, what matters most first."""
    yield "lstm", 1, 2048, 256, "bfloat16", "cudnn, graph"
    yield "gru", 1, 384, 32, "bfloat16", "cudnn, graph"
    for lanes, precision in itertools.product(LANES, ("bfloat16", "tf32")):
        for (layers, hidden), way in itertools.product(NETWORKS, WAYS):
            yield "gru", layers, hidden, lanes, precision, way


def steps(bench: Bench) -> None:
    """Time a recurrent step, forward and backward, and its share of the peak."""
    left_out = 0
    squares: dict[str, float] = {}
    for cell, layers, hidden, lanes, precision, way in cases():
        if bench.is_dry and lanes > min(LANES):
            continue
        if bench.left_s() < 5:
            left_out += 1
            continue
        network = {"cell": cell, "network": f"{layers}x{hidden}", "lanes": lanes}
        length = T
        if bench.is_dry:
            layers, hidden, lanes, length = min(layers, 2), 8, 3, 4
        try:
            if precision not in squares:
                squares[precision] = square_flops(bench, precision)
            device = prepare(bench, precision)
            dtype = torch.bfloat16 if precision == "bfloat16" and not bench.is_dry else None
            work = recurrent_work(
                cell, layers, hidden, lanes, length, dtype or torch.float32, way, device
            )
            if way.endswith("graph"):
                graph = new_graph(bench)
                graph.capture(work)
                work = graph.replay
            seconds = timed_s(bench, work)
        except Exception as error:
            first = (str(error).splitlines() or [""])[0]
            bench.report(**network, precision=precision, way=way, failed=first)
            continue
        step_s = seconds / (length * layers)
        # Two matrices of a layer; a product forward and two backward; two operations each
        flops = 2 * 3 * 2 * GATES[cell] * hidden**2 * lanes / step_s
        stated = nominal_flops(precision)
        bench.report(
            **network,
            precision=precision,
            way=way,
            us_per_step=1e6 * step_s,
            share_of_square=flops / squares[precision],
            share_of_stated=None if stated is None else flops / stated,
        )
        del work
    if left_out:
        bench.report(left_out=left_out, failed="cases for which no time was left")


# Kernels


def gaps(bench: Bench) -> None:
    """Say which kernels run, how long, and how long nothing runs between them."""
    sizes = ((32, 256), WAYS, (128,) if bench.is_dry else (128, 384, 512, 2048))
    for lanes, way, hidden in itertools.product(*sizes):
        if bench.left_s() < 3:
            bench.report(failed="no time was left for all sizes")
            return
        device = prepare(bench, "bfloat16")
        dtype = torch.float32 if bench.is_dry else torch.bfloat16
        size = (8, 3, 4) if bench.is_dry else (hidden, lanes, T)
        work = recurrent_work("gru", 1, *size, dtype, way, device)
        if way.endswith("graph"):
            graph = new_graph(bench)
            graph.capture(work)
            work = graph.replay
        work()
        wait(bench)
        activity = ProfilerActivity.CPU if bench.is_dry else ProfilerActivity.CUDA
        with profile(activities=[activity]) as profiled:
            work()
            wait(bench)
        wanted = "CPU" if bench.is_dry else "CUDA"
        events = [event for event in profiled.events() if event.device_type.name == wanted]
        events.sort(key=lambda event: event.time_range.start)
        between = [
            max(0.0, after.time_range.start - before.time_range.end)
            for before, after in itertools.pairwise(events)
        ]
        busy: dict[str, float] = {}
        for event in events:
            busy[event.name] = busy.get(event.name, 0.0) + event.time_range.elapsed_us()
        longest = sorted(busy, key=busy.__getitem__, reverse=True)[:2]
        bench.report(
            network=f"1x{hidden}",
            lanes=lanes,
            way=way,
            kernels=len(events),
            busy_us=sum(busy.values()),
            gap_us=statistics.median(between) if between else 0.0,
            is_persistent=any("persist" in name.lower() for name in busy),
            longest=[name[:60] for name in longest],
        )


# States of a text


def settings_of(cell: str, layers: int, hidden: int, lanes: int, length: int) -> Settings:
    model = {"cell": cell, "num_layers": layers, "hidden_size": hidden, "dropout": 0.0}
    settings = Settings().with_values("model", embedding_size=min(64, hidden), **model)
    return settings.with_values("training", batch_size=lanes, seq_length=length, clip=CLIP)


def traced(bench: Bench) -> None:
    """Compare forward_traced on the card, which the cache reads, with the processor's."""
    prepare(bench, "float32")
    for cell, layers in (("gru", 2), ("lstm", 1)):
        settings = settings_of(cell, layers, 8 if bench.is_dry else 384, 1, 64)
        torch.manual_seed(1)
        here = CharModel(settings.model, V, "func").eval()
        there = CharModel(settings.model, V, "torch").eval()
        there.load_tensors(here.tensors())
        there.to(bench.device)
        ids = torch.randint(V, (1, 32 if bench.is_dry else 4096))
        with torch.inference_mode():
            wanted = here.forward_traced(ids, here.zero_state(1))
            found = there.forward_traced(ids.to(bench.device), there.zero_state(1))
            inputs = ids.to(bench.device)
            state = there.zero_state(1)
            seconds = timed_s(bench, partial(there.forward_traced, inputs, state))
        bench.report(
            network=f"{cell} {layers}x384",
            largest_difference_of_logits=float((wanted[0] - found[0].cpu()).abs().max()),
            largest_difference_of_states=float((wanted[1] - found[1].cpu()).abs().max()),
            chars_per_s=ids.numel() / seconds,
        )
