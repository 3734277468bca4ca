"""Which cells train: the choice of --backend, by measurement and without."""

import pytest
import torch
from support import needs_kernel

from charrnn.config import resolve
from charrnn.machine import backends
from charrnn.model import kernel

CPU = torch.device("cpu")
CUDA = torch.device("cuda")
LARGE = (50, 50)  # a batch whose work is worth a measurement, with 128 units


def settings(cell="lstm", backend="auto", hidden_size=128, precision="float32"):
    sizes = {"hidden_size": hidden_size, "num_layers": 1, "embedding_size": 8, "dropout": 0.0}
    return resolve([("--", {"cell": cell, "backend": backend, "precision": precision, **sizes})])[0]


def able(device=CPU, **chosen):
    made = settings(**chosen)
    return backends.candidates(made.runtime, made.model.cell, device)


@pytest.fixture
def no_kernel(monkeypatch):
    monkeypatch.setattr(kernel, "is_usable", lambda: False)


@pytest.fixture
def taken(monkeypatch):
    """What a measurement will say: taken(torch=1.0, ...)."""

    def say(**seconds):
        monkeypatch.setattr(
            backends, "_measured", lambda names, *_: {name: seconds[name] for name in names}
        )

    return say


@needs_kernel
@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
def test_with_a_kernel_it_is_tried_first_on_a_cpu(cell):
    assert able(cell=cell) == ("kernel", "torch")


def test_without_a_kernel_torch_is_expected_first_for_the_lstm_and_the_own_cells_for_the_others(
    no_kernel,
):
    assert [able(cell=cell) for cell in ("lstm", "gru", "rnn", "gru-before")] == [
        ("torch", "func"),
        ("func", "torch"),
        ("func", "torch"),
        ("func",),
    ]


def test_on_a_gpu_only_cudnn_is_a_candidate_where_it_has_the_cell():
    assert [able(CUDA, cell=cell) for cell in ("lstm", "gru-before")] == [("torch",), ("func",)]


def test_in_bfloat16_the_kernel_is_the_only_candidate_where_it_has_it_and_is_not_ruled_out(
    monkeypatch,
):
    monkeypatch.setattr(kernel, "has_bfloat16", lambda: True)
    assert able(precision="bfloat16") == able(precision="bfloat16", backend="own") == ("kernel",)
    assert (
        able(precision="bfloat16", backend="torch")
        == able(CUDA, precision="bfloat16")
        == ("torch",)
    )


@pytest.mark.parametrize("device", [CPU, CUDA])
@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
def test_elsewhere_torchs_cells_are_the_only_candidate_in_bfloat16(cell, device, monkeypatch):
    monkeypatch.setattr(kernel, "has_bfloat16", lambda: False)
    assert able(device, cell=cell, precision="bfloat16") == ("torch",)
    chosen = settings(cell, precision="bfloat16")
    assert backends.pick(chosen, 65, LARGE, CPU, recorded="kernel") == (
        "torch",
        f"the only one for {cell} in bfloat16 on cpu",
    )


def test_what_is_asked_for_is_the_only_candidate(no_kernel):
    assert able(backend="own") == ("func",)
    assert able(backend="torch") == ("torch",)


@needs_kernel
def test_own_is_the_kernel_where_there_is_one_and_the_device_is_a_cpu():
    assert able(backend="own") == ("kernel",)
    assert able(CUDA, backend="own") == ("func",)


@pytest.mark.parametrize(
    ("seconds", "chosen"),
    [
        ({"func": 1.0, "torch": 2.0}, "func"),
        (
            {"func": 1.0, "torch": 0.95},
            "func",
        ),  # within the margin: the expected one, whatever the noise
        ({"func": 1.0, "torch": 0.8}, "torch"),
    ],
)
def test_the_faster_one_is_chosen_if_it_is_clearly_faster(no_kernel, taken, seconds, chosen):
    taken(**seconds)
    name, why = backends.pick(settings("gru"), 65, LARGE, CPU)
    assert name == chosen
    slower = max(seconds.values())
    faster = min(seconds.values())
    assert chosen != min(seconds, key=seconds.get) or f"measured: {slower / faster:.1f}x" in why


def test_a_resumed_training_keeps_its_backend_without_measuring(no_kernel, taken):
    taken(func=1.0, torch=9.0)
    assert backends.pick(settings("gru"), 65, LARGE, CPU, recorded="torch") == (
        "torch",
        "as before",
    )


def test_a_recorded_backend_that_cannot_run_here_is_chosen_anew(no_kernel, taken):
    taken(func=1.0, torch=9.0)
    assert backends.pick(settings("gru"), 65, LARGE, CPU, recorded="kernel")[0] == "func"


def test_what_is_asked_for_wins_over_what_was_recorded(no_kernel):
    assert backends.pick(settings("gru", backend="torch"), 65, LARGE, CPU, recorded="func") == (
        "torch",
        "as asked",
    )


def test_small_trainings_are_not_measured(no_kernel, taken):
    taken()  # would be a KeyError
    assert backends.pick(settings("gru", hidden_size=8), 65, (4, 16), CPU)[0] == "func"


def test_the_measurement_runs_every_candidate_and_leaves_the_dice_as_they_were(no_kernel):
    torch.manual_seed(5)
    before = torch.get_rng_state()
    chosen = settings("gru", hidden_size=16)
    measured = backends._measured(("func", "torch"), chosen.runtime, chosen.model, 7, (2, 3), CPU)
    assert measured.keys() == {"func", "torch"}
    assert all(0 < seconds < 60 for seconds in measured.values())
    assert torch.equal(torch.get_rng_state(), before)


def test_the_choice_is_said_and_recorded(charrnn, tmp_path):
    done = charrnn(
        "train",
        "names",
        "--config",
        "tiny",
        "--steps",
        "2",
        "--run",
        "r",
        "--verbose",
        "--threads",
        "1",
    )
    assert done.returncode == 0, done.stderr
    expected = backends.expected_backend(settings("gru"), CPU)  # the cell of tiny
    assert backends.words(expected) in done.stderr
    assert "too small to measure" in done.stderr
    from charrnn.training.checkpoint import load_newest

    checkpoint, _ = load_newest(tmp_path / "r")
    assert checkpoint.meta["surroundings"]["backend"] == expected
