"""What commands that run models need installed."""

from modelreg.errors import NotFoundError

__all__ = ["require_inference"]


def require_inference() -> None:
    """Raise NotFoundError unless the extra `inference` is installed."""
    try:
        import onnxruntime  # noqa: F401
        import prometheus_client  # noqa: F401
    except ImportError as error:
        raise NotFoundError(
            f"{error.name or 'a package'} is not installed", hint="pip install 'modelreg[inference]'"
        ) from None
