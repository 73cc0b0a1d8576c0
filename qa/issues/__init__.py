"""Label errors and data problems: labels, predictions and fingerprints in, findings out. Nothing here reads or writes."""

from qa.issues.finding import CAUSES, TYPES, Finding, Label, labels_in_table
from qa.issues.report import error_report, errors_text

__all__ = ["CAUSES", "TYPES", "Finding", "Label", "error_report", "errors_text", "labels_in_table"]
