"""Prompts with weights as Forge and ComfyUI read them, and layers of CLIP that are skipped."""

import warnings

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from typer.testing import CliRunner

import noisespace as ns
from noisespace.cli import app
from noisespace.core.condition import Negative
from noisespace.editing.attention.token_alignment import find_word, words_of
from noisespace.errors import InputError
from noisespace.models.prompt_weights import parse
from noisespace.models.text import as_forge
from test_families import PROMPTS, SEEDS, STEPS, flows, start
from tiny import double, tiny_flux, tiny_pixels, tiny_sd, tiny_sd3, tiny_sdxl

FAMILIES = {"sd": tiny_sd, "sdxl": tiny_sdxl, "sd3": flows(tiny_sd3), "flux": flows(tiny_flux)}
# The widths of what each text encoder adds to an embedding, and the token of the second word.
PARTS = {
    "sd": [(slice(0, 16), slice(0, 32))],
    "sdxl": [(slice(0, 16), slice(0, 32)), (slice(0, 16), slice(32, 64))],
    "sd3": [
        (slice(0, 16), slice(0, 32)),
        (slice(0, 16), slice(32, 64)),
        (slice(16, 36), slice(0, 72)),
    ],
    "flux": [(slice(0, 20), slice(0, 32))],
}
SECOND = {"sd": [2], "sdxl": [2, 2], "sd3": [2, 2, 1], "flux": [1]}
A = 1.1
FORGE = {
    "a red cat": [("a red cat", 1)],
    "": [("", 1)],
    "an (red) cat": [("an ", 1), ("red", A), (" cat", 1)],
    "((red)) cat": [("red", A * A), (" cat", 1)],
    "(red:1.3) cat": [("red", 1.3), (" cat", 1)],
    "( red : 1.3 ) cat": [(" red ", 1.3), (" cat", 1)],
    "(red:-.5) cat": [("red", -0.5), (" cat", 1)],
    "[red] cat": [("red", 1 / A), (" cat", 1)],
    "[(red)] cat": [("red cat", 1)],
    "(a (red:1.5) cat:2)": [("a ", 2), ("red", 3), (" cat", 2)],
    "((red:1.5) cat)": [("red", 1.5 * A), (" cat", A)],
    "(a)(b)": [("ab", A)],
    r"\(red\) \[cat\] \\": [(r"(red) [cat] \ ".rstrip(), 1)],
    r"a\b": [("ab", 1)],
    r"(red \(big\):1.2)": [("red (big)", 1.2)],
    r"\[red|blue\]": [("[red|blue]", 1)],
    "(red:1.0) cat": [("red cat", 1)],
}
# What Forge reads as text, or to the end, and says nothing about.
ODD = {
    "(cat:abc) dog": ([("cat:abc", A), (" dog", 1)], "':abc' in parentheses"),
    "(cat:1,3)": ([("cat:1,3", A)], "':1,3' in parentheses"),
    "a (red cat": ([("a ", 1), ("red cat", A)], r"never closes a '\('"),
    "a [red cat": ([("a ", 1), ("red cat", 1 / A)], r"never closes a '\['"),
    "a cat :)": ([("a cat :)", 1)], r"has a '\)' that closes nothing"),
    "cat:1.3) dog": ([("cat:1.3) dog", 1)], r"has a '\)' that closes nothing"),
    "cat] dog": ([("cat] dog", 1)], "has a ']' that closes nothing"),
}
COMFYUI = {
    "a red cat": [("a red cat", 1)],
    "(red) cat": [("red", A), (" cat", 1)],
    "(red)(cat)": [("red", A), ("cat", A)],
    "((red)) cat": [("red", A * A), (" cat", 1)],
    "(red:1.3) cat": [("red", 1.3), (" cat", 1)],
    "(red:1e-1) cat": [("red", 0.1), (" cat", 1)],
    "((red:1.3)) cat": [("red", 1.3), (" cat", 1)],
    "((red):1.3)": [("red", 1.3 * A)],
    "(a (red:1.5) cat:2)": [("a ", 2), ("red", 1.5), (" cat", 2)],
    "[red] cat": [("[red] cat", 1)],
    "(:1.3)": [(":1.3", A)],
    r"\(red\) \[cat\]": [(r"(red) \[cat\]", 1)],
    r"(red \(big\):1.2)": [("red (big)", 1.2)],
    "foo ((((lol (cat:6) attack:10)))) baz": [
        ("foo ", 1),
        ("lol ", 10),
        ("cat", 6),
        (" attack", 10),
        (" baz", 1),
    ],
}
REFUSED = [
    ("forge", "(cat:1.3.4)", "weight '1.3.4'"),
    ("forge", "(cat:21)", "weight 21"),
    ("forge", "((cat:5):5)", "weight 25"),
    ("forge", "(cat:-21)", "weight -21"),
    ("forge", "(" * 40 + "cat" + ")" * 40, "from -20 to 20"),
    ("forge", "a cat BREAK a dog", "'BREAK'"),
    ("forge", "a cat AND a dog", "'AND'"),
    ("forge", "a cat <lora:style:0.8>", "'<lora:style:0.8>'"),
    ("forge", "a [red:blue:0.5] cat", "'[red:blue:0.5]'"),
    ("forge", "a [red|blue] cat", "'[red|blue]'"),
    ("comfyui", "a (red cat", "'(' without"),
    ("comfyui", "a cat :)", "')' without"),
    ("comfyui", "(cat:nan)", "weight 'nan'"),
    ("comfyui", "(cat:inf)", "weight 'inf'"),
    ("comfyui", "(cat:1e9)", "weight 1e+09"),
    ("comfyui", "a embedding:style cat", "'embedding:style'"),
]


