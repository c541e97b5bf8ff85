"""Several processes do together what one does alone; several_processes.py is what they run."""

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pyro
import pytest
import several_processes
import torch
from several_processes import ANNEAL, ENCODE, EVALUATE, HELD, SCORE, TRAIN, fit_digits, fit_held_noise, make_vae

from pyrovae import Digits, InputError, NonFiniteLoss, distributed
from pyrovae.cli import main
from pyrovae.data import Split
from pyrovae.distributed.process_group import attempt_name
from pyrovae.runs import Run
from pyrovae.training import loop
from pyrovae.training.validation import validate


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """Two processes on this machine, ended by the death of one: their folder, what they found, said and ended with."""
    folder = tmp_path_factory.mktemp("two")
    script = Path(several_processes.__file__)
    path = os.pathsep.join((str(script.parent), str(script.parent.parent)))  # this checkout, wherever it is
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    ended = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", str(script)],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    found = [folder / f"found-{rank}.pt" for rank in (0, 1)]
    assert all(path.exists() for path in found), ended.stderr
    return folder, [torch.load(path, weights_only=False) for path in found], ended


@pytest.fixture
def in_folder(two, monkeypatch):
    monkeypatch.chdir(two[0])
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield two[0]
    torch.set_num_threads(threads)


def assert_same(one, other, tolerance=0.0):
    assert one.keys() == other.keys()
    for name in one:
        assert (one[name] - other[name]).abs().max() <= tolerance, name


@contextmanager
def order_of_several():
    """Draw the order of an epoch's images as several processes do."""
    number = int(torch.randint(2**62, ()))
    yield torch.Generator().manual_seed(number)


@pytest.mark.slow
def test_two_processes_learn_from_the_whole_batch_what_one_does_when_the_noise_is_held(two, monkeypatch):
    monkeypatch.setattr(loop, "per_rank_rng", order_of_several)
    found = two[1]
    for i, options in enumerate(HELD):
        alone = fit_held_noise(**options)
        assert_same(found[0]["held"][i], found[1]["held"][i])
        assert_same(found[0]["held"][i], alone, 1e-12)
    assert not torch.equal(found[0]["held"][0]["decoder.0.weight"], found[0]["held"][2]["decoder.0.weight"])


@pytest.mark.slow
def test_all_end_with_the_same_weights_buffers_and_figures_whatever_their_seeds(two):
    (weights, rows), (others, other_rows) = (found["digits"] for found in two[1])
    assert_same(weights, others)
    assert rows == other_rows
    running = [name for name in weights if name.endswith("running_mean")]
    assert running
    assert all(weights[name].abs().max() > 0 for name in running)
    counted = [weights[name] for name in weights if name.endswith("num_batches_tracked")]
    assert all(count == 58 for count in counted)


@pytest.mark.slow
def test_with_free_noise_the_bound_is_that_of_one_process_within_its_noise(two):
    together = two[1][0]["digits"][1]
    alone = fit_digits(seed=0)[1]
    assert together[0][4] != alone[0][4]
    for one, other in zip(together, alone, strict=True):  # seeds differ by 1.6 nats
        assert one[4] == pytest.approx(other[4], abs=3)
    assert together[0][1] < alone[1][1] - 3


@pytest.mark.slow
def test_two_processes_resume_exactly(two):
    for found in two[1]:
        assert_same(found["resumed"][0], found["digits"][0])
        assert found["resumed"][1] == found["digits"][1]


@pytest.mark.slow
def test_a_callback_that_draws_leaves_every_image_to_one_process(two):
    _, found, _ = two
    read = [own["read"] for own in found]
    assert all(read)
    assert sorted(read[0] + read[1]) == list(range(len(several_processes.held_noise_data().train)))


@pytest.mark.slow
def test_arguments_that_differ_are_refused(two):
    _, found, _ = two
    for own in found:
        assert own["differing"] == "batch_size must be the same in all processes, but 100 and 101 were given"


@pytest.mark.slow
def test_the_first_process_alone_calls_back(two):
    assert [found["calls"] for found in two[1]] == [2, 0]


@pytest.mark.slow
def test_the_last_bound_is_that_of_one_process_with_these_weights_to_the_bit(two, in_folder):
    vae = make_vae()
    weights, rows = two[1][0]["digits"]
    vae.load_state_dict(weights)
    with pyro.get_param_store().scope():
        reconstruction, kl = validate(vae.model, vae.guide, "no", Digits().validation, 50)
    assert rows[-1][4:] == [reconstruction - kl, reconstruction, kl]


@pytest.mark.slow
def test_what_goes_wrong_in_one_process_stops_all_with_one_sentence_and_no_update(two):
    for found in two[1]:
        kind, sentence, untouched = found["not finite"]
        assert kind is NonFiniteLoss
        assert sentence.startswith("training stopped in epoch 1, batch 1 of 1: the loss is inf at site 'x'")
        assert untouched
        kind, sentence, untouched = found["bad"]
        assert kind is InputError
        assert sentence.startswith("x must be good")
        assert untouched
        assert found["parameters"] == [
            "programs must be the same in all processes, but their parameters differ",
            "programs must make the same parameters in all processes, but only some have made 'own'",
        ]
        assert found["by first"] == "division by zero"


