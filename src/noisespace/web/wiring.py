"""Which component of the page does what: the tabs Edit and Compare."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gradio as gr

from noisespace.web.asking import sentence
from noisespace.web.comparing import Comparing
from noisespace.web.editing import Editing
from noisespace.web.handlers import safe
from noisespace.web.panel import panel
from noisespace.web.session import Session
from noisespace.web.tabs.edit import EditTab

QUIET: dict[str, Any] = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}
# No queue of gradio's: the engine has one, which is bounded and fair.
WORK: dict[str, Any] = {
    "concurrency_limit": None,
    "show_progress": "hidden",
    "api_visibility": "private",
}
# What is asked for while it works is done after that: no slider that was let go is lost.
AFTER: dict[str, Any] = {**WORK, "trigger_mode": "always_last"}
RAW: dict[str, Any] = {**QUIET, "preprocess": False}  # nothing is decoded by gradio
CLICK = "() => setTimeout(() => document.querySelector('#download-now')?.click(), 300)"


def current(tab: EditTab) -> list[Any]:
    """What `Editing.current` sets."""
    return [tab.photo, tab.panel, *tab.controls.outputs, *tab.view.outputs]


def wire_edit(editing: Editing, tab: EditTab, session: gr.State) -> list[Any]:
    """Photo, run, cancel, and sliders that edit when they are let go.

    Returns the events that put another photo on the table.
    """
    controls, inputs = tab.controls, [session, *tab.controls.inputs]
    taken = [tab.photo, tab.panel, *controls.outputs]
    given = [tab.photo.upload, tab.photo.clear]
    changes = [gr.on(given, editing.take, [session, tab.photo], taken, **RAW)]
    if tab.examples is not None:
        picked = tab.examples.load_input_event
        changes.append(picked.then(editing.take, [session, tab.photo], taken, **RAW))
    done = [tab.panel, tab.run, tab.cancel, *tab.view.outputs]
    starts = [tab.run.click, controls.target.submit, controls.source.submit]
    gr.on(starts, editing.run, inputs, done, **WORK)  # once: a second click of two is no wish
    tab.cancel.click(safe(editing.cancel), session, None, **QUIET)
    slides = [part.release for part in controls.numbers if isinstance(part, gr.Slider)]
    for made in (controls.method, controls.editor):
        drawn = [part for parts in made.parts.values() for _, part in parts]
        slides += [part.release for part in drawn if isinstance(part, gr.Slider)]
    gr.on(slides, editing.again, [session, tab.follow, *controls.inputs], done, **AFTER)
    own, chosen = list(controls.numbers[:3]), [controls.model, controls.method.menu]
    asked = [controls.method.menu.input, controls.model.input]
    gr.on(asked, safe(editing.defaults, own), chosen, own, **QUIET)
    return changes


def wire_history(editing: Editing, tab: EditTab, session: gr.State) -> list[Any]:
    """Undo, redo, the list of edits and the variants; the events that may change the photo."""
    view, shown = tab.view, current(tab)

    def moving(to: Callable[..., Any]) -> Callable[..., Any]:
        def move(own: Session, *more: Any) -> list[Any]:
            return editing.move(own, lambda history: to(history, *more))

        return safe(move, shown, tab.panel)

    changes = [
        view.undo.click(moving(lambda h: h.undo()), session, shown, **QUIET),
        view.redo.click(moving(lambda h: h.redo()), session, shown, **QUIET),
        view.past.input(moving(lambda h, k: h.go(k)), [session, view.past], shown, **QUIET),
    ]

    def chosen(own: Session, event: gr.SelectData) -> list[Any]:
        return [editing.choose(own, int(event.index)), gr.skip()]

    into = [view.slider, tab.panel]
    view.gallery.select(safe(chosen, into, tab.panel), session, into, **QUIET)
    return changes


def wire_files(editing: Editing, tab: EditTab, session: gr.State, fetch: gr.DownloadButton) -> None:
    """The downloads: a file is made when it is asked for, and a hidden button fetches it."""
    view = tab.view
    for button in view.files:
        asked = [session, view.carry]
        made = button.click(filed(editing, button.value), asked, [fetch, tab.panel], **QUIET)
        made.then(None, js=CLICK)


def filed(editing: Editing, kind: str) -> Callable[[Session, bool], list[Any]]:
    """Makes one kind of file, or says why there is none."""

    def make(session: Session, carry: bool) -> list[Any]:
        try:
            path, said = editing.file(session, kind, carry) or (None, "")
            return [path, panel(said) if said else gr.skip()]
        except Exception as error:
            return [None, panel(sentence(error), "error")]

    return make


def wire_compare(comparing: Comparing, session: gr.State) -> None:
    """Both grids, and the click that takes settings over."""
    tab, controls = comparing.tab, comparing.editing.tab.controls
    both = [session, tab.methods, tab.editors, *controls.inputs]
    tab.run.click(comparing.methods, both, tab.outputs, **WORK)
    both = [session, tab.skips, tab.guidances, *controls.inputs]
    tab.grid_run.click(comparing.grid, both, tab.outputs, **WORK)
    tab.cancel.click(safe(comparing.editing.cancel), session, None, **QUIET)

    def chosen(own: Session, event: gr.SelectData) -> list[Any]:
        return comparing.take(own, int(event.index))

    into = [tab.panel, *controls.outputs]
    tab.grid.select(safe(chosen, into, tab.panel), session, into, **QUIET)
