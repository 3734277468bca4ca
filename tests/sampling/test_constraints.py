"""What is kept and why the rest is not; and novelty, which is never claimed of what was learnt."""

import itertools
import json
import math
import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from charrnn.config import Settings, TextSettings
from charrnn.errors import SettingsError
from charrnn.model.charmodel import CharModel
from charrnn.modelfile import MODEL_FILE, ModelFile
from charrnn.sampling.codec import Sample
from charrnn.sampling.constraints import (
    Constraints,
    Tally,
    accepted,
    bits_per_char,
    ranked,
    tries_allowed,
)
from charrnn.sampling.decode import Decoding
from charrnn.sampling.engine import Sampler
from charrnn.storage import read_tensors, write_tensors
from charrnn.text.building import build, survey
from charrnn.text.novelty import write_filter
from charrnn.text.vocabulary import Vocabulary
from charrnn.texts import Novelty, OpenedRun

reusing_files = settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
SYMBOLS = tuple(map(ord, "\nabé"))


def sample(text, index=0, nats=1.0, chars=1):
    raw = text if isinstance(text, bytes) else None
    shown = text if raw is None else raw.decode("utf-8", "replace")
    return Sample(index, shown, nats, chars, (np.zeros(chars, np.int32), chars), raw)


def keep(texts, constraints, wanted=100, tries=None):
    """Texts kept of these, and what became of all."""
    samples = [sample(text, index) for index, text in enumerate(texts)]
    tally = Tally(wanted)
    draw = lambda first, count: iter(samples[first : first + count])  # noqa: E731
    return [one.text for one in accepted(draw, tally, tries or len(texts), constraints)], tally


def texts(samples):
    """Not their nats: those are rounded otherwise when other texts are drawn beside them."""
    return [(one.index, one.data) for one in samples]


def sampler(mode="lines", unit="char", symbols=SYMBOLS):
    """A random small model."""
    chosen = Settings().with_values(
        "model", cell="gru", hidden_size=6, num_layers=1, embedding_size=4
    )
    torch.manual_seed(3)
    network = CharModel(chosen.model, len(symbols)).eval()
    tensors = {name: 2 * value.numpy() for name, value in network.tensors().items()}
    return Sampler.from_tensors(
        chosen.with_values("text", unit=unit), Vocabulary(unit, symbols), mode, 0, tensors
    )


# What is kept


@pytest.mark.parametrize(
    ("constraints", "kept", "reason"),
    [
        (Constraints(min_length=3), ["abc", "abcd", "béd"], "short"),
        (Constraints(max_length=3), ["", "ab", "abc", "ab", "béd"], "long"),
        (Constraints(min_length=3, max_length=3), ["abc", "béd"], "short"),
        (Constraints(matching="b"), ["ab", "abc", "ab", "abcd", "béd"], "unlike"),
        (Constraints(matching="^b"), ["béd"], "unlike"),
        (Constraints(matching="^ab?$"), ["ab", "ab"], "unlike"),
        (Constraints(matching=""), ["", "ab", "abc", "ab", "abcd", "béd"], ""),
        (Constraints(unique=True), ["", "ab", "abc", "abcd", "béd"], "repeat"),
    ],
)
def test_what_satisfies_a_constraint_is_kept_in_order(constraints, kept, reason):
    found, tally = keep(["", "ab", "abc", "ab", "abcd", "béd"], constraints)
    assert found == kept
    assert (tally.tried, tally.kept) == (6, len(kept))
    assert sum(tally.refused.values()) == 6 - len(kept)
    assert (reason in tally.refused) is bool(reason)


@pytest.mark.parametrize(
    "constraints",
    [
        Constraints(min_length=2, max_length=2),
        Constraints(matching="^ab$"),
        Constraints(matching=r"\Aab\Z"),
    ],
)
def test_the_newline_that_closes_a_text_is_not_judged(constraints):
    assert keep(["ab\n", "abb\n"], constraints)[0] == ["ab\n"]


def test_repeats_are_told_by_their_bytes():
    samples = [sample(b"a\xff"), sample(b"a\xfe"), sample(b"a\xff")]  # all three are shown alike
    tally = Tally(3)
    kept = list(
        accepted(
            lambda first, count: iter(samples[first : first + count]),
            tally,
            3,
            Constraints(unique=True),
        )
    )
    assert [one.data for one in kept] == [b"a\xff", b"a\xfe"]


def test_what_was_refused_is_no_repeat():
    samples = [sample("ab"), sample("ab")]
    tally, novelty = Tally(2), Flags([False, True])
    both = Constraints(unique=True, novel=True)
    assert (
        len(
            list(
                accepted(
                    lambda first, count: iter(samples[first : first + count]),
                    tally,
                    2,
                    both,
                    novelty,
                )
            )
        )
        == 1
    )


