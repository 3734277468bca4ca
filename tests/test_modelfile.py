"""Model files: what does not fit together is refused before anything is computed with it."""

import copy
import os
from pathlib import Path

import numpy as np
import pytest

from charrnn.config import ModelSettings, Settings
from charrnn.errors import CheckpointError
from charrnn.layout import expected_shapes
from charrnn.modelfile import (
    checkpoint_files,
    model_meta,
    model_path,
    read_model,
    sizes,
    step_of,
)
from charrnn.newest import newest_run
from charrnn.storage import write_tensors
from charrnn.text.vocabulary import Vocabulary

VOCABULARY = Vocabulary("char", (10, 97, 0xE9, 0x1F600))
SETTINGS = Settings().with_values(
    "model", cell="gru", hidden_size=3, num_layers=2, embedding_size=2
)


def weights(size=4):
    shapes = expected_shapes(SETTINGS.model, size)
    return {
        name: np.full(shape, index + 0.5, np.float32)
        for index, (name, shape) in enumerate(shapes.items())
    }


def meta_of(kind="charrnn-model", **changes):
    return model_meta(kind, SETTINGS, VOCABULARY, "lines", 0) | changes


@pytest.fixture
def refusal(tmp_path):
    """tensors, meta -> the message about a file of them, with a right SHA-256."""

    def message(tensors, meta):
        write_tensors(tmp_path / "x.safetensors", tensors, meta)
        with pytest.raises(CheckpointError) as caught:
            read_model(tmp_path / "x.safetensors")
        assert "\n" not in str(caught.value)
        assert caught.value.exit_code == 3
        return str(caught.value)

    return message


