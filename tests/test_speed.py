"""What makes it fast stays: counts of evaluations and rows, and results within a tolerance."""

import copy
import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import noisespace as ns
from noisespace.bench.costs import costing
from noisespace.core import batching as parts
from noisespace.core.batching import BatchLimit, batch_rows, in_batches, with_batching
from noisespace.errors import InputError, RunError
from noisespace.models.base import ModelWrapper
from noisespace.models.caching import Cached, Shallow, watch_features
from noisespace.models.diffusion import DiffusionModel
from noisespace.models.loading import EMBEDDED, usual_dtype
from noisespace.models.memory import parameters_of
from noisespace.models.packed import Packed, pack_convolutions, works
from noisespace.models.speed import Speed, by_layers
from noisespace.train.draw import held_out_scene
from tiny import double, tiny_flux, tiny_pixels, tiny_sd, tiny_sd3, tiny_sdxl

IMAGE = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
NEAR = 33  # dB between an edit with cached features and the whole one
PROMPT, OTHER = "a photo of a cat", "a photo of a dog"
STEPS = 10


class Spy(ModelWrapper):
    """A model that counts the rows of every evaluation; short of memory above ``most`` rows."""

    def __init__(self, model, most=10**6):
        object.__setattr__(self, "model", model)
        object.__setattr__(self, "most", most)
        object.__setattr__(self, "rows", [])
        object.__setattr__(self, "prompts", [])
        object.__setattr__(self, "failures", [])

    def denoise(self, x, level, text, touch=None):
        if len(x) > self.most:
            self.failures.append(len(x))
            raise torch.OutOfMemoryError("CUDA out of memory")
        self.rows.append(len(x))
        return self.model.denoise(x, level, text, touch)

    def embed(self, prompts):
        self.prompts.append(list(prompts))
        return self.model.embed(prompts)


@pytest.fixture(scope="module")
def model():
    return ns.from_pipeline(double(tiny_sd()))


@pytest.fixture(scope="module")
def single():
    return ns.from_pipeline(tiny_sd())


def spied(model, **options):
    spy = Spy(model, **options)
    code = ns.invert(spy, IMAGE, PROMPT, ns.EditFriendly(), steps=STEPS, guidance=3.5)
    return spy, code


# counts: each fails when someone makes it slower


def test_an_inversion_is_one_batch_of_the_steps_that_run(model):
    spy, code = spied(model)
    # both guides of 6 steps (4 are skipped), then of the first state twice, for the lattice
    assert spy.rows == [2 * (STEPS - code.first), 4]
    spy = Spy(model)
    ns.invert(spy, IMAGE, PROMPT, ns.EditFriendly(lattice=False), steps=STEPS, guidance=3.5)
    assert spy.rows == [2 * (STEPS - code.first)]


def test_an_inversion_without_guidance_evaluates_once(model):
    spy = Spy(model)
    code = ns.invert(spy, IMAGE, PROMPT, ns.EditFriendly(), steps=STEPS, guidance=1.0)
    assert spy.rows == [STEPS - code.first, 2]
    spy = Spy(model)
    ns.invert(spy, IMAGE, PROMPT, ns.DDIM(), steps=STEPS)
    assert spy.rows == [1] * STEPS


@pytest.mark.parametrize("make", [tiny_sd, tiny_sdxl, tiny_sd3, tiny_flux])
def test_every_family_takes_the_same_evaluations(make):
    """As Stable Diffusion; a network that is told its guidance takes half of the rows."""
    spy = Spy(ns.from_pipeline(make()))
    guides = 2 if spy.has_null else 1
    settings = {"steps": STEPS, "size": 32}
    code = ns.invert(spy, IMAGE, PROMPT, ns.EditFriendly(), guidance=3.5, **settings)
    run = STEPS - code.first
    assert spy.rows == [guides * run, 2 * guides]
    spy.rows.clear()
    ns.edit(spy, code, [OTHER, PROMPT], guidance=3.0)
    assert spy.rows == [2 * guides] * run
    spy.rows.clear()
    ns.invert(spy, IMAGE, PROMPT, ns.DDIM(), **settings)
    assert spy.rows == [1] * STEPS


@pytest.mark.parametrize(("w", "each"), [(1.0, 1), (15.0, 2)])
def test_an_edit_is_one_evaluation_a_step(model, w, each):
    spy, code = spied(model)
    spy.rows.clear()
    ns.edit(spy, code, OTHER, guidance=w)  # a frozen code needs no source row
    assert spy.rows == [each] * (STEPS - code.first)


def test_eight_prompts_are_one_batch(model):
    spy, code = spied(model)
    spy.rows.clear()
    ns.edit(spy, code, [OTHER] * 8, guidance=15.0)
    assert spy.rows == [16] * (STEPS - code.first)


