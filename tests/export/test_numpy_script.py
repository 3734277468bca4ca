"""The file that samples with numpy alone computes what the sampler computes, and stays a lesson."""

import dataclasses
import subprocess
import sys

import numpy as np
import pytest
from browser_support import with_alphabet, with_rare
from export_support import GRID, counting, ids_of, loaded, network

from charrnn.errors import SettingsError
from charrnn.export import numpy_script
from charrnn.sampling.decode import Decoding
from charrnn.sampling.engine import Sampler
from charrnn.text.vocabulary import BREAK, Vocabulary

QUICK = [
    ("rnn", "none", True, 1),
    ("lstm", "dense", False, 2),
    ("gru", "residual", False, 2),
    ("gru-before", "residual", True, 2),
]


def written(folder, model, name="lesson"):
    """Write the two files of a model, and return the program's path."""
    for ending, data in numpy_script.files(model, name).items():
        (folder / f"{name}{ending}").write_bytes(data)
    return folder / f"{name}.py"


def largest_difference(lesson, model, batch, time):
    sampler = Sampler(model, weights="float32")
    state = lesson.zero_state(batch)
    expected_state = sampler.zero_state(batch)
    worst = 0.0
    for ids in ids_of(batch, time).T:
        logits, state = lesson.step(ids, state)
        expected, expected_state = sampler.step(ids, expected_state)
        worst = max(worst, float(np.abs(logits - expected).max()))
    return worst


def greedy(model, length):
    """The ids that the sampler finds likeliest, one after the other, whatever they are."""
    sampler = Sampler(model, weights="float32")
    [sample] = sampler.generate(1, length=length, decoding=Decoding(temperature=0))
    return sample.ids.tolist()


def check(folder, model, time):
    lesson = loaded(written(folder, model))
    # float32: sums of up to 13 products in another order
    assert largest_difference(lesson, model, 1, time) < 1e-5
    assert largest_difference(lesson, model, 7, time) < 1e-5


@pytest.mark.parametrize("network_of", QUICK, ids=str)
def test_logits_are_the_samplers(tmp_path, network_of):
    check(tmp_path, network(*network_of), 150)


@pytest.mark.slow
@pytest.mark.parametrize("conv", [0, 1, 3])
@pytest.mark.parametrize("network_of", GRID, ids=str)
def test_logits_are_the_samplers_over_a_thousand_characters(tmp_path, network_of, conv):
    check(tmp_path, network(*network_of, conv=conv), 1000)


@pytest.mark.parametrize(("skip", "conv"), [("none", 3), ("dense", 2), ("residual", 1)])
def test_a_convolution_sees_the_same_characters(tmp_path, skip, conv):
    check(tmp_path, network("gru", skip, layers=2, conv=conv), 60)


def check_greedy(folder, model, length):
    lesson = loaded(written(folder, model))
    codes = list(lesson.write([], length, 0, None))
    assert [lesson.symbols.index(code) for code in codes] == greedy(model, length)


@pytest.mark.parametrize("network_of", QUICK, ids=str)
def test_greedy_text_is_the_samplers(tmp_path, network_of):
    check_greedy(tmp_path, network(*network_of, mode="stream"), 500)


@pytest.mark.slow
@pytest.mark.parametrize("network_of", GRID, ids=str)
def test_greedy_text_of_every_network_is_the_samplers(tmp_path, network_of):
    check_greedy(tmp_path, network(*network_of, mode="stream"), 500)


def run(path, *arguments):
    command = [sys.executable, "-I", path.name, *arguments]
    return subprocess.run(command, cwd=path.parent, capture_output=True, timeout=60, check=True)


def test_the_program_writes_lines_that_begin_with_the_prompt(tmp_path):
    path = written(tmp_path, network("lstm"))
    first = run(path, "--prime", "ab", "--seed", "1").stdout
    assert first == run(path, "--prime", "ab", "--seed", "1").stdout
    lines = first.decode().splitlines()
    assert len(lines) == 10 and all(line.startswith("ab") for line in lines)


def test_the_program_of_a_byte_model_writes_bytes(tmp_path):
    path = written(tmp_path, network("gru", mode="stream", unit="byte"))
    assert len(run(path, "--prime", "fa", "--seed", "1").stdout) == 2 + 500 + 1


