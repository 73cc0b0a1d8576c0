"""What suggestions cost or save: seconds of people's time against labels made blind, and what became of what was suggested."""
