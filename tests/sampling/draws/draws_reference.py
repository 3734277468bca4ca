"""What a model file must draw, after textbook definitions, in float64. No charrnn is imported.

A file is read with safetensors, the cells are written out in numpy, an option is a map from
distributions to distributions, and short texts are enumerated with their exact probabilities.

Letters: B rows, V alphabet, H hidden size, N the length of an n-gram.
"""

import json
import math

import numpy as np
from safetensors import safe_open

WINDOW = 64  # generated characters that the repetition penalty looks back on
THETA = 20.0  # the cache's, after docs/scores.md
MODEL_COUNTS = (0.05, 0.5)
SWITCH = 0.02
NOTHING = -1  # before the first character of a stream


def opened(path, *, is_half=False, cache=0):
    """Return the reference of a model file. is_half: its matrices as float16 holds them."""
    with safe_open(path, "np") as file:
        meta = json.loads(file.metadata()["meta"])
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    if meta["settings"]["model"]["cell"] == "ngram":
        return Counting(meta, tensors)
    return Network(meta, tensors, is_half, cache)


class Text:
    """The alphabet of a model file: texts <-> ids."""

    def __init__(self, meta):
        self.symbols = meta["vocabulary"]["symbols"]
        self.unit = meta["vocabulary"]["unit"]
        self.start = meta["start"]
        self.newline = self.symbols.index(10) if meta["mode"] == "lines" else None

    def ids(self, text):
        codes = text.encode() if self.unit == "byte" else map(ord, text)
        return [self.symbols.index(code) for code in codes]

    def text(self, ids):
        codes = [self.symbols[char] for char in ids]
        if self.unit == "byte":
            return bytes(codes).decode("utf-8", "replace")
        return "".join(map(chr, codes))


class Network(Text):
    """A recurrent network. Its state: h of each layer, then c of each layer, (B, H) each."""

    def __init__(self, meta, tensors, is_half, cache):
        super().__init__(meta)
        settings = meta["settings"]["model"]
        assert settings["skip"] == "none" and not settings["tie_weights"]
        self.cell = settings["cell"]
        self.layers = settings["num_layers"]
        self.weights = {name: value.astype(np.float64) for name, value in tensors.items()}
        if is_half:  # every matrix but those of layer 0's table
            for name in tensors:
                is_table = name in ("embedding.weight", "recurrent.weight_ih_l0")
                if "weight" in name and not is_table:
                    self.weights[name] = tensors[name].astype(np.float16).astype(np.float64)
        self.cache = cache
        self.pairs = []  # of the cache: the states of the prompt, and what followed each

    def begin(self, prime):
        """Return (scores (1, V), state) after the start and the ids of a prompt."""
        width = self.weights["recurrent.weight_hh_l0"].shape[1]
        parts = 2 if self.cell == "lstm" else 1
        state = [np.zeros((1, width)) for _ in range(parts * self.layers)]
        self.pairs = []
        self.beliefs = np.full(3, 1 / 3)
        said = np.ones((3, 1, len(self.symbols)))
        for char in [self.start, *prime]:
            key = self.key(state)[0]
            scores, after = self.advanced(state, [char])
            state = after
            if self.cache:
                self.pairs = [*self.pairs, (key, char)][-self.cache :]
                right = self.beliefs * said[:, 0, char]
                self.beliefs = (1 - SWITCH) * right / right.sum() + SWITCH / 3
                said = self.opinions(scores, state)
        return self.mixed(scores, state), state

    def step(self, state, ids):
        """Return (scores (B, V), state) after ids (B,) that the model itself has written."""
        scores, state = self.advanced(state, ids)
        return self.mixed(scores, state), state

    def advanced(self, state, ids):
        below = self.weights["embedding.weight"][ids]
        after = [None] * len(state)
        for k in range(self.layers):
            h = state[k]
            w_ih = self.weights[f"recurrent.weight_ih_l{k}"]
            w_hh = self.weights[f"recurrent.weight_hh_l{k}"]
            b_ih = self.weights[f"recurrent.bias_ih_l{k}"]
            b_hh = self.weights[f"recurrent.bias_hh_l{k}"]
            x = below @ w_ih.T + b_ih
            if self.cell == "rnn":
                h = np.tanh(x + h @ w_hh.T + b_hh)
            elif self.cell == "lstm":
                i, f, g, o = np.split(x + h @ w_hh.T + b_hh, 4, axis=1)
                c = logistic(f) * state[self.layers + k] + logistic(i) * np.tanh(g)
                h = logistic(o) * np.tanh(c)
                after[self.layers + k] = c
            else:
                h = self.gated(x, h, w_hh, b_hh)
            after[k] = below = h
        return below @ self.weights["head.weight"].T + self.weights["head.bias"], after

    def gated(self, x, h, w_hh, b_hh):
        """Return h of a GRU that resets after the matrix product (gru), or before it."""
        x_r, x_z, x_n = np.split(x, 3, axis=1)
        w_r, w_z, w_n = np.split(w_hh, 3)
        b_r, b_z, b_n = np.split(b_hh, 3)
        r = logistic(x_r + h @ w_r.T + b_r)
        z = logistic(x_z + h @ w_z.T + b_z)
        if self.cell == "gru":
            n = np.tanh(x_n + r * (h @ w_n.T + b_n))
        else:
            n = np.tanh(x_n + (r * h) @ w_n.T + b_n)
        return (1 - z) * n + z * h

    def key(self, state):
        """Return all layers' h as one vector of length 1 for each row; zeros stay zeros."""
        keys = np.concatenate(state[: self.layers], axis=1)
        norms = np.sqrt((keys**2).sum(1, keepdims=True))
        return keys / np.where(norms == 0, 1, norms)

    def mixed(self, scores, state):
        """Return the scores; with a cache ln P, mixed with what followed similar places."""
        if not self.cache:
            return scores
        return np.log(np.einsum("e,ebv->bv", self.beliefs, self.opinions(scores, state)))

    def opinions(self, scores, state):
        """Return P (3, B, V): of the network alone, and with the cache by each of MODEL_COUNTS."""
        own = softmax(scores)
        counts = np.zeros_like(own)
        for key, char in self.pairs:
            counts[:, char] += np.exp(THETA * (self.key(state) @ key - 1))
        total = counts.sum(1, keepdims=True)
        return np.stack([own, *((n * own + counts) / (n + total) for n in MODEL_COUNTS)])


