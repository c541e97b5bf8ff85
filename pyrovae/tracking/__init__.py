"""Trackers: loggers of runs for TensorBoard, MLflow, Weights & Biases, or as CSV files."""

from pyrovae.tracking.base import Logger, LoggerFactory
from pyrovae.tracking.csv_files import CSV
from pyrovae.tracking.mlflow import MLflow
from pyrovae.tracking.tensorboard import TensorBoard
from pyrovae.tracking.wandb import WandB

__all__ = ["CSV", "Logger", "LoggerFactory", "MLflow", "TensorBoard", "WandB"]
