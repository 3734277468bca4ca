// The n-grams beside a network, and the gate between them: modified, interpolated Kneser-Ney (Chen &
// Goodman 1998). Every n-gram that can be a context is a node; node 0 is the empty context, then come
// the n-grams of one character, and so on. N-gram number g is node g + 1, unless it is a longest one.
const FALLBACK = [0.5, 1, 1.5]; // discounts of texts that are too small to tell
const STEEPEST = 30;
const LEAST_LN = -30;
const EXCLUDED = -1e290; // scores below are those of what may not follow

function discountsOf(counts) {
  const n = [0, 0, 0, 0, 0];
  for (const count of counts) if (count > 0 && count < 5) n[count] += 1;
  if (!(n[1] && n[2] && n[3] && n[4])) return FALLBACK;
  const y = n[1] / (n[1] + 2 * n[2]);
  const found = [1 - (2 * y * n[2]) / n[1], 2 - (3 * y * n[3]) / n[2], 3 - (4 * y * n[4]) / n[3]];
  return found.every((value, k) => value > 0 && value <= k + 1) ? found : FALLBACK;
}

// Of each context of one length: what is left to shorter ones, and how often something followed.
// Of each n-gram: its gain. owners: the context of each n-gram. counts: of each.
function weighed(contexts, owners, counts) {
  const discount = [0, ...discountsOf(counts)];
  const totals = new Float64Array(contexts);
  const kinds = new Float64Array(contexts);
  const back = new Float64Array(contexts);
  counts.forEach((count, g) => {
    totals[owners[g]] += count;
    kinds[owners[g]] += count > 0;
    back[owners[g]] += discount[Math.min(3, count)];
  });
  const gain = Float64Array.from(counts, (count, g) => (
    totals[owners[g]] ? (count - discount[Math.min(3, count)]) / totals[owners[g]] : 0));
  for (let at = 0; at < contexts; at += 1) back[at] = totals[at] ? back[at] / totals[at] : 1;
  return { gain, back, totals, kinds };
}

// Counting that knows a label: at each context its counts and those of all share what is left.
// own: {places, counts} of its n-grams, by length. share: what weighs as much as its characters.
function blended(all, own, owners, contexts, chars, share) {
  const ours = weighed(contexts, own.places.map((g) => owners[g]), own.counts);
  const trust = Float64Array.from(ours.totals, (total, at) => (
    total ? (chars / (chars + share)) * (total / (total + ours.kinds[at] / 2)) : 0));
  const gain = all.gain.map((value, g) => (1 - trust[owners[g]]) * value);
  own.places.forEach((g, k) => { gain[g] += trust[owners[g]] * ours.gain[k]; });
  const back = all.back.map((value, at) => trust[at] * ours.back[at] + (1 - trust[at]) * value);
  return { gain, back, totals: all.totals };
}

