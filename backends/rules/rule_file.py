"""The rule file: its shape as frozen, validated values. What it means is told in docs/rules.md."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, model_validator

from backends.rules.fields import FILE, FILE_FIELDS, META, number_of

#: How often a rule is taken to be right before anything was measured.
USUAL_ACCURACY = 0.7
MOST_PATTERN = 2000


def _field(value: str) -> str:
    """A field that can be looked up; the message of the ValueError says what is wrong with another."""
    if value in (META, FILE):
        raise ValueError(f"{value!r} names no key, as in {value}{'camera' if value == META else 'width'}")
    if value.startswith(FILE) and value.removeprefix(FILE).partition(".")[0] not in FILE_FIELDS:
        raise ValueError(f"{value!r} is no fact of an image file; there are {', '.join(FILE + f for f in FILE_FIELDS)}")
    return value


def _beside(value: str) -> str:
    if "/" in value or "\\" in value or value.startswith("."):
        raise ValueError(f"{value!r} must be the plain name of a file that lies beside the rule file")
    return value


Text = Annotated[str, StringConstraints(min_length=1)]
FieldName = Annotated[Text, AfterValidator(_field)]
FileName = Annotated[Text, AfterValidator(_beside)]
Name = Annotated[str, StringConstraints(pattern=r"^[^\s@,]+$", max_length=100)]
Version = Annotated[int, Field(strict=True, ge=0)] | Name
Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]
Chance = Annotated[float, Field(strict=True, gt=0.0, lt=1.0)]
Scalar = Annotated[bool, Field(strict=True)] | Annotated[int, Field(strict=True)] | Number | str
Fields = Annotated[tuple[FieldName, ...], Field(min_length=1)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class _Bounds(_Part):
    at_least: Number | None = None
    above: Number | None = None
    at_most: Number | None = None
    below: Number | None = None

    @property
    def bounded(self) -> bool:
        """Whether any bound is set."""
        return any(bound is not None for bound in (self.at_least, self.above, self.at_most, self.below))

    def holds(self, number: float) -> bool:
        """Whether a number lies inside every bound."""
        return (
            (self.at_least is None or number >= self.at_least)
            and (self.above is None or number > self.above)
            and (self.at_most is None or number <= self.at_most)
            and (self.below is None or number < self.below)
        )


class Rule(_Part):
    """What every rule has. `fields` defaults to what the control labels."""

    name: Name
    version: Version
    fields: Fields | None = None
    accuracy: Chance = USUAL_ACCURACY
    weight: Annotated[float, Field(strict=True, ge=0.0, le=1.0)] = 1.0
    kind: str

    @property
    def title(self) -> str:
        """The rule and its version, as predictions name it."""
        return f"{self.name}@{self.version}"

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels that the rule can give, as far as its own text says."""
        return (self.label,) if hasattr(self, "label") else ()


class KeywordRule(Rule):
    """Any of some words or phrases."""

    kind: Literal["keyword"]
    label: Text
    keywords: Annotated[tuple[Text, ...], Field(min_length=1)]
    ignore_case: bool = True
    whole_words: bool = True


class RegexRule(Rule):
    """A pattern; of a span, the part that `group` matches."""

    kind: Literal["regex"]
    label: Text
    pattern: Annotated[str, StringConstraints(min_length=1, max_length=MOST_PATTERN)]
    group: Annotated[int, Field(strict=True, ge=0)] | Text = 0
    ignore_case: bool = False


class DictionaryRule(Rule):
    """Terms of several labels, in the file itself or in a CSV with the columns term and label."""

    kind: Literal["dictionary"]
    terms: dict[Text, tuple[Text, ...]] = Field(default_factory=dict)
    file: FileName | None = None
    ignore_case: bool = True

    @model_validator(mode="after")
    def _one_source(self) -> DictionaryRule:
        if bool(self.terms) == bool(self.file):
            raise ValueError("give either terms (label: [term, ...]) or file (a CSV with the columns term and label)")
        return self

    @property
    def labels(self) -> tuple[str, ...]:
        return tuple(self.terms)


