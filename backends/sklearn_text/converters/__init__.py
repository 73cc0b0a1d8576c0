"""One module per control tag: what the model says to Label Studio regions, and back."""
