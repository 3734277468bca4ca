"""Rules about single files: what each may load, touch, run, and how long it is."""

import ast
import shutil
import subprocess

import pytest
from house import MAY_IMPORT, PACKAGE, imports_of, is_under
from loaded import loaded_after


@pytest.mark.parametrize("file", sorted((PACKAGE / "cli").glob("*.py")))
def test_commands_import_nothing_heavy_at_the_top(file):
    for module in imports_of(file, top_level=True):
        heavy = module.split(".")[0] in ("torch", "numpy", "safetensors", "rich")
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


def test_only_two_screens_know_rich():
    for path in PACKAGE.rglob("*.py"):
        known = {module.split(".")[0] for module in imports_of(path)} & {"rich"}
        assert not known or path.name in ("screen.py", "tables.py"), path


def test_only_picture_knows_matplotlib():
    """It is an extra: every other file must work without it."""
    for path in PACKAGE.rglob("*.py"):
        known = {module.split(".")[0] for module in imports_of(path)} & {"matplotlib", "PIL"}
        assert not known or path.name == "picture.py", path


def test_only_the_graph_knows_onnx():
    """It is an extra too."""
    for path in PACKAGE.rglob("*.py"):
        known = {module.split(".")[0] for module in imports_of(path)} & {"onnx", "onnxruntime"}
        assert not known or path == PACKAGE / "export/graph.py", path


def test_only_storage_changes_a_disk():
    """So that a fault can be planted at every call (tests/fault_matrix).

    Directories made in vain are removed whole.
    """
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
    "pandas.eval",
    "pandas.io",
    "pandas.read_hdf",
    "pandas.read_pickle",
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
    """Every dotted name that a source imports or looks up, under its real name: np.load is
    numpy.load.
    """
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


# A training of a comparison has a process of its own, and a browser prints.
STARTS = {
    "lab/jobs.py": {"subprocess", "subprocess.PIPE", "subprocess.Popen"},
    "report/pdf.py": {"subprocess", "subprocess.run", "subprocess.TimeoutExpired"},
}


def runs_code(source: str) -> set[str]:
    return {name for name in used_in(source) if is_under(name, RUNS_CODE) or name.endswith("=")}


@pytest.mark.parametrize(
    "file", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE))
)
def test_nothing_runs_what_it_reads(file):
    allowed = STARTS.get(str(file.relative_to(PACKAGE)), set())
    assert runs_code(file.read_text()) == allowed


def test_only_this_program_is_started():
    """No word of a file or a person is on the command line."""
    source = (PACKAGE / "lab/jobs.py").read_text()
    (call,) = (
        node
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "subprocess.Popen"
    )
    assert ast.unparse(call.args[0]) == "[sys.executable, '-m', 'charrnn.lab.worker']"


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
        ["export", "--help"],
        ["export"],
        ["runs", "--help"],
        ["runs", "--yes"],
    ],
)
def test_help_version_and_usage_errors_load_neither_torch_nor_numpy(arguments, tmp_path):
    assert loaded_after(arguments, ("torch", "numpy"), tmp_path) == set()


def test_no_committed_file_is_over_a_mebibyte_but_the_corpus():
    root = PACKAGE.parent
    if shutil.which("git") is None or not (root / ".git").exists():
        pytest.skip("not a clone")
    command = ["git", "-C", str(root), "ls-files", "-z"]
    files = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split("\0")
    paths = [root / file for file in files if file]
    large = [path for path in paths if path.is_file() and path.stat().st_size > 1 << 20]
    assert large == [root / "corpora" / "shakespeare.txt"]


def test_a_command_loads_no_other_command(tmp_path):
    """Building all of them takes a fifth of the time in which `sample names` is done."""
    others = ("charrnn.cli.train", "charrnn.cli.lab", "charrnn.cli.compare")
    assert loaded_after(["sample", "names", "-n", "1"], others, tmp_path) == set()
    assert loaded_after(["--help"], others, tmp_path) == set(others)
