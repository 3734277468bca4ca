"""Mutation: do the tests notice when one expression or statement of a module is changed?

    python tests/mutants.py                            # a sample of every module of TESTS
    python tests/mutants.py text/ngram --only 3 5      # two mutants of a module, by their numbers

Each mutant is written into a copy of the tree, where the module's own tests must fail or hang.
Strings, annotations, decorators and the `strict` of zip are left as they are. Mutant n of a seed
stays the same until its module changes. The tests run in a process forked for each mutant, so that
torch is imported once.
"""

from __future__ import annotations

import argparse
import ast
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parent.parent
MOST_S = 90  # a mutant hangs if its tests take longer, and three times as long as unchanged
PAIRS = [
    (ast.Lt, ast.LtE),
    (ast.Gt, ast.GtE),
    (ast.Eq, ast.NotEq),
    (ast.Is, ast.IsNot),
    (ast.In, ast.NotIn),
    (ast.Add, ast.Sub),
    (ast.Mult, ast.Div),
    (ast.And, ast.Or),
    (ast.Break, ast.Continue),
]
SWAPS = dict([*PAIRS, *((after, before) for before, after in PAIRS), (ast.FloorDiv, ast.Mult)])
LEFT = ("annotation", "returns", "decorator_list", "format_spec")  # fields that stay as they are

# The tests of each module, the quickest first.
SIZES = "tests/strangers/test_strangers_sizes.py"
STORAGE = ("tests/test_storage_writing.py", "tests/test_storage.py")
DIRECTORY = "tests/training/test_run_directory.py"
DIVERGENCE = "tests/training/test_divergence.py"
EXACT = "tests/training/resume/test_resume_exact.py"
FINETUNE = "tests/training/finetune/test_finetune_trainings.py"
KEPT = "tests/training/resume/test_resume_kept.py"
NGRAMS = ("tests/text/test_ngram.py", "tests/text/test_ngram_lines.py")
COUNTED = ("tests/training/test_counted_lines.py", "tests/training/test_counted.py")
ENGINE = ("tests/sampling/test_decode.py", "tests/sampling/engine")
EVALUATION = ("tests/scoring/evaluation", "tests/cli/test_cli_eval.py")
TESTS = {
    "storage": (*STORAGE, f"{SIZES}::test_numbers_that_json_has_not_are_refused"),
    "modelfile": ("tests/test_modelfile.py", "tests/test_formats.py"),
    "training/checkpoint": (DIRECTORY, "tests/test_formats.py", KEPT),
    "training/records": (DIRECTORY, EXACT, FINETUNE, DIVERGENCE),
    "training/recovery": (DIVERGENCE,),
    "training/resuming": (KEPT, EXACT),
    "sampling/decode": ENGINE,
    "sampling/codec": ("tests/sampling/test_codec.py", *ENGINE),
    "sampling/choice": ("tests/sampling/test_choice.py", *ENGINE, "tests/sampling/test_cache.py"),
    "sampling/counted": (*NGRAMS, *COUNTED),
    "scoring/score": ("tests/scoring/test_validation.py", *EVALUATION),
    "scoring/evaluation": EVALUATION,
    "scoring/figures": EVALUATION,
    "scoring/text": EVALUATION,
    "scoring/validation": ("tests/scoring/test_validation.py",),
    "text/counting": NGRAMS,
    "text/ngram": (*NGRAMS, *COUNTED),
}


class Mutant(NamedTuple):
    number: int
    line: int
    change: str
    source: str  # of the whole module


def changes(node: ast.AST) -> Iterator[ast.AST]:
    """Yield what a node may become."""
    match node:
        case ast.Compare(left, ops, right):
            for place, op in enumerate(ops):
                swapped = [*ops[:place], SWAPS[type(op)](), *ops[place + 1 :]]
                yield ast.Compare(left, swapped, right)
        case ast.BinOp(left, op, right) if type(op) in SWAPS:
            yield ast.BinOp(left, SWAPS[type(op)](), right)
        case ast.BoolOp(op, values):
            yield ast.BoolOp(SWAPS[type(op)](), values)
        case ast.UnaryOp(ast.Not() | ast.Invert() | ast.USub(), operand):
            yield operand
        case ast.If(test, body, orelse):
            yield ast.If(ast.UnaryOp(ast.Not(), test), body, orelse)
        case ast.Constant(bool() as value):
            yield ast.Constant(not value)
        case ast.Constant(int() | float() as value):
            yield ast.Constant(value + 1)
        case ast.Return(ast.expr()):
            yield ast.Return(ast.Constant(None))
        case ast.Break() | ast.Continue():
            yield SWAPS[type(node)]()
        case ast.Expr(ast.Constant(str())):
            return  # a docstring
        case ast.Expr() | ast.Raise() | ast.Delete() | ast.AugAssign():
            yield ast.Pass()
        case ast.Assign([ast.Attribute() | ast.Subscript()]):
            yield ast.Pass()  # a plain name that is never assigned is missed at once


