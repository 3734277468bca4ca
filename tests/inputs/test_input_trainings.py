"""Every row of hostile input: options of train and configuration files."""

import os
from pathlib import Path

import pytest
from inputs_support import FEW, LINES, TINY, refuses, works, write

pytestmark = pytest.mark.usefixtures("one_thread")


# train: knobs

TRAIN = {
    "lr inf": ["--lr", "inf"],
    "lr NaN": ["--lr", "nan"],
    "lr below 0": ["--lr", "-1"],
    "dropout 1": ["--dropout", "1.0"],
    "clip below 0": ["--clip", "-5"],
    "hidden size 0": ["--hidden-size", "0"],
    "hidden size huge": ["--hidden-size", str(10**12)],
    "layers 0": ["--num-layers", "0"],
    "layers huge": ["--num-layers", "65"],
    "batch 0": ["--batch-size", "0"],
    "batch huge": ["--batch-size", str(10**30)],
    "window 0": ["--seq-length", "0"],
    "seed below 0": ["--seed", "-1"],
    "seed 2^64": ["--seed", str(2**64)],
    "steps below 0": ["--steps", "-1"],
    "steps beyond counting": ["--steps", str(10**25)],
    "epochs beyond counting": ["--epochs", "1e308"],
    "epochs NaN": ["--epochs", "nan"],
    "a device that is not there": ["--device", "cuda:7"],
    "a device that is none": ["--device", "gpu"],
    "a budget that is none": ["--budget", "soon"],
    "two configs": ["--config", "names", "--config", "tiny"],
    "a preset that is none": ["--config", "nowhere"],
    "split": ["--split", "0.9,0.9"],
    "an encoding that is none": ["--encoding", "klingon"],
    "an encoding of no text": ["--encoding", "rot13"],
    "a set without a value": ["--set", "lr"],
    "an option and a value that is missing": ["--lr"],
}


@pytest.mark.parametrize("row", TRAIN)
def test_a_training_that_cannot_be(row):
    options = TRAIN[row]
    named = options[0] if row != "a set without a value" else "--set 'lr'"
    refuses(2, named, "train", write(FEW), *options)
    refuses(2, named, "train", write(FEW), "--check", *options)
    if "--device" not in options:
        refuses(2, named, "train", "--resume", "--run", LINES, *options)
    assert not Path("runs").exists()


def test_a_network_that_does_not_fit_is_refused_before_it_is_made():
    refuses(
        2,
        "GB are free; try --hidden-size",
        "train",
        write(FEW),
        "--hidden-size",
        65536,
        "--num-layers",
        64,
        "-q",
    )


@pytest.mark.parametrize("layers", [1, 2])
def test_dropout_works_with_one_layer_too(layers):
    works("train", write(FEW), *TINY, "--dropout", 0.5, "--num-layers", layers)


def test_clip_0_is_off():
    works("train", write(FEW), *TINY, "--clip", 0)


CONFIGS = {
    "an unknown key": (b"[training]\nlrr = 1\n", "did you mean lr? (line 2)"),
    "an unknown section": (b"[trianing]\nlr = 1\n", "did you mean training? (line 1)"),
    "a wrong type": (b"[training]\n\nlr = 'fast'\n", "is not a finite number (line 3)"),
    "a key twice": (b"[training]\nlr = 1\nlr = 2\n", "line 3"),
    "a key outside its section": (b"lr = 1\n", "there is no section [lr]"),
    "infinity": (b"[training]\nlr = inf\n", "is not a finite number (line 2)"),
    "a number of 990 digits": (
        b"[training]\nsteps = " + b"9" * 990 + b"\n",
        "is above 9007199254740992",
    ),
    "half a table": (b"[training\nlr = 1\n", "line 1"),
    "bytes that are not UTF-8": (b"# caf\xe9\n", "byte 5 is not UTF-8"),
    "a dotted key that takes gigabytes": (b"a." * 8000 + b"b = 1\n", "a line over 1000 characters"),
    "100,000 brackets": (b"x = " + b"[\n" * 30_000, "nested"),
    "a file that is too large": (b"#\n" * 40_000, "larger than 64 KiB"),
    "control characters": (b'[training]\n"\\u001b[2J" = 1\n', "\\x1b[2J"),
}


@pytest.mark.parametrize("row", CONFIGS)
def test_a_config_that_is_none_is_refused_with_its_line(row):
    data, says = CONFIGS[row]
    refuses(2, says, "train", write(FEW), "--config", write(data, "my.toml"))


def test_a_config_with_a_byte_order_mark_is_read():
    works(
        "train",
        "--config",
        write(b"\xef\xbb\xbf[training]\nlr = 0.5\n", "my.toml"),
        "--print-config",
        shows="lr = 0.5  # my.toml",
    )


@pytest.mark.parametrize("place", ["folder", "/dev/zero", "n" * 300])
def test_a_config_that_is_no_file_is_refused(place):
    os.mkdir("folder")
    refuses(2, "--config", "train", write(FEW), "--config", place)
