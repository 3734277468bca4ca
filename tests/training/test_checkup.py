"""`charrnn train --check`: its report, and that nothing is written."""

import json

import pytest

from charrnn.errors import CheckpointError, SettingsError
from charrnn.text.vocabulary import Vocabulary

LONG = [f"{i} is a line of at least twenty characters" for i in range(10)]


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
        about = json.loads(done.stdout, parse_constant=pytest.fail)
        assert (about["schema"], about["crlf"], about["repeated_lines"], about["mode"]) == (
            1,
            40,
            39,
            "lines",
        )
        assert about["expected_memory_bytes"] > 8 * about["parameters"] > 0
    else:
        assert "line ends: 40 CRLF" in done.stdout
        assert "- the text has 1 distinct line," in done.stdout


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
    about = check(str(tmp_path / "a.txt"), (("--", chosen),))
    filled, _ = resolve([("--", {**chosen, "dropout": 0.0})])
    assert about["parameters"] == CharModel(filled.model, 8, "func").parameter_count()


def test_the_vocabulary_of_a_report_is_the_trainings(tmp_path):
    from charrnn.training.checkup import check

    (tmp_path / "a.txt").write_text("ab" * 40)
    about = check(str(tmp_path / "a.txt"), (("--", {"mode": "lines"}),))
    assert (about["distinct"], about["vocabulary"]) == (2, 3)  # and the newline
    assert len(Vocabulary("char", (10, 97, 98))) == about["vocabulary"]


def test_a_check_counts_labels(tmp_path):
    from charrnn.cli.check import report
    from charrnn.training.checkup import check

    labels = "aabacb" * 5 + "z"
    (tmp_path / "a.txt").write_text("".join(f"{k}\tname{n}\n" for n, k in enumerate(labels)))
    about = check(str(tmp_path / "a.txt"), (("--", {"label": "prefix", "delimiter": "\\t"}),))
    assert about["labels"] == {"a": 15, "b": 10, "c": 5, "z": 1}
    assert "labels      4: a x15, b x10, c x5, z x1; 1 label seen once" in list(report(about))


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
    run = tmp_path / "run"
    train(Request(str(tmp_path / "a.txt"), (("--", chosen),), run=run, verbose=True), seen)
    assert [line for line in seen.said if line.startswith(("corpus:", "warning:"))] == [
        "warning: 1 of 2 lines of 20 characters or more of --test is in the training text: "
        "scores on them flatter",
        "corpus: ASCII, LF; 31 distinct characters, 10 of them rare (seen under 5 times); "
        "42% of the lines repeat",
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
    about = checked("new.txt", init_from="old")
    model = read_model(earlier / "old").settings.model
    assert (about["vocabulary"], about["num_layers"]) == (5, 2)
    assert about["parameters"] == CharModel(model, 5, "func").parameter_count()
    assert about["fine_tuning"].startswith("starting from old: 2 characters ('ç' U+00E7")
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
    ("word", "says"), [("resume", "charrnn train --resume RUN"), ("scratch", "leave it out")]
)
def test_a_check_answers_the_words_of_nanogpt(word, says):
    with pytest.raises(SettingsError, match=f"--init-from {word}: .*{says}"):
        checked("names", init_from=word)


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
    about = json.loads(done.stdout)
    assert (about["cell"], about["order"], about["longest_order"]) == ("ngram", "auto", 10)
    assert {
        about[key] for key in ("network", "parameters", "hidden_size", "expected_memory_bytes")
    } == {None}


def test_the_report_of_a_check_for_counting_has_no_network():
    from charrnn.cli.check import report

    *_, counting, rest = report(checked("names", cell="ngram", order="3", mode="lines"))
    assert (
        counting
        == "counting    n-grams, kneser-ney, order 3; 53 different characters allow orders up to 10"
    )
    assert rest == "no problems found"


@pytest.mark.parametrize(("unit", "headings"), [("char", 22), ("byte", 23)])
def test_the_report_says_how_much_of_a_directory_is_headings(tmp_path, unit, headings):
    from charrnn.cli.check import report

    for name in ("a", "bé"):
        (tmp_path / "d").mkdir(exist_ok=True)
        (tmp_path / "d" / name).write_text("xyz")
    about = checked(
        str(tmp_path / "d"), unit=unit
    )  # ==> a <==, newline, xyz, newline, ==> bé <==, newline, xyz
    assert (about["chars"], about["heading_chars"]) == (headings + 6, headings)
    assert any(
        f"{headings + 6} ({headings} of them are headings put before its files)" in line
        for line in report(about)
    )