def write_here(path, kind="charrnn-model", mtime=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    prefix = "model." if kind == "charrnn-checkpoint" else ""
    write_tensors(path, {prefix + name: value for name, value in weights().items()}, meta_of(kind))
    if mtime is not None:
        os.utime(path, ns=(mtime, mtime))
    return path


# Whole files


def test_a_model_comes_back_as_it_was_written(tmp_path):
    write_tensors(tmp_path / "m", weights(), meta_of(best=1.5))
    model = read_model(tmp_path / "m")
    assert (model.path, model.settings, model.vocabulary, model.mode, model.start) == (
        tmp_path / "m",
        SETTINGS.with_values("text", rare=0),  # where nobody decided, no character is bytes
        VOCABULARY,
        "lines",
        0,
    )
    assert model.meta["best"] == 1.5
    assert model.tensors.keys() == weights().keys()
    assert all(np.array_equal(model.tensors[name], value) for name, value in weights().items())


def test_a_checkpoint_gives_the_model_in_it_and_leaves_the_rest(tmp_path):
    tensors = {"model." + name: value for name, value in weights().items()} | {
        "optimizer.step": np.array([3], np.int64)
    }
    write_tensors(tmp_path / "c", tensors, meta_of("charrnn-checkpoint"))
    assert read_model(tmp_path / "c").tensors.keys() == weights().keys()


# Tensors that do not fit


def without(name):
    tensors = weights()
    del tensors[name]
    return tensors


@pytest.mark.parametrize(
    ("tensors", "names"),
    [
        (weights() | {"head.bias": np.zeros(5, np.float32)}, "head.bias"),
        (weights() | {"head.weight": np.zeros((3, 4), np.float32)}, "head.weight"),
        (
            weights() | {"recurrent.weight_ih_l1": np.zeros((9, 2), np.float32)},
            "recurrent.weight_ih_l1",
        ),
        (weights() | {"head.bias": np.zeros((4, 1), np.float32)}, "head.bias"),
        (without("head.bias"), "head.bias"),
        (without("recurrent.bias_hh_l1"), "recurrent.bias_hh_l1"),
        (weights() | {"extra\x1b": np.zeros(1, np.float32)}, "extra\\x1b"),
        (
            weights() | {"recurrent.weight_ih_l2": np.zeros((9, 3), np.float32)},
            "recurrent.weight_ih_l2",
        ),
        ({}, "embedding.weight"),
    ],
)
def test_missing_extra_and_misshapen_tensors_are_named(tensors, names, refusal):
    assert f"{names} does not fit the settings" in refusal(tensors, meta_of())


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", ["embedding.weight", "head.bias"])
def test_weights_that_are_not_finite_are_refused(name, value, refusal):
    tensors = weights()
    tensors[name].flat[-1] = value
    assert "not finite float32" in refusal(tensors, meta_of())


@pytest.mark.parametrize("kind", [np.float16, np.float64, np.int32, np.uint8])
def test_weights_of_another_type_are_refused(kind, refusal):
    tensors = weights() | {"head.bias": np.zeros(4, kind)}
    assert "not finite float32" in refusal(tensors, meta_of())


def test_a_model_file_with_the_names_of_a_checkpoint_is_refused(refusal):
    assert "does not fit" in refusal(
        {"model." + name: value for name, value in weights().items()}, meta_of()
    )


# Settings and vocabularies that make no sense


def changed(section, **values):
    settings = copy.deepcopy(SETTINGS.to_dict())
    settings[section] |= values
    return settings


@pytest.mark.parametrize(
    "change",
    [
        {"settings": changed("model", hidden_size=None)},
        {"settings": changed("model", hidden_size=10**9)},
        {"settings": changed("model", num_layers=10**30)},
        {"settings": changed("model", hidden_size=-3)},
        {"settings": changed("model", hidden_size=3.0)},
        {"settings": changed("model", hidden_size=[])},
        {"settings": changed("model", hidden_size=True)},
        {"settings": changed("model", cell="transformer")},
        {"settings": changed("model", colour="red")},
        {"settings": changed("model", tie_weights=True)},
        {"settings": changed("model", tie_weights=True, embedding_size=3, skip="dense")},
        {"settings": changed("training", lr=-1)},
        {"settings": {"model": 3}},
        {"settings": {"nothing": {}}},
        {"settings": {}},
        {"settings": []},
        {"settings": None},
        {"settings": "x"},
        {"vocabulary": {"unit": "char", "symbols": [97, 10, 98, 99]}},
        {"vocabulary": {"unit": "char", "symbols": [10, 97, 97, 98]}},
        {"vocabulary": {"unit": "char", "symbols": [10, 97, 98, 0xD800]}},
        {"vocabulary": {"unit": "char", "symbols": [10, 97, 98, 0x110000]}},
        {"vocabulary": {"unit": "byte", "symbols": [10, 97, 98, 256]}},
        {"vocabulary": {"unit": "byte", "symbols": list(range(257))}},
        {"vocabulary": {"unit": "char", "symbols": []}},
        {"vocabulary": {"unit": "char"}},
        {"vocabulary": {"unit": {}, "symbols": [10]}},
        {"vocabulary": {"unit": "char", "symbols": [9, 11, 12, 13]}},
        {"vocabulary": []},
        {"vocabulary": None},
        {"mode": "words"},
        {"mode": ["lines"]},
        {"start": 4},
        {"start": -1},
        {"start": 0.0},
        {"start": True},
        {"start": None},
    ],
    ids=lambda change: str(change)[-60:],
)
def test_settings_and_vocabularies_that_make_no_sense_are_refused(change, refusal):
    assert "make no sense" in refusal(weights(), meta_of() | change)


@pytest.mark.parametrize("key", ["settings", "vocabulary", "mode", "start"])
def test_missing_metadata_is_refused(key, refusal):
    meta = meta_of()
    del meta[key]
    assert "make no sense" in refusal(weights(), meta)


def test_sizes_that_would_need_terabytes_are_refused_without_memory(refusal):
    settings = changed(
        "model", hidden_size=65536, num_layers=64, embedding_size=65536, skip="dense"
    )
    assert "does not fit the settings" in refusal(weights(), meta_of() | {"settings": settings})


def test_another_vocabulary_size_than_the_weights_is_refused(refusal):
    assert "embedding.weight does not fit" in refusal(weights(size=5), meta_of())


def test_a_stream_model_needs_no_newline(tmp_path):
    vocabulary = Vocabulary("char", (97, 98))
    write_tensors(
        tmp_path / "m",
        weights(size=2),
        model_meta("charrnn-model", SETTINGS, vocabulary, "stream", 1),
    )
    assert read_model(tmp_path / "m").vocabulary.newline is None


def test_a_newer_format_is_refused_with_both_versions(refusal):
    message = refusal(weights(), meta_of(format=99, charrnn="7.0"))
    assert "format 99, written by charrnn 7.0" in message
    assert "up to format 4" in message


# Shapes


def test_shapes_of_a_dense_lstm_by_hand():
    settings = ModelSettings(
        cell="lstm", hidden_size=5, num_layers=2, embedding_size=3, skip="dense"
    )
    assert expected_shapes(settings, 7) == {
        "embedding.weight": (7, 3),
        "recurrent.weight_ih_l0": (20, 3),
        "recurrent.weight_hh_l0": (20, 5),
        "recurrent.bias_ih_l0": (20,),
        "recurrent.bias_hh_l0": (20,),
        "recurrent.weight_ih_l1": (20, 8),
        "recurrent.weight_hh_l1": (20, 5),
        "recurrent.bias_ih_l1": (20,),
        "recurrent.bias_hh_l1": (20,),
        "head.weight": (7, 13),
        "head.bias": (7,),
    }


def test_sizes_left_open_are_a_mistake_of_ours():
    with pytest.raises(ValueError, match="every size"):
        sizes(ModelSettings(hidden_size=3, num_layers=1))


# Where models lie


def test_a_run_directory_gives_its_best_model(tmp_path):
    write_here(tmp_path / "run/checkpoints/step-00000005.safetensors", "charrnn-checkpoint")
    best = write_here(tmp_path / "run/model.safetensors")
    assert model_path(tmp_path / "run") == best
    assert read_model(tmp_path / "run").path == best


def test_a_run_directory_without_a_best_model_gives_its_newest_checkpoint(tmp_path):
    for step in (9, 10, 2):
        write_here(tmp_path / f"run/checkpoints/step-{step:08d}.safetensors", "charrnn-checkpoint")
    newest = tmp_path / "run/checkpoints/step-00000010.safetensors"
    assert read_model(tmp_path / "run").path == newest
    assert read_model(tmp_path / "run/checkpoints").path == newest


@pytest.mark.parametrize(
    "name", ["run/model.safetensors", "run/checkpoints/step-00000005.safetensors", "elsewhere.bin"]
)
def test_a_file_is_taken_by_its_name(name, tmp_path):
    kind = "charrnn-checkpoint" if "step" in name else "charrnn-model"
    assert read_model(write_here(tmp_path / name, kind)).path == tmp_path / name


def test_a_model_knows_the_run_it_lies_in(tmp_path):
    inside = [
        write_here(tmp_path / "run/model.safetensors"),
        write_here(tmp_path / "run/checkpoints/step-00000005.safetensors", "charrnn-checkpoint"),
    ]
    assert [read_model(path).run for path in inside] == [None, None]
    (tmp_path / "run/corpus").mkdir()
    assert [read_model(path).run for path in inside] == [tmp_path / "run"] * 2


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("none", "no run or checkpoint"),
        ("", "holds no model yet"),
        ("n" * 300, "File name too long"),
        ("a\0b", "no run or checkpoint"),
        ("\x1b", "\\x1b"),
    ],
)
def test_what_is_no_run_is_refused(name, says, tmp_path):
    with pytest.raises(CheckpointError) as caught:
        read_model(tmp_path / name)
    assert says in str(caught.value)
    assert "\x1b" not in str(caught.value)


