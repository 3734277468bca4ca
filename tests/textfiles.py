"""Texts written to files, surveyed and built: shared by the tests of the folders."""

from dataclasses import replace

from hypothesis import HealthCheck, settings

from charrnn.text.building import build, survey

NAMES = "".join(f"name{index}\n" for index in range(40))
reusing_files = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def survey_text(folder, text, options, seed=1, **files):
    """Write text (str or bytes) and files of their own (val, test); return survey and settings."""
    for name, content in {"text": text, **files}.items():
        data = content if isinstance(content, bytes) else content.encode()
        (folder / f"{name}.txt").write_bytes(data)
    options = replace(options, **{name: str(folder / f"{name}.txt") for name in files})
    return survey(str(folder / "text.txt"), options, seed), options


def build_text(folder, text, options, seed=1, **files):
    """Survey a text and build it into folder/corpus; return the corpus and all notes."""
    survey_of_text, options = survey_text(folder, text, options, seed, **files)
    corpus, notes = build(survey_of_text, options, seed, folder / "corpus")
    return corpus, [*survey_of_text.notes, *notes]


def texts(corpus):
    """Return the text of each split."""
    return {name: corpus.vocabulary.decode(corpus.split(name)) for name in corpus.bounds}


def lines_of(corpus, name):
    """Return the lines of a split."""
    return texts(corpus)[name].split("\n")[:-1]
