"""A guideline as Label Studio shows it: headings, written-out bullets and numbers, and no HTML of its own."""

from __future__ import annotations

from sync.projects import guideline_html


def test_markdown_becomes_html_with_bullets_and_numbers_written_out() -> None:
    shown = guideline_html(
        "# Title\n\nWhat **counts**.\n\n- one\n- two\n\n1. first\n2. second\n\n|a|b|\n|---|---|\n|c|d|\n"
    )
    assert "<h1>Title</h1>" in shown and "<p>What <strong>counts</strong>.</p><br>" in shown
    assert "<li>\u2022 one</li>" in shown and "<li>2. second</li>" in shown
    assert "<td>c&nbsp;&nbsp;</td>" in shown


def test_html_in_a_guideline_is_shown_and_not_run() -> None:
    assert "<script" not in guideline_html("a <script>alert(1)</script> b") and guideline_html("  ") == ""
