"""Where ours and dcm2niix's differ on the corpus, and why ours stands: one table, shown on the files."""

from __future__ import annotations

import tempfile
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from nibabel.nicom.dicomwrappers import wrapper_from_data
from pydicom.dataset import Dataset
from reference import dcm2niix
from stored_frames import dicom_headers

CLOCK_TICK_S = 0.0025
ROUNDING_S = 1e-6  # sidecars have six decimals
POSITION_TEXT_MM = 1e-3  # six digits of a position of less than 1 m

# set of the corpus, name of dcm2niix's file (of ours if only we have it), check of compare.py or "storage"
Difference = tuple[str, str, str]


@dataclass(frozen=True, kw_only=True)
class Pair:
    """One volume twice: our file and dcm2niix's (None if there is none), what is known of both.

    ``details``: what compare.py says of the pair. ``folder``: where its DICOM files are.
    """

    folder: Path
    ours: Path | None
    theirs: Path | None
    our_sidecar: dict[str, Any]
    their_sidecar: dict[str, Any]
    details: dict[str, Any]

    @property
    def notes(self) -> str:
        """The pair in words, for a person who sees the test fail."""
        volume = self.details.get("volume") or {}
        fields = {
            key: self.details.get("meta", {}).get(key) for key in ("SliceTiming", "PhaseEncodingDirection")
        }
        return f"{self.ours} and {self.theirs}: {volume.get('notes')}, {self.details.get('tr')}, {fields}"

    def series(self, number: int | None = None) -> list[Dataset]:
        """Headers of one series, by default that of the pair, in order of InstanceNumber."""
        sidecar = self.their_sidecar or self.our_sidecar
        number = sidecar["SeriesNumber"] if number is None else number
        study = sidecar.get("StudyInstanceUID")  # only theirs has it
        headers = [
            one
            for one in dicom_headers(self.folder).values()
            if one.get("SeriesNumber") == number and one.StudyInstanceUID == (study or one.StudyInstanceUID)
        ]
        return sorted(headers, key=lambda header: int(header.InstanceNumber))


@dataclass(frozen=True, kw_only=True)
class Explained:
    """A difference that stands: why, and a check of that on the files themselves."""

    why: str
    shown_by: Callable[[Pair], None]


def clock_in_single_precision(pair: Pair) -> None:
    """Ours are the differences of the headers' acquisition times; theirs are, of times of day in 32 bits.

    dcm2niix keeps HHMMSS.FFFFFF as one number: steps of 1/128 s from 06:55, of 1/64 s from 13:10.
    """
    stored = acquisition_times(pair)
    exact, single = (
        np.array([day_seconds(f"00000000{clock(text):013.6f}") for text in stored])
        for clock in (float, np.float32)
    )
    np.testing.assert_allclose(pair.our_sidecar["SliceTiming"], exact - exact.min(), atol=ROUNDING_S)
    np.testing.assert_allclose(pair.their_sidecar["SliceTiming"], single - single.min(), atol=1e-5)
    assert np.abs(exact - single).max() > 1e-3


def acquisition_times(pair: Pair) -> list[str]:
    """AcquisitionTime of each slice of the first volume, in the order of slices of our file.

    Of a United Imaging grid those of its tiles (0065,1051).
    """
    echo_ms = pytest.approx(pair.their_sidecar["EchoTime"] * 1000)
    headers = [header for header in pair.series() if float(header.EchoTime) == echo_ms]
    if "VFRAME" in headers[0].ImageType:
        headers = list(headers[0][0x0065, 0x1051].value)
    along = nib.nifti1.load(pair.ours).affine[:3, 2] * [-1, -1, 1]
    headers.sort(key=lambda header: np.array(header.ImagePositionPatient, float) @ along)
    return [header.AcquisitionTime for header in headers]


def slices_one_after_another(pair: Pair) -> None:
    """Slices begin more than a repetition time apart: none has its place within a repetition."""
    assert "SliceTiming" not in pair.our_sidecar
    starts = sorted(day_seconds(f"00000000{header.AcquisitionTime}") for header in pair.series())
    repetition_s = pair.their_sidecar["RepetitionTime"]
    assert np.diff(starts).min() > 10 * repetition_s
    assert max(pair.their_sidecar["SliceTiming"]) > 100 * repetition_s


