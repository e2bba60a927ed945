"""The one gate for what users hand over: one clear exception each, before any work is lost.

Sequences pass `check_arrays` where they have values, on the host; where they have none yet, in Datasets, in graphs and
in exported signatures, `check_static` and the assertions of `value_checks` say the same. Numbers and switches pass
`whole`, `real` and so on, arguments of constructors `like_defaults`; what verbs take beside sequences passes
`as_rows` and `check_state`.
"""

from tfdvae.arguments import (
    CheckedArguments,
    Only,
    idle,
    like_defaults,
    plain,
    real,
    refuse_unused,
    scheduled,
    switch,
    whole,
    widths,
)
from tfdvae.validation.batches import (
    NO_TARGETS,
    Beside,
    Sizes,
    as_batch,
    as_observed,
    as_training_data,
    check_beside_static,
    check_static,
    flat,
    is_symbolic,
    with_missing,
)
from tfdvae.validation.graphs import after, check_dataset, finite_check, sound_rows, value_checks
from tfdvae.validation.sources import CheckedPyDataset, first_of, named
from tfdvae.validation.tensors import as_rows, check_state, one_frame, same_rows
from tfdvae.validation.values import Support, check_arrays, check_beside

__all__ = [
    "Beside",
    "CheckedArguments",
    "CheckedPyDataset",
    "NO_TARGETS",
    "Only",
    "Sizes",
    "Support",
    "after",
    "as_batch",
    "as_observed",
    "as_rows",
    "as_training_data",
    "check_arrays",
    "check_beside",
    "check_beside_static",
    "check_dataset",
    "check_state",
    "check_static",
    "finite_check",
    "first_of",
    "flat",
    "idle",
    "is_symbolic",
    "like_defaults",
    "named",
    "one_frame",
    "plain",
    "real",
    "refuse_unused",
    "same_rows",
    "scheduled",
    "sound_rows",
    "switch",
    "value_checks",
    "whole",
    "widths",
    "with_missing",
]
