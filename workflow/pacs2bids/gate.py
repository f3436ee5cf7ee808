"""The privacy gate: is a patient's own identifier anywhere in what is about to leave?

Theory of operation. ``needles_of`` turns what identifies a patient (``identity``) into keys: letters and
digits alone, in all the ways that a value may be written (``spellings``). A text is cut into pieces where a
word could begin or end; neighbours joined again are looked up among the keys. So "Zzyzx^Quux" is found as
"zzyzx_quux", "acq-QuuxZzyzx01" or "QUUX, Zzyzx", and never inside a longer word, but in the labels of BIDS
names, whose words are run together ("acq-t1zzyzxrepeat"); and the time does not grow with the number of keys,
be they of one patient or of a thousand.

A message names the file, the field and the attribute, never the value.
"""

from __future__ import annotations

import codecs
import re
import struct
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec
from isal import igzip, igzip_lib

from pacs2bids.identifiers import BIRTH_DATES, CONTACTS, NAMES, PEOPLE, SCAN_DATES
from pacs2bids.model import Identity, Json
from pacs2bids.spellings import CJK, SHORTEST_BARE, Piece, both_keys, joint, keys_of, pieces_of, readable
from pacs2bids.words import LONGER, WORDS

ORIGIN = "privacy gate"  # of its findings
UID = "a UID"

SHORTEST_REGROUPED = 7  # digits of a number that is found in other groups than its own
SHORTEST_INSIDE = 5  # letters and digits of what is searched for inside a label; fewer are a part of any word

# DICOM instance UIDs; those of the standard itself (transfer syntaxes, SOP classes) name no patient
# (letters may touch it, as in MR.1.2.3.dcm; nothing is taken back, so that time grows with the text alone)
_UID = re.compile(r"(?<!\d)(?<!\d\.)(?!1\.2\.840\.10008\.)[0-2](?:\.(?:0(?!\d)|[1-9]\d*+)){5,}+")
_LIKE_UID = re.compile(r"\.\d+\.\d+\.\d+\.\d+\.\d")  # what each of them holds, told in a tenth of the time
_SHORTEST_UID = 20

_GAP = re.compile(r"(?:[^\w\n\t]|_){0,3}")
_FRACTION = re.compile(
    r"\.(?!0+(?!\d))\d"
)  # but ".0", which tables put behind numbers where others are missing
# what a BIDS name says of an entity, "acq-t1zzyzxrepeat": whoever made it took out all that parted its words
_LABEL = re.compile(r"(?<![A-Za-z0-9])[A-Za-z]+-([A-Za-z0-9+]{5,})")
_SHORT_YEAR = re.compile(r"\d\d?-\d\d?-\d\d?")  # a key; in a text one separator, or it is a time or a list
_SHORT_DATE = re.compile(r"(?<![\d.:/-])\d\d?([-./_])\d\d?\1\d\d?(?![.:/-]?\d)")
# a number in groups, "12 345 678"; a decimal number is none
_GROUPS = re.compile(r"(?<![\d.])\d+(?:[ ./-]\d+)+(?![.]?\d)")
_DECIMAL = re.compile(r"\d+\.\d+")
_YEAR = re.compile(r"(?:1[89]|2[01])\d\d")
_LONGEST = 64  # of a key: an element of VR LO has as many characters
_DATE_AND_TIME = (12, 14)  # digits of a DT without and with seconds
_STARTS = 4  # letters of keys by which most texts are told to begin none
_MOST_SOLID = 1000  # a patient has some 100; of a sidecar each costs 0.5 us, and cutting it to pieces 1.5 ms
# what is no part of a key
DESCRIPTIONS = ("SeriesDescription", "ProtocolName")  # what people type: ``sidecar_fields.Policy.CHECKED``
BLOT = "***"  # stands in messages for what identifies
_SEPARATORS = bytes(byte for byte in range(128) if not chr(byte).isalnum())


