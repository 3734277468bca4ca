"""charrnn export: a trained model as one page, for numpy, for ONNX Runtime, or for a hub.

Never loads torch.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from charrnn.cli.chosen import read_chosen, say_chosen
from charrnn.cli.json_lines import write_json
from charrnn.cli.options import OUTPUT, PATH, TEXT, Run, option, switch
from charrnn.cli.result_view import check_place
from charrnn.errors import SettingsError, StorageError
from charrnn.terminal import one_line, print_line, say

FORMS = "Forms"


def export(
    run: Run = None,
    html: Annotated[
        Path | None,
        option(
            "--html",
            help="Write one HTML page in which anybody can write with the model, offline",
            metavar=PATH,
            default="none",
            panel=FORMS,
        ),
    ] = None,
    numpy: Annotated[
        Path | None,
        option(
            "--numpy",
            help="Write a Python file that samples with numpy alone, and its weights beside it",
            metavar=PATH,
            default="none",
            panel=FORMS,
        ),
    ] = None,
    onnx: Annotated[
        Path | None,
        option(
            "--onnx",
            help="Write an ONNX graph (needs onnx)",
            metavar=PATH,
            default="none",
            panel=FORMS,
        ),
    ] = None,
    hub: Annotated[
        Path | None,
        option(
            "--hub",
            help="Write a directory for a model hub: weights, vocabulary and a model card",
            metavar=PATH,
            default="none",
            panel=FORMS,
        ),
    ] = None,
    weights: Annotated[
        str,
        option(
            "--weights",
            help="Precision of the weights in the page",
            choices=("auto", "float32", "float16"),
            metavar=TEXT,
            default="auto",
            panel=FORMS,
        ),
    ] = "auto",
    known: Annotated[
        bool,
        switch(
            "--known/--no-known",
            help="Put a filter of the training lines into the page, which marks known ones",
            panel=FORMS,
            default="--known",
        ),
    ] = True,
    overwrite: Annotated[
        bool, switch("--overwrite", help="Replace files that are there already", panel=OUTPUT)
    ] = False,
    json: Annotated[
        bool, switch("--json", help="Print one JSON object on standard output", panel=OUTPUT)
    ] = False,
) -> None:
    """Write a trained model for other programs

    A page for a browser, a Python file to read and run, an ONNX graph, or a directory for a hub.
    """
    # 1. What can be refused before anything is loaded.
    if html is None and numpy is None and onnx is None and hub is None:
        raise SettingsError(
            "say what to write: --html FILE, --numpy FILE.py, --onnx FILE or --hub DIRECTORY"
        )
    if weights not in ("auto", "float32", "float16"):
        raise SettingsError(f"--weights {one_line(weights)!r} is not one of auto, float32, float16")
    if html is not None:
        html = html if html.suffix else html.with_name(f"{html.name}.html")  # browsers go by it
        check_place("--html", html)
        _check_absent("--html", html, overwrite)
    if numpy is not None:
        _check_python(numpy, overwrite)
    if onnx is not None:
        _check_onnx(onnx, overwrite)
    if hub is not None:
        _check_hub(hub, overwrite)

    from charrnn.export.named import check_network
    from charrnn.storage import write_atomically
    from charrnn.texts import OpenedRun

    # 2. The model, and what is known of it.
    model = read_chosen(run)
    for name, place in (("--numpy", numpy), ("--onnx", onnx)):
        if place is not None:
            check_network(model, name)
    say_chosen(run, model)
    facts = None
    if onnx is not None or hub is not None:
        from charrnn.export.facts import gathered

        say("scoring the test text and drawing samples for the model card")
        facts = gathered(OpenedRun(model))

    # 3. The files.
    written: list[Path] = []
    if html is not None:
        from charrnn.export.page import page_of

        page = page_of(model, weights=weights, with_filter=known)
        write_atomically(html, page, "--html")
        written.append(html)
    if model.vocabulary.labels and not (numpy is None and onnx is None):
        say("note: --numpy and --onnx write without its labels")
        model = model.without_labels()
    if numpy is not None:
        from charrnn.export.numpy_script import files

        for ending, data in files(model, numpy.stem).items():
            write_atomically(numpy.with_suffix(ending), data, "--numpy")
            written.append(numpy.with_suffix(ending))
    if onnx is not None and facts is not None:
        from charrnn.export.card import ONNX_USE, card
        from charrnn.export.graph import graph

        write_atomically(onnx, graph(model, card(facts, ONNX_USE)), "--onnx")
        written.append(onnx)
    if hub is not None and facts is not None:
        from charrnn.export.hub import write_folder

        written += write_folder(hub, facts)

    # 4. What is said about it.
    if model.ally is not None and (numpy is not None or onnx is not None):
        say("note: the network alone was written, without the n-grams that charrnn mixes with it")
    if json:
        files_of = [{"path": str(file), "bytes": file.stat().st_size} for file in written]
        write_json([{"run": str(model.path), "step": model.step, "files": files_of}])
        return
    for file in written:
        print_line(f"{one_line(str(file))}: {file.stat().st_size:,} bytes")


def _check_python(path: Path, overwrite: bool) -> None:
    """Check where the program and its weights shall go. Raises SettingsError, StorageError."""
    if path.suffix != ".py":
        raise SettingsError(f"--numpy {one_line(str(path))}: the name of a Python file ends in .py")
    for place in (path, path.with_suffix(".npz")):
        check_place("--numpy", place)
        _check_absent("--numpy", place, overwrite)


def _check_onnx(path: Path, overwrite: bool) -> None:
    """Check that a graph can be written there. Raises SettingsError, StorageError."""
    from importlib.util import find_spec

    check_place("--onnx", path)
    _check_absent("--onnx", path, overwrite)
    if find_spec("onnx") is None:
        raise SettingsError(
            "--onnx needs onnx; in the clone: pip install -c constraints.txt -e '.[export]'"
        )


def _check_hub(folder: Path, overwrite: bool) -> None:
    """Check that a directory is new, empty, or to overwrite. Raises SettingsError, StorageError."""
    shown = one_line(str(folder))
    if folder.exists() and not folder.is_dir():
        raise StorageError(f"--hub {shown} is a file; name a directory")
    if not folder.is_dir():
        return
    if (folder / "checkpoints").is_dir():
        raise SettingsError(f"--hub {shown} is a run, and stays one; name another directory")
    if any(folder.iterdir()) and not overwrite:
        raise SettingsError(f"--hub {shown} holds files; pass --overwrite, or name a new directory")


def _check_absent(option: str, path: Path, overwrite: bool) -> None:
    if path.exists() and not overwrite:
        shown = one_line(str(path))
        raise SettingsError(f"{option} {shown} is there already; pass --overwrite to replace it")