@pytest.mark.slow
def test_parts_come_together_in_order(two):
    first, second = two[1]
    assert first["in order"] == second["in order"] == [f"part {i}" for i in range(5)]
    assert (first["at first"], second["at first"]) == ([0, 1, 2, 3, 4], [])
    assert torch.equal(first["sum"], second["sum"])
    assert [found["ahead"] for found in two[1]] == [0, 1]


@pytest.mark.slow
def test_one_process_talks_and_all_end_alike(two):
    folder, _, ended = two
    assert [(folder / f"statuses-{rank}").read_text() for rank in (0, 1)] == ["2 0 2 2 0 0 2 0 0 2 2"] * 2
    for sentence in (
        "--epochs: expected an integer, but many was given",
        "run must be a new folder, or go on with --resume true, but run holds a run already",
        "run must be a folder in which no other process trains, but one does in run: ",
        "estimator must not be Adaptive where there are several processes",
        "report must be run by one process",
        "out must be a new file unless overwrite is true, but scores.csv exists",
    ):
        assert ended.stderr.count(f"pyrovae: error: {sentence}") == 1, sentence
    assert ended.stdout.count("the run is kept in run\n") == 1
    assert ended.stdout.count("written to run/evaluation") == 2
    assert "Warning" not in ended.stderr
    assert len(Run(folder / "run").history().epochs) == 1


@pytest.mark.slow
@pytest.mark.usefixtures("short_checks")
@pytest.mark.parametrize(
    ("name", "words", "count"),
    [("train-importance-50-first180", EVALUATE, 180), ("train-annealed-2-T3-first110", ANNEAL, 110)],
)
def test_an_evaluation_is_the_same_to_the_bit(name, words, count, two, in_folder):
    run = Run("run")
    before, values = run.evaluations()[name], run.values(name)
    assert main(["evaluate", "run", *words]) == 0
    after = run.evaluations()[name]
    assert json.dumps({**before, "seconds": 0}) == json.dumps({**after, "seconds": 0})
    assert len(values.sample_stats["log_prob"]) == count  # a block of 100 by each process
    for group in values.groups():
        assert values[group].identical(run.values(name)[group].assign_attrs(values[group].attrs)), group


@pytest.mark.slow
def test_scores_and_codes_are_the_same_to_the_bit(two, in_folder):
    for words, name in ((["score", "run", *SCORE], "scores.csv"), (["encode", "run", *ENCODE], "codes.npy")):
        assert main([*words, f"--out=one-{name}"]) == 0
        assert Path(name).read_bytes() == Path(f"one-{name}").read_bytes()


@pytest.mark.slow
def test_a_killed_process_ends_the_run_and_one_process_resumes_it(two, in_folder):
    ended = two[2]
    assert ended.returncode != 0
    assert "SIGKILL" in ended.stderr
    assert "the killed process goes on" not in ended.stderr
    run = Run("killed")
    first = run.history().rows()
    assert len(first) == 1
    again = [*TRAIN, "2", "--run", "killed", "--compile", "off", "--objective", "several_processes.Killer"]
    assert main([*again, "--resume", "true"]) == 0
    assert run.history().rows()[0] == first[0]
    assert len(run.history().epochs) == 2


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="there are no two GPUs")
def test_two_gpus_train_and_evaluate_together(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    together = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", "-m", "pyrovae"]
    evaluate = ["evaluate", "run", "--num_samples", "50", "--chunk_size", "500"]
    for words in ([*TRAIN, "2", "--run", "run", "--device", "cuda"], evaluate):
        ended = subprocess.run([*together, "--", *words], capture_output=True, text=True, timeout=300)
        assert ended.returncode == 0, ended.stderr
    first, last = Run("run").history().epochs
    assert last.validation_elbo > first.validation_elbo
    before = Run("run").evaluations()["test-importance-50"]
    assert main(evaluate) == 0
    assert Run("run").evaluations()["test-importance-50"]["nll"] == before["nll"]


def test_torchruns_environment_is_checked(monkeypatch, capsys):
    monkeypatch.setenv("WORLD_SIZE", "two")
    assert main(["train", "--help"]) == 2
    assert "WORLD_SIZE must be a number, as torchrun sets it, but two was given" in capsys.readouterr().err
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.delenv("RANK", raising=False)
    assert main(["train", "--help"]) == 2
    assert "RANK must be set where WORLD_SIZE is 2, as torchrun does" in capsys.readouterr().err


def test_an_attempt_has_one_name_whatever_an_earlier_one_left():
    store, names = torch.distributed.HashStore(), []
    for _ in range(2):  # as after the restart of all processes, whose store goes on
        with ThreadPoolExecutor(3) as pool:
            names.append(set(pool.map(lambda rank: attempt_name(store, rank, 3), range(3))))
    assert [len(name) for name in names] == [1, 1]
    assert names[0] != names[1]


def test_shares_of_the_batches_are_all_images_once():
    data = Digits().train
    assert isinstance(data, Split)
    positions = data.positions(100, shuffle=True, generator=torch.Generator().manual_seed(1))
    again = data.positions(100, shuffle=True, generator=torch.Generator().manual_seed(1))
    assert torch.equal(torch.cat(positions), torch.cat(again))
    assert sorted(torch.cat(positions).tolist()) == list(range(len(data)))


def test_seeds_do_not_collide_where_numbers_are_near():
    seeds = {distributed.derive_seed(a, b) for a in range(30) for b in range(30)}
    assert len(seeds) == 900
    assert all(0 <= seed < 2**63 for seed in seeds)
