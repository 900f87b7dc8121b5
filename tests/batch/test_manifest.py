"""Manifests: three kinds of files, all faults at once, groups that the rows alone decide."""

import json
import random

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from batch_folders import write

from noisespace.batch.job import planned
from noisespace.batch.manifest import ManifestError, read_manifest
from noisespace.batch.opened import told
from noisespace.batch.plan import Settings, digest, groups_of, row_seed
from noisespace.errors import InputError

GOOD = {"id": "a", "image": "a.png", "source": "a cat", "target": "a dog"}
ROWS = [
    GOOD,
    {**GOOD, "id": "b", "target": ["a dog", "a horse"], "seed": 5, "steps": 10, "guidance": 2.5},
    {**GOOD, "id": "c", "source": "", "mask": "m.png", "method": "ddim", "size": "96x64"},
]


def test_three_kinds_of_files_say_the_same(tmp_path):
    paths = [write(tmp_path, ROWS)]
    names = sorted({name for row in ROWS for name in row})
    lines = [",".join(names)]
    for row in ROWS:
        cells = [row.get(name, "") for name in names]
        texts = [json.dumps(cell) if isinstance(cell, list) else str(cell) for cell in cells]
        lines.append(",".join('"' + text.replace('"', '""') + '"' for text in texts))
    (tmp_path / "jobs.csv").write_text("\ufeff" + "\n".join(lines))
    plain = [{**r, "target": [r["target"]] if isinstance(r["target"], str) else r["target"]}
             for r in ROWS]  # fmt: skip
    table = {name: [row.get(name) for row in plain] for name in names}
    pq.write_table(pa.table(table), tmp_path / "jobs.parquet")
    paths += [str(tmp_path / "jobs.csv"), str(tmp_path / "jobs.parquet")]
    found = [[row for _, row in read_manifest(path)] for path in paths]
    assert found[0] == found[1] == found[2]
    assert found[0][1].target == ("a dog", "a horse")
    assert found[0][0].image == str(tmp_path / "a.png")
    assert found[0][2].mask == str(tmp_path / "m.png")
    assert [line for line, _ in read_manifest(paths[1])] == [2, 3, 4]


FAULTS = [
    ("not json", "is no JSON"),
    ("[1]", "is no JSON object"),
    ({k: v for k, v in GOOD.items() if k != "image"}, "image is missing"),
    ({**GOOD, "imgae": "x"}, "'imgae' is no field"),
    ({**GOOD, "id": "r0"}, "'r0' is there already, on line 1"),
    ({**GOOD, "id": "a\nb"}, "printable"),
    ({**GOOD, "target": []}, "a list of 1 to 64"),
    ({**GOOD, "target": ["a", 3]}, "target.1"),
    ({**GOOD, "target": ""}, "target.0"),
    ({**GOOD, "steps": 0}, "steps"),
    ({**GOOD, "steps": "ten"}, "steps"),
    ({**GOOD, "seed": -1}, "seed"),
    ({**GOOD, "seed": True}, "seed"),
    ({**GOOD, "guidance": float("nan")}, "guidance"),
    ({**GOOD, "method": "ddmi"}, "did you mean ddim"),
    ({**GOOD, "method": "edit-friendly:skpi=1"}, "did you mean skip"),
    ({**GOOD, "editor": "frob"}, "'frob' is not known"),
    ({**GOOD, "size": "axb"}, "size must be"),
    ({**GOOD, "image": "ftp://host/a.png"}, "a path or a URL"),
    ({**GOOD, "image": "simplecache::s3://b/a.png"}, "a path or a URL"),
]


