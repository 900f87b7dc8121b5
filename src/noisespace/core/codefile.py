"""Codes in files: safetensors with a JSON header; what comes from outside is checked."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from torch import Tensor

from noisespace.core.code import Code, Info
from noisespace.core.grid import Grid
from noisespace.core.guidance import Guidance
from noisespace.core.steps import STEPS, Step
from noisespace.errors import InputError
from noisespace.system.fields import check_fields

FORMAT = 2
OPTIONAL = ("residual", "null", "text")
GRID = ("timesteps", "alpha", "sigma")
EACH = ("prompts", "negative", "seeds", "fit", "image", "lattice_margin")  # one entry an image
FIT = {"original", "size"}


class Header(BaseModel):
    """The JSON header of a saved code."""

    model_config = ConfigDict(extra="forbid")

    format: Literal[2]
    step: dict[str, Any]
    lattice: float = Field(default=0.0, ge=0, le=1, allow_inf_nan=False)
    blend: float = Field(default=1.0, ge=0, le=2, allow_inf_nan=False)
    rule: dict[str, Any]
    info: Info


def to_bytes(code: Code) -> bytes:
    """A code as the contents of a file. Raises InputError for a step that is in no list."""
    from safetensors.torch import save

    kind = STEPS.name_of(code.step)
    if kind is None:
        raise InputError(
            f"the step {code.step!r} is not in the list of core/steps, by which a saved code names "
            "it: add its line there"
        )
    own = {f.name: getattr(code.step, f.name) for f in fields(code.step) if f.init}  # type: ignore[arg-type]
    header = {
        "format": FORMAT,
        "step": {"kind": kind, **own},
        "lattice": code.lattice,
        "blend": code.blend,
        "rule": asdict(code.rule),
        "info": code.info.model_dump(mode="json"),
    }
    tensors = {name: t.contiguous().cpu() for name, t in named_tensors(code).items()}
    return save(tensors, {"noisespace": json.dumps(header)})


def named_tensors(code: Code) -> Mapping[str, Tensor]:
    """Every tensor of a code under the name that it has in a file."""
    named = {"path": code.path, **{name: getattr(code, name) for name in OPTIONAL}}
    named |= {f"grid.{name}": getattr(code.grid, name) for name in GRID}
    named |= {f"kept.{name}": t for name, t in code.kept.items()}
    named |= {f"adapter.{name}": t for name, t in code.adapter.items()}
    return {name: t for name, t in named.items() if t is not None}


def read(path: str | Path) -> Code:
    """The code in a file. Raises InputError for anything else."""
    from safetensors import SafetensorError, safe_open

    if not Path(path).is_file():
        raise InputError(f"{path}: no such file; expected a code saved by noisespace")
    try:
        with safe_open(str(path), "pt") as file:
            header = (file.metadata() or {}).get("noisespace")
            if header is None:
                raise InputError(f"{path}: not a noisespace code (no noisespace header)")
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        return decode(json.loads(header), tensors)
    except SafetensorError as error:
        raise InputError(f"{path}: not a noisespace code: {error}") from None
    except InputError as error:
        raise InputError(f"{path}: {error}".replace(f"{path}: {path}: ", f"{path}: ")) from None
    except (ValidationError, KeyError, TypeError, ValueError, RecursionError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"{path}: a damaged noisespace code: {reason}") from None


def decode(header: Any, tensors: dict[str, Tensor]) -> Code:
    """A code from its parsed header and tensors; checks that they fit together."""
    made = header.get("format") if isinstance(header, dict) else None
    if isinstance(made, int) and made > FORMAT:
        raise InputError(
            f"is of format {made}, which a newer noisespace writes; this reads {FORMAT}"
        )
    head = Header.model_validate(from_format_1(header) if made == 1 else header)
    if head.lattice and not math.log2(head.lattice).is_integer():
        raise ValueError(f"the lattice must be 0 or a power of two, got {head.lattice}")
    kept = with_prefix("kept.", tensors)
    if made == 1 and "twin" in tensors:
        kept["twin"] = tensors["twin"][None]
    code = Code(
        Grid(*(tensors[f"grid.{name}"] for name in GRID)),
        tensors["path"],
        step_of(head.step),
        **{name: tensors.get(name) for name in OPTIONAL},  # type: ignore[arg-type]
        lattice=head.lattice,
        blend=head.blend,
        kept=kept,
        adapter=with_prefix("adapter.", tensors),
        rule=Guidance(**head.rule),
        info=head.info,
    )
    check_fields(code.rule)
    check_tensors(code)
    return code


def from_format_1(header: dict[str, Any]) -> dict[str, Any]:
    """A header of version 0.1 as one of today: same replay, whatever its words mean now."""
    old, rule = dict(header), dict(header["rule"])
    words = {"eta": old.pop("eta"), "correct": old.pop("correct")}
    step = dict(old.pop("coupling", None) or {"kind": "ancestral", **words})
    if "alternate" in step:
        step["alternate"] = "roles" if step["alternate"] else "nothing"
    if (rule.get("rule"), rule.get("mode")) == ("proximal", "hard"):
        rule["mode"] = "l0"
    return {**old, "format": FORMAT, "step": step, "rule": rule}


def step_of(words: Mapping[str, Any]) -> Step:
    """A step from its name and numbers. Raises InputError for one that is not known here."""
    kind = words["kind"]
    if kind not in STEPS:
        raise InputError(
            f"is replayed by the step {kind!r}, which this version does not have "
            f"(there is {', '.join(STEPS)})"
        )
    step = STEPS[kind](**{name: value for name, value in words.items() if name != "kind"})
    check_fields(step)
    return step


def with_prefix(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors whose names begin so, without that beginning."""
    return {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}


