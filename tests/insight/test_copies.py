"""The novelty report: what is new, what was copied, what structure is kept; with hand-made samples of known answers."""

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from loaded import loaded_after

from charrnn.cli import novelty_view
from charrnn.config import TextSettings
from charrnn.errors import CheckpointError, CorpusError, SettingsError
from charrnn.insight import copies, matches, nearest, verdicts
from charrnn.insight.card import (
    Comparison,
    Distinct,
    Entropy,
    Examination,
    Expected,
    HeldOut,
    LineShares,
    LongestRuns,
    Nearest,
    NearLine,
    Nearness,
    OtherSets,
    Run,
)
from charrnn.insight.copies import Question, examine
from charrnn.insight.nearest import MAX_LENGTH, Lines, edit_distances
from charrnn.insight.structure import functions, paired, shares
from charrnn.insight.verdicts import verdict
from charrnn.modelfile import read_model
from charrnn.sampling.codec import Sample
from charrnn.text.building import build, survey
from charrnn.texts import OpenedRun


@pytest.fixture
def corpus_of(tmp_path):
    """A corpus of this text, in the order of the text where mode is stream."""

    def make(text, mode, split="0.5,0.25,0.25"):
        (tmp_path / "some.txt").write_text(text)
        settings = TextSettings(mode=mode, split=split)
        return build(
            survey(str(tmp_path / "some.txt"), settings, 0), settings, 0, tmp_path / "corpus"
        )[0]

    return make


def ids_of(corpus, text):
    return corpus.vocabulary.encode(text).astype(corpus.dtype)


# Nearest line


def naive_distance(a, b):
    """The textbook's recursion, row by row."""
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        before, row[0] = row[0], i
        for j, y in enumerate(b, 1):
            before, row[j] = row[j], min(before + (x != y), row[j] + 1, row[j - 1] + 1)
    return row[-1]


lines = st.lists(st.integers(1, 3), min_size=1, max_size=64)


@given(lines, st.lists(lines, min_size=1, max_size=5))
@settings(max_examples=100, deadline=None)
def test_edit_distances_are_the_textbook_s(line, others):
    lengths = np.array([len(other) for other in others])
    padded = np.zeros((len(others), lengths.max()), np.uint8)
    for row, other in zip(padded, others, strict=True):
        row[: len(other)] = other
    found = edit_distances(np.array(line, np.uint8), padded, lengths)
    assert found.tolist() == [naive_distance(line, other) for other in others]


def test_edit_distances_use_all_bits_of_a_word():
    line = np.arange(64, dtype=np.uint8)
    assert edit_distances(line, line[None, ::-1], np.array([64])).tolist() == [
        naive_distance(line, line[::-1])
    ]


@given(
    st.lists(st.lists(st.integers(1, 70), max_size=9), max_size=30),
    st.lists(st.integers(1, 70), min_size=1, max_size=9),
)
@settings(max_examples=100, deadline=None)
def test_the_nearest_line_is_that_of_all_lines(others, line):
    text = np.array([one for other in others for one in [*other, 0]], np.uint8)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nearest, "FEW", 1)  # so that the bound decides which are tried
        found = Lines(text, 0).nearest(np.array(line, np.uint8))
    distances = [naive_distance(line, other) for other in others if other]
    assert (found is None) == (not distances)
    if found:
        assert found[0] == min(distances) == naive_distance(line, found[1].tolist())


def test_lines_too_long_to_be_near_are_left_out():
    assert (
        len(
            Lines(
                np.array([0, *[1] * MAX_LENGTH, 0, *[1] * (MAX_LENGTH + 1), 0, 0, 1], np.uint8), 0
            )
        )
        == 2
    )


# Structure


@pytest.mark.parametrize(
    ("text", "partnered", "crossed", "broken"),
    [
        ("([])", {"()": 2, "[]": 2}, 0, 0),
        (")(", {}, 0, 0),  # opened before the piece, closed after it
        ("(]", {}, 1, 1),
        ("([)]", {}, 1, 2),  # [ and ( are given up, and ] has nothing to close
        ("(()", {"()": 2}, 0, 0),
        ("(])", {"()": 2}, 1, 1),  # a closer of a kind that is not open gives up nothing
    ],
)
def test_a_bracket_closes_what_was_opened_last(text, partnered, crossed, broken):
    kinds = {"(": "()", ")": "()", "[": "[]", "]": "[]"}
    assert paired((kinds[sign], sign in "([") for sign in text) == (partnered, crossed, broken)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("int f()\n{\n\tif (x) {\n\t}\n}\n", (1, 1)),
        ("int f() {\n\tif (x) {\n}\n", (0, 1)),
        ("int f() {\n\t}\n}\n", (0, 1)),  # closed too early
        ("int f() {\n\t}\n\t{\n}\n", (0, 1)),
        ("int f() {\nint g() {\n}\n", (1, 2)),  # the first never ends
        ("\t}\n}\nint f() {\n\t", (0, 0)),  # cut off at both ends
        ("\\footnote{\n}\n", (0, 0)),
        ("struct s {\n\tint a;\n};\nint x;\n", (1, 1)),
    ],
)
def test_functions_run_from_a_brace_that_ends_a_line_to_one_at_column_0(text, expected):
    assert functions(text) == expected


