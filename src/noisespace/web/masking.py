"""Masks of the Edit tab: painted, found, and where a word looks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import gradio as gr
import numpy as np

from noisespace.web import asking
from noisespace.web.controls import BY_HAND
from noisespace.web.editing import Editing
from noisespace.web.following import follow, telling
from noisespace.web.panel import panel
from noisespace.web.pieces import covered, painted, share
from noisespace.web.requests import AttentionRequest, MaskRequest
from noisespace.web.session import Session

BUSY, IDLE = gr.update(interactive=True), gr.update(interactive=False)  # the button that cancels


@dataclass(frozen=True)
class Masking:
    """The handlers of the board of masks and of the words."""

    editing: Editing

    def painted(self, session: Session, sent: Any) -> list[Any]:
        """Strokes were made: they are the mask, and the edit acts there.

        Gives the mode, what is said, and the board: anew where they are of one before it.
        """
        board = self.editing.tab.painter
        strokes = board.read(session, sent)
        assert session.photo  # or there were no strokes
        if strokes is None:
            session.redraw = True
            return [gr.skip(), *reversed(self.draw(session))]
        session.mask = painted(strokes, session.photo.size, session.found)
        mode = gr.skip() if session.mask is None else BY_HAND
        return [mode, covered(session.mask), gr.skip()]

    def draw(self, session: Session | None) -> list[Any]:
        """The board anew, where that is asked for, and what it says is covered."""
        if session is None or not session.redraw:
            return [gr.skip(), gr.skip()]
        session.redraw = False
        session.found = session.mask  # what is painted after this comes on top of it
        board = self.editing.tab.painter.draw(session, session.photo, session.mask)
        return [board, covered(session.mask)]

    def find(self, session: Session, *values: Any) -> Iterator[list[Any]]:
        """Finds a mask and shows it as a tint, so that it can be mended by hand.

        Yields the panel, the button that cancels, and what the edit may change.
        """
        try:
            controls, photo = self.editing.tab.controls, asking.photo_now(session)
            settings = controls.read(values)
            request = MaskRequest(
                **asking.inversion(settings), image=asking.pixels_of(photo),
                target=settings.target,
                mask=values[controls.inputs.index(controls.mask.spec)] or "diffedit",
            )  # fmt: skip
            job = follow(self.editing.engine, session, request)
            outcome = yield from telling(job, [BUSY, gr.skip()])
            asking.still(session, photo)
            mask = np.where(np.asarray(outcome.mask.convert("L")) > 127, 255, 0).astype(np.uint8)
            session.mask = session.found = mask
            session.draw_again()
            said = f"The mask covers {share(mask)} of the photo"
            told = panel(f"{said}: orange adds to it, blue takes away.", "done")
            yield [told, IDLE, BY_HAND]
        except Exception as error:
            yield [panel(asking.sentence(error), "error"), IDLE, gr.skip()]

    def words(self, source: str) -> Any:
        """The words to choose from."""
        words = list(dict.fromkeys((source or "").replace(",", " ").split()))[:32]
        return gr.update(choices=words, value=None)

    def look(self, session: Session, word: str | None, *values: Any) -> Iterator[list[Any]]:
        """The attention of one word, over the photo.

        Yields the panel, the button that cancels, and the picture.
        """
        if not word:
            yield [gr.skip()] * 3
            return
        try:
            photo = asking.photo_now(session)
            asked = asking.inversion(self.editing.tab.controls.read(values, target=False))
            asked["image"] = asking.pixels_of(photo)
            request = AttentionRequest(**asked, words=(word,))
            job = follow(self.editing.engine, session, request)
            outcome = yield from telling(job, [BUSY, gr.skip()])
            asking.still(session, photo)
            yield [panel(f"Where {word!r} looks.", "done"), IDLE, outcome.images[0]]
        except Exception as error:
            yield [panel(asking.sentence(error), "error"), IDLE, gr.skip()]
