"""The advisor: which index, which parameters for one's own data on one's own tier, and what to expect of them."""

from tiervec.advisor.advice import Advice, Prediction
from tiervec.advisor.advising import Request, advise
from tiervec.advisor.checking import Check, check

__all__ = ["Advice", "Check", "Prediction", "Request", "advise", "check"]
