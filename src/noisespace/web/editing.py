"""What the Edit tab does: photos taken in, edits run and shown, history, files."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import gradio as gr

from noisespace.errors import InputError
from noisespace.web import asking
from noisespace.web.carrying import carrying
from noisespace.web.controls import usual
from noisespace.web.following import follow, telling
from noisespace.web.jobs import Gone
from noisespace.web.panel import panel
from noisespace.web.receiving import receive
from noisespace.web.session import Entry, Session
from noisespace.web.tabs.edit import EditTab

AWAY = "The edits of this page are gone, since it was left alone for long: give the photo again."


@dataclass(frozen=True)
class Editing:
    """The handlers of the Edit tab on an engine. Each says in the panel what went wrong."""

    engine: Any
    tab: EditTab

    def take(self, session: Session, given: Any) -> list[Any]:
        """A picture was given: a result of ours restores all, any other is the photo."""
        models = list(self.engine.models)
        return receive(session, given, self.tab.controls, self.engine.limits, models)

    def run(self, session: Session, *values: Any) -> Iterator[list[Any]]:
        """Edits: yields the panel and the two buttons, at last the results too."""
        quiet = [gr.skip()] * len(self.tab.view.outputs)
        idle_buttons = [gr.update(interactive=True), gr.update(interactive=False)]
        busy = [gr.update(interactive=True), gr.update(interactive=True)]
        try:
            photo, mask = asking.photo_now(session), session.mask
            settings = self.tab.controls.read(values)
            request = asking.edit_request(session, settings, self.engine.limits)
            job = follow(self.engine, session, request)
            outcome = yield from telling(job, [*busy, *quiet])
            given = self.engine.given.get(settings.model, settings.model)
            entry = asking.file_edit(session, settings, (photo, mask, given), outcome)
            said = panel(entry.said, "done")
            yield [said, *idle_buttons, *self.tab.view.show(session)]
        except Exception as error:
            yield [panel(asking.sentence(error), "error"), *idle_buttons, *quiet]

    def again(self, session: Session | None, wanted: bool, *values: Any) -> Iterator[list[Any]]:
        """A slider was let go: edits anew where that is wished and a photo is there."""
        if wanted and session is not None and session.photo is not None:
            yield from self.run(session, *values)
        else:
            yield [gr.skip()] * (3 + len(self.tab.view.outputs))

    def cancel(self, session: Session | None) -> None:
        """Stops within one step; the run itself says that it was cancelled."""
        if session is not None:  # else the page is still being loaded
            session.cancel()

    def move(self, session: Session, to: Callable[[Any], Any]) -> list[Any]:
        """Undo, redo or a choice in the history: its results and its settings."""
        before = session.history
        try:
            session.history = to(before)
            shown = self.current(session)
        except Exception:
            session.history = before
            raise
        if session.entry is None:
            shown[1] = panel(AWAY, "error")
        return shown

    def current(self, session: Session) -> list[Any]:
        """What the page shows of a session: photo, panel, settings, results."""
        session.draw_again()
        entry, controls = session.entry, self.tab.controls
        shown = self.tab.view.show(session)
        if entry is None:
            photo = gr.skip() if session.photo is None else session.photo.path
            none = [gr.skip()] * len(controls.outputs)
            return [photo, gr.skip(), *none, *shown]
        session.revisit(entry)
        settings, said = controls.show(entry.settings), panel(entry.said, "done")
        return [entry.photo.path, said, *settings, *shown]

    def choose(self, session: Session, index: int) -> Any:
        """A variant was chosen in the gallery: it is compared and downloaded.

        Raises InputError where its edit is gone.
        """
        entry = session.entry
        if entry is None:
            raise InputError(AWAY)
        if index >= len(entry.pictures):  # the reconstruction
            return gr.skip()
        session.history = session.history.change(replace(entry, chosen=index))
        return entry.photo.path, entry.pictures[index]

    def file(self, session: Session, kind: str, carry: bool = True) -> tuple[str, str] | None:
        """The path of a file of the current edit, and what to say of it; None without an edit.

        ``carry``: whether the picture shall carry its photo, mask and strokes.
        """
        entry = session.entry
        if entry is None:
            return None
        if kind == "Image":
            return self.picture(session, entry, carry)
        if kind == "Record":
            return session.pass_on("record.json", asking.record_bytes(entry)), ""
        code = self.code(session, entry)
        if kind == "Zip":
            return session.pass_on("edit.zip", asking.bundle(entry, code, session.strokes)), ""
        if code is None:
            raise InputError("the code is no longer kept: edit once more")
        return session.pass_on("code.safetensors", code.to_bytes()), ""

    def code(self, session: Session, entry: Entry) -> Any:
        """The code of an edit; None where it is no longer kept."""
        try:
            return self.engine.code(entry.code, session.owner) if entry.code else None
        except Gone:
            return None

    def picture(self, session: Session, entry: Entry, carry: bool) -> tuple[str, str]:
        """The chosen picture's file, and what to say where it cannot carry all."""
        path = Path(entry.pictures[entry.chosen])
        if not carry:
            return str(path), ""
        whole = carrying(path.read_bytes(), entry, session.strokes, self.engine.limits)
        if whole is None:
            said = "The photo is too large to be carried by the image: the zip holds it."
            return str(path), said
        return session.pass_on(path.name, whole), ""

    def defaults(self, model: str, spec: str) -> list[Any]:
        """The steps and guidances that a method has of its own."""
        try:
            return list(usual(self.engine.models[model], spec))
        except InputError:
            return [gr.skip()] * 3
