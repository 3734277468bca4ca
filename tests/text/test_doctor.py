"""What is found out about a text before a training, beside naive counts; and that nothing is written."""

import dataclasses
import io
import json
import unicodedata
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from charrnn.config import TextSettings
from charrnn.errors import CheckpointError, SettingsError
from charrnn.text import characters, doctor, linehash, reading
from charrnn.text.building import build, survey
from charrnn.text.census import take_census
from charrnn.text.reading import Source
from charrnn.text.splits import SPLITS
from charrnn.text.vocabulary import Vocabulary

STREAM, LINES = TextSettings(mode="stream"), TextSettings(mode="lines")


@pytest.fixture
def examined(tmp_path):
    """text or bytes, settings -> Findings; val and test: texts of files of their own."""

    def examine(text, options=STREAM, seed=1, **files):
        found, options = surveyed(tmp_path, text, options, seed, files)
        return doctor.examine(found, options, seed)

    return examine


@pytest.fixture
def begun(tmp_path):
    """The same, -> the line and the warnings of a start."""

    def begin(text, options=STREAM, **files):
        return doctor.at_start(*surveyed(tmp_path, text, options, 1, files))

    return begin


def surveyed(folder, text, options, seed, files):
    for name, content in {"text": text, **files}.items():
        (folder / f"{name}.txt").write_bytes(
            content if isinstance(content, bytes) else content.encode()
        )
    options = replace(options, **{name: str(folder / f"{name}.txt") for name in files})
    return survey(str(folder / "text.txt"), options, seed), options


def array(text):
    return np.frombuffer(text.encode("utf-32-le"), np.uint32)


def hashed(text, cut=1 << 30, edge=0):
    codes = array(text)
    return linehash.hash_lines(
        (codes[at : at + cut] for at in range(0, len(codes), cut)), text.count("\n") + 1, edge
    )


def lines_of(text):
    """Lines that are not blank, a carriage return before the newline not being part of one."""
    *closed, last = text.split("\n")
    return [line for line in [*(line.removesuffix("\r") for line in closed), last] if line]


# Lines as hashes


some_lines = st.text(st.sampled_from("ab \r\n\n\0é"), max_size=60)


@settings(max_examples=200, deadline=None)
@given(some_lines, st.integers(1, 7), st.integers(0, 60))
def test_lines_are_the_same_however_the_text_is_cut(text, cut, edge):
    whole, cut_up = hashed(text, edge=edge), hashed(text, cut, edge)
    assert cut_up.hashes.tolist() == whole.hashes.tolist()
    assert (cut_up.trailing, cut_up.longest, cut_up.before) == (
        whole.trailing,
        whole.longest,
        whole.before,
    )


@settings(max_examples=200, deadline=None)
@given(some_lines)
def test_hashes_are_equal_where_lines_are(text):
    lines, found = lines_of(text), hashed(text)
    assert len(found.hashes) == len(lines)
    assert [a == b for a in found.hashes for b in found.hashes] == [
        a == b for a in lines for b in lines
    ]
    assert found.trailing == sum(line[-1] in " \t" for line in lines)
    assert found.longest == max(map(len, lines), default=0)


def test_a_line_has_its_hash_wherever_it_stands():
    alone, later = hashed("abc\n").hashes, hashed("x\n\nyy\nabc").hashes
    assert alone[0] == later[2]


@pytest.mark.parametrize(
    ("first", "second"), [("\0a", "a"), ("a\0", "a"), ("ab", "ba"), ("a\r", "a")]
)
def test_like_lines_have_other_hashes(first, second):
    assert hashed(first).hashes[0] != hashed(second).hashes[0]


def test_lines_before_an_edge_are_those_that_begin_before_it():
    codes = array("aa\nbb\n\ncc\n")  # begin at 0, 3 and 7
    assert [linehash.hash_lines([codes], 4, edge).before for edge in (0, 1, 3, 4, 7, 8)] == [
        0,
        1,
        1,
        2,
        2,
        3,
    ]


