"""Spoilt files among good ones, through index and reconstruct: 20,000 of them where the corpus is.

Whatever is done to a file, the engine may refuse it, list it, or make volumes of it; but it must not break,
hang or take all memory, and a volume that it makes without a word must hold the file's picture where its own
header says, as pydicom reads it.
"""

from __future__ import annotations

import hashlib
import os
import random
import resource
import shutil
import signal
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from multiprocessing import get_context
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest
from mutations import mutated, original
from stored_frames import StoredFrame, stored_frames

from pacs2bids.model import Pacs2BidsError
from pacs2bids.store import index_folder, reconstruct
from synthetic import Series

Corpus = Callable[[str], Path]

CASES = 20_000 if os.environ.get("CI") else 2_000
CHUNK = 50
SECONDS = 20  # of the processor; a case takes some milliseconds
PATIENCE_S = 600  # by the clock, which goes on while the machine does not
SPARE_BYTES = 3 << 30  # of address space, beyond what a worker has when it starts
ROOM_BYTES = 1 << 30  # on disk, for all workers; containers have 64 MB of memory for files
TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


@dataclass(frozen=True, kw_only=True)
class Seed:
    """Some files of a series that make whole volumes, small enough to be converted thousands of times.

    ``places``: how many neighbouring slices, each with up to ``returns`` files; 0: just so many files.
    ``share``: of the cases, in relation to other seeds: slow forms get fewer.
    """

    unit: str
    pattern: str
    places: int = 0
    returns: int = 2
    share: int = 4


SEEDS = {
    "GE": Seed(unit="nih", pattern="20180918GE/mr_0004/*.dcm", places=5),
    "GE diffusion": Seed(unit="ge", pattern="**/*", places=4),
    "Siemens mosaic": Seed(unit="dcm_qa", pattern="Orientation/ax/axasc35/*"),
    "Siemens multiband": Seed(unit="dcm_qa", pattern="Orientation/axmb/**/*.dcm", share=2),
    "Siemens XA enhanced": Seed(unit="xa30", pattern="25_asl_2d_tra/*.dcm", share=1),
    "Siemens XA classic": Seed(unit="xa30i", pattern="7001*/*", places=6),
    "Philips": Seed(unit="philips", pattern="Magdeburg_2014/fmri/*.dcm", places=9, returns=1),
    "Philips enhanced": Seed(unit="enh", pattern="Philips/*", returns=1, share=1),
    "Canon": Seed(unit="toshiba", pattern="Galan/8006_DTI_AX_30d/*", places=4),
    "UIH grid": Seed(unit="uih", pattern="DTI_134434/dti_tra_dir16_AP_SaveBySlc__140028/*", returns=3),
    "CT": Seed(unit="ct", pattern="Philips/S21610/S3010/I*", places=4),
    "compressed": Seed(unit="ts", pattern="*.dcm", returns=9, share=1),
    "fragments": Seed(unit="frag", pattern="5001_anat-T1w_acq-tfl/*", places=5, share=2),
}


def chosen(folder: Path, seed: Seed) -> list[Path]:
    headers = dict(_headers(folder, seed.pattern))
    if not seed.places:
        return list(headers)[: seed.returns]
    normal = np.cross(*np.array(next(iter(headers.values())).ImageOrientationPatient, float).reshape(2, 3))
    at: dict[float, list[Path]] = defaultdict(list)
    for path, header in sorted(headers.items(), key=lambda item: int(item[1].InstanceNumber)):
        at[round(float(np.array(header.ImagePositionPatient, float) @ normal), 2)].append(path)
    middle = (len(at) - seed.places) // 2
    return [path for place in sorted(at)[middle : middle + seed.places] for path in at[place][: seed.returns]]


def _headers(folder: Path, pattern: str) -> Iterator[tuple[Path, pydicom.Dataset]]:
    """Of one series: the first that is found."""
    series = None
    for path in sorted(folder.glob(pattern)):
        if path.is_file() and pydicom.misc.is_dicom(path):
            header = pydicom.dcmread(path, stop_before_pixels=True)
            series = series or header.SeriesInstanceUID
            if header.SeriesInstanceUID == series or pattern == "*.dcm":
                yield path, header


@dataclass(frozen=True)
class Outcome:
    """What became of a folder: digests of volumes with their headers, and what was listed, in words."""

    volumes: tuple[str, ...]
    listed: tuple[str, ...]


def outcome(folder: Path, out: Path) -> Outcome:
    shutil.rmtree(out, ignore_errors=True)
    found = index_folder(folder)
    listed = [f"{one.path}: {one.detail}" for one in found.damaged]
    listed += [f"{path}: is no DICOM" for path in found.others]
    for number, index in enumerate(found.indices):
        manifest = reconstruct(index, folder, out / str(number), jobs=1, gzip="off")
        listed += [f"{one.path}: {one.detail}" for one in index.leftovers]
        listed += [f"{one.stack_id}: {one.error}" for one in manifest.failed]
        listed += [f"{one.stack_id}: {warning}" for one in manifest.volumes for warning in one.warnings]
        stacked = {sop for stack in index.stacks for sop in stack.sop_instance_uids}
        assert len(stacked) + len(index.leftovers) == index.instances
    assert all(line.partition(": ")[2] for line in listed), listed
    assert not any("memory" in line for line in listed), listed
    volumes = sorted(hashlib.sha256(path.read_bytes()).hexdigest() for path in out.rglob("*.nii"))
    return Outcome(tuple(volumes), tuple(listed))


# ------------------------------------------------------------------------------------- one case, many cases


