"""A menu of methods (editors, masks) with their own fields; the spec text below is what counts."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import gradio as gr

from noisespace.errors import InputError
from noisespace.planning.catalogue import about
from noisespace.planning.parsing import WRITTEN, parse_choice
from noisespace.web.parameters import Field, fields_of, form_values, spec

NONE = "none"

# Writes the spec in the browser, as `parameters.spec` does, so that no click can outrun it.
WRITE = """(...values) => {
  const name = %s, parts = [];
  %s.forEach(([field, kind, usual], at) => {
    const value = values[at], slider = kind === "number" || kind === "whole";
    if (slider && Number(value) === usual) return;
    const share = kind === "number" && Number.isInteger(value); // an int would count steps
    const text = share ? value.toFixed(1) : String(value ?? "").trim();
    if (text && text !== usual) parts.push(field + "=" + text);
  });
  return parts.length ? name + ":" + parts.join(",") : name;
}"""


@dataclass(frozen=True)
class Form:
    """The components of one choice. ``spec`` holds what the command line takes ("" for none)."""

    kind: str
    table: Mapping[str, type]
    menu: gr.Dropdown
    groups: dict[str, gr.Group]
    parts: dict[str, list[tuple[Field, Any]]]
    spec: gr.Textbox

    @property
    def shown(self) -> list[Any]:
        """Everything that `show` gives a value, in its order."""
        fields = [part for parts in self.parts.values() for _, part in parts]
        return [self.menu, self.spec, *self.groups.values(), *fields]

    def show(self, text: str) -> list[Any]:
        """What the components become for a spec. Raises InputError for one that is none."""
        text = text.strip()
        chosen = parse_choice(text, self.kind, self.table) if text else None
        name = text.partition(":")[0].strip().lower().replace("_", "-") or NONE
        out = [name, text, *(gr.update(visible=name == one) for one in self.groups)]
        for one, parts in self.parts.items():
            values = form_values(chosen, [f for f, _ in parts]) if one == name else {}
            out += [values.get(field.name, gr.skip()) for field, _ in parts]
        return out


def form(kind: str, label: str, table: Mapping[str, type], default: str, where: str = "") -> Form:
    """Draws a form. ``default`` "" offers and chooses none; ``where`` makes its ids differ."""
    named = [NONE, *table] if not default else list(table)
    menu = gr.Dropdown(
        named,
        value=default or NONE,
        label=label,
        info="What each does is said below it.",
        elem_id=f"{where}{kind}-menu",
    )
    groups, parts = {}, {}
    for name, cls in table.items():
        with gr.Group(visible=name == default, elem_classes="fields") as groups[name]:
            gr.Markdown(about(cls), elem_classes="about")
            fields = fields_of(name, table)
            parts[name] = [(field, component(field, f"{where}{kind}-{name}")) for field in fields]
    text = gr.Textbox(
        default,
        label=f"{label} as text",
        info="As --" + kind + " on the command line takes it; the fields above write it.",
        elem_id=f"{where}{kind}-spec",
        elem_classes="spec",
        max_lines=2,
    )
    made = Form(kind, table, menu, groups, parts, text)
    wire(made)
    return made


def component(field: Field, place: str) -> Any:
    """One field of a form."""
    options: dict[str, Any] = {
        "label": field.label,
        "info": field.help,
        "elem_id": f"{place}-{field.name}",
    }
    if field.kind in ("number", "whole"):
        low, high, step = field.span
        return gr.Slider(low, high, value=field.default, step=step, **options)
    if field.kind == "switch":
        return gr.Checkbox(value=field.default, **options)
    if field.kind == "choice":
        return gr.Radio(list(field.choices), value=field.shown, **options)
    return gr.Textbox(field.shown, max_lines=1, **options)


def wire(made: Form) -> None:
    """Fields write the spec (in the browser), the menu shows its fields, the spec sets both."""
    for name, parts in made.parts.items():
        fields = [field for field, _ in parts]
        drawn = [part for _, part in parts]
        listens = [part.input for part in drawn]
        if listens:
            gr.on(
                listens, None, drawn, made.spec, js=script(name, fields), api_visibility="private"
            )
    every = [part for parts in made.parts.values() for _, part in parts]
    groups = list(made.groups.values())

    def chosen(name: str, *values: Any) -> list[Any]:
        """The menu was used: the fields of that entry, as they were left."""
        text, at = "", 0
        for one, parts in made.parts.items():
            if one == name:
                own = dict(zip([f.name for f, _ in parts], values[at:], strict=False))
                text = spec(name, own, [f for f, _ in parts])
            at += len(parts)
        return [text, *(gr.update(visible=one == name) for one in made.groups)]

    def typed(text: str) -> list[Any]:
        """The text was changed by hand."""
        try:
            return made.show(text or "")
        except InputError as error:
            gr.Warning(str(error))
            return [gr.skip()] * len(made.shown)

    quiet: dict[str, Any] = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}
    made.menu.input(chosen, [made.menu, *every], [made.spec, *groups], **quiet)
    gr.on([made.spec.submit, made.spec.blur], typed, made.spec, made.shown, **quiet)


def script(name: str, fields: list[Field]) -> str:
    """The browser's writer of one entry's spec."""
    known = []
    for field in fields:
        usual = field.default
        if field.kind == "switch":
            usual = str(usual).lower()
        elif field.kind in ("text", "choice"):
            usual = field.shown
        known.append([WRITTEN.get(field.name, field.name), field.kind, usual])
    return WRITE % (json.dumps(name), json.dumps(known))
