// One step of a network: a character goes in, the scores of the next one come out. Weights have
// torch.nn's names, shapes and order of gates.
//
// Letters: V vocabulary, E embedding, H hidden size, L layers, G rows of all gates, K characters that
// a convolution sees.
const GATE_BLOCKS = { rnn: 1, lstm: 4, gru: 3, "gru-before": 3 };

// out (rows) += weights (rows, columns) x. Eight rows at a time share what they read of x.
function addProduct(out, weights, rows, columns, x) {
  let row = 0;
  for (; row + 8 <= rows; row += 8) {
    const a = row * columns;
    const b = a + columns;
    const c = b + columns;
    const d = c + columns;
    const e = d + columns;
    const f = e + columns;
    const g = f + columns;
    const h = g + columns;
    let s0 = 0, s1 = 0, s2 = 0, s3 = 0, s4 = 0, s5 = 0, s6 = 0, s7 = 0;
    for (let k = 0; k < columns; k += 1) {
      const value = x[k];
      s0 += weights[a + k] * value;
      s1 += weights[b + k] * value;
      s2 += weights[c + k] * value;
      s3 += weights[d + k] * value;
      s4 += weights[e + k] * value;
      s5 += weights[f + k] * value;
      s6 += weights[g + k] * value;
      s7 += weights[h + k] * value;
    }
    out[row] += s0;
    out[row + 1] += s1;
    out[row + 2] += s2;
    out[row + 3] += s3;
    out[row + 4] += s4;
    out[row + 5] += s5;
    out[row + 6] += s6;
    out[row + 7] += s7;
  }
  for (; row < rows; row += 1) {
    let sum = 0;
    for (let k = 0, at = row * columns; k < columns; k += 1, at += 1) sum += weights[at] * x[k];
    out[row] += sum;
  }
}

const logistic = (x) => 0.5 + 0.5 * Math.tanh(0.5 * x); // 1 / (1 + exp(-x)), and no overflow

// The cells. gates (G): the input's part of each sum with its biases; afterwards what each gate let
// through. h, c (H): the state, which changes in place.
const CELLS = {
  rnn(layer, gates, h) {
    addProduct(gates, layer.recurrent, h.length, h.length, h);
    for (let i = 0; i < h.length; i += 1) h[i] = gates[i] = Math.tanh(gates[i]);
  },
  lstm(layer, gates, h, c) {
    const H = h.length;
    addProduct(gates, layer.recurrent, 4 * H, H, h);
    for (let i = 0; i < H; i += 1) {
      const input = gates[i] = logistic(gates[i]);
      const forget = gates[H + i] = logistic(gates[H + i]);
      const candidate = gates[2 * H + i] = Math.tanh(gates[2 * H + i]);
      const output = gates[3 * H + i] = logistic(gates[3 * H + i]);
      c[i] = forget * c[i] + input * candidate;
      h[i] = output * Math.tanh(c[i]);
    }
  },
  // Reset after the product, as torch.nn.GRU.
  gru(layer, gates, h) {
    const H = h.length;
    addProduct(gates, layer.recurrent, 2 * H, H, h);
    layer.scratch.set(layer.candidateBias);
    addProduct(layer.scratch, layer.candidate, H, H, h);
    for (let i = 0; i < H; i += 1) {
      const reset = gates[i] = logistic(gates[i]);
      const stay = gates[H + i] = logistic(gates[H + i]);
      const candidate = gates[2 * H + i] = Math.tanh(gates[2 * H + i] + reset * layer.scratch[i]);
      h[i] = candidate + stay * (h[i] - candidate);
    }
  },
  // Reset before the product, as in textbooks.
  "gru-before"(layer, gates, h) {
    const H = h.length;
    addProduct(gates, layer.recurrent, 2 * H, H, h);
    for (let i = 0; i < H; i += 1) {
      gates[i] = logistic(gates[i]);
      layer.scratch[i] = gates[i] * h[i];
    }
    addProduct(gates.subarray(2 * H), layer.candidate, H, H, layer.scratch);
    for (let i = 0; i < H; i += 1) {
      const stay = gates[H + i] = logistic(gates[H + i]);
      const candidate = gates[2 * H + i] = Math.tanh(gates[2 * H + i]);
      h[i] = candidate + stay * (h[i] - candidate);
    }
  },
};

// What a layer of each cell can show: name -> the value of a unit. gates are those of the newest
// step. "update" is the share of the new: 1 - z of torch.nn.
const INSIDE = {
  rnn: { hidden: ({ h }, i) => h[i] },
  lstm: {
    cell: ({ c }, i) => c[i],
    hidden: ({ h }, i) => h[i],
    input: ({ gates }, i) => gates[i],
    forget: ({ gates, h }, i) => gates[h.length + i],
    output: ({ gates, h }, i) => gates[3 * h.length + i],
    candidate: ({ gates, h }, i) => gates[2 * h.length + i],
  },
  gru: {
    hidden: ({ h }, i) => h[i],
    reset: ({ gates }, i) => gates[i],
    update: ({ gates, h }, i) => 1 - gates[h.length + i],
    candidate: ({ gates, h }, i) => gates[2 * h.length + i],
  },
};
INSIDE["gru-before"] = INSIDE.gru;
const BETWEEN_0_AND_1 = new Set(["input", "forget", "output", "reset", "update"]);

