"""The alignment model as a score: its functions, how it guides, how it fits a network."""

import json
import random
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import CLIPConfig, CLIPModel
from typer.testing import CliRunner

import noisespace as ns
from noisespace.cli import app
from noisespace.errors import InputError
from noisespace.train.alignment import build_alignment, contrast
from noisespace.train.config import AlignmentStage
from noisespace.train.dataset import Scenes
from noisespace.train.draw import held_out_scene, near_miss, random_scene
from noisespace.train.evaluate import evaluate_alignment
from noisespace.train.export import export_alignment
from noisespace.train.text import build_tokenizer
from tiny import WORDS, double, tiny_pixels, tiny_sd

IMAGE = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
SOURCE, TARGET = "a photo of a cat", "a photo of a dog"
STAGE = AlignmentStage(
    channels=(8, 16), depths=(1, 1), text_hidden=16, text_layers=1, text_length=16, embedding=8
)


class Words:
    """As much of a data set as the towers need."""

    size = 32

    def words(self):
        return tuple(WORDS)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("towers") / "alignment"
    module, tokenizer = build_alignment(STAGE, Words(), 0)
    export_alignment((module["towers"], tokenizer), path)
    return path


@pytest.fixture(scope="module")
def alignment(folder):
    loaded = ns.load_alignment(folder, "cpu")
    return ns.Alignment(loaded.encoders.double(), loaded.tokenizer, "tiny", loaded.size)


@pytest.fixture(scope="module")
def model():
    return ns.from_pipeline(double(tiny_sd()))


def pixels(n, size=32, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(n, 3, size, size, generator=generator, dtype=torch.float64) * 2 - 1


def test_embeddings_have_length_one_and_prompts_keep_their_order(alignment):
    pictures, prompts = alignment.pictures(pixels(3)), [SOURCE, TARGET, SOURCE]
    texts = alignment.prompts(prompts)
    for embedded in (pictures, texts):
        torch.testing.assert_close(embedded.norm(dim=1), torch.ones(3).double())
    assert torch.equal(texts[0], texts[2])
    assert not torch.equal(texts[0], texts[1])
    cosine = alignment(pixels(3), prompts)
    torch.testing.assert_close(cosine, (pictures * texts).sum(1))
    assert alignment.pictures(pixels(1, size=48)).shape == (1, 8)


def test_prompts_are_one_a_picture(alignment):
    for prompts in (SOURCE, [SOURCE], [SOURCE] * 3):
        with pytest.raises(InputError, match="a list of"):
            alignment(pixels(2), prompts)
    with pytest.raises(InputError, match="a list of prompts"):
        alignment.prompts(SOURCE)


def test_odds_are_those_of_two_classes(alignment):
    one = alignment.odds(pixels(4), [TARGET] * 4, [SOURCE] * 4).exp()
    other = alignment.odds(pixels(4), [SOURCE] * 4, [TARGET] * 4).exp()
    torch.testing.assert_close(one + other, torch.ones(4).double())
    same = alignment.odds(pixels(4), [SOURCE] * 4, [SOURCE] * 4)
    torch.testing.assert_close(same.exp(), torch.full((4,), 0.5).double())


def test_directions_are_of_changes(alignment):
    a, b = pixels(2), pixels(2, seed=1)
    forth = alignment.direction(b, a, [TARGET] * 2, [SOURCE] * 2)
    back = alignment.direction(a, b, [SOURCE] * 2, [TARGET] * 2)
    torch.testing.assert_close(forth, back)
    torch.testing.assert_close(forth, -alignment.direction(b, a, [SOURCE] * 2, [TARGET] * 2))
    assert not alignment.direction(a, a, [TARGET] * 2, [SOURCE] * 2).any()


def test_structure_is_a_self_similarity(alignment):
    s = alignment.structure(pixels(2))
    torch.testing.assert_close(s, s.mT)
    torch.testing.assert_close(s.diagonal(dim1=1, dim2=2), torch.ones(2, s.shape[1]).double())


@pytest.mark.parametrize("what", ["cosine", "odds", "direction", "structure"])
def test_gradients_are_those_of_finite_differences(alignment, what):
    def value(x):
        if what == "cosine":
            return alignment(x, [TARGET]).sum()
        if what == "odds":
            return alignment.odds(x, [TARGET], [SOURCE]).sum()
        if what == "direction":
            return alignment.direction(x, pixels(1, seed=5), [TARGET], [SOURCE]).sum()
        return alignment.structure(x).square().sum()

    x, d = pixels(1).requires_grad_(), pixels(1, seed=3)
    (slope,) = torch.autograd.grad(value(x), x)
    with torch.no_grad():
        numeric = (value(x + 1e-6 * d) - value(x - 1e-6 * d)) / 2e-6
    torch.testing.assert_close((slope * d).sum(), numeric, rtol=1e-5, atol=1e-9)


def test_a_clip_serves_as_well(tmp_path):
    torch.manual_seed(0)
    tokenizer = build_tokenizer(WORDS, 16)
    text = {"vocab_size": len(tokenizer), "hidden_size": 16, "intermediate_size": 16}
    text |= {"num_hidden_layers": 1, "num_attention_heads": 2, "max_position_embeddings": 16}
    vision = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1}
    vision |= {"num_attention_heads": 2, "image_size": 32, "patch_size": 8}
    clip = CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=8)).eval()
    clip.save_pretrained(tmp_path / "clip")
    tokenizer.save_pretrained(tmp_path / "clip")
    found = ns.load_alignment(tmp_path / "clip", "cpu")
    x, ids = pixels(2).float(), tokenizer([SOURCE, TARGET], padding="max_length", max_length=16)
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (found.mean, found.std))
    with torch.no_grad():
        ids = torch.tensor(ids.input_ids)
        theirs = clip(input_ids=ids, pixel_values=((x + 1) / 2 - mean) / std)
        ours = found.pictures(x) @ found.prompts([SOURCE, TARGET]).T
    torch.testing.assert_close(ours, theirs.logits_per_image / clip.logit_scale.exp())
    assert found.structure(x).shape == (2, 16, 16)


