"""Every choice of the lists, with settings that a tiny network gets through quickly."""

from dataclasses import MISSING
from functools import cache
from typing import Any

import noisespace as ns
from noisespace.editing import EDITORS, MASKS
from noisespace.inversion import METHODS
from noisespace.system.fields import Field, fields_of
from noisespace.train.alignment import build_alignment
from noisespace.train.config import AlignmentStage
from tiny import WORDS

GIVEN = "cat"  # a word of the prompts, where one must be given
# by how a field's name ends: little work, in the few steps and layers that there are; an
# optimisation is for the guidance that the tests edit with
FEW = {"iterations": 2, "rank": 2, "descent": 2, "maps": 3, "step": 0, "layer": 0, "guidance": 3.0}


class Words:
    """As much of a data set as the towers need."""

    size = 32

    def words(self) -> tuple[str, ...]:
        return tuple(WORDS)


@cache
def alignment() -> ns.Alignment:
    """Tiny random towers in float64."""
    stage = AlignmentStage(
        channels=(8, 16), depths=(1, 1), text_hidden=16, text_layers=1, text_length=16, embedding=8
    )
    module, tokenizer = build_alignment(stage, Words(), 0)
    return ns.Alignment(module["towers"].double().eval(), tokenizer, "tiny", Words.size)


def setting(field: Field) -> Any:
    """What a field is set to; MISSING where its default will do."""
    if field.default is MISSING:
        return GIVEN
    if field.default == "alignment":
        return alignment()
    few = next((n for name, n in FEW.items() if field.name.endswith(name)), MISSING)
    return MISSING if field.choices else few


def cheap(cls: type) -> Any:
    """A choice at its defaults, but for what takes long and what must be given."""
    values = {field.name: setting(field) for field in fields_of(cls)}
    return cls(**{name: value for name, value in values.items() if value is not MISSING})


EVERY_INVERSION = [cheap(cls) for cls in METHODS.values()]
EVERY_EDITOR = [cheap(cls) for cls in EDITORS.values()]
EVERY_MASK = [cheap(cls) for cls in MASKS.values()]
ALL_EDITORS = [  # every one of the list, and some of them otherwise
    *EVERY_EDITOR,
    ns.PromptToPrompt(mode="refine", self_=0.5, reweight={"dog": 2.0}),
    ns.PromptToPrompt(blend=("cat", "dog"), windows={"dog": (0.2, 0.6)}),
    ns.MasaCtrl(step=1, layer=0, words=("cat", "dog"), threshold=0.5),
    ns.Concepts((ns.Concept("red"), ns.Concept("a horse", away=True, warmup=2))),
]
# at strength 0 an editor is none
NOTHING = [
    ns.PromptToPrompt(cross=0.0, self_=0.0),
    ns.MasaCtrl(step=1.0),
    ns.PlugAndPlay(features=0.0, attention=0.0),
    ns.Pix2PixZero(amount=0.0),
    ns.Concepts((ns.Concept("red", scale=0.0),)),
]
