"""Editors are copies along the row axis: invariants on every inversion, diffusers as the oracle."""

import numpy as np
import pytest
import torch
from PIL import Image

import noisespace as ns
from choices import ALL_EDITORS, NOTHING
from noisespace.core.controls import Controls, HookContext
from noisespace.editing import EditContext
from noisespace.editing.attention.token_alignment import align, find_word, words_of
from noisespace.errors import InputError
from noisespace.models.attention import controls_in
from noisespace.models.families.unet import find_sites
from test_inversion import ALL_INVERSIONS
from tiny import double, tiny_pixels, tiny_sd

IMAGE = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
SOURCE, TARGET = "a photo of a cat", "a photo of a dog"


@pytest.fixture(scope="module")
def model():
    return ns.from_pipeline(double(tiny_sd()))


def code_of(model, method, **options):
    return ns.invert(model, IMAGE, SOURCE, method, **{"steps": 6, **options})


def rows_of(model, code, editor, prompt=TARGET, **options):
    """The last states of an edit, source row first: (1 + targets, c, h, w)."""
    run = ns.edit_steps(model, code, prompt, editor=editor, **options)
    step = [preview.step for preview in run][-1]
    return step.x.flatten(0, 1)


@pytest.mark.parametrize("method", ALL_INVERSIONS, ids=repr)
@pytest.mark.parametrize("editor", ALL_EDITORS, ids=lambda e: type(e).__name__)
def test_every_editor_on_every_inversion(model, method, editor):
    """The target changes, the source does not."""
    code = code_of(model, method)
    source = ns.reconstruct(model, code).latents[0]
    rows = rows_of(model, code, editor, guidance=3.0)
    if code.info.adapts != "targets":  # else the reconstruction alone is the network's own
        torch.testing.assert_close(rows[0], source, atol=1e-10, rtol=0)
    plain = ns.edit(model, code, TARGET, guidance=3.0).latents[0]
    assert float((rows[1] - plain).abs().max()) > 1e-6


@pytest.mark.parametrize("method", [ns.EditFriendly(), ns.DDIM(), ns.Direct()], ids=repr)
@pytest.mark.parametrize("editor", NOTHING, ids=lambda e: type(e).__name__)
def test_an_editor_at_strength_zero_is_none(model, method, editor):
    code = code_of(model, method)
    plain = ns.edit(model, code, TARGET, guidance=3.0).latents
    edited = ns.edit(model, code, TARGET, guidance=3.0, editor=editor).latents
    torch.testing.assert_close(edited, plain, atol=1e-10, rtol=0)


# the others change a target that equals its source: by a mask, or by what is not in the prompt
COPIES = [
    e
    for e in ALL_EDITORS
    if not isinstance(e, (ns.DiffEdit, ns.Concepts)) and getattr(e, "words", None) is None
]


@pytest.mark.parametrize("editor", COPIES, ids=lambda e: type(e).__name__)
def test_target_equal_to_source_makes_both_rows_equal(model, editor):
    if isinstance(editor, ns.PromptToPrompt):
        editor = ns.PromptToPrompt(mode=editor.mode, blend="cat" if editor.blend else None)
    code = code_of(model, ns.EditFriendly())
    rows = rows_of(model, code, editor, SOURCE, guidance=code.guidance)
    torch.testing.assert_close(rows[1], rows[0], atol=1e-10, rtol=0)


@pytest.mark.parametrize("editor", ALL_EDITORS, ids=lambda e: type(e).__name__)
def test_row_by_row_equals_one_batch(model, editor):
    images = [IMAGE, 255 - IMAGE]
    sources = [SOURCE, "a cat on grass"]
    targets = [[TARGET, "a red dog"], ["a dog on grass", "a photo of the dog"]]
    code = ns.invert(model, images, sources, steps=5, seed=[0, 1])
    both = ns.edit(model, code, targets, editor=editor, guidance=3.0).latents
    for i in range(2):
        one = ns.invert(model, images[i], sources[i], steps=5, seed=i)
        for j in range(2):
            alone = ns.edit(model, one, targets[i][j], editor=editor, guidance=3.0).latents[0]
            torch.testing.assert_close(alone, both[2 * i + j], atol=1e-9, rtol=0)


