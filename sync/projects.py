"""Sets a project up from a template: project, webhook, ML backend, store row. Repeating it repairs what differs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from backends import NO_BACKEND
from labelloop.errors import DataError
from labelloop.label_config import parse_label_config
from labelloop.label_studio import LabelStudio
from labelloop.settings import ProjectSettings
from labelloop.store.store import Store
from templates.catalogue import Template

SAMPLING = "Uncertainty sampling"


def create_project(
    client: LabelStudio,
    store: Store,
    template: Template,
    title: str,
    classes: Sequence[str],
    settings: ProjectSettings,
    backend_url: str | None = None,
    webhook_url: str | None = None,
    secret: str | None = None,
    backend_login: tuple[str, str] | None = None,
) -> int:
    """The id of the project with that title, made or set right.

    `webhook_url` may hold "{project}", which becomes the id; a webhook needs the `secret`. `backend_login` is the user
    and password that the backend asks for. An existing label config is kept when it already has every class of the
    wanted one.
    """
    wanted = template.config_for(classes)
    check_label_config(wanted)
    guideline = guideline_html(template.guideline)
    project = client.project_titled(title)
    if project is None:
        project = client.create_project(title, wanted, guideline=guideline, sampling=SAMPLING)
    else:
        project = _repaired(client, project, wanted, guideline)
    project_id = int(project["id"])
    if webhook_url is not None and secret is not None:
        client.ensure_webhook(project_id, webhook_url.replace("{project}", str(project_id)), secret)
    if backend_url is not None and template.backend is not None:
        client.ensure_ml_backend(project_id, backend_url, f"labelloop {template.backend}", backend_login)
    store.put_project(
        project_id=project_id,
        title=title,
        task_type=template.task_type,
        backend=template.backend or NO_BACKEND,
        label_config=project["label_config"],
        settings=settings.model_dump(mode="json"),
    )
    return project_id


def check_label_config(xml: str) -> None:
    """Hold a label config to Label Studio's own rules before anything is sent; DataError with its words."""
    # Two seconds to import: only commands that make projects pay for it.
    from label_studio_sdk.label_interface import LabelInterface

    try:
        LabelInterface(xml).validate()
    except Exception as error:
        raise DataError(f"Label Studio would refuse this label config: {error}") from error


def guideline_html(text: str) -> str:
    """A guideline (Markdown) as the HTML that Label Studio's instruction field shows; HTML inside it is shown as text.

    Label Studio drops styles and shows lists without bullets and blocks without distance, so both are written out.
    """
    from markdown_it import MarkdownIt

    markdown = MarkdownIt("commonmark", {"html": False}).enable("table")
    for name, drawn in _DRAWN.items():
        markdown.add_render_rule(name, drawn)
    return str(markdown.render(text.strip()))


def _list_item(_renderer: Any, tokens: Sequence[Any], index: int, *_: Any) -> str:
    number = tokens[index].info
    return f"<li>{number}. " if number else "<li>\u2022 "


def _cell_end(_renderer: Any, tokens: Sequence[Any], index: int, *_: Any) -> str:
    return f"&nbsp;&nbsp;</{tokens[index].tag}>"


def _block_end(_renderer: Any, tokens: Sequence[Any], index: int, *_: Any) -> str:
    return "" if tokens[index].hidden else f"</{tokens[index].tag}><br>\n"


_DRAWN = {
    "list_item_open": _list_item,
    "th_close": _cell_end,
    "td_close": _cell_end,
    "paragraph_close": _block_end,
    "bullet_list_close": _block_end,
    "ordered_list_close": _block_end,
}


def _repaired(client: LabelStudio, project: dict[str, Any], wanted: str, guideline: str) -> dict[str, Any]:
    """The project with our sampling, visible suggestions and every wanted class; people's own changes stay."""
    changes: dict[str, Any] = {}
    if project["sampling"] != SAMPLING:
        changes["sampling"] = SAMPLING
    if not project["show_collab_predictions"]:
        changes["show_collab_predictions"] = True
    if not project["expert_instruction"]:
        changes["expert_instruction"] = guideline
    if not _covers(project["label_config"], wanted):
        changes["label_config"] = wanted
    return client.update_project(int(project["id"]), **changes) if changes else project


def _covers(config: str, wanted: str) -> bool:
    """True when `config` has every control of `wanted` with at least its classes; notes in free text may be missing."""
    have, need = parse_label_config(config), parse_label_config(wanted)
    classes = {control.name: set(control.classes) for control in have.controls}
    answers = {(control.name, control.tag) for control in have.answers}
    return all(set(control.classes) <= classes.get(control.name, set()) for control in need.controls) and all(
        (control.name, control.tag) in answers for control in need.answers if control.tag != "TextArea"
    )