def times_of_no_steady_state(pair: Pair) -> None:
    """The slices' times span several repetitions; theirs are equal parts of one, found in no header."""
    assert "SliceTiming" not in pair.our_sidecar
    (header,) = pair.series()
    times_s = np.array(header[0x0019, 0x1029].value) / 1000
    assert np.ptp(times_s) > 4 * float(header.RepetitionTime) / 1000
    assert np.median(np.diff(np.sort(times_s))) == pytest.approx(0.04, abs=CLOCK_TICK_S)
    theirs = np.array(pair.their_sidecar["SliceTiming"])
    np.testing.assert_allclose(np.diff(theirs), pair.their_sidecar["RepetitionTime"] / len(theirs), atol=1e-5)


def stored_as_acquired(pair: Pair) -> None:
    """Without its turning of 3-D acquisitions, dcm2niix stores the series as we do."""
    headers = pair.series()
    assert {header.MRAcquisitionType for header in headers} == {"3D"}
    with tempfile.TemporaryDirectory() as folder:
        assert dcm2niix(pair.folder, Path(folder, "out"), "-x", "i").wait(timeout=300) == 0
        theirs, ours = nib.nifti1.load(Path(folder, "out", pair.theirs.name)), nib.nifti1.load(pair.ours)
        np.testing.assert_allclose(
            ours.affine, theirs.affine, atol=pair.details["volume"]["affine_mm"] + 1e-4
        )
        np.testing.assert_allclose(ours.dataobj, theirs.dataobj, atol=pair.details["volume"]["vox_max"])


def tiles_run_against_the_normal(pair: Pair) -> None:
    """dcm2niix keeps the order of tiles in a mosaic, we the direction of slices; only that axis differs."""
    assert pair.details["volume"]["storage"] == "i,j,-k"
    for header in pair.series():
        orientation = np.array(header.ImageOrientationPatient, float).reshape(2, 3)
        normal = wrapper_from_data(header).slice_normal
        assert np.cross(*orientation) @ normal < -0.99


def volumes_follow_as_the_scanner_counts(pair: Pair) -> None:
    """TriggerTime of a slice grows by our repetition time from volume to volume; all of them took the scan's
    duration (0019,xx5A), but for the pause after the last.
    """
    repetition_s = pair.our_sidecar["RepetitionTime"]
    headers = pair.series()
    triggers: dict[float, list[float]] = defaultdict(list)
    for header in headers:
        triggers[float(header.SliceLocation)].append(float(header.TriggerTime) / 1000)
    for times in triggers.values():
        np.testing.assert_allclose(np.diff(times), repetition_s, atol=0.002)
    pause_s = repetition_s % (float(headers[0].RepetitionTime) / 1000)
    lasts_s = float(headers[0][0x0019, 0x105A].value) / 1e6
    assert abs(len(times) * repetition_s - pause_s - lasts_s) < 0.001
    onsets = [min(times) for _, times in sorted(triggers.items())]
    np.testing.assert_allclose(pair.our_sidecar["SliceTiming"], np.subtract(onsets, min(onsets)), atol=0.002)


def planes_lie_on_our_grid(pair: Pair) -> None:
    """Each plane's own ImagePositionPatient is a voxel of ours; some plane's is none of theirs."""
    ours, theirs = (_off_grid_mm(nib.nifti1.load(path), pair.series()) for path in (pair.ours, pair.theirs))
    assert ours.max() < POSITION_TEXT_MM
    assert theirs.max() > 9 * POSITION_TEXT_MM


def _off_grid_mm(image: Any, headers: list[Dataset]) -> np.ndarray:
    """How far the first voxel of each stored plane is from the nearest voxel of a file."""
    positions = np.array([header.ImagePositionPatient for header in headers], float) * [-1, -1, 1]
    indices = nib.affines.apply_affine(np.linalg.inv(image.affine), positions)
    return np.linalg.norm((indices - indices.round()) @ image.affine[:3, :3].T, axis=1)


def numbered_by_a_nested_element(pair: Pair) -> None:
    """The number in dcm2niix's name is that of an irradiation event inside the dose report of series 401."""
    (dose,) = (header for header in pair.series(401) if header.ImageType[2] == "DOSE_INFO")
    assert dose.SeriesNumber == 401
    assert "300" in [str(event.SeriesNumber) for event in dose.ExposureDoseSequence]


def theirs_repeats_the_weighted_volumes(pair: Pair) -> None:
    """dcm2niix's file of the map is the whole series; its last volume, which alone is the map, is ours."""
    whole, ours = nib.nifti1.load(pair.theirs), nib.nifti1.load(pair.ours)
    weighted = nib.nifti1.load(pair.theirs.with_name(pair.theirs.name.replace("_ADC", "")))
    np.testing.assert_array_equal(whole.dataobj[..., :-1], weighted.dataobj)
    np.testing.assert_allclose(whole.dataobj[..., -1], ours.dataobj, rtol=1e-5)


