"""Gradient checkpointing: by itself where memory is short, the same results, and the formula."""

import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch

import noisespace as ns
from noisespace.errors import RunError
from noisespace.inversion.tuning import recompute as memory
from noisespace.inversion.tuning.recompute import SavedBytes, same
from noisespace.models.memory import container_memory, free_memory
from tiny import double, tiny_sd

IMAGE = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
PROMPT, W = "a photo of a cat", 5.0
METHODS = [
    ns.NullText(guidance=W, iterations=1),
    ns.NullText(guidance=W, iterations=1, solver="adam"),
    ns.NullText(guidance=W, iterations=1, share="global"),
    ns.NullText(guidance=W, iterations=1, pivot="none"),
    ns.PromptTuning(guidance=W, iterations=1),
    ns.TextualInversion(guidance=W, iterations=1),
    ns.Imagic(text_iterations=1, iterations=2),
    ns.UniTune(iterations=2),
]
TUNED, FITTED = METHODS[0], METHODS[-1]


@pytest.fixture(scope="module")
def model():
    return ns.from_pipeline(double(tiny_sd()))


def run(model, method=TUNED, **options):
    return ns.invert(model, IMAGE, PROMPT, method, steps=2, **options)


def recomputed(model, monkeypatch):
    """Every pass with gradients from now on: whether it is recomputed."""
    seen, denoise = [], type(model).denoise

    def watch(self, *args):
        if torch.is_grad_enabled():
            seen.append(self.network.is_gradient_checkpointing)
        return denoise(self, *args)

    monkeypatch.setattr(type(model), "denoise", watch)
    return seen


def assert_same(a, b, atol):
    for x, y in ((a.null, b.null), (a.text, b.text)):
        assert (x is None) == (y is None)
        if x is not None:
            torch.testing.assert_close(x, y, atol=atol, rtol=0)
    assert a.adapter.keys() == b.adapter.keys()
    for name in a.adapter:
        torch.testing.assert_close(a.adapter[name], b.adapter[name], atol=atol, rtol=0)


# ---- on by itself


@pytest.mark.parametrize("method", METHODS, ids=repr)
def test_short_memory_turns_it_on_and_changes_nothing(model, method, monkeypatch):
    seen = recomputed(model, monkeypatch)
    plain = run(model, method)
    assert not any(seen)
    seen.clear()
    monkeypatch.setattr(memory, "free_memory", lambda device: 100_000.0)
    with pytest.warns(UserWarning, match="memory is short") as said:
        code = run(model, method)
    assert len(said) == 1
    assert not seen[0]  # the attempt
    assert len(seen) > 1
    assert all(seen[1:])
    assert not model.network.is_gradient_checkpointing
    assert_same(code, plain, atol=1e-12)
    assert_same(run(model, replace(method, recompute=True)), plain, atol=1e-12)


