"""What is shown of an edit: before and after, variants, files, and how to make it again."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from noisespace.web.session import Entry, Session
from noisespace.web.sharing import command, python


@dataclass(frozen=True)
class View:
    """The components on the right side of the Edit tab; ``show`` gives all of ``outputs``."""

    slider: gr.ImageSlider
    gallery: gr.Gallery
    mask: gr.Image
    shell: gr.Textbox
    code: gr.Textbox
    past: gr.Dropdown
    undo: gr.Button
    redo: gr.Button
    files: tuple[gr.Button, ...]
    carry: gr.Checkbox

    @property
    def outputs(self) -> list[Any]:
        first = [self.slider, self.gallery, self.mask, self.shell, self.code]
        return [*first, self.past, self.undo, self.redo, *self.files]

    def show(self, session: Session) -> list[Any]:
        """The current entry of a session; empty where there is none."""
        entry, history = session.entry, session.history
        titles = [(f"{k + 1}. {e.title}", k) for k, e in enumerate(history.entries)]
        past = gr.update(choices=titles, value=history.at if titles else None)
        ends = (
            gr.update(interactive=history.at > 0),
            gr.update(interactive=history.at + 1 < len(history.entries)),
        )
        files = [gr.update(interactive=entry is not None) for _ in self.files]
        if entry is None:
            none = gr.update(value=None)
            return [none, none, gr.update(value=None, visible=False), "", "", past, *ends, *files]
        chosen = min(entry.chosen, len(entry.pictures) - 1)
        seeds = entry.settings.seeds
        gallery = [(path, f"seed {seeds[k]}") for k, path in enumerate(entry.pictures)]
        if entry.reconstruction:
            gallery.append((entry.reconstruction, "reconstruction"))
        return [
            (entry.photo.path, entry.pictures[chosen]),
            gr.update(value=gallery, selected_index=None),
            gr.update(value=overlay(entry), visible=bool(entry.mask)),
            command(entry.settings, model=entry.model),
            python(entry.settings, model=entry.model),
            past,
            *ends,
            *files,
        ]


def draw_view() -> View:
    """Draws the results, empty."""
    slider = gr.ImageSlider(
        label="Before and after",
        elem_id="before-after",
        type="filepath",
        interactive=False,
        max_height=520,
        buttons=["fullscreen"],
    )
    gallery = gr.Gallery(
        label="Variants: choose one to compare and download",
        elem_id="variants-gallery",
        columns=4,
        height="auto",
        fit_columns=False,
        allow_preview=False,
        object_fit="contain",
        interactive=False,
        buttons=[],
    )
    with gr.Row():
        undo = gr.Button("Undo", interactive=False, elem_id="undo", min_width=80)
        redo = gr.Button("Redo", interactive=False, elem_id="redo", min_width=80)
        past = gr.Dropdown([], label="Edits of this session", elem_id="past", scale=4)
    with gr.Row():
        files = tuple(
            gr.Button(
                name, interactive=False, size="md", elem_id=f"get-{name.lower()}", min_width=70
            )
            for name in FILES
        )
    carry = gr.Checkbox(
        True, label="The image carries its photo and mask", elem_id="carry",
        info="so that dropping it here restores all; off, it holds the settings alone",
    )  # fmt: skip
    mask = gr.Image(
        label="Where the edit acted", visible=False, interactive=False, elem_id="mask-used",
        buttons=[], height=240,
    )  # fmt: skip
    with gr.Accordion("Make it again elsewhere", open=False, elem_id="again"):
        shell = gr.Textbox(
            label="As a command", lines=3, elem_id="as-cli", elem_classes="spec", buttons=["copy"],
            info="input.png is your photo; the zip holds it with all else.",
        )  # fmt: skip
        code = gr.Textbox(
            label="As Python", lines=6, elem_id="as-python", elem_classes="spec", buttons=["copy"]
        )
    return View(slider, gallery, mask, shell, code, past, undo, redo, files, carry)


SHOWN = 640  # pixels of the longer side of what is shown beside
FILES = ("Image", "Code", "Record", "Zip")


def overlay(entry: Entry) -> Any:
    """The mask laid over the photo: what may change is bright."""
    if not entry.mask:
        return None
    from PIL import Image, ImageEnhance

    photo = Image.open(entry.photo.path).convert("RGB")
    photo.thumbnail((SHOWN, SHOWN))  # larger than it is shown: a photo may have many pixels
    mask = Image.open(Path(entry.mask)).convert("L").resize(photo.size)
    return Image.composite(photo, ImageEnhance.Brightness(photo).enhance(0.25), mask)
