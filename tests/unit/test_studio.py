"""The live page without a browser: who may ask, what is saved, what a draft sees, when plans are renewed."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec.structs import asdict, replace

from pacs2bids.files import read_record, write_record, write_tsv
from pacs2bids.gate import needles_of
from pacs2bids.model import (
    ConfigError,
    ConversionError,
    HeuristicError,
    Identity,
    Pacs2BidsError,
    PlacedSession,
    StudyIndex,
    StudyRow,
)
from pacs2bids.studio import caller, records
from pacs2bids.studio import desk as desks
from pacs2bids.studio import server as serving
from pacs2bids.studio.applying import Workflow
from pacs2bids.studio.bench import Text
from pacs2bids.studio.board import Board
from pacs2bids.studio.caller import user_of
from pacs2bids.studio.desk import ConflictError, Desk
from pacs2bids.studio.document import MOST_BYTES, differences, digest_of, read_document, save
from pacs2bids.studio.process import GivenUpError, Process
from pacs2bids.studio.server import HOST, MOST_BODY_BYTES, StudioServer
from pacs2bids.turn import alone
from pacs2bids.verbs.studio import heed_signals
from synthetic import Series, indexed
from tasks import end_at_once, fail, sleep_for

HEURISTIC = """\
from words import SUFFIX

def infotodict(seqinfo):
    t1w = ("{bids_subject_session_dir}/anat/{bids_subject_session_prefix}_" + SUFFIX, ("nii.gz",), None)
    return {t1w: [s.series_id for s in seqinfo if "mprage" in s.series_description]}
