"""Query and retrieve: sources, the receiver, receipts, and a small PACS of our own."""
