"""Media of tasks: fetched only from where it may come from, checked to be images, and kept in a bounded local cache."""

from labelloop.media.cache import MediaCache
from labelloop.media.pictures import MAX_PIXELS, Picture, examined, verified_suffix
from labelloop.media.places import MediaRules
from labelloop.media.shelves import keep_file

__all__ = ["MAX_PIXELS", "MediaCache", "MediaRules", "Picture", "examined", "keep_file", "verified_suffix"]
