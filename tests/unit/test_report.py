"""The report: what it says of runs that went well or not, and what its pictures show."""

from __future__ import annotations

import gzip
import itertools
import os
import re
from collections.abc import Callable
from html.parser import HTMLParser
from io import BytesIO
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from msgspec.structs import replace
from PIL import Image

from pacs2bids.__main__ import main
from pacs2bids.files import read_record, write_record, write_tsv
from pacs2bids.model import (
    CheckResult,
    ConversionError,
    FailedStack,
    Finding,
    Identity,
    Leftover,
    Manifest,
    PlacedSession,
    Placement,
    PlanRow,
    Reason,
    Receipt,
    SeriesInfo,
    Stack,
    StackFacts,
    StudyIndex,
    TransferStatus,
    VolumeFile,
    VolumeOpinion,
)
from pacs2bids.plan_table import read_plan, write_plan
from pacs2bids.released import LetGo, release, release_images
from pacs2bids.report.evidence import outline, session_evidence
from pacs2bids.report.facts import REASONS, session_view
from pacs2bids.report.findings import by_session
from pacs2bids.report.pictures import PANEL_PIXELS, Picture, drawing_of, pictures_of
from pacs2bids.report.series import b_value_summary, phase_encoding, scanner_of
from pacs2bids.report.view import SessionSummary, SessionView, VolumeRef
from pacs2bids.report.viewer import SCRIPT, installed, small_nifti
from pacs2bids.report.whole import Page, page_of
from pacs2bids.second_opinion import write_opinions

KEY = "sub-01_ses-a"
NAME = "sub-01/ses-a/anat/sub-01_ses-a_T1w"
EVIL = "<script>alert('t1')</script> & \"mprage\""

# ---------------------------------------------------------------------------------------------- a work folder


def stack(stack_id: str = "002-1", **changes: Any) -> Stack:
    # array axes: i to the left, j to posterior, k to superior; 2 x 3 x 4 mm
    affine = ((-2.0, 0, 0, 0), (0, -3.0, 0, 0), (0, 0, 4.0, 0), (0, 0, 0, 1.0))
    made = Stack(
        stack_id=stack_id,
        series_instance_uid=f"1.2.{int(stack_id[:3])}",
        sop_instance_uids=("1.2.2.1", "1.2.2.2"),
        shape=(16, 18, 20, 1),
        affine_ras=affine,  # type: ignore[arg-type]
        repetition_time_s=2.3,
        images=(),
        placement=Placement(image=(), tile_row=(), tile_column=(), slice=(), volume=()),
        rescale=((1.0, 0.0),),
        gradients=None,
        facts=StackFacts(
            acquired="2026-03-14T09:26:53",
            repetition_time_s=2.3,
            echo_time_s=0.00298,
            inversion_time_s=0.9,
            flip_angle_deg=9,
            phase_encoding_direction="j-",
        ),
        sidecar={},
    )
    return replace(made, **changes)


def series(key: str = "002", stack_ids: tuple[str, ...] = ("002-1",), **changes: Any) -> SeriesInfo:
    made = SeriesInfo(
        series_key=key,
        study_instance_uid="1.2",
        series_instance_uid=f"1.2.{int(key)}",
        series_number=int(key),
        modality="MR",
        acquired="2026-03-14T09:26:53",
        instances=2,
        stack_ids=stack_ids,
        example_path="x.dcm",
        dims=(18, 16, 20, 1),
        series_files=2,
        series_description=EVIL,
        referring_physician_name="Phantom^Doctor",
        accession_number="ACC-0815",
        patient_id="PATIENT-4711",
        patient_age="042Y",
        date="20260314",
        time="092653",
        manufacturer="SIEMENS",
        model_name="Prisma",
    )
    return replace(made, **changes)


def leftover(path: str, reason: Reason, detail: str = "why") -> Leftover:
    return Leftover(path=path, reason=reason, detail=detail, series_instance_uid="1.2.2")


