"""How much a decoded text looks like one language: letters of one script, in words, in the right
case.

Where several encodings decode all of a file, the best is the one whose text looks most like that.
"""

from __future__ import annotations

import unicodedata
from functools import cache

from charrnn.text.words import is_mark

# The letters beyond ASCII that each language writes, in lower case.
ALPHABETS = {
    "French": "àâæçèéêëîïôùûüÿœ",
    "German": "äöüßé",
    "Spanish": "áéíóúüñªº",
    "Portuguese": "ãõáéíóúâêôàçüªº",
    "Italian": "àèéìîòùª°º",
    "Swedish": "åäöéàü",
    "Danish": "æøåéàôö",
    "Icelandic": "áéíóúýþæöð",
    "Dutch": "éëïèöüáóêç",
    "Catalan": "àèéíïòóúüç·",
    "Czech": "áčďéěíňóřšťúůýž",
    "Slovak": "áäčďéíĺľňóôŕšťúýž",
    "Polish": "ąćęłńóśźż",
    "Hungarian": "áéíóöőúüű",
    "Romanian": "ăâîșțşţ",
    "Croatian": "čćđšž",
    "Turkish": "âçğıîöşûüi\u0307",
    "Lithuanian": "ąčęėįšųūž",
    "Latvian": "āčēģīķļņšūž",
    "Estonian": "äõöüšž",
    "Russian": "абвгдежзийклмнопрстуфхцчшщъыьэюяё",
    "Ukrainian": "абвгдежзийклмнопрстуфхцчшщьюяіїєґ",
    "Serbian": "абвгдежзијклмнопрстуфхцчшђљњћџ",
    "Greek": "αβγδεζηθικλμνξοπρστυφχψωςάέήίόύώϊϋΐΰ",
    "Hebrew": "אבגדהוזחטיךכלםמןנסעףפץצקרשת",
    "Thai": "".join(map(chr, range(0xE01, 0xE5B))),
    "Arabic": "ءآأؤإئابةتثجحخدذرزسشصضطظعغفقكلمنهوىي" + "".join(map(chr, range(0x64B, 0x653))),
    "Persian": "ءآأؤئابپتثجچحخدذرزژسشصضطظعغفقكلمنهوىيکگی",
}
# Those that a language has, and seldom writes: they count half.
SELDOM = {"French": "æœÿ", "Portuguese": "üªº", "Spanish": "ªº", "Italian": "îªº"}
# Those that are most frequent: two thirds of a text.
FREQUENT = {
    "Russian": "оеаинтсрвлкмд",
    "Ukrainian": "оаниевтрсілку",
    "Serbian": "аиоенрстудјкв",
    "Greek": "αοιετσνηυρπκςόά",
    "Hebrew": "יוהלארתבשמנם",
    "Arabic": "ايلمنوترعبدهة",
    "Persian": "ايرندمهتوبسیک",
}
USUAL_SHARE = 0.6  # of the frequent letters, in a text of a few words or more
VOWELS = {
    "Russian": "аеёиоуыэюя",
    "Ukrainian": "аеєиіїоуюя",
    "Serbian": "аеиоу",
    "Greek": "αεηιουωάέήίόύώϊϋΐΰ",
    "Thai": "".join(map(chr, range(0xE30, 0xE4F))),
}
USUAL_VOWELS = 0.36  # of the letters
# Letters that have another form at the end of a word, and that form.
MEDIAL = set("σכמנפצ")
FINAL = set("ςךםןףץ")
# Beside words in any language; what else is no letter is a sign of a wrong encoding.
MARKS = set("«»“”‘’„–—…•·°§©®™€£¿¡№½¼¾\u00a0\u00ad")
EAST_ASIAN_MARKS = set("、。「」『』〈〉《》【】・，．：；？！（）〜～\u3000")
# By character set, the first bytes of its common characters.
COMMON = {
    "gb2312": range(0xB0, 0xD8),
    "big5": range(0xA4, 0xC7),
    "euc_jp": range(0xB0, 0xD0),
    "euc_kr": range(0xB0, 0xC9),
}
JAPANESE = ("euc_jp", "")
EAST_ASIAN = ("CJK", "HANGUL", "HIRAGANA", "KATAKANA")
INSIDE_WORDS = set("’·'-\u00ad")
WHITE = "\t\n\r\f"
SAMPLE_CHARS = 4000
ENOUGH = 4  # letters of a script that has its own, from which a share of frequent ones is judged


