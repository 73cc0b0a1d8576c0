"""One module per control tag: what the rules say to Label Studio regions, and back."""
