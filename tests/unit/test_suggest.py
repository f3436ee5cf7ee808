"""What a series most likely is, by its facts, and the file of rules that says so."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from jsonschema import Draft202012Validator

from pacs2bids.__main__ import main
from pacs2bids.dialects.linting import lint
from pacs2bids.dialects.rules import ask
from pacs2bids.dialects.rules.guessing import guess
from pacs2bids.dialects.rules.starter import starter
from pacs2bids.files import write_record
from pacs2bids.model import Identity, SeriesInfo, Stack, StudyIndex
from pacs2bids.plan import plan_session
from pacs2bids.session import series_of
from rules_sessions import series, session, volume

ROOT = Path(__file__).resolve().parents[2]
SCHEMA = ROOT / "workflow/pacs2bids/schemas/rules.schema.json"
One = tuple[SeriesInfo, tuple[Stack, ...]]


def kind(scans: str, dimensions: str = "2D", **more: object) -> dict[str, object]:
    return {"ScanningSequence": scans, "MRAcquisitionType": dimensions, **more}


def made(sidecar: dict[str, object], volumes: int = 1, **facts: object) -> Stack:
    return volume(sidecar=sidecar, shape=(64, 64, 30, volumes), **facts)  # type: ignore[arg-type]


EPI_GE, EPI_SE = kind("EP\\GR"), kind("EP\\SE")
# words of the console say nothing here ("x") unless nothing else could tell
GUESSES: dict[str, tuple[One, str]] = {
    # inversion recovery: times of MPRAGE and FLAIR at 3 T
    "mprage": (
        series(1, "x", made(kind("GR\\IR", "3D"), inversion_time_s=0.9, echo_time_s=0.003)),
        "anat/T1w",
    ),
    "flair": (series(1, "x", made(kind("SE\\IR"), inversion_time_s=2.5, echo_time_s=0.09)), "anat/FLAIR"),
    "mp2rage": (
        series(1, "x", made(kind("GR\\IR", "3D")), series_description="x_INV2"),
        "anat/inv-2_MP2RAGE",
    ),
    "uniform": (
        series(
            1,
            "x",
            made(kind("GR\\IR", "3D"), image_type=("DERIVED", "PRIMARY", "M", "UNI"), is_derived=True),
        ),
        "anat/UNIT1",
    ),
    "t2": (series(1, "x", made(kind("SE"), echo_time_s=0.1, repetition_time_s=5)), "anat/T2w"),
    "t1 spin echo": (series(1, "x", made(kind("SE"), echo_time_s=0.01, repetition_time_s=0.5)), "anat/T1w"),
    "pd": (series(1, "x", made(kind("SE"), echo_time_s=0.02, repetition_time_s=3)), "?anat/PDw"),
    "mese": (
        series(1, "x", *(made(kind("SE"), echo_time_s=n / 100, repetition_time_s=3) for n in (1, 2, 3))),
        "anat/MESE",
    ),
    "megre": (
        series(1, "x", *(made(kind("GR", "3D"), echo_time_s=n / 100) for n in (1, 2, 3))),
        "anat/MEGRE",
    ),
    "t2 star": (series(1, "x", made(kind("GR", "3D"), echo_time_s=0.02)), "anat/T2starw"),
    "susceptibility": (
        series(
            1, "x", made(kind("GR", "3D"), echo_time_s=0.02, image_type=("ORIGINAL", "PRIMARY", "M", "SWI"))
        ),
        "?anat/T2starw",
    ),
    "its projection": (
        series(1, "x", made(kind("GR", "3D"), image_type=("ORIGINAL", "PRIMARY", "MNIP"))),
        "-reformatted by the scanner",
    ),
    "turbo field echo": (
        series(
            1,
            "sT1W_3D_TFE",
            volume(sidecar=kind("GR", "3D"), shape=(256, 256, 170, 1), echo_time_s=0.003, flip_angle_deg=8),  # type: ignore[arg-type]
        ),
        "anat/T1w",
    ),
    "the same by another name": (
        series(1, "x", made(kind("GR", "3D"), echo_time_s=0.003, flip_angle_deg=8)),
        "?anat/T1w",
    ),
    "t1 in slices": (
        series(1, "x", made(kind("GR"), echo_time_s=0.003, flip_angle_deg=70)),
        "anat/T1w",
    ),
    "two spin echoes": (
        series(1, "x", *(made(kind("SE"), echo_time_s=t, repetition_time_s=3) for t in (0.012, 0.1))),
        "?anat/MESE",
    ),
    "angio": (series(1, "tof_3d", made(kind("GR", "3D"), echo_time_s=0.0035)), "anat/angio"),
    # echo planar
    "bold": (series(1, "x", made(EPI_GE, 200, echo_time_s=0.03)), "func/task-x_bold"),
    "rest": (series(1, "ep2d_bold_rest", made(EPI_GE, 200)), "func/task-rest_bold"),
    "task": (series(1, "fmri_task-nback_run-1", made(EPI_GE, 200)), "func/task-nback_bold"),
    "siemens": (
        series(1, "x", made(kind("EP"), 200, echo_time_s=0.03), sequence_name="*epfid2d1_64"),
        "func/task-x_bold",
    ),
    "philips": (series(1, "x", made(kind("GR", EchoTrainLength=43), 200)), "func/task-x_bold"),
    "cancelled": (series(1, "x", made(EPI_GE, 3)), "?func/task-x_bold"),
    "reference": (
        series(1, "rest", made(EPI_GE), series_description="rest_SBRef"),
        "func/task-rest_sbref",
    ),
    "reference of diffusion": (
        series(1, "dwi", made(EPI_SE), series_description="dwi_SBRef"),
        "dwi/sbref",
    ),
    "topup": (
        series(1, "x", made(EPI_SE, 3, phase_encoding_direction="j")),
        "fmap/dir-{phase_encoding}_epi",
    ),
    "no polarity": (series(1, "x", made(EPI_SE, 3)), "?fmap/dir-AP_epi"),
    # field maps
    "two echoes": (
        series(
            1,
            "x",
            made(kind("GR"), echo_time_s=0.005),
            made(kind("GR"), echo_time_s=0.0075),
            sequence_name="*fm2d2r",
        ),
        "fmap/magnitude",
    ),
    "their difference": (
        series(1, "x", made(kind("GR"), component="phase", echo_time_s=0.0075), sequence_name="*fm2d2r"),
        "fmap/phasediff",
    ),
    "in Hz": (series(1, "x", made(kind("RM")), made(kind("RM"), content="fieldmap")), "fmap/fieldmap"),
    # diffusion and perfusion
    "diffusion": (series(1, "x", made(EPI_SE, 60, is_diffusion=True)), "dwi/dwi"),
    "diffusion by its name": (
        series(1, "dwi-dwi_acq-b1", made(EPI_SE, 60, is_diffusion=True, phase_encoding_direction="j")),
        "dwi/dir-{phase_encoding}_acq-b1_dwi",
    ),
    "diffusion that says where to": (
        series(1, "dwi-dwi_dir-PA", made(EPI_SE, 60, is_diffusion=True, phase_encoding_direction="j")),
        "dwi/dir-PA_dwi",
    ),
    "labelling": (series(1, "x", made(kind("GR", ArterialSpinLabelingType="PCASL"), 40)), "perf/asl"),
    "calibration": (series(1, "x", made(kind("GR", ArterialSpinLabelingType="PCASL"))), "perf/m0scan"),
    "by name only": (series(1, "pCASL", made(kind("GR"), 40)), "?perf/asl"),
    # names that are made of BIDS' words
    "named": (series(1, "anat-T1w_acq-tfl_run-2", volume()), "anat/acq-tfl_T1w"),
    "marked by the scanner": (
        series(1, "func_task-rest_bold", made(EPI_GE), series_description="func_task-rest_bold_SBRef"),
        "func/task-rest_sbref",
    ),
    "named against its facts": (
        series(1, "anat_inplaneT2", made(kind("SE"), echo_time_s=0.1, repetition_time_s=5)),
        "anat/inplaneT2",
    ),
    "a map by its name": (series(1, "anat_T1map", made(kind("GR"), is_derived=True)), "anat/T1map"),
    "a task that is not told": (series(1, "func_faces_bold", made(EPI_GE, 3)), "func/task-faces_bold"),
    "one volume": (series(1, "func_bold", made(EPI_GE)), "?func/task-unknown_bold"),
    "not BIDS": (series(1, "func_foo_task-x y", made(EPI_GE, 30)), "func/task-x_bold"),
    "a localizer, whatever its name": (series(1, "anat_T1w", volume(is_localizer=True)), "-localizer"),
    # what is left out
    "localizer": (series(1, "x", made(kind("GR"), is_localizer=True)), "-localizer"),
    "map": (
        series(1, "x", made(EPI_SE, is_diffusion_map=True)),
        "-computed by the scanner from diffusion images",
    ),
    "derived": (series(1, "x", made(kind("GR"), is_derived=True)), "-computed by the scanner"),
    "capture": (series(1, "x", volume(placed=False)), "-a capture without a place in the patient"),
    "ct": (series(1, "x", modality="CT"), "-CT is not part of this dataset"),
    "nothing known": (series(1, "x", volume()), "?anat/T1w"),
}


@pytest.mark.parametrize("name", GUESSES)
def test_guess(name: str) -> None:
    one, wanted = GUESSES[name]
    (whole,) = series_of(session(one))
    found = guess(whole, one[0].protocol_name)
    words = [f"{key}-{label}" for key, label in found.entities.items()]
    told = f"{found.datatype}/{'_'.join([*words, found.suffix])}"
    assert (f"-{found.skip}" if found.skip else ("" if found.is_sure else "?") + told) == wanted
    assert found.why


def names(path: Path, index: StudyIndex) -> dict[str, str]:
    answers = ask(path, [index], subject="01", session="")
    plan = plan_session(subject="01", session="", indexes=[index], answers=answers)
    return {row.stack_id: row.bids_name.rpartition("/sub-01_")[2] or row.reason for row in plan.rows}


def written(folder: Path, index: StudyIndex) -> Path:
    """The suggested file; it must please ``lint`` and the schema."""
    path = folder / "suggested.yaml"
    path.write_text(starter([index], schema=SCHEMA))
    assert lint(path) == []
    assert Draft202012Validator(json.loads(SCHEMA.read_text())).is_valid(yaml.safe_load(path.read_text()))
    return path


def test_series_are_told_apart_by_as_few_facts_as_that_takes(tmp_path: Path) -> None:
    epi = made(EPI_GE, 200, echo_time_s=0.03)
    index = session(
        series(1, "scout", made(kind("GR"), is_localizer=True)),
        series(2, "rest*", made(EPI_GE), series_description="rest_SBRef"),
        series(3, "rest*", epi),
        series(4, "007", made(kind("SE"), echo_time_s=0.1, repetition_time_s=5)),
        series(5, "other", made(kind("SE"), echo_time_s=0.1, repetition_time_s=6)),
        series(6, "rest*", epi),
        series(7, "true", made(EPI_GE, 3)),
    )
    path = written(tmp_path, index)
    rules = yaml.safe_load(path.read_text())["rules"]
    assert [rule["match"] for rule in rules] == [
        {"is_localizer": True},
        {"protocol_name": {"is": "rest*"}, "series_description": "rest_SBRef"},
        {"protocol_name": {"is": "rest*"}, "series_description": {"is": "rest*"}},
        {"protocol_name": "007"},
        {"protocol_name": "other"},
        "anything",
    ]
    assert '  # - name: bold true\n  #   match: {protocol_name: "true"}\n' in path.read_text()
    assert names(path, index) == {
        "001-1": "localizer",
        "002-1": "task-rest_run-1_sbref",
        "003-1": "task-rest_run-1_bold",
        "004-1": "acq-007_T2w",
        "005-1": "acq-other_T2w",
        "006-1": "task-rest_run-2_bold",
        "007-1": "no rule is meant for it",
    }


def test_where_all_have_one_protocol_the_description_tells(tmp_path: Path) -> None:
    index = session(
        series(1, "Brain", made(EPI_GE, 200), series_description="faces"),
        series(2, "Brain", made(EPI_GE, 200), series_description="places"),
    )
    assert names(written(tmp_path, index), index) == {"001-1": "task-faces_bold", "002-1": "task-places_bold"}


def test_a_rule_that_would_fail_here_is_left_to_a_person(tmp_path: Path) -> None:
    """Two volumes of one series that no word of BIDS tells apart."""
    index = session(series(1, "x", made(EPI_SE, 30, is_diffusion=True), made(EPI_SE, 30, is_diffusion=True)))
    path = written(tmp_path, index)
    assert set(names(path, index).values()) == {"no rule is meant for it"}
    assert "(not as it stands: series 001 (x)" in path.read_text()


@pytest.mark.parametrize("is_turned", [False, True])
def test_phase_and_magnitude_of_one_field_map_have_one_name(tmp_path: Path, is_turned: bool) -> None:
    """Beside another field map, so that names must be told apart (corpus fmap, Siemens)."""
    both = [made(kind("GR"), echo_time_s=time) for time in (0.00519, 0.00765)]
    phase = made(kind("GR"), component="phase", echo_time_s=0.00765)
    names_of_last = ("gre_field_ph", "gre_field_mag")
    last = [(names_of_last[0], [phase]), (names_of_last[1], both)]
    said = [("gre_field_magph", both), ("gre_field_magph", [phase]), *(last[::-1] if is_turned else last)]
    index = session(
        *(series(n, name, *stacks, sequence_name="*fm2d2r") for n, (name, stacks) in enumerate(said, start=2))
    )
    found = names(written(tmp_path, index), index)
    assert sorted(found.values()) == [
        f"acq-{acq}_{suffix}"
        for acq in ("grefield", "grefieldmagph")
        for suffix in ("magnitude1", "magnitude2", "phasediff")
    ]
    assert {found["002-1"], found["003-1"]} == {
        "acq-grefieldmagph_magnitude1",
        "acq-grefieldmagph_phasediff",
    }


def test_studies_of_several_patients_are_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    for number, patients in enumerate((("A", "A"), ("A", "B"))):
        studies = []
        for n, patient in enumerate(patients):
            studies.append(tmp_path / f"{number}-{n}")
            index = session(series(n + 1, "x", made(EPI_GE, 200), patient_id=patient))
            write_record(studies[-1] / "index.json", index)
        assert main(["suggest", *map(str, studies)]) == 0
        told = capsys.readouterr()
        assert "out of 2 studies: 2 series" in told.out
        assert ("these studies are of 2 patients" in told.err + caplog.text) == (len(set(patients)) > 1)


def test_one_rule_is_no_rules(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_record(tmp_path / "index.json", session())
    assert main(["suggest", str(tmp_path), "--out", str(tmp_path / "mine.yaml")]) == 0
    assert ": 1 rule to start from" in capsys.readouterr().out


def test_odd_names_do_no_harm(tmp_path: Path) -> None:
    odd = [
        'a: "b" # c',
        "new\nline",
        "{x}",
        "&a",
        "- x",
        "ü 中",
        "null",
        "",
        "12",
        "1e5",
        "'",
        "\\d",
        "é\u200b",
    ]
    epi = made(EPI_GE, 200, echo_time_s=0.03)
    index = session(*(series(number, name, epi) for number, name in enumerate(odd, start=1)))
    told = names(written(tmp_path, index), index)
    assert len(told) == len(odd)
    assert all(name.endswith("_bold") for name in told.values())


def test_nothing_to_suggest(tmp_path: Path) -> None:
    assert names(written(tmp_path, session()), session()) == {}


def test_what_identifies_the_patient_is_in_no_rule(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """Neither in comments, conditions nor labels; the rules take the series with the name all the same."""
    epi = made(EPI_GE, 200, echo_time_s=0.03, image_type=("ORIGINAL", "M", "Wobblethorpe"))
    index = session(
        series(5, "EPI Wobblethorpe RL", epi),
        series(6, "EPI faces RL", epi),
        series(7, "Wobblethorpe", epi),
        series(8, "Épi Wobblethorpe", epi, series_description="task-Wobblethorpe_bold"),
        series(9, "x", made(EPI_GE, 200), series_description="ep2d_Wobblethorpe*"),
    )
    study = tmp_path / "study"
    write_record(study / "index.json", index)
    known = {"PatientName": ("Wobblethorpe^Phantom",)}
    write_record(study / "identity.json", Identity(study_instance_uid="1.2", values=known))
    assert main(["suggest", str(study), "--out", str(tmp_path / "mine.yaml")]) == 0
    told = capsys.readouterr()
    assert "of series 005, 007, 008, 009 hold what identifies the patient" in told.err + caplog.text
    text = (tmp_path / "mine.yaml").read_text()
    assert "wobble" not in (text + told.out + told.err).lower()
    assert "# series 005: EPI *** RL\n" in text
    first = yaml.safe_load(text)["rules"][0]
    # the glob takes series 006, too
    assert first["match"] == {"series_description": "EPI * RL", "series_number": [5]}
    assert first["entities"] == {"task": "RL"}
    assert lint(tmp_path / "mine.yaml") == []
    assert names(tmp_path / "mine.yaml", index)["005-1"].endswith("_bold")


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    index = session(series(1, "T1w", made(kind("GR\\IR", "3D"), inversion_time_s=0.9, echo_time_s=0.003)))
    write_record(tmp_path / "study" / "index.json", index)
    study, out = str(tmp_path / "study"), tmp_path / "mine.yaml"
    assert main(["suggest", study]) == 0
    assert "suffix: T1w" in capsys.readouterr().out
    assert main(["suggest", study, "--out", str(out)]) == 0
    assert capsys.readouterr().out == f"{out}: 2 rules to start from, 0 more that wait for you\n"
    assert main(["lint", str(out)]) == 0
    assert main(["suggest", study, "--out", str(out)]) == 2
    assert "is there already" in capsys.readouterr().err
    assert main(["suggest", study, "--out", str(tmp_path / "mine.py")]) == 2
    assert main(["suggest", str(tmp_path)]) == 2
    told = capsys.readouterr().err
    assert f"{tmp_path}: is no study of a workdir that was indexed. Name work/studies/<UID>" in told
