"""Siemens' private CSA headers, written from public descriptions of the format.

Format "SV10", as nibabel's documentation describes it ("Siemens format DICOM with CSA header"): the letters
SV10, four bytes 4 3 2 1, the number of tags and 77 as little-endian integers; then for each tag 64 bytes of
name, multiplicity, four bytes of value representation, syngo's data type, number of items, 77 (205 when
empty); each item is four integers (length, length, 77, length) and text padded to four bytes.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from pacs2bids.phantom.protocol import Grid, PhantomSeries, PhantomStack
from pacs2bids.phantom.sequences import sequence_of

Value: TypeAlias = "int | float | str"

FILLED, EMPTY = 77, 205
# of the whole study: nobody moved, and nobody adjusted anew
SHIMS = (
    ("sGRADSPEC.asGPAData[0].lOffsetX", "2033"),
    ("sGRADSPEC.asGPAData[0].lOffsetY", "-5880"),
    ("sGRADSPEC.asGPAData[0].lOffsetZ", "-1724"),
    *(
        (f"sGRADSPEC.alShimCurrent[{channel}]", str(current))
        for channel, current in enumerate((574, -223, 79))
    ),
)
ITEMS_AT_LEAST = 6  # as the scanner writes: six items a tag, the spare ones empty
SYNGO_TYPES = {"IS": 6, "FD": 4, "DS": 3, "US": 10, "LO": 19, "CS": 16, "UN": 0}


@dataclass(frozen=True, slots=True)
class Tag:
    """One entry of a CSA header. ``multiplicity`` 0: any number of values."""

    name: str
    representation: str
    values: Sequence[Value]
    multiplicity: int = 1


def pack(tags: Sequence[Tag]) -> bytes:
    """The header as bytes."""
    parts = [b"SV10\4\3\2\1", struct.pack("<2i", len(tags), FILLED)]
    parts += [_tag(tag) for tag in tags]
    return b"".join(parts)


def _tag(tag: Tag) -> bytes:
    items = max(len(tag.values), ITEMS_AT_LEAST) if tag.values else 0
    head = struct.pack(
        "<64si4s3i",
        tag.name.encode("ascii"),
        tag.multiplicity,
        tag.representation.encode("ascii"),
        SYNGO_TYPES[tag.representation],
        items,
        FILLED if tag.values else EMPTY,
    )
    filled = [_item(_text(tag.representation, value)) for value in tag.values]
    spare = [struct.pack("<4i", 0, 0, EMPTY, 0)] * (items - len(tag.values))
    return b"".join((head, *filled, *spare))


def _item(text: bytes) -> bytes:
    length = len(text)
    return struct.pack("<4i", length, length, FILLED, length) + text + bytes(-length % 4)


def _text(representation: str, value: Value) -> bytes:
    if representation in ("FD", "DS"):
        return f"{float(value):.8f}".encode("ascii") + b"\0"
    if representation in ("IS", "US"):
        return f"{int(value):<8d}".encode("ascii") + b"\0"
    return str(value).encode("latin-1") + b"\0"


# ----------------------------------------------------------------------------------- the protocol's text


def phoenix(series: PhantomSeries, stack: PhantomStack) -> str:
    """MrPhoenixProtocol: a few parameters of the sequence as ``key = value`` between the ASCCONV marks."""
    lines = [
        ("ulVersion", "51130001"),
        ("tSequenceFileName", f'""%SiemensSeq%\\{sequence_of(series).file}""'),
        ("tProtocolName", f'""{series.description}""'),
        ("lContrasts", str(len(series.echo_times_s))),
        ("alTR[0]", str(round(series.repetition_time_s * 1e6))),
        *((f"alTE[{number}]", str(round(te * 1e6))) for number, te in enumerate(series.echo_times_s)),
        *_slice_array(stack.grid),
        ("sKSpace.lBaseResolution", str(stack.grid.columns)),
        ("sKSpace.lPhaseEncodingLines", str(stack.grid.rows)),
        ("sKSpace.ucPhasePartialFourier", "16"),
        ("sKSpace.ucSlicePartialFourier", "16"),
        *_acceleration(series),
        *((("lInvContrasts", "2"), ("sFastImaging.lTurboFactor", str(series.shots))) if series.shots else ()),
        ("ucCoilCombineMode", "2"),
        ("sCoilSelectMeas.aRxCoilSelectData[0].asList[0].sCoilElementID.tCoilID", '""HeadNeck_64""'),
        *SHIMS,
    ]
    text = "\n".join(f"{key}\t = \t{value}" for key, value in lines)
    return (
        '<XProtocol> \n{\n  <Name> "PhoenixMetaProtocol" \n  <ID> 1000002 \n  <Userversion> 2.0 \n}\n'
        "### ASCCONV BEGIN object=MrProtDataImpl@MrProtocolData version=51130001 "
        f"converter=%MEASCONST%/ConverterList/Prot_Converter.txt ###\n{text}\n### ASCCONV END ###"
    )


def _acceleration(series: PhantomSeries) -> list[tuple[str, str]]:
    plane = series.echoplanar
    factor, bands = (plane.reduction_factor, plane.multiband_factor) if plane else (1, 1)
    return [
        ("sPat.lAccelFactPE", str(factor)),
        ("sPat.lAccelFact3D", "1"),
        ("sPat.ucPATMode", "2" if factor > 1 else "1"),
        ("sSliceAcceleration.lMultiBandFactor", str(bands)),
        ("sSliceAcceleration.lFOVShiftFactor", "1"),
    ]


def _slice_array(grid: Grid) -> list[tuple[str, str]]:
    """Slices from feet to head whatever the order of storage; a stack stored downwards says so apart."""
    downwards = grid.normal_lps[2] < -0.5
    numbers = range(grid.slices)
    lines = [("sSliceArray.lSize", str(grid.slices)), ("sSliceArray.ucMode", "4")]
    if downwards:
        lines.append(("sSliceArray.ucImageNumbTra", "1"))
    for entry, number in enumerate(reversed(numbers) if downwards else numbers):
        key = f"sSliceArray.asSlice[{entry}]"
        normal = [-value if downwards else value for value in grid.normal_lps]
        lines += [
            (f"{key}.dThickness", f"{grid.slice_thickness_mm:.10g}"),
            (f"{key}.dPhaseFOV", f"{grid.rows * grid.row_spacing_mm:.10g}"),
            (f"{key}.dReadoutFOV", f"{grid.columns * grid.column_spacing_mm:.10g}"),
        ]
        for group, vector in (("sPosition", grid.centre_lps(number)), ("sNormal", normal)):
            named = zip(("dSag", "dCor", "dTra"), vector, strict=True)
            lines += [
                (f"{key}.{group}.{axis}", f"{value:.10g}") for axis, value in named if abs(value) > 1e-9
            ]
    return lines
