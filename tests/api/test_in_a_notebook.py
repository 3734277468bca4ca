"""A training in a real Jupyter kernel: interrupted, and in a thread beside the kernel's loop."""

import hashlib

import pytest
from jupyter_client.manager import start_new_kernel
from support import FEW

import charrnn
from charrnn.modelfile import read_model

LINES = [f"{first}{second.lower()}" for first in FEW[:9] for second in FEW[:7]]
SMALL = {"hidden_size": 7, "num_layers": 1, "batch_size": 5, "seed": 3, "threads": 1}
LIMIT_S = 120
TELLS = """
class Tells:
    def on_step(self, event):
        if event.step == 5:
            print("at step 5", flush=True)

"""


@pytest.fixture(scope="module")
def kernel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("kernel")
    manager, client = start_new_kernel(cwd=str(folder))
    yield folder, manager, client
    client.stop_channels()
    manager.shutdown_kernel(now=True)


def run(client, code):
    """Run a cell to its end. Returns the name of its exception, or "ok", and what it printed."""
    printed = []

    def keep(message):
        printed.append(message["content"].get("text", ""))

    reply = client.execute_interactive(code, output_hook=keep, timeout=LIMIT_S)["content"]
    return reply.get("ename", reply["status"]), "".join(printed)


def train(name, **more):
    settings = {**SMALL, **more}
    return f"import charrnn\ncharrnn.train({LINES!r}, run={name!r}, **{settings!r})"


def weights_of(place):
    digest = hashlib.sha256()
    for name, value in sorted(read_model(place).tensors.items()):
        digest.update(name.encode() + value.tobytes())
    return digest.hexdigest()


@pytest.mark.medium
def test_interrupting_a_cell_saves_first(kernel):
    folder, manager, client = kernel
    begin, call = train("stopped", steps=1_000_000, progress="off").split("\n")
    told = f"{call[:-1]}, callbacks=[Tells()])"
    waiting = client.execute(f"{begin}\n{TELLS}{told}")
    while "at step 5" not in client.get_iopub_msg(timeout=LIMIT_S)["content"].get("text", ""):
        assert manager.is_alive()
    manager.interrupt_kernel()
    reply = client.get_shell_msg(timeout=LIMIT_S)
    while reply["parent_header"]["msg_id"] != waiting:  # answers to what was asked before
        reply = client.get_shell_msg(timeout=LIMIT_S)
    assert reply["content"]["ename"] == "KeyboardInterrupt"
    assert "saved: charrnn.train(run='stopped', resume=True) goes on" in reply["content"]["evalue"]
    steps = charrnn.open_run(folder / "stopped").history.steps["step"]
    assert steps == list(range(1, len(steps) + 1)) and len(steps) >= 5


@pytest.mark.medium
def test_a_thread_beside_the_kernels_loop_leaves_the_same_weights(kernel, tmp_path, monkeypatch):
    folder, _, client = kernel
    monkeypatch.chdir(tmp_path)
    here = charrnn.train(LINES, run=tmp_path / "here", steps=9, **SMALL)
    begin, call = train("beside", steps=9, progress="off").split("\n")
    code = (
        f"{begin}\nimport threading\nwork = threading.Thread(target=lambda: {call})\nwork.start()"
    )
    assert run(client, code)[0] == "ok"
    assert run(client, "import asyncio\nawait asyncio.sleep(0)\nwork.join()")[0] == "ok"
    assert weights_of(folder / "beside") == weights_of(here.path)


@pytest.mark.medium
def test_progress_is_shown_without_being_asked_for(kernel):
    _, _, client = kernel
    status, printed = run(client, train("shown", steps=3))
    assert status == "ok"
    assert printed.count("step 3/3") == 1
