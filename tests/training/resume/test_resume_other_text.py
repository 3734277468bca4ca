"""With --allow-corpus-change a run goes on with another text, whose scores begin with it."""

import json
import random
import shutil

import pytest
from resume_support import layers
from support import Killed, Watcher

from charrnn.errors import CorpusError, SettingsError
from charrnn.modelfile import read_model
from charrnn.training.checkpoint import load_newest
from charrnn.training.session import Request, train

EASY = "the cat sat on the mat and the dog ran to the cat\n\n" * 60
LETTERS = sorted(set(EASY) - set(" \n"))
SMALL = {
    "hidden_size": 16,
    "embedding_size": 8,
    "num_layers": 1,
    "dropout": 0.0,
    "batch_size": 8,
    "seq_length": 16,
    "lr": 0.01,
    "eval_every": "20",
    "patience": None,
}


def hard():
    draw = random.Random(1)
    words = ("".join(draw.choices(LETTERS, k=draw.randint(2, 6))) for _ in range(700))
    return " ".join(words) + "\n\n"


@pytest.fixture
def easy_run(tmp_path, one_thread):
    (tmp_path / "easy.txt").write_text(EASY)
    (tmp_path / "hard.txt").write_text(hard())
    train(
        Request(str(tmp_path / "easy.txt"), layers(**SMALL | {"steps": 120}), run=tmp_path / "r"),
        Watcher(),
    )
    return tmp_path / "r"


def go_on(run, text, watcher=None, **changes):
    request = Request(
        str(run.parent / text),
        (("--", changes),),
        run=run,
        resume=True,
        allow_corpus_change=True,
    )
    return train(request, watcher or Watcher())[1]


def test_a_hard_text_after_an_easy_one_is_no_divergence(easy_run):
    before = read_model(easy_run).val_nats_per_char
    watcher = Watcher()
    outcome = go_on(easy_run, "hard.txt", watcher, steps=240)
    place = load_newest(easy_run)[0].place
    assert before < 1.0 < outcome.place.best_nats
    assert outcome.place.best_step > place.began_step == 120
    assert place.rollbacks == 0
    assert watcher.evaluations[0][0] == 120
    assert read_model(easy_run).meta["fingerprint"] == load_newest(easy_run)[0].fingerprint


def test_stopped_on_the_new_text_and_resumed_without_naming_it_equals_undisturbed(
    easy_run, tmp_path
):
    shutil.copytree(easy_run, tmp_path / "other")
    expected = go_on(easy_run, "hard.txt", steps=200)
    killed = Watcher(kill_at=150)
    with pytest.raises(Killed):
        go_on(tmp_path / "other", "hard.txt", killed, steps=200)
    outcome = train(Request(run=tmp_path / "other", resume=True), Watcher())[1]
    assert outcome.weights_sha256 == expected.weights_sha256
    assert outcome.place.best_nats == expected.place.best_nats


def test_another_text_is_read_in_the_mode_that_the_run_learnt(easy_run):
    (easy_run.parent / "list.txt").write_text("the cat\nsat on\nthe mat\n" * 40)
    go_on(easy_run, "list.txt", steps=121)
    assert read_model(easy_run).mode == "stream"


def test_a_counting_goes_on_with_no_other_text(tmp_path, easy_run):
    counted = (("--", {"cell": "ngram"}),)
    train(Request(str(tmp_path / "easy.txt"), counted, run=tmp_path / "n"), Watcher())
    with pytest.raises(CorpusError, match="counts one text"):
        go_on(tmp_path / "n", "hard.txt")


def test_only_a_run_that_goes_on_can_change_its_text(tmp_path):
    with pytest.raises(SettingsError, match="add --resume"):
        train(Request("names", layers(), run=tmp_path / "r", allow_corpus_change=True), Watcher())


@pytest.mark.parametrize(
    "same", [{"mode": "stream"}, {"split": ".9,.05,.05"}, {"encoding": "UTF8"}, {"budget": None}]
)
def test_a_value_that_is_in_effect_is_no_contradiction(easy_run, same):
    request = Request(run=easy_run, resume=True, layers=(("--", same | {"steps": 122}),))
    assert train(request, Watcher())[1].place.step == 122


def test_a_mode_that_is_not_in_effect_is_one(easy_run):
    request = Request(run=easy_run, resume=True, layers=(("--", {"mode": "lines"}),))
    with pytest.raises(SettingsError, match="not lines"):
        train(request, Watcher())


@pytest.mark.parametrize(
    ("text", "changes", "says"),
    [
        ("few", {"state_reset": 0.1}, "--state-reset is for a stream"),
        ("few", {"forget_bias": 2.0}, "--forget-bias is for --cell lstm, not for gru"),
        ("few", {"glob": "*.c"}, "--glob is for a directory"),
        ("hard", {"deduplicate": False}, "--deduplicate is for lines"),
    ],
)
def test_an_option_that_does_nothing_is_refused(tmp_path, corpus, text, changes, says):
    (tmp_path / "hard.txt").write_text(hard())
    path = corpus("lines") if text == "few" else str(tmp_path / "hard.txt")
    with pytest.raises(SettingsError, match=says):
        train(Request(path, (("--", changes),), run=tmp_path / "r"), Watcher())


def test_what_char_rnn_typed_for_streams_is_noted_where_lines_are_learnt(tmp_path, corpus):
    watcher = Watcher()
    changes = {"seq_length": 9, "steps": 1, "hidden_size": 4}
    train(Request(corpus("lines"), (("--", changes),), run=tmp_path / "r"), watcher)
    assert any("--seq-length is for a stream" in line for line in watcher.said)
    assert json.loads((tmp_path / "r/run.json").read_text())["settings"]["training"]["steps"] == 1