def made(name, wide=True):
    """A pipeline whose embeddings have a mean, as those of trained encoders do."""
    pipe = double(FAMILIES[name]()) if wide else FAMILIES[name]()
    for part in ("text_encoder", "text_encoder_2", "text_encoder_3"):
        encoder = getattr(pipe, part, None)
        if encoder is not None:
            encoder.get_input_embeddings().weight.data += 2
            for key, weight in encoder.named_parameters():
                if key.endswith("final_layer_norm.bias"):
                    weight.data += 0.5
    return pipe


def of(pieces):
    return [text for text, _ in pieces], [weight for _, weight in pieces]


# what is written


@pytest.mark.parametrize(
    ("weights", "prompt", "expected"),
    [("forge", *one) for one in FORGE.items()] + [("comfyui", *one) for one in COMFYUI.items()],
)
def test_a_prompt_is_read_as_there(weights, prompt, expected):
    texts, numbers = of(parse(prompt, weights))
    assert texts == of(expected)[0]
    assert numbers == pytest.approx(of(expected)[1])


@pytest.mark.parametrize("prompt", [*FORGE, *ODD])
def test_brackets_are_text_by_default(prompt):
    assert parse(prompt, None) == [(prompt, 1.0)]


@pytest.mark.parametrize("prompt", ODD)
def test_what_forge_takes_in_silence_is_said(prompt):
    expected, words = ODD[prompt]
    with pytest.warns(UserWarning, match=words):
        texts, numbers = of(parse(prompt, "forge"))
    assert (texts, numbers) == (of(expected)[0], pytest.approx(of(expected)[1]))


def test_what_comfyui_takes_in_silence_is_said():
    with pytest.warns(UserWarning, match="':abc' in parentheses"):
        assert parse("(cat:abc)", "comfyui") == [("cat:abc", A)]


@pytest.mark.parametrize(("weights", "prompt", "words"), REFUSED)
def test_nonsense_is_one_sentence(weights, prompt, words):
    with pytest.raises(InputError) as error:
        parse(prompt, weights)
    assert words in str(error.value)
    model = ns.from_pipeline(tiny_sd(), weights=weights)
    with pytest.raises(InputError) as error:
        ns.sample(model, "a cat", negative=prompt)
    assert words in str(error.value)


def test_other_names_are_one_sentence():
    with pytest.raises(InputError, match="weights must be forge or comfyui, got 'a1111'"):
        ns.load("scenes", weights="a1111")
    with pytest.raises(InputError, match="unconditional"):
        ns.from_pipeline(tiny_pixels(), weights="forge")


