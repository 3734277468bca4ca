"""Training in bfloat16: close to float32, state and weights in float32, refused where it lacks."""

import math

import pytest
import torch
from support import FEW, Killed, Watcher
from torch.nn import functional as F

from charrnn.config import ModelSettings, RuntimeSettings, Settings
from charrnn.errors import SettingsError
from charrnn.machine import backends, runtime
from charrnn.model import charmodel, kernel
from charrnn.model.charmodel import CharModel
from charrnn.modelfile import read_model
from charrnn.text.batches import Batch
from charrnn.training.checkpoint import load_newest
from charrnn.training.optim import make_optimizer
from charrnn.training.session import Request, train
from charrnn.training.step import TrainStep

CPU = torch.device("cpu")
CUDA = torch.device("cuda")
LACKING = runtime._lacking("bfloat16", CPU)
kernel_bfloat16 = pytest.mark.skipif(
    not kernel.has_bfloat16(), reason="no kernel or no AVX512-BF16 here"
)
needs_bfloat16 = pytest.mark.skipif(bool(LACKING), reason=f"bfloat16 needs {LACKING}")
SMALL = {
    "hidden_size": 16,
    "embedding_size": 8,
    "num_layers": 1,
    "batch_size": 8,
    "lr": 0.02,
    "threads": 1,
    "device": "cpu",
}
V = 11


@pytest.fixture(autouse=True)
def _one_thread(one_thread):
    torch.manual_seed(0)


@pytest.fixture
def few(tmp_path):
    (tmp_path / "few.txt").write_text("".join(f"{name}\n" for name in FEW))
    return str(tmp_path / "few.txt")


def pair(cell, backend="torch", **more):
    """The same weights in float32 and bfloat16."""
    sized = {
        "cell": cell,
        "hidden_size": 24,
        "num_layers": 2,
        "embedding_size": 16,
        "dropout": 0.0,
    } | more
    made = [
        CharModel(ModelSettings(**sized), V, backend, precision)
        for precision in ("float32", "bfloat16")
    ]
    made[1].load_state_dict(made[0].state_dict())
    return made


def relative(rounded, wanted):
    return float((rounded - wanted).detach().norm() / wanted.detach().norm())


@needs_bfloat16
@pytest.mark.parametrize("skip", ["none", "residual", "dense"])
@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
def test_outputs_and_gradients_are_those_of_float32_to_a_hundredth(cell, skip):
    """bfloat16 keeps 8 bits: one rounding is up to 0.4 %.

    Measured: 0.2 to 0.7 % of outputs, 0.2 to 1.2 % of gradients.
    """
    ids = torch.randint(V, (5, 9))
    measured = []
    models = pair(cell, skip=skip)
    state = tuple(torch.randn_like(part) * 0.5 for part in models[0].zero_state(5))
    for model in models:
        logits, after = model(ids, state)
        F.cross_entropy(logits.flatten(0, 1), ids.flatten()).backward()
        measured.append([logits, *after, *(parameter.grad for parameter in model.parameters())])
    for number, (wanted, rounded) in enumerate(zip(*measured, strict=True)):
        assert rounded.dtype == torch.float32
        assert 0 < relative(rounded, wanted) < (0.01 if number <= len(state) else 0.02)


@needs_bfloat16
def test_small_changes_of_weights_add_up():
    """They lie in float32: 200 steps of 1e-5 move a weight near 1; bfloat16 would not."""
    model = pair("lstm")[1]
    settings = (
        Settings()
        .with_values("model", dropout=0.0)
        .with_values("training", optimizer="adamw", clip=0.0)
    )
    with torch.no_grad():
        model.head.bias.fill_(1.0)
    step = TrainStep(model, make_optimizer(model, settings.training), settings)
    text = torch.randint(V, (5, 10))
    for number in range(200):
        done = step(Batch(text[:, :-1], text[:, 1:], True), model.zero_state(5), 1e-5, number)
    assert 1e-4 < (model.head.bias.detach() - 1).abs().max() < 2.1e-3
    assert all(value.dtype == torch.float32 for value in (*model.tensors().values(), *done.state))


@needs_bfloat16
@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_a_training_learns_as_much_as_in_float32(few, tmp_path, cell):
    scores = {}
    for precision in ("float32", "bfloat16"):
        chosen = SMALL | {
            "steps": 200,
            "cell": cell,
            "backend": "torch",
            "precision": precision,
            "patience": 0,
            "dropout": 0.0,
        }
        _, outcome = train(Request(few, (("--", chosen),), run=tmp_path / precision), Watcher())
        scores[precision] = outcome.place.train_nats
    assert scores["bfloat16"] < 0.6 * math.log(24)  # of 24 characters; untrained it is all of it
    assert scores["bfloat16"] == pytest.approx(scores["float32"], rel=0.05)


