"""Fine-tuning in parts: an old model under a new alphabet, frozen tensors, mixed batches."""

import dataclasses

import numpy as np
import pytest
import torch
from finetune_support import OLD, old_model
from support import needs_kernel

from charrnn.config import ModelSettings, Settings, TrainingSettings
from charrnn.errors import SettingsError
from charrnn.model.charmodel import CharModel
from charrnn.sampling.decode import Decoding
from charrnn.sampling.engine import Sampler
from charrnn.scoring.network import NetworkScorer
from charrnn.scoring.score import tallied
from charrnn.text.batches import LineBatches, MixedStreamBatches
from charrnn.text.batching import make_batches
from charrnn.text.corpus import Corpus
from charrnn.text.vocabulary import Vocabulary
from charrnn.training.finetune import NEW_SHARE, extended, frozen_tensors, lift_to_shares
from charrnn.training.optim import TorchOptimizer, make_optimizer
from charrnn.training.step import TrainStep

BACKENDS = ["func", "torch", pytest.param("kernel", marks=needs_kernel)]


NEW = Vocabulary(
    "char", tuple(map(ord, "\nabcdefghijé"))
)  # between the old, before and behind them


SHAPES = [
    ("lstm", 1, "none", False),
    ("gru", 2, "none", True),
    ("lstm", 2, "residual", True),
    ("gru", 2, "residual", False),
    ("lstm", 2, "dense", False),
    ("gru-before", 2, "dense", False),
    ("rnn", 2, "none", False),
]


def network(settings, vocabulary, tensors, dtype=torch.float64):
    model = CharModel(settings.model, len(vocabulary)).to(dtype)
    model.load_tensors({name: torch.from_numpy(value.copy()) for name, value in tensors.items()})
    return model.eval()


def old_text(count=400):
    return "".join(
        chr(OLD.symbols[i]) for i in np.random.default_rng(1).integers(0, len(OLD), count)
    )


# The old model under a new alphabet


@pytest.mark.parametrize("counts", [[3, 9, 0, 1, 4, 2], [0, 0, 0, 0, 0, 0]])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("shape", SHAPES)
def test_old_text_has_the_old_loss_to_1e_6(shape, dtype, counts):
    old, text = old_model(*shape), old_text()
    tensors = extended(old, NEW, np.array(counts))
    losses = []
    for vocabulary, weights in ((OLD, old.tensors), (NEW, tensors)):
        model = network(old.settings, vocabulary, weights, dtype)
        ids = vocabulary.encode(text).astype(np.int64)
        losses.append(
            tallied(NetworkScorer(model.eval(), torch.device("cpu"), None), ids, "stateful", None)
            .score()
            .nats_per_char
        )
    assert losses[0] > 0.5
    assert abs(losses[1] - losses[0]) < 1e-6


@pytest.mark.parametrize("shape", SHAPES)
def test_new_characters_have_no_more_than_their_share_after_any_text(shape):
    old = old_model(*shape)
    tensors = extended(old, NEW, np.array([3, 9, 0, 1, 4, 2]))
    model = network(old.settings, NEW, tensors)
    new = [i for i, code in enumerate(NEW.symbols) if code not in OLD.symbols]
    ids = torch.from_numpy(
        np.random.default_rng(2).integers(0, len(NEW), (50, 40))
    )  # new characters read, too
    shares = torch.softmax(model(ids, model.zero_state(50))[0].detach(), 2)[:, :, new].sum(2)
    assert float(shares.max()) <= NEW_SHARE * (1 + 1e-4)
    assert float(shares.max()) > NEW_SHARE / 1e4  # nor far less: it has to be learnt


def test_an_alphabet_with_nothing_new_leaves_every_tensor_as_it_was():
    old = old_model("lstm", 2, "none", False)
    found = extended(old, OLD, np.ones(len(OLD)))
    assert {name: value.tobytes() for name, value in found.items()} == {
        name: value.tobytes() for name, value in old.tensors.items()
    }


