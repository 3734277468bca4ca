"""What is typed as a prompt is read as it was meant, and the difference is said."""

from pathlib import Path

import pytest

from charrnn.cli.prompt import as_meant
from charrnn.config import Settings
from charrnn.modelfile import ModelFile
from charrnn.text.vocabulary import Vocabulary


def model(text):
    symbols = tuple(sorted({*map(ord, text)}))
    return ModelFile(Path("m"), Settings(), Vocabulary("char", symbols), "stream", 0, {}, {})


@pytest.mark.parametrize(
    ("typed", "known", "meant", "note"),
    [
        (r"a\nb", "ab\n", "a\nb", r"note: --prime: \n is read as a newline"),
        (r"\tb", "ab\t", "\tb", r"note: --prime: \t is read as a tab"),
        (r"a\nb", "ab\n\\", r"a\nb", r"note: --prime: \n is read as two characters"),
        (r"a\nb", "ab", r"a\nb", ""),
        ("a\nb", "ab\n", "a\nb", ""),
        ("e\u0301", "é", "e\u0301", "note: --prime: 1 character is read in another Unicode form"),
    ],
)
def test_a_prompt_is_read_as_it_was_meant(typed, known, meant, note, capsys):
    assert as_meant("--prime", typed, model(known)) == meant
    said = capsys.readouterr().err
    assert said.startswith(note) and bool(said) == bool(note)


def test_a_file_is_read_as_it_stands(capsys):
    assert as_meant("--prime-file", r"a\nb", model("ab\n"), is_typed=False) == r"a\nb"
    assert capsys.readouterr().err == ""
