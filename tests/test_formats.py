"""The version contract: files of every release load, those of a later format are refused.

The files were made by those versions (tests/fixtures/README.md).
"""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from support import Watcher

from charrnn import __version__
from charrnn.errors import CheckpointError
from charrnn.modelfile import FIELDS, KINDS, checkpoint_files, read_model
from charrnn.sampling.engine import Sampler
from charrnn.scoring.evaluation import How, evaluated
from charrnn.scoring.text import text_of_split
from charrnn.storage import read_tensors, write_tensors
from charrnn.text.corpus import WITH_SHARES, open_corpus
from charrnn.texts import OpenedRun
from charrnn.training import checkpoint
from charrnn.training.checkpoint import load_newest
from charrnn.training.session import Request, train
from charrnn.values import wrong_field

FIXTURES = Path(__file__).parent / "fixtures"
RUNS = sorted(
    str(path.parent.relative_to(FIXTURES)) for path in FIXTURES.glob("*/*/model.safetensors")
)
NETWORKS = [run for run in RUNS if "ngram" not in run]

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def copied(tmp_path):
    """name -> a copy of a fixture's run: nothing may write where they lie."""
    return lambda name: Path(shutil.copytree(FIXTURES / name, tmp_path / "run"))


def nats_per_char(model):
    run = OpenedRun(model)
    card = evaluated(run, text_of_split(run, "val"), How(), False, lambda note: None)
    return card.figures.nats_per_char


def test_every_release_has_its_files():
    # A version joins this list when it is released.
    assert {run.split("/")[0] for run in RUNS} == {"0.1.0", "0.2.0", "0.3.0", "0.4.0"}


@pytest.mark.parametrize("name", RUNS)
def test_a_score_is_what_it_was(name):
    """To 1e-5: other processors round sums differently."""
    expected = json.loads((FIXTURES / name / "expected.json").read_text())
    assert nats_per_char(read_model(FIXTURES / name)) == pytest.approx(
        expected["nats_per_char"], rel=1e-5
    )


@pytest.mark.parametrize("name", RUNS)
def test_a_model_and_a_checkpoint_are_sampled_and_known_texts_are_known(name):
    for path in (FIXTURES / name, checkpoint_files(FIXTURES / name / "checkpoints")[-1]):
        model = read_model(path)
        sampler = Sampler(model)
        [sample] = sampler.generate(1, length=5, seed=3)
        assert 1 <= sample.chars <= 5
        known = OpenedRun(model).novelty
        text = open_corpus(model.run / "corpus", model.meta["fingerprint"])
        ids = text.split("train")[:8]
        line = (
            ids[: int(np.flatnonzero(ids == model.vocabulary.newline)[0])]
            if model.mode == "lines"
            else ids
        )
        sample.text = model.vocabulary.decode(line)
        assert known.is_novel(sample.data) is False


@pytest.mark.parametrize("name", NETWORKS)
def test_a_run_goes_on_from_its_checkpoint_and_says_that_this_is_not_exact(name, copied):
    run = copied(name)
    watcher = Watcher()
    metrics = (run / "metrics.jsonl").read_bytes()
    _, outcome = train(Request(run=run, resume=True, layers=(("--", {"steps": 8}),)), watcher)
    assert outcome.place.step == 8
    before = json.loads((run / "expected.json").read_text())["nats_per_char"]
    assert outcome.place.val_nats == pytest.approx(before, abs=0.05)  # two steps of a slow start
    assert (run / "metrics.jsonl").read_bytes().startswith(metrics)
    if not name.startswith(__version__):
        assert any("not exact" in text and "charrnn" in text for text in watcher.said)


@pytest.mark.parametrize("name", [run for run in RUNS if run not in NETWORKS])
def test_a_counting_that_is_done_is_done(name, copied):
    _, outcome = train(Request(run=copied(name), resume=True), Watcher())
    assert outcome.reason == "already done"


@pytest.mark.parametrize("name", NETWORKS)
def test_a_fine_tuning_starts_from_it(name, copied, tmp_path):
    model = read_model(copied(name))
    text = (
        "so it goes on, zoe. " * 20
        if model.mode == "stream"
        else "".join(f"Zo{c}\n" for c in "abcdefghijklmnopqrst")
    )
    (tmp_path / "new.txt").write_text(text)
    settings = {
        "init_from": str(tmp_path / "run"),
        "steps": 1,
        "mode": model.mode,
        "threads": 1,
        "batch_size": 4,
    }
    _, outcome = train(
        Request(str(tmp_path / "new.txt"), (("--", settings),), run=tmp_path / "tuned"), Watcher()
    )
    assert outcome.place.step == 1