def test_what_is_no_alignment_model_is_said(folder, tmp_path, model):
    with pytest.raises(InputError, match="is not known"):
        ns.load_alignment("nowhere")
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(InputError, match=r"no config\.json"):
        ns.load_alignment(empty)
    (empty / "config.json").write_text(json.dumps({"architectures": ["BertModel"]}))
    with pytest.raises(InputError, match="BertModel is not supported"):
        ns.load_alignment(empty)
    bare = tmp_path / "bare"
    shutil.copytree(folder, bare)
    (bare / "model.safetensors").unlink()
    with pytest.raises(InputError, match="has no weights"):
        ns.load_alignment(bare)
    code = ns.invert(model, IMAGE, SOURCE, steps=4)
    with pytest.raises(InputError, match="brings no alignment model"):
        ns.edit(model, code, TARGET, editor=ns.ScoreGuidance())


# ---- as a guide


@pytest.fixture(scope="module")
def scenes():
    return ns.load("scenes", device="cpu"), ns.load_alignment("scenes", "cpu")


@pytest.mark.parametrize("number", [0, 1])
@pytest.mark.parametrize("method", [ns.EditFriendly(), ns.DDIM()], ids=repr)
def test_an_edit_of_a_trained_network_follows_the_alignment(scenes, method, number):
    (model, towers), scene = scenes, held_out_scene(number)
    target = scene.edited(colour="blue").caption
    code = ns.invert(model, scene, scene.caption, method, steps=10)

    def score(pixels, prompts):
        return towers(pixels, [target] * len(pixels))

    shown = []
    for scale in (-100.0, 0.0, 100.0):  # nothing but the score asks for the target
        editor = ns.ScoreGuidance(score, scale)
        pixels = model.decode(ns.edit(model, code, scene.caption, editor=editor).latents)
        shown.append(float(towers(pixels, [target])))
    assert shown[0] < shown[1] < shown[2]


