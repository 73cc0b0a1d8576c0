"""The word lists and sentence patterns of `labelloop.demo.texts`; a {slot} is filled from a list of that name."""

from __future__ import annotations

from collections.abc import Mapping

# -- names ---------------------------------------------------------------------------------------------------------

SYLLABLES: tuple[str, ...] = (
    "ba", "be", "bra", "ca", "cor", "da", "del", "dro", "el", "fa", "fen", "gal", "gri", "ha", "hol", "is", "ja", "ka",
    "kel", "kri", "la", "lin", "lo", "ma", "mer", "mo", "na", "ner", "ni", "o", "or", "pa", "pel", "qui", "ra", "ro",
    "sa", "sel", "so", "ta", "tel", "tri", "u", "va", "vel", "vo", "wa", "wil", "xa", "ya", "za", "zu",
)  # fmt: skip
WORD_ENDS: tuple[str, ...] = (
    "", "n", "r", "s", "k", "th", "ne", "ra", "li", "do", "m", "x", "ska", "nen", "é", "ö", "ci", "rt",
)  # fmt: skip

#: Kinds of name; those that are no label (PLACE, EVENT, CODE) look alike and are no entity.
NAME_SHAPES: Mapping[str, tuple[str, ...]] = {
    "PERSON": (
        "{word} {word}", "{word} {word}", "{word} {word}", "{word} {word}", "{word}", "{word} {initial}. {word}",
        "{word} {particle} {word}", "{word} {word}-{word}",
    ),
    "ORG": (
        "{word}", "{word}", "{word}", "{word} {org_end}", "{word} {org_end}", "{word} {org_end}", "{caps}",
        "{word} & {word}",
    ),
    "PRODUCT": ("{word}", "{word}", "{word} {number}", "{word} {number}", "{word} {product_end}", "{caps}-{number}"),
    "PLACE": ("{word}", "{word}", "{word} {place_end}", "{word} {word}"),
    "EVENT": ("{word} {event_end}", "{word} {event_end}", "{word} {event_end}", "{word} {number}"),
    "CODE": ("{caps}-{number}", "{caps}", "{caps} {number}"),
}  # fmt: skip

NAME_WORDS: Mapping[str, tuple[str, ...]] = {
    "particle": ("van", "de", "von", "al", "di"),
    "org_end": ("Labs", "Group", "GmbH", "Holdings", "Partners", "Ltd", "Systems", "Foods"),
    "product_end": ("Pro", "Mini", "Max", "Lite", "Plus", "Air"),
    "place_end": ("Bay", "Hill", "Valley", "Street", "Group"),
    "event_end": ("Fair", "Summit", "Prize", "Act", "Cup"),
}

# -- news ----------------------------------------------------------------------------------------------------------

#: Sentences with at least one entity.
NEWS: tuple[str, ...] = (
    "{PERSON} {person_does}.",
    "{PERSON}, {person_role}, {person_does}.",
    "{title} {PERSON} {person_does}.",
    "{time}, {PERSON} {person_does}.",
    "{person_before} {PERSON} {made_news}.",
    "{to_person} {PERSON} {tail}.",
    "{said} {PERSON}, {person_role}.",
    "{PERSON} of {ORG} {person_does}.",
    "{ORG} {org_does}.",
    "{ORG} {org_does}.",
    "{ORG}, {org_is}, {org_does}.",
    "{time}, {ORG} {org_does}.",
    "{org_before} {ORG} {made_news}.",
    "{to_org} {ORG} {tail}.",
    "{ORG} {org_to_org} {ORG} {tail}.",
    "{ORG} {org_to_person} {PERSON} {tail}.",
    "{ORG} {org_to_product} {PRODUCT} {tail}.",
    "{PERSON} {person_to_org} {ORG} {tail}.",
    "{PERSON} {person_to_product} {PRODUCT} {tail}.",
    "the {PRODUCT} {product_does}.",
    "{product_before} {PRODUCT} {made_news}.",
    "{to_product} {PRODUCT} {tail}.",
    "{time}, the {PRODUCT} {product_does}.",
    "{ORG} {org_does} {near} {PLACE}.",
    "{PERSON} {person_does} {near} {PLACE}.",
    "the {PRODUCT} {product_does}, and {org_before} {ORG} {made_news}.",
)

