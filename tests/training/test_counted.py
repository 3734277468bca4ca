"""Counting models through the same commands: sampled, trained, killed and resumed, damaged,
refused.
"""

import json
import math
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from support import FEW, Killed, Watcher

from charrnn.config import Settings
from charrnn.errors import CheckpointError, DamagedError, SettingsError
from charrnn.modelfile import KINDS, ModelFile, checkpoint_files, parse_model, read_model
from charrnn.sampling.decode import Decoding
from charrnn.sampling.engine import Sampler, load
from charrnn.storage import read_tensors, write_tensors
from charrnn.text import ngram
from charrnn.text.counting import count
from charrnn.text.ngram import SMOOTHINGS
from charrnn.text.vocabulary import Vocabulary
from charrnn.training.checkpoint import RunDirectory, load_checkpoint
from charrnn.training.counted import CountingTrainer
from charrnn.training.session import Request, train

PROSE = (
    "A text of several lines,\n\nwith blank ones, so that it is a stream. "
    "It is 300 characters long or so.\n\n"
) * 3
VOCABULARY = Vocabulary("char", (10, *range(97, 101)))  # newline, a, b, c, d


def model_of(train_ids, order, mode="stream", smoothing="kneser-ney"):
    settings = Settings().with_values("model", cell="ngram", smoothing=smoothing)
    made = count(np.asarray(train_ids), 5, order, 0 if mode == "lines" else None, smoothing)
    return ModelFile(Path("none"), settings, VOCABULARY, mode, 0, made.tensors(), {}), made


@pytest.fixture
def corpus(tmp_path):
    def write(mode):
        path = tmp_path / f"{mode}.txt"
        path.write_text("".join(f"{name}\n" for name in FEW) if mode == "lines" else PROSE)
        return str(path)

    return write


def counting(corpus, run, *, watcher=None, resume=False, **changes):
    settings = (("--", {"cell": "ngram", "save_every": "1"} | changes),)
    request = Request(
        None if resume else corpus, () if resume else settings, run=run, resume=resume
    )
    return train(
        request, watcher or Watcher(), lambda tensors, meta: f"from {len(tensors)} tensors"
    )[1]


@pytest.mark.parametrize("order", [1, 2, 4])
@pytest.mark.parametrize("mode", ["stream", "lines"])
@pytest.mark.parametrize("smoothing", SMOOTHINGS)
def test_one_character_after_the_other_gives_the_probabilities_of_the_whole(order, mode, smoothing):
    random = np.random.default_rng(3)
    model, made = model_of(random.integers(0, 5, 300), order, mode, smoothing)
    sampler = Sampler(model)
    text = random.integers(1, 5, 40)  # one line
    state, found = sampler.zero_state(2), []
    before = [sampler.start, *text] if mode == "lines" else text
    for char, after in zip(before, before[1:], strict=False):
        logits, state = sampler.step(np.array([char, 1]), state)
        found.append(np.exp(logits[0, after]))
    expected = made.probabilities(text)
    np.testing.assert_allclose(found, expected[mode == "stream" :], rtol=1e-13)


@pytest.mark.parametrize("mode", ["stream", "lines"])
def test_a_texts_score_is_the_sum_of_its_characters(mode):
    model, made = model_of(np.random.default_rng(4).integers(0, 5, 200), 3, mode)
    text = "abba\ncad\n"
    ids = VOCABULARY.encode(text)
    expected = -np.log(made.probabilities(ids))[mode == "stream" :].sum()
    nats, chars = Sampler(model).score(text)
    assert (nats, chars) == (pytest.approx(expected, rel=1e-12), len(text) - (mode == "stream"))


def test_drawn_characters_follow_the_model():
    model, made = model_of(np.random.default_rng(5).integers(0, 5, 60), 2)
    first = made.probabilities(np.array([0, 1]))[1], made.probabilities(np.array([0, 2]))[1]
    drawn = [
        sample.ids[0]
        for sample in Sampler(model).generate(4000, length=1, decoding=Decoding(1.0), seed=1)
    ]
    shares = np.bincount(drawn, minlength=5) / 4000
    assert abs(shares[1] - first[0]) < 4 * math.sqrt(first[0] / 4000)
    assert abs(shares[2] - first[1]) < 4 * math.sqrt(first[1] / 4000)


