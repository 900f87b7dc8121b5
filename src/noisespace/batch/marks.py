"""What was begun, in the store: so that an image that kills its workers is found again."""

from __future__ import annotations

import hashlib
from dataclasses import replace

from noisespace.batch.stores import Store
from noisespace.batch.work import Task

BEGUN = "begun"  # the folder of marks
GROUP_STARTS = 3  # of a group that never ended, until it is run image by image
ROW_STARTS = 2  # of an image alone that never ended, until it is a dead letter


class Marks:
    """Marks in the store of what was begun, so that what kills its worker again is found.

    Ray runs again what died, for ever, and so does who starts a job anew; nobody but the store
    remembers how often. ``most``: starts of a group that never ended, until it runs image by image;
    ``stage``: of what, where several processes work on a group.
    """

    def __init__(self, store: Store, task: Task, most: int = GROUP_STARTS, stage: str = "") -> None:
        self._store, self._task, self._most = store, task, most
        self._begun = ""  # our own mark
        self._now = ""  # the mark of the image in work
        self._head = f"{BEGUN}/{stage}{task.group.index:08d}-{task.attempt:03d}"
        self._made = self._there(self._head)
        self._starts = len(self._made)

    def task(self) -> Task:
        """The task, image by image if it was begun too often, without the images that kill."""
        self._begun = self._mark(self._head)
        if self._starts < self._most and not self._task.alone:
            return self._task
        poison = {}
        written = self._there(self._of(""))  # begun after the last image
        self._made += written
        if len(written) >= ROW_STARTS:
            why = f"the worker died {len(written)} times of what it made of this group"
            poison = {item.id: why for item in self._task.group.items}
            return replace(self._task, alone=True, poison=poison)
        for item in self._task.group.items:
            found = self._there(self._of(item.id))
            self._made += found
            if len(found) >= ROW_STARTS:
                poison[item.id] = f"the worker died of it {len(found)} times when it ran alone"
        return replace(self._task, alone=True, poison=poison)

    @property
    def suspect(self) -> bool:
        """Whether it was begun before and never ended."""
        return self._starts > 0

    def row(self, name: str) -> None:
        """An image begins, alone; "" when the last has ended and what came of them is written.

        What ended killed nobody.
        """
        if self._now:
            self._store.remove(self._now)
            self._made.remove(self._now)
        self._now = self._mark(self._of(name))

    def withdraw(self) -> None:
        """It was not begun after all, or ended without harm: what others left stays."""
        for name in filter(None, (self._begun, self._now)):
            self._store.remove(name)

    def clear(self) -> None:
        for name in set(self._made):
            self._store.remove(name)

    def _of(self, name: str) -> str:
        return f"{self._head}-{hashlib.sha256(name.encode()).hexdigest()[:16]}"

    def _there(self, head: str) -> list[str]:
        found: list[str] = []
        while self._store.has(name := f"{head}.{len(found)}"):
            found.append(name)
        return found

    def _mark(self, head: str) -> str:
        name = f"{head}.{len(self._there(head))}"
        self._store.put(name, b"begun")
        self._made.append(name)
        return name
