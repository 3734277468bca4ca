"""The arrows of the house, read from the imports: who may know whom."""

import ast
from functools import cache
from pathlib import Path

import pytest
from loaded import loaded_after

PACKAGE = Path(__file__).parent.parent / "charrnn"

# The ground belongs to no room and may be used by all of them. A file that loads a module by its name at run time
# (charrnn/__init__.py) is a door, not an arrow.
GROUND = (
    "charrnn",
    "errors",
    "terminal",
    "values",
    "config",
    "layers",
    "storage",
    "layout",
    "kernel",
)
# Who may know whom, from left to right. A room that is not named on a line is not known there.
MAY_IMPORT = {
    "text": (),
    "model": (),  # and so no disk
    "machine": ("model",),
    "modelfile": ("text",),
    "texts": ("text", "modelfile"),
    "sampling": ("text", "modelfile", "texts"),
    "scoring": ("text", "model", "machine", "modelfile", "texts", "sampling"),
    "training": ("text", "model", "machine", "modelfile", "texts", "sampling", "scoring"),
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
        "modelfile",
        "texts",
        "sampling",
        "scoring",
        "training",
        "insight",
    ),
    "progress": ("scoring", "training"),
    "picture": ("lab",),
}
ANY = (*MAY_IMPORT, "cli")


def module_of(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_of(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def room_of(module: str) -> str:
    """charrnn.text.corpus -> text; charrnn.storage -> storage; charrnn -> charrnn."""
    return module.split(".")[1] if "." in module else module


def imports_of(path: Path, *, top_level: bool = False) -> set[str]:
    """Every module and name that a file imports: at its top, inside functions and under TYPE_CHECKING."""
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


@cache
def arrows_of(module: str) -> frozenset[str]:
    """The files of the package that a file imports. Those for type checkers alone count too."""
    imported = imports_of(MODULES[module])
    files = {name for name in imported if name in MODULES}
    # `from charrnn.text import corpus` imports the file, not the package around it.
    packages = {name for name in files if any(other.startswith(name + ".") for other in files)}
    return frozenset(files - packages - {module})


def is_under(module: str, allowed: set[str]) -> bool:
    return any(module == name or module.startswith(name + ".") for name in allowed)


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
    """A circle of imports, if there is one: what is left when whatever imports nothing that is left is taken away."""
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


NO_TORCH = [
    module
    for module in MODULES
    if room_of(module) in (*GROUND, "text", "modelfile", "texts", "sampling", "progress", "picture")
]


@pytest.mark.parametrize("module", NO_TORCH)
def test_no_torch_in_text_sampling_and_on_the_ground(module):
    if module != "charrnn.text.batches":
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
        "charrnn.scoring.network",
    }
    assert not any(is_under(name, networks) for name in modules), path


def is_under_any_torch(modules: set[str]) -> bool:
    return any(module.split(".")[0] == "torch" for module in modules)


@pytest.mark.parametrize("file", sorted((PACKAGE / "cli").glob("*.py")))
def test_commands_import_nothing_heavy_at_the_top(file):
    for module in imports_of(file, top_level=True):
        heavy = module.split(".")[0] in ("torch", "numpy", "safetensors", "rich", "tqdm")
        assert not heavy and not is_under(module, {f"charrnn.{room}" for room in MAY_IMPORT}), (
            f"{file.name} imports {module}"
        )


def test_a_lab_result_is_plain_data():
    modules = imports_of(PACKAGE / "lab/result.py")
    assert not {module.split(".")[0] for module in modules} & {"torch", "numpy", "charrnn"}


def test_the_model_never_touches_a_disk():
    for path in (PACKAGE / "model").glob("*.py"):
        names = {
            node.id for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Name)
        }
        assert not names & {"open", "Path"}, path
        assert not is_under_any_disk(imports_of(path)), path


def is_under_any_disk(modules: set[str]) -> bool:
    return bool(modules & {"os", "pathlib", "charrnn.storage"})


def test_only_progress_knows_rich_and_tqdm():
    for path in PACKAGE.rglob("*.py"):
        known = {module.split(".")[0] for module in imports_of(path)} & {"rich", "tqdm"}
        assert not known or path.name == "progress.py", path


def test_only_picture_knows_matplotlib():
    """It is an extra: every other file must work without it."""
    for path in PACKAGE.rglob("*.py"):
        known = {module.split(".")[0] for module in imports_of(path)} & {"matplotlib", "PIL"}
        assert not known or path.name == "picture.py", path


def test_only_storage_changes_a_disk():
    """So that a fault can be planted at every call (tests/test_faults.py). Directories made in vain are removed whole."""
    changing = {
        "write_bytes",
        "write_text",
        "unlink",
        "rename",
        "mkdir",
        "touch",
        "truncate",
        "fsync",
        "makedirs",
        "remove",
    }
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())) if path.name != "storage.py" else ():
            if not isinstance(node, ast.Call):
                continue
            called = node.func
            if (
                isinstance(called, ast.Attribute)
                and isinstance(called.value, ast.Name)
                and called.value.id != "disk"
            ):
                assert called.attr not in changing or called.value.id == "file", (
                    f"{path.name}:{node.lineno}"
                )
                assert (called.value.id, called.attr) != ("os", "replace"), (
                    f"{path.name}:{node.lineno}"
                )
            if isinstance(called, ast.Name) and called.id == "open":
                assert [getattr(mode, "value", None) for mode in node.args[1:]] == ["rb"], (
                    f"{path.name}:{node.lineno}"
                )


