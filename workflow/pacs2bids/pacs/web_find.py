"""QIDO-RS: asking a DICOMweb server what it has (PS3.18 section 10.6), in the shape of a C-FIND.

Answers come in pages. Servers cut them at limits of their own, some ignore the offset and begin anew: so we
go on until a page brings nothing that we do not have.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import msgspec
from pydicom.datadict import dictionary_VR, tag_for_keyword
from urllib3.exceptions import HTTPError

from pacs2bids.model import QueryError
from pacs2bids.pacs.web import AnswerError, Client
from pacs2bids.peers import Attributes, WebPeer

_JSON = "application/dicom+json"
_PAGE = 1000
_SMALL_PAGE = 200  # the most that Azure's service allows; it answers 400 to more
_MOST_PAGES = 10_000
_MOST_BYTES = 256 << 20  # of one page, from a server that knows no limit
_LEVELS = {"STUDY": "studies", "SERIES": "series", "IMAGE": "instances"}
_KEYS = {"STUDY": "StudyInstanceUID", "SERIES": "SeriesInstanceUID", "IMAGE": "SOPInstanceUID"}
_ABOVE = {"STUDY": (), "SERIES": ("STUDY",), "IMAGE": ("STUDY", "SERIES")}

log = logging.getLogger("pacs2bids.find")


def find(web: WebPeer, level: str, question: Attributes) -> list[dict[str, str]]:
    """What the server answers to one search at ``level`` (STUDY, SERIES or IMAGE).

    ``question``: keyword -> key; "" asks for the value, other keys restrict (wildcards, ranges, UID lists).
    Each answer holds those of the attributes asked for that came back, by keyword, as text. Order is the
    server's. Raises QueryError that says what happened and what to do, ConfigError for an unusable secret.
    """
    return searched(Client(web), level, question)


def find_some(web: WebPeer, level: str, question: Attributes, *, at_most: int) -> list[dict[str, str]]:
    """The first answers, of one page; raises as ``find``."""
    client = Client(web)
    tags = {keyword: _tag(keyword, client) for keyword in question}
    path, given, query = _resource(level, question)
    page = _page(client, path, [*query, ("limit", str(at_most))])
    return [given | _attributes(one, tags) for one in page[:at_most]]


def searched(client: Client, level: str, question: Attributes) -> list[dict[str, str]]:
    """As ``find``, by a client that is there already."""
    tags = {keyword: _tag(keyword, client) for keyword in (*question, _KEYS[level])}
    path, given, query = _resource(level, question)
    try:
        found = _all_pages(client, path, query, tags[_KEYS[level]])
    except AnswerError as error:
        if error.status != 404 or level == "STUDY":
            raise
        # an unknown study may be told so; but is there a server at all?
        searched(client, "STUDY", {"StudyInstanceUID": given.get("StudyInstanceUID", "0")})
        found = []
    log.info("%s: %d answers at level %s", client.web, len(found), level)
    return [given | _attributes(one, {keyword: tags[keyword] for keyword in question}) for one in found]


def _tag(keyword: str, client: Client) -> str:
    tag = tag_for_keyword(keyword)
    if tag is None:
        raise QueryError(f"{keyword!r} is no DICOM keyword", where=str(client.web))
    return f"{tag:08X}"


def _resource(level: str, question: Attributes) -> tuple[str, dict[str, str], list[tuple[str, str]]]:
    """The path below the root, the UIDs that stand in it, and what is asked of it."""
    path, given = "", dict[str, str]()
    for above in _ABOVE[level]:
        uid = question.get(_KEYS[above], "")
        if not uid or not uid.replace(".", "").isdecimal():
            break
        path += f"/{_LEVELS[above]}/{uid}"
        given[_KEYS[above]] = uid
    query = [("includefield", key) for key, value in question.items() if not value]
    query += [(key, _listed(key, value)) for key, value in question.items() if value and key not in given]
    return f"{path}/{_LEVELS[level]}", given, query


def _listed(keyword: str, value: str) -> str:
    """A list of UIDs has commas here (PS3.18 section 8.3.4.1)."""
    return value.replace("\\", ",") if dictionary_VR(keyword) == "UI" else value


# ---------------------------------------------------------------------------------------------- pages


def _all_pages(client: Client, path: str, query: Sequence[tuple[str, str]], key: str) -> list[dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    limit, offset = _PAGE, 0
    for _ in range(_MOST_PAGES):
        try:
            page = _page(client, path, [*query, ("limit", str(limit)), ("offset", str(offset))])
        except AnswerError as error:
            if error.status == 404 and offset:  # behind the last
                break
            if error.status != 400 or limit == _SMALL_PAGE:
                raise
            limit = _SMALL_PAGE
            continue
        before = len(found)
        for one in page:
            found.setdefault(_text(one.get(key, {})) or f"nameless {len(found)}", one)
        if len(found) == before:
            break
        offset += len(page)
    return [*found.values()]


def _page(client: Client, path: str, query: Sequence[tuple[str, str]]) -> list[dict[str, Any]]:
    with client.get(path, accept=_JSON, query=query) as response:
        if response.status == 204:  # nothing matches (PS3.18 section 8.3.4)
            return []
        try:
            body = response.read(_MOST_BYTES)
            if response.read(1):
                raise QueryError("the answer has no end", where=str(client.web), hint="Narrow the query")
        except HTTPError as error:
            what = f"the answer was broken off ({type(error).__name__})"
            raise QueryError(what, where=str(client.web), hint="Try again") from None
        said = response.headers.get("Content-Type", "nothing")
    try:
        return msgspec.json.decode(body, type=list[dict[str, Any]]) if body else []
    except msgspec.DecodeError:
        what = f"the answer is no DICOM JSON (it calls itself {said.partition(';')[0]:.60})"
        hint = "Check url in config.yaml: it must be the DICOMweb root, not a page to look at"
        raise QueryError(what, where=str(client.web), hint=hint) from None


# ---------------------------------------------------------------------------------------------- DICOM JSON


def _attributes(answer: dict[str, Any], tags: dict[str, str]) -> dict[str, str]:
    found = {keyword: answer[tag] for keyword, tag in tags.items() if tag in answer}
    return {keyword: _text(one) for keyword, one in found.items() if one.get("vr") != "SQ"}


def _text(element: Any) -> str:
    """The values of an element of the DICOM JSON Model (PS3.18 annex F.2) as text."""
    values = element.get("Value") if isinstance(element, dict) else None
    return "\\".join(map(_one, values)) if isinstance(values, list) else ""


def _one(value: Any) -> str:
    if value is None:  # an empty one of several (annex F.2.5)
        return ""
    if isinstance(value, dict):  # a person name by its component groups (annex F.2.2)
        groups = (str(value.get(group) or "") for group in ("Alphabetic", "Ideographic", "Phonetic"))
        return "=".join(groups).rstrip("=")
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value).strip(" \0")
