"""What leaves and what comes back: one module per format, and the pipeline that all of them share.

examples     a labelled task as a format writes it          policies     whose label is the truth
sources      export files and dataset versions, in parts    parts        parts written side by side
format       what a format is                               exporting    the whole export
registry     the formats by name                            reading      labelled data from elsewhere, as regions
provenance   where each exported object came from           publishing   all of it or nothing
"""
