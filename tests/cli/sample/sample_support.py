"""What the tests of this folder share."""

import os
import pty
import subprocess
import sys

import torch

from charrnn.config import Settings, TextSettings
from charrnn.model.charmodel import CharModel
from charrnn.modelfile import MODEL_FILE, model_meta
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
