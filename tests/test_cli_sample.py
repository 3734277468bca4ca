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
from charrnn.text.corpus import build, survey
from charrnn.text.vocabulary import Vocabulary

LINES = "anna\nanne\nben\nbea\nabe\nnan\neb\nbab\nnena\nbeb\n"


def make_run(folder, mode, unit="char", symbols=None, corpus=LINES):
    """A run directory with a random model and its training text."""
    (folder / "run").mkdir()
    (folder / "text.txt").write_text(corpus, encoding="utf-8")
    text = TextSettings(mode=mode, unit=unit, val=str(folder / "text.txt"))  # all of it is training text
    found = survey(str(folder / "text.txt"), text, 1)
    build(found, text, 1, folder / "run" / "corpus")
    vocabulary = Vocabulary(unit, symbols) if symbols else found.vocabulary
    settings = Settings(text=text).with_values("model", cell="gru", hidden_size=6, num_layers=1, embedding_size=4)
    torch.manual_seed(3)
    network = CharModel(settings.model, len(vocabulary)).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(3.0)
    tensors = {name: value.numpy() for name, value in network.tensors().items()}
    start = vocabulary.newline if mode == "lines" else 0
    meta = model_meta("charrnn-model", settings, vocabulary, mode, start, fingerprint=found.fingerprint)
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
    expected = [sample.data for sample in load(stream).generate(3, length=40, seed=2, decoding=Decoding(0.8))]
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
        "schema": 1, "text": "anna", "nats": 0.0, "chars": 0, "bits_per_char": None, "novel": False, "seed": 3, "index": 0,
    }  # fmt: skip


def test_an_empty_line_is_not_novel(lines):
    result = run(lines, "-n", 1, "--seed", 3, "--json", "-l", 0)
    assert json.loads(result.stdout)["novel"] is False


@pytest.mark.parametrize(("prime", "novel"), [("na\nanne\nb", False), ("na\nbeb\nanna\nnna", True), ("", False)])
def test_a_stream_is_novel_if_the_text_holds_it_nowhere(tmp_path, prime, novel):
    folder = make_run(tmp_path, "stream", corpus=LINES)
    result = run(folder, "--seed", 3, "--json", "--prime", prime, "-l", 0)
    assert json.loads(result.stdout)["novel"] is novel


def test_novelty_is_unknown_without_the_training_text(lines, tmp_path):
    (tmp_path / "model.safetensors").write_bytes((lines / MODEL_FILE).read_bytes())
    result = run(tmp_path / "model.safetensors", "-n", 1, "--seed", 3, "--json")
    assert json.loads(result.stdout)["novel"] is None


def test_bytes_of_a_byte_model_are_exact_in_a_pipe_and_replaced_in_json(tmp_path):
    folder = make_run(tmp_path, "stream", unit="byte", symbols=(0x0A, 0x61, 0x62, 0x65, 0x6E, 0xC3, 0xFF))
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
        (["--temp", "-1"], "--temp"), (["--temp", "nan"], "--temp"), (["--temp", "inf"], "--temp"),
        (["--top-k", "-2"], "--top-k"), (["--top-p", "0"], "--top-p"), (["--top-p", "1.5"], "--top-p"),
        (["--min-p", "2"], "--min-p"), (["--repetition-penalty", "0"], "--repetition-penalty"),
        (["--length", "-1"], "--length"), (["--count", "-1"], "--count"), (["--seed", "-1"], "--seed"),
        (["--seed", str(2**63)], "--seed"), (["--unknown", "drop"], "--unknown"), (["--prime", "xyz"], "U+0078"),
        (["--prime", "a\nb"], "newline"), (["--until", "q"], "--until"), (["--prime", b"a\xff"], "--prime"),
        (["--until", b"\xff"], "--until"), (["--prime", "a", "--prime-file", "f"], "give one"),
        (["--prime-file", "no-such-file"], "--prime-file no-such-file"), (["--prime-file", "/dev/zero"], "MiB"),
        (["--prime-file", "/"], "--prime-file /"),
    ],
)  # fmt: skip
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
    command = [sys.executable, "-m", "charrnn", "sample", str(stream), "-l", str(10**9), "--seed", "1"]
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


def test_sample_loads_no_torch(lines):
    code = f"import sys; sys.argv = ['charrnn', 'sample', {str(lines)!r}, '-n', '2', '--json']\n"
    code += "from charrnn.cli.main import main\ntry:\n    main()\nfinally:\n    assert 'torch' not in sys.modules\n"
    assert subprocess.run([sys.executable, "-c", code], stdout=subprocess.DEVNULL).returncode == 0


def test_help_loads_no_numpy():
    code = "import sys; sys.argv = ['charrnn', 'sample', '--help']\n"
    code += "from charrnn.cli.main import main\ntry:\n    main()\nfinally:\n    assert 'numpy' not in sys.modules\n"
    assert subprocess.run([sys.executable, "-c", code], stdout=subprocess.DEVNULL).returncode == 0