# Later ones


def later(path, version="9.9"):
    """The file, as a charrnn would write it that has changed its format."""
    if path.suffix == ".json":
        about = json.loads(path.read_text()) | {"format": WITH_SHARES + 1}
        path.write_text(json.dumps(about if version is None else about | {"charrnn": version}))
        return
    tensors, meta = read_tensors(path, KINDS | {"charrnn-novel": 1})
    newest = KINDS.get(meta["kind"], 1)
    write_tensors(path, tensors, meta | {"format": newest + 1, "charrnn": version})


def refused(read, *arguments):
    with pytest.raises(CheckpointError) as caught:
        read(*arguments)
    message = str(caught.value)
    newest = WITH_SHARES if "corpus" in message else KINDS["charrnn-model"]
    assert f"has format {newest + 1}, written by charrnn 9.9; this is" in message
    assert (
        f"this is charrnn {__version__}, which reads up to format {newest}: upgrade it" in message
    )
    assert caught.value.exit_code == 3
    assert "\n" not in message


@pytest.mark.parametrize("name", RUNS)
def test_a_later_format_is_refused_with_both_versions(name, copied):
    run = copied(name)
    for file in (run / "model.safetensors", *run.glob("checkpoints/*"), *run.glob("corpus/*.json")):
        later(file)
    model = read_model(FIXTURES / name)
    refused(read_model, run)
    refused(load_newest, run)
    refused(open_corpus, run / "corpus", model.meta["fingerprint"])


def test_a_later_checkpoint_stops_a_resume_though_an_earlier_one_would_do(copied):
    run = copied(RUNS[0])
    newest = checkpoint_files(run / "checkpoints")[-1]
    shutil.copy(newest, newest.with_name("step-00000007.safetensors"))
    later(newest.with_name("step-00000007.safetensors"))
    refused(train, Request(run=run, resume=True), Watcher())
    assert newest.exists()


def test_a_later_filter_is_passed_over_for_the_text_itself(copied):
    run = copied(RUNS[0])
    later(next(run.glob("corpus/*.novel")))
    assert OpenedRun(read_model(run)).novelty is not None


@pytest.mark.parametrize(
    ("author", "shown"),
    [(None, "a later version"), (7, "a later version"), ("\x1b[2J", "\\x1b[2J")],
)
def test_what_a_later_file_says_of_its_author_is_not_trusted(author, shown, copied):
    run = copied(RUNS[0])
    later(run / "model.safetensors", author)
    with pytest.raises(CheckpointError) as caught:
        read_model(run)
    assert f"written by charrnn {shown};" in str(caught.value)


@pytest.mark.parametrize("number", ["2", 1.5, True, None, [], -1, 0])
def test_a_format_that_is_no_number_from_one_on_is_refused(number, copied):
    run = copied(RUNS[0])
    tensors, meta = read_tensors(run / "model.safetensors", KINDS)
    write_tensors(run / "model.safetensors", tensors, meta | {"format": number})
    with pytest.raises(CheckpointError, match="is not a charrnn checkpoint"):
        read_model(run)


@pytest.mark.parametrize(
    ("fields", "key", "allowed", "refused"),
    [
        (FIELDS, "charrnn", "9" * 100, "9" * 101),
        (FIELDS, "fingerprint", "f" * 64, "f" * 65),
        (FIELDS, "mixed", "f" * 64, "f" * 65),
        (FIELDS, "step", 10**12 - 1, 10**12),
        (FIELDS, "val_nats_per_char", 1e6, 1_000_001),
        (checkpoint.FIELDS, "metrics_bytes", 0, -1),
        (checkpoint.FIELDS, "metrics_bytes", 1 << 62, (1 << 62) + 1),
        (checkpoint.FIELDS, "samples_bytes", 0, -1),
        (checkpoint.FIELDS, "counting", 1, 0),
        (checkpoint.FIELDS, "counting", 24, 25),
        (checkpoint.FIELDS, "lift", [[0, 100.0]], [[0, 100.5]]),
        (checkpoint.FIELDS, "lift", [[0, 1.0]], [[0, 1.0, 1.0]]),
        (checkpoint.FIELDS, "surroundings", {"cpu": "x" * 1000}, {"cpu": "x" * 1001}),
    ],
    ids=lambda value: str(value)[:20],
)
def test_a_field_of_a_file_has_its_limits(fields, key, allowed, refused):
    assert wrong_field({key: allowed}, fields) is None
    assert wrong_field({key: refused}, fields) == key
