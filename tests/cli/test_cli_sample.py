"""charrnn sample as a person or a script meets it: bytes on stdout, lines on stderr, exit codes."""

import json
import os
import pty
import subprocess
import sys

import numpy as np
import pytest
import torch

from charrnn.config import Settings, TextSettings
from charrnn.model.charmodel import CharModel
from charrnn.modelfile import MODEL_FILE, model_meta
from charrnn.sampling.decode import Decoding
from charrnn.sampling.engine import load
from charrnn.storage import write_tensors
from charrnn.text.building import build, survey
from charrnn.text.vocabulary import Vocabulary

LINES = "anna\nanne\nben\nbea\nabe\nnan\neb\nbab\nnena\nbeb\n"


def make_run(folder, mode, unit="char", symbols=None, corpus=LINES):
    """A run directory with a random model and its training text."""
    (folder / "run").mkdir()
    (folder / "text.txt").write_text(corpus, encoding="utf-8")
    text = TextSettings(
        mode=mode, unit=unit, val=str(folder / "text.txt")
    )  # all of it is training text
    census = survey(str(folder / "text.txt"), text, 1)
    build(census, text, 1, folder / "run" / "corpus")
    vocabulary = Vocabulary(unit, symbols) if symbols else census.vocabulary
    settings = Settings(text=text).with_values(
        "model", cell="gru", hidden_size=6, num_layers=1, embedding_size=4
    )
    torch.manual_seed(3)
    network = CharModel(settings.model, len(vocabulary)).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(3.0)
    tensors = {name: value.numpy() for name, value in network.tensors().items()}
    start = vocabulary.newline if mode == "lines" else 0
    meta = model_meta(
        "charrnn-model", settings, vocabulary, mode, start, fingerprint=census.fingerprint
    )
    write_tensors(folder / "run" / MODEL_FILE, tensors, meta)
    return folder / "run"


@pytest.fixture(scope="module")
def lines(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("lines"), "lines")


@pytest.fixture(scope="module")
def stream(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("stream"), "stream", corpus=LINES + "é\U0001f600\x1b")


def run(*arguments, **options):
    command = [sys.executable, "-m", "charrnn", "sample", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, timeout=120, **options)


def on_terminal(*arguments):
    """What a terminal gets, its newlines as one byte."""
    leader, follower = pty.openpty()
    command = [sys.executable, "-m", "charrnn", "sample", *map(str, arguments)]
    process = subprocess.Popen(command, stdout=follower, stderr=subprocess.DEVNULL)
    os.close(follower)
    shown = b""
    while True:
        try:
            piece = os.read(leader, 65536)
        except OSError:  # Linux: the other side has closed
            break
        if not piece:
            break
        shown += piece
    os.close(leader)
    assert process.wait() == 0
    return shown.replace(b"\r\n", b"\n")


def test_a_model_of_lines_gives_ten_lines(lines):
    result = run(lines, "--seed", 1)
    assert (result.returncode, result.stdout.count(b"\n")) == (0, 10)
    expected = load(lines).generate(10, seed=1, decoding=Decoding(0.8))
    assert result.stdout.decode().splitlines() == [sample.text for sample in expected]


def test_a_model_of_a_stream_gives_500_characters_and_no_newline_of_its_own(stream):
    result = run(stream, "--seed", 1)
    assert len(result.stdout.decode()) == 500


def test_the_same_seed_gives_the_same_bytes(stream):
    assert run(stream, "--seed", 5, "-l", 80).stdout == run(stream, "--seed", 5, "-l", 80).stdout


def test_a_fresh_seed_is_told_and_repeats_the_text(stream):
    first = run(stream, "-l", 80)
    seed = first.stderr.split()[1].decode()
    assert run(stream, "-l", 80, "--seed", seed).stdout == first.stdout


def test_stdout_carries_text_only(lines):
    result = run(lines, "-n", 3, "--seed", 1)
    assert result.stdout.count(b"\n") == 3
    assert b"of 3 are not in the training text" in result.stderr


def test_several_streams_are_divided_by_a_visible_line(stream):
    result = run(stream, "-n", 3, "-l", 40, "--seed", 2)
    expected = [
        sample.data
        for sample in load(stream).generate(3, length=40, seed=2, decoding=Decoding(0.8))
    ]
    ended = [data if data.endswith(b"\n") else data + b"\n" for data in expected[:2]]
    assert result.stdout == b"---\n".join([*ended, expected[2]])


def test_count_zero_prints_nothing(lines):
    result = run(lines, "-n", 0)
    assert (result.returncode, result.stdout, result.stderr) == (0, b"", b"")