@pytest.mark.parametrize("network_of", GRID, ids=str)
def test_a_program_is_short_and_narrow(network_of):
    for conv in (0, 1, 3):
        for mode, unit in (("lines", "char"), ("stream", "byte")):
            model = network(*network_of, conv=conv, mode=mode, unit=unit, corpus="x" * 99)
            source = numpy_script.script(dataclasses.replace(model, ally=object()), "y" * 99)
            assert source.count("\n") < 80
            assert max(map(len, source.splitlines())) <= 100


@pytest.mark.parametrize("network_of", QUICK, ids=str)
def test_a_program_has_the_projects_style(tmp_path, network_of):
    path = written(tmp_path, network(*network_of))
    for words in (
        ["check", "--isolated", "--line-length", "100"],
        ["format", "--isolated", "--line-length", "100", "--check"],
    ):
        done = subprocess.run([sys.executable, "-m", "ruff", *words, path], capture_output=True)
        assert done.returncode == 0, done.stdout.decode()


def test_a_program_holds_no_words_of_a_strangers_file():
    hostile = 'x"""\nimport os\nos.system("id")\n'
    source = numpy_script.script(network(corpus=hostile), 'a"""b')
    code = compile(source, "lesson.py", "exec")
    assert "os" not in code.co_names and "system" not in source.split('"""')[2]


# Where rare characters are bytes: é and € are symbols, all others above ASCII are spelled.


def test_greedy_text_with_rare_characters_is_the_samplers(tmp_path):
    model = with_rare(cell="lstm")
    model.tensors["head.bias"][-51:] += 3  # bytes that begin a character
    lesson = loaded(written(tmp_path, model))
    ids = [lesson.symbols.index(code) for code in lesson.write([], 500, 0, None)]
    assert ids == greedy(model, 500)
    assert max(ids) >= model.vocabulary.spelling.first


def test_the_program_writes_whole_characters(tmp_path):
    model = with_rare()
    model.tensors["head.bias"][-51:] += 3
    lesson = loaded(written(tmp_path, model))
    prompt = lesson.codes_of("é\u0416\U0001f600")
    assert lesson.text_of(prompt) == "é\u0416\U0001f600" and len(prompt) == 1 + 2 + 4
    text = lesson.text_of(lesson.write(prompt, 50, 1, np.random.default_rng(1)))
    assert len(text) == 50
    rare = [char for char in text if ord(char) > 127 and char not in "é€"]
    assert len(rare) > 5


def test_the_program_of_records_with_rare_characters_breaks_their_lines(tmp_path):
    model = with_rare()
    vocabulary = dataclasses.replace(Vocabulary.with_bytes([0xE9, 0x20AC, BREAK]), has_breaks=True)
    model = with_alphabet(dataclasses.replace(model, mode="lines"), vocabulary)
    path = written(tmp_path, model)
    text = run(path, "--prime", "a\n\u0416", "--seed", "1").stdout.decode()
    assert text.startswith("a\n\u0416") and chr(BREAK) not in text
    assert text.count("\n---\n") == 10


def test_the_program_with_rare_characters_runs(tmp_path):
    path = written(tmp_path, with_rare())
    assert len(run(path, "--prime", "é\u0416", "--seed", "1").stdout.decode()) == 2 + 500 + 1


@pytest.mark.parametrize("network_of", QUICK, ids=str)
def test_the_program_with_rare_characters_has_the_projects_style_and_is_short(tmp_path, network_of):
    cell, skip, tied, layers = network_of
    model = with_rare(cell=cell, skip=skip, tied=tied, layers=layers, conv=3)
    path = written(tmp_path, dataclasses.replace(model, ally=object()))
    assert path.read_text().count("\n") < 110
    for words in (["check"], ["format", "--check"]):
        command = [sys.executable, "-m", "ruff", *words, "--isolated", "--line-length", "100", path]
        done = subprocess.run(command, capture_output=True)
        assert done.returncode == 0, done.stdout.decode()


def test_equal_models_give_equal_files():
    assert numpy_script.files(network(), "x") == numpy_script.files(network(), "x")


def test_a_model_that_counts_is_refused():
    with pytest.raises(SettingsError, match="--numpy writes networks"):
        numpy_script.files(counting(), "x")
