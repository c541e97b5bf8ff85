"""Loggers get options, curves, figures, evaluations and pages: in files, TensorBoard, a real MLflow and offline W&B."""

import csv
import json
import subprocess
import sys
import textwrap

import pytest
from PIL import Image

from pyrovae import InputError
from pyrovae.cli import main
from pyrovae.runs import Run
from pyrovae.runs.run_log import log_evaluation
from pyrovae.tracking import CSV, Logger, MLflow, TensorBoard, WandB
from pyrovae.training import Epoch, History

TRAIN = ["train", "--latent_dim", "2", "--batch_size", "512", "--compile", "off", "--kl_warmup", "0", "--run", "run"]
EVALUATE = ["evaluate", "run", "--num_samples", "5", "--num_data", "10", "--num_checked", "0"]
NAME = "test-importance-5-first10"


@pytest.fixture(autouse=True)
def _in_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def table(path):
    with path.open(newline="") as file:
        return list(csv.reader(file))


@pytest.mark.slow
def test_a_run_is_logged_as_files_and_goes_on_when_it_is_resumed(tmp_path):
    assert main([*TRAIN, "--epochs", "1", "--prior", "GaussianMixture", "--logger", "CSV"]) == 0
    assert main([*TRAIN, "--epochs", "2", "--prior", "GaussianMixture", "--resume", "true"]) == 0
    assert main(EVALUATE) == 0
    assert main(["report", "run", "--num_data", "5"]) == 0
    log = tmp_path / "run" / "log"
    head, *rows = table(log / "curves.csv")
    assert [float(row[head.index("validation_elbo")]) for row in rows] == [
        epoch.validation_elbo for epoch in Run("run").history().epochs
    ]
    options = dict(table(log / "options.csv"))
    assert (options["epochs"], options["prior"]) == ("2", "pyrovae.GaussianMixture")
    assert options["prior.num_components"].isdigit()
    nll = json.loads((tmp_path / "run" / "evaluation" / f"{NAME}.json").read_text())["nll"]
    assert float(dict(table(log / "results.csv"))[f"{NAME}/nll"]) == nll
    assert (log / "report.html").read_bytes() == (tmp_path / "run" / "report.html").read_bytes()
    with Image.open(log / "training_curves.png") as picture:
        assert picture.size == (1200, 384)
    assert (log / "reconstructions.png").exists()

    (tmp_path / "run").rename(tmp_path / "moved")  # it was begun elsewhere, and is not logged any more
    (tmp_path / "moved" / "log" / "results.csv").unlink()
    log_evaluation(Run("moved"), NAME, {"nll": 1.0})
    assert not (tmp_path / "moved" / "log" / "results.csv").exists()


def test_a_log_is_not_written_over_by_that_of_another_run(tmp_path):
    history = History([Epoch(1, -30.0, -28.0, 2.0, -31.0, -29.0, 2.0, 0.1, 1e-3)])
    first = CSV("log")
    identifier = first.start(tmp_path / "a")
    first.log_epoch(history)
    with pytest.raises(InputError, match=r"logger\.folder must be a new one for each run, but log has a log already"):
        CSV("log").start(tmp_path / "b")
    assert CSV("log").start(tmp_path / "a", identifier) == identifier


@pytest.mark.slow
def test_tensorboard(tmp_path):
    event_accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    assert main([*TRAIN, "--epochs", "2", "--logger", "TensorBoard"]) == 0
    assert main(EVALUATE) == 0
    log = event_accumulator.EventAccumulator(str(tmp_path / "run" / "tensorboard"))
    log.Reload()
    found = {event.step: event.value for event in log.Scalars("elbo/train")}
    assert found == {row.epoch: pytest.approx(row.train_elbo) for row in Run("run").history().epochs}
    nll = json.loads((tmp_path / "run" / "evaluation" / f"{NAME}.json").read_text())["nll"]
    assert log.Scalars(f"{NAME}/nll")[0].value == pytest.approx(nll)
    assert log.Tags()["images"] == ["training_curves"]
    assert b"likelihood" in log.Tensors("options/text_summary")[0].tensor_proto.string_val[0]