def test_guidance_counts_the_rows_that_have_it(model):
    """A live source row at w = 1 beside a target at w = 15: three rows, not four."""
    spy = Spy(model)
    code = ns.invert(spy, IMAGE, PROMPT, ns.EditFriendly(live=True), steps=STEPS, guidance=1.0)
    assert spy.rows == []  # a live code needs no network
    ns.edit(spy, code, OTHER, guidance=15.0)
    assert spy.rows == [3] * (STEPS - code.first)


def test_prompts_are_embedded_once(model):
    spy = Spy(model)
    images, prompts = [IMAGE] * 3, [PROMPT] * 3
    code = ns.invert(spy, images, prompts, ns.EditFriendly(), steps=STEPS)
    assert spy.prompts == [[PROMPT], [None]]
    spy.prompts.clear()
    ns.edit(spy, code, [[OTHER, PROMPT]] * 3)
    assert [set(prompts) for prompts in spy.prompts] == [{PROMPT, None}, {PROMPT, OTHER}]


@pytest.mark.parametrize("solver", ["gauss-newton", "adam"])
def test_null_text_evaluates_no_more_than_it_needs(model, solver):
    """A try of the memory, the ascent, the text once a step, iterations, and where a step ends."""
    spy = Spy(model)
    method = ns.NullText(guidance=3.0, solver=solver, tolerance=0.0)
    ns.invert(spy, IMAGE, PROMPT, method, steps=STEPS)
    iterations = [10] * STEPS if solver == "adam" else [1] * 8 + [5] * 2
    passes = 1 if solver == "adam" else 2  # a direction's image is another
    assert spy.rows == [1] * (2 + STEPS + sum(1 + passes * n + 1 for n in iterations))


def test_a_cached_replay_counts_the_weights_twice_at_most(single, monkeypatch):
    counted = []
    monkeypatch.setattr(
        "noisespace.models.diffusion.weights_of", lambda unet: counted.append(unet) or 10**12
    )
    fresh = replace(single)  # nothing counted yet
    code = ns.invert(fresh, IMAGE, PROMPT, ns.DDIM(), steps=STEPS)
    before = len(counted)
    ns.edit(Cached(fresh, 2), code, OTHER)
    assert [before, len(counted) - before] == [1, 2]  # a whole and a shallow variant, once each


def test_the_network_runs_in_inference_mode(model):
    seen = []

    def look(module, args):
        seen.append(torch.is_inference_mode_enabled())

    handle = model.network.register_forward_pre_hook(look)
    try:
        code = ns.invert(model, IMAGE, PROMPT, ns.EditFriendly(), steps=STEPS)
        ns.edit(model, code, OTHER)
    finally:
        handle.remove()
    assert seen
    assert all(seen)
    with torch.no_grad():
        level, text = model.grid(STEPS).level(code.first), model.embed([PROMPT])
        assert not model.denoise(code.path[0], level, text).eps.is_inference()
    assert not code.path.is_inference()
    assert not code.residual.is_inference()  # both can be tuned by gradients later on


def test_a_code_holds_the_steps_that_run_and_no_more(model):
    _, code = spied(model)
    state = 4 * 8 * 8 * 8  # bytes of a float64 latent
    run = STEPS - code.first
    assert code.path.nbytes == (run + 1) * state
    assert code.residual.nbytes == run * state


class Shapes(TorchDispatchMode):
    """The last two sides of every tensor of four axes that is made: (batch, head, ...) of maps."""

    def __init__(self):
        super().__init__()
        self.seen = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        some = [x for x in tree_leaves(out) if isinstance(x, torch.Tensor)]
        self.seen |= {tuple(x.shape[-2:]) for x in some if x.ndim == 4}
        return out


def test_attention_maps_are_made_only_where_an_editor_reads_them(single):
    """Of the U-Net: neither encoded nor decoded here."""
    tokens, words = 8 * 8, 16
    x0 = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))

    def made(**options):
        with Shapes() as shapes:
            code = ns.invert(single, x0, PROMPT, ns.EditFriendly(), steps=STEPS)
            list(ns.edit_steps(single, code, OTHER, **options))
        return shapes.seen

    plain = made()
    assert (8, 8) in plain  # latents
    assert not {(tokens, tokens), (tokens, words)} & plain
    assert (tokens, words) in made(editor=ns.PromptToPrompt())


# batches that adapt to memory


@pytest.mark.parametrize("most", [1, 3, 5])
def test_batches_are_halved_until_they_fit_and_results_stay(model, most):
    targets = [[OTHER, "a horse"], ["a tiger", OTHER]]

    def run(most):
        spy = Spy(model, most=most)
        code = ns.invert(spy, [IMAGE, IMAGE[::-1]], PROMPT, steps=STEPS, guidance=3.5, seed=[1, 2])
        return spy, code, ns.edit(spy, code, targets, guidance=5.0).latents

    _, whole, expected = run(10**6)
    spy, code, got = run(most)
    assert spy.failures
    assert max(spy.rows) <= most
    torch.testing.assert_close(code.residual, whole.residual, atol=1e-9, rtol=1e-9)
    torch.testing.assert_close(got, expected, atol=1e-9, rtol=1e-9)


