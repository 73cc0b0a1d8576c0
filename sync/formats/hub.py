"""Publishing an exported Hugging Face dataset on the hub; nothing is ever sent unless this is called."""

from __future__ import annotations

from pathlib import Path

from labelloop.errors import DataError, ServiceDown, ServiceError, UsageError
from sync.formats.publishing import MANIFEST


def push_to_hub(folder: Path, repo_id: str, token: str | None = None, *, private: bool = True) -> str:
    """Send a finished export to the dataset repository `owner/name` of the hub, made if absent; its address.

    `token` defaults to the one of `hf auth login`. Needs huggingface_hub. UsageError when the folder is no such export,
    ServiceDown when the hub cannot be reached, ServiceError when it refuses.
    """
    if not (folder / MANIFEST).is_file() or not (folder / "data").is_dir():
        raise UsageError(f"{folder} is no finished export of the format huggingface; make one first")
    try:
        from huggingface_hub import HfApi
        from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalTokenNotFoundError
    except ImportError as error:
        raise DataError(
            "publishing on the hub needs huggingface_hub; install it with: pip install huggingface_hub"
        ) from error

    api = HfApi(token=token)
    try:
        api.create_repo(repo_id, repo_type="dataset", private=private, exist_ok=True)
        api.upload_folder(
            repo_id=repo_id, repo_type="dataset", folder_path=folder, commit_message="Export of labelloop"
        )
    except HFValidationError as error:
        raise UsageError(f"expected a repository as owner/name, got {repo_id!r}: {error}") from error
    except LocalTokenNotFoundError as error:
        raise UsageError("the hub needs a token; give one, or run: hf auth login") from error
    except HfHubHTTPError as error:
        status = getattr(error.response, "status_code", None)
        raise ServiceError(f"the hub refused {repo_id}: {error}; is the token one that may write?", status) from error
    except _errors_of(HfHubHTTPError) as error:
        raise ServiceDown(
            f"the hub cannot be reached ({error}); the export stays in {folder}, send it later"
        ) from error
    return f"{api.endpoint}/datasets/{repo_id}"


def _errors_of(http_error: type[Exception]) -> tuple[type[Exception], ...]:
    """What the hub's HTTP error is a kind of: the errors of whichever HTTP library this version of the hub's uses."""
    return tuple(each for each in http_error.__mro__ if issubclass(each, Exception) and each is not Exception)
