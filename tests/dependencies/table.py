"""What the papers draw: the parents of each distribution, by variants of models.

`tfdvae.testing.parents` says how to read a row.
"""

from typing import Any

from tests.dependencies.segments import fhvae
from tests.dependencies.switching import SWITCHING_LDS, SWITCHING_LDS_FILTER
from tfdvae.testing.parents import Parents, Relation

__all__ = ["DRIVEN", "TABLE"]

VRNN: Parents = {
    "z": {
        "prior": {"x": "earlier", "z": "earlier", "u": "up_to_now"},
        "posterior": {"x": "up_to_now", "z": "earlier", "u": "up_to_now"},
    },
    "x": {"x": "earlier", "z": "up_to_now", "u": "up_to_now"},
}
STORN: Parents = {
    "z": {"posterior": {"x": "up_to_now", "u": "up_to_now"}},
    "x": {"x": "earlier", "z": "up_to_now", "u": "up_to_now"},
}


def srnn(sees: str) -> Parents:
    """By what q(z_t | .) sees of x and u."""
    return {
        "z": {
            "prior": {"x": "earlier", "z": "previous", "u": "up_to_now"},
            "posterior": {"x": sees, "z": "previous", "u": sees},
        },
        "x": {"x": "earlier", "z": "now", "u": "up_to_now"},
    }


RNN: Parents = {"x": {"x": "earlier", "u": "up_to_now"}}
VAE: Parents = {"z": {"posterior": {"x": "now", "u": "now"}}, "x": {"z": "now", "u": "now"}}
FVAE: Parents = {
    "individual": {"posterior": {"x": "everything", "u": "everything"}},
    "z": {"prior": {"individual": "everything"}, "posterior": VAE["z"]["posterior"]},
    "x": VAE["x"],
}
RVAE: Parents = {
    "z": {"posterior": {"x": "from_now_on", "z": "earlier", "u": "from_now_on"}},
    "x": {"z": "up_to_now", "u": "up_to_now"},
}
RVAE_NON_CAUSAL: Parents = {
    "z": {"posterior": {"x": "everything", "z": "earlier", "u": "everything"}},
    "x": {"z": "everything", "u": "everything"},
}


def dsae(**sees: str) -> Parents:
    """By what q(z_t | .) sees."""
    return {
        "v": {"posterior": {"x": "everything", "u": "everything"}},
        "z": {"prior": {"z": "earlier", "u": "up_to_now"}, "posterior": sees},
        "x": {"z": "now", "v": "everything"},
    }


def vrae(**sees: str) -> Parents:
    """By what p(x_t | .) sees beside s."""
    return {"s": {"posterior": {"x": "everything", "u": "everything"}}, "x": {"s": "everything", **sees}}


def dkf(sees: str | Relation, z: str, moves: Relation = lambda t, s: s == t > 0) -> Parents:
    """(5.9): inputs move z, and reach x_t through z_t alone; p(z_1) = N(0, I) unless u `moves` z_1 as well."""
    return {
        "z": {
            "prior": {"z": "previous", "u": moves},
            "posterior": {"x": sees, "z": z, "u": sees},
        },
        "x": {"z": "now"},
    }


def latent_lds(sees: str) -> Parents:
    """By what q(z_t | .) sees of x, and of u through the dynamics; u moves the first z as well."""
    return {
        "z": {
            "prior": {"z": "previous", "u": "now"},
            "posterior": {"x": sees, "z": "previous", "u": sees},
        },
        "x": {"z": "now"},
    }


# v and u move z from the second frame on; p(z_1) = N(0, I). A latent of the sequence is asked for at s = 0.
DSSM: Parents = {
    "v": {"posterior": {"x": "everything", "u": "everything"}},
    "z": {
        "prior": {"z": "previous", "v": lambda t, s: t > 0, "u": lambda t, s: s == t > 0},
        "posterior": {"x": "now", "u": "now", "z": "previous", "v": "everything"},
    },
    "x": {"z": "now"},
}


