"""Every public layout is read as its own code reads it; bad data is told in one sentence."""

import json

import layouts
import numpy as np
import pytest
from PIL import Image

from noisespace.bench.cases import Case, digest
from noisespace.bench.judges import Judges
from noisespace.bench.readers import read_cases
from noisespace.bench.scoring import Scoring
from noisespace.errors import InputError

ROW = {"image": "a.png", "source": "a cat", "target": "a dog"}


def reference_mask(runs, side=512):
    """``mask_decode`` of PnPInversion's evaluation/evaluate.py, restated."""
    flat = np.zeros(side * side)
    for start, length in zip(runs[::2], runs[1::2], strict=True):
        for k in range(min(length, side * side - start)):
            flat[start + k] = 1
    grid = flat.reshape(side, side)
    grid[0] = grid[-1] = grid[:, 0] = grid[:, -1] = 1
    return grid == 1


# ---- layouts


def test_scenes_have_true_edits_and_masks():
    cases = read_cases("scenes", 6)
    assert [c.kind for c in cases[:5]] == ["colour", "shape", "texture", "background", "removed"]
    for case in cases:
        changed = (case.pixels() != case.truth).any(2)
        assert changed.any()
        assert not (changed & ~case.where()).any()
        assert case.source != case.target
    assert digest(read_cases("scenes", 4)) == digest(cases[:4])
    assert digest(read_cases("scenes", 4, seed=1)) != digest(cases[:4])
    assert cases[0].about["blend"] == (cases[0].about["edit"].scene.objects[0].shape,) * 2


def test_pie_bench(tmp_path):
    for given in (layouts.pie(tmp_path), tmp_path / "mapping_file.json"):
        bike, cat = read_cases(given)
        assert (bike.id, bike.kind, cat.kind) == ("000000000000", "random", "change object")
        assert bike.target == "a rusty mountain bicycle on the road"
        assert (cat.source, cat.target) == ("a cat on grass", "a dog on grass")
        assert (bike.about["blend"], cat.about["blend"]) == (("bicycle", "bicycle"), None)
        assert (bike.where() == reference_mask(layouts.BIKE["mask"])).all()
        assert cat.where().sum() == 4 * 511  # the rim alone


def test_image_translation_lists(tmp_path):
    cases = read_cases(layouts.ti2i(tmp_path))
    assert [c.id for c in cases] == [
        "panda/sketch_36.jpg-1",
        "panda/sketch_36.jpg-2",
        "horse_mud.jpg-1",
    ]
    assert [c.kind for c in cases] == ["panda", "panda", ""]
    assert cases[1].target == "a sculpture of a panda"
    assert (cases[0].source, cases[2].source) == ("", "a photo of a horse in the mud")
    assert "empty prompt" in cases[0].about["source"]
    assert cases[0].pixels().shape == (8, 8, 3)


def test_tedbench_has_no_sources(tmp_path):
    cases = read_cases(layouts.tedbench(tmp_path))
    assert [c.id for c in cases] == ["bird.jpeg-1", "bird.png-1", "bird.jpeg-2"]
    assert {c.source for c in cases} == {""}
    assert "empty prompt" in cases[0].about["source"]


def test_coco_reconstructs_under_the_first_caption(tmp_path):
    cases = read_cases(layouts.coco(tmp_path))
    assert [(c.id, c.source) for c in cases] == [
        ("000000000139", "A room with a table."),
        ("000000000285", "A bear."),
    ]
    assert all(c.source == c.target for c in cases)
    mixed = read_cases(tmp_path, captions="random")
    assert [c.source for c in mixed] == ["A bear.", "A room with a table."]
    assert mixed[0].target == mixed[0].source
    assert mixed[0].about["caption"] == "A room with a table."


@pytest.mark.parametrize("name", ["cases.csv", "cases.jsonl"])
def test_tables(tmp_path, name):
    rows = [
        {**ROW, "mask": "m.png", "id": "one", "kind": "animal"},
        {**ROW, "target": 'a "red", big dog', "mask": "", "id": "", "kind": ""},
    ]
    one, two = read_cases(layouts.table(tmp_path, rows, name))
    assert (one.id, one.kind, two.id, two.mask) == ("one", "animal", "a.png-1", None)
    assert two.target == 'a "red", big dog'
    assert one.size() == one.pixels().shape[:2] == (6, 8)
    assert (one.where() == (np.arange(8) < 4)[None].repeat(6, 0)).all()


