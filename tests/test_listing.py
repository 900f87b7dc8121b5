"""One list: what stands in it is known everywhere, by what its class says of itself."""

import importlib
import json
import os
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Sequence
from dataclasses import MISSING, dataclass, field, is_dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from annotated_types import Interval
from typer.testing import CliRunner

import noisespace as ns
from choices import EVERY_EDITOR, EVERY_INVERSION, EVERY_MASK
from noisespace.cli import app
from noisespace.core.steps import STEPS
from noisespace.editing import EDITORS, MASKS, OPERATIONS
from noisespace.errors import InputError
from noisespace.inversion import METHODS
from noisespace.planning.catalogue import LISTS, catalogue
from noisespace.system.fields import check_fields, fields_of
from noisespace.system.listing import Listing

ROOT = Path(__file__).parents[1]
ANYTHING = {"alignment", "score", "strokes", "color", "mask"}  # pictures, models, functions
EVERY = [(table, name) for table in (*LISTS.values(), STEPS) for name in table]
METHOD = '''
"""A method."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from annotated_types import Interval

from noisespace.core.code import Code
from noisespace.core.grid import Grid
from noisespace.inversion.ddim import DDIM
from noisespace.inversion.problem import Defaults, Problem


@dataclass(frozen=True)
class HalfWay:
    """Half an inversion (arXiv 1234.56789): it climbs a share of the way.

    ``share``: how much of the way it climbs.
    """

    share: Annotated[float, Interval(gt=0, le=1)] = 0.5

    defaults: ClassVar[Defaults] = Defaults(steps=20, invert=1.0, edit=2.0)

    def check(self, grid: Grid) -> None:
        """Every setting fits every grid."""

    def invert(self, problem: Problem) -> Code:
        return DDIM(stop=self.share).invert(problem)
'''
LINE = "    from noisespace.inversion.half_way import HalfWay as HalfWay\n"
USES = """
import dataclasses, json, sys
import torch
import noisespace as ns
from noisespace.cli.app import app
from noisespace.inversion import METHODS
from noisespace.planning.catalogue import catalogue
from noisespace.planning.parsing import parse_method
from noisespace.web.parameters import fields_of
from noisespace.web.written import parse_repr, spec_of
from typer.main import get_command

model = ns.Mixture({"": torch.zeros(2, 1, 1)})
x0 = torch.ones(1, 2, 1, 1, dtype=torch.float64)
method = parse_method("half_way:share=.25")
code = ns.invert(model, x0, "", method)
try:
    ns.invert(model, x0, "", ns.HalfWay(2.0))
except ns.InputError as error:
    refused = str(error)
options = {o.name: o.help or "" for o in get_command(app).commands["edit"].params}
print(json.dumps({
    "names": ["HalfWay" in ns.__all__, "HalfWay" in dir(ns), "half-way" in options["method"]],
    "same": [type(method) is ns.HalfWay, parse_repr(code.method, "method", METHODS) == method],
    "spec": spec_of(method, "method", METHODS),
    "code": [code.method, code.steps, len(code.path)],
    "form": [dataclasses.asdict(f) for f in fields_of("half-way", METHODS)],
    "facts": catalogue()["inversions"]["half-way"],
    "refused": refused,
}))
"""


def run(code: str, path: Path | None = None) -> str:
    """What a Python of its own prints; ``path``: where its noisespace is."""
    command = [sys.executable, "-c", textwrap.dedent(code)]
    env = {"PYTHONPATH": str(path)} if path else {}
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **env})
    assert done.returncode == 0, done.stderr
    return done.stdout


# ---- the lists


@pytest.mark.parametrize(("table", "name"), EVERY, ids=str)
def test_every_name_is_a_choice_in_its_file(table, name):
    cls = table[name]
    assert is_dataclass(cls)
    assert cls.__dataclass_params__.frozen
    assert name in cls.__module__.replace("_", "-")
    assert all(f.hint is not Any or f.name in ANYTHING for f in fields_of(cls))


def test_lists_hold_what_the_package_has():
    for table in LISTS.values():
        for name, cls in table.items():
            assert getattr(ns, cls.__name__) is cls
            assert table.name_of(object()) is None
            assert name in table
    names = {type(choice).__name__ for choice in (*EVERY_INVERSION, *EVERY_EDITOR, *EVERY_MASK)}
    assert names < set(ns.__all__)
    assert METHODS.name_of(ns.EDICT()) == "edict"
    assert MASKS.name_of(ns.AttentionMask("cat")) == "attention"
    with pytest.raises(KeyError):
        METHODS["frobnicate"]
    with pytest.raises(AttributeError, match="no attribute 'frobnicate'"):
        _ = importlib.import_module("noisespace.inversion").frobnicate


