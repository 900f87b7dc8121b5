"""What the Compare tab does."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import gradio as gr
from PIL import Image, ImageDraw

from noisespace.errors import InputError
from noisespace.metadata import png_bytes
from noisespace.web import asking
from noisespace.web.editing import Editing
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
        """Every method with every editor."""

        def ask(settings: Settings, rest: dict[str, Any]) -> CompareRequest:
            if not methods or not editors:
                raise InputError("choose at least one inversion and one editor (none is one)")
            chosen = tuple(None if editor == "none" else editor for editor in editors)
            return CompareRequest.methods(methods, chosen, settings.guidance, **rest)

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

    def run(self, session: Session, ask: Any, values: tuple[Any, ...]) -> Iterator[list[Any]]:
        """A comparison, to its grid."""
        try:
            engine, settings = self.editing.engine, self.editing.tab.controls.read(values)
            rest = asking.inversion(settings) | asking.changed(session, settings, engine.limits)
            del rest["method"], rest["variants"]
            rest["target"] = settings.target
            job = asking.follow(engine, session, ask(settings, rest))
            outcome = yield from asking.telling(job, [gr.skip(), gr.skip()])
            session.compared = tuple(
                settings.model_copy(
                    update={
                        "method": cell.method,
                        "editor": cell.editor or "",
                        "guidance": cell.guidance,
                        "variants": 1,
                    }
                )
                for cell in outcome.cells
            )
            yield self.shown(session, outcome)
        except Exception as error:
            yield [panel(asking.sentence(error), "error"), gr.skip(), gr.skip()]

    def shown(self, session: Session, outcome: Any) -> list[Any]:
        """Panel, grid and table of a comparison."""
        cells = [cell for cell in outcome.cells if cell.image is not None]
        pictures = []
        for cell in outcome.cells:
            if cell.image is None:  # keeps its place, so that rows and columns stay what they are
                pictures.append((session.write("failed.png", crossed()), f"{label(cell)}: failed"))
                continue
            with_record = asking.picture_bytes(cell.image, cell.record)
            path = session.write("compared.png", with_record)
            pictures.append(
                (path, f"{label(cell)}: {cell.psnr_input:.1f} dB, {cell.seconds:.1f} s")
            )
        failed = [f"{label(c)} failed: {c.error}." for c in outcome.cells if c.error]
        many = "" if len(cells) == 1 else "s"
        took = f"{len(cells)} edit{many} in {seconds(outcome.edit_seconds)}."
        rows = [[c.method, c.editor or "none", c.guidance, c.psnr_input, c.seconds] for c in cells]
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


def label(cell: Any) -> str:
    """What a cell was made with."""
    with_editor = f" + {cell.editor}" if cell.editor else ""
    weight = "" if cell.guidance is None else f", w {cell.guidance:g}"
    return f"{cell.method}{with_editor}{weight}"


def numbers(text: str, what: str) -> list[float]:
    """The numbers in a text. Raises InputError where there are none or others."""
    try:
        found = [float(part) for part in (text or "").replace(",", " ").split()]
    except ValueError:
        found = []
    if not found:
        raise InputError(f"{what} must be numbers such as 0.2 0.36 0.5, got {text!r}")
    return found
