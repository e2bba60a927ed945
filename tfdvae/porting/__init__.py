"""Models with weights that other programs have trained.

Files of PyTorch are pickles, which run code when they are read. So weights come as arrays, by the names that they have
in PyTorch's state; where they were trained, three lines write them into a file that is none:

    import numpy, torch

    state = torch.load("model.pt", map_location="cpu", weights_only=True)
    numpy.savez("model.npz", **{name: tensor.numpy() for name, tensor in state.items()})

and here

    arrays = np.load("model.npz", allow_pickle=False)
    model = tfdvae.porting.from_dvae_state_dict("vrnn", arrays, names={"rnn": "lstm_of_h", ...})
"""

from tfdvae.porting.networks import parts
from tfdvae.porting.state_dict import from_dvae_state_dict

__all__ = ["from_dvae_state_dict", "parts"]
