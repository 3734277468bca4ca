"""Training with counting as an ally: what is scored, kept, recorded, and exact when resumed."""

import json

import pytest
from support import FEW, Killed, Watcher

from charrnn.modelfile import checkpoint_files, read_model
from charrnn.scoring.evaluation import How, evaluated
from charrnn.scoring.score import Score
from charrnn.scoring.text import text_of_split
from charrnn.texts import OpenedRun
from charrnn.training.outcome import Place
from charrnn.training.session import Request, train

SETTINGS = {
    "hidden_size": 5,
    "embedding_size": 3,
    "num_layers": 1,
    "batch_size": 8,
    "seq_length": 9,
    "lr": 0.02,
    "steps": 24,
    "save_every": "5",
    "eval_every": "7",
    "threads": 1,
    "patience": 0,
    "split": "0.6,0.4,0",
    "counting": "on",
}
PROSE = "she sells sea shells, and he sells her shells. " * 40

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def corpus(tmp_path):
    def write(mode):
        path = tmp_path / f"{mode}.txt"
        path.write_text("".join(f"{name}\n" for name in FEW) if mode == "lines" else PROSE)
        return str(path)

    return write


def layers(**changes):
    return (("--", SETTINGS | changes),)


def trained(path, corpus, **changes):
    return train(Request(corpus, layers(**changes), run=path), Watcher())[1]


def evaluations(run):
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [row for row in rows if row.get("event") == "eval"]


@pytest.mark.parametrize("mode", ["lines", "stream"])
def test_killed_and_resumed_equals_undisturbed(tmp_path, corpus, mode):
    expected = trained(tmp_path / "straight", corpus(mode), mode=mode)
    run = tmp_path / "killed"
    found = None
    for index, kill_at in enumerate([3, 7, 15, None]):
        begins = index == 0
        request = Request(
            corpus(mode) if begins else None,
            layers(mode=mode) if begins else (),
            run=run,
            resume=not begins,
        )
        try:
            found = train(request, Watcher(kill_at))[1]
        except Killed:
            assert kill_at is not None
    assert found.weights_sha256 == expected.weights_sha256
    for name in ("model.safetensors", "checkpoints/step-00000024.safetensors"):
        assert read_model(run / name).ally is not None
    ours = (run / "model.safetensors").read_bytes()
    assert ours == (tmp_path / "straight/model.safetensors").read_bytes()


def test_the_weights_do_not_depend_on_counting(tmp_path, corpus):
    outcomes = [
        trained(tmp_path / how, corpus("lines"), counting=how) for how in ("on", "off", "auto")
    ]
    assert len({outcome.weights_sha256 for outcome in outcomes}) == 1
    assert read_model(tmp_path / "off").ally is None


def test_the_mixtures_score_is_kept_and_the_networks_recorded(tmp_path, corpus):
    run = tmp_path / "run"
    outcome = trained(run, corpus("stream"), mode="stream")
    rows = evaluations(run)
    assert outcome.place.best_nats == min(row["val_nats_per_char"] for row in rows)
    assert all(row["val_nats_per_char"] < row["network_nats_per_char"] for row in rows)
    assert all(0 < row["counting_share"] < 1 for row in rows)
    assert read_model(run).val_nats_per_char == outcome.place.best_nats


def test_auto_leaves_counting_out_where_validation_does_not_gain(tmp_path, corpus, monkeypatch):
    monkeypatch.setattr("charrnn.training.mixing.LEAST_GAIN", 0.99)
    trained(tmp_path / "run", corpus("lines"), counting="auto")
    assert read_model(tmp_path / "run").ally is None
    for row in evaluations(tmp_path / "run"):
        assert row["val_nats_per_char"] == row["network_nats_per_char"]
        assert row["counting_share"] == 0


def test_a_network_that_gets_better_loses_no_patience():
    place = Place()
    scores = [(2.0, 3.0), (2.0, 2.9), (2.1, 2.8), (2.1, 2.8), (2.1, 2.9)]
    looks = []
    for mixture, network in scores:
        place.count_evaluation(Score(mixture, 1), Score(network, 1))
        looks.append(place.evaluations_since_best)
    assert looks == [0, 0, 0, 1, 2]
    assert place.best_nats == 2.0


def test_eval_shows_the_experts(tmp_path, corpus):
    trained(tmp_path / "run", corpus("lines"))
    run = OpenedRun(read_model(tmp_path / "run"))
    card = evaluated(run, text_of_split(run, "val"), How(), True, lambda note: None)
    assert card.experts.network > card.figures.bits_per_char
    assert card.experts.counting > card.figures.bits_per_char
    assert 0 < card.experts.mean_share < 1
    assert card.to_json()["experts"]["order"] == card.experts.order


def test_fine_tuning_counts_the_new_text_and_the_old_one_mixed_in(tmp_path, corpus):
    trained(tmp_path / "old", corpus("lines"))
    new = tmp_path / "new.txt"
    new.write_text("".join(f"{name[::-1].lower()}\n" for name in FEW))

    def grams(name, **changes):
        asked = {"init_from": str(tmp_path / "old"), "counting": "on", "steps": 3, "threads": 1}
        request = Request(str(new), (("--", asked | changes),), run=tmp_path / name)
        train(request, Watcher())
        return read_model(tmp_path / name).ally.contexts.ngram.levels[0].counts.sum()

    assert grams("mixed", mix=0.5) > grams("alone")


def test_a_checkpoint_of_a_mixture_is_a_mixture(tmp_path, corpus):
    trained(tmp_path / "run", corpus("lines"))
    assert read_model(checkpoint_files(tmp_path / "run/checkpoints")[-1]).ally is not None