def test_length_zero_prints_the_prompt(stream):
    result = run(stream, "-l", 0, "--prime", "ab", "--seed", 1)
    assert (result.returncode, result.stdout) == (0, b"ab")


def test_json_is_one_strict_object_a_line(lines):
    result = run(lines, "-n", 4, "--seed", 3, "--json", "--prime", "a")
    objects = [json.loads(line, parse_constant=pytest.fail) for line in result.stdout.splitlines()]
    keys = ["schema", "text", "nats", "chars", "bits_per_char", "novel", "seed", "index"]
    assert [list(each) for each in objects] == [keys] * 4
    assert [each["index"] for each in objects] == [0, 1, 2, 3]
    for each in objects:
        assert (each["schema"], each["seed"]) == (1, 3)
        assert each["text"].startswith("a")
        assert each["bits_per_char"] == pytest.approx(each["nats"] / np.log(2) / each["chars"])
        assert each["novel"] is (each["text"] not in LINES.splitlines())


def test_json_of_a_known_line_is_not_novel(lines):
    result = run(lines, "-n", 1, "--seed", 3, "--json", "--prime", "anna", "-l", 0)
    assert json.loads(result.stdout) == {
        "schema": 1,
        "text": "anna",
        "nats": 0.0,
        "chars": 0,
        "bits_per_char": None,
        "novel": False,
        "seed": 3,
        "index": 0,
    }


def test_an_empty_line_is_not_novel(lines):
    result = run(lines, "-n", 1, "--seed", 3, "--json", "-l", 0)
    assert json.loads(result.stdout)["novel"] is False


@pytest.mark.parametrize(
    ("prime", "novel"), [("na\nanne\nb", False), ("na\nbeb\nanna\nnna", True), ("", False)]
)
def test_a_stream_is_novel_if_the_text_holds_it_nowhere(tmp_path, prime, novel):
    folder = make_run(tmp_path, "stream", corpus=LINES)
    result = run(folder, "--seed", 3, "--json", "--prime", prime, "-l", 0)
    assert json.loads(result.stdout)["novel"] is novel


def test_novelty_is_unknown_without_the_training_text(lines, tmp_path):
    (tmp_path / "model.safetensors").write_bytes((lines / MODEL_FILE).read_bytes())
    result = run(tmp_path / "model.safetensors", "-n", 1, "--seed", 3, "--json")
    assert json.loads(result.stdout)["novel"] is None


# Constraints


def drawn(run, count, seed, **how):
    """What the engine draws: samples to choose from by hand."""
    return list(load(run).generate(count, seed=seed, decoding=Decoding(0.8), **how))


def texts(result):
    return result.stdout.decode().splitlines()


@pytest.mark.parametrize(
    ("arguments", "is_kept"),
    [
        (["--novel"], lambda text: text and text not in LINES.splitlines()),
        (["--matching", "^b.*e$"], lambda text: text[:1] == "b" and text[-1:] == "e"),
        (["--min-length", 5], lambda text: len(text) >= 5),
        (["--max-length", 2], lambda text: len(text) <= 2),
        (
            ["--min-length", 3, "--max-length", 4, "--matching", "n"],
            lambda text: len(text) in (3, 4) and "n" in text,
        ),
    ],
)
def test_only_lines_that_satisfy_are_written_in_the_order_of_their_draws(lines, arguments, is_kept):
    result = run(lines, "-n", 6, "--seed", 4, *arguments)
    assert result.returncode == 0
    assert texts(result) == [one.text for one in drawn(lines, 2000, 4) if is_kept(one.text)][:6]


def test_unique_lines_are_the_first_of_each(lines):
    result = run(lines, "-n", 12, "--seed", 4, "--unique", "--max-length", 3)
    short = [one.text for one in drawn(lines, 2000, 4) if len(one.text) <= 3]
    assert texts(result) == list(dict.fromkeys(short))[:12] != short[:12]


def test_a_cache_keeps_to_the_prompt(stream):
    how = (stream, "--prime", "anna\nben\nanna\nben\n", "--length", "200", "--seed", "2", "--json")
    plain, cached = (json.loads(run(*how, *more).stdout) for more in ((), ("--cache", "50")))
    assert cached["chars"] == plain["chars"] == 200 and cached["text"] != plain["text"]
    assert plain["text"].count("\U0001f600") > 10 * cached["text"].count(
        "\U0001f600"
    )  # the prompt has none


