"""The Edit tab: a photo, what it shows and what it shall show, and what comes of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gradio as gr

from noisespace.web import controls as c
from noisespace.web.boards import KEEP, PAINT, Board, draw_board
from noisespace.web.controls import Controls
from noisespace.web.panel import idle
from noisespace.web.panel import panel as panel_of
from noisespace.web.pieces import upload
from noisespace.web.showing import View, draw_view


@dataclass(frozen=True)
class EditTab:
    """The components of the tab."""

    photo: gr.Image
    controls: Controls
    painter: Board
    painted: gr.HTML
    find: gr.Button
    run: gr.Button
    cancel: gr.Button
    follow: gr.Checkbox
    panel: gr.HTML
    view: View
    words: gr.Radio
    attention: gr.Image
    examples: Any  # gr.Examples, None where there are none


def draw(models: list[str], start: tuple[int, float, float], examples: list[list[str]]) -> EditTab:
    """Draws the tab. ``start``: steps, guidance and the inversion's of the first method."""
    with gr.Row():
        with gr.Column(scale=5, min_width=300):
            photo = upload("Your photo, or a result to restore its settings", "photo")
            source = gr.Textbox(
                label="What the photo shows", elem_id="source", max_lines=3,
                placeholder="a dotted green cross on a yellow background",
            )  # fmt: skip
            target = gr.Textbox(
                label="What it shall show", elem_id="target", max_lines=3,
                placeholder="a dotted blue cross on a yellow background",
            )  # fmt: skip
            with gr.Row():
                run = gr.Button("Edit", variant="primary", elem_id="run", scale=3)
                cancel = gr.Button("Cancel", variant="stop", interactive=False, elem_id="cancel")
            follow = gr.Checkbox(
                False, label="Edit again whenever a slider is let go", elem_id="follow"
            )
            picked = draw_examples(examples, [photo, source, target]) if examples else None
            drawn = settings(models, start, (source, target))
        with gr.Column(scale=6, min_width=300):
            panel = gr.HTML(idle(), elem_id="panel")
            view = draw_view()
            with gr.Accordion("Where does a word look?", open=False, elem_id="looking"):
                words = gr.Radio(
                    [], label="Click a word of what the photo shows", elem_id="words",
                    info="or go to it by Tab and choose it by Space",
                )  # fmt: skip
                attention = gr.Image(
                    label="Attention of the word", interactive=False, elem_id="attention",
                    buttons=[], height=320,
                )  # fmt: skip
    masks = drawn[1:]
    shown = (panel, view, words, attention)
    return EditTab(photo, drawn[0], *masks, run, cancel, follow, *shown, picked)


def draw_examples(examples: list[list[str]], into: list[Any]) -> Any:
    """Buttons that fill in the photo and both prompts."""
    labels = [difference(source, target) for _, source, target in examples]
    return gr.Examples(examples, into, label="Or begin with one of these", example_labels=labels)


def difference(source: str, target: str) -> str:
    """Two prompts in short: the first, and the words that the second has in place of some."""
    old, new = source.split(), target.split()
    changed = [(a, b) for a, b in zip(old, new, strict=False) if a != b and len(a) > 2]
    return "; ".join(f"{a} → {b}" for a, b in changed) or target


def settings(
    models: list[str], start: tuple[int, float, float], prompts: tuple[Any, Any]
) -> tuple[Controls, Board, gr.HTML, gr.Button]:
    """The settings below the prompts: numbers, mask, method and editor with their fields."""
    with gr.Accordion("Strength and seeds", open=True):
        numbers = c.draw_numbers(start)
    with gr.Accordion("Inversion", open=True, elem_id="inversion"):
        model = gr.Dropdown(
            models, value=models[0], label="Model", elem_id="model", visible=len(models) > 1
        )
        method = c.draw_method()
    with gr.Accordion("Editor", open=False, elem_id="editor"):
        editor = c.draw_editor()
    with gr.Accordion("Mask", open=False, elem_id="mask"):
        mode = c.draw_mode()
        inks = ((PAINT, "Orange"), (KEEP, "Blue"))
        canvas = draw_board("painter", "Orange: the edit may act there; blue: it may not", inks)
        told = gr.HTML(panel_of("Nothing is painted."), elem_id="painted")
        find = gr.Button("Find it now, to mend it by paint", elem_id="find-mask")
        mask = c.draw_mask()
    with gr.Accordion("Operations on the noise", open=False, elem_id="operations-box"):
        operations = gr.Textbox(
            label="Operations", max_lines=2, elem_id="operations", elem_classes="spec",
            info="done to the inverted photo before the edit, such as shift:dx=8; the tab Noise "
            "space writes them",
        )  # fmt: skip
    made = Controls(*prompts, model, method, editor, mode, mask, operations, numbers)
    return made, canvas, told, find
