"""TensorBoard and Weights & Biases: what is logged, and that a resume goes on in the same curves.

TensorBoard's files are read back by its own reader. W&B is a stand-in for the three things of its
public interface that are used: wandb.init, Run.log with Run.summary, and Run.finish.
"""

import sys
from types import ModuleType

import pytest
from support import FEW
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import charrnn
from charrnn.cli.logs import check_logs, log_callbacks
from charrnn.cli.train import train as command
from charrnn.errors import DivergedError, SettingsError, StorageError
from charrnn.events import Start
from charrnn.modelfile import read_model
from charrnn.training.loop import Trainer

LINES = [f"{first}{second.lower()}" for first in FEW[:9] for second in FEW[:7]]
SMALL = {
    "hidden_size": 7,
    "num_layers": 1,
    "batch_size": 5,
    "seed": 3,
    "eval_every": "15",
    "threads": 1,
}


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def trained(**more):
    return charrnn.train(LINES, **{"steps": 30, "run": "mine", **SMALL, **more})


def scalars(name="train/nats_per_char", place="tb/mine"):
    reader = EventAccumulator(place)
    reader.Reload()
    return {event.step: event.value for event in reader.Scalars(name)}


class StopAt:
    def __init__(self, step):
        self.step = step

    def on_step(self, event):
        if event.step == self.step:
            raise charrnn.StopTraining


def test_tensorboard_reads_the_scores_of_a_training():
    run = trained(callbacks=[charrnn.callbacks.TensorBoard("tb")])
    learnt = run.history.steps["train_nats_per_char"]
    expected = {step: pytest.approx(learnt[step - 1]) for step in (10, 20, 30)}  # float32
    assert scalars() == expected
    evaluations = run.history.evaluations
    pairs = zip(evaluations["step"], evaluations["val_nats_per_char"], strict=True)
    assert scalars("val/nats_per_char") == {step: pytest.approx(nats) for step, nats in pairs}


def test_tensorboard_reads_settings_and_samples():
    trained(callbacks=[charrnn.callbacks.TensorBoard("tb")])
    reader = EventAccumulator("tb/mine")
    reader.Reload()
    texts = {
        name: reader.Tensors(f"{name}/text_summary")[-1].tensor_proto.string_val[0].decode()
        for name in ("settings", "samples")
    }
    assert "    hidden_size = 7\n" in texts["settings"]
    assert texts["samples"].startswith("    ")


def test_a_resume_goes_on_in_the_curve():
    trained(callbacks=[charrnn.callbacks.TensorBoard("tb"), StopAt(15)])
    charrnn.train(run="mine", resume=True, callbacks=[charrnn.callbacks.TensorBoard("tb")])
    assert sorted(scalars()) == [10, 20, 30]


def test_what_comes_again_after_a_kill_is_there_once():
    board = charrnn.callbacks.TensorBoard("tb")
    trained(callbacks=[board, StopAt(15)])
    left = charrnn.callbacks.TensorBoard("tb")  # a training that was killed at step 20
    left.on_start(Start(charrnn.open_run("mine").path, {}, 15))
    left._writer.add_scalar("train/nats_per_char", 7.0, 20)
    left._writer.close()
    charrnn.train(run="mine", resume=True, callbacks=[charrnn.callbacks.TensorBoard("tb")])
    reader = EventAccumulator("tb/mine")
    reader.Reload()
    assert [event.step for event in reader.Scalars("train/nats_per_char")] == [10, 20, 30]


def test_a_training_that_starts_over_has_a_new_curve():
    trained(callbacks=[charrnn.callbacks.TensorBoard("tb")])
    trained(steps=10, overwrite=True, callbacks=[charrnn.callbacks.TensorBoard("tb")])
    assert sorted(scalars()) == [10]


class Wandb(ModuleType):
    """Stands for the package wandb."""

    def __init__(self):
        super().__init__("wandb")
        self.runs = []

    def init(self, **options):
        self.runs.append(WandbRun(options))
        return self.runs[-1]


class WandbRun:
    def __init__(self, options):
        self.options = options
        self.logged = []
        self.summary = {}
        self.exit_code = None

    def log(self, values, step):
        self.logged.append((step, values))

    def finish(self, exit_code):
        self.exit_code = exit_code


@pytest.fixture
def wandb(monkeypatch):
    module = Wandb()
    monkeypatch.setitem(sys.modules, "wandb", module)
    return module