def slope_from_two_values_of_32_bits(pair: Pair) -> None:
    """The same stored values. Ours: 1/SS. Theirs: the value of 1 less the value of 0, in 32 bits."""
    ours, theirs = (nib.nifti1.load(path).dataobj for path in (pair.ours, pair.theirs))
    rescale_slope, rescale_intercept, scale_slope = map(np.float32, _philips_scales(pair))
    values = (np.float32([0, 1]) * rescale_slope + rescale_intercept) / (rescale_slope * scale_slope)
    assert ours.slope == pytest.approx(1 / scale_slope, rel=1e-7)
    assert theirs.slope == pytest.approx(values[1] - values[0], rel=1e-7)
    assert ours.inter == pytest.approx(theirs.inter, rel=1e-6)
    assert np.array_equal(np.sort(ours.get_unscaled(), axis=None), np.sort(theirs.get_unscaled(), axis=None))


def _philips_scales(pair: Pair) -> tuple[float, float, float]:
    """Rescale slope and intercept, and scale slope (2005,xx0E), of the phase or field map of a series."""
    headers = pair.series()
    if "PerFrameFunctionalGroupsSequence" in headers[0]:
        frame = headers[0].PerFrameFunctionalGroupsSequence[-1]
        scales, private = frame.PixelValueTransformationSequence[0], frame[0x2005, 0x140F][0]
    else:
        scales = private = next(one for one in headers if "PHASE MAP" in one.ImageType)
    return float(scales.RescaleSlope), float(scales.RescaleIntercept), float(private[0x2005, 0x100E].value)


def scaled_a_second_time(pair: Pair) -> None:
    """What they store are the displayed values already; their slope, of the first frame, scales them again.

    Displayed and comparable values are here within 1/1000 of each other: RS * SS is 1 in each frame.
    """
    headers = pair.series()
    scales = np.array([(float(one.RescaleSlope), one[0x2005, 0x100E].value) for one in headers])
    np.testing.assert_allclose(scales.prod(axis=1), 1, rtol=1e-3)
    assert len(np.unique(scales[:, 1])) > 1
    ours, theirs = nib.nifti1.load(pair.ours), nib.nifti1.load(pair.theirs).dataobj
    np.testing.assert_allclose(theirs.get_unscaled(), ours.dataobj, rtol=1e-3)
    assert theirs.slope == pytest.approx(1 / scales[0, 1], rel=1e-6)


EXACT_CLOCK = Explained(
    why="The onset of a slice is its AcquisitionTime (PS3.3 C.7.10.1). Ours are the differences of these to "
    "the microsecond; dcm2niix keeps a time of day in 32 bits and is up to 1/64 s off.",
    shown_by=clock_in_single_precision,
)
NO_ONSET = Explained(
    why="The slices were acquired one after another, each over many repetitions of 6.7 ms: none has a place "
    "within one. The corpus's README says so of this series.",
    shown_by=slices_one_after_another,
)
NO_SCHEDULE = Explained(
    why="MosaicRefAcqTimes of this one volume span 8.8 s where RepetitionTime is 2 s, in steps of 40 ms: no "
    "schedule that repeats. dcm2niix writes the repetition time cut into equal parts, 0.1 s each.",
    shown_by=times_of_no_steady_state,
)
TILE_ORDER = Explained(
    why="The order of slices in a file is free: dcm2niix keeps that of the tiles of a mosaic, so that the "
    "handedness of the axes varies; we have it the same in every file. World positions are the same.",
    shown_by=tiles_run_against_the_normal,
)
AS_ACQUIRED = Explained(
    why="dcm2niix turns 3-D acquisitions to the nearest axes of the patient, unless it is told not to "
    "(-x i); we store all series as they were acquired. World positions are the same.",
    shown_by=stored_as_acquired,
)


def repetitions_hold_two_volumes(pair: Pair) -> None:
    """Begin of each repetition by its own element, against the number of volumes and the shots of each."""
    headers = pair.series()
    begins = sorted({float(header[0x2005, 0x10A0].value) for header in headers})
    volumes = nib.nifti1.load(pair.ours).shape[3]
    assert volumes == 2 * len(begins)
    repetition_s = pair.our_sidecar["RepetitionTime"]
    np.testing.assert_allclose(np.diff(begins), 2 * repetition_s, atol=0.01)
    shots = int(headers[0][0x2005, 0x140F][0].NumberOfKSpaceTrajectories)
    assert abs(shots * float(headers[0].RepetitionTime) / 1000 - repetition_s) < 0.002
    assert abs(pair.their_sidecar["RepetitionTime"] - (begins[-1] - begins[0]) / (volumes - 1)) < 0.01


