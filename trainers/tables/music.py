"""Polyphonic music: four sets of piano-rolls, nats per frame (Boulanger-Lewandowski et al. 2012; the VSSN paper)."""

from typing import Any

from trainers.tables.table import Row, Table, bound_columns

__all__ = ["MUSIC"]

WINDOWS = {
    "data.window": 128,
    "data.transpose": 4,
    "training.batch_size": 32,
    "training.kl_warmup_epochs": 0,
    "training.kl_warmup_steps": 200,
}
"""The three large sets are cut into windows, and trained by fewer passes over more transpositions."""
SETS: dict[str, tuple[str, dict[str, Any]]] = {
    "Nottingham": ("nottingham", {**WINDOWS, "training.epochs": 2}),
    "JSB": ("jsb_chorales", {"training.epochs": 20}),
    "MuseData": ("musedata", {**WINDOWS, "data.transpose": 2, "training.epochs": 1}),
    "Piano-midi.de": ("piano_midi", {**WINDOWS, "training.epochs": 3}),
}
"""Names, and what a set needs beside the config of a model: sizes for two cores, some minutes per row."""
AUTOREGRESSIVE = {"model.observation": "autoregressive_bernoulli", "model.units": 300}
HEADS = {"model.units": 256}
"""Of a transformer, whose units are cut into heads, whose dimensions rotate in pairs."""
NO_WARMUP = {"training.kl_warmup_epochs": 0, "training.kl_warmup_steps": 0}
"""NASMC has no KL to weigh."""
MODELS: dict[str, tuple[str, bool, dict[str, Any]]] = {
    "RNN": ("rnn", False, {}),
    "RNN, autoregressive output": ("rnn", True, {}),
    "STORN": ("storn", False, {}),
    "VRNN": ("vrnn", False, {}),
    "SRNN": ("srnn", False, {}),
    "DKF": ("dkf", False, {}),
    "LV-RNN by NASMC": ("lvrnn", False, NO_WARMUP),
    "TCN": ("tcn", False, {}),
    "Transformer": ("transformer", False, {}),
    "VRNN, autoregressive output": ("vrnn", True, {}),
    "TCN, autoregressive output": ("tcn", True, {}),
    "Transformer, autoregressive output": ("transformer", True, HEADS),
}
"""Configs, whether the output is autoregressive, and what else the model needs."""
REGULARISED: dict[str, dict[str, Any]] = {
    "Nottingham": {"data.transpose": 4, "model.dropout": 0.1},
    "JSB": {"data.transpose": 6, "model.dropout": 0.3},
    "MuseData": {"data.transpose": 4, "model.dropout": 0.1},
    "Piano-midi.de": {"data.transpose": 6, "model.dropout": 0.3},
}
"""What autoregressive outputs are trained with: chosen for the RNN, on the validation split."""
EPOCHS = {
    ("Nottingham", "RNN, autoregressive output"): 5,
    ("JSB", "RNN, autoregressive output"): 16,
    ("JSB", "VRNN, autoregressive output"): 16,
    ("JSB", "TCN, autoregressive output"): 16,
    ("JSB", "Transformer, autoregressive output"): 16,
    ("JSB", "DKF"): 200,
    ("MuseData", "RNN, autoregressive output"): 4,
    ("Piano-midi.de", "RNN, autoregressive output"): 8,
}
"""Where they are not those of the set. The DKF's config has no transpositions, and a warm-up of 40 epochs."""
PUBLISHED = {
    "RNN": {"importance-sampled": ("-4.46", "-8.71", "-8.13", "-8.37")},
    "RNN, autoregressive output": {"importance-sampled": ("-2.31", "-5.19", "-5.60", "-7.05")},
    "STORN": {"importance-sampled": ("-2.85", "-6.91", "-6.16", "-7.13")},
    "VRNN": {"ELBO": ("-4.19", "-8.69", "-6.52", "-7.33")},
    "SRNN": {"ELBO": (">= -2.94", "(>= -4.74, another grid)", ">= -6.28", ">= -8.20")},
    "DKF": {"importance-sampled": ("-2.770", "-6.388", "-6.831", "-7.835")},
    "LV-RNN by NASMC": {"importance-sampled": ("-2.72", "-3.99", "-6.89", "-7.61")},
}


def _rows() -> tuple[Row, ...]:
    rows = []
    for index, (title, (name, sizes)) in enumerate(SETS.items()):
        for model, (config, autoregressive, own) in MODELS.items():
            published = {column: values[index] for column, values in PUBLISHED.get(model, {}).items()}
            options = {"data.set": name, **sizes, **(AUTOREGRESSIVE | REGULARISED[title] if autoregressive else {})}
            options |= own
            options["training.epochs"] = EPOCHS.get((title, model), sizes["training.epochs"])
            rows.append(Row((title, model), f"configs/pianoroll/{config}.py", options, published))
    return tuple(rows)


_COLUMNS, _measure = bound_columns("nats_per_frame")
MUSIC = Table(
    title="Polyphonic music",
    unit="Test split, nats per frame: sum of the log-likelihoods or bounds over the number of frames.",
    heads=("set", "model"),
    columns=_COLUMNS,
    measure=_measure,
    rows=_rows(),
    notes=(
        "RNNs have no latents, so their log-likelihood is exact. Published: RNN, RNN-NADE, STORN, SRNN and DMM (under "
        "DKF) as the VSSN paper tabulates them, which mixes bounds, importance-sampled and exact values and two ways "
        "to average; VRNN as trained by the ELBO with 4 particles, from bits per frame. Ours train on transpositions "
        "as well, where the config says so."
    ),
)
