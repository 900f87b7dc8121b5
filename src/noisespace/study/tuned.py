"""Null-text inversion, its ablations, and what it is compared with."""

from __future__ import annotations

from dataclasses import replace

from noisespace.inversion import (
    BELM,
    DDIM,
    EDICT,
    NegativePrompt,
    NullText,
    PromptTuning,
    TextualInversion,
)


def variants(w: float) -> dict[str, object]:
    """What is compared; every optimisation for the same guidance."""
    null = NullText(guidance=w, solver="gauss-newton")
    return {
        "ddim": DDIM(),
        "null-text": null,
        "null-text, 10 iterations": replace(null, iterations=10),
        "null-text, adam": replace(null, solver="adam"),
        "null-text, random caption": null,
        "null-text, 10 iterations, random caption": replace(null, iterations=10),
        "negative-prompt": NegativePrompt(),
        "prompt-tuning": PromptTuning(guidance=w, solver="gauss-newton"),
        "edict": EDICT(),
        "belm": BELM(),
        **ablations(w),
    }


def ablations(w: float) -> dict[str, NullText | TextualInversion]:
    """Those of arXiv 2211.09794, each tuned by Adam as published, for guidance ``w``."""
    null = NullText(guidance=w, solver="gauss-newton")
    return {
        "ablation: random pivot": replace(null, solver="adam", pivot="random"),
        "ablation: global null": replace(null, share="global"),
        "ablation: no pivot": replace(null, pivot="none"),
        "ablation: textual inversion": TextualInversion(guidance=w),
        "ablation: textual inversion, pivot": TextualInversion(guidance=w, pivot=True),
    }
