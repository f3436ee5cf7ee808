"""What private elements mean: one module a vendor, each with ``claims(header)`` and ``facts(header)``.

``facts`` picks the first module that claims the header; ``standard`` claims what is left. It is called once
an instance, or once a frame of an enhanced instance. To add a vendor: one module here, one entry in
``VENDORS``, one row in the contract test.
"""

from __future__ import annotations

from typing import Protocol

from pacs2bids.header import Header
from pacs2bids.model import Facts
from pacs2bids.vendors import canon, ge, philips, siemens, standard, uih

__all__ = ["VENDORS", "Vendor", "facts"]


class Vendor(Protocol):
    """What a vendor module offers."""

    def claims(self, header: Header) -> bool:
        """Whether this vendor wrote the header."""
        ...

    def facts(self, header: Header) -> Facts:
        """The standard facts, and what the private elements add. Raises HeaderError."""
        ...


VENDORS: tuple[Vendor, ...] = (siemens, ge, philips, uih, canon, standard)


def facts(header: Header) -> Facts:
    """What this frame's header says, in vendor-neutral terms; see ``model.Facts``.

    Raises HeaderError where the picture cannot be understood without a private element that is missing.
    """
    vendor = next(vendor for vendor in VENDORS if vendor.claims(header))
    return vendor.facts(header)
