"""Every inversion with every editor on every family: the table of docs/models.md, by running it.

``python tests/test_family_table.py`` writes it anew.
"""

from pathlib import Path

import numpy as np
import pytest
import torch

import noisespace as ns
from choices import EVERY_EDITOR, EVERY_INVERSION
from noisespace.editing import EDITORS
from noisespace.errors import InputError
from noisespace.inversion import METHODS
from tiny import tiny_flux, tiny_sd, tiny_sd3, tiny_sdxl

PAGE = Path(__file__).parents[1] / "docs" / "models.md"
BEGIN, END = "<!-- inversions -->\n", "<!-- /inversions -->"
FAMILIES = {"SD": tiny_sd, "SDXL": tiny_sdxl, "SD 3": tiny_sd3, "Flux": tiny_flux}
REASONS = {  # what a refusal says, and what the table says
    "works on the null text": "needs a null text",
    "holds no signal": "needs a first level with signal",
    "with maps=": "`maps=text` runs",
}
PICTURE = np.random.default_rng(1).integers(0, 256, (32, 32, 3), dtype=np.uint8)
SOURCE, TARGET = "a photo of a cat", "a photo of a dog"


def reason(error):
    return next((word for said, word in REASONS.items() if said in str(error)), str(error))


def column(make):
    """Of a family: what each inversion does with all editors, by the inversion's name."""
    model, found = ns.from_pipeline(make()), {}
    for method in EVERY_INVERSION:
        try:
            code = ns.invert(model, PICTURE, SOURCE, method, steps=3, size=32)
        except InputError as error:
            found[METHODS.name_of(method)] = reason(error)
            continue
        refused = {}
        for editor in EVERY_EDITOR:
            try:
                result = ns.edit(model, code, TARGET, editor=editor, guidance=2.0)
                assert torch.isfinite(result.latents).all()
            except InputError as error:
                refused[EDITORS.name_of(editor)] = reason(error)
        but = ", ".join(f"{name} ({why})" for name, why in refused.items())
        found[METHODS.name_of(method)] = f"every editor but {but}" if but else "every editor"
    return found


def written():
    """The rows of the table in the page, by the inversion's name."""
    lines = PAGE.read_text(encoding="utf-8").split(BEGIN)[1].split(END)[0].strip().splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]
    return {row[0].strip("`"): dict(zip(FAMILIES, row[1:], strict=True)) for row in rows}


@pytest.mark.filterwarnings("ignore")  # of random networks that are tuned in two iterations
@pytest.mark.parametrize("family", FAMILIES)
def test_the_table_of_the_page_is_what_runs(family):
    table = written()
    assert list(table) == list(METHODS)
    assert {name: row[family] for name, row in table.items()} == column(FAMILIES[family])


def write():
    columns = {family: column(make) for family, make in FAMILIES.items()}
    lines = [f"| inversion | {' | '.join(FAMILIES)} |", "|---" * (len(FAMILIES) + 1) + "|"]
    for name in METHODS:
        lines.append(f"| `{name}` | {' | '.join(columns[family][name] for family in FAMILIES)} |")
    page = PAGE.read_text(encoding="utf-8")
    before, rest = page.split(BEGIN)
    table = "\n".join(lines)
    PAGE.write_text(f"{before}{BEGIN}{table}\n{END}{rest.split(END)[1]}", encoding="utf-8")


if __name__ == "__main__":
    write()
