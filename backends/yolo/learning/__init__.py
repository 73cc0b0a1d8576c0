"""What a network of each kind learns: one module per kind, and which of them a dataset gives."""
