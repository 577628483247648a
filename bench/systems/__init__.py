"""The measured systems, one module each, and the process that runs one of them.

`child.py` and the modules of systems run where TierVec may not be installed, in a virtual environment that has what the
system wants. They import numpy, the system and nothing of ours; only `tiervec.py` imports TierVec.
"""

from __future__ import annotations
