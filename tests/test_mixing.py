"""A model whose pipeline guides in another way than null + w (text - null) fits the contracts."""

import numpy as np
import pytest
import torch

import noisespace as ns
from noisespace.core.backbone import affine
from noisespace.core.prediction import Prediction
from noisespace.models.base import ModelWrapper
from tiny import double, tiny_sd, tiny_sd3

PICTURE = np.random.default_rng(1).integers(0, 256, (32, 32, 3), dtype=np.uint8)
SOURCE, TARGET = "a photo of a cat", "a photo of a dog"


class NormKept(ModelWrapper):
    """Guidance as Qwen-Image has it: the mixed output as long, at each place, as the text's."""

    def mixing(self, null, text, w, x, level):
        kind = self.model.schedule.kind
        mixed = affine(null, text, w, x, level)

        def output(one):
            return one.eps - one.x0 if kind == "flow" else one.eps

        length = output(text).norm(dim=1, keepdim=True) / output(mixed).norm(dim=1, keepdim=True)
        return Prediction.from_output(kind, output(mixed) * length, x, level)


@pytest.fixture(scope="module", params=[tiny_sd, tiny_sd3], ids=["sd", "sd3"])
def models(request):
    plain = ns.from_pipeline(double(request.param()))
    return plain, NormKept(plain)


@pytest.mark.parametrize("method", [ns.EditFriendly(skip=0), ns.CycleDiffusion(), ns.Direct()])
def test_its_codes_are_exact_and_its_edits_are_its_own(models, method):
    plain, model = models
    code = ns.invert(model, PICTURE, SOURCE, method, steps=6, guidance=3.0)
    assert (ns.reconstruct(model, code).latents - code.path[-1]).abs().max() < 1e-8
    edit = ns.edit(model, code, TARGET, guidance=5.0).latents
    assert torch.isfinite(edit).all()
    away = (ns.edit(plain, code, TARGET, guidance=5.0).latents - edit).abs().max()
    assert away > 1e-3  # the mixing is asked
    at_one = [ns.edit(one, code, TARGET, guidance=1.0).latents for one in models]
    assert torch.equal(*at_one)


def test_rows_editors_and_samples(models):
    _, model = models
    code = ns.invert(model, [PICTURE, 255 - PICTURE], SOURCE, steps=5, guidance=3.0)
    editor = ns.PromptToPrompt()
    both = ns.edit(model, code, [[TARGET, "a red cat"]] * 2, editor=editor, guidance=4.0).latents
    one = ns.invert(model, 255 - PICTURE, SOURCE, steps=5, guidance=3.0)
    alone = ns.edit(model, one, "a red cat", editor=editor, guidance=4.0).latents[0]
    torch.testing.assert_close(both[3], alone, atol=1e-8, rtol=0)
    samples = [ns.sample(one, SOURCE, steps=4, guidance=4.0).latents for one in models]
    assert (samples[0] - samples[1]).abs().max() > 1e-3


def test_an_embedding_is_tuned_under_it(models):
    plain, model = models
    method = ns.NullText(solver="gauss-newton", guidance=3.0)
    code = ns.invert(model, PICTURE, SOURCE, method, steps=4)
    near = (ns.reconstruct(model, code).latents - code.path[-1]).abs().max()
    far = (ns.reconstruct(plain, code).latents - code.path[-1]).abs().max()
    assert near < far  # random networks are hard to tune
