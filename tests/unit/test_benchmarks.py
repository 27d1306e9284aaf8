"""The benchmarks: what they count, what they compare, and that every script measures our own side."""

import ctypes
import gc
import json
import subprocess
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import ceiling
import pytest
import torch
from ceiling import floor_shares, part_flops, product_shapes
from comparison import Side, Work, case, in_turn, medians, parser, ratio, works
from growth import exponent, point, table
from memory import chunk_mib
from r1_seeds import paired
from tiny import tiny_config
from verifier_peers import Grader
from verifier_rows import Row, bare, labelled_rows
from workload import END_ID, Clock, Unit, check_lengths, descendants

ROOT = Path(__file__).parent.parent.parent
BURN = "import time\nwhile time.process_time() < 0.15: pass"


# The unit of work


def test_varying_lengths_have_their_mean_and_fixed_ones_the_cap() -> None:
    lengths_B = Unit("varying").lengths_B
    assert 60 <= lengths_B.mean() < 60.5
    assert (lengths_B.min(), lengths_B.max(), len(lengths_B)) == (1, 128, 128)
    assert set(Unit("fixed").lengths_B.tolist()) == {128}


@pytest.mark.parametrize("cap", [16, 1024])
def test_the_mean_of_varying_lengths_follows_the_cap(cap: int) -> None:
    lengths_B = Unit("varying", num_prompts=64, cap=cap).lengths_B
    assert lengths_B.mean() == pytest.approx(cap * 60 / 128, rel=0.05)
    assert lengths_B.max() == cap


def test_given_responses_end_at_their_length_and_nowhere_else() -> None:
    unit = Unit("varying")
    rows = unit.responses()
    check_lengths([len(row) for row in rows], unit.lengths_B.tolist())
    assert all(row[-1] == END_ID and END_ID not in row[:-1] for row in rows)
    assert all(END_ID not in row for row in Unit("fixed").responses())
    with pytest.raises(RuntimeError, match="lengths"):
        check_lengths([1, 2], [1, 3])


def test_a_prompt_is_needed_once_and_a_response_always() -> None:
    assert Unit("fixed").num_needed_tokens == 16 * 24 + 128 * 128
    assert Unit("fixed", num_prompts=2, group_size=3, cap=5).num_needed_tokens == 2 * 24 + 6 * 5


@pytest.mark.full
def test_the_clock_counts_child_processes_living_and_ended() -> None:
    clock = Clock()
    subprocess.run([sys.executable, "-c", BURN], check=True)
    clock.lap("ended")
    with subprocess.Popen([sys.executable, "-c", f"{BURN}\nprint(flush=True)\ninput()"], stdin=-1, stdout=-1) as child:
        assert child.stdout is not None
        child.stdout.readline()
        assert child.pid in descendants()
        clock.lap("living")
        child.communicate(b"\n")
    assert clock.laps["ended_cpu_seconds"] >= 0.14
    assert clock.laps["living_cpu_seconds"] >= 0.13
    assert clock.laps["ended_wall_seconds"] > 0


# The ceiling


def test_operations_of_a_token_are_those_counted_by_hand() -> None:
    """Width 32, inner width 48, 4 heads of 8 with 2 for keys and values, 11 tokens, 2 layers.

    A layer has q 32 x 32 + 32, k and v 2 (16 x 32 + 16), o 32 x 32, feed-forward 3 x 32 x 48 and norms 2 x 32: 7,808.
    Two of them, the last norm of 32 and the head of 11 x 32 are 16,000 parameters, 32,000 operations forward.
    """
    flops = part_flops(tiny_config("qwen2-grouped"), num_tokens=10)
    assert flops == {"generate": 320_000, "reference": 320_000, "train": 960_000}


def test_products_of_a_token_are_the_matrices_of_its_layers_and_the_head() -> None:
    shapes = product_shapes(tiny_config("qwen2-grouped"))
    assert shapes == {(32, 32): 4, (16, 32): 4, (48, 32): 4, (32, 48): 2, (11, 32): 1}


