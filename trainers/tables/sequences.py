"""Waveforms and handwriting: bounds per sequence and per frame, as table 1 of the VRNN paper has them."""

from trainers.tables.table import Column, Finished, Row, Table

__all__ = ["HANDWRITING", "SPEECH_WAVEFORM"]

MODELS = {"RNN-Gauss": "rnn", "RNN-GMM": "rnn_gmm", "VRNN-I": "vrnn_i", "VRNN-Gauss": "vrnn", "VRNN-GMM": "vrnn_gmm"}
UNITS = {"per sequence": "nats_per_sequence", "per frame": "nats_per_frame"}
COLUMNS = tuple(
    Column(f"{what}, {unit}", 1 if unit == "per sequence" else 4) for unit in UNITS for what in ("ELBO", "IS")
)


def measure(run: Finished) -> dict[str, float | None]:
    """ELBO and importance-sampled log-likelihood in both units; where there are no latents, the exact one under IS."""
    found = {}
    for unit, field in UNITS.items():
        found[f"ELBO, {unit}"] = getattr(run.scores.elbo, field) if run.model.has_latents else None
        found[f"IS, {unit}"] = getattr(run.scores.iwae, field)
    return found


def _published(elbo: tuple[str, ...], sampled: tuple[str, ...]) -> dict[str, dict[str, str]]:
    pairs = zip(MODELS, elbo, sampled, strict=True)
    return {
        model: {"ELBO, per sequence": bound, "IS, per sequence": estimate} if bound else {"IS, per sequence": estimate}
        for model, bound, estimate in pairs
    }


_TIMIT = _published(("", "", "(28340)", "(28805)", "(28982)"), ("(-1900)", "(26643)", "(29639)", "(30235)", "(29604)"))
_IAM = _published(("", "", "(1332)", "(1337)", "(1384)"), ("(1016)", "(1358)", "(1353)", "(1354)", "(1384)"))
_UNIT = "Test split, nats. IS: importance-sampled by 40 paths, exact for RNNs."

SPEECH_WAVEFORM = Table(
    title="Raw speech",
    unit=_UNIT,
    heads=("model",),
    columns=COLUMNS,
    measure=measure,
    rows=tuple(
        Row((model,), f"configs/speech_waveform/{config}.py", {}, _TIMIT[model]) for model, config in MODELS.items()
    ),
    notes=(
        "Frames of 200 samples at 16 kHz, standardised by mean and standard deviation of all training samples. "
        "Published in brackets: the VRNN paper on TIMIT, longer sequences of other speech, so the order alone compares."
    ),
    needs=(("soundfile", "speech"),),
)

HANDWRITING = Table(
    title="Handwriting",
    unit=_UNIT,
    heads=("strokes", "model"),
    columns=COLUMNS,
    measure=measure,
    rows=tuple(
        Row((title, model), f"configs/handwriting/{config}.py", {"data.set": name}, _IAM[model])
        for title, name in (("KanjiVG", "kanji"), ("Omniglot", "omniglot"))
        for model, config in MODELS.items()
    ),
    notes=(
        "Offsets divided by the standard deviation of all offsets of the training set. Published in brackets: the VRNN "
        "paper on IAM-OnDB, other strokes, so the order alone compares."
    ),
)
