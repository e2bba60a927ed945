"""The tables that `trainers.reproduce` makes, by name."""

from trainers.tables.draw import DRAW
from trainers.tables.factors import FACTORS
from trainers.tables.healing import HEALING
from trainers.tables.music import MUSIC
from trainers.tables.refining import REFINE
from trainers.tables.regimes import REGIMES
from trainers.tables.resynthesis import MOTION, SPEECH_RESYNTHESIS
from trainers.tables.sequences import HANDWRITING, SPEECH_WAVEFORM
from trainers.tables.simulated import BOUNCING_BALLS, CART_POLE, PENDULUM, PHYSICS, SPIKES
from trainers.tables.speakers import SPEAKERS
from trainers.tables.table import Column, Finished, Row, Table, markdown
from trainers.tables.video import VIDEO

__all__ = ["TABLES", "Column", "Finished", "Row", "Table", "markdown"]

TABLES: dict[str, Table] = {
    "music": MUSIC,
    "speech-waveform": SPEECH_WAVEFORM,
    "speech-resynthesis": SPEECH_RESYNTHESIS,
    "speakers": SPEAKERS,
    "motion": MOTION,
    "handwriting": HANDWRITING,
    "pendulum": PENDULUM,
    "physics": PHYSICS,
    "cart-pole": CART_POLE,
    "bouncing-balls": BOUNCING_BALLS,
    "spikes": SPIKES,
    "video": VIDEO,
    "regimes": REGIMES,
    "healing": HEALING,
    "draw": DRAW,
    "factors": FACTORS,
    "refine": REFINE,
}
"""By the name on the command line."""
