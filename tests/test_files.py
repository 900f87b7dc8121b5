"""What people have on disk beside folders, and the Hub: files, autoencoders, LoRAs, embeddings."""

import json
import socket
import warnings
from pathlib import Path
from types import SimpleNamespace

import diffusers
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

import noisespace as ns
from noisespace.core.condition import END
from noisespace.errors import InputError
from noisespace.models.clip_tokenizer import clip_tokenizer
from noisespace.models.single_file import CONFIGS, family_of_file, sized
from single_files import autoencoder, original_layout, original_vae, twin
from tiny import tiny_flux, tiny_pixels, tiny_sd

FAMILIES = ("sd15", "sd2", "sdxl")


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    """Nothing here may go online."""

    def refuse(*args, **options):
        raise AssertionError("went online")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@pytest.fixture(scope="module")
def twins():
    return {family: twin(family) for family in FAMILIES}


@pytest.fixture(scope="module")
def files(twins, tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    beside = {  # what real files have that nobody reads
        "sd15": "cond_stage_model.transformer.text_model.embeddings.position_ids",
        "sd2": "cond_stage_model.model.logit_scale",
        "sdxl": "conditioner.embedders.1.model.logit_scale",
    }
    for family, pipe in twins.items():
        idle = {"alphas_cumprod": torch.ones(9), "model_ema.decay": torch.ones(1)}
        idle[beside[family]] = torch.arange(77)
        save_file({**original_layout(pipe), **idle}, folder / f"{family}.safetensors")
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("models") / "tiny"
    tiny_sd().save_pretrained(path, safe_serialization=True)
    return path


def loaded(files, family, **options):
    """A single file; Stable Diffusion 2's as what it is, so that nothing warns."""
    told = {"prediction": "v_prediction"} if family == "sd2" else {}
    return ns.load(files / f"{family}.safetensors", **{**told, **options})


def states(pipe):
    parts = ("unet", "vae", "text_encoder", "text_encoder_2")
    return {k: part.state_dict() for k in parts if (part := getattr(pipe, k, None)) is not None}


# single files


def test_the_tokenizer_is_clips():
    tokenizer = clip_tokenizer()
    assert tokenizer("a photo of a cat").input_ids == [49406, 320, 1125, 539, 320, 2368, 49407]
    assert tokenizer("Hello, world!").input_ids == [49406, 3306, 267, 1002, 256, 49407]
    assert (len(tokenizer), tokenizer.pad_token_id, tokenizer.model_max_length) == (
        49408,
        49407,
        77,
    )
    assert clip_tokenizer("!").pad_token_id == 0


@pytest.mark.parametrize("family", FAMILIES)
def test_a_single_file_is_its_pipeline(family, files, twins):
    pipe = twins[family]
    model, expected = loaded(files, family), ns.from_pipeline(pipe)
    assert model.name == f"{family}.safetensors"
    for a, b in zip(model.network.parameters(), pipe.unet.parameters(), strict=True):
        assert torch.equal(a, b)
    for key, tensor in pipe.vae.state_dict().items():
        assert torch.equal(model.vae.state_dict()[key], tensor), key
    mine, theirs = (m.embed(["a photo of a cat!", None]).tensors for m in (model, expected))
    for name, tensor in theirs.items():
        torch.testing.assert_close(mine[name], tensor)
    options = {"steps": 3, "guidance": 3.0, "size": 64, "seed": 1}
    got, other = (ns.sample(m, "a photo of a cat", **options).latents for m in (model, expected))
    torch.testing.assert_close(got, other, atol=1e-3, rtol=1e-3)
    assert model.schedule.kind == expected.schedule.kind
    assert torch.equal(model.grid(10).timesteps, expected.grid(10).timesteps)


PARAMETERS = {  # published: network, autoencoder, text encoders
    "sd15": [859_520_964, 83_653_863, 123_060_480],
    "sd2": [865_910_724, 83_653_863, 340_387_840],
    "sdxl": [2_567_463_684, 83_653_863, 123_060_480, 694_659_840],
}


@pytest.mark.parametrize("family", FAMILIES)
def test_the_real_models_are_read_from_their_shapes(family):
    """On no device: the names and shapes of a real file lead to the published config."""
    settings = json.loads((CONFIGS / f"{family}.json").read_text())
    parts = {}
    with torch.device("meta"):
        for part in ("unet", "vae", "text_encoder", "text_encoder_2"):
            if part in settings:
                library, name = settings["model_index"][part]
                cls = getattr({"diffusers": diffusers, "transformers": transformers}[library], name)
                config = settings[part]
                if library == "transformers":
                    config = cls.config_class.from_dict(config)
                parts[part] = cls(config) if library == "transformers" else cls.from_config(config)
    assert [sum(p.numel() for p in m.parameters()) for m in parts.values()] == PARAMETERS[family]
    pipe = SimpleNamespace(**parts, tokenizer=clip_tokenizer("!" if family == "sd2" else END))
    shapes = {key: tuple(tensor.shape) for key, tensor in original_layout(pipe).items()}
    if family == "sd2":  # the file's last layer is never read
        last = "cond_stage_model.model.transformer.resblocks.22."
        more = {k.replace(".22.", ".23."): v for k, v in shapes.items() if k.startswith(last)}
        shapes |= {**more, "cond_stage_model.model.text_projection": (1024, 512)}
    assert family_of_file(Path("a.safetensors"), shapes) == family
    for part, config in sized(settings, family, shapes, "a.safetensors").items():
        assert config == settings[part], part


def test_stable_diffusion_2_does_not_tell_its_prediction(files, tmp_path):
    path = files / "sd2.safetensors"
    with pytest.warns(UserWarning, match="prediction=epsilon"):
        model = ns.load(path)
    assert (model.schedule.kind, model.resolution) == ("v_prediction", 768)
    base = ns.load(path, prediction="epsilon")
    assert (base.schedule.kind, base.resolution) == ("epsilon", 512)
    assert base.fingerprint != model.fingerprint
    told = tmp_path / "told.safetensors"
    save_file(load_file(path), told, metadata={"modelspec.prediction_type": "epsilon"})
    assert ns.load(told).schedule.kind == "epsilon"


def test_a_file_of_sdxl_that_tells_its_prediction(files, tmp_path):
    weights = load_file(files / "sdxl.safetensors")
    told = {"v_pred": torch.zeros(0), "ztsnr": torch.zeros(0)}
    save_file({**weights, **told}, tmp_path / "v.safetensors")
    schedule = ns.load(tmp_path / "v.safetensors").schedule
    assert (schedule.kind, schedule.config["rescale_betas_zero_snr"]) == ("v_prediction", True)


def test_prediction_is_an_option_of_every_model(folder):
    assert ns.load(folder, prediction="v_prediction").schedule.kind == "v_prediction"
    with pytest.raises(InputError, match="epsilon or v_prediction"):
        ns.load(folder, prediction="v")


def test_a_file_in_half_precision_loads_as_asked(files, tmp_path):
    weights = load_file(files / "sd15.safetensors")
    save_file({k: v.half() for k, v in weights.items()}, tmp_path / "half.safetensors")
    assert ns.load(tmp_path / "half.safetensors", dtype="bfloat16").dtype == torch.bfloat16
    assert ns.load(tmp_path / "half.safetensors").dtype == torch.float32


@pytest.mark.parametrize(
    "suffix", [".ckpt", ".pt", ".pth", ".bin", ".pkl", ".gguf", ".SAFETENSORS", ""]
)
def test_other_files_are_refused_unopened(suffix, tmp_path, monkeypatch):
    path = tmp_path / f"model{suffix}"
    path.write_bytes(b"anything")
    monkeypatch.setattr("builtins.open", lambda *a, **k: pytest.fail("opened"))
    for options in ({"name": path}, {"vae": path}, {"lora": [path]}, {"embedding": [path]}):
        with pytest.raises(InputError, match=r"pickle|safetensors") as caught:
            ns.load(**{"name": "scenes", **options})
        assert "\n" not in str(caught.value)


WHOLE = "model.diffusion_model.input_blocks.0.0.weight"
STRANGERS = {
    "Flux": {"double_blocks.0.img_attn.proj.weight": (2, 2)},
    "Stable Diffusion 3": {"model.diffusion_model.joint_blocks.0.x_block.attn.proj.bias": (2,)},
    "LoRA": {"lora_unet_mid_block_attentions_0_proj_in.lora_down.weight": (2, 2)},
    "autoencoder": {"decoder.conv_out.weight": (3, 4, 3, 3), "encoder.conv_in.weight": (2, 2)},
    "embedding": {"emb_params": (1, 8)},
    "without the text encoder": {WHOLE: (32, 4, 3, 3)},
    "refiner": {"conditioner.embedders.0.model.ln_final.bias": (2,), WHOLE: (32, 4, 3, 3)},
    "one part of a diffusers pipeline": {"down_blocks.0.resnets.0.conv1.bias": (2,)},
    "8 channels .5 are a depth model, 8 InstructPix2Pix": {
        WHOLE: (32, 8, 3, 3),
        "cond_stage_model.transformer.text_model.final_layer_norm.bias": (2,),
    },
    "is not whole": {
        WHOLE: (32, 4, 3, 3),
        "cond_stage_model.transformer.text_model.final_layer_norm.bias": (2,),
    },
    "nothing known": {"a": (2,)},
}


@pytest.mark.parametrize("word", STRANGERS)
def test_a_file_of_another_kind_is_named(word, tmp_path):
    path = tmp_path / "file.safetensors"
    save_file({key: torch.zeros(shape) for key, shape in STRANGERS[word].items()}, path)
    with pytest.raises(InputError, match=word) as caught:
        ns.load(path)
    assert "\n" not in str(caught.value)


def test_a_damaged_file_is_one_sentence(files, tmp_path):
    path = tmp_path / "file.safetensors"
    whole = (files / "sd15.safetensors").read_bytes()
    for damaged in (
        b"",
        b"abc",
        b"\xff" * 16,
        whole[:5000],
        whole[:-10],
        b"\x02" + b"\0" * 7 + b"{}x",
    ):
        path.write_bytes(damaged)
        with pytest.raises(InputError, match="damaged") as caught:
            ns.load(path)
        assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match="no such file"):
        ns.load("models/nothing.safetensors")