#: Sentences without an entity, many with words and shapes that occur near entities elsewhere.
PLAIN_NEWS: tuple[str, ...] = (
    "{place_before} {PLACE} {place_tail}.",
    "{place_before} {PLACE} {place_tail}.",
    "the {EVENT} {event_does}.",
    "{time}, the {EVENT} {event_does}.",
    "{code_before} {CODE} {code_tail}.",
    "{code_before} {CODE} {code_tail}.",
    "the road from {PLACE} to {PLACE} {place_tail}.",
    "in {PLACE} it {weather}.",
    "{time}, {common}.",
    "{common}.",
    "{common}, {tail}.",
)

JOINTS: tuple[str, ...] = (" ", " ", " ", " ", " ", " ", " ", " ", "\n", "\r\n", " 🙂 ", " — ")
OPENERS: tuple[str, ...] = ("📣 ", "Update 🚀: ", "« À la une » ", "News – ", "👩‍🔬 ")

NEWS_WORDS: Mapping[str, tuple[str, ...]] = {
    "title": ("Dr", "Mr", "Mrs", "Professor", "Judge", "Captain", "Senator", "Chef", "Coach", "Ms"),
    "person_role": (
        "the {adjective} {job}", "a {adjective} {job}", "a {job} by training",
    ),
    "job": (
        "treasurer", "chemist", "violinist", "lawyer", "gardener", "engineer", "novelist", "nurse", "pilot", "curator",
        "accountant", "goalkeeper", "translator", "architect", "baker", "geologist",
    ),
    "adjective": ("new", "former", "retired", "young", "well-known", "outgoing", "quiet", "acting"),
    "number": ("31", "44", "52", "67", "29", "58"),
    "person_does": (
        "resigned {time}", "was born in a small village", "laughed at the question", "married {time}",
        "apologised {time}", "thanked the nurses", "wept during the speech", "speaks four languages",
        "wrote her first novel at school", "broke an arm while skiing", "refused to answer",
        "teaches chemistry", "ran the marathon in three hours", "testified {time}",
    ),
    "person_before": (
        "a letter from", "the widow of", "her brother", "his aunt", "a portrait of", "the children of",
        "friends of", "an old teacher,", "my colleague",
    ),
    "to_person": (
        "the jury acquitted", "doctors examined", "neighbours greeted", "we interviewed",
        "police questioned", "guests applauded",
    ),
    "said": (
        "\"we are not done\", said", "\"it was cold\", recalls", "\"never again\", wrote", "\"why not?\", asked",
        "\"a fine day\", joked", "\"too early to tell\", admitted",
    ),
    "org_is": (
        "a maker of {goods}", "which employs {number} people", "based near {PLACE}",
    ),
    "goods": ("pumps", "tyres", "cheese", "glass", "paper", "toys", "cables", "paint"),
    "trade": ("insurance", "shipping", "mining", "textile", "banking", "catering", "energy", "retail"),
    "org_does": (
        "laid off {number} workers", "filed for bankruptcy {time}", "raised its dividend",
        "cut its forecast", "opened a second plant", "went public {time}", "missed its targets",
        "hired {number} engineers", "paid a fine {time}", "closed nine branches", "issued new bonds",
        "lost a lawsuit over {goods}", "moved its headquarters", "reported higher revenue",
    ),
    "org_before": (
        "shares of", "investors in", "the board of", "a spokesman for", "the merger with", "employees of",
        "a subsidiary of", "workers at", "the takeover of",
    ),
    "to_org": (
        "regulators fined", "the stock exchange suspended", "a rival swallowed", "banks bailed out",
        "the state privatised",
    ),
    "org_to_org": (
        "acquired", "sued", "merged with", "sold its stake in", "outbid",
    ),
    "org_to_person": (
        "appointed", "dismissed", "hired", "promoted", "apologised to",
    ),
    "org_to_product": (
        "launched the", "recalled the", "unveiled the", "stopped selling the", "priced the",
    ),
    "person_to_org": (
        "joined", "left", "founded", "runs", "sued",
    ),
    "person_to_product": (
        "bought a", "repaired a", "reviewed the", "designed the", "returned the",
    ),
    "product_does": (
        "sold out {time}", "comes in three colours", "overheats when charging", "weighs less than a kilo",
        "has a brighter screen", "needs two batteries", "costs {number} euros", "got a software update",
        "fits into a pocket", "ships with a charger", "is waterproof",
    ),
    "product_before": (
        "a review of the", "the battery of the", "the screen of the", "a charger for the",
        "pre-orders of the", "a spare part for the", "the manual of the", "version two of the",
        "a software update for the",
    ),
    "to_product": (
        "customers love the", "shops sold out of the", "testers dismantled the", "nobody needs a",
        "students ordered a",
    ),
    "made_news": (
        "made the news {time}", "caused a stir", "came up {time}", "was mentioned {time}", "was on every front page",
        "remained a mystery", "surprised everybody", "got little attention",
    ),
    "near": ("near", "close to", "on the road to", "in", "outside", "in the hills above"),
    "place_before": (
        "the river at", "rain flooded", "the bridge in", "the mayor of", "tourists in",
        "the old harbour of", "a farm outside", "the train to", "two roads near",
    ),
    "place_tail": (
        "was quiet {time}", "stayed closed {time}", "is worth a visit", "reopened {time}",
    ),
    "event_does": (
        "starts {time}", "drew large crowds", "was postponed {time}", "ended in the rain", "takes place every year",
        "comes into force {time}", "was broadcast live",
    ),
    "code_before": (
        "form", "flight", "ticket", "error", "the meeting in room", "gate",
    ),
    "code_tail": (
        "was cancelled {time}", "is out of date", "no longer matters",
    ),
    "weather": ("rained {time}", "was windy", "is always foggy", "snowed {time}", "will be warm {time}"),
    "common": (
        "shares of the blame were never settled", "the board was painted green",
        "investors in general stayed calm", "Mr and Mrs are old forms of address",
        "she bought a loaf and two apples", "a launch was seen from the shore",
        "the doctor signed the form by hand", "Parliament met on a Monday",
        "the price of bread rose again", "the Marketing team moved upstairs",
        "the Chief Engineer was absent", "a strike of lightning hit the barn",
        "the court was flooded after the rain", "a manual of style lies on the desk",
        "Internet access was slow",
    ),
    "time": (
        "on {day}", "in {month}", "last {season}", "two years ago", "this week", "after the summer", "yesterday",
        "at noon", "before {month}", "in the morning",
    ),
    "day": ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"),
    "month": ("January", "February", "March", "April", "June", "July", "September", "October", "December"),
    "season": ("spring", "summer", "autumn", "winter"),
    "tail": (
        "{time}", "{time}", "for the second time", "without comment", "as expected", "after a long delay",
        "despite the rain", "against all advice", "{near} {PLACE}", "during the {EVENT}",
    ),
}  # fmt: skip