def test_names_are_known_without_the_classes():
    loaded = run(
        """
        import sys
        import noisespace
        from noisespace.core.steps import STEPS
        from noisespace.editing import EDITORS, MASKS, OPERATIONS
        from noisespace.inversion import METHODS
        from noisespace.planning import parsing
        assert all(list(t) for t in (METHODS, EDITORS, MASKS, OPERATIONS, STEPS))
        assert "ddim" in METHODS and "dim" not in METHODS and dir(noisespace)
        print({"torch", "numpy", "PIL", "noisespace.inversion.ddim"} & set(sys.modules))
        """
    )
    assert loaded.strip() == "set()"


def test_a_list_is_the_imports_above_its_name(tmp_path, monkeypatch):
    package = tmp_path / "sweets"
    package.mkdir()
    (package / "dark_one.py").write_text("class Dark:\n    pass\n\n\nraised = 1\n")
    (package / "light.py").write_text("raise RuntimeError('imported')\n")
    (package / "__init__.py").write_text(
        "from typing import TYPE_CHECKING\n"
        "from noisespace.system.listing import Listing, lazily\n"
        "if TYPE_CHECKING:\n    from sweets.dark_one import raised as raised\n"
        "if TYPE_CHECKING:\n"
        "    from sweets.dark_one import Dark as Dark\n"
        "    from sweets.light import Light as Light\n"
        "SWEETS = Listing(__name__, 'SWEETS')\n"
        "if TYPE_CHECKING:\n    from sweets.dark_one import Dark as Dark\n"
        "BITTER = Listing(__name__, 'BITTER')\n"
        "__getattr__, __dir__, __all__ = lazily(__name__)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    sweets = importlib.import_module("sweets")
    assert list(sweets.SWEETS) == ["dark-one", "light"]
    assert list(sweets.BITTER) == ["dark-one"]
    assert sweets.__all__ == ["BITTER", "Dark", "Light", "SWEETS", "raised"] == dir(sweets)
    assert sweets.SWEETS["dark-one"] is sweets.Dark
    assert sweets.raised == 1
    with pytest.raises(RuntimeError, match="imported"):
        _ = sweets.Light


def test_a_new_method_is_one_file_and_one_line(tmp_path):
    """In a copy of the package: its names, parser, help, forms and records know it."""
    copy = tmp_path / "noisespace"
    shutil.copytree(
        ROOT / "src" / "noisespace",
        copy,
        ignore=shutil.ignore_patterns("embedded", "__pycache__"),
    )
    (copy / "inversion" / "half_way.py").write_text(METHOD)
    lists = copy / "inversion" / "__init__.py"
    before = "    from noisespace.inversion.imagic"
    text = lists.read_text()
    assert text.count(before) == 1
    lists.write_text(text.replace(before, LINE + before))
    found = json.loads(run(USES, tmp_path))
    assert all(found["names"])
    assert all(found["same"])
    assert found["spec"] == "half-way:share=0.25"
    assert found["code"] == ["HalfWay(share=0.25)", 20, 6]
    assert found["refused"] == "share must be above 0 and at most 1, got 2.0"
    (form,) = found["form"]
    assert form["help"] == "how much of the way it climbs"
    assert form["span"] == [0.01, 1.0, 0.01]
    facts = found["facts"]
    assert (facts["class"], facts["source"], facts["steps"]) == ("HalfWay", "1234.56789", 20)
    assert facts["fields"][0]["range"] == "(0, 1]"


# ---- fields


@dataclass(frozen=True)
class Everything:
    share: Annotated[float, Interval(ge=0, le=1)] = 0.5
    rate: Annotated[float, Interval(gt=0, le=10)] = 1.0
    count: Annotated[int, Interval(ge=1)] | None = None
    steps: int | float = 4
    word: Literal["a", "b", "c"] = "a"
    on: bool = True
    maybe: bool | None = None
    pair: Annotated[float | tuple[float, float], Interval(ge=0, le=1)] = 0.5
    words: tuple[str, str] | str | None = None
    weights: dict[str, float] = field(default_factory=dict)
    many: Sequence[str] = ()
    free: Any = None
    named: Annotated[int, Interval(ge=0, lt=4), "one of four"] = 0


GOOD = [
    {"share": 1, "rate": 10, "count": 1, "steps": 0.5, "word": "c", "on": False, "maybe": None},
    {"pair": (0.0, 1), "words": ("a", "b"), "many": ["a"], "free": {1, 2}, "named": 3},
]
BAD = [
    ("share", 1.5, r"share must be a number in \[0, 1\], got 1.5"),
    ("share", "x", r"share must be a number in \[0, 1\], got 'x'"),
    ("share", True, "share must be a number"),
    ("share", float("nan"), "share must be a number .* got nan"),
    ("rate", 0, "rate must be above 0 and at most 10, got 0"),
    ("rate", None, "rate must be a number above 0 and at most 10, got None"),
    ("count", 0, "count must be a whole number from 1 on or None, got 0"),
    ("count", 1.5, "count must be a whole number"),
    ("steps", "4", "steps must be a whole number or a number, got '4'"),
    ("word", "d", 'word must be "a", "b" or "c", got \'d\''),
    ("on", 1, "on must be True or False, got 1"),
    ("maybe", "no", "maybe must be True or False or None"),
    ("pair", (0.5, 1.5), "pair must be"),
    ("pair", (0.1, 0.2, 0.3), "pair must be"),
    ("many", 3, "many must be"),
    ("named", 4, "named must be one of four, got 4"),
]


@pytest.mark.parametrize("values", GOOD, ids=str)
def test_good_fields(values):
    check_fields(Everything(**values))


@pytest.mark.parametrize(("name", "value", "words"), BAD)
def test_bad_fields_are_refused_in_one_sentence(name, value, words):
    with pytest.raises(InputError, match=words):
        check_fields(Everything(**{name: value}))


def test_somebodys_own_class_is_left_alone():
    class Thing:
        pass

    @dataclass
    class Own:
        """Its hints name a class of a function, which nobody else can look up."""

        thing: "Thing"
        share: float = 0.5

    check_fields(Own(Thing(), share="x"))  # type: ignore[arg-type]
    check_fields(Own)
    check_fields("no dataclass")


@pytest.mark.parametrize(("table", "name"), EVERY, ids=str)
def test_every_default_fits_its_field(table, name):
    for known in fields_of(table[name]):
        if known.default is not MISSING:
            known.check(known.default, name)


# ---- what is said of them


def test_the_catalogue_says_everything():
    found = catalogue()
    for kind, table in LISTS.items():
        assert list(found[kind]) == list(table)
        for name, one in found[kind].items():
            assert one["about"], name
            assert "``" not in one["about"]
            assert all(len(f["help"]) > 10 for f in one["fields"]), name
    assert all(one["source"] for one in found["inversions"].values())
    assert found["inversions"]["belm"]["source"] == "2410.07273"
    assert [f["name"] for f in found["editors"]["prompt-to-prompt"]["fields"]][:2] == [
        "cross",
        "self",
    ]


def test_the_command_tells_the_catalogue():
    done = CliRunner().invoke(app, ["methods", "--json"])
    assert done.exit_code == 0
    told = json.loads(done.stdout)
    assert {kind: set(names) for kind, names in told.items()} == {
        kind: set(table) for kind, table in LISTS.items()
    }
    text = CliRunner().invoke(app, ["methods"]).stdout
    for name in (*METHODS, *EDITORS, *MASKS, *OPERATIONS):
        assert f"  {name}: " in text


def test_the_pages_have_a_table_of_each_list(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "docs")
    hooks = importlib.import_module("hooks")
    pages = [path.read_text() for path in (ROOT / "docs").glob("*.md")]
    marks = [kind for page in pages for kind in hooks.MARK.findall(page)]
    assert sorted(marks) == sorted(LISTS)
    drawn = "\n".join(hooks.on_page_markdown(page) for page in pages if hooks.MARK.search(page))
    for table in LISTS.values():
        for name, cls in table.items():
            (row, *_) = [line for line in drawn.splitlines() if line.startswith(f"| `{name}` |")]
            assert f"| `{cls.__name__}` |" in row
            assert all(f"`{f.name.rstrip('_')}" in row for f in fields_of(cls))
    assert "[2410.07273](https://arxiv.org/abs/2410.07273)" in drawn
    assert hooks.on_page_markdown("no mark") == "no mark"


def test_a_listing_is_a_mapping():
    assert isinstance(METHODS, Listing)
    assert {**METHODS}["ddim"] is ns.DDIM
    assert len(METHODS) == len(list(METHODS))
