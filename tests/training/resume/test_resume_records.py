"""A training on records goes on exactly, from the middle of a long record too."""

import pytest
from resume_support import layers, straight
from support import Killed, Watcher

from charrnn.modelfile import read_model
from charrnn.sampling.bounds import RECORD_LENGTH
from charrnn.sampling.engine import Sampler
from charrnn.texts import OpenedRun
from charrnn.training.session import Request, train

RECORDS = [f"Name {n}\nage {n % 7}\n" + "more\n" * (n % 3) + "end" for n in range(60)]
RECORDS.append("long\n" + "x" * 400 + "\nend")
CHANGES = {"mode": "records", "steps": 24}


@pytest.fixture
def corpus(tmp_path):
    path = tmp_path / "records.txt"
    path.write_text("".join(f"{record}\n---\n" for record in RECORDS))
    return str(path)


def test_records_go_on_exactly_from_inside_a_record(tmp_path, corpus):
    expected = straight(tmp_path, corpus, **CHANGES)
    run = tmp_path / "killed"
    found = None
    for index, kill_at in enumerate([5, 9, 17, None]):
        request = Request(
            corpus if index == 0 else None,
            layers(**CHANGES) if index == 0 else (),
            run=run,
            resume=index > 0,
        )
        try:
            _, found = train(request, Watcher(kill_at))
        except Killed:
            assert kill_at is not None
    assert found.weights_sha256 == expected.weights_sha256


def test_what_a_model_of_records_writes_begins_and_ends(tmp_path, corpus):
    asked = (("--", {"mode": "records", "cell": "ngram"}),)
    train(Request(corpus, asked, run=tmp_path / "counted"), Watcher())
    model = read_model(tmp_path / "counted")
    texts = [sample.text for sample in Sampler(model).generate(40, seed=1)]
    assert sum(text.startswith(("Name ", "long\n")) for text in texts) > 30
    assert sum(text.endswith("\nend") for text in texts) > 30
    assert sum("\n" in text for text in texts) > 30
    assert max(map(len, texts)) < RECORD_LENGTH

    novelty = OpenedRun(model).novelty
    known = [text for text in RECORDS if not novelty.is_novel(text.encode())]
    assert 50 <= len(known) < len(RECORDS)  # the training text, and not what is held out
    assert novelty.is_novel(b"Name 1\nage 1")
