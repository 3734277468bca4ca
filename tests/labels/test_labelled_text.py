"""Labels of lines: read from prefixes and file names, kept beside the ids of a run, checked."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from labels_support import TEXT

from charrnn.config import TextSettings, resolve
from charrnn.errors import CheckpointError, CorpusError, SettingsError, VocabularyError
from charrnn.text.building import build, labels_of, survey, translate
from charrnn.text.corpus import open_corpus
from charrnn.text.labelled import without_prefixes
from charrnn.text.reading import pieces
from charrnn.text.sources import find_source
from charrnn.text.splits import SPLITS

PREFIX = TextSettings(label="prefix", split="0.6,0.2,0.2")
FILE = TextSettings(label="file")


def built(tmp_path, text=TEXT, settings=PREFIX, seed=1):
    path = tmp_path / "text.tsv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return build(survey(str(path), settings, seed), settings, seed, tmp_path / "corpus")[0]


def pairs_of(corpus, name):
    """(label, line) of each line of a split, in order; the label is "" where there is none."""
    lines = corpus.vocabulary.decode(corpus.split(name)).split("\n")[:-1]
    names = ["", *corpus.vocabulary.labels]
    labels = [names[number] for number in corpus.labels_of(name)]
    return list(zip(labels, lines, strict=True))


def test_each_line_keeps_the_label_that_stood_before_it(tmp_path):
    corpus = built(tmp_path)
    found = sorted(pair for name in SPLITS for pair in pairs_of(corpus, name))
    expected = [line.split("\t") for line in TEXT.splitlines()]
    assert found == sorted(("", *parts) if len(parts) == 1 else tuple(parts) for parts in expected)
    assert corpus.vocabulary.labels == ("Greek", "Irish", "Norse")
    assert not {"I", "\t"} & set(map(chr, corpus.vocabulary.symbols))


def test_a_line_with_two_labels_stands_in_one_split(tmp_path):
    for seed in range(8):
        corpus = built(tmp_path, seed=seed)
        splits = [{line for _, line in pairs_of(corpus, name)} for name in SPLITS]
        assert sum(map(len, splits)) == len(set.union(*splits)) == 11


def test_a_repeat_counts_once_for_each_label(tmp_path):
    corpus = built(tmp_path, "a\tx\nb\tx\na\tx\nx\nx\nb\ty\na\tz\n")
    found = sorted(pair for name in SPLITS for pair in pairs_of(corpus, name))
    assert found == [("", "x"), ("a", "x"), ("a", "z"), ("b", "x"), ("b", "y")]


def test_files_name_the_labels(tmp_path):
    folder = tmp_path / "names"
    folder.mkdir()
    (folder / "Irish.txt").write_bytes(b"aoife\r\nniamh")  # without a last newline
    (folder / "Greek.txt").write_text("\nniko\n\nleda\n")
    source, _ = find_source(str(folder), FILE)
    settings = dataclasses.replace(FILE, newlines="lf")
    codes = np.concatenate(list(pieces(source, settings)))
    lines = codes.astype("<u4").tobytes().decode("utf-32-le").split("\n")
    labels = labels_of(source, settings)
    found = {pair for pair in zip(lines, labels, strict=True) if pair[0]}
    assert found == {("aoife", "Irish"), ("niamh", "Irish"), ("niko", "Greek"), ("leda", "Greek")}
    corpus = build(survey(str(folder), FILE, 1), FILE, 1, tmp_path / "corpus")[0]
    assert sorted(pair for name in SPLITS for pair in pairs_of(corpus, name)) == sorted(
        (label, line) for line, label in found
    )


def test_a_table_names_its_labels_in_a_column(tmp_path):
    path = tmp_path / "names.csv"
    rows = [("Aoife", "Irish"), ('O"Neill, Niamh', "Irish"), ("Niko", "Greek"), ("Leif", "")]
    rows += [("two\nlines", "Norse"), ("", "Greek"), ("Kim", "Irish")]
    quoted = ['"' + name.replace('"', '""') + f'",{label},1' for name, label in rows]
    path.write_text("\n".join(["name,origin,n", *quoted]) + "\n")
    settings = TextSettings(column="name", label="origin")
    corpus = build(survey(str(path), settings, 1), settings, 1, tmp_path / "corpus")[0]
    found = sorted(pair for name in SPLITS for pair in pairs_of(corpus, name))
    kept = [(label, name.replace("\n", " ")) for name, label in rows if name]
    assert found == sorted(kept)


def test_a_labels_column_needs_a_table(tmp_path):
    with pytest.raises(SettingsError, match="is a column of a table; name the column of the texts"):
        built(tmp_path, "anna\nben\nbea\n" * 4, TextSettings(label="origin"))


@given(
    lines=st.lists(st.text("ab;\n é", max_size=6), max_size=8),
    cuts=st.lists(st.integers(0, 40), max_size=5),
    unit=st.sampled_from(["char", "byte"]),
)
def test_prefixes_do_not_depend_on_pieces(lines, cuts, unit):
    """Compared with str.partition on the whole text."""
    text = "\n".join(lines)
    whole = list(text) if unit == "char" else list(text.encode())
    codes = np.array([ord(c) if isinstance(c, str) else c for c in whole], np.uint32)
    codes = codes.astype(np.uint8) if unit == "byte" else codes
    edges = [0, *sorted(min(cut, len(codes)) for cut in cuts), len(codes)]
    parts = [codes[a:b] for a, b in zip(edges, edges[1:], strict=False)]
    settings = TextSettings(label="prefix", delimiter=";", unit=unit)
    labels = []
    found = b"".join(part.tobytes() for part in without_prefixes(parts, settings, labels))
    split = text.split("\n")
    if not split[-1]:
        split.pop()
    expected = [line.partition(";") for line in split]
    kept = "\n".join(rest if mark else line for line, mark, rest in expected)
    if text.endswith("\n") and split:
        kept += "\n"
    assert found.decode("utf-8" if unit == "byte" else "utf-32-le") == kept
    assert labels == [label.strip() if mark else "" for label, mark, _ in expected]


def test_other_labels_are_another_text(tmp_path):
    prints = set()
    for name in ("Irish", "Greek"):
        (tmp_path / name).mkdir()
        path = tmp_path / name / f"{name}.txt"
        path.write_text("aoife\nniko\nleda\nkim\n")
        prints.add(survey(str(path), FILE, 1).fingerprint)
        prints.add(survey(str(path), TextSettings(mode="lines"), 1).fingerprint)
    assert len(prints) == 3


@pytest.mark.parametrize("harm", ["lost", "short", "changed", "high"])
def test_damaged_labels_are_refused(tmp_path, harm):
    corpus = built(tmp_path)
    path = corpus.path.with_suffix(".labels")
    data = np.fromfile(path, "<u4")
    if harm == "lost":
        path.unlink()
    elif harm == "short":
        data[:-1].tofile(path)
    else:
        data[0] = 9 if harm == "high" else data[0] % 3 + 1
        data.tofile(path)
    with pytest.raises(CheckpointError, match="missing or damaged"):
        open_corpus(corpus.path.parent, corpus.fingerprint)


def test_a_corpus_in_another_vocabulary_keeps_its_labels(tmp_path):
    corpus = built(tmp_path)
    larger = dataclasses.replace(corpus.vocabulary, labels=("new", "Norse", "Irish", "Greek"))
    moved = translate(corpus, larger, tmp_path / "moved")
    reopened = open_corpus(tmp_path / "moved", moved.fingerprint)
    assert pairs_of(reopened, "train") == pairs_of(corpus, "train")


def test_labels_that_a_run_does_not_know_are_named(tmp_path):
    old = built(tmp_path)
    path = tmp_path / "text.tsv"
    path.write_text(TEXT.replace("Norse", "Dane"))
    with pytest.raises(VocabularyError, match=r"1 label that this model does not know \(Dane\)"):
        build(survey(str(path), PREFIX, 1), PREFIX, 1, tmp_path / "again", old.vocabulary)


@pytest.mark.parametrize(
    ("text", "message"),
    [("anna\nben\nbea\n", "has no label"), ("x" * 201 + "\tben\na\tbea\n", "201 characters")],
)
def test_a_text_without_labels_is_refused(tmp_path, text, message):
    with pytest.raises(CorpusError, match=message):
        built(tmp_path, text)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"label": "prefix", "mode": "stream"}, "leave out --mode stream"),
        ({"delimiter": ";"}, "--delimiter is for --label prefix"),
        ({"label": "prefix", "delimiter": ""}, "--delimiter is empty"),
    ],
)
def test_settings_that_contradict_labels_are_refused(values, message):
    with pytest.raises(SettingsError, match=message):
        resolve([("--", values)])
