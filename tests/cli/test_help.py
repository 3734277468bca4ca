"""The help of every command: one style, every default, examples that work, and 80 columns."""

import json
import re
import shlex

import pytest
import typer

from charrnn import config
from charrnn.cli.compare import parted
from charrnn.cli.examples import EXAMPLES
from charrnn.cli.habits import ALIASES
from charrnn.cli.main import app_of
from charrnn.cli.shortlist import COMMON, is_common, short_help

PROGRAM = typer.main.get_command(app_of())
LAB = PROGRAM.commands["lab"]
COMMANDS = {
    **{name: command for name, command in PROGRAM.commands.items() if name != "lab"},
    **{f"lab {name}": command for name, command in LAB.commands.items()},
}
PARAMS = [
    pytest.param(param, id=f"{name} {param.opts[0]}")
    for name, command in COMMANDS.items()
    for param in command.params
    if not getattr(param, "hidden", False)
]


def is_option(param):
    return param.param_type_name == "option"


@pytest.mark.parametrize("param", PARAMS)
def test_a_help_text_begins_with_a_capital_letter_and_has_no_full_stop(param):
    assert re.match(r"[A-Z]|rnn, lstm", param.help)
    assert not param.help.endswith(".")
    assert "\n" not in param.help


@pytest.mark.parametrize("param", PARAMS)
def test_what_takes_a_value_shows_its_default(param):
    default = re.search(r"\(default: (.+)\)$", param.help)
    if is_option(param) and param.is_flag and not param.secondary_opts:
        assert default is None  # a flag is off until it is given
        return
    assert default is not None
    if param.default not in (None, "") and not param.secondary_opts:
        assert default[1].split(", ")[0] == str(param.default)


@pytest.mark.parametrize("key", config.FIELDS)
def test_train_shows_the_default_of_every_setting(key):
    """--clip 1.0 and --mix 0.0 had none: 1.0 == True, and 0.0 == False."""
    _, item = config.FIELDS[key]
    [param] = [param for param in COMMANDS["train"].params if param.name == key]
    expected = item.metadata.get("auto", str(item.default))
    if item.metadata["kind"] is bool:
        expected = "on" if item.default else "off"
    assert param.help.endswith(f"(default: {expected})")
    assert expected not in ("", "None")


@pytest.mark.parametrize("param", PARAMS)
def test_metavars_are_of_one_style(param):
    if is_option(param) and not param.is_flag:
        assert param.metavar in {"INTEGER", "FLOAT", "TEXT", "PATH", "DURATION"}
    if not is_option(param):
        assert param.metavar in {"CORPUS", "RUN", "CELL"}


@pytest.mark.parametrize("key", [key for key in config.FIELDS if key != "device"])
def test_the_choices_of_a_setting_are_in_its_help(key):
    choices = config.FIELDS[key][1].metadata.get("choices")
    [param] = [param for param in COMMANDS["train"].params if param.name == key]
    assert not choices or f"[{'|'.join(choices)}]" in param.help


# Examples


@pytest.mark.parametrize("name", ["", "lab", *COMMANDS])
def test_every_command_has_two_or_three_examples_that_parse(name):
    assert 2 <= len(EXAMPLES[name]) <= 3
    for line in EXAMPLES[name]:
        program, *words = shlex.split(line)
        assert program == "charrnn" and len(line) <= 76
        assert line.startswith(f"charrnn {name}".strip())
        command = PROGRAM
        context = PROGRAM.make_context("charrnn", [], resilient_parsing=True)
        while words and words[0] in getattr(command, "commands", {}):
            command = command.commands[words.pop(0)]
        values = command.make_context(line, words, parent=context).params
        if command.name == "train":
            config.resolve([("--", {key: values[key] for key in values if key in config.FIELDS})])


def test_no_command_is_without_examples():
    assert set(EXAMPLES) == {"", "lab", *COMMANDS}


# What is shown


@pytest.fixture(scope="module")
def help_of(tmp_path_factory):
    """words -> the help, as a pipe of 80 columns gets it."""
    import os
    import subprocess
    import sys

    def shown(*words):
        done = subprocess.run(
            [sys.executable, "-m", "charrnn", *words],
            capture_output=True,
            text=True,
            cwd=tmp_path_factory.mktemp("help"),
            env={**os.environ, "COLUMNS": "80"},
            timeout=60,
        )
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout

    return shown


def options_in(text):
    return set(re.findall(r"^(?:│ |  )(--[a-z-]+)", text, re.MULTILINE))


def test_help_all_of_train_shows_every_option(help_of):
    everything = options_in(help_of("train", "--help-all"))
    assert everything >= {param.opts[0] for param in COMMANDS["train"].params if is_option(param)}
    assert everything >= {config.flag(key) for key in config.FIELDS}