def test_environments_close_by_name():
    text = r"\end{a} \begin{b} x \begin{c} \end{b} \begin{d}\end{d}"  # b is closed over c, which is open
    found = shares([text], None, whole=True)
    share, closed = found["environments"], found["environments_closed"]
    assert (share.good, share.all, closed.good, closed.all) == (2, 6, 1, 3)


def test_quotes_are_paired_in_each_whole_paragraph():
    text = 'a "\n\n"b"\n\nc " c\n\nnone\n\n" d'
    inner, whole = shares([text], None, whole=False)['"'], shares([text], None, whole=True)['"']
    assert (inner.good, inner.all, whole.good, whole.all) == (1, 2, 1, 4)


def test_words_cut_off_by_a_piece_s_ends_do_not_count():
    share = shares(["ind the WORD xq f"], {"the", "word", "ind", "f"}, whole=False)["words"]
    assert (share.good, share.all) == (2, 3)


# Lines, runs, n-grams


def test_each_line_is_counted_where_it_is_from(corpus_of):
    corpus = corpus_of("".join(f"name{i}\n" for i in range(20)), "lines")
    splits = {
        name: corpus.vocabulary.decode(corpus.split(name)).split()
        for name in ("train", "val", "test")
    }
    texts = [
        *splits["train"][:3],
        splits["train"][0],
        splits["val"][0],
        splits["test"][1],
        "ename",
        "name",
        "",
    ]
    report = matches.lines_report(
        [corpus], [ids_of(corpus, text) for text in texts], [ids_of(corpus, splits["train"][1])]
    )
    # An empty text is no line.
    assert report.counts == {"train": 4, "val": 1, "test": 1, "new": 2}
    assert report.lines == 8 and report.in_train == 0.5 and report.repeated == 1 / 8
    assert report.held_out_in_train == 1.0


def test_streams_lose_the_first_and_last_line_of_a_sample_and_short_ones(corpus_of):
    long_, other = "a line of twenty-one.", "another line of a text"
    corpus = corpus_of(f"{long_}\n{other}\nshort\n" * 20, "stream")
    pieces = [ids_of(corpus, f"{long_}\n{other}\nshort\n{other}\n{long_}"), ids_of(corpus, long_)]
    report = matches.lines_report([corpus], pieces, pieces)
    assert (report.lines, report.counts["train"], report.repeated) == (2, 2, 0.5)


@pytest.mark.parametrize("chunk", [3, 1 << 20])
def test_lines_are_found_whole_across_chunks(corpus_of, monkeypatch, chunk):
    monkeypatch.setattr(matches, "CHUNK", chunk)
    corpus = corpus_of("Ann\nAnna\nB\u00e9a\n" * 10 + "end" * 20, "stream")
    wanted = {"Ann", "nna", "B\u00e9a", "An", "end"}
    assert matches.lines_in({text.encode() for text in wanted}, corpus, "train") == {
        b"Ann",
        "B\u00e9a".encode(),
    }


@pytest.mark.parametrize("chunk", [2, 1 << 20])
def test_the_longest_run_names_its_line_and_column(corpus_of, monkeypatch, chunk):
    monkeypatch.setattr(matches, "CHUNK", chunk)
    corpus = corpus_of("first\nline\nsecond line\nthe third\n" + "x" * 40, "stream")
    run = matches.longest_copy(
        [corpus], [ids_of(corpus, "xx"), ids_of(corpus, "fie cond line\nth")]
    )
    assert (run.text, run.chars, run.sample, run.start) == ("cond line\nth", 12, 1, 4)
    assert (run.line, run.column) == (3, 3)