def likeness(text: str, east_asian: str = "") -> float:
    """Return how much a text looks like one language: 1 very much, 0 not at all.

    east_asian: the character set that East Asian characters should be common ones of ("gb2312").
    Only what is beyond ASCII counts.
    """
    beyond = [
        place
        for place, char in enumerate(text[:SAMPLE_CHARS])
        if char > "\x7f" or (char < " " and char not in WHITE)
    ]
    if not beyond:
        return 1.0
    points = [_points(text, place, east_asian) for place in beyond]
    letters = [text[place].lower() for place in beyond if text[place].isalpha()]
    letters += [text[place] for place in beyond if is_mark(text[place])]
    return sum(points) / len(points) * _share_of_a_language("".join(letters))


def _points(text: str, place: int, east_asian: str) -> float:
    """Return how well a character fits where it stands, from 0 to 1."""
    char = text[place]
    before = text[place - 1] if place else " "
    after = text[place + 1] if place + 1 < len(text) else " "
    if char < " ":
        return 0.0
    script = _script(char)
    if char in EAST_ASIAN_MARKS or script in EAST_ASIAN:
        is_alone = before.isascii() and after.isascii()
        if is_alone and (before.isalpha() or after.isalpha()):
            return 0.4
        return 0.97 if char in EAST_ASIAN_MARKS else _commonness(char, script, east_asian)
    if char in MARKS:
        is_inside = before.isalpha() and after.isalpha() and not _is_wide(before)
        if is_inside:
            return 1.0 if char in INSIDE_WORDS else 0.2
        return 0.9
    if is_mark(char):
        return 1.0 if before.isalpha() or is_mark(before) else 0.0
    if not char.isalpha() or before.isdigit() or after.isdigit():
        return 0.0
    # A word is of one script, and no small letter stands before a large one.
    for neighbour in (before, after):
        if neighbour.isalpha() and _script(neighbour) != script:
            return 0.0
    if before.islower() and char.isupper():
        return 0.0
    if (char in FINAL and after.isalpha()) or (char in MEDIAL and not after.isalpha()):
        return 0.2
    if char.islower() and after.isupper():
        return 0.5
    if not before.isalpha() and not after.isalpha() and not is_mark(after):
        return 0.8
    return 1.0 if not char.isupper() or not before.isupper() else 0.9


def _share_of_a_language(letters: str) -> float:
    """Return how much of these letters, in lower case, one language has, of the best language."""
    alphabetic = [char for char in letters if _script(char) not in EAST_ASIAN]
    others = len(letters) - len(alphabetic)
    if not alphabetic:
        return 1.0
    best = 0.0
    for language, alphabet in ALPHABETS.items():
        known = [char for char in alphabetic if char in alphabet]
        seldom = sum(char in SELDOM.get(language, "") for char in known)
        share = (len(known) - seldom / 2) / len(alphabetic)
        if language in FREQUENT and len(known) >= ENOUGH:
            frequent = sum(char in FREQUENT[language] for char in known) / len(known)
            share *= min(1.0, frequent / USUAL_SHARE)
        if language in VOWELS and len(known) >= ENOUGH:
            vowels = sum(char in VOWELS[language] for char in known) / len(known)
            share *= min(1.0, vowels / USUAL_VOWELS)
        best = max(best, share)
    share_of_alphabet = len(alphabetic) / len(letters)
    # Words of one language are written in one script: letters of two are less likely.
    mixed = 1.0 - min(share_of_alphabet, others / len(letters))
    return (best * len(alphabetic) + others) / len(letters) * mixed


def _commonness(char: str, script: str, east_asian: str) -> float:
    """Return how common an East Asian character is in its set."""
    if script in ("HIRAGANA", "KATAKANA"):
        is_narrow = "\uff61" <= char <= "\uff9f"
        return 0.2 if is_narrow or east_asian not in JAPANESE else 1.0
    sets = [east_asian] if east_asian else list(COMMON)
    if script == "HANGUL":
        return 1.0 if "euc_kr" in sets and _lead(char, "euc_kr") in COMMON["euc_kr"] else 0.0
    # A hair less than what is written with an alphabet: more bytes look like ideographs.
    sets = [name for name in sets if name != "euc_kr"]
    if any(_lead(char, name) in COMMON[name] for name in sets):
        return 0.97
    return 0.3 if any(_lead(char, name) for name in sets) else 0.0


def _lead(char: str, encoding: str) -> int:
    """Return the first byte of a character of two bytes in an encoding, 0 where it has none."""
    data = char.encode(encoding, "ignore")
    return data[0] if len(data) == 2 else 0


def _is_wide(char: str) -> bool:
    return char >= "\u2e80"


@cache
def _script(char: str) -> str:
    """Return the script of a character: LATIN, CYRILLIC, CJK, HIRAGANA."""
    name = unicodedata.name(char, "")
    first = name.partition(" ")[0]
    if first == "KATAKANA-HIRAGANA" or name.startswith("HALFWIDTH KATAKANA"):
        return "KATAKANA"
    return first