class Counting(Text):
    """An interpolated n-gram model in dictionaries. Its state: the last N - 1 ids of each row."""

    def __init__(self, meta, tensors):
        super().__init__(meta)
        self.smoothing = meta["settings"]["model"]["smoothing"]
        self.size = len(self.symbols)
        self.levels = []  # by length: context -> character -> count
        self.discounts = []
        contexts = [()]
        while f"ngram.{len(self.levels) + 1}.grams" in tensors:
            codes = tensors[f"ngram.{len(self.levels) + 1}.grams"].tolist()
            counts = tensors[f"ngram.{len(self.levels) + 1}.counts"].tolist()
            grams = [(*contexts[code // self.size], code % self.size) for code in codes]
            level = {context: {} for context in contexts}
            for gram, count in zip(grams, counts, strict=True):
                level[gram[:-1]][gram[-1]] = count
            self.levels.append(level)
            self.discounts.append(discounts_of(counts))
            contexts = grams
        self.known = {}  # context -> ln P (V,)

    def begin(self, prime):
        """Return (scores (1, V), state) after the start and the ids of a prompt."""
        length = len(self.levels) - 1
        before = [NOTHING if self.newline is None else self.newline] * length
        whole = [*before, self.start, *prime]
        state = [whole[len(whole) - length :]]
        return self.scores(state), np.array(state, dtype=int).reshape(1, length)

    def step(self, state, ids):
        """Return (ln P (B, V), state) after ids (B,)."""
        state = np.concatenate([state, np.array(ids)[:, None]], 1)[:, 1:]
        return self.scores(state.tolist()), state

    def scores(self, rows):
        for context in set(map(tuple, rows)) - set(self.known):
            self.known[context] = np.log([self.probability(context, c) for c in range(self.size)])
        return np.array([self.known[tuple(row)] for row in rows])

    def probability(self, before, char):
        """Return P of a character: each level's own share, and the rest from a shorter context."""
        probability = 1 / self.size
        for n, (level, discounts) in enumerate(zip(self.levels, self.discounts, strict=True)):
            following = level.get(before[len(before) - n :], {})
            total = sum(following.values())
            if not total:
                continue
            count = following.get(char, 0)
            if self.smoothing == "witten-bell":
                different = sum(value > 0 for value in following.values())
                probability = (count + different * probability) / (total + different)
            else:
                taken = sum(discounts[min(value, 3)] for value in following.values())
                own = count - discounts[min(count, 3)]
                probability = own / total + taken / total * probability
        return probability


def discounts_of(counts):
    """Return what is taken from counts of 0, 1, 2 and more (Chen & Goodman 1998, equation 26)."""
    n1, n2, n3, n4 = (counts.count(k) for k in (1, 2, 3, 4))
    if n1 and n2 and n3 and n4:
        y = n1 / (n1 + 2 * n2)
        discounts = (1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3)
        if all(0 < value <= k for k, value in enumerate(discounts, 1)):
            return (0, *discounts)
    return (0, 0.5, 1.0, 1.5)  # KenLM's, where counts of counts give none


def logistic(x):
    return 1 / (1 + np.exp(-x))


def softmax(scores):
    weights = np.exp(scores - scores.max(1, keepdims=True))
    return weights / weights.sum(1, keepdims=True)


# Options: maps from distributions (B, V) to distributions.


def heated(p, temperature):
    """Raise P to the power 1 / temperature."""
    with np.errstate(divide="ignore"):
        return softmax(np.log(p) / temperature)


def with_top_k(p, k):
    """Keep the k likeliest; equals by their ids."""
    return kept(p, places_by_likelihood(p) < k)


def with_top_p(p, share):
    """Keep the fewest of the likeliest that reach a probability together (Holtzman et al.)."""
    order = np.argsort(-p, axis=1, kind="stable")
    ranked = np.take_along_axis(p, order, 1)
    before = np.take_along_axis(ranked.cumsum(1) - ranked, places_by_likelihood(p), 1)
    return kept(p, before < share)


def with_min_p(p, share):
    """Keep what has at least this share of the likeliest's probability."""
    return kept(p, p >= share * p.max(1, keepdims=True))


def places_by_likelihood(p):
    return np.argsort(np.argsort(-p, axis=1, kind="stable"), axis=1)


def kept(p, is_kept):
    weights = np.where(is_kept, p, 0.0)
    return weights / weights.sum(1, keepdims=True)


def penalised(scores, recent, penalty):
    """Divide positive and multiply negative scores of what stands in the last WINDOW characters.

    recent: of each row, the ids generated so far.
    """
    scores = scores.copy()
    for row, ids in zip(scores, recent, strict=True):
        for char in set(ids[-WINDOW:]):
            row[char] = row[char] / penalty if row[char] > 0 else row[char] * penalty
    return scores


MAPS = {
    "temperature": heated,
    "top_k": with_top_k,
    "top_p": with_top_p,
    "min_p": with_min_p,
}


def distribution(scores, decoding, recent, order=tuple(MAPS)):
    """Return P (B, V) of the next character: the penalty, then the maps in their order."""
    if "repetition_penalty" in decoding:
        scores = penalised(scores, recent, decoding["repetition_penalty"])
    if decoding.get("temperature") == 0:
        return np.eye(scores.shape[1])[scores.argmax(1)]
    p = softmax(scores)
    for name in order:
        if name in decoding:
            p = MAPS[name](p, decoding[name])
    return p


# Texts


def texts_of(model, *, decoding=None, length, prime="", until="", order=tuple(MAPS)):
    """Return the exact probability of every text of at most `length` generated characters.

    A line ends at its newline, which is not shown; any text ends after `until`.
    """
    probabilities = {}
    ending = model.ids(until)
    prompt = model.ids(prime)
    scores, state = model.begin(prompt)
    rows = [((), 1.0)]  # what was generated, and its probability
    for _ in range(length):
        recent = [ids for ids, _ in rows]
        p = distribution(scores, decoding or {}, recent, order)
        parents = []
        open_rows = []
        for at, (ids, weight) in enumerate(rows):
            for char in np.flatnonzero(p[at]).tolist():
                grown = ((*ids, char), weight * p[at, char])
                is_over = char == model.newline or len(grown[0]) == length
                if ending and list(grown[0][-len(ending) :]) == ending:
                    is_over = True
                if is_over:
                    shown = [*prompt, *grown[0]]
                    if char == model.newline:
                        shown.pop()
                    text = model.text(shown)
                    probabilities[text] = probabilities.get(text, 0.0) + grown[1]
                else:
                    open_rows.append(grown)
                    parents.append(at)
        if not open_rows:
            break
        rows = open_rows
        chars = [ids[-1] for ids, _ in rows]
        scores, state = model.step(rows_of(state, parents), chars)
    assert math.isclose(sum(probabilities.values()), 1, rel_tol=1e-9)
    return probabilities


def rows_of(state, rows):
    """Return these rows of a state."""
    if isinstance(state, list):
        return [part[rows] for part in state]
    return state[rows]


def given(probabilities, is_kept):
    """Return the probability that a text passes, and those of texts given that they do."""
    passed = {text: p for text, p in probabilities.items() if is_kept(text)}
    total = sum(passed.values())
    return total, {text: p / total for text, p in passed.items()}