@pytest.mark.parametrize("number", [0, 1])
def test_content_holds_an_edit_of_a_trained_network(scenes, number):
    (model, towers), scene = scenes, held_out_scene(number)
    target = scene.edited(colour="blue").caption
    code = ns.invert(model, scene, scene.caption, steps=10)
    source, away = towers.structure(model.decode(code.path[-1])), []
    for content in (0.0, 10.0, 30.0):
        editor = ns.ScoreGuidance("alignment", 100.0, content=content)
        pixels = model.decode(ns.edit(model, code, target, editor=editor).latents)
        away.append(float((towers.structure(pixels) - source).square().mean()))
    assert away[2] < away[1] < 0.99 * away[0]


def test_content_holds_an_edit(model, alignment):
    codes = ns.invert(model, [IMAGE, IMAGE[::-1].copy()], SOURCE, ns.DDIM(), steps=6)
    source = model.decode(codes.path[-1]).repeat_interleave(2, 0)
    targets = [[TARGET, "a red dog"], ["a blue cat", TARGET]]
    flat = [p for row in targets for p in row]

    def both(editor):
        edited = ns.edit(model, codes, targets, editor=editor, guidance=2.0).latents
        shown = model.decode(edited)
        away = (alignment.structure(shown) - alignment.structure(source)).square().mean((1, 2))
        return alignment.odds(shown, flat, [SOURCE] * 4), away

    plain = both(None)
    small = both(ns.ScoreGuidance(alignment, 0.01))
    held = both(ns.ScoreGuidance(alignment, 0.01, content=300.0))
    assert held[1].mean() < 0.99 * small[1].mean()
    idle = both(ns.ScoreGuidance(alignment, 0.0, content=5.0))
    torch.testing.assert_close(idle[0], plain[0])


@pytest.fixture
def text_calls(alignment):
    """The prompts' count of each call of the text tower."""
    calls = []
    tower = alignment.encoders.text_model
    hook = tower.register_forward_hook(lambda *a: calls.append(len(a[-1].pooler_output)))
    yield calls
    hook.remove()


def test_a_run_embeds_its_prompts_once(model, alignment, text_calls):
    code, targets = ns.invert(model, IMAGE, SOURCE, steps=6), [TARGET, "a red dog"]

    def each_time(pixels, prompts):
        return alignment.odds(pixels, prompts, [SOURCE] * len(prompts))

    anew = ns.edit(model, code, targets, editor=ns.ScoreGuidance(each_time, 30.0)).latents
    assert len(text_calls) > 2 * 4  # calls are counted
    text_calls.clear()
    once = ns.edit(model, code, targets, editor=ns.ScoreGuidance(alignment, 30.0)).latents
    assert torch.equal(once, anew)
    # one prompt and its source in the trial before the run, then the edit's own lists
    assert text_calls == [1, 1, 2, 1]
    text_calls.clear()
    fitted(model, alignment, iterations=3, lr=0.02)
    assert len(text_calls) == 2


def test_embedded_prompts_serve_in_place_of_words(alignment):
    x, one, two = pixels(2), [TARGET, "a red dog"], [SOURCE] * 2
    a, b = alignment.prompts(one), alignment.prompts(two)
    assert torch.equal(alignment(x, a), alignment(x, one))
    assert torch.equal(alignment.odds(x, a, b), alignment.odds(x, one, two))
    far = pixels(2, seed=1)
    assert torch.equal(alignment.direction(x, far, a, b), alignment.direction(x, far, one, two))
    with pytest.raises(InputError, match="a list of 2 prompts"):
        alignment(x, a[:1])


def test_content_needs_towers(model):
    code = ns.invert(model, IMAGE, SOURCE, steps=4)
    editor = ns.ScoreGuidance(lambda pixels, prompts: pixels.mean((1, 2, 3)), content=1.0)
    with pytest.raises(InputError, match="content needs an alignment model"):
        ns.edit(model, code, TARGET, editor=editor)


def test_a_models_own_towers_are_found(model, folder, alignment):
    own = replace(model, alignment_folder=folder)
    code = ns.invert(own, IMAGE, SOURCE, steps=4)
    by_name = ns.edit(own, code, TARGET, editor=ns.ScoreGuidance(scale=50.0))
    given = ns.edit(own, code, TARGET, editor=ns.ScoreGuidance(alignment, 50.0))
    torch.testing.assert_close(by_name.latents, given.latents)
    assert "score='alignment'" in by_name.record["editor"]
    assert "Alignment('tiny')" in given.record["editor"]


