"""How what identifies a person may be written elsewhere: a value in all its spellings, and texts, as keys.

A key is letters and digits alone, without accents, in lower case. A text is cut into pieces where a word
could begin or end (at whatever is no letter or digit, between letters and digits, at aA and at the last
capital of AAa); a key is made of neighbours joined again. Digits that a separator parts stay parted
("1970-01-02"), so that lists of numbers make no dates. A name comes in other orders of its parts, without
umlauts, in Latin letters; a number without the zeros before it; a day as people write it.

What is too short or too common to mean one person is no key of its own (``WORDS``, ``SHORTEST_PART``): the
reasons are in docs/privacy.md.
"""

from __future__ import annotations

import html
import re
import unicodedata
from datetime import date
from functools import cache
from itertools import permutations, product
from urllib.parse import unquote

from pacs2bids.identifiers import BIRTH_DATES, NAMES, NUMBERS, OF_PATIENT, PEOPLE, SCAN_DATES
from pacs2bids.words import NOBODY, WORDS

SHORTEST_PART = 3  # letters of a part of a name that is searched for alone
SHORTEST_NAME = 4  # of family and given name together
SHORTEST_CODE = 4  # letters and digits of an identifier
SHORTEST_NUMBER = 5  # digits of one that has nothing else; fewer are a run, a count, a year
SHORTEST_BARE = 6  # digits of a number in JSON that is no text
SHORTEST_CONTACT = 6
_MOST_PARTS = 4  # of a name, in all orders

_PIECE = re.compile(
    r"[A-Z]+(?=[A-Z][a-z])|(?<=[A-Z])[A-Z](?=[a-z])|[A-Z][a-z]+|[A-Z]+|[a-z]+|\d+|[^\W\d_A-Za-z]+"
)
_PARTS = re.compile(r"[\s^_.,;/-]+")
# letters as HTML, addresses (%C3%BC) and JSON write them where they stand in another text
_WRITTEN = re.compile(
    r"&(?:#\d{1,7}|#[xX][\da-fA-F]{1,6}|[A-Za-z]\w{1,30});"
    # each begins with its letter, by which it is looked for in a sixth of the time
    r"|%[\da-fA-F]{2}(?:%[\da-fA-F]{2})*|\\u[\da-fA-F]{4}(?:\\u[\da-fA-F]{4})*"
)
_LETTERS = str.maketrans({"ø": "o", "Ø": "O", "ł": "l", "Ł": "L", "đ": "d", "Đ": "D", "ı": "i", "ß": "ss"})
_LETTERS |= str.maketrans({"æ": "ae", "Æ": "AE", "œ": "oe", "Œ": "OE", "þ": "th", "Þ": "Th", "ð": "d"})
_TWO_FOR_ONE = {"ä": "ae", "ö": "oe", "ü": "ue", "ø": "oe", "å": "aa"}
_WITHOUT_UMLAUTS = str.maketrans(
    _TWO_FOR_ONE | {one.upper(): two.title() for one, two in _TWO_FOR_ONE.items()}
)
# none in Maes, Noel, Bauer and Rodriquez: the words are too short, or a vowel or a q stands before
_UMLAUT = re.compile(r"(?i)(?<![aeiouyq])(?:([aou])e|(a)a)")
_LONG_WORD = re.compile(r"[^\W\d_]{5,}")
# Cyrillic as passports have it (ICAO Doc 9303-3, section 6 B), but for what English texts write otherwise;
# Greek by ELOT 743
_CYRILLIC = dict(zip("абвгдезиклмнопрстуфыэіґ", "abvgdeziklmnoprstufyeig", strict=True))
_CYRILLIC |= {
    "ц": "ts",
    "ж": "zh",
    "х": "kh",
    "ч": "ch",
    "ш": "sh",
    "щ": "shch",
    "ё": "e",
    "ь": "",
    "ї": "i",
    "ў": "u",
}
_OF_PASSPORTS = _CYRILLIC | {"й": "i", "ю": "iu", "я": "ia", "ъ": "ie", "є": "ie"}
_OF_TEXTS = _CYRILLIC | {"й": "y", "ю": "yu", "я": "ya", "ъ": "", "є": "ye"}
_GREEK = dict(zip("αβγδεζηικλμνξοπρσςτυφω", "avgdeziiklmnxoprsstyfo", strict=True))
_GREEK |= {"θ": "th", "χ": "ch", "ψ": "ps"}
_FROM_CYRILLIC = (str.maketrans(_OF_PASSPORTS), str.maketrans(_OF_TEXTS))
_FROM_GREEK = str.maketrans(_GREEK)
# English, and what German, French, Spanish, Italian, Dutch and Portuguese have besides
_MONTHS = (
    "january jan januar janvier janv enero ene gennaio gen januari janeiro",
    "february feb februar fevrier fevr fev febrero febbraio februari fevereiro",
    "march mar marz mrz mars marzo maart mrt marco",
    "april apr avril avr abril abr aprile",
    "may may mai mayo maggio mag mei maio",
    "june jun juni juin junio giugno giu junho",
    "july jul juli juillet juil julio luglio lug julho",
    "august aug aout agosto ago augustus",
    "september sep sept septembre septiembre settembre set setembro",
    "october oct oktober okt octobre octubre ottobre ott outubro",
    "november nov novembre noviembre novembro",
    "december dec dezember dez decembre diciembre dic dicembre dezembro",
)
_ORDINALS = {1: "st", 21: "st", 31: "st", 2: "nd", 22: "nd", 3: "rd", 23: "rd"}
_FOREIGN = re.compile(r"[^\0-\x7f]+")
CJK = "\u2e80"  # from here on Unicode has scripts without spaces between words
Piece = tuple[str, int, int]  # key, start, end

