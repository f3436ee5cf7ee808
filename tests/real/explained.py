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
from nibabel.nicom.dicomwrappers import wrapper_from_data
from pydicom.dataset import Dataset
from reference import dcm2niix
from stored_frames import dicom_headers

CLOCK_TICK_S = 0.0025
ROUNDING_S = 1e-6  # sidecars have six decimals

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


def within_a_tick(pair: Pair) -> None:
    """Both clocks of series 10 or 7 tick every 2.5 ms; ours and theirs are within a tick of their mean.

    The mean over all volumes, whose starts fall differently between ticks, is finer than the clock. Maps
    computed from series 10 repeat the times of its first volume.
    """
    number = 7 if pair.their_sidecar["SeriesNumber"] == 7 else 10
    times = np.array(
        [[slice_times(header, pair.ours, clock) for header in pair.series(number)] for clock in CLOCKS]
    )
    ticks = times / CLOCK_TICK_S
    np.testing.assert_allclose(ticks, ticks.round(), atol=1e-3)
    relative = times - times.min(axis=2, keepdims=True)  # clock, volume, slice
    finer = relative.mean(axis=(0, 1))
    for sidecar, clock in ((pair.our_sidecar, relative[0]), (pair.their_sidecar, relative[1])):
        told = np.array(sidecar["SliceTiming"])
        assert np.abs(clock - told).max(axis=1).min() < ROUNDING_S, "not those of any volume by this clock"
        np.testing.assert_allclose(told, finer, atol=CLOCK_TICK_S)


def lines_of_a_slice_spread_over_the_scan(pair: Pair) -> None:
    """Each slice takes many times the repetition time, so that it has no one onset within it."""
    assert "SliceTiming" not in pair.our_sidecar
    for header in pair.series(pair.their_sidecar["SeriesNumber"]):
        assert header.EchoPlanarPulseSequence == "NO"
        for frame in header.PerFrameFunctionalGroupsSequence:
            lasts_s = frame.FrameContentSequence[0].FrameAcquisitionDuration / 1000
            assert lasts_s > 50 * pair.their_sidecar["RepetitionTime"]
            assert lasts_s > 50 * max(pair.their_sidecar["SliceTiming"])


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


