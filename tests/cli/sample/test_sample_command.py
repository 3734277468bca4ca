"""charrnn sample as a person or a script meets it: texts on stdout, lines on stderr."""

import json

import numpy as np
import pytest
from sample_support import LINES, make_run, run

from charrnn.modelfile import MODEL_FILE
from charrnn.sampling.decode import Decoding
from charrnn.sampling.engine import load


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