@dataclass(frozen=True, slots=True, kw_only=True)
class Hit:
    """``field``: where in the file, "" for the whole; ``attribute``: whose value stands there, or ``UID``.

    ``is_part``: a part of a name alone, or a day with two digits of its year. ``is_sure``: False of one so
    short that it may be another word.
    """

    field: str
    attribute: str
    is_part: bool = False
    is_sure: bool = True

    def __str__(self) -> str:
        what = f"a part of {self.attribute}" if self.is_part else self.attribute
        return f"{self.field} holds {what}" if self.field else f"holds {what}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Needles:
    """What to look for. ``known``: key -> what it is. ``starts``: beginnings of keys. ``uids``: UIDs, too.

    ``solid``: letters and digits of the keys in ASCII, without what joins them, or of days the year; None
    where there are too many to look for one by one. ``foreign``: of other keys a letter that is not ASCII.
    ``allowed``: labels and words that are said to identify nobody.
    """

    known: Mapping[str, Hit]
    starts: frozenset[str]
    uids: bool
    solid: frozenset[bytes] | None
    foreign: frozenset[str] = frozenset()
    allowed: frozenset[str] = frozenset()

    @property
    def whole(self) -> Needles:
        """Without single parts of names: for texts that speak of many people, or of none."""
        known = {key: hit for key, hit in self.known.items() if not hit.is_part}
        return _needles(known, uids=self.uids, allowed=self.allowed)

    def without(self, words: Iterable[str]) -> Needles:
        """Without keys that are said to identify nobody."""
        gone = {key for word in words for key in both_keys(word)}
        if gone.isdisjoint(self.known):
            return replace(self, allowed=self.allowed | gone)
        known = {key: hit for key, hit in self.known.items() if key not in gone}
        return _needles(known, uids=self.uids, allowed=self.allowed | gone)


def _needles(known: Mapping[str, Hit], *, uids: bool, allowed: frozenset[str] = frozenset()) -> Needles:
    starts = {key[:length] for key in known for length in range(1, _STARTS + 1)}
    solid = frozenset(_solid(key, hit.attribute).encode() for key, hit in known.items() if key.isascii())
    foreign = frozenset(max(key) for key in known if not key.isascii())
    return Needles(
        known=known,
        starts=frozenset(starts),
        uids=uids,
        solid=solid if len(solid) <= _MOST_SOLID else None,
        foreign=foreign,
        allowed=allowed,
    )


def _solid(key: str, attribute: str) -> str:
    """What a text has whenever it has the key: of a day in its many spellings the year, one for all."""
    plain = key.replace("-", "")
    if attribute not in (*BIRTH_DATES, *SCAN_DATES):
        return plain
    year = _YEAR.search(plain) if plain != key or len(key) > 6 else None
    return year[0] if year else plain.lstrip("0")


NOTHING = Needles(known={}, starts=frozenset(), uids=False, solid=frozenset())


# ------------------------------------------------------------------------------------------------ needles


def together(some: Iterable[Needles]) -> Needles:
    """What any of them looks for."""
    several = list(some)
    if len(several) == 1:
        return several[0]
    known: dict[str, Hit] = {}
    uids, allowed = False, frozenset[str]()
    for needles in several:
        known |= {key: hit for key, hit in needles.known.items() if key not in known or known[key].is_part}
        uids, allowed = uids or needles.uids, allowed | needles.allowed
    return _needles(known, uids=uids, allowed=allowed)


def needles_of(
    identities: Iterable[Identity], *, pseudonyms: Iterable[str] = (), dates: bool = True, uids: bool = True
) -> Needles:
    """What to look for. ``pseudonyms``: attributes whose values may leave. ``dates``: also those of scans."""
    known: dict[str, Hit] = {}
    allowed = frozenset(pseudonyms)
    for identity in identities:
        for keyword, values in identity.values.items():
            if keyword in allowed or (keyword in SCAN_DATES and not dates):
                continue
            for value in values:
                known |= _hits_of(keyword, value, known)
    return _needles(known, uids=uids)


def _hits_of(keyword: str, value: str, known: Mapping[str, Hit]) -> dict[str, Hit]:
    """The keys of a value, and what a hit of each means; a whole value counts more than a part of one."""
    whole, parts, short = keys_of(keyword, value)
    hit = Hit(field="", attribute=keyword)
    part = replace(hit, is_part=True)
    unsure = replace(part, is_sure=False)
    found = dict.fromkeys(short - known.keys(), unsure) | dict.fromkeys(parts - known.keys(), part)
    return found | {key: hit for key in whole if key not in known or known[key].is_part}


# ------------------------------------------------------------------------------------------------ search


def search(text: str, needles: Needles) -> Iterator[tuple[Hit, int, int]]:
    """What is found, its start and its end (in the text as ``readable`` makes it)."""
    yield from _search(readable(text), needles)


