"""The reproduction of Wu et al.: its findings say what its rows do, and its sandwiches are found again."""

import pytest
from script_modules import ROOT

from pyrovae import Importance

SCRIPTS = ROOT / "scripts" / "reproductions"


@pytest.fixture
def script(monkeypatch):
    monkeypatch.syspath_prepend(str(SCRIPTS))
    import annealing

    return annealing


def rows(**changes):
    """Decoders of 2, 10 and 50 latents as the paper would have them; changes are of the last."""
    errors = {f"{key}_error": 0.1 for key in ("gap_5000", "annealing_sandwich", "sampling_sandwich")}
    gaps = zip((2, 10, 50), (0.0, 0.5, 1.0), (0.0, 0.6, 1.2), strict=True)
    found = [
        {"latents": D, "width": 200, "gap_5000": gap, "annealing_sandwich": 0.1, "sampling_sandwich": wide, **errors}
        for D, gap, wide in gaps
    ]
    found[-1] |= changes
    return found


@pytest.mark.parametrize(
    ("changes", "holds"),
    [
        ({}, [True, True, True, True]),
        ({"gap_5000": 0.4}, [True, False, True, True]),  # less than that of 10 latents, but more than its error
        ({"gap_5000": 0.75}, [True, False, True, True]),  # more than that, but by less than two standard errors
        ({"gap_5000": 0.1}, [False, False, True, True]),
        ({"annealing_sandwich": -0.5}, [True, True, False, True]),
        ({"annealing_sandwich": -0.3}, [True, True, True, True]),  # within chance
        ({"annealing_sandwich": 1.3}, [True, True, True, False]),
    ],
)
def test_findings_hold_where_the_rows_say_so(script, changes, holds):
    made = script.record(rows(**changes), images=5, samples=5000, temperatures=4, simulated=3)
    assert [found for _, found in made["findings"]] == holds


def test_decoders_that_differ_in_one_thing_alone_come_in_its_order(script):
    sizes = [(50, 800), (10, 200), (50, 200), (2, 200), (50, 50), (10, 50)]
    of = [{"latents": D, "width": H} for D, H in sizes]
    assert [row["latents"] for row in script.by(of, "latents")] == [2, 10, 50]
    assert [row["width"] for row in script.by(of, "width")] == [50, 200, 800]


@pytest.mark.slow
@pytest.mark.usefixtures("short_checks")
def test_an_evaluation_with_its_sandwich_is_found_again_and_another_is_made(script, tmp_path, monkeypatch):
    import setting as reproduction

    done, do = [], reproduction._do
    monkeypatch.setattr(reproduction, "_do", lambda *words: (done.append(words[0]), do(*words)))
    setting = reproduction.Setting(None, str(tmp_path), str(tmp_path), 1, 1, 0)
    run = setting.train("2-8", script.program(2, 8), 1)
    options = {"weights": "last", "sandwich": True, "num_simulated": 3, "num_data": 1000}
    # Of fewer images than are asked for.
    first = setting.evaluate(run, Importance(20), reverse__num_temperatures=2, **options)
    again = setting.evaluate(run, Importance(20), reverse__num_temperatures=2, **options)
    assert done == ["train", "evaluate"]
    assert again.gap == first.gap is not None
    setting.evaluate(run, Importance(20), reverse__num_temperatures=3, **options)
    setting.evaluate(run, Importance(20), reverse__num_temperatures=3, **{**options, "num_simulated": 4})
    setting.evaluate(
        run, Importance(20), reverse__num_temperatures=3, **{**options, "num_simulated": 4, "num_data": 10}
    )
    assert done == ["train", *["evaluate"] * 4]
    measured = script.measured(run, first, first)
    assert measured["gap_20"] == pytest.approx(0, abs=1e-5)
    assert measured["gap_1"] > measured["gap_5"] > 0