def first_from_all(t: int, s: int) -> bool:
    """What q at frame t sees where that of the first frame sees all."""
    return s == t or t == 0


def moves(t: int, s: int) -> bool:
    """Whether u_s has moved the state of frame t of a DVBF: u_1 leads to no state."""
    return 0 < s <= t


DSSM_NOISE: Parents = {
    "v": DSSM["v"],
    "w": {
        "posterior": {
            "x": first_from_all,
            "u": lambda t, s: moves(t, s) or s == t or t == 0,
            "w": "earlier",
            "v": "everything",
        },
    },
    "x": {"w": "up_to_now", "u": moves, "v": lambda t, s: t > 0},
}

# z_t, which is no latent, follows from w_<=t and u_2:t; q(w_t | .) sees it from the second frame on. There the matrices
# move it first, so that their v reaches q from the third frame on.
DVBF: Parents = {
    "w": {
        "posterior": {
            "x": first_from_all,
            "u": lambda t, s: moves(t, s) or t == 0,
            "w": "earlier",
        },
    },
    "x": {"w": "up_to_now", "u": moves},
}
DVBF_FILTER: Parents = {
    "v": {},
    "w": {
        "posterior": {
            "x": "now",
            "u": lambda t, s: moves(t, s) or s == t,
            "w": "earlier",
            "v": lambda t, s: t > 1,
        },
    },
    "x": {"w": "up_to_now", "u": moves, "v": lambda t, s: t > 0},
}

ZFORCING: Parents = {
    **VRNN,
    "z": {**VRNN["z"], "posterior": {"x": "everything", "z": "earlier", "u": "everything"}},
}

RSSM: Parents = {
    "z": {
        "prior": {"z": "earlier", "u": "up_to_now"},
        "posterior": {"x": "now", "z": "earlier", "u": "up_to_now"},
    },
    "x": {"z": "up_to_now", "u": "up_to_now"},
}
LVRNN: Parents = {**VRNN, "z": {**VRNN["z"], "prior": {"z": "earlier", "u": "up_to_now"}}}

SVG: Parents = {**STORN, "z": {**STORN["z"], "prior": {"x": "earlier", "u": "up_to_now"}}}

# a_t sees [x, d] from t on, and d_s sees v, w and u (in undriven mode x before s) up to s.
VSSN: Parents = {
    "v": {},
    "w": {"posterior": {"x": "everything"}},
    "z": {
        "prior": {"x": "earlier", "z": "previous", "w": "up_to_now", "v": "everything"},
        "posterior": {"x": "everything", "z": "previous", "w": "everything", "v": "everything"},
    },
    "x": {"x": "earlier", "z": "now", "w": "up_to_now", "v": "everything"},
}
VSSN_DRIVEN: Parents = {
    "v": {},
    "w": {"posterior": {"x": "everything", "u": "everything"}},
    "z": {
        "prior": {"z": "previous", "u": "up_to_now", "w": "up_to_now", "v": "everything"},
        "posterior": {
            "x": "from_now_on",
            "z": "previous",
            "u": "everything",
            "w": "everything",
            "v": "everything",
        },
    },
    "x": {"z": "now", "u": "up_to_now", "w": "up_to_now", "v": "everything"},
}


def tcn(levels: int, dense: bool) -> Parents:
    """By the number of latents of a frame, and whether all of them lead to x_t or the lowest alone."""
    found: dict[str, dict[str, Any]] = {}
    for level in range(1, levels + 1):
        above = {f"z{level + 1}": "now"} if level < levels else {}
        prior = {"x": "earlier", "u": "up_to_now", **above}
        found[f"z{level}"] = {"prior": prior, "posterior": {**prior, "x": "up_to_now"}}
    shown = range(1, levels + 1 if dense else 2)
    return {**found, "x": {**{f"z{level}": "up_to_now" for level in shown}, "u": "up_to_now"}}