# -- messages to a help desk -----------------------------------------------------------------------------------------

GREETINGS: tuple[str, ...] = (
    "",
    "",
    "",
    "Hello, ",
    "Hi team! ",
    "Good morning. ",
    "Dear all,\n",
    "Bonjour à tous, ",
)
FAREWELLS: tuple[str, ...] = ("", "", "", " Thanks!", " Regards, Jo", "\r\nBest wishes", " 🙏", " Merci 😊")
MESSAGE_JOINTS: tuple[str, ...] = (" ", " ", " ", "\n")

#: Sentences whose nouns and verbs come from the text's own topic.
STATEMENTS: tuple[str, ...] = (
    "{the} {noun} {fault}.",
    "{the} {noun} {fault} {when}.",
    "{ask} {act}?",
    "{ask} {act} {when}?",
    "I want to {act} {when}.",
    "{when} {the} {noun} {fault}, and I have to {act}.",
    "there is something wrong with {the} {noun}.",
    "not happy at all: {the} {noun} {fault}.",
)
#: Sentences that name another topic and say that it is not the matter.
DENIALS: tuple[str, ...] = (
    "{the} {noun} is fine, that is not why I write.",
    "this is not about {the} {noun}.",
    "please don't tell me to {act}.",
    "I know how to {act}, no help needed there.",
    "{the} {noun} has nothing to do with it.",
    "last month {the} {noun} {fault}, but that is solved.",
    "your colleague only talked about {the} {noun}, which I never asked for.",
)
SMALL_TALK: tuple[str, ...] = (
    "I wrote {when} and nobody answered.",
    "my {relative} had the same thing.",
    "I have been a customer for {years} years.",
    "please be quick, this is urgent.",
    "the {thing} itself is lovely.",
    "the order number is {years}{years}{years}.",
    "I use the {thing} every day.",
)
MESSAGE_WORDS: Mapping[str, tuple[str, ...]] = {
    "the": ("the", "my", "your", "this", "that"),
    "when": (
        "since Monday", "again", "last night", "this morning", "twice now", "after the holidays", "for a week",
        "before the weekend", "on my birthday", "as always",
    ),
    "ask": ("can you", "could someone", "how do I", "who will", "is it possible to", "why can't I", "when will you"),
    "relative": ("sister", "boss", "neighbour", "father", "flatmate"),
    "years": ("two", "three", "four", "nine", "ten"),
    "thing": ("lamp", "kettle", "speaker", "camera", "vacuum cleaner", "scale", "router"),
}  # fmt: skip

