"""What the page shows, by topic: who listens gets the last word of each, and is woken by a new one."""

from __future__ import annotations

import threading

import msgspec


class Board:
    """Topics and their last words. Threads may post and read as they like."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._number = 0
        self._words: dict[str, tuple[int, bytes]] = {}

    def post(self, topic: str, record: msgspec.Struct) -> None:
        """Say something new, unless it is what was said last."""
        word = msgspec.json.encode(record)
        with self._changed:
            if self._words.get(topic, (0, b""))[1] != word:
                self._number += 1
                self._words[topic] = (self._number, word)
                self._changed.notify_all()

    def news(self, since: int, timeout_s: float) -> tuple[int, list[tuple[str, bytes]]]:
        """What was said after ``since`` (0: ever), and the ``since`` of the next question."""
        with self._changed:
            self._changed.wait_for(lambda: self._number > since, timeout_s)
            new = sorted((number, topic, word) for topic, (number, word) in self._words.items())
            return self._number, [(topic, word) for number, topic, word in new if number > since]
