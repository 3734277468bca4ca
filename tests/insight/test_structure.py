"""What structure samples keep, in small texts whose brackets and words are counted by hand."""

import pytest

from charrnn.insight.structure import functions, paired, shares


@pytest.mark.parametrize(
    ("text", "partnered", "crossed", "broken"),
    [
        ("([])", {"()": 2, "[]": 2}, 0, 0),
        (")(", {}, 0, 0),  # opened before the piece, closed after it
        ("(]", {}, 1, 1),
        ("([)]", {}, 1, 2),  # [ and ( are given up, and ] has nothing to close
        ("(()", {"()": 2}, 0, 0),
        ("(])", {"()": 2}, 1, 1),  # a closer of a kind that is not open gives up nothing
    ],
)
def test_a_bracket_closes_what_was_opened_last(text, partnered, crossed, broken):
    kinds = {"(": "()", ")": "()", "[": "[]", "]": "[]"}
    assert paired((kinds[sign], sign in "([") for sign in text) == (partnered, crossed, broken)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("int f()\n{\n\tif (x) {\n\t}\n}\n", (1, 1)),
        ("int f() {\n\tif (x) {\n}\n", (0, 1)),
        ("int f() {\n\t}\n}\n", (0, 1)),  # closed too early
        ("int f() {\n\t}\n\t{\n}\n", (0, 1)),
        ("int f() {\nint g() {\n}\n", (1, 2)),  # the first never ends
        ("\t}\n}\nint f() {\n\t", (0, 0)),  # cut off at both ends
        ("\\footnote{\n}\n", (0, 0)),
        ("struct s {\n\tint a;\n};\nint x;\n", (1, 1)),
    ],
)
def test_functions_run_from_a_brace_that_ends_a_line_to_one_at_column_0(text, expected):
    assert functions(text) == expected


def test_environments_close_by_name():
    # b is closed while c, which began inside it, is open.
    text = r"\end{a} \begin{b} x \begin{c} \end{b} \begin{d}\end{d}"
    table = shares([text], None, whole=True)
    share = table["environments"]
    closed = table["environments_closed"]
    assert (share.good, share.all, closed.good, closed.all) == (2, 6, 1, 3)


def test_quotes_are_paired_in_each_whole_paragraph():
    text = 'a "\n\n"b"\n\nc " c\n\nnone\n\n" d'
    inner, whole = shares([text], None, whole=False)['"'], shares([text], None, whole=True)['"']
    assert (inner.good, inner.all, whole.good, whole.all) == (1, 2, 1, 4)


def test_words_cut_off_by_a_piece_s_ends_do_not_count():
    share = shares(["ind the WORD xq f"], {"the", "word", "ind", "f"}, whole=False)["words"]
    assert (share.good, share.all) == (2, 3)
