"""Rows of data files: JSON lines, JSON lists, both gzipped or not, Parquet, and the Arrow files of `save_to_disk`.

Rows are read one after the other and have a bounded size, so that a file may be larger than the memory. A row that
cannot be read is reported with its place, and reading goes on after it.
"""

import gzip
import json
import re
import zlib
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BufferedReader
from pathlib import Path
from types import ModuleType
from typing import Any

__all__ = ["MAX_ROW_BYTES", "SUFFIXES", "FileRow", "data_files", "is_data", "normal_name", "read_rows"]

MAX_ROW_BYTES = 64 << 20
"""Largest length of a line of a JSON lines file, in bytes; a longer line is a bad row."""

SUFFIXES = (".jsonl", ".ndjson", ".json", ".jsonl.gz", ".ndjson.gz", ".json.gz", ".parquet", ".arrow")
"""The endings of the names of data files."""

# What the `datasets` library writes beside the data.
_RECORDS = ("dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json")
_CACHED = re.compile(r"\.|cache-.*\.arrow$")

_BATCH_ROWS = 256  # rows of a Parquet file that are Python objects at a time
_BLANK = re.compile(r"[ \t\r\n]*")  # the blanks of JSON
_BOM = b"\xef\xbb\xbf"  # the byte order mark, which some programs put before UTF-8


@dataclass(frozen=True, slots=True, kw_only=True)
class FileRow:
    """One row.

    Attributes:
        path: its file.
        line: its line, counted from 1; for Parquet the number of the row.
        fields: its values by the normal name of their column.
        fault: why it cannot be read; empty where it can.
    """

    path: Path
    line: int
    fields: Mapping[str, Any] = field(default_factory=dict)
    fault: str = ""

    @property
    def place(self) -> str:
        """`file:line`."""
        return f"{self.path}:{self.line}"


def normal_name(column: str) -> str:
    """The name under which a column is known: lower case, `_` for blanks."""
    return "_".join(column.lower().split())


def data_files(path: Path) -> list[Path]:
    """The data files of a path: itself, or those of a folder, in the order of their names.

    Raises:
        ValueError: nothing is there, or nothing that can be read.
    """
    if not path.exists():
        raise ValueError(f"{path} does not exist")
    files = [path]
    if path.is_dir():
        files = sorted(file for file in path.iterdir() if is_data(file))
    if not files or not is_data(files[0]):
        where = "holds no data file" if path.is_dir() else "is no data file"
        raise ValueError(f"{path} {where}: the name of one ends in {', '.join(SUFFIXES)}")
    return files


def is_data(path: Path) -> bool:
    """Whether a path is a data file by its name, and not one of the records that `datasets` writes beside the data."""
    return (
        path.is_file()
        and path.name.lower().endswith(SUFFIXES)
        and path.name not in _RECORDS
        and not _CACHED.match(path.name)
    )


