"""Known arrays through transfer syntaxes and pixel formats (PS3.5 section 8, 10, annex A) to NIfTI files.

Everything goes through ``pacs2bids convert``. Lossless coding must give the array back; lossy coding stays
within what its codec promises. The encoders are GDCM's, Pillow's and OpenJPH's, the decoders others.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import gdcm
import imagecodecs
import nibabel
import numpy as np
import pytest
from PIL import Image
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate, encapsulate_extended, generate_frames
from pydicom.pixels.processing import convert_color_space
from pydicom.uid import (
    HTJ2K,
    JPEG2000,
    MPEG2MPML,
    DeflatedExplicitVRLittleEndian,
    EnhancedMRImageStorage,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    ParametricMapStorage,
    PositronEmissionTomographyImageStorage,
    RLELossless,
    SegmentationStorage,
)

from pacs2bids import codecs
from pacs2bids.__main__ import main
from pacs2bids.model import ConversionError, ImageRef
from synthetic import Series

ROWS, COLUMNS, SLICES = 24, 32, 3
SERIES = Series(columns=COLUMNS, rows=ROWS, slices=SLICES)
GDCM = {
    JPEGBaseline8Bit: gdcm.TransferSyntax.JPEGBaselineProcess1,
    JPEGExtended12Bit: gdcm.TransferSyntax.JPEGExtendedProcess2_4,
    JPEGLossless: gdcm.TransferSyntax.JPEGLosslessProcess14,
    JPEGLosslessSV1: gdcm.TransferSyntax.JPEGLosslessProcess14_1,
    JPEGLSLossless: gdcm.TransferSyntax.JPEGLSLossless,
    JPEGLSNearLossless: gdcm.TransferSyntax.JPEGLSNearLossless,
    JPEG2000Lossless: gdcm.TransferSyntax.JPEG2000Lossless,
    JPEG2000: gdcm.TransferSyntax.JPEG2000,
    RLELossless: gdcm.TransferSyntax.RLELossless,
}
FORMATS = {"u8": (8, 8, 0), "u12": (16, 12, 0), "i12": (16, 12, 1), "u16": (16, 16, 0), "i16": (16, 16, 1)}


def values(form: str) -> np.ndarray:
    """Smooth pictures, (slices, rows, columns), that reach both ends of the stored range."""
    allocated, stored, signed = FORMATS[form]
    z, y, x = np.mgrid[:SLICES, :ROWS, :COLUMNS]
    wave = (np.sin(x / 5 + z) * np.cos(y / 4) + 1) / 2
    full = np.round((wave - wave.min()) / np.ptp(wave) * (2**stored - 1)).astype(int)
    return (full - (2 ** (stored - 1) if signed else 0)).astype(f"{'i' if signed else 'u'}{allocated // 8}")


def decompressed(code: bytes, image: ImageRef) -> np.ndarray:
    """The decoder's values, which must not be odd."""
    odd: list[ImageRef] = []
    found = codecs.decompressed(code, image, odd.append)
    assert not odd
    return found


def described(data: Dataset, picture: np.ndarray, form: str) -> Dataset:
    """The data set with this picture, stored natively."""
    data.BitsAllocated, data.BitsStored, data.PixelRepresentation = FORMATS[form]
    data.HighBit = data.BitsStored - 1
    data.Rows, data.Columns = picture.shape[:2]
    if picture.ndim == 3:
        data.SamplesPerPixel, data.PlanarConfiguration = 3, 0
        data.PhotometricInterpretation = "RGB"
    data.PixelData = picture.tobytes()
    return data


def coded(picture: np.ndarray, form: str, syntax: str, folder: Path, codec: object = None) -> bytes:
    """The code stream of one picture, by GDCM."""
    plain, packed = folder / "plain", folder / "packed"
    described(SERIES.dataset(0), picture, form).save_as(plain, enforce_file_format=True)
    reader = gdcm.ImageReader()
    reader.SetFileName(str(plain))
    assert reader.Read()
    change = gdcm.ImageChangeTransferSyntax()
    change.SetTransferSyntax(gdcm.TransferSyntax(GDCM[syntax]))
    change.SetInput(reader.GetImage())
    if codec is not None:
        change.SetUserCodec(codec)
    assert change.Change()
    writer = gdcm.ImageWriter()
    writer.SetFile(reader.GetFile())
    writer.SetImage(change.GetOutput())
    writer.SetFileName(str(packed))
    assert writer.Write()
    code = next(generate_frames(dcmread(packed).PixelData, number_of_frames=1))
    plain.unlink()
    packed.unlink()
    return code


def write(instances: Sequence[Dataset], folder: Path) -> Path:
    source = folder / "in"
    source.mkdir()
    for number, data in enumerate(instances):
        data.save_as(source / f"{number}.dcm", enforce_file_format=True)
    return source


