"""charrnn report: one HTML page about a run, to be opened from disk."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from charrnn.cli.chosen import read_chosen
from charrnn.cli.json_lines import write_json
from charrnn.cli.options import PATH, Device, Run, option, switch
from charrnn.cli.result_view import check_place
from charrnn.terminal import one_line, print_line, say


def report(
    run: Run = None,
    out: Annotated[
        Path | None,
        option(
            "--out",
            help="Write the page to this file",
            metavar=PATH,
            default="report.html in the run",
        ),
    ] = None,
    device: Device = None,
    json: Annotated[
        bool, switch("--json", help="Print one JSON object on standard output")
    ] = False,
) -> None:
    """Write one HTML page about a run

    How it learnt, what it reaches, what it wrote and what its cells follow. The page works offline.
    """
    if out is not None:
        check_place("--out", out)

    from charrnn.machine.runtime import choose_device
    from charrnn.report.contents import folder_of, gather
    from charrnn.report.page import page
    from charrnn.storage import write_atomically
    from charrnn.texts import OpenedRun

    if device is not None:
        choose_device(device)  # refused before anything is scored
    model = read_chosen(run)
    place = out or folder_of(model) / "report.html"
    contents = gather(OpenedRun(model), say, device)
    data = page(contents)
    write_atomically(place, data, "--out")
    if json:
        about = {
            "run": str(model.path),
            "step": model.step,
            "report": str(place),
            "bytes": len(data),
            "splits": contents["results"]["splits"],
            "results": contents["results"]["rows"],
        }
        write_json([about])
    else:
        print_line(f"{one_line(str(place))}: {len(data) / 1e6:.1f} MB; open it in a browser")