def test_an_error_for_memory_turns_it_on(model, monkeypatch):
    errors = [torch.OutOfMemoryError("CUDA out of memory"), MemoryError()]
    errors.append(RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried ..."))
    plain, own = run(model), torch.autograd.grad
    for error in errors:
        left = [error]

        def grad(*args, left=left, **options):
            if left:
                raise left.pop()
            return own(*args, **options)

        with monkeypatch.context() as patch:
            patch.setattr(torch.autograd, "grad", grad)
            with pytest.warns(UserWarning, match="memory is short"):
                code = run(model)
        assert_same(code, plain, atol=1e-12)
        assert not model.network.is_gradient_checkpointing


@pytest.mark.parametrize(
    ("wanted", "words"),
    [(None, "though passes are recomputed: use fewer"), (False, "use recompute=True, fewer")],
)
@pytest.mark.parametrize("method", [TUNED, FITTED], ids=repr)
def test_what_does_not_fit_at_all_says_so(model, method, wanted, words, monkeypatch):
    def grad(*args, **options):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(torch.autograd, "grad", grad)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        with pytest.raises(RunError, match=words):
            run(model, replace(method, recompute=wanted))
    assert not model.network.is_gradient_checkpointing


def test_no_is_no_and_other_errors_are_their_own(model, monkeypatch):
    seen = recomputed(model, monkeypatch)
    monkeypatch.setattr(memory, "free_memory", lambda device: 0.0)
    run(model, replace(TUNED, recompute=False))
    assert seen
    assert not any(seen)

    def stop(done, total):
        raise RuntimeError("a reason of its own")

    for wanted in (True, False):
        with pytest.raises(RuntimeError, match="of its own"):
            run(model, replace(TUNED, recompute=wanted), progress=stop)
        assert not model.network.is_gradient_checkpointing


def test_a_network_that_recomputes_already_goes_on_doing_so(model, monkeypatch):
    seen = recomputed(model, monkeypatch)
    monkeypatch.setattr(memory, "free_memory", lambda device: 0.0)
    model.network.enable_gradient_checkpointing()
    try:
        run(model)
        assert all(seen)
        assert model.network.is_gradient_checkpointing
    finally:
        model.network.disable_gradient_checkpointing()


def test_a_pass_given_up_is_freed(model, monkeypatch):
    """By the count of references, not by the garbage collector, which may come too late."""
    import gc
    import weakref

    kept, call = [], SavedBytes.__call__

    def watched(self, x):
        kept.append(weakref.ref(x.untyped_storage()))
        return call(self, x)

    monkeypatch.setattr(SavedBytes, "__call__", watched)
    monkeypatch.setattr(memory, "free_memory", lambda device: 100_000.0)
    own = {p.untyped_storage().data_ptr() for p in model.network.parameters()}
    gc.disable()
    try:
        with pytest.warns(UserWarning, match="memory is short"):
            run(model)
    finally:
        gc.enable()
    left = [s for ref in kept if (s := ref()) is not None and s.data_ptr() not in own]
    assert len(kept) > 10
    assert not left


# ---- free memory


def test_free_memory_is_the_machines_or_the_containers(tmp_path, monkeypatch):
    cpu = torch.device("cpu")
    assert 1e6 < free_memory(cpu) < 1e14
    assert container_memory(tmp_path) == torch.inf
    for name, text in (("max", "max"), ("current", "300"), ("stat", "anon 200\ninactive_file 50")):
        (tmp_path / f"memory.{name}").write_text(f"{text}\n")
    assert container_memory(tmp_path) == torch.inf
    (tmp_path / "memory.max").write_text("1000\n")
    assert container_memory(tmp_path) == 1000 - 300 + 50
    monkeypatch.setattr("noisespace.models.memory.container_memory", lambda: 5.0)
    assert free_memory(cpu) == 5.0
    assert free_memory(torch.device("meta")) == torch.inf


# ---- the formula of docs/optimised.md


def kept_bytes(unet, rows, side, tokens=16, on=False):
    """What one pass keeps, on latents (rows, 4, side, side)."""
    count = SavedBytes(unet)
    x = torch.randn(rows, 4, side, side)
    embedding = torch.randn(rows, tokens, 32, requires_grad=True)
    if on:
        unet.enable_gradient_checkpointing()
    try:
        with torch.autograd.graph.saved_tensors_hooks(count, same):
            unet(x, torch.tensor(5.0), encoder_hidden_states=embedding)
    finally:
        unet.disable_gradient_checkpointing()
    return count.bytes


@pytest.mark.parametrize("on", [False, True])
def test_what_a_pass_keeps_is_linear_in_batch_and_area(on):
    unet = ns.from_pipeline(tiny_sd()).network.eval().requires_grad_(False)
    small, large = (kept_bytes(unet, 1, side, on=on) for side in (8, 16))
    # a pixel p and a row r, from two sizes; then other sizes and batches within 1 %
    p = (large - small) / (16**2 - 8**2)
    r = small - 8**2 * p
    assert r < small / 10
    for rows, side in ((2, 8), (3, 16), (1, 24), (2, 32)):
        kept = kept_bytes(unet, rows, side, on=on)
        assert kept == pytest.approx(rows * (p * side**2 + r), rel=0.01)
    # the tokens' share is small, and linear
    short, long, longer = (kept_bytes(unet, 1, 8, tokens, on) for tokens in (16, 32, 64))
    assert longer - long == pytest.approx(2 * (long - short), rel=0.02)


def test_recomputing_keeps_a_third_or_less():
    unet = ns.from_pipeline(tiny_sd()).network.eval().requires_grad_(False)
    assert kept_bytes(unet, 2, 16, on=True) < 0.33 * kept_bytes(unet, 2, 16)
    assert kept_bytes(unet, 2, 16) < 0.9 * with_weights(unet)


def with_weights(unet):
    """What the textbook keeps, whose weights require gradients."""
    unet.requires_grad_(True)
    try:
        return kept_bytes(unet, 2, 16)
    finally:
        unet.requires_grad_(False)


@pytest.mark.parametrize(("steps", "images"), [(2, 1), (5, 1), (3, 2)])
def test_a_code_has_the_size_of_the_formula(steps, images):
    model = ns.from_pipeline(tiny_sd())
    state, text = 4 * 4 * 8 * 8, 4 * 16 * 32  # bytes of a latent and of an embedding
    pictures = [IMAGE] * images

    def size(method):
        code = ns.invert(model, pictures, PROMPT, method, steps=steps)
        parts = [code.path, code.residual, code.null, code.text, *code.kept.values()]
        return sum(t.nbytes for t in parts if t is not None)

    assert size(ns.DDIM()) == images * (steps + 1) * state
    assert size(ns.EditFriendly(skip=0, live=False)) == images * (2 * steps + 1) * state
    tuned = images * ((steps + 1) * state + steps * text)
    assert size(TUNED) == size(ns.PromptTuning(guidance=W, iterations=1)) == tuned
    assert size(ns.EDICT(strength=1.0)) == images * (steps + 2) * state
