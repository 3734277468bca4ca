"""What the tests of this folder share."""

from pathlib import Path

from fuzz_files import typed
from fuzz_inputs import CONTROL, FIXTURES

LINES, STREAM, NGRAM = (
    FIXTURES / "0.2.0" / name for name in ("lstm-lines", "gru-before-stream", "ngram-lines")
)


NAMES = """Ada Ali Ann Ben Bob Cal Dan Eva Fay Gus Ian Ida Jan Joe Kim Lea Leo Lou Max Mia
Ned Nia Pam Ray Rob Roy Sam Sue Ted Tim Una Zoe"""


FEW = "".join(f"{name}\n" for name in NAMES.split()).encode()


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
