"""The first bytes of an instance: which study it belongs to, and what a file has in front of its data set."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping
from io import BytesIO

from pydicom.filereader import read_dataset
from pydicom.tag import BaseTag
from pydicom.uid import UID, ExplicitVRBigEndian, ImplicitVRLittleEndian

from pacs2bids.template import MalformedError, ShortError, walk

SOP_INSTANCE_UID, STUDY_INSTANCE_UID, SERIES_INSTANCE_UID = 0x00080018, 0x0020000D, 0x0020000E
_WANTED = frozenset((SOP_INSTANCE_UID, STUDY_INSTANCE_UID, SERIES_INSTANCE_UID))

IMPLEMENTATION_CLASS_UID = UID("2.25.38391135611779705313118730173819751004")
IMPLEMENTATION_VERSION_NAME = "PACS2BIDS"


def uids_of(data_set: bytes, transfer_syntax_uid: str, *, is_whole: bool) -> Mapping[int, str] | None:
    """UIDs of instance, study and series by tag, those that are there; None if that takes more of the bytes.

    ``data_set``: the whole, or how it begins. Raises ValueError if it is no DICOM.
    """
    syntax = UID(transfer_syntax_uid)
    try:
        if not syntax.is_deflated and syntax != ExplicitVRBigEndian:
            found = _walked(data_set, implicit=syntax == ImplicitVRLittleEndian)
            return found if is_whole or len(found) == len(_WANTED) else None
    except ShortError:
        pass
    except MalformedError:
        is_whole = True  # what pydicom cannot read now, it cannot later
    return _read(data_set, syntax) if is_whole else None


def _walked(data_set: bytes, *, implicit: bool) -> Mapping[int, str]:
    found: dict[int, str] = {}
    for span in walk(data_set, 0, len(data_set), implicit=implicit):
        if span.tag in _WANTED:
            found[span.tag] = data_set[span.value : span.end].decode("ascii", "replace").strip(" \0")
        if span.tag >= SERIES_INSTANCE_UID:
            break
    return found


def _read(data_set: bytes, syntax: UID) -> Mapping[int, str]:
    """By pydicom, which is slow and reads everything."""
    try:
        if syntax.is_deflated:  # PS3.5 annex A.5: raw deflate, no zlib header
            inflater = zlib.decompressobj(-zlib.MAX_WBITS)
            data_set = inflater.decompress(data_set)
            if not inflater.eof:
                raise EOFError  # noqa: TRY301 - as what pydicom raises
        stream = BytesIO(data_set)
        head = read_dataset(stream, syntax.is_implicit_VR, syntax.is_little_endian, stop_when=_is_behind)
        return {tag: str(head[tag].value) for tag in _WANTED if tag in head}
    except Exception as error:
        # broad: on what is no DICOM, zlib and pydicom raise anything; each must become an answer and a record
        raise ValueError(type(error).__name__) from error


def _is_behind(tag: BaseTag, _vr: str | None, _length: int) -> bool:
    return int(tag) > SERIES_INSTANCE_UID


def file_head(sop_class_uid: str, sop_instance_uid: str, transfer_syntax_uid: str) -> bytes:
    """Preamble and file meta information (PS3.10 section 7.1); the same bytes for the same instance."""
    version = struct.pack("<HH2sHIH", 2, 0x0001, b"OB", 0, 2, 0x0100)  # 00\\01
    meta = version + b"".join(
        struct.pack("<HH2sH", 2, element, vr, len(value)) + value
        for element, vr, value in (
            (0x0002, b"UI", padded(sop_class_uid)),
            (0x0003, b"UI", padded(sop_instance_uid)),
            (0x0010, b"UI", padded(transfer_syntax_uid)),
            (0x0012, b"UI", padded(IMPLEMENTATION_CLASS_UID)),
            (0x0013, b"SH", IMPLEMENTATION_VERSION_NAME.ljust(10).encode("ascii")),
        )
    )
    return bytes(128) + b"DICM" + struct.pack("<HH2sHI", 2, 0x0000, b"UL", 4, len(meta)) + meta


def padded(uid: str) -> bytes:
    """A UID as a value of an element: of even length (PS3.5 section 9.1)."""
    value = uid.encode("ascii", "replace")
    return value + b"\0" * (len(value) % 2)