def test_repeats_are_counted_beside_the_first_of_each():
    found = hashed("b\na\nb\nc\nb\na\n")
    found.hashes.sort()
    again, most = linehash.repeats(found.hashes, 5)
    assert (again, sorted(count for _, count in most)) == (3, [2, 3])
    assert linehash.show_lines([array("x\nb\na")], [line for line, _ in most]) == ["b", "a"]


def test_a_long_line_is_shown_by_its_beginning_even_across_chunks(monkeypatch):
    monkeypatch.setattr(linehash, "CHUNK", 7)
    text = "n" * 61 + "\n"
    assert linehash.show_lines([array("ab\n" + text)], hashed(text).hashes.tolist()) == [
        "n" * 60 + "…"
    ]


# Findings


def test_line_ends_are_told_apart_across_pieces(monkeypatch):
    monkeypatch.setattr(reading, "PIECE_BYTES", 3)
    census = take_census(Source("t", "t", spooled=io.BytesIO(b"a\r\nb\nc\rd\r\n\r\n\re")), STREAM)
    assert (census.crlf, census.carriage_returns, census.lines) == (3, 5, 5)
    assert characters.line_ends_of(census) == "mixed line ends (1 LF, 3 CRLF, 2 CR)"


def test_the_report_has_bytes_characters_lines_and_marks(examined):
    found = examined(b"\xef\xbb\xbfab \r\n\r\n\nc\xc3\xa9")
    assert (found.size_bytes, found.byte_order_mark, found.encoding) == (14, "UTF-8", "UTF-8")
    assert (found.chars, found.distinct, found.lines, found.blank_lines) == (10, 7, 4, 2)
    assert (found.lf, found.crlf, found.lone_cr, found.ends_with_newline) == (1, 2, 0, False)
    assert (found.trailing_spaces, found.longest_line) == (1, 3)


def test_odd_characters_are_sorted_by_kind(examined):
    found = examined("a\tb\0\x07\x07\x9b\u202e\u200b\ufeff\xa0\ufffd\ue000 \n")
    assert [(each.kind, each.code, each.count) for each in found.odd] == [
        ("bidi", 0x202E, 1),
        ("control", 0, 1),
        ("control", 7, 2),
        ("control", 0x9B, 1),
        ("invisible", 0x200B, 1),
        ("invisible", 0xFEFF, 1),
        ("private use", 0xE000, 1),
        ("replacement", 0xFFFD, 1),
        ("unusual space", 0xA0, 1),
    ]


def test_rare_characters_are_those_seen_under_five_times(examined):
    found = examined("aaaaabbbbcc")
    assert [(each.code, each.count) for each in found.rare] == [(ord("c"), 2), (ord("b"), 4)]
    assert found.rare_share == pytest.approx(6 / 11)


composing = st.text(
    st.sampled_from("ae\u0301\u0323\u0327é가ᄀ\u1161\u11a8中 \nÅ\u212b"), min_size=1, max_size=40
)


@settings(max_examples=60, deadline=None)
@given(composing, st.integers(1, 5))
def test_what_normalisation_would_change_is_counted_across_pieces(text, cut):
    after = unicodedata.normalize("NFC", text)
    changes = characters.NfcChanges()
    codes = array(text)
    for at in range(0, len(codes), cut):
        changes.add(codes[at : at + cut])
    census = take_census(Source("t", "t", spooled=io.BytesIO(text.encode())), STREAM)
    assert changes.result(census) == ((Counter(text) - Counter(after)).total(), len(set(after)))


def test_the_most_frequent_lines_are_shown(examined):
    found = examined("one\ntwo\none\n\n\nthree\none\ntwo\n")
    assert found.repeated_lines == 3
    assert [(each.text, each.count) for each in found.repeated] == [("one", 3), ("two", 2)]


# Leakage