def test_what_was_learnt_of_memory_stays_for_the_loop(model):
    spy = Spy(model, most=4)
    ns.sample(spy, [PROMPT] * 8, steps=6, guidance=1.0, seed=list(range(8)))
    assert spy.failures == [8]  # once in six steps
    assert spy.rows == [4, 4] * 6


def test_an_ascent_and_an_encoding_adapt_too(model):
    spy = Spy(model, most=2)
    code = ns.invert(spy, [IMAGE] * 4, PROMPT, ns.DDIM(), steps=3)
    assert code.path.shape[1] == 4
    assert spy.failures == [4]


def test_one_state_too_much_is_said():
    with pytest.raises(RunError, match="smaller size"):
        in_batches(lambda rows: (_ for _ in ()).throw(MemoryError()), 4, BatchLimit(2))


def test_other_errors_are_not_taken_for_memory():
    with pytest.raises(RuntimeError, match="shapes"):
        in_batches(lambda rows: (_ for _ in ()).throw(RuntimeError("shapes")), 4, BatchLimit(2))


def test_under_an_editor_the_batch_stays_whole_and_memory_is_said(model):
    spy = Spy(model, most=3)
    code = ns.invert(spy, IMAGE, PROMPT, steps=STEPS, guidance=1.0)
    with pytest.raises(RunError, match="fewer images or prompts"):
        ns.edit(spy, code, OTHER, guidance=5.0, editor=ns.PromptToPrompt())


def test_rows_of_a_batch_on_a_cpu():
    assert batch_rows(torch.empty(1, 4, 64, 64), 1) == 8
    assert batch_rows(torch.empty(1, 4, 16, 16), 2) == 64  # states under both guides: 128 rows
    assert batch_rows(torch.empty(1, 4, 8, 8), 2) == 128
    assert batch_rows(torch.empty(1, 4, 512, 512), 1) == 1


def test_what_the_allocator_holds_unused_is_room(monkeypatch):
    """The second inversion of a process has the batches of the first: powers of two."""
    on = SimpleNamespace(shape=(1, 4, 64, 64), device=torch.device("cuda:0"))
    sizes = []
    for free, reserved in ((26, 0), (2, 24)):  # GB; before and after a first inversion
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _, g=free: (g * 10**9, 80 * 10**9))
        monkeypatch.setattr(torch.cuda, "memory_reserved", lambda _, g=reserved: g * 10**9)
        monkeypatch.setattr(torch.cuda, "memory_allocated", lambda _: 0)
        sizes.append(batch_rows(on, 1))
    assert sizes == [32, 32]  # of 63 that fit


def test_a_large_batch_is_cut(model):
    spy, text = Spy(model), model.embed([PROMPT] * 300)
    x, level = torch.randn(300, 4, 8, 8, dtype=torch.float64), model.grid(STEPS).level(3)
    with_batching(spy.denoise)(x, level, text)
    assert spy.rows == [256, 44]


def test_halves_are_of_what_there_is():
    seen = []

    def work(rows):
        seen.append(len(rows))
        if len(rows) > 3:
            raise MemoryError

    room = BatchLimit(200)
    in_batches(work, 12, room)
    assert (seen, room.size) == ([12, 6, 3, 3, 3, 3], 3)


def test_pictures_are_encoded_some_at_a_time(model, monkeypatch):
    """A decoder's picture at a time, an encoder's by the room: not a whole batch at once."""
    rows, encode = [], DiffusionModel.encode

    def counted(self, pixels):
        rows.append(len(pixels))
        return encode(self, pixels)

    monkeypatch.setattr(DiffusionModel, "encode", counted)
    monkeypatch.setattr(parts, "CPU_POSITIONS", 2 * 8 * 8 * 8)  # two pictures of 8 x 8 latents
    ns.invert(model, [IMAGE] * 5, PROMPT, ns.EditFriendly(live=True), steps=STEPS)
    assert rows == [2, 2, 1]


# caching


