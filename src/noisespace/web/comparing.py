"""What the Compare tab does."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import gradio as gr
from PIL import Image, ImageDraw

from noisespace.errors import InputError
from noisespace.pictures.metadata import png_bytes
from noisespace.web import asking
from noisespace.web.controls import usual
from noisespace.web.editing import Editing
from noisespace.web.following import follow, telling
from noisespace.web.panel import panel, seconds
from noisespace.web.records import Settings
from noisespace.web.requests import CompareRequest
from noisespace.web.session import Session
from noisespace.web.tabs.compare import CompareTab


@dataclass(frozen=True)
class Comparing:
    """The handlers of the Compare tab; photo and settings are those of the Edit tab."""

    editing: Editing
    tab: CompareTab

    def methods(
        self, session: Session, methods: list[str], editors: list[str], *values: Any
    ) -> Iterator[list[Any]]:
        """Every method with every editor.

        Steps and guidances are those of the Edit tab; where that has the usual ones of its method,
        each method has its own, since a method at another's settings shows little of it.
        """

        def ask(settings: Settings, rest: dict[str, Any]) -> CompareRequest:
            if not methods or not editors:
                raise InputError("choose at least one inversion and one editor (none is one)")
            chosen = tuple(None if editor == "none" else editor for editor in editors)
            if not self.untouched(settings):
                return CompareRequest.methods(methods, chosen, settings.guidance, **rest)
            rest |= {"steps": None, "source_guidance": None}
            return CompareRequest.methods(methods, chosen, None, **rest)

        yield from self.run(session, ask, values)

    def grid(
        self, session: Session, skips: str, guidances: str, *values: Any
    ) -> Iterator[list[Any]]:
        """Skip against guidance, by the inversion and editor of the Edit tab."""

        def ask(settings: Settings, rest: dict[str, Any]) -> CompareRequest:
            rows, columns = numbers(skips, "skips"), numbers(guidances, "guidances")
            rest |= {"editor": settings.editor or None}
            return CompareRequest.skip_guidance(settings.method, rows, columns, **rest)

        yield from self.run(session, ask, values)

    def untouched(self, settings: Settings) -> bool:
        """Whether steps and guidances are the usual ones of the method."""
        own = (settings.steps, settings.guidance, settings.source_guidance)
        return own == usual(self.editing.engine.models[settings.model], settings.method)

    def made_with(self, settings: Settings, cell: Any) -> Settings:
        """The settings of a cell, of a comparison that was asked for with ``settings``."""
        own: dict[str, Any] = used(cell)
        if cell.record is None and cell.guidance is None and self.untouched(settings):
            model = self.editing.engine.models[settings.model]
            own = dict(zip(USED, usual(model, cell.method), strict=True))
        named = {"method": cell.method, "editor": cell.editor or "", "variants": 1}
        return settings.model_copy(update={**named, **own})

    def run(self, session: Session, ask: Any, values: tuple[Any, ...]) -> Iterator[list[Any]]:
        """A comparison, to its grid."""
        try:
            engine, settings = self.editing.engine, self.editing.tab.controls.read(values)
            rest = asking.inversion(settings) | asking.changed(session, settings, engine.limits)
            del rest["method"], rest["variants"]
            rest["target"] = settings.target
            job = follow(engine, session, ask(settings, rest))
            outcome = yield from telling(job, [gr.skip(), gr.skip()])
            session.compared = tuple(self.made_with(settings, cell) for cell in outcome.cells)
            yield self.shown(session, outcome)
        except Exception as error:
            yield [panel(asking.sentence(error), "error"), gr.skip(), gr.skip()]

    def shown(self, session: Session, outcome: Any) -> list[Any]:
        """Panel, grid and table of a comparison."""
        cells = [cell for cell in outcome.cells if cell.image is not None]
        session.drop("compared")
        pictures = []
        for cell in outcome.cells:
            if cell.image is None:  # keeps its place, so that rows and columns stay what they are
                path = session.write("failed.png", crossed(), of="compared")
                pictures.append((path, f"{label(cell)}: failed"))
                continue
            with_record = asking.picture_bytes(cell.image, cell.record)
            path = session.write("compared.png", with_record, of="compared")
            pictures.append(
                (path, f"{label(cell)}: {cell.psnr_input:.1f} dB, {cell.seconds:.1f} s")
            )
        failed = [f"{label(c)} failed: {c.error}." for c in outcome.cells if c.error]
        many = "" if len(cells) == 1 else "s"
        took = f"{len(cells)} edit{many} in {seconds(outcome.edit_seconds)}."
        rows = [
            [c.method, c.editor or "none", *map(used(c).get, USED), c.psnr_input, c.seconds]
            for c in cells
        ]
        said = panel(" ".join([took, *failed]), "error" if failed else "done")
        return [said, gr.update(value=pictures, columns=min(outcome.columns, 6) or 1), rows]

    def take(self, session: Session, index: int) -> list[Any]:
        """Takes the settings of a cell over into the Edit tab."""
        controls = self.editing.tab.controls
        if not 0 <= index < len(session.compared):
            return [gr.skip(), *[gr.skip()] * len(controls.outputs)]
        settings = session.compared[index]
        words = f"Taken over to the tab Edit: {settings.method}, guidance {settings.guidance}"
        return [panel(f"{words}.", "done"), *controls.show(settings)]


def crossed() -> bytes:
    """A picture of nothing, in the place of one that could not be made."""
    picture = Image.new("RGB", (64, 64), "#dddddd")
    draw = ImageDraw.Draw(picture)
    draw.line((16, 16, 47, 47), fill="#888888", width=3)
    draw.line((16, 47, 47, 16), fill="#888888", width=3)
    return png_bytes(picture)


USED = ("steps", "guidance", "source_guidance")


def used(cell: Any) -> dict[str, Any]:
    """The steps and guidances of a cell, by its record; of one that failed, what was asked."""
    record = cell.record or {}
    source = record.get("source", {})
    values = (source.get("steps"), record.get("guidance", cell.guidance), source.get("guidance"))
    return {name: v for name, v in zip(USED, values, strict=True) if v is not None}


def label(cell: Any) -> str:
    """What a cell was made with."""
    with_editor = f" + {cell.editor}" if cell.editor else ""
    weight = used(cell).get("guidance")
    return f"{cell.method}{with_editor}" + ("" if weight is None else f", w {weight:g}")


def numbers(text: str, what: str) -> list[float]:
    """The numbers in a text. Raises InputError where there are none or others."""
    try:
        found = [float(part) for part in (text or "").replace(",", " ").split()]
    except ValueError:
        found = []
    if not found:
        raise InputError(f"{what} must be numbers such as 0.2 0.36 0.5, got {text!r}")
    return found