def test_wandb_is_told_settings_scores_and_the_end(wandb):
    run = trained(callbacks=[charrnn.callbacks.WandB(project="few", config={"mine": 1})])
    [logged] = wandb.runs
    assert (logged.options["project"], logged.options["name"]) == ("few", "mine")
    assert (logged.options["config"]["hidden_size"], logged.options["config"]["mine"]) == (7, 1)
    steps = [step for step, values in logged.logged if "train/nats_per_char" in values]
    assert steps == [10, 20, 30]
    assert logged.summary == {"best_val_nats_per_char": run.score.nats_per_char}
    assert logged.exit_code == 0


def test_wandb_gets_the_same_run_after_a_resume(wandb):
    trained(callbacks=[charrnn.callbacks.WandB(), StopAt(15)])
    charrnn.train(run="mine", resume=True, callbacks=[charrnn.callbacks.WandB()])
    first, second = wandb.runs
    assert first.options["id"] == second.options["id"]
    assert second.options["resume"] == "allow"


def test_wandb_gets_a_new_run_for_a_training_that_starts_over(wandb):
    trained(callbacks=[charrnn.callbacks.WandB()])
    trained(overwrite=True, callbacks=[charrnn.callbacks.WandB()])
    first, second = wandb.runs
    assert first.options["id"] != second.options["id"]


def test_a_training_that_diverges_ends_as_failed(wandb, monkeypatch):
    ends = []

    class Ended:
        def on_end(self, event):
            ends.append(event.reason)

    def diverge(trainer):
        raise DivergedError("weights are not finite")

    monkeypatch.setattr(Trainer, "fit", diverge)
    with pytest.raises(DivergedError):
        trained(callbacks=[charrnn.callbacks.WandB(), Ended()])
    assert wandb.runs[0].exit_code == 1
    assert ends == ["diverged"]


def test_any_other_exception_ends_as_failed(monkeypatch):
    ends = []

    class Ended:
        def on_end(self, event):
            ends.append(event.reason)

    def fail(trainer):
        raise StorageError("no room")

    monkeypatch.setattr(Trainer, "fit", fail)
    with pytest.raises(StorageError):
        trained(callbacks=[Ended()])
    assert ends == ["failed"]


def weights(place):
    return {name: value.tobytes() for name, value in read_model(place).tensors.items()}


def test_the_command_logs_and_leaves_the_same_weights(folder):
    (folder / "few.txt").write_text("".join(f"{line}\n" for line in LINES))
    options = {**{key: str(value) for key, value in SMALL.items()}, "steps": "30", "quiet": True}
    plain = folder / "plain"
    mine = folder / "mine"
    assert command(corpus=["few.txt"], run=plain, **options) == 0
    assert command(corpus=["few.txt"], run=mine, log=["tensorboard:tb"], **options) == 0
    assert sorted(scalars()) == [10, 20, 30]
    assert weights(plain) == weights(mine)


@pytest.mark.parametrize("word", ["tensorboard", "tensorboard:", "mlflow:x", ":x", ""])
def test_a_log_that_is_none_is_refused(word):
    with pytest.raises(SettingsError, match="write it as tensorboard:DIR or wandb:PROJECT"):
        check_logs([word])


def test_a_log_twice_is_refused():
    with pytest.raises(SettingsError, match="is given twice"):
        check_logs(["tensorboard:a", "tensorboard:a"])


@pytest.mark.parametrize("kind", ["tensorboard", "wandb"])
def test_a_missing_package_is_named_with_its_extra(kind, monkeypatch):
    monkeypatch.setattr("charrnn.cli.logs.find_spec", lambda name: None)
    with pytest.raises(SettingsError, match=rf"--log {kind} needs {kind}; .*'\.\[{kind}\]'"):
        check_logs([f"{kind}:x"])


@pytest.mark.parametrize(("kind", "name"), [("TensorBoard", "tensorboard"), ("WandB", "wandb")])
def test_a_callback_without_its_package_names_the_extra(kind, name, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(SettingsError, match=rf"{kind} needs {name}; .*'\.\[{name}\]'"):
        getattr(charrnn.callbacks, kind)(*(["tb"] if name == "tensorboard" else []))


def test_a_directory_that_cannot_be_made_is_told_before_training(folder):
    (folder / "file").write_text("mine")
    with pytest.raises(StorageError, match="choose another --log"):
        log_callbacks([("tensorboard", "file/tb")])