def killed_and_resumed(folder, chosen):
    """Check that a run killed and resumed, in folder / "b", equals one that was not, to the bit.

    Returns its watcher.
    """
    request = Request(str(folder / "text.txt"), (("--", chosen),), run=folder / "a")
    _, straight = train(request, Watcher())
    with pytest.raises(Killed):
        train(Request(request.corpus, request.layers, run=folder / "b"), Watcher(14))
    watcher = Watcher()
    _, resumed = train(Request(run=folder / "b", resume=True), watcher)
    assert resumed.weights_sha256 == straight.weights_sha256
    assert not [said for said in watcher.said if "not exact" in said]
    return watcher


@needs_bfloat16
def test_a_resumed_training_is_the_same_to_the_bit_and_its_files_are_float32(tmp_path):
    (tmp_path / "text.txt").write_text("Some words in a line.\nAnd again, others of them.\n" * 8)
    chosen = SMALL | {
        "steps": 30,
        "save_every": "4",
        "dropout": 0.4,
        "seq_length": 10,
        "mode": "stream",
        "batch_size": 3,
        "backend": "torch",
        "precision": "bfloat16",
        "num_layers": 2,
    }
    watcher = killed_and_resumed(tmp_path, chosen)
    assert all(
        value.dtype.name == "float32" for value in read_model(tmp_path / "b").tensors.values()
    )
    checkpoint, _ = load_newest(tmp_path / "b")
    assert checkpoint.meta["surroundings"]["precision"] == "bfloat16"
    assert checkpoint.meta["surroundings"]["backend"] == "torch"
    assert {part.dtype.name for part in checkpoint.state} == {"float32"}
    _, changed = train(
        Request(
            None, (("--", {"steps": 34, "precision": "float32"}),), run=tmp_path / "b", resume=True
        ),
        watcher,
    )
    assert changed.place.step == 34
    assert any("precision bfloat16 -> float32" in said for said in watcher.said)


@kernel_bfloat16
@pytest.mark.parametrize("skip", ["none", "dense"])
@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru", "gru-before"])
def test_the_kernels_scores_and_gradients_are_those_of_float32_to_a_hundredth(cell, skip):
    ids = torch.randint(V, (5, 9))
    measured = []
    models = pair(cell, "kernel", skip=skip)
    state = tuple(torch.randn_like(part) * 0.5 for part in models[0].zero_state(5))
    for model in models:
        nats, after = model.nats(ids, ids, state)
        nats.backward()
        measured.append([nats, *after, *(parameter.grad for parameter in model.parameters())])
    for wanted, rounded in zip(*measured, strict=True):
        assert rounded.dtype == wanted.dtype
        assert 0 < relative(rounded, wanted) < 0.02


@kernel_bfloat16
def test_the_kernel_scores_in_float32():
    """Only training rounds, so that a model's score is the same wherever it was trained."""
    exact, rounded = (model.eval() for model in pair("gru", "kernel"))
    ids = torch.randint(V, (5, 9))
    assert (
        exact.nats(ids, ids, exact.zero_state(5))[0]
        == rounded.nats(ids, ids, rounded.zero_state(5))[0]
    )


@kernel_bfloat16
def test_a_training_by_default_takes_it_in_the_kernel_and_resumes_to_the_bit(tmp_path):
    (tmp_path / "text.txt").write_text("Some words in a line.\nAnd again, others of them.\n" * 8)
    chosen = SMALL | {
        "steps": 30,
        "save_every": "4",
        "dropout": 0.4,
        "seq_length": 10,
        "mode": "stream",
        "batch_size": 3,
    }
    killed_and_resumed(tmp_path, chosen)
    on = load_newest(tmp_path / "b")[0].meta["surroundings"]
    assert (on["backend"], on["precision"]) == ("kernel", "bfloat16")


def test_what_auto_means_follows_from_the_kernel_and_the_processor(monkeypatch):
    means = backends.precision_of
    for is_here in (True, False):
        monkeypatch.setattr(kernel, "has_bfloat16", lambda is_here=is_here: is_here)
        auto = [means(RuntimeSettings(), backend) for backend in ("kernel", "func", "torch")]
        assert auto == ["bfloat16" if is_here else "float32", "float32", "float32"]
        assert means(RuntimeSettings(precision="float32"), "kernel") == "float32"


@kernel_bfloat16
@pytest.mark.parametrize("lost", ["processor", "kernel"])
def test_a_run_made_with_it_goes_on_where_it_is_not_and_says_so(tmp_path, monkeypatch, few, lost):
    train(Request(few, (("--", SMALL | {"steps": 4}),), run=tmp_path / "run"), Watcher())
    monkeypatch.setattr(kernel, "has_bfloat16", lambda: False)
    if lost == "kernel":
        monkeypatch.setattr(kernel, "is_usable", lambda: False)
    watcher = Watcher()
    _, outcome = train(
        Request(None, (("--", {"steps": 6}),), run=tmp_path / "run", resume=True), watcher
    )
    [note] = [said for said in watcher.said if "not exact to the bit" in said]
    assert "precision bfloat16 -> float32" in note
    assert outcome.precision == "float32"


