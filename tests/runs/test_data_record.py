"""A run knows its data again: changed data are refused or said, moved ones are found, and much is done without any."""

import json
import shutil
from importlib import import_module

import numpy as np
import pytest
import torch

from pyrovae import ArrayFile, DataSet, Digits
from pyrovae.cli import main
from pyrovae.data import split as splits
from pyrovae.runs import DataRecord, Run

NETWORKS = ["--posterior.network.hidden_features=[8]", "--likelihood.network.hidden_features=[8]"]
TRAIN = ["train", *NETWORKS, "--latent_dim=2", "--batch_size=64", "--compile=off", "--epochs=1"]
FEW = ["--num_samples=5", "--num_checked=0"]
SHORT = ["--num_samples=5", "--refinement_steps=2", "--method.num_temperatures=2", "--num_simulated=9"]  # a diagnosis


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).integers(0, 256, (100, 4, 4), np.uint8)


@pytest.fixture(scope="module")
def made(tmp_path_factory, images):
    """A folder with data, a trained run and its evaluation."""
    folder = tmp_path_factory.mktemp("made")
    with pytest.MonkeyPatch.context() as patched:
        patched.chdir(folder)
        np.save("data.npy", images)
        words = ["--data=ArrayFile", "--data.path=data.npy", "--data.binarization=dynamic"]
        assert main([*TRAIN, *words, "--run=run"]) == 0
        assert main(["evaluate", "run", *FEW]) == 0
    return folder


@pytest.fixture
def here(made, tmp_path, monkeypatch):
    """A copy of it that a test may change, in which it works."""
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


CHANGES = {
    "one more": (lambda images: np.concatenate((images, images[:1])), "there are 81 train data, and were 80"),
    "another shape": (lambda images: images[:, :, :3], "their shape is (4, 3), and was (4, 4)"),
    "one value": (lambda images: images ^ (np.arange(1600).reshape(100, 4, 4) == 777), "the {} data have other values"),
    "another order": (lambda images: images[::-1], "the train data have other values, labels or places in the split"),
}