class Work:
    """A work folder of one session with one study, as the stages leave it; each part can be left out."""

    def __init__(self, root: Path) -> None:
        self.root, self.bids, self.page = root / "work", root / "bids", root / "report.html"
        self.study, self.session = self.root / "studies/1.2", self.root / "sessions" / KEY
        self.root.mkdir()

    def table(self) -> None:
        row = {"study_instance_uid": "1.2", "subject": "01", "session": "a", "source": "scanner"}
        write_tsv(self.root / "studies.tsv", list(row), [row])

    def receipt(self, *, missing: tuple[str, ...] = ()) -> None:
        receipt = Receipt(
            study_instance_uid="1.2",
            source="scanner",
            kind="pacs",
            complete=not missing,
            started="2026-03-15T10:00:00+00:00",
            finished="2026-03-15T10:00:42+00:00",
            announced={"1.2.2": ("1.2.2.1", "1.2.2.2", *missing)},
            received=(),
            missing=missing,
            transfers=(
                TransferStatus(level="SERIES", message_id=1, status="0000", completed=2, failed=0),
                TransferStatus(level="SERIES", message_id=2, status="B000", completed=1, failed=3),
            ),
        )
        name = "receipt.incomplete.json" if missing else "receipt.json"
        write_record(self.study / name, receipt)

    def index(self, **changes: Any) -> None:
        made = StudyIndex(
            engine_version="0.1.0+abc",
            study_instance_uid="1.2",
            instances=2,
            series=(series(),),
            stacks=(stack(),),
            leftovers=(),
        )
        write_record(self.study / "index.json", replace(made, **changes))

    def volumes(self, failed: tuple[FailedStack, ...] = ()) -> None:
        (self.study / "volumes").mkdir(parents=True, exist_ok=True)
        image = nib.nifti1.Nifti1Image(np.arange(16 * 18 * 20, dtype=np.int16).reshape(16, 18, 20), np.eye(4))
        image.to_filename(self.study / "volumes/002-1.nii.gz")
        files = VolumeFile(stack_id="002-1", input_digest="", files={})
        write_record(
            self.study / "volumes/manifest.json",
            Manifest(engine_version="0.1.0+abc", study_instance_uid="1.2", volumes=(files,), failed=failed),
        )

    def plan(self, name: str = NAME, reason: str = "", notes: str = "") -> None:
        row = PlanRow(
            study_instance_uid="1.2",
            series_instance_uid="1.2.2",
            series_number=2,
            series_description=EVIL,
            stack_id="002-1",
            acquired="2026-03-14T09:26:53",
            dims="16x18x20x1",
            instances=2,
            bids_name=name,
            reason=reason,
            notes=notes,
        )
        write_plan(self.session / "plan.tsv", [row])

    def placed(self, absent: dict[str, str] | None = None) -> None:
        placed = PlacedSession(
            session_key=KEY,
            subject="01",
            session="a",
            files={},
            volumes={} if absent else {NAME: "1.2/002-1"},
            absent=absent or {},
        )
        write_record(self.session / "placed.json", placed)

    def check(self, *findings: Finding) -> None:
        write_record(
            self.root / "check.json", CheckResult(ok=True, validator_version="9.8.7", findings=findings)
        )

    def log(self, stage: str, key: str, text: str) -> None:
        path = self.root / "logs" / stage / f"{key}.log"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def everything(self) -> Work:
        for part in (self.table, self.receipt, self.index, self.volumes, self.plan, self.placed, self.check):
            part()  # type: ignore[operator]
        return self

    def view(self) -> Page:
        return page_of(outline(self.root, self.bids, read_plan=read_plan), self.summaries())

    def summaries(self) -> list[SessionSummary]:
        return [view.summary for view in self.sessions()]

    def sessions(self) -> list[SessionView]:
        known = outline(self.root, self.bids, read_plan=read_plan)
        found = by_session(known.check.findings if known.check else ())
        return [
            session_view(
                session_evidence(self.root, session, read_plan=read_plan),
                self.bids,
                found.get(session.key, ()),
            )
            for session in known.sessions
        ]

    def only_session(self) -> SessionView:
        (session,) = self.sessions()
        return session

    @property
    def files(self) -> Path:
        return self.page.with_name("report_files")

    def html(self) -> str:
        words = ["--workdir", str(self.root), "--bids", str(self.bids), "--out", str(self.page)]
        assert main(["report", *words, "-j", "1"]) == 0
        return self.page.read_text()

    def session_html(self) -> str:
        self.html()
        return (self.files / f"{KEY}.html").read_text()


@pytest.fixture
def work(tmp_path: Path) -> Work:
    return Work(tmp_path)


# ---------------------------------------------------------------------------------------------- what it says


def test_session_that_went_well(work: Work) -> None:
    page = work.everything().view()
    assert (page.badge.tone, page.badge.text) == ("good", "valid")
    (summary,) = page.sessions
    assert (summary.badge.text, summary.troubles, summary.named, summary.stacks) == ("placed", (), 1, 1)
    (shown,) = work.only_session().series[0].stacks
    assert shown.names == (("anat", "sub-01_ses-a_T1w"),)
    assert {fact.label: fact.value for fact in shown.facts} == {
        "Matrix": "16 × 18 × 20",
        "Voxel": "2 × 3 × 4 mm",
        "TR": "2,300 ms",
        "TE": "2.98 ms",
        "TI": "900 ms",
        "Flip angle": "9°",
        "Phase encoding": "j- (posterior to anterior)",  # the array's j runs to posterior, j- against it
    }


def test_a_second_opinion_is_summed_up_even_where_all_agree(work: Work) -> None:
    every = work.everything()
    assert "dcm2niix" not in every.session_html()
    opinions = [
        VolumeOpinion(volume="002-1", verdict="agrees", other="2_a.nii", detail=""),
        VolumeOpinion(volume="002-2", verdict="differs", other="2_b.nii", detail="is mirrored"),
    ]
    for agreeing, some in (("1 of 1 volume", opinions[:1]), ("1 of 2 volumes", opinions)):
        write_opinions(work.study / "second_opinion.tsv", some)
        assert f"second opinion: dcm2niix agrees with {agreeing}" in every.session_html()
    os.utime(work.study / "second_opinion.tsv", (1, 1))
    assert not every.only_session().opinion, "of earlier volumes"


def test_flip_angles_that_change_from_volume_to_volume(work: Work) -> None:
    every = work.everything()
    every.index(stacks=(stack(sidecar={"FlipAngle": [5.0, 20.0, 5.0]}),))
    (shown,) = every.only_session().series[0].stacks
    assert {fact.label: fact.value for fact in shown.facts}["Flip angle"] == "5°, 20°"


@pytest.mark.parametrize(
    ("model", "field_t", "called"),
    [
        ("Prisma_fit", 2.89362, "Prisma_fit 3 T"),
        ("Galan 3T", 3, "Galan 3T"),
        ("Free.Max", 0.55, "Free.Max 0.55 T"),
        ("Ingenuity CT", None, "Ingenuity CT"),
        (None, 3, ""),
    ],
)
def test_scanners_are_called_by_model_and_field(
    model: str | None, field_t: float | None, called: str
) -> None:
    sidecar = {"ManufacturersModelName": model, "MagneticFieldStrength": field_t}
    assert scanner_of(stack(sidecar={key: said for key, said in sidecar.items() if said})) == called


def test_result_line(work: Work, capsys: pytest.CaptureFixture[str]) -> None:
    work.everything().html()
    assert capsys.readouterr().out == f"report of 1 session, 1 series -> {work.page}\n"


