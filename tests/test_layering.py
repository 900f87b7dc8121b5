"""Imports point down only, and the core knows nothing of diffusers."""

import ast
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "noisespace"
# From the ground up; a module may import from its own package and from the layers below it.
LAYERS = [
    {"errors", "version"},
    {"system"},
    {"pictures"},
    {"core"},
    {"models"},
    {"inversion", "editing"},  # which know nothing of each other
    {"planning"},
    {"api"},
    {"train"},
    {"bench"},
    {"study"},
    {"batch"},
    {"report"},
    {"web"},
    {"cli"},
    {"__main__"},
]
TORCH_ALONE = {"errors", "system", "pictures", "core"}
FILES = sorted(f for f in SOURCE.rglob("*.py") if f != SOURCE / "__init__.py")
RANK = {name: rank for rank, names in enumerate(LAYERS) for name in names}


def part(file: Path) -> str:
    """The module or package right under noisespace that a file belongs to."""
    return file.relative_to(SOURCE).parts[0].removesuffix(".py")


def imported(file: Path) -> set[str]:
    """Every dotted name that a file imports, at the top or in a function."""
    names = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: write imports in full"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


@pytest.mark.parametrize("file", FILES, ids=lambda f: str(f.relative_to(SOURCE)))
def test_imports_point_down(file):
    name = part(file)
    assert name in RANK, f"{name} has no place in LAYERS yet"
    for target in imported(file):
        top, _, rest = target.partition(".")
        if top == "noisespace":
            below = rest.split(".")[0]
            if below in {"__version__", ""}:
                continue
            assert below in RANK, f"{file}: imports {target}, which has no place in LAYERS"
            apart = RANK[below] == RANK[name] and below != name
            assert RANK[below] <= RANK[name], f"{name} must not import {below}"
            assert not apart or name in LAYERS[0], f"{name} must not import {below}"
        if name in TORCH_ALONE:
            assert top not in {"diffusers", "transformers", "torchvision"}


def test_nothing_imports_torchvision_or_unpickles():
    restricted = SOURCE / "bench" / "weights.py"  # numpy arrays alone, of files of known content
    for file in FILES:
        known = {"torchvision"} if file == restricted else {"torchvision", "pickle"}
        assert not any(n.split(".")[0] in known for n in imported(file)), file
        assert "torch.load(" not in file.read_text(), file
    assert "pickle.load" not in restricted.read_text()  # only its own Unpickler


def test_the_top_is_a_door_not_a_room():
    """What a reader meets first: at most six files, and a place for everything else."""
    assert len(list(SOURCE.glob("*.py"))) <= 6


def test_only_a_family_knows_its_network():
    for file in FILES:
        nodes = ast.walk(ast.parse(file.read_text()))
        known = file.parent.name == "families"
        asked = any(isinstance(node, ast.Attribute) and node.attr == "unet" for node in nodes)
        assert known or not asked, f"{file}: ask the model for its network"