@pytest.mark.parametrize(
    ("more", "words"),
    [(("--cache", "9"), "add --prime or --prime-file"), (("--cache", "-1"), "--cache -1")],
)
def test_a_cache_that_would_do_nothing_is_refused(stream, more, words):
    done = run(stream, *more)
    assert done.returncode == 2 and words in done.stderr.decode() and done.stderr.count(b"\n") == 1


def test_starts_with_is_another_name_of_prime(lines):
    assert texts(run(lines, "--starts-with", "an", "--seed", 4)) == texts(
        run(lines, "--prime", "an", "--seed", 4)
    )


def test_what_was_thrown_away_is_told_on_stderr(lines):
    result = run(lines, "-n", 5, "--seed", 4, "--matching", "n", "--novel")
    kept = [
        one
        for one in drawn(lines, 500, 4)
        if "n" in one.text and one.text not in LINES.splitlines()
    ]
    assert f"kept 5 of {kept[4].index + 1} tries: " in result.stderr.decode()
    assert b"not in the training text" not in result.stderr.replace(b"(--novel)", b"")


@pytest.mark.parametrize("extra", [[], ["--json"], ["--rank"]])
def test_when_tries_run_out_what_was_found_is_written_and_one_line_says_why(lines, extra):
    result = run(lines, "-n", 9, "--seed", 4, "--tries", 20, "--matching", "nn", *extra)
    kept = sum("nn" in one.text for one in drawn(lines, 20, 4))
    assert 0 < kept < 9
    assert (result.returncode, len(texts(result))) == (2, kept)
    assert result.stderr.decode() == (
        f"charrnn: found {kept} of 9 in 20 tries: {20 - kept} do not match --matching; "
        "loosen them or raise --tries\n"
    )


def test_greedy_texts_are_not_tried_ten_thousand_times(lines):
    result = run(lines, "-n", 3, "--temp", 0, "--unique")
    assert (result.returncode, len(texts(result))) == (2, 1)
    assert b"found 1 of 3 in 3 tries: 2 are repeats (--unique); --temp 0 always" in result.stderr


@pytest.mark.parametrize("seed", [1, 4])
def test_ranked_lines_come_likeliest_first_with_bits_per_character(lines, seed):
    samples = sorted(drawn(lines, 7, seed), key=lambda one: one.nats / one.chars)
    expected = [f"{one.nats / one.chars / np.log(2):.2f}  {one.text}" for one in samples]
    assert texts(run(lines, "-n", 7, "--seed", seed, "--rank")) == expected


def test_json_of_ranked_lines_has_the_rank_beside_the_bits(lines):
    objects = [
        json.loads(line) for line in texts(run(lines, "-n", 5, "--seed", 4, "--rank", "--json"))
    ]
    assert [each["rank"] for each in objects] == [1, 2, 3, 4, 5]
    assert sorted(each["index"] for each in objects) == [0, 1, 2, 3, 4]
    assert [each["bits_per_char"] for each in objects] == sorted(
        each["bits_per_char"] for each in objects
    )
    assert list(objects[0])[4:6] == ["bits_per_char", "rank"]


def test_texts_without_a_generated_character_can_be_ranked(lines):
    assert texts(run(lines, "-n", 2, "--seed", 4, "-l", 0, "--prime", "an", "--rank")) == [
        "-  an",
        "-  an",
    ]


def test_the_further_lines_of_a_ranked_stream_stand_beneath_its_first(stream):
    result = run(stream, "-n", 2, "-l", 40, "--seed", 4, "--rank", "--prime", "a\nb")
    first, second, *_ = texts(result)
    assert first.endswith("  a")
    assert second.startswith(" " * (len(first) - 1) + "b")


def test_streams_that_satisfy_are_divided_by_a_visible_line(stream):
    result = run(stream, "-n", 3, "-l", 30, "--seed", 2, "--matching", "^[a-n]", "--novel")
    kept = [
        one.data for one in drawn(stream, 100, 2, length=30) if one.text[0] in "abcdefghijklmn"
    ][:3]
    ended = [data if data.endswith(b"\n") else data + b"\n" for data in kept[:2]]
    assert result.stdout == b"---\n".join([*ended, kept[2]])


def test_a_stream_ends_at_the_longest_that_is_allowed(stream):
    assert (
        run(stream, "--seed", 2, "--max-length", 33).stdout.decode()
        == drawn(stream, 1, 2, length=33)[0].text
    )