def test_rare_options_are_completed_by_the_shell_and_still_work(charrnn):
    assert not any(param.hidden for param in COMMANDS["train"].params if is_option(param))
    done = charrnn("train", "--patience", 9, "--print-config")
    assert "patience = 9  # --patience" in done.stdout


def short_help_of(name, columns):
    path = name.split()
    command = PROGRAM
    context = PROGRAM.make_context("charrnn", [], resilient_parsing=True)
    for word in path:
        command = command.commands[word]
        context = command.make_context(word, [], parent=context, resilient_parsing=True)
    return short_help(command, context, columns)


@pytest.mark.parametrize("name", COMMANDS)
def test_help_shows_what_most_people_need(name):
    shown = options_in(short_help_of(name, 80))
    params = [param for param in COMMANDS[name].params if not getattr(param, "hidden", False)]
    assert shown == {
        param.opts[0] for param in params if is_option(param) and is_common(name, param.name)
    }
    assert {param.name for param in params} >= {*COMMON.get(name, ())}


@pytest.mark.parametrize("name", ["", "lab", *COMMANDS])
def test_the_help_of_a_command_is_one_screen_with_an_example_at_its_foot(name):
    lines = short_help_of(name, 80).splitlines()
    assert len(lines) <= 22  # of 24: the line with the command, and the prompt below
    assert max(map(len, lines)) <= 80
    assert lines[-1] == f"Example: {EXAMPLES[name][0]}"
    assert not any(sign in "\n".join(lines) for sign in ("\x1b", "<", "\\", "none)"))


@pytest.mark.parametrize("name", ["", *COMMANDS])
def test_a_help_on_a_narrow_terminal_is_cut_nowhere(name):
    text = short_help_of(name, 40)
    assert max(map(len, text.splitlines())) <= 40
    assert options_in(text) == options_in(short_help_of(name, 80))


@pytest.mark.parametrize("words", [["sample"], ["lab", "vanish"]])
def test_help_all_fits_80_columns_and_ends_with_examples(help_of, words):
    text = help_of(*words, "--help-all")
    assert max(map(len, text.splitlines())) <= 80
    assert "\x1b" not in text and "<" not in text and "\\" not in text
    *_, end = text.partition("Examples:")
    assert [line.strip() for line in end.split("\n") if line.strip()] == list(
        EXAMPLES[" ".join(words)]
    )


def test_choices_are_shown_and_not_taken_for_markup(help_of):
    assert "[stateful|windowed]" in short_help_of("eval", 80)
    assert "[auto|float32|float16]" in help_of("sample", "--help-all")


# Options that were


def test_sample_hides_its_device_and_refuses_what_is_no_processor(charrnn):
    [param] = [param for param in COMMANDS["sample"].params if param.name == "device"]
    assert param.hidden
    done = charrnn("sample", "--device", "cuda")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "sampling runs on the processor" in done.stderr
    assert "no run under runs/" in charrnn("sample", "--device", "cpu").stderr


@pytest.mark.parametrize(
    ("words", "others", "assignments"),
    [
        (["names", "--hidden-size", "64", "-q"], ["names", "-q"], ["model.hidden_size=64"]),
        (["--rnn-size=64", "--steps", "5"], [], ["model.hidden_size=64", "training.steps=5"]),
        (["--no-deduplicate", "--watch"], [], ["text.deduplicate=false", "runtime.watch=true"]),
        (["--vary", "--lr=1,2", "--seed", "3"], ["--vary", "--lr=1,2"], ["training.seed=3"]),
        (["--lr"], [], ["training.lr="]),
    ],
)
def test_compare_takes_an_option_of_train_as_its_set(words, others, assignments):
    assert parted(words, lambda name: ALIASES.get(name, name)) == (others, assignments)


def test_compare_trains_with_an_option_of_train(charrnn):
    done = charrnn(
        *("compare", "names", "--seeds", "1", "--vary", "dropout=0,0.5", "--steps", "2"),
        *("--hidden-size", "3", "--run", "c", "--json"),
    )
    assert done.returncode == 0, done.stderr
    units_and_steps = [(row[1], row[3]) for row in json.loads(done.stdout.splitlines()[0])["rows"]]
    assert units_and_steps == [(3, 2), (3, 2), (None, None)]


def test_a_bad_value_for_compare_is_told_as_its_set(charrnn):
    done = charrnn("compare", "names", "--lr", "x")
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and "--set: lr: 'x'" in done.stderr


def test_compare_still_names_an_option_that_nobody_knows(charrnn):
    done = charrnn("compare", "--no-such")
    assert done.returncode == 2 and "no option --no-such of compare" in done.stderr


def test_every_option_of_train_is_known_to_compare():
    for key, (section, item) in config.FIELDS.items():
        is_switch = item.metadata["kind"] is bool
        words = [config.flag(key)] if is_switch else [config.flag(key), "x"]
        value = "true" if is_switch else "x"
        assert parted(words, lambda name: ALIASES.get(name, name)) == (
            [],
            [f"{section}.{key}={value}"],
        )