def test_stage_that_failed_tells_the_last_error_of_its_log(work: Work) -> None:
    work.table()
    work.receipt(missing=("1.2.2.9",))
    work.log(
        "pull",
        "1.2",
        "2026-03-15 10:00:00,000 ERROR   pacs2bids: an earlier one\n"
        "2026-03-15 10:00:01,000 INFO    pacs2bids.pull: asked again\n"
        "2026-03-15 10:00:02,000 ERROR   pacs2bids: 1 instance is missing:\n  1.2.2.9. Run again\n"
        "Traceback (most recent call last):\n  somewhere\n",
    )
    page = work.view()
    assert page.badge.text == "1 of 1 session failed, not validated"
    (session,) = page.sessions
    assert (session.badge.tone, session.badge.text) == ("bad", "failed: not received")
    (trouble,) = session.troubles
    assert (trouble.stage, trouble.error) == ("pull", "1 instance is missing:\n  1.2.2.9. Run again")
    assert trouble.log.endswith("logs/pull/1.2.log")
    assert session.came == "2 of 3"
    assert [group.lines for group in page.incomplete] == [(f"{KEY}: 1 of 3 instances missing",)]
    (receipt,) = work.only_session().receipts
    assert receipt.badge.text == "incomplete"
    assert [(group.title, group.lines) for group in receipt.groups] == [("missing", ("1.2.2.9",))]
    assert receipt.transfers[1] == "1 × SERIES: status B000, 1 completed, 3 failed"


@pytest.mark.parametrize(
    ("parts", "state"),
    [
        ((), "not received"),
        (("receipt",), "not indexed"),
        (("receipt", "index"), "not reconstructed"),
        (("receipt", "index", "volumes"), "not planned"),
        (("receipt", "index", "volumes", "plan"), "not placed"),
    ],
)
def test_session_says_where_it_stands(work: Work, parts: tuple[str, ...], state: str) -> None:
    work.table()
    for part in parts:
        getattr(work, part)()
    (session,) = work.summaries()
    assert (session.badge.tone, session.badge.text) == ("fair", state)
    assert session.troubles[0].error == "This stage has not run yet."
    assert state in work.html()


def test_job_that_was_killed_has_no_error_and_is_said_to_have_ended(work: Work) -> None:
    work.table()
    work.receipt()
    work.log("index", "1.2", "2026-03-15 10:00:00,000 INFO    pacs2bids: at work\n")
    (session,) = work.summaries()
    assert (session.badge.tone, session.badge.text) == ("bad", "failed: not indexed")
    assert "ended without" in session.troubles[0].error


@pytest.mark.parametrize(
    ("lost", "stage", "key"),
    [("studies/1.2/receipt.json", "pull", "1.2"), (f"sessions/{KEY}/plan.tsv", "plan", KEY)],
)
def test_placed_session_that_failed_since_is_red(work: Work, lost: str, stage: str, key: str) -> None:
    work.everything()
    (work.root / lost).unlink()
    work.log(stage, key, "2026-03-15 10:00:00,000 ERROR   pacs2bids: line 3 is wrong\n")
    page = work.view()
    assert (page.badge.tone, page.badge.text) == ("bad", "1 of 1 session failed")
    (session,) = page.sessions
    assert (session.badge.tone, session.badge.text.partition(":")[0]) == ("bad", "failed")
    assert [(one.stage, one.error) for one in session.troubles] == [(stage, "line 3 is wrong")]
    counts = {fact.label: fact.value for fact in page.counts}
    assert (counts["sessions"], counts["in the dataset"], counts["failed"]) == ("0", "0", "1")
    assert "of an earlier run" in work.html()


@pytest.mark.parametrize(
    ("stage", "product"), [("query", "studies.tsv"), ("dataset", "dataset.json"), ("check", "check.json")]
)
def test_stage_of_the_whole_that_failed_is_told(work: Work, stage: str, product: str) -> None:
    work.everything()
    (work.root / product).unlink(missing_ok=True)
    (work.root / "logs").mkdir()
    (work.root / f"logs/{stage}.log").write_text("2026-03-15 10:00:00,000 ERROR   pacs2bids: disk full\n")
    page = work.view()
    assert page.badge.tone == "bad"
    assert f"{stage} failed" in page.badge.text
    assert f"{stage}: disk full" in work.html()


def test_series_that_the_heuristic_fails_on_are_flagged(work: Work) -> None:
    work.everything()
    work.plan(name="", reason="the heuristic fails on this series: KeyError: 'x' (h.py, line 3)")
    (session,) = work.summaries()
    assert (session.badge.tone, session.badge.text) == ("fair", "placed, 1 series set aside")


def test_harmless_findings_say_so(work: Work) -> None:
    work.everything()
    codes = ("SIDECAR_KEY_RECOMMENDED/A", "JSON_KEY_RECOMMENDED/B", "OTHER")
    origin = "bids-validator"
    work.check(
        *(Finding(severity="warning", code=code, location="x", message="m", origin=origin) for code in codes)
    )
    assert [("harmless" in one.detail) for one in work.view().findings] == [True, False, True]


def test_what_a_killed_report_left_is_removed(work: Work) -> None:
    left = work.page.with_name(".report.html.killed.part")
    left.touch()
    work.html()
    assert not left.exists()


def test_empty_work_folder_makes_a_page(work: Work) -> None:
    assert "There is no session yet" in work.html()


def test_no_work_folder_is_an_error(tmp_path: Path) -> None:
    words = ["--workdir", str(tmp_path / "none"), "--bids", str(tmp_path), "--out", str(tmp_path / "r.html")]
    assert main(["report", *words]) == 2
    assert not (tmp_path / "r.html").exists()


@pytest.mark.parametrize(
    "broken",
    [
        "studies.tsv",
        "check.json",
        f"sessions/{KEY}/plan.tsv",
        f"sessions/{KEY}/placed.json",
        "studies/1.2/index.json",
    ],
)
def test_broken_record_is_named_and_the_rest_is_shown(work: Work, broken: str) -> None:
    work.everything()
    (work.root / broken).write_text("not\ta record\nx\ty\n")
    assert any(broken in problem for problem in work.view().problems)
    page = work.html()
    assert broken in page
    assert "sub-01" in page