# ---- DiffusionCLIP


def fitted(model, alignment, **settings):
    method = ns.DiffusionCLIP(TARGET, alignment=alignment, **settings)
    return ns.invert(model, [IMAGE, IMAGE[::-1].copy()], SOURCE, method, steps=6)


def test_diffusion_clip_turns_the_change_to_that_of_the_words(model, alignment, tmp_path):
    before = [p.detach().clone() for p in model.network.parameters()]
    code = fitted(model, alignment, iterations=10, lr=0.02, identity=0.0)
    after = list(model.network.parameters())
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
    source = model.decode(code.path[-1])

    def direction(code):
        shown = model.decode(ns.edit(model, code, TARGET).latents)
        return alignment.direction(shown, source, [TARGET] * 2, [SOURCE] * 2).mean()

    assert direction(code) > direction(replace(code, adapter={})) + 0.1
    unfitted = fitted(model, alignment, iterations=0)
    torch.testing.assert_close(direction(unfitted), direction(replace(code, adapter={})))
    plain = ns.reconstruct(model, replace(code, adapter={})).latents
    torch.testing.assert_close(ns.reconstruct(model, code).latents, plain)
    again = fitted(model, alignment, iterations=10, lr=0.02, identity=0.0)
    edited = ns.edit(model, code, TARGET).latents
    assert torch.equal(ns.edit(model, again, TARGET).latents, edited)
    code.save(tmp_path / "code.safetensors")
    loaded = ns.Code.load(tmp_path / "code.safetensors")
    assert torch.equal(ns.edit(model, loaded, TARGET).latents, edited)
    torch.testing.assert_close(ns.reconstruct(model, loaded).latents, plain)


def test_identity_holds_the_picture(model, alignment):
    away = []
    for identity in (0.0, 30.0):
        code = fitted(model, alignment, iterations=6, lr=0.02, identity=identity)
        shown = model.decode(ns.edit(model, code, TARGET).latents)
        away.append(float((shown - model.decode(code.path[-1])).abs().mean()))
    assert away[1] < away[0]


def test_diffusion_clip_can_be_cancelled(model, alignment):
    before = [p.detach().clone() for p in model.network.parameters()]

    def stop(done, total):
        raise KeyboardInterrupt

    method = ns.DiffusionCLIP(TARGET, alignment=alignment)
    with pytest.raises(KeyboardInterrupt):
        ns.invert(model, IMAGE, SOURCE, method, steps=6, progress=stop)
    after = list(model.network.parameters())
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
    assert not any(m._forward_hooks for m in model.network.modules())


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"target": " "}, "needs target"),
        ({"target": SOURCE}, "nothing to fit"),
        ({"target": TARGET, "descent": 0}, "at least 1 step"),
        ({"target": TARGET, "identity": -1.0}, "identity must be"),
        ({"target": TARGET, "lr": 0.0}, "lr must be"),
        ({"target": TARGET, "identity": "x"}, "identity must be"),
        ({"target": TARGET, "source": 5}, "source must be"),
        ({"target": TARGET, "alignment": None}, "alignment must be"),
        ({"target": TARGET, "rank": 0}, "rank 0"),
        ({"target": TARGET, "strength": 0.0}, "strength must be"),
        ({"target": TARGET, "alignment": "alignment"}, "brings no alignment model"),
    ],
    ids=lambda v: str(v)[:30],
)
def test_bad_settings(model, alignment, settings, words, monkeypatch):
    monkeypatch.setattr(type(model), "denoise", None)  # no network runs
    method = ns.DiffusionCLIP(**{"alignment": alignment, **settings})
    with pytest.raises(InputError, match=words):
        ns.invert(model, IMAGE, SOURCE, method, steps=4)


