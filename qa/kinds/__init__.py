"""The kinds of answers that people give under a control: how one is read, and how two people's compare."""
