"""The advisor: which index, which parameters for one's own data on one's own tier, and what to expect of them."""

from tiervec.bench.advisor.advice import Advice, Prediction
from tiervec.bench.advisor.advising import Request, advise
from tiervec.bench.advisor.checking import Check, check

__all__ = ["Advice", "Check", "Prediction", "Request", "advise", "check"]
