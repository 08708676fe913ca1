"""The ADAPT side of transfer.py's section speed, run in ADAPT's environment.

``python adapt_side.py FOLDER``: reads FOLDER/data.npz; for each "NAME SECONDS" on standard input
runs it until so many CPU seconds have passed (once at least), writes what came of it to
FOLDER/NAME.npy, and prints the CPU seconds of every run. Imports nothing of the benchmarks or of
skmtl.
"""

import json
import os
import sys
import time
import warnings

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"  # before tensorflow loads
os.environ["CUDA_VISIBLE_DEVICES"] = "-1"

import numpy as np
import tensorflow as tf

tf.config.threading.set_intra_op_parallelism_threads(1)
tf.config.threading.set_inter_op_parallelism_threads(1)

from adapt.instance_based import KMM, TrAdaBoostR2, TwoStageTrAdaBoostR2  # noqa: E402
from sklearn.linear_model import Ridge  # noqa: E402

warnings.simplefilter("ignore")


def kmm(data):
    """Weights of the source rows."""
    options = {"kernel": "rbf", "gamma": float(data["gamma"]), "B": float(data["bound"])}
    model = KMM(
        Ridge(), Xt=data["kmm_Xt"], eps=float(data["eps"]), verbose=0, random_state=0, **options
    )
    return model.fit(data["kmm_Xs"], data["kmm_ys"]).weights_


def _boosting(kind, data):
    model = kind(Ridge(), Xt=data["Xt"], yt=data["yt"], n_estimators=10, verbose=0, random_state=0)
    return model.fit(data["Xs"], data["ys"])


def tradaboost_r2(data):
    """The fitted model."""
    return _boosting(TrAdaBoostR2, data)


def two_stage_tradaboost_r2(data):
    """The fitted model."""
    return _boosting(TwoStageTrAdaBoostR2, data)


FUNCTIONS = {f.__name__: f for f in (kmm, tradaboost_r2, two_stage_tradaboost_r2)}


def main(folder):
    """Answer until standard input ends."""
    with np.load(os.path.join(folder, "data.npz")) as archive:
        data = dict(archive)
    for line in sys.stdin:
        name, turn = line.split()
        cpu = []
        while not cpu or sum(cpu) < float(turn):
            start = time.process_time()
            result = FUNCTIONS[name](data)
            cpu.append(time.process_time() - start)
        if not isinstance(result, np.ndarray):
            result = np.ravel(result.predict(data["Xe"]))
        np.save(os.path.join(folder, f"{name}.npy"), result)
        print(json.dumps({"cpu": cpu}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