def test_unconditional_models_are_fitted_too(alignment):
    model = ns.from_pipeline(double(tiny_pixels()))
    picture = IMAGE[:16, :16]
    with pytest.raises(InputError, match="or source="):
        ns.invert(model, picture, "", ns.DiffusionCLIP(TARGET, alignment=alignment), steps=4)
    settings = {"alignment": alignment, "iterations": 2, "lr": 0.02}
    method = ns.DiffusionCLIP(TARGET, SOURCE, **settings)
    code = ns.invert(model, picture, "", method, steps=4)
    plain = ns.edit(model, replace(code, adapter={}), "").latents
    assert float((ns.edit(model, code, "").latents - plain).abs().max()) > 1e-6


# ---- of scenes


def test_scenes_brings_one_that_names_what_is_seen():
    shares = evaluate_alignment(ns.load_alignment("scenes"), 40)
    assert min(shares.values()) > 0.9, shares
    module, tokenizer = build_alignment(STAGE, Scenes(), 0)
    guessing = ns.Alignment(module["towers"].eval(), tokenizer, "random", Scenes().size)
    assert evaluate_alignment(guessing, 40)["shape"] < 0.5


def test_a_folder_is_read_once_and_anew_when_it_is_written_anew(folder, tmp_path):
    path = tmp_path / "alignment"
    shutil.copytree(folder, path)
    first = ns.load_alignment(path, "cpu")
    assert ns.load_alignment(path, "cpu") is first
    module, tokenizer = build_alignment(STAGE, Words(), 1)
    export_alignment((module["towers"], tokenizer), path)
    again = ns.load_alignment(path, "cpu")
    assert not torch.equal(again.prompts([SOURCE]), first.prompts([SOURCE]))
    notes = json.loads((path / "preprocessor_config.json").read_text())
    notes["image_mean"] = [0.25] * 3
    (path / "preprocessor_config.json").write_text(json.dumps(notes))
    assert ns.load_alignment(path, "cpu").mean == (0.25,) * 3


def test_a_near_miss_is_wrong_in_one_respect():
    rng = random.Random(0)
    for _ in range(200):
        scene = random_scene(rng)
        other = near_miss(scene, rng)
        told = [
            [*zip(*(o.triple for o in s.objects), strict=True), s.background]
            for s in (scene, other)
        ]
        assert sum(a != b for a, b in zip(*told, strict=True)) == 1


def test_the_command_line_guides_and_fits(tmp_path):
    scene = held_out_scene(0)
    Image.fromarray(scene.render()).save(tmp_path / "a.png")
    target = scene.edited(background="white" if scene.background != "white" else "black").caption
    words = ["edit", str(tmp_path / "a.png"), "--model", "scenes", "--source", scene.caption]
    words += ["--target", target, "--steps", "6"]
    for name, extra in (
        ("g", ["--editor", "score-guidance:scale=4,content=2"]),
        ("d", ["--method", f"diffusion-clip:target={target},iterations=1,descent=2"]),
    ):
        done = CliRunner().invoke(app, [*words, *extra, "--out", str(tmp_path / f"{name}.png")])
        assert done.exit_code == 0, done.output
        assert (tmp_path / f"{name}.png").exists()


# ---- its loss


def test_the_contrastive_loss_has_its_limits():
    eye, scale = torch.eye(4), torch.tensor(4.0)
    assert contrast(eye, eye, scale, eye) < 1e-10
    wrong = contrast(eye, eye.roll(1, 0), scale, eye)
    assert wrong > 50
    flat = torch.ones(4, 4)
    torch.testing.assert_close(contrast(flat, flat, scale, eye), torch.tensor(4.0).log())
    # equal captions are no mistake, and a text that belongs to nobody only costs where it is near
    doubled = eye[[0, 0, 1, 2]]
    same = (doubled @ doubled.T > 0.5).float()
    torch.testing.assert_close(
        contrast(doubled, doubled, scale, same), torch.tensor(2.0).log() / 2, atol=1e-6, rtol=0
    )
    far, near = torch.cat([eye[:3], eye[3:]]), torch.cat([eye[:3], eye[:1]])
    assert contrast(eye[:3], far, scale, eye[:3, :3]) < contrast(eye[:3], near, scale, eye[:3, :3])