def _search(folded: str, needles: Needles) -> Iterator[tuple[Hit, int, int]]:
    if needles.uids and _LIKE_UID.search(folded):
        for match in _UID.finditer(folded):
            if len(match[0]) >= _SHORTEST_UID:
                yield Hit(field="", attribute=UID), *match.span()
    if needles.known and _may_hold(folded, needles):
        yield from _in_pieces(folded, needles)
        yield from _in_labels(folded, needles)
        yield from _in_groups(folded, needles.known)
        if not folded.isascii():
            yield from _in_script(folded.casefold(), needles.known)


def _may_hold(text: str, needles: Needles) -> bool:
    """False if a text holds no key. What joins the pieces of one is no letter and no digit, so that a key in
    ASCII is a part of what is left without all else. Most texts are cleared so, and need not be cut.
    """
    if needles.solid is None:
        return True
    small = text.casefold()
    if not text.isascii() and any(letter in small for letter in needles.foreign):
        return True
    plain = small.encode("ascii", "ignore").translate(None, _SEPARATORS)
    return any(key in plain for key in needles.solid)


def _in_pieces(text: str, needles: Needles) -> Iterator[tuple[Hit, int, int]]:
    pieces = pieces_of(text)
    for number, (piece, start, end) in enumerate(pieces):
        if piece[:_STARTS] in needles.starts:
            for key, stop in _joined_on(text, pieces, number, needles.starts):
                hit = needles.known.get(key)
                if hit and _stands(key, text, start, stop) and not _is_chance(hit, key, stop - start):
                    yield hit, start, stop
        if piece.isdigit() and len(piece) in _DATE_AND_TIME and piece[:8] in needles.known:
            yield needles.known[piece[:8]], start, end
        bare = piece.lstrip("0") if piece[0] == "0" and piece.isdigit() else ""
        if bare in needles.known and not _is_fraction(text, start, end):
            yield needles.known[bare], start, end


def _joined_on(
    text: str, pieces: Sequence[Piece], number: int, starts: frozenset[str]
) -> Iterator[tuple[str, int]]:
    """A piece alone, with the next, and so on, as long as they may be a key; and where each ends."""
    last = pieces[number]
    key = last[0]
    yield key, last[2]
    for following in range(number + 1, len(pieces)):
        piece = pieces[following]
        if len(key) > _LONGEST or not _GAP.fullmatch(text, last[2], piece[1]):
            return
        key += joint(last, piece) + piece[0]
        if key[:_STARTS] not in starts:
            return
        yield key, piece[2]
        last = piece


def _in_script(text: str, known: Mapping[str, Hit]) -> Iterator[tuple[Hit, int, int]]:
    for key, hit in known.items():
        if key >= CJK and (start := text.find(key)) >= 0:
            yield hit, start, start + len(key)


def _in_groups(text: str, known: Mapping[str, Hit]) -> Iterator[tuple[Hit, int, int]]:
    for match in _GROUPS.finditer(text):
        key = "".join(letter for letter in match[0] if letter.isdigit())
        if len(key) >= SHORTEST_REGROUPED and key in known and not _DECIMAL.fullmatch(match[0]):
            yield known[key], *match.span()


def _in_labels(text: str, needles: Needles) -> Iterator[tuple[Hit, int, int]]:
    """Keys anywhere in the labels of BIDS names, but for those inside a longer word that means nobody."""
    for match in _LABEL.finditer(text):
        label, first = match[1].casefold(), match.start(1)
        for start in range(len(label) - SHORTEST_INSIDE + 1):
            if label[start : start + _STARTS] not in needles.starts:
                continue
            for end in range(start + SHORTEST_INSIDE, min(len(label), start + _LONGEST) + 1):
                key = label[start:end]
                if key in needles.known and _is_inside(label, start, end, needles.allowed):
                    yield needles.known[key], first + start, first + end


def _is_inside(label: str, start: int, end: int, allowed: frozenset[str]) -> bool:
    """Whether a key counts inside a label: not of few digits, and not in a longer word that is harmless."""
    key = label[start:end]
    if key.isdigit() and len(key) < SHORTEST_BARE:
        return False
    longer = (word for word in WORDS | LONGER | allowed if len(word) > len(key) and key in word)
    return not any(
        match.start() <= start and end <= match.end()
        for word in longer
        for match in re.finditer(re.escape(word), label)
    )