PASSES = Explained(
    why="GE multiphase acquired each volume in two passes of RepetitionTime (0018,0080) 2 s: ten volumes "
    "took 40 s (0019,xx5A), TriggerTime grows by 4 s from volume to volume and by up to 3.963 s within one. "
    "dcm2niix takes one pass for the volume.",
    shown_by=volumes_follow_as_the_scanner_counts,
)
PAUSE = Explained(
    why="GE multiphase with a pause of 0.35 s after each volume: TriggerTime grows by 1.35 s, and ten "
    "volumes took 13.15 s (0019,xx5A). dcm2niix says so in RepetitionTime, and 1 s in the NIfTI header.",
    shown_by=volumes_follow_as_the_scanner_counts,
)

TILTED = Explained(
    why="A tilted gantry: the step from slice to slice is not along their normal. dcm2niix makes it shorter "
    "by the cosine of the tilt; with ours each plane lies at its ImagePositionPatient (PS3.3 C.7.6.2.1.1).",
    shown_by=planes_lie_on_our_grid,
)
FIRST_GAP = Explained(
    why="Positions are texts of six digits. dcm2niix takes the slice step from the first two, whose error of "
    "0.1 um it multiplies by the number of slices; we take it from the first and the last.",
    shown_by=planes_lie_on_our_grid,
)
NESTED_NUMBER = Explained(
    why="The same picture under another name: its SeriesNumber (0020,0011) is 401; dcm2niix takes one from "
    "inside the Exposure Dose Sequence (0040,030E), of the series that the dose report tells of.",
    shown_by=numbered_by_a_nested_element,
)
MAP_APART = Explained(
    why="The isotropic volume that Philips appends to a diffusion series: we write it alone; dcm2niix writes "
    "it behind a second copy of all weighted volumes, in a file without sidecar.",
    shown_by=theirs_repeats_the_weighted_volumes,
)
SCALE_SLOPE = Explained(
    why="Philips' value is stored / SS + RI / (RS * SS) (Chenevert et al. 2014, doi:10.1593/tlo.13811): the "
    "slope is 1 / SS. dcm2niix takes the difference of the values of 1 and 0, each in 32 bits.",
    shown_by=slope_from_two_values_of_32_bits,
)
SCALED_TWICE = Explained(
    why="Scales differ from frame to frame, so that values are stored as floats, with slope 1. dcm2niix "
    "stores the displayed ones, and beside them the slope of the first frame: its reader scales them twice.",
    shown_by=scaled_a_second_time,
)
LABEL_AND_CONTROL = Explained(
    why="Philips gives label and control of one repetition the same AcquisitionTime; repetitions begin "
    "33.873 s apart (2005,xxA0), and each has two volumes of four shots (0018,9093) of 4.234 s: 16.936 s a "
    "volume. dcm2niix divides the time from the first repetition to the last by one less than the number of "
    "volumes.",
    shown_by=repetitions_hold_two_volumes,
)


