"""Tables are read from every kind of file as the same numbers, and bad ones are refused in one sentence."""

import datetime
import re
import shlex
from decimal import Decimal

import numpy as np
import pandas
import pyarrow
import pytest
import torch
from command_line import assert_one_sentence, contents
from pyarrow import feather, parquet
from sklearn.datasets import load_breast_cancer, load_diabetes, load_wine

from pyrovae import InputError, Table
from pyrovae.cli import main
from pyrovae.data import row_buffer
from pyrovae.data import table as of_tables

N = 60
rng = np.random.default_rng(0)
FRAME = pandas.DataFrame(
    {
        "height": rng.normal(1.7, 0.1, N).round(6),
        "income": np.exp(rng.normal(10, 1, N)).round(3),
        "visits": rng.poisson(4, N),
        "smokes": rng.random(N) < 0.4,
        "animal": np.array(["cow", "cat", "dog"])[rng.integers(0, 3, N)],
        "side": np.array(["left", "right"])[rng.integers(0, 2, N)],
        "target": np.array(["well", "ill"])[rng.integers(0, 2, N)],
    }
)
KINDS = ["real", "positive", "count", "binary", "categorical", "binary"]


def written(frame, folder, form):
    if form == "frame":
        return frame
    if form == "folder":
        (folder / "parts").mkdir()
        frame[:20].to_parquet(folder / "parts/1.parquet", row_group_size=7)
        frame[20:].to_parquet(folder / "parts/2.parquet", row_group_size=11)
        return folder / "parts"
    path = folder / f"table.{form}"
    {"csv": frame.to_csv, "parquet": frame.to_parquet, "feather": frame.to_feather}[form](
        path, **({"index": False} if form == "csv" else {})
    )
    return path


@pytest.mark.parametrize("form", ["frame", "csv", "parquet", "feather", "folder"])
def test_every_form_gives_the_same_numbers(form, tmp_path):
    table = Table(written(FRAME, tmp_path, form), label="target")
    assert [column.kind for column in table.schema.columns] == KINDS
    assert table.schema.columns[4].categories == ("cat", "cow", "dog")
    x = table.all[:]
    np.testing.assert_allclose(x[:, :3], FRAME[["height", "income", "visits"]], rtol=1e-6)
    assert x[:, 4].tolist() == [["cat", "cow", "dog"].index(animal) for animal in FRAME["animal"]]
    assert table.all.labels.tolist() == [["ill", "well"].index(label) for label in FRAME["target"]]
    again = table.to_frame(x)
    assert list(again["animal"]) == list(FRAME["animal"])
    assert list(again["smokes"]) == [str(value) for value in FRAME["smokes"]]
    assert list(again["visits"]) == list(FRAME["visits"])


def test_spread_is_that_of_training_rows():
    table = Table(FRAME, label="target")
    train = table.train[:].double()
    logs = {1: train[:, 1].log(), 2: train[:, 2].log1p()}
    for i, column in enumerate(table.schema.columns):
        assert column.mean == pytest.approx(train[:, i].mean().item())
        assert column.std == pytest.approx(train[:, i].std(correction=0).item())
        assert column.log_mean == pytest.approx(logs.get(i, train[:, i]).mean().item())
        assert column.log_std == pytest.approx(logs.get(i, train[:, i]).std(correction=0).item())


def test_a_table_on_disk_is_the_same_as_one_in_memory(monkeypatch, tmp_path):
    path = written(FRAME, tmp_path, "parquet")
    inside = Table(path, label="target")
    monkeypatch.setattr(row_buffer, "_IN_MEMORY", 100)
    monkeypatch.setattr(of_tables, "_ROWS", 13)
    outside = Table(path, label="target")
    assert isinstance(outside.train._source, np.memmap)
    assert torch.equal(inside.all[:], outside.all[:])
    for one, other in zip(inside.schema.columns, outside.schema.columns, strict=True):
        assert one.mean == pytest.approx(other.mean)
        assert one.log_std == pytest.approx(other.log_std)


