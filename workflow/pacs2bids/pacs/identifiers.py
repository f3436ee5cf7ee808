"""Between pydicom's datasets and attributes as text: the identifiers of C-FIND, C-MOVE and C-GET.

pydicom checks and converts values as it reads them, warns about odd ones with the value in the message (it
may be a patient's name), and raises where an integer is none. A search needs neither: text stays text.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, MutableSequence
from contextlib import suppress

from pydicom.charset import convert_encodings, decode_bytes
from pydicom.config import IGNORE
from pydicom.datadict import dictionary_keyword, dictionary_VR, tag_for_keyword
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import BaseTag
from pydicom.valuerep import PN_DELIMS, STR_VR, TEXT_VR_DELIMS

from pacs2bids.peers import Attributes

_NO_KEYS = frozenset({"QueryRetrieveLevel", "SpecificCharacterSet", "TimezoneOffsetFromUTC", ""})
_ASCII_ONLY = ("ISO_IR 6", "ISO 2022 IR 6")
_ESCAPE = re.compile("\x1b[ -/]+[0-~]")  # ISO 2022: intermediate bytes and a final one


def identifier_of(level: str, attributes: Attributes) -> Dataset:
    """The identifier of a request or a response at ``level``, in UTF-8.

    Raises KeyError for a keyword that DICOM does not know.
    """
    identifier = Dataset()
    identifier.SpecificCharacterSet = "ISO_IR 192"
    identifier.QueryRetrieveLevel = level
    for keyword, value in attributes.items():
        tag = tag_for_keyword(keyword)
        if tag is None:
            raise KeyError(keyword)
        # a key may be a pattern or a range, which is no valid value
        identifier.add(DataElement(tag, dictionary_VR(tag), value, validation_mode=IGNORE))
    return identifier


def attributes_of(identifier: Dataset) -> dict[str, str]:
    """The attributes of an identifier but its level and character set; sequences and private ones are not."""
    keywords = (dictionary_keyword(tag) for tag in list(identifier.keys()) if _is_attribute(tag))
    return {keyword: text_of(identifier, keyword) for keyword in keywords}


def _is_attribute(tag: BaseTag) -> bool:
    try:
        return dictionary_VR(tag) != "SQ" and dictionary_keyword(tag) not in _NO_KEYS
    except KeyError:  # private, or newer than our dictionary
        return False


def text_of(header: Dataset, keyword: str) -> str:
    """An element's value as text: "" if missing or empty, several values separated by a backslash."""
    tag = tag_for_keyword(keyword)
    if tag is None or tag not in header:
        return ""
    element = header.get_item(tag)
    if isinstance(element, RawDataElement) and (vr := dictionary_VR(tag)) in STR_VR:
        text = _decoded(element.value or b"", header.get("SpecificCharacterSet"), vr)
        return "\\".join(part.strip(" \0") for part in text.split("\\"))
    return _joined(header[tag].value)


def _decoded(value: bytes, character_set: str | MutableSequence[str] | None, vr: str) -> str:
    if not value.isascii() and (not character_set or character_set in _ASCII_ONLY):
        # against PS3.5 section 6.1.2.5.4, and not rare; what is valid UTF-8 is hardly ever meant otherwise
        with suppress(UnicodeDecodeError):
            return value.decode("utf-8")
    encodings = convert_encodings(character_set or "ISO_IR 6")
    text = decode_bytes(value, encodings, PN_DELIMS if vr == "PN" else TEXT_VR_DELIMS)
    return _ESCAPE.sub("", text)  # pydicom leaves those of ISO 2022 IR 58 in the text


def _joined(value: object) -> str:
    if value is None:
        return ""
    # text and a PersonName are iterable, too, letter by letter
    if isinstance(value, Iterable) and not isinstance(value, str) and not hasattr(value, "components"):
        return "\\".join(str(part).strip(" \0") for part in value)
    return str(value).strip(" \0")