def run_script(script, folder):
    """Run a script in a process of its own: trackers start threads, and change what is warned of."""
    lines = [f"arguments = {TRAIN!r}, {EVALUATE!r}", "from pyrovae.cli import main", textwrap.dedent(script)]
    done = subprocess.run([sys.executable, "-c", "\n".join(lines)], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.slow
def test_mlflow_gets_everything_in_one_run(tmp_path):
    pytest.importorskip("mlflow")
    pytest.importorskip("sqlalchemy", reason="MLflow's local store needs it")
    found = run_script(
        """
        uri = "sqlite:///store.db"
        train, evaluate = arguments
        logger = ["--logger", "MLflow", "--logger.tracking_uri", uri, "--logger.experiment", "tests"]
        assert main([*train, *logger, "--epochs", "2"]) == 0
        assert main(evaluate) == 0

        import json, mlflow
        assert mlflow.active_run() is None
        client = mlflow.MlflowClient(tracking_uri=uri)
        run, = client.search_runs([client.get_experiment_by_name("tests").experiment_id])
        curve = [(metric.step, metric.value) for metric in client.get_metric_history(run.info.run_id, "elbo/train")]
        files = [file.path for folder in (None, "figures") for file in client.list_artifacts(run.info.run_id, folder)]
        told = run.data.params, run.data.metrics, curve, files, run.info.status, run.info.run_name
        print(json.dumps(told))
        """,
        tmp_path,
    )
    params, metrics, curve, files, status, name = found
    assert (params["latent_dim"], params["prior"]) == ("2", "pyrovae.StandardNormal")
    assert [tuple(point) for point in curve] == [(row.epoch, row.train_elbo) for row in Run("run").history().epochs]
    nll = json.loads((tmp_path / "run" / "evaluation" / f"{NAME}.json").read_text())["nll"]
    assert metrics[f"{NAME}/nll"] == nll
    assert {"figures/training_curves.png", f"{NAME}.json"} <= set(files)
    assert (status, name) == ("FINISHED", "run")


@pytest.mark.slow
def test_wandb_offline(tmp_path):
    pytest.importorskip("wandb")
    run_script(
        """
        train, evaluate = arguments
        assert main([*train, "--logger", "WandB", "--logger.mode", "offline", "--epochs", "2"]) == 0
        assert main(evaluate) == 0

        from matplotlib.figure import Figure
        from pyrovae.tracking import WandB
        from pyrovae.training import Epoch, History
        with WandB(mode="offline") as logger:  # epochs after figures, as when a training goes on after its report
            for number in (1, 2):
                logger.log_epoch(History([Epoch(number, -30.5 - number, -28.0, 2.0, -31.0, -29.0, 2.0, 0.1, 1e-3)]))
                logger.log_figure("one", Figure())
                logger.log_figure("other", Figure())
        print("null")
        """,
        tmp_path,
    )
    folders = sorted((tmp_path / "run" / "wandb").glob("offline-run-*"))
    assert len({folder.name.rpartition("-")[2] for folder in folders}) == 1  # an upload makes one run of them
    training, evaluation = (next(folder.glob("*.wandb")).read_bytes() for folder in folders)
    for row in Run("run").history().epochs:
        assert repr(row.train_elbo).encode() in training
    assert b"likelihood.network" in training
    nll = json.loads((tmp_path / "run" / "evaluation" / f"{NAME}.json").read_text())["nll"]
    assert repr(nll).encode() in evaluation
    (without_run,) = (tmp_path / "wandb").glob("offline-run-*/*.wandb")
    assert all(number in without_run.read_bytes() for number in (b"-31.5", b"-32.5"))
    assert [path.name[:15] for path in folders[0].glob("files/media/images/figures/*.png")] == ["training_curves"]


@pytest.mark.parametrize(
    ("kind", "module", "extra"),
    [(MLflow, "mlflow.tracking", "mlflow"), (WandB, "wandb", "wandb"), (TensorBoard, "tensorboard", "tensorboard")],
)
def test_a_missing_package_is_named_with_its_command(kind, module, extra, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(InputError, match=rf"needs a package that is not installed: pip install 'pyrovae\[{extra}\]'"):
        kind()


class Failing(CSV):
    """A logger that fails after the first epoch."""

    def _epoch(self, history):
        if len(history.epochs) > 1:
            raise ConnectionError("the server is away")
        super()._epoch(history)


@pytest.mark.slow
def test_a_log_that_fails_stops_the_training_in_one_sentence_and_loses_no_epoch(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "failing_logger", sys.modules[__name__])
    monkeypatch.setattr(Failing, "__module__", "failing_logger")
    assert main([*TRAIN, "--epochs", "3", "--logger", "failing_logger.Failing"]) == 2
    assert "logger Failing cannot write its log: the server is away; a training goes on" in capsys.readouterr().err
    assert len(Run("run").history().epochs) == 2
    assert main([*TRAIN, "--epochs", "3", "--resume", "true", "--logger", "null"]) == 0
    assert len(Run("run").history().epochs) == 3


def test_results_are_kept_when_there_are_more(tmp_path):
    history = History([Epoch(1, -30.0, -28.0, 2.0, -31.0, -29.0, 2.0, 0.1, 1e-3)])
    for name in ("a", "b"):
        with CSV("log") as logger:
            logger.log_epoch(history)
            logger.log_results(name, {"nll": 3})
    assert table(tmp_path / "log" / "results.csv") == [["name", "value"], ["a/nll", "3.0"], ["b/nll", "3.0"]]
    assert isinstance(logger, Logger)