EXPLAINED: dict[Difference, Explained] = {
    ("dcm_qa", "22_sag_asc_35sl_20140310133834", "storage"): TILE_ORDER,
    ("dcm_qa", "23_sag_desc_35sl_20140310133834", "storage"): TILE_ORDER,
    ("dcm_qa", "24_sag_int_35sl_20140310133834", "storage"): TILE_ORDER,
    ("asl", "10_pcasl_2d_m0_20181218130847", "slicetiming"): NO_SCHEDULE,
    ("asl", "5_T1_mprage_ns_sag_p2_iso_1.0mm_192_20180628114056", "storage"): AS_ACQUIRED,
    ("ct", "301_STEREOTAXIS_20150206093425", "volume"): TILTED,
    ("ct", "300_CAUDAL_TILT_20150206093425", "missing"): NESTED_NUMBER,
    ("ct", "401-3_Exam_Summary", "extra"): NESTED_NUMBER,
    ("decubitus", "2_t1_fl2d_sag_20220407151157", "slicetiming"): EXACT_CLOCK,
    ("decubitus", "3_t1_fl2d_sag_20220407150138", "slicetiming"): EXACT_CLOCK,
    ("enh", "801_B0_NS_20180526150245_e1", "storage"): AS_ACQUIRED,
    ("enh", "801_B0_NS_20180526150245_e2_fieldmaphz", "volume"): SCALE_SLOPE,
    ("enh", "801_B0_NS_20180526150245_e2_fieldmaphz", "storage"): AS_ACQUIRED,
    ("fmap", "2_gre_field_magph_20210715135916_e1", "slicetiming"): EXACT_CLOCK,
    ("fmap", "2_gre_field_magph_20210715135916_e2", "slicetiming"): EXACT_CLOCK,
    ("fmap", "3_gre_field_magph_20210715135916_e2_ph", "slicetiming"): EXACT_CLOCK,
    ("fmap", "4_gre_field_ph_20210715135916_e2_ph", "slicetiming"): EXACT_CLOCK,
    ("fmap", "5_gre_field_mag_20210715135916_e1", "slicetiming"): EXACT_CLOCK,
    ("fmap", "5_gre_field_mag_20210715135916_e2", "slicetiming"): EXACT_CLOCK,
    ("fmap", "801_B0_NS_20180526150245_e1", "storage"): AS_ACQUIRED,
    ("fmap", "801_B0_NS_20180526150245_e2_fieldmaphz", "volume"): SCALE_SLOPE,
    ("fmap", "801_B0_NS_20180526150245_e2_fieldmaphz", "storage"): AS_ACQUIRED,
    ("frag", "5001_anat-T1w_acq-tfl_20230113193536", "volume"): FIRST_GAP,
    ("frag", "5001_anat-T1w_acq-tfl_20230113193536", "storage"): AS_ACQUIRED,
    ("ge", "3_fMRI_Multiphase_Des_0.35Delay_20201023072022", "tr"): PAUSE,
    ("ge", "5_3D_Ax_T1_MP-RAGE_R22_20200929001457", "storage"): AS_ACQUIRED,
    ("philips", "601_dti_ax_20180517113239_ADC", "volume"): MAP_APART,
    ("philips", "601_dti_ax_20180517113239_ADC", "tr"): MAP_APART,
    ("philips_asl", "301_ASL_MultiPhase_20210804162714", "volume"): SCALED_TWICE,
    ("philips_asl", "402_SOURCE_-_3D_pCASL_6mm_20210804162714", "tr"): LABEL_AND_CONTROL,
    ("sag", "2_fmri_SagAP_20241009133200", "storage"): TILE_ORDER,
    ("sag", "2_gre_field_mapping_PMUlog_20231128152351", "slicetiming"): NO_ONSET,
    ("sag", "4_DWI_SagAPmosaic_20241009133200", "storage"): TILE_ORDER,
    ("stc", "8_diff_mbep2d_1.5mm_AP_MB4_64DIR_B0_20180814103728", "slicetiming"): EXACT_CLOCK,
    ("table", "1301_Dual-echo_iso_20231024142919_e1_ph", "volume"): SCALE_SLOPE,
    ("table", "1301_Dual-echo_iso_20231024142919_e2_ph", "volume"): SCALE_SLOPE,
    ("trt", "10_EPI_mph_acc1_interpPF_20230705080902", "tr"): PASSES,
    ("trt", "10_EPI_mph_acc1_interpPF_20230705080902", "slicetiming"): PASSES,
    ("trt", "12_EPI_mph_acc2_interpPF_20230705080902", "tr"): PASSES,
    ("trt", "12_EPI_mph_acc2_interpPF_20230705080902", "slicetiming"): PASSES,
    ("uih", "12_dti_tra_dir16_PA_rot_SaveBySlc_134431", "slicetiming"): EXACT_CLOCK,
    ("uih", "6_dti_tra_dir16_PA_SaveBySlc_134431", "slicetiming"): EXACT_CLOCK,
    ("uih", "9_dti_tra_dir16_AP_SaveBySlc_134431", "slicetiming"): EXACT_CLOCK,
    ("xa30", "5_anat-T1w_acq-tfl_20220711120427", "storage"): AS_ACQUIRED,
    ("xa30i", "2001_AAHead_Scout_MPR_sag_20230113193536_i2001001", "storage"): AS_ACQUIRED,
    ("xa30i", "5001_anat-T1w_acq-tfl_20230113193536", "volume"): FIRST_GAP,
    ("xa30i", "5001_anat-T1w_acq-tfl_20230113193536", "storage"): AS_ACQUIRED,
}


def day_seconds(date_time: str) -> float:
    """Seconds since midnight of a DICOM date and time."""
    return int(date_time[8:10]) * 3600 + int(date_time[10:12]) * 60 + float(date_time[12:])