// levels: of each length {children, characters, counts}: how many n-grams each context has, and of
// each n-gram its last character and its count. boundary: the id that ends a line, or -1.
// ofLabel: {share, levels: {places, counts} of each length}, or null.
function contextsOf(levels, V, boundary, ofLabel) {
  // 1. One row of n-grams, and where the children of each node begin.
  const order = levels.length;
  const sizes = levels.map((level) => level.characters.length);
  const all = sizes.reduce((sum, size) => sum + size, 0);
  const nodes = all - sizes[order - 1] + 1;
  const character = new Uint32Array(all);
  const gain = new Float64Array(all);
  const first = new Uint32Array(nodes + 1);
  const back = new Float64Array(nodes).fill(1);
  const totals = new Float64Array(nodes);
  const suffix = new Uint32Array(nodes);
  const top = new Float64Array(nodes).fill(1 / V);
  const best = new Uint32Array(nodes);
  const full = order > 1 ? nodes - sizes[order - 2] : nodes; // nodes from here on have full length

  // 2. Weights of each n-gram and of each context.
  let node = 0;
  let gram = 0;
  const chars = ofLabel ? ofLabel.levels[order - 1].counts.reduce((sum, count) => sum + count, 0) : 0;
  levels.forEach((level, k) => {
    character.set(level.characters, gram);
    const contexts = level.children.length;
    const owners = new Uint32Array(level.characters.length);
    let g = 0;
    level.children.forEach((children, at) => {
      first[node + at] = gram + g;
      owners.fill(at, g, g + children);
      g += children;
    });
    let weights = weighed(contexts, owners, level.counts);
    if (ofLabel) weights = blended(weights, ofLabel.levels[k], owners, contexts, chars, ofLabel.share);
    gain.set(weights.gain, gram);
    back.set(weights.back, node);
    totals.set(weights.totals, node);
    gram += g;
    node += contexts;
  });
  first[nodes] = all;

  const childOf = (at, id) => {
    let low = first[at];
    let high = first[at + 1];
    const stop = high;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (character[middle] < id) low = middle + 1;
      else high = middle;
    }
    return low < stop && character[low] === id ? low : -1;
  };

  // 3. Suffixes, and the likeliest character of each node, from short contexts to long ones.
  const probability = new Float64Array(all);
  for (let at = 0; at < nodes; at += 1) {
    if (at) {
      top[at] = back[at] * top[suffix[at]];
      best[at] = best[suffix[at]];
    }
    let likeliest = -1;
    for (let g = first[at]; g < first[at + 1]; g += 1) {
      const end = at ? childOf(suffix[at], character[g]) : -1;
      probability[g] = gain[g] + back[at] * (at ? probability[end] : 1 / V);
      if (g + 1 < nodes) suffix[g + 1] = at ? end + 1 : 0;
      if (likeliest < 0 || probability[g] > probability[likeliest]) likeliest = g;
    }
    if (likeliest >= 0 && probability[likeliest] >= top[at]) {
      top[at] = probability[likeliest];
      best[at] = character[likeliest];
    }
  }

  // The node that id leads to: the longest known context that ends with it.
  function advance(from, id) {
    if (order === 1) return 0;
    let at = from >= full ? suffix[from] : from;
    for (;;) {
      const child = childOf(at, id);
      if (child >= 0) return child + 1;
      if (!at) return 0;
      at = suffix[at];
    }
  }

  // P (V) of every character at a node.
  function shares(from) {
    const sums = new Float64Array(V);
    let scale = 1;
    for (let at = from; ; at = suffix[at]) {
      for (let g = first[at]; g < first[at + 1]; g += 1) sums[character[g]] += scale * gain[g];
      scale *= back[at];
      if (!at) break;
    }
    return sums.map((sum) => sum + scale / V);
  }

  let start = 0;
  for (let k = 1; k < order && boundary >= 0; k += 1) start = advance(start, boundary);
  return { advance, shares, start, order, top, best, back, totals };
}

// ln P (V) of the mixture of a network's scores (V) and counting at a node. theta: of the gate.
function mixedScores(logits, contexts, theta, node, isSpelled) {
  // 1. What the network says.
  const network = plainShares(logits);
  const best = contexts.best[node];
  let entropy = 0;
  let top = 0;
  for (const share of network) {
    if (share > 0) entropy -= share * Math.log(share);
    if (share > top) top = share;
  }

  // 2. The gate.
  const features = [
    1, entropy, Math.log(top), Math.max(Math.log(network[best]), LEAST_LN),
    network[best] >= top ? 1 : 0,
    Math.log(contexts.top[node]), Math.log(contexts.back[node]), Math.log1p(contexts.totals[node]),
  ];
  const sum = features.reduce((total, feature, k) => total + feature * theta[k], 0);
  const share = 1 / (1 + Math.exp(-clamp(sum, -STEEPEST, STEEPEST)));

  // 3. The mixture.
  let counted = contexts.shares(node);
  if (isSpelled) counted = normalised(counted.map((p, id) => (logits[id] < EXCLUDED ? 0 : p)));
  return network.map((p, id) => Math.log((1 - share) * p + share * counted[id]));
}
