"""What training leaves out: each regulariser against its equation, and off in evaluation."""

import struct

import numpy as np
import pytest
import torch
from support import FEW, Watcher, needs_kernel

from charrnn.config import ModelSettings, Settings
from charrnn.errors import CheckpointError
from charrnn.layout import PARAMETERS
from charrnn.model import equations
from charrnn.model.charmodel import CharModel
from charrnn.model.dropout import mask
from charrnn.modelfile import checkpoint_files, read_model
from charrnn.scoring.validation import validation
from charrnn.text.batches import Batch
from charrnn.text.corpus import open_corpus
from charrnn.training import assembly
from charrnn.training.average import WeightAverage
from charrnn.training.checkpoint import load_checkpoint, load_newest
from charrnn.training.optim import make_optimizer
from charrnn.training.session import Request, train
from charrnn.training.step import Stepped, TrainStep

V = 7
E = 3
H = 5
B = 2
T = 6
CPU = torch.device("cpu")
KERNEL = pytest.param("kernel", marks=needs_kernel)
BACKENDS = ("func", KERNEL, "torch")
CELLS = [
    *((cell, "func") for cell in ("rnn", "lstm", "gru", "gru-before")),
    *((cell, "torch") for cell in ("rnn", "lstm", "gru")),
    *(
        pytest.param(cell, "kernel", marks=needs_kernel)
        for cell in ("rnn", "lstm", "gru", "gru-before")
    ),
]


def sized(cell="lstm", layers=2, **more):
    return ModelSettings(cell=cell, hidden_size=H, num_layers=layers, embedding_size=E, **more)


def made(settings, backend="func"):
    torch.manual_seed(2)
    return CharModel(settings, V, backend)


def some(model):
    """Ids (B, T) and a state that is not zero."""
    torch.manual_seed(8)
    return torch.randint(0, V, (B, T)), tuple(
        torch.randn_like(part) * 0.5 for part in model.zero_state(B)
    )


# The mask


def test_a_mask_is_zero_or_one_over_the_share_kept():
    assert set(mask((50, 40), 0.25, CPU).unique().tolist()) == {0.0, np.float32(4 / 3)}


def test_a_mask_drops_its_share_and_its_expectation_is_one():
    drawn = mask((400, 500), 0.3, CPU)
    assert float((drawn == 0).double().mean()) == pytest.approx(
        0.3, abs=0.005
    )  # five standard deviations of 200,000
    assert float(drawn.double().mean()) == pytest.approx(1.0, abs=0.008)


def test_a_number_stays_if_its_16_bits_are_no_less_than_the_share():
    torch.manual_seed(5)
    words = [torch.empty((), dtype=torch.int64).random_(-(1 << 63), None).item() for _ in range(3)]
    bits = struct.unpack("=12h", struct.pack("=3q", *words))[:10]
    torch.manual_seed(5)
    assert (mask((2, 5), 0.4, CPU).flatten() > 0).tolist() == [
        (value + 32768) / 65536 >= 0.4 for value in bits
    ]


@pytest.mark.parametrize(("dropped", "least", "most"), [(0.0, 4000, 4000), (0.9999999, 0, 3)])
def test_shares_at_both_ends(dropped, least, most):
    assert least <= int((mask((4000,), dropped, CPU) > 0).sum()) <= most


def test_neighbouring_numbers_are_dropped_independently():
    kept = (mask((100_000,), 0.5, CPU) > 0).double().numpy()
    for distance in (1, 2, 3, 4, 8):
        assert (
            abs(np.corrcoef(kept[:-distance], kept[distance:])[0, 1]) < 0.016
        )  # five standard deviations


# The network


def naive(model, ids, state, seed):
    """Run the stack of equations.py by characters, with masks drawn in the order of the layers."""
    settings = model.settings
    torch.manual_seed(seed)
    below = model.embedding.weight[ids].transpose(0, 1)
    last = []
    for k in range(settings.num_layers):
        weights = {name: getattr(model.recurrent, f"{name}_l{k}") for name in PARAMETERS}
        if settings.weight_drop:
            weights["weight_hh"] = weights["weight_hh"] * mask(
                weights["weight_hh"].shape, settings.weight_drop, CPU
            )
        below, after = equations.run_layer(
            settings.cell, below, tuple(part[k] for part in state), weights
        )
        if settings.dropout:
            below = below * mask((T, B, H), settings.dropout, CPU)
        last.append(after)
    logits = below @ model.head.weight.T + model.head.bias
    return logits.transpose(0, 1), tuple(torch.stack(parts) for parts in zip(*last, strict=True))