@pytest.mark.parametrize("temperature", [0.0, 0.9])
@pytest.mark.parametrize("shape", SHAPES)
def test_the_same_text_comes_out_though_ids_have_moved(shape, temperature):
    old = old_model(*shape)
    new = dataclasses.replace(
        old, vocabulary=NEW, tensors=extended(old, NEW, np.ones(len(OLD))), start=NEW.newline
    )
    decoding = Decoding(temperature=temperature)
    texts = [
        [
            sample.text
            for sample in Sampler(model).generate(
                3, decoding=decoding, length=80, prime="bd", seed=5
            )
        ]
        for model in (old, new)
    ]
    assert texts[0] == texts[1]


def test_the_lift_brings_a_new_character_from_its_floor_to_its_share():
    new, old = (
        Vocabulary("char", (1, 2, 3, 4)),
        dataclasses.replace(
            old_model("rnn", 1, "none", False), vocabulary=Vocabulary("char", (1, 3))
        ),
    )
    found = lift_to_shares(old, new, np.array([0.5, 0.1, 0.4, 0.0]))
    assert found == [
        (1, pytest.approx(np.log(0.1) - np.log(NEW_SHARE / 2)))
    ]  # the last occurs in no training text


# Freezing


@pytest.mark.parametrize(
    ("tied", "freeze", "frozen"),
    [
        (False, "embedding", {"embedding.weight"}),
        (False, " head,", {"head.weight", "head.bias"}),
        (True, "head", {"embedding.weight", "head.bias"}),
        (
            False,
            "layer1",
            {f"recurrent.{name}_l1" for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")},
        ),
    ],
)
def test_what_a_name_freezes(tied, freeze, frozen):
    model = ModelSettings("lstm", 5, 2, 5, 0.0, "none", tied)
    assert frozen_tensors(Settings(model=model, training=TrainingSettings(freeze=freeze))) == frozen


@pytest.mark.parametrize(
    ("freeze", "says"),
    [
        ("layer2", "'layer2': this network has embedding, layer0, layer1, head"),
        ("Head", "has embedding"),
        ("head,layer0,embedding,layer1", "freezes the whole network"),
    ],
)
def test_a_part_that_is_none_or_all_of_them_is_refused(freeze, says):
    model = ModelSettings("lstm", 5, 2, 5, 0.0)
    with pytest.raises(SettingsError, match=says):
        frozen_tensors(Settings(model=model, training=TrainingSettings(freeze=freeze)))


@pytest.mark.parametrize("pieces", [None, 3])
@pytest.mark.parametrize(
    "freeze", ["embedding", "layer0", "layer1,embedding", "head", "embedding,layer0,layer1"]
)
@pytest.mark.parametrize("backend", BACKENDS)
def test_frozen_tensors_keep_every_bit_and_the_others_move(one_thread, backend, freeze, pieces):
    settings = Settings(
        model=ModelSettings("lstm", 6, 2, 4, 0.2),
        training=TrainingSettings(freeze=freeze, weight_decay=0.3, checkpoint_every_chars=pieces),
    )
    torch.manual_seed(1)
    model = CharModel(settings.model, 7, backend)
    assert_frozen(model, settings, make_optimizer)


def test_frozen_tensors_keep_every_bit_under_torch_s_optimizer(one_thread):
    settings = Settings(
        model=ModelSettings("gru", 6, 2, 4, 0.2),
        training=TrainingSettings(freeze="layer0,head", weight_decay=0.3),
    )
    torch.manual_seed(1)
    model = CharModel(settings.model, 7)
    assert_frozen(model, settings, TorchOptimizer)


def assert_frozen(model, settings, make):
    frozen = frozen_tensors(settings)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name not in frozen)
    before = {name: value.detach().clone() for name, value in model.named_parameters()}
    step = TrainStep(model, make(model, settings.training), settings)
    batch = make_batches(corpus_of("abcabcbbcacbacbbacbabcabcb" * 2), 3, 7, 1).batch(0)
    state = model.zero_state(3)
    for number in range(3):
        state = step(batch, state, 0.05, number).state
    moved = {
        name for name, value in model.named_parameters() if not torch.equal(value, before[name])
    }
    assert moved == set(before) - frozen


def corpus_of(text, mode="stream", symbols="\nabcdef"):
    """A corpus in memory: all of it is the training split."""
    vocabulary = Vocabulary("char", tuple(map(ord, symbols)))
    ids = vocabulary.encode(text).astype(np.uint8)
    bounds = {"train": (0, len(ids)), "val": (len(ids),) * 2, "test": (len(ids),) * 2}
    made = Corpus("x", None, "uint8", bounds, vocabulary, mode, "0" * 64)
    made.__dict__["ids"] = ids
    return made