def test_a_file_without_some_weights_is_one_sentence(files, tmp_path):
    weights = load_file(files / "sd15.safetensors")
    for gone in ("model.diffusion_model.out.2.bias", "first_stage_model.quant_conv.bias"):
        save_file({k: v for k, v in weights.items() if k != gone}, tmp_path / "part.safetensors")
        with pytest.raises(InputError, match=r"part\.safetensors") as caught:
            ns.load(tmp_path / "part.safetensors")
        assert "\n" not in str(caught.value)


# another autoencoder


@pytest.mark.parametrize("layout", ["folder", "diffusers", "original", "whole checkpoint"])
def test_another_autoencoder(layout, files, tmp_path, twins):
    torch.manual_seed(5)
    vae = autoencoder(scaling_factor=0.18215)
    path = tmp_path / ("other" if layout == "folder" else "other.safetensors")
    if layout == "folder":
        vae.save_pretrained(path, safe_serialization=True)
    elif layout == "diffusers":
        save_file(vae.state_dict(), path)
    elif layout == "original":
        save_file({k: v.contiguous() for k, v in original_vae(vae).items()}, path)
    else:
        pipe = {**load_file(files / "sd15.safetensors")}
        pipe |= {f"first_stage_model.{k}": v.contiguous() for k, v in original_vae(vae).items()}
        save_file(pipe, path)
    model = loaded(files, "sd15", vae=path)
    for key, tensor in vae.state_dict().items():
        assert torch.equal(model.vae.state_dict()[key], tensor), key
    assert model.vae.config.scaling_factor == 0.18215
    assert model.fingerprint != loaded(files, "sd15").fingerprint
    record = ns.sample(model, "a cat", steps=2, size=64).record["model"]
    assert record["vae"] == path.name