def test_the_newline_that_ends_a_line_is_no_part_of_it(corpus_of):
    names = corpus_of("".join(f"n{i}\n" for i in range(20)), "lines")
    for text in ("n1\n", "n1"):
        assert names.vocabulary.decode(copies.without_newline(ids_of(names, text), names)) == "n1"


def test_held_out_pieces_are_whole_lines_or_equally_long(corpus_of):
    names = corpus_of("".join(f"n{i}\n" for i in range(20)), "lines")
    split = names.vocabulary.decode(names.split("test")).split()
    assert [
        names.vocabulary.decode(piece) for piece in copies.held_out(names, "test", 99, 500)
    ] == split
    stream = corpus_of("abcdefgh" * 10, "stream")
    assert [len(piece) for piece in copies.held_out(stream, "test", 2, 6)] == [6, 6]


def test_a_run_without_held_out_text_says_so(corpus_of):
    with pytest.raises(CorpusError, match="held out no text"):
        copies.held_out(corpus_of("abcdefgh" * 10, "stream", "1,0,0"), "val", 2, 6)


def test_training_lines_are_expected_as_often_as_held_out_ones(corpus_of):
    corpus = corpus_of("".join(f"n{i}\n" for i in range(40)), "lines", "0.8,0.1,0.1")  # 32, 4 and 4
    expected = matches.expected_in_train({"train": 50, "val": 3, "test": 1, "new": 46}, [corpus])
    assert expected.share == pytest.approx(0.16)
    assert expected.deviation == pytest.approx(5**0.5 * 4 / 100)


def run_of(chars):
    return Run(chars, "x" * chars, 0, 0, "text", 0, 1, 1, "x" * chars)


def lines_of(**changes):
    lines = LineShares(100, 0.2, 0.0, 0.0, 0.8, {}, 0.0, None, 100, 0.2)
    return replace(lines, **changes)


def report_of(**changes):
    """A report in which nothing is wrong, but for the changes."""
    report = Examination(
        samples=100,
        mode="stream",
        temperature=0.8,
        seed=1,
        length=500,
        chars=50_000,
        other_temperatures=OtherSets(100, 500),
        held_out=HeldOut("test", 100, 50_000),
        training_texts=1,
        lines=lines_of(),
        longest_run=LongestRuns(run_of(30), run_of(30)),
        ngrams_in_training={
            str(n): Comparison(0.999, 0.999) if n < 20 else Comparison(0.0, 0.0)
            for n in copies.LENGTHS
        },
        distinct=Distinct({}, 0),
        nearest=None,
        structure={},
        entropy=Entropy(None, {}, None),
    )
    return replace(report, **changes)


def grams_with(n, samples, held_out):
    grams = report_of().ngrams_in_training
    return {"ngrams_in_training": grams | {str(n): Comparison(samples, held_out)}}


def test_no_warning_where_samples_share_what_real_text_shares():
    assert verdicts.warnings_of(report_of()) == []


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"longest_run": LongestRuns(run_of(61), run_of(30))},
            "a run of 61 characters",
        ),
        (grams_with(30, 0.3, 0.1), "30.0% of the 30-grams"),
        (grams_with(2, 0.9, 0.99), "garbles: 10.0%"),
        (
            {"lines": lines_of(in_train=0.6, expected_in_train=Expected(0.2, 0.05))},
            "line is written 3.0 times",
        ),
        (
            {"lines": lines_of(in_train=0.6, expected_in_train=Expected(0.0, 0.1))},
            "60.0% of the samples are",
        ),
    ],
)
def test_copying_is_warned_of(changes, said):
    [warning] = verdicts.warnings_of(report_of(**changes))
    assert said in warning


def test_pairs_that_real_text_does_not_share_either_are_no_garble():
    assert verdicts.warnings_of(report_of(**grams_with(2, 0.0, 0.0))) == []


def test_a_difference_that_chance_explains_is_no_warning():
    lines = lines_of(in_train=0.45, expected_in_train=Expected(0.2, 0.1))
    assert verdicts.warnings_of(report_of(lines=lines)) == []


def names_report(in_train, share, deviation):
    lines = lines_of(
        lines=5,
        in_train=in_train,
        held_out_in_train=0.0,
        expected_in_train=Expected(share, deviation),
    )
    return report_of(mode="lines", lines=lines)


