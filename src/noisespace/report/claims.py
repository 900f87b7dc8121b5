"""The published claims C1-C21, which study decides each, and their verdicts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from noisespace.errors import InputError
from noisespace.study.claims import OPEN, combined

CLAIMS: dict[str, str] = {
    "C1": "DDIM inversion at w = 1: the error falls about linearly with the step size, and "
    "reconstruction is near-exact at 1000 steps",
    "C2": "Under guidance (w = 7.5) the same DDIM code reconstructs badly: errors accumulate",
    "C3": "eta = 1 is DDPM, eta = 0 DDIM; with 10 to 100 steps DDIM beats DDPM in quality, with "
    "1000 they are close",
    "C4": "Null-text inversion at w = 7.5 comes within 0.5 dB of the autoencoder's own "
    "reconstruction; DDIM is the lower bound",
    "C5": "Null-text's ablations (random pivot, one global null embedding, no pivot, textual "
    "inversion without and with a pivot) are all worse at equal iterations",
    "C6": "Null-text inversion with a random caption still reaches the upper bound",
    "C7": "Negative-prompt inversion reconstructs as DDIM at w = 1 does, more than 30 times faster "
    "than null-text",
    "C8": "Edit-friendly inversion reconstructs exactly for every eta in (0, 1], steps, skip and "
    "guidance",
    "C9": "Edit-friendly maps have a larger variance than native ones and successive maps are "
    "negatively correlated; native and CycleDiffusion's are neither; in two dimensions angles are "
    "uniform natively and peak at 180 degrees for edit-friendly maps",
    "C10": "Translating edit-friendly maps translates the picture with slight damage; translating "
    "native maps destroys its structure",
    "C11": "The colour edit on noise maps changes colour and keeps texture; SDEdit trades one for "
    "the other",
    "C12": "Another prompt over fixed native maps loses the structure; over edit-friendly maps it "
    "keeps it",
    "C13": "Structure against target: edit-friendly edits beat DDIM inversion, DDIM stopped "
    "half-way, SDEdit and CycleDiffusion along the whole curve",
    "C14": "Edit-friendly inversion gives diverse edits of one picture by seed; DDIM inversion "
    "gives one",
    "C15": "Edit-friendly inside Prompt-to-Prompt beats Prompt-to-Prompt over DDIM inversion on "
    "both axes; inside pix2pix-zero it beats DDIM on structure",
    "C16": "Skip and guidance trade faithfulness against the target monotonically",
    "C17": "EDICT is exact and doubles the evaluations",
    "C18": "DiffEdit's mask finds the edited region and protects the rest; it gets worse with "
    "complex prompts",
    "C19": "Seconds an edit: edit-friendly and negative-prompt are fast, Plug-and-Play and "
    "null-text slow",
    "C20": "Negative-prompt's premises: eps at adjacent steps nearly agree on the pivot; eps under "
    "null-text's null is closer to that under the source text than under the empty one; its edits "
    "are on a par with null-text's",
    "C21": "A source caption must name the region to be edited: attention maps and edits are "
    "better with it than with other captions of the same picture",
}
DECIDES: dict[str, tuple[str, ...]] = {
    "gaussian": ("C9",),
    "statistics": ("C9",),
    "reconstruction": ("C1", "C2", "C3", "C8"),
    "null-text": ("C4", "C5", "C6", "C7"),
    "operations": ("C10", "C11"),
    "fixed-maps": ("C12",),
    "trade-off": ("C13",),
    "diversity": ("C14",),
    "editors": ("C15",),
    "skip-guidance": ("C16",),
    "coupled": ("C17",),
    "masks": ("C18",),
    "times": ("C19", "C7"),
    "premises": ("C20",),
    "captions": ("C21",),
}


@dataclass(frozen=True)
class Verdict:
    """A claim with what was found of it, over all of its parts.

    ``numbers``: by part, each figure with its interval, n and bounds; ``n``: of the smallest part;
    ``seconds``: what its studies took, which may decide other claims as well; ``words``: the
    figures as text; ``studies``: where they come from.
    """

    id: str
    claim: str
    verdict: str
    rule: str
    numbers: Mapping[str, Any]
    n: int
    seconds: float
    words: str = ""
    studies: tuple[str, ...] = ()
    parts: Sequence[Mapping[str, Any]] = field(default_factory=list)

    def record(self) -> dict[str, Any]:
        """The verdict as JSON."""
        return {**asdict(self), "studies": list(self.studies), "parts": list(self.parts)}


def chosen(text: str | None) -> list[str]:
    """Claims by a list such as "C1,C8"; None is all. Raises InputError for one that is not."""
    if text is None:
        return list(CLAIMS)
    names = [name.strip().upper() for name in text.split(",") if name.strip()]
    unknown = [name for name in names if name not in CLAIMS]
    if unknown or not names:
        raise InputError(
            f"got claims {text!r}, expected some of C1 to C{len(CLAIMS)}, such as C1,C8"
        )
    return [name for name in CLAIMS if name in names]


def studies_of(claims: Iterable[str]) -> list[str]:
    """The studies that decide some claims, in their order."""
    wanted = set(claims)
    return [study for study, decided in DECIDES.items() if wanted & set(decided)]


def verdicts(
    claims: Sequence[str],
    found: Mapping[str, Mapping[str, Any]],
    failed: Mapping[str, str],
    seconds: Mapping[str, float],
) -> list[Verdict]:
    """Every claim with its verdict.

    ``found``: by study its numbers; ``failed``: by study why it has none; ``seconds``: by study.
    """
    return [one_verdict(name, found, failed, seconds) for name in claims]


def one_verdict(
    name: str,
    found: Mapping[str, Mapping[str, Any]],
    failed: Mapping[str, str],
    seconds: Mapping[str, float],
) -> Verdict:
    """One claim, from the parts that its studies decided."""
    studies = tuple(study for study, decided in DECIDES.items() if name in decided)
    parts = [
        {"study": study, **part}
        for study in studies
        for part in found.get(study, {}).get("claims", [])
        if part["id"] == name
    ]
    missing = [f"{study}: {failed[study]}" for study in studies if study in failed]
    verdict = combined(parts).get(name, OPEN)
    if missing and verdict != "does not hold":  # a part that fails decides; one that is missing not
        verdict = f"not decided: {'; '.join(missing)}"
    return Verdict(
        id=name,
        claim=CLAIMS[name],
        verdict=verdict,
        rule="; and ".join(dict.fromkeys(labelled(part, "rule") for part in parts)),
        numbers={part["part"] or part["study"]: part["numbers"] for part in parts},
        n=min((part["n"] for part in parts), default=0),
        seconds=round(sum(seconds.get(study, 0.0) for study in studies), 1),
        words="; ".join(labelled(part, "words") for part in parts),
        studies=studies,
        parts=parts,
    )


def labelled(part: Mapping[str, Any], key: str) -> str:
    """A text of a part, after the part's name where it has one."""
    return f"{part['part']}: {part[key]}" if part["part"] else str(part[key])
