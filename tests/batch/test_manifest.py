"""Manifests: three formats, every fault with its line, groups and seeds from the manifest alone."""

import csv
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from noisespace.batch.job import Job, groups_of
from noisespace.batch.manifest import Item, read_manifest
from noisespace.batch.places import is_url, resolved
from noisespace.errors import InputError

ROWS = [
    {"id": "a", "image": "a.png", "source": "a cat", "target": ["a dog", "a horse"], "steps": 4},
    {"id": "b", "image": "s3://shop/b.png", "target": ["a, dog"], "guidance": 2.5, "seed": 7},
    {
        "id": "c",
        "image": "c.png",
        "target": ["a dog"],
        "method": "ddim",
        "mask": "diffedit:ratio=2",
    },
    {"id": "d", "image": "d.png", "target": ["a dog"], "mask": "d-mask.png"},
]


def write(folder, ending, rows=ROWS):
    path = folder / f"jobs.{ending}"
    if ending == "jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    elif ending == "csv":
        names = list(dict.fromkeys(name for row in rows for name in row))
        with path.open("w", newline="") as file:
            out = csv.DictWriter(file, names)
            out.writeheader()
            for row in rows:
                target = row.get("target")
                cell = json.dumps(target) if isinstance(target, list) else target
                out.writerow({**row, "target": cell})
    else:
        names = dict.fromkeys(name for row in rows for name in row)  # pyarrow looks at one row
        pq.write_table(pa.Table.from_pylist([{n: row.get(n) for n in names} for row in rows]), path)
    return path


def test_the_formats_say_the_same(tmp_path):
    found = {e: read_manifest(write(tmp_path, e)) for e in ("jsonl", "csv", "parquet")}
    assert found["jsonl"] == found["csv"] == found["parquet"]
    a, b, c, d = found["csv"].items
    assert a.target == ("a dog", "a horse")
    assert a.image == str(tmp_path / "a.png")  # beside the manifest, wherever the command runs
    assert (b.image, b.guidance, b.seed) == ("s3://shop/b.png", 2.5, 7)
    assert not c.painted
    assert d.mask == str(tmp_path / "d-mask.png")


def test_every_fault_is_told_with_its_line(tmp_path):
    bad = [
        {"id": "a", "image": "a.png", "target": "a dog"},
        {"image": "a.png", "target": "a dog"},
        {"id": "b", "image": "a.png", "target": "a dog", "colour": "red"},
        {"id": "c", "image": "a.png", "target": "a dog", "steps": "many"},
        {"id": "d", "image": "a.png", "target": "a dog", "method": "edit-freindly"},
        {"id": "e", "image": "a.png", "target": [" "]},
        {"id": "f", "image": "a.png", "target": "a dog", "guidance": 1e9},
        {"id": "a", "image": "b.png", "target": "a dog"},
    ]
    path = write(tmp_path, "jsonl", bad)
    path.write_text(path.read_text() + "[1, 2]\n{broken\n")
    with pytest.raises(InputError) as error:
        read_manifest(path)
    words = [
        "9 rows cannot be used",
        "line 2: has no id",
        "line 3: there is no column 'colour'",
        "line 4: steps",
        "line 5: method 'edit-freindly' is not known; did you mean edit-friendly",
        "line 6: target is empty",
        "line 7: guidance",
        "line 8: id 'a' is that of line 1 too",
        "line 9: is no JSON object",
        "line 10: is no JSON object",
    ]
    for word in words:
        assert word in str(error.value), word


@pytest.mark.parametrize(
    ("name", "data", "word"),
    [
        ("a.txt", b"x", "ends in .jsonl"),
        ("a.jsonl", b"\n\n", "has no rows"),
        ("a.jsonl", b'{"id": "\xff"}', "not in UTF-8"),
        ("a.csv", b"id,image,target\n1,2,3,4\n", "line 2: has more cells"),
        ("a.parquet", b"PAR1 no", "is no Parquet table"),
        ("none.jsonl", None, "there is no such file"),
    ],
)
def test_what_is_no_manifest_is_refused(tmp_path, name, data, word):
    if data is not None:
        (tmp_path / name).write_bytes(data)
    with pytest.raises(InputError, match=word):
        read_manifest(tmp_path / name)


def test_a_byte_order_mark_and_windows_lines_are_read(tmp_path):
    (tmp_path / "a.csv").write_bytes(b"\xef\xbb\xbfid,image,target\r\n1,a.png,a dog\r\n")
    assert read_manifest(tmp_path / "a.csv").items[0].id == "1"


def item(name, **more):
    return Item(id=name, image="a.png", target=("a dog",), **more)


def test_groups_follow_from_the_manifest_alone():
    items = [item(str(i), steps=4 if i % 3 else None) for i in range(10)]
    groups = groups_of(items, Job(batch=3))
    assert [[i.id for i in g.items] for g in groups] == [
        ["1", "2", "4"],
        ["0", "3", "6"],
        ["5", "7", "8"],
        ["9"],
    ]
    assert all(len({i.steps for i in g.items}) == 1 for g in groups)
    assert [g.number for g in groups] == [1, 2, 3, 4]


def test_a_seed_is_of_the_job_and_the_id():
    assert item("a").seeded(0) == item("a", source="a cat").seeded(0)
    assert item("a").seeded(0) != item("b").seeded(0)
    assert item("a").seeded(0) != item("a").seeded(1)
    assert item("a", seed=5).seeded(1) == 5


def test_paths_and_urls_are_told_apart(tmp_path):
    assert is_url("s3://bucket/a.png")
    assert not is_url("c:/a.png")
    assert resolved("/a.png", tmp_path) == "/a.png"
