"""Trainings on several texts: shares, exact resumes, shards, and a score for each."""

import json

import pytest
from several_support import found
from support import Killed, Watcher

from charrnn.errors import CorpusError, SettingsError
from charrnn.modelfile import read_model
from charrnn.scoring.evaluation import How, evaluated
from charrnn.scoring.text import text_of_split
from charrnn.texts import OpenedRun
from charrnn.training.checkup import check
from charrnn.training.session import Request, train

NAMES = [f"{a}{b}" for a in "abcdefgh" for b in ("na", "lo", "mi", "re", "tu")]  # 40
PROSE = "A text of several lines,\n\nwith blank ones, so that it is a stream.\n\n"
OTHER = "ANOTHER ONE, 1234567890\n\n"
SETTINGS = {
    "hidden_size": 7,
    "embedding_size": 5,
    "num_layers": 1,
    "dropout": 0.3,
    "batch_size": 5,
    "seq_length": 7,
    "lr": 0.02,
    "steps": 60,
    "save_every": "4",
    "eval_every": "13",
    "sample_every": "40",
    "threads": 1,
    "patience": 0,
    "state_reset": 0.1,
}
KINDS = {
    "stream": {},
    "lines": {"state_reset": None},
    "records": {"state_reset": None, "mode": "records", "separator": "---"},
}


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(params=list(KINDS))
def kind(request, here):
    """Two texts of a kind, in a.txt and b.txt; its settings."""
    first, second = PROSE * 5, OTHER * 6
    if request.param == "lines":
        first, second = "\n".join(NAMES[:30]), "\n".join(NAMES[30:])
    if request.param == "records":
        first = "".join(f"{name}\n{name * (n % 5)}\n---\n" for n, name in enumerate(NAMES[:30]))
        second = "".join(f"{name}\nlast\n---\n" for name in NAMES[30:])
    (here / "a.txt").write_text(first)
    (here / "b.txt").write_text(second)
    return KINDS[request.param]


def trained(run, corpus, watcher=None, *, resume=False, **changes):
    settings = {key: value for key, value in (SETTINGS | changes).items() if value is not None}
    layers = (("--", settings),) if corpus is not None or not resume else ()
    request = Request(corpus, layers, run=run, resume=resume)
    return train(request, watcher or Watcher())[1]


@pytest.mark.medium
@pytest.mark.fault("F11 resumes")
def test_a_killed_training_with_shares_goes_on_exactly(here, kind, one_thread):
    texts = ["a.txt:0.35", "b.txt:0.65"]
    expected = trained(here / "straight", found(texts), **kind)
    outcome = None
    for index, kill_at in enumerate([5, 17, 18, 50, None]):
        try:
            corpus = found(texts) if not index else None
            outcome = trained(here / "killed", corpus, Watcher(kill_at), resume=index > 0, **kind)
        except Killed:
            assert kill_at is not None
    assert outcome.weights_sha256 == expected.weights_sha256
    assert outcome.texts == expected.texts


@pytest.mark.medium
def test_shares_change_what_is_learnt(here, kind, one_thread):
    def sha(name, texts, **more):
        return trained(here / name, found(texts), steps=20, **(kind | more)).weights_sha256

    usual = sha("usual", ["a.txt", "b.txt"])
    shared = sha("shared", ["a.txt:0.35", "b.txt:0.65"])
    other = sha("other", ["a.txt:0.65", "b.txt:0.35"])
    assert len({usual, shared, other}) == 3
    assert sha("again", ["a.txt:0.35", "b.txt:0.65"]) == shared


def test_the_first_line_says_the_shares(here):
    (here / "a.txt").write_text(PROSE * 5)
    (here / "b.txt").write_text(OTHER * 6)
    watcher = Watcher()
    trained(here / "run", found(["a.txt:0.35", "b.txt:0.65"]), watcher, steps=1)
    assert any("b.txt (35% a, 65% b); GRU" in line for line in watcher.said), watcher.said


def test_a_text_with_a_larger_share_is_learnt_better(here, kind):
    scores = []
    for share in (0.05, 0.95):
        corpus = found([f"a.txt:{share}", f"b.txt:{1 - share}"])
        outcome = trained(here / f"run{share}", corpus, counting="off", **kind)
        scores.append({text.name: text.nats_per_char for text in outcome.texts})
    assert scores[1]["a"] < scores[0]["a"]
    assert scores[1]["b"] > scores[0]["b"]