_Keys = tuple[set[str], set[str], set[str]]


def keys_of(keyword: str, value: str) -> _Keys:
    """Keys of a whole value, of single parts of it, and of its short parts."""
    if keyword in NAMES:
        return _of_name(value)
    if keyword in PEOPLE:  # parts of their names stand in the protocols that they wrote
        return (_of_name(value)[0] if len(_parts(value)) > 1 else set()), set(), set()
    if keyword in NUMBERS:
        keys = _of_number(value)
        if keyword not in OF_PATIENT:  # a word there is what was ordered, as "NEURO"
            keys = {key for key in keys if not key.isalpha()}
        return keys, _digits_alone(value), set()
    if keyword in (*BIRTH_DATES, *SCAN_DATES):
        return *_spellings(value), set()
    return {key for key in both_keys(value) if len(key) >= SHORTEST_CONTACT}, set(), set()


def _of_name(value: str) -> _Keys:
    """A person name (PS3.5 section 6.2.1.1): groups parted by =, components by ^, of which the last two are
    titles. One with digits is a code: searched for whole, and its only word alone; so is one of many
    words, which nobody has for a name. "Head Phantom" is nobody.
    """
    plain = {_joined(part) for part in _parts(value)}
    if plain <= WORDS and plain & NOBODY:
        return set(), set(), set()
    whole: set[str] = set()
    single: set[str] = set()
    for group in value.split("="):
        name = "^".join(group.split("^")[:3])
        for spelled in _transliterated(name):
            words = _parts(spelled)
            is_sentence = "^" not in spelled and len(words) > _MOST_PARTS
            if is_sentence or any(letter.isdigit() for letter in spelled):
                whole |= _of_number(spelled)
                single |= {_joined(word) for word in words if word.isalpha() and len(words) == 2}
                continue
            some = words[:_MOST_PARTS]
            for count in range(2, len(some) + 1):
                whole |= {_joined("".join(order)) for order in permutations(some, count)}
            single |= {_joined(part) for part in (*words, *spelled.split("^")) if not _is_common(part)}
            single |= _with_initial(spelled)
            whole |= {_joined(spelled)} if len(words) > 1 else set()
    sure = {key for key in single if len(key) >= (SHORTEST_PART if key < CJK else 2)}
    short = {key for key in single - sure if len(key) == 2}
    return {key for key in whole if len(key) >= SHORTEST_NAME or key >= CJK} - WORDS, sure, short


def _with_initial(name: str) -> set[str]:
    """A family name and an initial, as accounts are made: "jquux", "quuxj"; no plurals of words."""
    family, _, given = name.partition("^")
    family, initial = _joined(family), _joined(given)[:1]
    if len(family) < SHORTEST_NAME or not initial.isascii() or not initial or _is_common(family):
        return set()
    return {initial + family} | ({family + initial} if initial != "s" else set())


def _is_common(part: str) -> bool:
    """Whether it is made of words that mean nobody, as "epiRT"."""
    return _joined(part) in WORDS or all(piece in WORDS for piece, _, _ in pieces_of(_folded(part)))


def _of_number(value: str) -> set[str]:
    keys = set()
    for key in both_keys(value):
        shortest = SHORTEST_NUMBER if key.replace("-", "").isdigit() else SHORTEST_CODE
        if key.isalpha():
            shortest = SHORTEST_PART  # it is a word, if not a name
        if len(key) >= shortest:
            keys.add(key)
    return keys - WORDS


def _digits_alone(value: str) -> set[str]:
    """Long runs of digits in a number with letters, and those of a number without the zeros before."""
    runs = (run.lstrip("0") for run in re.findall(r"\d+", _joined(value)))
    return {run for run in runs if len(run) >= SHORTEST_BARE}


