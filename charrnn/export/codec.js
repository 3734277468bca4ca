// Text to ids and back. Characters that cannot be seen are shown as escapes, as in `\x00`.
const MAX_CODE = 0x110000; // a symbol from here on is a byte of a rare character: MAX_CODE + byte
const BREAK = 0xffff; // a line break inside a record
const FIRST_LEAD = 0xc2;
const CONTINUATIONS = 64;
const UNSEEN = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}\p{Co}\p{Cn}]/gu;

function legible(text) {
  return text.replace(UNSEEN, (char) => {
    if (char === "\n" || char === "\t") return char;
    const code = char.codePointAt(0);
    const hex = code.toString(16);
    if (code < 0x100) return `\\x${hex.padStart(2, "0")}`;
    return code < 0x10000 ? `\\u${hex.padStart(4, "0")}` : `\\U${hex.padStart(8, "0")}`;
  });
}

// The name of a character in a list.
function named(text) {
  return { "\n": "↵", "\t": "⇥", " ": "␣" }[text] ?? legible(text);
}

// unit: "char" or "byte". symbols: code points or bytes, in order of their ids. spelling: {after,
// table} where rare characters are bytes, else null: the state after a symbol between characters, and
// after a byte inside one; -1: it may not stand there.
function codecOf({ unit, symbols, hasBreaks, normalize, lineEnds }, spelling) {
  const ids = new Map(symbols.map((symbol, id) => [symbol, id]));
  const firstByte = symbols.length - (CONTINUATIONS + 0xf4 - FIRST_LEAD + 1);
  const isOfBytes = unit === "byte";
  // A line break inside a record; the newline ends the record.
  const lineBreak = hasBreaks ? ids.get(BREAK) : undefined;

  function prepared(text) {
    const ended = lineEnds === "lf" ? text.replace(/\r\n?/g, "\n") : text;
    return normalize ? ended.normalize(normalize) : ended;
  }

  // The ids of a character, or null where the model does not know it.
  function idsOf(char) {
    if (char === "\n" && lineBreak !== undefined) return [lineBreak];
    const own = ids.get(char.codePointAt(0));
    if (!isOfBytes && own !== undefined) return [own];
    const code = char.codePointAt(0);
    if ((!isOfBytes && !spelling) || (code >= 0xd800 && code < 0xe000)) return null;
    const bytes = [...new TextEncoder().encode(char)];
    const found = bytes.map((byte) => ids.get(isOfBytes ? byte : MAX_CODE + byte));
    return found.includes(undefined) ? null : found;
  }

  // {ids, unknown}: unknown characters are left out, and named.
  function encode(text) {
    const found = [];
    const unknown = new Set();
    for (const cluster of prepared(text)) {
      const forms = [cluster, cluster.normalize("NFC"), cluster.normalize("NFD")];
      const known = forms.map((form) => [...form].map(idsOf)).find((parts) => !parts.includes(null));
      if (known) found.push(...known.flat());
      else unknown.add(cluster);
    }
    return { ids: found, unknown: [...unknown] };
  }

  // A character comes in one id, or in several bytes: push(id) returns the text that it completes.
  function reader() {
    let held = [];
    const missing = () => {
      const lead = held[0];
      if (lead < 0xc2 || lead > 0xf4) return 0;
      return (lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4) - held.length;
    };
    const flush = () => {
      const text = new TextDecoder().decode(Uint8Array.from(held));
      held = [];
      return text;
    };
    return {
      push(id) {
        const symbol = symbols[id];
        if (id === lineBreak) return "\n";
        if (!isOfBytes && symbol < MAX_CODE) return String.fromCodePoint(symbol);
        const byte = isOfBytes ? symbol : symbol - MAX_CODE;
        let text = "";
        if (held.length && (byte < 0x80 || byte > 0xbf)) text = flush();
        held.push(byte);
        return missing() > 0 ? text : text + flush();
      },
      rest: () => (held.length ? flush() : ""),
    };
  }

  // The state of the spelling after an id; 0: a character ends with it.
  function spelt(state, id) {
    const byte = id - firstByte;
    const isInside = byte >= 0 && byte < CONTINUATIONS;
    return Math.max(0, isInside ? spelling.table[state * CONTINUATIONS + byte] : spelling.after[id]);
  }

  // What may not follow in a state gets no probability.
  function masked(logits, state) {
    return Float64Array.from(logits, (score, id) => {
      const byte = id - firstByte;
      const isInside = byte >= 0 && byte < CONTINUATIONS;
      const after = state
        ? (isInside ? spelling.table[state * CONTINUATIONS + byte] : -1)
        : spelling.after[id];
      return after < 0 ? -Infinity : score;
    });
  }
  return { encode, reader, spelt, masked };
}

// Has the training text this line? words: a Bloom filter (Bloom 1970) of its lines, as
// text/novelty.py makes it. No: surely not. Of other lines, one in a hundred looks like one.
const HASH_BASE = 0x9e3779b97f4a7c15n;
const HASH_MIX = 0xd6e8feb86659fd93n;

function mayHold(words, line, unit) {
  const codes = unit === "byte"
    ? [...new TextEncoder().encode(line)]
    : [...line].map((char) => char.codePointAt(0));
  let total = 0n;
  for (const code of codes.reverse()) total = wrap(total * HASH_BASE + BigInt(code) + 1n);
  for (let turn = 0; turn < 2; turn += 1) {
    total ^= total >> 32n;
    total = wrap(total * HASH_MIX);
  }
  total ^= total >> 32n;
  const word = words[Number(((total >> 32n) * BigInt(words.length)) >> 32n)];
  return [0n, 1n, 2n, 3n, 4n].every((i) => (word >> ((total >> (6n * i)) & 63n)) & 1n);
}
