"""Facts of real scanners' headers against independent sources: nibabel's CSA reader, the slice positions of
Siemens's measurement protocol, and dcm2niix run live on the same files.
"""

from __future__ import annotations

import functools
import json
import re
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest
from nibabel.nicom import csareader

from pacs2bids.frames import Frame, frames_of
from pacs2bids.model import Facts, HeaderError, Pacs2BidsError
from pacs2bids.reading import ParsedFile, Reader
from pacs2bids.store import index_folder
from pacs2bids.vendors import _csa, siemens, standard

# folders of the corpus; canon_61 and philips_enh hold one scan twice, which dcm2niix would mix up
MOSAICS = ("dcm_qa/Orientation", "dcm_qa/TotalReadoutTime", "mosaic", "asl/PASL3D", "asl/pCASL2D", "sag")
MOSAICS += ("decubitus/HFDR", "nih/20180918Si")
GE_EPI = ("ge/SliceTiming/10_Ax_fMRI_HB8_80sl_int_des", "ge/SliceTiming/15_Ax_fMRI_HB3_48sl_seq_asc")
GE_EPI += ("ge/SliceTimingRT", "ge/SliceTimingMPh", "stc/GE", "nih/20180918GE")
GE_EPI += ("trt/05_EPI_mph_hb3_acc2_nointerp", "trt/10_EPI_mph_acc1_interpPF", "table/GE")
GE_EPI += ("ge/01_Ax_DWI_TENSOR_R2", "ge/04_Ax_DWI_TENSOR_R2MB2")
EPI = ("dcm_qa/Orientation", "dcm_qa/TotalReadoutTime", "mosaic", "sag/XA30/enhanced", "sag/XA30/classic")
EPI += ("sag/2_fmri_SagAP", "nih/20180918Si", "stc/Siemens", "xa60", *GE_EPI)
EPI += ("xa30/7_func-bold_task-fa_run-1", "xa30/10_DWI_dir80_PA", "xa30/25_asl_2d_tra")
DIFFUSION = (
    "decubitus/HFDR",
    "sag/4_DWI_SagAPmosaic",
    "xa30/10_DWI_dir80_PA",
    "xa60",
    "philips",
    "philips_enh/cl",
    "uih",
)
DIFFUSION += ("ge/01_Ax_DWI_TENSOR_R2", "ge/04_Ax_DWI_TENSOR_R2MB2", "toshiba", "canon_61/cl", "canon_61/enh")
PHILIPS = ("philips", "philips_asl", "philips_enh/cl", "philips_enh/enh", "fmap/Philips", "table/Ph")

CLOCK_TICK_S = 0.0026  # Siemens's clock; dcm2niix may take another volume, whose ticks fall differently


@dataclass(frozen=True, kw_only=True)
class Reference:
    """One volume of dcm2niix: its sidecar and affine, with b-values and b-vectors (LPS) if it has any."""

    name: str
    sidecar: dict[str, object]
    image: nib.Nifti1Image
    b_values: np.ndarray | None
    b_vectors_lps: np.ndarray | None

    def positions_lps(self) -> np.ndarray:
        """Centre of the first voxel of each slice's top row, as a stored picture has it: (slices, 3)."""
        last_row = self.image.shape[1] - 1
        indices = np.array([[0, last_row, k, 1] for k in range(self.image.shape[2])])
        return np.asarray((indices @ self.image.affine.T)[:, :3] * [-1, -1, 1])


Run = Callable[[str], tuple[Path, list[Reference]]]


