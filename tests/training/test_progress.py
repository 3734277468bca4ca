"""What a person sees of a training: few lines, none wider than a terminal, all when asked."""

import math
import re

import pytest

from charrnn.progress import WHAT_A_BIT_IS, TrainingProgress
from charrnn.scoring.score import Score
from charrnn.training.listener import Step
from charrnn.training.outcome import Recent

NAMES = "Thera\nGorry\nAllis\nMickis\nJona"
TOTAL = 4380
EVERY = 219
ESCAPE = re.compile("\x1b\\[[0-9;?]*[A-Za-z]")


def watch_a_training(progress):
    """A run of twenty evaluations and five samples, as `charrnn train names` has."""
    for step in range(0, TOTAL + 1, EVERY):
        recent = Recent(nats=2.0, chars=1, steps=1) if step else Recent()
        progress.evaluated(step, TOTAL, recent, Score(1.9, 1), best=True)
        if step and step % (TOTAL // 5) == 0:
            progress.sampled(step, NAMES)
    progress.close()


def steps_in(lines):
    matches = [re.match(r"step ([\d,]+)", line) for line in lines]
    return [int(match[1].replace(",", "")) for match in matches if match]


def test_evaluations_are_shown_after_each_fifth_with_samples_below(capsys):
    watch_a_training(TrainingProgress())
    lines = capsys.readouterr().err.splitlines()
    assert steps_in(lines) == [876, 1752, 2628, 3504, 4380]
    assert lines.pop(0) == WHAT_A_BIT_IS
    for evaluation, samples in zip(lines[::2], lines[1::2], strict=True):
        assert "val 2.741 bits/char (1.900 nats), train 2.885 (2.000)" in evaluation
        assert samples == "  it writes: Thera, Gorry, Allis, Mickis, Jona"
    assert all(len(line) < 80 for line in lines)


def test_every_evaluation_and_sample_is_shown_whole_when_asked(capsys):
    watch_a_training(TrainingProgress(every=True))
    lines = capsys.readouterr().err.splitlines()
    assert len(steps_in(lines)) == 21
    assert sum(line.startswith("  | ") for line in lines) == 25
    assert "grad norm" in lines[-7]


def test_a_quiet_training_shows_notes_alone(capsys):
    progress = TrainingProgress(quiet=True)
    progress.say("text: names")
    progress.say("note: a note")
    watch_a_training(progress)
    progress.conclude("done", "a good fit", "now: charrnn sample")
    assert capsys.readouterr().err == "note: a note\n"


def test_samples_of_a_stream_are_a_block_with_a_heading(capsys):
    progress = TrainingProgress()
    progress.evaluated(10, 10, Recent(), Score(1.9, 1), best=True)
    progress.sampled(10, "One line of a play,\nand another of it.\n" * 8)
    text = capsys.readouterr().err
    assert "(1.900 nats)\n  it writes:\n  | One line of a play" in text
    assert text.count("\n  | ") == 5
    assert text.endswith("  ... 11 lines more in samples.txt\n")


def test_samples_of_other_weights_stand_under_no_score(capsys):
    progress = TrainingProgress()
    progress.evaluated(10, 100, Recent(), Score(1.9, 1), best=True)
    progress.sampled(12, "One line of a play,\nand another of it.\n" * 8)
    [line] = [line for line in capsys.readouterr().err.splitlines() if "step" in line]
    assert re.fullmatch(r"step 12/100  \d+s  not scored", line)


def test_samples_bring_out_an_evaluation_that_was_left_out(capsys):
    progress = TrainingProgress()
    progress.evaluated(30, 100, Recent(), Score(1.9, 1), best=True)
    progress.evaluated(35, 100, Recent(), Score(1.9, 1), best=True)
    progress.sampled(35, NAMES)
    assert steps_in(capsys.readouterr().err.splitlines()) == [30, 35]


# Lengths


def evaluations_at(steps, totals, progress):
    for step, total in zip(steps, totals, strict=True):
        progress.evaluated(step, total, Recent(2.0, 1, 1), Score(1.9, 1), best=True)
    progress.close()


def shown_steps(capsys):
    return steps_in(capsys.readouterr().err.splitlines())


def test_a_plan_that_grows_and_shrinks_shows_each_fifth(capsys):
    steps = list(range(10, 101, 10))
    totals = [100, 100, 100, 100, 100, 130, 130, 100, 100, 100]
    evaluations_at(steps, totals, TrainingProgress())
    assert shown_steps(capsys) == [20, 40, 60, 80, 100]


@pytest.mark.parametrize("total", [None, 100])
def test_the_untrained_score_is_left_out_however_long_it_takes(capsys, total):
    evaluations_at([0], [total], TrainingProgress())
    assert shown_steps(capsys) == []


def test_a_run_that_stops_early_shows_its_last_evaluation(capsys):
    evaluations_at([50, 110], [1000, 1000], TrainingProgress())
    assert shown_steps(capsys) == [110]


def test_a_budget_shows_no_number_of_steps_that_could_change(capsys):
    evaluations_at([0, 30, 70], [None, 50, 73], TrainingProgress())
    text = capsys.readouterr().err
    assert (
        shown_steps(capsys) == []
        and "/" not in text.replace("bits/char", "")
        and "steps in all" not in text
    )


def test_a_length_that_was_shown_and_changes_is_said(capsys):
    evaluations_at([0, 2000, 2383], [2383, 2383, 1791], TrainingProgress())
    lines = capsys.readouterr().err.splitlines()
    assert lines[1].startswith("step 2,000/2,383  ")
    assert lines[2] == "from here on, 1,791 steps in all"


# A terminal


@pytest.fixture
def terminal(capsys, monkeypatch):
    """terminal(columns, **environment) -> what a training writes there, and its progress."""

    def on(columns=80, **environment):
        monkeypatch.setattr("sys.stderr.isatty", lambda: True)
        for name in ("NO_COLOR", "FORCE_COLOR", "COLORTERM", "JPY_PARENT_PID", "PAGER"):
            monkeypatch.delenv(name, raising=False)
        changes = {"COLUMNS": str(columns), "TERM": "xterm-256color"} | environment
        for name, value in changes.items():
            monkeypatch.setenv(name, value)
        return TrainingProgress(), lambda: capsys.readouterr().err

    return on


def learn(progress, steps=40, total=40, monkeypatch=None):
    for step in range(1, steps + 1):
        progress._drawn_at = 0.0  # every step is a frame
        progress.step(Step(step, total, 100, 4.0 - step / 10, 61.0))


@pytest.mark.parametrize("char", ["a", "\u6f22"])
def test_no_line_is_wider_than_the_terminal(terminal, char):
    progress, written = terminal()
    progress.say("note: " + " ".join([char * 7] * 40))
    progress.sampled(1, char * 300)
    lines = ESCAPE.sub("", written()).splitlines()
    width = 1 if char == "a" else 2
    assert len(lines) > 4
    assert all(len(line) + (width - 1) * line.count(char) < 80 for line in lines)


@pytest.mark.parametrize("columns", [20, 40, 80, 200])
def test_the_bar_and_its_curve_fit_the_terminal(terminal, columns):
    progress, written = terminal(columns)
    learn(progress, 30)
    *_, bar, curve = ESCAPE.sub("", written()).replace("\r", "\n").splitlines()
    assert bar.startswith(" 75% ━") and curve.startswith("loss █")
    assert max(len(bar), len(curve)) <= columns - 3  # room for ^C
    if columns >= 80:
        assert "1m01s left  step 30" in bar and "nats)" in curve


def test_counting_which_has_no_loss_has_no_curve(terminal):
    progress, written = terminal()
    progress._drawn_at = 0.0
    progress.step(Step(1, 2, 100, math.nan, 61.0))
    assert "50%" in written() and "loss" not in written()


def test_the_curve_grows_with_the_bar_and_falls_with_the_loss(terminal):
    progress, _ = terminal()
    learn(progress, 20)
    assert progress._screen.curve(0.5, 40) == progress._screen.curve(0.5, 40)[:21]
    half = progress._screen.curve(0.5, 40)
    assert len(half) == 21 and half[0] == "█" and half[-1] == "▁"
    assert list(half) == sorted(half, reverse=True)


@pytest.mark.parametrize(("columns", "end"), [(80, "train 2.885"), (100, "train 2.885 (2.000)")])
def test_a_long_evaluation_stays_one_line(terminal, columns, end):
    progress, written = terminal(columns)
    recent = Recent(nats=2.0, chars=1, steps=1)
    progress._began -= 3600
    progress.evaluated(1_000_000, 1_000_000, recent, Score(1.9, 1), best=True)
    progress.close()
    [line] = [line for line in ESCAPE.sub("", written()).splitlines() if "step" in line]
    assert line.endswith(end)


def test_what_is_drawn_is_removed_before_a_line_that_stays(terminal):
    progress, written = terminal()
    learn(progress)
    progress.conclude("done", "a good fit", "now: charrnn sample")
    assert "\r\x1b[1A\x1b[J" in written()


def test_frames_are_bounded_in_rate(terminal):
    progress, written = terminal()
    for step in range(2000):
        progress.step(Step(step, 2000, 100, 2.0, 1.0))
    assert written().count("loss") <= 3


@pytest.mark.parametrize(
    ("environment", "colour"),
    [
        ({"TERM": "xterm-256color"}, True),
        ({"TERM": "xterm"}, True),
        ({"TERM": "xterm-256color", "NO_COLOR": "1"}, False),
    ],
)
def test_samples_are_bright_and_figures_dim_in_any_number_of_colours(terminal, environment, colour):
    progress, written = terminal(**environment)
    learn(progress)
    progress.evaluated(40, 40, Recent(), Score(1.9, 1), best=True)
    progress.sampled(40, NAMES)
    text = written()
    assert "\x1b[1mThera" in text and "\x1b[2mstep 40/40" in text
    assert ("\x1b[36m" in text) == colour


@pytest.mark.parametrize(
    "environment",
    [
        {"TERM": "dumb"},
        {"JPY_PARENT_PID": "7"},
        {"TERM": "xterm-color", "PAGER": "cat", "GIT_PAGER": "cat"},
    ],
)
def test_a_terminal_that_keeps_every_frame_gets_plain_lines(terminal, environment):
    progress, written = terminal(**environment)
    learn(progress)
    progress.evaluated(40, 40, Recent(), Score(1.9, 1), best=True)
    progress.sampled(40, NAMES)
    text = written()
    assert "\x1b" not in text and "\r" not in text
    assert text.count("\n") == 3


def test_a_log_of_a_long_training_gets_rarer_lines(capsys, monkeypatch):
    clock = iter(range(0, 10**6, 2))
    monkeypatch.setattr("charrnn.progress.time.perf_counter", lambda: float(next(clock)))
    progress = TrainingProgress()
    for step in range(1, 1801):  # an hour, of two seconds a step
        progress.step(Step(step, None, 100, 2.0, None))
    assert 30 <= len(capsys.readouterr().err.splitlines()) <= 60