def test_session_without_table_is_found_by_its_plan(work: Work) -> None:
    work.everything()
    (work.root / "studies.tsv").unlink()
    session = work.only_session()
    assert session.summary.badge.text == "placed, not in studies.tsv any more"
    assert len(session.series) == 1


def test_skipped_series_says_why(work: Work) -> None:
    work.everything()
    work.plan(name="", reason="the heuristic does not name this series")
    (shown,) = work.only_session().series[0].stacks
    assert (shown.badge.text, shown.reason) == ("skipped", "the heuristic does not name this series")
    assert shown.volume is not None


def test_what_the_plan_notes_of_a_named_volume(work: Work) -> None:
    work.everything()
    work.plan(notes="field map dir-PA_epi: the same shims")
    (shown,) = work.only_session().series[0].stacks
    assert (shown.badge.text, shown.reason) == ("placed", "")
    assert shown.doubts == ("field map dir-PA_epi: the same shims",)
    assert "field map dir-PA_epi: the same shims" in work.session_html()


def test_volume_that_failed_says_why_and_counts_as_missing(work: Work) -> None:
    work.everything()
    work.volumes(failed=(FailedStack(stack_id="002-1", error="slices are uneven"),))
    work.placed(absent={NAME: "slices are uneven"})
    page = work.view()
    assert page.badge.text == "1 volume missing"
    assert page.sessions[0].badge.text == "placed, 1 volume missing"
    assert page.sessions[0].troubles[0].error == "slices are uneven"
    (shown,) = work.only_session().series[0].stacks
    assert (shown.badge.tone, shown.reason, shown.volume) == ("bad", "slices are uneven", None)


def test_series_that_could_not_be_stacked_says_why(work: Work) -> None:
    work.everything()
    refused = FailedStack(stack_id="003-1", error="a slice is missing")
    other = FailedStack(stack_id="1.2.77", error="77.dcm: cannot be read")
    work.index(series=(series(), series("003", ())), refused=(refused, other), instances=4)
    session = work.only_session()
    (shown,) = session.series[1].stacks
    assert (shown.badge.text, shown.reason) == ("failed", "a slice is missing")
    assert "77.dcm: cannot be read" in session.notes


def test_series_come_in_time_order_with_the_time_of_day_alone(work: Work) -> None:
    work.everything()
    late = series("001", (), acquired="2026-03-15T00:10:00")
    work.index(series=(late, series(acquired="2026-03-14T23:50:00.123000")))
    assert [one.time for one in work.only_session().series] == ["23:50:00", "day 2, 00:10:00"]


def test_leftovers_are_counted_by_reason(work: Work) -> None:
    work.everything()
    report = [leftover(f"{number}.dcm", Reason.NO_IMAGE) for number in range(300)]
    twins = [leftover("a.dcm", Reason.DUPLICATE, "like b"), leftover("c.dcm", Reason.DUPLICATE, "like d")]
    work.index(leftovers=(*report, *twins), instances=304)
    groups = {group.title: group for group in work.only_session().leftovers}
    assert (groups["without an image"].count, groups["without an image"].detail) == (300, "why")
    assert len(groups["without an image"].lines) + groups["without an image"].more == 300
    assert groups["a duplicate"].lines == ("a.dcm: like b", "c.dcm: like d")


def test_every_reason_has_words() -> None:
    assert set(REASONS) == set(Reason)


def test_findings_are_grouped_errors_first(work: Work) -> None:
    work.everything()

    def finding(severity: str, code: str, location: str) -> Finding:
        return Finding(severity=severity, code=code, location=location, message="m", origin="bids-validator")

    work.check(
        finding("warning", "KEY_RECOMMENDED/A", "x.json"),
        finding("error", "Z_BAD", "y.json"),
        finding("warning", "KEY_RECOMMENDED/B", "z.json"),
    )
    page = work.view()
    assert page.badge.text == "1 error"
    assert [(group.tone, group.title, group.count) for group in page.findings] == [
        ("bad", "Z_BAD", 1),
        ("fair", "KEY_RECOMMENDED", 2),
    ]
    assert page.findings[1].lines == ("A: x.json: m", "B: z.json: m")


def test_the_page_says_whether_the_gate_found_something(work: Work) -> None:
    def found(*origins: str) -> bool:
        findings = [
            Finding(severity="error", code="X", location="", message="m", origin=one) for one in origins
        ]
        work.everything().check(*findings)
        return "The privacy gate found nothing" not in work.view().findings_note

    assert not found()
    assert not found("pacs2bids", "bids-validator")
    assert found("bids-validator", "privacy gate")


def test_findings_stand_with_their_session(work: Work) -> None:
    work.everything()
    its_own = ("/sub-01/ses-a/anat/sub-01_ses-a_T1w.json", KEY, "sub-01/ses-a")

    def finding(location: str) -> Finding:
        return Finding(severity="error", code="BAD", location=location, message="m", origin="check")

    work.check(*map(finding, (*its_own, "/sub-02/anat/x.json", "README.md")))
    session = work.only_session()
    assert [(group.title, group.count) for group in session.findings] == [("BAD", 3)]
    assert session.summary.errors == 3
    assert session.summary.needs_a_look
    assert "3 errors" in work.session_html()
    assert "3 errors" in work.html()


def test_warnings_of_jobs_are_shown_once(work: Work) -> None:
    work.everything()
    line = "2026-03-15 10:00:00,000 WARNING pacs2bids.plan: series 2: an odd answer\n"
    work.log("plan", KEY, line + line)
    assert work.only_session().notes == ("series 2: an odd answer",)


def test_b_values_are_summed_up() -> None:
    assert b_value_summary((0, 0, 1000, 1000.2, 2000)) == "2 × 0, 2 × 1000, 1 × 2000 s/mm²"
    assert "…" in b_value_summary(tuple(range(0, 3000, 100)))