def problem(seed: Path, number: int, place: Path) -> str | None:
    """What is wrong with case ``number`` of a seed; None if nothing. ``place``: a folder for it."""
    dice = random.Random(f"{seed.name} {number}")
    files = sorted(seed.iterdir())
    victim = dice.choice(files)
    content, done = mutated(original(victim), dice)
    folder, out = place / "in", place / "out"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for file in files:
        if file != victim:
            os.link(file, folder / file.name)
    (folder / victim.name).write_bytes(content)
    try:
        with limited():
            wrong = judged(outcome(folder, out), baseline(seed, place), folder / victim.name, out)
    except Pacs2BidsError:
        return None  # a clear error is an answer
    except TimeoutError:
        wrong = f"takes more than {SECONDS} s, or waits for {PATIENCE_S} s"
    except MemoryError:
        wrong = "takes too much memory"
    except Exception as error:  # noqa: BLE001 - that there is none is what is tested
        wrong = f"{type(error).__name__}: {error}"
    return wrong and f"{seed.name}, case {number}, {victim.name}: {done}: {wrong}"


@cache
def baseline(seed: Path, place: Path) -> Outcome:
    return outcome(seed, place / "baseline")


def judged(now: Outcome, before: Outcome, victim: Path, out: Path) -> str | None:
    if now.volumes == before.volumes or set(now.listed) - set(before.listed):
        return None
    try:
        frames = list(stored_frames(victim))
        held = [_is_held(frame, list(out.rglob("*.nii"))) for frame in frames]
    except Exception as error:  # noqa: BLE001 - whatever pydicom cannot make of it
        return f"accepted without a word, but for pydicom it is {type(error).__name__}: {error}"
    if not frames or not all(held):
        return (
            f"accepted without a word, but {held.count(False)} of {len(held)} frames are not where they say"
        )
    return None


def _is_held(frame: StoredFrame, volumes: Sequence[Path]) -> bool:
    stored = frame.stored
    corners = np.indices(stored.shape[:3]).reshape(3, -1)
    places = TO_RAS @ frame.affine_lps @ np.vstack([corners, np.ones(corners.shape[1])])
    values = stored.reshape(corners.shape[1], -1)
    for path in volumes:
        image = nib.nifti1.load(path)
        voxels = (np.linalg.inv(image.affine) @ places)[:3]
        nearest = voxels.round().astype(int)
        inside = (nearest >= 0).all() and (nearest.max(axis=1) < image.shape[:3]).all()
        if not inside or np.abs(voxels - nearest).max() > 0.05:
            continue
        held = np.asarray(image.dataobj)
        if held.dtype.names:
            held = np.stack([held[name] for name in held.dtype.names], axis=-1)[..., np.newaxis, :]
        found = held.reshape(*image.shape[:3], -1)[tuple(nearest)]
        true = values * frame.scale[0] + frame.scale[1]
        scale = max(float(np.abs(true).max()), 1e-30)
        if any(np.abs(found[:, [n]] - true).max() < 1e-5 * scale for n in range(found.shape[1])):
            return True
        if found.shape == true.shape and np.abs(found - true).max() < 1e-5 * scale:
            return True
    return False


@contextmanager
def limited() -> Iterator[None]:
    def late(*_: object) -> None:
        raise TimeoutError

    for number in (signal.SIGPROF, signal.SIGALRM):
        signal.signal(number, late)
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    signal.alarm(PATIENCE_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.alarm(0)


def worker(seed: Path, numbers: Sequence[int], place: Path) -> list[str]:
    """Problems of some cases. Where it is writes down, for the case that a decoder kills the process."""
    mine = place / str(os.getpid())
    mine.mkdir(parents=True, exist_ok=True)
    found = []
    for number in numbers:
        (mine / "case").write_text(f"{seed.name}, case {number}")
        wrong = problem(seed, number, mine)
        if wrong:
            found.append(wrong)
    return found


def bounded() -> None:
    """For a worker's start: no more memory than it has and some to spare."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + SPARE_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def problems(shares: dict[Path, int], cases: int, place: Path) -> list[str]:
    """Problems of so many cases, dealt to folders of seeds by their shares."""
    whole = sum(shares.values())
    chunks = [
        (seed, range(at, at + CHUNK), place)
        for seed, share in shares.items()
        for at in range(0, -(-cases * share // whole), CHUNK)
    ]
    with ProcessPoolExecutor(os.cpu_count(), mp_context=get_context("fork"), initializer=bounded) as pool:
        return [wrong for found in pool.map(worker, *zip(*chunks, strict=True)) for wrong in found]


# ---------------------------------------------------------------------------------------------------- tests


@pytest.fixture
def place() -> Iterator[Path]:
    """In memory, where there is such a place with room: nothing of it is to be kept."""
    memory = Path("/dev/shm")
    has_room = memory.is_dir() and shutil.disk_usage(memory).free > ROOM_BYTES
    with tempfile.TemporaryDirectory(dir=memory if has_room else None) as folder:
        yield Path(folder)


def test_synthetic_files(place: Path) -> None:
    Series(name="run", slices=4, volumes=2).write(place / "seeds/synthetic")
    assert problems({place / "seeds/synthetic": 1}, CASES // 10, place) == []


def test_files_of_scanners(corpus: Corpus, place: Path) -> None:
    shares = {}
    for name, seed in SEEDS.items():
        folder = place / "seeds" / name
        folder.mkdir(parents=True)
        for file in chosen(corpus(seed.unit), seed):
            shutil.copy(file, folder)
        assert outcome(folder, place / "trial").volumes, name
        shares[folder] = seed.share
    assert problems(shares, CASES - CASES // 10, place) == []
