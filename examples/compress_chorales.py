"""Compresses piano-rolls by a model that has heard others, and compares the size with xz.

    python examples/compress_chorales.py --data jsb_chorales.npz

The file is one of the four sets of Boulanger-Lewandowski et al. (2012), as `tfdvae.data.load_pianoroll` reads it. An
RNN learns p(x_t | x_<t) from the training pieces; the test pieces are then written with as many bits as it needs for
them, read again, and compared. Ten epochs take a few minutes on two cores. Needs the extra `codec`.
"""

import argparse
import lzma
import math
from pathlib import Path

import numpy as np
import tensorflow as tf

import tfdvae


def main(arguments: list[str] | None = None) -> dict[str, float]:
    """Runs the example; returns bits per frame by method."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="piano-rolls with their splits, .npz or .mat")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--units", type=int, default=128, help="width of the recurrent layer")
    parser.add_argument("--out", type=Path, default=Path("chorales.dvae"), help="the file to write")
    given = parser.parse_args(arguments)

    splits = tfdvae.data.load_pianoroll(given.data)
    model = tfdvae.RNN(units=given.units, observation="bernoulli")
    model.build_for(splits.train.features)
    model.adapt(splits.train)
    model.compile(tf.keras.optimizers.Adam(3e-3))
    model.fit(splits.train, epochs=given.epochs, batch_size=16, verbose=2)

    coded = tfdvae.codec.compress(model, splits.test)
    size = tfdvae.codec.write_coded(given.out, coded)
    again = tfdvae.codec.read_file(given.out, model)
    assert all(np.array_equal(x, y) for x, y in zip(splits.test.x, again.x, strict=True))

    frames = splits.test.num_frames
    nats = float(tf.reduce_sum(model.log_prob(splits.test)))
    packed = np.packbits(np.concatenate(splits.test.x).astype(np.uint8), axis=1).tobytes()
    found = {
        "-log2 p(x)": -nats / math.log(2.0) / frames,
        "bits of the coder": coded.bits_per_frame,
        f"{given.out}": 8.0 * size / frames,
        "xz of the packed bits": 8.0 * len(lzma.compress(packed, preset=9 | lzma.PRESET_EXTREME)) / frames,
        "packed bits": 8.0 * len(packed) / frames,
    }
    for method, bits in found.items():
        print(f"{bits:8.3f} bits per frame  {method}")
    return found


if __name__ == "__main__":
    main()