@pytest.mark.parametrize("cross", [True, False])
def test_the_outer_blocks_under_their_own_features_are_the_network(cross):
    torch.manual_seed(0)
    from diffusers import UNet2DConditionModel

    kinds = ("CrossAttnDownBlock2D", "DownBlock2D"), ("UpBlock2D", "CrossAttnUpBlock2D")
    down, up = kinds if cross else (kinds[0][::-1], kinds[1][::-1])
    unet = UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(16, 32),
        layers_per_block=2,
        down_block_types=down,
        up_block_types=up,
        cross_attention_dim=32,
        attention_head_dim=4,
        norm_num_groups=8,
    ).double()
    x, text = torch.randn(2, 4, 8, 8).double(), torch.randn(2, 5, 32).double()
    t = torch.tensor(400.0)
    with torch.no_grad(), watch_features(unet) as seen:
        expected = unet(x, t, encoder_hidden_states=text).sample
    with torch.no_grad():
        got = Shallow(unet, seen[0])(x, t, encoder_hidden_states=text).sample
        other = Shallow(unet, seen[0] + 1)(x, t, encoder_hidden_states=text).sample
    torch.testing.assert_close(got, expected, atol=1e-12, rtol=1e-12)
    assert (other - expected).abs().max() > 1e-3


def evaluations(model, cached, code, **options):
    """Whole and shallow evaluations of an edit."""
    whole = []
    handle = model.network.mid_block.register_forward_pre_hook(lambda *_: whole.append(1))
    try:
        result = ns.edit(cached, code, OTHER, **options)
    finally:
        handle.remove()
    return len(whole), result.latents


def test_caching_evaluates_every_other_step_in_full(model):
    code = ns.invert(model, IMAGE, PROMPT, ns.EditFriendly(skip=0), steps=12, guidance=1.0)
    counted = {every: evaluations(model, Cached(model, every), code) for every in (1, 2, 3)}
    assert [counted[every][0] for every in (1, 2, 3)] == [12, 6, 4]
    exact = ns.edit(model, code, OTHER).latents
    torch.testing.assert_close(counted[1][1], exact, atol=1e-12, rtol=1e-12)
    assert (counted[2][1] - exact).abs().max() > 1e-3


@pytest.mark.parametrize("number", [0, 1])
def test_caching_stays_within_its_tolerance(number):
    """On a trained network, in edits that come near the true ones; too much caching does not."""
    model, scene = ns.load("scenes"), held_out_scene(number)
    code = ns.invert(model, scene.render(), scene.caption, steps=50)
    true = scene.edited(colour="red" if scene.objects[0].colour != "red" else "blue")

    def edited(cached):
        return np.array(ns.edit(cached, code, true.caption).images[0], float)

    def psnr(a, b):
        return 10 * np.log10(255**2 / np.mean((a - b) ** 2))

    whole = edited(model)
    assert psnr(whole, np.asarray(true.render(), float)) > 24
    assert psnr(whole, edited(Cached(model, 2))) > NEAR
    assert psnr(whole, edited(Cached(model, 25))) < NEAR


def test_caching_keeps_parts_apart(model, monkeypatch):
    """In batches that are cut every part has features of its own."""
    code = ns.invert(model, [IMAGE, IMAGE[::-1]], PROMPT, steps=STEPS, guidance=1.0, seed=[1, 2])
    alone = ns.edit(Cached(model, 2), code, [[OTHER], [OTHER]], guidance=5.0)
    monkeypatch.setattr(parts, "MOST", 8)
    cut = ns.edit(Cached(model, 2), code, [[OTHER] * 6] * 2, guidance=5.0)  # 24 rows: three parts
    torch.testing.assert_close(cut.latents[:1], alone.latents[:1], atol=1e-9, rtol=1e-9)
    torch.testing.assert_close(cut.latents[-1:], alone.latents[1:], atol=1e-9, rtol=1e-9)


def test_caching_gives_rows_their_own_features_where_memory_runs_out(model, monkeypatch):
    """A batch that had to be halved shifts the parts, but no row gets another row's features."""
    drawn = torch.Generator().manual_seed(0)
    x, text = torch.randn(8, 4, 8, 8, generator=drawn).double(), model.embed([PROMPT] * 8)
    grid, given = model.grid(STEPS), []
    with torch.no_grad(), watch_features(model.network) as seen:
        model.denoise(x, grid.level(3), text)
    expected = seen[0]

    class Telling(Shallow):
        def __call__(self, *args, **options):
            given.append(self.deep)
            return super().__call__(*args, **options)

    def short(module, args):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr("noisespace.models.caching.Shallow", Telling)
    loop = Cached(model, 4).begin()
    with torch.no_grad():
        handle = model.network.conv_in.register_forward_pre_hook(short)
        with pytest.raises(torch.OutOfMemoryError):
            loop(x, grid.level(3), text)
        handle.remove()
        for level in (grid.level(3), grid.level(4)):
            for rows in (slice(0, 4), slice(4, 8)):
                loop(x[rows], level, text.rows(range(8)[rows]))
    assert len(given) == 2
    torch.testing.assert_close(torch.cat(given), expected, atol=1e-9, rtol=1e-9)


def test_what_is_differentiated_is_not_cached(model):
    loop, level, text = Cached(model, 2).begin(), model.grid(STEPS).level(3), model.embed([PROMPT])
    x = torch.randn(1, 4, 8, 8).double().requires_grad_(True)
    with torch.enable_grad():
        for at in (level, model.grid(STEPS).level(4)):
            (grad,) = torch.autograd.grad(loop(x, at, text).eps.sum(), x)
            assert grad.abs().max() > 0
    assert loop.kept == {}


