"""Small spaCy pipelines, made in a second: one that has learned a few sentences, and recognisers of random weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

SENTENCES: list[tuple[str, dict[str, Any]]] = [
    (
        "Ann Lee met Bob in Paris.",
        {
            "entities": [(0, 7, "PERSON"), (12, 15, "PERSON"), (19, 24, "GPE")],
            "spans": {"sc": [(0, 7, "PERSON"), (4, 7, "SURNAME"), (19, 24, "GPE")]},
            "cats": {"NEWS": 1.0, "SPORT": 0.0},
        },
    ),
    (
        "The match was lost by Ann Bob here.",
        {
            "entities": [(22, 25, "PERSON"), (26, 29, "PERSON")],
            "spans": {"sc": [(22, 25, "PERSON")]},
            "cats": {"NEWS": 0.0, "SPORT": 1.0},
        },
    ),
]
ALL = ("ner", "spancat", "textcat", "textcat_multilabel")


def learned(folder: Path, *components: str, rounds: int = 40) -> Path:
    """A pipeline on disk that knows SENTENCES by heart; a component that cannot learn is added before the others."""
    import spacy
    from spacy.training import Example
    from spacy.util import fix_random_seed

    fix_random_seed(0)
    nlp = spacy.blank("en")
    for name in components:
        nlp.add_pipe(name)
    kept = set(ALL) & set(components)
    examples = [Example.from_dict(nlp.make_doc(text), truth) for text, truth in SENTENCES * 2]
    with nlp.select_pipes(enable=sorted(kept)):
        nlp.initialize(lambda: examples)
        for _ in range(rounds):
            nlp.update(examples)
    nlp.to_disk(folder)
    return folder


def random_recogniser(seed: int, *, before: tuple[str, ...] = (), factory: str = "ner", **model: Any) -> Any:
    """A pipeline whose recogniser has random weights, so that it finds entities of every shape everywhere."""
    import spacy
    from spacy.util import fix_random_seed

    fix_random_seed(seed)
    nlp = spacy.blank("en")
    for name in before:
        component = nlp.add_pipe(name)
        if name == "entity_ruler":
            component.add_patterns([{"label": "A", "pattern": "Ann Lee"}, {"label": "NEW", "pattern": "Bob"}])
    defaults = {
        "@architectures": "spacy.TransitionBasedParser.v2", "state_type": "ner", "extra_state_tokens": False,
        "hidden_width": 16, "maxout_pieces": 2, "use_upper": True,
        "tok2vec": {
            "@architectures": "spacy.HashEmbedCNN.v2", "pretrained_vectors": None, "width": 16, "depth": 1,
            "embed_size": 100, "window_size": 1, "maxout_pieces": 2, "subword_features": True,
        },
    }  # fmt: skip
    ner = nlp.add_pipe(factory, name="ner", config={"model": {**defaults, **model}})
    for label in ("A", "B", "C"):
        ner.add_label(label)
    with nlp.select_pipes(enable=["ner"]):
        nlp.initialize()
    upper, rng = ner.model.get_ref("upper"), np.random.default_rng(seed)
    if upper.has_param("W"):
        upper.set_param("W", rng.normal(size=upper.get_param("W").shape).astype("float32"))
        upper.set_param("b", rng.normal(scale=0.3, size=upper.get_param("b").shape).astype("float32"))
    return nlp
