"""Codes in files: safetensors with a JSON header; what comes from outside is checked."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError
from torch import Tensor

from noisespace.core.code import Code, Info
from noisespace.core.grid import Grid
from noisespace.core.guidance import Guidance
from noisespace.core.steps import STEPS, Ancestral, Step
from noisespace.errors import InputError

FORMAT = 2
OPTIONAL = ("residual", "null", "text")
GRID = ("timesteps", "alpha", "sigma")


class Header(BaseModel):
    """The JSON header of a saved code. Format 1 has ``eta``, ``correct``, ``coupling``, no step."""

    model_config = ConfigDict(extra="forbid")

    format: Literal[1, 2]
    step: dict[str, Any] = {}
    lattice: float = 0.0
    blend: float = 1.0
    rule: dict[str, Any]
    info: Info
    eta: float = 0.0
    correct: Literal["none", "source", "all"] = "none"
    coupling: dict[str, Any] | None = None

    def rule_of_format(self) -> Guidance:
        """The guidance that it describes; what format 1 calls "hard" is "l0" now."""
        older = self.format == 1 and self.rule.get("mode") == "hard"
        return Guidance(**{**self.rule, **({"mode": "l0"} if older else {})})

    def step_of_format(self) -> Step:
        """The step that it describes. Raises KeyError or TypeError for what is none."""
        if self.format == 2:
            words = dict(self.step)
            return STEPS[words.pop("kind")](**words)
        if self.coupling is None:
            return Ancestral(self.eta, self.correct)
        words = dict(self.coupling)
        if "alternate" in words:
            words["alternate"] = "roles" if words["alternate"] else "nothing"
        return STEPS[words.pop("kind")](**words)


def to_bytes(code: Code) -> bytes:
    """A code as the contents of a file."""
    from safetensors.torch import save

    kind = {cls: name for name, cls in STEPS.items()}[type(code.step)]
    header = {
        "format": FORMAT,
        "step": {"kind": kind, **asdict(code.step)},  # type: ignore[call-overload]  # a dataclass
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
    except (ValidationError, KeyError, TypeError, json.JSONDecodeError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"{path}: a damaged noisespace code: {reason}") from None


def decode(header: Any, tensors: dict[str, Tensor]) -> Code:
    """A code from its parsed header and tensors; checks that their shapes fit together."""
    head = Header.model_validate(header)
    kept = with_prefix("kept.", tensors)
    if head.format == 1 and "twin" in tensors:
        kept["twin"] = tensors["twin"][None]
    code = Code(
        Grid(*(tensors[f"grid.{name}"] for name in GRID)),
        tensors["path"],
        head.step_of_format(),
        **{name: tensors.get(name) for name in OPTIONAL},  # type: ignore[arg-type]
        lattice=head.lattice,
        blend=head.blend,
        kept=kept,
        adapter=with_prefix("adapter.", tensors),
        rule=head.rule_of_format(),
        info=head.info,
    )
    check_shapes(code)
    return code


def with_prefix(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors whose names begin so, without that beginning."""
    return {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}


def check_shapes(code: Code) -> None:
    """Raises KeyError where the tensors of a code do not fit together."""
    path, states = code.path, code.path.shape[1:]
    if path.ndim < 3 or not 0 <= code.first < len(code.grid):
        raise KeyError(f"path of shape {tuple(path.shape)} does not fit {len(code.grid)} steps")
    if code.residual is not None and code.residual.shape != path[1:].shape:
        raise KeyError(f"residual of shape {tuple(code.residual.shape)} does not fit the path")
    if set(code.kept) != set(code.step.keeps):
        raise KeyError(f"{code.step} keeps {code.step.keeps}, got {tuple(code.kept)}")
    for name, kept in code.kept.items():
        if kept.shape[1:] != states:
            raise KeyError(f"{name} of shape {tuple(kept.shape)} does not fit the path")
    for name in ("null", "text"):
        tuned = getattr(code, name)
        if tuned is not None and (tuned.ndim != 4 or tuned.shape[:2] != (len(path) - 1, states[0])):
            raise KeyError(f"{name} of shape {tuple(tuned.shape)} does not fit the path")