@pytest.mark.parametrize(
    ("found", "doubt"),
    [
        (report_of(), None),
        (report_of(chars=verdicts.LEAST_CHARS - 1), "too few samples to tell"),
        (
            names_report(1.0, 0.0, 0.8),
            "too few samples to tell",
        ),  # 5 samples of a text split 0.8 to 0.2
        (names_report(0.1, 0.0, 0.16), None),
        (
            names_report(0.7, 0.95, 0.06),
            None,
        ),  # many samples, and held-out lines among them: no copies
        (
            report_of(mode="lines"),
            "cannot tell, for the held-out lines are no random part of the text",
        ),
        (
            report_of(**grams_with(50, 0.898, 1.0)),
            "cannot tell, for 100.0% of the held-out text's 50-grams are in the",
        ),
        (report_of(**grams_with(50, 0.0, 1.0)), None),
        (report_of(**grams_with(50, 0.1, 0.1)), None),
    ],
)
def test_a_missing_warning_is_doubted_where_none_was_possible(found, doubt):
    assert verdicts.warnings_of(found) == []
    said = verdicts.doubt_of(found)
    assert said == doubt or (doubt and said.startswith(doubt))


def test_a_doubt_takes_the_place_of_no_sign_but_not_of_a_warning():
    few = "too few samples to tell"
    assert verdict(report_of(doubt=few)).startswith(f"{few}: 20.0 %")
    assert verdict(report_of(doubt=few, warnings=["copies: x"])).startswith("copies: ")


def test_the_verdict_is_one_line_that_says_whether_it_copies():
    assert verdict(report_of()).startswith("no sign of copying: 20.0 % of the whole lines")
    assert verdict(report_of(warnings=["copies: x"])).startswith("copies:")


# Temperature


def test_the_matching_temperature_lies_between_its_neighbours():
    nats = {0.5: 1.0, 1.0: 2.0, 0.8: 1.2}
    assert copies.matching_temperature(nats, 1.4) == pytest.approx(0.85)
    assert copies.matching_temperature(nats, 2.0) == 1.0
    assert copies.matching_temperature(nats, 2.1) is None


def sets_drawn(temperature, val):
    """Sets by temperature of a model whose samples have as many nats a character as their temperature says."""

    def draw(t):
        return [Sample(0, "ab", 2 * t, 2, (np.zeros(2, np.uint8), 2))]

    return copies.at_temperatures(draw, temperature, draw(temperature), val)


@pytest.mark.parametrize(
    ("val", "added"),
    [
        (None, ()),
        (0.1, ()),
        (1.1, ()),
        (1.15, (1.2,)),
        (1.4, (1.2, 1.3, 1.5)),
        (9.0, copies.HOTTER),
    ],
)
def test_hotter_samples_are_drawn_until_they_surprise_like_real_text(val, added):
    assert list(sets_drawn(0.8, val)) == [*copies.TEMPERATURES, *added]


def test_one_hot_question_does_not_stand_for_those_between():
    assert list(sets_drawn(2.0, 1.25)) == [*copies.TEMPERATURES, 1.2, 1.3, 2.0]


@pytest.mark.parametrize("near", [0.29999999, 0.30000001])
def test_temperatures_that_print_alike_are_one_column(near):
    assert list(sets_drawn(near, None)) == [near, *copies.TEMPERATURES[1:]]


@pytest.mark.parametrize(
    ("asked", "others"),
    [
        ((1000, 500, False), (100, 500)),
        ((3, 500, False), (3, 500)),
        ((1000, 5000, False), (20, 5000)),
        ((2, 5_000_000, False), (1, 100_000)),
        ((10**5, 1000, True), (1000, 1000)),
        ((2, 10**6, True), (2, 1000)),
    ],
)
def test_the_other_temperatures_draw_a_bounded_amount(asked, others):
    assert copies.other_size(*asked) == others


# The whole


@pytest.fixture(scope="module")
def report(trained):
    return examine(OpenedRun(read_model(trained)), Question(60, temperature=0.9, seed=3))


def test_a_report_is_strict_json_and_the_same_again(report, trained):
    assert examine(OpenedRun(read_model(trained)), Question(60, temperature=0.9, seed=3)) == report
    json.dumps(report.to_json(), allow_nan=False)


def test_a_report_s_samples_are_those_of_charrnn_sample(report, trained, charrnn):
    done = charrnn("sample", trained, "-n", "60", "--temp", "0.9", "--seed", "3", "--json")
    texts = [json.loads(line)["text"] for line in done.stdout.splitlines()]
    assert report.lines.lines == sum(text != "" for text in texts)
    run = report.longest_run.samples
    assert run.text == texts[run.sample][run.start : run.start + run.chars]
    nats = [json.loads(line)["nats"] for line in done.stdout.splitlines()]
    chars = [json.loads(line)["chars"] for line in done.stdout.splitlines()]
    assert report.entropy.nats_per_char["0.9"] == pytest.approx(sum(nats) / sum(chars))


