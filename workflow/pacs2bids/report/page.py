"""Records and pictures become one HTML file that needs nothing else: no request, no script, no font."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined, Template

from pacs2bids.report.pictures import Picture
from pacs2bids.report.view import Page, VolumeRef


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawing:
    """The pictures of one volume, or why there is none."""

    pictures: tuple[Picture, ...] = ()
    problem: str = ""


def render(page: Page, drawings: Mapping[VolumeRef, Drawing]) -> str:
    """The page as HTML; every text is escaped. ``drawings`` holds one entry a volume of the page."""
    return _template().render(page=page, drawings=drawings)


@cache
def _template() -> Template:
    environment = Environment(
        loader=PackageLoader("pacs2bids.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["data_uri"] = _data_uri
    return environment.get_template("page.html")


def _data_uri(picture: Picture) -> str:
    return f"data:image/jpeg;base64,{base64.b64encode(picture.jpeg).decode()}"
