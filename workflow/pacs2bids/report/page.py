"""Records and pictures become HTML files that need nothing else: no request, no font, no other program."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import resources

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from pacs2bids.report.diagrams import (
    Shell,
    colours_of,
    directions_svg,
    shells_of,
    signal_svg,
    weighted_signal_svg,
)
from pacs2bids.report.matrix import SIGNS
from pacs2bids.report.pictures import Drawing, Picture
from pacs2bids.report.view import SHOWN, SessionView, VolumeRef
from pacs2bids.report.whole import Page


def render_dataset(page: Page, *, files: str, drift_table: str) -> str:
    """The page of the dataset; every text is escaped.

    ``files``: the folder of the sessions' pages; ``drift_table``: file of the protocol drift in there.
    """
    script, digest = _script("dataset.js")
    return (
        _environment()
        .get_template("dataset.html")
        .render(
            page=page,
            files=files,
            drift_table=drift_table,
            signs=SIGNS,
            shown=SHOWN,
            script=script,
            script_digest=digest,
        )
    )


def render_session(
    session: SessionView,
    drawings: Mapping[VolumeRef, Drawing],
    scripts: Mapping[VolumeRef, str],
    *,
    viewer: str,
    title: str,
    back: str,
    neighbours: tuple[str, str],
) -> str:
    """The page of one session. ``drawings``: one a volume of it. ``title``, ``back``: the dataset's page.

    ``neighbours``: keys of the session before and of the one after, "" where there is none. ``scripts``:
    numbers of the volumes that the viewer can show; ``viewer``: its file, "" without one.
    """
    script, digest = _script("session.js")
    return (
        _environment()
        .get_template("session.html")
        .render(
            session=session,
            drawings=drawings,
            scripts=scripts,
            viewer=viewer,
            title=title,
            back=back,
            neighbours=neighbours,
            script=script,
            script_digest=digest,
        )
    )


def _script(name: str) -> tuple[Markup, str]:
    """A script of ours, and the digest by which a page's policy lets it run and no other."""
    script = (resources.files("pacs2bids.report") / name).read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return Markup(script), f"sha256-{digest}"


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("pacs2bids.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "breakable": _breakable,
        "coloured": _coloured,
        "data_uri": _data_uri,
        "directions": _directions,
        "shells": _shells,
        "signal": _signal,
        "value": _value,
    }
    return environment


def _breakable(name: str) -> Markup:
    """A name of BIDS that lines may break behind a slash and between entities, before they break anywhere."""
    return Markup(re.sub("([/_])", r"\1<wbr>", str(escape(name))))


def _data_uri(picture: Picture) -> str:
    return f"data:image/jpeg;base64,{base64.b64encode(picture.jpeg).decode()}"


def _signal(drawing: Drawing, volume: VolumeRef) -> Markup:
    shells = _shells(volume)
    if shells and drawing.signal:
        return Markup(weighted_signal_svg(drawing.signal, shells, volume.step_s))
    return Markup(signal_svg(drawing.signal, volume.step_s))


def _shells(volume: VolumeRef) -> tuple[Shell, ...]:
    return shells_of(volume.b_values_s_per_mm2)


def _coloured(shells: Sequence[Shell]) -> list[tuple[Shell, str]]:
    return list(zip(shells, colours_of(shells), strict=True))


def _directions(volume: VolumeRef) -> Markup:
    return Markup(directions_svg(_shells(volume), volume.b_vectors_lps))


def _value(number: float) -> str:
    text = f"{number:,.0f}" if abs(number) >= 100 else f"{number:.3g}"
    return text.replace("-", "\u2212")
