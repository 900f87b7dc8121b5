"""The controls of an edit: what a person sets, as components and as Settings, both ways."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr

from noisespace.editing import EDITORS, MASKS
from noisespace.errors import InputError
from noisespace.inversion import METHODS
from noisespace.planning.parsing import parse_choice
from noisespace.planning.settings import method_defaults
from noisespace.web.forms import Form, form
from noisespace.web.records import PAINTED, Settings

WHOLE, BY_HAND, FOUND = "the whole picture", "where I paint", "where it is found"
MASK_MODES = (WHOLE, BY_HAND, FOUND)


@dataclass(frozen=True)
class Controls:
    """All of them. ``inputs`` give `read` its values, ``outputs`` take what `show` returns."""

    source: gr.Textbox
    target: gr.Textbox
    model: gr.Dropdown
    method: Form
    editor: Form
    mode: gr.Radio
    mask: Form
    operations: gr.Textbox
    numbers: tuple[Any, ...]  # steps, guidance, source guidance, seed, variants, size

    @property
    def inputs(self) -> list[Any]:
        forms = [self.method.spec, self.editor.spec, self.mask.spec]
        first = [self.source, self.target, self.model, *forms, self.mode, self.operations]
        return [*first, *self.numbers]

    @property
    def outputs(self) -> list[Any]:
        plain = [self.source, self.target, self.model, self.mode, self.operations, *self.numbers]
        return [*plain, *self.method.shown, *self.editor.shown, *self.mask.shown]

    def read(self, values: Sequence[Any], *, target: bool = True) -> Settings:
        """The settings that the inputs' values are. Raises InputError where one is missing.

        Without ``target`` that may be missing.
        """
        source, wanted, model, method, editor, mask, mode, operations, *numbers = values
        steps, guidance, source_guidance, seed, variants, size = numbers
        if target and not (wanted or "").strip():
            raise InputError("say what the picture shall show: the target is empty")
        spec = {WHOLE: "", BY_HAND: PAINTED, FOUND: (mask or "").strip()}[mode]
        return Settings(
            model=model,
            source=source or "",
            target=wanted or "",
            method=(method or "").strip() or "edit-friendly",
            editor=(editor or "").strip(),
            mask=spec,
            operations=tuple((operations or "").split()),
            steps=whole(steps),
            guidance=guidance,
            source_guidance=source_guidance,
            seed=whole(seed) or 0,
            variants=whole(variants) or 1,
            size=whole(size) or None,
        )

    def show(self, settings: Settings) -> list[Any]:
        """What the outputs become. Raises InputError for a spec that is none."""
        painted, own = settings.mask == PAINTED, settings
        mode = BY_HAND if painted else FOUND if own.mask else WHOLE
        values = (
            own.steps,
            own.guidance,
            own.source_guidance,
            own.seed,
            own.variants,
            own.size or 0,
        )
        numbers = [reaching(c, v) for c, v in zip(self.numbers, values, strict=True)]
        mask = self.mask.show("diffedit" if painted or not own.mask else own.mask)
        plain = [own.source, own.target, own.model, mode, " ".join(own.operations)]
        return [
            *plain,
            *numbers,
            *self.method.show(own.method),
            *self.editor.show(own.editor),
            *mask,
        ]


def whole(value: Any) -> int | None:
    """A number as the page gives it, as an int. Raises InputError for a broken one."""
    if value is None:
        return None
    if float(value) != int(value):
        raise InputError(f"expected a whole number, got {value}")
    return int(value)


def reaching(part: Any, value: Any) -> Any:
    """A slider at a value, made longer where that lies beyond its ends."""
    if not isinstance(part, gr.Slider) or value is None:
        return gr.update(value=value)
    low, high = min(part.minimum, value), max(part.maximum, value)
    return gr.update(value=value, minimum=low, maximum=high)


def usual(model: Any, spec: str) -> tuple[int, float, float]:
    """Steps, guidance of the edit and of the inversion that a method has on a model."""
    method = parse_choice(spec, "method", METHODS)
    known = method_defaults(model, method)
    own = getattr(method, "guidance", None)  # the one that an optimisation is for
    return known.steps, known.edit if own is None else own, known.invert


def draw_numbers(start: tuple[int, float, float]) -> tuple[Any, ...]:
    """Sliders of steps, guidance and variants; the menu of methods sets them to its own."""
    steps, edit, invert = start
    with gr.Row():
        a = gr.Slider(1, max(100, steps), value=steps, step=1, label="steps", elem_id="steps",
                      info="of the whole grid; more are finer and slower")  # fmt: skip
        b = gr.Slider(-5, 30, value=edit, step=0.1, label="guidance", elem_id="guidance",
                      info="how strongly the target pulls; 1 is off")  # fmt: skip
    with gr.Row():
        c = gr.Slider(-5, 30, value=invert, step=0.1, label="guidance of the inversion",
                      info="changing it inverts anew", elem_id="source-guidance")  # fmt: skip
        d = gr.Number(0, precision=0, minimum=0, label="seed", elem_id="seed",
                      info="the first one")  # fmt: skip
    with gr.Row():
        e = gr.Slider(1, 16, value=1, step=1, label="variants", elem_id="variants",
                      info="so many seeds, side by side")  # fmt: skip
        f = gr.Number(0, precision=0, minimum=0, label="working size", elem_id="size",
                      info="pixels of the shorter side; 0 is the model's own")  # fmt: skip
    return a, b, c, d, e, f


def draw_mode() -> gr.Radio:
    """Where the edit may act."""
    return gr.Radio(MASK_MODES, value=WHOLE, label="The edit may change", elem_id="mask-mode")


def draw_mask() -> Form:
    return form("mask", "How it is found", MASKS, "diffedit")


def draw_method() -> Form:
    return form("method", "Inversion", METHODS, "edit-friendly")


def draw_editor() -> Form:
    return form("editor", "Editor", EDITORS, "")