LONG = [f"{i} is a line of at least twenty characters" for i in range(10)]


def test_lines_that_are_in_training_and_in_what_the_split_holds_out(examined):
    """Ten equal lengths, half for training: lines 0 to 4; the last five repeat two of them, and one is short."""
    lines = [*LONG[:5], LONG[0], LONG[1], LONG[0], LONG[7], "x" * len(LONG[0])]
    found = examined("\n".join(lines) + "\n", replace(STREAM, split="0.5,0.5,0"))
    (leak,) = found.leaks
    assert (leak.lines, leak.known, leak.least) == (5, 3, 20)
    assert set(leak.examples) == {LONG[0], LONG[1]}
    assert any("what --split holds out" in line for line in found.advice)


def test_short_lines_of_a_stream_are_no_leak(examined):
    found = examined("short\n" * 100)
    assert found.leaks == ()


def test_files_of_their_own_are_compared_with_the_training_text(examined):
    found = examined(
        "\n".join(LONG),
        val=f"{LONG[3]}\r\nshort\nsomething else that is long enough\n",
        test="xyz\n" * 9,
    )
    val, test = found.leaks
    assert (val.where, val.lines, val.known, val.examples) == ("--val", 2, 1, (LONG[3],))
    assert (test.where, test.lines, test.known) == ("--test", 0, 0)


def test_whole_lines_count_however_short_in_lines_mode(examined):
    (leak,) = examined("ann\nbob\ncleo\n", LINES, val="bob\ndora\nbob\n").leaks
    assert (leak.lines, leak.known) == (3, 2)


def test_lines_that_are_made_distinct_do_not_leak(examined):
    found = examined("ann\nbob\n" * 50, LINES)
    assert (found.leaks, found.used_once, found.repeated_lines) == ((), True, 98)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_without_deduplication_the_very_split_is_looked_at(examined, tmp_path, seed):
    options = replace(LINES, deduplicate=False, split="0.6,0.2,0.2")
    text = "".join(f"{'ab' * (i % 7)}c\n" if i % 3 else f"only {i}\n" for i in range(40))
    (leak,) = examined(text, options, seed).leaks
    made, _ = build(
        survey(str(tmp_path / "text.txt"), options, seed), options, seed, tmp_path / "out"
    )
    train, val, test = (made.vocabulary.decode(made.split(name)).splitlines() for name in SPLITS)
    assert (leak.lines, leak.known) == (len(val + test), sum(line in train for line in val + test))


# Advice


@pytest.mark.parametrize(
    ("data", "options", "advice"),
    [
        (b"a\r\nb\r\n" * 20, {}, "--newlines lf"),
        ("e\u0301 " * 20, {}, "40 characters"),
        ("e\u0301 " * 20, {}, "--normalize nfc"),
        ("a\ufffdb" * 20, {}, "characters were lost before"),
        ("hello".encode("utf-16-le") * 20, {}, "--encoding utf-16-le"),
        ("café ".encode() * 20, {"encoding": "latin-1"}, "--encoding utf-8"),
        (b"it\x92s \xe9" * 20, {"encoding": "latin-1"}, "--encoding cp1252"),
        ("".join(map(chr, range(0x4E00, 0x5200))), {}, "--unit byte"),
        (b"ab", {}, "it needs at least"),
        (b"ab\n" * 30, {"mode": "lines"}, "the text has 1 distinct lines"),
        (b"ab\n" * 30 + b"x" * 5000, {"mode": "lines"}, "--mode stream"),
        (b"Ann\nBob\n" * 30, {}, "--mode lines would be chosen"),
        (b"Ann\nBob\n" * 30, {"mode": "lines", "deduplicate": False}, "--deduplicate"),
    ],
)
def test_advice_says_what_to_pass(data, options, advice, examined):
    assert any(advice in line for line in examined(data, replace(STREAM, **options)).advice)


