"""All that a job of the API made, as one archive."""

from __future__ import annotations

import json
from typing import Any

from noisespace.core.code import Code
from noisespace.pictures.metadata import png_bytes
from noisespace.web.results import Outcome
from noisespace.web.sharing import archive


def result_zip(outcome: Outcome, code: Code | None) -> bytes:
    """A zip of a result: its pictures with their records, the records alone, the code.

    ``edit-1.png`` on (``cell-1.png`` of a comparison, ``word-1.png`` of an attention),
    ``reconstruction.png``, ``mask.png``, ``record.json``, ``code.safetensors``: what there is.
    """
    name = "word" if outcome.kind == "attention" else "edit"
    files = [(f"{name}-{k + 1}.png", outcome.png(k)) for k in range(len(outcome.images))]
    for k, cell in enumerate(outcome.cells, 1):
        if cell.image is not None:
            files.append((f"cell-{k}.png", png_bytes(cell.image, cell.record)))
    for name, picture in (("reconstruction", outcome.reconstruction), ("mask", outcome.mask)):
        if picture is not None:
            files.append((f"{name}.png", png_bytes(picture)))
    files.append(("record.json", told(outcome)))
    if code is not None:
        files.append(("code.safetensors", code.to_bytes()))
    return archive(files)


def told(outcome: Outcome) -> bytes:
    """The records and figures of a result as JSON."""
    document: dict[str, Any] = {
        "kind": outcome.kind,
        "source": outcome.source,
        "records": list(outcome.records),
        "words": list(outcome.words),
        "cells": [
            {
                "method": cell.method,
                "editor": cell.editor,
                "guidance": cell.guidance,
                "psnr_input": cell.psnr_input,
                "seconds": cell.seconds,
                "error": cell.error,
            }
            for cell in outcome.cells
        ],
        "notes": list(outcome.notes),
    }
    kept = {name: value for name, value in document.items() if value or name == "kind"}
    return f"{json.dumps(kept, indent=2, sort_keys=True, ensure_ascii=False)}\n".encode()
