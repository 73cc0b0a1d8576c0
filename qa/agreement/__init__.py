"""Agreement between people on the tasks that several of them labelled: which labels count, their tallies, the figures."""

from qa.agreement.counting import REQUIRED_COLUMNS, current_labels, result_of
from qa.agreement.report import agreement_report, agreement_text, measure_agreement
from qa.agreement.running import Running

__all__ = [
    "REQUIRED_COLUMNS",
    "Running",
    "agreement_report",
    "agreement_text",
    "current_labels",
    "measure_agreement",
    "result_of",
]
