"""The parts of the mirror: its cursor, tasks, revisions of annotations, what people were shown, and the label config."""