def test_lines_of_a_stream_can_be_chosen_by_their_length(stream):
    result = run(
        stream,
        "-n",
        4,
        "--seed",
        2,
        "--until",
        "\n",
        "--min-length",
        2,
        "--max-length",
        5,
        "--json",
    )
    written = [json.loads(line)["text"] for line in texts(result)]
    fits = [
        one.text
        for one in drawn(stream, 400, 2, until="\n")
        if 3 <= len(one.text) <= 6 and one.text[-1] == "\n"
    ]
    assert written == fits[:4]


def test_novel_texts_can_be_had_from_the_filter_alone(lines, tmp_path):
    (tmp_path / "corpus").mkdir()
    (tmp_path / MODEL_FILE).write_bytes((lines / MODEL_FILE).read_bytes())
    [novelty] = (lines / "corpus").glob("*.novel")
    (tmp_path / "corpus" / novelty.name).write_bytes(novelty.read_bytes())
    assert texts(run(tmp_path, "-n", 5, "--seed", 4, "--novel")) == texts(
        run(lines, "-n", 5, "--seed", 4, "--novel")
    )


@pytest.mark.parametrize("count", [5, 0])
def test_novel_without_the_training_text_is_exit_3_before_anything_is_drawn(lines, tmp_path, count):
    (tmp_path / MODEL_FILE).write_bytes((lines / MODEL_FILE).read_bytes())
    result = run(tmp_path, "--novel", "-n", count)
    assert (result.returncode, result.stdout, result.stderr.count(b"\n")) == (3, b"", 1)
    assert b"--novel" in result.stderr


def test_a_reader_that_leaves_hears_nothing_of_tries(lines):
    command = [
        sys.executable,
        "-m",
        "charrnn",
        "sample",
        str(lines),
        "-n",
        "100000",
        "--min-length",
        "3",
        "--seed",
        "1",
    ]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert len(process.stdout.read(100)) == 100
    process.stdout.close()
    assert process.wait(timeout=60) == 0
    assert b"found" not in process.stderr.read()


# Bytes, runs, prompts


def test_bytes_of_a_byte_model_are_exact_in_a_pipe_and_replaced_in_json(tmp_path):
    folder = make_run(
        tmp_path, "stream", unit="byte", symbols=(0x0A, 0x61, 0x62, 0x65, 0x6E, 0xC3, 0xFF)
    )
    data = run(folder, "-l", 60, "--seed", 1).stdout
    assert len(data) == 60
    assert data == next(load(folder).generate(1, length=60, seed=1, decoding=Decoding(0.8))).data
    [line] = run(folder, "-l", 60, "--seed", 1, "--json").stdout.splitlines()
    assert json.loads(line)["text"] == data.decode("utf-8", "replace")


def test_the_newest_run_is_the_default(lines, tmp_path):
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "names").symlink_to(lines)
    environment = os.environ | {"PYTHONPATH": os.getcwd()}
    result = run("-n", 2, "--seed", 1, cwd=tmp_path, env=environment)
    assert result.stdout == run(lines, "-n", 2, "--seed", 1).stdout != b""


@pytest.mark.parametrize("ending", ["", "\n", "\r\n"])
def test_a_prompt_file_for_lines_may_end_in_a_newline(lines, tmp_path, ending):
    (tmp_path / "prime").write_bytes(("\ufeffan" + ending).encode())
    result = run(lines, "--prime-file", tmp_path / "prime", "-n", 1, "-l", 0, "--seed", 1)
    assert result.stdout == b"an\n"


def test_a_prompt_comes_from_standard_input(stream):
    assert run(stream, "--prime-file", "-", "-l", 0, "--seed", 1, input=b"na\n").stdout == b"na\n"


def test_old_names_of_options_are_understood(stream):
    result = run(stream, "--temperature", 0, "--primetext", "ab", "-l", 9)
    assert result.stdout == run(stream, "--temp", 0, "--prime", "ab", "-l", 9).stdout != b""