def test_the_source_row_is_kept_bit_for_bit_where_the_kernel_is(model):
    """MasaCtrl touches neither the source's kernel nor the batch: exactly the same numbers."""
    code = code_of(model, ns.EditFriendly(live=True))
    rows = rows_of(model, code, ns.MasaCtrl(step=0, layer=0), guidance=3.0)
    assert torch.equal(rows[0], code.path[-1, 0])


def test_the_source_row_in_float32():
    model = ns.from_pipeline(tiny_sd())
    code = ns.invert(model, IMAGE, SOURCE, steps=6)
    source = ns.reconstruct(model, code).latents[0]
    for editor in ALL_EDITORS:
        rows = rows_of(model, code, editor, guidance=3.0)
        torch.testing.assert_close(rows[0], source, atol=1e-4, rtol=0)


def touch_of(rows=1, **hooks):
    return HookContext(Controls(**hooks), 0, 1, rows)


IDENTITY = {
    "qkv": lambda step, site, q, k, v: (q, k, v),
    "probs": lambda step, site, p: p,
    "feature": lambda step, site, h: h,
}


@pytest.mark.parametrize("names", [("qkv",), ("probs",), ("feature",), ("qkv", "probs", "feature")])
@pytest.mark.parametrize("make", [tiny_sd, tiny_pixels])
def test_identity_controls_equal_diffusers(make, names):
    model = ns.from_pipeline(make())
    size = model.resolution // model.factor
    x = torch.randn(2, model.channels, size, size, generator=torch.Generator().manual_seed(0))
    level = model.grid(10).level(torch.tensor([3, 3]))
    text = model.embed([SOURCE, ""] if model.has_text else ["", ""])
    plain = model.denoise(x, level, text).eps
    hooks = {name: IDENTITY[name] for name in names}
    with torch.no_grad():
        same = model.denoise(x, level, text, touch_of(rows=2, **hooks)).eps
    torch.testing.assert_close(same, plain, atol=1e-5, rtol=0)

    def halved(step, site, *parts):
        return tuple(p / 2 for p in parts) if len(parts) > 1 else parts[0] / 2

    with torch.no_grad():
        other = model.denoise(x, level, text, touch_of(rows=2, **dict.fromkeys(names, halved))).eps
    assert float((other - plain).abs().max()) > 1e-4


def processors(model):
    return list(model.network.attn_processors.values())


def test_the_original_processors_come_back(model):
    before = processors(model)
    code = code_of(model, ns.EditFriendly())
    ns.edit(model, code, TARGET, editor=ns.PromptToPrompt())
    run = ns.edit_steps(model, code, TARGET, editor=ns.PromptToPrompt())
    next(iter(run))
    assert all(a is b for a, b in zip(processors(model), before, strict=True))
    run.close()

    def broken(step, site, *parts):
        raise RuntimeError("in the middle")

    level, text = model.grid(10).level(torch.tensor([3])), model.embed([SOURCE])
    x = torch.zeros(1, 4, 8, 8, dtype=torch.float64)
    with pytest.raises(RuntimeError, match="in the middle"):
        model.denoise(x, level, text, touch_of(qkv=broken))
    with pytest.raises(RuntimeError, match="in the middle"):
        model.denoise(x, level, text, touch_of(feature=broken, qkv=IDENTITY["qkv"]))
    assert all(a is b for a, b in zip(processors(model), before, strict=True))
    assert not any(len(m._forward_hooks) for m in model.network.modules())


def test_extra_network_calls_change_nothing(model):
    code = code_of(model, ns.EditFriendly())
    level, text = model.grid(10).level(torch.tensor([3])), model.embed([SOURCE])
    for editor in ALL_EDITORS:
        expected = ns.edit(model, code, TARGET, editor=editor).latents
        run = ns.edit_steps(model, code, TARGET, editor=editor)
        for _ in run:
            model.denoise(torch.zeros(1, 4, 8, 8, dtype=torch.float64), level, text)
        assert torch.equal(run.result.latents, expected)


