"""docs/options.md says what the commands say, and leaves nothing out."""

import importlib.util
from pathlib import Path

import pytest
import typer

from charrnn.cli.habits import ALIASES
from charrnn.cli.main import app_of

ROOT = Path(__file__).parent.parent.parent
PAGE = (ROOT / "docs/options.md").read_text(encoding="utf-8")
PROGRAM = typer.main.get_command(app_of())
COMMANDS = {
    **{name: command for name, command in PROGRAM.commands.items() if name != "lab"},
    **{f"lab {name}": command for name, command in PROGRAM.commands["lab"].commands.items()},
}


def section(name):
    """The part of the page under one heading."""
    return PAGE.split(f"\n## {name}\n")[1].split("\n## ")[0]


def names_of(command):
    return [name for param in command.params for name in [*param.opts, *param.secondary_opts]]


def test_the_page_is_up_to_date():
    spec = importlib.util.spec_from_file_location("options", ROOT / "docs/options.py")
    generator = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(generator)
    assert generator.page() == PAGE, "run python docs/options.py"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_of_a_command_stands_in_its_section(name):
    text = section(name)
    command = COMMANDS[name]
    hidden = {name for param in command.params if param.hidden for name in param.opts}
    options = {name for name in names_of(command) if name.startswith("-")} - hidden - {"--help-all"}
    assert [option for option in sorted(options) if f"`{option}`" not in text] == []
    metavars = [param.metavar for param in command.params if param.param_type_name == "argument"]
    assert [metavar for metavar in metavars if f"- `{metavar}`: " not in text] == []


def test_the_options_of_the_program_and_all_other_names_stand_on_the_page():
    assert all(f"`{name}`" in section("Without a command") for name in names_of(PROGRAM))
    assert all(f"- `--{alias}` is `--{name}`" in PAGE for alias, name in ALIASES.items())


def test_no_line_is_longer_than_120_characters():
    assert max(map(len, PAGE.splitlines())) <= 120