# what is embedded


@pytest.mark.parametrize("weights", ["forge", "comfyui"])
@pytest.mark.parametrize("name", FAMILIES)
def test_weights_of_1_change_nothing(name, weights):
    pipe = made(name, wide=False)
    plain, model = ns.from_pipeline(pipe), ns.from_pipeline(pipe, weights=weights)
    long = " ".join(["a photo of a cat"] * 8)
    written = ["a (red:1) cat", "(a horse:1.0) on grass", long, "", None]
    a = plain.embed(["a red cat", "a horse on grass", long, "", None])
    b = model.embed(written)
    assert a.tensors.keys() == b.tensors.keys()
    assert all(torch.equal(a.tensors[key], b.tensors[key]) for key in a.tensors)
    assert (a.tokens, a.cut) == (b.tokens, b.cut)
    assert b.prompts == tuple(prompt or "" for prompt in written)


@pytest.mark.parametrize("weights", ["forge", "comfyui"])
@pytest.mark.parametrize("name", FAMILIES)
def test_the_second_word_weighs_more(name, weights):
    pipe = made(name)
    plain, model = ns.from_pipeline(pipe), ns.from_pipeline(pipe, weights=weights)
    z, empty, other = plain.embed(["a red cat", "", "a dog"]).embedding
    got = model.embed(["a (red:1.5) cat", "a dog", None])
    torch.testing.assert_close(got.embedding[1], other)
    null = plain.embed([None])
    torch.testing.assert_close(got.embedding[2:], null.embedding)
    for (rows, columns), second in zip(PARTS[name], SECOND[name], strict=True):
        own, base = z[rows, columns], empty[rows, columns]
        expected = own.clone()
        if weights == "forge":
            expected[second] *= 1.5
            expected *= own.mean() / expected.mean()
        else:
            expected[second] = base[second] + 1.5 * (own - base)[second]
        assert (expected - own).abs().max() > 1e-2
        torch.testing.assert_close(got.embedding[0, rows, columns], expected)
    if "pooled" in got.tensors:  # the whole prompt knows no weights
        expected = plain.embed(["a red cat", "a dog"]).tensors["pooled"]
        torch.testing.assert_close(got.tensors["pooled"][:2], expected)
    assert got.tokens[0] == plain.embed(["a red cat"]).tokens[0]


def test_what_is_not_read_of_an_encoder_is_not_weighted():
    """Of Flux's CLIP only the whole prompt is: a mean of 0 is no matter."""
    pipe = double(tiny_flux())
    pipe.text_encoder_2.get_input_embeddings().weight.data += 2
    ns.from_pipeline(pipe, weights="forge").embed(["a (red:1.5) cat"])  # without a warning


def test_forge_keeps_the_mean_of_each_prompt():
    model = ns.from_pipeline(made("sd"), weights="forge")
    plain = ns.from_pipeline(made("sd"))
    a = plain.embed(["a red cat", "a big dog"]).embedding.mean((1, 2))
    b = model.embed(["a ((red)) cat", "[a] (big:1.8) dog"]).embedding.mean((1, 2))
    torch.testing.assert_close(a, b)


def test_forge_says_where_the_mean_makes_much_of_little():
    pipe = double(tiny_sd())
    norm = dict(pipe.text_encoder.named_parameters())
    drawn = torch.Generator().manual_seed(0)
    norm["final_layer_norm.weight"].data.uniform_(generator=drawn)
    mean = ns.from_pipeline(pipe).embed(["a red cat"]).embedding.mean()
    norm["final_layer_norm.bias"].data += 1e-6 - mean
    model = ns.from_pipeline(pipe, weights="forge")
    with pytest.warns(UserWarning, match="to keep its mean, as in Forge"):
        model.embed(["a (red:1.9) cat"])
    with pytest.raises(InputError, match="leave nothing of it"):
        as_forge(torch.ones(1, 2, 3), torch.zeros(1, 2), ["(a:0)"])


