"""Training with labels and counting beside the network: what is counted, recorded, and resumed."""

import json
import random

import pytest
from support import Killed, Watcher

from charrnn.modelfile import read_model
from charrnn.scoring.counting import score_of
from charrnn.scoring.evaluation import How, evaluated
from charrnn.scoring.labels import classified
from charrnn.scoring.text import text_of_split
from charrnn.texts import OpenedRun
from charrnn.training.session import Request, train

SETTINGS = {
    "label": "prefix",
    "hidden_size": 6,
    "embedding_size": 4,
    "num_layers": 1,
    "batch_size": 8,
    "lr": 0.02,
    "steps": 16,
    "save_every": "5",
    "eval_every": "6",
    "threads": 1,
    "patience": 0,
    "split": "0.6,0.2,0.2",
    "counting": "on",
}

pytestmark = pytest.mark.usefixtures("one_thread")


def lines(alphabets, seed):
    draws = random.Random(seed)
    for number in range(120):
        label = list(alphabets)[number % len(alphabets)]
        yield f"{label}\t{''.join(draws.choices(alphabets[label], k=draws.randint(3, 6)))}\n"


@pytest.fixture
def text(tmp_path):
    path = tmp_path / "words.tsv"
    path.write_text("".join(lines({"early": "abcdeo", "late": "fghijo"}, 1)))
    return str(path)


def trained(text, run, **more):
    return train(Request(text, (("--", SETTINGS | more),), run=run), Watcher())[1]


def test_killed_and_resumed_equals_undisturbed(text, tmp_path):
    trained(text, tmp_path / "straight")
    for number, kill_at in enumerate([3, 11, None]):
        request = Request(
            None if number else text,
            () if number else (("--", SETTINGS),),
            run=tmp_path / "killed",
            resume=number > 0,
        )
        try:
            train(request, Watcher(kill_at))
        except Killed:
            assert kill_at is not None
    ours = (tmp_path / "killed/model.safetensors").read_bytes()
    assert ours == (tmp_path / "straight/model.safetensors").read_bytes()
    assert list(read_model(tmp_path / "killed").ally.by_label.owned) == [1, 2]


def test_counting_is_recorded_and_shown_with_labels(text, tmp_path):
    trained(text, tmp_path / "run")
    opened = OpenedRun(read_model(tmp_path / "run"))
    ally = opened.model.ally
    corpus = opened.corpora[0]
    val = corpus.split("val")
    first = corpus.first_ids("val")
    expected = score_of(ally.contexts.ngram, val, "lines", by_label=ally.by_label, first=first)
    rows = [json.loads(row) for row in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    [*_, last] = [row for row in rows if row.get("event") == "eval"]
    assert last["ngram_nats_per_char"] == pytest.approx(expected.nats_per_char)
    assert last["val_nats_per_char"] < last["network_nats_per_char"]
    card = evaluated(opened, text_of_split(opened, "val"), How(), False, lambda note: None)
    assert card.experts.counting == pytest.approx(expected.bits_per_char)
    assert classified(opened.model, text_of_split(opened, "val"), How(), "flat").accuracy > 0.9


def test_fine_tuning_counts_the_labels_of_both_texts(text, tmp_path):
    trained(text, tmp_path / "old")
    more = tmp_path / "more.tsv"
    more.write_text("".join(lines({"late": "fghijo", "new": "abcijo"}, 2)))

    def counts(name, **changes):
        asked = {"init_from": str(tmp_path / "old"), "counting": "on", "steps": 3, "threads": 1}
        asked["label"] = "prefix"
        request = Request(str(more), (("--", asked | changes),), run=tmp_path / name)
        train(request, Watcher())
        model = read_model(tmp_path / name)
        owned = model.ally.by_label.owned
        return {
            label: int(owned[number][-1].counts.sum()) if number in owned else 0
            for number, label in enumerate(model.vocabulary.labels, 1)
        }

    alone = counts("alone")
    mixed = counts("mixed", mix=0.5)
    assert set(alone) == set(mixed) == {"early", "late", "new"}
    assert alone["early"] == 0 < mixed["early"]
    assert mixed["late"] > alone["late"] > 0
    assert mixed["new"] == alone["new"] > 0
