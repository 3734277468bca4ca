"""Novelty, which is never claimed of a text that was learnt."""

import itertools
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from constraints_support import SYMBOLS, reusing_files, sample
from hypothesis import given
from hypothesis import strategies as st

from charrnn.modelfile import MODEL_FILE
from charrnn.storage import read_tensors, write_tensors
from charrnn.text.building import build, survey
from charrnn.text.novelty import write_filter
from charrnn.text.vocabulary import Vocabulary
from charrnn.texts import OpenedRun


def states(run):
    """The run as it is, without its filter, with its filter alone."""
    yield OpenedRun(run.model).novelty
    kept = run.filter.read_bytes()
    run.filter.unlink()
    yield OpenedRun(run.model).novelty
    run.filter.write_bytes(kept)
    run.corpus.path.unlink()
    yield OpenedRun(run.model).novelty


@reusing_files
@given(
    text=st.text(st.sampled_from("aé\n\0😀"), min_size=9, max_size=30),
    unit=st.sampled_from(["char", "byte"]),
)
def test_no_piece_of_a_stream_is_ever_novel(text, unit, make_run):
    run = make_run(text, "stream", unit, "0.8,0.2")
    data = text.encode() if unit == "byte" else text
    train = data[: len(run.corpus.split("train"))]
    for known in states(run):
        for start, stop in itertools.combinations(range(len(train) + 1), 2):
            assert known.is_novel(sample(train[start:stop]).data) is not True


@reusing_files
@given(
    lines=st.lists(
        st.text(st.sampled_from("abé\0"), min_size=1, max_size=5), min_size=2, max_size=9
    )
)
def test_no_line_is_ever_novel_and_every_other_is_if_it_can_be_told(lines, make_run):
    run = make_run("\n".join(lines) + "\n")
    others = {line[:-1] for line in lines} | {line + "b" for line in lines} | {"z"}
    for known in states(run):
        assert not any(known.is_novel(sample(line).data) for line in lines)
        for other in others - set(lines) - {""}:
            told = known.is_novel(sample(other).data)
            assert told is True or (told is None and not run.corpus.path.exists())


@pytest.mark.parametrize("mode", ["lines", "stream"])
def test_an_empty_text_is_not_novel(mode, make_run):
    assert make_run("anna\nberta\n", mode).verdict("") is False


def test_a_character_that_the_text_lacks_makes_a_text_novel(make_run):
    run = make_run("anna\nberta\n", "stream")
    assert run.verdict("x") is True


@pytest.mark.parametrize(
    ("text", "novel"), [("rta\nanna", None), ("rta", None), ("a\nanna\nbert", True)]
)
def test_without_the_text_only_what_the_filter_rules_out_is_novel(text, novel, make_run):
    run = make_run("anna\nberta\nanna\n", "stream")
    run.corpus.path.unlink()
    assert run.verdict(text) is novel


@pytest.mark.parametrize("mode", ["lines", "stream"])
def test_where_the_filter_doubts_the_text_decides(mode, make_run):
    run = make_run("anna\nberta\nanna\n", mode)
    tensors, meta = read_tensors(run.filter, {"charrnn-novel": 1})
    write_tensors(
        run.filter,
        {"words": tensors["words"] | np.uint64(2**64 - 1)},
        {key: value for key, value in meta.items() if key != "sha256"},
    )
    assert (run.verdict("bertannana"), run.verdict("berta")) == (True, False)
    run.corpus.path.unlink()
    assert run.verdict("bertannana") is None


@pytest.mark.parametrize("mode", ["lines", "stream"])
def test_a_damaged_filter_is_as_none(mode, make_run):
    run = make_run("anna\nberta\nanna\n", mode)
    data = bytearray(run.filter.read_bytes())
    data[-3:] = bytes(3)  # of its words: entries are missing now
    run.filter.write_bytes(data)
    assert (run.verdict("bertannana"), run.verdict("anna")) == (True, False)
    run.corpus.path.unlink()
    assert OpenedRun(run.model).novelty is None


@pytest.mark.parametrize("mode", ["lines", "stream"])
def test_a_damaged_text_makes_nothing_novel(mode, make_run):
    run = make_run("anna\nberta\nanna\n", mode)
    data = bytearray(run.corpus.path.read_bytes())
    data[1] ^= 1
    run.corpus.path.write_bytes(data)
    assert (run.verdict("anna"), run.verdict("bertannana")) == (None, True)
    run.filter.unlink()
    assert OpenedRun(run.model).novelty is None


def test_the_filter_of_another_run_is_not_used(make_run):
    run, other = make_run("anna\nberta\n"), make_run("clara\ndora\n")
    run.filter.write_bytes(other.filter.read_bytes())
    assert run.verdict("anna") is False
    run.corpus.path.unlink()
    assert OpenedRun(run.model).novelty is None


def test_a_filter_whose_fingerprint_only_begins_alike_is_not_used(make_run):
    run = make_run("anna\nberta\n")
    other = run.found.fingerprint[:16] + "0" * 48
    write_filter(run.filter, run.corpus.ids[:5], run.corpus.vocabulary, "lines", other)
    assert run.verdict("berta") is False


def test_a_text_of_another_alphabet_or_mode_is_not_the_models(make_run):
    run = make_run("anna\nberta\n")
    run.filter.unlink()
    assert OpenedRun(replace(run.model, mode="stream")).novelty is None
    assert OpenedRun(replace(run.model, vocabulary=Vocabulary("char", SYMBOLS))).novelty is None


def test_a_text_learnt_before_allow_corpus_change_is_known_too(make_run):
    run = make_run("anna\nberta\n")
    (run.folder / "text.txt").write_text("anna\nbeat\n")
    second = survey(str(run.folder / "text.txt"), run.options, 1)
    build(second, run.options, 1, run.folder / "corpus", run.corpus.vocabulary)
    model = replace(run.model, meta={"fingerprint": second.fingerprint})
    told = {
        name: OpenedRun(model).novelty.is_novel(sample(name).data)
        for name in ("berta", "beat", "anna", "beta")
    }
    assert told == {"berta": False, "beat": False, "anna": False, "beta": True}
    run.filter.unlink()
    assert OpenedRun(model).novelty.is_novel(sample("berta").data) is False
    run.corpus.path.with_suffix(".json").write_text("{")
    assert OpenedRun(model).novelty is None


def test_a_model_away_from_its_run_has_no_training_text(make_run):
    run = make_run("anna\nberta\n")
    assert OpenedRun(replace(run.model, path=Path("elsewhere") / MODEL_FILE)).novelty is None
    assert OpenedRun(replace(run.model, meta={})).novelty is None


def test_a_split_that_hides_a_piece_of_the_text_is_damage(make_run):
    """A digit of the description changed: what lies between the splits would look new."""
    run = make_run("anna\nberta\nanna\n", "stream")
    run.filter.unlink()
    description = run.corpus.path.with_suffix(".json")
    about = json.loads(description.read_text())
    about["bounds"]["train"][1] -= 3
    description.write_text(json.dumps(about))
    assert OpenedRun(run.model).novelty is None
