"""One answer out of several people's: by votes, or by a model of who errs how."""

from qa.consensus.error_models import dawid_skene, one_coin
from qa.consensus.votes import Consensus, majority, weighted

__all__ = ["Consensus", "dawid_skene", "majority", "one_coin", "weighted"]
