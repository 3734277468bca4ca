"""Samples of a fine-tuned model: what may stand in a text that it learnt before its run's."""

import json
import re
import shutil

import numpy as np
import pytest
from support import FEW, Watcher

from charrnn.cli.report import report
from charrnn.errors import CheckpointError
from charrnn.insight.copies import Question, examine
from charrnn.insight.matches import learnt_before
from charrnn.modelfile import read_model
from charrnn.sampling.decode import Decoding
from charrnn.sampling.engine import Sampler
from charrnn.text.novelty import SURE
from charrnn.texts import OpenedRun
from charrnn.training.session import Request, train

pytestmark = pytest.mark.usefixtures("one_thread")

PLACES = [f"{a}{b}{c}" for a in ("Bad", "Neu", "Ober") for b in ("dorf", "lin") for c in "aeiou"]
LARGE = {"cell": "gru", "hidden_size": 48, "num_layers": 1, "dropout": 0.0, "patience": 0}
# Without counting, which knows the new text alone and would hide what the network has kept.
FAST = {"batch_size": 8, "lr": 0.02, "threads": 1, "counting": "off"}
PROSE = "".join(
    f"{a} {b} went to {c}, and nobody in {d} had seen it.\n\n"
    for a, b, c, d in zip(FEW, FEW[9:], FEW[17:], FEW[5:], strict=False)
)


def written(folder, name, lines):
    path = folder / name
    path.write_text(lines if isinstance(lines, str) else "".join(f"{line}\n" for line in lines))
    return str(path)


def tuned_from(source, folder, name, lines=PLACES, **changes):
    settings = FAST | {"init_from": str(source), "steps": 1, "lr": 0.001} | changes
    request = Request(written(folder, f"{name}.txt", lines), (("--", settings),), run=folder / name)
    return train(request, Watcher())[0]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("before")


@pytest.fixture(scope="module")
def base(folder):
    """A network that knows its names by heart."""
    settings = LARGE | FAST | {"steps": 400, "split": "0.9,0.1"}
    text = written(folder, "few.txt", FEW)
    return train(Request(text, (("--", settings),), run=folder / "base"), Watcher())[0]


@pytest.fixture(scope="module")
def tuned(base, folder):
    """That network after one step on places."""
    return tuned_from(base, folder, "tuned")


@pytest.fixture(scope="module")
def mixed(base, folder):
    return tuned_from(base, folder, "mixed", mix=0.4)


@pytest.fixture
def copy(tmp_path):
    return lambda run: shutil.copytree(run, tmp_path / "copy")


def opened(run):
    return OpenedRun(read_model(run))


# Lines


def test_eval_calls_as_many_samples_surely_new_as_sample_does(tuned):
    run = opened(tuned)
    card = examine(run, Question(100, seed=3))
    samples = Sampler(run.model).generate(100, decoding=Decoding(0.8), seed=3)
    data = [sample.data.removesuffix(b"\n") for sample in samples]
    surely_new = sum(run.novelty.is_novel(line) is True for line in data if line)
    before = card.learnt_before
    assert before.asked == card.lines.lines
    doubtful = round(before.share.samples * before.asked)
    assert surely_new == before.asked - card.lines.counts["train"] - doubtful
    assert doubtful > 0.1 * before.asked
    assert before.share.held_out < 0.2


def test_the_verdict_does_not_call_it_free_of_copies(tuned):
    card = examine(opened(tuned), Question(100))
    assert card.doubt.startswith("cannot tell, for ")
    assert any("may be in a text learnt before" in line for line in card.warnings)


def test_lines_of_the_training_text_here_are_none_of_those_before(tuned):
    run = opened(tuned)
    encode = run.model.vocabulary.encode
    pieces = [encode(line) for line in (*FEW, *PLACES)]
    held = [encode("Vugnir")]
    before = learnt_before(run.corpora, run.inherited_filters, [], pieces, held)
    trained = run.corpora[0].vocabulary.decode(run.corpora[0].split("train")).split("\n")
    unknown = sum(line not in trained for line in PLACES)
    least = 0.9 * len(FEW)  # of them nine tenths are training lines
    assert least - 1 <= before.share.samples * before.asked <= len(FEW) + unknown
    assert before.share.held_out == 0


def test_eval_shows_a_row_and_a_warning_and_has_a_key(tuned, charrnn):
    done = charrnn("eval", tuned, "--samples", "100")
    assert "  not in the training text, but maybe in one before" in done.stdout
    assert "nowhere: new" not in done.stdout
    assert re.search(
        r"warning: \d+\.\d% of the samples may be in a text learnt before", done.stderr
    )
    done = charrnn("eval", tuned, "--samples", "100", "--json")
    card = json.loads(done.stdout)["novelty"]
    assert card["learnt_before"]["filters"] == 1
    assert card["learnt_before"]["share"]["samples"] > 0.1