class LookupRule(Rule):
    """The label of a whole value: one field's in `table`, or several fields' together in a CSV that has their names."""

    kind: Literal["lookup"]
    table: dict[Scalar, Text] = Field(default_factory=dict)
    file: FileName | None = None
    ignore_case: bool = True

    @model_validator(mode="after")
    def _one_source(self) -> LookupRule:
        if bool(self.table) == bool(self.file):
            raise ValueError("give either table (value: label) or file (a CSV with a column per field, and label)")
        if self.table and len(self.fields or ()) > 1:
            raise ValueError("a table has one field; put several fields into a CSV, one column each")
        return self

    @property
    def labels(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(self.table.values()))


class ThresholdRule(Rule, _Bounds):
    """A number inside bounds, in any of the fields."""

    kind: Literal["threshold"]
    label: Text
    fields: Fields

    @model_validator(mode="after")
    def _some_bound(self) -> ThresholdRule:
        if not self.bounded:
            raise ValueError("give at least one bound: at_least, above, at_most or below")
        return self


class Condition(_Bounds):
    """What one field must be like; every part that is given must hold."""

    exists: Annotated[bool, Field(strict=True)] | None = None
    contains: Text | None = None

    @model_validator(mode="after")
    def _something(self) -> Condition:
        if not self.bounded and self.exists is None and self.contains is None:
            raise ValueError("give at least one of at_least, above, at_most, below, exists, contains")
        return self

    def fits(self, value: Any) -> bool:
        """Whether a value is like this; a missing one fits `exists: false` only."""
        if self.exists is not None and self.exists != (value is not None):
            return False
        if self.bounded and ((number := number_of(value)) is None or not self.holds(number)):
            return False
        return self.contains is None or (isinstance(value, str | list) and self.contains in value)


class MetadataRule(Rule):
    """Fields that are all as `where` says: a value, one of several values, or a condition."""

    kind: Literal["metadata"]
    label: Text
    fields: None = None
    where: Annotated[dict[FieldName, Condition | tuple[Scalar, ...] | Scalar], Field(min_length=1)]


class PythonRule(Rule):
    """A function of the file that `functions` names; it returns a label, or None to abstain."""

    kind: Literal["python"]
    fields: None = None
    function: Annotated[str, StringConstraints(pattern=r"^[A-Za-z]\w*$")]


AnyRule = Annotated[
    KeywordRule | RegexRule | DictionaryRule | LookupRule | ThresholdRule | MetadataRule | PythonRule,
    Field(discriminator="kind"),
]
RULE_KINDS: dict[str, type[Rule]] = {
    "keyword": KeywordRule, "regex": RegexRule, "dictionary": DictionaryRule, "lookup": LookupRule,
    "threshold": ThresholdRule, "metadata": MetadataRule, "python": PythonRule,
}  # fmt: skip
#: What finds a place in a text; the others speak about a task as a whole.
SPAN_KINDS = ("keyword", "regex", "dictionary", "python")


class ExpectedSpan(_Part):
    """A span that a test case expects: its label, and what is given of text, start and end."""

    label: Text
    text: Text | None = None
    start: Annotated[int, Field(strict=True, ge=0)] | None = None
    end: Annotated[int, Field(strict=True, ge=1)] | None = None


class Case(_Part):
    """One test case of the rule file: a task, and what all rules together, or one of them, say of it."""

    data: dict[str, Any] = Field(default_factory=dict)
    meta: dict[str, Any] = Field(default_factory=dict)
    rule: Name | None = None
    expect: tuple[ExpectedSpan, ...] | tuple[Text, ...] | Text | None


class RuleFile(_Part):
    """One rule file: the rules of one control."""

    version: Version
    control: Text
    target: Literal["choices", "spans"]
    rules: Annotated[tuple[AnyRule, ...], Field(min_length=1)]
    functions: FileName | None = None
    priors: dict[Text, Chance] | None = None
    tests: tuple[Case, ...] = ()

    @model_validator(mode="after")
    def _whole(self) -> RuleFile:
        names = [rule.name for rule in self.rules]
        doubled = next((name for name in names if names.count(name) > 1), None)
        if doubled:
            raise ValueError(f"two rules are named {doubled!r}; a name is what predictions are traced by")
        python = next((rule for rule in self.rules if rule.kind == "python"), None)
        if python is not None and self.functions is None:
            raise ValueError(
                f"rule {python.name!r} calls a function: name the Python file beside this one in functions"
            )
        for case in self.tests:
            if case.rule is not None and case.rule not in names:
                raise ValueError(f"a test names the rule {case.rule!r}, which is not there; there are {names}")
        return self