def test_a_file_without_an_autoencoder_asks_for_one(files, tmp_path):
    weights = load_file(files / "sd15.safetensors")
    path = tmp_path / "pruned.safetensors"
    save_file({k: v for k, v in weights.items() if not k.startswith("first_stage_model")}, path)
    with pytest.raises(InputError, match="--vae"):
        ns.load(path)
    model = ns.load(path, vae=files / "sd15.safetensors")
    assert model.vae.config.latent_channels == 4


def test_an_autoencoder_that_does_not_fit_is_one_sentence(files, folder, tmp_path):
    vae = autoencoder(16)
    save_file(vae.state_dict(), tmp_path / "wide.safetensors")
    vae.save_pretrained(tmp_path / "wide", safe_serialization=True)
    save_file({"a": torch.zeros(2)}, tmp_path / "none.safetensors")
    for name, word in {
        "wide.safetensors": "16",
        "wide": "16",
        "none.safetensors": "holds no",
    }.items():
        with pytest.raises(InputError, match=word):
            loaded(files, "sd15", vae=tmp_path / name)
    with pytest.raises(InputError, match="levels"):  # three levels, four pixels a latent's
        ns.load(folder, vae=files / "sd15.safetensors")
    with pytest.raises(InputError, match="expected an AutoencoderKL"):
        ns.load(folder, vae=folder / "unet")
    tiny_pixels().save_pretrained(tmp_path / "pixels", safe_serialization=True)
    with pytest.raises(InputError, match="no autoencoder"):
        ns.load(tmp_path / "pixels", vae=tmp_path / "wide")


