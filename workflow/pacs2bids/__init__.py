"""pacs2bids: studies from a PACS to a validated BIDS dataset."""

__version__ = "0.1.0"
