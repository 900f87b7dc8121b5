"""What trades loading, memory or exactness for speed: the options of ``load``, and its presets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch

from noisespace.errors import InputError
from noisespace.models.caching import Cached

# of autocast; float16 on MPS, whose bfloat16 needs a recent system
HALF = {"cuda": torch.bfloat16, "cpu": torch.bfloat16, "mps": torch.float16}
PRESETS = ("fast", "exact")
FAST_SHARE = 0.5  # of a method's usual steps
FAST_CACHE = 2


@dataclass(frozen=True)
class Speed:
    """How a model is loaded and run. ``share``: of the methods' usual steps."""

    dtype: str = "float32"
    compile: bool = False
    offload: str | None = None
    cache: int | None = None
    tiling: bool = False
    share: float = 1.0
    preset: str | None = None

    @classmethod
    def of(
        cls,
        preset: str | None,
        place: torch.device,
        dtype: str | torch.dtype,
        compile: bool,
        offload: str | None,
        cache: int | None,
        tiling: bool,
    ) -> Speed:
        """Checked options; what is given goes before what the preset says (float32 is not given).

        "fast": half the usual steps, features cached for two, and bfloat16 on CUDA (on CPUs it is
        the slower one). "exact": float64 (float32 on MPS, which has none).
        """
        if preset is not None and preset not in PRESETS:
            raise InputError(f"preset must be {' or '.join(PRESETS)}, got {preset!r}")
        usual, share = "float32", 1.0
        if preset == "fast":
            usual, share = ("bfloat16" if place.type == "cuda" else usual), FAST_SHARE
            cache = FAST_CACHE if cache is None and not compile else cache
        elif preset == "exact":
            usual = usual if place.type == "mps" else "float64"
        check_offload(offload, place)
        if compile and (cache is not None or offload == "layers"):
            raise InputError("compile goes without cache and without offload layers: leave one out")
        kind = str(dtype).removeprefix("torch.")
        kind = usual if kind == "float32" else kind
        return cls(kind, bool(compile), offload, cache, bool(tiling), share, preset)

    def placed(self, parts: Mapping[str, Any], place: torch.device) -> None:
        """Brings the parts of a pipeline to their devices, their weights in channels-last order."""
        for name, part in parts.items():
            if not hasattr(part, "to"):
                continue
            resting = self.offload == "layers" or (self.offload == "parts" and name != "unet")
            part.to("cpu" if resting else place)
        for name in ("unet", "vae"):
            if name in parts:
                parts[name].to(memory_format=torch.channels_last)
        if self.tiling:
            if "vae" not in parts:
                raise InputError("tiling is of the autoencoder, which this model does not have")
            parts["vae"].enable_tiling()
        if self.offload == "layers":
            by_layers(parts["unet"], place)

    def given(self, model: Any, place: torch.device) -> Any:
        """The model with these options."""
        if self.preset == "fast":
            model = replace(model, defaults={**model.defaults, "steps_share": self.share})
        own: dict[str, Any] = {}
        if self.compile:
            own["call"] = compiled(model.unet, place)
        if self.dtype == "mixed":
            own["mixed"] = HALF[place.type]
        if self.offload:
            own["place"] = place
        said = {"mixed": str(HALF[place.type]).removeprefix("torch.")} if "mixed" in own else {}
        said |= {"tiling": True} if self.tiling else {}
        if (own or said) and not model.has_text:
            raise InputError(
                "compile, offload, tiling and dtype mixed are for latent models; leave them out"
            )
        model = replace(model, speed=said, **own) if own or said else model
        return model if self.cache is None else Cached(model, self.cache)


def compiled(unet: Any, place: torch.device) -> Any:
    """A U-Net compiled for static shapes; on CUDA as CUDA graphs, without launches by Python."""
    mode = "reduce-overhead" if place.type == "cuda" else "default"
    return torch.compile(unet, dynamic=False, mode=mode)


def by_layers(unet: Any, place: torch.device) -> None:
    """Keeps a U-Net on the CPU and brings a layer to the device while it is evaluated."""
    from diffusers.hooks import apply_group_offloading

    apply_group_offloading(
        unet,
        onload_device=place,
        offload_device=torch.device("cpu"),
        offload_type="leaf_level",
        use_stream=place.type == "cuda",
    )


def check_offload(offload: str | None, place: torch.device) -> None:
    if offload is None:
        return
    if offload not in ("parts", "layers"):
        raise InputError(f"offload must be parts or layers, got {offload!r}")
    if place.type == "cpu":
        raise InputError(
            "offload moves what rests to the CPU's memory, where this model is already: leave it "
            "out, or use a smaller size or batch"
        )
