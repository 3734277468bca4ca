"""What a person sees of a training: few lines, none wider than a terminal, all when asked."""

import re

import pytest

from charrnn.progress import TrainingProgress
from charrnn.scoring.score import Score
from charrnn.training.outcome import Recent

NAMES = "Thera\nGorry\nAllis\nMickis\nJona"
TOTAL = 4380
EVERY = 219


def watch_a_training(progress):
    """A run of twenty evaluations and five samples, as `charrnn train names` has."""
    for step in range(0, TOTAL + 1, EVERY):
        recent = Recent(nats=2.0, chars=1, steps=1) if step else Recent()
        progress.evaluated(step, TOTAL, recent, Score(1.9, 1), best=True)
        if step and step % (TOTAL // 5) == 0:
            progress.sampled(step, NAMES)
    progress.close()


def test_evaluations_and_samples_are_shown_after_each_fifth_in_a_line(capsys):
    watch_a_training(TrainingProgress())
    lines = capsys.readouterr().err.splitlines()
    steps = [int(re.match(r"step ([\d,]+)", line)[1].replace(",", "")) for line in lines]
    assert steps == [876, 1752, 2628, 3504, 4380]
    assert all("Thera, Gorry" in line and len(line) < 80 for line in lines)


def test_every_evaluation_and_sample_is_shown_whole_when_asked(capsys):
    watch_a_training(TrainingProgress(every=True))
    lines = capsys.readouterr().err.splitlines()
    assert sum(line.startswith("step ") for line in lines) == 21
    assert sum(line.startswith("  | ") for line in lines) == 25
    assert "grad norm" in lines[-6]


def test_a_quiet_training_shows_notes_alone(capsys):
    progress = TrainingProgress(quiet=True)
    progress.say("text: names")
    progress.say("note: a note")
    watch_a_training(progress)
    assert capsys.readouterr().err == "note: a note\n"


def test_samples_of_a_stream_are_a_block(capsys):
    progress = TrainingProgress()
    progress.evaluated(10, 10, Recent(), Score(1.9, 1), best=True)
    progress.sampled(10, "One line of a play,\nand another of it.\n" * 8)
    assert capsys.readouterr().err.count("\n  | ") == 16


@pytest.mark.parametrize("char", ["a", "\u6f22"])
def test_no_line_is_wider_than_the_terminal(capsys, monkeypatch, char):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "80")
    progress = TrainingProgress()
    progress.say("note: " + " ".join([char * 7] * 40))
    progress.sampled(1, char * 300)
    lines = capsys.readouterr().err.splitlines()
    width = 1 if char == "a" else 2
    assert len(lines) > 4
    assert all(len(line) + (width - 1) * line.count(char) < 80 for line in lines)


def evaluations_at(steps, totals, progress):
    for step, total in zip(steps, totals, strict=True):
        progress.evaluated(step, total, Recent(2.0, 1, 1), Score(1.9, 1), best=True)
    progress.close()


def shown_steps(capsys):
    lines = capsys.readouterr().err.splitlines()
    return [int(re.match(r"step ([\d,]+)", line)[1].replace(",", "")) for line in lines]


def test_a_plan_that_grows_and_shrinks_shows_no_point_twice(capsys):
    steps = list(range(10, 101, 10))
    totals = [100, 100, 100, 100, 100, 130, 130, 100, 100, 100]
    evaluations_at(steps, totals, TrainingProgress())
    assert shown_steps(capsys) == [20, 40, 80, 100]


@pytest.mark.parametrize("total", [None, 100])
def test_the_untrained_score_is_left_out_however_long_it_takes(capsys, total):
    evaluations_at([0], [total], TrainingProgress())
    assert shown_steps(capsys) == []


def test_a_run_that_stops_early_shows_its_last_evaluation(capsys):
    evaluations_at([50, 110], [1000, 1000], TrainingProgress())
    assert shown_steps(capsys) == [110]


def test_a_block_of_samples_names_its_step(capsys):
    TrainingProgress().sampled(8, "One line of a play,\nand another of it.\n" * 8)
    assert capsys.readouterr().err.startswith("step 8\n  | One line")
