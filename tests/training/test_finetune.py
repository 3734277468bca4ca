"""Fine-tuning: an old model under a new alphabet is the same model, what is frozen stays, what is mixed in is counted."""

import dataclasses
import json
import shutil

import numpy as np
import pytest
import torch
from support import FEW, Killed, Watcher, needs_kernel

from charrnn.config import ModelSettings, Settings, TrainingSettings
from charrnn.errors import CheckpointError, SettingsError
from charrnn.layout import expected_shapes
from charrnn.model.charmodel import CharModel
from charrnn.modelfile import ModelFile, read_model
from charrnn.sampling.decode import Decoding
from charrnn.sampling.engine import Sampler
from charrnn.scoring.network import NetworkScorer
from charrnn.scoring.score import tallied
from charrnn.storage import read_tensors, write_tensors
from charrnn.text.batches import LineBatches, MixedStreamBatches, make_batches
from charrnn.text.corpus import Corpus, open_corpus
from charrnn.text.vocabulary import Vocabulary
from charrnn.texts import OpenedRun
from charrnn.training import finetune
from charrnn.training.checkpoint import load_newest
from charrnn.training.finetune import NEW_SHARE, extended, frozen_tensors, lift_to_shares
from charrnn.training.optim import TorchOptimizer, make_optimizer
from charrnn.training.session import Request, train
from charrnn.training.step import TrainStep

BACKENDS = ["func", "torch", pytest.param("kernel", marks=needs_kernel)]
OLD = Vocabulary("char", tuple(map(ord, "\nbdfhj")))
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
NAMES = "".join(f"{name}\n" for name in FEW)
PLACES = (
    "".join(
        f"{name}ö\n"
        for name in "Rom Bonn Köln Bern Genf Wien Graz Linz Ulm Jena Trier Mainz Hof Kiel".split()
    )
    * 2
)
PROSE = (
    "A text of several lines,\n\nwith blank ones, so that it is a stream. It is 300 characters long or so.\n\n"
    * 3
)
OTHER_PROSE = (
    "Etwas Anderes, über vieles:\n\n  ein langer Strom von Zeichen, und nicht sehr viele davon. "
    * 4
)


def old_model(cell, layers, skip, tied, seed=0):
    """A model whose predictions are far from even, as after training."""
    settings = ModelSettings(cell, 5, layers, 5, 0.0, skip, tied)
    random = np.random.default_rng(seed)
    tensors = {
        name: (2 * random.standard_normal(shape)).astype(np.float32)
        for name, shape in expected_shapes(settings, len(OLD)).items()
    }
    return ModelFile("old", Settings(model=settings), OLD, "stream", 0, tensors, {})


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
        ("head,layer0,embedding,layer1", "nothing is left to learn"),
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


# Whole trainings

BASE = {
    "cell": "lstm",
    "hidden_size": 9,
    "embedding_size": 5,
    "num_layers": 2,
    "dropout": 0.2,
    "batch_size": 5,
    "seq_length": 7,
    "lr": 0.02,
    "steps": 30,
    "save_every": "4",
    "eval_every": "13",
    "sample_every": "20",
    "threads": 1,
    "patience": 0,
}
TUNE = {
    key: value
    for key, value in BASE.items()
    if key not in ("hidden_size", "embedding_size", "num_layers")
}


@pytest.fixture(scope="module")
def bases(tmp_path_factory):
    """Runs to start from, one of lines and one of a stream."""
    folder = tmp_path_factory.mktemp("bases")
    for mode, text in (("lines", NAMES), ("stream", PROSE)):
        (folder / f"{mode}.txt").write_text(text)
        settings = BASE | {"mode": mode}
        train(
            Request(str(folder / f"{mode}.txt"), (("--", settings),), run=folder / mode), Watcher()
        )
    return folder