def converted(instances: Sequence[Dataset], folder: Path) -> nibabel.Nifti1Image:
    """The one volume that these instances make."""
    source = write(instances, folder)
    assert main(["convert", str(source), str(folder / "out")]) == 0
    (volume,) = (folder / "out").glob("*.nii.gz")
    return nibabel.load(volume)


def pictures(image: nibabel.Nifti1Image, *, scaled: bool = False) -> np.ndarray:
    """(slices, rows from the top, columns[, RGB]) as stored in the file, or with slope and intercept."""
    data = np.asanyarray(image.dataobj) if scaled else image.dataobj.get_unscaled()
    if data.dtype.names:
        data = np.stack([data[name] for name in "RGB"], axis=-1)
    return np.moveaxis(data, (0, 1, 2), (2, 1, 0))[:, ::-1]


def classic(form: str, stored: np.ndarray, syntax: str, folder: Path, codec: object = None) -> list[Dataset]:
    """One instance a picture, compressed by GDCM."""
    return packaged(form, stored, syntax, [coded(one, form, syntax, folder, codec) for one in stored])


def packaged(form: str, stored: np.ndarray, syntax: str, codes: Sequence[bytes]) -> list[Dataset]:
    """One instance a picture, with its code stream."""
    made = []
    for slice_, (picture, code) in enumerate(zip(stored, codes, strict=True)):
        data = described(SERIES.dataset(slice_), picture, form)
        data.PixelData = encapsulate([code])
        data["PixelData"].VR = "OB"
        data.file_meta.TransferSyntaxUID = syntax
        made.append(data)
    return made


LOSSLESS = [
    (RLELossless, ("u8", "u12", "i12", "u16", "i16")),
    (JPEGLossless, ("u8", "u12", "u16", "i16")),
    (JPEGLosslessSV1, ("u8", "u12", "u16", "i16")),
    (JPEGLSLossless, ("u8", "u12", "i12", "u16", "i16")),
    (JPEG2000Lossless, ("u8", "u12", "i12", "u16", "i16")),
]


@pytest.mark.parametrize(
    ("syntax", "form"),
    [
        pytest.param(syntax, form, id=f"{syntax.keyword}-{form}")
        for syntax, forms in LOSSLESS
        for form in forms
    ],
)
def test_lossless_syntaxes_give_every_value_back(syntax: str, form: str, tmp_path: Path) -> None:
    stored = values(form)
    image = converted(classic(form, stored, syntax, tmp_path), tmp_path)
    assert np.array_equal(pictures(image), stored)


@pytest.mark.parametrize("syntax", [JPEGBaseline8Bit, JPEGExtended12Bit], ids=["baseline", "extended"])
def test_lossy_jpeg_stays_close(syntax: str, tmp_path: Path) -> None:
    stored = values("u8")
    codec = gdcm.JPEGCodec()
    codec.SetLossless(False)
    codec.SetQuality(95)
    found = pictures(converted(classic("u8", stored, syntax, tmp_path, codec), tmp_path))
    # at quality 95 the coarsest quantisation step is 12 of the 64 coefficients' scale (JPEG annex K)
    assert 0 < np.abs(found.astype(int) - stored).max() <= 12


@pytest.mark.parametrize("form", ["u12", "u16"])
def test_near_lossless_jpeg_ls_keeps_its_bound(form: str, tmp_path: Path) -> None:
    stored = values(form)
    codec = gdcm.JPEGLSCodec()
    codec.SetLossless(False)
    codec.SetLossyError(3)
    found = pictures(converted(classic(form, stored, JPEGLSNearLossless, tmp_path, codec), tmp_path))
    assert 0 < np.abs(found.astype(int) - stored).max() <= 3


def test_lossy_jpeg_2000_stays_close(tmp_path: Path) -> None:
    stored = values("u16")
    codes = []
    for picture in stored:
        code = io.BytesIO()
        # 60 decibel: a root mean square error of a thousandth of the range
        how = {"no_jp2": True, "irreversible": True, "quality_mode": "dB", "quality_layers": [60]}
        Image.fromarray(picture).save(code, "JPEG2000", **how)
        codes.append(code.getvalue())
    found = pictures(converted(packaged("u16", stored, JPEG2000, codes), tmp_path))
    assert 0 < root_mean_square(found, stored) <= 1.5 * 65535 / 1000


def root_mean_square(found: np.ndarray, stored: np.ndarray) -> float:
    return float(np.sqrt(np.mean((found.astype(float) - stored) ** 2)))


def quantisation(code: bytes) -> np.ndarray:
    """The 64 steps of a JPEG's first table (ISO 10918-1 B.2.4.1)."""
    at = code.index(b"\xff\xdb") + 4
    return np.frombuffer(code, ">u2" if code[at] >> 4 else "u1", 64, at + 1)