def _stands(key: str, text: str, start: int, end: int) -> bool:
    """Whether digits are a number or a date of their own, and two letters a word."""
    if key.isdigit():
        return not _is_fraction(text, start, end)
    if _SHORT_YEAR.fullmatch(key):
        found = _SHORT_DATE.match(text, start)
        return found is not None and found.end() == end
    around = text[max(start - 1, 0) : start] + text[end : end + 1]
    return len(key) > 2 or not any(letter.isalnum() for letter in around)


def _is_chance(hit: Hit, key: str, length: int) -> bool:
    """Whether a short part of a name is put together of words, as Ito of "I to S"."""
    return hit.is_part and key.isalpha() and len(key) < SHORTEST_INSIDE and length > len(key)


def _is_fraction(text: str, start: int, end: int) -> bool:
    """Whether digits are those of a decimal number, before or behind its point."""
    behind = _FRACTION.match(text, end)
    before = text[max(start - 1, 0) : start] == "." and text[max(start - 2, 0) : start - 1].isdigit()
    return bool(behind) or before


def hits(text: str, needles: Needles, where: str = "") -> list[Hit]:
    """What a text holds, each once; of an attribute whose whole value is there, not its parts besides."""
    found = dict.fromkeys(hit for hit, *_ in search(text, needles))
    whole = {hit.attribute for hit in found if not hit.is_part}
    return [replace(hit, field=where) for hit in found if not (hit.is_part and hit.attribute in whole)]


def masked(text: str, needles: Needles) -> str:
    """The text with what identifies blotted out; for names of files in messages."""
    folded, at = readable(text), 0
    shown = ""
    for _, start, end in sorted(_search(folded, needles), key=lambda found: found[1:]):
        shown += folded[at:start] + BLOT * (start >= at)
        at = max(at, end)
    return shown + folded[at:] if shown else text


def cure(*found: Hit) -> str:
    """What a person can do about all of them."""
    mends = "; ".join(dict.fromkeys(_mend(hit) for hit in found))
    allowed = next((_allowed(hit) for hit in found if hit.attribute != UID), "")
    return f"{mends[:1].upper()}{mends[1:]}{allowed} (docs/privacy.md)"


def _mend(hit: Hit) -> str:
    if hit.attribute == UID:
        return "have the heuristic leave the field out: a UID leads to the scan in the PACS"
    if hit.field == "its name":
        return "have the heuristic, or the studies table, give another name"
    if hit.field in DESCRIPTIONS:
        fields = ", ".join(f"{field}: null" for field in DESCRIPTIONS)
        dropped = "`privacy: {descriptions: dropped}` in config.yaml"
        return f"have descriptions left out by {dropped}, or `sidecar: {{{fields}}}` in rules"
    return "have the heuristic say it otherwise, or leave the field out (None in Python, null in rules)"


def _allowed(hit: Hit) -> str:
    if hit.is_part:
        no = "number and no date" if hit.attribute in (*BIRTH_DATES, *SCAN_DATES) else "word and no name"
        return f"; if it is a {no} here, allow that by `words: [...]` under `privacy` in config.yaml"
    if hit.attribute in (*NAMES, *PEOPLE, *BIRTH_DATES, *CONTACTS):
        return "; better, have it taken out where it is typed"
    keep = f"`pseudonyms: [{hit.attribute}]` under `privacy` in config.yaml"
    return f"; if a study gave these values out, {keep} lets them leave"


# ------------------------------------------------------------------------------------------------ files


def search_file(name: str, content: Path | bytes, needles: Needles) -> list[Hit]:
    """What a file of a dataset holds, its name included. Pixels are not looked at.

    ``content``: its bytes, or where it is. Raises OSError if it cannot be read.
    """
    found = [*hits(name, needles, "its name")]
    if needles == NOTHING:
        return found
    if name.endswith((".nii.gz", ".nii")):
        return found + [one for text, part in _of_nifti(content) for one in hits(text, needles, part)]
    raw = content if isinstance(content, bytes) else content.read_bytes()
    if name.endswith(".gz"):
        raw = _inflated(raw)
    if name.endswith(".json"):
        if _is_clean(raw, needles):
            return found
        try:
            return found + list(dict.fromkeys(_of_json(msgspec.json.decode(raw), needles, needles.whole)))
        except msgspec.DecodeError:
            pass
    return found + list(dict.fromkeys(_of_bytes(name, raw, needles)))