def test_costs_of_a_model_that_caches_are_those_of_its_caching(model):
    code = ns.invert(model, IMAGE, PROMPT, ns.EditFriendly(skip=0), steps=12, guidance=1.0)
    result, cost = costing(Cached(model, 2), lambda m: ns.edit(m, code, OTHER, guidance=1.0))
    expected = ns.edit(Cached(model, 2), code, OTHER, guidance=1.0).latents
    torch.testing.assert_close(result.latents, expected, atol=0, rtol=0)
    assert cost.evaluations == 12


def test_caching_leaves_editors_their_network(model):
    code = ns.invert(model, IMAGE, PROMPT, steps=STEPS, guidance=1.0)
    editor = {"editor": ns.PromptToPrompt(), "guidance": 3.0}
    expected = ns.edit(model, code, OTHER, **editor).latents
    got = ns.edit(Cached(model, 2), code, OTHER, **editor).latents
    torch.testing.assert_close(got, expected, atol=1e-12, rtol=1e-12)


def test_caching_is_recorded_and_refused_where_it_cannot_be(model):
    code = ns.invert(model, IMAGE, PROMPT, steps=STEPS)
    assert ns.edit(Cached(model, 2), code, OTHER).record["model"]["cache"] == 2
    assert "cache" not in ns.edit(model, code, OTHER).record["model"]
    with pytest.raises(InputError, match="caching is for"):
        Cached(ns.from_pipeline(tiny_pixels()), 2)
    for wrong in (0, 1.5, True, 101):
        with pytest.raises(InputError, match="1 to 100"):
            Cached(model, wrong)


# compiled code, autocast, offload, tiling


def test_compiled_code_serves_replays_and_nobody_who_looks_inside(single):
    calls = []

    def compiled(*args, **kwargs):
        calls.append(torch.is_grad_enabled())
        return single.network(*args, **kwargs)

    fast = replace(single, call=compiled)
    code = ns.invert(fast, IMAGE, PROMPT, steps=STEPS, guidance=1.0)
    got = ns.edit(fast, code, OTHER, guidance=3.0).latents
    assert len(calls) == 2 + STEPS - code.first  # the inversion's two evaluations
    torch.testing.assert_close(got, ns.edit(single, code, OTHER, guidance=3.0).latents)
    calls.clear()
    ns.edit(fast, code, OTHER, guidance=3.0, editor=ns.PromptToPrompt(self_=1.0, cross=1.0))
    tuned = ns.invert(fast, IMAGE, PROMPT, ns.NullText(guidance=3.0, iterations=1), steps=2)
    assert not any(calls)  # never where gradients are on
    calls.clear()
    fitted_code = ns.invert(fast, IMAGE, PROMPT, ns.UniTune(iterations=1), steps=2)
    ns.edit(fast, fitted_code, OTHER)
    assert calls == []  # an adapter works by hooks
    assert tuned.null is not None


def test_a_network_that_cannot_be_compiled_is_said(folder, monkeypatch):
    from torch._dynamo.exc import TorchDynamoException

    def broken(*_, **__):
        raise TorchDynamoException("no C++ compiler\nand more")

    monkeypatch.setattr(torch, "compile", lambda *_, **__: broken)
    model = ns.load(folder, compile=True)
    with pytest.raises(RunError, match=r"no C\+\+ compiler.*leave out compile"):
        ns.invert(model, IMAGE, PROMPT, steps=STEPS)


def test_autocast_stays_near_and_the_state_float32(single):
    mixed = replace(single, mixed=torch.bfloat16)
    code = ns.invert(mixed, IMAGE, PROMPT, steps=STEPS, guidance=1.0)
    assert code.path.dtype == code.residual.dtype == torch.float32
    x, text, level = code.path[0], single.embed([PROMPT]), code.grid.level(code.first)
    with torch.no_grad():
        exact, near = (m.denoise(x, level, text).eps for m in (single, mixed))
    assert near.dtype == torch.float32
    assert 0 < float((near - exact).norm() / exact.norm()) < 0.03


def test_parts_visit_the_device_and_go_back(single, monkeypatch):
    moves = []
    for name in ("vae", "text_encoder"):
        module = single.vae if name == "vae" else single.family.text.encoder
        to = module.to
        monkeypatch.setattr(
            module,
            "to",
            lambda place, name=name, to=to: moves.append((name, str(place))) or to(place),
        )
    visiting = replace(single, place=torch.device("cpu:0"))
    code = ns.invert(visiting, IMAGE, PROMPT, steps=STEPS)
    got = ns.edit(visiting, code, OTHER).latents
    assert moves[:2] == [("text_encoder", "cpu:0"), ("text_encoder", "cpu")]
    assert ("vae", "cpu:0") in moves
    assert moves[-1] == ("vae", "cpu")
    plain = ns.invert(single, IMAGE, PROMPT, steps=STEPS)
    torch.testing.assert_close(got, ns.edit(single, plain, OTHER).latents, atol=1e-5, rtol=1e-4)