@pytest.mark.parametrize(("cell", "backend"), CELLS)
@pytest.mark.parametrize(
    "drops", [{"dropout": 0.4}, {"weight_drop": 0.4}, {"dropout": 0.3, "weight_drop": 0.5}]
)
def test_logits_states_and_gradients_are_those_of_the_equations(cell, backend, drops):
    model = made(sized(cell, **drops), backend).train()
    reference = made(sized(cell, **drops), backend)
    ids, state = some(model)
    torch.manual_seed(4)
    got = model(ids, state)
    expected = naive(reference, ids, state, seed=4)
    for (logits, last), network in ((got, model), (expected, reference)):
        (logits.square().sum() + sum(part.sum() for part in last)).backward()
        assert network.recurrent.weight_hh_l1.grad.abs().sum() > 0
    torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-5)  # float32, sums in other orders
    for (name, ours), theirs in zip(model.named_parameters(), reference.parameters(), strict=True):
        torch.testing.assert_close(
            ours.grad, theirs.grad, rtol=1e-4, atol=1e-5, msg=lambda m, n=name: f"{n}: {m}"
        )


@pytest.mark.parametrize(("cell", "backend"), CELLS)
def test_in_evaluation_nothing_is_left_out(cell, backend):
    model = made(sized(cell, dropout=0.5, weight_drop=0.5), backend).eval()
    plain = made(sized(cell), backend)
    ids, state = some(model)
    assert torch.equal(model(ids, state)[0], plain(ids, state)[0])


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("drops", [{"dropout": 0.5}, {"weight_drop": 0.5}])
def test_each_pass_leaves_out_something_else(backend, drops):
    model = made(sized(**drops), backend).train()
    ids, state = some(model)
    assert not torch.equal(model(ids, state)[0], model(ids, state)[0])


@pytest.mark.parametrize("drops", [{"dropout": 0.5}, {"weight_drop": 0.5}])
def test_what_a_step_leaves_out_follows_from_seed_and_step_alone(drops):
    def stepped(seed, step):
        settings = Settings(model=sized(**drops)).with_values("training", seed=seed)
        model = made(settings.model)
        ids, state = some(model)
        torch.manual_seed(step * 1000 + seed)  # what was drawn before does not matter
        torch.rand(seed)
        return TrainStep(model, make_optimizer(model, settings.training), settings)(
            Batch(ids[:, :-1], ids[:, 1:], fresh=False), state, 0.0, step
        ).nats_per_char

    assert stepped(1, 3) == stepped(1, 3)
    assert len({stepped(seed, step) for seed in (1, 2) for step in (3, 4)}) == 4


def test_weights_that_are_dropped_are_kept_as_they_were():
    model = made(sized(weight_drop=0.5)).train()
    before = {name: value.clone() for name, value in model.tensors().items()}
    model(*some(model))
    assert all(torch.equal(value, before[name]) for name, value in model.tensors().items())


# The mean of the weights


def hand_mean(weights, decay):
    """In float64, from the weights after 0, 1, 2, ... updates."""
    mean = weights[0].astype(np.float64)
    for n, weight in enumerate(weights[1:], 1):
        d = min(decay, (1 + n) / (10 + n))
        mean = d * mean + (1 - d) * weight
    return mean


@pytest.fixture
def averaged(tmp_path, one_thread):
    """A run of 25 updates with a mean, and each of its checkpoints."""
    (tmp_path / "few.txt").write_text("".join(f"{name}\n" for name in FEW))
    chosen = {
        "hidden_size": 6,
        "embedding_size": 4,
        "num_layers": 1,
        "batch_size": 5,
        "steps": 25,
        "lr": 0.02,
        "threads": 1,
        "save_every": "1",
        "keep": 100,
        "eval_every": "5",
        "sample_every": "10",
        "ema": 0.7,
        "dropout": 0.2,
        "counting": "off",
    }
    train(Request(str(tmp_path / "few.txt"), (("--", chosen),), run=tmp_path / "run"), Watcher())
    return tmp_path / "run"


def test_the_best_weights_are_the_mean_over_the_updates(averaged):
    best = read_model(averaged)
    saved = [load_checkpoint(path) for path in checkpoint_files(averaged / "checkpoints")]
    until = [each.model.tensors for each in saved if each.step <= best.meta["step"]]
    assert len(until) == best.meta["step"] + 1 > 10
    for name, value in best.tensors.items():
        np.testing.assert_allclose(
            value, hand_mean([each[name] for each in until], 0.7), rtol=1e-5, atol=1e-6
        )
        assert not np.allclose(value, until[-1][name], rtol=1e-3)


