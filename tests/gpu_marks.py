"""Where kernels for GPUs are tested: on a GPU, or by Triton's interpreter on the CPU."""

from importlib.util import find_spec

import pytest
import torch

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")

needs_triton = pytest.mark.skipif(find_spec("triton") is None, reason="needs Triton")
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")

# The interpreter takes logarithms of 0 where a GPU does, and says so.
quiet = pytest.mark.filterwarnings("ignore:divide by zero:RuntimeWarning")