TRANSFORMER: Parents = {
    "z": {"prior": {"x": "earlier", "u": "up_to_now"}, "posterior": {"x": "up_to_now", "u": "up_to_now"}},
    "x": {"x": "earlier", "z": "up_to_now", "u": "up_to_now"},
}

TABLE: dict[str, Parents] = {
    "rnn": RNN,
    "rnn-gru2": RNN,
    "vae": VAE,
    "vrnn": VRNN,
    "vrnn-independent": {**VRNN, "z": {"posterior": VRNN["z"]["posterior"]}},
    "vrnn-gru2": VRNN,
    "storn": STORN,
    "storn-gru2": STORN,
    "srnn-smooth": srnn("everything"),
    "srnn-filter": srnn("up_to_now"),
    "srnn-residual": srnn("everything"),
    "srnn-gru2": srnn("everything"),
    "dkf-st_r": dkf("from_now_on", "previous"),
    "dkf-st_l": dkf("up_to_now", "previous"),
    "dkf-st_lr": dkf("everything", "previous"),
    "dkf-mf_l": dkf("up_to_now", "nothing"),
    "dkf-mf_lr": dkf("everything", "nothing", "now"),
    "dkf-local": dkf("neighbours", "nothing"),
    "dkf-frame": dkf("now", "nothing"),
    "dkf-linear": dkf("from_now_on", "previous"),
    "dkf-tridiagonal": dkf(lambda t, s: s >= t - 1, "previous"),
    "dkf-tridiagonal_parallel": dkf(lambda t, s: s >= t - 1, "previous"),
    "rvae": RVAE,
    "rvae-gru2": RVAE,
    "rvae_noncausal": RVAE_NON_CAUSAL,
    "rvae_noncausal-gru2": RVAE_NON_CAUSAL,
    "dsae-full": dsae(x="everything", u="everything", v="everything"),
    "dsae-factorized": dsae(x="now", u="now"),
    "dsae-gru2": dsae(x="everything", u="everything", v="everything"),
    "dssm": DSSM,
    "dssm-gru2": DSSM_NOISE,
    "dvbf": DVBF,
    "dvbf-filter": DVBF_FILTER,
    "fhvae": fhvae(2),
    "fhvae-gru2": fhvae(3),
    "fvae": FVAE,
    "fvae-exp": FVAE,
    "vrae": vrae(x="earlier", u="up_to_now"),
    "vrae-reverse": vrae(x="earlier", u="up_to_now"),
    "vrae-free_running": vrae(u="up_to_now"),
    "vssn": VSSN,
    "vssn-lstm": VSSN,
    "zforcing_vrnn": ZFORCING,
    "zforcing_vrnn-backward": ZFORCING,
    "rssm": RSSM,
    "rssm-overshooting": RSSM,
    "rssm-categorical": RSSM,
    "lvrnn": LVRNN,
    "svg": SVG,
    "sv2p": {
        "v": {"posterior": {"x": "everything", "u": "everything"}},
        "x": {"x": "earlier", "v": "everything", "u": "up_to_now"},
    },
    "sv2p-frame": {
        "z": {"posterior": {"x": "everything", "u": "everything"}},
        "x": {"x": "earlier", "z": "now", "u": "up_to_now"},
    },
    "latent_lds": latent_lds("from_now_on"),
    "latent_lds-filter": latent_lds("now"),
    "latent_lds-parallel": latent_lds("from_now_on"),
    "switching_lds": SWITCHING_LDS,
    "switching_lds-filter": SWITCHING_LDS_FILTER,
    "svg-fixed": STORN,
    "lvrnn-independent": {**VRNN, "z": {"posterior": VRNN["z"]["posterior"]}},
    "tcn": tcn(2, dense=True),
    "tcn-three_levels": tcn(3, dense=False),
    "transformer": TRANSFORMER,
    "transformer-two_layers": TRANSFORMER,
}

DRIVEN: dict[str, Parents] = {"vssn": VSSN_DRIVEN, "vssn-lstm": VSSN_DRIVEN}
"""Graphs that inputs do more to than to join: of models whose inputs stand in for x_{t-1}."""