// A label is embedded as the newline plus what it adds.
function embeddingOf({ embedding: E, vocabulary: V, labels, newline }, tensor) {
  const characters = tensor("embedding.weight");
  if (!labels) return characters;
  const added = tensor("labels.weight");
  const rows = new Float32Array((V + labels) * E);
  rows.set(characters);
  for (let i = 0; i < labels * E; i += 1) rows[V * E + i] = characters[newline * E + i % E] + added[i];
  return rows;
}

// shape: what model.py says of the network. tensor(name): its numbers, row after row.
function networkOf(shape, tensor) {
  const { cell, skip, layers: L, hidden: H, embedding: E, vocabulary: V, conv: K } = shape;
  const G = GATE_BLOCKS[cell] * H;
  const embedding = embeddingOf(shape, tensor); // (V, E), then a row for each label
  const head = shape.tied ? embedding : tensor("head.weight"); // (V, W)
  const headBias = tensor("head.bias");
  const convolution = K ? tensor("conv.weight") : null; // (E, E, K)
  const layers = [];
  for (let k = 0, width = E; k < L; k += 1) {
    layers.push(layerOf(k, width));
    width = skip === "dense" ? width + H : H;
  }
  const widest = Math.max(E, H) + (skip === "dense" ? L * H : 0);
  const below = new Float32Array(widest); // what the next layer, or the head, reads
  const gates = layers.map(() => new Float32Array(G)); // of the newest step
  const logits = new Float32Array(V);
  const rows = new Map(); // layer 0's sums of a character, by its distance: computed when needed

  function layerOf(k, width) {
    const [weightIh, weightHh, biasIh, biasHh] = ["weight_ih", "weight_hh", "bias_ih", "bias_hh"]
      .map((name) => tensor(`recurrent.${name}_l${k}`));
    const isInside = (i) => cell === "gru" && i >= 2 * H; // the reset gate scales it, too
    return {
      width,
      input: weightIh,
      bias: biasIh.map((one, i) => one + (isInside(i) ? 0 : biasHh[i])),
      recurrent: weightHh,
      candidate: cell.startsWith("gru") ? weightHh.subarray(2 * H * H) : null,
      candidateBias: cell === "gru" ? biasHh.subarray(2 * H) : null,
      scratch: new Float32Array(H),
    };
  }

  // What a character, `distance` before the newest one, adds to layer 0's sums (G).
  function firstSums(id, distance) {
    const key = id * Math.max(1, K) + distance;
    if (rows.has(key)) return rows.get(key);
    let x = embedding.subarray(id * E, (id + 1) * E);
    if (convolution) {
      const tap = K - 1 - distance;
      const seen = new Float32Array(E);
      for (let to = 0; to < E; to += 1) {
        let sum = 0;
        for (let from = 0; from < E; from += 1) sum += convolution[(to * E + from) * K + tap] * x[from];
        seen[to] = sum;
      }
      x = seen;
    }
    const sums = new Float32Array(G);
    if (!distance) sums.set(layers[0].bias);
    addProduct(sums, layers[0].input, G, E, x);
    rows.set(key, sums);
    return sums;
  }

  // past: the K - 1 ids before the newest one, the newest of them first; -1: no character.
  const zeroState = () => ({
    h: layers.map(() => new Float32Array(H)),
    c: layers.map(() => new Float32Array(cell === "lstm" ? H : 0)),
    past: new Array(Math.max(0, K - 1)).fill(-1),
  });
  const copy = (state) => ({
    h: state.h.map((part) => part.slice()),
    c: state.c.map((part) => part.slice()),
    past: state.past.slice(),
  });

  // Read a character: changes the state, and returns the scores (V), which the next step overwrites.
  function step(id, state) {
    let width = E;
    below.set(embedding.subarray(id * E, (id + 1) * E));
    for (let k = 0; k < L; k += 1) {
      const sums = gates[k];
      if (k === 0) {
        sums.set(firstSums(id, 0));
        state.past.forEach((earlier, j) => {
          if (earlier < 0) return;
          const more = firstSums(earlier, j + 1);
          for (let i = 0; i < G; i += 1) sums[i] += more[i];
        });
      } else {
        sums.set(layers[k].bias);
        addProduct(sums, layers[k].input, G, width, below);
      }
      const h = state.h[k];
      CELLS[cell](layers[k], sums, h, state.c[k]);
      if (skip === "dense") {
        below.set(h, width);
        width += H;
      } else if (skip === "residual" && width === H) {
        for (let i = 0; i < H; i += 1) below[i] += h[i];
      } else {
        below.set(h);
        width = H;
      }
    }
    if (state.past.length) {
      state.past.pop();
      state.past.unshift(id);
    }
    logits.set(headBias);
    addProduct(logits, head, V, width, below);
    return logits;
  }

  // names: "layer0.hidden", ... value(name, unit, state): after the newest step.
  const names = layers.flatMap((_, k) => Object.keys(INSIDE[cell]).map((name) => `layer${k}.${name}`));
  function value(name, unit, state) {
    const [layer, kind] = name.split(".");
    const k = Number(layer.slice(5));
    return INSIDE[cell][kind]({ h: state.h[k], c: state.c[k], gates: gates[k] }, unit);
  }
  return { zeroState, copy, step, names, value, size: H };
}
