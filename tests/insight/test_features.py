"""Features of a text against strings worked by hand, with a sign below each character."""

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from charrnn.insight import features as room
from charrnn.insight.features import DIALECTS, dialect_of, features


def drawn(text, name, dialect="text"):
    """A feature as a string: a digit a character, and for binary ones a dot where it is not so."""
    feature = {feature.name: feature for feature in features(text, dialect)}[name]
    digits = "".join(str(int(value)) for value in feature.values)
    return digits.replace("0", ".").replace("1", "x") if feature.is_binary else digits


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("position in the line", "ab\ncde\n\nf", "120123001"),
        ("position in the line", "\n\nab", "0012"),
        ("indentation", "  a b\n c\td\n", "12222011110"),
        ("indentation", "\tx\n \ty", "880188"),
        ("in the indentation", "  a b\n c\n", "xx....x.."),
        ("in a word", "It's a_1, é-x!", "xx.x.xxx..x.x."),
        ("start of a word", "It's a_1, é-x!", "x..x.x....x.x."),
        ("position in the word", "It's a_1, é-x!", "12010123001010"),
        ("capital letter", "Ab CÉ1z", "x..xx.."),
        ("digit", "a1 23x", ".x.xx."),
        ("in ()", "a(b(c)d)e)(", ".xxxxxx...x"),
        ("depth of ()", "a(b(c)d)e)(", "01122110001"),
        ("depth of {}", "{{}\n\n}", "121110"),
        ("depth of []", "[[a\n\nb]", "1222000"),
        ("in ()", r"\((a\)b)", "..xxxxx."),
        ("in quotes", 'a "b c" d "e', "..xxxx....xx"),
        ("in quotes", '"a\n\nb "c"', "xxx...xx."),
        ("in quotes", r'a \"b "c\"d" e', "......xxxxx..."),
        ("in quotes", "“a” „b“ ”c", "xx..xx...."),
        ("in quotes", '“a"b” c', "xxxx..."),
        ("in quotes", "don't ``say it's'' `so'", "." * 7 + "x" * 10 + "." * 6),
    ],
)
def test_of_any_text(name, text, expected):
    assert drawn(text, name) == expected


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("in quotes", r'p("a\"b", c);', "..xxxxx......"),
        ("in quotes", r"""c = '"'; d = "\\";""", "....xx.......xxx.."),
        ("in quotes", '"a\nb";', "xx..xx"),
        ("in quotes", '"a\\\nb";', "xxxxx.."),
        ("in quotes", '/* "a" */ "b"', ".........." + "xx."),
        ("in a comment", "a/*b*/c", "..xxx.."),
        ("in a comment", "/*/ */a", ".xxxx.."),
        ("in a comment", "/**//a", ".xx..."),
        ("in a comment", "a // b\nc", "...xxx.."),
        ("in a comment", "// b\\\nc\nd", ".xxxxxx.."),
        ("in a comment", '"/*" /*', "......x"),
        ("in a comment", "a / * b /* ", ".........xx"),
        ("in a comment", "/* // */ a", ".xxxxxx..."),
        ("depth of ()", "f(')', /* ( */ \"(\", (", "0" + "1" * 19 + "2"),
        ("depth of {}", "{{}\n}{", "121101"),
        ("depth of {}", "{{\n#if\n}\n}}{", "122222200001"),
    ],
)
def test_of_c(name, text, expected):
    assert drawn(text, name, "c") == expected


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("in a comment", "a%b\nc\\%d", ".xx....."),
        ("in a comment", "\\\\%b\n", "..xx."),
        ("in mathematics", "a $b$ c", "..xx..."),
        ("in mathematics", "a $$b$$ c", "..xxxx..."),
        ("in mathematics", "$a$$b$c", "xx.xx.."),
        ("in mathematics", "$$$$a", "xxx.."),
        ("in mathematics", r"\$ $a\$b$", "...xxxxx."),
        ("in mathematics", r"\(a\)b\[c\]d", ".xxx...xxx.."),
        ("in mathematics", r"\[a\)b\]c", ".xxxxxx.."),
        ("in mathematics", r"\\[2pt] $a$", "........xx."),
        ("in mathematics", "$a\n\nb$c", "xxx..xx"),
        ("in mathematics", "$a%$\nb$c", "xxxxxx.."),
        ("in mathematics", r"\begin{align*}a\end{align*}b", "." * 13 + "x" * 13 + ".."),
        ("in mathematics", r"\begin{proof}a$b$\end{proof}", "." * 14 + "xx" + "." * 12),
        (
            "depth of environments",
            r"\begin{a}x\begin{b}\end{b}y\end{a}\end{c}",
            "0" * 8 + "1" * 10 + "2" * 7 + "1" * 8 + "0" * 8,
        ),
        ("depth of environments", "\\begin{a}%\\end{a}\n\\end{a}", "0" * 8 + "1" * 16 + "0"),
        ("in {}", r"\a{b\{c}\}", "..xxxxx..."),
        ("in ()", "(%(\n)", "xxxx."),
        ("in quotes", "a ``b'' c% ``", "...xxx......."),
        ("in quotes", "``f'%\n'a''", ".xxxxxxxx."),
    ],
)
def test_of_latex(name, text, expected):
    assert drawn(text, name, "tex") == expected


