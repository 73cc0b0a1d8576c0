"""The components of a spaCy pipeline that answer for controls, and those that can be left out because nobody reads them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

ENTITIES = frozenset({"ner", "beam_ner"})
SPANS = frozenset({"spancat", "spancat_singlelabel"})
CLASSES = frozenset({"textcat", "textcat_multilabel"})
ANSWERING = ENTITIES | SPANS | CLASSES
#: Write `doc.ents` by rules, after or before a recogniser.
RULERS = frozenset({"entity_ruler", "future_entity_ruler", "span_ruler"})
_NEVER_READ = frozenset(
    {"tagger", "morphologizer", "parser", "beam_parser", "senter", "attribute_ruler", "lemmatizer"}
    | {"trainable_lemmatizer", "entity_linker", "nn_labeller"}
)
_TOKEN_READERS = ANSWERING | {"tok2vec", "sentencizer", "span_finder"}
_LISTENER = "spacy.Tok2VecListener"


def unused(components: Mapping[str, Mapping[str, Any]], used: frozenset[str] | None = None) -> list[str]:
    """Names of the components, by their config, without which the `used` ones (None: all that can answer) say the same.

    Where a component stays that may read tags or lemmas (rules do), so does everything before and after it. Sentence
    ends, which a parser would set, are not kept for a recogniser: spaCy trains it without them.
    """
    factories = {name: str(config.get("factory", "")) for name, config in components.items()}
    idle = [
        name for name, factory in factories.items() if factory in ANSWERING and used is not None and name not in used
    ]
    if all(factory in _TOKEN_READERS | _NEVER_READ for factory in factories.values()):
        idle += [name for name, factory in factories.items() if factory in _NEVER_READ]
    kept = [config for name, config in components.items() if name not in idle]
    if not any(_listens(config) for config in kept):
        idle += [name for name, factory in factories.items() if factory == "tok2vec"]
    return idle


def _listens(config: Mapping[str, Any]) -> bool:
    return any(
        _listens(value) if isinstance(value, Mapping) else str(value).startswith(_LISTENER) for value in config.values()
    )


def answering(nlp: Any) -> dict[str, str]:
    """{name: factory} of the components of a pipeline that can answer for a control, in the order of the pipeline."""
    factories = {name: str(nlp.get_pipe_meta(name).factory) for name in nlp.pipe_names}
    return {name: factory for name, factory in factories.items() if factory in ANSWERING}


def labels_of(nlp: Any, name: str) -> tuple[str, ...]:
    """The labels that a component gives; with a recogniser those of the pipeline's rulers, as both write the entities."""
    labels = list(nlp.get_pipe(name).labels)
    if nlp.get_pipe_meta(name).factory in ENTITIES:
        for other in nlp.pipe_names:
            if nlp.get_pipe_meta(other).factory in RULERS:
                labels += nlp.get_pipe(other).labels
    return tuple(dict.fromkeys(map(str, labels)))
