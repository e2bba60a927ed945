"""Vital signs and laboratory values of stays in intensive care, irregular and mostly missing.

PhysioNet/Computing in Cardiology Challenge 2012 (Silva, Moody, Scott, Celi and Mark 2012), set a: the first 48 hours
of 4,000 stays, of which 3,996 have events. On an hourly grid 19.5 % of the values of 35 variables are observed; no hour
has all of them, and 6.5 % of the hours have none. Such an hour is a frame like any other: nothing was measured, but
time passed.
"""

import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from tfdvae.data.archives import read_flat
from tfdvae.data.events import events_to_grid
from tfdvae.data.files import finite_float32, named_damage, require_file
from tfdvae.data.sequences import Sequences, Splits, from_arrays

__all__ = ["ICU_CONTEXT", "ICU_VARIABLES", "load_icu", "read_icu_deaths"]

ICU_VARIABLES = tuple(
    "ALP ALT AST Albumin BUN Bilirubin Cholesterol Creatinine DiasABP FiO2 GCS Glucose HCO3 HCT HR K Lactate MAP "
    "Mg NIDiasABP NIMAP NISysABP Na PaCO2 PaO2 Platelets RespRate SaO2 SysABP Temp TroponinI TroponinT Urine WBC "
    "pH".split()
)
"""The features of x, in this order. Of the 37 that are recorded over time, two are left out: MechVent, which is 1
whenever it is recorded, and Weight, which is a covariate of the stay here."""

_NUMBERS = ("Age", "Gender", "Height", "Weight")
_TYPES = (1, 2, 3, 4)
ICU_CONTEXT = (
    *_NUMBERS,
    *(f"{name} missing" for name in _NUMBERS),
    *(f"ICUType {kind}" for kind in _TYPES),
)
"""The static covariates, in this order: years, 1 for male, centimetres, kilograms, which `load_icu` standardises unless
told otherwise; 1 where these are missing; and the type of the unit (coronary care, cardiac surgery, medical, surgical)
one-hot, all 0 where it is missing."""

_MINUTES = 48 * 60
# The archive has 37. Each stay takes memory for all of them before those that are not used are left out.
_MOST_VARIABLES = 256
_STATIC = (*_NUMBERS, "ICUType")
# Far outside of what a living patient has: Temp down to -17.8 degrees Celsius (0 Fahrenheit), pH up to 735. These 140
# of 1.7 million readings make the standard deviation of pH 14 times as large, and that of Temp 1.7 times.
_PLAUSIBLE = {"Temp": (20.0, 45.0), "pH": (6.0, 8.5)}
_PLAUSIBLE_STATIC = {"Age": (15.0, 120.0), "Height": (100.0, 250.0), "Weight": (20.0, 350.0)}
_EXPECTED = (
    "events (len, minute, param, value), params, and static with static_names and record, without pickles: the archive "
    "physionet2012_a.npz"
)


def load_icu(
    path: str | os.PathLike,
    interval: int = 60,
    aggregate: str = "mean",
    plausible: bool = True,
    standardize_context: bool = True,
    num_train: int = 2400,
    num_valid: int = 400,
) -> Splits:
    """Intensive-care stays on a regular grid of 48 hours: x [T, 35] with "observed" and "context" [12] of each stay.

    x is in the units of the record (mmHg, mmol/l, ...) and 0 where nothing was observed; it is not standardised, and
    besides what `plausible` leaves out no value is dropped or clipped. Skewed variables keep their long tails (ALT up
    to 11,470), and some blood pressures and breaths are 0. In the context a missing value is the mean of the training
    stays that have one, and is marked as missing. In the archive ICUType is always missing, and 55
    stays have an age of 200, which is none. Names are the record's numbers. Death in hospital is no part of a stay:
    `read_icu_deaths` reads it.

    Args:
        path: `.npz` file physionet2012_a.npz, with the events of all stays after each other.
        interval: minutes per frame; divides 2,880. T is 2880 / interval. A reading at 48:00 is in the last frame.
        aggregate: "mean" or "last" of the readings of one variable in one frame.
        plausible: leave out readings of Temp outside of 20 to 45 degrees Celsius and of pH outside of 6 to 8.5, as if
            they had not been taken, and count ages outside of 15 to 120 years, heights outside of 1 to 2.5 m and
            weights outside of 20 to 350 kg as missing. False keeps all.
        standardize_context: give age, gender, height and weight of the context in standard deviations from their mean,
            both over the training stays that have a value: years and centimetres, which no model scales by itself,
            would saturate its networks. False leaves them in their units.
        num_train, num_valid: the first stays are for training, the next for validation, the rest for test.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a damaged or another archive, which is named; an interval that does not divide 48 hours; a split
            without a stay.
    """
    if interval < 1 or _MINUTES % interval:
        raise ValueError(f"interval must divide the {_MINUTES} minutes of 48 hours; got {interval}.")
    path = require_file(path)
    arrays = read_flat(path, _EXPECTED)
    damage = f"cannot be read: expected {_EXPECTED}"
    with named_damage(path, damage):
        params = _checked(arrays, path)
    stays = len(arrays["len"])
    if num_train < 1 or num_valid < 1 or num_train + num_valid >= stays:
        raise ValueError(
            f"num_train and num_valid must be at least 1 and leave stays for test; got {num_train} and {num_valid} "
            f"of {stays}."
        )
    limits = np.array([_PLAUSIBLE.get(name, (-np.inf, np.inf)) for name in params]) if plausible else None
    with named_damage(path, "cannot be put on a grid"):
        x, observed = events_to_grid(
            *(arrays[name] for name in ("minute", "param", "value", "len")),
            num_variables=len(params),
            interval=interval,
            num_frames=_MINUTES // interval,
            aggregate=aggregate,
            limits=limits,
        )
    columns = [params.index(name) for name in ICU_VARIABLES]
    x, observed = x[..., columns], observed[..., columns]
    bounds = (0, num_train, num_train + num_valid, stays)
    with named_damage(path, damage):
        static_names = arrays["static_names"].tolist()
        context = _context(arrays["static"], static_names, num_train, plausible, standardize_context, path)
        names = [str(record) for record in arrays["record"]]

        def part(a: int, b: int) -> Sequences:
            return from_arrays(x[a:b], names=names[a:b], observed=observed[a:b], context=context[a:b])

        splits = Splits(*(part(a, b) for a, b in zip(bounds[:-1], bounds[1:], strict=True)))
    return splits.described(
        features=ICU_VARIABLES, context=ICU_CONTEXT, frame_period=60.0 * interval, origin=f"stays of {path.name}"
    )