def test_the_scores_of_the_texts_add_up_to_the_whole(here, kind):
    trained(here / "run", found(["a.txt:0.35", "b.txt:0.65"]), steps=20, **kind)
    run = OpenedRun(read_model(here / "run"))
    for split in ("val", "test"):
        text = text_of_split(run, split)
        card = evaluated(run, text, How(), False, print)
        assert [score.name for score in card.texts] == ["a", "b"]
        assert [score.share for score in card.texts] == pytest.approx([0.35, 0.65])
        assert sum(score.chars for score in card.texts) == card.figures.chars
        nats = sum(score.chars * score.nats_per_char for score in card.texts)
        assert nats / card.figures.chars == pytest.approx(card.figures.nats_per_char)
        assert card.to_json()["texts"][1]["name"] == "b"


def test_the_end_of_a_training_says_what_eval_says(here, kind):
    outcome = trained(here / "run", found(["a.txt", "b.txt"]), steps=20, **kind)
    run = OpenedRun(read_model(here / "run"))
    card = evaluated(run, text_of_split(run, "val"), How(), False, print)
    for told, scored in zip(outcome.texts, card.texts, strict=True):
        assert told.name == scored.name and told.chars == scored.chars
        assert told.nats_per_char == pytest.approx(scored.nats_per_char, rel=1e-6)
    lines = (here / "run/metrics.jsonl").read_text().splitlines()
    record = next(json.loads(line) for line in lines if '"texts"' in line)
    assert record["step"] == 20 and [text["name"] for text in record["texts"]] == ["a", "b"]


def test_shards_compute_the_same_lanes(here, one_thread):
    (here / "a.txt").write_text(PROSE * 5)
    (here / "b.txt").write_text(OTHER * 6)
    changes = {"steps": 12, "batch_size": 6, "dropout": 0.0, "backend": "own", "state_reset": 0.0}
    scores = []
    for shards in (1, 3):
        corpus = found(["a.txt:0.35", "b.txt:0.65"])
        outcome = trained(here / f"run{shards}", corpus, shards=shards, **changes)
        scores.append(outcome.place.network_nats)
    assert scores[1] == pytest.approx(scores[0], rel=1e-4)  # sums in another order, float32


def test_a_resume_refuses_other_texts_and_other_shares(here, kind):
    texts = found(["a.txt:0.35", "b.txt:0.65"])
    trained(here / "run", texts, steps=4, **kind)
    with pytest.raises(CorpusError, match="this run has other shares of these texts"):
        trained(here / "run", found(["a.txt:0.4", "b.txt:0.6"]), resume=True, **kind)
    (here / "b.txt").write_text((here / "b.txt").read_text() + "one more")
    with pytest.raises(CorpusError, match="is not the text this run was trained on"):
        trained(here / "run", found(["a.txt:0.35", "b.txt:0.65"]), resume=True, **kind)


def test_mix_with_shares_is_refused(here):
    (here / "a.txt").write_text("\n".join(NAMES))
    trained(here / "old", str(here / "a.txt"), steps=2, state_reset=None)
    (here / "b.txt").write_text("\n".join(f"{name}a" for name in NAMES))
    with pytest.raises(SettingsError, match="--mix is for one text"):
        trained(
            here / "new",
            found(["a.txt:0.5", "b.txt:0.5"]),
            steps=2,
            state_reset=None,
            init_from=str(here / "old"),
            mix=0.3,
            hidden_size=None,
            embedding_size=None,
            num_layers=None,
        )


def test_counting_counts_several_texts(here, kind):
    cell = {"cell": "ngram"} | {key: kind[key] for key in ("mode", "separator") if key in kind}
    request = Request(found(["a.txt:0.3", "b.txt:0.7"]), (("--", cell),), run=here / "run")
    _, outcome = train(request, Watcher())
    assert [text.name for text in outcome.texts] == ["a", "b"]


def test_a_check_knows_all_texts(here):
    (here / "a.txt").write_text("\n".join(NAMES[:20]))
    (here / "b.txt").write_text("\n".join(NAMES[10:]))
    findings = check(found(["a.txt:3", "b.txt:1"]), ())
    texts = findings["texts"]
    assert [text["name"] for text in texts] == ["a", "b"]
    assert [text["share"] for text in texts] == [0.75, 0.25]
    assert [text["lines"] for text in texts] == [20, 30]
    assert findings["lines"] == 50 and findings["repeated_lines"] == 10
    assert any("taken as 0.75 of a, 0.25 of b" in advice for advice in findings["advice"])


def test_a_check_looks_for_leaks_of_each_stream(here):
    line = "This line is long enough to say something."
    (here / "a.txt").write_text("\n\n".join(f"{line} {n}" for n in range(20)) + f"\n\n{line}\n")
    (here / "b.txt").write_text(f"{line}\n\n" + "\n\n".join(f"{line} {n}" for n in range(40, 60)))
    (leak,) = check(found(["a.txt", "b.txt"]), (("--", {"mode": "stream"}),))["leaks"]
    assert leak["known"] == 1 and leak["examples"] == (line,)
