"""What private elements mean: one module a vendor.

``facts`` picks the module that knows the header's Manufacturer by name; where nobody does (removed, or
overwritten by another program), the one whose private blocks are there; else ``standard``. It is called once
an instance, or once a frame of an enhanced instance. To add a vendor: one module here, one entry in
``VENDORS``, one row in the contract test.
"""

from __future__ import annotations

from typing import Protocol

from pacs2bids.header import Header
from pacs2bids.model import Facts, HeaderError
from pacs2bids.vendors import canon, ge, philips, siemens, standard, uih

__all__ = ["VENDORS", "Vendor", "facts"]


class Vendor(Protocol):
    """What a vendor module offers. ``CREATORS``: (creator, group) of private blocks that only it writes."""

    CREATORS: tuple[tuple[str, int], ...]

    def claims(self, header: Header) -> bool:
        """Whether Manufacturer names this vendor."""
        ...

    def facts(self, header: Header) -> Facts:
        """The standard facts, and what the private elements add. Raises HeaderError."""
        ...


VENDORS: tuple[Vendor, ...] = (siemens, ge, philips, uih, canon)


def facts(header: Header) -> Facts:
    """What this frame's header says, in vendor-neutral terms; see ``model.Facts``.

    Raises HeaderError where the picture cannot be understood without a private element that is missing.
    """
    vendor = next((vendor for vendor in VENDORS if vendor.claims(header)), None) or next(
        (vendor for vendor in VENDORS if any(header.has_private(*block) for block in vendor.CREATORS)), None
    )
    if vendor is not None:
        return vendor.facts(header)
    if "MOSAIC" in header.texts("ImageType"):
        what = "a mosaic of slices by nobody whose private elements are known: where they lie is not told"
        raise HeaderError(what, hint="Get the instance with its Manufacturer and private elements")
    return standard.facts(header)
