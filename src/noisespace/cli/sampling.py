"""``noisespace sample``: pictures from text alone."""

from __future__ import annotations

from typing import Annotated

import typer

from noisespace.cli import options as o
from noisespace.cli.outcome import Clock, finish, progress, say
from noisespace.cli.outputs import check_outputs, numbered
from noisespace.cli.work import say_memory


def sample(
    prompt: Annotated[list[str], typer.Argument(help="What to draw; one picture a prompt.")],
    out: o.Out,
    model: o.Model = "scenes",
    steps: o.StepsOrTimes = None,
    guidance: Annotated[float | None, typer.Option("--guidance", help="w; 1 is off.")] = None,
    negative: o.Negative = None,
    eta: Annotated[
        float, typer.Option("--eta", help="Noise of the steps: 0 is DDIM, 1 is DDPM.")
    ] = 0.0,
    seed: o.Seed = 0,
    seeds: o.Seeds = 1,
    size: o.Size = None,
    dtype: o.Dtype = "auto",
    device: o.Device = "auto",
    preset: o.Preset = None,
    compiled: o.Compile = False,
    offload: o.Offload = None,
    cache: o.Cache = None,
    tiling: o.Tiling = False,
    quantize: o.Quantize = None,
    lora: o.Lora = None,
    embedding: o.Embedding = None,
    vae: o.Vae = None,
    prediction: o.Prediction = None,
    weights: o.Weights = None,
    clip_skip: o.ClipSkip = None,
    as_json: o.Json = False,
    force: o.Force = False,
) -> None:
    """Samples pictures: every prompt with every seed, seed by seed, in one batch.

    Several become out-1.png, out-2.png, ... in that order.
    """
    clock = Clock()
    paths = numbered(out, len(prompt) * seeds)
    record = out.with_suffix(".json")
    check_outputs(paths, [record], force=force)
    working = o.parse_size(size)
    from noisespace.api import sample as draw
    from noisespace.core.transition import check_eta
    from noisespace.inversion import DDIM
    from noisespace.pictures.metadata import save_png
    from noisespace.planning.inputs import sample_size
    from noisespace.system.files import write_json

    check_eta(eta)
    o.check_early(DDIM(), steps, (guidance,), range(seed, seed + seeds))
    speed = {"preset": preset, "compile": compiled, "offload": offload}
    speed |= {"cache": cache, "tiling": tiling, "quantize": quantize}
    added = {"lora": lora, "embedding": embedding, "vae": vae, "prediction": prediction}
    added |= o.reading(weights, clip_skip, [*prompt, negative])
    loaded = o.load_model(model, dtype, device, **speed, **added)
    say_memory(loaded, len(prompt) * seeds, sample_size(loaded, working))
    prompts = prompt * seeds
    numbers = [seed + i for i in range(seeds) for _ in prompt]
    settings = {"steps": steps, "guidance": guidance, "eta": eta, "size": working}
    settings["negative"] = negative
    with clock.on("sample"), progress("sampling") as show:
        result = draw(loaded, prompts, seed=numbers, progress=show, **settings)
    used = result.record
    say(f"sample: {used['steps']} steps, guidance {used['guidance']:g}, eta {used['eta']:g}")
    for i, path in enumerate(paths):
        save_png(path, result.images[i], result.record_of(i), force=force)
    pictures = [{"path": str(p), "record": result.record_of(i)} for i, p in enumerate(paths)]
    document = {"pictures": pictures, "seconds": clock.all()}
    write_json(record, document, force=force)
    finish(document, [str(p) for p in [*paths, record]], as_json)