def test_a_table_may_tell_the_true_edits(tmp_path):
    known, unknown = read_cases(
        layouts.table(tmp_path, [{**ROW, "truth": "b.png"}, {**ROW, "truth": ""}])
    )
    assert (known.true_edit() == np.asarray(Image.open(tmp_path / "b.png"))).all()
    assert unknown.true_edit() is None
    found = Scoring(("psnr",), Judges())(known, known.true_edit(), None)
    assert found["psnr_truth"] == np.inf > found["psnr"]


def test_any_data_set_can_be_reconstructed(tmp_path):
    own = read_cases("scenes", 5, captions="own")
    assert all(c.target == c.source and c.mask is None and c.truth is None for c in own)
    mixed = read_cases("scenes", 5, captions="random")
    assert all(c.source != o.source for c, o in zip(mixed, own, strict=True))
    assert [c.source for c in mixed] == [c.source for c in read_cases("scenes", 5, 0, "random")]


def test_a_limit_draws_by_seed_and_grows(tmp_path):
    rows = [{**ROW, "id": f"{i:02d}"} for i in range(20)]
    folder = layouts.table(tmp_path, rows)
    few, more = ([c.id for c in read_cases(folder, n)] for n in (4, 9))
    assert set(few) < set(more)
    assert more == sorted(more)
    assert few != [c.id for c in read_cases(folder, 4, seed=1)]
    assert len(read_cases(folder, 99)) == 20


# ---- cases


def test_a_seed_is_the_cases_own():
    case = Case("one", np.zeros((4, 4, 3), np.uint8), "", "")
    assert case.seed(0) == Case("one", case.image, "a", "b").seed(0)
    assert len({case.seed(0), case.seed(1), Case("two", case.image, "", "").seed(0)}) == 3


