"""Settings of the whole suite: property tests draw the same examples every time and are not judged by the clock.

Where there is no GPU, kernels for GPUs are run by Triton's interpreter.
"""

import os

import torch
from hypothesis import settings

settings.register_profile("repeatable", derandomize=True, deadline=None, database=None)
settings.load_profile("repeatable")
torch.set_num_threads(1)
if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"
