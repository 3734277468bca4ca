"""The report of `charrnn train --check`, in lines for a person."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from charrnn.terminal import many, one_line

MOST = 8  # characters named; --json names all
LINE_ENDS = (("lf", "LF"), ("crlf", "CRLF"), ("lone_cr", "CR"))

Findings = dict[str, Any]  # what training.checkup.check returns, and --json prints


def report(findings: Findings) -> Iterator[str]:
    """Yield the report, a line for each finding and each piece of advice.

    The text of the corpus is escaped.
    """
    rows = [
        ("text", _text(findings)),
        *(("", _one_of_several(text, findings)) for text in findings.get("texts", ())),
        *([(f"some {_item(findings)}s", _beginning(findings))] if findings["beginning"] else ()),
        ("characters", _characters(findings)),
        ("rare", _rare(findings)),
        ("odd", _odd(findings)),
        (f"{_item(findings)}s", _lines(findings)),
        ("repeated", _repeated(findings)),
        *([("labels", _labels(findings["labels"]))] if findings.get("labels") else ()),
        *(("leakage", _leak(leak, _item(findings))) for leak in findings["leaks"]),
        ("mode", f"{findings['form']}: {findings['mode_reason']}"),
    ]
    if findings["fine_tuning"]:
        rows.append(("fine-tuning", findings["fine_tuning"]))
    if findings["cell"] == "ngram":
        rows.append(("counting", _counting(findings)))
    else:
        rows.append(("network", _network(findings)))
    for title, text in rows:
        yield f"{title:<11} {one_line(text)}"
    yield "" if findings["advice"] else "no problems found"
    for advice in findings["advice"]:
        yield f"- {one_line(advice)}"


def _item(findings: Findings) -> str:
    """What the text is made of: a record may have several lines."""
    return "record" if findings.get("form") == "records" else "line"


def _text(findings: Findings) -> str:
    text = f"{findings['shown']}: {many(findings['size_bytes'], 'byte')}, {findings['encoding']}"
    if findings["byte_order_mark"]:
        text += f", {findings['byte_order_mark']} byte order mark"
    return text


def _one_of_several(text: Findings, findings: Findings) -> str:
    facts = [many(text["chars"], "character"), many(text["lines"], _item(findings))]
    if findings["encoding"] != "bytes":
        facts.append(text["encoding"].upper())
    if text["column"] not in ("auto", "none"):
        facts.append(f"column {text['column']}")
    if text["share"] is not None:
        facts.insert(0, f"{text['share']:.3g} of the training")
    return f"{text['shown']}: {', '.join(facts)}"


def _beginning(findings: Findings) -> str:
    return ", ".join(f"'{line}'" for line in findings["beginning"])


def _characters(findings: Findings) -> str:
    text = f"{findings['chars']:,}"
    if findings["heading_chars"]:
        text += f" ({findings['heading_chars']:,} of them are headings put before its files)"
    text += f", {findings['distinct']:,} distinct"
    changes = findings["nfc_changes"]
    if changes is None:
        return text
    if changes:
        return f"{text}; {changes:,} not composed (NFC)"
    return f"{text}; already in NFC"


def _rare(findings: Findings) -> str:
    rare = findings["rare"]
    if not rare:
        return "none seen under 5 times"
    share = f"{100 * findings['rare_share']:.3g} % of the text"
    return f"{len(rare):,} seen under 5 times, {share}: {_named(rare, findings)}"


def _odd(findings: Findings) -> str:
    if not findings["odd"]:
        return "no control, bidi or invisible characters, no U+FFFD"
    kinds: dict[str, list[dict[str, Any]]] = {}
    for symbol in findings["odd"]:
        kinds.setdefault(symbol["kind"], []).append(symbol)
    return "; ".join(f"{kind}: {_named(symbols, findings)}" for kind, symbols in kinds.items())


def _named(symbols: list[dict[str, Any]], findings: Findings) -> str:
    from charrnn.text.vocabulary import describe

    unit = "byte" if findings["encoding"] == "bytes" else "char"
    names = [f"{describe(symbol['code'], unit)} x{symbol['count']:,}" for symbol in symbols[:MOST]]
    text = ", ".join(names)
    if len(symbols) > MOST:
        text += f" and {len(symbols) - MOST:,} more"
    return text


def _lines(findings: Findings) -> str:
    ends = [f"{findings[key]:,} {name}" for key, name in LINE_ENDS if findings[key]]
    facts = [f"{findings['lines']:,}; line ends: {', '.join(ends) or 'none'}"]
    if findings["blank_lines"]:
        facts.append(f"{findings['blank_lines']:,} blank")
    if findings["trailing_spaces"]:
        verb = "ends" if findings["trailing_spaces"] == 1 else "end"
        facts.append(f"{findings['trailing_spaces']:,} {verb} in spaces")
    if findings["long_lines"]:
        facts.append(f"{findings['long_lines']:,} of over 1,000")
    facts.append(f"the longest has {many(findings['longest_line'], 'character')}")
    if not findings["ends_with_newline"]:
        facts[-1] += "; the last has no newline"
    return ", ".join(facts)


def _labels(counts: dict[str, int]) -> str:
    """Name the most frequent labels with their items, and say how many occur once."""
    text = f"{len(counts):,}: "
    text += ", ".join(f"{name} x{count:,}" for name, count in list(counts.items())[:MOST])
    if len(counts) > MOST:
        text += f" and {len(counts) - MOST:,} more"
    once = sum(count == 1 for count in counts.values())
    return text if not once else f"{text}; {many(once, 'label')} seen once"


def _repeated(findings: Findings) -> str:
    count = findings["repeated_lines"]
    item = _item(findings)
    if not count:
        return f"no {item}s"
    lines = findings["lines"] - findings["blank_lines"]
    text = f"{count:,} of {many(lines, item)} ({count / lines:.0%})"
    if findings["used_once"]:
        text += f" (used once: {item}s are made distinct before the split)"
    examples = [f"'{line['text']}' x{line['count']:,}" for line in findings["repeated"]]
    return f"{text}, such as {', '.join(examples)}"


def _leak(leak: Findings, item: str = "line") -> str:
    size = f" of {leak['least']} characters or more" if leak["least"] > 1 else ""
    verb = "is" if leak["known"] == 1 else "are"
    text = (
        f"{leak['known']:,} of {many(leak['lines'], item)}{size} of {leak['where']} "
        f"{verb} in the training text"
    )
    examples = [f"'{line}'" for line in leak["examples"][:2]]
    if examples:
        text += f", such as {', '.join(examples)}"
    if leak["alike"]:
        from charrnn.text.folding import WORDS

        examples = [f"'{line}'" for line in leak["alike_examples"][:2]]
        text += f"; {leak['alike']:,} more except for {WORDS}, such as {', '.join(examples)}"
    return text


def _network(findings: Findings) -> str:
    share = findings["parameters"] / max(1, findings["train_chars"])
    per_char = f"{share:,.0f}" if share >= 10 else f"{share:.2g}"
    return (
        f"{findings['network']}: {findings['parameters']:,} parameters, {per_char} for each of "
        f"{many(findings['train_chars'], 'character')}; "
        f"about {findings['expected_memory_bytes'] / 1e6:,.0f} MB beyond the program"
    )


def _counting(findings: Findings) -> str:
    order = f"order {findings['order']}"
    if findings["order"] == "auto":
        order = "order picked by validation"
    return (
        f"n-grams, {findings['smoothing']}, {order}; "
        f"{many(findings['vocabulary'], 'different character')} allow orders "
        f"up to {findings['longest_order']}"
    )
