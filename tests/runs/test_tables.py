"""A run on a table: rows of other files are found by their names, and results have the table's columns and units."""

import shlex
from functools import partial

import numpy as np
import pandas
import pytest
import torch
from sklearn.datasets import load_wine

import pyrovae
from pyrovae import VAE, DiagonalNormal, InputError, StandardNormal, StudentT, Table, TableEncoder, TableLikelihood
from pyrovae.cli import main
from pyrovae.explore import open_session
from pyrovae.runs import Run

pytestmark = pytest.mark.slow


def wine():
    frame = load_wine(as_frame=True).frame[["alcohol", "magnesium", "proline", "target"]].copy()
    rng = np.random.default_rng(0)
    frame["colour"] = np.array(["red", "rosé", "white"])[frame["target"]]
    gaps = rng.random(frame.shape) < 0.1
    gaps[:, :1], gaps[:, 3] = False, False
    return frame.mask(gaps)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("table")
    wine().to_csv(folder / "wine.csv", index=False)
    small = "--posterior.network.hidden_features [8] --likelihood.network.hidden_features [8]"
    families = '\'{"alcohol": "StudentT"}\''
    command = (
        f"train --data Table --data.path {folder}/wine.csv --data.label target --likelihood TableLikelihood "
        f"--likelihood.columns {families} --latent_dim 2 --epochs 2 --compile off --run {folder}/run {small}"
    )
    assert main(shlex.split(command)) == 0
    return folder / "run"


def test_the_program_is_made_again_with_its_columns(run):
    program = pyrovae.load(run).program
    assert [type(group.likelihood).__name__ for group in program.likelihood.groups][-1] == "StudentT"
    assert program.posterior.network.schema.columns[3].categories == ("red", "rosé", "white")
    assert program.posterior.network.schema == program.likelihood.schema


def test_rows_of_a_reordered_file_have_the_same_scores(run, tmp_path):
    frame = wine()
    frame[["colour", "proline", "alcohol", "magnesium"]].to_parquet(tmp_path / "other.parquet")
    score = f"score {run} --num_samples 5 --num_data 120 --quiet"
    assert main(shlex.split(f"{score} --out {tmp_path}/own.csv")) == 0
    assert (
        main(shlex.split(f"{score} --out {tmp_path}/other.csv --data Table --data.path {tmp_path}/other.parquet")) == 0
    )
    own, other = (pandas.read_csv(tmp_path / f"{name}.csv") for name in ("own", "other"))
    pandas.testing.assert_frame_equal(own, other)
    torch.manual_seed(0)
    found = [pyrovae.load(run).encode(frame[list(columns)])["z"] for columns in (frame.columns, frame.columns[::-1])]
    assert torch.equal(*found)
    with pytest.raises(InputError, match="lacks 'alcohol' and has 'strength'"):
        pyrovae.load(run).encode(frame.rename(columns={"alcohol": "strength"}))


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_imputed_rows_and_samples_have_the_names_of_columns_and_categories(ending, run, tmp_path):
    out, frame = tmp_path / f"out.{ending}", wine()
    command = f"impute {run} --num_samples 20 --num_data 30 --quiet --out {out}"
    assert main(shlex.split(command)) == 0
    filled = {"csv": pandas.read_csv, "parquet": pandas.read_parquet}[ending](out)
    assert list(filled.columns) == ["row", "alcohol", "magnesium", "proline", "colour"]
    assert filled.notna().all(axis=None)
    assert set(filled["colour"]) <= {"red", "rosé", "white"}
    known = frame["colour"][:30].notna()
    assert (filled["colour"].astype(str)[known] == frame["colour"][:30][known]).all()
    np.testing.assert_allclose(filled["alcohol"], frame["alcohol"][:30], rtol=1e-6)
    assert main(shlex.split(f"sample {run} --num_samples 9 --noise true --out {tmp_path}/new.{ending}")) == 0
    new = {"csv": pandas.read_csv, "parquet": pandas.read_parquet}[ending](tmp_path / f"new.{ending}")
    assert list(new.columns) == ["alcohol", "magnesium", "proline", "colour"]
    assert (new["magnesium"] % 1 == 0).all()


def test_a_count_has_one_type_in_all_blocks_and_columns_may_be_named_as_the_index(tmp_path):
    torch.manual_seed(0)
    frame = pandas.DataFrame({"row": np.arange(150.0) % 7, "draw": np.linspace(0.1, 1, 150) ** 2})
    frame.loc[3, "row"] = np.nan  # blocks of 100 rows: the second has no gap, and whole numbers alone
    table = Table(frame, types={"row": "count"})
    vae = VAE(
        StandardNormal(1),
        TableLikelihood((2,), 1, schema=table.schema),
        DiagonalNormal((2,), 1, partial(TableEncoder, schema=table.schema)),
    )
    pyrovae.save(tmp_path / "run", vae, table)
    for ending, read in (("csv", pandas.read_csv), ("parquet", pandas.read_parquet)):
        out = tmp_path / f"out.{ending}"
        assert main(["impute", str(tmp_path / "run"), "--num_samples=5", "--quiet", f"--out={out}"]) == 0
        filled = read(out)
        assert list(filled.columns) == ["row_", "row", "draw"]
        known = frame["row"].notna()
        assert (filled["row"][known] == frame["row"][known]).all()
        assert filled["row"].notna().all()


def test_the_report_shows_columns(run):
    assert main(["report", str(run), "--quiet"]) == 0
    page = (run / "report.html").read_text()
    assert "How well each column of the test rows is reconstructed" in page
    assert "rows of Table" in page
    assert {path.stem for path in (run / "figures").glob("*.png")} >= {"marginals", "pairs", "columns", "worst_rows"}


def test_the_run_can_be_explored_also_where_its_table_is_gone(run):
    path = run.parent / "wine.csv"
    there = open_session(Run(run), num_samples=5)
    path.rename(run.parent / "away.csv")
    try:
        gone = open_session(Run(run), num_data=20, num_samples=5)
    finally:
        (run.parent / "away.csv").rename(path)
    assert there.notes == []
    assert there.session.colours == ["target", "alcohol", "magnesium", "proline", "colour"]
    assert len(gone.notes) == 1
    for opened in (there, gone):
        words, cells = opened.session.row(1)
        assert "takes most" in words
        assert cells.count("<tr>") == 5


def test_a_program_of_a_frame_is_saved_with_its_columns(tmp_path):
    table = Table(wine(), label="target")
    likelihood = TableLikelihood((4,), 2, columns={"alcohol": StudentT}, schema=table.schema)
    encoder = partial(TableEncoder, schema=table.schema)
    vae = VAE(StandardNormal(2), likelihood, DiagonalNormal((4,), 2, encoder))
    pyrovae.save(tmp_path / "run", vae, table)
    again = pyrovae.load(tmp_path / "run")
    assert again.data.schema == table.schema
    assert torch.equal(again.data.all[:].nan_to_num(-9.0), table.all[:].nan_to_num(-9.0))
    x = table.test[:]
    assert torch.equal(again.encode(x)["z"], pyrovae.encode(vae.guide, x)["z"])
