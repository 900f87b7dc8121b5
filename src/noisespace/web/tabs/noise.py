"""The Noise space tab: what the inverted photo's noise looks like, and moving it by mouse."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gradio as gr

from noisespace.web.boards import Board, draw_board
from noisespace.web.panel import panel

START = "Takes the photo and the inversion of the tab Edit (edit-friendly has the most to show)."
COLOURS = (
    ("#d62728", "Red"), ("#1f77b4", "Blue"), ("#2ca02c", "Green"), ("#ffd700", "Yellow"),
    ("#ffffff", "White"), ("#000000", "Black"),
)  # fmt: skip


@dataclass(frozen=True)
class NoiseTab:
    """The components of the tab."""

    look: gr.Button
    cancel: gr.Button
    panel: gr.HTML
    variance: gr.Image
    correlation: gr.Image
    steps: gr.LinePlot
    maps: gr.Gallery
    photo: gr.Image
    dx: gr.Slider
    dy: gr.Slider
    shift: gr.Button
    keep: gr.Button
    canvas: Board
    strength: gr.Slider
    colour: gr.Button
    keep_colour: gr.Button
    slider: gr.ImageSlider

    @property
    def looks(self) -> list[Any]:
        """What `Noising.look` sets."""
        pictures = [self.variance, self.correlation, self.steps, self.maps]
        return [self.panel, *pictures, self.photo, self.canvas.shown]


def draw() -> NoiseTab:
    """Draws the tab."""
    with gr.Row():
        look = gr.Button(
            "Look at the noise of the photo", variant="primary", elem_id="look", scale=4
        )
        cancel = gr.Button("Cancel", elem_id="noise-cancel")
    said = gr.HTML(panel(START), elem_id="noise-panel")
    shown: dict[str, Any] = {"interactive": False, "buttons": [], "elem_classes": "maps"}
    with gr.Row():
        variance = gr.Image(label="Where the noise is strong", elem_id="variance", **shown)
        correlation = gr.Image(
            label="Correlation of every two steps: red alike, blue opposed", **shown
        )
        steps = gr.LinePlot(x="step", y="variance", label="Variance of each noise map", height=300)
    maps = gr.Gallery(
        label="Noise maps z_t, noisiest first", elem_id="noise-maps", columns=4, height="auto",
        object_fit="contain", interactive=False, buttons=[],
    )  # fmt: skip
    with gr.Row():
        with gr.Column(min_width=300):
            photo = gr.Image(
                label="Shift: click where from, then where to", elem_id="shift-photo",
                interactive=False, buttons=[],
            )  # fmt: skip
            with gr.Row():
                dx = gr.Slider(-512, 512, value=0, step=1, label="right, in pixels", elem_id="dx")
                dy = gr.Slider(-512, 512, value=0, step=1, label="down, in pixels", elem_id="dy")
            with gr.Row():
                shift = gr.Button("Show the shifted photo", elem_id="shift")
                keep = gr.Button("Use the shift in edits", elem_id="keep-shift")
        with gr.Column(min_width=300):
            canvas = draw_board("colours", "Colour: paint where it shall be", COLOURS, free=True)
            strength = gr.Slider(
                0, 0.3, value=0.05, step=0.01, label="strength", elem_id="colour-strength",
                info="how much of the colour is added at each step",
            )  # fmt: skip
            with gr.Row():
                colour = gr.Button("Show the coloured photo", elem_id="colour")
                keep_colour = gr.Button("Use the colour in edits", elem_id="keep-colour")
    slider = gr.ImageSlider(
        label="The photo and what became of it", elem_id="operated", type="filepath",
        interactive=False, max_height=420,
    )  # fmt: skip
    parts = (look, cancel, said, variance, correlation, steps, maps, photo, dx, dy, shift, keep)
    return NoiseTab(*parts, canvas, strength, colour, keep_colour, slider)
