"""Where the files of a YOLO export go, and its data.yaml: so that trainers find every label by the path of its image."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from labelloop.errors import DataError
from sync.formats.examples import SPLITS, Example, ExportOptions, Picture
from sync.formats.format import Part
from sync.formats.yolo_plan import Details, flip_order

DATA = "data.yaml"
LABELS = "labels"
#: Suffixes by which ultralytics knows an image; it passes over every other file.
SUFFIXES = frozenset(["avif", "bmp", "dng", "heic", "heif", "jp2", "jpeg", "jpg", "mpo", "png", "tif", "tiff", "webp"])
#: Steps of a path that lead trainers astray: they look for labels where the last folder `images` would be one of labels,
#: and pass over hidden names. Each is marked in a way that no other path can have.
_ASTRAY = re.compile(r"(?<![^/])(images_*)(?=/)|(?<![^/])(?=_*\.)", re.IGNORECASE)
#: What a folder's name cannot have everywhere; "%" too, so that the name of a class can be told from it.
_UNSAFE = re.compile(r'[%/\\:*?"<>|\x00-\x1f]|^\.|[. ]$')


def image_name(picture: Picture) -> str:
    """The image's path below the folder of its split; DataError when no trainer would look at it."""
    name = _ASTRAY.sub(_marked, picture.name)
    if name.rpartition(".")[2].lower() in SUFFIXES:
        return name
    if picture.file is None:
        raise DataError(
            f"{picture.name}: trainers know an image by a suffix such as .jpg, and this name has none of theirs; with "
            "--images the copy gets the right one"
        )
    return f"{name}.{_suffix_of(picture.file)}"


def _marked(step: re.Match[str]) -> str:
    return f"{step.group()}_"


def _suffix_of(file: Path) -> str:
    from PIL import Image

    with Image.open(file) as image:
        found = (image.format or "").lower()
    if found not in SUFFIXES:
        raise DataError(f"{file.name}: trainers read no {found.upper() or 'such'} images; turn it into PNG or JPEG")
    return "jpg" if found == "jpeg" else found


def class_folder(name: str) -> str:
    """The folder of a class; `class_of_folder` is its inverse."""
    return _UNSAFE.sub(lambda found: f"%{ord(found.group()):02X}", name)


def class_of_folder(name: str) -> str:
    """The class of a folder."""
    from urllib.parse import unquote

    return unquote(name)


def place_image(
    details: Details, options: ExportOptions, example: Example, picture: Picture, place: str, part: Part
) -> bool:
    """Put the image where its label expects it: a copy, a link to where the user has it, or a line in the split's list.

    Where it cannot be put is noted; False then.
    """
    if details.placing == "copied":
        part.copy_image(picture, place, example.task_id)
        return picture.file is not None
    if details.placing == "listed":
        if len(place.splitlines()) == 1:
            part.fragment(list_file(example.split)).write(f"./{place}\n".encode())
            return True
        part.skip(example.task_id, f"{picture.name!r}: a list of images has no place for a name with line breaks")
    elif options.rebase is not None and picture.address.startswith(options.rebase[0]):
        _link(part.folder / place, picture.file_name, place.count("/"))
        return True
    else:
        begins = options.rebase[0] if options.rebase else ""
        part.skip(example.task_id, f"{picture.address}: image not linked, its address does not begin with {begins!r}")
    return False


def _link(link: Path, target: str, depth: int) -> None:
    """A link to an absolute path, or to one that counts from the export's folder."""
    link.parent.mkdir(parents=True, exist_ok=True)
    link.unlink(missing_ok=True)  # of a part that is written again
    os.symlink(target if os.path.isabs(target) else "../" * depth + target, link)


def list_file(split: str) -> str:
    """The list of a split's images, where they are not with the labels."""
    return f"{split}.txt"


def split_place(details: Details, split: str) -> str:
    """What data.yaml names as the images of a split."""
    if details.task == "classify":
        return split
    return list_file(split) if details.placing == "listed" else f"images/{split}"


_CLASSIFY = "A trainer takes this folder itself as its data; here are the classes in the order of the label config."
_HEADS = {
    "copied": "The images lie in images/<split>, the labels of each at the same path below labels/<split>.",
    "linked": "images/<split> holds links to the images; the labels of each are at the same path below labels/<split>.",
    "listed": "The images are not here: put (or link) each where the lists name it, or export with --images or "
    "--rebase-paths.",
}


def data_yaml(details: Details, there: Sequence[str]) -> bytes:
    """data.yaml. It names no `path`: trainers count from its own folder, which may be moved.

    `there` are the splits that have images. Trainers insist on `train` and `val`: without images for either, `train` is
    empty and `val` is the next best, which a comment tells.
    """
    import yaml

    names = {number: name for name, number in details.classes.items()}
    splits, told = _splits(details, there)
    points, more = _points(details) if details.task == "pose" else ({}, [])
    content = {**splits, "task": details.task, "nc": len(names), "names": names, **points}
    comments = [
        f"YOLO {details.task}, written by labelloop; manifest.json names the dataset version.",
        _CLASSIFY if details.task == "classify" else _HEADS[details.placing],
        *told,
        *more,
    ]
    said = yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=1000)
    return ("".join(f"# {comment}\n" for comment in comments) + str(said)).encode()


def _splits(details: Details, there: Sequence[str]) -> tuple[dict[str, Any], list[str]]:
    """(where the images of each split are, comments on it)."""
    places: dict[str, str | None] = {split: split_place(details, split) for split in there}
    comments = []
    if "train" not in there:
        places["train"] = None
        comments.append("No image is in train.")
    if "val" not in there:
        next_best = "test" if "test" in there else "train"
        places["val"] = places[next_best]
        comments.append(f"No image is in val, so val is {next_best}: scores on it tell nothing of other images.")
    return {split: places[split] for split in SPLITS if split in places}, comments


def _points(details: Details) -> tuple[dict[str, Any], list[str]]:
    """(what is said of key points, comments on it)."""
    points = list(details.keypoints)
    flip = flip_order(points)
    said: dict[str, Any] = {"kpt_shape": [len(points), 3]}
    if flip is not None:
        said["flip_idx"] = flip
    said["kpt_names"] = {number: list(points) for number in details.classes.values()}
    unknown = ["No flip_idx: the names of the key points do not tell what a mirror makes of them."]
    return said, [] if flip is not None else unknown


def placing_told(details: Details) -> Mapping[str, Any]:
    """What the manifest says of the images."""
    if details.task == "classify":
        return {"placing": details.placing, "expected": "<split>/<class>/<image>"}
    return {
        "placing": details.placing,
        "expected": "images/<split>/<image>",
        "labels": "labels/<split>/<image, with .txt>",
        "note": _HEADS[details.placing],
    }