def test_what_is_scored_is_the_mean(averaged):
    best = read_model(averaged)
    model = CharModel(best.settings.model, len(best.vocabulary), "func")
    model.load_tensors({name: torch.from_numpy(value) for name, value in best.tensors.items()})
    corpus = open_corpus(averaged / "corpus", best.meta["fingerprint"])
    nats = validation(model, corpus, "val", CPU).nats_per_char
    assert best.meta["val_nats_per_char"] == pytest.approx(nats, rel=1e-6)


def test_the_weights_come_back_to_the_bit_even_after_a_fault():
    model = made(sized())
    mean = WeightAverage(model, 0.9)
    with torch.no_grad():
        model.head.bias.add_(1 / 3)
    before = {name: value.clone() for name, value in model.tensors().items()}
    with pytest.raises(KeyError), mean.in_place():
        assert not torch.equal(model.head.bias, before["head.bias"])
        raise KeyError
    assert all(torch.equal(value, before[name]) for name, value in model.tensors().items())


def test_without_a_decay_there_is_no_mean():
    model = made(sized())
    mean = WeightAverage(model, 0.0)
    mean.update(1)
    with torch.no_grad(), mean.in_place():
        model.head.bias.add_(1)
    assert float(model.head.bias.detach().min()) == 1
    assert mean.tensors() == {}


def test_a_checkpoint_that_lacks_the_mean_is_refused(averaged):
    checkpoint, _ = load_newest(averaged)
    tensors = {name: torch.from_numpy(value) for name, value in checkpoint.average.items()}
    del tensors["head.bias"]
    mean = WeightAverage(
        CharModel(checkpoint.model.settings.model, len(checkpoint.model.vocabulary)), 0.7
    )
    with pytest.raises(CheckpointError, match="the checkpoint has no valid mean of head.bias"):
        mean.load_tensors(tensors)


# States that are emptied (--state-reset)


class Recording:
    """A step that keeps the state it is given and hands back one of ones."""

    def __init__(self):
        self.states = []

    def __call__(self, batch, state, lr, step):
        self.states.append(state)
        ones = tuple(torch.ones(1, len(batch.inputs), H) for _ in range(2))
        return Stepped(1.0, 0.1, ones, batch.targets.numel())


def carried(tmp_path, share, steps=40, seed=1337, name="a"):
    """The states (L, B, H) that each step of a stream of 32 lanes was given, and the trainer."""
    (tmp_path / "text.txt").write_text("A line that is not long, again and again.\n" * 400)
    chosen = {
        "cell": "lstm",
        "hidden_size": H,
        "mode": "stream",
        "batch_size": 32,
        "seq_length": 9,
        "steps": steps,
        "seed": seed,
        "state_reset": share,
        "num_layers": 1,
        "embedding_size": E,
    }
    request = Request(str(tmp_path / "text.txt"), (("--", chosen),), run=tmp_path / name)
    recording = Recording()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(assembly, "make_step", lambda *_: recording)
        train(request, Watcher())
    return recording.states


def test_a_share_of_the_lanes_begins_each_step_empty_in_h_and_c_alike(tmp_path):
    states = carried(tmp_path, 0.25)[1:]  # the first is fresh for all
    for h, c in states:
        lanes = h.sum((0, 2))
        assert set(lanes.tolist()) <= {0.0, float(H)} and torch.equal(h, c)
    empty = np.mean([float((h.sum((0, 2)) == 0).float().mean()) for h, _ in states])
    assert abs(empty - 0.25) < 0.04


def test_which_lanes_are_emptied_differs_from_step_to_step_and_follows_from_the_seed(tmp_path):
    first = [h for h, _ in carried(tmp_path, 0.5, 12, name="a")[1:]]
    again = [h for h, _ in carried(tmp_path, 0.5, 12, name="b")[1:]]
    other = [h for h, _ in carried(tmp_path, 0.5, 12, seed=5, name="c")[1:]]
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first[0], first[1]) and not torch.equal(first[0], other[0])


def test_without_a_share_every_state_is_carried(tmp_path):
    assert all(bool((h == 1).all()) for h, _ in carried(tmp_path, 0.0, 12)[1:])