def test_a_floor_is_shared_by_threads_on_the_wall_and_not_in_cpu_seconds() -> None:
    flops = {"generate": 10.0, "reference": 10.0, "train": 30.0}
    measured = {f"{part}_{kind}": 2.0 for part in ("generate", "train") for kind in ("cpu_seconds", "wall_seconds")}
    alone = floor_shares(flops, measured, rate=10.0, threads=2, kind="cpu_seconds")
    shared = floor_shares(flops, measured, rate=10.0, threads=2, kind="wall_seconds")
    assert alone == {"generate": 0.5, "train": 1.5, "all": 1.0}
    assert shared == {"generate": 0.25, "train": 0.75, "all": 0.5}


# Comparing


OURS = [{"what": "aha", "steps": 3, "cpu_seconds": value, "peak_mib": 10.0} for value in (2.0, 4.0, 3.0)]
PEERS = [{"what": "peer", "steps": 3, "cpu_seconds": value, "peak_mib": 30.0} for value in (6.0, 4.0, 9.0)]


def test_a_ratio_is_that_of_the_medians_with_the_range_of_single_pairs() -> None:
    assert ratio(OURS, PEERS, "cpu_seconds") == {"median": 2.0, "low": 1.0, "high": 3.0}


def test_a_case_has_medians_of_both_sides_and_their_ratios() -> None:
    found = case("step", OURS, PEERS, "cpu_seconds")
    assert found["ours"] == medians(OURS) == {"cpu_seconds": 3.0, "peak_mib": 10.0}
    assert found["peer"] == {"cpu_seconds": 6.0, "peak_mib": 30.0}
    assert found["memory_ratio"] == {"median": 3.0, "low": 3.0, "high": 3.0}
    alone = case("step", OURS, None, "cpu_seconds")
    assert (alone["peer"], alone["ratio"]) == (None, None)


def test_sides_run_in_turn_on_the_same_work(tmp_path: Path) -> None:
    script, seen = tmp_path / "side.py", tmp_path / "seen"
    script.write_text(
        "import sys\n"
        f"open({str(seen)!r}, 'a').write(' '.join(sys.argv[2:]) + chr(10))\n"
        "print('noise')\n"
        "print('{\"cpu_seconds\": 1.5}')\n"
    )
    sides = [Side(name, sys.executable, str(script), ("--option", name)) for name in "AB"]
    rounds: list[int] = []
    runs = in_turn(sides, Work(tmp_path, "a", "fixed", 2, 4), 2, lambda: rounds.append(len(rounds)))
    work = "a fixed --threads 2 --steps 4 --option"
    assert seen.read_text().splitlines() == [f"{work} {name}" for name in "ABAB"]
    assert runs == [[{"cpu_seconds": 1.5}] * 2] * 2
    assert rounds == [0, 1]


def test_both_lengths_are_two_cases_of_each_model() -> None:
    given = parser("Words.").parse_args(["MODELS", "a", "c", "both"])
    named = [(work.name, work.lengths) for work in works(given)]
    assert named == [("a", "fixed"), ("a", "varying"), ("c", "fixed"), ("c", "varying")]


def test_an_exponent_is_that_of_the_power_law() -> None:
    values = [64, 256, 1024]
    assert exponent(values, [3 * value**1.5 for value in values]) == pytest.approx(1.5)
    costs = [{"ours": {"generate_us": 7.0, "learn_us": 2.0 * value, "memory_mib": value**0.5}} for value in values]
    text, powers = table("length", values, costs)
    assert powers == pytest.approx({"generate_us": 0.0, "learn_us": 1.0, "memory_mib": 0.5}, abs=1e-9)
    assert text.splitlines()[-1] == "| exponent | -0.00 | 1.00 | 0.50 |".replace(
        "-0.00", f"{powers['generate_us']:.2f}"
    )


def test_one_thing_grows_along_an_axis() -> None:
    assert point("responses", 4096)[0].num_rows == 4096
    assert point("length", 4096)[0].cap == 4096
    assert [point("width", width)[1] for width in (64, 512)] == [64, 512]


def test_a_chunk_of_logits_has_16_mib_or_256_tokens_and_at_most_56_mib() -> None:
    assert chunk_mib(512) == 16
    assert chunk_mib(32_768) == 32
    assert chunk_mib(151_936) == pytest.approx(96 * 151_936 * 4 / 2**20)
    assert chunk_mib(151_936) < 56


