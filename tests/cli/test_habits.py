"""Names of options that hands know from other programs."""

import pytest

from charrnn.cli.habits import (
    ALIASES,
    HINTS,
    empty_name,
    explain_missing,
    explain_unknown,
    normalized,
    with_two_dashes,
)
from charrnn.cli.main import app_of
from charrnn.config import FIELDS, Settings, settings_from_dict

VALUED = ["--prime", "--hidden-size", "-n", "--count"]
PLAIN = ["--json", "-q", "--quiet"]


@pytest.mark.parametrize(
    ("typed", "name"),
    [("rnn_size", "hidden-size"), ("seq_length", "seq-length"), ("temperature", "temp")],
)
def test_an_underscore_is_a_dash_and_a_foreign_name_is_ours(typed, name):
    assert normalized(typed) == name


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["-rnn_size", "8"], ["--rnn_size", "8"]),
        (["-prime=x"], ["--prime=x"]),
        (["-gpuid", "0"], ["--gpuid", "0"]),
        (["-n", "-count"], ["-n", "-count"]),
        (["--prime", "-json"], ["--prime", "-json"]),
        (["--json", "-json"], ["--json", "--json"]),
        (["-q", "-nonsense"], ["-q", "-nonsense"]),
        (["-"], ["-"]),
    ],
)
def test_one_dash_becomes_two_only_where_an_option_stands(words, expected):
    assert with_two_dashes(words, VALUED, PLAIN) == expected


def test_no_foreign_name_hides_an_option_or_stands_twice():
    from typer.main import get_command

    program = get_command(app_of())
    options = {
        name for command in program.commands.values() for p in command.params for name in p.opts
    }
    assert not {f"--{name}" for name in ALIASES} & options
    assert not ALIASES.keys() & HINTS.keys()
    assert {f"--{name}" for name in ALIASES.values()} <= options
    assert not {name.replace("-", "_") for name in ALIASES} & set(FIELDS)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["train", "--gpu", "0"], "no option --gpu; here: --device cuda"),
        (["train", "-gpuid", "0"], "no option -gpuid; here: --device cuda"),
        (["train", "--layers", "3"], "no option --layers; here: --num-layers"),
        (["train", "--input", "x"], "here: name the text itself: charrnn train FILE"),
        (["sample", "--checkpoint", "x"], "here: name the run itself: charrnn sample RUN"),
        (["train", "--temperature", "1"], "train has no --temperature; it is an option of charrnn"),
        (["train", "--zzz"], "no option --zzz of train; charrnn train --help lists them"),
        (["sample", "--temprature", "1"], "of sample; did you mean --temp?"),
        (["train", "--learning-rte", "1"], "of train; did you mean --lr?"),
        (["lab", "vanish", "--zzz"], "charrnn lab vanish --help lists them"),
    ],
)
def test_an_unknown_option_is_told_by_sense_before_spelling(charrnn, arguments, says):
    done = charrnn(*arguments)
    assert done.returncode == 2
    assert says in done.stderr and done.stderr.count("\n") == 1


def test_options_of_char_rnn_work_as_they_are_typed_there(charrnn):
    done = charrnn("train", "-rnn_size", 77, "--seq_length", 33, "-max_epochs", 3, "--print-config")
    assert "hidden_size = 77" in done.stdout
    assert "seq_length = 33" in done.stdout
    assert "epochs = 3.0" in done.stdout


@pytest.mark.parametrize(("name", "here"), [("list", "runs"), ("generate", "sample")])
def test_a_command_of_other_programs_is_answered_with_the_one_here(charrnn, name, here):
    done = charrnn(name)
    assert (done.returncode, done.stderr) == (
        2,
        f"charrnn: no command {name}; here: charrnn {here}\n",
    )


def test_help_as_a_command_is_the_help(charrnn):
    assert charrnn("help", "train").stdout == charrnn("train", "--help").stdout


def test_capital_v_is_the_version(charrnn):
    assert charrnn("-V").stdout == charrnn("--version").stdout


def test_a_misspelt_option_is_told_by_spelling():
    assert explain_unknown("--sed", "train", ["--seed"], []) == (
        "no option --sed of train; did you mean --seed?"
    )


@pytest.mark.parametrize(("budget", "says"), [("5", "5 of what? write 5s, 5m or 5h")])
def test_a_budget_needs_a_unit(charrnn, budget, says):
    done = charrnn("train", "--budget", budget)
    assert (done.returncode, done.stdout) == (2, "")
    assert says in done.stderr


def test_a_plain_number_in_an_old_file_is_seconds():
    values = Settings().to_dict()
    values["training"]["budget"] = "90"
    assert settings_from_dict(values, "settings").training.budget == "90s"


@pytest.mark.parametrize(
    ("words", "empty"),
    [
        ([""], "an argument"),
        (["x", "--run", ""], "--run"),
        (["--run="], "--run"),
        (["--prime", "", "x"], None),
        (["--prime="], None),
        (["--run", "x", "--prime", "--run="], None),
    ],
)
def test_an_empty_name_is_told_and_an_empty_text_is_none(words, empty):
    assert empty_name(words, ["--run", "--prime"], ["--run"]) == empty


@pytest.mark.parametrize("line", [["train", ""], ["eval", "--file", ""], ["train", "--run="]])
def test_an_empty_name_is_one_line(charrnn, line):
    done = charrnn(*line)
    assert done.returncode == 2
    assert "the name is empty" in done.stderr and done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("message", "says"),
    [
        (
            "Invalid value for '--likeliest': '--label' is not a valid int.",
            "--likeliest needs a value before --label: --likeliest 7",
        ),
        (
            "Invalid value for '--count' / '-n': '-k' is not a valid int.",
            "--count needs a value before -k: --count 7",
        ),
        ("Option '--run' requires an argument.", "--run needs a value: --run 7"),
        ("Invalid value for '--length': 'x' is not a valid int.", None),
        ("No such option: --x", None),
    ],
)
def test_an_option_without_its_value_shows_one(message, says):
    assert explain_missing(message, lambda option: "7") == says


def test_a_command_without_its_number_says_what_to_type(charrnn):
    done = charrnn("sample", "--likeliest", "--label", "rock")
    assert (done.returncode, done.stderr) == (
        2,
        "charrnn: --likeliest needs a value before --label: --likeliest 20\n",
    )


def test_a_command_that_reads_a_run_says_so_where_a_directory_is_given_by_an_option():
    says = explain_unknown("--out_dir", "sample", [], [("train", ["--run"])])
    assert says.endswith("name the run itself: charrnn sample RUN")
    says = explain_unknown("--run", "cooccur", [], [("train", ["--run"])])
    assert says == "cooccur has no --run; it is an option of charrnn train"
