"""Tiny random models of the real architectures, built offline; each listed word is one token."""

from __future__ import annotations

import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    DDPMPipeline,
    DDPMScheduler,
    FlowMatchEulerDiscreteScheduler,
    FluxPipeline,
    FluxTransformer2DModel,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
    StableDiffusionInpaintPipeline,
    StableDiffusionPipeline,
    StableDiffusionXLInpaintPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
    UNet2DModel,
)
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    T5Config,
    T5EncoderModel,
    T5Tokenizer,
)
from transformers.convert_slow_tokenizer import bytes_to_unicode

WORDS = [
    "a",
    "an",
    "the",
    "photo",
    "of",
    "cat",
    "dog",
    "tiger",
    "horse",
    "on",
    "in",
    "with",
    "red",
    "blue",
    "running",
    "grass",
]
SCHEDULE = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "clip_sample": False,
    "set_alpha_to_one": False,
    "steps_offset": 1,
}


def word_tokenizer(words, length: int) -> CLIPTokenizer:
    """One token a word, merged letter by letter; the fixtures' own, so that nothing else moves."""
    letters = list(bytes_to_unicode().values())
    vocab, merges = [*letters, *(letter + "</w>" for letter in letters)], []
    for word in words:
        parts = [*word[:-1], word[-1] + "</w>"]
        while len(parts) > 1:
            merges.append((parts[0], parts[1]))
            parts = [parts[0] + parts[1], *parts[2:]]
            vocab.append(parts[0])
    vocab = [*dict.fromkeys(vocab), "<|startoftext|>", "<|endoftext|>"]
    table = {token: index for index, token in enumerate(vocab)}
    return CLIPTokenizer(vocab=table, merges=list(dict.fromkeys(merges)), model_max_length=length)


def text_encoder(tokenizer, hidden: int = 32, projected: int | None = None):
    config = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=hidden,
        intermediate_size=hidden * 2,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=16,
        projection_dim=projected or hidden,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return (CLIPTextModelWithProjection if projected else CLIPTextModel)(config)


def t5_tokenizer(length: int = 20) -> T5Tokenizer:
    """One token a word, by SentencePiece's marks; other words letter by letter."""
    vocab = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("\u2581", -2.0)]
    vocab += [("\u2581" + word, -3.0) for word in WORDS]
    vocab += [(chr(c), -10.0) for c in range(33, 127)]
    return T5Tokenizer(vocab=vocab, extra_ids=0, model_max_length=length)


def t5_encoder(tokenizer, width: int = 32) -> T5EncoderModel:
    size = {"d_model": width, "d_kv": 8, "d_ff": 2 * width, "num_layers": 1, "num_heads": 4}
    return T5EncoderModel(T5Config(vocab_size=len(tokenizer), **size)).eval()  # it drops out


def autoencoder(channels: int = 4, **config) -> AutoencoderKL:
    """Four pixels a latent pixel."""
    return AutoencoderKL(
        block_out_channels=(8, 16, 16),
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        latent_channels=channels,
        norm_num_groups=8,
        layers_per_block=1,
        sample_size=32,
        **config,
    )


