"""Elements of a pydicom dataset as text, whatever their value representation.

pydicom checks and converts values as it reads them, warns about odd ones with the value in the message (it
may be a patient's name), and raises where an integer is none. A search needs neither: text stays text.
"""

from __future__ import annotations

from collections.abc import Iterable

from pydicom.charset import convert_encodings, decode_bytes
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.valuerep import PN_DELIMS, STR_VR, TEXT_VR_DELIMS


def text_of(header: Dataset, keyword: str) -> str:
    """An element's value as text: "" if missing or empty, several values separated by a backslash."""
    tag = tag_for_keyword(keyword)
    if tag is None or tag not in header:
        return ""
    element = header.get_item(tag)
    if isinstance(element, RawDataElement) and (vr := dictionary_VR(tag)) in STR_VR:
        encodings = convert_encodings(header.get("SpecificCharacterSet", "ISO_IR 6"))
        text = decode_bytes(element.value or b"", encodings, PN_DELIMS if vr == "PN" else TEXT_VR_DELIMS)
        return "\\".join(part.strip(" \0") for part in text.split("\\"))
    return _joined(header[tag].value)


def _joined(value: object) -> str:
    if value is None:
        return ""
    # text and a PersonName are iterable, too, letter by letter
    if isinstance(value, Iterable) and not isinstance(value, str) and not hasattr(value, "components"):
        return "\\".join(str(part).strip(" \0") for part in value)
    return str(value).strip(" \0")