def test_the_digest_is_of_the_content_not_of_the_place(tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    rows = [{**ROW, "mask": "m.png"}]
    before = [digest(read_cases(layouts.table(f, rows))) for f in (one, two)]
    assert before[0] == before[1]
    Image.new("L", (8, 6), 255).save(two / "m.png")
    assert digest(read_cases(two)) != before[0]
    layouts.picture(one / "a.png", (8, 6), seed=5)
    assert digest(read_cases(one)) != before[0]


def test_a_size_is_that_of_the_upright_picture(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (8, 4)).save(tmp_path / "turned.jpg", exif=exif)
    case = Case("one", tmp_path / "turned.jpg", "", "")
    assert case.size() == case.pixels().shape[:2] == (8, 4)


# ---- bad data


def bad_pie(**changes):
    return lambda folder: layouts.pie(folder, {"x": {**layouts.BIKE, **changes}})


def bad_table(*rows, name="cases.csv"):
    return lambda folder: layouts.table(folder, [{**ROW, **row} for row in rows], name)


def without(folder, name):
    (folder / name).unlink()
    return folder


def written(folder, name, text):
    (folder / name).write_text(text)
    return folder


BAD = {
    "no such path": (lambda f: f / "none", "no such folder or file"),
    "an unknown folder": (lambda f: f, "no data set that is known"),
    "an unknown file": (lambda f: layouts.picture(f / "a.png"), "no data set that is known"),
    "unknown JSON": (lambda f: written(f, "input_list.json", "[3]"), "no data set that is known"),
    "broken JSON": (lambda f: written(f, "mapping_file.json", '{"a'), "no valid JSON"),
    "broken YAML": (lambda f: layouts.ti2i(f, "- ["), "no valid YAML"),
    "unsafe YAML": (lambda f: layouts.ti2i(f, "!!python/object:os.system {}"), "no valid YAML"),
    "YAML of no list": (lambda f: layouts.ti2i(f, "a: 1"), "expected a list"),
    "two lists": (lambda f: written(layouts.table(f), "b.csv", "image"), "several lists of cases"),
    "nothing in it": (lambda f: written(f, "mapping_file.json", "{}"), "holds no case"),
    "a table of no rows": (
        lambda f: written(f, "cases.csv", "image,source,target\n"),
        "holds no case",
    ),
    "pie: missing image": (
        lambda f: without(
            bad_pie(image_path="0_random_140/other.jpg")(f),
            "annotation_images/0_random_140/other.jpg",
        ),
        "entry x: names '0_random_140/other.jpg', but there is no such file",
    ),
    "pie: outside": (bad_pie(image_path="../mapping_file.json"), "lies outside"),
    "pie: no prompt": (bad_pie(editing_prompt=None), "entry x: editing_prompt: input should be"),
    "pie: kind": (bad_pie(editing_type_id="11"), "got editing_type_id '11', expected one of 0, 1"),
    "pie: odd mask": (bad_pie(mask=[1, 2, 3]), "got a mask of 3 numbers"),
    "pie: mask out of it": (bad_pie(mask=[512 * 512, 1]), "got a mask of 2 numbers"),
    "pie: another size": (
        lambda f: layouts.pie(f, side=64),
        r"mask is bool \(512, 512\), expected bool of the image's size \(64, 64\)",
    ),
    "ti2i: no image": (
        lambda f: layouts.ti2i(f, "- target_prompts: [a photo of a cat]"),
        r"entry 1: names no init_img \(a photo of a cat\); add",
    ),
    "ti2i: missing image": (
        lambda f: layouts.ti2i(f, "- {init_img: /x/y.jpg, target_prompts: [a]}"),
        "entry 1: names 'x/y.jpg', but there is no such file",
    ),
    "ti2i: outside": (
        lambda f: layouts.ti2i(f, "- {init_img: a/../../b.jpg, target_prompts: [a]}"),
        "lies outside",
    ),
    "tedbench: no target": (
        lambda f: layouts.tedbench(f, [{"img_name": "bird.png"}]),
        "entry 1: target_text: field required",
    ),
    "coco: no images": (
        lambda f: (layouts.coco(f) / "val2017").rename(f / "x").parent,
        "its images are missing",
    ),
    "table: missing image": (bad_table({"image": "c.png"}), "line 2: names 'c.png', but"),
    "table: absolute": (bad_table({"image": "/etc/passwd"}), "lies outside"),
    "table: no target": (bad_table({"target": " "}), "line 2: its target is empty"),
    "table: column": (bad_table({"sorce": "x"}), "has a column 'sorce', expected image, source"),
    "table: no column": (
        lambda f: written(f, "cases.csv", "image,source\na.png,a cat\n"),
        "has no column 'target'",
    ),
    "table: more cells": (
        lambda f: written(layouts.table(f), "cases.csv", "image,source,target\na.png,a,b,c\n"),
        "line 2 has more cells",
    ),
    "table: twice": (bad_table({"id": "one"}, {"id": "one"}), "the id 'one' is there twice"),
    "table: mask size": (
        lambda f: bad_table({"mask": "a.png", "image": "big.png"})(
            layouts.picture(f / "big.png", (9, 9)).parent
        ),
        r"mask is bool \(6, 8\), expected bool of the image's size \(9, 9\)",
    ),
    "table: size of the true edit": (
        lambda f: bad_table({"truth": "a.png", "image": "big.png"})(
            layouts.picture(f / "big.png", (9, 9)).parent
        ),
        r"true edit has \(6, 8\) pixels, expected the image's size \(9, 9\)",
    ),
    "jsonl: no object": (
        lambda f: written(f, "cases.jsonl", "[1]\n"),
        "line 1 is no JSON object",
    ),
    "jsonl: a number": (bad_table({"id": 7}, name="cases.jsonl"), "id: input should be a valid st"),
}


@pytest.mark.parametrize(("make", "says"), BAD.values(), ids=BAD)
def test_bad_data_is_one_sentence(tmp_path, make, says):
    with pytest.raises(InputError, match=says) as told:
        read_cases(make(tmp_path))
    assert "\n" not in str(told.value)


def test_a_link_out_of_the_folder_is_refused(tmp_path):
    folder = layouts.table(tmp_path / "data")
    layouts.picture(tmp_path / "secret.png")
    (folder / "c.png").symlink_to(tmp_path / "secret.png")
    (folder / "cases.csv").write_text("image,source,target\nc.png,a,b\n")
    with pytest.raises(InputError, match="lies outside"):
        read_cases(folder)


@pytest.mark.parametrize("options", [{"limit": 0}, {"limit": True}, {"captions": "all"}])
def test_bad_options(options):
    with pytest.raises(InputError, match="must be"):
        read_cases("scenes", **options)


def test_one_caption_cannot_be_another(tmp_path):
    with pytest.raises(InputError, match="no other caption"):
        read_cases(layouts.table(tmp_path), captions="random")


def test_a_mapping_without_masks_or_kinds(tmp_path):
    entry = {k: layouts.BIKE[k] for k in ("image_path", "original_prompt", "editing_prompt")}
    folder = layouts.pie(tmp_path, {"x": entry}, side=8)
    (case,) = read_cases(folder)
    assert (case.mask, case.kind, case.where()) == (None, "", None)
    assert json.loads((folder / "mapping_file.json").read_text())
