"""Which component of the page does what: the board of masks, words, and the tab Noise space."""

from __future__ import annotations

from typing import Any

import gradio as gr

from noisespace.web.handlers import safe
from noisespace.web.masking import Masking
from noisespace.web.noising import Noising
from noisespace.web.session import Session
from noisespace.web.wiring import QUIET, RAW, WORK

# a stroke that comes while an earlier one is worked on is taken after it, not dropped
STROKES = {**RAW, "trigger_mode": "always_last"}


def wire_masks(masking: Masking, session: gr.State) -> None:
    """Masks by hand and found, and where a word looks."""
    tab = masking.editing.tab
    controls, inputs = tab.controls, [session, *tab.controls.inputs]
    told, strokes = [controls.mode, tab.painted, tab.painter.shown], tab.painter.strokes
    painted = safe(masking.painted, told, tab.painted)
    strokes.change(painted, [session, strokes], told, **STROKES)
    found = [tab.panel, tab.cancel, controls.mode]
    draw_again(tab.find.click(masking.find, inputs, found, **WORK), masking, session)
    words = safe(masking.words, [tab.words])
    gr.on([controls.source.change], words, controls.source, tab.words, **QUIET)
    look_at = [session, tab.words, *controls.inputs]
    tab.words.input(masking.look, look_at, [tab.panel, tab.cancel, tab.attention], **WORK)


def draw_again(event: Any, masking: Masking, session: gr.State) -> None:
    """After an event that may ask for it (`Session.redraw`), the board of masks is drawn anew."""
    tab = masking.editing.tab
    into = [tab.painter.shown, tab.painted]
    event.then(safe(masking.draw, into, tab.painted), session, into, **QUIET)


def wire_noise(noising: Noising, session: gr.State) -> None:
    """Maps, shift and colour."""
    tab, controls = noising.tab, noising.editing.tab.controls
    tab.look.click(noising.look, [session, *controls.inputs], tab.looks, **WORK)
    tab.cancel.click(safe(noising.editing.cancel), session, None, **QUIET)

    def clicked(own: Session, event: gr.SelectData) -> list[object]:
        return noising.click(own, int(event.index[0]), int(event.index[1]))

    at = [tab.panel, tab.dx, tab.dy]
    tab.photo.select(safe(clicked, at, tab.panel), session, at, **QUIET)
    done, by = [tab.panel, tab.slider], [tab.dx, tab.dy]
    into = [controls.operations, tab.panel]
    tab.shift.click(noising.shift, [session, *by, *controls.inputs], done, **WORK)
    keep = safe(noising.keep, into, tab.panel)
    tab.keep.click(keep, [controls.operations, *by], into, **QUIET)
    told, strokes = [tab.panel, tab.canvas.shown], tab.canvas.strokes
    painted = safe(noising.painted, told, tab.panel)
    strokes.change(painted, [session, strokes], told, **STROKES)
    tab.colour.click(noising.colour, [session, tab.strength, *controls.inputs], done, **WORK)
    kept = [session, controls.operations, tab.strength]
    keep_colour = safe(noising.keep_colour, into, tab.panel)
    tab.keep_colour.click(keep_colour, kept, into, **QUIET)
