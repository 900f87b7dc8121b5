"""The page: gradio blocks over an engine, to be mounted by the server with what `look` returns."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Any

import gradio as gr

from noisespace.web.comparing import Comparing
from noisespace.web.controls import Controls, usual
from noisespace.web.editing import Editing
from noisespace.web.examples import examples_of
from noisespace.web.look import look
from noisespace.web.masking import Masking
from noisespace.web.noising import Noising
from noisespace.web.painting import draw_again, wire_masks, wire_noise
from noisespace.web.panel import idle
from noisespace.web.tabs import compare as compare_tab
from noisespace.web.tabs import edit as edit_tab
from noisespace.web.tabs import noise as noise_tab
from noisespace.web.visitors import Visitors
from noisespace.web.wiring import QUIET, current, wire_compare, wire_edit, wire_files, wire_history

__all__ = ["build", "look"]

COPIES = 900  # seconds that gradio keeps what it has shown
WAITING = 128  # events that gradio itself lets wait; jobs have the engine's own queue
# The browser itself keeps what is set, once the page has said what was kept before.
KEEP = "(kept, ...values) => window.noisespaceTab.keep(kept?.visitor, values)"
# Each tab has a session of its own (page.js): the one that it had, or that a closed tab left.
CLAIM = "() => window.noisespaceTab.claim()"
ARRIVED = "(kept) => { window.noisespace = true; window.noisespaceTab.hold(kept?.visitor); }"


def build(engine: Any, *, lifetime: int = 3600) -> gr.Blocks:
    """The page on an engine. ``lifetime``: seconds after which files of the page are deleted."""
    models, visitors = list(engine.models), Visitors(lifetime)
    engine.tidied.append(visitors.expire)
    start = usual(engine.models[models[0]], "edit-friendly")
    with gr.Blocks(
        title="noisespace",
        analytics_enabled=False,
        delete_cache=(120, min(lifetime, COPIES)),  # gradio's copies of what sessions keep
        fill_width=True,
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
        changes = [*wire_edit(editing, tab, session), *wire_history(editing, tab, session)]
        masking = Masking(editing)
        wire_masks(masking, session)
        wire_files(editing, tab, session, fetch)
        wire_compare(Comparing(editing, comparison), session)
        noising = Noising(editing, noise)
        wire_noise(noising, session)
        changes.append(wire_visit(page, editing, visitors, session, kept))
        for event in changes:
            draw_again(event, masking, session)
            event.then(noising.clear, session, [*noise.looks, noise.slider], **QUIET)
    return page.queue(max_size=WAITING, api_open=False)


def wire_visit(
    page: gr.Blocks, editing: Editing, visitors: Visitors, session: gr.State, kept: gr.BrowserState
) -> Any:
    """Whoever opens or reloads the page finds what they had; the browser keeps what is set.

    Returns the event of that.
    """
    tab = editing.tab
    lasting = [*tab.controls.inputs, tab.view.carry]
    shown = [session, kept, tab.view.carry, *current(tab)]
    event = page.load(arriving(editing, visitors), kept, shown, js=CLAIM, **QUIET)
    event.then(None, kept, None, js=ARRIVED)
    changes = [part.change for part in lasting]
    gr.on(changes, None, [kept, *lasting], None, js=KEEP, api_visibility="private")
    return event


def arriving(editing: Editing, visitors: Visitors) -> Callable[[Any], list[Any]]:
    """Somebody opens or reloads the page: what they had is there again."""
    controls = editing.tab.controls

    def load(kept: Any) -> list[Any]:
        kept = kept if isinstance(kept, dict) else {}
        known = str(kept.get("visitor", ""))
        visitor = known if len(known) == 32 else secrets.token_hex(16)
        session = visitors.session(visitor)
        photo, mask = session.photo, session.mask
        try:
            shown = editing.current(session)
        except Exception:  # a file of it has gone: nobody is kept out for that
            visitors.forget(visitor)
            session, photo, mask = visitors.session(visitor), None, None
            shown = editing.current(session)
        if session.photo != photo:  # another one than the latest edit's was on the table
            session.take(photo)
            shown[:2] = photo and photo.path, idle(photo)
        session.looked, session.clicked, session.colour = "", None, None  # its tab begins empty
        session.mask = session.found = mask  # it may have been painted since the latest edit
        carry = gr.skip()
        if (values := lasting_values(kept.get("values"), controls, editing.engine)) is not None:
            shown[2 : 2 + len(controls.outputs)], carry = values
        return [session, {"visitor": visitor}, carry, *shown]

    return load


def lasting_values(values: Any, controls: Controls, engine: Any) -> tuple[list[Any], bool] | None:
    """What the controls become for values that a browser kept; None for what is none here."""
    try:
        *own, carry = values
        settings = controls.read(own, target=False)
        return (controls.show(settings), bool(carry)) if settings.model in engine.models else None
    except (ValueError, TypeError, KeyError):
        return None  # nothing kept, or by another version: the page begins as it is