def read_icu_deaths(path: str | os.PathLike) -> dict[str, int]:
    """1 for each stay whose patient died in hospital, 0 for the others, by the record's number, the name of a stay.

    Args:
        path: the file that `load_icu` reads.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a damaged or another archive, one in which a stay is told neither, or a record comes twice.
    """
    path = require_file(path)
    arrays = read_flat(path, _EXPECTED)
    with named_damage(path, f"cannot be read: expected {_EXPECTED}"):
        _checked(arrays, path)
        death, names = arrays.get("death", np.empty(0)), [str(record) for record in arrays["record"]]
        if death.shape != (len(names),) or not np.isin(death, (0, 1)).all():
            raise ValueError(f"{path}: death must hold 0 or 1 for each of {len(names)} stays.")
        if len(set(names)) < len(names):
            raise ValueError(f"{path}: record holds a number twice.")
    return dict(zip(names, death.astype(int).tolist(), strict=True))


def _checked(arrays: Mapping[str, np.ndarray], path: Path) -> list[str]:
    """The names of all variables of an archive that has what it should; its events are left to `events_to_grid`."""
    needed = ("len", "minute", "param", "value", "params", "static", "static_names", "record")
    missing = [name for name in needed if name not in arrays]
    if missing:
        raise ValueError(f"{path} has no {' and no '.join(missing)}; expected {_EXPECTED}.")
    for name, expected in (("params", ICU_VARIABLES), ("static_names", _STATIC)):
        found = arrays[name]
        lacking = [item for item in expected if item not in found.tolist()]
        if found.ndim != 1 or found.dtype.kind != "U" or lacking:
            raise ValueError(f"{path}: {name} must be names, among them {', '.join(expected)}; it lacks {lacking}.")
        if len(set(found.tolist())) < len(found):
            raise ValueError(f"{path}: {name} holds a name twice.")
        if len(found) > _MOST_VARIABLES:
            raise ValueError(f"{path}: {name} has {len(found)} names, more than the {_MOST_VARIABLES} that are read.")
    stays, static, record = len(np.atleast_1d(arrays["len"])), arrays["static"], arrays["record"]
    shape = (stays, len(arrays["static_names"]))
    if static.shape != shape or static.dtype.kind not in "iuf" or np.isinf(static).any():
        raise ValueError(
            f"{path}: static must be numbers or NaN of shape {list(shape)}; got {static.dtype} of shape "
            f"{list(static.shape)}."
        )
    if record.shape != (stays,) or record.dtype.kind not in "iuU":
        raise ValueError(f"{path}: record must hold the numbers of {stays} stays; got shape {list(record.shape)}.")
    return arrays["params"].tolist()


def _context(
    static: np.ndarray, names: list[str], num_train: int, plausible: bool, standardize: bool, path: Path
) -> np.ndarray:
    """[N, C] as `ICU_CONTEXT` says."""
    column = {name: static[:, names.index(name)].astype(np.float64) for name in _STATIC}
    # A missing value is NaN, a given one is finite as float32.
    for name, values in column.items():
        finite_float32(values[~np.isnan(values)], f"{path}: {name}")
    for name, allowed in (("Gender", (0, 1)), ("ICUType", _TYPES)):
        given = column[name][~np.isnan(column[name])]
        if not np.isin(given, allowed).all():
            raise ValueError(f"{path}: {name} must be one of {allowed} or missing (NaN).")
    values, missing = [], []
    for name in _NUMBERS:
        low, high = _PLAUSIBLE_STATIC.get(name, (-np.inf, np.inf)) if plausible else (-np.inf, np.inf)
        known = (column[name] >= low) & (column[name] <= high)
        training = column[name][:num_train][known[:num_train]]
        mean, scale = (training.mean(), training.std()) if len(training) else (0.0, 1.0)
        filled = np.where(known, column[name], mean)
        # Where all training stays agree there is no scale to divide by.
        values.append((filled - mean) / (scale if scale > 0.0 else 1.0) if standardize else filled)
        missing.append(~known)
    types = [column["ICUType"] == kind for kind in _TYPES]
    return finite_float32(np.stack([*values, *missing, *types], axis=1), f"{path}: the context, standardised,")