def test_hooks_see_folded_tensors_and_the_fused_kernel_stays(model, monkeypatch):
    seen, fused = {}, []
    kernel = torch.nn.functional.scaled_dot_product_attention
    monkeypatch.setattr(
        "noisespace.models.attention.scaled_dot_product_attention",
        lambda *a, **k: fused.append(1) or kernel(*a, **k),
    )

    def qkv(step, site, q, k, v):
        seen[site.name] = q.shape, k.shape
        return q, k, v

    def probs(step, site, p):
        torch.testing.assert_close(p.sum(-1), torch.ones_like(p.sum(-1)))
        seen[site.name + " p"] = p.shape
        return p

    class Look:
        def controls(self, context: EditContext) -> Controls:
            return Controls(qkv=qkv, probs=probs, reads=lambda step, site: site.kind == "cross")

    code = ns.invert(model, [IMAGE, IMAGE], SOURCE, steps=2)
    ns.edit(model, code, [[TARGET, "a"], "a cat"], editor=Look(), guidance=3.0)
    sites = model.sites()
    attentions = [s for s in sites if s.kind != "feature"]
    assert len(seen) == len(attentions) + sum(s.kind == "cross" for s in sites)
    first = attentions[0].name
    assert seen[first][0] == (2, 2, 3, 4, 64, 4)  # guide, image, row, head, token, dim
    steps = len(code.path) - 1
    assert len(fused) == steps * sum(s.kind == "self" for s in sites)


