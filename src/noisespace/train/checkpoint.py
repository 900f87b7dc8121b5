"""Checkpoints: one safetensors file with all that a run needs to go on, replaced atomically."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from noisespace.errors import InputError
from noisespace.system.files import write_bytes


def save_checkpoint(
    path: Path, model: nn.Module, ema: dict[str, Tensor], optimiser: Any, header: dict[str, Any]
) -> None:
    """Writes weights, their average, the optimiser's state and a JSON header, whole or not at all.

    The random state needs no place: a step's randomness is a function of the seed and the step.
    """
    tensors = {f"model.{k}": v for k, v in model.state_dict().items()}
    tensors |= {f"ema.{k}": v for k, v in ema.items()}
    for index, state in optimiser.state_dict()["state"].items():
        tensors |= {f"optimiser.{index}.{k}": torch.as_tensor(v) for k, v in state.items()}
    # strided layouts (channels last) are not part of the format; clone() unties shared storage
    tensors = {k: v.detach().contiguous().clone() for k, v in tensors.items()}
    write_bytes(path, save(tensors, metadata={"noisespace": json.dumps(header)}), force=True)


def read_header(path: Path) -> dict[str, Any]:
    """The JSON header of a checkpoint; InputError when the file is not one."""
    try:
        with safe_open(path, "pt") as file:
            return json.loads((file.metadata() or {})["noisespace"])
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise InputError(f"{path}: is no checkpoint of a training run ({error})") from None


def load_checkpoint(
    path: Path, model: nn.Module, ema: dict[str, Tensor], optimiser: Any = None
) -> dict[str, Any]:
    """Restores in place what ``save_checkpoint`` wrote; returns its header."""
    header = read_header(path)
    with safe_open(path, "pt") as file:
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    try:
        model.load_state_dict(_part(tensors, "model"))
    except RuntimeError:
        raise InputError(
            f"{path}: is of other networks than the captions and settings now ask for; put them "
            "back as they were, or name another folder"
        ) from None
    for key, value in _part(tensors, "ema").items():
        ema[key].copy_(value)
    if optimiser is not None:
        state: dict[int, dict[str, Tensor]] = {}
        weights = [p for group in optimiser.param_groups for p in group["params"]]
        for key, value in _part(tensors, "optimiser").items():
            index, name = key.split(".", 1)
            if value.shape == weights[int(index)].shape:
                # fused steps go through memory in its order, which must be that of the weights
                value = torch.empty_like(weights[int(index)]).copy_(value)
            state.setdefault(int(index), {})[name] = value
        groups = optimiser.state_dict()["param_groups"]
        optimiser.load_state_dict({"state": state, "param_groups": groups})
    return header


def _part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {k[len(prefix) + 1 :]: v for k, v in tensors.items() if k.startswith(prefix + ".")}