@pytest.mark.parametrize(
    ("data", "options"),
    [
        ("e\u0301 " * 20, {"normalize": "nfc"}),
        (b"a\r\nb\r\n" * 20, {"newlines": "lf"}),
        ("café ".encode() * 20, {}),
        ("café ".encode() * 20, {"unit": "byte"}),
        (b"a\0b\r\n" * 20, {"unit": "byte"}),
        ("café ".encode("latin-1") * 20, {"encoding": "latin-1"}),
    ],
)
def test_what_an_option_has_mended_is_not_found(data, options, examined):
    assert [
        line for line in examined(data, replace(STREAM, **options)).advice if "--mode" not in line
    ] == []


# The line at every start


def test_the_line_at_the_start(begun):
    line, warnings = begun("once\nonce\nonce\nagain: é \x07\n")
    assert line == (
        "UTF-8, LF; 12 distinct characters, 12 of them rare (seen under 5 times); control characters: 1; "
        "50% of the lines repeat"
    )
    assert warnings == []


def test_an_ordinary_text_has_a_short_line(begun):
    assert begun("abc\nabd\n" * 5, LINES)[0] == "ASCII, LF; 5 distinct characters"


def test_a_start_warns_of_lines_of_the_test_text(begun):
    _, warnings = begun(
        "\n".join(LONG), test=f"{LONG[0]}\n{LONG[1]}\na line that nobody has ever seen\n"
    )
    assert warnings == [
        "2 of 3 lines of 20 characters or more of --test are in the training text: scores on them flatter"
    ]


def test_a_start_reads_a_large_text_no_more(begun, monkeypatch):
    monkeypatch.setattr(doctor, "START_CHARS", 10)
    monkeypatch.setattr(linehash, "hash_lines", None)
    assert begun("abcdef\n" * 5)[0] == "ASCII, LF; 7 distinct characters"


# The command


@pytest.mark.medium
@pytest.mark.parametrize("json_asked", [False, True])
def test_check_reports_and_writes_nothing_even_where_it_could_not(charrnn, tmp_path, json_asked):
    """Nor in the directory for temporary files, which is another."""
    folder = tmp_path / "sealed"
    folder.mkdir()
    (folder / "evil.txt").write_bytes(b"\x1b[31mred\x1b[0m\r\n" * 40)
    folder.chmod(0o555)
    done = charrnn(
        "train",
        "evil.txt",
        "--check",
        *["--json"] * json_asked,
        cwd=folder,
        env={"TMPDIR": str(tmp_path)},
    )
    folder.chmod(0o755)
    assert (done.returncode, done.stderr) == (0, "")
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["evil.txt", "sealed"]
    assert "\x1b" not in done.stdout
    if json_asked:
        found = json.loads(done.stdout, parse_constant=pytest.fail)
        assert (found["schema"], found["crlf"], found["repeated_lines"], found["mode"]) == (
            1,
            40,
            39,
            "lines",
        )
        assert found["expected_memory_bytes"] > 8 * found["parameters"] > 0
    else:
        assert "line ends: 40 CRLF" in done.stdout
        assert "- evil.txt has 40 carriage returns, kept; --newlines lf" in done.stdout


@pytest.mark.medium
@pytest.mark.parametrize(
    ("data", "arguments", "code", "message"),
    [
        (b"it\x92s", [], 3, "--encoding cp1252"),
        (b"abc" * 99, ["--resume"], 2, "leave out --resume"),
        (b"abc" * 99, ["--run", "x"], 2, "leave out --run"),
        (b"abc" * 99, ["--overwrite"], 2, "leave out --overwrite"),
        (b"abc" * 99, ["--print-config"], 2, "leave out --print-config"),
        (b"abc" * 99, ["--allow-corpus-change"], 2, "leave out --allow-corpus-change"),
    ],
)
def test_check_of_what_cannot_be_read_is_one_line(
    charrnn, tmp_path, data, arguments, code, message
):
    (tmp_path / "a.txt").write_bytes(data)
    done = charrnn("train", "a.txt", "--check", *arguments)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (code, "", 1)
    assert message in done.stderr