def test_it_needs_the_run_s_text(trained, tmp_path):
    (tmp_path / "alone.safetensors").write_bytes((trained / "model.safetensors").read_bytes())
    with pytest.raises(CheckpointError, match="lies in no run directory"):
        examine(OpenedRun(read_model(tmp_path / "alone.safetensors")), Question(3))


@pytest.mark.parametrize(("count", "length"), [(3, 5_000_000), (1, 10**7 + 1)])
def test_more_text_than_is_bounded_is_refused_before_it_is_drawn(trained, count, length):
    with pytest.raises(SettingsError, match=r"at most 10,000,000 in all; ask for less"):
        examine(OpenedRun(read_model(trained)), Question(count, length=length))


def test_lines_that_do_not_end_are_bounded_too(trained, monkeypatch):
    monkeypatch.setattr(copies, "MAX_CHARS", 30)
    with pytest.raises(SettingsError, match="over 30 characters in all"):
        examine(OpenedRun(read_model(trained)), Question(100))


@pytest.mark.parametrize("limit", ["LONG_WORK", "LONG_TEXT"])
def test_what_takes_long_is_told(trained, monkeypatch, limit):
    notes = []
    examine(OpenedRun(read_model(trained)), Question(5), notes.append)
    assert notes == []
    monkeypatch.setattr(copies, limit, 0)
    examine(OpenedRun(read_model(trained)), Question(5), notes.append)
    assert notes == [
        "drawing 5 samples of at most 1,000 characters",
        "looking for them in the training text",
        "drawing 5 samples of at most 1,000 characters at each of 7 or more temperatures",
    ]


def test_the_sets_of_the_other_temperatures_have_the_size_that_is_said(trained, monkeypatch):
    monkeypatch.setattr(copies, "FEW_LINES", 3)
    report = examine(OpenedRun(read_model(trained)), Question(5))
    assert report.other_temperatures == OtherSets(samples=3, length=1000)


def test_places_for_people_count_from_1(report):
    run = replace(report.longest_run.samples, sample=0)
    shown = novelty_view.texts_of(replace(report, longest_run=LongestRuns(run, None)))
    assert shown[0].startswith("longest run, in sample 1:")


@pytest.mark.parametrize(
    "values",
    [
        {"count": 0},
        {"count": 10**9},
        {"count": 1, "temperature": -1},
        {"count": 1, "length": 0},
        {"count": 1, "seed": -1},
    ],
)
def test_questions_that_make_no_sense_are_refused(values):
    with pytest.raises(SettingsError):
        Question(**values)


def test_eval_with_samples_prints_json_and_no_scores(trained, charrnn):
    done = charrnn("eval", trained, "--samples", "20", "--json")
    assert done.returncode == 0 and done.stderr == ""
    [line] = done.stdout.splitlines()
    found = json.loads(line)
    assert (
        found["schema"] == 1 and found["novelty"]["samples"] == 20 and "nats_per_char" not in found
    )


def test_eval_with_samples_shows_a_verdict(trained, charrnn):
    done = charrnn("eval", trained, "--samples", "20", "--temp", "0.5")
    assert (
        done.returncode == 0
        and "verdict: " in done.stdout
        and "temperature 0.5, seed 1" in done.stdout
    )


def test_texts_in_the_tables_are_escaped_and_short(report):
    line = NearLine("a\x1b[31m\nb" + "x" * 99, "\u202eq", 2)
    near = Nearness(1, 0.0, 2, 0.1, [line])
    shown = novelty_view.texts_of(replace(report, nearest=Nearest(1, 64, near, near)))
    assert shown[-1].startswith("  a\\x1b[31m\\nbxxx") and shown[-1].endswith(
        "x ... <- \\u202eq (2)"
    )


@pytest.mark.parametrize(
    "more", [("--temp", "1"), ("--samples", "3", "--text", "x"), ("--samples", "0")]
)
def test_options_that_do_not_fit_are_one_line(trained, charrnn, more):
    done = charrnn("eval", trained, *more)
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1


def test_eval_with_samples_never_loads_torch(trained, tmp_path):
    assert loaded_after(["eval", str(trained), "--samples", "5"], ("torch", "numpy"), tmp_path) == {
        "numpy"
    }
