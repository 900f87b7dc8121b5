"""``noisespace attention``: where each word of the source prompt looks, drawn over the picture."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from noisespace.cli import options as o
from noisespace.cli.outcome import Clock, finish
from noisespace.cli.outputs import check_outputs, save_sheet
from noisespace.cli.work import invert_image, words_of
from noisespace.errors import InputError
from noisespace.planning.parsing import parse_method


def attention(
    image: Annotated[Path, typer.Argument(help="A picture.")],
    source: o.Source,
    out: o.Out,
    word: Annotated[
        list[str] | None,
        typer.Option("--word", help="A word or phrase; repeat. Default: every word."),
    ] = None,
    method: o.Method = "edit-friendly",
    model: o.Model = "scenes",
    steps: o.Steps = None,
    source_guidance: o.SourceGuidance = None,
    seed: o.Seed = 0,
    size: o.Size = None,
    captioner: o.Captioner = None,
    dtype: o.Dtype = "auto",
    device: o.Device = "auto",
    lora: o.Lora = None,
    embedding: o.Embedding = None,
    vae: o.Vae = None,
    prediction: o.Prediction = None,
    weights: o.Weights = None,
    clip_skip: o.ClipSkip = None,
    as_json: o.Json = False,
    force: o.Force = False,
) -> None:
    """Draws the cross-attention map of each word of --source over the picture."""
    clock = Clock()
    check_outputs([out], inputs=[image], force=force)
    how, working, pixels = parse_method(method), o.parse_size(size), o.read_image(image)
    o.check_early(how, steps, (source_guidance,), [seed])
    added = {"lora": lora, "embedding": embedding, "vae": vae, "prediction": prediction}
    added |= o.reading(weights, clip_skip, [source])
    loaded = o.load_model(model, dtype, device, **added)
    o.check_guidance(loaded, source_guidance)
    words = words_of(loaded, pixels, source, captioner, working)
    check_words(loaded, words.text, word)
    from noisespace.api import attention_maps

    settings = {"steps": steps, "guidance": source_guidance, "size": working}
    code = invert_image(loaded, pixels, words, how, [seed], **settings)
    found = attention_maps(loaded, code, word)
    named = list(zip(found.words[0], found.maps[0].float().cpu().numpy(), strict=True))
    draw(out, pixels, words.text, named, force)
    document = {
        "sheet": str(out),
        "words": [{"word": w, "mean": float(m.mean()), "max": float(m.max())} for w, m in named],
        "seconds": clock.all(),
    }
    finish(document, [str(out)], as_json)


def check_words(model: Any, source: str, words: list[str] | None) -> None:
    """Refuses words that the prompt lacks before anything is inverted."""
    from noisespace.editing.attention.token_alignment import find_word

    if not model.has_text:
        return
    if not source.strip():
        raise InputError("--source is empty: give the prompt whose words are to be shown")
    tokens = model.embed([source]).tokens[0]
    for word in words or []:
        find_word(tokens, word, source)


def draw(out: Path, pixels: Any, source: str, named: list[tuple[str, Any]], force: bool) -> None:
    """The picture, then each word's map over it, brightest where the word looks most."""
    from noisespace.pictures.sheet import Cell, heat

    cells = [
        Cell(heat(pixels, values), word, f"{values.mean():.3f} of the attention")
        for word, values in named
    ]
    rows = [cells[i : i + 4] for i in range(0, len(cells), 4)]
    save_sheet(out, [[Cell(pixels, "input")], *rows], source, force)