@pytest.mark.slow
@pytest.mark.parametrize("change", CHANGES)
def test_changed_data_are_refused(change, here, images, capsys):
    np.save("data.npy", CHANGES[change][0](images).astype(np.uint8))
    sentence = CHANGES[change][1].format(holder(777 // 16))
    kept = {path: path.read_bytes() for path in here.rglob("*") if path.is_file()}
    commands = [["evaluate", "run"], ["train", "--resume=true", "--epochs=2", "--run=run"]]
    commands += [["diagnose", "run"], ["refit_prior", "run", "--out=refit"]] if change == "one more" else []
    for words in commands:
        capsys.readouterr()
        assert main(words) == 2
        assert sentence in capsys.readouterr().err
    assert {path: path.read_bytes() for path in here.rglob("*") if path.is_file()} == kept
    if change == "one more":
        assert main(["report", "run"]) == 0
        page = (here / "run" / "report.html").read_text(encoding="utf-8")
        assert f"No test data: data must be those that run was trained on, but they are not: {sentence}" in page
        assert 'id="gallery"' not in page
        (here / "run" / "data.json").unlink()  # an older run does not know its data
        assert main(["evaluate", "run", *FEW]) == 0


def holder(image):
    """Return the name of the split that has an image."""
    data = ArrayFile("data.npy")
    return next(name for name in ("train", "validation", "test") if image in getattr(data, name)._index.tolist())


def test_labels_are_part_of_the_data(images, tmp_path):
    np.save(tmp_path / "images.npy", images)
    records = []
    for first in (0, 1):
        np.save(tmp_path / "labels.npy", np.array([first, *range(1, 100)]))
        data = ArrayFile(tmp_path / "images.npy", labels=tmp_path / "labels.npy")
        records.append(DataRecord.of(data))
    assert "other values, labels or places" in records[0].difference(records[1])
    assert records[0].difference(records[0]) is None


def test_of_a_memory_map_few_parts_are_read(images, tmp_path, monkeypatch):
    monkeypatch.setattr(splits, "_PART", 16)
    monkeypatch.setattr(splits, "_PARTS", 5)
    np.save(tmp_path / "a.npy", images)
    data = ArrayFile(tmp_path / "a.npy")
    read = []
    stored = splits.Split._stored
    monkeypatch.setattr(splits.Split, "_stored", lambda self, at: read.append(len(at)) or stored(self, at))
    before = data.train.hash()
    assert sum(read) == 5
    for place in (0, -1):
        changed = images.copy()
        changed[data.train._index[place]] ^= 1
        np.save(tmp_path / "b.npy", changed)
        assert ArrayFile(tmp_path / "b.npy").train.hash() != before
    assert ArrayFile(tmp_path / "a.npy").train.hash() == before


@pytest.mark.slow
def test_a_run_whose_data_moved_goes_on_where_they_are_now(here, capsys):
    (here / "data.npy").rename("moved.npy")
    assert main(["evaluate", "run", *FEW]) == 2
    told = capsys.readouterr().err
    assert f"there is no data.npy in the current folder, {here}" in told
    assert "if they are elsewhere now, say so, as with --data.path" in told
    before = Run("run").evaluations()["test-importance-5"]
    assert main(["evaluate", "run", *FEW, "--data.path", "moved.npy"]) == 0
    assert list(Run("run").evaluations()) == ["test-importance-5"]
    after = Run("run").evaluations()["test-importance-5"]
    assert {**before, "seconds": 0} == {**after, "seconds": 0}
    assert after["other_data"] is None
    for words in (
        ["diagnose", "run", "--num_data=5", *SHORT],
        ["refit_prior", "run", "--out=refit", "--epochs=1"],
        ["report", "run"],
    ):
        assert main([*words, "--data.path=moved.npy"]) == 0
    assert "No test data" not in (here / "run" / "report.html").read_text(encoding="utf-8")
    assert main(["train", "--resume=true", "--epochs=2", "--run=run", "--data.path=moved.npy"]) == 0
    assert Run("run").config()["data"]["init_args"]["path"] == "moved.npy"
    assert len(Run("run").history().epochs) == 2
    assert main(["evaluate", "run", *FEW]) == 0


@pytest.mark.slow
def test_what_a_run_was_begun_with_may_be_said_again_and_not_otherwise(here, capsys):
    again = ["train", "--resume=true", "--epochs=2", "--run=run"]
    assert main([*again, "--data.path=data.npy"]) == 0
    for option, given, was in (("binarization", "static", "dynamic"), ("seed", "3", "0")):
        capsys.readouterr()
        assert main([*again, f"--data.{option}={given}"]) == 2
        sentence = f"data.{option} must stay as it was when a run is resumed, {was}, but {given} was given"
        assert sentence in capsys.readouterr().err
    assert main([*again, "--data.rot=3"]) == 2
    assert "--data.rot: there is no such option; accepted are path, labels" in capsys.readouterr().err
    mixture = ["--prior=GaussianMixture", "--prior.num_components=3"]
    assert main([*TRAIN, *mixture, "--run=mixture"]) == 0
    again[-1] = "--run=mixture"
    assert main([*again, "--prior.num_components=3"]) == 0
    assert main([*again, "--prior.num_components=4"]) == 2
    assert "prior.num_components must stay as it was when a run is resumed, 3, but 4" in capsys.readouterr().err
    (here / "resumed.yaml").write_text("run: mixture\nresume: true\nepochs: 3\n", encoding="utf-8")
    assert main(["train", "--config=resumed.yaml", "--prior.num_components=3"]) == 0
    assert len(Run("mixture").history().epochs) == 3


@pytest.mark.slow
def test_other_data_are_taken_where_they_are_asked_for_and_said(here, images, capsys):
    np.save("other.npy", images[:50])
    assert main(["evaluate", "run", *FEW, "--data.path=other.npy"]) == 0
    sentence = "These are other data than the run's (there are 40 train data, and were 80)"
    assert sentence in capsys.readouterr().out
    (other,) = Run("run").evaluations().keys() - {"test-importance-5"}
    assert other.startswith("test-importance-5-data-")
    assert Run("run").evaluations()[other]["other_data"].startswith(sentence)
    assert main([*TRAIN, "--data=ArrayFile", "--data.path=other.npy", "--data.binarization=dynamic", "--run=own"]) == 0
    assert main(["evaluate", "own", *FEW]) == 0
    capsys.readouterr()
    assert main(["compare", "run", "own", f"--evaluation=[{other}, test-importance-5]"]) == 0
    told = capsys.readouterr().out
    assert f"run: {sentence}" in told
    assert "own: These" not in told
    record = (here / "run" / "data.json").read_bytes()
    (here / "run" / "data.json").unlink()  # as in an older run, whose own evaluation must not be replaced either
    assert main(["evaluate", "run", *FEW, "--data.path=other.npy"]) == 0
    assert "the run is too old to know its own" in Run("run").evaluations()[other]["other_data"]
    (here / "run" / "data.json").write_bytes(record)
    np.save("wide.npy", images[:, :, :3])
    assert main(["evaluate", "run", *FEW, "--data.path=wide.npy"]) == 2
    assert "their shape is (4, 3), and was (4, 4)" in capsys.readouterr().err
    assert main(["evaluate", "run", *FEW, "--data=Digits", "--data.binarization=none"]) == 2


SHAPED = {
    "binary": DataSet(torch.arange(40, dtype=torch.uint8).reshape(10, 4) % 2),
    "binarised 17": DataSet(torch.arange(40).reshape(10, 4) % 17, levels=17, binarization="dynamic"),
    "binarised 256": DataSet(torch.arange(160, 200).reshape(10, 4), levels=256, binarization="dynamic"),
    "scaled 17": DataSet(torch.arange(40).reshape(10, 4) % 17, levels=17),
    "scaled 256": DataSet(torch.arange(160, 200).reshape(10, 4), levels=256),
    "dequantized 17": DataSet(torch.arange(40).reshape(10, 4) % 17, levels=17, dequantize=True),
    "counts": DataSet(torch.arange(40).reshape(10, 4)),
    "discrete": DataSet(torch.arange(40).reshape(10, 4) - 20),
    "real": DataSet(torch.randn(10, 4)),
}
FITTING = {
    "binary": {"binary", "binarised 17", "binarised 256"},
    "binarised 17": {"binary", "binarised 17", "binarised 256"},
    "scaled 17": {"scaled 17"},
    "dequantized 17": {"dequantized 17"},
    "counts": {"binary", "binarised 17", "binarised 256", "counts"},
    "discrete": {"binary", "binarised 17", "binarised 256", "counts", "discrete"},
    "real": {"binary", "binarised 17", "binarised 256", "counts", "discrete", "real"},
}


@pytest.mark.parametrize("own", FITTING)
def test_other_data_must_be_of_the_runs_kind_and_levels(own):
    record = DataRecord.of(SHAPED[own])
    found = {name: record.mismatch(DataRecord.of(data)) for name, data in SHAPED.items()}
    assert {name for name, mismatch in found.items() if mismatch is None} == FITTING[own]
    assert all("options of the data set" in mismatch for mismatch in found.values() if mismatch is not None)


@pytest.mark.slow
def test_all_rows_of_other_data_are_evaluated_shown_and_compared(here, images, capsys):
    np.save("other.npy", images[:50])
    np.save("one.npy", images[:1])
    assert main(["evaluate", "run", *FEW, "--data.path=other.npy"]) == 0
    assert "Of the 50 data these are the 5 of the test split: --split all takes all." in capsys.readouterr().out
    assert main(["evaluate", "run", *FEW, "--data.path=other.npy", "--split=all"]) == 0
    (name,) = (name for name in Run("run").evaluations() if name.startswith("all-importance-5-data-"))
    x = Run("run").values(name).observed_data["x"].values
    assert np.array_equal(x, ArrayFile("other.npy", binarization="dynamic").all[:].numpy())
    assert main(["evaluate", "run", *FEW, "--data.path=one.npy"]) == 0  # too few to be split
    assert main(["report", "run", "--data.path=other.npy", "--split=all"]) == 0
    page = (here / "run" / "report.html").read_text(encoding="utf-8")
    assert "All 50 test data." in page
    assert "bound of 50 samples" not in page  # the values are those of the evaluation
    assert "-log-likelihood of 10 test data" in page.replace("negative ", "-")  # and the headline that of the run's own
    shutil.copytree("run", "again")
    assert main(["diagnose", "run", "--data.path=one.npy", *SHORT]) == 0
    capsys.readouterr()
    assert main(["compare", "run", "again", "--data.path=other.npy", "--split=all"]) == 0
    assert f"Evaluation {name}\n" in capsys.readouterr().out
    assert main(["compare", "run", "again"]) == 0
    assert "Evaluation test-importance-5\n" in capsys.readouterr().out
    assert main(["compare", "run", "again", "--data.path=one.npy", "--split=all"]) == 2
    assert "runs must have an evaluation of all data in common" in capsys.readouterr().err
    assert main(["compare", "run", "again", "--data.path=one.npy", "--evaluation=a"]) == 2
    assert "data must be left out where evaluation names" in capsys.readouterr().err
    assert main([*TRAIN, "--data=ArrayFile", "--data.path=one.npy", "--run=new"]) == 2
    assert "data must be at least 3 to train on some" in capsys.readouterr().err


@pytest.mark.slow
def test_what_needs_no_data_is_done_without(here, monkeypatch, capsys):
    assert main(["sample", "run", "--out=before.npy"]) == 0
    (here / "data.npy").unlink()
    assert main(["sample", "run", "--out=after.npy"]) == 0
    assert (here / "before.npy").read_bytes() == (here / "after.npy").read_bytes()
    assert main(["export", "run", "--format=torch"]) == 0
    described = json.loads((here / "run" / "export" / "torch.json").read_text(encoding="utf-8"))
    assert described["data"] == {
        "class": "ArrayFile",
        "shape": [4, 4],
        "values": "1 with probability v / 255, else 0, for grey levels v from 0 to 255",
    }
    assert main(["report", "run"]) == 0
    page = (here / "run" / "report.html").read_text(encoding="utf-8")
    assert "No test data: the data of run cannot be loaded: path must be an existing file" in page
    assert "trained on 80 data of ArrayFile (binary, shape 4 x 4)" in page
    assert 'id="gallery"' not in page
    pictures = {path.stem for path in (here / "run" / "figures").iterdir()}
    assert {"training_curves", "samples", "manifold", "test-importance-5-extremes"} <= pictures
    assert not {"reconstructions", "latent_map"} & pictures
    served = []
    monkeypatch.setattr(import_module("pyrovae.cli.commands.explore"), "serve", lambda *told: served.append(told))
    assert main(["explore", "run", "--num_data=7"]) == 0
    session, title, _ = served[0]
    assert len(session.x) == 7
    assert set(session.x.unique().tolist()) <= {0.0, 1.0}
    assert session.explain(session.datum(0)).log_prob < 0
    assert "drawn from the model" in title
    assert "stand in for test data: the data of run cannot be loaded" in capsys.readouterr().out


@pytest.mark.slow
def test_a_program_that_is_told_labels_is_sampled_without_data(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.savez("data.npz", x=np.eye(60, 6), labels=np.arange(60) % 3)
    data = ["--data=ArrayFile", "--data.path=data.npz"]
    assert main(["train", *data, "--program=ConditionalVAE", "--program.num_classes=3", "--epochs=1", "--run=run"]) == 0
    (tmp_path / "data.npz").unlink()
    assert Run("run").describe_data().classes == [0, 1, 2]
    assert main(["sample", "run", "--num_samples=6", "--out=samples.npy"]) == 0
    assert np.load("samples.npy").shape == (6, 6)


@pytest.mark.slow
@pytest.mark.parametrize("content", ["[]", "{}", '{"format": 2}', "no json", '{"format": 1, "data_shape": [0]}'])
def test_a_broken_record_is_one_sentence(content, here, capsys):
    (here / "run" / "data.json").write_text(content, encoding="utf-8")
    assert main(["evaluate", "run", *FEW]) == 2
    assert "data.json must describe the run's data: " in capsys.readouterr().err


@pytest.mark.slow
def test_training_images_are_evaluated_alike_by_whatever_evaluates_them(tmp_path, monkeypatch):
    """Their binarisation is drawn anew in training; an evaluation draws it from a seed of its own."""
    monkeypatch.chdir(tmp_path)
    for name, latents in (("a", 2), ("b", 3)):
        words = [*NETWORKS, f"--latent_dim={latents}", "--batch_size=512", "--compile=off", "--epochs=1"]
        assert main(["train", *words, f"--run={name}"]) == 0
    seen = {}
    for run, *options in (
        *(("a",), ("a", "--chunk_size=7"), ("a", "--seed=1"), ("b",)),
        *(
            ("a", "--method=Adaptive", "--method.target_error=9", "--method.max_evaluations=500"),
            ("a", "--num_data=120"),
        ),
    ):
        words = ["--split=train", *["--num_data=130"] * ("--num_data=120" not in options), "--num_checked=0"]
        words += [] if "--method=Adaptive" in options else ["--num_samples=5"]
        assert main(["evaluate", run, *words, *options]) == 0
        summaries = Run(run).evaluations()
        name = max(summaries, key=lambda name: (tmp_path / run / "evaluation" / f"{name}.nc").stat().st_mtime_ns)
        seen[(run, *options)] = summaries[name]["nll"], Run(run).values(name).observed_data["x"].values
    first = seen["a",]
    assert set(np.unique(first[1])) == {0, 1}
    assert (first[1] == Digits().train.with_fixed_noise()[:130].numpy()).all()
    for _, x in seen.values():
        assert (x == first[1][: len(x)]).all()
    assert main(["compare", "a", "b", "--evaluation=train-importance-5-first130"]) == 0
    assert "130" in (tmp_path / "comparison" / "comparison.txt").read_text(encoding="utf-8")


def test_images_that_are_held_have_the_noise_of_their_seed_and_the_others_are_drawn_anew():
    data = Digits()
    held = data.train.with_fixed_noise()
    assert torch.equal(held[:50], data.train.with_fixed_noise()[:50])
    assert not torch.equal(data.train[:50], data.train[:50])
    v = data.train.stored.double() / 16
    difference = held[:].double() - v  # of mean 0, with variance v (1 - v)
    assert difference.mean().abs() < 4 * (v * (1 - v)).sum().sqrt() / v.numel()
