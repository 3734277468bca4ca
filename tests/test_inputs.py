"""The catalogue of inputs: what each one gets, from every command that takes it.

One line on stderr that says what, where and what to do, and the exit code: 2 for options, 3 for data, 5 for places that
cannot be written. What works, works; what is strange is said. Details have tests in the files of their rooms; here every
row stands once, for all commands at once, in this process.
"""

import contextlib
import json
import os
import shutil
import socket
import threading
import tracemalloc
from pathlib import Path

import pytest
from fuzz import CONTROL, FIXTURES, typed

from charrnn.sampling.engine import load

LINES, STREAM, NGRAM = (
    FIXTURES / "0.2.0" / name for name in ("lstm-lines", "gru-before-stream", "ngram-lines")
)
NAMES = """Ada Ali Ann Ben Bob Cal Dan Eva Fay Gus Ian Ida Jan Joe Kim Lea Leo Lou Max Mia
Ned Nia Pam Ray Rob Roy Sam Sue Ted Tim Una Zoe"""
FEW = "".join(f"{name}\n" for name in NAMES.split()).encode()
PROSE = b"so it goes on and on, as it has gone on so far. " * 12
TINY = (
    "--hidden-size",
    2,
    "--num-layers",
    1,
    "--embedding-size",
    2,
    "--steps",
    1,
    "--batch-size",
    2,
    "--seq-length",
    4,
    "--threads",
    1,
    "--dropout",
    0,
    "-q",
)

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """An empty directory to work in, and no settings from outside."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TERM", "dumb")  # rich writes no escapes of its own
    for name in [name for name in os.environ if name.startswith("CHARRNN_")]:
        monkeypatch.delenv(name)
    return tmp_path


def write(data, name="text.txt"):
    Path(name).write_bytes(data)
    return name


def refuses(code, says, *arguments, stdin=b""):
    done = typed(*arguments, stdin=stdin)
    lines = [line for line in done.err.splitlines() if not line.startswith(("note: ", "warning: "))]
    assert (done.code, len(lines)) == (code, 1), (arguments, done)
    assert lines[0].startswith("charrnn: ")
    assert says in lines[0], lines[0]
    assert not CONTROL.search(done.err) and done.out == ""


def works(*arguments, stdin=b"", says="", shows=""):
    done = typed(*arguments, stdin=stdin)
    assert done.code == 0, (arguments, done)
    assert says in done.err, done.err
    assert shows in done.out, done.out
    assert not CONTROL.search(done.err + done.out)
    return done.out


# Every command that reads a text, and how it is given one
READS = {
    "train": lambda text: ("train", text, *TINY),
    "check": lambda text: ("train", text, "--check"),
    "init": lambda text: ("train", text, "--init-from", LINES, "--steps", 1, "--threads", 1, "-q"),
    "val": lambda text: ("train", write(FEW, "few.txt"), "--val", text, *TINY),
    "count": lambda text: ("train", text, "--cell", "ngram", "-q"),
    "cooccur": lambda text: ("cooccur", text),
    "eval": lambda text: ("eval", LINES, "--file", text, "--no-baselines"),
}
NOT_UTF8 = "na\u00efve caf\u00e9 ".encode("latin-1") * 30
REFUSED = {  # a text: what is said of it, to whom (all, if nobody is named)
    "empty": (b"", "is empty", ("train", "check", "init", "val", "count", "cooccur")),
    "empty, scored": (b"", "nothing to score", ("eval",)),
    "only a byte order mark": (
        b"\xef\xbb\xbf",
        "is empty",
        ("train", "check", "init", "val", "count", "cooccur"),
    ),
    "one character": (
        b"a",
        "with --split 0.9,0.05,0.05 it needs at least 40",
        ("train", "init", "count"),
    ),
    "shorter than a validation split needs": (
        b"ab",
        "it needs at least 40",
        ("train", "init", "count"),
    ),
    "two lines, asked for as lines": (
        b"Ada\nBob\n",
        "needs at least 20",
        ("train", "init", "count"),
    ),
    "bytes that are not UTF-8": (
        NOT_UTF8,
        "byte 0xef at offset 2, line 1, is not utf-8; pass --encoding",
        None,
    ),
    "UTF-16": (FEW.decode().encode("utf-16"), "--encoding utf-16", None),
    "surrogates in UTF-8": (b"text \xed\xa0\x80 text", "byte 0xed at offset 5, line 1", None),
    "half a character at the end": (
        "Ada\nBob é".encode()[:-1],
        "byte 0xc3 at offset 8, line 2",
        None,
    ),
    "unknown characters, scored": (
        "Zoé\n".encode(),
        "U+00E9 LATIN SMALL LETTER E WITH ACUTE",
        ("eval",),
    ),
    "not composed, scored": ("Zoe\u0301\n".encode(), "U+0301 COMBINING ACUTE ACCENT", ("eval",)),
}


@pytest.mark.parametrize("row", REFUSED)
def test_a_text_that_no_command_takes(row):
    data, says, commands = REFUSED[row]
    for command in commands or READS:
        lines = ("--mode", "lines") if row == "two lines, asked for as lines" else ()
        refuses(3, says, *READS[command](write(data)), *lines)


TAKEN = {  # a text: what is said of it while it is trained on
    "one distinct character": (b"a" * 400, "one distinct character"),
    "NUL bytes": (PROSE + b"\0" + PROSE, "1 NUL character, kept"),
    "carriage returns": (PROSE.replace(b". ", b".\r\n"), "carriage returns, kept; --newlines lf"),
    "a byte order mark": (b"\xef\xbb\xbf" + PROSE, ""),
    "emoji of several characters": ("so it goes 👨‍👩‍👧 on. ".encode() * 20, ""),
    "a huge alphabet": (
        "".join(map(chr, range(0x4E00, 0x4E00 + 20_100))).encode() * 2,
        "20,100 distinct characters",
    ),
}


@pytest.mark.parametrize("row", TAKEN)
def test_a_strange_text_is_taken_and_said(row):
    data, says = TAKEN[row]
    text = write(data)
    works("train", text, *TINY, "--mode", "stream", says=says)
    works("cooccur", text, "--top", 5)
    if row != "a huge alphabet":
        works("train", text, "--check", "--mode", "stream")


def test_a_byte_order_mark_is_dropped_once_and_kept_inside():
    found = json.loads(works("cooccur", write(b"\xef\xbb\xbf\xef\xbb\xbfa"), "--json"))
    assert sorted(found["symbols"]) == ["a", "\ufeff"]


PLACES = {
    "a missing file": ("shakespear.txt", "no file shakespear.txt; near it: shakespeare.txt"),
    "a directory without files": ("folder", "no file in folder matches"),
    "a socket": ("socket", "cannot read socket"),
    "a name that is too long": ("n" * 300, "File name too long"),
    "a name with control characters": ("a\x1b[2Jb", "no file a\\x1b[2Jb"),
}


@pytest.mark.parametrize("row", PLACES)
def test_a_place_that_is_no_text(row):
    place, says = PLACES[row]
    write(PROSE, "shakespeare.txt")
    os.mkdir("folder")
    with socket.socket(socket.AF_UNIX) as other, contextlib.suppress(OSError):
        other.bind("socket")
        for command in READS:
            refuses(3, says, *READS[command](place))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission():
    os.chmod(write(FEW), 0)
    for command in READS:
        refuses(3, "Permission denied", *READS[command]("text.txt"))


@pytest.mark.parametrize("command", ["train", "check", "eval", "cooccur"])
def test_standard_input_and_a_pipe_are_read_to_their_end(command):
    works(*READS[command]("-"), stdin=FEW)
    os.mkfifo("pipe")
    writer = threading.Thread(target=lambda: Path("pipe").write_bytes(FEW))
    writer.start()
    works(*READS[command]("pipe"))
    writer.join()


@pytest.mark.parametrize("command", ["train", "check", "init", "val", "count"])
def test_an_endless_device_ends_at_max_bytes(command):
    refuses(
        3,
        "has more than 100,000 bytes; save it to a file, or raise --max-bytes",
        *READS[command]("/dev/zero"),
        "--max-bytes",
        100_000,
    )


@pytest.fixture
def run():
    """A copy of a run in which things may be broken."""
    return shutil.copytree(LINES, "run")


def test_a_text_that_has_changed_stops_a_resume_unless_that_is_allowed(run):
    again = ("train", write(FEW + b"New\n", "names.txt"), "--resume", "--run", run, "-q")
    refuses(3, "is not the text this run was trained on", *again)
    refuses(
        3,
        "U+00E9 LATIN SMALL LETTER E WITH ACUTE",
        "train",
        write("Zoé\n".encode() + FEW, "names.txt"),
        *again[2:],
        "--allow-corpus-change",
    )


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
    "a set without a section": ["--set", "lr=1"],
    "an option and a value that is missing": ["--lr"],
}


@pytest.mark.parametrize("row", TRAIN)
def test_a_training_that_cannot_be(row):
    options = TRAIN[row]
    named = options[0] if row != "a set without a section" else "--set 'lr=1'"
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


# Models and checkpoints

OPENS = {
    "sample": lambda run: ("sample", run),
    "eval": lambda run: ("eval", run, "--text", "Ada"),
    "init": lambda run: ("train", write(FEW, "few.txt"), "--init-from", run, "-q"),
    "check": lambda run: ("train", write(FEW, "few.txt"), "--init-from", run, "--check"),
    "resume": lambda run: ("train", "--resume", "--run", run, "-q"),
}


def torn(run):
    for file in (run / "model.safetensors", *run.glob("checkpoints/*")):
        file.write_bytes(file.read_bytes()[:-1])


def flipped(run):
    for file in (run / "model.safetensors", *run.glob("checkpoints/*")):
        data = bytearray(file.read_bytes())
        data[-9] ^= 1
        file.write_bytes(data)


def pickled(run):
    for file in (run / "model.safetensors", *run.glob("checkpoints/*")):
        file.write_bytes(b"PK\x03\x04 not ours" * 30)


def emptied(run):
    for file in (run / "model.safetensors", *run.glob("checkpoints/*")):
        file.write_bytes(b"")


def newer(run):
    from charrnn.modelfile import KINDS
    from charrnn.storage import read_tensors, write_tensors

    for file in (run / "model.safetensors", *run.glob("checkpoints/*")):
        tensors, meta = read_tensors(file, KINDS)
        write_tensors(file, tensors, meta | {"format": 3, "charrnn": "9.9"})


def piped(run):
    for file in (run / "model.safetensors", *run.glob("checkpoints/*")):
        file.unlink()
        os.mkfifo(file)


DAMAGE = {
    "torn": (torn, "damaged: its SHA-256 does not match"),
    "a bit flipped": (flipped, "damaged: its SHA-256 does not match"),
    "a zip of pickles": (pickled, "is not a charrnn checkpoint"),
    "empty": (emptied, "is not a charrnn checkpoint"),
    "of a later charrnn": (newer, "has format 3, written by charrnn 9.9"),
    "a pipe": (piped, "is not a regular file"),
    "missing": (shutil.rmtree, "no run"),
}


@pytest.mark.parametrize("row", DAMAGE)
def test_a_model_that_is_none(row, run):
    damage, says = DAMAGE[row]
    damage(Path(run))
    for command in OPENS:
        refuses(3, says, *OPENS[command](run))


def test_a_checkpoint_of_another_cell_or_size_is_refused_with_both_values(run):
    for options, says in (
        (["--cell", "gru"], "--cell lstm, not gru"),
        (["--hidden-size", 4], "--hidden-size 3, not 4"),
    ):
        refuses(2, says, "train", "--resume", "--run", run, *options)
    for options, says in (
        (["--cell", "gru"], "--cell lstm, not gru"),
        (["--hidden-size", 4], "--hidden-size 3, not 4"),
    ):
        refuses(2, says, "train", write(FEW), "--init-from", run, *options)


def test_a_resume_without_a_checkpoint_is_3():
    refuses(3, "no run under runs/", "train", "--resume")
    refuses(3, "no run of text.txt under runs/", "train", write(FEW), "--resume")
    os.makedirs("runs/text/checkpoints")
    refuses(3, "has no checkpoint to resume from", "train", "--resume", "--run", "runs/text")


# What surrounds it


def test_only_the_named_run_is_written_even_without_a_home(tmp_path, monkeypatch):
    monkeypatch.delenv("HOME", raising=False)
    works("train", write(FEW), *TINY, "--run", "out")
    works("sample", "out", "-n", 1, "--seed", 1)
    works("eval", "out", "--no-baselines")
    assert {path.name for path in tmp_path.iterdir()} == {"text.txt", "out"}


@pytest.mark.parametrize("place", ["file/run", "/proc/run"])
def test_a_place_that_cannot_be_written_is_5(place):
    write(b"", "file")
    refuses(5, place, "train", write(FEW), *TINY, "--run", place)
    refuses(5, place, "cooccur", "text.txt", "--csv", f"{place}/x.csv")


def test_a_terminal_of_ascii_gets_escapes_and_a_pipe_utf8():
    text = write("é漢 so ".encode() * 60)
    works("train", text, *TINY, "--mode", "stream", "--run", "out")
    asked = ("sample", "out", "--prime", "é漢", "--length", 0)
    assert typed(*asked, encoding="ascii", terminal=True).out.rstrip("\n") == "\\xe9\\u6f22"
    assert typed(*asked, encoding="ascii", terminal=False).out.rstrip("\n") == "é漢"


CONTROLS = "".join(map(chr, [*range(0x20), *range(0x7F, 0xA0), 0x202E, 0x2028])) + "[/nope]\ufeff"


def test_no_control_character_of_a_text_reaches_a_terminal_from_any_command():
    text = write((CONTROLS + " so it goes\n").encode() * 8, "te\x1b[2Jxt.txt")
    works("train", text, *TINY[:-1], "--mode", "stream", "--run", "r\x1bn", "--sample-every", 1)
    works("train", text, "--check")
    works("cooccur", text, "--top", 99)
    works("sample", "r\x1bn", "--length", 200, "--seed", 1)
    works("eval", "r\x1bn", "--file", text)
    works("eval", "r\x1bn", "--file", text, "--per-char")
    works("eval", "r\x1bn", "--file", text, "--rank")
    works("train", "--resume", "--run", "r\x1bn", "--steps", 2)
    works(
        "train", text, "--init-from", "r\x1bn", "--steps", 1, "--mode", "stream", "--run", "s\x1bn"
    )


# Rows that need a process, a kernel's limit or hours, or were at home elsewhere before
ELSEWHERE = {
    "a file that changes as it is read": "test_building.py::"
    "test_a_file_that_changes_to_the_same_characters_is_refused_as_changed",
    "a text that changes while it trains": "test_faults.py::test_a_text_that_changes_never_changes_a_training",
    "a text of a gigabyte": "test_training.py::test_a_gigabyte_trains_in_flat_memory_and_starts_within_90_seconds",
    "a full standard output": "test_cli.py::test_a_full_standard_output_is_5",
    "a closed standard output": "test_cli.py::test_a_closed_standard_output_is_5",
    "a reader that leaves": "test_cli_sample.py::test_a_reader_that_leaves_ends_it_quietly",
    "a pickle that runs code": "test_cli.py::test_a_pickle_given_as_checkpoint_runs_no_code",
    "a disk that becomes read-only": "test_faults.py::test_the_disk_becomes_read_only_at_some_calls",
    "names that are not UTF-8": "test_cli.py::test_names_that_are_not_utf8_are_no_obstacle",
}


@pytest.mark.parametrize("row", ELSEWHERE)
def test_the_other_rows_have_their_tests(row):
    file, name = ELSEWHERE[row].split("::")
    (path,) = Path(__file__).parent.rglob(file)
    assert f"def {name}(" in path.read_text()