def nodes_of(node: ast.AST) -> Iterator[ast.AST]:
    """Yield a node and those inside it, in the order of the file."""
    if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
        return
    if isinstance(node, ast.keyword) and node.arg == "strict":
        return
    yield node
    for name, value in ast.iter_fields(node):
        if name in LEFT:
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST):
                yield from nodes_of(child)


class Replacing(ast.NodeTransformer):
    """Puts one node where another stands."""

    def __init__(self, old: ast.AST, new: ast.AST) -> None:
        self.old = old
        self.new = new

    def visit(self, node: ast.AST) -> ast.AST:
        return self.new if node is self.old else self.generic_visit(node)


def mutants_of(module: str, seed: int, most: int) -> Iterator[Mutant]:
    """Yield a sample of a module's mutants, in the order of its lines."""
    tree = ast.parse((ROOT / f"charrnn/{module}.py").read_text())
    pairs = [(node, new) for node in nodes_of(tree) for new in changes(node)]
    places = random.Random(f"{seed} {module}").sample(range(len(pairs)), min(most, len(pairs)))
    for number, place in enumerate(sorted(places)):
        old, new = pairs[place]
        before = ast.unparse(old).split("\n")[0]
        after = ast.unparse(new).split("\n")[0]
        ast.fix_missing_locations(Replacing(old, new).visit(tree))
        yield Mutant(number, old.lineno, f"{before}  ->  {after}", ast.unparse(tree))
        Replacing(new, old).visit(tree)


def outcome(copy: Path, tests: tuple[str, ...], most_s: float) -> str:
    """Run tests of the copy in a forked process: "passed", "failed" or "hangs"."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.setsid()
            log = os.open(copy / "log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(log, 1)
            os.dup2(log, 2)
            os.chdir(copy)
            os.environ["PYTHONPATH"] = sys.path[0] = str(copy)
            import pytest

            options = ["-x", "-q", "-p", "no:cacheprovider", "--hypothesis-seed=0"]
            code = int(pytest.main([*options, "-m", "not slow and not medium", *tests]))
        finally:
            os._exit(code)
    until = time.monotonic() + most_s
    while time.monotonic() < until:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return "failed" if status else "passed"
        time.sleep(0.05)
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return "hangs"


def try_module(copy: Path, module: str, asked: argparse.Namespace) -> tuple[int, int]:
    """Return how many mutants of a module were tried and killed. Prints the survivors."""
    path = copy / f"charrnn/{module}.py"
    source = path.read_text()
    tests = TESTS[module]
    began = time.monotonic()
    if outcome(copy, tests, 600) != "passed":
        sys.exit(f"{module}: its tests fail as they are\n{(copy / 'log').read_text()[-2000:]}")
    most_s = max(MOST_S, 3 * (time.monotonic() - began))
    tried = 0
    killed = 0
    for mutant in mutants_of(module, asked.seed, asked.most):
        if asked.only and mutant.number not in asked.only:
            continue
        path.write_text(mutant.source)
        end = outcome(copy, tests, most_s)
        tried += 1
        killed += end != "passed"
        if end != "failed":
            verdict = "survived" if end == "passed" else end
            where = f"charrnn/{module}.py:{mutant.line}"
            print(f"{verdict}  {where}  --only {mutant.number}: {mutant.change}", flush=True)
    path.write_text(source)
    return tried, killed


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("modules", nargs="*", metavar="MODULE", help=f"of {', '.join(TESTS)}")
    parser.add_argument("--most", type=int, default=8, help="mutants of a module")
    parser.add_argument("--only", type=int, nargs="*", help="these mutants of a module")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
    sys.dont_write_bytecode = True  # a mutant's bytecode could be taken for the next one's
    import hypothesis  # noqa: F401
    import torch  # noqa: F401

    rows = []
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        copy = Path(folder, "charrnn")
        shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(".git", ".venv", ".*_cache"))
        for module in asked.modules or TESTS:
            tried, killed = try_module(copy, module, asked)
            rows.append((module, tried, killed))
            print(f"{module}: {killed} of {tried} killed", flush=True)
    rows.append(("all", sum(row[1] for row in rows), sum(row[2] for row in rows)))
    print(f"\n{'module':<20}  mutants  killed  survived")
    for module, tried, killed in rows:
        print(f"{module:<20}  {tried:>7}  {killed:>6}  {tried - killed:>8}")


if __name__ == "__main__":
    main()