def test_a_part_stays_where_it_is_differentiated(single, monkeypatch):
    moves, to = [], single.vae.to
    monkeypatch.setattr(single.vae, "to", lambda place: moves.append(str(place)) or to(place))
    visiting = replace(single, place=torch.device("cpu:0"))
    x = torch.randn(1, 4, 8, 8).requires_grad_(True)
    with torch.enable_grad():
        visiting.decode(x).sum().backward()
    assert moves == ["cpu:0"]
    assert x.grad is not None


def test_layers_that_rest_are_not_differentiated(single):
    resting = replace(single, place=torch.device("meta"))  # another device than its layers'
    x, text = torch.randn(1, 4, 8, 8), single.embed([PROMPT])
    with torch.enable_grad(), pytest.raises(InputError, match="use offload parts"):
        resting.denoise(x, single.grid(STEPS).level(3), text)


def test_layers_come_and_go_without_a_trace():
    model, resting = ns.from_pipeline(tiny_sd()), ns.from_pipeline(tiny_sd())
    by_layers(resting.network, torch.device("cpu"))
    resting = replace(resting, place=torch.device("cpu"))
    code = ns.invert(model, IMAGE, PROMPT, steps=STEPS)
    expected = ns.edit(model, code, OTHER).latents
    torch.testing.assert_close(ns.edit(resting, code, OTHER).latents, expected)