# LoRAs


def lora_of(pipe, seed=0, text=True):
    """Random low-rank matrices for some layers, by diffusers' names."""
    g = torch.Generator().manual_seed(seed)
    out = {}
    for part in ("unet", "text_encoder"):
        network = getattr(pipe, part)
        for name, module in network.named_modules():
            if not name.endswith(("to_q", "to_out.0", "q_proj", "out_proj")) or (
                part != "unet" and not text
            ):
                continue
            name = name if part == "unet" else f"text_model.{name.removeprefix('text_model.')}"
            rows, columns = module.weight.shape
            out[f"{part}.{name}.lora_A.weight"] = torch.randn(2, columns, generator=g) / 4
            out[f"{part}.{name}.lora_B.weight"] = torch.randn(rows, 2, generator=g) / 4
    return out


def kohya(lora, alpha=2.0):
    out = {}
    for key, tensor in lora.items():
        part, name, side = key.split(".", 1)[0], key.split(".", 1)[1][:-14], key[-13:]
        short = {"unet": "lora_unet", "text_encoder": "lora_te"}[part]
        name = f"{short}_{name.replace('.', '_')}"
        out[f"{name}.{'lora_down' if 'lora_A' in side else 'lora_up'}.weight"] = tensor
        out[f"{name}.alpha"] = torch.tensor(alpha)
    return out


@pytest.mark.parametrize("layout", ["peft", "kohya"])
def test_a_lora_is_fused(layout, folder, tmp_path):
    pipe, path = tiny_sd(), tmp_path / "style.safetensors"
    lora = lora_of(pipe)
    assert any("text_encoder" in key for key in lora)
    save_file(kohya(lora) if layout == "kohya" else lora, path)
    model = ns.load(folder, lora=[f"{path}:0.8"])
    plain = ns.load(folder)
    for (name, weight), old in zip(
        model.network.state_dict().items(), plain.network.state_dict().values(), strict=True
    ):
        up = lora.get(f"unet.{name.removesuffix('.weight')}.lora_B.weight")
        down = lora.get(f"unet.{name.removesuffix('.weight')}.lora_A.weight")
        expected = old if up is None else old + 0.8 * up @ down
        torch.testing.assert_close(weight, expected)
    pipe.load_lora_weights(kohya(lora) if layout == "kohya" else lora, adapter_name="a")
    pipe.set_adapters(["a"], [0.8])
    theirs = ns.from_pipeline(pipe)
    a, b = (m.embed(["a cat"]).embedding for m in (model, theirs))
    torch.testing.assert_close(a, b)
    assert (a - plain.embed(["a cat"]).embedding).abs().max() > 1e-3
    options = {"steps": 3, "guidance": 2.0}
    a, b = (ns.sample(m, "a cat", **options).latents for m in (model, theirs))
    torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-4)
    assert model.fingerprint != plain.fingerprint
    record = ns.sample(model, "a cat", steps=2).record["model"]
    assert record["lora"] == ["style.safetensors:0.8"]
    assert str(tmp_path) not in json.dumps(record)


