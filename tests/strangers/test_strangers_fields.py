"""Every field of every file's metadata: of its type and in its range, or one line and exit 3."""

import contextlib
import json
import shutil
from pathlib import Path

import pytest
from fuzz_files import typed
from fuzz_inputs import FIXTURES
from strangers_support import LINES
from test_strangers_runs import newest, rewrite

from charrnn.errors import CheckpointError
from charrnn.lab.compared import read_run
from charrnn.lab.plan import PLAN, plan_from, read_plan
from charrnn.modelfile import read_model
from charrnn.report.record import read_about, read_metrics
from charrnn.text.corpus import open_corpus
from charrnn.training.checkpoint import load_newest

pytestmark = pytest.mark.usefixtures("one_thread")

JUNK = [None, True, -1, 1.5, 10**30, 1e308, "", "x", "\x1b[2J", "9" * 20_000, [], [1], {}, {"a": 1}]
COMMANDS = (
    ("explain",),
    ("cells", "--json"),
    ("sample", "-l", 5, "--json"),
    ("eval", "--no-baselines", "--json"),
    ("report",),
)


def shown(value):
    return repr(value)[:20]


# Models and checkpoints


@pytest.mark.parametrize("value", ["x", None, -1, True, 1.5, 10**30, [], {}], ids=shown)
@pytest.mark.parametrize("command", COMMANDS, ids=lambda words: words[0])
def test_a_model_whose_step_is_no_number_is_refused_by_every_command(run, command, value):
    rewrite(run / "model.safetensors", lambda tensors, meta: meta.update(step=value))
    name, *options = command
    told = typed(name, run, *options)
    assert told.code == 3
    assert "its record of the training is damaged (step); use another copy" in told.err
    assert len(told.err.splitlines()) == 1 and told.out == ""


@pytest.mark.parametrize("value", JUNK, ids=shown)
@pytest.mark.parametrize(
    "key", ["charrnn", "corpus", "fingerprint", "mixed", "step", "val_nats_per_char"]
)
def test_no_field_of_a_model_is_a_traceback(run, key, value):
    rewrite(run / "model.safetensors", lambda tensors, meta: meta.update({key: value}))
    for name, *options in COMMANDS:
        told = typed(name, run, *options)
        assert told.code in (0, 3), told.err
        assert told.code == 0 or len(told.err.splitlines()) == 1
    is_whole = type(value) is int and 0 <= value < 10**12
    assert key != "step" or is_whole or told.code == 3


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("charrnn", 7),
        ("charrnn", "9" * 1000),
        ("corpus", None),
        ("corpus", "x" * 20_000),
        ("val_nats_per_char", "low"),
        ("val_nats_per_char", True),
        ("val_nats_per_char", 1e308),
        ("mixed", []),
    ],
    ids=shown,
)
def test_a_field_out_of_its_range_is_refused(run, key, value):
    rewrite(run / "model.safetensors", lambda tensors, meta: meta.update({key: value}))
    with pytest.raises(CheckpointError, match=r"is damaged \(|names no text of charrnn"):
        read_model(run)


def test_a_field_of_a_later_version_is_passed_over(run):
    rewrite(run / "model.safetensors", lambda tensors, meta: meta.update(more={"a": [1]}))
    assert read_model(run).meta["step"] == 6


@pytest.mark.parametrize("value", JUNK, ids=shown)
@pytest.mark.parametrize(
    "key",
    [
        *("step", "place", "plan", "fingerprint", "epoch", "counting", "origins", "surroundings"),
        *("lift", "metrics_bytes", "samples_bytes", "mixed", "charrnn", "corpus"),
    ],
)
def test_no_field_of_a_checkpoint_is_a_traceback(run, key, value):
    rewrite(newest(run), lambda tensors, meta: meta.update({key: value}))
    with contextlib.suppress(CheckpointError):
        load_newest(run)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("counting", "3"),
        ("counting", 3.0),
        ("counting", 25),
        ("epoch", "1"),
        ("lift", [["0", 1.0]]),
        ("lift", [[0.0, 1.0]]),
        ("lift", [[0, "1"]]),
        ("lift", [[-1, 1.0]]),
        ("lift", {"0": 1.0}),
        ("origins", [["lr", "--lr"]]),
        ("origins", {"lr": "x" * 20_000}),
        ("surroundings", [["cpu", "x"]]),
        ("surroundings", {"cpu": ["x"] * 100}),
        ("surroundings", {"cpu": "x" * 5000}),
        ("metrics_bytes", True),
    ],
    ids=shown,
)
def test_a_field_of_a_checkpoint_is_of_its_type(run, key, value):
    rewrite(newest(run), lambda tensors, meta: meta.update({key: value}))
    with pytest.raises(CheckpointError, match="its record of the training is damaged"):
        load_newest(run)


# Descriptions of texts


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("name", 7),
        ("name", None),
        ("name", "x" * 20_000),
        ("mode", ["lines"]),
        ("dtype", "float64"),
        ("dtype", None),
        ("sha256", "x"),
        ("sha256", 7),
        ("text_sha256", []),
        ("text_sha256", {"train": 7}),
        ("charrnn", 7),
        ("bounds", []),
        ("bounds", {"train": "0"}),
        ("bounds", "floats"),
        ("bounds", "words"),
        ("bounds", "short"),
    ],
    ids=shown,
)
def test_a_field_of_a_texts_description_is_of_its_type(run, key, value):
    [file] = run.glob("corpus/*.json")
    about = json.loads(file.read_text())
    del about["digest"]
    alter = {
        "floats": lambda edges: [float(edge) for edge in edges],
        "words": lambda edges: [str(edge) for edge in edges],
        "short": lambda edges: edges[:1],
    }
    if value in ("floats", "words", "short"):
        value = {name: alter[value](edges) for name, edges in about["bounds"].items()}
    file.write_text(json.dumps(about | {key: value}))
    with pytest.raises(CheckpointError, match=r"is missing or damaged|names no text"):
        open_corpus(run / "corpus", about["fingerprint"])


