"""Trained models outside of Keras: named functions of plain tensors, as SavedModel and as LiteRT."""

from tfdvae.serving.fields import Field, Signature, Target, describe
from tfdvae.serving.litert import LITERT, PRECISIONS, export_litert
from tfdvae.serving.quantisation import INTEGER
from tfdvae.serving.saved_model import export_saved_model, new_folder
from tfdvae.serving.signatures import SIGNATURES, declare

__all__ = [
    "FORMATS",
    "Field",
    "INTEGER",
    "LITERT",
    "PRECISIONS",
    "SIGNATURES",
    "Signature",
    "Target",
    "declare",
    "describe",
    "export_litert",
    "export_saved_model",
    "new_folder",
]

FORMATS = {"tf_saved_model": export_saved_model, "litert": export_litert}
"""What writes a model, by the name of the format in `model.export`."""
