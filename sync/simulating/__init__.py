"""Replays of labelled datasets: how many labels each strategy would have needed. No server takes part."""