def test_a_large_top_k_is_clamped_with_a_note(stream):
    result = run(stream, "--top-k", 999, "-l", 50, "--seed", 1)
    assert result.stdout == run(stream, "-l", 50, "--seed", 1).stdout
    assert b"--top-k 999" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["--temp", "-1"], "--temp"),
        (["--temp", "nan"], "--temp"),
        (["--temp", "inf"], "--temp"),
        (["--top-k", "-2"], "--top-k"),
        (["--top-p", "0"], "--top-p"),
        (["--top-p", "1.5"], "--top-p"),
        (["--min-p", "2"], "--min-p"),
        (["--repetition-penalty", "0"], "--repetition-penalty"),
        (["--length", "-1"], "--length"),
        (["--count", "-1"], "--count"),
        (["--seed", "-1"], "--seed"),
        (["--seed", str(2**63)], "--seed"),
        (["--unknown", "drop"], "--unknown"),
        (["--prime", "xyz"], "U+0078"),
        (["--prime", "a\nb"], "newline"),
        (["--until", "q"], "--until"),
        (["--prime", b"a\xff"], "--prime"),
        (["--until", b"\xff"], "--until"),
        (["--prime", "a", "--prime-file", "f"], "give one"),
        (["--prime-file", "no-such-file"], "--prime-file no-such-file"),
        (["--prime-file", "/dev/zero"], "MiB"),
        (["--prime-file", "/"], "--prime-file /"),
        (["--matching", "("], "--matching '('"),
        (["--matching", b"\xff"], "--matching"),
        (["--min-length", "-1"], "--min-length"),
        (["--max-length", "-1"], "--max-length"),
        (["--tries", "9"], "--tries 9"),
        (["--min-length", "4", "--max-length", "3"], "--max-length 3"),
        (["--min-length", "1001"], "--min-length"),
        (["--max-length", "1", "--prime", "an"], "--max-length 1"),
    ],
)
def test_a_wrong_option_is_one_line_and_exit_2(lines, arguments, word):
    command = [sys.executable, "-m", "charrnn", "sample", str(lines), *arguments]
    result = subprocess.run(command, capture_output=True, timeout=120)
    assert (result.returncode, result.stdout, result.stderr.count(b"\n")) == (2, b"", 1)
    assert word in result.stderr.decode()


def test_a_prompt_file_that_is_not_utf8_names_the_byte(lines, tmp_path):
    (tmp_path / "prime").write_bytes(b"abc\x92d")
    result = run(lines, "--prime-file", tmp_path / "prime")
    assert result.returncode == 2
    assert b"byte 0x92 at offset 3" in result.stderr


def test_a_missing_run_is_exit_3(tmp_path):
    result = run(tmp_path / "none")
    assert (result.returncode, result.stdout) == (3, b"")


def test_a_reader_that_leaves_ends_it_quietly(stream):
    command = [
        sys.executable,
        "-m",
        "charrnn",
        "sample",
        str(stream),
        "-l",
        str(10**9),
        "--seed",
        "1",
    ]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert len(process.stdout.read(100)) == 100
    process.stdout.close()
    assert process.wait(timeout=60) == 0
    assert process.stderr.read() == b""


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="Linux")
def test_a_full_disk_is_exit_5(stream):
    with open("/dev/full", "wb") as full:
        command = [sys.executable, "-m", "charrnn", "sample", str(stream), "--seed", "1"]
        result = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, timeout=60)
    assert result.returncode == 5
    assert result.stderr.count(b"\n") == 1


def test_a_terminal_gets_escapes_and_a_last_newline(stream):
    exact = run(stream, "-l", 300, "--seed", 1).stdout
    assert b"\x1b" in exact
    shown = on_terminal(stream, "-l", 300, "--seed", 1)
    assert shown == exact.replace(b"\x1b", b"\\x1b") + (b"" if exact.endswith(b"\n") else b"\n")


def test_raw_gives_a_terminal_the_exact_bytes(stream):
    exact = run(stream, "-l", 300, "--seed", 1).stdout
    assert on_terminal(stream, "-l", 300, "--seed", 1, "--raw").startswith(exact)


def test_sample_loads_no_torch_and_nothing_that_counts_or_reads_texts(lines, stream):
    heavy = {
        "torch",
        "rich.console",
        "charrnn.text.ngram",
        "charrnn.text.corpus",
        "charrnn.text.reading",
    }
    for words in (["sample", str(lines), "-n", "2", "--json"], ["sample", str(stream), "-l", "9"]):
        code = f"import sys; sys.argv = ['charrnn', *{words!r}]\n"
        code += "from charrnn.cli.main import main\ntry:\n    main()\n"
        code += f"finally:\n    assert not {heavy!r} & {{*sys.modules}}\n"
        assert (
            subprocess.run([sys.executable, "-c", code], stdout=subprocess.DEVNULL).returncode == 0
        )


def test_help_loads_no_numpy():
    code = "import sys; sys.argv = ['charrnn', 'sample', '--help']\n"
    code += "from charrnn.cli.main import main\ntry:\n    main()\n"
    code += "finally:\n    assert 'numpy' not in sys.modules\n"
    assert subprocess.run([sys.executable, "-c", code], stdout=subprocess.DEVNULL).returncode == 0
