"""The page on performance is written from records: of each processor, with peers that are ahead and those missing."""

import json
import sys

import pytest
from script_modules import ROOT, module_of

from pyrovae.cli import script

EPYC = {"processor": "AMD EPYC", "flags": ["avx2"], "cores": 2, "limits": {}}
XEON = {"processor": "Xeon", "flags": ["amx_tile", "avx2", "avx512_bf16", "avx512f"], "cores": 8, "limits": {}}
A = {"architecture": "A", "data": "MNIST", "num_data": 12800, "batch_size": 128, "threads": 1}
INDUCTOR, NUMPYRO, FUSED = "pyrovae, compile=inductor", "NumPyro, jitted epoch", "hand-written, Adam(fused=True)"


@pytest.fixture
def page_of(monkeypatch):
    return module_of("benchmarks/performance_page", monkeypatch)


@pytest.fixture
def records(page_of, monkeypatch):
    monkeypatch.setattr(page_of.records, "machine", lambda: EPYC)
    monkeypatch.setattr(sys, "argv", ["training.py", "--root", "secret", "--threads", "1", "--out=elsewhere"])
    return page_of.records


def timing(seconds, left_out=None):
    notes = {name: {"warnings": []} for name in seconds}
    return {"seconds": seconds, "notes": notes, "left_out": left_out or {}}


def written(page_of, tmp_path):
    page = tmp_path / "page.md"
    page.write_text("Before.\n" + "\n".join(page_of.page_section.marked(name, "old") for name in page_of.SECTIONS))
    assert script(page_of.main, ["--folder", str(tmp_path), "--page", str(page)]) == 0
    text = page.read_text()
    assert "old" not in text
    return text


def test_the_page_says_who_is_ahead_by_medians_within_rounds(page_of, records, tmp_path):
    # The machine slows down twofold between the rounds, which leaves the ratios as they are.
    seconds = {INDUCTOR: [3.0, 6.0, 3.3], NUMPYRO: [2.0, 4.0, 2.2], FUSED: [4.0, 8.0, 4.4]}
    records.keep(str(tmp_path), "training", A, timing(seconds))
    text = written(page_of, tmp_path)
    assert text.count("Not measured yet.") == len(page_of.SECTIONS) - 1
    assert '| `fit`, `compile="inductor"` | 3.3 | 0.75 | 1.50 |' in text
    assert f"- **{NUMPYRO}**: it is ahead in 1 of 1 settings: A, 12,800 data of MNIST, 1 thread (1.50)." in text
    assert f"- **{FUSED}**: it is ahead nowhere: ours takes 0.75 of its time." in text
    assert "**AMD EPYC**, 2 cores, with avx2, without avx512, amx." in text
    assert "python scripts/benchmarks/training.py --root DIR --threads 1\n" in text


def test_a_record_is_replaced_by_one_of_the_same_settings_and_processor_alone(page_of, records, tmp_path, monkeypatch):
    for machine, seconds in ((XEON, 1.0), (EPYC, 2.0), (EPYC, 3.0)):
        monkeypatch.setattr(records, "machine", lambda machine=machine: machine)
        records.keep(str(tmp_path), "training", A, timing({FUSED: [seconds]}))
    records.keep(str(tmp_path), "training", A | {"threads": 2}, timing({FUSED: [5.0]}))
    kept = json.loads((tmp_path / "training.json").read_text())["records"]
    assert [record["results"]["seconds"][FUSED] for record in kept] == [[1.0], [3.0], [5.0]]
    text = written(page_of, tmp_path)
    assert "**Xeon**, 8 cores, with avx2, avx512 (bf16 f), amx (tile)." in text
    assert text.count("**AMD EPYC**") == 1


def test_a_missing_peer_is_told_with_its_reason(page_of, records, tmp_path):
    why = {NUMPYRO: "ModuleNotFoundError: No module named 'numpyro'"}
    records.keep(str(tmp_path), "training", A, timing({INDUCTOR: [1.0], FUSED: [1.0]}, why))
    text = written(page_of, tmp_path)
    assert f"Left out: {NUMPYRO} ({why[NUMPYRO]}; A, 12,800 data of MNIST, 1 thread)." in text
    assert "x NumPyro" not in text


def test_versions_say_what_is_not_installed(records, monkeypatch):
    monkeypatch.setattr(records, "PACKAGES", ("torch", "no-such-package"))
    found = records.versions()
    assert found["torch"]
    assert found["no-such-package"] is None


def test_annealing_is_compared_with_the_products_of_its_gradients(page_of, records, tmp_path):
    seconds = {page_of.DECODER: [1.0], page_of.LOG_MARGINAL: [1.5], page_of.ANNEALED: [3.0], "pythae, get_nll": [3.0]}
    seconds |= {page_of.FULL: [8.0]}  # of five times as many data
    settings = A | {"num_data": 20, "num_samples": 5000}
    found = timing(seconds) | {"gradients": 2500, "nll": {}, "chunk": 1600, "full": 100}
    records.keep(str(tmp_path), "evaluation", settings, found)
    text = written(page_of, tmp_path)
    assert "| pyrovae, `annealed, full chunk` | 1.60 (1.60 to 1.60), 80 ms (100 data) |" in text
    assert "| pyrovae, `annealed` | 3.00 (3.00 to 3.00), 150 ms |" in text
    assert "- **pythae, get_nll**: it is ahead nowhere: ours takes 0.50 of its time." in text


def test_a_fallback_is_told_with_its_reason(page_of, records, tmp_path):
    settings = {"program": "two layers", "data_shape": [1, 28, 28], "batch_size": 128, "threads": 1}
    seconds = {"off": [4.0], "graph": [4.0], "inductor": [4.0], page_of.HAND: [2.0]}
    found = timing(seconds) | {"num_steps": 20}
    for mode in ("graph", "inductor"):
        found["notes"][mode] = {"replayed": 0.0, "compiled": 0.0, "warnings": ["the step cannot be recorded (why)"]}
    records.keep(str(tmp_path), "programs", settings, found)
    records.keep(str(tmp_path), "classes", {"mode": "graph"}, {"prior": {"Good": None, "Bad": "cannot"}})
    text = written(page_of, tmp_path)
    assert "| two layers | none | none | the step cannot be recorded (why) |" in text
    assert "| two layers, 1 thread | 128 | 100 | 2.00 | 2.00 | 2.00 | 1.00 |" in text
    assert "two layers, 1 thread (2.00)" in text
    assert "| prior | `Good` | `Bad`: cannot |" in text


def test_the_page_is_what_the_records_say(page_of):
    page, folder = (ROOT / "docs" / "performance.md").read_text(), str(ROOT / "docs" / "performance")
    for name in page_of.SECTIONS:
        assert page_of.page_section.marked(name, f"\n{page_of.section_of(folder, name)}\n") in page
