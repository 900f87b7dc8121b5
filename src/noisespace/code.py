"""What every inversion returns, and all that crosses from inversion to editing."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from torch import Tensor

from noisespace.errors import InputError
from noisespace.files import write_bytes
from noisespace.guidance import Guidance
from noisespace.schedule import Grid
from noisespace.step import posterior_std
from noisespace.stepper import Belm, Edict

Correct = Literal["none", "source", "all"]
FORMAT = 1


class Info(BaseModel):
    """What made a code: read from outside, so checked. One entry an image in each tuple.

    ``negative``: the null text's prompt; ``edit_guidance``: the w that an edit takes by default;
    ``fit``: how each image was brought to the model's resolution; ``image``: its pixels' sha256;
    ``operations``: what was done to the code since it was inverted; ``adapts``: which rows its
    adapter acts on, all of them or the targets alone; ``pivot_guidance``: the w of the path that an
    optimisation holds on to, where ``guidance`` is the one that it is for; ``captioner``: who
    wrote the prompts, "" where they were given.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    prompts: tuple[str, ...] = ()
    negative: tuple[str, ...] = ()
    seeds: tuple[int, ...] = ()
    method: str = ""
    guidance: float = 1.0
    edit_guidance: float | None = None
    model: str = ""
    fingerprint: str = ""
    dtype: str = ""
    fit: tuple[dict[str, tuple[int, int]], ...] = ()
    image: tuple[str, ...] = ()
    version: str = ""
    operations: tuple[str, ...] = ()
    adapts: Literal["all", "targets"] = "all"
    pivot_guidance: float | None = None
    captioner: str = ""


@dataclass(frozen=True)
class Code:
    """A trajectory of the source and who gets its correction (see docs/concepts.md).

    ``path`` (levels first..n, b, c, h, w): the source's state at each level, the last one its own
    latent; ``first``: the level a replay starts at; ``eta``: how noisy a step is; ``correct``:
    which rows get ``residual_i = path[i+1] - mean_i(path[i])``; ``residual``
    (n - first, b, c, h, w) is frozen, or None where there is none or it is taken live from a source
    row. ``null``, ``text`` (n - first, b, l, d): optimised embeddings, one a step: the null text of
    every row, and the source's text, of which targets keep the share ``1 - blend``. ``rule``:
    guidance of its own. ``coupling``: how a step goes where it moves two states, of which ``twin``
    (b, c, h, w) is the second one's start. ``adapter``: of a fine-tuned network
    (see ``models.adapters``).
    """

    grid: Grid
    path: Tensor
    eta: float = 0.0
    correct: Correct = "none"
    residual: Tensor | None = None
    null: Tensor | None = None
    text: Tensor | None = None
    blend: float = 1.0
    coupling: Edict | Belm | None = None
    twin: Tensor | None = None
    adapter: Mapping[str, Tensor] = field(default_factory=dict)
    rule: Guidance = field(default_factory=Guidance)
    info: Info = field(default_factory=Info)

    @property
    def first(self) -> int:
        """The level that a replay starts at (so many steps of the grid are skipped)."""
        return len(self.grid) + 1 - len(self.path)

    @property
    def steps(self) -> int:
        """The steps of the whole grid, skipped ones included."""
        return len(self.grid)

    @property
    def live(self) -> bool:
        """Whether the correction is taken from a source row on the spot."""
        return self.correct != "none" and self.residual is None

    @property
    def guidance(self) -> float:
        """The w that the source was inverted with, and is replayed with."""
        return self.info.guidance

    @property
    def prompt(self) -> str | list[str]:
        """The source prompt; a list for several images."""
        return one_or_list(self.info.prompts)

    @property
    def seed(self) -> int | list[int]:
        """The seed of the inversion; a list for several images."""
        return one_or_list(self.info.seeds)

    @property
    def method(self) -> str:
        """The repr of the method that made it."""
        return self.info.method

    def with_info(self, **changes: Any) -> Code:
        """The same code with some of its ``info`` replaced."""
        return replace(self, info=self.info.model_copy(update=changes))

    def noise_maps(self) -> Tensor:
        """z_i = residual_i / std_i, (steps run, b, c, h, w); zeros where std = 0.

        arXiv 2304.06140, eq. 5. Raises InputError for a live code (``noisespace.freeze`` gives its
        maps) and for one that is replayed with fresh noise.
        """
        if self.residual is None:
            if self.live:
                raise InputError(
                    "a live code keeps no noise maps: noisespace.freeze(model, code) computes them"
                )
            if self.eta > 0:
                raise InputError(
                    f"{self.method or 'this method'} keeps no noise maps: its replay draws fresh "
                    "noise; invert with edit-friendly or cycle-diffusion"
                )
            return torch.zeros_like(self.path[1:])
        std = torch.stack([self._std(k) for k in range(len(self.residual))]).to(self.residual)
        std = std.view(-1, 1, 1, 1, 1)
        return torch.where(std > 0, self.residual / std.where(std > 0, 1.0), 0.0)

    def _std(self, k: int) -> Tensor:
        at, to = self.grid.level(self.first + k), self.grid.level(self.first + k + 1)
        return posterior_std(at, to, self.eta)

    def of_image(self, index: int) -> Code:
        """The code of one image of a batch, as if it had been inverted alone."""
        one = slice(index, index + 1)
        rows: dict[str, Any] = {"path": self.path[:, one]}
        for name in ("residual", "null", "text"):
            value = getattr(self, name)
            rows[name] = None if value is None else value[:, one]
        twin = None if self.twin is None else self.twin[one]
        lists = ("prompts", "negative", "seeds", "fit", "image")
        own = {name: getattr(self.info, name)[one] for name in lists}
        return replace(self, **rows, twin=twin).with_info(**own)

    def save(self, path: str | Path, *, force: bool = False) -> None:
        """Writes a safetensors file with a JSON header; never overwrites unless ``force``."""
        write_bytes(path, self.to_bytes(), force=force)

    def to_bytes(self) -> bytes:
        """The contents of the file that ``save`` writes."""
        from safetensors.torch import save

        header = {
            "format": FORMAT,
            "eta": self.eta,
            "correct": self.correct,
            "blend": self.blend,
            "coupling": None if self.coupling is None else coupling_words(self.coupling),
            "rule": asdict(self.rule),
            "info": self.info.model_dump(mode="json"),
        }
        tensors = {name: t.contiguous().cpu() for name, t in self._tensors().items()}
        return save(tensors, {"noisespace": json.dumps(header)})

    def _tensors(self) -> Mapping[str, Tensor]:
        grid = self.grid
        named = {
            "path": self.path,
            "residual": self.residual,
            "null": self.null,
            "text": self.text,
            "twin": self.twin,
            "grid.timesteps": grid.timesteps,
            "grid.alpha": grid.alpha,
            "grid.sigma": grid.sigma,
        }
        named |= {f"adapter.{name}": t for name, t in self.adapter.items()}
        return {name: t for name, t in named.items() if t is not None}

    @classmethod
    def load(cls, path: str | Path) -> Code:
        """Reads what ``save`` wrote. Opens no pickle; raises InputError for anything else."""
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


