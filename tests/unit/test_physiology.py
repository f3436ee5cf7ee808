"""Logs of physiology: decoded, written as BIDS wants, paired with their runs, placed beside them."""

from __future__ import annotations

import contextlib
import gzip
import json
from pathlib import Path

import pytest
from msgspec.structs import replace

from pacs2bids.metadata.physiology import fates_of
from pacs2bids.model import HeaderError, Physiology, StudyIndex
from pacs2bids.physiology import tables_of
from pacs2bids.store import index_study, write_physiology
from pacs2bids.vendors import _protocol
from pacs2bids.vendors.physiolog import PhysioLog, read_log
from physiologs import (
    FIRST,
    MEASUREMENT,
    REPETITION,
    instance,
    payload,
    sensor,
    stored,
    two_sensors,
    volumes,
)
from planning import answer, index, planned, series, stack
from synthetic import save, uid

OTHER = "00000000-0000-4000-8000-000000000001"


def decoded(texts: dict[str, str]) -> PhysioLog:
    return read_log(*payload(texts))


def error_of(content: bytes, rows: int) -> str:
    with pytest.raises(HeaderError) as caught:
        read_log(content, rows)
    return caught.value.what


# --------------------------------------------------------------------------------------------- decoding


def test_what_was_logged_comes_back() -> None:
    log = decoded(two_sensors(3))
    assert (log.measurement, log.lost) == (MEASUREMENT, ())
    assert log.volumes_tics == (FIRST, FIRST + REPETITION, FIRST + 2 * REPETITION)
    pulse, belt = log.recordings
    assert (pulse.kind, pulse.start_tics, pulse.step_tics) == ("PULS", FIRST - 400, 2)
    assert pulse.channels == {"PULS": tuple(1000 + tics % 97 for tics in range(FIRST - 400, FIRST + 2400, 2))}
    assert (belt.kind, belt.step_tics, belt.samples) == ("RESP", 8, 2800 // 8)


def test_gaps_marks_and_unsteady_times() -> None:
    samples = [
        (FIRST, "PULS", 1),
        (FIRST + 3, "PULS", 2),  # a tic late
        (FIRST + 4, "PULS", 3),
        (FIRST + 4, "PULS", 2048, "PULS_TRIGGER"),  # beside the sample, with a value of its own
        (FIRST + 1, "PULS", 2048, "PULS_TRIGGER"),  # between samples
        (FIRST + 8, "PULS", 5, "PULS_TRIGGER"),  # a sample that is marked
        (FIRST + 10, "PULS", 6),
    ]
    (pulse,) = decoded({"Info": volumes(2), "PULS": sensor("PULS", 2, samples)}).recordings
    assert pulse.channels["PULS"] == (1, 2, 3, None, 5, 6)


def test_channels_without_a_signal_are_left_out() -> None:
    lines = [(FIRST + tics, f"ECG{n}", n * tics if n < 3 else 0) for tics in range(9) for n in (1, 2, 3, 4)]
    silent = [(FIRST + tics, "RESP", 0) for tics in range(0, 80, 8)]
    texts = {"Info": volumes(2), "ECG": sensor("ECG", 1, lines), "RESP": sensor("RESP", 8, silent)}
    (only,) = decoded(texts).recordings
    assert (only.kind, [*only.channels]) == ("ECG", ["ECG1", "ECG2"])
    (table,) = tables_of(decoded(texts))
    assert table.sidecar["Columns"] == ["ecg1", "ecg2", "trigger"]


def test_one_bad_recording_does_not_cost_the_other() -> None:
    far = [(1_000_000 + 2 * n, "PULS", n) for n in range(100)]  # CMRR-C2P/MB#436
    log = decoded(two_sensors(2) | {"PULS": sensor("PULS", 2, far)})
    assert [one.kind for one in log.recordings] == ["RESP"]
    assert log.lost == ("PULS: its clock is not that of the volumes: no sample was taken while they were",)
    fast = [(FIRST + n, "PULS", 1 + n) for n in range(100)]
    assert (
        "faster than its SampleTime of 2"
        in decoded(two_sensors(2) | {"PULS": sensor("PULS", 2, fast)}).lost[0]
    )
    sparse = [(FIRST, "PULS", 1), (FIRST + 4_000_000_000, "PULS", 1)]  # nobody waits for two milliards
    assert "missing" in decoded(two_sensors(2) | {"PULS": sensor("PULS", 2, sparse)}).lost[0]


def test_what_cannot_be_decoded_says_why() -> None:
    content, rows = payload(two_sensors(2))
    assert "no files of 0 rows" in error_of(content, 0)
    assert "no files" in error_of(b"", 7)
    assert "no files" in error_of(content[:-2], rows)
    assert "longer than its block" in error_of(b"\xff" * 4 + content[4:], rows)
    assert "compressed XML" in error_of(gzip.compress(b"<PhysioData/>"), 1)
    good = two_sensors(2)
    for texts, told in (
        ({"Info": good["Info"]}, "no sensor recorded anything"),
        ({"PULS": good["PULS"]}, "0 tables of volumes"),
        (good | {"Info": volumes(0)}, "no times of volumes"),
        (good | {"PULS": sensor("PULS", 2, [], measurement=OTHER)}, "several measurements"),
        (good | {"Info": volumes(2, LogVersion="EJA_9")}, "not of version EJA_1"),
        ({"Info": good["Info"], "PULS": sensor("PULS", 2, [(FIRST, "PULS", "x")])}, "PULS: a line is not"),
        ({"Info": good["Info"], "PULS": sensor("PULS", 0, [(FIRST, "PULS", 1)])}, "PULS: a SampleTime of 0"),
        (good | {"Info": good["Info"].replace(str(FIRST + REPETITION), "1")}, "one after the other"),
    ):
        assert told in error_of(*payload(texts)), told


def test_any_damage_is_a_clear_error_or_a_log() -> None:
    content, rows = payload(two_sensors(1))
    for place in range(0, len(content), 997):
        damaged = content[:place] + bytes([content[place] ^ 0x15]) + content[place + 1 :]
        with contextlib.suppress(HeaderError):
            assert read_log(damaged, rows).recordings


# ------------------------------------------------------------------------------------------- as in BIDS


def test_tables_and_descriptions() -> None:
    cardiac, respiratory = tables_of(decoded(two_sensors(2)))
    assert cardiac.ending == "_recording-cardiac_physio"
    assert respiratory.ending == "_recording-respiratory_physio"
    said = cardiac.sidecar
    # the first sample is 400 tics of 2.5 ms before the first volume
    assert (said["SamplingFrequency"], said["StartTime"]) == (200.0, -1.0)
    assert said["Columns"] == ["cardiac", "trigger"]
    lines = [line.split("\t") for line in gzip.decompress(cardiac.content).decode().splitlines()]
    assert len(lines) == (400 + 2 * REPETITION) // 2
    assert lines[0] == [str(1000 + (FIRST - 400) % 97), "0"]
    assert [place for place, line in enumerate(lines) if line[1] == "1"] == [200, 200 + REPETITION // 2]
    assert "20260102" not in json.dumps(said)
    assert MEASUREMENT not in json.dumps(said)


def test_the_protocol_of_images_tells_the_measurement() -> None:
    line = f'sWipMemBlock.tFree = ""{MEASUREMENT.upper()}||Sequence: R017 nxva61a/main""'
    raw = f"### ASCCONV BEGIN ###\n{line}\n### ASCCONV END ###".encode()
    assert _protocol.read(raw).measurement == MEASUREMENT
    assert _protocol.read(raw.replace(b"0F1E", b"ZZZZ")).measurement is None


# --------------------------------------------------------------------------------------------- pairing


def log_of(number: int, measurement: str = "", *, volumes: int = 5, error: str = "") -> Physiology:
    return Physiology(
        log_id=f"{number:03d}-physio1",
        path=f"{number}.dcm",
        series_instance_uid=f"1.2.3.{number}",
        measurement=measurement,
        volumes=volumes,
        recordings=() if error else ("cardiac",),
        error=error,
    )


def with_logs(study: StudyIndex, *logs: Physiology, of: str = "protocol 2") -> StudyIndex:
    """The study, with a series "<of>_PhysioLog" a log."""
    infos = [replace(series(int(log.log_id[:3]), []), series_description=f"{of}_PhysioLog") for log in logs]
    return replace(study, series=(*study.series, *infos), physiology=logs)


def named_alike(study: StudyIndex) -> StudyIndex:
    alike = tuple(replace(info, series_description="protocol 2") for info in study.series)
    return replace(study, series=alike)


RUNS = (answer(2, "func/task-a_run-1_bold"), answer(3, "func/task-a_run-2_bold"))


def logs_in(study: StudyIndex) -> dict[str, str]:
    """Stack -> log that goes with it."""
    return {row.stack_id: row.physiology for row in planned(study, *RUNS).rows if row.stack_id}


def test_a_log_goes_with_the_measurement_that_it_names() -> None:
    plain = named_alike(index([stack(2, measurement=OTHER)], [stack(3, measurement=MEASUREMENT)]))
    study = with_logs(plain, log_of(9, MEASUREMENT, volumes=1))
    assert logs_in(study) == {"002-1": "", "003-1": "009-physio1"}
    plan = planned(study, *RUNS)
    (run,) = (row for row in plan.rows if row.stack_id == "003-1")
    assert run.notes == "physiology (cardiac) from series 009: the same measurement by its identifier"
    (log,) = (row for row in plan.rows if row.series_number == 9)
    assert log.reason == (
        "no volume in it: a log of physiology: cardiac beside sub-01_ses-a_task-a_run-2_bold "
        "(the same measurement by its identifier)"
    )
    assert plan.warnings == ()


def test_echoes_share_a_log_and_a_reference_image_has_none() -> None:
    echoes = [stack(2, n, measurement=MEASUREMENT, echo_number=n, echo_time_s=n / 100) for n in (1, 2)]
    study = with_logs(index(echoes, [stack(3, measurement=MEASUREMENT)]), log_of(9, MEASUREMENT, volumes=1))
    plan = planned(study, answer(2, "func/task-a_bold"), answer(3, "func/task-a_sbref"))
    told = {row.bids_name.rpartition("_ses-a_")[2]: row.physiology for row in plan.rows if row.bids_name}
    assert told == {
        "task-a_echo-1_bold": "009-physio1",
        "task-a_echo-2_bold": "009-physio1",
        "task-a_sbref": "",
    }


def test_without_identifiers_the_name_tells_if_only_one_run_has_it() -> None:
    different = index([stack(2, volumes=5)], [stack(3, volumes=5)])
    assert logs_in(with_logs(different, log_of(9))) == {"002-1": "009-physio1", "003-1": ""}
    lengths = named_alike(index([stack(2, volumes=3)], [stack(3, volumes=5)]))
    assert logs_in(with_logs(lengths, log_of(9))) == {"002-1": "", "003-1": "009-physio1"}
    alike = named_alike(different)
    plan = planned(with_logs(alike, log_of(9)), *RUNS)
    assert not any(row.physiology for row in plan.rows)
    (told,) = plan.warnings
    assert told.endswith(
        "a log of physiology whose run cannot be told: 2 runs are called 'protocol 2', "
        "and none carries its identifier"
    )
    # images of another measurement are not taken for want of a better one
    others = index([stack(2, volumes=5, measurement=OTHER)])
    (told,) = planned(with_logs(others, log_of(9, MEASUREMENT)), RUNS[0]).warnings
    assert "no run is called 'protocol 2'" in told


def test_what_goes_nowhere_is_told() -> None:
    study = index([stack(2, volumes=5)])
    (fate,) = fates_of([with_logs(study, log_of(9))], [])
    assert fate.reason == "a log of physiology (cardiac): its run has no name in func, dwi, perf"
    assert fate.warnings == ()
    plan = planned(with_logs(study, log_of(9, error="is damaged")), RUNS[0])
    assert plan.warnings == (
        "series 009 (protocol 2_PhysioLog): a log of physiology that cannot be used: is damaged",
    )
    assert plan.rows[-1].reason.endswith("cannot be used: is damaged")
    plan = planned(with_logs(study, log_of(8), log_of(9)), RUNS[0])
    assert [row.physiology for row in plan.rows] == ["", "", ""]
    assert len(plan.warnings) == 2
    assert "another log belongs to as well" in plan.warnings[0]
    short = planned(with_logs(study, log_of(9, volumes=7)), RUNS[0]).rows[0]
    assert short.notes.endswith("; it tells of 7 volumes, 5 are here")


# ----------------------------------------------------------------------------------------- on the disk


def test_indexed_and_written(tmp_path: Path) -> None:
    dicom, made = tmp_path / "dicom", tmp_path / "volumes"
    made.mkdir()
    # longer than what is read of a file at first
    save(instance(two_sensors(60), 5, "rest_PhysioLog"), dicom / "log.dcm")
    save(stored(b"\1" * 2048, 2, 6, "rest_PhysioLog"), dicom / "damaged.dcm")
    found = index_study(dicom, uid("study"))
    good, bad = found.physiology
    assert (good.log_id, good.recordings, good.volumes) == ("005-physio1", ("cardiac", "respiratory"), 60)
    assert bad.log_id == "006-physio1"
    assert "longer than its block" in bad.error
    assert [left.detail for left in found.leftovers] == ["holds no image (a log of physiology)"] * 2
    (files,) = write_physiology(found, dicom, made)
    assert sorted(files.files) == sorted(path.name for path in made.iterdir())
    assert "005-physio1_recording-cardiac_physio.tsv.gz" in files.files
    assert write_physiology(found, dicom, made) == (files,)