def test_lossy_jpeg_of_12_bits_stays_within_its_quantisation(tmp_path: Path) -> None:
    stored = values("u12")
    codes = [imagecodecs.jpeg8_encode(picture, level=95, bitspersample=12) for picture in stored]
    found = pictures(converted(packaged("u12", stored, JPEGExtended12Bit, codes), tmp_path))
    # no coefficient errs by more than half its step; the transform is orthonormal, so that the errors' mean
    # square is the same in pixels (Parseval), which are then rounded
    bound = np.sqrt(np.mean((quantisation(codes[0]) / 2) ** 2)) + 0.5
    assert 0 < root_mean_square(found, stored) <= bound


@pytest.mark.parametrize("form", ["u8", "u12", "i12", "u16", "i16"])
def test_high_throughput_jpeg_2000_gives_every_value_back(form: str, tmp_path: Path) -> None:
    stored = values(form)
    syntax = HTJ2KLosslessRPCL if form == "u12" else HTJ2KLossless
    codes = [imagecodecs.htj2k_encode(picture, reversible=True) for picture in stored]
    assert np.array_equal(pictures(converted(packaged(form, stored, syntax, codes), tmp_path)), stored)


def test_lossy_high_throughput_jpeg_2000_stays_within_its_step(tmp_path: Path) -> None:
    stored = values("u16")
    codes = [imagecodecs.htj2k_encode(picture, level=1e-4, reversible=False) for picture in stored]
    found = pictures(converted(packaged("u16", stored, HTJ2K, codes), tmp_path))
    assert 0 < root_mean_square(found, stored) <= 1e-4 * 65536


@pytest.mark.parametrize("bits", [6, 7])
def test_jpeg_ls_of_few_bits(bits: int) -> None:
    picture = values("u8")[0] >> 8 - bits
    image = reference(JPEGLSLossless, "u8", bits_stored=bits, high_bit=bits - 1)
    assert np.array_equal(decompressed(imagecodecs.jpegls_encode(picture), image), picture)


def test_jpeg_lossless_of_signed_samples_of_12_bits() -> None:
    # the code has no sign: of its 12 bits the first says it (PS3.5 sections 8.1.1, 8.2.1)
    picture = values("i12")[0]
    code = imagecodecs.jpeg8_encode(picture.view("u2") & 0xFFF, lossless=True, predictor=1, bitspersample=12)
    assert np.array_equal(decompressed(code, reference(JPEGLossless, "i12")), picture)


def test_what_no_decoder_reads_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    syntax = MPEG2MPML
    source = write(packaged("u8", values("u8"), syntax, [b"\0\0\1\xb3"] * SLICES), tmp_path)
    assert main(["convert", str(source), str(tmp_path / "out")]) == 1
    said = capsys.readouterr().err
    assert syntax.name in said
    assert "0.dcm" in said
    assert "Explicit VR Little Endian" in said
    assert "Traceback" not in said


# ---------------------------------------------------------------------------------------------- damage


def reference(syntax: str, form: str, **other: object) -> ImageRef:
    """What the header says of one compressed picture."""
    allocated, stored, signed = FORMATS[form]
    facts = {
        "path": "0.dcm",
        "frame": 0,
        "transfer_syntax_uid": str(syntax),
        "offset": 0,
        "length": None,
        "rows": ROWS,
        "columns": COLUMNS,
        "samples_per_pixel": 1,
        "planar_configuration": 0,
        "bits_allocated": allocated,
        "bits_stored": stored,
        "high_bit": stored - 1,
        "signed": bool(signed),
        "is_float": False,
        "photometric_interpretation": "MONOCHROME2",
        "big_endian": False,
    }
    return ImageRef(**{**facts, **other})


def stream(syntax: str, form: str, folder: Path) -> bytes:
    """The code stream of the first picture."""
    picture = values(form)[0]
    if syntax == HTJ2KLossless:
        return imagecodecs.htj2k_encode(picture, reversible=True)
    if syntax == JPEGExtended12Bit:
        return imagecodecs.jpeg8_encode(picture, level=95, bitspersample=12)
    return coded(picture, form, syntax, folder)


DAMAGED = [
    (JPEGBaseline8Bit, "u8"),
    (JPEGExtended12Bit, "u12"),
    (JPEGLossless, "u12"),
    (JPEGLosslessSV1, "i16"),
    (JPEGLSLossless, "u12"),
    (JPEGLSNearLossless, "u12"),
    (JPEG2000Lossless, "u12"),
    (JPEG2000, "u16"),
    (HTJ2KLossless, "u12"),
    (RLELossless, "u8"),
    (RLELossless, "i16"),
]
CASES = [pytest.param(*case, id=f"{case[0].keyword}-{case[1]}") for case in DAMAGED]


