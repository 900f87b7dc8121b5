"""What a model takes, said before anything runs: held against the tensors that there are."""

import json
import re
import weakref
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from diffusers import (
    AutoencoderKL,
    FluxTransformer2DModel,
    SD3Transformer2DModel,
    UNet2DConditionModel,
)
from safetensors.torch import save_file
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    T5Config,
    T5EncoderModel,
)
from typer.testing import CliRunner

import noisespace as ns
from noisespace.cli import app
from noisespace.models.memory import Memory, Work, parameters_of, work_of
from single_files import original_layout, twin
from tiny import tiny_sd, tiny_sd3

CONFIGS = Path(ns.__file__).parent / "models" / "configs"


class LiveBytes(TorchDispatchMode):
    """The most bytes that tensors made under it hold at once."""

    def __init__(self):
        super().__init__()
        self.now, self.most, self.sizes = 0, 0, {}

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        out = function(*args, **(kwargs or {}))
        for tensor in tree_leaves(out):
            if isinstance(tensor, torch.Tensor):
                storage = tensor.untyped_storage()
                if storage._cdata not in self.sizes:
                    self.sizes[storage._cdata] = storage.nbytes()
                    self.now += storage.nbytes()
                    self.most = max(self.most, self.now)
                    weakref.finalize(storage, self.free, storage._cdata)
        return out

    def free(self, key):
        self.now -= self.sizes.pop(key, 0)


def meta(*shape):
    return torch.zeros(*shape, device="meta", dtype=torch.float16)


def published(name):
    return json.loads((CONFIGS / f"{name}.json").read_text())["unet"]


