"""Labelled contact sheets: rows of pictures with a label and a note under each."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from noisespace.errors import InputError

SMALL, LARGE = 192, 384  # pixels: smaller pictures are enlarged, larger ones reduced
MARGIN, GAP, PAD = 28, 20, 8
TITLE, LABEL, NOTE = 22, 15, 13  # font sizes
LABEL_LINES, NOTE_LINES = 3, 3
PAPER, INK, GREY, EDGE = "#f7f6f3", "#1d1d1f", "#6b6b70", "#d9d7d1"

Font = Any  # Pillow has two font classes without a common base


@dataclass(frozen=True)
class Cell:
    """A picture (uint8 (h, w, 3), PIL, or None for a gap) and the texts under it."""

    image: np.ndarray | Image.Image | None
    label: str
    note: str = ""


def sheet(rows: Sequence[Sequence[Cell]], title: str = "", scale: int | None = None) -> Image.Image:
    """Draws the cells as a grid, every column and row aligned.

    ``scale`` enlarges every picture by an integer; without it small ones are enlarged (nearest
    pixel, so that what is seen is what is there) to 192 pixels or more, large ones reduced to 384.
    """
    if not any(len(row) for row in rows):
        raise InputError("a sheet needs at least one picture")
    if scale is not None and (not isinstance(scale, int) or scale < 1):
        raise InputError(f"got scale={scale!r}, expected an integer of at least 1")
    texts = [title, *(text for row in rows for cell in row for text in (cell.label, cell.note))]
    fonts = Fonts(all(text.isascii() for text in texts))
    drawn = [[(_picture(cell.image, scale), cell) for cell in row] for row in rows]
    width = max([SMALL, *(p.width for row in drawn for p, _ in row if p)])
    count = max(len(row) for row in drawn)
    full = 2 * MARGIN + count * width + (count - 1) * GAP

    heading = _wrap(title, fonts(TITLE), full - 2 * MARGIN, 2)
    blocks = [_Row(row, width, fonts) for row in drawn]
    top = MARGIN + (len(heading) * _line(fonts(TITLE)) + GAP if heading else 0)
    height = top + sum(block.height for block in blocks) + GAP * (len(blocks) - 1) + MARGIN
    page = Image.new("RGB", (full, height), PAPER)
    draw = ImageDraw.Draw(page)
    _lines(draw, (MARGIN, MARGIN), heading, fonts(TITLE), INK)
    for block in blocks:
        block.paint(page, draw, top)
        top += block.height + GAP
    return page


def difference(a: np.ndarray, b: np.ndarray, gain: float = 4) -> np.ndarray:
    """|a - b| * gain of two uint8 pictures of one shape, clipped to uint8: black where equal."""
    if a.shape != b.shape or a.dtype != np.uint8 or b.dtype != np.uint8:
        raise InputError(
            f"got {a.dtype} {a.shape} and {b.dtype} {b.shape}, expected two uint8 pictures of "
            "one shape"
        )
    apart = np.abs(a.astype(np.float64) - b.astype(np.float64)) * gain
    return np.clip(np.round(apart), 0, 255).astype(np.uint8)


def heat(picture: np.ndarray, values: np.ndarray) -> np.ndarray:
    """A map of values (h, w) over a dimmed picture uint8 (H, W, 3), brightest at its maximum."""
    from matplotlib import colormaps

    height, width = picture.shape[:2]
    top = max(float(values.max()), 1e-12)
    scaled = Image.fromarray((np.clip(values / top, 0, 1) * 255).astype(np.uint8))
    smooth = np.asarray(scaled.resize((width, height), Image.Resampling.BICUBIC)) / 255
    colours = colormaps["inferno"](smooth)[..., :3] * 255
    grey = picture.astype(np.float64).mean(2, keepdims=True)
    return np.clip(0.35 * grey + 0.65 * colours, 0, 255).round().astype(np.uint8)


class _Row:
    """One row, measured: pictures stand on one line, texts start on the next."""

    def __init__(
        self, cells: Sequence[tuple[Image.Image | None, Cell]], width: int, fonts: Fonts
    ) -> None:
        self.cells, self.width, self.fonts = cells, width, fonts
        self.tall = max((p.height for p, _ in cells if p), default=0)
        self.labels = [_wrap(c.label, fonts(LABEL), width, LABEL_LINES) for _, c in cells]
        self.notes = [_wrap(c.note, fonts(NOTE), width, NOTE_LINES) for _, c in cells]
        text = max(
            (
                len(label) * _line(fonts(LABEL)) + len(note) * _line(fonts(NOTE))
                for label, note in zip(self.labels, self.notes, strict=True)
            ),
            default=0,
        )
        self.height = self.tall + (PAD + text if text else 0)

    def paint(self, page: Image.Image, draw: ImageDraw.ImageDraw, top: int) -> None:
        for i, (picture, _) in enumerate(self.cells):
            left = MARGIN + i * (self.width + GAP)
            size = picture.size if picture else (self.width, self.tall)
            y = top + self.tall - size[1]
            draw.rectangle((left - 1, y - 1, left + size[0], y + size[1]), outline=EDGE)
            if picture:
                page.paste(picture, (left, y))
            label, note = self.fonts(LABEL), self.fonts(NOTE)
            y = _lines(draw, (left, top + self.tall + PAD), self.labels[i], label, INK)
            _lines(draw, (left, y), self.notes[i], note, GREY)


class Fonts:
    """Pillow's own font; where a text is not ASCII, DejaVu, which has Greek, arrows and more."""

    def __init__(self, ascii_only: bool) -> None:
        self.path = None if ascii_only else _dejavu()

    def __call__(self, size: int) -> Font:
        if self.path is None:
            return ImageFont.load_default(size)
        return ImageFont.truetype(self.path, size - 1)