"""
CONFIG = """
heuristic: mine.py
sources: {disk: {kind: folder, path: dicom}}
studies: {table: studies.tsv}
dataset: {name: A study}
"""
PATIENCE_S = 60.0


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> StudyIndex:
    folder = tmp_path_factory.mktemp("dicom")
    Series(name="mprage", number=5).write(folder)
    Series(name="scout", number=1).write(folder)
    return indexed(folder)


@pytest.fixture
def work(tmp_path: Path, index: StudyIndex, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A work directory of three sessions: one placed under another name, one new, one not indexed yet."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(HEURISTIC)
    (tmp_path / "words.py").write_text('SUFFIX = "T1w"\n')
    (tmp_path / "config.yaml").write_text(CONFIG)
    for uid in ("1.2.1", "1.2.2"):
        series = tuple(replace(one, study_instance_uid=uid) for one in index.series)
        new = replace(index, study_instance_uid=uid, series=series)
        write_record(tmp_path / "work/studies" / uid / "index.json", new)
    rows = [
        StudyRow(study_instance_uid=f"1.2.{number}", subject=f"0{number}", session="", source="disk")
        for number in (1, 2, 3)
    ]
    write_tsv(tmp_path / "work/studies.tsv", StudyRow.__struct_fields__, map(asdict, rows))
    volumes = {"sub-01/anat/sub-01_T2w": "1.2.1/005-1"}
    placed = PlacedSession(session_key="sub-01", subject="01", session="", files={}, volumes=volumes)
    write_record(tmp_path / "work/sessions/sub-01/placed.json", placed)
    return tmp_path


@pytest.fixture
def still(work: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    """A desk that does what it is told, and no more."""
    opened = Desk(work / "config.yaml", folder=tmp_path_factory.mktemp("drafts"))
    yield opened
    opened.close()


@pytest.fixture
def desk(still: Desk) -> Desk:
    """A desk that watches and plans."""
    still.start()
    return still


def told(desk: Desk, topic: str) -> dict[str, Any]:
    """The last word of a topic."""
    words = dict(desk.board.news(0, 0)[1])
    return json.loads(words[topic]) if topic in words else {}


def until(desk: Desk, topic: str, holds: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
    """The first word of a topic for which it holds."""
    deadline = time.monotonic() + PATIENCE_S
    while not ((word := told(desk, topic)) and holds(word)):
        assert time.monotonic() < deadline, word
        time.sleep(0.02)
    return word


def names(plan: dict[str, Any]) -> list[str]:
    return [name for session in plan["sessions"] for row in session["rows"] for name in row["names"]]


# ------------------------------------------------------------------------------------------------ the plan


def test_a_plan_beside_what_stands(desk: Desk) -> None:
    plan = until(desk, "plan", names)
    first, second = plan["sessions"]
    (row,) = (row for row in first["rows"] if row["names"])
    assert (row["number"], row["description"], row["names"]) == ("5", "mprage", ["anat/sub-01_T1w"])
    assert (row["change"], row["before"], row["line"]) == ("renamed", ["anat/sub-01_T2w"], 5)
    assert "TE 30 ms" in row["facts"]
    (other,) = (row for row in first["rows"] if not row["names"])
    assert "does not name this series" in other["reason"]
    assert first["baseline"] == "dataset"
    assert second["baseline"] == ""
    assert not any(row["change"] for row in second["rows"])
    listed = {one["key"]: (one["is_indexed"], one["is_chosen"]) for one in told(desk, "stage")["sessions"]}
    assert listed == {"sub-01": (True, True), "sub-02": (True, True), "sub-03": (False, False)}


def test_an_edit_of_the_heuristic_or_of_what_it_imports_renews(desk: Desk, work: Path) -> None:
    until(desk, "plan", names)
    (work / "mine.py").write_text(HEURISTIC.replace('"mprage"', '"scout"'))
    scout_first = [["anat/sub-01_T1w"], []]  # rows are in the order of acquisition
    until(desk, "plan", lambda plan: [row["names"] for row in plan["sessions"][0]["rows"]] == scout_first)
    assert told(desk, "document")["text"].count("scout") == 1
    (work / "words.py").write_text('SUFFIX = "FLAIR"\n')
    until(desk, "plan", lambda plan: names(plan) == ["anat/sub-01_FLAIR", "anat/sub-02_FLAIR"])


def test_a_draft_is_planned_with_what_lies_beside_the_file_and_saved_nowhere(desk: Desk, work: Path) -> None:
    until(desk, "plan", names)
    desk.draft(HEURISTIC.replace('_" + SUFFIX', '_acq-new_" + SUFFIX'))
    plan = until(desk, "plan", lambda plan: plan["is_draft"])
    assert names(plan) == ["anat/sub-01_acq-new_T1w", "anat/sub-02_acq-new_T1w"]
    assert (work / "mine.py").read_text() == HEURISTIC
    desk.draft(HEURISTIC)
    assert names(until(desk, "plan", lambda plan: not plan["is_draft"]))[0] == "anat/sub-01_T1w"


def test_no_plan_stands_beside_another_text_than_its_own(desk: Desk, work: Path) -> None:
    edited = HEURISTIC.replace("anat/", "perf/")
    plans, since = list[dict[str, Any]](), 0
    for number in range(5):
        theirs = f"{HEURISTIC}# {number}\n"
        desk.save(edited, desk.document().digest)
        (work / "mine.py").write_text(theirs)  # by another program, before the page can know
        deadline = time.monotonic() + PATIENCE_S
        while not plans or plans[-1]["digest"] != digest_of(theirs):
            assert time.monotonic() < deadline
            since, news = desk.board.news(since, 0.1)
            plans += [json.loads(word) for topic, word in news if topic == "plan"]
    for plan in plans:
        assert ("perf/" in str(names(plan))) == (plan["digest"] == digest_of(edited))


def test_a_mistake_is_told_once_and_the_last_good_plan_stays(desk: Desk, work: Path) -> None:
    good = names(until(desk, "plan", names))
    (work / "mine.py").write_text(HEURISTIC.replace("seqinfo):", "seqinfo)"))
    plan = until(desk, "plan", lambda plan: plan["error"])
    assert plan["error"].startswith("mine.py, line 3: is no Python")
    assert [mark["line"] for mark in plan["marks"]] == [3]
    assert names(plan) == good
    desk.draft(HEURISTIC.replace("words", "wrods"))
    plan = until(desk, "plan", lambda plan: "wrods" in plan["error"])
    assert str(work) not in plan["error"]  # nor the folder of drafts: the path that a person knows
    assert "drafts" not in plan["error"]
    assert names(plan) == good
    desk.draft(HEURISTIC)
    (work / "mine.py").write_text(HEURISTIC)
    assert names(until(desk, "plan", lambda plan: not plan["error"])) == good


def noted(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What is posted from now on, each word of it."""
    post, seen = desk.board.post, list[dict[str, Any]]()

    def note(topic: str, record: msgspec.Struct) -> None:
        seen.append({"topic": topic, **asdict_of(record)})
        post(topic, record)

    monkeypatch.setattr(desk.board, "post", note)
    return seen