@pytest.fixture
def tune(bases, tmp_path, one_thread):
    """tune(mode, run, **settings) -> (run, outcome, what was said)."""

    def go(mode="lines", run="tuned", watcher=None, source=None, text=None, **changes):
        path = tmp_path / "new.txt"
        path.write_text(text or (PLACES if mode == "lines" else OTHER_PROSE))
        watcher = watcher or Watcher()
        settings = TUNE | {"init_from": str(source or bases / mode), "mode": mode} | changes
        found, outcome = train(Request(str(path), (("--", settings),), run=tmp_path / run), watcher)
        return found, outcome, watcher.said

    return go


def test_a_fine_tuning_of_no_steps_is_the_old_model(tune, bases):
    run, _, said = tune(steps=0)
    old, new = read_model(bases / "lines"), read_model(run)
    assert set(old.vocabulary.symbols) < set(new.vocabulary.symbols)
    texts = [[s.text for s in Sampler(model).generate(20, seed=1)] for model in (old, new)]
    assert texts[0] == texts[1]
    [note] = [line for line in said if "starting from" in line]
    assert "5 characters ('U' U+0055 LATIN CAPITAL LETTER U, " in note
    assert "'ö' U+00F6 LATIN SMALL LETTER O WITH DIAERESIS) added, " in note
    assert note.endswith("of the old do not occur in this text")
    assert any("network: lstm 2 x 9" in line for line in said)


def test_new_characters_are_learnt_in_a_few_steps(tune):
    run, _, _ = tune(steps=40, lr=0.05)
    model = read_model(run)
    assert any("ö" in sample.text for sample in Sampler(model).generate(20, seed=1))


@pytest.mark.parametrize("mode", ["lines", "stream"])
@pytest.mark.fault("F11 resumes")
def test_killed_five_times_equals_undisturbed_with_a_frozen_layer_and_an_old_text(
    tune, bases, tmp_path, mode
):
    source = tmp_path / "source"
    shutil.copytree(bases / mode, source)
    changes = {"freeze": "layer0", "mix": 0.4, "source": source}
    straight, expected, _ = tune(mode, "straight", **changes)
    with pytest.raises(Killed):
        tune(
            mode, "killed", Watcher(1), **changes
        )  # only the checkpoint of step 0: the lift is still to come
    shutil.rmtree(source)  # the new run needs nothing of the old
    (tmp_path / "killed").rename(tmp_path / "moved")
    for kill_at in (5, 9, 17, 18, None):
        watcher = Watcher(kill_at)
        try:
            _, outcome = train(Request(None, (), run=tmp_path / "moved", resume=True), watcher)
        except Killed:
            assert kill_at is not None
    assert outcome.weights_sha256 == expected.weights_sha256
    before, after = read_model(bases / mode).tensors, load_newest(straight)[0].model.tensors
    for name in before:
        if not name.startswith(("embedding", "head")):
            assert np.array_equal(before[name], after[name]) == name.endswith("_l0"), name


def test_the_text_mixed_in_is_the_old_one_in_new_ids(tune, bases):
    run, _, _ = tune(mix=0.4, steps=2)
    old, new = read_model(bases / "lines"), load_newest(run)[0]
    before = open_corpus(bases / "lines/corpus", old.meta["fingerprint"])
    after = open_corpus(run / "corpus", new.meta["mixed"])
    assert after.vocabulary == new.model.vocabulary
    for split in ("train", "val", "test"):
        assert after.vocabulary.decode(after.split(split)) == before.vocabulary.decode(
            before.split(split)
        )


@pytest.mark.parametrize("changes", [{}, {"mix": 0.3}])
def test_a_line_of_the_old_text_is_not_novel(tune, bases, changes):
    run, _, _ = tune(steps=2, **changes)
    old = read_model(bases / "lines")
    corpus = open_corpus(bases / "lines/corpus", old.meta["fingerprint"])
    line = corpus.vocabulary.decode(corpus.split("train")).split("\n")[0]
    known = OpenedRun(read_model(run)).novelty

    def is_novel(text):
        return known.is_novel(text.encode())

    assert is_novel(line) is not True
    assert is_novel("Zzxqq") is True