@cache
def _dejavu() -> str | None:
    """The font file in matplotlib's folder, found without importing it."""
    spec = find_spec("matplotlib")
    if spec is None or spec.origin is None:
        return None
    path = Path(spec.origin).parent / "mpl-data" / "fonts" / "ttf" / "DejaVuSans.ttf"
    return str(path) if path.is_file() else None


def _picture(image: np.ndarray | Image.Image | None, scale: int | None) -> Image.Image | None:
    """RGB at the size at which it is shown."""
    if image is None:
        return None
    picture = image if isinstance(image, Image.Image) else Image.fromarray(np.asarray(image))
    picture = picture.convert("RGB")
    short, long = sorted(picture.size)
    if scale is None:
        if long > LARGE:
            size = [max(1, round(side * LARGE / long)) for side in picture.size]
            return picture.resize((size[0], size[1]), Image.Resampling.LANCZOS)
        scale = max(1, min(math.ceil(SMALL / short), LARGE // long))
    size = (picture.width * scale, picture.height * scale)
    return picture.resize(size, Image.Resampling.NEAREST)


def _line(font: Font) -> int:
    ascent, descent = font.getmetrics()
    return ascent + descent + 2


def _lines(
    draw: ImageDraw.ImageDraw, at: tuple[int, int], lines: Iterable[str], font: Font, ink: str
) -> int:
    """Draws lines of text, returns where the next one would start."""
    x, y = at
    for line in lines:
        draw.text((x, y), line, fill=ink, font=font)
        y += _line(font)
    return y


def _wrap(text: str, font: Font, width: int, most: int) -> list[str]:
    """Breaks at spaces (words that are too long anywhere) into at most ``most`` lines."""
    text = "".join(c if c.isprintable() else " " for c in text)
    lines: list[str] = []
    for word in text.split():
        if lines and font.getlength(f"{lines[-1]} {word}") <= width:
            lines[-1] += f" {word}"
            continue
        if len(lines) > most:
            break
        while font.getlength(word) > width:
            cut = next(n for n in range(len(word), 0, -1) if font.getlength(word[:n]) <= width)
            lines.append(word[:cut])
            word = word[cut:]
        lines.append(word)
    if len(lines) <= most:
        return lines
    last = lines[most - 1]
    while last and font.getlength(f"{last}...") > width:
        last = last[:-1]
    return [*lines[: most - 1], f"{last.rstrip()}..."]