def test_rows_side_by_side_write_what_each_writes_alone():
    model, _ = model_of(np.random.default_rng(6).integers(0, 5, 300), 4, "lines")
    sampler = Sampler(model)
    together = [sample.text for sample in sampler.generate(30, seed=2)]
    alone = [next(sampler.generate(1, seed=2, first=number)).text for number in range(30)]
    assert together == alone and len(set(together)) > 10


def test_the_cache_of_probabilities_is_bounded(monkeypatch):
    model, _ = model_of(np.random.default_rng(7).integers(0, 5, 300), 4)
    whole = Sampler(model).stream(length=200, seed=3)
    whole = b"".join(whole)
    monkeypatch.setattr("charrnn.sampling.counted.MAX_CACHED", 15)
    sampler = Sampler(model)
    assert b"".join(sampler.stream(length=200, seed=3)) == whole
    assert len(sampler._network._cache) <= 3


@pytest.mark.parametrize("mode", ["lines", "stream"])
@pytest.mark.parametrize("order", ["auto", "3"])
def test_a_run_counts_samples_and_scores(corpus, tmp_path, mode, order):
    watcher = Watcher()
    outcome = counting(
        corpus(mode), tmp_path / "run", watcher=watcher, order=order, split="0.8,0.1,0.1"
    )
    model = read_model(tmp_path / "run")
    assert outcome.reason == "done" and watcher.samples
    assert watcher.evaluations[0] == (0, pytest.approx(math.log(len(model.vocabulary))))
    assert model.meta["val_nats_per_char"] == watcher.evaluations[-1][1] < watcher.evaluations[0][1]
    assert order == "auto" or model.ngram().order == 3
    assert next(load(tmp_path / "run").generate(1, seed=1)).chars > 0


def test_the_picked_order_is_the_best_of_all(corpus, tmp_path):
    path = corpus("stream")
    outcome = counting(path, tmp_path / "auto")
    fixed = [
        counting(path, tmp_path / f"{order}", order=str(order)).place.best_nats
        for order in range(1, 14)
    ]
    assert outcome.place.best_nats == pytest.approx(min(fixed), rel=1e-12)


@pytest.mark.parametrize("mode", ["lines", "stream"])
@pytest.mark.parametrize("kills", [[1], [2, 3, 7], range(1, 40)])
@pytest.mark.fault("F11 resumes")
def test_killed_and_resumed_is_the_same_as_not_killed(corpus, tmp_path, monkeypatch, mode, kills):
    monkeypatch.setattr(ngram, "PIECE", 20)
    straight = counting(corpus(mode), tmp_path / "straight")
    run, outcome = tmp_path / "killed", None
    for number, kill_at in enumerate([*kills, None]):
        try:
            outcome = counting(corpus(mode), run, watcher=Watcher(kill_at), resume=number > 0)
        except Killed:
            assert kill_at is not None
    assert outcome.weights_sha256 == straight.weights_sha256
    assert (run / "model.safetensors").read_bytes() == (
        tmp_path / "straight/model.safetensors"
    ).read_bytes()
    steps = [
        json.loads(line).get("event", json.loads(line)["step"])
        for line in open(run / "metrics.jsonl")
    ]
    numbers = [step for step in steps if isinstance(step, int)]
    assert numbers == list(range(1, straight.place.step + 1))


@pytest.mark.fault("F11 resumes")
def test_a_signal_ends_after_the_piece_and_the_resume_goes_on(corpus, tmp_path, monkeypatch):
    monkeypatch.setattr(ngram, "PIECE", 20)
    path = corpus("stream")

    class Stopper(Watcher):
        def step(self, update):
            if update.step == 2:
                trainers[0].stop("SIGINT")

    trainers, made = [], CountingTrainer.fit
    monkeypatch.setattr(CountingTrainer, "fit", lambda self: (trainers.append(self), made(self))[1])
    stopped = counting(path, tmp_path / "run", watcher=Stopper())
    assert (stopped.reason, stopped.place.step) == ("SIGINT", 2)
    whole = counting(path, tmp_path / "run", resume=True)
    assert whole.weights_sha256 == counting(path, tmp_path / "straight").weights_sha256


