"""Lists of images with target prompts: ImageNet-R-TI2I and its kin (YAML), and TEdBench (JSON)."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Any

from noisespace.bench.cases import Case
from noisespace.bench.layouts import Entry, Numbered, entry_of, inside, read_text
from noisespace.errors import InputError

NO_SOURCE = "the data set has none: the image is inverted under the empty prompt"


class Translated(Entry):
    """An image with its targets. Public copies leave out many sources, and one its image."""

    init_img: str = ""
    source_prompt: str = ""
    target_prompts: list[str]


class Textual(Entry):
    """One entry of TEdBench's ``input_list.json``."""

    img_name: str
    target_text: str


def read_yaml(file: Path) -> Any:
    """What a YAML file holds: plain data, nothing is built from it."""
    try:
        import yaml
    except ModuleNotFoundError:
        raise InputError(f"{file}: needs PyYAML; install noisespace[bench]") from None
    try:
        return yaml.safe_load(read_text(file))
    except (yaml.YAMLError, RecursionError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"{file}: is no valid YAML: {reason}") from None


def ti2i_cases(file: Path) -> list[Case]:
    """A list of {init_img, source_prompt, target_prompts}: a case for every target.

    The layout of ImageNet-R-TI2I's ``imnetr-ti2i.yaml`` (Plug-and-Play, arXiv 2211.12572,
    github.com/MichalGeyer/plug-and-play) and of the data sets of edit-friendly DDPM
    (arXiv 2304.06140, github.com/inbarhub/DDPM_inversion, ``test.yaml``). ``init_img`` begins with
    a slash, and with the data set's own folder in the former: it is looked up in the file's folder,
    whole and without its first part. ``kind`` is the folder of the image (the class).
    """
    entries = read_yaml(file)
    if not isinstance(entries, list):
        raise InputError(f"{file}: expected a list of init_img, source_prompt, target_prompts")
    cases, ids = [], Numbered()
    for number, value in enumerate(entries, 1):
        where = f"{file}: entry {number}"
        entry = entry_of(Translated, value, where)
        if not entry.init_img:
            raise InputError(
                f"{where}: names no init_img ({', '.join(entry.target_prompts)[:80]}); add the "
                "path of its image"
            )
        name, image = found(file.parent, entry.init_img, where)
        source = entry.source_prompt.strip()
        about = {"data": file.stem, **({} if source else {"source": NO_SOURCE})}
        kind = name.parent.name
        cases += [
            Case(ids(str(name)), image, source, target.strip(), kind=kind, about=about)
            for target in entry.target_prompts
        ]
    return cases


def found(root: Path, name: str, where: str) -> tuple[PurePosixPath, Path]:
    """An ``init_img`` as a name in the folder, and its file."""
    whole = PurePosixPath(name.replace("\\", "/").strip("/"))
    for part in (whole, PurePosixPath(*whole.parts[1:])):
        if part.parts and (root / part).is_file():
            return part, inside(root, str(part), where)
    return whole, inside(root, str(whole), where)


def tedbench_cases(file: Path, entries: Any) -> list[Case]:
    """TEdBench (Imagic, arXiv 2210.09276): {img_name, target_text}, images in ``originals/``.

    The layout of github.com/imagic-editing/imagic-editing.github.io, tedbench/. It gives no source
    prompts: they are empty, and ``about["source"]`` says so.
    """
    cases, ids = [], Numbered()
    for number, value in enumerate(entries, 1):
        where = f"{file}: entry {number}"
        entry = entry_of(Textual, value, where)
        image = inside(file.parent / "originals", entry.img_name, where)
        about = {"data": "TEdBench", "source": NO_SOURCE}
        cases.append(Case(ids(entry.img_name), image, "", entry.target_text.strip(), about=about))
    return cases