class Flags(Novelty):
    """A training text that answers what it was told to."""

    def __init__(self, answers):
        self.answers = iter(answers)

    def is_novel(self, data):
        return next(self.answers)


def test_a_doubt_is_not_novel():
    samples = [sample("ab", index) for index in range(3)]
    tally = Tally(3)
    draw = lambda first, count: iter(samples[first : first + count])  # noqa: E731
    kept = list(accepted(draw, tally, 3, Constraints(novel=True), Flags([True, None, False])))
    assert [one.index for one in kept] == [0]
    assert tally.refused == {"doubtful": 1, "known": 1}


def test_what_is_kept_is_what_a_filter_by_hand_keeps():
    model, asked = sampler(), Constraints(min_length=2, max_length=4, matching="a", unique=True)
    how = {"seed": 5, "decoding": Decoding(1.0)}
    wanted = []
    for one in model.generate(3000, **how):
        if (
            2 <= len(one.text) <= 4
            and "a" in one.text
            and one.text not in [other.text for other in wanted]
        ):
            wanted.append(one)
    length = asked.length("lines", "char", sample("", chars=0), "", None)
    tally = Tally(10)
    kept = list(
        accepted(
            lambda first, n: model.generate(n, first=first, length=length, **how),
            tally,
            3000,
            asked,
        )
    )
    assert texts(kept) == texts(wanted[:10])
    assert tally.tried == kept[-1].index + 1


# Tries


def test_no_more_is_drawn_than_the_tries_allow():
    found, tally = keep(["b"] * 50, Constraints(matching="a"), tries=20)
    assert (found, tally.tried, tally.ran_out) == ([], 20, True)


def test_enough_is_enough():
    found, tally = keep(["a", "b"] * 50, Constraints(matching="a"), wanted=3)
    assert (found, tally.tried, tally.ran_out) == (["a"] * 3, 5, False)
    found, tally = keep(
        ["b"] * 4 + ["a"] * 50, Constraints(matching="a"), wanted=2
    )  # more were drawn than needed
    assert (found, tally.tried, tally.ran_out) == (["a"] * 2, 6, False)


def test_the_last_try_may_be_the_last_text():
    found, tally = keep(["b", "b", "a"], Constraints(matching="a"), wanted=1)
    assert (found, tally.ran_out) == (["a"], False)


def test_no_draw_is_asked_for_twice_and_the_first_are_as_many_as_are_wanted():
    asked = []

    def draw(first, count):
        asked.append((first, count))
        return (sample("ab"[index % 7 == 0], index) for index in range(first, first + count))

    list(accepted(draw, Tally(4), 1000, Constraints(matching="b")))
    assert asked[0] == (0, 4)
    assert all(first == before + count for (before, count), (first, _) in itertools.pairwise(asked))
    assert sum(count for _, count in asked) < 60  # 22 are needed


def test_a_hundred_thousand_tries_take_no_memory():
    draw = lambda first, count: (sample("b", index) for index in range(first, first + count))  # noqa: E731
    tracemalloc.start()
    list(accepted(draw, Tally(1), 100_000, Constraints(matching="a", novel=True)))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 100_000


@pytest.mark.parametrize(
    ("tries", "count", "temperature", "allowed"),
    [
        (None, 1, 0.8, 10_000),
        (None, 10, 0.8, 10_000),
        (None, 11, 0.8, 11_000),
        (None, 0, 0.8, 10_000),
        (7, 7, 0.8, 7),
        (50, 7, 0.8, 50),
        (50, 7, 0.0, 7),
        (None, 1, 0.0, 1),
    ],
)
def test_tries_follow_the_count_and_greedy_texts_get_no_second_chance(
    tries, count, temperature, allowed
):
    assert tries_allowed(tries, count, temperature) == allowed


@pytest.mark.parametrize(("tries", "count"), [(6, 7), (0, 0), (-1, 1)])
def test_too_few_tries_are_an_error(tries, count):
    with pytest.raises(SettingsError, match="--tries"):
        tries_allowed(tries, count, 0.8)


def test_reasons_are_counted_in_words():
    tally = Tally(10)
    tally.refused.update({"known": 1, "unlike": 9120, "repeat": 2})
    assert tally.reasons() == (
        "9,120 do not match --matching, 2 are repeats (--unique), 1 is in the training text (--novel)"
    )


# Wrong constraints


@pytest.mark.parametrize(
    ("values", "word"),
    [
        ({"matching": "("}, "--matching '\\('"),
        ({"matching": "a{9999999999999999999}"}, "over 1,000,000 times"),
        ({"matching": "*"}, "nothing"),
        ({"matching": "(" * 5000 + ")" * 5000}, "--matching"),
        ({"min_length": -1}, "--min-length -1"),
        ({"max_length": -1}, "--max-length -1"),
        ({"min_length": 3, "max_length": 2}, "--min-length 3 .*--max-length 2"),
    ],
)
def test_a_constraint_that_makes_no_sense_is_an_error(values, word):
    with pytest.raises(SettingsError, match=word):
        Constraints(**values)


