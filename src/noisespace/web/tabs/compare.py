"""The Compare tab: methods with editors, and skip against guidance, as grids to choose from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gradio as gr

from noisespace.editing import EDITORS
from noisespace.inversion import METHODS
from noisespace.web.panel import panel

USUAL = ["ddim", "negative-prompt", "cycle-diffusion", "edit-friendly"]
START = (
    "Takes the photo and the prompts of the tab Edit, and its steps and guidances where you have "
    "set them; else each inversion has its own. A click on a picture takes its settings."
)
HEADERS = ["method", "editor", "steps", "guidance", "guidance of the inversion",
           "PSNR to the input (dB)", "seconds"]  # fmt: skip


@dataclass(frozen=True)
class CompareTab:
    """The components of the tab."""

    methods: gr.CheckboxGroup
    editors: gr.CheckboxGroup
    run: gr.Button
    skips: gr.Textbox
    guidances: gr.Textbox
    grid_run: gr.Button
    cancel: gr.Button
    panel: gr.HTML
    grid: gr.Gallery
    table: gr.Dataframe

    @property
    def outputs(self) -> list[Any]:
        return [self.panel, self.grid, self.table]


def draw() -> CompareTab:
    with gr.Row():
        with gr.Column(scale=5, min_width=300):
            with gr.Group():
                methods = gr.CheckboxGroup(
                    list(METHODS), value=USUAL, label="Inversions", elem_id="compare-methods"
                )
                editors = gr.CheckboxGroup(
                    ["none", *EDITORS], value=["none"], label="Editors, each with every inversion",
                    elem_id="compare-editors",
                )  # fmt: skip
            run = gr.Button("Compare", variant="primary", elem_id="compare")
        with gr.Column(scale=5, min_width=300):
            with gr.Group():
                skips = gr.Textbox(
                    "0.2 0.36 0.5", label="Skips (rows)", elem_id="skips",
                    info="of the inversion chosen in Edit, where it has a skip",
                )  # fmt: skip
                guidances = gr.Textbox("1 2 4", label="Guidances (columns)", elem_id="guidances")
            grid_run = gr.Button("Skip × guidance", variant="primary", elem_id="skip-guidance")
    cancel = gr.Button("Cancel", variant="stop", elem_id="compare-cancel")
    said = gr.HTML(panel(START), elem_id="compare-panel")
    grid = gr.Gallery(
        label="A click takes the settings over", elem_id="compare-grid", columns=3, height="auto",
        allow_preview=False, object_fit="contain", interactive=False, buttons=[],
    )  # fmt: skip
    table = gr.Dataframe(
        headers=HEADERS, label="Figures", interactive=False, elem_id="compare-table", wrap=True,
    )  # fmt: skip
    return CompareTab(methods, editors, run, skips, guidances, grid_run, cancel, said, grid, table)
