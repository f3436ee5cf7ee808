"""Names against the BIDS specification: what it shows as right is right, and each kind of mistake is told."""

from __future__ import annotations

import pytest

from pacs2bids.bids import BidsName, vocabulary
from pacs2bids.model import PlanError

# examples of the specification's chapter on magnetic resonance imaging, extensions left away
RIGHT = [
    "sub-01/anat/sub-01_T1w",
    "sub-01/ses-a/anat/sub-01_ses-a_acq-highres_run-1_T2w",
    "sub-01/anat/sub-01_inv-1_part-mag_MP2RAGE",
    "sub-control01/func/sub-control01_task-nback_run-1_bold",
    "sub-01/func/sub-01_task-cuedSGT_run-1_echo-2_bold",
    "sub-01/func/sub-01_task-rest_dir-AP_sbref",
    "sub-01/ses-test/func/sub-01_ses-test_task-rest_part-phase_bold",
    "sub-control01/dwi/sub-control01_acq-multiband_dir-AP_dwi",
    "sub-01/fmap/sub-01_acq-1_run-1_phasediff",
    "sub-01/fmap/sub-01_magnitude1",
    "sub-01/fmap/sub-01_dir-AP_epi",
    "sub-01/perf/sub-01_asl",
]

WRONG = [
    ("sub-01/anat/sub-01_T1", "unknown suffix 'T1' for volumes of anat: did you mean T1w?"),
    ("sub-01/anat/sub-01_t1w", "did you mean T1w?"),
    ("sub-01/anat/sub-01_bold", "the suffix 'bold' belongs into the folder func"),
    ("sub-01/anatomy/sub-01_T1w", "unknown datatype folder 'anatomy': did you mean anat?"),
    ("sub-01/func/sub-01_bold", "needs the entity 'task'"),
    ("sub-01/func/sub-01_task-a_dir-AP_rec-x_bold", "the entity 'rec' must come before 'dir'"),
    ("sub-01/anat/sub-01_run-1_acq-a_T1w", "the entity 'acq' must come before 'run'"),
    ("sub-01/anat/sub-01_acq-a_acq-b_T1w", "the entity 'acq' is there twice"),
    ("sub-01/fmap/sub-01_part-mag_magnitude1", "allows no entity 'part' (allowed: acq, run, chunk)"),
    ("sub-01/anat/sub-01_acquisition-a_T1w", "did you mean 'acq'?"),
    ("sub-01/anat/sub-01_zzz-a_T1w", "unknown entity 'zzz'"),
    ("sub-01/func/sub-01_task-my-rest_bold", "the label 'my-rest' of 'task'"),
    ("sub-01/func/sub-01_task-a_run-one_bold", "the label 'one' of 'run'"),
    ("sub-01/func/sub-01_task-a_part-m_bold", "must be one of mag, phase, real, imag, not 'm'"),
    ("sub-01/func/sub-01_task-_bold", "the entity 'task' has no label"),
    ("sub-01/func/sub-01_task-my_rest_bold", "'rest' is no entity"),
    ("sub-02/anat/sub-01_T1w", "asks for the folder 'sub-01/anat', not 'sub-02/anat'"),
    ("sub-01/anat/sub-01_ses-a_T1w", "asks for the folder 'sub-01/ses-a/anat'"),
    ("sub-01/anat/sub-01_acq-x_ses-a_T1w", "the entity 'ses' must come before 'acq'"),
    ("sub-01/anat/sub-01_T1w.nii.gz", "leave the extension .nii.gz away"),
    ("sub-01/anat/T1w", "must begin with 'sub-<label>'"),
    ("sub-01/anat/sub-01_acq-a", "does not end in a suffix"),
    ("sub-01/func/sub-01_task-rest_events", "unknown suffix 'events'"),
    ("", "does not end in a suffix"),
]


@pytest.mark.parametrize("path", RIGHT)
def test_names_of_the_specification_come_back_as_they_are(path: str) -> None:
    assert BidsName.parse(path).path == path


@pytest.mark.parametrize(("path", "said"), WRONG)
def test_a_wrong_name_says_what_is_wrong(path: str, said: str) -> None:
    with pytest.raises(PlanError) as caught:
        BidsName.parse(path)
    assert said in caught.value.what
    assert caught.value.where == path


def test_all_that_is_wrong_is_said_at_once() -> None:
    with pytest.raises(PlanError) as caught:
        BidsName.parse("sub-01/func/sub-01_run-x_acq-a_bold")
    for said in ("'x' of 'run'", "'acq' must come before 'run'", "needs the entity 'task'"):
        assert said in caught.value.what


def test_an_entity_goes_to_its_place() -> None:
    name = BidsName.parse("sub-01/func/sub-01_task-rest_run-1_bold")
    assert name.with_entity("echo", "2").path.endswith("_task-rest_run-1_echo-2_bold")
    assert name.with_entity("dir", "AP").path.endswith("_task-rest_dir-AP_run-1_bold")
    assert name.with_entity("run", "7").path.endswith("_task-rest_run-7_bold")
    assert name.with_suffix("sbref").path.endswith("_task-rest_run-1_sbref")
    assert name.label("task") == "rest"
    assert name.label("acq") is None


def test_only_volumes_are_known() -> None:
    words = vocabulary()
    assert {"anat", "func", "dwi", "fmap", "perf", "pet"} <= set(words.datatypes)
    assert "meg" not in words.datatypes
    assert "events" not in words.suffixes("func")
    # BIDS 1.10, appendix "Entity table": order of the first entities
    assert list(words.entities)[:4] == ["sub", "tpl", "ses", "cohort"]
