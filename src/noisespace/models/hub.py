"""Models from the Hub: of a repository's files, those that are needed, each weight once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from noisespace.errors import InputError
from noisespace.models.pipeline_folder import PLAIN, check_index, read_json

TEXTS = (".json", ".txt", ".model")
HALF = ("fp16", "bf16")


def fetch(name: str, half: bool = False) -> Path:
    """The folder of a repository, downloaded or from the cache; no pickles, no code.

    ``half``: whether weights in 16 bits will do, which a repository may have beside the others.

    Raises InputError, in one sentence, for what cannot be had.
    """
    from huggingface_hub import hf_hub_download, list_repo_files, snapshot_download
    from huggingface_hub.errors import HfHubHTTPError

    try:
        try:
            files = list_repo_files(name)
        except Exception as error:
            if isinstance(error, HfHubHTTPError) and status_of(error) in (401, 403, 404):
                raise
            return cached(name, error)
        parts: Sequence[str] = ()
        if "model_index.json" in files:
            index = read_json(Path(hf_hub_download(name, "model_index.json")))
            parts = [part for part, named in check_index(index, name).items() if named]
        chosen = wanted(files, parts, half)
        if not any(PLAIN.fullmatch(Path(file).name) for file in chosen):
            raise InputError(f"model {name!r} on the Hub has {nothing(files)}")
        return Path(snapshot_download(name, allow_patterns=chosen))
    except InputError:
        raise
    except Exception as error:  # the Hub's client raises a dozen kinds
        raise InputError(sentence(name, error)) from None


def cached(name: str, why: Exception) -> Path:
    """What was fetched before, where the Hub does not answer."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        return Path(snapshot_download(name, local_files_only=True))
    except LocalEntryNotFoundError:
        raise why from None


def wanted(files: Iterable[str], parts: Sequence[str], half: bool = False) -> list[str]:
    """The files to fetch: configurations and, for each part, one set of weights.

    Without ``parts`` it is a single model, whose files are at the top.
    """
    there = [Path(file) for file in files]
    chosen = ["model_index.json"] if parts else []
    for folder in [Path(part) for part in parts] or [Path()]:
        inside = [file for file in there if file.parent == folder]
        chosen += [file.as_posix() for file in inside if file.suffix in TEXTS]
        chosen += [file.as_posix() for file in weights(inside, half)]
    return chosen


def weights(files: Sequence[Path], half: bool) -> list[Path]:
    """One set of weights of the several that a folder has: in 32 bits, unless 16 will do."""
    sets: dict[tuple[str, bool], list[Path]] = {}
    for file in files:
        found = PLAIN.fullmatch(file.name)
        if found:
            sharded = "-of-" in file.name
            sets.setdefault((found["variant"] or "", sharded), []).append(file)

    def order(key: tuple[str, bool]) -> tuple[bool, bool, str, bool]:
        variant, sharded = key
        return (half and variant not in HALF, variant != "", variant, sharded)

    return sets[min(sets, key=order)] if sets else []


def nothing(files: Sequence[str]) -> str:
    """Why a repository without weights to fetch has none."""
    singles = [file for file in files if file.endswith(".safetensors") and "/" not in file]
    if singles:
        return (
            f"no diffusers pipeline, but single files; download one ({singles[0]}) and give its "
            "path"
        )
    if any(file.endswith((".bin", ".ckpt", ".pt", ".pth")) for file in files):
        return "its weights only as pickles, which could run code; choose one with .safetensors"
    return "no weights (*.safetensors)"


def status_of(error: BaseException) -> int | None:
    return getattr(getattr(error, "response", None), "status_code", None)


def sentence(name: str, error: Exception) -> str:
    """What went wrong, and what to do."""
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError

    gated = isinstance(error, GatedRepoError)
    missing = isinstance(error, RepositoryNotFoundError) and not gated
    if not missing and (gated or status_of(error) in (401, 403)):
        return (
            f"model {name!r} is gated: accept its licence on https://huggingface.co/{name}, then "
            "log in with `hf auth login` or set HF_TOKEN"
        )
    if missing or status_of(error) == 404:
        return (
            f"model {name!r} is no folder here and not on the Hub: check the name; if it is "
            "private, log in with `hf auth login` or set HF_TOKEN"
        )
    reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return f"model {name!r} is no folder here and could not be fetched from the Hub: {reason}"
