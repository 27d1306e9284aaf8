"""Rows of data files."""

import gzip
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow
import pytest
from pyarrow import parquet

from aha.problems.datasets import files
from aha.problems.datasets.files import data_files, read_rows

ROWS = [{"question": "one?", "Correct Answer": 1}, {"question": "两?", "Correct Answer": 2}]


def lines(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def fields(path: Path) -> list[Mapping[str, Any]]:
    found = list(read_rows(path))
    assert not [row.fault for row in found if row.fault]
    return [row.fields for row in found]


def test_every_way_to_write_rows_reads_the_same(tmp_path: Path) -> None:
    text = lines(tmp_path / "a.jsonl", ROWS).read_bytes()
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(text, mtime=0))
    (tmp_path / "bom.jsonl").write_bytes(b"\xef\xbb\xbf" + text.replace(b"\n", b"\r\n\r\n"))
    (tmp_path / "a.json").write_text(json.dumps(ROWS, indent=2), encoding="utf-8")
    (tmp_path / "lines.json").write_bytes(text)
    (tmp_path / "a.json.gz").write_bytes(gzip.compress(json.dumps(ROWS).encode(), mtime=0))
    parquet.write_table(pyarrow.Table.from_pylist(ROWS), tmp_path / "a.parquet")
    expected = [{"question": "one?", "correct_answer": 1}, {"question": "两?", "correct_answer": 2}]
    paths = data_files(tmp_path)
    assert len(paths) == 7
    for path in paths:
        assert fields(path) == expected, path


def test_a_bad_line_is_told_with_its_place_and_reading_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    bad = [b"{", b'"text"', b"[1]", b"null", b'{"a": NaN}', b'{"a": "\xff"}', b'{"a": 1, "A": 2}', b"[" * 100_000]
    bad.append(b'{"a": ' + b"1" * 5000 + b"}")
    path.write_bytes(b'{"a": 0}\n\n' + b"\n".join(bad) + b'\n{"a": 9}')
    rows = list(read_rows(path))
    assert [row.fields for row in rows if not row.fault] == [{"a": 0}, {"a": 9}]
    faults = [(row.line, row.fault) for row in rows if row.fault]
    assert [line for line, _ in faults] == [3, 4, 5, 6, 7, 8, 9, 10, 11]
    said = ["no JSON", "a JSON text", "a JSON list", "a JSON null", "NaN", "not UTF-8: byte 8", "two fields", "", ""]
    assert all(words in fault for words, (_, fault) in zip(said, faults, strict=True))
    assert rows[1].place == f"{path}:3"


def test_a_line_without_end_is_skipped_without_holding_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "MAX_ROW_BYTES", 1 << 20)
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"a": "' + b"x" * (3 << 20) + b'"}\n{"a": 1}\n')
    first, second = read_rows(path)
    assert (first.line, first.fault) == (1, "the line is longer than 1 MiB")
    assert (second.line, second.fields) == (2, {"a": 1})


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.jsonl.gz", gzip.compress(b'{"a": 1}\n' * 999, mtime=0)[:-20], "cannot be read to its end"),
        ("a.jsonl.gz", b"no gzip", "cannot be read to its end"),
        ("a.parquet", b"PAR1 no parquet", "is no Parquet file, or is damaged"),
        ("a.json", b'[{"a": 1},\n{"a": ', ":2: no JSON that can be read"),
        ("a.json", b'[{"a": 1}', ":1: the list goes on without a comma, or has no end"),
        ("a.json", b'[{"a": 1}, "\xff"]', "not UTF-8"),
    ],
)
def test_a_damaged_file_is_one_error_that_names_it(tmp_path: Path, name: str, content: bytes, said: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f"{path}.*{said}|{path}{said}"):
        list(read_rows(path))


def test_parquet_reads_only_the_columns_asked_for_and_survives_broken_text(tmp_path: Path) -> None:
    broken = pyarrow.array([b"one", b"\xff\xfe", b"three"], pyarrow.binary()).cast(pyarrow.string(), safe=False)
    table = pyarrow.table({"Question Text": broken, "image": [b"x"] * 3, "nested": [{"a": [1]}] * 3})
    parquet.write_table(table, tmp_path / "a.parquet")
    rows = list(read_rows(tmp_path / "a.parquet", {"question_text", "nested"}))
    assert [row.fields for row in rows if not row.fault] == [
        {"question_text": "one", "nested": {"a": [1]}},
        {"question_text": "three", "nested": {"a": [1]}},
    ]
    assert (rows[1].line, rows[1].fault) == (2, "not UTF-8: byte 1 of a field")


def test_parquet_counts_rows_across_batches_and_groups(tmp_path: Path) -> None:
    table = pyarrow.table({"a": list(range(1000))})
    parquet.write_table(table, tmp_path / "a.parquet", row_group_size=300)
    rows = list(read_rows(tmp_path / "a.parquet"))
    assert [(row.line, row.fields["a"]) for row in rows] == [(number + 1, number) for number in range(1000)]


def test_what_is_no_data_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"nowhere does not exist"):
        data_files(tmp_path / "nowhere")
    with pytest.raises(ValueError, match=r"holds no data file: the name of one ends in \.jsonl"):
        data_files(tmp_path)
    (tmp_path / "a.csv").write_text("a,b\n")
    with pytest.raises(ValueError, match=r"a\.csv is no data file"):
        data_files(tmp_path / "a.csv")