@pytest.mark.parametrize(("syntax", "form"), CASES)
def test_a_code_stream_that_was_cut_short_is_refused(syntax: str, form: str, tmp_path: Path) -> None:
    code, image = stream(syntax, form, tmp_path), reference(syntax, form)
    whole = decompressed(code, image)
    assert np.array_equal(decompressed(code + bytes(len(code) % 2), image), whole)
    for part in (
        0,
        2,
        40,
        len(code) // 3,
        len(code) // 2,
        len(code) * 9 // 10,
        len(code) - 20,
        len(code) - 3,
    ):
        # also where a zero makes the length even, as in any fragment
        for padding in (b"", b"\0"):
            with pytest.raises(ConversionError, match=r"0\.dcm.*cannot be decoded"):
                decompressed(code[:part] + padding, image)


@pytest.mark.parametrize(("syntax", "form"), CASES)
def test_a_code_stream_that_contradicts_the_header_is_refused(syntax: str, form: str, tmp_path: Path) -> None:
    code = stream(syntax, form, tmp_path)
    others: list[dict[str, object]] = [
        {"rows": ROWS + 1},
        {"rows": ROWS - 1},
        {"columns": 2 * COLUMNS},
        {"samples_per_pixel": 3, "photometric_interpretation": "RGB"},
    ]
    if syntax != RLELossless:  # which does not say its size
        others.append({"rows": COLUMNS, "columns": ROWS})
    for other in others:
        with pytest.raises(ConversionError, match="cannot be decoded"):
            decompressed(code, reference(syntax, form, **other))


def test_a_byte_too_many_in_rle_is_padding(tmp_path: Path) -> None:
    picture = values("u8")[0]
    code = coded(picture, "u8", RLELossless, tmp_path)
    # a run of one literal byte: one more than the picture has (pydicom issue 1438)
    padded = decompressed(code + b"\0\7", reference(RLELossless, "u8"))
    assert np.array_equal(padded, picture)


def test_a_code_stream_of_more_bits_than_allocated_is_refused(tmp_path: Path) -> None:
    for syntax in (JPEGLossless, JPEGLSLossless, JPEG2000Lossless):
        with pytest.raises(ConversionError, match=r"1[26] bits, its header of 8"):
            decompressed(stream(syntax, "u12", tmp_path), reference(syntax, "u8"))


def test_an_absurd_size_in_a_code_stream_costs_nothing(tmp_path: Path) -> None:
    code = bytearray(stream(JPEGLossless, "u12", tmp_path))
    at = code.index(b"\xff\xc3") + 5
    code[at : at + 4] = b"\xff\xff\xff\xff"
    with pytest.raises(ConversionError, match="65535 x 65535"):
        decompressed(bytes(code), reference(JPEGLossless, "u12"))


# offsets of the items of 3 frames in 2 fragments each, by what is wrong with them
@pytest.mark.parametrize("lie", ["shifted", "reversed", "too few", "one fragment further", "all the first"])
def test_an_offset_table_that_lies_changes_nothing(lie: str, tmp_path: Path) -> None:
    stored = values("u12")
    data = enhanced(described(SERIES.dataset(0), stored[0], "u12"), frames=SLICES)
    codes = [coded(picture, "u12", JPEGLSLossless, tmp_path) for picture in stored]
    content = bytearray(encapsulate(codes, fragments_per_frame=2, has_bot=True))
    offsets = np.frombuffer(bytes(content[8:20]), "<u4")
    first = int.from_bytes(content[24:28], "little") + 8  # the first fragment's item
    wrong = {
        "shifted": offsets + 2,
        "reversed": offsets[::-1],
        "too few": offsets[:2],
        "one fragment further": offsets + np.array([0, first, 0]),
        "all the first": offsets * 0,
    }[lie].astype("<u4")
    content[4:20] = (4 * len(wrong)).to_bytes(4, "little") + wrong.tobytes()
    data.PixelData = bytes(content)
    data["PixelData"].VR, data["PixelData"].is_undefined_length = "OB", True
    data.file_meta.TransferSyntaxUID = JPEGLSLossless
    assert np.array_equal(pictures(converted([data], tmp_path)), stored)


# ---------------------------------------------------------------------------------------------- native


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize(
    "syntax",
    [ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian],
    ids=["implicit", "explicit", "big-endian", "deflated"],
)
def test_native_syntaxes(syntax: str, form: str, tmp_path: Path) -> None:
    stored = values(form)
    instances = []
    for slice_, picture in enumerate(stored):
        data = described(SERIES.dataset(slice_), picture, form)
        data.file_meta.TransferSyntaxUID = syntax
        if syntax == ExplicitVRBigEndian:
            # samples of 8 bits in words of 16 are swapped with them (PS3.5 section 8.1.2, A.3)
            data.PixelData = (
                picture.view("<u2").astype(">u2") if form == "u8" else picture.byteswap()
            ).tobytes()
            data["PixelData"].VR = "OW"
        instances.append(data)
    assert np.array_equal(pictures(converted(instances, tmp_path)), stored)