@pytest.mark.parametrize("weights", ["forge", "comfyui"])
def test_half_precision_is_weighted_in_single(weights):
    pipe = made("sd", wide=False)
    pipe.text_encoder.to(torch.bfloat16)
    plain, model = ns.from_pipeline(pipe), ns.from_pipeline(pipe, weights=weights)
    z, empty = plain.embed(["a red cat", ""]).embedding.float()
    expected = z.clone()
    if weights == "forge":
        expected[2] *= 1.5
        expected *= z.mean() / expected.mean()
    else:
        expected[2] = empty[2] + 1.5 * (z - empty)[2]
    got = model.embed(["a (red:1.5) cat", "a dog"]).embedding  # as many rows: the same rounding
    assert got.dtype == torch.bfloat16
    torch.testing.assert_close(got[0], expected.bfloat16())


@pytest.mark.parametrize("weights", ["forge", "comfyui"])
def test_a_token_of_several_vectors_takes_the_weight_for_all(weights, tmp_path):
    pipe = made("sd")
    pipe.save_pretrained(tmp_path / "sd", safe_serialization=True)
    vectors = torch.randn(3, 32, generator=torch.Generator().manual_seed(0)) + 2
    save_file({"emb_params": vectors}, tmp_path / "odd.safetensors")
    given = {"embedding": tmp_path / "odd.safetensors", "dtype": "float64", "device": "cpu"}
    model = ns.load(tmp_path / "sd", weights=weights, **given)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pipe.load_textual_inversion({"<odd>": vectors})
    z, _ = pipe.encode_prompt("a red <odd> cat", "cpu", 1, False)
    empty, _ = pipe.encode_prompt("", "cpu", 1, False)
    own = slice(3, 6)  # start a red, then three vectors
    expected = z.clone()
    if weights == "forge":
        expected[:, own] *= 1.4
        expected *= z.mean() / expected.mean()
    else:
        expected[:, own] = empty[:, own] + 1.4 * (z - empty)[:, own]
    got = model.embed(["a red (<odd>:1.4) cat"])
    torch.testing.assert_close(got.embedding, expected)
    assert got.tokens[0][3:6] == ("<odd></w>", "<odd>_1</w>", "<odd>_2</w>")


# what finds words


@pytest.mark.parametrize("weights", ["forge", "comfyui"])
@pytest.mark.parametrize("name", FAMILIES)
def test_words_are_found_under_their_weights(name, weights):
    model = ns.from_pipeline(made(name, wide=False), weights=weights)
    tokens = model.embed(["a (red:1.2) ((cat))"]).tokens[0]
    assert [word.text for word in words_of(tokens)] == ["a", "red", "cat"]
    assert (
        find_word(tokens, "red cat", "")
        == find_word(tokens, "red", "") + find_word(tokens, "cat", "")
        or len(PARTS[name]) > 1
    )
    image = np.random.default_rng(0).integers(0, 255, (32, 32, 3), dtype=np.uint8)
    code = ns.invert(model, image, "a (red:1.2) cat", ns.EditFriendly(), steps=4, size=32)
    assert code.prompt == "a (red:1.2) cat"
    editor = ns.PromptToPrompt(reweight={"blue": 2.0}, blend=("red", "blue"))
    targets = ["a (blue:1.4) cat", "a blue cat"]
    edits = ns.edit(model, code, targets, editor=editor, mask=ns.AttentionMask("cat"))
    assert (edits.latents[0] - edits.latents[1]).abs().max() > 1e-4
    assert edits.record["pictures"][0]["prompt"] == targets[0]
    assert ns.attention_maps(model, code, ["red"]).words == (("red",),)
    same = ns.reconstruct(model, code).latents
    torch.testing.assert_close(same, code.path[-1], atol=2e-5, rtol=0)


# layers that are skipped


