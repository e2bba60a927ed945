"""The stream in Kotlin reads what this version writes; no compiler of Kotlin is needed, and none is run."""

import re
from pathlib import Path

from export import native
from export.edge import model

SOURCE = (native.ROOT / "export" / "edge" / "android" / "Stream.kt").read_text()


def test_it_reads_descriptions_of_this_version() -> None:
    assert re.findall(r'const val FORMAT = "(.*)"', SOURCE) == [model.FORMAT]
    assert re.findall(r"const val VERSION = (\d+)", SOURCE) == [str(model.VERSION)]
    assert f'"{model.DESCRIPTION}"' in SOURCE


def test_it_knows_what_the_stream_in_python_knows() -> None:
    """Inputs that are filled in where nobody gave them, and the keys of what the file says of its data."""
    for name in ("observed", "given_observed", "next_u", *model.MIDDLE):
        assert f'"{name}"' in SOURCE or name == "uniform", name
    python = Path(model.__file__).with_name("known.py").read_text()
    for key in ("features", "units", "inputs", "time_unit", "frame_period", "sampling_rate", "shift", "scale"):
        assert f'"{key}"' in SOURCE and f"    {key}: " in python, key