def test_a_check_counts_the_parameters_that_a_network_has(tmp_path):
    from charrnn.config import resolve
    from charrnn.model.charmodel import CharModel
    from charrnn.training.checkup import check

    (tmp_path / "a.txt").write_text("abcdefg\n" * 40)
    chosen = {
        "hidden_size": 5,
        "num_layers": 2,
        "mode": "stream",
        "cell": "gru",
        "embedding_size": 3,
    }
    found = check(str(tmp_path / "a.txt"), (("--", chosen),))
    filled, _ = resolve([("--", {**chosen, "dropout": 0.0})])
    assert found["parameters"] == CharModel(filled.model, 8, "func").parameter_count()


def test_the_vocabulary_of_a_report_is_the_trainings(tmp_path):
    from charrnn.training.checkup import check

    (tmp_path / "a.txt").write_text("ab" * 40)
    found = check(str(tmp_path / "a.txt"), (("--", {"mode": "lines"}),))
    assert (found["distinct"], found["vocabulary"]) == (2, 3)  # and the newline
    assert len(Vocabulary("char", (10, 97, 98))) == found["vocabulary"]


@pytest.mark.medium
def test_a_training_says_what_its_text_is_like_and_what_leaks(tmp_path, watcher):
    from charrnn.training.session import Request, train

    (tmp_path / "a.txt").write_text("\n".join(LONG) + "\n" + "and something else\n" * 9)
    (tmp_path / "b.txt").write_text(f"{LONG[0]}\nnobody has ever seen this line before\n")
    chosen = {
        "hidden_size": 4,
        "steps": 1,
        "mode": "stream",
        "threads": 1,
        "test": str(tmp_path / "b.txt"),
    }
    seen = watcher()
    train(Request(str(tmp_path / "a.txt"), (("--", chosen),), run=tmp_path / "run"), seen)
    assert [line for line in seen.said if line.startswith(("corpus:", "warning:"))] == [
        "warning: 1 of 2 lines of 20 characters or more of --test is in the training text: scores on them flatter",
        "corpus: ASCII, LF; 31 distinct characters, 10 of them rare (seen under 5 times); 42% of the lines repeat",
    ]


# What a check refuses, as the training would


@pytest.fixture
def earlier(tmp_path, watcher, monkeypatch):
    """A run of a text of a, b and newlines, as `old`, in the directory that the test works in."""
    from charrnn.training.session import Request, train

    monkeypatch.chdir(tmp_path)
    (tmp_path / "old.txt").write_text("ab\nba\n" * 40)
    chosen = {"hidden_size": 4, "num_layers": 2, "steps": 1, "mode": "stream", "threads": 1}
    train(Request("old.txt", (("--", chosen),), run=tmp_path / "old"), watcher())
    (tmp_path / "new.txt").write_text("abéç\n" * 40)
    return tmp_path


def checked(text, **chosen):
    from charrnn.training.checkup import check

    return check(text, (("--", {"mode": "stream", **chosen}),))


@pytest.mark.medium
def test_a_check_of_fine_tuning_is_of_the_earlier_network_with_its_alphabet_extended(earlier):
    from charrnn.model.charmodel import CharModel
    from charrnn.modelfile import read_model

    before = sorted(earlier.rglob("*"))
    found = checked("new.txt", init_from="old")
    model = read_model(earlier / "old").settings.model
    assert (found["vocabulary"], found["num_layers"]) == (5, 2)
    assert found["parameters"] == CharModel(model, 5, "func").parameter_count()
    assert found["fine_tuning"].startswith("starting from old: 2 characters ('ç' U+00E7")
    assert sorted(earlier.rglob("*")) == before


