"""Polyphonic music: four sets of piano-rolls, nats per frame (Boulanger-Lewandowski et al. 2012; the VSSN paper)."""

from trainers.tables.table import Row, Table, bound_columns

__all__ = ["MUSIC"]

SETS = {"Nottingham": "nottingham", "JSB": "jsb_chorales", "MuseData": "musedata", "Piano-midi.de": "piano_midi"}
AUTOREGRESSIVE = {"model.observation": "autoregressive_bernoulli"}
MODELS = {
    "RNN": ("rnn", {}),
    "RNN, autoregressive output": ("rnn", AUTOREGRESSIVE),
    "STORN": ("storn", {}),
    "VRNN": ("vrnn", {}),
    "SRNN": ("srnn", {}),
    "DKF": ("dkf", {}),
    "VRNN, autoregressive output": ("vrnn", AUTOREGRESSIVE),
    "STORN, autoregressive output": ("storn", AUTOREGRESSIVE),
}
PUBLISHED = {
    "RNN": {"importance-sampled": ("-4.46", "-8.71", "-8.13", "-8.37")},
    "RNN, autoregressive output": {"importance-sampled": ("-2.31", "-5.19", "-5.60", "-7.05")},
    "STORN": {"importance-sampled": ("-2.85", "-6.91", "-6.16", "-7.13")},
    "VRNN": {"ELBO": ("-4.19", "-8.69", "-6.52", "-7.33")},
    "SRNN": {"ELBO": (">= -2.94", "(>= -4.74, another grid)", ">= -6.28", ">= -8.20")},
    "DKF": {"importance-sampled": ("-2.770", "-6.388", "-6.831", "-7.835")},
}


def _rows() -> tuple[Row, ...]:
    rows = []
    for index, (title, name) in enumerate(SETS.items()):
        for model, (config, options) in MODELS.items():
            published = {column: values[index] for column, values in PUBLISHED.get(model, {}).items()}
            options = {"data.set": name, **options}
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