def test_big_endian_bytes(tmp_path: Path) -> None:
    stored = values("u8")
    instances = [described(SERIES.dataset(n), picture, "u8") for n, picture in enumerate(stored)]
    for data in instances:
        data.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
        data["PixelData"].VR = "OB"
    assert np.array_equal(pictures(converted(instances, tmp_path)), stored)


def packed(samples: np.ndarray) -> bytes:
    """Samples of 12 bits as one stream of bits, each sample's lowest bit first (PS3.5 section 8.1.1)."""
    bits = (samples.reshape(-1, 1) >> np.arange(12)) & 1
    return np.packbits(bits.reshape(-1), bitorder="little").tobytes()


def test_packed_samples_of_12_bits(tmp_path: Path) -> None:
    stored = values("u12")
    instances = []
    for slice_, picture in enumerate(stored):
        data = described(SERIES.dataset(slice_), picture, "u12")
        data.BitsAllocated, data.PixelData = 12, packed(picture)
        instances.append(data)
    assert np.array_equal(pictures(converted(instances, tmp_path)), stored)


@pytest.mark.parametrize("signed", [False, True])
def test_samples_of_32_bits(signed: bool, tmp_path: Path) -> None:
    ends = (-(2**31), 2**31 - 1) if signed else (0, 2**32 - 1)
    stored = np.linspace(*ends, SLICES * ROWS * COLUMNS).astype(np.int64).reshape(SLICES, ROWS, COLUMNS)
    instances = []
    for slice_, picture in enumerate(stored.astype("<i4" if signed else "<u4")):
        data = SERIES.dataset(slice_)
        data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 32, 32, 31, int(signed)
        data.PixelData = picture.tobytes()
        instances.append(data)
    assert np.array_equal(pictures(converted(instances, tmp_path)).astype(np.int64), stored)


def test_overlays_in_high_bits_and_padding_change_no_value(tmp_path: Path) -> None:
    stored = values("i12")
    instances = []
    for slice_, picture in enumerate(stored):
        data = described(SERIES.dataset(slice_), picture, "i12")
        overlay = np.arange(picture.size, dtype=np.uint16).reshape(picture.shape) << 12
        data.PixelData = (picture.view("u2") & 0xFFF | overlay).tobytes()
        data.add_new(0x60000100, "US", 16)  # OverlayBitsAllocated: in the pixels' own words,
        data.add_new(0x60000102, "US", 12)  # OverlayBitPosition: above the stored bits
        data.add_new("PixelPaddingValue", "SS", -2048)
        instances.append(data)
    assert np.array_equal(pictures(converted(instances, tmp_path)), stored)


def test_monochrome1_changes_how_values_are_shown_not_what_they_are(tmp_path: Path) -> None:
    # PS3.3 C.7.6.3.1.2: "intended to be displayed as white after any VOI gray scale transformations"
    stored = values("u12")
    instances = [described(SERIES.dataset(n), picture, "u12") for n, picture in enumerate(stored)]
    for data in instances:
        data.PhotometricInterpretation = "MONOCHROME1"
    assert np.array_equal(pictures(converted(instances, tmp_path)), stored)


# ---------------------------------------------------------------------------------------------- frames


def enhanced(data: Dataset, *, frames: int) -> Dataset:
    """The instance with functional groups for as many frames, one behind the other (PS3.3 C.7.6.16)."""
    data.SOPClassUID = data.file_meta.MediaStorageSOPClassUID = EnhancedMRImageStorage
    data.NumberOfFrames = frames
    shared, measures, orientation = Dataset(), Dataset(), Dataset()
    measures.PixelSpacing, measures.SliceThickness = data.PixelSpacing, data.SliceThickness
    orientation.ImageOrientationPatient = data.ImageOrientationPatient
    shared.PixelMeasuresSequence, shared.PlaneOrientationSequence = [measures], [orientation]
    data.SharedFunctionalGroupsSequence = [shared]
    groups = []
    for frame in range(frames):
        group, place = Dataset(), Dataset()
        place.ImagePositionPatient = [float(value) for value in SERIES.position(frame)]
        group.PlanePositionSequence = [place]
        groups.append(group)
    data.PerFrameFunctionalGroupsSequence = groups
    for keyword in ("PixelSpacing", "SliceThickness", "ImageOrientationPatient", "ImagePositionPatient"):
        delattr(data, keyword)
    return data


# beside an extended offset table each frame is one fragment (PS3.3 C.7.6.3.1.8)
@pytest.mark.parametrize(
    ("fragments", "table"), [(1, "none"), (3, "none"), (1, "basic"), (3, "basic"), (1, "extended")]
)
def test_frames_of_several_fragments_with_and_without_offset_tables(
    fragments: int, table: str, tmp_path: Path
) -> None:
    stored = values("u12")
    data = enhanced(described(SERIES.dataset(0), stored[0], "u12"), frames=SLICES)
    codes = [coded(picture, "u12", JPEGLosslessSV1, tmp_path) for picture in stored]
    if table == "extended":
        content, data.ExtendedOffsetTable, data.ExtendedOffsetTableLengths = encapsulate_extended(codes)
        data.PixelData = content
    else:
        data.PixelData = encapsulate(codes, fragments_per_frame=fragments, has_bot=table == "basic")
    data["PixelData"].VR, data["PixelData"].is_undefined_length = "OB", True
    data.file_meta.TransferSyntaxUID = JPEGLosslessSV1
    assert np.array_equal(pictures(converted([data], tmp_path)), stored)


