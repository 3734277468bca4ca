"""What README and docs promise: commands parse, links lead somewhere, named files exist.

Nothing is run. test_options.py holds that every command and option stands in docs/options.md.
"""

import dataclasses
import re
import shlex
from pathlib import Path

import pytest
import typer

from charrnn import config, layers
from charrnn.cli.main import app_of
from charrnn.errors import CharrnnError

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "charrnn"
TOP = [ROOT / "README.md", ROOT / "CHANGELOG.md", ROOT / "CONTRIBUTING.md"]
PAGES = [*TOP, *sorted(ROOT.glob("docs/**/*.md"))]

FENCE = re.compile(r"^ *```.*?^ *```$", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"`([^`\n]+)`")
# What may stand before the program's name: a prompt, variables, another program and its pipe.
COMMAND = re.compile(r"^\s*(?:\$ )?(?:[A-Z_]+=\S+ )*(?:[\w. ]+\| )?(charrnn .*)$")
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
FILE = re.compile(r"^\w+(?:/[\w.]+)*\.(?:py|c|h)$")


def name_of(page):
    return page.relative_to(ROOT).as_posix()


def commands_of(text):
    """Return every `charrnn ...` to type: lines of fenced blocks, and inline code elsewhere."""
    lines = [line for block in FENCE.findall(text) for line in block.splitlines()]
    lines += INLINE.findall(FENCE.sub("", text))
    matches = [COMMAND.match(line) for line in lines]
    commands = [match[1].strip() for match in matches if match]
    return [command for command in commands if "..." not in command and "…" not in command]


def parse(command):
    """Parse a command without running it. Raises what the program would complain of."""
    typed = re.sub(r" 2> \S+$", "", command)  # the shell's
    words = shlex.split(typed.replace("\\|", "|"), comments=True)[1:]
    group = typer.main.get_command(app_of())
    if words[:1] in (["--version"], ["--help"], ["--install-completion"]):
        return
    context = group.make_context("charrnn", [], resilient_parsing=True)
    current = group
    while hasattr(current, "get_command"):
        name = words.pop(0)
        current = current.get_command(context, name)
        if current is None:
            raise ValueError(f"no command {name}")
        if hasattr(current, "get_command"):
            context = current.make_context(name, [], parent=context, resilient_parsing=True)
    if words and words[-1] in ("--help", "--help-all"):
        known = {option for parameter in current.get_params(context) for option in parameter.opts}
        assert words[-1] in known, f"no option {words[-1]}"
        words.pop()
    check_settings(current.make_context(name, words, parent=context).params)


def check_settings(parameters):
    """Settings of a training arrive as text: they are checked by config, not by the parser."""
    sections = config.SECTIONS.values()
    keys = {field.name for section in sections for field in dataclasses.fields(section)}
    chosen = {key: value for key, value in parameters.items() if key in keys and value is not None}
    if "assignments" in parameters:
        assigned = layers.set_layer(parameters["assignments"] or [])
        config.resolve([("--set", assigned), ("--", chosen)])


def anchors_of(text):
    """Return the anchors that GitHub gives to the headings of a page."""
    slugs = []
    anchors = set()
    for heading in re.findall(r"^#+ (.+)$", FENCE.sub("", text), re.MULTILINE):
        plain = re.sub(r"\[([^\]]*)\](\([^)]*\))?", r"\1", heading).lower()
        slug = re.sub(r"[^\w\- ]", "", plain).replace(" ", "-")
        copies = slugs.count(slug)
        slugs.append(slug)
        anchors.add(f"{slug}-{copies}" if copies else slug)
    return anchors


def links_of(text):
    without_code = INLINE.sub("", FENCE.sub("", text))
    return [target for target in LINK.findall(without_code) if not re.match(r"[a-z]+:", target)]


def broken_links(page):
    broken = []
    for target in links_of(page.read_text(encoding="utf-8")):
        path, _, anchor = target.partition("#")
        place = (page.parent / path).resolve() if path else page
        if not place.exists():
            broken.append(f"{target}: no such file")
        elif anchor and anchor not in anchors_of(place.read_text(encoding="utf-8")):
            broken.append(f"{target}: no such heading")
    return broken


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_command_of_the_documentation_parses(page):
    for command in commands_of(page.read_text(encoding="utf-8")):
        try:
            parse(command)
        except Exception as error:
            pytest.fail(f"{name_of(page)}: {command}: {type(error).__name__}: {error}")


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_link_inside_the_repository_resolves(page):
    assert broken_links(page) == []


def test_every_file_that_how_it_works_names_exists():
    text = (ROOT / "docs/how-it-works.md").read_text(encoding="utf-8")
    rows = [line.split("|")[1] for line in text.splitlines() if line.startswith("| `")]
    names = [name for row in rows for name in INLINE.findall(row) if FILE.match(name)]
    assert len(names) > 50
    assert [name for name in names if not (PACKAGE / name).exists()] == []


def test_every_test_file_that_promises_names_exists():
    text = (ROOT / "docs/promises.md").read_text(encoding="utf-8")
    names = set(re.findall(r"`(test_\w+\.py)`", text))
    assert len(names) > 5
    assert names - {path.name for path in ROOT.glob("tests/**/test_*.py")} == set()


def test_every_command_of_the_program_stands_in_the_guide():
    guide = (ROOT / "docs/guide.md").read_text(encoding="utf-8")
    lecture = ROOT / "docs/lecture.md"
    text = guide + (lecture.read_text(encoding="utf-8") if lecture.exists() else "")
    commands = {command.split()[1] for command in commands_of(text)}
    names = set(typer.main.get_command(app_of()).commands)
    assert names - commands - {"lab"} == set()


def test_commands_are_found_where_a_reader_sees_them():
    block = "```\n$ charrnn eval\nx | charrnn train -\nCHARRNN_LR=1 charrnn train\n```\n"
    sentence = "type `charrnn cells` or `charrnn ...`, not charrnn lab\n"
    commands = ["charrnn eval", "charrnn train -", "charrnn train", "charrnn cells"]
    assert commands_of(block + sentence) == commands


@pytest.mark.parametrize(
    "command",
    [
        "charrnn trian",
        "charrnn train --hiden-size 3",
        "charrnn train --hidden-size many",
        "charrnn compare --set training.budgte=1m",
        "charrnn sample --top-k much",
        "charrnn eval a b c",
    ],
)
def test_a_command_that_the_program_would_refuse_is_noticed(command):
    with pytest.raises((typer.TyperException, CharrnnError, ValueError)):
        parse(command)


def test_a_link_into_nothing_is_noticed(tmp_path):
    page = tmp_path / "page.md"
    good = "# One two\n\n[a](#one-two) ![b](page.md#one-two) `[c](code.md)`\n"
    page.write_text(good + "[d](#three) [e](none.md)\n")
    assert broken_links(page) == ["#three: no such heading", "none.md: no such file"]