def test_a_fifo_or_device_as_run_is_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/zero")):
        with pytest.raises(CheckpointError, match="is not a regular file"):
            read_model(path)


def test_checkpoints_are_listed_by_step_oldest_first_and_nothing_else_is(tmp_path):
    for name in (
        "step-00000010",
        "step-00000009",
        "step-100000000",
        "step-99999999",
        "step-1",
        "step-xxxxxxxx",
        ".step-00000011",
        "step-00000012.tmp",
    ):
        (tmp_path / f"{name}.safetensors").touch()
    (tmp_path / ".step-00000099.safetensors.tmp").touch()
    checkpoints = checkpoint_files(tmp_path)
    assert [path.name for path in checkpoints] == [
        "step-00000009.safetensors",
        "step-00000010.safetensors",
        "step-99999999.safetensors",
        "step-100000000.safetensors",
    ]
    assert [step_of(path) for path in checkpoints] == [9, 10, 99_999_999, 100_000_000]


def test_a_missing_folder_has_no_checkpoints(tmp_path):
    assert checkpoint_files(tmp_path / "none") == []


def test_the_newest_run_is_the_one_written_to_last(tmp_path):
    write_here(tmp_path / "a/model.safetensors", mtime=3_000)
    write_here(tmp_path / "b/model.safetensors", mtime=2_500)
    write_here(
        tmp_path / "b/checkpoints/step-00000001.safetensors", "charrnn-checkpoint", mtime=4_000
    )
    write_here(tmp_path / "c/model.safetensors", mtime=2_000)
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    assert newest_run(tmp_path) == tmp_path / "b"


@pytest.mark.parametrize("made", [None, "dir", "file"])
def test_no_run_is_an_error_that_says_how_to_make_one(made, tmp_path):
    if made == "dir":
        (tmp_path / "runs" / "empty").mkdir(parents=True)
    elif made == "file":
        (tmp_path / "runs").touch()
    with pytest.raises(CheckpointError, match="train one first: charrnn train names"):
        newest_run(tmp_path / "runs")


def test_a_name_that_is_no_path_is_looked_for_under_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = Path("runs", "band")
    run.mkdir(parents=True)
    write_tensors(run / "model.safetensors", weights(), meta_of())
    assert read_model(Path("band")).path == run / "model.safetensors"


def test_a_path_here_comes_before_a_name_under_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for run in (Path("band"), Path("runs", "band")):
        run.mkdir(parents=True)
        write_tensors(run / "model.safetensors", weights(), meta_of())
    assert read_model(Path("band")).path == Path("band", "model.safetensors")
