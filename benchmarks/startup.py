"""What a script with diffusers alone takes to its first step: the baseline of start-up.

python benchmarks/startup.py FOLDER
"""

import sys
from pathlib import Path

import torch
from diffusers import StableDiffusionPipeline

from noisespace.models.loading import EMBEDDED

pipe = StableDiffusionPipeline.from_pretrained(
    EMBEDDED["scenes"],
    torch_dtype=torch.float32,
    safety_checker=None,
    feature_extractor=None,
    requires_safety_checker=False,
)
picture = pipe("a plain red circle on a blue background", num_inference_steps=1).images[0]
picture.save(Path(sys.argv[1]) / "baseline.png")