class Header(BaseModel):
    """The JSON header of a saved code."""

    model_config = ConfigDict(extra="forbid")

    format: Literal[1]
    eta: float
    correct: Correct
    blend: float = 1.0
    coupling: dict[str, Any] | None = None
    rule: dict[str, Any]
    info: Info


def decode(header: Any, tensors: dict[str, Tensor]) -> Code:
    """A code from its parsed header and tensors; checks that their shapes fit together."""
    head = Header.model_validate(header)
    grid = Grid(*(tensors[f"grid.{name}"] for name in ("timesteps", "alpha", "sigma")))
    code = Code(
        grid,
        tensors["path"],
        head.eta,
        head.correct,
        *(tensors.get(name) for name in ("residual", "null", "text")),
        blend=head.blend,
        coupling=coupling_of(head.coupling),
        twin=tensors.get("twin"),
        adapter={
            name.removeprefix("adapter."): t
            for name, t in tensors.items()
            if name.startswith("adapter.")
        },
        rule=Guidance(**head.rule),
        info=head.info,
    )
    path, residual = code.path, code.residual
    if path.ndim != 5 or not 0 <= code.first < len(grid):
        raise KeyError(f"path of shape {tuple(path.shape)} does not fit {len(grid)} steps")
    if residual is not None and residual.shape != path[1:].shape:
        raise KeyError(f"residual of shape {tuple(residual.shape)} does not fit the path")
    if (code.coupling is None) != (code.twin is None):
        raise KeyError("twin and coupling come together")
    if code.twin is not None and code.twin.shape != path.shape[1:]:
        raise KeyError(f"twin of shape {tuple(code.twin.shape)} does not fit the path")
    for name, tuned in (("null", code.null), ("text", code.text)):
        if tuned is not None and (
            tuned.ndim != 4 or tuned.shape[:2] != (len(path) - 1, len(path[0]))
        ):
            raise KeyError(f"{name} of shape {tuple(tuned.shape)} does not fit the path")
    return code


COUPLINGS = {"edict": Edict, "belm": Belm}


def coupling_words(coupling: Edict | Belm) -> dict[str, Any]:
    """A stepper as JSON."""
    kind = {cls: name for name, cls in COUPLINGS.items()}[type(coupling)]
    return {"kind": kind, **asdict(coupling)}


def coupling_of(words: dict[str, Any] | None) -> Edict | Belm | None:
    """A stepper from its JSON. Raises KeyError or TypeError for what is none."""
    if words is None:
        return None
    return COUPLINGS[words["kind"]](**{k: v for k, v in words.items() if k != "kind"})


def one_or_list(values: tuple) -> Any:
    """A single value as itself, several as a list."""
    return values[0] if len(values) == 1 else list(values)
