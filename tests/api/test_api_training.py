"""charrnn.train: the command's training, from Python, as a guest in somebody's process."""

import hashlib
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch
from support import FEW

import charrnn
from charrnn.errors import CallbackError, CorpusError, SettingsError
from charrnn.modelfile import read_model

LINES = [f"{first}{second.lower()}" for first in FEW[:9] for second in FEW[:7]]
SMALL = {"hidden_size": 7, "num_layers": 1, "batch_size": 5, "seed": 3, "dropout": 0.3}
STREAM = "to be, or not to be\n" * 90


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def trained(corpus=LINES, **more):
    return charrnn.train(corpus, **{"steps": 9, **SMALL, **more})


def weights_of(run):
    digest = hashlib.sha256()
    for name, value in sorted(read_model(run.path).tensors.items()):
        digest.update(name.encode() + value.tobytes())
    return digest.hexdigest()


@pytest.fixture(scope="module")
def command_lines(tmp_path_factory):
    """The run of the command with the settings of `trained`."""
    folder = tmp_path_factory.mktemp("command")
    (folder / "text.txt").write_text("".join(f"{line}\n" for line in LINES))
    options = [f"--{name.replace('_', '-')}={value}" for name, value in SMALL.items()]
    command = [sys.executable, "-m", "charrnn", "train", "text.txt", "--steps=9", *options]
    subprocess.run([*command, "--quiet"], cwd=folder, check=True)
    return charrnn.open_run(folder / "runs" / "text")


def test_a_list_of_lines_gives_the_weights_of_the_command(command_lines):
    assert weights_of(trained()) == weights_of(command_lines)


def test_a_resume_gives_the_weights_of_a_training_at_once(command_lines):
    assert weights_of(trained(steps=4).resume(steps=9)) != ""
    part = trained(steps=9, callbacks=[StopAt(4)])
    assert part.history.steps["step"] == [1, 2, 3, 4]
    assert weights_of(charrnn.train(run=part.path, resume=True)) == weights_of(command_lines)


def test_a_path_is_a_text(folder):
    Path("words.txt").write_text("".join(f"{line}\n" for line in LINES))
    assert trained(Path("words.txt")).path == Path("runs/words")


def test_a_string_with_line_breaks_is_a_text_itself():
    assert trained(STREAM, mode="stream", seq_length=11).settings["seq_length"] == 11


def test_the_run_of_a_text_in_memory_is_found_again():
    first = trained(steps=3)
    assert trained(steps=5, resume=True).path == first.path


def test_an_item_with_a_line_break_is_named():
    with pytest.raises(CorpusError, match="item 2 has a line break"):
        charrnn.train(["a", "b\nc"])


def test_an_item_that_is_no_string_is_named():
    with pytest.raises(TypeError, match="item 1 is int"):
        charrnn.train([1])


def test_an_unknown_setting_is_answered_with_the_nearest():
    with pytest.raises(SettingsError, match="'hiden_size'; did you mean hidden_size"):
        charrnn.train(LINES, hiden_size=3)


def test_a_wrong_value_is_named():
    with pytest.raises(SettingsError, match=r"train\(\): hidden_size"):
        charrnn.train(LINES, hidden_size=-3)


def test_nothing_is_printed(capfd):
    trained()
    assert capfd.readouterr() == ("", "")


def test_progress_is_shown_when_asked_for(capfd):
    trained(progress="on")
    assert "step 9" in capfd.readouterr().err


def test_torch_is_left_as_it_was():
    threads = torch.get_num_threads()
    torch.manual_seed(5)
    before = torch.get_rng_state()
    trained(threads=1 if threads > 1 else 2)
    assert torch.get_num_threads() == threads
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.get_float32_matmul_precision() == "highest"


def test_signal_handlers_are_left_as_they_were():
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    inside = {}

    class Look:
        def on_step(self, event):
            inside[signal.SIGTERM] = signal.getsignal(signal.SIGTERM)

    trained(callbacks=[Look()])
    assert inside[signal.SIGTERM] == handlers[signal.SIGTERM]
    assert {number: signal.getsignal(number) for number in handlers} == handlers


def test_trainings_in_two_threads_give_the_weights_of_one_alone(command_lines):
    runs = {}

    def work(name):
        runs[name] = trained(run=name)

    threads = [threading.Thread(target=work, args=(name,)) for name in ("a", "b")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {weights_of(run) for run in runs.values()} == {weights_of(command_lines)}


class StopAt:
    """A callback that ends a training at a step."""

    def __init__(self, step):
        self.step = step

    def on_step(self, event):
        if event.step == self.step:
            raise charrnn.StopTraining


class Recorder:
    """A callback that keeps what it is told."""

    def __init__(self):
        self.events = []

    def __getattr__(self, name):
        if not name.startswith("on_"):
            raise AttributeError(name)
        return lambda event: self.events.append((name, event))


def test_callbacks_are_told_in_order():
    told = Recorder()
    trained(steps=2, callbacks=[told], counting="off", eval_every="1")
    names = [name for name, _ in told.events]
    assert names[0] == "on_start"
    assert names[1:3] == ["on_evaluation", "on_checkpoint"]  # of the network that knows nothing
    assert names[3] == "on_step"
    assert names[-1] == "on_end"
    assert names.count("on_step") == 2


def test_a_callback_learns_every_size(folder):
    told = Recorder()
    run = trained(steps=1, callbacks=[told])
    start = told.events[0][1]
    assert start.run == run.path
    assert start.settings["embedding_size"] == run.settings["embedding_size"] > 0


def test_the_end_tells_what_is_kept():
    told = Recorder()
    run = trained(callbacks=[told])
    end = told.events[-1][1]
    assert (end.reason, end.step, end.best_step) == ("done", 9, run.step)
    assert end.best_val_nats_per_char == run.score.nats_per_char


def test_a_resume_with_nothing_left_to_do_calls_no_callback():
    told = Recorder()
    trained().resume(callbacks=[told])
    assert told.events == []


def test_a_failing_callback_is_named_and_the_run_is_saved():
    class Broken:
        def on_step(self, event):
            if event.step == 3:
                raise KeyError("no such thing")

    with pytest.raises(CallbackError, match=r"Broken\.on_step failed \(KeyError: 'no such") as info:
        trained(run="kept", callbacks=[Broken()])
    assert isinstance(info.value.__cause__, KeyError)
    assert charrnn.open_run("kept").history.steps["step"] == [1, 2, 3]


def test_a_callback_without_methods_is_refused():
    with pytest.raises(TypeError, match="callback int has none of on_start"):
        trained(callbacks=[7])


def test_ctrl_c_saves_and_interrupts_the_caller():
    class Interrupt:
        def on_step(self, event):
            if event.step == 3:
                os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt, match="saved: charrnn.train"):
        trained(run="kept", callbacks=[Interrupt()])
    assert charrnn.open_run("kept").history.steps["step"] == [1, 2, 3]


def test_counting_calls_back_too():
    recorder = Recorder()
    charrnn.train(LINES, cell="ngram", order=3, callbacks=[recorder])
    names = {name for name, _ in recorder.events}
    assert names == {
        "on_start",
        "on_step",
        "on_evaluation",
        "on_checkpoint",
        "on_end",
        "on_samples",
    }


def test_importing_the_package_loads_neither_torch_nor_numpy():
    code = "import charrnn, sys; assert not {'torch', 'numpy'} & set(sys.modules), sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_names_of_the_package_can_be_listed_and_are_there():
    assert {"train", "open_run", "load_torch", "callbacks"} <= set(dir(charrnn))
    for name in charrnn.__all__:
        assert getattr(charrnn, name) is not None
