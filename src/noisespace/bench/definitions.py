"""What every metric of the benchmark is.

A metric has one name for one definition: masked variants, PIE-Bench's own and stand-ins for
networks that are not here never carry another's name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Literal

from torch import Tensor

from noisespace.bench import judges as ask
from noisespace.bench import pixels
from noisespace.bench.edited import Batch, Region
from noisespace.bench.features import SMALLEST, Net
from noisespace.bench.judges import Judges

Better = Literal["up", "down"]
Prompt = Literal["source", "target"]
SMALLEST_SSIM = 11  # px, its window
REGIONS: tuple[Region, ...] = ("inside", "outside")


@dataclass(frozen=True)
class Metric:
    """A definition: ``value`` takes a batch of one size and gives (rows,).

    ``region``: where it looks; "inside" is where the edit may act. ``smallest``: the shortest side
    at which it is defined, px. ``prompts``: which of the case's prompts it needs.
    """

    name: str
    region: Region
    unit: str
    better: Better
    value: Callable[[Batch, Judges], Tensor]
    smallest: int = 1
    prompts: tuple[Prompt, ...] = ()


def _of_values(
    function: Callable[..., Tensor], batch: Batch, _: Judges, *, region: bool = False
) -> Tensor:
    """A function of pictures, whole or in the batch's region."""
    return function(batch.source, batch.edited, *([batch.region] if region else []))


def _pie(function: Callable[..., Tensor], batch: Batch, _: Judges) -> Tensor:
    """A function of whole pictures after PIE-Bench's masking (arXiv 2310.01506, its code).

    Both pictures are multiplied by the mask of the un-edited region, and the zeros count in the
    mean: a small region gives a better value than a large one at the same error. A case without
    such a region is NaN, and is left out of means. (Its loader also adds the picture's outermost
    pixels to each mask of an edit; that is the data's business.)
    """
    return function(batch.source * batch.region, batch.edited * batch.region)


def _pixel_metrics() -> Iterator[Metric]:
    small = SMALLEST_SSIM
    rows: tuple[tuple[str, str, Better, Callable[..., Tensor]], ...] = (
        ("psnr", "dB", "up", pixels.psnr),
        ("mse", "of values in [0, 1]", "down", pixels.mse),
    )
    for name, unit, better, function in rows:
        yield Metric(name, "whole", unit, better, partial(_of_values, function))
        for region in REGIONS:
            value = partial(_of_values, function, region=True)
            yield Metric(f"{name}_{region}", region, unit, better, value)
        yield Metric(f"pie_{name}", "outside", unit, better, partial(_pie, function))
    yield Metric("ssim", "whole", "1", "up", partial(_of_values, pixels.ssim), small)
    for region in REGIONS:
        value = partial(_of_values, pixels.ssim_map, region=True)
        yield Metric(f"ssim_map_{region}", region, "1", "up", value, small)
    yield Metric("pie_ssim", "outside", "1", "up", partial(_pie, pixels.ssim), small)
    value, least = partial(_of_values, pixels.ms_ssim), pixels.MS_SSIM_SMALLEST
    yield Metric("ms_ssim", "whole", "1", "up", value, least)


def _lpips_metrics() -> Iterator[Metric]:
    nets: tuple[Net, ...] = ("alex", "vgg")
    for net in nets:
        least = SMALLEST[net]
        value = partial(ask.lpips, net=net)
        yield Metric(f"lpips_{net}", "whole", "1", "down", value, least)
        for region in REGIONS:
            value = partial(ask.lpips_map, net=net)
            yield Metric(f"lpips_map_{net}_{region}", region, "1", "down", value, least)
        value = partial(ask.pie_lpips, net=net)
        yield Metric(f"pie_lpips_{net}", "outside", "1", "down", value, least)
    # PIE-Bench's own code takes SqueezeNet: only that is "pie_lpips"
    value = partial(ask.pie_lpips, net="squeeze")
    yield Metric("pie_lpips", "outside", "1", "down", value, SMALLEST["squeeze"])


def _network_metrics() -> Iterator[Metric]:
    mean_square = "mean squared cosine difference"
    yield Metric("vgg_structure", "whole", mean_square, "down", ask.vgg_layout, SMALLEST["vgg"])
    yield Metric("dino_structure", "whole", mean_square, "down", ask.dino_layout)
    value = partial(ask.dino_layout, scale=255.0)
    yield Metric("pie_structure", "whole", mean_square, "down", value)
    unit = "100 cosine"
    target: tuple[Prompt, ...] = ("target",)
    both: tuple[Prompt, ...] = ("source", "target")
    yield Metric("clip", "whole", unit, "up", ask.clip_score, prompts=target)
    value = partial(ask.clip_score, masked=True)
    yield Metric("pie_clip_edited", "inside", unit, "up", value, prompts=target)
    value = partial(ask.score, which="alignment")
    yield Metric("alignment", "whole", "cosine", "up", value, prompts=target)
    for which in ("clip", "alignment"):
        value = partial(ask.direction, which=which)
        yield Metric(f"{which}_direction", "whole", "cosine", "up", value, prompts=both)
        value = partial(ask.accuracy, which=which)
        yield Metric(f"{which}_accuracy", "whole", "share", "up", value, prompts=both)


METRICS: dict[str, Metric] = {
    metric.name: metric for metric in (*_pixel_metrics(), *_lpips_metrics(), *_network_metrics())
}