def test_another_unit_sizes_or_cell_are_refused_with_both_values(tune):
    for changes, says in (
        ({"hidden_size": 10}, "--hidden-size: --init-from .*lines has --hidden-size 9, not 10"),
        ({"cell": "gru"}, "has --cell lstm, not gru"),
        ({"unit": "byte"}, "has --unit char, not byte"),
        ({"tie_weights": True}, "has --tie-weights False, not True"),
        ({"skip": "dense"}, "--skip none, not dense"),
    ):
        with pytest.raises(SettingsError, match=says):
            tune(**changes)


def test_dropout_may_differ_and_normalisation_is_taken_over_unless_asked(tune, tmp_path):
    source, _, _ = tune(run="nfd", normalize="nfd", steps=1)
    run, _, _ = tune(source=source, dropout=0.5, steps=1)
    settings = read_model(run).settings
    assert (settings.model.dropout, settings.text.normalize) == (0.5, "nfd")
    run, _, _ = tune(source=source, run="asked", normalize="nfc", steps=1)
    assert read_model(run).settings.text.normalize == "nfc"


@pytest.mark.parametrize("freeze", ["embedding", "head"])
def test_new_characters_and_a_frozen_alphabet_are_refused(tune, freeze, tmp_path):
    with pytest.raises(
        SettingsError, match=r"'ö' U\+00F6.* that .* does not know and could not learn"
    ):
        tune(freeze=freeze)
    assert not (tmp_path / "tuned").exists()
    tune(freeze=freeze, text=NAMES, steps=1)


@pytest.mark.parametrize("key", ["freeze", "mix"])
def test_freeze_and_mix_are_for_runs_that_start_from_another(tune, key):
    value = {"freeze": "head", "mix": 0.5}[key]
    with pytest.raises(SettingsError, match=f"--{key}.*give --init-from RUN too"):
        train(Request("names", (("--", {key: value}),)), Watcher())


def test_a_model_without_its_text_cannot_be_mixed(tune, bases, tmp_path):
    shutil.copy(bases / "lines/model.safetensors", tmp_path / "alone.safetensors")
    with pytest.raises(CheckpointError, match=r"--mix needs the text of .*it lies in no run"):
        tune(source=tmp_path / "alone.safetensors", mix=0.2)
    tune(source=tmp_path / "alone.safetensors", steps=1)


def test_a_damaged_text_cannot_be_mixed(tune, bases, tmp_path):
    shutil.copytree(bases / "lines", tmp_path / "source")
    ids = next((tmp_path / "source/corpus").glob("*.ids"))
    ids.write_bytes(ids.read_bytes()[:-1])
    with pytest.raises(CheckpointError, match=r"--mix needs .*does not fit its description"):
        tune(source=tmp_path / "source", mix=0.2)


def test_texts_of_two_modes_are_not_mixed_and_the_difference_is_said(tune, bases):
    with pytest.raises(
        SettingsError, match=r"learnt a text of lines, and this one is read as stream"
    ):
        tune("stream", source=bases / "lines", mix=0.2)
    _, _, said = tune("stream", source=bases / "lines", steps=1)
    assert any("it learnt lines, and this text is read as stream" in line for line in said)


def test_a_missing_or_damaged_model_is_refused(tune, bases, tmp_path):
    with pytest.raises(CheckpointError, match="no run or checkpoint"):
        tune(source=tmp_path / "none")
    damaged = tmp_path / "damaged.safetensors"
    damaged.write_bytes((bases / "lines/model.safetensors").read_bytes()[:-1])
    with pytest.raises(CheckpointError, match="damaged|not a charrnn checkpoint"):
        tune(source=damaged)


def test_a_model_that_counts_is_refused(tune, monkeypatch):
    def counting(path):
        old = old_model("lstm", 1, "none", False)
        model = dataclasses.replace(old.settings.model, cell="ngram")
        return dataclasses.replace(old, settings=dataclasses.replace(old.settings, model=model))

    monkeypatch.setattr(finetune, "read_model", counting)
    with pytest.raises(SettingsError, match="a model of cell ngram counts"):
        tune()


