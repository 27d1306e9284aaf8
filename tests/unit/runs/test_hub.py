"""The hub, with a cache that is laid out by hand and no network."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from aha.runs.hub import dataset_files, model_folder

REVISION = "0123456789abcdef0123456789abcdef01234567"


def cached(cache: Path, kind: str, name: str, files: dict[str, str]) -> Path:
    """A snapshot as `huggingface_hub` lays it out: blobs, and links to them by revision."""
    folder = cache / f"{kind}s--{name.replace('/', '--')}"
    snapshot = folder / "snapshots" / REVISION
    (folder / "blobs").mkdir(parents=True)
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text(REVISION)
    for number, (path, text) in enumerate(files.items()):
        blob = folder / "blobs" / f"{number:040x}"
        blob.write_text(text)
        (snapshot / path).parent.mkdir(parents=True, exist_ok=True)
        (snapshot / path).symlink_to(os.path.relpath(blob, (snapshot / path).parent))
    return snapshot


def offline(code: str, home: Path) -> subprocess.CompletedProcess[str]:
    """What a program prints that reads the cache of a home folder, offline."""
    settings = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(home), "PATH": os.environ["PATH"]}
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=settings, timeout=120)


@pytest.mark.full
def test_a_cached_data_set_and_model_are_opened_offline(tmp_path: Path) -> None:
    line = '{"question": "How many?", "answer": "#### 7"}\n'
    other = line.replace("How", "So how")
    data = {"main/test-00000-of-00002.jsonl": line, "main/test-00001-of-00002.jsonl": other, "main/train-0.jsonl": ""}
    cached(tmp_path / "hub", "dataset", "openai/gsm8k", data)
    model = cached(tmp_path / "hub", "model", "Qwen/Qwen2.5-0.5B", {"config.json": "{}", "model.safetensors": ""})
    done = offline(
        "from aha.problems.datasets.sources import open_problems\n"
        "from aha.runs.hub import model_folder\n"
        f"for name in ('hub:openai/gsm8k:main/test-*.jsonl', 'hub:openai/gsm8k@{REVISION}:main/test-00000*.jsonl'):\n"
        "    found = open_problems(name)\n"
        "    print(found.name, [problem.answer for problem in found])\n"
        "print(model_folder('Qwen/Qwen2.5-0.5B'))\n"
        "for name in ('hub:openai/gsm8k:main/valid-*.jsonl', 'hub:openai/other:a.jsonl'):\n"
        "    try:\n"
        "        open_problems(name)\n"
        "    except ValueError as error:\n"
        "        print(error)\n",
        tmp_path,
    )
    assert done.returncode == 0, done.stderr
    two, one, folder, no_file, no_set = done.stdout.splitlines()
    assert (two, one, folder) == ("gsm8k ['7', '7']", "gsm8k ['7']", str(model))
    assert "data set 'openai/gsm8k' has no file 'main/valid-*.jsonl'" in no_file
    assert "main/test-00000-of-00002.jsonl" in no_file
    assert "dataset 'openai/other' cannot be had from the hub" in no_set
    assert "HF_HUB_OFFLINE is set, so only the cache is read" in no_set


def test_a_folder_is_taken_as_it_is(tmp_path: Path) -> None:
    assert model_folder(str(tmp_path)) == tmp_path


@pytest.mark.parametrize("name", ["nowhere/../x", "a/b/c", "", "/abs", "a b"])
def test_what_is_no_name_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="neither a folder nor a name on the hub"):
        model_folder(name)


@pytest.mark.parametrize("pattern", ["load.py", "*", "data/*.bin", "../a.json", "a/../../b.parquet", "x.pkl"])
def test_only_data_is_fetched(pattern: str) -> None:
    with pytest.raises(ValueError, match="names no data files"):
        dataset_files("openai/gsm8k", pattern)


def test_a_model_without_safetensors_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    cached(tmp_path, "model", "a/b", {"config.json": "{}", "pytorch_model.bin": ""})
    with pytest.raises(ValueError, match=r"model 'a/b' has no \*\.safetensors"):
        model_folder("a/b", cache=tmp_path)
    with pytest.raises(ValueError, match=r"model 'a/c' cannot be had from the hub.*HF_HUB_OFFLINE is set"):
        model_folder("a/c", cache=tmp_path)
