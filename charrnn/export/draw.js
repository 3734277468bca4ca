// Scores -> probabilities -> a character, and the random numbers that choose it. All of it is in
// double precision, and in the order of `charrnn sample`: equal seeds write equal texts.
const GOLDEN = 0x9e3779b97f4a7c15n;
const LARGEST = 1e300; // stands for infinity

const wrap = (value) => BigInt.asUintN(64, value);

function mix(value) {
  let z = value;
  z = wrap((z ^ (z >> 30n)) * 0xbf58476d1ce4e5b9n);
  z = wrap((z ^ (z >> 27n)) * 0x94d049bb133111ebn);
  return z ^ (z >> 31n);
}

// Number `position` in [0, 1) of sample `stream`: SplitMix64 (Steele, Lea & Flood 2014), whose seed is
// itself an output of SplitMix64.
function uniform(seed, stream, position) {
  const state = mix(wrap(BigInt(seed) + (BigInt(stream) + 1n) * GOLDEN));
  return Number(mix(wrap(state + (BigInt(position) + 1n) * GOLDEN)) >> 11n) * 2 ** -53;
}

function tamed(score) {
  if (Number.isFinite(score)) return score;
  return score > 0 ? LARGEST : -LARGEST;
}

// Probabilities (V) under the model itself: temperature 1, nothing filtered.
function plainShares(logits) {
  return normalised(weightsOf(logits, 1));
}

function weightsOf(logits, temperature) {
  const scores = Float64Array.from(logits, tamed);
  let largest = -Infinity;
  for (const score of scores) if (score > largest) largest = score;
  return scores.map((score) => Math.exp((score - largest) / temperature));
}

function normalised(weights) {
  let total = 0;
  for (const weight of weights) total += weight;
  return weights.map((weight) => weight / total);
}

// Weights (V) of the next character. Filters come in this order: top-k, top-p, min-p.
// how: {temperature, topK, topP, minP}; 0, 1 and 0 switch a filter off.
function filteredWeights(logits, how) {
  if (how.temperature === 0) {
    const scores = Float64Array.from(logits, tamed);
    const greedy = new Float64Array(scores.length);
    greedy[scores.reduce((best, score, id) => (score > scores[best] ? id : best), 0)] = 1;
    return greedy;
  }
  const weights = weightsOf(logits, how.temperature);
  const hasTopK = how.topK > 0 && how.topK < weights.length;
  if (!hasTopK && how.topP >= 1 && how.minP <= 0) return weights;
  const order = Array.from(weights.keys()).sort((a, b) => logits[b] - logits[a] || a - b);
  if (hasTopK) for (const id of order.slice(how.topK)) weights[id] = 0;
  if (how.topP < 1) {
    let total = 0;
    for (const weight of weights) total += weight;
    let sum = 0;
    for (const id of order) {
      if (sum >= how.topP * total) weights[id] = 0;
      else sum += weights[id];
    }
  }
  return weights.map((weight) => (weight >= how.minP ? weight : 0));
}

// The first id whose running sum of weights (V) is above u times the total.
function drawn(weights, u) {
  let total = 0;
  for (const weight of weights) total += weight;
  const target = u * total;
  let sum = 0;
  for (let id = 0; id < weights.length; id += 1) {
    sum += weights[id];
    if (sum > target) return id;
  }
  return weights.length - 1;
}

// -log2 p of an id under the model itself.
function bitsOf(logits, id) {
  const scores = Float64Array.from(logits, tamed);
  let largest = -Infinity;
  for (const score of scores) if (score > largest) largest = score;
  let total = 0;
  for (const score of scores) total += Math.exp(score - largest);
  return (Math.log(total) - (scores[id] - largest)) / Math.LN2;
}
