"""The arrows of the house, read from the imports: who may know whom."""

from functools import cache
from pathlib import Path

import pytest
from house import MAY_IMPORT, PACKAGE, imports_of, is_under

# The ground belongs to no room and may be used by all of them. A file that loads a module by its
# name at run time (charrnn/__init__.py) is a door, not an arrow.
GROUND = (
    "charrnn",
    "errors",
    "terminal",
    "values",
    "sections",
    "config",
    "layers",
    "storage",
    "strictjson",
    "temporary",
    "layout",
    "launch",
    "kernel",
)


ANY = (*MAY_IMPORT, "cli")


def module_of(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_of(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def room_of(module: str) -> str:
    """charrnn.text.corpus -> text; charrnn.storage -> storage; charrnn -> charrnn."""
    return module.split(".")[1] if "." in module else module


@cache
def arrows_of(module: str) -> frozenset[str]:
    """The files of the package that a file imports. Those for type checkers alone count too."""
    imported = imports_of(MODULES[module])
    files = {name for name in imported if name in MODULES}
    # `from charrnn.text import corpus` imports the file, not the package around it.
    packages = {name for name in files if any(other.startswith(name + ".") for other in files)}
    return frozenset(files - packages - {module})


def test_every_file_has_its_room():
    assert {room_of(module) for module in MODULES} == {*GROUND, *ANY, "__main__"}


@pytest.mark.parametrize("room", MAY_IMPORT)
def test_arrows_point_left(room):
    allowed = {*GROUND, room, *MAY_IMPORT[room]}
    for module in MODULES:
        if room_of(module) == room:
            for other in arrows_of(module):
                assert room_of(other) in allowed, f"{module} imports {other}"


@pytest.mark.parametrize("room", [room for room in GROUND if room != "charrnn"])
def test_the_ground_knows_no_room(room):
    for module in MODULES:
        if room_of(module) == room:
            for other in arrows_of(module):
                assert room_of(other) in GROUND, f"{module} imports {other}"


def circle_of(arrows: dict[str, frozenset[str]]) -> list[str]:
    """A circle of imports, if there is one: what is left when whatever imports nothing that is left
    is taken away.
    """
    left = dict(arrows)
    while left:
        ends = [name for name, others in left.items() if not others & left.keys()]
        if not ends:
            return sorted(left)
        for name in ends:
            del left[name]
    return []


def test_no_files_import_each_other():
    assert circle_of({module: arrows_of(module) for module in MODULES}) == []


def test_no_rooms_import_each_other():
    rooms: dict[str, set[str]] = {}
    for module in MODULES:
        known = {room_of(other) for other in arrows_of(module)}
        rooms[room_of(module)] = rooms.get(room_of(module), set()) | known
    arrows = {room: frozenset(others - {room, "charrnn"}) for room, others in rooms.items()}
    assert circle_of(arrows) == []


@pytest.mark.parametrize(
    ("arrows", "circle"),
    [
        ({"a": {"b"}, "b": {"c"}, "c": set()}, []),
        ({"a": {"b"}, "b": {"a"}}, ["a", "b"]),
        ({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": set()}, ["a", "b", "c"]),
    ],
)
def test_a_circle_is_found(arrows, circle):
    assert circle_of({name: frozenset(others) for name, others in arrows.items()}) == circle


SCREENS = ("screen", "notebook", "progress", "tables", "picture")
NO_TORCH = [
    module
    for module in MODULES
    if room_of(module) in (*GROUND, "text", "modelfile", "texts", "sampling", "export", *SCREENS)
]


@pytest.mark.parametrize("module", NO_TORCH)
def test_no_torch_in_text_sampling_and_on_the_ground(module):
    if module not in ("charrnn.text.batches", "charrnn.text.batching"):
        assert not is_under_any_torch(imports_of(MODULES[module]))


@pytest.mark.parametrize(
    "module",
    [
        *(
            f"scoring.{name}"
            for name in ("score", "text", "evaluation", "card", "figures", "detail", "counting")
        ),
        *(f"scoring.{name}" for name in ("compressors", "bootstrap", "overlap", "baselines")),
        *(f"insight.{name}" for name in ("cells", "features", "search")),
    ],
)
def test_what_works_on_nats_loads_no_torch(module):
    """A counting model is scored without torch: what knows networks is loaded when one is met."""
    path = MODULES[f"charrnn.{module}"]
    modules = imports_of(path, top_level=True)
    assert not is_under_any_torch(modules), path
    networks = {
        *(f"charrnn.{room}" for room in ("model", "machine", "training")),
        "charrnn.text.batches",
        "charrnn.text.batching",
        "charrnn.scoring.network",
    }
    assert not any(is_under(name, networks) for name in modules), path


def is_under_any_torch(modules: set[str]) -> bool:
    return any(module.split(".")[0] == "torch" for module in modules)