def test_tiles_are_near_the_whole_picture():
    pipe = tiny_sd()
    model = ns.from_pipeline(pipe)
    x = torch.randn(1, 4, 24, 40, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        whole = model.decode(x)
        pipe.vae.tile_latent_min_size, pipe.vae.tile_sample_min_size = 16, 64
        pipe.vae.enable_tiling()
        tiled = model.decode(x)
    assert tiled.shape == whole.shape
    away = float((tiled - whole).norm() / whole.norm())
    assert 0 < away < 0.25  # a random decoder's norms look at the whole picture


def test_decoding_short_of_memory_says_what_helps(model, monkeypatch):
    code = ns.invert(model, IMAGE, PROMPT, steps=STEPS)

    def short(self, x):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(DiffusionModel, "decode", short)
    with pytest.raises(RunError, match="tiling=True"):
        ns.edit(model, code, OTHER)


# presets


def test_presets():
    cpu, cuda = torch.device("cpu"), torch.device("cuda")
    assert Speed().on(cuda) == Speed()
    assert Speed(offload="none").on(cpu) == Speed()
    assert Speed(preset="exact").on(cpu).dtype == "float64"
    assert Speed(preset="exact").on(torch.device("mps")).dtype == "float32"
    assert Speed(preset="fast").on(cuda).dtype == "bfloat16"
    assert Speed(preset="fast").on(cpu) == Speed(preset="fast")  # float32, and no cache
    assert Speed("float64", "fast", cache=3).on(cuda) == Speed("float64", "fast", cache=3)
    for wrong, place, why in (
        (Speed(preset="quick"), cpu, "fast or exact"),
        (Speed("bfloat16", "exact"), cuda, "exact goes without bfloat16"),
        (Speed("float32", "exact"), cpu, "exact goes without float32"),
        (Speed("mixed", "exact"), cpu, "exact goes without mixed"),
        (Speed(preset="exact", cache=2), cpu, "exact goes without cached features"),
        (Speed(offload="disk"), cuda, "parts or layers"),
        (Speed(offload="parts"), cpu, "already"),
        (Speed(compile=True, cache=2), cuda, "leave one out"),
        (Speed(compile=True, offload="layers"), cuda, "leave one out"),
    ):
        with pytest.raises(InputError, match=why):
            wrong.on(place)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("models") / "tiny"
    tiny_sd().save_pretrained(path)
    return path


def test_a_preset_is_loaded_with_the_model(folder):
    fast, exact = ns.load(folder, preset="fast"), ns.load(folder, preset="exact")
    code = ns.invert(fast, IMAGE, PROMPT)
    assert code.steps == 25  # of 100
    assert "cache" not in ns.edit(fast, code, OTHER).record["model"]
    assert ns.invert(fast, IMAGE, PROMPT, ns.DDIM()).steps == 25  # of 50
    assert ns.invert(fast, IMAGE, PROMPT, ns.DDIM(), steps=30).steps == 30  # as it is given
    assert ns.sample(fast, PROMPT).record["steps"] == 25
    assert exact.dtype == torch.float64
    code = ns.invert(exact, IMAGE, PROMPT, steps=STEPS)
    assert float((ns.reconstruct(exact, code).latents - code.path[-1]).abs().max()) < 1e-10
    tiny_pixels().save_pretrained(folder.parent / "pixels")
    with pytest.raises(InputError, match="autoencoder"):
        ns.load(folder.parent / "pixels", tiling=True)


def test_the_dtype_goes_with_the_family_on_cuda(folder, tmp_path):
    """16 bits for what is large, where a GPU is: by name, so that none is needed to see it."""
    cpu, cuda, mps = (torch.device(name) for name in ("cpu", "cuda", "mps"))
    tiny_sd3(t5=False).save_pretrained(tmp_path / "sd3")
    tiny_pixels().save_pretrained(tmp_path / "pixels")
    for source, expected in (
        (folder, torch.float16),
        (tmp_path / "sd3", torch.bfloat16),
        (tmp_path / "pixels", torch.float32),
        (EMBEDDED["scenes"], torch.float32),
    ):
        parts, embedded = parameters_of(source), source == EMBEDDED["scenes"]
        assert usual_dtype(embedded, parts, cuda) == expected
        assert usual_dtype(embedded, parts, cpu) == torch.float32
        assert usual_dtype(embedded, parts, mps) == torch.float32
    assert ns.load(folder, device="cpu").dtype == torch.float32


def test_an_autoencoder_that_overflows_is_evaluated_in_float32():
    pipe = tiny_sd()
    pipe.vae.to(torch.float16)
    with torch.no_grad():  # a decoder whose features pass float16's 65504, and come back
        pipe.vae.decoder.conv_in.weight *= 2e5
    before = {key: tensor.clone() for key, tensor in pipe.vae.state_dict().items()}
    model = ns.from_pipeline(pipe)
    x = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    pipe.vae.register_to_config(force_upcast=False)
    assert not model.decode(x).isfinite().all()  # as its config has it now
    pipe.vae.register_to_config(force_upcast=True)
    assert model.decode(x).isfinite().all()
    assert model.encode(torch.rand(1, 3, 32, 32)).isfinite().all()
    assert pipe.vae.dtype == torch.float16
    assert all(torch.equal(tensor, before[key]) for key, tensor in pipe.vae.state_dict().items())


def test_dtype_mixed_and_channels_last(folder):
    mixed = ns.load(folder, "mixed")
    assert (mixed.dtype, mixed.mixed) == (torch.float32, torch.bfloat16)
    assert ns.edit(mixed, ns.invert(mixed, IMAGE, steps=2), OTHER).record["model"]["mixed"]
    for layer in (mixed.network.conv_in, mixed.vae.decoder.conv_in, mixed.vae.encoder.conv_in):
        assert layer.weight.is_contiguous(memory_format=torch.channels_last)


def test_the_command_line_takes_them(folder, tmp_path):
    from PIL import Image
    from typer.testing import CliRunner

    from noisespace.cli import app

    Image.fromarray(IMAGE).save(tmp_path / "in.png")
    common = ["edit", str(tmp_path / "in.png"), "--target", OTHER, "--model", str(folder)]
    given = ["-o", str(tmp_path / "a.png"), "--preset", "fast", "--steps", "4", "--json"]
    done = CliRunner().invoke(app, [*common, *given, "--cache", "2", "--tiling"])
    assert done.exit_code == 0, done.output
    record = json.loads(done.stdout)["pictures"][0]["record"]["model"]
    assert (record["cache"], record["tiling"]) == (2, True)
    for wrong in (
        ["--preset", "quick"],
        ["--offload", "parts"],
        ["--compile", "--preset", "x"],
        ["--cache", "0"],
        ["--cache", "2", "--compile"],
    ):
        out = ["-o", str(tmp_path / "b.png"), "--device", "cpu", *wrong]
        done = CliRunner().invoke(app, [*common, *out])
        assert done.exit_code == 2, done.output


@pytest.mark.soak
@pytest.mark.filterwarnings("ignore:.*torch.jit.script_method:DeprecationWarning")  # torch's own
def test_torch_compile_is_near(folder):
    plain, fast = ns.load(folder), ns.load(folder, compile=True)
    code = ns.invert(plain, IMAGE, PROMPT, steps=4)
    expected = ns.edit(plain, code, OTHER, guidance=3.0).latents
    got = ns.edit(fast, code, OTHER, guidance=3.0).latents
    torch.testing.assert_close(got, expected, atol=1e-3, rtol=1e-3)


@pytest.fixture
def packed(single):
    """A network with packed convolutions, and the same one without."""
    if not works():
        pytest.skip("this build of torch has no such kernels")
    plain = copy.deepcopy(single.network).to(memory_format=torch.channels_last)  # as load has it
    own = copy.deepcopy(plain)
    assert pack_convolutions(own)
    return own, plain


def seen(unet, rows, side=8):
    """What a network gives, in inference mode."""
    generator = torch.Generator().manual_seed(rows)
    x = torch.randn(rows, 4, side, side, generator=generator)
    text = torch.randn(rows, 7, unet.config.cross_attention_dim, generator=generator)
    with torch.inference_mode():
        return unet(x, torch.tensor(500.0), encoder_hidden_states=text).sample


def test_packed_weights_change_nothing(packed):
    """For any rows and sizes, whatever was packed for."""
    own, plain = packed
    shapes = ((2, 8), (1, 8), (5, 8), (2, 16), (3, 4))
    for rows, side in shapes:
        wanted = seen(plain, rows, side)
        assert (seen(own, rows, side) - wanted).abs().max() <= 1e-5 * wanted.abs().max()
    other = copy.deepcopy(own)
    for rows, side in shapes[::-1]:  # whichever shape came first
        assert torch.equal(seen(other, rows, side), seen(own, rows, side))
    assert sum(type(part.forward) is Packed for part in own.modules()) > 5
    assert own.state_dict().keys() == plain.state_dict().keys()
    kept = [set(part.forward._packed) for part in own.modules() if type(part.forward) is Packed]
    assert all(len(shapes) == 2 for shapes in kept)  # no more memory than that
    assert own.conv_in.forward.weights(torch.zeros(4, 4, 6, 6)) is not None  # the oldest goes
    sides = [tuple(shape)[-1] for shape in own.conv_in.forward._packed]
    assert [len(sides), sides[-1]] == [2, 6]
    assert {len(shape) for shapes in kept for shape in shapes} == {4}
    assert {shape[0] for shapes in kept for shape in shapes} == {2, 3}  # neither one row nor five


def test_packed_weights_follow_the_weights(packed):
    own, plain = packed
    seen(own, 2)
    again = copy.deepcopy(own)
    with torch.no_grad():
        again.conv_in.weight.mul_(2)
    want = copy.deepcopy(plain)
    with torch.no_grad():
        want.conv_in.weight.mul_(2)
    assert torch.allclose(seen(again, 2), seen(want, 2), atol=1e-5)
    assert not torch.allclose(seen(again, 2), seen(own, 2), atol=1e-3)
    assert again.conv_in.forward.conv is again.conv_in
    wide, text = again.double(), torch.ones(2, 7, again.config.cross_attention_dim).double()
    with torch.inference_mode():  # no packed weights of another dtype
        x = torch.ones(2, 4, 8, 8).double()
        assert wide(x, torch.tensor(1.0), encoder_hidden_states=text).sample.dtype == x.dtype


def test_gradients_are_those_of_the_convolutions(packed):
    own, plain = packed
    found = []
    for unet in (own, plain):
        x = torch.linspace(-1, 1, 512).reshape(2, 4, 8, 8).requires_grad_()
        text = torch.ones(2, 7, unet.config.cross_attention_dim)
        unet(x, torch.tensor(500.0), encoder_hidden_states=text).sample.square().sum().backward()
        found.append(x.grad)
    assert torch.equal(*found)


def test_a_small_evaluation_takes_one_thread_where_threads_sleep(model, monkeypatch):
    """And as many as before after it; where threads spin (torch's own way) they are left alone."""
    counts, latents, most = [], [], max(2, torch.get_num_threads())
    watch = model.network.conv_in.register_forward_hook(
        lambda *_: counts.append(torch.get_num_threads())
    )
    before = torch.get_num_threads()
    torch.set_num_threads(most)
    try:
        for policy, least in (("PASSIVE", 2e10), ("PASSIVE", 1.0), ("", 2e10)):
            monkeypatch.setenv("OMP_WAIT_POLICY", policy)
            monkeypatch.setattr("noisespace.models.running.LEAST", least)
            latents.append(ns.sample(model, ["a cat", "a dog"], steps=1).latents)
            assert torch.get_num_threads() == most
    finally:
        watch.remove()
        torch.set_num_threads(before)
    assert counts == [1, most, most]
    for other in latents[1:]:
        torch.testing.assert_close(other, latents[0], atol=1e-9, rtol=1e-9)


def test_large_networks_are_not_kept_twice(single, monkeypatch):
    monkeypatch.setattr("noisespace.models.packed.MOST", 1000)
    own = copy.deepcopy(single.network)
    assert not pack_convolutions(own)
    assert not any(type(part.forward) is Packed for part in own.modules())


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of torch.compile's own imports
def test_a_loaded_model_is_packed():
    model = ns.load("scenes", device="cpu")
    assert type(model.network.conv_in.forward) is Packed or not works()
    for options in ({"dtype": "float64"}, {"compile": True}, {"dtype": "mixed"}):
        own = ns.load("scenes", device="cpu", **options)
        assert type(own.network.conv_in.forward) is not Packed
