"""The page: gradio blocks over an engine, to be mounted by the server with what `look` returns."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Any

import gradio as gr

from noisespace.web.comparing import Comparing
from noisespace.web.controls import usual
from noisespace.web.editing import Editing
from noisespace.web.examples import examples_of
from noisespace.web.look import look
from noisespace.web.noising import Noising
from noisespace.web.pieces import again
from noisespace.web.records import Settings
from noisespace.web.session import Session, Visitors
from noisespace.web.tabs import compare as compare_tab
from noisespace.web.tabs import edit as edit_tab
from noisespace.web.tabs import noise as noise_tab
from noisespace.web.tabs.edit import EditTab

__all__ = ["build", "look"]

QUIET: dict[str, Any] = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}
# No queue of gradio's: the engine has one, which is bounded and fair.
WORK: dict[str, Any] = {
    "concurrency_limit": None,
    "show_progress": "hidden",
    "api_visibility": "private",
}
SPIN: dict[str, Any] = {**WORK, "show_progress": "minimal"}  # where no panel tells the steps
CLICK = "() => setTimeout(() => document.querySelector('#download-now')?.click(), 300)"


def build(engine: Any, *, lifetime: int = 3600) -> gr.Blocks:
    """The page on an engine. ``lifetime``: seconds after which files of the page are deleted."""
    models, visitors = list(engine.models), Visitors(lifetime)
    start = usual(engine.models[models[0]], "edit-friendly")
    with gr.Blocks(
        title="noisespace", analytics_enabled=False, delete_cache=(600, lifetime), fill_width=True
    ) as page:
        gr.HTML(
            "<h1>noisespace</h1><p>Invert a photo once, then edit it by words.</p>",
            elem_classes="head",
        )
        session = gr.State(None)
        kept = gr.BrowserState({}, storage_key="noisespace", secret="noisespace")
        with gr.Tabs():
            with gr.Tab("Edit", id="edit"):
                tab = edit_tab.draw(models, start, examples_of(engine))
            with gr.Tab("Compare", id="compare"):
                comparison = compare_tab.draw()
            with gr.Tab("Noise space", id="noise"):
                noise = noise_tab.draw()
        fetch = gr.DownloadButton("file", visible="hidden", elem_id="download-now")
        editing = Editing(engine, tab)
        wire_edit(editing, tab, session, kept)
        wire_history(editing, tab, session, fetch)
        wire_compare(Comparing(editing, comparison), session)
        wire_noise(Noising(editing, noise), session)
        shown = [session, kept, *current(tab)]
        again(page.load(arriving(editing, visitors), kept, shown, **QUIET), tab.painter, session)
    return page


def current(tab: EditTab) -> list[Any]:
    """What `Editing.current` sets."""
    return [tab.photo, tab.panel, tab.painter, *tab.controls.outputs, *tab.view.outputs]


def arriving(editing: Editing, visitors: Visitors) -> Callable[[Any], list[Any]]:
    """Somebody opens or reloads the page: what they had is there again."""

    def load(kept: Any) -> list[Any]:
        kept = kept if isinstance(kept, dict) else {}
        known = str(kept.get("visitor", ""))
        visitor = known if len(known) == 32 else secrets.token_hex(16)
        session = visitors.session(visitor)
        shown = editing.current(session)
        if session.entry is None:
            try:
                settings = Settings.model_validate(kept.get("settings"))
                if settings.model in editing.models():
                    at = slice(3, 3 + len(editing.tab.controls.outputs))
                    shown[at] = editing.tab.controls.show(settings)
            except ValueError:
                pass  # nothing kept, or by another version: the page begins as it is
        return [session, {**kept, "visitor": visitor}, *shown]

    return load


def wire_edit(editing: Editing, tab: EditTab, session: gr.State, kept: gr.BrowserState) -> None:
    """Photo, run, cancel, mask, words."""
    controls, inputs = tab.controls, [session, *tab.controls.inputs]
    taken = [tab.photo, tab.panel, tab.painter, *controls.outputs]
    raw: dict[str, Any] = {**QUIET, "preprocess": False}  # not decoded by gradio
    given = [tab.photo.upload, tab.photo.clear]
    again(gr.on(given, editing.take, [session, tab.photo], taken, **raw), tab.painter, session)
    if tab.examples is not None:
        picked = tab.examples.load_input_event
        again(picked.then(editing.take, [session, tab.photo], taken, **raw), tab.painter, session)
    done = [tab.panel, tab.run, tab.cancel, *tab.view.outputs]
    starts = [tab.run.click, controls.target.submit, controls.source.submit]
    gr.on(starts, editing.run, inputs, done, **WORK).then(
        remember(controls), [kept, *controls.inputs], kept, **QUIET
    )
    tab.cancel.click(editing.cancel, session, None, **QUIET)
    slides = [part.release for part in controls.numbers if isinstance(part, gr.Slider)]
    for made in (controls.method, controls.editor):
        drawn = [part for parts in made.parts.values() for _, part in parts]
        slides += [part.release for part in drawn if isinstance(part, gr.Slider)]
    gr.on(slides, editing.again, [session, tab.follow, *controls.inputs], done, **WORK)
    tab.painter.input(editing.painted, [session, tab.painter], controls.mode, **QUIET)
    found = [tab.panel, tab.painter, controls.mode]
    again(tab.find.click(editing.find, inputs, found, **SPIN), tab.painter, session)
    gr.on([controls.source.change], editing.words, controls.source, tab.words, **QUIET)
    look_at = [session, tab.words, *controls.inputs]
    tab.words.input(editing.look, look_at, [tab.attention, tab.panel], **SPIN)
    numbers = list(controls.numbers[:3])
    gr.on(
        [controls.method.menu.input, controls.model.input],
        editing.defaults,
        [controls.model, controls.method.menu],
        numbers,
        **QUIET,
    )


def remember(controls: Any) -> Callable[..., Any]:
    """Keeps the settings in the browser, so that they survive a reload."""

    def keep(kept: Any, *values: Any) -> Any:
        try:
            return {**(kept or {}), "settings": controls.read(values).model_dump(mode="json")}
        except ValueError:
            return gr.skip()

    return keep


def wire_history(
    editing: Editing, tab: EditTab, session: gr.State, fetch: gr.DownloadButton
) -> None:
    """Undo, redo, the list of edits, the variants and the files."""
    view, shown = tab.view, current(tab)
    for event in (
        view.undo.click(lambda s: editing.move(s, lambda h: h.undo()), session, shown, **QUIET),
        view.redo.click(lambda s: editing.move(s, lambda h: h.redo()), session, shown, **QUIET),
        view.past.input(
            lambda s, k: editing.move(s, lambda h: h.go(k)), [session, view.past], shown, **QUIET
        ),
    ):
        again(event, tab.painter, session)

    def chosen(own: Session, event: gr.SelectData) -> Any:
        return editing.choose(own, int(event.index))

    view.gallery.select(chosen, session, view.slider, **QUIET)
    for button in view.files:
        button.click(filed(editing, button.value), session, [fetch, tab.panel], **QUIET).then(
            None, js=CLICK
        )


def filed(editing: Editing, kind: str) -> Callable[[Session], list[Any]]:
    """Makes one kind of file, or says why there is none."""
    from noisespace.web.asking import sentence
    from noisespace.web.panel import panel

    def make(session: Session) -> list[Any]:
        try:
            return [editing.file(session, kind), gr.skip()]
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
    tab.cancel.click(comparing.editing.cancel, session, None, **QUIET)

    def chosen(own: Session, event: gr.SelectData) -> list[Any]:
        return comparing.take(own, int(event.index))

    tab.grid.select(chosen, session, [tab.panel, *controls.outputs], **QUIET)


def wire_noise(noising: Noising, session: gr.State) -> None:
    """Maps, shift and colour."""
    tab, controls = noising.tab, noising.editing.tab.controls
    tab.look.click(noising.look, [session, *controls.inputs], tab.looks, **SPIN)

    def clicked(own: Session, event: gr.SelectData) -> list[Any]:
        return noising.click(own, int(event.index[0]), int(event.index[1]))

    tab.photo.select(clicked, session, [tab.panel, tab.dx, tab.dy], **QUIET)
    done = [tab.panel, tab.slider]
    by = [tab.dx, tab.dy]
    tab.shift.click(noising.shift, [session, *by, *controls.inputs], done, **SPIN)
    tab.keep.click(
        noising.keep, [controls.operations, *by], [controls.operations, tab.panel], **QUIET
    )
    painted = [session, tab.canvas, tab.strength, *controls.inputs]
    tab.colour.click(noising.colour, painted, done, **SPIN)
