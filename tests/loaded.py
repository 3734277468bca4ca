"""Which modules a command loads, asked of a process of its own."""

import subprocess
import sys
from pathlib import Path


def loaded_after(arguments: list[str], modules: tuple[str, ...], cwd: Path) -> set[str]:
    """Which of these modules a command has loaded by its end."""
    code = (
        "import sys, atexit\n"
        f"modules = {modules!r}\n"
        "def tell(): print('LOADED', *[m for m in modules if m in sys.modules], file=sys.stderr)\n"
        "atexit.register(tell)\n"
        f"sys.argv = ['charrnn', *{arguments!r}]\n"
        "from charrnn.cli.main import main\nmain()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=cwd, timeout=120
    )
    return set(done.stderr.rsplit("LOADED", 1)[1].split())