def test_several_loras_in_half_precision(folder, tmp_path):
    pipe = tiny_sd()
    for seed in (0, 1):
        lora = {k: v.half() for k, v in lora_of(pipe, seed, text=False).items()}
        save_file(lora, tmp_path / f"{seed}.safetensors")
    both = ns.load(folder, lora=[f"{tmp_path}/0.safetensors", f"{tmp_path}/1.safetensors:-0.5"])
    one = ns.load(folder, lora=f"{tmp_path}/0.safetensors")
    name = "mid_block.attentions.0.transformer_blocks.0.attn1.to_q"
    first, second = (load_file(tmp_path / f"{n}.safetensors") for n in (0, 1))
    plain = pipe.unet.get_submodule(name).weight
    up, down = f"unet.{name}.lora_B.weight", f"unet.{name}.lora_A.weight"
    a, b = (w[up].float() @ w[down].float() for w in (first, second))
    torch.testing.assert_close(one.network.get_submodule(name).weight, plain + a)
    torch.testing.assert_close(both.network.get_submodule(name).weight, plain + a - 0.5 * b)


def test_a_lora_of_sdxl_in_the_original_names(files, twins, tmp_path):
    g = torch.Generator().manual_seed(0)
    name = "lora_unet_input_blocks_4_1_transformer_blocks_0_attn1_to_q"
    pair = {
        "lora_down": torch.randn(2, 64, generator=g),
        "lora_up": torch.randn(64, 2, generator=g),
    }
    lora = {f"{name}.{k}.weight": v for k, v in pair.items()} | {f"{name}.alpha": torch.tensor(1.0)}
    save_file(lora, tmp_path / "xl.safetensors")
    model = loaded(files, "sdxl", lora=tmp_path / "xl.safetensors")
    layer = "down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q.weight"
    change = model.network.state_dict()[layer] - twins["sdxl"].unet.state_dict()[layer]
    torch.testing.assert_close(change, pair["lora_up"] @ pair["lora_down"] / 2, atol=1e-5, rtol=0)


def test_a_lora_of_another_model_is_one_sentence(folder, tmp_path):
    lora = lora_of(tiny_sd(), text=False)
    first = next(iter(lora))
    wide = {k: torch.zeros(2, 99) if "lora_A" in k else v for k, v in lora.items()}
    far = {k.replace("mid_block", "no_block"): v for k, v in lora.items()}
    none = {k.replace("unet.", "diffusion_model.blocks."): v for k, v in lora.items()}
    for number, bad in enumerate((wide, far, none, {first: torch.full((2, 16), 1.0)})):
        path = tmp_path / f"{number}.safetensors"
        save_file(bad, path)
        with pytest.raises(InputError, match="base model") as caught:
            ns.load(folder, lora=path)
        assert "\n" not in str(caught.value)
    save_file({"emb_params": torch.zeros(1, 32)}, tmp_path / "other.safetensors")
    with pytest.raises(InputError, match="holds no LoRA, but an embedding"):
        ns.load(folder, lora=tmp_path / "other.safetensors")
    hada = {"lora_unet_mid_block_attentions_0_proj_in.hada_w1_a": torch.zeros(2, 2)}
    dora = {"unet.mid_block.attentions.0.proj_in.dora_scale": torch.zeros(2), **lora}
    for word, tensors in {"a LyCORIS": hada, "a DoRA": dora}.items():
        save_file(tensors, tmp_path / "other.safetensors")
        with pytest.raises(InputError, match=f"holds no LoRA, but {word}"):
            ns.load(folder, lora=tmp_path / "other.safetensors")
    with pytest.raises(InputError, match="finite"):
        ns.load(folder, lora=f"{path}:nan")
    tiny_pixels().save_pretrained(tmp_path / "pixels", safe_serialization=True)
    with pytest.raises(InputError, match="takes no LoRA"):
        ns.load(tmp_path / "pixels", lora=path)


def test_loras_without_peft_say_what_to_install(folder, tmp_path, monkeypatch):
    save_file(lora_of(tiny_sd()), tmp_path / "a.safetensors")
    monkeypatch.setattr("noisespace.models.lora.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"pip install \"noisespace\[lora\]\""):
        ns.load(folder, lora=tmp_path / "a.safetensors")


TUNING = [ns.Imagic(text_iterations=1, iterations=2, rank=2), ns.UniTune(iterations=2, rank=2)]