# Published widths, with fewer layers than they have: what is alive at once stays. With the patch.
NETWORKS = {
    "sd15": lambda: (
        UNet2DConditionModel.from_config(published("sd15")),
        1,
        {"encoder_hidden_states": meta(2, 77, 768)},
    ),
    "sdxl": lambda: (
        UNet2DConditionModel.from_config(
            {**published("sdxl"), "transformer_layers_per_block": [1, 1, 1]}
        ),
        1,
        {
            "encoder_hidden_states": meta(2, 77, 2048),
            "added_cond_kwargs": {"text_embeds": meta(2, 1280), "time_ids": meta(2, 6)},
        },
    ),
    "sd3": lambda: (
        SD3Transformer2DModel(
            sample_size=128,
            num_layers=3,
            num_attention_heads=24,
            caption_projection_dim=1536,
            pos_embed_max_size=192,
        ),
        2,
        {"encoder_hidden_states": meta(2, 333, 4096), "pooled_projections": meta(2, 2048)},
    ),
    "flux": lambda: (
        FluxTransformer2DModel(num_layers=2, num_single_layers=2, guidance_embeds=True),
        2,
        {
            "encoder_hidden_states": meta(2, 512, 4096),
            "pooled_projections": meta(2, 768),
            "guidance": meta(2),
            "txt_ids": meta(512, 3),
            "img_ids": meta(64 * 64, 3),
        },
    ),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_an_evaluation_takes_about_what_is_said(name):
    """From below to twice, at 128 x 128 latents; nothing is computed on the device "meta"."""
    with torch.device("meta"):
        network, patch, told = NETWORKS[name]()
    network = network.to(torch.float16).eval()
    shape = (2, 64 * 64, 64) if name == "flux" else (2, network.config.in_channels, 128, 128)
    with torch.inference_mode(), LiveBytes() as live:
        network(meta(*shape), timestep=meta(2), **told)
    model = SimpleNamespace(network=network, vae=None, compute_dtype=torch.float16)
    model.family = SimpleNamespace(patch=lambda network: patch)
    model.device = torch.device("cuda")  # where rows are as many as are asked for
    assert live.most <= work_of(model, (128, 128), 2).evaluation <= 2 * live.most


def test_a_decoded_picture_takes_what_is_said():
    with torch.device("meta"):
        vae = AutoencoderKL.from_config(json.loads((CONFIGS / "sdxl.json").read_text())["vae"])
    vae = vae.to(torch.float16).eval()
    with torch.inference_mode(), LiveBytes() as live:
        vae.decode(meta(1, 4, 128, 96))
    network = ns.from_pipeline(tiny_sd()).network
    model = SimpleNamespace(network=network, vae=vae, compute_dtype=torch.float16, factor=8)
    model.device = torch.device("cuda")
    work = work_of(model, (128, 96), 1)
    assert work.picture == pytest.approx(live.most, rel=0.01)
    assert work.tile == work.picture  # a tile is as large as the pictures it was trained on
    assert work_of(model, (256, 256), 1).tile == work_of(model, (128, 128), 1).picture


def test_weights_are_counted_before_they_are_read(tmp_path):
    pipe = tiny_sd3(t5=False)
    pipe.save_pretrained(tmp_path / "whole")
    pipe.save_pretrained(tmp_path / "sharded", max_shard_size="50KB")
    pipe.save_pretrained(tmp_path / "variant", variant="fp16")
    for name in ("text_encoder", "transformer"):
        pipe.components[name].save_pretrained(tmp_path / "whole" / name, variant="fp16")
    expected = {
        name: sum(p.numel() for p in part.state_dict().values())
        for name, part in pipe.components.items()
        if isinstance(part, torch.nn.Module)
    }
    assert len(list((tmp_path / "sharded" / "transformer").glob("*.safetensors"))) > 1
    for folder in ("whole", "sharded", "variant"):
        assert parameters_of(tmp_path / folder) == expected
    save_file(original_layout(twin("sd15")), tmp_path / "one.safetensors")
    counts = parameters_of(tmp_path / "one.safetensors")
    for name, count in counts.items():
        weights = getattr(twin("sd15"), name).parameters()
        assert count == pytest.approx(sum(p.numel() for p in weights), rel=1e-3)


GB = 10**9
CUDA = Memory(
    {"unet": 5 * GB, "text_encoder": 1.5 * GB, "vae": 0.5 * GB}, 4, torch.device("cuda"), 24 * GB
)


@pytest.mark.parametrize(
    ("memory", "work", "expected"),
    [
        (CUDA, Work(), "7.0 GB of weights; 24.0 GB free on cuda"),
        (
            CUDA,
            Work(1 * GB, 6 * GB, 2 * GB),
            "about 13.0 GB, 7.0 GB of them weights; 24.0 GB free on cuda",
        ),
        (replace(CUDA, free=12 * GB), Work(1 * GB, 6 * GB, 2 * GB), "tiling makes it 9.0 GB"),
        (
            replace(CUDA, free=8 * GB),
            Work(3 * GB, 6 * GB, 2 * GB),
            "dtype bfloat16 makes it 6.5 GB",
        ),
        (
            replace(CUDA, free=8 * GB, itemsize=2),
            Work(1 * GB, 1 * GB, 1 * GB),
            "8.0 GB, 7.0 GB of them weights; 8.0 GB free on cuda",
        ),
        (
            replace(CUDA, free=7.6 * GB, itemsize=2),
            Work(1 * GB, 1 * GB, 1 * GB),
            "offload parts makes it 7.5 GB",
        ),
        (
            replace(CUDA, free=4 * GB, itemsize=2),
            Work(1 * GB, 1 * GB, 1 * GB),
            "offload layers makes it 2.5 GB",
        ),
        (
            replace(CUDA, free=4 * GB, itemsize=2),
            Work(1 * GB, 6 * GB, 2 * GB),
            "offload layers with tiling makes it 3.5 GB",
        ),
        (
            replace(CUDA, free=4 * GB, itemsize=2, place=torch.device("cpu")),
            Work(1 * GB, 1 * GB, 1 * GB),
            "no option makes it fit: use a smaller size, fewer pictures or a smaller model",
        ),
    ],
)
def test_what_does_not_fit_says_what_would(memory, work, expected):
    assert memory.sentence(work).endswith(expected)
    assert memory.needed(work) <= memory.free or ": " in memory.sentence(work)


def test_it_is_said_before_anything_runs(tmp_path, monkeypatch):
    tiny_sd().save_pretrained(tmp_path / "tiny")
    words = ["sample", "a cat", "--steps", "2", "--device", "cpu"]
    words += ["--model", str(tmp_path / "tiny")]
    done = CliRunner().invoke(app, [*words, "-o", str(tmp_path / "a.png")])
    assert done.exit_code == 0, done.output
    told = [line.split(":")[0] for line in done.stderr.splitlines()]
    assert told.index("model") < told.index("memory") < told.index("sample")
    monkeypatch.setattr("noisespace.models.loading.free_memory", lambda place: 1e6)
    with pytest.warns(UserWarning, match="MB of weights; 1 MB free on cpu: dtype bfloat16 makes"):
        ns.load(tmp_path / "tiny")


# ---- docs/models.md

T5 = {"d_model": 4096, "d_ff": 10240, "num_layers": 24, "num_heads": 64, "vocab_size": 32128}
SD3 = {"num_attention_heads": 24, "num_layers": 24, "caption_projection_dim": 1536}
NEWER = {"qk_norm": "rms_norm", "pos_embed_max_size": 384, "sample_size": 128}
TRANSFORMERS = {  # as their folders publish them
    "SD 3 medium": {**SD3, "pos_embed_max_size": 192, "sample_size": 128},
    "SD 3.5 medium": {**SD3, **NEWER, "dual_attention_layers": tuple(range(13))},
    "SD 3.5 large": {
        **NEWER,
        "num_attention_heads": 38,
        "num_layers": 38,
        "caption_projection_dim": 2432,
        "pos_embed_max_size": 192,
    },
}
UNETS = {"SD 1.5": "sd15", "SD 2.1": "sd2", "SDXL": "sdxl"}


def clip_of(name, part):
    config = json.loads((CONFIGS / f"{name}.json").read_text())[part]
    kinds = {"CLIPTextModel": CLIPTextModel}
    kind = kinds.get(config["architectures"][0], CLIPTextModelWithProjection)
    return kind(CLIPTextConfig(**{k: v for k, v in config.items() if not k.startswith("_")}))


def millions(*modules):
    return sum(p.numel() for module in modules for p in module.parameters()) / 1e6


@pytest.mark.parametrize("name", [*UNETS, *TRANSFORMERS, "Flux"])
def test_the_table_of_memory_is_counted(name):
    page = (Path(__file__).parents[1] / "docs" / "models.md").read_text()
    table = page[page.index("## Memory") :]
    row = next(line for line in table.splitlines() if line.startswith(f"| {name} | "))
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    with torch.device("meta"):
        clips = [clip_of("sdxl", part) for part in ("text_encoder", "text_encoder_2")]
        if name in UNETS:
            network = UNet2DConditionModel.from_config(published(UNETS[name]))
            texts = clips if name == "SDXL" else [clip_of(UNETS[name], "text_encoder")]
        else:
            t5 = T5EncoderModel(T5Config(**T5, d_kv=64, feed_forward_proj="gated-gelu"))
            flux = name == "Flux"
            texts = [clips[0], t5] if flux else [*clips, t5]
            network = (
                FluxTransformer2DModel(guidance_embeds=True)
                if flux
                else SD3Transformer2DModel(**TRANSFORMERS[name])
            )
        channels = 4 if name in UNETS else 16
        vae = AutoencoderKL.from_config(
            {**json.loads((CONFIGS / "sdxl.json").read_text())["vae"], "latent_channels": channels}
        )
    counted = [millions(network), millions(*texts), millions(vae)]

    def numbers(cell):
        return [float(n.replace(",", "")) for n in re.findall(r"[\d,]*\d(?:\.\d+)?", cell)]

    told = [numbers(cell)[0] for cell in cells[1:4]]
    assert told == pytest.approx(counted, abs=1)
    parts = {"network": counted[0] * 2e6, "vae": counted[2] * 2e6}
    parts |= {str(i): millions(text) * 2e6 for i, text in enumerate(texts)}
    weights = {"unet" if k == "network" else k: v for k, v in parts.items()}
    memory = Memory(weights, 2, torch.device("cuda"), torch.inf)
    assert numbers(cells[4])[0] == pytest.approx(memory.needed() / 1e9, abs=0.06)
    offloaded = replace(memory, offload="parts")
    assert numbers(cells[5])[0] == pytest.approx(offloaded.needed() / 1e9, abs=0.06)
    if name.startswith("SD 3"):
        del weights["2"]  # T5
        short = replace(memory, weights=weights), replace(offloaded, weights=weights)
        for one, cell in zip(short, cells[4:], strict=True):
            assert numbers(cell)[1] == pytest.approx(one.needed() / 1e9, abs=0.06)