TOPICS: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "billing": {
        "noun": (
            "invoice", "refund", "credit card", "direct debit", "receipt", "VAT", "discount", "voucher",
            "price", "instalment", "bank transfer", "reminder", "late fee", "surcharge", "payment",
            "deposit", "statement", "invoice copy", "bank account number", "quote", "standing order",
            "tariff", "interest", "tip", "budget plan", "gift card", "cashback", "billing address",
            "currency",
        ),
        "fault": (
            "was charged twice", "is too high", "adds up wrongly", "was never credited",
            "shows the wrong amount", "was declined", "is overdue by mistake", "costs more than agreed",
            "was debited early", "lacks the tax", "was rounded up", "was paid long ago",
            "went up without notice", "doubled",
        ),
        "act": (
            "pay by cheque", "get my money back", "split the bill", "change the due date",
            "redeem the coupon", "correct the total", "reimburse me", "lower the fee",
            "settle the balance", "send a credit note", "pay in advance", "stop charging me", "use PayPal",
            "waive the cost",
        ),
    },
    "delivery": {
        "noun": (
            "parcel", "courier", "tracking link", "shipment", "package", "driver", "pick-up point",
            "postcode", "box", "customs form", "delivery slot", "warehouse", "depot", "freight", "pallet",
            "doorbell note", "return label", "mailbox", "carrier", "crate", "envelope", "lorry",
            "address label", "locker", "cargo", "padding", "air mail", "pick-up time", "dispatch",
        ),
        "fault": (
            "never arrived", "is stuck in transit", "went to the wrong house", "came damaged",
            "is three days late", "was left in the rain", "got lost", "is still on its way",
            "was handed to a stranger", "arrived half empty", "was dropped over the fence",
            "is held at the border", "was opened on the way", "weighs too much",
        ),
        "act": (
            "leave it with a neighbour", "reroute the van", "collect it in town", "ship overseas",
            "post it sooner", "bring it upstairs", "hand it over", "unload at the back",
            "track where it is", "sign for it", "wrap it better", "drop it off", "come before noon",
            "forward it abroad",
        ),
    },
    "technical": {
        "noun": (
            "app", "screen", "firmware", "update", "Bluetooth", "battery", "sensor", "menu", "button",
            "display", "cable", "charger", "software", "signal", "microphone", "adapter", "power switch",
            "timer", "error code", "keyboard", "antenna", "fan", "hard drive", "headset", "lens", "motor",
            "driver software", "plug", "manual",
        ),
        "fault": (
            "keeps crashing", "freezes", "won't turn on", "overheats", "loses connection",
            "makes a humming noise", "flickers", "restarts by itself", "is frozen", "shows a blank page",
            "drains quickly", "smells burnt", "is not recognised", "beeps all night",
        ),
        "act": (
            "reset the device", "pair it with my phone", "install the driver", "calibrate it",
            "replace the fuse", "clear the cache", "reboot", "update over wifi", "connect two units",
            "silence the beep", "open the casing", "charge it faster", "roll back the version",
            "print a test page",
        ),
    },
    "account": {
        "noun": (
            "password", "login", "profile", "username", "e-mail address", "newsletter", "registration",
            "account", "two-factor code", "consent", "privacy setting", "personal data", "membership",
            "nickname", "avatar", "loyalty card", "security question", "verification mail", "subscription",
            "user name", "passkey", "date of birth", "phone number on file", "guest access",
            "cookie banner", "family plan", "mailing list", "photo of me", "sign-in",
        ),
        "fault": (
            "is locked", "was hacked", "does not accept my name", "expired", "belongs to someone else",
            "can't be verified", "was deleted", "is spelled wrong", "says unknown user", "was blocked",
            "shows an old surname", "is registered twice", "was never confirmed", "asks for a code",
        ),
        "act": (
            "log in", "unsubscribe", "change my name", "delete my data", "merge both accounts",
            "recover access", "opt out", "sign up again", "close it for good", "update who I am",
            "add my wife", "stop the e-mails", "choose a new passphrase", "download what you store",
        ),
    },
}  # fmt: skip
