"""How the page looks: local fonts, light and dark, a phone's width; nothing is fetched."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gradio as gr

FONTS = ("system-ui", "Segoe UI", "Roboto", "Helvetica Neue", "DejaVu Sans", "sans-serif")
MONO = ("ui-monospace", "Consolas", "DejaVu Sans Mono", "monospace")

CSS = """
.gradio-container { min-width: 0 !important; max-width: 1320px !important;
  margin: 0 auto !important; }
.head h1 { margin: 0 0 .1em; font-size: 1.5rem; }
.head p { margin: 0; opacity: .8; }
.fields { padding: 0 !important; }
.fields .about { padding: .5em .75em 0; font-size: .9em; opacity: .85; }
.spec textarea, .spec input { font-family: var(--font-mono); font-size: .85em; }
.panel { border: 1px solid var(--border-color-primary); border-radius: 8px; padding: 12px; }
.panel .bar { height: 8px; border-radius: 4px; background: var(--border-color-primary);
  overflow: hidden; margin: 8px 0; }
.panel .bar > div { height: 100%; background: var(--color-accent); transition: width .2s; }
.panel .says { font-variant-numeric: tabular-nums; }
.panel img { display: block; width: min(100%, 320px); margin: 8px auto 0; border-radius: 6px;
  image-rendering: pixelated; }
.panel.error { border-color: #c0392b; background: color-mix(in srgb, #c0392b 12%, transparent); }
.panel.done { border-color: #2e8b57; }
#photo .image-frame, #photo .image-frame img, #photo img { width: 100%; height: 100%;
  object-fit: contain; }
#mask-used img, #attention img, #variance img, #shift-photo img { width: 100%;
  object-fit: contain; }
#variants-gallery img, #compare-grid img { object-fit: contain; }
#variants-gallery .grid-wrap, #compare-grid .grid-wrap, #noise-maps .grid-wrap {
  max-height: none !important; height: auto !important; }
#words label { border-radius: 999px; padding: .2em .9em; }
#words label input { position: absolute; opacity: 0; }
#words label.selected, #words label:has(:checked) { background: var(--color-accent); color: #fff; }
#words label:has(:focus-visible) { outline: 2px solid var(--color-accent); outline-offset: 2px; }
.board-tools { display: flex; flex-wrap: wrap; gap: 6px; align-items: center; margin: 6px 0; }
.board-tools button { margin: 0; border: 1px solid var(--border-color-primary); border-radius: 6px;
  padding: 2px 10px; background: var(--button-secondary-background-fill); cursor: pointer; }
.board-tools button[aria-pressed=true], .board-tools .chosen {
  box-shadow: 0 0 0 2px var(--color-accent); }
.board-tools :focus-visible { outline: 2px dashed currentColor; outline-offset: 3px; }
.board-tools button:disabled { opacity: .5; cursor: default; }
.board-tools span { display: inline-block; width: .9em; height: .9em; margin-right: .4em;
  border: 1px solid var(--border-color-primary); border-radius: 50%; vertical-align: -.1em; }
.board-tools label { display: flex; gap: 6px; align-items: center; }
.board-tools input[type=range] { width: 110px; }
.board-tools input[type=color] { width: 34px; height: 28px; padding: 1px; }
.board-canvas { position: relative; width: 100%; margin: 0 auto; }
.board-canvas img, .board-canvas canvas { position: absolute; inset: 0; width: 100%;
  height: 100%; margin: 0; }
.board-canvas canvas { cursor: crosshair; touch-action: none; }
.board-label, .board-empty { margin: 0; opacity: .85; }
#painted .panel { padding: 4px 12px; border: 0; }
#past input { text-overflow: ellipsis; padding-right: 2em; }
#panel, #compare-panel, #noise-panel { padding: 0; }
.small-pictures img { image-rendering: pixelated; }
.maps img { image-rendering: pixelated; }
@media (max-width: 640px) {
  .main, .contain, .column, .tabs, .tabitem, .row, .block, .form {
    min-width: 0 !important; max-width: calc(100vw - 64px) !important; box-sizing: border-box; }
  .gradio-container { padding: 8px !important; }
  .row { flex-direction: column !important; flex-wrap: nowrap !important; }
  .row > * { flex: none !important; min-width: 0 !important;
    width: 100% !important; }
  button { min-height: 44px; }
}
@media (prefers-reduced-motion: reduce) { .panel .bar > div { transition: none; } }
"""


def look(most: int) -> dict[str, Any]:
    """What ``gr.mount_gradio_app`` takes beside the blocks. ``most``: bytes of a photo."""
    own = (Path(__file__).with_name(name).read_text() for name in ("page.js", "painter.js"))
    script = "\n".join(own).replace("MOST_BYTES", str(most))
    theme = gr.themes.Default(
        primary_hue="teal",
        secondary_hue="slate",
        neutral_hue="slate",
        font=list(FONTS),
        font_mono=list(MONO),
    )
    head = f"<script>{script}</script>"
    return {"theme": theme, "css": CSS, "head": head, "run_history": False}
