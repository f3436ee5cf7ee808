"""What is converted: real sets of the corpus, and series made from nothing or from one real file."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import pydicom
from pydicom.uid import UID
from tests.benchmarks.synthetic_ge import SESSION, one_series, write_session

MOSAICS = 300
VOLUMES = 300
MOSAIC = "dcm_qa_mosaic/ep2d_Asc_2"
ENHANCED = "dcm_qa_xa30/7_func-bold_task-fa_run-1"


class Unavailable(Exception):  # noqa: N818 - no error: the workload is skipped
    """Why a workload cannot run here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """``corpus``: where its sets are unpacked; None if nowhere. ``data``: for what is made here."""

    corpus: Path | None
    data: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """``folder`` gives the input, makes it if need be, or raises Unavailable."""

    name: str
    what: str
    folder: Callable[[Places], Path]


def real(name: str) -> Callable[[Places], Path]:
    """A folder of the corpus."""

    def folder(places: Places) -> Path:
        if places.corpus is None:
            raise Unavailable("no corpus: give --corpus or PACS2BIDS_TEST_CORPUS")
        if not (places.corpus / name).is_dir():
            raise Unavailable(f"{places.corpus / name} is not unpacked")
        return places.corpus / name

    return folder


def made(name: str, make: Callable[[Places, Path], None]) -> Callable[[Places], Path]:
    """A folder made at the first use. Half-made ones are made anew."""

    def folder(places: Places) -> Path:
        target, unfinished = places.data / name, places.data / f"{name}.part"
        if not target.is_dir():
            shutil.rmtree(unfinished, ignore_errors=True)
            unfinished.mkdir(parents=True)
            make(places, unfinished)
            unfinished.rename(target)
        return target

    return folder


def _session(_places: Places, folder: Path) -> None:
    write_session(folder, SESSION)


def _series(files: int) -> Callable[[Places, Path], None]:
    def make(_places: Places, folder: Path) -> None:
        write_session(folder, one_series(files))

    return make


def _mosaics(places: Places, folder: Path) -> None:
    """A real mosaic over and over, as a long run: numbers, times and UIDs go on."""
    first = min(real(MOSAIC)(places).iterdir())
    data = pydicom.dcmread(first)
    uid = data.SOPInstanceUID
    for volume in range(MOSAICS):
        seconds = 2 * volume
        data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID = UID(f"{uid[:50]}.{volume + 1}")
        data.InstanceNumber = data.AcquisitionNumber = volume + 1
        data.AcquisitionTime = data.ContentTime = f"12{seconds // 60:02d}{seconds % 60:02d}.500000"
        data.save_as(folder / f"{volume + 1:04d}.dcm")


def _enhanced_run(places: Places, folder: Path) -> None:
    """A real enhanced file, one volume, over and over, as a long run: its frames' times go on, too."""
    first = min(real(ENHANCED)(places).iterdir())
    data = pydicom.dcmread(first)
    uid = data.SOPInstanceUID
    frames = [group.FrameContentSequence[0] for group in data.PerFrameFunctionalGroupsSequence]
    began = [(frame, frame.FrameAcquisitionDateTime) for frame in frames]
    for volume in range(VOLUMES):
        data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID = UID(f"{uid[:50]}.{volume + 1}")
        data.InstanceNumber = data.AcquisitionNumber = volume + 1
        data.AcquisitionDateTime = _later(began[0][1], 2 * volume)
        for frame, moment in began:
            frame.FrameAcquisitionDateTime = frame.FrameReferenceDateTime = _later(moment, 2 * volume)
            frame.FrameAcquisitionNumber = volume + 1
        data.save_as(folder / f"{volume + 1:04d}.dcm")


def _later(moment: str, seconds: int) -> str:
    """A DICOM date and time, later."""
    later = datetime.strptime(moment, "%Y%m%d%H%M%S.%f") + timedelta(seconds=seconds)
    return later.strftime("%Y%m%d%H%M%S.%f")


WORKLOADS = (
    Workload(name="session", what="12,000 synthetic GE files, 9 series", folder=made("session", _session)),
    Workload(name="series-1000", what="one synthetic series", folder=made("series-1000", _series(1000))),
    Workload(name="series-4000", what="one synthetic series", folder=made("series-4000", _series(4000))),
    Workload(name="series-16000", what="one synthetic series", folder=made("series-16000", _series(16000))),
    Workload(name="ge", what="many small files", folder=real("dcm_qa_ge")),
    Workload(name="trt", what="many small files", folder=real("dcm_qa_trt")),
    Workload(name="mosaic", what=f"{MOSAICS} Siemens mosaics", folder=made("mosaic", _mosaics)),
    Workload(name="enhanced-siemens", what="enhanced, Siemens XA30", folder=real("dcm_qa_xa30")),
    Workload(name="enhanced-canon", what="enhanced, 1,040 frames", folder=real("dcm_qa_canon_61/enh")),
    Workload(
        name="enhanced-run",
        what=f"{VOLUMES} enhanced volumes, 9,900 frames",
        folder=made("enhanced-run", _enhanced_run),
    ),
    Workload(name="ct", what="CT", folder=real("dcm_qa_ct")),
)