def _of_bytes(name: str, raw: bytes, needles: Needles) -> Iterator[Hit]:
    if _is_binary(raw):
        yield from _of_binary(raw, needles)
        return
    if name.endswith(_RECORDINGS):
        if raw.replace(b"n/a", b"").translate(None, _OF_NUMBERS):
            yield from _of_recording(raw, needles)
        return
    read = _of_table if name.endswith(".tsv") else _of_lines
    for text in decoded(raw):
        yield from read(text, needles)


def _is_clean(raw: bytes, needles: Needles) -> bool:
    """Whether a JSON text, as it stands, holds nothing: ten times faster than to look at each value. False of
    one with escapes, but for the backslash between values."""
    plain = raw.replace(b"\\\\", b"/")
    return b"\\" not in plain and plain.isascii() and next(search(plain.decode(), needles), None) is None


# what no text has; and what is one among bytes. By chance three letters stand in each megabyte
_NO_TEXT = bytes({*range(1, 9), *range(14, 32)} - {27})
_TEXT_IN_BYTES = re.compile(rb"(?:[ -~]|\xc3[\x80-\xbf]){6,}|(?:[ -~]\0){6,}")
_LONG_TEXT = 16  # bytes: of random ones, one in 10 million begins such a text


def _is_binary(raw: bytes) -> bool:
    """Whether bytes are no text in any encoding (recordings, pictures, matrices)."""
    head = raw[:8192]
    is_utf_16 = head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    return not is_utf_16 and len(head.translate(None, _NO_TEXT)) < len(head)


def _of_binary(raw: bytes, needles: Needles) -> Iterator[Hit]:
    whole = needles.whole
    for match in _TEXT_IN_BYTES.finditer(raw):
        text = match[0].replace(b"\0", b"").decode("utf-8", "ignore")
        yield from hits(text, needles if len(text) >= _LONG_TEXT else whole, "a text in it")


def decoded(raw: bytes) -> list[str]:
    """The text that bytes are; several, where they may be more than one."""
    try:
        texts = [raw.decode("utf-8-sig")]
    except UnicodeDecodeError:
        texts = [raw.decode("utf-8", "ignore"), raw.decode("latin-1")]
    if b"\0" in raw:
        texts += [
            raw[first:].decode(codec, "ignore") for first in (0, 1) for codec in ("utf-16-le", "utf-16-be")
        ]
    return texts


def _inflated(raw: bytes) -> bytes:
    """What is in a gzip file; of a damaged one what there is before."""
    stream = zlib.decompressobj(wbits=31)
    content = b""
    try:
        while raw:
            content += stream.decompress(raw)
            raw = stream.unused_data
            stream = zlib.decompressobj(wbits=31)
    except zlib.error:
        pass
    return content


# what these fields say is the scanner's, whoever lies in it: a part of a name in them is another word
OF_SCANNERS = frozenset(
    {
        *("Manufacturer", "ManufacturersModelName", "SoftwareVersions", "ReceiveCoilName"),
        *("ReceiveCoilActiveElements", "MRTransmitCoilSequence", "SequenceName", "PulseSequenceDetails"),
        *("PulseSequenceType", "ConversionSoftware"),
    }
)


def _of_json(value: Json, needles: Needles, whole: Needles, path: str = "") -> Iterator[Hit]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from hits(key, whole, f"a key in {path}" if path else "a key")
            wanted = whole if key in OF_SCANNERS else needles
            yield from _of_json(inner, wanted, whole, f"{path}.{masked(key, needles)}".lstrip("."))
    elif isinstance(value, list):
        for inner in value:
            yield from _of_json(inner, needles, whole, path)
    elif isinstance(value, str):
        yield from hits(value, needles, path)
    elif (
        isinstance(value, int | float) and value == int(value) and len(str(abs(int(value)))) >= SHORTEST_BARE
    ):
        yield from hits(str(abs(int(value))), needles, path)


# tables without headings (BIDS, "Physiological and other continuous recordings", "Motion"): their numbers are
# samples, of which a recording has so many that one is a short PatientID by chance
_RECORDINGS = (".tsv.gz", "_motion.tsv")
_OF_NUMBERS = b"0123456789+-.eE\t\r\n"
# columns of other tables that hold times (BIDS schema: objects.columns); some write milliseconds
_TIMES = frozenset({"onset", "duration", "response_time", "sample", "time", "timestamp"})
_A_NUMBER = re.compile(r"[+-]?\d*\.?\d*(?:[eE][+-]?\d+)?")