# What turns bytes of a file, or words of a person, into code.
BUILT_IN = {"eval", "exec", "compile", "__import__"}
RUNS_CODE = {
    *BUILT_IN,
    "builtins",
    "code",
    "codeop",
    "runpy",
    "pty",
    "subprocess",
    "os.system",
    "os.popen",
    "os.execv",
    "os.spawnv",
    "os.posix_spawn",
    "tempfile.mktemp",
    "pickle",
    "cPickle",
    "_pickle",
    "shelve",
    "marshal",
    "dill",
    "cloudpickle",
    "joblib",
    "yaml",
    "pandas",
    "torch.load",
    "torch.save",
    "torch.jit",
    "torch.hub",
    "torch.package",
    "torch.serialization",
    "numpy.load",
    "numpy.save",
    "numpy.savez",
    "numpy.lib",
}


def used_in(source: str) -> set[str]:
    """Every dotted name that a source imports or looks up, under its real name: np.load is numpy.load."""
    tree = ast.parse(source)
    real, found = {}, set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            real |= {
                alias.asname or alias.name.split(".")[0]: alias.name
                if alias.asname
                else alias.name.split(".")[0]
                for alias in node.names
            }
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            real |= {
                alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names
            }
            found |= {f"{node.module}.{alias.name}" for alias in node.names}

    def name_of(node: ast.AST) -> str:
        if isinstance(node, ast.Name):
            return real.get(
                node.id, node.id if node.id in BUILT_IN else "?"
            )  # "?": a name of its own
        return f"{name_of(node.value)}.{node.attr}" if isinstance(node, ast.Attribute) else "?"

    found |= {
        name_of(node) for node in ast.walk(tree) if isinstance(node, ast.Name | ast.Attribute)
    }
    found |= {
        f"{node.arg}="
        for node in ast.walk(tree)
        if isinstance(node, ast.keyword) and node.arg in ("shell", "allow_pickle")
    }
    return found


def runs_code(source: str) -> set[str]:
    return {name for name in used_in(source) if is_under(name, RUNS_CODE) or name.endswith("=")}


@pytest.mark.parametrize(
    "file", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE))
)
def test_nothing_runs_what_it_reads(file):
    assert runs_code(file.read_text()) == set()


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("import pickle", {"pickle"}),
        ("from torch import load as l", {"torch.load"}),
        ("import torch as t\nt.load(x)", {"torch.load"}),
        ("import numpy as np\nnp.load(x)", {"numpy.load"}),
        (
            "import torch\ntorch.serialization.add()",
            {"torch.serialization", "torch.serialization.add"},
        ),
        ("eval(x)", {"eval"}),
        ("run(x, shell=True)", {"shell="}),
        ("f(x, allow_pickle=True)", {"allow_pickle="}),
        ("from os import system", {"os.system"}),
        ("import yaml as y\ny.load(x)", {"yaml", "yaml.load"}),
        ("import builtins as b\nb.exec(x)", {"builtins", "builtins.exec"}),
        ("model.eval()", set()),
        ("import re\nre.compile(x)", set()),
        ("from safetensors.numpy import load\nload(x)", set()),
        ("code = 1\ncode.x", set()),
    ],
)
def test_what_would_run_code_is_found(source, found):
    assert runs_code(source) == found


SOURCES = [path for kind in ("*.py", "*.c", "*.h") for path in sorted(PACKAGE.rglob(kind))]


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_files_stay_comfortable(path):
    assert len(path.read_text().splitlines()) <= 400, "is there a second job inside?"


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["--version"],
        ["train", "--help"],
        ["sample", "--help"],
        ["eval", "--help"],
        ["cooccur", "--help"],
        ["cooccur", "--top", "0"],
        ["cells", "--help"],
        ["cells", "--top", "0"],
        ["train", "--no-such-option"],
        ["report", "--help"],
        ["report", "--out", "no/such/place"],
        ["lab", "--help"],
        ["lab", "vanish", "--help"],
        ["lab", "depth", "--plot", "x.gif"],
        ["lab", "explode", "--seed", "-1"],
        ["lab", "memory", "--csv", "-", "--json"],
        ["explain", "--help"],
        ["explain", "lstmm"],
        ["compare", "--help"],
        ["compare", "--vary", "lr=1"],
        ["train", "--hidden-size", "-3"],
        ["sample", "--temp", "x"],
        ["train", "--print-config"],
    ],
)
def test_help_version_and_usage_errors_load_neither_torch_nor_numpy(arguments, tmp_path):
    assert loaded_after(arguments, ("torch", "numpy"), tmp_path) == set()