def test_all_faults_are_told_with_their_lines(tmp_path):
    lines = [json.dumps({**GOOD, "id": "r0"})]
    for k, (row, _) in enumerate(FAULTS):
        one = {"id": f"f{k}", **{k: v for k, v in row.items() if k != "id" or v != "a"}} if (
            isinstance(row, dict)
        ) else row  # fmt: skip
        lines.append(one if isinstance(one, str) else json.dumps(one))
    (tmp_path / "jobs.jsonl").write_text("\n".join(lines))
    with pytest.raises(ManifestError) as caught:
        planned(str(tmp_path / "jobs.jsonl"), Settings())
    faults = caught.value.faults
    assert len(faults) == len(FAULTS)
    for line, (fault, (_, words)) in enumerate(zip(faults, FAULTS, strict=True), 2):
        assert fault.startswith(f"line {line}: "), fault
        assert words in fault, fault
    assert "20 faults" in str(caught.value)
    assert "and 17 more" in str(caught.value)


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("a.txt", b"x", "expected a manifest"),
        ("a.jsonl", b"\n\n", "holds no row"),
        ("a.jsonl", b"", "is empty"),
        ("a.csv", b"id,image\n\xff\xfe", "no UTF-8"),
        ("a.csv", b"id,image,source,target\na,b,c,d,e\n", "line 2: has more cells"),
        ("a.csv", b'id,image,source,target\n"a,b,c,d\n', "is no CSV"),
        ("a.parquet", b"PAR1nothing", "no Parquet"),
    ],
)
def test_a_file_that_is_no_manifest(tmp_path, name, data, words):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(InputError, match=words):
        read_manifest(str(tmp_path / name))


def test_a_missing_manifest_is_said(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        read_manifest(str(tmp_path / "none.jsonl"))


def test_groups_do_not_depend_on_the_order_of_rows(tmp_path):
    rows = [{**GOOD, "id": f"r{i}", "target": ["x"] * (1 + i % 2)} for i in range(23)]
    settings = Settings(batch=4)
    groups = groups_of(read_manifest(write(tmp_path, rows)), settings)
    random.Random(0).shuffle(rows)
    others = groups_of(read_manifest(write(tmp_path, rows)), settings)
    assert digest(groups) == digest(others)
    names = [[item.id for item in group.items] for group in groups]
    assert names == [[item.id for item in group.items] for group in others]
    assert sorted(map(len, names)) == [3, 4, 4, 4, 4, 4]
    assert all(len({len(item.targets) for item in group.items}) == 1 for group in groups)
    rows[0]["source"] = "another"
    assert digest(groups_of(read_manifest(write(tmp_path, rows)), settings)) != digest(groups)


def test_a_seed_is_of_the_job_and_the_id(tmp_path):
    groups = planned(write(tmp_path, ROWS), Settings(seed=3)).groups
    seeds = {item.id: item.seed for group in groups for item in group.items}
    assert seeds == {"a": row_seed(3, "a"), "b": 5, "c": row_seed(3, "c")}
    assert len({row_seed(s, n) for s in range(10) for n in "abcdefghij"}) == 100


def test_what_is_there_twice_is_a_fault(tmp_path):
    """Keys of an object, and ids, also of rows that have other faults."""
    path = tmp_path / "jobs.jsonl"
    row = '"image": "1.png", "source": "a", "target": "b"'
    path.write_text(
        f'{{"id": "a", {row}, "colour": "x"}}\n{{"id": "a", {row}}}\n{{"id": 7, {row}}}\n'
        f'{{"id": "7", {row}}}\n{{"id": "c", {row}, "target": "c"}}\n'
    )
    with pytest.raises(ManifestError) as found:
        read_manifest(str(path))
    assert [fault.split(":")[0] for fault in found.value.faults] == [
        f"line {k}" for k in (1, 2, 4, 5)
    ]
    words = " ".join(found.value.faults)
    assert "the id 'a' is there already, on line 1" in words
    assert "the id '7' is there already, on line 3" in words
    assert "'target' is there twice" in words


def test_settings_that_differ_are_named():
    before = {"batch": 8, "choice": {"steps": 6, "method": "ddim"}, "seed": 0}
    now = {"seed": 0, "choice": {"method": "ddim", "steps": 7}, "batch": 4}
    assert told(before, now) == "batch was 8, now 4; choice.steps was 6, now 7"
