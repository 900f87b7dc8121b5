"""A job's folder: what it is about, and that nothing else goes on in it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

from noisespace.batch import records
from noisespace.batch.marks import BEGUN
from noisespace.batch.plan import Plan, Settings, digest
from noisespace.batch.stores import Store
from noisespace.errors import InputError
from noisespace.planning.result import model_record
from noisespace.version import VERSION

FORMAT = 1
JOB = "job.json"
PAGES = ("summary.html", "failed.jsonl")  # what a run leaves of the whole job


def about(plan: Plan, settings: Settings, model: Any) -> dict[str, Any]:
    """What a job's results depend on, as job.json has it."""
    own = asdict(settings)
    # as the model's record has them, with its dtype and all that moves a result
    del own["model"], own["added"]
    own["speed"] = {k: v for k, v in own["speed"].items() if k in ("preset", "compile")}
    return {
        "format": FORMAT,
        "noisespace": VERSION,
        "manifest": {"name": plan.name, "rows": plan.rows, "digest": digest(plan.groups)},
        "groups": len(plan.groups),
        "settings": own,
        "model": model_record(model),
    }


def check_folder(place: Store, own: Mapping[str, Any], force: bool) -> bool:
    """Whether a job is in a folder already. InputError where that is another's, or no job's."""
    own = json.loads(json.dumps(own))  # as it will be read
    found = read_job(place)
    if found is not None and not force:
        for key in ("format", "settings", "model", "manifest"):
            before, now = pared(found.get(key)), pared(own[key])
            if before != now:
                raise InputError(
                    f"{place.name}: holds a job of another {key} ({told(before, now)}); name "
                    "another folder, or begin anew with --force"
                )
    elif found is None and [n for n in place.list("") if n not in ("lock", ".lock")] and not force:
        raise InputError(f"{place.name}: holds other files and no job; name another folder")
    return found is not None


def open_job(place: Store, own: Mapping[str, Any], force: bool) -> None:
    """Makes a job's folder or goes on with the one that is there, as `check_folder` allows.

    ``force`` begins anew: the old job's records, marks and pages go. The folder must be held.
    """
    there = check_folder(place, own, force)
    place.tidy()
    if there and force:
        for folder in (records.FOLDER, BEGUN):
            for name in place.list(folder):
                place.remove(f"{folder}/{name}")
        for name in PAGES:
            place.remove(name)
    if not there or force:
        place.put(JOB, json.dumps(own, indent=2, sort_keys=True).encode())


def pared(value: Any) -> Any:
    """What two runs of one job have in common: the manifest may have been moved."""
    return {k: v for k, v in value.items() if k != "name"} if isinstance(value, dict) else value


def told(before: Any, now: Any) -> str:
    """What differs of two settings, in words."""
    return "; ".join(differences(before, now)) or f"{before!r}, now {now!r}"


def differences(before: Any, now: Any, name: str = "") -> Iterator[str]:
    """Each value that differs, down to the ones that are no mappings."""
    if isinstance(before, dict) and isinstance(now, dict):
        for key in sorted(before.keys() | now.keys()):
            if before.get(key) != now.get(key):
                yield from differences(before.get(key), now.get(key), f"{name}.{key}".strip("."))
    elif name:
        yield f"{name} was {str(before)[:80]}, now {str(now)[:80]}"


def read_job(place: Store) -> dict[str, Any] | None:
    """job.json, None where there is none. InputError for a damaged one."""
    data = place.get(JOB)
    if data is None:
        return None
    try:
        found = json.loads(data)
        if not isinstance(found, dict) or not isinstance(found.get("manifest"), dict):
            raise ValueError
        return found
    except ValueError:
        raise InputError(f"{place.name}/{JOB}: is damaged; name another folder") from None