# The scripts


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as models.py writes it, with one model of width 32."""
    from models import cut_prompts, qwen2, sentences, train_tokenizer

    out = tmp_path_factory.mktemp("models")
    texts = list(sentences(5000))
    tokenizer = train_tokenizer(texts)
    torch.manual_seed(0)
    qwen2(32, 2, 2, 48).save_pretrained(out / "tiny")
    tokenizer.save_pretrained(out / "tiny")
    (out / "prompts.json").write_text(json.dumps(cut_prompts(texts, tokenizer)))
    return out


Results = Callable[..., list[dict[str, Any]]]


@pytest.fixture
def results(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Results:
    """Carries out a script on our own side only, which has a process of its own; the script's cases."""

    def carry_out(script: str, *options: str) -> list[dict[str, Any]]:
        out = folder / f"{script}.json"
        monkeypatch.setattr(sys, "argv", [script, str(folder), "tiny", *options, "--json", str(out)])
        monkeypatch.setenv("PYTHONPATH", str(ROOT))
        monkeypatch.setattr(ceiling, "REPEATS", 1)
        import_module(script).main()
        return cases_of(out)

    return carry_out


@pytest.fixture
def in_this_process(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Our side is measured without a process of its own, whose memory it then shares."""

    def run_here(side: Side, work: Work) -> dict[str, Any]:
        arguments = [str(work.models), work.name, work.lengths]
        arguments += ["--threads", str(work.threads), "--steps", str(work.steps), *side.options]
        # What the allocator keeps of earlier tests would hold all of the work, and the peak would not be a new one.
        gc.collect()
        ctypes.CDLL(None).malloc_trim(0)
        with monkeypatch.context() as patch:
            patch.setattr(sys, "argv", [side.script, *arguments])
            capsys.readouterr()
            import_module(Path(side.script).stem).main()
        return dict(json.loads(capsys.readouterr().out))

    monkeypatch.setattr(Side, "run", run_here)


def cases_of(path: Path) -> list[dict[str, Any]]:
    """The cases that a script has written."""
    found = json.loads(path.read_text())
    assert set(found["machine"]) == {"cpu", "cores", "torch", "kernels", "revision"}
    for one in found["cases"]:
        assert {"name", "ours", "peer", "ratio", "floor_share"} <= set(one)
        assert (one["peer"], one["ratio"]) == (None, None)
    cases: list[dict[str, Any]] = found["cases"]
    return cases


ONCE = ("--pairs", "1", "--steps", "2")


@pytest.mark.full
def test_a_step_is_measured_in_processes_of_its_own(results: Results) -> None:
    cases = results("grpo_step", "varying", "--no-reference", "--threads", "2", *ONCE)
    assert_parts_are_measured(cases, {"generate", "train"})


@pytest.mark.full
@pytest.mark.usefixtures("in_this_process")
@pytest.mark.parametrize(
    ("script", "options", "parts"),
    [
        ("generate", ("varying",), {"generate"}),
        ("learn", ("fixed", "--max-tokens", "2048"), {"reference", "train"}),
    ],
)
def test_a_script_measures_our_side(results: Results, script: str, options: tuple[str, ...], parts: set[str]) -> None:
    assert_parts_are_measured(results(script, *options, *ONCE), parts)


def assert_parts_are_measured(cases: list[dict[str, Any]], parts: set[str]) -> None:
    """There is one case, with seconds and the share of the floor for each part, and with the memory."""
    (one,) = cases
    ours, shares = one["ours"], one["floor_share"]
    assert isinstance(ours, dict)
    assert isinstance(shares, dict)
    assert set(shares) == parts | {"all"}
    assert all(0 < share < 1 for share in shares.values())
    assert {f"{part}_{time}" for part in parts for time in ("cpu_seconds", "wall_seconds")} <= set(ours)
    assert ours["peak_mib"] > ours["libraries_mib"] > 0


@pytest.mark.full
@pytest.mark.usefixtures("in_this_process")
def test_memory_measures_our_side_and_two_vocabularies(results: Results) -> None:
    step, vocabulary = results("memory", "varying", "--vocabularies", "512", "2048")
    assert isinstance(step["ours"], dict)
    assert step["ours"]["peak_mib"] > 0
    ours = vocabulary["ours"]
    assert isinstance(ours, dict)
    assert set(ours) == {"needed_mib_512", "needed_mib_2048", "growth_mib", "chunk_mib", "allowed_mib"}
    assert ours["growth_mib"] == pytest.approx(ours["needed_mib_2048"] - ours["needed_mib_512"], abs=0.11)
    assert vocabulary["is_within_a_chunk"] == (ours["growth_mib"] <= ours["allowed_mib"])


@pytest.mark.full
def test_growth_has_a_case_for_every_point_and_an_exponent_for_every_column(results: Results) -> None:
    cases = results("growth", "--width", "32", "64")
    assert [one["name"] for one in cases] == ["width 32", "width 64"]
    for one in cases:
        assert isinstance(one["exponents"], dict)
        assert set(one["exponents"]) == {"generate_us", "learn_us", "memory_mib"}


# Seeds


def test_the_interval_of_a_difference_of_shares_stays_between_minus_one_and_one() -> None:
    assert paired([0.9, 0.1]) == "+0.500 (-1.000 to +1.000; by seed +0.900, +0.100)"
    assert paired([0.2, 0.3, 0.4]) == "+0.300 (+0.052 to +0.548; by seed +0.200, +0.300, +0.400)"
    assert paired([0.25]) == "+0.250"


# The verifier of mathematics


def test_labelled_rows_are_literals_of_test_files_which_are_never_run(tmp_path: Path) -> None:
    escaped = tmp_path / "ESCAPED"
    files = {
        "Math-Verify/tests/test_all.py": (
            "import pytest\n"
            f"open({str(escaped)!r}, 'w')\n"
            '@pytest.mark.parametrize("gold,pred,expected", [\n'
            '    ("$1$", "$1.0$", 1), ("$2$", "$3$", 0), ("$4$", "$" + "4$", 1),\n'
            '    ("$5$", "$6$", 1), ("$5$", "$6$", 0),\n'
            "])\n"
            "def test_numbers(gold, pred, expected): ...\n"
        ),
        "math/modeling/math_equivalence_test.py": (
            "def test_half(self):\n"
            "    test_in = '1/2'\n"
            "    test_out = '0.5'\n"
            "    self.assertFalse(is_equiv(test_in, test_out))\n"
        ),
        "trl/tests/test_rewards.py": (
            "def test_accuracy_reward(self):\n"
            "    completion = [[{'content': 'so \\\\boxed{7}'}], [{'content': '8'}]]\n"
            "    solution = ['7', 'eight']\n"
            "    rewards = accuracy_reward(completion, solution)\n"
            "    assert rewards[0] == 1.0\n"
            "    assert rewards[1] is None\n"
        ),
    }
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")

    # A pair with both labels depends on an option, and a sum of strings is no literal.
    assert labelled_rows(tmp_path, "math-verify") == [Row("$1$", "$1.0$", True), Row("$2$", "$3$", False)]
    assert labelled_rows(tmp_path, "hendrycks") == [Row("1/2", "0.5", False)]
    assert labelled_rows(tmp_path, "TRL and open-r1") == [Row("7", "so \\boxed{7}", True)]
    assert not escaped.exists()


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("$x=5$", "x=5"),
        ("so \\boxed{7}", "7"),
        ("12 apples", "12 apples"),
        ("\\boxed{1} and \\boxed{2}", None),
        ("we add $1$ and $2$", None),
        ("the answer is then five", None),
    ],
)
def test_an_answer_is_taken_from_dollars_and_a_box_but_not_from_prose(text: str, answer: str | None) -> None:
    assert bare(text) == answer


@pytest.mark.full
def test_a_grader_that_takes_too_long_is_no_match_and_begins_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = tmp_path / "process.py"
    process.write_text(
        "import json, sys, time\n"
        "for line in sys.stdin:\n"
        "    gold, answer = json.loads(line)\n"
        "    time.sleep(9 if answer == 'slow' else 0)\n"
        "    print(json.dumps(gold == answer), flush=True)\n",
        encoding="utf-8",
    )
    monkeypatch.setattr("verifier_peers.PROCESS", process)
    monkeypatch.setattr("verifier_peers.PAIR_SECONDS", 0.5)
    grader = Grader(sys.executable, tmp_path, "hendrycks")
    try:
        assert grader.judge([("1", "1"), ("1", "slow"), ("1", "2"), ("2", "2")]) == [True, False, False, True]
        assert grader.num_timeouts == 1
    finally:
        grader.close()