def test_a_report_shows_a_row_and_a_warning(tuned, tmp_path):
    report(tuned, out=tmp_path / "x.html")
    page = (tmp_path / "x.html").read_text()
    contents = json.loads(re.search('id="contents">(.*?)</script>', page, re.DOTALL)[1])
    look = contents["novelty"]
    assert any("may be in a text learnt before" in name for name, *_ in look["rows"])
    assert any("may be in a text learnt before" in warning for warning in look["warnings"])
    assert look["verdict"].startswith("cannot tell")


def test_a_run_that_began_with_nothing_has_no_such_row(base, charrnn):
    card = examine(opened(base), Question(20))
    assert card.learnt_before is None
    assert "nowhere: new" in charrnn("eval", base, "--samples", "20").stdout


def test_the_texts_of_every_model_before_are_asked(tuned, folder):
    third = tuned_from(tuned, folder, "third", [f"{line}x" for line in PLACES])
    run = opened(third)
    assert len(run.inherited_filters) == 2
    encode = run.model.vocabulary.encode
    pieces = [encode(FEW[k]) for k in range(20)] + [encode(PLACES[k]) for k in range(20)]
    before = learnt_before(run.corpora, run.inherited_filters, [], pieces, pieces)
    assert before.filters == 2 and before.share.samples > 0.7


# Streams


def test_pieces_of_a_stream_are_asked(folder):
    settings = LARGE | FAST | {"steps": 2, "seq_length": 8, "mode": "stream"}
    text = written(folder, "prose.txt", PROSE)
    first = train(Request(text, (("--", settings),), run=folder / "prose"), Watcher())[0]
    other = PROSE.upper() + PROSE[::-1]
    second = tuned_from(first, folder, "stream", other, seq_length=8, mode="stream")
    run = opened(second)
    old = opened(first).own_corpus("")
    ids = run.model.vocabulary.encode(old.vocabulary.decode(old.split("train")))
    new = np.roll(ids[: 3 * SURE], 1)[::-1]
    before = learnt_before(run.corpora, run.inherited_filters, [], [ids[: 5 * SURE + 9]], [new])
    assert (before.piece_chars, before.asked, before.held_out_asked) == (SURE, 5, 3)
    assert (before.share.samples, before.share.held_out) == (1.0, 0.0)
    assert examine(run, Question(3, length=200)).learnt_before.asked == 6


# What is lost


def test_a_mixed_in_text_is_read_and_nothing_is_lost(mixed):
    run = opened(mixed)
    assert len(run.corpora) == 2
    assert (run.gaps, run.inherited_filters) == ([], [])


def test_a_mixed_in_text_without_its_description_is_told(mixed, copy, charrnn):
    run = copy(mixed)
    stem = read_model(run).meta["mixed"][:16]
    (run / "corpus" / f"{stem}.json").unlink()
    [gap] = opened(run).gaps
    assert f"{stem}.json" in gap and "known by its filter alone" in gap
    card = examine(opened(run), Question(50))
    assert gap in card.warnings and card.learnt_before.filters == 1
    assert gap in json.loads(charrnn("eval", run, "--json").stdout)["warnings"]
    for ending in ("ids", "novel"):
        (run / "corpus" / f"{stem}.{ending}").unlink()
        [gap] = opened(run).gaps
        assert f"{stem}.json" in gap
    assert "cannot be told" in gap
    assert opened(run).novelty is None
    done = charrnn("sample", run, "-n", "1", "--novel")
    assert done.returncode == 3
    card = examine(opened(run), Question(20))
    assert gap in card.warnings and card.doubt.startswith("cannot tell")
    assert card.learnt_before.share.samples is None
    assert charrnn("eval", run, "--samples", "20").stderr.count("warning: the description") == 1


def test_a_filter_that_cannot_be_read_is_told(tuned, copy):
    run = copy(tuned)
    [stem] = [
        path.stem for path in opened(run).filter_files if not path.with_suffix(".json").exists()
    ]
    (run / "corpus" / f"{stem}.novel").write_bytes(b"no filter")
    [gap] = opened(run).gaps
    assert stem in gap and "cannot be told" in gap


def test_a_start_from_a_model_that_lies_alone_is_told(base, folder):
    alone = folder / "alone.safetensors"
    shutil.copy(base / "model.safetensors", alone)
    run = opened(tuned_from(alone, folder, "orphan"))
    [gap] = run.gaps
    assert "nothing is here of the text that the model it began with learnt" in gap
    assert gap in examine(run, Question(20)).warnings


@pytest.mark.parametrize("value", ["../../etc", 7, ["a"], "0" * 63 + "G"])
def test_a_name_of_a_mixed_in_text_that_is_none_is_passed_over(base, value):
    model = read_model(base)
    model.meta["mixed"] = value
    run = OpenedRun(model)
    assert run.gaps == []
    assert run.novelty is not None


def test_a_look_still_needs_the_run_s_own_text(tuned, copy):
    run = copy(tuned)
    fingerprint = read_model(run).meta["fingerprint"]
    (run / "corpus" / f"{fingerprint[:16]}.json").unlink()
    with pytest.raises(CheckpointError):
        examine(opened(run), Question(3))
