"""Writes the data set of a config as records, for training on data that do not fit into memory (`tfdvae.data.records`).

    python -m trainers.records --config configs/bach/vrnn.py --folder data/bach
    python -m trainers.train --config configs/bach/vrnn.py --workdir runs/bach_vrnn --config.training.records=data/bach

In the folder are then train/, valid/ and test/, all of them or none. The training sequences are those that the config
trains on, transposed and cut into windows as its section `data` says. `--check` reads all records of a
folder that is there, and names a shard that is damaged. The loaders of data sets hold one in memory while it is
written; data that never are in memory at once are written part by part by `tfdvae.data.write_records`, into folders of
the same names.
"""

from pathlib import Path

from absl import flags
from ml_collections import ConfigDict, config_flags

from tfdvae.data import Records, Splits, check_records, open_records, write_records
from tfdvae.data.unfinished import unfinished
from trainers import loading, settings

__all__ = ["check", "write"]


def write(config: ConfigDict, folder: Path, shards: int = 16) -> dict[str, Records]:
    """Writes the three splits and returns what was written, by their names.

    Raises:
        FileExistsError: the folder is there.
        ValueError, FileNotFoundError: a config that cannot be right; whatever its loader raises.
        OSError: the disk is full.
    """
    settings.check(config)
    if folder.exists():
        raise FileExistsError(f"There is already something at {folder}: remove it, or choose another --folder.")
    splits = loading.load_splits(config.data)
    train = loading.numbered_by_origin(loading.training_set(config.data, splits.train))
    about = {"data": settings.as_json(config)["data"]}
    with unfinished(folder) as temporary:
        for name, part in splits._replace(train=train)._asdict().items():
            write_records(part, temporary / name, shards=shards, about=about)
        temporary.rename(folder)
    return {name: open_records(folder / name) for name in Splits._fields}


def check(folder: Path) -> dict[str, Records]:
    """Reads all records of the three splits, and returns what is said of them.

    Raises:
        FileNotFoundError: one of them is not there.
        ValueError: a damaged file, by its name.
    """
    found = {name: open_records(folder / name) for name in Splits._fields}
    for records in found.values():
        check_records(records)
    return found


def main() -> None:
    values = flags.FLAGS
    folder = Path(values.folder)
    if values.check == (values.config is not None):
        raise ValueError("Give --config to write records, or --check to read those that are there.")
    found = check(folder) if values.check else write(values.config, folder, values.shards)
    for name, records in found.items():
        print(f"{name + ':':7}{records.describe()}")


if __name__ == "__main__":
    config_flags.DEFINE_config_file("config", None, "File with get_config(), see configs/.")
    flags.DEFINE_string("folder", None, "Where the records are to be, or are.")
    flags.DEFINE_integer("shards", 16, "Files of each split; several for each worker that will read.", lower_bound=1)
    flags.DEFINE_bool("check", False, "Read all records in the folder, and say whether they are whole.")
    flags.mark_flag_as_required("folder")
    settings.run_app(main)