@cache
def _spellings(value: str) -> tuple[set[str], set[str]]:
    """Keys of a day (DA) in usual spellings, and of those with two digits of the year."""
    try:
        day = date(int(value[:4]), int(value[4:6]), int(value[6:8]))
    except ValueError:
        return set(), set()
    if day == date(1900, 1, 1):
        return set(), set()  # what stands for "unknown"
    year, short = f"{day.year:04d}", f"{day.year % 100:02d}"
    month, number = f"{day.month:02d}", f"{day.day:02d}"
    whole = {f"{year}{month}{number}", f"{number}{month}{year}", f"{month}{number}{year}"}
    parts = {f"{short}{month}{number}", f"{number}{month}{short}", f"{month}{number}{short}"}
    parts.add(f"{short}-{month}-{number}")
    for day_, month_ in product({number, f"{day.day}"}, {month, f"{day.month}"}):
        whole |= {f"{year}-{month_}-{day_}", f"{day_}-{month_}-{year}", f"{month_}-{day_}-{year}"}
        whole.add(f"{year}年{month_}月{day_}")
        parts |= {f"{day_}-{month_}-{short}", f"{month_}-{day_}-{short}"}
    months = _MONTHS[day.month - 1].split()
    for name, day_ in product(months, {number, f"{day.day}"}):
        whole |= {f"{day_}{name}{year}", f"{day_}de{name}de{year}"}
    for name, day_ in product(months[:2], {number, f"{day.day}"}):
        whole |= {f"{year}{name}{day_}", f"{name}{day_}-{year}"}
        parts |= {f"{day_}{name}{short}", f"{name}{day_}-{short}"}
    nth = f"{day.day}{_ORDINALS.get(day.day, 'th')}"
    for name in months[:2]:
        whole |= {f"{nth}{name}{year}", f"{nth}of{name}{year}", f"{name}{nth}{year}"}
    return whole, parts


def _parts(name: str) -> list[str]:
    return [part for part in _PARTS.split(name) if part]


def _transliterated(text: str) -> set[str]:
    """As it is; as those write it who have no umlauts, or who put them back; and in Latin letters."""
    spelled = {text, _LONG_WORD.sub(lambda word: _UMLAUT.sub(r"\1\2", word[0]), text)}
    if text.isascii():
        return spelled
    plain = {_folded(text.casefold().translate(table)) for table in _FROM_CYRILLIC}
    latin = {one.replace("ου", "ou").translate(_FROM_GREEK) for one in plain}
    return {*spelled, text.translate(_WITHOUT_UMLAUTS), *latin}


# ------------------------------------------------------------------------------------------------ keys


def _folded(text: str) -> str:
    """Without accents; one letter may become two. Syllables of Hangul, which are taken apart, come back."""
    return text if text.isascii() else _FOREIGN.sub(_without_accents, text)


def _without_accents(match: re.Match[str]) -> str:
    plain = unicodedata.normalize("NFKD", match[0].translate(_LETTERS))
    return unicodedata.normalize("NFC", "".join(one for one in plain if not unicodedata.combining(one)))


def readable(text: str) -> str:
    """As it is searched: without accents, and with letters for what HTML, addresses and JSON make of them."""
    return _folded(_read(text))


def _read(text: str) -> str:
    """With the letters that stand there in the writing of HTML, of an address or of JSON."""
    if "&" in text or "%" in text or "\\u" in text:
        return _WRITTEN.sub(_letters, text)
    return text


def _letters(match: re.Match[str]) -> str:
    written = match[0]
    if written[0] == "&":
        return html.unescape(written)
    if written[0] == "%":
        return unquote(written)
    units = bytes.fromhex(written.replace("\\u", ""))
    return units.decode("utf-16-be", "replace")


def pieces_of(folded: str) -> list[Piece]:
    """Key, start and end of each piece."""
    return [(match[0].casefold(), *match.span()) for match in _PIECE.finditer(folded)]


def _key(text: str) -> str:
    """Of a whole text, as the search makes it of pieces."""
    pieces = pieces_of(_folded(text))
    key = ""
    for before, after in zip([None, *pieces], pieces, strict=False):
        key += joint(before, after) + after[0]
    return key


def _joined(text: str) -> str:
    """Letters and digits only."""
    return "".join(piece for piece, _, _ in pieces_of(_folded(text)))


def both_keys(value: str) -> set[str]:
    """Of a whole text, with its digits parted as they are there, and run together."""
    return {_key(value), _joined(value)}


def joint(before: Piece | None, after: Piece) -> str:
    """Digits that something parts stay parted."""
    if before is None or before[2] == after[1]:
        return ""
    return "-" if before[0].isdigit() and after[0].isdigit() else ""
