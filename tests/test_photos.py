"""`photos`, the embedded model for photographs: what it is, and that it edits as it says."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

import noisespace as ns
from noisespace.cli import app
from noisespace.models.loading import EMBEDDED
from noisespace.pictures import images
from noisespace.pictures.metadata import read_record

FOLDER = EMBEDDED["photos"]
NAVY, RED = "a photo of a navy t-shirt", "a photo of a red t-shirt"


@pytest.fixture(scope="module")
def model():
    return ns.load("photos", device="cpu")


@pytest.fixture(scope="module")
def shirt(model):
    """A picture of its kind: the photographs that it learned from are not part of the project."""
    return ns.sample(model, NAVY, steps=30, seed=1).images[0]


def redness(image):
    """How much red exceeds blue in the middle of a picture, in grey levels."""
    middle = np.asarray(image, float)[32:96, 32:96]
    return float((middle[..., 0] - middle[..., 2]).mean())


def test_what_is_shipped():
    weights = sum(file.stat().st_size for file in FOLDER.rglob("*.safetensors"))
    assert weights <= 80e6
    card = (FOLDER / "MODEL_CARD.md").read_text()
    assert all(word in card for word in ("MIT", "CC0", "Apache-2.0", "seed"))
    told = "".join(file.read_text() for file in FOLDER.rglob("*.json")) + card
    assert not any(word in told for word in ("/home/", "/work", "/tmp", "../"))
    notes = json.loads((FOLDER / "noisespace.json").read_text())
    assert notes["size"] == 128
    assert {"edit-friendly", "ddim"} <= notes["defaults"]["methods"].keys()


def test_a_shirt_turns_red(model, shirt):
    code = ns.invert(model, shirt, NAVY)
    result = ns.edit(model, code, [NAVY, RED])
    same, red = result.images
    towers = ns.load_alignment("photos")
    x = torch.cat([images.to_tensor(np.asarray(i)) for i in (shirt, red)]).float()
    with torch.no_grad():
        before, after = (towers(x, [RED] * 2) - towers(x, [NAVY] * 2)).tolist()
    assert before < 0 < after
    assert redness(red) > redness(shirt) + 40
    assert abs(redness(same) - redness(shirt)) < 20  # the edit is the prompt's doing


def test_reconstruction_is_exact_where_it_should_be(model, shirt):
    """Edit-friendly codes give the latents back, DDIM's at the same few steps do not."""
    x0 = model.encode(images.to_tensor(np.asarray(shirt)).float())
    found = {}
    for method in (ns.EditFriendly(), ns.DDIM()):
        code = ns.invert(model, shirt, NAVY, method, steps=20, guidance=1.0)
        found[type(method).__name__] = float((ns.reconstruct(model, code).latents - x0).abs().max())
    assert found["EditFriendly"] < 1e-3 < 3e-2 < found["DDIM"]


def test_what_a_picture_shows_is_written_by_itself(model, shirt):
    text = ns.caption(model, shirt)
    assert text.startswith("a photo of ")
    assert "navy" in text or "black" in text or "blue" in text


def test_the_command(shirt, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    shirt.save(tmp_path / "shirt.png")
    given = ["edit", tmp_path / "shirt.png", "--model", "photos", "--source", NAVY, "--target", RED]
    given += ["-o", tmp_path / "red.png", "--steps", "30"]
    result = CliRunner().invoke(app, [str(word) for word in given])
    assert result.exit_code == 0, result.output
    red = Image.open(tmp_path / "red.png")
    assert red.size == (128, 128)
    assert redness(red) > redness(shirt) + 20
    assert read_record(tmp_path / "red.png")["model"]["name"] == "photos"
