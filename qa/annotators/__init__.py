"""What is told of each annotator: accuracy, agreement, bias, skill, speed, drift, suggestions accepted, and a message."""

from qa.annotators.report import annotator_report, annotators_text, report_of
from qa.annotators.work import read_table

__all__ = ["annotator_report", "annotators_text", "read_table", "report_of"]