# Mixing


def test_lanes_of_the_old_text_lie_below_those_of_the_new_and_are_read_round_and_round():
    new, old = corpus_of("abcdefabcdefa"), corpus_of("fedcb")
    batches = MixedStreamBatches(new, old, 0.34, 3, 4)  # a lane of 3, two of 6 characters
    shown = [
        ["".join(chr(new.vocabulary.symbols[i]) for i in row) for row in batches.batch(step).inputs]
        for step in (0, 1, 2)
    ]
    assert shown == [["abcd", "abcd", "fedc"], ["ef", "ef", "bf"], ["abcd", "abcd", "edcb"]]
    assert [batches.batch(step).fresh for step in (0, 1, 2)] == [True, False, True]


def test_targets_of_old_lanes_are_one_character_later():
    batch = MixedStreamBatches(corpus_of("abcdefabcdefa"), corpus_of("fedcb"), 0.34, 3, 4).batch(1)
    assert batch.targets.tolist() == [[6, 1], [6, 1], [6, 5]]


@pytest.mark.parametrize(("share", "lanes"), [(0.01, 1), (0.3, 3), (0.5, 5), (0.99, 9)])
def test_the_share_of_lanes_is_rounded_and_leaves_each_text_one(share, lanes):
    batches = MixedStreamBatches(corpus_of("abcdef" * 20), corpus_of("f" * 50), share, 10, 3)
    is_old = (batches.batch(0).inputs == 6).all(1)
    assert is_old.tolist() == [False] * (10 - lanes) + [True] * lanes


def test_one_lane_cannot_hold_two_texts():
    with pytest.raises(SettingsError, match="--batch-size 1"):
        MixedStreamBatches(corpus_of("abc" * 9), corpus_of("abc"), 0.5, 1, 2)


def drawn(batches, epoch):
    """All lines of an epoch, as texts."""
    rows = []
    for step in range(epoch * batches.steps_per_epoch, (epoch + 1) * batches.steps_per_epoch):
        rows += [
            "".join(" abcdef"[i] for i in row if i > 0)
            for row in batches.batch(step).targets.tolist()
        ]
    return rows


def mixed_lines(share, old_count, seed=1):
    new = corpus_of("".join(f"a{'b' * k}\n" for k in range(30)), "lines")
    old = corpus_of("".join(f"c{'d' * k}\n" for k in range(old_count)), "lines")
    return make_batches(new, 4, 1, seed, old, share)


@pytest.mark.parametrize(
    ("share", "old_count", "added"), [(0.25, 40, 10), (0.5, 12, 30), (0.01, 5, 1)]
)
def test_an_epoch_has_every_new_line_once_and_old_ones_as_the_share_says(share, old_count, added):
    rows = drawn(mixed_lines(share, old_count), 0)
    assert sorted(len(row) for row in rows if row[0] == "a") == list(range(1, 31))
    counts = np.bincount([len(row) for row in rows if row[0] == "c"], minlength=old_count + 1)[1:]
    assert counts.sum() == added
    assert counts.max() - counts.min() <= 1  # chosen without replacement, or all as often


def test_each_epoch_chooses_old_lines_anew_and_a_batch_follows_from_its_step():
    batches, again = mixed_lines(0.25, 40), mixed_lines(0.25, 40)
    chosen = [{row for row in drawn(batches, epoch) if row[0] == "c"} for epoch in (0, 1)]
    assert chosen[0] != chosen[1]
    late = again.batch(13)  # asked for first, not fourteenth
    assert torch.equal(late.inputs, batches.batch(13).inputs)
    assert torch.equal(late.targets, batches.batch(13).targets)


def test_without_a_share_lines_come_as_before():
    ids = corpus_of("".join(f"a{'b' * k}\n" for k in range(30)), "lines").ids
    assert mixed_lines(0.0, 5).steps_per_epoch == 8  # 31 lines: one old, as the text is there
    assert LineBatches(ids, 0, 4).steps_per_epoch == 8
    assert len(drawn(LineBatches(ids, 0, 4), 0)) == 30
