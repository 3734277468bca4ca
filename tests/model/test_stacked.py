"""Networks side by side against the same networks alone."""

import pytest
import torch

from charrnn.config import Settings
from charrnn.model.charmodel import CharModel
from charrnn.model.stacked import StackedModel
from charrnn.text.batches import Batch
from charrnn.training import graph
from charrnn.training.optim import TorchOptimizer
from charrnn.training.side_by_side import StackedStep
from charrnn.training.step import TrainStep

M, V, B, T = 3, 11, 2, 5
SEEDS = (4, 5, 9)
# Sums of a few dozen float32 products in another order, through 8 updates of AdamW.
BOUND = 2e-5


@pytest.fixture(autouse=True)
def _one_thread(one_thread):
    pass


def settings(skip="dense", layers=2, dropout=0.0, weight_drop=0.0, seed=1):
    model = {
        "cell": "gru",
        "hidden_size": 7,
        "num_layers": layers,
        "embedding_size": 5,
        "skip": skip,
        "dropout": dropout,
        "weight_drop": weight_drop,
    }
    training = {"batch_size": B, "seq_length": T, "clip": 0.5, "weight_decay": 0.1, "seed": seed}
    return Settings().with_values("model", **model).with_values("training", **training)


def networks(chosen, backend="func"):
    made = []
    for seed in SEEDS:
        torch.manual_seed(seed)
        made.append(CharModel(chosen.model, V, backend).train())
    return made


def batches(count):
    """ids (M, B, T + 1) of each step: another text for each network."""
    generator = torch.Generator().manual_seed(3)
    return [torch.randint(V, (M, B, T + 1), generator=generator) for _ in range(count)]


def alone(chosen, texts):
    """Train each network by itself. Returns the networks and their nats and norms by step."""
    made = networks(chosen)
    figures = []
    for member, model in enumerate(made):
        own = chosen.with_values("training", seed=SEEDS[member])
        step = TrainStep(model, TorchOptimizer(model, own.training), own)
        state = model.zero_state(B)
        for number, ids in enumerate(texts):
            batch = Batch(ids[member, :, :-1], ids[member, :, 1:], fresh=False)
            done = step(batch, state, 0.01, number)
            state = done.state
            figures.append((done.nats_per_char, done.norm))
    return made, figures


class Recorded:
    """A graph without CUDA, warmed up as the real one."""

    def capture(self, work):
        for _ in range(graph.WARM_UP):
            work()
        self.replay = work


def together(chosen, texts, recorder=None):
    model = StackedModel(networks(chosen)).train()
    step = StackedStep(model, chosen.training, SEEDS, (B, T), recorder)
    by_step = [step(ids[..., :-1], ids[..., 1:], 0.01, n) for n, ids in enumerate(texts)]
    figures = [
        (done.nats_per_char[member], done.norms[member]) for member in range(M) for done in by_step
    ]
    return model, figures


@pytest.mark.parametrize("recorder", [None, Recorded])
@pytest.mark.parametrize(
    "chosen",
    [
        settings(),
        settings("none", 1),
        settings("none", 2, dropout=0.3, weight_drop=0.2),
        settings("dense", 2, dropout=0.3, weight_drop=0.2),
    ],
    ids=["dense", "one layer", "dropped", "dense dropped"],
)
def test_each_network_learns_what_it_learns_alone(chosen, recorder):
    """Within float32's rounding: with its own text, seed, dropout, clipping and state."""
    texts = batches(8)
    singles, wanted = alone(chosen, texts)
    model, figures = together(chosen, texts, recorder and recorder())
    for (nats, norm), (own_nats, own_norm) in zip(figures, wanted, strict=True):
        assert nats == pytest.approx(own_nats, rel=BOUND)
        assert norm == pytest.approx(own_norm, rel=1e-3)  # a norm adds up what AdamW magnified
    for member, single in enumerate(singles):
        for name, value in single.tensors().items():
            difference = (model.network(member)[name] - value).abs().max()
            assert difference < 5 * BOUND, name


def test_a_network_that_diverges_leaves_the_others_alone():
    texts = batches(4)
    _, wanted = together(settings(), texts)
    model = StackedModel(networks(settings())).train()
    with torch.no_grad():
        model.head_bias[1] = torch.nan
    step = StackedStep(model, settings().training, SEEDS, (B, T))
    for number, ids in enumerate(texts):
        done = step(ids[..., :-1], ids[..., 1:], 0.01, number)
        assert done.norms[1] != done.norms[1]  # NaN
        assert done.nats_per_char[2] == wanted[2 * len(texts) + number][0]
    assert model.network(1)["embedding.weight"].isfinite().all()


def test_networks_of_other_shapes_are_refused():
    torch.manual_seed(1)
    other = CharModel(settings(layers=1).model, V, "func")
    with pytest.raises(ValueError, match="one shape"):
        StackedModel([*networks(settings()), other])


def test_bfloat16_is_close_to_float32():
    (ids,) = batches(1)
    whole = StackedModel(networks(settings()))
    reduced = StackedModel(networks(settings()), torch.bfloat16)
    state = whole.zero_state(B)
    wanted, _ = whole.nats(ids[..., :-1], ids[..., 1:], state)
    nats, after = reduced.nats(ids[..., :-1], ids[..., 1:], state)
    assert after.dtype == torch.float32
    torch.testing.assert_close(nats, wanted, rtol=0.01, atol=0.0)