def check_tensors(code: Code) -> None:
    """Raises ValueError where the tensors of a code and its lists do not fit together."""
    grid, path, adapter = code.grid, code.path, code.adapter
    levels = [getattr(grid, name) for name in GRID]
    sound = all(t.ndim == 1 and t.is_floating_point() and t.isfinite().all() for t in levels)
    if not sound or len({len(t) for t in levels}) > 1 or len(levels[0]) < 2:
        raise ValueError("a grid is three lists of as many finite numbers")
    if path.ndim not in (5, 6) or not 0 <= code.first < len(grid) or 0 in path.shape:
        raise ValueError(f"path of shape {tuple(path.shape)} does not fit {len(grid)} steps")
    steps, images = len(path) - 1, len(path[0])
    if code.residual is not None and code.residual.shape != path[1:].shape:
        raise ValueError(f"residual of shape {tuple(code.residual.shape)} does not fit the path")
    if set(code.kept) != set(code.step.keeps):
        raise ValueError(f"{code.step} keeps {code.step.keeps}, got {tuple(code.kept)}")
    for name, kept in code.kept.items():
        if kept.shape[1:] != path.shape[1:] or len(kept) == 0:
            raise ValueError(f"{name} of shape {tuple(kept.shape)} does not fit the path")
    for name in ("null", "text"):
        tuned = getattr(code, name)
        if tuned is not None and (tuned.ndim != 4 or tuned.shape[:2] != (steps, images)):
            raise ValueError(f"{name} of shape {tuple(tuned.shape)} does not fit the path")
    for name in EACH:
        if len(getattr(code.info, name)) not in (0, images):
            raise ValueError(f"{name} must have one entry for each of the {images} images")
    if any(set(fit) != FIT for fit in code.info.fit):
        raise ValueError(f"fit must have {', '.join(sorted(FIT))}")
    layers = {name.rpartition(".")[0] for name in adapter}
    pairs = {f"{layer}.{end}" for layer in layers for end in ("up", "down")}
    if pairs != set(adapter) or any(t.ndim != 2 for t in adapter.values()):
        raise ValueError("an adapter is matrices in pairs, down and up")
    if not all(torch.is_floating_point(t) for t in named_tensors(code).values()):
        raise ValueError("a code's tensors are floating-point numbers")
