"""What the tests of this folder share."""

import os
import pty
import signal
import sys
import termios
import time

import torch

from charrnn.config import Settings, TextSettings
from charrnn.model.charmodel import CharModel
from charrnn.modelfile import MODEL_FILE, model_meta
from charrnn.sampling.decode import Decoding
from charrnn.sampling.engine import load
from charrnn.storage import write_tensors
from charrnn.text.vocabulary import Vocabulary

PROGRAM = """
import ast, sys
from charrnn.cli import main as program
def converse(standalone_mode):
    from charrnn.cli.interactive import converse
    from charrnn.sampling.decode import Decoding
    from charrnn.sampling.engine import load
    options = ast.literal_eval(sys.argv[2])
    sampler = load(sys.argv[1], engine=options.pop("engine", "auto"))
    converse(sampler, decoding=Decoding(options.pop("temp", 0.8)), **options)
program.app_of = lambda words: converse
program.main()
"""


TEMP = Decoding(0.8)


def make_run(folder, mode, characters, unit="char"):
    """A run directory with a random model and nothing else."""
    vocabulary = Vocabulary(unit, tuple(sorted(map(ord, characters))))
    settings = Settings(text=TextSettings(mode=mode, unit=unit))
    settings = settings.with_values(
        "model", cell="gru", hidden_size=6, num_layers=1, embedding_size=4
    )
    torch.manual_seed(3)
    network = CharModel(settings.model, len(vocabulary)).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(3.0)
    tensors = {name: value.numpy() for name, value in network.tensors().items()}
    start = vocabulary.newline if mode == "lines" else 0
    write_tensors(
        folder / MODEL_FILE, tensors, model_meta("charrnn-model", settings, vocabulary, mode, start)
    )
    return folder


def command(run, options):
    return [sys.executable, "-c", PROGRAM, str(run), repr({"seed": 1, "length": 20} | options)]


def written(run, length=20, decoding=TEMP, engine="auto", **how):
    """What the engine alone writes after a prompt."""
    data = b"".join(
        load(run, engine=engine).stream(length=length, decoding=decoding, **{"seed": 1} | how)
    ).decode()
    return data[len(how.get("prime", "")) :]


# A person: a terminal


class Terminal:
    """A session on a terminal of its own: type, wait for what is shown."""

    def __init__(self, run, options=None, environment=None):
        process, self.leader = pty.fork()
        if process == 0:
            modes = termios.tcgetattr(0)
            modes[3] |= termios.NOFLSH  # Ctrl-C leaves what is on its way to the screen
            termios.tcsetattr(0, termios.TCSANOW, modes)
            os.environ.update({"TERM": "dumb", "INPUTRC": "/dev/null"} | (environment or {}))
            os.execv(sys.executable, command(run, options or {}))
        self.process, self.shown, self.seen, self.code = process, b"", 0, None

    def type(self, text):
        os.write(self.leader, text.encode())

    def interrupt_the_prompt(self):
        # Between the prompt and the wait for a key, Python loses a signal until a key comes.
        time.sleep(0.3)
        self.type("\x03")

    def wait_for(self, text, timeout=30):
        """What was shown since the last wait, up to this text."""
        os.set_blocking(self.leader, False)
        end = time.monotonic() + timeout
        while (at := self.shown.find(text.encode(), self.seen)) < 0:
            assert time.monotonic() < end, f"no {text!r} in {self.shown[self.seen :][-500:]!r}"
            try:
                self.shown += os.read(self.leader, 65536)
            except BlockingIOError:
                time.sleep(0.002)
        since = self.shown[self.seen : at].decode("utf-8", "replace").replace("\r\n", "\n")
        self.seen = at + len(text.encode())
        return since

    def ends(self):
        """The exit code, after all that is still shown has been read."""
        os.set_blocking(self.leader, True)
        while True:
            try:
                piece = os.read(self.leader, 65536)
            except OSError:  # Linux: the other side has closed
                break
            if not piece:
                break
            self.shown += piece
        self.code = os.waitstatus_to_exitcode(os.waitpid(self.process, 0)[1])
        return self.code

    def close(self):
        if self.code is None:
            os.kill(self.process, signal.SIGKILL)
            os.waitpid(self.process, 0)
        os.close(self.leader)