# Records


@pytest.mark.parametrize(
    "line",
    [
        b'{"step": 1e400, "elapsed_s": 1}',
        b'{"step": 1e3, "elapsed_s": 1}',
        b'{"step": "1", "elapsed_s": 1}',
        b'{"step": -1, "elapsed_s": 1}',
        b'{"step": 1, "elapsed_s": 1e400}',
        b'{"step": 1, "elapsed_s": ' + b"9" * 400 + b"}",
        b'{"step": 1, "elapsed_s": "1"}',
        b'{"step": 1}',
        b'{"event": "eval", "step": 1, "val_nats_per_char": "1"}',
        b'{"event": "eval", "step": 1, "val_nats_per_char": [1]}',
        b'{"event": ["eval"], "step": 1}',
        b'{"step": 1, "elapsed_s": 1, "more": "' + b"x" * (1 << 20) + b'"}',
        b"\xff",
        b"",
    ],
    ids=lambda line: line[:50],
)
def test_a_line_of_metrics_that_makes_no_sense_ends_a_comparison_in_one_line(tmp_path, line):
    good = b'{"event":"eval","step":1,"val_nats_per_char":1,"ngram_nats_per_char":null}\n'
    (tmp_path / "metrics.jsonl").write_bytes(good + line + b"\n" + good)
    with pytest.raises(CheckpointError, match="is damaged; remove that run"):
        read_run(tmp_path)


@pytest.mark.parametrize(
    "change",
    [
        {"from_step": "\x1b"},
        {"from_step": list(range(1000))},
        {"reason": 7},
        {"lr_factor": "x" * 100_000},
        {"step": 1e400},
    ],
    ids=shown,
)
def test_a_page_shows_no_return_that_makes_no_sense(tmp_path, change):
    line = {"event": "rollback", "step": 1, "from_step": 2, "reason": "NaN", "lr_factor": 0.5}
    text = json.dumps(line) + "\n" + json.dumps(line | change) + "\n"
    (tmp_path / "metrics.jsonl").write_text(text)
    metrics = read_metrics(tmp_path / "metrics.jsonl")
    assert metrics.rollbacks == [(1, 2, "NaN", 0.5)] and metrics.unreadable == 1


@pytest.mark.parametrize(
    ("about", "read"),
    [
        ({"command": ["charrnn", 7]}, {}),
        ({"command": "charrnn"}, {}),
        ({"command": ["charrnn"], "origins": ["lr"]}, {"command": ["charrnn"]}),
        ({"origins": {"lr": 7}}, {}),
        ({"origins": {"lr": "--lr"}, "more": 1}, {"origins": {"lr": "--lr"}}),
        ([1], {}),
    ],
    ids=shown,
)
def test_a_page_shows_of_run_json_what_makes_sense(tmp_path, about, read):
    (tmp_path / "run.json").write_text(json.dumps(about))
    assert read_about(tmp_path / "run.json") == read


VARIANT = {"name": "gru", "settings": {}}


@pytest.mark.parametrize(
    "change",
    [
        {"schema": 2},
        {"schema": True},
        {"asked": []},
        {"equal": 7},
        {"equal": None},
        {"parameters": [1e400]},
        {"parameters": ["1"]},
        {"parameters": [-1]},
        {"parameters": 1},
        {"parameters": [1, 2]},
        {"variants": [], "parameters": []},
        {"variants": [[]]},
        {"variants": [VARIANT | {"settings": []}]},
        {"variants": [VARIANT | {"settings": {"model": []}}]},
        {"variants": [VARIANT | {"settings": {"model": {"hidden_size": "x"}}}]},
        {"variants": [VARIANT | {"name": 7}]},
        {"variants": [{"name": "gru"}]},
    ],
    ids=lambda change: str(change)[:50],
)
def test_a_plan_of_a_comparison_that_makes_no_sense_is_refused(tmp_path, change):
    plan = {"schema": 1, "asked": {}, "equal": "", "parameters": [1], "variants": [VARIANT]}
    (tmp_path / PLAN).write_text(json.dumps(plan))
    assert plan_from(read_plan(tmp_path), None, "x", 1, tmp_path).parameters == (1,)
    # JSON has no infinity, but 1e400 is read as one
    text = json.dumps(plan | change).replace("Infinity", "1e400")
    (tmp_path / PLAN).write_text(text)
    with pytest.raises(CheckpointError, match="is damaged"):
        plan_from(read_plan(tmp_path), None, "x", 1, tmp_path)


def test_the_step_of_a_counting_model_is_checked_too(tmp_path):
    run = Path(shutil.copytree(FIXTURES / LINES.replace("lstm", "ngram"), tmp_path / "run"))
    rewrite(run / "model.safetensors", lambda tensors, meta: meta.update(step="1"))
    told = typed("eval", run, "--json")
    assert told.code == 3 and "(step)" in told.err