@pytest.mark.parametrize("method", TUNING)
def test_a_network_with_an_unfused_lora_is_tuned(method):
    pipe, fused = tiny_sd(), tiny_sd()
    for one in (pipe, fused):
        one.load_lora_weights(lora_of(one, text=False), adapter_name="a")
    fused.fuse_lora(adapter_names=["a"])
    fused.unload_lora_weights()
    codes = []
    for one in (pipe, fused):
        model = ns.from_pipeline(one)
        torch.manual_seed(0)
        image = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
        code = ns.invert(model, image, "a cat", method, steps=4)
        edit = ns.edit(model, code, "a dog").latents
        codes.append((code, edit))
    (a, first), (b, second) = codes
    assert sorted(a.adapter) == sorted(b.adapter)
    assert any(value.abs().max() > 0 for key, value in a.adapter.items() if key.endswith("up"))
    torch.testing.assert_close(first, second, atol=1e-3, rtol=1e-3)


# embeddings


def embedding(layout, path, width=32, second=64):
    g = torch.Generator().manual_seed(0)
    rows = torch.randn(3, width, generator=g)
    if layout == "named":
        save_file({"<odd-cat>": rows[0]}, path)
        return "<odd-cat>"
    if layout == "two":
        save_file({"clip_l": rows, "clip_g": torch.randn(3, second, generator=g)}, path)
    else:
        save_file({"emb_params": rows[:1] if layout == "one vector" else rows}, path)
    return f"<{path.stem}>"


@pytest.mark.parametrize("layout", ["named", "one vector", "three vectors"])
def test_an_embedding_is_read_as_diffusers_reads_it(layout, folder, tmp_path):
    path = tmp_path / "Odd_Cat.safetensors"
    token = embedding(layout, path)
    model, pipe = ns.load(folder, embedding=[path]), tiny_sd()
    tensor = next(iter(load_file(path).values()))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pipe.load_textual_inversion({token: tensor})
    prompts = [f"a photo of {token}", f"{token} on grass", "a cat"]
    mine = model.embed(prompts).embedding
    theirs = torch.cat([pipe.encode_prompt(p, "cpu", 1, False)[0] for p in prompts])
    torch.testing.assert_close(mine, theirs)
    torch.testing.assert_close(mine, ns.from_pipeline(pipe).embed(prompts).embedding)
    plain = ns.load(folder)
    assert (mine[0] - plain.embed(prompts).embedding[0]).abs().max() > 1e-2
    assert torch.equal(mine[2], plain.embed(prompts).embedding[2])
    assert model.fingerprint == ns.from_pipeline(pipe).fingerprint != plain.fingerprint
    record = ns.sample(model, f"a {token}", steps=2).record["model"]
    assert record["embedding"] == ["Odd_Cat.safetensors"]


def test_an_embedding_for_two_encoders(files, twins, tmp_path):
    path = tmp_path / "style.safetensors"
    token = embedding("two", path)
    model, pipe = loaded(files, "sdxl", embedding=path), twin("sdxl")
    tensors = load_file(path)
    for part, number in (("clip_l", ""), ("clip_g", "_2")):
        reader = {
            "tokenizer": getattr(pipe, f"tokenizer{number}"),
            "text_encoder": getattr(pipe, f"text_encoder{number}"),
        }
        pipe.load_textual_inversion(tensors[part], token=token, **reader)
    theirs, _, pooled, _ = pipe.encode_prompt(f"a {token} cat", device="cpu")
    mine = model.embed([f"a {token} cat"])
    torch.testing.assert_close(mine.embedding, theirs)
    torch.testing.assert_close(mine.tensors["pooled"], pooled)


def test_an_embedding_changes_the_fingerprint_by_its_numbers(folder, tmp_path):
    prints = set()
    for value in (0.0, 1.0):
        save_file({"emb_params": torch.full((1, 32), value)}, tmp_path / "a.safetensors")
        prints.add(ns.load(folder, embedding=tmp_path / "a.safetensors").fingerprint)
    assert len(prints) == 2


