"""What the tests of this folder share."""


def one_line(done, code):
    """The program's single line of complaint."""
    assert done.returncode == code, done.stderr
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("charrnn: ")
    assert done.stdout == ""
    return lines[0]


TRAIN = ["--hidden-size", 8, "--steps", 12, "--batch-size", 4, "--threads", 1]