def test_sites_are_in_the_order_of_evaluation(model):
    order = []

    def qkv(step, site, q, k, v):
        order.append(site)
        return q, k, v

    level, text = model.grid(10).level(torch.tensor([3])), model.embed([SOURCE])
    model.denoise(torch.zeros(1, 4, 8, 8, dtype=torch.float64), level, text, touch_of(qkv=qkv))
    assert order == [s for s in find_sites(model.network) if s.kind != "feature"]
    for site in order:
        assert site.size(8, 8) == (8 // site.scale, 8 // site.scale)


def test_a_network_without_sites_is_refused():
    unet = torch.nn.Module()
    unet.down_blocks = torch.nn.ModuleList([torch.nn.Identity()])
    with (
        pytest.raises(InputError, match="no layer"),
        controls_in(unet, find_sites(unet), touch_of(qkv=IDENTITY["qkv"])),
    ):
        raise AssertionError("entered")


# ---- token alignment


def tokens(model, prompt):
    return model.embed([prompt]).tokens[0]


def test_words_of_several_tokens(model):
    words = words_of(tokens(model, "a xyz dog"))
    assert [w.text for w in words] == ["a", "xyz", "dog"]
    assert [len(w.at) for w in words] == [1, 3, 1]
    assert find_word(tokens(model, "a cat on a cat"), "cat", "") == [2, 5]
    assert find_word(tokens(model, "a red cat on grass"), "red cat", "") == [2, 3]


PAIRS = [
    ("a cat on grass", "a dog on grass"),  # a word swapped
    ("a cat on grass", "a xyz on grass"),  # for one of more tokens
    ("a xyz on grass", "a cat on grass"),
    ("a cat", "a red cat on grass"),  # words inserted
    ("a red cat on grass", "a cat"),  # words deleted
    ("a cat on a cat", "a dog on a cat"),  # a repeated word
    ("a cat", "the horse running in red grass"),  # nearly all new
]


@pytest.mark.parametrize("mode", ["auto", "refine"])
@pytest.mark.parametrize(("source", "target"), PAIRS)
def test_alignment_is_stochastic(model, source, target, mode):
    a, b = tokens(model, source), tokens(model, target)
    mapper, serves = align(a, b, mode)
    total = mapper.sum(1)
    assert bool(((total - 1).abs().lt(1e-6) | (total == 0)).all())
    assert set(serves.tolist()) <= {0.0, 1.0}
    assert not bool(mapper[:, serves == 0].any())
    shared = [w for w in words_of(b) if w.text in [v.text for v in words_of(a)]]
    for word in shared[:1]:  # a word that both have is served by itself
        assert bool(serves[list(word.at)].all())


def test_replaced_words_take_the_map_of_the_old_ones(model):
    a, b = tokens(model, "a cat on grass"), tokens(model, "a xyz on grass")
    for mode in ("auto", "replace"):
        mapper, serves = align(a, b, mode)
        torch.testing.assert_close(mapper.sum(1), torch.ones(len(a)))  # nothing is lost
        assert mapper[2, 2:5].tolist() == pytest.approx([1 / 3] * 3)
        assert bool(serves.all())
    mapper, serves = align(a, b, "refine")
    assert serves[2:5].tolist() == [0, 0, 0]
    back, _ = align(b, a, "auto")
    assert back[2:5, 2].tolist() == [1, 1, 1]


def test_inserted_words_keep_their_own_map(model):
    a, b = tokens(model, "a cat on grass"), tokens(model, "a red cat on grass")
    mapper, serves = align(a, b, "auto")
    assert serves[2] == 0
    assert serves.sum() == len(b) - 1
    assert mapper[2, 3] == mapper[3, 4] == mapper[4, 5] == 1  # cat, on, grass move by one
    assert mapper[5, 6] == 1  # and so does the end


def test_repeated_words_are_told_apart(model):
    a, b = tokens(model, "a cat on a cat"), tokens(model, "a dog on a cat")
    mapper, _ = align(a, b, "auto")
    assert mapper[2, 2] == 1
    assert mapper[5, 5] == 1
    assert mapper[2, 5] == 0


def test_prompt_to_prompt_windows_count_executed_steps(model):
    code = code_of(model, ns.EditFriendly(skip=0.5), steps=20)
    text = model.embed([SOURCE])
    context = EditContext(model, code, text, model.embed([TARGET]), text, (1.0, 1.0))
    when = ns.PromptToPrompt(cross=0.8, windows={"dog": (0.5, 1.0)}).schedule(context)
    assert len(when) == 10
    assert when[:, 0, 0, 0, 0, 1].tolist() == [1] * 8 + [0] * 2
    assert when[:, 0, 0, 0, 0, 5].tolist() == [0] * 5 + [1] * 5


def test_reweighting_scales_a_words_map(model):
    """With everything else at 0 a factor of 1 is nothing, and larger factors go further."""
    code = code_of(model, ns.EditFriendly())
    away = []
    for factor in (1.0, 1.5, 3.0):
        editor = ns.PromptToPrompt(cross=1.0, self_=0.0, reweight={"cat": factor})
        rows = rows_of(model, code, editor, SOURCE, guidance=code.guidance)
        away.append(float((rows[1] - rows[0]).abs().max()))
    assert away[0] < 1e-10 < away[1] < away[2]


def test_words_are_found_as_they_are_written(model):
    """Hyphens, apostrophes, accents and capitals, however the tokenizer parts them."""
    from noisespace.train.text import build_tokenizer

    tokenizer = build_tokenizer(["a", "red", "t", "shirt", "dog", "s", "café", "-", "'"], 16)
    ids = tokenizer("A red T-shirt of the café's dog", padding="max_length", max_length=16)
    tokens = tokenizer.convert_ids_to_tokens(ids.input_ids)
    texts = [word.text for word in words_of(tokens)]
    for phrase in ("t-shirt", "T-Shirt", "red t-shirt", "café", "café's", "dog"):
        at = find_word(tokens, phrase, "")
        joined = "".join(word.text for word in words_of(tokens) if set(word.at) <= set(at))
        assert joined == phrase.lower().replace(" ", "")
    assert "café" in texts
    with pytest.raises(InputError, match="its words are"):
        find_word(tokens, "shir", "")


def test_steps_past_the_end_are_said(model):
    code = code_of(model, ns.EditFriendly())
    for editor in (ns.MasaCtrl(step=99), ns.Concepts((ns.Concept("red", warmup=99),))):
        with pytest.warns(UserWarning, match="99 is past the last of the 4 steps"):
            ns.edit(model, code, TARGET, editor=editor)


def test_what_is_done_before_a_step_is_done_to_its_own_states(model):
    """O-BELM's second state is a level behind: an editor does not move it again."""
    for method, states in ((ns.BELM(), 1), (ns.EDICT(), 2), (ns.DDIM(), 1)):
        code, seen = code_of(model, method), []

        def before(step, x, seen=seen):
            seen.append(step)
            return x

        from noisespace.core.replay import EditPlan, replay
        from noisespace.planning.plan import plan_reconstruction

        rows = plan_reconstruction(model, code, 1.0).rows
        steps = list(replay(EditPlan(model, code, rows, Controls(before=before))))
        assert len(seen) == states * len(steps)


# ---- masks and blending


@pytest.mark.parametrize("mask", [ns.DiffEdit(), ns.AttentionMask("cat", 0.9)], ids=repr)
def test_found_masks_keep_the_outside(model, mask):
    code = code_of(model, ns.EditFriendly())
    result = ns.edit(model, code, TARGET, mask=mask, guidance=3.0)
    small = result.mask.resize((8, 8), 0)
    inside = torch.from_numpy(np.asarray(small) > 127)
    source = ns.reconstruct(model, code).latents[0]
    outside = (result.latents[0] - source)[:, ~inside]
    if outside.numel():
        assert float(outside.abs().max()) < 1e-10
    assert result.mask.size == (32, 32)
    assert "sha256" not in result.record["mask"]
    again = ns.edit(model, code, TARGET, mask=mask, guidance=3.0)
    assert torch.equal(result.latents, again.latents)


@pytest.mark.parametrize("editor", [None, ns.PromptToPrompt(), ns.MasaCtrl(step=1)], ids=repr)
def test_outside_a_painted_mask_the_picture_is_the_reconstruction(model, editor):
    """Every pixel, though the decoder looks around: nothing of the inside shines through."""
    mask = np.zeros((32, 32), bool)
    mask[5:19, 7:30] = True
    images = [IMAGE, 255 - IMAGE]
    code = ns.invert(model, images, SOURCE, steps=6, seed=[0, 1])
    result = ns.edit(model, code, [TARGET] * 2, mask=mask, editor=editor, guidance=3.0)
    for edited, source in zip(result.images, ns.reconstruct(model, code).images, strict=True):
        same = (np.asarray(edited) == np.asarray(source)).all(-1)
        assert same[~mask].all()
        assert not same[mask].all()


def test_local_blend_keeps_the_outside(model):
    code = code_of(model, ns.EditFriendly())
    editor = ns.PromptToPrompt(blend=("cat", "dog"), blend_threshold=0.97, blend_start=0.0)
    rows = rows_of(model, code, editor, guidance=3.0)
    same = (rows[1] == rows[0]).all(0)
    assert 0 < int(same.sum()) < same.numel()
    late = ns.PromptToPrompt(blend=("cat", "dog"), blend_threshold=0.97, blend_start=1.0)
    assert not bool((rows_of(model, code, late, guidance=3.0)[1] == rows[0]).all(0).any())


def test_mask_guided_masactrl_looks_from_object_to_object():
    """Equal to attention over the keys of the query's own kind, as the paper writes it."""
    from noisespace.editing.masactrl import looking_alike, object_masks

    generator = torch.Generator().manual_seed(0)
    scores = torch.randn(2, 1, 1, 3, 16, 16, generator=generator, dtype=torch.float64)
    masks = object_masks(torch.rand(1, 2, 4, 4, generator=generator), (4, 4), 0.5)
    assert 0 < masks.sum() < masks.numel()
    got = looking_alike(scores.softmax(-1), masks)
    for query in range(16):
        keys = masks[0, 0] == masks[0, 1, query]
        expected = scores[..., query, keys].softmax(-1)
        torch.testing.assert_close(got[..., query, keys], expected)
        assert not got[..., query, ~keys].any()
    nothing = torch.tensor([[[False] * 16, [True] * 16]])  # no object in the source
    assert torch.equal(looking_alike(scores.softmax(-1), nothing), scores.softmax(-1))


def test_attention_maps(model):
    code = code_of(model, ns.EditFriendly())
    found = ns.attention_maps(model, code)
    assert found.words == (("a", "photo", "of", "cat"),)
    assert found.maps[0].shape == (4, 8, 8)
    one = ns.attention_maps(model, code, ["cat"])
    torch.testing.assert_close(one.maps[0][0], found.maps[0][3])
    with pytest.raises(InputError, match=r"horse.*a, photo, of, cat"):
        ns.attention_maps(model, code, ["horse"])


# ---- operations on a code


def test_a_shift_of_a_linear_model_is_a_shift():
    """A network that treats every pixel alike is translated exactly; so is the picture."""
    model = ns.Mixture({"": torch.zeros(3, 8, 8)})
    x0 = torch.randn(1, 3, 8, 8, generator=torch.Generator().manual_seed(0)).double()
    for method in (ns.EditFriendly(), ns.DDIM()):
        code = ns.invert(model, x0, "", method, steps=10)
        moved = ns.Shift(2, -1)(model, code)
        expected = ns.reconstruct(model, code).latents.roll((-1, 2), (-2, -1))
        torch.testing.assert_close(ns.reconstruct(model, moved).latents, expected)
        assert moved.info.operations == ("Shift(dx=2, dy=-1, fill='wrap', seed=0)",)
    code = ns.invert(model, x0, "", ns.EditFriendly(), steps=10)
    fresh = ns.reconstruct(model, ns.Shift(2, 0, fill="fresh")(model, code)).latents
    wrapped = ns.reconstruct(model, ns.Shift(2, 0)(model, code)).latents
    torch.testing.assert_close(fresh[..., 2:], wrapped[..., 2:])
    assert float((fresh - wrapped)[..., :2].abs().min()) > 0


def test_a_colour_edit_moves_towards_the_colour(model):
    code = code_of(model, ns.EditFriendly(), steps=10)
    mask = np.zeros((32, 32), bool)
    mask[8:24, 8:24] = True
    plain = ns.reconstruct(model, code).latents
    away = []
    for strength in (0.0, 0.05, 0.2):
        edited = ns.ColorEdit(color="red", mask=mask, strength=strength)(model, code)
        away.append(float((ns.reconstruct(model, edited).latents - plain).abs().max()))
        assert "sha256:" in edited.info.operations[0]
    assert away[0] < 1e-10 < away[1] < away[2]
    strokes = np.zeros((32, 32, 4), np.uint8)
    strokes[mask] = (255, 0, 0, 255)
    same = ns.ColorEdit(strokes=strokes)(model, code)
    other = ns.ColorEdit(color="red", mask=mask)(model, code)
    torch.testing.assert_close(same.residual, other.residual)
    many = ns.invert(model, [IMAGE, 255 - IMAGE], [SOURCE] * 2, steps=6, seed=[0, 1])
    painted = ns.ColorEdit(strokes=strokes)(model, many)
    for k in range(2):
        alone = ns.ColorEdit(strokes=strokes)(model, many.of_image(k))
        torch.testing.assert_close(painted.of_image(k).residual, alone.residual)


def test_strokes_and_masks_are_recorded_by_their_pixels(model, tmp_path):
    """A file says the same as the pixels in it."""
    code, strokes = code_of(model, ns.EditFriendly()), np.zeros((32, 32, 4), np.uint8)
    strokes[:16] = (255, 0, 0, 255)
    Image.fromarray(strokes).save(tmp_path / "strokes.png")
    given = (strokes, Image.fromarray(strokes), str(tmp_path / "strokes.png"))
    said = {ns.ColorEdit(strokes=one)(model, code).info.operations for one in given}
    assert len(said) == 1
    grey = strokes[..., 3]
    Image.fromarray(grey).save(tmp_path / "mask.png")
    masks = (grey, grey > 0, np.repeat(grey[..., None], 3, 2), str(tmp_path / "mask.png"))
    results = [ns.edit(model, code, TARGET, mask=one).record["mask"] for one in masks]
    assert len(set(results)) == 1
    assert results[0].startswith("sha256:")


def test_interpolation_ends_at_both_codes(model):
    a = code_of(model, ns.EditFriendly())
    b = ns.invert(model, 255 - IMAGE, SOURCE, steps=6, seed=1)
    for t, code in ((0.0, a), (1.0, b)):
        mixed = ns.interpolate(model, a, b, t)
        torch.testing.assert_close(mixed.residual, code.residual)
        torch.testing.assert_close(mixed.path[0], code.path[0])
    middle = ns.reconstruct(model, ns.interpolate(model, a, b, 0.5)).latents
    assert bool(middle.isfinite().all())


def test_operations_are_saved_with_the_code(model, tmp_path):
    code = ns.Shift(8)(model, code_of(model, ns.EditFriendly()))
    code.save(tmp_path / "a.safetensors")
    loaded = ns.Code.load(tmp_path / "a.safetensors")
    assert loaded.info.operations == code.info.operations
    record = ns.edit(model, loaded, TARGET).record
    assert record["source"]["operations"] == list(code.info.operations)


# ---- bad input

BAD = [
    ({"editor": ns.PromptToPrompt(reweight={"horse": 2.0})}, r"horse.*its words are"),
    ({"editor": ns.PromptToPrompt(blend=("horse", "dog"))}, r"horse.*its words are"),
    ({"editor": ns.PromptToPrompt(blend=("cat", "horse"))}, r"horse.*its words are"),
    ({"editor": ns.MasaCtrl(step=1, words=("cat", "horse"))}, r"horse.*its words are"),
    ({"editor": ns.MasaCtrl}, r"editor must be an editor such as"),
    ({"mask": ns.DiffEdit}, r"got a class"),
    ({"mask": np.zeros((0, 0))}, r"got a mask of shape"),
    ({"mask": ns.AttentionMask("cat", "x")}, r"threshold must be in"),  # type: ignore[arg-type]
    ({"editor": ns.PromptToPrompt(reweight={"dog": float("nan")})}, r"must be a number, got nan"),
    ({"editor": ns.PromptToPrompt(reweight=[("dog", 2)])}, r"must map words"),  # type: ignore[arg-type]
    ({"editor": ns.PromptToPrompt(cross=0.0, reweight={"dog": 2.0})}, r"holds no step"),
    ({"editor": ns.PromptToPrompt(blend="a", blend_start=(0.5, 0.7))}, r"one share"),  # type: ignore[arg-type]
    ({"editor": ns.Pix2PixZero("x")}, r"amount must be a number"),  # type: ignore[arg-type]
    ({"editor": ns.Concepts((ns.Concept("red", float("nan")),))}, r"must be a number, got nan"),
    ({"editor": ns.MasaCtrl(step=1, words="cat", threshold=2.0)}, r"threshold must be in"),
    ({"editor": ns.MasaCtrl(step=1, words=("a", "b", "c"))}, r"words takes a word, or one of each"),  # type: ignore[arg-type]
    ({"editor": ns.PromptToPrompt(windows={"horse": 0.5})}, r"horse.*its words are"),
    ({"editor": ns.PromptToPrompt(cross=1.5)}, "cross"),
    ({"editor": ns.PromptToPrompt(self_=(0.6, 0.4))}, "self_"),
    ({"editor": ns.PromptToPrompt(mode="both")}, "mode"),
    ({"editor": ns.PromptToPrompt(mode="replace"), "prompt": "a dog"}, "replace"),
    ({"editor": ns.MasaCtrl(step=1, layer=16)}, r"layer must be.*attn1"),
    ({"editor": ns.MasaCtrl(step=-1)}, "step"),
    ({"editor": ns.PlugAndPlay(features=2.0)}, "features"),
    ({"editor": ns.Pix2PixZero(amount=-1.0)}, "amount"),
    ({"editor": ns.Pix2PixZero(source_sentences=("a",))}, "both"),
    ({"editor": ns.DiffEdit(), "prompt": SOURCE}, "differs"),
    ({"editor": ns.DiffEdit(maps=0)}, "maps"),
    ({"editor": ns.DiffEdit(strength=0.0)}, "strength"),
    ({"editor": ns.Concepts(())}, "concepts"),
    ({"editor": "prompt-to-prompt"}, "editor"),
    ({"mask": ns.AttentionMask("horse")}, "its words are"),
    ({"mask": np.zeros((32, 32))}, "empty"),
    ({"mask": np.ones((32, 64))}, "aspect"),
    ({"mask": np.ones((32, 32, 2))}, "shape"),
]


@pytest.mark.parametrize(("options", "words"), BAD, ids=lambda v: str(v)[:60])
def test_bad_input(model, options, words):
    code = code_of(model, ns.EditFriendly())
    options = {"prompt": TARGET, **options}
    with pytest.raises(InputError, match=words) as caught:
        ns.edit_steps(model, code, options.pop("prompt"), **options)
    assert "\n" not in str(caught.value)


def test_a_full_mask_is_said(model):
    code = code_of(model, ns.EditFriendly())
    with pytest.warns(UserWarning, match="full"):
        ns.edit(model, code, TARGET, mask=np.ones((32, 32)))


def test_a_shift_does_not_depend_on_the_batch(model):
    images = [IMAGE, 255 - IMAGE]
    both = ns.invert(model, images, SOURCE, steps=4, seed=[0, 1])
    one = ns.invert(model, images[1], SOURCE, steps=4, seed=1)
    shift = ns.Shift(8, 0, fill="fresh")
    alone, together = shift(model, one), shift(model, both)
    torch.testing.assert_close(alone.residual[:, 0], together.residual[:, 1], atol=1e-9, rtol=0)
    torch.testing.assert_close(alone.path[0, 0], together.path[0, 1], atol=1e-9, rtol=0)


def test_tuned_codes_are_not_interpolated(model):
    code = code_of(model, ns.NullText(guidance=3.0, iterations=1))
    with pytest.raises(InputError, match="optimised embeddings"):
        ns.interpolate(model, code, code, 0.5)


def test_editors_need_a_text_model():
    model = ns.from_pipeline(double(tiny_pixels()))
    code = ns.invert(model, IMAGE[:16, :16], steps=5)
    for editor in ALL_EDITORS:
        with pytest.raises(InputError, match="unconditional"):
            ns.edit(model, code, "", editor=editor)


@pytest.mark.parametrize(
    ("operation", "words"),
    [
        (ns.Shift(1), "would do nothing"),
        (ns.Shift(8, fill="grey"), "fill"),
        (ns.ColorEdit(), "strokes"),
        (ns.ColorEdit(color="red"), "mask"),
        (ns.ColorEdit(color="reddish", mask=np.ones((32, 32))), "color"),
        (ns.ColorEdit(color="red", mask=np.zeros((32, 32))), "painted"),
        (ns.ColorEdit(color="red", mask=np.ones((32, 32)), window=(0.5, 2.0)), "window"),
    ],
    ids=lambda v: str(v)[:50],
)
def test_bad_operations(model, operation, words):
    code = code_of(model, ns.EditFriendly())
    with pytest.raises(InputError, match=words):
        operation(model, code)
    with pytest.raises(InputError, match="freeze"):
        ns.Shift(8)(model, code_of(model, ns.EditFriendly(live=True)))
    with pytest.raises(InputError, match="noise maps"):
        ns.ColorEdit(color="red", mask=np.ones((32, 32)))(model, code_of(model, ns.DDIM()))
    with pytest.raises(InputError, match="fit together"):
        ns.interpolate(model, code, code_of(model, ns.DDIM()), 0.5)
    with pytest.raises(InputError, match="t must be"):
        ns.interpolate(model, code, code, 2.0)