@given(
    st.text("ab A1\n\t\"'`“”\\/*%$()[]{}", max_size=60),
    st.sampled_from(DIALECTS),
    st.integers(0, 60),
)
@example(r"\begin{align}$\end{align}$$", "tex", 14)
def test_no_feature_looks_ahead(text, dialect, length):
    """A feature of the beginning is the beginning of the feature: later text changes nothing."""
    short = {feature.name: feature.values for feature in features(text[:length], dialect)}
    whole = {feature.name: feature.values for feature in features(text, dialect)}
    for name in short.keys() & whole.keys():
        np.testing.assert_array_equal(short[name], whole[name][:length])


@given(st.text("aA1\n\t\"'`\\/*%$()[]{}begind", max_size=60), st.sampled_from(DIALECTS))
def test_every_feature_has_a_number_for_every_character(text, dialect):
    for feature in features(text, dialect):
        assert feature.values.shape == (len(text),) and (feature.values >= 0).all()
        assert not feature.is_binary or set(feature.values) <= {0, 1}


@pytest.mark.parametrize("text", ["", "a", "aaaa", "\n"])
def test_what_is_constant_is_left_out(text):
    assert [feature.name for feature in features(text)] == (
        ["position in the line", "start of a word"] if text == "aaaa" else []
    )


def test_the_same_values_are_not_offered_twice():
    names = [feature.name for feature in features("(a) [[b]]")]
    assert "depth of ()" not in names and "in ()" in names
    assert "depth of []" in names and "in []" in names


@pytest.mark.parametrize(
    ("text", "dialect"),
    [
        ("int f(void)\n{\n\treturn 0;\n}\n", "c"),
        ("Let $x$ be so.\n\\begin{proof}\nWe are done.\n\\end{proof}\n", "tex"),
        ("First Citizen:\nBefore we proceed; hear me\nspeak.\n" * 5, "text"),
        ("", "text"),
    ],
)
def test_the_dialect_is_what_most_lines_look_like(text, dialect):
    assert dialect_of(text) == dialect


def test_c_and_tex_have_their_own_features():
    names = {
        dialect: {feature.name for feature in features("$a$ /*b*/ %c\n{", dialect)}
        for dialect in DIALECTS
    }
    assert "in mathematics" in names["tex"] and "in mathematics" not in names["c"] | names["text"]
    assert "in a comment" in names["c"] & names["tex"] and "in a comment" not in names["text"]


def test_distance_since_counts_from_the_last_mark():
    marks = np.array([0, 0, 1, 0, 1, 1, 0], bool)
    assert room.distance_since(marks).tolist() == [1, 2, 0, 1, 0, 0, 1]
