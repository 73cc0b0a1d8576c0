"""Measures of agreement: pure functions of values, boxes and spans, each returning a Coefficient."""

from qa.measures.boxes import BoxAgreement, box_agreement, iou_matrix, match_boxes
from qa.measures.categorical import krippendorff_alpha, percent_agreement
from qa.measures.coefficients import Coefficient, measured, undefined
from qa.measures.reliability_table import patterns_of_table
from qa.measures.spans import character_values, span_counts, span_f1, token_values

__all__ = [
    "BoxAgreement",
    "Coefficient",
    "box_agreement",
    "character_values",
    "iou_matrix",
    "krippendorff_alpha",
    "match_boxes",
    "measured",
    "patterns_of_table",
    "percent_agreement",
    "span_counts",
    "span_f1",
    "token_values",
    "undefined",
]
