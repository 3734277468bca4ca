"""docs/lecture.ipynb runs from start to end in a real kernel, and says what it is there to show."""

import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from nbconvert import MarkdownExporter

PLACE = Path(__file__).parents[2] / "docs/lecture.ipynb"


@pytest.fixture(scope="module")
def executed(tmp_path_factory):
    notebook = nbformat.read(PLACE, 4)
    where = {"metadata": {"path": str(tmp_path_factory.mktemp("lecture"))}}
    # The kernel gets a whole minute more than the lecture may take on a busy machine.
    NotebookClient(notebook, timeout=120, resources=where).execute()
    return notebook


def output(notebook, name):
    [cell] = [cell for cell in notebook.cells if cell.id == name]
    return "".join(part.text for part in cell.get("outputs", []) if part.output_type == "stream")


def test_it_has_ten_cells_and_no_outputs():
    notebook = nbformat.read(PLACE, 4)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert len(cells) == 10
    assert all(not cell.outputs and cell.execution_count is None for cell in cells)


@pytest.mark.medium
def test_a_converted_notebook_has_few_lines_of_progress(executed):
    text, _ = MarkdownExporter().from_notebook_node(executed)
    assert len(re.findall(r"^ *step [\d,]+/300", text, re.M)) == 5
    assert "it/s" not in text and "0%" not in text
    assert max(len(output(executed, cell.id).splitlines()) for cell in executed.cells) < 20


@pytest.mark.medium
def test_the_step_by_hand_is_the_networks(executed):
    assert float(output(executed, "explain").split()[-1]) < 1e-5


@pytest.mark.medium
def test_the_gradient_vanishes_in_the_rnn_and_less_in_the_lstm(executed):
    rows = [line.split() for line in output(executed, "vanish").splitlines()]
    last = {row[0]: float(row[-1]) for row in rows[1:]}
    assert last["rnn"] < 1e-9 < 1e-6 < last["lstm"]


@pytest.mark.medium
def test_large_weights_explode_and_are_clipped(executed):
    norms = re.findall(r"is ([\d,.]+), clipped ([\d.]+)", output(executed, "clip"))
    before = [float(norm.replace(",", "")) for norm, _ in norms]
    assert before[2] > 1000 * before[1] > 1000 * before[0]
    assert norms[2][1] == "1.00"


@pytest.mark.medium
def test_a_unit_counts_the_letters(executed):
    assert abs(float(output(executed, "cells").splitlines()[0].split()[-1])) > 0.9
