"""The commands, by what they are about. With `labelloop.cli` they alone may import the other packages, inside functions."""