def test_types_and_columns_can_be_chosen():
    types = {"visits": "real", "height": "positive", "animal": ["cat", "dog", "cow"]}
    table = Table(FRAME, types, drop=["income", "target"])
    assert [column.kind for column in table.schema.columns] == ["positive", "real", "binary", "ordinal", "binary"]
    assert table.schema.columns[3].categories == ("cat", "dog", "cow")


def test_whole_numbers_that_a_frame_says_to_be_categories_are_no_counts():
    frame = changed(code=pandas.Categorical(np.arange(N) % 3 + 8), flag=pandas.Categorical(np.arange(N) % 2 + 1))
    columns = {column.name: column for column in Table(frame).schema.columns}
    assert (columns["code"].kind, columns["code"].categories) == ("categorical", ("8", "9", "10"))
    assert columns["flag"].kind == "binary"


def test_types_of_pandas_and_pyarrow_give_the_same_columns(tmp_path):
    """Also from files, in which pandas notes types that it cannot make again."""
    arrow = pandas.ArrowDtype
    price = [Decimal("1.5"), Decimal("2"), None] * (N // 3)
    frame = pandas.DataFrame(
        {
            "flag": pandas.array([True, None, False] * (N // 3), arrow(pyarrow.bool_())),
            "price": pandas.array(price, arrow(pyarrow.decimal128(10, 2))),
            "animal": pandas.array(
                ["cow", "cat", None] * (N // 3), arrow(pyarrow.dictionary("int32", pyarrow.string()))
            ),
            "pet": pandas.array(["cow", "cat", "dog"] * (N // 3), arrow(pyarrow.string())),
            "visits": pandas.array([1, None, 7] * (N // 3), "Int64"),
            "smokes": pandas.array([None, True, False] * (N // 3), "boolean"),
            "size": pandas.Categorical(["S", "L"] * (N // 2), categories=["S", "M", "L"], ordered=True),
        },
        index=pandas.Index([f"row {i}" for i in range(N)], name="key"),
    )
    feather.write_feather(pyarrow.Table.from_pandas(frame), tmp_path / "t.feather")
    frame.to_parquet(tmp_path / "t.parquet")
    kinds = ["binary", "positive", "binary", "categorical", "count", "binary", "ordinal"]
    for path in (frame, tmp_path / "t.feather", tmp_path / "t.parquet"):
        with pytest.warns(UserWarning, match="no training row has column 'size' as M"):
            table = Table(path)
        assert [column.kind for column in table.schema.columns] == kinds
        rows = table.all[:3].nan_to_num(-1).tolist()
        assert rows == [[1, 1.5, 1, 1, 1, -1, 0], [-1, 2, 0, 0, -1, 1, 2], [0, -1, -1, 2, 7, 0, 0]]


def test_a_later_table_is_read_by_the_columns_of_the_first():
    first = Table(FRAME, label="target")
    later = FRAME.sample(frac=0.3, random_state=0)[["side", "visits", "animal", "smokes", "income", "height"]]
    table = Table(later.assign(animal="dog"), schema=first.schema)
    assert (table.all[:][:, 4] == 2).all()
    np.testing.assert_allclose(table.all[:][:, 0], later["height"], rtol=1e-6)
    assert table.schema is first.schema


@pytest.mark.parametrize("form", ["parquet", "folder"])
def test_a_table_whose_columns_are_known_is_read_once(form, tmp_path, monkeypatch):
    path = written(FRAME, tmp_path, form)
    first = Table(path, label="target")
    read: list[list[int]] = []
    batches = parquet.ParquetFile.iter_batches

    def counted(file, *args, row_groups, **options):
        read.append(row_groups)
        return batches(file, *args, row_groups=row_groups, **options)

    monkeypatch.setattr(parquet.ParquetFile, "iter_batches", counted)
    table = Table(path, schema=first.schema)
    assert read == ([[0]] if form == "parquet" else [[0], [1], [2], [0], [1], [2], [3]])
    assert torch.equal(table.all[:], first.all[:])
    assert torch.equal(table.all.labels, first.all.labels)


@pytest.mark.parametrize("form", ["frame", "csv", "parquet"])
def test_gaps_are_missing_values(form, tmp_path):
    gaps = np.random.default_rng(1).random((N, 7)) < 0.2
    gaps[:, 0] &= ~gaps[:, 1]
    table = Table(written(FRAME.astype(object).mask(gaps).infer_objects(), tmp_path, form), label="target")
    assert torch.equal(table.all[:].isnan(), torch.from_numpy(gaps[:, :6]))
    assert (table.all.labels == -1).tolist() == gaps[:, 6].tolist()
    assert [column.kind for column in table.schema.columns] == KINDS
    assert all(column.gaps for column in table.schema.columns)
    assert table.schema.columns[0].mean == pytest.approx(table.train[:][:, 0].double().nanmean().item())
    assert (table.to_frame(table.all[:]).isna().to_numpy() == gaps[:, :6]).all()


@pytest.mark.parametrize("load", [load_wine, load_breast_cancer, load_diabetes])
def test_real_tables_are_read(load):
    frame = load(as_frame=True).frame
    table = Table(frame, label="target" if load is not load_diabetes else None)
    assert len(table.all) == len(frame)
    assert {column.kind for column in table.schema.columns} <= {"real", "positive", "count", "binary"}


# What is wrong, what the sentence must say, and what is given besides the table.
def changed(**columns):
    return FRAME.assign(**columns)


def at(column, row, value):
    frame = FRAME.copy()
    frame[column] = frame[column].astype(object)
    frame.at[row, column] = value
    return frame


BAD = {
    "no rows": (FRAME[:0], "rows and columns, but has none", {}),
    "no columns": (FRAME[[]], "rows and columns, but has none", {}),
    "a column of one value": (changed(unit="kg"), "'unit' must hold different values, but all are kg.*drop", {}),
    "a column of one number": (changed(year=2020), "'year' must hold different values, but all are 2020", {}),
    "no value in a column": (changed(note=None), "'note' must hold values, but all are missing", {}),
    "dates": (changed(day=pandas.date_range("2020-01-01", periods=N)), "'day' must .* holds dates", {}),
    "dates without a time": (changed(day=[datetime.date(2020, 1, 1 + i % 9) for i in range(N)]), "holds dates", {}),
    "dates as texts": (changed(day=[f"2020-01-{1 + i % 9:02}" for i in range(N)]), "'day' must .* holds dates", {}),
    "row numbers": (changed(id=range(N)), "'id' must hold data, but holds the numbers of rows", {}),
    "identifiers": (changed(id=[f"u{i}x" for i in range(N)]), "another text in each row, as identifiers do", {}),
    "10,000 categories": (
        pandas.DataFrame({"name": [f"n{i % 10_000}" for i in range(20_000)], "x": rng.random(20_000)}),
        "'name' must have at most 1000 categories, but has more",
        {},
    ),
    "an infinite value": (at("height", 7, np.inf), "'height' must be finite, but row 7", {}),
    "text in a number column": (at("height", 9, "tall"), "'height' must hold numbers.* row 9 .* holds 'tall'", {}),
    "text for a number": (
        FRAME,
        "'animal' must hold numbers above 0, but row 0 .* holds [a-z]",
        {"animal": "positive"},
    ),
    "a negative positive": (
        at("income", 3, -1.0),
        "'income' must hold numbers above 0, but holds -1",
        {"income": "positive"},
    ),
    "a broken count": (FRAME, "'height' must hold integers from 0 up", {"height": "count"}),
    "a negative count": (
        at("visits", 3, -1),
        "'visits' must hold integers from 0 .*, but holds -1",
        {"visits": "count"},
    ),
    "three values for two": (FRAME, "'animal' must hold two values to be binary, but holds 3", {"animal": "binary"}),
    "no order": (FRAME, "'animal' must have its categories in order to be ordinal", {"animal": "ordinal"}),
    "a category beyond the order": (
        FRAME,
        "'animal' must hold one of its 2 categories, cat, dog, but row .* holds cow",
        {"animal": ["cat", "dog"]},
    ),
    "an unknown kind": (FRAME, "types of column 'animal' must be one of real, positive", {"animal": "colour"}),
    "a type of no column": (
        FRAME,
        "types must name columns of the table, height, .*, not 'weight'",
        {"weight": "real"},
    ),
    "a sum too large for single precision": (
        changed(time=1.7e12 + np.arange(N) % 7 + 0.5),
        "'time' must vary by more than rounding errors of single precision",
        {"time": "real"},
    ),
    "numbers beyond single precision": (
        at("height", 5, 1e39),
        "'height' must hold numbers of .* row 5 .* holds 1e",
        {},
    ),
    "numbers that single precision rounds to 0": (at("height", 5, 1e-42), "'height' must hold numbers of .* row 5", {}),
    "complex numbers": (changed(wave=rng.normal(size=N) * 1j), "'wave' must hold real numbers or texts", {}),
    "lists": (
        changed(pair=[[i % 3, 1] for i in range(N)]),
        "'pair' must hold real numbers or texts, but holds .* lists",
        {},
    ),
    "complex numbers among others": (
        changed(wave=np.array([1, 2j] * (N // 2), object)),
        "'wave' must hold real numbers or texts",
        {},
    ),
    "lists of pyarrow": (
        changed(pair=pandas.Series([[1], [2]] * (N // 2), dtype=pandas.ArrowDtype(pyarrow.list_(pyarrow.int64())))),
        "'pair' must hold real numbers or texts",
        {},
    ),
    "a large count": (
        changed(big=2**24 + np.arange(N) ** 2),
        "'big' must hold integers from 0 up to",
        {"big": "count"},
    ),
    "a row without values": (
        FRAME.mask(np.arange(N)[:, None] == np.full((1, FRAME.shape[1]), 11)),
        "each row must have a value, but row 11 .* has none: leave it out",
        {},
    ),
    "two columns of one name": (
        pandas.concat([FRAME, FRAME[["height"]]], axis=1),
        "must have a name for each column, but 'height' is that of several",
        {},
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_frames_are_refused(name):
    frame, says, types = BAD[name]
    with pytest.raises(InputError, match=says) as found:
        Table(frame, types)
    assert ". " not in str(found.value)


def test_options_that_name_no_column_are_refused():
    for option in ({"label": "weight"}, {"drop": ["weight"]}):
        with pytest.raises(InputError, match=f"{next(iter(option))} must name columns of the table"):
            Table(FRAME, **option)
    for option in ({"types": ["height"]}, {"drop": 3}, {"schema": "height"}, {"types": {"height": 3}}):
        with pytest.raises(InputError, match=f"{next(iter(option))}.* must be"):
            Table(FRAME, **option)
    with pytest.raises(InputError, match="categories of column 'side' must differ, but 'left' is given twice"):
        Table(FRAME, types={"side": ["left", "right", "left"]})
    schema = Table(FRAME).schema
    for option in ({"types": {"side": "categorical"}}, {"label": "side"}, {"drop": ["side"]}):
        with pytest.raises(InputError, match="schema must be given without types, label and drop"):
            Table(FRAME, schema=schema, **option)
    with pytest.raises(InputError, match="path must be a path or a data frame, but a int was given"):
        Table(3)
    with pytest.raises(InputError, match="columns must be at least one"):
        Table(FRAME[["height", "target"]], label="target", drop="height")


LATER = {
    "a category that only the test has": (at("animal", 4, "yak"), "one of its 3 categories, .* row 4 .* holds yak"),
    "another name": (FRAME.rename(columns={"height": "size"}), "lacks 'height' and has 'size'"),
    "a column less": (FRAME.drop(columns="side"), "lacks 'side'"),
    "text": (at("height", 4, "tall"), "'height' must hold numbers, but row 4 .* holds tall"),
    "an infinite value": (at("height", 4, -np.inf), "'height' must hold numbers, but row 4 .* holds -inf"),
    "a complex number": (at("height", 4, 1j), "'height' must hold numbers, but row 4 .* holds 1j"),
    "a list": (at("animal", 4, [1, 2]), r"one of its 3 categories, .* row 4 .* holds \[1, 2\]"),
    "an array": (at("animal", 4, np.ones((9, 9))), "one of its 3 categories, .* row 4 "),
    "a negative count": (at("visits", 4, -2), "'visits' must hold integers from 0 .*, but row 4"),
    "no row": (FRAME[:0], "must be a table with rows"),
}


@pytest.mark.parametrize("name", LATER)
def test_later_tables_that_do_not_fit_are_refused(name):
    frame, says = LATER[name]
    schema = Table(FRAME, label="target").schema
    for read in (lambda: Table(frame, schema=schema), lambda: Table(FRAME, test=frame, label="target")):
        with pytest.raises(InputError, match=says):
            read()


def test_large_numbers_are_refused_also_where_a_part_of_the_rows_has_no_value(monkeypatch):
    monkeypatch.setattr("pyrovae.data.table._ROWS", 10)
    numbers = 1e9 + np.arange(100.0)
    numbers[:10] = np.nan
    with pytest.raises(InputError, match="'a' must vary by more than rounding errors"):
        Table(pandas.DataFrame({"a": numbers, "b": np.random.default_rng(0).normal(size=100)}), types={"a": "real"})


def test_a_column_whose_values_are_all_held_out_is_refused():
    numbers = np.random.default_rng(0).normal(size=(20, 2))
    held_out = Table(pandas.DataFrame(numbers, columns=["a", "b"])).test[:].double()[:, 0].numpy()
    numbers[~np.isclose(numbers[:, 0], held_out[:, None]).any(0), 0] = np.nan
    with pytest.raises(InputError, match="'a' must hold values in training rows, but those it has are all held out"):
        Table(pandas.DataFrame(numbers, columns=["a", "b"]))


def test_a_category_that_no_training_row_has_is_warned_of():
    frame = FRAME.copy()
    held_out = int(Table(frame, label="target").test.rows[0])
    frame.loc[held_out, "animal"] = "yak"
    with pytest.warns(UserWarning, match="no training row has column 'animal' as yak"):
        Table(frame, label="target")


CSV = "a,b\n1.5,2\n2.5,3\n0.5,9\n"
FILES = {
    "empty": ("t.csv", "", "must be a table, but is empty"),
    "a header alone": ("t.csv", "a,b\n", "must be a table with rows"),
    "no header": ("t.csv", "1.5,2\n2.5,3\n", "must have the names of columns in its first row, but that has numbers"),
    "a short row": ("t.csv", f"{CSV}7\n", "2 cells in each row, but row 3 .* has 1"),
    "a long row": ("t.csv", f"{CSV}7,8,9\n", "2 cells in each row, but row 3 .* has 3"),
    "two names": ("t.csv", "a,a\n1,2\n3,5\n", "'a' is that of several"),
    "not UTF-8": ("t.csv", "a,b\n\xff\xfe,2\n", "cannot be read as CSV: .*utf-8"),
    "no Parquet": ("t.parquet", "PAR1 or not", "cannot be read as Parquet"),
    "no Feather": ("t.feather", CSV, "cannot be read as Feather"),
    "another ending": ("t.xlsx", CSV, "path's ending must be one of .csv, .parquet, .feather"),
    "semicolons": ("t.csv", "a;b\n1;2\n3;4\n", "must have commas between its cells, but its first row is 'a;b'"),
    "no such file": (None, "", "must be an existing file or folder, but there is no"),
}


@pytest.mark.parametrize("name", FILES)
def test_bad_files_are_refused(name, tmp_path, capsys):
    file, text, says = FILES[name]
    if file is not None:
        (tmp_path / file).write_bytes(text.encode("latin-1"))
    before = contents(tmp_path)
    command = f"data --data Table --data.path {tmp_path / (file or 'none.csv')}"
    assert main(shlex.split(command)) == 2
    text = capsys.readouterr().err
    assert_one_sentence(text, [])
    assert re.search(says, text)
    assert contents(tmp_path) == before


def test_a_folder_without_tables_is_refused(tmp_path):
    with pytest.raises(InputError, match="has none"):
        Table(tmp_path)