@kernel_bfloat16
def test_asked_for_on_a_cpu_it_is_the_kernels(tmp_path, monkeypatch, few):
    """Whatever torch can do there."""
    monkeypatch.setattr(runtime, "_cpu_has_bfloat16", lambda: False)
    _, outcome = train(
        Request(few, (("--", SMALL | {"steps": 2, "precision": "bfloat16"}),), run=tmp_path / "a"),
        Watcher(),
    )
    assert outcome.precision == "bfloat16"
    assert load_newest(tmp_path / "a")[0].meta["surroundings"]["backend"] == "kernel"


@kernel_bfloat16
@pytest.mark.parametrize("more", [{"checkpoint_every_chars": 7}, {"watch": True}])
def test_pieces_and_watching_change_no_training(tmp_path, more):
    """Pieces add gradients in another order: another bfloat16 differs by 1 in 256."""
    (tmp_path / "text.txt").write_text("Some words in a line.\nAnd again, others of them.\n" * 8)
    chosen = SMALL | {
        "steps": 12,
        "seq_length": 20,
        "mode": "stream",
        "batch_size": 3,
        "dropout": 0.0,
        "lr": 0.002,
    }
    measured = []
    for name, each in (("a", {}), ("b", more)):
        _, outcome = train(
            Request(str(tmp_path / "text.txt"), (("--", chosen | each),), run=tmp_path / name),
            Watcher(),
        )
        measured.append(outcome)
    assert measured[0].precision == "bfloat16"
    if "watch" in more:
        assert measured[0].weights_sha256 == measured[1].weights_sha256
    else:
        assert measured[1].place.val_nats == pytest.approx(measured[0].place.val_nats, rel=1e-3)


def test_float32_does_not_go_that_way(monkeypatch):
    monkeypatch.setattr(charmodel, "run_torch_as", pytest.fail)
    model = CharModel(ModelSettings(hidden_size=4, num_layers=1, embedding_size=3), V, "torch")
    assert model(torch.zeros(1, 2, dtype=torch.long), model.zero_state(1))[0].dtype == torch.float32


@pytest.mark.parametrize(("backend", "cell"), [("own", "gru"), ("auto", "gru-before")])
def test_it_is_refused_for_own_cells_that_do_not_have_it(backend, cell, monkeypatch):
    monkeypatch.setattr(kernel, "has_bfloat16", lambda: False)
    with pytest.raises(
        SettingsError,
        match="of the own cells needs the compiled kernel and a processor with AVX512-BF16",
    ):
        backends.candidates(RuntimeSettings(precision="bfloat16", backend=backend), cell, CPU)


def refusal(precision, device="cpu"):
    with pytest.raises(SettingsError) as caught:
        runtime.prepare(RuntimeSettings(precision=precision, device=device, backend="torch"))
    return str(caught.value)


def test_a_processor_without_it_is_told_what_it_lacks(monkeypatch):
    monkeypatch.setattr(runtime, "_cpu_has_bfloat16", lambda: False)
    assert refusal("bfloat16") == (
        "--precision bfloat16 needs a CUDA device or a processor with AVX512-BF16 or AMX, "
        "and this run's cpu has none of "
        "them; use float32"
    )
    assert (
        refusal("tf32")
        == "--precision tf32 needs a CUDA device, and this run is on cpu; use float32"
    )


def test_a_torch_that_cannot_do_it_is_told_in_its_own_words(monkeypatch):
    def refuse(*_):
        raise RuntimeError("mkldnn_rnn: no bf16\nat line 7")

    monkeypatch.setattr(runtime, "_cpu_has_bfloat16", lambda: True)
    monkeypatch.setattr(torch, "lstm", refuse)
    assert (
        "a torch that runs LSTMs in it on this cpu (mkldnn_rnn: no bf16); use float32"
        in refusal("bfloat16")
    )


@pytest.mark.parametrize("precision", ["tf32", "bfloat16"])
def test_an_old_gpu_is_told_what_it_lacks(monkeypatch, precision):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (7, 5))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "Tesla T4")
    assert (
        runtime._lacking(precision, CUDA) == "a GPU of compute capability 8.0, and Tesla T4 has 7.5"
    )
    assert runtime._lacking("float32", CUDA) == ""


@pytest.mark.parametrize(
    ("is_training", "message"),
    [
        (
            True,
            "batches of 8 x 6 do not fit the memory of cpu; the last checkpoint is kept: "
            "go on with --precision bfloat16",
        ),
        (
            False,
            "validation does not fit the memory of cpu: try --precision bfloat16, or a",
        ),
    ],
)
def test_memory_that_is_too_small_is_one_line_at_a_step_and_at_an_evaluation(
    few, tmp_path, monkeypatch, is_training, message
):
    original = CharModel.nats

    def full(model, *rest):
        if model.training == is_training:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return original(model, *rest)

    monkeypatch.setattr(CharModel, "nats", full)
    with pytest.raises(SettingsError, match=message):
        train(Request(few, (("--", SMALL | {"steps": 2}),), run=tmp_path / "run"), Watcher())
