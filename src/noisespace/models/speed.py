"""What trades loading, memory or exactness for speed: the options of ``load``, and its presets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch

from noisespace.errors import InputError, RunError
from noisespace.models.caching import Cached
from noisespace.models.families import NETWORKS
from noisespace.models.packed import pack_convolutions
from noisespace.models.quantised import check_quantize, is_quantised

# of autocast; float16 on MPS, whose bfloat16 needs a recent system
HALF = {"cuda": torch.bfloat16, "cpu": torch.bfloat16, "mps": torch.float16}
PRESETS = ("fast", "exact")
# at most: faster than more steps with cached features, with an error that is not told apart
FAST_STEPS = 25


@dataclass(frozen=True)
class Speed:
    """How a model is loaded and run: the options as they are given to ``load``."""

    dtype: str = "auto"
    preset: str | None = None
    compile: bool = False
    offload: str | None = None
    cache: int | None = None
    tiling: bool = False
    quantize: str | None = None

    def on(self, place: torch.device) -> Speed:
        """Checked options for a device, with the dtype that the preset takes where none is given.

        "fast": bfloat16 on CUDA (on CPUs it is the slower one), and at most ``FAST_STEPS`` where a
        method's own default is more. "exact": float64 (float32 on MPS, which has none).
        """
        if self.preset is not None and self.preset not in PRESETS:
            raise InputError(f"preset must be {' or '.join(PRESETS)}, got {self.preset!r}")
        widest = "float32" if place.type == "mps" else "float64"
        if self.preset == "exact" and (self.dtype not in ("auto", widest) or self.cache):
            what = "cached features" if self.cache else self.dtype
            raise InputError(f"preset exact goes without {what}: leave one of the two out")
        check_offload(self.offload, place)
        if self.compile and (self.cache is not None or self.offload == "layers"):
            raise InputError("compile goes without cache and without offload layers: leave one out")
        check_quantize(self, place)
        fast = self.preset == "fast" and place.type == "cuda"
        own = widest if self.preset == "exact" else "bfloat16" if fast else "auto"
        dtype = own if self.dtype == "auto" else self.dtype
        return replace(self, dtype=dtype, offload=None if self.offload == "none" else self.offload)

    def place(self, parts: Mapping[str, Any], place: torch.device) -> None:
        """Brings the parts of a pipeline to their devices, their weights in channels-last order.

        Convolutions of CPUs and CUDA want them so; MPS has no kernels of its own for it.
        """
        for name, part in parts.items():
            if not hasattr(part, "to") or is_quantised(part):
                continue  # quantised weights are where they were made
            resting = self.offload == "layers" or (self.offload == "parts" and name not in NETWORKS)
            part.to("cpu" if resting else place)
        for name in (*NETWORKS, "vae") if place.type != "mps" else ():
            if name in parts and not is_quantised(parts[name]):
                parts[name].to(memory_format=torch.channels_last)
        if self.tiling:
            if "vae" not in parts:
                raise InputError("tiling is of the autoencoder, which this model does not have")
            parts["vae"].enable_tiling()
        if self.offload == "layers":
            by_layers(next(parts[name] for name in NETWORKS if name in parts), place)

    def apply(self, model: Any, place: torch.device) -> Any:
        """The model with these options."""
        if self.preset == "fast":
            model = replace(model, defaults={**model.defaults, "most_steps": FAST_STEPS})
        own: dict[str, Any] = {}
        if self.compile:
            own["call"] = compile_network(model.network, place)
        elif place.type == "cpu" and model.has_text and self.dtype == "float32":
            pack_convolutions(model.network)
        if self.dtype == "mixed":
            own["mixed"] = HALF[place.type]
        if self.offload:
            own["place"] = place
        said = {"mixed": str(HALF[place.type]).removeprefix("torch.")} if "mixed" in own else {}
        said |= {"tiling": True} if self.tiling else {}
        said |= {"quantize": self.quantize} if self.quantize else {}
        if (own or said) and not model.has_text:
            raise InputError(
                "compile, offload, tiling, quantize and dtype mixed are for latent models; leave "
                "them out"
            )
        model = replace(model, speed=said, **own) if own or said else model
        return model if self.cache is None else Cached(model, self.cache)


def compile_network(network: Any, place: torch.device) -> Any:
    """A network compiled for static shapes; on CUDA as CUDA graphs, without launches by Python.

    Compiles at the first call of a shape; raises RunError there, in words that help.
    """
    from torch._dynamo.exc import TorchDynamoException

    mode = "reduce-overhead" if place.type == "cuda" else "default"
    call = torch.compile(network, dynamic=False, mode=mode)

    def run(*args: Any, **options: Any) -> Any:
        try:
            return call(*args, **options)
        except TorchDynamoException as error:
            why = str(error).strip().splitlines()[0][:200]
            raise RunError(
                f"the network could not be compiled here ({why}): leave out compile"
            ) from None

    return run


def by_layers(network: Any, place: torch.device) -> None:
    """Keeps a network on the CPU and brings a layer to the device while it is evaluated."""
    from diffusers.hooks import apply_group_offloading

    apply_group_offloading(
        network,
        onload_device=place,
        offload_device=torch.device("cpu"),
        offload_type="leaf_level",
        use_stream=place.type == "cuda",
    )


def check_offload(offload: str | None, place: torch.device) -> None:
    if offload in (None, "none"):
        return
    if offload not in ("parts", "layers"):
        raise InputError(f"offload must be none, parts or layers, got {offload!r}")
    if place.type == "cpu":
        raise InputError(
            "offload moves what rests to the CPU's memory, where this model is already: leave it "
            "out, or use a smaller size or batch"
        )