@pytest.mark.parametrize("negative", [None, "", "a blue dog on the photo"])
@pytest.mark.parametrize(
    ("name", "skip"),
    [("sd", 0), ("sd", 1), ("sd", 2), ("sdxl", 0), ("sdxl", 1), ("sd3", 0), ("sd3", 1)],
)
def test_clip_skip_is_the_pipelines(name, skip, negative):
    pipe = made(name)
    # where transformers had the final norm when diffusers' pipeline was written
    if not hasattr(pipe.text_encoder, "text_model"):
        pipe.text_encoder.__dict__["text_model"] = pipe.text_encoder
    model = ns.from_pipeline(pipe, clip_skip=skip)
    if not model.schedule.flows:
        for table in ("alphas_cumprod", "final_alpha_cumprod"):
            setattr(pipe.scheduler, table, getattr(pipe.scheduler, table).double())
    options = {"num_inference_steps": STEPS, "guidance_scale": 3.0, "output_type": "latent"}
    options |= {"height": 32, "width": 32, "clip_skip": skip}
    if negative is not None:
        options["negative_prompt"] = [negative] * 2
    if name == "sd3":
        options["max_sequence_length"] = 20
    expected = pipe(PROMPTS, latents=start(model, (32, 32)), **options).images
    drawn = {"steps": STEPS, "guidance": 3.0, "size": 32, "seed": SEEDS, "negative": negative}
    got = ns.sample(model, PROMPTS, **drawn).latents
    torch.testing.assert_close(got, expected.to(got), atol=1e-10, rtol=1e-10)
    plain = ns.sample(ns.from_pipeline(pipe), PROMPTS, **drawn).latents
    assert (skip == 0) == bool((got - plain).abs().max() < 1e-8)


def test_negative_prompts_of_edits_skip_no_layer():
    pipe = made("sd")
    plain, model = ns.from_pipeline(pipe), ns.from_pipeline(pipe, clip_skip=1)
    prompts = ["a cat", Negative("a dog"), None]
    a, b = plain.embed(prompts).embedding, model.embed(prompts).embedding
    assert torch.equal(a[1:], b[1:])
    assert (a[0] - b[0]).abs().max() > 1e-2
    code = ns.invert(model, torch.randn(1, 4, 8, 8).double(), "a cat", steps=2)
    ours = ns.edit(model, code, "a red cat", negative="a dog", guidance=3.0)
    skipped = ns.edit(model, code, "a red cat", guidance=3.0)
    assert (ours.latents - skipped.latents).abs().max() > 1e-4
    read = []
    seen = type(model.family.text).__call__

    def spy(self, texts, *rest):
        read.extend(texts)
        return seen(self, texts, *rest)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(model.family.text), "__call__", spy)
        ns.edit(model, code, "a red cat", negative="a dog", guidance=3.0)
    assert [type(text) for text in read if text == "a dog"] == [Negative]


@pytest.mark.parametrize("name", ["sd", "sd3"])
def test_weights_and_skipped_layers_together(name):
    pipe = made(name)
    plain = ns.from_pipeline(pipe, clip_skip=1)
    model = ns.from_pipeline(pipe, clip_skip=1, weights="comfyui")
    z, empty = plain.embed(["a red cat", ""]).embedding
    got = model.embed(["a (red:1.5) cat", Negative("a (red:1.5) cat")]).embedding
    rows, columns = PARTS[name][0]
    expected = empty + 1.5 * (z - empty)
    torch.testing.assert_close(got[0, rows, columns][2], expected[rows, columns][2])
    alone = ns.from_pipeline(pipe, weights="comfyui").embed(["a (red:1.5) cat"]).embedding
    torch.testing.assert_close(got[1:], alone)


@pytest.mark.parametrize(
    ("name", "skip", "words"),
    [
        ("sd", 3, "clip_skip must be 2 at most: text_encoder has 2 layers; got 3"),
        ("sdxl", 2, "clip_skip must be 1 at most"),
        ("sd3", 2, "clip_skip must be 1 at most"),
        ("flux", 1, "Flux reads the whole prompt"),
        ("pixels", 1, "clip_skip: is of prompts"),
        ("sd", -1, "from 0 on, got -1"),
        ("sd", True, "from 0 on, got True"),
        ("sd", 1.0, "from 0 on, got 1.0"),
    ],
)
def test_layers_that_are_not_there_are_one_sentence(name, skip, words):
    pipe = tiny_pixels() if name == "pixels" else FAMILIES[name]()
    with pytest.raises(InputError, match=words):
        ns.from_pipeline(pipe, clip_skip=skip)


# what is told of it