@pytest.fixture(scope="module")
def reference(corpus: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Run:
    """``reference("nih/20180918Si")``: that folder of the corpus, and what dcm2niix makes of it."""

    @functools.cache
    def run(name: str) -> tuple[Path, list[Reference]]:
        top, _, rest = name.partition("/")
        folder = corpus(top) / rest
        out = tmp_path_factory.mktemp("dcm2niix")
        program = Path(sys.executable).with_name("dcm2niix")
        options = ["-b", "y", "-ba", "n", "-z", "n", "-d", "9", "-w", "2", "-f", "%s_%d_%t"]
        subprocess.run([program, *options, "-o", out, folder], check=False, stdout=subprocess.DEVNULL)
        references = [
            _reference(path) for path in sorted(out.glob("*.json")) if path.with_suffix(".nii").exists()
        ]
        assert references, f"dcm2niix made nothing of {name}"
        return folder, references

    return run


def _reference(path: Path) -> Reference:
    image = nib.load(path.with_suffix(".nii"))
    assert isinstance(image, nib.Nifti1Image)
    b_values = vectors = None
    if path.with_suffix(".bvec").exists():
        b_values = np.loadtxt(path.with_suffix(".bval")).ravel()
        vectors = np.loadtxt(path.with_suffix(".bvec")).reshape(3, -1).T
        axes = image.affine[:3, :3] / np.linalg.norm(image.affine[:3, :3], axis=0)
        if np.linalg.det(axes) > 0:  # FSL's convention: the first axis of a positive determinant is reversed
            vectors = vectors * [-1, 1, 1]
        vectors = (axes @ vectors.T).T * [-1, -1, 1]
    return Reference(
        name=path.stem,
        sidecar=json.loads(path.read_text()),
        image=image,
        b_values=b_values,
        b_vectors_lps=vectors,
    )


@functools.cache
def parsed_files(folder: Path) -> list[tuple[Path, ParsedFile]]:
    files = []
    reader = Reader()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        try:
            with path.open("rb") as stream:
                files.append((path, reader.parse(stream, path.name)))
        except HeaderError:
            continue  # notes beside the images
    return files


@functools.cache
def series_frames(folder: Path) -> dict[str, list[Frame]]:
    """Frames by SeriesInstanceUID, in InstanceNumber order; instances without image are left out."""
    found: dict[str, list[tuple[int, list[Frame]]]] = defaultdict(list)
    for _, parsed in parsed_files(folder):
        try:
            frames = frames_of(parsed, "x")
        except Pacs2BidsError:
            continue
        uid = parsed.header.text("SeriesInstanceUID") or ""
        found[uid].append((parsed.header.integer("InstanceNumber") or 0, frames))
    ordered = {uid: sorted(items, key=lambda item: item[0]) for uid, items in found.items()}
    return {uid: [frame for _, frames in items for frame in frames] for uid, items in ordered.items()}


def pairs(reference: Run, name: str) -> Iterator[tuple[Reference, list[Frame]]]:
    """Each volume of dcm2niix with our frames of that series, of that echo, of magnitude or of phase."""
    folder, references = reference(name)
    ours = series_frames(folder)
    for theirs in references:
        frames = _frames_of_reference(ours, theirs)
        if frames:
            yield theirs, frames


def _frames_of_reference(ours: dict[str, list[Frame]], theirs: Reference) -> list[Frame]:
    number = theirs.sidecar.get("SeriesNumber")
    frames = ours.get(str(theirs.sidecar.get("SeriesInstanceUID"))) or [
        # its SeriesInstanceUID of Siemens XA classic is no UID, and it joins series of one acquisition
        frame
        for series in ours.values()
        for frame in series
        if frame.header.integer("SeriesNumber") == number
    ]
    echo = theirs.sidecar.get("EchoNumber")
    same = [frame for frame in frames if echo is None or frame.header.integer("EchoNumbers") in (None, echo)]
    phase = "_ph" in theirs.name
    return [frame for frame in same if (frame.facts.component == "phase") == phase]


# ---------------------------------------------------------------------------------------------- Siemens


@pytest.mark.parametrize("name", [*MOSAICS, "fmap/Siemens", "decubitus/HFS", "stc/Siemens"])
@pytest.mark.filterwarnings("ignore:The DICOM readers are highly experimental")
def test_csa_values_are_those_of_nibabel(corpus: Callable[[str], Path], name: str) -> None:
    top, _, rest = name.partition("/")
    compared = 0
    for path, parsed in parsed_files(corpus(top) / rest)[:40]:
        dataset = pydicom.dcmread(path, stop_before_pixels=True)
        for kind, element in (("image", siemens.CSA_IMAGE), ("series", siemens.CSA_SERIES)):
            raw = parsed.header.private_bytes(element)
            theirs = csareader.get_csa_header(dataset, kind)
            if raw is None or theirs is None:
                continue
            tags = {key: tag["items"] for key, tag in theirs["tags"].items()}
            ours = _csa.read(raw, tags)
            for key, items in tags.items():
                texts = [item for item in items if item not in ("", b"", None)]
                _assert_same_values(key, ours.get(key, ()), texts)
                compared += len(texts)
    assert compared > 100


def _assert_same_values(key: str, ours: tuple[str, ...], theirs: list[object]) -> None:
    assert len(ours) == len([item for item in theirs if str(item).strip()]), key
    for one, other in zip(ours, theirs, strict=False):
        if isinstance(other, int | float):
            assert float(one) == pytest.approx(float(other)), key
        else:
            text = other.decode("latin-1") if isinstance(other, bytes) else str(other)
            assert one == text.split("\0")[0].strip(), key


@pytest.mark.parametrize("name", MOSAICS)
def test_tiles_lie_where_the_protocol_put_the_slices(corpus: Callable[[str], Path], name: str) -> None:
    top, _, rest = name.partition("/")
    checked = 0
    for frames in series_frames(corpus(top) / rest).values():
        mosaic = frames[0].facts.mosaic
        if mosaic is None:
            continue
        prescribed = _prescribed_centres_lps(frames[0])
        tiles = np.array([_centre_lps(frame) for frame in frames[: mosaic.slices]])
        if len(prescribed) == 1:  # 3-D: the protocol has one slab, whose centre is that of its slices
            tiles = tiles.mean(axis=0, keepdims=True)
        # the protocol numbers slices by the scanner's convention, tiles may run the other way
        order = np.argsort(tiles @ mosaic.normal_lps), np.argsort(prescribed @ mosaic.normal_lps)
        np.testing.assert_allclose(tiles[order[0]], prescribed[order[1]], atol=0.02)
        assert (np.diff(order[0]) > 0).all(), "tiles do not run along the normal"
        checked += 1
    assert checked


def _centre_lps(frame: Frame) -> np.ndarray:
    plane = frame.plane
    along_row = np.array(plane.row_cosines_lps) * plane.column_spacing_mm * plane.columns / 2
    along_column = np.array(plane.column_cosines_lps) * plane.row_spacing_mm * plane.rows / 2
    return np.array(plane.position_lps) + along_row + along_column


def _prescribed_centres_lps(frame: Frame) -> np.ndarray:
    """sSliceArray.asSlice[n].sPosition: centres in the patient frame; a component at zero is not written."""
    raw = frame.header.private_bytes(siemens.CSA_SERIES) or b""
    begin = raw.index(b"### ASCCONV BEGIN")
    text = raw[begin : raw.index(b"### ASCCONV END", begin)].decode("latin-1")
    size = re.search(r"sSliceArray\.lSize\s*=\s*(\d+)", text)
    assert size
    centres = np.zeros((int(size[1]), 3))
    line = r"sSliceArray\.asSlice\[(\d+)\]\.sPosition\.d(Sag|Cor|Tra)\s*=\s*(\S+)"
    for index, axis, value in re.findall(line, text):
        centres[int(index), ("Sag", "Cor", "Tra").index(axis)] = float(value)
    return centres


def test_segmented_volumes_follow_at_their_repetition_time(corpus: Callable[[str], Path]) -> None:
    series = series_frames(corpus("asl") / "PASL3D")
    several = [frames for frames in series.values() if len({frame.instance for frame in frames}) > 1]
    assert several
    for frames in several:
        starts = sorted({standard.date_time_s(_started(frame)) or 0 for frame in frames})
        assert np.diff(starts) == pytest.approx(frames[0].facts.repetition_time_s, abs=CLOCK_TICK_S)
        # lines of the protocol, read with a text editor: alTR[0] 3600000, alTI[0] 700000, alTI[2] 1990000 us
        extra = frames[0].facts.extra
        assert extra["RepetitionTimePreparation"] == extra["RepetitionTimeExcitation"] == 3.6
        assert (extra["BolusCutOffDelayTime"], extra["PostLabelingDelay"]) == (0.7, 1.99)


def _started(frame: Frame) -> str:
    return (frame.instance.text("AcquisitionDate") or "") + (frame.instance.text("AcquisitionTime") or "")


@pytest.mark.parametrize("name", ["decubitus/HFS", "fmap/Siemens"])
def test_slices_of_gradient_echoes_have_their_place_in_a_repetition(
    corpus: Callable[[str], Path], name: str
) -> None:
    """Interleaved slices share a repetition evenly: onsets of all slices are one step apart."""
    top, _, rest = name.partition("/")
    checked = 0
    for frames in series_frames(corpus(top) / rest).values():
        by_echo = defaultdict(list)
        for frame in frames:
            if frame.header.texts("ScanningSequence") == ("GR",):
                by_echo[frame.header.number("EchoTime")].append(frame.facts.slice_time_s or 0)
        for onsets in by_echo.values():
            steps = np.diff(np.sort(onsets))
            np.testing.assert_allclose(steps, steps.mean(), atol=CLOCK_TICK_S)
            assert max(onsets) - min(onsets) < (frames[0].facts.repetition_time_s or 0)
            checked += 1
    assert checked


# ---------------------------------------------------------------------------------------------- dcm2niix

# folders whose SliceTiming is not compared, and why
SLICE_TIMES_DIFFER = {
    "trt/10_EPI_mph_acc1_interpPF": "two passes a volume, 4 s by its trigger times; dcm2niix: one, of 2 s",
    "sag/XA30/classic": "its first series holds the times of the single-band reference; whole stacks tell",
}


@pytest.mark.parametrize("name", [name for name in EPI if name not in SLICE_TIMES_DIFFER])
def test_slice_times_are_those_of_dcm2niix(reference: Run, name: str) -> None:
    compared = 0
    for theirs, frames in pairs(reference, name):
        expected = theirs.sidecar.get("SliceTiming")
        if not isinstance(expected, list):
            continue
        times = _times_by_position(frames)
        if times is None:
            scanning = frames[0].header.texts("ScanningSequence")
            assert "EP" not in scanning or frames[0].facts.is_diffusion_map, theirs.name
            continue  # not echo-planar: a slice has no one onset
        positions = np.array([position for position, _ in times])
        found = [
            times[int(np.argmin(np.linalg.norm(positions - place, axis=1)))][1]
            for place in theirs.positions_lps()
        ]
        # dcm2niix keeps a time of day in single precision: steps of 1/128 s in the afternoon
        tolerance = 2 * CLOCK_TICK_S if frames[0].facts.mosaic else 0.008
        np.testing.assert_allclose(found, expected, atol=tolerance, err_msg=theirs.name)
        compared += 1
    assert compared


def _times_by_position(frames: list[Frame]) -> list[tuple[np.ndarray, float]] | None:
    """(position, onset) of each slice of volume 2, or of volume 1 where there is no other."""
    count = len({np.round(frame.plane.position_lps, 2).tobytes() for frame in frames})
    volume = frames[count : 2 * count] or frames[:count]
    onsets = [_onset(frame) for frame in volume]
    known = [onset for onset in onsets if onset is not None]
    if len(known) != len(volume):
        return None
    places = [np.array(frame.plane.position_lps) for frame in volume]
    return [(place, onset - min(known)) for place, onset in zip(places, known, strict=True)]


def test_ge_delays_that_vary_are_told(corpus: Callable[[str], Path]) -> None:
    """Series 5, "VariableDelays1s", alone; 2 has no delay, 3 one of 0.35 s after each volume."""
    (index,) = index_folder(corpus("ge") / "SliceTimingMPh").indices
    assert len(index.stacks) == 3
    assert [one.stack_id for one in index.stacks if "waited" in str(one.warnings)] == ["005-1"]


def _onset(frame: Frame) -> float | None:
    facts = frame.facts
    return facts.slice_times_s[frame.tile] if facts.slice_times_s else facts.slice_time_s


@pytest.mark.parametrize("name", ["ge/SliceTimingMPh", "trt/10_EPI_mph_acc1_interpPF", "table/GE"])
def test_ge_volumes_follow_at_the_pace_of_their_triggers(corpus: Callable[[str], Path], name: str) -> None:
    top, _, rest = name.partition("/")
    checked = 0
    for frames in series_frames(corpus(top) / rest).values():
        triggers: dict[bytes, list[float]] = defaultdict(list)
        for frame in frames:
            place = np.round(frame.plane.position_lps, 2).tobytes()
            triggers[place].append((frame.header.number("TriggerTime") or 0.0) / 1000)
        if max(map(max, triggers.values())) == 0:
            continue  # no trigger times: a localizer, or delays that vary
        if frames[0].facts.repetition_time_s is None:
            assert "Variable" in (frames[0].header.text("SeriesDescription") or "")
            continue
        for times in triggers.values():
            assert np.diff(times) == pytest.approx(frames[0].facts.repetition_time_s, abs=0.002)
        checked += 1
    assert checked


def test_ge_rows_of_reversed_volumes_are_stored_in_reverse(corpus: Callable[[str], Path]) -> None:
    """Whatever the headers say of it: rows of volumes 1 and 3 match those of 2 and 4 when turned over."""
    (frames,) = series_frames(corpus("polar")).values()
    paths = {parsed.header.text("SOPInstanceUID"): path for path, parsed in parsed_files(corpus("polar"))}
    middle = [frame for frame in frames if frame.header.integer("InStackPositionNumber") == 30]
    pictures = {}
    for frame in middle:
        path = paths[frame.header.text("SOPInstanceUID")]
        pictures[frame.header.integer("TemporalPositionIdentifier")] = pydicom.dcmread(path).pixel_array
        assert frame.facts.rows_reversed is (frame.header.integer("TemporalPositionIdentifier") in (1, 3))
    as_stored = np.corrcoef(pictures[1].ravel(), pictures[2].ravel())[0, 1]
    turned = np.corrcoef(pictures[1][::-1].ravel(), pictures[2].ravel())[0, 1]
    assert turned > as_stored + 0.2


@pytest.mark.parametrize("name", EPI)
def test_phase_encoding_and_readout_are_those_of_dcm2niix(reference: Run, name: str) -> None:
    compared = 0
    for theirs, frames in pairs(reference, name):
        facts, sidecar = frames[0].facts, theirs.sidecar
        if facts.effective_echo_spacing_s is None:
            continue
        if "PhaseEncodingDirection" in sidecar and facts.phase_encoding_positive is not None:
            assert _letter(facts) == sidecar["PhaseEncodingDirection"], theirs.name
        assert facts.total_readout_time_s is not None
        assert facts.total_readout_time_s == pytest.approx(sidecar["TotalReadoutTime"], rel=1e-4), theirs.name
        assert facts.effective_echo_spacing_s == pytest.approx(
            facts.total_readout_time_s / (int(str(sidecar["ReconMatrixPE"])) - 1), rel=1e-6
        )
        if "ParallelReductionFactorInPlane" in sidecar:
            acceleration = facts.parallel_reduction_factor_in_plane
            assert acceleration == pytest.approx(sidecar["ParallelReductionFactorInPlane"]), theirs.name
        if "PartialFourier" in sidecar:
            assert facts.partial_fourier == pytest.approx(sidecar["PartialFourier"]), theirs.name
        if "MultibandAccelerationFactor" in sidecar:
            bands = {frame.facts.multiband_factor for frame in frames} - {None}
            assert bands == {sidecar["MultibandAccelerationFactor"]}, theirs.name
        compared += 1
    assert compared


def _letter(facts: Facts) -> str:
    if facts.phase_encoding == "row":
        return "i" if facts.phase_encoding_positive else "i-"
    # rows are flipped in the NIfTI file
    return "j-" if facts.phase_encoding_positive else "j"


@pytest.mark.parametrize("name", DIFFUSION)
def test_gradients_are_those_of_dcm2niix(reference: Run, name: str) -> None:
    compared = 0
    for theirs, frames in pairs(reference, name):
        if theirs.b_values is None or theirs.b_vectors_lps is None:
            continue
        ours = {
            (frame.facts.b_value_s_per_mm2, frame.facts.b_vector_lps)
            for frame in frames
            if frame.facts.b_value_s_per_mm2 is not None and not frame.facts.is_diffusion_map
        }
        for b_value, vector in zip(theirs.b_values.tolist(), theirs.b_vectors_lps, strict=True):
            if b_value < 1.5:  # no direction; United Imaging's b = 0 is 1.25
                continue
            angle = min(
                _degrees_apart(vector, np.array(mine))
                for b, mine in ours
                if mine is not None and b == pytest.approx(b_value, rel=0.002)
            )
            # dcm2niix writes six digits of an affine in single precision
            assert angle < 0.25, f"{theirs.name}: b = {b_value}, {vector}"
            compared += 1
    assert compared


def _degrees_apart(a: np.ndarray, b: np.ndarray) -> float:
    """Angle between two axes: a gradient and its opposite weight alike."""
    cosine = abs(float(a @ b)) / float(np.linalg.norm(a) * np.linalg.norm(b) or np.inf)
    return float(np.degrees(np.arccos(min(1.0, cosine))))


@pytest.mark.parametrize("name", PHILIPS)
def test_philips_values_are_the_precise_ones_of_dcm2niix(reference: Run, name: str) -> None:
    compared = 0
    for theirs, frames in pairs(reference, name):
        rescales = {frame.facts.rescale for frame in frames}
        proxy = theirs.image.dataobj
        if theirs.image.get_data_dtype() == np.float32:
            continue  # scaled by dcm2niix, as the slope varies
        close = [
            rescale
            for rescale in rescales
            if rescale is not None
            and rescale[0] == pytest.approx(proxy.slope, rel=1e-3)
            and rescale[1] == pytest.approx(proxy.inter, rel=1e-3, abs=1e-6)
        ]
        assert close, f"{theirs.name}: {rescales} has no {proxy.slope}, {proxy.inter}"
        compared += 1
    assert compared
