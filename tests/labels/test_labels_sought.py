"""sample --label together with --fill, --likeliest and --json: on the command line."""

import json
import math
import os
import subprocess
import sys

import numpy as np
import pytest
from labels_support import labelled_model

from charrnn.modelfile import MODEL_FILE, model_meta
from charrnn.sampling.engine import Sampler
from charrnn.storage import write_tensors


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run directory with a random model that knows three labels."""
    folder = tmp_path_factory.mktemp("labelled")
    model = labelled_model()
    meta = model_meta(
        "charrnn-model", model.settings, model.vocabulary, "lines", model.vocabulary.newline
    )
    write_tensors(folder / MODEL_FILE, model.tensors, meta)
    return folder


def sampled(run, *words):
    done = subprocess.run(
        [sys.executable, "-m", "charrnn", "sample", str(run), *map(str, words)],
        capture_output=True,
        text=True,
        env=os.environ | {"COLUMNS": "200"},
    )
    return done


def objects(run, *words):
    done = sampled(run, *words, "--json")
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def likelihoods(label, texts):
    """ln P of each text given the label, from the model."""
    sampler = Sampler(labelled_model(), weights="float32").labelled(label)
    return [-sampler.score(text)[0] for text in texts]


def test_the_likeliest_texts_are_those_of_the_label(run):
    found = {
        label: objects(run, "--label", label, "--likeliest", 5) for label in ("Irish", "Norse")
    }
    assert [one["text"] for one in found["Irish"]] != [one["text"] for one in found["Norse"]]
    for label, texts in found.items():
        best = [one for one in texts if one["text"]]  # the score of an empty text is nothing
        expected = likelihoods(label, [one["text"] for one in best])
        assert [-one["nats"] for one in best] == pytest.approx(expected, rel=1e-4)
        assert expected == sorted(expected, reverse=True)


def test_a_form_is_filled_with_the_label(run):
    texts = [one["text"] for one in objects(run, "--label", "Irish", "--fill", "__", "-n", 400)]
    assert all(len(text) == 2 for text in texts)
    symbols = [chr(code) for code in labelled_model().vocabulary.symbols if chr(code) != "\n"]
    all_texts = [first + second for first in symbols for second in symbols]
    odds = np.exp(likelihoods("Irish", all_texts))
    best = int(np.argmax(odds))
    share = odds[best] / odds.sum()
    error = math.sqrt(share * (1 - share) / 400)
    # Four standard errors: one run in 16,000 would fail by chance, and the seed is fixed.
    assert abs(texts.count(all_texts[best]) / 400 - share) < 4 * error


def test_samples_of_one_label_and_of_all_say_it(run):
    one = objects(run, "--label", "Irish", "--seed", 3, "-n", 2)
    assert [sample["label"] for sample in one] == ["Irish", "Irish"]
    every = objects(run, "--label", "all", "--seed", 3, "-n", 6)
    assert [one["text"] for one in every if one["label"] == "Irish"] == [
        sample["text"] for sample in one
    ]


def test_the_likeliest_of_several_labels_is_refused(run):
    done = sampled(run, "--label", "all", "--likeliest", 4)
    assert done.returncode == 2
    assert done.stderr == "charrnn: --likeliest writes with one label; give one --label\n"
