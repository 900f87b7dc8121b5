"""What the studies share: do-nothing edits, pictures as files, tables of paired differences."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from editors import Case
from PIL import Image

from noisespace import images
from noisespace.study.measure import summary


def untouched(model, some: list[Case]) -> dict[str, list[np.ndarray]]:
    """The do-nothing edits: the inputs themselves, and the autoencoder's pictures of them."""
    inputs = [case.scene.render() for case in some]
    seen = [model.decode(model.encode(images.to_tensor(x))) for x in inputs]
    return {"input": inputs, "autoencoder": [images.to_images(x)[0] for x in seen]}


def keep(out: Path, name: str, start: int, pictures: Sequence) -> None:
    """Pictures of scenes ``start`` and on, as files."""
    (out / "pictures").mkdir(exist_ok=True)
    for i, picture in enumerate(pictures, start):
        Image.fromarray(np.asarray(picture)).save(out / "pictures" / f"{name} {i}.png")


def kept(out: Path, name: str, scene: int) -> np.ndarray:
    """A picture that ``keep`` kept."""
    return np.asarray(Image.open(out / "pictures" / f"{name} {scene}.png"))


def interval(values: Iterable[float]) -> tuple[float, float]:
    """The mean, and half of its 95 % interval."""
    found = summary(values)
    return found["mean"], found["high"] - found["mean"]


def paired(a: list[dict], b: list[dict], key: str) -> tuple[float, float]:
    """The mean of a - b by scene, and half of its 95 % interval."""
    other = {line["scene"]: line[key] for line in b}
    return interval(float(x[key]) - float(other[x["scene"]]) for x in a if x["scene"] in other)


SCORES = {"truth": "to the true edit", "outside": "outside", "edit": "as asked"}
SCORES |= {"other": "other object kept"}
SHARES = ("edit", "other")


def shown(key: str, mean: float, half: float) -> str:
    """A difference with its interval: dB, or points of a share."""
    if key in SHARES:
        return f"{100 * mean:+.0f} +- {100 * half:.0f}"
    return f"{mean:+.1f} +- {half:.1f}"


def cells(some: list[dict], against: list[dict] | None = None) -> str:
    """Columns of a table: each score's mean, its paired difference to another row's; the count."""
    out = []
    for key in SCORES:
        mean = np.mean([d[key] for d in some])
        out.append(f"{mean:.0%}" if key in SHARES else f"{mean:.1f}")
        out.append(shown(key, *paired(some, against, key)) if against else "")
    return " | ".join([*out, str(len(some))])


def headings(other: str) -> str:
    """The columns that ``cells`` fills; ``other``: what the differences are to."""
    both = []
    for key, name in SCORES.items():
        unit = "points" if key in SHARES else "dB"
        both.append(f"{name}{'' if key in SHARES else ', dB'} | - {other}, {unit}")
    return " | ".join([*both, "scenes"])


def contrasts(pairs: list[tuple[str, list[dict], list[dict]]]) -> str:
    """A table of paired differences, one row a (label, lines, lines)."""
    heads = [f"{n}, {'points' if k in SHARES else 'dB'}" for k, n in SCORES.items()]
    rows = [f"| difference | {' | '.join(heads)} | scenes |", "|---" * (len(heads) + 2) + "|"]
    for label, a, b in pairs:
        if both := {d["scene"] for d in a} & {d["scene"] for d in b}:
            found = [shown(key, *paired(a, b, key)) for key in SCORES]
            rows.append(f"| {label} | {' | '.join(found)} | {len(both)} |")
    return "\n".join(rows) + "\n"
