"""What is wrong with a template of heudiconv's dialect, whatever series it will name."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from string import Formatter

from pacs2bids.bids import BidsName
from pacs2bids.dialects.problem import AUTOMATIC, PAIRED, Problem
from pacs2bids.model import PlanError

DIR, PREFIX = "bids_subject_session_dir", "bids_subject_session_prefix"
COUNTERS = ("item", "subindex", "seqitem")

# what the fields of every template stand for here
SAMPLES = {
    DIR: "sub-01/ses-a",
    PREFIX: "sub-01_ses-a",
    "subject": "01",
    "session": "ses-a",
    **dict.fromkeys(COUNTERS, "1"),
}
INSTEAD = "Write {bids_subject_session_dir}/... and {bids_subject_session_prefix}_... instead"
OTHER = "1"  # a label for any entity but those that have a list


def fields_of(template: str) -> list[str]:
    """Names of the fields of a template, ``{item:03d}`` as "item".

    Raises ValueError if it has no such form.
    """
    return [name for _, name, _, _ in Formatter().parse(template) if name is not None]


def problems(template: str, line: int, given: Collection[str]) -> Iterator[Problem]:
    """All that is wrong with a template; ``given``: fields that items of the file bring along."""
    try:
        fields = fields_of(template)
    except ValueError as error:
        yield Problem(line=line, what=f"{template!r} cannot be filled in: {error}", hint="Check its braces")
        return
    unknown = [name for name in fields if name not in SAMPLES and name not in given]
    for name in dict.fromkeys(unknown):
        hint = (
            f'Give it with the item, as in {{"item": s.series_id, "{name}": ...}}, or use one of {{item}}, '
        )
        hint += "{subject}, {session}, {bids_subject_session_dir}, {bids_subject_session_prefix}"
        yield Problem(line=line, what=f"{template!r} uses {{{name}}}, which nothing here gives", hint=hint)
    if "ses-{session}" in template:
        what = f"{template!r}: {{session}} is 'ses-a' already, with 'ses-'"
        yield Problem(line=line, what=what, hint=INSTEAD)
    if not _subject(fields):
        what = f"{template!r} does not hold the subject: all persons would get the same names"
        yield Problem(line=line, what=what, hint=INSTEAD)
    elif not unknown and "ses-{session}" not in template and _can_be_read(template):
        yield from _about_name(template, line)


def without_session(lines: Mapping[str, int]) -> Iterator[Problem]:
    """Which of these templates, each with its line, do not fit studies with sessions, or those without."""
    forms: dict[str, list[str]] = {}
    for text in lines:
        with contextlib.suppress(ValueError):
            forms[text] = fields_of(text)
    without = [
        text for text in forms if not {"session", DIR, PREFIX} & set(forms[text]) and _subject(forms[text])
    ]
    if without:
        yield _of_several(without, lines, "no session: two of one person would get the same names")
    only = [text for text, fields in forms.items() if "session" in fields and DIR not in fields]
    if only:
        yield _of_several(only, lines, "a {session} that cannot be filled in for a study without sessions")


def _of_several(templates: Sequence[str], lines: Mapping[str, int], what: str) -> Problem:
    first = min(templates, key=lambda text: lines[text])
    count = (
        f"{len(templates)} templates, the first {first!r}, have" if len(templates) > 1 else f"{first!r} has"
    )
    return Problem(line=lines[first], what=f"{count} {what}", hint=INSTEAD, is_error=False)


def _subject(fields: Iterable[str]) -> bool:
    return bool({"subject", DIR, PREFIX} & set(fields))


def _can_be_read(template: str) -> bool:
    """Whether its fields are labels, so that what else it says can be judged: not "_{suffix}"."""
    own = [name for name in fields_of(template) if name not in (DIR, PREFIX, "session", "subject")]
    return all(re.search(rf"-[A-Za-z0-9+{{}}:]*\{{{re.escape(name)}[:}}]", template) for name in own)


def _about_name(template: str, line: int) -> Iterator[Problem]:
    path = re.sub(r"\{(\w+)[^{}]*\}", lambda match: SAMPLES.get(match[1], OTHER), template)
    if "ses-a" not in path:  # told above; the rest of the name counts all the same
        path = path.replace("sub-01/", "sub-01/ses-a/", 1).replace("/sub-01_", "/sub-01_ses-a_", 1)
    hint = ""
    try:
        name = BidsName.read(path)
        found = name.with_suffix(PAIRED.get((name.datatype, name.suffix), name.suffix)).problems()
    except PlanError as error:
        found, hint = [error.what], "" if "extension" in error.what else INSTEAD
    for problem in found:
        needed = re.search(r"needs the entity '(\w+)'", problem)
        is_known_later = needed is not None and needed[1] in AUTOMATIC
        if not is_known_later and not problem.endswith(f"not {OTHER!r}"):  # a label that is not known yet
            yield Problem(line=line, what=f"{template!r}: {problem}", hint=hint)
