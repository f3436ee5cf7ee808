"""The live page without a browser: who may ask, what is saved, what a draft sees, when plans are renewed."""

from __future__ import annotations

import http.client
import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import asdict, replace

from pacs2bids.files import write_record, write_tsv
from pacs2bids.model import ConfigError, HeuristicError, Pacs2BidsError, PlacedSession, StudyRow
from pacs2bids.studio import records
from pacs2bids.studio.bench import Shelf, Text
from pacs2bids.studio.board import Board
from pacs2bids.studio.desk import ConflictError, Desk
from pacs2bids.studio.document import MOST_BYTES, differences, read_document, save
from pacs2bids.studio.process import GivenUpError, Process
from pacs2bids.studio.server import HOST, MOST_BODY_BYTES, StudioServer
from synthetic import Series, indexed

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
PATIENCE_S = 30.0


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A work directory of three sessions: one placed under another name, one new, one not indexed yet."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(HEURISTIC)
    (tmp_path / "words.py").write_text('SUFFIX = "T1w"\n')
    (tmp_path / "config.yaml").write_text(CONFIG)
    Series(name="mprage", number=5).write(tmp_path / "dicom")
    Series(name="scout", number=1).write(tmp_path / "dicom")
    index = indexed(tmp_path / "dicom")
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


def test_an_edit_does_not_wait_for_a_heuristic_without_end(desk: Desk) -> None:
    until(desk, "plan", names)
    desk.draft(HEURISTIC.replace("    t1w =", "    while seqinfo: pass\n    t1w ="))
    until(desk, "busy", lambda busy: busy["sessions"])
    began = time.monotonic()
    desk.draft(HEURISTIC.replace('_" + SUFFIX', '_acq-new_" + SUFFIX'))
    until(desk, "plan", lambda plan: "acq-new" in names(plan)[0])
    assert time.monotonic() - began < 10  # the limit of a heuristic is 20 s


def test_a_mistake_that_no_plan_meets_is_marked_beside_it(desk: Desk) -> None:
    until(desk, "plan", names)
    key = '("{bids_subject_session_dir}/anat/{bids_subject_session_prefix}_T1ww", (), None)'
    desk.draft(f"{HEURISTIC}\ndef create_key(*words): return words\nOTHER = create_key{key}\n")
    plan = until(desk, "plan", lambda plan: plan["is_draft"])
    assert plan["error"] == ""
    assert names(plan)[0] == "anat/sub-01_T1w"
    assert [(mark["line"], mark["is_error"]) for mark in plan["marks"]] == [(8, True)]
    assert "T1ww" in plan["marks"][0]["what"]


def test_names_that_collide_are_told_of_their_session(desk: Desk, work: Path) -> None:
    until(desk, "plan", names)
    (work / "mine.py").write_text(HEURISTIC.replace('if "mprage" in s.series_description', ""))
    plan = until(desk, "plan", lambda plan: any(one["error"] for one in plan["sessions"]))
    assert all("nothing is placed" in one["error"] for one in plan["sessions"])
    assert not plan["marks"]


def test_sessions_are_chosen(still: Desk) -> None:
    still.choose(["sub-02", "sub-99"])
    chosen = [one["key"] for one in told(still, "stage")["sessions"] if one["is_chosen"]]
    assert chosen == ["sub-02"]
    with pytest.raises(ConfigError, match="has no session sub-77"):
        Desk(Path("config.yaml"), folder=Path("nowhere"), only=["sub-77"])


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


# ----------------------------------------------------------------------------------------------- the file


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


def sleep_for(_: Shelf, seconds: float) -> int:
    time.sleep(seconds)
    return os.getpid()


def fail(_: Shelf) -> None:
    raise HeuristicError("is wrong", where="mine.py", hint="Mend it")


def end_at_once(_: Shelf) -> None:
    os._exit(3)


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


def test_a_ticket_leads_to_the_page_once(server: StudioServer) -> None:
    ticket = server.ticket_url.rpartition("/")[2]
    assert server.token not in server.ticket_url
    assert asked(server, f"/{ticket}") == (303, f"/{server.token}/")
    assert asked(server, f"/{ticket}")[0] == 403


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
