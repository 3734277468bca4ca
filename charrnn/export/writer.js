// A model that reads and writes, made of what stands in the page, and texts that grow.
const SLICE_MS = 12; // of work, after which the page may answer a key
const EVERY = 32; // ids between two states that are kept, so that a text can be cut anywhere

function bytesOf(base64) {
  const text = atob(base64);
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i += 1) bytes[i] = text.charCodeAt(i);
  return bytes;
}

// float16 -> float32, by a table of all 65,536.
function singles(halves) {
  const table = new Float32Array(1 << 16);
  for (let bits = 0; bits < 1 << 16; bits += 1) {
    const sign = bits >> 15 ? -1 : 1;
    const exponent = (bits >> 10) & 31;
    const fraction = (bits & 1023) / 1024;
    table[bits] = sign * (exponent ? (1 + fraction) * 2 ** (exponent - 15) : fraction * 2 ** -14);
  }
  return Float32Array.from(halves, (bits) => table[bits]);
}

const KINDS = {
  float32: (bytes) => new Float32Array(bytes.buffer),
  float16: (bytes) => singles(new Uint16Array(bytes.buffer)),
  uint8: (bytes) => bytes,
  uint16: (bytes) => new Uint16Array(bytes.buffer),
  uint32: (bytes) => new Uint32Array(bytes.buffer),
  int16: (bytes) => new Int16Array(bytes.buffer),
  uint64: (bytes) => new BigUint64Array(bytes.buffer),
};
const unpacked = ({ kind, data }) => KINDS[kind](bytesOf(data));

// The counts of one length: 255 stands for the next of the large ones.
function levelOf({ children, characters, counts, large }) {
  const many = unpacked(large);
  let next = 0;
  const all = Uint32Array.from(unpacked(counts), (count) => (count < 255 ? count : many[next++]));
  return { children: unpacked(children), characters: unpacked(characters), counts: all };
}

// The n-grams of label `number`, of each length: {places, counts}; null where it has none.
function ownOf(levels, number) {
  const own = levels.map(({ sharers, labels, counts, large }) => {
    const [of, all, many] = [unpacked(labels), unpacked(counts), unpacked(large)];
    const found = { places: [], counts: [] };
    let at = 0;
    let next = 0;
    unpacked(sharers).forEach((times, place) => {
      for (const stop = at + times; at < stop; at += 1) {
        const count = all[at] < 255 ? all[at] : many[next++];
        if (of[at] !== number) continue;
        found.places.push(place);
        found.counts.push(count);
      }
    });
    return found;
  });
  return own[0].places.length ? own : null;
}

// model: what model.py gathered. It reads ids: step(id, state) changes the state and returns the
// scores of the next character.
function machineOf(model) {
  const weights = unpacked(model.weights);
  const places = new Map(model.tensors.map(([name, begin, end]) => [name, [begin, end]]));
  const network = networkOf(model.shape, (name) => weights.subarray(...places.get(name)));
  const spelling = model.spelling
    && { after: unpacked(model.spelling.after), table: unpacked(model.spelling.table) };
  const codec = codecOf(model.text, spelling);
  const V = model.shape.vocabulary;
  const levels = model.counting && model.counting.levels.map(levelOf);
  const everyone = model.counting && contextsOf(levels, V, model.newline, null);
  const ofLabels = new Map(); // the contexts of each label, made when it is asked for
  function contextsFor(number) {
    const { counting } = model;
    if (!number || !counting || !counting.labels) return everyone;
    if (!ofLabels.has(number)) {
      const own = ownOf(counting.labels.levels, number);
      const ofLabel = { share: counting.labels.share, levels: own };
      ofLabels.set(number, own ? contextsOf(levels, V, model.newline, ofLabel) : everyone);
    }
    return ofLabels.get(number);
  }

  // label: the number of the text's label, from 1 on; 0: none.
  const zeroState = () =>
    ({ ...network.zeroState(), node: everyone ? everyone.start : 0, spelt: 0, label: 0 });
  const copy = ({ node, spelt, label, ...state }) => ({ ...network.copy(state), node, spelt, label });
  function step(id, state) {
    if (id >= V) state.label = id - V + 1;
    const known = id < V ? id : model.newline; // to spelling and counting a label begins a line
    let scores = network.step(id, state).slice();
    if (spelling) {
      state.spelt = codec.spelt(state.spelt, known);
      scores = codec.masked(scores, state.spelt);
    }
    if (everyone) {
      const contexts = contextsFor(state.label);
      state.node = contexts.advance(state.node, known);
      scores = mixedScores(scores, contexts, model.counting.theta, state.node, Boolean(spelling));
    }
    return scores;
  }
  const filters = (model.known || []).map(unpacked);
  const isKnown = (line) => filters.some((words) => mayHold(words, line, model.text.unit));
  return { network, codec, zeroState, copy, step, model, isKnown, hasFilters: filters.length > 0 };
}

