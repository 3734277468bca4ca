"""The report of `charrnn train --check`, in lines for a person."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from charrnn.terminal import one_line

MOST = 8  # characters named; --json names all


def report(found: dict[str, Any]) -> Iterator[str]:
    """What training.checkup.check found. Text of the corpus is escaped."""
    for title, said in (
        ("text", _text(found)),
        ("characters", _characters(found)),
        ("rare", _rare(found)),
        ("odd", _odd(found)),
        ("lines", _lines(found)),
        ("repeated", _repeated(found)),
        *(("leakage", _leak(leak)) for leak in found["leaks"]),
        ("mode", _mode(found)),
        *([("fine-tuning", found["fine_tuning"])] if found["fine_tuning"] else []),
        ("counting", _counting(found))
        if found["cell"] == "ngram"
        else ("network", _network(found)),
    ):
        yield f"{title:<12}{one_line(said)}"
    yield "" if found["advice"] else "nothing to mind"
    for each in found["advice"]:
        yield f"- {one_line(each)}"


def _text(found: dict[str, Any]) -> str:
    mark = f", {found['byte_order_mark']} byte order mark" if found["byte_order_mark"] else ""
    return f"{found['shown']}: {_many(found['size_bytes'], 'byte')}, {found['encoding']}{mark}"


def _characters(found: dict[str, Any]) -> str:
    changes = found["nfc_changes"]
    composed = (
        ""
        if changes is None
        else f"; {changes:,} not composed (NFC)"
        if changes
        else "; all composed (NFC)"
    )
    headings = found["heading_chars"]
    written = f" ({headings:,} of them are headings put before its files)" if headings else ""
    return f"{found['chars']:,}{written}, {found['distinct']:,} distinct{composed}"


def _rare(found: dict[str, Any]) -> str:
    if not found["rare"]:
        return "none seen under 5 times"
    share = f"{100 * found['rare_share']:.3g} % of the text"
    return f"{len(found['rare']):,} seen under 5 times, {share}: {_named(found['rare'], found)}"


def _odd(found: dict[str, Any]) -> str:
    if not found["odd"]:
        return "no control, bidi or invisible characters, no U+FFFD"
    kinds: dict[str, list[dict[str, Any]]] = {}
    for each in found["odd"]:
        kinds.setdefault(each["kind"], []).append(each)
    return "; ".join(f"{kind}: {_named(symbols, found)}" for kind, symbols in kinds.items())


def _named(symbols: list[dict[str, Any]], found: dict[str, Any]) -> str:
    from charrnn.text.vocabulary import describe

    unit = "byte" if found["encoding"] == "bytes" else "char"
    named = [f"{describe(each['code'], unit)} x{each['count']:,}" for each in symbols[:MOST]]
    return ", ".join(named) + (f" and {len(symbols) - MOST:,} more" if len(symbols) > MOST else "")


def _lines(found: dict[str, Any]) -> str:
    ends = [
        f"{found[key]:,} {name}"
        for key, name in (("lf", "LF"), ("crlf", "CRLF"), ("lone_cr", "CR"))
        if found[key]
    ]
    facts = [f"{found['lines']:,}; line ends: {', '.join(ends) or 'none'}"]
    for key, words in (
        ("blank_lines", "blank"),
        ("trailing_spaces", "ends in spaces" if found["trailing_spaces"] == 1 else "end in spaces"),
        ("long_lines", "of over 1,000"),
    ):
        if found[key]:
            facts.append(f"{found[key]:,} {words}")
    facts.append(f"the longest has {_many(found['longest_line'], 'character')}")
    return ", ".join(facts) + ("" if found["ends_with_newline"] else "; the last has no newline")


def _repeated(found: dict[str, Any]) -> str:
    lines = found["lines"] - found["blank_lines"]
    if not found["repeated_lines"]:
        return "no lines"
    often = ", ".join(f"'{each['text']}' x{each['count']:,}" for each in found["repeated"])
    once = " (used once: lines are made distinct before the split)" if found["used_once"] else ""
    return f"{found['repeated_lines']:,} of {_many(lines, 'line')} ({found['repeated_lines'] / lines:.0%}){once}, such as {often}"


def _leak(leak: dict[str, Any]) -> str:
    size = f" of {leak['least']} characters or more" if leak["least"] > 1 else ""
    shown = [f"'{text}'" for text in leak["examples"][:2]]
    such = f", such as {', '.join(shown)}" if shown else ""
    verb = "is" if leak["known"] == 1 else "are"
    return f"{leak['known']:,} of {_many(leak['lines'], 'line')}{size} of {leak['where']} {verb} in the training text{such}"


def _mode(found: dict[str, Any]) -> str:
    return f"{found['mode']}: {found['mode_reason']}"


def _network(found: dict[str, Any]) -> str:
    share = found["parameters"] / max(1, found["train_chars"])
    each = f"{share:,.0f}" if share >= 10 else f"{share:.2g}"
    return (
        f"{found['network']}: {found['parameters']:,} parameters, {each} for each of {_many(found['train_chars'], 'character')}; "
        f"about {found['expected_memory_bytes'] / 1e6:,.0f} MB beyond the program"
    )


def _counting(found: dict[str, Any]) -> str:
    order = "order picked by validation" if found["order"] == "auto" else f"order {found['order']}"
    return (
        f"n-grams, {found['smoothing']}, {order}; {_many(found['vocabulary'], 'different character')} allow orders "
        f"up to {found['longest_order']}"
    )


def _many(count: int, noun: str) -> str:
    return f"{count:,} {noun}" + ("" if count == 1 else "s")
