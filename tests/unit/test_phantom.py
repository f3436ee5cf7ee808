"""The generator of the phantom itself: is it what its documentation says?"""

from __future__ import annotations

import hashlib
import itertools
from pathlib import Path

import numpy as np
import pytest
from nibabel.nicom import csareader
from pydicom import dcmread

from pacs2bids.__main__ import main
from pacs2bids.phantom import csa, head, picture
from pacs2bids.phantom.protocol import Form, PhantomSeries, studies

STUDY = studies(subjects=1, sessions=1, small=True)[0]
SPREAD = np.random.default_rng(1).uniform(-110, 110, size=(20_000, 3))


def digests(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("small") / "out"
    assert main(["phantom", str(folder), "--small", "--subjects", "1", "--sessions", "1"]) == 0
    return folder


# ----------------------------------------------------------------------------------------------- the head


@pytest.mark.parametrize("contrast", head.CONTRASTS)
def test_no_value_jumps(contrast: str) -> None:
    """A position off by the rounding of a 32-bit affine stays within rounding of the value."""
    for toward in np.eye(3):
        here = head.intensity(SPREAD, contrast=contrast, head=STUDY.head)
        beside = head.intensity(SPREAD + 1e-5 * toward, contrast=contrast, head=STUDY.head)
        assert np.abs(beside - here).max() < 0.1


def test_the_head_differs_from_its_mirror_image() -> None:
    values = head.intensity(SPREAD, contrast="T1w", head=STUDY.head)
    for axis in range(3):
        mirrored = SPREAD * np.where(np.arange(3) == axis, -1, 1)
        assert np.mean(np.abs(values - head.intensity(mirrored, contrast="T1w", head=STUDY.head)) > 50) > 0.05


def test_the_capsule_is_at_the_right_temple() -> None:
    values = head.intensity(SPREAD, contrast="T1w", head=STUDY.head)
    brightest = SPREAD[values > 1800].mean(axis=0)
    assert brightest[0] < -60  # right
    assert -60 < brightest[1] < -10  # anterior to the ears


def test_fractions_add_up() -> None:
    parts = head.fractions(SPREAD, head=STUDY.head, edge_mm=1.0)
    np.testing.assert_allclose(sum(parts.values()), 1, atol=1e-12)
    assert min(part.min() for part in parts.values()) >= 0


def test_heads_are_distinct_and_last() -> None:
    heads = [study.head for study in studies()]
    assert len(set(heads)) == len(heads)
    assert heads == [study.head for study in studies()]


def test_diffusion_tells_a_gradient_from_its_mirror_images() -> None:
    gradient = np.array([0.5, 0.3, np.sqrt(0.66)])
    mirrored = [gradient * np.where(np.arange(3) == axis, -1, 1) for axis in range(3)]
    here, opposite, *others = head.diffusivities(SPREAD, [gradient, -gradient, *mirrored], head=STUDY.head)
    np.testing.assert_allclose(here, opposite)  # a gradient and its opposite weight alike
    assert min(np.abs(here - other).max() for other in others) > 3e-4


@pytest.mark.parametrize("series", [one for one in STUDY.series if one.stacks], ids=lambda one: one.contrast)
def test_volumes_are_in_range_and_distinct(series: PhantomSeries) -> None:
    stack = series.stacks[0]
    values = list(picture.volumes(SPREAD, series=series, stack=stack, head=STUDY.head))
    assert len(values) == stack.volumes
    assert max(one.max() for one in values) <= picture.MAXIMUM
    weighted = [weight.b_value_s_per_mm2 > 0 for weight in series.diffusion] or [True] * len(values)
    pictures = [np.rint(one).tobytes() for one, differs in zip(values, weighted, strict=True) if differs]
    assert len(set(pictures)) == len(pictures)


# ------------------------------------------------------------------------------------------- the protocol


def test_forms_and_orders_are_covered() -> None:
    all_series = [series for study in studies() for series in study.series]
    assert {series.form for series in all_series} == set(Form)
    dwi = [series for series in all_series if series.diffusion]
    assert {np.sign(series.stacks[0].grid.normal_lps[2]) for series in dwi} == {-1, 1}


def test_series_follow_each_other() -> None:
    acquired = [series for series in STUDY.series if series.contrast not in ("PHASE", "")]
    for before, after in itertools.pairwise(acquired):
        assert before.start_s + before.duration_s <= after.start_s


def test_b_vectors_are_unit_and_distinct() -> None:
    (dwi,) = (series for series in studies()[0].series if series.diffusion)
    vectors = [np.array(weight.b_vector_lps) for weight in dwi.diffusion if weight.b_value_s_per_mm2]
    assert {weight.b_value_s_per_mm2 for weight in dwi.diffusion} == {0, 1000, 2000}
    np.testing.assert_allclose([np.linalg.norm(one) for one in vectors], 1, atol=1e-7)
    angles = [abs(one @ other) for number, one in enumerate(vectors) for other in vectors[:number]]
    assert max(angles) < np.cos(np.radians(15))


@pytest.mark.parametrize(("number", "bands"), [(5, 1), (7, 3), (8, 2)])
def test_slices_of_one_shot_are_as_many_as_bands(number: int, bands: int) -> None:
    (series,) = (one for one in studies()[0].series if one.number == number)
    counts = {series.slice_times_s.count(onset) for onset in series.slice_times_s}
    assert counts == {bands}
    assert max(series.slice_times_s) < series.repetition_time_s


# ----------------------------------------------------------------------------------------------- the files


def test_csa_round_trip() -> None:
    tags = [
        csa.Tag("Onsets", "FD", [0.0, 1072.5], 0),
        csa.Tag("Count", "US", [30]),
        csa.Tag("Nothing", "FD", [], 3),
        csa.Tag("Coil", "LO", ["HEA;HEP"]),
    ]
    read = csareader.read(csa.pack(tags))["tags"]
    assert {name: tag["items"] for name, tag in read.items()} == {
        "Onsets": [0.0, 1072.5],
        "Count": [30],
        "Nothing": [],
        "Coil": ["HEA;HEP"],
    }


def test_private_headers_agree_with_the_protocol(small: Path) -> None:
    (bold,) = (series for series in STUDY.series if series.contrast == "BOLD")
    headers = [dcmread(path, stop_before_pixels=True) for path in small.rglob("*.dcm")]
    mine = [header for header in headers if header.SeriesInstanceUID == bold.uid]
    assert len(mine) == bold.stacks[0].volumes
    for header in mine:
        tags = csareader.get_csa_header(header, "image")["tags"]
        np.testing.assert_allclose(tags["MosaicRefAcqTimes"]["items"], np.array(bold.slice_times_s) * 1000)
        np.testing.assert_allclose(
            tags["SliceNormalVector"]["items"], bold.stacks[0].grid.normal_lps, atol=1e-8
        )
        assert tags["NumberOfImagesInMosaic"]["items"] == [bold.stacks[0].grid.slices]
        assert tags["PhaseEncodingDirectionPositive"]["items"] == [1]
        series_tags = csareader.get_csa_header(header, "series")["tags"]
        assert "lMultiBandFactor\t = \t3" in series_tags["MrPhoenixProtocol"]["items"][0]


def test_instances_are_valid_and_unique(small: Path) -> None:
    headers = [dcmread(path, stop_before_pixels=True) for path in small.rglob("*.dcm")]
    uids = [header.SOPInstanceUID for header in headers]
    assert len(set(uids)) == len(uids)
    assert all(uid.is_valid for uid in uids)
    assert {header.SeriesInstanceUID for header in headers} == {series.uid for series in STUDY.series}
    assert {str(header.PatientName) for header in headers} == {"Phantom^One"}


def test_the_same_bytes_every_time(small: Path, tmp_path: Path) -> None:
    assert main(["phantom", str(tmp_path / "again"), "--small", "--subjects", "1", "--sessions", "1"]) == 0
    assert digests(tmp_path / "again") == digests(small)


def test_result_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    assert main(["phantom", str(out), "--small", "--subjects", "1", "--sessions", "1"]) == 0
    count = len(list(out.rglob("*.dcm")))
    line = capsys.readouterr().out
    assert line.startswith(f"1 study of 1 subject, {len(STUDY.series)} series, {count} instances, ")
    assert line.endswith(f" MB -> {out}\n")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_folder_in_use_is_refused_and_kept(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    arguments = ["phantom", str(tmp_path), "--small", "--subjects", "1", "--sessions", "1"]
    assert main(arguments) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]
    assert main([*arguments, "--force"]) == 0
    assert (tmp_path / "thesis.txt").read_text() == "mine"
    assert len(list(tmp_path.rglob("*.dcm"))) > 0


@pytest.mark.parametrize("count", ["0", "10"])
def test_counts_out_of_range(tmp_path: Path, count: str) -> None:
    assert main(["phantom", str(tmp_path / "out"), "--subjects", count]) == 2
    assert not (tmp_path / "out").exists()
