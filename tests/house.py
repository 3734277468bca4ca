"""The package as a graph: its files, their rooms, and what each imports."""

import ast
from pathlib import Path

PACKAGE = Path(__file__).parent.parent / "charrnn"


# Who may know whom, from left to right. A room that is not named on a line is not known there.
MAY_IMPORT = {
    "text": (),
    "model": (),  # and so no disk
    "machine": ("model",),
    "modelfile": ("text",),
    "newest": ("text", "modelfile"),
    "texts": ("text", "modelfile"),
    "sampling": ("text", "modelfile", "texts"),
    "scoring": ("text", "model", "machine", "modelfile", "texts", "sampling"),
    "parallel": (),
    "training": (
        "text",
        "model",
        "machine",
        "newest",
        "modelfile",
        "texts",
        "sampling",
        "scoring",
        "parallel",
    ),
    "insight": ("text", "model", "machine", "modelfile", "texts", "sampling", "scoring"),
    "lab": (
        "text",
        "model",
        "machine",
        "modelfile",
        "texts",
        "sampling",
        "scoring",
        "training",
        "insight",
    ),
    "report": (
        "text",
        "model",
        "machine",
        "newest",
        "modelfile",
        "texts",
        "sampling",
        "scoring",
        "training",
        "lab",
        "insight",
        "export",
    ),
    "export": ("text", "modelfile", "texts", "sampling", "scoring", "training", "insight"),
    "api": (
        "text",
        "model",
        "machine",
        "modelfile",
        "texts",
        "sampling",
        "scoring",
        "parallel",
        "training",
        "report",
        "progress",
        "notebook",
        "events",
    ),
    "events": ("training",),
    "callbacks": ("events",),
    "screen": (),
    "notebook": (),
    "progress": ("screen", "notebook", "scoring", "training"),
    "tables": (),
    "picture": ("lab",),
}


def imports_of(path: Path, *, top_level: bool = False) -> set[str]:
    """Every module and name that a file imports: at its top, inside functions and under
    TYPE_CHECKING.
    """
    tree = ast.parse(path.read_text())
    nodes = tree.body if top_level else ast.walk(tree)
    imported = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            imported |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            imported |= names | {node.module}
    return imported


def is_under(module: str, allowed: set[str]) -> bool:
    return any(module == name or module.startswith(name + ".") for name in allowed)
