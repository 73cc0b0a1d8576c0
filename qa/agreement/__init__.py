"""Agreement between people on the tasks that several of them labelled: which labels count, their tallies, the figures."""

from qa.agreement.counting import REQUIRED_COLUMNS, current_labels, result_of
from qa.agreement.report import agreement_text, measure_agreement

__all__ = ["REQUIRED_COLUMNS", "agreement_text", "current_labels", "measure_agreement", "result_of"]
