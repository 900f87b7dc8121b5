"""Forms of methods and editors: every field is offered, explained, and comes back from the spec."""

import dataclasses
import typing
from typing import Annotated

import pytest
from annotated_types import Interval

from noisespace.editing import EDITORS, MASKS, OPERATIONS
from noisespace.errors import InputError
from noisespace.inversion import METHODS
from noisespace.planning.parsing import parse_choice
from noisespace.web.parameters import fields_of, form_values, spec
from noisespace.web.written import parse_repr, spec_of

TABLES = {"method": METHODS, "editor": EDITORS, "operation": OPERATIONS, "mask": MASKS}
ALL = [(kind, name) for kind, table in TABLES.items() for name in table]
NEEDED = {"diffusion-clip": {"target": "a dog"}, "attention": {"word": "cat"}}


@pytest.mark.parametrize(("kind", "name"), ALL)
def test_every_field_has_a_form_with_help_and_a_range_that_holds_its_default(kind, name):
    cls, fields = TABLES[kind][name], fields_of(name, TABLES[kind])
    hints = typing.get_type_hints(cls)
    offered = [f.name for f in dataclasses.fields(cls) if hints[f.name] is not typing.Any]
    assert [f.name for f in fields] == offered
    for field in fields:
        assert len(field.help) > 10, f"{name}.{field.name} is not explained"
        assert "``" not in field.help
        if field.kind in ("number", "whole"):
            assert field.span[0] <= field.default <= field.span[1]
            assert 0 < field.span[2] < field.span[1] - field.span[0]
        if field.kind == "choice":
            assert field.shown in field.choices


@pytest.mark.parametrize(("kind", "name"), ALL)
def test_a_form_moved_off_its_defaults_is_read_back_as_written(kind, name):
    fields = fields_of(name, TABLES[kind])
    moved = dict(NEEDED.get(name, {}))
    for field in fields:
        if field.kind in ("number", "whole"):
            moved[field.name] = field.span[1] if field.default == field.span[0] else field.span[0]
        elif field.kind == "switch":
            moved[field.name] = not field.default
        elif field.kind == "choice":
            moved[field.name] = next(c for c in field.choices if c != field.shown)
    text = spec(name, moved, fields)
    choice = parse_choice(text, kind, TABLES[kind])
    for field in fields:
        if field.name in moved and field.kind != "choice":
            value = getattr(choice, field.name)
            assert value == moved[field.name]
            assert (field.kind == "number") == isinstance(value, float) or field.kind != "number"
    shown = {f.name: f.shown for f in fields}
    assert form_values(choice, fields) == {**shown, **moved}
    assert spec_of(choice, kind, TABLES[kind]) == text


@pytest.mark.parametrize(("kind", "name"), ALL)
def test_an_untouched_form_is_the_bare_name(kind, name):
    fields = fields_of(name, TABLES[kind])
    assert spec(name, {f.name: f.shown for f in fields}, fields) == name


@pytest.mark.parametrize(
    "text",
    [
        "edit-friendly:skip=36,eta=0.5",
        "prompt-to-prompt:cross=0.2/0.8,reweight=red:2.0+dotted:0.5,blend=cat/dog",
        "ddim:told=upper,stop=0.8",
        "pix2pix-zero:source_sentences=a cat|a grey cat|the cat",
    ],
)
def test_a_record_gives_its_spec_back(text):
    table = {**METHODS, **EDITORS}
    choice = parse_choice(text, "choice", table)
    assert parse_repr(repr(choice), "choice", table) == choice
    assert spec_of(choice, "choice", table) == text


def test_what_a_slider_lacks_stays_in_the_spec():
    choice = METHODS["edit-friendly"](skip=36)
    fields = fields_of("edit-friendly", METHODS)
    assert form_values(choice, fields)["skip"] == 0.36
    assert spec_of(choice, "method", METHODS) == "edit-friendly:skip=36"


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os').system('true')",
        "EditFriendly(skip=__import__('os').getpid())",
        "EditFriendly(1)",
        "SDEdit(strength=0.8, strokes=sha256:ab, eta=0.0)",
        "Path(x=1)",
        "EditFriendly(nothing=1)",
        "(" * 500,
    ],
)
def test_a_record_is_parsed_and_never_run(text):
    with pytest.raises(InputError):
        parse_repr(text, "method", METHODS)


@pytest.mark.parametrize(
    ("kind", "interval", "default", "span"),
    [
        (int, Interval(ge=1, le=5), 2, (1, 5, 1)),
        (int, Interval(ge=4, le=20), 8, (4, 20, 1)),
        (int, Interval(gt=0, lt=20), 2, (1, 19, 1)),
        (int, Interval(ge=1, le=3), 2, (1, 3, 1)),
        (int, Interval(ge=1), 5, (1, 20, 1)),
        (int, Interval(ge=4, le=1000), 400, (4, 1000, 1)),
        (float, Interval(ge=0, le=3), 1.5, (0, 3, 0.015)),
        (float, Interval(ge=-5, le=5), 0.0, (-5, 5, 0.05)),
        (float, Interval(gt=0, lt=1), 0.5, (0.01, 0.99, 0.01)),
        (float, Interval(ge=0.5), 1.5, (0.5, 6.0, 0.075)),
    ],
)
def test_sliders_offer_the_values_that_are_valid(kind, interval, default, span):
    cls = dataclasses.make_dataclass("Method", [("field", Annotated[kind, interval], default)])
    cls.__doc__ = "Something (arXiv 2010.02502).\n\n``field``: a number."
    (field,) = fields_of("method", {"method": cls})
    assert field.span == pytest.approx(span)
