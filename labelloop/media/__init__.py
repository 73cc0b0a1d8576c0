"""Media of tasks: fetched only from where it may come from, checked to be images, and kept in a bounded local cache."""

from labelloop.media.cache import MediaCache
from labelloop.media.pictures import MAX_PIXELS, Picture, examined, verified_suffix
from labelloop.media.places import MediaRules
from labelloop.media.shelves import keep_file
from labelloop.media.thumbnails import Thumbnail, thumbnail_of

__all__ = [
    "MAX_PIXELS",
    "MediaCache",
    "MediaRules",
    "Picture",
    "Thumbnail",
    "examined",
    "keep_file",
    "thumbnail_of",
    "verified_suffix",
]