ONE_TICK = Explained(
    why="The scanner tells the onset twice: FrameAcquisitionDateTime (PS3.3 C.7.6.16.2.2), which we take, "
    "and the private TimeAfterStart (0021,xx04), which dcm2niix takes. Both are cut to a clock tick of "
    "2.5 ms, from different origins; neither is closer to the mean of all volumes throughout. We keep to "
    "the standard's: the other is wrong in volume 1 of multiband series of XA30 classic (dcm2niix issue "
    "875).",
    shown_by=within_a_tick,
)
NO_ONSET = Explained(
    why="A gradient echo of 2-D slices, one line an excitation: each slice is acquired throughout the 76 s "
    "of the scan, and SliceTiming (BIDS: when each slice was acquired within each volume) has no meaning. "
    "What dcm2niix writes is the order of slices within one repetition.",
    shown_by=lines_of_a_slice_spread_over_the_scan,
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

OPEN = Explained(why="open", shown_by=lambda _: None)

EXPLAINED: dict[Difference, Explained] = {
    ("dcm_qa", "22_sag_asc_35sl_20140310133834", "storage"): TILE_ORDER,
    ("dcm_qa", "23_sag_desc_35sl_20140310133834", "storage"): TILE_ORDER,
    ("dcm_qa", "24_sag_int_35sl_20140310133834", "storage"): TILE_ORDER,
    ("asl", "10_pcasl_2d_m0_20181218130847", "slicetiming"): OPEN,
    ("asl", "11_pasl_3d_20181218130847", "tr"): OPEN,
    ("asl", "13_pasl_3d_m0_20181218130847", "tr"): OPEN,
    ("asl", "5_T1_mprage_ns_sag_p2_iso_1.0mm_192_20180628114056", "storage"): AS_ACQUIRED,
    ("ct", "301_STEREOTAXIS_20150206093425", "volume"): OPEN,
    ("ct", "300_CAUDAL_TILT_20150206093425", "missing"): OPEN,
    ("ct", "401_Exam_Summary_20150206093425", "missing"): OPEN,
    ("ct", "401_Exam_Summary_20150206093425b", "missing"): OPEN,
    ("decubitus", "2_t1_fl2d_sag_20220407151157", "slicetiming"): OPEN,
    ("decubitus", "3_t1_fl2d_sag_20220407150138", "slicetiming"): OPEN,
    ("enh", "801_B0_NS_20180526150245_e1", "storage"): AS_ACQUIRED,
    ("enh", "801_B0_NS_20180526150245_e2_fieldmaphz", "volume"): OPEN,
    ("enh", "801_B0_NS_20180526150245_e2_fieldmaphz", "storage"): AS_ACQUIRED,
    ("fmap", "2_gre_field_magph_20210715135916_e1", "slicetiming"): OPEN,
    ("fmap", "2_gre_field_magph_20210715135916_e2", "slicetiming"): OPEN,
    ("fmap", "3_gre_field_magph_20210715135916_e2_ph", "slicetiming"): OPEN,
    ("fmap", "4_gre_field_ph_20210715135916_e2_ph", "slicetiming"): OPEN,
    ("fmap", "5_gre_field_mag_20210715135916_e1", "slicetiming"): OPEN,
    ("fmap", "5_gre_field_mag_20210715135916_e2", "slicetiming"): OPEN,
    ("fmap", "801_B0_NS_20180526150245_e1", "storage"): AS_ACQUIRED,
    ("fmap", "801_B0_NS_20180526150245_e2_fieldmaphz", "volume"): OPEN,
    ("fmap", "801_B0_NS_20180526150245_e2_fieldmaphz", "storage"): AS_ACQUIRED,
    ("frag", "5001_anat-T1w_acq-tfl_20230113193536", "volume"): OPEN,
    ("frag", "5001_anat-T1w_acq-tfl_20230113193536", "storage"): AS_ACQUIRED,
    ("ge", "3_fMRI_Multiphase_Des_0.35Delay_20201023072022", "tr"): PAUSE,
    ("ge", "5_3D_Ax_T1_MP-RAGE_R22_20200929001457", "storage"): AS_ACQUIRED,
    ("philips", "601_dti_ax_20180517113239_ADC", "volume"): OPEN,
    ("philips", "601_dti_ax_20180517113239_ADC", "tr"): OPEN,
    ("philips_asl", "301_ASL_MultiPhase_20210804162714", "volume"): OPEN,
    ("philips_asl", "402_SOURCE_-_3D_pCASL_6mm_20210804162714", "tr"): OPEN,
    ("sag", "2_fmri_SagAP_20241009133200", "storage"): TILE_ORDER,
    ("sag", "2_gre_field_mapping_PMUlog_20231128152351", "slicetiming"): OPEN,
    ("sag", "4_DWI_SagAPmosaic_20241009133200", "storage"): TILE_ORDER,
    ("sag", "5001_Product_EPI_Sag_Ascending_20241015075315", "volume"): OPEN,
    ("sag", "5001_Product_EPI_Sag_Ascending_20241015075315", "tr"): OPEN,
    ("sag", "5001_Product_EPI_Sag_Ascending_20241015075315", "slicetiming"): OPEN,
    ("sag", "5002-1_Product_EPI_Sag_Ascending", "extra"): OPEN,
    ("sag", "5003-1_Product_EPI_Sag_Ascending", "extra"): OPEN,
    ("sag", "5004-1_Product_EPI_Sag_Ascending", "extra"): OPEN,
    ("sag", "5005-1_Product_EPI_Sag_Ascending", "extra"): OPEN,
    ("stc", "2_epiRT_ascending_20181002171615", "pe"): OPEN,
    ("stc", "8_diff_mbep2d_1.5mm_AP_MB4_64DIR_B0_20180814103728", "slicetiming"): OPEN,
    ("table", "1301_Dual-echo_iso_20231024142919_e1_ph", "volume"): OPEN,
    ("table", "1301_Dual-echo_iso_20231024142919_e2_ph", "volume"): OPEN,
    ("trt", "10_EPI_mph_acc1_interpPF_20230705080902", "tr"): PASSES,
    ("trt", "10_EPI_mph_acc1_interpPF_20230705080902", "slicetiming"): PASSES,
    ("trt", "12_EPI_mph_acc2_interpPF_20230705080902", "tr"): PASSES,
    ("trt", "12_EPI_mph_acc2_interpPF_20230705080902", "slicetiming"): PASSES,
    ("uih", "12_dti_tra_dir16_PA_rot_SaveBySlc_134431", "slicetiming"): OPEN,
    ("uih", "6_dti_tra_dir16_PA_SaveBySlc_134431", "slicetiming"): OPEN,
    ("uih", "9_dti_tra_dir16_AP_SaveBySlc_134431", "slicetiming"): OPEN,
    ("xa30", "5_anat-T1w_acq-tfl_20220711120427", "storage"): AS_ACQUIRED,
    ("xa30i", "2001_AAHead_Scout_MPR_sag_20230113193536_i2001001", "storage"): AS_ACQUIRED,
    ("xa30i", "5001_anat-T1w_acq-tfl_20230113193536", "volume"): OPEN,
    ("xa30i", "5001_anat-T1w_acq-tfl_20230113193536", "storage"): AS_ACQUIRED,
    ("xa30i", "7001_func-bold_task-fa_run-1_20230113193536", "volume"): OPEN,
    ("xa30i", "7001_func-bold_task-fa_run-1_20230113193536", "tr"): OPEN,
    ("xa30i", "15001_DWI_dir80_AP_ColFA_20230113193536", "missing"): OPEN,
    ("xa30i", "20001_relCBF_20230113193536_e1", "missing"): OPEN,
    ("xa30i", "7002-1_func-bold_task-fa_run-1", "extra"): OPEN,
    ("xa30i", "7003-1_func-bold_task-fa_run-1", "extra"): OPEN,
    ("xa30i", "7004-1_func-bold_task-fa_run-1", "extra"): OPEN,
    ("xa30i", "7005-1_func-bold_task-fa_run-1", "extra"): OPEN,
    ("xa30i", "7006-1_func-bold_task-fa_run-1", "extra"): OPEN,
    ("xa30i", "7007-1_func-bold_task-fa_run-1", "extra"): OPEN,
    ("xa30i", "7008-1_func-bold_task-fa_run-1", "extra"): OPEN,
    ("xa30i", "7009-1_func-bold_task-fa_run-1", "extra"): OPEN,
    ("xa30i", "7010-1_func-bold_task-fa_run-1", "extra"): OPEN,
    ("xa30i", "7011-1_func-bold_task-fa_run-1", "extra"): OPEN,
    ("xa30i", "7012-1_func-bold_task-fa_run-1", "extra"): OPEN,
    ("xa30i", "7013-1_func-bold_task-fa_run-1", "extra"): OPEN,
    ("xa30i", "7014-1_func-bold_task-fa_run-1", "extra"): OPEN,
    ("xa30i", "7015-1_func-bold_task-fa_run-1", "extra"): OPEN,
    ("xa30i", "7016-1_func-bold_task-fa_run-1", "extra"): OPEN,
    ("xa30i", "7017-1_func-bold_task-fa_run-1", "extra"): OPEN,
    ("xa30i", "7018-1_func-bold_task-fa_run-1", "extra"): OPEN,
    ("xa30i", "7019-1_func-bold_task-fa_run-1", "extra"): OPEN,
    ("xa30i", "7020-1_func-bold_task-fa_run-1", "extra"): OPEN,
}

# FrameAcquisitionDateTime (s of the day), TimeAfterStart (s)
CLOCKS: tuple[Callable[[Dataset], float], ...] = (
    lambda frame: day_seconds(frame.FrameContentSequence[0].FrameAcquisitionDateTime),
    lambda frame: float(frame[0x0021, 0x11FE][0][0x0021, 0x1104].value),
)


def day_seconds(date_time: str) -> float:
    """Seconds since midnight of a DICOM date and time."""
    return int(date_time[8:10]) * 3600 + int(date_time[10:12]) * 60 + float(date_time[12:])


def slice_times(header: Dataset, ours: Path, clock: Callable[[Dataset], float]) -> list[float]:
    """Onsets by one clock, in the order of slices of our file."""
    along = nib.nifti1.load(ours).affine[:3, 2] * [-1, -1, 1]
    frames = sorted(
        header.PerFrameFunctionalGroupsSequence,
        key=lambda frame: np.array(frame.PlanePositionSequence[0].ImagePositionPatient, float) @ along,
    )
    return [clock(frame) for frame in frames]
