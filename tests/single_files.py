"""Tiny twins of the real architectures, and their weights by the names of the original layout."""

from __future__ import annotations

import re

import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    EulerDiscreteScheduler,
    PNDMScheduler,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from diffusers.loaders.single_file_utils import DIFFUSERS_TO_LDM_MAPPING
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from noisespace.models.clip_tokenizer import clip_tokenizer
from tiny import SCHEDULE

CROSS, DOWN = "CrossAttnDownBlock2D", "DownBlock2D"
WIDTHS = (32, 64, 64, 64)


def text_encoder(hidden: int, layers: int, act: str, projected: int | None = None):
    config = CLIPTextConfig(
        vocab_size=49408,
        hidden_size=hidden,
        intermediate_size=2 * hidden,
        num_hidden_layers=layers,
        num_attention_heads=1,
        projection_dim=projected or hidden,
        hidden_act=act,
        bos_token_id=49406,
        eos_token_id=49407,
    )
    return (CLIPTextModelWithProjection if projected else CLIPTextModel)(config)


def unet(down, widths, context: int, heads, **config) -> UNet2DConditionModel:
    return UNet2DConditionModel(
        sample_size=16,
        block_out_channels=widths,
        down_block_types=down,
        up_block_types=[kind.replace("Down", "Up") for kind in reversed(down)],
        cross_attention_dim=context,
        attention_head_dim=heads,
        **config,
    )


def autoencoder(channels: int = 4, **config) -> AutoencoderKL:
    levels = len(WIDTHS)
    return AutoencoderKL(
        block_out_channels=(32, 32, 64, 64),
        down_block_types=("DownEncoderBlock2D",) * levels,
        up_block_types=("UpDecoderBlock2D",) * levels,
        latent_channels=channels,
        layers_per_block=2,
        sample_size=128,
        **config,
    )


def twin(family: str) -> StableDiffusionPipeline | StableDiffusionXLPipeline:
    """The pipeline of a family ("sd15", "sd2", "sdxl"), narrow, with random weights."""
    torch.manual_seed(0)
    first = {"tokenizer": clip_tokenizer(), "text_encoder": text_encoder(32, 2, "quick_gelu")}
    if family == "sdxl":
        pipe = StableDiffusionXLPipeline(
            vae=autoencoder(scaling_factor=0.13025),
            unet=unet(
                (DOWN, CROSS, CROSS),
                WIDTHS[:3],
                96,
                (1, 1, 1),
                transformer_layers_per_block=(1, 2, 10),
                use_linear_projection=True,
                addition_embed_type="text_time",
                addition_time_embed_dim=256,
                projection_class_embeddings_input_dim=256 * 6 + 48,
            ),
            text_encoder_2=text_encoder(64, 3, "gelu", projected=48),
            tokenizer_2=clip_tokenizer("!"),
            scheduler=EulerDiscreteScheduler(
                **{k: v for k, v in SCHEDULE.items() if k.startswith("beta")},
                timestep_spacing="leading",
                steps_offset=1,
            ),
            **first,
        )
    else:
        second = {"tokenizer": clip_tokenizer("!"), "text_encoder": text_encoder(32, 3, "gelu")}
        linear = {"heads": (1, 1, 1, 1), "use_linear_projection": True}
        options = {"heads": 8} if family == "sd15" else linear
        schedule = {k: v for k, v in SCHEDULE.items() if k != "clip_sample"}
        pipe = StableDiffusionPipeline(
            vae=autoencoder(),
            unet=unet((CROSS, CROSS, CROSS, DOWN), WIDTHS, 32, **options),
            scheduler=PNDMScheduler(**schedule, skip_prk_steps=True)
            if family == "sd15"
            else DDIMScheduler(**SCHEDULE, prediction_type="v_prediction"),
            safety_checker=None,
            feature_extractor=None,
            requires_safety_checker=False,
            **(first if family == "sd15" else second),
        )
    pipe.set_progress_bar_config(disable=True)
    return pipe


def original_layout(pipe) -> dict[str, torch.Tensor]:
    """A pipeline's weights as its single file has them."""
    out = {f"model.diffusion_model.{k}": v for k, v in original_unet(pipe.unet).items()}
    out |= {f"first_stage_model.{k}": v for k, v in original_vae(pipe.vae).items()}
    second = getattr(pipe, "text_encoder_2", None)
    if second is not None:
        out |= clip("conditioner.embedders.0.transformer.", pipe.text_encoder)
        out |= open_clip("conditioner.embedders.1.model.", second)
    elif pipe.tokenizer.pad_token == "!":
        out |= open_clip("cond_stage_model.model.", pipe.text_encoder)
    else:
        out |= clip("cond_stage_model.transformer.", pipe.text_encoder)
    return {key: tensor.clone().contiguous() for key, tensor in out.items()}


RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "time_emb_proj": "emb_layers.1",
    "conv_shortcut": "skip_connection",
}


def original_unet(network) -> dict[str, torch.Tensor]:
    table = DIFFUSERS_TO_LDM_MAPPING["unet"]
    names, each = {**table["layers"], **table["addition_embed_type"]}, 3
    out = {}
    for key, tensor in network.state_dict().items():
        if key in names:
            out[names[key]] = tensor
            continue
        side, rest = key.split("_block", 1)
        rest = rest.removeprefix("s")
        block, kind, layer, inner = re.fullmatch(r"\.?(\d*)\.?(\w+)\.(\d+)\.(.*)", rest).groups()
        number = int(block or 0) * each + int(layer) + (side == "down")
        place = {"down": "input_blocks", "mid": "middle_block", "up": "output_blocks"}[side]
        attends = "CrossAttn" in network.config[f"{side}_block_types"][int(block)] if block else 0
        if kind == "downsamplers":
            out[f"input_blocks.{number + 2}.0.op.{inner.split('.')[-1]}"] = tensor
        elif kind == "upsamplers":
            out[f"output_blocks.{number + 2}.{1 + attends}.{inner}"] = tensor
        elif kind == "attentions":
            spot = "1" if side == "mid" else f"{number}.1"
            out[f"{place}.{spot}.{inner}"] = tensor
        else:
            for new, old in RESNET.items():
                inner = re.sub(rf"^{new}\.", f"{old}.", inner)
            spot = f"{2 * int(layer)}" if side == "mid" else f"{number}.0"
            out[f"{place}.{spot}.{inner}"] = tensor
    return out


def original_vae(vae) -> dict[str, torch.Tensor]:
    names, top = DIFFUSERS_TO_LDM_MAPPING["vae"], len(vae.config.block_out_channels) - 1
    out = {}
    for key, tensor in vae.state_dict().items():
        old = names.get(key, key)
        old = re.sub(r"down_blocks\.(\d)\.resnets", r"down.\1.block", old)
        old = re.sub(r"down_blocks\.(\d)\.downsamplers\.0", r"down.\1.downsample", old)
        old = re.sub(r"up_blocks\.(\d)\.resnets", lambda m: f"up.{top - int(m[1])}.block", old)
        old = re.sub(
            r"up_blocks\.(\d)\.upsamplers\.0", lambda m: f"up.{top - int(m[1])}.upsample", old
        )
        old = re.sub(r"mid_block\.resnets\.(\d)", lambda m: f"mid.block_{int(m[1]) + 1}", old)
        old = old.replace("conv_shortcut", "nin_shortcut")
        if "mid_block.attentions.0" in old:
            old = old.replace("mid_block.attentions.0", "mid.attn_1").replace("group_norm", "norm")
            old = old.replace("to_out.0", "proj_out")
            old = re.sub(r"to_([qkv])\.", r"\1.", old)
            tensor = tensor[:, :, None, None] if tensor.ndim == 2 else tensor
        out[old] = tensor
    return out


def clip(prefix: str, encoder) -> dict[str, torch.Tensor]:
    keys = {k: v for k, v in encoder.state_dict().items() if "position_ids" not in k}
    return {f"{prefix}text_model.{k.removeprefix('text_model.')}": v for k, v in keys.items()}


def open_clip(prefix: str, encoder) -> dict[str, torch.Tensor]:
    state = {k.removeprefix("text_model."): v for k, v in encoder.state_dict().items()}
    layers = DIFFUSERS_TO_LDM_MAPPING["openclip"]["layers"]
    inner = DIFFUSERS_TO_LDM_MAPPING["openclip"]["transformer"]
    out = {}
    for new, old in layers.items():
        if (tensor := state.get(new.removeprefix("text_model."))) is not None:
            out[prefix + old] = tensor.T if old == "text_projection" else tensor
    for key, tensor in state.items():
        if not key.startswith("encoder.layers."):
            continue
        if ".q_proj." in key:
            parts = [state[key.replace("q_proj", name)] for name in ("q_proj", "k_proj", "v_proj")]
            kind = "in_proj_" + key.split(".")[-1]
            key, tensor = key.split("self_attn")[0] + f"attn.{kind}", torch.cat(parts)
        elif ".k_proj." in key or ".v_proj." in key:
            continue
        name = f"text_model.{key}"
        for new, old in inner.items():
            name = name.replace(new, old)
        out[prefix + "transformer." + name.removeprefix("transformer.")] = tensor
    return out
