"""Orders of the queue: which task is served next, as a key in [0, 1] per task, lower first."""