@pytest.mark.medium
@pytest.mark.parametrize(
    ("text", "chosen", "message"),
    [
        ("new.txt", {"freeze": "embedding"}, "--freeze embedding: this text has 2 characters"),
        ("new.txt", {"freeze": "layer2"}, "this network has embedding, layer0, layer1, head"),
        ("new.txt", {"hidden_size": 5}, "--init-from old has --hidden-size 4, not 5"),
        ("new.txt", {"mix": 0.5, "mode": "lines"}, "old learnt a text of stream"),
    ],
)
def test_a_check_refuses_what_fine_tuning_refuses(earlier, text, chosen, message):
    with pytest.raises(SettingsError, match=message):
        checked(text, init_from="old", **chosen)


def test_a_check_refuses_an_earlier_run_that_is_none():
    with pytest.raises(CheckpointError, match="no run or checkpoint nope"):
        checked("names", init_from="nope")


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        ({"freeze": "head"}, "give --init-from RUN too"),
        (
            {"cell": "ngram", "order": "11"},
            "--order 11: with 53 different characters n-grams of at most 10",
        ),
        ({"cell": "ngram", "hidden_size": 8}, "--hidden-size is for networks"),
    ],
)
def test_a_check_refuses_what_a_start_refuses(chosen, message):
    with pytest.raises(SettingsError, match=message):
        checked("names", **chosen)


def test_a_check_for_counting_is_of_the_counting(charrnn):
    done = charrnn("train", "names", "--check", "--cell", "ngram", "--json")
    found = json.loads(done.stdout)
    assert (found["cell"], found["order"], found["longest_order"]) == ("ngram", "auto", 10)
    assert {
        found[key] for key in ("network", "parameters", "hidden_size", "expected_memory_bytes")
    } == {None}


def test_the_report_of_a_check_for_counting_has_no_network():
    from charrnn.cli.check import report

    *_, counting, rest = report(checked("names", cell="ngram", order="3", mode="lines"))
    assert (
        counting
        == "counting    n-grams, kneser-ney, order 3; 53 different characters allow orders up to 10"
    )
    assert rest == "nothing to mind"


# The words of the report


@pytest.mark.parametrize(("unit", "headings"), [("char", 22), ("byte", 23)])
def test_the_report_says_how_much_of_a_directory_is_headings(tmp_path, unit, headings):
    from charrnn.cli.check import report

    for name in ("a", "bé"):
        (tmp_path / "d").mkdir(exist_ok=True)
        (tmp_path / "d" / name).write_text("xyz")
    found = checked(
        str(tmp_path / "d"), unit=unit
    )  # ==> a <==, newline, xyz, newline, ==> bé <==, newline, xyz
    assert (found["chars"], found["heading_chars"]) == (headings + 6, headings)
    assert any(
        f"{headings + 6} ({headings} of them are headings put before its files)" in line
        for line in report(found)
    )


def test_one_of_anything_is_in_the_singular(examined):
    from charrnn.cli import check

    def said(text, of, **files):
        return of({"shown": "text", **dataclasses.asdict(examined(text, **files))})

    assert said("x", check._text).endswith(": 1 byte, ASCII")
    assert said("x \ny\n", check._lines).endswith("1 ends in spaces, the longest has 2 characters")
    assert said("x\ny\n", check._lines).endswith("the longest has 1 character")
    assert said("x\n", check._repeated) == "no lines"
    (leak,) = examined(LONG[0], val=f"{LONG[0]}\n").leaks
    assert str(leak) == "1 of 1 line of 20 characters or more of --val is in the training text"
    assert check._leak(dataclasses.asdict(leak)).startswith(str(leak))
    assert any("stands 1 time where" in line for line in examined("a\ufffd").advice)
    assert any(
        line.startswith("1 character is not composed (NFC)") for line in examined("aa\u212b").advice
    )


def test_a_start_has_one_distinct_character_in_the_singular(begun):
    assert begun("xxxxx")[0] == "ASCII, no line ends; 1 distinct character"
