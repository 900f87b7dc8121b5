"""What the Edit tab does: photos taken in, edits run and shown, masks, words, history, files."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np

from noisespace.errors import InputError
from noisespace.web import asking
from noisespace.web.controls import BY_HAND, usual
from noisespace.web.panel import idle, panel
from noisespace.web.pieces import painted, path_of, put_away
from noisespace.web.records import record_in, restored
from noisespace.web.requests import AttentionRequest, MaskRequest
from noisespace.web.session import Session
from noisespace.web.tabs.edit import EditTab


@dataclass(frozen=True)
class Editing:
    """The handlers of the Edit tab on an engine. Each says in the panel what went wrong."""

    engine: Any
    tab: EditTab

    def take(self, session: Session, given: Any) -> list[Any]:
        """A photo was given: a result of ours gives its settings back, any other is the input."""
        path = path_of(given)
        nothing = [gr.skip()] * len(self.tab.controls.outputs)
        if path is None:
            session.take(None)
            return [gr.skip(), idle(), put_away(session), *nothing]
        try:
            data = Path(path).read_bytes()
            record = record_in(data)
            if record is not None and record.get("task") == "edit":
                return self.restore(session, record)
            photo = asking.photo_of(session, data, self.engine.limits)
            session.take(photo)
            return [gr.skip(), idle(), put_away(session), *nothing]
        except Exception as error:
            session.take(None)
            return [None, panel(asking.sentence(error), "error"), put_away(session), *nothing]

    def restore(self, session: Session, record: dict[str, Any]) -> list[Any]:
        """All settings of a record; the photo too where this session has seen it."""
        found = restored(record)
        settings, notes = found.settings, list(found.notes)
        if settings.model not in self.models():
            notes.append(f"the model {settings.model} is not served here")
            settings = settings.model_copy(update={"model": self.models()[0]})
        photo = session.photos.get(found.image)
        session.take(photo)
        said = "All settings of this result are restored."
        if photo is None:
            said += (
                " The photo itself is not in it: drop the original to edit it again "
                f"(its fingerprint begins with {found.image[:8]})."
            )
        said = " ".join([said, *(f"Note: {note}." for note in notes)])
        shown = self.tab.controls.show(settings)
        return [photo and photo.path, panel(said, "done"), put_away(session), *shown]

    def models(self) -> list[str]:
        return list(self.engine.models)

    def run(self, session: Session, *values: Any) -> Iterator[list[Any]]:
        """Edits: yields the panel and the two buttons, at last the results too."""
        quiet = [gr.skip()] * len(self.tab.view.outputs)
        idle_buttons = [gr.update(interactive=True), gr.update(interactive=False)]
        busy = [gr.update(interactive=True), gr.update(interactive=True)]
        try:
            if session.photo is None:
                raise InputError("Give a photo first: drop one, paste one or take an example.")
            settings, photo = self.tab.controls.read(values), session.photo
            request = asking.edit_request(settings, photo, session.mask)
            job = asking.follow(self.engine, session, request)
            outcome = None
            while outcome is None:
                try:
                    yield [next(job), *busy, *quiet]
                except StopIteration as end:
                    outcome = end.value
            entry = asking.file_edit(session, settings, photo, session.mask, outcome)
            said = panel(entry.said, "done")
            yield [said, *idle_buttons, *self.tab.view.show(session)]
        except Exception as error:
            yield [panel(asking.sentence(error), "error"), *idle_buttons, *quiet]

    def again(self, session: Session, wanted: bool, *values: Any) -> Iterator[list[Any]]:
        """A slider was let go: edits anew where that is wished and a photo is there."""
        if wanted and session.photo is not None:
            yield from self.run(session, *values)
        else:
            yield [gr.skip()] * (3 + len(self.tab.view.outputs))

    def cancel(self, session: Session) -> None:
        """Stops within one step; the run itself says that it was cancelled."""
        session.cancel()

    def painted(self, session: Session, given: Any) -> Any:
        """Paint was put on the photo: it is the mask, and the edit acts there."""
        if session.photo is None:
            return gr.skip()
        session.mask = painted((given or {}).get("layers", []), session.photo.size, session.found)
        return gr.skip() if session.mask is None else BY_HAND

    def find(self, session: Session, *values: Any) -> list[Any]:
        """Finds a mask and shows it as paint, so that it can be mended by hand."""
        try:
            if session.photo is None:
                raise InputError("Give a photo first.")
            settings, photo = self.tab.controls.read(values), session.photo
            spec = self.tab.controls.inputs.index(self.tab.controls.mask.spec)
            request = MaskRequest(
                **asking.inversion(settings), image=asking.pixels_of(photo),
                target=settings.target, mask=values[spec] or "diffedit",
            )  # fmt: skip
            outcome = self.wait(session, request)
            mask = np.where(np.asarray(outcome.mask.convert("L")) > 127, 255, 0).astype(np.uint8)
            session.mask = session.found = mask
            share = f"{100 * float((mask > 0).mean()):.0f}"
            said = f"The mask covers {share} % of the photo: orange adds to it, blue takes away."
            return [panel(said, "done"), put_away(session), BY_HAND]
        except Exception as error:
            return [panel(asking.sentence(error), "error"), gr.skip(), gr.skip()]

    def wait(self, session: Session, request: Any) -> Any:
        """A short job's outcome."""
        job = asking.follow(self.engine, session, request)
        while True:
            try:
                next(job)
            except StopIteration as end:
                return end.value

    def words(self, source: str) -> Any:
        """The words to choose from."""
        words = list(dict.fromkeys((source or "").replace(",", " ").split()))[:32]
        return gr.update(choices=words, value=None)

    def look(self, session: Session, word: str | None, *values: Any) -> list[Any]:
        """The attention of one word, over the photo."""
        if not word:
            return [gr.skip(), gr.skip()]
        try:
            if session.photo is None:
                raise InputError("Give a photo first.")
            settings = self.tab.controls.read(values)
            asked = asking.inversion(settings)
            image = asking.pixels_of(session.photo)
            outcome = self.wait(session, AttentionRequest(**asked, image=image, words=(word,)))
            return [outcome.images[0], gr.skip()]
        except Exception as error:
            return [gr.skip(), panel(asking.sentence(error), "error")]

    def move(self, session: Session, to: Callable[[Any], Any]) -> list[Any]:
        """Undo, redo or a choice in the history: its results and its settings."""
        session.history = to(session.history)
        return self.current(session)

    def current(self, session: Session) -> list[Any]:
        """What the page shows of a session: photo, panel, paint, settings, results."""
        entry, controls = session.entry, self.tab.controls
        shown = self.tab.view.show(session)
        if entry is None:
            return [gr.skip(), gr.skip(), gr.skip(), *[gr.skip()] * len(controls.outputs), *shown]
        same = session.photo is not None and session.photo.image == entry.photo.image
        session.take(entry.photo)
        settings = controls.show(entry.settings)
        paint = gr.skip() if same else put_away(session)
        return [entry.photo.path, panel(entry.said, "done"), paint, *settings, *shown]

    def choose(self, session: Session, index: int) -> Any:
        """A variant was chosen in the gallery: it is compared and downloaded."""
        entry = session.entry
        if entry is None or index >= len(entry.pictures):
            return gr.skip()
        session.history = session.history.change(replace(entry, chosen=index))
        return entry.photo.path, entry.pictures[index]

    def file(self, session: Session, kind: str) -> str | None:
        """The path of a file of the current edit."""
        entry = session.entry
        if entry is None:
            return None
        if kind == "Image":
            return entry.pictures[entry.chosen]
        if kind == "Record":
            return session.write("record.json", asking.record_bytes(entry))
        code = self.engine.code(entry.code, session.owner) if entry.code else None
        if kind == "Zip":
            return session.write("edit.zip", asking.bundle(entry, code))
        if code is None:
            raise InputError("the code is no longer kept: edit once more")
        return session.write("code.safetensors", code.to_bytes())

    def defaults(self, model: str, spec: str) -> list[Any]:
        """The steps and guidances that a method has of its own."""
        try:
            return list(usual(self.engine.models[model], spec))
        except InputError:
            return [gr.skip()] * 3
