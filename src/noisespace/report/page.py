"""The page of a report: one HTML file that needs nothing else, light and dark, and prints."""

from __future__ import annotations

import base64
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from noisespace.bench.statistics import Estimate
from noisespace.bench.summary import Summary, cell
from noisespace.errors import InputError
from noisespace.report.methods import AXES, NOTHING, Compared
from noisespace.study import STUDIES

if TYPE_CHECKING:
    from noisespace.report.run import Report

LARGEST_SVG = 300_000  # bytes: beyond, the PNG is the lighter one
COLUMNS = {
    "lpips_alex": "LPIPS (AlexNet) to the input",
    "psnr_outside": "PSNR outside the edit, dB",
    "alignment": "alignment",
    "alignment_accuracy": "alignment accuracy",
    "as_asked": "as asked (judge)",
    "other_kept": "other object kept (judge)",
    "psnr_truth": "PSNR to the true edit, dB",
    "ssim_truth": "SSIM to the true edit",
    "lpips_alex_truth": "LPIPS to the true edit",
    "seconds": "seconds an edit",
    "evaluations": "network evaluations",
    "memory_mb": "peak memory, MB",
}
PAIRED = ("lpips_alex", "psnr_truth", "as_asked")  # of which differences are tested
MARKS = {"holds": "\u2713", "does not hold": "\u2717"}


def page(report: Report, out: Path) -> str:
    """The report as HTML; figures are those saved under ``out``."""
    try:
        import jinja2
    except ModuleNotFoundError:
        raise InputError("a report needs jinja2; install noisespace[bench]") from None
    source = files("noisespace.report").joinpath("page.html").read_text(encoding="utf-8")
    room = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    room.filters |= {"figure": figured, "kind": kind}
    return room.from_string(source).render(
        report=report,
        command=report.order.command(),
        marks=MARKS,
        questions=STUDIES,
        counts=counts(report),
        studies=[(n, images(out / "studies" / n, shown)) for n, shown in report.figures.items()],
        **methods(report.compared, out),
    )


def counts(report: Report) -> dict[str, int]:
    """How many claims came to each kind of verdict."""
    kinds = [kind(one.verdict) for one in report.verdicts]
    return {name: kinds.count(name) for name in ("holds", "fails", "open")}


def kind(verdict: str) -> str:
    """A verdict as a class of the page's style."""
    return {"holds": "holds", "does not hold": "fails"}.get(verdict, "open")


def methods(found: Compared | None, out: Path) -> dict[str, Any]:
    """The benchmark's part of the page."""
    if found is None:
        return {"table": None, "paired": [], "areas": [], "curves": [], "gallery": []}
    shown = [name for name in COLUMNS if measured(found.summary, name)]
    return {
        "table": {
            "heads": [COLUMNS[name] for name in shown],
            "better": [found.summary.columns[name].better for name in shown],
            "groups": groups(found, shown),
            "missing": found.missing,
            "n": len({row["id"] for row in found.rows}),
        },
        "paired": paired(found.summary, [name for name in PAIRED if name in shown]),
        "than": found.summary.than,
        "areas": [(axes, found.areas[axes.name]) for axes in AXES if found.areas[axes.name]],
        "curves": images(out / "methods", [axes.name for axes in AXES]),
        "gallery": images(out / "methods", ["gallery"]),
    }


def measured(summary: Summary, name: str) -> bool:
    """Whether some line has a value in a column."""
    return any(name in found and found[name].n for found in summary.methods.values())


def groups(found: Compared, shown: list[str]) -> list[tuple[str, list[tuple[str, list[str], str]]]]:
    """The table's rows by family: (family, [(line, cells, failures)])."""
    made = []
    for family in (NOTHING, *found.families):
        lines = []
        for line in family.lines:
            values = found.summary.methods.get(line, {})
            failures = found.summary.failed.get(line, {})
            why = "; ".join(f"{count} x {reason}" for reason, count in failures.items())
            lines.append((line, [cell(values.get(name, NONE)) for name in shown], why))
        made.append((family.name, lines))
    return made


def paired(summary: Summary, shown: list[str]) -> list[tuple[str, list[tuple[str, Any]]]]:
    """Each method's differences to the one that all are compared with, by column."""
    return [
        (method, [(COLUMNS[name], found[name]) for name in shown])
        for method, found in summary.against.items()
        if method not in NOTHING.lines
    ]


NONE = Estimate(float("nan"), float("nan"), float("nan"), 0, 0, 0)


def images(folder: Path, names: list[str]) -> list[dict[str, str]]:
    """Figures that are there, each as a data address, with the name of its file."""
    found = []
    for name in names:
        vector, raster = folder / f"{name}.svg", folder / f"{name}.png"
        if not raster.is_file():
            continue
        light = vector.is_file() and vector.stat().st_size <= LARGEST_SVG
        found.append({"name": name, "source": address(vector if light else raster)})
    return found


def address(path: Path) -> str:
    """A picture's file as a data address."""
    what = "image/svg+xml" if path.suffix == ".svg" else "image/png"
    return f"data:{what};base64,{base64.b64encode(path.read_bytes()).decode()}"


def figured(value: Any) -> str:
    """A number for people; None, which is no number, as a dash."""
    if value is None:
        return "-"
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return str(value)
    return "-" if value != value else f"{value:.4g}"