def test_the_run_that_would_be_overwritten_is_no_source(bases, tmp_path):
    shutil.copytree(bases / "lines", tmp_path / "source")
    settings = TUNE | {"init_from": str(tmp_path / "source" / "model.safetensors")}
    with pytest.raises(SettingsError, match="--overwrite would remove"):
        train(
            Request(
                str(bases / "lines.txt"),
                (("--", settings),),
                run=tmp_path / "source",
                overwrite=True,
            ),
            Watcher(),
        )


def test_the_same_text_again_can_be_mixed_with_itself(tune, bases):
    run, _, _ = tune(text=NAMES, mix=0.5, steps=3)
    assert len(list((run / "corpus").glob("*.ids"))) == 1
    train(Request(None, (("--", {"steps": 5}),), run=run, resume=True), Watcher())


@pytest.mark.parametrize(
    ("key", "says"),
    [
        ("init_from", "--init-from .*lines, not elsewhere"),
        ("freeze", "--freeze layer0, not head"),
        ("mix", "--mix 0.25, not 0.5"),
    ],
)
def test_a_resume_with_another_source_is_refused(tune, key, says):
    run, _, _ = tune(freeze="layer0", mix=0.25, steps=2)
    value = {"init_from": "elsewhere", "freeze": "head", "mix": 0.5}[key]
    with pytest.raises(SettingsError, match=says):
        train(Request(None, (("--", {key: value, "steps": 4}),), run=run, resume=True), Watcher())


def test_run_json_and_checkpoint_name_the_source(tune, bases):
    run, _, _ = tune(steps=1)
    about = json.loads((run / "run.json").read_text())
    assert about["settings"]["training"]["init_from"] == str(bases / "lines")
    assert about["origins"]["hidden_size"] == f"--init-from {bases / 'lines'}"
    assert load_newest(run)[0].model.settings.training.init_from == str(bases / "lines")


def test_a_model_of_bytes_keeps_its_unit(tune):
    source, _, _ = tune_bytes(tune)
    run, _, said = tune(source=source, steps=1, run="again", text=PLACES.replace("ö", "é"))
    assert read_model(run).vocabulary.unit == "byte"
    assert any("1 character (byte 0xA9) added" in line for line in said)


def tune_bytes(tune):
    """A byte model, trained anew: its source is none."""
    return tune(
        run="bytes",
        unit="byte",
        steps=1,
        init_from="",
        hidden_size=6,
        num_layers=1,
        embedding_size=4,
    )


def test_a_checkpoint_from_before_there_was_fine_tuning_resumes(bases, tmp_path):
    shutil.copytree(bases / "lines", tmp_path / "old")
    newest = load_newest(tmp_path / "old")[0].path
    tensors, meta = read_tensors(newest, {"charrnn-checkpoint": 2})
    for key in ("init_from", "freeze", "mix"):
        del meta["settings"]["training"][key]
    del meta["sha256"]
    write_tensors(newest, tensors, meta)
    _, outcome = train(
        Request(None, (("--", {"steps": 33}),), run=tmp_path / "old", resume=True), Watcher()
    )
    assert outcome.place.step == 33


def test_held_out_lines_that_the_earlier_model_learnt_are_warned_of(tmp_path):
    """Another seed divides the same names otherwise: most of the new validation lines were training lines."""
    path = tmp_path / "names.txt"
    path.write_text(NAMES)
    small = {
        "hidden_size": 4,
        "embedding_size": 3,
        "steps": 1,
        "threads": 1,
        "split": "0.6,0.2,0.2",
    }
    train(Request(str(path), (("--", small | {"seed": 1}),), run=tmp_path / "old"), Watcher())
    said = {}
    for seed in (1, 2):
        layer = {
            "init_from": str(tmp_path / "old"),
            "steps": 1,
            "threads": 1,
            "split": "0.6,0.2,0.2",
            "seed": seed,
        }
        watcher = Watcher()
        train(Request(str(path), (("--", layer),), run=tmp_path / f"new{seed}"), watcher)
        said[seed] = [line for line in watcher.said if "the earlier model learnt" in line]
    assert said[1] == [] and len(said[2]) == 2 and "use the same --seed" in said[2][0]