def _of_recording(raw: bytes, needles: Needles) -> Iterator[Hit]:
    for text in decoded(raw):
        for number, line in enumerate(text.splitlines(), start=1):
            for place, cell in enumerate(line.split("\t"), start=1):
                if not _A_NUMBER.fullmatch(cell):
                    yield from hits(cell, needles, f"column {place} in line {number}")


def _of_table(text: str, needles: Needles) -> Iterator[Hit]:
    lines = text.splitlines()
    columns = lines[0].split("\t") if lines else []
    if columns and next(search(lines[0], needles), None) is not None:
        whole = needles.whole
        yield from (hit for name in columns for hit in hits(name, whole, "its heading"))
    for number, line in enumerate(lines[1:], start=2):
        if next(search(line, needles), None) is None:
            continue
        for place, cell in enumerate(line.split("\t")):
            column = columns[place] if place < len(columns) else f"column {place + 1}"
            if column not in _TIMES or not _A_NUMBER.fullmatch(cell):
                yield from hits(cell, needles, f"{masked(column, needles)} in line {number}")


def _of_lines(text: str, needles: Needles) -> Iterator[Hit]:
    for number, line in enumerate(text.splitlines(), start=1):
        yield from hits(line, needles, f"line {number}")


# ------------------------------------------------------------------------------------------------ NIfTI

# texts of the header, NIfTI-1 (348 bytes) and NIfTI-2 (540): name -> first and last byte (nifti1.h, nifti2.h)
_NIFTI_1 = {
    "data_type": (4, 14),
    "db_name": (14, 32),
    "descrip": (148, 228),
    "aux_file": (228, 252),
    "intent_name": (328, 344),
}
_NIFTI_2 = {"descrip": (240, 320), "aux_file": (320, 344), "intent_name": (508, 524)}
_HEADER_BYTES = 544  # of NIfTI-2 with the extension flag; of NIfTI-1 they hold the first extension, too


def _of_nifti(content: Path | bytes) -> Iterator[tuple[str, str]]:
    """Texts of header and extensions, and what they are called."""
    head = head_of_volume(content)
    size = int.from_bytes(head[:4], "little")
    order = "little" if size in (348, 540) else "big"
    fields = _NIFTI_2 if 540 in (size, int.from_bytes(head[:4], "big")) else _NIFTI_1
    for name, (start, stop) in fields.items():
        if value := head[start:stop].strip(b"\0 "):
            yield from ((text, name) for text in decoded(value))
    at, number = (544 if fields is _NIFTI_2 else 352), 1
    while at + 8 <= len(head):
        length = int.from_bytes(head[at : at + 4], order)  # type: ignore[arg-type]
        if length < 8:
            return
        yield from ((text, f"extension {number}") for text in decoded(head[at + 8 : at + length]))
        at, number = at + length, number + 1


def head_of_volume(content: Path | bytes) -> bytes:
    """A volume up to its first voxel: as much is read and inflated as that needs."""
    if isinstance(content, bytes):
        head = _inflated(content) if content[:2] == b"\x1f\x8b" else content
        return head[: _offset(head)]
    with content.open("rb") as stream:
        packed = stream.read(2) == b"\x1f\x8b"
    if not packed:
        with content.open("rb") as stream:
            head = stream.read(_HEADER_BYTES)
            return (head + stream.read(max(_offset(head) - len(head), 0)))[: _offset(head)]
    try:
        with igzip.IGzipFile(content, "rb") as stream:  # type: ignore[no-untyped-call]
            head = stream.read(_HEADER_BYTES)
            return bytes(head + stream.read(max(_offset(head) - len(head), 0)))[: _offset(head)]
    except (EOFError, OSError, igzip_lib.IsalError):  # type: ignore[misc]  # its stub is wrong
        return b""  # a damaged volume: the check says so


def _offset(head: bytes) -> int:
    """Where voxels begin (vox_offset: a float in NIfTI-1, an integer of 64 bits in NIfTI-2)."""
    if len(head) < 352:
        return len(head)
    for order in "<>":
        (size,) = struct.unpack_from(f"{order}i", head)
        if size == 348:
            return int(struct.unpack_from(f"{order}f", head, 108)[0])
        if size == 540 and len(head) >= 176:
            return int(struct.unpack_from(f"{order}q", head, 168)[0])
    return len(head)
