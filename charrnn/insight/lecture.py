"""The cells as the lecture writes them: the names of their gates, and their equations.

Numbers, sizes and models are not known here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Gate:
    """One gate of a cell.

    letter: the lecture's letter, which its matrix has too. torch: PyTorch's letter.
    block: which H rows of PyTorch's matrices are its own. sign: -1 where PyTorch stores the
    opposite of the lecture's matrix.
    """

    letter: str
    block: int
    torch: str
    role: str
    squash: str = "σ"
    sign: int = 1

    @property
    def value(self) -> str:
        """The name of the gate's output."""
        return {"C": "C̃", "h": "h̃", "": "h'"}.get(self.letter, self.letter)

    def named(self, matrix: str) -> str:
        """The name of the gate's matrix W or bias b, such as W_f."""
        return f"{matrix}_{self.letter}" if self.letter else matrix


_UPDATE = Gate("u", 1, "-z", "update: how much is new", sign=-1)  # z = 1 - u, and 1 - σ(a) = σ(-a)
_RESET = Gate("r", 0, "r", "reset: how much of h is seen")
CANDIDATE = Gate("h", 2, "n", "candidate: what to write", "tanh")
GATES = {  # in the lecture's order
    "rnn": (Gate("", 0, "", "the new state", "tanh"),),
    "lstm": (
        Gate("f", 1, "f", "forget: how much of C is kept"),
        Gate("i", 0, "i", "input: how much is written"),
        Gate("C", 2, "g", "candidate: what to write", "tanh"),
        Gate("o", 3, "o", "output: how much of C is shown"),
    ),
    "gru": (_UPDATE, _RESET, CANDIDATE),
    "gru-before": (_UPDATE, _RESET, CANDIDATE),
}
_ENDS = {
    "rnn": (),
    "lstm": (("C'", "f ∘ C + i ∘ C̃", "the new cell"), ("h'", "o ∘ tanh(C')", "the new state")),
    "gru": (("h'", "(1 − u) ∘ h + u ∘ h̃", "the new state"),),
    "gru-before": (("h'", "(1 − u) ∘ h + u ∘ h̃", "the new state"),),
}
_LATEX = {
    "h'": "h_t",
    "h": "h_{t-1}",
    "C'": "C_t",
    "C": "C_{t-1}",
    "C̃": r"\tilde{C}_t",
    "h̃": r"\tilde{h}_t",
    "x": "x_t",
    "f": "f_t",
    "i": "i_t",
    "o": "o_t",
    "u": "u_t",
    "r": "r_t",
    "σ": r"\sigma",
    "tanh": r"\tanh",
    "∘": r"\circ",
    "−": "-",
    "W_out": r"W_{\mathrm{out}}",
    "b_out": r"b_{\mathrm{out}}",
    "softmax": r"\mathrm{softmax}",
    "P(next)": "P(x_{t+1})",
}


def equations(cell: str) -> list[tuple[str, str, str]]:
    """The left side, the right side and the purpose of each equation, in Unicode.

    Source: the cells of model/equations.py.
    """
    rows = []
    for gate in GATES[cell]:
        inside = f"{gate.named('W')} [h, x] + {gate.named('b')}"
        if gate is CANDIDATE:
            inside = {
                "gru": "W_h x + b_h + r ∘ (U_h h + d_h)",
                "gru-before": "W_h [r ∘ h, x] + b_h",
            }[cell]
        rows.append((gate.value, f"{gate.squash}({inside})", gate.role))
    return [*rows, *_ENDS[cell], ("P(next)", "softmax(W_out h' + b_out)", "of the next character")]


def latex(cell: str) -> str:
    """The equations as an aligned environment of LaTeX, with a time index in place of the prime."""
    rows = [f"{_as_latex(left)} &= {_as_latex(right)}" for left, right, _ in equations(cell)]
    return "\\begin{aligned}\n" + " \\\\\n".join(rows) + "\n\\end{aligned}"


def _as_latex(text: str) -> str:
    tokens = r"P\(next\)|[WUbd]_\w+|tanh|softmax|[hC]\u0303|[hC]'|[A-Za-z]|[σ∘−]"
    return re.sub(tokens, lambda match: _LATEX.get(match[0], match[0]), text)
