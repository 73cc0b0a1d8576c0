"""The quality report: one HTML file that needs no network, from JSON reports and labels. Pure: values in, text out."""
