"""What the page is about: configuration, heuristic, draft, chosen sessions; and threads that heed them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from textwrap import shorten
from typing import Concatenate, ParamSpec, TypeVar

from msgspec.structs import replace as with_changes

from pacs2bids.config import Config, load_config
from pacs2bids.dialects.imports import files_of
from pacs2bids.gate import NOTHING, Needles
from pacs2bids.images import where_is
from pacs2bids.model import ConfigError, EndlessError, Pacs2BidsError
from pacs2bids.planning import Asked, asked_of_config
from pacs2bids.report.pictures import Picture
from pacs2bids.roster import Session, is_indexed, sessions_of_table
from pacs2bids.studio import bench, records
from pacs2bids.studio.album import Album
from pacs2bids.studio.applying import Workflow, command_of
from pacs2bids.studio.bench import Text
from pacs2bids.studio.blotting import blotted_of
from pacs2bids.studio.board import Board
from pacs2bids.studio.document import digest_of, is_still, read_document, save
from pacs2bids.studio.process import GivenUpError, Process
from pacs2bids.studio.proposing import Ground, Proposer, of_all

P = ParamSpec("P")
T = TypeVar("T")
NeedlesOf = Callable[[Config, Session], Needles]

LOOK_EVERY_S = 0.15
MOST_RESTLESS = 12  # looks at files that change all the time, as while a workflow runs
MOST_WATCHED = 300  # files
MOST_OF_HINT = 80  # letters; all of it stands below the editor
FIRST_CHOSEN = 20  # sessions, of more, while nobody has chosen


class ConflictError(Pacs2BidsError):
    """The file, or what was shown, is another one by now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What the files say. ``trouble``: why one of them cannot be read; then the rest is of before."""

    config: Config
    asked: Asked
    document: records.Document
    sessions: tuple[Session, ...]
    trouble: str = ""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Wish:
    """What is to be planned."""

    text: Text
    digest: str
    config: Config
    asked: Asked
    sessions: tuple[Session, ...]


def _nothing(_: Config, __: Session) -> Needles:
    return NOTHING


class Desk:
    """Everything behind the page, for the threads of the server. ``folder``: for drafts, of its own.

    ``needles_of``: what is blotted out of what is told of a session. ``only``: keys of sessions to begin
    with. Raises ConfigError and HeuristicError where configuration, studies table or heuristic cannot be read
    at the start.
    """

    def __init__(
        self, config: Path, *, folder: Path, needles_of: NeedlesOf = _nothing, only: Sequence[str] = ()
    ) -> None:
        self.board = Board()
        self._config, self._folder, self._needles_of = config, folder, needles_of
        self._lock = threading.RLock()
        self._wished = threading.Condition(self._lock)
        self._process = Process()
        self._album = Album()
        self._proposer = Proposer(lambda busy: self.board.post("proposal", busy))
        self._workflow = Workflow(lambda run: self.board.post("run", run))
        self._setting = self._read()
        self._chosen = tuple(one.key for one in _chosen(self._setting, only))
        self._is_chosen = bool(self._chosen)  # else the first that are indexed will be
        self._draft: str | None = None
        self._wish: Wish | None = None
        self._endless = ""  # what was said last of a heuristic without end
        self._last_good: dict[str, records.SessionPlan] = {}
        self._shown = ""  # digest of the files whose differences were shown last
        self._is_closed = False
        self._seen = self._signature()
        self.board.post("run", records.Run())
        with self._lock:
            self._publish()

    def start(self) -> None:
        """Begin to watch and to plan."""
        for work in (self._watch, self._plan):
            threading.Thread(target=work, daemon=True).start()

    def close(self) -> None:
        """End what was started. The run of the workflow is interrupted."""
        with self._wished:
            self._is_closed = True
            self._wished.notify_all()
        self._workflow.stop()
        self._proposer.close()
        self._process.close()

    # ------------------------------------------------------------------------------------- what the page asks

    def choose(self, keys: Sequence[str]) -> None:
        """Show the plans of these sessions, as far as there are such."""
        with self._lock:
            known = {one.key for one in self._setting.sessions}
            self._chosen = tuple(sorted(known & set(keys)))
            self._is_chosen = True
            self._seen = self._signature()  # of others, now
            self._publish()

    def draft(self, text: str) -> None:
        """Plan with this text, which is not saved."""
        with self._lock:
            draft = None if text == self._setting.document.text else text
            if draft != self._draft:
                self._draft = draft
                self._publish()

    def save(self, text: str, base: str) -> None:
        """Save the text over the file with the digest ``base``. Raises ConflictError if it is another."""
        with self._lock:
            document = self._setting.document
            if not document.is_editable:
                raise ConfigError("is built in; it cannot be edited", where=document.name)
            if not save(self._setting.asked.heuristic, text, base=base):
                self._reread()
                raise ConflictError("was changed by another program meanwhile", where=document.path)
            self._reread()

    def document(self) -> records.Document:
        """The heuristic as it is saved."""
        with self._lock:
            return self._setting.document

    def series(self, key: str, study: str, series: str) -> records.SeriesDetail:
        """Everything about one series. Raises as planning does."""
        with self._lock:
            setting, text = self._setting, self._text()
        session = _session(setting, key)
        return blotted_of(
            self._needles_of(setting.config, session),
            lambda: self._process.ask(bench.series, text, setting.asked, session, (study, series)),
        )

    def pictures(self, study: str, stack: str) -> tuple[Picture, ...]:
        """Of a volume. Raises ConfigError for one that no session has, ConversionError if it is damaged."""
        with self._lock:
            folders = {one.name: one for session in self._setting.sessions for one in session.studies}
            bids = self._setting.config.bids
        if study not in folders or Path(stack).name != stack:
            raise ConfigError("there is no such volume")
        name = f"{stack}.nii.gz"
        volume = where_is(folders[study], name, bids) or folders[study] / "volumes" / name
        return self._album.pictures(volume)

    def changes(self) -> records.Changes:
        """What would be placed, of all sessions, by the heuristic as it is saved.

        Raises HeuristicError, and ConversionError if it was cancelled.
        """
        with self._lock:
            self._reread()
            setting, digest = self._setting, self._digest()
        changes = self._proposer.changes(
            Ground(
                text=Text(path=setting.asked.heuristic, folder=self._folder),
                asked=setting.asked,
                sessions=setting.sessions,
                digest=digest,
                needles_of=lambda session: self._needles_of(setting.config, session),
            )
        )
        with self._lock:
            self._shown = digest
        return changes

    def cancel(self) -> None:
        """Give up what ``changes`` asks."""
        self._proposer.cancel()

    def apply(self, digest: str) -> None:
        """Run the workflow. Raises ConflictError if what was shown last is not what would be placed."""
        with self._lock:
            if not digest == self._shown == self._digest():
                what = "heuristic or configuration changed since the differences were shown"
                raise ConflictError(f"{what}; nothing was started", hint="Look at them again")
            self._workflow.start(command_of(self._config), self._setting.config.workdir)

    def stop(self) -> None:
        """Interrupt the run."""
        self._workflow.stop()

    # ----------------------------------------------------------------------------------------------- watching

    def _read(self) -> Setting:
        config = load_config(self._config)
        asked = asked_of_config(config)
        sessions = tuple(sessions_of_table(config.workdir, None))
        document = read_document(asked.heuristic)
        return Setting(config=config, asked=asked, document=document, sessions=sessions)

    def _watch(self) -> None:
        """Heed a change once it has come to rest: editors empty a file, or take it away, and write then."""
        before, looks = self._seen, 0
        while not self._is_closed:
            time.sleep(LOOK_EVERY_S)
            now = self._signature()
            looks = looks + 1 if now != self._seen else 0
            if looks and (now == before or looks > MOST_RESTLESS):
                with self._lock:
                    self._reread()
            before = now

    def _signature(self) -> list[tuple[Path, int, int, int] | None]:
        return [_look(path) for path in islice(self._watched(), MOST_WATCHED)]

    def _digest(self) -> str:
        """Of what all plans follow from."""
        return digest_of(repr([_look(path) for path in self._grounds(self._setting)]))

    def _grounds(self, setting: Setting) -> list[Path]:
        table = setting.config.workdir / "studies.tsv"
        return [self._config, table, *files_of(setting.asked.heuristic)]

    def _watched(self) -> Iterator[Path]:
        with self._lock:
            setting, chosen = self._setting, set(self._chosen)
        yield from self._grounds(setting)
        for session in setting.sessions:
            if (session.key in chosen or not self._is_chosen) and session.folder is not None:
                yield from (session.folder / name for name in ("plan.tsv", "placed.json"))
                yield from (study / "index.json" for study in session.studies)

    def _reread(self) -> None:
        """Take up what the files say now. Another heuristic than before takes the place of a draft."""
        before = self._setting
        self._seen = self._signature()  # first: what changes while it is read is seen again
        try:
            self._setting = self._read()
        except (Pacs2BidsError, OSError, UnicodeDecodeError) as error:  # perhaps half written
            self._setting = replace(before, trouble=str(error))
        if not self._is_chosen:
            self._chosen = tuple(one.key for one in _chosen(self._setting, ()))
            self._is_chosen = bool(self._chosen)
        if self._setting.document.digest != before.document.digest:
            self._draft = None
        self._publish()

    def _text(self) -> Text:
        return Text(path=self._setting.asked.heuristic, folder=self._folder, draft=self._draft)

    def _publish(self) -> None:
        """Show what there is, and have it planned."""
        setting = self._setting
        self.board.post("document", setting.document)
        self.board.post("stage", _stage(self._config, setting, self._chosen))
        chosen = [one for one in setting.sessions if one.key in self._chosen and is_indexed(one)]
        document = setting.document
        self._wish = Wish(
            text=self._text(),
            digest=document.digest if self._draft is None else digest_of(self._draft),
            config=setting.config,
            asked=setting.asked,
            sessions=tuple(chosen),
        )
        self._wished.notify_all()

    # ----------------------------------------------------------------------------------------------- planning

    def _plan(self) -> None:
        done: Wish | None = None
        while True:
            with self._wished:
                self._wished.wait_for(lambda: self._is_closed or self._wish is not done)  # noqa: B023
                if self._is_closed:
                    return
                done = wish = self._wish
            assert wish is not None
            try:
                self.board.post("plan", self._planned(wish))
            except GivenUpError:
                continue
            finally:
                self.board.post("busy", records.Busy())

    def _planned(self, wish: Wish) -> records.Plan:
        """Raises GivenUpError if another wish came meanwhile, or will: for a text that the page lacks."""
        began = time.monotonic()
        plans, error = self._plans(wish)
        marks = () if error and error == self._endless else self._marks(wish)
        if not any(mark.is_error for mark in marks) and (line := wish.text.line(error)):
            marks = (*marks, records.Mark(line=line, what=error, is_error=True))
        if wish.text.draft is None and not is_still(wish.text.path, wish.digest):
            raise GivenUpError  # another program wrote it: it may have been planned before `_watch` showed it
        return records.Plan(
            digest=wish.digest,
            is_draft=wish.text.draft is not None,
            error=error,
            marks=marks,
            sessions=tuple(plans),
            took_s=round(time.monotonic() - began, 3),
        )

    def _plans(self, wish: Wish) -> tuple[list[records.SessionPlan], str]:
        """One a session, and why there is none of any: then they are those of before."""
        plans, errors = list[records.SessionPlan](), list[str]()
        for number, session in enumerate(wish.sessions):
            self.board.post("busy", records.Busy(done=number, sessions=len(wish.sessions)))
            try:
                plan = self._plan_of(wish, session)
                self._last_good[session.key] = plan
            except Pacs2BidsError as error:
                plan = with_changes(self._last_of(session.key), error=str(error))
                if isinstance(error, EndlessError):  # each would take its limit
                    self._endless = plan.error
                    return self._before(wish), plan.error
                if number == 0 and (wrong := _first_error(wish.text.path.name, self._marks(wish))):
                    return self._before(wish), wrong
            errors += [plan.error] if plan.error else []
            plans.append(plan)
        alike = {_without_key(plan.error, plan.key) for plan in plans}
        if len(errors) == len(plans) and len(alike) == 1:
            return self._before(wish), of_all(errors)
        return plans, ""

    def _plan_of(self, wish: Wish, session: Session) -> records.SessionPlan:
        needles = self._needles_of(wish.config, session)
        return blotted_of(needles, lambda: self._ask(wish, bench.plan, wish.asked, session))

    def _marks(self, wish: Wish) -> tuple[records.Mark, ...]:
        try:
            return self._ask(wish, bench.marks)
        except Pacs2BidsError as error:
            return (records.Mark(line=wish.text.line(str(error)), what=str(error), is_error=True),)

    def _ask(
        self,
        wish: Wish,
        function: Callable[Concatenate[bench.Shelf, Text, P], T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        if self._is_stale(wish):
            raise GivenUpError
        return self._process.ask_unless(lambda: self._is_stale(wish), function, wish.text, *args, **kwargs)

    def _before(self, wish: Wish) -> list[records.SessionPlan]:
        return [self._last_of(one.key) for one in wish.sessions]

    def _last_of(self, key: str) -> records.SessionPlan:
        return self._last_good.get(key) or records.SessionPlan(key=key)

    def _is_stale(self, wish: Wish) -> bool:
        return self._is_closed or self._wish is not wish


def _chosen(setting: Setting, only: Sequence[str]) -> list[Session]:
    if only:
        return sessions_of_table(setting.config.workdir, only)
    return [one for one in setting.sessions if is_indexed(one)][:FIRST_CHOSEN]


def _session(setting: Setting, key: str) -> Session:
    found = next((one for one in setting.sessions if one.key == key), None)
    if found is None:
        raise ConfigError("is not in the studies table any more", where=key)
    return found


def _stage(config: Path, setting: Setting, chosen: Sequence[str]) -> records.Stage:
    listed = [
        records.Listed(key=one.key, is_indexed=is_indexed(one), is_chosen=one.key in chosen)
        for one in setting.sessions
    ]
    return records.Stage(
        config=str(config),
        folder=config.absolute().parent.name,
        sessions=tuple(listed),
        trouble=setting.trouble,
    )


def _first_error(name: str, marks: Sequence[records.Mark]) -> str:
    errors = [mark for mark in marks if mark.is_error]
    if not errors:
        return ""
    where = f"{name}, line {errors[0].line}" if errors[0].line else name
    more = f" ({len(errors) - 1} more below the editor)" if len(errors) > 1 else ""
    told = str(
        Pacs2BidsError(
            errors[0].what, where=where, hint=shorten(errors[0].hint, MOST_OF_HINT, placeholder=" …")
        )
    )
    return told + more


def _without_key(said: str, key: str) -> str:
    return said.replace(key, "").replace(key.replace("_", "/"), "")


def _look(path: Path) -> tuple[Path, int, int, int] | None:
    try:
        seen = path.stat()
    except OSError:
        return None
    return path, seen.st_mtime_ns, seen.st_size, seen.st_ino