@pytest.mark.parametrize("syntax", [RLELossless, DeflatedExplicitVRLittleEndian], ids=["RLE", "deflated"])
def test_frames_of_rle_and_deflated_files(syntax: str, tmp_path: Path) -> None:
    stored = values("i16")
    data = enhanced(described(SERIES.dataset(0), stored[0], "i16"), frames=SLICES)
    data.PixelData = stored.tobytes()
    if syntax == RLELossless:
        data.PixelData = encapsulate([coded(picture, "i16", syntax, tmp_path) for picture in stored])
        data["PixelData"].VR = "OB"
    data.file_meta.TransferSyntaxUID = syntax
    assert np.array_equal(pictures(converted([data], tmp_path)), stored)


def test_a_compressed_file_that_was_cut_short_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stored = values("u12")
    data = enhanced(described(SERIES.dataset(0), stored[0], "u12"), frames=SLICES)
    codes = [coded(picture, "u12", JPEGLSLossless, tmp_path) for picture in stored]
    data.PixelData = encapsulate(codes)
    data["PixelData"].VR = "OB"
    data.file_meta.TransferSyntaxUID = JPEGLSLossless
    source = write([data], tmp_path)
    whole = (source / "0.dcm").read_bytes()
    (source / "0.dcm").write_bytes(whole[: -len(codes[-1]) // 2])
    assert main(["convert", str(source), str(tmp_path / "out")]) == 1
    assert "0.dcm: is cut short: holds 2 compressed pictures; 3 are due" in capsys.readouterr().err


def test_a_deflated_file_that_was_cut_short_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = SERIES.dataset(0)
    data.PixelData = np.random.default_rng(1).bytes(2 * ROWS * COLUMNS)
    data.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    source = write([data], tmp_path)
    whole = (source / "0.dcm").read_bytes()
    (source / "0.dcm").write_bytes(whole[:-100])
    assert main(["convert", str(source), str(tmp_path / "out")]) == 1
    assert "0.dcm: is cut short" in capsys.readouterr().err


# ---------------------------------------------------------------------------------------------- colour


def colours() -> np.ndarray:
    """Pictures in RGB, (slices, rows, columns, 3), without sharp edges."""
    stored = values("u8")
    return np.stack([stored, stored[:, ::-1], stored[:, :, ::-1]], axis=-1)


@pytest.mark.parametrize("planar", [0, 1])
def test_colour_by_pixel_and_by_plane(planar: int, tmp_path: Path) -> None:
    stored = colours()
    instances = []
    for slice_, picture in enumerate(stored):
        data = described(SERIES.dataset(slice_), picture, "u8")
        data.PlanarConfiguration = planar
        data.PixelData = (np.moveaxis(picture, -1, 0) if planar else picture).tobytes()
        instances.append(data)
    assert np.array_equal(pictures(converted(instances, tmp_path)), stored)


@pytest.mark.parametrize(
    "syntax",
    [RLELossless, JPEGLosslessSV1, JPEGLSLossless, JPEG2000Lossless],
    ids=["RLE", "lossless JPEG", "LS", "J2K"],
)
def test_colour_in_lossless_syntaxes(syntax: str, tmp_path: Path) -> None:
    stored = colours()
    assert np.array_equal(pictures(converted(classic("u8", stored, syntax, tmp_path), tmp_path)), stored)


@pytest.mark.parametrize("form", ["YBR_FULL", "YBR_FULL_422"])
def test_luminance_and_chrominance_become_rgb(form: str, tmp_path: Path) -> None:
    stored = colours()
    stored[:, :, 1::2] = stored[:, :, ::2]  # two pixels share their colour in 4:2:2
    instances = []
    for slice_, picture in enumerate(stored):
        data = described(SERIES.dataset(slice_), picture, "u8")
        ybr = convert_color_space(picture, "RGB", "YBR_FULL")
        if form == "YBR_FULL_422":
            # the order of PS3.3 C.7.6.3.1.2: Y1 Y2 CB CR
            pairs = ybr.reshape(-1, 2, 3)
            ybr = np.stack([pairs[:, 0, 0], pairs[:, 1, 0], pairs[:, 0, 1], pairs[:, 0, 2]], axis=-1)
        data.PhotometricInterpretation, data.PixelData = form, ybr.tobytes()
        instances.append(data)
    found = pictures(converted(instances, tmp_path))
    # each component is rounded twice, and CB and CR enter with factors of up to 1.772
    assert np.abs(found.astype(int) - stored).max() <= 2


def test_colour_in_baseline_jpeg(tmp_path: Path) -> None:
    stored = colours()
    instances = []
    for slice_, picture in enumerate(stored):
        data = described(SERIES.dataset(slice_), picture, "u8")
        code = io.BytesIO()
        Image.fromarray(picture).save(code, "JPEG", quality=98, subsampling="4:2:2")
        data.PixelData, data.PhotometricInterpretation = encapsulate([code.getvalue()]), "YBR_FULL_422"
        data["PixelData"].VR = "OB"
        data.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
        instances.append(data)
    found = pictures(converted(instances, tmp_path))
    assert 0 < np.abs(found.astype(int) - stored).mean() < 4


@pytest.mark.parametrize("bits", [8, 16])
def test_a_palette_gives_colours(bits: int, tmp_path: Path) -> None:
    stored = values("u8")
    tables = np.random.default_rng(2).integers(0, 256, (3, 256), dtype=np.uint8)
    instances = []
    for slice_, picture in enumerate(stored):
        data = described(SERIES.dataset(slice_), picture, "u8")
        data.PhotometricInterpretation = "PALETTE COLOR"
        for name, table in zip(("Red", "Green", "Blue"), tables, strict=True):
            entries = table if bits == 8 else table.astype("<u2") << 8
            data.add_new(f"{name}PaletteColorLookupTableDescriptor", "US", [256, 0, bits])
            data.add_new(f"{name}PaletteColorLookupTableData", "OW", entries.tobytes())
        instances.append(data)
    assert np.array_equal(pictures(converted(instances, tmp_path)), np.moveaxis(tables[:, stored], 0, -1))


# ---------------------------------------------------------------------------------------------- other objects


@pytest.mark.parametrize("bits", [32, 64])
def test_a_parametric_map_has_floats_and_its_mapping(bits: int, tmp_path: Path) -> None:
    stored = np.random.default_rng(3).normal(size=(SLICES, ROWS, COLUMNS)).astype(f"<f{bits // 8}")
    data = enhanced(SERIES.dataset(0), frames=SLICES)
    data.SOPClassUID = data.file_meta.MediaStorageSOPClassUID = ParametricMapStorage
    for keyword in ("PixelData", "BitsStored", "HighBit", "PixelRepresentation"):
        delattr(data, keyword)
    data.BitsAllocated = bits
    setattr(data, "FloatPixelData" if bits == 32 else "DoubleFloatPixelData", stored.tobytes())
    mapping = Dataset()
    mapping.RealWorldValueSlope, mapping.RealWorldValueIntercept = 0.25, -3.0
    data.SharedFunctionalGroupsSequence[0].RealWorldValueMappingSequence = [mapping]
    image = converted([data], tmp_path)
    assert image.get_data_dtype() == stored.dtype
    assert np.array_equal(pictures(image), stored)
    assert np.allclose(pictures(image, scaled=True), stored * 0.25 - 3, rtol=1e-6)


def test_a_parametric_map_by_a_table_is_refused_and_said(tmp_path: Path) -> None:
    data = enhanced(SERIES.dataset(0), frames=SLICES)
    data.SOPClassUID = data.file_meta.MediaStorageSOPClassUID = ParametricMapStorage
    data.PixelData = values("u12").tobytes()
    mapping = Dataset()
    mapping.RealWorldValueFirstValueMapped, mapping.RealWorldValueLastValueMapped = 0, 4095
    mapping.RealWorldValueLUTData = [float(value) for value in range(4096)]
    data.SharedFunctionalGroupsSequence[0].RealWorldValueMappingSequence = [mapping]
    source = write([data], tmp_path)
    assert main(["convert", str(source), str(tmp_path / "out")]) == 0
    assert "values by a table" in (tmp_path / "out" / "leftovers.tsv").read_text()


def test_pet_with_a_rescale_of_each_slice(tmp_path: Path) -> None:
    stored, slopes = values("i16"), (0.1, 2.7, 11.0)
    instances = []
    for slice_, picture in enumerate(stored):
        data = described(SERIES.dataset(slice_), picture, "i16")
        data.SOPClassUID = data.file_meta.MediaStorageSOPClassUID = PositronEmissionTomographyImageStorage
        data.Modality, data.Units = "PT", "BQML"
        data.RescaleSlope, data.RescaleIntercept = slopes[slice_], 0
        instances.append(data)
    image = converted(instances, tmp_path)
    assert image.get_data_dtype() == np.float32
    expected = stored * np.array(slopes)[:, None, None]
    assert np.allclose(pictures(image, scaled=True), expected, rtol=2**-23, atol=0)


def test_ct_keeps_its_integers_and_one_rescale(tmp_path: Path) -> None:
    stored = values("u12")
    instances = [described(SERIES.dataset(n), picture, "u12") for n, picture in enumerate(stored)]
    for data in instances:
        data.RescaleSlope, data.RescaleIntercept = 1, -1024
    image = converted(instances, tmp_path)
    assert np.array_equal(pictures(image), stored)
    assert np.array_equal(pictures(image, scaled=True), stored.astype(int) - 1024)


def test_segmentations_are_refused_and_said(tmp_path: Path) -> None:
    data = enhanced(SERIES.dataset(0), frames=SLICES)
    data.SOPClassUID = data.file_meta.MediaStorageSOPClassUID = SegmentationStorage
    data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 1, 1, 0, 0
    data.PixelData = bytes(SLICES * ROWS * COLUMNS // 8)
    source = write([data], tmp_path)
    assert main(["convert", str(source), str(tmp_path / "out")]) == 0
    assert "segmentation" in (tmp_path / "out" / "leftovers.tsv").read_text()


def test_values_by_a_table_are_refused_and_said(tmp_path: Path) -> None:
    data = SERIES.dataset(0)
    table = Dataset()
    table.add_new("LUTDescriptor", "US", [2, 0, 16])
    table.ModalityLUTType = "US"
    table.add_new("LUTData", "OW", bytes(4))
    data.ModalityLUTSequence = [table]
    source = write([data], tmp_path)
    assert main(["convert", str(source), str(tmp_path / "out")]) == 0
    assert "ModalityLUTSequence" in (tmp_path / "out" / "leftovers.tsv").read_text()


# ---------------------------------------------------------------------------------------------- Philips


def philips(slice_: int, picture: np.ndarray, *, scale: float) -> Dataset:
    data = described(SERIES.dataset(slice_), picture, "u12")
    data.Manufacturer, data.RescaleSlope, data.RescaleIntercept = "Philips", 0.5, -20
    block = data.private_block(0x2005, "Philips MR Imaging DD 001", create=True)
    block.add_new(0x0E, "FL", scale)
    mapping = Dataset()
    mapping.RealWorldValueSlope, mapping.RealWorldValueIntercept = 0.5, -20.0
    data.RealWorldValueMappingSequence = [mapping]
    return data


def precise(picture: np.ndarray, *, scale: float) -> np.ndarray:
    """FP = DV / (RS * SS), DV = PV * RS + RI (Chenevert et al. 2014, doi 10.1593/tlo.13811)."""
    return (picture * 0.5 - 20) / (0.5 * np.float32(scale))


@pytest.mark.parametrize("scales", [(3.7, 3.7, 3.7), (3.7, 0.2, 150.0)], ids=["one scale", "many"])
def test_philips_values_are_precise_or_displayed(scales: tuple[float, ...], tmp_path: Path) -> None:
    stored = values("u12")
    pairs = list(zip(stored, scales, strict=True))
    instances = [philips(n, picture, scale=scale) for n, (picture, scale) in enumerate(pairs)]
    image = converted(instances, tmp_path)
    expected = np.array([precise(picture, scale=scale) for picture, scale in pairs])
    assert np.allclose(pictures(image, scaled=True), expected, rtol=1e-6, atol=1e-4)
    out = tmp_path / "out"
    before = next(out.glob("*.nii.gz")).read_bytes()
    again = ["convert", str(tmp_path / "in"), str(out), "--philips-values", "display"]
    assert main(again) == 0  # into the same folder: another choice is made again
    image = nibabel.load(next(out.glob("*.nii.gz")))
    assert np.allclose(pictures(image, scaled=True), stored * 0.5 - 20, rtol=1e-6)
    assert before != next(out.glob("*.nii.gz")).read_bytes()


def test_the_choice_for_philips_leaves_others_alone(tmp_path: Path) -> None:
    SERIES.write(tmp_path / "in")
    line = ["convert", str(tmp_path / "in"), str(tmp_path / "out")]
    assert main(line) == 0
    (volume,) = (tmp_path / "out").glob("*.nii.gz")
    written = volume.stat().st_mtime_ns
    assert main([*line, "--philips-values", "display"]) == 0
    assert volume.stat().st_mtime_ns == written


@pytest.mark.parametrize("scale_intercept", [None, 0.0, 2048.0])
def test_philips_precise_values_need_no_rescale(scale_intercept: float | None, tmp_path: Path) -> None:
    stored, scale = values("u12"), 3.7
    made = [philips(number, picture, scale=scale) for number, picture in enumerate(stored)]
    for data in made:
        del data.RescaleSlope, data.RescaleIntercept, data.RealWorldValueMappingSequence
        if scale_intercept is not None:
            data.private_block(0x2005, "Philips MR Imaging DD 001").add_new(0x0D, "FL", scale_intercept)
    # FP = (PV - SI) / SS, with SI = -RI / RS put into the formula above
    expected = (stored - (scale_intercept or 0)) / np.float32(scale)
    assert np.allclose(pictures(converted(made, tmp_path), scaled=True), expected, rtol=1e-6, atol=1e-4)