def test_an_embedding_of_another_model_is_one_sentence(folder, tmp_path):
    bad = {
        "wide": ({"emb_params": torch.zeros(1, 768)}, "768 numbers"),
        "two": (
            {"clip_l": torch.zeros(1, 32), "clip_g": torch.zeros(1, 32)},
            "vectors for text_encoder and text_encoder_2, this",
        ),
        "second": ({"clip_g": torch.zeros(1, 32)}, "vectors for text_encoder_2, this"),
        "flat": ({"emb_params": torch.zeros(1, 2, 32)}, "another shape"),
        "none": ({"a": torch.zeros(2), "lora_b": torch.zeros(2)}, "but a LoRA"),
        "known": ({"cat</w>": torch.zeros(32)}, "already"),
    }
    for name, (tensors, word) in bad.items():
        save_file(tensors, tmp_path / f"{name}.safetensors")
        with pytest.raises(InputError, match=word):
            ns.load(folder, embedding=tmp_path / f"{name}.safetensors")


# folders and repositories


@pytest.mark.parametrize("kind", ["Flux2Pipeline", "QwenImagePipeline", "ZImagePipeline"])
def test_pipelines_that_are_known_but_not_supported_yet(kind, folder, tmp_path):
    (tmp_path / "model_index.json").write_text(json.dumps({"_class_name": kind}))
    with pytest.raises(InputError, match=f"{kind} is known, but not supported yet: "):
        ns.load(tmp_path)


@pytest.mark.parametrize("part", ["text_encoder_2", "tokenizer_2", "vae"])
def test_a_pipeline_without_a_part_says_which(part, tmp_path):
    tiny_flux().save_pretrained(tmp_path, safe_serialization=True)
    index = json.loads((tmp_path / "model_index.json").read_text())
    (tmp_path / "model_index.json").write_text(json.dumps({**index, part: [None, None]}))
    with pytest.raises(InputError, match=f"{part} is missing"):
        ns.load(tmp_path)


class Hub:
    """The Hub's client over a folder: what was fetched, and what it raises."""

    def __init__(self, monkeypatch, root, more=(), refused=None):
        self.root, self.more, self.refused, self.fetched = root, more, refused, []
        for name in ("list_repo_files", "hf_hub_download", "snapshot_download"):
            monkeypatch.setattr(f"huggingface_hub.{name}", getattr(self, name))

    def list_repo_files(self, name):
        if self.refused:
            raise self.refused
        files = [f.relative_to(self.root).as_posix() for f in self.root.rglob("*") if f.is_file()]
        return [*sorted(files), *self.more]

    def hf_hub_download(self, name, file):
        return str(self.root / file)

    def snapshot_download(self, name, allow_patterns=None, local_files_only=False):
        from huggingface_hub.errors import LocalEntryNotFoundError

        if local_files_only and self.root is None:
            raise LocalEntryNotFoundError("nothing in the cache")
        self.fetched = allow_patterns
        return str(self.root)


MORE = [
    "README.md",
    "v1-5-pruned.safetensors",
    "safety_checker/model.safetensors",
    "unet/diffusion_pytorch_model.bin",
    "unet/diffusion_pytorch_model.fp16.safetensors",
    "unet/diffusion_pytorch_model.non_ema.safetensors",
    "unet/diffusion_pytorch_model-00001-of-00002.safetensors",
    "text_encoder/model.fp16.safetensors",
    "text_encoder/pytorch_model.bin",
    "text_encoder_2/model.safetensors",
    "vae/custom.py",
]


@pytest.mark.parametrize("half", [False, True])
def test_of_a_repository_only_what_is_needed_is_fetched(half, folder, monkeypatch):
    from noisespace.models.loading import find

    hub = Hub(monkeypatch, folder, MORE)
    assert find("owner/name", half) == folder
    fetched = [file for file in hub.fetched if file.endswith(".safetensors")]
    variant = ".fp16" if half else ""
    assert sorted(fetched) == [
        f"text_encoder/model{variant}.safetensors",
        f"unet/diffusion_pytorch_model{variant}.safetensors",
        "vae/diffusion_pytorch_model.safetensors",
    ]
    configs = {"model_index.json", "unet/config.json", "scheduler/scheduler_config.json"}
    assert configs < set(hub.fetched)
    assert all(file.endswith((".json", ".txt", ".safetensors")) for file in hub.fetched)