def read_rows(path: Path, columns: Collection[str] = ()) -> Iterator[FileRow]:
    """The rows of a data file, in order; blank lines are none.

    Args:
        path: the file; its name says how it is written.
        columns: normal names of the columns to read; all where empty. Only Parquet files gain by it.

    Yields:
        Every row, readable or not.

    Raises:
        ValueError: the file cannot be read, or not to its end.
        RuntimeError: a Parquet or Arrow file, and the extra `parquet` is not installed.
    """
    if path.name.lower().endswith(".parquet"):
        yield from _parquet_rows(path, columns)
        return

    if path.name.lower().endswith(".arrow"):
        yield from _arrow_rows(path, columns)
        return

    # Both a list and JSON lines are called `.json`.
    with _readable(path), _open(path) as file:
        starts_list = ".json" in path.suffixes and _first_byte(file) == b"["

    yield from _list_rows(path) if starts_list else _line_rows(path)


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Turns errors of reading into a `ValueError` that names the file."""
    try:
        yield
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"{path} cannot be read to its end: {error}") from error


def _open(path: Path) -> gzip.GzipFile | BufferedReader:
    if path.name.lower().endswith(".gz"):
        return gzip.open(path, "rb")
    return path.open("rb")


def _first_byte(file: gzip.GzipFile | BufferedReader) -> bytes:
    start = file.read(4096).removeprefix(_BOM)
    return start.lstrip()[:1]


def _line_rows(path: Path) -> Iterator[FileRow]:
    """Rows of a JSON lines file."""
    number = 0
    with _readable(path), _open(path) as file:
        # One byte more than is allowed tells a line that is too long from one that just fits.
        while line := file.readline(MAX_ROW_BYTES + 1):
            number += 1
            if len(line) > MAX_ROW_BYTES:
                _skip_line(file, line)
                yield FileRow(path=path, line=number, fault=f"the line is longer than {MAX_ROW_BYTES >> 20} MiB")
            elif line.strip():
                yield _parse_line(path, number, line.removeprefix(_BOM) if number == 1 else line)


def _skip_line(file: gzip.GzipFile | BufferedReader, piece: bytes) -> None:
    # In pieces, because a line without an end may be larger than the memory.
    while piece and not piece.endswith(b"\n"):
        piece = file.readline(1 << 20)


def _parse_line(path: Path, number: int, line: bytes) -> FileRow:
    try:
        content = json.loads(line.decode("utf-8"), parse_constant=_refuse)
    except UnicodeDecodeError as error:
        return FileRow(path=path, line=number, fault=f"not UTF-8: byte {error.start + 1} of the line")
    except json.JSONDecodeError as error:
        return FileRow(path=path, line=number, fault=f"no JSON: {error.msg} at character {error.pos + 1} of the line")
    except (ValueError, RecursionError) as error:  # a number of too many digits, or too many brackets
        return FileRow(path=path, line=number, fault=f"no JSON that can be read: {error}")

    return _row(path, number, content)


def _refuse(constant: str) -> None:
    # Python reads NaN and Infinity, which JSON does not have.
    raise ValueError(f"{constant} is no value")


def _row(path: Path, number: int, content: Any) -> FileRow:
    """A row of what was read, if that is an object."""
    if not isinstance(content, dict):
        return FileRow(path=path, line=number, fault=f"a JSON {_kind(content)}, not an object of fields")

    fields = {normal_name(name): value for name, value in content.items()}
    if len(fields) < len(content):
        return FileRow(path=path, line=number, fault="two fields of the same name but for upper case and blanks")
    return FileRow(path=path, line=number, fields=fields)


def _kind(content: Any) -> str:
    kinds = {list: "list", str: "text", type(None): "null", bool: "truth value"}
    return kinds.get(type(content), "number")


def _list_rows(path: Path) -> Iterator[FileRow]:
    """Items of a JSON list; its text is held as a whole, its items are not."""
    with _readable(path), _open(path) as file:
        try:
            text = file.read().decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise ValueError(f"{path} is not UTF-8: byte {error.start + 1}") from error

    decoder = json.JSONDecoder(parse_constant=_refuse)
    bracket = _after_blanks(text, 0)
    position = _after_blanks(text, bracket + 1)
    line = 1
    counted_to = 0

    while text[position : position + 1] != "]":
        # Lines are counted only from the last row on: otherwise long files would take quadratic time.
        line = line + text.count("\n", counted_to, position)
        counted_to = position

        try:
            content, end = decoder.raw_decode(text, position)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{path}:{line}: no JSON that can be read, nor what follows: {error}") from error

        yield _row(path, line, content)
        position = _after_blanks(text, end)
        if text[position : position + 1] == ",":
            position = _after_blanks(text, position + 1)
        elif text[position : position + 1] != "]":
            raise ValueError(f"{path}:{line}: the list goes on without a comma, or has no end")


def _after_blanks(text: str, position: int) -> int:
    match = _BLANK.match(text, position)
    return match.end() if match else position


def _parquet_rows(path: Path, columns: Collection[str]) -> Iterator[FileRow]:
    """Rows of a Parquet file, a batch at a time."""
    parquet = _parquet()
    number = 0
    try:
        with parquet.ParquetFile(path) as file:
            names = [name for name in file.schema_arrow.names if not columns or normal_name(name) in columns]
            for batch in file.iter_batches(batch_size=_BATCH_ROWS, columns=names):
                yield from _batch_rows(path, number, batch)
                number += batch.num_rows
    except OSError as error:
        raise ValueError(f"{path} cannot be read to its end: {error}") from error
    except ValueError as error:  # pyarrow's own errors are of this type
        raise ValueError(f"{path} is no Parquet file, or is damaged: {error}") from error


def _arrow_rows(path: Path, columns: Collection[str]) -> Iterator[FileRow]:
    """Rows of an Arrow stream, which is what `save_to_disk` of the `datasets` library writes."""
    _parquet()
    import pyarrow  # type: ignore[import-untyped]  # pyarrow ships no types

    number = 0
    try:
        with pyarrow.memory_map(str(path)) as source, pyarrow.ipc.open_stream(source) as reader:
            for batch in reader:
                names = [name for name in batch.schema.names if not columns or normal_name(name) in columns]
                yield from _batch_rows(path, number, batch.select(names))
                number += batch.num_rows
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} is no Arrow stream, or is damaged: {error}") from error


def _batch_rows(path: Path, number: int, batch: Any) -> Iterator[FileRow]:
    """The rows of a batch. A row that is not UTF-8 fails the whole batch: then rows are read one by one."""
    try:
        contents = batch.to_pylist()
    except UnicodeDecodeError:
        for index in range(batch.num_rows):
            yield _single_row(path, number + index + 1, batch.slice(index, 1))
        return
    for index, content in enumerate(contents):
        yield _row(path, number + index + 1, content)


def _single_row(path: Path, number: int, batch: Any) -> FileRow:
    try:
        return _row(path, number, batch.to_pylist()[0])
    except UnicodeDecodeError as error:
        return FileRow(path=path, line=number, fault=f"not UTF-8: byte {error.start + 1} of a field")


def _parquet() -> ModuleType:
    try:
        from pyarrow import parquet  # pyarrow ships no types
    except ImportError as error:
        raise RuntimeError("a Parquet or Arrow file needs the package `pyarrow`: pip install 'aha[parquet]'") from error
    module: ModuleType = parquet
    return module
