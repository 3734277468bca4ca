"""Every row of hostile input: prompts and options of sample."""

import json
import tracemalloc

import pytest
from fuzz_files import typed
from inputs_support import FEW, LINES, NGRAM, STREAM, TINY, refuses, works, write

from charrnn.sampling.engine import load

pytestmark = pytest.mark.usefixtures("one_thread")


# sample: prompts and knobs

SAMPLE = {
    "unknown characters in a prompt": (
        ["--prime", "Zoé"],
        "U+00E9 LATIN SMALL LETTER E WITH ACUTE",
    ),
    "a combining mark in a prompt": (["--prime", "Zoe\u0301"], "U+0301 COMBINING ACUTE ACCENT"),
    "a prompt that is not UTF-8": (
        ["--prime", "Zo\udce9"],
        "--prime: what stands at position 2 is not UTF-8",
    ),
    "a prompt of two lines for a model of lines": (["--prime", "Ada\nB"], "--prime has a newline"),
    "an end that is not UTF-8": (
        ["--until", "\udce9"],
        "--until: what stands at position 0 is not UTF-8",
    ),
    "a pattern that is not UTF-8": (
        ["--matching", "\udce9"],
        "--matching: what stands at position 0 is not UTF-8",
    ),
    "a pattern that is none": (["--matching", "(a"], "is no regular expression"),
    "an end the model never writes": (["--until", "é"], "this model never writes"),
    "temperature below 0": (["--temp", "-1"], "--temp -1: must be at least 0"),
    "temperature NaN": (["--temp", "nan"], "must be a finite number"),
    "temperature inf": (["--temp", "inf"], "must be a finite number"),
    "top-k below 0": (["--top-k", "-1"], "--top-k -1"),
    "top-p 0": (["--top-p", "0"], "--top-p 0"),
    "top-p above 1": (["--top-p", "1.01"], "--top-p 1.01"),
    "top-p NaN": (["--top-p", "nan"], "--top-p nan"),
    "min-p above 1": (["--min-p", "2"], "--min-p 2"),
    "repetition penalty inf": (["--repetition-penalty", "inf"], "--repetition-penalty inf"),
    "length below 0": (["--length", "-1"], "--length -1: must be at least 0"),
    "length of no number": (["--length", "9" * 30 + "x"], "is not a valid int"),
    "count below 0": (["--count", "-1"], "--count -1"),
    "seed below 0": (["--seed", "-1"], "--seed -1"),
    "seed of 2^64": (["--seed", str(2**64)], "--seed"),
    "threads 0": (["--threads", "0"], "--threads 0"),
    "a device": (["--device", "cuda:7"], "sampling runs on the processor"),
    "weights of no type": (["--weights", "int4"], "is not one of auto, float32, float16"),
    "both kinds of prompt": (["--prime", "A", "--prime-file", "x"], "give one"),
    "a prompt in a missing file": (["--prime-file", "none.txt"], "No such file"),
    "a prompt in a file of latin-1": (
        ["--prime-file", "latin.txt"],
        "byte 0xe9 at offset 2 is not UTF-8",
    ),
}


@pytest.mark.parametrize("row", SAMPLE)
def test_a_question_that_sample_cannot_answer(row):
    options, says = SAMPLE[row]
    write(b"Zo\xe9", "latin.txt")
    refuses(2, says, "sample", LINES, *options)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--length", "0", "--prime", "Ad", "-n", "1"], "Ad\n"),
        (["--length", "0", "-n", "2"], "\n\n"),
        (["--count", "0"], ""),
    ],
)
def test_a_text_of_no_length_is_the_prompt(options, expected):
    assert works("sample", LINES, *options, "--seed", 1) == expected


def test_temperature_0_is_greedy_and_a_tiny_one_its_limit():
    greedy = works("sample", STREAM, "--temp", 0, "--length", 30, "--seed", 1)
    assert greedy == works("sample", STREAM, "--temp", 1e-8, "--length", 30, "--seed", 1)
    assert greedy == works("sample", STREAM, "--temp", 1e-300, "--length", 30, "--seed", 2)
    assert greedy == works("sample", STREAM, "--temp", 5, "--top-k", 1, "--length", 30, "--seed", 3)


def test_more_characters_than_there_are_to_choose_from_are_all():
    assert works("sample", LINES, "--top-k", 10**9, "--seed", 1) == works(
        "sample", LINES, "--seed", 1
    )


def test_unknown_characters_can_be_skipped():
    assert (
        works("sample", LINES, "--prime", "Zoé", "--unknown", "skip", "-n", 1, "--length", 0)
        == "Zo\n"
    )
    assert (
        json.loads(
            works("eval", LINES, "--text", "Zoé", "--unknown", "skip", "--json", "--no-baselines")
        )["chars"]
        == 3
    )


def test_a_recorded_normalisation_is_applied_to_prompts_and_scored_texts():
    works(
        "train",
        write("so it goes é. ".encode() * 40),
        *TINY,
        "--mode",
        "stream",
        "--normalize",
        "nfc",
        "--run",
        "out",
    )
    for prompt in ("\xe9", "e\u0301"):
        assert works("sample", "out", "--prime", prompt, "--length", 0) == "\xe9\n"
        assert (
            json.loads(works("eval", "out", "--text", f"s{prompt}", "--json", "--no-baselines"))[
                "chars"
            ]
            == 1
        )


def test_a_length_counts_code_points_and_no_half_of_one_is_written():
    works("train", write("👨‍👩‍👧".encode() * 90), *TINY, "--mode", "stream", "--run", "out")
    written = typed(
        "sample", "out", "--length", 7, "--prime", "👨‍👩", "--seed", 1, terminal=False
    ).out
    assert len(written) == 3 + 7
    assert set(written) == set("👨‍👩‍👧")


def test_a_length_of_a_thousand_million_takes_no_memory():
    pieces = load(STREAM).stream(length=10**9, seed=1)
    next(pieces)
    tracemalloc.start()
    try:
        written = 0
        while written < 200_000:
            written += len(next(pieces))
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


def test_without_a_prompt_a_model_begins_by_itself():
    for run in (LINES, STREAM, NGRAM):
        works("sample", run, "-n", 1, "--length", 5, "--seed", 1)


@pytest.mark.parametrize(
    "name", ["", "model.safetensors", "checkpoints", "checkpoints/step-00000006.safetensors"]
)
def test_a_run_its_checkpoints_and_a_file_are_all_taken(name):
    works("sample", LINES / name, "-n", 1, "--seed", 1)
    works("eval", LINES / name, "--text", "Ada", "--no-baselines")
    works("train", write(FEW), "--init-from", LINES / name, "--steps", 0, "--threads", 1, "-q")
