"""The score above samples is that of the weights that wrote them, in the file and on the page."""

import json
import math
import re

import pytest
from support import FEW, Watcher

from charrnn.report.contents import samples_of
from charrnn.training.session import Request, train

pytestmark = pytest.mark.usefixtures("one_thread")

TINY = {
    "mode": "lines",
    "hidden_size": "4",
    "num_layers": "1",
    "embedding_size": "2",
    "batch_size": "4",
    "cell": "rnn",
}


def trained(folder, **changes):
    """Train a small network; return its headings (step, score) and its scores by step."""
    (folder / "few.txt").write_text("\n".join(FEW) + "\n")
    run, _ = train(
        Request(str(folder / "few.txt"), (("--", TINY | changes),), run=folder / "run"),
        Watcher(),
        lambda tensors, meta: "Ada",
    )
    headings = re.findall(r"^--- step (\d+), (.+) ---$", (run / "samples.txt").read_text(), re.M)
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    scores = {
        line["step"]: line["val_nats_per_char"] / math.log(2)
        for line in lines
        if line.get("event") == "eval"
    }
    return run, [(int(step), score) for step, score in headings], scores


def test_samples_come_with_evaluations_and_under_their_score(tmp_path):
    _, headings, scores = trained(tmp_path, steps="73")  # 73 / 5 and 73 / 20 share no multiple
    assert len(headings) == 5
    for step, score in headings:
        assert score == f"{scores[step]:.3f} bits per character"


def test_samples_at_steps_that_a_person_chose_have_no_other_score(tmp_path):
    run, headings, scores = trained(tmp_path, steps="20", sample_every="7", eval_every="5")
    assert [step for step, _ in headings] == [7, 14, 20]
    assert [score for _, score in headings][:2] == ["not scored", "not scored"]
    assert headings[2][1] == f"{scores[20]:.3f} bits per character"
    kept = samples_of(run / "samples.txt", scores)["shown"]
    assert [math.isnan(sample["bits"]) for sample in kept] == [True, True, False]


def test_the_page_leaves_out_a_score_of_other_weights(tmp_path):
    (tmp_path / "samples.txt").write_text("--- step 476, 6.039 bits per character ---\nAda\n")
    [sample] = samples_of(tmp_path / "samples.txt", {0, 480})["shown"]
    assert math.isnan(sample["bits"])