def test_no_constraint_is_false():
    assert not Constraints()
    assert Constraints(max_length=0)


# How much is drawn of a text too long


@pytest.mark.parametrize("unit", ["char", "byte"])
@pytest.mark.parametrize(
    ("mode", "until"), [("lines", ""), ("lines", "ab"), ("stream", "ab"), ("stream", "\n")]
)
@pytest.mark.parametrize("prompt", ["", "ab", "a\u00e9"])
def test_cutting_long_texts_early_changes_nothing_that_is_kept(unit, mode, until, prompt):
    symbols = SYMBOLS if unit == "char" else (0x0A, 0x61, 0x62, 0xA9, 0xC3)
    model, asked = sampler(mode, unit, symbols), Constraints(max_length=4)
    how = {"seed": 2, "prime": prompt, "until": until, "decoding": Decoding(1.0)}
    [begun] = model.generate(1, **how | {"length": 0})
    length = asked.length(mode, unit, begun, until, None)
    assert length <= 4 * 6
    fits = [one for one in model.generate(150, **how) if len(one.text.removesuffix("\n")) <= 4]
    drawn = lambda first, count: model.generate(count, first=first, length=length, **how)  # noqa: E731
    assert texts(accepted(drawn, Tally(150), 150, asked)) == texts(fits) != []


@pytest.mark.parametrize(
    ("mode", "until", "length", "drawn"),
    [
        ("lines", "", None, 6),
        ("lines", "", 4, 4),
        ("lines", "", 0, 0),
        ("stream", "x", None, 7),
        ("stream", "x", 3, 3),
        ("stream", "", None, 5),
        ("stream", "", 2, 2),
    ],
)
def test_the_length_that_is_drawn(mode, until, length, drawn):
    assert (
        Constraints(max_length=5).length(mode, "char", sample("", chars=0), until, length) == drawn
    )


@pytest.mark.parametrize(
    ("constraints", "mode", "prompt", "length"),
    [
        (Constraints(max_length=2), "lines", "abc", None),
        (Constraints(max_length=5), "stream", "", 7),
        (Constraints(min_length=1001), "lines", "", None),
        (Constraints(min_length=501), "stream", "", None),
        (Constraints(min_length=6), "stream", "ab", 3),
    ],
)
def test_what_no_text_can_be_is_said_at_once(constraints, mode, prompt, length):
    with pytest.raises(SettingsError, match="-length"):
        constraints.length(mode, "char", sample(prompt, chars=0), "", length)


def test_a_length_that_is_just_possible_is_taken():
    assert Constraints(min_length=5).length("stream", "char", sample("ab", chars=0), "", 3) == 3
    assert Constraints(max_length=3).length("lines", "char", sample("abc", chars=0), "", None) == 1


# Rank


def test_the_likeliest_come_first_equals_as_drawn_and_those_without_a_character_last():
    samples = [
        sample("", 0, 0.0, 0),
        sample("c", 1, 9.0, 3),
        sample("a", 2, 2.0, 2),
        sample("b", 3, 1.0, 1),
    ]
    assert [one.index for one in ranked(iter(samples))] == [2, 3, 1, 0]


def test_bits_per_char_are_nats_over_ln_2():
    assert bits_per_char(sample("ab", nats=3 * math.log(2), chars=2)) == pytest.approx(1.5)
    assert bits_per_char(sample("ab", nats=0.0, chars=0)) is None


# Novelty


class Run:
    """A run's model and training text, without weights."""

    def __init__(self, folder, text, options):
        self.folder, self.options = folder, options
        (folder / "text.txt").write_bytes(text if isinstance(text, bytes) else text.encode())
        self.found = survey(str(folder / "text.txt"), options, 1)
        self.corpus, _ = build(self.found, options, 1, folder / "corpus")
        vocabulary = self.corpus.vocabulary
        meta = {"fingerprint": self.found.fingerprint}
        self.model = ModelFile(
            folder / MODEL_FILE, Settings(), vocabulary, options.mode, 0, {}, meta
        )
        self.filter = self.corpus.path.with_suffix(".novel")

    def verdict(self, text):
        known = OpenedRun(self.model).novelty
        return known and known.is_novel(sample(text).data)


@pytest.fixture
def make_run(tmp_path):
    numbers = itertools.count()

    def made(text, mode="lines", unit="char", split="1,0"):
        folder = tmp_path / str(next(numbers))
        folder.mkdir()
        return Run(folder, text, TextSettings(mode=mode, unit=unit, split=split, deduplicate=False))

    return made


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