def test_a_finished_counting_has_nothing_left_to_do(corpus, tmp_path):
    counting(corpus("lines"), tmp_path / "run")
    assert counting(None, tmp_path / "run", resume=True).reason == "already done"


def test_all_characters_are_seen_once_in_a_pass(corpus, tmp_path, monkeypatch):
    monkeypatch.setattr(ngram, "PIECE", 20)
    outcome = counting(corpus("stream"), tmp_path / "run", order="5")
    assert outcome.epochs == 1


@pytest.mark.parametrize(
    ("key", "value"), [("hidden_size", 8), ("lr", 0.1), ("budget", "1m"), ("dropout", 0.1)]
)
def test_flags_of_networks_are_refused(corpus, tmp_path, key, value):
    with pytest.raises(SettingsError, match="is for networks"):
        counting(corpus("lines"), tmp_path / "run", **{key: value})
    assert not (tmp_path / "run").exists()


def test_a_preset_for_networks_still_counts(corpus, tmp_path):
    layers = (("names.toml", {"hidden_size": 256, "epochs": 60.0}), ("--", {"cell": "ngram"}))
    assert (
        train(Request(corpus("lines"), layers, run=tmp_path / "run"), Watcher())[1].reason == "done"
    )


def test_order_and_smoothing_are_for_counting(charrnn):
    done = charrnn("train", "names", "--order", "3")
    assert done.returncode == 2 and "add --cell ngram" in done.stderr


@pytest.mark.parametrize("order", ["0", "-1", "25", "five", "1.5", ""])
def test_orders_that_are_none_are_refused(charrnn, order):
    done = charrnn("train", "names", "--cell", "ngram", "--order", order)
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and "--order" in done.stderr


def test_an_order_that_the_alphabet_does_not_allow_is_refused(corpus, tmp_path):
    with pytest.raises(SettingsError, match="n-grams of at most"):
        counting(corpus("stream"), tmp_path / "run", order="24")


@pytest.mark.parametrize("more", [{"epochs": 5.0}, {"lr": 0.1}])
def test_a_counting_is_not_resumed_for_longer(corpus, tmp_path, more):
    counting(corpus("lines"), tmp_path / "run")
    with pytest.raises(SettingsError, match="is for networks"):
        train(Request(None, (("--", more),), run=tmp_path / "run", resume=True), Watcher())


@pytest.mark.parametrize(
    "words", [("eval", "--dynamic"), ("eval", "--cache=5"), ("sample", "--cache=5")]
)
def test_what_needs_a_network_says_so(corpus, tmp_path, charrnn, words):
    counting(corpus("stream"), tmp_path / "run")
    done = charrnn(words[0], "run", words[1])
    option = words[1].partition("=")[0]
    assert (
        done.returncode == 2
        and f"{option} is for networks" in done.stderr
        and done.stderr.count("\n") == 1
    )


@pytest.mark.parametrize("order", ["1", "3"])
def test_a_counting_model_writes_by_turns(corpus, tmp_path, charrnn, order):
    counting(corpus("stream"), tmp_path / "run", order=order)
    done = charrnn(
        "sample", "run", "--interactive", "--length", "9", "--seed", "1", stdin="\n/back\n/quit\n"
    )
    assert (
        done.returncode == 0
        and len(done.stdout.strip("\n")) == 9
        and "Traceback" not in done.stderr
    )


def test_the_card_of_a_counting_model_names_it_and_has_no_counting_beside_it(
    corpus, tmp_path, charrnn
):
    counting(corpus("stream"), tmp_path / "run", order="3", smoothing="witten-bell")
    found = json.loads(charrnn("eval", "run", "--json").stdout)
    assert found["model"] == {"cell": "ngram", "order": 3, "smoothing": "witten-bell"}
    assert (
        found["ngram"] is None
        and "ngram" not in found["baselines"]
        and "unigram" in found["baselines"]
    )
    assert "this run (3-gram, Witten-Bell)" in charrnn("eval", "run").stdout


def test_a_contradicting_order_is_refused_on_resume(corpus, tmp_path):
    counting(corpus("lines"), tmp_path / "run", order="3")
    with pytest.raises(SettingsError, match="trained with --order 3, not 4"):
        train(
            Request(
                None, (("--", {"order": "4", "cell": "ngram"}),), run=tmp_path / "run", resume=True
            ),
            Watcher(),
        )