def test_of_a_repository_of_one_model_the_top_is_fetched(tmp_path, monkeypatch):
    from noisespace.models.loading import find

    more = [
        "config.json",
        "vocab.txt",
        "model.safetensors",
        "pytorch_model.bin",
        "a/model.safetensors",
    ]
    hub = Hub(monkeypatch, tmp_path, more)
    find("owner/name")
    assert hub.fetched == ["config.json", "vocab.txt", "model.safetensors"]


@pytest.mark.parametrize(
    ("more", "word"),
    [
        (["sd.safetensors", "sd.ckpt"], r"download one \(sd.safetensors\)"),
        (["pytorch_model.bin"], "only as pickles"),
        (["README.md"], "no weights"),
    ],
)
def test_a_repository_without_weights_to_fetch_says_why(more, word, tmp_path, monkeypatch):
    Hub(monkeypatch, tmp_path, more)
    with pytest.raises(InputError, match=word):
        ns.load("owner/name")


def test_an_unsupported_pipeline_is_refused_before_its_weights_are_fetched(tmp_path, monkeypatch):
    (tmp_path / "model_index.json").write_text(json.dumps({"_class_name": "WanPipeline"}))
    hub = Hub(monkeypatch, tmp_path, ["transformer/diffusion_pytorch_model.safetensors"])
    with pytest.raises(InputError, match="videos"):
        ns.load("owner/name")
    assert hub.fetched == []


def test_without_the_hub_the_cache_is_used(folder, monkeypatch):
    from huggingface_hub.errors import OfflineModeIsEnabled

    hub = Hub(monkeypatch, folder, refused=OfflineModeIsEnabled("HF_HUB_OFFLINE is set"))
    assert ns.load("owner/name").name == "owner/name"
    hub.root = None
    with pytest.raises(InputError, match="could not be fetched from the Hub: HF_HUB_OFFLINE"):
        ns.load("owner/name")


def refusal(kind, status):
    import httpx

    request = httpx.Request("GET", "https://huggingface.co")
    return kind("refused", response=httpx.Response(status, request=request))


def test_gated_and_unknown_repositories_say_what_to_do(folder, monkeypatch):
    from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, RepositoryNotFoundError

    for error, word in (
        (refusal(GatedRepoError, 403), "accept its licence"),
        (refusal(HfHubHTTPError, 401), "HF_TOKEN"),
        (refusal(HfHubHTTPError, 403), "hf auth login"),
        (refusal(RepositoryNotFoundError, 401), "check the name"),
    ):
        Hub(monkeypatch, folder, refused=error)
        with pytest.raises(InputError, match=word) as caught:
            ns.load("owner/name")
        assert "\n" not in str(caught.value)


# the command line


def test_the_command_line_takes_them(folder, tmp_path):
    from typer.testing import CliRunner

    from noisespace.cli import app

    lora, token = tmp_path / "style.safetensors", tmp_path / "odd.safetensors"
    save_file(lora_of(tiny_sd()), lora)
    embedding("three vectors", token)
    tiny_sd(seed=3).vae.save_pretrained(tmp_path / "sharp", safe_serialization=True)
    given = ["--lora", f"{lora}:0.5", "--embedding", str(token), "--vae", str(tmp_path / "sharp")]
    out = tmp_path / "out.png"
    command = ["sample", "a <odd> cat", "--out", str(out), "--model", str(folder), "--steps", "2"]
    done = CliRunner().invoke(app, [*command, *given, "--prediction", "v_prediction"])
    assert done.exit_code == 0, done.output
    used = json.loads(out.with_suffix(".json").read_text())["pictures"][0]["record"]["model"]
    assert used["lora"] == ["style.safetensors:0.5"]
    assert (used["embedding"], used["vae"]) == (["odd.safetensors"], "sharp")
    assert "lora style.safetensors:0.5; embedding odd.safetensors; vae sharp" in done.output
    done = CliRunner().invoke(app, [*command, "--force", "--lora", "style.ckpt"])
    assert done.exit_code == 2
    assert "pickles" in done.output


def test_nothing_new_is_imported_before_it_is_needed():
    import subprocess
    import sys

    code = (
        "import sys, noisespace.cli; noisespace.cli.app; print([m for m in %r if m in sys.modules])"
    )
    names = ["peft", "diffusers", "huggingface_hub", "noisespace.models.lora"]
    done = subprocess.run([sys.executable, "-c", code % names], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr
