"""One Python file that samples with numpy alone, written for the very cell and skips of a model.

It is meant to be read: the cell is the textbook's, without tables, folded biases or packed weights.
"""

from __future__ import annotations

import numpy as np

from charrnn.export.archive import npz
from charrnn.export.named import check_network, corpus_name, described, plain
from charrnn.layout import sizes
from charrnn.modelfile import ModelFile
from charrnn.sampling.bounds import default_length
from charrnn.text.spelling import CONTINUATIONS, MAX_CODE
from charrnn.text.vocabulary import BREAK, NEWLINE

LINES = 10  # that the program writes, as `charrnn sample` does
CELLS = {
    "rnn": """\
    return np.tanh(x @ w_ih.T + b_ih + h @ w_hh.T + b_hh)
""",
    "lstm": """\
    h, c = before
    gates = x @ w_ih.T + b_ih + h @ w_hh.T + b_hh  # (B, 4H)
    i, f, g, o = np.split(gates, 4, axis=1)  # input gate, forget gate, candidate, output gate
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    return sigmoid(o) * np.tanh(c), c
""",
    "gru": """\
    x_r, x_z, x_n = np.split(x @ w_ih.T + b_ih, 3, axis=1)
    h_r, h_z, h_n = np.split(h @ w_hh.T + b_hh, 3, axis=1)
    r = sigmoid(x_r + h_r)  # how much of the old state the candidate sees
    z = sigmoid(x_z + h_z)  # how much of the old state stays
    n = np.tanh(x_n + r * h_n)  # the candidate: reset after the matrix product
    return (1 - z) * n + z * h
""",
    "gru-before": """\
    x_r, x_z, x_n = np.split(x @ w_ih.T + b_ih + b_hh, 3, axis=1)
    w_r, w_z, w_n = np.split(w_hh, 3)
    r = sigmoid(x_r + h @ w_r.T)  # how much of the old state the candidate sees
    z = sigmoid(x_z + h @ w_z.T)  # how much of the old state stays
    n = np.tanh(x_n + (r * h) @ w_n.T)  # the candidate: reset before the matrix product
    return (1 - z) * n + z * h
""",
}
SIGMOID = """\
def sigmoid(x):
    return 0.5 + 0.5 * np.tanh(0.5 * x)  # 1 / (1 + exp(-x)), and no overflow


"""
CELL = '''\
def cell(x, {before}, k):
    """Advance layer k by one character: its input x and the state before -> the state after."""
    names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    w_ih, w_hh, b_ih, b_hh = (weights[f"recurrent.{{name}}_l{{k}}"] for name in names)
'''


def files(model: ModelFile, name: str) -> dict[str, bytes]:
    """Return the bytes of NAME.py and NAME.npz by their endings, the weights first.

    N-grams beside the network are left out. Raises SettingsError for a model that counts.
    """
    check_network(model, "--numpy")
    arrays = {"symbols": np.array(model.vocabulary.symbols, np.int64)} | model.tensors
    spelling = model.vocabulary.spelling
    if spelling is not None:
        arrays |= {"spelling.after": spelling.after, "spelling.table": spelling.table}
    return {".npz": npz(arrays), ".py": script(model, name).encode()}


def script(model: ModelFile, name: str) -> str:
    """Return the program. name: of its file, without the ending."""
    parts = [
        _head(model, name),
        _cell(model),
        _step(model),
        _zero_state(model),
        _following(model),
        _write(model),
        _main(model),
    ]
    return "".join(parts)


def _head(model: ModelFile, name: str) -> str:
    name = plain(name)
    hidden, layers, _ = sizes(model.settings.model)
    left_out = ""
    if model.ally is not None:
        left_out = " The n-grams that charrnn mixes with it are left out."
    is_of_bytes = model.vocabulary.unit == "byte"
    kind = "byte values" if is_of_bytes else "code points"
    import_sys = "import sys\n" if is_of_bytes else ""
    return f'''\
"""Write text with {described(model)}.

    python {name}.py --prime "" --temp 0.8 --seed 1

It learnt {corpus_name(model)}.{left_out}
Needs numpy, and the .npz beside it. B texts, V characters, E embedding, H units.
"""

import argparse
{import_sys}
import numpy as np

LAYERS, HIDDEN, START = {layers}, {hidden}, {model.start}  # START: the id before every text
weights = dict(np.load(__file__.removesuffix(".py") + ".npz"))
symbols = weights["symbols"].tolist()  # {kind} of the V characters: an id is a place here


'''


def _cell(model: ModelFile) -> str:
    cell = model.settings.model.cell
    before = "before" if cell == "lstm" else "h"
    function = CELL.format(before=before) + CELLS[cell] + "\n\n"
    return function if cell == "rnn" else SIGMOID + function


def _step(model: ModelFile) -> str:
    """Return the function that reads a character."""
    settings = model.settings.model
    hidden, _, embedding = sizes(settings)
    has_past = settings.conv > 1

    # 1. The embedding, and what the first layer reads of it. Skips begin at the embedding.
    lines = [
        "def step(ids, state):",
        '    """Read ids (B,). Return logits (B, V) of the next character, and the new state."""',
        '    x = weights["embedding.weight"][ids]  # (B, E)',
    ]
    inputs = "x"
    if settings.conv:
        inputs = "x if k else seen"
        lines.append(_convolution(has_past))

    # 2. The layers, and the skips around them.
    lines += ["    after = []", "    for k in range(LAYERS):"]
    lines.append(f"        after.append(cell({inputs}, state[k], k))")
    h = "after[k][0]" if settings.cell == "lstm" else "after[k]"
    if settings.skip == "dense":
        lines.append(f"        x = np.concatenate([x, {h}], axis=1)  # a dense skip")
    elif settings.skip == "residual" and hidden == embedding:
        lines.append(f"        x = x + {h}  # a residual skip")
    elif settings.skip == "residual":
        lines.append(f"        x = x + {h} if k else {h}  # a residual skip")
    else:
        lines.append(f"        x = {h}")
    if has_past:
        lines.append("    after.append(view[1:])")

    # 3. The head.
    head = "head.weight"
    tied = ""
    if settings.tie_weights:
        head = "embedding.weight"
        tied = "  # tied weights"
    lines.append(f'    return x @ weights["{head}"].T + weights["head.bias"], after{tied}')
    return "\n".join(lines) + "\n\n\n"


def _convolution(has_past: bool) -> str:
    """Return the lines that look at the last K characters."""
    if not has_past:
        return '    seen = x @ weights["conv.weight"][:, :, 0].T  # a convolution over 1 character'
    return """\
    view = np.concatenate([state[-1], x[None]])  # (K, B, E): the last K characters
    seen = np.einsum("kbe,oek->bo", view, weights["conv.weight"])  # what layer 0 reads"""


def _zero_state(model: ModelFile) -> str:
    """Return the function that makes the state before a text."""
    settings = model.settings.model
    _, _, embedding = sizes(settings)
    zeros = "np.zeros((batch, HIDDEN), np.float32)"
    lines = [
        "def zero_state(batch):",
        '    """Return the state before any character: zeros for each layer."""',
    ]
    if settings.cell == "lstm":
        lines.append(f"    h = c = {zeros}")
        state = "[(h, c)] * LAYERS"
    else:
        state = f"[{zeros}] * LAYERS"
    if settings.conv > 1:
        shape = f"({settings.conv - 1}, batch, {embedding})"
        lines.append(f"    past = np.zeros({shape}, np.float32)  # what the convolution saw before")
        state += " + [past]"
    return "\n".join([*lines, f"    return {state}"]) + "\n\n\n"


def _following(model: ModelFile) -> str:
    """Return the function that says what may follow, where rare characters are bytes."""
    spelling = model.vocabulary.spelling
    if spelling is None:
        return ""
    first = spelling.first
    return f'''\
def following(state):
    """Return (V,) the spelling's state after each symbol, -1 after one that may not follow."""
    after = weights["spelling.after"]
    if state:  # inside a character
        after = np.full_like(after, -1)
        after[{first}:{first + CONTINUATIONS}] = weights["spelling.table"][state]
    return after


'''


def _write(model: ModelFile) -> str:
    """Return the function that writes a text."""
    is_spelled = model.vocabulary.spelling is not None
    lines = [
        "def write(prompt, length, temperature, rng):",
        '    """Yield the codes that follow those of a prompt. Temperature 0: the likeliest."""',
        "    state = zero_state(1)",
        "    for id in [START, *map(symbols.index, prompt)]:",
        "        logits, state = step(np.array([id]), state)",
    ]
    scores = "logits"
    if is_spelled:
        scores = "scores"
        lines += [
            "    spelled = 0  # between characters",
            "    while length:",
            "        after = following(spelled)",
            "        scores = np.where(after < 0, -np.inf, logits)",
        ]
    else:
        lines.append("    for _ in range(length):")
    lines += [
        f"        id = {scores}[0].argmax()",
        "        if temperature > 0:",
        f"            p = np.exp(({scores}[0] - {scores}.max()).astype(float) / temperature)",
        "            id = rng.choice(len(p), p=p / p.sum())",
    ]
    if model.mode == "lines":
        lines += [
            f"        if symbols[id] == {NEWLINE}:  # a newline ends the line",
            "            return",
        ]
    lines.append("        yield symbols[id]")
    if is_spelled:
        lines += [
            "        spelled = after[id]",
            "        length -= spelled == 0  # a character is complete",
        ]
    lines.append("        logits, state = step(np.array([id]), state)")
    return "\n".join(lines) + "\n\n\n"


def _main(model: ModelFile) -> str:
    """Return what the program does when it is run."""
    typed, text, end = "arguments.prime", '"".join(map(chr, codes))', ""
    helpers = ""
    codes_of = "map(ord, {})"
    if model.vocabulary.spelling is not None:
        codes_of, text = "codes_of({})", "text_of(codes)"
        helpers = f'''\
def codes_of(text):
    """Return the codes of a text: a rare character has {MAX_CODE} + each of its bytes."""
    known = set(symbols)
    split = ([ord(c)] if ord(c) in known else [{MAX_CODE} + b for b in c.encode()] for c in text)
    return [code for codes in split for code in codes]


def text_of(codes):
    """Return the text of codes."""
    parts = (chr(c).encode() if c < {MAX_CODE} else bytes([c - {MAX_CODE}]) for c in codes)
    return b"".join(parts).decode()


'''
    if model.vocabulary.has_breaks:  # of a record's lines
        typed += f'.replace("\\n", chr({BREAK}))'
        text += f'.replace(chr({BREAK}), "\\n")'
        end = ', end="\\n---\\n"'
    prompt, show = f"[*{codes_of.format(typed)}]", f"print({text}{end})"
    if model.vocabulary.unit == "byte":
        prompt = "[*arguments.prime.encode()]"
        show = 'sys.stdout.buffer.write(bytes(codes) + b"\\n")'
    is_lines = model.mode == "lines"
    count = LINES if is_lines else 1
    length = default_length(model.mode, model.vocabulary)
    return f"""\
{helpers}if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--prime", default="", help="begin with this text")
    parser.add_argument("--temp", type=float, default=0.8, help="temperature; 0: the likeliest")
    parser.add_argument("--seed", type=int, help="equal seeds write equal texts")
    arguments = parser.parse_args()
    prompt, rng = {prompt}, np.random.default_rng(arguments.seed)
    for _ in range({count}):
        codes = prompt + list(write(prompt, {length}, arguments.temp, rng))
        {show}
"""
