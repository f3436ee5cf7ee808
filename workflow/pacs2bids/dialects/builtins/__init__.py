"""Heuristics that come with pacs2bids: files like a user's, called by their names without the ending."""
