"""One network as an engine runs it: bytes of RGB pixels in, the head's raw outputs and pooled features out."""

from __future__ import annotations

from typing import Any


def raw_network(model: Any, *, half: bool = False) -> Any:
    """`model` (an ultralytics network) as a torch module for inference; it takes the model over and changes it.

    Called with pixels (n, side, side, 3) as uint8, it gives a tuple: the head's outputs, then the mean of the last
    feature map that enters the head (n, f). With `half` the layers compute in half precision; coordinates, which reach
    hundreds of pixels and would be rounded to half a pixel, are still decoded in single precision.
    """
    import torch

    model.eval()
    model.fuse(verbose=False)
    head = model.model[-1]
    head.export = True  # raw outputs alone, the same for every task kind
    if half:
        model.half()
        _decode_in_single_precision(head)

    class RawNetwork(torch.nn.Module):  # type: ignore[misc,unused-ignore]
        """See raw_network."""

        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, pixels: Any) -> tuple[Any, ...]:
            images = pixels.permute(0, 3, 1, 2)
            seen: list[Any] = []
            hook = _feeding(model).register_forward_hook(lambda _module, _inputs, output: seen.append(output))
            try:
                found = model((images.half() if half else images.float()) / 255)
            finally:
                hook.remove()
            outputs = (found,) if isinstance(found, torch.Tensor) else tuple(found)
            return (*(each.float() for each in outputs), seen[0].float().mean(dim=(2, 3)))

    return RawNetwork().eval()


def _feeding(model: Any) -> Any:
    """The layer whose output is the head's last input."""
    head = model.model[-1]
    source = head.f if isinstance(head.f, int) else head.f[-1]
    return model.model[source if source >= 0 else head.i + source]


def _decode_in_single_precision(head: Any) -> None:
    decode = getattr(head, "_inference", None)
    if decode is None:  # a classifier has no coordinates
        return
    head.dfl.float()

    def in_single_precision(raw: dict[str, Any]) -> Any:
        return decode({name: _single(value) for name, value in raw.items()})

    head._inference = in_single_precision


def _single(value: Any) -> Any:
    return [each.float() for each in value] if isinstance(value, list) else value.float()