def tiny_sd(seed: int = 0, **schedule) -> StableDiffusionPipeline:
    """A StableDiffusionPipeline of 0.5 M random parameters: 32 px pictures, 8x8x4 latents."""
    torch.manual_seed(seed)
    tokenizer = word_tokenizer(WORDS, 16)
    unet = UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(16, 32),
        layers_per_block=1,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=32,
        attention_head_dim=4,
        norm_num_groups=8,
    )
    vae = autoencoder()
    pipe = StableDiffusionPipeline(
        vae=vae,
        text_encoder=text_encoder(tokenizer),
        tokenizer=tokenizer,
        unet=unet,
        scheduler=DDIMScheduler(**{**SCHEDULE, **schedule}),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipe.set_progress_bar_config(disable=True)
    return pipe


def with_inputs(unet: UNet2DConditionModel, channels: int) -> UNet2DConditionModel:
    """A U-Net of the same shape that takes so many channels, with random weights."""
    torch.manual_seed(1)
    config = {k: v for k, v in unet.config.items() if not k.startswith("_")}
    return UNet2DConditionModel(**{**config, "in_channels": channels})


def tiny_inpainting(make=None):
    """The inpainting pipeline of a family: its network is told a mask and the masked picture."""
    pipe = (make or tiny_sd)()
    xl = isinstance(pipe, StableDiffusionXLPipeline)
    cls = StableDiffusionXLInpaintPipeline if xl else StableDiffusionInpaintPipeline
    parts = {k: v for k, v in pipe.components.items() if k != "image_encoder"}
    more = {} if xl else {"requires_safety_checker": False}
    out = cls(**{**parts, "unet": with_inputs(pipe.unet, 9)}, **more)
    out.set_progress_bar_config(disable=True)
    return out


def tiny_pixels(seed: int = 0) -> DDPMPipeline:
    """An unconditional pixel-space pipeline."""
    torch.manual_seed(seed)
    unet = UNet2DModel(
        sample_size=16,
        block_out_channels=(8, 16),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D"),
        norm_num_groups=4,
    )
    return DDPMPipeline(unet, DDPMScheduler(clip_sample=False))


def tiny_sdxl(seed: int = 0, **schedule) -> StableDiffusionXLPipeline:
    """Two text encoders, of which the second tells the whole prompt too."""
    torch.manual_seed(seed)
    tokenizer = word_tokenizer(WORDS, 16)
    unet = UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(16, 32),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        transformer_layers_per_block=(1, 2),
        cross_attention_dim=64,
        attention_head_dim=(2, 4),
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=8 * 6 + 32,
        norm_num_groups=8,
    )
    pipe = StableDiffusionXLPipeline(
        vae=autoencoder(scaling_factor=0.13025),
        text_encoder=text_encoder(tokenizer),
        text_encoder_2=text_encoder(tokenizer, projected=32),
        tokenizer=tokenizer,
        tokenizer_2=word_tokenizer(WORDS, 16),
        unet=unet,
        scheduler=DDIMScheduler(**{**SCHEDULE, **schedule}),
    )
    pipe.set_progress_bar_config(disable=True)
    return pipe


FLOW_VAE = {"shift_factor": 0.0609, "use_quant_conv": False, "use_post_quant_conv": False}


def tiny_sd3(seed: int = 0, t5: bool = True, **schedule) -> StableDiffusion3Pipeline:
    """A joint-attention transformer; its second block has the self-attention of 3.5 medium."""
    torch.manual_seed(seed)
    tokenizer, reader = word_tokenizer(WORDS, 16), t5_tokenizer()
    transformer = SD3Transformer2DModel(
        sample_size=8,
        patch_size=2,
        in_channels=16,
        num_layers=3,
        attention_head_dim=8,
        num_attention_heads=4,
        caption_projection_dim=32,
        joint_attention_dim=72,
        pooled_projection_dim=64,
        out_channels=16,
        pos_embed_max_size=16,
        dual_attention_layers=(1,),
        qk_norm="rms_norm",
    )
    pipe = StableDiffusion3Pipeline(
        transformer=transformer,
        scheduler=FlowMatchEulerDiscreteScheduler(**{"shift": 3.0, **schedule}),
        vae=autoencoder(16, scaling_factor=1.5305, **FLOW_VAE),
        text_encoder=text_encoder(tokenizer, projected=32),
        tokenizer=tokenizer,
        text_encoder_2=text_encoder(tokenizer, projected=32),
        tokenizer_2=word_tokenizer(WORDS, 16),
        text_encoder_3=t5_encoder(reader, 72) if t5 else None,
        tokenizer_3=reader if t5 else None,
    )
    pipe.set_progress_bar_config(disable=True)
    return pipe


def tiny_flux(seed: int = 0, told: bool = True, **schedule) -> FluxPipeline:
    """Packed latents, rotary embeddings, double and single blocks, guidance as an input."""
    torch.manual_seed(seed)
    tokenizer, reader = word_tokenizer(WORDS, 16), t5_tokenizer()
    transformer = FluxTransformer2DModel(
        patch_size=1,
        in_channels=16,
        num_layers=2,
        num_single_layers=2,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=32,
        pooled_projection_dim=32,
        axes_dims_rope=(4, 4, 8),
        guidance_embeds=told,
    )
    pipe = FluxPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(**{"use_dynamic_shifting": told, **schedule}),
        transformer=transformer,
        vae=autoencoder(4, scaling_factor=1.5035, **FLOW_VAE),
        text_encoder=text_encoder(tokenizer),
        tokenizer=tokenizer,
        text_encoder_2=t5_encoder(reader),
        tokenizer_2=reader,
    )
    pipe.set_progress_bar_config(disable=True)
    return pipe


def double(pipe):
    """The pipeline's networks in float64: random networks amplify rounding."""
    for part in pipe.components.values():
        if isinstance(part, torch.nn.Module):
            torch.nn.Module.to(part, torch.float64)
    return pipe
