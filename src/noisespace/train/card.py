"""The model card: what a model is, how it was made, and what was measured of it."""

from __future__ import annotations

import hashlib
from typing import Any

from noisespace.models.pipeline import networks_of
from noisespace.train.folder import Folder
from noisespace.train.run import Trained

TITLES = {
    "scenes": "Procedural scenes",
    "photos": "Photographs of produce and garments",
}
ABOUT = {
    "scenes": """It was trained from nothing on procedural pictures of 64 x 64 pixels: one or two
coloured, textured shapes on a background. It is meant for tests, demonstrations and measurements
of inversion and editing, where the true edit is known; it draws nothing else. It has seen no
photograph, no person and no text but its own captions.""",
    "photos": """It was trained from nothing on 5,708 real photographs of 128 x 128 pixels: fruit,
vegetables and cartons in shops, and single garments, captioned such as "a photo of granny smith
apple" and "a photo of a navy t-shirt". It edits photographs of that kind, roughly: colours of
garments, kinds of produce. It draws nothing else and knows no words but those of these captions
(captions.json). The garments lie or hang; where people wear them they are seen in part.""",
}
LICENCES = {
    "scenes": "Licence: Apache-2.0, as the code that made it.",
    "photos": """The weights: Apache-2.0. They learned from two data sets, which are not part of
this project: GroceryStoreDataset by Marcus Klasson and others (MIT licence) and
clothing-dataset-small by Alexey Grigorev and others (CC0 1.0). Colours of the garments were
computed from their pixels.""",
}
# of captions.json, one a line, sorted: by them the data of an embedded model are known, not by a
# folder's name, which says nothing of what is in it
CAPTIONS = {"c94ee1e7e7781bb2e94fc56e4351910468c5cf6b88a0d7db51eff3ab86deb9a6": "photos"}
OTHER_DATA = """It was trained from nothing on {training} captioned images of "{name}" at {size} x
{size} pixels, and knows no words but those of their captions (captions.json)."""
OTHER_LICENCE = "The licences of the images that it learned from bind it too."


def embedded(trained: Trained) -> str | None:
    """The embedded model that this is another training of; None for other data."""
    if not isinstance(trained.data, Folder):
        return "scenes"
    text = "\n".join(sorted(trained.data.patterns()))
    return CAPTIONS.get(hashlib.sha256(text.encode()).hexdigest())


def model_card(trained: Trained, figures: dict[str, Any]) -> str:
    """MODEL_CARD.md; without figures, a snapshot's."""
    config, pipe = trained.config, trained.pipeline
    networks = networks_of(pipe).values()
    millions = sum(p.numel() for n in networks for p in n.parameters()) / 1e6
    known = embedded(trained)
    name = known or config.name
    if known is not None:
        about, licence = ABOUT[known], LICENCES[known]
    else:
        data: Any = trained.data
        count = len(data.numbers(unseen=False))
        about = OTHER_DATA.format(training=count, name=name, size=config.size)
        licence = OTHER_LICENCE
    parts = [
        f"# {name}",
        "A small Stable Diffusion pipeline (AutoencoderKL, UNet2DConditionModel, CLIPTextModel,\n"
        f"DDIMScheduler) of {millions:.1f} million parameters. {about}",
        f"Trained by `{config.command}` (seed {config.seed}): {stages(trained)}.",
        *measured(figures),
        licence,
    ]
    return "\n\n".join(parts) + "\n"


def stages(trained: Trained) -> str:
    """What each stage took."""
    return ", ".join(
        f"{name} {stage.samples} samples in {stage.seconds / 60:.0f} minutes"
        for name, stage in trained.outcomes.items()
    )


def measured(figures: dict[str, Any]) -> list[str]:
    """Paragraphs of figures: those of scenes, or of captioned images."""
    if not figures:
        return ["A snapshot: nothing of it was measured."]
    return of_scenes(figures) if "shown" in figures else of_images(figures)


def of_scenes(figures: dict[str, Any]) -> list[str]:
    shown, kept = figures["shown"], figures["held-out"]
    named = ", ".join(f"{what} {share:.0%}" for what, share in figures["alignment"].items())
    return [
        f"Reconstruction of held-out scenes: {figures['reconstruction_db']['mean']} dB. Shape, "
        f"colour and background\nall as asked (guidance {figures['guidance']}, 50 DDIM steps): "
        f"{shown['joint']:.1%} of {shown['pictures']:.0f} prompts, "
        f"{kept['joint']:.1%} of {kept['pictures']:.0f}\nwith a held-out combination; texture: "
        f"{shown['texture']:.1%} and {kept['texture']:.1%}.",
        "alignment/ holds two towers (VisionTextDualEncoderModel: a ResNet and a CLIPTextModel)\n"
        "that embed pictures and captions. Named on held-out scenes, one attribute at a time: "
        f"{named}.\nIt is no CLIP: it knows these pictures and captions alone.",
    ]


def of_images(figures: dict[str, Any]) -> list[str]:
    coded, samples = figures["reconstruction_db"], figures["samples"]
    named = ", ".join(f"{what} {share:.0%}" for what, share in figures["alignment"].items())
    found = [
        f"Reconstruction of {coded['pictures']} unseen images: {coded['mean']} dB on average "
        f"(worst {coded['worst']} dB).",
        "alignment/ holds two towers (VisionTextDualEncoderModel: a ResNet and a CLIPTextModel)\n"
        "that embed pictures and captions. The nearest of all captions is right on unseen images "
        f"in\nthese shares: {named}. It is no CLIP: it knows these pictures and captions alone.",
        f"Of {samples['pictures']} samples (guidance {figures['guidance']}, 50 DDIM steps) "
        f"{figures['memorised']['copies']:.1%} are nearer to a training image\nthan 99 in 100 "
        "unseen images are (32 x 32 pixels, root mean square).",
    ]
    if judged := samples.get("classifier"):
        real = samples["classifier on real unseen pictures"]
        shares = ", ".join(f"{k} {v:.1%} (real images: {real[k]:.1%})" for k, v in judged.items())
        found.insert(
            1,
            f"A classifier trained on the real images agrees with the prompts of "
            f"{samples['pictures']} samples\n(guidance {figures['guidance']}) in: {shares}.",
        )
    return found