def test_records_and_fingerprints_tell_how_prompts_are_read(tmp_path):
    pipe = made("sd", wide=False)
    pipe.save_pretrained(tmp_path / "sd", safe_serialization=True)
    settings = [{}, {"weights": "forge"}, {"weights": "comfyui"}, {"clip_skip": 1}]
    settings += [{"clip_skip": 2}, {"weights": "forge", "clip_skip": 1}]
    models = [ns.load(tmp_path / "sd", device="cpu", **one) for one in settings]
    assert len({model.fingerprint for model in models}) == len(settings)
    assert [model.additions for model in models] == settings
    for one, model in zip(settings, models, strict=True):
        made_here = ns.from_pipeline(pipe, **one)
        assert (made_here.fingerprint, made_here.additions) == (model.fingerprint, one)
        record = ns.sample(model, "a cat", steps=2).record["model"]
        assert {k: record[k] for k in ("weights", "clip_skip") if k in record} == one
    off = ns.from_pipeline(pipe, weights=None, clip_skip=0)
    assert (off.fingerprint, off.additions) == (models[0].fingerprint, {})
    code = ns.invert(models[1], torch.randn(1, 4, 8, 8), "a (cat)", steps=2)
    with pytest.raises(InputError, match="this code was made with the model"):
        ns.reconstruct(models[0], code)


def call(*args):
    return CliRunner().invoke(app, [str(arg) for arg in args])


def test_the_command_line_reads_prompts_so(tmp_path):
    made("sd", wide=False).save_pretrained(tmp_path / "sd", safe_serialization=True)
    common = ["--model", tmp_path / "sd", "--steps", 2, "--device", "cpu"]
    read = ["--weights", "forge", "--clip-skip", 1]
    done = call("sample", "a (red:1.3) cat", "-o", tmp_path / "a.png", *common, *read)
    assert done.exit_code == 0, done.output
    assert "weights forge; clip_skip 1" in done.output
    image = tmp_path / "a.png"
    for name, prompts in (("edit", ["--target", "a (dog)"]), ("compare", ["--target", "a (dog)"])):
        out = ["-o", tmp_path / f"{name}.png", "--source", "a (red:1.3) cat"]
        ways = ["--method", "ddim"]
        done = call(name, image, *out, *prompts, *ways, *common, *read)
        assert done.exit_code == 0, done.output
    code, out = tmp_path / "a.safetensors", ["-o", tmp_path / "again.png"]
    done = call("invert", image, "-o", code, "--source", "a (red:1.3) cat", *common, *read)
    assert done.exit_code == 0, done.output
    model = ["--model", tmp_path / "sd", "--device", "cpu"]
    assert call("reconstruct", code, *out, *model, *read).exit_code == 0
    refused = call("reconstruct", code, *out, "--force", *model)
    assert refused.exit_code == 2
    assert "this code was made with the model" in refused.output


NONSENSE = [
    (["--weights", "a1111"], "a cat", "weights must be forge or comfyui"),
    (["--weights", "forge"], "a (cat:99)", "the weight 99"),
    (["--weights", "comfyui"], "a (cat", "without its partner"),
    (["--clip-skip", "-1"], "a cat", "clip-skip"),
    (["--clip-skip", "two"], "a cat", "clip-skip"),
]


@pytest.mark.parametrize(("options", "prompt", "words"), NONSENSE)
@pytest.mark.parametrize("command", ["sample", "edit", "invert", "reconstruct", "compare"])
def test_nonsense_ends_before_anything_is_loaded(
    command, options, prompt, words, tmp_path, monkeypatch
):
    def load(*_, **__):
        raise AssertionError("a model was loaded")

    monkeypatch.setattr("noisespace.models.loading.load", load)
    Image.new("RGB", (32, 32)).save(tmp_path / "a.png")
    out = "a.safetensors" if command == "invert" else "b.png"
    places = [] if command == "sample" else [tmp_path / "a.png"]
    texts = {"sample": [prompt], "edit": ["--source", "a cat", "--target", prompt]}
    texts["compare"] = texts["edit"]
    given = texts.get(command, ["--source", prompt])
    done = call(command, *places, *given, "-o", tmp_path / out, *options)
    assert done.exit_code == 2, done.output
    assert words in done.output