def swapped(array):
    array[[0, 1]] = array[[1, 0]]
    return array


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("ngram.1.grams", swapped),
        ("ngram.2.grams", lambda a: a + 5 * len(a)),
        ("ngram.2.grams", lambda a: a - 99),
        ("ngram.3.grams", lambda a: a[:-1]),
        ("ngram.3.counts", lambda a: a.astype(np.int64)),
        ("ngram.2.counts", lambda a: a[None]),
        ("ngram.1.grams", lambda a: a[:0]),
        ("ngram.9.grams", None),
        ("head.bias", None),
    ],
)
def test_a_damaged_model_is_refused(name, change):
    model, _ = model_of(np.random.default_rng(8).integers(0, 5, 50), 3)
    tensors = dict(model.tensors)
    tensors[name] = np.zeros(3) if change is None else change(tensors[name].copy())
    meta = {
        "kind": "charrnn-model",
        "settings": model.settings.to_dict(),
        "vocabulary": VOCABULARY.to_dict(),
        "mode": "stream",
        "start": 0,
    }
    parse_model(Path("m"), model.tensors, meta)
    with pytest.raises(DamagedError, match="n-grams make no sense"):
        parse_model(Path("m"), tensors, meta)


@pytest.mark.parametrize(
    "changes",
    [
        {"counting": "x"},
        {"counting": 99},
        {"plan": {"total_steps": "many"}},
        {"place": None},
    ],
)
def test_a_checkpoint_whose_record_makes_no_sense_is_refused(corpus, tmp_path, changes):
    counting(corpus("lines"), tmp_path / "run")
    path = checkpoint_files(tmp_path / "run/checkpoints")[-1]
    tensors, meta = read_tensors(path, KINDS)
    write_tensors(path, tensors, meta | changes)
    from charrnn.text.corpus import open_corpus

    opened = open_corpus(tmp_path / "run/corpus", meta["fingerprint"])
    with (
        RunDirectory(tmp_path / "run") as run,
        pytest.raises(CheckpointError, match="is damaged"),
    ):
        checkpoint = load_checkpoint(path)
        CountingTrainer(checkpoint.model.settings, opened, run, Watcher(), checkpoint=checkpoint)


def test_the_kernel_is_not_for_counting_models():
    model, _ = model_of([0, 1, 2, 3, 4], 2)
    with pytest.raises(SettingsError, match="sampled by numpy"):
        Sampler(model, engine="compiled")
    assert repr(Sampler(model)) == "Sampler(2-gram, 5 characters, stream, numpy)"
    assert replace(model).counts


@pytest.mark.slow
@pytest.mark.skipif(
    not Path("/proc/self/status").exists(), reason="memory is read from Linux's /proc"
)
def test_a_hundred_megabytes_are_counted_in_two_gigabytes(tmp_path):
    # Words of two to nine letters by Zipf's law, ended by spaces, some by newlines.
    random = np.random.default_rng(0)
    words = [
        bytes(random.integers(97, 123, random.integers(2, 10)).tolist()) for _ in range(50_000)
    ]
    with open(tmp_path / "big.txt", "wb") as file:
        while file.tell() < 100_000_000:
            drawn = np.minimum(random.zipf(1.1, 100_000), 50_000) - 1
            ends = np.where(random.random(100_000) < 0.1, 10, 32).tolist()
            file.write(
                b"".join(
                    words[word] + bytes([end])
                    for word, end in zip(drawn.tolist(), ends, strict=True)
                )
            )
    code = (
        "import re\nfrom support import Watcher\n"
        "from charrnn.training.session import Request, train\n"
        "run, outcome = train(Request('big.txt', (('--', {'cell': 'ngram'}),)), Watcher())\n"
        "status = open('/proc/self/status').read()\n"
        "print(outcome.parameters, int(re.search(r'VmHWM:\\s+(\\d+)', status)[1]) / 1e3)"
    )
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent.parent), *sys.path])
    }
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=1500,
        env=environment,
    )
    assert done.returncode == 0, done.stderr
    print(done.stdout)
    assert float(done.stdout.split()[-1]) < 2000
