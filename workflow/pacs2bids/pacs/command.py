"""The command sets of C-STORE as bytes (PS3.7 sections 6.3, 9.3.1 and annex E).

pynetdicom makes a pydicom data set of each, which takes longer than all else that befalls a small instance.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from pacs2bids.pacs.heads import padded

_SOP_CLASS, _COMMAND, _MESSAGE, _ANSWERED, _DATA_SET = 0x0002, 0x0100, 0x0110, 0x0120, 0x0800
_STATUS, _INSTANCE, _ORIGINATOR, _ORIGINATOR_MESSAGE = 0x0900, 0x1000, 0x1030, 0x1031
_REQUEST, _RESPONSE, _NO_DATA_SET = 0x0001, 0x8001, 0x0101


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreRequest:
    """A C-STORE-RQ. UIDs as they came, unchecked. ``originator``: AE title and message ID of its move."""

    message_id: int
    sop_class_uid: str
    sop_instance_uid: str
    originator: tuple[str, int] | None
    has_data_set: bool


def store_request(command: bytes) -> StoreRequest | None:
    """The request that a command set is; None if it is another message, or no sound one."""
    values = _values(command)
    if _number(values, _COMMAND) != _REQUEST:
        return None
    message_id, data_set = _number(values, _MESSAGE), _number(values, _DATA_SET)
    if message_id is None or data_set is None or _SOP_CLASS not in values or _INSTANCE not in values:
        return None
    station, move = _text(values.get(_ORIGINATOR, b"")), _number(values, _ORIGINATOR_MESSAGE)
    return StoreRequest(
        message_id=message_id,
        sop_class_uid=_text(values[_SOP_CLASS]),
        sop_instance_uid=_text(values[_INSTANCE]),
        originator=(station, move) if station and move is not None else None,
        has_data_set=data_set != _NO_DATA_SET,
    )


def store_response(request: StoreRequest, status: int) -> bytes:
    """The command set that answers ``request``."""
    content = b"".join(
        (
            _element(_SOP_CLASS, padded(request.sop_class_uid)),
            _element(_COMMAND, struct.pack("<H", _RESPONSE)),
            _element(_ANSWERED, struct.pack("<H", request.message_id)),
            _element(_DATA_SET, struct.pack("<H", _NO_DATA_SET)),
            _element(_STATUS, struct.pack("<H", status)),
            _element(_INSTANCE, padded(request.sop_instance_uid)),
        )
    )
    return _element(0x0000, struct.pack("<I", len(content))) + content


def _values(command: bytes) -> dict[int, bytes]:
    """Element number -> value, of group 0000 in Implicit VR Little Endian; {} if it is not that."""
    values, at = {}, 0
    while at < len(command):
        if at + 8 > len(command):
            return {}
        group, element, length = struct.unpack_from("<HHI", command, at)
        if group or at + 8 + length > len(command):
            return {}
        values[element] = command[at + 8 : at + 8 + length]
        at += 8 + length
    return values


def _number(values: dict[int, bytes], element: int) -> int | None:
    value = values.get(element, b"")
    return int.from_bytes(value, "little") if len(value) == 2 else None


def _text(value: bytes) -> str:
    return value.decode("ascii", "replace").strip(" \0")


def _element(element: int, value: bytes) -> bytes:
    return struct.pack("<HHI", 0, element, len(value)) + value