def test_an_edit_does_not_wait_for_a_heuristic_without_end(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    until(desk, "plan", names)
    seen = noted(desk, monkeypatch)
    desk.draft(HEURISTIC.replace("    t1w =", "    while seqinfo: pass\n    t1w ="))
    until(desk, "busy", lambda busy: busy["sessions"])
    desk.draft(HEURISTIC.replace('_" + SUFFIX', '_acq-new_" + SUFFIX'))
    until(desk, "plan", lambda plan: "acq-new" in names(plan)[0])
    assert not [one for one in seen if one.get("error")]  # as once a heuristic reaches its limit


def test_a_mistake_that_no_plan_meets_is_marked_beside_it(desk: Desk) -> None:
    until(desk, "plan", names)
    key = '("{bids_subject_session_dir}/anat/{bids_subject_session_prefix}_T1ww", (), None)'
    desk.draft(f"{HEURISTIC}\ndef create_key(*words): return words\nOTHER = create_key{key}\n")
    plan = until(desk, "plan", lambda plan: plan["is_draft"])
    assert plan["error"] == ""
    assert names(plan)[0] == "anat/sub-01_T1w"
    assert [(mark["line"], mark["is_error"]) for mark in plan["marks"]] == [(8, True)]
    assert "T1ww" in plan["marks"][0]["what"]


def test_names_that_collide_in_all_sessions_are_told_once(desk: Desk, work: Path) -> None:
    until(desk, "plan", names)
    (work / "mine.py").write_text(HEURISTIC.replace('if "mprage" in s.series_description', ""))
    plan = until(desk, "plan", lambda plan: plan["error"])
    assert "nothing is placed" in plan["error"]
    assert plan["error"].endswith("(and in 1 other session)")
    assert not plan["marks"]


def test_sessions_are_chosen(still: Desk) -> None:
    still.choose(["sub-02", "sub-99"])
    chosen = [one["key"] for one in told(still, "stage")["sessions"] if one["is_chosen"]]
    assert chosen == ["sub-02"]
    with pytest.raises(ConfigError, match="has no session sub-77"):
        Desk(Path("config.yaml"), folder=Path("nowhere"), only=["sub-77"])


def test_what_is_indexed_first_is_shown_once_it_is(
    work: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    studies = work / "work/studies"
    studies.rename(work / "elsewhere")
    desk = Desk(work / "config.yaml", folder=tmp_path_factory.mktemp("drafts"))
    try:
        desk.start()
        assert until(desk, "plan", bool)["sessions"] == []
        (work / "elsewhere").rename(studies)
        until(desk, "plan", lambda plan: len(names(plan)) == 2)
        desk.choose([])
        until(desk, "plan", lambda plan: plan["sessions"] == [])
    finally:
        desk.close()


def test_a_broken_configuration_is_told_and_mended(desk: Desk, work: Path) -> None:
    until(desk, "plan", names)
    (work / "config.yaml").write_text(CONFIG.replace("heuristic:", "heuristics:"))
    until(desk, "stage", lambda stage: "heuristics" in stage["trouble"])
    (work / "config.yaml").write_text(CONFIG)
    until(desk, "stage", lambda stage: not stage["trouble"])
    table = work / "work/studies.tsv"
    whole = table.read_bytes()
    table.write_bytes(b"\xff")
    until(desk, "stage", lambda stage: stage["trouble"])
    table.write_bytes(whole)
    until(desk, "stage", lambda stage: not stage["trouble"])


def test_a_series_is_explained(desk: Desk) -> None:
    plan = until(desk, "plan", names)
    taken, left = sorted(plan["sessions"][0]["rows"], key=lambda row: not row["names"])
    detail = desk.series("sub-01", taken["study"], taken["series"])
    assert detail.why == ("taken by mine.py, line 5",)
    assert [(volume.stack, volume.names) for volume in detail.volumes] == [("005-1", ("anat/sub-01_T1w",))]
    assert ("", "series_description", "mprage") in detail.seen
    assert "patient_id" not in {name for _, name, _ in detail.seen}
    assert desk.series("sub-01", left["study"], left["series"]).volumes[0].reason.startswith("the heuristic")
    with pytest.raises(Pacs2BidsError, match="is in no study"):
        desk.series("sub-01", "1.2.1", "9.9")


def test_text_in_pixels_is_not_shown_unless_it_is_in_the_dataset(still: Desk, work: Path) -> None:
    image = work / "work/studies/1.2.2/volumes/005-1.nii.gz"
    image.parent.mkdir()
    image.write_bytes(b"not read for this")
    series = read_record(work / "work/studies/1.2.2/index.json", StudyIndex).series
    key = ("1.2.2", next(one.series_instance_uid for one in series if one.series_number == 5))

    def look() -> tuple[bool, str]:
        (volume,) = still.series("sub-02", *key).volumes
        return volume.is_drawable, volume.notes

    assert look() == (True, "")
    index = work / "work/studies/1.2.2/index.json"
    stacks = [
        replace(one, facts=replace(one.facts, is_burned_in=True))
        for one in read_record(index, StudyIndex).stacks
    ]
    write_record(index, replace(read_record(index, StudyIndex), stacks=tuple(stacks)))
    assert look() == (False, "not drawn: its pixels may hold text that tells who the patient is")
    volumes = {"sub-02/anat/sub-02_T1w": "1.2.2/005-1"}
    placed = PlacedSession(session_key="sub-02", subject="02", session="", files={}, volumes=volumes)
    write_record(work / "work/sessions/sub-02/placed.json", placed)
    assert look() == (True, "")


def test_what_would_change_is_of_all_sessions(still: Desk, work: Path) -> None:
    still.choose([])
    changes = still.changes()
    assert changes.waiting == ("sub-03",)
    told = [(one.kind, one.before, one.after) for session in changes.sessions for one in session.changes]
    assert told == [
        ("renamed", ("anat/sub-01_T2w",), ("anat/sub-01_T1w",)),
        ("named", (), ("anat/sub-02_T1w",)),
    ]
    (work / "mine.py").write_text(HEURISTIC + "\n")
    with pytest.raises(ConflictError, match="nothing was started"):
        still.apply(changes.digest)


def test_a_plan_of_all_sessions_tells_how_far_it_is_and_is_cancelled(still: Desk, work: Path) -> None:
    asked = work / "asked"
    slow = (
        f"    import os, time; os.path.exists({str(asked)!r}) and time.sleep(15); open({str(asked)!r}, 'w')\n"
    )
    (work / "mine.py").write_text(HEURISTIC.replace("    t1w =", f"{slow}    t1w ="))
    ended: list[Pacs2BidsError] = []

    def ask() -> None:
        try:
            still.changes()
        except Pacs2BidsError as error:
            ended.append(error)

    asking = threading.Thread(target=ask)
    asking.start()
    assert until(still, "proposal", lambda busy: busy["done"] == 1)["sessions"] == 2
    still.cancel()
    asking.join(PATIENCE_S)
    assert isinstance(ended[0], ConversionError)
    assert told(still, "proposal") == {"done": 0, "sessions": 0}
    (work / "mine.py").write_text(HEURISTIC)
    assert len(still.changes().sessions) == 2


def test_one_odd_session_stops_itself_alone_and_a_mistake_in_the_file_all(still: Desk, work: Path) -> None:
    odd = "    if seqinfo[0].study_id == 'odd': return {}\n"
    fails = odd.replace("return {}", "raise ValueError")
    where = work / "work/studies/1.2.2/index.json"
    where.write_bytes(b"{}")  # as of another version
    first, second = still.changes().sessions
    assert (first.key, len(first.changes), first.error) == ("sub-01", 1, "")
    assert (second.key, second.changes) == ("sub-02", ())
    assert second.error
    (work / "mine.py").write_text(HEURISTIC.replace("    t1w =", f"{fails}    t1w ((=", 1))
    with pytest.raises(HeuristicError, match=r"mine\.py, line"):
        still.changes()


def test_what_is_imported_and_configured_belongs_to_what_was_shown(still: Desk, work: Path) -> None:
    for name, text in {"words.py": 'SUFFIX = "FLAIR"\n', "config.yaml": CONFIG + "\n"}.items():
        changes = still.changes()
        (work / name).write_text(text)
        with pytest.raises(ConflictError, match="nothing was started"):
            still.apply(changes.digest)


def test_nothing_is_started_while_a_run_is_at_work(still: Desk, work: Path) -> None:
    changes = still.changes()
    with alone(work / "work"), pytest.raises(Pacs2BidsError, match=f"at work on it.*pid {os.getpid()} on"):
        still.apply(changes.digest)
    assert told(still, "run")["state"] == "idle"


def test_the_patient_is_blotted_out(work: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    known = Identity(study_instance_uid="1.2.1", values={"PatientName": ("Zyzzyx^Quux",)})
    index = work / "work/studies/1.2.1/index.json"
    index.write_text(index.read_text().replace('"scout"', '"scout of Quux"'))
    folder = tmp_path_factory.mktemp("drafts")
    desk = Desk(work / "config.yaml", folder=folder, needles_of=lambda *_: needles_of([known]))
    try:
        desk.start()
        plan = until(desk, "plan", names)
        row = next(row for row in plan["sessions"][0]["rows"] if not row["names"])
        assert row["description"] == "scout of ***"
        detail = json.loads(msgspec.json.encode(desk.series("sub-01", row["study"], row["series"])))
        assert ["", "series_description", "scout of ***"] in detail["seen"]
        assert "quux" not in json.dumps([plan, detail, asdict_of(desk.changes())]).lower()
        fails = "    raise ValueError([s.series_description for s in seqinfo])\n"
        desk.draft(HEURISTIC.replace("    t1w =", f"{fails}    t1w ="))
        plan = until(desk, "plan", lambda plan: plan["is_draft"])
        assert "scout of ***" in json.dumps(plan)
        assert "quux" not in json.dumps(plan).lower()
    finally:
        desk.close()


def asdict_of(record: msgspec.Struct) -> Any:
    return json.loads(msgspec.json.encode(record))


# ----------------------------------------------------------------------------------------------- the file


def test_what_an_editor_does_to_write_is_not_taken_for_the_file(
    still: Desk, work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Truncated then written, as nano; moved away then written anew, as vim; replaced, as others."""
    monkeypatch.setattr(desks, "LOOK_EVERY_S", 0.5)  # longer than this machine may stop between two writes
    still.start()
    until(still, "plan", names)
    path, seen = work / "mine.py", noted(still, monkeypatch)
    half = HEURISTIC[: len(HEURISTIC) // 2]
    for suffix in ("FLAIR", "T2w", "PDw"):
        whole = HEURISTIC.replace("+ SUFFIX", f'+ "{suffix}"')
        if suffix == "FLAIR":
            for part in ("", half, whole):
                path.write_text(part)
                time.sleep(0.02)
        elif suffix == "T2w":
            path.rename(work / "mine.py~")
            time.sleep(0.02)
            path.write_text(whole)
        else:
            (work / ".mine.swp").write_text(whole)
            (work / ".mine.swp").replace(path)
        until(still, "plan", lambda plan, suffix=suffix: names(plan)[0].endswith(suffix))
    assert not [one for one in seen if one.get("error") or one.get("trouble")]
    assert "" not in {one["text"] for one in seen if one["topic"] == "document"}


def test_saving_never_overwrites_what_another_has_written(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_bytes(b"a = 1\r\nb = 2\r\n")
    path.chmod(0o640)
    link = tmp_path / "link.py"
    link.symlink_to(path)
    document = read_document(link)
    assert document.text == "a = 1\nb = 2\n"
    assert save(link, "a = 1\nb = 3\n", base=document.digest)
    assert path.read_bytes() == b"a = 1\r\nb = 3\r\n"
    assert path.stat().st_mode & 0o777 == 0o640
    assert link.is_symlink()
    assert not save(link, "mine", base=document.digest)
    assert path.read_bytes() == b"a = 1\r\nb = 3\r\n"
    with pytest.raises(HeuristicError, match="longer than"):
        save(link, "x" * (MOST_BYTES + 1), base=read_document(link).digest)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(HeuristicError, match="UTF-8"):
        read_document(link)


def test_differences() -> None:
    assert differences("a\nb\nc\n", "a\nB\nc\n") == ["@@ -1,3 +1,3 @@", " a", "-b", "+B", " c"]


def test_lines_of_this_file_alone(tmp_path: Path) -> None:
    text = Text(path=tmp_path / "mine.py", folder=tmp_path)
    assert text.line("mine.py, line 12 (T1w)") == 12
    assert text.line("theirs.py, line 12") == 0


# ------------------------------------------------------------------------------------- board and process


def test_news_are_told_once() -> None:
    board = Board()
    board.post("run", records.Run())
    since, news = board.news(0, 0)
    assert [topic for topic, _ in news] == ["run"]
    board.post("run", records.Run())
    assert board.news(since, 0) == (since, [])
    threading.Timer(0.05, board.post, ("run", records.Run(state="done"))).start()
    assert board.news(since, PATIENCE_S)[1] == [("run", b'{"state":"done","lines":[]}')]


def test_a_process_answers_fails_dies_and_is_given_up() -> None:
    process = Process()
    try:
        first = process.ask(sleep_for, 0.0)
        assert first not in (os.getpid(), 0)
        with pytest.raises(HeuristicError, match="is wrong") as caught:
            process.ask(fail)
        assert str(caught.value) == "mine.py: is wrong. Mend it"
        assert process.ask(sleep_for, 0.0) == first
        with pytest.raises(GivenUpError):
            process.ask_unless(lambda: True, sleep_for, 60.0)
        with pytest.raises(Pacs2BidsError, match="has ended"):
            process.ask(end_at_once)
    finally:
        process.close()


def test_a_run_is_followed_to_its_last_word(tmp_path: Path) -> None:
    told = list[records.Run]()
    workflow = Workflow(told.append)
    for code, state in ((0, "done"), (1, "failed")):
        go = tmp_path / state
        run = f"while [ ! -e {go} ]; do sleep 0.05; done; printf 'a\\n\\nb'; exit {code}"
        workflow.start(["sh", "-c", run], tmp_path)
        with pytest.raises(Pacs2BidsError, match="started from this page"):
            workflow.start(["no matter"], tmp_path)
        go.touch()
        wait_for(lambda: told[-1].state != "running")
        assert told[-1] == records.Run(state=state, lines=("a", "b"))


def test_a_run_is_stopped_though_a_script_started_us_in_the_background(tmp_path: Path) -> None:
    """POSIX shells let what they start with & ignore SIGINT, and it hands that on."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGHUP)}
    told = list[records.Run]()
    try:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        heed_signals()
        workflow = Workflow(told.append)
        workflow.start(["sh", "-c", "echo begun; exec sleep 20"], tmp_path)
        wait_for(lambda: told[-1].lines)
        workflow.stop()
        wait_for(lambda: told[-1].state != "running")
        assert told[-1].state == "stopped"
    finally:
        for number, heed in before.items():
            signal.signal(number, heed)


def wait_for(holds: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_run_goes_on_when_the_page_is_killed(tmp_path: Path) -> None:
    run = "import time; [(print(n, flush=True), time.sleep(.1)) for n in range(9)]; open('end', 'w')"
    page = (
        "import sys, time; from pathlib import Path; from pacs2bids.studio.applying import Workflow\n"
        "workflow = Workflow(lambda run: print(*run.lines, flush=True))\n"
        f"workflow.start([sys.executable, '-c', {run!r}], Path()); time.sleep(60)"
    )
    command = [sys.executable, "-c", page]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        while process.stdout.readline() != "0\n":
            assert process.poll() is None
        process.kill()
    wait_for((tmp_path / "end").exists)


# ------------------------------------------------------------------------------------------- who may ask


@pytest.fixture
def server(still: Desk) -> Iterator[StudioServer]:
    """A server that answers."""
    with StudioServer(still, 0) as listening:
        thread = threading.Thread(target=listening.serve_forever, args=(0.05,))
        thread.start()
        yield listening
        listening.shutdown()
        thread.join()


def asked(
    server: StudioServer,
    path: str,
    *,
    words: object = None,
    length: int | None = None,
    **headers: str,
) -> tuple[int, str]:
    """Status, and content or where it leads; ``words`` are posted as JSON."""
    connection = http.client.HTTPConnection(HOST, server.server_port, timeout=PATIENCE_S)
    try:
        body = None if words is None else json.dumps(words)
        heads = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.putrequest("POST" if body else "GET", path, skip_host="Host" in heads)
        if body:
            heads = {"Content-Type": "application/json", "Content-Length": str(length or len(body)), **heads}
        for name, value in heads.items():
            connection.putheader(name, value)
        connection.endheaders(body.encode() if body else None)
        answer = connection.getresponse()
        return answer.status, answer.headers.get("Location") or answer.read().decode()
    finally:
        connection.close()


def test_only_who_knows_the_secret_is_answered(server: StudioServer) -> None:
    page = f"/{server.token}/"
    assert asked(server, page)[0] == 200
    for path in ("/", "/page.js", f"/{server.token}", f"/{server.token[:-1]}/"):
        assert asked(server, path)[0] == 403, path
    assert asked(server, f"{page}../../etc/passwd")[0] == 404
    assert asked(server, f"{page}picture?study=1.2.1&stack=..%2F..%2Findex")[0] == 422
    assert asked(server, f"{page}picture?study=..&stack=005-1")[0] == 422


def test_who_comes_by_another_name_or_from_another_page_is_refused(server: StudioServer) -> None:
    page, port = f"/{server.token}/", server.server_port
    assert asked(server, page, Host=f"localhost:{port}")[0] == 200
    for host in ("evil.example", f"evil.example:{port}", HOST, f"{HOST}:1"):
        assert asked(server, page, Host=host)[0] == 403
    words = {"keys": []}
    ours = f"http://{HOST}:{port}"
    assert asked(server, f"{page}choose", words=words, Origin=ours)[0] == 200
    for origin in ("http://evil.example", "null", f"https://{HOST}:{port}", "http://127.0.0.1:1"):
        assert asked(server, f"{page}choose", words=words, Origin=origin)[0] == 403
    assert asked(server, f"{page}choose", words=words, Content_Type="text/plain")[0] == 415


def test_what_is_sent_is_bounded_and_checked(server: StudioServer) -> None:
    page = f"/{server.token}/"
    assert asked(server, f"{page}draft", words={"text": "x"}, length=MOST_BODY_BYTES + 1)[0] == 413
    assert asked(server, f"{page}draft", words={"text": 5})[0] == 400
    assert asked(server, f"{page}draft", words={"other": "x"})[0] == 400
    assert asked(server, f"{page}nothing", words={})[0] == 404
    assert asked(server, f"{page}draft", words={"text": "x"}, Content_Length="-1")[0] == 411
    assert asked(server, f"{page}draft", words={"text": "x"}, Content_Length="1_0")[0] == 411
    assert asked(server, f"/{'x' * 70_000}")[0] == 414


def test_who_says_nothing_is_left(server: StudioServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving._Handler, "timeout", 0.3)
    head = f"POST /{server.token}/draft HTTP/1.1\r\nHost: {HOST}:{server.server_port}\r\n"
    body = "Content-Type: application/json\r\nContent-Length: 20\r\n\r\n{"
    for said in ("", head, head + body):
        with socket.create_connection((HOST, server.server_port), timeout=PATIENCE_S) as silent:
            silent.sendall(said.encode())
            assert silent.recv(100) == b""


def test_more_at_a_time_than_a_page_needs_are_refused(server: StudioServer) -> None:
    with ExitStack() as stack:
        many = [stack.enter_context(socket.create_connection((HOST, server.server_port))) for _ in range(60)]
        for one in many:
            one.settimeout(PATIENCE_S)
        refused = [one for one in many[serving.MOST_CONNECTIONS :] if one.recv(100) == b""]
        assert len(refused) == 60 - serving.MOST_CONNECTIONS

    def is_answered() -> bool:
        try:
            return asked(server, f"/{server.token}/")[0] == 200
        except (ConnectionError, http.client.HTTPException):
            return False

    wait_for(is_answered)  # those that went are told at the next look


def test_a_ticket_leads_to_the_page_once(server: StudioServer) -> None:
    ticket = server.ticket_url.rpartition("/")[2]
    assert server.token not in server.ticket_url
    assert asked(server, f"/{ticket}") == (303, f"/{server.token}/")
    assert asked(server, f"/{ticket}")[0] == 403


@pytest.mark.skipif(not Path("/proc/net/tcp").is_file(), reason="this system does not say who calls")
def test_a_ticket_is_of_no_use_to_another_user(server: StudioServer, monkeypatch: pytest.MonkeyPatch) -> None:
    ticket = server.ticket_url.rpartition("/")[2]
    monkeypatch.setattr(os, "getuid", lambda: 54321)  # the server is another's, the caller is not
    assert asked(server, f"/{ticket}")[0] == 403
    assert asked(server, f"/{server.token}/")[0] == 200  # who knows it: the far end of a tunnel is sshd's
    monkeypatch.undo()
    if os.getuid() == 0:  # for real
        question = f"GET /{ticket} HTTP/1.0\\r\\nHost: {HOST}:{server.server_port}\\r\\n\\r\\n"
        script = f"exec 3<>/dev/tcp/{HOST}/{server.server_port}; printf '{question}' >&3; cat <&3"
        command = ["bash", "-c", script]
        said = subprocess.run(command, check=True, user=65534, capture_output=True, text=True)
        assert " 403 " in said.stdout.splitlines()[0]
    assert asked(server, f"/{ticket}")[0] == 303
    assert user_of((HOST, 1), (HOST, server.server_port)) == -1


def test_who_calls_is_read_from_the_tables_of_the_kernel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lines as the kernel writes them on a little-endian machine (proc_net_tcp.rst), for port 8765 = 223D."""
    monkeypatch.setattr(caller, "_written", lambda address: f"0100007F:{address[1]:04X}")
    head = (
        "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
    )
    ends = "00000000:00000000 00:00000000 00000000"
    line = f"   0: {{0}}0100007F:{{1:04X}} {{0}}0100007F:{{2:04X}} {{3}} {ends}  {{4}} 0 1\n"
    mapped = "0000000000000000FFFF0000"
    four = [line.format("", *words) for words in ((8765, 40001, "01", 1000), (40001, 8765, "01", 1001))]
    six = [line.format(mapped, *words) for words in ((40002, 8765, "01", 1002), (40003, 8765, "06", 0))]
    tables = (tmp_path / "tcp", tmp_path / "tcp6")
    for table, lines in zip(tables, (four, six), strict=True):
        table.write_text(head + "".join(lines))
    (tmp_path / "folder").mkdir()  # cannot be read
    monkeypatch.setattr(caller, "TABLES", (*tables, tmp_path / "folder"))
    found = [user_of((HOST, port), (HOST, 8765)) for port in (40001, 40002, 40003, 40004)]
    assert found == [1001, 1002, -1, -1]
    monkeypatch.setattr(caller, "TABLES", (tmp_path / "folder", tmp_path / "none"))
    assert user_of((HOST, 40001), (HOST, 8765)) is None


def test_a_save_is_refused_where_another_program_wrote(server: StudioServer, work: Path) -> None:
    page, base = f"/{server.token}/", read_document(Path("mine.py")).digest
    status, said = asked(server, f"{page}save", words={"text": HEURISTIC + "# mine\n", "base": base})
    assert status == 200
    assert (work / "mine.py").read_text().endswith("# mine\n")
    assert json.loads(said)["digest"] != base
    status, said = asked(server, f"{page}save", words={"text": "other", "base": base})
    assert status == 409
    assert "changed by another program" in said
    status, said = asked(server, f"{page}compare", words={"text": HEURISTIC})
    assert json.loads(said)["lines"][-1] == "-# mine"