// A text: what was read and what was drawn. chars: its characters, each with the ids up to its end,
// its bits and whether it was drawn. seed, stream: where its draws come from.
class Story {
  // label: its number among the model's, from 1 on; 0: none.
  constructor(machine, ids, seed, stream, label = 0) {
    const { start, shape, labels } = machine.model;
    this.machine = machine;
    this.seed = seed;
    this.label = label;
    this.drawSeed = seed + (label ? labels.seeds[label - 1] : 0); // equal draws would look alike
    this.stream = stream;
    this.position = 0; // of the next draw
    this.waiting = [label ? shape.vocabulary + label - 1 : start, ...ids]; // ids not read yet
    this.ids = []; // that were read, the start among them
    this.kept = []; // states before ids 0, EVERY, ...
    this.state = machine.zeroState();
    this.scores = null;
    this.chars = [];
    this.drawnChars = 0;
    this.reader = machine.codec.reader();
    this.bits = 0; // of the character that is not whole
    this.isOver = false;
    this.looks = null; // what to keep of each step: {name, unit}
  }

  // Read an id. Its surprise is what the scores before it said.
  take(id, isDrawn, bits) {
    if (this.ids.length % EVERY === 0) this.kept.push(this.machine.copy(this.state));
    this.scores = this.machine.step(id, this.state);
    this.ids.push(id);
    if (this.ids.length === 1) return; // the start is no part of the text
    this.bits += bits;
    const text = this.reader.push(id);
    if (text) this.add(text, isDrawn);
  }

  add(text, isDrawn) {
    const { network } = this.machine;
    const value = this.looks && network.value(this.looks.name, this.looks.unit, this.state);
    this.chars.push({
      text, bits: this.bits, isDrawn, end: this.ids.length, value, position: this.position,
    });
    this.drawnChars += isDrawn;
    this.bits = 0;
  }

  // One step: reads what waits, else draws. Returns false where nothing is left to do.
  advance(how, length) {
    const { model } = this.machine;
    if (this.waiting.length) {
      const id = this.waiting.shift();
      this.take(id, false, this.scores ? bitsOf(this.scores, id) : 0);
      return true;
    }
    if (this.isOver || this.drawn >= length) return false;
    const u = uniform(this.drawSeed, this.stream, this.position);
    const id = drawn(filteredWeights(this.scores, how), u);
    this.position += 1;
    this.take(id, true, bitsOf(this.scores, id));
    if (id === model.newline) this.isOver = true;
    return true;
  }

  // What a length counts: characters, or bytes where the model knows bytes alone.
  get drawn() {
    return this.machine.model.text.unit === "byte" ? this.position : this.drawnChars;
  }

  get text() {
    return this.chars.map((char) => char.text).join("");
  }

  // Cut behind a number of characters, and let `ids` follow.
  cut(count, ids) {
    const wanted = this.ids.slice(0, count ? this.chars[count - 1].end : 1);
    const position = count ? this.chars[count - 1].position : 0;
    const from = Math.floor((wanted.length - 1) / EVERY);
    this.chars.length = count;
    this.drawnChars = this.chars.filter((char) => char.isDrawn).length;
    this.state = this.machine.copy(this.kept[from]);
    this.kept.length = from + 1;
    this.ids = this.ids.slice(0, from * EVERY);
    for (const id of wanted.slice(from * EVERY)) {
      this.scores = this.machine.step(id, this.state);
      this.ids.push(id);
    }
    this.reader = this.machine.codec.reader();
    this.bits = 0;
    this.position = position;
    this.isOver = false;
    this.waiting = ids;
  }

  // The scores after a number of characters. The state there is then `stateAt`; the text's own state
  // is left as it is.
  scoresAfter(count) {
    const ids = this.ids.slice(0, count ? this.chars[count - 1].end : 1);
    const from = Math.floor((ids.length - 1) / EVERY);
    this.stateAt = this.machine.copy(this.kept[from]);
    let scores = null;
    for (const id of ids.slice(from * EVERY)) scores = this.machine.step(id, this.stateAt);
    return scores;
  }

  // Read the text again, an id a turn, and keep what another unit did at each character.
  * reading(looks) {
    const { network } = this.machine;
    const state = this.machine.zeroState();
    this.looks = looks;
    let at = 0;
    for (let i = 0; i < this.ids.length; i += 1) {
      this.machine.step(this.ids[i], state);
      if (at < this.chars.length && i + 1 === this.chars[at].end) {
        this.chars[at].value = network.value(looks.name, looks.unit, state);
        at += 1;
      }
      yield;
    }
  }
}

// Work in slices, between which the page answers. turn(): does a little, and returns false when all
// is done. Returns a function that stops it.
function inSlices(turn, shown, done) {
  const channel = new MessageChannel();
  let isStopped = false;
  channel.port1.onmessage = () => {
    if (isStopped) return;
    const until = performance.now() + SLICE_MS;
    let goesOn = true;
    while (goesOn && performance.now() < until) goesOn = turn();
    shown();
    if (goesOn) channel.port2.postMessage(0);
    else finish(false);
  };
  function finish(wasStopped) {
    if (isStopped) return;
    isStopped = true;
    channel.port1.close();
    done(wasStopped);
  }
  channel.port2.postMessage(0);
  return () => finish(true);
}