@pytest.mark.parametrize(
    ("letters", "meaning"),
    [
        ("i", "right to left"),
        ("i-", "left to right"),
        ("j", "anterior to posterior"),
        ("k", "inferior to superior"),
    ],
)
def test_phase_encoding_is_told_by_the_affine(letters: str, meaning: str) -> None:
    assert phase_encoding(stack(), letters) == f"{letters} ({meaning})"


# ---------------------------------------------------------------------------------------------- the file


class Reader(HTMLParser):
    """Collects tags and what may point elsewhere; checks that tags close in order."""

    VOID = frozenset({"meta", "link", "img", "br", "wbr", "!doctype"})
    POINTERS = frozenset({"src", "href", "srcset", "action", "data", "poster", "style", "background"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[str] = []
        self.pointers: list[str] = []
        self.ids: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append(tag)
        if tag not in self.VOID:
            self.open.append(tag)
        for name, value in attrs:
            assert not name.startswith("on"), f"{tag} {name}"
            if name in self.POINTERS:
                self.pointers.append(value or "")
            if name == "id":
                self.ids.append(value or "")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def read(html: str) -> Reader:
    reader = Reader()
    reader.feed(html)
    reader.close()
    assert reader.open == []
    return reader


def test_pages_are_whole_and_point_at_each_other_alone(work: Work) -> None:
    pages = {work.page: work.everything().html(), work.files / f"{KEY}.html": work.session_html()}
    for path, text in pages.items():
        reader = read(text)
        assert reader.seen.count("img") == (0 if path == work.page else 1)
        targets = {f"#{one}" for one in reader.ids}
        for pointer in reader.pointers:
            is_inside = pointer.startswith(("data:image/jpeg;base64,", "data:,")) or pointer in targets
            assert is_inside or (path.parent / pointer).is_file(), pointer[:80]
        css = text[text.index("<style>") : text.index("</style>")]
        assert not re.search(r"url\(|@import|//", css)


def test_texts_are_escaped(work: Work) -> None:
    escaped = "&lt;script&gt;alert(&#39;t1&#39;)&lt;/script&gt; &amp; &#34;mprage&#34;"
    work.everything().plan(name="", reason="no name")
    for page, scripts in ((work.html(), 1), (work.session_html(), 1 if installed() else 0)):  # of our own
        assert read(page).seen.count("script") == scripts
        assert escaped in page


def test_pages_tell_no_identity_and_no_date(work: Work) -> None:
    page = work.everything().html() + work.session_html()
    ours = [path for path in work.files.rglob("*") if path.is_file() and path.name != SCRIPT]
    for path in (work.page, *ours):
        text = path.read_text()
        for private in ("4711", "0815", "Phantom^Doctor", "042Y", "2026-03-14", "20260314", "2026-03-15"):
            assert private not in text, path.name
        assert path.stat().st_mode & 0o077 == 0
    assert "09:26:53" in page
    assert work.files.stat().st_mode & 0o077 == 0


def test_what_identifies_the_patient_is_blotted_out(work: Work) -> None:
    """Of descriptions, names, reasons, notes, findings and errors, on both pages and in what is kept."""
    evil = "T1W zyzzyx repeat"
    work.everything().index(series=(series(series_description=evil), series("003", (), protocol_name=evil)))
    (row,) = read_plan(work.session / "plan.tsv")
    named = replace(row, series_description=evil, notes=f"a doubt of {evil}")
    skipped = replace(named, stack_id="", bids_name="", reason=f"{evil} is skipped")
    write_plan(work.session / "plan.tsv", [named, skipped])
    (work.session / "placed.json").unlink()
    work.log("place", KEY, f"2026-03-15 10:00:00,000 ERROR   pacs2bids: {evil}\n")
    work.log("index", "1.2", f"2026-03-15 10:00:00,000 WARNING pacs2bids: {evil}\n")
    shown = work.html() + work.session_html()
    assert shown.count("zyzzyx") > 5, "not known who it is"
    write_record(
        work.study / "identity.json",
        Identity(study_instance_uid="1.2", values={"PatientName": ("Zyzzyx^Quux",), "PatientID": ("a",)}),
    )
    work.html()
    for path in (work.page, *work.files.glob(f"{KEY}.*")):
        text = path.read_text()
        assert "zyzzyx" not in text.lower(), path.name
        assert "T1W *** repeat" in text, path.name


def test_session_is_drawn_again_only_when_what_it_is_made_of_changed(work: Work) -> None:
    work.everything().html()
    page = work.files / f"{KEY}.html"

    def drawn(*, after: Callable[[], object]) -> bool:
        os.utime(page, ns=(1, 1))
        after()
        work.html()
        return page.stat().st_mtime_ns != 1

    def found() -> None:
        location = "/sub-01/ses-a/anat/sub-01_ses-a_T1w.json"
        work.check(Finding(severity="error", code="BAD", location=location, message="m", origin="check"))

    assert not drawn(after=lambda: None)
    assert not drawn(after=lambda: work.log("dataset", "of_all", "2026"))
    assert drawn(after=lambda: work.plan(notes="a doubt"))
    assert drawn(after=found)
    assert not drawn(after=lambda: None)
    assert drawn(after=lambda: work.log("place", KEY, "2026-03-15 10:00:00,000 WARNING pacs2bids: odd\n"))
    assert drawn(after=page.unlink)
    assert "1 error" in work.page.read_text()


def test_pages_of_sessions_that_are_gone_vanish_and_other_files_stay(work: Work) -> None:
    work.everything().html()
    for name in ("sub-02.html", "sub-02.json", ".sub-01_ses-a.html.k1ll3d.part", "mine.txt"):
        (work.files / name).touch()
    work.html()
    left = {path.name for path in work.files.iterdir()} - {SCRIPT, f"{KEY}_volumes"}
    assert left == {f"{KEY}.html", f"{KEY}.json", "drift.tsv", "mine.txt"}


def test_same_input_same_page(work: Work) -> None:
    assert work.everything().html() == work.html()


def test_damaged_volume_has_no_picture_and_says_so(work: Work) -> None:
    work.everything()
    path = work.study / "volumes/002-1.nii.gz"
    os.truncate(path, 500)
    page = work.session_html()
    assert "No picture: " in page
    assert "img" not in read(page).seen


def test_an_image_that_was_let_go_is_told(work: Work) -> None:
    work.everything()
    gone = LetGo(digest="0" * 64, size_bytes=1, mtime_ns=1, sessions=())
    (work.study / "dicom").mkdir(exist_ok=True)
    release(work.study, "none")
    release_images(work.study, {"002-1.nii.gz": gone})
    page = work.session_html()
    assert "Not drawn: its image was removed (keep: none)." in page
    assert "img" not in read(page).seen


@pytest.mark.parametrize(
    "told",
    [{"facts": replace(stack().facts, is_burned_in=True)}, {"placed": False}],
    ids=["burned in", "capture"],
)
def test_text_in_pixels_is_not_shown_unless_it_was_let_into_the_dataset(
    work: Work, told: dict[str, Any]
) -> None:
    work.everything().index(stacks=(stack(**told),))
    page = work.session_html()
    assert "Not drawn: its pixels may hold text that tells who the patient is" in page
    assert "img" not in read(page).seen
    assert not list((work.files / f"{KEY}_volumes").iterdir())
    placed = work.bids / f"{NAME}.nii.gz"
    placed.parent.mkdir(parents=True)
    placed.write_bytes((work.study / "volumes/002-1.nii.gz").read_bytes())
    work.placed()
    assert "img" in read(work.session_html()).seen


def test_pages_lead_to_the_next_session_and_know_when_it_is_another(work: Work) -> None:
    work.everything()

    def neighbours() -> list[str]:
        return re.findall(r'<a rel="(\w+)" href="(\S+)"', work.session_html())

    assert neighbours() == []
    for key in ("sub-03", "sub-02_ses-b"):
        (work.root / "sessions" / key).mkdir()
        assert neighbours() == [("next", f"{key}.html")] * 2  # above and below
    (work.root / "sessions/sub-01").mkdir()
    assert neighbours() == [("prev", "sub-01.html"), ("next", "sub-02_ses-b.html")] * 2


def test_the_volume_that_is_placed_is_drawn(work: Work) -> None:
    """It may be without its face: the reconstructed one is drawn only until it is there."""
    work.everything()
    placed, reconstructed = work.bids / f"{NAME}.nii.gz", work.study / "volumes/002-1.nii.gz"
    assert [volume.path for volume in work.only_session().volumes()] == [reconstructed]
    placed.parent.mkdir(parents=True)
    save(placed, np.zeros((8, 9, 10), dtype=np.int16))
    assert [volume.path for volume in work.only_session().volumes()] == [placed]
    blank = work.session_html()
    placed.write_bytes(reconstructed.read_bytes())
    work.placed(absent=None)  # placing it anew draws it anew
    assert work.session_html() != blank


# ---------------------------------------------------------------------------------------------- pictures

SHAPE = (30, 36, 24)  # RAS: to the right, to anterior, to superior


def save(path: Path, voxels: np.ndarray[Any, Any], affine: np.ndarray[Any, Any] | None = None) -> Path:
    nib.nifti1.Nifti1Image(voxels, np.eye(4) if affine is None else affine).to_filename(path)
    return path


def marked() -> np.ndarray[Any, Any]:
    """A dim box and, within the middle slices, a bright block to the patient's right, in front, above."""
    voxels = np.full(SHAPE, 100, np.int16)
    voxels[21:27, 24:32, 10:20] = 1000  # in the axial slice 12
    voxels[21:27, 16:20, 14:20] = 1000  # in the coronal slice 18
    voxels[14:17, 26:32, 15:20] = 1000  # in the sagittal slice 15
    return voxels


def panels(picture: Picture) -> list[np.ndarray[Any, Any]]:
    pixels = np.asarray(Image.open(BytesIO(picture.jpeg)))
    assert pixels.shape[:2] == (picture.height, picture.width)
    count = round(picture.width / PANEL_PIXELS)
    step = (picture.width + 8) // count
    return [pixels[:, step * number : step * number + PANEL_PIXELS].astype(float) for number in range(count)]


def centre_of_light(panel: np.ndarray[Any, Any]) -> tuple[float, float]:
    """Mean column and row of bright pixels, from -1 to 1, without the letters at the lower edge."""
    rows, columns = np.nonzero(panel[:170] > 200)
    half = PANEL_PIXELS / 2
    return float(columns.mean()) / half - 1, float(rows.mean()) / half - 1


def test_picture_is_the_same_however_a_volume_is_stored(tmp_path: Path) -> None:
    plain = nib.nifti1.Nifti1Image(marked(), np.diag([2.0, 2.0, 3.0, 1.0]))
    pictures = set()
    for axes, flips in itertools.product(
        itertools.permutations(range(3)), itertools.product((1, -1), repeat=3)
    ):
        stored = plain.as_reoriented(np.array(list(zip(axes, flips, strict=True))))
        path = tmp_path / "stored.nii.gz"
        stored.to_filename(path)
        (picture,) = pictures_of(path)
        pictures.add(picture.jpeg)
    assert len(pictures) == 1
    axial, coronal, sagittal = panels(picture)
    for panel in (axial, coronal, sagittal):
        across, down = centre_of_light(panel)
        assert across > 0.2  # right of the middle: the patient's right; in the sagittal slice, anterior
        assert down < -0.05  # above the middle: anterior; superior


def test_letters_tell_the_sides(tmp_path: Path) -> None:
    (picture,) = pictures_of(save(tmp_path / "black.nii.gz", np.zeros(SHAPE, np.int16)))

    def ink(panel: np.ndarray[Any, Any], *, left: bool) -> tuple[float, float]:
        """Of the letter in that corner: how bright the upper right and the lower right quarters are."""
        half = panel[:, :100] if left else panel[:, 100:]
        rows, columns = np.nonzero(half > 128)
        letter = half[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
        right = letter[:, letter.shape[1] // 2 :]
        middle = letter.shape[0] // 2
        return float(right[:middle].mean()), float(right[middle + 2 : -3].mean())

    axial, coronal, sagittal = panels(picture)
    for panel in (axial, coronal):
        assert ink(panel, left=True)[0] < 30  # an L has nothing there
        assert ink(panel, left=False)[0] > 60  # an R has its bow there
        assert ink(panel, left=False)[1] > 60  # and its leg
    assert ink(sagittal, left=True)[0] > 60  # a P has its bow
    assert ink(sagittal, left=True)[1] < 30  # and no leg
    assert ink(sagittal, left=False)[1] > 60  # an A has a leg


def test_proportions_are_those_of_the_patient(tmp_path: Path) -> None:
    voxels = np.full((40, 20, 20), 7, np.int16)
    voxels[20, 10, 10] = 0
    (picture,) = pictures_of(save(tmp_path / "v.nii.gz", voxels, np.diag([1.0, 2.0, 4.0, 1.0])))
    boxes = []
    for panel in panels(picture):
        bright = np.nonzero(panel[:170] > 128)
        boxes.append((np.ptp(bright[1]) + 1, len(set(bright[0].tolist()))))
    # 40 mm across, 40 mm to the front, 80 mm up: at 80 mm = 200 pixels
    assert abs(boxes[0][0] - 100) <= 2
    assert abs(boxes[1][0] - 100) <= 2
    assert boxes[0][1] in range(98, 103)
    assert boxes[1][1] == 170  # cut by us


def test_time_series_has_mean_deviation_and_signal(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    voxels = rng.integers(900, 1100, (*SHAPE, 8)).astype(np.int16)
    voxels[21:27, 24:32, 10:20, ::2] = 0  # flickers: the patient's right, in front, above
    voxels[..., 5] += 300
    drawing = drawing_of(VolumeRef(path=save(tmp_path / "v.nii.gz", voxels)))
    assert [picture.caption for picture in drawing.pictures] == [
        "mean of 8 volumes",
        "standard deviation over time",
    ]
    assert np.allclose(drawing.signal, voxels.mean(axis=(0, 1, 2)), rtol=1e-6)
    across, down = centre_of_light(panels(drawing.pictures[1])[0])
    assert across > 0.2
    assert down < -0.05
    assert drawing.solid is not None
    assert np.allclose(drawing.solid.voxels, voxels.mean(axis=3), atol=1e-2)


def test_what_varies_in_a_series_that_measures_is_light_and_has_no_scale(tmp_path: Path) -> None:
    """Phase in time: of it, neither the intercept nor the sign is the deviation's; percents mean nothing."""
    voxels = np.full((*SHAPE, 6), 2048, np.int16)
    voxels[15:, ..., ::2] = 2148
    for slope, unit, scaled in ((2.0, "rad", True), (-1.0, "", False)):
        image = nib.nifti1.Nifti1Image(voxels, None)
        image.header.set_sform(np.eye(4), 1)
        image.header.set_slope_inter(slope, -4096)
        image.to_filename(tmp_path / "v.nii.gz")
        drawing = drawing_of(VolumeRef(path=tmp_path / "v.nii.gz", unit=unit))
        mean, spread = drawing.pictures
        assert (mean.scale is not None, spread.scale) == (scaled, None)
        assert centre_of_light(panels(spread)[0])[0] > 0.2  # the patient's right
        assert bool(drawing.signal) is not scaled


def test_what_the_viewer_gets_lies_where_the_volume_does(tmp_path: Path) -> None:
    """A value tells its place: world x + 10 y + 100 z, in a volume that is stored turned and flipped."""
    affine = np.array([[0, 0, 1.0, -60], [-2.0, 0, 0, 90], [0, 0.5, 0, -40], [0, 0, 0, 1]])
    shape = (11, 205, 130)
    world = np.einsum("ij,jabc->iabc", affine[:3, :3], np.indices(shape)) + affine[:3, 3, None, None, None]
    voxels = np.einsum("i,iabc->abc", [1, 10, 100], world).astype(np.float32)
    drawing = drawing_of(VolumeRef(path=save(tmp_path / "v.nii.gz", voxels, affine), unit="mm"))
    assert drawing.solid is not None
    small = nib.nifti1.Nifti1Image.from_bytes(gzip.decompress(small_nifti(drawing.solid)))
    assert small.shape == (65, 11, 68)  # to the right, to anterior, to superior; of 205, one is left out
    places = np.einsum("ij,jabc->iabc", small.affine[:3, :3], np.indices(small.shape))
    places += small.affine[:3, 3, None, None, None]
    told = np.asarray(small.dataobj)
    true = np.einsum("i,iabc->abc", [1, 10, 100], places)
    inside = (told > told.min()) & (told < told.max())  # the window cuts the ends
    assert inside.mean() > 0.9
    assert np.abs(told - true)[inside].max() <= np.ptp(told) / 255


def test_values_that_measure_have_a_scale_around_zero(tmp_path: Path) -> None:
    voxels = np.zeros(SHAPE, np.int16)
    voxels[:15], voxels[15:] = -500, 1000
    image = nib.nifti1.Nifti1Image(voxels, np.eye(4))
    image.header.set_slope_inter(0.1, 0)
    nib.save(image, tmp_path / "v.nii.gz")
    (picture,) = drawing_of(VolumeRef(path=tmp_path / "v.nii.gz", unit="Hz")).pictures
    stored = np.asarray(nib.nifti1.load(tmp_path / "v.nii.gz").dataobj)
    assert picture.scale == (pytest.approx(-stored.max()), pytest.approx(stored.max()), "Hz")
    (plain,) = pictures_of(tmp_path / "v.nii.gz")
    assert plain.scale is None


ECHOES = {"EchoTime1": 0.005, "EchoTime2": 0.0075}  # one turn between them is 400 Hz


@pytest.mark.parametrize(
    ("sidecar", "displayed", "told"),
    [
        (ECHOES | {"Units": "rad"}, "precise", ("Hz", 400 / (2 * np.pi))),
        (ECHOES | {"Units": "rad"}, "display", ("arbitrary units", 1)),
        ({"Units": "rad"}, "precise", ("rad", 1)),
        (ECHOES, "precise", ("arbitrary units", 1)),
        ({"Units": "Hz"}, "precise", ("Hz", 1)),
    ],
)
def test_phase_is_told_in_hertz_where_a_turn_and_the_echoes_are_known(
    work: Work, sidecar: dict[str, Any], displayed: str, told: tuple[str, float]
) -> None:
    work.everything().plan(name=NAME.replace("/anat/", "/fmap/").replace("T1w", "phasediff"))
    facts = replace(stack().facts, component="phase")
    work.index(stacks=(stack(facts=facts, sidecar=sidecar, display_rescale=((0.001, 0.0),)),))
    path = work.study / "volumes/manifest.json"
    write_record(path, replace(read_record(path, Manifest), philips_values=displayed))
    (volume,) = work.only_session().volumes()
    assert (volume.unit, volume.factor) == (told[0], pytest.approx(told[1]))


def test_diffusion_shows_the_weakest_and_the_strongest_weighting(tmp_path: Path) -> None:
    voxels = np.zeros((*SHAPE, 4), np.int16)
    for volume, half in enumerate((slice(0, 0), slice(0, 15), slice(0, 0), slice(15, 30))):
        voxels[half, ..., volume] = 1000
    weak, strong = pictures_of(save(tmp_path / "dwi.nii.gz", voxels), (1000, 0, 700, 2000))
    assert (weak.caption, strong.caption) == ("b = 0 s/mm²", "b = 2000 s/mm²")
    drawing = drawing_of(VolumeRef(path=tmp_path / "dwi.nii.gz", b_values_s_per_mm2=(1000, 0, 700, 2000)))
    assert drawing.signal == (0, 500, 0, 500)
    assert centre_of_light(panels(weak)[0])[0] < -0.2
    assert centre_of_light(panels(strong)[0])[0] > 0.2


def test_what_has_no_place_in_the_patient_is_shown_as_it_is_stored(tmp_path: Path) -> None:
    """Rows bottom-up, as files of captures have them; no side of it is the patient's left."""
    voxels = np.zeros((200, 200, 1), np.int16)
    voxels[:60, 140:] = 1000  # the first columns, the upper rows
    image = nib.nifti1.Nifti1Image(voxels, None)
    image.header.set_sform(None, 0)
    image.header.set_qform(None, 0)
    image.to_filename(tmp_path / "v.nii.gz")
    drawing = drawing_of(VolumeRef(path=tmp_path / "v.nii.gz"))
    (picture,) = drawing.pictures
    pixels = np.asarray(Image.open(BytesIO(picture.jpeg)))
    assert picture.planes == "picture"
    assert pixels[5:55, 5:55].min() > 240
    assert pixels[65:].max() < 15  # no letter, either
    assert drawing.solid is None


def test_colour_stays_colour(tmp_path: Path) -> None:
    voxels = np.zeros(SHAPE, np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")]))
    voxels["R"][15:] = 250
    voxels["B"][:15] = 250
    (picture,) = pictures_of(save(tmp_path / "rgb.nii.gz", voxels))
    axial = panels(picture)[0]
    for column, strong, weak in ((150, 0, 2), (50, 2, 0)):
        assert axial[100, column, strong] > 200
        assert axial[100, column, weak] < 60


@pytest.mark.parametrize("slices", [1, 2, 3, 8])
def test_thin_stack_shows_slices(tmp_path: Path, slices: int) -> None:
    voxels = np.random.default_rng(0).integers(0, 99, (30, 40, slices)).astype(np.int16)
    (picture,) = pictures_of(save(tmp_path / "thin.nii.gz", voxels))
    assert picture.planes.split(", ") == ["axial"] * min(slices, 3)


def test_values_that_are_no_numbers_do_no_harm(tmp_path: Path) -> None:
    voxels = marked().astype(np.float32)
    voxels[:3] = np.nan
    voxels[3, :, 12] = np.inf
    (picture,) = pictures_of(save(tmp_path / "nan.nii.gz", voxels))
    assert centre_of_light(panels(picture)[0])[0] > 0.2


def test_negative_slope_does_not_invert(tmp_path: Path) -> None:
    header = nib.nifti1.Nifti1Image(marked(), np.eye(4)).header.copy()
    header.set_slope_inter(-1, 0)
    header["vox_offset"] = 352
    path = tmp_path / "v.nii.gz"
    path.write_bytes(gzip.compress(header.binaryblock + bytes(4) + (-marked()).tobytes(order="F")))
    assert np.array_equal(np.asarray(nib.nifti1.load(path).dataobj), marked())
    straight = save(tmp_path / "w.nii.gz", marked())
    assert pictures_of(path)[0].jpeg == pictures_of(straight)[0].jpeg


@pytest.mark.parametrize("damage", ["header", "middle", "nothing", "noise"])
def test_damaged_file_is_a_clear_error(tmp_path: Path, damage: str) -> None:
    path = save(tmp_path / "v.nii.gz", np.random.default_rng(0).integers(0, 99, SHAPE).astype(np.int16))
    whole = path.read_bytes()
    noise = whole[:2000] + bytes(200) + whole[2200:]
    path.write_bytes({"header": whole[:60], "middle": whole[:5000], "nothing": b"", "noise": noise}[damage])
    with pytest.raises(ConversionError, match=r"v\.nii\.gz"):
        pictures_of(path)
